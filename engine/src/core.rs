//! What all handles of one open database share, and the checks that every call begins with.
//!
//! A place where the parts meet, without an algorithm of its own.

use std::path::PathBuf;
use std::time::Duration;

use duramen_base::clock::Clock;
use duramen_base::executor::JobHandle;
use duramen_base::pool::FramePool;
use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex, Padded};
use duramen_base::vfs::{FileLock, Vfs};
use duramen_base::{Budget, DbUuid, Error, Lsn, Result, StoreEnv};
use duramen_base::{KeyspaceId, KeyspaceOptions, StoreHost};
use duramen_txn::{Concurrency, DirtyBoard, Horizons, IsolationLevel, LockManager, LockOptions, Snapshots, Ssi};
use duramen_wal::Wal;

use crate::commit::CommitOrder;
use crate::host::Host;
use crate::keyspace;
use crate::keyspaces::Keyspaces;
use crate::observer::LogObserver;
use crate::options::Durability;

/// Facts about serializable transactions take this part of the memory at most.
const SSI_SHARE: u64 = 16;

/// Apart from the counts of its `Arc`, which each transaction changes; so is what each commit writes.
#[repr(align(128))]
pub(crate) struct Core {
    /// A number of the process, to tell keyspace handles of different open databases apart.
    pub(crate) instance: u64,
    pub(crate) parts: Parts,
    pub(crate) wal: Arc<Wal>,
    pub(crate) horizons: Arc<Horizons>,
    pub(crate) observer: Arc<LogObserver>,
    pub(crate) order: CommitOrder,
    pub(crate) locks: Arc<LockManager>,
    pub(crate) lock_timeout: Duration,
    pub(crate) ssi: Ssi,
    /// Kept only for a database with dirty reads.
    pub(crate) board: Option<Arc<DirtyBoard>>,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) durability: Durability,
    pub(crate) isolation: IsolationLevel,
    pub(crate) concurrency: Concurrency,
    pub(crate) log_bytes_before_checkpoint: u64,
    pub(crate) snapshot_age_max: Option<Duration>,
    pub(crate) counters: Padded<Counters>,
    pub(crate) log_wakeup: Padded<LogWakeup>,
    /// Whether upkeep last failed for lack of space.
    disk_full: AtomicBool,
    /// Whether the last commit was refused for lack of space in the log.
    log_full: AtomicBool,
    pub(crate) last_checkpoint: Mutex<LastCheckpoint>,
    closed: AtomicBool,
    jobs: Mutex<Vec<JobHandle>>,
    /// Whether upkeep goes on by itself.
    upkeep_has_thread: AtomicBool,
    dir_lock: Mutex<Option<Box<dyn FileLock>>>,
}

/// What stores are opened with; there before the log is.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) path: PathBuf,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) db_uuid: DbUuid,
    pub(crate) host: Arc<Host>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) pool: Arc<FramePool>,
}

impl Parts {
    /// The folder of a keyspace.
    pub(crate) fn keyspace_dir(&self, id: KeyspaceId) -> PathBuf {
        self.keyspaces_dir().join(id.get().to_string())
    }

    pub(crate) fn keyspaces_dir(&self) -> PathBuf {
        self.path.join("ks")
    }

    /// What the store of a keyspace is opened with.
    pub(crate) fn store_env(&self, id: KeyspaceId, options: &KeyspaceOptions) -> StoreEnv {
        StoreEnv {
            vfs: Arc::clone(&self.vfs),
            dir: self.keyspace_dir(id),
            keyspace: id,
            db_uuid: self.db_uuid,
            options: options.clone(),
            host: Arc::clone(&self.host) as Arc<dyn StoreHost>,
            pool: Arc::clone(&self.pool),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// Whether the log's background job has something to write, and whether it must be woken for it.
#[derive(Default)]
pub(crate) struct LogWakeup {
    pub(crate) dirty: AtomicBool,
    pub(crate) idle: AtomicBool,
    pub(crate) waker: Mutex<Option<duramen_base::executor::Waker>>,
}

/// When all stores were last asked to persist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCheckpoint {
    /// By the clock of the database.
    pub(crate) at: Duration,
    /// The end of the log at that time.
    pub(crate) log_end: Lsn,
}

/// Figures of the engine itself.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) serialization_failures: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) readers_ended: AtomicU64,
}

/// What [`Core::new`] is made of beside the parts.
pub(crate) struct Opened {
    pub(crate) wal: Arc<Wal>,
    pub(crate) horizons: Arc<Horizons>,
    pub(crate) observer: Arc<LogObserver>,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) durability: Durability,
    pub(crate) isolation: IsolationLevel,
    pub(crate) concurrency: Concurrency,
    pub(crate) dirty_reads: bool,
    pub(crate) snapshot_age_max: Option<Duration>,
    pub(crate) lock_timeout: Duration,
    pub(crate) lock_options: LockOptions,
    pub(crate) log_bytes_before_checkpoint: u64,
    pub(crate) dir_lock: Box<dyn FileLock>,
    pub(crate) instance: u64,
}

