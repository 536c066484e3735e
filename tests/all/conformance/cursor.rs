//! C1 to C5: where a cursor stands, and what it shows.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use duramen_base::{Backend, BackendCursor, KeyBounds, ScanOpts, Timestamp};

use super::fixture::Fixture;
use super::subject::{Subject, on_each_backend};
use super::words::{Change, backward, delete, delete_range, forward, put, rows, show};

/// A store with the keys b, d, f, h, j, each its own value.
fn five_keys<S: Subject>() -> Fixture<S> {
    let mut store = Fixture::new();
    for key in ["f", "b", "j", "d", "h"] {
        store.commit(&[put(key, key)]);
    }
    store
}

/// Key under the cursor, or "-" if it stands on none.
fn standing(found: duramen_base::Result<bool>, cursor: &impl BackendCursor) -> String {
    if found.expect("a readable store") { String::from_utf8(cursor.key().to_vec()).expect("text") } else { "-".into() }
}

macro_rules! step {
    ($cursor:ident.$method:ident($($key:expr)?)) => {{
        let found = $cursor.$method($($key.as_bytes())?);
        standing(found, &$cursor)
    }};
}

fn a_new_cursor_goes_to_the_first_or_last_key<S: Subject>() {
    let store = five_keys::<S>();
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    assert_eq!(step!(cursor.next()), "b", "C1");
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    assert_eq!(step!(cursor.prev()), "j", "C1");
    let mut cursor = store.cursor(store.now(), KeyBounds::half_open(b"c", b"h"));
    assert_eq!(step!(cursor.next()), "d", "C1");
    let mut cursor = store.cursor(store.now(), KeyBounds::half_open(b"c", b"h"));
    assert_eq!(step!(cursor.prev()), "f", "C1");
}

fn running_out_leaves_the_cursor_beyond_that_end<S: Subject>() {
    let store = five_keys::<S>();
    let mut cursor = store.cursor(store.now(), KeyBounds::half_open(b"d", b"j"));
    assert_eq!(forward(&mut cursor).len(), 3);
    assert_eq!(step!(cursor.next()), "-", "C2: still after the last");
    assert_eq!(step!(cursor.prev()), "h", "C2");
    assert_eq!(backward(&mut cursor).len(), 2);
    assert_eq!(step!(cursor.prev()), "-", "C2: still before the first");
    assert_eq!(step!(cursor.next()), "d", "C2");
}

fn seeking_finds_the_next_or_previous_key<S: Subject>() {
    let store = five_keys::<S>();
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    assert_eq!(step!(cursor.seek("d")), "d");
    assert_eq!(step!(cursor.seek("d\0")), "f");
    assert_eq!(step!(cursor.seek("")), "b");
    assert_eq!(step!(cursor.seek_for_prev("d")), "d");
    assert_eq!(step!(cursor.seek_for_prev("czzz")), "b");
    assert_eq!(step!(cursor.seek_for_prev("zzz")), "j");
    assert_eq!(step!(cursor.next()), "-");
    assert_eq!(step!(cursor.seek("jj")), "-");
    assert_eq!(step!(cursor.prev()), "j", "C2: a seek past the end stands after the last");
    assert_eq!(step!(cursor.seek_for_prev("a")), "-");
    assert_eq!(step!(cursor.next()), "b", "C2: a seek before the start stands before the first");
    assert_eq!(step!(cursor.seek("e")), "f");
    assert_eq!(step!(cursor.prev()), "d");
    assert_eq!(step!(cursor.seek_for_prev("e")), "d");
    assert_eq!(step!(cursor.next()), "f");
}

fn seeking_stays_inside_the_bounds<S: Subject>() {
    let store = five_keys::<S>();
    let mut cursor = store.cursor(store.now(), KeyBounds::half_open(b"d", b"h"));
    assert_eq!(step!(cursor.seek("a")), "d");
    assert_eq!(step!(cursor.seek_for_prev("z")), "f");
    assert_eq!(step!(cursor.seek("h")), "-");
    assert_eq!(step!(cursor.prev()), "f");
    assert_eq!(step!(cursor.seek_for_prev("c")), "-");
    assert_eq!(step!(cursor.next()), "d");
    assert_eq!(step!(cursor.seek("z")), "-");
    assert_eq!(step!(cursor.seek_for_prev("")), "-");
}

