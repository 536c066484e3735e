//! Snapshots and cached gets.

use std::time::Duration;

use duramen::Database;
use duramen_benches::bed::{BACKENDS, Bed};
use duramen_benches::floor;
use duramen_benches::report::{Goal, Row, number};
use duramen_benches::rounds::{Figures, Subject, calls_per_second, interleaved, ns_per_call};

const SLICE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 15;
/// Keys of the keyspace that gets are measured on.
const GET_KEYS: u64 = 1_000_000;
/// Small enough work is repeated, so that a look at a flag does not count.
const REPEAT: u32 = 64;

/// Beginning and ending a snapshot, alone and beside another thread.
pub(crate) fn snapshots() -> Vec<Row> {
    let db = Database::in_memory().expect("a database");
    let begin_and_end = |db: &Database| {
        let db = db.clone();
        move || (0..REPEAT).for_each(|_| drop(std::hint::black_box(db.snapshot().expect("a snapshot"))))
    };
    let announce = || {
        let mut announce = floor::announcer();
        move || (0..REPEAT).for_each(|_| announce())
    };
    let (mut raw_one, mut raw_two) = ([announce()], [announce(), announce()]);
    let (mut one, mut two) = ([begin_and_end(&db)], [begin_and_end(&db), begin_and_end(&db)]);
    // Of each thread: with two of them, twice the time that all calls together suggest.
    let ns = |rate: f64, threads: f64| threads * 1e9 / (rate * f64::from(REPEAT));
    let subjects: Vec<Subject<'_>> = vec![
        Box::new(|| ns(calls_per_second(SLICE, &mut raw_one), 1.0)),
        Box::new(|| ns(calls_per_second(SLICE, &mut raw_two), 2.0)),
        Box::new(|| ns(calls_per_second(SLICE, &mut one), 1.0)),
        Box::new(|| ns(calls_per_second(SLICE, &mut two), 2.0)),
    ];
    let figures = interleaved(ROUNDS, subjects);
    // What the machine itself gives to two threads, however busy it is.
    let raw_ratio = figures[1].over(&figures[0]);
    let floor = |index: usize| format!("swap and store of an own word: {} ns", number(figures[index].median()));
    let row = |what: &str, goal, figures: Figures, unit, floor| Row {
        what: what.to_owned(),
        on: "",
        goal,
        figures,
        unit,
        floor,
    };
    vec![
        row("snapshot begin + end, 1 thread", Goal::AtMost(60.0), figures[2].clone(), "ns", floor(0)),
        row("snapshot begin + end, each of 2 threads", Goal::None, figures[3].clone(), "ns", floor(1)),
        row(
            "snapshot begin + end, 2 threads over 1, divided by the raw words' own ratio",
            Goal::AtMost(1.1),
            figures[3].over(&figures[2]).over(&raw_ratio),
            "",
            format!("2 threads over 1 of the raw words: {}", number(raw_ratio.median())),
        ),
    ]
}

/// Cached gets, as a part of what a `BTreeMap` does.
pub(crate) fn gets() -> Vec<Row> {
    let map = floor::map(GET_KEYS);
    let beds: Vec<_> = BACKENDS
        .iter()
        .map(|&(on, kind)| {
            let bed = Bed::new(kind, Database::builder().memory_bytes(2 << 30).cache_bytes(1 << 30));
            bed.fill(GET_KEYS);
            (on, bed)
        })
        .collect();
    let mut raw = floor::map_getter(&map, 1);
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || ns_per_call(SLICE, &mut raw))];
    for (_, bed) in &beds {
        let mut get = bed.getter(GET_KEYS, 1);
        // Once through, so that everything is in the cache.
        (0..GET_KEYS).for_each(|_| get());
        subjects.push(Box::new(move || ns_per_call(SLICE, &mut get)));
    }
    let figures = interleaved(ROUNDS, subjects);
    let row = |((on, _), times): (&(&'static str, Bed), &Figures)| Row {
        what: format!("get, cached, 1 M keys of 16 bytes ({} ns), ratio to BTreeMap", number(times.median())),
        on,
        goal: if *on == "B-tree" { Goal::AtLeast(0.5) } else { Goal::None },
        figures: figures[0].over(times),
        unit: "",
        floor: format!("BTreeMap<Vec<u8>, Vec<u8>>: {} ns", number(figures[0].median())),
    };
    beds.iter().zip(&figures[1..]).map(row).collect()
}