/// A number for a database that is being opened.
pub(crate) fn next_instance() -> u64 {
    duramen_base::sync::unique_number()
}

impl Core {
    pub(crate) fn new(parts: Parts, opened: Opened) -> Arc<Core> {
        let last_checkpoint = Mutex::new(LastCheckpoint { at: parts.clock.now(), log_end: Lsn::new(0) });
        let locks = LockManager::with_keyspace_names(
            Arc::clone(&parts.clock),
            Arc::clone(&parts.budget),
            opened.lock_options,
            Some(opened.keyspaces.names()),
        );
        let ssi = Ssi::new(&parts.snapshots, Arc::clone(&parts.budget), parts.budget.limit() / SSI_SHARE);
        Arc::new(Core {
            instance: opened.instance,
            parts,
            wal: opened.wal,
            order: CommitOrder::new(Arc::clone(&opened.horizons)),
            horizons: opened.horizons,
            observer: opened.observer,
            locks,
            lock_timeout: opened.lock_timeout,
            ssi,
            board: opened.dirty_reads.then(DirtyBoard::new),
            keyspaces: opened.keyspaces,
            durability: opened.durability,
            isolation: opened.isolation,
            concurrency: opened.concurrency,
            log_bytes_before_checkpoint: opened.log_bytes_before_checkpoint,
            snapshot_age_max: opened.snapshot_age_max,
            counters: Padded::default(),
            log_wakeup: Padded::default(),
            disk_full: AtomicBool::new(false),
            log_full: AtomicBool::new(false),
            last_checkpoint,
            closed: AtomicBool::new(false),
            jobs: Mutex::default(),
            upkeep_has_thread: AtomicBool::new(false),
            dir_lock: Mutex::new(Some(opened.dir_lock)),
        })
    }

    /// Takes over the background jobs.
    pub(crate) fn set_jobs(&self, log: JobHandle, upkeep: JobHandle) {
        *self.log_wakeup.waker.lock() = Some(log.waker());
        self.parts.host.set_upkeep(Some(upkeep.waker()));
        self.upkeep_has_thread.store(upkeep.has_thread(), Ordering::Relaxed);
        *self.jobs.lock() = vec![log, upkeep];
    }

    /// Whether upkeep goes on by itself.
    pub(crate) fn upkeep_has_thread(&self) -> bool {
        self.upkeep_has_thread.load(Ordering::Relaxed)
    }

    /// Refuses if the database was closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Whether the stores' upkeep waits for space, or commits do.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed) || self.log_full.load(Ordering::Relaxed)
    }

    /// Notes whether the log had room for a commit.
    pub(crate) fn set_log_full(&self, full: bool) {
        if self.log_full.load(Ordering::Relaxed) != full {
            self.log_full.store(full, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::Relaxed);
    }

    /// Refuses if nothing may be written any more.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        match self.wal.poisoned() {
            Some(cause) => Err(Error::Poisoned { cause }),
            None => Ok(()),
        }
    }

    /// Refuses a keyspace of another open database, or a dropped one.
    pub(crate) fn check_keyspace(&self, keyspace: &keyspace::Inner) -> Result<()> {
        keyspace.check_of(self.instance)
    }

    /// Asks the log's job to write (and sync, for callbacks) soon.
    pub(crate) fn wake_log(&self) {
        if !self.log_wakeup.dirty.load(Ordering::Relaxed) {
            self.log_wakeup.dirty.store(true, Ordering::SeqCst);
        }
        // SeqCst: pairs with the job, which says that it is idle and then looks at `dirty` once more.
        if self.log_wakeup.idle.load(Ordering::SeqCst)
            && self.log_wakeup.idle.swap(false, Ordering::SeqCst)
            && let Some(waker) = &*self.log_wakeup.waker.lock()
        {
            waker.wake();
        }
    }

    /// Stops background work, closes the log in order and lets go of the folder. The first call does it, later ones do nothing.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.parts.snapshots.close();
        let jobs = std::mem::take(&mut *self.jobs.lock());
        for mut job in jobs {
            job.stop();
        }
        self.parts.host.set_upkeep(None);
        *self.log_wakeup.waker.lock() = None;
        let logged = self.log_all_marks();
        let closed = self.wal.close();
        self.dir_lock.lock().take();
        match (logged, closed) {
            (Ok(()), Ok(())) => Ok(()),
            (_, Err(error)) | (Err(error), Ok(())) => Err(error),
        }
    }
}
