//! Who holds what in one keyspace.
//!
//! A plain structure under its owner's mutex: it answers who is in the way, and takes notes. It knows no waiter and grants
//! nothing by itself.
//!
//! H1  Holders of one place are pairwise compatible, transactions being compatible with themselves.
//! H2  A key is in `exclusive` or in `shared`, not in both: a transaction that holds it exclusively is the only one.
//! H3  Looking for somebody in the way costs no more than logarithmic time in what others hold, unless it finds one.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_base::{LockMode, LockOp, LockStrength};

use super::claim::{Claim, KeyRange, Span, Target, intent};
use super::intervals::Intervals;
use super::members::{Member, Members};
use super::points::Points;
use crate::key::Key;

/// One lock of one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) member: Member,
    pub(super) mode: LockMode,
    pub(super) op: LockOp,
    /// Whether the program learned nothing under it.
    pub(super) blind: bool,
}

const _: () = assert!(size_of::<Hold>() == 8, "a lock names its holder in few bytes");

/// How many ranges that overlap a request are looked at, to see whether one of the transaction's own covers it. Missing it only
/// costs another lock.
const OWN_RANGE_LOOKS_MAX: usize = 16;

/// Holders of a key that share it: nearly always one.
#[derive(Debug)]
enum Sharers {
    One(Hold),
    /// At least one of them holds in Update mode, if `update` says so.
    Many {
        holds: BTreeMap<Member, Hold>,
        update: Option<Member>,
    },
}

/// Called with a holder, and the lock it holds; whether to go on.
pub(super) type Visit<'a> = dyn FnMut(Member, HeldTarget<'_>, (LockStrength, LockOp)) -> bool + 'a;

/// What a request found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody is in the way; it is noted. What the transaction held on that very key before, if anything.
    Granted { raised_from: Option<LockMode> },
    /// The transaction holds as much already.
    Held,
    /// Somebody else holds something that does not go with it.
    InTheWay,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    exclusive: Points<Hold>,
    shared: Points<Sharers>,
    shared_ranges: Intervals<Hold>,
    exclusive_ranges: Intervals<Hold>,
    pub(super) members: Members,
}

impl Sharers {
    fn get(&self, member: Member) -> Option<&Hold> {
        match self {
            Sharers::One(hold) => (hold.member == member).then_some(hold),
            Sharers::Many { holds, .. } => holds.get(&member),
        }
    }

    fn updater(&self) -> Option<Member> {
        match self {
            Sharers::One(hold) => (hold.mode == LockMode::Update).then_some(hold.member),
            Sharers::Many { update, .. } => *update,
        }
    }

    fn is_only(&self, member: Member) -> bool {
        match self {
            Sharers::One(hold) => hold.member == member,
            Sharers::Many { holds, .. } => holds.len() == 1 && holds.contains_key(&member),
        }
    }

    fn set(&mut self, hold: Hold) {
        match self {
            Sharers::One(only) if only.member == hold.member => *only = hold,
            Sharers::One(only) => {
                let update = [*only, hold].iter().find(|hold| hold.mode == LockMode::Update).map(|hold| hold.member);
                *self = Sharers::Many { holds: BTreeMap::from([(only.member, *only), (hold.member, hold)]), update };
            }
            Sharers::Many { holds, update } => {
                if hold.mode == LockMode::Update {
                    *update = Some(hold.member);
                } else if *update == Some(hold.member) {
                    *update = None;
                }
                holds.insert(hold.member, hold);
            }
        }
    }

    /// Whether nobody is left.
    fn remove(&mut self, member: Member) -> bool {
        match self {
            Sharers::One(hold) => hold.member == member,
            Sharers::Many { holds, update } => {
                holds.remove(&member);
                if *update == Some(member) {
                    *update = None;
                }
                holds.is_empty()
            }
        }
    }

    fn each(&self, mut visit: impl FnMut(&Hold) -> bool) -> bool {
        match self {
            Sharers::One(hold) => visit(hold),
            Sharers::Many { holds, .. } => holds.values().all(visit),
        }
    }
}

