//! The store: the current superversion, and the calls of the engine on it.
//!
//! Each call is a line or two here; the work is in `base::memtable` (apply), `get.rs`, `cursor.rs`, `admit.rs`, `upkeep.rs`, `open.rs`,
//! `verify.rs`.
//!
//! Latches, outer to inner: `upkeep`, then `current`, then the memtable's. `failure` and `prepared` are leaves. No I/O under `current`.

use std::sync::Arc;
use std::time::Duration;

use duramen_base::compaction::CompactionDesk;
use duramen_base::pool::CacheCounts;
use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{ManyReaders, Mutex, Padded};
use duramen_base::values::{LargeRef, ValueChanges, ValueStore};
use duramen_base::{
    Admission, Admit, Backend, BuiltIngest, Compression, Deadline, Error, Found, Hit, IngestRecord, KeyBounds,
    KeyspaceOptions, LevelStats, LoadTicket, LoggedOps, OpsOfKeyspace, Pin, Result, ScanOpts, SortedSource, StoreEnv,
    StoreMark, StoreStats, Timestamp, Urgency, Value, VerifyLevel, VerifyReport, WorkBudget, WorkDone, mutant,
};

use crate::cursor::LsmCursor;
use crate::ingest::{Expected, Ingested};
use crate::merge::pick;
use crate::superversion::{Layer, SuperVersion};
use crate::table::Table;
use crate::table::blocks::{Gathering, Loading, Prepared, Resident};
use crate::throttle::Throttle;
use crate::tuning::Tuning;
use crate::upkeep::Upkeep;
use crate::version::{Run, Version};
use crate::{admit, get, open, upkeep, verify};
use duramen_base::memtable::{KeyVersions, Memtable, ScanHints};

/// How often a value is looked for: each time in what a switch left that came between.
const LOADS_MAX: u32 = 8;
/// TU1.
const STORE_PER_MEMTABLE: u64 = 4;

/// What handle, cursors and tickets share.
pub(crate) struct Store {
    pub(crate) env: StoreEnv,
    pub(crate) tuning: Tuning,
    current: ManyReaders<Arc<SuperVersion>>,
    pub(crate) upkeep: Mutex<Upkeep>,
    prepared: Prepared,
    pub(crate) values: ValueStore,
    pub(crate) expected: Expected,
    pub(crate) persist_target: AtomicU64,
    /// Merges that were asked for.
    pub(crate) compaction: CompactionDesk,
    /// Whether tables of the last level are packed that are written from now on. Relaxed: a merge under way may go on as it began.
    packs: AtomicBool,
    /// A switch whose mark nobody has been told to log yet.
    pub(crate) unreported_switch: AtomicBool,
    /// What ended all writing.
    pub(crate) failure: Mutex<Option<Arc<Error>>>,
    pub(crate) persists: AtomicU64,
    pub(crate) throttle: Throttle,
    pub(crate) scan_hints: Padded<ScanHints>,
    /// Lookups of data blocks by readers. Here, too, as there may be no table to keep them.
    cache: Arc<CacheCounts>,
    /// See there. A hint, so relaxed.
    memtable_bytes_max: AtomicU64,
    written_bytes: AtomicU64,
    flushed_bytes: AtomicU64,
    /// Figures of tables that are gone.
    past_reads: AtomicU64,
    past_denials: AtomicU64,
    past_vain_passes: AtomicU64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("keyspace", &self.env.keyspace)
            .field("dir", &self.env.dir)
            .finish_non_exhaustive()
    }
}

impl Store {
    fn open(env: StoreEnv, tuning: Tuning) -> Result<Store> {
        let (version, upkeep) = open::open(&env)?;
        let values = ValueStore::open(&env, version.values_no)?;
        let store = Store {
            cache: env.pool.counts_of(env.keyspace),
            packs: AtomicBool::new(env.options.compression == Compression::Lz4),
            env,
            values,
            tuning,
            current: ManyReaders::new(Arc::new(SuperVersion::new(version))),
            upkeep: Mutex::new(upkeep),
            prepared: Prepared::default(),
            expected: Expected::default(),
            persist_target: AtomicU64::new(0),
            compaction: CompactionDesk::default(),
            unreported_switch: AtomicBool::new(false),
            failure: Mutex::new(None),
            persists: AtomicU64::new(0),
            memtable_bytes_max: AtomicU64::new(0),
            throttle: Throttle::default(),
            scan_hints: Padded::default(),
            written_bytes: AtomicU64::new(0),
            flushed_bytes: AtomicU64::new(0),
            past_reads: AtomicU64::new(0),
            past_denials: AtomicU64::new(0),
            past_vain_passes: AtomicU64::new(0),
        };
        store.note_files(&store.current());
        Ok(store)
    }

