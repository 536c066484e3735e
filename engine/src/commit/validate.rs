//! Commit-time locks and what is validated under them: that nothing a transaction relies on has changed since it looked.
//!
//! Which keys those are, its plan and its reads say; the stores answer. Nothing is known here of how a commit goes on.
//!
//! V1  What is validated while it is locked stays as it is until the commit is visible.
//! V2  Whoever wrote nothing locks nothing: that nothing it relies on had changed when its commit began is enough for it.

use std::ops::Bound;

use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{
    ConflictInfo, Error, KeyBounds, KeyspaceId, LockMode, Op, OpKind, Result, ScanOpts, Timestamp, mutant,
};
use duramen_txn::{Claim, Key, KeyRange, LockOwner, OwnerSpec, Serial, Validate, Wait, WriteLocks, commit_lock_items};

use super::{Request, position_of};
use crate::core::Core;
use crate::keyspace::Inner as KeyspaceInner;

/// What a transaction read and must find unchanged.
#[derive(Default)]
pub(crate) struct ReadChecks {
    /// The keyspaces of all below, by id.
    pub(crate) keyspaces: Vec<Arc<KeyspaceInner>>,
    /// Keys, each with the ts at which it was read.
    pub(crate) keys: Vec<(KeyspaceId, Key, Timestamp)>,
    /// Ranges likewise.
    pub(crate) ranges: Vec<(KeyRange, Timestamp)>,
}

impl Core {
    /// The locks of a commit: those it took as it wrote, or those it takes now, validating under them.
    pub(super) fn lock_and_validate(&self, request: &Request<'_>) -> Result<LockOwner> {
        let locks = match request.plan.write_locks {
            WriteLocks::AtWrite => request.locks.take().ok_or(Error::TxnAborted)?,
            WriteLocks::AtCommit => self.lock_for_commit(request)?,
        };
        locks.seal()?;
        Ok(locks)
    }

    fn lock_for_commit(&self, request: &Request<'_>) -> Result<LockOwner> {
        let spec = OwnerSpec {
            origin: request.origin,
            isolation: request.isolation,
            priority: request.priority,
            begun_at: None,
            retry_of: None,
        };
        let mut locks = self.locks.owner(spec);
        let wait = Wait::For(request.lock_timeout);
        let (writes, exclusive) = (request.write_set, |item| (item, LockMode::Exclusive));
        match (request.reads.as_ref(), writes.single_lock_item()) {
            (Some(reads), _) if !mutant!("validate_without_read_locks") => {
                let keys = reads.keys.iter().map(|(keyspace, key, _)| (*keyspace, key.clone()));
                let ranges = reads.ranges.iter().map(|(range, _)| range.clone());
                locks.lock_items(commit_lock_items(writes.lock_items().collect(), keys, ranges), wait)?;
            }
            (_, Some(single)) => locks.lock_items([exclusive(single)], wait)?,
            (_, None) => locks.lock_items(writes.lock_items().map(exclusive), wait)?,
        }
        self.validate(request)?;
        Ok(locks)
    }

    fn validate(&self, request: &Request<'_>) -> Result<()> {
        let snapshot_ts = request.snapshot_ts.unwrap_or(Timestamp::ZERO);
        let validates = match request.plan.validate {
            Validate::Nothing => false,
            // A transaction that never read conflicts with nobody.
            Validate::Writes | Validate::WritesAndReadKeys => request.snapshot_ts.is_some(),
        };
        if validates && !mutant!("skip_validation") {
            for keyspace in request.keyspaces {
                for op in request.write_set.ops(keyspace.id) {
                    self.check_write(keyspace, &op, snapshot_ts)?;
                }
            }
        }
        if let Some(reads) = &request.reads {
            self.check_reads(reads)?;
        }
        (request.check_kept)()
    }

    /// Fails if anything in `reads` has changed since it was read.
    pub(crate) fn check_reads(&self, reads: &ReadChecks) -> Result<()> {
        let keyspace_of = |id| &reads.keyspaces[position_of(&reads.keyspaces, id).expect("noted at the read")];
        // Only a ts that is registered may be asked about: the first one is, to the end of the transaction.
        let of_ranges = reads.ranges.iter().map(|(_, ts)| *ts);
        let oldest = reads.keys.iter().map(|(_, _, ts)| *ts).chain(of_ranges).min().unwrap_or(Timestamp::ZERO);
        for (id, key, read_ts) in &reads.keys {
            let newer = keyspace_of(*id).store.newer_than(key, oldest)?.filter(|newer| newer > read_ts);
            if newer.is_some() {
                return Err(self.conflict(*id, key, None, *read_ts, newer));
            }
        }
        self.check_ranges(reads)
    }

