//! The file gets small again, and nothing is lost on the way.

use super::*;

impl Fixture {
    fn len(&self) -> u64 {
        self.file().len().unwrap()
    }

    /// Is left alone for a while.
    fn rest(&self, clock: &ManualClock) {
        for _ in 0..4 {
            clock.advance(Duration::from_secs(1));
            self.work();
        }
    }

    fn delete(&self, key: &[u8]) {
        self.commit([Op { kind: OpKind::Delete, key, value: b"" }]);
    }

    /// Waits for a compaction, by working.
    pub(super) fn compact(&self) {
        let request = self.tree.compact(KeyBounds::ALL);
        for _ in 0..100_000 {
            if self.tree.compacted() >= request {
                return;
            }
            self.tree.work(WorkBudget { bytes: 16 << 10 }).unwrap();
        }
        panic!("a compaction ends");
    }

    fn fill(&self, keys: std::ops::Range<u32>, value: &[u8]) {
        for chunk in keys.map(key).collect::<Vec<_>>().chunks(100) {
            let mut sorted: Vec<_> = chunk.iter().collect();
            sorted.sort();
            self.commit(sorted.into_iter().map(|key| Op { kind: OpKind::Put, key, value }));
        }
    }
}

/// Bytes of keys and values of `keys` entries.
fn live_bytes(keys: u64, value: &[u8]) -> u64 {
    keys * (4 + value.len() as u64)
}

#[test]
fn when_nine_in_ten_keys_are_gone_the_file_shrinks_by_itself() {
    let mut store = Fixture::large_pages();
    store.fill(0..40_000, &[7; 100]);
    store.persist();
    let full = store.len();
    assert!(full < live_bytes(40_000, &[7; 100]) * 3 / 2, "{full}");
    for i in (0..40_000).filter(|i| i % 10 != 0) {
        store.delete(&key(i));
    }
    store.persist();
    store.persist();
    let live = live_bytes(4_000, &[7; 100]);
    assert!(store.len() <= live * 3 / 2, "{} bytes for {live}", store.len());
    assert_eq!(store.check().keys, 4_000);
    store.reopen();
    assert_eq!(store.check().keys, 4_000);
    assert_eq!(store.get(&key(10), store.now()).unwrap(), Some(vec![7; 100]));
}

#[test]
fn after_churn_a_compaction_leaves_little_but_what_is_live() {
    let mut store = Fixture::large_pages();
    store.fill(0..20_000, &[1; 100]);
    for round in 2..12u8 {
        let value = vec![round; 60 + usize::from(round) * 8];
        let some = u32::from(round) * 1_500;
        store.fill(some..some + 5_000, &value);
        store.persist();
    }
    store.compact();
    let bytes: u64 = store.content().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    assert!(store.len() <= bytes * 3 / 2, "{} bytes for {bytes}", store.len());
    let content = store.content();
    store.check();
    store.reopen();
    assert_eq!(store.content(), content);
}

#[test]
fn a_compaction_of_what_is_small_already_moves_nothing() {
    let store = Fixture::large_pages();
    store.fill(0..5_000, &[1; 100]);
    store.compact();
    let (len, written) = (store.len(), store.tree.stats().written_bytes);
    store.compact();
    assert_eq!(store.len(), len);
    assert!(store.tree.stats().written_bytes - written < 64 << 10, "a superblock and a map");
}

#[test]
fn beside_a_compaction_a_reader_sees_its_snapshot_and_commits_go_on() {
    let mut store = Fixture::new();
    store.fill(0..3_000, &[1; 40]);
    store.persist();
    let before = store.now();
    store.host.active.lock().push(before);
    let mut cursor = store.tree.cursor(before, KeyBounds::ALL, ScanOpts::default()).unwrap();
    for i in (0..3_000).filter(|i| i % 10 != 0) {
        store.delete(&key(i));
    }
    let request = store.tree.compact(KeyBounds::ALL);
    let mut seen = 0;
    for step in 0..100_000u32 {
        if store.tree.compacted() >= request {
            break;
        }
        store.put(&key(10_000 + step % 50), &step.to_be_bytes());
        store.tree.work(WorkBudget { bytes: 2 << 10 }).unwrap();
        assert!(cursor.next().unwrap() || seen == 3_000);
        seen = 3_000.min(seen + 1);
    }
    assert!(store.tree.compacted() >= request, "commits do not keep it from its end (U4)");
    while cursor.next().unwrap() {
        seen += 1;
    }
    assert_eq!(seen, 3_000);
    assert_eq!(store.get(&key(1), before).unwrap(), Some(vec![1; 40]));
    store.check();
    let with_history = store.len();
    store.host.active.lock().clear();
    store.put(b"x", b"");
    store.compact();
    assert!(store.len() < with_history / 2, "{} of {with_history}: nobody reads the history any more", store.len());
    assert_eq!(store.check().keys as usize, store.keys());
    store.reopen();
    assert_eq!(store.keys(), 300 + 50 + 1);
}