impl Table {
    /// Grants the claim if no holder is in the way.
    #[inline]
    pub(super) fn request(&mut self, member: Member, claim: &Claim) -> Found {
        let as_intent = intent(claim.strength);
        match &claim.target {
            _ if self.is_covered(member, claim) => Found::Held,
            Target::Key(key) => {
                let exclusive = claim.strength == LockStrength::Exclusive;
                if self.members.is_in_the_way(member, as_intent) || self.is_range_in_the_way(member, key, exclusive) {
                    return Found::InTheWay;
                }
                let found = match mode_of(claim.strength) {
                    LockMode::Exclusive => self.request_exclusive(member, key, claim.op),
                    mode @ (LockMode::Shared | LockMode::Update) => self.request_shared(member, key, mode, claim.op),
                };
                if matches!(found, Found::Granted { .. }) {
                    self.members.raise_intent(member, as_intent);
                }
                found
            }
            Target::Range(_) | Target::Whole if self.is_in_the_way(member, claim) => Found::InTheWay,
            Target::Range(range) => {
                self.insert_range(member, range, claim);
                self.members.raise_intent(member, as_intent);
                Found::Granted { raised_from: None }
            }
            Target::Whole => {
                match claim.strength {
                    LockStrength::IntentShared | LockStrength::IntentExclusive => {
                        self.members.raise_intent(member, claim.strength);
                    }
                    strength @ (LockStrength::Shared | LockStrength::Update | LockStrength::Exclusive) => {
                        self.members.set_whole(member, Some(strength));
                    }
                }
                Found::Granted { raised_from: None }
            }
        }
    }

    fn insert_range(&mut self, member: Member, range: &Arc<KeyRange>, claim: &Claim) {
        let hold = Hold { member, mode: mode_of(claim.strength), op: claim.op, blind: claim.op.is_blind() };
        self.ranges_of(claim.strength).insert(Arc::clone(range), hold);
    }

    fn ranges_of(&mut self, strength: LockStrength) -> &mut Intervals<Hold> {
        match mode_of(strength) {
            LockMode::Shared => &mut self.shared_ranges,
            LockMode::Update | LockMode::Exclusive => &mut self.exclusive_ranges,
        }
    }

    fn request_exclusive(&mut self, member: Member, key: &Key, op: LockOp) -> Found {
        let mut raised_from = None;
        if let Some(sharers) = self.shared.get(key) {
            if !sharers.is_only(member) {
                return Found::InTheWay;
            }
            raised_from = sharers.get(member).map(|hold| hold.mode);
            self.shared.remove_if(key, |_| true);
        }
        let hold = Hold { member, mode: LockMode::Exclusive, op, blind: op.is_blind() };
        match self.exclusive.get_or_insert(key, hold) {
            None => Found::Granted { raised_from },
            Some(held) if held.member == member => {
                held.blind &= op.is_blind();
                Found::Held
            }
            Some(_) => Found::InTheWay,
        }
    }

    fn request_shared(&mut self, member: Member, key: &Key, mode: LockMode, op: LockOp) -> Found {
        if let Some(hold) = self.exclusive.get_mut(key) {
            if hold.member != member {
                return Found::InTheWay;
            }
            hold.blind &= op.is_blind();
            return Found::Held;
        }
        let hold = Hold { member, mode, op, blind: op.is_blind() };
        let Some(sharers) = self.shared.get_or_insert(key, Sharers::One(hold)) else {
            return Found::Granted { raised_from: None };
        };
        let own = sharers.get(member).map(|hold| hold.mode);
        if own.is_some_and(|own| own.covers(mode)) {
            return Found::Held;
        }
        if mode == LockMode::Update && sharers.updater().is_some() {
            return Found::InTheWay;
        }
        sharers.set(hold);
        Found::Granted { raised_from: own }
    }

    /// Whether another's range covers the key and does not go with it.
    fn is_range_in_the_way(&self, member: Member, key: &Key, exclusive: bool) -> bool {
        let span = Span::key(key);
        let by_another = |ranges: &Intervals<Hold>| {
            let mut found = false;
            if !ranges.is_empty() {
                ranges.overlapping(&span, |_, hold| {
                    found = hold.member != member;
                    !found
                });
            }
            found
        };
        by_another(&self.exclusive_ranges) || exclusive && by_another(&self.shared_ranges)
    }

    /// Whether a lock of the member on the whole keyspace, or on one range, is enough for the claim. One under which nothing was
    /// returned is not, if now something is: it may be undone.
    fn is_covered(&self, member: Member, claim: &Claim) -> bool {
        let shared = claim.strength == LockStrength::Shared || claim.strength == LockStrength::IntentShared;
        if let Some(whole) = self.members.whole(member)
            && (shared || whole == LockStrength::Exclusive)
        {
            return true;
        }
        let span = claim.target.span();
        let is_inside = |ranges: &Intervals<Hold>| {
            let (mut found, mut looks) = (false, 0);
            ranges.overlapping(&span, |range, hold| {
                looks += 1;
                let enough = !hold.blind || claim.op.is_blind();
                found = hold.member == member && enough && range.span().contains(&span);
                !found && looks < OWN_RANGE_LOOKS_MAX
            });
            found
        };
        let mut trees = [&self.exclusive_ranges, &self.shared_ranges].into_iter().take(if shared { 2 } else { 1 });
        !claim.is_whole() && trees.any(|ranges| !ranges.is_empty() && is_inside(ranges))
    }

