//! The mapped end: the bytes behind the last record, in pages that a call has just written, to which the next records are stored through a mapping. A call
//! of its own would take as long as the rest of a `Buffered` commit; what is stored is in the file as well, and outlives the process.
//!
//! It is held under the latch of the log and writes nothing itself but by `store`; `write.rs` writes what lies before and below it.
//!
//! ```text
//!   page of the last record      more pages, zeros
//!   ───[records][··· open ···|··························]
//!               ▲ stored next                           ▲ twice as far each time that all was used, up to `OPEN_BYTES_MAX`
//! ```
//! M1  It is open only in pages of the current segment that a call has written since the last sync was begun: so the call has met a lack of space or a failing
//!     device, and said so, and the page is in memory. A store cannot say anything: where the device fails in between, it ends the process.
//! M2  It opens with the second write since a sync: who syncs each commit has no use for it; and not behind more than a page: such writes are worth a call.
//!     It begins with the rest of a page, which costs nothing.
//! M3  Who stores holds the latch, and nobody has a claim: so stores and calls write the log one after the other (P2 of `buffer.rs`).
//! M4  What was not used up between two ticks closes: moments after the call, not hours. A mapping goes when a sync begins, or the next segment is opened.

use std::fmt;
use std::ops::Range;

use duramen_base::mutant;
use duramen_base::vfs::Mapped;

use crate::buffer::{Chunk, PAGE_BYTES};
use crate::segment::Segment;

/// Most bytes that are open, about.
const OPEN_BYTES_MAX: u64 = 16 << 10;

/// What is mapped at once: so much of the segment as a few thousand commits take. Bounded, because a mapping counts as memory of the process.
const SLICE_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MappedEnd {
    slice: Option<Slice>,
    /// What may be stored to, of the file that the slice is of.
    open: Range<u64>,
    /// How far the next one reaches, from the begin of its page.
    reach: u64,
    /// Writes by call since the last sync was begun.
    calls: u64,
    /// Syncs begun.
    syncs: u64,
    /// Ticks since it opened.
    ticks: u32,
    /// The file cannot be mapped.
    refused: bool,
}

/// A part of the current segment that is mapped.
pub(crate) struct Slice {
    range: Range<u64>,
    mapped: Box<dyn Mapped>,
}

/// What is to be opened behind a chunk that is about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whole pages behind the last record's that are to be zeros.
    pub(crate) zeros: Range<u64>,
    open: Range<u64>,
    /// What is to be mapped for it, if that is not mapped.
    slice: Option<Range<u64>>,
    syncs: u64,
}

/// What was had of a [`Plan`].
#[derive(Debug)]
pub(crate) struct Opening {
    open: Range<u64>,
    slice: Option<Slice>,
    syncs: u64,
    refused: bool,
}

impl MappedEnd {
    /// Whether `chunk` can be stored.
    pub(crate) fn holds(&self, chunk: &Chunk) -> bool {
        let bytes = bytes_of(chunk);
        let is_next = chunk.opens_after.is_none() && bytes.start == self.open.start && bytes.end <= self.open.end;
        is_next && self.slice.is_some()
    }

    /// Stores it (M3).
    pub(crate) fn store(&mut self, chunk: &Chunk) {
        debug_assert!(self.holds(chunk), "M1: {} does not come next", chunk.start);
        let bytes = bytes_of(chunk);
        if let Some(slice) = &mut self.slice
            && !mutant!("store_nothing")
        {
            slice.mapped.store(&chunk.bytes, bytes.start);
        }
        self.open.start = bytes.end;
    }

    /// A chunk is about to be written by a call: what is to be opened behind it, if anything (M2).
    pub(crate) fn plan(&mut self, chunk: &Chunk) -> Option<Plan> {
        let was_used = self.open.start > 0;
        self.open = 0..0;
        self.calls += 1;
        if self.refused || self.calls < 2 || chunk.bytes.len() > PAGE_BYTES {
            return None;
        }
        let page = PAGE_BYTES as u64;
        self.reach = if was_used { (self.reach * 2).min(OPEN_BYTES_MAX) } else { self.reach.max(page) };
        let start = bytes_of(chunk).end;
        let slice_start = start - start % SLICE_BYTES;
        let slice = slice_start..(slice_start + SLICE_BYTES).min(chunk.segment.header.segment_bytes);
        let pages_start = start.next_multiple_of(page);
        let end = (start - start % page + self.reach).max(pages_start).min(slice.end);
        let is_mapped = chunk.opens_after.is_none() && self.slice.as_ref().is_some_and(|mapped| mapped.range == slice);
        (start < end).then(|| Plan {
            zeros: pages_start..end,
            open: start..end,
            slice: (!is_mapped).then_some(slice),
            syncs: self.syncs,
        })
    }

    /// The chunk was written, and so was what the plan asked for. What is mapped no longer is given back, to be dropped outside of the latch.
    pub(crate) fn open(&mut self, opening: Opening) -> Option<Slice> {
        self.refused |= opening.refused;
        if opening.syncs != self.syncs || opening.refused {
            return opening.slice; // M1: a sync was begun meanwhile
        }
        (self.open, self.ticks) = (opening.open, 0);
        match opening.slice {
            Some(slice) => self.slice.replace(slice),
            None => None,
        }
    }

    /// A sync begins (M1). What was mapped is given back, to be dropped outside of the latch and before the sync: the system would tell every processor
    /// of every page that it writes, one by one.
    pub(crate) fn begin_sync(&mut self) -> Option<Slice> {
        (self.reach, self.calls) = (0, 0);
        self.syncs += 1;
        if mutant!("store_behind_a_sync") { None } else { self.unmap() }
    }

    /// M4.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks > 1 {
            self.open = 0..0;
        }
    }

    /// Closes it for good, or until the next segment is written to (M4). What was mapped is given back.
    pub(crate) fn unmap(&mut self) -> Option<Slice> {
        self.open = 0..0;
        self.slice.take()
    }
}

impl Plan {
    /// Does it, for a chunk of `segment` that was written. What cannot be had is done without: whatever is the matter, the next call meets it.
    pub(crate) fn carry_out(self, segment: &Segment) -> Opening {
        let zeros_bytes = self.zeros.end - self.zeros.start;
        let has_zeros = zeros_bytes == 0
            || mutant!("store_where_nothing_was_written")
            || segment.file.write_zeros(self.zeros.start, zeros_bytes).is_ok();
        let slice = self.slice.map(|range| {
            let mapped = segment.file.map(range.start, range.end - range.start)?;
            Some(Slice { range, mapped })
        });
        let refused = matches!(slice, Some(None));
        let end = if has_zeros { self.open.end } else { self.zeros.start };
        Opening { open: self.open.start..end, slice: slice.flatten(), syncs: self.syncs, refused }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slice").field(&self.range).finish()
    }
}

/// The bytes of its file.
fn bytes_of(chunk: &Chunk) -> Range<u64> {
    let start = chunk.segment.offset_of(chunk.start);
    start..start + chunk.bytes.len() as u64
}
