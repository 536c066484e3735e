//! What a transaction did to one keyspace: single keys, and deleted ranges.
//!
//! A plain ordered structure; it knows neither savepoints nor memory limits, but hands back what each change
//! displaced, and takes it again.
//!
//! N1  Ranges are disjoint and do not touch: overlapping and touching ones are merged.
//! N2  A range comes before every point (B2 of the batch): a point inside a range was put after it, so it survives it.
//! N3  No point inside a range is `Deleted`: the range says so already.
//! N4  `bytes` is the sum over points and ranges of what they take.

use std::collections::BTreeMap;
use std::ops::Bound;

use duramen_base::{KeyBounds, Op, OpKind, Value};

use super::points::Points;
use crate::key::Key;
use crate::write_set::Own;

/// Memory of one entry beside the bytes outside it: key and value as they lie in the map, and a share of the map's
/// nodes.
const ENTRY_BYTES: u64 = 72;

/// High end of a range, exclusive; `None`: to the end of the keyspace.
pub(super) type High = Option<Key>;

/// What one change displaced: enough to take it back.
#[derive(Debug)]
pub(super) enum Displaced {
    /// The key was this before.
    Point { key: Key, before: Option<Own> },
    /// The range that now begins at `low` took the place of these.
    Range { low: Key, points: Vec<(Key, Own)>, ranges: Vec<(Key, High)> },
}

impl Displaced {
    /// Memory it takes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Displaced::Point { key, before } => ENTRY_BYTES + heap_bytes(key, before.as_ref()),
            Displaced::Range { low, points, ranges } => {
                ENTRY_BYTES
                    + low.heap_bytes() as u64
                    + points.iter().map(|(key, own)| point_bytes(key, own)).sum::<u64>()
                    + ranges.iter().map(|(low, high)| range_bytes(low, high)).sum::<u64>()
            }
        }
    }
}

/// The writes on one keyspace.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    points: Points,
    ranges: BTreeMap<Key, High>,
    bytes: u64,
}

