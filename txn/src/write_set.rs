//! What a transaction wrote, before anybody else sees it.
//!
//! Ordered per keyspace, with an undo log for savepoints. It does not check limits of keys, values or memory (the
//! engine does, with [`WriteSet::bytes`]), reads no store, and knows no lock.
//!
//! W1  Within a keyspace, range deletes come before single keys (B2 of the batch): a range delete drops the keys
//!     written before it from the set, a key written after it survives it.
//! W2  Undoing is exact: after `rollback_to` the set answers every question as it did at the savepoint.
//! W3  There is something to undo only while a savepoint lives; without one a write costs no undo record.
//! W4  A view never changes.
//!
//! Next: `section.rs` (one keyspace), `view.rs` (for iterators), `lock_item.rs` (what [`WriteSet::lock_items`] is
//! for).

mod points;
mod section;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use duramen_base::{Batch, Error, KeyspaceId, Op, Result, Value};
use smallvec::SmallVec;

use crate::key::Key;
use crate::lock_item::LockItem;
use section::{Displaced, Section};
pub use view::WriteView;

/// What a transaction itself made of a key.
///
/// ```
/// use duramen_base::{KeyspaceId, Value};
/// use duramen_txn::{Own, WriteSet};
/// let mut writes = WriteSet::new();
/// writes.put(KeyspaceId::new(1), b"k", Value::from(&b"v"[..]));
/// match writes.get(KeyspaceId::new(1), b"k") {
///     Some(Own::Put(value)) => assert_eq!(&*value, b"v"),
///     Some(Own::Deleted) => unreachable!("it was not deleted"),
///     None => unreachable!("then the store would have to be asked"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// It set this value.
    Put(Value),
    /// It deleted the key, alone or with a range.
    Deleted,
}

/// A point of a transaction to which its writes can be undone. Belongs to the write set that made it.
///
/// ```
/// use duramen_base::KeyspaceId;
/// use duramen_txn::WriteSet;
/// let mut writes = WriteSet::new();
/// let savepoint = writes.savepoint();
/// writes.delete(KeyspaceId::new(1), b"k");
/// writes.rollback_to(&savepoint)?;
/// assert!(writes.is_empty());
/// writes.release(&savepoint)?;
/// assert!(writes.rollback_to(&savepoint).is_err()); // no longer known
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Savepoint(Arc<()>);

/// The writes of one transaction.
///
/// ```
/// use duramen_base::{KeyspaceId, Value};
/// use duramen_txn::{Own, WriteSet};
/// let ks = KeyspaceId::new(1);
/// let mut writes = WriteSet::new();
/// writes.put(ks, b"sap", Value::from(&b"1"[..]));
/// let savepoint = writes.savepoint();
/// writes.delete_range(ks, b"s", b"t");
/// assert_eq!(writes.get(ks, b"sap"), Some(Own::Deleted));
/// writes.rollback_to(&savepoint)?;
/// assert_eq!(writes.get(ks, b"sap"), Some(Own::Put(Value::from(&b"1"[..]))));
/// assert_eq!(writes.get(ks, b"bark"), None);
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct WriteSet {
    /// By id, ascending. Few transactions write more than two keyspaces.
    sections: SmallVec<[(KeyspaceId, Arc<Section>); 1]>,
    undo: Vec<(KeyspaceId, Displaced)>,
    undo_bytes: u64,
    /// Living savepoints, oldest first, with the length of the undo log when each was made.
    savepoints: Vec<(Arc<()>, usize)>,
}

impl WriteSet {
    /// Nothing written yet.
    pub fn new() -> WriteSet {
        WriteSet::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: Value) {
        self.change(keyspace, |section| section.put(Key::from(key), value));
    }

