//! Cursors: the keys of a store at one timestamp, in both directions.
//!
//! A cursor holds a leaf image by counting it and walks it without any latch, together with what it copied from the write buffers for that stretch
//! of keys; the next leaf is found by key, from the root. So drains, splits, merges and checkpoints never disturb it: whatever it meets answers
//! rightly for its timestamp, because that is registered.
//!
//! Q1  The image was looked up after the list of range deletes that it is read with, and that after the buffers (G4).
//! Q2  A move first works out where it leads, reading what it must, and then goes there: an error leaves the position as it was (C3).
//! Q3  Everything between the old and the new position was looked at for something newer, range deletes included.
//! Q4  Between two main records of a run nothing else is shown, all of them are shown, inside the bounds, and nothing about them is newer than the
//!     cursor: a step inside a run has nothing to look at but the next record. The same holds between two keys of a run of the window.
//!
//! Next: `cursor/leaf_walk.rs` (a stretch of one leaf as a list of keys), `cursor/window.rs` (what the buffers have to say about it).

use std::borrow::Cow;
use std::ops::{Bound, Range};

use duramen_base::backend::BackendCursor;
use duramen_base::image::{KeyBuffer, Located};
use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, Result, Timestamp, Value};

use crate::ahead::ScanAhead;
use crate::read::Target;
use crate::store::Store;

mod leaf_walk;
mod window;

use leaf_walk::{Gap, LeafWalk, Spot};
use window::{Covers, Place, Window};
pub(crate) use window::{Held, Ingested};

/// Keys copied from a buffer at once: few at first, so that a short scan costs little.
const BUFFERED_KEYS: Range<usize> = 16..512;
/// So many keys that the buffers delete, one behind the other, are worth a drain (U6 of `work.rs`).
const DELETED_KEYS_MAX: usize = 1024;

/// A position among the keys of a B-tree; [`BTree`](crate::BTree) has an example.
pub struct BTreeCursor {
    store: Arc<Store>,
    at: Timestamp,
    lower: Bound<Arc<[u8]>>,
    upper: Bound<Arc<[u8]>>,
    state: State,
    leaf: Option<Leaf>,
    run: Run,
    window_run: WindowRun,
    key: KeyBuffer,
    /// Room for the next key.
    next_key: KeyBuffer,
    newer_seen: bool,
    /// The value there, if it lies in a value file and was made sure of (C8).
    loaded: Option<Value>,
    /// How many keys the next load copies from each buffer.
    buffered_keys: usize,
    /// What it had to read since it last looked for a key.
    ahead: ScanAhead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Made and not moved yet (C1).
    Nowhere,
    BeforeFirst,
    /// On this key of the leaf's walk.
    On(Spot),
    /// On a main record of the run.
    InRun,
    /// On a key of the run of the window.
    InWindow,
    AfterLast,
}

/// Main records of the leaf that follow one another in what the cursor shows (Q4). None unless it stands on one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Run {
    records: Range<usize>,
    /// The one it stands on.
    index: usize,
    /// Where that lies.
    located: Located,
    /// How many keys of the window lie before them.
    buffered: usize,
}

/// Keys of the window that follow one another in what the cursor shows, with no key of the leaf between them (Q4). None unless it stands on one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct WindowRun {
    keys: Range<usize>,
    /// The one it stands on.
    index: usize,
    /// How many keys of the leaf lie before them.
    leaf: usize,
}

/// The neighbour of `index` in `run`, if it has one.
#[inline(always)]
fn neighbour(run: &Range<usize>, index: usize, way: Way) -> Option<usize> {
    match way {
        Way::Up => Some(index + 1).filter(|next| *next < run.end),
        Way::Down => index.checked_sub(1).filter(|next| *next >= run.start),
    }
}

/// The leaf it stands in.
struct Leaf {
    walk: LeafWalk,
    covers: Covers,
}

