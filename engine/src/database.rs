//! The database handle: everything a program can ask of an open database.
//!
//! Thin: each method checks, and hands over to the file that does it.

use std::fmt;
use std::ops::RangeBounds;
use std::path::Path;
use std::time::Duration;

use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::{Arc, Condvar, Mutex};
use duramen_base::vfs::MemVfs;
use duramen_base::{
    Compression, DbUuid, DeadlockReport, Error, KeyBounds, KeyspaceOptions, Result, StoreHost, Timestamp, TxnOrigin,
    Urgency, VerifyLevel, VerifyReport, WorkBudget,
};

use duramen_txn::{AgeTicket, DeadlockCallback, HeldLock, LockWaiter, WaitGraph};

use crate::compaction::{Compaction, CompactionPause};
use crate::core::Core;
use crate::keyspace::{Keyspace, KeyspaceInfo};
use crate::options::{Builder, TxnOptions};
use crate::snapshot::Snapshot;
use crate::stats::{Health, Stats};
use crate::transaction::Transaction;

/// Longest pause between two runs of an `update` closure.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(2);
/// Between two looks at whether upkeep has brought everything into files.
const CHECKPOINT_LOOK_PAUSE: Duration = Duration::from_micros(200);
/// Runs before `update` pauses at all.
const RETRIES_WITHOUT_PAUSE: u32 = 3;

/// An open database. Cloning shares it; the last clone dropped closes it.
///
/// Everything lies in one folder: the log, and a folder for each keyspace. One process opens it at a time.
///
/// ```
/// use duramen::{BackendKind, Database, Reader};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("db");
/// let db = Database::open(&path)?;
/// let users = db.keyspace("users", BackendKind::BTree)?;
/// db.update(|tx| tx.put(&users, "ada", "1815"))?;
/// db.close()?;
///
/// let db = Database::open(&path)?;
/// let users = db.open_keyspace("users")?;
/// assert_eq!(db.snapshot()?.get(&users, "ada")?.as_deref(), Some(&b"1815"[..]));
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone)]
pub struct Database {
    pub(crate) core: Arc<Core>,
    pub(crate) closer: Arc<Closer>,
}

/// Closes the database when the last handle goes.
pub(crate) struct Closer {
    pub(crate) core: Arc<Core>,
}

impl Drop for Closer {
    fn drop(&mut self) {
        // Nobody is left to tell. What was acknowledged is as durable as it was acknowledged to be.
        let _ = self.core.close();
    }
}

