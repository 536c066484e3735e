//! The memory of a memtable: words that are handed out once, and all freed together.
//!
//! Every word is an atomic: what one thread writes and publishes another may read without a latch, and nothing of it needs `unsafe`. It knows
//! nothing of what the words mean.
//!
//! A1  Words are handed out once, lie side by side in one chunk, and stay where they are until the arena is dropped.
//! A2  Fresh words are zero.
//! A3  A chunk is taken when the one before is used up. It is an eighth of what the arena has by then, between 1 KiB and 256 KiB (or as large as
//!     what is asked for): so no more than that stands unused.

use std::sync::OnceLock;

use crate::arena::Row;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Words of the smallest and of the largest chunk.
const CHUNK_WORDS: (u64, u64) = (128, 32 << 10);
/// Part of the arena that a new chunk is.
const GROWTH: u64 = 8;
/// Chunks of the first segment of the directory; each later segment has twice as many.
const SEGMENT_CHUNKS: u64 = 32;
const SEGMENTS: usize = 20;
/// Bits of the index of a word in its chunk, and of the number of a chunk.
const INDEX_BITS: u32 = 24;
const CHUNK_BITS: u32 = 24;

type Chunk = Row<AtomicU64>;
type Segment = Box<[OnceLock<Chunk>]>;

/// Where words begin. Fits [`Place::BITS`] bits and is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    /// Bits that a place needs.
    pub(super) const BITS: u32 = INDEX_BITS + CHUNK_BITS;

    /// The place that was made into these bits; `None` for zero.
    pub(super) fn from_bits(bits: u64) -> Option<Place> {
        let bits = bits & ((1 << Place::BITS) - 1);
        (bits != 0).then_some(Place(bits))
    }

    /// How many words behind it `other` lies, if that is in its chunk.
    #[inline]
    pub(super) fn distance_to(self, other: Place) -> Option<usize> {
        let is_in_chunk = self.0 >> INDEX_BITS == other.0 >> INDEX_BITS;
        is_in_chunk.then(|| other.0.checked_sub(self.0)).flatten().map(|words| words as usize)
    }

    /// Its bits, not zero.
    pub(super) fn to_bits(self) -> u64 {
        self.0
    }
}

/// Words, from many threads at once.
pub(super) struct Arena {
    /// Number of the chunk in use (none has number 0), above its first free word in 32 bits.
    next: AtomicU64,
    segments: [OnceLock<Segment>; SEGMENTS],
    /// Words of all chunks.
    total_words: AtomicU64,
    /// Held while a chunk is added.
    growing: Mutex<()>,
}

impl Default for Arena {
    fn default() -> Arena {
        Arena {
            next: AtomicU64::new(0),
            segments: [const { OnceLock::new() }; SEGMENTS],
            total_words: AtomicU64::new(0),
            growing: Mutex::new(()),
        }
    }
}

impl Arena {
    /// Hands `count` fresh words out.
    pub(super) fn take(&self, count: usize) -> (Place, &[AtomicU64]) {
        loop {
            // Acquire: pairs with Release in `grow`, so that the chunk is found.
            let next = self.next.fetch_add(count as u64, Ordering::Acquire);
            let (chunk_no, index) = (next >> 32, (next & u64::from(u32::MAX)) as usize);
            if let Some(words) = self.chunk(chunk_no).and_then(|chunk| chunk.get(index..index + count)) {
                return (Place(chunk_no << INDEX_BITS | index as u64), words);
            }
            self.grow(chunk_no, count as u64);
        }
    }

    /// The first `count` words at `place`, which were handed out together.
    pub(super) fn words(&self, place: Place, count: usize) -> &[AtomicU64] {
        let index = (place.0 & ((1 << INDEX_BITS) - 1)) as usize;
        let chunk = self.chunk(place.0 >> INDEX_BITS).expect("A1: what was handed out is there");
        &chunk[index..index + count]
    }