    fn check_ranges(&self, reads: &ReadChecks) -> Result<()> {
        for (range, read_ts) in &reads.ranges {
            let place = position_of(&reads.keyspaces, range.keyspace).expect("noted at the read");
            let upper = range.high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let bounds = KeyBounds { lower: Bound::Included(&range.low), upper };
            if is_range_newer(&reads.keyspaces[place], bounds, *read_ts)? {
                let end = range.high.as_deref().unwrap_or_default();
                return Err(self.conflict(range.keyspace, &range.low, Some(end), *read_ts, None));
            }
        }
        Ok(())
    }

    /// Fails if anything `op` writes was written after `snapshot_ts`. Its lock is held, so the answer stays true (V1).
    pub(crate) fn check_write(&self, keyspace: &KeyspaceInner, op: &Op<'_>, snapshot_ts: Timestamp) -> Result<()> {
        match op.kind {
            OpKind::Put | OpKind::Delete => match keyspace.store.newer_than(op.key, snapshot_ts)? {
                None => Ok(()),
                newer => Err(self.conflict(keyspace.id, op.key, None, snapshot_ts, newer)),
            },
            OpKind::DeleteRange => {
                let upper = if op.value.is_empty() { Bound::Unbounded } else { Bound::Excluded(op.value) };
                let bounds = KeyBounds { lower: Bound::Included(op.key), upper };
                match is_range_newer(keyspace, bounds, snapshot_ts)? {
                    false => Ok(()),
                    // Which commit it was, a cursor does not say.
                    true => Err(self.conflict(keyspace.id, op.key, Some(op.value), snapshot_ts, None)),
                }
            }
        }
    }

    /// The error of somebody who met a newer commit.
    pub(crate) fn conflict(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        range_end: Option<&[u8]>,
        snapshot_ts: Timestamp,
        newer_ts: Option<Timestamp>,
    ) -> Error {
        self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        Error::WriteConflict(Box::new(ConflictInfo {
            keyspace,
            key: key.to_vec(),
            range_end: range_end.map(<[u8]>::to_vec),
            snapshot_ts,
            newer_ts,
            other: newer_ts.and_then(|ts| self.order.origin_of(ts)),
        }))
    }

    /// Step 3 of a serializable transaction: checked and sequenced in one section.
    pub(super) fn sequence_serializable<P>(
        &self,
        serial: Serial,
        claim: Claim,
        sequence: impl FnOnce() -> (Timestamp, P),
    ) -> Result<(Timestamp, P)> {
        let sequenced = match serial {
            Serial::No => Ok(sequence()),
            Serial::Checked => self.ssi.commit(claim, sequence),
            Serial::Entered => Ok(self.ssi.enter_locked(claim, sequence)),
        };
        self.ssi.prune_sometimes(|| self.horizons.acked());
        self.count_refused(sequenced)
    }

    /// The end of a serializable transaction that wrote nothing.
    pub(crate) fn check_serializable_reader(&self, serial: Serial, claim: Claim) -> Result<()> {
        let checked = match serial {
            Serial::No => Ok(()),
            Serial::Checked => self.ssi.commit_read_only(claim),
            // Its locks fall after this.
            Serial::Entered => {
                self.ssi.enter_locked_reader(claim, || self.order.newest());
                Ok(())
            }
        };
        self.ssi.prune_sometimes(|| self.horizons.acked());
        self.count_refused(checked)
    }

    fn count_refused<T>(&self, outcome: Result<T>) -> Result<T> {
        if matches!(outcome, Err(Error::SerializationFailure(_))) {
            self.counters.serialization_failures.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// Whether anything in `bounds` was written after `snapshot_ts`.
pub(crate) fn is_range_newer(keyspace: &KeyspaceInner, bounds: KeyBounds<'_>, snapshot_ts: Timestamp) -> Result<bool> {
    let mut cursor = keyspace.store.cursor(snapshot_ts, bounds, ScanOpts { fill_cache: false })?;
    while cursor.next()? {
        if cursor.newer_seen() {
            return Ok(true);
        }
    }
    Ok(cursor.newer_seen())
}
