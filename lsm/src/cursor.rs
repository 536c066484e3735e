//! The cursor: memtables and runs merged by key, as of one timestamp, both ways.
//!
//! It owns what it reads; nothing is pinned and no latch is held between calls. Invariants C1 to C6 of `base/src/backend.rs`, and these:
//!
//! The sources stand in order of their keys; a step moves the first one on and lets it sink to its place. With the few sources there are, and a
//! large one that mostly stays first, this takes one comparison a step, where a tournament takes one for each level of its tree.
//!
//! U1  While `aligned` names a direction, every source stands on its nearest key at or beyond the current one in that direction, and `order`
//!     is sorted: the first `front` of it stand on the nearest key of all.
//! U2  The current key, value and place change only when a step has succeeded; a failed one clears `aligned`, so that the next step seeks
//!     every source from the current key again (C3).
//! U4  While there is a stretch (`cursor/stretch.rs`), it says where the cursor stands, and `aligned` and `order` hold for where it began. A step on the same
//!     way that is none along it begins with bringing the sources to where it goes on. All else begins with leaving it: every source is sought again.
//! U3  A seek begins with the superversion that is current then, so changes applied before it are met (C6). What is readable at the
//!     cursor's timestamp is the same in all of them, as it stays registered.

use std::ops::Bound;
use std::sync::Arc;

use duramen_base::arena::Counted;
use duramen_base::image::KeyBuffer;
use duramen_base::{BackendCursor, Error, KeyBounds, Result, ScanOpts, Timestamp, Value, mutant};

mod stretch;

use crate::get::Answer;
use crate::run_cursor::RunCursor;
use crate::source::{Direction, MemSource, Source, Stored};
use crate::store::Store;
use crate::superversion::SuperVersion;
use crate::table::blocks::Loading;
use duramen_base::memtable::RangeTombs;
use duramen_base::memtable::as_slice;
use stretch::{Stretch, Wanted};

/// A position among the keys of an LSM store, at one timestamp. See [`BackendCursor`].
#[derive(Debug)]
pub struct LsmCursor {
    store: Arc<Store>,
    at: Timestamp,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    blocks: Loading,
    sv: Arc<SuperVersion>,
    sources: Vec<Source>,
    /// The sources that stand on a key, nearest first (U1).
    order: Vec<usize>,
    front: usize,
    tombs: Vec<Arc<RangeTombs>>,
    aligned: Option<Direction>,
    place: Place,
    current: Current,
    newer_seen: bool,
    /// Where the cursor can go on without a look at the other sources.
    stretch: Option<Stretch>,
    /// Which source was first at the last step.
    winner: usize,
    /// Room for the keys of a stretch.
    room: KeyBuffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    On,
    BeforeFirst,
    AfterLast,
}

#[derive(Debug)]
struct Current {
    key: Vec<u8>,
    value: Stored,
    ts: Timestamp,
}

impl LsmCursor {
    pub(crate) fn new(store: &Arc<Store>, at: Timestamp, bounds: KeyBounds<'_>, opts: ScanOpts) -> LsmCursor {
        let sv = store.current();
        let mut cursor = LsmCursor {
            store: Arc::clone(store),
            at,
            lower: bounds.lower.map(<[u8]>::to_vec),
            upper: bounds.upper.map(<[u8]>::to_vec),
            blocks: Loading { keep: opts.fill_cache, is_last: false, asks_ahead: true },
            sv,
            sources: Vec::new(),
            order: Vec::new(),
            front: 0,
            tombs: Vec::new(),
            aligned: None,
            place: Place::Nowhere,
            current: Current { key: Vec::new(), value: Stored::Owned(Value::from(&b""[..])), ts: Timestamp::ZERO },
            newer_seen: false,
            stretch: None,
            winner: usize::MAX,
            room: KeyBuffer::default(),
        };
        cursor.gather();
        cursor
    }

