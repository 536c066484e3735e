//! How a transaction reads: where, what it notes of it, and what it lays over it.
//!
//! Each read is a *statement*: a get, a multi-get, or a whole scan with the life of its iterator. At levels that read
//! anew each time a statement reads at one moment of its own.

use std::cell::Cell;

use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, LockOp, OpKind, Result, ScanOpts, Timestamp, Value, mutant};
use duramen_txn::{Own, PendingOp, ReadPoint, Registration, Serial, TrackReads, WriteSet, WriteView};

use super::{LockRead, Reads, Snapshot, Transaction};
use crate::commit::position_of;
use crate::iter::Iter;
use crate::keyspace::Keyspace;
use crate::reader::sealed::View;

impl Snapshot {
    pub(super) fn ts(&self) -> Timestamp {
        self.registration.ts()
    }
}

impl Reads {
    /// Keeps the keyspace of a read that will be validated against the store; what is only held against other transactions needs none.
    pub(super) fn note_keyspace(&mut self, keyspace: &Keyspace) {
        if let Err(place) = position_of(&self.keyspaces, keyspace.id()) {
            self.keyspaces.insert(place, Arc::clone(&keyspace.inner));
        }
    }
}

impl Transaction {
    /// The one moment it reads at (B1).
    #[inline]
    pub(super) fn snapshot(&self) -> Result<&Snapshot> {
        match self.snapshot.get() {
            Some(snapshot) => Ok(snapshot),
            None => self.take_snapshot(),
        }
    }

    #[cold]
    fn take_snapshot(&self) -> Result<&Snapshot> {
        let (horizons, read_only) = (&self.core.horizons, self.options.read_only);
        let horizon = || if read_only { horizons.acked() } else { horizons.visible() };
        let is_serial = self.plan.serial == Serial::Checked;
        let registration = if is_serial {
            self.core.ssi.begin(&self.origin, !read_only, horizon)
        } else {
            self.core.parts.snapshots.register(&self.origin, horizon)
        };
        let snapshot = Snapshot { registration, is_serial: Cell::new(is_serial) };
        Ok(self.snapshot.get_or_init(|| snapshot))
    }

    /// A declared read-only transaction takes its snapshot at once; a serializable one that cannot be made wrong, or waited until it cannot, need
    /// not be checked (D4 of `txn/src/ssi.rs`).
    pub(super) fn begin_read_only(&mut self) -> Result<()> {
        let is_checked = self.plan.serial == Serial::Checked;
        if self.options.deferrable && !(is_checked && self.options.read_only) {
            return Err(Error::InvalidArgument {
                what: "deferrable is for read-only, optimistic, serializable transactions",
            });
        }
        if self.plan.read_point != ReadPoint::Snapshot {
            return Ok(());
        }
        loop {
            let ts = self.snapshot()?.ts();
            if !is_checked {
                return Ok(());
            }
            while self.options.deferrable && !self.core.ssi.wait_for_writers_below(ts) {
                self.core.check_open()?;
            }
            if self.is_safe() && self.check_kept().is_ok() {
                self.go_unchecked();
                return Ok(());
            }
            if !self.options.deferrable {
                return Ok(());
            }
            // One that ran beside it has made it unsafe, or it waited too long: take a later one.
            self.snapshot.take();
        }
    }

    /// Its snapshot is safe: nothing need be remembered.
    pub(super) fn go_unchecked(&self) {
        self.leave_the_serializable();
        self.reads.borrow_mut().set.stop_tracking();
    }

    /// The moment of a statement that reads anew (B3).
    pub(super) fn statement(&self) -> Registration {
        let horizons = &self.core.horizons;
        let registration = self.core.parts.snapshots.register(&self.origin, || horizons.visible());
        debug_assert!(registration.ts() >= self.newest_read.get(), "B3: the horizon never falls");
        self.newest_read.set(registration.ts());
        registration
    }

    pub(super) fn check_read(&self, keyspace: &Keyspace) -> Result<()> {
        self.check_alive()?;
        self.core.check_keyspace(&keyspace.inner)
    }

    /// What the transaction itself made of `key`; `Some(None)`: it deleted it.
    pub(super) fn own(&self, keyspace: &Keyspace, key: &[u8]) -> Option<Option<Value>> {
        match self.writes.borrow().set.get(keyspace.id(), key)? {
            Own::Put(value) => Some(Some(value)),
            Own::Deleted => Some(None),
        }
    }

    /// The committed value at the transaction's snapshot, noted if its level asks for it.
    #[inline]
    pub(super) fn read_snapshot(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
        let value = keyspace.inner.read(key, &self.snapshot()?.registration)?;
        if self.plan.track_reads != TrackReads::No && !(value.is_none() && mutant!("absent_reads_untracked")) {
            let mut reads = self.reads.borrow_mut();
            if self.plan.track_reads == TrackReads::Keys {
                reads.note_keyspace(keyspace);
            }
            reads.set.note_key(keyspace.id(), key);
        }
        Ok(value)
    }

    /// The newest value, pending ones included.
    fn read_newest(&self, keyspace: &Keyspace, key: &[u8], at: &Registration) -> Result<Option<Value>> {
        let pending = self.core.board.as_ref().and_then(|board| board.newest(keyspace.id(), key));
        if let Some(pending) = pending
            && !self.has_newer(keyspace, key, pending.ts)?
        {
            return Ok(match pending.what {
                Own::Put(value) => Some(value),
                Own::Deleted => None,
            });
        }
        keyspace.inner.read(key, at)
    }

