//! A stretch: entries of one source that follow one another in what the cursor shows, so that going on is no merge.
//!
//! It begins at an entry that the cursor stands on, and ends before the next key of any other source, at the bound of the cursor, and with the block or
//! the copied piece that it lies in. The source itself stays where the stretch began until the cursor leaves the stretch.
//!
//! ST1  Every entry from the one it stands on up to the end is the only one of its key in all sources, and inside the bounds.
//! ST2  `ahead` is the next entry, looked at once: a value that the reader sees, with nothing newer. What is not is left to the merge.
//! ST3  There is a stretch only where no range tombstone is.

use std::ops::{Bound, Range};

use duramen_base::arena::Counted;
use duramen_base::image::{Image, KeyBuffer, Located};
use duramen_base::{KeyBounds, Timestamp, mutant};

use crate::source::{Direction, MemSource};

/// Entries of one block.
#[derive(Debug)]
pub(super) struct InBlock {
    pub(super) source: usize,
    pub(super) image: Counted<Image>,
    way: Direction,
    /// Where it may go (ST1).
    slots: Range<usize>,
    pub(super) slot: usize,
    pub(super) located: Located,
    ahead: Option<Located>,
    at: Timestamp,
    /// The commit of all entries of the block, if they have no timestamps of their own.
    pub(super) stamp: Option<Timestamp>,
    pub(super) key: KeyBuffer,
}

/// Entries of a piece copied from a memtable.
#[derive(Debug)]
pub(super) struct InPiece {
    pub(super) source: usize,
    /// How far it may go (ST1).
    end: usize,
    pub(super) index: usize,
    way: Direction,
    has_ahead: bool,
}

/// How far a stretch from slot `slot` of `image` reaches, if the next key of any other source is `other`.
fn slots_of(image: &Image, slot: usize, way: Direction, other: Option<&[u8]>, bounds: &KeyBounds<'_>) -> Range<usize> {
    // The first slot whose key is at or above `key`, and whether it is that key.
    let place = |key: &[u8]| image.search(key).map_or_else(|slot| (slot, false), |slot| (slot, true));
    let beyond = |(slot, is_there): (usize, bool)| slot + usize::from(is_there);
    let other = other.filter(|_| !mutant!("stretch_over_other_sources"));
    match way {
        Direction::Forward => {
            let bound = match bounds.upper {
                Bound::Included(key) => beyond(place(key)),
                Bound::Excluded(key) => place(key).0,
                Bound::Unbounded => image.count(),
            };
            slot..other.map_or(bound, |key| place(key).0.min(bound)).max(slot + 1)
        }
        Direction::Backward => {
            let bound = match bounds.lower {
                Bound::Included(key) => place(key).0,
                Bound::Excluded(key) => beyond(place(key)),
                Bound::Unbounded => 0,
            };
            other.map_or(bound, |key| beyond(place(key)).max(bound)).min(slot)..slot + 1
        }
    }
}

impl InBlock {
    /// A stretch from slot `slot` of `image`; `None` if nothing is ahead. `key` is room for its keys, and given back then.
    #[expect(clippy::too_many_arguments, reason = "what a stretch depends on is many things, at one place")]
    pub(super) fn begin(
        source: usize,
        image: &Counted<Image>,
        slot: usize,
        way: Direction,
        other: Option<&[u8]>,
        bounds: &KeyBounds<'_>,
        at: Timestamp,
        key: &mut KeyBuffer,
    ) -> Option<InBlock> {
        let slots = slots_of(image, slot, way, other, bounds);
        let ahead = neighbour(&slots, slot, way).and_then(|next| image.locate_value(next, at))?;
        // What it stands on may be an older version than the record there.
        let located = image.locate_value(slot, at)?;
        let mut key = std::mem::take(key);
        image.set_key(slot, &mut key);
        Some(InBlock {
            source,
            image: Counted::clone(image),
            way,
            slots,
            slot,
            located,
            ahead: Some(ahead),
            at,
            stamp: None,
            key,
        })
    }

    /// The commit of the entry that it stands on.
    pub(super) fn ts(&self) -> Timestamp {
        self.stamp.unwrap_or_else(|| self.image.record(self.slot).ts)
    }

    #[inline(always)]
    pub(super) fn has_ahead(&self, way: Direction) -> bool {
        self.ahead.is_some() && self.way == way
    }

    /// Goes on by one entry, if one is ahead.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Option<(&[u8], &[u8])> {
        let located = self.ahead?;
        let image = &*self.image;
        self.slot = match self.way {
            Direction::Forward => self.slot + 1,
            Direction::Backward => self.slot - 1,
        };
        self.located = located;
        self.ahead = neighbour(&self.slots, self.slot, self.way).and_then(|next| image.locate_value(next, self.at));
        image.change_key(located, &mut self.key);
        Some((&self.key, image.value_at(located)))
    }
}

#[inline(always)]
fn neighbour(slots: &Range<usize>, slot: usize, way: Direction) -> Option<usize> {
    match way {
        Direction::Forward => Some(slot + 1).filter(|next| *next < slots.end),
        Direction::Backward => slot.checked_sub(1).filter(|next| *next >= slots.start),
    }
}

impl InPiece {
    /// A stretch from the key that `memtable` stands on; `None` if nothing is ahead.
    pub(super) fn begin(
        source: usize,
        memtable: &MemSource,
        way: Direction,
        other: Option<&[u8]>,
        bounds: &KeyBounds<'_>,
    ) -> Option<InPiece> {
        let (piece, index) = (memtable.piece(), memtable.index());
        let other = other.filter(|_| !mutant!("stretch_over_other_sources"));
        let is_before = |key: &[u8]| match way {
            Direction::Forward => !bounds.is_above(key) && other.is_none_or(|other| key < other),
            Direction::Backward => !bounds.is_below(key) && other.is_none_or(|other| key > other),
        };
        // Mostly all of it.
        let last = piece.len().checked_sub(1)?;
        let end = if is_before(piece.key(last)) { piece.len() } else { piece.partition_point(is_before) };
        let mut stretch = InPiece { source, end, index, way, has_ahead: false };
        stretch.look_ahead(memtable);
        stretch.has_ahead.then_some(stretch)
    }

    #[inline(always)]
    fn look_ahead(&mut self, memtable: &MemSource) {
        let next = self.index + 1;
        self.has_ahead = next < self.end && memtable.piece().plain_value(next).is_some();
    }

    #[inline(always)]
    pub(super) fn has_ahead(&self, way: Direction) -> bool {
        self.has_ahead && self.way == way
    }

    /// Goes on by one entry, if one is ahead.
    #[inline(always)]
    pub(super) fn step<'m>(&mut self, memtable: &'m MemSource) -> Option<(&'m [u8], &'m [u8])> {
        if !self.has_ahead {
            return None;
        }
        self.index += 1;
        self.look_ahead(memtable);
        self.entry(memtable)
    }

    /// What it stands on.
    #[inline(always)]
    pub(super) fn entry<'m>(&self, memtable: &'m MemSource) -> Option<(&'m [u8], &'m [u8])> {
        let piece = memtable.piece();
        Some((piece.key(self.index), piece.plain_value(self.index)?))
    }
}
