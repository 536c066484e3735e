//! Figures for humans and monitors, and the state of health.

use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, Lsn, StoreStats, Timestamp};

use duramen_txn::LockStats;

use crate::core::Core;

/// Whether the database can go on writing.
///
/// ```
/// use duramen::{Database, Health};
/// assert!(matches!(Database::in_memory()?.health(), Health::Good));
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Health {
    /// All is well.
    Good,
    /// The disk is full: commits wait or are refused with `DiskFull`, and go on when there is space again. No reopen is needed. After a commit was
    /// refused this is said until one succeeds.
    Stalled,
    /// Damage in the files of a keyspace kept its commits from being brought into files. It takes no more commits (they are refused with `cause`)
    /// and is readable where it is whole; all other keyspaces go on. The log is kept from the first of those commits on. Restore the data, or copy
    /// what is readable and drop the keyspace; [`crate::Database::verify`] finds all damage.
    Damaged {
        /// The first such keyspace.
        keyspace: String,
        /// [`Error::Corruption`] with file and offset.
        cause: Arc<Error>,
    },
    /// A write or sync failed for good. Reads go on; reopen to write.
    Poisoned {
        /// The failure.
        cause: Arc<Error>,
    },
    /// Closed.
    Closed,
}

/// Figures of the log.
///
/// See [`Stats`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Where the kept log begins.
    pub start: Lsn,
    /// Where the next record goes.
    pub end: Lsn,
    /// Segments that hold it.
    pub segments: usize,
    /// Syncs made since opening. Commits divided by this is what group commit gains.
    pub syncs: u64,
    /// Writes made since opening, by a system call each.
    pub writes: u64,
    /// Writes made since opening without a call, to the mapped end of the log (see [`Builder::map_log`](crate::Builder::map_log)).
    pub stores: u64,
    /// How often the disk had no space for a write.
    pub stalls: u64,
}

/// Figures of a database.
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// db.update(|tx| tx.put(&ks, "a", "1"))?;
/// let stats = db.stats();
/// assert_eq!(stats.commits, 1);
/// assert_eq!(stats.keyspaces[0].0, "k");
/// assert!(stats.log.end > stats.log.start);
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Commits that wrote something, since opening.
    pub commits: u64,
    /// Transactions with writes that were rolled back, since opening.
    pub rollbacks: u64,
    /// Commits refused for a write conflict, since opening.
    pub conflicts: u64,
    /// Commits refused because no serial order explains them, since opening.
    pub serialization_failures: u64,
    /// Times [`crate::Database::update`] ran a closure again, since opening.
    pub retries: u64,
    /// Every commit up to here can be read by new transactions.
    pub visible: Timestamp,
    /// Every commit up to here is on disk.
    pub durable: Timestamp,
    /// New snapshots read here.
    pub acked: Timestamp,
    /// Snapshots and reading transactions alive.
    pub snapshots: usize,
    /// The oldest of them. Who it is, [`crate::Database::oldest_readers`] says.
    pub oldest_snapshot: Option<Timestamp>,
    /// Those that were ended for their age, since opening.
    pub snapshots_ended: u64,
    /// Memory held, of the budget, in bytes.
    pub memory_bytes: u64,
    /// The budget.
    pub memory_budget_bytes: u64,
    /// Leaves and data blocks that readers found in memory, and those that were read for them: the sums over all keyspaces.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::Lsm)?;
    /// # db.update(|tx| tx.put(&ks, "a", "1"))?;
    /// # db.compact(&ks)?;
    /// # db.snapshot()?.get(&ks, "a")?;
    /// let (hits, misses) = db.stats().cache_hits_and_misses;
    /// let of_keyspace = db.stats().keyspaces[0].1.cache_hit_rate();
    /// assert_eq!((hits + misses > 0, of_keyspace.is_some()), (true, true));
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub cache_hits_and_misses: (u64, u64),
    /// Row locks: held, waited for, deadlocks.
    pub locks: LockStats,
    /// The log.
    pub log: LogStats,
    /// Each keyspace by name.
    pub keyspaces: Vec<(String, StoreStats)>,
}

impl Core {
    pub(crate) fn stats(&self) -> Stats {
        let log = self.wal.stats();
        let count = |counter: &duramen_base::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let keyspaces: Vec<(String, StoreStats)> =
            self.keyspaces.all().iter().map(|ks| (ks.name.clone(), ks.store.stats())).collect();
        let add =
            |(hits, misses), (_, store): &(String, StoreStats)| (hits + store.cache_hits, misses + store.cache_misses);
        Stats {
            commits: count(&self.counters.commits),
            rollbacks: count(&self.counters.rollbacks),
            conflicts: count(&self.counters.conflicts),
            serialization_failures: count(&self.counters.serialization_failures),
            retries: count(&self.counters.retries),
            visible: self.horizons.visible(),
            durable: self.horizons.durable(),
            acked: self.horizons.acked(),
            snapshots: self.parts.snapshots.active_count(),
            oldest_snapshot: self.parts.snapshots.oldest_active(),
            snapshots_ended: count(&self.counters.readers_ended),
            memory_bytes: self.parts.budget.used(),
            memory_budget_bytes: self.parts.budget.limit(),
            cache_hits_and_misses: keyspaces.iter().fold((0, 0), add),
            locks: self.locks.stats(),
            log: LogStats {
                start: log.start,
                end: log.end,
                segments: log.segments,
                syncs: log.syncs,
                writes: log.writes,
                stores: log.stores,
                stalls: log.stalls,
            },
            keyspaces,
        }
    }

    fn damaged(&self) -> Option<Health> {
        self.keyspaces.all().iter().find_map(|keyspace| {
            let cause = Arc::clone(keyspace.damage()?);
            Some(Health::Damaged { keyspace: keyspace.name.clone(), cause })
        })
    }

    pub(crate) fn health(&self) -> Health {
        if self.check_open().is_err() {
            return Health::Closed;
        }
        match self.wal.poisoned() {
            Some(cause) => Health::Poisoned { cause },
            None if self.observer.is_stalled() || self.is_disk_full() => Health::Stalled,
            None => self.damaged().unwrap_or(Health::Good),
        }
    }
}
