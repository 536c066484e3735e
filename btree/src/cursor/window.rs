//! What the write buffers have to say about a stretch of keys, and the range deletes of all layers.
//!
//! A window is a part of one leaf: as long as the buffers have few keys there, the whole leaf; else it ends behind the last key that was copied
//! from every buffer. What was copied stays the answer at the cursor's timestamp (T4 of `memtable.rs`).
//!
//! H1  Every key of the buffers between the ends of a window is in it.

use std::ops::Bound;

use duramen_base::memtable::{self, Key, MemItem, successor};
use duramen_base::sync::Arc;
use duramen_base::values::LargeRef;
use duramen_base::{Result, Timestamp, Value};

use super::{From, Inclusive, Way};
use crate::buffers::{LayerRef, Layers, tombs_of};
use crate::range_tombs::RangeTombs;
use crate::store::Store;

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

/// A value that a layer of the buffers has.
#[derive(Debug)]
pub(crate) enum Held {
    Value(Value),
    /// In a value file.
    Large(LargeRef),
}

impl Held {
    /// The value, of one that is no large one.
    pub(super) fn value(&self) -> &Value {
        match self {
            Held::Value(value) => value,
            Held::Large(_) => panic!("C8: the value was not made sure of"),
        }
    }
}

/// A key that the buffers know.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) key: Key,
    /// The newest version at or before the cursor's timestamp; without a value it is a tombstone.
    pub(crate) version: Option<(Timestamp, Option<Held>)>,
    /// Whether it changed after that.
    pub(crate) newer: bool,
}

impl std::convert::From<MemItem> for Buffered {
    fn from(MemItem { key, version, newer }: MemItem) -> Buffered {
        let version = version.map(|version| (version.ts, version.value.map(Held::Value)));
        Buffered { key, version, newer }
    }
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

/// Where a window is made: in the leaf between the fences, for a move of this way at this time, with about so many keys of each layer.
pub(super) struct Place<'a> {
    pub(super) store: &'a Store,
    pub(super) fences: (&'a [u8], &'a [u8]),
    pub(super) way: Way,
    pub(super) at: Timestamp,
    pub(super) keys_max: usize,
}

/// Keys of a layer.
enum Items {
    OfBuffer(Vec<MemItem>),
    OfRun(Vec<Buffered>),
}

impl Items {
    fn last_key(&self) -> Option<&Key> {
        match self {
            Items::OfBuffer(items) => items.last().map(|item| &item.key),
            Items::OfRun(items) => items.last().map(|item| &item.key),
        }
    }

    fn is_empty(&self) -> bool {
        self.last_key().is_none()
    }
}

/// Keys of a layer, and whether there may be more of them behind.
type Copied = (Items, bool);

impl Window {
    /// The window for a move from `from`; `None`: one of the layers is gone, look again.
    pub(super) fn new(layers: &Layers, place: &Place<'_>, from: &From<'_>) -> Result<Option<Window>> {
        let Place { fences, way, .. } = *place;
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
        let mut copied: Vec<Copied> = Vec::with_capacity(layers.frozen.len() + 1);
        for layer in layers.newest_first() {
            match window.copy(layer, place)? {
                Some(items) => copied.push(items),
                None => return Ok(None),
            }
        }
        let cut_off = copied.iter().filter(|(_, is_cut)| *is_cut).filter_map(|(items, _)| items.last_key());
        match way {
            Way::Up => {
                if let Some(last) = cut_off.min() {
                    window.high = Some(successor(last));
                }
            }
            Way::Down => {
                if let Some(last) = cut_off.max() {
                    window.low = Some(last.to_vec());
                }
            }
        }
        let copied = copied.into_iter().map(|(items, _)| items).collect();
        window.keys = merged(copied, way, window.ends(fences));
        Ok(Some(window))
    }

    /// First key that belongs to it, and first key beyond it (empty: none), in the leaf with these fences.
    fn ends<'a>(&'a self, fences: (&'a [u8], &'a [u8])) -> (&'a [u8], &'a [u8]) {
        (self.low.as_deref().unwrap_or(fences.0), self.high.as_deref().unwrap_or(fences.1))
    }

    fn copy(&self, layer: LayerRef<'_>, place: &Place<'_>) -> Result<Option<Copied>> {
        let &Place { store, fences, way, at, keys_max } = place;
        let (low, high) = self.ends(fences);
        let buffer = match layer {
            LayerRef::Buffer(buffer) => buffer,
            LayerRef::Run(run) => {
                let items = store.copy_of_run(run, (low, high), way == Way::Down, at, keys_max)?;
                return Ok(items.map(|items| {
                    let is_cut = items.len() >= keys_max;
                    (Items::OfRun(items), is_cut)
                }));
            }
        };
        let upper = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) };
        let mut items = Vec::new();
        let is_cut = !buffer.is_empty()
            && buffer.copy_keys((Bound::Included(low), upper), way == Way::Down, at, keys_max, &mut items);
        Ok(Some((Items::OfBuffer(items), is_cut)))
    }
}

/// The keys of all buffers between the ends, ascending, each once. What one buffer has comes in the order of its way.
fn merged(copied: Vec<Items>, way: Way, (low, high): (&[u8], &[u8])) -> Vec<Buffered> {
    let sources = copied.iter().filter(|items| !items.is_empty()).count();
    let is_inside = |key: &[u8]| key >= low && (high.is_empty() || key < high);
    let mut keys: Vec<Buffered> = Vec::new();
    for items in copied {
        match items {
            Items::OfBuffer(items) => {
                keys.extend(items.into_iter().filter(|item| is_inside(&item.key)).map(Buffered::from));
            }
            Items::OfRun(items) => keys.extend(items.into_iter().filter(|item| is_inside(&item.key))),
        }
    }
    if way == Way::Down {
        keys.reverse();
    }
    if sources > 1 {
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys.dedup_by(|other, kept| {
            let is_same = other.key == kept.key;
            if is_same {
                kept.newer |= other.newer;
                let ts = |version: &Option<(Timestamp, Option<Held>)>| version.as_ref().map(|(ts, _)| *ts);
                if ts(&other.version) > ts(&kept.version) {
                    kept.version = other.version.take();
                }
            }
            is_same
        });
    }
    keys
}
