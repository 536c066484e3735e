//! Many threads at one log.

use std::sync::Arc;

use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::{Mutex, thread};
use duramen_base::vfs::MemVfs;
use duramen_base::{Result, Timestamp};

use super::noted::NotedDisk;
use super::rig::*;
use crate::{Placed, Wal, WalConfig};

const THREADS: u64 = 8;
const COMMITS: u64 = 200;

/// Takes the next timestamp and places, in one section, as a sequencer does.
fn commit_sequenced(wal: &Wal, sequencer: &Mutex<u64>, bytes: usize) -> Result<(Timestamp, Placed)> {
    // The payload depends on the timestamp, which is not known yet: only its length is checked when it is read back.
    let payload = vec![0xab; bytes];
    let staged = wal.stage(&payload)?;
    let mut last = sequencer.lock();
    *last += 1;
    let ts = Timestamp::new(*last);
    Ok((ts, staged.place_commit(ts)))
}

fn run_threads(config: &WalConfig, wait: fn(&Wal, Timestamp, Placed)) -> Arc<Wal> {
    let wal = Wal::create(config.clone()).unwrap();
    let sequencer = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (wal, sequencer) = (Arc::clone(&wal), Arc::clone(&sequencer));
            thread::spawn_named("committer", move || {
                for step in 0..COMMITS {
                    let bytes = if step % 50 == 49 { 40_000 } else { (number * 31 + step * 7) as usize % 900 };
                    let (ts, placed) = commit_sequenced(&wal, &sequencer, bytes).unwrap();
                    wait(&wal, ts, placed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    wal
}

fn count(config: &WalConfig) -> u64 {
    let mut count = 0;
    scan(config)
        .unwrap()
        .replay(Timestamp::ZERO, &mut |_, bytes| {
            assert!(bytes.iter().all(|&byte| byte == 0xab));
            count += 1;
            Ok(())
        })
        .unwrap();
    count
}

#[test]
fn threads_that_sync_together_share_syncs() {
    let barrier = Arc::new(Barrier::default());
    let expected = Arc::clone(&barrier);
    let disk = NotedDisk::before_each_sync(move || expected.wait());
    let config = config_on(Arc::new(disk));
    let wal = Wal::create(config.clone()).unwrap();
    let sequencer = Arc::new(Mutex::new(0));
    barrier.expected.store(THREADS, Ordering::SeqCst);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (wal, sequencer, barrier) = (Arc::clone(&wal), Arc::clone(&sequencer), Arc::clone(&barrier));
            thread::spawn_named("committer", move || {
                let (ts, placed) = commit_sequenced(&wal, &sequencer, 100).unwrap();
                barrier.arrived.fetch_add(1, Ordering::SeqCst);
                wal.sync_through(placed.end).unwrap();
                assert!(wal.synced_ts() >= ts);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // The first sync covers whoever was there when it began, the second one all others.
    assert!(wal.stats().syncs <= 2, "{:?}", wal.stats());
    assert_eq!(count(&config), THREADS);
}

#[test]
fn threads_that_sync_all_the_time_lose_nothing() {
    let config = config_on(Arc::new(MemVfs::new()));
    run_threads(&config, |wal, ts, placed| {
        wal.sync_through(placed.end).unwrap();
        assert!(wal.synced_ts() >= ts);
    });
    assert_eq!(count(&config), THREADS * COMMITS);
}

#[test]
fn threads_that_write_leave_no_hole() {
    let config = config_on(Arc::new(MemVfs::new()));
    run_threads(&config, |wal, _, placed| {
        wal.write_through(placed.end).unwrap();
        assert!(wal.stats().written >= placed.end);
    });
    assert_eq!(count(&config), THREADS * COMMITS);
}

#[test]
fn threads_of_all_durabilities_mix() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = run_threads(&config, |wal, ts, placed| match ts.get() % 3 {
        0 => {}
        1 => wal.write_through(placed.end).unwrap(),
        _ => wal.sync_through_ts(ts).unwrap(),
    });
    wal.close().unwrap();
    assert_eq!(count(&config), THREADS * COMMITS);
}

#[test]
fn threads_that_give_up_leave_room_for_others() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = run_threads(&config, |wal, ts, _| {
        if ts.get().is_multiple_of(5) {
            drop(wal.stage(&[1; 10_000]).unwrap());
        }
    });
    wal.close().unwrap();
    assert_eq!(count(&config), THREADS * COMMITS);
}

#[test]
fn commits_truncation_and_upkeep_run_side_by_side() {
    let config = config_on(Arc::new(MemVfs::new()));
    let wal = Wal::create(config.clone()).unwrap();
    let (sequencer, running) = (Arc::new(Mutex::new(0)), Arc::new(AtomicU64::new(4)));
    let committers = [0, 1, 2, 3].map(|number| {
        let (wal, sequencer, running) = (Arc::clone(&wal), Arc::clone(&sequencer), Arc::clone(&running));
        thread::spawn_named("committer", move || {
            for step in 0..COMMITS {
                let bytes = if step % 20 == number { 50_000 } else { 12_000 };
                let (_, placed) = commit_sequenced(&wal, &sequencer, bytes).unwrap();
                if step % 3 == number % 3 {
                    wal.sync_through(placed.end).unwrap();
                }
            }
            running.fetch_sub(1, Ordering::SeqCst);
        })
    });
    let (upkeep, committing) = (Arc::clone(&wal), Arc::clone(&running));
    let upkeep = thread::spawn_named("upkeep", move || {
        let mut now = std::time::Duration::ZERO;
        while committing.load(Ordering::SeqCst) > 0 {
            now += std::time::Duration::from_millis(300);
            upkeep.tick(now).unwrap();
            upkeep.truncate(upkeep.synced_ts()).unwrap();
        }
    });
    committers.into_iter().for_each(|thread| thread.join().unwrap());
    upkeep.join().unwrap();
    // However seldom it was that thread's turn.
    wal.truncate(Timestamp::new(4 * COMMITS)).unwrap();
    wal.close().unwrap();
    let recovery = scan(&config).unwrap();
    assert_eq!(recovery.last_ts().get(), 4 * COMMITS);
    assert!(recovery.log_bytes() < 4 * COMMITS * 12_000);
}

/// How many threads a sync waits for.
#[derive(Default)]
struct Barrier {
    expected: AtomicU64,
    arrived: AtomicU64,
}

impl Barrier {
    /// Until all of them have arrived.
    fn wait(&self) {
        while self.arrived.load(Ordering::SeqCst) < self.expected.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }
}
