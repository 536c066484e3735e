//! Bytes on disk, pinned: what is written equals the annotated files in `tests/golden/`, and those are read as what they say.

use std::path::Path;

use duramen_base::golden::bytes as golden;
use duramen_base::{Lsn, Timestamp};

use super::rig::UUID;
use crate::big::{Last, PartHead};
use crate::header::salt;
use crate::record::{crc, record_bytes};
use crate::{HeaderRead, Mark, MarkSet, RecordHeader, RecordKind, SegmentHeader};

#[test]
fn a_record_has_these_bytes() {
    let pinned = golden(include_str!("../../tests/golden/record.hex"));
    let header = RecordHeader {
        payload_crc: crc(b"heartwood"),
        payload_len: 9,
        kind: RecordKind::Commit,
        lsn: Lsn::new(0x1_0000),
        commit_ts: Timestamp::new(7),
        synced_lsn: Lsn::new(0x8000),
    };
    let mut written = header.encode(0x1234_5678).to_vec();
    written.extend_from_slice(b"heartwood");
    written.resize(record_bytes(9) as usize, 0);
    assert_eq!(written, pinned);
    assert_eq!(RecordHeader::decode(&pinned, header.lsn, 0x1234_5678), HeaderRead::Valid(header));
}

#[test]
fn record_types_keep_their_numbers() {
    let numbers = [
        (RecordKind::Commit, 1),
        (RecordKind::CommitPart, 2),
        (RecordKind::CommitLast, 3),
        (RecordKind::Prepare, 4),
        (RecordKind::CommitPrepared, 5),
        (RecordKind::AbortPrepared, 6),
        (RecordKind::Ingest, 7),
        (RecordKind::KsEvent, 8),
        (RecordKind::CkptMark, 9),
        (RecordKind::Noop, 10),
        (RecordKind::CleanShutdown, 11),
    ];
    assert!(numbers.iter().all(|&(kind, number)| kind as u8 == number));
}

#[test]
fn a_segment_header_has_these_bytes() {
    let pinned = golden(include_str!("../../tests/golden/segment_header.hex"));
    let header = SegmentHeader {
        db_uuid: UUID,
        segment_no: 3,
        segment_bytes: 1 << 20,
        first_lsn: Lsn::new(0x1_2340),
        first_ts: Timestamp::new(9),
        log_epoch: 2,
    };
    let block = header.encode();
    assert_eq!(block[..pinned.len()], pinned);
    assert!(block[pinned.len()..].iter().all(|&byte| byte == 0));
    assert_eq!(SegmentHeader::decode(&pinned, 3, UUID, Path::new("3")).unwrap(), Some(header));
    assert_eq!(salt(UUID, 3), SALT);
}

/// Salt of segment 3 of this database.
const SALT: u32 = 0x6613_5718;

#[test]
fn a_mark_has_these_bytes() {
    let pinned = golden(include_str!("../../tests/golden/mark.hex"));
    let mut marks = MarkSet::default();
    marks.note(4, Mark { seq: 1, persisted: Timestamp::ZERO });
    marks.note(2, Mark { seq: 3, persisted: Timestamp::new(7) });
    assert_eq!(marks.encode(), pinned);
    assert_eq!(MarkSet::decode(&pinned), Some(marks));
}

#[test]
fn parts_of_big_commits_have_these_bytes() {
    let pinned = golden(include_str!("../../tests/golden/big_commit.hex"));
    let head = PartHead { batch_id: Lsn::new(0x10), part_index: 2 };
    let last = Last { batch_id: Lsn::new(8), batch_bytes: 9, part_count: 1, digest: 0xaabb_ccdd };
    assert_eq!([&head.encode()[..], b"oak", &last.encode()].concat(), pinned);
    assert_eq!(PartHead::decode(&pinned[..15]), Some((head, &b"oak"[..])));
    assert_eq!(Last::decode(&pinned[15..]), Some(last));
}
