//! A stretch of one leaf as a list of keys, for a reader at one timestamp: those of the leaf, and those of the write buffers between them.
//!
//! Most leaves are plain: nothing in them is newer than the reader, no history matters, no range delete touches them. Then the leaf's part of the
//! list is the image's main records themselves. Otherwise it is worked out once, when the cursor enters the leaf. The keys of the buffers are a
//! list of their own, walked together with it.

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use duramen_base::arena::Counted;
use duramen_base::image::{Body, Image, KeyBuffer};
use duramen_base::values::LargeRef;
use duramen_base::{KeyBounds, Timestamp, Value, mutant};

use super::window::{Covers, Known, Says, Window};
use super::{From, Inclusive, Way};
use crate::read::LeafView;

/// The list.
pub(super) struct LeafWalk {
    pub(super) image: Counted<Image>,
    /// `None`: plain.
    items: Option<Vec<Item>>,
    pub(super) window: Window,
    /// For each key of the window, how many keys of the leaf lie before it, and whether the next one is the same.
    places: Vec<(usize, bool)>,
    /// The keys of the leaf that belong to the window and lie inside the bounds.
    span: Range<usize>,
    at: Timestamp,
    /// Whether no range delete is anywhere near.
    is_uncovered: bool,
}

/// A place between keys: before the keys with these numbers, of the leaf and of the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) leaf: usize,
    pub(super) buffered: usize,
}

/// A key of the list: where it is in the leaf, where in the buffers; in one of them at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    leaf: Option<usize>,
    buffered: Option<usize>,
    pub(super) before: Gap,
}

impl Spot {
    /// A key that the leaf alone has, with so many keys of the buffers before it.
    pub(super) fn of_leaf(index: usize, buffered: usize) -> Spot {
        Spot { leaf: Some(index), buffered: None, before: Gap { leaf: index, buffered } }
    }

    /// A key that the buffers alone have, with so many keys of the leaf before it.
    pub(super) fn of_window(index: usize, leaf: usize) -> Spot {
        Spot { leaf: None, buffered: Some(index), before: Gap { leaf, buffered: index } }
    }

    /// The place just beyond it.
    pub(super) fn beyond(self, way: Way) -> Gap {
        match way {
            Way::Up => Gap {
                leaf: self.before.leaf + usize::from(self.leaf.is_some()),
                buffered: self.before.buffered + usize::from(self.buffered.is_some()),
            },
            Way::Down => self.before,
        }
    }
}

/// On which side of a place a key lies that is equal to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Equal {
    Before,
    Behind,
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
    /// In a value file.
    Large(LargeRef),
}

impl ShownValue {
    fn of(body: Body<'_>, range: Range<usize>) -> Option<ShownValue> {
        match body {
            Body::Value(_) => Some(ShownValue::InImage(range)),
            Body::Tombstone => None,
            Body::Large(large) => Some(ShownValue::Large(large)),
        }
    }
}

impl LeafWalk {
    /// `window` is a part of the leaf. What lies outside the bounds does not come into the list.
    pub(super) fn new(
        view: LeafView,
        window: Window,
        covers: &Covers,
        bounds: &KeyBounds<'_>,
        at: Timestamp,
    ) -> LeafWalk {
        let LeafView { image, spill } = view;
        let is_covered = !covers.is_empty() && covers.touch(image.low_fence(), image.high_fence());
        let is_plain = image.max_ts() <= at && spill.is_none() && !is_covered && !image.may_refer();
        let view = LeafView { image: Counted::clone(&image), spill };
        let items = (!is_plain).then(|| list_items(&view, covers, at));
        let is_uncovered = covers.is_empty();
        let mut walk = LeafWalk { image, items, window, places: Vec::new(), span: 0..0, at, is_uncovered };
        walk.span = walk.find_span(bounds);
        walk.window.keep(bounds);
        walk.places = walk.find_places();
        if !covers.is_empty() {
            (0..walk.window.len()).for_each(|index| walk.hide_if_covered(index, covers));
        }
        walk
    }

    /// A value of the buffers below a range delete is as good as a tombstone.
    fn hide_if_covered(&mut self, index: usize, covers: &Covers) {
        let Known { ts, says, .. } = self.window.known(index);
        if says == Says::Value && covers.covering(self.window.key(index), self.at).is_some_and(|deleted| ts < deleted) {
            self.window.hide(index);
        }
    }

