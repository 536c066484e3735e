//! Making the file small: when, and in which stages. Asked for by somebody, or because much of the file is free.
//!
//! ```text
//!   pack     neighbouring leaves that fit one page become one          (if somebody asks, or nothing is written and much was)
//!   settle   a checkpoint, so that what pages left is free, once nobody reads it any more; the free end of the file is cut off
//!   move     pages behind the bound go to free units before it (`relocate.rs`); then settle again, until the end is near
//! ```
//! All of it in bounded steps, between those of drains and checkpoints, beside commits and readers. Nobody waits for it but who asked.
//!
//! CO1  The file is cut at `units.end()`: behind it is nothing that the durable superblock, or a place taken since, names, and nothing that a load
//!     may be reading (A2, P2).
//! CO2  It ends: each pass moves the bound up or brings the end down, and there are only so many.
//! CO3  What is asked for is done when every deletion that was visible then, and that no snapshot needs, has left the pages, leaves of the range were
//!     packed, and passes brought nothing more. Passes move whatever lies at the end of the file, of the range or not: else it could not be cut.
//! CO4  Between two steps there is nothing half done, so a compaction that was stopped is forgotten, and one that nobody asked for may rest.
//! CO5  A pass waits for places that were given up before it, and for none given up later: what may read one of those is under way and ends. So whoever
//!     verifies again and again, beside commits that go on, keeps no compaction from its end.
//! CO6  Leaves are packed without anybody asking only while nothing is written, and again only when a quarter of the tree was written, or lost its last
//!     reader of history, since: so it costs no commit anything, and a store at rest comes to rest.

use duramen_base::compaction::CompactionRequest;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, KeyBounds, Result, mutant};

use crate::pid_table::Page;
use crate::read::{Descent, Target};
use crate::split::Step;
use crate::store::Store;
use crate::units::UNIT_BYTES;
use crate::upkeep::Upkeep;
use crate::work::Piece;

/// Passes over the pages, at most (CO2).
const PASSES_MAX: u8 = 4;
/// Free units from which on upkeep itself makes the file small.
const FREE_UNITS_MIN: u64 = 256;
/// Bytes of changes from which on upkeep itself packs leaves.
const CHANGED_BYTES_MIN: u64 = 1 << 20;
/// Free units that are left at the end of the file, for the next pages, unless it is made small.
const TAIL_UNITS_MIN: u64 = 256;

/// What is being done to make the file small.
#[derive(Debug)]
pub(crate) struct Compaction {
    /// `None`: nobody asked.
    request: Option<CompactionRequest>,
    /// Whether it began with packing all leaves.
    packs_all: bool,
    stage: Stage,
    passes: u8,
    /// Where pages of this pass are moved before.
    bound: u64,
}

impl Compaction {
    /// Chunks of the map that a checkpoint writes again, so that they move too: those behind this unit.
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }

    /// Whether somebody asked for all keys, so that value files are written anew where anything in them is dead.
    fn is_whole(&self) -> bool {
        self.request.as_ref().is_some_and(is_whole)
    }
}

#[derive(Debug)]
enum Stage {
    /// Leaves below this key were looked at.
    Pack { next_key: Vec<u8> },
    /// Until a superblock after this one is durable. `end`: where the file ended before.
    Settle { seq: u64, end: u64 },
    /// Until what was given up through this generation of loads is free (CO5).
    Free { generation: u64, end: u64 },
    /// Pages with lower ids lie before the bound, or there is no room for them.
    Move { next_pid: u64 },
}

impl Store {
    /// Asks for the file to be made small; the number of the request (CO3).
    pub(crate) fn ask_to_compact(&self, bounds: KeyBounds<'_>) -> u64 {
        self.wanted.fetch_max(self.env.host.visible().get(), Ordering::SeqCst);
        let request = self.compaction.ask(bounds);
        self.env.host.wake_upkeep();
        request
    }

