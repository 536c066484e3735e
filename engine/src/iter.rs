//! The merged cursor: a store's keys as of a snapshot, overlaid with what the transaction itself wrote.
//!
//! Two ends, each with a cursor of its own that only moves towards the other. The overlay is a frozen view of the write set, so a put while
//! iterating compiles and is not seen. A step moves an end; what it then stands on is lent from there, or copied out as an entry of its own.
//!
//! X1  Each key of the range is given once, by one end.
//! X2  After an error the iterator ends; nothing behind it is shown as if it had been read.
//! X3  Without writes over the store, without locks, without a transaction that must know, and with one end only, a step is the store's alone.
//!
//! Next: `iter/end.rs` (one end), `iter/locked.rs` (scans that lock).

mod end;
mod locked;

use std::ops::Bound;

use duramen_base::sync::Arc;
use duramen_base::{Error, KeyBounds, Result, ScanOpts, Value};
use duramen_txn::{Registration, Scan, WriteView};

use crate::keyspace::{Inner, Keyspace};
use crate::snapshot::{check_kept, check_open};
use end::End;
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

/// A key and its value, lent by an iterator until its next step.
///
/// ```
/// use duramen::{BackendKind, Database, EntryRef, Reader};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// db.update(|tx| tx.put(&ks, "a", "1"))?;
/// let snapshot = db.snapshot()?;
/// assert_eq!(snapshot.iter(&ks)?.next_ref()?, Some(EntryRef { key: b"a", value: b"1" }));
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
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
    registration: Registration,
    overlay: WriteView,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    front: Option<End>,
    back: Option<End>,
    finished: bool,
    /// Whether the store alone answers and nobody must know of it (X3).
    is_plain: bool,
    /// Where it says how far it came, if its transaction must know.
    scan: Option<Arc<Scan>>,
    /// How it locks, if it does.
    locking: Option<Box<Locking>>,
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
        registration: Registration,
        overlay: WriteView,
        bounds: KeyBounds<'_>,
    ) -> Iter {
        let overlay_is_empty = overlay.is_empty();
        Iter {
            keyspace: Arc::clone(&keyspace.inner),
            registration,
            overlay,
            lower: bounds.lower.map(<[u8]>::to_vec),
            upper: bounds.upper.map(<[u8]>::to_vec),
            front: None,
            back: None,
            finished: bounds.is_empty(),
            is_plain: !bounds.is_empty() && overlay_is_empty,
            scan: None,
            locking: None,
        }
    }

    /// The same, locking as it goes.
    pub(crate) fn locking(mut self, locking: Locking) -> Iter {
        self.locking = Some(Box::new(locking));
        self.is_plain = false;
        self
    }

    /// The same, telling `scan` how far it comes.
    pub(crate) fn noted_by(mut self, scan: Option<Arc<Scan>>) -> Iter {
        self.is_plain &= scan.is_none();
        self.scan = scan;
        self
    }

    /// Lends the next entry until the step after it: nothing is copied or counted, so it is the cheapest way to look at many.
    ///
    /// Steps of this kind and those of the iterator may take turns; together they give each entry once.
    ///
    /// # Errors
    /// Those of a read, as [`Reader`](crate::Reader) lists them. Afterwards the iterator has ended.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::Lsm)?;
    /// db.update(|tx| ["ash", "beech", "oak"].iter().try_for_each(|key| tx.put(&ks, key, "tree")))?;
    /// let mut iter = db.snapshot()?.iter(&ks)?;
    /// let mut bytes = 0;
    /// while let Some(entry) = iter.next_ref()? {
    ///     bytes += entry.key.len() + entry.value.len();
    /// }
    /// assert_eq!(bytes, 11 + 12);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[inline]
    pub fn next_ref(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.lend(Way::Forward)
    }

    /// As [`Iter::next_ref`], from the other end.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// db.update(|tx| ["ash", "beech", "oak"].iter().try_for_each(|key| tx.put(&ks, key, "tree")))?;
    /// let mut iter = db.snapshot()?.iter(&ks)?;
    /// assert_eq!(iter.next_back_ref()?.expect("three entries").key, b"oak");
    /// # Ok::<(), duramen::Error>(())
    /// ```
    #[inline]
    pub fn next_back_ref(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.lend(Way::Backward)
    }

    #[inline(always)]
    fn lend(&mut self, way: Way) -> Result<Option<EntryRef<'_>>> {
        if self.is_at_hand(way) {
            let Some(end) = self.end_of(way) else { return Ok(None) };
            return Ok(Some(end.lend_at_hand(way)));
        }
        self.lend_afar(way)
    }

    #[inline(never)]
    fn lend_afar(&mut self, way: Way) -> Result<Option<EntryRef<'_>>> {
        Ok(if self.step_afar(way)? { Some(self.given(way).lend()) } else { None })
    }

    /// Whether the next step is the common one: the store's alone (X3), and short.
    #[inline(always)]
    fn is_at_hand(&self, way: Way) -> bool {
        let ends = match way {
            Way::Forward => (&self.front, &self.back),
            Way::Backward => (&self.back, &self.front),
        };
        let (Some(end), None) = ends else { return false };
        // What is at hand was read while the snapshot was kept: it was found so after the step that brought it here.
        self.is_plain && !self.registration.is_closed() && !self.registration.is_ended() && end.is_at_hand(way)
    }

    fn step_afar(&mut self, way: Way) -> Result<bool> {
        if self.finished {
            return Ok(false);
        }
        let found = self.try_step(way);
        // X2, and the end of the range: nothing follows.
        self.finished = !matches!(found, Ok(true));
        self.is_plain &= !self.finished;
        found
    }

    fn try_step(&mut self, way: Way) -> Result<bool> {
        check_open(&self.registration)?;
        let found = if self.locking.is_none() { self.advance_plainly(way) } else { self.advance_locking(way) };
        check_kept(&self.registration)?; // Whatever was found, if it had grown too old.
        let found = found?;
        if self.scan.is_some() { self.note(way, found) } else { Ok(found) }
    }

    #[inline(always)]
    fn step_owned(&mut self, way: Way) -> Option<Result<Entry>> {
        if self.is_at_hand(way) {
            let end = self.end_of(way).as_mut()?;
            return Some(Ok(end.take_at_hand(way)));
        }
        self.step_owned_afar(way)
    }

    #[inline(never)]
    fn step_owned_afar(&mut self, way: Way) -> Option<Result<Entry>> {
        match self.step_afar(way) {
            Ok(true) => Some(Ok(self.given(way).entry())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Tells the transaction what is about to be given, if it must know; refuses if it has ended.
    fn note(&self, way: Way, found: bool) -> Result<bool> {
        let Some(scan) = &self.scan else { return Ok(found) };
        let key = if found { self.given(way).given_key() } else { None };
        let may_give = match way {
            Way::Forward => scan.note_forward(key),
            Way::Backward => scan.note_backward(key),
        };
        if may_give { Ok(found) } else { Err(Error::TxnAborted) }
    }

    fn advance_plainly(&mut self, way: Way) -> Result<bool> {
        let (end, other) = match way {
            Way::Forward => (&mut self.front, &self.back),
            Way::Backward => (&mut self.back, &self.front),
        };
        let bounds = KeyBounds { lower: as_slice(&self.lower), upper: as_slice(&self.upper) };
        let end = match end {
            Some(end) => end,
            none => none.insert(End::new(self.keyspace.store.cursor(
                self.registration.ts(),
                bounds,
                ScanOpts::default(),
            )?)),
        };
        let found = end.next(way, &self.overlay, bounds)?;
        Ok(found && !end.has_met(way, other.as_ref()))
    }

    /// The end that just moved.
    fn given(&self, way: Way) -> &End {
        let end = match way {
            Way::Forward => &self.front,
            Way::Backward => &self.back,
        };
        end.as_ref().expect("an end that moved is there")
    }

    #[inline(always)]
    fn end_of(&mut self, way: Way) -> &mut Option<End> {
        match way {
            Way::Forward => &mut self.front,
            Way::Backward => &mut self.back,
        }
    }
}

#[inline]
fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    #[inline]
    fn next(&mut self) -> Option<Result<Entry>> {
        self.step_owned(Way::Forward)
    }
}

impl DoubleEndedIterator for Iter {
    #[inline]
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.step_owned(Way::Backward)
    }
}

impl std::iter::FusedIterator for Iter {}