    /// Whether the member needs nothing more for the claim.
    pub(super) fn holds_as_much(&self, member: Member, claim: &Claim) -> bool {
        let on_key = match &claim.target {
            Target::Key(key) => self.hold_on(key, member).is_some_and(|hold| hold.mode.covers(mode_of(claim.strength))),
            Target::Range(_) | Target::Whole => false,
        };
        on_key || self.is_covered(member, claim)
    }

    /// What the member holds on the key itself.
    fn hold_on(&self, key: &Key, member: Member) -> Option<&Hold> {
        let exclusive = self.exclusive.get(key).filter(|hold| hold.member == member);
        exclusive.or_else(|| self.shared.get(key)?.get(member))
    }

    /// Whether the member holds a key or a range that shares a key with the claim: then the claim is an upgrade.
    pub(super) fn holds_part_of(&self, member: Member, claim: &Claim) -> bool {
        if self.members.whole(member).is_some() {
            return true;
        }
        let span = claim.target.span();
        let mut found = match &claim.target {
            Target::Key(key) => self.hold_on(key, member).is_some(),
            Target::Range(_) | Target::Whole => {
                self.exclusive.range(span.bounds()).any(|(_, hold)| hold.member == member)
                    || self.shared.range(span.bounds()).any(|(_, sharers)| sharers.get(member).is_some())
            }
        };
        for ranges in [&self.shared_ranges, &self.exclusive_ranges] {
            ranges.overlapping(&span, |_, hold| {
                found |= hold.member == member;
                !found
            });
        }
        found
    }

    /// Whether another transaction holds something that does not go with the claim.
    pub(super) fn is_in_the_way(&self, member: Member, claim: &Claim) -> bool {
        !self.each_in_the_way(member, claim, &mut |_, _, _| false)
    }

    /// Shows every lock of another transaction that does not go with the claim, as long as `visit` answers true; whether it always did.
    pub(super) fn each_in_the_way(&self, member: Member, claim: &Claim, visit: &mut Visit<'_>) -> bool {
        if claim.is_whole() {
            return self.members.each_in_the_way(member, claim.strength, |other, held| {
                visit(other, HeldTarget::Whole, (held, LockOp::Lock))
            });
        }
        let exclusive = claim.strength == LockStrength::Exclusive;
        self.members.each_in_the_way(member, intent(claim.strength), |other, held| {
            // Other members' intents go with ours; what is in the way is a lock on the whole keyspace.
            visit(other, HeldTarget::Whole, (held, LockOp::Lock))
        }) && self.each_key_in_the_way(member, claim, visit)
            && each_range_in_the_way(&self.exclusive_ranges, member, claim, visit)
            && (!exclusive || each_range_in_the_way(&self.shared_ranges, member, claim, visit))
    }

    fn each_key_in_the_way(&self, member: Member, claim: &Claim, visit: &mut Visit<'_>) -> bool {
        let bounds = claim.target.span().bounds();
        let mut show =
            |key: &Key, hold: &Hold| hold.member == member || visit(hold.member, HeldTarget::Key(key), hold.shown());
        if !self.exclusive.range(bounds).all(|(key, hold)| show(key, hold)) {
            return false;
        }
        match claim.strength {
            LockStrength::Shared | LockStrength::IntentShared | LockStrength::IntentExclusive => true,
            LockStrength::Update => self.shared.range(bounds).all(|(key, sharers)| {
                let hold = sharers.updater().and_then(|updater| sharers.get(updater));
                hold.is_none_or(|hold| show(key, hold))
            }),
            LockStrength::Exclusive => {
                self.shared.range(bounds).all(|(key, sharers)| sharers.each(|hold| show(key, hold)))
            }
        }
    }

    /// Takes a lock away.
    pub(super) fn remove(&mut self, member: Member, target: &Target, strength: LockStrength) {
        match target {
            Target::Key(key) => {
                if !self.exclusive.remove_if(key, |hold| hold.member == member) {
                    self.shared.remove_if(key, |sharers| sharers.remove(member));
                }
            }
            Target::Range(range) => {
                let gone = self.ranges_of(strength).remove(range, |hold| hold.member == member);
                debug_assert!(gone.is_some(), "H1: only what is held is released");
            }
            Target::Whole => self.members.set_whole(member, None),
        }
    }

