//! The commit order under every schedule: sequencing, the ratchet, the horizons, and snapshots that register meanwhile.
//!
//! The same tests run with system threads in a plain build, and under shuttle with the cfg `duramen_sim`.

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex, check_pct, check_random, thread};
use duramen_base::{Timestamp, TxnOrigin};
use duramen_txn::{Horizons, Snapshots};

use super::CommitOrder;

const ITERATIONS: usize = 3_000;
const THREADS: u64 = 3;
const COMMITS_EACH: u64 = 2;

/// What the threads share: the order, and which commits are applied.
struct Rig {
    order: CommitOrder,
    horizons: Arc<Horizons>,
    applied: Vec<AtomicBool>,
}

impl Rig {
    fn new() -> Arc<Rig> {
        let horizons = Arc::new(Horizons::new(Timestamp::ZERO));
        Arc::new(Rig {
            order: CommitOrder::new(Arc::clone(&horizons)),
            horizons,
            applied: (0..=THREADS * COMMITS_EACH).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    fn commit(&self) -> Timestamp {
        let (ts, ()) = self.order.sequence(|_| ());
        self.applied[ts.get() as usize].store(true, Ordering::Relaxed);
        self.order.applied(ts, None);
        self.order.wait_visible(ts);
        ts
    }

    fn check_applied_through(&self, ts: Timestamp) {
        for number in 1..=ts.get() {
            assert!(
                self.applied[number as usize].load(Ordering::Relaxed),
                "O2: {ts} is visible, {number} is not applied"
            );
        }
    }
}

fn every_schedule(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    check_random(ITERATIONS, scenario.clone());
    check_pct(ITERATIONS, 3, scenario);
}

#[test]
fn whatever_is_visible_is_applied_and_nobody_waits_for_ever() {
    every_schedule(|| {
        let rig = Rig::new();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let rig = Arc::clone(&rig);
                thread::spawn_named("committer", move || {
                    for _ in 0..COMMITS_EACH {
                        rig.commit();
                        rig.check_applied_through(rig.horizons.visible());
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a committer"));
        assert_eq!(rig.horizons.visible(), Timestamp::new(THREADS * COMMITS_EACH), "O1: every commit became visible");
    });
}

#[test]
fn a_snapshot_begun_after_a_commit_returned_contains_it_and_is_kept_from_pruning() {
    every_schedule(|| {
        let (rig, snapshots) = (Rig::new(), Snapshots::new());
        let newest_returned = Arc::new(AtomicU64::new(0));
        let committers: Vec<_> = (0..2)
            .map(|_| {
                let (rig, newest) = (Arc::clone(&rig), Arc::clone(&newest_returned));
                thread::spawn_named("committer", move || {
                    let ts = rig.commit();
                    rig.horizons.acknowledge(ts);
                    newest.fetch_max(ts.get(), Ordering::SeqCst);
                })
            })
            .collect();
        let (pruner_rig, pruner_snapshots) = (Arc::clone(&rig), Arc::clone(&snapshots));
        let built = Arc::new(Mutex::new(None));
        let into = Arc::clone(&built);
        let pruner = thread::spawn_named("pruner", move || {
            *into.lock() = Some(pruner_snapshots.build_set(|| pruner_rig.horizons.acked()));
        });

        let returned_before = newest_returned.load(Ordering::SeqCst);
        let snapshot = snapshots.register(&TxnOrigin::here(None), || rig.horizons.acked());
        assert!(snapshot.ts().get() >= returned_before, "Q3: {returned_before} had returned");
        rig.check_applied_through(snapshot.ts());
        pruner.join().expect("the pruner");
        let set = built.lock().take().expect("built");
        assert!(set.horizon() <= snapshot.ts() || set.active().contains(&snapshot.ts()), "N1: the snapshot is kept");
        committers.into_iter().for_each(|thread| thread.join().expect("a committer"));
    });
}
