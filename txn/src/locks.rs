//! Row locks: shared, update and exclusive locks on keys, ranges of keys and whole keyspaces, held until the transaction ends; with
//! waiting, timeouts and deadlock detection.
//!
//! One table of locks per keyspace, tables spread over latches by keyspace id. A lock that nobody is in the way of costs one visit of
//! one table. Only who must wait meets the wait graph, which is not kept anywhere but read off the tables. Nothing is known here
//! about values, snapshots or commits; who holds what until when is decided by the caller.
//!
//! L1  Nobody is granted what a holder is in the way of (matrices in `claim.rs`).
//! L2  Waiters go in the order of arrival, upgrades first; who must not wait for a holder may pass them, until one is overdue.
//! L3  A transaction waits in at most one place.
//! L4  Every circle of waits is ended when it closes: at the price of exactly one victim if it is one of holders, at none otherwise.
//! L5  What was granted stays until the [`HeldLocks`] fall, but for what a savepoint gives back.
//!
//! Next: `claim.rs` (what goes with what), `table.rs` (holders), `queue.rs` (waiters), `grant.rs` (who goes on), `waiting.rs` (the steps of waiting),
//! `blocking.rs` (the one place that sleeps), `detect.rs` and `wait_graph.rs` (circles), `held.rs` (what a transaction holds), `docs/concurrency.md`.

mod blocking;
mod claim;
mod counters;
mod detect;
mod grant;
mod held;
mod history;
mod intervals;
mod members;
mod owner;
mod points;
mod queue;
#[cfg(test)]
mod schedules;
mod shard;
mod snapshot;
mod table;
mod waiting;

#[cfg(all(test, not(duramen_sim)))]
mod tests;

use std::fmt;
use std::time::Duration;

use duramen_base::clock::{Clock, SystemClock};
use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::{Arc, MutexGuard, Padded, lock_soon};
use duramen_base::{Budget, Deadline, DeadlockReport, KeyspaceId, LockClaim, LockWait, TxnId, VictimPolicy};

use counters::Counters;
pub use counters::LockStats;
use grant::Order;
pub use held::{Grant, HeldLocks, LockMark, LockOwner};
pub use history::DeadlockCallback;
use history::History;
use owner::Owner;
pub use owner::{AgeTicket, OwnerSpec};
use shard::{Shard, Shards};
pub use snapshot::{HeldLock, LockWaiter, WaitArrow, WaitGraph};

/// What to do when somebody is in the way.
///
/// See [`Grant`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Wait, at most until then; for ever, if there is no deadline.
    Until(Deadline),
    /// Wait that long at most. Asks the clock only if it waits.
    For(Duration),
    /// Fail at once, with [`duramen_base::Error::WouldBlock`].
    NoWait,
    /// Leave it, with [`Grant::Skipped`].
    SkipLocked,
}

impl Wait {
    /// Whether it waits at all.
    fn is_patient(self) -> bool {
        matches!(self, Wait::Until(_) | Wait::For(_))
    }
}

/// How transactions are kept from waiting for each other for ever.
///
/// ```
/// use duramen_txn::DeadlockHandling;
/// assert_eq!(DeadlockHandling::default(), DeadlockHandling::Detect);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadlockHandling {
    /// Every circle is found when it closes, and one of its members given up.
    #[default]
    Detect,
    /// No circle comes about: a transaction that needs what a younger one holds wounds it (Rosenkrantz, Stearns and Lewis 1978), which
    /// then fails at its next request or at its commit. One whose commit is sequenced is never wounded. Queues go by age.
    WoundWait,
}

/// How the locks of a database behave.
///
/// ```
/// use duramen_base::VictimPolicy;
/// use duramen_txn::LockOptions;
/// let options = LockOptions { victim: VictimPolicy::LeastWork, ..LockOptions::default() };
/// assert!(!options.same_thread_fails);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockOptions {
    /// Who is given up.
    pub victim: VictimPolicy,
    /// Whether circles are found or prevented.
    pub handling: DeadlockHandling,
    /// Whether a wait for a transaction that was last called from the same thread fails at once. If not, it is reported at once, and
    /// waits all the same: another thread may go on with that transaction.
    pub same_thread_fails: bool,
}

/// Tells the name of a keyspace, for reports. Called with no latch of the locks held.
pub type KeyspaceNames = Arc<dyn Fn(KeyspaceId) -> Option<Arc<str>> + Send + Sync>;

