//! Reads with and without locks, and who waits for a lock: the calls of the engine that not every version offers.

use duramen::{Database, Keyspace, Reader, Result, Transaction, TxnId, TxnInfo, Value};

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

/// Labels of the transactions that wait for one that holds a lock or asked for it before them.
///
/// One who waits for nobody is about to go on, and a circle is about to be broken: neither is at rest. So nobody is, while there is a circle.
pub(crate) fn waiting(db: &Database) -> Vec<&'static str> {
    let graph = db.wait_graph();
    let mut left: Vec<(TxnId, TxnId)> = graph.arrows.iter().map(|arrow| (arrow.from, arrow.to)).collect();
    // Whoever waits only for those who do not wait is in no circle; take these away until nothing changes.
    while let Some(free) = left.iter().map(|arrow| arrow.1).find(|to| left.iter().all(|arrow| arrow.0 != *to)) {
        left.retain(|arrow| arrow.1 != free);
    }
    if !left.is_empty() {
        return Vec::new();
    }
    let waits = |txn: &&TxnInfo| graph.arrows.iter().any(|arrow| arrow.from == txn.id);
    graph.txns.iter().filter(waits).filter_map(|txn| txn.origin.label).collect()
}
