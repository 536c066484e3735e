//! The names of this seam mean the same in both builds.

use super::atomic::{AtomicBool, AtomicU64, Ordering};
use super::*;

#[test]
fn a_lock_lets_one_in_at_a_time() {
    check_random(200, || {
        let count = Arc::new(Mutex::new(0));
        let threads = [(), ()].map(|()| {
            let count = Arc::clone(&count);
            thread::spawn_named("adder", move || {
                let before = *count.lock();
                let mut count = count.lock();
                assert!(*count >= before);
                *count += 1;
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*count.lock(), 2);
    });
}

#[test]
fn a_waiter_is_woken() {
    check_random(200, || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = Arc::clone(&shared);
        let waker = thread::spawn_named("waker", move || {
            *other.0.lock() = true;
            other.1.notify_one();
        });
        let mut ready = shared.0.lock();
        while !*ready {
            shared.1.wait(&mut ready);
        }
        drop(ready);
        waker.join().unwrap();
    });
}

#[test]
fn a_timed_wait_ends_without_a_wake() {
    check_random(20, || {
        let (lock, never) = (Mutex::new(1), Condvar::new());
        let mut guard = lock.lock();
        let result = never.wait_for(&mut guard, std::time::Duration::from_millis(1));
        assert!(result.timed_out());
        *guard += 1;
    });
}

#[test]
fn a_writer_does_not_share() {
    check_random(50, || {
        let lock = RwLock::new(1);
        let first = lock.read();
        assert!(lock.try_write().is_none());
        drop(first);
        assert!(lock.try_read().is_some());
        *lock.write() += 1;
        assert_eq!(lock.into_inner(), 2);
    });
}

#[test]
fn a_held_lock_is_not_taken_twice() {
    check_random(20, || {
        let lock = Mutex::new(());
        let held = lock.try_lock();
        assert!(held.is_some() && lock.try_lock().is_none());
    });
}

/// The point of the exercise: a race that a test run by the system hardly meets is met by the scheduler.
#[cfg(duramen_sim)]
#[test]
#[should_panic(expected = "an update was lost")]
fn the_scheduler_finds_a_lost_update() {
    check_random(1000, || {
        let count = Arc::new(AtomicU64::new(0));
        let threads = [(), ()].map(|()| {
            let count = Arc::clone(&count);
            thread::spawn_named("racer", move || {
                let read = count.load(Ordering::SeqCst);
                count.store(read + 1, Ordering::SeqCst);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(count.load(Ordering::SeqCst), 2, "an update was lost");
    });
}

#[test]
fn two_flags_are_never_both_missed() {
    let check = || {
        let flags: Arc<[AtomicBool; 2]> = Arc::default();
        let other = Arc::clone(&flags);
        let missed = Arc::new(AtomicU64::new(0));
        let missed_there = Arc::clone(&missed);
        let look = |flags: &[AtomicBool; 2], own: usize, missed: &AtomicU64| {
            flags[own].store(true, Ordering::Relaxed);
            atomic::fence(Ordering::SeqCst);
            if !flags[1 - own].load(Ordering::Relaxed) {
                missed.fetch_add(1, Ordering::Relaxed);
            }
        };
        let thread = thread::spawn_named("second", move || look(&other, 1, &missed_there));
        look(&flags, 0, &missed);
        thread.join().unwrap();
        assert!(missed.load(Ordering::Relaxed) < 2);
    };
    check_random(200, check);
    check_pct(200, 3, check);
}