fn the_direction_can_change_anywhere<S: Subject>() {
    let mut store = five_keys::<S>();
    store.commit(&[delete("d"), delete_range("g", "i")]);
    store.commit(&[put("e", "e"), put("i", "i")]);
    // b e f i j
    for _ in 0..2 {
        let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
        assert_eq!(step!(cursor.next()), "b");
        assert_eq!(step!(cursor.next()), "e");
        assert_eq!(step!(cursor.prev()), "b");
        assert_eq!(step!(cursor.next()), "e");
        assert_eq!(step!(cursor.next()), "f");
        assert_eq!(step!(cursor.next()), "i");
        assert_eq!(step!(cursor.prev()), "f");
        assert_eq!(step!(cursor.prev()), "e");
        assert_eq!(step!(cursor.next()), "f");
        assert_eq!(step!(cursor.next()), "i");
        assert_eq!(step!(cursor.next()), "j");
        assert_eq!(step!(cursor.next()), "-");
        assert_eq!(step!(cursor.prev()), "j");
        assert_eq!(step!(cursor.prev()), "i");
        store.persist();
    }
}

/// All pairs of bounds at and between keys, crossed ones too, show what a filter over the keys shows.
fn bounds_of_every_kind_hold<S: Subject>() {
    let mut store = five_keys::<S>();
    store.commit(&[delete("f")]);
    let keys: BTreeSet<&[u8]> = [&b"b"[..], b"d", b"h", b"j"].into();
    let ends: Vec<&[u8]> = vec![b"", b"a", b"b", b"b\0", b"d", b"e", b"f", b"f\0", b"j", b"j\0", b"k"];
    let bounds_of =
        |end: &[u8]| -> [Bound<Vec<u8>>; 2] { [Bound::Included(end.to_vec()), Bound::Excluded(end.to_vec())] };
    let mut all: Vec<Bound<Vec<u8>>> = ends.iter().flat_map(|end| bounds_of(end)).collect();
    all.push(Bound::Unbounded);
    for _ in 0..2 {
        for lower in &all {
            for upper in &all {
                let bounds =
                    KeyBounds { lower: lower.as_ref().map(Vec::as_slice), upper: upper.as_ref().map(Vec::as_slice) };
                let met = store.rows_in(store.now(), bounds);
                let expected: Vec<Vec<u8>> =
                    keys.iter().filter(|key| bounds.contains(key)).map(|key| key.to_vec()).collect();
                assert_eq!(met.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), expected, "{bounds:?}");
                for end in &ends {
                    check_seeks(&store, bounds, end, &expected);
                }
            }
        }
        store.persist();
    }
}

fn check_seeks<S: Subject>(store: &Fixture<S>, bounds: KeyBounds<'_>, key: &[u8], inside: &[Vec<u8>]) {
    let mut cursor = store.cursor(store.now(), bounds);
    let found = cursor.seek(key).expect("readable").then(|| cursor.key().to_vec());
    assert_eq!(found.as_ref(), inside.iter().find(|k| &***k >= key), "seek {key:?} in {bounds:?}");
    let found = cursor.seek_for_prev(key).expect("readable").then(|| cursor.key().to_vec());
    assert_eq!(found.as_ref(), inside.iter().rev().find(|k| &***k <= key), "seek_for_prev {key:?} in {bounds:?}");
}

fn each_timestamp_shows_its_own_state<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let one = store.commit(&[put("a", "1"), put("b", "1"), put("c", "1")]);
    let two = store.commit(&[put("b", "2"), delete("c"), put("d", "2")]);
    let three = store.commit(&[delete_range("a", "c"), put("c", "3")]);
    let four = store.commit(&[put("a", "4")]);
    for _ in 0..2 {
        assert!(store.rows(Timestamp::ZERO).is_empty());
        assert_eq!(store.rows(one), rows(&[("a", "1"), ("b", "1"), ("c", "1")]));
        assert_eq!(store.rows(two), rows(&[("a", "1"), ("b", "2"), ("d", "2")]));
        assert_eq!(store.rows(three), rows(&[("c", "3"), ("d", "2")]), "C4");
        assert_eq!(store.rows(four), rows(&[("a", "4"), ("c", "3"), ("d", "2")]));
        let mut cursor = store.cursor(four, KeyBounds::ALL);
        let mut times = Vec::new();
        while cursor.next().expect("a readable store") {
            cursor.load_value().expect("readable");
            assert_eq!(&*cursor.value_owned(), cursor.value());
            times.push(cursor.ts());
        }
        assert_eq!(times, [four, three, two]);
        store.persist();
    }
}

