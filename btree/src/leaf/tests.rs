//! Rebuilding leaves: merging, pruning, cutting, spilling.

use std::collections::BTreeMap;

use duramen_base::Budget;
use proptest::prelude::*;

use super::*;

const KEYSPACE: KeyspaceId = KeyspaceId::new(7);

fn ts(n: u64) -> Timestamp {
    Timestamp::new(n)
}

fn spec() -> ImageSpec<'static> {
    leaf_spec(3, KEYSPACE, 0, &[], &[])
}

/// A leaf and its spill.
struct Leaf {
    image: Image,
    spill: Option<Spill>,
}

impl Leaf {
    fn new() -> Leaf {
        Leaf { image: ImageBuilder::new(&spec()).finish(), spill: None }
    }

    fn as_ref(&self) -> LeafRef<'_> {
        LeafRef { image: &self.image, spill: self.spill.as_ref() }
    }

    fn apply(
        &mut self,
        points: &[Point<'_>],
        at: Timestamp,
        snaps: &SnapSet,
        budget: &duramen_base::sync::Arc<Budget>,
    ) {
        let points: Vec<Point<'_>> = points.iter().map(|point| Point { ts: at, ..*point }).collect();
        let points = points.as_slice();
        let tombs = RangeTombs::default();
        let rules = Rules::new(snaps, &tombs);
        let content = Content::merge(self.as_ref(), points, &rules);
        let new = content.build(0..content.group_count(), &spec(), Some(budget.reserve_anyway(0)));
        let patched = self.as_ref().patched(points, &rules, IMAGE_BYTES_MAX);
        let keeps_all = self.spill.is_none() && points.len() <= 1 + self.image.count() / 2;
        assert!(patched.is_some() == keeps_all || new.spill.is_some(), "few points are patched in");
        *self = match patched {
            // As the upkeep would: now and then a leaf is rebuilt.
            Some(image) if !at.get().is_multiple_of(5) => {
                check_patch(&image, &new.image, snaps.oldest());
                Leaf { image, spill: None }
            }
            _ => Leaf { image: new.image, spill: new.spill },
        };
    }

    fn value(&self, key: &[u8], at: Timestamp) -> Option<Vec<u8>> {
        match self.as_ref().find(key, at).0 {
            Seen::Nothing | Seen::Deleted(_) => None,
            Seen::InImage(range, _) => Some(self.image.bytes()[range].to_vec()),
            Seen::Spilled(value, _) => Some(value.to_vec()),
            Seen::Large(..) => unreachable!("these leaves have none"),
        }
    }
}

/// A patch has the history of a rebuild and its main records, but for the timestamps that nobody needs.
fn check_patch(patched: &Image, rebuilt: &Image, oldest: Timestamp) {
    assert_eq!((patched.count(), patched.hist_count()), (rebuilt.count(), rebuilt.hist_count()));
    for index in 0..patched.count() {
        let (patched, rebuilt) = (patched.record(index), rebuilt.record(index));
        assert_eq!((patched.suffix, patched.body), (rebuilt.suffix, rebuilt.body));
        assert!(patched.ts == rebuilt.ts || (rebuilt.ts == Timestamp::ZERO && patched.ts <= oldest));
    }
    for index in 0..patched.hist_count() {
        assert_eq!(patched.hist_record(index), rebuilt.hist_record(index));
    }
}

/// One batch: key, and the length of its value or a delete.
fn batches(keys: u8, value_bytes: usize) -> impl Strategy<Value = Vec<BTreeMap<u8, Option<usize>>>> {
    prop::collection::vec(
        prop::collection::btree_map(0..keys, prop::option::weighted(0.7, 0..value_bytes), 1..5),
        1..25,
    )
}

fn check_batches(batches: &[BTreeMap<u8, Option<usize>>], active: Vec<u64>) {
    let budget = Budget::new(1 << 30);
    let mut leaf = Leaf::new();
    let mut oracle: BTreeMap<(u8, std::cmp::Reverse<u64>), Option<Vec<u8>>> = BTreeMap::new();
    for (batch, at) in batches.iter().zip(1..) {
        let bodies: Vec<(u8, Option<Vec<u8>>)> =
            batch.iter().map(|(&key, len)| (key, len.map(|len| vec![at as u8; len]))).collect();
        let points: Vec<Point<'_>> = bodies
            .iter()
            .map(|(key, value)| Point {
                key: std::slice::from_ref(key),
                ts: ts(at),
                body: value.as_deref().map_or(Body::Tombstone, Body::Value),
            })
            .collect();
        // Visible is one behind; those that read are below it or at it.
        let readers: Vec<u64> = active.iter().copied().filter(|&s| s < at).collect();
        let snaps = SnapSet::new(ts(at - 1), readers.iter().copied().map(Timestamp::new).collect());
        leaf.apply(&points, ts(at), &snaps, &budget);
        bodies.into_iter().for_each(|(key, value)| drop(oracle.insert((key, std::cmp::Reverse(at)), value)));

        for reader in readers.into_iter().chain([at - 1, at]) {
            for key in 0..12u8 {
                let expected = oracle.range((key, std::cmp::Reverse(reader))..).next();
                let expected = expected.filter(|((found, _), _)| *found == key).and_then(|(_, value)| value.clone());
                assert_eq!(leaf.value(&[key], ts(reader)), expected, "key {key} at {reader} after {at}");
            }
        }
    }
    drop(leaf);
    assert_eq!(budget.used(), 0);
}

