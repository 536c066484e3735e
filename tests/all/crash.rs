//! The crash proof: the whole engine on the simulated disk, and a crash at every operation.
//!
//! A run (`run.rs`) leaves a journal and a history (`history.rs`); `states.rs` makes every disk that a loss of power or the death of the process
//! could leave at each entry of the journal; `check.rs` opens it and compares. Not here: faults (calls that fail), and damage (bytes that change).
//!
//! `DURAMEN_CRASH_STATES=<number>` visits that many distinct states instead of those of the quick form, `DURAMEN_CRASH_SEED=<number>` starts at another
//! run, `DURAMEN_CRASH_RUNS=<number>` ends after that many, `DURAMEN_CRASH_BACKEND=<btree or lsm>` has that backend alone in every run. A run that failed is saved, and `DURAMEN_CRASH_JOURNAL=<file>` checks it again (`saved.rs`).
//!
//! Next: `run.rs`.

mod again;
mod check;
mod creating;
mod found;
mod history;
mod ingest;
mod noticed;
mod run;
mod saved;
mod states;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use duramen::BackendKind;
use duramen_base::vfs::sim::OpKind;

use check::{Depth, Promise, look};
use run::{BOTH, Plan, Run};
use states::{State, each_state};

/// Distinct states of the quick form.
const STATES: u64 = 100_000;
/// Random subsets at each entry and sector size, beside one of each fixed kind.
const RANDOM_SUBSETS: u64 = 4;
const WORKERS: u64 = 2;

/// Kinds of calls that change something, all of which a run must have made.
const KINDS: [OpKind; 10] = [
    OpKind::Create,
    OpKind::Write,
    OpKind::WriteZeros,
    OpKind::SyncData,
    OpKind::SetLen,
    OpKind::CreateDir,
    OpKind::Rename,
    OpKind::RemoveFile,
    OpKind::RemoveDir,
    OpKind::SyncDir,
];

/// What all workers count together.
#[derive(Default)]
struct Tally {
    seen: HashSet<u128>,
    by_kind: BTreeMap<OpKind, u64>,
    runs: u64,
    commits: u64,
    entries: usize,
    persists: [u64; 2],
    runs_with_cut_log: u64,
    stores: u64,
    levels_max: usize,
    saved_bytes: u64,
}

impl Tally {
    fn count(&mut self, digest: u128, last: Option<OpKind>) {
        if self.seen.insert(digest) {
            *self.by_kind.entry(last.unwrap_or(OpKind::Open)).or_default() += 1;
        }
    }
}

#[test]
fn after_a_crash_at_any_operation_nothing_promised_is_lost() {
    if let Some(path) = std::env::var_os("DURAMEN_CRASH_JOURNAL") {
        return check_saved(path.as_ref());
    }
    let wanted = number("DURAMEN_CRASH_STATES", STATES);
    let (first, runs) = (number("DURAMEN_CRASH_SEED", 1), number("DURAMEN_CRASH_RUNS", u64::MAX));
    let backends = asked_backends();
    let started = Instant::now();
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while (tally.lock().expect("no worker died").seen.len() as u64) < wanted {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    crash_everywhere(Plan { backends, ..Plan::of(first + number) }, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().expect("no worker died");
    println!(
        "{} distinct states, none lost, partial or refused; {} runs with {} commits, {} entries, {:?} checkpoints and flushes, {} logs cut, {} stores to the log, up to {} levels below the first, {} bytes saved by packing; {:.0?}",
        tally.seen.len(),
        tally.runs,
        tally.commits,
        tally.entries,
        tally.persists,
        tally.runs_with_cut_log,
        tally.stores,
        tally.levels_max,
        tally.saved_bytes,
        started.elapsed(),
    );
    println!("by the last call before the crash: {:?}", tally.by_kind);
    if runs < u64::MAX {
        return;
    }
    assert!(tally.stores > 0, "nothing was stored to the mapped end of the log");
    assert!(tally.persists[0] > 0 && tally.persists[1] > 0 && tally.runs_with_cut_log > 0, "upkeep ran");
    let has_levels = tally.levels_max >= 3 || !backends.contains(&BackendKind::Lsm);
    assert!(has_levels, "only {} levels below the first", tally.levels_max);
    assert!(tally.saved_bytes > 0 || !backends.contains(&BackendKind::Lsm), "blocks were packed");
    // An LSM alone cuts no file.
    for kind in KINDS.into_iter().filter(|kind| *kind != OpKind::SetLen || backends != [BackendKind::Lsm; 2]) {
        assert!(tally.by_kind.contains_key(&kind), "no state behind a {kind:?}");
    }
}

/// One run, and every state behind every entry of its journal.
fn crash_everywhere(plan: Plan, tally: &Mutex<Tally>) {
    let run = Run::new(plan);
    let checked = check_run(&run, &mut |state| tally.lock().expect("no worker died").count(state.digest, state.last));
    if let Err(complaint) = checked {
        panic!("{}", saved::save_with(&run, &complaint));
    }
    let mut tally = tally.lock().expect("no worker died");
    tally.runs += 1;
    tally.commits += run.history.len();
    tally.entries += run.journal.len();
    tally.runs_with_cut_log += u64::from(run.cut_log);
    tally.stores += run.stores;
    tally.levels_max = tally.levels_max.max(run.levels);
    tally.saved_bytes += run.saved_bytes;
    for (sum, persists) in tally.persists.iter_mut().zip(run.persists) {
        *sum += persists;
    }
}

/// Every state behind every entry of the run's journal, each told to `visit`; the first complaint. The same for the same run and seed.
fn check_run(run: &Run, visit: &mut dyn FnMut(&State)) -> Result<(), String> {
    let mut count = 0;
    each_state(&run.journal, &Promise::default(), RANDOM_SUBSETS, |state| {
        count += 1;
        visit(state);
        look(run, state.image.clone(), Depth::of(count))
    })
}

/// A run from a file instead of those of the enumeration.
fn check_saved(path: &Path) {
    let run = saved::load(path);
    let mut states = HashSet::new();
    let checked = check_run(&run, &mut |state| {
        states.insert(state.digest);
    });
    checked.unwrap_or_else(|complaint| panic!("{:?}: {complaint}", run.plan));
    println!("{}: {} distinct states of {:?}, none lost, partial or refused", path.display(), states.len(), run.plan);
}

/// Those of the two keyspaces of each run.
fn asked_backends() -> [BackendKind; 2] {
    match std::env::var("DURAMEN_CRASH_BACKEND").as_deref() {
        Err(_) => BOTH,
        Ok("btree") => [BackendKind::BTree; 2],
        Ok("lsm") => [BackendKind::Lsm; 2],
        Ok(other) => panic!("DURAMEN_CRASH_BACKEND is btree or lsm, not {other}"),
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
        Err(_) => otherwise,
    }
}
