//! The protocols of this crate under every kind of schedule: by shuttle in a build with `--cfg duramen_sim`, a few
//! times on real threads otherwise.
//!
//! Shuttle's atomics are sequentially consistent, so what is shown here is the order of the steps; the memory orders
//! are argued where they are chosen.

use std::time::Duration;

use duramen_base::sync::{Arc, Mutex, check_pct, check_random, thread};
use duramen_base::{SnapSet, Timestamp, TxnOrigin};

use crate::{Horizons, Registration, Snapshots};

const RANDOM_RUNS: usize = 20_000;
const PCT_RUNS: usize = 10_000;
const PCT_DEPTH: usize = 4;

fn check(test: fn()) {
    check_random(RANDOM_RUNS, test);
    check_pct(PCT_RUNS, PCT_DEPTH, test);
}

fn me() -> TxnOrigin {
    TxnOrigin::here(None)
}

fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

/// Runs all at once and waits for all.
fn run_threads<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let handles = threads.map(|run| thread::spawn_named("scheduled", run));
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[derive(Default)]
struct Observed {
    readers: Vec<Registration>,
    sets: Vec<SnapSet>,
}

/// R1 over everything that happened: the readers still live, so each set must respect each.
fn check_sets(observed: &Observed) {
    for set in &observed.sets {
        for reader in &observed.readers {
            let respected = set.active().contains(&reader.ts()) || reader.ts() >= set.horizon();
            assert!(respected, "R1: a reader at {} is unknown to {set:?}", reader.ts());
        }
    }
}

#[test]
fn no_set_misses_a_reader() {
    check(|| {
        let snapshots = Snapshots::new();
        let horizons = Arc::new(Horizons::new(ts(1)));
        let observed = Arc::new(Mutex::new(Observed::default()));
        let shared = || (Arc::clone(&snapshots), Arc::clone(&horizons), Arc::clone(&observed));
        let reader = |reads_visible: bool| {
            let (snapshots, horizons, observed) = shared();
            let read = move || if reads_visible { horizons.visible() } else { horizons.acked() };
            Box::new(move || {
                drop(snapshots.register(&me(), &read)); // its slot is taken again, by itself or by the other one
                let reader = snapshots.register(&me(), &read);
                observed.lock().readers.push(reader);
            })
        };
        let builder = |commit: u64| {
            let (snapshots, horizons, observed) = shared();
            Box::new(move || {
                horizons.raise_visible(ts(commit));
                horizons.raise_durable(ts(commit));
                let set = snapshots.build_set(|| horizons.acked());
                observed.lock().sets.push(set);
            })
        };
        run_threads([reader(false), reader(true), builder(2), builder(3)]);
        check_sets(&observed.lock());
    });
}

#[test]
fn a_reader_at_a_given_ts_is_refused_or_respected() {
    check(|| {
        let snapshots = Snapshots::new();
        let observed = Arc::new(Mutex::new(Observed::default()));
        let reader = {
            let (snapshots, observed) = (Arc::clone(&snapshots), Arc::clone(&observed));
            Box::new(move || {
                if let Some(reader) = snapshots.register_at(&me(), ts(2)) {
                    observed.lock().readers.push(reader);
                }
            })
        };
        let builder = |horizon: u64| {
            let (snapshots, observed) = (Arc::clone(&snapshots), Arc::clone(&observed));
            Box::new(move || {
                let set = snapshots.build_set(|| ts(horizon));
                observed.lock().sets.push(set);
            })
        };
        run_threads([reader, builder(2), builder(3)]);
        check_sets(&observed.lock());
    });
}

