//! One record, the unit of the log. Little-endian, 8-byte aligned, never across the end of a segment.
//!
//! On disk: Log record (record.hex)
//!
//! ```text
//!   offset  size  field
//!        0     4  header_crc   CRC-32/IEEE of bytes 4..40, started at the segment's salt
//!        4     4  payload_crc  CRC-32/IEEE of the payload
//!        8     4  payload_len  bytes, 0..=PAYLOAD_BYTES_MAX
//!       12     1  type         `RecordKind`; 0 is never written
//!       13     1  flags        bit 0 EXT: tag-length-values precede the payload (none defined yet: refused)
//!       14     2  zero
//!       16     8  lsn          own position
//!       24     8  commit_ts    0: the record is not a commit
//!       32     8  synced_lsn   the log was durable up to here when the record was framed; at most its own lsn
//!       40   len  payload, then zeros up to a multiple of 8
//! ```
//! Valid if and only if: (1) header_crc matches, (2) lsn is the record's own position, (3) type, flags, length and the
//! fields' relations are as above, (4) the record ends inside the segment, (5) payload_crc matches.
//!
//! Not here: where records lie (`segment.rs`), what a bad one means (`scan.rs`), what a payload says.
//!
//! F1  A record identifies itself: position and salt (database, segment number) are under its checksum, so bytes of
//!     another place, of an earlier use of the file or of another database are never taken for it.
//! F2  Decoding is total: any bytes may be given.

use duramen_base::{Lsn, Timestamp};

/// Bytes of a record in front of its payload.
pub const RECORD_HEADER_BYTES: usize = 40;
/// Records begin at multiples of this.
pub(crate) const RECORD_ALIGN_BYTES: u64 = 8;
/// Payload bytes of a commit that still fits one record, and of one part of a bigger one.
pub const PART_BYTES_MAX: usize = 16 << 10;
/// Most payload bytes of one record: a part with its head.
pub const PAYLOAD_BYTES_MAX: usize = PART_BYTES_MAX + 64;

/// Bytes of the largest record.
pub(crate) const RECORD_BYTES_MAX: usize = (RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX).next_multiple_of(8);

const FLAG_EXT: u8 = 1;

/// What a record is. On disk. Never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A whole batch.
    Commit = 1,
    /// A piece of a big batch; means nothing without its `CommitLast`.
    CommitPart = 2,
    /// Commits the parts before it.
    CommitLast = 3,
    /// Kept for prepared transactions.
    Prepare = 4,
    /// Kept for prepared transactions.
    CommitPrepared = 5,
    /// Kept for prepared transactions.
    AbortPrepared = 6,
    /// A commit whose content was built in files of a store: names them, in one record.
    Ingest = 7,
    /// Something happened to a keyspace; opaque here.
    KsEvent = 8,
    /// How far stores are persisted (`mark.rs`).
    CkptMark = 9,
    /// Nothing; proves by its synced_lsn that the log before it was durable.
    Noop = 10,
    /// The log was closed in order; everything before it was durable.
    CleanShutdown = 11,
}

impl RecordKind {
    /// The kind with this number, if this version reads it.
    fn from_byte(byte: u8) -> Option<RecordKind> {
        Some(match byte {
            1 => RecordKind::Commit,
            2 => RecordKind::CommitPart,
            3 => RecordKind::CommitLast,
            7 => RecordKind::Ingest,
            8 => RecordKind::KsEvent,
            9 => RecordKind::CkptMark,
            10 => RecordKind::Noop,
            11 => RecordKind::CleanShutdown,
            _ => return None,
        })
    }

    /// Whether records of this kind take a place in the commit order.
    pub fn has_ts(self) -> bool {
        match self {
            RecordKind::Commit | RecordKind::CommitLast | RecordKind::CommitPrepared | RecordKind::Ingest => true,
            RecordKind::CommitPart
            | RecordKind::Prepare
            | RecordKind::AbortPrepared
            | RecordKind::KsEvent
            | RecordKind::CkptMark
            | RecordKind::Noop
            | RecordKind::CleanShutdown => false,
        }
    }
}

/// The fixed part of a record.
///
/// ```
/// use duramen_base::{Lsn, Timestamp};
/// use duramen_wal::{HeaderRead, RecordHeader, RecordKind};
/// let (lsn, commit_ts) = (Lsn::new(64), Timestamp::ZERO);
/// let noop = RecordHeader { payload_crc: 0, payload_len: 0, kind: RecordKind::Noop, lsn, commit_ts, synced_lsn: lsn };
/// let bytes = noop.encode(7);
/// assert_eq!(RecordHeader::decode(&bytes, lsn, 7), HeaderRead::Valid(noop));
/// assert_eq!(RecordHeader::decode(&bytes, lsn.plus(8), 7), HeaderRead::NotARecord);
/// assert_eq!(noop.end(), Lsn::new(104));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Checksum of the payload.
    pub payload_crc: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// What the record is.
    pub kind: RecordKind,
    /// Its own position.
    pub lsn: Lsn,
    /// Its place in the commit order; `ZERO` if it is not a commit.
    pub commit_ts: Timestamp,
    /// The log was durable up to here when the record was framed.
    pub synced_lsn: Lsn,
}

/// What [`RecordHeader::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRead {
    /// A record begins here (its payload is not checked yet).
    Valid(RecordHeader),
    /// No record of this log begins here.
    NotARecord,
    /// A record of this log, with something this version does not know.
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u32,
    },
    /// A record with a good checksum that no version writes.
    Malformed(&'static str),
}

