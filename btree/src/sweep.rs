//! Sweeping: taking what range deletes cover, and history that nobody reads any more, out of the pages, a page at a time.
//!
//! Only range deletes that no reader can look behind are swept: then covered versions simply go, without a trace in the history, and the list of
//! range deletes can get short again. What is written outside a range never waits for it.
//!
//! Leaves in a row that lie inside a range and hold nothing newer are freed, all but one, without being rebuilt. Those that nobody needed any more
//! when the range delete was drained went then already, unread (`clear.rs`).
//!
//! Leaves that left memory with their history are rebuilt when leaves are packed (`compact.rs`): reading them in for that alone would cost more than it
//! gives while there is something else to do.
//!
//! Z4  A range delete counts as swept when every leaf that overlaps it was gone through after it could be seen by all (R3).
//! Z5  A leaf that holds nothing covered is not touched, so it does not turn dirty.

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::{Error, Result, SnapSet, mutant};

use crate::clear::KeyRange;
use crate::pid_table::{Page, ROOT_PID};
use crate::range_tombs::SweepRange;
use crate::read::{LeafView, Target};
use crate::store::Store;
use crate::upkeep::Upkeep;

/// Leaves tidied in one step.
const TIDY_LEAVES: usize = 16;
/// Leaves tidied when a checkpoint begins.
const TIDY_DIRTY_LEAVES: usize = 256;

/// A sweep in progress.
#[derive(Debug)]
pub(crate) struct Sweep {
    range: SweepRange,
    /// Leaves below this were gone through.
    next_key: Vec<u8>,
}

impl Store {
    /// Goes through some leaves; whether there may be more to sweep.
    pub(crate) fn sweep_step(&self, up: &mut Upkeep, bytes_max: u64) -> Result<bool> {
        let snaps = self.snapshots();
        if up.sweep.is_none() {
            let next = self.tombs_if_any().and_then(|tombs| tombs.next_to_sweep(snaps.oldest()));
            up.sweep = next.map(|range| Sweep { next_key: range.low.to_vec(), range });
        }
        let Some(mut sweep) = up.sweep.take() else { return Ok(false) };
        let outcome = self.sweep_leaves(up, &mut sweep, &snaps, bytes_max.max(1));
        if outcome.as_ref().is_ok_and(|&is_done| is_done) {
            self.change_tombs(|tombs| tombs.with_swept(&sweep.range)); // Z4
            up.tombs_changed = true;
        } else {
            up.sweep = Some(sweep);
        }
        outcome.map(|_| true)
    }

    fn sweep_leaves(&self, up: &mut Upkeep, sweep: &mut Sweep, snaps: &SnapSet, bytes_max: u64) -> Result<bool> {
        let mut bytes = 0;
        while bytes < bytes_max {
            let (pid, leaf) = self.upkeep_leaf(Target::At(&sweep.next_key))?;
            bytes += leaf.image.bytes().len() as u64;
            let mut high = leaf.image.high_fence().to_vec();
            if pid != ROOT_PID && holds_only_covered(&leaf.image, &sweep.range) {
                (high, bytes) = self.clear_from(up, &leaf.image, &sweep.range, bytes, bytes_max)?;
            } else if holds_covered(&leaf, &sweep.range) {
                self.change_leaf(up, pid, &leaf, &[], snaps);
                bytes += self.write_behind(up, bytes_max)?;
            }
            if high.is_empty() || (!sweep.range.high.is_empty() && *high >= *sweep.range.high) {
                return Ok(true);
            }
            sweep.next_key = high;
        }
        Ok(false)
    }

    /// Clears the leaf `first` and those behind it under the same parent that hold only what is covered, reading them; where they end, and `bytes` with
    /// what was read.
    fn clear_from(
        &self,
        up: &mut Upkeep,
        first: &Image,
        range: &SweepRange,
        mut bytes: u64,
        bytes_max: u64,
    ) -> Result<(Vec<u8>, u64)> {
        let parent = self.path_to(first.low_fence(), 0).pop().expect("a leaf that is not the root has a parent");
        let (start, mut end) = (parent.child_index, parent.child_index + 1);
        let mut high = first.high_fence().to_vec();
        while end < parent.image.count() && bytes < bytes_max {
            let leaf = self.leaf_to_look_at(parent.image.child(end))?;
            bytes += leaf.bytes().len() as u64;
            if !holds_only_covered(&leaf, range) {
                break;
            }
            high = leaf.high_fence().to_vec();
            end += 1;
        }
        // One that is empty already would only be written again.
        if end > start + 1 || first.count() + first.hist_count() > 0 {
            self.clear_children(up, &parent, start..end)?;
            bytes += self.write_behind(up, bytes_max)?;
        }
        Ok((high, bytes))
    }

