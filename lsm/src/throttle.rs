//! Slowing writers down, so that flushing and merging keep up: smoothly at first, and not beyond a hard limit.
//!
//! ```text
//!   backlog (memtables, runs, debt) ─► pressure: how full each is between its soft and its hard limit ─► delay of each KiB written
//! ```
//! The two arrows are pure functions of numbers. What a batch costs is noted when it is admitted (`charge`) and waited for by whoever writes next,
//! before he holds anything (`throttle`): so nobody waits with locks, and many threads together are no faster than one.
//!
//! TH1  The delay never falls when a part of the backlog grows, it has no jumps where the backlog has none, and it is zero up to the soft limits.
//! TH2  At a hard limit nobody begins to write; who wants to does upkeep himself if nobody else is at it, until his deadline.
//! TH3  A single wait for what was written before is at most `WAIT_MAX`.

use std::time::Duration;

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::{Error, Result, StallCause, StallTimes, WorkBudget, mutant};

use crate::store::Store;
use crate::superversion::SuperVersion;

/// Memtables and runs are counted in thousandths, so that one that is being filled counts in part.
const ONE: u64 = 1000;
/// Owed waits up to here are not waited for: sleeping is no more exact than this.
const OWED_FREE: Duration = Duration::from_millis(1);
/// TH3.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Pause of who waits at a hard limit while somebody else works.
const PAUSE: Duration = Duration::from_millis(1);
/// Bytes flushed or merged by a waiter before he looks again.
const STEP: WorkBudget = WorkBudget { bytes: 1 << 20 };

/// What is still to be flushed and merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Memtables in thousandths, the active one by how full it is.
    pub(crate) memtables: u64,
    /// Runs of level 0, and those that the memtables will be, in thousandths.
    pub(crate) runs: u64,
    /// Bytes in levels beyond their measure, in thousandths of a table.
    pub(crate) debt: u64,
}

/// From where to where each part of a backlog slows writers down, and how much at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Soft and hard, by cause; as in [`Backlog`].
    pub(crate) memtables: (u64, u64),
    pub(crate) runs: (u64, u64),
    pub(crate) debt: (u64, u64),
    /// Delay of a KiB just below a hard limit.
    pub(crate) delay_max: Duration,
}

impl Limits {
    /// Those of a store, but for tests with little memtables.
    ///
    /// Level 0 stands at eight runs while its columns go down one by one, and flushing waits at twelve (`merge/pick.rs`): up to there runs are as they are
    /// meant to be. Four tables beyond the measure of a level are what one merge of level 0 leaves there.
    pub(crate) const USUAL: Limits = Limits {
        memtables: (2 * ONE, 6 * ONE),
        runs: (11 * ONE, 20 * ONE),
        debt: (32 * ONE, 160 * ONE),
        delay_max: Duration::from_millis(1),
    };

    /// The same with delays that tests of small stores do not notice.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) const TINY: Limits = Limits { delay_max: Duration::from_micros(1), ..Limits::USUAL };

    fn of(&self, cause: StallCause) -> (u64, u64) {
        match cause {
            StallCause::Memtables => self.memtables,
            StallCause::Runs => self.runs,
            StallCause::Debt => self.debt,
        }
    }
}

/// How near to a hard limit a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// The part that is nearest to its limit.
    pub(crate) cause: StallCause,
    /// Where it is between soft (0) and hard ([`ONE`]) limit.
    pub(crate) level: u64,
}

/// How much `backlog` presses (TH1).
pub(crate) fn pressure(backlog: &Backlog, limits: &Limits) -> Pressure {
    let level = |cause: StallCause| {
        let (soft, hard) = limits.of(cause);
        let amount = match cause {
            StallCause::Memtables => backlog.memtables,
            StallCause::Runs => backlog.runs,
            StallCause::Debt => backlog.debt,
        };
        (amount.saturating_sub(soft).saturating_mul(ONE) / (hard - soft)).min(ONE)
    };
    let all = StallCause::ALL.map(|cause| Pressure { cause, level: level(cause) });
    all.into_iter().max_by_key(|pressure| pressure.level).expect("there are causes")
}

