//! The way of a run out of the layers: hung into the tree as it lies, or merged leaf by leaf; and what comes free behind it.
//!
//! The invariants are those of `ingest.rs`.

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::sync::Arc;
use duramen_base::{Result, mutant};

use super::{Run, RunPage};
use crate::inner::Child;
use crate::leaf::{Content, LeafRef, Rules, leaf_spec};
use crate::pid_table::ROOT_PID;
use crate::read::Target;
use crate::split::Change;
use crate::store::Store;
use crate::upkeep::Upkeep;

impl Store {
    /// Whether a run may leave the layers (IN3). One that is asked for goes at once; else it waits until nobody can begin to read before it.
    pub(crate) fn is_ripe(&self, run: &Run, is_wanted: bool) -> bool {
        self.env.host.visible() >= run.ts && (is_wanted || self.snapshots().horizon() >= run.ts)
    }

    /// Puts a run's leaves into the tree as they lie, if that is right; whether it was.
    pub(crate) fn hang(&self, up: &mut Upkeep, run: &Run) -> Result<bool> {
        let (low, high) = (run.list.low(), &run.list.high[..]);
        let snaps = self.snapshots();
        let tombs = self.tombs();
        let is_read_before = snaps.oldest() < run.ts && !mutant!("hang_over_old_readers");
        if is_read_before || high.is_empty() || !tombs.overlapping(low, high).is_empty() {
            return Ok(false);
        }
        let (pid, leaf) = self.upkeep_leaf(Target::At(low))?;
        let image = &leaf.image;
        let is_inside = *image.low_fence() < *low && (image.high_fence().is_empty() || *high < *image.high_fence());
        let (Ok(first) | Err(first)) = image.search(low);
        let (Ok(behind) | Err(behind)) = image.search(high);
        if !is_inside || first != behind || image.hist_count() > 0 || leaf.spill.is_some() {
            return Ok(false);
        }
        let around = tombs.overlapping(image.low_fence(), image.high_fence());
        let content = Content::merge(LeafRef { image, spill: None }, &[], &Rules::new(&snaps, &around));
        let cut = content.first_from(low);
        let left_pid = if pid == ROOT_PID { self.pages.allocate() } else { pid };
        let mut change = Change::default();
        change.was(LeafRef { image, spill: None });
        let mut piece = |pid, right_pid, low: &[u8], high: &[u8], groups| {
            let spec = leaf_spec(pid, self.keyspace(), right_pid, low, high);
            change.leaf(content.build(groups, &spec, self.spill_reservation()));
        };
        piece(left_pid, run.list.pages[0].pid, image.low_fence(), low, 0..cut);
        piece(run.list.right_pid, image.right_pid(), high, image.high_fence(), cut..content.group_count());
        let child = |page: &RunPage| Child { key: page.low.clone(), pid: page.pid };
        let mut children = vec![Child { key: image.low_fence().to_vec(), pid: left_pid }];
        children.extend(run.list.pages.iter().map(child));
        children.push(Child { key: high.to_vec(), pid: run.list.right_pid });
        let path = self.path_to(image.low_fence(), 0);
        self.add_to_parent(&mut change, path, 1, pid, children);
        run.note_gone();
        for page in &run.list.pages {
            up.beside.remove(&page.pid);
            up.took_place(page.pid, page.addr);
            up.logged.insert(page.addr.unit); // IN5
            up.logged_pids.insert(page.pid);
        }
        up.logged_pids.insert(run.list.right_pid);
        up.beside.remove(&run.list.right_pid);
        up.values.append(run.take_values()); // IN6
        self.commit_change(up, change);
        up.underfull.extend([left_pid, run.list.right_pid]);
        Ok(true)
    }

    /// The run is in the tree, in one way or the other: what it alone had comes free.
    pub(crate) fn run_is_in(&self, up: &mut Upkeep, run: &Arc<Run>, hung: bool) {
        if !hung {
            run.note_gone();
            up.spent_runs.push(Arc::clone(run)); // IN5
        }
        up.spent_lists.push(run.number);
    }

    /// A superblock that has what runs brought is durable: nothing needs their lists, nor what was kept for the log (IN4, IN5).
    pub(crate) fn let_runs_go(&self, up: &mut Upkeep) {
        let generation = self.loads.lock().number();
        let held = std::mem::take(&mut up.held);
        up.given_up.extend(held.into_iter().map(|addr| (generation, addr)));
        up.logged.clear();
        up.logged_pids.clear();
        for run in std::mem::take(&mut up.spent_runs) {
            for page in &run.list.pages {
                self.give_back(up, page);
            }
            self.release_unused(up, &mut vec![run.list.right_pid]);
        }
        let spent = std::mem::take(&mut up.spent_lists);
        up.stray_lists.extend(spent);
        self.remove_lists(up);
    }

    /// The records of a run's leaf `index`, for a drain that merges them.
    pub(crate) fn leaf_to_merge(&self, run: &Run, index: usize) -> Result<Option<Counted<Image>>> {
        if index >= run.list.pages.len() {
            return Ok(None);
        }
        loop {
            match self.run_leaf(run, index) {
                Ok(image) => return Ok(Some(image)),
                Err(missing) => self.load(missing)?,
            }
        }
    }
}
