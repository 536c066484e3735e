//! Where blocks come from: the frame pool, the blocks of a ticket that was just run, or the file.
//!
//! A data block whose index part stays with its table is found by its place there, under the pin of the get: no look into the pool, no count.
//!
//! A get may not read, so it asks [`Resident`]; on a miss its ticket repeats it with [`Gathering`], which reads, and remembers every block
//! it met in [`Prepared`]. So the get that follows finds all of them, however small the pool is.
//!
//! A lookup of a data block is counted where its reader has it, as read where it is read for him (CO1 of base's `pool/counts.rs`): the repetition by a ticket
//! is no lookup, and a merge is no reader.
//!
//! J1  After a ticket has run, its get needs no further block unless the tables changed or `PREPARED_MAX` other tickets ran meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::sync::Arc;

use duramen_base::arena::Counted;
use duramen_base::image::{Image, ImageKind};
use duramen_base::pool::{FrameKey, Slots};
use duramen_base::sync::Mutex;
use duramen_base::sync::published::{Lent, Pinned};
use duramen_base::{Result, ValueRef};

use super::Table;
use super::ahead::Ahead;
use super::index::Handle;

/// Tickets whose blocks are remembered.
const PREPARED_MAX: usize = 64;

/// Where a data block is found without the pool, if its index part stays with the table: among these, at this place.
pub(crate) type Place<'t> = Option<(&'t Arc<Slots>, usize)>;

/// A data block, as a reader has it in hand.
pub(crate) trait Block: Deref<Target = Image> + Clone {
    /// The value at `range`, for whoever asked the reader.
    fn lend<'p>(self, range: Range<usize>) -> ValueRef<'p>
    where
        Self: 'p;
}

impl Block for Counted<Image> {
    fn lend<'p>(self, range: Range<usize>) -> ValueRef<'p> {
        ValueRef::InImage { image: self, start: range.start as u32, len: range.len() as u32 }
    }
}

/// A block under a pin, or one that is counted because it was not found where it is published.
#[derive(Clone, Debug)]
pub(crate) enum Resting<'p> {
    Lent(Lent<'p, Image>),
    Counted(Counted<Image>),
}

impl Deref for Resting<'_> {
    type Target = Image;

    #[inline]
    fn deref(&self) -> &Image {
        match self {
            Resting::Lent(image) => image,
            Resting::Counted(image) => image,
        }
    }
}

impl Block for Resting<'_> {
    fn lend<'p>(self, range: Range<usize>) -> ValueRef<'p>
    where
        Self: 'p,
    {
        match self {
            Resting::Lent(image) => ValueRef::InPage { image, start: range.start as u32, len: range.len() as u32 },
            Resting::Counted(image) => image.lend(range),
        }
    }
}

/// Gives blocks of tables.
pub(crate) trait BlockSource {
    /// How data blocks are given.
    type Data: Block;

    /// Whether what a get finds in them goes to a reader.
    const IS_READER: bool;

    /// A data block that is found where it is published.
    fn published(&self, place: Place<'_>) -> Option<Self::Data>;

    /// A data block, wherever it is found; `None` as for [`BlockSource::block`].
    fn data(&self, table: &Table, handle: &Handle, place: Place<'_>) -> Result<Option<Self::Data>>;

    /// The block of `handle`; `None` if it would have to be read and this source does not read.
    fn block(&self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Option<Counted<Image>>>;
}

type Blocks = Vec<(FrameKey, Counted<Image>)>;

/// Blocks of the last tickets.
#[derive(Debug, Default)]
pub(crate) struct Prepared(Mutex<VecDeque<Blocks>>);

impl Prepared {
    fn find(&self, key: FrameKey) -> Option<Counted<Image>> {
        let tickets = self.0.lock();
        tickets.iter().flatten().find(|(of, _)| *of == key).map(|(_, image)| Counted::clone(image))
    }

    /// Remembers the blocks of a ticket, forgetting those of the oldest.
    pub(crate) fn remember(&self, blocks: Blocks) {
        let mut tickets = self.0.lock();
        tickets.push_front(blocks);
        let kept = PREPARED_MAX.min(tickets.len());
        let forgotten = tickets.split_off(kept);
        drop(tickets);
        drop(forgotten);
    }
}

/// Blocks that are in memory.
#[derive(Debug)]
pub(crate) struct Resident<'a, 'p> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) pin: &'p Pinned,
}

impl<'p> BlockSource for Resident<'_, 'p> {
    type Data = Resting<'p>;
    const IS_READER: bool = true;

