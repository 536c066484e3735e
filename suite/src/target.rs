//! What is tested: how a database is opened, and on which kind of keyspace.

use std::sync::Arc;

use duramen::seams::MemVfs;
use duramen::{BackendKind, Builder, Database, DeadlockHandling, Keyspace, KeyspaceOptions, Result, VictimPolicy};

/// Room for a memtable and for all memory of a tiny target, in bytes: so little that flushes, merges, checkpoints and eviction happen
/// in the middle of a short run.
const TINY_MEMTABLE_BYTES: u64 = 4 << 10;
const TINY_MEMORY_BYTES: u64 = 1 << 20;
const TINY_PAGE_BYTES: u32 = 1 << 10;
const TINY_LOG_BYTES: u64 = 64 << 10;

/// A way to open databases for tests: bring your own options, or use those in memory.
///
/// ```
/// use duramen::{BackendKind, Database, KeyspaceOptions};
/// use duramen_suite::Target;
/// // The options of your own program.
/// let mut keyspace = KeyspaceOptions::new(BackendKind::Lsm);
/// keyspace.memtable_bytes = 64 << 10;
/// let mine = Target::new("mine", keyspace, Database::in_memory);
/// assert_eq!(mine.name(), "mine");
///
/// let kinds: Vec<_> = Target::every_backend().iter().map(|target| target.name().to_owned()).collect();
/// assert!(kinds.starts_with(&["btree".to_owned(), "lsm".to_owned()]));
/// assert_eq!(Target::in_memory(BackendKind::BTree).name(), "btree");
/// assert_eq!(Target::tiny(BackendKind::Lsm).name(), "lsm, tiny");
/// assert_eq!(Target::every_tiny_backend()[0].name(), "btree, tiny");
/// ```
#[derive(Clone)]
pub struct Target {
    name: String,
    keyspace: KeyspaceOptions,
    open: Arc<dyn Fn() -> Result<Database> + Send + Sync>,
}

impl Target {
    /// Databases that `open` makes, each new and empty, with a keyspace of these options.
    pub fn new(
        name: impl Into<String>,
        keyspace: impl Into<KeyspaceOptions>,
        open: impl Fn() -> Result<Database> + Send + Sync + 'static,
    ) -> Target {
        Target { name: name.into(), keyspace: keyspace.into(), open: Arc::new(open) }
    }

    /// Databases in memory with the default options.
    pub fn in_memory(backend: BackendKind) -> Target {
        Target::new(backend.to_string(), backend, || in_memory(Database::builder()))
    }

    /// Databases in memory that deal with deadlocks so.
    pub(crate) fn with_locks(backend: BackendKind, policy: VictimPolicy, handling: DeadlockHandling) -> Target {
        Target::new(backend.to_string(), backend, move || {
            in_memory(Database::builder().victim_policy(policy).deadlock_handling(handling))
        })
    }

    /// Databases in memory with as little memory and log as they can do with: stores persist, merge and evict all the time.
    pub fn tiny(backend: BackendKind) -> Target {
        let mut keyspace = KeyspaceOptions::new(backend);
        keyspace.memtable_bytes = TINY_MEMTABLE_BYTES;
        keyspace.page_bytes = TINY_PAGE_BYTES;
        Target::new(format!("{backend}, tiny"), keyspace, || {
            let builder = Database::builder().memory_bytes(TINY_MEMORY_BYTES).cache_bytes(TINY_MEMORY_BYTES / 16);
            in_memory(builder.log_bytes_before_checkpoint(TINY_LOG_BYTES).log_segment_bytes(32 << 10, 64 << 10))
        })
    }

    /// [`Target::in_memory`] for each backend that this build has; the model is among them with the feature `testing`.
    pub fn every_backend() -> Vec<Target> {
        backends().into_iter().map(Target::in_memory).collect()
    }

    /// [`Target::tiny`] for each backend that this build has.
    pub fn every_tiny_backend() -> Vec<Target> {
        backends().into_iter().map(Target::tiny).collect()
    }

    /// What the report calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new database with an empty keyspace.
    pub(crate) fn open(&self) -> Result<(Database, Keyspace)> {
        let db = (self.open)()?;
        let keyspace = db.keyspace("suite", self.keyspace.clone())?;
        Ok((db, keyspace))
    }
}

fn in_memory(builder: Builder) -> Result<Database> {
    builder.vfs(Arc::new(MemVfs::new())).dirty_reads(true).open("db")
}

fn backends() -> Vec<BackendKind> {
    vec![
        BackendKind::BTree,
        BackendKind::Lsm,
        #[cfg(feature = "testing")]
        BackendKind::Model,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_opens() {
        for target in Target::every_backend().iter().chain(&Target::every_tiny_backend()) {
            target.open().unwrap_or_else(|error| panic!("{}: {error}", target.name()));
        }
    }
}
