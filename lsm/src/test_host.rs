//! What the tests of this crate put in the engine's place: horizons and snapshots that are set by hand.

use std::sync::Arc;

use duramen_base::clock::ManualClock;
use duramen_base::pool::FramePool;
use duramen_base::sync::Mutex;
use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::vfs::{MemVfs, Vfs};
use duramen_base::{
    BackendKind, Batch, Budget, DbUuid, Error, KeyspaceId, KeyspaceOptions, Op, OpKind, Result, SnapSet, StoreEnv,
    StoreHost, Timestamp,
};

/// The keyspace of all tests.
pub(crate) const KEYSPACE: KeyspaceId = KeyspaceId::new(7);

/// The commit number `number`.
pub(crate) fn ts(number: u64) -> Timestamp {
    Timestamp::new(number)
}

/// A batch with one section.
pub(crate) fn section(ops: &[(OpKind, &[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    batch.section(KEYSPACE, ops.iter().map(|&(kind, key, value)| Op { kind, key, value }));
    batch
}

/// A host set by hand.
pub(crate) struct TestHost {
    visible: AtomicU64,
    durable: AtomicU64,
    snaps: Mutex<Arc<SnapSet>>,
    budget: Arc<Budget>,
    /// Whether the log cannot be synced any more.
    pub(crate) poisoned: AtomicBool,
    /// The most `make_durable` was asked for.
    pub(crate) made_durable: AtomicU64,
    pub(crate) wakes: AtomicU64,
}

impl TestHost {
    pub(crate) fn new(budget: u64) -> TestHost {
        TestHost {
            visible: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            snaps: Mutex::new(Arc::new(SnapSet::new(Timestamp::ZERO, Vec::new()))),
            budget: Budget::new(budget),
            poisoned: AtomicBool::new(false),
            made_durable: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
        }
    }

    /// Sets visible (with it the horizon) and durable.
    pub(crate) fn set(&self, visible: u64, durable: u64) {
        self.visible.store(visible, Ordering::SeqCst);
        self.durable.store(durable, Ordering::SeqCst);
        let active = self.snaps.lock().active().to_vec();
        *self.snaps.lock() = Arc::new(SnapSet::new(ts(visible), active));
    }

    /// Sets visible and durable, and the horizon for itself.
    pub(crate) fn publish(&self, visible: u64, horizon: u64) {
        self.visible.store(visible, Ordering::SeqCst);
        self.durable.store(visible, Ordering::SeqCst);
        *self.snaps.lock() = Arc::new(SnapSet::new(ts(horizon), Vec::new()));
    }

    /// The process has died: everything in the log is durable, nothing is replayed.
    pub(crate) fn restart(&self) {
        self.visible.store(0, Ordering::SeqCst);
        *self.snaps.lock() = Arc::new(SnapSet::new(Timestamp::ZERO, Vec::new()));
    }

    /// Sets the active snapshots.
    pub(crate) fn set_snapshots(&self, active: &[u64]) {
        let horizon = self.snaps.lock().horizon();
        *self.snaps.lock() = Arc::new(SnapSet::new(horizon, active.iter().map(|&s| ts(s)).collect()));
    }
}

impl StoreHost for TestHost {
    fn visible(&self) -> Timestamp {
        ts(self.visible.load(Ordering::SeqCst))
    }

    fn durable(&self) -> Timestamp {
        ts(self.durable.load(Ordering::SeqCst))
    }

    fn snapshots(&self) -> Arc<SnapSet> {
        Arc::clone(&self.snaps.lock())
    }

    fn make_durable(&self, through: Timestamp) -> Result<()> {
        if self.poisoned.load(Ordering::SeqCst) {
            return Err(Error::Poisoned { cause: Arc::new(Error::Closed) });
        }
        self.made_durable.fetch_max(through.get(), Ordering::SeqCst);
        self.durable.fetch_max(through.get(), Ordering::SeqCst);
        Ok(())
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn wake_upkeep(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a store of the tests is opened with.
pub(crate) fn env(disk: &(impl Vfs + Clone), host: &Arc<TestHost>, memtable_bytes: u64, page_bytes: u32) -> StoreEnv {
    let options = KeyspaceOptions { memtable_bytes, page_bytes, ..KeyspaceOptions::new(BackendKind::Lsm) };
    StoreEnv {
        vfs: Arc::new(disk.clone()),
        dir: "ks".into(),
        keyspace: KEYSPACE,
        db_uuid: DbUuid::from_bytes([0xdb; 16]),
        options,
        host: Arc::clone(host) as Arc<dyn StoreHost>,
        pool: FramePool::new(host.budget(), 1 << 20),
        clock: Arc::new(ManualClock::default()),
    }
}

/// A disk with the folder of the store.
pub(crate) fn disk() -> MemVfs {
    with_dir(MemVfs::new())
}

/// `disk` with the folder of the store, durably.
pub(crate) fn with_dir<V: Vfs>(disk: V) -> V {
    disk.create_dir("ks".as_ref()).expect("a new disk");
    disk.sync_dir("".as_ref()).expect("a new disk");
    disk
}

pub(crate) use duramen_base::golden::bytes as golden;

/// Holds what is written to a golden file.
#[track_caller]
pub(crate) fn check_golden(written: &[u8], text: &str) {
    let expected = golden(text);
    if written != expected {
        let first = written.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let rows: Vec<String> = written.chunks(16).map(row).collect();
        panic!("differs from byte {first} on; written are {} bytes:\n{}", written.len(), rows.join("\n"));
    }
}
