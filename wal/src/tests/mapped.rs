//! What is stored to the mapped end of the log in place of a call is there like everything else, and nothing is stored where a call would say no.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use duramen_base::vfs::sim::{CrashModel, Fault, FaultKind, OpKind, OsError, SimVfs};
use duramen_base::vfs::{MemVfs, OsVfs, Vfs};

use super::crash::{CREATED, SYNCED, WRITTEN, check, promised, states};
use super::noted::{NotedDisk, Notes};
use super::rig::*;
use crate::{Wal, WalConfig};

fn commit_written(wal: &Wal, bytes: usize) {
    let placed = commit(wal, bytes).unwrap();
    wal.write_through(placed.end).unwrap();
    assert_eq!(wal.stats().written, placed.end);
}

/// Records of one size, over many segments.
fn many(disk: Arc<dyn Vfs>, dir: &str, bytes: usize, count: u64) -> (WalConfig, Arc<Wal>) {
    let config = WalConfig { dir: dir.into(), end_path: format!("{dir}-END").into(), ..config_on(disk) };
    let wal = Wal::create(config.clone()).unwrap();
    (0..count).for_each(|_| commit_written(&wal, bytes));
    (config, wal)
}

#[test]
fn small_records_that_nobody_syncs_are_stored_without_a_call() {
    let (config, wal) = many(Arc::new(MemVfs::new()), "log", 100, 3000);
    let stats = wal.stats();
    assert!(stats.segments > 5, "{stats:?}");
    assert!(stats.stores > 2800 && stats.writes + stats.stores <= 3000, "{stats:?}");
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 3000);
}

#[test]
fn so_are_they_in_a_real_file_if_it_can_be_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let (config, wal) = many(Arc::new(OsVfs), dir.path().join("log").to_str().unwrap(), 100, 3000);
    let stats = wal.stats();
    assert!(stats.stores == 0 || stats.stores > 2800, "{stats:?}");
    drop(wal); // as by the death of the process: nothing is closed
    assert_eq!(replayed(&scan(&config).unwrap(), 0).len(), 3000);
}

#[test]
fn a_log_that_may_not_map_writes_by_calls() {
    let config = WalConfig { map_end: false, ..config_on(Arc::new(MemVfs::new())) };
    let wal = Wal::create(config).unwrap();
    (0..100).for_each(|_| commit_written(&wal, 100));
    assert_eq!((wal.stats().stores, wal.stats().writes), (0, 100));
}

#[test]
fn who_syncs_each_commit_maps_nothing() {
    let disk = NotedDisk::default();
    let notes = Arc::clone(&disk.notes);
    let wal = Wal::create(config_on(Arc::new(disk))).unwrap();
    for _ in 0..200 {
        commit_sync(&wal, 100);
    }
    assert_eq!((Notes::take(&notes.mapped), wal.stats().stores), (0, 0), "M2");
    (0..3).for_each(|_| commit_written(&wal, 100));
    assert_eq!((notes.mapped.load(Ordering::SeqCst) > 0, wal.stats().stores), (true, 1), "M2");
}

#[test]
fn nothing_is_stored_behind_a_sync_until_calls_have_written_again() {
    let wal = Wal::create(config_on(Arc::new(MemVfs::new()))).unwrap();
    (0..5).for_each(|_| commit_written(&wal, 50));
    commit_sync(&wal, 50);
    let before = wal.stats();
    (0..2).for_each(|_| commit_written(&wal, 50));
    let after = wal.stats();
    assert_eq!((after.writes - before.writes, after.stores - before.stores), (2, 0), "M1, M2");
    (0..5).for_each(|_| commit_written(&wal, 50));
    assert_eq!(wal.stats().writes, after.writes, "M2");
}

