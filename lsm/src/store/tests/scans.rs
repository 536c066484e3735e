//! Scans over several sources: what is shown, by single steps and by steps along a stretch, in both directions.

use proptest::prelude::*;

use super::*;
use std::ops::Bound;

type Row = (Vec<u8>, Vec<u8>);

/// All rows inside the bounds, and how many steps were at hand. Every other row is looked at by the cursor's own words.
fn scan(bench: &Bench<MemVfs>, at: u64, bounds: KeyBounds<'_>, backward: bool) -> (Vec<Row>, usize) {
    let mut cursor = bench.lsm().cursor(ts(at), bounds, ScanOpts::default()).expect("a cursor");
    let (mut rows, mut at_hand): (Vec<Row>, usize) = (Vec::new(), 0);
    loop {
        let is_at_hand = if backward { cursor.prev_is_at_hand() } else { cursor.next_is_at_hand() };
        if is_at_hand && rows.len() % 3 != 2 {
            let (key, value) = if backward { cursor.prev_at_hand() } else { cursor.next_at_hand() };
            rows.push((key.to_vec(), value.to_vec()));
            at_hand += 1;
        } else {
            let found = if backward { cursor.prev() } else { cursor.next() };
            if !found.expect("readable") {
                return (rows, at_hand);
            }
            rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
        }
        let (key, value) = rows.last().expect("just pushed");
        assert_eq!((cursor.key(), &*cursor.value_owned()), (&**key, &**value), "what is lent is what it stands on");
        assert!(cursor.ts() <= ts(at));
    }
}