    fn find_places(&self) -> Vec<(usize, bool)> {
        if self.span.is_empty() {
            return vec![(self.span.start, false); self.window.len()];
        }
        (0..self.window.len()).map(|index| self.place(self.window.key(index))).collect()
    }

    fn find_span(&self, bounds: &KeyBounds<'_>) -> Range<usize> {
        let (low, high) = (self.image.low_fence(), self.image.high_fence());
        let mut start = self.window.low.as_ref().map_or(0, |low| self.rank(low, Equal::Behind));
        match bounds.lower {
            Bound::Included(lower) if lower > low => start = start.max(self.rank(lower, Equal::Behind)),
            Bound::Excluded(lower) if lower >= low => start = start.max(self.rank(lower, Equal::Before)),
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => {}
        }
        let all = self.items.as_ref().map_or(self.image.count(), Vec::len);
        let mut end = self.window.high.as_ref().map_or(all, |high| self.rank(high, Equal::Behind));
        let may_cut = |upper: &[u8]| high.is_empty() || upper < high;
        match bounds.upper {
            Bound::Included(upper) if may_cut(upper) => end = end.min(self.rank(upper, Equal::Before)),
            Bound::Excluded(upper) if may_cut(upper) => end = end.min(self.rank(upper, Equal::Behind)),
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => {}
        }
        start..end.max(start)
    }

    /// How many keys of the leaf lie before `key`, which counts itself or not.
    fn rank(&self, key: &[u8], equal: Equal) -> usize {
        let (before, is_there) = self.place(key);
        before + usize::from(is_there && equal == Equal::Before)
    }

    /// How many keys of the leaf lie before `key`, and whether it is there.
    fn place(&self, key: &[u8]) -> (usize, bool) {
        let found = match &self.items {
            None => self.image.search(key),
            Some(items) => {
                let mut other = KeyBuffer::default();
                items.binary_search_by(|item| {
                    key_at_into(&self.image, &item.key, &mut other);
                    (*other).cmp(key)
                })
            }
        };
        found.map_or_else(|place| (place, false), |place| (place, true))
    }

    /// The main record at `spot` and those that follow it in this direction, at least, with nothing to look at on the way (Q4).
    pub(super) fn run(&self, spot: Spot, way: Way) -> Option<(usize, Range<usize>)> {
        let index = spot.leaf.filter(|_| self.items.is_none() && spot.buffered.is_none())?;
        let Gap { buffered, .. } = spot.before;
        let Range { start, end } = self.span;
        let records = match way {
            _ if self.places.is_empty() || mutant!("run_over_buffered") => start..end,
            Way::Up => index..self.places.get(buffered).map_or(end, |(before, _)| *before),
            Way::Down => {
                let last = buffered.checked_sub(1).map(|last| self.places[last]);
                last.map_or(start, |(before, is_there)| before + usize::from(is_there))..index + 1
            }
        };
        Some((index, records))
    }

    /// The key of the window at `spot` and those that follow it in this direction, at least, with nothing to look at on the way (Q4).
    pub(super) fn window_run(&self, spot: Spot, way: Way) -> Option<(usize, Range<usize>)> {
        let index = spot.buffered.filter(|_| self.is_uncovered)?;
        let place = (spot.before.leaf, false);
        let is_plain = |index: &usize| {
            let is_alone = self.places[*index] == place || mutant!("window_run_over_leaf");
            is_alone && self.window.is_plain(*index)
        };
        if !is_plain(&index) {
            return None;
        }
        let keys = match way {
            Way::Up => index..index + 1 + (index + 1..self.window.len()).take_while(is_plain).count(),
            Way::Down => index - (0..index).rev().take_while(is_plain).count()..index + 1,
        };
        Some((index, keys))
    }

    /// How many keys the buffers delete in it.
    pub(super) fn deleted_keys(&self) -> usize {
        (0..self.window.len()).filter(|&index| self.window.known(index).says == Says::Deleted).count()
    }

    /// Where the list begins.
    pub(super) fn low(&self) -> &[u8] {
        self.window.low.as_deref().unwrap_or(self.image.low_fence())
    }

    /// Where it ends; empty: nowhere.
    pub(super) fn high(&self) -> &[u8] {
        self.window.high.as_deref().unwrap_or(self.image.high_fence())
    }

