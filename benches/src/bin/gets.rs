//! Gets of data in cache, ours and those of peers, in turns in one process: the rows "cached point get" of the goals.
//!
//! `gets [keys] [rounds] [milliseconds of a slice] [engines] [folder] [part of the names of cases]`. Keys of 16 bytes in no order, values of 100, a snapshot for each get. Each round gives
//! each engine a slice of each case: uniform and zipfian, one thread and two, and one thread beside a writer that commits single puts of the weakest class.
//! Printed are medians in nanoseconds of a get, ours over those of each peer (above 1 is in our favour), and two threads and the one beside a writer over one alone.
//!
//! With a folder the data stay there, and a later run with the same number of keys begins at once. Without a peer built in
//! (`--features heed,redb`) it shows our own figures alone. Every answer is checked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use duramen_benches::bed;
use duramen_benches::compare::data::{Picker, Values, index_of};
use duramen_benches::compare::stand::{LOAD_STEP, wrong};
use duramen_benches::compare::threads::{Slice, Tally, run as run_threads};
use duramen_benches::keys::key;
use duramen_benches::machine;
use duramen_benches::peer::registry::{self, Entry};
use duramen_benches::peer::{Engine, Outcome, Reading, Session, Setup, broken};
use duramen_benches::rounds::Figures;

/// Gets between two looks at the clock.
const GETS: u64 = 64;
const VALUE_BYTES: usize = 100;
/// How long an engine may put its files in order after loading, before anything is measured.
const REST: Duration = Duration::from_secs(3);

/// What is measured in each round.
#[derive(Clone, Copy)]
struct Case {
    zipfian: bool,
    readers: usize,
    beside_writer: bool,
}

const CASES: [Case; 6] = [
    Case { zipfian: false, readers: 1, beside_writer: false },
    Case { zipfian: false, readers: 2, beside_writer: false },
    Case { zipfian: false, readers: 1, beside_writer: true },
    Case { zipfian: true, readers: 1, beside_writer: false },
    Case { zipfian: true, readers: 2, beside_writer: false },
    Case { zipfian: true, readers: 1, beside_writer: true },
];

impl Case {
    fn name(self) -> String {
        let pick = if self.zipfian { "zipfian" } else { "uniform" };
        let beside = if self.beside_writer { ", beside a writer" } else { "" };
        format!("{pick}, {} thread{}{beside}", self.readers, if self.readers == 1 { "" } else { "s" })
    }
}

/// An engine with its data.
struct Bed {
    entry: Entry,
    engine: Box<dyn Engine>,
    folder: PathBuf,
}

type Body<'a> = Box<dyn FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send + 'a>;

