//! What a workload needs from an engine: the one trait that every adapter is written against.
//!
//! Not an API for programs: it is the part that all engines can do, with closures where engines differ in lifetimes. An adapter adds
//! nothing: no cache, no retry, no copy that the engine's own users would not make. What an engine cannot do it answers with
//! [`Failure::NotOffered`] and the reason, and the report prints that.
//!
//! E1  What is true of an engine (version, durability call, isolation really given, checksums, compression, cache) stands in its
//!     [`Facts`], which every report prints.
//! E2  A session that answers `Ok` from [`Session::write`] has committed at the class that the engine was opened with.
//! E3  Workloads verify answers; adapters never do.
//!
//! Next: `peer/registry.rs` (all engines by name), the adapters beside it, `compare/` (who drives them).

use std::fmt::Display;
use std::path::PathBuf;

#[cfg(feature = "canopydb")]
pub mod canopydb;
pub mod duramen;
#[cfg(feature = "fjall")]
pub mod fjall;
#[cfg(feature = "heed")]
pub mod lmdb;
pub mod maps;
pub mod raw;
#[cfg(feature = "redb")]
pub mod redb;
pub mod registry;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(feature = "rusqlite")]
pub mod sqlite;
#[cfg(feature = "surrealkv")]
pub mod surrealkv;

/// What a commit survives when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing yet: the death of the process may lose the newest commits.
    None,
    /// The death of the process: handed to the operating system.
    Buffered,
    /// The loss of power: on the disk.
    Sync,
}

impl Class {
    /// From weak to strong.
    pub const ALL: [Class; 3] = [Class::None, Class::Buffered, Class::Sync];

    /// Name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::None => "none",
            Class::Buffered => "buffered",
            Class::Sync => "sync",
        }
    }
}

/// How two transactions that touch the same keys are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Snapshot isolation or stronger; a conflict shows at commit and the work is run again.
    Optimistic,
    /// Snapshot isolation or stronger; locks are taken first, one for each key or one for all.
    Pessimistic,
    /// Serializable, by whatever means.
    Serializable,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Optimistic, Mode::Pessimistic, Mode::Serializable];

    /// Name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Optimistic => "optimistic",
            Mode::Pessimistic => "pessimistic",
            Mode::Serializable => "serializable",
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another transaction was faster: nothing was written, run it again.
    Conflict,
    /// The engine has no such thing; why.
    NotOffered(String),
    /// It went wrong.
    Broken(String),
}

impl Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Conflict => write!(out, "a conflict where none can be"),
            Failure::NotOffered(why) => write!(out, "not offered: {why}"),
            Failure::Broken(what) => write!(out, "{what}"),
        }
    }
}

/// Result of anything here.
pub type Outcome<T> = Result<T, Failure>;

/// An engine's own error.
pub fn broken(error: impl Display) -> Failure {
    Failure::Broken(error.to_string())
}

/// Shorthand for [`Failure::NotOffered`].
pub fn not_offered<T>(why: &str) -> Outcome<T> {
    Err(Failure::NotOffered(why.to_owned()))
}

/// What is true of an engine as it is measured here. Printed in every report.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Isolation really given, in each mode.
    pub isolation: &'static str,
    /// Call or setting behind each class, weak to strong.
    pub durability: &'static str,
    /// What is checksummed.
    pub checksums: &'static str,
    /// What is compressed.
    pub compression: &'static str,
    /// What the cache budget governs, and what it does not.
    pub cache: &'static str,
}

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Setup {
    /// A folder of its own, which exists.
    pub folder: PathBuf,
    /// Bytes of cache, the same for every engine.
    pub cache_bytes: u64,
    /// Keyspaces, trees, column families or tables: made if missing, numbered from 0.
    pub table_count: usize,
    /// What every commit of this opening survives.
    pub class: Class,
    /// How its transactions are kept apart.
    pub mode: Mode,
}

/// An open engine.
pub trait Engine: Send + Sync {
    /// One thread's way in.
    fn session(&self) -> Outcome<Box<dyn Session + '_>>;

    /// Makes everything committed so far survive a loss of power; no more than that.
    fn sync(&self) -> Outcome<()>;

    /// Brings everything committed so far into the files that reads are meant to use, if the engine has a call for it.
    fn settle(&self) -> Outcome<()>;

    /// Takes entries of an empty table in, keys ascending, by the way that the engine has for it.
    fn ingest(&self, _table: usize, _entries: &mut Entries<'_>) -> Outcome<()> {
        not_offered("no way in for sorted entries but puts")
    }
}

/// Entries in the order of their keys.
pub type Entries<'a> = dyn Iterator<Item = (&'a [u8], &'a [u8])> + 'a;

/// Work inside a read transaction.
pub type ReadWork<'a> = dyn FnMut(&mut dyn Reading) -> Outcome<()> + 'a;
/// Work inside a write transaction. May be run several times for one commit.
pub type WriteWork<'a> = dyn FnMut(&mut dyn Writing) -> Outcome<()> + 'a;

/// What one thread does.
pub trait Session {
    /// Runs `work` on one snapshot.
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()>;

    /// Runs `work` in one transaction and commits it (E2). Answers how often the engine itself ran it again; an engine that leaves that
    /// to its user answers [`Failure::Conflict`].
    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64>;
}

/// Which entries a scan visits.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Begins here, this key included: upwards if forward, downwards if reverse. From the very end without.
    pub from: Option<&'a [u8]>,
    /// Stops after this many.
    pub limit: usize,
    /// From large to small keys.
    pub reverse: bool,
}

/// Receives an entry of a scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) + 'a;

/// Reading inside a transaction.
pub trait Reading {
    /// Shows the value of `key` to `found`; whether it was there.
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool>;

    /// Visits entries in order; how many.
    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize>;
}

/// Reading and writing inside a transaction.
pub trait Writing: Reading {
    /// Puts an entry.
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Removes an entry, which may be missing.
    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()>;

    /// Like `get`, of a key that will be written: locks it where locks are taken.
    fn get_for_update(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.get(table, key, found)
    }
}

/// Name of table number `index`.
pub fn table_name(index: usize) -> String {
    format!("table-{index}")
}

/// Visits what an iterator of byte pairs yields, at most `limit`.
pub fn visit_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    entries: impl Iterator<Item = Outcome<(K, V)>>,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Outcome<usize> {
    let mut count = 0;
    for entry in entries.take(limit) {
        let (key, value) = entry?;
        visit(key.as_ref(), value.as_ref());
        count += 1;
    }
    Ok(count)
}
