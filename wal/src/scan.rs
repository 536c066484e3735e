//! Reading the bytes of one segment: the next record, and what it means when there is none.
//!
//! Pure: bytes in, verdict out. Which segment may have a tail at all is decided in `recovery.rs`.
//!
//! C1  A tail is torn only if nothing behind it says that the log was durable beyond its start. A record says so by its
//!     `synced_lsn`, and its header alone is enough: it identifies itself (F1), and its payload may be torn.

use duramen_base::{Lsn, mutant};

use crate::record::{HeaderRead, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES, RecordHeader, crc};

/// Record bytes of one segment: all from its first position to where it ends at the latest, or a piece of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) first_lsn: Lsn,
    pub(crate) salt: u32,
}

/// A whole record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) payload: &'a [u8],
}

/// What stands at a position.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    Record(Record<'a>),
    /// No valid record: the log ends here, or was damaged.
    Bad(&'static str),
    /// A record of a newer version.
    Unknown {
        what: &'static str,
        found: u32,
    },
    /// A record that no crash can leave.
    Malformed(&'static str),
}

/// What follows the first bad record of the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing that was ever known to be durable: cut here.
    Torn,
    /// The record at this position says that the log was durable beyond: damage.
    DurableBeyond(Lsn),
}

impl<'a> Area<'a> {
    /// The record at `lsn`, which lies in the area or at its end.
    pub(crate) fn read(&self, lsn: Lsn) -> Read<'a> {
        let rest = self.from(lsn);
        let header = match RecordHeader::decode(rest, lsn, self.salt) {
            HeaderRead::Valid(header) => header,
            HeaderRead::NotARecord => return Read::Bad("no valid log record"),
            HeaderRead::Unknown { what, found } => return Read::Unknown { what, found },
            HeaderRead::Malformed(what) => return Read::Malformed(what),
        };
        match rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + header.payload_len as usize) {
            None => Read::Bad("a log record runs over the end of its segment"),
            Some(payload) if crc(payload) != header.payload_crc => {
                Read::Bad("the payload of a log record does not match its checksum")
            }
            Some(payload) => Read::Record(Record { header, payload }),
        }
    }

    /// Whether a record begins at the first position; its payload may lie outside the area.
    pub(crate) fn has_header_at_start(&self) -> bool {
        !matches!(RecordHeader::decode(self.bytes, self.first_lsn, self.salt), HeaderRead::NotARecord)
    }

    /// Looks behind the bad record at `bad` (C1), from `from` on.
    pub(crate) fn classify_tail(&self, bad: Lsn, from: Lsn) -> Tail {
        if mutant!("cut_damaged_log") {
            return Tail::Torn;
        }
        let mut at = from.max(bad.plus(RECORD_ALIGN_BYTES));
        while at < self.end() {
            match RecordHeader::decode(self.from(at), at, self.salt) {
                HeaderRead::NotARecord => {}
                HeaderRead::Valid(header) if header.synced_lsn <= bad => {}
                // What this version cannot read may be evidence: rather refuse than cut.
                HeaderRead::Valid(_) | HeaderRead::Unknown { .. } | HeaderRead::Malformed(_) => {
                    return Tail::DurableBeyond(at);
                }
            }
            at = at.plus(RECORD_ALIGN_BYTES);
        }
        Tail::Torn
    }

    /// Where the whole records from `lsn` on end.
    pub(crate) fn whole_records_to(&self, mut lsn: Lsn) -> Lsn {
        while let Read::Record(record) = self.read(lsn) {
            lsn = record.header.end();
        }
        lsn
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> Lsn {
        self.first_lsn.plus(self.bytes.len() as u64)
    }

    /// The bytes from `lsn` on.
    pub(crate) fn from(&self, lsn: Lsn) -> &'a [u8] {
        let offset = lsn.get().saturating_sub(self.first_lsn.get());
        usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;
    use duramen_base::Timestamp;
    use proptest::prelude::*;

    const SALT: u32 = 9;
    const FIRST: Lsn = Lsn::new(4096);

    /// Records of 16 payload bytes (56 with their header); `synced` gives each one's synced_lsn as a number of records.
    fn area(synced: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, &synced) in synced.iter().enumerate() {
            let payload = [index as u8; 16];
            let header = RecordHeader {
                payload_crc: crc(&payload),
                payload_len: 16,
                kind: RecordKind::Commit,
                lsn: at(index as u64),
                commit_ts: Timestamp::new(index as u64 + 1),
                synced_lsn: at(synced),
            };
            bytes.extend_from_slice(&header.encode(SALT));
            bytes.extend_from_slice(&payload);
        }
        bytes.resize(bytes.len() + 200, 0);
        bytes
    }

    fn at(index: u64) -> Lsn {
        FIRST.plus(56 * index)
    }

    fn good_prefix(bytes: &[u8]) -> (Lsn, Tail) {
        let area = Area { bytes, first_lsn: FIRST, salt: SALT };
        let lsn = area.whole_records_to(FIRST);
        (lsn, area.classify_tail(lsn, lsn))
    }

    #[test]
    fn a_log_followed_by_zeros_ends_there() {
        assert_eq!(good_prefix(&area(&[0, 0, 0])), (at(3), Tail::Torn));
    }

    #[test]
    fn a_torn_last_record_is_cut() {
        let mut bytes = area(&[0, 0, 2]);
        bytes[56 * 2 + 45] ^= 1;
        assert_eq!(good_prefix(&bytes), (at(2), Tail::Torn));
    }

    #[test]
    fn a_hole_in_what_was_never_synced_is_cut() {
        let mut bytes = area(&[0, 0, 1, 1]);
        bytes[56..112].fill(0);
        assert_eq!(good_prefix(&bytes), (at(1), Tail::Torn));
    }

    #[test]
    fn damage_behind_which_a_record_knew_the_log_durable_is_no_tail() {
        let mut bytes = area(&[0, 0, 1, 3]);
        bytes[56 * 2] ^= 1;
        assert_eq!(good_prefix(&bytes), (at(2), Tail::DurableBeyond(at(3))));
    }

    #[test]
    fn a_later_record_is_evidence_even_with_a_torn_payload() {
        let mut bytes = area(&[0, 0, 1, 3]);
        bytes[56 * 2] ^= 1;
        bytes[56 * 3 + 50] ^= 1;
        assert_eq!(good_prefix(&bytes).1, Tail::DurableBeyond(at(3)));
    }

    #[test]
    fn a_record_over_the_end_is_bad() {
        let bytes = &area(&[0, 0])[..100];
        assert_eq!(good_prefix(bytes).0, at(1));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..300), at: u16) {
            let area = Area { bytes: &bytes, first_lsn: FIRST, salt: SALT };
            let _ = area.read(Lsn::new(at.into()));
            let _ = area.classify_tail(Lsn::new(at.into()), Lsn::new(at.into()));
        }
    }
}
