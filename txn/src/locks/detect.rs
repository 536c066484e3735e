//! The wait graph, read off the lock tables: who waits for whom, and what is done about a circle.
//!
//! Works under the latches of the tables it looks at, and answers with reports; it sleeps nowhere and calls nobody. A look at one
//! table is enough if nobody in the way waits in another one. Otherwise the caller lets go, latches all, and looks again.
//!
//! Why a look at one table cannot miss a circle that spans several: each member says that it waits before it looks whom it waits for
//! (`Owner::begin_waiting`). The last one to say so finds all others waiting, sees that one of them waits elsewhere, and latches all.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use duramen_base::sync::Arc;
use duramen_base::{DeadlockMember, DeadlockReason, DeadlockReport, LockClaim, TxnId, VictimPolicy, mutant};

use super::claim::Claim;
use super::grant::{Keyspace, Rules};
use super::owner::Owner;
use super::queue::{Waiter, WaiterId};
use super::shard::Latched;
use super::table::HeldTarget;
use crate::wait_graph::{reorder, search, victim};

/// A transaction as a node of the graph.
#[derive(Clone, Debug)]
pub(super) struct Node(pub(super) Arc<Owner>);

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

/// Which arrows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrows {
    ToHolders,
    /// To earlier waiters as well.
    All,
}

/// What came out of looking for circles.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Somebody waits in a table that is not latched: the look says nothing about circles through there.
    pub(super) is_partial: bool,
    pub(super) reports: Vec<DeadlockReport>,
    pub(super) reorders: u64,
    pub(super) steps: u64,
    /// Circles all of whose members had been searched from before: there must be none.
    pub(super) missed: u64,
}

/// What a look needs beside the tables.
pub(super) struct Look<'r, 'c> {
    pub(super) policy: VictimPolicy,
    /// When the request began that may have closed a circle.
    pub(super) since: Duration,
    pub(super) rules: &'r mut Rules<'c>,
    pub(super) next_number: &'r dyn Fn() -> u64,
}

/// Ends every circle through `requester`, which waits.
pub(super) fn resolve(latched: &mut Latched<'_, '_>, requester: &Arc<Owner>, look: &mut Look<'_, '_>) -> Outcome {
    let mut outcome = Outcome::default();
    let start = Node(Arc::clone(requester));
    while start.0.waiting_in().is_some() {
        let mut partial = false;
        let arrows = |node: &Node, out: &mut Vec<Node>| partial |= !arrows_of(latched, node, Arrows::ToHolders, out);
        let cycle = search::cycle_through(&start, arrows, &mut outcome.steps);
        outcome.is_partial |= partial;
        let Some(cycle) = cycle else { break };
        outcome.missed += u64::from(cycle.iter().all(|node| waiter_of(latched, &node.0).is_some_and(|w| w.searched)));
        give_one_up(latched, &cycle, look, &mut outcome);
    }
    while start.0.waiting_in().is_some() {
        let mut partial = false;
        let mut arrows = |node: &Node, out: &mut Vec<Node>| partial |= !arrows_of(latched, node, Arrows::All, out);
        let found = search::cycle_through(&start, &mut arrows, &mut outcome.steps).is_some();
        let reached = if found { search::reachable(&start, &mut arrows) } else { Vec::new() };
        outcome.is_partial |= partial;
        if !found || partial {
            break;
        }
        if put_in_order(latched, &reached, look) {
            outcome.reorders += 1;
        } else if !end_circles_of_others(latched, &reached, look, &mut outcome) {
            break;
        }
    }
    if !outcome.is_partial
        && let Some((shard, place, id)) = start.0.waiting_in()
        && let Some(waiter) = latched.get_mut(shard).and_then(|shard| shard.keyspaces[place].queue.get_mut(id))
    {
        waiter.searched = true;
    }
    outcome
}

