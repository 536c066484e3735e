//! The decoders of this crate, for the fuzz driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_base::clock::ManualClock;
use duramen_base::fuzz::{DB_UUID, Target, nothing_to_seal, seal_at};
use duramen_base::golden;
use duramen_base::vfs::{File, MemVfs, OpenMode, Vfs};
use duramen_base::{DbUuid, Lsn, Timestamp};

use crate::big::{Last, PartHead};
use crate::header::{HEADER_BLOCK_BYTES, NUMBER_LIMIT, salt};
use crate::record::{crc, crc_from, record_bytes, u32_at, u64_at};
use crate::{Claims, HeaderRead, MarkSet, RECORD_HEADER_BYTES, RecordHeader, Recovery, SegmentHeader, Wal, WalConfig};

/// The decoders.
pub fn targets() -> Vec<Target> {
    let [record, header, end, mark, big] = [
        include_str!("../tests/golden/record.hex"),
        include_str!("../tests/golden/segment_header.hex"),
        include_str!("../tests/golden/log_end.hex"),
        include_str!("../tests/golden/mark.hex"),
        include_str!("../tests/golden/big_commit.hex"),
    ]
    .map(golden::bytes);
    let (part, last) = (big[..15].to_vec(), big[15..].to_vec());
    let end_of_log = |bytes: &mut [u8], _: u64| {
        seal_at(bytes, 64);
        if bytes.len() > HEADER_BLOCK_BYTES {
            seal_at(&mut bytes[HEADER_BLOCK_BYTES..], 64);
        }
    };
    vec![
        Target {
            name: "log-record",
            corpus: vec![record],
            reseal: |bytes, _| seal_record(bytes, 0, SALT),
            check: check_record,
        },
        Target {
            name: "segment-header",
            corpus: vec![header],
            reseal: |bytes, _| seal_at(bytes, 88),
            check: check_segment_header,
        },
        Target {
            name: "log-end",
            corpus: vec![end],
            reseal: end_of_log,
            check: |bytes| crate::log_end::is_one(bytes, DB_UUID),
        },
        Target { name: "mark", corpus: vec![mark], reseal: nothing_to_seal, check: check_mark },
        Target { name: "commit-part", corpus: vec![part], reseal: nothing_to_seal, check: check_part },
        Target { name: "commit-last", corpus: vec![last], reseal: nothing_to_seal, check: check_last },
        Target { name: "log-segment", corpus: vec![sample_log()], reseal: reseal_log, check: check_log },
        Target { name: "segment-chain", corpus: vec![sample_chain()], reseal: reseal_chain, check: check_chain },
    ]
}

/// The salt of `record.hex`.
const SALT: u32 = 0x1234_5678;

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Makes the header checksum of the record at `at` right.
fn seal_record(bytes: &mut [u8], at: usize, salt: u32) {
    if let Some(header) = bytes.get_mut(at..at + RECORD_HEADER_BYTES) {
        let crc = crc_from(salt, &header[4..]);
        put(header, 0, &crc.to_le_bytes());
    }
}

fn check_record(bytes: &[u8]) -> bool {
    // Segments do not begin, and so records do not stand, at the limit or behind it.
    let at = Lsn::new(bytes.get(16..24).map_or(0, |_| u64_at(bytes, 16) % NUMBER_LIMIT));
    match RecordHeader::decode(bytes, at, SALT) {
        HeaderRead::Valid(header) => {
            assert_eq!(header.encode(SALT), bytes[..RECORD_HEADER_BYTES]);
            assert!(header.end() > header.lsn && header.synced_lsn <= header.lsn);
            true
        }
        HeaderRead::NotARecord | HeaderRead::Unknown { .. } | HeaderRead::Malformed(_) => false,
    }
}

fn check_segment_header(bytes: &[u8]) -> bool {
    let (Some(uuid), Some(_)) = (bytes.get(24..40), bytes.get(..48)) else {
        return SegmentHeader::decode(bytes, 3, DB_UUID, Path::new("3")).is_ok_and(|found| found.is_some());
    };
    let (uuid, no) = (DbUuid::from_bytes(uuid.try_into().expect("sixteen bytes")), u64_at(bytes, 40));
    let Ok(Some(header)) = SegmentHeader::decode(bytes, no, uuid, Path::new("3")) else { return false };
    let block = header.encode();
    assert_eq!(block[..20], bytes[..20]);
    assert_eq!(block[24..88], bytes[24..88]);
    assert!(header.limit() > header.first_lsn);
    true
}

fn check_mark(bytes: &[u8]) -> bool {
    let Some(marks) = MarkSet::decode(bytes) else { return false };
    assert_eq!(marks.encode(), bytes);
    true
}

fn check_part(bytes: &[u8]) -> bool {
    let Some((head, piece)) = PartHead::decode(bytes) else { return false };
    assert_eq!([&head.encode()[..], piece].concat(), bytes);
    true
}

fn check_last(bytes: &[u8]) -> bool {
    let Some(last) = Last::decode(bytes) else { return false };
    assert_eq!(last.encode()[..], *bytes);
    true
}

const SEGMENT_BYTES: u64 = 32 << 10;
const HEADERS_BYTES: usize = 2 * HEADER_BLOCK_BYTES;

fn config(disk: &Arc<MemVfs>) -> WalConfig {
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    let base = WalConfig::new(vfs, "log", Arc::new(ManualClock::default()), DB_UUID, Arc::new(()));
    WalConfig { segment_bytes_first: SEGMENT_BYTES, segment_bytes_max: SEGMENT_BYTES, buffer_bytes: 64 << 10, ..base }
}

fn path(no: u64) -> PathBuf {
    PathBuf::from(format!("log/{no:020}"))
}

