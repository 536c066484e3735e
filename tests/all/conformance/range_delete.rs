//! Range deletes: what they cover, for whom, and for how long.

use duramen_base::{KeyBounds, Timestamp};

use super::fixture::Fixture;
use super::subject::{Subject, on_each_backend};
use super::words::{Answer, delete, delete_range, put, rows};

fn key(i: usize) -> String {
    format!("{i:05}")
}

fn a_range_is_half_open<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.commit(&[put("a", "1"), put("b", "1"), put("b\0", "1"), put("c", "1"), put("c\0", "1")]);
    let gone = store.commit(&[delete_range("b", "c")]);
    for _ in 0..2 {
        assert_eq!(store.rows(gone), rows(&[("a", "1"), ("c", "1"), ("c\0", "1")]));
        assert!(store.get("b", gone).is_deleted_at(gone));
        assert!(store.get("bzz", gone).is_deleted_at(gone), "a key that never was is deleted too");
        assert_eq!(store.get("azz", gone), Answer::Absent);
        store.persist();
    }
}

fn an_empty_high_end_is_the_end_of_the_keyspace<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.commit(&[put("", "1"), put("a", "1"), put("b", "1"), put([0xff; 50], "1")]);
    let tail = store.commit(&[delete_range("b", "")]);
    assert_eq!(store.rows(tail), rows(&[("", "1"), ("a", "1")]));
    store.persist();
    assert_eq!(store.rows(tail), rows(&[("", "1"), ("a", "1")]));
    let all = store.commit(&[delete_range("", "")]);
    assert!(store.rows(all).is_empty());
    store.persist();
    store.reopen();
    assert!(store.rows(store.now()).is_empty());
    let back = store.commit(&[put("b", "2")]);
    assert_eq!(store.rows(back), rows(&[("b", "2")]));
}

fn older_snapshots_keep_what_was_deleted<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    for i in 0..100 {
        store.commit(&[put(key(i), "old")]);
    }
    let before = store.host.begin_snapshot();
    let expected = store.rows(before);
    store.commit(&[delete_range(key(20), key(80))]);
    let after = store.host.begin_snapshot();
    for i in 40..60 {
        store.commit(&[put(key(i), "new")]);
    }
    let again = store.host.begin_snapshot();
    store.commit(&[delete_range(key(50), key(90))]);
    for _ in 0..3 {
        assert_eq!(store.rows(before), expected);
        assert_eq!(store.rows(after).len(), 40);
        assert_eq!(store.rows(again).len(), 60);
        assert_eq!(store.rows(store.now()).len(), 40);
        assert_eq!(store.get(key(55), before).value(), Some(&b"old"[..]));
        assert_eq!(store.get(key(55), after).value(), None);
        assert_eq!(store.get(key(55), again).value(), Some(&b"new"[..]));
        assert_eq!(store.value(key(55)), None);
        store.persist();
        store.commit_elsewhere();
    }
    for at in [before, after, again] {
        store.host.end_snapshot(at);
    }
    store.persist();
    assert_eq!(store.rows(store.now()).len(), 40);
}

fn later_puts_survive_and_earlier_ones_do_not<S: Subject>() {
    let mut store = Fixture::<S>::new();
    for round in 0..4 {
        store.commit(&[put("b", "old"), put("d", "old")]);
        if round & 1 == 1 {
            store.persist();
        }
        store.commit(&[delete_range("a", "z")]);
        if round & 2 == 2 {
            store.persist();
        }
        let ts = store.commit(&[put("c", "new"), put("d", "new")]);
        assert_eq!(store.rows(ts), rows(&[("c", "new"), ("d", "new")]));
        store.persist();
        assert_eq!(store.rows(ts), rows(&[("c", "new"), ("d", "new")]));
    }
}

fn ranges_may_overlap<S: Subject>() {
    let mut store = Fixture::<S>::new();
    for i in 0..60 {
        store.commit(&[put(key(i), "v")]);
    }
    let first =
        store.commit(&[delete_range(key(10), key(30)), delete_range(key(10), key(20)), delete_range(key(25), key(40))]);
    let second = store.commit(&[delete_range(key(5), key(15)), delete_range(key(35), key(36))]);
    let third = store.commit(&[delete_range(key(0), key(50))]);
    for _ in 0..2 {
        assert_eq!(store.rows(first).len(), 30);
        assert_eq!(store.rows(second).len(), 25);
        assert_eq!(store.rows(third).len(), 10);
        assert_eq!(store.newer_than(key(12), first), Some(third));
        assert!(store.get(key(12), second).is_deleted_at(second));
        assert!(store.get(key(22), second).is_deleted_at(first));
        assert!(store.get(key(35), second).is_deleted_at(second));
        store.persist();
    }
}

