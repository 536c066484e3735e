//! The one place of this crate that names threads, locks between them, and the clock.
//!
//! The suite is a program like any user's: it runs real threads against the engine. Time is read only to give up on a run that hangs; no
//! verdict depends on it.

use std::time::{Duration, Instant};

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
pub(crate) use std::sync::{Barrier, Mutex};
pub(crate) use std::thread::{scope, spawn, yield_now};

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Instant);

impl Patience {
    pub(crate) fn of(duration: Duration) -> Patience {
        Patience(Instant::now() + duration)
    }

    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}