/// Under wound-wait: whoever is younger than the requester and in its way must end, unless it is sealed.
pub(super) fn wound_younger(latched: &mut Latched<'_, '_>, requester: &Arc<Owner>, look: &mut Look<'_, '_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut in_the_way = Vec::new();
    arrows_of(latched, &Node(Arc::clone(requester)), Arrows::ToHolders, &mut in_the_way);
    for Node(holder) in in_the_way {
        if holder.ticket.number <= requester.ticket.number {
            continue;
        }
        let report = DeadlockReport {
            reason: DeadlockReason::Wounded,
            why: format!("ticket {} needs what ticket {} holds", requester.ticket.number, holder.ticket.number),
            ..report_of(latched, &[Node(Arc::clone(requester)), Node(Arc::clone(&holder))], holder.id, look)
        };
        if holder.wound(&report) {
            outcome.reports.push(report);
        }
        if holder.is_wounded()
            && let Some((shard, place, id)) = holder.waiting_in()
        {
            match (latched.get_mut(shard), holder.wound_report()) {
                (Some(shard), Some(report)) => shard.keyspaces[place].give_up(id, report, look.rules),
                (None, _) => outcome.is_partial = true,
                (Some(_), None) => {}
            }
        }
    }
    outcome
}

/// Appends where `node` has arrows to; `false` if it waits in a table that is not latched. A wounded one has none: it will end.
pub(super) fn arrows_of(latched: &Latched<'_, '_>, node: &Node, arrows: Arrows, out: &mut Vec<Node>) -> bool {
    let Some((shard, place, id)) = node.0.waiting_in() else { return true };
    let Some(shard) = latched.get(shard) else { return false };
    let keyspace = &shard.keyspaces[place];
    let Some(waiter) = keyspace.queue.get(id).filter(|_| !node.0.is_wounded()) else { return true };
    keyspace.table.each_in_the_way(waiter.member, &waiter.claim, &mut |holder, _, _| {
        out.push(Node(Arc::clone(keyspace.table.members.owner(holder))));
        !mutant!("nearest_waiter_only")
    });
    if arrows == Arrows::All {
        keyspace.queue.in_front_of(id, |other| out.push(Node(Arc::clone(&other.owner))));
    }
    true
}

fn waiter_of<'a>(latched: &'a Latched<'_, '_>, owner: &Owner) -> Option<&'a Waiter> {
    let (shard, place, id) = owner.waiting_in()?;
    latched.get(shard)?.keyspaces[place].queue.get(id)
}

fn give_one_up(latched: &mut Latched<'_, '_>, cycle: &[Node], look: &mut Look<'_, '_>, outcome: &mut Outcome) {
    // Who began to wait last closed it.
    let last = cycle.iter().max_by_key(|node| node.0.waiting_in().map(|(.., id)| id));
    let requester = last.expect("a circle has members").0.id;
    let mut report = report_of(latched, cycle, requester, look);
    let (chosen, why) = victim::choose(&report.members, requester, look.policy);
    (report.victim, report.why) = (chosen, why);
    let node = cycle.iter().find(|node| node.0.id == chosen).expect("D2: the victim is a member of the circle");
    let (shard, place, id) = node.0.waiting_in().expect("D2: every member of a circle waits");
    let shard = latched.get_mut(shard).expect("a circle was found through latched tables only");
    shard.keyspaces[place].give_up(id, Box::new(report.clone()), look.rules);
    outcome.reports.push(report);
}

/// Somebody else closed a circle of holders a moment ago, and waits for the latches to look for it: ends it in its place, since no
/// order can be found before. Whether there was one.
fn end_circles_of_others(
    latched: &mut Latched<'_, '_>,
    reached: &[Node],
    look: &mut Look<'_, '_>,
    outcome: &mut Outcome,
) -> bool {
    let before = outcome.reports.len();
    for node in reached {
        let mut arrows = |node: &Node, out: &mut Vec<Node>| {
            arrows_of(latched, node, Arrows::ToHolders, out);
        };
        if let Some(cycle) = search::cycle_through(node, &mut arrows, &mut outcome.steps) {
            give_one_up(latched, &cycle, look, outcome);
        }
    }
    outcome.reports.len() > before
}

