//! The three horizons of a database: what is applied, what is durable, what somebody was told.
//!
//! | horizon   | means | raised by |
//! |-----------|-------|-----------|
//! | `visible` | every commit <= it is applied | whoever publishes commits in order |
//! | `durable` | every commit <= it is synced in the log | the flusher, after each sync |
//! | `acked`   | max(min(visible, durable), newest ts of a commit that returned) | both of them, and each committer as it returns |
//!
//! Read-write transactions read at `visible`, read-only snapshots at `acked`: those report nothing that a power loss
//! may take back, except what some committer chose to be told early. Nobody waits here, and nothing is known about
//! logs or commits beyond their numbers.
//!
//! H1  Each horizon only rises.
//! H2  `acked <= visible`.
//! H3  Once the calls that raised them have returned, `acked >= min(visible, durable)`.
//! H4  Who reads a horizon with `ts <= it` sees everything that happened before it was raised.

use duramen_base::sync::Padded;
use duramen_base::sync::atomic::{AtomicU64, Ordering, fence};
use duramen_base::{Timestamp, mutant};

/// The horizons of one database.
///
/// ```
/// use duramen_base::Timestamp;
/// use duramen_txn::Horizons;
/// let horizons = Horizons::new(Timestamp::new(7));
/// horizons.raise_visible(Timestamp::new(9));
/// assert_eq!(horizons.acked(), Timestamp::new(7)); // nothing is synced yet, nobody was told
/// horizons.raise_durable(Timestamp::new(8));
/// assert_eq!(horizons.acked(), Timestamp::new(8));
/// horizons.acknowledge(Timestamp::new(9)); // a commit that did not ask for a sync returns
/// assert_eq!(horizons.acked(), Timestamp::new(9));
/// ```
#[derive(Debug)]
pub struct Horizons {
    visible: Padded<AtomicU64>,
    durable: Padded<AtomicU64>,
    acked: Padded<AtomicU64>,
}

impl Horizons {
    /// All three at `start`: the newest commit that recovery found.
    pub fn new(start: Timestamp) -> Horizons {
        let at_start = || Padded(AtomicU64::new(start.get()));
        Horizons { visible: at_start(), durable: at_start(), acked: at_start() }
    }

    /// Every commit up to here is applied.
    #[inline]
    pub fn visible(&self) -> Timestamp {
        load(&self.visible)
    }

    /// Every commit up to here is synced in the log.
    #[inline]
    pub fn durable(&self) -> Timestamp {
        load(&self.durable)
    }

    /// Every commit up to here was, or may be, reported to somebody.
    #[inline]
    pub fn acked(&self) -> Timestamp {
        load(&self.acked)
    }

    /// Commits through `ts` are applied. Says whether `acked` rose with it.
    pub fn raise_visible(&self, ts: Timestamp) -> bool {
        raise(&self.visible, ts);
        self.raise_acked_after(ts, &self.durable)
    }

    /// Commits through `ts` are synced. Says whether `acked` rose with it.
    pub fn raise_durable(&self, ts: Timestamp) -> bool {
        raise(&self.durable, ts);
        self.raise_acked_after(ts, &self.visible)
    }

    /// The commit at `ts`, visible already, returns to its caller, whose next snapshot must contain it. Says whether
    /// `acked` rose.
    pub fn acknowledge(&self, ts: Timestamp) -> bool {
        // Loading first: usually somebody else was faster, and then the line stays shared.
        if ts <= self.acked() {
            return false;
        }
        assert!(ts <= self.visible(), "H2: acked <= visible: {ts} is not applied");
        raise(&self.acked, ts)
    }

    /// The second half of raising `visible` or `durable` to `ts`; `other` is the one that was not raised.
    ///
    /// Both may be raised at once, in two threads. Each stores its own, fences, and reads the other: of two such
    /// fences one comes second, and the thread it belongs to sees both stores. Without it each could read the old
    /// value of the other, and the commit would stay unacknowledged until the next one (H3).
    fn raise_acked_after(&self, ts: Timestamp, other: &AtomicU64) -> bool {
        fence(Ordering::SeqCst);
        let both = ts.min(load(other));
        let both = if mutant!("ack_wrong_horizon") { self.visible() } else { both };
        both > self.acked() && raise(&self.acked, both)
    }
}

fn load(horizon: &AtomicU64) -> Timestamp {
    // Acquire: pairs with Release in `raise` (H4).
    Timestamp::new(horizon.load(Ordering::Acquire))
}

/// Whether it rose.
fn raise(horizon: &AtomicU64, ts: Timestamp) -> bool {
    // AcqRel: Release pairs with Acquire in `load`; Acquire hands on what an earlier raiser had seen to whom reads
    // this one (H4).
    horizon.fetch_max(ts.get(), Ordering::AcqRel) < ts.get()
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use super::*;

    fn ts(ts: u64) -> Timestamp {
        Timestamp::new(ts)
    }

    #[test]
    fn acked_is_the_smaller_of_visible_and_durable() {
        let horizons = Horizons::new(ts(3));
        assert!(!horizons.raise_visible(ts(9)));
        assert_eq!(horizons.acked(), ts(3), "nothing new is durable");
        assert!(horizons.raise_durable(ts(5)));
        assert_eq!(horizons.acked(), ts(5));
        assert!(horizons.raise_durable(ts(12)));
        assert_eq!(horizons.acked(), ts(9), "H2: what is not applied cannot be read");
        assert!(horizons.raise_visible(ts(12)));
        assert_eq!(horizons.acked(), ts(12));
    }

    #[test]
    fn an_early_acknowledgement_stays() {
        let horizons = Horizons::new(ts(0));
        horizons.raise_visible(ts(4));
        assert!(horizons.acknowledge(ts(3)));
        assert!(!horizons.acknowledge(ts(2)));
        horizons.raise_durable(ts(1));
        assert_eq!(horizons.acked(), ts(3));
    }

    #[test]
    fn horizons_never_fall() {
        let horizons = Horizons::new(ts(0));
        horizons.raise_visible(ts(4));
        horizons.raise_durable(ts(4));
        assert!(!horizons.raise_visible(ts(2)));
        assert!(!horizons.raise_durable(ts(1)));
        assert_eq!((horizons.visible(), horizons.durable(), horizons.acked()), (ts(4), ts(4), ts(4)));
    }

    #[test]
    #[should_panic(expected = "H2")]
    fn what_is_not_visible_cannot_be_acknowledged() {
        Horizons::new(ts(0)).acknowledge(ts(1));
    }
}
