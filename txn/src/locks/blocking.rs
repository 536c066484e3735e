//! The one place where a transaction waits for a lock.
//!
//! Decides nothing: `grant.rs` says who goes on, `detect.rs` who is given up. Here a thread sleeps, on the condition variable of its
//! transaction and under the latch of the table it waits in.
//!
//! ```text
//!   queue up; say that I wait
//!   look for circles through me (all latches, if this table does not tell)
//!   until settled (granted, or a victim) or wounded:
//!     woken, or the time is over: try; granted? done
//!     time over: leave
//!     sleep
//! ```
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
struct Waiting<'a> {
    id: WaiterId,
    at: Membership,
    owner: &'a Arc<Owner>,
    since: Duration,
}

impl LockManager {
    /// Waits until the claim is granted. `None`: it was to be skipped.
    #[cold]
    pub(super) fn wait_for_grant<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        at: Membership,
        owner: &Arc<Owner>,
        claim: Claim,
        facts: Facts,
        wait: Wait,
    ) -> Result<Option<Found>> {
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
        let waiting = Waiting { id: self.next_waiter(), at, owner, since };
        guard.keyspaces[at.place].enqueue(waiting.id, at.member, claim, facts, &mut rules);
        owner.begin_waiting(waiting.id, at.shard, at.place);
        self.counters.blocked();
        let mut guard = self.report_same_thread(guard, &waiting)?;
        if may_close {
            guard = self.look_for_circles(guard, &waiting).0;
        }
        let outcome = self.sleep_until_settled(guard, &waiting, deadline);
        self.counters.waited(self.now().saturating_sub(since));
        outcome.map(Some)
    }

    fn sleep_until_settled<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        waiting: &Waiting<'_>,
        deadline: Deadline,
    ) -> Result<Found> {
        let clock = || self.now();
        let mut looked_again = false;
        loop {
            let keyspace = &mut guard.keyspaces[waiting.at.place];
            let mut rules = Rules::new(self.order(), &clock);
            match keyspace.take_settled(waiting.id) {
                Some(Settled::Granted(found)) => return Ok(found),
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
            let left = deadline.0.map(|deadline| deadline.saturating_sub(rules.now()));
            let is_over = left.is_some_and(|left| left.is_zero());
            if is_woken || is_over {
                if let Some(found) = keyspace.try_waiter(waiting.id, &mut rules) {
                    return Ok(found);
                }
                if is_woken {
                    self.counters.woken_in_vain();
                }
            }
            if is_over && !looked_again {
                // A timeout is never a deadlock: one that was just closed is ended as such.
                looked_again = true;
                guard = self.look_for_circles(guard, waiting).0;
                continue;
            }
            if is_over {
                return Err(self.time_is_over(guard, waiting));
            }
            match left {
                None => waiting.owner.wake.wait(&mut guard),
                // The clock decides, not the result of the wait: it may wake early, or be simulated.
                Some(left) => {
                    waiting.owner.wake.wait_for(&mut guard, left);
                }
            }
        }
    }

    fn time_is_over(&self, mut guard: MutexGuard<'_, Shard>, waiting: &Waiting<'_>) -> Error {
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

    /// Ends every circle through the waiter, and gives the latch of its table back; whether any was found.
    fn look_for_circles<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        waiting: &Waiting<'_>,
    ) -> (MutexGuard<'a, Shard>, bool) {
        let clock = || self.now();
        let mut rules = Rules::new(self.order(), &clock);
        let next_number = || self.history.next_number();
        let mut look =
            Look { policy: self.options.victim, since: waiting.since, rules: &mut rules, next_number: &next_number };
        let mut outcome = self.look(&mut Latched::One(waiting.at.shard, &mut guard), waiting.owner, &mut look);
        let mut found = self.count(&outcome);
        if outcome.is_partial {
            drop(guard);
            let mut all = Latched::all(&self.shards);
            let again = self.look(&mut all, waiting.owner, &mut look);
            drop(all);
            found |= self.count(&again);
            outcome.reports.extend(again.reports);
            self.publish(outcome.reports);
            return (self.latch(waiting.at.shard), found);
        }
        if !outcome.reports.is_empty() {
            drop(guard);
            self.publish(outcome.reports);
            guard = self.latch(waiting.at.shard);
        }
        (guard, found)
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

    fn count(&self, outcome: &Outcome) -> bool {
        self.counters.looked(outcome);
        !outcome.reports.is_empty()
    }

    /// Says so at once if a holder in the way was last called from this very thread.
    fn report_same_thread<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        waiting: &Waiting<'_>,
    ) -> Result<MutexGuard<'a, Shard>> {
        let now = self.now();
        let latched = Latched::One(waiting.at.shard, &mut guard);
        let mut in_the_way = Vec::new();
        detect::arrows_of(
            &latched,
            &detect::Node(Arc::clone(waiting.owner)),
            detect::Arrows::ToHolders,
            &mut in_the_way,
        );
        let Some(detect::Node(holder)) = in_the_way.into_iter().find(|node| node.0.was_last_called_here()) else {
            return Ok(guard);
        };
        let waiter = detect::member_of(&latched, waiting.owner, &holder, now);
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
