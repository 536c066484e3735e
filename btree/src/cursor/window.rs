//! What the write buffers have to say about a stretch of keys, and the range deletes of all layers.
//!
//! A window is a part of one leaf: as long as the buffers have few keys there, the whole leaf; else it ends behind the last key that was copied
//! from every buffer. What was copied stays the answer at the cursor's timestamp (T4 of `memtable.rs`).
//!
//! H1  Every key of the buffers between the ends of a window is in it.

use std::ops::Bound;

use duramen_base::memtable::{self, Key, MemItem, successor};
use duramen_base::sync::Arc;
use duramen_base::{Timestamp, Value};

use super::{From, Inclusive, Way};
use crate::buffers::{Layers, tombs_of};
use crate::range_tombs::RangeTombs;

/// The range deletes of the tree and of the buffers.
#[derive(Debug)]
pub(super) struct Covers {
    tree: Option<Arc<RangeTombs>>,
    buffers: Vec<Arc<memtable::RangeTombs>>,
}

impl Covers {
    /// To be taken after `layers`, with which they belong together.
    pub(super) fn new(tree: Option<Arc<RangeTombs>>, layers: Option<&Layers>) -> Covers {
        Covers { tree, buffers: tombs_of(layers) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tree.as_ref().is_none_or(|tree| tree.is_empty()) && self.buffers.is_empty()
    }

    /// Whether any covers a key of `low..high` (an empty high end: none).
    pub(super) fn touch(&self, low: &[u8], high: &[u8]) -> bool {
        let upper = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) };
        self.tree.as_ref().is_some_and(|tree| !tree.overlapping(low, high).is_empty())
            || self.buffers.iter().any(|tombs| tombs.any_newer_in(Bound::Included(low), upper, Timestamp::ZERO))
    }

    /// The newest at or before `at` that covers `key`.
    pub(super) fn covering(&self, key: &[u8], at: Timestamp) -> Option<Timestamp> {
        let buffered = self.buffers.iter().map(|tombs| tombs.at(key, at).0).max();
        self.tree.as_ref().and_then(|tree| tree.covering(key, at)).max(buffered.filter(|&ts| ts > Timestamp::ZERO))
    }

    /// Whether one newer than `at` covers any key between the bounds.
    pub(super) fn any_newer_in(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, at: Timestamp) -> bool {
        self.tree.as_ref().and_then(|tree| tree.newest_in(lower, upper)).is_some_and(|newest| newest > at)
            || self.buffers.iter().any(|tombs| tombs.any_newer_in(lower, upper, at))
    }
}

/// A key that the buffers know.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) key: Key,
    /// The newest version at or before the cursor's timestamp; without a value it is a tombstone.
    pub(super) version: Option<(Timestamp, Option<Value>)>,
    /// Whether it changed after that.
    pub(super) newer: bool,
}

/// Keys of the buffers between two ends, ascending.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) keys: Vec<Buffered>,
    /// First key that belongs to it; `None`: the low fence of the leaf.
    pub(super) low: Option<Vec<u8>>,
    /// First key beyond it; `None`: the high fence of the leaf. Never empty.
    pub(super) high: Option<Vec<u8>>,
}

impl Window {
    /// The window for a move from `from` in the leaf between the fences, with about `keys_max` keys of each buffer.
    pub(super) fn new(
        layers: &Layers,
        fences: (&[u8], &[u8]),
        from: &From<'_>,
        way: Way,
        at: Timestamp,
        keys_max: usize,
    ) -> Window {
        let mut window = Window::default();
        match (way, from) {
            (Way::Up, From::Key(key, _)) if **key > *fences.0 => window.low = Some(key.to_vec()),
            (Way::Down, From::Key(key, Inclusive(inclusive))) => {
                let end = if *inclusive { successor(key) } else { key.to_vec() };
                if fences.1.is_empty() || *end < *fences.1 {
                    window.high = Some(end);
                }
            }
            (Way::Up, From::Key(..)) | (Way::Up | Way::Down, From::End) => {}
        }
        let copied: Vec<Vec<MemItem>> =
            layers.newest_first().map(|buffer| window.copy(buffer, fences, way, at, keys_max)).collect();
        let cut_off = copied.iter().filter(|items| items.len() >= keys_max).filter_map(|items| items.last());
        match way {
            Way::Up => {
                if let Some(last) = cut_off.map(|item| &item.key).min() {
                    window.high = Some(successor(last));
                }
            }
            Way::Down => {
                if let Some(last) = cut_off.map(|item| &item.key).max() {
                    window.low = Some(last.to_vec());
                }
            }
        }
        window.keys = merged(copied, way, window.ends(fences));
        window
    }

    /// First key that belongs to it, and first key beyond it (empty: none), in the leaf with these fences.
    fn ends<'a>(&'a self, fences: (&'a [u8], &'a [u8])) -> (&'a [u8], &'a [u8]) {
        (self.low.as_deref().unwrap_or(fences.0), self.high.as_deref().unwrap_or(fences.1))
    }

    fn copy(
        &self,
        buffer: &memtable::Memtable,
        fences: (&[u8], &[u8]),
        way: Way,
        at: Timestamp,
        keys_max: usize,
    ) -> Vec<MemItem> {
        let (low, high) = self.ends(fences);
        let upper = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) };
        let mut items = Vec::new();
        if !buffer.is_empty() {
            buffer.copy_keys((Bound::Included(low), upper), way == Way::Down, at, keys_max, &mut items);
        }
        items
    }
}

/// The keys of all buffers between the ends, ascending, each once. What one buffer has comes in the order of its way.
fn merged(copied: Vec<Vec<MemItem>>, way: Way, (low, high): (&[u8], &[u8])) -> Vec<Buffered> {
    let sources = copied.iter().filter(|items| !items.is_empty()).count();
    let is_inside = |key: &[u8]| key >= low && (high.is_empty() || key < high);
    let inside = copied.into_iter().flatten().filter(|item| is_inside(&item.key));
    let mut keys: Vec<Buffered> = inside
        .map(|MemItem { key, version, newer }| Buffered {
            key,
            version: version.map(|version| (version.ts, version.value)),
            newer,
        })
        .collect();
    if way == Way::Down {
        keys.reverse();
    }
    if sources > 1 {
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys.dedup_by(|other, kept| {
            let is_same = other.key == kept.key;
            if is_same {
                kept.newer |= other.newer;
                let ts = |version: &Option<(Timestamp, Option<Value>)>| version.as_ref().map(|(ts, _)| *ts);
                if ts(&other.version) > ts(&kept.version) {
                    kept.version = other.version.take();
                }
            }
            is_same
        });
    }
    keys
}