    /// What a reader reads from now on.
    pub(crate) fn current(&self) -> Arc<SuperVersion> {
        Arc::clone(&self.current.read())
    }

    /// Whether what a merge writes into the last level is packed.
    pub(crate) fn packs(&self) -> bool {
        self.packs.load(Ordering::Relaxed)
    }

    /// min(visible, durable): to be read before the memtables are looked at (K3).
    pub(crate) fn horizon(&self) -> Timestamp {
        self.env.host.visible().min(self.env.host.durable())
    }

    /// Every commit up to here is in durable files.
    pub(crate) fn persisted(&self) -> Timestamp {
        let horizon = self.horizon();
        self.current().persisted(horizon, None)
    }

    /// Puts an empty memtable in the place of the active one, if that holds anything.
    pub(crate) fn rotate(&self) {
        self.rotate_if(|_| true);
    }

    fn rotate_if(&self, is_due: impl FnOnce(&Arc<Memtable>) -> bool) -> bool {
        let mut replacing = self.current.replace();
        let current = replacing.value();
        let rotates = !current.active.is_empty() && is_due(&current.active);
        if rotates {
            let next = Arc::new(current.rotated());
            self.throttle.note_memtables(&next, &self.tuning.throttle);
            replacing.set(next);
        }
        rotates
    }

    /// Shows tables that a commit attached, in front of all that was applied before it.
    pub(crate) fn show(&self, ingested: Ingested) {
        let mut replacing = self.current.replace();
        let next = Arc::new(replacing.value().attached(ingested));
        replacing.set(next);
        drop(replacing);
        self.env.host.wake_upkeep();
    }

    /// Switches to other files, and drops the layer they hold now.
    pub(crate) fn install(&self, version: Version, settled: Option<&Layer>) {
        let mut replacing = self.current.replace();
        let next = Arc::new(replacing.value().switched(version, settled));
        self.note_files(&next);
        let old = replacing.set(next);
        drop(replacing);
        // Outside the latch: this may free a whole memtable.
        drop(old);
    }

    /// Bytes at which a memtable is full (TU1 of `tuning.rs`).
    pub(crate) fn memtable_bytes_max(&self) -> u64 {
        self.memtable_bytes_max.load(Ordering::Relaxed)
    }

    /// What bounds jobs and levels, but for packing.
    pub(crate) fn limits(&self) -> pick::Limits {
        pick::Limits::of(&self.tuning, self.memtable_bytes_max() - self.env.options.memtable_bytes)
    }

    fn note_files(&self, sv: &SuperVersion) {
        let asked = self.env.options.memtable_bytes;
        let may_be = asked.max(self.env.host.budget().limit() / self.tuning.memtable_share);
        let grown = upkeep::bytes_of(sv.runs()) / STORE_PER_MEMTABLE;
        let memtable_bytes_max = if mutant!("memtable_stays_small") { asked } else { grown.clamp(asked, may_be) };
        self.memtable_bytes_max.store(memtable_bytes_max, Ordering::Relaxed);
        let debt_bytes = pick::debt_bytes(&sv.version.levels, &self.limits());
        self.throttle.note_debt(debt_bytes, self.tuning.table_bytes);
        self.throttle.note_memtables(sv, &self.tuning.throttle);
    }

    /// Keeps the figures of a table that goes.
    pub(crate) fn count_past(&self, table: &Table) {
        let (denials, vain_passes) = table.denials_and_vain_passes();
        self.past_reads.fetch_add(table.reads(), Ordering::Relaxed);
        self.past_denials.fetch_add(denials, Ordering::Relaxed);
        self.past_vain_passes.fetch_add(vain_passes, Ordering::Relaxed);
    }

