//! The requests of `held.rs` taken step by step, for tests: where a transaction would sleep, its test goes on with another one.

use super::*;
use crate::locks::grant::Rules;
use crate::locks::table::Found;
use crate::locks::waiting::{Polled, Waiting};

/// How far a request has come.
#[derive(Debug)]
pub(in crate::locks) enum Step {
    Done(#[allow(dead_code)] Grant),
    Waiting { index: usize, claim: Claim, waiting: Waiting },
}

impl Step {
    /// Whether its waiting was ended by somebody else.
    pub(in crate::locks) fn is_settled(&self) -> bool {
        match self {
            Step::Done(_) => false,
            Step::Waiting { waiting, .. } => waiting.owner.waiting_in().is_none() || waiting.owner.is_wounded(),
        }
    }

    /// Whether its thread would be awake.
    pub(in crate::locks) fn is_settled_or_woken(&self, manager: &LockManager) -> bool {
        let Step::Waiting { waiting, .. } = self else { return false };
        let Some((_, place, id)) = waiting.owner.waiting_in() else { return true };
        let shard = manager.latch(waiting.at.shard);
        self.is_settled() || shard.keyspaces[place].queue.get(id).is_some_and(|waiter| waiter.woken)
    }
}

impl LockOwner {
    pub(in crate::locks) fn step_key(
        &mut self,
        ks: KeyspaceId,
        key: &[u8],
        mode: LockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Step> {
        self.begin(ks, Claim { target: Target::Key(Key::from(key)), strength: mode.into(), op }, wait)
    }

    pub(in crate::locks) fn step_range(
        &mut self,
        ks: KeyspaceId,
        low: &[u8],
        high: Option<&[u8]>,
        mode: LockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Step> {
        let range = KeyRange { low: Key::from(low), high: high.map(Key::from) };
        self.begin(ks, Claim { target: Target::Range(Arc::new(range)), strength: mode.into(), op }, wait)
    }

    pub(in crate::locks) fn step_keyspace(
        &mut self,
        ks: KeyspaceId,
        mode: KeyspaceLockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Step> {
        self.begin(ks, Claim { target: Target::Whole, strength: mode.into(), op }, wait)
    }

    fn begin(&mut self, keyspace: KeyspaceId, claim: Claim, wait: Wait) -> Result<Step> {
        let manager = Arc::clone(&self.held.manager);
        let (held, _) = self.held.list_mut();
        held.begin_call(&manager)?;
        let clock = || manager.now();
        let mut rules = Rules::new(manager.order(), &clock);
        let (index, found, guard) = held.try_request(&manager, keyspace, &claim, &mut rules, None)?;
        if found != Found::InTheWay {
            drop(guard);
            return Ok(Step::Done(held.note(index, claim, found)));
        }
        let (at, facts) = (held.memberships[index], held.facts());
        match manager.queue_up(guard, at, &held.owner, claim.clone(), facts, wait)? {
            None => Ok(Step::Done(Grant::Skipped)),
            Some((guard, waiting)) => {
                drop(guard);
                if waiting.owner.waiting_in().is_none() {
                    return self.step_on(Step::Waiting { index, claim, waiting });
                }
                Ok(Step::Waiting { index, claim, waiting })
            }
        }
    }

    /// What its thread would do on waking.
    pub(in crate::locks) fn step_on(&mut self, step: Step) -> Result<Step> {
        let Step::Waiting { index, claim, mut waiting } = step else { return Ok(step) };
        let manager = Arc::clone(&self.held.manager);
        match manager.poll(manager.latch(waiting.at.shard), &mut waiting)? {
            Polled::Granted(found) => Ok(Step::Done(self.held.list_mut().0.note(index, claim, found))),
            Polled::Sleep { .. } => Ok(Step::Waiting { index, claim, waiting }),
        }
    }
}
