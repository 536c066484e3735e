//! From the buffer to the file: one caller at a time writes the unwritten prefix, for itself and for all who placed records before it.
//!
//! ```text
//!   written already?  yes: done                     (one atomic load)
//!   nobody writes, and the first chunk fits into the mapped end?  store it, no call    (`mapped.rs`)
//!   nobody writes?    take the first chunk, give way once if others waited during the last write, write it
//!   somebody writes?  give way a few times, then sleep; whoever finds the claim free takes the next
//! ```
//! Nobody is handed the lead: a claim that ends is free for whoever looks first, and all who sleep are woken by it.
//!
//! D1  Lack of space for placed records is waited for, never given up while the log is open: the chunk goes back, the log is
//!     `stalled`, and whoever needs it tries again. Any other failed write poisons.
//! D2  Before a segment's headers are written the one before is synced through its end (S2).
//! D3  `written` as an atomic is never ahead of the placement's own, and is raised before anybody is woken for it.
//! D4  A write that begins a page of the file writes all of it, zeros behind the last record: so the system never has to read from the disk, while everybody
//!     waits for the claim, what its cache lost of a prepared segment. Behind the end of the log any bytes may stand; the next write replaces them.

use std::sync::Arc;
use std::time::Duration;

use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::{MutexGuard, thread};
use duramen_base::vfs::File;
use duramen_base::{Error, Lsn, Result, mutant};

use crate::buffer::{Chunk, PAGE_BYTES};
use crate::mapped::Opening;
use crate::segment::{Segment, Trouble};
use crate::stats::Counters;
use crate::wal::{Core, Phase, Wal};

/// Between two attempts to write to a full disk.
const STALL_PAUSE: Duration = Duration::from_millis(10);

/// Looks at `written`, spinning and then giving way in between, before a waiter sleeps: a write of a few records takes as long as two switches of threads.
const LOOKS_BEFORE_SLEEP: u32 = if cfg!(duramen_sim) { 2 } else { 39 };

/// What to do when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Try again until there is space, the log is closed or poisoned: for records that are placed already.
    Wait,
    /// Give the error back: nothing of the caller's is placed yet.
    Once,
}

impl Wal {
    /// Returns when every record before `end` was handed to the file system: it then survives the death of the process.
    ///
    /// # Errors
    /// `Poisoned` once the log failed, also if that happens while waiting; `Closed`; `InvalidArgument` if nothing was placed up to `end`.
    pub fn write_through(&self, end: Lsn) -> Result<()> {
        self.write_prefix(end, Patience::Wait)
    }

    pub(crate) fn write_prefix(&self, end: Lsn, patience: Patience) -> Result<()> {
        let mut gave_way = false;
        while self.written() < end {
            let mut core = self.core.lock();
            if core.placement.written().lsn >= end {
                break;
            }
            core.check_usable()?;
            if core.placement.is_claimed() {
                self.wait_for_claim(core, end);
            } else if self.store_chunk(&mut core, end) {
                // The next one, if there is one.
            } else if core.others_waited && !std::mem::replace(&mut gave_way, true) {
                // They are about to place the next record: one write for all costs less than one each.
                drop(core);
                thread::yield_now();
            } else {
                let Some(mut chunk) = core.placement.take(end) else {
                    return Err(Error::InvalidArgument { what: "nothing was placed up to there yet" });
                };
                let plan = if self.config.map_end { core.mapped_end.plan(&chunk) } else { None };
                drop(core);
                let outcome = self.write_chunk(&mut chunk).map(|()| plan.map(|plan| plan.carry_out(&chunk.segment)));
                self.end_claim(chunk, outcome, patience)?;
            }
        }
        Ok(())
    }

    /// Stores the first chunk to the mapped end, if it fits (M3).
    fn store_chunk(&self, core: &mut Core, end: Lsn) -> bool {
        let Core { placement, mapped_end, .. } = core;
        let Some(chunk) = placement.take_if(end, |chunk| mapped_end.holds(chunk)) else { return false };
        mapped_end.store(&chunk);
        Counters::count(&self.counters.stores);
        self.complete(core, chunk);
        true
    }

    /// All of `chunk` is in the file.
    fn complete(&self, core: &mut Core, chunk: Chunk) {
        core.placement.complete(chunk);
        // Release: pairs with `written` (D3).
        self.written.store(core.placement.written().lsn.get(), Ordering::Release);
        self.progress.notify_all();
    }

    /// Everything before was handed to the file system (D3).
    fn written(&self) -> Lsn {
        // Acquire: pairs with the Release in `end_claim`.
        Lsn::new(self.written.load(Ordering::Acquire))
    }