    /// Holds back, or lets go of, what nobody asked for.
    pub(crate) fn pause_compaction(&self, is_paused: bool) {
        if is_paused {
            return self.compaction.pause();
        }
        self.compaction.resume();
        self.env.host.wake_upkeep();
    }

    /// Whether somebody waits for a compaction.
    pub(crate) fn is_compaction_asked(&self) -> bool {
        self.compaction.is_asked()
    }

    /// Whether what is under way, or would begin, is to rest: nobody asked for anything, and upkeep is held back.
    pub(crate) fn is_compaction_resting(&self) -> bool {
        self.compaction.is_paused() && !self.compaction.is_asked() && !mutant!("move_pages_while_paused")
    }

    /// Begins a compaction if one is due. Between drains, with nothing left to sweep.
    pub(crate) fn begin_compaction(&self, up: &mut Upkeep) {
        let request = self.compaction.front().filter(|_| self.wanted().is_none());
        let stage = match &request {
            Some(request) => Stage::Pack { next_key: request.low.clone() },
            None if self.may_be_sparse(up) => Stage::Pack { next_key: Vec::new() },
            None if up.compacted_seq != up.superblock.seq && has_much_free(up) => settled_stage(up),
            None => return,
        };
        let is_pack = matches!(stage, Stage::Pack { .. });
        let packs_all = is_pack && request.as_ref().is_none_or(is_whole);
        up.compaction = Some(Compaction { request, packs_all, stage, passes: 0, bound: u64::MAX });
    }

    /// Whether it is worth looking for leaves that fit one page although nobody asks (CO6).
    fn may_be_sparse(&self, up: &Upkeep) -> bool {
        let written_bytes = self.counters.written_bytes.load(Ordering::Relaxed) - up.packed_at_bytes;
        let stale_bytes = (up.stale.len() * self.leaf_bytes()) as u64;
        let bytes_min = (self.counters.tree_bytes.load(Ordering::Relaxed) / 4).max(CHANGED_BYTES_MIN);
        up.still.is_long() && (written_bytes >= bytes_min || stale_bytes >= bytes_min)
    }

    /// Does one step of the compaction in progress.
    pub(crate) fn step_compaction(&self, up: &mut Upkeep, bytes_max: u64) -> Result<Piece> {
        let Some(mut compaction) = up.compaction.take() else { return Ok(Piece::Bytes(0)) };
        if compaction.request.as_ref().is_some_and(|request| !self.compaction.waits(request.number)) {
            return Ok(Piece::Bytes(0)); // CO4
        }
        let is_packing_unasked = compaction.request.is_none() && matches!(compaction.stage, Stage::Pack { .. });
        if is_packing_unasked && !up.still.is_long() && !mutant!("pack_beside_writes") {
            return Ok(Piece::Bytes(0)); // CO6
        }
        let high = compaction.request.as_ref().and_then(|request| request.high.as_deref());
        let outcome = match &mut compaction.stage {
            Stage::Pack { next_key } => {
                let is_done = match self.pack(up, next_key, high, bytes_max) {
                    Err(Error::Corruption { .. }) if is_packing_unasked => Ok(true), // who needs the page will tell
                    is_done => is_done,
                };
                is_done.map(|is_done| {
                    if is_done {
                        let is_clean = is_packing_unasked && up.is_clean();
                        compaction.stage = if is_clean { settled_stage(up) } else { settle_stage(up) };
                    }
                    Piece::Bytes(bytes_max)
                })
            }
            Stage::Settle { seq, .. } if up.superblock.seq <= *seq => {
                up.compaction = Some(compaction); // the checkpoint looks at the bound
                return Ok(self.begin_checkpoint(up));
            }
            Stage::Settle { end, .. } => {
                compaction.stage = Stage::Free { generation: self.loads.lock().number(), end: *end };
                Ok(Piece::Bytes(0))
            }
            Stage::Free { generation, .. } if self.is_still_read(up, *generation) => {
                up.compaction = Some(compaction);
                // A walk takes its time and wakes upkeep when it ends (V4 of `verify.rs`).
                return Ok(Piece::Rest { is_waiting: !self.is_being_verified() });
            }
            Stage::Free { end, .. } => {
                let end = *end;
                return self.next_pass(up, compaction, end, bytes_max);
            }
            Stage::Move { next_pid } => self.move_pages(up, compaction.bound, next_pid, bytes_max).and_then(|bytes| {
                if bytes.is_none() {
                    compaction.stage = settle_stage(up);
                    if mutant!("cut_before_superblock") {
                        self.file.set_len(compaction.bound * UNIT_BYTES as u64)?;
                    }
                }
                Ok(Piece::Bytes(bytes.unwrap_or(0)))
            }),
        };
        if compaction.request.is_some() {
            self.note_progress(up, &compaction, &outcome);
        }
        up.compaction = Some(compaction);
        outcome
    }

