//! Reads that lock: what they return stays as it is until the transaction ends, at every level.
//!
//! A pessimistic transaction locks the key or the range first, waiting if it must, and reads as of the grant.
//!
//! An optimistic transaction locks nothing: it remembers where it looked, and its commit is refused with `WriteConflict` if anything there has
//! changed. So a lost update is prevented at every level by whoever reads what it will overwrite with [`Transaction::get_for_update`].

use std::ops::{Bound, RangeBounds};

use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, LockMode, LockOp, Result, Value};
use duramen_txn::{Grant, ReadLocks, ReadPoint, TrackReads, Validate, Wait, WriteLocks};

use super::Transaction;
use super::change::Change;
use crate::iter::{Iter, Locking, Strategy, half_open_bounds};
use crate::keyspace::Keyspace;
use crate::row_locks::{RowLocks, Target};

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
    pub(super) wait: WaitFor,
}

/// What to do if somebody else holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    Lock,
    Nobody,
    Skip,
}

impl LockRead {
    /// Others may read it as well; nobody may change it.
    #[must_use]
    pub fn for_share() -> LockRead {
        LockRead { mode: LockMode::Shared, wait: WaitFor::Lock }
    }

    /// It is about to be changed: nobody else may read it with a lock, nor change it.
    #[must_use]
    pub fn for_update() -> LockRead {
        LockRead { mode: LockMode::Update, wait: WaitFor::Lock }
    }

    /// [`Error::WouldBlock`] instead of waiting. Pessimistic transactions only.
    #[must_use]
    pub fn nowait(mut self) -> LockRead {
        self.wait = WaitFor::Nobody;
        self
    }

    /// What somebody else has locked is not there. Pessimistic transactions only.
    #[must_use]
    pub fn skip_locked(mut self) -> LockRead {
        self.wait = WaitFor::Skip;
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
        self.ends_if_serious(match self.plan.write_locks {
            WriteLocks::AtCommit => self.get_and_remember(keyspace, key),
            WriteLocks::AtWrite => self.read_locked(keyspace, key, read, op_of_get(read)),
        })
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
        self.ends_if_serious(match self.plan.write_locks {
            WriteLocks::AtCommit => self.scan_and_remember(keyspace, bounds),
            WriteLocks::AtWrite => self.scan_locked(keyspace, bounds, read, op_of_scan(read)),
        })
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
        // It will be written, so no weaker lock comes first.
        let read = LockRead { mode: LockMode::Exclusive, wait: WaitFor::Lock };
        let old = self.get_locked(keyspace, key, read)?;
        match change(old.as_deref()) {
            Some(new) => self.put(keyspace, key, new),
            None if old.is_some() => self.delete(keyspace, key),
            None => Ok(()),
        }
    }

