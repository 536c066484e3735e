//! Commits of one put each, at every durability.

use std::time::Duration;

use duramen::Durability;
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS, folder};
use duramen_benches::floor;
use duramen_benches::report::{Goal, Row, number};
use duramen_benches::rounds::{Figures, Subject, calls_per_second, interleaved, ns_per_call};

const SLICE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 15;

/// Beds of both backends, with the name of each.
fn beds() -> Vec<(&'static str, Bed)> {
    BACKENDS.iter().map(|&(on, kind)| (on, Bed::for_commits(kind))).collect()
}

/// Sync commits of one thread, as a part of what a raw loop does.
pub(crate) fn sync_alone() -> Vec<Row> {
    let (beds, raw_folder) = (beds(), folder());
    let mut raw = floor::log_writer(&raw_folder.path().join("raw"), true);
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || 1e9 / ns_per_call(SLICE, &mut raw))];
    for (seed, (_, bed)) in beds.iter().enumerate() {
        let mut commit = bed.committer(Durability::Sync, seed as u64);
        subjects.push(Box::new(move || 1e9 / ns_per_call(SLICE, &mut commit)));
    }
    let figures = interleaved(ROUNDS, subjects);
    let floor = format!("150 bytes + fdatasync: {}/s", number(figures[0].median()));
    let row = |((on, _), rates): (&(&'static str, Bed), &Figures)| Row {
        what: "Sync commit, 1 thread, ratio to the raw loop".to_owned(),
        on,
        goal: Goal::AtLeast(0.90),
        figures: rates.over(&figures[0]),
        unit: "",
        floor: floor.clone(),
    };
    beds.iter().zip(&figures[1..]).map(row).collect()
}

/// Sync commits of many threads: how many one sync serves.
pub(crate) fn sync_many() -> Vec<Row> {
    const THREADS: u64 = 32;
    const ROUNDS: usize = 5;
    const SLICE: Duration = Duration::from_millis(500);
    let (beds, raw_folder) = (beds(), folder());
    let rates = std::cell::RefCell::new(vec![Vec::new(); beds.len()]);
    let mut raw = floor::log_writer(&raw_folder.path().join("raw"), true);
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || 1e9 / ns_per_call(SLICE / 2, &mut raw))];
    for (index, (_, bed)) in beds.iter().enumerate() {
        let mut committers: Vec<_> = (0..THREADS).map(|seed| bed.committer(Durability::Sync, seed)).collect();
        let rates = &rates;
        subjects.push(Box::new(move || {
            let before = bed.db.stats();
            rates.borrow_mut()[index].push(calls_per_second(SLICE, &mut committers));
            let after = bed.db.stats();
            (after.commits - before.commits) as f64 / (after.log.syncs - before.log.syncs).max(1) as f64
        }));
    }
    let figures = interleaved(ROUNDS, subjects);
    let row = |((on, _), (per_sync, rates)): (&(&'static str, Bed), (&Figures, &Vec<f64>))| Row {
        what: format!(
            "Sync commits per fsync, {THREADS} threads ({} k commits/s)",
            number(Figures(rates.clone()).median() / 1e3)
        ),
        on,
        goal: Goal::AtLeast(16.0),
        figures: per_sync.clone(),
        unit: "",
        floor: format!("1 thread, 150 bytes + fdatasync: {}/s", number(figures[0].median())),
    };
    let rates = rates.borrow();
    beds.iter().zip(figures[1..].iter().zip(&*rates)).map(row).collect()
}

/// `None` commits of one thread.
pub(crate) fn none() -> Vec<Row> {
    let beds = beds();
    let mut raw = floor::memory_writer(COMMIT_KEYS, 0);
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || ns_per_call(SLICE, &mut raw) / 1e3)];
    for (seed, (_, bed)) in beds.iter().enumerate() {
        let mut commit = bed.committer(Durability::None, seed as u64);
        subjects.push(Box::new(move || ns_per_call(SLICE, &mut commit) / 1e3));
    }
    let figures = interleaved(ROUNDS, subjects);
    let row = |((on, _), times): (&(&'static str, Bed), &Figures)| Row {
        what: "`None` commit of one put, 1 thread".to_owned(),
        on,
        goal: Goal::AtMost(2.5),
        figures: times.clone(),
        unit: "us",
        floor: format!(
            "crc, copy, BTreeMap insert: {} us ({}x)",
            number(figures[0].median()),
            number(times.over(&figures[0]).median())
        ),
    };
    beds.iter().zip(&figures[1..]).map(row).collect()
}

/// `Buffered` commits of one thread and of eight.
pub(crate) fn buffered() -> Vec<Row> {
    const THREADS: u64 = 8;
    let (beds, raw_folder) = (beds(), folder());
    let mut raw = floor::log_writer(&raw_folder.path().join("raw"), false);
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || 1e6 / ns_per_call(SLICE, &mut raw))];
    for (_, bed) in &beds {
        let mut one = [bed.committer(Durability::Buffered, 1)];
        subjects.push(Box::new(move || calls_per_second(SLICE, &mut one) / 1e3));
        let mut many: Vec<_> = (0..THREADS).map(|seed| bed.committer(Durability::Buffered, seed)).collect();
        subjects.push(Box::new(move || calls_per_second(SLICE, &mut many) / 1e3));
    }
    let figures = interleaved(ROUNDS, subjects);
    let floor = format!("150 bytes written: {} k/s", number(figures[0].median()));
    let rows = |((on, _), rates): (&(&'static str, Bed), &[Figures])| {
        let row = |what: String, goal, figures, unit| Row { what, on, goal, figures, unit, floor: floor.clone() };
        [
            row("`Buffered` commits, 1 thread".to_owned(), Goal::AtLeast(200.0), rates[0].clone(), "k/s"),
            row(format!("`Buffered` commits, {THREADS} threads"), Goal::AtLeast(200.0), rates[1].clone(), "k/s"),
            row(
                format!("`Buffered` commits, {THREADS} threads over 1"),
                Goal::AtLeast(1.0),
                rates[1].over(&rates[0]),
                "",
            ),
        ]
    };
    beds.iter().zip(figures[1..].chunks(2)).flat_map(rows).collect()
}
