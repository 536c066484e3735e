//! Setting room aside in log and buffer, and preparing the segments that it takes.
//!
//! R2  Commits leave one prepared segment untouched: marks can be logged on a full disk, so that truncation can free space.
//! R3  A new segment measures a power of two, at most a quarter of the most log kept at once of late (within the limits given): what stands
//!     prepared, and what the filling with zeros writes for nothing, stays a share of what the log is used for.
//! R4  Who waits for a segment gets one whose zeros are not written: space is set aside, at once. It is about to be filled, in few large writes.
//! R5  Nor are those of segments prepared ahead while syncs are far apart: written zeros spare each sync a write of the file's metadata, and are worth
//!     as much as the records themselves.

use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::lock_soon;
use duramen_base::{Error, Result, mutant};

use crate::buffer::Room;
use crate::segment::{Prepared, Trouble, Zeros};
use crate::stats::Counters;
use crate::wal::{Core, Maintenance, Phase, Wal};
use crate::write::Patience;

/// R3: so much kept log makes a segment.
const KEPT_PER_SEGMENT: u64 = 4;

/// R5: syncs that are further apart, in bytes of log, are few.
const SYNCS_APART: u64 = 128 << 10;

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Leaves one prepared segment untouched (R2).
    Ordinary,
    /// May use the last one.
    Upkeep,
    /// So may the record that closes the log, which comes when nothing else is let in.
    Closing,
}

impl Class {
    fn spares(self) -> usize {
        match self {
            Class::Ordinary => 1,
            Class::Upkeep | Class::Closing => 0,
        }
    }
}

impl Wal {
    /// Sets `bytes` of log and buffer aside (R1).
    pub(crate) fn reserve(&self, bytes: u64, class: Class) -> Result<()> {
        let mut core = lock_soon(&self.core);
        loop {
            core.check_usable()?;
            if core.phase != Phase::Open && class != Class::Closing {
                return Err(Error::Closed);
            }
            // With records waiting for space nothing new is let in: the caller gets a clean DiskFull instead of a wait.
            let room = if core.stalled { Room::NeedsWriting } else { core.placement.room(bytes, class.spares()) };
            match room {
                Room::Reserved => return Ok(()),
                Room::NeedsSegment => {
                    drop(core);
                    self.prepare_segments(class.spares() + 1, Zeros::Reserved)?; // R4
                    core = self.core.lock();
                }
                Room::NeedsWriting => {
                    let end = core.placement.end();
                    drop(core);
                    self.write_prefix(end, Patience::Once)?;
                    core = self.core.lock();
                }
                Room::NeedsOthers => {
                    core.waiting_for_room += 1;
                    self.progress.wait(&mut core);
                    core.waiting_for_room -= 1;
                }
            }
        }
    }

    /// Sees to it that `count` prepared segments are there.
    pub(crate) fn prepare_segments(&self, count: usize, zeros: Zeros) -> Result<()> {
        let mut maintenance = self.maintenance.lock();
        loop {
            let bytes = {
                let mut core = self.core.lock();
                core.check_usable()?;
                if core.placement.prepared_count() >= count {
                    return Ok(());
                }
                self.next_segment_bytes(&mut core)
            };
            let prepared = self.create_segment(&mut maintenance, bytes, zeros)?;
            self.add_prepared(prepared);
        }
    }

    /// R5, by the log since this was asked last.
    pub(crate) fn zeros_ahead(&self) -> Zeros {
        let mut maintenance = self.maintenance.lock();
        let (end, syncs) = (self.core.lock().placement.end(), self.counters.syncs.load(Ordering::Relaxed));
        let (end_then, syncs_then) = std::mem::replace(&mut maintenance.prepared_at, (end, syncs));
        let (bytes, syncs) = (end.get() - end_then.get(), syncs - syncs_then);
        let are_few = bytes > syncs.saturating_mul(SYNCS_APART);
        if are_few && !mutant!("fill_for_few_syncs") { Zeros::Reserved } else { Zeros::Written }
    }

    /// R3.
    pub(crate) fn next_segment_bytes(&self, core: &mut Core) -> u64 {
        let quarter = core.note_kept_bytes() / KEPT_PER_SEGMENT;
        let power = quarter.checked_ilog2().map_or(0, |exponent| 1 << exponent);
        power.clamp(self.config.segment_bytes_first, self.config.segment_bytes_max)
    }

    pub(crate) fn add_prepared(&self, prepared: Prepared) {
        self.core.lock().placement.add_prepared(prepared);
        self.progress.notify_all();
    }

    fn create_segment(&self, maintenance: &mut Maintenance, bytes: u64, zeros: Zeros) -> Result<Prepared> {
        let smallest = self.config.segment_bytes_first;
        let mut create = |bytes| {
            let no = maintenance.next_no;
            maintenance.next_no += 1;
            Counters::count(&self.counters.segments_created);
            self.folder.create(no, bytes, zeros)
        };
        let created = match create(bytes) {
            // A big one does not fit, a small one may.
            Err(Trouble::Clean(Error::DiskFull { .. })) if bytes > smallest => create(smallest),
            other => other,
        };
        created.map_err(|trouble| self.settle(trouble))
    }
}
