//! What the write buffers have to say about a stretch of keys, and the range deletes of all layers.
//!
//! A window is a part of one leaf: as long as the buffers have few keys there, the whole leaf; else it ends behind the last key that was copied
//! from every buffer. What was copied stays the answer at the cursor's timestamp (T4 of `memtable.rs`).
//!
//! H1  Every key of the buffers between the ends of a window is in it.

use std::ops::Bound;

use duramen_base::memtable::{self, Key, MemPiece, successor};
use duramen_base::sync::Arc;
use duramen_base::values::LargeRef;
use duramen_base::{KeyBounds, Result, Timestamp, Value};

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

/// A value that an ingested run has.
#[derive(Debug)]
pub(crate) enum Held {
    Value(Value),
    /// In a value file.
    Large(LargeRef),
}

/// A key of an ingested run.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) key: Key,
    /// Its version, if that is at or before the cursor's timestamp.
    pub(crate) version: Option<(Timestamp, Held)>,
    /// Whether it is newer.
    pub(crate) newer: bool,
}

/// Keys of a layer, in the order of the way that they were copied in.
#[derive(Debug)]
enum Source {
    Buffer(MemPiece),
    Run(Vec<Ingested>),
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Source::Buffer(piece) => piece.len(),
            Source::Run(items) => items.len(),
        }
    }

    #[inline]
    fn key(&self, index: usize) -> &[u8] {
        match self {
            Source::Buffer(piece) => piece.key(index),
            Source::Run(items) => &items[index].key,
        }
    }

    fn last_key(&self) -> Option<&[u8]> {
        self.len().checked_sub(1).map(|last| self.key(last))
    }

    fn known(&self, source: usize, index: usize) -> Known {
        let (ts, says, newer) = match self {
            Source::Buffer(piece) => {
                let says = match piece.value(index) {
                    None => Says::Nothing,
                    Some(None) => Says::Deleted,
                    Some(Some(_)) => Says::Value,
                };
                (piece.ts(index), says, piece.newer(index))
            }
            Source::Run(items) => match &items[index].version {
                Some((ts, _)) => (*ts, Says::Value, items[index].newer),
                None => (Timestamp::ZERO, Says::Nothing, items[index].newer),
            },
        };
        Known { source, index, ts, says, newer }
    }
}

/// What the buffers say of a key at the cursor's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Nothing,
    Deleted,
    Value,
}

/// A key that the buffers know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    source: usize,
    index: usize,
    /// When that was written; zero if they say nothing.
    pub(super) ts: Timestamp,
    pub(super) says: Says,
    /// Whether it changed after the cursor's timestamp.
    pub(super) newer: bool,
}

