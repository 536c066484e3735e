//! One checksummed frame of a framed file. Little-endian.
//!
//! On disk: Frame (frame.hex)
//!
//! ```text
//!   offset  size  field
//!        0     4  crc32  of bytes 4.. to the end of the payload (CRC-32/IEEE), continued from the frame's place
//!        4     4  len    payload bytes, 1..=FRAME_PAYLOAD_BYTES_MAX
//!        8     1  kind   bits 0..7: 1..=127, the file's own meaning; 0 is never written, so zero-filled space is never a frame
//!                        bit 7 (SYNCED_BEFORE): everything before this frame was durable when it was appended
//!        9   len  payload
//! ```
//! The place: salt = crc32(db_uuid, ks_id u32, number u64) of the file's header; the checksum starts from the state salt, takes in the frame's
//! offset in the file (u64), and then the bytes. So neither a stale frame of a recycled file nor a misplaced one is valid (FR1).
//!
//! Valid if and only if: (1) kind without bit 7 is not 0 and len is in range, (2) the frame ends inside the file, (3) crc32 matches.

use crc32fast::Hasher;

use super::header::FileHeader;
use crate::error::{Error, Result};
use crate::vfs::File;

/// Most bytes of one frame's payload.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Bytes of a frame before its payload.
pub(super) const FRAME_HEAD_BYTES: usize = 9;

// On disk. Never renumber.
const SYNCED_BEFORE: u8 = 0x80;

/// What binds frames to their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) fn of(header: &FileHeader) -> Salt {
        let mut hasher = Hasher::new();
        hasher.update(header.db_uuid.bytes());
        hasher.update(&header.ks_id.to_le_bytes());
        hasher.update(&header.number.to_le_bytes());
        Salt(hasher.finalize())
    }

    /// The checksum at `offset`, before any byte of the frame went in.
    pub(super) fn at(self, offset: u64) -> Hasher {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(&offset.to_le_bytes());
        hasher
    }
}

/// First bytes of a frame whose ranges hold; its checksum is not looked at yet.
#[derive(Clone, Copy)]
pub(super) struct FrameHead {
    pub(super) crc: u32,
    pub(super) payload_bytes: usize,
    pub(super) kind: u8,
    pub(super) synced_before: bool,
}

impl FrameHead {
    /// The head in `bytes` if (1) holds and the frame ends within `room` bytes from its start (2).
    pub(super) fn parse(bytes: &[u8], room: u64) -> Option<FrameHead> {
        let &[c0, c1, c2, c3, l0, l1, l2, l3, kind] = bytes.first_chunk::<FRAME_HEAD_BYTES>()?;
        let payload_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let head = FrameHead {
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            payload_bytes,
            kind: kind & !SYNCED_BEFORE,
            synced_before: kind & SYNCED_BEFORE != 0,
        };
        let in_range = head.kind != 0 && (1..=FRAME_PAYLOAD_BYTES_MAX).contains(&payload_bytes);
        (in_range && (FRAME_HEAD_BYTES + payload_bytes) as u64 <= room).then_some(head)
    }
}

/// The bytes of a frame that is to stand at `offset`.
pub(super) fn encode(salt: Salt, offset: u64, kind: u8, synced_before: bool, payload: &[u8]) -> Result<Vec<u8>> {
    assert!((1..SYNCED_BEFORE).contains(&kind), "frame kinds are 1 to 127, not {kind}");
    if payload.is_empty() || payload.len() > FRAME_PAYLOAD_BYTES_MAX {
        return Err(Error::InvalidArgument { what: "a frame has 1 byte to 16 MiB of payload" });
    }
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + payload.len());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.push(kind | if synced_before { SYNCED_BEFORE } else { 0 });
    frame.extend_from_slice(payload);
    let mut hasher = salt.at(offset);
    hasher.update(&frame[4..]);
    frame[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    Ok(frame)
}

/// Reads the frame at `offset` of a file of `file_bytes` into `buffer`: its kind and payload, or `None` if none that is valid stands there.
pub(super) fn read<'a>(
    file: &File,
    salt: Salt,
    offset: u64,
    file_bytes: u64,
    buffer: &'a mut Vec<u8>,
) -> Result<Option<(u8, &'a [u8])>> {
    let mut start = [0; FRAME_HEAD_BYTES];
    let got = file.read_up_to_at(&mut start, offset)?;
    let Some(head) = FrameHead::parse(&start[..got], file_bytes.saturating_sub(offset)) else {
        return Ok(None);
    };
    // Bounded: the frame ends inside the file, and is at most 16 MiB.
    buffer.resize(head.payload_bytes, 0);
    file.read_exact_at(buffer, offset + FRAME_HEAD_BYTES as u64)?;
    let mut hasher = salt.at(offset);
    hasher.update(&start[4..]);
    hasher.update(buffer);
    Ok((hasher.finalize() == head.crc).then_some((head.kind, &buffer[..])))
}
