//! What every reader can do: [`Reader`], the one trait of transactions and snapshots.
//!
//! Not open to other types: what a read is made of ([`View`]) belongs to the engine.

use std::ops::{Bound, RangeBounds};

use duramen_base::bounds::prefix_end;
use duramen_base::{KeyBounds, Result, Value};

use crate::iter::{Entry, Iter};
use crate::keyspace::Keyspace;

/// Reads of one consistent view of the database.
///
/// Every method may fail with `NoSuchKeyspace` (dropped), `InvalidArgument` (the keyspace belongs to another open database), `Closed`,
/// `Io`, or `Corruption` of what it had to read; on a transaction also `TxnAborted`. Other keys stay readable.
///
/// ```
/// use duramen::{BackendKind, Database, Reader};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("fruit", BackendKind::BTree)?;
/// db.update(|tx| {
///     tx.put(&ks, "apple", "red")?;
///     tx.put(&ks, "banana", "yellow")?;
///     tx.put(&ks, "cherry", "red")
/// })?;
/// let snapshot = db.snapshot()?;
/// assert!(snapshot.contains(&ks, "apple")?);
/// assert_eq!(snapshot.first(&ks)?.expect("not empty").key, &b"apple"[..]);
/// let keys: Vec<_> = snapshot.range(&ks, "b".."d")?.rev().map(|entry| entry.map(|e| e.key)).collect::<Result<_, _>>()?;
/// assert_eq!(keys, [&b"cherry"[..], &b"banana"[..]]);
///
/// assert_eq!(snapshot.get(&ks, "apple")?.as_deref(), Some(&b"red"[..]));
/// assert_eq!(snapshot.get_with(&ks, "banana", |value| value.map_or(0, <[u8]>::len))?, 6);
/// let mut buffer = Vec::new();
/// assert!(snapshot.get_into(&ks, "cherry", &mut buffer)? && buffer == b"red");
/// assert_eq!(snapshot.multi_get(&ks, &["apple", "date"])?.iter().flatten().count(), 1);
/// assert_eq!(snapshot.last(&ks)?.expect("not empty").key, &b"cherry"[..]);
/// assert_eq!((snapshot.iter(&ks)?.count(), snapshot.prefix(&ks, "b")?.count()), (3, 1));
/// # Ok::<(), duramen::Error>(())
/// ```
pub trait Reader: sealed::View {
    /// The value of `key`. Small ones are copied; large ones share the memory they lie in, and stay valid after everything else is gone.
    fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.view_get(keyspace, key.as_ref())
    }

    /// What `read` makes of the value of `key`, without keeping the value.
    fn get_with<R>(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        self.view_get_with(keyspace, key.as_ref(), read)
    }

    /// Replaces `out` by the value of `key`; whether there is one. For callers that keep one buffer.
    fn get_into(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>, out: &mut Vec<u8>) -> Result<bool> {
        let value = self.view_get(keyspace, key.as_ref())?;
        out.clear();
        out.extend_from_slice(value.as_deref().unwrap_or_default());
        Ok(value.is_some())
    }

    /// The values of `keys`, in their order.
    fn multi_get<K: AsRef<[u8]>>(&self, keyspace: &Keyspace, keys: &[K]) -> Result<Vec<Option<Value>>> {
        self.view_multi_get(keyspace, &mut keys.iter().map(AsRef::as_ref))
    }

    /// Whether `key` has a value.
    fn contains(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.view_get(keyspace, key.as_ref())?.is_some())
    }

    /// The entries with keys in `range`, in key order; from the back with `.rev()`, or from both ends at once.
    ///
    /// The iterator keeps its view: what the transaction writes after this call it does not show.
    ///
    /// A tuple of bounds that borrow their keys can be read in two ways, so the compiler wants to be told the type of the keys:
    ///
    /// ```
    /// use std::ops::Bound;
    /// # use duramen::{BackendKind, Database, Reader};
    /// # let db = Database::in_memory()?;
    /// # let ks = db.keyspace("trees", BackendKind::BTree)?;
    /// # db.update(|tx| ["ash", "beech", "oak"].iter().try_for_each(|key| tx.put(&ks, key, "")))?;
    /// # let snapshot = db.snapshot()?;
    /// let (low, high) = (b"ash".to_vec(), b"oak".to_vec());
    /// let bounds = (Bound::Excluded(&low), Bound::Included(&high));
    /// assert_eq!(snapshot.range::<Vec<u8>>(&ks, bounds)?.count(), 2);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    fn range<K: AsRef<[u8]>>(&self, keyspace: &Keyspace, range: impl RangeBounds<K>) -> Result<Iter> {
        let (lower, upper) = (range.start_bound().map(K::as_ref), range.end_bound().map(K::as_ref));
        self.view_iter(keyspace, KeyBounds { lower, upper })
    }

    /// All entries, in key order.
    fn iter(&self, keyspace: &Keyspace) -> Result<Iter> {
        self.view_iter(keyspace, KeyBounds::ALL)
    }

    /// The entries whose keys start with `prefix`, in key order.
    fn prefix(&self, keyspace: &Keyspace, prefix: impl AsRef<[u8]>) -> Result<Iter> {
        let end = prefix_end(prefix.as_ref());
        let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.view_iter(keyspace, KeyBounds { lower: Bound::Included(prefix.as_ref()), upper })
    }

    /// The entry with the lowest key.
    fn first(&self, keyspace: &Keyspace) -> Result<Option<Entry>> {
        self.iter(keyspace)?.next().transpose()
    }

    /// The entry with the highest key.
    fn last(&self, keyspace: &Keyspace) -> Result<Option<Entry>> {
        self.iter(keyspace)?.next_back().transpose()
    }
}

impl<T: sealed::View> Reader for T {}

pub(crate) mod sealed {
    use super::{Iter, KeyBounds, Keyspace, Result, Value};

    /// What a reader is made of.
    pub trait View {
        #[doc(hidden)]
        fn view_get(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>>;
        #[doc(hidden)]
        fn view_get_with<R>(
            &self,
            keyspace: &Keyspace,
            key: &[u8],
            read: impl FnOnce(Option<&[u8]>) -> R,
        ) -> Result<R> {
            Ok(read(self.view_get(keyspace, key)?.as_deref()))
        }
        #[doc(hidden)]
        fn view_multi_get(
            &self,
            keyspace: &Keyspace,
            keys: &mut dyn Iterator<Item = &[u8]>,
        ) -> Result<Vec<Option<Value>>> {
            keys.map(|key| self.view_get(keyspace, key)).collect()
        }
        #[doc(hidden)]
        fn view_iter(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter>;
    }
}
