//! Upkeep: what to do next, one bounded step a call; and when a buffer is frozen.
//!
//! Order: the checkpoint in progress; a checkpoint that somebody waits for, or that frees many units; value files, in turns with draining; writing what is dirty if memory
//! is short; merges, sweeps and tidying; a checkpoint that lets range deletes go; making the file small.
//!
//! U1  A checkpoint that somebody waits for comes before the next drain, so however fast commits come, the log is let go.
//! U2  A buffer is frozen when it is full, when its commits are wanted in files, when memory is short and it has much of it, or when nothing
//!     was written for a while: then reads find everything in pages.
//! U4  A compaction that somebody waits for gets every other piece of work beside a drain; what must not happen within a drain (sweeps) gets one
//!     behind each.
//! U5  A step waits a moment for its latch, in the queue: who verifies again and again, or helps in small steps, would win every race against one
//!     that looks now and then, and a compaction never end.
//! U6  A buffer with a sixteenth of what it may have is frozen also when a scan walked over many keys that buffers delete, with none between, or when
//!     scans have copied several times what a drain would write: each scan would go on so until it is drained, and none behind that.

use std::time::Duration;

use duramen_base::memtable::Memtable;
use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::{published, thread};
use duramen_base::{Result, Timestamp, Urgency, WorkBudget, WorkDone, mutant};

use crate::store::Store;
use crate::upkeep::Upkeep;

/// Pages that one step looks at for merging.
const MERGE_PAGES: usize = 16;
/// Bytes of pages that no superblock names yet, at which one is written even if nobody asks. Less if memory is small, more if the tree is large.
const UNNAMED_BYTES_MAX: u64 = 64 << 20;
/// U5.
const TURN_MAX: Duration = Duration::from_millis(2);
/// Without a write for so long, what is buffered is drained.
const IDLE: Duration = Duration::from_secs(1);
/// What a committer drains that comes although no buffer is left, at once and in all.
const CATCH_UP_BYTES: u64 = 1 << 20;
const CATCH_UP_STEPS: u32 = 256;

/// About how many times as large a leaf is as what a buffer has of a key.
const LEAF_OVER_KEY: u64 = 64;

/// What a piece of work was.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// So many bytes were read and written, about; there may be more to do.
    Bytes(u64),
    /// A superblock was switched.
    Checkpoint,
    /// There was nothing to do.
    Rest { is_waiting: bool },
}

/// Since when the active buffer has not changed.
#[derive(Debug, Default)]
pub(crate) struct Stillness {
    max_ts: Timestamp,
    since: Duration,
    is_long: bool,
}

impl Store {
    /// Asks for a checkpoint through `target`.
    pub(crate) fn persist_to(&self, target: Timestamp, urgency: Urgency) {
        self.wanted.fetch_max(target.get(), Ordering::SeqCst);
        if urgency == Urgency::Now && self.persisted() < target {
            self.env.host.wake_upkeep();
        }
    }

    /// A scan walked over many keys that the buffers delete (U6).
    pub(crate) fn note_met_deleted(&self) {
        if !mutant!("leave_deleted_in_the_way") {
            self.note_in_the_way();
        }
    }

    /// A scan copied so many bytes out of the buffers (U6).
    pub(crate) fn note_copied(&self, bytes: u64) {
        if self.scan_hints.note_copied(bytes, || self.drain_bytes()) && !mutant!("leave_copied_in_the_way") {
            self.note_in_the_way();
        }
    }

    /// About what a drain of the active buffer writes: the whole tree if the buffer is large beside it, else a leaf for each key; and what it has, of which
    /// many versions of a key make one.
    fn drain_bytes(&self) -> u64 {
        let tree_bytes = self.counters.tree_bytes.load(Ordering::Relaxed);
        let buffered = self.buffers.layers().active.bytes();
        tree_bytes.clamp(buffered / 2, buffered * LEAF_OVER_KEY)
    }

    fn note_in_the_way(&self) {
        if self.scan_hints.set_in_the_way() {
            self.env.host.wake_upkeep();
        }
    }

    /// What somebody wants in files, as far as it is visible; `None`: it is there.
    pub(crate) fn wanted(&self) -> Option<Timestamp> {
        let wanted = Timestamp::new(self.wanted.load(Ordering::SeqCst)).min(self.env.host.visible());
        (self.persisted() < wanted).then_some(wanted)
    }

