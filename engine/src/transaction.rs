//! A read-write transaction: its snapshot, its write set, and how it ends.
//!
//! It executes the plan that `txn` gives for its level. Writes stay in memory until the commit; nothing needs undoing.
//!
//! B1  The snapshot is taken at the first read (or by `pin_snapshot`) and never moves.
//! B2  After an error that ends it, and after commit or rollback, every call answers `TxnAborted`.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;

use duramen_base::error::ErrorGroup;
use duramen_base::options::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, KeyBounds, Reservation, Result, Timestamp, Value};
use duramen_txn::{Own, Plan, Registration, Savepoint, WriteSet, plan};

use crate::commit::{CommitHandle, CommitInfo, Request, Sequenced, position_of};
use crate::core::Core;
use crate::iter::Iter;
use crate::keyspace::{Inner as KeyspaceInner, Keyspace};
use crate::options::{Durability, TxnOptions, WRITE_SET_BYTES_MAX};
use crate::reader::sealed::View;

/// The budget is told of a write set's growth in steps of this many bytes.
const RESERVE_STEP_BYTES: u64 = 64 << 10;

/// A read-write transaction over any keyspaces of one database. `Send`; its methods take `&self`, so one can iterate and write.
///
/// It reads one snapshot, taken at its first read, overlaid with its own writes. Dropping it rolls it back.
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
    registration: OnceCell<Arc<Registration>>,
    writes: RefCell<Writes>,
    dead: Cell<bool>,
}

struct Writes {
    set: WriteSet,
    /// The keyspaces written, by id.
    keyspaces: Vec<Arc<KeyspaceInner>>,
    memory: Reservation,
}

impl Transaction {
    pub(crate) fn new(core: &Arc<Core>, options: TxnOptions) -> Result<Transaction> {
        core.check_writable()?;
        let plan = plan(options.isolation, options.concurrency)?;
        let memory = core.parts.budget.reserve_anyway(0);
        Ok(Transaction {
            core: Arc::clone(core),
            plan,
            options,
            registration: OnceCell::new(),
            writes: RefCell::new(Writes { set: WriteSet::new(), keyspaces: Vec::new(), memory }),
            dead: Cell::new(false),
        })
    }

    /// Sets the value of `key`; seen by this transaction at once, by others after the commit.
    ///
    /// # Errors
    /// `KeyTooLarge`, `ValueTooLarge`, `TxnTooLarge`, `NoSuchKeyspace`, `InvalidArgument` (a keyspace of another open database): nothing changed, go on.
    /// `TxnAborted`: an earlier error ended the transaction.
    pub fn put(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::ValueTooLarge { bytes: value.len() });
        }
        let bytes = key.len() + value.len();
        self.write(keyspace, bytes, |set| set.put(keyspace.id(), key, Value::from(value)))
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
        self.write(keyspace, key.len(), |set| set.delete(keyspace.id(), key))
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
        self.write(keyspace, low.len() + high.len(), |set| set.delete_range(keyspace.id(), low, high))
    }

    /// Takes the snapshot now instead of at the first read.
    ///
    /// # Errors
    /// `TxnAborted`, `Closed`.
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
        Ok(self.snapshot().ts())
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
        Ok(self.writes.borrow_mut().set.savepoint())
    }

    /// Undoes every write since `savepoint`, which stays usable; later savepoints are gone. What was read stays read.
    ///
    /// # Errors
    /// `InvalidArgument`: a savepoint of another transaction, or one rolled back past; nothing changed. `TxnAborted`.
    pub fn rollback_to(&self, savepoint: &Savepoint) -> Result<()> {
        self.check_alive()?;
        self.writes.borrow_mut().set.rollback_to(savepoint)
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
    /// * [`Error::WriteConflict`], [`Error::LockTimeout`]: nothing was written; run the transaction again ([`crate::Database::update`] does).
    /// * [`Error::DiskFull`]: nothing was written; free some space.
    /// * [`Error::TxnTooLarge`]: nothing was written; it can never fit the memory budget.
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

    /// Steps 1 to 5 of the commit; for a transaction without writes, waits until what it read was acknowledged.
    fn sequence(&self) -> Result<Option<Sequenced>> {
        self.check_alive()?;
        self.dead.set(true);
        let writes = self.writes.borrow();
        let snapshot_ts = self.registration.get().map(|registration| registration.ts());
        if writes.set.is_empty() {
            if let Some(ts) = snapshot_ts {
                self.core.wait_acked(ts)?;
            }
            return Ok(None);
        }
        // A savepoint's rollback may have left keyspaces without a write.
        let mut written = Vec::new();
        if writes.set.keyspaces().count() < writes.keyspaces.len() {
            let place = |id| position_of(&writes.keyspaces, id).expect("noted at the write");
            written.extend(writes.set.keyspaces().map(|id| Arc::clone(&writes.keyspaces[place(id)])));
        }
        let keyspaces = if written.is_empty() { &writes.keyspaces } else { &written };
        let request = Request { write_set: &writes.set, keyspaces, snapshot_ts, plan: &self.plan };
        let sequenced = self.core.sequence(&request)?;
        Ok(Some(sequenced))
    }

    /// What it reads at (B1).
    fn snapshot(&self) -> &Arc<Registration> {
        self.registration.get_or_init(|| {
            let horizons = &self.core.horizons;
            Arc::new(self.core.parts.snapshots.register(|| horizons.visible()))
        })
    }

    /// Returns when everything this transaction read is acknowledged, so that it may be told to others.
    pub(crate) fn wait_reads_acked(&self) -> Result<()> {
        match self.registration.get() {
            Some(registration) => self.core.wait_acked(registration.ts()),
            None => Ok(()),
        }
    }

    fn check_alive(&self) -> Result<()> {
        self.core.check_open()?;
        if self.dead.get() { Err(Error::TxnAborted) } else { Ok(()) }
    }

    fn write(&self, keyspace: &Keyspace, bytes: usize, change: impl FnOnce(&mut WriteSet)) -> Result<()> {
        self.check_alive()?;
        self.core.check_keyspace(&keyspace.inner)?;
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
        Ok(())
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

impl View for Transaction {
    fn view_get(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
        self.check_alive()?;
        self.core.check_keyspace(&keyspace.inner)?;
        match self.writes.borrow().set.get(keyspace.id(), key) {
            Some(Own::Put(value)) => return Ok(Some(value)),
            Some(Own::Deleted) => return Ok(None),
            None => {}
        }
        self.ends_if_serious(keyspace.inner.read(key, self.snapshot().ts()))
    }

    fn view_iter(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter> {
        self.check_alive()?;
        self.core.check_keyspace(&keyspace.inner)?;
        let view = self.writes.borrow().set.view(keyspace.id());
        Ok(Iter::new(keyspace, self.snapshot(), view, bounds))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.dead.get() && !self.writes.borrow().set.is_empty() {
            self.core.counters.rollbacks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("label", &self.options.label)
            .field("isolation", &self.options.isolation)
            .field("writes", &self.write_count())
            .finish_non_exhaustive()
    }
}
