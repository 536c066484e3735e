//! The header of a segment, stored twice, each copy alone in a 4 KiB block. Little-endian.
//!
//! On disk: Segment header (segment_header.hex)
//!
//! ```text
//!   offset  size  field
//!        0     8  magic           "DURAMLOG"
//!        8     4  format          1
//!       12     4  read_features   unknown bits: refuse
//!       16     4  write_features  unknown bits: refuse too, a log is always opened for writing
//!       20     4  zero
//!       24    16  db_uuid
//!       40     8  segment_no      the number in the file's name
//!       48     8  segment_bytes   size of the file, both header blocks included
//!       56     8  first_lsn       position of the first record, at byte 8192 of the file
//!       64     8  first_ts        every commit in this segment or a later one has at least this timestamp
//!       72     8  prev_end_lsn    where the segment before ends; always first_lsn
//!       80     8  log_epoch       how often the log was opened
//!       88     4  crc32           CRC-32/IEEE of bytes 0..88
//! ```
//! A copy is valid if and only if magic and crc32 match, and it counts only in the file whose name is its segment_no:
//! a recycled file still holds the header of its earlier number.
//!
//! S1  Both copies are written, and synced, before the first record of the segment.
//! S2  A segment's header is written only after the segment before is durable up to prev_end_lsn, so a valid header proves that.

use std::path::Path;

use duramen_base::{DbUuid, Error, Lsn, Result, Timestamp};

use crate::record::{RECORD_ALIGN_BYTES, crc, u32_at, u64_at};

/// Bytes in front of the first record: two blocks with a copy of the header each.
pub const SEGMENT_HEADER_BYTES: u64 = 2 * HEADER_BLOCK_BYTES as u64;
/// One copy has this much for itself, so that no single torn or lost block takes both.
pub(crate) const HEADER_BLOCK_BYTES: usize = 4096;

/// Largest segment; recovery reads one at a time into memory.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Positions, timestamps and numbers stay below this; so sums of them never overflow.
pub(crate) const NUMBER_LIMIT: u64 = 1 << 62;

const MAGIC: &[u8; 8] = b"DURAMLOG";
const FORMAT: u32 = 1;
const CRC_OFFSET: usize = 88;

/// What a segment says of itself.
///
/// ```
/// use duramen_base::{DbUuid, Lsn, Timestamp};
/// use duramen_wal::SegmentHeader;
/// let db_uuid = DbUuid::from_bytes([1; 16]);
/// let (first_lsn, first_ts) = (Lsn::ZERO, Timestamp::new(1));
/// let header = SegmentHeader { db_uuid, segment_no: 1, segment_bytes: 1 << 20, first_lsn, first_ts, log_epoch: 1 };
/// let block = header.encode();
/// assert_eq!(SegmentHeader::decode(&block, 1, db_uuid, "log/1".as_ref())?, Some(header));
/// assert_eq!(SegmentHeader::decode(&block, 2, db_uuid, "log/2".as_ref())?, None);
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which database.
    pub db_uuid: DbUuid,
    /// Number of the segment.
    pub segment_no: u64,
    /// Size of its file.
    pub segment_bytes: u64,
    /// Position of its first record, and the end of the segment before.
    pub first_lsn: Lsn,
    /// No commit in this segment or later has a smaller timestamp.
    pub first_ts: Timestamp,
    /// Grows with every opening.
    pub log_epoch: u64,
}

/// What one of the two blocks holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    /// Not a header, or one of another number.
    Absent,
    Valid(SegmentHeader),
    Foreign,
    Unknown {
        what: &'static str,
        found: u32,
        known: u32,
    },
    Malformed(&'static str),
}