    /// Bytes at which a buffer is full. The larger the tree, the larger the buffer that is worth a walk over its leaves; two fit half the memory.
    pub(crate) fn buffer_bytes_max(&self) -> u64 {
        let tree_bytes = self.counters.tree_bytes.load(Ordering::Relaxed);
        self.env.options.memtable_bytes.max(tree_bytes / 8).min(self.budget().limit() / 4)
    }

    /// One step.
    pub(crate) fn work(&self, budget: WorkBudget) -> Result<WorkDone> {
        let Some(mut up) = self.upkeep.try_lock_for(TURN_MAX) else { return Ok(WorkDone::default()) }; // U5
        up.check_not_failed()?;
        let done = self.work_step(&mut up, budget)?;
        drop(up);
        published::collect(); // images that were replaced are large, and readers may be few
        self.make_room();
        Ok(done)
    }

    /// Pieces of work until the budget is used up.
    fn work_step(&self, up: &mut Upkeep, budget: WorkBudget) -> Result<WorkDone> {
        let mut left = budget.bytes.max(1);
        self.reclaim(up);
        self.remove_lists(up);
        loop {
            match self.next_piece(up, left)? {
                Piece::Bytes(bytes) => left = left.saturating_sub(bytes.max(1)),
                // Behind a checkpoint there may be more to do: the next call looks.
                Piece::Checkpoint => return Ok(WorkDone { more: true, switched: true }),
                Piece::Rest { is_waiting } => return Ok(WorkDone { more: is_waiting, switched: false }),
            }
            if left == 0 {
                return Ok(WorkDone { more: true, switched: false });
            }
        }
    }

    fn next_piece(&self, up: &mut Upkeep, bytes_max: u64) -> Result<Piece> {
        if up.run.is_some() {
            return self.step_checkpoint(up, bytes_max);
        }
        let wanted = self.wanted();
        self.rotate_if_due(up, wanted);
        match wanted.filter(|&wanted| self.buffers.layers().min_ts() > wanted) {
            Some(wanted) if !self.has_drained() => self.env.host.make_durable(wanted)?, // only the log is behind
            Some(_) => return Ok(self.begin_checkpoint(up)),                            // U1
            None => {}
        }
        if self.has_many_unnamed(up) {
            return Ok(self.begin_checkpoint(up));
        }
        // U4
        let mut gives_way = wanted.is_none() && self.is_compaction_asked() && std::mem::take(&mut up.drained_last);
        if gives_way && up.compaction.is_some() {
            match self.step_compaction(up, bytes_max)? {
                Piece::Rest { .. } => gives_way = false, // it waits for a reader: a drain need not
                piece @ (Piece::Bytes(_) | Piece::Checkpoint) => return Ok(piece),
            }
        }
        if self.is_turn_of_values(up) {
            return self.work_on_values(up, bytes_max, false);
        }
        let is_wanted = wanted.is_some() || self.is_memory_short() || self.is_compaction_asked();
        if !(gives_way && up.drain.is_none()) && self.begin_drain(up, is_wanted) {
            up.drained_last = true;
            return self.step_drain(up, bytes_max).map(Piece::Bytes);
        }
        let written = self.write_behind(up, bytes_max)?;
        if written > 0 {
            return Ok(Piece::Bytes(written));
        }
        let merging = self.merge_step(up, MERGE_PAGES)?;
        let sweeping = self.sweep_step(up, bytes_max)?;
        let tidying = self.tidy_step(up);
        if merging || sweeping || tidying {
            return Ok(Piece::Bytes(bytes_max));
        }
        if self.tombs_if_any().is_some_and(|tombs| tombs.are_all_swept()) {
            return Ok(self.begin_checkpoint(up));
        }
        let is_due = self.have_values_work();
        let piece = self.work_on_values(up, bytes_max, false)?; // also without: files that nothing names go
        if is_due {
            return Ok(piece);
        }
        let rests = self.is_compaction_resting();
        if up.compaction.is_none() && !rests {
            self.begin_compaction(up);
        }
        if up.compaction.is_some() && !rests {
            return self.step_compaction(up, bytes_max);
        }
        self.cut_long_tail(up)?;
        // A frozen buffer that is not drained waits for an apply to end; a run for a moment that no wait brings nearer.
        let oldest = self.buffers.next_to_drain();
        let is_waiting = oldest.is_none() && !self.buffers.layers().frozen.is_empty();
        Ok(Piece::Rest { is_waiting })
    }

