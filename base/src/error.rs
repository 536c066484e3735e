//! The one error list of all crates, grouped by what the caller can do.
//!
//! Not a place for text alone: each variant carries what a program needs to act (file, offset, bytes, cause).
//! `Error::group` is the one exhaustive classification; everything else (retry, poison) follows from it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::conflict::{ConflictInfo, SsiReport};
use crate::deadlock::DeadlockReport;
use crate::ids::Timestamp;
use crate::locks::LockWait;
use crate::stall::StallCause;

/// Result of every fallible call of the engine.
///
/// ```
/// fn needs_mending() -> duramen_base::Result<()> {
///     Err(duramen_base::Error::LockBudget)
/// }
/// assert!(needs_mending().is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and (by [`Error::group`]) what to do about it.
///
/// ```
/// use duramen_base::{error::ErrorGroup, Error};
/// let error = Error::KeyTooLarge { bytes: 20_000 };
/// assert_eq!(error.group(), ErrorGroup::CorrectTheCall);
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // Run the transaction again: this one is dead, and later calls on it answer `TxnAborted`.
    /// Another transaction committed a write to something this one writes or lock-read, after its snapshot.
    #[error("write conflict: {0}")]
    WriteConflict(Box<ConflictInfo>),
    /// No serial order of this transaction and of committed ones explains what they read: it would have been a write skew, a phantom or a
    /// read-only anomaly. Only serializable transactions get it.
    #[error("not serializable: {0}")]
    SerializationFailure(Box<SsiReport>),
    /// Transactions waited for each other in a circle, and this one was given up; or, under wound-wait, an older one needed what it
    /// holds. The report says who waited where for what.
    #[error("{0}")]
    Deadlock(Box<DeadlockReport>),
    /// No lock came within the time allowed. Never a deadlock: those are found at once.
    #[error("lock wait timed out: {0}")]
    LockTimeout(Box<LockWait>),
    /// A lock is held by another transaction and the call asked not to wait.
    #[error("a lock is not available: {0}")]
    WouldBlock(Box<LockWait>),
    /// Others held the memory this commit needs, and did not give it back within the time allowed. It fits the budget; run it again, with fewer
    /// or smaller transactions beside it, or raise the budget.
    #[error("{needed} bytes of memory did not come free in time")]
    MemoryTimeout {
        /// Bytes the commit needed.
        needed: u64,
    },
    /// More was written than the background could bring into order within the time allowed. Nothing was written; run it again, later or slower.
    #[error("writes are stalled by {cause}")]
    WriteStalled {
        /// What there is too much of.
        cause: StallCause,
    },
    /// The versions this snapshot needs had to go: memory for history ran out, or it lived longer than the database allows. Begin a new one.
    #[error("the snapshot is too old: the versions it needs are gone")]
    SnapshotTooOld,

    // Correct the call; it changed nothing.
    /// Keys have at most [`crate::options::KEY_BYTES_MAX`] bytes.
    #[error("key of {bytes} bytes: the limit is {}", crate::options::KEY_BYTES_MAX)]
    KeyTooLarge {
        /// Size of the key.
        bytes: usize,
    },
    /// Values have at most [`crate::options::VALUE_BYTES_MAX`] bytes.
    #[error("value of {bytes} bytes: the limit is {}", crate::options::VALUE_BYTES_MAX)]
    ValueTooLarge {
        /// Size of the value.
        bytes: usize,
    },
    /// The transaction can never fit the memory budget. Split it, or raise the budget.
    #[error("the transaction needs {needed} bytes of the budget of {budget}")]
    TxnTooLarge {
        /// Bytes the write set needs.
        needed: u64,
        /// Bytes it may have at most.
        budget: u64,
    },
    /// A write on something opened for reading.
    #[error("opened read-only")]
    ReadOnly,
    /// This combination is not offered; never silently something else.
    #[error("not supported: {what}")]
    Unsupported {
        /// What is not offered.
        what: &'static str,
    },
    /// No keyspace has this name, or it was dropped.
    #[error("no such keyspace: {name}")]
    NoSuchKeyspace {
        /// The name asked for, or the id of a dropped one.
        name: String,
    },
    /// A keyspace of this name is there already.
    #[error("keyspace exists: {name}")]
    KeyspaceExists {
        /// The name asked for.
        name: String,
    },
    /// An argument outside its documented range.
    #[error("invalid argument: {what}")]
    InvalidArgument {
        /// Which, and what is allowed.
        what: &'static str,
    },
    /// An earlier error ended this transaction. Begin a new one.
    #[error("the transaction was ended by an earlier error")]
    TxnAborted,
    /// The database was closed.
    #[error("the database is closed")]
    Closed,

    // Mend the environment.
    /// No space left. Nothing was written; free some and try again, no reopen needed.
    #[error("disk full: {path}")]
    DiskFull {
        /// File that could not grow.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{op} {path}: {source}")]
    Io {
        /// What was tried.
        op: IoOp,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another handle of this one, has the database open.
    #[error("the database {path} is in use by {holder}")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself (process id), if it could be read.
        holder: String,
    },
    /// Too many locks for the memory budget.
    #[error("too many locks for the memory budget")]
    LockBudget,

    // Restore the data. Opening refuses; nothing is repaired silently.
    /// Bytes that are not what was written.
    #[error("corruption: {file} at byte {offset}: {what}")]
    Corruption {
        /// Damaged file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// Written by a version, or with a feature, that this one does not know.
    #[error("unsupported format: {file}: {what} {found}, known up to {known}")]
    UnsupportedFormat {
        /// The file.
        file: PathBuf,
        /// Which number or flags.
        what: &'static str,
        /// What the file has.
        found: u32,
        /// What this version knows.
        known: u32,
    },

    // Reopen. After a failed sync nobody knows what is on disk, so the engine stops writing.
    /// An earlier write or sync failed for good. Reads go on; reopen to write.
    #[error("poisoned by an earlier failure: {cause}")]
    Poisoned {
        /// The failure.
        cause: Arc<Error>,
    },

    // Find out: only a reopen tells whether it survived.
    /// The commit was sequenced and may or may not be durable.
    #[error("the outcome of the commit at {ts} is unknown until the database is reopened")]
    Indeterminate {
        /// Its place in the commit order.
        ts: Timestamp,
    },
}

/// What the caller of a failed call can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorGroup {
    /// Run the whole transaction again.
    RunAgain,
    /// The call was wrong and changed nothing.
    CorrectTheCall,
    /// Mend the environment (space, permissions), then try again.
    MendTheEnvironment,
    /// The files are damaged or from another version.
    RestoreTheData,
    /// Close and open the database.
    Reopen,
    /// Reopen and look whether the commit is there.
    FindOut,
}

