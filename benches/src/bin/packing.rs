//! What packing the last level costs and saves: an LSM keyspace without and with [`Compression::Lz4`], in turns in one process.
//!
//! `packing [records] [rounds] [gets] [memory MiB] [part of the names of values] [bytes of a value] [puts of a commit]`. Keys of 16 bytes in no order, values of 100: `Random`
//! bytes, the `Half` zeros of the comparison, or `Text` of few words. Each round loads each keyspace anew (`Buffered`, a thousand a commit), compacts it, and reads it twice: with memory for all of it, and opened
//! again with so little memory that most blocks come from files, which the kernel still has. Printed are medians: bytes on disk over bytes given; nanoseconds
//! of wall and of processor (all threads) for each record, get, and entry of a whole scan; and the second keyspace's over the first's, round by round.

use std::time::Instant;

use duramen::{BackendKind, Compression, Database, Durability, Keyspace, KeyspaceOptions, Reader, TxnOptions};
use duramen_benches::compare::data::{HEAD_BYTES, Values, index_of};
use duramen_benches::compare::process::cpu_ns;
use duramen_benches::keys::{KEY_BYTES, Random, key};
use duramen_benches::rounds::Figures;
use duramen_benches::{bed, machine};

/// Memory for everything.
const AMPLE_BYTES: u64 = 1 << 30;
const WORDS: [&str; 16] = [
    "order",
    "shipped",
    "pending",
    "customer",
    "warehouse",
    "invoice",
    "the",
    "of",
    "north",
    "south",
    "paid",
    "open",
    "returned",
    "express",
    "parcel",
    "street",
];
/// What is measured of a keyspace, in this order.
const ROWS: [&str; 11] = [
    "bytes on disk over bytes given",
    "load and compaction, wall ns a record",
    "load and compaction, processor ns a record",
    "get in memory, wall ns",
    "get in memory, processor ns",
    "scan in memory, wall ns an entry",
    "scan in memory, processor ns an entry",
    "get beyond memory, wall ns",
    "get beyond memory, processor ns",
    "scan beyond memory, wall ns an entry",
    "scan beyond memory, processor ns an entry",
];

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    records: u64,
    gets: u64,
    memory_bytes: u64,
    value_bytes: usize,
    puts_of_commit: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Random,
    Half,
    Text,
}