    /// The words at `place` and all behind them in their chunk: for who reads there how many are his.
    #[inline]
    pub(super) fn words_from(&self, place: Place) -> &[AtomicU64] {
        let index = (place.0 & ((1 << INDEX_BITS) - 1)) as usize;
        let chunk = self.chunk(place.0 >> INDEX_BITS).expect("A1: what was handed out is there");
        &chunk[index..]
    }

    /// Bytes of all chunks, a moment ago.
    pub(super) fn bytes(&self) -> u64 {
        // Relaxed: a number, by which nothing is found.
        self.total_words.load(Ordering::Relaxed) * 8
    }

    fn chunk(&self, chunk_no: u64) -> Option<&Chunk> {
        let (segment, index) = directory_place(chunk_no);
        self.segments[segment].get()?[index].get()
    }

    /// Puts a chunk behind `chunk_no`, unless somebody was faster.
    fn grow(&self, chunk_no: u64, count: u64) {
        let _growing = self.growing.lock();
        if self.next.load(Ordering::Relaxed) >> 32 != chunk_no {
            return;
        }
        let total = self.total_words.load(Ordering::Relaxed);
        let words = (total / GROWTH).clamp(CHUNK_WORDS.0, CHUNK_WORDS.1).max(count);
        self.total_words.store(total + words, Ordering::Relaxed);
        let (segment, index) = directory_place(chunk_no + 1);
        assert!(chunk_no + 1 < 1 << CHUNK_BITS, "A1: a memtable of 4 TiB is full");
        let slots =
            self.segments[segment].get_or_init(|| (0..SEGMENT_CHUNKS << segment).map(|_| OnceLock::new()).collect());
        let fresh = slots[index].set(Row::new(words as usize, |_| AtomicU64::new(0)));
        assert!(fresh.is_ok(), "A1: each chunk is made once");
        // Release: pairs with Acquire in `take`.
        self.next.store((chunk_no + 1) << 32, Ordering::Release);
    }
}

/// The segment of a chunk, and its index there.
fn directory_place(chunk_no: u64) -> (usize, usize) {
    let shifted = chunk_no + SEGMENT_CHUNKS;
    let segment = shifted.ilog2() - SEGMENT_CHUNKS.ilog2();
    (segment as usize, (shifted - (SEGMENT_CHUNKS << segment)) as usize)
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Arena")
    }
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use super::*;

    #[test]
    fn words_are_fresh_and_nobody_elses() {
        let arena = Arena::default();
        let mut places = Vec::new();
        for number in 1..3000u64 {
            let count = 1 + (number * 7 % 40) as usize;
            let (place, words) = arena.take(count);
            assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0), "A2");
            words.iter().for_each(|word| word.store(number, Ordering::Relaxed));
            places.push((place, count, number));
        }
        for (place, count, number) in places {
            assert_eq!(Place::from_bits(place.to_bits()), Some(place));
            assert!(arena.words(place, count).iter().all(|word| word.load(Ordering::Relaxed) == number), "A1");
        }
    }

    #[test]
    fn little_stands_unused() {
        let arena = Arena::default();
        let mut used = 0;
        for _ in 0..100_000 {
            arena.take(20);
            used += 160;
            let unused = arena.bytes() - used;
            assert!(unused <= 1024 + 256 + used / 6, "A3: {unused} beside {used}");
        }
        let (_, large) = arena.take(1 << 17);
        assert_eq!(large.len(), 1 << 17);
    }

    #[test]
    fn every_chunk_has_a_place_of_its_own_in_the_directory() {
        let mut last = (0, 0);
        for chunk_no in 1..100_000 {
            let place = directory_place(chunk_no);
            assert!(place > last && place.1 < (SEGMENT_CHUNKS << place.0) as usize);
            last = place;
        }
        assert!(directory_place((1 << CHUNK_BITS) - 1).0 < SEGMENTS);
    }
}