    pub(crate) fn count_written(&self, bytes: u64, is_flush: bool) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        if is_flush {
            self.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Large values that a flush brought into files, which counted them as written.
    pub(crate) fn count_separated(&self, change: &upkeep::Change<'_>) {
        if change.settled.is_some() {
            self.flushed_bytes.fetch_add(change.values.added_bytes(), Ordering::Relaxed);
        }
    }

    fn apply(&self, admission: Admission, commits: &[LoggedOps<'_>]) {
        let memtable = {
            let current = self.current.read();
            current.active.begin_apply(); // S2
            Arc::clone(&current.active)
        };
        memtable.apply(commits, admission.reservation, &*self.env.host);
        let is_full = memtable.bytes() >= self.memtable_bytes_max();
        if is_full && self.rotate_if(|active| Arc::ptr_eq(active, &memtable)) {
            self.env.host.wake_upkeep();
        }
    }

    /// Repeats a get with reading, and keeps the blocks it met for the get that follows.
    fn load(&self, key: &[u8], at: Timestamp) -> Result<()> {
        let gathering = Gathering::default();
        get::get(&self.current(), key, at, &gathering)?;
        self.prepared.remember(gathering.into_blocks());
        Ok(())
    }

    /// Brings values of some length into the value files, to be named by what is written in their place.
    pub(crate) fn separate(&self, kv: &mut KeyVersions, changes: &mut ValueChanges) -> Result<()> {
        kv.separate(self.tuning.value_bytes_max, |value| self.values.append(value, changes))
    }

    /// The value that a key named in some superversion. A merge may have found two copies of one version and dropped one since: then the key names the other.
    pub(crate) fn load_large(&self, key: &[u8], at: Timestamp, mut large: LargeRef) -> Result<Option<Value>> {
        for _ in 0..LOADS_MAX {
            if let Some(value) = self.values.read(large)? {
                return Ok(Some(value));
            }
            let found = get::get(&self.current(), key, at, &Loading::KEEP)?.expect("whoever loads has it");
            match found.hit {
                Hit::Large { large: now, .. } => large = now,
                Hit::Value { bytes, .. } => return Ok(Some(bytes.into_value())),
                Hit::Absent | Hit::Deleted(_) => return Ok(None),
                Hit::NeedIo(_) => unreachable!("whoever loads has it"),
            }
        }
        Err(Error::corruption(self.env.dir.join("values"), 0, "a value that a key names is not there"))
    }

    fn stats(&self) -> StoreStats {
        let sv = self.current();
        let memory_bytes = sv.memtables().map(|memtable| memtable.bytes()).sum();
        let passes = |table: &Arc<Table>| table.denials_and_vain_passes();
        let (denials, vain) = sv.tables().map(passes).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        let (cache_hits, cache_misses) = self.cache.hits_and_misses();
        let level = |runs: &Vec<Run>| LevelStats {
            runs: runs.len() as u32,
            tables: runs.iter().flat_map(Run::all).count() as u64,
            bytes: upkeep::bytes_of(runs.iter()),
            saved_bytes: runs.iter().flat_map(Run::all).map(|table| table.props().saved_bytes).sum(),
        };
        let mut stats = StoreStats {
            memory_bytes,
            unsaved_bytes: memory_bytes,
            disk_bytes: upkeep::bytes_of(sv.runs()),
            units: sv.tables().count() as u64,
            depth: sv.runs().count() as u32,
            persists: self.persists.load(Ordering::Relaxed),
            reads: sv.tables().map(|table| table.reads()).sum::<u64>() + self.past_reads.load(Ordering::Relaxed),
            cache_hits,
            cache_misses,
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            flushed_bytes: self.flushed_bytes.load(Ordering::Relaxed),
            stall_times: self.throttle.times(),
            write_delay: self.delay_of_kib(),
            debt_bytes: pick::debt_bytes(&sv.version.levels, &self.limits()),
            levels: sv.version.levels.iter().map(level).collect(),
            compaction: self.compaction.stats(),
            filter_denials: denials + self.past_denials.load(Ordering::Relaxed),
            filter_vain_passes: vain + self.past_vain_passes.load(Ordering::Relaxed),
            ..StoreStats::default()
        };
        self.values.add_stats(&mut stats);
        stats
    }
}

/// A log-structured store of one keyspace: applies go to memory, upkeep writes sorted tables and merges them.
///
/// What a caller may rely on is the contract of [`Backend`]. Dropping it loses nothing that [`Backend::persisted`] promised; the rest is
/// in the log.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::clock::ManualClock;
/// # use duramen_base::pool::FramePool;
/// # use duramen_base::vfs::{MemVfs, Vfs};
/// # use duramen_base::*;
/// # struct Engine(Arc<Budget>);
/// # impl StoreHost for Engine {
/// #     fn visible(&self) -> Timestamp { Timestamp::new(1) }
/// #     fn durable(&self) -> Timestamp { Timestamp::new(1) }
/// #     fn snapshots(&self) -> Arc<SnapSet> { Arc::new(SnapSet::new(Timestamp::new(1), vec![])) }
/// #     fn make_durable(&self, _: Timestamp) -> Result<()> { Ok(()) }
/// #     fn budget(&self) -> &Arc<Budget> { &self.0 }
/// #     fn wake_upkeep(&self) {}
/// # }
/// use duramen_lsm::Lsm;
/// # let disk = MemVfs::new();
/// # disk.create_dir("ks".as_ref()).unwrap();
/// # let budget = Budget::new(1 << 20);
/// # let env = StoreEnv {
/// #     vfs: Arc::new(disk), dir: "ks".into(), keyspace: KeyspaceId::new(1), db_uuid: DbUuid::from_bytes([1; 16]),
/// #     options: KeyspaceOptions::new(BackendKind::Lsm), pool: FramePool::new(&budget, 1 << 18),
/// #     host: Arc::new(Engine(budget)), clock: Arc::new(ManualClock::default()),
/// # };
/// Lsm::create(&env)?;
/// let store = Lsm::open(env)?;
///
/// let mut batch = Batch::new();
/// batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: b"oak", value: b"hard" }]);
/// let ops = BatchView::parse(batch.bytes()).unwrap().sections().next().unwrap();
/// let admission = store.admit(&ops, Deadline::default())?.granted().expect("memory");
/// store.apply(admission, &ops, Timestamp::new(2));
///
/// let pin = Pin::new();
/// let found = store.get(&pin, b"oak", Timestamp::new(2))?;
/// assert!(matches!(found.hit, Hit::Value { ref bytes, .. } if **bytes == *b"hard"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Lsm {
    store: Arc<Store>,
}

impl Lsm {
    /// Writes the files of an empty store and syncs them, the folder included. The folder exists. Repeating it after a crash or an error
    /// in the middle is fine.
    ///
    /// # Errors
    /// `KeyspaceExists` if a store with content is there; `DiskFull`, `Io`, `Poisoned` as they come.
    pub fn create(env: &StoreEnv) -> Result<()> {
        open::create(env)
    }

