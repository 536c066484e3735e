//! Clearing: whole leaves under a range delete leave the tree, unread if nothing newer can be in them.
//!
//! ```text
//!   drain   before any change of a buffer is in a page, the leaves inside its range deletes go, if nobody can look behind those: unread
//!   sweep   what a reader kept until now goes leaf by leaf; of leaves in a row that hold nothing else, all but one are freed (`sweep.rs`)
//! ```
//! Of the children of one parent that go, the first stays as an empty leaf: low fences never move (M2), and the merge takes it away. So a range delete
//! costs its leaves' parents and what the ends of the range share with others, however many keys it covers.
//!
//! CL1 What pages hold of a key before a buffer is drained is older than every change of the key in that buffer, range deletes included (W3). So
//!     inside a fragment all of it is below the fragment's oldest timestamp, and goes if no reader is below that. (During replay pages may hold
//!     newer versions too: they are above `persisted`, so they are in the log and come again, K5.)
//! CL2 Pages that leave are freed together with the change of their parent (P5). A reader without latches may meet such a page or the empty leaf that
//!     took over its keys: the range delete, which it looked up before, says the same of both.
//! CL3 Where there are large values, the leaves are read all the same: only they know which values go with them (LV1 of `large.rs`).

use std::collections::VecDeque;
use std::ops::Range;

use duramen_base::image::{Image, ImageBuilder};
use duramen_base::memtable;
use duramen_base::{Error, Result, Timestamp, mutant};

use crate::inner::{self, Child};
use crate::leaf::{LeafRef, NewLeaf, leaf_spec};
use crate::pid_table::ROOT_PID;
use crate::read::Missing;
use crate::split::{Change, Step};
use crate::store::Store;
use crate::upkeep::Upkeep;

/// Leaves that are read at once (CL3).
const READ_CHILDREN_MAX: usize = 64;

/// A range of keys that pages are to hold nothing of; an empty high end is the end of the keyspace.
#[derive(Clone, Debug)]
pub(crate) struct KeyRange {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Vec<u8>,
}

impl KeyRange {
    /// Whether all keys from `low` up to `high` (empty: no end) are inside.
    pub(crate) fn contains(&self, low: &[u8], high: &[u8]) -> bool {
        *low >= *self.low && (self.high.is_empty() || (!high.is_empty() && *high <= *self.high))
    }

    /// Whether no key from `high` on (empty: there is none) is inside.
    fn ends_before(&self, high: &[u8]) -> bool {
        high.is_empty() || (!self.high.is_empty() && *self.high <= *high)
    }
}

/// The ranges of a buffer that are to be cleared before it is drained (CL1).
pub(crate) fn ranges_to_clear(tombs: &memtable::RangeTombs, oldest: Timestamp) -> VecDeque<KeyRange> {
    let is_settled = |tss: &[Timestamp]| tss.last().is_some_and(|&ts| ts <= oldest || mutant!("clear_before_readers"));
    let mut ranges: VecDeque<KeyRange> = VecDeque::new();
    for fragment in tombs.fragments().filter(|fragment| is_settled(fragment.tss)) {
        match ranges.back_mut().filter(|last| *last.high == *fragment.low && !last.high.is_empty()) {
            Some(last) => last.high = fragment.high.to_vec(),
            None => ranges.push_back(KeyRange { low: fragment.low.to_vec(), high: fragment.high.to_vec() }),
        }
    }
    ranges
}

