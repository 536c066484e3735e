//! Writing without end: does an LSM keyspace keep its pace when flushes and merges must keep up?
//!
//! `sustained [windows] [seconds of each] [keys] [memtable KiB] [memory MiB] [btree|lsm]`. One thread overwrites random keys, `Buffered`; every fifth of a second it
//! runs the raw loop (150 bytes written) for a tenth of that, so that what else the machine does is seen by both. Another thread reads, and a snapshot
//! from the beginning is held to the end and must show then what it showed at first. Printed for each window: the rate, that of the raw loop, their
//! ratio, memory, runs, debt, stalls; at the end the last ratio over the first, the most memory over the budget, and files over live data once quiet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use duramen::{BackendKind, Database, Durability, Keyspace, KeyspaceOptions, Reader, Snapshot, TxnOptions};
use duramen_benches::bed::Bed;
use duramen_benches::floor::{self, PUT_BYTES};
use duramen_benches::keys::{Random, key, value};

/// The engine's turn, and that of the raw loop.
const TURN: Duration = Duration::from_millis(180);
const FLOOR_TURN: Duration = Duration::from_millis(20);
/// Entries of a scan of the reader, and gets between two scans.
const SCAN: usize = 100;
/// How long upkeep may take to come to rest, and how long it must have written nothing: longer than it waits before it calls it quiet.
const QUIET_MAX: Duration = Duration::from_secs(120);
const QUIET_MIN: Duration = Duration::from_secs(3);