/// Queues everybody that was reached so that nobody waits in a circle; whether that was possible.
fn put_in_order(latched: &mut Latched<'_, '_>, reached: &[Node], look: &mut Look<'_, '_>) -> bool {
    let waiting: Vec<(&Node, (usize, usize, WaiterId))> =
        reached.iter().filter_map(|node| Some((node, node.0.waiting_in()?))).collect();
    let place_of = |node: &Node| waiting.iter().position(|(other, _)| *other == node);
    let arrival: Vec<_> = waiting
        .iter()
        .map(|(node, (.., id))| (waiter_of(latched, &node.0).map_or(0, |waiter| waiter.rank.class), *id))
        .collect();
    let mut holders = Vec::new();
    let waits_for: Vec<Vec<usize>> = waiting
        .iter()
        .map(|(node, _)| {
            holders.clear();
            arrows_of(latched, node, Arrows::ToHolders, &mut holders);
            holders.iter().filter_map(place_of).collect()
        })
        .collect();
    let Some(order) = reorder::order(&waits_for, &arrival) else { return false };
    let mut places: Vec<(usize, usize)> = waiting.iter().map(|(_, (shard, place, _))| (*shard, *place)).collect();
    places.sort_unstable();
    places.dedup();
    for (shard, place) in places {
        let here = |&&index: &&usize| (waiting[index].1.0, waiting[index].1.1) == (shard, place);
        let first: Vec<WaiterId> = order.iter().filter(here).map(|&index| waiting[index].1.2).collect();
        let Some(shard) = latched.get_mut(shard) else { continue };
        let keyspace = &mut shard.keyspaces[place];
        let claims: Vec<Claim> =
            first.iter().filter_map(|&id| keyspace.queue.get(id)).map(|waiter| waiter.claim.clone()).collect();
        keyspace.queue.reorder(&first);
        claims.iter().for_each(|claim| keyspace.wake(&claim.target.span(), look.rules));
    }
    true
}

fn report_of(latched: &Latched<'_, '_>, cycle: &[Node], victim: TxnId, look: &mut Look<'_, '_>) -> DeadlockReport {
    let now = look.rules.now();
    let nexts = cycle.iter().cycle().skip(1);
    let members = cycle.iter().zip(nexts).map(|(node, next)| member_of(latched, &node.0, &next.0, now)).collect();
    DeadlockReport {
        number: (look.next_number)(),
        at: now,
        found_after: now.saturating_sub(look.since),
        members,
        victim,
        policy: look.policy,
        reason: DeadlockReason::Cycle,
        why: String::new(),
    }
}

pub(super) fn member_of(
    latched: &Latched<'_, '_>,
    owner: &Arc<Owner>,
    next: &Arc<Owner>,
    now: Duration,
) -> DeadlockMember {
    let at = owner.waiting_in().and_then(|(shard, place, id)| {
        let keyspace = &latched.get(shard)?.keyspaces[place];
        Some((keyspace, keyspace.queue.get(id)?))
    });
    let facts = at.map(|(_, waiter)| waiter.facts.clone()).unwrap_or_default();
    DeadlockMember {
        txn: owner.info(now),
        lock_count: facts.lock_count,
        write_count: facts.write_count,
        waits_for: at.map(|(keyspace, waiter)| waiter.claim.describe(keyspace.id)),
        waited: at.map_or(Duration::ZERO, |(_, waiter)| now.saturating_sub(waiter.since)),
        blocked_by: at.and_then(|(keyspace, waiter)| lock_in_the_way(keyspace, waiter, next)),
        last_operations: facts.last_operations.iter().map(|(keyspace, claim)| claim.describe(*keyspace)).collect(),
    }
}

/// The lock of `holder` that is in the way of the waiter.
fn lock_in_the_way(keyspace: &Keyspace, waiter: &Waiter, holder: &Owner) -> Option<LockClaim> {
    let mut found = None;
    keyspace.table.each_in_the_way(waiter.member, &waiter.claim, &mut |member, target, held| {
        if keyspace.table.members.owner(member).id == holder.id {
            found = Some(describe_held(keyspace, target, held));
        }
        found.is_none()
    });
    found
}

pub(super) fn describe_held(
    keyspace: &Keyspace,
    target: HeldTarget<'_>,
    (strength, op): (duramen_base::LockStrength, duramen_base::LockOp),
) -> LockClaim {
    Claim { target: target.to_target(), strength, op }.describe(keyspace.id)
}
