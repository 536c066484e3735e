//! Values of one type side by side in the arena, owned like a boxed slice. For the large parts of what many threads build and one lets go of.
//!
//! RO1  A row has the values that it was made of, all of them, from when it is made until it is dropped, at one place. That is in a chunk (`chunk`),
//!      or, if it does not fit one, a box ([`Row::BOXED`]).

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::{CHUNK_BYTES, ROWS, Run, UNIT_BYTES, give_back, units};

/// See the module.
///
/// ```
/// use duramen_base::arena::Row;
/// let row = Row::new(3, |index| index * index);
/// assert_eq!(*row, [0, 1, 4]);
/// ```
pub struct Row<T> {
    values: NonNull<[T]>,
    chunk: u32,
    owns: PhantomData<T>,
}

// SAFETY: RO1: it owns its values as a box does.
unsafe impl<T: Send> Send for Row<T> {}
// SAFETY: as for `Send`; a shared row lends its values, shared.
unsafe impl<T: Sync> Sync for Row<T> {}

impl<T> Row<T> {
    /// In place of the number of a chunk.
    const BOXED: u32 = u32::MAX;

    /// A row of `len` values, each made of its index.
    ///
    /// # Panics
    /// If the system has no memory left, or `make` does; then what it made before is not dropped.
    pub fn new(len: usize, make: impl FnMut(usize) -> T) -> Row<T> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= UNIT_BYTES, "a row begins at a unit") };
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes > CHUNK_BYTES {
            let values = Box::into_raw((0..len).map(make).collect::<Box<[T]>>());
            let values = NonNull::new(values).expect("a box is somewhere");
            return Row { values, chunk: Row::<T>::BOXED, owns: PhantomData };
        }
        let Run { chunk, start, .. } = ROWS.lock().take(units(bytes));
        let start = start.cast::<T>();
        for (index, value) in (0..len).map(make).enumerate() {
            // SAFETY: AR1 and AR2: `len` values from `start` are ours, and mapped; a unit is aligned for the first.
            unsafe { start.add(index).write(value) };
        }
        Row { values: NonNull::slice_from_raw_parts(start, len), chunk, owns: PhantomData }
    }
}

impl<T> Deref for Row<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: RO1: they are there as long as the row.
        unsafe { self.values.as_ref() }
    }
}

impl<T> Drop for Row<T> {
    fn drop(&mut self) {
        if self.chunk == Row::<T>::BOXED {
            // SAFETY: RO1: it came from a box, and goes back once.
            drop(unsafe { Box::from_raw(self.values.as_ptr()) });
            return;
        }
        let run = Run { chunk: self.chunk, start: self.values.cast(), units: units(size_of_val(&**self)) };
        // SAFETY: RO1: they are there, and nobody can reach them any more.
        unsafe { ptr::drop_in_place(self.values.as_ptr()) };
        give_back(&ROWS, run);
    }
}

impl<T: fmt::Debug> fmt::Debug for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
