//! C6: what a cursor says about changes newer than its timestamp, in the part it walked and nowhere else.

use std::ops::Bound;

use duramen_base::{BackendCursor, KeyBounds, Timestamp};

use super::fixture::Fixture;
use super::subject::{Subject, on_each_backend};
use super::words::{Change, delete, delete_range, put};

/// Keys c, f, i, l at the timestamp returned; then `changes`, which are newer. In memory or in files.
fn with_newer<S: Subject>(changes: &[Change], in_files: bool) -> (Fixture<S>, Timestamp) {
    let mut store = Fixture::new();
    let at = store.commit(&[put("c", "1"), put("f", "1"), put("i", "1"), put("l", "1")]);
    if in_files {
        store.persist();
    }
    store.commit(changes);
    if in_files {
        store.persist();
    }
    (store, at)
}

/// Walks the whole of `low..high` both ways, whose upper end is that of the keyspace where empty.
fn seen<S: Subject>(store: &Fixture<S>, at: Timestamp, low: &str, high: &str) -> bool {
    let upper = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high.as_bytes()) };
    let bounds = KeyBounds { lower: Bound::Included(low.as_bytes()), upper };
    let mut cursor = store.cursor(at, bounds);
    assert!(!cursor.newer_seen(), "nothing was walked");
    while cursor.next().expect("readable") {}
    let forward = cursor.newer_seen();
    let mut cursor = store.cursor(at, bounds);
    while cursor.prev().expect("readable") {}
    assert_eq!(forward, cursor.newer_seen(), "forward and backward differ in {low}..{high}");
    forward
}

fn check<S: Subject>(changes: &[Change], inside: &[(&str, &str)], outside: &[(&str, &str)]) {
    for in_files in [false, true] {
        let (store, at) = with_newer::<S>(changes, in_files);
        for (low, high) in inside {
            assert!(seen(&store, at, low, high), "C6: {changes:?} is in {low}..{high}, in files: {in_files}");
            assert!(!seen(&store, store.now(), low, high), "C6: {changes:?} is not newer than itself");
        }
        for (low, high) in outside {
            assert!(!seen(&store, at, low, high), "C6: {changes:?} is not in {low}..{high}, in files: {in_files}");
        }
    }
}

fn an_overwritten_key_is_seen<S: Subject>() {
    check::<S>(&[put("f", "2")], &[("", ""), ("f", "f\0"), ("a", "g")], &[("", "f"), ("f\0", ""), ("i", "")]);
}

fn a_key_that_was_not_there_yet_is_seen<S: Subject>() {
    check::<S>(&[put("g", "2")], &[("", ""), ("g", "h"), ("f", "i")], &[("", "g"), ("h", "")]);
    check::<S>(&[put("z", "2")], &[("", ""), ("m", "")], &[("", "z")]);
    check::<S>(&[put("", "2")], &[("", ""), ("", "a")], &[("\0", "")]);
}

fn a_deletion_is_seen<S: Subject>() {
    check::<S>(&[delete("f")], &[("", ""), ("d", "g")], &[("", "f"), ("g", "")]);
    check::<S>(&[delete("g")], &[("", ""), ("g", "h")], &[("", "g"), ("h", "")]);
}

fn a_range_delete_is_seen_where_it_overlaps<S: Subject>() {
    let inside = [("", ""), ("e", "g"), ("h", "hz"), ("j", "k"), ("", "e\0"), ("jz", "")];
    check::<S>(&[delete_range("e", "k")], &inside, &[("", "e"), ("k", ""), ("a", "b")]);
    check::<S>(&[delete_range("m", "")], &[("", ""), ("n", "o"), ("z", "")], &[("", "m")]);
    // Nothing is in it, and still it is a change.
    check::<S>(&[delete_range("g", "h")], &[("", ""), ("g", "gz")], &[("", "g"), ("h", "")]);
}

fn crossed_range_deletes_concern_nothing<S: Subject>() {
    check::<S>(&[delete_range("k", "e"), put("z", "2")], &[("", "")], &[("", "z")]);
}

fn only_the_walked_part_counts<S: Subject>() {
    for in_files in [false, true] {
        let (store, at) = with_newer::<S>(&[put("g", "2")], in_files);
        let mut cursor = store.cursor(at, KeyBounds::ALL);
        for _ in ["c", "f"] {
            assert!(cursor.next().expect("readable"));
            assert!(!cursor.newer_seen(), "C6: g is still ahead of {:?}", cursor.key());
        }
        assert!(cursor.next().expect("readable"));
        assert!(cursor.newer_seen(), "C6: g was skipped on the way to i");
        assert!(cursor.next().expect("readable"));
        assert!(cursor.newer_seen(), "C6: it stays so");

        let mut cursor = store.cursor(at, KeyBounds::ALL);
        for _ in ["l", "i"] {
            assert!(cursor.prev().expect("readable"));
            assert!(!cursor.newer_seen(), "C6: g is still ahead of {:?}", cursor.key());
        }
        assert!(cursor.prev().expect("readable"));
        assert!(cursor.newer_seen(), "C6: g was skipped on the way to f");
    }
}

fn a_seek_begins_anew<S: Subject>() {
    for in_files in [false, true] {
        let (store, at) = with_newer::<S>(&[put("g", "2")], in_files);
        let mut cursor = store.cursor(at, KeyBounds::ALL);
        while cursor.next().expect("readable") {}
        assert!(cursor.newer_seen());
        assert!(cursor.seek(b"c").expect("readable"));
        assert!(!cursor.newer_seen(), "C6: the part before the seek is forgotten");
        assert!(cursor.seek(b"g").expect("readable"));
        assert!(cursor.newer_seen(), "C6: the seek itself walks, from g to i");
        assert!(cursor.seek(b"gg").expect("readable"));
        assert!(!cursor.newer_seen());
        assert!(cursor.seek_for_prev(b"gg").expect("readable"));
        assert!(cursor.newer_seen(), "C6: from gg back to f");
        assert!(cursor.seek_for_prev(b"f").expect("readable"));
        assert!(!cursor.newer_seen());
        assert!(cursor.next().expect("readable"));
        assert!(cursor.newer_seen(), "C6: on from f to i");
    }
}

fn outside_the_bounds_nothing_counts<S: Subject>() {
    for in_files in [false, true] {
        let (store, at) = with_newer::<S>(&[put("f", "2"), put("i", "2"), delete_range("a", "b")], in_files);
        let bounds = KeyBounds { lower: Bound::Excluded(b"f"), upper: Bound::Excluded(b"i") };
        let mut cursor = store.cursor(at, bounds);
        assert!(!cursor.next().expect("readable"));
        assert!(!cursor.prev().expect("readable"));
        assert!(!cursor.seek(b"").expect("readable"));
        assert!(!cursor.seek_for_prev(b"zzz").expect("readable"));
        assert!(!cursor.newer_seen(), "C6: f and i are outside");
        let bounds = KeyBounds { lower: Bound::Unbounded, upper: Bound::Included(b"f") };
        let mut cursor = store.cursor(at, bounds);
        assert!(cursor.seek_for_prev(b"zzz").expect("readable"));
        assert!(cursor.newer_seen(), "C6: f is inside");
    }
}

on_each_backend!(
    an_overwritten_key_is_seen,
    a_key_that_was_not_there_yet_is_seen,
    a_deletion_is_seen,
    a_range_delete_is_seen_where_it_overlaps,
    crossed_range_deletes_concern_nothing,
    only_the_walked_part_counts,
    a_seek_begins_anew,
    outside_the_bounds_nothing_counts,
);
