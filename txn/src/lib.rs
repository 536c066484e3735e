//! Transactions in memory: which snapshot reads, what was written, who commits first.
//!
//! Pure memory: no file, no backend, no log. It answers with facts and plans; the engine executes them against the
//! log and the stores.
//!
//! Where to start: `isolation.rs` (levels as data), `horizons.rs` (three timestamps), `snapshots.rs` (who reads where),
//! `write_set.rs` and `read_set.rs` (what a transaction did), `locks.rs` (any order, and
//! circles are ended), `lock_item.rs` (what a commit locks), `ssi.rs` (who may not commit if all are to be serializable).
#![forbid(unsafe_code)]

pub mod dirty_board;
pub mod footprint;
pub mod horizons;
pub mod isolation;
mod key;
mod key_hash;
pub mod lock_item;
pub mod locks;
#[cfg(test)]
mod prune_rule;
pub mod read_set;
#[cfg(test)]
mod schedules;
pub mod snapshots;
pub mod ssi;
mod wait_graph;
pub mod write_set;

pub use dirty_board::{DirtyBoard, Pending, PendingOp, Posted};
pub use footprint::{Footprint, KeyRange};
pub use horizons::Horizons;
pub use isolation::{
    Concurrency, IsolationLevel, Plan, ReadLocks, ReadPoint, Serial, TrackReads, Validate, WriteLocks, plan,
};
pub use key::Key;
pub use lock_item::{LockItem, LockKind};
pub use locks::{
    AgeTicket, DeadlockCallback, DeadlockHandling, Grant, HeldLock, HeldLocks, KeyspaceNames, LockManager, LockMark,
    LockOptions, LockOwner, LockStats, LockWaiter, OwnerSpec, Wait, WaitArrow, WaitGraph,
};
pub use read_set::{LockedReads, ReadSet, Scan, commit_lock_items};
pub use snapshots::{ReaderHandle, ReaderInfo, Registration, Snapshots};
pub use ssi::{Claim, Ssi};
pub use write_set::{Own, Savepoint, WriteSet, WriteView};
