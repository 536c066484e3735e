//! Transactions in memory: which snapshot reads, what was written, who commits first.
//!
//! Pure memory: no file, no backend, no log. It answers with facts and plans; the engine executes them against the
//! log and the stores. First version: horizons, snapshot registration, the write set with savepoints, the plain table
//! of commit-time locks, and the plan of optimistic snapshot isolation.
//!
//! Where to start: `horizons.rs` (three timestamps), `snapshots.rs` (who reads where), `write_set.rs` (what a
//! transaction did), `commit_locks.rs` (one order, so no deadlock), `isolation.rs` (levels as data).
#![forbid(unsafe_code)]

pub mod commit_locks;
pub mod horizons;
pub mod isolation;
mod key;
mod padded;
#[cfg(test)]
mod prune_rule;
#[cfg(test)]
mod schedules;
pub mod snapshots;
pub mod write_set;

pub use commit_locks::{CommitLocks, LockItem, LockKind, LockSet};
pub use horizons::Horizons;
pub use isolation::{Concurrency, IsolationLevel, Plan, ReadPoint, Validate, WriteLocks, plan};
pub use key::Key;
pub use snapshots::{Registration, Snapshots};
pub use write_set::{Own, Savepoint, WriteSet, WriteView};