fn a_range_delete_is_a_conflict_for_every_key_in_it<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let before = store.commit(&[put("b", "1"), put("c", "1")]);
    let gone = store.commit(&[delete_range("b", "d")]);
    let back = store.commit(&[put("c", "2")]);
    for _ in 0..2 {
        assert_eq!(store.newer_than("b", before), Some(gone));
        assert_eq!(store.newer_than("never", before), None);
        assert_eq!(store.newer_than("bnever", before), Some(gone), "no key was there, and still it was deleted");
        assert_eq!(store.newer_than("c", before), Some(back));
        assert_eq!(store.newer_than("d", before), None);
        assert!(store.found("bnever", before).1 && !store.found("d", before).1);
        store.persist();
    }
}

fn point_deletes_and_range_deletes_mix<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.commit(&[put("a", "1"), put("b", "1")]);
    let one = store.commit(&[delete("a")]);
    let two = store.commit(&[delete_range("a", "b"), put("b", "2")]);
    let three = store.commit(&[delete("b")]);
    for _ in 0..2 {
        assert!(store.get("a", one).is_deleted_at(one));
        assert!(store.get("a", two).is_deleted_at(two));
        assert!(store.get("b", three).is_deleted_at(three));
        assert!(store.rows(three).is_empty());
        store.persist();
    }
}

/// Deletes and fills again a range of many pages, with restarts in between.
fn ranges_of_many_pages_stay_deleted_over_restarts<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    let fill = |store: &mut Fixture<S>, keys: std::ops::Range<usize>| {
        for chunk in keys.collect::<Vec<_>>().chunks(20) {
            let changes: Vec<_> = chunk.iter().map(|&i| put(key(i), format!("value of {i}"))).collect();
            store.commit(&changes);
        }
    };
    fill(&mut store, 0..2000);
    store.persist();
    store.commit(&[delete_range(key(100), key(1900))]);
    assert_eq!(store.rows(store.now()).len(), 200);
    store.reopen();
    assert_eq!(store.rows(store.now()).len(), 200, "replayed from the log");
    store.persist();
    store.reopen();
    assert_eq!(store.rows(store.now()).len(), 200, "kept by the files");
    assert_eq!(store.value(key(1000)), None);
    fill(&mut store, 500..700);
    store.persist();
    store.commit(&[delete_range(key(600), key(2000))]);
    store.persist();
    store.reopen();
    let at = store.now();
    assert_eq!(store.rows(at).len(), 200);
    let bounds = (key(50), key(550));
    assert_eq!(store.rows_in(at, KeyBounds::half_open(bounds.0.as_bytes(), bounds.1.as_bytes())).len(), 100);
    store.commit(&[delete_range("", "")]);
    store.persist();
    store.reopen();
    assert!(store.rows(store.now()).is_empty());
}

/// A drained or pruned range tombstone must not let an older version in the files come back.
fn what_a_range_deleted_never_comes_back<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    for i in 0..300 {
        store.commit(&[put(key(i), "old")]);
    }
    store.persist();
    for round in 0..20 {
        store.commit(&[delete_range(key(round * 10), key(round * 10 + 15))]);
        store.commit(&[put(key(290), round.to_string())]);
        if round % 2 == 0 {
            store.persist();
        }
        if round % 5 == 4 {
            store.reopen();
        }
        let left = 300 - (round * 10 + 15);
        assert_eq!(store.rows(store.now()).len(), left, "after round {round}");
        assert_eq!(store.get(key(3), store.now()).value(), None);
    }
    assert!(store.newer_than(key(3), Timestamp::MAX).is_none());
}

on_each_backend!(
    a_range_is_half_open,
    an_empty_high_end_is_the_end_of_the_keyspace,
    older_snapshots_keep_what_was_deleted,
    later_puts_survive_and_earlier_ones_do_not,
    ranges_may_overlap,
    a_range_delete_is_a_conflict_for_every_key_in_it,
    point_deletes_and_range_deletes_mix,
    ranges_of_many_pages_stay_deleted_over_restarts,
    what_a_range_deleted_never_comes_back,
);
