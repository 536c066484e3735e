//! Giving up the front of the log once every store holds what is in it.
//!
//! T1  The oldest segment goes first, and durably before the next: what a crash leaves is a chain without a gap.
//! T2  A big batch holds the log from its first part until its commit is persisted, or it was given up.

use duramen_base::{Lsn, Result, Timestamp};

use crate::header::SegmentHeader;
use crate::segment::{Prepared, Segment, Trouble};
use crate::stats::Counters;
use crate::wal::{Core, Maintenance, Wal};

/// Prepared segments worth keeping: the next one, and a spare (R2).
const PREPARED_MAX: usize = 2;

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
                let bytes = oldest.header.segment_bytes;
                let wanted = self.next_segment_bytes(&mut core);
                (oldest, bytes == wanted && core.placement.prepared_count() < PREPARED_MAX)
            };
            self.give_up(&mut maintenance, &oldest.header, recycle)?;
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
