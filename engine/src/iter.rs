//! The merged cursor: a store's keys as of a snapshot, overlaid with what the transaction itself wrote.
//!
//! Two ends, each with a cursor of its own that only moves towards the other. The overlay is a frozen view of the write set, so a put while
//! iterating compiles and is not seen.
//!
//! X1  Each key of the range is given once, by one end.
//! X2  After an error the iterator ends; nothing behind it is shown as if it had been read.

mod locked;

use std::cmp::Ordering;
use std::ops::Bound;

use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, Result, ScanOpts, Timestamp, Value};
use duramen_txn::{Own, Registration, Scan, WriteView};

use crate::any_backend::AnyCursor;
use crate::keyspace::{Inner, Keyspace};
use crate::snapshot::{check_kept, check_open};
use locked::Chunk;
pub(crate) use locked::{Locking, Strategy, half_open_bounds};

/// A key and its value.
///
/// ```
/// use duramen::{BackendKind, Database, Reader};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::Lsm)?;
/// db.update(|tx| tx.put(&ks, "a", "1"))?;
/// let entry = db.snapshot()?.first(&ks)?.expect("one entry");
/// assert_eq!((&*entry.key, &*entry.value), (&b"a"[..], &b"1"[..]));
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Value,
    /// Its value.
    pub value: Value,
}

/// The entries of a key range, in key order, from either end. Owns what it needs, and keeps its snapshot alive: it may outlive its transaction,
/// unless the commit of that has to know how far it came; then it answers `TxnAborted` once the transaction has ended.
///
/// ```
/// use duramen::{BackendKind, Database, Reader};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// let tx = db.begin()?;
/// tx.put(&ks, "a", "1")?;
/// for entry in tx.iter(&ks)? {
///     let entry = entry?;
///     tx.put(&ks, [&*entry.key, b"'"].concat(), entry.value)?; // not seen by this loop
/// }
/// assert_eq!(tx.iter(&ks)?.count(), 2);
/// # Ok::<(), duramen::Error>(())
/// ```
pub struct Iter {
    keyspace: Arc<Inner>,
    registration: Arc<Registration>,
    overlay: WriteView,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    front: Option<End>,
    back: Option<End>,
    finished: bool,
    /// Where it says how far it came, if its transaction must know.
    scan: Option<Arc<Scan>>,
    /// How it locks, if it does.
    locking: Option<Box<Locking>>,
}

/// One end: the store's cursor, and where it stands.
struct End {
    cursor: AnyCursor,
    /// Whether the cursor stands on a key not given yet.
    store_pending: bool,
    store_ended: bool,
    /// The last key given.
    last: Option<Vec<u8>>,
    /// The part of the range that the cursor is on, if that is locked piece by piece.
    chunk: Option<Chunk>,
}

/// Which way an end moves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
}

impl Way {
    fn opposite(self) -> Way {
        match self {
            Way::Forward => Way::Backward,
            Way::Backward => Way::Forward,
        }
    }
}

impl Iter {
    pub(crate) fn new(
        keyspace: &Keyspace,
        registration: &Arc<Registration>,
        overlay: WriteView,
        bounds: KeyBounds<'_>,
    ) -> Iter {
        Iter {
            keyspace: Arc::clone(&keyspace.inner),
            registration: Arc::clone(registration),
            overlay,
            lower: bounds.lower.map(<[u8]>::to_vec),
            upper: bounds.upper.map(<[u8]>::to_vec),
            front: None,
            back: None,
            finished: bounds.is_empty(),
            scan: None,
            locking: None,
        }
    }

    /// The same, locking as it goes.
    pub(crate) fn locking(mut self, locking: Locking) -> Iter {
        self.locking = Some(Box::new(locking));
        self
    }

    /// The same, telling `scan` how far it comes.
    pub(crate) fn noted_by(mut self, scan: Option<Arc<Scan>>) -> Iter {
        self.scan = scan;
        self
    }

    fn at(&self) -> Timestamp {
        self.registration.ts()
    }

