//! A stretch: entries of one block, of one copied piece of a memtable, or of both, that follow one another in what the cursor shows.
//!
//! Going on along it is no merge: a block is followed up to the place of the memtable's next key, which is looked up once. A stretch ends before the next
//! key of any source without a part in it, at the bound of the cursor, and with the block or the piece. The sources themselves stay where the stretch
//! began until the cursor goes on behind it.
//!
//! Places between the records of a block are numbers: place `n` lies before record `n`, so the next record is `n` forward and `n - 1` backward.
//!
//! ST1  Every entry from the one it stands on up to the end is what the cursor has to show of its key, inside the bounds, and none between them is left out.
//! ST2  `ahead` is the next entry, looked at once: a value that the reader sees, with nothing newer. What is not is left to the merge.
//! ST3  There is a stretch only where no range tombstone is.
//! ST4  Nothing is ahead once its block has no further record, or its piece no further key: what comes then is not known.
//! ST5  A key that the piece deletes, with nothing newer about it, is passed over together with the record that it covers, while what comes next is known.

use std::ops::Bound;

use duramen_base::arena::Counted;
use duramen_base::image::{Image, KeyBuffer, Located};
use duramen_base::memtable::MemPiece;
use duramen_base::{KeyBounds, Result, Timestamp, Value, mutant};

use crate::source::{Direction, MemSource, Source};

/// See the module.
#[derive(Debug)]
pub(super) struct Stretch {
    way: Direction,
    at: Timestamp,
    on: On,
    ahead: Option<Ahead>,
    block: Option<BlockPart>,
    piece: Option<PiecePart>,
    has_passed: bool,
    /// The key of the record that it stands on.
    key: KeyBuffer,
}

/// Where it stands.
#[derive(Clone, Copy, Debug)]
enum On {
    /// Where it began.
    Start,
    /// On a record of the block.
    Record(usize, Located),
    /// On a key of the piece.
    Item(usize),
}

#[derive(Clone, Copy, Debug)]
enum Ahead {
    Record(Located),
    Item,
}

/// Records of a block.
#[derive(Debug)]
struct BlockPart {
    source: usize,
    image: Counted<Image>,
    /// The commit of all records, if they have no timestamps of their own.
    stamp: Option<Timestamp>,
    /// Where it goes on.
    next: usize,
    /// Where it meets the next key of the piece, or its end.
    stop: usize,
    end: usize,
}

/// Keys of a piece copied from a memtable.
#[derive(Debug)]
struct PiecePart {
    source: usize,
    next: usize,
    /// First key that does not belong to the stretch.
    end: usize,
    /// Whether the block has a record of the next key.
    is_in_block: bool,
}

/// What a stretch is sought for.
pub(super) struct Wanted<'a> {
    pub(super) sources: &'a [Source],
    /// Those that may have a part, nearest first: the one that the cursor stands on, and one of the other kind.
    pub(super) first: usize,
    pub(super) second: Option<usize>,
    /// Whether each stands on the key of the cursor, which is behind the stretch.
    pub(super) passed: [bool; 2],
    /// The nearest key of all others.
    pub(super) other: Option<&'a [u8]>,
    pub(super) bounds: KeyBounds<'a>,
    pub(super) way: Direction,
    pub(super) at: Timestamp,
}

