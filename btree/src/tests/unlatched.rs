//! Pages that change, leave and come back while somebody looks: what readers without latches are shown, and what upkeep finds.

use super::*;

/// What a reader in the middle of its descent may hold: the root as it was before the splits, or a page id that is another page by now.
#[test]
fn a_stale_inner_page_misleads_no_reader() {
    let store = Fixture::new();
    let pin = Pin::new();
    let pages = &store.tree.store.pages;
    let root = pages.known(pid_table::ROOT_PID);
    let mut stale = Vec::new();
    let value = |i: u32| i.to_be_bytes().repeat(15);
    for i in 0..2000 {
        store.put(&key(i), &value(i));
        if i % 100 == 0 {
            store.persist();
            stale.extend(root.shown(pin.pinned()).map(|image| image.to_counted()));
        }
    }
    store.persist();
    let now = root.shown(pin.pinned()).expect("the root is here").to_counted();
    stale.retain(|image| image.level() > 0);
    assert!(store.tree.stats().depth >= 3 && stale.iter().any(|image| image.level() == 1));
    let newer = |i| store.tree.newer_than(&key(i), Timestamp::ZERO).unwrap();
    let newest: Vec<_> = (0..2000).map(newer).collect();
    let mut sorted: Vec<_> = (0..2000).map(|i| (key(i), i)).collect();
    sorted.sort_unstable();
    for image in stale {
        root.show(Some(image));
        for i in 0..2000 {
            assert_eq!(store.get(&key(i), store.now()).unwrap(), Some(value(i)), "{i}");
            assert_eq!(newer(i), newest[i as usize], "{i}");
        }
        for start in (0..2000).step_by(100) {
            let mut cursor = store.tree.cursor(store.now(), KeyBounds::ALL, ScanOpts::default()).unwrap();
            assert!(cursor.seek(&sorted[start].0).unwrap(), "{start}");
            for (key, i) in &sorted[start..(start + 120).min(2000)] {
                assert_eq!((cursor.key(), cursor.value()), (&key[..], &value(*i)[..]), "{start}");
                cursor.next().unwrap();
            }
        }
    }
    root.show(Some(now));
    store.check();
}

#[test]
fn pages_that_are_here_are_shown_and_no_others() {
    let store = Fixture::new();
    for i in 0..400 {
        store.put(&key(i), &[7; 60]);
    }
    store.persist();
    let shown = |pid| {
        let slot = store.tree.store.pages.known(pid);
        let pin = Pin::new();
        let is_here = matches!(&*slot.read(), pid_table::Page::Resident(resident) if resident.spill.is_none());
        assert_eq!(slot.shown(pin.pinned()).is_some(), is_here, "T4: page {pid}");
        is_here
    };
    let count = store.tree.store.pages.count();
    assert!((1..=count).all(shown), "all are here");
    store.tree.store.evict(64 << 20);
    assert!((1..=count).filter(|&pid| shown(pid)).count() < count as usize, "some were dropped");
    for i in 0..400 {
        assert_eq!(store.get(&key(i), store.now()).unwrap().as_deref(), Some(&[7; 60][..]));
    }
    assert!((1..=count).all(shown), "all are here again");
}

/// Found by shuttle: readers evict beside upkeep, which had just read the leaf.
#[test]
fn a_root_that_is_a_leaf_and_left_memory_has_no_parents() {
    let store = Fixture::new();
    store.put(b"key", b"value");
    store.persist();
    store.tree.store.evict(64 << 20);
    let root = store.tree.store.pages.known(pid_table::ROOT_PID);
    assert!(matches!(&*root.read(), pid_table::Page::OnDisk(_)));
    assert!(store.tree.store.path_to(b"key", 0).is_empty());
    assert!(store.tree.store.parent_of(b"key").unwrap().is_none());
}
