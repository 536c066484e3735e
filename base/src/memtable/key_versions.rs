//! Which versions of one key a flush or merge writes: the rule of `pruner.rs` on the versions of a key and the range tombstones over it.
//!
//! The bytes of a key's versions are gathered in one reused buffer, so a merge allocates per block and not per key.
//!
//! X1  Items are strictly descending by ts; a ts that comes from two sources (applied again after a crash) is one version.
//! X2  The successor of a version is the next newer event over its key: a version, or a range tombstone with a larger ts.
//! X3  A tombstone goes if it is the oldest version, everybody reads at it or later, and no older run may hold the key (P2).
//! X4  What is no longer named of the values in value files is told (`take_dropped`): nobody else sees it go.
//! X5  A version loses its ts only where it is the only one left, and a value: older ones would no longer come after it.

use std::cmp::Reverse;
use std::ops::Range;

use crate::image::Body;
use crate::values::LargeRef;
use crate::{Pruner, Result, Timestamp};

/// One key with all its versions, newest first.
///
/// ```
/// use duramen_base::image::Body;
/// use duramen_base::memtable::KeyVersions;
/// use duramen_base::{Pruner, SnapSet, Timestamp};
///
/// let ts = Timestamp::new;
/// let mut versions = KeyVersions::default();
/// versions.reset(b"oak");
/// versions.add(ts(3), Body::Value(b"soft"));
/// versions.add(ts(5), Body::Value(b"hard"));
/// versions.sort();
/// assert_eq!(versions.content_bytes(), 11);
/// versions.prune(&[], &Pruner::new(&SnapSet::new(ts(9), vec![])), false);
/// assert!(!versions.is_empty());
/// assert_eq!(versions.iter().collect::<Vec<_>>(), [(ts(5), Body::Value(&b"hard"[..]))]);
/// versions.freeze(|at| at <= ts(9));
/// assert_eq!(versions.iter().collect::<Vec<_>>(), [(Timestamp::ZERO, Body::Value(&b"hard"[..]))]);
/// ```
#[derive(Debug, Default)]
pub struct KeyVersions {
    /// The key.
    pub key: Vec<u8>,
    bytes: Vec<u8>,
    items: Vec<Item>,
    dropped: Vec<LargeRef>,
}

#[derive(Clone, Debug)]
struct Item {
    ts: Timestamp,
    body: Kept,
}

#[derive(Clone, Debug)]
enum Kept {
    /// Where the value lies in `bytes`.
    Value(Range<usize>),
    Tombstone,
    Large(LargeRef),
}

impl KeyVersions {
    /// Begins another key.
    pub fn reset(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.bytes.clear();
        self.items.clear();
    }

