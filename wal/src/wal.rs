//! The open log: its state, how it is created, and how it ends (poisoned or closed).
//!
//! The calls are grouped by what they do: `stage.rs` (in), `write.rs` and `sync.rs` (out), `truncate.rs`, `upkeep.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use duramen_base::sync::{Condvar, Mutex, Padded};
use duramen_base::{Error, Lsn, Result, Timestamp};

use crate::buffer::Placement;
use crate::chain;
use crate::config::WalConfig;
use crate::group::Group;
use crate::header::SegmentHeader;
use crate::log_end::{EndFile, LogEnd, Note};
use crate::mapped::MappedEnd;
use crate::segment::{Folder, Prepared, Segment, Trouble, Zeros};
use crate::stats::Counters;

/// An open log. All calls may come from any thread.
///
/// ```
/// use std::sync::Arc;
/// use duramen_base::{DbUuid, Timestamp, clock::SystemClock, vfs::MemVfs};
/// use duramen_wal::{Claims, Recovery, Wal, WalConfig};
///
/// let disk = Arc::new(MemVfs::new());
/// let config = WalConfig::new(disk, "log", Arc::new(SystemClock::new()), DbUuid::from_bytes([7; 16]), Arc::new(()));
/// let wal = Wal::create(config.clone())?;
/// let placed = wal.stage(b"a batch")?.place_commit(Timestamp::new(1));
/// wal.sync_through(placed.end)?;
/// wal.close()?;
///
/// let recovery = Recovery::scan(config, Claims { contains: Timestamp::new(1) })?;
/// assert!(recovery.was_closed());
/// let mut found = Vec::new();
/// recovery.replay(Timestamp::ZERO, &mut |ts, payload| {
///     found.push((ts, payload.to_vec()));
///     Ok(())
/// })?;
/// assert_eq!(found, [(Timestamp::new(1), b"a batch".to_vec())]);
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct Wal {
    pub(crate) config: WalConfig,
    pub(crate) folder: Folder,
    pub(crate) end_file: EndFile,
    /// One at a time prepares or removes segments.
    pub(crate) maintenance: Mutex<Maintenance>,
    pub(crate) core: Padded<Mutex<Core>>,
    /// `written` moved, a chunk was put back, staged room was used, or the log was poisoned or closed.
    pub(crate) progress: Condvar,
    pub(crate) group: Group,
    /// One sync at a time: of two on one file that fails, the second would report success.
    pub(crate) gate: Mutex<()>,
    /// The placement's `written`, readable without the latch (D3 of `write.rs`).
    pub(crate) written: Padded<AtomicU64>,
    /// Threads that wait for another's write.
    pub(crate) waiting: Padded<AtomicUsize>,
    synced: AtomicU64,
    synced_ts: AtomicU64,
    pub(crate) poison_flag: AtomicBool,
    /// The same in all segments written since this log was opened.
    log_epoch: u64,
    /// What the observer was last told; held while telling, so that it hears the changes in order.
    pub(crate) told_stalled: Mutex<bool>,
    pub(crate) counters: Padded<Counters>,
}

/// What only the holder of `maintenance` changes.
#[derive(Debug)]
pub(crate) struct Maintenance {
    /// Number of the next file (N1).
    pub(crate) next_no: u64,
    /// Where the log ended, and how many syncs it had seen, when a segment was prepared ahead last (R5).
    pub(crate) prepared_at: (Lsn, u64),
}

/// State under the one short latch that every record passes.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) placement: Placement,
    pub(crate) mapped_end: MappedEnd,
    /// All segments of the chain, oldest first; the last is current.
    pub(crate) chain: VecDeque<Arc<Segment>>,
    /// The most log that was kept at once of late (R3, T3).
    pub(crate) kept_bytes_peak: u64,
    /// First positions of big batches, with the timestamp of those that were committed: they hold the log.
    pub(crate) batches: BTreeMap<Lsn, Option<Timestamp>>,
    pub(crate) phase: Phase,
    pub(crate) poison: Option<Arc<Error>>,
    /// The disk had no space for the chunk that starts first.
    pub(crate) stalled: bool,
    /// Whether others waited for the last write when it was done.
    pub(crate) others_waited: bool,
    /// Threads that wait for staged room to be used.
    pub(crate) waiting_for_room: usize,
    pub(crate) idle: crate::upkeep::Idle,
}

/// Open -> Closing -> Closed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything is allowed.
    Open,
    /// Nothing new; what is placed is still written.
    Closing,
    /// Nothing.
    Closed,
}

/// What [`Wal::start`] goes on from.
pub(crate) struct Start {
    pub(crate) config: WalConfig,
    pub(crate) folder: Folder,
    pub(crate) end_file: EndFile,
    /// Segments before `current`.
    pub(crate) sealed: VecDeque<Arc<Segment>>,
    pub(crate) current: Arc<Segment>,
    pub(crate) last_ts: Timestamp,
    pub(crate) batches: BTreeMap<Lsn, Option<Timestamp>>,
}

