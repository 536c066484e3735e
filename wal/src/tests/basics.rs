//! Open, append, flush, recover.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duramen_base::vfs::{File, MemVfs, OpenMode};
use duramen_base::{Budget, Error, Timestamp};

use super::noted::{NotedDisk, Notes};
use super::rig::*;
use crate::header::{HEADER_BLOCK_BYTES, NUMBER_LIMIT, SegmentHeader};
use crate::{Claims, EventKind, Mark, MarkSet, Recovery, SEGMENT_HEADER_BYTES, Wal, WalConfig};

#[test]
fn what_was_committed_is_replayed_in_order() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let mut expected = Vec::new();
    for ts in 1..=300_u64 {
        let bytes = (ts * 37 % 900) as usize;
        commit_sync(&wal, bytes);
        expected.push((ts, bytes));
    }
    assert!(wal.stats().segments > 2);
    let recovery = scan(&config).unwrap();
    assert_eq!(replayed(&recovery, 0), expected);
    assert_eq!(replayed(&recovery, 290), expected[290..]);
    assert_eq!((recovery.first_ts(), recovery.last_ts()), (Timestamp::new(1), Timestamp::new(300)));
    assert!(!recovery.was_closed());
}

#[test]
fn the_log_goes_on_after_each_opening() {
    let config = config_on(Arc::new(MemVfs::new()));
    let mut wal = Wal::create(config.clone()).unwrap();
    for epoch in 1..=5 {
        assert_eq!(wal.log_epoch(), epoch);
        commit_sync(&wal, 100);
        if epoch % 2 == 0 {
            wal.close().unwrap();
        }
        let recovery = scan(&config).unwrap();
        assert_eq!(recovery.was_closed(), epoch % 2 == 0);
        assert_eq!(recovery.last_ts(), Timestamp::new(epoch));
        wal = recovery.finish().unwrap();
    }
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 5);
}

#[test]
fn big_commits_come_back_whole_and_abandoned_ones_not_at_all() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    commit_sync(&wal, 16 << 10);
    drop(wal.stage(&payload(2, 50_000)).unwrap());
    commit_sync(&wal, (16 << 10) + 1);
    commit_sync(&wal, 300_000);
    let recovery = scan(&config).unwrap();
    assert_eq!(replayed(&recovery, 0), [(1, 16 << 10), (2, (16 << 10) + 1), (3, 300_000)]);
}

#[test]
fn what_nobody_syncs_is_synced_in_the_background_when_it_is_much() {
    let config = config_on(Arc::new(MemVfs::new()));
    // One segment for all of it: the next one would sync it when it is opened.
    let wal = Wal::create(WalConfig { segment_bytes_first: 2 << 20, segment_bytes_max: 2 << 20, ..config }).unwrap();
    let write = |bytes| wal.write_through(commit(&wal, bytes).unwrap().end).unwrap();
    write(1_000);
    wal.tick(Duration::ZERO).unwrap();
    assert_eq!(wal.stats().synced_ts, Timestamp::ZERO, "I2: little is left to whoever wants it durable");
    (0..60).for_each(|_| write(10_000));
    wal.tick(Duration::ZERO).unwrap();
    assert_eq!((wal.stats().synced_ts, wal.stats().segments), (Timestamp::new(61), 1), "I2");
}

#[test]
fn buffered_commits_survive_the_process() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    commit(&wal, 10).unwrap();
    let second = commit(&wal, 10).unwrap();
    wal.write_through(second.end).unwrap();
    commit(&wal, 10).unwrap();
    drop(wal);
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 2);
}

