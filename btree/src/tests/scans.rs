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
