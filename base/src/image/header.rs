//! The first 192 bytes of a page image: a cold line, a hot line, and a line of hints. Little-endian but for the key heads.
//!
//! On disk: Page image (page-image.leaf.hex, page-image.refers.hex, page-image.inner.hex, page-image.raw.hex)
//!
//! ```text
//!   offset  size  field
//!        0     4  crc32        of bytes 4..stored_len (CRC-32/IEEE)                                       -- cold line
//!        4     4  stored_len   bytes in the file; equals image_len (a compressed image would differ)
//!        8     4  image_len    bytes of the image, 192..=256 KiB
//!       12     1  format       1
//!       13     1  kind         `ImageKind`
//!       14     2  flags        bit 0 REFERS, of a leaf: a record may be a reference to a value in a file; a bit that is not known is refused
//!       16     8  self_id      page id, or offset of the block in its table
//!       24     4  ks_id
//!       28     4  write_seq    as the parent holds it
//!       32     8  max_ts       newest ts of any record, 0: none
//!       40     8  base_ts      the ts of records are stored as distances from it
//!       48    16  zero: room for an authentication tag
//!       64     2  count        main records                                                               -- hot line
//!       66     2  hist_count   history records
//!       68     2  prefix_len   bytes that all keys begin with: those that low and high fence share; 0 without a high fence
//!       70     2  lo_off       low fence, in units of 4 bytes
//!       72     2  lo_len       its bytes
//!       74     2  hi_off       high fence, in units of 4 bytes
//!       76     2  hi_len       its bytes
//!       78     2  data_off     records, or the raw body, in units of 4 bytes
//!       80     8  hi_head      first 8 bytes of the high fence, zeros behind a shorter one
//!       88     8  hist_max_ts  readers at or after it need no history, 0: no history
//!       96     8  right_pid    right sibling, 0: none
//!      104     1  level        height above the leaves
//!      105     3  zero
//!      108    12  zero: room for a nonce
//!      120     8  zero
//!      128    64  hints        16 x 4 bytes: hint i is the head of main record (i + 1) x (count / 17 + 1), ff ff ff ff if there is none
//! ```
//! What follows the header is in `mod.rs`.

use super::{IMAGE_BYTES_MAX, Identity, ImageFault, ImageKind};
use crate::ids::Timestamp;

pub(super) const HEADER_BYTES: usize = 192;
/// Offsets on disk count units of this many bytes: 16 bits reach to 256 KiB.
pub(super) const UNIT_BYTES: usize = 4;
pub(super) const HINT_COUNT: usize = 16;

const _: () = assert!(IMAGE_BYTES_MAX / UNIT_BYTES - 1 <= u16::MAX as usize);

// On disk. Never renumber.
const FORMAT: u8 = 1;
/// See [`Header::flags`].
pub(super) const REFERS: u16 = 1;
const KNOWN_FLAGS: u16 = REFERS;

const STORED_LEN: usize = 4;
const WRITE_SEQ: usize = 28;
const HIST_MAX_TS: usize = 88;
const HINTS: usize = 128;

/// The header in the machine's own words. What a lookup looks at comes first (`Image` says why).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Header {
    pub(super) hi_head: u64,
    pub(super) max_ts: Timestamp,
    pub(super) hist_max_ts: Timestamp,
    pub(super) count: u16,
    pub(super) hist_count: u16,
    pub(super) prefix_len: u16,
    pub(super) lo_off: u16,
    pub(super) lo_len: u16,
    pub(super) hi_len: u16,
    pub(super) hi_off: u16,
    pub(super) level: u8,
    pub(super) kind: ImageKind,
    pub(super) hints: [u32; HINT_COUNT],
    pub(super) base_ts: u64,
    pub(super) self_id: u64,
    pub(super) right_pid: u64,
    pub(super) image_len: u32,
    pub(super) ks_id: u32,
    pub(super) write_seq: u32,
    pub(super) data_off: u16,
    /// [`REFERS`] if a leaf has a record that is a reference; it may say so of one that has none any more.
    pub(super) flags: u16,
}

impl Header {
    /// Writes the header over the first bytes of an image, without a checksum.
    pub(super) fn encode(&self, image: &mut [u8]) {
        let out = &mut image[..HEADER_BYTES];
        out.fill(0);
        let mut put = |at: usize, field: &[u8]| out[at..at + field.len()].copy_from_slice(field);
        put(STORED_LEN, &self.image_len.to_le_bytes());
        put(8, &self.image_len.to_le_bytes());
        put(12, &[FORMAT, self.kind as u8]);
        put(14, &self.flags.to_le_bytes());
        put(16, &self.self_id.to_le_bytes());
        put(24, &self.ks_id.to_le_bytes());
        put(WRITE_SEQ, &self.write_seq.to_le_bytes());
        put(32, &self.max_ts.get().to_le_bytes());
        put(40, &self.base_ts.to_le_bytes());
        let hot = [
            self.count,
            self.hist_count,
            self.prefix_len,
            self.lo_off,
            self.lo_len,
            self.hi_off,
            self.hi_len,
            self.data_off,
        ];
        hot.iter().enumerate().for_each(|(index, field)| put(64 + 2 * index, &field.to_le_bytes()));
        put(80, &self.hi_head.to_be_bytes());
        put(HIST_MAX_TS, &self.hist_max_ts.get().to_le_bytes());
        put(96, &self.right_pid.to_le_bytes());
        put(104, &[self.level]);
        self.hints.iter().enumerate().for_each(|(index, hint)| put(HINTS + 4 * index, &hint.to_be_bytes()));
    }

