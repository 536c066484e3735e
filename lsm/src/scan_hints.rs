//! What scans copy out of memtables, and when all of it had better go down.
//!
//! A scan that meets many changes in memtables copies each, and merges them with the levels below. Once they are in the last level, none behind it has to.
//!
//! SH1  Scans have all go down once they have copied `COPIES_MAX` times what that writes: so it costs no more than they have cost.
//! SH2  A memtable with less than a sixteenth of what it may have is not worth a flush: what was copied counts on until it has that.
//! SH3  What was written behind that memtable need not go down: so it ends, however fast commits come.

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::{Timestamp, mutant};

use crate::store::Store;
use crate::upkeep::{Upkeep, bytes_of};
use crate::version::Version;

/// SH1. To read, merge and write a byte is about so many times as dear as to copy it for a scan: whoever waits until then has paid twice at most.
const COPIES_MAX: u64 = 4;
/// Bytes copied after which that is looked at again.
const COPIED_STEP: u64 = 1 << 20;
/// SH2.
const SHARE_MIN: u64 = 16;

/// See the module. Hints, so relaxed.
#[derive(Debug, Default)]
pub(crate) struct ScanHints {
    copied: AtomicU64,
    is_in_the_way: AtomicBool,
}

impl Store {
    /// A scan copied so many bytes out of memtables.
    pub(crate) fn note_copied(&self, bytes: u64) {
        if bytes == 0 {
            return; // most scans of what is at rest: they need not write the line
        }
        let before = self.scan_hints.copied.fetch_add(bytes, Ordering::Relaxed);
        let copied = before + bytes;
        if before / COPIED_STEP != copied / COPIED_STEP
            && copied >= COPIES_MAX * self.bytes_to_go_down()
            && !mutant!("leave_memtables_in_the_way")
        {
            self.scan_hints.is_in_the_way.store(true, Ordering::Relaxed);
            self.env.host.wake_upkeep();
        }
    }

    /// About what is written if all goes down: the levels, and of the active memtable, of which many versions of a key make one, half.
    fn bytes_to_go_down(&self) -> u64 {
        let sv = self.current();
        bytes_of(sv.version.levels.iter().flatten()) + sv.active.bytes() / 2
    }

    /// Whether the active memtable is to be flushed for scans (SH2).
    pub(crate) fn is_in_the_way(&self) -> bool {
        let is_worth_it = || self.current().active.bytes() >= self.env.options.memtable_bytes / SHARE_MIN;
        self.scan_hints.is_in_the_way.load(Ordering::Relaxed) && is_worth_it()
    }

    /// Has all go down up to the active memtable, if scans asked for it; before that is frozen.
    pub(crate) fn take_scan_hints(&self, upkeep: &mut Upkeep) {
        if self.scan_hints.is_in_the_way.swap(false, Ordering::Relaxed) {
            self.scan_hints.copied.store(0, Ordering::Relaxed);
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
