//! Since when nobody has written, and whether what lies above the last level is then to go down.
//!
//! While commits come, the levels keep their measure and no more: what was overwritten stays in the last level until a merge meets it. In quiet times it
//! is worth a rewriting, once, and readers ask one run instead of several.
//!
//! QT1  It begins when what lies above the last level is at least an eighth of what lies in it, and then all of it goes down: so a byte that came
//!      from a commit is written for it at most `SHARE` times more, and a small flush now and then begins nothing.
//! QT2  A write ends it behind the job under way.
//! QT3  Less than an eighth stays where it is, but runs of level 0 are merged from `RUNS_MIN` on, whatever that brings along (I1 of `merge/pick.rs`):
//!      while commits come it is worth waiting for more of them, and in quiet times nothing comes.

use std::time::Duration;

use duramen_base::Timestamp;

/// How long nobody must have written.
const QUIET: Duration = Duration::from_secs(1);
/// QT1.
const SHARE: u64 = 8;

/// What was seen of the writers.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    newest: Timestamp,
    since: Duration,
    /// All is to go down (QT1).
    goes_down: bool,
}

impl Quiet {
    /// Takes note of the newest commit in the memtables; whether all is to go down that lies above the last level. `bytes`, of what lies above it and in
    /// it, is asked only in quiet times: it looks at every table.
    pub(crate) fn look(&mut self, newest: Timestamp, now: Duration, bytes: impl FnOnce() -> (u64, u64)) -> bool {
        if newest != self.newest {
            (self.newest, self.since, self.goes_down) = (newest, now, false);
        }
        if !self.has_begun(now) {
            return false;
        }
        let (above_bytes, last_bytes) = bytes();
        self.goes_down = above_bytes > 0 && (self.goes_down || above_bytes.saturating_mul(SHARE) >= last_bytes);
        self.goes_down
    }

    /// Whether nobody has written for long enough, as far as was seen.
    pub(crate) fn has_begun(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn while_somebody_writes_no_table_is_looked_at() {
        let mut quiet = Quiet::default();
        for millis in 0..5_000 {
            assert!(!quiet.look(Timestamp::new(1 + millis), at(millis), || unreachable!("a write a millisecond ago")));
        }
    }

    #[test]
    fn what_lies_above_goes_down_once_a_second_was_quiet_and_until_nothing_is_left() {
        let mut quiet = Quiet::default();
        let mut look = |ts, now, above| quiet.look(Timestamp::new(ts), at(now), || (above, 1000));
        assert!(!look(7, 0, 200) && !look(7, 999, 200));
        assert!(!look(7, 1000, 124), "QT1: less than an eighth");
        assert!(look(7, 1001, 125), "QT1: an eighth");
        assert!(look(7, 1002, 20), "QT1: all of it");
        assert!(!look(7, 1003, 0));
        assert!(!look(7, 1004, 20), "QT1: a small flush begins nothing");
        assert!(!look(8, 1005, 200), "QT2");
        assert!(look(8, 2005, 200));
    }
}