/// Where a move starts: at, or just beside, a key; or at an end of the bounds.
#[derive(Clone, Debug)]
enum From<'a> {
    Key(Cow<'a, [u8]>, Inclusive),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inclusive(bool);

/// Where a look at one leaf ended: at the key found, at the far bound (or the end of everything), or at the leaf's fence.
#[derive(Clone, Copy, Debug)]
enum Until<'a> {
    Key(&'a [u8]),
    Bound,
    Fence(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Way {
    fn reversed(self) -> Way {
        match self {
            Way::Up => Way::Down,
            Way::Down => Way::Up,
        }
    }
}

fn end_of(way: Way) -> State {
    match way {
        Way::Up => State::AfterLast,
        Way::Down => State::BeforeFirst,
    }
}

/// Whether everything beyond the fence of a page is outside the bounds.
pub(crate) fn is_outside(bounds: &KeyBounds<'_>, fence: &[u8], way: Way) -> bool {
    match way {
        Way::Up => bounds.is_above(fence),
        // The page before ends just below the fence.
        Way::Down => match bounds.lower {
            Bound::Included(low) | Bound::Excluded(low) => fence <= low,
            Bound::Unbounded => false,
        },
    }
}

fn as_slice(bound: &Bound<Arc<[u8]>>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &**key)
}

impl BTreeCursor {
    pub(crate) fn new(store: Arc<Store>, at: Timestamp, bounds: KeyBounds<'_>) -> Result<BTreeCursor> {
        store.check_not_too_old(at)?;
        Ok(BTreeCursor {
            store,
            at,
            lower: bounds.lower.map(Arc::from),
            upper: bounds.upper.map(Arc::from),
            state: State::Nowhere,
            leaf: None,
            run: Run::default(),
            window_run: WindowRun::default(),
            key: KeyBuffer::default(),
            next_key: KeyBuffer::default(),
            newer_seen: false,
            loaded: None,
            buffered_keys: BUFFERED_KEYS.start,
            ahead: ScanAhead::default(),
        })
    }

    fn bounds(&self) -> KeyBounds<'_> {
        KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) }
    }

    /// The leaf in which a move from `from` starts.
    fn load(&mut self, from: &From<'_>, way: Way) -> Result<Leaf> {
        let buffered_keys = self.buffered_keys;
        self.buffered_keys = (buffered_keys * 2).min(BUFFERED_KEYS.end);
        let bound = as_slice(if way == Way::Up { &self.lower } else { &self.upper });
        let start = match (from, bound) {
            (From::End, Bound::Included(key)) => From::Key(Cow::Borrowed(key), Inclusive(true)),
            (From::End, Bound::Excluded(key)) => From::Key(Cow::Borrowed(key), Inclusive(false)),
            (From::End, Bound::Unbounded) => From::End,
            (From::Key(key, inclusive), _) => From::Key(Cow::Borrowed(&**key), *inclusive),
        };
        let target = match (&start, way) {
            (From::Key(key, Inclusive(false)), Way::Down) if !key.is_empty() => Target::Before(key),
            (From::Key(key, _), _) => Target::At(key),
            (From::End, Way::Up) => Target::At(&[]),
            (From::End, Way::Down) => Target::Last,
        };
        loop {
            let layers = self.store.buffers.layers_if_any(); // Q1
            let covers = Covers::new(self.store.tombs_if_any(), layers.as_deref());
            let view = self.store.leaf_view(target, self.at, || {
                let bounds = KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) };
                self.store.ask_ahead(&mut self.ahead, target, way, &bounds);
            })?;
            let window = match layers {
                None => Window::default(),
                Some(layers) => {
                    let fences = (view.image.low_fence(), view.image.high_fence());
                    let place = Place { store: &self.store, fences, way, at: self.at, keys_max: buffered_keys };
                    let Some(window) = Window::new(&layers, &place, &start)? else {
                        continue; // a run of these layers is in the tree by now
                    };
                    self.store.note_copied(window.copied_bytes());
                    window
                }
            };
            return Ok(Leaf { walk: LeafWalk::new(view, window, &covers, &self.bounds(), self.at), covers });
        }
    }

    /// Goes from `from` in the direction `way` to the first key shown inside the bounds; the one place where a cursor moves (Q2).
    /// `gap`: where in its own leaf it starts; `None`: the leaf must be looked up.
    fn go(&mut self, mut from: From<'_>, gap: Option<Gap>, way: Way, mut newer: bool) -> Result<bool> {
        let mut loaded = if gap.is_some() { None } else { Some(self.load(&from, way)?) };
        let mut gap = gap;
        let mut deleted_keys = 0;
        let mut key = std::mem::take(&mut self.next_key);
        loop {
            let leaf = loaded.as_ref().or(self.leaf.as_ref()).expect("a cursor that moves has a leaf");
            let start = gap.take().unwrap_or_else(|| leaf.walk.gap(&from, way));
            let found = leaf.walk.go(start, way, &mut key, &mut newer);
            let edge = if way == Way::Up { leaf.walk.high() } else { leaf.walk.low() };
            let is_last = edge.is_empty() || is_outside(&self.bounds(), edge, way);
            let until = match found {
                Some(_) => Until::Key(&key),
                None if is_last => Until::Bound,
                None => Until::Fence(edge),
            };
            newer |= self.newer_range_delete(&leaf.covers, &from, until, way);
            if let Some(spot) = found {
                self.leaf = loaded.or_else(|| self.leaf.take());
                self.next_key = std::mem::replace(&mut self.key, key);
                self.newer_seen = newer;
                self.stand_on(spot, way);
                return Ok(true);
            }
            deleted_keys += leaf.walk.deleted_keys();
            if deleted_keys >= DELETED_KEYS_MAX {
                self.store.note_met_deleted();
                deleted_keys = 0;
            }
            if is_last {
                (self.next_key, self.newer_seen) = (key, newer);
                self.stand_outside(way);
                return Ok(false);
            }
            from = From::Key(Cow::Owned(edge.to_vec()), Inclusive(way == Way::Up));
            loaded = Some(self.load(&from, way)?);
        }
    }

    /// Takes its place on a key of its leaf, and notes how far it can step from there without looking.
    fn stand_on(&mut self, spot: Spot, way: Way) {
        let run = self.leaf.as_ref().and_then(|leaf| {
            let (index, records) = leaf.walk.run(spot, way)?;
            Some(Run { records, index, located: leaf.walk.image.locate(index), buffered: spot.before.buffered })
        });
        let window_run = self.leaf.as_ref().filter(|_| run.is_none()).and_then(|leaf| {
            let (index, keys) = leaf.walk.window_run(spot, way)?;
            Some(WindowRun { keys, index, leaf: spot.before.leaf })
        });
        self.loaded = None;
        self.state = match (&run, &window_run) {
            (Some(_), _) => State::InRun,
            (None, Some(_)) => State::InWindow,
            (None, None) => State::On(spot),
        };
        (self.run, self.window_run) = (run.unwrap_or_default(), window_run.unwrap_or_default());
    }

    /// Takes its place on no key.
    fn stand_outside(&mut self, way: Way) {
        (self.state, self.leaf, self.loaded) = (end_of(way), None, None);
        (self.run, self.window_run) = (Run::default(), WindowRun::default());
    }

    /// The key of its leaf that it stands on.
    fn spot(&self) -> Option<Spot> {
        match self.state {
            State::On(spot) => Some(spot),
            State::InRun => Some(Spot::of_leaf(self.run.index, self.run.buffered)),
            State::InWindow => Some(Spot::of_window(self.window_run.index, self.window_run.leaf)),
            State::Nowhere | State::BeforeFirst | State::AfterLast => None,
        }
    }

    /// The neighbour of the record of a run that it stands on, if the run has it.
    #[inline(always)]
    fn beside_in_run(&self, way: Way) -> Option<usize> {
        neighbour(&self.run.records, self.run.index, way)
    }

    #[inline(always)]
    fn is_at_hand(&self, way: Way) -> bool {
        self.beside_in_run(way).is_some() || neighbour(&self.window_run.keys, self.window_run.index, way).is_some()
    }

    /// The step inside a run, to its record `next` (Q4). Inlined: it is most of what an entry of a scan costs.
    #[inline(always)]
    fn step_in_run(&mut self, next: usize) -> Option<(&[u8], &[u8])> {
        let image = &*self.leaf.as_ref()?.walk.image;
        let located = image.locate(next);
        (self.run.index, self.run.located) = (next, located);
        image.change_key(located, &mut self.key);
        Some((&self.key, image.value_at(located)))
    }

    /// The same in a run of the window. Apart, so that it costs the other nothing.
    #[inline(never)]
    fn step_in_window(&mut self, way: Way) -> Option<(&[u8], &[u8])> {
        let next = neighbour(&self.window_run.keys, self.window_run.index, way)?;
        let window = &self.leaf.as_ref()?.walk.window;
        self.window_run.index = next;
        self.key.set(window.key(next));
        Some((&self.key, window.value(next)))
    }

    #[inline(always)]
    fn step_at_hand(&mut self, way: Way) -> Option<(&[u8], &[u8])> {
        match self.beside_in_run(way) {
            Some(next) => self.step_in_run(next),
            None => self.step_in_window(way),
        }
    }

    /// Q3: whether a range delete newer than the cursor covers anything from `from` until `until`.
    fn newer_range_delete(&self, covers: &Covers, from: &From<'_>, until: Until<'_>, way: Way) -> bool {
        if covers.is_empty() {
            return false;
        }
        let bound_of = |way| as_slice(if way == Way::Up { &self.upper } else { &self.lower });
        let start = match from {
            From::Key(key, Inclusive(true)) => Bound::Included(&**key),
            From::Key(key, Inclusive(false)) => Bound::Excluded(&**key),
            From::End => bound_of(way.reversed()),
        };
        let end = match until {
            Until::Key(key) => Bound::Included(key),
            Until::Bound => bound_of(way),
            Until::Fence(fence) if way == Way::Up => Bound::Excluded(fence),
            Until::Fence(fence) => Bound::Included(fence),
        };
        let (lower, upper) = if way == Way::Up { (start, end) } else { (end, start) };
        covers.any_newer_in(lower, upper, self.at)
    }

    /// Goes to the first (`Up`) or last (`Down`) key inside the bounds.
    fn go_from_end(&mut self, way: Way, newer: bool) -> Result<bool> {
        if self.bounds().is_empty() {
            self.newer_seen = newer;
            self.stand_outside(way);
            return Ok(false);
        }
        self.go(From::End, None, way, newer)
    }

    fn seek_towards(&mut self, key: &[u8], way: Way) -> Result<bool> {
        (self.buffered_keys, self.ahead) = (BUFFERED_KEYS.start, ScanAhead::default());
        let bounds = self.bounds();
        let is_before_all = if way == Way::Up { bounds.is_below(key) } else { bounds.is_above(key) };
        if bounds.is_empty() || is_before_all {
            self.go_from_end(way, false)
        } else {
            self.go(From::Key(Cow::Borrowed(key), Inclusive(true)), None, way, false)
        }
    }

    /// A step that is none inside a run.
    #[inline(never)]
    fn step(&mut self, way: Way) -> Result<bool> {
        if let Some(spot) = self.spot() {
            let gap = spot.beyond(way);
            let key = std::mem::take(&mut self.key);
            let moved = self.go(From::Key(Cow::Borrowed(&key), Inclusive(false)), Some(gap), way, self.newer_seen);
            match moved {
                Ok(_) => self.next_key = key,
                Err(_) => self.key = key, // Q2
            }
            return moved;
        }
        if self.state == end_of(way) { Ok(false) } else { self.go_from_end(way, self.newer_seen) }
    }

    #[inline(never)]
    fn value_afar(&self) -> &[u8] {
        let (leaf, spot) = self.on();
        self.loaded.as_deref().unwrap_or_else(|| leaf.walk.value(spot))
    }

    fn on(&self) -> (&Leaf, Spot) {
        match (&self.leaf, self.spot()) {
            (Some(leaf), Some(spot)) => (leaf, spot),
            _ => panic!("the cursor stands on no key"),
        }
    }
}

