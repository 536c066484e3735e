//! What one commit-time lock covers. Commits take them from the lock manager, in one (keyspace, key) order.

use duramen_base::KeyspaceId;

use crate::key::Key;

/// A key, or a range of keys, of one keyspace.
///
/// ```
/// use duramen_base::KeyspaceId;
/// use duramen_txn::{Key, LockItem};
/// let ks = KeyspaceId::new(1);
/// let range = LockItem::range(ks, Key::from(&b"a"[..]), Some(Key::from(&b"c"[..])));
/// assert!(range.overlaps(&LockItem::key(ks, Key::from(&b"b"[..]))));
/// assert!(!range.overlaps(&LockItem::key(ks, Key::from(&b"c"[..]))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockItem {
    place: Place,
    kind: LockKind,
}

/// How far a [`LockItem`] reaches.
///
/// ```
/// use duramen_base::KeyspaceId;
/// use duramen_txn::{LockKind, WriteSet};
/// let mut writes = WriteSet::new();
/// writes.delete_range(KeyspaceId::new(1), b"m", b"");
/// assert!(writes.lock_items().all(|item| *item.kind() == LockKind::Range { high: None }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// One key, present or not.
    Key,
    /// Every key from the low end on, present or not.
    Range {
        /// The high end, exclusive; `None`: to the end of the keyspace.
        high: Option<Key>,
    },
}

/// Where an item begins, in the order in which a commit takes its locks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    keyspace: KeyspaceId,
    low: Key,
}

impl LockItem {
    /// One key.
    pub fn key(keyspace: KeyspaceId, key: Key) -> LockItem {
        LockItem { place: Place { keyspace, low: key }, kind: LockKind::Key }
    }

    /// The keys from `low` up to, without, `high`; `None`: to the end of the keyspace.
    pub fn range(keyspace: KeyspaceId, low: Key, high: Option<Key>) -> LockItem {
        LockItem { place: Place { keyspace, low }, kind: LockKind::Range { high } }
    }

    /// Keyspace it lies in.
    pub fn keyspace(&self) -> KeyspaceId {
        self.place.keyspace
    }

    /// The key, or the low end of the range.
    pub fn low(&self) -> &[u8] {
        &self.place.low
    }

    /// How far it reaches.
    pub fn kind(&self) -> &LockKind {
        &self.kind
    }

    /// The key or low end, and how far it reaches.
    pub(crate) fn into_parts(self) -> (Key, LockKind) {
        (self.place.low, self.kind)
    }

    /// Whether some key lies in both.
    pub fn overlaps(&self, other: &LockItem) -> bool {
        let (first, second) = if self.place <= other.place { (self, other) } else { (other, self) };
        reaches(&first.place, &first.kind, &second.place)
    }

    /// Whether all of it lies before all of `next`: the order in which a commit takes its locks.
    #[cfg(test)]
    pub(crate) fn is_before(&self, next: &LockItem) -> bool {
        self.place < next.place && !reaches(&self.place, &self.kind, &next.place)
    }

    /// The order in which commits lock.
    pub(crate) fn cmp_place(&self, other: &LockItem) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

/// Whether what begins at `place` and is of this kind reaches what begins at `later`, which is not before it.
fn reaches(place: &Place, kind: &LockKind, later: &Place) -> bool {
    debug_assert!(place <= later);
    match kind {
        LockKind::Key => place == later,
        LockKind::Range { high } => {
            place.keyspace == later.keyspace && high.as_ref().is_none_or(|high| later.low < *high)
        }
    }
}