    /// Adds a version, in any order.
    pub fn add(&mut self, ts: Timestamp, body: Body<'_>) {
        let body = match body {
            Body::Value(value) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(value);
                Kept::Value(start..self.bytes.len())
            }
            Body::Tombstone => Kept::Tombstone,
            Body::Large(large) => Kept::Large(large),
        };
        self.items.push(Item { ts, body });
    }

    /// X1, after the last `add`.
    pub fn sort(&mut self) {
        let dropped = &mut self.dropped;
        self.items.sort_by_key(|item| Reverse(item.ts));
        self.items.dedup_by(|a, b| {
            let is_same = a.ts == b.ts;
            if let (true, Kept::Large(large)) = (is_same, &a.body) {
                dropped.push(*large);
            }
            is_same
        });
    }

    /// Each value of more than `bytes_max` goes to `put`, and what that gives stands in its place.
    ///
    /// # Errors
    /// Those of `put`; the values before are replaced then.
    pub fn separate(&mut self, bytes_max: usize, mut put: impl FnMut(&[u8]) -> Result<LargeRef>) -> Result<()> {
        for item in &mut self.items {
            if let Kept::Value(range) = &item.body
                && range.len() > bytes_max
            {
                item.body = Kept::Large(put(&self.bytes[range.clone()])?);
            }
        }
        Ok(())
    }

    /// The references among what [`KeyVersions::sort`] and [`KeyVersions::prune`] left out, of this key and those before it.
    pub fn take_dropped(&mut self) -> impl Iterator<Item = LargeRef> + '_ {
        self.dropped.drain(..)
    }

    /// The versions, newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Timestamp, Body<'_>)> {
        self.items.iter().map(|item| {
            let body = match &item.body {
                Kept::Value(range) => Body::Value(&self.bytes[range.clone()]),
                Kept::Tombstone => Body::Tombstone,
                Kept::Large(large) => Body::Large(*large),
            };
            (item.ts, body)
        })
    }

    /// Whether no version is left.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of key and values.
    pub fn content_bytes(&self) -> u64 {
        (self.key.len() + self.bytes.len()) as u64
    }

    /// Drops what nobody can read. `tombs`: range tombstones over this key, newest first, which are in the store's tables or come into
    /// the same one. `is_bottom`: no older run may hold the key.
    pub fn prune(&mut self, tombs: &[Timestamp], pruner: &Pruner<'_>, is_bottom: bool) {
        let mut newer: Option<Timestamp> = None;
        let dropped = &mut self.dropped;
        self.items.retain(|item| {
            debug_assert!(newer.is_none_or(|newer| newer > item.ts), "X1: versions descend");
            let tomb = tombs.iter().copied().take_while(|&tomb| tomb > item.ts).last();
            let successor = match (newer, tomb) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            newer = Some(item.ts);
            let stays = successor.is_none_or(|successor| !pruner.may_drop_version(item.ts, successor));
            if let (false, Kept::Large(large)) = (stays, &item.body) {
                dropped.push(*large);
            }
            stays
        });
        // X3: whoever reads before the next newer event finds nothing, with or without it.
        let is_needless =
            |item: &Item| matches!(item.body, Kept::Tombstone) && pruner.may_drop_tombstone(item.ts, false);
        if is_bottom && self.items.last().is_some_and(is_needless) {
            self.items.pop();
        }
    }

    /// X5: takes the ts of the only version, if that is a value and `may_freeze` allows it (P3).
    pub fn freeze(&mut self, may_freeze: impl FnOnce(Timestamp) -> bool) {
        if let [only] = &mut self.items[..]
            && !matches!(only.body, Kept::Tombstone)
            && may_freeze(only.ts)
        {
            only.ts = Timestamp::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SnapSet;

    fn ts(number: u64) -> Timestamp {
        Timestamp::new(number)
    }

    /// Versions are numbers, negative for tombstones; gives those kept.
    fn check(versions: &[i64], tombs: &[u64], snaps: (u64, &[u64]), is_bottom: bool) -> Vec<i64> {
        let snaps = SnapSet::new(ts(snaps.0), snaps.1.iter().map(|&s| ts(s)).collect());
        let mut kv = KeyVersions::default();
        kv.reset(b"k");
        for &version in versions {
            let body = if version > 0 { Body::Value(b"v") } else { Body::Tombstone };
            kv.add(ts(version.unsigned_abs()), body);
        }
        kv.sort();
        let tombs: Vec<Timestamp> = tombs.iter().map(|&t| ts(t)).collect();
        kv.prune(&tombs, &Pruner::new(&snaps), is_bottom);
        kv.iter().map(|(ts, body)| if body == Body::Tombstone { -(ts.get() as i64) } else { ts.get() as i64 }).collect()
    }

    #[test]
    fn only_the_newest_is_kept_when_nobody_reads_the_past() {
        assert_eq!(check(&[3, 9, 5], &[], (10, &[]), false), [9]);
    }

    #[test]
    fn a_snapshot_keeps_one_version_more() {
        assert_eq!(check(&[3, 4, 5, 9], &[], (10, &[4]), false), [9, 4]);
    }

    #[test]
    fn a_version_under_a_range_tombstone_goes_and_one_of_the_same_commit_stays() {
        assert_eq!(check(&[3, 5], &[7], (10, &[]), false), [0i64; 0]);
        assert_eq!(check(&[3, 7], &[7], (10, &[]), false), [7]);
        assert_eq!(check(&[3, 5], &[7], (10, &[6]), false), [5]);
        assert_eq!(check(&[3, 5], &[7], (6, &[]), false), [5]);
    }

    #[test]
    fn a_tombstone_goes_only_at_the_bottom_and_when_nothing_older_is_read() {
        assert_eq!(check(&[3, -5], &[], (10, &[]), false), [-5]);
        assert_eq!(check(&[3, -5], &[], (10, &[]), true), [0i64; 0]);
        assert_eq!(check(&[3, -5], &[], (10, &[4]), true), [-5, 3]);
        assert_eq!(check(&[-5], &[], (4, &[]), true), [-5]);
        assert_eq!(check(&[-5], &[9], (10, &[7]), true), [0i64; 0]);
        assert_eq!(check(&[8, -5], &[], (10, &[6]), true), [8]);
        assert_eq!(check(&[8, -5], &[], (10, &[4, 6]), true), [8, -5]);
    }

    #[test]
    fn only_a_single_value_loses_its_timestamp() {
        let frozen = |versions: &[(u64, Body<'_>)]| {
            let mut kv = KeyVersions::default();
            kv.reset(b"k");
            versions.iter().for_each(|&(number, body)| kv.add(ts(number), body));
            kv.sort();
            kv.freeze(|_| true);
            kv.iter().map(|(ts, _)| ts.get()).collect::<Vec<_>>()
        };
        let (value, large) = (Body::Value(b"v"), LargeRef { id: 1, len: 2, crc: 3 });
        assert_eq!(frozen(&[(5, value)]), [0]);
        assert_eq!(frozen(&[(5, Body::Large(large))]), [0]);
        assert_eq!(frozen(&[(5, Body::Tombstone)]), [5], "X5");
        assert_eq!(frozen(&[(5, value), (3, value)]), [5, 3], "X5");
    }

    #[test]
    fn a_version_met_twice_is_one() {
        assert_eq!(check(&[3, 9, 9], &[], (1, &[]), false), [9, 3]);
    }
}
