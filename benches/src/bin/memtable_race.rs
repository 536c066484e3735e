//! The memtable beside other ordered maps, in one run: inserts and gets of random keys of 16 bytes with values of 100.
//!
//! `memtable_race [keys] [threads]`. The others are given owned keys and values that were made before; the memtable is given operations as a commit
//! brings them, which it copies, and a get of it makes a value of its own. So it does more for each figure, not less.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use crossbeam_skiplist::SkipMap;
use duramen_base::memtable::{MemPiece, Memtable};
use duramen_base::{Batch, BatchView, Budget, KeyBounds, KeyspaceId, Op, OpKind, SnapSet, StoreHost, Timestamp};
use duramen_benches::keys::{Random, key};

const VALUE_BYTES: usize = 100;
/// Operations of one batch. Keys are random, so that neighbours in a batch are far apart in the map.
const BATCH_OPS: u64 = 8;

/// Keys copied at once, as cursors do.
const SCAN_PIECE: usize = 256;

struct Host(Arc<Budget>);

impl StoreHost for Host {
    fn visible(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn durable(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn snapshots(&self) -> Arc<SnapSet> {
        Arc::new(SnapSet::new(Timestamp::ZERO, Vec::new()))
    }
    fn make_durable(&self, _: Timestamp) -> duramen_base::Result<()> {
        Ok(())
    }
    fn budget(&self) -> &Arc<Budget> {
        &self.0
    }
    fn wake_upkeep(&self) {}
}

/// Nanoseconds of one of `count` calls of `body(first, end)` on parts, by `threads` threads at once.
fn ns_each(threads: u64, count: u64, body: impl Fn(u64, u64) + Sync) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let body = &body;
            scope.spawn(move || body(count * thread / threads, count * (thread + 1) / threads));
        }
    });
    begun.elapsed().as_nanos() as f64 / count as f64
}

fn show(what: &str, insert: f64, get: f64, scan: f64) {
    println!(
        "{what:<28} insert {insert:>6.0} ns ({:.2} M/s), get {get:>6.0} ns ({:.2} M/s), scan {scan:>5.1} ns a key",
        1e3 / insert,
        1e3 / get
    );
}

fn main() {
    duramen_benches::guard::refuse_unfit_build();
    let number =
        |index: usize, otherwise| std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (count, threads) = (number(1, 1_000_000u64), number(2, 1u64));
    for _ in 0..2 {
        memtable(count, threads);
        tree(count, threads);
        skiplist(count, threads);
    }
}

fn memtable(count: u64, threads: u64) {
    let host = Host(Budget::new(u64::MAX));
    let batches: Vec<Batch> = (0..count / BATCH_OPS)
        .map(|batch_no| {
            let mut keys: Vec<_> = (batch_no * BATCH_OPS..(batch_no + 1) * BATCH_OPS).map(key).collect();
            keys.sort_unstable();
            let mut batch = Batch::new();
            let op = |key| Op { kind: OpKind::Put, key, value: &[7; VALUE_BYTES] };
            batch.section(KeyspaceId::new(1), keys.iter().map(|key| op(&key[..])));
            batch
        })
        .collect();
    let mem = Memtable::new();
    let insert = ns_each(threads, count / BATCH_OPS, |first, end| {
        for (index, batch) in batches[first as usize..end as usize].iter().enumerate() {
            let view = BatchView::parse(batch.bytes()).expect("what was just built");
            for ops in view.sections() {
                mem.begin_apply();
                mem.apply(&[(Timestamp::new(1 + first + index as u64), ops)], host.budget().reserve_anyway(0), &host);
            }
        }
    }) / BATCH_OPS as f64;
    let get = ns_each(threads, count, |first, end| {
        let mut random = Random::new(first);
        (first..end).for_each(|_| {
            let found = mem.get(&key(random.below(count / BATCH_OPS * BATCH_OPS)), Timestamp::MAX);
            assert!(found.version.is_some());
        });
    });
    let begun = Instant::now();
    let (mut piece, mut seen, mut last) = (MemPiece::default(), 0, None);
    loop {
        let lower = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = KeyBounds { lower, upper: Bound::Unbounded };
        mem.copy_piece(bounds, false, Timestamp::MAX, SCAN_PIECE, &mut piece);
        seen += piece.len();
        if piece.is_empty() {
            break;
        }
        last = Some(piece.key(piece.len() - 1).to_vec());
    }
    let scan = begun.elapsed().as_nanos() as f64 / seen as f64;
    show(&format!("memtable, {threads} threads"), insert, get, scan);
    println!("{:<28} {:.1} bytes a key are counted", "", mem.bytes() as f64 / count as f64);
}

type Part = Mutex<Vec<(Vec<u8>, Vec<u8>)>>;

/// What each thread is to insert.
fn parts(count: u64, threads: u64) -> Vec<Part> {
    let part = |thread| {
        let range = count * thread / threads..count * (thread + 1) / threads;
        Mutex::new(range.map(|index| (key(index).to_vec(), vec![7; VALUE_BYTES])).collect())
    };
    (0..threads).map(part).collect()
}

fn tree(count: u64, threads: u64) {
    let map = RwLock::new(BTreeMap::new());
    let parts = parts(count, threads);
    let insert = ns_each(threads, count, |first, _| {
        let part =
            std::mem::take(&mut *parts[(first * threads).div_ceil(count) as usize].lock().expect("one thread each"));
        for (key, value) in part {
            map.write().expect("no panic").insert(key, value);
        }
    });
    let get = ns_each(threads, count, |first, end| {
        let mut random = Random::new(first);
        (first..end).for_each(|_| assert!(map.read().expect("no panic").contains_key(&key(random.below(count))[..])));
    });
    let begun = Instant::now();
    let sum: usize = map.read().expect("no panic").iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(sum > 0);
    show(
        &format!("RwLock<BTreeMap>, {threads} threads"),
        insert,
        get,
        begun.elapsed().as_nanos() as f64 / count as f64,
    );
}

fn skiplist(count: u64, threads: u64) {
    let map = SkipMap::new();
    let parts = parts(count, threads);
    let insert = ns_each(threads, count, |first, _| {
        let part =
            std::mem::take(&mut *parts[(first * threads).div_ceil(count) as usize].lock().expect("one thread each"));
        for (key, value) in part {
            map.insert(key, value);
        }
    });
    let get = ns_each(threads, count, |first, end| {
        let mut random = Random::new(first);
        (first..end).for_each(|_| assert!(map.get(&key(random.below(count))[..]).is_some()));
    });
    let begun = Instant::now();
    let sum: usize = map.iter().map(|entry| entry.key().len() + entry.value().len()).sum();
    assert!(sum > 0);
    show(
        &format!("crossbeam SkipMap, {threads} threads"),
        insert,
        get,
        begun.elapsed().as_nanos() as f64 / count as f64,
    );
}
