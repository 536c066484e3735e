//! The lock manager under every kind of schedule: exclusion, hand-over, timeouts and victims, with nobody left asleep.
//!
//! A lost wake or a circle that was not seen leaves threads that can never go on, which the scheduler reports.

use std::time::Duration;

use duramen_base::clock::{Clock, ManualClock};
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::sync::{Arc, check_pct, check_random, thread};
use duramen_base::{Budget, Deadline, Error, KeyspaceId, LockMode, LockOp, Result, VictimPolicy};

use super::{AgeTicket, DeadlockHandling, LockManager, LockOptions, LockOwner, OwnerSpec, Wait};

const RANDOM_RUNS: usize = 3_000;
const PCT_RUNS: usize = 1_500;
const PCT_DEPTH: usize = 4;
const NEVER: Wait = Wait::Until(Deadline(None));
const ROUNDS: usize = 2;

fn check(test: fn()) {
    check_random(RANDOM_RUNS, test);
    check_pct(PCT_RUNS, PCT_DEPTH, test);
}

/// Each look takes that long: so what depends on time happens after so many looks, whatever the schedule.
struct LookingTakes(Duration, ManualClock);

impl Clock for LookingTakes {
    fn now(&self) -> Duration {
        self.1.advance(self.0);
        self.1.now()
    }
}

/// What is locked, with an owner for each key 0 to 7: exclusive locks mark it.
struct Scene {
    locks: Arc<LockManager>,
    owned: Arc<[AtomicBool; 8]>,
}

impl Scene {
    fn new(a_look: Duration, handling: DeadlockHandling, victim: VictimPolicy) -> Scene {
        let options = LockOptions { handling, victim, ..LockOptions::default() };
        let clock = Arc::new(LookingTakes(a_look, ManualClock::default()));
        Scene { locks: LockManager::new(clock, Budget::new(u64::MAX), options), owned: Arc::default() }
    }

    /// A thread that runs transactions: each takes all of `keys` exclusively by `lock`, again and again while it is a victim.
    fn runs(
        &self,
        keys: &'static [u8],
        lock: impl Fn(&mut LockOwner) -> Result<()> + Send + 'static,
    ) -> Box<dyn FnOnce() + Send> {
        let (locks, owned) = (Arc::clone(&self.locks), Arc::clone(&self.owned));
        Box::new(move || {
            for _ in 0..ROUNDS {
                let mut retry_of: Option<AgeTicket> = None;
                loop {
                    let mut owner = locks.owner(OwnerSpec { retry_of, ..OwnerSpec::here() });
                    match lock(&mut owner).and_then(|()| owner.seal()) {
                        Ok(()) => {}
                        Err(Error::Deadlock(_)) => {
                            retry_of = Some(owner.age());
                            drop(owner);
                            // Or a scheduler that favours this thread would let it close the same circle for ever.
                            thread::yield_now();
                            continue;
                        }
                        Err(Error::LockTimeout(_)) => break,
                        Err(error) => panic!("{error}"),
                    }
                    for &key in keys {
                        assert!(!owned[key as usize].swap(true, Ordering::SeqCst), "L1: key {key} has one owner");
                    }
                    for &key in keys {
                        owned[key as usize].store(false, Ordering::SeqCst);
                    }
                    break;
                }
            }
        })
    }

    fn end<const N: usize>(self, threads: [Box<dyn FnOnce() + Send>; N]) {
        let handles = threads.map(|run| thread::spawn_named("scheduled", run));
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        let stats = self.locks.stats();
        assert_eq!((stats.held, stats.waiting, stats.missed_circles), (0, 0, 0));
        self.locks.shards.iter().for_each(|shard| {
            assert!(shard.lock().keyspaces.iter().all(super::grant::Keyspace::is_idle));
        });
    }
}

fn key(owner: &mut LockOwner, keyspace: u32, key: u8, mode: LockMode, wait: Wait) -> Result<()> {
    owner.lock_key(KeyspaceId::new(keyspace), &[key], mode, LockOp::Put, wait).map(|_| ())
}

fn range(owner: &mut LockOwner, low: u8, high: u8, wait: Wait) -> Result<()> {
    owner.lock_range(KeyspaceId::new(1), &[low], Some(&[high]), X, LockOp::DeleteRange, wait).map(|_| ())
}

