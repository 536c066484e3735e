//! Where blocks come from: the frame pool, the blocks of a ticket that was just run, or the file.
//!
//! A get may not read, so it asks [`Resident`]; on a miss its ticket repeats it with [`Gathering`], which reads, and remembers every block
//! it met in [`Prepared`]. So the get that follows finds all of them, however small the pool is.
//!
//! J1  After a ticket has run, its get needs no further block unless the tables changed or `PREPARED_MAX` other tickets ran meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use duramen_base::Result;
use duramen_base::image::{Image, ImageKind};
use duramen_base::pool::FrameKey;
use duramen_base::sync::Mutex;

use super::Table;
use super::index::Handle;

/// Tickets whose blocks are remembered.
const PREPARED_MAX: usize = 64;

/// Gives blocks of tables.
pub(crate) trait BlockSource {
    /// The block of `handle`; `None` if it would have to be read and this source does not read.
    fn block(&self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Option<Arc<Image>>>;
}

type Blocks = Vec<(FrameKey, Arc<Image>)>;

/// Blocks of the last tickets.
#[derive(Debug, Default)]
pub(crate) struct Prepared(Mutex<VecDeque<Blocks>>);

impl Prepared {
    fn find(&self, key: FrameKey) -> Option<Arc<Image>> {
        let tickets = self.0.lock();
        tickets.iter().flatten().find(|(of, _)| *of == key).map(|(_, image)| Arc::clone(image))
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
pub(crate) struct Resident<'a>(pub(crate) &'a Prepared);

impl BlockSource for Resident<'_> {
    fn block(&self, table: &Table, handle: &Handle, _kind: ImageKind) -> Result<Option<Arc<Image>>> {
        let key = table.frame(handle.offset);
        Ok(table.pool().get(key).or_else(|| self.0.find(key)))
    }
}

/// Blocks from the pool, or from the file; `keep` as in `FramePool::get_or_load`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    pub(crate) keep: bool,
}

impl Loading {
    /// The block of `handle`.
    pub(crate) fn load(self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Arc<Image>> {
        let load = || table.read_block(handle, kind);
        let image = table.pool().get_or_load(table.frame(handle.offset), self.keep, load)?;
        match image.kind() == kind {
            true => Ok(image),
            false => Err(table.file().corruption(handle.offset, "two parents hold one block as different kinds")),
        }
    }
}

impl BlockSource for Loading {
    fn block(&self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Option<Arc<Image>>> {
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
    fn block(&self, table: &Table, handle: &Handle, kind: ImageKind) -> Result<Option<Arc<Image>>> {
        let image = Loading { keep: true }.load(table, handle, kind)?;
        self.0.borrow_mut().push((table.frame(handle.offset), Arc::clone(&image)));
        Ok(Some(image))
    }
}
