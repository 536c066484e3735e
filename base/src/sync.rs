//! The seam to locks, atomics and threads.
//!
//! In a plain build: parking_lot, std atomics, std threads, without a trace of anything else. Under the cfg `duramen_sim` the same
//! names are shuttle's, which schedules every lock, wait and atomic (`sync/scheduled.rs`). Code outside this module names neither.
//! What a build offers beyond the other (poisoning, mapped guards, `const` locks in statics) is not to be used.
//!
//! Do not take a lock for reading twice in one thread: parking_lot may wait for ever, shuttle refuses.
//!
//! Timed waits: under `duramen_sim` time does not pass, so `Condvar::wait_for` gives way once and reports a timeout.
//!
//! Tests that run under every schedule call `check_random` and stand in modules called `schedules`, in any crate:
//! `RUSTFLAGS="--cfg duramen_sim" cargo test --features testing --target-dir target/sim --lib schedules`.
//! Their threads come from [`thread::spawn_named`], and all they share is made inside the closure. The other tests use locks
//! outside of it and do not run in that build; these run in both.

#[cfg(duramen_sim)]
#[path = "sync/scheduled.rs"]
mod imp;

#[cfg(not(duramen_sim))]
mod imp {
    pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult};

    /// Atomics and the fence.
    pub mod atomic {
        pub use std::sync::atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }

    /// Threads.
    pub mod thread {
        pub use std::thread::{JoinHandle, ThreadId, current, sleep, yield_now};

        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicU64, Ordering};

        /// A number that this thread has and no other; zero for all whose thread-locals are gone.
        #[inline]
        pub fn number() -> u64 {
            thread_local! {
                static NUMBER: u64 = crate::sync::unique_number();
            }
            NUMBER.try_with(|number| *number).unwrap_or(0)
        }

        /// Of the looks at what another thread does, so many come after a moment of spinning, each twice as long as the one before: some
        /// microseconds in all, as long as two switches of threads and longer than a transaction holds a lock that it does not wait with.
        const SPINNING_LOOKS: u32 = 7;
        /// Turns before the first look.
        const TURNS_MIN: u32 = 2;

        /// To be called before each look (0, 1, ..) at whether another thread has done what is waited for. The first times it spins, so that who waits for
        /// a short step of a thread on another processor loses no switch to it; then it gives way, as it does at once where there is but one processor.
        pub fn pause(look: u32) {
            if look < SPINNING_LOOKS && processors() > 1 {
                (0..TURNS_MIN << look).for_each(|_| std::hint::spin_loop());
            } else {
                WAITS.fetch_add(1, Ordering::Relaxed);
                yield_now();
            }
        }

        static WAITS: AtomicU64 = AtomicU64::new(0);

        /// How often a thread of this process gave way in [`pause`]: while this does not change, none waits for a step of another one.
        ///
        /// ```
        /// use duramen_base::sync::thread;
        /// let before = thread::waits();
        /// thread::pause(100);
        /// assert!(thread::waits() > before);
        /// ```
        pub fn waits() -> u64 {
            WAITS.load(Ordering::Relaxed)
        }

        /// Processors that this process may use; one if the system does not say.
        pub fn processors() -> usize {
            static COUNT: OnceLock<usize> = OnceLock::new();
            *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
        }

        /// Starts a thread called `name`.
        pub fn spawn_named<F>(name: &str, run: F) -> JoinHandle<()>
        where
            F: FnOnce() + Send + 'static,
        {
            try_spawn_named(name, run).expect("the system refused a thread")
        }

        /// The same for those who can go on without; the error is the system's.
        pub fn try_spawn_named<F>(name: &str, run: F) -> std::io::Result<JoinHandle<()>>
        where
            F: FnOnce() + Send + 'static,
        {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        }
    }

    /// Runs `test` under many schedules of its threads (`duramen_sim`), or a few times as the system schedules them (else).
    #[cfg(any(test, feature = "testing"))]
    pub fn check_random<F>(iterations: usize, test: F)
    where
        F: Fn() + Send + Sync + 'static,
    {
        for _ in 0..iterations.min(50) {
            test();
        }
    }

    /// As [`check_random`], by the scheduler that looks for bugs of `depth` ordered steps (PCT).
    #[cfg(any(test, feature = "testing"))]
    pub fn check_pct<F>(iterations: usize, _depth: usize, test: F)
    where
        F: Fn() + Send + Sync + 'static,
    {
        check_random(iterations, test);
    }
}

#[allow(unsafe_code)]
pub mod published;

/// A lock and an atomic that are no points of scheduling, in either build: for what outlives one execution of a test, and calls nobody's code while it holds
/// the lock.
pub(crate) mod unscheduled {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
}

mod many_readers;
mod padded;
mod tally;

pub use imp::*;
pub use many_readers::{ManyReaders, Replacing};
pub use padded::Padded;
pub use std::sync::Arc;
pub use tally::Tally;

/// Looks at a latch that is held for a moment, before its thread gives way: some microseconds.
const LATCH_LOOKS: u32 = 100;

/// Locks what is never held for as long as a switch of threads takes. A mutex gives way soon, and with more threads than processors each switch may come back
/// only after all others have run: meanwhile whatever the caller holds already is waited for.
///
/// ```
/// use duramen_base::sync::{Mutex, lock_soon};
/// let latch = Mutex::new(1);
/// *lock_soon(&latch) += 1;
/// assert_eq!(*lock_soon(&latch), 2);
/// ```
#[inline]
pub fn lock_soon<T>(latch: &Mutex<T>) -> MutexGuard<'_, T> {
    // A simulated thread is stopped wherever the scheduler likes, and is never helped by spinning.
    if cfg!(duramen_sim) { latch.lock() } else { latch.try_lock().unwrap_or_else(|| lock_spinning(latch)) }
}

#[cold]
fn lock_spinning<T>(latch: &Mutex<T>) -> MutexGuard<'_, T> {
    // Who holds it can run meanwhile only on another processor.
    let looks = if thread::processors() == 1 { 0 } else { LATCH_LOOKS };
    for _ in 0..looks {
        std::hint::spin_loop();
        if let Some(guard) = latch.try_lock() {
            return guard;
        }
    }
    latch.lock()
}

/// A number that no other call in this process returns. No point of scheduling, also under `duramen_sim`: nothing is ordered by it.
///
/// ```
/// use duramen_base::sync::unique_number;
/// assert_ne!(unique_number(), unique_number());
/// ```
pub fn unique_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod schedules;
