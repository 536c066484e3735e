//! Who waits for locks of one keyspace, in which order.
//!
//! A plain structure under its owner's mutex. It knows the order and who overlaps whom; what a waiter is in conflict with among
//! holders is for `table.rs`, and who is woken for `grant.rs`.
//!
//! U1  Waiters that do not go together are granted in the order of their `Rank`: upgrades first, then by arrival.
//! U2  A waiter is listed under its key, or among the wide ones, by rank.

use std::collections::BTreeMap;
use std::time::Duration;

use duramen_base::sync::Arc;
use duramen_base::{KeyspaceId, LockStrength};

use super::claim::{Claim, Span, Target};
use super::members::Member;
use super::owner::Owner;
use crate::key::Key;

/// Names a waiter of a database, for ever.
pub(super) type WaiterId = u64;

/// Place in the order of waiting: class 0 goes before class 1, then whoever came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) class: u8,
    pub(super) number: u64,
}

impl Rank {
    /// Behind everybody.
    pub(super) const LAST: Rank = Rank { class: u8::MAX, number: u64::MAX };
}

/// What a report tells about a waiting transaction beside its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) lock_count: usize,
    pub(super) write_count: u64,
    /// Its last requests, oldest first.
    pub(super) last_operations: Vec<(KeyspaceId, Claim)>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) owner: Arc<Owner>,
    pub(super) member: Member,
    pub(super) claim: Claim,
    pub(super) rank: Rank,
    pub(super) since: Duration,
    /// Circles through it were looked for when it began to wait.
    pub(super) searched: bool,
    /// Woken, and has not tried since.
    pub(super) woken: bool,
    pub(super) facts: Facts,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: BTreeMap<WaiterId, Waiter>,
    by_key: BTreeMap<Key, Vec<(Rank, WaiterId)>>,
    /// Those who wait for a range, or for the whole keyspace.
    wide: Vec<(Rank, WaiterId)>,
    arrivals: u64,
}

