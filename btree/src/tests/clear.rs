//! Range deletes cost the pages at their ends and the parents of those between, not the keys.

use super::*;

/// Sequential keys, so that a range is a stretch of leaves.
fn sequential(keys: std::ops::Range<u32>) -> Fixture {
    let store = Fixture::large_pages();
    for from in keys.clone().step_by(100) {
        put_all(&store, from..(from + 100).min(keys.end), &[1; 100]);
    }
    store
}

fn put_all(store: &Fixture, keys: std::ops::Range<u32>, value: &[u8]) {
    let keys: Vec<_> = keys.map(u32::to_be_bytes).collect();
    store.commit(keys.iter().map(|key| Op { kind: OpKind::Put, key, value }));
}

fn delete_range(store: &Fixture, keys: std::ops::Range<u32>) {
    store.delete_range(&keys.start.to_be_bytes(), &keys.end.to_be_bytes());
}

fn content(keys: impl IntoIterator<Item = u32>) -> Vec<(Vec<u8>, Vec<u8>)> {
    keys.into_iter().map(|i| (i.to_be_bytes().to_vec(), vec![1; 100])).collect()
}

#[test]
fn leaves_under_a_range_delete_go_unread() {
    let mut store = sequential(0..50_000);
    store.persist();
    let (units, len) = (store.tree.stats().units, store.file().len().unwrap());
    store.reopen();
    delete_range(&store, 5_010..45_020);
    store.persist();
    store.persist();
    let stats = store.tree.stats();
    // Inner pages, the ends, and what is moved from the end of the file.
    assert!(units > 300 && stats.reads < units / 6, "{} pages read of {units}", stats.reads);
    assert!(stats.units < 80, "{} pages are left", stats.units);
    assert!(stats.written_bytes < len / 3, "{} bytes written", stats.written_bytes);
    assert!(stats.disk_bytes < len / 3, "{} bytes of {len}", stats.disk_bytes);
    let left = content((0..5_010).chain(45_020..50_000));
    assert_eq!(store.content(), left);
    assert_eq!(store.check().keys, 5_010 + 4_980);
    store.reopen();
    assert_eq!(store.content(), left);
}

#[test]
fn what_a_snapshot_still_sees_goes_when_it_ends() {
    let mut store = sequential(0..20_000);
    store.persist();
    let before = store.now();
    store.host.active.lock().push(before);
    delete_range(&store, 1_000..19_000);
    put_all(&store, 10_000..10_050, &[1; 100]);
    store.persist();
    store.persist();
    for i in [999, 1_000, 5_000, 18_999] {
        assert!(store.get(&u32::to_be_bytes(i), before).unwrap().is_some(), "{i} before the range delete");
    }
    let units = store.tree.stats().units;
    store.host.active.lock().clear();
    store.put(b"x", b"");
    let written = store.tree.stats().written_bytes;
    store.persist();
    store.persist();
    let stats = store.tree.stats();
    assert!(stats.units < units / 3, "{} pages of {units}", stats.units);
    assert!(stats.written_bytes - written < 600 << 10, "{} bytes written", stats.written_bytes - written);
    let mut left = content((0..1_000).chain(10_000..10_050).chain(19_000..20_000));
    left.push((b"x".to_vec(), vec![]));
    assert_eq!(store.content(), left);
    assert_eq!(store.check().keys as usize, left.len());
    store.reopen();
    assert_eq!(store.content(), left);
}

#[test]
fn what_is_put_behind_a_range_delete_stays_whenever_it_is_drained() {
    for drains_between in [false, true] {
        for has_reader in [false, true] {
            let mut store = sequential(0..5_000);
            store.persist();
            if has_reader {
                store.host.active.lock().push(store.now());
            }
            put_all(&store, 2_000..2_010, &[9; 100]); // older than the range delete, in its buffer
            delete_range(&store, 500..4_500);
            if drains_between {
                store.persist();
            }
            for i in (600..4_400).step_by(200) {
                put_all(&store, i..i + 3, &[1; 100]);
            }
            store.persist();
            store.host.active.lock().clear();
            store.put(b"x", b"");
            store.persist();
            store.persist();
            let between = (600..4_400).step_by(200).flat_map(|i| i..i + 3);
            let mut left = content((0..500).chain(between).chain(4_500..5_000));
            left.push((b"x".to_vec(), vec![]));
            assert_eq!(store.content(), left, "drains between {drains_between}, reader {has_reader}");
            assert!(store.tree.store.tombs().is_empty());
            store.check();
            store.reopen();
            assert_eq!(store.content(), left);
        }
    }
}

#[test]
fn deleting_everything_leaves_one_page() {
    let mut store = sequential(0..30_000);
    store.persist();
    store.reopen();
    store.delete_range(b"", b"");
    store.compact();
    let stats = store.tree.stats();
    assert_eq!((stats.units, store.keys()), (1, 0));
    assert!(stats.disk_bytes <= 64 << 10, "{} bytes", stats.disk_bytes);
    store.check();
    put_all(&store, 0..100, &[1; 100]);
    store.compact();
    assert_eq!(store.content(), content(0..100));
}
