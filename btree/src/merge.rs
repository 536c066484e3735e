//! Merges: a page under a quarter full goes together with a neighbour of the same parent; a root with one child takes its place.
//!
//! Done by upkeep, which may read pages in; never by `apply`.
//!
//! M2  Only whole pages merge, the right one into the left one, which keeps page id and low fence: low fences never move.
//! M3  As P5 and P7: under `structure` exclusive, and stamps are carried on.

use duramen_base::image::Image;
use duramen_base::sync::Arc;
use duramen_base::{Result, Timestamp};

use crate::inner::{self, Child};
use crate::leaf::{Content, LeafRef, Rules, leaf_spec};
use crate::pid_table::{Page, ROOT_PID};
use crate::read::Missing;
use crate::spill::Spill;
use crate::split::Step;
use crate::store::Store;

/// What an attempt came to.
enum Attempt {
    /// Merged, or there is nothing to merge.
    Over,
    /// A page must be read first.
    Missing(Missing),
}

/// A page as a merge sees it.
struct Taken {
    pid: u64,
    image: Arc<Image>,
    spill: Option<Arc<Spill>>,
    stamp: u64,
}

impl Taken {
    fn leaf(&self) -> LeafRef<'_> {
        LeafRef { image: &self.image, spill: self.spill.as_deref() }
    }
}

impl Store {
    /// Notes that a merge might help the page.
    pub(crate) fn note_underfull(&self, pid: u64) {
        self.underfull.lock().insert(pid);
    }

    /// Tries some of the pages noted; whether there are more.
    pub(crate) fn merge_step(&self, pages: usize) -> Result<bool> {
        for _ in 0..pages {
            let Some(pid) = self.underfull.lock().pop_first() else { return Ok(false) };
            while let Attempt::Missing(missing) = self.try_merge(pid) {
                self.load(missing)?;
            }
        }
        Ok(!self.underfull.lock().is_empty())
    }

    fn try_merge(&self, pid: u64) -> Attempt {
        let _exclusive = self.structure.write();
        // The page may have grown, gone, or become another since it was noted.
        let Some(page) = self.taken(pid) else { return Attempt::Over };
        if pid == ROOT_PID {
            return self.lower_root(&page.image);
        }
        let level = page.image.level();
        let target_bytes = if level == 0 { self.leaf_bytes() } else { self.inner_bytes() };
        let mut path = self.path_to(page.image.low_fence(), level);
        let Some(parent) = path.pop().filter(|parent| parent.image.child(parent.child_index) == pid) else {
            return Attempt::Over;
        };
        if page.image.bytes().len() * 4 >= target_bytes {
            return Attempt::Over;
        }
        let index = parent.child_index;
        let pairs = [Some(index), index.checked_sub(1)];
        for left_index in pairs.into_iter().flatten().filter(|&left| left + 1 < parent.image.count()) {
            match self.merge_pair(&parent, left_index, level, target_bytes * 3 / 4) {
                None => {}
                Some(attempt) => return attempt,
            }
        }
        Attempt::Over
    }

    fn taken(&self, pid: u64) -> Option<Taken> {
        let slot = self.pages.slot(pid)?;
        match &*slot.page.read() {
            Page::Resident(resident) => Some(Taken {
                pid,
                image: Arc::clone(&resident.image),
                spill: resident.spill.clone(),
                stamp: slot.stamped(),
            }),
            Page::OnDisk(_) | Page::Free => None,
        }
    }