    #[inline]
    fn published(&self, place: Place<'_>) -> Option<Resting<'p>> {
        let (slots, index) = place?;
        let image = slots.get(index, self.pin)?;
        image.ask_for_lookup();
        Some(Resting::Lent(image))
    }

    fn data(&self, table: &Table, handle: &Handle, place: Place<'_>) -> Result<Option<Resting<'p>>> {
        let key = table.frame(handle.offset);
        let found = match place {
            Some(place) => table.pool().get_at(key, place),
            None => table.pool().get(key),
        };
        Ok(found.or_else(|| self.prepared.find(key)).map(Resting::Counted))
    }

    fn block(&self, table: &Table, handle: &Handle, _kind: ImageKind) -> Result<Option<Counted<Image>>> {
        let key = table.frame(handle.offset);
        Ok(table.pool().get(key).or_else(|| self.prepared.find(key)))
    }
}

/// Blocks from the pool, or from the file; `keep` as in `FramePool::get_or_load`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    pub(crate) keep: bool,
    /// Whether the tables are about to go: what is read stays out of the pool, and what is there is not warmed.
    pub(crate) is_last: bool,
    /// Whether a cursor that goes on asks for what comes (`ahead.rs`).
    pub(crate) asks_ahead: bool,
}

impl Loading {
    /// For a reader that may come again.
    pub(crate) const KEEP: Loading = Loading { keep: true, is_last: false, asks_ahead: true };
    /// For a merge, after which nobody reads these tables; it says itself when it asks ahead (MG5).
    pub(crate) const LAST: Loading = Loading { keep: false, is_last: true, asks_ahead: false };

    /// The block of `handle`.
    pub(crate) fn load(self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Counted<Image>> {
        self.load_at(table, handle, kind, None)
    }

    /// A data block, found at `place` from then on.
    pub(crate) fn load_data(self, table: &Table, handle: &Handle, place: Place<'_>) -> Result<Counted<Image>> {
        self.load_at(table, handle, ImageKind::TableData, place)
    }

    /// The same for a cursor, which knows what it read before.
    pub(crate) fn load_next(
        self,
        table: &Table,
        handle: &Handle,
        place: Place<'_>,
        ahead: &Cell<Ahead>,
    ) -> Result<Counted<Image>> {
        self.load_by(table, handle, ImageKind::TableData, place, || {
            if !self.asks_ahead {
                return;
            }
            let mut state = ahead.get();
            let expected = state.next(handle.offset..handle.offset + u64::from(handle.len), table.meta().file_bytes);
            ahead.set(state);
            if let Some(Range { start, end }) = expected {
                table.file().expect_read(start, end - start);
            }
        })
    }

    fn load_at(self, table: &Table, handle: &Handle, kind: ImageKind, place: Place<'_>) -> Result<Counted<Image>> {
        self.load_by(table, handle, kind, place, || {})
    }

    /// `before_reading` is called if it must be read.
    fn load_by(
        self,
        table: &Table,
        handle: &Handle,
        kind: ImageKind,
        place: Place<'_>,
        before_reading: impl FnOnce(),
    ) -> Result<Counted<Image>> {
        let load = || {
            before_reading();
            if kind == ImageKind::TableData && !self.is_last {
                table.cache().note_read();
            }
            table.read_block(handle, kind)
        };
        let key = table.frame(handle.offset);
        let image = match place {
            _ if self.is_last => match table.pool().peek(key) {
                Some(image) => image,
                None => Counted::new(load()?),
            },
            Some(place) => table.pool().get_or_load_at(key, self.keep, place, load)?,
            None => table.pool().get_or_load(key, self.keep, load)?,
        };
        match image.kind() == kind {
            true => Ok(image),
            false => Err(table.file().corruption(handle.offset, "two parents hold one block as different kinds")),
        }
    }
}

impl BlockSource for Loading {
    type Data = Counted<Image>;
    const IS_READER: bool = true;

    fn published(&self, _place: Place<'_>) -> Option<Counted<Image>> {
        None
    }

    fn data(&self, table: &Table, handle: &Handle, place: Place<'_>) -> Result<Option<Counted<Image>>> {
        self.load_data(table, handle, place).map(Some)
    }

    fn block(&self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Option<Counted<Image>>> {
        self.load(table, handle, kind).map(Some)
    }
}

/// Blocks as [`Loading`] gives them, each remembered.
#[derive(Debug, Default)]
pub(crate) struct Gathering(RefCell<Blocks>);

impl Gathering {
    /// What was gathered.
    pub(crate) fn into_blocks(self) -> Blocks {
        self.0.into_inner()
    }
}

impl BlockSource for Gathering {
    type Data = Counted<Image>;
    const IS_READER: bool = false;

    fn published(&self, _place: Place<'_>) -> Option<Counted<Image>> {
        None
    }

    fn data(&self, table: &Table, handle: &Handle, place: Place<'_>) -> Result<Option<Counted<Image>>> {
        let image = Loading::KEEP.load_data(table, handle, place)?;
        self.0.borrow_mut().push((table.frame(handle.offset), Counted::clone(&image)));
        Ok(Some(image))
    }

    fn block(&self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Option<Counted<Image>>> {
        let image = Loading::KEEP.load(table, handle, kind)?;
        self.0.borrow_mut().push((table.frame(handle.offset), Counted::clone(&image)));
        Ok(Some(image))
    }
}