impl Pressure {
    /// Whether nobody may begin to write (TH2).
    pub(crate) fn is_hard(&self) -> bool {
        self.level >= ONE
    }

    /// What `bytes` written now have to wait for (TH1): with the square of the level, so that it begins gently.
    pub(crate) fn delay(&self, bytes: u64, limits: &Limits) -> Duration {
        let per_kib = limits.delay_max.as_nanos() as u64 * (self.level * self.level) / (ONE * ONE);
        Duration::from_nanos((u128::from(per_kib) * u128::from(bytes) / 1024).min(u128::from(u64::MAX)) as u64)
    }
}

/// What writers of a store owe, and what they waited for.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Nothing can be above a soft limit until the next change of memtables or files. A hint, so relaxed.
    is_calm: AtomicBool,
    /// Of the levels, as in [`Backlog`].
    debt: AtomicU64,
    /// Until when what was written is paid for, on the clock of the store, in nanoseconds.
    paid_until: AtomicU64,
    /// Nanoseconds that writers waited, by cause. Figures, so relaxed.
    waited: [AtomicU64; StallCause::ALL.len()],
}

impl Throttle {
    /// Notes what the levels hold too much, before `note_memtables`.
    pub(crate) fn note_debt(&self, debt_bytes: u64, table_bytes: u64) {
        self.debt.store(debt_bytes.saturating_mul(ONE) / table_bytes.max(1), Ordering::Relaxed);
    }

    /// Looks anew, after a change of memtables or files.
    pub(crate) fn note_memtables(&self, sv: &SuperVersion, limits: &Limits) {
        let when_full = self.backlog(sv, ONE);
        self.is_calm.store(pressure(&when_full, limits).level == 0, Ordering::Relaxed);
    }

    /// What is to be flushed and merged, if the active memtable counts as so much.
    fn backlog(&self, sv: &SuperVersion, active: u64) -> Backlog {
        let memtables = sv.frozen.len() as u64 * ONE + active;
        let level_0 = sv.version.levels.first().map_or(0, Vec::len) as u64;
        Backlog { memtables, runs: level_0 * ONE + memtables, debt: self.debt.load(Ordering::Relaxed) }
    }

    /// Notes a wait of `delay` that begins at `now`, behind those that are owed already (TH3).
    fn charge(&self, now: Duration, delay: Duration) {
        let (now, delay) = (now.as_nanos() as u64, delay.as_nanos() as u64);
        let latest = now.saturating_add(WAIT_MAX.as_nanos() as u64);
        let later = |until: u64| Some(until.max(now).saturating_add(delay).min(latest));
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// How long who comes at `now` has to wait for those before him.
    fn owed(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.paid_until.load(Ordering::Relaxed)).saturating_sub(now)
    }

    fn count(&self, cause: StallCause, time: Duration) {
        self.waited[cause as usize].fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// How long writers waited.
    pub(crate) fn times(&self) -> StallTimes {
        let of = |cause: StallCause| Duration::from_nanos(self.waited[cause as usize].load(Ordering::Relaxed));
        StallTimes { memtables: of(StallCause::Memtables), runs: of(StallCause::Runs), debt: of(StallCause::Debt) }
    }
}

impl Store {
    /// How much presses at present; `None`: nothing.
    pub(crate) fn pressure(&self) -> Option<Pressure> {
        if self.throttle.is_calm.load(Ordering::Relaxed) {
            return None;
        }
        let sv = self.current();
        let active = sv.active.bytes().saturating_mul(ONE) / self.memtable_bytes_max();
        let backlog = self.throttle.backlog(&sv, active);
        Some(pressure(&backlog, &self.tuning.throttle)).filter(|pressure| pressure.level > 0)
    }

