//! Admission: memory for a batch, before it has a timestamp.
//!
//! All or nothing. Who finds the budget used up asks the cache to give back, and then flushes with its own hands until there is room or
//! nothing more to flush: so a single thread never waits for itself. What is left over goes a bounded bit over the budget.
//!
//! V1  An admission holds as many bytes as the batch adds to a memtable, or more.

use std::sync::Arc;

use duramen_base::{Admission, Deadline, Error, OpsOfKeyspace, Reservation, Result};

use crate::store::Store;
use duramen_base::memtable::OP_OVERHEAD_BYTES;

/// Bytes flushed between two looks at the budget.
const STEP_BYTES: u64 = 1 << 20;
/// Allocation headers of key and value, and a version pushed aside.
const OP_ALLOCATION_BYTES: u64 = 96;

/// Sets memory aside for `ops`.
pub(crate) fn admit(store: &Store, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admission> {
    let needed = ops.encoded_bytes() as u64 + ops.len() as u64 * (OP_OVERHEAD_BYTES + OP_ALLOCATION_BYTES);
    let reservation = reserve(store, needed, deadline)?;
    Ok(Admission { reservation, token: None })
}

fn reserve(store: &Store, needed: u64, deadline: Deadline) -> Result<Reservation> {
    let budget = store.env.host.budget();
    if needed > budget.limit() {
        return Err(Error::TxnTooLarge { needed, budget: budget.limit() });
    }
    if let Some(reservation) = budget.try_reserve(needed) {
        return Ok(reservation);
    }
    store.env.host.wake_upkeep();
    store.env.pool.give_back(needed);
    loop {
        if let Some(reservation) = budget.try_reserve(needed) {
            return Ok(reservation);
        }
        let is_late = deadline.0.is_some_and(|deadline| store.env.clock.now() >= deadline);
        if is_late || !store.relieve(STEP_BYTES)? {
            break;
        }
    }
    if budget.used().saturating_add(needed) <= hard_limit(budget.limit()) {
        return Ok(Arc::clone(budget).reserve_anyway(needed));
    }
    Err(Error::TxnTooLarge { needed, budget: budget.limit() })
}

/// A quarter over the budget: room for the batches that are in flight when it runs out.
fn hard_limit(limit: u64) -> u64 {
    limit.saturating_add(limit / 4)
}
