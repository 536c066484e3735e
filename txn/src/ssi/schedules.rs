//! Serializable transactions under every kind of schedule: they begin, are checked, become facts and facts go, in threads of their own.
//!
//! Each schedule ends with a search for an order of those that committed, one after the other, in which each saw what it saw. The search knows
//! versions only. Writes are disjoint, so that nothing but the rule of SSI refuses anybody.

use std::time::Duration;

use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex, check_pct, check_random, thread};
use duramen_base::{Budget, KeyspaceId, Timestamp, TxnOrigin};

use super::{Claim, Ssi};
use crate::footprint::Footprint;
use crate::horizons::Horizons;
use crate::key::Key;
use crate::snapshots::Snapshots;

const RANDOM_RUNS: usize = 3_000;
const PCT_RUNS: usize = 2_000;
const PCT_DEPTH: usize = 4;
const KEYS: usize = 3;

#[derive(Clone, Copy)]
enum Kind {
    Checked,
    ReadOnly,
    /// Two-phase locking.
    Locking,
}

/// What a transaction does: sets of keys, a bit each.
#[derive(Clone, Copy)]
struct Shape(Kind, u32, u32);

/// One that committed: it saw every version up to `saw`, and wrote at `ts` (0: nothing).
#[derive(Clone, Copy, Debug)]
struct Done {
    reads: u32,
    writes: u32,
    saw: u64,
    ts: u64,
}

struct World {
    ssi: Ssi,
    horizons: Horizons,
    newest: AtomicU64,
    /// Numbers of commits that are to become visible in order.
    placed: Mutex<Vec<u64>>,
    locks: [Mutex<()>; KEYS],
    done: Mutex<Vec<Done>>,
}

fn is_in(keys: u32, key: usize) -> bool {
    keys >> key & 1 == 1
}

fn footprint(keys: u32) -> Footprint {
    let key = |n: usize| (KeyspaceId::new(1), Key::from(&[n as u8][..]));
    Footprint::new((0..KEYS).filter(|&n| is_in(keys, n)).map(key), vec![])
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            ssi: Ssi::new(&Snapshots::new(), Budget::new(1 << 30), 1 << 30),
            horizons: Horizons::new(Timestamp::ZERO),
            newest: AtomicU64::new(0),
            placed: Mutex::default(),
            locks: std::array::from_fn(|_| Mutex::new(())),
            done: Mutex::default(),
        })
    }

    fn next(&self) -> (Timestamp, ()) {
        (Timestamp::new(self.newest.fetch_add(1, Ordering::SeqCst) + 1), ())
    }

    /// Returns when it is visible, and so are all before it: then locks may fall. What is acknowledged comes later, by the pruner.
    fn publish(&self, ts: Timestamp) {
        let mut placed = self.placed.lock();
        placed.push(ts.get());
        while placed.contains(&(self.horizons.visible().get() + 1)) {
            self.horizons.raise_visible(self.horizons.visible().next());
        }
        drop(placed);
        while self.horizons.visible() < ts {
            thread::yield_now();
        }
    }

    fn run(&self, Shape(kind, reads, writes): Shape) {
        let me = TxnOrigin::here(None);
        let claim = |snapshot_ts, enlisted| Claim {
            snapshot_ts,
            reads: footprint(reads),
            writes: footprint(writes),
            origin: me,
            enlisted,
        };
        let lock = |keys: u32| (0..KEYS).filter(|&n| is_in(keys, n)).map(|n| self.locks[n].lock()).collect::<Vec<_>>();
        let (saw, ts) = match kind {
            Kind::Locking => {
                let _locks = lock(reads | writes);
                let saw = self.horizons.visible();
                let (ts, ()) = self.ssi.enter_locked(claim(None, None), || self.next());
                self.publish(ts);
                (saw, ts)
            }
            Kind::Checked | Kind::ReadOnly => {
                let may_write = matches!(kind, Kind::Checked);
                let at = || if may_write { self.horizons.visible() } else { self.horizons.acked() };
                let reader = std::iter::repeat_with(|| self.ssi.enlist(&me, at(), may_write)).flatten().next();
                let reader = reader.expect("a horizon is not below the floor for ever");
                let saw = reader.ts();
                let claim = claim(Some(saw), Some(reader.handle()));
                let outcome = if may_write {
                    let _locks = lock(writes);
                    let outcome = self.ssi.commit(claim, || self.next()).map(|(ts, ())| ts);
                    outcome.inspect(|&ts| self.publish(ts))
                } else if self.ssi.is_safe(saw) {
                    Ok(Timestamp::ZERO)
                } else {
                    self.ssi.commit_read_only(claim).map(|()| Timestamp::ZERO)
                };
                drop(reader);
                self.ssi.note_end();
                let Ok(ts) = outcome else { return };
                (saw, ts)
            }
        };
        self.done.lock().push(Done { reads, writes, saw: saw.get(), ts: ts.get() });
    }

    /// Acknowledges what is visible, and drops facts; ends who was there before, if asked to.
    fn prune(&self, ends_readers: bool) {
        for round in 1..=2 {
            if ends_readers {
                self.ssi.end_older(Duration::from_secs(round), Duration::ZERO);
            }
            self.horizons.raise_durable(self.horizons.visible());
            self.ssi.prune(|| self.horizons.acked());
        }
    }
}

