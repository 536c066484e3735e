//! Registration alone, and beside others that build sets.

use std::collections::BTreeSet;
use std::sync::Barrier;

use duramen_base::sync::thread;

use super::*;
use crate::horizons::Horizons;

fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

fn slot_count(snapshots: &Snapshots) -> usize {
    snapshots.list.lock().slots.len()
}

#[test]
fn a_set_has_every_living_reader_once() {
    let snapshots = Snapshots::new();
    let readers: Vec<_> = [5, 3, 5, 8].map(|at| snapshots.register(|| ts(at))).into();
    let set = snapshots.build_set(|| ts(7));
    assert_eq!(set.active(), [ts(3), ts(5), ts(8)]);
    assert_eq!((set.oldest(), snapshots.oldest_active(), snapshots.active_count()), (ts(3), Some(ts(3)), 4));
    drop(readers);
    assert_eq!((snapshots.oldest_active(), snapshots.active_count()), (None, 0));
}

#[test]
fn a_reader_below_the_floor_starts_again() {
    let snapshots = Snapshots::new();
    let answers = RefCell::new(vec![ts(9), ts(4)]);
    snapshots.build_set(|| ts(6));
    let reader = snapshots.register(|| answers.borrow_mut().pop().unwrap());
    assert_eq!(reader.ts(), ts(9), "the versions at 4 may be gone");
    assert_eq!(snapshots.oldest_active(), Some(ts(9)));
    assert!(snapshots.register_at(ts(5)).is_none());
    assert_eq!(snapshots.active_count(), 1, "the refused one left nothing behind");
    assert_eq!(snapshots.register_at(ts(6)).unwrap().ts(), ts(6));
}

#[test]
fn the_floor_never_falls() {
    let snapshots = Snapshots::new();
    snapshots.build_set(|| ts(6));
    snapshots.build_set(|| ts(2)); // a builder that read its horizon earlier
    assert!(snapshots.register_at(ts(3)).is_none());
}

#[test]
fn slots_are_used_again() {
    let snapshots = Snapshots::new();
    for _ in 0..1000 {
        let readers: Vec<_> = (0..10).map(|_| snapshots.register(|| ts(1))).collect();
        assert_eq!(snapshots.active_count(), readers.len());
    }
    // A few at home, the others through the list.
    assert!(slot_count(&snapshots) <= 11, "{}", slot_count(&snapshots));
}

#[test]
fn slots_of_threads_that_ended_are_used_again() {
    let snapshots = Snapshots::new();
    for _ in 0..50 {
        let snapshots = Arc::clone(&snapshots);
        thread::spawn_named("reader", move || drop(snapshots.register(|| ts(1)))).join().unwrap();
    }
    assert!(slot_count(&snapshots) <= 2, "{}", slot_count(&snapshots));
}

#[test]
fn one_thread_reads_many_databases() {
    let all: Vec<_> = (0..40).map(|_| Snapshots::new()).collect();
    for _ in 0..3 {
        let readers: Vec<_> = (0..).zip(&all).map(|(at, snapshots)| snapshots.register(move || ts(at))).collect();
        for (at, snapshots) in (0..).zip(&all) {
            assert_eq!((snapshots.oldest_active(), snapshots.active_count()), (Some(ts(at)), 1));
        }
        drop(readers);
    }
}

#[test]
fn a_reader_may_end_elsewhere_and_outlive_its_database() {
    let snapshots = Snapshots::new();
    let reader = snapshots.register(|| ts(3));
    let other = Arc::clone(&snapshots);
    thread::spawn_named("other", move || {
        assert_eq!(other.oldest_active(), Some(ts(3)));
        drop(reader);
        assert_eq!(other.oldest_active(), None);
    })
    .join()
    .unwrap();
    let last = snapshots.register(|| ts(4));
    drop(snapshots);
    assert_eq!(last.ts(), ts(4));
}

#[test]
fn very_many_readers_are_all_found() {
    let snapshots = Snapshots::new();
    let readers: Vec<_> = (0..5000).map(|at| snapshots.register(move || ts(at))).collect();
    let kept: BTreeSet<_> =
        readers.into_iter().filter(|reader| reader.ts().get() % 3 == 0).map(|r| (r.ts(), r.ts.get())).collect();
    assert_eq!(snapshots.active_count(), 0);
    assert_eq!(kept.len(), 1667);
}

/// R1 with real threads: readers at acked and at visible beside a builder and a writer.
#[test]
fn no_set_forgets_a_reader_below_its_horizon() {
    const ROUNDS: u64 = 20_000;
    const READERS: usize = 2;
    let (snapshots, horizons) = (Snapshots::new(), Arc::new(Horizons::new(ts(0))));
    let start = Arc::new(Barrier::new(READERS + 1));
    // What a reader checks is what every pruner relies on: nobody may have built, while it reads, a set without it
    // whose horizon is above it. The newest such horizon is in `pruned`.
    let pruned = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|which| {
            let (snapshots, horizons) = (Arc::clone(&snapshots), Arc::clone(&horizons));
            let (start, pruned) = (Arc::clone(&start), Arc::clone(&pruned));
            thread::spawn_named("reader", move || {
                start.wait();
                while horizons.visible() < ts(ROUNDS) {
                    let reader = match which {
                        0 => snapshots.register(|| horizons.acked()),
                        _ => snapshots.register(|| horizons.visible()),
                    };
                    // All sets so far either have it or end at it: nothing above `ts` was pruned that `ts` needs.
                    let pruned = pruned.load(Ordering::SeqCst);
                    assert!(pruned <= reader.ts().get(), "pruned through {pruned}, read at {}", reader.ts());
                }
            })
        })
        .collect();
    start.wait();
    for commit in 1..=ROUNDS {
        horizons.raise_visible(ts(commit));
        horizons.raise_durable(ts(commit));
        let set = snapshots.build_set(|| horizons.acked());
        // All versions that only readers below `oldest` could see go now.
        pruned.fetch_max(set.oldest().get(), Ordering::SeqCst);
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(snapshots.active_count(), 0);
}
