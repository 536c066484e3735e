//! Commits over 16 KiB: parts go into the log before the commit has a place in the order, one last record commits them.
//!
//! On disk: Big commit (big_commit.hex)
//!
//! ```text
//!   CommitPart payload   0  8  batch_id     lsn of the batch's first part
//!                        8  4  part_index   0, 1, 2, ..
//!                       12  n  piece of the batch, 1..=16 KiB
//!   CommitLast payload   0  8  batch_id
//!                        8  8  batch_bytes  of all pieces together
//!                       16  4  part_count
//!                       20  4  digest       CRC-32/IEEE of the whole batch
//! ```
//! A part has no timestamp. Parts whose Last never came (the committer gave up, or the log ends) are ignored.
//!
//! G1  The parts of one batch stand in the log in order of their index, before their Last; other records may stand between.
//! G2  `Batches` follows a log from front to back and finds the one batch that a Last names complete, or says what is wrong.

use std::collections::HashMap;

use duramen_base::Lsn;

use crate::record::{PART_BYTES_MAX, crc_from, u32_at, u64_at};

/// Bytes in front of a part's piece.
pub(crate) const PART_HEAD_BYTES: usize = 12;
/// Bytes of the last record's payload.
pub(crate) const LAST_BYTES: usize = 24;

/// The head of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartHead {
    pub(crate) batch_id: Lsn,
    pub(crate) part_index: u32,
}

impl PartHead {
    pub(crate) fn encode(self) -> [u8; PART_HEAD_BYTES] {
        let mut bytes = [0; PART_HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.batch_id.get().to_le_bytes());
        bytes[8..].copy_from_slice(&self.part_index.to_le_bytes());
        bytes
    }

    /// The head and the piece behind it; `None` if these bytes are no part. Total.
    pub(crate) fn decode(payload: &[u8]) -> Option<(PartHead, &[u8])> {
        let (head, piece) = payload.split_at_checked(PART_HEAD_BYTES)?;
        let fits = !piece.is_empty() && piece.len() <= PART_BYTES_MAX;
        fits.then(|| (PartHead { batch_id: Lsn::new(u64_at(head, 0)), part_index: u32_at(head, 8) }, piece))
    }
}

/// What commits a batch of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) batch_id: Lsn,
    pub(crate) batch_bytes: u64,
    pub(crate) part_count: u32,
    pub(crate) digest: u32,
}

impl Last {
    pub(crate) fn encode(self) -> [u8; LAST_BYTES] {
        let mut bytes = [0; LAST_BYTES];
        bytes[..8].copy_from_slice(&self.batch_id.get().to_le_bytes());
        bytes[8..16].copy_from_slice(&self.batch_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.part_count.to_le_bytes());
        bytes[20..].copy_from_slice(&self.digest.to_le_bytes());
        bytes
    }

    /// `None` if these bytes are no last record. Total.
    pub(crate) fn decode(payload: &[u8]) -> Option<Last> {
        let bytes: &[u8; LAST_BYTES] = payload.try_into().ok()?;
        Some(Last {
            batch_id: Lsn::new(u64_at(bytes, 0)),
            batch_bytes: u64_at(bytes, 8),
            part_count: u32_at(bytes, 16),
            digest: u32_at(bytes, 20),
        })
    }
}

/// Where a piece of a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the segment among the kept ones.
    pub(crate) segment_index: usize,
    /// Byte in its file.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct Open {
    pieces: Vec<Piece>,
    bytes: u64,
    digest: u32,
}

/// The batches whose parts were met and whose Last was not (G2). Holds places, never the bytes themselves.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    open: HashMap<Lsn, Open>,
}

/// A Last and where the bytes of its batch are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// All parts are here.
    Whole { batch_id: Lsn, bytes: u64, pieces: Vec<Piece> },
    /// Its parts began before the kept log: every store has it already.
    BeforeTheLog,
}

