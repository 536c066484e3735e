//! When what scans copy out of memtables had better go down; how that is counted is in `base/src/memtable/scan_hints.rs`.
//!
//! A scan that meets many changes in memtables copies each, and merges them with the levels below. Once they are in the last level, none behind it has to.
//!
//! SH1  Scans have all go down once they have copied several times what that writes: so it costs no more than they have cost.
//! SH2  A memtable with less than a sixteenth of what it may have is not worth a flush: what was copied counts on until it has that.
//! SH3  What was written behind that memtable need not go down: so it ends, however fast commits come.
//! SH4  So it is at once where one scan met so many keys that memtables delete that all there is in files is at most `DELETED_WORTH` versions for each:
//!     the rewriting that gets rid of them is one that merges would do anyway (Y2 of `merge/pick/leveled.rs`).

use duramen_base::{Timestamp, mutant};

use crate::merge::pick::Sorted;
use crate::store::Store;
use crate::upkeep::{Upkeep, bytes_of};
use crate::version::Version;

/// SH2.
const SHARE_MIN: u64 = 16;
/// SH4.
const DELETED_WORTH: u64 = 4;
/// Fewer deleted keys than these cost a scan less than asking what lies in files.
const DELETED_MIN: u64 = 16;

impl Store {
    /// A scan copied so many bytes out of memtables (SH1), with so many deleted keys among them (SH4).
    pub(crate) fn note_copied(&self, bytes: u64, deleted: u64) {
        let is_dear = self.scan_hints.note_copied(bytes, || self.bytes_to_go_down());
        if (is_dear || self.are_worth_a_rewriting(deleted)) && !mutant!("leave_memtables_in_the_way") {
            self.scan_hints.set_in_the_way();
            if self.is_in_the_way() {
                self.env.host.wake_upkeep(); // also if somebody said so: the memtable may have grown (SH2)
            }
        }
    }

    /// SH4.
    fn are_worth_a_rewriting(&self, deleted: u64) -> bool {
        let versions = || self.current().version.tables().map(Sorted::versions).sum::<u64>();
        deleted >= DELETED_MIN
            && !mutant!("leave_deleted_in_memtables")
            && versions() <= deleted.saturating_mul(DELETED_WORTH)
    }

    /// About what is written if all goes down: the levels, and of the active memtable, of which many versions of a key make one, half.
    fn bytes_to_go_down(&self) -> u64 {
        let sv = self.current();
        bytes_of(sv.version.levels.iter().flatten()) + sv.active.bytes() / 2
    }

    /// Whether the active memtable is to be flushed for scans (SH2).
    pub(crate) fn is_in_the_way(&self) -> bool {
        let is_worth_it = || self.current().active.bytes() >= self.env.options.memtable_bytes / SHARE_MIN;
        self.scan_hints.is_in_the_way() && is_worth_it()
    }

    /// Has all go down up to the active memtable, if scans asked for it; before that is frozen.
    pub(crate) fn take_scan_hints(&self, upkeep: &mut Upkeep) {
        if self.scan_hints.take_in_the_way() {
            self.scan_hints.forget_copied();
            upkeep.down_for_scans = Some(self.current().active.max_ts());
        }
    }

    /// Whether something is still to go down for scans (SH3).
    pub(crate) fn goes_down_for_scans(&self, upkeep: &mut Upkeep, version: &Version) -> bool {
        let last_level = version.last_level();
        let is_above = |until: Timestamp| {
            let mut tables = version.levels.iter().take(last_level).flatten().flat_map(|run| &run.tables);
            self.current().frozen.iter().any(|layer| layer.max_ts() <= until)
                || tables.any(|table| table.meta().max_ts <= until)
        };
        upkeep.down_for_scans = upkeep.down_for_scans.filter(|until| is_above(*until));
        upkeep.down_for_scans.is_some()
    }
}
