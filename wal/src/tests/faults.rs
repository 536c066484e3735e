//! Disks that fail: poisoned for good, or waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use duramen_base::sync::thread;
use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};
use duramen_base::{Error, Timestamp};

use super::rig::*;
use crate::{Wal, WalConfig};

fn open() -> (SimVfs, Arc<Told>, WalConfig, Arc<Wal>) {
    let disk = SimVfs::new();
    let told = Arc::new(Told::default());
    let config = WalConfig { observer: Arc::clone(&told) as _, ..config_on(Arc::new(disk.clone())) };
    let wal = Wal::create(config.clone()).unwrap();
    (disk, told, config, wal)
}

fn syncs(disk: &SimVfs) -> usize {
    let journal = disk.journal();
    (0..journal.len()).filter(|&index| journal.kind(index) == Some(OpKind::SyncData)).count()
}

#[test]
fn a_failed_sync_poisons_and_is_never_repeated() {
    let (disk, told, config, wal) = open();
    commit_sync(&wal, 10);
    disk.inject(Fault::new(FaultKind::SyncDrops));
    let placed = commit(&wal, 10).unwrap();
    let before = syncs(&disk);
    assert!(matches!(wal.sync_through(placed.end), Err(Error::Poisoned { .. })));
    assert!(wal.poisoned().is_some());
    for _ in 0..3 {
        assert!(matches!(wal.sync_through(placed.end), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.stage(b"x"), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.write_through(placed.end.plus(8)), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.truncate(Timestamp::new(1)), Err(Error::Poisoned { .. }) | Ok(())));
        assert!(matches!(wal.tick(Duration::from_secs(9)), Err(Error::Poisoned { .. }) | Ok(())));
    }
    assert!(wal.close().is_err());
    assert!(syncs(&disk) <= before + 1);
    assert_eq!(wal.synced_ts(), Timestamp::new(1));
    assert_eq!((told.poisoned.load(Ordering::SeqCst), told.durable.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(scan(&config).unwrap().last_ts(), Timestamp::new(1));
}

#[test]
fn lack_of_space_in_a_sync_poisons_too() {
    let (disk, _, _, wal) = open();
    disk.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[OpKind::SyncData]));
    let placed = commit(&wal, 10).unwrap();
    assert!(matches!(wal.sync_through(placed.end), Err(Error::Poisoned { .. })));
}

#[test]
fn a_failed_write_poisons_whoever_waits() {
    let (disk, _, config, wal) = open();
    commit_sync(&wal, 10);
    disk.inject(Fault::new(FaultKind::PartialThenError(OsError::Io)).on(&[OpKind::Write]));
    let placed = commit(&wal, 10).unwrap();
    assert!(matches!(wal.write_through(placed.end), Err(Error::Poisoned { .. })));
    assert!(matches!(wal.sync_through(placed.end), Err(Error::Poisoned { .. })));
    assert_eq!(scan(&config).unwrap().last_ts(), Timestamp::new(1));
}

#[test]
fn staged_commits_can_be_placed_after_poison_and_learn_it_when_they_wait() {
    let (_, _, _, wal) = open();
    let staged = wal.stage(b"x").unwrap();
    wal.poison(Arc::new(Error::Closed));
    let placed = wal.place_commit(staged, Timestamp::new(1));
    assert!(matches!(wal.write_through(placed.end), Err(Error::Poisoned { .. })));
}

#[test]
fn a_full_disk_is_waited_for_and_writing_resumes() {
    let (disk, told, config, wal) = open();
    disk.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[OpKind::Write]).for_ever());
    let placed = commit(&wal, 10).unwrap();
    let waiter = Arc::clone(&wal);
    let thread = thread::spawn_named("waiter", move || waiter.sync_through(placed.end).unwrap());
    while told.stalled.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert!(matches!(wal.stage(b"x"), Err(Error::DiskFull { .. })), "nothing new is let in");
    wal.tick(Duration::ZERO).unwrap();
    assert!(wal.poisoned().is_none());
    disk.clear_faults();
    thread.join().unwrap();
    assert_eq!((told.stalled.load(Ordering::SeqCst), told.resumed.load(Ordering::SeqCst)), (1, 1));
    commit_sync(&wal, 10);
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 2);
}

#[test]
fn closing_while_the_disk_is_full_poisons() {
    let (disk, told, _, wal) = open();
    disk.inject(Fault::new(FaultKind::Error(OsError::Quota)).on(&[OpKind::Write]).for_ever());
    let placed = commit(&wal, 10).unwrap();
    let waiter = Arc::clone(&wal);
    let thread = thread::spawn_named("waiter", move || {
        assert!(matches!(waiter.write_through(placed.end), Err(Error::Poisoned { .. } | Error::Closed)));
    });
    while told.stalled.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
    thread.join().unwrap();
}

#[test]
fn without_space_for_a_segment_staging_fails_cleanly_and_marks_still_go() {
    let (disk, _, config, wal) = open();
    while wal.stats().segments == 1 {
        commit_sync(&wal, 4000);
    }
    disk.set_capacity(Some(disk.used()));
    let mut commits = wal.stats().last_ts.get();
    let error = loop {
        match commit(&wal, 4000) {
            Ok(placed) => wal.sync_through(placed.end).unwrap(),
            Err(error) => break error,
        }
        commits += 1;
    };
    assert!(matches!(error, Error::DiskFull { .. }));
    assert_eq!(wal.stats().last_ts.get(), commits);
    let mut marks = crate::MarkSet::default();
    marks.note(1, crate::Mark { seq: 1, persisted: Timestamp::new(commits) });
    // Whatever is left of the current segment, the spare takes a mark.
    for _ in 0..200 {
        let end = wal.log_marks(&marks).unwrap();
        wal.sync_through(end).unwrap();
    }
    wal.truncate(Timestamp::new(commits)).unwrap();
    disk.set_capacity(None);
    commit_sync(&wal, 4000);
    assert_eq!(scan(&config).unwrap().last_ts().get(), commits + 1);
}

/// Every call fails once, in each way; what was acknowledged is found after reopening, and nothing hangs or panics.
#[test]
fn any_single_failure_loses_nothing_acknowledged() {
    for os in [OsError::Io, OsError::NoSpace, OsError::Interrupted] {
        for nth in 1.. {
            let disk = SimVfs::new();
            disk.inject(Fault::new(FaultKind::Error(os)).at(nth));
            let config = config_on(Arc::new(disk.clone()));
            let Ok(wal) = Wal::create(config.clone()) else {
                assert!(Wal::create(config).is_ok(), "{os:?} at {nth}");
                continue;
            };
            let mut acknowledged = 0;
            for step in 0..40 {
                if let Ok(placed) = commit(&wal, 150 * step) {
                    let ts = wal.stats().last_ts;
                    if wal.sync_through(placed.end).is_ok() {
                        acknowledged = ts.get();
                    }
                    if step % 10 == 9 {
                        let _ = wal.truncate(Timestamp::new(acknowledged / 2));
                    }
                }
            }
            let _ = wal.close();
            let struck = disk.faults_struck() > 0;
            disk.clear_faults();
            let recovery = scan(&config).unwrap_or_else(|error| panic!("{os:?} at {nth}: {error}"));
            assert!(recovery.last_ts().get() >= acknowledged, "{os:?} at {nth}");
            replayed(&recovery, acknowledged / 2);
            recovery.finish().unwrap();
            if !struck {
                assert_eq!(acknowledged, 40);
                break;
            }
        }
    }
}