impl Wanted<'_> {
    fn is_before_others(&self, key: &[u8]) -> bool {
        let other = self.other.filter(|_| !mutant!("stretch_over_other_sources"));
        match self.way {
            Direction::Forward => !self.bounds.is_above(key) && other.is_none_or(|other| key < other),
            Direction::Backward => !self.bounds.is_below(key) && other.is_none_or(|other| key > other),
        }
    }

    /// The part of a source that is a run, from its key on, or behind that if it is `passed`; `None`: it has none, and what it has next is not known here.
    fn block_part(&self, source: usize, passed: bool) -> Option<BlockPart> {
        let Source::Run(run) = &self.sources[source] else { return None };
        let (image, slot, stamp) = run.block_and_slot(self.at)?;
        let next = if passed == (self.way == Direction::Forward) { slot + 1 } else { slot };
        let end = self.end_of_block(image, next);
        Some(BlockPart { source, image: Counted::clone(image), stamp, next, stop: end, end })
    }

    fn end_of_block(&self, image: &Image, next: usize) -> usize {
        let other = self.other.filter(|_| !mutant!("stretch_over_other_sources"));
        match self.way {
            Direction::Forward => {
                let bound = match self.bounds.upper {
                    Bound::Included(key) => beyond(place(image, key)),
                    Bound::Excluded(key) => place(image, key).0,
                    Bound::Unbounded => image.count(),
                };
                other.map_or(bound, |key| place_from(image, next, key).0.min(bound)).max(next)
            }
            Direction::Backward => {
                let bound = match self.bounds.lower {
                    Bound::Included(key) => place(image, key).0,
                    Bound::Excluded(key) => beyond(place(image, key)),
                    Bound::Unbounded => 0,
                };
                other.map_or(bound, |key| beyond(place(image, key)).max(bound)).min(next)
            }
        }
    }

    /// The same of a source that is a memtable.
    fn piece_part(&self, source: usize, passed: bool) -> Option<PiecePart> {
        let Source::Mem(memtable) = &self.sources[source] else { return None };
        let (piece, next) = (memtable.piece(), memtable.index() + usize::from(passed));
        if next >= piece.len() {
            return None; // ST4
        }
        let is_before = |key: &[u8]| self.is_before_others(key);
        // Mostly all of it.
        let end = if is_before(piece.key(piece.len() - 1)) { piece.len() } else { piece.partition_point(is_before) };
        Some(PiecePart { source, next, end, is_in_block: false })
    }
}

/// The place before the first record at or above `key`, and whether that is `key`.
fn place(image: &Image, key: &[u8]) -> (usize, bool) {
    image.search(key).map_or_else(|place| (place, false), |place| (place, true))
}

/// The same for a key above all records before `from`, and likely to be near it.
fn place_from(image: &Image, from: usize, key: &[u8]) -> (usize, bool) {
    let (place, is_there) = image.search_from(from, key).map_or_else(|place| (place, false), |place| (place, true));
    debug_assert!(place >= from, "ST1: the key lies ahead");
    (place, is_there)
}

fn beyond((place, is_there): (usize, bool)) -> usize {
    place + usize::from(is_there)
}

impl Stretch {
    /// A stretch from where the cursor stands; `None` if nothing is ahead, and nothing was passed over. `key` is room for its keys, and given back then.
    pub(super) fn begin(wanted: &Wanted<'_>, key: &mut KeyBuffer) -> Option<Stretch> {
        let &Wanted { sources, first, second, passed: [passed, other_passed], way, at, .. } = wanted;
        let (mut block, mut piece) = (wanted.block_part(first, passed), wanted.piece_part(first, passed));
        if let Some(second) = second {
            let (other_block, other_piece) =
                (wanted.block_part(second, other_passed), wanted.piece_part(second, other_passed));
            (block, piece) = (block.or(other_block), piece.or(other_piece));
            if block.is_none() || piece.is_none() {
                return None; // what is not known would be passed over
            }
        }
        let (on, ahead, has_passed, room) = (On::Start, None, false, KeyBuffer::default());
        let mut stretch = Stretch { way, at, on, ahead, block, piece, has_passed, key: room };
        stretch.find_stop(sources);
        stretch.has_passed = stretch.pass_deleted(sources);
        stretch.look_ahead(sources);
        if stretch.ahead.is_none() && !stretch.has_passed {
            return None;
        }
        std::mem::swap(&mut stretch.key, key);
        if let Some(block) = &stretch.block {
            block.image.set_key(0, &mut stretch.key); // any of them: what they have in common is what counts
        }
        Some(stretch)
    }

    /// Gives the room for its keys back.
    pub(super) fn into_room(self) -> KeyBuffer {
        self.key
    }

    /// Which way it goes.
    pub(super) fn way(&self) -> Direction {
        self.way
    }

    /// How many of the nearest sources have a part in it.
    pub(super) fn parts(&self) -> usize {
        usize::from(self.block.is_some()) + usize::from(self.piece.is_some())
    }

    /// Whether there were deleted keys to pass over where it began (ST5).
    pub(super) fn has_passed(&self) -> bool {
        self.has_passed
    }

    #[inline(always)]
    pub(super) fn has_ahead(&self, way: Direction) -> bool {
        self.ahead.is_some() && self.way == way
    }