    /// A leaf as it is now; one that is not here is not kept.
    pub(crate) fn leaf_to_look_at(&self, pid: u64) -> Result<Counted<Image>> {
        let addr = match &*self.pages.known(pid).read() {
            Page::Resident(resident) => return Ok(Counted::clone(&resident.image)),
            Page::OnDisk(addr) => *addr,
            Page::Free => return Err(self.bad_tree("a child page that is free")),
        };
        let image = self.read_page(pid, addr)?;
        if image.level() != 0 {
            return Err(self.bad_tree("a leaf of the wrong level"));
        }
        Ok(Counted::new(image))
    }

    /// Rebuilds some leaves that are here with history that nobody reads any more, and notes those that are not; whether there may be more of them.
    pub(crate) fn tidy_step(&self, up: &mut Upkeep) -> bool {
        let snaps = self.snapshots();
        for _ in 0..TIDY_LEAVES {
            if up.untidy.first().is_none_or(|&(from, _)| from > snaps.oldest()) {
                return false;
            }
            if let Some((_, pid)) = up.untidy.pop_first() {
                self.tidy(up, pid, &snaps);
            }
        }
        true
    }

    /// The same for dirty leaves, before a checkpoint writes them.
    pub(crate) fn tidy_dirty(&self, up: &mut Upkeep) {
        let snaps = self.snapshots();
        let due = up.untidy.iter().take_while(|&&(from, _)| from <= snaps.oldest());
        let dirty: Vec<_> = due.filter(|(_, pid)| up.dirty.contains(pid)).copied().take(TIDY_DIRTY_LEAVES).collect();
        for entry in dirty {
            up.untidy.remove(&entry);
            self.tidy(up, entry.1, &snaps);
        }
    }

    /// The page may have been rebuilt, have gone, become another, or left memory since it was noted.
    fn tidy(&self, up: &mut Upkeep, pid: u64, snaps: &SnapSet) {
        if let Some(leaf) = self.resident_page(pid) {
            if leaf.image.level() == 0 && leaf.image.hist_count() > 0 {
                self.change_leaf(up, pid, &leaf, &[], snaps);
            }
        } else if matches!(&*self.pages.known(pid).read(), Page::OnDisk(_)) && !mutant!("forget_stale_leaves") {
            up.stale.insert(pid);
        }
    }

    /// Reads a leaf that left memory with history that nobody reads any more, and rebuilds it; whether it was one. One that cannot be read stays.
    pub(crate) fn tidy_stale(&self, up: &mut Upkeep, pid: u64) -> Result<bool> {
        if !up.stale.remove(&pid) {
            return Ok(false);
        }
        match self.leaf_to_look_at(pid) {
            Ok(image) if image.hist_count() > 0 => {
                self.change_leaf(up, pid, &LeafView { image, spill: None }, &[], &self.snapshots());
            }
            Ok(_) => {}
            Err(Error::Corruption { .. }) => {}
            Err(error) => {
                up.stale.insert(pid);
                return Err(error);
            }
        }
        Ok(true)
    }
}

/// Whether a leaf lies inside `range` and holds nothing newer, so that all of it can go.
fn holds_only_covered(leaf: &Image, range: &SweepRange) -> bool {
    let inside = KeyRange { low: range.low.to_vec(), high: range.high.to_vec() };
    inside.contains(leaf.low_fence(), leaf.high_fence()) && (leaf.max_ts() < range.ts || mutant!("sweep_frees_newer"))
}

/// Whether a leaf holds a version that `range` covers (Z5).
fn holds_covered(leaf: &LeafView, range: &SweepRange) -> bool {
    let image: &Image = &leaf.image;
    let mut key = Vec::new();
    let mut covers = |key_into: &dyn Fn(&mut Vec<u8>), ts| {
        key_into(&mut key);
        ts < range.ts && *key >= *range.low && (range.high.is_empty() || *key < *range.high)
    };
    leaf.spill.is_some()
        || (0..image.count()).any(|index| covers(&|key| image.key_into(index, key), image.record(index).ts))
        || (0..image.hist_count())
            .any(|index| covers(&|key| image.hist_key_into(index, key), image.hist_record(index).ts))
}
