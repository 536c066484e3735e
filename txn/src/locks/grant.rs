//! The locks of one keyspace and the requests that wait for them: who is granted, who is woken.
//!
//! Pure decisions under the owner's latch: it is told the time, never sleeps, and wakes by notifying a condition variable.
//!
//! G1  Every grant, hand-over and upgrade included, passes the same test against holders; so no path lets a phantom in.
//! G2  A request that no holder is in the way of may pass sleeping waiters, until one of them that it does not go with is overdue. An
//!     upgrade is so from the beginning: who shares the key with it would be in its way, and want the same in the end.
//! G3  A waiter that could go on is granted or woken, unless it does not go with one before it that is woken or overdue. It holds
//!     after every call. An overdue one is granted directly.
//! G4  A waiter is settled once: granted, or chosen as a victim, or it leaves.

use std::time::Duration;

use duramen_base::sync::Arc;
use duramen_base::{DeadlockReport, KeyspaceId, LockMode, LockStrength, mutant};

use super::claim::{Claim, Span, Target, are_compatible};
use super::members::Member;
use super::queue::{Facts, Queue, Rank, Waiter, WaiterId};
use super::table::{Found, HeldTarget, Table};
use crate::key::Key;

/// How long a waiter may be passed. From then on nobody passes it, and a release hands over to it.
pub(super) const OVERDUE_AFTER: Duration = Duration::from_millis(1);

/// In which order waiters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Upgrades first, then by arrival (G2).
    Arrival,
    /// Older transactions first, and nobody passes an older one: wound-wait.
    Age,
}

/// What a decision depends on beside the table. The clock is asked once, and only if somebody waits.
pub(super) struct Rules<'a> {
    pub(super) order: Order,
    clock: &'a dyn Fn() -> Duration,
    now: Option<Duration>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(order: Order, clock: &'a dyn Fn() -> Duration) -> Rules<'a> {
        Rules { order, clock, now: None }
    }

    pub(super) fn now(&mut self) -> Duration {
        *self.now.get_or_insert_with(self.clock)
    }

    /// Whether `waiter` may not be passed any more by one that comes behind it.
    fn is_overdue(&mut self, waiter: &Waiter) -> bool {
        match self.order {
            Order::Arrival => waiter.rank.class == 0 || self.now().saturating_sub(waiter.since) >= OVERDUE_AFTER,
            Order::Age => true,
        }
    }
}

