//! The B-tree backend: one keyspace in one file, `tree.dat`, fastest at reads and scans.
//!
//! Commits go into a buffer in memory. Upkeep drains it into the pages, leaf by leaf: pages are immutable images in a table of page ids, and a
//! changed page is another image in its place. Images that changed are written to fresh units of the file, and a checkpoint then switches
//! superblocks, so no live block is ever overwritten. Older versions that a snapshot needs lie in the history section of their page.
//!
//! What this crate does not know: the log, transactions, isolation. It asks its [`StoreHost`](duramen_base::StoreHost) for snapshots,
//! horizons and durability, and takes whole committed batches.
//!
//! It keeps K1 to K6 and C1 to C4 of [`duramen_base::backend`].
//!
//! ```text
//!   pure     leaf, inner (pages as values)   range_tombs   units   map, superblock (formats)
//!   table    buffers   pid_table   spill   store (state, latch order)   upkeep (state of the one writer)
//!   callers  admit   read   unlatched   cursor   evict
//!   layers   buffers   ingest (runs of leaves that a commit attached)
//!   upkeep   work (what next)   drain   large   clear   split   merge   sweep   write   checkpoint   compact   relocate | open   verify   salvage
//! ```
//! Next: `store.rs` for the latches, `drain.rs` for the way of a commit into pages, `checkpoint.rs` for durability, `superblock.rs` and `map.rs`
//! for the file.
#![forbid(unsafe_code)]

mod admit;
mod ahead;
mod buffers;
mod checkpoint;
mod clear;
mod compact;
mod cursor;
mod drain;
mod evict;
#[cfg(feature = "testing")]
pub mod fuzz;
mod ingest;
mod inner;
mod large;
mod leaf;
mod map;
mod merge;
mod open;
mod pid_table;
mod range_tombs;
mod read;
mod relocate;
mod salvage;
mod spill;
mod split;
mod store;
mod superblock;
mod sweep;
mod throttle;
mod units;
mod unlatched;
mod upkeep;
mod verify;
mod work;
mod write;

#[cfg(test)]
mod tests;

pub use cursor::BTreeCursor;
pub use open::FILE_NAME;
pub use salvage::{salvage, salvage_ingest};

use std::time::Duration;

use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::values::LargeRef;
use duramen_base::{
    Admission, Admit, Backend, BuiltIngest, Deadline, Found, IngestRecord, KeyBounds, KeyspaceOptions, LoggedOps,
    OpsOfKeyspace, Pin, Result, ScanOpts, SortedSource, StallTimes, StoreEnv, StoreMark, StoreStats, Timestamp,
    Urgency, Value, VerifyLevel, VerifyReport, WorkBudget, WorkDone,
};

use crate::pid_table::Page;
use crate::store::Store;

/// A keyspace stored as a B-tree.
///
/// `create` once, `open`, then apply every commit above `persisted()`; see [`Backend`].
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::clock::ManualClock;
/// # use duramen_base::pool::FramePool;
/// # use duramen_base::vfs::{MemVfs, Vfs};
/// # use duramen_base::*;
/// # struct Host(Arc<Budget>);
/// # impl StoreHost for Host {
/// #     fn visible(&self) -> Timestamp { Timestamp::new(1) }
/// #     fn durable(&self) -> Timestamp { Timestamp::new(1) }
/// #     fn snapshots(&self) -> Arc<SnapSet> { Arc::new(SnapSet::new(Timestamp::ZERO, vec![])) }
/// #     fn make_durable(&self, _: Timestamp) -> Result<()> { Ok(()) }
/// #     fn budget(&self) -> &Arc<Budget> { &self.0 }
/// #     fn wake_upkeep(&self) {}
/// # }
/// # let budget = Budget::new(1 << 20);
/// # let vfs = Arc::new(MemVfs::new());
/// # vfs.create_dir("/ks".as_ref()).unwrap();
/// # let env = StoreEnv {
/// #     vfs, dir: "/ks".into(), keyspace: KeyspaceId::new(1), db_uuid: DbUuid::from_bytes([1; 16]),
/// #     options: KeyspaceOptions::new(BackendKind::BTree), pool: FramePool::new(&budget, 1 << 20),
/// #     host: Arc::new(Host(budget)), clock: Arc::new(ManualClock::default()),
/// # };
/// use duramen_btree::BTree;
///
/// BTree::create(&env)?;
/// let tree = BTree::open(env)?;
/// let mut batch = Batch::new();
/// batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: b"oak", value: b"hard" }]);
/// let view = BatchView::parse(batch.bytes()).expect("what was just built");
/// for ops in view.sections() {
///     let admission = tree.admit(&ops, Deadline::default())?.granted().expect("memory");
///     tree.apply(admission, &ops, Timestamp::new(1));
/// }
/// assert_eq!(tree.newer_than(b"oak", Timestamp::ZERO)?, Some(Timestamp::new(1)));
///
/// let mut cursor = tree.cursor(Timestamp::new(1), KeyBounds::ALL, ScanOpts::default())?;
/// # use duramen_base::backend::BackendCursor;
/// assert!(cursor.next()?);
/// assert_eq!((cursor.key(), cursor.value()), (&b"oak"[..], &b"hard"[..]));
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct BTree {
    store: Arc<Store>,
}

