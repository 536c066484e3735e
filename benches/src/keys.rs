//! Keys, values and random numbers, the same in every run.

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a value in the commit benches: with its key it makes a log record of about 150 bytes.
pub const VALUE_BYTES: usize = 84;

/// Small, fast, from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(mix(seed))
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * u128::from(bound)) >> 64) as u64
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Key number `index`: 16 bytes that look random, in no order.
#[inline]
pub fn key(index: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&mix(index ^ 0xd1b5_4a32_d192_ed03).to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// A value that differs with `index`.
#[inline]
pub fn value(index: u64) -> [u8; VALUE_BYTES] {
    let mut value = [7; VALUE_BYTES];
    value[..8].copy_from_slice(&index.to_le_bytes());
    value
}
