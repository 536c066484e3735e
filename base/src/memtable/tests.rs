//! Tests of the memtable.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sync::Mutex;
use crate::{Batch, Budget, KeyBounds, KeyspaceId, Result};

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
    mem.apply(&[(ts(at), ops)], host.budget().reserve_anyway(1000), host);
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
fn a_hot_key_has_a_short_chain_and_a_snapshot_keeps_its_version() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 30));
    for number in 1..=10_000 {
        host.set_snapshots(number, &[7]);
        apply(&mem, &host, number, &[(OpKind::Put, b"hot", &number.to_le_bytes())]);
    }
    let entry = mem.keys.get(&mem.arena, Probe::from(&b"hot"[..])).expect("there");
    assert!(entry.versions(&mem.arena).count() < 20, "T6");
    assert_eq!(value(&mem.get(b"hot", ts(7))), Some(&7u64.to_le_bytes()[..]));
    assert_eq!(value(&mem.get(b"hot", ts(10_000))), Some(&10_000u64.to_le_bytes()[..]));
}

/// A chain that readers keep may be longer than an entry counts (N3 of `entry.rs`): it loses nothing, and is trimmed once they are gone.
#[test]
fn a_chain_longer_than_is_counted_loses_nothing() {
    const VERSIONS: u64 = 40_000;
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 30));
    (1..=VERSIONS).for_each(|number| apply(&mem, &host, number, &[(OpKind::Put, b"hot", &number.to_le_bytes())]));
    let entry = mem.keys.get(&mem.arena, Probe::from(&b"hot"[..])).expect("there");
    assert_eq!(entry.versions(&mem.arena).count() as u64, VERSIONS);
    host.set_snapshots(VERSIONS, &[7]);
    let again = VERSIONS + 1..=2 * VERSIONS;
    again.for_each(|number| apply(&mem, &host, number, &[(OpKind::Put, b"hot", &number.to_le_bytes())]));
    assert!((entry.versions(&mem.arena).count() as u64) < 2 * VERSIONS, "T6");
    assert_eq!(value(&mem.get(b"hot", ts(7))), Some(&7u64.to_le_bytes()[..]));
    assert_eq!(value(&mem.get(b"hot", ts(VERSIONS))), Some(&VERSIONS.to_le_bytes()[..]));
}

/// Operations that are looked up together do what they do one by one: keys that are new, there, or come twice, and leaves that split under them.
#[test]
fn operations_of_many_commits_at_once_are_applied_in_order() {
    let (one_by_one, at_once) = (Memtable::new(), Memtable::new());
    let host = TestHost::new(1 << 30);
    let key = |number: u64| (number.wrapping_mul(0x9e37_79b9) % 701).to_be_bytes();
    for round in 0..20 {
        let numbers = 1 + round * 100..1 + (round + 1) * 100;
        let batches: Vec<(u64, Batch)> = numbers
            .map(|number| match number % 50 {
                0 => (number, section(&[(OpKind::DeleteRange, &key(number), b"")])),
                1..5 => (number, section(&[(OpKind::Delete, &key(number / 2), b"")])),
                _ => (number, section(&[(OpKind::Put, &key(number / 2), &number.to_le_bytes())])),
            })
            .collect();
        let commits: Vec<LoggedOps<'_>> = batches
            .iter()
            .flat_map(|(number, batch)| batch.view().sections().map(|ops| (ts(*number), ops)).collect::<Vec<_>>())
            .collect();
        for (mem, pieces) in [(&one_by_one, 1), (&at_once, commits.len())] {
            for piece in commits.chunks(pieces) {
                mem.begin_apply();
                mem.apply(piece, host.budget().reserve_anyway(0), &host);
            }
        }
        for at in [0, 1 + round * 50, u64::MAX] {
            let content = |mem: &Memtable| {
                let piece = piece_of(mem, KeyBounds::ALL, false, at, 10_000);
                (0..piece.len())
                    .map(|index| (piece.key(index).to_vec(), piece.version(index), piece.newer(index)))
                    .collect::<Vec<_>>()
            };
            assert_eq!(content(&one_by_one), content(&at_once), "as of {at}");
            assert_eq!(one_by_one.get(&key(50), ts(at)).tomb, at_once.get(&key(50), ts(at)).tomb);
        }
        assert_eq!(one_by_one.bytes(), at_once.bytes(), "T5");
    }
}

#[test]
fn the_reservation_is_what_the_content_takes_and_is_given_back() {
    let (mem, host) = (Memtable::new(), TestHost::new(1 << 20));
    apply(&mem, &host, 1, &[(OpKind::DeleteRange, b"a", b"z"), (OpKind::Put, b"k", &[7; 100])]);
    apply(&mem, &host, 2, &[(OpKind::Put, &[b'l'; 60], &[7; 10])]);
    for number in 3..30 {
        apply(&mem, &host, number, &[(OpKind::Put, b"k", &[7; 50])]);
    }
    assert_eq!(host.budget().used(), mem.bytes(), "T5");
    drop(mem);
    assert_eq!(host.budget().used(), 0);
}