    /// Goes on by one entry, if one is ahead. Inlined: it is most of what an entry of a scan costs.
    #[inline(always)]
    pub(super) fn step<'a>(&'a mut self, sources: &'a [Source]) -> Option<(&'a [u8], &'a [u8])> {
        let Some(Ahead::Record(located)) = self.ahead else { return self.step_to_item(sources) };
        let block = self.block.as_mut()?;
        self.on = On::Record(block.pass(self.way), located);
        match block.next == block.stop {
            false => self.ahead = block.ahead(self.way, self.at),
            true => self.look_ahead(sources),
        }
        let image = &*self.block.as_ref()?.image;
        image.change_key(located, &mut self.key);
        Some((&self.key, image.value_at(located)))
    }

    #[inline(never)]
    fn step_to_item<'a>(&mut self, sources: &'a [Source]) -> Option<(&'a [u8], &'a [u8])> {
        let (Some(Ahead::Item), Some(part)) = (self.ahead, &mut self.piece) else { return None };
        let piece = memtable(sources, part.source).piece();
        let index = part.next;
        part.next += 1;
        self.on = On::Item(index);
        match &mut self.block {
            None => {
                self.ahead = part.plain_value(piece).map(|_| Ahead::Item);
                if self.ahead.is_none() {
                    self.look_ahead(sources);
                }
            }
            Some(block) => {
                if part.is_in_block {
                    block.pass(self.way);
                }
                self.find_stop(sources);
                self.look_ahead(sources);
            }
        }
        Some((piece.key(index), piece.plain_value(index)?))
    }

    /// Where the block meets the next key of the piece.
    fn find_stop(&mut self, sources: &[Source]) {
        let (Some(block), Some(part)) = (&mut self.block, &mut self.piece) else { return };
        let piece = memtable(sources, part.source).piece();
        if part.next == piece.len() {
            block.stop = block.next; // ST4: what comes then is not known
            return;
        }
        if mutant!("stretch_over_its_memtable") {
            return;
        }
        let (image, key) = (&*block.image, piece.key(part.next));
        // Where it lies beyond the end of the block's part, it does not belong to the stretch either.
        (block.stop, part.is_in_block) = match self.way {
            Direction::Forward => {
                let (place, is_there) = place_from(image, block.next, key);
                (place.min(block.end), is_there)
            }
            Direction::Backward => {
                let (place, is_there) = place(image, key);
                debug_assert!(beyond((place, is_there)) <= block.next, "ST1: the next key of the piece lies ahead");
                (beyond((place, is_there)).max(block.end), is_there)
            }
        };
    }

    /// ST2, ST5.
    #[inline(never)]
    fn look_ahead(&mut self, sources: &[Source]) {
        while self.pass_deleted(sources) {}
        self.ahead = match (&self.block, &self.piece) {
            (Some(block), _) if block.next != block.stop => block.ahead(self.way, self.at),
            (Some(block), piece) => block.item_ahead(piece.as_ref(), self.way, sources),
            (None, Some(part)) => part.plain_value(memtable(sources, part.source).piece()).map(|_| Ahead::Item),
            (None, None) => None,
        };
    }

    /// Goes beyond the keys that come next as far as the piece deletes them; whether there were any.
    fn pass_deleted(&mut self, sources: &[Source]) -> bool {
        let Some(part) = &mut self.piece else { return false };
        let (piece, first) = (memtable(sources, part.source).piece(), part.next);
        let is_deleted = |item: usize| item < part.end && piece.is_plain_tombstone(item);
        let Some(block) = &mut self.block else {
            while is_deleted(part.next) {
                part.next += 1;
            }
            return part.next != first;
        };
        if block.next != block.stop {
            return false;
        }
        let mut is_in_block = part.is_in_block;
        while is_deleted(part.next) && !block.is_at_end(self.way) {
            if is_in_block {
                if !block.is_older(piece.ts(part.next), self.way) {
                    break;
                }
                if !mutant!("deleted_key_uncovers_its_record") {
                    block.pass(self.way);
                }
            }
            part.next += 1;
            // Mostly the next key lies in the next record: then there is nothing to look for.
            is_in_block = part.next < part.end
                && !block.is_at_end(self.way)
                && block.image.is_key(block.next_record(self.way), piece.key(part.next));
            if !is_in_block {
                break;
            }
        }
        if part.next == first {
            return false;
        }
        self.find_stop(sources);
        true
    }

    #[inline]
    fn item<'a>(&self, sources: &'a [Source], index: usize) -> Option<(&'a [u8], &'a [u8])> {
        let piece = memtable(sources, self.piece.as_ref()?.source).piece();
        Some((piece.key(index), piece.plain_value(index)?))
    }

    /// What it stands on, once it has gone on.
    #[inline]
    pub(super) fn entry<'a>(&'a self, sources: &'a [Source]) -> Option<(&'a [u8], &'a [u8])> {
        match self.on {
            On::Start => None,
            On::Record(_, located) => Some((&self.key, self.block.as_ref()?.image.value_at(located))),
            On::Item(index) => self.item(sources, index),
        }
    }

    /// The value of that, to be kept.
    #[inline]
    pub(super) fn value_owned(&self, sources: &[Source]) -> Option<Value> {
        match self.on {
            On::Start => None,
            On::Record(_, located) => {
                let range = located.value_range();
                Some(Value::from_image(&self.block.as_ref()?.image, range.start, range.len()))
            }
            On::Item(index) => self.item(sources, index).map(|(_, value)| Value::from(value)),
        }
    }

    /// The commit of the entry that it stands on, once it has gone on.
    pub(super) fn ts(&self, sources: &[Source]) -> Option<Timestamp> {
        match self.on {
            On::Start => None,
            On::Record(record, _) => self.block.as_ref().map(|block| block.ts(record)),
            On::Item(index) => self.piece.as_ref().map(|part| memtable(sources, part.source).piece().ts(index)),
        }
    }

    /// Brings the sources of its parts to where it goes on, which may take a read.
    pub(super) fn bring_on(&self, sources: &mut [Source]) -> Result<()> {
        if let Some(block) = &self.block
            && let Source::Run(run) = &mut sources[block.source]
        {
            match (block.is_at_end(self.way), self.way) {
                (false, _) => run.set_slot(block.next_record(self.way)),
                (true, Direction::Forward) => {
                    run.set_slot(block.image.count() - 1);
                    run.next()?;
                }
                (true, Direction::Backward) => {
                    run.set_slot(0);
                    run.prev()?;
                }
            }
        }
        if let Some(part) = &self.piece
            && let Source::Mem(memtable) = &mut sources[part.source]
        {
            memtable.go_to(part.next, self.way, self.at);
        }
        Ok(())
    }
}

