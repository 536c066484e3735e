//! A frozen look at the writes on one keyspace, for an iterator: later writes do not change it.

use std::ops::Bound;
use std::sync::Arc;

use duramen_base::KeyBounds;

use super::section::Section;
use crate::write_set::Own;

/// The own writes on one keyspace as they were when the view was taken. Cheap to take and to clone: it shares the
/// write set's map, which is copied by the first write that follows while a view lives.
///
/// ```
/// use duramen_base::{KeyspaceId, Value};
/// use duramen_txn::{Own, WriteSet};
/// use std::ops::Bound;
/// let ks = KeyspaceId::new(1);
/// let mut writes = WriteSet::new();
/// writes.put(ks, b"k", Value::from(&b"v"[..]));
/// let view = writes.view(ks);
/// writes.delete(ks, b"k"); // not seen by the view
/// assert_eq!(view.next_after(Bound::Unbounded), Some((&b"k"[..], &Own::Put(Value::from(&b"v"[..])))));
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteView {
    pub(super) section: Option<Arc<Section>>,
}

impl WriteView {
    /// Whether nothing was written, so that the store alone answers.
    pub fn is_empty(&self) -> bool {
        self.section.as_ref().is_none_or(|section| section.is_empty())
    }

    /// What the transaction made of `key`; `None`: it did not touch it.
    pub fn get(&self, key: &[u8]) -> Option<&Own> {
        self.section.as_ref()?.get(key)
    }

    /// The first key written one by one at (`Included`) or after (`Excluded`) a key, or of all (`Unbounded`).
    /// Deleted ranges do not show here: ask [`WriteView::covers`] about each key of the store.
    pub fn next_after(&self, from: Bound<&[u8]>) -> Option<(&[u8], &Own)> {
        self.section.as_ref()?.next_after(from)
    }

    /// The last key written one by one at (`Included`) or before (`Excluded`) a key, or of all (`Unbounded`).
    pub fn prev_before(&self, from: Bound<&[u8]>) -> Option<(&[u8], &Own)> {
        self.section.as_ref()?.prev_before(from)
    }

    /// Whether an own range delete covers `key`, so that what the store has there is gone. A key put after the range
    /// delete shows in [`WriteView::next_after`] all the same.
    pub fn covers(&self, key: &[u8]) -> bool {
        self.covering(key).is_some()
    }

    /// The own range delete that covers `key`, `[low, high)`: a merged cursor can go on at its end at once.
    pub fn covering(&self, key: &[u8]) -> Option<KeyBounds<'_>> {
        self.section.as_ref()?.covering(key)
    }
}