impl Database {
    /// Opens the database in the folder `path` with the default options, creating it if there is none.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Database> {
        Builder::default().open(path)
    }

    /// A new database in memory, with everything but durability; gone when the last handle is.
    ///
    /// # Errors
    /// None in practice; the signature is that of opening.
    pub fn in_memory() -> Result<Database> {
        Builder::default().vfs(Arc::new(MemVfs::new())).open("db")
    }

    /// Chooses options before opening.
    ///
    /// See [`Builder`] for an example.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The keyspace called `name`, created with `options` (or the defaults of a [`crate::BackendKind`]) if there is none. One that exists keeps its own
    /// ([`Keyspace::options`]).
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it exists on another backend, or the name or an option is out of range.
    /// * [`Error::DiskFull`], [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn keyspace(&self, name: &str, options: impl Into<KeyspaceOptions>) -> Result<Keyspace> {
        let options = options.into();
        let found = match self.core.open_keyspace(name) {
            Err(Error::NoSuchKeyspace { .. }) => match self.core.create_keyspace(name, options.clone()) {
                // Another thread was faster.
                Err(Error::KeyspaceExists { .. }) => self.core.open_keyspace(name)?,
                created => return created,
            },
            found => found?,
        };
        if found.options().backend != options.backend {
            return Err(Error::InvalidArgument { what: "the keyspace exists, on another backend" });
        }
        Ok(found)
    }

    /// Creates the keyspace `name`, durably.
    ///
    /// # Errors
    /// [`Error::KeyspaceExists`]; else as [`Database::keyspace`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database, KeyspaceOptions};
    /// let db = Database::in_memory()?;
    /// let mut options = KeyspaceOptions::new(BackendKind::Lsm);
    /// options.memtable_bytes = 1 << 20;
    /// db.create_keyspace("events", options)?;
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn create_keyspace(&self, name: &str, options: impl Into<KeyspaceOptions>) -> Result<Keyspace> {
        self.core.create_keyspace(name, options.into())
    }

    /// The keyspace called `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`], [`Error::Closed`].
    pub fn open_keyspace(&self, name: &str) -> Result<Keyspace> {
        self.core.open_keyspace(name)
    }

    /// All keyspaces with their options, by id.
    pub fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        self.core.keyspaces.list()
    }

    /// Has `keyspace` stored so from now on, durably: what was written stays as it is until a merge rewrites it, and readable either way.
    /// [`Database::compact`] rewrites all of it at once.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: a B-tree is never compressed. [`Error::NoSuchKeyspace`]; [`Error::DiskFull`]: nothing has changed; [`Error::Io`],
    /// [`Error::Poisoned`], [`Error::Closed`].
    ///
    /// ```
    /// use duramen::{BackendKind, Compression, Database};
    /// let db = Database::in_memory()?;
    /// let logs = db.keyspace("logs", BackendKind::Lsm)?;
    /// for day in 0..2000 {
    ///     db.update(|tx| tx.put(&logs, format!("{day:04}"), "snow and wind, ".repeat(20)))?;
    /// }
    /// db.compact(&logs)?;
    /// let bytes = || db.stats().keyspaces[0].1.disk_bytes;
    /// let before = bytes();
    /// db.set_compression(&logs, Compression::Lz4)?;
    /// db.compact(&logs)?;
    /// assert!(bytes() < before / 2);
    /// assert_eq!(logs.options().compression, Compression::Lz4);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn set_compression(&self, keyspace: &Keyspace, compression: Compression) -> Result<()> {
        self.core.set_compression(keyspace, compression)
    }

    /// Drops the keyspace `name` with all it holds, durably. Not part of any transaction: its handles answer `NoSuchKeyspace` at once, iterators that
    /// are open go on.
    ///
    /// # Errors
    /// [`Error::NoSuchKeyspace`]; [`Error::DiskFull`] or [`Error::Io`]: it may be dropped already, and its files are removed at the next open;
    /// [`Error::Poisoned`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// db.keyspace("temporary", BackendKind::BTree)?;
    /// db.drop_keyspace("temporary")?;
    /// assert!(db.keyspaces().is_empty());
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.core.drop_keyspace(name)
    }

    /// Begins a transaction with the default options: those of the database, if nothing else was chosen optimistic snapshot isolation.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: reopen to write. [`Error::Closed`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.put(&ks, "a", "1")?;
    /// tx.commit()?;
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[track_caller]
    pub fn begin(&self) -> Result<Transaction> {
        self.begin_with(TxnOptions::default())
    }

    /// Begins a transaction. Transactions of all levels and modes run beside each other; what each is promised, docs/isolation.md says.
    ///
    /// # Errors
    /// [`Error::Unsupported`]: the combination of level and concurrency is not offered. [`Error::InvalidArgument`]: options that contradict each
    /// other. Else as [`Database::begin`].
    ///
    /// ```
    /// use duramen::{Database, Error, IsolationLevel, TxnOptions};
    /// let db = Database::in_memory()?;
    /// db.begin_with(TxnOptions::default().isolation(IsolationLevel::Serializable))?.commit()?;
    /// // Only a database opened with `dirty_reads(true)` can show pending writes.
    /// let refused = db.begin_with(TxnOptions::default().isolation(IsolationLevel::ReadUncommitted));
    /// assert!(matches!(refused, Err(Error::Unsupported { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn begin_with(&self, options: TxnOptions) -> Result<Transaction> {
        Transaction::new(&self.core, options, TxnOrigin::here(None))
    }

    /// Runs `work` in a transaction and commits it; on an error that running again can mend (a conflict), runs it again, until it succeeds.
    ///
    /// What `work` does outside the transaction it must be able to do more than once. An error of `work` itself rolls back and is returned.
    ///
    /// # Errors
    /// What `work` returned, or as [`Transaction::commit`] but for the retryable ones.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("counters", BackendKind::BTree)?;
    /// let count = db.update(|tx| {
    ///     let old = tx.get_with(&ks, "hits", |value| value.map_or(0, |v| v[0]))?;
    ///     tx.put(&ks, "hits", [old + 1])?;
    ///     Ok(old + 1)
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[track_caller]
    pub fn update<R>(&self, work: impl FnMut(&Transaction) -> Result<R>) -> Result<R> {
        self.update_with(TxnOptions::default(), work)
    }

    /// [`Database::update`] with options for the transactions.
    ///
    /// # Errors
    /// As [`Database::update`] and [`Database::begin_with`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Durability, TxnOptions};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::Lsm)?;
    /// db.update_with(TxnOptions::default().durability(Durability::Buffered), |tx| tx.put(&ks, "a", "1"))?;
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[track_caller]
    pub fn update_with<R>(&self, options: TxnOptions, mut work: impl FnMut(&Transaction) -> Result<R>) -> Result<R> {
        let (mut runs, begun_at) = (0, TxnOrigin::here(None));
        let mut age = options.retry_of;
        loop {
            let options = TxnOptions { retry_of: age, ..options.clone() };
            match self.run_once(options, begun_at, &mut age, &mut work) {
                Err(error) if error.is_retryable() => {
                    runs += 1;
                    self.core.counters.retries.fetch_add(1, Ordering::Relaxed);
                    pause_before_retry(runs);
                }
                outcome => return outcome,
            }
        }
    }

    fn run_once<R>(
        &self,
        options: TxnOptions,
        begun_at: TxnOrigin,
        age: &mut Option<AgeTicket>,
        work: &mut impl FnMut(&Transaction) -> Result<R>,
    ) -> Result<R> {
        let tx = Transaction::new(&self.core, options, begun_at)?;
        // The next attempt is as old as this one, so that it is not the victim for ever.
        *age = tx.age();
        match work(&tx) {
            Ok(result) => tx.commit().map(|_| result),
            Err(error) if error.is_retryable() => Err(error),
            // What the closure saw and tells by its error must not be undone by a crash.
            Err(error) => tx.wait_reads_acked().and(Err(error)),
        }
    }

    /// A read-only view of everything acknowledged so far. Costs a registration and nothing else, and never blocks anybody.
    ///
    /// Beside `None` and `Buffered` commits it may show a `Sync` commit whose sync is still running; see [`Database::snapshot_durable`].
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[track_caller]
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.core.check_open()?;
        let (horizons, who) = (&self.core.horizons, TxnOrigin::here(None));
        Ok(Snapshot::new(self.core.instance, self.core.parts.snapshots.register(&who, || horizons.acked())))
    }

    /// A read-only view of what is on disk: no crash takes back what it shows.
    ///
    /// Syncs the log if what is on disk is older than the versions that are still kept.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::Poisoned`]: the log failed before.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// db.update(|tx| tx.put(&ks, "a", "1"))?;
    /// assert!(db.snapshot_durable()?.contains(&ks, "a")?);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[track_caller]
    pub fn snapshot_durable(&self) -> Result<Snapshot> {
        let who = TxnOrigin::here(None);
        loop {
            self.core.check_open()?;
            let ts = self.core.horizons.visible().min(self.core.horizons.durable());
            if let Some(registration) = self.core.parts.snapshots.register_at(&who, ts) {
                return Ok(Snapshot::new(self.core.instance, registration));
            }
            let acked = self.core.horizons.acked();
            self.core.wal.sync_through_ts(acked)?;
            self.core.horizons.raise_durable(acked);
        }
    }

    /// Brings everything committed so far into the stores' own files and cuts the log behind it: the next open has nothing to replay.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: free some space and call again; commits that the log itself has no space for are waited for
    /// ([`Health::Stalled`]). [`Error::Corruption`]: a damaged file kept a keyspace from it, all others are done
    /// ([`Health::Damaged`]). [`Error::Poisoned`], [`Error::Closed`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// db.update(|tx| tx.put(&ks, "a", "1"))?;
    /// db.checkpoint()?;
    /// assert_eq!(db.stats().keyspaces[0].1.persists, 1);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn checkpoint(&self) -> Result<()> {
        self.core.checkpoint()
    }

    /// Makes the files of a keyspace as small as what can be read allows: what was deleted and is needed by no snapshot leaves them, and their space
    /// goes back to the file system. Commits and readers go on beside it. Upkeep gives most of the space back by itself, in time; this does all of it
    /// now, and returns when it is done.
    ///
    /// It costs about one reading and writing of the keyspace on an LSM tree, on a B-tree that of the pages that have to move.
    ///
    /// # Errors
    /// As [`Database::checkpoint`]; [`Error::NoSuchKeyspace`] if it is dropped meanwhile.
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// let logs = db.keyspace("logs", BackendKind::BTree)?;
    /// for day in 0..200 {
    ///     db.update(|tx| tx.put(&logs, format!("{day:03}"), [7; 4000]))?;
    /// }
    /// db.checkpoint()?;
    /// let bytes = || db.stats().keyspaces[0].1.disk_bytes;
    /// let before = bytes();
    /// db.update(|tx| tx.delete_range(&logs, "000", "190"))?;
    /// db.compact(&logs)?;
    /// assert!(bytes() < before / 5);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn compact(&self, keyspace: &Keyspace) -> Result<()> {
        Compaction::begin(&self.core, keyspace, KeyBounds::ALL)?.wait()
    }

    /// Begins a compaction of the keys in a range and returns at once: to look at its progress, wait for it, or stop it. Several are carried out in the
    /// order in which they were asked for. It needs no exclusive moment, and an error leaves everything in place.
    ///
    /// LSM: all tables about such keys are merged down to the last level, and those there that have deleted keys or old versions, or are not compressed as
    /// the keyspace is by now, are written anew; the runs of level 0 go down whole. B-tree: what was deleted is drained and leaves the pages, leaves of the range that fit one page become one, then
    /// pages at the end of the file move into gaps before it, whatever keys they have, and the file is cut.
    ///
    /// # Errors
    /// As [`Database::checkpoint`] for the log; [`Error::NoSuchKeyspace`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// let logs = db.keyspace("logs", BackendKind::Lsm)?;
    /// db.update(|tx| tx.put(&logs, "2026-11-20", "snow"))?;
    /// let compaction = db.begin_compaction(&logs, "2026-11".."2026-12")?;
    /// compaction.wait()?;
    /// assert_eq!(db.stats().keyspaces[0].1.compaction.requests, 0);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn begin_compaction<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        range: impl RangeBounds<K>,
    ) -> Result<Compaction> {
        let (lower, upper) = (range.start_bound().map(K::as_ref), range.end_bound().map(K::as_ref));
        Compaction::begin(&self.core, keyspace, KeyBounds { lower, upper })
    }

    /// Holds back merges (LSM) and moves of pages (B-tree) that upkeep would do by itself, until what this returns is dropped; pauses are counted. A
    /// merge under way rests where it is. What was asked for by [`Database::begin_compaction`] goes on, and so does whatever brings commits into files; an
    /// LSM keyspace whose level 0 is full (12 runs) merges nevertheless, so that no writer waits for a pause.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NoSuchKeyspace`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// let logs = db.keyspace("logs", BackendKind::Lsm)?;
    /// let rush_hour = db.pause_compaction(&logs)?;
    /// db.update(|tx| tx.put(&logs, "b", "2"))?;
    /// drop(rush_hour);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn pause_compaction(&self, keyspace: &Keyspace) -> Result<CompactionPause> {
        self.core.check_open()?;
        keyspace.inner.check_of(self.core.instance)?;
        Ok(CompactionPause::begin(keyspace))
    }

    /// Every row lock that is held, and by whom.
    ///
    /// ```
    /// use duramen::{BackendKind, Concurrency, Database, TxnOptions};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("accounts", BackendKind::BTree)?;
    /// let tx = db.begin_with(TxnOptions::default().concurrency(Concurrency::Pessimistic).label("transfer"))?;
    /// tx.put(&ks, "alice", "50")?;
    /// let locks = db.locks();
    /// assert_eq!(locks[0].claim.to_string(), "X on accounts key \"alice\"");
    /// assert_eq!(locks[0].txn.origin.label, Some("transfer"));
    /// assert!(db.lock_waits().is_empty() && db.wait_graph().arrows.is_empty() && db.deadlocks().is_empty());
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn locks(&self) -> Vec<HeldLock> {
        self.core.locks.locks()
    }

    /// Everybody who waits for a row lock: for which, how long already, and who is in the way.
    pub fn lock_waits(&self) -> Vec<LockWaiter> {
        self.core.locks.lock_waits()
    }

    /// Who waits for whom, at one moment; [`WaitGraph::to_dot`] draws it.
    pub fn wait_graph(&self) -> WaitGraph {
        self.core.locks.wait_graph()
    }

    /// The last 64 deadlocks, newest first.
    pub fn deadlocks(&self) -> Vec<Arc<DeadlockReport>> {
        self.core.locks.deadlocks()
    }

    /// Calls `callback` with each deadlock from now on, instead of who was called before; under no latch, by a thread that waits for a lock.
    ///
    /// ```
    /// use duramen::Database;
    /// use std::sync::Arc;
    /// let db = Database::in_memory()?;
    /// db.on_deadlock(Some(Arc::new(|report| eprintln!("{report}"))));
    /// db.on_deadlock(None);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn on_deadlock(&self, callback: Option<DeadlockCallback>) {
        self.core.locks.on_deadlock(callback);
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Whether it can go on writing.
    ///
    /// See [`Health`] for an example.
    pub fn health(&self) -> Health {
        self.core.health()
    }

    /// Checks every keyspace as deep as `level` says. What does not hold is in the report; reading errors are errors.
    ///
    /// Readers, commits and upkeep go on beside it. Space that becomes free in a file meanwhile is used again behind it, and [`Database::compact`] waits for it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Closed`].
    ///
    /// ```
    /// use duramen::{Database, VerifyLevel};
    /// assert!(Database::in_memory()?.verify(VerifyLevel::Full)?.is_clean());
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn verify(&self, level: VerifyLevel) -> Result<VerifyReport> {
        self.core.check_open()?;
        let mut report = VerifyReport::default();
        for keyspace in self.core.keyspaces.all() {
            let Ok(_gate) = keyspace.enter() else { continue };
            keyspace.store.verify(level, &mut report)?;
        }
        Ok(report)
    }

    /// Identity of this database, drawn when it was created.
    ///
    /// ```
    /// use duramen::Database;
    /// assert_ne!(Database::in_memory()?.uuid(), Database::in_memory()?.uuid());
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn uuid(&self) -> DbUuid {
        self.core.parts.db_uuid
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.core.parts.path
    }

    /// Closes it in order: background work stopped, every commit on disk, the folder free for others. Other handles, transactions and snapshots
    /// answer [`Error::Closed`] from then on; values stay valid.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: the log failed, now or before; everything acknowledged as `Sync` is safe, reopen to see the rest.
    pub fn close(self) -> Result<()> {
        self.closer.core.close()
    }
}

