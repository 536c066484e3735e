//! Keys, values and their order: what every engine is given, and what it must answer.
//!
//! Key `index` is `keys::key(index)`: 16 bytes in no order. A value begins with the index of its key and a serial number, so that a wrong
//! answer shows in a sum; the rest is taken from a pool of which half is random and half is zeros, which compresses to about half, as real
//! records do.

use crate::keys::{KEY_BYTES, Random, key};

/// Bytes of a value that say what it is.
pub const HEAD_BYTES: usize = 16;
const POOL_BYTES: usize = 1 << 16;
/// Random and zero bytes take turns in runs of this.
const RUN_BYTES: usize = 32;

/// Makes values of one size.
#[derive(Clone)]
pub struct Values {
    pool: std::sync::Arc<Vec<u8>>,
    bytes: usize,
}

impl Values {
    /// Values of `bytes`, at least [`HEAD_BYTES`].
    pub fn new(bytes: usize) -> Values {
        let bytes = bytes.max(HEAD_BYTES);
        let mut random = Random::new(0x5eed);
        let byte = |at: usize, random: &mut Random| {
            if (at / RUN_BYTES).is_multiple_of(2) { random.below(256) as u8 } else { 0 }
        };
        Values { pool: std::sync::Arc::new((0..POOL_BYTES + bytes).map(|at| byte(at, &mut random)).collect()), bytes }
    }

    /// Bytes of a value.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the value of key `index` with number `serial` to `out`.
    pub fn fill(&self, out: &mut Vec<u8>, index: u64, serial: u64) {
        out.clear();
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&serial.to_le_bytes());
        let start = (index.wrapping_mul(31).wrapping_add(serial) as usize).wrapping_mul(RUN_BYTES) % POOL_BYTES;
        out.extend_from_slice(&self.pool[start..start + self.bytes - HEAD_BYTES]);
    }
}

/// The word at `place` of a value, 0 if it is too short.
pub fn word(value: &[u8], place: usize) -> u64 {
    value.get(place * 8..place * 8 + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

/// Which key a value belongs to.
#[inline]
pub fn index_of(value: &[u8]) -> u64 {
    word(value, 0)
}

/// The serial number of a value.
#[inline]
pub fn serial_of(value: &[u8]) -> u64 {
    word(value, 1)
}

/// The first `count` keys in their order, and sums over runs of them.
pub struct Sorted {
    /// Key and index, in key order.
    pub keys: Vec<([u8; KEY_BYTES], u64)>,
    /// Sum of the indexes before each place.
    sums: Vec<u64>,
}

impl Sorted {
    /// Of the indexes that `keep` keeps.
    pub fn new(count: u64, keep: impl Fn(u64) -> bool) -> Sorted {
        let mut keys: Vec<_> = (0..count).filter(|&index| keep(index)).map(|index| (key(index), index)).collect();
        keys.sort_unstable();
        let mut sums = vec![0u64];
        for (_, index) in &keys {
            sums.push(sums[sums.len() - 1].wrapping_add(*index));
        }
        Sorted { keys, sums }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Count and sum of the entries of a scan that begins at place `at`.
    pub fn expected(&self, at: usize, limit: usize, reverse: bool) -> (usize, u64) {
        let (low, high) = if reverse {
            ((at + 1).saturating_sub(limit), at + 1)
        } else {
            (at, at.saturating_add(limit).min(self.len()))
        };
        (high - low, self.sums[high].wrapping_sub(self.sums[low]))
    }
}

/// Picks keys: all alike, or some far more often than others.
#[derive(Clone)]
pub enum Picker {
    /// Each as likely as any other.
    Uniform(Random, u64),
    /// Zipf with exponent 0.99, as YCSB has it (Gray et al. 1994), the popular ones spread over all keys.
    Zipfian(Random, Box<Zipf>),
}

/// Constants of the zipfian generator.
#[derive(Clone)]
pub struct Zipf {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    fn new(count: u64) -> Zipf {
        let zeta = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let all = zeta(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / all);
        Zipf { count, zeta: all, alpha: 1.0 / (1.0 - THETA), eta }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let share = random.below(1 << 53) as f64 / (1u64 << 53) as f64;
        let scaled = share * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        ((self.count as f64 * (self.eta * share - self.eta + 1.0).powf(self.alpha)) as u64).min(self.count - 1)
    }
}

impl Picker {
    /// Uniform below `count`.
    pub fn uniform(seed: u64, count: u64) -> Picker {
        Picker::Uniform(Random::new(seed), count)
    }

    /// Zipfian below `count`.
    pub fn zipfian(seed: u64, count: u64) -> Picker {
        Picker::Zipfian(Random::new(seed), Box::new(Zipf::new(count.max(2))))
    }

    /// The same distribution from another seed.
    pub fn reseeded(&self, seed: u64) -> Picker {
        match self {
            Picker::Uniform(_, count) => Picker::Uniform(Random::new(seed), *count),
            Picker::Zipfian(_, zipf) => Picker::Zipfian(Random::new(seed), zipf.clone()),
        }
    }

    /// The next index.
    #[inline]
    pub fn pick(&mut self) -> u64 {
        match self {
            Picker::Uniform(random, count) => random.below(*count),
            // Neighbours in popularity lie apart.
            Picker::Zipfian(random, zipf) => zipf.rank(random).wrapping_mul(0x9e37_79b9_7f4a_7c15) % zipf.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_whose_it_is() {
        let (values, mut value) = (Values::new(100), Vec::new());
        values.fill(&mut value, 7, 9);
        assert_eq!((value.len(), index_of(&value), serial_of(&value)), (100, 7, 9));
    }

    #[test]
    fn sums_of_runs_are_those_of_the_entries() {
        let sorted = Sorted::new(100, |index| index % 3 != 0);
        for (at, limit) in [(0, 10), (60, 10), (65, 1000), (3, 2)] {
            let forward: Vec<u64> = sorted.keys[at..].iter().take(limit).map(|(_, index)| *index).collect();
            assert_eq!(sorted.expected(at, limit, false), (forward.len(), forward.iter().sum()));
            let reverse: Vec<u64> = sorted.keys[..=at].iter().rev().take(limit).map(|(_, index)| *index).collect();
            assert_eq!(sorted.expected(at, limit, true), (reverse.len(), reverse.iter().sum()));
        }
    }

    #[test]
    fn zipfian_picks_favour_few() {
        let mut picker = Picker::zipfian(1, 10_000);
        let mut counts = vec![0; 10_000];
        (0..100_000).for_each(|_| counts[picker.pick() as usize] += 1);
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let top: u32 = counts[..100].iter().sum();
        assert!((40_000..75_000).contains(&top), "the first hundredth has {top} of 100000");
    }
}
