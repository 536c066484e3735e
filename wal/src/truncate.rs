//! Giving up the front of the log once every store holds what is in it.
//!
//! T1  The oldest segment goes first, and durably before the next: what a crash leaves is a chain without a gap.
//! T2  A big batch holds the log from its first part until its commit is persisted, or it was given up.
//! T3  A file that is needed no more is used again as long as all files together are then no larger than the most log kept at once of late and what
//!     stands prepared: who writes without end fills no new ones with zeros. What stands by beyond the usual goes in idle moments, when
//!     somebody asks for a checkpoint, and when a store finds the disk full.

use duramen_base::{Lsn, Result, Timestamp, mutant};

use crate::header::SegmentHeader;
use crate::segment::{Prepared, Segment, Trouble};
use crate::stats::Counters;
use crate::wal::{Core, Maintenance, Wal};

/// Prepared segments that are always worth keeping: the next one, and a spare (R2).
pub(crate) const PREPARED_USUAL: usize = 2;
/// The most log kept is forgotten by this part with each segment that goes: it is a peak of late, not of all times.
const PEAK_FADES: u64 = 64;

impl Wal {
    /// Gives up segments that hold nothing but commits up to `through`, which every store has in durable files. The caller has
    /// logged and synced the marks of all stores before, and has made durable elsewhere whatever events it still needs.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use duramen_base::{DbUuid, Error, Timestamp, clock::SystemClock, vfs::MemVfs};
    /// # use duramen_wal::{Claims, EventKind, Mark, MarkSet, Recovery, Wal, WalConfig};
    /// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
    /// # let config = WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()));
    /// # let wal = Wal::create(config.clone())?;
    /// let placed = wal.stage(b"a batch")?.place_commit(Timestamp::new(1));
    /// let mut marks = MarkSet::default();
    /// marks.note(1, Mark { seq: 5, persisted: Timestamp::new(1) });
    /// wal.sync_through_ts(Timestamp::new(1))?;
    /// wal.sync_through(wal.log_marks(&marks)?)?;
    /// wal.truncate(Timestamp::new(1))?;
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io`: some segments may be gone, another call goes on. `Poisoned`, `Closed`, `InvalidArgument` as [`Wal::sync_through_ts`].
    pub fn truncate(&self, through: Timestamp) -> Result<()> {
        // The marks that let these segments go must survive before the segments do not.
        self.sync_through_ts(through)?;
        let end = self.core.lock().placement.end();
        self.sync_through(end)?;
        let mut maintenance = self.maintenance.lock();
        loop {
            let (oldest, recycle) = {
                let mut core = self.core.lock();
                core.check_usable()?;
                let Some(oldest) = core.oldest_removable(through) else { return Ok(()) };
                let wanted = self.next_segment_bytes(&mut core);
                let recycle = core.is_worth_recycling(oldest.header.segment_bytes, wanted);
                core.kept_bytes_peak -= core.kept_bytes_peak / PEAK_FADES;
                (oldest, recycle)
            };
            self.give_up(&mut maintenance, &oldest.header, recycle)?;
        }
    }

    /// Removes prepared files beyond the usual, the last ones first (T3). One that cannot be removed is left to the next opening (N2).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use duramen_base::{DbUuid, clock::SystemClock, vfs::MemVfs};
    /// # use duramen_wal::{Wal, WalConfig};
    /// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
    /// # let wal = Wal::create(WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(())))?;
    /// wal.remove_spare_segments()?; // a new log has none
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Poisoned`: the folder cannot be synced.
    pub fn remove_spare_segments(&self) -> Result<()> {
        let _maintenance = self.maintenance.lock();
        loop {
            let Some(spare) = self.core.lock().placement.pop_prepared_beyond(PREPARED_USUAL) else { return Ok(()) };
            match self.folder.remove(spare.no) {
                Err(trouble @ Trouble::Sync(_)) => return Err(self.settle(trouble)),
                Err(Trouble::Clean(_)) | Ok(()) => {}
            }
        }
    }

    /// Whether [`Wal::truncate`] of `through` would give a segment up.
    pub fn can_truncate(&self, through: Timestamp) -> bool {
        self.core.lock().oldest_removable(through).is_some()
    }

    fn give_up(&self, maintenance: &mut Maintenance, header: &SegmentHeader, recycle: bool) -> Result<()> {
        let gone = if recycle {
            self.recycle(maintenance, header)
        } else {
            self.folder.remove(header.segment_no).map(|()| None)
        };
        let prepared = gone.map_err(|trouble| self.settle(trouble))?;
        self.core.lock().chain.pop_front();
        if let Some(prepared) = prepared {
            self.add_prepared(prepared);
        }
        Ok(())
    }

    fn recycle(&self, maintenance: &mut Maintenance, header: &SegmentHeader) -> Result<Option<Prepared>, Trouble> {
        let new_no = maintenance.next_no;
        maintenance.next_no += 1;
        self.folder.renumber(header.segment_no, new_no)?;
        Counters::count(&self.counters.segments_recycled);
        // The segment is gone, whatever comes now; a file that cannot be opened is passed over and removed by the next opening (N2).
        Ok(self.folder.open_prepared(new_no, header.segment_bytes).ok())
    }
}

impl Core {
    /// T3; `wanted` is what a new file would measure (R3).
    fn is_worth_recycling(&self, bytes: u64, wanted: u64) -> bool {
        let prepared = &self.placement;
        if prepared.prepared_count() < PREPARED_USUAL {
            return bytes == wanted;
        }
        let all_bytes =
            prepared.prepared_bytes() + self.chain.iter().map(|kept| kept.header.segment_bytes).sum::<u64>();
        let is_near = (wanted / 2..=wanted * 2).contains(&bytes);
        is_near
            && all_bytes <= self.kept_bytes_peak + PREPARED_USUAL as u64 * wanted
            && !mutant!("recycle_few_segments")
    }

    /// The oldest segment, if nothing newer than `through` needs it.
    fn oldest_removable(&mut self, through: Timestamp) -> Option<std::sync::Arc<Segment>> {
        self.batches.retain(|_, ts| ts.is_none_or(|ts| ts > through));
        let held: Option<Lsn> = self.batches.keys().next().copied();
        let (oldest, next) = (self.chain.front()?, self.chain.get(1)?);
        // An opened next segment proves that the oldest is durable through its end (S2).
        let spent = next.is_opened() && next.header.first_ts <= through.next();
        (spent && held.is_none_or(|held| held >= next.header.first_lsn)).then(|| std::sync::Arc::clone(oldest))
    }
}
