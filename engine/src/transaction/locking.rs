//! Reads that lock: what they return stays as it is until the transaction ends, at every level.
//!
//! An optimistic transaction locks nothing: it remembers where it looked, and its commit is refused with `WriteConflict` if anything there has
//! changed. So a lost update is prevented at every level by whoever reads what it will overwrite with [`Transaction::get_for_update`].

use std::ops::{Bound, RangeBounds};

use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, LockMode, Result, Value};
use duramen_txn::{ReadPoint, WriteLocks};

use super::Transaction;
use crate::iter::Iter;
use crate::keyspace::Keyspace;

/// How a read locks.
///
/// ```
/// use duramen::{BackendKind, Database, Error, LockRead};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// let tx = db.begin()?;
/// tx.get_locked(&ks, "a", LockRead::for_share())?;
/// // Who locks nothing can neither refuse to wait nor skip what is locked.
/// for read in [LockRead::for_update().nowait(), LockRead::for_update().skip_locked()] {
///     assert!(matches!(tx.get_locked(&ks, "a", read), Err(Error::Unsupported { .. })));
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRead {
    pub(super) mode: LockMode,
    pub(super) wait: Wait,
}

/// What to do if somebody else holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Block,
    Refuse,
    Skip,
}

impl LockRead {
    /// Others may read it as well; nobody may change it.
    #[must_use]
    pub fn for_share() -> LockRead {
        LockRead { mode: LockMode::Shared, wait: Wait::Block }
    }

    /// It is about to be changed: nobody else may read it with a lock, nor change it.
    #[must_use]
    pub fn for_update() -> LockRead {
        LockRead { mode: LockMode::Update, wait: Wait::Block }
    }

    /// [`Error::WouldBlock`] instead of waiting. Pessimistic transactions only.
    #[must_use]
    pub fn nowait(mut self) -> LockRead {
        self.wait = Wait::Refuse;
        self
    }

    /// What somebody else has locked is not there. Pessimistic transactions only.
    #[must_use]
    pub fn skip_locked(mut self) -> LockRead {
        self.wait = Wait::Skip;
        self
    }
}

