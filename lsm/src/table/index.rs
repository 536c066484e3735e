//! Index images of a table, and the handles by which anything refers to a block.
//!
//! ```text
//!   handle     := u64 offset, u32 stored length (bit 31: packed), u32 crc32 (the first field of the stored block), little-endian
//!   index part := TableIndex image, level 0: key = low separator, value = handle+      blocks of one entry
//!   top index  := TableIndex image, level 1: key = low separator, value = handle handle    an index part, and its filter part
//! ```
//! All index records are frozen (they have no ts).
//!
//! N1  A low separator is above every key before its block and at or below every key in it; that of the first block is empty.
//! N2  An entry with several handles is one key whose versions exceed one image: newest first over the blocks in order.
//! N3  Whoever reads a block checks that length and checksum are those its handle holds: a stale, swapped or misdirected block is found.

use duramen_base::Timestamp;
use duramen_base::image::{Body, Image, ImageBuilder, ImageKind, ImageSpec};

use super::fences;

/// Bytes of an encoded handle.
pub(crate) const HANDLE_BYTES: usize = 16;

/// Where a block is, and what its bytes must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
    /// Whether a packed block lies there (`packing.rs`), not an image as it is.
    pub(crate) is_packed: bool,
}

const PACKED_BIT: u32 = 1 << 31;

impl Handle {
    pub(crate) fn encode(&self) -> [u8; HANDLE_BYTES] {
        let mut bytes = [0; HANDLE_BYTES];
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        let packed_bit = if self.is_packed { PACKED_BIT } else { 0 };
        bytes[8..12].copy_from_slice(&(self.len | packed_bit).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HANDLE_BYTES]) -> Handle {
        let (offset, rest) = bytes.split_first_chunk::<8>().expect("16 bytes");
        let (len, crc) = rest.split_first_chunk::<4>().expect("8 bytes");
        let crc = crc.first_chunk::<4>().expect("4 bytes");
        let len = u32::from_le_bytes(*len);
        Handle {
            offset: u64::from_le_bytes(*offset),
            len: len & !PACKED_BIT,
            crc: u32::from_le_bytes(*crc),
            is_packed: len & PACKED_BIT != 0,
        }
    }
}

/// The handles in the value of an index record; `None` if it is not one or more whole handles. Total.
pub(crate) fn handles(value: &[u8]) -> Option<Vec<Handle>> {
    let (first, more) = first_handle(value)?;
    Some(std::iter::once(first).chain(more.iter().map(Handle::decode)).collect())
}

/// The same without an allocation: the first, and those behind it as they are stored.
fn first_handle(value: &[u8]) -> Option<(Handle, &[[u8; HANDLE_BYTES]])> {
    let (chunks, rest) = value.as_chunks::<HANDLE_BYTES>();
    let (first, more) = chunks.split_first().filter(|_| rest.is_empty())?;
    Some((Handle::decode(first), more))
}

/// The handles of entry `index` of an index image, as [`first_handle`] gives them.
pub(crate) fn entry_handles(image: &Image, index: usize) -> Option<(Handle, &[[u8; HANDLE_BYTES]])> {
    first_handle(&image.bytes()[image.value_range(index)])
}

/// Index of the entry whose blocks would hold `key` (N1).
pub(crate) fn entry_of(image: &Image, key: &[u8]) -> usize {
    if image.count() <= 1 {
        return 0; // mostly the top index: nothing to choose from
    }
    match image.search(key) {
        Ok(index) => index,
        Err(index) => index.saturating_sub(1),
    }
}

/// The shortest key above `last` and not above `first`, which is above `last`.
pub(crate) fn separator<'k>(last: Option<&[u8]>, first: &'k [u8]) -> &'k [u8] {
    let Some(last) = last else { return b"" };
    debug_assert!(last < first, "N1: blocks ascend");
    let common = last.iter().zip(first).take_while(|(a, b)| a == b).count();
    &first[..common + 1]
}

/// Gathers the entries of one index image.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    weight: usize,
}

impl IndexBuilder {
    /// Appends an entry.
    pub(crate) fn push(&mut self, separator: &[u8], handles: &[Handle]) {
        let value: Vec<u8> = handles.iter().flat_map(Handle::encode).collect();
        self.weight += separator.len() + value.len() + super::RECORD_OVERHEAD_BYTES;
        self.entries.push((separator.to_vec(), value));
    }

    /// Bytes of the image without header and fences, or more.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its first separator.
    pub(crate) fn first_separator(&self) -> &[u8] {
        self.entries.first().map_or(&[], |(key, _)| key)
    }

    /// The image of the entries, to be stored at `offset`; leaves it empty.
    pub(crate) fn build(&mut self, offset: u64, ks_id: u32, level: u8) -> Image {
        let first = self.first_separator().to_vec();
        let last = self.entries.last().map_or(&[][..], |(key, _)| key);
        let (low, high) = fences(&first, last);
        let spec =
            ImageSpec { kind: ImageKind::TableIndex, self_id: offset, ks_id, level, right_pid: 0, low, high: &high };
        let mut builder = ImageBuilder::new(&spec);
        for (key, value) in &self.entries {
            builder.push(key, Timestamp::ZERO, Body::Value(value));
        }
        self.entries.clear();
        self.weight = 0;
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_as_short_as_can_be() {
        assert_eq!(separator(None, b"anything"), b"");
        assert_eq!(separator(Some(b"oak"), b"ocean"), b"oc");
        assert_eq!(separator(Some(b"oak"), b"oaks"), b"oaks");
        assert_eq!(separator(Some(b""), b"\0"), b"\0");
    }

    #[test]
    fn a_handle_has_these_bytes() {
        let handle = Handle { offset: 0x0102_0304_0506_0708, len: 0x1112_1314, crc: 0x2122_2324, is_packed: false };
        let mut bytes = [8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x24, 0x23, 0x22, 0x21];
        assert_eq!(handle.encode(), bytes);
        assert_eq!(Handle::decode(&bytes), handle);
        bytes[11] |= 0x80;
        let handle = Handle { is_packed: true, ..handle };
        assert_eq!(handle.encode(), bytes);
        assert_eq!(Handle::decode(&bytes), handle);
    }

    #[test]
    fn a_value_that_is_not_whole_handles_is_refused() {
        assert_eq!(handles(&[]), None);
        assert_eq!(handles(&[0; 17]), None);
        assert_eq!(handles(&[0; 32]), Some(vec![Handle::default(); 2]));
    }

    #[test]
    fn a_key_is_looked_for_behind_the_last_separator_at_or_below_it() {
        let mut builder = IndexBuilder::default();
        for separator in [&b""[..], b"f", b"p"] {
            builder.push(separator, &[Handle::default()]);
        }
        let image = builder.build(64, 7, 0);
        let found: Vec<usize> =
            [&b"a"[..], b"f", b"g", b"p", b"zz", b""].iter().map(|key| entry_of(&image, key)).collect();
        assert_eq!(found, [0, 1, 1, 2, 2, 0]);
        assert!(builder.is_empty());
    }
}