impl Error {
    /// What the caller can do about it.
    pub fn group(&self) -> ErrorGroup {
        match self {
            Error::WriteConflict(_)
            | Error::SerializationFailure(_)
            | Error::Deadlock(_)
            | Error::LockTimeout(_)
            | Error::WouldBlock(_)
            | Error::MemoryTimeout { .. }
            | Error::WriteStalled { .. }
            | Error::SnapshotTooOld => ErrorGroup::RunAgain,
            Error::KeyTooLarge { .. }
            | Error::ValueTooLarge { .. }
            | Error::TxnTooLarge { .. }
            | Error::ReadOnly
            | Error::Unsupported { .. }
            | Error::NoSuchKeyspace { .. }
            | Error::KeyspaceExists { .. }
            | Error::InvalidArgument { .. }
            | Error::TxnAborted
            | Error::Closed => ErrorGroup::CorrectTheCall,
            Error::DiskFull { .. } | Error::Io { .. } | Error::Locked { .. } | Error::LockBudget => {
                ErrorGroup::MendTheEnvironment
            }
            Error::Corruption { .. } | Error::UnsupportedFormat { .. } => ErrorGroup::RestoreTheData,
            Error::Poisoned { .. } => ErrorGroup::Reopen,
            Error::Indeterminate { .. } => ErrorGroup::FindOut,
        }
    }

    /// Whether running the whole transaction again can succeed.
    pub fn is_retryable(&self) -> bool {
        self.group() == ErrorGroup::RunAgain
    }

    /// An error of the operating system, sorted: lack of space is [`Error::DiskFull`], all else [`Error::Io`].
    ///
    /// ```
    /// use duramen_base::{Error, IoOp};
    /// use std::io;
    /// let full = Error::from_io(IoOp::Write, "log", io::ErrorKind::StorageFull.into());
    /// assert!(matches!(full, Error::DiskFull { .. }));
    /// let other = Error::from_io(IoOp::Sync, "log", io::ErrorKind::Other.into());
    /// assert!(matches!(other, Error::Io { op: IoOp::Sync, .. }));
    /// ```
    pub fn from_io(op: IoOp, path: impl Into<PathBuf>, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path: path.into() },
            _ => Error::Io { op, path: path.into(), source },
        }
    }

    /// Damage in `file` at byte `offset`.
    ///
    /// ```
    /// let error = duramen_base::Error::corruption("ks/1/tree.dat", 4096, "checksum");
    /// assert_eq!(error.to_string(), "corruption: ks/1/tree.dat at byte 4096: checksum");
    /// ```
    pub fn corruption(file: impl Into<PathBuf>, offset: u64, what: &'static str) -> Error {
        Error::Corruption { file: file.into(), offset, what }
    }
}

/// Which call to the operating system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IoOp {
    Open,
    Create,
    Read,
    Write,
    Sync,
    SyncDir,
    Rename,
    Remove,
    List,
    Allocate,
    Truncate,
    Punch,
    Lock,
    Stat,
    Spawn,
}

impl fmt::Display for IoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoOp::Open => "open",
            IoOp::Create => "create",
            IoOp::Read => "read",
            IoOp::Write => "write",
            IoOp::Sync => "sync",
            IoOp::SyncDir => "sync directory",
            IoOp::Rename => "rename",
            IoOp::Remove => "remove",
            IoOp::List => "list",
            IoOp::Allocate => "allocate",
            IoOp::Truncate => "truncate",
            IoOp::Punch => "punch",
            IoOp::Lock => "lock",
            IoOp::Stat => "stat",
            IoOp::Spawn => "start thread",
        })
    }
}
