//! A counted value that one thread at a time replaces and any number read without a latch and without touching its count.
//!
//! Readers hold a [`Pinned`]; a value that was replaced is let go of once nobody is pinned who could have met it (epochs, by crossbeam-epoch; Fraser,
//! "Practical lock freedom", 2004). It orders nothing but itself: what a value means, and who may replace it when, is its owner's business.
//!
//! PU1 The pointer is null, or came from `Counted::into_raw` and stands for one handle, which [`Published`] owns.
//! PU2 The count of a pointer that was taken out is given up only by a call deferred under a pin: so it is at least one for whoever loaded the
//!     pointer under a pin of his own, until that pin ends.
//! PU3 A [`Lent`] does not outlive the pin it was loaded under: its lifetime says so, and a pin does not leave its thread.
//! PU4 Who waits for replaced values to be freed waits for a bounded number of turns, so a pin that does not end holds nobody up for good.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use crossbeam_epoch::Guard;

use super::atomic::{AtomicPtr, Ordering};
use crate::arena::{Counted, Shared};

/// Keeps alive what its thread loads from any [`Published`] while it lasts. Short: nothing that was replaced meanwhile, by anybody, is freed before
/// it ends.
///
/// ```
/// use duramen_base::sync::published::Pinned;
/// let pin = Pinned::new();
/// let inner = Pinned::new(); // costs next to nothing
/// drop((inner, pin));
/// ```
#[derive(Debug)]
pub struct Pinned(#[expect(dead_code, reason = "it is held, not read")] Guard);

impl Pinned {
    /// A pin from now on.
    #[inline]
    pub fn new() -> Pinned {
        Pinned(crossbeam_epoch::pin())
    }
}

impl Default for Pinned {
    fn default() -> Pinned {
        Pinned::new()
    }
}

/// Values that were replaced and may still be read. Relaxed: a count that guards no other memory.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Looks of [`give_way`] at what waits (PU4).
const LOOKS: u32 = 64;
/// Values of so much of a budget may wait.
const WAITING_PART: u64 = 16;
/// So many may always wait.
const WAITING_FREELY: u64 = 256;

/// Values that were replaced, by anybody, and are not freed yet.
///
/// ```
/// use duramen_base::sync::published::{Pinned, Published, waiting};
/// use duramen_base::arena::Counted;
/// let page = Published::empty();
/// let pin = Pinned::new();
/// page.set(Some(Counted::new(1)));
/// page.set(Some(Counted::new(2)));
/// assert!(waiting() >= 1, "the pin keeps it");
/// ```
pub fn waiting() -> u64 {
    WAITING.load(Ordering::Relaxed)
}

/// For a thread that is about to bring in a value of about `value_bytes`: while more of them than a sixteenth of the budget of `budget_bytes` holds
/// (and 256) wait to be freed, frees what can be, and lets those run who are pinned.
/// Without it a pinned thread that lost its processor for a while makes everybody else's replaced pages pile up. For a while only, and not at all
/// under a pin of its own, which would be what it waits for (PU4).
///
/// ```
/// duramen_base::sync::published::give_way(64 << 20, 16 << 10);
/// ```
pub fn give_way(budget_bytes: u64, value_bytes: u64) {
    let values_max = (budget_bytes / WAITING_PART / value_bytes).max(WAITING_FREELY);
    for _ in 0..LOOKS {
        if waiting() <= values_max || crossbeam_epoch::is_pinned() {
            return;
        }
        collect();
        super::thread::yield_now();
    }
}

/// Hands what this thread replaced to whoever ends a pin next, and frees what nobody can read any more. For a thread that replaces much and
/// pins little.
///
/// ```
/// duramen_base::sync::published::collect();
/// ```
pub fn collect() {
    crossbeam_epoch::pin().flush();
}

/// See the module.
///
/// ```
/// use duramen_base::sync::published::{Pinned, Published};
/// use duramen_base::arena::Counted;
/// let page: Published<Vec<u8>> = Published::empty();
/// page.set(Some(Counted::new(vec![1])));
/// let pin = Pinned::new();
/// let seen = page.get(&pin).expect("just set");
/// page.set(Some(Counted::new(vec![2])));
/// assert_eq!((&**seen, &**page.get(&pin).expect("just set")), (&[1][..], &[2][..]));
/// assert_eq!(*seen.to_counted(), [1]);
/// ```
pub struct Published<T: Send + Sync + 'static> {
    pointer: AtomicPtr<Shared<T>>,
    /// It shares and drops values as a handle does, so only what handles may share is shared by it.
    owns: PhantomData<Counted<T>>,
}

/// A value under a pin.
pub struct Lent<'p, T> {
    pointer: NonNull<Shared<T>>,
    pin: PhantomData<(&'p Pinned, Counted<T>)>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Nothing yet.
    pub fn empty() -> Published<T> {
        Published { pointer: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// The value as it is now.
    #[inline]
    pub fn get<'p>(&self, _pin: &'p Pinned) -> Option<Lent<'p, T>> {
        // Acquire: pairs with the swap in `set`, so that the value is seen as whoever set it had made it.
        NonNull::new(self.pointer.load(Ordering::Acquire)).map(|pointer| Lent { pointer, pin: PhantomData })
    }

    /// Whether it is this very value (`None`: nothing). For its owner: another thread could change it meanwhile.
    pub fn is(&self, value: Option<&Counted<T>>) -> bool {
        NonNull::new(self.pointer.load(Ordering::Relaxed)) == value.map(Counted::as_raw)
    }

    /// Replaces the value.
    pub fn set(&self, value: Option<Counted<T>>) {
        let new = value.map_or(ptr::null_mut(), |value| Counted::into_raw(value).as_ptr());
        // Pinned before the old value leaves, as whoever can still meet it is then pinned at this time or earlier.
        let pin = crossbeam_epoch::pin();
        let old = self.pointer.swap(new, Ordering::AcqRel);
        if let Some(old) = NonNull::new(old) {
            // SAFETY: PU1: it came from `into_raw`, and the swap handed us the one handle that it stands for.
            let old = unsafe { Counted::from_raw(old) };
            WAITING.fetch_add(1, Ordering::Relaxed);
            pin.defer(move || {
                drop(old); // PU2
                WAITING.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        let last = self.pointer.load(Ordering::Relaxed);
        if let Some(last) = NonNull::new(last) {
            // SAFETY: PU1, and nobody else can reach the pointer any more to take the handle.
            let last = unsafe { Counted::from_raw(last) };
            crossbeam_epoch::pin().defer(move || drop(last)); // PU2: what was lent under a pin may outlive us
        }
    }
}

impl<T: Send + Sync + 'static> Default for Published<T> {
    fn default() -> Published<T> {
        Published::empty()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published")
    }
}

impl<T> Clone for Lent<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Lent<'_, T> {}

impl<T> Lent<'_, T> {
    /// A counted handle, which outlives the pin.
    pub fn to_counted(&self) -> Counted<T> {
        // SAFETY: PU1: it came from `into_raw`. PU2 and PU3: its count is at least one now.
        unsafe { Counted::another(self.pointer) }
    }
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: PU1: it points to a shared value, which nobody changes. PU2 and PU3: the count is at least one while we live.
        unsafe { &self.pointer.as_ref().value }
    }
}

impl<T: fmt::Debug> fmt::Debug for Lent<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod schedules;
