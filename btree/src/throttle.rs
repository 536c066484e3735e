//! Slowing writers down, so that the drain keeps up: a little and often, not all at once when no buffer is left.
//!
//! ```text
//!   buffers: how full the active one is, how far the frozen one is drained ─► pace ─► a moment's wait or help, before anything is held
//! ```
//! Without it every writer, however small, meets the end of the buffers at the same time, and waits for the drain of a whole one.
//!
//! TH1  While one buffer is drained, the next may be as full as that drain is far, and [`SLACK`] more. Beyond that, of every [`PORTION`] that is
//!      written somebody sees first that as much is drained, the more of it the farther beyond they are, waiting or draining himself, for
//!      [`MOMENT`] at most: large writers each time, small ones now and then.
//! TH2  With a second buffer frozen nobody begins to write until the first is in pages; `WriteStalled` at his deadline.
//! TH3  Who waits for a moment does no part of a checkpoint: a sync of much data takes longer than that.
//! TH4  Nobody pauses with the latch of upkeep: whoever is to work would be turned away, and sleep longer.

use std::time::Duration;

use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, Result, StallCause, mutant};

use crate::store::Store;

/// Buffers are counted in thousandths.
const ONE: u64 = 1000;
/// TH1: what a checkpoint may take while nothing is drained.
const SLACK: u64 = ONE / 4;
/// TH1: bytes that are paid for at once.
const PORTION: u64 = 16 << 10;
/// A change takes about so many times the memory of its bytes.
const MEMORY_FACTOR: u64 = 2;
/// TH1: with each of these beyond, a portion costs as much again.
const EASE: u64 = ONE / 8;
/// TH1.
const MOMENT: Duration = Duration::from_millis(30);
/// Pause of who waits while somebody else works.
const PAUSE: Duration = Duration::from_micros(500);
/// What a waiter drains before he looks again.
const STEP_BYTES: u64 = 64 << 10;

/// How writers stand against the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It keeps up.
    Free,
    /// They are ahead of it, by so many thousandths of a buffer (TH1).
    Ahead(u64),
    /// There is no buffer left (TH2).
    Full,
}

/// The pace, of `frozen` buffers and the active one filled to `filled` thousandths, with the drain at `drained` thousandths.
pub(crate) fn pace(frozen: usize, filled: u64, drained: u64) -> Pace {
    match frozen {
        0 => Pace::Free,
        1 if filled <= drained + SLACK => Pace::Free,
        1 => Pace::Ahead(filled - drained - SLACK),
        _ => Pace::Full,
    }
}

impl Store {
    /// Slows down a writer who holds nothing yet. An error of the work that he does is left for upkeep to meet.
    pub(crate) fn throttle(&self, bytes: u64, wait_max: Duration) -> Result<()> {
        let portions = match self.pace() {
            Pace::Free => return Ok(()),
            Pace::Ahead(by) => self.portions_due(bytes) * (1 + by / EASE),
            Pace::Full => 0,
        };
        let drained = || self.counters.drained_memory.load(Ordering::Relaxed);
        let paid_at = drained().saturating_add(portions * PORTION);
        let began = self.env.clock.now();
        loop {
            let pace = self.pace();
            let waited = self.env.clock.now().saturating_sub(began);
            let is_over = match pace {
                Pace::Free => true,
                Pace::Ahead(_) => drained() >= paid_at || waited >= MOMENT,
                Pace::Full if mutant!("write_without_a_buffer") => true,
                Pace::Full if waited >= wait_max => {
                    self.count_stall(waited);
                    return Err(Error::WriteStalled { cause: StallCause::Memtables });
                }
                Pace::Full => false,
            };
            if is_over || !self.help(pace) {
                self.count_stall(waited);
                return Ok(());
            }
        }
    }

    /// Whole portions that these bytes make full, with what others wrote before.
    fn portions_due(&self, bytes: u64) -> u64 {
        let memory = bytes.saturating_mul(MEMORY_FACTOR);
        let before = self.counters.ahead_bytes.fetch_add(memory, Ordering::Relaxed);
        before.wrapping_add(memory) / PORTION - before / PORTION
    }

    fn pace(&self) -> Pace {
        if !self.buffers.has_frozen() {
            return Pace::Free;
        }
        let layers = self.buffers.layers();
        let frozen = layers.frozen_buffers();
        if frozen == 0 {
            return Pace::Free;
        }
        let filled = layers.active.bytes().saturating_mul(ONE) / self.buffer_bytes_max().max(1);
        pace(frozen, filled, self.counters.drained_share.load(Ordering::Relaxed))
    }

    /// Does a small step, or pauses while somebody else is at work; false: upkeep has failed.
    fn help(&self, pace: Pace) -> bool {
        if let Some(mut up) = self.upkeep.try_lock()
            && (up.run.is_none() || pace == Pace::Full)
        {
            return up.failed.is_none() && self.relief_step(&mut up, STEP_BYTES).is_ok();
        }
        self.env.host.wake_upkeep(); // TH3
        self.env.clock.sleep(PAUSE); // TH4
        true
    }

    fn count_stall(&self, time: Duration) {
        self.counters.stall_nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_may_be_as_far_as_the_drain_and_a_quarter_more() {
        for drained in (0..=ONE).step_by(50) {
            assert_eq!(pace(0, 3 * ONE, drained), Pace::Free, "nothing waits to be drained");
            assert_eq!(pace(1, drained + SLACK, drained), Pace::Free);
            assert_eq!(pace(1, drained + SLACK + 7, drained), Pace::Ahead(7));
            assert_eq!(pace(2, 0, drained), Pace::Full);
        }
    }

    #[test]
    fn the_pace_never_eases_when_more_is_written_or_less_is_drained() {
        let rank = |pace: Pace| match pace {
            Pace::Free => 0,
            Pace::Ahead(by) => 1 + by,
            Pace::Full => u64::MAX,
        };
        for frozen in 0..4 {
            for filled in (0..2 * ONE).step_by(100) {
                for drained in (0..ONE).step_by(100) {
                    let here = rank(pace(frozen, filled, drained));
                    assert!(here <= rank(pace(frozen + 1, filled, drained)));
                    assert!(here <= rank(pace(frozen, filled + 100, drained)));
                    assert!(here >= rank(pace(frozen, filled, drained + 100)));
                }
            }
        }
    }
}
