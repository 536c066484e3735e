//! Draining range deletes: taking what they cover out of the pages, one page at a time, so that the list can get short again.
//!
//! Only range deletes that no reader can look behind are drained: then covered versions simply go, without a trace in the history.
//!
//! Z1  A range delete counts as drained when every leaf that overlaps it was gone through after it could be seen by all (R3).
//! Z2  A leaf that holds nothing covered is not touched, so it does not turn dirty.

use duramen_base::image::Image;
use duramen_base::sync::Arc;
use duramen_base::{Result, SnapSet, Timestamp, WorkBudget};

use crate::leaf::{Content, LeafRef, Rules};
use crate::pid_table::{Page, Resident};
use crate::range_tombs::DrainRange;
use crate::read::Target;
use crate::store::Store;

/// A drain in progress.
#[derive(Debug)]
pub(crate) struct Drain {
    range: DrainRange,
    /// Leaves below this were gone through.
    next_key: Vec<u8>,
}

impl Store {
    /// Goes through some leaves; whether there is more to drain.
    pub(crate) fn drain_step(&self, drain: &mut Option<Drain>, budget: WorkBudget) -> Result<bool> {
        let snaps = self.snapshots();
        if drain.is_none() {
            let Some(range) = self.tombs_if_any().and_then(|tombs| tombs.next_to_drain(snaps.oldest())) else {
                return Ok(false);
            };
            *drain = Some(Drain { next_key: range.low.to_vec(), range });
        }
        let Some(Drain { range, next_key }) = drain else { unreachable!("it was just set") };
        let mut bytes = 0;
        while bytes < budget.bytes.max(1) {
            let (leaf_bytes, high) = self.drain_leaf(range, next_key, &snaps)?;
            bytes += leaf_bytes;
            let is_done = high.is_empty() || (!range.high.is_empty() && *high >= *range.high);
            if is_done {
                self.change_tombs(|tombs| tombs.with_drained(range)); // Z1
                self.unsaved.lock().tombs_changed = true;
                *drain = None;
                return Ok(true);
            }
            *next_key = high;
        }
        Ok(true)
    }

    /// Takes what `range` covers out of the leaf of `key`; its bytes and its high fence.
    fn drain_leaf(&self, range: &DrainRange, key: &[u8], snaps: &SnapSet) -> Result<(u64, Vec<u8>)> {
        let tombs = self.tombs();
        self.with_leaf_mut(Target::At(key), |pid, slot, page| {
            let Page::Resident(leaf) = &*page else { unreachable!("the leaf was read in") };
            let answer = (leaf.bytes(), leaf.image.high_fence().to_vec());
            if holds_covered(leaf, range) {
                let (image, spill) = (Arc::clone(&leaf.image), leaf.spill.clone());
                let old = LeafRef { image: &image, spill: spill.as_deref() };
                let content = Content::merge(old, &[], Timestamp::ZERO, &Rules::new(snaps, &tombs));
                self.rebuild_leaf(slot, page, pid, &content);
            }
            answer
        })
    }

    /// Rebuilds a dirty leaf without what nobody needs any more.
    pub(crate) fn tidy(&self, pid: u64) {
        let (snaps, tombs) = (self.snapshots(), self.tombs());
        let _shared = self.structure.read();
        let slot = self.pages.known(pid);
        let mut page = slot.page.write();
        let Page::Resident(leaf) = &*page else { return };
        if leaf.image.level() > 0 || leaf.image.max_ts() == Timestamp::ZERO || !leaf.is_dirty() {
            return;
        }
        let (image, spill) = (Arc::clone(&leaf.image), leaf.spill.clone());
        let old = LeafRef { image: &image, spill: spill.as_deref() };
        let content = Content::merge(old, &[], Timestamp::ZERO, &Rules::new(&snaps, &tombs));
        self.rebuild_leaf(slot, &mut page, pid, &content);
    }
}

/// Whether a leaf holds a version that `range` covers (Z2).
fn holds_covered(leaf: &Resident, range: &DrainRange) -> bool {
    let image: &Image = &leaf.image;
    let mut key = Vec::new();
    let mut covers = |key_into: &dyn Fn(&mut Vec<u8>), ts: Timestamp| {
        key_into(&mut key);
        ts < range.ts && *key >= *range.low && (range.high.is_empty() || *key < *range.high)
    };
    leaf.spill.is_some()
        || (0..image.count()).any(|index| covers(&|key| image.key_into(index, key), image.record(index).ts))
        || (0..image.hist_count())
            .any(|index| covers(&|key| image.hist_key_into(index, key), image.hist_record(index).ts))
}
