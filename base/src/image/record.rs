//! One record of a page image.
//!
//! ```text
//!   record := klen, vlen << 3 | flags, [ts], key suffix, value, zeros up to a multiple of 4
//!   klen    varint, bytes of the key behind the prefix
//!   flags   bit 0 TOMBSTONE: deleted, no value; bit 1 FROZEN: so old that it has no ts; bit 2 is kept for an extension and refused
//!   ts      varint unless FROZEN: zigzag of (ts - base_ts)
//! ```

use std::ops::Range;

use super::Body;
use super::header::UNIT_BYTES;
use crate::ids::Timestamp;
use crate::varint::{self, VARINT_BYTES_MAX};

// On disk. Never renumber.
const TOMBSTONE: u64 = 1;
const FROZEN: u64 = 2;
const KNOWN_FLAGS: u64 = TOMBSTONE | FROZEN;
const FLAG_BITS: u32 = 3;

/// Where the parts of a record lie in the image.
#[derive(Clone, Debug)]
pub(super) struct RawRecord {
    pub(super) suffix: Range<usize>,
    pub(super) value: Range<usize>,
    /// Zero: frozen.
    pub(super) ts: Timestamp,
    pub(super) is_tombstone: bool,
}

/// Reads the record at `at`; `None` if it does not fit or says something unknown. Total.
#[inline]
pub(super) fn parse(image: &[u8], at: usize, base_ts: u64) -> Option<RawRecord> {
    let mut rest = image.get(at..)?;
    let suffix_bytes = usize::try_from(take(&mut rest)?).ok()?;
    let vlen_and_flags = take(&mut rest)?;
    let flags = vlen_and_flags & ((1 << FLAG_BITS) - 1);
    let value_bytes = usize::try_from(vlen_and_flags >> FLAG_BITS).ok()?;
    if flags & !KNOWN_FLAGS != 0 {
        return None;
    }
    let is_tombstone = flags & TOMBSTONE != 0;
    let ts = match flags & FROZEN {
        0 => base_ts.wrapping_add(unzigzag(take(&mut rest)?)),
        _ => 0,
    };
    // A ts of zero is said by the flag alone; only values are ever frozen; a tombstone has no value.
    if (ts == 0) != (flags & FROZEN != 0) || (is_tombstone && (ts == 0 || value_bytes != 0)) {
        return None;
    }
    let suffix_at = image.len() - rest.len();
    let value_at = suffix_at.checked_add(suffix_bytes)?;
    let end = value_at.checked_add(value_bytes)?;
    (end <= image.len()).then_some(RawRecord {
        suffix: suffix_at..value_at,
        value: value_at..end,
        ts: Timestamp::new(ts),
        is_tombstone,
    })
}

/// One varint; mostly it is a single byte.
#[inline]
fn take(bytes: &mut &[u8]) -> Option<u64> {
    match *bytes {
        [byte @ ..0x80, rest @ ..] => {
            *bytes = rest;
            Some(u64::from(*byte))
        }
        _ => varint::take(bytes),
    }
}

/// Appends a record and returns where its key suffix lies in `out`.
pub(super) fn put(out: &mut Vec<u8>, suffix: &[u8], ts: Timestamp, body: Body<'_>, base_ts: u64) -> Range<usize> {
    let (value, tombstone) = match body {
        Body::Value(value) => (value, 0),
        Body::Tombstone => (&[][..], TOMBSTONE),
    };
    let frozen = if ts == Timestamp::ZERO { FROZEN } else { 0 };
    varint::put(out, suffix.len() as u64);
    varint::put(out, (value.len() as u64) << FLAG_BITS | tombstone | frozen);
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
    let value_bytes = match body {
        Body::Value(value) => value.len(),
        Body::Tombstone => 0,
    };
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

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}
