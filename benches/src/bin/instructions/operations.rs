//! The operations, each on a database in memory that no thread works on beside.

use std::hint::black_box;
use std::sync::Arc;

use duramen::seams::{ManualClock, ManualExecutor, MemVfs};
use duramen::{BackendKind, Concurrency, Database, Durability, IsolationLevel, Keyspace, Reader, TxnOptions};
use duramen_benches::keys::{Random, key, value};

/// Keys of the keyspace.
const KEYS: u64 = 8_000;
/// Keys of it that are read and replaced under their locks.
const HOT_KEYS: u64 = 100;
/// Puts of one commit that fills it.
const FILL_STEP: u64 = 500;
/// Entries of one scan.
const SCAN: u64 = 100;
/// Entries of a scan of what was just put.
const FRESH_SCAN: usize = 50;

/// Rounds of upkeep after filling; far fewer are needed.
const UPKEEP_ROUNDS: usize = 1_000;

/// Something that is counted.
pub(crate) struct Operation {
    /// Name in the table and the baseline.
    pub(crate) name: &'static str,
    /// Does it so many times.
    pub(crate) run: fn(u64),
}

/// All of them.
pub(crate) const ALL: [Operation; 23] = [
    Operation { name: "get B-tree", run: |count| get(BackendKind::BTree, count, 0) },
    Operation { name: "get LSM", run: |count| get(BackendKind::Lsm, count, 0) },
    Operation { name: "get of a missing key B-tree", run: |count| get(BackendKind::BTree, count, KEYS) },
    Operation { name: "get of a missing key LSM", run: |count| get(BackendKind::Lsm, count, KEYS) },
    Operation { name: "snapshot", run: snapshot },
    Operation { name: "entry of a scan B-tree", run: |count| scan(BackendKind::BTree, count) },
    Operation { name: "entry of a scan LSM", run: |count| scan(BackendKind::Lsm, count) },
    Operation { name: "scan of 50 entries B-tree", run: |count| scan_at_rest(BackendKind::BTree, count) },
    Operation { name: "scan of 50 entries LSM", run: |count| scan_at_rest(BackendKind::Lsm, count) },
    Operation { name: "scan of 50 entries just put B-tree", run: |count| scan_fresh(BackendKind::BTree, count) },
    Operation { name: "scan of 50 entries just put LSM", run: |count| scan_fresh(BackendKind::Lsm, count) },
    Operation { name: "scan of 50 entries partly just put B-tree", run: |count| scan_mixed(BackendKind::BTree, count) },
    Operation { name: "scan of 50 entries partly just put LSM", run: |count| scan_mixed(BackendKind::Lsm, count) },
    Operation { name: "scan of 50 entries among deleted B-tree", run: |count| scan_deleted(BackendKind::BTree, count) },
    Operation { name: "scan of 50 entries among deleted LSM", run: |count| scan_deleted(BackendKind::Lsm, count) },
    Operation { name: "get LSM, merged", run: get_merged },
    Operation { name: "entry of a scan LSM, merged", run: scan_merged },
    Operation { name: "record loaded and merged LSM", run: |count| drop(merged(count)) },
    Operation { name: "commit of one put B-tree", run: |count| commit(BackendKind::BTree, count, false) },
    Operation { name: "commit of one put LSM", run: |count| commit(BackendKind::Lsm, count, false) },
    Operation { name: "read-modify-write B-tree", run: |count| commit(BackendKind::BTree, count, true) },
    Operation { name: "read-modify-write under a row lock B-tree", run: modify },
    Operation { name: "read-modify-write, serializable B-tree", run: commit_serializable },
];

/// A keyspace, and the jobs of its database.
fn empty(kind: BackendKind) -> (Database, Keyspace, ManualExecutor) {
    let builder = Database::builder().vfs(Arc::new(MemVfs::new())).clock(Arc::new(ManualClock::default()));
    let jobs = ManualExecutor::new();
    let db = builder.executor(Arc::new(jobs.clone())).open("db").expect("a new database");
    let ks = db.keyspace("bench", kind).expect("a new keyspace");
    (db, ks, jobs)
}

/// Puts these keys.
fn put(db: &Database, ks: &Keyspace, indexes: impl Iterator<Item = u64>) {
    let indexes: Vec<u64> = indexes.collect();
    for step in indexes.chunks(FILL_STEP as usize) {
        let puts = |tx: &duramen::Transaction| step.iter().try_for_each(|&index| tx.put(ks, key(index), value(index)));
        // Synced: a checkpoint takes over only what the log holds durably.
        db.update(puts).expect("a commit");
    }
}

/// Puts these keys, so that they are in the files.
fn fill(db: &Database, ks: &Keyspace, indexes: impl Iterator<Item = u64>) {
    put(db, ks, indexes);
    db.checkpoint().expect("a checkpoint");
}

/// A filled keyspace whose content is in its files.
fn bed(kind: BackendKind) -> (Database, Keyspace) {
    let (db, ks, jobs) = empty(kind);
    fill(&db, &ks, 0..KEYS);
    // What upkeep does in a moment of rest: else a B-tree still reads its write buffer beside its leaves.
    jobs.run_all(UPKEEP_ROUNDS);
    (db, ks)
}