    /// Deletes `key`, whether there is one or not.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.change(keyspace, |section| section.delete(Key::from(key)));
    }

    /// Deletes every key from `low` up to, without, `high`; with an empty `high` to the end of the keyspace. A range
    /// that is empty deletes nothing.
    pub fn delete_range(&mut self, keyspace: KeyspaceId, low: &[u8], high: &[u8]) {
        if high.is_empty() || low < high {
            let high = (!high.is_empty()).then(|| Key::from(high));
            self.change(keyspace, |section| section.delete_range(Key::from(low), high));
        }
    }

    /// What this transaction made of `key`; `None`: it did not touch it, the store knows.
    pub fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Option<Own> {
        self.section(keyspace)?.get(key).cloned()
    }

    /// The writes on `keyspace` as they are now, for an iterator.
    pub fn view(&self, keyspace: KeyspaceId) -> WriteView {
        WriteView { section: self.section(keyspace).cloned() }
    }

    /// Marks this point. Each living savepoint makes every write keep what it displaced.
    pub fn savepoint(&mut self) -> Savepoint {
        let token = Arc::new(());
        self.savepoints.push((Arc::clone(&token), self.undo.len()));
        Savepoint(token)
    }

    /// Undoes every write since `savepoint`, which lives on; those made after it are gone.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the savepoint is of another transaction, released, or was itself rolled back;
    /// nothing changed.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let index = self.index_of(savepoint)?;
        let undo_len = self.savepoints[index].1;
        self.savepoints.truncate(index + 1);
        for (keyspace, displaced) in self.undo.drain(undo_len..).rev() {
            self.undo_bytes -= displaced.bytes();
            let place = place_of(&self.sections, keyspace).expect("W2: a section that was changed is there");
            Arc::make_mut(&mut self.sections[place].1).restore(displaced);
        }
        Ok(())
    }

    /// Forgets `savepoint` and those made after it; the writes stay.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] as for [`WriteSet::rollback_to`].
    pub fn release(&mut self, savepoint: &Savepoint) -> Result<()> {
        let index = self.index_of(savepoint)?;
        self.savepoints.truncate(index);
        if self.savepoints.is_empty() {
            self.undo.clear(); // W3
            self.undo_bytes = 0;
        }
        Ok(())
    }

    /// Whether nothing is written: all was undone, or nothing ever was.
    pub fn is_empty(&self) -> bool {
        self.sections.iter().all(|(_, section)| section.is_empty())
    }

    /// Number of operations: keys and ranges, over all keyspaces.
    pub fn len(&self) -> usize {
        self.sections.iter().map(|(_, section)| section.len()).sum()
    }

    /// Memory it takes in bytes, about, with what savepoints keep.
    pub fn bytes(&self) -> u64 {
        self.undo_bytes + self.sections.iter().map(|(_, section)| section.bytes()).sum::<u64>()
    }

    /// The keyspaces written, ascending.
    pub fn keyspaces(&self) -> impl Iterator<Item = KeyspaceId> {
        self.written().map(|(keyspace, _)| keyspace)
    }

    /// The operations on `keyspace` in the order of a batch (W1).
    pub fn ops(&self, keyspace: KeyspaceId) -> impl Iterator<Item = Op<'_>> {
        self.section(keyspace).into_iter().flat_map(|section| section.ops())
    }

    /// Appends all of it to `batch`, which holds nothing else.
    pub fn encode(&self, batch: &mut Batch) {
        debug_assert!(batch.is_empty(), "a batch is one commit");
        self.written().for_each(|(keyspace, section)| batch.section(keyspace, section.ops()));
    }

    /// What a commit locks and validates: disjoint keys and ranges, in the order in which locks are taken. A key
    /// inside an own range is left to the range.
    pub fn lock_items(&self) -> impl Iterator<Item = LockItem> {
        self.written().flat_map(|(keyspace, section)| {
            section.pieces().map(move |(low, range)| match range {
                None => LockItem::key(keyspace, low.clone()),
                Some(high) => LockItem::range(keyspace, low.clone(), high.clone()),
            })
        })
    }

    /// The same if it is a single key, as it is for most transactions: found without walking anything.
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, Value};
    /// use duramen_txn::WriteSet;
    /// let mut writes = WriteSet::new();
    /// writes.put(KeyspaceId::new(1), b"k", Value::from(&b"v"[..]));
    /// assert!(writes.single_lock_item().is_some_and(|item| item.low() == b"k"));
    /// writes.delete(KeyspaceId::new(1), b"l");
    /// assert!(writes.single_lock_item().is_none());
    /// ```
    #[inline]
    pub fn single_lock_item(&self) -> Option<LockItem> {
        match &self.sections[..] {
            [(keyspace, section)] => Some(LockItem::key(*keyspace, section.single_key()?.clone())),
            _ => None,
        }
    }

    fn written(&self) -> impl Iterator<Item = (KeyspaceId, &Section)> {
        self.sections
            .iter()
            .filter(|(_, section)| !section.is_empty())
            .map(|(keyspace, section)| (*keyspace, &**section))
    }

    fn section(&self, keyspace: KeyspaceId) -> Option<&Arc<Section>> {
        Some(&self.sections[place_of(&self.sections, keyspace).ok()?].1)
    }

    fn change(&mut self, keyspace: KeyspaceId, change: impl FnOnce(&mut Section) -> Displaced) {
        let place = place_of(&self.sections, keyspace).unwrap_or_else(|place| {
            self.sections.insert(place, (keyspace, Arc::default()));
            place
        });
        // Copies the section if a view shares it (W4).
        let displaced = change(Arc::make_mut(&mut self.sections[place].1));
        if !self.savepoints.is_empty() {
            self.undo_bytes += displaced.bytes();
            self.undo.push((keyspace, displaced));
        }
    }

    fn index_of(&self, savepoint: &Savepoint) -> Result<usize> {
        self.savepoints
            .iter()
            .rposition(|(token, _)| Arc::ptr_eq(token, &savepoint.0))
            .ok_or(Error::InvalidArgument { what: "a savepoint of this transaction that is still alive" })
    }
}

fn place_of(sections: &[(KeyspaceId, Arc<Section>)], keyspace: KeyspaceId) -> Result<usize, usize> {
    sections.binary_search_by_key(&keyspace, |(id, _)| *id)
}
