//! A read-write transaction: its snapshot, its write set, and how it ends.
//!
//! It executes the plan that `txn` gives for its level. Writes stay in memory until the commit; nothing needs undoing.
//!
//! B1  The snapshot, at a level that reads at one, is taken at the first read (or by `pin_snapshot`) and never moves.
//! B2  After an error that ends it, and after commit or rollback, every call answers `TxnAborted`.
//! B3  No later statement of a transaction reads below an earlier one.
//!
//! Next: `transaction/reading.rs` (reads), `transaction/locking.rs` (reads that lock), `transaction/ending.rs` (commit).

mod change;
mod ending;
mod locking;
mod reading;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;

use duramen_base::error::ErrorGroup;
use duramen_base::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, Reservation, Result, Timestamp, TxnOrigin, mutant};
use duramen_txn::{
    AgeTicket, IsolationLevel, LockMark, OwnerSpec, Plan, Posted, ReadPoint, ReadSet, Registration, WriteLocks,
    WriteSet, plan,
};

use smallvec::SmallVec;

use crate::commit::{CommitHandle, CommitInfo, Sequenced, position_of};
use crate::core::Core;
use crate::keyspace::{Inner as KeyspaceInner, Keyspace};
use crate::options::{Durability, TxnOptions, WRITE_SET_BYTES_MAX};
use crate::row_locks::RowLocks;
use crate::snapshot::check_kept;
use change::Change;
pub use locking::LockRead;

/// The budget is told of a write set's growth in steps of this many bytes.
const RESERVE_STEP_BYTES: u64 = 64 << 10;

/// A read-write transaction over any keyspaces of one database. `Send`; its methods take `&self`, so one can iterate and write.
///
/// What it sees of others its isolation level says (by default one snapshot, taken at its first read); its own writes it always sees. Dropping
/// it rolls it back.
///
/// ```
/// use duramen::{BackendKind, Database, Reader};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("accounts", BackendKind::BTree)?;
/// let tx = db.begin()?;
/// tx.put(&ks, "alice", "50")?;
/// assert_eq!(tx.get(&ks, "alice")?.as_deref(), Some(&b"50"[..])); // reads its own writes
/// tx.commit()?;
/// # Ok::<(), duramen::Error>(())
/// ```
pub struct Transaction {
    core: Arc<Core>,
    plan: Plan,
    options: TxnOptions,
    origin: TxnOrigin,
    isolation: IsolationLevel,
    /// What it has locked, if it is pessimistic.
    locks: Option<Arc<RowLocks>>,
    /// Where it reads, at a level that reads at one moment (B1).
    snapshot: OnceCell<Snapshot>,
    /// The newest moment that a statement of its own read at (B3).
    newest_read: Cell<Timestamp>,
    reads: RefCell<Reads>,
    writes: RefCell<Writes>,
    dead: Cell<bool>,
}

/// The one moment a transaction reads at.
struct Snapshot {
    registration: Registration,
    /// Whether it is registered as a serializable one that is checked at its end.
    is_serial: Cell<bool>,
}

/// What it read, as far as its end must know.
struct Reads {
    set: ReadSet,
    /// The keyspaces of reads that are validated, by id.
    keyspaces: Vec<Arc<KeyspaceInner>>,
    /// Moments of locking reads, kept until they were validated.
    kept: Vec<Registration>,
}

struct Writes {
    set: WriteSet,
    /// The keyspaces written, by id.
    keyspaces: SmallVec<[Arc<KeyspaceInner>; 2]>,
    /// Of all but small ones.
    memory: Option<Reservation>,
    /// The same writes where others can see them, in a database with dirty reads.
    posted: Option<Box<OnBoard>>,
}

/// The writes of a transaction on the dirty board, until they are visible or undone.
pub(crate) struct OnBoard {
    posted: Posted,
    /// Keeps what readers must know of keys since they were written.
    _registration: Registration,
}

/// A point of a transaction to which its writes can be undone. Belongs to the transaction that made it.
///
/// See [`Transaction::savepoint`] for an example.
#[derive(Clone, Debug)]
pub struct Savepoint {
    writes: duramen_txn::Savepoint,
    posted_count: usize,
    locked: Option<LockMark>,
}

