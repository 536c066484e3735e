//! Splits: a leaf whose content no longer fits becomes several, its parent gets more children, and so on up to the root.
//!
//! P5  All pages of a split or merge are built first, then put in place under `structure` exclusive: nobody sees a state between.
//! P6  The left piece keeps page id and low fence; right links and fences chain on. The root keeps its page id: its pieces move to
//!     new ids, and it becomes their parent.

use std::collections::HashSet;
use std::ops::Range;

use duramen_base::Timestamp;
use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::values::LargeRef;

use crate::inner::{self, Child, InnerHead};
use crate::leaf::{Content, LeafRef, NewLeaf, Point, leaf_spec};
use crate::pid_table::{Page, ROOT_PID};
use crate::spill::Spill;
use crate::store::Store;
use crate::upkeep::Upkeep;

/// An inner page on the way from the root, and which child the way went to.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) pid: u64,
    pub(crate) image: Counted<Image>,
    pub(crate) child_index: usize,
}

/// Pages that change together (P5).
#[derive(Debug, Default)]
pub(crate) struct Change {
    pages: Vec<(Image, Option<Spill>)>,
    /// Pages that are in the tree no more.
    pub(crate) freed: Vec<u64>,
    /// Readers below this cannot be served any more.
    too_old_below: Timestamp,
    /// Large values that the leaves named before, and those that came for them (LV1 of `large.rs`).
    named: Vec<LargeRef>,
}

impl Change {
    /// Says what a leaf that is to change, or to go, names until now.
    pub(crate) fn was(&mut self, leaf: LeafRef<'_>) {
        self.named.extend(leaf.references());
    }

    /// Says what comes into a leaf, or would if nothing newer were there.
    pub(crate) fn comes(&mut self, points: &[Point<'_>]) {
        self.named.extend(points.iter().filter_map(Point::reference));
    }

    /// What the old leaves named, or what came, and the new ones do not name.
    fn dropped(&self) -> Vec<LargeRef> {
        if self.named.is_empty() {
            return Vec::new();
        }
        let refs = self.pages.iter().flat_map(|(image, spill)| LeafRef { image, spill: spill.as_ref() }.references());
        // What came and was there already, after a crash in the middle of a run, is said once.
        let mut kept: HashSet<u64> = refs.map(|large| large.id).collect();
        self.named.iter().filter(|large| kept.insert(large.id)).copied().collect()
    }

    /// A leaf gets new content, or a place in the tree.
    pub(crate) fn leaf(&mut self, leaf: NewLeaf) {
        self.too_old_below = self.too_old_below.max(leaf.too_old_below);
        self.pages.push((leaf.image, leaf.spill));
    }

    /// An inner page gets other children, or a place in the tree.
    pub(crate) fn inner(&mut self, image: Image) {
        self.pages.push((image, None));
    }
}

impl Store {
    /// Puts pages in place (P5).
    pub(crate) fn commit_change(&self, up: &mut Upkeep, change: Change) {
        self.refuse_below(change.too_old_below);
        change.dropped().into_iter().for_each(|large| up.values.drop_value(large)); // LV1
        // One leaf alone keeps its fences, and needs no more than its own latch (G1).
        let _exclusive = (change.pages.len() > 1 || !change.freed.is_empty()).then(|| self.structure.write());
        for (image, spill) in change.pages {
            self.put_page(up, image, spill);
        }
        for pid in change.freed {
            self.free_page(up, pid);
        }
    }

    /// Splits the leaf `pid`, which is `image`, at the cuts of its new content. `change` knows what it names.
    pub(crate) fn split_leaf(
        &self,
        up: &mut Upkeep,
        pid: u64,
        image: &Image,
        content: &Content<'_>,
        cuts: &[Range<usize>],
        mut change: Change,
    ) {
        let path = self.path_to(image.low_fence(), 0);
        let fences = fences(image, cuts[1..].iter().map(|cut| content.separator(cut.start)));
        let pids = self.piece_pids(pid, cuts.len());
        for (index, cut) in cuts.iter().enumerate() {
            let right_pid = pids.get(index + 1).copied().unwrap_or(image.right_pid());
            let spec = leaf_spec(pids[index], self.keyspace(), right_pid, &fences[index], &fences[index + 1]);
            change.leaf(content.build(cut.clone(), &spec, self.spill_reservation()));
        }
        self.add_to_parent(&mut change, path, 1, pid, children_of(&pids, fences));
        self.commit_change(up, change);
    }

