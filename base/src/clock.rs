//! The seam to time: how long since some fixed moment. No result of the engine depends on it, only when it acts.
//!
//! Not the time of day, which jumps.
//!
//! T1  A clock never goes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Mutex, thread};

/// A monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment; never goes back (T1).
    fn now(&self) -> Duration;

    /// Returns when `time` has passed.
    ///
    /// ```
    /// use duramen_base::clock::{Clock, ManualClock};
    /// use std::time::Duration;
    /// let clock = ManualClock::default();
    /// clock.sleep(Duration::from_secs(1)); // nobody waits: the clock moves on
    /// assert_eq!(clock.now(), Duration::from_secs(1));
    /// ```
    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// The machine's monotonic clock.
///
/// ```
/// use duramen_base::clock::{Clock, SystemClock};
/// let clock = SystemClock::new();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts at zero now.
    pub fn new() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands until told to move; who sleeps by it moves it. Cloning shares it.
///
/// ```
/// use duramen_base::clock::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::default();
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Duration::from_secs(1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Mutex<Duration>>);

impl ManualClock {
    /// Moves the clock on, at most to the end of time.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        *now = now.saturating_add(by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.0.lock()
    }

    fn sleep(&self, time: Duration) {
        self.advance(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_never_goes_back() {
        let clock = ManualClock::default();
        let shared = clock.clone();
        shared.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Duration::from_secs(3));
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::MAX);
    }

    #[test]
    fn a_system_clock_starts_near_zero() {
        assert!(SystemClock::new().now() < Duration::from_secs(60));
    }
}
