//! The placement state machine without any file being written.

use super::*;
use crate::record::{PAYLOAD_BYTES_MAX, crc};
use crate::segment::{Folder, Zeros};
use duramen_base::DbUuid;
use duramen_base::vfs::MemVfs;

const SEGMENT_BYTES: u64 = 64 << 10;
const RECORD: u64 = 40 + 1000;

struct Rig {
    folder: Folder,
    placement: Placement,
    next_no: u64,
}

impl Rig {
    fn new() -> Rig {
        let folder = Folder::new(Arc::new(MemVfs::new()), "log".into(), DbUuid::from_bytes([1; 16]));
        folder.create_dir().unwrap();
        let prepared = folder.create(1, SEGMENT_BYTES, Zeros::Written).unwrap();
        let header = SegmentHeader {
            db_uuid: folder.db_uuid(),
            segment_no: 1,
            segment_bytes: SEGMENT_BYTES,
            first_lsn: Lsn::ZERO,
            first_ts: Timestamp::new(1),
            log_epoch: 1,
        };
        let segment = Arc::new(Segment::new(header, prepared.file, true));
        Rig { folder, placement: Placement::new(segment, Timestamp::ZERO, 1 << 20, None), next_no: 2 }
    }

    fn prepare(&mut self) {
        self.placement.add_prepared(self.folder.create(self.next_no, SEGMENT_BYTES, Zeros::Written).unwrap());
        self.next_no += 1;
    }

    fn commit(&mut self) -> (Lsn, Lsn) {
        assert_eq!(self.placement.room(RECORD, 0), Room::Reserved);
        self.place()
    }

    fn place(&mut self) -> (Lsn, Lsn) {
        let payload = [7; 1000];
        let ts = self.placement.last_ts().next();
        let payload: [&[u8]; 2] = [&payload, &[]];
        let payload_crc = crc(payload[0]);
        self.placement.place(&Frame { kind: RecordKind::Commit, ts, payload, payload_crc, synced: Lsn::ZERO })
    }
}

#[test]
fn what_is_placed_during_a_claim_is_served_by_the_next_one() {
    let mut rig = Rig::new();
    let (_, end) = rig.commit();
    let first = rig.placement.take(end).unwrap();
    let ends = [rig.commit().1, rig.commit().1];
    assert!(rig.placement.take(ends[1]).is_none(), "P2: one claim at a time");
    rig.placement.complete(first);
    assert_eq!((rig.placement.written().lsn, rig.placement.written().ts), (Lsn::new(RECORD), Timestamp::new(1)));
    let second = rig.placement.take(ends[0]).unwrap();
    assert_eq!(second.bytes.len() as u64, 2 * RECORD);
    rig.placement.complete(second);
    assert_eq!((rig.placement.written().lsn, rig.placement.written().ts), (Lsn::new(3 * RECORD), Timestamp::new(3)));
    assert_eq!(rig.placement.buffered_bytes(), 0);
}

#[test]
fn a_chunk_has_one_claimant_until_it_is_put_back() {
    let mut rig = Rig::new();
    let (_, end) = rig.commit();
    let chunk = rig.placement.take(end).unwrap();
    assert!(rig.placement.take(end).is_none());
    let (_, later_end) = rig.commit();
    rig.placement.put_back(chunk);
    let chunk = rig.placement.take(later_end).unwrap();
    assert_eq!(chunk.start, Lsn::ZERO);
    rig.placement.complete(chunk);
    assert!(rig.placement.take(end).is_none(), "what is behind the target is left to others");
    assert_eq!(rig.placement.take(later_end).unwrap().start, end);
}

#[test]
fn a_chunk_that_was_put_back_does_not_grow_and_the_one_behind_it_does() {
    let mut rig = Rig::new();
    let (_, end) = rig.commit();
    let first = rig.placement.take(end).unwrap();
    rig.commit();
    rig.placement.put_back(first);
    let (_, later_end) = rig.commit();
    for records in [1, 2] {
        let chunk = rig.placement.take(later_end).unwrap();
        assert_eq!(chunk.bytes.len() as u64, records * RECORD);
        rig.placement.complete(chunk);
    }
}

/// P7.
#[test]
fn the_memory_of_chunks_is_counted() {
    let mut rig = Rig::new();
    let budget = Budget::new(1 << 20);
    rig.placement.memory = Some(budget.reserve_anyway(0));
    for round in 0..3 {
        for _ in 0..10 {
            rig.commit();
        }
        let end = rig.placement.end();
        assert!((10 * RECORD..40 * RECORD).contains(&budget.used()), "round {round}: {} bytes", budget.used());
        let chunk = rig.placement.take(end).unwrap();
        rig.placement.complete(chunk);
    }
    assert!(budget.used() > 0, "the spare chunk is kept, and counted");
    drop(rig);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_is_staged_fits_the_current_or_the_next_segment() {
    let mut rig = Rig::new();
    let capacity = SEGMENT_BYTES - 8192;
    for _ in 0..capacity / RECORD {
        rig.commit();
    }
    assert_eq!(rig.placement.room(RECORD, 0), Room::NeedsSegment);
    rig.prepare();
    assert_eq!(rig.placement.room(RECORD, 1), Room::NeedsSegment, "a spare is left untouched");
    for _ in 0..capacity / RECORD {
        assert_eq!(rig.placement.room(RECORD, 0), Room::Reserved);
    }
    assert_eq!(rig.placement.room(RECORD, 0), Room::NeedsOthers);
    let (lsn, _) = rig.place();
    assert_eq!(rig.placement.segment().header.segment_no, 2);
    assert_eq!(rig.placement.segment().header.first_lsn, lsn);
    for _ in 1..capacity / RECORD {
        rig.place();
    }
}

#[test]
fn no_record_is_taken_before_its_segment_is_opened() {
    let mut rig = Rig::new();
    rig.prepare();
    while rig.placement.segment().header.segment_no == 1 {
        rig.commit();
    }
    let end = rig.placement.end();
    let sealed = rig.placement.take(end).unwrap();
    assert_eq!(sealed.segment.header.segment_no, 1);
    assert!(rig.placement.take(end).is_none(), "the log before the new segment is not written yet");
    rig.placement.complete(sealed);
    let opener = rig.placement.take(end).unwrap();
    assert_eq!(opener.opens_after.as_ref().unwrap().header.segment_no, 1);
    let (_, end) = rig.commit();
    assert!(rig.placement.take(end).is_none(), "its headers are not written yet");
    opener.segment.write_headers().unwrap();
    rig.placement.complete(opener);
    assert_eq!(rig.placement.take(end).unwrap().segment.header.segment_no, 2);
}

#[test]
fn buffered_and_staged_bytes_are_bounded() {
    let mut rig = Rig::new();
    rig.placement.buffer_bytes = 3 * RECORD;
    rig.commit();
    assert_eq!(rig.placement.room(2 * RECORD, 0), Room::Reserved);
    assert_eq!(rig.placement.room(8, 0), Room::NeedsWriting);
    let chunk = rig.placement.take(Lsn::new(RECORD)).unwrap();
    assert_eq!(rig.placement.room(8, 0), Room::NeedsOthers);
    rig.placement.complete(chunk);
    assert_eq!(rig.placement.room(8, 0), Room::Reserved);
}

#[test]
fn the_largest_record_fits_the_smallest_buffer_and_segment() {
    let mut rig = Rig::new();
    assert!(record_bytes(PAYLOAD_BYTES_MAX) <= (32 << 10) - 8192);
    assert_eq!(rig.placement.room(record_bytes(PAYLOAD_BYTES_MAX), 0), Room::Reserved);
}
