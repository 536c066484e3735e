//! Admission and apply: memory before a batch has a timestamp, and the way into the active buffer once it has one.
//!
//! No page is looked at: a put costs the same whatever lies under it.
//!
//! Y1  An admission holds as many bytes as the batch adds to a buffer, or more.
//! Y2  Nothing here waits for a row lock: whoever finds no room makes some itself, by eviction and by steps of the drain.
//! Y3  Writers are slowed down before they come here (`throttle.rs`). Who comes when no buffer is left all the same drains one: so buffers do
//!     not pile up, however many come together.

use duramen_base::memtable::{Memtable, bytes_to_admit};
use duramen_base::sync::{Arc, thread};
use duramen_base::{Admission, Deadline, Error, LoggedOps, OpsOfKeyspace, Reservation, Result, Timestamp};

use crate::store::Store;

/// Bytes that one step of relief may read and write.
const RELIEF_BYTES: u64 = 1 << 20;

impl Store {
    /// Sets memory aside for a batch, unless it can never fit (K7).
    pub(crate) fn admit(&self, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admission> {
        let commits = [(Timestamp::MAX, *ops)];
        let (needed, budget) = (bytes_to_admit(&commits), self.budget().limit());
        if needed > budget {
            return Err(Error::TxnTooLarge { needed, budget });
        }
        self.admit_any(&commits, deadline)
    }

    /// Sets memory aside for batches of any size (K7).
    pub(crate) fn admit_any(&self, commits: &[LoggedOps<'_>], deadline: Deadline) -> Result<Admission> {
        self.catch_up(); // Y3
        let reservation = self.reserve(bytes_to_admit(commits), deadline)?;
        Ok(Admission { reservation, token: None })
    }

    /// All or nothing. What other parts of the database hold is theirs to give back.
    fn reserve(&self, bytes: u64, deadline: Deadline) -> Result<Reservation> {
        let budget = self.budget();
        if let Some(reservation) = budget.try_reserve(bytes) {
            return Ok(reservation);
        }
        self.env.host.wake_upkeep();
        self.env.pool.give_back(bytes);
        loop {
            self.evict(bytes);
            if let Some(reservation) = budget.try_reserve(bytes) {
                return Ok(reservation);
            }
            // A checkpoint's sync is no step to wait for, or to be met with by a small commit: it goes on within the tolerance.
            if budget.tolerates(bytes) && self.is_at_checkpoint() {
                return Ok(budget.reserve_anyway(bytes));
            }
            let is_late = deadline.0.is_some_and(|deadline| self.env.clock.now() >= deadline);
            if is_late || !self.relieve(RELIEF_BYTES)? {
                // Whatever is left is not ours to free, or there is no time: going over is better than standing still (Y2).
                return Ok(budget.reserve_anyway(bytes));
            }
        }
    }

    /// Whether somebody is at work, or what comes next is a piece of a checkpoint.
    fn is_at_checkpoint(&self) -> bool {
        self.upkeep.try_lock().is_none_or(|up| up.run.is_some())
    }

    /// One step towards less memory; whether another might help. Waits for whoever is at work.
    pub(crate) fn relieve(&self, bytes: u64) -> Result<bool> {
        let mut up = self.upkeep.lock();
        up.check_not_failed()?;
        let helps = self.relief_step(&mut up, bytes)?;
        drop(up);
        if helps {
            thread::yield_now(); // an apply that keeps a buffer from coming to rest may be waiting for this core
        }
        Ok(helps)
    }

    /// Applies the operations of commits, oldest first (K2).
    pub(crate) fn apply(&self, admission: Admission, commits: &[LoggedOps<'_>]) {
        let buffer: Arc<Memtable> = self.buffers.apply(commits, admission.reservation, &*self.env.host);
        let is_full = buffer.bytes() >= self.buffer_bytes_max();
        if is_full && self.buffers.rotate_if(|active| Arc::ptr_eq(active, &buffer)) {
            self.env.host.wake_upkeep();
        }
        self.make_room();
    }
}