    /// What is left: in the first stage pages of the range, of which only their number in all is known, then those behind the bound.
    fn note_progress(&self, up: &Upkeep, compaction: &Compaction, outcome: &Result<Piece>) {
        let used_bytes = (up.units.end() - up.units.free_count()) * UNIT_BYTES as u64;
        if let Ok(Piece::Bytes(bytes)) = outcome {
            // A step that used its whole budget up says so, however large that was.
            self.compaction.add_done((*bytes).min(used_bytes));
        }
        let units = match compaction.stage {
            Stage::Pack { .. } => up.units.end() - up.units.free_count(),
            Stage::Settle { .. } | Stage::Free { .. } => 0,
            Stage::Move { .. } => up.units.used_behind(compaction.bound),
        };
        self.compaction.set_to_do(units * UNIT_BYTES as u64);
    }

    /// Whether a load (P2), or a walk, may be reading a place that was given up through this generation (CO5).
    fn is_still_read(&self, up: &Upkeep, generation: u64) -> bool {
        let is_waited_for = |given_up: u64| given_up <= generation || mutant!("wait_for_later_places");
        up.given_up.front().is_some_and(|&(given_up, _)| is_waited_for(given_up))
    }

    /// Behind a checkpoint: cuts the file, and begins another pass or ends.
    fn next_pass(&self, up: &mut Upkeep, mut compaction: Compaction, end_before: u64, bytes_max: u64) -> Result<Piece> {
        let cut = self.cut_tail(up, 0);
        let end = up.units.end();
        let used = end - up.units.free_count();
        // The first bound is where the file would end without a gap; the others leave room for what found no gap large enough.
        let bound = if compaction.passes == 0 { used } else { used + 2 * up.units.used_behind(used) };
        let is_worth_it = end > used + used / 16 && bound < end && (compaction.passes < 2 || end < end_before);
        let is_over = !is_worth_it || compaction.passes == PASSES_MAX;
        if cut.is_ok() && is_over && compaction.is_whole() && self.values.has_work(true) {
            up.compaction = Some(compaction);
            return self.work_on_values(up, bytes_max, true);
        }
        if cut.is_ok() && is_over {
            up.compacted_seq = up.superblock.seq;
            if compaction.packs_all {
                up.packed_at_bytes = self.counters.written_bytes.load(Ordering::Relaxed);
            }
            if let Some(request) = compaction.request {
                self.compaction.finish(request.number);
            }
            return Ok(Piece::Bytes(0));
        }
        if cut.is_ok() {
            compaction.passes += 1;
            compaction.bound = bound;
            compaction.stage = Stage::Move { next_pid: 0 };
        }
        up.compaction = Some(compaction);
        cut.map(|()| Piece::Bytes(0))
    }