    /// Sources and range tombstones of the superversion it holds.
    fn gather(&mut self) {
        let memtables = self.sv.memtables().filter(|memtable| !memtable.is_empty());
        let runs = self.sv.runs().map(|run| Source::Run(RunCursor::new(run, self.blocks)));
        self.sources = memtables.map(|memtable| Source::Mem(MemSource::new(memtable))).chain(runs).collect();
        self.gather_tombs();
    }

    fn gather_tombs(&mut self) {
        let tables = std::iter::once(Arc::clone(&self.sv.version.tombs));
        let all = self.sv.memtables().map(|memtable| memtable.tombs()).chain(tables);
        self.tombs = all.filter(|tombs| !tombs.is_empty()).collect();
    }

    /// U3. The memtable may have been empty when the sources were gathered.
    fn refresh(&mut self) {
        self.note_copied();
        self.sv = self.store.current();
        self.gather();
    }

    /// Tells the store what its sources copied.
    fn note_copied(&self) {
        let memtables = self.sources.iter().filter_map(|source| match source {
            Source::Mem(memtable) => Some(memtable),
            Source::Run(_) => None,
        });
        let (bytes, deleted) = memtables.fold((0, 0), |(bytes, deleted), memtable| {
            (bytes + memtable.copied_bytes(), deleted + memtable.copied_deleted())
        });
        self.store.note_copied(bytes, deleted);
    }

