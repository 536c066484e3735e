//! Scans that lock: what they give, and for a locked range also what they do not give, stays as it is until the transaction ends.
//!
//! By ranges: look ahead for some keys, lock from where the scan stands through the last of them, and read that chunk as of the grant. The first
//! chunk ends at the first key, later ones grow, so a scan that is broken off has not locked much. By keys: lock each key found, and read it again
//! under its lock. Who holds what is up to `row_locks.rs`.
//!
//! Z1  What is given was read after the grant of the lock that covers it, at a moment not before that grant.

use std::ops::Bound;

use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, LockMode, LockOp, Result, ScanOpts, Timestamp, TxnOrigin, Value, mutant};
use duramen_txn::{Grant, Registration, Wait};

use super::{End, Iter, Way, as_slice};
use crate::commit::is_range_newer;
use crate::core::Core;
use crate::keyspace::Inner;
use crate::row_locks::{RowLocks, Target};

/// Keys of the largest chunk.
const CHUNK_KEYS_MAX: usize = 256;
/// Each chunk is so many times as large as the one before.
const CHUNK_GROWTH: usize = 4;

/// What a scan locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Each key it gives.
    Keys,
    /// Everything it has walked.
    Ranges,
}

/// How a scan locks.
pub(crate) struct Locking {
    pub(crate) core: Arc<Core>,
    pub(crate) locks: Arc<RowLocks>,
    pub(crate) strategy: Strategy,
    pub(crate) mode: LockMode,
    pub(crate) op: LockOp,
    pub(crate) wait: Wait,
    pub(crate) who: TxnOrigin,
    /// The snapshot it reads at, refusing what is newer; without one it reads the present.
    pub(crate) at: Option<Registration>,
}

/// A part of the range that is locked.
pub(super) struct Chunk {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    /// Whether it reaches to the end of the range.
    is_last: bool,
    key_count: usize,
}

impl Chunk {
    pub(super) fn bounds(&self) -> KeyBounds<'_> {
        KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) }
    }
}

impl Locking {
    /// Where to read what was just locked (Z1).
    fn moment(&self) -> Registration {
        if let Some(at) = &self.at {
            return at.clone();
        }
        let horizons = &self.core.horizons;
        let registration = self.core.parts.snapshots.register(&self.who, || horizons.visible());
        self.locks.note_read(registration.ts());
        registration
    }

    /// Locks `key` and reads it; `None`: somebody else has locked it, and it is to be skipped.
    pub(crate) fn read_key(&self, keyspace: &Inner, key: &[u8]) -> Result<Option<Option<Value>>> {
        let early = mutant!("stale_locking_read").then(|| self.moment());
        if self.lock_key(keyspace, key)? == Grant::Skipped {
            return Ok(None);
        }
        let moment = early.unwrap_or_else(|| self.moment());
        if self.at.is_some()
            && let newer @ Some(_) = keyspace.store.newer_than(key, moment.ts())?
        {
            self.locks.end();
            return Err(self.core.conflict(keyspace.id, key, None, moment.ts(), newer));
        }
        keyspace.read(key, &moment).map(Some)
    }

    /// Locks `key`.
    pub(crate) fn lock_key(&self, keyspace: &Inner, key: &[u8]) -> Result<Grant> {
        self.locks.lock(keyspace.id, Target::Key(key), self.mode, self.op, self.wait)
    }

    /// Locks the chunk, and says where to read it.
    fn lock_chunk(&self, keyspace: &Inner, chunk: &Chunk) -> Result<Registration> {
        let (low, high) = half_open(chunk);
        let target = Target::Range(&low, high.as_deref());
        self.locks.lock(keyspace.id, target, self.mode, self.op, self.wait)?;
        let moment = self.moment();
        if self.at.is_some() && is_range_newer(keyspace, chunk.bounds(), moment.ts())? {
            self.locks.end();
            let end = high.as_deref().unwrap_or_default();
            return Err(self.core.conflict(keyspace.id, &low, Some(end), moment.ts(), None));
        }
        Ok(moment)
    }
}

impl Iter {
    /// The next entry of a scan that locks.
    pub(super) fn advance_locking(&mut self, way: Way) -> Result<bool> {
        let Some(locking) = &self.locking else { return self.advance_plainly(way) };
        if locking.locks.have_ended() {
            return Err(Error::TxnAborted);
        }
        match locking.strategy {
            Strategy::Keys => self.advance_by_keys(way),
            Strategy::Ranges => self.advance_by_ranges(way),
        }
    }