    /// Replaces `key` by the key at `spot`.
    pub(super) fn key_into(&self, spot: Spot, key: &mut KeyBuffer) {
        match (spot.buffered, spot.leaf) {
            (Some(index), _) => key.set(self.window.key(index)),
            (None, Some(index)) => self.leaf_key_into(index, key),
            (None, None) => unreachable!("a spot is a key of the leaf or of the buffers"),
        }
    }

    fn leaf_key_into(&self, index: usize, key: &mut KeyBuffer) {
        match self.items.as_ref().map(|items| &items[index].key) {
            None => self.image.set_key(index, key),
            Some(at) => key_at_into(&self.image, at, key),
        }
    }

    /// Where in the window lies what is shown at `spot`, if it is a version of the buffers.
    fn buffered(&self, spot: Spot) -> Option<usize> {
        spot.buffered.filter(|&index| self.window.known(index).says != Says::Nothing)
    }

    fn leaf_index(spot: Spot) -> usize {
        spot.leaf.expect("a key that the buffers do not show is in the leaf")
    }

    fn shown(&self, index: usize) -> &Shown {
        let items = self.items.as_ref().expect("a plain leaf is asked directly");
        items[index].shown.as_ref().expect("a cursor stands only on keys that are shown")
    }

    /// The reference there, if the value lies in a value file.
    pub(super) fn large(&self, spot: Spot) -> Option<LargeRef> {
        if let Some(index) = self.buffered(spot) {
            return self.window.large(index);
        }
        match spot.leaf.filter(|_| self.items.is_some()).map(|index| &self.shown(index).value) {
            Some(ShownValue::Large(large)) => Some(*large),
            Some(ShownValue::InImage(_) | ShownValue::Own(_)) | None => None,
        }
    }

    pub(super) fn value(&self, spot: Spot) -> &[u8] {
        if let Some(index) = self.buffered(spot) {
            return self.window.value(index);
        }
        let index = LeafWalk::leaf_index(spot);
        if self.items.is_none() {
            return &self.image.bytes()[self.image.value_range(index)];
        }
        match &self.shown(index).value {
            ShownValue::InImage(range) => &self.image.bytes()[range.clone()],
            ShownValue::Own(value) => value,
            ShownValue::Large(_) => panic!("C8: the value was not made sure of"),
        }
    }

    pub(super) fn value_owned(&self, spot: Spot) -> Value {
        if let Some(index) = self.buffered(spot) {
            return self.window.value_owned(index);
        }
        let index = LeafWalk::leaf_index(spot);
        if self.items.is_none() {
            let range = self.image.value_range(index);
            return Value::from_image(&self.image, range.start, range.len());
        }
        match &self.shown(index).value {
            ShownValue::InImage(range) => Value::from_image(&self.image, range.start, range.len()),
            ShownValue::Own(value) => value.clone(),
            ShownValue::Large(_) => panic!("C8: the value was not made sure of"),
        }
    }

    pub(super) fn ts(&self, spot: Spot) -> Timestamp {
        if let Some(index) = self.buffered(spot) {
            return self.window.known(index).ts;
        }
        let index = LeafWalk::leaf_index(spot);
        if self.items.is_none() { self.image.record(index).ts } else { self.shown(index).ts }
    }

    /// The place where a move from `from` starts.
    pub(super) fn gap(&self, from: &From<'_>, way: Way) -> Gap {
        let (key, Inclusive(inclusive)) = match from {
            From::Key(key, inclusive) => (&**key, *inclusive),
            From::End if way == Way::Up => return Gap { leaf: self.span.start, buffered: 0 },
            From::End => return Gap { leaf: self.span.end, buffered: self.window.len() },
        };
        // Before the key itself if the move goes up and may stop there, or goes down and may not.
        let equal = if inclusive == (way == Way::Up) { Equal::Behind } else { Equal::Before };
        let is_before = |other: &[u8]| other < key || (equal == Equal::Before && other == key);
        Gap {
            leaf: match way {
                Way::Up if key <= self.image.low_fence() => self.span.start,
                _ => self.rank(key, equal).clamp(self.span.start, self.span.end),
            },
            buffered: self.window.partition_point(is_before),
        }
    }