/// Gives others time after a conflict, the longer the more often it happened.
fn pause_before_retry(runs: u32) {
    if runs <= RETRIES_WITHOUT_PAUSE {
        return duramen_base::sync::thread::yield_now();
    }
    pause(Duration::from_micros(20 << (runs - RETRIES_WITHOUT_PAUSE).min(7)).min(RETRY_PAUSE_MAX));
}

fn pause(pause: Duration) {
    let nobody = Mutex::new(());
    Condvar::new().wait_for(&mut nobody.lock(), pause);
}

impl Core {
    fn checkpoint(&self) -> Result<()> {
        self.check_writable()?;
        let target = self.horizons.visible();
        // What is not durable in the log may not be in a file of a store.
        self.parts.host.make_durable(target)?;
        self.parts.host.refresh_snap_set();
        loop {
            let stores = self.keyspaces.all();
            let is_behind = |keyspace: &&Arc<crate::keyspace::Inner>| !self.has_persisted(keyspace, target);
            let mut behind = stores.iter().filter(|keyspace| keyspace.damage().is_none()).filter(is_behind).peekable();
            if behind.peek().is_none() {
                self.upkeep_step(WorkBudget { bytes: 0 }, 1)?;
                self.wal.remove_spare_segments()?;
                return stores.iter().filter(is_behind).try_for_each(|keyspace| keyspace.check_whole());
            }
            behind.for_each(|keyspace| keyspace.store.persist_to(target, Urgency::Now));
            self.upkeep_step_or_pause()?;
            self.check_writable()?;
        }
    }