impl Section {
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }

    /// Points and ranges.
    pub(super) fn len(&self) -> usize {
        self.points.len() + self.ranges.len()
    }

    /// Memory it takes (N4).
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the transaction itself made of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Own> {
        self.points.get(key).or_else(|| self.covers(key).then_some(&Own::Deleted))
    }

    /// Whether a deleted range covers `key`. A point put later is there all the same (N2).
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        self.covering(key).is_some()
    }

    /// The deleted range that covers `key`.
    pub(super) fn covering(&self, key: &[u8]) -> Option<KeyBounds<'_>> {
        let (low, high) = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        ends_after(high, key).then(|| bounds_of(low, high))
    }

    /// The first point in that direction.
    pub(super) fn next_after(&self, from: Bound<&[u8]>) -> Option<(&[u8], &Own)> {
        self.points.range((from, Bound::Unbounded)).next().map(|(key, own)| (&**key, own))
    }

    /// The last point in that direction.
    pub(super) fn prev_before(&self, from: Bound<&[u8]>) -> Option<(&[u8], &Own)> {
        self.points.range((Bound::Unbounded, from)).next_back().map(|(key, own)| (&**key, own))
    }

    pub(super) fn put(&mut self, key: Key, value: Value) -> Displaced {
        let before = self.set(key.clone(), Some(Own::Put(value)));
        Displaced::Point { key, before }
    }

    pub(super) fn delete(&mut self, key: Key) -> Displaced {
        let own = (!self.covers(&key)).then_some(Own::Deleted); // N3
        let before = self.set(key.clone(), own);
        Displaced::Point { key, before }
    }

    /// Deletes `[low, high)`, which is not empty: drops the points in it and merges it with its neighbours (N1).
    pub(super) fn delete_range(&mut self, low: Key, high: High) -> Displaced {
        let points = self.take_points(&low, &high);
        let ranges = self.take_ranges_that_reach(&low, &high);
        let merged_low = ranges.first().map_or(&low, |(first, _)| first.min(&low)).clone();
        let mut merged_high = high;
        if let Some((_, last_high)) = ranges.last() {
            merged_high = match (merged_high, last_high) {
                (Some(high), Some(last_high)) => Some(high.max(last_high.clone())),
                (None, _) | (_, None) => None,
            };
        }
        self.insert_range(merged_low.clone(), merged_high);
        Displaced::Range { low: merged_low, points, ranges }
    }

    /// Takes the newest change back.
    pub(super) fn restore(&mut self, displaced: Displaced) {
        match displaced {
            Displaced::Point { key, before } => {
                self.set(key, before);
            }
            Displaced::Range { low, points, ranges } => {
                self.remove_range(&low);
                ranges.into_iter().for_each(|(low, high)| self.insert_range(low, high));
                points.into_iter().for_each(|(key, own)| {
                    self.set(key, Some(own));
                });
            }
        }
    }

    /// Its operations in the order of a batch: ranges first, then points (N2).
    pub(super) fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let ranges = self.ranges.iter().map(|(low, high)| Op {
            kind: OpKind::DeleteRange,
            key: low,
            value: high.as_deref().unwrap_or_default(),
        });
        let points = self.points.iter().map(|(key, own)| match own {
            Own::Put(value) => Op { kind: OpKind::Put, key, value },
            Own::Deleted => Op { kind: OpKind::Delete, key, value: &[] },
        });
        ranges.chain(points)
    }

    /// What it writes as disjoint pieces in ascending order: ranges, and the points outside them (`None`: a single
    /// key).
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&Key, Option<&High>)> {
        let mut ranges = self.ranges.iter().peekable();
        let mut points = self.points.iter().map(|(key, _)| key).filter(|key| !self.covers(key)).peekable();
        std::iter::from_fn(move || match (ranges.peek(), points.peek()) {
            (Some((low, _)), Some(key)) if *key < low => points.next().map(|key| (key, None)),
            (Some(_), _) => ranges.next().map(|(low, high)| (low, Some(high))),
            (None, _) => points.next().map(|key| (key, None)),
        })
    }

    /// Its key, if a single key is all that it wrote.
    #[inline]
    pub(super) fn single_key(&self) -> Option<&Key> {
        self.points.single().filter(|_| self.ranges.is_empty())
    }

    fn set(&mut self, key: Key, own: Option<Own>) -> Option<Own> {
        let key_bytes = key.heap_bytes() as u64;
        let bytes_of = |own: &Own| ENTRY_BYTES + key_bytes + own_bytes(Some(own));
        let before = match own {
            Some(own) => {
                self.bytes += bytes_of(&own);
                self.points.insert(key, own)
            }
            None => self.points.remove(&key),
        };
        if let Some(before) = &before {
            self.bytes -= bytes_of(before);
        }
        before
    }

    fn take_points(&mut self, low: &Key, high: &High) -> Vec<(Key, Own)> {
        let upper = high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let inside = self.points.range((Bound::Included(&**low), upper));
        let keys: Vec<Key> = inside.map(|(key, _)| key.clone()).collect();
        keys.into_iter()
            .map(|key| {
                let own = self.set(key.clone(), None).expect("a key just found in the map");
                (key, own)
            })
            .collect()
    }

    /// Takes out the ranges that overlap or touch `[low, high)`, ascending.
    fn take_ranges_that_reach(&mut self, low: &Key, high: &High) -> Vec<(Key, High)> {
        let before = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&**low))).next_back();
        let first = before.filter(|(_, end)| end.as_ref().is_none_or(|end| end >= low)).map_or(low, |(first, _)| first);
        let upper = high.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let reached = self.ranges.range::<[u8], _>((Bound::Included(&**first), upper));
        let lows: Vec<Key> = reached.map(|(low, _)| low.clone()).collect();
        lows.into_iter()
            .map(|low| {
                let high = self.remove_range(&low);
                (low, high)
            })
            .collect()
    }

    fn insert_range(&mut self, low: Key, high: High) {
        self.bytes += range_bytes(&low, &high);
        let before = self.ranges.insert(low, high);
        debug_assert!(before.is_none(), "N1: ranges are disjoint");
    }

    fn remove_range(&mut self, low: &Key) -> High {
        let high = self.ranges.remove(&**low).expect("N1: a range that was put in is there");
        self.bytes -= range_bytes(low, &high);
        high
    }

    /// Checks N1, N3 and N4 from scratch.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let ranges: Vec<_> = self.ranges.iter().collect();
        for pair in ranges.windows(2) {
            assert!(pair[0].1.as_ref().is_some_and(|high| high < pair[1].0), "N1: {pair:?}");
        }
        for (key, own) in self.points.iter() {
            assert!(*own != Own::Deleted || !self.covers(key), "N3: {key:?}");
        }
        let points: u64 = self.points.iter().map(|(key, own)| point_bytes(key, own)).sum();
        let ranges: u64 = self.ranges.iter().map(|(low, high)| range_bytes(low, high)).sum();
        assert_eq!(self.bytes, points + ranges, "N4");
    }
}

fn ends_after(high: &High, key: &[u8]) -> bool {
    high.as_deref().is_none_or(|high| key < high)
}

fn bounds_of<'a>(low: &'a Key, high: &'a High) -> KeyBounds<'a> {
    KeyBounds { lower: Bound::Included(low), upper: high.as_deref().map_or(Bound::Unbounded, Bound::Excluded) }
}

fn own_bytes(own: Option<&Own>) -> u64 {
    match own {
        Some(Own::Put(value)) => value.heap_bytes() as u64,
        Some(Own::Deleted) | None => 0,
    }
}

fn heap_bytes(key: &Key, own: Option<&Own>) -> u64 {
    key.heap_bytes() as u64 + own_bytes(own)
}

fn point_bytes(key: &Key, own: &Own) -> u64 {
    ENTRY_BYTES + heap_bytes(key, Some(own))
}

fn range_bytes(low: &Key, high: &High) -> u64 {
    ENTRY_BYTES + (low.heap_bytes() + high.as_ref().map_or(0, Key::heap_bytes)) as u64
}
