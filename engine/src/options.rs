//! How a database is opened, and how a transaction runs. Data only; `open.rs` and `transaction.rs` act on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use duramen_base::clock::{Clock, SystemClock};
use duramen_base::executor::{Executor, ThreadExecutor};
use duramen_base::sync::Arc;
use duramen_base::vfs::{OsVfs, Vfs};
use duramen_base::{Error, Result, VictimPolicy};
use duramen_txn::{AgeTicket, Concurrency, DeadlockHandling, IsolationLevel, LockOptions};

use crate::database::Database;

/// Most bytes of one transaction's writes, unless the memory budget is smaller.
pub const WRITE_SET_BYTES_MAX: u64 = 256 << 20;

/// How long a lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Tests go lower, to fill it with little.
const MEMORY_BYTES_MIN: u64 = if cfg!(feature = "testing") { 32 << 10 } else { 1 << 20 };

/// What a commit that returned survives.
///
/// | | process death | power loss |
/// |---|---|---|
/// | `None` | a prefix of commit order, at most the last 5 ms missing | a prefix of commit order |
/// | `Buffered` | yes | a prefix of commit order |
/// | `Sync` | yes | yes |
///
/// ```
/// use duramen::{Database, Durability, TxnOptions};
/// let db = Database::in_memory()?;
/// let tx = db.begin_with(TxnOptions::default().durability(Durability::Buffered))?;
/// tx.commit()?;
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Visible when the commit returns; written to the file system within 5 ms.
    None,
    /// Written to the file system when the commit returns.
    Buffered,
    /// Synced to the disk when the commit returns; one sync serves all commits that wait.
    #[default]
    Sync,
}

/// How one transaction runs.
///
/// ```
/// use duramen::{Concurrency, Database, IsolationLevel, TxnOptions};
/// use std::time::Duration;
/// let db = Database::in_memory()?;
/// let options = TxnOptions::default().label("transfer").isolation(IsolationLevel::Serializable).concurrency(Concurrency::Optimistic);
/// let tx = db.begin_with(options)?;
/// tx.rollback();
///
/// // A report that must not be refused at its end: it waits for a moment at which nobody can make it wrong.
/// let report = TxnOptions::default().isolation(IsolationLevel::Serializable).read_only(true).deferrable(true);
/// db.begin_with(report)?.commit()?;
///
/// // One that waits for the locks of others instead of being refused at its end; and its next attempt, as old as the first.
/// let locking = TxnOptions::default().concurrency(Concurrency::Pessimistic).lock_timeout(Duration::from_secs(1)).priority(5);
/// let tx = db.begin_with(locking.clone())?;
/// let age = tx.age().expect("it locks");
/// drop(tx);
/// db.begin_with(locking.retry_of(age))?.commit()?;
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TxnOptions {
    pub(crate) isolation: Option<IsolationLevel>,
    pub(crate) concurrency: Option<Concurrency>,
    pub(crate) durability: Option<Durability>,
    pub(crate) label: Option<&'static str>,
    pub(crate) read_only: bool,
    pub(crate) deferrable: bool,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) priority: i32,
    pub(crate) retry_of: Option<AgeTicket>,
}

impl TxnOptions {
    /// The isolation level, if not the one of the database. Beginning with a combination that is not offered is [`Error::Unsupported`].
    #[must_use]
    pub fn isolation(mut self, level: IsolationLevel) -> TxnOptions {
        self.isolation = Some(level);
        self
    }

    /// Optimistic or pessimistic, if not as the database's default says.
    #[must_use]
    pub fn concurrency(mut self, concurrency: Concurrency) -> TxnOptions {
        self.concurrency = Some(concurrency);
        self
    }