/// T5, in every order of keys: what is counted covers what the arena has handed out, and little more than that is there.
#[test]
fn what_is_counted_is_what_the_arena_holds() {
    let orders: [fn(u32) -> u32; 3] =
        [|number| number, |number| u32::MAX - number, |number| number.wrapping_mul(0x9e37_79b1)];
    for order in orders {
        for value_bytes in [0, 100] {
            let (mem, host) = (Memtable::new(), TestHost::new(1 << 30));
            for number in 0..20_000u32 {
                let key = order(number).to_be_bytes();
                let before = mem.bytes();
                apply(&mem, &host, 1 + u64::from(number), &[(OpKind::Put, &key, &[7; 100][..value_bytes])]);
                let grown = mem.bytes() - before;
                assert!(
                    grown <= (key.len() + value_bytes) as u64 + OP_OVERHEAD_BYTES,
                    "an operation is counted with {grown}"
                );
            }
            let (counted, held) = (mem.bytes(), mem.bytes_there());
            assert!(held <= counted + counted / 7 + 4096, "{held} bytes are held, {counted} counted");
            assert!(counted <= held + held * 2 / 5, "{counted} bytes are counted, {held} held");
        }
    }
}

fn piece_of(mem: &Memtable, bounds: KeyBounds<'_>, backward: bool, at: u64, keys_max: usize) -> MemPiece {
    let mut piece = MemPiece::default();
    // Room that earlier items filled is used again.
    mem.copy_piece(bounds, !backward, ts(at), 3, &mut piece);
    let may_be_more = mem.copy_piece(bounds, backward, ts(at), keys_max, &mut piece);
    assert!(piece.len() <= keys_max && (may_be_more || piece.len() < keys_max));
    piece
}

/// When it was written, and the value unless it is a tombstone.
type PlainVersion = (u64, Option<Vec<u8>>);

proptest! {
    #[test]
    fn it_answers_like_a_map_of_all_versions(
        puts in proptest::collection::vec((keys(), 0u8..3), 1..400),
        asked in proptest::collection::vec((keys(), keys(), 0u64..420, 0u8..9, 1usize..60), 1..20),
    ) {
        let (mem, host) = (Memtable::new(), TestHost::new(1 << 30));
        let mut oracle: BTreeMap<Vec<u8>, Vec<PlainVersion>> = BTreeMap::new();
        for (number, (key, kind)) in puts.iter().enumerate() {
            let at = number as u64 + 1;
            let value = (*kind > 0).then(|| vec![at as u8; usize::from(*kind) * 13]);
            let kind = if value.is_some() { OpKind::Put } else { OpKind::Delete };
            apply(&mem, &host, at, &[(kind, key, value.as_deref().unwrap_or_default())]);
            oracle.entry(key.clone()).or_default().push((at, value));
        }
        let version_at = |versions: &[PlainVersion], at: u64| versions.iter().rev().find(|v| v.0 <= at).cloned();
        let plain = |version: Option<KeyVersion>| version.map(|v| (v.ts.get(), v.value.map(|v| v.to_vec())));
        for (key, other, at, bounds, max) in asked {
            let found = mem.get(&key, ts(at));
            let versions = oracle.get(&key).map_or(&[][..], |versions| versions);
            prop_assert_eq!(plain(found.version), version_at(versions, at));
            prop_assert_eq!(found.newer, versions.last().is_some_and(|v| v.0 > at));
            prop_assert_eq!(mem.newest(&key).get(), versions.last().map_or(0, |v| v.0));
            let bound = |kind: u8, key| match kind { 0 => Bound::Included(key), 1 => Bound::Excluded(key), _ => Bound::Unbounded };
            let (lower, upper) = (bound(bounds % 3, &key[..]), bound(bounds / 3, &other[..]));
            let within = KeyBounds { lower, upper };
            for backward in [false, true] {
                let piece = piece_of(&mem, within, backward, at, max);
                let got: Vec<_> =
                    (0..piece.len()).map(|index| (piece.key(index).to_vec(), plain(piece.version(index)))).collect();
                let all = oracle.iter().filter(|(key, _)| within.contains(key));
                let mut want: Vec<_> = all.map(|(key, versions)| (key.clone(), version_at(versions, at))).collect();
                if backward { want.reverse(); }
                want.truncate(max);
                prop_assert_eq!(got, want);
            }
        }
    }
}

/// Keys that share their beginnings, some longer than what nodes hold of them, some that differ only in zeros at the end.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let tail = proptest::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..5);
    (0usize..4, tail).prop_map(|(kind, tail)| {
        let mut key = [&b""[..], b"prefix", b"sixteen bytes it", b"a beginning of more than sixteen"][kind].to_vec();
        key.extend(tail);
        key
    })
}

#[test]
fn keys_that_came_in_order_are_all_found_both_ways() {
    let orders: [fn(u32) -> u32; 3] = [|number| number, |number| 9_999 - number, |number| number * 7_919 % 10_000];
    for order in orders {
        let (mem, host) = (Memtable::new(), TestHost::new(1 << 30));
        for number in 0..10_000 {
            apply(&mem, &host, 1, &[(OpKind::Put, format!("key-{:08}", order(number)).as_bytes(), b"v")]);
        }
        for backward in [false, true] {
            let piece = piece_of(&mem, KeyBounds::ALL, backward, 1, 20_000);
            let place = |number: usize| if backward { 9_999 - number } else { number };
            assert_eq!(piece.len(), 10_000);
            assert!((0..10_000).all(|number| *piece.key(number) == *format!("key-{:08}", place(number)).as_bytes()));
        }
    }
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
        let piece = piece_of(&mem, KeyBounds { lower, upper }, backward, 1, max);
        (0..piece.len()).map(|index| piece.key(index)[0]).collect::<Vec<u8>>()
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
