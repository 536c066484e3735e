//! From the buffer to the file: the caller itself writes the unwritten prefix, chunk by chunk.
//!
//! D1  Lack of space for placed records is waited for, never given up while the log is open: the chunk goes back, the log is
//!     `stalled`, and whoever needs it tries again. Any other failed write poisons.
//! D2  Before a segment's headers are written the one before is synced through its end (S2).

use std::sync::Arc;
use std::time::Duration;

use duramen_base::vfs::File;
use duramen_base::{Error, Lsn, Result};

use crate::buffer::Chunk;
use crate::segment::{Segment, Trouble};
use crate::stats::Counters;
use crate::wal::{Phase, Wal};

/// Between two attempts to write to a full disk.
const STALL_PAUSE: Duration = Duration::from_millis(10);

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
    /// `Poisoned` once the log failed, also if that happens while waiting; `Closed`.
    pub fn write_through(&self, end: Lsn) -> Result<()> {
        self.write_prefix(end, Patience::Wait)
    }

    pub(crate) fn write_prefix(&self, end: Lsn, patience: Patience) -> Result<()> {
        let mut core = self.core.lock();
        loop {
            if core.placement.written().lsn >= end {
                return Ok(());
            }
            core.check_usable()?;
            let Some(chunk) = core.placement.take(end) else {
                self.progress.wait(&mut core);
                continue;
            };
            drop(core);
            let outcome = self.write_chunk(&chunk);
            core = self.core.lock();
            match outcome {
                Ok(()) => {
                    core.placement.complete(chunk);
                    self.progress.notify_all();
                    if std::mem::take(&mut core.stalled) {
                        drop(core);
                        self.tell_stalled();
                        core = self.core.lock();
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
                    core = self.core.lock();
                    if core.poison.is_none() {
                        self.progress.wait_for(&mut core, STALL_PAUSE);
                    }
                }
                Err(Trouble::Clean(error)) => {
                    // The claim stays open: no byte behind it ever counts as written.
                    drop(core);
                    self.poison(Arc::new(error));
                    core = self.core.lock();
                }
                // The sync has poisoned the log already.
                Err(Trouble::Sync(_)) => {}
            }
        }
    }

    fn write_chunk(&self, chunk: &Chunk) -> Result<(), Trouble> {
        if let Some(before) = &chunk.opens_after {
            self.open_segment(&chunk.segment, before, chunk.start)?;
        }
        debug_assert!(chunk.segment.is_opened(), "P3: a record reached a segment before its header");
        Counters::count(&self.counters.writes);
        let offset = chunk.segment.offset_of(chunk.start);
        chunk.segment.file.write_all_at(&chunk.bytes, offset).map_err(Trouble::Clean)
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
