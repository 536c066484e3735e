//! Admission: memory for a batch, before it has a timestamp.
//!
//! All or nothing. Who finds the budget used up asks the cache to give back, and then does upkeep with its own hands until there is room or
//! nothing more to flush: so a single thread never waits for itself. What is left over goes a bounded bit over the budget.
//!
//! V1  An admission holds as many bytes as the batch adds to a memtable, or more.

use std::sync::Arc;

use duramen_base::memtable::bytes_to_admit;
use duramen_base::{
    Admission, Admit, Deadline, Error, LoggedOps, OpsOfKeyspace, Reservation, Result, Timestamp, mutant,
};

use crate::store::Store;

/// Bytes flushed or merged between two looks at the budget.
const STEP_BYTES: u64 = 1 << 20;

/// Sets memory aside for `ops`, or says why not (K7).
pub(crate) fn admit(store: &Store, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admit> {
    let (needed, budget) = (bytes_to_admit(&[(Timestamp::MAX, *ops)]), store.env.host.budget());
    if needed > budget.limit() {
        return Err(Error::TxnTooLarge { needed, budget: budget.limit() });
    }
    if let Some(reservation) = reserve(store, needed, deadline)? {
        store.charge(needed);
        return Ok(Admit::Granted(Admission { reservation, token: None }));
    }
    if budget.used().saturating_add(needed) <= hard_limit(budget.limit()) {
        store.charge(needed);
        return Ok(Admit::Granted(over_budget(store, needed)));
    }
    if mutant!("lack_of_memory_is_final") {
        return Err(Error::TxnTooLarge { needed, budget: budget.limit() });
    }
    Ok(Admit::LacksMemory { needed })
}

/// Sets memory aside for `commits`, which were accepted once, over the budget if it must be.
pub(crate) fn admit_logged(store: &Store, commits: &[LoggedOps<'_>]) -> Result<Admission> {
    let needed = bytes_to_admit(commits);
    Ok(match reserve(store, needed, Deadline(None))? {
        Some(reservation) => Admission { reservation, token: None },
        None => over_budget(store, needed),
    })
}

/// Within the budget; `None` if there is not so much, or no more time to make room.
fn reserve(store: &Store, needed: u64, deadline: Deadline) -> Result<Option<Reservation>> {
    let budget = store.env.host.budget();
    if let Some(reservation) = budget.try_reserve(needed) {
        return Ok(Some(reservation));
    }
    store.env.host.wake_upkeep();
    store.env.pool.give_back(needed);
    loop {
        if let Some(reservation) = budget.try_reserve(needed) {
            return Ok(Some(reservation));
        }
        let is_late = deadline.0.is_some_and(|deadline| store.env.clock.now() >= deadline);
        if is_late || !store.relieve(STEP_BYTES)? {
            return Ok(None);
        }
    }
}

fn over_budget(store: &Store, needed: u64) -> Admission {
    Admission { reservation: Arc::clone(store.env.host.budget()).reserve_anyway(needed), token: None }
}

/// A quarter over the budget: room for the batches that are in flight when it runs out.
fn hard_limit(limit: u64) -> u64 {
    limit.saturating_add(limit / 4)
}