    /// The next key shown from `gap` on; it replaces `key`. What is passed counts for `newer`.
    pub(super) fn go(&self, mut gap: Gap, way: Way, key: &mut KeyBuffer, newer: &mut bool) -> Option<Spot> {
        loop {
            let spot = self.beside(gap, way)?;
            *newer |= self.is_newer(spot);
            if self.is_shown(spot) {
                self.key_into(spot, key);
                return Some(spot);
            }
            gap = spot.beyond(way);
        }
    }

    /// The next key of the list, shown or not.
    fn beside(&self, gap: Gap, way: Way) -> Option<Spot> {
        let (leaf, buffered) = match way {
            Way::Up => (Some(gap.leaf), Some(gap.buffered)),
            Way::Down => (gap.leaf.checked_sub(1), gap.buffered.checked_sub(1)),
        };
        let leaf = leaf.filter(|index| self.span.contains(index));
        let buffered = buffered.filter(|&index| index < self.places.len());
        let order = match (leaf, buffered) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(index), Some(buffered)) => {
                let (before, is_there) = self.places[buffered];
                let order = index.cmp(&before).then(if is_there { Ordering::Equal } else { Ordering::Greater });
                if way == Way::Up { order } else { order.reverse() }
            }
        };
        let (leaf, buffered) = (leaf.filter(|_| order.is_le()), buffered.filter(|_| order.is_ge()));
        let before = match way {
            Way::Up => gap,
            Way::Down => Gap { leaf: leaf.unwrap_or(gap.leaf), buffered: buffered.unwrap_or(gap.buffered) },
        };
        Some(Spot { leaf, buffered, before })
    }

    fn is_newer(&self, spot: Spot) -> bool {
        let in_leaf = || self.items.as_ref().zip(spot.leaf).is_some_and(|(items, index)| items[index].newer);
        spot.buffered.is_some_and(|index| self.window.known(index).newer) || in_leaf()
    }

    /// What the buffers know of a key is newer than what the leaf knows (W3).
    fn is_shown(&self, spot: Spot) -> bool {
        match spot.buffered.map(|index| self.window.known(index).says) {
            Some(Says::Value) => true,
            Some(Says::Deleted) => false,
            Some(Says::Nothing) | None => {
                spot.leaf.is_some_and(|index| self.items.as_ref().is_none_or(|items| items[index].shown.is_some()))
            }
        }
    }
}

fn key_at_into(image: &Image, at: &KeyAt, key: &mut KeyBuffer) {
    match at {
        KeyAt::Main(index) => image.set_key(*index, key),
        KeyAt::History(index) => image.set_hist_key(*index, key),
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

fn list_items(view: &LeafView, covers: &Covers, at: Timestamp) -> Vec<Item> {
    let image = &view.image;
    let mut spilled = view.spill.iter().flat_map(|spill| spill.iter()).peekable();
    let (mut main, mut hist) = (0, 0);
    let mut items = Vec::with_capacity(image.count());
    let mut key = KeyBuffer::default();
    loop {
        let main_suffix = (main < image.count()).then(|| image.record(main).suffix);
        let hist_suffix = (hist < image.hist_count()).then(|| image.hist_record(hist).suffix);
        // S1: a key in the spill has newer versions in the image, so the image's keys are all keys.
        let Some(suffix) = [main_suffix, hist_suffix].into_iter().flatten().min() else { break };
        let mut judge = Judge::new(at);
        let mut key_at = KeyAt::History(hist);
        if main_suffix == Some(suffix) {
            let record = image.record(main);
            judge.version(record.ts, || ShownValue::of(record.body, image.value_range(main)));
            key_at = KeyAt::Main(main);
            main += 1;
        }
        while hist < image.hist_count() && image.hist_record(hist).suffix == suffix {
            let record = image.hist_record(hist);
            judge.version(record.ts, || ShownValue::of(record.body, image.hist_value_range(hist)));
            hist += 1;
        }
        key_at_into(image, &key_at, &mut key);
        while let Some((_, ts, body)) = spilled.next_if(|(spilled_key, ..)| **spilled_key == *key) {
            judge.version(ts, || match body {
                Body::Value(bytes) => Some(ShownValue::Own(Value::from(bytes))),
                Body::Tombstone => None,
                Body::Large(large) => Some(ShownValue::Large(large)),
            });
        }
        items.push(judge.into_item(key_at, covers.covering(&key, at)));
    }
    debug_assert!(spilled.next().is_none(), "S1: every spilled key has newer versions in the image");
    items
}
