//! Merges: a page under a quarter full goes together with a neighbour of the same parent; a leaf under half full does if that neighbour is here
//! already. A root with one child takes its place.
//!
//! M2  Only whole pages merge, the right one into the left one, which keeps page id and low fence: low fences never move.
//! M3  As P5: built first, then put in place together.

use duramen_base::Result;
use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::sync::atomic::Ordering;

use crate::inner::{self, Child};
use crate::leaf::{Content, LeafRef, Rules, common_prefix, leaf_spec};
use crate::pid_table::{Page, ROOT_PID};
use crate::read::{LeafView, Missing};
use crate::split::{Change, Step};
use crate::store::Store;
use crate::upkeep::Upkeep;

/// What an attempt came to.
pub(crate) enum Attempt {
    /// Merged, or there is nothing to merge.
    Over,
    /// A page must be read first.
    Missing(Missing),
}

/// A page as a merge sees it.
struct Taken {
    pid: u64,
    view: LeafView,
}

impl Taken {
    fn image(&self) -> &Counted<Image> {
        &self.view.image
    }

    fn leaf(&self) -> LeafRef<'_> {
        LeafRef { image: &self.view.image, spill: self.view.spill.as_deref() }
    }
}

impl Store {
    /// Tries some of the pages noted; whether there are more.
    pub(crate) fn merge_step(&self, up: &mut Upkeep, pages: usize) -> Result<bool> {
        for _ in 0..pages {
            let Some(pid) = up.underfull.pop_first() else { return Ok(false) };
            while let Attempt::Missing(missing) = self.try_merge(up, pid) {
                if let Err(error) = self.load(missing) {
                    up.underfull.insert(pid);
                    return Err(error);
                }
            }
        }
        Ok(!up.underfull.is_empty())
    }

    fn try_merge(&self, up: &mut Upkeep, pid: u64) -> Attempt {
        // The page may have grown, gone, or become another since it was noted.
        let Some(page) = self.taken(pid) else { return Attempt::Over };
        if pid == ROOT_PID {
            return self.lower_root(up, page.image());
        }
        let level = page.image().level();
        let target_bytes = if level == 0 { self.leaf_bytes() } else { self.inner_bytes() };
        let mut path = self.path_to(page.image().low_fence(), level);
        let Some(parent) = path.pop().filter(|parent| parent.image.child(parent.child_index) == pid) else {
            return Attempt::Over;
        };
        let page_bytes = page.image().bytes().len();
        let is_urgent = page_bytes * 4 < target_bytes;
        let is_worth_it = is_urgent || (level == 0 && page_bytes * 2 < target_bytes);
        if !is_worth_it {
            return Attempt::Over;
        }
        let bytes_max = if level == 0 { target_bytes * 15 / 16 } else { target_bytes * 3 / 4 };
        let index = parent.child_index;
        let pairs = [index.checked_sub(1), Some(index)];
        for left_index in pairs.into_iter().flatten().filter(|&left| left + 1 < parent.image.count()) {
            let neighbour = if left_index == index { index + 1 } else { left_index };
            if !is_urgent && !self.is_small_and_here(parent.image.child(neighbour), bytes_max - page_bytes) {
                continue;
            }
            match self.merge_pair(up, &parent, left_index, level, bytes_max) {
                None => {}
                Some(attempt) => return attempt,
            }
        }
        Attempt::Over
    }

    /// Whether a page is in memory and not much larger than `bytes`.
    fn is_small_and_here(&self, pid: u64, bytes: usize) -> bool {
        self.resident_page(pid).is_some_and(|page| page.image.bytes().len() <= bytes + bytes / 8)
    }

    fn taken(&self, pid: u64) -> Option<Taken> {
        Some(Taken { pid, view: self.resident_page(pid)? })
    }

    /// Merges two neighbours if they fit one page; `None` if they do not.
    fn merge_pair(
        &self,
        up: &mut Upkeep,
        parent: &Step,
        left_index: usize,
        level: u8,
        bytes_max: usize,
    ) -> Option<Attempt> {
        let pids = [parent.image.child(left_index), parent.image.child(left_index + 1)];
        let missing = |pid| Some(Attempt::Missing(Missing::child(pid, level)));
        let Some(left) = self.taken(pids[0]) else { return missing(pids[0]) };
        let Some(right) = self.taken(pids[1]) else { return missing(pids[1]) };
        self.merge_taken(up, parent, left_index, (level, bytes_max), [left, right]).then_some(Attempt::Over)
    }

    /// Merges two neighbouring leaves if they fit one page, whether they are here or not; whether they did.
    pub(crate) fn merge_leaf_pair(
        &self,
        up: &mut Upkeep,
        parent: &Step,
        left_index: usize,
        bytes_max: usize,
    ) -> Result<bool> {
        let take = |pid| match self.taken(pid) {
            Some(taken) => Ok(taken),
            None => Ok(Taken { pid, view: LeafView { image: self.leaf_to_look_at(pid)?, spill: None } }),
        };
        let pair = [take(parent.image.child(left_index))?, take(parent.image.child(left_index + 1))?];
        Ok(self.merge_taken(up, parent, left_index, (0, bytes_max), pair))
    }