    /// Opens the store in the folder. It holds every commit `<= persisted()`; the engine applies the later ones again from the log.
    ///
    /// # Errors
    /// `Corruption` for damage and for missing files, naming file and offset; `UnsupportedFormat`; `Io`.
    pub fn open(env: StoreEnv) -> Result<Lsm> {
        let tuning = Tuning::of(&env.options);
        Lsm::open_tuned(env, tuning)
    }

    pub(crate) fn open_tuned(env: StoreEnv, tuning: Tuning) -> Result<Lsm> {
        Ok(Lsm { store: Arc::new(Store::open(env, tuning)?) })
    }
}

#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;

impl Backend for Lsm {
    type Cursor = LsmCursor;

    fn get<'p>(&self, pin: &'p Pin, key: &[u8], at: Timestamp) -> Result<Found<'p>> {
        let store = &self.store;
        let resident = Resident { prepared: &store.prepared, pin: pin.pinned() };
        // Under the latch, which is this thread's own: to count the superversion would be a word that all threads change. `Resident` reads no file (S4).
        if let Some(found) = get::get(&store.current.read(), key, at, &resident)? {
            return Ok(found);
        }
        let (store, key) = (Arc::clone(store), key.to_vec());
        Ok(Found { hit: Hit::NeedIo(LoadTicket::new(move || store.load(&key, at))), newer: false })
    }

    fn load_large(&self, key: &[u8], at: Timestamp, large: LargeRef) -> Result<Option<Value>> {
        self.store.load_large(key, at, large)
    }

    fn newer_than(&self, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>> {
        get::newer_than(&self.store.current(), key, since)
    }

    fn cursor(&self, at: Timestamp, bounds: KeyBounds<'_>, opts: ScanOpts) -> Result<LsmCursor> {
        Ok(LsmCursor::new(&self.store, at, bounds, opts))
    }

    fn admit(&self, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admit> {
        admit::admit(&self.store, ops, deadline)
    }

    fn throttle(&self, _bytes: u64, wait_max: Duration) -> Result<()> {
        self.store.throttle(wait_max)
    }

    fn admit_logged(&self, commits: &[LoggedOps<'_>]) -> Result<Admission> {
        admit::admit_logged(&self.store, commits)
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
        let horizon = self.store.horizon();
        let sv = self.store.current();
        StoreMark { seq: sv.version.seq, persisted: sv.persisted(horizon, None), contains: sv.version.contains }
    }

    fn persist_to(&self, target: Timestamp, _urgency: Urgency) {
        self.store.persist_target.fetch_max(target.get(), Ordering::Relaxed);
        self.store.env.host.wake_upkeep();
    }

    fn compact(&self, bounds: KeyBounds<'_>) -> u64 {
        self.store.ask_to_compact(bounds)
    }

    fn stop_compaction(&self, request: u64) {
        self.store.compaction.stop(request);
        self.store.env.host.wake_upkeep();
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
        verify::verify(&self.store, level, report)
    }

    fn options(&self) -> &KeyspaceOptions {
        &self.store.env.options
    }

    fn set_compression(&self, compression: Compression) {
        self.store.packs.store(compression == Compression::Lz4, Ordering::Relaxed);
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }
}