#[test]
fn what_is_open_closes_after_two_ticks() {
    let wal = Wal::create(config_on(Arc::new(MemVfs::new()))).unwrap();
    (0..3).for_each(|_| commit_written(&wal, 50));
    for (ticks, stores) in [(1, 1), (1, 0), (2, 0)] {
        // The first comes behind one tick; it is stored, and so what follows one more is not.
        (0..ticks).for_each(|_| wal.tick(Duration::ZERO).unwrap());
        let before = wal.stats().stores;
        commit_written(&wal, 50);
        assert_eq!(wal.stats().stores - before, stores, "M4");
    }
}

/// Bursts of small records, written; now and then a sync, a tick, a large one.
fn bursts(disk: &SimVfs) -> Arc<Wal> {
    let wal = Wal::create(config_on(Arc::new(disk.clone()))).unwrap();
    disk.journal_note(CREATED, 0);
    for step in 0..150_u64 {
        let bytes = if step % 37 == 36 { 11_000 } else { 40 + (step * 53 % 700) as usize };
        commit_written(&wal, bytes);
        disk.journal_note(WRITTEN, step + 1);
        match step {
            60 | 61 | 100 => {
                wal.sync_through(wal.stats().written).unwrap();
                disk.journal_note(SYNCED, step + 1);
            }
            _ if step % 9 == 5 => wal.tick(Duration::ZERO).unwrap(),
            _ => {}
        }
    }
    wal
}

#[test]
fn every_crash_in_the_middle_of_stores_keeps_what_was_promised() {
    let disk = SimVfs::new();
    let stats = bursts(&disk).stats();
    assert!(stats.stores > 60 && stats.segments > 1, "{stats:?}");
    let journal = disk.journal();
    let mut seen = HashSet::new();
    for model in [CrashModel::Strict, CrashModel::Ext4Like] {
        states(&journal, model, 4, |at, process_death, image| {
            let promised = promised(&journal, at, process_death);
            if seen.insert((image.digest(), promised)) {
                check(&SimVfs::on(image), promised);
            }
        });
    }
    assert!(seen.len() > 2000, "{}", seen.len());
}

#[test]
fn failing_calls_are_told_and_lose_nothing_that_was_stored() {
    let kinds = [
        (OpKind::Write, FaultKind::Error(OsError::Io)),
        (OpKind::WriteZeros, FaultKind::Error(OsError::Io)),
        (OpKind::WriteZeros, FaultKind::Error(OsError::NoSpace)),
        (OpKind::SyncData, FaultKind::SyncDrops),
    ];
    let mut struck = 0;
    for (op, fault) in kinds {
        for at in 1.. {
            let disk = SimVfs::new();
            disk.inject(Fault::new(fault).on(&[op]).at(at));
            let config = config_on(Arc::new(disk.clone()));
            let Ok(wal) = Wal::create(config.clone()) else { continue };
            let mut written = 0;
            while written < 120 {
                let done = commit(&wal, 90).and_then(|placed| wal.write_through(placed.end));
                let done =
                    done.and_then(|()| if written % 50 == 49 { wal.sync_through(wal.stats().written) } else { Ok(()) });
                match done {
                    Ok(()) => written += 1,
                    Err(error) => {
                        assert!(matches!(error, duramen_base::Error::Poisoned { .. }), "{op:?} {at}: {error}");
                        break;
                    }
                }
            }
            if disk.faults_struck() == 0 {
                break;
            }
            struck += 1;
            let expected = if fault == FaultKind::SyncDrops { written / 50 * 50 } else { written };
            disk.clear_faults();
            drop(wal);
            assert!(scan(&config).unwrap().last_ts().get() >= expected, "{op:?} {at}: {expected} were written");
        }
    }
    assert!(struck > 10, "{struck} faults struck");
}

#[test]
fn large_records_have_a_call_each_and_no_zeros_behind() {
    let disk = NotedDisk::default();
    let notes = Arc::clone(&disk.notes);
    let wal = Wal::create(WalConfig { segment_bytes_first: 64 << 10, ..config_on(Arc::new(disk)) }).unwrap();
    Notes::take(&notes.zeros_written);
    (0..6).for_each(|_| commit_written(&wal, 5000));
    assert_eq!((wal.stats().stores, Notes::take(&notes.zeros_written)), (0, 0), "M2");
}
