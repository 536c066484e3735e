//! Having a line of memory come to the cache while something else is done, and not waiting for it.
//!
//! Data beyond the caches cost a wait for memory each time a place is known only once another was read. Who knows several places asks for all of them
//! first. A load whose result nobody uses does that, too, but the processor cannot go far beyond one that has not come; beyond this it goes on at once.
//!
//! PF1  It reads nothing and changes nothing that a program can see: no thread can tell whether it was done.

/// Asks for the line of the first byte of `place`. Nothing but where no such instruction is known.
#[inline(always)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PF1; the processor takes any address here, and this one is that of a reference. Each processor of this architecture has the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_as_it_was() {
        let values: Vec<u64> = (0..1_000).collect();
        values.iter().for_each(prefetch);
        assert!(values.iter().zip(0..).all(|(&value, index)| value == index));
        prefetch(&()); // has no byte of its own
    }
}
