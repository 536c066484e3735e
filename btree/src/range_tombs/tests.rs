//! The interval list against a plain list of range deletes.

use std::ops::Bound;

use proptest::prelude::*;

use super::*;

fn ts(n: u64) -> Timestamp {
    Timestamp::new(n)
}

/// Ends as small numbers: key `[i]`, or none.
fn end(i: u8) -> Vec<u8> {
    if i == 0 { Vec::new() } else { vec![i] }
}

fn deletes() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((0..9u8, 0..10u8), 0..12)
}

fn list_of(deletes: &[(u8, u8)], oldest: Timestamp) -> RangeTombs {
    deletes
        .iter()
        .zip(1..)
        .fold(RangeTombs::default(), |tombs, (&(low, high), n)| tombs.with(&end(low), &end(high), ts(n), oldest))
}

fn covers(&(low, high): &(u8, u8), key: &[u8]) -> bool {
    *key >= *end(low) && (high == 0 || *key < *end(high))
}

proptest! {
    #[test]
    fn a_key_is_covered_by_what_covers_it(deletes in deletes(), at in 0..14u64, oldest in 0..14u64) {
        let tombs = list_of(&deletes, ts(oldest));
        prop_assert!(tombs.is_ordered());
        for key in (0..11).map(end).chain([vec![3, 0]]) {
            let newest = |at| (1..).zip(&deletes).filter(|(n, range)| *n <= at && covers(range, &key)).map(|(n, _)| ts(n)).max();
            // Below `oldest` nobody asks, so nothing older than what is seen there need be known.
            if at >= oldest {
                prop_assert_eq!(tombs.covering(&key, ts(at)), newest(at));
            }
            prop_assert_eq!(tombs.covering(&key, Timestamp::MAX), newest(u64::MAX));
        }
    }

    #[test]
    fn an_interval_meets_what_overlaps_it(deletes in deletes(), from in 0..10u8, to in 0..10u8) {
        let tombs = list_of(&deletes, Timestamp::ZERO);
        let (from, to) = (end(from), end(to));
        // Between neighbours [i] and [i + 1] there are keys, so overlap shows on this grid.
        let grid: Vec<Vec<u8>> = (0..=10).map(end).flat_map(|key| [key.clone(), [key, vec![0]].concat()]).collect();
        for (lower, upper) in [
            (Bound::Included(&*from), Bound::Excluded(&*to)),
            (Bound::Included(&*from), Bound::Included(&*to)),
            (Bound::Excluded(&*from), Bound::Included(&*to)),
            (Bound::Included(&*from), Bound::Unbounded),
        ] {
            let bounds = KeyBounds { lower, upper };
            let expected = grid.iter().filter(|key| bounds.contains(key)).filter_map(|key| tombs.covering(key, Timestamp::MAX)).max();
            prop_assert_eq!(tombs.newest_in(lower, upper), expected, "{:?}", bounds);
        }
    }

    #[test]
    fn what_is_written_is_read(deletes in deletes()) {
        let tombs = list_of(&deletes, Timestamp::ZERO);
        prop_assert_eq!(RangeTombs::decode(&tombs.encode()), Some(tombs));
    }

    #[test]
    fn any_bytes_are_a_list_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64), deletes in deletes(), at in any::<prop::sample::Index>()) {
        RangeTombs::decode(&bytes);
        let mut list = list_of(&deletes, Timestamp::ZERO).encode();
        let at = at.index(list.len());
        list[at] ^= 1 << (at % 8);
        RangeTombs::decode(&list);
    }

    #[test]
    fn the_part_that_overlaps_answers_alike(deletes in deletes(), low in 0..9u8, high in 1..10u8) {
        let tombs = list_of(&deletes, Timestamp::ZERO);
        let part = tombs.overlapping(&end(low), &end(high));
        for key in (0..10).map(end).filter(|key| *key >= end(low) && *key < end(high)) {
            prop_assert_eq!(part.covering(&key, Timestamp::MAX), tombs.covering(&key, Timestamp::MAX));
        }
    }
}

#[test]
fn the_bytes_of_a_list_do_not_change() {
    let list = [(&b"a"[..], &b"c"[..], 5), (b"b", b"", 300), (b"a", b"b", 4)];
    let tombs =
        list.iter().fold(RangeTombs::default(), |tombs, (low, high, n)| tombs.with(low, high, ts(*n), Timestamp::ZERO));
    let pinned = crate::tests::golden(include_str!("../../tests/golden/range_deletes.hex"));
    assert_eq!(tombs.encode(), pinned);
    assert_eq!(RangeTombs::decode(&pinned), Some(tombs));
}

#[test]
fn swept_ranges_leave_with_the_checkpoint_that_omits_them() {
    let tombs = list_of(&[(1, 5), (3, 8)], Timestamp::ZERO);
    let range = tombs.next_to_sweep(ts(1)).expect("the first is below the oldest reader");
    assert_eq!((&*range.low, &*range.high, range.ts), (&[1][..], &[3][..], ts(1)));
    let swept = tombs.with_swept(&range);
    assert_eq!(swept.covering(&[1], Timestamp::MAX), Some(ts(1)), "until the superblock is durable");
    assert_eq!(swept.without_omitted(), swept, "R4: swept after the freeze");
    let frozen = swept.with_omitted();
    assert_eq!(RangeTombs::decode(&frozen.encode()).expect("a list").covering(&[1], Timestamp::MAX), None);
    assert_eq!(frozen.without_omitted().covering(&[1], Timestamp::MAX), None);
    assert_eq!(frozen.without_omitted().covering(&[3], Timestamp::MAX), Some(ts(2)));
}

#[test]
fn a_range_delete_that_comes_again_is_to_be_swept_again() {
    let tombs = list_of(&[(1, 5)], Timestamp::ZERO);
    let swept = tombs.with_swept(&tombs.next_to_sweep(ts(1)).expect("one"));
    assert_eq!(swept.next_to_sweep(ts(1)), None);
    let again = swept.with_omitted().with(&[1], &[5], ts(1), Timestamp::ZERO);
    assert!(again.next_to_sweep(ts(1)).is_some(), "R3");
    assert_eq!(again.without_omitted().covering(&[1], ts(1)), Some(ts(1)), "R4");
}

#[test]
fn a_value_survives_a_range_delete_of_its_own_commit() {
    let tombs = list_of(&[(1, 5)], Timestamp::ZERO);
    assert!(tombs.has_survived(&[2], ts(1)) && tombs.has_survived(&[2], ts(7)));
    assert!(!tombs.has_survived(&[2], ts(0)) && !tombs.has_survived(&[5], ts(7)));
}

#[test]
fn an_empty_range_deletes_nothing() {
    assert!(list_of(&[(5, 5), (6, 2)], Timestamp::ZERO).is_empty());
    assert_eq!(list_of(&[(0, 0)], Timestamp::ZERO).covering(b"anything", ts(1)), Some(ts(1)));
}

/// No commit has the number zero; the fuzz driver found that such a list was read, and not written again.
#[test]
fn a_list_with_a_stamp_of_no_commit_is_refused() {
    let one_fragment = |stamps: &[u8]| [&[1, 1, b'a', 1, b'b', stamps.len() as u8], stamps].concat();
    assert!(RangeTombs::decode(&one_fragment(&[7, 5])).is_some());
    assert_eq!(RangeTombs::decode(&one_fragment(&[7, 0])), None);
}