#[test]
fn with_little_memory_pages_move_without_being_brought_in() {
    let store = Fixture::with_budget(1 << 20);
    store.fill(0..20_000, &[1; 100]);
    store.persist();
    let full = store.len();
    for i in (0..20_000).filter(|i| i % 10 != 0) {
        store.delete(&key(i));
    }
    store.compact();
    assert!(store.len() < full / 3, "{} of {full}", store.len());
    assert!(store.host.budget.used() <= 1 << 20);
    assert_eq!(store.check().keys, 2_000);
}

#[test]
fn a_page_that_cannot_be_read_stays_and_the_others_move() {
    let mut store = Fixture::large_pages();
    for from in (0..10_000u32).step_by(100) {
        let keys: Vec<_> = (from..from + 100).map(u32::to_be_bytes).collect();
        store.commit(keys.iter().map(|key| Op { kind: OpKind::Put, key, value: &[1; 100] }));
    }
    store.persist();
    store.reopen();
    let leaf = {
        let up = store.tree.store.upkeep.lock();
        let leaves = up.map.pages().filter(|(_, addr)| addr.units == 4);
        leaves.max_by_key(|(_, addr)| addr.unit).unwrap().1
    };
    let at = leaf.unit * UNIT_BYTES as u64 + 300;
    store.file().write_all_at(&[0xff; 64], at).unwrap();
    store.delete_range(b"", &9_000u32.to_be_bytes());
    store.compact();
    assert!(store.len() > at, "it is where it was");
    let up = store.tree.store.upkeep.lock();
    let moved = up.map.pages().filter(|(_, addr)| addr.unit < leaf.unit / 2).count();
    assert!(moved > up.map.pages().count() / 2, "{moved} pages lie in the first half");
    drop(up);
    assert!(matches!(store.verify().problems[..], [_, ..]));
    assert_eq!(store.get(&9_001u32.to_be_bytes(), store.now()).unwrap(), Some(vec![1; 100]));
}

#[test]
fn the_file_is_verified_while_all_of_it_is_written_anew() {
    for budget_bytes in [256 << 10, 64 << 20] {
        let store = Fixture::with_budget(budget_bytes);
        store.fill(0..3_000, &[1; 100]);
        store.persist();
        store.fill(1_000..1_500, &[2; 100]);
        store.work(); // with little memory some of it is in the file, and no superblock names it
        let (inner, mut report) = (&store.tree.store, VerifyReport::default());
        let noted = inner.note(&inner.upkeep.lock(), &mut report);
        for round in 3..6 {
            store.fill(0..3_000, &[round; 100]);
            store.delete_range(&key(0), &key(100));
            store.persist();
        }
        let request = store.tree.compact(KeyBounds::ALL);
        store.work();
        assert!(store.tree.compacted() < request, "V4: it waits");
        inner.verify_noted(&noted, &mut report).unwrap();
        assert!(report.is_clean(), "V4: {:#?}", report.problems);
        drop(noted);
        store.work();
        assert!(store.tree.compacted() >= request, "nobody holds it up any more");
        store.check();
    }
}

#[test]
fn a_compaction_ends_beside_verifies_of_which_each_begins_before_the_last_ends() {
    let store = Fixture::new();
    store.fill(0..3_000, &[1; 100]);
    store.persist();
    let full = store.len();
    let inner = &store.tree.store;
    let begin = || {
        let mut report = VerifyReport::default();
        (inner.note(&inner.upkeep.lock(), &mut report), report)
    };
    let (mut noted, mut report) = begin();
    (0..3_000).filter(|i| i % 10 != 0).for_each(|i| store.delete(&key(i)));
    let request = store.tree.compact(KeyBounds::ALL);
    let mut rounds = 0..40;
    while store.tree.compacted() < request {
        let round = rounds.next().expect("CO5: it ends");
        store.fill(0..100, &[round; 100]);
        store.persist();
        let next = begin();
        inner.verify_noted(&noted, &mut report).unwrap();
        assert!(report.is_clean(), "V4: {:#?}", report.problems);
        (noted, report) = next;
    }
    assert!(store.len() < full / 2, "{} of {full}", store.len());
    inner.verify_noted(&noted, &mut report).unwrap();
    assert!(report.is_clean(), "V4: {:#?}", report.problems);
}

#[test]
fn a_file_that_ends_behind_what_is_used_is_cut_when_it_is_written_next() {
    let mut store = Fixture::new();
    store.fill(0..100, &[1; 100]);
    store.persist();
    let len = store.len();
    store.file().set_len(len + (64 << 20)).unwrap(); // as a crash before a checkpoint leaves it
    store.reopen();
    store.put(b"x", b"");
    store.persist();
    assert!(store.len() <= len * 2, "{} after {len}", store.len());
    assert_eq!(store.check().keys, 101);
}