/// Whether `left` can run one after the other on `state` (by key, the ts of its version), each seeing what it saw.
fn is_explained(all: &[Done], left: &[Done], state: [u64; KEYS]) -> bool {
    left.is_empty()
        || (0..left.len()).any(|at| {
            let next = left[at];
            let version = |key: usize| {
                let written = all.iter().filter(|txn| is_in(txn.writes, key) && txn.ts <= next.saw).map(|txn| txn.ts);
                written.max().unwrap_or(0)
            };
            let sees = (0..KEYS).filter(|&key| is_in(next.reads, key)).all(|key| version(key) == state[key]);
            let after = std::array::from_fn(|key| if is_in(next.writes, key) { next.ts } else { state[key] });
            let rest: Vec<Done> = left[..at].iter().chain(&left[at + 1..]).copied().collect();
            sees && is_explained(all, &rest, after)
        })
}

fn check(shapes: &'static [Shape], ends_readers: bool) {
    let test = move || {
        let world = World::new();
        let spawn = |run: Box<dyn FnOnce() + Send>| thread::spawn_named("scheduled", run);
        let mut threads: Vec<_> = shapes
            .iter()
            .map(|&shape| {
                let world = Arc::clone(&world);
                spawn(Box::new(move || world.run(shape)))
            })
            .collect();
        let pruner = Arc::clone(&world);
        threads.push(spawn(Box::new(move || pruner.prune(ends_readers))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let done = world.done.lock().clone();
        assert!(is_explained(&done, &done, [0; KEYS]), "no order explains {done:?}");
    };
    check_random(RANDOM_RUNS, test);
    check_pct(PCT_RUNS, PCT_DEPTH, test);
}

#[test]
fn write_skew_of_two_and_of_three_is_refused_while_facts_go() {
    check(&[Shape(Kind::Checked, 0b001, 0b010), Shape(Kind::Checked, 0b010, 0b001)], false);
    let circle =
        &[Shape(Kind::Checked, 0b010, 0b001), Shape(Kind::Checked, 0b100, 0b010), Shape(Kind::Checked, 0b001, 0b100)];
    check(circle, false);
}

#[test]
fn the_read_only_anomaly_is_refused_while_facts_go() {
    let all =
        &[Shape(Kind::Checked, 0b011, 0b001), Shape(Kind::Checked, 0b010, 0b010), Shape(Kind::ReadOnly, 0b011, 0)];
    check(all, false);
}

#[test]
fn locking_transactions_count_among_checked_ones() {
    let all =
        &[Shape(Kind::Checked, 0b010, 0b001), Shape(Kind::Locking, 0b100, 0b010), Shape(Kind::Checked, 0b001, 0b100)];
    check(all, false);
}

#[test]
fn whoever_is_ended_leaves_nobody_wrong() {
    check(&[Shape(Kind::Checked, 0b001, 0b010), Shape(Kind::Checked, 0b010, 0b001)], true);
    let all =
        &[Shape(Kind::Checked, 0b011, 0b001), Shape(Kind::Checked, 0b010, 0b010), Shape(Kind::ReadOnly, 0b011, 0)];
    check(all, true);
}