impl Batches {
    /// Takes the part record that stands at `lsn`.
    pub(crate) fn part(&mut self, lsn: Lsn, head: PartHead, piece: &[u8], place: Piece) -> Result<(), &'static str> {
        if head.part_index == 0 {
            if head.batch_id != lsn {
                return Err("the first part of a batch does not name itself");
            }
            self.open.insert(lsn, Open::default());
        }
        // A batch that began before the kept log was persisted before its first segment was given up.
        let Some(open) = self.open.get_mut(&head.batch_id) else { return Ok(()) };
        if open.pieces.len() != head.part_index as usize {
            return Err("the parts of a batch are not in order");
        }
        open.pieces.push(place);
        open.bytes += piece.len() as u64;
        open.digest = crc_from(open.digest, piece);
        Ok(())
    }

    /// Takes a last record. `log_start` is where the kept log begins.
    pub(crate) fn last(&mut self, last: Last, log_start: Lsn) -> Result<Closed, &'static str> {
        let Some(open) = self.open.remove(&last.batch_id) else {
            return if last.batch_id < log_start {
                Ok(Closed::BeforeTheLog)
            } else {
                Err("the parts of a commit are missing")
            };
        };
        if open.pieces.len() != last.part_count as usize || open.bytes != last.batch_bytes || open.digest != last.digest
        {
            return Err("the parts of a commit are not what it says");
        }
        Ok(Closed::Whole { batch_id: last.batch_id, bytes: open.bytes, pieces: open.pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::crc;
    use proptest::prelude::*;

    const PLACE: Piece = Piece { segment_index: 0, offset: 8192, bytes: 3 };

    fn head(batch: u64, part_index: u32) -> PartHead {
        PartHead { batch_id: Lsn::new(batch), part_index }
    }

    fn last(batch: u64, part_count: u32, batch_bytes: u64, whole: &[u8]) -> Last {
        Last { batch_id: Lsn::new(batch), batch_bytes, part_count, digest: crc(whole) }
    }

    #[test]
    fn interleaved_batches_are_told_apart() {
        let mut batches = Batches::default();
        batches.part(Lsn::new(8), head(8, 0), b"abc", PLACE).unwrap();
        batches.part(Lsn::new(64), head(64, 0), b"xyz", PLACE).unwrap();
        batches.part(Lsn::new(128), head(8, 1), b"def", PLACE).unwrap();
        let closed = batches.last(last(8, 2, 6, b"abcdef"), Lsn::ZERO).unwrap();
        assert_eq!(closed, Closed::Whole { batch_id: Lsn::new(8), bytes: 6, pieces: vec![PLACE, PLACE] });
    }

    #[test]
    fn missing_swapped_or_changed_parts_are_noticed() {
        let mut batches = Batches::default();
        assert!(batches.part(Lsn::new(16), head(8, 0), b"abc", PLACE).is_err());
        batches.part(Lsn::new(8), head(8, 0), b"abc", PLACE).unwrap();
        assert!(batches.part(Lsn::new(72), head(8, 2), b"abc", PLACE).is_err());
        assert!(batches.last(last(8, 2, 6, b"abcabc"), Lsn::ZERO).is_err());
        assert!(batches.last(last(8, 1, 3, b"abc"), Lsn::ZERO).is_err(), "a batch is committed once");
        batches.part(Lsn::new(80), head(80, 0), b"abc", PLACE).unwrap();
        assert!(batches.last(last(80, 1, 3, b"abd"), Lsn::ZERO).is_err());
    }

    #[test]
    fn a_batch_older_than_the_log_is_no_error() {
        let mut batches = Batches::default();
        batches.part(Lsn::new(2048), head(8, 3), b"abc", PLACE).unwrap();
        assert_eq!(batches.last(last(8, 4, 12, b"abc"), Lsn::new(1024)), Ok(Closed::BeforeTheLog));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = PartHead::decode(&bytes);
            let _ = Last::decode(&bytes);
        }
    }
}
