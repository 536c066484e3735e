//! What the model stores: all versions of all keys, and the rule K1 by which they are read.
//!
//! No lock and no budget; those belong to `model.rs`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::batch::{Op, OpKind};
use crate::bounds::KeyBounds;
use crate::budget::Reservation;
use crate::ids::Timestamp;
use crate::pruner::Pruner;
use crate::value::Value;

/// All versions of one keyspace, and the memory held for them.
#[derive(Default)]
pub(super) struct Content {
    /// Newest version of a key first; `None`: deleted.
    versions: BTreeMap<(Vec<u8>, Reverse<Timestamp>), Option<Value>>,
    range_tombstones: Vec<RangeTombstone>,
    /// Given back when the model and its last cursor are gone.
    held: Option<Reservation>,
}

#[derive(Clone, PartialEq, Eq)]
struct RangeTombstone {
    low: Vec<u8>,
    /// Exclusive; empty: to the end.
    high: Vec<u8>,
    ts: Timestamp,
}

impl RangeTombstone {
    fn bounds(&self) -> KeyBounds<'_> {
        let upper = if self.high.is_empty() { Bound::Unbounded } else { Bound::Excluded(&*self.high) };
        KeyBounds { lower: Bound::Included(&self.low), upper }
    }
}

impl Content {
    /// Takes one operation of the commit `at` in (O1).
    pub(super) fn apply(&mut self, op: Op<'_>, at: Timestamp) {
        let key = op.key.to_vec();
        match op.kind {
            OpKind::Put => {
                self.versions.insert((key, Reverse(at)), Some(Value::from(op.value)));
            }
            OpKind::Delete => {
                self.versions.insert((key, Reverse(at)), None);
            }
            OpKind::DeleteRange => {
                let tombstone = RangeTombstone { low: key, high: op.value.to_vec(), ts: at };
                if !self.range_tombstones.contains(&tombstone) {
                    self.range_tombstones.push(tombstone);
                }
            }
        }
    }

    /// Holds the memory that was set aside for what was applied.
    pub(super) fn hold(&mut self, reservation: Reservation) {
        match &mut self.held {
            Some(held) => held.absorb(reservation),
            None => self.held = Some(reservation),
        }
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.as_ref().map_or(0, Reservation::bytes)
    }

    /// The newest change to `key` with `ts <= at` (K1): the value, or `None` for a deletion by key or by range.
    pub(super) fn newest_change(&self, key: &[u8], at: Timestamp) -> Option<(Timestamp, Option<&Value>)> {
        let point = self.versions.range((key.to_vec(), Reverse(at))..).next();
        let point = point.filter(|((k, _), _)| k == key).map(|((_, Reverse(ts)), value)| (*ts, value.as_ref()));
        let covering = self.range_tombstones.iter().filter(|t| t.ts <= at && t.bounds().contains(key));
        match covering.map(|t| t.ts).max() {
            // A range tombstone covers versions with a smaller ts, not one of the same commit (B2).
            Some(range_ts) if point.is_none_or(|(ts, _)| ts < range_ts) => Some((range_ts, None)),
            Some(_) | None => point,
        }
    }

    /// The newest change to `key` of all, if it is newer than `since`.
    pub(super) fn newer_than(&self, key: &[u8], since: Timestamp) -> Option<Timestamp> {
        self.newest_change(key, Timestamp::MAX).map(|(ts, _)| ts).filter(|&ts| ts > since)
    }

    /// The keys with a version of their own in `bounds`, ascending, each as often as it has versions.
    pub(super) fn versions_in(&self, bounds: KeyBounds<'_>) -> impl DoubleEndedIterator<Item = (&[u8], Timestamp)> {
        let first = |key: &[u8]| (key.to_vec(), Reverse(Timestamp::MAX));
        let last = |key: &[u8]| (key.to_vec(), Reverse(Timestamp::ZERO));
        let lower = match bounds.lower {
            Bound::Included(key) => Bound::Included(first(key)),
            Bound::Excluded(key) => Bound::Excluded(last(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let upper = match bounds.upper {
            Bound::Included(key) => Bound::Included(last(key)),
            Bound::Excluded(key) => Bound::Excluded(first(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        // `BTreeMap::range` panics if the ends are crossed.
        let found = (!bounds.is_empty()).then(|| self.versions.range((lower, upper)));
        found.into_iter().flatten().map(|((key, Reverse(ts)), _)| (&**key, *ts))
    }

    /// The keys with a version of their own in `bounds`, ascending, each once.
    pub(super) fn keys(&self, bounds: KeyBounds<'_>) -> impl Iterator<Item = &[u8]> {
        let mut last = None;
        self.versions_in(bounds).map(|(key, _)| key).filter(move |&key| last.replace(key) != Some(key))
    }

    /// Whether a change newer than `at` concerns a key in `bounds`, a range tombstone also where no key is.
    pub(super) fn any_newer_in(&self, bounds: KeyBounds<'_>, at: Timestamp) -> bool {
        self.versions_in(bounds).any(|(_, ts)| ts > at)
            || self.range_tombstones.iter().any(|t| t.ts > at && overlap(t.bounds(), bounds))
    }

    /// Drops what `pruner` lets go. For each key a range tombstone that covers it is a version like any other.
    pub(super) fn prune(&mut self, pruner: &Pruner<'_>) {
        let entries: Vec<(Vec<u8>, Timestamp)> =
            self.versions_in(KeyBounds::ALL).map(|(key, ts)| (key.to_vec(), ts)).collect();
        // Oldest version of each key first, so that P2 sees what remains below.
        for (key, ts) in entries.into_iter().rev() {
            let is_tombstone = self.versions[&(key.clone(), Reverse(ts))].is_none();
            let successor = self.change_times(&key).filter(|&other| other > ts).min();
            let older_remains = self.change_times(&key).any(|other| other < ts);
            let goes = match successor {
                Some(successor_ts) => pruner.may_drop_version(ts, successor_ts),
                None => is_tombstone && pruner.may_drop_tombstone(ts, older_remains),
            };
            if goes {
                self.versions.remove(&(key, Reverse(ts)));
            }
        }
        let versions = &self.versions;
        self.range_tombstones.retain(|tombstone| {
            let older_remains =
                versions.keys().any(|(key, Reverse(ts))| *ts < tombstone.ts && tombstone.bounds().contains(key));
            !pruner.may_drop_tombstone(tombstone.ts, older_remains)
        });
    }

    /// The timestamps of all changes to `key`, in no order.
    fn change_times(&self, key: &[u8]) -> impl Iterator<Item = Timestamp> {
        let exactly = KeyBounds { lower: Bound::Included(key), upper: Bound::Included(key) };
        let points: Vec<Timestamp> = self.versions_in(exactly).map(|(_, ts)| ts).collect();
        let ranges: Vec<Timestamp> =
            self.range_tombstones.iter().filter(|t| t.bounds().contains(key)).map(|t| t.ts).collect();
        points.into_iter().chain(ranges)
    }
}

/// Whether a key could be in both: their intersection is one of these four.
fn overlap(a: KeyBounds<'_>, b: KeyBounds<'_>) -> bool {
    let crossed = [KeyBounds { lower: a.lower, upper: b.upper }, KeyBounds { lower: b.lower, upper: a.upper }];
    ![a, b].iter().chain(&crossed).any(KeyBounds::is_empty)
}
