//! How keys are hashed in the tables of locks: fast, keyed, and with a bound that holds whatever keys somebody chooses.
//!
//! Keys come from programs that may take them from strangers. With a hash that is merely fast, a stranger who knows it sends keys that all fall
//! into one place, and every lock costs a walk over all of them. SipHash, the hash of `std`, keeps that off for four times the price. Here the hash is a
//! polynomial over a prime field with secret coefficients (Carter and Wegman 1979):
//!
//! ```text
//!   words   w1 .. wn of 7 bytes each, the last one with what is left; then the length
//!   inner   ((w1 * k + w2) * k + .. + length) * k  mod p,  p = 2^61 - 1
//!   hash    (inner + m) * a  mod p, mixed over 64 bits one to one
//! ```
//! P1  Two different keys of n words have the same `inner` for at most n + 1 of the p values of `k`: that is how many roots their difference has, and
//!     length and words tell any two keys apart. So for two keys chosen without knowing `k` the chance is below 2^-48 up to the longest key.
//! P2  By `a` and `m` any two different `inner` fall on independent places, so the places in a table are as good as drawn at random: what a stranger's
//!     keys cost is what random keys cost.
//! P3  The secret words come from the operating system, for each table anew, and no hash is ever shown: not in an order (N2 of `locks/points.rs`), not in
//!     a file.
//!
//! What is left to a stranger is to measure which of his keys meet in one place, pair by pair, while all of them are locked; with SipHash it is the same.

use std::hash::{BuildHasher, Hasher, RandomState};

/// p of the module.
const PRIME: u64 = (1 << 61) - 1;
const WORD_BYTES: usize = 7;
const SEVEN_BYTES: u64 = (1 << (8 * WORD_BYTES)) - 1;
/// Odd, without a pattern of its bits.
const MIX: u64 = 0xd6e8_feb8_6659_fd93;

/// The secret words of one table.
#[derive(Clone, Copy)]
pub(crate) struct KeyHash {
    k: u64,
    m: u64,
    a: u64,
}

impl Default for KeyHash {
    fn default() -> KeyHash {
        let random = RandomState::new();
        // SipHash with a random key, of different numbers: as good as drawn (P3). None is zero.
        let draw = |number: u64| random.hash_one(number) % (PRIME - 1) + 1;
        KeyHash { k: draw(1), m: draw(2), a: draw(3) }
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher { secret: *self, inner: 0 }
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash")
    }
}

/// See the module.
pub(crate) struct KeyHasher {
    secret: KeyHash,
    inner: u64,
}

impl KeyHasher {
    #[inline]
    fn word(&mut self, word: u64) {
        debug_assert!(word < PRIME, "P1: words lie in the field");
        self.inner = times(self.inner + word, self.secret.k);
    }
}

impl Hasher for KeyHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // Eight bytes at once, of which seven count: as many times as there are eight.
        while let Some(eight) = rest.first_chunk::<8>() {
            self.word(u64::from_le_bytes(*eight) & SEVEN_BYTES);
            rest = &rest[WORD_BYTES..];
        }
        // At most seven are left, and at least one if there were eight.
        match (rest.len(), bytes.last_chunk::<8>()) {
            (0, _) => {}
            (left, Some(last)) => self.word(u64::from_le_bytes(*last) >> (8 * (8 - left))),
            (_, None) => self.word(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))),
        }
        self.word(bytes.len() as u64);
    }

    #[inline]
    fn write_usize(&mut self, _: usize) {
        // The length that a slice puts in front: `write` has its own behind.
    }

    #[inline]
    fn finish(&self) -> u64 {
        let placed = times(self.inner + self.secret.m, self.secret.a);
        // Of regular keys (1, 2, 3 ..) these numbers are regular too, and some `a` would crowd a part of a table.
        let mixed = (placed ^ placed >> 32).wrapping_mul(MIX);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(MIX);
        mixed ^ mixed >> 32
    }
}

/// `one * other` modulo p, below 2p: `one` below 2^63, `other` below p.
#[inline]
fn times(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    let (low, high) = (product as u64 & PRIME, (product >> 61) as u64);
    let sum = (low & PRIME) + (high & PRIME) + (high >> 61);
    if sum >= PRIME { sum - PRIME } else { sum }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hash(secret: &KeyHash, key: &[u8]) -> u64 {
        let mut hasher = secret.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    #[test]
    fn multiplication_is_that_of_the_field() {
        let slow = |one: u64, other: u64| (u128::from(one) * u128::from(other) % u128::from(PRIME)) as u64;
        let numbers = [0, 1, 2, 255, PRIME / 2, PRIME - 1, PRIME, PRIME + 1, 2 * PRIME, (1 << 63) - 1];
        for one in numbers {
            for other in numbers.into_iter().filter(|&other| other < PRIME) {
                assert_eq!(times(one, other) % PRIME, slow(one, other), "P1: {one} * {other}");
                assert!(times(one, other) < 2 * PRIME, "P1: the next sum stays below 2^63");
            }
        }
    }

    #[test]
    fn different_keys_have_different_hashes() {
        let secret = KeyHash::default();
        let mut keys: Vec<Vec<u8>> = (0..200u32).map(|n| n.to_be_bytes().to_vec()).collect();
        // What differs in length only, or in where a zero stands.
        keys.extend((0..40).map(|len| vec![0; len]));
        keys.extend((0..40).map(|at| (0..40).map(|n| u8::from(n == at)).collect()));
        let hashes: HashSet<u64> = keys.iter().map(|key| hash(&secret, key)).collect();
        let different: HashSet<&Vec<u8>> = keys.iter().collect();
        assert_eq!(hashes.len(), different.len(), "P1");
    }

    #[test]
    fn regular_keys_fill_a_table_as_evenly_as_random_ones() {
        const BUCKETS: usize = 1 << 10;
        const KEYS: usize = 16 * BUCKETS;
        let secret = KeyHash::default();
        let patterns: [fn(u64) -> Vec<u8>; 4] = [
            |n| n.to_be_bytes().to_vec(),
            |n| n.to_le_bytes().to_vec(),
            |n| format!("user{n:012}").into_bytes(),
            |n| (n << 40).to_be_bytes().to_vec(),
        ];
        for (which, pattern) in patterns.iter().enumerate() {
            let (mut low, mut high) = (vec![0; BUCKETS], vec![0; 128]);
            for n in 0..KEYS as u64 {
                let hash = hash(&secret, &pattern(n));
                low[hash as usize % BUCKETS] += 1;
                high[(hash >> 57) as usize] += 1;
            }
            // Of random keys the fullest of 1,024 places has some 31 when 16 are expected, and 64 in one of 10^15 tables.
            assert!(low.iter().all(|&count| count <= 64), "P2: pattern {which}: {:?}", low.iter().max());
            assert!(high.iter().all(|&count: &i32| count <= 260), "P2: pattern {which}: {:?}", high.iter().max());
        }
    }

    #[test]
    fn two_tables_place_keys_differently() {
        let (one, other) = (KeyHash::default(), KeyHash::default());
        let same = (0..1_000u32).filter(|n| hash(&one, &n.to_be_bytes()) == hash(&other, &n.to_be_bytes()));
        assert!(same.count() < 3, "P3");
    }
}