    /// Whether the program learned nothing under this lock of the member.
    pub(super) fn is_blind(&self, member: Member, target: &Target) -> bool {
        match target {
            Target::Key(key) => self.hold_on(key, member).is_some_and(|hold| hold.blind),
            Target::Range(range) => {
                let mut blind = false;
                self.exclusive_ranges.overlapping(&range.span(), |other, hold| {
                    let same = hold.member == member && **other == **range;
                    blind |= same && hold.blind;
                    !same
                });
                blind
            }
            Target::Whole => false,
        }
    }

    /// Sets the lock of the member on `key` to a weaker mode.
    pub(super) fn weaken(&mut self, member: Member, key: &Key, mode: LockMode) {
        let Some(hold) = self.hold_on(key, member).copied() else { return };
        if !hold.mode.covers(mode) || hold.mode == mode {
            return;
        }
        let hold = Hold { mode, blind: false, ..hold };
        self.exclusive.remove_if(key, |hold| hold.member == member);
        if let Some(sharers) = self.shared.get_or_insert(key, Sharers::One(hold)) {
            sharers.set(hold);
        }
    }

    /// Every lock, for a snapshot of the table.
    pub(super) fn each(&self, mut visit: impl FnMut(Member, HeldTarget<'_>, (LockStrength, LockOp))) {
        for (member, strength) in self.members.holders_of_whole() {
            visit(member, HeldTarget::Whole, (strength, LockOp::Lock));
        }
        for (key, hold) in self.exclusive.sorted() {
            visit(hold.member, HeldTarget::Key(key), hold.shown());
        }
        for (key, sharers) in self.shared.sorted() {
            sharers.each(|hold| {
                visit(hold.member, HeldTarget::Key(key), hold.shown());
                true
            });
        }
        for ranges in [&self.shared_ranges, &self.exclusive_ranges] {
            ranges.overlapping(&Span::ALL, |range, hold| {
                visit(hold.member, HeldTarget::Range(range), hold.shown());
                true
            });
        }
    }

    /// Whether `key` is held exclusively.
    pub(super) fn is_held_exclusively(&self, key: &[u8]) -> bool {
        self.exclusive.get(key).is_some()
    }

    /// Locks on keys and ranges.
    pub(super) fn len(&self) -> usize {
        let sharers = |sharers: &Sharers| match sharers {
            Sharers::One(_) => 1,
            Sharers::Many { holds, .. } => holds.len(),
        };
        self.exclusive.len()
            + self.shared.values().map(sharers).sum::<usize>()
            + self.shared_ranges.len()
            + self.exclusive_ranges.len()
    }

    /// Checks H1 and H2 from scratch.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn check(&self) {
        self.members.check();
        self.exclusive.check();
        self.shared.check();
        for (key, _) in self.exclusive.sorted() {
            assert!(self.shared.get(key).is_none(), "H2: {key:?}");
        }
        let mut all: Vec<(Member, Claim)> = Vec::new();
        self.each(|member, target, (strength, op)| {
            all.push((member, Claim { target: target.to_target(), strength, op }));
        });
        for (place, (member, claim)) in all.iter().enumerate() {
            for (other_member, other) in &all[..place] {
                assert!(member == other_member || !claim.conflicts(other), "H1: {claim:?} {other:?}");
            }
        }
    }
}

fn each_range_in_the_way(ranges: &Intervals<Hold>, member: Member, claim: &Claim, visit: &mut Visit<'_>) -> bool {
    let mut all = true;
    ranges.overlapping(&claim.target.span(), |range, hold| {
        all = hold.member == member || visit(hold.member, HeldTarget::Range(range), hold.shown());
        all
    });
    all
}

/// What a lock covers, as the table shows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeldTarget<'a> {
    Key(&'a Key),
    Range(&'a Arc<KeyRange>),
    Whole,
}

impl HeldTarget<'_> {
    pub(super) fn to_target(self) -> Target {
        match self {
            HeldTarget::Key(key) => Target::Key(key.clone()),
            HeldTarget::Range(range) => Target::Range(range.clone()),
            HeldTarget::Whole => Target::Whole,
        }
    }
}

impl Hold {
    fn shown(&self) -> (LockStrength, LockOp) {
        (self.mode.into(), self.op)
    }
}

/// The mode of a lock on a key or range.
fn mode_of(strength: LockStrength) -> LockMode {
    match strength {
        LockStrength::Shared | LockStrength::IntentShared => LockMode::Shared,
        LockStrength::Update => LockMode::Update,
        LockStrength::Exclusive | LockStrength::IntentExclusive => LockMode::Exclusive,
    }
}