    /// Whether it is time for a checkpoint although nobody asks: the units of replaced pages are free only behind one.
    fn has_many_unnamed(&self, up: &Upkeep) -> bool {
        let tree_bytes = self.counters.tree_bytes.load(Ordering::Relaxed);
        up.unnamed_bytes() >= UNNAMED_BYTES_MAX.min(2 * self.budget().limit()).max(tree_bytes / 2)
    }

    fn rotate_if_due(&self, up: &mut Upkeep, wanted: Option<Timestamp>) {
        let limit = self.budget().limit();
        let layers = self.buffers.layers();
        // While one is drained, another that waits behind it gives no memory back, and leaves writers without a buffer.
        let is_worth_it = layers.frozen_buffers() == 0 && self.is_memory_short();
        let is_in_the_way = self.scan_hints.take_in_the_way() && layers.frozen_buffers() == 0;
        let is_due = |active: &Memtable, is_still: bool| {
            active.bytes() >= self.buffer_bytes_max()
                || wanted.is_some_and(|wanted| active.min_ts() <= wanted)
                || (is_worth_it && active.bytes() >= limit / 8)
                || (is_in_the_way && active.bytes() >= self.buffer_bytes_max() / 16)
                || is_still
        };
        let is_still = up.still.lasts(layers.active.max_ts(), self.env.clock.now());
        if !layers.active.is_empty() && is_due(&layers.active, is_still) {
            self.buffers.rotate_if(|_| true);
            self.scan_hints.forget_copied();
        }
    }

    /// Frees the places that no load can be reading any more.
    pub(crate) fn reclaim(&self, up: &mut Upkeep) {
        if !up.given_up.is_empty() {
            let oldest_load = self.loads.lock().oldest_held();
            up.reclaim(oldest_load);
        }
    }

    /// A step for somebody who waits for memory; whether another might help.
    pub(crate) fn relief_step(&self, up: &mut Upkeep, bytes: u64) -> Result<bool> {
        self.reclaim(up);
        if up.run.is_some() {
            self.step_checkpoint(up, bytes)?;
            return Ok(true);
        }
        if self.has_many_unnamed(up) {
            self.begin_checkpoint(up);
            return Ok(true);
        }
        if self.begin_drain(up, true) {
            self.step_drain(up, bytes)?;
            return Ok(true);
        }
        if !self.buffers.layers().frozen.is_empty() {
            return Ok(true); // an apply is about to end
        }
        let mut leaves = std::mem::take(&mut up.dirty_leaves);
        let written = self.write_pages(up, &mut std::iter::from_fn(|| leaves.pop_front()), bytes);
        leaves.append(&mut up.dirty_leaves);
        up.dirty_leaves = leaves;
        if written? > 0 {
            return Ok(true);
        }
        let worth_draining = self.budget().limit() / 16;
        Ok(self.buffers.rotate_if(|active| active.bytes() > worth_draining))
    }

    /// Y3: who comes although no buffer is left drains until one is, unless somebody is at it. An error is left for upkeep to meet.
    pub(crate) fn catch_up(&self) {
        if !self.buffers.has_frozen() {
            return;
        }
        for _ in 0..CATCH_UP_STEPS {
            if self.buffers.layers_if_any().is_none_or(|layers| layers.frozen_buffers() < 2) {
                return;
            }
            match self.upkeep.try_lock() {
                None => thread::yield_now(),
                Some(mut up) => {
                    if up.failed.is_some() || self.relief_step(&mut up, CATCH_UP_BYTES).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Stillness {
    /// Notes the newest commit; whether it has been the same for long.
    fn lasts(&mut self, max_ts: Timestamp, now: Duration) -> bool {
        if self.max_ts != max_ts {
            *self = Stillness { max_ts, since: now, is_long: false };
        }
        self.is_long = now.saturating_sub(self.since) >= IDLE;
        self.is_long
    }

    /// Whether it had been the same for long, the last time somebody looked.
    pub(crate) fn is_long(&self) -> bool {
        self.is_long
    }
}