    /// Declares that nothing will be written: a write is [`Error::ReadOnly`]. At levels that read one snapshot it is taken at the beginning, of
    /// what is acknowledged; a serializable one need not be checked at its end if no transaction that runs beside it can make it wrong.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> TxnOptions {
        self.read_only = read_only;
        self
    }

    /// Lets an optimistic, read-only, serializable transaction wait at its beginning for a snapshot with which it is never refused.
    /// [`Error::InvalidArgument`] with any other.
    #[must_use]
    pub fn deferrable(mut self, deferrable: bool) -> TxnOptions {
        self.deferrable = deferrable;
        self
    }

    /// How long each lock is waited for at most, if not as long as the database's default says.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> TxnOptions {
        self.lock_timeout = Some(timeout);
        self
    }

    /// For the victim policy `Priority`: of those that wait for each other in a circle, the one with the lowest is given up (default: 0).
    #[must_use]
    pub fn priority(mut self, priority: i32) -> TxnOptions {
        self.priority = priority;
        self
    }

    /// Makes it as old as an attempt that failed ([`crate::Transaction::age`]), so that it is not chosen as a victim for ever.
    /// [`Database::update`] does so by itself, and pauses before later attempts: one that begins again at once may meet the others of its circle
    /// where they were, and close it once more.
    #[must_use]
    pub fn retry_of(mut self, age: AgeTicket) -> TxnOptions {
        self.retry_of = Some(age);
        self
    }

    /// What the commit survives, if not what the database's default says.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> TxnOptions {
        self.durability = Some(durability);
        self
    }

    /// A name for errors and reports. Where the transaction was begun they say by themselves.
    #[must_use]
    pub fn label(mut self, label: &'static str) -> TxnOptions {
        self.label = Some(label);
        self
    }
}

/// Chooses how a database is opened.
///
/// ```
/// use duramen::seams::{ManualClock, ManualExecutor, MemVfs};
/// use duramen::{Concurrency, Database, DeadlockHandling, Durability, IsolationLevel, VictimPolicy};
/// use std::sync::Arc;
/// use std::time::Duration;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("db");
/// let builder = Database::builder().memory_bytes(64 << 20).cache_bytes(16 << 20).durability(Durability::Buffered).map_log(false);
/// let db = builder.create_if_missing(true).log_bytes_before_checkpoint(16 << 20).log_segment_bytes(1 << 20, 8 << 20).open(&path)?;
/// db.close()?;
///
/// // What transactions are that do not choose themselves; and room for readers at `ReadUncommitted`.
/// # let path = dir.path().join("db2");
/// let builder = Database::builder().isolation(IsolationLevel::Serializable).concurrency(Concurrency::Optimistic).dirty_reads(true);
/// builder.open(&path)?.close()?;
///
/// // How row locks behave.
/// # let path = dir.path().join("db3");
/// let builder = Database::builder().lock_timeout(Duration::from_secs(2)).victim_policy(VictimPolicy::LeastWork);
/// builder.deadlock_handling(DeadlockHandling::Detect).same_thread_waits_fail(true).open(&path)?.close()?;
///
/// // Memory for a disk, a clock that stands until told to move, and background work only when asked for.
/// let (clock, jobs) = (ManualClock::default(), ManualExecutor::new());
/// let builder = Database::builder().vfs(Arc::new(MemVfs::new())).clock(Arc::new(clock)).executor(Arc::new(jobs.clone()));
/// let db = builder.open("db")?;
/// jobs.run_all(10);
/// db.close()?;
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone)]
pub struct Builder {
    pub(crate) create_if_missing: bool,
    pub(crate) durability: Durability,
    pub(crate) isolation: IsolationLevel,
    pub(crate) concurrency: Concurrency,
    pub(crate) dirty_reads: bool,
    pub(crate) snapshot_age_max: Option<Duration>,
    pub(crate) lock_timeout: Duration,
    pub(crate) lock_options: LockOptions,
    pub(crate) memory_bytes: u64,
    pub(crate) cache_bytes: Option<u64>,
    pub(crate) log_bytes_before_checkpoint: u64,
    pub(crate) log_segment_bytes: (u64, u64),
    pub(crate) map_log: bool,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) executor: Arc<dyn Executor>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            create_if_missing: true,
            durability: Durability::default(),
            isolation: IsolationLevel::Snapshot,
            concurrency: Concurrency::Optimistic,
            dirty_reads: false,
            snapshot_age_max: None,
            lock_timeout: LOCK_TIMEOUT,
            lock_options: LockOptions::default(),
            memory_bytes: 256 << 20,
            cache_bytes: None,
            log_bytes_before_checkpoint: 64 << 20,
            log_segment_bytes: (1 << 20, 64 << 20),
            map_log: true,
            vfs: Arc::new(OsVfs),
            clock: Arc::new(SystemClock::new()),
            executor: Arc::new(ThreadExecutor),
        }
    }
}

