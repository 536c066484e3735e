//! The protocol of placing, claiming, writing and syncing under every schedule of a few threads.

use std::sync::Arc;

use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::{Mutex, check_pct, check_random, thread};
use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};
use duramen_base::{Error, Timestamp};

use super::rig::*;
use crate::{Placed, Wal, WalConfig};

/// Threads that commit on one log; each of their steps is `step(wal, sequencer, thread number)`.
fn run(config: &WalConfig, steps: usize, step: fn(&Wal, &Mutex<u64>, &AtomicU64, usize)) -> (Arc<Wal>, u64) {
    let wal = Wal::create(config.clone()).unwrap();
    let (sequencer, acked) = (Arc::new(Mutex::new(0)), Arc::new(AtomicU64::new(0)));
    let threads = [0, 1, 2].map(|number| {
        let (wal, sequencer, acked) = (Arc::clone(&wal), Arc::clone(&sequencer), Arc::clone(&acked));
        thread::spawn_named("committer", move || {
            for _ in 0..steps {
                step(&wal, &sequencer, &acked, number);
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    (wal, acked.load(Ordering::SeqCst))
}

fn commit_sequenced(wal: &Wal, sequencer: &Mutex<u64>, bytes: usize) -> Result<(u64, Placed), Error> {
    let bytes = vec![1; bytes];
    let staged = wal.stage(&bytes)?;
    let mut last = sequencer.lock();
    *last += 1;
    Ok((*last, staged.place_commit(Timestamp::new(*last))))
}

fn commits(config: &WalConfig) -> u64 {
    let recovery = scan(config).unwrap();
    let mut count = 0;
    let each = &mut |_, _: &[u8]| {
        count += 1;
        Ok(())
    };
    recovery.replay(Timestamp::ZERO, each).unwrap();
    assert_eq!(recovery.last_ts().get(), count);
    count
}

fn mixed() {
    let config = config_on(Arc::new(SimVfs::new()));
    // Big enough that every second commit changes the segment.
    run(&config, 2, |wal, sequencer, _, number| {
        let (ts, placed) = commit_sequenced(wal, sequencer, 15_000).unwrap();
        match number {
            0 => {
                wal.write_through(placed.end).unwrap();
                assert!(wal.stats().written >= placed.end);
            }
            1 => {
                wal.sync_through(placed.end).unwrap();
                assert!(wal.synced() >= placed.end);
            }
            _ => {
                wal.sync_through_ts(Timestamp::new(ts)).unwrap();
                assert!(wal.synced_ts().get() >= ts);
            }
        }
        let stats = wal.stats();
        assert!(stats.synced <= stats.written && stats.written <= stats.end, "W2: {stats:?}");
    });
    assert_eq!(commits(&config), 6);
}

#[test]
fn whoever_waits_is_covered() {
    check_random(300, mixed);
    check_pct(300, 3, mixed);
}

fn small_syncs() {
    let config = config_on(Arc::new(SimVfs::new()));
    let (wal, _) = run(&config, 2, |wal, sequencer, _, _| {
        let (_, placed) = commit_sequenced(wal, sequencer, 10).unwrap();
        wal.sync_through(placed.end).unwrap();
        assert!(wal.synced() >= placed.end);
    });
    assert!(wal.stats().syncs <= 6);
}

#[test]
fn no_sleeper_is_forgotten() {
    check_random(1000, small_syncs);
    check_pct(1000, 3, small_syncs);
}

fn failing() {
    let disk = SimVfs::new();
    let config = config_on(Arc::new(disk.clone()));
    // Creating the log takes three syncs of data; one of those that follow fails and drops what it should have written.
    disk.inject(Fault::new(FaultKind::SyncDrops).on(&[OpKind::SyncData]).at(5));
    let (wal, acked) = run(&config, 2, |wal, sequencer, acked, _| {
        let Ok((ts, placed)) = commit_sequenced(wal, sequencer, 10) else { return };
        match wal.sync_through(placed.end) {
            Ok(()) => drop(acked.fetch_max(ts, Ordering::SeqCst)),
            Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
        }
    });
    assert!(wal.poisoned().is_some() || disk.faults_struck() == 0);
    assert!(commits(&config) >= acked);
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    check_random(1000, failing);
    check_pct(1000, 3, failing);
}

fn full() {
    let disk = SimVfs::new();
    let config = config_on(Arc::new(disk.clone()));
    disk.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[OpKind::Write]).at(5).times(2));
    let (_, acked) = run(&config, 2, |wal, sequencer, acked, number| {
        let Ok((ts, placed)) = commit_sequenced(wal, sequencer, 10) else { return };
        match number {
            0 => wal.tick(std::time::Duration::ZERO).unwrap(),
            _ => wal.sync_through(placed.end).unwrap(),
        }
        if number != 0 {
            acked.fetch_max(ts, Ordering::SeqCst);
        }
    });
    assert!(commits(&config) >= acked);
}

#[test]
fn lack_of_space_delays_and_loses_nothing() {
    check_random(500, full);
    check_pct(500, 3, full);
}
