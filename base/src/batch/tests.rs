//! Batches: what is encoded comes back, every rule of order is kept, any bytes may come.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

type Bytes = Vec<u8>;

/// Range deletes (low to high) and points (key to value, `None` for a delete) of one keyspace.
type Section = (BTreeMap<Bytes, Bytes>, BTreeMap<Bytes, Option<Bytes>>);

fn ops((ranges, points): &Section) -> Vec<Op<'_>> {
    let ranges = ranges.iter().map(|(low, high)| Op { kind: OpKind::DeleteRange, key: low, value: high });
    let points = points.iter().map(|(key, value)| match value {
        Some(value) => Op { kind: OpKind::Put, key, value },
        None => Op { kind: OpKind::Delete, key, value: b"" },
    });
    ranges.chain(points).collect()
}

fn encode(sections: &BTreeMap<u32, Section>) -> Batch {
    let mut batch = Batch::new();
    sections.iter().for_each(|(&id, section)| batch.section(KeyspaceId::new(id), ops(section)));
    batch
}

fn sections() -> impl Strategy<Value = BTreeMap<u32, Section>> {
    let bytes = || vec(any::<u8>(), 0..20);
    let section = (btree_map(bytes(), bytes(), 0..5), btree_map(bytes(), proptest::option::of(bytes()), 0..20));
    btree_map(1u32.., section, 0..5)
}

/// Reads all of a batch that passed the check; it must not fail half-way (B1).
fn read(bytes: &[u8]) -> Option<usize> {
    let view = BatchView::parse(bytes)?;
    let mut total = 0;
    for section in view.sections() {
        assert_eq!(section.iter().count(), section.len());
        assert_eq!(section.is_empty(), section.encoded_bytes() == 0);
        total += section.len();
    }
    Some(total)
}

/// Whether a batch of these sections is accepted.
fn accepts(sections: &[(u32, &[Op<'_>])]) -> bool {
    let mut batch = Batch::new();
    sections.iter().for_each(|(id, ops)| batch.section(KeyspaceId::new(*id), ops.iter().copied()));
    read(batch.bytes()).is_some()
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

proptest! {
    #[test]
    fn what_is_encoded_comes_back(expected in sections()) {
        let batch = encode(&expected);
        let view = BatchView::parse(batch.bytes()).unwrap();
        let found: Vec<_> = view.sections().collect();
        prop_assert_eq!(found.len(), expected.len());
        for (section, (&id, expected)) in found.iter().zip(&expected) {
            prop_assert_eq!(section.keyspace().get(), id);
            prop_assert_eq!(section.iter().collect::<Vec<_>>(), ops(expected));
        }
        prop_assert_eq!(batch.is_empty(), expected.is_empty());
    }

    #[test]
    fn changed_batches_never_panic(expected in sections(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&expected).bytes().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }
}

#[test]
fn a_cut_batch_is_refused_unless_whole_sections_are_left() {
    let mut batch = Batch::new();
    batch.section(KeyspaceId::new(1), [put(b"a", b"1"), delete(b"b")]);
    let first = batch.bytes().len();
    batch.section(KeyspaceId::new(2), [delete_range(b"a", b"")]);
    for len in 0..=batch.bytes().len() {
        let whole = [(0, 0), (first, 2), (batch.bytes().len(), 3)].into_iter().find(|&(end, _)| end == len);
        assert_eq!(read(&batch.bytes()[..len]), whole.map(|(_, count)| count), "cut to {len}");
    }
}

#[test]
fn keyspaces_ascend() {
    let op: &[Op<'_>] = &[put(b"k", b"v")];
    assert!(accepts(&[(1, op), (2, op), (u32::MAX, op)]));
    assert!(!accepts(&[(2, op), (1, op)]));
    assert!(!accepts(&[(1, op), (1, op)]));
    assert!(!accepts(&[(0, op)]), "no keyspace has the number zero");
}

#[test]
fn points_ascend_behind_the_range_deletes() {
    assert!(accepts(&[(1, &[delete_range(b"a", b"c"), delete_range(b"a", b"d"), delete(b"a"), put(b"b", b"")])]));
    assert!(!accepts(&[(1, &[put(b"b", b""), put(b"a", b"")])]));
    assert!(!accepts(&[(1, &[put(b"a", b""), delete(b"a")])]), "each key once");
    assert!(!accepts(&[(1, &[put(b"a", b""), delete_range(b"b", b"c")])]), "B2");
    assert!(!accepts(&[(1, &[delete_range(b"b", b"c"), delete_range(b"a", b"c")])]));
}

#[test]
fn keys_and_values_have_limits() {
    let (key, value) = (vec![1; KEY_BYTES_MAX], vec![1; VALUE_BYTES_MAX]);
    let (long_key, long_value) = (vec![1; KEY_BYTES_MAX + 1], vec![1; VALUE_BYTES_MAX + 1]);
    assert!(accepts(&[(1, &[delete_range(&key, &key), put(&key, &value)])]));
    assert!(!accepts(&[(1, &[put(&long_key, b"")])]));
    assert!(!accepts(&[(1, &[put(b"a", &long_value)])]));
    assert!(!accepts(&[(1, &[delete(&long_key)])]));
    assert!(!accepts(&[(1, &[delete_range(b"a", &long_key)])]));
}

#[test]
fn unknown_kinds_and_counts_that_lie_are_refused() {
    // keyspace 1, 1 operation, 4 bytes: put "a" = "b"
    let right = [1, 1, 4 + 1, 1, 1, 1, b'a', b'b'];
    assert_eq!(read(&right), Some(1));
    for (at, byte) in [(1, 0), (1, 2), (1, 255), (2, 4), (2, 6), (3, 0), (3, 2), (3, 4), (3, 5), (4, 2), (5, 2)] {
        let mut wrong = right;
        wrong[at] = byte;
        assert_eq!(read(&wrong), None, "byte {at} = {byte}");
    }
    // A count of 2^63 operations in no bytes.
    assert_eq!(read(&[1, 255, 255, 255, 255, 255, 255, 255, 255, 127, 0]), None);
    // A keyspace beyond 32 bits.
    assert_eq!(read(&[255, 255, 255, 255, 31, 0, 0]), None);
}

#[test]
fn a_range_covers_from_low_to_before_high() {
    let range = delete_range(b"b", b"d");
    let covered: Vec<bool> = [b"a", b"b", b"c", b"d"].iter().map(|key| range.range_covers(*key)).collect();
    assert_eq!(covered, [false, true, true, false]);
    assert!(delete_range(b"b", b"").range_covers(&[255; 9]));
    assert!(!put(b"b", b"z").range_covers(b"c"));
}

#[test]
fn a_cleared_batch_is_empty() {
    let mut batch = Batch::new();
    batch.section(KeyspaceId::new(1), [put(b"a", b"1")]);
    batch.clear();
    assert!(batch.is_empty());
    assert_eq!(read(batch.bytes()), Some(0));
}
