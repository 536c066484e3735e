//! Torn tail or damage: what opening says about a log that was changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duramen_base::vfs::{File, MemVfs, OpenMode};
use duramen_base::{Error, Lsn};
use proptest::prelude::*;

use super::rig::*;
use crate::{SEGMENT_HEADER_BYTES, Wal, WalConfig};

/// A log of four synced commits of 100 bytes in its first segment, and one whose sync nobody knows of.
fn log() -> (WalConfig, [Lsn; 5]) {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let lsns = [(); 5].map(|()| commit_sync(&wal, 100).lsn);
    (config, lsns)
}

fn segment(config: &WalConfig, no: u64) -> File {
    let path = PathBuf::from(format!("log/{no:020}"));
    File::open(&*config.vfs, &path, OpenMode::ReadWrite).unwrap()
}

fn damage(config: &WalConfig, no: u64, offset: u64) {
    let file = segment(config, no);
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], offset).unwrap();
}

fn at(lsn: Lsn) -> u64 {
    SEGMENT_HEADER_BYTES + lsn.get()
}

#[track_caller]
fn refused_at(config: &WalConfig, no: u64, expected: u64) {
    match scan(config) {
        Err(Error::Corruption { file, offset, .. }) => {
            assert!(file.ends_with(format!("{no:020}")), "{file:?}");
            assert_eq!(offset, expected);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_last_record_is_dropped() {
    let (config, lsns) = log();
    damage(&config, 1, at(lsns[4]) + 60);
    let recovery = scan(&config).unwrap();
    assert!(recovery.has_torn_tail());
    assert_eq!(replayed(&recovery, 0).len(), 4);
}

#[test]
fn damage_before_the_tail_is_an_error() {
    let (config, lsns) = log();
    for lsn in &lsns[..4] {
        let (config, _) = log();
        damage(&config, 1, at(*lsn) + 60);
        refused_at(&config, 1, at(*lsn));
    }
    assert!(scan(&config).is_ok());
}

#[test]
fn after_a_quiet_second_the_last_batch_is_no_tail_any_more() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let placed = commit(&wal, 100).unwrap();
    for half_seconds in 0..3 {
        wal.tick(Duration::from_millis(500 * half_seconds)).unwrap();
    }
    assert_eq!(wal.synced_ts().get(), 1);
    let end = wal.stats().end;
    wal.tick(Duration::from_secs(10)).unwrap();
    assert_eq!(wal.stats().end, end, "one is enough");
    damage(&config, 1, at(placed.lsn));
    refused_at(&config, 1, at(placed.lsn));
}

#[test]
fn after_a_clean_end_there_is_no_tail() {
    let (config, _) = log();
    let wal = scan(&config).unwrap().finish().unwrap();
    let placed = commit_sync(&wal, 100);
    wal.close().unwrap();
    damage(&config, 2, SEGMENT_HEADER_BYTES);
    refused_at(&config, 2, SEGMENT_HEADER_BYTES);
    assert_eq!(placed.lsn, scan_start_of_second(&config));
}

/// The last segment is put back as it was at an earlier moment, whole blocks are lost, or all of it: `LOG-END` knows better.
#[test]
fn a_log_that_lost_its_end_as_a_whole_is_refused() {
    for loss in [0, 1, 2] {
        let config = config_on(Arc::new(MemVfs::new()));
        let wal = Wal::create(config.clone()).unwrap();
        commit_sync(&wal, 100);
        let mut before = vec![0; 32 << 10];
        segment(&config, 1).read_exact_at(&mut before, 0).unwrap();
        let placed = commit_sync(&wal, 100);
        wal.close().unwrap();
        match loss {
            0 => segment(&config, 1).write_all_at(&before, 0).unwrap(),
            1 => segment(&config, 1).write_all_at(&[0; 4096], SEGMENT_HEADER_BYTES).unwrap(),
            _ => config.vfs.remove_file(segment(&config, 1).path()).unwrap(),
        }
        match (loss, scan(&config)) {
            (0, Err(Error::Corruption { offset, .. })) => assert_eq!(offset, at(placed.lsn)),
            (1, Err(Error::Corruption { offset, .. })) => assert_eq!(offset, SEGMENT_HEADER_BYTES),
            (2, Err(Error::Corruption { .. })) => {}
            (_, other) => panic!("{loss}: {other:?}"),
        }
    }
}

/// Without a clean end: half a second of commits is what may be lost with their segment, and no opening is forgotten.
#[test]
fn a_tick_says_outside_of_the_log_how_far_it_is_durable() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let (_, first) = (commit_sync(&wal, 100), segment(&config, 1));
    let mut before = vec![0; 32 << 10];
    first.read_exact_at(&mut before, 0).unwrap();
    let placed = commit_sync(&wal, 100);
    wal.tick(Duration::from_secs(1)).unwrap();
    first.write_all_at(&before, 0).unwrap();
    refused_at(&config, 1, at(placed.lsn));
}

#[test]
fn a_fresh_segment_that_is_gone_is_missed() {
    let (config, _) = log();
    let wal = scan(&config).unwrap().finish().unwrap();
    commit_sync(&wal, 100);
    config.vfs.remove_file(segment(&config, 2).path()).unwrap();
    refused_at(&config, 2, 0);
}

#[test]
fn a_missing_log_end_is_an_error_and_an_older_one_is_harmless() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let end = File::open(&*config.vfs, &config.end_path, OpenMode::ReadWrite).unwrap();
    let mut before = vec![0; 8192];
    end.read_exact_at(&mut before, 0).unwrap();
    commit_sync(&wal, 100);
    wal.close().unwrap();
    end.write_all_at(&before, 0).unwrap();
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 1);
    config.vfs.remove_file(&config.end_path).unwrap();
    assert!(matches!(scan(&config), Err(Error::Corruption { file, .. }) if file == config.end_path));
}