fn check(bench: &Bench<MemVfs>, at: u64, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> usize {
    let bounds = KeyBounds { lower, upper };
    let mut expected = bench.oracle.rows(at);
    expected.retain(|(key, _)| bounds.contains(key));
    let (rows, forward) = scan(bench, at, bounds, false);
    assert_eq!(rows, expected, "{bounds:?} at {at}");
    let (rows, backward) = scan(bench, at, bounds, true);
    expected.reverse();
    assert_eq!(rows, expected, "{bounds:?} at {at}, backwards");
    forward.min(backward)
}

/// A run with every third key, a newer one with a cluster of others, and a memtable with changes among them.
fn three_sources() -> (Bench<MemVfs>, u64) {
    let mut bench = Bench::new(disk());
    for number in (0..300).step_by(3) {
        bench.put(&format!("key-{number:04}"), "from the last level");
    }
    bench.persist();
    for number in (90..180).filter(|number| number % 3 == 1) {
        bench.put(&format!("key-{number:04}"), "from a flush");
    }
    bench.flush();
    for number in 140..150 {
        bench.put(&format!("key-{number:04}"), "from the memtable");
    }
    bench.commit(&[(OpKind::Delete, b"key-0030".to_vec(), Vec::new())]);
    let before = bench.now;
    for number in [0, 60, 141, 299] {
        bench.put(&format!("key-{number:04}"), "newer");
    }
    (bench, before)
}

#[test]
fn a_scan_meets_the_keys_of_all_sources_in_order_and_most_at_hand() {
    let (bench, before) = three_sources();
    let (from, to) = (&b"key-0033"[..], &b"key-0252"[..]);
    for at in [before, bench.now] {
        let at_hand = check(&bench, at, Bound::Unbounded, Bound::Unbounded);
        assert!(at_hand > 30, "long stretches of one source are no merge: {at_hand}");
        check(&bench, at, Bound::Included(from), Bound::Included(to));
        check(&bench, at, Bound::Excluded(from), Bound::Excluded(to));
        check(&bench, at, Bound::Included(b"key-0034"), Bound::Excluded(b"key-0251x"));
        check(&bench, at, Bound::Excluded(b"key-0140"), Bound::Included(b"key-0149"));
    }
}

#[test]
fn a_cursor_turns_round_and_seeks_in_the_middle_of_a_stretch() {
    let (bench, before) = three_sources();
    let rows = bench.oracle.rows(before);
    let mut cursor = bench.lsm().cursor(ts(before), KeyBounds::ALL, ScanOpts::default()).expect("a cursor");
    let mut place = 0;
    assert!(cursor.next().expect("readable"));
    for turn in [20, 3, 40, 1, 25, 60, 2, 2] {
        for _ in 0..turn {
            assert!(cursor.next().expect("readable"));
            place += 1;
            assert_eq!(cursor.key(), &*rows[place].0);
        }
        for _ in 0..turn / 2 {
            assert!(cursor.prev().expect("readable"));
            place -= 1;
            assert_eq!((cursor.key(), cursor.value()), (&*rows[place].0, &*rows[place].1));
        }
        let key = rows[place].0.clone();
        assert!(cursor.seek(&key).expect("readable"));
        assert_eq!(cursor.key(), &*key);
    }
}

#[test]
fn a_memtable_alone_is_lent_from_too() {
    let mut bench = Bench::new(disk());
    for number in 0..30 {
        bench.put(&format!("key-{number:04}"), &"v".repeat(number));
    }
    assert!(check(&bench, bench.now, Bound::Unbounded, Bound::Unbounded) > 12);
    assert!(check(&bench, 20, Bound::Unbounded, Bound::Excluded(b"key-0019")) > 4);
}

/// A block with every key of 100, and a memtable with every fourth of them anew, every eighth deleted, and keys between.
fn block_and_memtable() -> (Bench<MemVfs>, u64) {
    let mut bench = Bench::new(disk());
    for number in 0..100 {
        bench.put(&format!("key-{number:04}"), "from the last level");
    }
    bench.persist();
    for number in 0..100 {
        match number % 8 {
            0 => bench.commit(&[(OpKind::Delete, format!("key-{number:04}").into(), Vec::new())]),
            2 => bench.put(&format!("key-{number:04}x"), "between"),
            4 => bench.put(&format!("key-{number:04}"), "from the memtable"),
            _ => {}
        }
    }
    let before = bench.now;
    bench.put("key-0012", "newer");
    bench.put("key-0013", "newer");
    (bench, before)
}

#[test]
fn a_block_and_a_memtable_are_followed_together() {
    let (bench, before) = block_and_memtable();
    for at in [before, bench.now] {
        let at_hand = check(&bench, at, Bound::Unbounded, Bound::Unbounded);
        assert!(at_hand > 40, "they take turns at hand: {at_hand}");
        check(&bench, at, Bound::Excluded(b"key-0004"), Bound::Excluded(b"key-0092"));
        check(&bench, at, Bound::Included(b"key-0004"), Bound::Included(b"key-0092"));
        check(&bench, at, Bound::Included(b"key-0010w"), Bound::Included(b"key-0090x"));
    }
}

/// A block with every key of 40, of which the memtable deletes all but every fourth, and what a snapshot before that sees.
fn mostly_deleted() -> (Bench<MemVfs>, u64) {
    let mut bench = Bench::new(disk());
    for number in 0..40 {
        bench.put(&format!("key-{number:04}"), "v");
    }
    bench.persist();
    let before = bench.now;
    for number in (0..40).filter(|number| number % 4 != 1) {
        bench.commit(&[(OpKind::Delete, format!("key-{number:04}").into(), Vec::new())]);
    }
    bench.commit(&[(OpKind::Delete, b"key-0034x".to_vec(), Vec::new())]); // of nothing
    assert!(bench.store().current().frozen.is_empty(), "one memtable has them");
    (bench, before)
}

#[test]
fn deleted_keys_are_passed_over_along_a_stretch() {
    let (bench, before) = mostly_deleted();
    let at_hand = check(&bench, bench.now, Bound::Unbounded, Bound::Unbounded);
    assert!(at_hand >= 2, "ST5: what is left is at hand where blocks and copied pieces do not end, {at_hand}");
    for at in [before, bench.now - 20] {
        check(&bench, at, Bound::Unbounded, Bound::Unbounded);
    }
    check(&bench, bench.now, Bound::Excluded(b"key-0005"), Bound::Excluded(b"key-0037"));
    check(&bench, bench.now, Bound::Included(b"key-0006"), Bound::Included(b"key-0036"));
}

#[test]
fn a_cursor_that_turns_behind_deleted_keys_meets_none_of_them() {
    let (bench, _) = mostly_deleted();
    let rows = bench.oracle.rows(bench.now);
    for turn in 1..rows.len() {
        let mut cursor = bench.lsm().cursor(ts(bench.now), KeyBounds::ALL, ScanOpts::default()).expect("a cursor");
        (0..turn).for_each(|_| assert!(cursor.next().expect("readable")));
        assert_eq!(cursor.key(), &*rows[turn - 1].0);
        // It stands before what it passed over: from there it goes back, forth again, and on.
        assert_eq!(cursor.prev().expect("readable"), turn > 1);
        let rest: Vec<_> =
            std::iter::from_fn(|| cursor.next().expect("readable").then(|| cursor.key().to_vec())).collect();
        let expected: Vec<_> = rows.iter().skip(turn.saturating_sub(1)).map(|(key, _)| key.clone()).collect();
        assert_eq!(rest, expected, "behind a turn at {turn}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cursor_goes_to_and_fro_over_any_sources_as_over_one_list(
        // Keys by what they are written to: the last level, a run above it, two memtables.
        writes in proptest::collection::vec((0..4usize, 0..48u32, 0..5u8), 1..160),
        moves in proptest::collection::vec((0..8u8, 0..48u32, 1..20usize), 1..24),
        (low, high, back) in (0..48u32, 0..60u32, 0..12u64),
    ) {
        let (mut bench, mut flushed) = (Bench::new(disk()), 0);
        for layer in 0..4 {
            for (_, key, what) in writes.iter().filter(|(of, ..)| *of == layer) {
                let key = format!("key-{key:02}").into_bytes();
                bench.commit(&[match what {
                    0 => (OpKind::Delete, key, Vec::new()),
                    _ => (OpKind::Put, key, format!("{layer} {what}").into()),
                }]);
            }
            if layer == 0 {
                bench.persist();
            }
            if layer == 1 {
                bench.flush();
                flushed = bench.now;
            }
            if layer == 2 {
                bench.lsm().store.rotate();
            }
        }
        let at = bench.now.saturating_sub(back).max(flushed); // nobody held an older snapshot
        let (low, high) = (format!("key-{low:02}"), format!("key-{high:02}"));
        let bounds = KeyBounds { lower: Bound::Included(low.as_bytes()), upper: Bound::Excluded(high.as_bytes()) };
        let mut rows = bench.oracle.rows(at);
        rows.retain(|(key, _)| bounds.contains(key));
        let mut cursor = bench.lsm().cursor(ts(at), bounds, ScanOpts::default()).expect("a cursor");
        // Places of the list, and one before and one behind it.
        prop_assert_eq!(cursor.next().expect("readable"), !rows.is_empty());
        let mut place = 1;
        for (what, key, count) in moves {
            if what == 0 {
                let key = format!("key-{key:02}");
                let found = cursor.seek(key.as_bytes()).expect("readable");
                place = 1 + rows.partition_point(|(row, _)| **row < *key.as_bytes());
                prop_assert_eq!(found, place <= rows.len());
            }
            for _ in 0..count {
                let moved = if what < 6 { cursor.next() } else { cursor.prev() }.expect("readable");
                place = if what < 6 { (place + 1).min(rows.len() + 1) } else { place.saturating_sub(1) };
                let row = place.checked_sub(1).and_then(|index| rows.get(index));
                prop_assert_eq!(moved.then(|| (cursor.key(), cursor.value())), row.map(|(key, value)| (&**key, &**value)));
            }
        }
    }
}
