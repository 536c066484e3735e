//! What only upkeep touches, under its latch: the durable state, what differs from it, and the work in progress.
//!
//! Upkeep is the one writer of pages and of the file, so nothing here is shared; readers use the page table.
//!
//! P1  A page differs from the durable superblock if it is dirty (only in memory), has a place taken since (`places`), or is gone (`places`
//!     has it without one). A checkpoint writes what is dirty, then switches to a map with `places`.
//! P2  The place that a page leaves is given up at once if no durable superblock names it, else by the checkpoint that replaces it; it is
//!     used again only when no load can be reading it (E3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use duramen_base::sync::{Arc, published};
use duramen_base::values::ValueChanges;
use duramen_base::{Error, Result, StoreMark, Timestamp, mutant};

use crate::checkpoint::Run;
use crate::compact::Compaction;
use crate::drain::Drain;
use crate::ingest::{self, RunList};
use crate::map::{DiskAddr, PageMap};
use crate::superblock::Superblock;
use crate::sweep::Sweep;
use crate::units::{UNIT_BYTES, Units};
use crate::work::Stillness;

/// Bytes of replaced images from which on it is worth the while to see whether they can be freed.
const COLLECT_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) superblock: Superblock,
    /// The map of the durable superblock.
    pub(crate) map: PageMap,
    /// Spill pages that the superblock names.
    pub(crate) tomb_pages: Vec<DiskAddr>,
    pub(crate) units: Units,
    /// P1.
    pub(crate) places: BTreeMap<u64, Option<DiskAddr>>,
    /// Units of the places that no durable superblock names.
    unnamed_units: u64,
    /// Pages of runs, which are not in the tree (IN1 of `ingest.rs`), and where they lie; none: nowhere yet.
    pub(crate) beside: BTreeMap<u64, Option<DiskAddr>>,
    /// What records of the log name, until it is replayed as far.
    pub(crate) expected: BTreeMap<u64, (RunList, ValueChanges)>,
    /// The greatest number of a list.
    pub(crate) next_list: u64,
    /// Lists that nothing needs.
    pub(crate) stray_lists: Vec<u64>,
    /// First units of the leaves that runs brought into the tree since the last superblock: the log's records need them as they are (IN5).
    pub(crate) logged: BTreeSet<u64>,
    /// Their page ids, with those of what lies behind them: no other run may have them, even once their pages are gone (IN1).
    pub(crate) logged_pids: BTreeSet<u64>,
    /// Those of them whose pages lie elsewhere by now.
    pub(crate) held: Vec<DiskAddr>,
    /// Runs that were merged since.
    pub(crate) spent_runs: Vec<Arc<ingest::Run>>,
    /// Lists that nothing needs behind the next superblock (IN4).
    pub(crate) spent_lists: Vec<u64>,
    /// Pages that only memory has (P1).
    pub(crate) dirty: BTreeSet<u64>,
    /// Dirty leaves in the order in which they became dirty: about that of their keys.
    pub(crate) dirty_leaves: VecDeque<u64>,
    /// Places given up, with the generation of loads that may still read them (P2).
    pub(crate) given_up: VecDeque<(u64, DiskAddr)>,
    /// Large values that pages name and the durable superblock does not, and the other way round (LV2 of `large.rs`).
    pub(crate) values: ValueChanges,
    /// Large values that pages named for a while, and no superblock will: given up behind the next one.
    pub(crate) never_named: ValueChanges,
    /// Whether the list of range deletes changed since the last checkpoint.
    pub(crate) tombs_changed: bool,
    /// Pages that a merge might help.
    pub(crate) underfull: BTreeSet<u64>,
    /// Leaves with history, and from when on nobody reads it.
    pub(crate) untidy: BTreeSet<(Timestamp, u64)>,
    /// Leaves in the file alone with history that nobody reads any more.
    pub(crate) stale: BTreeSet<u64>,
    pub(crate) drain: Option<Drain>,
    pub(crate) sweep: Option<Sweep>,
    /// The checkpoint in progress.
    pub(crate) run: Option<Box<Run>>,
    /// What is being done to make the file small.
    pub(crate) compaction: Option<Compaction>,
    /// The superblock behind which the last compaction ended.
    pub(crate) compacted_seq: u64,
    /// How many bytes had been written when all leaves were packed last.
    pub(crate) packed_at_bytes: u64,
    /// Whether there was a checkpoint since somebody looked at the end of the file.
    pub(crate) may_have_tail: bool,
    /// Whether the last piece of work was one of a drain.
    pub(crate) drained_last: bool,
    /// Whether the last piece of work was one on the value files.
    pub(crate) worked_on_values: bool,
    /// Why nothing can be persisted any more (X4).
    pub(crate) failed: Option<Arc<Error>>,
    pub(crate) still: Stillness,
    /// Bytes of pages written since the file was synced.
    pub(crate) unsynced_bytes: u64,
    /// Bytes of images that were replaced and may wait to be freed, about.
    replaced_bytes: usize,
    write_seq: u16,
}

