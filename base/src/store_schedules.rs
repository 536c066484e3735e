//! What every backend must stand under every schedule of a few threads: a writer, upkeep, and readers that look while both are at work.
//!
//! Small, so that a scheduler comes far: a handful of commits to a few keys, with memory so short that the store switches and persists at
//! every chance. Each backend calls this from its module `schedules`; conformance in general is another matter.
//!
//! SS1  A reader at a visible timestamp that is registered sees exactly the commits up to it, by gets and by a cursor that stays open.
//! SS2  `persisted` is never ahead of what the files hold: opened again without any log, the store has every commit up to it.
//! SS3  In the end the store's own check finds nothing, before and after it was opened again.

use std::collections::BTreeMap;

use crate::clock::ManualClock;
use crate::pool::FramePool;
use crate::sync::{Arc, Mutex, thread};
use crate::vfs::Vfs;
use crate::vfs::sim::SimVfs;
use crate::{
    Backend, BackendCursor, Batch, Budget, DbUuid, Deadline, Hit, KeyBounds, KeyspaceId, KeyspaceOptions, Op, OpKind,
    Pin, Result, ScanOpts, SnapSet, StoreEnv, StoreHost, StoreStats, Timestamp, Urgency, VerifyLevel, VerifyReport,
    WorkBudget,
};

/// Commits of the writer.
const COMMITS: u64 = 4;
const READS: usize = 2;
const KEYSPACE: KeyspaceId = KeyspaceId::new(7);

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// How large everything is.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// What the store is opened with.
    pub options: KeyspaceOptions,
    /// Of each value.
    pub value_bytes: usize,
    /// Rows beside these, which the first commit puts and the third deletes as a range.
    pub rows_between: u64,
    /// The memory budget; the less, the more goes out of memory and comes back.
    pub budget_bytes: u64,
}

impl Sizes {
    /// Short values and memory for all of them.
    pub fn roomy(options: KeyspaceOptions) -> Sizes {
        Sizes { options, value_bytes: 30, rows_between: 0, budget_bytes: 8 << 20 }
    }
}

/// The engine's side: what is visible, and who reads.
struct Host {
    state: Mutex<(Timestamp, Vec<Timestamp>)>,
    budget: Arc<Budget>,
    sizes: Sizes,
}

impl Host {
    fn publish(&self, visible: Timestamp) {
        self.state.lock().0 = visible;
    }

    /// Registered while it is still the newest: so nothing it needs can have gone.
    fn register(&self) -> Timestamp {
        let mut state = self.state.lock();
        let at = state.0;
        state.1.push(at);
        at
    }

    fn release(&self, at: Timestamp) {
        let active = &mut self.state.lock().1;
        let place = active.iter().position(|&other| other == at).expect("registered");
        active.swap_remove(place);
    }
}

impl StoreHost for Host {
    fn visible(&self) -> Timestamp {
        self.state.lock().0
    }

    fn durable(&self) -> Timestamp {
        self.state.lock().0
    }

    fn snapshots(&self) -> Arc<SnapSet> {
        let state = self.state.lock();
        let mut active = state.1.clone();
        active.sort_unstable();
        active.dedup();
        Arc::new(SnapSet::new(state.0, active))
    }

