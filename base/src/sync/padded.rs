//! One value, alone on its cache lines, so that writing it does not slow down readers of its neighbours.

use std::ops::Deref;

/// A value on lines of its own: 128 bytes, as processors that fetch lines in pairs share two of 64.
///
/// ```
/// use duramen_base::sync::Padded;
/// use duramen_base::sync::atomic::{AtomicU64, Ordering};
/// let count = Padded(AtomicU64::new(1));
/// assert_eq!((count.load(Ordering::Relaxed), align_of_val(&count)), (1, 128));
/// ```
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