proptest! {
    #[test]
    fn every_reader_sees_its_versions(batches in batches(12, 40), active in prop::collection::vec(0..25u64, 0..6)) {
        check_batches(&batches, active);
    }

    #[test]
    fn runs_cover_all_and_fit(sizes in prop::collection::vec(1..3000usize, 1..300), appended in any::<bool>()) {
        let runs = cut_by_size(&sizes, 4000, appended);
        prop_assert_eq!(runs.iter().cloned().flatten().collect::<Vec<_>>(), (0..sizes.len()).collect::<Vec<_>>());
        for run in &runs {
            prop_assert!(run.len() == 1 || sizes[run.clone()].iter().sum::<usize>() <= 4000);
        }
        if sizes.iter().sum::<usize>() > 4000 && sizes.len() > 1 {
            prop_assert!(runs.len() > 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn history_that_does_not_fit_is_still_read(batches in batches(1, 60_000)) {
        check_batches(&batches, (0..25).collect());
    }
}

#[test]
fn redo_drops_what_is_not_newer() {
    let budget = Budget::new(1 << 20);
    let mut leaf = Leaf::new();
    let snaps = SnapSet::new(ts(0), vec![]);
    let put = |value| [Point { key: b"k", ts: ts(1), body: Body::Value(value) }];
    leaf.apply(&put(b"new"), ts(5), &snaps, &budget);
    leaf.apply(&put(b"old"), ts(4), &snaps, &budget);
    leaf.apply(&put(b"again"), ts(5), &snaps, &budget);
    assert_eq!((leaf.image.count(), leaf.image.hist_count()), (1, 0), "F2");
    assert_eq!(leaf.value(b"k", ts(9)), Some(b"new".to_vec()));
    leaf.apply(&[Point { key: b"k", ts: ts(1), body: Body::Tombstone }], ts(7), &snaps, &budget);
    leaf.apply(&put(b"older"), ts(6), &snaps, &budget);
    assert_eq!(leaf.value(b"k", ts(9)), None, "F2: a tombstone in the history is newer");
}

#[test]
fn all_versions_of_a_key_come_at_once() {
    let leaf = Leaf::new();
    let snaps = SnapSet::new(ts(9), vec![ts(4)]);
    let tombs = RangeTombs::default();
    let rules = Rules::new(&snaps, &tombs);
    let point = |at, value| Point { key: b"k", ts: ts(at), body: Body::Value(value) };
    let points = [point(8, b"eight"), point(6, b"six"), point(3, b"three"), point(2, b"two")];
    assert!(leaf.as_ref().patched(&points, &rules, IMAGE_BYTES_MAX).is_none());
    let new = Content::merge(leaf.as_ref(), &points, &rules).build(0..1, &spec(), None);
    let leaf = Leaf { image: new.image, spill: None };
    assert_eq!((leaf.image.count(), leaf.image.hist_count()), (1, 1), "the snapshot at 4 keeps one");
    assert_eq!(leaf.value(b"k", ts(4)), Some(b"three".to_vec()));
    assert_eq!(leaf.value(b"k", ts(9)), Some(b"eight".to_vec()));
}

#[test]
fn what_nobody_reads_goes_and_the_rest_freezes() {
    let budget = Budget::new(1 << 20);
    let mut leaf = Leaf::new();
    let point = |key: &'static [u8], body| [Point { key, ts: ts(1), body }];
    leaf.apply(&point(b"a", Body::Value(b"1")), ts(1), &SnapSet::new(ts(0), vec![]), &budget);
    leaf.apply(&point(b"a", Body::Value(b"2")), ts(2), &SnapSet::new(ts(1), vec![]), &budget);
    leaf.apply(&point(b"b", Body::Tombstone), ts(3), &SnapSet::new(ts(2), vec![]), &budget);
    assert_eq!((leaf.image.count(), leaf.image.hist_count()), (1, 1));
    leaf.apply(&[], ts(5), &SnapSet::new(ts(4), vec![]), &budget);
    assert_eq!((leaf.image.count(), leaf.image.hist_count(), leaf.image.max_ts()), (1, 0, Timestamp::ZERO));
}

#[test]
fn without_memory_for_history_old_readers_are_refused() {
    let leaf = Leaf::new();
    let value = vec![b'v'; 60_000];
    let snaps = SnapSet::new(ts(0), vec![]);
    let tombs = RangeTombs::default();
    let rules = Rules::new(&snaps, &tombs);
    let mut image = leaf.image;
    let mut too_old_below = Timestamp::ZERO;
    for at in 1..8 {
        let points = [Point { key: b"k", ts: ts(at), body: Body::Value(&value) }];
        let content = Content::merge(LeafRef { image: &image, spill: None }, &points, &rules);
        let new = content.build(0..1, &spec(), None);
        assert!(new.spill.is_none());
        too_old_below = too_old_below.max(new.too_old_below);
        image = new.image;
    }
    // Four of seven versions fit; a reader of the third would be served by none.
    assert_eq!(too_old_below, ts(4));
    assert!(
        matches!(LeafRef { image: &image, spill: None }.find(b"k", ts(4)).0, Seen::InImage(_, found) if found == ts(4))
    );
}

#[test]
fn separators_are_short() {
    let leaf = Leaf::new();
    let snaps = SnapSet::new(ts(0), vec![]);
    let tombs = RangeTombs::default();
    let points =
        [b"heartwood".as_slice(), b"heath and more"].map(|key| Point { key, ts: ts(1), body: Body::Value(b"") });
    let content = Content::merge(leaf.as_ref(), &points, &Rules::new(&snaps, &tombs));
    assert_eq!(content.separator(1), b"heat");
}
