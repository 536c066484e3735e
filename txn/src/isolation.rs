//! Isolation levels as data: what a level asks of reads, locks and commit, for the engine to execute.
//!
//! A plan decides nothing by itself and holds no state. What is not offered is refused by name, never silently
//! replaced by another level. This version offers one combination, optimistic `Snapshot`; each further one is a
//! further plan here, and a step the engine knows how to execute.
//!
//! I1  The levels have no order. `RepeatableRead` forbids write skew and lets phantoms in, `Snapshot` the reverse.

use duramen_base::{Error, Result};

/// What a transaction is promised about the others that run beside it.
///
/// ```
/// use duramen_txn::IsolationLevel;
/// assert_eq!(IsolationLevel::Snapshot.to_string(), "Snapshot");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IsolationLevel {
    /// Sees writes that are not committed (PL-1).
    ReadUncommitted,
    /// Each statement sees what was committed when it began (PL-2).
    ReadCommitted,
    /// What was read stays as it was; new keys may appear in a range (PL-2.99). Not what some databases call by this
    /// name.
    RepeatableRead,
    /// All reads see one moment, and no two that overlap in time write the same key. Write skew is possible (PL-SI).
    Snapshot,
    /// As if one transaction ran after the other, in an order that agrees with real time (PL-3, strict).
    Serializable,
}

impl std::fmt::Display for IsolationLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IsolationLevel::ReadUncommitted => "ReadUncommitted",
            IsolationLevel::ReadCommitted => "ReadCommitted",
            IsolationLevel::RepeatableRead => "RepeatableRead",
            IsolationLevel::Snapshot => "Snapshot",
            IsolationLevel::Serializable => "Serializable",
        })
    }
}

/// Whether conflicts are waited for or found at commit.
///
/// ```
/// use duramen_txn::Concurrency;
/// assert_eq!(Concurrency::default(), Concurrency::Optimistic);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Concurrency {
    /// No lock while the transaction runs; a conflict is found at commit, and the loser runs again.
    #[default]
    Optimistic,
    /// A lock at each write; who comes second waits.
    Pessimistic,
}

/// Where reads read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadPoint {
    /// At one snapshot, taken at `visible` by the first read and kept to the end.
    Snapshot,
}

/// When written keys and ranges are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteLocks {
    /// All at commit, in one order, before validation; they fall when the commit is visible.
    AtCommit,
}

/// What must be unchanged since the snapshot when the transaction commits, under its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validate {
    /// Every key and range written. A transaction that read nothing has no snapshot, and nothing to validate.
    Writes,
}

/// What the engine does for a transaction of some level. From [`plan`].
///
/// ```
/// use duramen_txn::{Concurrency, IsolationLevel, ReadPoint, WriteLocks, plan};
/// let snapshot = plan(IsolationLevel::Snapshot, Concurrency::Optimistic)?;
/// match snapshot.read_point {
///     ReadPoint::Snapshot => {} // register at `visible` before the first read
/// }
/// assert_eq!(snapshot.write_locks, WriteLocks::AtCommit);
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Where reads read.
    pub read_point: ReadPoint,
    /// When writes lock.
    pub write_locks: WriteLocks,
    /// What commit validates.
    pub validate: Validate,
}

/// The plan of `level` with `concurrency`.
///
/// # Errors
/// [`Error::Unsupported`], naming the combination, if it is not offered.
///
/// ```
/// use duramen_txn::{Concurrency, IsolationLevel, Validate, plan};
/// let snapshot = plan(IsolationLevel::Snapshot, Concurrency::Optimistic)?;
/// assert_eq!(snapshot.validate, Validate::Writes);
/// assert!(plan(IsolationLevel::Serializable, Concurrency::Optimistic).is_err());
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub fn plan(level: IsolationLevel, concurrency: Concurrency) -> Result<Plan> {
    use {Concurrency as C, IsolationLevel as L};
    let what = match (level, concurrency) {
        (L::Snapshot, C::Optimistic) => {
            return Ok(Plan {
                read_point: ReadPoint::Snapshot,
                write_locks: WriteLocks::AtCommit,
                validate: Validate::Writes,
            });
        }
        (L::Snapshot, C::Pessimistic) => "isolation level Snapshot, pessimistic",
        (L::ReadUncommitted, C::Optimistic) => "isolation level ReadUncommitted, optimistic",
        (L::ReadUncommitted, C::Pessimistic) => "isolation level ReadUncommitted, pessimistic",
        (L::ReadCommitted, C::Optimistic) => "isolation level ReadCommitted, optimistic",
        (L::ReadCommitted, C::Pessimistic) => "isolation level ReadCommitted, pessimistic",
        (L::RepeatableRead, C::Optimistic) => "isolation level RepeatableRead, optimistic",
        (L::RepeatableRead, C::Pessimistic) => "isolation level RepeatableRead, pessimistic",
        (L::Serializable, C::Optimistic) => "isolation level Serializable, optimistic",
        (L::Serializable, C::Pessimistic) => "isolation level Serializable, pessimistic",
    };
    Err(Error::Unsupported { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        use IsolationLevel::*;
        for level in [ReadUncommitted, ReadCommitted, RepeatableRead, Snapshot, Serializable] {
            for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
                let name = format!("{level}, {}", format!("{concurrency:?}").to_lowercase());
                match plan(level, concurrency) {
                    Ok(_) => assert_eq!(name, "Snapshot, optimistic"),
                    Err(Error::Unsupported { what }) => assert!(what.ends_with(&name), "{what} for {name}"),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}
