//! The row locks of one pessimistic transaction, shared with its iterators.
//!
//! Thin: which lock is taken when, the transaction and its iterators say; who gets it, the lock manager. A transaction that lost a lock it
//! waited for, or was given up, has ended: everything it held falls at once, not when the program notices.
//!
//! K1  Once `owner` is gone, so is the transaction: nothing is locked, read or written for it any more.

use std::time::Duration;

use duramen_base::error::ErrorGroup;
use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex};
use duramen_base::{Error, KeyspaceId, KeyspaceLockMode, LockMode, LockOp, Result, Timestamp};
use duramen_txn::{AgeTicket, Grant, LockManager, LockMark, LockOwner, OwnerSpec, Wait};

pub(crate) struct RowLocks {
    /// Held while a lock is waited for: one call at a time locks for a transaction.
    owner: Mutex<Option<LockOwner>>,
    timeout: Duration,
    age: AgeTicket,
    /// The newest moment that a statement under locks read at.
    newest_read: AtomicU64,
}

/// What is to be locked in a keyspace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Key(&'a [u8]),
    /// From the first to the second, exclusively; `None`: to the end of the keyspace.
    Range(&'a [u8], Option<&'a [u8]>),
    Keyspace,
}

impl RowLocks {
    pub(crate) fn new(manager: &Arc<LockManager>, spec: OwnerSpec, timeout: Duration) -> Arc<RowLocks> {
        let owner = manager.owner(spec);
        let age = owner.age();
        Arc::new(RowLocks { owner: Mutex::new(Some(owner)), timeout, age, newest_read: AtomicU64::new(0) })
    }

    /// Its age, for the next attempt.
    pub(crate) fn age(&self) -> AgeTicket {
        self.age
    }

    /// Waits for a lock, as long as the transaction may.
    pub(crate) fn wait(&self) -> Wait {
        Wait::For(self.timeout)
    }

    /// Locks `target`. An error that ends the transaction lets all its locks fall (K1).
    pub(crate) fn lock(
        &self,
        keyspace: KeyspaceId,
        target: Target<'_>,
        mode: LockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Grant> {
        let mut guard = self.owner.lock();
        let owner = guard.as_mut().ok_or(Error::TxnAborted)?;
        owner.note_call();
        let outcome = match target {
            Target::Key(key) => owner.lock_key(keyspace, key, mode, op, wait),
            Target::Range(low, high) => owner.lock_range(keyspace, low, high, mode, op, wait),
            Target::Keyspace => {
                let mode = match mode {
                    LockMode::Shared => KeyspaceLockMode::Shared,
                    LockMode::Update | LockMode::Exclusive => KeyspaceLockMode::Exclusive,
                };
                owner.lock_keyspace(keyspace, mode, op, wait)
            }
        };
        if outcome.as_ref().is_err_and(|error| error.group() != ErrorGroup::CorrectTheCall) {
            *guard = None;
        }
        outcome
    }

    /// Whether anything is locked.
    pub(crate) fn hold_any(&self) -> bool {
        self.owner.lock().as_ref().is_some_and(|owner| owner.lock_count() > 0)
    }

    /// As [`LockOwner::has_looked_at`].
    pub(crate) fn have_looked_at(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        self.owner.lock().as_ref().is_some_and(|owner| owner.has_looked_at(keyspace, key))
    }

    /// Whether the transaction has ended.
    pub(crate) fn have_ended(&self) -> bool {
        self.owner.lock().is_none()
    }

    /// Ends the transaction: everything falls.
    pub(crate) fn end(&self) {
        *self.owner.lock() = None;
    }

    /// Hands the locks to the commit (K1).
    pub(crate) fn take(&self) -> Result<LockOwner> {
        self.owner.lock().take().ok_or(Error::TxnAborted)
    }

    /// The calling thread goes on with the transaction, which has written so much.
    pub(crate) fn note_writes(&self, count: usize) {
        if let Some(owner) = &*self.owner.lock() {
            owner.note_writes(count as u64);
        }
    }

    /// This point, for a savepoint.
    pub(crate) fn mark(&self) -> Option<LockMark> {
        self.owner.lock().as_ref().map(LockOwner::mark)
    }

    /// Gives back what was locked since by writes that returned nothing.
    pub(crate) fn rollback_to(&self, mark: LockMark) {
        if let Some(owner) = &mut *self.owner.lock() {
            owner.rollback_to(mark);
        }
    }

    /// A statement reads at `ts`.
    pub(crate) fn note_read(&self, ts: Timestamp) {
        // Relaxed: read by the end of the transaction, which comes after its statements by whatever hands it from thread to thread.
        self.newest_read.fetch_max(ts.get(), Ordering::Relaxed);
    }

    /// The newest ts noted.
    pub(crate) fn newest_read(&self) -> Timestamp {
        Timestamp::new(self.newest_read.load(Ordering::Relaxed))
    }
}