const S: LockMode = LockMode::Shared;
const X: LockMode = LockMode::Exclusive;
const A_MOMENT: Duration = Duration::from_nanos(1);
/// A waiter is overdue after two looks.
const LONG_LOOKS: Duration = Duration::from_micros(600);

fn three_keys_and_a_range(scene: &Scene) -> [Box<dyn FnOnce() + Send>; 3] {
    [
        scene.runs(&[1, 3], |owner| key(owner, 1, 1, X, NEVER).and_then(|()| key(owner, 1, 3, X, NEVER))),
        scene.runs(&[1, 2, 3], |owner| range(owner, 1, 4, NEVER)),
        scene.runs(&[3, 2], |owner| key(owner, 1, 3, X, NEVER).and_then(|()| key(owner, 1, 2, X, NEVER))),
    ]
}

#[test]
fn locks_exclude_and_wake() {
    check(|| {
        let scene = Scene::new(A_MOMENT, DeadlockHandling::Detect, VictimPolicy::Youngest);
        let threads = three_keys_and_a_range(&scene);
        scene.end(threads);
    });
}

#[test]
fn locks_are_handed_over_to_who_is_overdue() {
    check(|| {
        let scene = Scene::new(LONG_LOOKS, DeadlockHandling::Detect, VictimPolicy::Youngest);
        let threads = three_keys_and_a_range(&scene);
        scene.end(threads);
    });
}

#[test]
fn circles_through_one_table_and_through_several_are_ended() {
    check(|| {
        let scene = Scene::new(A_MOMENT, DeadlockHandling::Detect, VictimPolicy::Youngest);
        // Keyspaces 1 and 2 have different latches; key numbers tell them apart for the check of owners.
        let threads = [
            scene.runs(&[1, 2], |owner| key(owner, 1, 1, X, NEVER).and_then(|()| key(owner, 2, 2, X, NEVER))),
            scene.runs(&[2, 3], |owner| key(owner, 2, 2, X, NEVER).and_then(|()| key(owner, 3, 3, X, NEVER))),
            scene.runs(&[3, 1], |owner| key(owner, 3, 3, X, NEVER).and_then(|()| key(owner, 1, 1, X, NEVER))),
        ];
        scene.end(threads);
    });
}

#[test]
fn upgrades_leave_one_winner_at_a_time() {
    check(|| {
        let scene = Scene::new(A_MOMENT, DeadlockHandling::Detect, VictimPolicy::Requester);
        let upgrade = |owner: &mut LockOwner| key(owner, 1, 1, S, NEVER).and_then(|()| key(owner, 1, 1, X, NEVER));
        let threads = [
            scene.runs(&[1], upgrade),
            scene.runs(&[1], upgrade),
            scene.runs(&[1], |owner| key(owner, 1, 1, X, NEVER)),
        ];
        scene.end(threads);
    });
}

#[test]
fn who_gives_up_or_is_given_up_strands_nobody() {
    check(|| {
        let scene = Scene::new(A_MOMENT, DeadlockHandling::Detect, VictimPolicy::Oldest);
        const SOON: Wait = Wait::For(Duration::from_nanos(9));
        let threads = [
            scene.runs(&[1, 2], |owner| key(owner, 1, 1, X, SOON).and_then(|()| key(owner, 1, 2, X, NEVER))),
            scene.runs(&[1, 2], |owner| range(owner, 1, 3, SOON)),
            scene.runs(&[2, 1], |owner| key(owner, 1, 2, X, NEVER).and_then(|()| key(owner, 1, 1, X, SOON))),
        ];
        scene.end(threads);
    });
}

#[test]
fn the_wounded_go_and_the_sealed_stay() {
    check(|| {
        let scene = Scene::new(A_MOMENT, DeadlockHandling::WoundWait, VictimPolicy::Youngest);
        let threads = [
            scene.runs(&[1, 2], |owner| key(owner, 1, 1, X, NEVER).and_then(|()| key(owner, 2, 2, X, NEVER))),
            scene.runs(&[2, 1], |owner| key(owner, 2, 2, X, NEVER).and_then(|()| key(owner, 1, 1, X, NEVER))),
            scene.runs(&[1], |owner| key(owner, 1, 1, S, NEVER).and_then(|()| key(owner, 1, 1, X, NEVER))),
        ];
        scene.end(threads);
    });
}
