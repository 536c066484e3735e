//! A read-write transaction: its snapshot, its write set, and how it ends.
//!
//! It executes the plan that `txn` gives for its level. Writes stay in memory until the commit; nothing needs undoing.
//!
//! B1  The snapshot, at a level that reads at one, is taken at the first read (or by `pin_snapshot`) and never moves.
//! B2  After an error that ends it, and after commit or rollback, every call answers `TxnAborted`.
//! B3  No later statement of a transaction reads below an earlier one.
//!
//! Next: `transaction/reading.rs` (reads), `transaction/locking.rs` (reads that lock), `transaction/ending.rs` (commit).

mod ending;
mod locking;
mod reading;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;

use duramen_base::error::ErrorGroup;
use duramen_base::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, Reservation, Result, Timestamp, TxnOrigin, Value, mutant};
use duramen_txn::{IsolationLevel, Plan, Posted, ReadPoint, ReadSet, Registration, WriteSet, plan};

use crate::commit::{CommitHandle, CommitInfo, Sequenced, position_of};
use crate::core::Core;
use crate::keyspace::{Inner as KeyspaceInner, Keyspace};
use crate::options::{Durability, TxnOptions, WRITE_SET_BYTES_MAX};
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
    registration: Arc<Registration>,
    /// Of a serializable one that is checked at its end.
    enlisted: Cell<Option<Registration>>,
}

/// What it read, as far as its end must know.
struct Reads {
    set: ReadSet,
    /// The keyspaces of reads that are validated, by id.
    keyspaces: Vec<Arc<KeyspaceInner>>,
    /// Moments of locking reads, kept until they were validated.
    kept: Vec<Arc<Registration>>,
}

struct Writes {
    set: WriteSet,
    /// The keyspaces written, by id.
    keyspaces: Vec<Arc<KeyspaceInner>>,
    memory: Reservation,
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
}

impl Transaction {
    pub(crate) fn new(core: &Arc<Core>, options: TxnOptions, begun_at: TxnOrigin) -> Result<Transaction> {
        core.check_writable()?;
        let isolation = options.isolation.unwrap_or(core.isolation);
        let plan = plan(isolation, options.concurrency.unwrap_or(core.concurrency))?;
        if isolation == IsolationLevel::ReadUncommitted && core.board.is_none() {
            return Err(Error::Unsupported { what: "isolation level ReadUncommitted, without `dirty_reads(true)`" });
        }
        let memory = core.parts.budget.reserve_anyway(0);
        let mut transaction = Transaction {
            core: Arc::clone(core),
            plan,
            origin: TxnOrigin { label: options.label, ..begun_at },
            snapshot: OnceCell::new(),
            newest_read: Cell::new(Timestamp::ZERO),
            reads: RefCell::new(Reads { set: ReadSet::new(plan.track_reads), keyspaces: Vec::new(), kept: Vec::new() }),
            writes: RefCell::new(Writes { set: WriteSet::new(), keyspaces: Vec::new(), memory, posted: None }),
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
        let bytes = key.len() + value.len();
        self.write(
            keyspace,
            bytes,
            |set| set.put(keyspace.id(), key, Value::from(value)),
            |board, ts| board.put(keyspace.id(), key, Value::from(value), ts),
        )
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
        self.write(
            keyspace,
            key.len(),
            |set| set.delete(keyspace.id(), key),
            |board, ts| board.delete(keyspace.id(), key, ts),
        )
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
        self.write(
            keyspace,
            low.len() + high.len(),
            |set| set.delete_range(keyspace.id(), low, high),
            |board, ts| board.delete_range(keyspace.id(), low, high, ts),
        )
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
        Ok(Savepoint { writes: writes.set.savepoint(), posted_count })
    }

    /// Undoes every write since `savepoint`, which stays usable; later savepoints are gone. What was read stays read.
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
        Ok(())
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
        if self.dead.get() { Err(Error::TxnAborted) } else { Ok(()) }
    }

    /// Notes a write: in the write set by `change`, and on the dirty board, if there is one, by `post`.
    fn write(
        &self,
        keyspace: &Keyspace,
        bytes: usize,
        change: impl FnOnce(&mut WriteSet),
        post: impl FnOnce(&mut Posted, Timestamp),
    ) -> Result<()> {
        self.check_alive()?;
        self.core.check_keyspace(&keyspace.inner)?;
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        let mut writes = self.writes.borrow_mut();
        let needed = writes.set.bytes() + bytes as u64;
        let budget = WRITE_SET_BYTES_MAX.min(self.core.parts.budget.limit() / 2);
        if needed > budget {
            return Err(Error::TxnTooLarge { needed, budget });
        }
        if let Err(place) = position_of(&writes.keyspaces, keyspace.id()) {
            writes.keyspaces.insert(place, Arc::clone(&keyspace.inner));
        }
        change(&mut writes.set);
        let held = writes.set.bytes().next_multiple_of(RESERVE_STEP_BYTES);
        if held != writes.memory.bytes() && writes.set.bytes() >= RESERVE_STEP_BYTES {
            writes.memory.resize(held);
        }
        if self.core.board.is_some() {
            self.post(&mut writes, post);
        }
        Ok(())
    }

    /// Shows a write to readers at `ReadUncommitted`.
    #[cold]
    fn post(&self, writes: &mut Writes, post: impl FnOnce(&mut Posted, Timestamp)) {
        let Some(board) = &self.core.board else { return };
        let on_board = writes.posted.get_or_insert_with(|| {
            let horizons = &self.core.horizons;
            let registration = self.core.parts.snapshots.register(|| horizons.visible());
            Box::new(OnBoard { posted: Posted::on(board), _registration: registration })
        });
        post(&mut on_board.posted, self.core.horizons.visible());
    }

    /// An error of the environment, the data or the state ends a read-write transaction (B2).
    fn ends_if_serious<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| error.group() != ErrorGroup::CorrectTheCall) {
            self.dead.set(true);
        }
        result
    }
}

fn check_key(key: &[u8]) -> Result<()> {
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
        self.leave_the_serializable();
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
