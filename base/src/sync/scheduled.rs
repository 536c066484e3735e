//! Locks, atomics and threads that shuttle schedules, under the names and with the calls of the plain build.
//!
//! Only for tests: everything here works inside [`check_random`] or [`check_pct`] and panics elsewhere. All atomics behave as if
//! sequentially consistent; weaker orders are argued in the code that uses them.
//!
//! A failing test prints a seed; `SHUTTLE_RANDOM_SEED` runs it again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use shuttle::sync as under;

/// Atomics and the fence.
pub mod atomic {
    pub use shuttle::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Threads.
pub mod thread {
    pub use shuttle::thread::{JoinHandle, ThreadId, current, yield_now};

    /// Gives way: time does not pass.
    pub fn sleep(_time: std::time::Duration) {
        yield_now();
    }

    /// As in the plain build. Simulated threads share one real thread, and so its thread-locals.
    pub fn number() -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        current().id().hash(&mut hasher);
        hasher.finish()
    }

    /// As in the plain build; whoever spins gives way.
    pub fn pause(_look: u32) {
        yield_now();
    }

    /// Nobody gives way in turn here.
    pub fn waits() -> u64 {
        0
    }

    /// So many that threads meet.
    pub fn processors() -> usize {
        2
    }

    /// Starts a thread called `name`.
    pub fn spawn_named<F>(name: &str, run: F) -> JoinHandle<()>
    where
        F: FnOnce() + Send + 'static,
    {
        try_spawn_named(name, run).expect("shuttle refuses no thread")
    }

    /// The same, as the plain build has it.
    pub fn try_spawn_named<F>(name: &str, run: F) -> std::io::Result<JoinHandle<()>>
    where
        F: FnOnce() + Send + 'static,
    {
        shuttle::thread::Builder::new().name(name.to_owned()).spawn(run)
    }
}

/// A panic ends the whole test, so a poisoned lock is one that is being cleaned up.
fn cleared<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

fn tried<G>(result: TryLockResult<G>) -> Option<G> {
    match result {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Mutual exclusion.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(under::Mutex<T>);

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(under::Mutex::new(value))
    }

    /// What it protected.
    pub fn into_inner(self) -> T {
        cleared(self.0.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, held: Some(cleared(self.0.lock())) }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        tried(self.0.try_lock()).map(|held| MutexGuard { lock: self, held: Some(held) })
    }

    /// Takes the lock if it is free now, or when others had a turn: time does not pass.
    pub fn try_lock_for(&self, _timeout: Duration) -> Option<MutexGuard<'_, T>> {
        self.try_lock().or_else(|| {
            thread::yield_now();
            self.try_lock()
        })
    }

    /// What it protects; nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        cleared(self.0.get_mut())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

/// Holds a [`Mutex`] until dropped.
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    /// `None` only inside a wait of [`Condvar`].
    held: Option<under::MutexGuard<'a, T>>,
}

const HELD: &str = "a guard is without its lock only inside a wait";

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect(HELD)
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect(HELD)
    }
}

/// Where threads wait for a change.
#[derive(Default)]
pub struct Condvar(under::Condvar);

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Condvar {
        Condvar(under::Condvar::new())
    }

    /// Gives the lock away and waits to be woken; has the lock again when it returns.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect(HELD);
        guard.held = Some(cleared(self.0.wait(held)));
    }

    /// Waits as long as `condition` holds.
    pub fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut condition: impl FnMut(&mut T) -> bool) {
        while condition(&mut *guard) {
            self.wait(guard);
        }
    }

    /// Gives the lock away, lets others run, takes it again and says that the time was over.
    pub fn wait_for<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, _timeout: Duration) -> WaitTimeoutResult {
        drop(guard.held.take());
        thread::yield_now();
        guard.held = Some(cleared(guard.lock.0.lock()));
        WaitTimeoutResult(true)
    }

    /// Wakes one who waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar")
    }
}

/// Whether a timed wait ended by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether it did.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// Many readers or one writer.
#[derive(Default)]
pub struct RwLock<T: ?Sized>(under::RwLock<T>);

/// Holds a [`RwLock`] for reading until dropped.
pub type RwLockReadGuard<'a, T> = under::RwLockReadGuard<'a, T>;
/// Holds a [`RwLock`] for writing until dropped.
pub type RwLockWriteGuard<'a, T> = under::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    /// A free lock around `value`.
    pub fn new(value: T) -> RwLock<T> {
        RwLock(under::RwLock::new(value))
    }

    /// What it protected.
    pub fn into_inner(self) -> T {
        cleared(self.0.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer holds it, then takes it for reading.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        cleared(self.0.read())
    }

    /// Waits until nobody holds it, then takes it for writing.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        cleared(self.0.write())
    }

    /// Takes it for reading if no writer holds it.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        tried(self.0.try_read())
    }

    /// Takes it for writing if nobody holds it.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        tried(self.0.try_write())
    }

    /// What it protects; nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        cleared(self.0.get_mut())
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

/// Runs `test` under that many random schedules of its threads.
pub fn check_random<F>(iterations: usize, test: F)
where
    F: Fn() + Send + Sync + 'static,
{
    run(shuttle::scheduler::RandomScheduler::new(iterations), test);
}

/// Runs `test` under that many schedules that look for bugs of `depth` ordered steps (PCT).
pub fn check_pct<F>(iterations: usize, depth: usize, test: F)
where
    F: Fn() + Send + Sync + 'static,
{
    run(shuttle::scheduler::PctScheduler::new(depth, iterations), test);
}

fn run<F>(scheduler: impl shuttle::scheduler::Scheduler + 'static, test: F)
where
    F: Fn() + Send + Sync + 'static,
{
    let mut config = shuttle::Config::new();
    // An engine's stack is deeper than shuttle's default, and opening a database takes more steps.
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::FailAfter(10_000_000);
    config.silence_warnings = true;
    shuttle::Runner::new(scheduler, config).run(test);
}
