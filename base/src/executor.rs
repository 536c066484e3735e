//! The seam to threads: background work as jobs that are stepped, by threads of their own or by a test.
//!
//! A [`Job`] does a bounded piece of work per step and says when it wants the next. [`ThreadExecutor`] gives each job a
//! thread; [`ManualExecutor`] runs steps only when told to, so that a test decides every schedule.
//!
//! E1  A job is never stepped by two threads at once.
//! E2  After [`JobHandle::stop`] returned, the job is never stepped again and has been dropped; if the job itself called it,
//!     the step that did so is the last, and the job is dropped when that step is over.
//! E3  A wake that comes before a step begins or while it runs is not lost: another step follows it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, IoOp, Result};
use crate::sync::{Condvar, Mutex, thread};

/// What a job wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More work is waiting: step again soon.
    Again,
    /// Step again after this time, or when woken.
    After(Duration),
    /// Never again.
    Done,
}

/// Background work in steps.
///
/// ```
/// use duramen_base::executor::{Executor, Job, ManualExecutor, Next};
/// struct Countdown(u32);
/// impl Job for Countdown {
///     fn step(&mut self) -> Next {
///         self.0 -= 1;
///         if self.0 == 0 { Next::Done } else { Next::Again }
///     }
/// }
/// let executor = ManualExecutor::new();
/// let _handle = executor.spawn("countdown", Box::new(Countdown(3)))?;
/// assert!(!executor.run_all(2));
/// assert!(executor.run_all(1));
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub trait Job: Send {
    /// Does one bounded piece of work.
    fn step(&mut self) -> Next;
}

/// Runs jobs.
pub trait Executor: Send + Sync + 'static {
    /// Takes `job` over; `name` is for humans (thread name).
    ///
    /// # Errors
    /// `Io` with [`IoOp::Spawn`] if the system has no thread for it; the job was never stepped.
    fn spawn(&self, name: &str, job: Box<dyn Job>) -> Result<JobHandle>;
}

/// What the runner of a job and its handle tell each other.
#[derive(Default)]
struct Control {
    state: Mutex<ControlState>,
    changed: Condvar,
}

#[derive(Default)]
struct ControlState {
    woken: bool,
    stopping: bool,
    /// Who steps the job now, for jobs without a thread of their own.
    stepped_by: Option<thread::ThreadId>,
}

impl Control {
    /// A step, if one may begin; the wakes up to now are answered by it (E3).
    fn begin_step(&self) -> Option<Step<'_>> {
        let mut state = self.state.lock();
        if state.stopping {
            return None;
        }
        state.woken = false;
        state.stepped_by = Some(thread::current().id());
        Some(Step { control: self })
    }

    /// Waits until no step runs.
    fn wait_for_step(&self) {
        let mut state = self.state.lock();
        while state.stepped_by.is_some() {
            self.changed.wait(&mut state);
        }
    }

    fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Waits until woken, stopped, or the time is over; whether to go on.
    fn pause(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.woken && !state.stopping {
            self.changed.wait_for(&mut state, pause);
        }
        !state.stopping
    }
}

/// A step that runs; over when dropped.
struct Step<'a> {
    control: &'a Control,
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.control.state.lock().stepped_by = None;
        self.control.changed.notify_all();
    }
}

/// A spawned job. Dropping it stops the job.
///
/// ```
/// use duramen_base::executor::{Executor, Job, Next, ThreadExecutor};
/// struct Idle;
/// impl Job for Idle {
///     fn step(&mut self) -> Next {
///         Next::After(std::time::Duration::from_secs(3600))
///     }
/// }
/// let mut handle = ThreadExecutor.spawn("idle", Box::new(Idle))?;
/// handle.wake();
/// handle.stop(); // at once: it does not sleep the hour out
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct JobHandle {
    control: Arc<Control>,
    runner: Option<Runner>,
}

/// Who runs a job.
enum Runner {
    Thread(thread::JoinHandle<()>),
    Manual(ManualJob),
}

/// Wakes a job from anywhere; keeps nothing running. Cloning shares it.
///
/// ```
/// use duramen_base::executor::{Executor, Job, ManualExecutor, Next};
/// struct Idle;
/// impl Job for Idle {
///     fn step(&mut self) -> Next {
///         Next::Done
///     }
/// }
/// let handle = ManualExecutor::new().spawn("idle", Box::new(Idle))?;
/// handle.waker().wake();
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone)]
pub struct Waker(Arc<Control>);

impl Waker {
    /// Asks for a step soon.
    pub fn wake(&self) {
        self.0.state.lock().woken = true;
        self.0.changed.notify_all();
    }
}

impl JobHandle {
    /// Asks for a step soon.
    pub fn wake(&self) {
        self.waker().wake();
    }

    /// Whether a thread of its own steps the job; else somebody has to call for each step.
    ///
    /// ```
    /// use duramen_base::executor::{Executor, Job, ManualExecutor, Next, ThreadExecutor};
    /// struct Idle;
    /// impl Job for Idle {
    ///     fn step(&mut self) -> Next {
    ///         Next::Done
    ///     }
    /// }
    /// assert!(ThreadExecutor.spawn("idle", Box::new(Idle))?.has_thread());
    /// assert!(!ManualExecutor::new().spawn("idle", Box::new(Idle))?.has_thread());
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn has_thread(&self) -> bool {
        matches!(self.runner, Some(Runner::Thread(_)))
    }