    /// Waits for what was written before, and until nothing is at its hard limit (TH2).
    pub(crate) fn throttle(&self, wait_max: Duration) -> Result<()> {
        let Some(pressure) = self.pressure() else { return Ok(()) };
        let clock = &self.env.clock;
        let began = clock.now();
        let give_up_at = began.saturating_add(wait_max);
        let owed = self.throttle.owed(began);
        if owed > OWED_FREE {
            clock.sleep(owed.min(wait_max));
            self.throttle.count(pressure.cause, clock.now().saturating_sub(began));
        }
        while let Some(pressure) = self.pressure().filter(Pressure::is_hard) {
            if mutant!("write_beyond_the_hard_limit") {
                break;
            }
            let began = clock.now();
            if began >= give_up_at {
                return Err(Error::WriteStalled { cause: pressure.cause });
            }
            let done = self.work(STEP)?;
            if done.switched {
                self.unreported_switch.store(true, Ordering::Relaxed);
            }
            if !done.more {
                self.env.host.wake_upkeep();
                clock.sleep(PAUSE);
            }
            self.throttle.count(pressure.cause, clock.now().saturating_sub(began));
        }
        Ok(())
    }

    /// Notes what a batch of `bytes` that is about to be applied costs those who come after it.
    pub(crate) fn charge(&self, bytes: u64) {
        if let Some(pressure) = self.pressure() {
            self.throttle.charge(self.env.clock.now(), pressure.delay(bytes, &self.tuning.throttle));
        }
    }

    /// What a KiB written now costs.
    pub(crate) fn delay_of_kib(&self) -> Duration {
        self.pressure().map_or(Duration::ZERO, |pressure| pressure.delay(1024, &self.tuning.throttle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::USUAL;

    fn delay(memtables: u64, runs: u64, debt: u64) -> Duration {
        pressure(&Backlog { memtables, runs, debt }, &LIMITS).delay(1024, &LIMITS)
    }

    fn along(of: impl Fn(u64) -> Duration, (soft, hard): (u64, u64)) {
        for amount in (0..=soft).step_by(100) {
            assert_eq!(of(amount), Duration::ZERO, "TH1: nothing up to the soft limit, at {amount}");
        }
        let step = (hard - soft) / 100;
        let mut last = Duration::ZERO;
        for amount in (soft..=hard + 5 * step).step_by(step as usize) {
            let now = of(amount);
            assert!(now >= last, "TH1: it never falls, at {amount}: {now:?} after {last:?}");
            assert!(now - last <= LIMITS.delay_max / 25, "TH1: no jumps, at {amount}: {now:?} after {last:?}");
            last = now;
        }
        assert_eq!(last, LIMITS.delay_max);
    }

    #[test]
    fn a_delay_grows_from_nothing_without_jumps_with_each_part_of_the_backlog() {
        along(|amount| delay(amount, 0, 0), LIMITS.memtables);
        along(|amount| delay(0, amount, 0), LIMITS.runs);
        along(|amount| delay(0, 0, amount), LIMITS.debt);
    }

    #[test]
    fn what_presses_most_is_the_cause() {
        let of = |memtables, runs, debt| pressure(&Backlog { memtables, runs, debt }, &LIMITS);
        assert_eq!(of(6 * ONE, 9 * ONE, 0), Pressure { cause: StallCause::Memtables, level: ONE });
        assert_eq!(of(3 * ONE, 17 * ONE, 33 * ONE).cause, StallCause::Runs);
        assert_eq!(of(0, 9 * ONE, 150 * ONE).cause, StallCause::Debt);
        assert!(!of(3 * ONE, 17 * ONE, 33 * ONE).is_hard());
    }

    #[test]
    fn a_delay_is_proportional_to_the_bytes_and_never_overflows() {
        let half = Pressure { cause: StallCause::Runs, level: ONE / 2 };
        assert_eq!(half.delay(4096, &LIMITS), 4 * half.delay(1024, &LIMITS));
        assert_eq!(half.delay(1024, &LIMITS), LIMITS.delay_max / 4);
        assert!(half.delay(u64::MAX, &LIMITS) > Duration::from_secs(1));
    }

    #[test]
    fn what_is_owed_adds_up_over_writers_runs_out_with_time_and_has_an_end() {
        let throttle = Throttle::default();
        let ms = Duration::from_millis;
        throttle.charge(ms(100), ms(20));
        throttle.charge(ms(105), ms(20));
        assert_eq!(throttle.owed(ms(105)), ms(35));
        assert_eq!(throttle.owed(ms(140)), ms(0));
        throttle.charge(ms(200), Duration::from_secs(3600));
        assert_eq!(throttle.owed(ms(200)), WAIT_MAX, "TH3");
    }
}
