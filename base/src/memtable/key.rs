//! A key in memory: up to 22 bytes inside itself, longer ones counted.
//!
//! Not a format; it exists so that maps of keys are searched by plain byte slices and hold small keys without an allocation.
//!
//! E1  Keys are ordered bytewise, exactly as the slices they borrow as.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::{Bound, Deref};

use crate::Value;

/// An owned key.
///
/// ```
/// use duramen_base::memtable::{Key, as_slice, successor};
/// use std::ops::Bound;
///
/// let key = Key::from(&b"oak"[..]);
/// assert_eq!(key.memory_bytes(), size_of::<Key>() as u64, "a short key needs no allocation");
/// assert!(*key < *successor(&key));
/// assert_eq!(as_slice(&Bound::Included(b"oak".to_vec())), Bound::Included(&*key));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Value);

impl Key {
    /// Bytes it takes in a map, its allocation included.
    pub fn memory_bytes(&self) -> u64 {
        (size_of::<Key>() + self.0.heap_bytes()) as u64
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Key {
        Key(Value::from(bytes))
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// The least key above `key`.
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Bounds of owned bytes as bounds of slices.
pub fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_like_their_bytes() {
        let long = [7u8; 40];
        let mut keys: Vec<Key> = [&b"b"[..], b"", b"a\0", &long, b"a"].into_iter().map(Key::from).collect();
        keys.sort();
        let sorted: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        assert_eq!(sorted, [&b""[..], &long, b"a", b"a\0", b"b"]);
    }

    #[test]
    fn nothing_lies_between_a_key_and_its_successor() {
        assert_eq!(successor(b"a"), b"a\0");
        let next = successor(b"a");
        assert!(b"a"[..] < next[..] && next[..] < b"a\0\0"[..]);
    }
}
