//! One record of a page image.
//!
//! ```text
//!   record := klen, vlen << 3 | flags, [ts], key suffix, value, zeros up to a multiple of 4
//!   klen    varint, bytes of the key behind the prefix
//!   flags   bit 0 TOMBSTONE: deleted, no value; bit 1 FROZEN: so old that it has no ts; bit 2 LARGE: the value is a reference to one in a value file
//!   ts      varint unless FROZEN: zigzag of (ts - base_ts)
//! ```

use std::ops::Range;

use super::Body;
use super::header::UNIT_BYTES;
use crate::ids::Timestamp;
use crate::values::{LARGE_REF_BYTES, LargeRef};
use crate::varint::{self, VARINT_BYTES_MAX};

// On disk. Never renumber.
const TOMBSTONE: u64 = 1;
const FROZEN: u64 = 2;
const LARGE: u64 = 4;
const FLAG_BITS: u32 = 3;

/// Where the parts of a record lie in the image, and what it says of itself.
#[derive(Clone, Debug)]
pub(super) struct RawRecord {
    pub(super) suffix: Range<usize>,
    pub(super) value: Range<usize>,
    /// Zero: frozen.
    pub(super) ts: Timestamp,
    flags: u64,
}

impl RawRecord {
    #[inline(always)]
    pub(super) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    /// Whether it is neither a tombstone nor a reference.
    #[inline(always)]
    pub(super) fn is_plain_value(&self) -> bool {
        self.flags & (TOMBSTONE | LARGE) == 0
    }

    pub(super) fn is_large(&self) -> bool {
        self.flags & LARGE != 0
    }

    /// The reference, if it is one. `image` is the one that it was read from.
    #[inline]
    pub(super) fn large(&self, image: &[u8]) -> Option<LargeRef> {
        match self.flags & LARGE {
            0 => None,
            _ => LargeRef::decode(&image[self.value.clone()]),
        }
    }
}

/// Reads the record at `at`; `None` if it does not fit or says something unknown. Total.
pub(super) fn parse(image: &[u8], at: usize, base_ts: u64) -> Option<RawRecord> {
    let head = Head::read_long(image, at)?;
    let (record, is_frozen) = (head.record(base_ts)?, head.flags() & FROZEN != 0);
    // A ts of zero is said by the flag alone; only values are ever frozen; a tombstone has no value.
    let agrees = (record.ts == Timestamp::ZERO) == is_frozen
        && (!record.is_tombstone() || (!is_frozen && record.value.is_empty()))
        && (record.flags & LARGE == 0 || record.value.len() == LARGE_REF_BYTES);
    (agrees && record.value.end <= image.len()).then_some(record)
}

/// The same for a record that [`parse`] has read once, and that is what it was.
#[inline(always)]
pub(super) fn read(image: &[u8], at: usize, base_ts: u64) -> Option<RawRecord> {
    match Head::read_short(image, at) {
        Some(head) => head.record(base_ts),
        None => read_long(image, at, base_ts),
    }
}

#[cold]
#[inline(never)]
fn read_long(image: &[u8], at: usize, base_ts: u64) -> Option<RawRecord> {
    Head::read_long(image, at)?.record(base_ts)
}

/// The numbers that a record begins with.
#[derive(Clone, Copy)]
struct Head {
    suffix_bytes: u64,
    vlen_and_flags: u64,
    /// Zigzag of (ts - base_ts); nothing if frozen.
    distance: u64,
    /// Where the suffix begins.
    suffix_at: usize,
}

impl Head {
    /// Total.
    fn read_long(image: &[u8], at: usize) -> Option<Head> {
        let mut rest = image.get(at..)?;
        let suffix_bytes = varint::take(&mut rest)?;
        let vlen_and_flags = varint::take(&mut rest)?;
        let distance = if vlen_and_flags & FROZEN == 0 { varint::take(&mut rest)? } else { 0 };
        Some(Head { suffix_bytes, vlen_and_flags, distance, suffix_at: image.len() - rest.len() })
    }

