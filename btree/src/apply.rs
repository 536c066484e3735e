//! Taking a batch in: leaf by leaf, each leaf patched or rebuilt once for all of its operations.
//!
//! K2 of the contract: no I/O, no waiting, no failure. The pages are here because `admit` brought them in and stamped them, and
//! because whatever a split produces is dirty and so resident (T1).
//!
//! Y1  Range deletes come first (B2); the points of the same batch carry the same timestamp and so survive them (R2).
//! Y2  The content of one leaf changes under its latch; more than one page changes only under `structure` exclusive.

use duramen_base::image::Body;
use duramen_base::sync::Arc;
use duramen_base::{Op, OpKind, OpsOfKeyspace, SnapSet, Timestamp};

use crate::leaf::{Content, LeafRef, NewLeaf, Point, Rules, leaf_spec};
use crate::pid_table::{Page, ROOT_PID, Resident, Slot};
use crate::read::{Descent, Target};
use crate::store::Store;

impl Store {
    /// Applies the operations of the commit `at`.
    pub(crate) fn apply(&self, ops: &OpsOfKeyspace<'_>, at: Timestamp) {
        let snaps = self.snapshots();
        let mut points = Vec::with_capacity(ops.len());
        for op in ops.iter() {
            match op.kind {
                OpKind::Put => points.push(Point { key: op.key, body: Body::Value(op.value) }),
                OpKind::Delete => points.push(Point { key: op.key, body: Body::Tombstone }),
                OpKind::DeleteRange => self.apply_range(&op, at, &snaps), // Y1
            }
        }
        let mut rest = points.as_slice();
        while !rest.is_empty() {
            let done =
                self.apply_in_one_leaf(rest, at, &snaps).unwrap_or_else(|| self.apply_and_split(rest, at, &snaps));
            rest = &rest[done..];
        }
    }

    fn apply_range(&self, op: &Op<'_>, at: Timestamp, snaps: &SnapSet) {
        let _shared = self.structure.read();
        self.note_commit(at);
        self.unsaved.lock().tombs_changed = true;
        self.change_tombs(|tombs| tombs.with(op.key, op.value, at, snaps.oldest()));
    }

    /// Applies the points that belong to the leaf of the first one; how many. `None`: the leaf must be split for it.
    fn apply_in_one_leaf(&self, points: &[Point<'_>], at: Timestamp, snaps: &SnapSet) -> Option<usize> {
        let tombs = self.tombs();
        let rules = Rules::new(snaps, &tombs);
        let _shared = self.structure.read();
        self.note_commit(at);
        let (pid, slot) = self.admitted_leaf(points[0].key);
        let mut page = slot.page.write();
        let leaf = admitted(&page);
        let here = count_inside(points, leaf.image.high_fence());
        let old = LeafRef { image: &leaf.image, spill: leaf.spill.as_deref() };
        if let Some(image) = old.patched(&points[..here], at, &rules, self.leaf_bytes()) {
            let has_shrunk = image.bytes().len() < old.image.bytes().len();
            self.install_changed(slot, &mut page, pid, NewLeaf::of(image), has_shrunk);
            return Some(here);
        }
        let (image, spill) = (Arc::clone(&leaf.image), leaf.spill.clone());
        let old = LeafRef { image: &image, spill: spill.as_deref() };
        let content = Content::merge(old, &points[..here], at, &rules);
        if content.cut(self.leaf_bytes()).len() > 1 {
            return None;
        }
        self.rebuild_leaf(slot, &mut page, pid, &content);
        Some(here)
    }

    /// Puts `content`, taken from the leaf `pid`, back in it. The caller holds its latch.
    pub(crate) fn rebuild_leaf(&self, slot: &Slot, page: &mut Page, pid: u64, content: &Content<'_>) {
        let Page::Resident(leaf) = &*page else { unreachable!("T1: the caller took the content from here") };
        let image = Arc::clone(&leaf.image);
        let spec = leaf_spec(pid, self.keyspace(), image.right_pid(), image.low_fence(), image.high_fence());
        let new = content.build(0..content.group_count(), &spec, self.spill_reservation());
        self.install_changed(slot, page, pid, new, true);
    }

    /// Puts a changed leaf back, and notes it for merging if it `may_merge` and there is little in it.
    fn install_changed(&self, slot: &Slot, page: &mut Page, pid: u64, new: NewLeaf, may_merge: bool) {
        let is_underfull = may_merge && new.image.bytes().len() * 4 < self.leaf_bytes();
        self.install_leaf(slot, page, pid, new);
        if is_underfull && pid != ROOT_PID {
            self.note_underfull(pid);
        }
    }

    /// Counted memory for history that may not fit; `None`: there is none left.
    pub(crate) fn spill_reservation(&self) -> Option<duramen_base::Reservation> {
        self.may_spill().then(|| self.budget().reserve_anyway(0))
    }

    /// The leaf of a key that was admitted.
    pub(crate) fn admitted_leaf(&self, key: &[u8]) -> (u64, &Slot) {
        match self.descend(Target::At(key)) {
            Ok(Descent::Leaf { pid, slot }) => (pid, slot),
            Ok(Descent::Missing(missing)) => panic!("K2: the batch was admitted, but page {} is not here", missing.pid),
            Err(error) => panic!("K2: the batch was admitted, but its pages cannot be read: {error}"),
        }
    }
}

/// A leaf that was admitted.
pub(crate) fn admitted(page: &Page) -> &Resident {
    match page {
        Page::Resident(resident) => resident,
        Page::OnDisk(addr) => panic!("K2: the batch was admitted, but the page at unit {} is not here", addr.unit),
        Page::Free => panic!("K2: the batch was admitted, but its page is free"),
    }
}

/// How many of the points (ascending) lie below a high fence.
pub(crate) fn count_inside(points: &[Point<'_>], high: &[u8]) -> usize {
    if high.is_empty() { points.len() } else { points.partition_point(|point| point.key < high) }
}
