//! The write set against a naive one: a list of everything that was done, read from the end.

use std::collections::BTreeSet;
use std::ops::Bound;

use duramen_base::{Batch, BatchView, KeyspaceId, OpKind, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Own, Savepoint, WriteSet, WriteView};
use crate::lock_item::{LockItem, LockKind};

const KEYSPACES: [KeyspaceId; 2] = [KeyspaceId::new(3), KeyspaceId::new(9)];

fn ks() -> KeyspaceId {
    KEYSPACES[0]
}

fn value(byte: u8) -> Value {
    // Some inside the value, some outside.
    Value::from(&vec![byte; if byte.is_multiple_of(3) { 40 } else { 3 }][..])
}

/// One write, as the naive model keeps it.
#[derive(Clone, Debug)]
enum Write {
    Put(usize, Vec<u8>, u8),
    Delete(usize, Vec<u8>),
    DeleteRange(usize, Vec<u8>, Vec<u8>),
}

impl Write {
    fn run(&self, writes: &mut WriteSet) {
        match self {
            Write::Put(ks, key, byte) => writes.put(KEYSPACES[*ks], key, value(*byte)),
            Write::Delete(ks, key) => writes.delete(KEYSPACES[*ks], key),
            Write::DeleteRange(ks, low, high) => writes.delete_range(KEYSPACES[*ks], low, high),
        }
    }

    fn effect_on(&self, keyspace: usize, key: &[u8]) -> Option<Own> {
        match self {
            Write::Put(ks, at, byte) => (*ks == keyspace && at == key).then(|| Own::Put(value(*byte))),
            Write::Delete(ks, at) => (*ks == keyspace && at == key).then_some(Own::Deleted),
            Write::DeleteRange(ks, low, high) => {
                let inside = &low[..] <= key && (high.is_empty() || key < &high[..]);
                (*ks == keyspace && inside).then_some(Own::Deleted)
            }
        }
    }
}

fn naive_get(log: &[Write], keyspace: usize, key: &[u8]) -> Option<Own> {
    log.iter().rev().find_map(|write| write.effect_on(keyspace, key))
}

#[derive(Clone, Debug)]
enum Step {
    Write(Write),
    Savepoint,
    RollbackTo(usize),
    Release(usize),
    View(usize),
}

fn a_key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(&b"abc"[..]), 0..3)
}

fn a_step() -> impl Strategy<Value = Step> {
    let write = prop_oneof![
        4 => (0..2usize, a_key(), any::<u8>()).prop_map(|(ks, key, byte)| Write::Put(ks, key, byte)),
        2 => (0..2usize, a_key()).prop_map(|(ks, key)| Write::Delete(ks, key)),
        2 => (0..2usize, a_key(), a_key()).prop_map(|(ks, low, high)| Write::DeleteRange(ks, low, high)),
    ];
    prop_oneof![
        8 => write.prop_map(Step::Write),
        2 => Just(Step::Savepoint),
        1 => (0..4usize).prop_map(Step::RollbackTo),
        1 => (0..4usize).prop_map(Step::Release),
        1 => (0..2usize).prop_map(Step::View),
    ]
}

/// Every key of up to two letters, and some longer ones that lie between them.
fn all_keys() -> Vec<Vec<u8>> {
    let letters = [b"a", b"b", b"c"];
    let mut keys = vec![vec![]];
    for first in letters {
        keys.push(first.to_vec());
        letters.iter().for_each(|second| {
            keys.push([first.as_slice(), second.as_slice()].concat());
            keys.push([first.as_slice(), second.as_slice(), b"a"].concat());
        });
    }
    keys
}

fn check_section(writes: &WriteSet, log: &[Write], keyspace: usize) {
    let view = writes.view(KEYSPACES[keyspace]);
    check_view(&view, log, keyspace);
    for key in all_keys() {
        assert_eq!(writes.get(KEYSPACES[keyspace], &key), naive_get(log, keyspace, &key), "{key:?} after {log:?}");
    }
    if let Some(section) = writes.section(KEYSPACES[keyspace]) {
        section.check();
    }
}

/// One step of an iterator over the view, up or down.
type Neighbour = fn(&WriteView, Bound<&[u8]>) -> Option<(Vec<u8>, Own)>;

