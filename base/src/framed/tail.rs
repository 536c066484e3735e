//! What follows the last valid frame: nothing, appends that a crash cut short, or damage.
//!
//! A crash may keep any of the bytes written since the last sync, so a bad frame at p with valid ones behind it can be an honest torn end, if
//! all of them were appended since. A valid frame behind p that is marked `SYNCED_BEFORE` says that p was durable once: then p is damaged,
//! and cutting there would silently drop frames (FR3).
//!
//! The search tries every byte behind p. Checksumming each candidate from scratch would be quadratic in a hostile file, so checksums of
//! prefixes are kept every `STRIDE` bytes, and that of a range follows from the two at its ends:
//! crc(a..b) = crc(..b) ^ shift(crc(..a), b - a).

use std::io;

use crc32fast::Hasher;

use super::Tail;
use super::frame::{FRAME_HEAD_BYTES, FrameHead, Salt};
use crate::error::{Error, IoOp, Result};
use crate::vfs::File;

const STRIDE: usize = 64;

/// What stands in `file` from `end`, where no valid frame begins, to `file_bytes`.
pub(super) fn classify(file: &File, salt: Salt, end: u64, file_bytes: u64) -> Result<Tail> {
    let mut rest = zeroed(file, file_bytes.saturating_sub(end))?;
    let got = file.read_up_to_at(&mut rest, end)?;
    rest.truncate(got);
    if rest.iter().all(|&byte| byte == 0) {
        return Ok(Tail::Clean);
    }
    if has_marked_frame(&rest, salt, end) {
        return Err(file.corruption(end, "a damaged frame before durable ones"));
    }
    Ok(Tail::Torn { offset: end })
}

/// Memory for what is left of a file: bounded by the file, and an error where there is not that much.
fn zeroed(file: &File, bytes: u64) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    buffer
        .try_reserve_exact(bytes)
        .map_err(|_| Error::from_io(IoOp::Read, file.path(), io::ErrorKind::OutOfMemory.into()))?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

/// Whether a valid frame that is marked `SYNCED_BEFORE` begins somewhere behind the first byte of `rest`, which stands at `base`.
fn has_marked_frame(rest: &[u8], salt: Salt, base: u64) -> bool {
    let mut prefixes = None;
    (1..rest.len()).any(|at| {
        let Some(head) = FrameHead::parse(&rest[at..], (rest.len() - at) as u64) else {
            return false;
        };
        if !head.synced_before {
            return false;
        }
        let prefixes = prefixes.get_or_insert_with(|| Prefixes::of(rest));
        let from = at + 4;
        let to = at + FRAME_HEAD_BYTES + head.payload_bytes;
        let mut hasher = salt.at(base + at as u64);
        hasher.combine(&Hasher::new_with_initial_len(prefixes.crc(from, to), (to - from) as u64));
        hasher.finalize() == head.crc
    })
}

/// Checksums of every prefix of some bytes, one kept for each `STRIDE`.
struct Prefixes<'a> {
    bytes: &'a [u8],
    kept: Vec<u32>,
}

impl Prefixes<'_> {
    fn of(bytes: &[u8]) -> Prefixes<'_> {
        let mut hasher = Hasher::new();
        let mut kept = vec![0];
        for chunk in bytes.chunks_exact(STRIDE) {
            hasher.update(chunk);
            kept.push(hasher.clone().finalize());
        }
        Prefixes { bytes, kept }
    }

    /// The checksum of `bytes[..to]`.
    fn until(&self, to: usize) -> u32 {
        let whole = to / STRIDE;
        let mut hasher = Hasher::new_with_initial(self.kept[whole]);
        hasher.update(&self.bytes[whole * STRIDE..to]);
        hasher.finalize()
    }

    /// The checksum of `bytes[from..to]`.
    fn crc(&self, from: usize, to: usize) -> u32 {
        let mut shifted = Hasher::new_with_initial(self.until(from));
        shifted.combine(&Hasher::new_with_initial_len(0, (to - from) as u64));
        self.until(to) ^ shifted.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_range_follows_from_its_ends() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| ((n * n) >> 3) as u8).collect();
        let prefixes = Prefixes::of(&bytes);
        for (from, to) in [(0, 1000), (0, 1), (1, 2), (63, 65), (64, 128), (1, 999), (999, 1000), (130, 700)] {
            assert_eq!(prefixes.crc(from, to), crc32fast::hash(&bytes[from..to]), "{from}..{to}");
        }
    }
}