/// A keyspace of so many keys, half of which were merged with the other half into the last level.
fn merged(keys: u64) -> (Database, Keyspace) {
    let (db, ks, jobs) = empty(BackendKind::Lsm);
    fill(&db, &ks, (0..keys).step_by(2));
    fill(&db, &ks, (1..keys).step_by(2));
    let compaction = db.begin_compaction::<&[u8]>(&ks, ..).expect("open");
    jobs.run_all(UPKEEP_ROUNDS);
    compaction.wait().expect("a compaction");
    (db, ks)
}

fn get(kind: BackendKind, count: u64, offset: u64) {
    get_from(bed(kind), count, offset);
}

fn get_merged(count: u64) {
    get_from(merged(KEYS), count, 0);
}

fn get_from((db, ks): (Database, Keyspace), count: u64, offset: u64) {
    let (snapshot, mut random) = (db.snapshot().expect("a snapshot"), Random::new(1));
    for _ in 0..count {
        let found = snapshot.get(&ks, key(random.below(KEYS) + offset)).expect("reads");
        assert_eq!(black_box(found).is_some(), offset == 0);
    }
}

fn snapshot(count: u64) {
    let (db, _) = bed(BackendKind::BTree);
    (0..count).for_each(|_| drop(black_box(db.snapshot().expect("a snapshot"))));
}

fn scan(kind: BackendKind, count: u64) {
    scan_from(bed(kind), count);
}

fn scan_merged(count: u64) {
    scan_from(merged(KEYS), count);
}

fn scan_from((db, ks): (Database, Keyspace), count: u64) {
    let snapshot = db.snapshot().expect("a snapshot");
    for _ in 0..count / SCAN {
        let bytes =
            snapshot.iter(&ks).expect("a scan").take(SCAN as usize).map(|entry| entry.expect("reads").value.len());
        black_box(bytes.sum::<usize>());
    }
}

/// Of keys that only the write buffer or memtable has, on a snapshot of its own.
fn scan_fresh(kind: BackendKind, count: u64) {
    let (db, ks, _jobs) = empty(kind);
    put(&db, &ks, 0..KEYS);
    scan_shortly(&db, &ks, count);
}

/// Of keys that lie in leaves or tables.
fn scan_at_rest(kind: BackendKind, count: u64) {
    let (db, ks) = bed(kind);
    scan_shortly(&db, &ks, count);
}

/// Of keys of which the write buffer or memtable has every fourth anew.
fn scan_mixed(kind: BackendKind, count: u64) {
    let (db, ks) = bed(kind);
    put(&db, &ks, (0..KEYS).step_by(4));
    scan_shortly(&db, &ks, count);
}

/// Of keys that are left where the write buffer or memtable deletes nine in ten.
fn scan_deleted(kind: BackendKind, count: u64) {
    let (db, ks) = bed(kind);
    let doomed: Vec<u64> = (0..KEYS).filter(|index| !index.is_multiple_of(10)).collect();
    for step in doomed.chunks(FILL_STEP as usize) {
        db.update(|tx| step.iter().try_for_each(|&index| tx.delete(&ks, key(index)))).expect("a commit");
    }
    scan_shortly(&db, &ks, count);
}

fn scan_shortly(db: &Database, ks: &Keyspace, count: u64) {
    let mut random = Random::new(1);
    for _ in 0..count {
        let snapshot = db.snapshot().expect("a snapshot");
        let mut entries = snapshot.range(ks, key(random.below(KEYS))..).expect("a scan");
        for _ in 0..FRESH_SCAN {
            let Some(entry) = entries.next_ref().expect("reads") else { break };
            black_box((entry.key.len(), entry.value.len()));
        }
    }
}

fn commit(kind: BackendKind, count: u64, reads: bool) {
    commit_with(kind, count, reads, TxnOptions::default());
}

fn commit_serializable(count: u64) {
    commit_with(BackendKind::BTree, count, true, TxnOptions::default().isolation(IsolationLevel::Serializable));
}

/// Reads and replaces one key of a hundred under its row lock.
fn modify(count: u64) {
    let (db, ks) = bed(BackendKind::BTree);
    let options = TxnOptions::default().durability(Durability::None).concurrency(Concurrency::Pessimistic);
    let mut random = Random::new(1);
    for _ in 0..count {
        let index = random.below(HOT_KEYS);
        let tx = db.begin_with(options.clone()).expect("begins");
        black_box(tx.get_for_update(&ks, key(index)).expect("reads"));
        tx.put(&ks, key(index), value(index)).expect("puts");
        tx.commit().expect("commits");
    }
}

fn commit_with(kind: BackendKind, count: u64, reads: bool, options: TxnOptions) {
    let (db, ks) = bed(kind);
    let (options, mut random) = (options.durability(Durability::None), Random::new(1));
    for _ in 0..count {
        let index = random.below(KEYS);
        let tx = db.begin_with(options.clone()).expect("begins");
        if reads {
            black_box(tx.get(&ks, key(index)).expect("reads"));
        }
        tx.put(&ks, key(index), value(index)).expect("puts");
        tx.commit().expect("commits");
    }
}
