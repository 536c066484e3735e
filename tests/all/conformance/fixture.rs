//! One store with everything around it: a disk, a host, the commits it was given, and the questions a test asks.
//!
//! It plays the engine: hands out timestamps, keeps the log, and after a restart applies again what the store does not promise to have.
//! When it is dropped it checks what must hold at the end of every test:
//!
//! F1  `verify` finds nothing.
//! F2  Nothing is promised that the log does not have: `persisted` and `contains` are not above `durable`.
//! F3  Once the store and its pool are gone no byte of the budget is held.

mod restart;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duramen_base::clock::ManualClock;
use duramen_base::pool::FramePool;
use duramen_base::sync::Mutex;
use duramen_base::vfs::{MemVfs, Vfs};
use duramen_base::{
    Backend, Batch, DbUuid, Deadline, IngestRecord, KeyBounds, KeyspaceId, KeyspaceOptions, Result, ScanOpts,
    SortedSource, StoreEnv, StoreHost, StoreMark, Timestamp, Urgency, VerifyLevel, VerifyReport, WorkBudget,
};

use super::host::TestHost;
use super::subject::Subject;
use super::words::{Answer, Change, Rows, apply_batch, ask, backward, batch, forward, show};

/// The keyspace of every fixture.
pub(crate) const KEYSPACE: KeyspaceId = KeyspaceId::new(7);
/// The database of every fixture.
pub(crate) const DB_UUID: DbUuid = DbUuid::from_bytes([0xd0; 16]);
/// Memory of a fixture, unless the test is about memory.
pub(crate) const BUDGET_BYTES: u64 = 64 << 20;
/// Steps of upkeep after which a store that still has work is taken to be going round in circles.
const STEPS_MAX: usize = 100_000;

/// A store, its surroundings, and what it was given.
pub(crate) struct Fixture<S: Subject> {
    /// The disk.
    pub vfs: Arc<dyn Vfs>,
    /// The engine.
    pub host: Arc<TestHost>,
    /// What the store is opened with.
    pub options: KeyspaceOptions,
    /// Size of the pool that the store is opened with next.
    pub(crate) pool_bytes: u64,
    pool: Option<Arc<FramePool>>,
    store: Option<S::Store>,
    log: Vec<(Timestamp, Logged)>,
    /// The newest mark in the log.
    logged_mark: Mutex<Option<StoreMark>>,
    /// What the store was opened with: `persisted` may be above `visible` up to here.
    opened_at: Timestamp,
}

/// What the log has of a commit.
#[derive(Clone, Debug)]
struct Logged {
    /// What it did.
    batch: Batch,
    /// Of an ingest: what names the files that have its content.
    ingest: Option<IngestRecord>,
}

impl From<Batch> for Logged {
    fn from(batch: Batch) -> Logged {
        Logged { batch, ingest: None }
    }
}

/// Pairs in order, as a store asks for them.
struct Pairs<'a> {
    rest: std::slice::Iter<'a, (Vec<u8>, Vec<u8>)>,
}

impl SortedSource for Pairs<'_> {
    fn next_pair(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(self.rest.next().map(|(key, value)| (&**key, &**value)))
    }
}

impl<S: Subject> Fixture<S> {
    /// An empty store with tiny pages in a disk of its own. Every version stays readable, because the horizon is held at zero.
    pub(crate) fn new() -> Self {
        Fixture::with(Arc::new(MemVfs::new()), BUDGET_BYTES)
    }

    /// The same, but the horizon follows the commits: only registered snapshots keep older versions.
    pub(crate) fn forgetting() -> Self {
        let fixture = Fixture::new();
        fixture.host.follow_horizon();
        fixture
    }

    /// An empty store on `vfs` with a budget of so many bytes.
    pub(crate) fn with(vfs: Arc<dyn Vfs>, budget_bytes: u64) -> Self {
        let (memtable_bytes, page_bytes, compression) = (4 << 10, 1 << 10, S::COMPRESSION);
        let options = KeyspaceOptions { memtable_bytes, page_bytes, compression, ..KeyspaceOptions::new(S::KIND) };
        Fixture::with_options(vfs, budget_bytes, options)
    }