    fn merge_taken(
        &self,
        up: &mut Upkeep,
        parent: &Step,
        left_index: usize,
        (level, bytes_max): (u8, usize),
        [left, right]: [Taken; 2],
    ) -> bool {
        let mut change = Change::default();
        let merged = if level == 0 {
            self.merge_leaves(&mut change, &left, &right, bytes_max)
        } else {
            self.merge_inner(&mut change, &left, &right, level, bytes_max)
        };
        if !merged {
            return false;
        }
        up.underfull.insert(left.pid); // it may still be
        if level > 0 {
            // Pages without a neighbour of the same parent have one now.
            up.underfull.insert(left.image().child(left.image().count() - 1));
            up.underfull.insert(right.image().child(0));
        }
        change.freed.push(right.pid);
        self.counters.pages_merged.fetch_add(1, Ordering::Relaxed);
        self.remove_child(up, &mut change, parent, left_index + 1);
        self.commit_change(up, change);
        true
    }

    fn merge_leaves(&self, change: &mut Change, left: &Taken, right: &Taken, bytes_max: usize) -> bool {
        let (snaps, tombs) = (self.snapshots(), self.tombs());
        let rules = Rules::new(&snaps, &tombs);
        let mut content = Content::merge(left.leaf(), &[], &rules);
        let (low, high) = (left.image().low_fence(), right.image().high_fence());
        let prefix_bytes = common_prefix(low, high);
        content.append(Content::merge(right.leaf(), &[], &rules), prefix_bytes);
        if content.image_bytes() > bytes_max {
            return false;
        }
        change.was(left.leaf());
        change.was(right.leaf());
        self.add_leaf(change, &content, left.pid, right.image().right_pid(), low, high);
        true
    }

    fn merge_inner(&self, change: &mut Change, left: &Taken, right: &Taken, level: u8, bytes_max: usize) -> bool {
        let mut children = inner::children(left.image());
        children.extend(inner::children(right.image()));
        if inner::image_bytes(&children) > bytes_max {
            return false;
        }
        let (low, high) = (left.image().low_fence(), right.image().high_fence());
        let head = self.head(left.pid, level, right.image().right_pid(), low, high);
        change.inner(inner::build(&children, &head));
        true
    }

    fn add_leaf(&self, change: &mut Change, content: &Content<'_>, pid: u64, right_pid: u64, low: &[u8], high: &[u8]) {
        let spec = leaf_spec(pid, self.keyspace(), right_pid, low, high);
        change.leaf(content.build(0..content.group_count(), &spec, self.spill_reservation()));
    }

    fn remove_child(&self, up: &mut Upkeep, change: &mut Change, parent: &Step, index: usize) {
        let image = &parent.image;
        let mut children: Vec<Child> = inner::children(image);
        children.remove(index);
        let head = self.head(parent.pid, image.level(), image.right_pid(), image.low_fence(), image.high_fence());
        let rebuilt = inner::build(&children, &head);
        let helps =
            if parent.pid == ROOT_PID { children.len() == 1 } else { rebuilt.bytes().len() * 4 < self.inner_bytes() };
        change.inner(rebuilt);
        if helps {
            up.underfull.insert(parent.pid);
        }
    }

    /// A root with one child becomes what that child is.
    fn lower_root(&self, up: &mut Upkeep, root: &Image) -> Attempt {
        if root.level() == 0 || root.count() != 1 {
            return Attempt::Over;
        }
        let level = root.level() - 1;
        let Some(child) = self.taken(root.child(0)) else {
            return Attempt::Missing(Missing::child(root.child(0), level));
        };
        let mut change = Change::default();
        if level == 0 {
            let (snaps, tombs) = (self.snapshots(), self.tombs());
            let content = Content::merge(child.leaf(), &[], &Rules::new(&snaps, &tombs));
            change.was(child.leaf());
            self.add_leaf(&mut change, &content, ROOT_PID, 0, &[], &[]);
        } else {
            let head = self.head(ROOT_PID, level, 0, &[], &[]);
            change.inner(inner::build(&inner::children(child.image()), &head));
            up.underfull.insert(ROOT_PID);
        }
        change.freed.push(child.pid);
        self.commit_change(up, change);
        Attempt::Over
    }

    /// A page, if it is here.
    pub(crate) fn resident_page(&self, pid: u64) -> Option<LeafView> {
        match &*self.pages.slot(pid)?.read() {
            Page::Resident(page) => Some(LeafView { image: Counted::clone(&page.image), spill: page.spill.clone() }),
            Page::OnDisk(_) | Page::Free => None,
        }
    }
}