    /// Locks `key`, there or not, to the end of the transaction. Pessimistic transactions only.
    ///
    /// # Errors
    /// `Unsupported` in an optimistic transaction: it locks nothing before its commit. `Deadlock`, `LockTimeout`: the transaction has ended; run it
    /// again. `LockBudget`: no memory for more locks.
    ///
    /// ```
    /// # use duramen::{BackendKind, Concurrency, Database, Error, LockMode, LockRead, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let begin = || db.begin_with(TxnOptions::default().concurrency(Concurrency::Pessimistic));
    /// let (tx, other) = (begin()?, begin()?);
    /// tx.lock(&ks, "a", LockMode::Exclusive)?;
    /// assert!(matches!(other.get_locked(&ks, "a", LockRead::for_share().nowait()), Err(Error::WouldBlock(_))));
    /// assert!(matches!(db.begin()?.lock(&ks, "a", LockMode::Exclusive), Err(Error::Unsupported { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, mode: LockMode) -> Result<()> {
        self.lock_by_hand(keyspace, Target::Key(key.as_ref()), mode)
    }

    /// Locks every key of `range`, there or not, to the end of the transaction; `Update` counts as `Exclusive`. Pessimistic transactions only.
    ///
    /// # Errors
    /// As [`Transaction::lock`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Concurrency, Database, Error, LockMode, LockRead, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let begin = || db.begin_with(TxnOptions::default().concurrency(Concurrency::Pessimistic));
    /// let (tx, other) = (begin()?, begin()?);
    /// tx.lock_range(&ks, "a".."m", LockMode::Exclusive)?;
    /// assert_eq!(other.get_locked(&ks, "z", LockRead::for_share().nowait())?, None);
    /// assert!(matches!(other.get_locked(&ks, "b", LockRead::for_share().nowait()), Err(Error::WouldBlock(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock_range<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        range: impl RangeBounds<K>,
        mode: LockMode,
    ) -> Result<()> {
        let bounds =
            KeyBounds { lower: range.start_bound().map(AsRef::as_ref), upper: range.end_bound().map(AsRef::as_ref) };
        let (low, high) = half_open_bounds(&bounds);
        self.lock_by_hand(keyspace, Target::Range(&low, high.as_deref()), mode)
    }

    /// Locks the whole keyspace to the end of the transaction; `Update` counts as `Exclusive`. Pessimistic transactions only.
    ///
    /// # Errors
    /// As [`Transaction::lock`].
    ///
    /// ```
    /// # use duramen::{BackendKind, Concurrency, Database, Error, LockMode, LockRead, TxnOptions};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let begin = || db.begin_with(TxnOptions::default().concurrency(Concurrency::Pessimistic));
    /// let (tx, other) = (begin()?, begin()?);
    /// tx.lock_keyspace(&ks, LockMode::Shared)?;
    /// assert_eq!(other.get_locked(&ks, "a", LockRead::for_share().nowait())?, None);
    /// assert!(matches!(other.get_locked(&ks, "a", LockRead::for_update().nowait()), Err(Error::WouldBlock(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn lock_keyspace(&self, keyspace: &Keyspace, mode: LockMode) -> Result<()> {
        self.lock_by_hand(keyspace, Target::Keyspace, mode)
    }

    fn lock_by_hand(&self, keyspace: &Keyspace, target: Target<'_>, mode: LockMode) -> Result<()> {
        self.check_read(keyspace)?;
        let Some(locks) = &self.locks else {
            return Err(Error::Unsupported { what: "locks by hand in an optimistic transaction" });
        };
        self.core.throttle()?;
        self.ends_if_serious(locks.lock(keyspace.id(), target, mode, LockOp::Lock, locks.wait()).map(drop))
    }

    /// Locks what `change` writes. At Snapshot the first to update wins: whoever comes later and reads at an older moment is refused, at once if
    /// the winner has committed already.
    pub(super) fn lock_to_write(&self, locks: &RowLocks, keyspace: &Keyspace, change: &Change<'_>) -> Result<()> {
        let (target, op) = change.target();
        let lock = |wait| locks.lock(keyspace.id(), target, LockMode::Exclusive, op, wait);
        let since =
            self.snapshot.get().filter(|_| self.plan.validate == Validate::Writes).map(|snapshot| snapshot.ts());
        let check = || match since {
            Some(ts) => self.core.check_write(&keyspace.inner, &change.op(), ts).and_then(|()| self.check_kept()),
            None => Ok(()),
        };
        // Under pressure it is slowed down before it holds anything.
        if self.writes.borrow().set.is_empty() {
            match locks.hold_any() {
                true => self.core.throttle()?,
                false => self.core.throttle_writer(&keyspace.inner, change.bytes() as u64)?,
            }
        }
        let mut grant = lock(Wait::SkipLocked)?;
        if grant == Grant::Skipped {
            check()?;
            grant = lock(locks.wait())?;
        }
        locks.note_writes(self.writes.borrow().set.len() + 1);
        // A lock that it has already is no proof: `lock` takes it without a look at the key. An own write is, and so is what it read under the lock.
        let is_known = match target {
            Target::Key(key) => {
                locks.have_looked_at(keyspace.id(), key) || grant == Grant::Held && self.own(keyspace, key).is_some()
            }
            Target::Range(..) | Target::Keyspace => false,
        };
        if is_known { Ok(()) } else { check() }
    }

    /// Locks `key` and reads it as of the grant; `None` too if it is to be skipped.
    pub(super) fn read_locked(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        read: LockRead,
        op: LockOp,
    ) -> Result<Option<Value>> {
        let value = match self.plan.read_point {
            ReadPoint::Snapshot => self.read_locked_at_snapshot(keyspace, key, read, op)?,
            ReadPoint::Statement | ReadPoint::Pending | ReadPoint::Locked => {
                self.locking(Strategy::Keys, read, op)?.read_key(&keyspace.inner, key)?
            }
        };
        if self.plan.track_reads != TrackReads::No && value.is_some() {
            self.reads.borrow_mut().set.note_key(keyspace.id(), key);
        }
        Ok(value.flatten())
    }

    /// As [`Locking::read_key`], at the snapshot: which is taken after the grant of the first locking read.
    fn read_locked_at_snapshot(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        read: LockRead,
        op: LockOp,
    ) -> Result<Option<Option<Value>>> {
        let (locks, wait) = self.locks_to_read(read)?;
        if locks.lock(keyspace.id(), Target::Key(key), read.mode, op, wait)? == Grant::Skipped {
            return Ok(None);
        }
        // Whoever wrote the key before let go of it when that was visible: a snapshot taken under the lock has it.
        let may_be_newer = self.snapshot.get().is_some();
        let snapshot = self.snapshot()?;
        if may_be_newer && let newer @ Some(_) = keyspace.inner.store.newer_than(key, snapshot.ts())? {
            return Err(self.core.conflict(keyspace.id(), key, None, snapshot.ts(), newer));
        }
        keyspace.inner.read(key, &snapshot.registration).map(Some)
    }

    /// Its locks, and how a locking read waits for one. Under pressure it is slowed down before it holds anything.
    fn locks_to_read(&self, read: LockRead) -> Result<(&Arc<RowLocks>, Wait)> {
        let locks = self.locks.as_ref().expect("only a pessimistic transaction locks as it reads");
        if self.writes.borrow().set.is_empty() {
            self.core.throttle()?;
        }
        let wait = match read.wait {
            WaitFor::Lock => locks.wait(),
            WaitFor::Nobody => Wait::NoWait,
            WaitFor::Skip => Wait::SkipLocked,
        };
        Ok((locks, wait))
    }

    /// A scan that locks as it goes.
    pub(super) fn scan_locked(
        &self,
        keyspace: &Keyspace,
        bounds: KeyBounds<'_>,
        read: LockRead,
        op: LockOp,
    ) -> Result<Iter> {
        let by_keys = read.wait == WaitFor::Skip || op == LockOp::Scan && self.plan.read_locks == ReadLocks::Keys;
        let strategy = if by_keys { Strategy::Keys } else { Strategy::Ranges };
        let mut locking = self.locking(strategy, read, op)?;
        let registration = match self.plan.read_point {
            ReadPoint::Snapshot => {
                let registration = self.snapshot()?.registration.clone();
                locking.at = Some(registration.clone());
                registration
            }
            ReadPoint::Statement | ReadPoint::Pending | ReadPoint::Locked => self.statement(),
        };
        let view = self.writes.borrow().set.view(keyspace.id());
        let scan = self.reads.borrow_mut().set.begin_scan(keyspace.id(), &bounds);
        Ok(Iter::new(keyspace, registration, view, bounds).noted_by(scan).locking(locking))
    }

    fn locking(&self, strategy: Strategy, read: LockRead, op: LockOp) -> Result<Locking> {
        let (locks, wait) = self.locks_to_read(read)?;
        let (core, locks) = (Arc::clone(&self.core), Arc::clone(locks));
        Ok(Locking { core, locks, strategy, mode: read.mode, op, wait, who: self.origin, at: None })
    }

    fn check_lock_read(&self, read: LockRead) -> Result<()> {
        match (self.plan.write_locks, read.wait) {
            (_, WaitFor::Lock) | (WriteLocks::AtWrite, WaitFor::Nobody | WaitFor::Skip) => Ok(()),
            (WriteLocks::AtCommit, WaitFor::Nobody) => {
                Err(Error::Unsupported { what: "nowait in an optimistic transaction" })
            }
            (WriteLocks::AtCommit, WaitFor::Skip) => {
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
                let (value, ts) = (keyspace.inner.read(key, &statement)?, statement.ts());
                let mut reads = self.reads.borrow_mut();
                // The first moment keeps what is needed to judge all later ones.
                if reads.kept.is_empty() {
                    reads.kept.push(statement);
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
            ReadPoint::Snapshot => self.snapshot()?.registration.clone(),
            ReadPoint::Statement | ReadPoint::Pending | ReadPoint::Locked => {
                let statement = self.statement();
                self.reads.borrow_mut().kept.push(statement.clone());
                statement
            }
        };
        let view = self.writes.borrow().set.view(keyspace.id());
        let mut reads = self.reads.borrow_mut();
        reads.note_keyspace(keyspace);
        let scan = reads.set.begin_locked_scan(keyspace.id(), &bounds, registration.ts());
        Ok(Iter::new(keyspace, registration, view, bounds).noted_by(Some(scan)))
    }
}

fn op_of_get(read: LockRead) -> LockOp {
    match read.mode {
        LockMode::Shared => LockOp::GetForShare,
        LockMode::Update => LockOp::GetForUpdate,
        LockMode::Exclusive => LockOp::Update,
    }
}

fn op_of_scan(read: LockRead) -> LockOp {
    match read.mode {
        LockMode::Shared => LockOp::ScanForShare,
        LockMode::Update | LockMode::Exclusive => LockOp::ScanForUpdate,
    }
}