impl Wal {
    /// Creates the log of a new database: its folder, its first segment and `LOG-END`, durably. If a crash interrupted an earlier call this one
    /// starts over.
    ///
    /// # Errors
    /// `Corruption` if the folder holds a log with records already; `DiskFull`, `Io`.
    pub fn create(config: WalConfig) -> Result<Arc<Wal>> {
        config.check()?;
        let folder = Folder::new(Arc::clone(&config.vfs), config.dir.clone(), config.db_uuid);
        folder.create_dir()?;
        let leftovers = chain::files_without_records(&folder)?;
        for no in leftovers {
            folder.remove(no).map_err(Trouble::into_error)?;
        }
        let prepared = folder.create(1, config.segment_bytes_first, Zeros::Written).map_err(Trouble::into_error)?;
        let current = open_fresh(prepared, &folder, Lsn::ZERO, Timestamp::ZERO, 1)?;
        EndFile::create(&*config.vfs, &config.end_path, config.db_uuid, LogEnd { segment_no: 1, end: Lsn::ZERO })?;
        let end_file = EndFile::open(&*config.vfs, &config.end_path, config.db_uuid)?;
        let (sealed, batches) = (VecDeque::new(), BTreeMap::new());
        Ok(Wal::start(Start { config, folder, end_file, sealed, current, last_ts: Timestamp::ZERO, batches }))
    }

    pub(crate) fn start(start: Start) -> Arc<Wal> {
        let Start { config, folder, end_file, sealed: mut chain, current, last_ts, batches } = start;
        let (first_lsn, log_epoch) = (current.header.first_lsn, current.header.log_epoch);
        let next_no = current.header.segment_no + 1;
        chain.push_back(Arc::clone(&current));
        let core = Core {
            placement: Placement::new(current, last_ts, config.buffer_bytes, config.budget.as_ref()),
            mapped_end: MappedEnd::default(),
            chain,
            kept_bytes_peak: 0,
            batches,
            phase: Phase::Open,
            poison: None,
            stalled: false,
            others_waited: false,
            waiting_for_room: 0,
            idle: crate::upkeep::Idle::at(first_lsn),
        };
        Arc::new(Wal {
            config,
            folder,
            end_file,
            maintenance: Mutex::new(Maintenance { next_no, prepared_at: (first_lsn, 0) }),
            core: Padded(Mutex::new(core)),
            progress: Condvar::new(),
            group: Group::default(),
            gate: Mutex::new(()),
            written: Padded(AtomicU64::new(first_lsn.get())),
            waiting: Padded::default(),
            synced: AtomicU64::new(first_lsn.get()),
            synced_ts: AtomicU64::new(last_ts.get()),
            poison_flag: AtomicBool::new(false),
            log_epoch,
            told_stalled: Mutex::new(false),
            counters: Padded::default(),
        })
    }

    /// Everything before this position is durable.
    pub fn synced(&self) -> Lsn {
        // Acquire: pairs with the Release in `publish`.
        Lsn::new(self.synced.load(Ordering::Acquire))
    }

    /// Every commit up to this one is durable.
    pub fn synced_ts(&self) -> Timestamp {
        // Acquire: pairs with the Release in `publish`.
        Timestamp::new(self.synced_ts.load(Ordering::Acquire))
    }

    /// How often this log was opened, the first time included. With it the numbers of commits lost in a crash, which are given
    /// out again, are told apart.
    pub fn log_epoch(&self) -> u64 {
        self.log_epoch
    }

    /// What can be said of the log's end outside of it. Either number alone is true for good.
    pub(crate) fn known_end(&self) -> LogEnd {
        let core = self.core.lock();
        let opened = core.chain.iter().rfind(|segment| segment.is_opened());
        LogEnd { segment_no: opened.map_or(0, |segment| segment.header.segment_no), end: self.synced() }
    }

    /// Says in `LOG-END` how far the log is durable. Nothing depends on it but what is noticed of later damage.
    pub(crate) fn note_end(&self, note: Note) -> Result<()> {
        if self.poisoned().is_some() {
            // W3
            return Ok(());
        }
        self.end_file.note(self.known_end(), note)
    }

    /// Tells the world that the log is durable through `lsn`, and so is the commit `ts`.
    pub(crate) fn publish(&self, lsn: Lsn, ts: Timestamp) {
        // The observer first: a waiter that sees the numbers below may return to its caller.
        if ts > self.synced_ts() {
            self.config.observer.durable_through(ts);
        }
        // Release: pairs with the Acquire loads above. Maximum, because the opener of a segment publishes beside a leader.
        self.synced_ts.fetch_max(ts.get(), Ordering::Release);
        self.synced.fetch_max(lsn.get(), Ordering::Release);
    }
}

impl Core {
    /// The most log kept at once of late, that of now included.
    pub(crate) fn note_kept_bytes(&mut self) -> u64 {
        let start = self.chain.front().map_or(Lsn::ZERO, |oldest| oldest.header.first_lsn);
        self.kept_bytes_peak = self.kept_bytes_peak.max(self.placement.end().get() - start.get());
        self.kept_bytes_peak
    }

    /// Segments that became current join the chain.
    pub(crate) fn note_switches(&mut self) {
        let Core { placement, chain, .. } = self;
        chain.extend(placement.drain_switched());
    }
}

/// Makes `prepared` the segment that goes on at `first_lsn` after the commit `last_ts`, durably.
pub(crate) fn open_fresh(
    prepared: Prepared,
    folder: &Folder,
    first_lsn: Lsn,
    last_ts: Timestamp,
    log_epoch: u64,
) -> Result<Arc<Segment>> {
    let header = SegmentHeader {
        db_uuid: folder.db_uuid(),
        segment_no: prepared.no,
        segment_bytes: prepared.bytes,
        first_lsn,
        first_ts: last_ts.next(),
        log_epoch,
    };
    let segment = Segment::new(header, prepared.file, false);
    segment.write_headers().map_err(Trouble::into_error)?;
    Ok(Arc::new(segment))
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("dir", &self.folder.dir()).field("stats", &self.stats()).finish()
    }
}