impl Transaction {
    /// The value of `key`, which nobody else will have changed when this transaction commits.
    ///
    /// # Errors
    /// As [`crate::Reader::get`], and what [`Transaction::get_locked`] adds.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Error, IsolationLevel, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin_with(TxnOptions::default().isolation(IsolationLevel::ReadCommitted))?;
    /// assert_eq!(tx.get_for_share(&ks, "limit")?, None);
    /// tx.put(&ks, "order", "1")?;
    /// db.update(|other| other.put(&ks, "limit", "0"))?;
    /// assert!(matches!(tx.commit(), Err(Error::WriteConflict(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_for_share(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.get_locked(keyspace, key, LockRead::for_share())
    }

    /// The value of `key`, to be changed: of two transactions that read it so and then write it, neither overwrites what it has not seen.
    ///
    /// # Errors
    /// As [`crate::Reader::get`], and what [`Transaction::get_locked`] adds.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Error, IsolationLevel, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin_with(TxnOptions::default().isolation(IsolationLevel::ReadCommitted))?;
    /// let stock = tx.get_for_update(&ks, "stock")?.map_or(0, |value| value[0]);
    /// tx.put(&ks, "stock", [stock + 1])?;
    /// tx.commit()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_for_update(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.get_locked(keyspace, key, LockRead::for_update())
    }

    /// The value of `key`, read as `read` says.
    ///
    /// # Errors
    /// `Unsupported`: `nowait` and `skip_locked` in an optimistic transaction; nothing changed. Else as [`crate::Reader::get`].
    pub fn get_locked(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, read: LockRead) -> Result<Option<Value>> {
        let key = key.as_ref();
        self.check_read(keyspace)?;
        self.check_lock_read(read)?;
        if let Some(own) = self.own(keyspace, key) {
            return Ok(own);
        }
        self.ends_if_serious(self.get_and_remember(keyspace, key))
    }

    /// The entries with keys in `range`, of which none will have changed, vanished or been added when this transaction commits, as far as the
    /// iterator has come.
    ///
    /// # Errors
    /// As [`crate::Reader::range`], and what [`Transaction::get_locked`] adds.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Error, IsolationLevel, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin_with(TxnOptions::default().isolation(IsolationLevel::ReadCommitted))?;
    /// assert_eq!(tx.range_for_share(&ks, "a".."m")?.count(), 0);
    /// tx.put(&ks, "empty", "yes")?;
    /// db.update(|other| other.put(&ks, "b", "a phantom"))?;
    /// assert!(matches!(tx.commit(), Err(Error::WriteConflict(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn range_for_share<K: AsRef<[u8]>>(&self, keyspace: &Keyspace, range: impl RangeBounds<K>) -> Result<Iter> {
        self.range_locked(keyspace, range, LockRead::for_share())
    }

    /// As [`Transaction::range_for_share`], of entries that are to be changed.
    ///
    /// # Errors
    /// As [`Transaction::range_for_share`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// for entry in tx.range_for_update(&ks, "a".."m")? {
    ///     tx.delete(&ks, entry?.key)?;
    /// }
    /// tx.commit()?;
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn range_for_update<K: AsRef<[u8]>>(&self, keyspace: &Keyspace, range: impl RangeBounds<K>) -> Result<Iter> {
        self.range_locked(keyspace, range, LockRead::for_update())
    }

    /// The entries with keys in `range`, read as `read` says.
    ///
    /// # Errors
    /// As [`Transaction::get_locked`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, LockRead};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// assert_eq!(tx.range_locked(&ks, "a"..="m", LockRead::for_update())?.count(), 0);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn range_locked<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        range: impl RangeBounds<K>,
        read: LockRead,
    ) -> Result<Iter> {
        let bytes = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        let (lower, upper) = (bytes(range.start_bound()), bytes(range.end_bound()));
        let bounds = KeyBounds { lower: lower.as_ref().map(Vec::as_slice), upper: upper.as_ref().map(Vec::as_slice) };
        self.check_read(keyspace)?;
        self.check_lock_read(read)?;
        self.ends_if_serious(self.scan_and_remember(keyspace, bounds))
    }

    /// Reads `key` for update, and writes what `change` makes of its value: `None` deletes it. No update is lost, at any level.
    ///
    /// # Errors
    /// As [`Transaction::get_for_update`] and [`Transaction::put`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// db.update(|tx| tx.modify(&ks, "count", |old| Some(vec![old.map_or(0, |bytes| bytes[0]) + 1])))?;
    /// assert_eq!(db.snapshot()?.get(&ks, "count")?.as_deref(), Some(&[1][..]));
    /// db.update(|tx| tx.modify(&ks, "count", |_| None))?;
    /// assert!(!db.snapshot()?.contains(&ks, "count")?);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn modify(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<()> {
        let key = key.as_ref();
        let old = self.get_for_update(keyspace, key)?;
        match change(old.as_deref()) {
            Some(new) => self.put(keyspace, key, new),
            None if old.is_some() => self.delete(keyspace, key),
            None => Ok(()),
        }
    }

    /// Locks `key`, there or not, to the end of the transaction. Pessimistic transactions only.
    ///
    /// # Errors
    /// `Unsupported` in an optimistic transaction: it locks nothing before its commit.
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Error, LockMode};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// assert!(matches!(tx.lock(&ks, "a", LockMode::Exclusive), Err(Error::Unsupported { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, mode: LockMode) -> Result<()> {
        let _ = (key.as_ref(), mode);
        self.check_read(keyspace)?;
        self.check_locks_at_all()
    }

    /// Locks every key of `range`, there or not, to the end of the transaction. Pessimistic transactions only.
    ///
    /// # Errors
    /// As [`Transaction::lock`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Error, LockMode};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// assert!(matches!(tx.lock_range(&ks, "a".."m", LockMode::Shared), Err(Error::Unsupported { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock_range<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        range: impl RangeBounds<K>,
        mode: LockMode,
    ) -> Result<()> {
        let _ = (range.start_bound(), mode);
        self.check_read(keyspace)?;
        self.check_locks_at_all()
    }

    /// Locks the whole keyspace to the end of the transaction. Pessimistic transactions only.
    ///
    /// # Errors
    /// As [`Transaction::lock`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Database, Error, LockMode};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let tx = db.begin()?;
    /// assert!(matches!(tx.lock_keyspace(&ks, LockMode::Exclusive), Err(Error::Unsupported { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock_keyspace(&self, keyspace: &Keyspace, mode: LockMode) -> Result<()> {
        let _ = mode;
        self.check_read(keyspace)?;
        self.check_locks_at_all()
    }

    fn check_locks_at_all(&self) -> Result<()> {
        match self.plan.write_locks {
            WriteLocks::AtCommit => Err(Error::Unsupported { what: "locks by hand in an optimistic transaction" }),
            WriteLocks::AtWrite => Ok(()),
        }
    }

    fn check_lock_read(&self, read: LockRead) -> Result<()> {
        match (self.plan.write_locks, read.wait) {
            (_, Wait::Block) | (WriteLocks::AtWrite, Wait::Refuse | Wait::Skip) => Ok(()),
            (WriteLocks::AtCommit, Wait::Refuse) => {
                Err(Error::Unsupported { what: "nowait in an optimistic transaction" })
            }
            (WriteLocks::AtCommit, Wait::Skip) => {
                Err(Error::Unsupported { what: "skip_locked in an optimistic transaction" })
            }
        }
    }

    /// Reads committed data, and remembers it for validation.
    fn get_and_remember(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
        let (value, ts) = match self.plan.read_point {
            ReadPoint::Snapshot => (self.read_snapshot(keyspace, key)?, self.snapshot()?.ts()),
            ReadPoint::Statement | ReadPoint::Pending | ReadPoint::Locked => {
                let statement = self.statement();
                let (value, ts) = (keyspace.inner.read(key, statement.ts())?, statement.ts());
                let mut reads = self.reads.borrow_mut();
                // The first moment keeps what is needed to judge all later ones.
                if reads.kept.is_empty() {
                    reads.kept.push(Arc::new(statement));
                }
                (value, ts)
            }
        };
        let mut reads = self.reads.borrow_mut();
        reads.note_keyspace(keyspace);
        reads.set.note_locked_key(keyspace.id(), key, ts);
        Ok(value)
    }

    /// Scans committed data, and has the iterator remember how far it came.
    fn scan_and_remember(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter> {
        let registration = match self.plan.read_point {
            ReadPoint::Snapshot => Arc::clone(&self.snapshot()?.registration),
            ReadPoint::Statement | ReadPoint::Pending | ReadPoint::Locked => {
                let statement = Arc::new(self.statement());
                self.reads.borrow_mut().kept.push(Arc::clone(&statement));
                statement
            }
        };
        let view = self.writes.borrow().set.view(keyspace.id());
        let mut reads = self.reads.borrow_mut();
        reads.note_keyspace(keyspace);
        let scan = reads.set.begin_locked_scan(keyspace.id(), &bounds, registration.ts());
        Ok(Iter::new(keyspace, &registration, view, bounds).noted_by(Some(scan)))
    }
}
