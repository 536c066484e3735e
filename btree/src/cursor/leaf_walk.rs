//! One leaf as a list of keys, for a reader at one timestamp.
//!
//! Most leaves are plain: nothing in them is newer than the reader, no history matters, no range delete touches them. Then the list is
//! the image's main records themselves. Otherwise it is worked out once, when the cursor enters the leaf.

use std::ops::Range;

use duramen_base::image::{Body, Image};
use duramen_base::sync::Arc;
use duramen_base::{KeyBounds, Timestamp, Value};

use super::{From, Inclusive, Way};
use crate::range_tombs::RangeTombs;
use crate::read::LeafView;

/// The list. Positions in it are gaps: `0..=len`, gap `i` lies before key `i`.
pub(super) struct LeafWalk {
    image: Arc<Image>,
    /// `None`: plain.
    items: Option<Vec<Item>>,
}

/// A key of the leaf, shown or not.
struct Item {
    key: KeyAt,
    shown: Option<Shown>,
    /// Whether it changed after the reader's timestamp.
    newer: bool,
}

enum KeyAt {
    Main(usize),
    History(usize),
}

struct Shown {
    ts: Timestamp,
    value: ShownValue,
}

enum ShownValue {
    InImage(Range<usize>),
    Own(Value),
}

impl LeafWalk {
    pub(super) fn new(view: LeafView, tombs: &RangeTombs, at: Timestamp) -> LeafWalk {
        let LeafView { image, spill } = view;
        let tombs = tombs.overlapping(image.low_fence(), image.high_fence());
        let is_plain = image.max_ts() <= at && spill.is_none() && tombs.is_empty();
        let view = LeafView { image: Arc::clone(&image), spill };
        let items = (!is_plain).then(|| list_items(&view, &tombs, at));
        LeafWalk { image, items }
    }

    fn len(&self) -> usize {
        self.items.as_ref().map_or(self.image.count(), Vec::len)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.items.is_none()
    }

    /// The key beside `index`, if it is in this leaf.
    pub(super) fn beside(&self, index: usize, way: Way) -> Option<usize> {
        match way {
            Way::Up => Some(index + 1).filter(|&next| next < self.len()),
            Way::Down => index.checked_sub(1),
        }
    }

    pub(super) fn low_fence(&self) -> &[u8] {
        self.image.low_fence()
    }

    pub(super) fn high_fence(&self) -> &[u8] {
        self.image.high_fence()
    }

    /// Replaces `key` by the key at `index`.
    pub(super) fn key_into(&self, index: usize, key: &mut Vec<u8>) {
        match self.items.as_ref().map(|items| &items[index].key) {
            None => self.image.key_into(index, key),
            Some(at) => key_at_into(&self.image, at, key),
        }
    }

    fn shown(&self, index: usize) -> &Shown {
        let items = self.items.as_ref().expect("a plain leaf is asked directly");
        items[index].shown.as_ref().expect("a cursor stands only on keys that are shown")
    }

    pub(super) fn value(&self, index: usize) -> &[u8] {
        if self.is_plain() {
            return &self.image.bytes()[self.image.value_range(index)];
        }
        match &self.shown(index).value {
            ShownValue::InImage(range) => &self.image.bytes()[range.clone()],
            ShownValue::Own(value) => value,
        }
    }

    pub(super) fn value_owned(&self, index: usize) -> Value {
        if self.is_plain() {
            let range = self.image.value_range(index);
            return Value::from_image(&self.image, range.start, range.len());
        }
        match &self.shown(index).value {
            ShownValue::InImage(range) => Value::from_image(&self.image, range.start, range.len()),
            ShownValue::Own(value) => value.clone(),
        }
    }

    pub(super) fn ts(&self, index: usize) -> Timestamp {
        if self.is_plain() { self.image.record(index).ts } else { self.shown(index).ts }
    }