    /// What wakes this job, for others to keep.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.control))
    }

    /// Stops the job and waits until its running step is over (E2). A panic of the job goes on in the caller.
    pub fn stop(&mut self) {
        let stepped_by = {
            let mut state = self.control.state.lock();
            state.stopping = true;
            state.stepped_by
        };
        self.control.changed.notify_all();
        let me = thread::current().id();
        match self.runner.take() {
            None => {}
            // The last user of something that owns its jobs may be a job of its own: waiting for it would be for ever.
            Some(Runner::Thread(thread)) if thread.thread().id() == me => {}
            Some(Runner::Manual(_)) if stepped_by == Some(me) => {}
            Some(Runner::Thread(thread)) => {
                if let Err(cause) = thread.join() {
                    std::panic::resume_unwind(cause);
                }
            }
            Some(Runner::Manual(manual)) => {
                // Dropped behind the lock: what a job owns may have locks of its own.
                let job = manual.job.lock().take();
                drop(job);
                // Whoever stepped it last may be dropping it still.
                self.control.wait_for_step();
            }
        }
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        // While unwinding, the job may need what this thread still holds: it is left to end by itself.
        if std::thread::panicking() {
            #[cfg(not(duramen_sim))]
            {
                self.control.state.lock().stopping = true;
                self.control.changed.notify_all();
            }
        } else {
            self.stop();
        }
    }
}

/// A thread for each job.
///
/// See [`JobHandle`] for an example.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadExecutor;

impl Executor for ThreadExecutor {
    fn spawn(&self, name: &str, mut job: Box<dyn Job>) -> Result<JobHandle> {
        let control = Arc::<Control>::default();
        let shared = Arc::clone(&control);
        let thread = thread::try_spawn_named(name, move || while run_step(&shared, job.as_mut()) {})
            .map_err(|source| Error::Io { op: IoOp::Spawn, path: name.into(), source })?;
        Ok(JobHandle { control, runner: Some(Runner::Thread(thread)) })
    }
}

/// One step and the wait after it; whether there is to be another.
fn run_step(control: &Control, job: &mut dyn Job) -> bool {
    let Some(step) = control.begin_step() else { return false };
    let next = job.step();
    drop(step);
    match next {
        Next::Again => true,
        Next::After(pause) => control.pause(pause),
        Next::Done => false,
    }
}

/// Runs jobs only inside [`ManualExecutor::run_all`]. Cloning shares it.
///
/// See [`Job`] for an example.
#[derive(Clone, Default)]
pub struct ManualExecutor {
    jobs: Arc<Mutex<Vec<ManualJob>>>,
}

/// A job and its control, shared with its handle, which takes the job out to stop it.
#[derive(Clone)]
struct ManualJob {
    control: Arc<Control>,
    job: Arc<Mutex<Option<Box<dyn Job>>>>,
}

/// What a manual step found.
#[derive(PartialEq, Eq)]
enum Stepped {
    Busy,
    Waiting,
    Gone,
}

impl ManualJob {
    /// Steps the job, unless it is gone or stopped.
    fn step(&self) -> Stepped {
        // E1: the lock is held during the step.
        let mut slot = self.job.lock();
        let Some(job) = slot.as_mut() else { return Stepped::Gone };
        let Some(step) = self.control.begin_step() else { return Stepped::Gone };
        let next = job.step();
        if next == Next::Done || self.control.is_stopping() {
            let done = slot.take();
            drop(slot);
            drop(done);
            drop(step); // E2: only now, so that who stops it meanwhile waits for the drop, too
            return Stepped::Gone;
        }
        if next == Next::Again { Stepped::Busy } else { Stepped::Waiting }
    }
}

impl ManualExecutor {
    /// An executor without jobs.
    pub fn new() -> ManualExecutor {
        ManualExecutor::default()
    }

    /// Steps every job in turn, `rounds` times at most, until none asks for another step at once or was woken; whether that was
    /// reached. A job that asked to wait is stepped once a round too: here, time is what the test says.
    pub fn run_all(&self, rounds: usize) -> bool {
        for _ in 0..rounds {
            let jobs: Vec<ManualJob> = self.jobs.lock().clone();
            let mut busy = false;
            let mut gone = Vec::new();
            for job in &jobs {
                match job.step() {
                    Stepped::Busy => busy = true,
                    Stepped::Waiting => {}
                    Stepped::Gone => gone.push(Arc::as_ptr(&job.control)),
                }
            }
            // Not in `retain` of the locked list: a step that runs elsewhere may spawn.
            busy |= jobs.iter().any(|job| !gone.contains(&Arc::as_ptr(&job.control)) && job.control.state.lock().woken);
            self.jobs.lock().retain(|job| !gone.contains(&Arc::as_ptr(&job.control)));
            if !busy {
                return true;
            }
        }
        false
    }
}

impl Executor for ManualExecutor {
    fn spawn(&self, _name: &str, job: Box<dyn Job>) -> Result<JobHandle> {
        let manual = ManualJob { control: Arc::default(), job: Arc::new(Mutex::new(Some(job))) };
        self.jobs.lock().push(manual.clone());
        Ok(JobHandle { control: Arc::clone(&manual.control), runner: Some(Runner::Manual(manual)) })
    }
}

#[cfg(test)]
mod schedules;
