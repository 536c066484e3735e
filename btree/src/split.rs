//! Splits: a leaf whose content no longer fits becomes several, its parent gets more children, and so on up to the root.
//!
//! P5  Splits happen under `structure` exclusive: nobody sees a state between, and a freeze sees all of one or none.
//! P6  The left piece keeps page id and low fence; right links and fences chain on. The root keeps its page id: its pieces move to
//!     new ids, and it becomes their parent.
//! P7  Pieces carry the stamp of the page they came from: whoever admitted it finds its keys here.

use duramen_base::image::Image;
use duramen_base::sync::Arc;
use duramen_base::{SnapSet, Timestamp};

use crate::apply::{admitted, count_inside};
use crate::inner::{self, Child, InnerHead};
use crate::leaf::{Content, LeafRef, NewLeaf, Point, Rules, leaf_spec};
use crate::pid_table::{Page, ROOT_PID, Slot};
use crate::store::Store;

/// An inner page on the way from the root, and which child the way went to.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) pid: u64,
    pub(crate) image: Arc<Image>,
    pub(crate) child_index: usize,
}

impl Store {
    /// Applies the points that belong to the leaf of the first one, splitting it as needed; how many.
    pub(crate) fn apply_and_split(&self, points: &[Point<'_>], at: Timestamp, snaps: &SnapSet) -> usize {
        let tombs = self.tombs();
        let rules = Rules::new(snaps, &tombs);
        let _exclusive = self.structure.write();
        self.note_commit(at);
        let path = self.path_to(points[0].key, 0);
        let pid = path.last().map_or(ROOT_PID, |step| step.image.child(step.child_index));
        let slot = self.pages.known(pid);
        let mut page = slot.page.write();
        let leaf = admitted(&page);
        let (image, spill) = (Arc::clone(&leaf.image), leaf.spill.clone());
        let here = count_inside(points, image.high_fence());
        let old = LeafRef { image: &image, spill: spill.as_deref() };
        let content = Content::merge(old, &points[..here], at, &rules);
        let cuts = content.cut(self.leaf_bytes());
        if cuts.len() == 1 {
            self.rebuild_leaf(slot, &mut page, pid, &content); // another split came first
            return here;
        }
        drop(page);

        let fences = fences(&image, cuts[1..].iter().map(|cut| content.separator(cut.start)));
        let pids = self.piece_pids(pid, cuts.len());
        for (index, cut) in cuts.iter().enumerate() {
            let right_pid = pids.get(index + 1).copied().unwrap_or(image.right_pid());
            let spec = leaf_spec(pids[index], self.keyspace(), right_pid, &fences[index], &fences[index + 1]);
            let new: NewLeaf = content.build(cut.clone(), &spec, self.spill_reservation());
            let piece = self.pages.known(pids[index]);
            let mut page = piece.page.write();
            self.install_leaf(piece, &mut page, pids[index], new);
            piece.stamp(slot.stamped()); // P7
        }
        self.add_to_parent(path, 1, pid, children_of(&pids, fences));
        here
    }

    /// The inner pages from the root down to the parent of the page of `level` that encloses `key`. All are here.
    pub(crate) fn path_to(&self, key: &[u8], level: u8) -> Vec<Step> {
        let mut path = Vec::new();
        let mut pid = ROOT_PID;
        loop {
            let page = self.pages.known(pid).page.read();
            // The root may itself be of the level asked for; below an inner page of `level + 1` nothing need be looked at.
            let Page::Resident(resident) = &*page else {
                panic!("K2: inner pages on the way to an admitted leaf are here and stay here")
            };
            if resident.image.level() <= level {
                return path;
            }
            let image = Arc::clone(&resident.image);
            drop(page);
            let child_index = image.child_index(key);
            let child = image.child(child_index);
            let is_parent = image.level() == level + 1;
            path.push(Step { pid, image, child_index });
            if is_parent {
                return path;
            }
            pid = child;
        }
    }

    /// Page ids of the pieces of a page (P6).
    fn piece_pids(&self, pid: u64, pieces: usize) -> Vec<u64> {
        let kept = (pid != ROOT_PID).then_some(pid);
        kept.into_iter().chain(std::iter::repeat_with(|| self.pages.allocate())).take(pieces).collect()
    }

    /// Tells the parent of a page of `level - 1` about its pieces, the first of which stands where the page stood.
    fn add_to_parent(&self, mut path: Vec<Step>, level: u8, pid: u64, pieces: Vec<Child>) {
        if pid == ROOT_PID {
            return self.grow_root(level, pieces);
        }
        let step = path.pop().expect("a page that is not the root has a parent");
        let mut children = inner::children(&step.image);
        let appended = step.child_index + 1 == children.len();
        children.splice(
            step.child_index + 1..,
            pieces.into_iter().skip(1).chain(children[step.child_index + 1..].to_vec()),
        );
        let cuts = inner::cut(&children, self.inner_bytes(), appended);
        if cuts.len() == 1 {
            let image = &step.image;
            let head = self.head(step.pid, level, image.right_pid(), image.low_fence(), image.high_fence());
            self.install_inner(inner::build(&children, &head));
            return;
        }
        let fences = fences(&step.image, cuts[1..].iter().map(|cut| children[cut.start].key.clone()));
        let pids = self.piece_pids(step.pid, cuts.len());
        for (index, cut) in cuts.iter().enumerate() {
            let right_pid = pids.get(index + 1).copied().unwrap_or(step.image.right_pid());
            let head = self.head(pids[index], level, right_pid, &fences[index], &fences[index + 1]);
            self.install_inner(inner::build(&children[cut.clone()], &head));
        }
        self.add_to_parent(path, level + 1, step.pid, children_of(&pids, fences));
    }

    /// Makes the root the parent of `pieces`, with as many levels between as they need.
    fn grow_root(&self, mut level: u8, mut pieces: Vec<Child>) {
        loop {
            let cuts = inner::cut(&pieces, self.inner_bytes(), false);
            if cuts.len() == 1 {
                let head = self.head(ROOT_PID, level, 0, &[], &[]);
                self.install_inner(inner::build(&pieces, &head));
                return;
            }
            let pids: Vec<u64> = cuts.iter().map(|_| self.pages.allocate()).collect();
            let fences: Vec<Vec<u8>> =
                cuts.iter().map(|cut| pieces[cut.start].key.clone()).chain([Vec::new()]).collect();
            for (index, cut) in cuts.iter().enumerate() {
                let right_pid = pids.get(index + 1).copied().unwrap_or(0);
                let head = self.head(pids[index], level, right_pid, &fences[index], &fences[index + 1]);
                self.install_inner(inner::build(&pieces[cut.clone()], &head));
            }
            pieces = children_of(&pids, fences);
            level += 1;
        }
    }

    pub(crate) fn head<'a>(&self, pid: u64, level: u8, right_pid: u64, low: &'a [u8], high: &'a [u8]) -> InnerHead<'a> {
        InnerHead { pid, keyspace: self.keyspace(), level, right_pid, low, high }
    }

    /// Puts an inner page in its slot. Under `structure` exclusive.
    pub(crate) fn install_inner(&self, image: Image) {
        let pid = image.self_id();
        let slot: &Slot = self.pages.known(pid);
        let mut page = slot.page.write();
        self.install(slot, &mut page, pid, image, None);
    }
}

/// All fences of the pieces of a page: its low one, those between, its high one.
fn fences(image: &Image, between: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    std::iter::once(image.low_fence().to_vec()).chain(between).chain([image.high_fence().to_vec()]).collect()
}

fn children_of(pids: &[u64], fences: Vec<Vec<u8>>) -> Vec<Child> {
    pids.iter().zip(fences).map(|(&pid, key)| Child { key, pid }).collect()
}
