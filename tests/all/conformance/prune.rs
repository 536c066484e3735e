//! Pruning: whatever upkeep drops, every registered snapshot goes on reading the same.

use proptest::prelude::*;

use duramen_base::{Backend, Timestamp};

use super::fixture::Fixture;
use super::subject::{Subject, on_each_backend, on_each_backend_with_files};
use super::words::{Change, Rows, delete, delete_range, put, show};
use crate::random::check_cases;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    DeleteRange(u8, u8),
    Begin,
    End(prop::sample::Index),
    AnswerStale(bool),
    HoldHorizon(bool),
    Persist,
    Work(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..12u8, 0..60u8).prop_map(|(key, size)| Step::Put(key, size)),
        3 => (0..12u8).prop_map(Step::Delete),
        1 => (0..12u8, 0..12u8).prop_map(|(low, high)| Step::DeleteRange(low, high)),
        4 => Just(Step::Begin),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => any::<bool>().prop_map(Step::AnswerStale),
        1 => any::<bool>().prop_map(Step::HoldHorizon),
        2 => Just(Step::Persist),
        3 => (1..4096u16).prop_map(Step::Work),
    ]
}

fn key(i: u8) -> String {
    format!("key {i:02}")
}

struct Snapshots {
    open: Vec<(Timestamp, Rows)>,
}

impl Snapshots {
    fn check<S: Subject>(&self, store: &Fixture<S>) {
        for (at, rows) in &self.open {
            assert_eq!(show(&store.rows(*at)), show(rows), "the snapshot at {at}");
            for i in 0..12 {
                let there = rows.iter().find(|(k, _)| *k == key(i).as_bytes()).map(|(_, value)| &**value);
                assert_eq!(store.get(key(i), *at).value(), there, "{} in the snapshot at {at}", key(i));
            }
        }
    }
}

fn run<S: Subject>(steps: Vec<Step>) {
    let mut store = Fixture::<S>::forgetting();
    let mut snapshots = Snapshots { open: Vec::new() };
    for step in steps {
        let change: Option<Change> = match step {
            Step::Put(i, size) => Some(put(key(i), format!("{} ", store.now().get()).repeat(size.into()))),
            Step::Delete(i) => Some(delete(key(i))),
            Step::DeleteRange(low, high) => Some(delete_range(key(low), key(high))),
            Step::Begin => {
                let at = store.host.begin_snapshot();
                snapshots.open.push((at, store.rows(at)));
                None
            }
            Step::End(_) if snapshots.open.is_empty() => None,
            Step::End(index) => {
                let (at, _) = snapshots.open.swap_remove(index.index(snapshots.open.len()));
                store.host.end_snapshot(at);
                None
            }
            Step::AnswerStale(stale) => {
                store.host.answer_stale(stale);
                None
            }
            Step::HoldHorizon(true) => {
                store.host.hold_horizon();
                None
            }
            Step::HoldHorizon(false) => {
                store.host.follow_horizon();
                None
            }
            Step::Persist => {
                store.persist();
                snapshots.check(&store);
                None
            }
            Step::Work(bytes) => {
                store.store().persist_to(store.now(), duramen_base::Urgency::Relaxed);
                store.work(bytes.into()).expect("upkeep on a good disk");
                snapshots.check(&store);
                None
            }
        };
        if let Some(change) = change {
            store.commit(&[change]);
        }
    }
    snapshots.check(&store);
}

fn every_registered_snapshot_keeps_reading_the_same<S: Subject>() {
    check_cases(150, prop::collection::vec(step(), 1..120), run::<S>);
}

/// One version between two snapshots is kept while either may read it (P1, P4).
fn a_snapshot_keeps_exactly_its_version<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    let mut open = Vec::new();
    for round in 0..40 {
        for version in 0..3 {
            store.commit(&[put("k", format!("{round}.{version}").repeat(20))]);
        }
        if round % 4 == 0 {
            open.push((store.host.begin_snapshot(), format!("{round}.2").repeat(20)));
        }
        if round % 10 == 9 {
            let (at, _) = open.remove(open.len() / 2);
            store.host.end_snapshot(at);
        }
        if round % 3 == 0 {
            store.persist();
        }
        for (at, value) in &open {
            assert_eq!(store.get("k", *at).value(), Some(value.as_bytes()));
            assert!(store.found("k", *at).1 || *at == store.now());
        }
    }
}

/// Without snapshots the space of overwritten versions comes back.
fn overwriting_does_not_grow_the_store<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    for round in 0..300 {
        let changes: Vec<_> = (0..10).map(|i| put(key(i), format!("{round} ").repeat(60))).collect();
        store.commit(&changes);
        if round % 3 == 0 {
            store.persist();
        }
    }
    store.persist();
    let stats = store.store().stats();
    // 300 x 10 x 200 bytes were written; 2 KiB of them are alive.
    assert!(stats.memory_bytes < 200 << 10, "{stats:?}");
    assert!(stats.disk_bytes < 400 << 10, "{stats:?}");
}

on_each_backend!(every_registered_snapshot_keeps_reading_the_same, a_snapshot_keeps_exactly_its_version);
on_each_backend_with_files!(overwriting_does_not_grow_the_store);
