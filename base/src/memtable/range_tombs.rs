//! Range tombstones as a step function over the keys: between two neighbouring boundaries the same list of timestamps holds.
//!
//! Not a file format (each backend has its own) and not shared: who shares it counts it and copies on write.
//!
//! G1  Boundaries ascend; the list of a boundary holds from it up to the next boundary, the last one's without end.
//! G2  Each list is strictly descending.
//! G3  Neighbouring lists differ, and the first is not empty: so equal content has equal form.
//! G4  A tombstone at t hides versions with ts < t, wherever they lie; so lists from several sources may be united.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{Pruner, Timestamp};

use crate::memtable::key::Key;

/// A set of range tombstones.
///
/// ```
/// use duramen_base::memtable::{Fragment, RangeTombs};
/// use duramen_base::{Pruner, SnapSet, Timestamp};
/// use std::ops::Bound;
///
/// let ts = Timestamp::new;
/// let mut tombs = RangeTombs::default();
/// assert!(tombs.is_empty());
/// tombs.insert(b"a", b"f", ts(4), None);
/// tombs.insert_all(b"d", b"", &[ts(7)], None);
/// assert_eq!(tombs.covering(b"e"), [ts(7), ts(4)]);
/// assert_eq!(tombs.at(b"e", ts(5)), (ts(4), true));
/// assert!(!tombs.any_newer_in(Bound::Unbounded, Bound::Excluded(b"d"), ts(5)));
///
/// let snaps = SnapSet::new(ts(9), vec![]);
/// let pruned = tombs.pruned(&Pruner::new(&snaps), |_, _| false);
/// let last: Fragment = pruned.fragments().last().expect("there are two");
/// assert_eq!((last.low, last.high, last.tss), (&b"d"[..], &b""[..], &[ts(7)][..]));
/// let mut all = RangeTombs::default();
/// all.unite(&tombs);
/// assert!(all == tombs && all.memory_bytes() > 0);
/// assert!(all.hide(b"d", b"z", ts(6), ts(9)) && !all.hide(b"d", b"z", ts(7), ts(9)));
/// let behind = all.split_off(b"e");
/// assert_eq!((all.covering(b"e"), behind.covering(b"d"), behind.covering(b"e")), (&[][..], &[][..], &[ts(7), ts(4)][..]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeTombs {
    steps: BTreeMap<Key, Vec<Timestamp>>,
    max_ts: Timestamp,
    bytes: u64,
}

/// One step: the keys from `low` up to, without, `high` (empty: no end), and the tombstones there, newest first. See [`RangeTombs`]
/// for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// First key.
    pub low: &'a [u8],
    /// End, excluded; empty: none.
    pub high: &'a [u8],
    /// Newest first.
    pub tss: &'a [Timestamp],
}

impl RangeTombs {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Memory it takes, about.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the tombstone `[low, high)` (empty `high`: no end) at `ts`. An empty range adds nothing.
    pub fn insert(&mut self, low: &[u8], high: &[u8], ts: Timestamp, pruner: Option<&Pruner<'_>>) {
        self.insert_all(low, high, &[ts], pruner);
    }

    /// Adds everything in `other`.
    pub fn unite(&mut self, other: &RangeTombs) {
        for fragment in other.fragments() {
            self.insert_all(fragment.low, fragment.high, fragment.tss, None);
        }
    }

    /// Adds tombstones of one range, given in any order.
    pub fn insert_all(&mut self, low: &[u8], high: &[u8], tss: &[Timestamp], pruner: Option<&Pruner<'_>>) {
        if tss.is_empty() || (!high.is_empty() && low >= high) {
            return;
        }
        self.cut_at(low);
        if !high.is_empty() {
            self.cut_at(high);
        }
        for (_, list) in self.steps.range_mut::<[u8], _>((Bound::Included(low), upper(high))) {
            let before = list.len();
            list.extend_from_slice(tss);
            list.sort_unstable_by(|a, b| b.cmp(a));
            list.dedup();
            if let Some(pruner) = pruner {
                prune_list(list, pruner);
            }
            self.bytes = (self.bytes + 8 * list.len() as u64).saturating_sub(8 * before as u64);
        }
        self.max_ts = tss.iter().copied().fold(self.max_ts, Timestamp::max);
        self.join_equal(low, high);
    }

    /// Tombstones that cover `key`, newest first.
    pub fn covering(&self, key: &[u8]) -> &[Timestamp] {
        if self.steps.is_empty() {
            return &[];
        }
        self.steps.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back().map_or(&[], |(_, list)| list)
    }