impl Transaction {
    pub(crate) fn new(core: &Arc<Core>, options: TxnOptions, begun_at: TxnOrigin) -> Result<Transaction> {
        core.check_writable()?;
        let isolation = options.isolation.unwrap_or(core.isolation);
        let plan = plan(isolation, options.concurrency.unwrap_or(core.concurrency));
        if isolation == IsolationLevel::ReadUncommitted && core.board.is_none() {
            return Err(Error::Unsupported { what: "isolation level ReadUncommitted, without `dirty_reads(true)`" });
        }
        let origin = TxnOrigin { label: options.label, ..begun_at };
        let locks = (plan.write_locks == WriteLocks::AtWrite).then(|| {
            let spec = OwnerSpec {
                origin,
                isolation: name_of(isolation, plan.write_locks),
                priority: options.priority,
                begun_at: Some(core.parts.clock.now()),
                retry_of: options.retry_of,
            };
            RowLocks::new(&core.locks, spec, options.lock_timeout.unwrap_or(core.lock_timeout))
        });
        let mut transaction = Transaction {
            core: Arc::clone(core),
            plan,
            origin,
            isolation,
            locks,
            snapshot: OnceCell::new(),
            newest_read: Cell::new(Timestamp::ZERO),
            reads: RefCell::new(Reads { set: ReadSet::new(plan.track_reads), keyspaces: Vec::new(), kept: Vec::new() }),
            writes: RefCell::new(Writes {
                set: WriteSet::new(),
                keyspaces: SmallVec::new(),
                memory: None,
                posted: None,
            }),
            dead: Cell::new(false),
            options,
        };
        if transaction.options.read_only || transaction.options.deferrable {
            transaction.begin_read_only()?;
        }
        Ok(transaction)
    }