impl BTree {
    /// Writes and syncs the file of an empty store in `env.dir`. Repeating it after a crash in the middle is fine.
    ///
    /// # Errors
    /// * [`duramen_base::Error::InvalidArgument`]: the folder holds a store that was used already; it is left alone.
    /// * [`duramen_base::Error::DiskFull`], [`duramen_base::Error::Io`]: try again.
    pub fn create(env: &StoreEnv) -> Result<()> {
        open::create(env)
    }

    /// Opens the store in `env.dir`. Writes nothing.
    ///
    /// # Errors
    /// * [`duramen_base::Error::Corruption`]: the file is missing, damaged, or of another database or keyspace.
    /// * [`duramen_base::Error::UnsupportedFormat`]: written by a version, or with a feature, that this one does not know.
    pub fn open(env: StoreEnv) -> Result<BTree> {
        Ok(BTree { store: open::open(env)? })
    }
}

impl std::fmt::Debug for BTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BTree").field("file", &self.store.file).finish_non_exhaustive()
    }
}

impl Backend for BTree {
    type Cursor = BTreeCursor;

    fn get<'p>(&self, pin: &'p Pin, key: &[u8], at: Timestamp) -> Result<Found<'p>> {
        self.store.get(pin, key, at)
    }

    fn load_large(&self, key: &[u8], at: Timestamp, large: LargeRef) -> Result<Option<Value>> {
        self.store.load_large(key, at, large)
    }

    fn newer_than(&self, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>> {
        self.store.newer_than(key, since)
    }

    fn cursor(&self, at: Timestamp, bounds: KeyBounds<'_>, _opts: ScanOpts) -> Result<BTreeCursor> {
        BTreeCursor::new(Arc::clone(&self.store), at, bounds)
    }

    fn admit(&self, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admit> {
        self.store.admit(ops, deadline).map(Admit::Granted)
    }

    fn throttle(&self, bytes: u64, wait_max: Duration) -> Result<()> {
        self.store.throttle(bytes, wait_max)
    }

    fn admit_logged(&self, commits: &[LoggedOps<'_>]) -> Result<Admission> {
        self.store.admit_any(commits, Deadline(None))
    }

    fn apply_logged(&self, admission: Admission, commits: &[LoggedOps<'_>]) {
        self.store.apply(admission, commits);
    }

    fn ingest_bytes_min(&self) -> Option<u64> {
        Some(self.store.ingest_bytes_min())
    }

    fn ingest(&self, source: &mut dyn SortedSource) -> Result<BuiltIngest> {
        self.store.build_ingest(source)
    }

    fn attach(&self, built: BuiltIngest, at: Timestamp) {
        self.store.attach(built, at);
    }

    fn expect_ingest(&self, record: &IngestRecord) -> Result<()> {
        self.store.expect_ingest(record)
    }

    fn attach_expected(&self, record: &IngestRecord, at: Timestamp) {
        self.store.attach_expected(record, at);
    }

    fn persisted(&self) -> Timestamp {
        self.store.persisted()
    }

    fn mark(&self) -> StoreMark {
        self.store.mark()
    }

    fn persist_to(&self, target: Timestamp, urgency: Urgency) {
        self.store.persist_to(target, urgency);
    }

    fn compact(&self, bounds: KeyBounds<'_>) -> u64 {
        self.store.ask_to_compact(bounds)
    }

    fn stop_compaction(&self, request: u64) {
        self.store.compaction.stop(request);
    }

    fn pause_compaction(&self, is_paused: bool) {
        self.store.pause_compaction(is_paused);
    }

    fn compacted(&self) -> u64 {
        self.store.compaction.done_through()
    }

    fn work(&self, budget: WorkBudget) -> Result<WorkDone> {
        self.store.work(budget)
    }

    fn verify(&self, level: VerifyLevel, report: &mut VerifyReport) -> Result<()> {
        self.store.verify(level, report)
    }

    fn options(&self) -> &KeyspaceOptions {
        &self.store.env.options
    }

    fn stats(&self) -> StoreStats {
        let store = &self.store;
        // Relaxed: figures.
        let count = |counter: &duramen_base::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let depth = match &*store.pages.known(pid_table::ROOT_PID).read() {
            Page::Resident(root) => u32::from(root.image.level()) + 1,
            Page::OnDisk(_) | Page::Free => 0,
        };
        let buffered = store.buffers.layers().bytes();
        let (cache_hits, cache_misses) = store.cache.hits_and_misses();
        let mut stats = StoreStats {
            compaction: store.compaction.stats(),
            memory_bytes: buffered + count(&store.counters.resident_bytes) + count(&store.counters.spill_bytes),
            unsaved_bytes: buffered + count(&store.counters.dirty_bytes),
            disk_bytes: store.file.len().unwrap_or(0),
            units: store.pages.count(),
            depth,
            persists: count(&store.counters.persists),
            reads: count(&store.counters.reads),
            cache_hits,
            cache_misses,
            written_bytes: count(&store.counters.written_bytes),
            drains: count(&store.counters.drains),
            drained_changes: count(&store.counters.drained_changes),
            copied_bytes: count(&store.counters.copied_bytes),
            pages_merged: count(&store.counters.pages_merged),
            stall_times: StallTimes {
                memtables: Duration::from_nanos(count(&store.counters.stall_nanos)),
                ..StallTimes::default()
            },
            persist_time: Duration::from_nanos(count(&store.counters.persist_nanos)),
            persist_step_max: Duration::from_nanos(count(&store.counters.persist_step_nanos_max)),
            ..StoreStats::default()
        };
        store.values.add_stats(&mut stats);
        stats
    }
}
