//! One value, alone on its cache lines, so that writing it does not slow down readers of its neighbours.

use std::ops::Deref;

/// 128 bytes: processors that fetch lines in pairs share two of 64.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