impl BackendCursor for BTreeCursor {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.seek_towards(key, Way::Up)
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.seek_towards(key, Way::Down)
    }

    #[inline]
    fn next_is_at_hand(&self) -> bool {
        self.is_at_hand(Way::Up)
    }

    #[inline]
    fn prev_is_at_hand(&self) -> bool {
        self.is_at_hand(Way::Down)
    }

    #[inline]
    fn next_at_hand(&mut self) -> (&[u8], &[u8]) {
        self.step_at_hand(Way::Up).expect("C7: the next key is at hand")
    }

    #[inline]
    fn prev_at_hand(&mut self) -> (&[u8], &[u8]) {
        self.step_at_hand(Way::Down).expect("C7: the previous key is at hand")
    }

    fn next(&mut self) -> Result<bool> {
        if self.step_at_hand(Way::Up).is_some() { Ok(true) } else { self.step(Way::Up) }
    }

    fn prev(&mut self) -> Result<bool> {
        if self.step_at_hand(Way::Down).is_some() { Ok(true) } else { self.step(Way::Down) }
    }

    fn load_value(&mut self) -> Result<()> {
        let State::On(spot) = self.state else { return Ok(()) };
        let large = self.leaf.as_ref().and_then(|leaf| leaf.walk.large(spot)).filter(|_| self.loaded.is_none());
        if let Some(large) = large {
            // Ended by its age: what only it could see is gone.
            let value = self.store.load_large(&self.key, self.at, large)?.ok_or(Error::SnapshotTooOld)?;
            self.loaded = Some(value);
        }
        Ok(())
    }

    #[inline]
    fn key(&self) -> &[u8] {
        assert!(matches!(self.state, State::InRun | State::InWindow | State::On(_)), "the cursor stands on no key");
        &self.key
    }

    #[inline]
    fn value(&self) -> &[u8] {
        match (&self.leaf, self.state) {
            (Some(leaf), State::InRun) => leaf.walk.image.value_at(self.run.located),
            _ => self.value_afar(),
        }
    }

    #[inline]
    fn value_owned(&self) -> Value {
        match (&self.leaf, self.state) {
            (Some(leaf), State::InRun) => {
                let range = self.run.located.value_range();
                Value::from_image(&leaf.walk.image, range.start, range.len())
            }
            _ => {
                let (leaf, spot) = self.on();
                self.loaded.clone().unwrap_or_else(|| leaf.walk.value_owned(spot))
            }
        }
    }

    fn ts(&self) -> Timestamp {
        let (leaf, spot) = self.on();
        leaf.walk.ts(spot)
    }

    fn newer_seen(&self) -> bool {
        self.newer_seen
    }
}

impl std::fmt::Debug for BTreeCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BTreeCursor").field("at", &self.at).field("state", &self.state).finish_non_exhaustive()
    }
}
