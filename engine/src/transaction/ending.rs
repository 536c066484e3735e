//! How a transaction ends: what the commit protocol is told of it, and what is checked if it wrote nothing.

use std::cell::Cell;

use duramen_base::sync::Arc;
use duramen_base::{KeyspaceId, Result, Timestamp};
use duramen_txn::{Claim, Footprint, Key, LockedReads, Serial, TrackReads};

use super::{Transaction, Writes};
use crate::commit::{ReadChecks, Request, Sequenced, position_of};
use crate::keyspace::Inner as KeyspaceInner;
use crate::snapshot::check_kept;

impl Transaction {
    /// Steps 1 to 5 of the commit; for a transaction without writes, checks what it read and waits until that was acknowledged.
    pub(super) fn sequence(&self) -> Result<Option<Sequenced>> {
        self.check_alive()?;
        self.dead.set(true);
        let mut writes = self.writes.borrow_mut();
        if writes.set.is_empty() {
            self.end_reading()?;
            return Ok(None);
        }
        let posted = writes.posted.take();
        let written = self.written_keyspaces(&writes);
        let (reads, claim) = self.what_was_read(Some(&writes));
        let check_kept = || self.check_kept();
        let request = Request {
            write_set: &writes.set,
            keyspaces: written.as_deref().unwrap_or(&writes.keyspaces),
            snapshot_ts: self.snapshot_ts(),
            plan: &self.plan,
            origin: self.origin,
            isolation: super::name_of(self.isolation, self.plan.write_locks),
            priority: self.options.priority,
            lock_timeout: self.options.lock_timeout.unwrap_or(self.core.lock_timeout),
            locks: Cell::new(self.locks.as_ref().map(|locks| locks.take()).transpose()?),
            reads,
            check_kept: &check_kept,
            claim: Cell::new(claim),
            posted: Cell::new(posted),
        };
        self.core.sequence(&request).map(Some)
    }

    /// The keyspaces that have a write, if a savepoint's rollback left others without one.
    fn written_keyspaces(&self, writes: &Writes) -> Option<Vec<Arc<KeyspaceInner>>> {
        if writes.set.keyspaces().count() == writes.keyspaces.len() {
            return None;
        }
        let place = |id| position_of(&writes.keyspaces, id).expect("noted at the write");
        Some(writes.set.keyspaces().map(|id| Arc::clone(&writes.keyspaces[place(id)])).collect())
    }

    /// The end of a transaction that wrote nothing.
    fn end_reading(&self) -> Result<()> {
        if self.turned_out_safe() {
            return self.wait_reads_acked();
        }
        let (reads, claim) = self.what_was_read(None);
        if let Some(reads) = reads {
            self.core.check_reads(&reads)?;
            self.check_kept()?;
        }
        if let Some(claim) = claim {
            self.core.check_serializable_reader(self.plan.serial, claim)?;
        }
        if let Some(locks) = &self.locks {
            locks.end();
        }
        self.wait_reads_acked()
    }

    /// Whether nobody who still runs or committed can make what it read at its snapshot wrong (D4 of `txn/src/ssi.rs`): then there is nothing to
    /// check, nor for others to know. The rule is that of one that was declared read-only, at its end instead of its beginning. A locking read
    /// read later than the snapshot, and is checked.
    fn turned_out_safe(&self) -> bool {
        self.plan.serial == Serial::Checked && !self.reads.borrow().set.has_locked() && self.is_safe()
    }

    /// Whether its snapshot is safe: by facts that were all there, since it was not ended for its age until after they were looked at.
    pub(super) fn is_safe(&self) -> bool {
        let is_safe =
            |snapshot: &super::Snapshot| self.core.ssi.is_safe(snapshot.ts()) && !snapshot.registration.is_ended();
        self.snapshot.get().is_some_and(is_safe)
    }

    /// What must be found unchanged, and what other serializable transactions are told.
    fn what_was_read(&self, writes: Option<&Writes>) -> (Option<ReadChecks>, Option<Claim>) {
        let serial = self.snapshot.get().filter(|snapshot| snapshot.is_serial.get());
        let enlisted = serial.map(|snapshot| snapshot.registration.handle());
        let is_serial = match self.plan.serial {
            Serial::No => false,
            Serial::Checked => self.snapshot.get().is_none() || enlisted.is_some(),
            Serial::Entered => true,
        };
        let mut reads = self.reads.borrow_mut();
        if !is_serial && reads.set.is_empty() {
            return (None, None);
        }
        let LockedReads { mut keys, ranges } = reads.set.locked();
        let plain = reads.set.footprint();
        let of_locked = |(keyspace, key, _): &(KeyspaceId, Key, Timestamp)| (*keyspace, key.clone());
        let claim = match is_serial {
            true => Some(Claim {
                snapshot_ts: self.snapshot_ts(),
                reads: plain.with(keys.iter().map(of_locked), ranges.iter().map(|(range, _)| range.clone())),
                writes: writes.map_or_else(Footprint::default, |writes| Footprint::of_items(writes.set.lock_items())),
                origin: self.origin,
                enlisted,
            }),
            false => {
                if self.plan.track_reads == TrackReads::Keys
                    && writes.is_some()
                    && let Some(snapshot_ts) = self.snapshot_ts()
                {
                    keys.extend(plain.keys().iter().map(|(keyspace, key)| (*keyspace, key.clone(), snapshot_ts)));
                }
                None
            }
        };
        let keyspaces = std::mem::take(&mut reads.keyspaces);
        let checks = (!keys.is_empty() || !ranges.is_empty()).then_some(ReadChecks { keyspaces, keys, ranges });
        (checks, claim)
    }

    /// Refuses what was found about the past if a moment it was asked for has grown too old.
    pub(super) fn check_kept(&self) -> Result<()> {
        self.snapshot.get().map_or(Ok(()), |snapshot| check_kept(&snapshot.registration))?;
        self.reads.borrow().kept.iter().try_for_each(check_kept)
    }

    fn snapshot_ts(&self) -> Option<Timestamp> {
        self.snapshot.get().map(|snapshot| snapshot.ts())
    }

    /// Returns when everything this transaction read is acknowledged, so that it may be told to others.
    pub(crate) fn wait_reads_acked(&self) -> Result<()> {
        let locked = self.locks.as_ref().map_or(Timestamp::ZERO, |locks| locks.newest_read());
        let newest = self.newest_read.get().max(self.snapshot_ts().unwrap_or(Timestamp::ZERO)).max(locked);
        self.core.wait_acked(newest)
    }

    /// Its part among the serializable transactions is over. The registration may live on, for its iterators.
    #[inline]
    pub(super) fn leave_the_serializable(&self) {
        if let Some(snapshot) = self.snapshot.get()
            && snapshot.is_serial.replace(false)
        {
            snapshot.registration.leave_the_serializable();
            self.core.ssi.note_end();
        }
    }
}