impl SegmentHeader {
    /// One block: the header, then zeros.
    pub fn encode(&self) -> [u8; HEADER_BLOCK_BYTES] {
        let mut bytes = [0; HEADER_BLOCK_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[24..40].copy_from_slice(self.db_uuid.bytes());
        let numbers = [
            self.segment_no,
            self.segment_bytes,
            self.first_lsn.get(),
            self.first_ts.get(),
            self.first_lsn.get(),
            self.log_epoch,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            bytes[40 + 8 * index..48 + 8 * index].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in the first two blocks of file number `segment_no`; `None` if neither copy is valid and of this number.
    ///
    /// # Errors
    /// `Corruption` if a valid copy belongs to another database, contradicts itself or the other copy;
    /// `UnsupportedFormat` if it is from a newer version. `path` is for the error only.
    pub fn decode(blocks: &[u8], segment_no: u64, db_uuid: DbUuid, path: &Path) -> Result<Option<SegmentHeader>> {
        let mut found: Option<SegmentHeader> = None;
        for (index, block) in blocks.chunks(HEADER_BLOCK_BYTES).take(2).enumerate() {
            let offset = (index * HEADER_BLOCK_BYTES) as u64;
            match decode_copy(block, segment_no, db_uuid) {
                Copy::Absent => {}
                Copy::Valid(header) if found.is_none_or(|first| first == header) => found = Some(header),
                Copy::Valid(_) => return Err(Error::corruption(path, offset, "the two copies of the header differ")),
                Copy::Foreign => return Err(Error::corruption(path, offset, "a log segment of another database")),
                Copy::Malformed(what) => return Err(Error::corruption(path, offset, what)),
                Copy::Unknown { what, found, known } => {
                    return Err(Error::UnsupportedFormat { file: path.into(), what, found, known });
                }
            }
        }
        Ok(found)
    }

    /// The header of file number `segment_no`, of whatever database; for judging a file before there is one.
    pub(crate) fn decode_own(blocks: &[u8], segment_no: u64) -> Option<SegmentHeader> {
        blocks.chunks(HEADER_BLOCK_BYTES).take(2).find_map(|block| {
            let db_uuid = DbUuid::from_bytes(block.get(24..40)?.try_into().ok()?);
            match decode_copy(block, segment_no, db_uuid) {
                Copy::Valid(header) => Some(header),
                Copy::Absent | Copy::Foreign | Copy::Unknown { .. } | Copy::Malformed(_) => None,
            }
        })
    }

    /// What the checksums of this segment's records start from (F1).
    pub fn salt(&self) -> u32 {
        salt(self.db_uuid, self.segment_no)
    }

    /// Where records must end at the latest.
    pub fn limit(&self) -> Lsn {
        self.first_lsn.plus(self.segment_bytes - SEGMENT_HEADER_BYTES)
    }
}

/// What the checksums of a segment's records start from: the database and the number, which is never used twice (F1).
pub(crate) fn salt(db_uuid: DbUuid, segment_no: u64) -> u32 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(db_uuid.bytes());
    bytes[16..].copy_from_slice(&segment_no.to_le_bytes());
    crc(&bytes)
}

fn decode_copy(block: &[u8], segment_no: u64, db_uuid: DbUuid) -> Copy {
    if block.len() < CRC_OFFSET + 4 || &block[..8] != MAGIC || u32_at(block, CRC_OFFSET) != crc(&block[..CRC_OFFSET]) {
        return Copy::Absent;
    }
    for (what, offset, known) in
        [("log format", 8, FORMAT), ("log read features", 12, 0), ("log write features", 16, 0)]
    {
        let found = u32_at(block, offset);
        if found > known || (what == "log format" && found == 0) {
            return Copy::Unknown { what, found, known };
        }
    }
    if u64_at(block, 40) != segment_no {
        return Copy::Absent;
    }
    if &block[24..40] != db_uuid.bytes() {
        return Copy::Foreign;
    }
    let header = SegmentHeader {
        db_uuid,
        segment_no,
        segment_bytes: u64_at(block, 48),
        first_lsn: Lsn::new(u64_at(block, 56)),
        first_ts: Timestamp::new(u64_at(block, 64)),
        log_epoch: u64_at(block, 80),
    };
    match problem(&header, u64_at(block, 72)) {
        Some(what) => Copy::Malformed(what),
        None => Copy::Valid(header),
    }
}

fn problem(header: &SegmentHeader, prev_end_lsn: u64) -> Option<&'static str> {
    let sizes = SEGMENT_HEADER_BYTES + 1..=SEGMENT_BYTES_MAX;
    if !sizes.contains(&header.segment_bytes) || !header.segment_bytes.is_multiple_of(HEADER_BLOCK_BYTES as u64) {
        return Some("a segment of an impossible size");
    }
    if header.first_lsn.get() != prev_end_lsn || !prev_end_lsn.is_multiple_of(RECORD_ALIGN_BYTES) {
        return Some("a segment that does not begin where the one before ends");
    }
    let numbers = [header.segment_no, header.first_lsn.get(), header.first_ts.get(), header.log_epoch];
    if numbers.into_iter().any(|number| number >= NUMBER_LIMIT) || header.first_ts == Timestamp::ZERO {
        return Some("a segment that begins at an impossible place");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: DbUuid = DbUuid::from_bytes([0xd0; 16]);

    fn sample() -> SegmentHeader {
        SegmentHeader {
            db_uuid: UUID,
            segment_no: 3,
            segment_bytes: 1 << 20,
            first_lsn: Lsn::new(0x1_2340),
            first_ts: Timestamp::new(9),
            log_epoch: 2,
        }
    }

    fn twice(header: &SegmentHeader) -> Vec<u8> {
        [header.encode(), header.encode()].concat()
    }

    fn decode(blocks: &[u8]) -> Result<Option<SegmentHeader>> {
        SegmentHeader::decode(blocks, 3, UUID, Path::new("log/3"))
    }

    fn resealed(mut blocks: Vec<u8>, offset: usize, value: u8) -> Vec<u8> {
        for start in [0, HEADER_BLOCK_BYTES] {
            blocks[start + offset] = value;
            let crc = crc(&blocks[start..start + CRC_OFFSET]);
            blocks[start + CRC_OFFSET..start + CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        }
        blocks
    }

    #[test]
    fn either_copy_is_enough() {
        for lost in [0, HEADER_BLOCK_BYTES] {
            let mut blocks = twice(&sample());
            blocks[lost..lost + HEADER_BLOCK_BYTES].fill(0xee);
            assert_eq!(decode(&blocks).unwrap(), Some(sample()));
        }
    }

    #[test]
    fn without_a_copy_of_its_own_number_there_is_no_header() {
        assert_eq!(decode(&vec![0; 8192]).unwrap(), None);
        assert_eq!(decode(&[]).unwrap(), None);
        let blocks = twice(&SegmentHeader { segment_no: 2, ..sample() });
        assert_eq!(decode(&blocks).unwrap(), None);
    }

    #[test]
    fn a_segment_of_another_database_is_named() {
        let blocks = twice(&SegmentHeader { db_uuid: DbUuid::from_bytes([1; 16]), ..sample() });
        assert!(matches!(decode(&blocks), Err(Error::Corruption { .. })));
    }

    #[test]
    fn copies_that_differ_are_damage() {
        let other = SegmentHeader { first_ts: Timestamp::new(10), ..sample() };
        assert!(matches!(decode(&[sample().encode(), other.encode()].concat()), Err(Error::Corruption { .. })));
    }

    #[test]
    fn newer_formats_and_features_are_refused_by_name() {
        for offset in [8, 12, 16] {
            let blocks = resealed(twice(&sample()), offset, 2);
            assert!(matches!(decode(&blocks), Err(Error::UnsupportedFormat { found: 2, .. })), "offset {offset}");
        }
    }

    #[test]
    fn impossible_fields_are_damage() {
        for (offset, value) in [(48, 1), (56, 1), (72, 0), (64, 0), (54, 0xff), (71, 0xff), (87, 0xff)] {
            let blocks = resealed(twice(&sample()), offset, value);
            assert!(matches!(decode(&blocks), Err(Error::Corruption { .. })), "offset {offset}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let _ = decode(&bytes);
        }
    }
}
