//! The shared words of Duramen: what two crates that may not see each other both need.
//!
//! Ids, values, errors, the operation batch, `trait Backend` and its cursor, what a store may ask of its host,
//! the pruning rule, the memtable, the memory budget, the page image, framed files and the seams to the outside
//! (files, clock, threads, locks). It knows nothing about trees, logs or transactions.
//!
//! Users of the engine want the crate `duramen`; it re-exports what they need from here.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod arena;
pub mod backend;
pub mod batch;
pub mod bounds;
pub mod budget;
pub mod clock;
pub mod compaction;
pub mod conflict;
pub mod deadlock;
pub mod error;
pub mod executor;
pub mod framed;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
#[cfg(any(test, feature = "testing"))]
pub mod golden;
pub mod host;
pub mod ids;
pub mod image;
pub mod ingest;
pub mod key_hash;
pub mod locks;
pub mod memtable;
#[cfg(any(test, feature = "testing"))]
pub mod model;
pub mod mutant;
pub mod options;
pub mod pool;
#[allow(unsafe_code)]
mod prefetch;
pub mod pruner;
pub mod salvage;
pub mod stall;
#[cfg(any(test, feature = "testing"))]
pub mod store_schedules;
pub mod sync;
pub mod value;
pub mod values;
pub mod varint;
pub mod vfs;

pub use backend::{
    Admission, Admit, Backend, BackendCursor, Deadline, Found, Hit, LevelStats, LoadTicket, LoggedOps, Pin, Problem,
    ScanOpts, StoreEnv, StoreMark, StoreStats, Urgency, ValueRef, VerifyLevel, VerifyReport, WorkBudget, WorkDone,
};
pub use batch::{Batch, BatchView, Op, OpKind, OpsOfKeyspace};
pub use bounds::KeyBounds;
pub use budget::{Budget, Reservation};
pub use compaction::CompactionStats;
pub use conflict::{ConflictInfo, ConflictPlace, SsiParty, SsiReport, TxnOrigin};
pub use deadlock::{DeadlockMember, DeadlockReason, DeadlockReport, VictimPolicy};
pub use error::{Error, IoOp, Result};
pub use host::{SnapSet, StoreHost};
pub use ids::{DbUuid, KeyspaceId, Lsn, Timestamp};
pub use ingest::{BuiltIngest, IngestRecord, SortedSource};
pub use locks::{
    KeyspaceLockMode, LockBlocker, LockClaim, LockMode, LockOp, LockStrength, LockTarget, LockWait, TxnId, TxnInfo,
};
pub use options::{BackendKind, Compression, KeyspaceOptions};
pub use pruner::Pruner;
pub use stall::{StallCause, StallTimes};
pub use value::Value;
