//! A value in the arena that is shared by counting, as `Arc` has it. What is not here of `Arc`, weak pointers above all, has no use for it.
//!
//! CT1  `count` is the number of [`Counted`] handles of a value, those that are pointers for now ([`Counted::into_raw`]) among them; it is above zero
//!      until the last one goes, who drops the value and gives its room back, once.
//! CT2  Who drops a handle does so after all that he did with the value (Release), and the last one sees all that (Acquire) before he drops it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::{Run, UNIT_BYTES, VALUES, give_back, units};
// As with `Arc`.
use crate::sync::unscheduled::{AtomicUsize, Ordering};

/// Handles of one value: more, and somebody forgets them in a loop.
const HANDLES_MAX: usize = isize::MAX as usize;

/// A value in the arena with a count of its handles.
///
/// ```
/// use duramen_base::arena::Counted;
/// let one = Counted::new([7_u64; 100]);
/// let other = one.clone();
/// assert_eq!(one[99] + other[0], 14);
/// assert!(Counted::is_same(&one, &other) && Counted::handles(&one) == 2);
/// ```
pub struct Counted<T> {
    shared: NonNull<Shared<T>>,
    owns: PhantomData<Shared<T>>,
}

/// What handles point to.
#[repr(C)]
pub(crate) struct Shared<T> {
    count: AtomicUsize,
    chunk: u32,
    pub(crate) value: T,
}

// SAFETY: as `Arc`: handles in several threads share the value, and any of them may drop it.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as for `Send`: a shared handle can be cloned.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    /// Bytes of memory that each takes, whatever is beside the value included.
    pub const MEMORY_BYTES: usize = units(size_of::<Shared<T>>()) * UNIT_BYTES;

    /// The first handle of `value`.
    ///
    /// # Panics
    /// If the system has no memory left.
    pub fn new(value: T) -> Counted<T> {
        const { assert!(align_of::<Shared<T>>() <= UNIT_BYTES, "a room begins at a unit") };
        let Run { chunk, start, .. } = VALUES.lock().take(units(size_of::<Shared<T>>()));
        let shared = start.cast::<Shared<T>>();
        // SAFETY: AR1 and AR2: as many bytes are ours, and mapped; a unit is aligned for it.
        unsafe { shared.write(Shared { count: AtomicUsize::new(1), chunk, value }) };
        Counted { shared, owns: PhantomData }
    }

    /// Whether both are handles of one value.
    pub fn is_same(one: &Counted<T>, other: &Counted<T>) -> bool {
        one.shared == other.shared
    }

    /// Handles that there are; others may make and drop some meanwhile.
    pub fn handles(this: &Counted<T>) -> usize {
        this.shared().count.load(Ordering::Relaxed)
    }

    /// The handle as a pointer, for whoever makes it one again ([`Counted::from_raw`]).
    pub(crate) fn into_raw(this: Counted<T>) -> NonNull<Shared<T>> {
        let shared = this.shared;
        std::mem::forget(this);
        shared
    }

    pub(crate) fn as_raw(this: &Counted<T>) -> NonNull<Shared<T>> {
        this.shared
    }

    /// The handle that was made this pointer.
    ///
    /// # Safety
    /// It came from [`Counted::into_raw`], and each such pointer is made a handle once.
    pub(crate) unsafe fn from_raw(shared: NonNull<Shared<T>>) -> Counted<T> {
        Counted { shared, owns: PhantomData }
    }

    /// One more handle of what is at `at`.
    ///
    /// # Safety
    /// `at` came from [`Counted::into_raw`], and its count is above zero meanwhile.
    pub(crate) unsafe fn another(at: NonNull<Shared<T>>) -> Counted<T> {
        // SAFETY: CT1: the caller says that it is there.
        let count = unsafe { &at.as_ref().count };
        // Relaxed: who makes a handle has one, so nobody drops the value meanwhile.
        let before = count.fetch_add(1, Ordering::Relaxed);
        assert!(before < HANDLES_MAX, "CT1: handles are dropped at some time");
        Counted { shared: at, owns: PhantomData }
    }

    fn shared(&self) -> &Shared<T> {
        // SAFETY: CT1: it is there as long as this handle.
        unsafe { self.shared.as_ref() }
    }
}

impl<T> Clone for Counted<T> {
    fn clone(&self) -> Counted<T> {
        // SAFETY: CT1: this handle is counted until it goes.
        unsafe { Counted::another(self.shared) }
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        if self.shared().count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // CT2. A load in place of a fence, which ThreadSanitizer does not know.
        self.shared().count.load(Ordering::Acquire);
        let chunk = self.shared().chunk;
        // SAFETY: CT1: this was the last handle, so nobody else can reach the value any more.
        unsafe { ptr::drop_in_place(self.shared.as_ptr()) };
        give_back(&VALUES, Run { chunk, start: self.shared.cast(), units: units(size_of::<Shared<T>>()) });
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.shared().value
    }
}

impl<T: fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