    /// The next entry whose key could be locked and is still there.
    fn advance_by_keys(&mut self, way: Way) -> Result<bool> {
        while self.advance_plainly(way)? {
            let (Some(locking), Some(key)) = (&self.locking, self.given(way).given_key()) else { return Ok(true) };
            if self.overlay.get(key).is_some() {
                return Ok(true); // Its own write, so its own lock.
            }
            if let Some(Some(value)) = locking.read_key(&self.keyspace, key)? {
                if let Some(end) = self.end_of(way) {
                    end.replace_value(value);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next entry, the range through it being locked.
    fn advance_by_ranges(&mut self, way: Way) -> Result<bool> {
        let mut end = match self.end_of(way).take() {
            Some(end) => end,
            None => self.open_chunk(way, None)?,
        };
        loop {
            let found = end.next_in_chunk(way, &self.overlay)?;
            if found || end.chunk.as_ref().is_none_or(|chunk| chunk.is_last) {
                let gives = found && !end.has_met(way, self.end_of(way.opposite()).as_ref());
                *self.end_of(way) = Some(end);
                return Ok(gives);
            }
            end = self.open_chunk(way, Some(end))?;
        }
    }

    /// Locks the chunk after that of `before`, and opens a cursor on it.
    fn open_chunk(&mut self, way: Way, before: Option<End>) -> Result<End> {
        let last = before.as_ref().and_then(|end| end.last.clone());
        let chunk_before = before.and_then(|end| end.chunk);
        let locking = self.locking.as_ref().expect("a scan by ranges locks");
        let key_count = chunk_before.as_ref().map_or(1, |chunk| (chunk.key_count * CHUNK_GROWTH).min(CHUNK_KEYS_MAX));
        let (lower, upper) = match (way, chunk_before) {
            (_, None) => (self.lower.clone(), self.upper.clone()),
            (Way::Forward, Some(chunk)) => (flipped(chunk.upper), self.upper.clone()),
            (Way::Backward, Some(chunk)) => (self.lower.clone(), flipped(chunk.lower)),
        };
        let mut chunk = Chunk { lower, upper, is_last: true, key_count };
        let moment = locking.moment();
        if let Some(key) = nth_key(&self.keyspace, chunk.bounds(), way, key_count, moment.ts())? {
            chunk.is_last = false;
            match way {
                Way::Forward => chunk.upper = Bound::Included(key),
                Way::Backward => chunk.lower = Bound::Included(key),
            }
        }
        let is_empty = chunk.is_last && chunk.key_count == 1;
        self.registration = match is_empty && mutant!("phantom_in_an_empty_gap") {
            false => locking.lock_chunk(&self.keyspace, &chunk)?,
            true => moment,
        };
        let cursor = self.keyspace.store.cursor(self.registration.ts(), chunk.bounds(), ScanOpts::default())?;
        let mut end = End::new(cursor);
        (end.last, end.chunk) = (last, Some(chunk));
        Ok(end)
    }
}

/// The n-th key from that end, if there are so many.
fn nth_key(keyspace: &Inner, bounds: KeyBounds<'_>, way: Way, n: usize, at: Timestamp) -> Result<Option<Vec<u8>>> {
    let mut cursor = keyspace.store.cursor(at, bounds, ScanOpts::default())?;
    for _ in 0..n {
        let found = match way {
            Way::Forward => cursor.next()?,
            Way::Backward => cursor.prev()?,
        };
        if !found {
            return Ok(None);
        }
    }
    Ok(Some(cursor.key().to_vec()))
}

/// Where the neighbour of a bound begins.
fn flipped(bound: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    match bound {
        Bound::Included(key) => Bound::Excluded(key),
        Bound::Excluded(key) => Bound::Included(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// A range as locks know it.
pub(crate) fn half_open_bounds(bounds: &KeyBounds<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let behind = |key: &[u8]| [key, &[0]].concat();
    let low = match bounds.lower {
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => behind(key),
        Bound::Unbounded => Vec::new(),
    };
    let high = match bounds.upper {
        Bound::Included(key) => Some(behind(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
        Bound::Unbounded => None,
    };
    (low, high)
}

fn half_open(chunk: &Chunk) -> (Vec<u8>, Option<Vec<u8>>) {
    half_open_bounds(&chunk.bounds())
}
