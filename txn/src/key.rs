//! A key of our own: bytes with bytewise order, short ones without an allocation.
//!
//! Not a word of `base`: stores keep keys in pages and tables, only transactions keep them one by one.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use duramen_base::Value;

/// Bytes of a key, ordered bytewise. Up to 22 bytes lie inside, longer ones are shared by clones.
///
/// ```
/// use duramen_txn::Key;
/// assert!(Key::from(&b"a"[..]) < Key::from(&b"aa"[..]));
/// assert_eq!(&*Key::from(&b"oak"[..]), b"oak");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Value);

impl Key {
    /// Memory outside the key itself, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Key {
        Key(Value::from(bytes))
    }
}

impl Deref for Key {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Ord for Key {
    #[inline]
    fn cmp(&self, other: &Key) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Key {
    /// As the bytes hash, so that a map can be asked with them.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialOrd for Key {
    #[inline]
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
