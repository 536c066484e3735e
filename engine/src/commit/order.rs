//! The order of commits: who gets which number, and when it becomes visible.
//!
//! Sequencing hands out timestamp and log position in one short section. Applies finish in any order; the *ratchet* publishes in order:
//! whoever finds the oldest slot applied advances `visible` over the contiguous prefix and releases those transactions' locks. No thread
//! is woken only to let the next one go (as in Pebble's commit pipeline).
//!
//! ```text
//!   commit:  slot[ts].applied = ts (SeqCst); if !ratcheting.swap(true) { ratchet }
//!   ratchet: loop { publish the prefix; ratcheting = false; if slot[visible + 1] is not applied or ratcheting.swap(true) { release; return } }
//! ```
//! A commit that loses the swap was published by the winner or is found by its last look: both sides store, then load the other's word,
//! all SeqCst, so at least one sees the other.
//!
//! O1  Timestamps are dense, in the order of the log.
//! O2  `visible` has no gap below it.
//! O3  A lock is released only when `visible >=` the commit's timestamp.
//! O4  At most `SLOT_COUNT` commits are sequenced and not visible, so each has a slot of its own.

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use duramen_base::sync::{Arc, Condvar, Mutex, Padded, lock_soon, thread};
use duramen_base::{Timestamp, TxnOrigin, mutant};
use duramen_txn::{HeldLocks, Horizons};
use smallvec::SmallVec;

use crate::transaction::OnBoard;

/// Commits in flight between sequencing and visibility, at most.
const SLOT_COUNT: u64 = 1024;
/// Commits that one thread publishes before it releases what they held, if there is always a next one.
const RELEASED_MAX: usize = 32;
/// Looks at the horizon, spinning and then giving way in between, before a waiter sleeps: most waits are for a commit that is being applied.
const LOOKS_BEFORE_SLEEP: u32 = 64;

pub(crate) struct CommitOrder {
    horizons: Arc<Horizons>,
    /// The next timestamp. Held while the log position is taken.
    sequencer: Padded<Mutex<Timestamp>>,
    slots: Box<[Slot]>,
    ratcheting: Padded<AtomicBool>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    advanced: Condvar,
}

#[derive(Default)]
#[repr(align(128))]
struct Slot {
    /// The commit that was applied here last.
    applied: AtomicU64,
    /// What it holds until it is visible, and whose it is.
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    held: Option<Held>,
    origin: Option<(Timestamp, TxnOrigin)>,
}

/// What a commit gives back when it is visible.
pub(crate) struct Held {
    pub(crate) _locks: HeldLocks,
    /// Its entries on the dirty board.
    pub(crate) _posted: Option<Box<OnBoard>>,
    pub(crate) origin: TxnOrigin,
}

/// What visible commits held: mostly of one.
type Released = SmallVec<[Option<Held>; 1]>;

impl CommitOrder {
    /// Goes on behind what `horizons` says is visible.
    pub(crate) fn new(horizons: Arc<Horizons>) -> CommitOrder {
        let next = horizons.visible().next();
        CommitOrder {
            horizons,
            sequencer: Padded(Mutex::new(next)),
            slots: (0..SLOT_COUNT).map(|_| Slot::default()).collect(),
            ratcheting: Padded::default(),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            advanced: Condvar::new(),
        }
    }

    /// Gives the next commit its timestamp and, by `place`, its position in the log. May wait for a slot before, never after.
    pub(crate) fn sequence<P>(&self, place: impl FnOnce(Timestamp) -> P) -> (Timestamp, P) {
        loop {
            let mut next = lock_soon(&self.sequencer);
            let ts = *next;
            if ts.get() - self.horizons.visible().get() <= SLOT_COUNT {
                let placed = place(ts);
                *next = ts.next();
                return (ts, placed);
            }
            drop(next);
            self.wait_visible(Timestamp::new(ts.get() - SLOT_COUNT));
        }
    }

    /// The same for a commit that must find every earlier one applied, and no later one sequenced before it is placed. Others wait for as long as
    /// the applies take that are under way.
    pub(crate) fn sequence_alone<P>(&self, place: impl FnOnce(Timestamp) -> P) -> (Timestamp, P) {
        let mut next = self.sequencer.lock();
        let ts = *next;
        self.wait_visible(ts.prev());
        let placed = place(ts);
        *next = ts.next();
        (ts, placed)
    }

    /// The newest timestamp handed out.
    pub(crate) fn newest(&self) -> Timestamp {
        self.sequencer.lock().prev()
    }

    /// Says that the commit `ts` is applied; what it holds falls when it is visible (O3).
    pub(crate) fn applied(&self, ts: Timestamp, held: Option<Held>) {
        let slot = self.slot(ts);
        let origin = held.as_ref().map(|held| (ts, held.origin));
        *slot.content.lock() = Content { held, origin };
        if mutant!("publish_out_of_order") {
            self.horizons.raise_visible(ts);
        }
        // SeqCst: the store of the protocol above; the ratchet that sees it also sees what the commit applied.
        slot.applied.store(ts.get(), Ordering::SeqCst);
        if !self.ratcheting.swap(true, Ordering::SeqCst) {
            self.ratchet();
        }
    }