impl Store {
    /// Clears some of `ranges`, parent by parent; about as many bytes were looked at.
    pub(crate) fn clear_ranges(&self, up: &mut Upkeep, ranges: &mut VecDeque<KeyRange>, bytes_max: u64) -> Result<u64> {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(range) = ranges.front_mut()
        {
            let Some(parent) = self.parent_of(&range.low)? else {
                ranges.pop_front(); // the root is a leaf: the sweep looks into it
                continue;
            };
            bytes += parent.image.bytes().len() as u64;
            let mut inside = children_inside(&parent.image, range);
            let is_all = inside.len() <= READ_CHILDREN_MAX || self.values.is_empty();
            if !is_all {
                inside.end = inside.start + READ_CHILDREN_MAX;
            }
            if !inside.is_empty() {
                bytes += self.bytes_to_read(inside.len());
                self.clear_children(up, &parent, inside)?;
                bytes += self.write_behind(up, bytes_max)?;
            }
            if !is_all {
                continue; // those that went are one child now
            }
            let high = parent.image.high_fence();
            if range.ends_before(high) {
                ranges.pop_front();
            } else {
                range.low = high.to_vec();
            }
        }
        Ok(bytes)
    }

    /// Makes one empty leaf of some leaves in a row under one parent. What they hold is needed by nobody.
    pub(crate) fn clear_children(&self, up: &mut Upkeep, parent: &Step, cleared: Range<usize>) -> Result<()> {
        let image = &parent.image;
        let mut children = inner::children(image);
        let right_pid = self.right_of(image, cleared.end)?;
        let mut change = Change::default();
        self.note_cleared(&mut change, &children[cleared.clone()])?;
        let Child { key: low, pid: kept } = children[cleared.start].clone();
        let high = children.get(cleared.end).map_or(image.high_fence(), |child| &child.key).to_vec();
        let freed: Vec<u64> = children.drain(cleared.start + 1..cleared.end).map(|child| child.pid).collect();

        let spec = leaf_spec(kept, self.keyspace(), right_pid, &low, &high);
        change.leaf(NewLeaf::of(ImageBuilder::new(&spec).finish()));
        up.underfull.insert(kept);
        if !freed.is_empty() {
            let head = self.head(parent.pid, image.level(), image.right_pid(), image.low_fence(), image.high_fence());
            let rebuilt = inner::build(&children, &head);
            let is_small = rebuilt.bytes().len() * 4 < self.inner_bytes();
            let helps = if parent.pid == ROOT_PID { children.len() == 1 } else { is_small };
            if helps {
                up.underfull.insert(parent.pid);
            }
            change.inner(rebuilt);
            change.freed = freed;
        }
        self.commit_change(up, change); // CL2
        Ok(())
    }

    /// CL3. What a damaged leaf named stays: `verify` tells.
    fn note_cleared(&self, change: &mut Change, children: &[Child]) -> Result<()> {
        if self.values.is_empty() || mutant!("clear_leaves_values") {
            return Ok(());
        }
        for child in children {
            if let Some(leaf) = self.resident_page(child.pid) {
                change.was(LeafRef { image: &leaf.image, spill: leaf.spill.as_deref() });
                continue;
            }
            match self.leaf_to_look_at(child.pid) {
                Ok(image) => change.was(LeafRef { image: &image, spill: None }),
                Err(Error::Corruption { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn bytes_to_read(&self, leaves: usize) -> u64 {
        if self.values.is_empty() { 0 } else { (leaves * self.leaf_bytes()) as u64 }
    }

    /// The leaf to the right of the first `count` children of a page, found without reading any leaf; 0: none.
    fn right_of(&self, parent: &Image, count: usize) -> Result<u64> {
        if count < parent.count() {
            return Ok(parent.child(count));
        }
        let next = parent.right_pid();
        if next == 0 {
            return Ok(0);
        }
        self.load(Missing::child(next, parent.level()))?;
        let next = self.resident_page(next).ok_or_else(|| self.bad_tree("a right neighbour that is no page"))?;
        Ok(next.image.child(0))
    }
}

/// The children of a page that lie wholly inside a range.
fn children_inside(parent: &Image, range: &KeyRange) -> Range<usize> {
    let children = inner::children(parent);
    let end_of = |index: usize| children.get(index + 1).map_or(parent.high_fence(), |child| &child.key);
    let is_inside = |index: &usize| range.contains(&children[*index].key, end_of(*index));
    let first = (0..children.len()).find(is_inside).unwrap_or(children.len());
    let count = (first..children.len()).take_while(is_inside).count();
    first..first + count
}