fn main() {
    duramen_benches::guard::refuse_unfit_build();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, otherwise: u64| args.get(index).and_then(|text: &String| text.parse().ok()).unwrap_or(otherwise);
    let (windows, seconds, keys) = (number(0, 6).max(2), number(1, 5).max(1), number(2, 200_000));
    let (memtable_bytes, memory_bytes) = (number(3, 1024) << 10, number(4, 32) << 20);
    let kind = if args.get(5).is_some_and(|kind| kind == "btree") { BackendKind::BTree } else { BackendKind::Lsm };
    let options = KeyspaceOptions { memtable_bytes, ..KeyspaceOptions::new(kind) };
    let bed = Bed::with_options(options, Database::builder().memory_bytes(memory_bytes));
    bed.fill(keys);
    let Bed { db, ks, folder } = bed;
    let old = db.snapshot().expect("a snapshot");
    let shown = digest(&old, &ks);
    let stop = AtomicBool::new(false);
    let (ratios, memory_max) = std::thread::scope(|scope| {
        scope.spawn(|| read(&db, &ks, keys, &stop));
        let measured = write(&db, &ks, keys, &folder.path().join("raw"), windows, Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        measured
    });
    assert_eq!(digest(&old, &ks), shown, "the old snapshot shows what it showed");
    drop(old);
    let files = quiet(&db);
    let live = keys * PUT_BYTES as u64;
    let last_over_first = ratios[ratios.len() - 1] / ratios[0];
    println!("last over first: {last_over_first:.2} (goal 0.8)");
    println!("most memory over the budget: {:.2} (goal 1)", memory_max as f64 / memory_bytes as f64);
    println!("files over live data, quiet: {:.2} (goal 1.25)", files as f64 / live as f64);
    db.compact(&ks).expect("a compaction");
    println!("after a compaction: {:.2}", stats(&db).disk_bytes as f64 / live as f64);
}

/// Prints a row for each window; the ratios, and the most memory held.
fn write(
    db: &Database,
    ks: &Keyspace,
    keys: u64,
    raw: &std::path::Path,
    windows: u64,
    window: Duration,
) -> (Vec<f64>, u64) {
    let (mut random, mut commits) = (Random::new(7), 0u64);
    let mut put = || {
        let index = random.below(keys);
        commits += 1;
        let mut changed = value(index);
        changed[8..16].copy_from_slice(&commits.to_le_bytes());
        let options = TxnOptions::default().durability(Durability::Buffered);
        db.update_with(options, |tx| tx.put(ks, key(index), changed)).expect("a commit");
    };
    let mut floor = floor::log_writer(raw, false);
    let (mut ratios, mut memory_max) = (Vec::new(), 0);
    println!(
        "| window | k commits/s | raw k/s | ratio | memory MB | runs | levels | debt MB | stalled s | written over flushed | files MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for number in 1..=windows {
        let began = Instant::now();
        let (mut engine, mut raw) = (Turns::default(), Turns::default());
        while began.elapsed() < window {
            engine.run(TURN, &mut put);
            raw.run(FLOOR_TURN, &mut floor);
            memory_max = memory_max.max(db.stats().memory_bytes);
        }
        let ratio = engine.rate() / raw.rate();
        let (stats, all) = (stats(db), db.stats());
        println!(
            "| {number} | {:.1} | {:.0} | {ratio:.3} | {:.1} | {} | {} | {:.1} | {:.2} | {:.1} | {:.1} |",
            engine.rate() / 1e3,
            raw.rate() / 1e3,
            all.memory_bytes as f64 / 1e6,
            stats.levels.first().map_or(0, |level| level.runs),
            stats.levels.iter().skip(1).filter(|level| level.tables > 0).count(),
            stats.debt_bytes as f64 / 1e6,
            stats.stall_times.total().as_secs_f64(),
            stats.write_amplification(),
            stats.disk_bytes as f64 / 1e6,
        );
        ratios.push(ratio);
    }
    (ratios, memory_max)
}

/// Calls and the time they took.
#[derive(Default)]
struct Turns {
    calls: u64,
    time: Duration,
}

impl Turns {
    fn run(&mut self, turn: Duration, call: &mut dyn FnMut()) {
        let began = Instant::now();
        while began.elapsed() < turn {
            (0..16).for_each(|_| call());
            self.calls += 16;
        }
        self.time += began.elapsed();
    }

    fn rate(&self) -> f64 {
        self.calls as f64 / self.time.as_secs_f64()
    }
}

/// Gets and scans until told to stop, with a pause so that it does not own a processor.
fn read(db: &Database, ks: &Keyspace, keys: u64, stop: &AtomicBool) {
    let mut random = Random::new(8);
    while !stop.load(Ordering::Relaxed) {
        let snapshot = db.snapshot().expect("a snapshot");
        for _ in 0..SCAN {
            let index = random.below(keys);
            let found = snapshot.get(ks, key(index)).expect("readable");
            assert_eq!(found.as_deref().map(|value| &value[..8]), Some(&value(index)[..8]), "a key has its value");
        }
        let from = key(random.below(keys));
        let mut iter = snapshot.range(ks, &from[..]..).expect("a scan");
        let mut last = Vec::new();
        for _ in 0..SCAN {
            let Some(entry) = iter.next_ref().expect("readable") else { break };
            assert!(*entry.key > *last, "keys ascend");
            last = entry.key.to_vec();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Of all that a snapshot shows.
fn digest(snapshot: &Snapshot, ks: &Keyspace) -> (u64, u32) {
    let mut iter = snapshot.iter(ks).expect("a scan");
    let (mut count, mut hasher) = (0, crc32fast::Hasher::new());
    while let Some(entry) = iter.next_ref().expect("readable") {
        hasher.update(entry.key);
        hasher.update(entry.value);
        count += 1;
    }
    (count, hasher.finalize())
}

fn stats(db: &Database) -> duramen::StoreStats {
    db.stats().keyspaces.swap_remove(0).1
}

/// Waits until nothing is written any more; the bytes of the files.
fn quiet(db: &Database) -> u64 {
    db.checkpoint().expect("a checkpoint");
    let began = Instant::now();
    let (mut last, mut since) = (stats(db).written_bytes, began);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = stats(db);
        if now.written_bytes != last {
            (last, since) = (now.written_bytes, Instant::now());
        }
        if since.elapsed() > QUIET_MIN || began.elapsed() > QUIET_MAX {
            return now.disk_bytes;
        }
    }
}