/// How waiting ended (G4).
#[derive(Debug)]
pub(super) enum Settled {
    Granted(Found),
    Victim(Box<DeadlockReport>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keyspace {
    pub(super) id: KeyspaceId,
    pub(super) table: Table,
    pub(super) queue: Queue,
    settled: Vec<(WaiterId, Settled)>,
}

impl Keyspace {
    pub(super) fn new(id: KeyspaceId) -> Keyspace {
        Keyspace { id, table: Table::default(), queue: Queue::default(), settled: Vec::new() }
    }

    /// Grants the claim at once, or says who is in the way: a holder, or a waiter that is overdue.
    #[inline]
    pub(super) fn request(&mut self, member: Member, claim: &Claim, rules: &mut Rules<'_>) -> Found {
        if !self.queue.is_empty() && self.gives_way(member, claim, rules) {
            return Found::InTheWay;
        }
        self.table.request(member, claim)
    }

    #[cold]
    fn gives_way(&mut self, member: Member, claim: &Claim, rules: &mut Rules<'_>) -> bool {
        if self.table.holds_as_much(member, claim) {
            return false;
        }
        let rank = match rules.order {
            Order::Arrival if self.table.holds_part_of(member, claim) => Rank { class: 0, number: u64::MAX },
            Order::Arrival => Rank::LAST,
            Order::Age => Rank { class: 0, number: self.table.members.owner(member).ticket.number },
        };
        self.queue.first_in_conflict(claim, rank, |_, waiter| rules.is_overdue(waiter)).is_some()
    }

    /// Puts a request that was not granted into the queue.
    pub(super) fn enqueue(&mut self, id: WaiterId, member: Member, claim: Claim, facts: Facts, rules: &mut Rules<'_>) {
        let owner = Arc::clone(self.table.members.owner(member));
        let rank = match rules.order {
            Order::Arrival => {
                let upgrade = self.table.holds_part_of(member, &claim) && !mutant!("upgrade_at_the_end");
                Rank { class: u8::from(!upgrade), number: self.queue.next_arrival() }
            }
            Order::Age => Rank { class: 0, number: owner.ticket.number },
        };
        let since = rules.now();
        self.queue.insert(id, Waiter { owner, member, claim, rank, since, searched: false, woken: false, facts });
    }

    /// Grants what the waiter asked for and ends its waiting, or says no and lets it sleep on.
    pub(super) fn try_waiter(&mut self, id: WaiterId, rules: &mut Rules<'_>) -> Option<Found> {
        let waiter = self.queue.get(id).expect("G4: it is still waiting");
        let behind =
            self.queue.first_in_conflict(&waiter.claim, waiter.rank, |_, other| rules.is_overdue(other)).is_some();
        if behind || self.table.is_in_the_way(waiter.member, &waiter.claim) {
            let waiter = self.queue.get_mut(id).expect("found above");
            waiter.woken = false;
            // Somebody was faster. While it was woken, later waiters gave way to it: look again (G3).
            let target = waiter.claim.target.clone();
            if !mutant!("lose_the_wake_of_a_queue") {
                self.wake(&target.span(), rules);
            }
            return None;
        }
        Some(self.grant(id))
    }

    /// The waiter gives up.
    pub(super) fn leave(&mut self, id: WaiterId, rules: &mut Rules<'_>) {
        if let Some(waiter) = self.queue.remove(id) {
            waiter.owner.end_waiting();
            if !mutant!("lose_the_wake_of_a_queue") {
                self.wake(&waiter.claim.target.span(), rules);
            }
        }
    }

    /// The waiter is chosen as a victim: it leaves, and will find the report.
    pub(super) fn give_up(&mut self, id: WaiterId, report: Box<DeadlockReport>, rules: &mut Rules<'_>) {
        let Some(waiter) = self.queue.get(id) else { return };
        let owner = Arc::clone(&waiter.owner);
        self.leave(id, rules);
        self.settled.push((id, Settled::Victim(report)));
        owner.wake.notify_one();
    }

    /// How the waiting of `id` ended, if it was ended by somebody else.
    pub(super) fn take_settled(&mut self, id: WaiterId) -> Option<Settled> {
        let place = self.settled.iter().position(|(other, _)| *other == id)?;
        Some(self.settled.swap_remove(place).1)
    }

    /// Something in `span` became free: grants and wakes who can go on (G3).
    pub(super) fn wake(&mut self, span: &Span<'_>, rules: &mut Rules<'_>) {
        if self.queue.is_empty() {
            return;
        }
        if span.is_key() {
            self.wake_at(&Key::from(span.low), rules);
            return;
        }
        for key in self.queue.keys(span) {
            self.wake_at(&key, rules);
        }
        let wide: Vec<(Rank, WaiterId)> = self.queue.wide_overlapping(span).collect();
        for (_, id) in wide {
            self.wake_wide(id, rules);
        }
    }

    /// A transaction has nothing to do with the keyspace any more: its intents fell.
    pub(super) fn leave_member(&mut self, member: Member, rules: &mut Rules<'_>) {
        self.table.members.leave(member);
        if self.queue.is_empty() {
            return;
        }
        let wide: Vec<(Rank, WaiterId)> = self.queue.wide_overlapping(&Span::ALL).collect();
        for (_, id) in wide {
            self.wake_wide(id, rules);
        }
    }

    /// As [`Keyspace::wake`] for one key. Going through its waiters by rank, it keeps in mind what stands before the next one.
    fn wake_at(&mut self, key: &Key, rules: &mut Rules<'_>) {
        let waiting = self.queue.overlapping(&Span::key(key));
        let mut ahead: Vec<LockStrength> = Vec::new();
        let mut wide_ahead: Vec<Claim> = Vec::new();
        for (_, id) in waiting {
            let Some(waiter) = self.queue.get(id) else { continue };
            if !matches!(waiter.claim.target, Target::Key(_)) {
                let claim = waiter.claim.clone();
                self.wake_wide(id, rules);
                if self.queue.get(id).is_some_and(|waiter| waiter.woken || rules.is_overdue(waiter)) {
                    wide_ahead.push(claim);
                }
                continue;
            }
            let strength = waiter.claim.strength;
            let gives_way = ahead.iter().any(|&other| !are_compatible(other, strength))
                || wide_ahead.iter().any(|other| other.conflicts(&waiter.claim));
            let goes_on = !gives_way && self.is_free_for(waiter);
            let stays = !goes_on || !self.wake_or_grant(id, rules);
            let blocks = stays && self.queue.get(id).is_some_and(|waiter| waiter.woken || rules.is_overdue(waiter));
            if blocks && !ahead.contains(&strength) {
                ahead.push(strength);
            }
            if ahead.contains(&LockStrength::Exclusive) || self.table.is_held_exclusively(key) {
                break; // All that follow overlap this key, and so does what stands before them.
            }
        }
    }

    fn wake_wide(&mut self, id: WaiterId, rules: &mut Rules<'_>) {
        let Some(waiter) = self.queue.get(id) else { return };
        let mut blocks = |_, other: &Waiter| other.woken || rules.is_overdue(other);
        if !waiter.woken
            && self.is_free_for(waiter)
            && self.queue.first_in_conflict(&waiter.claim, waiter.rank, &mut blocks).is_none()
        {
            self.wake_or_grant(id, rules);
        }
    }

    fn is_free_for(&self, waiter: &Waiter) -> bool {
        if mutant!("stale_upgrade") && waiter.rank.class == 0 {
            return true;
        }
        if mutant!("phantom_by_hand_over") {
            return self.table.each_in_the_way(waiter.member, &waiter.claim, &mut |_, target, _| {
                matches!(target, HeldTarget::Range(_))
            });
        }
        !self.table.is_in_the_way(waiter.member, &waiter.claim)
    }

    /// Wakes the waiter that nobody is in the way of, or grants at once what it has waited for long enough. Whether it was granted.
    fn wake_or_grant(&mut self, id: WaiterId, rules: &mut Rules<'_>) -> bool {
        let waiter = self.queue.get_mut(id).expect("looked up by the caller");
        let owner = Arc::clone(&waiter.owner);
        if rules.is_overdue(waiter) {
            let granted = self.grant(id);
            self.settled.push((id, Settled::Granted(granted)));
            owner.wake.notify_one();
            return true;
        }
        if !std::mem::replace(&mut waiter.woken, true) {
            owner.wake.notify_one();
        }
        false
    }

    /// Ends the waiting of one that nobody is in the way of (G1).
    fn grant(&mut self, id: WaiterId) -> Found {
        let waiter = self.queue.remove(id).expect("G4: it is still waiting");
        waiter.owner.end_waiting();
        let found = self.table.request(waiter.member, &waiter.claim);
        if found == Found::InTheWay && (mutant!("phantom_by_hand_over") || mutant!("stale_upgrade")) {
            return Found::Granted { raised_from: Some(LockMode::Shared) };
        }
        assert!(found != Found::InTheWay, "G1: nobody is in the way of {:?}", waiter.claim);
        found
    }

    /// Whether nobody holds or wants anything here.
    pub(super) fn is_idle(&self) -> bool {
        self.table.members.is_empty()
    }

    /// Checks the invariants of all parts, and G3, from scratch.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn check(&self, rules: &mut Rules<'_>) {
        self.table.check();
        self.queue.check();
        for (id, waiter) in self.queue.iter() {
            if waiter.woken || self.table.is_in_the_way(waiter.member, &waiter.claim) {
                continue;
            }
            let before = |_, other: &Waiter| other.woken || rules.is_overdue(other);
            let gives_way = self.queue.first_in_conflict(&waiter.claim, waiter.rank, before).is_some();
            assert!(gives_way, "G3: waiter {id} sleeps for nothing: {waiter:?}");
        }
    }
}
