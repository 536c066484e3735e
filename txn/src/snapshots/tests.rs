//! Registration alone, and beside others that build sets.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use duramen_base::sync::thread;

use super::*;
use crate::horizons::Horizons;

fn me() -> TxnOrigin {
    TxnOrigin::here(None)
}

fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

fn slot_count(snapshots: &Snapshots) -> usize {
    snapshots.list.lock().slots.len()
}

#[test]
fn a_set_has_every_living_reader_once() {
    let snapshots = Snapshots::new();
    let readers: Vec<_> = [5, 3, 5, 8].map(|at| snapshots.register(&me(), || ts(at))).into();
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
    let reader = snapshots.register(&me(), || answers.borrow_mut().pop().unwrap());
    assert_eq!(reader.ts(), ts(9), "the versions at 4 may be gone");
    assert_eq!(snapshots.oldest_active(), Some(ts(9)));
    assert!(snapshots.register_at(&me(), ts(5)).is_none());
    assert_eq!(snapshots.active_count(), 1, "the refused one left nothing behind");
    assert_eq!(snapshots.register_at(&me(), ts(6)).unwrap().ts(), ts(6));
}

#[test]
fn the_floor_never_falls() {
    let snapshots = Snapshots::new();
    snapshots.build_set(|| ts(6));
    snapshots.build_set(|| ts(2)); // a builder that read its horizon earlier
    assert!(snapshots.register_at(&me(), ts(3)).is_none());
}

#[test]
fn slots_are_used_again() {
    let snapshots = Snapshots::new();
    for _ in 0..1000 {
        let readers: Vec<_> = (0..10).map(|_| snapshots.register(&me(), || ts(1))).collect();
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
        thread::spawn_named("reader", move || drop(snapshots.register(&me(), || ts(1)))).join().unwrap();
    }
    assert!(slot_count(&snapshots) <= 2, "{}", slot_count(&snapshots));
}

#[test]
fn one_thread_reads_many_databases() {
    let all: Vec<_> = (0..40).map(|_| Snapshots::new()).collect();
    for _ in 0..3 {
        let readers: Vec<_> =
            (0..).zip(&all).map(|(at, snapshots)| snapshots.register(&me(), move || ts(at))).collect();
        for (at, snapshots) in (0..).zip(&all) {
            assert_eq!((snapshots.oldest_active(), snapshots.active_count()), (Some(ts(at)), 1));
        }
        drop(readers);
    }
}

#[test]
fn a_reader_may_end_elsewhere_and_outlive_its_database() {
    let snapshots = Snapshots::new();
    let reader = snapshots.register(&me(), || ts(3));
    let other = Arc::clone(&snapshots);
    thread::spawn_named("other", move || {
        assert_eq!(other.oldest_active(), Some(ts(3)));
        drop(reader);
        assert_eq!(other.oldest_active(), None);
    })
    .join()
    .unwrap();
    let last = snapshots.register(&me(), || ts(4));
    drop(snapshots);
    assert_eq!(last.ts(), ts(4));
}

#[test]
fn a_reader_lives_until_the_last_of_its_clones_goes() {
    let snapshots = Snapshots::new();
    let reader = snapshots.register(&me(), || ts(3));
    let clones: Vec<_> = (0..4).map(|_| reader.clone()).collect();
    drop(reader);
    for clone in clones {
        assert_eq!(snapshots.build_set(|| ts(9)).active(), [ts(3)], "R9");
        thread::spawn_named("other", move || drop(clone)).join().unwrap();
    }
    assert_eq!((snapshots.active_count(), slot_count(&snapshots)), (0, 1));
    let next = snapshots.register(&me(), || ts(9));
    assert_eq!((next.ts(), slot_count(&snapshots)), (ts(9), 1), "its slot is used again");
}

#[test]
fn very_many_readers_are_all_found() {
    let snapshots = Snapshots::new();
    let readers: Vec<_> = (0..5000).map(|at| snapshots.register(&me(), move || ts(at))).collect();
    let kept: BTreeSet<_> =
        readers.into_iter().filter(|reader| reader.ts().get() % 3 == 0).map(|r| (r.ts(), r.ts.get())).collect();
    assert_eq!(snapshots.active_count(), 0);
    assert_eq!(kept.len(), 1667);
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn an_old_reader_is_ended_and_keeps_nothing() {
    let snapshots = Snapshots::new();
    let old = snapshots.register(&me(), || ts(3));
    snapshots.look(secs(10));
    let young = snapshots.register(&me(), || ts(3));
    assert_eq!(snapshots.end_older(secs(15), secs(5)), 0, "not older than allowed");
    assert_eq!(snapshots.build_set(|| ts(3)).active(), [ts(3)]);
    assert_eq!(snapshots.end_older(secs(16), secs(5)), 1);
    assert_eq!(snapshots.end_older(secs(16), secs(5)), 0, "once");
    assert!(old.is_ended() && old.handle().is_ended() && !young.is_ended() && !young.handle().is_ended());
    assert_eq!((snapshots.active_count(), snapshots.readers(secs(16), ts(9)).len()), (1, 2));
    drop(young);
    assert_eq!(snapshots.build_set(|| ts(7)).oldest(), ts(7), "R6");
}

#[test]
fn a_slot_tells_its_readers_apart() {
    let snapshots = Snapshots::new();
    for round in 1..20 {
        // The same slot and the same ts each time.
        let reader = snapshots.register(&me(), || ts(3));
        assert_eq!(snapshots.end_older(secs(10 * round), secs(5)), 0, "R5: found for the first time");
        assert!(!reader.is_ended());
        if round % 3 == 0 {
            assert_eq!(snapshots.end_older(secs(10 * round + 6), secs(5)), 1);
            assert!(reader.is_ended());
        }
    }
    assert_eq!((slot_count(&snapshots), snapshots.active_count()), (1, 0));
}

#[test]
fn readers_say_who_they_are() {
    let snapshots = Snapshots::new();
    let who = [TxnOrigin::here(Some("a")), TxnOrigin::here(None), TxnOrigin::here(Some("a"))];
    for who in who {
        let reader = snapshots.register(&who, || ts(3));
        assert_eq!(snapshots.readers(secs(1), ts(5))[0].who, who);
        drop(reader);
    }
    assert!(snapshots.readers(secs(1), ts(5)).is_empty());
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
                        0 => snapshots.register(&me(), || horizons.acked()),
                        _ => snapshots.register(&me(), || horizons.visible()),
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
