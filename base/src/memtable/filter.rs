//! Which keys a memtable certainly does not have: one look in place of a walk down the map, which waits for memory several times.
//!
//! A Bloom filter that grows with the memtable, added to and asked by many threads at once without a latch. All bits of a key lie in one word, as in the
//! blocked filters of Putze, Sanders and Singler (2007). It knows no key, only hashes.
//!
//! F1  The bits of a key are set before the map has it. So who could find the key there is not told that it is missing.
//! F2  Bits are set and never cleared. A key's lie in the generation that was the newest when it came; who asks looks into all. An older one is only
//!     ever added to by who came while it was the newest.
//! F3  A generation takes keys while the arena has up to [`GROWTH`] times the bytes of the one before, and has a [`PART`]th of that: so of an arena's
//!     bytes all together take a fourteenth at most, and mostly far less. A segment of it is there once a key falls into it.

use std::sync::OnceLock;

use crate::arena::Row;
use crate::mutant;
use crate::prefetch::prefetch;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes of the arena up to which the first generation serves. Few under simulation, so that a test meets the next one.
const FIRST_BYTES: u64 = if cfg!(duramen_sim) { 2 << 10 } else { 32 << 10 };
/// By so much each generation is larger than the one before; a power of two.
const GROWTH: u64 = 8;
/// Part of an arena that its filter is.
const PART: u64 = 128;
/// As many as the largest arena needs.
const GENERATIONS: usize = 10;
/// Words of a segment, at most.
const SEGMENT_WORDS: u64 = 32 << 10;
/// Bits of a key.
const BITS: u32 = 4;

/// What the filter takes beside `bytes` of an arena, at most (F3).
pub(super) const fn bytes_beside(bytes: u64) -> u64 {
    bytes.div_ceil(14)
}

type Segment = OnceLock<Row<AtomicU64>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Filter {
    generations: [OnceLock<Box<[Segment]>>; GENERATIONS],
    /// How many there may be.
    count: AtomicUsize,
}

/// Where the bits of a key are in a generation.
#[derive(Clone, Copy)]
struct Spot {
    segment: usize,
    word: usize,
}

/// Words of a generation.
const fn words_of(generation: usize) -> u64 {
    (FIRST_BYTES / PART / 8) << (generation as u32 * GROWTH.ilog2())
}

/// The generation for an arena of so many bytes.
fn generation_at(arena_bytes: u64) -> usize {
    let steps = (arena_bytes / FIRST_BYTES).checked_ilog2().map_or(0, |steps| steps / GROWTH.ilog2() + 1);
    (steps as usize).min(GENERATIONS - 1)
}

/// The bits of a key in its word: of the low bits of its hash.
fn mask_of(hash: u64) -> u64 {
    (0..BITS).fold(0, |mask, bit| mask | 1 << (hash >> (6 * bit) & 63))
}

fn spot_of(generation: usize, hash: u64) -> Spot {
    // By its high bits, which the mask does not use.
    let word = hash >> (u64::BITS - words_of(generation).ilog2());
    Spot { segment: (word / SEGMENT_WORDS) as usize, word: (word % SEGMENT_WORDS) as usize }
}

impl Filter {
    /// Has what adding a key looks at come from memory, without waiting for it.
    pub(super) fn ask_for_it(&self, hash: u64, arena_bytes: u64) {
        let generation = generation_at(arena_bytes);
        if let Some(word) = self.word(generation, hash) {
            prefetch(word);
        }
    }

