//! A count that many threads raise at every step and somebody reads now and then.
//!
//! One number would lie in a line that goes from processor to processor with each step of each thread. Here each thread raises one of several, which is
//! its own if there are not many. Nothing is ordered by it; under `duramen_sim` it is no point of scheduling.
//!
//! TL1  Each call is counted once, whichever threads share a number.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Padded, thread};

/// As many as the locks of `ManyReaders`, for the same reason.
const PARTS: usize = 8;

/// See the module.
///
/// ```
/// use duramen_base::sync::Tally;
/// let steps = Tally::default();
/// std::thread::scope(|threads| {
///     (0..3).for_each(|_| drop(threads.spawn(|| (0..100).for_each(|_| steps.raise()))));
/// });
/// assert_eq!(steps.sum(), 300);
/// ```
#[derive(Debug, Default)]
pub struct Tally {
    parts: [Padded<AtomicU64>; PARTS],
}

impl Tally {
    /// One more.
    #[inline]
    pub fn raise(&self) {
        // Relaxed: a figure. Added, not loaded and stored: TL1.
        self.parts[thread::number() as usize % PARTS].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were; those that are being counted may be missing.
    pub fn sum(&self) -> u64 {
        self.parts.iter().map(|part| part.load(Ordering::Relaxed)).sum()
    }
}