/// The locks of one database.
///
/// ```
/// use duramen_base::clock::SystemClock;
/// use duramen_base::{Budget, Error, KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{LockManager, LockOptions, OwnerSpec, Wait};
/// use std::sync::Arc;
/// use std::time::Duration;
/// let locks = LockManager::new(Arc::new(SystemClock::new()), Budget::new(1 << 20), LockOptions::default());
/// let ks = KeyspaceId::new(1);
/// let (x, put, wait) = (LockMode::Exclusive, LockOp::Put, Wait::For(Duration::from_secs(10)));
/// let mut first = locks.owner(OwnerSpec::here());
/// first.lock_key(ks, b"a", x, put, wait)?;
/// let mut second = locks.owner(OwnerSpec::here());
/// second.lock_key(ks, b"b", x, put, wait)?;
/// let other = std::thread::spawn(move || first.lock_key(ks, b"b", x, put, wait).map(|_| first));
/// while locks.counts().1 == 0 {
///     std::thread::yield_now();
/// }
/// let Err(Error::Deadlock(report)) = second.lock_key(ks, b"a", x, put, wait) else { panic!("a circle") };
/// assert_eq!((report.members.len(), report.victim), (2, second.id())); // the youngest
/// drop(second);
/// other.join().expect("it did not panic")?;
/// # Ok::<(), Error>(())
/// ```
pub struct LockManager {
    shards: Shards,
    clock: Arc<dyn Clock>,
    budget: Arc<Budget>,
    options: LockOptions,
    names: Option<KeyspaceNames>,
    counters: Counters,
    history: History,
    last_owner: Padded<AtomicU64>,
    last_waiter: Padded<AtomicU64>,
}

impl LockManager {
    /// Nothing is locked. Locks take memory from `budget`; a request that gets none fails.
    pub fn new(clock: Arc<dyn Clock>, budget: Arc<Budget>, options: LockOptions) -> Arc<LockManager> {
        LockManager::with_keyspace_names(clock, budget, options, None)
    }

    /// As [`LockManager::new`]; reports name keyspaces as `names` does.
    pub fn with_keyspace_names(
        clock: Arc<dyn Clock>,
        budget: Arc<Budget>,
        options: LockOptions,
        names: Option<KeyspaceNames>,
    ) -> Arc<LockManager> {
        Arc::new(LockManager {
            shards: std::array::from_fn(|_| Padded::default()),
            clock,
            budget,
            options,
            names,
            counters: Counters::default(),
            history: History::default(),
            last_owner: Padded::default(),
            last_waiter: Padded::default(),
        })
    }

    /// With the clock of the machine and all the memory there is: for examples and tests.
    pub fn standalone() -> Arc<LockManager> {
        LockManager::new(Arc::new(SystemClock::new()), Budget::new(u64::MAX), LockOptions::default())
    }

    /// A transaction that will lock something.
    #[inline]
    pub fn owner(self: &Arc<Self>, spec: OwnerSpec) -> LockOwner {
        // Relaxed: a number of its own is all that matters; age is decided by it, not by what happened before it.
        let number = self.last_owner.fetch_add(1, Ordering::Relaxed) + 1;
        let fresh = AgeTicket { number, begun_at: spec.begun_at, attempt: 1 };
        let ticket = spec.retry_of.map_or(fresh, AgeTicket::next_attempt);
        LockOwner::new(Arc::clone(self), Owner::new(TxnId::new(number), ticket, &spec))
    }

    /// Figures since opening.
    pub fn stats(&self) -> LockStats {
        self.counters.stats(self.counts())
    }

    /// The last deadlocks, newest first.
    ///
    /// ```
    /// use duramen_txn::LockManager;
    /// let locks = LockManager::standalone();
    /// assert!(locks.deadlocks().is_empty());
    /// locks.set_deadlock_history(0); // keep none
    /// ```
    pub fn deadlocks(&self) -> Vec<Arc<DeadlockReport>> {
        self.history.newest_first()
    }

    /// Keeps that many of the last deadlocks; 64 unless this is called.
    pub fn set_deadlock_history(&self, count: usize) {
        self.history.set_room(count);
    }

    /// Calls `callback` with each report from now on, instead of who was called before.
    pub fn on_deadlock(&self, callback: Option<DeadlockCallback>) {
        self.history.set_callback(callback);
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn order(&self) -> Order {
        match self.options.handling {
            DeadlockHandling::Detect => Order::Arrival,
            DeadlockHandling::WoundWait => Order::Age,
        }
    }

    #[inline]
    fn latch(&self, shard: usize) -> MutexGuard<'_, Shard> {
        lock_soon(&self.shards[shard])
    }

    fn next_waiter(&self) -> u64 {
        self.last_waiter.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn publish(&self, reports: Vec<DeadlockReport>) {
        for report in reports {
            self.history.push(*self.with_names(Box::new(report)));
        }
    }

    fn with_names(&self, mut report: Box<DeadlockReport>) -> Box<DeadlockReport> {
        for member in &mut report.members {
            let claims = member.waits_for.iter_mut().chain(&mut member.blocked_by).chain(&mut member.last_operations);
            claims.for_each(|claim| self.name_claim(claim));
        }
        report
    }

    fn name_wait(&self, mut wait: LockWait) -> LockWait {
        self.name_claim(&mut wait.wanted);
        wait.blockers.iter_mut().for_each(|blocker| self.name_claim(&mut blocker.claim));
        wait
    }

    fn name_claim(&self, claim: &mut LockClaim) {
        if let Some(names) = &self.names {
            claim.keyspace_name = names(claim.keyspace);
        }
    }
}

impl fmt::Debug for LockManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, waiting) = self.counts();
        f.debug_struct("LockManager").field("held", &held).field("waiting", &waiting).finish_non_exhaustive()
    }
}