    /// Checks length and checksum of a stored image and what stands in its header by itself. Total.
    pub(super) fn decode(image: &[u8]) -> Result<Header, ImageFault> {
        if stored_len(image)? != image.len() {
            return Err(ImageFault::new("the image has not the length that its header says"));
        }
        if u32_le(image, 0) != checksum(image) {
            return Err(ImageFault::new("the checksum of the image does not match"));
        }
        if image[12] == 0 {
            return Err(ImageFault::new("no image format"));
        }
        if image[12] > FORMAT {
            return Err(ImageFault::newer("image format", image[12].into(), FORMAT.into()));
        }
        let kind = ImageKind::from_byte(image[13]).ok_or(ImageFault::new("unknown image kind"))?;
        if u16_le(image, 14) & !KNOWN_FLAGS != 0 {
            return Err(ImageFault::newer("image flags", u16_le(image, 14).into(), KNOWN_FLAGS.into()));
        }
        if u32_le(image, 8) as usize != image.len() {
            return Err(ImageFault::new("the stored length is not the image length"));
        }
        let unused = [48..64, 105..128];
        if unused.into_iter().any(|range| image[range].iter().any(|&byte| byte != 0)) {
            return Err(ImageFault::new("reserved bytes of the image header are in use"));
        }
        let hot = |index: usize| u16_le(image, 64 + 2 * index);
        Ok(Header {
            image_len: u32_le(image, 8),
            kind,
            self_id: u64_le(image, 16),
            ks_id: u32_le(image, 24),
            write_seq: u32_le(image, WRITE_SEQ),
            max_ts: Timestamp::new(u64_le(image, 32)),
            base_ts: u64_le(image, 40),
            count: hot(0),
            hist_count: hot(1),
            prefix_len: hot(2),
            lo_off: hot(3),
            lo_len: hot(4),
            hi_off: hot(5),
            hi_len: hot(6),
            data_off: hot(7),
            hi_head: u64_le(image, 80).swap_bytes(),
            hist_max_ts: Timestamp::new(u64_le(image, HIST_MAX_TS)),
            right_pid: u64_le(image, 96),
            level: image[104],
            flags: u16_le(image, 14),
            hints: std::array::from_fn(|index| u32_le(image, HINTS + 4 * index).swap_bytes()),
        })
    }

    /// Whether this is the image that its parent names: bit rot passes the checksum's test, stale and misplaced images fail here.
    pub(super) fn check_identity(&self, expect: &Identity) -> Result<(), ImageFault> {
        if self.kind != expect.kind {
            return Err(ImageFault::new("an image of another kind"));
        }
        if self.self_id != expect.self_id {
            return Err(ImageFault::new("the image of another page or block"));
        }
        if self.ks_id != expect.ks_id {
            return Err(ImageFault::new("an image of another keyspace"));
        }
        if self.write_seq != expect.write_seq {
            return Err(ImageFault::new("a stale image: its write sequence is not the one its parent holds"));
        }
        Ok(())
    }
}

/// What the first 64 bytes of a stored image claim, unchecked.
pub(super) fn claims(head: &[u8]) -> Option<Identity> {
    if head.len() < 64 || head[12] != FORMAT {
        return None;
    }
    let kind = ImageKind::from_byte(head[13])?;
    Some(Identity { kind, self_id: u64_le(head, 16), ks_id: u32_le(head, 24), write_seq: u32_le(head, WRITE_SEQ) })
}

/// The stored length that the first 64 bytes announce, within the limits.
pub(super) fn stored_len(head: &[u8]) -> Result<usize, ImageFault> {
    if head.len() < 64 {
        return Err(ImageFault::new("the image is cut off"));
    }
    let len = u32_le(head, STORED_LEN) as usize;
    if !(HEADER_BYTES..=IMAGE_BYTES_MAX).contains(&len) {
        return Err(ImageFault::new("the length of the image is out of range"));
    }
    Ok(len)
}

/// Sets write sequence and checksum, the last things before an image is stored.
pub(super) fn stamp(image: &mut [u8], write_seq: u32) {
    image[WRITE_SEQ..WRITE_SEQ + 4].copy_from_slice(&write_seq.to_le_bytes());
    let crc = checksum(image);
    image[..4].copy_from_slice(&crc.to_le_bytes());
}

/// First bytes of a key as a big-endian number, zeros behind a shorter one: numbers compare as the keys do, but for ties.
pub(super) fn head4(suffix: &[u8]) -> u32 {
    match suffix.first_chunk::<4>() {
        Some(&head) => u32::from_be_bytes(head),
        None => {
            suffix.iter().fold(0, |head, &byte| head << 8 | u32::from(byte)) << (8 * (4 - suffix.len()) as u32 % 32)
        }
    }
}

/// The same with eight bytes.
#[inline]
pub(super) fn head8(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(&head) => u64::from_be_bytes(head),
        None => key
            .iter()
            .rev()
            .enumerate()
            .fold(0, |head, (back, &byte)| head | u64::from(byte) << (8 * (8 - key.len() + back))),
    }
}

fn checksum(image: &[u8]) -> u32 {
    crc32fast::hash(&image[STORED_LEN..])
}

fn u16_le(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_le(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_le(bytes, at)) | u32::from(u16_le(bytes, at + 2)) << 16
}

fn u64_le(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_le(bytes, at)) | u64::from(u32_le(bytes, at + 4)) << 32
}