/// Two threads share a reader and let go of it, or read on alone, while others come and sets are built.
#[test]
fn who_shares_a_reader_keeps_it_until_the_last_lets_go() {
    check(|| {
        let (snapshots, dropped) = (Snapshots::new(), Arc::new(Mutex::new(ts(0))));
        let reader = snapshots.register(&me(), || ts(1));
        let holder = |reader: Registration| {
            let (snapshots, dropped) = (Arc::clone(&snapshots), Arc::clone(&dropped));
            Box::new(move || {
                assert!(*dropped.lock() <= reader.ts(), "R9: what a holder reads was dropped");
                drop(reader);
                let next = snapshots.register(&me(), || ts(9));
                assert_eq!(next.ts(), ts(9));
            })
        };
        let builder = {
            let (snapshots, dropped) = (Arc::clone(&snapshots), Arc::clone(&dropped));
            Box::new(move || {
                let set = snapshots.build_set(|| ts(5));
                *dropped.lock() = set.oldest();
            })
        };
        run_threads([holder(reader.clone()), holder(reader), builder]);
        assert_eq!(snapshots.active_count(), 0, "R9: the last one gave the slot back");
    });
}

/// Two readers after each other, one of whom may be ended while it reads, beside one who ends what is old and drops what nobody needs.
#[test]
fn an_ended_reader_uses_nothing_that_was_dropped() {
    check(|| {
        let (snapshots, horizons) = (Snapshots::new(), Arc::new(Horizons::new(ts(1))));
        // Up to where versions are dropped: who reads below it finds them gone.
        let dropped = Arc::new(Mutex::new(ts(0)));
        let reader = {
            let (snapshots, horizons, dropped) = (Arc::clone(&snapshots), Arc::clone(&horizons), Arc::clone(&dropped));
            Box::new(move || {
                for _ in 0..2 {
                    let reader = snapshots.register(&me(), || horizons.acked());
                    for _ in 0..2 {
                        let is_there = *dropped.lock() <= reader.ts();
                        assert!(is_there || reader.is_ended(), "R6: reads at {} what is gone", reader.ts());
                    }
                }
            })
        };
        let watcher = {
            let (snapshots, horizons, dropped) = (Arc::clone(&snapshots), Arc::clone(&horizons), Arc::clone(&dropped));
            Box::new(move || {
                for commit in 2..4 {
                    horizons.raise_visible(ts(commit));
                    horizons.raise_durable(ts(commit));
                    snapshots.end_older(Duration::from_secs(commit), Duration::ZERO);
                    let set = snapshots.build_set(|| horizons.acked());
                    *dropped.lock() = set.oldest();
                }
            })
        };
        run_threads([reader, watcher]);
        assert_eq!(snapshots.active_count(), 0);
    });
}

#[test]
fn no_raiser_misses_the_other() {
    check(|| {
        let horizons = Arc::new(Horizons::new(ts(0)));
        let with = |run: fn(&Horizons)| {
            let horizons = Arc::clone(&horizons);
            Box::new(move || run(&horizons))
        };
        run_threads([
            with(|horizons| {
                horizons.raise_visible(ts(1));
                horizons.raise_visible(ts(2));
            }),
            with(|horizons| {
                horizons.raise_durable(ts(1));
                horizons.raise_durable(ts(3));
            }),
            with(|horizons| {
                for _ in 0..2 {
                    // `acked` first: what rises in between only helps.
                    let acked = horizons.acked();
                    let (visible, durable) = (horizons.visible(), horizons.durable());
                    assert!(acked <= visible, "H2: {acked} before {visible}");
                    assert!(acked <= durable, "nobody asked to be told early: {acked} before {durable}");
                }
            }),
        ]);
        assert_eq!(horizons.acked(), ts(2), "H3");
    });
}

#[test]
fn an_early_acknowledgement_never_passes_visible() {
    check(|| {
        let horizons = Arc::new(Horizons::new(ts(0)));
        let with = |run: fn(&Horizons)| {
            let horizons = Arc::clone(&horizons);
            Box::new(move || run(&horizons))
        };
        run_threads([
            with(|horizons| {
                (1..=2).for_each(|commit| {
                    horizons.raise_visible(ts(commit));
                });
            }),
            with(|horizons| {
                let visible = horizons.visible();
                horizons.acknowledge(visible);
                assert!(horizons.acked() >= visible, "the own next snapshot contains it");
            }),
            with(|horizons| {
                horizons.raise_durable(ts(1));
                let acked = horizons.acked();
                assert!(acked <= horizons.visible(), "H2");
            }),
        ]);
        assert!(horizons.acked() >= ts(1), "H3");
    });
}
