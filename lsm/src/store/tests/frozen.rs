//! Values without timestamps: which these are, and that nobody notices but by the size of the files.

use super::*;
use crate::merge::Merge;
use crate::merge::pick::{Job, LAST_LEVEL, Reason};
use crate::version::Run;
use duramen_base::vfs::MemVfs;

fn compact(bench: &Bench<MemVfs>) {
    let request = bench.lsm().compact(KeyBounds::ALL);
    bench.settle();
    assert!(bench.lsm().compacted() >= request);
}

/// Level, oldest and newest timestamp of each table.
fn tables(bench: &Bench<MemVfs>) -> Vec<(usize, u64, u64)> {
    let sv = bench.store().current();
    let levels = sv.version.levels.iter().enumerate();
    let tables = levels.flat_map(|(level, runs)| runs.iter().flat_map(Run::all).map(move |table| (level, table)));
    tables.map(|(level, table)| (level, table.meta().min_ts.get(), table.meta().max_ts.get())).collect()
}

/// Merges the newest run of level 0 where it is, whatever lies below.
fn rewrite_newest_run(bench: &Bench<MemVfs>) {
    let store = bench.store();
    let mut upkeep = store.upkeep.lock();
    let version = Arc::clone(&store.current().version);
    let inputs = version.levels[0][0].all().map(|table| table.meta().no).collect();
    let job = Job { inputs, to: 0, is_move: false, reason: Reason::Asked };
    let mut merge = Merge::new(store, &version, job);
    while !merge.step(store, &mut upkeep, 1500).expect("a good disk") {}
}

fn newer_than(bench: &Bench<MemVfs>, key: &str, since: u64) -> Option<u64> {
    bench.lsm().newer_than(key.as_bytes(), ts(since)).expect("readable").map(Timestamp::get)
}

#[test]
fn what_everybody_sees_has_no_timestamp_in_the_last_level() {
    let mut bench = Bench::new(disk());
    for number in 0..200 {
        bench.put(&format!("key-{:03}", number * 7 % 100), &format!("value {number}"));
    }
    compact(&bench);
    let found = tables(&bench);
    assert!(found.iter().all(|&table| table == (LAST_LEVEL, 0, 0)), "{found:?}");
    bench.check(bench.now);
    bench.verify();
    assert_eq!((newer_than(&bench, "key-003", 200), newer_than(&bench, "key-099", 200)), (None, None));
    bench.reopen();
    bench.check(bench.now);
    bench.put("key-003", "later");
    assert_eq!((newer_than(&bench, "key-003", 200), newer_than(&bench, "key-099", 200)), (Some(201), None));
    bench.check(200);
    bench.check(201);
    compact(&bench);
    bench.check(201);
    bench.verify();
}

/// FZ2.
#[test]
fn a_version_newer_than_a_reader_keeps_its_timestamp() {
    let mut bench = Bench::new(disk());
    bench.put("ash", "grey");
    bench.put("yew", "red");
    bench.persist();
    bench.host.set_snapshots(&[2]);
    bench.put("elm", "tough");
    bench.put("yew", "green");
    compact(&bench);
    assert_eq!(tables(&bench), [(LAST_LEVEL, 0, 4)]);
    bench.check(2);
    bench.check(4);
    bench.verify();
    let newer = ["ash", "elm", "yew"].map(|key| newer_than(&bench, key, 2));
    assert_eq!(newer, [None, Some(3), Some(4)]);
    let newer = ["ash", "elm", "yew"].map(|key| newer_than(&bench, key, 3));
    assert_eq!(newer, [None, None, Some(4)]);
    bench.host.set_snapshots(&[]);
    bench.put("fir", "tall");
    compact(&bench);
    assert_eq!(tables(&bench), [(LAST_LEVEL, 0, 0)]);
    bench.check(5);
    bench.verify();
}