    /// The newest tombstone with `ts <= at` that covers `key`, `ZERO` if there is none, and whether a newer one covers it.
    pub fn at(&self, key: &[u8], at: Timestamp) -> (Timestamp, bool) {
        let list = self.covering(key);
        let newer = list.first().is_some_and(|&ts| ts > at);
        (list.iter().copied().find(|&ts| ts <= at).unwrap_or(Timestamp::ZERO), newer)
    }

    /// Whether a tombstone newer than `at` covers any key between the bounds.
    pub fn any_newer_in(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, at: Timestamp) -> bool {
        if self.max_ts <= at || is_inverted(lower, upper) {
            return false;
        }
        let start: &[u8] = match lower {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => b"",
        };
        let newer = |list: &[Timestamp]| list.first().is_some_and(|&ts| ts > at);
        // With an excluded lower end the step that holds there still reaches beyond it, or ends at its successor.
        let reaches = match lower {
            Bound::Excluded(key) => newer(self.covering(&crate::memtable::key::successor(key))),
            Bound::Included(_) | Bound::Unbounded => newer(self.covering(start)),
        };
        reaches || self.steps.range::<[u8], _>((lower, upper)).any(|(_, list)| newer(list))
    }

    /// The steps that have tombstones, ascending.
    pub fn fragments(&self) -> impl Iterator<Item = Fragment<'_>> {
        let ends = self.steps.keys().skip(1).map(|key| &**key).chain(std::iter::once(&b""[..]));
        self.steps.iter().zip(ends).filter(|((_, list), _)| !list.is_empty()).map(|((low, tss), high)| Fragment {
            low,
            high,
            tss,
        })
    }

    /// What a merge writes: without those that newer ones make unreadable, and without those that `goes` says of.
    pub fn pruned(&self, pruner: &Pruner<'_>, goes: impl Fn(&Fragment<'_>, Timestamp) -> bool) -> RangeTombs {
        let mut kept = RangeTombs::default();
        for fragment in self.fragments() {
            let mut list = fragment.tss.to_vec();
            prune_list(&mut list, pruner);
            list.retain(|&ts| !goes(&fragment, ts));
            kept.insert_all(fragment.low, fragment.high, &list, None);
        }
        kept
    }

    /// Takes out what covers keys from `key` on.
    #[must_use]
    pub fn split_off(&mut self, key: &[u8]) -> RangeTombs {
        if self.is_empty() {
            return RangeTombs::default();
        }
        let (mut before, mut behind) = (RangeTombs::default(), RangeTombs::default());
        for fragment in self.fragments() {
            let ends_before = !fragment.high.is_empty() && fragment.high <= key;
            let end = if ends_before { fragment.high } else { key };
            before.insert_all(fragment.low, end, fragment.tss, None);
            if !ends_before {
                behind.insert_all(fragment.low.max(key), fragment.high, fragment.tss, None);
            }
        }
        *self = before;
        behind
    }

    /// Whether tombstones with `newest < ts <= through` cover every key from `first` to `last`: versions up to `newest` there are read by nobody
    /// who reads at `through` or later.
    pub fn hide(&self, first: &[u8], last: &[u8], newest: Timestamp, through: Timestamp) -> bool {
        if self.max_ts <= newest || self.steps.is_empty() {
            return false;
        }
        let hides = |list: &[Timestamp]| list.iter().any(|&ts| newest < ts && ts <= through);
        let inside = (Bound::Excluded(first), Bound::Included(last));
        hides(self.covering(first))
            && (first >= last || self.steps.range::<[u8], _>(inside).all(|(_, list)| hides(list)))
    }

    fn cut_at(&mut self, key: &[u8]) {
        if !self.steps.contains_key(key) {
            let list = self.covering(key).to_vec();
            let key = Key::from(key);
            self.bytes += key.memory_bytes() + 48 + 8 * list.len() as u64;
            self.steps.insert(key, list);
        }
    }

    /// G3 for the boundaries from `low` to `high`.
    fn join_equal(&mut self, low: &[u8], high: &[u8]) {
        let mut last: &[Timestamp] = &[];
        if let Some((_, list)) = self.steps.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(low))).next_back() {
            last = list;
        }
        let end = if high.is_empty() { Bound::Unbounded } else { Bound::Included(high) };
        let mut same = Vec::new();
        for (key, list) in self.steps.range::<[u8], _>((Bound::Included(low), end)) {
            if list[..] == *last {
                same.push(key.clone());
            }
            last = list;
        }
        for key in same {
            if let Some(list) = self.steps.remove(&key) {
                self.bytes = self.bytes.saturating_sub(key.memory_bytes() + 48 + 8 * list.len() as u64);
            }
        }
    }
}

fn upper(high: &[u8]) -> Bound<&[u8]> {
    if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) }
}