fn check_view(view: &WriteView, log: &[Write], keyspace: usize) {
    let keys = all_keys();
    let covered = |key: &Vec<u8>| {
        log.iter().any(|write| matches!(write, Write::DeleteRange(..)) && write.effect_on(keyspace, key).is_some())
    };
    for key in &keys {
        assert_eq!(view.get(key).cloned(), naive_get(log, keyspace, key), "view of {key:?} after {log:?}");
        assert_eq!(view.covers(key), covered(key), "cover of {key:?} after {log:?}");
        if let Some(bounds) = view.covering(key) {
            keys.iter().filter(|other| bounds.contains(other)).for_each(|other| assert!(covered(other)));
        }
    }
    // Points: what is put, and what is deleted outside the ranges, in both directions and from every key.
    let mut expected: Vec<(&[u8], Own)> = keys
        .iter()
        .filter_map(|key| Some((&key[..], naive_get(log, keyspace, key)?)))
        .filter(|(key, own)| *own != Own::Deleted || !covered(&key.to_vec()))
        .collect();
    expected.sort_by_key(|(key, _)| *key);
    let walk = |next: Neighbour, start: Bound<&[u8]>| {
        let mut found = Vec::new();
        let mut at = next(view, start);
        while let Some((key, own)) = at {
            at = next(view, Bound::Excluded(&key));
            found.push((key, own));
        }
        found
    };
    let up = |view: &WriteView, from: Bound<&[u8]>| view.next_after(from).map(|(key, own)| (key.to_vec(), own.clone()));
    let down =
        |view: &WriteView, from: Bound<&[u8]>| view.prev_before(from).map(|(key, own)| (key.to_vec(), own.clone()));
    let owned = |part: Vec<&(&[u8], Own)>| part.into_iter().map(|(k, o)| (k.to_vec(), o.clone())).collect::<Vec<_>>();
    assert_eq!(walk(up, Bound::Unbounded), owned(expected.iter().collect()));
    assert_eq!(walk(down, Bound::Unbounded), owned(expected.iter().rev().collect()));
    for from in &keys {
        let from = &from[..];
        assert_eq!(walk(up, Bound::Included(from)), owned(expected.iter().filter(|(k, _)| *k >= from).collect()));
        assert_eq!(walk(up, Bound::Excluded(from)), owned(expected.iter().filter(|(k, _)| *k > from).collect()));
        assert_eq!(
            walk(down, Bound::Included(from)),
            owned(expected.iter().rev().filter(|(k, _)| *k <= from).collect())
        );
        assert_eq!(
            walk(down, Bound::Excluded(from)),
            owned(expected.iter().rev().filter(|(k, _)| *k < from).collect())
        );
    }
}