    /// The number of the request.
    pub(crate) fn begin_compaction(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<u64> {
        self.check_writable()?;
        let keyspace = &keyspace.inner;
        keyspace.check_of(self.instance)?;
        self.parts.host.make_durable(self.horizons.visible())?;
        self.parts.host.refresh_snap_set();
        Ok(keyspace.store.compact(bounds))
    }

    pub(crate) fn finish_compaction(&self, keyspace: &crate::keyspace::Inner, request: u64) -> Result<()> {
        while keyspace.store.compacted() < request {
            self.upkeep_step_or_pause()?;
            self.check_writable()?;
            keyspace.check_whole()?;
            keyspace.check()?;
        }
        self.upkeep_step(WorkBudget { bytes: 0 }, 1).map(|_| ()) // logs how far the store is
    }

    /// Leaves the work to the thread of upkeep if there is one: allocators keep memory for each thread that used much, so a second thread that
    /// brings in pages costs the process up to a second budget. Lack of space is to be this caller's error, so then it steps itself.
    fn upkeep_step_or_pause(&self) -> Result<()> {
        if self.upkeep_has_thread() && !self.is_disk_full() {
            pause(CHECKPOINT_LOOK_PAUSE);
        } else if !self.upkeep_step(WorkBudget { bytes: u64::MAX }, 1)? {
            // Another thread is at it.
            duramen_base::sync::thread::yield_now();
        }
        Ok(())
    }

    /// Whether the store has `target`; a store in memory never does and is not waited for.
    fn has_persisted(&self, keyspace: &crate::keyspace::Inner, target: Timestamp) -> bool {
        keyspace.store.persisted() >= target || !keyspace.store.has_files()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.core.parts.path).finish()
    }
}
