//! The one pruning rule of both backends: which versions of a key somebody may still read.
//!
//! A pure function of a [`SnapSet`]; it knows no page and no table.
//!
//! P1  Version v may go if and only if its successor v' has `v'.ts <= horizon` and no active s has `v.ts <= s < v'.ts`.
//! P2  A newest tombstone may go if and only if `ts <= oldest` and nothing older of the key remains.
//! P3  A newest value may drop its ts ("frozen") if and only if `ts <= oldest` and no range tombstone that covers its key
//!     with the same or a smaller ts is left in the store. (The same: a commit may delete a range and then put a key inside; without its
//!     ts the value would fall to its own commit's tombstone.)
//! P4  So an active snapshot keeps at most one extra version per key.

use crate::host::SnapSet;
use crate::ids::Timestamp;
use crate::mutant;

/// Answers what may go, for one [`SnapSet`].
///
/// ```
/// use duramen_base::{Pruner, SnapSet, Timestamp};
/// let ts = Timestamp::new;
/// let snaps = SnapSet::new(ts(10), vec![ts(4)]);
/// let pruner = Pruner::new(&snaps);
/// assert!(pruner.may_drop_version(ts(5), ts(7))); // nobody reads at 5 or 6
/// assert!(!pruner.may_drop_version(ts(3), ts(7))); // the snapshot at 4 does
/// assert!(!pruner.may_drop_version(ts(9), ts(11))); // a new snapshot at 10 may
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pruner<'a> {
    snaps: &'a SnapSet,
}

impl<'a> Pruner<'a> {
    /// The rule for `snaps`.
    pub fn new(snaps: &'a SnapSet) -> Pruner<'a> {
        Pruner { snaps }
    }

    /// P1: whether the version at `ts`, followed by one of the same key at `successor_ts`, may go.
    pub fn may_drop_version(&self, ts: Timestamp, successor_ts: Timestamp) -> bool {
        debug_assert!(ts < successor_ts, "versions are asked about oldest first: {ts}, {successor_ts}");
        if mutant!("prune_needed_version") {
            return true;
        }
        successor_ts <= self.snaps.horizon() && !self.snaps.any_active_in(ts, successor_ts)
    }

    /// P2: whether the newest version of a key, a tombstone at `ts`, may go.
    pub fn may_drop_tombstone(&self, ts: Timestamp, older_remains: bool) -> bool {
        (!older_remains || mutant!("drop_tombstone_over_older")) && ts <= self.snaps.oldest()
    }

    /// P3: whether a newest value at `ts` may forget its ts; `older_range_tombstone_remains` also for one of the same commit.
    pub fn may_freeze(&self, ts: Timestamp, older_range_tombstone_remains: bool) -> bool {
        !older_range_tombstone_remains && ts <= self.snaps.oldest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn ts(ts: u64) -> Timestamp {
        Timestamp::new(ts)
    }

    /// What a reader at `at` sees of versions in ascending order.
    fn seen(versions: &[u64], at: u64) -> Option<u64> {
        versions.iter().copied().rfind(|&version| version <= at)
    }

    proptest! {
        /// P1, P4: dropping all that may go changes nothing for whoever is in the set or comes later, and leaves them one version each at most.
        #[test]
        fn nobody_misses_a_pruned_version(versions in btree_set(1u64..40, 1..12), horizon in 1u64..40, active in vec(1u64..40, 0..5)) {
            let versions: Vec<u64> = versions.into_iter().collect();
            let snaps = SnapSet::new(ts(horizon), active.iter().copied().map(ts).collect());
            let pruner = Pruner::new(&snaps);
            let stays = |index: usize| versions.get(index + 1).is_none_or(|&next| !pruner.may_drop_version(ts(versions[index]), ts(next)));
            let kept: Vec<u64> = (0..versions.len()).filter(|&index| stays(index)).map(|index| versions[index]).collect();
            for at in active.iter().copied().chain(horizon..41) {
                prop_assert_eq!(seen(&kept, at), seen(&versions, at), "read at {}", at);
            }
            let superseded = kept.windows(2).filter(|pair| pair[1] <= horizon).count();
            prop_assert!(superseded <= snaps.active().len(), "P4: {} older versions for {} snapshots", superseded, snaps.active().len());
        }

        /// P2, P3: nobody can tell a dropped tombstone from no version, nor a frozen value from one with its ts.
        #[test]
        fn what_goes_is_below_every_reader(at in 1u64..40, horizon in 1u64..40, active in vec(1u64..40, 0..5)) {
            let snaps = SnapSet::new(ts(horizon), active.iter().copied().map(ts).collect());
            let pruner = Pruner::new(&snaps);
            let below_all = active.iter().chain([&horizon]).all(|&reader| at <= reader);
            prop_assert_eq!(pruner.may_drop_tombstone(ts(at), false), below_all);
            prop_assert_eq!(pruner.may_freeze(ts(at), false), below_all);
            prop_assert!(!pruner.may_drop_tombstone(ts(at), true) && !pruner.may_freeze(ts(at), true));
        }
    }
}
