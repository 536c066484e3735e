//! The same operations by every engine that is built in, counted the same way: what else the machine does cannot distort it.
//!
//! Engines are driven through the trait of the comparison, on files, in their usual mode and weakest class. A count is that of the whole
//! process, its background threads included, without the kernel. One that valgrind cannot run shows a dash, and why goes to the error output.

use std::hint::black_box;

use duramen_benches::bed;
use duramen_benches::compare::data::Values;
use duramen_benches::compare::stand::{get_own, put_all};
use duramen_benches::keys::{Random, key};
use duramen_benches::peer::registry::{self, Entry};
use duramen_benches::peer::{Engine, Outcome, Setup, Span};

/// Keys of the table.
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 100;
const CACHE_BYTES: u64 = 64 << 20;
/// Entries of one scan.
const SCAN: usize = 100;

/// Something that engines are compared in.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    /// Name in the table.
    pub(crate) name: &'static str,
    /// Does it so many times on a filled table.
    run: fn(&dyn Engine, u64) -> Outcome<()>,
    /// How many of the two runs whose difference counts.
    pub(crate) counts: [u64; 2],
    fills: bool,
}

/// All of them.
pub(crate) const ALL: [Operation; 5] = [
    Operation { name: "get, a snapshot each", run: get_each, counts: [2_000, 12_000], fills: true },
    Operation { name: "get, one snapshot for all", run: get_many, counts: [2_000, 12_000], fills: true },
    Operation { name: "scan of 100", run: scan, counts: [50, 350], fills: true },
    Operation { name: "put of a random load", run: load, counts: [10_000, 30_000], fills: false },
    Operation { name: "commit of one put", run: commit, counts: [1_000, 5_000], fills: true },
];

/// Engines to compare: those built in that outlive the process.
pub(crate) fn engines(wanted: &str) -> Vec<Entry> {
    let asked = |name: &str| wanted.split(',').any(|part| name.contains(part));
    let keeps = |entry: &Entry| entry.open.is_some() && entry.offer.files.is_ok() && entry.offer.answers.is_ok();
    registry::all().into_iter().filter(|entry| keeps(entry) && asked(entry.name)).collect()
}

/// What valgrind runs.
pub(crate) fn run(operation: &str, engine: &str, count: u64) -> Result<(), String> {
    let entry = registry::find(engine).ok_or_else(|| format!("there is no engine {engine}"))?;
    let operation = ALL.into_iter().find(|found| found.name == operation);
    let operation = operation.ok_or("there is no such operation")?;
    work(&entry, operation, count).map_err(|failure| failure.to_string())
}

fn work(entry: &Entry, operation: Operation, count: u64) -> Outcome<()> {
    let folder = bed::folder();
    let (class, mode) = (entry.weakest(), entry.mode());
    let setup = Setup { folder: folder.path().to_owned(), cache_bytes: CACHE_BYTES, table_count: 1, class, mode };
    let engine = entry.open(&setup)?;
    if operation.fills {
        load(&*engine, KEYS)?;
        engine.settle()?;
    }
    (operation.run)(&*engine, count)
}

fn load(engine: &dyn Engine, count: u64) -> Outcome<()> {
    let indexes: Vec<u64> = (0..count).collect();
    put_all(engine, 0, &Values::new(VALUE_BYTES), &indexes, 0)?;
    engine.sync()
}

fn get_each(engine: &dyn Engine, count: u64) -> Outcome<()> {
    let (mut session, mut random) = (engine.session()?, Random::new(1));
    (0..count).try_for_each(|_| session.read(&mut |tx| get_own(tx, 0, random.below(KEYS)).map(drop)))
}

fn get_many(engine: &dyn Engine, count: u64) -> Outcome<()> {
    let (mut session, mut random) = (engine.session()?, Random::new(1));
    session.read(&mut |tx| (0..count).try_for_each(|_| get_own(tx, 0, random.below(KEYS)).map(drop)))
}

fn scan(engine: &dyn Engine, count: u64) -> Outcome<()> {
    let (mut session, mut random) = (engine.session()?, Random::new(1));
    session.read(&mut |tx| {
        (0..count).try_for_each(|_| {
            let from = key(random.below(KEYS));
            let span = Span { from: Some(&from), limit: SCAN, reverse: false };
            tx.scan(0, span, &mut |key, value| {
                black_box((key.len(), value.len()));
            })
            .map(drop)
        })
    })
}

fn commit(engine: &dyn Engine, count: u64) -> Outcome<()> {
    let (mut session, mut random) = (engine.session()?, Random::new(1));
    let (values, mut value) = (Values::new(VALUE_BYTES), Vec::new());
    (0..count).try_for_each(|serial| {
        let index = random.below(KEYS);
        values.fill(&mut value, index, serial);
        session.write(&mut |tx| tx.put(0, &key(index), &value)).map(drop)
    })
}
