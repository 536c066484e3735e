//! Slowing writers down before they hold anything: for memory, and for a store whose files are behind.
//!
//! TW1  Whoever waits here holds no row lock, no registration of a commit and no memory that others wait for; a drop of the keyspace waits for him.

use std::time::Duration;

use duramen_base::{Result, WorkBudget};

use crate::core::Core;
use crate::keyspace::Inner as KeyspaceInner;

/// Pieces of upkeep a committer does itself, at most, when memory is over its budget.
const HELPING_STEPS_MAX: u32 = 64;
/// One such piece.
pub(crate) const HELPING_STEP: WorkBudget = WorkBudget { bytes: 4 << 20 };
/// How long a store may make a writer wait.
const STALL_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// Far over the memory budget, a writer does a share of the upkeep that brings it down before it takes any lock. A little over it upkeep's own
    /// thread is at work, whose steps may be long.
    pub(crate) fn throttle(&self) -> Result<()> {
        for _ in 0..HELPING_STEPS_MAX {
            if self.parts.budget.tolerates(0) {
                return Ok(());
            }
            if !self.upkeep_step(HELPING_STEP, 1)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The same, and lets the keyspace that is to be written, so many bytes as far as is known, slow its writer down, for ten seconds at most.
    pub(crate) fn throttle_writer(&self, keyspace: &KeyspaceInner, bytes: u64) -> Result<()> {
        self.throttle()?;
        let _gate = keyspace.enter()?;
        keyspace.check_whole()?;
        let outcome = keyspace.store.throttle(bytes, STALL_MAX);
        if let Err(error) = &outcome
            && self.is_damage(keyspace, error)
        {
            keyspace.check_whole()?; // it met damage while it helped
        }
        outcome
    }
}