    /// Waits until the claim that `core` shows is over, or perhaps: the caller looks again.
    fn wait_for_claim(&self, core: MutexGuard<'_, Core>, end: Lsn) {
        let seen = core.placement.written().lsn;
        // Relaxed: a hint for the next writer.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        drop(core);
        let is_over = |look| {
            thread::pause(look);
            self.written() > seen
        };
        if !(0..LOOKS_BEFORE_SLEEP).any(is_over) {
            let mut core = self.core.lock();
            if core.placement.is_claimed() && core.poison.is_none() && core.placement.written().lsn < end {
                self.progress.wait(&mut core);
            }
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn end_claim(&self, chunk: Chunk, outcome: Result<Option<Opening>, Trouble>, patience: Patience) -> Result<()> {
        let mut core = self.core.lock();
        match outcome {
            Ok(opening) => {
                let unmapped = chunk.opens_after.is_some().then(|| core.mapped_end.unmap());
                self.complete(&mut core, chunk);
                let replaced = opening.map(|opening| core.mapped_end.open(opening));
                core.others_waited = self.waiting.load(Ordering::Relaxed) > 0;
                let was_stalled = std::mem::take(&mut core.stalled);
                drop(core);
                drop((unmapped, replaced)); // outside of the latch
                if was_stalled {
                    self.tell_stalled();
                }
            }
            Err(Trouble::Clean(error @ Error::DiskFull { .. })) => {
                core.placement.put_back(chunk);
                self.progress.notify_all();
                core.stalled = true;
                let closing = core.phase != Phase::Open;
                drop(core);
                Counters::count(&self.counters.stalls);
                self.tell_stalled();
                if closing {
                    // Nobody would wait for the space any more, and what is placed cannot be taken back.
                    self.poison(Arc::new(error));
                } else if patience == Patience::Once {
                    return Err(error);
                }
                let mut core = self.core.lock();
                if core.poison.is_none() {
                    self.progress.wait_for(&mut core, STALL_PAUSE);
                }
            }
            Err(Trouble::Clean(error)) => {
                // The claim stays open: no byte behind it ever counts as written.
                drop(core);
                self.poison(Arc::new(error));
            }
            // The sync has poisoned the log already.
            Err(Trouble::Sync(_)) => {}
        }
        Ok(())
    }

    fn write_chunk(&self, chunk: &mut Chunk) -> Result<(), Trouble> {
        if let Some(before) = &chunk.opens_after {
            self.open_segment(&chunk.segment, before, chunk.start)?;
        }
        debug_assert!(chunk.segment.is_opened(), "P3: a record reached a segment before its header");
        Counters::count(&self.counters.writes);
        let offset = chunk.segment.offset_of(chunk.start);
        let records_bytes = chunk.bytes.len();
        let zeros_bytes = zeros_behind(offset, records_bytes as u64) as usize;
        debug_assert!(chunk.bytes.capacity() >= records_bytes + zeros_bytes, "P7: a page more");
        chunk.bytes.resize(records_bytes + zeros_bytes, 0); // D4
        let outcome = chunk.segment.file.write_all_at(&chunk.bytes, offset).map_err(Trouble::Clean);
        chunk.bytes.truncate(records_bytes);
        outcome
    }

    /// All bytes before `start` are written (P3).
    fn open_segment(&self, segment: &Segment, before: &Segment, start: Lsn) -> Result<(), Trouble> {
        self.sync_file(&before.file).map_err(Trouble::Sync)?;
        self.publish(start, segment.header.first_ts.prev());
        match segment.write_headers() {
            Err(Trouble::Sync(error)) => {
                self.poison(Arc::new(error));
                Err(Trouble::Sync(self.poison_error().unwrap_or(Error::Closed)))
            }
            other => other,
        }
    }

    /// Syncs a file of the log; a failure poisons, and once poisoned nothing is synced again.
    pub(crate) fn sync_file(&self, file: &File) -> Result<()> {
        let gate = self.gate.lock();
        if let Some(error) = self.poison_error() {
            return Err(error);
        }
        Counters::count(&self.counters.syncs);
        let Err(error) = file.sync_data() else { return Ok(()) };
        let cause = Arc::new(error);
        // Under the gate: whoever syncs next must see it.
        let first = self.mark_poisoned(&cause);
        drop(gate);
        if first {
            self.announce_poison(&cause);
        }
        Err(Error::Poisoned { cause })
    }

    /// Tells the observer of a change of `stalled`.
    fn tell_stalled(&self) {
        let mut told = self.told_stalled.lock();
        let stalled = self.core.lock().stalled;
        if std::mem::replace(&mut *told, stalled) != stalled {
            self.config.observer.stalled(stalled);
        }
    }
}

/// D4: how many zeros go behind `bytes` bytes at `offset`.
fn zeros_behind(offset: u64, bytes: u64) -> u64 {
    let (end, page) = (offset + bytes, PAGE_BYTES as u64);
    let begins_its_last_page = offset <= end - end % page;
    match begins_its_last_page && !mutant!("begin_pages_in_part") {
        true => end.next_multiple_of(page) - end,
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_ends_with_a_page_unless_it_goes_on_in_one() {
        let cases = [
            ((0, 1), 4095),
            ((0, 4096), 0),
            ((100, 50), 0),
            ((100, 3996), 0),
            ((100, 3997), 4095),
            ((100, 5000), 3092),
            ((8192, 8), 4088),
        ];
        for ((offset, bytes), zeros) in cases {
            assert_eq!(zeros_behind(offset, bytes), zeros, "D4: {bytes} bytes at {offset}");
        }
    }
}