/// Fifty commits of all kinds beside an open cursor.
fn churn<S: Subject>(store: &mut Fixture<S>, round: usize) {
    let key = |i: usize| format!("{:04}", i * 13 % 400);
    for i in round * 50..round * 50 + 50 {
        let change: Change = match i % 5 {
            0 => delete(key(i)),
            1 => delete_range(key(i), key(i) + "z"),
            2 => put(key(i) + "new", "new"),
            _ => put(key(i), "overwritten ".repeat(20)),
        };
        store.commit(&[change]);
    }
}

fn a_cursor_keeps_its_timestamp_while_commits_go_on<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    for i in 0..400 {
        store.commit(&[put(format!("{i:04}"), format!("value {i}"))]);
    }
    let at = store.host.begin_snapshot();
    let expected = store.rows(at);
    let mut cursors = [store.cursor(at, KeyBounds::ALL), store.cursor(at, KeyBounds::ALL)];
    let mut met = [Vec::new(), Vec::new()];
    for round in 0..8 {
        churn(&mut store, round);
        for _ in 0..45 {
            assert!(cursors[0].next().expect("readable"));
            met[0].push((cursors[0].key().to_vec(), cursors[0].value().to_vec()));
            assert!(cursors[1].prev().expect("readable"));
            met[1].push((cursors[1].key().to_vec(), cursors[1].value().to_vec()));
        }
        if round % 2 == 1 {
            store.persist();
        }
    }
    met[0].extend(forward(&mut cursors[0]));
    met[1].extend(backward(&mut cursors[1]));
    met[1].reverse();
    assert_eq!(show(&met[0]), show(&expected), "C5");
    assert_eq!(show(&met[1]), show(&expected), "C5");
    store.host.end_snapshot(at);
}

fn a_cursor_outlives_the_handle_of_its_store<S: Subject>() {
    let mut store = Fixture::<S>::new();
    for i in 0..300 {
        store.commit(&[put(format!("{i:04}"), "v".repeat(50))]);
    }
    store.persist();
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    assert!(cursor.next().expect("readable"));
    store.drop_store();
    let rest = std::thread::spawn(move || forward(&mut cursor)).join().expect("a cursor is Send");
    assert_eq!(rest.len(), 299, "C5");
}

fn deep_scans_go_both_ways<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    let key = |i: u32| format!("{:06}", i * 7919 % 4001);
    for i in 0..4000 {
        store.commit(&[put(key(i), i.to_string())]);
        if i % 3 == 0 {
            store.commit(&[delete(key(i / 2))]);
        }
        if i % 500 == 0 {
            store.persist();
        }
    }
    let expected = store.rows(store.now());
    store.persist();
    assert_eq!(show(&store.rows(store.now())), show(&expected));
    let opts = ScanOpts { fill_cache: false };
    let mut cold = store.store().cursor(store.now(), KeyBounds::ALL, opts).expect("readable");
    assert_eq!(show(&forward(&mut cold)), show(&expected));
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    for (key, value) in expected.iter().step_by(7) {
        assert!(cursor.seek(key).expect("readable") && cursor.value() == value);
        assert!(cursor.seek_for_prev(key).expect("readable") && cursor.value() == value);
    }
}

fn standing_nowhere_there_is_no_key<S: Subject>() {
    let store = five_keys::<S>();
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    assert!(catch_unwind(AssertUnwindSafe(|| cursor.key().to_vec())).is_err());
    while cursor.next().expect("readable") {}
    assert!(catch_unwind(AssertUnwindSafe(|| cursor.value().to_vec())).is_err());
    while cursor.prev().expect("readable") {}
    assert!(catch_unwind(AssertUnwindSafe(|| cursor.ts())).is_err());
}

on_each_backend!(
    a_new_cursor_goes_to_the_first_or_last_key,
    running_out_leaves_the_cursor_beyond_that_end,
    seeking_finds_the_next_or_previous_key,
    seeking_stays_inside_the_bounds,
    the_direction_can_change_anywhere,
    bounds_of_every_kind_hold,
    each_timestamp_shows_its_own_state,
    a_cursor_keeps_its_timestamp_while_commits_go_on,
    a_cursor_outlives_the_handle_of_its_store,
    deep_scans_go_both_ways,
    standing_nowhere_there_is_no_key,
);