/// The batch says the same as the log, its order is accepted, and the locks cover exactly what it touches.
fn check_batch(writes: &WriteSet, log: &[Write]) {
    let mut batch = Batch::new();
    writes.encode(&mut batch);
    let view = BatchView::parse(batch.bytes()).expect("W1: the order that a batch asks for");
    let sections: Vec<_> = view.sections().collect();
    assert_eq!(sections.iter().map(|s| s.keyspace()).collect::<Vec<_>>(), writes.keyspaces().collect::<Vec<_>>());
    assert_eq!(sections.iter().map(|s| s.len()).sum::<usize>(), writes.len());
    assert_eq!(writes.is_empty(), batch.is_empty());
    let locks: Vec<_> = writes.lock_items().collect();
    assert!(locks.windows(2).all(|pair| pair[0].is_before(&pair[1])), "{locks:?}");
    for (keyspace, id) in KEYSPACES.into_iter().enumerate() {
        let ops: Vec<_> = sections.iter().filter(|s| s.keyspace() == id).flat_map(|s| s.iter()).collect();
        assert_eq!(ops, writes.ops(id).collect::<Vec<_>>());
        for key in all_keys() {
            let point = ops.iter().find(|op| op.kind != OpKind::DeleteRange && op.key == key);
            let own = match point {
                Some(op) if op.kind == OpKind::Put => Some(Own::Put(Value::from(op.value))),
                Some(_) => Some(Own::Deleted),
                None => ops.iter().any(|op| op.range_covers(&key)).then_some(Own::Deleted),
            };
            assert_eq!(own, naive_get(log, keyspace, &key));
            let asked = LockItem::key(id, key[..].into());
            let covering = locks.iter().filter(|lock| lock.overlaps(&asked)).count();
            assert_eq!(covering, usize::from(own.is_some()), "one lock for each key touched: {key:?}");
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut writes = WriteSet::new();
    let mut log: Vec<Write> = Vec::new();
    let mut savepoints: Vec<(Savepoint, usize)> = Vec::new();
    let mut views: Vec<(WriteView, Vec<Write>, usize)> = Vec::new();
    for step in steps {
        match step {
            Step::Write(write) => {
                write.run(&mut writes);
                log.push(write);
            }
            Step::Savepoint => savepoints.push((writes.savepoint(), log.len())),
            Step::RollbackTo(index) if index < savepoints.len() => {
                let dead: Vec<_> = savepoints.drain(index + 1..).collect();
                writes.rollback_to(&savepoints[index].0).unwrap();
                log.truncate(savepoints[index].1);
                assert!(
                    dead.iter().all(|(dead, _)| writes.rollback_to(dead).is_err()),
                    "a savepoint rolled back is gone"
                );
            }
            Step::Release(index) if index < savepoints.len() => {
                let released: Vec<_> = savepoints.drain(index..).collect();
                writes.release(&released[0].0).unwrap();
                assert!(released.iter().all(|(gone, _)| writes.release(gone).is_err()), "released once");
            }
            Step::RollbackTo(_) | Step::Release(_) => {}
            Step::View(keyspace) => views.push((writes.view(KEYSPACES[keyspace]), log.clone(), keyspace)),
        }
        (0..2).for_each(|keyspace| check_section(&writes, &log, keyspace));
    }
    check_batch(&writes, &log);
    views.iter().for_each(|(view, log, keyspace)| check_view(view, log, *keyspace));
    if let Some((oldest, len)) = savepoints.first() {
        writes.rollback_to(oldest).unwrap();
        assert_eq!(writes.undo_bytes, 0, "all was undone");
        (0..2).for_each(|keyspace| check_section(&writes, &log[..*len], keyspace));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_write_set_equals_a_list_of_all_writes(steps in vec(a_step(), 0..24)) {
        run(steps);
    }
}

#[test]
fn a_put_after_a_range_delete_survives_it() {
    let mut writes = WriteSet::new();
    writes.put(ks(), b"b", value(1));
    writes.delete_range(ks(), b"a", b"c");
    assert_eq!(writes.get(ks(), b"b"), Some(Own::Deleted));
    writes.put(ks(), b"b", value(2));
    assert_eq!(writes.get(ks(), b"b"), Some(Own::Put(value(2))));
    assert_eq!(writes.len(), 2);
}

#[test]
fn overlapping_and_touching_ranges_become_one_lock() {
    let mut writes = WriteSet::new();
    writes.delete_range(ks(), b"a", b"c");
    writes.delete_range(ks(), b"e", b"g");
    writes.put(ks(), b"b", value(1)); // inside, left to the range
    writes.put(ks(), b"g", value(1)); // just behind
    writes.delete_range(ks(), b"c", b"e");
    let locks: Vec<_> = writes.lock_items().collect();
    assert_eq!(locks.len(), 2);
    assert_eq!(*locks[0].kind(), LockKind::Range { high: Some(b"g"[..].into()) });
    assert_eq!(*locks[1].kind(), LockKind::Key);
}

#[test]
fn an_empty_range_deletes_nothing() {
    let mut writes = WriteSet::new();
    writes.delete_range(ks(), b"c", b"a");
    writes.delete_range(ks(), b"c", b"c");
    assert!(writes.is_empty());
    assert_eq!(writes.keyspaces().count(), 0);
}

#[test]
fn a_savepoint_of_another_transaction_is_refused() {
    let (mut one, mut other) = (WriteSet::new(), WriteSet::new());
    let savepoint = one.savepoint();
    other.savepoint();
    other.put(ks(), b"k", value(1));
    assert!(other.rollback_to(&savepoint).is_err());
    assert_eq!(other.len(), 1);
}

#[test]
fn without_a_savepoint_nothing_is_kept_for_undoing() {
    let mut writes = WriteSet::new();
    (0..10).for_each(|byte| writes.put(ks(), b"k", value(byte)));
    let bytes = writes.bytes();
    let savepoint = writes.savepoint();
    writes.put(ks(), b"k", value(9));
    assert!(writes.bytes() > bytes);
    writes.release(&savepoint).unwrap();
    assert_eq!(writes.bytes(), bytes);
    let keys: BTreeSet<_> = writes.ops(ks()).map(|op| op.key.to_vec()).collect();
    assert_eq!(keys.len(), 1);
}