impl Builder {
    /// Whether [`Builder::open`] creates a database where there is none (default: yes).
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Builder {
        self.create_if_missing = create;
        self
    }

    /// Durability of transactions that do not choose their own (default: [`Durability::Sync`]).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.durability = durability;
        self
    }

    /// Isolation level of transactions that do not choose their own (default: [`IsolationLevel::Snapshot`]).
    #[must_use]
    pub fn isolation(mut self, level: IsolationLevel) -> Builder {
        self.isolation = level;
        self
    }

    /// Concurrency of transactions that do not choose their own (default: [`Concurrency::Optimistic`]).
    #[must_use]
    pub fn concurrency(mut self, concurrency: Concurrency) -> Builder {
        self.concurrency = concurrency;
        self
    }

    /// Whether transactions may read at [`IsolationLevel::ReadUncommitted`] (default: no). Every write then also goes to a board in memory.
    #[must_use]
    pub fn dirty_reads(mut self, dirty_reads: bool) -> Builder {
        self.dirty_reads = dirty_reads;
        self
    }

    /// How long a snapshot, or a transaction or an iterator that reads at one, may live (default: as long as it likes). After that its reads and
    /// its commit are [`Error::SnapshotTooOld`], and the versions that only it needed go, so that a forgotten one does not fill the disk.
    ///
    /// Ages are noted by the background work, which looks every quarter of a second or more often: a reader may live longer by two looks, never
    /// shorter. Only who reads at one moment is ended: a transaction that reads under locks, or anew with each statement, keeps nothing between
    /// its calls. So is nobody with writes pending in a database with [`Builder::dirty_reads`]. Locks stay until the transaction
    /// is called or dropped; for those there is [`Builder::lock_timeout`].
    ///
    /// ```
    /// use duramen::seams::{ManualClock, ManualExecutor, MemVfs};
    /// use duramen::{BackendKind, Database, Error, Reader};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// let (clock, jobs) = (ManualClock::default(), ManualExecutor::new());
    /// let builder = Database::builder().vfs(Arc::new(MemVfs::new())).clock(Arc::new(clock.clone())).executor(Arc::new(jobs.clone()));
    /// let db = builder.max_snapshot_age(Duration::from_secs(60)).open("db")?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let forgotten = db.snapshot()?;
    /// jobs.run_all(10);
    /// clock.advance(Duration::from_secs(61));
    /// jobs.run_all(10);
    /// assert!(matches!(forgotten.get(&ks, "a"), Err(Error::SnapshotTooOld)));
    /// assert!(db.oldest_readers()[0].is_ended);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn max_snapshot_age(mut self, age: Duration) -> Builder {
        self.snapshot_age_max = Some(age);
        self
    }

    /// How long a lock is waited for at most, by transactions that do not choose themselves (default: 10 s). Then it is
    /// [`Error::LockTimeout`], never called a deadlock: those are found at once.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Builder {
        self.lock_timeout = timeout;
        self
    }

    /// Who is given up when transactions wait for each other in a circle (default: [`VictimPolicy::Youngest`]).
    #[must_use]
    pub fn victim_policy(mut self, policy: VictimPolicy) -> Builder {
        self.lock_options.victim = policy;
        self
    }

    /// Whether such circles are found or prevented (default: [`DeadlockHandling::Detect`]).
    #[must_use]
    pub fn deadlock_handling(mut self, handling: DeadlockHandling) -> Builder {
        self.lock_options.handling = handling;
        self
    }

    /// Whether a wait for a transaction that was last called from the same thread fails at once (default: no, it is reported, and
    /// waited for: another thread may go on with that transaction).
    #[must_use]
    pub fn same_thread_waits_fail(mut self, fail: bool) -> Builder {
        self.lock_options.same_thread_fails = fail;
        self
    }

    /// Memory for pages, memtables, write sets and caches together, in bytes (default: 256 MiB, at least 1 MiB).
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Builder {
        self.memory_bytes = bytes;
        self
    }

    /// How much of the memory the cache of blocks read from LSM tables may take, in bytes (default: three quarters).
    /// They give way to write buffers, and to pages of B-trees down to a quarter of the memory.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Builder {
        self.cache_bytes = Some(bytes);
        self
    }

    /// How far the log grows, in bytes, before stores are asked to persist so that it can be cut (default: 64 MiB).
    /// Bounds the work of the next open: about twice as much is kept while they are at it.
    #[must_use]
    pub fn log_bytes_before_checkpoint(mut self, bytes: u64) -> Builder {
        self.log_bytes_before_checkpoint = bytes;
        self
    }

    /// Size of the first log segment and of the largest, in bytes, multiples of 4096 (default: 1 MiB and 64 MiB; a quarter
    /// of the log kept, in between).
    #[must_use]
    pub fn log_segment_bytes(mut self, first: u64, largest: u64) -> Builder {
        self.log_segment_bytes = (first, largest);
        self
    }

    /// Whether `Buffered` commits may store their records to the mapped end of the log, without a system call each (default: yes; done on ext4, XFS and
    /// files in memory, under Linux). What they promise is the same. Only pages that a call wrote moments before are stored to; if the file system fails
    /// in between, the process is ended by the signal SIGBUS, which loses no acknowledged commit, where a call would have answered with an error. Who
    /// cannot have that says no.
    #[must_use]
    pub fn map_log(mut self, map: bool) -> Builder {
        self.map_log = map;
        self
    }

    /// Another file system (default: the machine's).
    #[must_use]
    pub fn vfs(mut self, vfs: Arc<dyn Vfs>) -> Builder {
        self.vfs = vfs;
        self
    }

    /// Another clock (default: the machine's monotonic one).
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Builder {
        self.clock = clock;
        self
    }

    /// Who runs background work (default: a thread for each job).
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Builder {
        self.executor = executor;
        self
    }

    /// Opens the database in the folder `path`, creating it if there is none.
    ///
    /// Creating is atomic: after a crash or an error at any point of it, opening again succeeds. Opening runs recovery: what it shows
    /// is durable.
    ///
    /// # Errors
    /// * [`Error::Locked`]: somebody has it open; the error names the holder.
    /// * [`Error::Corruption`]: a file is damaged or missing; file and offset are named. Nothing was repaired or changed.
    /// * [`Error::UnsupportedFormat`]: written by a newer version.
    /// * [`Error::InvalidArgument`]: the folder holds other things, or there is no database and `create_if_missing` is off.
    /// * [`Error::DiskFull`], [`Error::Io`]: mend and open again.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        self.check()?;
        Database::open_with(self, PathBuf::from(path.as_ref()))
    }

    fn check(&self) -> Result<()> {
        if self.memory_bytes < MEMORY_BYTES_MIN {
            return Err(Error::InvalidArgument { what: "memory_bytes is at least 1 MiB" });
        }
        if self.cache_bytes.is_some_and(|cache| cache > self.memory_bytes) {
            return Err(Error::InvalidArgument { what: "cache_bytes is part of memory_bytes" });
        }
        Ok(())
    }
}
