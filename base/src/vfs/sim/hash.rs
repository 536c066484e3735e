//! Quick hashes for the simulated disk: a 128-bit digest of bytes, and random choices from a seed.
//!
//! Not for anything on disk and not against an adversary: digests count distinct states, choices drive tests.

const K0: u64 = 0xa076_1d64_78bd_642f;
const K1: u64 = 0xe703_7ed1_a0b4_28db;
const K2: u64 = 0x8ebc_6af0_9c88_c6e3;
const K3: u64 = 0x5899_65cc_7537_4cc3;

/// A digest of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> u128 {
    let (mut low, mut high) = (K0, K3 ^ bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(16);
    for chunk in &mut chunks {
        (low, high) = absorb(low, high, word(&chunk[..8]), word(&chunk[8..]));
    }
    let mut last = [0; 16];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    (low, high) = absorb(low, high, word(&last[..8]), word(&last[8..]));
    u128::from(low) | u128::from(high) << 64
}

/// A digest of two digests, in this order.
pub(super) fn join(a: u128, b: u128) -> u128 {
    let (low, high) = absorb(a as u64 ^ K1, (a >> 64) as u64 ^ K2, b as u64, (b >> 64) as u64);
    u128::from(low) | u128::from(high) << 64
}

/// A random number that depends on nothing but its arguments (splitmix64).
pub(super) fn choose(seed: u64, about: u64) -> u64 {
    let mut z = seed.wrapping_add(about.wrapping_mul(K1)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random number below `bound` (above 0).
pub(super) fn choose_below(seed: u64, about: u64, bound: u64) -> u64 {
    ((u128::from(choose(seed, about)) * u128::from(bound)) >> 64) as u64
}

fn absorb(low: u64, high: u64, a: u64, b: u64) -> (u64, u64) {
    (fold(low ^ a, b ^ K1).wrapping_add(high), fold(high ^ b ^ K2, a.rotate_left(32) ^ K3) ^ low.rotate_left(17))
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("callers pass eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_single_bit_and_length_changes_the_digest() {
        let mut seen = HashSet::new();
        for len in 0..80 {
            let mut bytes = vec![0; len];
            assert!(seen.insert(digest(&bytes)));
            for bit in 0..len * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(digest(&bytes)), "length {len}, bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn the_order_of_joined_digests_matters() {
        let (a, b) = (digest(b"a"), digest(b"b"));
        assert_ne!(join(a, b), join(b, a));
    }

    #[test]
    fn choices_stay_below_their_bound() {
        assert!((0..1000).all(|about| choose_below(7, about, 3) < 3));
        assert_eq!(choose_below(7, 7, 1), 0);
    }
}