    /// Counted memory for history that may not fit; `None`: there is none left.
    pub(crate) fn spill_reservation(&self) -> Option<duramen_base::Reservation> {
        self.may_spill().then(|| self.budget().reserve_anyway(0))
    }

    /// The inner pages from the root down to the parent of the page of `level` that encloses `key`. All are here, as a page below was read; a root that
    /// is not is the page of `level` itself, a leaf that left memory since.
    pub(crate) fn path_to(&self, key: &[u8], level: u8) -> Vec<Step> {
        let mut path = Vec::new();
        let mut pid = ROOT_PID;
        loop {
            let page = self.pages.known(pid).read();
            // The root may itself be of the level asked for; below an inner page of `level + 1` nothing need be looked at.
            let resident = match &*page {
                Page::Resident(resident) => resident,
                Page::OnDisk(_) if pid == ROOT_PID => return path,
                Page::OnDisk(_) | Page::Free => {
                    panic!("E1: inner pages on the way to a leaf that was read are here and stay here")
                }
            };
            if resident.image.level() <= level {
                return path;
            }
            let image = Counted::clone(&resident.image);
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
    pub(crate) fn add_to_parent(
        &self,
        change: &mut Change,
        mut path: Vec<Step>,
        level: u8,
        pid: u64,
        pieces: Vec<Child>,
    ) {
        if pid == ROOT_PID {
            return self.grow_root(change, level, pieces);
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
            change.inner(inner::build(&children, &head));
            return;
        }
        let fences = fences(&step.image, cuts[1..].iter().map(|cut| children[cut.start].key.clone()));
        let pids = self.piece_pids(step.pid, cuts.len());
        for (index, cut) in cuts.iter().enumerate() {
            let right_pid = pids.get(index + 1).copied().unwrap_or(step.image.right_pid());
            let head = self.head(pids[index], level, right_pid, &fences[index], &fences[index + 1]);
            change.inner(inner::build(&children[cut.clone()], &head));
        }
        self.add_to_parent(change, path, level + 1, step.pid, children_of(&pids, fences));
    }

    /// Makes the root the parent of `pieces`, with as many levels between as they need.
    fn grow_root(&self, change: &mut Change, mut level: u8, mut pieces: Vec<Child>) {
        loop {
            let cuts = inner::cut(&pieces, self.inner_bytes(), false);
            if cuts.len() == 1 {
                let head = self.head(ROOT_PID, level, 0, &[], &[]);
                change.inner(inner::build(&pieces, &head));
                return;
            }
            let pids: Vec<u64> = cuts.iter().map(|_| self.pages.allocate()).collect();
            let fences: Vec<Vec<u8>> =
                cuts.iter().map(|cut| pieces[cut.start].key.clone()).chain([Vec::new()]).collect();
            for (index, cut) in cuts.iter().enumerate() {
                let right_pid = pids.get(index + 1).copied().unwrap_or(0);
                let head = self.head(pids[index], level, right_pid, &fences[index], &fences[index + 1]);
                change.inner(inner::build(&pieces[cut.clone()], &head));
            }
            pieces = children_of(&pids, fences);
            level += 1;
        }
    }

    pub(crate) fn head<'a>(&self, pid: u64, level: u8, right_pid: u64, low: &'a [u8], high: &'a [u8]) -> InnerHead<'a> {
        InnerHead { pid, keyspace: self.keyspace(), level, right_pid, low, high }
    }
}

/// All fences of the pieces of a page: its low one, those between, its high one.
fn fences(image: &Image, between: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    std::iter::once(image.low_fence().to_vec()).chain(between).chain([image.high_fence().to_vec()]).collect()
}

fn children_of(pids: &[u64], fences: Vec<Vec<u8>>) -> Vec<Child> {
    pids.iter().zip(fences).map(|(&pid, key)| Child { key, pid }).collect()
}
