//! What a store may ask of the engine that opened it.

use std::sync::Arc;

use crate::budget::Budget;
use crate::error::Result;
use crate::ids::Timestamp;

/// The engine as a store sees it.
pub trait StoreHost: Send + Sync + 'static {
    /// The newest commit up to which all are applied.
    fn visible(&self) -> Timestamp;
    /// The newest commit up to which all are durable in the log.
    fn durable(&self) -> Timestamp;
    /// The snapshots that older versions must be kept for. A recent set; keeping too much is safe, dropping too much is not.
    fn snapshots(&self) -> Arc<SnapSet>;
    /// Syncs the log through `through`. Fails for good once the log is poisoned, so that nothing persists then.
    fn make_durable(&self, through: Timestamp) -> Result<()>;
    /// The memory budget of the database.
    fn budget(&self) -> &Arc<Budget>;
    /// Asks for a call of `Backend::work` soon. Never blocks, never calls back.
    fn wake_upkeep(&self);
}

/// The snapshots that could be reading at the moment the set was built.
///
/// Every snapshot registered later has a timestamp of at least `horizon`.
///
/// ```
/// use duramen_base::{SnapSet, Timestamp};
/// let set = SnapSet::new(Timestamp::new(10), vec![Timestamp::new(4)]);
/// assert_eq!(set.oldest(), Timestamp::new(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapSet {
    horizon: Timestamp,
    active: Vec<Timestamp>,
}

impl SnapSet {
    /// The set of the snapshots `active` (any order, duplicates allowed) and all from `horizon` on.
    pub fn new(horizon: Timestamp, mut active: Vec<Timestamp>) -> SnapSet {
        active.sort_unstable();
        active.dedup();
        SnapSet { horizon, active }
    }

    /// New snapshots read at this commit or later.
    pub fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// The active snapshots, ascending, each once.
    pub fn active(&self) -> &[Timestamp] {
        &self.active
    }

    /// The oldest commit that anybody may read at: the smaller of the horizon and the first active snapshot.
    pub fn oldest(&self) -> Timestamp {
        self.active.first().map_or(self.horizon, |&first| first.min(self.horizon))
    }

    /// Whether an active snapshot `s` has `from <= s < to`.
    pub fn any_active_in(&self, from: Timestamp, to: Timestamp) -> bool {
        let index = self.active.partition_point(|&s| s < from);
        self.active.get(index).is_some_and(|&s| s < to)
    }
}