    /// Cuts off the free end of the file if there are more than `spare_units` of it (CO1).
    pub(crate) fn cut_tail(&self, up: &Upkeep, spare_units: u64) -> Result<()> {
        let end = up.units.end() * UNIT_BYTES as u64;
        if self.file.len()? > end + spare_units * UNIT_BYTES as u64 {
            self.file.set_len(end)?;
        }
        Ok(())
    }

    /// Behind a checkpoint that nobody wanted small: leaves a quarter at the end for the next pages.
    pub(crate) fn cut_long_tail(&self, up: &mut Upkeep) -> Result<()> {
        if std::mem::take(&mut up.may_have_tail) {
            self.cut_tail(up, (up.units.end() / 4).max(TAIL_UNITS_MIN))?;
        }
        Ok(())
    }

    /// Goes through some leaves from `next_key` on, up to `high`; whether the last one was reached. A leaf that cannot be read stays as it is.
    fn pack(&self, up: &mut Upkeep, next_key: &mut Vec<u8>, high: Option<&[u8]>, bytes_max: u64) -> Result<bool> {
        let mut bytes = 0;
        let bytes_of_two = self.leaf_bytes() * 15 / 16;
        while bytes < bytes_max.max(1) {
            if high.is_some_and(|high| **next_key >= *high) {
                return Ok(true);
            }
            let Some(parent) = self.parent_of(next_key)? else { return Ok(true) };
            let (image, index) = (&parent.image, parent.child_index);
            if self.tidy_stale(up, image.child(index))? {
                bytes += 2 * self.leaf_bytes() as u64 + self.write_behind(up, bytes_max)?;
                continue; // its parent may be another page now
            }
            if index + 1 == image.count() {
                *next_key = image.high_fence().to_vec();
                if next_key.is_empty() {
                    return Ok(true);
                }
                continue;
            }
            let least = self.least_bytes(image.child(index)) + self.least_bytes(image.child(index + 1));
            bytes += 64 + least as u64 / 64;
            if least <= bytes_of_two {
                bytes += least as u64;
                match self.merge_leaf_pair(up, &parent, index, bytes_of_two) {
                    Ok(true) => {
                        bytes += self.write_behind(up, bytes_max)?;
                        continue; // the left one may take in its next neighbour too
                    }
                    Ok(false) | Err(Error::Corruption { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            image.key_into(index + 1, next_key);
        }
        Ok(false)
    }

    /// What is known of the bytes of a leaf without reading it: it has no fewer.
    fn least_bytes(&self, pid: u64) -> usize {
        match &*self.pages.known(pid).read() {
            Page::Resident(resident) => resident.image.bytes().len(),
            Page::OnDisk(addr) => usize::from(addr.units - 1) * UNIT_BYTES,
            Page::Free => 0,
        }
    }

    /// The parent of the leaf that encloses `key`, read in as needed; `None`: the root is a leaf.
    pub(crate) fn parent_of(&self, key: &[u8]) -> Result<Option<Step>> {
        while let Descent::Missing(missing) = self.descend(Target::At(key))? {
            self.load(missing)?;
        }
        Ok(self.path_to(key, 0).pop())
    }
}

fn is_whole(request: &CompactionRequest) -> bool {
    request.low.is_empty() && request.high.is_none()
}

fn settle_stage(up: &Upkeep) -> Stage {
    Stage::Settle { seq: up.superblock.seq, end: up.units.end() }
}

/// The same where the last checkpoint will do.
fn settled_stage(up: &Upkeep) -> Stage {
    Stage::Settle { seq: up.superblock.seq - 1, end: up.units.end() }
}

/// Whether so much is free that it is worth moving pages although nobody asks: more than a quarter of what is used when nothing is written, more
/// than twice as much while much is.
fn has_much_free(up: &Upkeep) -> bool {
    let free = up.units.free_count();
    let used = up.units.end() - free;
    free >= FREE_UNITS_MIN && (free > 2 * used || (up.still.is_long() && free > used / 4))
}