/// Keys of the buffers between two ends, ascending.
#[derive(Debug, Default)]
pub(super) struct Window {
    sources: Vec<Source>,
    known: Vec<Known>,
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

/// Keys of a layer, and whether there may be more of them behind.
type Copied = (Source, bool);

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
        let cut_off = copied.iter().filter(|(_, is_cut)| *is_cut).filter_map(|(source, _)| source.last_key());
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
        window.sources = copied.into_iter().map(|(source, _)| source).filter(|source| source.len() > 0).collect();
        window.merge(way, fences);
        Ok(Some(window))
    }

    /// Puts the keys of all sources in order, each once.
    fn merge(&mut self, way: Way, fences: (&[u8], &[u8])) {
        let sources = &self.sources;
        let mut known = Vec::with_capacity(sources.iter().map(Source::len).sum());
        for (number, source) in sources.iter().enumerate() {
            known.extend((0..source.len()).map(|index| source.known(number, index)));
        }
        if way == Way::Down {
            known.reverse();
        }
        let key = |known: &Known| sources[known.source].key(known.index);
        if sources.len() > 1 {
            let (low, high) = self.ends(fences);
            // Of what one of them has, another that was cut off sooner may not know all.
            known.retain(|known| key(known) >= low && (high.is_empty() || key(known) < high));
            known.sort_by(|a, b| key(a).cmp(key(b)));
            known.dedup_by(|other, kept| {
                let is_same = key(other) == key(kept);
                if is_same {
                    let newer = kept.newer | other.newer;
                    let newest = if other.ts > kept.ts { *other } else { *kept };
                    *kept = Known { newer, ..newest };
                }
                is_same
            });
        }
        self.known = known;
    }

    /// Forgets what lies outside the bounds.
    pub(super) fn keep(&mut self, bounds: &KeyBounds<'_>) {
        let end = self.partition_point(|key| !bounds.is_above(key));
        self.known.truncate(end);
        let start = self.partition_point(|key| bounds.is_below(key));
        self.known.drain(..start);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What was copied for it, in about as many bytes as it takes in the buffers.
    pub(super) fn copied_bytes(&self) -> u64 {
        let of_source = |source: &Source| match source {
            Source::Buffer(piece) => piece.memory_bytes(),
            Source::Run(_) => 0,
        };
        self.sources.iter().map(of_source).sum()
    }

    /// How many keys come before the first of which `is_before` is false; they must come first.
    pub(super) fn partition_point(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        self.known.partition_point(|known| is_before(self.sources[known.source].key(known.index)))
    }

    #[inline]
    pub(super) fn known(&self, index: usize) -> Known {
        self.known[index]
    }

    #[inline]
    pub(super) fn key(&self, index: usize) -> &[u8] {
        let Known { source, index, .. } = self.known[index];
        self.sources[source].key(index)
    }

    /// Whether a key has a value in memory, and nothing about it is newer.
    #[inline]
    pub(super) fn is_plain(&self, index: usize) -> bool {
        let Known { source, says, newer, .. } = self.known[index];
        says == Says::Value && !newer && matches!(self.sources[source], Source::Buffer(_))
    }

    /// The value of a key that has one; a large one must have been asked for by [`Window::large`].
    pub(super) fn value(&self, index: usize) -> &[u8] {
        let Known { source, index, .. } = self.known[index];
        match &self.sources[source] {
            Source::Buffer(piece) => piece.value(index).flatten().expect("it has a value"),
            Source::Run(items) => held(&items[index]),
        }
    }

    pub(super) fn value_owned(&self, index: usize) -> Value {
        let Known { source, index, .. } = self.known[index];
        match &self.sources[source] {
            Source::Buffer(piece) => Value::from(piece.value(index).flatten().expect("it has a value")),
            Source::Run(items) => held(&items[index]).clone(),
        }
    }

    /// The reference of a key whose value lies in a value file.
    pub(super) fn large(&self, index: usize) -> Option<LargeRef> {
        let Known { source, index, .. } = self.known[index];
        match &self.sources[source] {
            Source::Run(items) => match &items[index].version {
                Some((_, Held::Large(large))) => Some(*large),
                Some((_, Held::Value(_))) | None => None,
            },
            Source::Buffer(_) => None,
        }
    }

    /// What lies below a range delete is as good as deleted.
    pub(super) fn hide(&mut self, index: usize) {
        self.known[index].says = Says::Deleted;
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
                    (Source::Run(items), is_cut)
                }));
            }
        };
        let upper = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) };
        let bounds = KeyBounds { lower: Bound::Included(low), upper };
        let mut piece = MemPiece::default();
        let is_cut = !buffer.is_empty() && buffer.copy_piece(bounds, way == Way::Down, at, keys_max, &mut piece);
        Ok(Some((Source::Buffer(piece), is_cut)))
    }
}

fn held(item: &Ingested) -> &Value {
    match &item.version {
        Some((_, Held::Value(value))) => value,
        Some((_, Held::Large(_))) => panic!("C8: the value was not made sure of"),
        None => panic!("a cursor stands only on keys that are shown"),
    }
}