    /// An empty store with these options.
    pub(crate) fn with_options(vfs: Arc<dyn Vfs>, budget_bytes: u64, options: KeyspaceOptions) -> Self {
        let host = TestHost::new(budget_bytes);
        host.hold_horizon();
        let mut fixture = Fixture {
            vfs,
            host,
            options,
            pool_bytes: budget_bytes / 4,
            pool: None,
            store: None,
            log: Vec::new(),
            logged_mark: Mutex::default(),
            opened_at: Timestamp::ZERO,
        };
        fixture.vfs.create_dir(&fixture.dir()).expect("an empty disk");
        fixture.vfs.sync_dir("/".as_ref()).expect("an empty disk");
        let env = fixture.env();
        S::create(&env).expect("room for an empty store");
        drop(env);
        fixture.open().expect("what was just created");
        fixture
    }

    /// The folder of the store.
    pub(crate) fn dir(&self) -> PathBuf {
        PathBuf::from("/ks")
    }

    /// What the store is opened with next: a new pool, as in a new process.
    pub(crate) fn env(&mut self) -> StoreEnv {
        let pool = FramePool::new(self.host.budget(), self.pool_bytes);
        self.pool = Some(Arc::clone(&pool));
        StoreEnv {
            vfs: Arc::clone(&self.vfs),
            dir: self.dir(),
            keyspace: KEYSPACE,
            db_uuid: DB_UUID,
            options: self.options.clone(),
            host: self.host.clone(),
            pool,
            clock: Arc::new(ManualClock::default()),
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> &S::Store {
        self.store.as_ref().expect("an open store")
    }

    /// Drops the handle of the store only; cursors and pool live on.
    pub(crate) fn drop_store(&mut self) {
        self.store = None;
    }

    /// Whether there is a store.
    pub(crate) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// Opens the store as its files are, without applying anything.
    pub(crate) fn open(&mut self) -> Result<()> {
        let env = self.env();
        let store = S::open(env)?;
        self.opened_at = store.persisted();
        self.store = Some(store);
        Ok(())
    }

    /// Commits `changes`: visible when this returns, durable later.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Timestamp {
        let ts = self.host.sequence();
        self.apply_at(changes, ts);
        self.host.publish(ts);
        ts
    }

    /// Applies `changes` as (a part of) the commit `ts`, without publishing it.
    pub(crate) fn apply_at(&mut self, changes: &[Change], ts: Timestamp) {
        let batch = batch(changes);
        apply_batch(self.store(), &batch, ts);
        self.note(ts, batch.into());
    }

    fn note(&mut self, ts: Timestamp, logged: Logged) {
        self.log.push((ts, logged));
        // Parts of one commit keep their order.
        self.log.sort_by_key(|(ts, _)| *ts);
    }

    /// Takes rows in as the commit `ts`, without publishing it: by files where the store builds some, else by puts. Everything before is applied.
    pub(crate) fn ingest_at(&mut self, rows: &Rows, ts: Timestamp) {
        let puts: Vec<Change> = rows.iter().map(|(key, value)| Change::Put(key.clone(), value.clone())).collect();
        if self.store().ingest_bytes_min().is_none() {
            return self.apply_at(&puts, ts);
        }
        let built = self.store().ingest(&mut Pairs { rest: rows.iter() }).expect("a good disk");
        let ingest = Some(built.record);
        self.store().attach(built, ts);
        self.note(ts, Logged { batch: batch(&puts), ingest });
    }

    /// Puts into the log what a test applied by itself.
    pub(crate) fn note_log(&mut self, commits: impl IntoIterator<Item = (Timestamp, Vec<Change>)>) {
        self.log.extend(commits.into_iter().map(|(ts, changes)| (ts, batch(&changes).into())));
        self.log.sort_by_key(|(ts, _)| *ts);
    }

    /// A commit that concerns other keyspaces only.
    pub(crate) fn commit_elsewhere(&mut self) -> Timestamp {
        let ts = self.host.sequence();
        self.host.publish(ts);
        ts
    }

    /// Where everything applied so far is visible.
    pub(crate) fn now(&self) -> Timestamp {
        self.host.visible()
    }

    /// What `key` is at `at`.
    pub(crate) fn get(&self, key: impl AsRef<[u8]>, at: Timestamp) -> Answer {
        self.found(key, at).0
    }

    /// What `key` is at `at`, and whether something newer exists.
    pub(crate) fn found(&self, key: impl AsRef<[u8]>, at: Timestamp) -> (Answer, bool) {
        ask(self.store(), key.as_ref(), at).expect("a readable store")
    }

    /// The newest value of `key`.
    pub(crate) fn value(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.get(key, self.now()).value().map(<[u8]>::to_vec)
    }

    /// The newest change to `key` after `since`.
    pub(crate) fn newer_than(&self, key: impl AsRef<[u8]>, since: Timestamp) -> Option<Timestamp> {
        self.store().newer_than(key.as_ref(), since).expect("a readable store")
    }

    /// A cursor at `at`.
    pub(crate) fn cursor(&self, at: Timestamp, bounds: KeyBounds<'_>) -> <S::Store as Backend>::Cursor {
        self.store().cursor(at, bounds, ScanOpts::default()).expect("a readable store")
    }

    /// All rows at `at`, read forward; reading backward must give the same.
    pub(crate) fn rows(&self, at: Timestamp) -> Rows {
        self.rows_in(at, KeyBounds::ALL)
    }

    /// The rows in `bounds` at `at`, read forward; reading backward must give the same.
    pub(crate) fn rows_in(&self, at: Timestamp, bounds: KeyBounds<'_>) -> Rows {
        let rows = forward(&mut self.cursor(at, bounds));
        let mut reversed = backward(&mut self.cursor(at, bounds));
        reversed.reverse();
        assert_eq!(show(&rows), show(&reversed), "forward and backward differ");
        rows
    }

    /// One step of upkeep. F2.
    pub(crate) fn work(&self, bytes: u64) -> Result<bool> {
        let before = self.store().mark();
        let done = self.store().work(WorkBudget { bytes })?;
        let mark = self.store().mark();
        assert!(
            mark.seq >= before.seq && mark.persisted >= before.persisted,
            "a mark goes forward: {before:?}, {mark:?}"
        );
        assert!(done.switched || mark.seq == before.seq, "a switch is reported: {before:?}, {mark:?}");
        if done.switched {
            self.log_mark();
        }
        self.check_promises();
        Ok(done.more)
    }

    /// Works until nothing is left to do.
    pub(crate) fn work_until_idle(&self) {
        for _ in 0..STEPS_MAX {
            if !self.work(64 << 10).expect("upkeep on a good disk") {
                return;
            }
        }
        panic!("upkeep found work {STEPS_MAX} times");
    }

    /// Asks that everything visible comes into files.
    pub(crate) fn persist_soon(&self) {
        self.store().persist_to(self.now(), Urgency::Now);
    }

    /// Brings everything visible into files.
    pub(crate) fn persist(&self) {
        let target = self.now();
        self.persist_soon();
        self.work_until_idle();
        // What concerns other keyspaces only waits for nothing but the log.
        self.host.log_synced(target);
        if S::HAS_FILES {
            let persisted = self.store().persisted();
            assert!(persisted >= target, "K3: {persisted} after persisting to {target}");
        }
    }

    /// Makes the files small, with `beside` between the steps, of `bytes` each.
    pub(crate) fn compact_beside(&mut self, bytes: u64, mut beside: impl FnMut(&mut Self, usize)) {
        let request = self.store().compact(KeyBounds::ALL);
        for step in 0..STEPS_MAX {
            if self.store().compacted() >= request {
                return;
            }
            self.work(bytes).expect("upkeep on a good disk");
            beside(self, step);
        }
        panic!("a compaction of more than {STEPS_MAX} steps");
    }

    /// Makes the files small.
    pub(crate) fn compact(&mut self) {
        self.compact_beside(16 << 10, |_, _| {});
    }

    /// F2.
    pub(crate) fn check_promises(&self) {
        // The mark first: both grow.
        let (mark, persisted) = (self.store().mark(), self.store().persisted());
        let (durable, visible) = (self.host.durable(), self.host.visible());
        assert!(mark.persisted <= persisted, "the mark {mark:?} says more than {persisted}");
        assert!(mark.contains <= durable, "F2, K4: {mark:?} above durable {durable}");
        assert!(persisted <= durable, "F2, K4: persisted {persisted} above durable {durable}");
        assert!(persisted <= visible.max(self.opened_at), "K3: persisted {persisted} above visible {visible}");
    }

    /// F1.
    pub(crate) fn verify(&self) -> VerifyReport {
        let mut report = VerifyReport::default();
        self.store().verify(VerifyLevel::Full, &mut report).expect("a readable store");
        assert!(report.is_clean(), "F1: {:#?}", report.problems);
        report
    }
}

impl<S: Subject> Drop for Fixture<S> {
    fn drop(&mut self) {
        if std::thread::panicking() || self.store.is_none() {
            return;
        }
        self.check_promises();
        self.verify();
        self.close();
    }
}

/// A deadline that has passed at once.
pub(crate) const NO_WAIT: Deadline = Deadline(Some(Duration::ZERO));