#[test]
fn marks_and_events_come_back() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    commit_sync(&wal, 10);
    let mut marks = MarkSet::default();
    marks.note(4, Mark { seq: 1, persisted: Timestamp::ZERO });
    marks.note(5, Mark { seq: 9, persisted: Timestamp::new(1) });
    wal.log_marks(&marks).unwrap();
    wal.log_event(EventKind::KsEvent, b"drop 3").unwrap();
    let mut newer = MarkSet::default();
    newer.note(4, Mark { seq: 2, persisted: Timestamp::new(1) });
    let end = wal.log_marks(&newer).unwrap();
    wal.sync_through(end).unwrap();
    let recovery = scan(&config).unwrap();
    assert_eq!(recovery.marks().get(4), Some(Mark { seq: 2, persisted: Timestamp::new(1) }));
    assert_eq!(recovery.marks().get(5), Some(Mark { seq: 9, persisted: Timestamp::new(1) }));
    assert_eq!(recovery.events().len(), 1);
    assert_eq!(
        (recovery.events()[0].payload.as_slice(), recovery.events()[0].after),
        (&b"drop 3"[..], Timestamp::new(1))
    );
}

#[test]
fn a_claim_beyond_the_log_is_refused() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    commit_sync(&wal, 10);
    let claims = |ts| Claims { contains: Timestamp::new(ts) };
    assert!(Recovery::scan(config.clone(), claims(1)).is_ok());
    assert!(matches!(Recovery::scan(config, claims(2)), Err(Error::Corruption { .. })));
}

#[test]
fn creating_again_is_fine_until_there_is_a_record() {
    let config = config_on(Arc::new(MemVfs::new()));
    drop(Wal::create(config.clone()).unwrap());
    let wal = Wal::create(config.clone()).unwrap();
    commit_sync(&wal, 10);
    assert!(matches!(Wal::create(config), Err(Error::Corruption { .. })));
}

#[test]
fn a_log_without_files_is_not_an_empty_log() {
    let config = config_on(Arc::new(MemVfs::new()));
    assert!(scan(&config).is_err());
    config.vfs.create_dir("log".as_ref()).unwrap();
    assert!(matches!(scan(&config), Err(Error::Corruption { .. })));
}

#[test]
fn after_closing_nothing_is_accepted() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    commit(&wal, 10).unwrap();
    wal.close().unwrap();
    wal.close().unwrap();
    assert!(matches!(wal.stage(b"x"), Err(Error::Closed)));
    assert_eq!(wal.synced_ts(), Timestamp::new(1));
}

#[test]
fn commits_in_files_are_named_before_anything_is_replayed_and_replayed_in_their_turn() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    commit_sync(&wal, 100);
    let placed = wal.stage_ingest(b"files").unwrap().place_commit(Timestamp::new(2));
    drop(wal.stage_ingest(b"thought better of it").unwrap());
    wal.sync_through(placed.end).unwrap();
    assert!(matches!(wal.stage_ingest(&[0; (16 << 10) + 1]), Err(Error::InvalidArgument { .. })));
    let recovery = scan(&config).unwrap();
    let named: Vec<_> = recovery.ingests().iter().map(|ingest| (ingest.ts, &ingest.payload[..])).collect();
    assert_eq!(named, [(Timestamp::new(2), &b"files"[..])]);
    let mut replayed = Vec::new();
    recovery
        .replay(Timestamp::ZERO, &mut |ts, bytes| {
            replayed.push((ts.get(), bytes.len()));
            Ok(())
        })
        .unwrap();
    assert_eq!(replayed, [(1, 100), (2, 5)]);
}

#[test]
fn a_page_of_a_recycled_file_is_never_begun_in_part() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let file = File::open(&*config.vfs, &PathBuf::from(format!("log/{:020}", 1)), OpenMode::ReadWrite).unwrap();
    let left = vec![0xee; (32 << 10) - SEGMENT_HEADER_BYTES as usize];
    file.write_all_at(&left, SEGMENT_HEADER_BYTES).unwrap();
    for bytes in [100, 200, 3_700, 5_000, 10_000] {
        let end = (SEGMENT_HEADER_BYTES + commit_sync(&wal, bytes).end.get()) as usize;
        let page_end = end.next_multiple_of(4096);
        let mut found = vec![0; 32 << 10];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found[end..page_end].iter().all(|byte| *byte == 0), "D4: behind {bytes} bytes");
        assert!(found[page_end..].iter().all(|byte| *byte == 0xee), "D4: and not more, {bytes} bytes");
    }
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 5);
}

