//! What happened at the locks since opening, in numbers. Only waiting is counted: a lock granted at once costs no count.

use std::time::Duration;

use duramen_base::VictimPolicy;
use duramen_base::sync::atomic::{AtomicU64, Ordering};

use super::detect::Outcome;

/// Steps of the histogram of waits: step `n` counts waits below `2^n` microseconds and not below the step before.
pub(super) const WAIT_STEPS: usize = 28;
/// Circles of this many members and more are counted together.
pub(super) const CYCLE_LENGTHS: usize = 65;
const POLICIES: [VictimPolicy; 6] = [
    VictimPolicy::Youngest,
    VictimPolicy::Oldest,
    VictimPolicy::FewestLocks,
    VictimPolicy::LeastWork,
    VictimPolicy::Requester,
    VictimPolicy::Priority,
];

/// Figures of the locks of a database since it was opened.
///
/// ```
/// use duramen_base::{KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{LockManager, OwnerSpec, Wait};
/// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
/// let mut first = locks.owner(OwnerSpec::here());
/// let mut second = locks.owner(OwnerSpec::here());
/// first.lock_key(ks, b"k", LockMode::Exclusive, LockOp::Put, Wait::NoWait)?;
/// let soon = Wait::For(std::time::Duration::from_millis(1));
/// assert!(second.lock_key(ks, b"k", LockMode::Exclusive, LockOp::Put, soon).is_err());
/// let stats = locks.stats();
/// assert_eq!((stats.held, stats.blocked, stats.timeouts, stats.missed_circles), (1, 1, 1, 0));
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockStats {
    /// Locks on keys and ranges held now.
    pub held: usize,
    /// Requests that wait now.
    pub waiting: usize,
    /// Requests that had to wait.
    pub blocked: u64,
    /// How long they waited: step `n` counts waits below `2^n` microseconds and not below `2^(n-1)`; the last one counts all longer ones too.
    pub wait_histogram: Vec<u64>,
    /// Requests whose time was over.
    pub timeouts: u64,
    /// Circles found at the end of somebody's time that should have been found before. Always zero.
    pub missed_circles: u64,
    /// Circles that cost a victim.
    pub circles: u64,
    /// Circles by the number of transactions in them; the last one counts all longer ones too.
    pub circle_lengths: Vec<u64>,
    /// Victims by policy.
    pub victims: Vec<(VictimPolicy, u64)>,
    /// Circles that another order of a queue ended.
    pub reorders: u64,
    /// Transactions looked at in search of circles.
    pub search_steps: u64,
    /// Transactions that an older one wounded.
    pub wounded: u64,
    /// Waits for a transaction that was last called from the same thread.
    pub same_thread_waits: u64,
    /// Times a waiter was woken and found that somebody was faster.
    pub wakes_in_vain: u64,
}

/// See [`LockStats`].
#[derive(Debug)]
pub(super) struct Counters {
    blocked: AtomicU64,
    waits: [AtomicU64; WAIT_STEPS],
    timeouts: AtomicU64,
    missed: AtomicU64,
    circles: [AtomicU64; CYCLE_LENGTHS],
    victims: [AtomicU64; POLICIES.len()],
    reorders: AtomicU64,
    steps: AtomicU64,
    wounded: AtomicU64,
    same_thread: AtomicU64,
    in_vain: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        let zero = || AtomicU64::new(0);
        Counters {
            blocked: zero(),
            waits: std::array::from_fn(|_| zero()),
            timeouts: zero(),
            missed: zero(),
            circles: std::array::from_fn(|_| zero()),
            victims: std::array::from_fn(|_| zero()),
            reorders: zero(),
            steps: zero(),
            wounded: zero(),
            same_thread: zero(),
            in_vain: zero(),
        }
    }
}

// Relaxed throughout: counts that guard no other memory.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(super) fn blocked(&self) {
        add(&self.blocked, 1);
    }

    pub(super) fn waited(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        let step = (u64::BITS - micros.leading_zeros()) as usize;
        add(&self.waits[step.min(WAIT_STEPS - 1)], 1);
    }

    pub(super) fn timed_out(&self) {
        add(&self.timeouts, 1);
    }

    pub(super) fn same_thread(&self) {
        add(&self.same_thread, 1);
    }

    pub(super) fn woken_in_vain(&self) {
        add(&self.in_vain, 1);
    }

    pub(super) fn looked(&self, outcome: &Outcome) {
        add(&self.steps, outcome.steps);
        add(&self.reorders, outcome.reorders);
        add(&self.missed, outcome.missed);
        for report in &outcome.reports {
            match report.reason {
                duramen_base::DeadlockReason::Wounded => add(&self.wounded, 1),
                duramen_base::DeadlockReason::Cycle | duramen_base::DeadlockReason::SameThread => {
                    add(&self.circles[report.members.len().min(CYCLE_LENGTHS - 1)], 1);
                    let policy = POLICIES.iter().position(|policy| *policy == report.policy);
                    add(&self.victims[policy.expect("every policy is in the list")], 1);
                }
            }
        }
    }

    pub(super) fn stats(&self, (held, waiting): (usize, usize)) -> LockStats {
        let circle_lengths: Vec<u64> = self.circles.iter().map(read).collect();
        LockStats {
            held,
            waiting,
            blocked: read(&self.blocked),
            wait_histogram: self.waits.iter().map(read).collect(),
            timeouts: read(&self.timeouts),
            missed_circles: read(&self.missed),
            circles: circle_lengths.iter().sum(),
            circle_lengths,
            victims: POLICIES.into_iter().zip(self.victims.iter().map(read)).collect(),
            reorders: read(&self.reorders),
            search_steps: read(&self.steps),
            wounded: read(&self.wounded),
            same_thread_waits: read(&self.same_thread),
            wakes_in_vain: read(&self.in_vain),
        }
    }
}
