//! Figures of a log, for humans and for whoever decides when to make room in it.

use duramen_base::sync::atomic::{AtomicU64, Ordering};

use duramen_base::{Lsn, Timestamp};

use crate::wal::Wal;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) stores: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) segments_created: AtomicU64,
    pub(crate) segments_recycled: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        // Relaxed: a figure for humans.
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Figures of a log.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::{DbUuid, Error, Timestamp, clock::SystemClock, vfs::MemVfs};
/// # use duramen_wal::{Claims, EventKind, Mark, MarkSet, Recovery, Wal, WalConfig};
/// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
/// # let config = WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()));
/// # let wal = Wal::create(config.clone())?;
/// let placed = wal.stage(b"a batch")?.place_commit(Timestamp::new(1));
/// assert_eq!((wal.stats().end, wal.stats().buffered_bytes), (placed.end, 48));
/// wal.sync_through(placed.end)?;
/// assert_eq!((wal.stats().synced, wal.stats().buffered_bytes), (placed.end, 0));
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalStats {
    /// Where the kept log begins.
    pub start: Lsn,
    /// Where the next record goes.
    pub end: Lsn,
    /// Everything before was handed to the file system.
    pub written: Lsn,
    /// Everything before is durable.
    pub synced: Lsn,
    /// Every commit up to here is durable.
    pub synced_ts: Timestamp,
    /// Newest commit placed.
    pub last_ts: Timestamp,
    /// How often this log was opened, the first included.
    pub log_epoch: u64,
    /// Segments that hold the kept log.
    pub segments: usize,
    /// Bytes of records placed and not yet written.
    pub buffered_bytes: u64,
    /// Writes made, by a call each.
    pub writes: u64,
    /// Writes made without a call, to the mapped end of the log.
    pub stores: u64,
    /// Syncs of record data made.
    pub syncs: u64,
    /// How often the disk had no space for a write.
    pub stalls: u64,
    /// Files made.
    pub segments_created: u64,
    /// Files used again.
    pub segments_recycled: u64,
}

impl Wal {
    /// Figures.
    pub fn stats(&self) -> WalStats {
        let core = self.core.lock();
        let figure = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalStats {
            start: core.chain.front().map_or(Lsn::ZERO, |first| first.header.first_lsn),
            end: core.placement.end(),
            written: core.placement.written().lsn,
            synced: self.synced(),
            synced_ts: self.synced_ts(),
            last_ts: core.placement.last_ts(),
            log_epoch: core.placement.segment().header.log_epoch,
            segments: core.chain.len(),
            buffered_bytes: core.placement.buffered_bytes(),
            writes: figure(&self.counters.writes),
            stores: figure(&self.counters.stores),
            syncs: figure(&self.counters.syncs),
            stalls: figure(&self.counters.stalls),
            segments_created: figure(&self.counters.segments_created),
            segments_recycled: figure(&self.counters.segments_recycled),
        }
    }
}