#[test]
fn the_memory_of_what_is_written_in_whole_pages_is_counted_and_given_back() {
    let budget = Budget::new(1 << 20);
    let config = WalConfig { budget: Some(Arc::clone(&budget)), ..config_on(Arc::new(MemVfs::new())) };
    let wal = Wal::create(config).unwrap();
    for bytes in (0..12_000).step_by(397) {
        commit_sync(&wal, bytes);
    }
    assert!(budget.used() > 0, "P7: spare chunks");
    drop(wal);
    assert_eq!(budget.used(), 0, "P7");
}

/// R4.
#[test]
fn who_waits_for_a_segment_does_not_wait_for_its_zeros() {
    let disk = Arc::new(NotedDisk::default());
    let config = WalConfig { segment_bytes_max: 1 << 20, buffer_bytes: 256 << 10, ..config_on(disk.clone()) };
    let wal = Wal::create(config.clone()).unwrap();
    let filled = Notes::take(&disk.notes.zeros_written);
    assert!(filled >= config.segment_bytes_first);
    commit_sync(&wal, 500_000);
    assert_eq!(Notes::take(&disk.notes.zeros_written), 0, "R4");
    assert!(Notes::take(&disk.notes.zeros_reserved) >= 500_000, "R4");
    // What stands by before anybody waits is filled.
    let commit_and_tick = |_| {
        commit_sync(&wal, 12_000);
        wal.tick(Duration::ZERO).unwrap();
        Notes::take(&disk.notes.zeros_written) > 0
    };
    assert!((0..100).any(commit_and_tick), "R4");
    assert!(!replayed(&scan(&config).unwrap(), 0).is_empty());
}

/// R5.
#[test]
fn segments_ahead_are_filled_only_for_who_syncs_often() {
    let filled_of = |is_synced: bool| {
        let disk = Arc::new(NotedDisk::default());
        let wal = Wal::create(WalConfig {
            segment_bytes_first: 1 << 20,
            segment_bytes_max: 1 << 20,
            ..config_on(disk.clone())
        })
        .unwrap();
        Notes::take(&disk.notes.zeros_written);
        for _ in 0..400 {
            let placed = commit(&wal, 12_000).unwrap();
            if is_synced {
                wal.sync_through(placed.end).unwrap();
            }
            wal.tick(Duration::ZERO).unwrap();
        }
        (Notes::take(&disk.notes.zeros_written), Notes::take(&disk.notes.zeros_reserved))
    };
    let (filled, reserved) = filled_of(true);
    assert!(filled > 4 << 20 && reserved == 0, "R5: {filled} filled, {reserved} reserved");
    let (filled, reserved) = filled_of(false);
    assert!(reserved > 4 << 20 && filled == 0, "R5: {filled} filled, {reserved} reserved");
}

#[test]
fn a_log_without_a_number_left_is_refused_and_left_as_it_is() {
    let disk = Arc::new(MemVfs::new());
    let config = config_on(disk.clone());
    drop(Wal::create(config.clone()).unwrap());
    let path = config.dir.join(format!("{:020}", 1));
    let file = File::open(&*disk, &path, OpenMode::ReadWrite).unwrap();
    let mut blocks = vec![0; 2 * HEADER_BLOCK_BYTES];
    file.read_exact_at(&mut blocks, 0).unwrap();
    let header = SegmentHeader::decode(&blocks, 1, config.db_uuid, &path).unwrap().unwrap();
    let openings_left = |openings: u64| {
        let forged = SegmentHeader { log_epoch: NUMBER_LIMIT - 1 - openings, ..header }.encode();
        file.write_all_at(&[forged, forged].concat(), 0).unwrap();
    };
    openings_left(0);
    let bytes = || {
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let (before, files) = (bytes(), config.vfs.list(&config.dir).unwrap().len());
    let refused = scan(&config).unwrap_err();
    assert!(matches!(refused, Error::Corruption { offset: 0, .. }), "V3: {refused}");
    assert!(bytes() == before && config.vfs.list(&config.dir).unwrap().len() == files, "V3: it was touched");
    openings_left(1);
    assert_eq!(scan(&config).unwrap().finish().unwrap().log_epoch(), NUMBER_LIMIT - 1);
}