    fn make_durable(&self, _through: Timestamp) -> Result<()> {
        Ok(())
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn wake_upkeep(&self) {}
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

/// Commit `ts`: one key of its own, one that all share, and in turn a delete or a range delete of earlier ones.
fn commit(ts: u64, sizes: &Sizes) -> (Batch, impl Fn(&mut Rows)) {
    let (own, value) = (key(ts), vec![ts as u8; sizes.value_bytes]);
    let between: Vec<Vec<u8>> = match ts {
        1 => (0..sizes.rows_between).map(|number| format!("key 1, {number}").into_bytes()).collect(),
        _ => Vec::new(),
    };
    let (low, high) = (key(1), key(ts - 1));
    let mut batch = Batch::new();
    let mut ops = Vec::new();
    if ts == 3 {
        ops.push(Op { kind: OpKind::DeleteRange, key: &low, value: &high });
    }
    ops.push(Op { kind: OpKind::Put, key: b"all", value: &value });
    if ts == 4 {
        ops.push(Op { kind: OpKind::Delete, key: &high, value: b"" });
    }
    ops.push(Op { kind: OpKind::Put, key: &own, value: &value });
    ops.extend(between.iter().map(|key| Op { kind: OpKind::Put, key, value: &value }));
    batch.section(KEYSPACE, ops);
    let change = move |rows: &mut Rows| {
        if ts == 3 {
            rows.retain(|row, _| *row < low || *row >= high);
        }
        if ts == 4 {
            rows.remove(&high);
        }
        rows.insert(b"all".to_vec(), value.clone());
        rows.insert(own.clone(), value.clone());
        rows.extend(between.iter().map(|key| (key.clone(), value.clone())));
    };
    (batch, change)
}

/// What is there behind the first `ts` commits.
fn expected(ts: Timestamp, sizes: &Sizes) -> Rows {
    let mut rows = Rows::new();
    (1..=ts.get()).for_each(|ts| commit(ts, sizes).1(&mut rows));
    rows
}

fn value_at<B: Backend>(store: &B, key: &[u8], at: Timestamp) -> Option<Vec<u8>> {
    loop {
        let ticket = {
            let pin = Pin::new();
            match store.get(&pin, key, at).expect("a good disk").hit {
                Hit::Absent | Hit::Deleted(_) => return None,
                Hit::Value { bytes, .. } => return Some(bytes.to_vec()),
                Hit::Large { .. } => panic!("the values of schedules are small"),
                Hit::NeedIo(ticket) => ticket,
            }
        };
        ticket.load().expect("a good disk");
    }
}

/// SS1, at one timestamp.
fn look<B: Backend>(store: &B, host: &Host, at: Timestamp) {
    let rows = expected(at, &host.sizes);
    let mut cursor = store.cursor(at, KeyBounds::ALL, ScanOpts::default()).expect("a good disk");
    let mut found = Rows::new();
    let mut more = cursor.seek(b"").expect("a good disk");
    while more {
        found.insert(cursor.key().to_vec(), cursor.value().to_vec());
        thread::yield_now();
        more = cursor.next().expect("a good disk");
    }
    assert_eq!(found, rows, "SS1: a cursor at {at}");
    for key in [&b"all"[..], b"key 1", b"key 2", b"key 3", b"key 4"] {
        assert_eq!(value_at(store, key, at), rows.get(key).cloned(), "SS1: a get at {at}");
    }
}

/// SS3.
fn check<B: Backend>(store: &B) {
    let mut report = VerifyReport::default();
    store.verify(VerifyLevel::Full, &mut report).expect("a good disk");
    assert!(report.is_clean(), "SS3: {report:?}");
}

/// One schedule of writer, upkeep and readers on a store of these sizes; call it from `sync::check_random` and `sync::check_pct`. Gives the figures of the
/// store at the end, so that a test can tell whether what it is about ever happened.
///
/// # Panics
/// If the store does not keep SS1 to SS3.
pub fn readers_beside_writer_and_upkeep<B: Backend>(
    sizes: &Sizes,
    create: fn(&StoreEnv) -> Result<()>,
    open: impl Fn(StoreEnv) -> Result<B>,
) -> StoreStats {
    let disk = SimVfs::new();
    disk.create_dir("ks".as_ref()).expect("a new disk");
    let env = |visible| {
        let budget = Budget::new(sizes.budget_bytes);
        let host = Arc::new(Host { state: Mutex::new((visible, Vec::new())), budget, sizes: sizes.clone() });
        let store = StoreEnv {
            vfs: Arc::new(disk.clone()),
            dir: "ks".into(),
            keyspace: KEYSPACE,
            db_uuid: DbUuid::from_bytes([0xd0; 16]),
            options: sizes.options.clone(),
            pool: FramePool::new(&host.budget, 1 << 20),
            host: Arc::clone(&host) as Arc<dyn StoreHost>,
            clock: Arc::new(ManualClock::default()),
        };
        (host, store)
    };
    let (host, store_env) = env(Timestamp::ZERO);
    create(&store_env).expect("a good disk");
    let store = Arc::new(open(store_env).expect("a good disk"));
    let run = |what: fn(&B, &Host)| {
        let (store, host) = (Arc::clone(&store), Arc::clone(&host));
        thread::spawn_named("actor", move || what(&store, &host))
    };
    let threads = [run(write), run(keep_up), run(read)];
    threads.into_iter().for_each(|thread| thread.join().expect("no actor died"));
    look(&*store, &host, Timestamp::new(COMMITS));
    check(&*store);
    let (persisted, stats) = (store.persisted(), store.stats());
    assert!(persisted.get() <= COMMITS);
    drop(store);
    let (_, again) = env(persisted);
    let again = open(again).expect("a good disk");
    check(&again);
    // Later commits may be there in part: they are in the log, and would be applied again.
    for key in [&b"all"[..], b"key 1", b"key 2", b"key 3", b"key 4"] {
        let found = value_at(&again, key, Timestamp::new(COMMITS));
        let mut possible = (persisted.get()..=COMMITS).map(|ts| expected(Timestamp::new(ts), sizes).get(key).cloned());
        assert!(possible.any(|value| value == found), "SS2: {found:?}, and {persisted} is persisted");
    }
    stats
}

fn write<B: Backend>(store: &B, host: &Host) {
    for ts in 1..=COMMITS {
        let (batch, _) = commit(ts, &host.sizes);
        let ops = batch.view().sections().next().expect("one");
        let admission = store.admit(&ops, Deadline(None)).expect("room").granted().expect("room");
        store.apply(admission, &ops, Timestamp::new(ts));
        host.publish(Timestamp::new(ts));
    }
}

fn keep_up<B: Backend>(store: &B, host: &Host) {
    for _ in 0..3 {
        store.persist_to(host.visible(), Urgency::Now);
        let mut steps = 0;
        while store.work(WorkBudget { bytes: 1 << 20 }).expect("a good disk").more && steps < 20 {
            steps += 1;
        }
        let persisted = store.persisted();
        assert!(persisted <= host.visible(), "SS2: {persisted} is persisted before it is visible");
    }
}

fn read<B: Backend>(store: &B, host: &Host) {
    for _ in 0..READS {
        let at = host.register();
        look(store, host, at);
        host.release(at);
    }
}
