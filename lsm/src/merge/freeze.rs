//! Which timestamps a merge leaves out: those of values that nobody can tell from ones written before every commit.
//!
//! A record without a timestamp ("frozen", `base/src/image/record.rs`) has timestamp zero to readers, conflict checks, range tombstones and later merges
//! alike. So a table knows no more of it, and the smallest timestamp that its footer and the manifest hold is zero.
//!
//! FZ1  What is frozen is the oldest version of its key in the store: nothing of the key lies below the output (BL1), and it is the only one that the
//!      merge keeps (X5). What comes above it later has a timestamp. So for one key the order of the timestamps stays that of the commits.
//! FZ2  Whoever reads, or asks for what is newer, does so at its commit or later, also a snapshot that is taken yet (P3): so it is seen, and newer to
//!      nobody, as before.
//! FZ3  Every range tombstone over its key, of whichever table or memtable, is newer than it (P3), and so is each to come: all up to the oldest reader
//!      are applied. So what covered it still does, and nothing else. The snapshots are asked for before the tables and memtables are, lest a tombstone
//!      that these do not show be one of those. Those that this merge drops count: the key is frozen the next time.
//! FZ4  After a crash a tombstone that is as old may be applied again, since gone from the tables. Then the version is too, as it is not older, and lies
//!      above the frozen one with its timestamp: the frozen one is as if it were older, and the next merge of both drops it (P1).

use std::sync::Arc;

use duramen_base::memtable::{KeyVersions, RangeTombs};
use duramen_base::{Pruner, Timestamp, mutant};

use crate::superversion::SuperVersion;

/// Takes the timestamps of what may lose them, for one moment's snapshots and tombstones.
#[derive(Debug)]
pub(super) struct Freezer<'a> {
    pruner: &'a Pruner<'a>,
    /// All range tombstones of the store.
    tombs: Vec<Arc<RangeTombs>>,
}

impl<'a> Freezer<'a> {
    /// `pruner` is that of snapshots asked for before `sv` was taken (FZ3).
    pub(super) fn new(pruner: &'a Pruner<'a>, sv: &SuperVersion) -> Freezer<'a> {
        let in_memory = sv.memtables().map(|memtable| memtable.tombs());
        let all = in_memory.chain([Arc::clone(&sv.version.tombs)]);
        Freezer { pruner, tombs: all.filter(|tombs| !tombs.is_empty()).collect() }
    }

    /// Takes the timestamp of what is left of a key that nothing below the output may hold (FZ1), if FZ2 and FZ3 allow it.
    pub(super) fn freeze(&self, kv: &mut KeyVersions) {
        // Newest first.
        let oldest_over = |tombs: &Arc<RangeTombs>| tombs.covering(&kv.key).last().copied();
        let oldest = self.tombs.iter().filter_map(oldest_over).min().unwrap_or(Timestamp::MAX);
        kv.freeze(|ts| {
            let has_survived = oldest <= ts && !mutant!("freeze_under_range_tombstone");
            self.pruner.may_freeze(ts, has_survived) || mutant!("freeze_before_a_reader")
        });
    }
}