fn main() {
    duramen_benches::guard::refuse_unfit_build();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| args.get(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let rounds = number(1, 3).max(1) as usize;
    let size = Size {
        records: number(0, 1_000_000),
        gets: number(2, 300_000),
        memory_bytes: number(3, 16) << 20,
        value_bytes: number(5, 100).max(HEAD_BYTES as u64) as usize,
        puts_of_commit: number(6, 1_000).max(1),
    };
    println!("{}\n", machine::provenance_of(bed::folder().path(), "packing"));
    println!("| values | what | None | Lz4 | ratio (lowest to highest) |\n|---|---|---|---|---|");
    let is_wanted = |kind: &Kind| args.get(4).is_none_or(|part| format!("{kind:?}").contains(part));
    for kind in [Kind::Random, Kind::Half, Kind::Text].into_iter().filter(is_wanted) {
        print(kind, rounds, size);
    }
}

/// The rows of one kind of values.
fn print(kind: Kind, rounds: usize, size: Size) {
    let [mut none, mut lz4] = [const { Vec::new() }; 2];
    for round in 0..rounds {
        // Each goes first as often as the other.
        for is_none in [round % 2 == 0, round % 2 == 1] {
            match is_none {
                true => none.push(measure(kind, Compression::None, size)),
                false => lz4.push(measure(kind, Compression::Lz4, size)),
            }
        }
    }
    for (row, name) in ROWS.into_iter().enumerate() {
        let [none, lz4] = [&none, &lz4].map(|turns| Figures(turns.iter().map(|turn| turn[row]).collect()));
        let ratio = lz4.over(&none);
        println!(
            "| {kind:?} | {name} | {:.3} | {:.3} | {:.2} ({:.2} to {:.2}) |",
            none.median(),
            lz4.median(),
            ratio.median(),
            ratio.min(),
            ratio.max()
        );
    }
}

/// One keyspace from its first record to its end: the figures of [`ROWS`].
fn measure(kind: Kind, compression: Compression, size: Size) -> [f64; ROWS.len()] {
    let folder = bed::folder();
    let open = |memory_bytes| {
        let db = Database::builder().memory_bytes(memory_bytes).open(folder.path().join("db")).expect("a folder");
        let options = KeyspaceOptions { compression, ..KeyspaceOptions::new(BackendKind::Lsm) };
        let ks = db.keyspace("ks", options).expect("room");
        (db, ks)
    };
    let (db, ks) = open(AMPLE_BYTES);
    let load = timed(size.records, || load(&db, &ks, kind, size));
    let bytes = db.stats().keyspaces[0].1.disk_bytes as f64;
    let space = bytes / (size.records * (KEY_BYTES + size.value_bytes) as u64) as f64;
    let [memory_get, memory_scan] = read(&db, &ks, size);
    db.close().expect("room");
    let (db, ks) = open(size.memory_bytes);
    let [file_get, file_scan] = read(&db, &ks, size);
    let pairs = [load, memory_get, memory_scan, file_get, file_scan];
    let mut figures = [space; ROWS.len()];
    figures[1..].iter_mut().zip(pairs.as_flattened()).for_each(|(figure, found)| *figure = *found);
    figures
}

/// Wall and processor nanoseconds of `count` things that `work` does.
fn timed(count: u64, work: impl FnOnce()) -> [f64; 2] {
    let (begun, cpu) = (Instant::now(), cpu_ns());
    work();
    [begun.elapsed().as_nanos() as u64, cpu_ns() - cpu].map(|ns| ns as f64 / count as f64)
}

fn load(db: &Database, ks: &Keyspace, kind: Kind, size: Size) {
    let options = TxnOptions::default().durability(Durability::Buffered);
    let (values, mut value) = (Values::new(size.value_bytes), Vec::new());
    for start in (0..size.records).step_by(size.puts_of_commit as usize) {
        db.update_with(options.clone(), |tx| {
            (start..size.records.min(start + size.puts_of_commit)).try_for_each(|index| {
                fill(&mut value, &values, kind, index);
                tx.put(ks, key(index), &value)
            })
        })
        .expect("room");
    }
    db.compact(ks).expect("room");
}

/// The value of key `index`, which begins with it.
fn fill(value: &mut Vec<u8>, values: &Values, kind: Kind, index: u64) {
    values.fill(value, index, 0);
    let mut random = Random::new(index);
    match kind {
        Kind::Half => {}
        Kind::Random => value[8..].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
        Kind::Text => {
            value.truncate(8);
            while value.len() < values.bytes() {
                value.extend_from_slice(WORDS[random.below(WORDS.len() as u64) as usize].as_bytes());
                value.push(b' ');
            }
            value.truncate(values.bytes());
        }
    }
}

/// Gets of random keys, and a whole scan, each after a scan that is not counted.
fn read(db: &Database, ks: &Keyspace, size: Size) -> [[f64; 2]; 2] {
    let scan = || {
        let mut iter = db.snapshot().and_then(|snapshot| snapshot.iter(ks)).expect("readable");
        let mut sum = 0u64;
        while let Some(entry) = iter.next_ref().expect("readable") {
            sum = sum.wrapping_add(index_of(entry.value));
        }
        assert_eq!(sum, size.records * (size.records - 1) / 2, "every entry once");
    };
    scan();
    let mut random = Random::new(7);
    let gets = timed(size.gets, || {
        for _ in 0..size.gets {
            let index = random.below(size.records);
            let snapshot = db.snapshot().expect("open");
            let found = snapshot.get_with(ks, key(index), |value| value.map(index_of)).expect("readable");
            assert_eq!(found, Some(index));
        }
    });
    [gets, timed(size.records, scan)]
}
