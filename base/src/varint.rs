//! Variable-length integers: seven bits a byte, low bits first, high bit set on all but the last (LEB128).
//!
//! Reading is total: a number that is cut off, longer than ten bytes, or above `u64::MAX` is `None`.

/// Most bytes one number takes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends `number`.
///
/// ```
/// let mut bytes = Vec::new();
/// duramen_base::varint::put(&mut bytes, 300);
/// assert_eq!(bytes, [0xac, 0x02]);
/// ```
#[inline]
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes one number off the front of `bytes`.
///
/// ```
/// let mut bytes: &[u8] = &[0xac, 0x02, 0xff];
/// assert_eq!(duramen_base::varint::take(&mut bytes), Some(300));
/// assert_eq!(bytes, [0xff]);
/// assert_eq!(duramen_base::varint::take(&mut bytes), None);
/// ```
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (number, len) = read(bytes, 0)?;
    *bytes = &bytes[len..];
    Some(number)
}

/// The number at `at`, and how many bytes it takes. Numbers of one or two bytes are read inline: almost all are.
///
/// ```
/// assert_eq!(duramen_base::varint::read(&[7, 0xac, 0x02], 1), Some((300, 2)));
/// assert_eq!(duramen_base::varint::read(&[7, 0xac], 1), None);
/// ```
#[inline]
pub fn read(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let second = *bytes.get(at + 1)?;
    if second < 0x80 {
        return Some((u64::from(first & 0x7f) | u64::from(second) << 7, 2));
    }
    read_long(&bytes[at..])
}

#[inline(never)]
fn read_long(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for (index, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        if index == VARINT_BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

/// Takes a number and then that many bytes off the front of `bytes`.
///
/// ```
/// let mut bytes: &[u8] = &[2, b'a', b'b', b'c'];
/// assert_eq!(duramen_base::varint::take_bytes(&mut bytes), Some(&b"ab"[..]));
/// ```
#[inline]
pub fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take(bytes)?).ok()?;
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

/// Bytes that [`put`] takes for `number`.
///
/// ```
/// assert_eq!(duramen_base::varint::len(127), 1);
/// assert_eq!(duramen_base::varint::len(128), 2);
/// ```
#[inline]
pub const fn len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}