impl BlockPart {
    /// The record behind the place where it goes on.
    #[inline(always)]
    fn next_record(&self, way: Direction) -> usize {
        self.next - usize::from(way == Direction::Backward)
    }

    /// Goes beyond that.
    #[inline(always)]
    fn pass(&mut self, way: Direction) -> usize {
        let record = self.next_record(way);
        self.next = record + usize::from(way == Direction::Forward);
        record
    }

    #[inline(always)]
    fn ahead(&self, way: Direction, at: Timestamp) -> Option<Ahead> {
        self.image.locate_value(self.next_record(way), at).map(Ahead::Record)
    }

    /// Whether the next key of the piece comes next, and is what is to be shown.
    #[inline(never)]
    fn item_ahead(&self, piece: Option<&PiecePart>, way: Direction, sources: &[Source]) -> Option<Ahead> {
        let part = piece?;
        let piece = memtable(sources, part.source).piece();
        part.plain_value(piece)?;
        if self.is_at_end(way) {
            return None; // ST4
        }
        (!part.is_in_block || self.is_older(piece.ts(part.next), way)).then_some(Ahead::Item)
    }

    /// Whether there is no record behind the place where it goes on.
    #[inline]
    fn is_at_end(&self, way: Direction) -> bool {
        self.next == if way == Direction::Forward { self.image.count() } else { 0 }
    }

    /// Whether the next record was written before `ts`.
    #[inline]
    fn is_older(&self, ts: Timestamp, way: Direction) -> bool {
        let is_newest = ts > self.stamp.unwrap_or(self.image.max_ts()); // of all records
        is_newest || ts > self.ts(self.next_record(way)) || mutant!("memtable_over_newer_run")
    }

    fn ts(&self, record: usize) -> Timestamp {
        self.stamp.unwrap_or_else(|| self.image.record(record).ts)
    }
}

impl PiecePart {
    /// The value of its next key, if that belongs to the stretch and nothing about it is newer.
    #[inline]
    fn plain_value<'a>(&self, piece: &'a MemPiece) -> Option<&'a [u8]> {
        if self.next < self.end { piece.plain_value(self.next) } else { None }
    }
}

#[inline]
fn memtable(sources: &[Source], source: usize) -> &MemSource {
    match &sources[source] {
        Source::Mem(memtable) => memtable,
        Source::Run(_) => unreachable!("the source of a piece is a memtable"),
    }
}