    fn open_end(&self) -> Result<End> {
        let bounds = KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) };
        let cursor = self.keyspace.store.cursor(self.at(), bounds, ScanOpts::default())?;
        Ok(End { cursor, store_pending: false, store_ended: false, last: None, chunk: None })
    }

    fn step(&mut self, way: Way) -> Option<Result<Entry>> {
        if self.finished {
            return None;
        }
        let entry = check_open(&self.registration).and_then(|()| self.advance(way));
        // Whatever was found, if it had grown too old.
        let entry = check_kept(&self.registration).and(entry).and_then(|entry| self.note(way, entry)).transpose();
        // X2, and the end of the range: nothing follows.
        self.finished = !matches!(entry, Some(Ok(_)));
        entry
    }

    /// Tells the transaction what is about to be given, if it must know; refuses if it has ended.
    fn note(&self, way: Way, entry: Option<Entry>) -> Result<Option<Entry>> {
        let Some(scan) = &self.scan else { return Ok(entry) };
        let key = entry.as_ref().map(|entry| &*entry.key);
        let may_give = match way {
            Way::Forward => scan.note_forward(key),
            Way::Backward => scan.note_backward(key),
        };
        if may_give { Ok(entry) } else { Err(Error::TxnAborted) }
    }

    fn advance(&mut self, way: Way) -> Result<Option<Entry>> {
        if self.locking.as_ref().is_some_and(|locking| locking.locks.have_ended()) {
            return Err(Error::TxnAborted);
        }
        match self.locking.as_ref().map(|locking| locking.strategy) {
            None => self.advance_plainly(way),
            Some(Strategy::Keys) => self.advance_by_keys(way),
            Some(Strategy::Ranges) => self.advance_by_ranges(way),
        }
    }

    fn advance_plainly(&mut self, way: Way) -> Result<Option<Entry>> {
        let mut end = self.end_of(way).take().map_or_else(|| self.open_end(), Ok)?;
        let entry = end.next(way, &self.overlay, (&self.lower, &self.upper))?;
        let other = self.end_of(way.opposite()).as_ref();
        let entry = entry.filter(|entry| !has_crossed(way, &entry.key, other));
        *self.end_of(way) = Some(end);
        Ok(entry)
    }

    fn end_of(&mut self, way: Way) -> &mut Option<End> {
        match way {
            Way::Forward => &mut self.front,
            Way::Backward => &mut self.back,
        }
    }
}

/// X1: whether `key` was given by the other end, or lies behind it.
fn has_crossed(way: Way, key: &[u8], other: Option<&End>) -> bool {
    let Some(given) = other.and_then(|end| end.last.as_deref()) else { return false };
    match way {
        Way::Forward => key >= given,
        Way::Backward => key <= given,
    }
}

impl End {
    /// The next entry of store and overlay, the overlay's own word going first for its keys.
    fn next(
        &mut self,
        way: Way,
        overlay: &WriteView,
        bounds: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
    ) -> Result<Option<Entry>> {
        loop {
            self.load_store_key(way)?;
            if overlay.is_empty() {
                return Ok(self.store_pending.then(|| self.give_store_entry()));
            }
            let own = self.next_own(way, overlay, bounds);
            let order = match (&own, self.store_pending) {
                (None, false) => return Ok(None),
                (None, true) => Ordering::Greater,
                (Some(_), false) => Ordering::Less,
                (Some((key, _)), true) => match way {
                    Way::Forward => (*key).cmp(self.cursor.key()),
                    Way::Backward => self.cursor.key().cmp(key),
                },
            };
            match (order, own) {
                (Ordering::Less | Ordering::Equal, Some((key, own))) => {
                    if order == Ordering::Equal {
                        self.store_pending = false;
                    }
                    self.last = Some(key.to_vec());
                    if let Own::Put(value) = own {
                        return Ok(Some(Entry { key: Value::from(key), value: value.clone() }));
                    }
                }
                _ => match overlay.covering(self.cursor.key()) {
                    None => return Ok(Some(self.give_store_entry())),
                    Some(deleted) => self.skip_range(way, deleted)?,
                },
            }
        }
    }

    fn load_store_key(&mut self, way: Way) -> Result<()> {
        if !self.store_pending && !self.store_ended {
            self.store_pending = match way {
                Way::Forward => self.cursor.next()?,
                Way::Backward => self.cursor.prev()?,
            };
            self.store_ended = !self.store_pending;
        }
        Ok(())
    }

    fn give_store_entry(&mut self) -> Entry {
        self.store_pending = false;
        let key = self.cursor.key();
        match &mut self.last {
            Some(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            none => *none = Some(key.to_vec()),
        }
        Entry { key: Value::from(key), value: self.cursor.value_owned() }
    }

    /// Goes over what an own range delete covers at once, not key by key.
    fn skip_range(&mut self, way: Way, deleted: KeyBounds<'_>) -> Result<()> {
        let found = match (way, deleted.lower, deleted.upper) {
            (Way::Forward, _, Bound::Excluded(high)) => self.cursor.seek(high)?,
            (Way::Backward, Bound::Included(low), _) => match self.cursor.seek_for_prev(low)? {
                // The low end itself is covered.
                true if self.cursor.key() == low => self.cursor.prev()?,
                found => found,
            },
            // A range without an end in this direction: nothing follows.
            _ => false,
        };
        self.store_pending = found;
        self.store_ended = !found;
        Ok(())
    }

    /// The next own write in the way of this end, inside the bounds.
    fn next_own<'v>(
        &self,
        way: Way,
        overlay: &'v WriteView,
        (lower, upper): (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
    ) -> Option<(&'v [u8], &'v Own)> {
        let after_last = self.last.as_deref().map(Bound::Excluded);
        let (key, own) = match way {
            Way::Forward => overlay.next_after(after_last.unwrap_or_else(|| as_slice(lower)))?,
            Way::Backward => overlay.prev_before(after_last.unwrap_or_else(|| as_slice(upper)))?,
        };
        let bounds = KeyBounds { lower: as_slice(lower), upper: as_slice(upper) };
        bounds.contains(key).then_some((key, own))
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.step(Way::Forward)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.step(Way::Backward)
    }
}

impl std::iter::FusedIterator for Iter {}
