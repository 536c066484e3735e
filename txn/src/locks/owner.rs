//! A transaction as the lock table and the wait graph know it.
//!
//! Shared by the transaction and whoever looks for a deadlock. What it holds is not here (`held.rs`), nor what it waits for
//! (`queue.rs`); only where to look.
//!
//! O1  `waiting` names a waiter exactly while it stands in a queue; it changes under the latch of that queue.
//! O2  A sealed transaction is never wounded, a wounded one never sealed.

use std::time::Duration;

use duramen_base::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use duramen_base::sync::{Condvar, Mutex, thread};
use duramen_base::{DeadlockReport, TxnId, TxnInfo, TxnOrigin};

use super::queue::WaiterId;

/// A transaction's place in the order of age. Keep it over retries, so that the retried one grows old and is not chosen as a
/// victim for ever.
///
/// ```
/// use duramen_txn::{LockManager, OwnerSpec};
/// let locks = LockManager::standalone();
/// let first = locks.owner(OwnerSpec::here());
/// let age = first.age();
/// drop(first); // a victim, say
/// let again = locks.owner(OwnerSpec { retry_of: Some(age), ..OwnerSpec::here() });
/// assert_eq!((again.age(), again.info().attempt), (age.next_attempt(), 2));
/// assert_eq!(again.age().number(), age.number());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeTicket {
    /// Smaller is older.
    pub(super) number: u64,
    /// When the first attempt began, if somebody looked.
    pub(super) begun_at: Option<Duration>,
    pub(super) attempt: u32,
}

impl AgeTicket {
    /// The ticket of the next attempt: as old as this one.
    #[must_use]
    pub fn next_attempt(self) -> AgeTicket {
        AgeTicket { attempt: self.attempt.saturating_add(1), ..self }
    }

    /// Its place in the order of age: smaller is older.
    pub fn number(self) -> u64 {
        self.number
    }
}

/// What a transaction tells about itself when it first locks.
///
/// See [`AgeTicket`] for an example.
#[derive(Clone, Copy, Debug)]
pub struct OwnerSpec {
    /// What the program called it, and where it began.
    pub origin: TxnOrigin,
    /// Level and mode, for reports.
    pub isolation: &'static str,
    /// For the policy `Priority`: the lowest is given up first.
    pub priority: i32,
    /// When it began, if somebody looked at the clock: for its age in reports, which is zero otherwise.
    pub begun_at: Option<Duration>,
    /// The ticket of the attempt before this one.
    pub retry_of: Option<AgeTicket>,
}

impl OwnerSpec {
    /// A transaction begun where this is called.
    #[track_caller]
    pub fn here() -> OwnerSpec {
        OwnerSpec { origin: TxnOrigin::here(None), isolation: "", priority: 0, begun_at: None, retry_of: None }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(super) id: TxnId,
    pub(super) ticket: AgeTicket,
    origin: TxnOrigin,
    isolation: &'static str,
    pub(super) priority: i32,
    fate: AtomicU8,
    /// Which waiter it is, or zero (O1).
    waiting: AtomicU64,
    /// In which table, and at which place of it.
    waiting_at: AtomicU32,
    /// The thread that called it last.
    thread: AtomicU64,
    pub(super) write_count: AtomicU64,
    /// Where its thread sleeps.
    pub(super) wake: Condvar,
    wound: Mutex<Option<Box<DeadlockReport>>>,
}

const ACTIVE: u8 = 0;
const SEALED: u8 = 1;
const WOUNDED: u8 = 2;

impl Owner {
    pub(super) fn new(id: TxnId, ticket: AgeTicket, spec: &OwnerSpec) -> Owner {
        Owner {
            id,
            ticket,
            origin: spec.origin,
            isolation: spec.isolation,
            priority: spec.priority,
            fate: AtomicU8::new(ACTIVE),
            waiting: AtomicU64::new(0),
            waiting_at: AtomicU32::new(0),
            thread: AtomicU64::new(0),
            write_count: AtomicU64::new(0),
            wake: Condvar::new(),
            wound: Mutex::new(None),
        }
    }

    pub(super) fn info(&self, now: Duration) -> TxnInfo {
        TxnInfo {
            id: self.id,
            origin: self.origin,
            isolation: self.isolation,
            age: self.ticket.begun_at.map_or(Duration::ZERO, |begun_at| now.saturating_sub(begun_at)),
            ticket: self.ticket.number,
            attempt: self.ticket.attempt,
            priority: self.priority,
        }
    }

    /// SeqCst, here and in `waiting_in`: of two that begin to wait for each other in different tables, each stores its own word
    /// and then loads the other's, so at least one sees both.
    pub(super) fn begin_waiting(&self, id: WaiterId, table: usize, place: usize) {
        debug_assert!(self.waiting.load(Ordering::Relaxed) == 0, "O1: {} already waits", self.id);
        self.waiting_at.store((table << 24 | place) as u32, Ordering::SeqCst);
        self.waiting.store(id, Ordering::SeqCst);
    }

    pub(super) fn end_waiting(&self) {
        self.waiting.store(0, Ordering::SeqCst);
    }

    /// Table, place in it and number, while it waits.
    pub(super) fn waiting_in(&self) -> Option<(usize, usize, WaiterId)> {
        let id = self.waiting.load(Ordering::SeqCst);
        let at = self.waiting_at.load(Ordering::SeqCst) as usize;
        (id != 0).then_some((at >> 24, at & 0xff_ffff, id))
    }

    /// Notes which thread calls.
    #[inline]
    pub(super) fn note_thread(&self) {
        self.thread.store(thread::number(), Ordering::Relaxed);
    }

    /// Its end depends on no thread of the program any more.
    pub(super) fn forget_thread(&self) {
        self.thread.store(0, Ordering::Relaxed);
    }

    pub(super) fn was_last_called_here(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0 && thread == thread::number()
    }

    /// Says that nothing may stop it any more; `false`: it was wounded before.
    pub(super) fn seal(&self) -> bool {
        let before = self.fate.compare_exchange(ACTIVE, SEALED, Ordering::SeqCst, Ordering::SeqCst);
        before.is_ok() || before == Err(SEALED)
    }

    #[inline]
    pub(super) fn is_wounded(&self) -> bool {
        self.fate.load(Ordering::SeqCst) == WOUNDED
    }

    /// Decides that it must end (O2); `false` if it is sealed or wounded already.
    pub(super) fn wound(&self, report: &DeadlockReport) -> bool {
        let mut wound = self.wound.lock();
        let wounded = self.fate.compare_exchange(ACTIVE, WOUNDED, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if wounded {
            *wound = Some(Box::new(report.clone()));
        }
        wounded
    }

    pub(super) fn wound_report(&self) -> Option<Box<DeadlockReport>> {
        self.wound.lock().clone()
    }
}