#[test]
fn while_moves_are_paused_the_file_keeps_its_length_and_then_shrinks() {
    let store = Fixture::large_pages();
    store.fill(0..40_000, &[7; 100]);
    store.persist();
    let full = store.len();
    store.tree.pause_compaction(true);
    for i in (0..40_000).filter(|i| i % 10 != 0) {
        store.delete(&key(i));
    }
    (0..3).for_each(|_| store.persist());
    assert!(store.len() > full / 2, "CD2: {} of {full}", store.len());
    store.tree.pause_compaction(false);
    (0..3).for_each(|_| store.persist());
    assert!(store.len() < full / 3, "{} of {full}", store.len());
    assert_eq!(store.check().keys, 4_000);
}

#[test]
fn a_compaction_of_a_range_is_done_in_a_pause_and_can_be_stopped() {
    let mut store = Fixture::new();
    store.fill(0..5_000, &[7; 40]);
    store.persist();
    store.tree.pause_compaction(true);
    for i in (0..5_000).filter(|i| i % 10 != 0) {
        store.delete(&key(i));
    }
    let stopped = store.tree.compact(KeyBounds::ALL);
    while store.tree.store.upkeep.lock().compaction.is_none() {
        store.tree.work(WorkBudget { bytes: 1 << 10 }).unwrap();
    }
    store.tree.stop_compaction(stopped);
    assert!(store.tree.compacted() >= stopped);
    store.check();
    let (low, high) = (key(100), key(2_000));
    let bounds = KeyBounds::half_open((&low[..]).min(&high), (&low[..]).max(&high));
    let request = store.tree.compact(bounds);
    for _ in (0..100_000).take_while(|_| store.tree.compacted() < request) {
        store.tree.work(WorkBudget { bytes: 4 << 10 }).unwrap();
    }
    assert!(store.tree.compacted() >= request, "it ends");
    let progress = store.tree.stats().compaction;
    assert!(progress.requests == 0 && progress.bytes_done > 0 && progress.is_paused, "CO4: {progress:?}");
    assert_eq!(store.check().keys, 500);
    store.reopen();
    assert_eq!(store.check().keys, 500);
}

/// A store with less memory than data, and its clock.
fn with_clock() -> (Fixture, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let page_bytes = KeyspaceOptions::new(BackendKind::BTree).page_bytes;
    (Fixture::on_clock(1 << 20, page_bytes, Arc::clone(&clock) as Arc<dyn Clock>), clock)
}

#[test]
fn what_a_snapshot_kept_in_leaves_outside_memory_goes_once_nothing_is_written() {
    let (mut store, clock) = with_clock();
    store.fill(0..20_000, &[1; 100]);
    store.persist();
    store.host.active.lock().push(store.now());
    (2..4).for_each(|round| store.fill(0..20_000, &[round; 100]));
    store.persist();
    store.rest(&clock);
    let live = live_bytes(20_000, &[1; 100]);
    assert!(store.len() > live * 2, "{} bytes for {live}, each of them twice", store.len());
    store.host.active.lock().clear();
    store.rest(&clock);
    assert!(store.len() <= live * 3 / 2, "{} bytes for {live}", store.len());
    assert_eq!(store.check().keys, 20_000);
    store.reopen();
    assert_eq!(store.get(&key(1), store.now()).unwrap(), Some(vec![3; 100]));
    assert_eq!(store.check().keys, 20_000);
}

#[test]
fn leaves_half_empty_are_packed_once_nothing_is_written_and_then_left_alone() {
    let (mut store, clock) = with_clock();
    store.fill(0..20_000, &[1; 100]);
    (0..20_000).filter(|i| i % 5 > 1).for_each(|i| store.delete(&key(i)));
    store.persist();
    let live = live_bytes(8_000, &[1; 100]);
    assert!(store.len() > live * 2, "{} bytes for {live}", store.len());
    store.rest(&clock);
    assert!(store.len() <= live * 3 / 2, "CO6: {} bytes for {live}", store.len());
    let written = store.tree.stats().written_bytes;
    store.rest(&clock);
    store.put(&key(0), &[2; 100]);
    store.rest(&clock);
    assert!(store.tree.stats().written_bytes - written < 64 << 10, "CO6: a leaf and what names it");
    assert_eq!(store.check().keys, 8_000);
    store.reopen();
    assert_eq!(store.check().keys, 8_000);
}

#[test]
fn packing_that_nobody_asked_for_ends_when_something_is_written() {
    let (store, clock) = with_clock();
    store.fill(0..20_000, &[1; 100]);
    (0..20_000).filter(|i| i % 5 > 1).for_each(|i| store.delete(&key(i)));
    store.persist();
    let is_packing = || format!("{:?}", store.tree.store.upkeep.lock().compaction).contains("Pack");
    let work = |bytes| store.tree.work(WorkBudget { bytes }).unwrap();
    clock.advance(Duration::from_secs(2));
    work(1); // sees that nothing is written
    assert!((0..1000).any(|_| {
        work(1);
        is_packing()
    }));
    store.put(&key(1), b"");
    work(1);
    assert!(!is_packing(), "CO6");
    let merged = store.tree.stats().pages_merged;
    work(64 << 10);
    assert_eq!(store.tree.stats().pages_merged, merged, "CO6");
}
