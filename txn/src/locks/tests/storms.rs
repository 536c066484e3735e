//! Real threads in one another's way: every storm ends, nobody times out, and nothing is left behind.

use std::time::Duration;

use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::thread;
use duramen_base::{Error, KeyspaceId, KeyspaceLockMode, LockMode, LockOp, Result};

use super::stepped::Rng;
use super::*;

/// A hang ends here, as an error.
const LONG: Wait = Wait::For(Duration::from_secs(100));
const THREADS: u64 = 8;
const ROUNDS: usize = 150;

/// One transaction's requests, each after a pause in which others run.
type Program = fn(&mut LockOwner, &mut Rng, u64) -> Result<()>;

fn x(owner: &mut LockOwner, keyspace: u32, key: usize) -> Result<()> {
    thread::yield_now();
    owner.lock_key(KeyspaceId::new(keyspace), &key.to_be_bytes(), X, LockOp::Put, LONG).map(|_| ())
}

/// Runs `program` on all threads until each has come to an end that often; returns how many circles were met.
fn storm(options: LockOptions, program: Program) -> u64 {
    let locks = LockManager::new(Arc::new(SystemClock::new()), Budget::new(u64::MAX), options);
    let attempts_max = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (locks, attempts_max) = (Arc::clone(&locks), Arc::clone(&attempts_max));
            thread::spawn_named("storm", move || {
                let mut rng = Rng(number << 32 | 0x9e37_79b9);
                for _ in 0..ROUNDS {
                    let (mut retry_of, mut attempts) = (None, 0);
                    loop {
                        attempts += 1;
                        let mut owner = locks.owner(OwnerSpec { retry_of, ..OwnerSpec::here() });
                        match program(&mut owner, &mut rng, number).and_then(|()| owner.seal()) {
                            Ok(()) => break,
                            Err(Error::Deadlock(_)) => retry_of = Some(owner.age()),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    attempts_max.fetch_max(attempts, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no storm panics"));
    let stats = locks.stats();
    assert_eq!((stats.held, stats.waiting, stats.timeouts, stats.missed_circles), (0, 0, 0, 0), "{stats:?}");
    assert!(attempts_max.load(Ordering::Relaxed) < 200, "nobody starves: {attempts_max:?}");
    stats.circles
}

fn detect() -> LockOptions {
    LockOptions::default()
}

fn wound_wait() -> LockOptions {
    LockOptions { handling: DeadlockHandling::WoundWait, ..LockOptions::default() }
}

const CROSSED: Program = |owner, rng, _| {
    for _ in 0..4 {
        x(owner, 1 + rng.below(2) as u32, rng.below(6))?;
    }
    Ok(())
};

const UPGRADES: Program = |owner, _, _| {
    owner.lock_key(KeyspaceId::new(1), b"k", LockMode::Shared, LockOp::Get, LONG)?;
    thread::yield_now();
    owner.lock_key(KeyspaceId::new(1), b"k", X, LockOp::Put, LONG).map(|_| ())
};

const MIXED: Program = |owner, rng, _| {
    for _ in 0..4 {
        let keyspace = 1 + rng.below(2) as u32;
        let ks = KeyspaceId::new(keyspace);
        let low = [rng.below(8) as u8];
        let mode = [LockMode::Shared, LockMode::Update, X][rng.below(3)];
        match rng.below(8) {
            0 => owner.lock_range(ks, &low, Some(&[low[0] + 3]), LockMode::Shared, LockOp::Scan, LONG)?,
            1 => owner.lock_range(ks, &low, None, X, LockOp::DeleteRange, LONG)?,
            2 if rng.below(8) == 0 => owner.lock_keyspace(ks, KeyspaceLockMode::Shared, LockOp::Lock, LONG)?,
            _ => owner.lock_key(ks, &low, mode, LockOp::GetForUpdate, LONG)?,
        };
        thread::yield_now();
    }
    Ok(())
};

const SORTED: Program = |owner, rng, _| {
    let mut key = 0;
    for _ in 0..4 {
        key += 1 + rng.below(3);
        x(owner, 1, key)?;
    }
    Ok(())
};

const HOT: Program = |owner, _, _| x(owner, 1, 0);

#[test]
fn a_storm_of_circles_ends() {
    assert!(storm(detect(), CROSSED) > 0, "there were circles");
}

#[test]
fn a_storm_of_upgrades_ends() {
    assert!(storm(detect(), UPGRADES) > 0, "there were circles");
}

#[test]
fn a_storm_of_keys_ranges_and_keyspaces_ends() {
    assert!(storm(detect(), MIXED) > 0, "there were circles");
}

#[test]
fn a_storm_in_one_order_has_no_circle() {
    assert_eq!(storm(detect(), SORTED), 0);
}

#[test]
fn a_storm_on_one_key_ends() {
    assert_eq!(storm(detect(), HOT), 0);
}

#[test]
fn storms_under_wound_wait_end_without_a_circle() {
    assert_eq!(storm(wound_wait(), CROSSED), 0);
    assert_eq!(storm(wound_wait(), UPGRADES), 0);
    assert_eq!(storm(wound_wait(), MIXED), 0);
}