    /// The gap from which a move from `from` starts.
    pub(super) fn gap(&self, from: &From<'_>, way: Way) -> usize {
        let (key, Inclusive(inclusive)) = match from {
            From::Key(key, inclusive) => (&**key, *inclusive),
            From::End if way == Way::Up => return 0,
            From::End => return self.len(),
        };
        // Before the key itself if the move goes up and may stop there, or goes down and may not.
        let before_equal = inclusive == (way == Way::Up);
        let mut scratch = Vec::new();
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            self.key_into(middle, &mut scratch);
            let is_before = if before_equal { scratch.as_slice() < key } else { scratch.as_slice() <= key };
            if is_before { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The next key shown from `gap` on, inside the bounds; it replaces `key`. What is passed counts for `newer`.
    pub(super) fn go(
        &self,
        mut gap: usize,
        way: Way,
        bounds: &KeyBounds<'_>,
        key: &mut Vec<u8>,
        newer: &mut bool,
    ) -> Option<usize> {
        loop {
            let index = match way {
                Way::Up if gap < self.len() => gap,
                Way::Down if gap > 0 => gap - 1,
                Way::Up | Way::Down => return None,
            };
            self.key_into(index, key);
            let is_outside = if way == Way::Up { bounds.is_above(key) } else { bounds.is_below(key) };
            if is_outside {
                return None;
            }
            let Some(items) = &self.items else { return Some(index) };
            *newer |= items[index].newer;
            if items[index].shown.is_some() {
                return Some(index);
            }
            gap = if way == Way::Up { index + 1 } else { index };
        }
    }
}

fn key_at_into(image: &Image, at: &KeyAt, key: &mut Vec<u8>) {
    match at {
        KeyAt::Main(index) => image.key_into(*index, key),
        KeyAt::History(index) => image.hist_key_into(*index, key),
    }
}

/// Collects the versions of one key, newest first, and keeps what the reader needs.
struct Judge {
    at: Timestamp,
    newest: Option<Timestamp>,
    seen: Option<(Timestamp, Option<ShownValue>)>,
}

impl Judge {
    fn new(at: Timestamp) -> Judge {
        Judge { at, newest: None, seen: None }
    }

    fn version(&mut self, ts: Timestamp, value: impl FnOnce() -> Option<ShownValue>) {
        self.newest.get_or_insert(ts);
        if ts <= self.at && self.seen.is_none() {
            self.seen = Some((ts, value()));
        }
    }

    fn into_item(self, key: KeyAt, covering: Option<Timestamp>) -> Item {
        let shown = match self.seen {
            Some((ts, Some(value))) if covering.is_none_or(|deleted| ts >= deleted) => Some(Shown { ts, value }),
            _ => None,
        };
        Item { key, shown, newer: self.newest.is_some_and(|newest| newest > self.at) }
    }
}

fn list_items(view: &LeafView, tombs: &RangeTombs, at: Timestamp) -> Vec<Item> {
    let image = &view.image;
    let mut spilled = view.spill.iter().flat_map(|spill| spill.iter()).peekable();
    let (mut main, mut hist) = (0, 0);
    let mut items = Vec::with_capacity(image.count());
    let mut key = Vec::new();
    loop {
        let main_suffix = (main < image.count()).then(|| image.record(main).suffix);
        let hist_suffix = (hist < image.hist_count()).then(|| image.hist_record(hist).suffix);
        // S1: a key in the spill has newer versions in the image, so the image's keys are all keys.
        let Some(suffix) = [main_suffix, hist_suffix].into_iter().flatten().min() else { break };
        let mut judge = Judge::new(at);
        let mut key_at = KeyAt::History(hist);
        if main_suffix == Some(suffix) {
            judge.version(image.record(main).ts, || Some(ShownValue::InImage(image.value_range(main))));
            key_at = KeyAt::Main(main);
            main += 1;
        }
        while hist < image.hist_count() && image.hist_record(hist).suffix == suffix {
            let record = image.hist_record(hist);
            judge.version(record.ts, || match record.body {
                Body::Value(_) => Some(ShownValue::InImage(image.hist_value_range(hist))),
                Body::Tombstone => None,
            });
            hist += 1;
        }
        key_at_into(image, &key_at, &mut key);
        while let Some((_, ts, body)) = spilled.next_if(|(spilled_key, ..)| *spilled_key == key) {
            judge.version(ts, || match body {
                Body::Value(bytes) => Some(ShownValue::Own(Value::from(bytes))),
                Body::Tombstone => None,
            });
        }
        items.push(judge.into_item(key_at, tombs.covering(&key, at)));
    }
    debug_assert!(spilled.next().is_none(), "S1: every spilled key has newer versions in the image");
    items
}
