//! Duramen: an embedded transactional storage engine. B-tree and LSM keyspaces under one log and one transaction core.
//!
//! ```
//! use duramen::{BackendKind, Database, Reader};
//!
//! let db = Database::in_memory()?;
//! let accounts = db.keyspace("accounts", BackendKind::BTree)?;
//! let journal = db.keyspace("journal", BackendKind::Lsm)?;
//!
//! // One transaction, two stores: both writes become visible and durable together.
//! db.update(|tx| {
//!     tx.put(&accounts, "alice", "50")?;
//!     tx.put(&journal, "0001", "opened alice with 50")
//! })?;
//!
//! let snapshot = db.snapshot()?;
//! assert_eq!(snapshot.get(&accounts, "alice")?.as_deref(), Some(&b"50"[..]));
//! # Ok::<(), duramen::Error>(())
//! ```
//!
//! Start with [`Database`]; [`Transaction`] writes, [`Snapshot`] reads, [`Reader`] is what both can do.
//!
//! # The code
//! This crate puts the parts together and knows the layout of none: `open.rs` and `recovery.rs` (opening), `catalog.rs` and `keyspaces.rs` (what
//! there is), `commit.rs` (the order of commits), `ingest.rs` (commits whose content is built
//! in files), `transaction.rs`, `snapshot.rs`, `reader.rs` and `iter.rs` (reading), `host.rs` (what stores may ask),
//! `upkeep.rs` (background work), `watch.rs` (readers that grow too old).
#![forbid(unsafe_code)]

mod any_backend;
mod catalog;
mod commit;
mod compaction;
mod core;
mod database;
#[cfg(feature = "testing")]
pub mod fuzz;
mod host;
mod ingest;
mod iter;
mod keyspace;
mod keyspaces;
mod observer;
mod open;
mod options;
mod reader;
mod recovery;
mod row_locks;
mod salvage;
mod snapshot;
mod stats;
mod throttle;
mod transaction;
mod upkeep;
mod watch;

pub use commit::{CommitHandle, CommitInfo};
pub use compaction::{Compaction, CompactionPause};
pub use database::Database;
pub use duramen_base::error::ErrorGroup;
pub use duramen_base::salvage::Loss;
pub use duramen_base::{
    BackendKind, CompactionStats, Compression, ConflictInfo, ConflictPlace, DbUuid, DeadlockMember, DeadlockReason,
    DeadlockReport, Error, IoOp, KeyspaceId, KeyspaceOptions, LevelStats, LockBlocker, LockClaim, LockMode, LockOp,
    LockStrength, LockTarget, LockWait, Lsn, Problem, Result, SsiParty, SsiReport, StallCause, StallTimes, StoreStats,
    Timestamp, TxnId, TxnInfo, TxnOrigin, Value, VerifyLevel, VerifyReport, VictimPolicy, options::KEY_BYTES_MAX,
    options::VALUE_BYTES_MAX,
};
pub use duramen_txn::{
    AgeTicket, Concurrency, DeadlockCallback, DeadlockHandling, HeldLock, IsolationLevel, LockStats, LockWaiter,
    ReaderInfo, WaitArrow, WaitGraph,
};
pub use iter::{Entry, EntryRef, Iter};
pub use keyspace::{Keyspace, KeyspaceInfo};
pub use options::{Builder, Durability, TxnOptions, WRITE_SET_BYTES_MAX};
pub use reader::Reader;
pub use salvage::{SalvageReport, SalvagedKeyspace};
pub use snapshot::Snapshot;
pub use stats::{Health, LogStats, Stats};
pub use transaction::{LockRead, Savepoint, Transaction};

/// The seams to files, clock and threads, for programs that bring their own (simulation, encryption, special devices).
pub mod seams {
    pub use duramen_base::clock::{Clock, ManualClock, SystemClock};
    pub use duramen_base::executor::{Executor, Job, JobHandle, ManualExecutor, Next, ThreadExecutor};
    pub use duramen_base::vfs::{DirEntry, FileLock, MemVfs, OpenMode, OsVfs, Vfs, VfsFile};
}

/// What users may rely on: a program that moves these between threads compiles.
const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_send::<Transaction>();
    is_send::<Iter>();
    is_shared::<Database>();
    is_shared::<Keyspace>();
    is_shared::<Snapshot>();
    is_shared::<CommitHandle>();
    is_shared::<Value>();
};
