//! Upkeep: what to do next, one bounded step a call.
//!
//! Order: the checkpoint in progress, merges, draining range deletes, a checkpoint if one is due, then eviction.

use duramen_base::sync::atomic::Ordering;
use duramen_base::{Result, Timestamp, Urgency, WorkBudget, WorkDone};

use crate::checkpoint::{Stage, Upkeep};
use crate::store::Store;

/// Unsaved bytes at which a checkpoint is due.
const UNSAVED_BYTES_MAX: u64 = 64 << 20;
/// Pages that one step looks at for merging.
const MERGE_PAGES: usize = 16;

impl Store {
    /// Asks for a checkpoint through `target`.
    pub(crate) fn persist_to(&self, target: Timestamp, urgency: Urgency) {
        self.wanted.fetch_max(target.get(), Ordering::SeqCst);
        if urgency == Urgency::Now && self.persisted() < target {
            self.env.host.wake_upkeep();
        }
    }

    /// One step.
    pub(crate) fn work(&self, budget: WorkBudget) -> Result<WorkDone> {
        let Some(mut up) = self.upkeep.try_lock() else { return Ok(WorkDone::default()) };
        up.check_not_failed()?;
        let done = self.work_step(&mut up, budget)?;
        drop(up);
        self.make_room();
        Ok(done)
    }

    fn work_step(&self, up: &mut Upkeep, budget: WorkBudget) -> Result<WorkDone> {
        if !matches!(up.stage, Stage::Idle) {
            // Behind a checkpoint there may be pages to merge and range deletes to drain: the next call looks.
            let done = self.step_checkpoint(up, budget)?;
            return Ok(WorkDone { more: true, ..done });
        }
        let merging = self.merge_step(MERGE_PAGES)?;
        let draining = self.drain_step(&mut up.drain, budget)?;
        if self.is_checkpoint_due() {
            self.begin_checkpoint(up);
            return Ok(WorkDone { more: true, switched: false });
        }
        Ok(WorkDone { more: merging || draining, switched: false })
    }

    fn is_checkpoint_due(&self) -> bool {
        let wanted = Timestamp::new(self.wanted.load(Ordering::SeqCst)).min(self.env.host.visible());
        if self.persisted() < wanted {
            return true;
        }
        let dirty = self.counters.dirty_bytes.load(Ordering::Relaxed);
        let limit = self.budget().limit();
        dirty >= UNSAVED_BYTES_MAX
            || dirty >= (limit / 10).saturating_mul(3).max(1)
            || (self.budget().is_over() && dirty >= (limit / 16).max(1))
    }
}
