//! Which units of a chunk are taken: a bit for each, and runs of free ones. Pure; it knows no addresses.

use std::ops::Range;

use super::{CHUNK_BYTES, UNIT_BYTES};

/// Units of a chunk.
pub(super) const UNITS: usize = CHUNK_BYTES / UNIT_BYTES;
const WORD_BITS: usize = u64::BITS as usize;

/// See the module.
pub(super) struct Units {
    taken: [u64; UNITS / WORD_BITS],
}

impl Units {
    /// All free.
    pub(super) const FREE: Units = Units { taken: [0; UNITS / WORD_BITS] };

    /// Where the first run of `count` free units begins; or how long the longest run is, if none is so long.
    pub(super) fn find(&self, count: usize) -> Result<usize, usize> {
        let (mut at, mut longest) = (0, 0);
        while at < UNITS {
            let start = self.next(at, false);
            at = self.next(start, true);
            if at - start >= count {
                return Ok(start);
            }
            longest = longest.max(at - start);
        }
        Err(longest)
    }

    /// Marks all of `units`.
    pub(super) fn mark(&mut self, units: Range<usize>, taken: bool) {
        for (index, word) in self.taken[..units.end.div_ceil(WORD_BITS)].iter_mut().enumerate() {
            let base = index * WORD_BITS;
            let (from, to) = (units.start.max(base) - base, units.end.min(base + WORD_BITS) - base);
            if from < to {
                let bits = (u64::MAX >> (WORD_BITS - (to - from))) << from;
                debug_assert_eq!(
                    *word & bits,
                    if taken { 0 } else { bits },
                    "AR1: units are taken once, and given back once"
                );
                *word = if taken { *word | bits } else { *word & !bits };
            }
        }
    }

    /// Length of the run of free units that `units`, which are free, lie in.
    pub(super) fn run_around(&self, units: Range<usize>) -> usize {
        let end = self.next(units.end, true);
        let mut start = units.start;
        while start > 0 {
            let (word, bit) = ((start - 1) / WORD_BITS, (start - 1) % WORD_BITS);
            // The taken units of that word from the nearest one downwards.
            let below = self.taken[word] << (WORD_BITS - 1 - bit);
            let free = (below.leading_zeros() as usize).min(bit + 1);
            start -= free;
            if free <= bit {
                break;
            }
        }
        end - start
    }

    /// The first unit from `at` on that is taken, or free; [`UNITS`] if there is none.
    fn next(&self, at: usize, taken: bool) -> usize {
        let wanted = |word: u64| if taken { word } else { !word };
        let (mut index, mut passed) = (at / WORD_BITS, at % WORD_BITS);
        while let Some(&word) = self.taken.get(index) {
            let rest = wanted(word) >> passed;
            if rest != 0 {
                return index * WORD_BITS + passed + rest.trailing_zeros() as usize;
            }
            (index, passed) = (index + 1, 0);
        }
        UNITS
    }
}