    /// Publishes for as long as the oldest unpublished commit is applied. The caller has set `ratcheting`. What the published commits held falls when
    /// others may ratchet again: who is stopped as it releases, at a latch, keeps no commit from being visible.
    fn ratchet(&self) {
        let mut held = Released::new();
        loop {
            self.publish_prefix(&mut held);
            if mutant!("release_while_ratcheting") {
                held.clear();
            }
            self.ratcheting.store(false, Ordering::SeqCst);
            let next_is_applied = self.is_applied(self.horizons.visible().next());
            if !next_is_applied || self.ratcheting.swap(true, Ordering::SeqCst) {
                return;
            }
            if held.len() >= RELEASED_MAX {
                held.clear();
            }
        }
    }

    fn publish_prefix(&self, released: &mut Released) {
        let first = self.horizons.visible().next();
        let mut end = first;
        while self.is_applied(end) && end.get() - first.get() < SLOT_COUNT {
            end = end.next();
        }
        if end == first {
            return;
        }
        // The locks are taken out before anybody can see the prefix: from then on a slot may be used again (O4).
        released.extend((first.get()..end.get()).map(|ts| self.slot(Timestamp::new(ts)).content.lock().held.take()));
        self.horizons.raise_visible(end.prev());
        // SeqCst: pairs with the count of a sleeper, which looks at the horizon once more after it counted itself.
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.sleep.lock());
            self.advanced.notify_all();
        }
    }

    /// Who committed at `ts`, if fewer than `SLOT_COUNT` have since.
    pub(crate) fn origin_of(&self, ts: Timestamp) -> Option<TxnOrigin> {
        let content = self.slot(ts).content.lock();
        content.origin.filter(|(of, _)| *of == ts).map(|(_, origin)| origin)
    }

    fn slot(&self, ts: Timestamp) -> &Slot {
        &self.slots[(ts.get() % SLOT_COUNT) as usize]
    }

    fn is_applied(&self, ts: Timestamp) -> bool {
        self.slot(ts).applied.load(Ordering::SeqCst) == ts.get()
    }

    /// Returns when every commit up to `ts` is visible. What was sequenced is applied without waiting for anything, so this ends soon.
    pub(crate) fn wait_visible(&self, ts: Timestamp) {
        for look in 0..LOOKS_BEFORE_SLEEP {
            if self.horizons.visible() >= ts {
                return;
            }
            thread::pause(look);
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.sleep.lock();
        while self.horizons.visible() < ts {
            self.advanced.wait(&mut guard);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(all(test, feature = "testing"))]
mod schedules;

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use std::time::Duration;

    use duramen_base::clock::Clock;
    use duramen_base::{Budget, KeyspaceId, LockMode, LockOp};
    use duramen_txn::{LockManager, LockOptions, LockOwner, OwnerSpec, Wait};

    use super::*;

    fn order() -> CommitOrder {
        CommitOrder::new(Arc::new(Horizons::new(Timestamp::ZERO)))
    }

    #[test]
    fn a_commit_is_visible_only_behind_all_before_it() {
        let order = order();
        let (first, ()) = order.sequence(|_| ());
        let (second, ()) = order.sequence(|_| ());
        order.applied(second, None);
        assert_eq!(order.horizons.visible(), Timestamp::ZERO);
        order.applied(first, None);
        assert_eq!(order.horizons.visible(), second);
        order.wait_visible(second);
    }

    /// A clock that is asked the time by whoever wakes a waiter, and lets nobody go on while it is stopped.
    #[derive(Default)]
    struct Stopped {
        is_stopped: AtomicBool,
        asked: AtomicBool,
    }

    impl Clock for Stopped {
        fn now(&self) -> Duration {
            while self.is_stopped.load(Ordering::SeqCst) {
                self.asked.store(true, Ordering::SeqCst);
                thread::yield_now();
            }
            Duration::ZERO
        }
    }

    #[test]
    fn who_releases_locks_keeps_no_commit_from_being_visible() {
        let (order, clock) = (Arc::new(order()), Arc::new(Stopped::default()));
        let locks = LockManager::new(clock.clone(), Budget::new(u64::MAX), LockOptions::default());
        let wait = Wait::For(Duration::from_secs(10));
        let lock = move |owner: &mut LockOwner| {
            owner.lock_key(KeyspaceId::new(1), b"k", LockMode::Exclusive, LockOp::Put, wait)
        };
        let mut holder = locks.owner(OwnerSpec::here());
        lock(&mut holder).expect("it is free");
        let mut waiter = locks.owner(OwnerSpec::here());
        let waits = thread::spawn_named("waiter", move || lock(&mut waiter).map(drop).expect("it falls"));
        while locks.counts().1 == 0 {
            thread::yield_now();
        }
        let (first, ()) = order.sequence(|_| ());
        let (second, ()) = order.sequence(|_| ());
        clock.is_stopped.store(true, Ordering::SeqCst);
        let held = Held { _locks: holder.into_held(), _posted: None, origin: TxnOrigin::here(None) };
        let (by_first, in_the_middle) = (Arc::clone(&order), clock.clone());
        let commits = thread::spawn_named("first", move || by_first.applied(first, Some(held)));
        while !in_the_middle.asked.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        order.applied(second, None);
        assert_eq!(order.horizons.visible(), second, "while the first one still releases");
        clock.is_stopped.store(false, Ordering::SeqCst);
        commits.join().expect("first");
        waits.join().expect("waiter");
    }

    #[test]
    fn many_threads_publish_every_commit() {
        let order = Arc::new(order());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let order = Arc::clone(&order);
                thread::spawn_named("committer", move || {
                    for _ in 0..5_000 {
                        let (ts, ()) = order.sequence(|_| ());
                        order.applied(ts, None);
                        order.wait_visible(ts);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("committer"));
        assert_eq!(order.horizons.visible(), Timestamp::new(20_000));
    }
}
