//! The model against hand-made histories.

use super::content::Content;
use crate::batch::{Op, OpKind};
use crate::bounds::KeyBounds;
use crate::host::SnapSet;
use crate::ids::Timestamp;
use crate::pruner::Pruner;

const fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Op<'a> {
    Op { kind: OpKind::Put, key, value }
}

fn delete(key: &[u8]) -> Op<'_> {
    Op { kind: OpKind::Delete, key, value: b"" }
}

fn delete_range<'a>(low: &'a [u8], high: &'a [u8]) -> Op<'a> {
    Op { kind: OpKind::DeleteRange, key: low, value: high }
}

fn content(changes: &[(u64, Op<'_>)]) -> Content {
    let mut content = Content::default();
    changes.iter().for_each(|&(at, op)| content.apply(op, ts(at)));
    content
}

fn read(content: &Content, key: &[u8], at: u64) -> Option<(u64, Option<Vec<u8>>)> {
    content.newest_change(key, ts(at)).map(|(ts, value)| (ts.get(), value.map(|value| value.to_vec())))
}

#[test]
fn the_newest_version_at_a_timestamp_is_read() {
    let content = content(&[(2, put(b"k", b"two")), (4, delete(b"k")), (6, put(b"k", b"six"))]);
    assert_eq!(read(&content, b"k", 1), None);
    assert_eq!(read(&content, b"k", 3), Some((2, Some(b"two".to_vec()))));
    assert_eq!(read(&content, b"k", 5), Some((4, None)));
    assert_eq!(read(&content, b"k", 9), Some((6, Some(b"six".to_vec()))));
    assert_eq!(content.newer_than(b"k", ts(5)), Some(ts(6)));
    assert_eq!(content.newer_than(b"k", ts(6)), None);
}

#[test]
fn a_range_tombstone_covers_older_versions_and_not_those_of_its_own_commit() {
    let content = content(&[
        (1, put(b"b", b"old")),
        (1, put(b"c", b"old")),
        (3, delete_range(b"b", b"c")),
        (3, put(b"bb", b"same")),
    ]);
    assert_eq!(read(&content, b"b", 2), Some((1, Some(b"old".to_vec()))));
    assert_eq!(read(&content, b"b", 3), Some((3, None)));
    assert_eq!(read(&content, b"bb", 3), Some((3, Some(b"same".to_vec()))));
    assert_eq!(read(&content, b"c", 3), Some((1, Some(b"old".to_vec()))), "the high end is excluded");
    assert_eq!(read(&content, b"bzz", 3), Some((3, None)), "keys that never were");
}

#[test]
fn pruning_drops_what_nobody_reads_and_nothing_else() {
    let mut content = content(&[
        (1, put(b"k", b"1")),
        (2, put(b"k", b"2")),
        (4, put(b"k", b"4")),
        (3, put(b"gone", b"3")),
        (5, delete_range(b"g", b"h")),
    ]);
    content.prune(&Pruner::new(&SnapSet::new(ts(9), vec![ts(3)])));
    assert_eq!(read(&content, b"k", 3), Some((2, Some(b"2".to_vec()))));
    assert_eq!(read(&content, b"k", 1), None, "nobody reads at 1");
    assert_eq!(read(&content, b"gone", 3), Some((3, Some(b"3".to_vec()))));
    assert_eq!(read(&content, b"gone", 9), Some((5, None)));

    content.prune(&Pruner::new(&SnapSet::new(ts(9), vec![])));
    assert_eq!(content.keys(KeyBounds::ALL).collect::<Vec<_>>(), [b"k"]);
    assert_eq!(read(&content, b"gone", 9), None);
    assert_eq!(read(&content, b"k", 9), Some((4, Some(b"4".to_vec()))));
}

#[test]
fn newer_changes_are_seen_in_the_interval_asked_for_only() {
    let content = content(&[(1, put(b"a", b"")), (5, delete(b"c")), (6, delete_range(b"m", b"p"))]);
    let newer = |low: &[u8], high: &[u8], at| content.any_newer_in(KeyBounds::half_open(low, high), ts(at));
    assert!(newer(b"a", b"d", 4));
    assert!(!newer(b"a", b"c", 4));
    assert!(!newer(b"a", b"d", 5));
    assert!(newer(b"o", b"z", 5));
    assert!(newer(b"a", b"m\0", 5));
    assert!(!newer(b"p", b"z", 5) && !newer(b"e", b"m", 5));
    assert!(!newer(b"z", b"a", 0), "an empty interval has nothing in it");
}
