//! Reads with and without locks, and who waits for a lock: the calls of the engine that not every version offers.

use duramen::{Database, Keyspace, Reader, Result, Transaction, Value};

use crate::script::{Lock, Span};
use crate::session::{number_of, row_of};

/// The number at `key`.
pub(crate) fn get(tx: &Transaction, keyspace: &Keyspace, key: &str, lock: Lock) -> Result<Option<i64>> {
    Ok(get_bytes(tx, keyspace, key, lock)?.map(|value| number_of(&value)))
}

/// The value at `key`.
pub(crate) fn get_bytes(tx: &Transaction, keyspace: &Keyspace, key: &str, lock: Lock) -> Result<Option<Value>> {
    match lock {
        Lock::None => tx.get(keyspace, key),
        Lock::Share => tx.get_for_share(keyspace, key),
        Lock::Update => tx.get_for_update(keyspace, key),
    }
}

/// The numbers in `range`.
pub(crate) fn scan(tx: &Transaction, keyspace: &Keyspace, range: &Span, lock: Lock) -> Result<Vec<(String, i64)>> {
    let bounds = range.low.as_str()..range.high.as_str();
    let rows = match lock {
        Lock::None => tx.range(keyspace, bounds)?,
        Lock::Share => tx.range_for_share(keyspace, bounds)?,
        Lock::Update => tx.range_for_update(keyspace, bounds)?,
    };
    rows.map(|entry| Ok(row_of(&entry?))).collect()
}

/// Labels of the transactions that wait for a lock somebody holds or asked for before them. Whom nobody is in the way of any more has been
/// woken, and goes on as soon as its thread runs.
pub(crate) fn waiting(db: &Database) -> Vec<&'static str> {
    let blocked = db.lock_waits().into_iter().filter(|waiter| !waiter.wait.blockers.is_empty());
    blocked.filter_map(|waiter| waiter.txn.origin.label).collect()
}
