//! Waiting for a lock, step by step: queue up, look for circles, try again, give up. Nothing sleeps here (`blocking.rs` does), so a test
//! can take the steps of many transactions in any order.
//!
//! P1  Whoever settles or wakes a waiter does so under the latch under which it goes to sleep: no wake is lost.
//! P2  Reports are told to others with no latch held.

use std::time::Duration;

use duramen_base::sync::{Arc, MutexGuard};
use duramen_base::{Deadline, DeadlockMember, DeadlockReason, DeadlockReport, Error, LockBlocker, LockWait, Result};

use super::claim::Claim;
use super::detect::{self, Look, Outcome};
use super::grant::{Keyspace, Order, Rules, Settled};
use super::held::Membership;
use super::members::Member;
use super::owner::Owner;
use super::queue::{Facts, Rank, WaiterId};
use super::shard::{Latched, Shard};
use super::table::Found;
use super::{LockManager, Wait};

/// How many of those in the way an error names.
const BLOCKERS_NAMED: usize = 8;

/// A request in a queue.
#[derive(Debug)]
pub(super) struct Waiting {
    id: WaiterId,
    pub(super) at: Membership,
    pub(super) owner: Arc<Owner>,
    pub(super) since: Duration,
    deadline: Deadline,
    looked_again: bool,
}

/// What became of a request.
pub(super) enum Polled<'a> {
    Granted(Found),
    /// Nothing yet: sleep, that long at most.
    Sleep {
        guard: MutexGuard<'a, Shard>,
        left: Option<Duration>,
    },
}