    /// The same from one word of eight bytes: `None` if that is not all there, or if a number is longer than almost all are.
    #[inline(always)]
    fn read_short(image: &[u8], at: usize) -> Option<Head> {
        let word = u64::from_le_bytes(image.get(at..at + size_of::<u64>())?.try_into().ok()?);
        let mut rest = word >> 8;
        let mut bytes = 2;
        let mut vlen_and_flags = rest & 0x7f;
        if rest & 0x80 != 0 {
            vlen_and_flags |= rest >> 1 & 0x3f80;
            rest >>= 8;
            bytes += 1;
        }
        if word & 0x80 != 0 || rest & 0x80 != 0 {
            return None;
        }
        let mut distance = 0;
        if vlen_and_flags & FROZEN == 0 {
            rest >>= 8;
            // The first byte of up to four that has not the bit which says that another follows.
            let end = !rest & 0x8080_8080;
            if end == 0 {
                return None;
            }
            let more = end.trailing_zeros() >> 3;
            let seven = |index: u32| (rest >> (8 * index) & 0x7f) << (7 * index);
            let number = seven(0) | seven(1) | seven(2) | seven(3);
            distance = number & (u64::MAX >> (57 - 7 * more));
            bytes += 1 + more as usize;
        }
        Some(Head { suffix_bytes: word & 0x7f, vlen_and_flags, distance, suffix_at: at + bytes })
    }

    #[inline]
    fn flags(self) -> u64 {
        self.vlen_and_flags & ((1 << FLAG_BITS) - 1)
    }

    /// Where its parts lie, be it in the image or not; `None` if there cannot be such a place.
    #[inline(always)]
    fn record(self, base_ts: u64) -> Option<RawRecord> {
        let value_at = self.suffix_at.checked_add(usize::try_from(self.suffix_bytes).ok()?)?;
        let end = value_at.checked_add(usize::try_from(self.vlen_and_flags >> FLAG_BITS).ok()?)?;
        let ts = if self.flags() & FROZEN == 0 { base_ts.wrapping_add(unzigzag(self.distance)) } else { 0 };
        Some(RawRecord {
            suffix: self.suffix_at..value_at,
            value: value_at..end,
            ts: Timestamp::new(ts),
            flags: self.flags(),
        })
    }
}

/// Appends a record and returns where its key suffix lies in `out`.
pub(super) fn put(out: &mut Vec<u8>, suffix: &[u8], ts: Timestamp, body: Body<'_>, base_ts: u64) -> Range<usize> {
    let reference;
    let (value, kind) = match body {
        Body::Value(value) => (value, 0),
        Body::Tombstone => (&[][..], TOMBSTONE),
        Body::Large(large) => {
            reference = large.encode();
            (&reference[..], LARGE)
        }
    };
    let frozen = if ts == Timestamp::ZERO { FROZEN } else { 0 };
    varint::put(out, suffix.len() as u64);
    varint::put(out, (value.len() as u64) << FLAG_BITS | kind | frozen);
    if frozen == 0 {
        varint::put(out, zigzag(ts.get().wrapping_sub(base_ts)));
    }
    let suffix_at = out.len();
    out.extend_from_slice(suffix);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(UNIT_BYTES), 0);
    suffix_at..suffix_at + suffix.len()
}

/// Bytes that [`put`] appends for a record that begins at a multiple of 4.
pub(super) fn bytes(suffix_bytes: usize, ts: Timestamp, body: Body<'_>, base_ts: u64) -> usize {
    let value_bytes = body.stored_bytes();
    let ts_bytes = match ts {
        Timestamp::ZERO => 0,
        _ => varint::len(zigzag(ts.get().wrapping_sub(base_ts))),
    };
    let lengths = varint::len(suffix_bytes as u64) + varint::len((value_bytes as u64) << FLAG_BITS);
    (lengths + ts_bytes + suffix_bytes + value_bytes).next_multiple_of(UNIT_BYTES)
}

/// Most bytes that [`put`] appends for lengths like these.
pub(super) fn bytes_max(suffix_bytes: usize, value_bytes: usize) -> usize {
    let lengths = varint::len(suffix_bytes as u64) + varint::len((value_bytes as u64) << FLAG_BITS);
    (lengths + VARINT_BYTES_MAX + suffix_bytes + value_bytes).next_multiple_of(UNIT_BYTES)
}

/// Small distances in either direction become small numbers.
fn zigzag(distance: u64) -> u64 {
    distance << 1 ^ (distance as i64 >> 63) as u64
}

#[inline]
fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}