fn scan_start_of_second(config: &WalConfig) -> Lsn {
    let mut block = vec![0; 8192];
    segment(config, 2).read_exact_at(&mut block, 0).unwrap();
    let header = crate::SegmentHeader::decode(&block, 2, UUID, "2".as_ref()).unwrap().unwrap();
    header.first_lsn
}

#[test]
fn a_bad_record_in_a_sealed_segment_is_an_error_even_at_its_end() {
    let (config, lsns) = log();
    scan(&config).unwrap().finish().unwrap();
    damage(&config, 1, at(lsns[4]));
    refused_at(&config, 1, at(lsns[4]));
}

#[test]
fn what_was_cut_is_never_read_again() {
    let (config, lsns) = log();
    damage(&config, 1, at(lsns[4]) + 60);
    drop(scan(&config).unwrap().finish().unwrap());
    // The damaged byte is as it was: the record would be valid again.
    damage(&config, 1, at(lsns[4]) + 60);
    let recovery = scan(&config).unwrap();
    assert_eq!(recovery.last_ts().get(), 4);
    let wal = recovery.finish().unwrap();
    commit_sync(&wal, 7);
    assert_eq!(replayed(&scan(&config).unwrap(), 0).last(), Some(&(5, 7)));
}

#[test]
fn one_header_copy_is_enough_and_none_is_noticed() {
    let (config, _) = log();
    damage(&config, 1, 3);
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 5);
    damage(&config, 1, 4096 + 3);
    assert!(matches!(scan(&config), Err(Error::Corruption { .. })));
}

/// Three segments and more, closed in order.
fn long_log() -> WalConfig {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    while wal.stats().segments < 4 {
        commit_sync(&wal, 3000);
    }
    wal.close().unwrap();
    config
}

#[test]
fn a_lost_segment_in_the_middle_is_noticed() {
    for no in [2, 3] {
        let config = long_log();
        config.vfs.remove_file(segment(&config, no).path()).unwrap();
        assert!(matches!(scan(&config), Err(Error::Corruption { .. })), "segment {no}");
    }
}

#[test]
fn a_lost_first_segment_shows_in_where_the_log_begins() {
    let config = long_log();
    config.vfs.remove_file(segment(&config, 1).path()).unwrap();
    assert!(scan(&config).unwrap().first_ts().get() > 1);
}

#[test]
fn swapped_copied_and_shortened_segments_are_noticed() {
    let config = long_log();
    let mut content = vec![0; segment(&config, 2).len().unwrap() as usize];
    segment(&config, 2).read_exact_at(&mut content, 0).unwrap();
    segment(&config, 3).write_all_at(&content, 0).unwrap();
    assert!(matches!(scan(&config), Err(Error::Corruption { .. })));

    let config = long_log();
    segment(&config, 2).set_len(20_000).unwrap();
    assert!(matches!(scan(&config), Err(Error::Corruption { .. })));

    let config = long_log();
    let before = replayed(&scan(&config).unwrap(), 0);
    segment(&config, 2).write_all_at(&[7; 5000], 200_000).unwrap();
    assert_eq!(replayed(&scan(&config).unwrap(), 0), before, "what stands behind a segment is never read");
}

#[test]
fn the_log_of_another_database_is_refused() {
    let (config, _) = log();
    let other = WalConfig { db_uuid: duramen_base::DbUuid::from_bytes([9; 16]), ..config };
    assert!(matches!(scan(&other), Err(Error::Corruption { .. })));
}

#[test]
fn files_that_are_not_segments_do_not_matter() {
    let (config, _) = log();
    for name in ["log/notes.txt", "log/1", "log/00000000000000000009"] {
        File::open(&*config.vfs, name.as_ref(), OpenMode::CreateNew).unwrap().write_all_at(b"hello", 0).unwrap();
    }
    let recovery = scan(&config).unwrap();
    assert_eq!(replayed(&recovery, 0).len(), 5);
    let wal = recovery.finish().unwrap();
    commit_sync(&wal, 1);
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is written over a log: an error, or commits as they were, up to some point.
    #[test]
    fn garbage_is_refused_or_cuts_the_tail(
        no in 1_u64..5,
        offset in 0_u64..60_000,
        garbage in proptest::collection::vec(any::<u8>(), 1..2000),
    ) {
        let config = long_log();
        segment(&config, no).write_all_at(&garbage, offset).unwrap();
        if let Ok(recovery) = scan(&config) {
            let found = replayed(&recovery, 0);
            prop_assert!(found.iter().map(|&(ts, _)| ts).eq(1..=recovery.last_ts().get()));
            recovery.finish().unwrap();
            scan(&config).unwrap();
        }
    }
}