    fn bounds(&self) -> KeyBounds<'_> {
        KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) }
    }

    /// The first key beyond `from` in `direction` that has a value, made the current one; `false` at the end of the bounds.
    /// `from` is inside the bounds, or the bound itself.
    fn walk(&mut self, from: Bound<&[u8]>, direction: Direction) -> Result<bool> {
        if self.bounds().is_empty() {
            return Ok(self.run_out(direction));
        }
        self.align(from, direction)?;
        if self.tombs.is_empty() {
            return self.show_nearest(direction);
        }
        let mut key = Vec::new();
        while let Some(nearest) = self.nearest() {
            key.clear();
            key.extend_from_slice(nearest);
            if !self.bounds().contains(&key) {
                break;
            }
            let answer = self.answer(&key)?;
            self.newer_seen |= answer.newer();
            if let Some((value, ts)) = answer.into_value() {
                self.note_tombs(from, Bound::Included(&key), direction);
                std::mem::swap(&mut self.current.key, &mut key);
                (self.current.value, self.current.ts, self.place) = (value, ts, Place::On);
                self.begin_stretch(direction);
                return Ok(true);
            }
            self.pass(direction)?;
        }
        let (lower, upper) = (self.lower.clone(), self.upper.clone());
        match direction {
            Direction::Forward => self.note_tombs(from, as_slice(&upper), direction),
            Direction::Backward => self.note_tombs(from, as_slice(&lower), direction),
        }
        Ok(self.run_out(direction))
    }

    fn run_out(&mut self, direction: Direction) -> bool {
        self.place = match direction {
            Direction::Forward => Place::AfterLast,
            Direction::Backward => Place::BeforeFirst,
        };
        false
    }

    /// U1: brings the sources to the first keys beyond `from`. If they stand at the current key already, those on it go on.
    fn align(&mut self, from: Bound<&[u8]>, direction: Direction) -> Result<()> {
        if self.aligned.take() == Some(direction)
            && let Bound::Excluded(key) = from
        {
            if self.nearest() == Some(key) {
                self.pass(direction)?;
            }
        } else {
            for source in &mut self.sources {
                source.seek(from, direction, self.at)?;
            }
            self.put_in_order(direction);
        }
        self.aligned = Some(direction);
        Ok(())
    }

    fn put_in_order(&mut self, direction: Direction) {
        let sources = &self.sources;
        self.order.clear();
        self.order.extend((0..sources.len()).filter(|&source| sources[source].key().is_some()));
        self.order.sort_by(|&a, &b| direction.cmp(sources[a].key(), sources[b].key()));
        self.count_front();
    }

    #[inline]
    fn count_front(&mut self) {
        let key = |place: usize| self.order.get(place).and_then(|&source| self.sources[source].key());
        let mut front = usize::from(!self.order.is_empty());
        while front < self.order.len() && key(front) == key(0) {
            front += 1;
        }
        self.front = front;
    }

    /// Moves the sources at the front beyond their key.
    fn pass(&mut self, direction: Direction) -> Result<()> {
        let aligned = self.aligned.take();
        self.advance_front(direction)?;
        self.aligned = aligned;
        Ok(())
    }

    /// U1 holds again afterwards, unless there was an error.
    #[inline]
    fn advance_front(&mut self, direction: Direction) -> Result<()> {
        for place in (0..self.front).rev() {
            let source = self.order[place];
            self.sources[source].advance(direction, self.at)?;
            self.sink(place, direction);
        }
        self.count_front();
        Ok(())
    }

    /// Lets the source at `place` go behind those that are nearer; out, if it stands on no key any more.
    #[inline]
    fn sink(&mut self, mut place: usize, direction: Direction) {
        let moved = self.order[place];
        let Some(key) = self.sources[moved].key() else {
            self.order.remove(place);
            return;
        };
        while let Some(&next) = self.order.get(place + 1)
            && direction.cmp(self.sources[next].key(), Some(key)).is_lt()
        {
            self.order[place] = next;
            place += 1;
        }
        self.order[place] = moved;
    }

    /// Looks how far the nearest sources can be followed without the others, if that is likely to be worth it.
    fn begin_stretch(&mut self, way: Direction) {
        let Some(&first) = self.order.first() else { return };
        let second = self.second(first);
        let is_likely = self.order.len() == 1 + usize::from(second.is_some())
            || self.winner == first
            || second == Some(self.winner);
        self.winner = first;
        if is_likely {
            self.stretch = self.stretch_of(first, second, [true, self.front == 2], way);
        }
    }

    /// Takes the sources beyond the keys at the front that a memtable deletes, in one go; whether there were any.
    fn pass_deleted(&mut self, way: Direction) -> Result<bool> {
        let is_deleted = |&source: &usize| match &self.sources[source] {
            Source::Mem(memtable) => memtable.piece().is_plain_tombstone(memtable.index()),
            Source::Run(_) => false,
        };
        if !self.order[..self.front].iter().any(is_deleted) {
            return Ok(false);
        }
        let first = self.order[0];
        let stretch = self.stretch_of(first, self.second(first), [false; 2], way);
        let Some(stretch) = stretch else { return Ok(false) };
        if stretch.has_passed() {
            self.go_beyond(stretch)?;
            return Ok(true);
        }
        self.room = stretch.into_room();
        Ok(false)
    }

    /// The source behind the first, if one of both is a run and the other a memtable.
    fn second(&self, first: usize) -> Option<usize> {
        let is_run = |source: usize| matches!(self.sources[source], Source::Run(_));
        self.order.get(1).copied().filter(|&second| is_run(second) != is_run(first))
    }

    fn stretch_of(
        &mut self,
        first: usize,
        second: Option<usize>,
        passed: [bool; 2],
        way: Direction,
    ) -> Option<Stretch> {
        let parts = 1 + usize::from(second.is_some());
        if self.front > parts || !self.tombs.is_empty() {
            return None; // ST3
        }
        let wanted = Wanted {
            sources: &self.sources,
            first,
            second,
            passed,
            other: self.order.get(parts).and_then(|&other| self.sources[other].key()),
            bounds: KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) },
            way,
            at: self.at,
        };
        Stretch::begin(&wanted, &mut self.room)
    }

    /// Brings the sources to where a stretch goes on; U1 holds again afterwards, unless there was an error.
    fn go_beyond(&mut self, stretch: Stretch) -> Result<()> {
        stretch.bring_on(&mut self.sources)?;
        for place in (0..stretch.parts()).rev() {
            self.sink(place, stretch.way());
        }
        self.count_front();
        self.room = stretch.into_room();
        Ok(())
    }

    /// U4, to be sought from where it stands.
    fn leave_stretch(&mut self) {
        let Some(stretch) = self.stretch.take() else { return };
        self.stand_on(&stretch);
        self.aligned = None;
        self.room = stretch.into_room();
    }

    /// Makes what a stretch stands on the current entry.
    fn stand_on(&mut self, stretch: &Stretch) {
        if let Some((key, _)) = stretch.entry(&self.sources) {
            self.current.key.clear();
            self.current.key.extend_from_slice(key);
        }
        if let (Some(value), Some(ts)) = (stretch.value_owned(&self.sources), stretch.ts(&self.sources)) {
            (self.current.value, self.current.ts) = (Stored::Owned(value), ts);
        }
    }

    #[inline(always)]
    fn has_ahead(&self, way: Direction) -> bool {
        self.stretch.as_ref().is_some_and(|stretch| stretch.has_ahead(way))
    }

    /// A step along the stretch, the way it goes.
    #[inline(always)]
    fn step_along(&mut self) -> Option<(&[u8], &[u8])> {
        self.stretch.as_mut()?.step(&self.sources)
    }

    /// What the stretch stands on, once the cursor has gone along it.
    #[inline]
    fn along(&self) -> Option<(&[u8], &[u8])> {
        self.stretch.as_ref()?.entry(&self.sources)
    }

    fn nearest(&self) -> Option<&[u8]> {
        self.sources[*self.order.first()?].key()
    }

    /// A step from the current key, while the sources are aligned and there are no range tombstones.
    #[inline]
    fn step_on(&mut self, direction: Direction) -> Result<bool> {
        self.aligned = None; // U2
        self.advance_front(direction)?;
        self.show_nearest(direction)
    }

    /// Makes the nearest key with a value the current one, from where the sources stand on, while there are no range tombstones.
    fn show_nearest(&mut self, direction: Direction) -> Result<bool> {
        self.aligned = None; // U2
        let found = loop {
            let Some(&first) = self.order.first() else { break false };
            if !self.is_inside(first, direction) {
                break false;
            }
            if self.show_front(first)? {
                break true;
            }
            if !self.pass_deleted(direction)? {
                self.advance_front(direction)?;
            }
        };
        self.aligned = Some(direction);
        if found {
            self.place = Place::On;
            self.begin_stretch(direction);
            return Ok(true);
        }
        Ok(self.run_out(direction))
    }

    /// Whether the key of a source is before the end of the bounds.
    #[inline]
    fn is_inside(&self, source: usize, direction: Direction) -> bool {
        let Some(key) = self.sources[source].key() else { return false };
        match direction {
            Direction::Forward => !self.bounds().is_above(key),
            Direction::Backward => !self.bounds().is_below(key),
        }
    }

    /// Makes the nearest key the current one, if it has a value.
    #[inline]
    fn show_front(&mut self, first: usize) -> Result<bool> {
        if self.front == 1
            && let Source::Run(run) = &self.sources[first]
            && let Some((block, value)) = run.newest_at(self.at)
        {
            let (Some(range), Some(key)) = (value, run.key()) else { return Ok(false) };
            self.current.key.clear();
            self.current.key.extend_from_slice(key);
            match &mut self.current.value {
                // Counting the block anew for each of its entries would be most of the work.
                Stored::InImage(counted, place) if Counted::is_same(counted, block) => *place = range,
                other => *other = Stored::InImage(Counted::clone(block), range),
            }
            self.current.ts = run.newest_ts();
            return Ok(true);
        }
        if let Some(is_shown) = self.show_plain() {
            return Ok(is_shown);
        }
        let Some(key) = self.sources[first].key().map(<[u8]>::to_vec) else { return Ok(false) };
        let answer = self.answer(&key)?;
        self.newer_seen |= answer.newer();
        let Some((value, ts)) = answer.into_value() else { return Ok(false) };
        self.current = Current { key, value, ts };
        Ok(true)
    }

    /// The same where a memtable knows the key, all else at the front is older, and nothing is newer than the cursor; `None`: it is not so.
    #[inline]
    fn show_plain(&mut self) -> Option<bool> {
        let mut newest: Option<(&MemSource, Timestamp)> = None;
        let mut newest_in_runs = Timestamp::ZERO;
        for &source in &self.order[..self.front] {
            match &self.sources[source] {
                Source::Mem(memtable) => {
                    let (piece, index) = (memtable.piece(), memtable.index());
                    if piece.newer(index) {
                        return None;
                    }
                    if newest.is_none_or(|(_, ts)| ts < piece.ts(index)) {
                        newest = Some((memtable, piece.ts(index)));
                    }
                }
                Source::Run(run) => newest_in_runs = newest_in_runs.max(run.newest_ts()),
            }
        }
        let is_newest = |ts: Timestamp| ts > newest_in_runs || mutant!("memtable_over_newer_run");
        let (memtable, ts) = newest.filter(|(_, ts)| is_newest(*ts))?;
        let (piece, index) = (memtable.piece(), memtable.index());
        let Some(value) = piece.value(index)? else { return Some(false) };
        self.current.key.clear();
        self.current.key.extend_from_slice(piece.key(index));
        self.current.value = Stored::Owned(Value::from(value));
        self.current.ts = ts;
        Some(true)
    }

    /// What `key` is, from all the sources that stand on it.
    fn answer(&self, key: &[u8]) -> Result<Answer> {
        let mut answer = Answer::default();
        for tombs in &self.tombs {
            let (tomb, newer) = tombs.at(key, self.at);
            answer.add(None, tomb, newer);
        }
        for &source in &self.order[..self.front] {
            let source = &self.sources[source];
            debug_assert!(source.key() == Some(key), "U1: the front is those on the nearest key");
            let (version, newer) = source.version_at(self.at)?;
            answer.add(version, Timestamp::ZERO, newer);
        }
        Ok(answer)
    }

    /// C6 for range tombstones over the part that was walked.
    fn note_tombs(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>, direction: Direction) {
        let (lower, upper) = match direction {
            Direction::Forward => (from, to),
            Direction::Backward => (to, from),
        };
        self.newer_seen |= self.tombs.iter().any(|tombs| tombs.any_newer_in(lower, upper, self.at));
    }

    /// A step from the current place.
    fn step(&mut self, direction: Direction) -> Result<bool> {
        if self.has_ahead(direction) {
            return Ok(self.step_along().is_some());
        }
        self.step_afar(direction)
    }

    /// A step that is none along a stretch.
    #[inline(never)]
    fn step_afar(&mut self, direction: Direction) -> Result<bool> {
        if let Some(stretch) = self.stretch.take_if(|stretch| stretch.way() == direction) {
            self.stand_on(&stretch);
            self.aligned = None; // U2
            self.go_beyond(stretch)?;
            return self.show_nearest(direction);
        }
        self.leave_stretch();
        if self.place == Place::On && self.aligned == Some(direction) && self.tombs.is_empty() {
            return self.step_on(direction);
        }
        let (end, start) = match direction {
            Direction::Forward => (Place::AfterLast, self.lower.clone()),
            Direction::Backward => (Place::BeforeFirst, self.upper.clone()),
        };
        if self.place == end {
            return Ok(false);
        }
        let from = match self.place {
            Place::On => Bound::Excluded(std::mem::take(&mut self.current.key)),
            Place::Nowhere | Place::BeforeFirst | Place::AfterLast => start,
        };
        let was_on = self.place == Place::On;
        let outcome = self.walk(as_slice(&from), direction);
        match outcome {
            Ok(found) => Ok(found),
            Err(error) => {
                self.aligned = None;
                if let (true, Bound::Excluded(key)) = (was_on, from) {
                    self.current.key = key;
                }
                Err(error)
            }
        }
    }

    fn seek_in(&mut self, key: &[u8], direction: Direction) -> Result<bool> {
        self.leave_stretch();
        let bounds = self.bounds();
        let (is_past_start, is_past_end) = match direction {
            Direction::Forward => (bounds.is_below(key), bounds.is_above(key)),
            Direction::Backward => (bounds.is_above(key), bounds.is_below(key)),
        };
        let before = std::mem::take(&mut self.newer_seen);
        self.aligned = None;
        if is_past_end {
            return Ok(self.run_out(direction));
        }
        self.refresh();
        self.winner = usize::MAX;
        let start = match (is_past_start, direction) {
            (false, _) => Bound::Included(key.to_vec()),
            (true, Direction::Forward) => self.lower.clone(),
            (true, Direction::Backward) => self.upper.clone(),
        };
        self.walk(as_slice(&start), direction).inspect_err(|_| {
            self.aligned = None;
            self.newer_seen |= before;
        })
    }

    fn shown(&self) -> &Current {
        assert!(self.place == Place::On, "the cursor stands on no key");
        &self.current
    }
}

