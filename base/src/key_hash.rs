//! The hash of keys for filters: which keys a memtable or a table certainly does not have.
//!
//! It knows no filter. It is fast and not keyed: who chooses keys can make filters useless to himself, and no more than that. Tables that would
//! grow slow by it hash otherwise (`txn/src/key_hash.rs`).
//!
//! KH1  Its values never change: filters in files were built with them, and a test pins them.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const OTHER_MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

/// The hash of a key: eight bytes at a time through a folded product of 128 bits. All of its bits are of use.
///
/// ```
/// use duramen_base::key_hash::key_hash;
/// assert_eq!(key_hash(b"a"), 0x0494_e7d3_a9f4_2730);
/// ```
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    let mut state = MULTIPLIER ^ key.len() as u64;
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(state ^ u64::from_le_bytes(last)) ^ OTHER_MULTIPLIER)
}

#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word ^ MULTIPLIER) * u128::from(OTHER_MULTIPLIER);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_has_these_values() {
        let hashes = [&b""[..], b"a", b"heartwood", &[0; 8], &[0; 16]].map(key_hash);
        assert_eq!(hashes, GOLDEN_HASHES, "KH1: {hashes:#018x?}");
    }

    const GOLDEN_HASHES: [u64; 5] = [
        0xdb33_08f2_9179_18bf,
        0x0494_e7d3_a9f4_2730,
        0x6603_1b3d_7763_69b0,
        0x1d88_56fe_14c2_bf7a,
        0xa103_8fc5_4c42_6a2f,
    ];
}
