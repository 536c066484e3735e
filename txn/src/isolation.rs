//! Isolation levels as data: what a level asks of reads, locks and commit, for the engine to execute.
//!
//! A plan decides nothing by itself and holds no state.
//!
//! | level | reads (optimistic) | validated at commit | reads (pessimistic) |
//! |---|---|---|---|
//! | ReadUncommitted | newest, pending writes included | nothing | the same |
//! | ReadCommitted | each statement at a snapshot of its own | nothing | the same |
//! | RepeatableRead | one snapshot, keys recorded | written and read keys | the present, each key locked |
//! | Snapshot | one snapshot | written keys | one snapshot, writes checked when they are locked |
//! | Serializable | one snapshot, keys and ranges recorded | written keys, and the rule of `ssi.rs` | the present, keys and ranges locked |
//!
//! I1  The levels have no order. `RepeatableRead` forbids write skew and lets phantoms in, `Snapshot` the reverse.

/// What a transaction is promised about the others that run beside it.
///
/// ```
/// use duramen_txn::IsolationLevel;
/// assert_eq!(IsolationLevel::Snapshot.to_string(), "Snapshot");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IsolationLevel {
    /// Sees writes that are not committed (PL-1). Only in a database opened with `dirty_reads(true)`.
    ReadUncommitted,
    /// Each statement sees what was committed when it began, whole transactions only (PL-2, monotonic atomic view).
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

impl std::fmt::Display for Concurrency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Concurrency::Optimistic => "optimistic",
            Concurrency::Pessimistic => "pessimistic",
        })
    }
}

/// Where reads read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadPoint {
    /// At one snapshot, taken at `visible` by the first read and kept to the end.
    Snapshot,
    /// Each statement (a get, a whole scan) at `visible` as it is when the statement begins.
    Statement,
    /// As `Statement`, with the pending writes of others on top: what the dirty board says is newest.
    Pending,
    /// The present: under a lock, at `visible` as it is once the lock is granted.
    Locked,
}

/// What a plain read locks, to the end of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadLocks {
    /// Nothing.
    None,
    /// Each key read or returned by a scan, shared; absent ones too.
    Keys,
    /// Each key read, and every range scanned, shared.
    KeysAndRanges,
}

/// When written keys and ranges are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteLocks {
    /// All at commit, in one order, before validation; they fall when the commit is visible.
    AtCommit,
    /// Each as it is written; they fall when the commit is visible.
    AtWrite,
}

/// What must be unchanged since the snapshot when the transaction commits, under its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validate {
    /// Nothing but what was read by locking reads.
    Nothing,
    /// Every key and range written. A transaction that read nothing has no snapshot, and nothing to validate.
    Writes,
    /// Every key read as well, locked shared for it, if the transaction wrote anything.
    WritesAndReadKeys,
}

/// What is remembered of plain reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackReads {
    /// Nothing.
    No,
    /// Keys read and keys returned by scans, absent ones read by name too.
    Keys,
    /// Keys, and the intervals that scans have walked.
    KeysAndRanges,
}

/// What the transaction has to do with the tables of `ssi.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Serial {
    /// Nothing: it is not serializable.
    No,
    /// Its commit is checked against them, and entered.
    Checked,
    /// Its locks make its own commit safe; it is entered for those that are checked.
    Entered,
}

/// What the engine does for a transaction of some level. From [`plan`].
///
/// ```
/// use duramen_txn::{Concurrency, IsolationLevel, ReadPoint, WriteLocks, plan};
/// let snapshot = plan(IsolationLevel::Snapshot, Concurrency::Optimistic);
/// assert_eq!(snapshot.read_point, ReadPoint::Snapshot); // register at `visible` before the first read
/// assert_eq!(snapshot.write_locks, WriteLocks::AtCommit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Where reads read.
    pub read_point: ReadPoint,
    /// What reads lock.
    pub read_locks: ReadLocks,
    /// When writes lock.
    pub write_locks: WriteLocks,
    /// What commit validates.
    pub validate: Validate,
    /// What is remembered of reads.
    pub track_reads: TrackReads,
    /// Whether the serializable transactions must know of it.
    pub serial: Serial,
}

/// The plan of `level` with `concurrency`. Every combination is offered, `ReadUncommitted` only where there is a board.
///
/// ```
/// use duramen_txn::{Concurrency, IsolationLevel, ReadPoint, Serial, Validate, plan};
/// let checked = plan(IsolationLevel::Serializable, Concurrency::Optimistic);
/// assert_eq!((checked.validate, checked.serial), (Validate::Writes, Serial::Checked));
/// let locked = plan(IsolationLevel::Serializable, Concurrency::Pessimistic);
/// assert_eq!((locked.read_point, locked.serial), (ReadPoint::Locked, Serial::Entered));
/// ```
pub fn plan(level: IsolationLevel, concurrency: Concurrency) -> Plan {
    match concurrency {
        Concurrency::Optimistic => optimistic(level),
        Concurrency::Pessimistic => pessimistic(level),
    }
}

fn pessimistic(level: IsolationLevel) -> Plan {
    let plan = Plan { write_locks: WriteLocks::AtWrite, ..optimistic(level) };
    let locked = Plan { read_point: ReadPoint::Locked, validate: Validate::Nothing, ..plan };
    match level {
        IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted | IsolationLevel::Snapshot => plan,
        IsolationLevel::RepeatableRead => Plan { read_locks: ReadLocks::Keys, track_reads: TrackReads::No, ..locked },
        IsolationLevel::Serializable => {
            Plan { read_locks: ReadLocks::KeysAndRanges, serial: Serial::Entered, ..locked }
        }
    }
}

fn optimistic(level: IsolationLevel) -> Plan {
    let snapshot = Plan {
        read_point: ReadPoint::Snapshot,
        read_locks: ReadLocks::None,
        write_locks: WriteLocks::AtCommit,
        validate: Validate::Writes,
        track_reads: TrackReads::No,
        serial: Serial::No,
    };
    match level {
        IsolationLevel::ReadUncommitted => {
            Plan { read_point: ReadPoint::Pending, validate: Validate::Nothing, ..snapshot }
        }
        IsolationLevel::ReadCommitted => {
            Plan { read_point: ReadPoint::Statement, validate: Validate::Nothing, ..snapshot }
        }
        IsolationLevel::RepeatableRead => {
            Plan { validate: Validate::WritesAndReadKeys, track_reads: TrackReads::Keys, ..snapshot }
        }
        IsolationLevel::Snapshot => snapshot,
        IsolationLevel::Serializable => {
            Plan { track_reads: TrackReads::KeysAndRanges, serial: Serial::Checked, ..snapshot }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_validated_against_a_snapshot_reads_at_one() {
        use IsolationLevel::*;
        for level in [ReadUncommitted, ReadCommitted, RepeatableRead, Snapshot, Serializable] {
            for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
                let plan = plan(level, concurrency);
                assert_eq!(plan.validate != Validate::Nothing, plan.read_point == ReadPoint::Snapshot, "{level}");
                assert_eq!(plan.serial != Serial::No, plan.track_reads == TrackReads::KeysAndRanges, "{level}");
                assert_eq!(plan.read_locks != ReadLocks::None, plan.read_point == ReadPoint::Locked, "{level}");
                assert!(plan.read_locks == ReadLocks::None || plan.write_locks == WriteLocks::AtWrite, "{level}");
            }
        }
    }
}