impl LockManager {
    /// Queues up a request that was not granted, and ends the circles that this closes. What it says next is up to [`LockManager::poll`].
    pub(super) fn queue_up<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        at: Membership,
        owner: &Arc<Owner>,
        claim: Claim,
        facts: Facts,
        wait: Wait,
    ) -> Result<Option<(MutexGuard<'a, Shard>, Waiting)>> {
        let since = self.now();
        let deadline = match wait {
            Wait::SkipLocked => return Ok(None),
            Wait::NoWait => {
                let keyspace = &guard.keyspaces[at.place];
                let wait = self.describe(keyspace, at.member, &claim, Rank::LAST, since, Duration::ZERO);
                drop(guard);
                return Err(Error::WouldBlock(Box::new(self.name_wait(wait))));
            }
            Wait::Until(deadline) => deadline,
            Wait::For(time) => Deadline(Some(since.saturating_add(time))),
        };
        let clock = || self.now();
        let mut rules = Rules::new(self.order(), &clock);
        // Who holds nothing is in nobody's way, so it closes no circle; by age it may stand before others.
        let may_close = facts.lock_count > 0 || self.order() == Order::Age;
        let id = self.next_waiter();
        let waiting = Waiting { id, at, owner: Arc::clone(owner), since, deadline, looked_again: false };
        guard.keyspaces[at.place].enqueue(id, at.member, claim, facts, &mut rules);
        owner.begin_waiting(id, at.shard, at.place);
        self.counters.blocked();
        let mut guard = self.report_same_thread(guard, &waiting)?;
        if may_close {
            guard = self.look_for_circles(guard, &waiting);
        }
        Ok(Some((guard, waiting)))
    }

    /// What became of the request, as far as can be told now. To be asked whenever its thread wakes.
    pub(super) fn poll<'a>(&'a self, mut guard: MutexGuard<'a, Shard>, waiting: &mut Waiting) -> Result<Polled<'a>> {
        let clock = || self.now();
        loop {
            let keyspace = &mut guard.keyspaces[waiting.at.place];
            let mut rules = Rules::new(self.order(), &clock);
            match keyspace.take_settled(waiting.id) {
                Some(Settled::Granted(found)) => return Ok(Polled::Granted(found)),
                Some(Settled::Victim(report)) => {
                    drop(guard);
                    return Err(Error::Deadlock(self.with_names(report)));
                }
                None => {}
            }
            if waiting.owner.is_wounded()
                && let Some(report) = waiting.owner.wound_report()
            {
                keyspace.leave(waiting.id, &mut rules);
                drop(guard);
                return Err(Error::Deadlock(self.with_names(report)));
            }
            let waiter = keyspace.queue.get(waiting.id).expect("G4: it waits until settled");
            let is_woken = waiter.woken;
            let left = waiting.deadline.0.map(|deadline| deadline.saturating_sub(rules.now()));
            let is_over = left.is_some_and(|left| left.is_zero());
            if is_woken || is_over {
                if let Some(found) = keyspace.try_waiter(waiting.id, &mut rules) {
                    return Ok(Polled::Granted(found));
                }
                if is_woken {
                    self.counters.woken_in_vain();
                }
            }
            if !is_over {
                return Ok(Polled::Sleep { guard, left });
            }
            if waiting.looked_again {
                return Err(self.time_is_over(guard, waiting));
            }
            // A timeout is never a deadlock: one that was closed just now is ended as such.
            waiting.looked_again = true;
            guard = self.look_for_circles(guard, waiting);
        }
    }

    fn time_is_over(&self, mut guard: MutexGuard<'_, Shard>, waiting: &Waiting) -> Error {
        let clock = || self.now();
        let mut rules = Rules::new(self.order(), &clock);
        let keyspace = &mut guard.keyspaces[waiting.at.place];
        let waiter = keyspace.queue.get(waiting.id).expect("G4: it waits until settled");
        let (claim, rank) = (waiter.claim.clone(), waiter.rank);
        let waited = rules.now().saturating_sub(waiting.since);
        let wait = self.describe(keyspace, waiting.at.member, &claim, rank, rules.now(), waited);
        keyspace.leave(waiting.id, &mut rules);
        drop(guard);
        self.counters.timed_out();
        Error::LockTimeout(Box::new(self.name_wait(wait)))
    }

    /// Ends every circle through the waiter, and gives the latch of its table back.
    fn look_for_circles<'a>(&'a self, mut guard: MutexGuard<'a, Shard>, waiting: &Waiting) -> MutexGuard<'a, Shard> {
        let clock = || self.now();
        let mut rules = Rules::new(self.order(), &clock);
        let next_number = || self.history.next_number();
        let mut look =
            Look { policy: self.options.victim, since: waiting.since, rules: &mut rules, next_number: &next_number };
        let mut outcome = self.look(&mut Latched::One(waiting.at.shard, &mut guard), &waiting.owner, &mut look);
        self.counters.looked(&outcome);
        if outcome.is_partial {
            drop(guard);
            let mut all = Latched::all(&self.shards);
            let again = self.look(&mut all, &waiting.owner, &mut look);
            drop(all);
            self.counters.looked(&again);
            outcome.reports.extend(again.reports);
            self.publish(outcome.reports);
            return self.latch(waiting.at.shard);
        }
        if !outcome.reports.is_empty() {
            drop(guard);
            self.publish(outcome.reports);
            guard = self.latch(waiting.at.shard);
        }
        guard
    }

    fn look(&self, latched: &mut Latched<'_, '_>, owner: &Arc<Owner>, look: &mut Look<'_, '_>) -> Outcome {
        let mut outcome = Outcome::default();
        if self.order() == Order::Age && owner.waiting_in().is_some() {
            outcome = detect::wound_younger(latched, owner, look);
        }
        let circles = detect::resolve(latched, owner, look);
        outcome.is_partial |= circles.is_partial;
        outcome.reports.extend(circles.reports);
        Outcome { reorders: circles.reorders, steps: circles.steps, missed: circles.missed, ..outcome }
    }

    /// Says so at once if a holder in the way was last called from this very thread.
    fn report_same_thread<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        waiting: &Waiting,
    ) -> Result<MutexGuard<'a, Shard>> {
        let now = self.now();
        let latched = Latched::One(waiting.at.shard, &mut guard);
        let mut in_the_way = Vec::new();
        detect::arrows_of(
            &latched,
            &detect::Node(Arc::clone(&waiting.owner)),
            detect::Arrows::ToHolders,
            &mut in_the_way,
        );
        let Some(detect::Node(holder)) = in_the_way.into_iter().find(|node| node.0.was_last_called_here()) else {
            return Ok(guard);
        };
        let waiter = detect::member_of(&latched, &waiting.owner, &holder, now);
        let other = DeadlockMember {
            txn: holder.info(now),
            lock_count: 0,
            write_count: 0,
            waits_for: None,
            waited: Duration::ZERO,
            blocked_by: None,
            last_operations: Vec::new(),
        };
        let report = DeadlockReport {
            number: self.history.next_number(),
            at: now,
            found_after: now.saturating_sub(waiting.since),
            members: vec![waiter, other],
            victim: waiting.owner.id,
            policy: self.options.victim,
            reason: DeadlockReason::SameThread,
            why: "the thread that would have to end the other one waits here".to_owned(),
        };
        if self.options.same_thread_fails {
            let clock = || self.now();
            guard.keyspaces[waiting.at.place].leave(waiting.id, &mut Rules::new(self.order(), &clock));
        }
        drop(guard);
        self.counters.same_thread();
        self.publish(vec![report.clone()]);
        if self.options.same_thread_fails {
            return Err(Error::Deadlock(self.with_names(Box::new(report))));
        }
        Ok(self.latch(waiting.at.shard))
    }

    /// The request and who is in its way.
    pub(super) fn describe(
        &self,
        keyspace: &Keyspace,
        member: Member,
        claim: &Claim,
        rank: Rank,
        now: Duration,
        waited: Duration,
    ) -> LockWait {
        let mut blockers = Vec::new();
        let mut same_thread = false;
        keyspace.table.each_in_the_way(member, claim, &mut |holder, target, held| {
            let owner = keyspace.table.members.owner(holder);
            same_thread |= owner.was_last_called_here();
            let claim = detect::describe_held(keyspace, target, held);
            blockers.push(LockBlocker { txn: owner.info(now), claim, holds: true });
            blockers.len() < BLOCKERS_NAMED
        });
        if let Some(id) = keyspace.queue.first_in_conflict(claim, rank, |_, _| true)
            && let Some(waiter) = keyspace.queue.get(id)
        {
            let claim = waiter.claim.describe(keyspace.id);
            blockers.push(LockBlocker { txn: waiter.owner.info(now), claim, holds: false });
        }
        LockWait { wanted: claim.describe(keyspace.id), waited, blockers, same_thread }
    }
}
