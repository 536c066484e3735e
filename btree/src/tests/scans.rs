//! Scans over leaves and write buffers together.

use super::*;

#[test]
fn a_scan_meets_the_keys_of_leaves_and_of_the_buffer_in_order() {
    let store = Fixture::new();
    for i in (0..300u32).filter(|i| i % 3 != 1) {
        store.put(&i.to_be_bytes(), b"drained");
    }
    store.persist();
    for i in (0..300u32).filter(|i| i % 3 != 0) {
        store.put(&i.to_be_bytes(), b"buffered");
    }
    let expected: Vec<_> = (0..300u32)
        .map(|i| (i.to_be_bytes().to_vec(), if i % 3 == 0 { &b"drained"[..] } else { b"buffered" }.to_vec()))
        .collect();
    assert_eq!(store.content(), expected);
    let mut cursor = store.tree.cursor(store.now(), KeyBounds::ALL, ScanOpts::default()).unwrap();
    for (key, value) in expected.iter().rev() {
        assert!(cursor.prev().unwrap());
        assert_eq!((cursor.key(), cursor.value()), (&key[..], &value[..]));
    }
    assert!(!cursor.prev().unwrap());
}

#[test]
fn what_a_scan_meets_deleted_in_the_buffer_is_drained_then() {
    let store = Fixture::large_pages();
    let commit = |keys: std::ops::Range<u32>, kind| {
        let keys: Vec<_> = keys.map(u32::to_be_bytes).collect();
        let value: &[u8] = if kind == OpKind::Put { &[1; 50] } else { b"" };
        store.commit(keys.iter().map(|key| Op { kind, key, value }));
    };
    let scan = |keys| {
        let mut cursor = store.tree.cursor(store.now(), KeyBounds::ALL, ScanOpts::default()).unwrap();
        (0..keys).for_each(|_| assert!(cursor.next().unwrap()));
        assert!(keys < 101 || cursor.key() > &20_000u32.to_be_bytes()[..]);
        store.work();
        store.tree.stats().drains
    };
    (0..30).for_each(|part| commit(part * 1000..part * 1000 + 1000, OpKind::Put));
    store.persist();
    let (before, units) = (store.tree.stats().drains, store.tree.stats().units);
    (0..20).for_each(|part| commit(part * 1000 + 100..part * 1000 + 1100, OpKind::Delete));
    assert_eq!(scan(50), before, "it met none of them");
    assert_eq!(scan(200), before + 1, "U6");
    store.persist();
    assert!(store.tree.stats().units < units / 2, "leaves that were emptied are gone");
    commit(25_000..25_010, OpKind::Delete);
    let before = store.tree.stats().drains;
    assert_eq!(scan(9_000), before, "U6: few keys are not worth a drain");
}

#[test]
fn what_scans_copy_again_and_again_is_drained_for_them() {
    let store = Fixture::large_pages();
    let commit = |keys: std::ops::Range<u32>, value: u8| {
        let keys: Vec<_> = keys.map(u32::to_be_bytes).collect();
        let value = [value; 50];
        store.commit(keys.iter().map(|key| Op { kind: OpKind::Put, key, value: &value }));
    };
    let scan = |value| {
        let mut cursor = store.tree.cursor(store.now(), KeyBounds::ALL, ScanOpts::default()).unwrap();
        while cursor.next().unwrap() {
            assert_eq!(cursor.value(), [value; 50]);
        }
        store.work();
        store.tree.stats().drains
    };
    (0..30).for_each(|part| commit(part * 1000..part * 1000 + 1000, 1));
    let before = store.tree.stats().drains;
    assert_eq!(scan(1), before, "once is no reason");
    for _ in 0..10 {
        scan(1);
    }
    assert_eq!(store.tree.stats().drains, before + 1, "U6");
    (0..30).for_each(|part| commit(part * 1000..part * 1000 + 1000, 2));
    assert_eq!(scan(2), before + 1, "it is counted anew for each buffer");
}

/// Q4: keys of the leaf between those of the buffer, and keys that are newer or deleted, are met on the way, whichever way a scan turns.
#[test]
fn a_scan_that_turns_among_buffered_keys_meets_all_between_them() {
    let store = Fixture::new();
    for i in (0..60u32).filter(|i| i % 7 == 0) {
        store.put(&i.to_be_bytes(), b"leaf");
    }
    store.persist();
    for i in (0..60u32).filter(|i| i % 7 != 0 && i % 11 != 0) {
        store.put(&i.to_be_bytes(), b"buffer");
    }
    store.commit([Op { kind: OpKind::Delete, key: &20u32.to_be_bytes(), value: b"" }]);
    let at = store.now();
    store.put(&34u32.to_be_bytes(), b"newer");
    let shown: Vec<u32> = (0..60).filter(|i| (i % 7 == 0 || i % 11 != 0) && *i != 20).collect();
    for turn in 1..shown.len() {
        let mut cursor = store.tree.cursor(at, KeyBounds::ALL, ScanOpts::default()).unwrap();
        let ways = (0..=turn).map(|index| (index, true)).chain((0..turn).rev().map(|index| (index, false)));
        for (index, up) in ways.chain((1..shown.len()).map(|index| (index, true))) {
            assert!(if up { cursor.next().unwrap() } else { cursor.prev().unwrap() });
            let value = if shown[index].is_multiple_of(7) { &b"leaf"[..] } else { b"buffer" };
            assert_eq!((cursor.key(), cursor.value()), (&shown[index].to_be_bytes()[..], value), "turned at {turn}");
            assert_eq!(&*cursor.value_owned(), value);
            assert!(cursor.newer_seen() || shown[index] < 34, "it passed {}", shown[index]);
        }
        assert!(!cursor.next().unwrap());
    }
}