impl Upkeep {
    /// That of a store as its durable superblock says.
    pub(crate) fn new(superblock: Superblock, map: PageMap, tomb_pages: Vec<DiskAddr>, units: Units) -> Upkeep {
        // The map's root was written last.
        let write_seq = superblock.map_root.write_seq;
        Upkeep {
            superblock,
            map,
            tomb_pages,
            units,
            places: BTreeMap::new(),
            beside: BTreeMap::new(),
            expected: BTreeMap::new(),
            next_list: 0,
            stray_lists: Vec::new(),
            spent_lists: Vec::new(),
            logged: BTreeSet::new(),
            logged_pids: BTreeSet::new(),
            held: Vec::new(),
            spent_runs: Vec::new(),
            unnamed_units: 0,
            dirty: BTreeSet::new(),
            dirty_leaves: VecDeque::new(),
            given_up: VecDeque::new(),
            values: ValueChanges::default(),
            never_named: ValueChanges::default(),
            tombs_changed: false,
            underfull: BTreeSet::new(),
            untidy: BTreeSet::new(),
            stale: BTreeSet::new(),
            drain: None,
            sweep: None,
            run: None,
            compaction: None,
            compacted_seq: 0,
            packed_at_bytes: 0,
            may_have_tail: true,
            drained_last: false,
            worked_on_values: false,
            failed: None,
            still: Stillness::default(),
            unsynced_bytes: 0,
            replaced_bytes: 0,
            write_seq,
        }
    }

    pub(crate) fn mark(&self) -> StoreMark {
        let superblock = &self.superblock;
        StoreMark { seq: superblock.seq, persisted: superblock.ckpt_ts, contains: superblock.max_ts }
    }

    pub(crate) fn check_not_failed(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(Error::Poisoned { cause: Arc::clone(cause) }))
    }

    /// Ends all persisting (X4).
    pub(crate) fn fail<T>(&mut self, error: Error) -> Result<T> {
        let cause = Arc::new(error);
        self.failed = Some(Arc::clone(&cause));
        Err(Error::Poisoned { cause })
    }

    /// The same, unless it was a lack of space: then it may be tried again.
    pub(crate) fn fail_unless_full<T>(&mut self, error: Error) -> Result<T> {
        if matches!(error, Error::DiskFull { .. }) { Err(error) } else { self.fail(error) }
    }

    /// Bytes of the file that the durable superblock, or a place taken since, needs.
    pub(crate) fn live_bytes(&self) -> u64 {
        let given_up: u64 = self.given_up.iter().map(|(_, addr)| u64::from(addr.units)).sum();
        (self.units.end() - self.units.free_count() - given_up) * UNIT_BYTES as u64
    }

    /// Bytes in places that no durable superblock names.
    pub(crate) fn unnamed_bytes(&self) -> u64 {
        self.unnamed_units * UNIT_BYTES as u64
    }

    /// Notes where a dirty page was written (P1).
    pub(crate) fn took_place(&mut self, pid: u64, addr: DiskAddr) {
        let before = self.places.insert(pid, Some(addr)).flatten();
        assert!(before.is_none(), "P2: page {pid} left its place when it became dirty");
        self.unnamed_units += u64::from(addr.units);
    }

    /// Whether pages and range deletes are as the durable superblock has them.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.places.is_empty() && !self.tombs_changed
    }

    /// All places are named by the durable superblock.
    pub(crate) fn are_named(&mut self) {
        self.places.clear();
        self.dirty_leaves.clear();
        (self.unnamed_units, self.tombs_changed) = (0, false);
    }

    /// A write sequence for the next images; never zero, and not that of what lay in their units shortly before.
    pub(crate) fn next_write_seq(&mut self) -> u16 {
        self.write_seq = if self.write_seq == u16::MAX { 1 } else { self.write_seq + 1 };
        self.write_seq
    }

    /// Notes that a page has an image that the file does not have (P1). `generation`: that of loads.
    pub(crate) fn turned_dirty(&mut self, pid: u64, is_leaf: bool, generation: u64) {
        self.leave_place(pid, generation);
        self.stale.remove(&pid);
        if self.dirty.insert(pid) && is_leaf {
            self.dirty_leaves.push_back(pid);
        }
    }

    /// Notes that a page is gone (P1).
    pub(crate) fn is_gone(&mut self, pid: u64, generation: u64) {
        self.leave_place(pid, generation);
        self.stale.remove(&pid);
        self.dirty.remove(&pid);
        if self.map.get(pid).is_some() {
            self.places.insert(pid, None);
        }
    }

    /// An image of some `bytes` gave way to another: readers may still have it.
    pub(crate) fn note_replaced(&mut self, bytes: usize) {
        self.replaced_bytes += bytes;
        if self.replaced_bytes >= COLLECT_BYTES {
            self.replaced_bytes = 0;
            published::collect();
        }
    }

    /// P2, IN5.
    pub(crate) fn leave_place(&mut self, pid: u64, generation: u64) {
        let before = self.places.remove(&pid).flatten();
        self.unnamed_units -= before.map_or(0, |addr| u64::from(addr.units));
        match before.filter(|addr| self.logged.contains(&addr.unit) && !mutant!("reuse_logged_unit")) {
            Some(addr) => self.held.push(addr),
            None => self.given_up.extend(before.map(|addr| (generation, addr))),
        }
        if mutant!("reuse_named_unit")
            && before.is_none()
            && !self.dirty.contains(&pid)
            && let Some(named) = self.map.get(pid)
        {
            self.given_up.push_back((generation, named));
        }
    }

    /// Frees the places given up before the oldest generation of loads that is under way (P2).
    pub(crate) fn reclaim(&mut self, oldest_load: u64) {
        let count = self.given_up.partition_point(|(generation, _)| *generation < oldest_load);
        self.given_up.drain(..count).for_each(|(_, addr)| self.units.free(addr));
    }
}
