//! Giving up the front of the log.

use std::sync::Arc;
use std::time::Duration;

use duramen_base::vfs::MemVfs;
use duramen_base::{Error, Timestamp};

use super::rig::*;
use crate::{Wal, WalConfig};

fn open() -> (WalConfig, Arc<Wal>) {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    (config, wal)
}

#[test]
fn truncated_segments_go_and_are_used_again() {
    let (config, wal) = open();
    let mut kept = 0;
    for round in 0..60 {
        for _ in 0..5 {
            commit_sync(&wal, 2500);
        }
        let last = wal.stats().last_ts.get();
        kept = last.saturating_sub(6);
        wal.truncate(Timestamp::new(kept)).unwrap();
        assert!(wal.stats().segments <= 3, "round {round}");
        let recovery = scan(&config).unwrap();
        assert!(recovery.first_ts().get() <= kept + 1);
        assert_eq!(replayed(&recovery, kept).len() as u64, last - kept);
    }
    assert!(kept > 200);
    let stats = wal.stats();
    assert!(stats.segments_recycled > stats.segments_created, "{stats:?}");
    assert!(config.vfs.list("log".as_ref()).unwrap().len() <= 5);
}

#[test]
fn a_recycled_segment_never_shows_its_old_records() {
    let (config, wal) = open();
    for _ in 0..200 {
        commit_sync(&wal, 1000);
        wal.truncate(wal.synced_ts()).unwrap();
        let recovery = scan(&config).unwrap();
        assert_eq!(recovery.last_ts(), wal.stats().last_ts);
        replayed(&recovery, recovery.first_ts().prev().get());
    }
    assert!(wal.stats().segments_recycled > 2);
}

#[test]
fn what_is_not_persisted_holds_the_log() {
    let (config, wal) = open();
    while wal.stats().segments < 4 {
        commit_sync(&wal, 3000);
    }
    wal.truncate(Timestamp::ZERO).unwrap();
    assert_eq!(wal.stats().segments, 4);
    wal.truncate(Timestamp::new(1)).unwrap();
    assert_eq!(scan(&config).unwrap().first_ts(), Timestamp::new(1));
    assert!(matches!(wal.truncate(Timestamp::new(9999)), Err(Error::InvalidArgument { .. })));
}

#[test]
fn a_big_commit_holds_the_log_from_its_first_part() {
    let (config, wal) = open();
    commit_sync(&wal, 10);
    let big = payload(40, 100_000);
    let staged = wal.stage(&big).unwrap();
    while wal.stats().last_ts < Timestamp::new(39) {
        commit_sync(&wal, 3000);
    }
    let before = wal.stats().start;
    wal.truncate(Timestamp::new(39)).unwrap();
    assert_eq!(wal.stats().start, before, "its parts are in the first segment");
    let placed = wal.place_commit(staged, Timestamp::new(40));
    wal.sync_through(placed.end).unwrap();
    wal.truncate(Timestamp::new(39)).unwrap();
    assert_eq!(wal.stats().start, before);
    let recovery = scan(&config).unwrap();
    assert_eq!(replayed(&recovery, 39), [(40, 100_000)]);
    drop(wal);
    let wal = recovery.finish().unwrap();
    wal.truncate(Timestamp::new(39)).unwrap();
    assert_eq!(wal.stats().start, before, "after a restart too");
    wal.truncate(Timestamp::new(40)).unwrap();
    assert!(wal.stats().start > before);
}

#[test]
fn an_abandoned_big_commit_holds_nothing() {
    let (_, wal) = open();
    drop(wal.stage(&payload(1, 100_000)).unwrap());
    while wal.stats().segments < 5 {
        commit_sync(&wal, 3000);
    }
    wal.truncate(wal.synced_ts()).unwrap();
    assert_eq!(wal.stats().segments, 1);
}

/// Bytes of all files of the log.
fn bytes_on_disk(config: &WalConfig) -> u64 {
    let len = |entry: &duramen_base::vfs::DirEntry| {
        let file = config.vfs.open(&config.dir.join(&entry.name), duramen_base::vfs::OpenMode::Read).unwrap();
        file.len().unwrap()
    };
    config.vfs.list(&config.dir).unwrap().iter().map(len).sum()
}

#[test]
fn what_stands_by_is_a_share_of_the_log_kept() {
    const KEPT: u64 = 4 << 20;
    let (mut config, _) = open();
    config = WalConfig { dir: "big".into(), segment_bytes_max: 64 << 20, ..config };
    let wal = Wal::create(config.clone()).unwrap();
    while wal.stats().end.get() < KEPT {
        commit_sync(&wal, 20_000);
    }
    // The last segment and two prepared ones are at most a quarter each, and the headers of all are small (R3).
    assert!(bytes_on_disk(&config) < KEPT * 15 / 8, "{} bytes for {KEPT} kept", bytes_on_disk(&config));
    for _ in 0..1_000 {
        commit_sync(&wal, 20_000);
        wal.truncate(wal.synced_ts()).unwrap();
    }
    let stats = wal.stats();
    assert!(bytes_on_disk(&config) <= 3 * KEPT / 4, "{} bytes when all is persisted", bytes_on_disk(&config));
    assert!(stats.segments_recycled > 10, "{stats:?}");
}

/// T3.
#[test]
fn who_gives_up_many_segments_at_once_creates_few() {
    const KEPT: u64 = 8 << 20;
    let (config, _) = open();
    let config = WalConfig { dir: "bursts".into(), segment_bytes_max: 64 << 20, ..config };
    let wal = Wal::create(config.clone()).unwrap();
    let mut clock = Duration::ZERO;
    let mut burst = || {
        let until = wal.stats().end.get() + KEPT;
        while wal.stats().end.get() < until {
            commit_sync(&wal, 20_000);
            clock += Duration::from_millis(1);
            wal.tick(clock).unwrap();
        }
        wal.truncate(wal.synced_ts()).unwrap();
        (wal.stats(), clock)
    };
    (0..4).for_each(|_| _ = burst());
    let (before, _) = burst();
    (0..8).for_each(|_| _ = burst());
    let (after, clock) = burst();
    let (created, recycled) =
        (after.segments_created - before.segments_created, after.segments_recycled - before.segments_recycled);
    assert!(recycled > 3 * created, "T3: {created} created, {recycled} recycled");
    let all = bytes_on_disk(&config);
    assert!(all <= KEPT * 2, "T3: {all} bytes");
    // In an idle moment what stands by beyond two goes.
    (0..4).for_each(|step| wal.tick(clock + Duration::from_millis(1 + 300 * step)).unwrap());
    assert!(bytes_on_disk(&config) < all * 3 / 4, "T3: {} of {all} bytes", bytes_on_disk(&config));
    assert_eq!(config.vfs.list(&config.dir).unwrap().len(), 3, "one segment, and two that stand by");
    assert_eq!(replayed(&scan(&config).unwrap(), after.last_ts.get()), []);
}
