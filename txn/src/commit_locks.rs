//! Commit-time locks: of the transactions that commit right now, no two write the same key.
//!
//! Exclusive locks on keys and key ranges, held from before validation until the commit is visible: hence the newest
//! version of a written key cannot change between the check and the write, and applies that touch one key reach its
//! store in commit order. Not the row lock manager: there are no modes, no upgrades, no detector, and no lock is
//! taken while a transaction still runs.
//!
//! C1  No two living [`LockSet`]s cover the same key.
//! C2  Each transaction asks once, for disjoint items in ascending (keyspace, key) order, and is granted them in that
//!     order.
//! C3  Whoever holds a [`LockSet`] never waits for somebody who waits here.
//!
//! # Why nothing deadlocks
//! A waits for B if (1) the item A asks for overlaps one that B holds, or (2) A holds nothing yet and gives way to B,
//! which arrived earlier (T3 of `table.rs`).
//!
//! Suppose a cycle, everybody in it waiting here (C3). Nobody waits by (1) for one who holds nothing, so who waits by
//! (2) is itself waited for by (2) only, by one that arrived later. Going round, either all edges are (2), each
//! leading to an earlier arrival, which cannot close; or all are (1). Then each member M asks for an item that begins
//! at `low(M)`, and all it holds ends at or before `low(M)` (C2; whole ranges count as well, since own items are
//! disjoint). If M waits for N, the item of M overlaps one held by N, so `low(M)` is before the end of that, hence
//! `low(M) < low(N)`. Round the cycle, `low(M) < low(M)`: there is none. Keyspaces count as the high digits of `low`.
//!
//! This is why a request that already holds something must not queue behind sleeping waiters: if A holds "b" and B
//! waits for ["a", "z"), then A, asking for "c" next, would wait for B, and B for A.
//!
//! Next: `item.rs` (what is locked), `table.rs` (who is granted, who is woken).

mod item;
mod table;

#[cfg(all(test, not(duramen_sim)))]
mod tests;

use std::fmt;
use std::time::Duration;

use duramen_base::clock::Clock;
use duramen_base::sync::{Arc, Condvar, Mutex, MutexGuard};
use duramen_base::{
    Deadline, Error, KeyspaceId, LockClaim, LockOp, LockStrength, LockTarget, LockWait, Result, Timestamp,
};

use crate::padded::Padded;
pub use item::{LockItem, LockKind};
use table::Table;

/// Keyspaces are spread over this many tables by their id. Two that share one share only its mutex, and nothing
/// remains of one dropped.
const TABLE_COUNT: usize = 32;

/// The locks of all commits under way.
///
/// ```
/// use duramen_base::clock::SystemClock;
/// use duramen_base::{Deadline, KeyspaceId, Timestamp};
/// use duramen_txn::{CommitLocks, Key, LockItem};
/// let (locks, clock) = (CommitLocks::new(), SystemClock::new());
/// let item = LockItem::key(KeyspaceId::new(1), Key::from(&b"k"[..]));
/// let held = locks.acquire(vec![item.clone()], Timestamp::ZERO, &clock, Deadline(None))?;
/// // Another commit that writes `k` waits; this one only until now.
/// let now = Deadline(Some(std::time::Duration::ZERO));
/// assert!(locks.acquire(vec![item.clone()], Timestamp::ZERO, &clock, now).is_err());
/// drop(held);
/// locks.acquire(vec![item], Timestamp::ZERO, &clock, now)?;
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct CommitLocks {
    tables: [Padded<Mutex<Table>>; TABLE_COUNT],
}

impl CommitLocks {
    /// Nothing is locked.
    pub fn new() -> Arc<CommitLocks> {
        Arc::new(CommitLocks { tables: std::array::from_fn(|_| Padded::default()) })
    }

