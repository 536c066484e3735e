//! Group commit: of all who wait for a sync one leads it, the others sleep until they are covered.
//!
//! Not the sync itself: `sync.rs` leads. Nobody's thread is dedicated, so a lone committer pays no context switch.
//!
//! ```text
//!   enter ──► covered?  yes: done            leave (leader) ──► wake all who are covered now
//!         ──► nobody leads?  lead                           ──► wake one who is not: the next leader
//!         ──► sleep; when woken, from the top
//! ```
//! L1  At most one thread leads.
//! L2  Whenever nobody leads and somebody sleeps uncovered, a wake for one of the sleepers is on its way: who leaves the
//!     lead, or was woken and finds itself covered, wakes the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use duramen_base::Lsn;
use duramen_base::sync::atomic::{AtomicUsize, Ordering};
use duramen_base::sync::{Condvar, Mutex};

/// Gathering ends after this at the latest.
const GATHER_MAX: Duration = Duration::from_micros(60);
/// Averages are kept in 1/256.
const ONE: u64 = 256;

/// Who waits for a sync.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    /// Sleepers, readable without the mutex by a leader that gathers.
    sleeping: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    leading: bool,
    sleepers: VecDeque<Arc<Sleeper>>,
    /// Moving average of committers covered by one sync, in 1/256.
    batch_avg: u64,
    /// Moving average of the time one sync takes.
    sync_avg: Duration,
}

#[derive(Debug)]
struct Sleeper {
    end: Lsn,
    wake: Condvar,
    // Changes only under the group's mutex.
    woken: duramen_base::sync::atomic::AtomicBool,
}

/// What a caller of [`Group::enter`] is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// Return this.
    Done(T),
    /// Sync, then call [`Group::leave`].
    Lead,
}

/// How long a leader may gather, and for how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gathering {
    pub(crate) committers: usize,
    pub(crate) at_most: Duration,
}

impl Group {
    /// Waits until `done` answers or this thread is to lead. `done` is called under the group's mutex: it must be short.
    pub(crate) fn enter<T>(&self, end: Lsn, done: impl Fn() -> Option<T>) -> Turn<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = done() {
                if !state.leading {
                    self.wake_next(&mut state);
                }
                return Turn::Done(answer);
            }
            if !state.leading {
                state.leading = true;
                return Turn::Lead;
            }
            let sleeper = Arc::new(Sleeper { end, wake: Condvar::new(), woken: false.into() });
            state.sleepers.push_back(Arc::clone(&sleeper));
            self.sleeping.fetch_add(1, Ordering::Relaxed);
            // Relaxed: the flag is read and written under the mutex only.
            while !sleeper.woken.load(Ordering::Relaxed) {
                sleeper.wake.wait(&mut state);
            }
        }
    }

    /// The leader is done; the log is durable through `synced`, and `took` is the time of the sync if there was one.
    pub(crate) fn leave(&self, synced: Lsn, took: Option<Duration>) {
        let mut state = self.state.lock();
        debug_assert!(state.leading, "L1: only a leader leaves");
        state.leading = false;
        let covered = self.wake_where(&mut state, |sleeper| sleeper.end <= synced);
        if let Some(took) = took {
            state.batch_avg = (state.batch_avg * 7 + (covered as u64 + 1) * ONE) / 8;
            state.sync_avg = (state.sync_avg * 7 + took) / 8;
        }
        self.wake_next(&mut state);
    }

    /// Wakes everybody: `done` has a new answer for all.
    pub(crate) fn wake_all(&self) {
        let mut state = self.state.lock();
        self.wake_where(&mut state, |_| true);
    }

    /// Whether a leader should give others a moment to join: with several recent committers until about 80 % of their
    /// average have, at most 0.15 of a sync; never with one.
    pub(crate) fn gathering(&self) -> Option<Gathering> {
        let state = self.state.lock();
        let several = state.batch_avg * 2 >= 3 * ONE;
        several.then(|| Gathering {
            committers: (state.batch_avg * 4 / 5).div_ceil(ONE) as usize,
            at_most: (state.sync_avg * 3 / 20).min(GATHER_MAX),
        })
    }

    /// Threads asleep here.
    pub(crate) fn sleeping(&self) -> usize {
        // Relaxed: a hint for gathering.
        self.sleeping.load(Ordering::Relaxed)
    }

    fn wake_next(&self, state: &mut State) {
        if let Some(next) = state.sleepers.pop_front() {
            self.wake(&next);
        }
    }

    fn wake_where(&self, state: &mut State, which: impl Fn(&Sleeper) -> bool) -> usize {
        let before = state.sleepers.len();
        state.sleepers.retain(|sleeper| {
            let wake = which(sleeper);
            if wake {
                self.wake(sleeper);
            }
            !wake
        });
        before - state.sleepers.len()
    }

    fn wake(&self, sleeper: &Sleeper) {
        sleeper.woken.store(true, Ordering::Relaxed);
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        sleeper.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Lsn = Lsn::new(64);

    fn lead(group: &Group) {
        assert_eq!(group.enter(END, || None::<()>), Turn::Lead);
    }

    #[test]
    fn the_first_leads_and_the_covered_do_not_wait() {
        let group = Group::default();
        lead(&group);
        assert_eq!(group.enter(END, || Some(7)), Turn::Done(7));
        group.leave(END, Some(Duration::from_micros(100)));
        lead(&group);
    }

    #[test]
    fn one_committer_never_gathers() {
        let group = Group::default();
        for _ in 0..100 {
            lead(&group);
            group.leave(END, Some(Duration::from_micros(100)));
            assert_eq!(group.gathering(), None);
        }
    }

    #[test]
    fn several_committers_gather_for_a_part_of_a_sync() {
        let group = Group::default();
        {
            let mut state = group.state.lock();
            state.batch_avg = 10 * ONE;
            state.sync_avg = Duration::from_micros(200);
        }
        assert_eq!(group.gathering(), Some(Gathering { committers: 8, at_most: Duration::from_micros(30) }));
        group.state.lock().sync_avg = Duration::from_millis(5);
        assert_eq!(group.gathering().unwrap().at_most, GATHER_MAX);
    }

    #[test]
    fn a_sleeper_left_uncovered_becomes_the_next_leader() {
        let group = Arc::new(Group::default());
        lead(&group);
        let other = Arc::clone(&group);
        let thread = duramen_base::sync::thread::spawn_named("sleeper", move || {
            assert_eq!(other.enter(END.plus(8), || None::<()>), Turn::Lead);
        });
        while group.sleeping() == 0 {
            duramen_base::sync::thread::yield_now();
        }
        group.leave(END, None);
        thread.join().unwrap();
    }
}