    /// Sets the value of `key`; seen by this transaction at once, by others after the commit.
    ///
    /// # Errors
    /// `KeyTooLarge`, `ValueTooLarge`, `TxnTooLarge`, `NoSuchKeyspace`, `InvalidArgument` (a keyspace of another open database): nothing changed, go on.
    /// `ReadOnly`: it was begun read-only. `TxnAborted`: an earlier error ended the transaction.
    pub fn put(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::ValueTooLarge { bytes: value.len() });
        }
        self.write(keyspace, Change::Put(key, value))
    }

    /// Removes `key`; one that is absent is fine.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.put(&ks, "a", "1")?;
    /// tx.delete(&ks, "a")?;
    /// assert!(!tx.contains(&ks, "a")?);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn delete(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<()> {
        let key = key.as_ref();
        check_key(key)?;
        self.write(keyspace, Change::Delete(key))
    }

    /// Removes every key from `low` up to, without, `high`; an empty `high` means to the end of the keyspace. Costs the same however many keys there
    /// are. Keys put later in this transaction survive.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::Lsm)?;
    /// db.update(|tx| (0..9).try_for_each(|n| tx.put(&ks, format!("n{n}"), "")))?;
    /// db.update(|tx| tx.delete_range(&ks, "n2", "n8"))?;
    /// assert_eq!(db.snapshot()?.iter(&ks)?.count(), 3);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn delete_range(&self, keyspace: &Keyspace, low: impl AsRef<[u8]>, high: impl AsRef<[u8]>) -> Result<()> {
        let (low, high) = (low.as_ref(), high.as_ref());
        check_key(low)?;
        check_key(high)?;
        self.write(keyspace, Change::DeleteRange(low, high))
    }

    /// Takes the snapshot now instead of at the first read.
    ///
    /// # Errors
    /// `Unsupported`: at its level it does not read at one moment. `TxnAborted`, `Closed`.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.pin_snapshot()?;
    /// db.update(|other| other.put(&ks, "a", "1"))?;
    /// assert!(!tx.contains(&ks, "a")?);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn pin_snapshot(&self) -> Result<Timestamp> {
        self.check_alive()?;
        match self.plan.read_point {
            ReadPoint::Snapshot => Ok(self.snapshot()?.ts()),
            ReadPoint::Statement | ReadPoint::Pending => {
                Err(Error::Unsupported { what: "pinning the snapshot at a level where each statement reads anew" })
            }
            ReadPoint::Locked => {
                Err(Error::Unsupported { what: "pinning the snapshot of a transaction that locks what it reads" })
            }
        }
    }

    /// A point that [`Transaction::rollback_to`] can return to.
    ///
    /// # Errors
    /// `TxnAborted`.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.put(&ks, "a", "1")?;
    /// let before_b = tx.savepoint()?;
    /// tx.put(&ks, "b", "2")?;
    /// tx.rollback_to(&before_b)?;
    /// assert!(tx.contains(&ks, "a")? && !tx.contains(&ks, "b")?);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn savepoint(&self) -> Result<Savepoint> {
        self.check_alive()?;
        let mut writes = self.writes.borrow_mut();
        let posted_count = writes.posted.as_ref().map_or(0, |board| board.posted.len());
        let locked = self.locks.as_ref().and_then(|locks| locks.mark());
        Ok(Savepoint { writes: writes.set.savepoint(), posted_count, locked })
    }

    /// Undoes every write since `savepoint`, which stays usable; later savepoints are gone. What was read stays read. A pessimistic transaction
    /// at ReadUncommitted, ReadCommitted and Snapshot gives back the locks of those writes; all other locks stay.
    ///
    /// # Errors
    /// `InvalidArgument`: a savepoint of another transaction, or one rolled back past; nothing changed. `TxnAborted`.
    pub fn rollback_to(&self, savepoint: &Savepoint) -> Result<()> {
        self.check_alive()?;
        let mut writes = self.writes.borrow_mut();
        writes.set.rollback_to(&savepoint.writes)?;
        if mutant!("savepoint_forgets_reads") {
            self.reads.borrow_mut().set = ReadSet::new(self.plan.track_reads);
        }
        if let Some(board) = &mut writes.posted {
            board.posted.truncate(savepoint.posted_count);
        }
        // Whoever promises that reads last keeps every lock.
        if let (Some(locks), Some(mark)) = (&self.locks, savepoint.locked)
            && self.plan.read_point != ReadPoint::Locked
        {
            locks.rollback_to(mark);
        }
        Ok(())
    }

    /// Its age, if it is pessimistic: for [`TxnOptions::retry_of`], should it fail.
    ///
    /// ```
    /// # use duramen::{Concurrency, Database, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// let options = TxnOptions::default().concurrency(Concurrency::Pessimistic);
    /// let failed = db.begin_with(options.clone())?;
    /// let age = failed.age().expect("it locks");
    /// drop(failed);
    /// assert_eq!(db.begin_with(options.retry_of(age))?.age(), Some(age.next_attempt()));
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn age(&self) -> Option<AgeTicket> {
        self.locks.as_ref().map(|locks| locks.age())
    }

    /// Number of keys and ranges written so far.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.put(&ks, "a", "1")?;
    /// tx.put(&ks, "a", "2")?;
    /// assert_eq!(tx.write_count(), 1);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn write_count(&self) -> usize {
        self.writes.borrow().set.len()
    }

    /// Commits: the writes become visible together, in all keyspaces, and as durable as the transaction's [`Durability`] says when this
    /// returns. One sync serves all commits that wait. `None` if nothing was written.
    ///
    /// With [`Durability::Sync`] other transactions may see the writes a moment before they are durable; whoever reads them commits behind them.
    /// A transaction that wrote nothing returns when everything it read was acknowledged.
    ///
    /// # Errors
    /// * [`Error::WriteConflict`], [`Error::SerializationFailure`], [`Error::SnapshotTooOld`], [`Error::LockTimeout`]: nothing was written; run the
    ///   transaction again ([`crate::Database::update`] does). A serializable transaction that wrote nothing may be refused too.
    /// * [`Error::DiskFull`]: nothing was written; free some space.
    /// * [`Error::TxnTooLarge`]: nothing was written; it can never fit the memory budget.
    /// * [`Error::MemoryTimeout`]: nothing was written; it would fit, but others did not give memory back for ten seconds. Run it again.
    /// * [`Error::Poisoned`]: nothing was written; reopen.
    /// * [`Error::Indeterminate`]: it was sequenced, and only a reopen tells whether it survived.
    pub fn commit(self) -> Result<Option<CommitInfo>> {
        let durability = self.durability();
        let Some(sequenced) = self.sequence()? else { return Ok(None) };
        self.core.wait(&sequenced, durability)?;
        Ok(Some(sequenced.info))
    }

    /// Commits without waiting for durability: returns when the writes are sequenced and applied. `None` if nothing was written.
    ///
    /// # Errors
    /// As [`Transaction::commit`], but for `Indeterminate`, which the handle reports.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.put(&ks, "a", "1")?;
    /// let handle = tx.commit_async()?.expect("it wrote something");
    /// handle.wait_visible();
    /// assert!(db.snapshot()?.contains(&ks, "a")? || handle.wait_durable().is_ok());
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn commit_async(self) -> Result<Option<CommitHandle>> {
        let Some(Sequenced { info, end }) = self.sequence()? else { return Ok(None) };
        self.core.wake_log();
        Ok(Some(CommitHandle { core: Arc::clone(&self.core), info, end }))
    }

    /// Forgets every write. Dropping the transaction does the same.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// tx.put(&ks, "a", "1")?;
    /// tx.rollback();
    /// assert!(!db.snapshot()?.contains(&ks, "a")?);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn rollback(self) {}

    /// What the commit will survive.
    fn durability(&self) -> Durability {
        self.options.durability.unwrap_or(self.core.durability)
    }

    fn check_alive(&self) -> Result<()> {
        self.core.check_open()?;
        if !self.dead.get() && self.locks.as_ref().is_some_and(|locks| locks.have_ended()) {
            self.abort(); // One of its iterators lost a lock.
        }
        if self.dead.get() {
            return Err(Error::TxnAborted);
        }
        match self.snapshot.get() {
            Some(snapshot) => self.ends_if_serious(check_kept(&snapshot.registration)),
            None => Ok(()),
        }
    }

    /// Makes a write: locks it, if that is done now, and notes it in the write set and on the dirty board, if there is one.
    fn write(&self, keyspace: &Keyspace, change: Change<'_>) -> Result<()> {
        self.check_alive()?;
        self.core.check_keyspace(&keyspace.inner)?;
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        let needed = self.writes.borrow().set.bytes() + change.bytes() as u64;
        let budget = WRITE_SET_BYTES_MAX.min(self.core.parts.budget.limit() / 2);
        if needed > budget {
            return Err(Error::TxnTooLarge { needed, budget });
        }
        if let Some(locks) = &self.locks {
            self.ends_if_serious(self.lock_to_write(locks, keyspace, &change))?;
        }
        let mut writes = self.writes.borrow_mut();
        if let Err(place) = position_of(&writes.keyspaces, keyspace.id()) {
            writes.keyspaces.insert(place, Arc::clone(&keyspace.inner));
        }
        change.apply(&mut writes.set, keyspace.id());
        let bytes = writes.set.bytes();
        if bytes >= RESERVE_STEP_BYTES || writes.memory.is_some() {
            self.hold(&mut writes.memory, bytes.next_multiple_of(RESERVE_STEP_BYTES));
        }
        if self.core.board.is_some() {
            self.post(&mut writes, keyspace, &change);
        }
        Ok(())
    }

    #[cold]
    fn hold(&self, memory: &mut Option<Reservation>, bytes: u64) {
        let memory = memory.get_or_insert_with(|| self.core.parts.budget.reserve_anyway(0));
        if memory.bytes() != bytes {
            memory.resize(bytes);
        }
    }

    /// Shows a write to readers at `ReadUncommitted`.
    #[cold]
    fn post(&self, writes: &mut Writes, keyspace: &Keyspace, change: &Change<'_>) {
        let Some(board) = &self.core.board else { return };
        let on_board = writes.posted.get_or_insert_with(|| {
            let horizons = &self.core.horizons;
            // For good: who looks at the board asks about its moment, and nobody checks that.
            let registration = self.core.parts.snapshots.register_for_good(&self.origin, || horizons.visible());
            Box::new(OnBoard { posted: Posted::on(board), _registration: registration })
        });
        change.post(&mut on_board.posted, keyspace.id(), self.core.horizons.visible());
    }

    /// An error of the environment, the data or the state ends a transaction (B2): it is rolled back at once.
    fn ends_if_serious<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| error.group() != ErrorGroup::CorrectTheCall) {
            self.abort();
        }
        result
    }

    /// Rolls back: locks fall, writes are forgotten, others stop seeing it.
    #[cold]
    fn abort(&self) {
        self.dead.set(true);
        if let Ok(mut writes) = self.writes.try_borrow_mut() {
            if !writes.set.is_empty() {
                self.core.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
            }
            writes.set = WriteSet::new();
            writes.posted = None;
            writes.memory = None;
        }
        if let Some(locks) = &self.locks {
            locks.end();
        }
    }
}