impl Queue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The number of the next one to come.
    pub(super) fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    pub(super) fn insert(&mut self, id: WaiterId, waiter: Waiter) {
        let entry = (waiter.rank, id);
        let list = match &waiter.claim.target {
            Target::Key(key) => self.by_key.entry(key.clone()).or_default(),
            Target::Range(_) | Target::Whole => &mut self.wide,
        };
        list.insert(list.partition_point(|other| *other < entry), entry);
        self.waiters.insert(id, waiter);
    }

    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        match &waiter.claim.target {
            Target::Key(key) => {
                let list = self.by_key.get_mut(&**key).expect("U2: a waiter is listed");
                list.retain(|(_, other)| *other != id);
                if list.is_empty() {
                    self.by_key.remove(&**key);
                }
            }
            Target::Range(_) | Target::Whole => self.wide.retain(|(_, other)| *other != id),
        }
        Some(waiter)
    }

    pub(super) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: WaiterId) -> Option<&mut Waiter> {
        self.waiters.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.waiters.iter().map(|(id, waiter)| (*id, waiter))
    }

    /// Waiters whose claims overlap `span`, by rank.
    pub(super) fn overlapping(&self, span: &Span<'_>) -> Vec<(Rank, WaiterId)> {
        let mut found: Vec<(Rank, WaiterId)> = if span.is_key() {
            self.by_key.get(span.low).cloned().unwrap_or_default()
        } else {
            self.by_key.range::<[u8], _>(span.bounds()).flat_map(|(_, list)| list).copied().collect()
        };
        let narrow = found.len();
        found.extend(self.wide_overlapping(span));
        if !span.is_key() || found.len() > narrow {
            found.sort_unstable();
        }
        found
    }

    /// Waiters for ranges and the whole keyspace that overlap `span`, by rank.
    pub(super) fn wide_overlapping<'a>(&'a self, span: &'a Span<'a>) -> impl Iterator<Item = (Rank, WaiterId)> + 'a {
        self.wide.iter().copied().filter(|(_, id)| self.waiters[id].claim.target.span().overlaps(span))
    }

    /// Keys inside `span` that somebody waits for.
    pub(super) fn keys(&self, span: &Span<'_>) -> Vec<Key> {
        self.by_key.range::<[u8], _>(span.bounds()).map(|(key, _)| key.clone()).collect()
    }

    /// The first waiter before `rank` that does not go with the claim and that `wanted` accepts.
    pub(super) fn first_in_conflict(
        &self,
        claim: &Claim,
        rank: Rank,
        mut wanted: impl FnMut(WaiterId, &Waiter) -> bool,
    ) -> Option<WaiterId> {
        let span = claim.target.span();
        let mut accept = |(other_rank, id): &(Rank, WaiterId)| {
            let waiter = &self.waiters[id];
            *other_rank < rank && waiter.claim.conflicts(claim) && wanted(*id, waiter)
        };
        let narrow = if span.is_key() {
            self.by_key.get(span.low).and_then(|list| list.iter().find(|entry| accept(entry))).copied()
        } else {
            self.by_key
                .range::<[u8], _>(span.bounds())
                .filter_map(|(_, list)| list.iter().find(|entry| accept(entry)))
                .min()
                .copied()
        };
        let wide = self.wide.iter().find(|entry| accept(entry)).copied();
        narrow.into_iter().chain(wide).min().map(|(_, id)| id)
    }

    /// The waiters that `id` stands behind and does not go with: not all of them, but all others are behind those in the same way,
    /// one by one. So who follows these arrows reaches the same ones.
    ///
    /// Walking back through the queue of one key, an exclusive claim ends the walk: everybody before it stands before it too. An
    /// update claim ends it for one that asks for update, since what is in its way was in the way of the other.
    pub(super) fn in_front_of(&self, id: WaiterId, mut visit: impl FnMut(&Waiter)) {
        let waiter = &self.waiters[&id];
        let (claim, rank) = (&waiter.claim, waiter.rank);
        let mut walk = |list: &[(Rank, WaiterId)], of_one_key: bool| {
            let end = list.partition_point(|entry| entry.0 < rank);
            for (_, other) in list[..end].iter().rev() {
                let other = &self.waiters[other];
                if other.claim.conflicts(claim) {
                    visit(other);
                }
                if ends_the_walk(&other.claim, claim, of_one_key) {
                    break;
                }
            }
        };
        walk(&self.wide, false);
        match &claim.target {
            Target::Key(key) => walk(self.by_key.get(&**key).map_or(&[], |list| list), true),
            Target::Range(_) | Target::Whole => {
                self.by_key.range::<[u8], _>(claim.target.span().bounds()).for_each(|(_, list)| walk(list, true));
            }
        }
    }

    /// Gives `first` the best ranks, in this order, and keeps the order of all others behind them.
    pub(super) fn reorder(&mut self, first: &[WaiterId]) {
        let mut others: Vec<(Rank, WaiterId)> =
            self.iter().filter(|(id, _)| !first.contains(id)).map(|(id, waiter)| (waiter.rank, id)).collect();
        others.sort_unstable();
        let ranked: Vec<(Rank, WaiterId)> = first
            .iter()
            .map(|&id| (0, id))
            .chain(others.iter().map(|(rank, id)| (rank.class, *id)))
            .zip(1..)
            .map(|((class, id), number)| (Rank { class, number }, id))
            .collect();
        self.arrivals = self.arrivals.max(ranked.len() as u64);
        for (rank, id) in ranked {
            if let Some(mut waiter) = self.remove(id) {
                waiter.rank = rank;
                self.insert(id, waiter);
            }
        }
    }

    /// Checks U2 from scratch.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn check(&self) {
        let listed = self.by_key.values().map(Vec::len).sum::<usize>() + self.wide.len();
        assert_eq!(listed, self.waiters.len(), "U2");
        for list in self.by_key.values().chain([&self.wide]) {
            assert!(list.is_sorted() && list.iter().all(|(rank, id)| self.waiters[id].rank == *rank), "U2: {list:?}");
        }
    }
}

/// Whether everything in the same list that is in front of `other`, and in the way of `claim`, is in the way of `other` too. In the list
/// of one key that needs only a strong claim; among ranges, also one that covers all of `claim`.
fn ends_the_walk(other: &Claim, claim: &Claim, of_one_key: bool) -> bool {
    let same_place =
        of_one_key || other.is_whole() == claim.is_whole() && other.target.span().contains(&claim.target.span());
    let as_strong = other.strength == LockStrength::Exclusive
        || other.strength == LockStrength::Update && claim.strength == LockStrength::Update;
    same_place && as_strong
}