    /// Adds a key, of an arena of so many bytes (F1).
    pub(super) fn add(&self, hash: u64, arena_bytes: u64) {
        let generation = generation_at(arena_bytes);
        let Spot { segment, word } = spot_of(generation, hash);
        let words = words_of(generation);
        let segments = self.generations[generation].get_or_init(|| {
            let segments = words.div_ceil(SEGMENT_WORDS);
            (0..segments).map(|_| Segment::new()).collect()
        });
        if segments[segment].get().is_none() {
            let fresh = Row::new(words.min(SEGMENT_WORDS) as usize, |_| AtomicU64::new(0));
            // Another may be faster; it is the same one.
            let _ = segments[segment].set(fresh);
        }
        let segment = segments[segment].get().expect("there is one now");
        // Release, as the map is changed: F1.
        segment[word].fetch_or(mask_of(hash), Ordering::Release);
        if self.count.load(Ordering::Relaxed) <= generation {
            self.count.fetch_max(generation + 1, Ordering::Release);
        }
    }

    /// Whether a key may have been added.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let mask = mask_of(hash);
        let count = self.count.load(Ordering::Acquire);
        let oldest = if mutant!("ask_the_newest_generation_alone") { count.saturating_sub(1) } else { 0 };
        // The newest first: it has most of the keys.
        (oldest..count).rev().any(|generation| {
            self.word(generation, hash).is_some_and(|word| word.load(Ordering::Acquire) & mask == mask)
        })
    }

    fn word(&self, generation: usize, hash: u64) -> Option<&AtomicU64> {
        let Spot { segment, word } = spot_of(generation, hash);
        Some(&self.generations[generation].get()?[segment].get()?[word])
    }

    /// Bytes of all segments, counted anew.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.generations.iter().filter_map(OnceLock::get).flatten().filter_map(OnceLock::get);
        segments.map(|segment| size_of_val(&**segment) as u64).sum()
    }
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use super::*;

    /// As the keys of a memtable of 230 bytes each.
    const BYTES_OF_A_KEY: u64 = 230;

    fn hash(number: u64) -> u64 {
        crate::key_hash::key_hash(&number.to_be_bytes())
    }

    #[test]
    fn what_was_added_is_never_denied_and_little_else_is_let_through() {
        let filter = Filter::default();
        assert!((0..1_000).all(|number| !filter.may_have(hash(number))), "an empty one denies all");
        for number in 0..400_000u64 {
            filter.add(hash(number), number * BYTES_OF_A_KEY);
            if number.is_power_of_two() {
                assert!((0..=number).all(|number| filter.may_have(hash(number))), "F2");
                let in_vain = (1 << 40..(1 << 40) + 10_000).filter(|&other| filter.may_have(hash(other))).count();
                assert!(in_vain < 400, "{in_vain} of 10000 at {number} keys");
                let beside = filter.bytes();
                assert!(beside <= 256 + bytes_beside(number * BYTES_OF_A_KEY), "F3: {beside} at {number} keys");
            }
        }
        assert!((0..400_000).all(|number| filter.may_have(hash(number))), "F2");
    }

    #[test]
    fn a_generation_begins_where_the_one_before_ends() {
        assert_eq!((generation_at(0), generation_at(FIRST_BYTES - 1)), (0, 0));
        for generation in 1..GENERATIONS {
            let begin = FIRST_BYTES << ((generation as u32 - 1) * GROWTH.ilog2());
            assert_eq!((generation_at(begin - 1), generation_at(begin)), (generation - 1, generation));
            assert_eq!(words_of(generation) * 8 * PART, begin * GROWTH, "F3");
            let last = spot_of(generation, u64::MAX);
            assert!((last.segment as u64) < words_of(generation).div_ceil(SEGMENT_WORDS));
        }
        assert_eq!(generation_at(u64::MAX), GENERATIONS - 1);
    }

    #[test]
    fn what_many_threads_add_at_once_is_there() {
        let filter = Filter::default();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let filter = &filter;
                scope.spawn(move || {
                    for number in (thread..40_000).step_by(4) {
                        filter.add(hash(number), number * BYTES_OF_A_KEY);
                        assert!(filter.may_have(hash(number)), "F1");
                    }
                });
            }
        });
        assert!((0..40_000).all(|number| filter.may_have(hash(number))), "F2");
    }
}