impl Drop for LsmCursor {
    fn drop(&mut self) {
        self.note_copied();
    }
}

impl BackendCursor for LsmCursor {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.seek_in(key, Direction::Forward)
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.seek_in(key, Direction::Backward)
    }

    fn next(&mut self) -> Result<bool> {
        self.step(Direction::Forward)
    }

    fn prev(&mut self) -> Result<bool> {
        self.step(Direction::Backward)
    }

    #[inline]
    fn next_is_at_hand(&self) -> bool {
        self.has_ahead(Direction::Forward)
    }

    #[inline]
    fn prev_is_at_hand(&self) -> bool {
        self.has_ahead(Direction::Backward)
    }

    #[inline]
    fn next_at_hand(&mut self) -> (&[u8], &[u8]) {
        assert!(self.has_ahead(Direction::Forward), "C7: the next key is at hand");
        self.step_along().expect("ST2: it was looked at")
    }

    #[inline]
    fn prev_at_hand(&mut self) -> (&[u8], &[u8]) {
        assert!(self.has_ahead(Direction::Backward), "C7: the previous key is at hand");
        self.step_along().expect("ST2: it was looked at")
    }

    fn load_value(&mut self) -> Result<()> {
        if self.along().is_none()
            && let Stored::Large(large) = self.shown().value
        {
            // Ended by its age: what only it could see is gone.
            let value = self.store.load_large(&self.current.key, self.at, large)?.ok_or(Error::SnapshotTooOld)?;
            self.current.value = Stored::Owned(value);
        }
        Ok(())
    }

    fn key(&self) -> &[u8] {
        self.along().map_or_else(|| &*self.shown().key, |(key, _)| key)
    }

    fn value(&self) -> &[u8] {
        if let Some((_, value)) = self.along() {
            return value;
        }
        match &self.shown().value {
            Stored::Owned(value) => value,
            Stored::InImage(image, range) => &image.bytes()[range.clone()],
            Stored::Large(_) => panic!("C8: the value was not made sure of"),
        }
    }

    fn value_owned(&self) -> Value {
        if let Some(stretch) = &self.stretch
            && let Some(value) = stretch.value_owned(&self.sources)
        {
            return value;
        }
        match &self.shown().value {
            Stored::Owned(value) => value.clone(),
            Stored::InImage(image, range) => Value::from_image(image, range.start, range.len()),
            Stored::Large(_) => panic!("C8: the value was not made sure of"),
        }
    }

    fn ts(&self) -> Timestamp {
        let along = self.stretch.as_ref().and_then(|stretch| stretch.ts(&self.sources));
        along.unwrap_or_else(|| self.shown().ts)
    }

    fn newer_seen(&self) -> bool {
        self.newer_seen
    }
}
