//! The one memory budget: who holds how many bytes, and what is left.
//!
//! A count, not an allocator: a part reserves before it allocates, and holds the [`Reservation`] for as long as it keeps the bytes.
//! Some uses may not fail (an apply that was admitted): those go over the limit, and the pressure shows in [`Budget::used`].
//!
//! M1  `used` is the sum of all live reservations.

use std::sync::{Arc, OnceLock};

use crate::sync::atomic::{AtomicU64, Ordering};

/// A limit in bytes shared by all parts of one database.
///
/// ```
/// use duramen_base::Budget;
/// let budget = Budget::new(1000);
/// let held = budget.try_reserve(600).expect("fits");
/// assert!(budget.try_reserve(600).is_none());
/// drop(held);
/// assert_eq!(budget.used(), 0);
/// ```
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicU64::new(0) })
    }

    /// Bytes allowed.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes held.
    pub fn used(&self) -> u64 {
        // Relaxed: a count that guards no other memory.
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more is held than allowed.
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    /// Whether `bytes` more are at most an eighth over what is allowed: what may be in flight while somebody brings memory down.
    pub fn tolerates(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit.saturating_add(self.limit / 8)
    }

    /// Holds `bytes` if they fit.
    pub fn try_reserve(self: &Arc<Budget>, bytes: u64) -> Option<Reservation> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .ok()?;
        Some(Reservation { budget: Arc::clone(self), bytes })
    }

    /// Holds `bytes` whether they fit or not: for what must not fail.
    pub fn reserve_anyway(self: &Arc<Budget>, bytes: u64) -> Reservation {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Reservation { budget: Arc::clone(self), bytes }
    }
}

/// Bytes held from a [`Budget`] until dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over the bytes of `other`, of the same budget.
    pub fn absorb(&mut self, mut other: Reservation) {
        debug_assert!(Arc::ptr_eq(&self.budget, &other.budget), "M1: one budget");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Splits `bytes` off (at most what is held).
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation { budget: Arc::clone(&self.budget), bytes }
    }

    /// Holds `bytes` from now on, more or less than before, whether they fit or not.
    pub fn resize(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

/// Bytes held from one [`Budget`] by something that many threads add to, until dropped.
///
/// ```
/// use duramen_base::Budget;
/// use duramen_base::budget::SharedReservation;
/// let budget = Budget::new(1000);
/// let shared = SharedReservation::default();
/// shared.keep(budget.reserve_anyway(600), 400); // it took less than was set aside
/// shared.keep(budget.reserve_anyway(0), -100);
/// assert_eq!((shared.bytes(), budget.used()), (300, 300));
/// drop(shared);
/// assert_eq!(budget.used(), 0);
/// ```
#[derive(Debug, Default)]
pub struct SharedReservation {
    /// That of the first reservation kept.
    budget: OnceLock<Arc<Budget>>,
    bytes: AtomicU64,
}

impl SharedReservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        // Relaxed: a count that guards no other memory.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Holds `change` bytes more (or less) from now on, of which `held` were set aside; what is left of that is given back, what it lacks is held anyway.
    pub fn keep(&self, mut held: Reservation, change: i64) {
        if self.budget.get().is_none() {
            // Another may be faster; it is the same one.
            let _ = self.budget.set(Arc::clone(&held.budget));
        }
        debug_assert!(self.budget.get().is_some_and(|own| Arc::ptr_eq(own, &held.budget)), "M1: one budget");
        held.resize(change.max(0).unsigned_abs());
        self.bytes.fetch_add(std::mem::take(&mut held.bytes), Ordering::Relaxed);
        if change < 0 {
            let less = change.unsigned_abs();
            self.bytes.fetch_sub(less, Ordering::Relaxed);
            held.budget.used.fetch_sub(less, Ordering::Relaxed);
        }
    }
}

impl Drop for SharedReservation {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.get() {
            budget.used.fetch_sub(self.bytes(), Ordering::Relaxed);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