    /// Whether `key` was committed after a pending write made when `ts` was visible; its writer keeps that registered.
    fn has_newer(&self, keyspace: &Keyspace, key: &[u8], ts: Timestamp) -> Result<bool> {
        Ok(keyspace.inner.store.newer_than(key, ts)?.is_some())
    }

    /// The writes that lie over a scan at `at`: its own, and at `ReadUncommitted` below them the pending ones of others.
    fn overlay(&self, keyspace: &Keyspace, bounds: &KeyBounds<'_>, at: Timestamp) -> Result<WriteView> {
        let own = || self.writes.borrow().set.view(keyspace.id());
        let Some(board) = self.core.board.as_ref().filter(|_| self.plan.read_point == ReadPoint::Pending) else {
            return Ok(own());
        };
        let id = keyspace.id();
        let mut all = WriteSet::new();
        for op in board.all_in(id, bounds) {
            match op {
                PendingOp::Key(key, pending) if !self.has_newer(keyspace, &key, pending.ts)? => match pending.what {
                    Own::Put(value) => all.put(id, &key, value),
                    Own::Deleted => all.delete(id, &key),
                },
                PendingOp::Key(..) => {}
                PendingOp::Range(range, pending) => {
                    let high = range.high.as_deref().unwrap_or_default();
                    all.delete_range(id, &range.low, high);
                    self.put_back_newer(keyspace, (&range.low, high), pending.ts, at, &mut all)?;
                }
            }
        }
        for op in self.writes.borrow().set.ops(id) {
            match op.kind {
                OpKind::Put => all.put(id, op.key, Value::from(op.value)),
                OpKind::Delete => all.delete(id, op.key),
                OpKind::DeleteRange => all.delete_range(id, op.key, op.value),
            }
        }
        Ok(all.view(id))
    }

    /// Puts what was committed after a pending range delete back over it.
    fn put_back_newer(
        &self,
        keyspace: &Keyspace,
        (low, high): (&[u8], &[u8]),
        ts: Timestamp,
        at: Timestamp,
        all: &mut WriteSet,
    ) -> Result<()> {
        let upper = if high.is_empty() { std::ops::Bound::Unbounded } else { std::ops::Bound::Excluded(high) };
        let bounds = KeyBounds { lower: std::ops::Bound::Included(low), upper };
        let mut cursor = keyspace.inner.store.cursor(at, bounds, ScanOpts::default())?;
        while cursor.next()? {
            if self.has_newer(keyspace, cursor.key(), ts)? {
                cursor.load_value()?;
                all.put(keyspace.id(), cursor.key(), cursor.value_owned());
            }
        }
        Ok(())
    }

    fn scan_snapshot(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter> {
        let snapshot = self.snapshot()?;
        let view = self.overlay(keyspace, &bounds, snapshot.ts())?;
        let mut reads = self.reads.borrow_mut();
        let scan = reads.set.begin_scan(keyspace.id(), &bounds);
        if scan.is_some() && self.plan.track_reads == TrackReads::Keys {
            reads.note_keyspace(keyspace);
        }
        Ok(Iter::new(keyspace, snapshot.registration.clone(), view, bounds).noted_by(scan))
    }

    fn scan_anew(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter> {
        let registration = self.statement();
        let view = self.overlay(keyspace, &bounds, registration.ts())?;
        Ok(Iter::new(keyspace, registration, view, bounds))
    }

    fn read_at(&self, keyspace: &Keyspace, key: &[u8], statement: &Registration) -> Result<Option<Value>> {
        match self.plan.read_point {
            ReadPoint::Pending => self.read_newest(keyspace, key, statement),
            ReadPoint::Statement if mutant!("dirty_read") => self.read_newest(keyspace, key, statement),
            ReadPoint::Statement | ReadPoint::Snapshot | ReadPoint::Locked => keyspace.inner.read(key, statement),
        }
    }
}

impl View for Transaction {
    fn view_get(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
        self.check_read(keyspace)?;
        if let Some(own) = self.own(keyspace, key) {
            return Ok(own);
        }
        self.ends_if_serious(match self.plan.read_point {
            ReadPoint::Snapshot => self.read_snapshot(keyspace, key),
            ReadPoint::Statement | ReadPoint::Pending => self.read_at(keyspace, key, &self.statement()),
            ReadPoint::Locked => self.read_locked(keyspace, key, LockRead::for_share(), LockOp::Get),
        })
    }

    fn view_multi_get(&self, keyspace: &Keyspace, keys: &mut dyn Iterator<Item = &[u8]>) -> Result<Vec<Option<Value>>> {
        if matches!(self.plan.read_point, ReadPoint::Snapshot | ReadPoint::Locked) {
            return keys.map(|key| self.view_get(keyspace, key)).collect();
        }
        // One statement, so one moment for all of them.
        self.check_read(keyspace)?;
        let statement = self.statement();
        let get = |key: &[u8]| match self.own(keyspace, key) {
            Some(own) => Ok(own),
            None => self.read_at(keyspace, key, &statement),
        };
        self.ends_if_serious(keys.map(get).collect())
    }

    fn view_iter(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter> {
        self.check_read(keyspace)?;
        self.ends_if_serious(match self.plan.read_point {
            ReadPoint::Snapshot => self.scan_snapshot(keyspace, bounds),
            ReadPoint::Statement | ReadPoint::Pending => self.scan_anew(keyspace, bounds),
            ReadPoint::Locked => self.scan_locked(keyspace, bounds, LockRead::for_share(), LockOp::Scan),
        })
    }
}