    /// Takes all of `items` (from [`crate::WriteSet::lock_items`]), waiting for other commits where it must, at most
    /// until `deadline`.
    ///
    /// # Errors
    /// [`Error::LockTimeout`], naming the item that did not come; nothing is locked.
    ///
    /// # Panics
    /// If the items overlap or do not ascend (C2): going on could deadlock.
    pub fn acquire(
        self: &Arc<Self>,
        items: Vec<LockItem>,
        _snapshot_ts: Timestamp,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Result<LockSet> {
        assert!(items.windows(2).all(|pair| pair[0].is_before(&pair[1])), "C2: locks are taken in one order");
        let mut set = LockSet { locks: Arc::clone(self), items, granted_count: 0 };
        while let Some(next) = set.items.get(set.granted_count) {
            let table_index = table_index(next.keyspace());
            let mut table = self.tables[table_index].lock();
            // One visit for all that lie in this table.
            while let Some(item) = set.items.get(set.granted_count)
                && self::table_index(item.keyspace()) == table_index
            {
                let holds_nothing = set.granted_count == 0;
                if !table.try_grant(item, holds_nothing)
                    && !wait_for_grant(&mut table, item, holds_nothing, clock, deadline)
                {
                    let error = timeout_of(item);
                    drop(table);
                    return Err(error); // Dropping the set gives back what was granted.
                }
                set.granted_count += 1;
            }
        }
        Ok(set)
    }

    /// How many items are held, and how many requests wait, at about the same moment.
    pub fn counts(&self) -> (usize, usize) {
        self.tables.iter().map(|table| table.lock().counts()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

impl fmt::Debug for CommitLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, waiting) = self.counts();
        f.debug_struct("CommitLocks").field("held", &held).field("waiting", &waiting).finish()
    }
}

fn table_index(keyspace: KeyspaceId) -> usize {
    keyspace.get() as usize % TABLE_COUNT
}

/// Queues up and sleeps until granted; `false` once the deadline has passed.
fn wait_for_grant(
    table: &mut MutexGuard<'_, Table>,
    item: &LockItem,
    holds_nothing: bool,
    clock: &dyn Clock,
    deadline: Deadline,
) -> bool {
    let (id, wake) = table.enqueue(item.clone(), holds_nothing);
    loop {
        let may_sleep = sleep(&wake, table, clock, deadline);
        if table.try_grant_waiter(id) {
            return true;
        }
        if !may_sleep {
            table.leave(id);
            return false;
        }
    }
}

/// Sleeps until woken or until the deadline; `false` if that has passed already.
fn sleep(wake: &Condvar, table: &mut MutexGuard<'_, Table>, clock: &dyn Clock, deadline: Deadline) -> bool {
    let Some(deadline) = deadline.0 else {
        wake.wait(table);
        return true;
    };
    // The clock decides, not the result of the wait: it may wake early, or be simulated.
    let left = deadline.saturating_sub(clock.now());
    if !left.is_zero() {
        wake.wait_for(table, left);
    }
    !left.is_zero()
}

fn timeout_of(item: &LockItem) -> Error {
    let low = item.low().to_vec();
    let target = match item.kind() {
        LockKind::Key => LockTarget::Key(low),
        LockKind::Range { high } => LockTarget::Range { low, high: high.as_deref().map(<[u8]>::to_vec) },
    };
    let wanted = LockClaim {
        keyspace: item.keyspace(),
        keyspace_name: None,
        target,
        strength: LockStrength::Exclusive,
        op: LockOp::Commit,
    };
    Error::LockTimeout(Box::new(LockWait { wanted, waited: Duration::ZERO, blockers: Vec::new(), same_thread: false }))
}

/// The locks of one commit. Dropping it releases them and wakes who waits for them: once the commit is visible, or
/// given up.
///
/// ```
/// use duramen_base::clock::SystemClock;
/// use duramen_base::{Deadline, KeyspaceId, Timestamp, Value};
/// use duramen_txn::{CommitLocks, WriteSet};
/// let locks = CommitLocks::new();
/// let mut writes = WriteSet::new();
/// writes.put(KeyspaceId::new(1), b"k", Value::from(&b"v"[..]));
/// let set = locks.acquire(writes.lock_items(), Timestamp::ZERO, &SystemClock::new(), Deadline(None))?;
/// assert_eq!((set.items().len(), locks.counts()), (1, (1, 0)));
/// drop(set); // the commit is visible
/// assert_eq!(locks.counts(), (0, 0));
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Debug)]
pub struct LockSet {
    locks: Arc<CommitLocks>,
    items: Vec<LockItem>,
    granted_count: usize,
}

impl LockSet {
    /// What is locked, ascending.
    pub fn items(&self) -> &[LockItem] {
        &self.items[..self.granted_count]
    }
}

impl Drop for LockSet {
    fn drop(&mut self) {
        let same_table = |one: &LockItem, next: &LockItem| table_index(one.keyspace()) == table_index(next.keyspace());
        for items in self.items().chunk_by(same_table) {
            self.locks.tables[table_index(items[0].keyspace())].lock().release(items);
        }
    }
}
