//! Filter parts of a table: which keys it certainly does not hold.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler 2007): all bits of a key lie in one block of 64 bytes, so a probe touches one cache line.
//! The body of a `Filter` image, little-endian:
//!
//! On disk: Table (1.sst.hex, 1.sst.counted.hex)
//! ```text
//!   offset  size  field
//!        0     1  filter_kind   1: blocked Bloom; a reader that does not know a kind asks the blocks themselves
//!        1     1  probes        bits set for a key
//!        2     2  zero
//!        4     4  block_count   of 64 bytes, at least 1
//!        8     4  key_count
//!       12     4  zero
//!       16   64n  blocks
//! ```
//! The block of a key is the high half of its hash (`base/src/key_hash.rs`) scaled to `block_count`; bit i of the key is bits 9i..9i+9 of its hash times a second
//! odd constant.
//!
//! H1  A key that was added is never denied.
//! H2  The hash is part of the format: its values never change (KH1).

use duramen_base::key_hash::key_hash;

/// Keys one part holds at most: 10 bits each stay well below the largest image.
pub(crate) const FILTER_KEYS_MAX: usize = 150_000;

// On disk. Never renumber.
const BLOCKED_BLOOM: u8 = 1;
const HEADER_BYTES: usize = 16;
const BLOCK_BYTES: usize = 64;
const BITS_PER_KEY: usize = 10;
/// With 10 bits a key, six probes are the best for blocks of 512 bits: about 1.1 % are let through in vain.
const PROBES: u8 = 6;
/// Nine bits name a bit of a block, and a hash has 64.
const PROBES_MAX: u8 = 7;

const PROBE_MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

fn block_of(hash: u64, block_count: u32) -> usize {
    (((hash >> 32) * u64::from(block_count)) >> 32) as usize
}

fn bits_of(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    let word = hash.wrapping_mul(PROBE_MULTIPLIER);
    (0..u32::from(probes)).map(move |probe| (word >> (9 * probe)) as usize & 511)
}

/// Gathers the hashes of one part.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
}

impl FilterBuilder {
    /// Notes a key.
    pub(crate) fn add(&mut self, key: &[u8]) {
        self.hashes.push(key_hash(key));
    }

    /// Keys noted.
    pub(crate) fn key_count(&self) -> usize {
        self.hashes.len()
    }

    /// The body of the filter image; leaves it empty.
    pub(crate) fn build(&mut self) -> Vec<u8> {
        let block_count = (self.hashes.len() * BITS_PER_KEY).div_ceil(8 * BLOCK_BYTES).max(1) as u32;
        let mut body = vec![0; HEADER_BYTES + block_count as usize * BLOCK_BYTES];
        body[0] = BLOCKED_BLOOM;
        body[1] = PROBES;
        body[4..8].copy_from_slice(&block_count.to_le_bytes());
        body[8..12].copy_from_slice(&(self.hashes.len() as u32).to_le_bytes());
        for &hash in &self.hashes {
            let block = &mut body[HEADER_BYTES + block_of(hash, block_count) * BLOCK_BYTES..][..BLOCK_BYTES];
            for bit in bits_of(hash, PROBES) {
                block[bit / 8] |= 1 << (bit % 8);
            }
        }
        self.hashes.clear();
        body
    }
}

/// A filter part that can be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Filter<'a> {
    /// Blocked Bloom.
    Bloom {
        /// Bits set for a key.
        probes: u8,
        /// How many blocks.
        block_count: u32,
        /// How many keys were added.
        key_count: u32,
        /// The blocks.
        blocks: &'a [u8],
    },
    /// A kind from a later version: it denies nothing.
    Unknown,
}

impl<'a> Filter<'a> {
    /// The filter in a body; `None` if it is damaged. Total.
    pub(crate) fn parse(body: &'a [u8]) -> Option<Filter<'a>> {
        let (header, blocks) = body.split_first_chunk::<HEADER_BYTES>()?;
        if header[0] != BLOCKED_BLOOM {
            return (header[0] != 0).then_some(Filter::Unknown);
        }
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (probes, block_count, key_count) = (header[1], u32_at(4), u32_at(8));
        let is_whole = blocks.len() as u64 == u64::from(block_count) * BLOCK_BYTES as u64;
        let is_known = (1..=PROBES_MAX).contains(&probes) && header[2..4] == [0; 2] && u32_at(12) == 0;
        (block_count > 0 && is_whole && is_known).then_some(Filter::Bloom { probes, block_count, key_count, blocks })
    }

    /// Whether a key with this hash may have been added (H1).
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        match *self {
            Filter::Bloom { probes, block_count, blocks, .. } => {
                let block = &blocks[block_of(hash, block_count) * BLOCK_BYTES..][..BLOCK_BYTES];
                bits_of(hash, probes).all(|bit| block[bit / 8] & 1 << (bit % 8) != 0)
            }
            Filter::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn built(keys: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut builder = FilterBuilder::default();
        keys.for_each(|key| builder.add(&key));
        builder.build()
    }

    #[test]
    fn a_filter_has_these_bytes() {
        let body = built([b"oak".to_vec(), b"ash".to_vec()].into_iter());
        assert_eq!(body[..HEADER_BYTES], [1, 6, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let set: Vec<usize> = (0..512).filter(|bit| body[HEADER_BYTES + bit / 8] & 1 << (bit % 8) != 0).collect();
        assert_eq!(set, GOLDEN_BITS);
    }

    #[test]
    fn about_one_key_in_a_hundred_is_let_through_in_vain() {
        let body = built((0..20_000u32).map(|n| n.to_be_bytes().to_vec()));
        let filter = Filter::parse(&body).expect("whole");
        assert!((0..20_000u32).all(|n| filter.may_contain(key_hash(&n.to_be_bytes()))), "H1");
        let in_vain = (1_000_000..1_100_000u32).filter(|n| filter.may_contain(key_hash(&n.to_be_bytes()))).count();
        assert!(in_vain < 1800, "{in_vain} of 100000");
    }

    #[test]
    fn a_kind_from_later_denies_nothing() {
        let mut body = built([b"oak".to_vec()].into_iter());
        body[0] = 9;
        assert!(Filter::parse(&body).expect("readable").may_contain(key_hash(b"ash")));
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200), asked: u64) {
            if let Some(filter) = Filter::parse(&bytes) {
                filter.may_contain(asked);
            }
        }
    }

    const GOLDEN_BITS: [usize; 12] = [15, 48, 73, 129, 214, 337, 371, 434, 444, 448, 460, 485];
}