/// Whether the bounds are such that a `BTreeMap` refuses them, or hold no key.
fn is_inverted(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    crate::KeyBounds { lower, upper }.is_empty()
}

/// A tombstone of a fragment that has a newer one is a version like any other (P1).
fn prune_list(list: &mut Vec<Timestamp>, pruner: &Pruner<'_>) {
    let mut successor = None;
    list.retain(|&ts| {
        let may_go = successor.is_some_and(|newer| pruner.may_drop_version(ts, newer));
        successor = Some(ts);
        !may_go
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SnapSet;
    use proptest::prelude::*;

    fn ts(number: u64) -> Timestamp {
        Timestamp::new(number)
    }

    #[test]
    fn overlapping_ranges_are_cut_into_steps() {
        let mut tombs = RangeTombs::default();
        tombs.insert(b"b", b"f", ts(5), None);
        tombs.insert(b"d", b"", ts(7), None);
        let steps: Vec<_> = tombs.fragments().map(|f| (f.low.to_vec(), f.high.to_vec(), f.tss.to_vec())).collect();
        assert_eq!(
            steps,
            [
                (b"b".to_vec(), b"d".to_vec(), vec![ts(5)]),
                (b"d".to_vec(), b"f".to_vec(), vec![ts(7), ts(5)]),
                (b"f".to_vec(), b"".to_vec(), vec![ts(7)]),
            ]
        );
        assert_eq!(tombs.at(b"e", ts(6)), (ts(5), true));
        assert_eq!(tombs.at(b"a", ts(9)), (ts(0), false));
    }

    #[test]
    fn an_empty_range_adds_nothing() {
        let mut tombs = RangeTombs::default();
        tombs.insert(b"b", b"b", ts(5), None);
        tombs.insert(b"c", b"b", ts(5), None);
        assert!(tombs.is_empty());
    }

    #[test]
    fn a_list_keeps_what_a_snapshot_reads() {
        let snaps = SnapSet::new(ts(100), vec![ts(5)]);
        let mut tombs = RangeTombs::default();
        for number in [2, 4, 6, 8] {
            tombs.insert(b"a", b"b", ts(number), Some(&Pruner::new(&snaps)));
        }
        assert_eq!(tombs.covering(b"a"), [ts(8), ts(4)]);
    }

    proptest! {
        #[test]
        fn steps_answer_like_a_list_of_ranges(
            ranges in proptest::collection::vec((0u8..8, 0u8..9, 1u64..20), 0..12),
            asked in (0u8..9, 0u64..21),
            walk in (0u8..9, 0u8..9, any::<bool>(), any::<bool>()),
        ) {
            let mut tombs = RangeTombs::default();
            // 8 stands for no end.
            let high_of = |high: u8| if high == 8 { vec![] } else { vec![high] };
            for &(low, high, number) in &ranges {
                tombs.insert(&[low], &high_of(high), ts(number), None);
            }
            let covers = |low: u8, high: u8, key: u8| key >= low && (high == 8 || key < high);
            let (key, at) = asked;
            let naive = ranges.iter().filter(|r| covers(r.0, r.1, key)).map(|r| r.2);
            let want = naive.clone().filter(|&t| t <= at).max().unwrap_or(0);
            prop_assert_eq!(tombs.at(&[key], ts(at)), (ts(want), naive.max().unwrap_or(0) > at));

            let (from, to, from_out, to_out) = walk;
            let lower = if from_out { Bound::Excluded([from]) } else { Bound::Included([from]) };
            let upper = if to_out { Bound::Excluded([to]) } else { Bound::Included([to]) };
            let bounds = crate::KeyBounds {
                lower: match &lower { Bound::Excluded(k) => Bound::Excluded(&k[..]), Bound::Included(k) => Bound::Included(&k[..]), Bound::Unbounded => Bound::Unbounded },
                upper: match &upper { Bound::Excluded(k) => Bound::Excluded(&k[..]), Bound::Included(k) => Bound::Included(&k[..]), Bound::Unbounded => Bound::Unbounded },
            };
            // Every key between the bounds: one byte, or one byte and a zero byte.
            let naive = (0..9u8).flat_map(|k| [vec![k], vec![k, 0]]).filter(|k| bounds.contains(k)).any(|k| {
                ranges.iter().any(|r| covers(r.0, r.1, k[0]) && r.2 > at)
            });
            prop_assert_eq!(tombs.any_newer_in(bounds.lower, bounds.upper, ts(at)), naive);

            let mut copy = RangeTombs::default();
            copy.unite(&tombs);
            prop_assert_eq!(copy.fragments().collect::<Vec<_>>(), tombs.fragments().collect::<Vec<_>>());
        }
    }
}