impl RecordHeader {
    /// Where the next record begins.
    pub fn end(&self) -> Lsn {
        self.lsn.plus(record_bytes(self.payload_len as usize))
    }

    /// Its bytes in a segment with this salt.
    pub fn encode(&self, salt: u32) -> [u8; RECORD_HEADER_BYTES] {
        debug_assert!(self.payload_len as usize <= PAYLOAD_BYTES_MAX, "F1: payloads are bounded");
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[12] = self.kind as u8;
        bytes[16..24].copy_from_slice(&self.lsn.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.commit_ts.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.synced_lsn.get().to_le_bytes());
        let crc = crc_from(salt, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`, which stand at position `at` of a segment with this salt (F2).
    pub fn decode(bytes: &[u8], at: Lsn, salt: u32) -> HeaderRead {
        let Some(bytes) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else { return HeaderRead::NotARecord };
        // The position first: it rules out almost every place that is searched.
        if u64_at(bytes, 16) != at.get() || u32_at(bytes, 0) != crc_from(salt, &bytes[4..]) {
            return HeaderRead::NotARecord;
        }
        let Some(kind) = RecordKind::from_byte(bytes[12]) else {
            return HeaderRead::Unknown { what: "log record type", found: bytes[12].into() };
        };
        if bytes[13] != 0 || bytes[14] != 0 || bytes[15] != 0 {
            let what = if bytes[13] & FLAG_EXT == 0 { "log record flags" } else { "log record extension" };
            return HeaderRead::Unknown { what, found: u32_at(bytes, 12) >> 8 };
        }
        let header = RecordHeader {
            payload_crc: u32_at(bytes, 4),
            payload_len: u32_at(bytes, 8),
            kind,
            lsn: at,
            commit_ts: Timestamp::new(u64_at(bytes, 24)),
            synced_lsn: Lsn::new(u64_at(bytes, 32)),
        };
        match header.problem() {
            Some(what) => HeaderRead::Malformed(what),
            None => HeaderRead::Valid(header),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        if self.payload_len as usize > PAYLOAD_BYTES_MAX {
            return Some("a record is longer than records can be");
        }
        if self.kind.has_ts() == (self.commit_ts == Timestamp::ZERO) {
            return Some("a commit record needs a timestamp, another must have none");
        }
        if self.synced_lsn > self.lsn {
            return Some("a record says that the log was durable behind itself");
        }
        None
    }
}

/// Bytes that a record with a payload of `payload_len` takes, padding included.
pub(crate) fn record_bytes(payload_len: usize) -> u64 {
    (RECORD_HEADER_BYTES as u64 + payload_len as u64).next_multiple_of(RECORD_ALIGN_BYTES)
}

/// CRC-32/IEEE of `bytes`.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc_from(0, bytes)
}

/// CRC-32/IEEE of what gave `start`, followed by `bytes`.
pub(crate) fn crc_from(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}

/// The little-endian u32 at `offset`, which the caller knows to be inside.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes were taken"))
}

/// The little-endian u64 at `offset`, which the caller knows to be inside.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes were taken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> RecordHeader {
        RecordHeader {
            payload_crc: crc(b"heartwood"),
            payload_len: 9,
            kind: RecordKind::Commit,
            lsn: Lsn::new(0x1_0000),
            commit_ts: Timestamp::new(7),
            synced_lsn: Lsn::new(0x8000),
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let bytes = sample().encode(5);
        assert_eq!(RecordHeader::decode(&bytes, sample().lsn, 5), HeaderRead::Valid(sample()));
    }

    #[test]
    fn a_record_is_none_elsewhere_or_in_another_segment() {
        let bytes = sample().encode(5);
        assert_eq!(RecordHeader::decode(&bytes, sample().lsn.plus(8), 5), HeaderRead::NotARecord);
        assert_eq!(RecordHeader::decode(&bytes, sample().lsn, 6), HeaderRead::NotARecord);
        assert_eq!(RecordHeader::decode(&bytes[..39], sample().lsn, 5), HeaderRead::NotARecord);
        assert_eq!(RecordHeader::decode(&[0; 40], Lsn::ZERO, 0), HeaderRead::NotARecord);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let good = sample().encode(5);
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bad, sample().lsn, 5), HeaderRead::NotARecord, "bit {bit}");
        }
    }

    #[test]
    fn unknown_types_and_flags_are_named_not_cut() {
        for (offset, value, what) in [
            (12, 99, "log record type"),
            (12, 4, "log record type"),
            (13, 2, "log record flags"),
            (13, 1, "log record extension"),
        ] {
            let mut bytes = sample().encode(0);
            bytes[offset] = value;
            let crc = crc(&bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            match RecordHeader::decode(&bytes, sample().lsn, 0) {
                HeaderRead::Unknown { what: found, .. } => assert_eq!(found, what),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn fields_that_contradict_each_other_are_malformed() {
        let check = |change: fn(&mut RecordHeader)| {
            let mut header = sample();
            change(&mut header);
            let bytes = header.encode(0);
            assert!(matches!(RecordHeader::decode(&bytes, header.lsn, 0), HeaderRead::Malformed(_)), "{header:?}");
        };
        check(|h| h.commit_ts = Timestamp::ZERO);
        check(|h| h.kind = RecordKind::Noop);
        check(|h| h.synced_lsn = h.lsn.plus(8));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..64), salt: u32, at: u64) {
            let _ = RecordHeader::decode(&bytes, Lsn::new(at), salt);
        }
    }
}
