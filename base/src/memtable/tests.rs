//! Tests of the memtable.

use super::*;
use crate::{Batch, Budget, KeyspaceId, Result};

fn ts(number: u64) -> Timestamp {
    Timestamp::new(number)
}

/// A host with a horizon and snapshots set by hand.
struct TestHost {
    budget: Arc<Budget>,
    snaps: Mutex<Arc<SnapSet>>,
}

impl TestHost {
    fn new(budget: u64) -> TestHost {
        let none = SnapSet::new(Timestamp::ZERO, Vec::new());
        TestHost { budget: Budget::new(budget), snaps: Mutex::new(Arc::new(none)) }
    }

    fn set_snapshots(&self, horizon: u64, active: &[u64]) {
        *self.snaps.lock() = Arc::new(SnapSet::new(ts(horizon), active.iter().map(|&s| ts(s)).collect()));
    }
}

impl StoreHost for TestHost {
    fn visible(&self) -> Timestamp {
        self.snaps.lock().horizon()
    }

    fn durable(&self) -> Timestamp {
        self.visible()
    }

    fn snapshots(&self) -> Arc<SnapSet> {
        Arc::clone(&self.snaps.lock())
    }

    fn make_durable(&self, _through: Timestamp) -> Result<()> {
        Ok(())
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn wake_upkeep(&self) {}
}

fn section(ops: &[(OpKind, &[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    batch.section(KeyspaceId::new(7), ops.iter().map(|&(kind, key, value)| Op { kind, key, value }));
    batch
}

fn apply(mem: &Memtable, host: &TestHost, at: u64, ops: &[(OpKind, &[u8], &[u8])]) {
    let batch = section(ops);
    let view = crate::BatchView::parse(batch.bytes()).expect("well formed");
    let ops = view.sections().next().expect("one");
    mem.begin_apply();
    mem.apply(&ops, ts(at), host.budget().reserve_anyway(1000), host);
}

fn value(found: &MemFound) -> Option<&[u8]> {
    found.version.as_ref().and_then(|version| version.value.as_deref())
}

#[test]
fn the_newest_version_at_or_before_is_found() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    apply(&mem, &host, 3, &[(OpKind::Put, b"k", b"three")]);
    apply(&mem, &host, 5, &[(OpKind::Delete, b"k", b"")]);
    assert_eq!(value(&mem.get(b"k", ts(4))), Some(&b"three"[..]));
    assert!(mem.get(b"k", ts(4)).newer);
    assert_eq!(mem.get(b"k", ts(5)).version, Some(KeyVersion { ts: ts(5), value: None }));
    assert!(mem.get(b"k", ts(2)).version.is_none() && mem.get(b"k", ts(2)).newer);
    assert!(mem.get(b"other", ts(9)).version.is_none());
}

#[test]
fn a_repeated_older_apply_changes_nothing() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    apply(&mem, &host, 5, &[(OpKind::Put, b"k", b"five")]);
    apply(&mem, &host, 3, &[(OpKind::Put, b"k", b"three")]);
    apply(&mem, &host, 5, &[(OpKind::Put, b"k", b"again")]);
    assert_eq!(value(&mem.get(b"k", ts(9))), Some(&b"five"[..]));
    assert!(mem.get(b"k", ts(4)).version.is_none());
    assert_eq!((mem.min_ts(), mem.max_ts()), (ts(3), ts(5)));
}

#[test]
fn a_hot_key_stays_small_and_a_snapshot_keeps_its_version() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 30));
    for number in 1..=10_000 {
        host.set_snapshots(number, &[7]);
        apply(&mem, &host, number, &[(OpKind::Put, b"hot", &number.to_le_bytes())]);
    }
    assert!(mem.bytes() < 2000, "{} bytes", mem.bytes());
    assert_eq!(value(&mem.get(b"hot", ts(7))), Some(&7u64.to_le_bytes()[..]));
    assert_eq!(value(&mem.get(b"hot", ts(10_000))), Some(&10_000u64.to_le_bytes()[..]));
}

#[test]
fn the_reservation_is_what_the_content_takes_and_is_given_back() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    apply(&mem, &host, 1, &[(OpKind::DeleteRange, b"a", b"z"), (OpKind::Put, b"k", &[7; 100])]);
    apply(&mem, &host, 2, &[(OpKind::Put, &[b'l'; 60], &[7; 10])]);
    for number in 3..30 {
        apply(&mem, &host, number, &[(OpKind::Put, b"k", &[7; 50])]);
    }
    assert_eq!(mem.bytes(), mem.counted_bytes());
    assert_eq!(host.budget().used(), mem.bytes(), "T5");
    drop(mem);
    assert_eq!(host.budget().used(), 0);
}

#[test]
fn a_range_delete_hides_what_came_before_and_spares_its_own_commit() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    apply(&mem, &host, 1, &[(OpKind::Put, b"b", b"1"), (OpKind::Put, b"c", b"1")]);
    apply(&mem, &host, 2, &[(OpKind::DeleteRange, b"a", b"c"), (OpKind::Put, b"b", b"2")]);
    let found = mem.get(b"b", ts(2));
    assert_eq!((value(&found), found.tomb), (Some(&b"2"[..]), ts(2)));
    assert_eq!(mem.get(b"c", ts(2)).tomb, ts(0));
    assert!(mem.get(b"a", ts(1)).newer);
    assert_eq!(mem.newest(b"a"), ts(2));
}

#[test]
fn keys_are_copied_both_ways() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    for key in [b"a", b"b", b"c", b"d"] {
        apply(&mem, &host, 1, &[(OpKind::Put, key, b"v")]);
    }
    let copied = |lower, upper, backward, max| {
        let mut out = Vec::new();
        mem.copy_keys((lower, upper), backward, ts(1), max, &mut out);
        out.iter().map(|item| item.key[0]).collect::<Vec<u8>>()
    };
    assert_eq!(copied(Bound::Excluded(b"a"), Bound::Unbounded, false, 2), b"bc");
    assert_eq!(copied(Bound::Unbounded, Bound::Included(b"c"), true, 2), b"cb");
    assert_eq!(copied(Bound::Excluded(b"b"), Bound::Excluded(b"b"), false, 9), b"");
    assert_eq!(copied(Bound::Included(b"d"), Bound::Excluded(b"a"), false, 9), b"");
}

#[test]
fn a_flush_sees_every_version_in_order() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    host.set_snapshots(0, &[1, 2]);
    for number in 1..4 {
        apply(&mem, &host, number, &[(OpKind::Put, b"a", b"v"), (OpKind::Put, b"b", b"v")]);
    }
    let mut seen = Vec::new();
    let mut scratch = KeyVersions::default();
    let done = mem.flush_from(Bound::Unbounded, &mut scratch, |kv| {
        seen.push((kv.key.clone(), kv.iter().map(|(ts, _)| ts.get()).collect::<Vec<_>>()));
        Ok::<bool, ()>(true)
    });
    assert_eq!(done, Ok(true));
    assert_eq!(seen, [(b"a".to_vec(), vec![3, 2, 1]), (b"b".to_vec(), vec![3, 2, 1])]);
}
