//! Why and for how long a store slows its writers down.
//!
//! Words only; what is waited for, and how long, is the store's business (`Backend::throttle`).

use std::fmt;
use std::time::Duration;

/// What a store has too much of, so that its writers wait.
///
/// ```
/// use duramen_base::StallCause;
/// assert_eq!(StallCause::Runs.to_string(), "sorted runs that wait to be merged");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StallCause {
    /// Memtables that are not in files yet.
    Memtables,
    /// Sorted runs that a read has to look into.
    Runs,
    /// Bytes in levels that hold more than they should.
    Debt,
}

impl StallCause {
    /// All causes.
    ///
    /// ```
    /// use duramen_base::StallCause;
    /// assert_eq!(StallCause::ALL.len(), 3);
    /// ```
    pub const ALL: [StallCause; 3] = [StallCause::Memtables, StallCause::Runs, StallCause::Debt];
}

impl fmt::Display for StallCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StallCause::Memtables => "memtables that wait to be flushed",
            StallCause::Runs => "sorted runs that wait to be merged",
            StallCause::Debt => "levels that hold more than they should",
        })
    }
}

/// How long writers waited altogether, by cause, since the store was opened.
///
/// ```
/// use duramen_base::{StallCause, StallTimes};
/// use std::time::Duration;
/// let times = StallTimes { runs: Duration::from_millis(5), ..StallTimes::default() };
/// assert_eq!(times.of(StallCause::Runs), times.total());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallTimes {
    /// For [`StallCause::Memtables`].
    pub memtables: Duration,
    /// For [`StallCause::Runs`].
    pub runs: Duration,
    /// For [`StallCause::Debt`].
    pub debt: Duration,
}

impl StallTimes {
    /// For one cause.
    pub fn of(&self, cause: StallCause) -> Duration {
        match cause {
            StallCause::Memtables => self.memtables,
            StallCause::Runs => self.runs,
            StallCause::Debt => self.debt,
        }
    }

    /// For all causes.
    pub fn total(&self) -> Duration {
        self.memtables + self.runs + self.debt
    }
}