/// Records of a segment that begins a log: small commits, a big one, a mark, an event, an end in order.
fn sample_log() -> Vec<u8> {
    let disk = Arc::new(MemVfs::new());
    let wal = Wal::create(config(&disk)).expect("a disk in memory");
    for (ts, bytes) in [(1, 20), (2, 100), (3, 17_000), (4, 0)] {
        let payload = vec![ts as u8; bytes];
        let placed = wal.stage(&payload).expect("room").place_commit(Timestamp::new(ts));
        wal.sync_through(placed.end).expect("a disk in memory");
    }
    wal.log_event(crate::EventKind::KsEvent, b"drop 3").expect("room");
    let mut marks = MarkSet::default();
    marks.note(7, crate::Mark { seq: 3, persisted: Timestamp::new(2) });
    wal.log_marks(&marks).expect("room");
    wal.close().expect("a disk in memory");
    let file = File::open(&*disk, &path(1), OpenMode::Read).expect("there");
    let mut bytes = vec![0; SEGMENT_BYTES as usize];
    file.read_exact_at(&mut bytes, 0).expect("there");
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1).next_multiple_of(8);
    bytes[HEADERS_BYTES..end].to_vec()
}

/// Walks the records and makes their positions and checksums right. A length that runs over is cut.
fn reseal_log(bytes: &mut [u8], dice: u64) {
    let salt = salt(DB_UUID, 1);
    let (mut at, mut ts) = (0, 0);
    while at + RECORD_HEADER_BYTES <= bytes.len() {
        let room = bytes.len() - at - RECORD_HEADER_BYTES;
        let payload_len = (u32_at(bytes, at + 8) as usize).min(room);
        put(bytes, at + 8, &(payload_len as u32).to_le_bytes());
        let payload_crc = crc(&bytes[at + RECORD_HEADER_BYTES..][..payload_len]);
        put(bytes, at + 4, &payload_crc.to_le_bytes());
        put(bytes, at + 16, &(at as u64).to_le_bytes());
        if dice.is_multiple_of(2) {
            // The order of commits too, so that what follows a change still counts.
            let has_ts = matches!(bytes[at + 12], 1 | 3 | 7);
            ts += u64::from(has_ts);
            put(bytes, at + 24, &(if has_ts { ts } else { 0 }).to_le_bytes());
        }
        seal_record(bytes, at, salt);
        at += record_bytes(payload_len) as usize;
    }
}

type Commits = Vec<(Timestamp, Vec<u8>)>;

fn replayed(config: &WalConfig) -> duramen_base::Result<(Recovery, Commits)> {
    let recovery = Recovery::scan(config.clone(), Claims::default())?;
    let mut commits = Vec::new();
    recovery.replay(recovery.first_ts().prev(), &mut |ts, payload| {
        commits.push((ts, payload.to_vec()));
        Ok(())
    })?;
    Ok((recovery, commits))
}

/// A log whose first segment holds these records: what is accepted is accepted again behind a fresh segment, with the same commits.
fn check_log(bytes: &[u8]) -> bool {
    let disk = Arc::new(MemVfs::new());
    let config = config(&disk);
    drop(Wal::create(config.clone()).expect("a disk in memory"));
    let room = SEGMENT_BYTES as usize - HEADERS_BYTES;
    let file = File::open(&*disk, &path(1), OpenMode::ReadWrite).expect("there");
    file.write_all_at(&bytes[..bytes.len().min(room)], HEADERS_BYTES as u64).expect("a disk in memory");
    again(&config)
}

fn again(config: &WalConfig) -> bool {
    let Ok((recovery, commits)) = replayed(config) else { return false };
    assert!(commits.iter().map(|(ts, _)| ts.get()).eq(recovery.first_ts().get()..=recovery.last_ts().get()));
    if recovery.next_numbers().into_iter().any(|number| number + 1 >= NUMBER_LIMIT) {
        return true; // V3: the segment that comes next would be the last one
    }
    let (marks, events) = (recovery.marks().clone(), recovery.events().to_vec());
    drop(recovery.finish().expect("V2: what was accepted is gone on from"));
    let (recovery, commits_again) = replayed(config).expect("V2: it is accepted again");
    assert_eq!(commits_again, commits);
    assert_eq!((recovery.marks(), recovery.events()), (&marks, &events[..]));
    true
}

/// Bytes of a header that mean something.
const HEADER_BYTES: usize = 92;

/// Three segments without records, their headers one after another.
fn sample_chain() -> Vec<u8> {
    let header = |segment_no| SegmentHeader {
        db_uuid: DB_UUID,
        segment_no,
        segment_bytes: SEGMENT_BYTES,
        first_lsn: Lsn::ZERO,
        first_ts: Timestamp::new(1),
        log_epoch: segment_no,
    };
    (1..=3).flat_map(|no| header(no).encode()[..HEADER_BYTES].to_vec()).collect()
}

fn reseal_chain(bytes: &mut [u8], _dice: u64) {
    bytes.chunks_mut(HEADER_BYTES).for_each(|header| seal_at(header, HEADER_BYTES - 4));
}

fn check_chain(bytes: &[u8]) -> bool {
    let disk = Arc::new(MemVfs::new());
    let config = config(&disk);
    drop(Wal::create(config.clone()).expect("a disk in memory"));
    for (index, header) in bytes.chunks(HEADER_BYTES).take(4).enumerate() {
        let file = File::open(&*disk, &path(index as u64 + 1), OpenMode::OpenOrCreate).expect("a disk in memory");
        file.set_len(SEGMENT_BYTES).expect("a disk in memory");
        for copy in 0..2 {
            file.write_all_at(header, copy * HEADER_BLOCK_BYTES as u64).expect("a disk in memory");
        }
    }
    again(&config)
}
