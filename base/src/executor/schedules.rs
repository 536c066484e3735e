//! E1 to E3, for both executors, under every schedule of their threads.

use super::*;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::check_random;

/// What a test sees of its job.
#[derive(Default)]
struct Seen {
    steps: AtomicU64,
    inside: AtomicBool,
    dropped: AtomicBool,
}

struct Probe {
    seen: Arc<Seen>,
    next: fn(u64) -> Next,
}

impl Job for Probe {
    fn step(&mut self) -> Next {
        assert!(!self.seen.inside.swap(true, Ordering::SeqCst), "E1: stepped by two threads at once");
        let steps = self.seen.steps.fetch_add(1, Ordering::SeqCst) + 1;
        thread::yield_now();
        self.seen.inside.store(false, Ordering::SeqCst);
        (self.next)(steps)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert!(!self.seen.inside.load(Ordering::SeqCst), "E2: dropped while it was stepped");
        self.seen.dropped.store(true, Ordering::SeqCst);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn probe(next: fn(u64) -> Next) -> (Arc<Seen>, Box<Probe>) {
    let seen = Arc::<Seen>::default();
    (Arc::clone(&seen), Box::new(Probe { seen, next }))
}

#[test]
fn after_stop_a_job_is_never_stepped_again_and_dropped() {
    for next in [|_| Next::Again, |_| Next::After(HOUR), |_| Next::Done] as [fn(u64) -> Next; 3] {
        check_random(100, move || {
            let (seen, job) = probe(next);
            let mut handle = ThreadExecutor.spawn("probe", job).expect("there are threads");
            handle.wake();
            handle.stop();
            assert!(seen.dropped.load(Ordering::SeqCst), "E2");
            let steps = seen.steps.load(Ordering::SeqCst);
            thread::yield_now();
            assert_eq!(seen.steps.load(Ordering::SeqCst), steps, "E2");
            handle.stop();
        });
    }
}

#[test]
fn a_wake_is_never_lost() {
    check_random(100, || {
        let (seen, job) = probe(|_| Next::After(HOUR));
        let handle = ThreadExecutor.spawn("probe", job).expect("there are threads");
        for _ in 0..3 {
            let before = seen.steps.load(Ordering::SeqCst);
            handle.wake();
            // E3: without the wake this would take an hour, or never end under `duramen_sim`'s bound of steps.
            while seen.steps.load(Ordering::SeqCst) == before {
                thread::yield_now();
            }
        }
    });
}

#[test]
fn a_dropped_handle_stops_its_job() {
    check_random(100, || {
        let (seen, job) = probe(|_| Next::Again);
        drop(ThreadExecutor.spawn("probe", job).expect("there are threads"));
        assert!(seen.dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn a_manual_job_is_stepped_by_one_thread_at_a_time() {
    check_random(10_000, || {
        let (seen, job) = probe(|_| Next::Again);
        let executor = ManualExecutor::new();
        let mut handle = executor.spawn("probe", job).expect("there are threads");
        let other = executor.clone();
        let thread = thread::spawn_named("other", move || assert!(!other.run_all(1) || other.run_all(1)));
        executor.run_all(2);
        handle.stop();
        assert!(seen.dropped.load(Ordering::SeqCst), "E2");
        let steps = seen.steps.load(Ordering::SeqCst);
        thread.join().unwrap();
        assert_eq!(seen.steps.load(Ordering::SeqCst), steps, "E2");
    });
}

#[test]
fn a_manual_executor_runs_until_nobody_is_busy() {
    check_random(1, || {
        let executor = ManualExecutor::new();
        let (counted, job) = probe(|steps| if steps < 5 { Next::Again } else { Next::Done });
        let _counter = executor.spawn("counter", job).expect("there are threads");
        assert!(!executor.run_all(4));
        assert!(executor.run_all(4));
        assert_eq!(counted.steps.load(Ordering::SeqCst), 5);
        assert!(counted.dropped.load(Ordering::SeqCst));
        assert!(executor.run_all(1), "nothing to do is not busy");
    });
}

#[test]
fn a_job_woken_by_a_later_one_counts_as_busy() {
    struct Waker(Arc<Mutex<Option<JobHandle>>>, AtomicUsize);
    impl Job for Waker {
        fn step(&mut self) -> Next {
            if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
                self.0.lock().as_ref().expect("set before the first step").wake();
            }
            Next::After(HOUR)
        }
    }
    check_random(1, || {
        let executor = ManualExecutor::new();
        let (seen, job) = probe(|_| Next::After(HOUR));
        let woken = Arc::new(Mutex::new(Some(executor.spawn("woken", job).expect("there are threads"))));
        let _waker = executor
            .spawn("waker", Box::new(Waker(Arc::clone(&woken), AtomicUsize::new(0))))
            .expect("there are threads");
        assert!(!executor.run_all(1));
        assert!(executor.run_all(1));
        assert_eq!(seen.steps.load(Ordering::SeqCst), 2);
    });
}

/// A job that ends itself, as the last owner of what owns the job does.
struct SelfEnding(Arc<Mutex<Option<JobHandle>>>, Arc<AtomicBool>);

impl Job for SelfEnding {
    fn step(&mut self) -> Next {
        let handle = self.0.lock().take();
        drop(handle);
        Next::Again
    }
}

impl Drop for SelfEnding {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_job_may_drop_its_own_handle() {
    check_random(1, || {
        let executor = ManualExecutor::new();
        let handle = Arc::new(Mutex::new(None));
        let dropped = Arc::new(AtomicBool::new(false));
        let spawned = executor
            .spawn("self-ending", Box::new(SelfEnding(Arc::clone(&handle), Arc::clone(&dropped))))
            .expect("there are threads");
        *handle.lock() = Some(spawned);
        assert!(executor.run_all(2));
        assert!(dropped.load(Ordering::SeqCst), "E2: the step that stopped it was the last");
    });
    check_random(100, || {
        let handle = Arc::new(Mutex::new(None));
        let dropped = Arc::new(AtomicBool::new(false));
        let job = Box::new(SelfEnding(Arc::clone(&handle), Arc::clone(&dropped)));
        let mut own = handle.lock();
        *own = Some(ThreadExecutor.spawn("self-ending", job).expect("there are threads"));
        drop(own);
        while !dropped.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    });
}

#[test]
fn a_panic_of_a_job_reaches_who_stops_it() {
    #[cfg(not(duramen_sim))] // shuttle ends the whole test at a panic in any thread
    {
        let (_, job) = probe(|_| panic!("the job's own words"));
        let mut handle = ThreadExecutor.spawn("probe", job).expect("there are threads");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle.stop())).err();
        // Stopped before its first step, it had no time to panic.
        let words = caught.and_then(|cause| cause.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        assert!(words.is_none_or(|words| words == "the job's own words"));
    }
}