fn main() -> ExitCode {
    duramen_benches::guard::refuse_unfit_build();
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Outcome<()> {
    let number = |index: usize, otherwise: u64| args.get(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (keys, rounds, slice) = (number(0, 1_000_000), number(1, 5), Duration::from_millis(number(2, 200)));
    let wanted = args.get(3).map_or("duramen-btree,lmdb,redb", String::as_str);
    let passing = bed::folder();
    let root = args.get(4).map_or(passing.path(), Path::new);
    println!("{}\n", machine::provenance_of(root, "gets"));
    let is_wanted = |entry: &Entry| wanted.split(',').any(|name| name == entry.name) && entry.open.is_some();
    let mut beds = Vec::new();
    for entry in registry::all().into_iter().filter(is_wanted) {
        beds.push(open(entry, root, keys)?);
    }
    std::thread::sleep(REST);
    let cases: Vec<Case> =
        CASES.into_iter().filter(|case| args.get(5).is_none_or(|part| case.name().contains(part))).collect();
    let figures = measure(&beds, &cases, keys, rounds, slice)?;
    print(&beds, &cases, &figures);
    Ok(())
}

/// Opens an engine, loads it if its folder is new, and reads every key once.
fn open(entry: Entry, root: &Path, keys: u64) -> Outcome<Bed> {
    let folder = root.join(format!("{}-{keys}", entry.name));
    let is_loaded = folder.join("loaded").exists();
    std::fs::create_dir_all(&folder).map_err(broken)?;
    // Four times the data, and room for what an engine wants beside it.
    let cache_bytes = keys * 4 * (16 + VALUE_BYTES as u64) + (256 << 20);
    let (class, mode) = (entry.weakest(), entry.mode());
    let engine = entry.open(&Setup { folder: folder.clone(), cache_bytes, table_count: 1, class, mode })?;
    let begun = Instant::now();
    if !is_loaded {
        load(&*engine, keys)?;
        engine.sync()?;
        engine.settle()?;
        std::fs::write(folder.join("loaded"), "").map_err(broken)?;
    }
    engine.session()?.read(&mut |tx| (0..keys).try_for_each(|index| get_own(tx, index)))?;
    eprintln!("{} {} is ready after {:.1} s", entry.name, entry.version(), begun.elapsed().as_secs_f64());
    Ok(Bed { entry, engine, folder })
}

/// Puts all keys, in no order. An engine that makes writers wait for its files may tell one to come again.
fn load(engine: &dyn Engine, keys: u64) -> Outcome<()> {
    let (mut session, mut tally) = (engine.session()?, Tally::default());
    let (values, mut value) = (Values::new(VALUE_BYTES), Vec::new());
    for start in (0..keys).step_by(LOAD_STEP) {
        tally.until_committed(|| {
            session.write(&mut |tx| {
                (start..keys.min(start + LOAD_STEP as u64)).try_for_each(|index| {
                    values.fill(&mut value, index, 0);
                    tx.put(0, &key(index), &value)
                })
            })
        })?;
    }
    Ok(())
}

fn get_own(tx: &mut dyn Reading, index: u64) -> Outcome<()> {
    let mut answer = u64::MAX;
    let there = tx.get(0, &key(index), &mut |value| answer = index_of(value))?;
    if there && answer == index { Ok(()) } else { wrong(format!("key {index} answers {there}, {answer}")) }
}

/// Nanoseconds of a get of one reader: of each case, of each engine, round by round.
fn measure(beds: &[Bed], cases: &[Case], keys: u64, rounds: u64, slice: Duration) -> Outcome<Vec<Vec<Figures>>> {
    let pickers = [Picker::uniform(0, keys), Picker::zipfian(0, keys)];
    let mut figures = vec![vec![Figures(Vec::new()); beds.len()]; cases.len()];
    // Writers come when all else is done: what they leave in a write buffer would be looked up by the gets of a later case.
    for (beside_writer, round) in [false, true].iter().flat_map(|beside| (0..rounds).map(move |round| (*beside, round)))
    {
        for (case, row) in cases.iter().zip(&mut figures).filter(|(case, _)| case.beside_writer == beside_writer) {
            for turn in 0..beds.len() {
                let index = (round as usize + turn) % beds.len();
                let picker = &pickers[usize::from(case.zipfian)];
                row[index].0.push(ns_of_a_get(&beds[index], *case, picker, round, keys, slice)?);
            }
        }
    }
    Ok(figures)
}

fn ns_of_a_get(bed: &Bed, case: Case, picker: &Picker, round: u64, keys: u64, slice: Duration) -> Outcome<f64> {
    let mut bodies: Vec<Body<'_>> = Vec::new();
    for reader in 0..case.readers as u64 {
        bodies.push(Box::new(reads(picker.reseeded(round * 16 + reader + 1))));
    }
    if case.beside_writer {
        bodies.push(Box::new(writes(Picker::uniform(round + 1, keys))));
    }
    let slice = Slice { warm_up: slice / 8, measured: slice };
    let counted = run_threads(&*bed.engine, &bed.folder, slice, bodies)?;
    Ok(counted.ns_per_operation(case.readers))
}

fn reads(mut picker: Picker) -> impl FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send {
    move |session, tally| {
        (0..GETS).try_for_each(|_| {
            let index = picker.pick();
            session.read(&mut |tx| get_own(tx, index))
        })?;
        tally.operations += GETS;
        Ok(())
    }
}

/// Commits single puts; what it does is not counted.
fn writes(mut picker: Picker) -> impl FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send {
    let values = Values::new(VALUE_BYTES);
    let (mut value, mut serial) = (Vec::new(), 0);
    move |session, tally| {
        let index = picker.pick();
        serial += 1;
        values.fill(&mut value, index, serial);
        tally.until_committed(|| session.write(&mut |tx| tx.put(0, &key(index), &value)))
    }
}

fn print(beds: &[Bed], cases: &[Case], figures: &[Vec<Figures>]) {
    let of = |what: fn(&Bed) -> bool| (0..beds.len()).filter(|&index| what(&beds[index])).collect::<Vec<_>>();
    let (ours, peers) = (of(|bed| bed.entry.is_ours()), of(|bed| !bed.entry.is_ours()));
    let mut heads: Vec<String> = beds.iter().map(|bed| format!("{} ns", bed.entry.name)).collect();
    for (&us, &peer) in ours.iter().flat_map(|us| peers.iter().map(move |peer| (us, peer))) {
        heads.push(format!("{} to {}", beds[us].entry.name, beds[peer].entry.name));
    }
    heads.extend(beds.iter().map(|bed| format!("{} to 1 alone", bed.entry.name)));
    println!("| a snapshot for each get | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for (case, row) in cases.iter().zip(figures) {
        let mut cells: Vec<String> = row.iter().map(|figures| format!("{:.0}", figures.median())).collect();
        for (&us, &peer) in ours.iter().flat_map(|us| peers.iter().map(move |peer| (us, peer))) {
            cells.push(format!("{:.2}", row[peer].over(&row[us]).median()));
        }
        // Rates of all readers together.
        let is_alone = |other: &Case| other.zipfian == case.zipfian && other.readers == 1 && !other.beside_writer;
        let alone = cases.iter().position(is_alone).map_or(row, |at| &figures[at]);
        for (alone, figures) in alone.iter().zip(row) {
            cells.push(format!("{:.2}", alone.over(figures).median() * case.readers as f64));
        }
        println!("| {} | {} |", case.name(), cells.join(" | "));
    }
}