/// FZ3. The range tombstone lies in an older run that has no key, so no version lies below.
#[test]
fn a_range_tombstone_hides_no_newer_value_that_it_lies_below() {
    let mut bench = Bench::new(disk());
    bench.store().pause_compaction(true);
    bench.commit(&[(OpKind::DeleteRange, b"a".to_vec(), b"p".to_vec())]);
    bench.persist();
    bench.put("oak", "hard");
    bench.put("yew", "red");
    bench.persist();
    rewrite_newest_run(&bench);
    assert_eq!(tables(&bench), [(0, 0, 2), (0, 1, 1)], "the tombstone is over one of the two");
    bench.check(bench.now);
    bench.verify();
    bench.store().pause_compaction(false);
    compact(&bench);
    bench.put("pine", "soft");
    bench.put("ash", "grey");
    compact(&bench);
    assert_eq!(tables(&bench), [(LAST_LEVEL, 0, 0)], "the tombstone is gone");
    bench.check(bench.now);
    bench.verify();
}

/// FZ3, of a put and a range delete of one commit.
#[test]
fn a_range_tombstone_of_the_same_commit_hides_no_value() {
    let mut bench = Bench::new(disk());
    bench.put("oak", "soft");
    bench.persist();
    bench.commit(&[
        (OpKind::DeleteRange, b"a".to_vec(), b"z".to_vec()),
        (OpKind::Put, b"oak".to_vec(), b"hard".to_vec()),
    ]);
    compact(&bench);
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn a_later_range_tombstone_hides_a_value_without_timestamp_from_whom_it_should() {
    let mut bench = Bench::new(disk());
    for key in ["ash", "yew", "elm", "oak"] {
        bench.put(key, "stands");
        bench.persist();
    }
    compact(&bench);
    assert!(tables(&bench).iter().all(|&table| table == (LAST_LEVEL, 0, 0)), "{:?}", tables(&bench));
    bench.host.set_snapshots(&[4]);
    bench.commit(&[(OpKind::DeleteRange, b"b".to_vec(), b"p".to_vec())]);
    for _ in 0..2 {
        assert_eq!((newer_than(&bench, "elm", 4), newer_than(&bench, "ash", 4)), (Some(5), None));
        bench.check(4);
        bench.check(5);
        bench.verify();
        compact(&bench);
    }
    bench.host.set_snapshots(&[]);
    bench.commit(&[(OpKind::DeleteRange, b"a".to_vec(), Vec::new())]);
    compact(&bench);
    bench.check(6);
    assert_eq!(bench.lsm().stats().units, 0, "{:?}", bench.files());
}

/// FZ4. The first commit is applied last, and keeps those behind it from counting as persisted.
#[test]
fn what_is_applied_again_lies_above_what_lost_its_timestamp() {
    let mut bench = Bench::new(disk());
    bench.store().pause_compaction(true);
    let commits: [Vec<Change>; 3] = [
        vec![(OpKind::Put, b"yew".to_vec(), b"red".to_vec())],
        vec![(OpKind::DeleteRange, b"a".to_vec(), b"p".to_vec())],
        vec![(OpKind::Put, b"oak".to_vec(), b"hard".to_vec())],
    ];
    let order = [2, 3, 1];
    for (at, changes) in (1..).zip(&commits) {
        bench.oracle.apply(changes, at);
        let ops: Vec<(OpKind, &[u8], &[u8])> =
            changes.iter().map(|(kind, key, value)| (*kind, &**key, &**value)).collect();
        bench.log.push((at, section(&ops)));
    }
    for at in order {
        if at == 1 {
            bench.store().rotate();
        }
        bench.apply(&bench.log[at - 1].1, at as u64);
    }
    bench.now = 3;
    bench.host.set(3, 3);
    bench.settle();
    for _ in 0..2 {
        rewrite_newest_run(&bench);
    }
    assert_eq!((tables(&bench), bench.lsm().persisted()), (vec![(0, 0, 0)], ts(0)));
    bench.check(3);
    bench.reopen();
    bench.check(3);
    bench.persist();
    bench.check(3);
    bench.store().pause_compaction(false);
    compact(&bench);
    bench.check(3);
    bench.verify();
}
