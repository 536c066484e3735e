//! Running the same body on several threads for a while, after a warm-up, and counting.
//!
//! H1  Sessions are opened, and every thread is warm, before the clock starts.
//! H2  The rate is the sum of the threads' own rates: each divides by its own time, from the common start to its own end.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::process::{cpu_ns, device_flushes};
use crate::peer::{Engine, Failure, Outcome, Session};

/// What one thread counts.
#[derive(Default)]
pub struct Tally {
    /// Operations done.
    pub operations: u64,
    /// Runs that were in vain because of a conflict.
    pub aborts: u64,
    /// Durations of those that were timed.
    pub latency: Histogram,
}

impl Tally {
    /// Runs a write until it commits; each run in vain is counted.
    #[inline]
    pub fn until_committed(&mut self, mut attempt: impl FnMut() -> Outcome<u64>) -> Outcome<()> {
        loop {
            match attempt() {
                Ok(reruns) => {
                    self.aborts += reruns;
                    return Ok(());
                }
                Err(Failure::Conflict) => self.aborts += 1,
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Before counting.
    pub warm_up: Duration,
    /// While counting.
    pub measured: Duration,
}

/// What all threads counted.
pub struct Counted {
    /// Operations a second, of all threads.
    pub per_second: f64,
    /// Runs in vain, of all runs.
    pub abort_share: f64,
    /// Operations.
    pub operations: u64,
    /// Durations.
    pub latency: Histogram,
    /// Flushes of the device meanwhile, by all processes.
    pub flushes: Option<u64>,
    /// Processor time of the whole process meanwhile, background threads included.
    pub cpu_ns: u64,
}

impl Counted {
    /// Processor time of one operation in nanoseconds: hardly depends on what else the machine does.
    pub fn cpu_ns_per_operation(&self) -> f64 {
        self.cpu_ns as f64 / self.operations.max(1) as f64
    }

    /// Nanoseconds of one operation on one of `threads`.
    pub fn ns_per_operation(&self, threads: usize) -> f64 {
        1e9 * threads as f64 / self.per_second
    }
}

/// A thread's body: one step with a session, counted in a tally.
pub trait Body: FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send {}
impl<B: FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send> Body for B {}

/// Stops all threads when one fails, and lets none wait for it.
struct Stage<'a> {
    folder: &'a Path,
    warm: Barrier,
    stop: AtomicBool,
    /// Flushes of the device when the clock started.
    flushes: AtomicU64,
    /// Processor time of this process when the clock started.
    cpu_ns: AtomicU64,
}

/// Runs each body on a thread of its own.
pub fn run<B: Body>(engine: &dyn Engine, folder: &Path, slice: Slice, bodies: Vec<B>) -> Outcome<Counted> {
    let (warm, stop) = (Barrier::new(bodies.len()), AtomicBool::new(false));
    let stage = Stage { folder, warm, stop, flushes: AtomicU64::new(0), cpu_ns: AtomicU64::new(0) };
    let done: Vec<Outcome<(Tally, f64)>> = std::thread::scope(|scope| {
        let run_one = |body| scope.spawn(|| thread(engine, &stage, slice, body));
        let threads: Vec<_> = bodies.into_iter().map(run_one).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(Failure::Broken("a thread panicked".to_owned())))
        };
        threads.into_iter().map(join).collect()
    });
    let flushes = device_flushes(folder).map(|after| after - stage.flushes.load(Ordering::Relaxed));
    let cpu = cpu_ns() - stage.cpu_ns.load(Ordering::Relaxed);
    let counted = sum(done.into_iter().collect::<Outcome<Vec<_>>>()?);
    Ok(Counted { flushes, cpu_ns: cpu, ..counted })
}

fn sum(done: Vec<(Tally, f64)>) -> Counted {
    let mut all = Tally::default();
    let mut per_second = 0.0;
    for (tally, seconds) in &done {
        per_second += tally.operations as f64 / seconds;
        all.operations += tally.operations;
        all.aborts += tally.aborts;
        all.latency.merge(&tally.latency);
    }
    let runs = (all.operations + all.aborts).max(1);
    let abort_share = all.aborts as f64 / runs as f64;
    Counted { per_second, abort_share, operations: all.operations, latency: all.latency, flushes: None, cpu_ns: 0 }
}

fn thread(engine: &dyn Engine, stage: &Stage<'_>, slice: Slice, mut body: impl Body) -> Outcome<(Tally, f64)> {
    let warmed = engine.session().and_then(|mut session| {
        steps(&mut *session, &mut body, slice.warm_up, &stage.stop)?;
        Ok(session)
    });
    if warmed.is_err() {
        stage.stop.store(true, Ordering::Relaxed);
    }
    // H1: everybody comes here, whatever happened.
    if stage.warm.wait().is_leader() {
        stage.cpu_ns.store(cpu_ns(), Ordering::Relaxed);
        stage.flushes.store(device_flushes(stage.folder).unwrap_or(0), Ordering::Relaxed);
    }
    let mut session = warmed?;
    let counted = steps(&mut *session, &mut body, slice.measured, &stage.stop);
    if counted.is_err() {
        stage.stop.store(true, Ordering::Relaxed);
    }
    counted
}

/// Steps until the time is over or somebody failed; what they counted, and in how many seconds.
fn steps(session: &mut dyn Session, body: &mut impl Body, time: Duration, stop: &AtomicBool) -> Outcome<(Tally, f64)> {
    let (mut tally, begun) = (Tally::default(), Instant::now());
    loop {
        body(session, &mut tally)?;
        let elapsed = begun.elapsed();
        if elapsed >= time || stop.load(Ordering::Relaxed) {
            return Ok((tally, elapsed.as_secs_f64()));
        }
    }
}
