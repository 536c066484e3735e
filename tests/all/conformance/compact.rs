//! Compaction: the files get small, whoever reads or commits meanwhile.

use duramen_base::Backend;

use super::fixture::Fixture;
use super::subject::{Subject, on_each_backend};
use super::words::{delete, delete_range, put};

fn key(i: usize) -> String {
    format!("{:05}", i * 7919 % 100_000)
}

fn fill<S: Subject>(store: &mut Fixture<S>, keys: std::ops::Range<usize>, tag: &str) {
    for chunk in keys.collect::<Vec<_>>().chunks(50) {
        let changes: Vec<_> = chunk.iter().map(|&i| put(key(i), format!("{tag} {i:090}"))).collect();
        store.commit(&changes);
    }
}

fn delete_nine_in_ten<S: Subject>(store: &mut Fixture<S>, keys: std::ops::Range<usize>) {
    for chunk in keys.filter(|i| i % 10 != 0).collect::<Vec<_>>().chunks(50) {
        let changes: Vec<_> = chunk.iter().map(|&i| delete(key(i))).collect();
        store.commit(&changes);
    }
}

fn what_is_deleted_gives_its_space_back<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    fill(&mut store, 0..3000, "first");
    store.persist();
    let full = store.store().stats().disk_bytes;
    delete_nine_in_ten(&mut store, 0..3000);
    let expected = store.rows(store.now());
    store.compact();
    let small = store.store().stats().disk_bytes;
    assert!(!S::HAS_FILES || small <= full / 4, "{small} bytes of {full}");
    assert_eq!(store.rows(store.now()), expected);
    store.reopen();
    assert_eq!(store.rows(store.now()), expected);
    store.commit(&[delete_range("", "")]);
    store.compact();
    let empty = store.store().stats().disk_bytes;
    assert!(!S::HAS_FILES || empty <= 64 << 10, "{empty} bytes of nothing");
    assert!(store.rows(store.now()).is_empty());
}

fn a_snapshot_keeps_what_it_sees_through_compactions<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    fill(&mut store, 0..600, "first");
    store.persist();
    let before = store.host.begin_snapshot();
    let expected = store.rows(before);
    delete_nine_in_ten(&mut store, 0..600);
    store.commit(&[delete_range("5", "9")]);
    store.compact_beside(2 << 10, |store, step| {
        if step < 300 {
            store.commit(&[put(key(10_000 + step % 40), step.to_string())]);
        }
        if step % 37 == 0 {
            assert_eq!(store.rows(before), expected);
        }
    });
    assert_eq!(store.rows(before), expected);
    store.host.end_snapshot(before);
    let now = store.rows(store.now());
    store.compact();
    assert_eq!(store.rows(store.now()), now);
}

fn a_compaction_of_an_empty_store_is_done_at_once<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    store.compact();
    store.compact();
    assert!(store.rows(store.now()).is_empty());
}

on_each_backend!(
    what_is_deleted_gives_its_space_back,
    a_snapshot_keeps_what_it_sees_through_compactions,
    a_compaction_of_an_empty_store_is_done_at_once,
);
