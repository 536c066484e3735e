//! The chunks that rooms are cut from, and which of their units are taken. It hands out addresses and touches no memory behind them.
//!
//! C1  A chunk is at the same address, and mapped, from when it is made until its last unit is given back; what is given out of it is so, too.
//! C2  `longest[i]` is at least the longest run of free units of chunk i; zero where no chunk is.
//! C3  Of chunks with no unit taken one is kept, so that who takes and gives back one room in turns does not ask the system each time.

use std::num::NonZero;
use std::ptr::NonNull;

use memmap2::MmapRaw;

use super::runs::{UNITS, Units};
use super::{CHUNK_BYTES, Run, UNIT_BYTES};
use crate::mutant;
use crate::vfs::map_memory;

/// So many chunks are small pages, which a small database has touched one by one; large ones are there as a whole from the first touch on.
const CHUNKS_OF_SMALL_PAGES: usize = 4;

/// See the module.
pub(super) struct Chunks {
    chunks: Vec<Option<Chunk>>,
    longest: Vec<u16>,
    /// Chunks with no unit taken (C3).
    empty: usize,
}

struct Chunk {
    /// Larger than a chunk, which begins at the first address of it that is aligned.
    map: MmapRaw,
    units: Units,
    taken: usize,
}

/// Memory that nobody has any more, for the system.
#[must_use = "given back outside of the latch"]
pub(super) struct Unmapped(#[expect(dead_code, reason = "it is dropped")] MmapRaw);

impl Chunks {
    pub(super) const NONE: Chunks = Chunks { chunks: Vec::new(), longest: Vec::new(), empty: 0 };

    /// Takes `units` units in a row, in the first chunk that has them: so the last ones become empty.
    pub(super) fn take(&mut self, units: usize) -> Run {
        debug_assert!((1..=UNITS).contains(&units), "a room fits a chunk");
        for index in 0..self.chunks.len() {
            if usize::from(self.longest[index]) >= units
                && let Some(chunk) = &mut self.chunks[index]
            {
                match chunk.units.find(units) {
                    Ok(at) => return self.take_at(index, at, units),
                    Err(longest) => self.longest[index] = longest as u16, // C2
                }
            }
        }
        let index = self.add_chunk();
        self.take_at(index, 0, units)
    }

    /// Gives back what was taken together.
    pub(super) fn give_back(&mut self, run: Run) -> Option<Unmapped> {
        let index = run.chunk as usize;
        let chunk = self.chunks[index].as_mut().expect("C1: a chunk is there as long as what is taken of it");
        let at = (run.start.addr().get() - chunk.start().addr().get()) / UNIT_BYTES;
        let units = at..at + run.units;
        chunk.units.mark(units.clone(), false);
        chunk.taken -= run.units;
        self.longest[index] = self.longest[index].max(chunk.units.run_around(units) as u16); // C2
        if chunk.taken > 0 {
            return None;
        }
        self.empty += 1;
        (self.empty > 1 && !mutant!("empty_chunks_are_kept")).then(|| self.remove(index))
    }

    /// Bytes of memory that are mapped.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().flatten().count() * CHUNK_BYTES
    }

    fn take_at(&mut self, index: usize, at: usize, units: usize) -> Run {
        let chunk = self.chunks[index].as_mut().expect("it was found or made just now");
        self.empty -= usize::from(chunk.taken == 0);
        chunk.units.mark(at..at + units, true);
        chunk.taken += units;
        let start = chunk.start().map_addr(|address| address.saturating_add(at * UNIT_BYTES));
        Run { chunk: index as u32, start, units }
    }

    /// Makes a chunk where one was, or behind all; its index.
    fn add_chunk(&mut self) -> usize {
        let index = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
        if index == self.chunks.len() {
            self.chunks.push(None);
            self.longest.push(0);
        }
        self.chunks[index] = Some(Chunk::new(index >= CHUNKS_OF_SMALL_PAGES));
        self.longest[index] = UNITS as u16;
        self.empty += 1;
        index
    }

    fn remove(&mut self, index: usize) -> Unmapped {
        self.empty -= 1;
        self.longest[index] = 0;
        let chunk = self.chunks[index].take().expect("it is there: it was looked at just now");
        Unmapped(chunk.map)
    }
}

impl Chunk {
    fn new(in_large_pages: bool) -> Chunk {
        Chunk { map: map_memory(2 * CHUNK_BYTES, in_large_pages), units: Units::FREE, taken: 0 }
    }

    fn start(&self) -> NonNull<u8> {
        let start = NonNull::new(self.map.as_mut_ptr()).expect("a map is somewhere");
        start.map_addr(|address| {
            let aligned = address.get().next_multiple_of(CHUNK_BYTES);
            NonZero::new(aligned).expect("above the start of the map")
        })
    }
}
