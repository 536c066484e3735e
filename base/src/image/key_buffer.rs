//! Room for one key after the other, of which those of one image have their beginning in common.

use std::ops::Deref;

use super::{AT_ONCE, Image};

/// Room for half of this, so that most keys find it at once.
const ROOM: usize = 32;

/// A key that changes often: [`Image::change_key`] rewrites what differs.
///
/// ```
/// let mut key = duramen_base::image::KeyBuffer::default();
/// key.set(b"oak");
/// assert_eq!(*key, *b"oak");
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyBuffer {
    /// The key, and room behind it: at least [`AT_ONCE`] bytes once a key was set.
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
}

impl KeyBuffer {
    /// Makes it this key.
    pub fn set(&mut self, key: &[u8]) {
        self.put(0, key);
        self.len = key.len();
    }

    /// Puts `tail` at `at`.
    #[inline(never)]
    pub(super) fn put(&mut self, at: usize, tail: &[u8]) {
        let end = at + tail.len();
        if self.bytes.len() < end + AT_ONCE {
            self.bytes.resize(2 * end.max(ROOM) + AT_ONCE, 0);
        }
        self.bytes[at..end].copy_from_slice(tail);
    }
}

impl Deref for KeyBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Image {
    /// Makes `key` the key of main record `index`.
    #[inline]
    pub fn set_key(&self, index: usize, key: &mut KeyBuffer) {
        self.set_full_key(self.suffix(index), key);
    }

    /// Makes `key` the key of history record `index`.
    pub fn set_hist_key(&self, index: usize, key: &mut KeyBuffer) {
        self.set_full_key(self.hist_suffix(index), key);
    }

    fn set_full_key(&self, suffix: &[u8], key: &mut KeyBuffer) {
        let prefix = self.prefix();
        key.put(0, prefix);
        key.put(prefix.len(), suffix);
        key.len = prefix.len() + suffix.len();
    }
}