/// Level and mode, for reports.
fn name_of(level: IsolationLevel, locks: WriteLocks) -> &'static str {
    match (level, locks) {
        (IsolationLevel::ReadUncommitted, WriteLocks::AtCommit) => "ReadUncommitted/Optimistic",
        (IsolationLevel::ReadCommitted, WriteLocks::AtCommit) => "ReadCommitted/Optimistic",
        (IsolationLevel::RepeatableRead, WriteLocks::AtCommit) => "RepeatableRead/Optimistic",
        (IsolationLevel::Snapshot, WriteLocks::AtCommit) => "Snapshot/Optimistic",
        (IsolationLevel::Serializable, WriteLocks::AtCommit) => "Serializable/Optimistic",
        (IsolationLevel::ReadUncommitted, WriteLocks::AtWrite) => "ReadUncommitted/Pessimistic",
        (IsolationLevel::ReadCommitted, WriteLocks::AtWrite) => "ReadCommitted/Pessimistic",
        (IsolationLevel::RepeatableRead, WriteLocks::AtWrite) => "RepeatableRead/Pessimistic",
        (IsolationLevel::Snapshot, WriteLocks::AtWrite) => "Snapshot/Pessimistic",
        (IsolationLevel::Serializable, WriteLocks::AtWrite) => "Serializable/Pessimistic",
    }
}

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::KeyTooLarge { bytes: key.len() });
    }
    Ok(())
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.dead.get() && !self.writes.borrow().set.is_empty() {
            self.core.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
        }
        self.reads.get_mut().set.close_scans();
        self.leave_the_serializable();
        // Its iterators may live on; its locks do not.
        if let Some(locks) = &self.locks {
            locks.end();
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("label", &self.options.label)
            .field("plan", &self.plan)
            .field("writes", &self.write_count())
            .finish_non_exhaustive()
    }
}
