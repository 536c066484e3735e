//! Reads with and without locks, and who waits for a lock: the calls of the engine that not every version offers.

use duramen::{Database, Error, Keyspace, Reader, Result, Transaction};

use crate::script::{Lock, Span};
use crate::session::{number_of, row_of};

const NOT_OFFERED: Error = Error::Unsupported { what: "reads that lock" };

/// The number at `key`.
pub(crate) fn get(tx: &Transaction, keyspace: &Keyspace, key: &str, lock: Lock) -> Result<Option<i64>> {
    match lock {
        Lock::None => Ok(tx.get(keyspace, key)?.map(|value| number_of(&value))),
        Lock::Share | Lock::Update => Err(NOT_OFFERED),
    }
}

/// The numbers in `range`.
pub(crate) fn scan(tx: &Transaction, keyspace: &Keyspace, range: &Span, lock: Lock) -> Result<Vec<(String, i64)>> {
    match lock {
        Lock::None => {
            let rows = tx.range(keyspace, range.low.as_str()..range.high.as_str())?;
            rows.map(|entry| Ok(row_of(&entry?))).collect()
        }
        Lock::Share | Lock::Update => Err(NOT_OFFERED),
    }
}

/// Labels of the transactions that wait for a lock somebody holds or asked for before them.
///
/// Engines without locks to wait for have none.
pub(crate) fn waiting(_db: &Database) -> Vec<&'static str> {
    Vec::new()
}