    /// Merges two neighbours if they fit one page; `None` if they do not.
    fn merge_pair(&self, parent: &Step, left_index: usize, level: u8, bytes_max: usize) -> Option<Attempt> {
        let pids = [parent.image.child(left_index), parent.image.child(left_index + 1)];
        let missing = |pid| Some(Attempt::Missing(Missing::child(pid, level)));
        let Some(left) = self.taken(pids[0]) else { return missing(pids[0]) };
        let Some(right) = self.taken(pids[1]) else { return missing(pids[1]) };
        let merged = if level == 0 {
            self.merge_leaves(&left, &right, bytes_max)
        } else {
            self.merge_inner(&left, &right, level, bytes_max)
        };
        if !merged {
            return None;
        }
        self.pages.known(left.pid).stamp(right.stamp); // M3
        self.note_underfull(left.pid); // it may still be
        if level > 0 {
            // Pages without a neighbour of the same parent have one now.
            self.note_underfull(left.image.child(left.image.count() - 1));
            self.note_underfull(right.image.child(0));
        }
        self.free_page(&mut self.pages.known(right.pid).page.write(), right.pid);
        self.remove_child(parent, left_index + 1);
        Some(Attempt::Over)
    }

    fn merge_leaves(&self, left: &Taken, right: &Taken, bytes_max: usize) -> bool {
        let (snaps, tombs) = (self.snapshots(), self.tombs());
        let rules = Rules::new(&snaps, &tombs);
        let mut content = Content::merge(left.leaf(), &[], Timestamp::ZERO, &rules);
        let (low, high) = (left.image.low_fence(), right.image.high_fence());
        let prefix_bytes = low.iter().zip(high).take_while(|(a, b)| a == b).count();
        content.append(Content::merge(right.leaf(), &[], Timestamp::ZERO, &rules), prefix_bytes);
        if content.image_bytes() > bytes_max {
            return false;
        }
        self.put_leaf(&content, left.pid, right.image.right_pid(), low, high);
        true
    }

    fn merge_inner(&self, left: &Taken, right: &Taken, level: u8, bytes_max: usize) -> bool {
        let mut children = inner::children(&left.image);
        children.extend(inner::children(&right.image));
        if inner::image_bytes(&children) > bytes_max {
            return false;
        }
        let (low, high) = (left.image.low_fence(), right.image.high_fence());
        self.install_inner(inner::build(&children, &self.head(left.pid, level, right.image.right_pid(), low, high)));
        true
    }

    fn put_leaf(&self, content: &Content<'_>, pid: u64, right_pid: u64, low: &[u8], high: &[u8]) {
        let spec = leaf_spec(pid, self.keyspace(), right_pid, low, high);
        let new = content.build(0..content.group_count(), &spec, self.spill_reservation());
        let slot = self.pages.known(pid);
        self.install_leaf(slot, &mut slot.page.write(), pid, new);
    }

    fn remove_child(&self, parent: &Step, index: usize) {
        let image = &parent.image;
        let mut children: Vec<Child> = inner::children(image);
        children.remove(index);
        let head = self.head(parent.pid, image.level(), image.right_pid(), image.low_fence(), image.high_fence());
        let rebuilt = inner::build(&children, &head);
        let helps =
            if parent.pid == ROOT_PID { children.len() == 1 } else { rebuilt.bytes().len() * 4 < self.inner_bytes() };
        self.install_inner(rebuilt);
        if helps {
            self.note_underfull(parent.pid);
        }
    }

    /// A root with one child becomes what that child is.
    fn lower_root(&self, root: &Image) -> Attempt {
        if root.level() == 0 || root.count() != 1 {
            return Attempt::Over;
        }
        let level = root.level() - 1;
        let Some(child) = self.taken(root.child(0)) else {
            return Attempt::Missing(Missing::child(root.child(0), level));
        };
        if level == 0 {
            let (snaps, tombs) = (self.snapshots(), self.tombs());
            let content = Content::merge(child.leaf(), &[], Timestamp::ZERO, &Rules::new(&snaps, &tombs));
            self.put_leaf(&content, ROOT_PID, 0, &[], &[]);
        } else {
            let head = self.head(ROOT_PID, level, 0, &[], &[]);
            self.install_inner(inner::build(&inner::children(&child.image), &head));
            self.note_underfull(ROOT_PID);
        }
        self.pages.known(ROOT_PID).stamp(child.stamp); // M3
        self.free_page(&mut self.pages.known(child.pid).page.write(), child.pid);
        Attempt::Over
    }
}
