//! Which transactions have something to do with a keyspace, and what they hold on the whole of it.
//!
//! Each has a number here, so that a lock names its holder in four bytes. Intents are kept by name, since the wait graph
//! needs the names; the counts beside them only answer fast that there is nobody.
//!
//! E1  `counts` are those of the strengths that members hold.

use duramen_base::LockStrength;
use duramen_base::sync::Arc;

use super::claim::are_compatible;
use super::owner::Owner;

/// A transaction's number in one keyspace.
pub(super) type Member = u32;

#[derive(Debug)]
struct Entry {
    owner: Arc<Owner>,
    /// What its keys and ranges mean for the whole keyspace.
    intent: Option<LockStrength>,
    /// What it holds on the whole keyspace itself.
    whole: Option<LockStrength>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Members {
    entries: Vec<Option<Entry>>,
    free: Vec<Member>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    intent_shared: u32,
    intent_exclusive: u32,
    shared: u32,
    exclusive: u32,
}

impl Counts {
    fn of(&mut self, strength: LockStrength) -> &mut u32 {
        match strength {
            LockStrength::IntentShared => &mut self.intent_shared,
            LockStrength::IntentExclusive => &mut self.intent_exclusive,
            LockStrength::Shared | LockStrength::Update => &mut self.shared,
            LockStrength::Exclusive => &mut self.exclusive,
        }
    }

    fn exchange(&mut self, before: Option<LockStrength>, after: Option<LockStrength>) {
        if let Some(before) = before {
            *self.of(before) -= 1;
        }
        if let Some(after) = after {
            *self.of(after) += 1;
        }
    }
}

impl Members {
    pub(super) fn join(&mut self, owner: Arc<Owner>) -> Member {
        let entry = Some(Entry { owner, intent: None, whole: None });
        match self.free.pop() {
            Some(member) => {
                self.entries[member as usize] = entry;
                member
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Member
            }
        }
    }

    /// Forgets the member and all it held on the whole keyspace.
    pub(super) fn leave(&mut self, member: Member) {
        let entry = self.entries[member as usize].take().expect("only a member leaves");
        self.counts.exchange(entry.intent, None);
        self.counts.exchange(entry.whole, None);
        self.free.push(member);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }

    pub(super) fn owner(&self, member: Member) -> &Arc<Owner> {
        &self.entry(member).owner
    }

    /// What the member holds on the whole keyspace, intents apart.
    pub(super) fn whole(&self, member: Member) -> Option<LockStrength> {
        self.entry(member).whole
    }

    pub(super) fn set_whole(&mut self, member: Member, whole: Option<LockStrength>) {
        let entry = self.entries[member as usize].as_mut().expect("a holder is a member");
        let before = std::mem::replace(&mut entry.whole, whole);
        self.counts.exchange(before, whole);
    }

    /// Notes an intent, unless it holds this or a stronger one.
    #[inline]
    pub(super) fn raise_intent(&mut self, member: Member, intent: LockStrength) {
        let entry = self.entries[member as usize].as_mut().expect("a holder is a member");
        if entry.intent.is_none() || (entry.intent != Some(intent) && intent == LockStrength::IntentExclusive) {
            let before = entry.intent.replace(intent);
            self.counts.exchange(before, Some(intent));
        }
    }

    /// Whether another member holds something on the whole keyspace that does not go with `strength`.
    #[inline]
    pub(super) fn is_in_the_way(&self, member: Member, strength: LockStrength) -> bool {
        let counts = &self.counts;
        let all = [
            (LockStrength::IntentShared, counts.intent_shared),
            (LockStrength::IntentExclusive, counts.intent_exclusive),
            (LockStrength::Shared, counts.shared),
            (LockStrength::Exclusive, counts.exclusive),
        ];
        all.into_iter().any(|(held, count)| {
            if count == 0 || are_compatible(held, strength) {
                return false;
            }
            let entry = self.entry(member);
            let own = u32::from(entry.intent == Some(held)) + u32::from(entry.whole == Some(held));
            count > own
        })
    }

    /// Shows every other member, with what it holds on the whole keyspace that does not go with `strength`.
    pub(super) fn each_in_the_way(
        &self,
        member: Member,
        strength: LockStrength,
        mut visit: impl FnMut(Member, LockStrength) -> bool,
    ) -> bool {
        if !self.is_in_the_way(member, strength) {
            return true;
        }
        let others = self.entries.iter().enumerate().filter(|(place, _)| *place != member as usize);
        for (place, entry) in others {
            let Some(entry) = entry else { continue };
            let held = entry.whole.into_iter().chain(entry.intent);
            let in_the_way = held.into_iter().find(|&held| !are_compatible(held, strength));
            if in_the_way.is_some_and(|held| !visit(place as Member, held)) {
                return false;
            }
        }
        true
    }

    /// Every member that holds something on the whole keyspace itself.
    pub(super) fn holders_of_whole(&self) -> impl Iterator<Item = (Member, LockStrength)> {
        let named = self.entries.iter().enumerate();
        named.filter_map(|(place, entry)| Some((place as Member, entry.as_ref()?.whole?)))
    }

    fn entry(&self, member: Member) -> &Entry {
        self.entries[member as usize].as_ref().expect("a holder is a member")
    }

    /// Checks E1 from scratch.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn check(&self) {
        let mut counts = Counts::default();
        for entry in self.entries.iter().flatten() {
            counts.exchange(None, entry.intent);
            counts.exchange(None, entry.whole);
        }
        assert_eq!(counts, self.counts, "E1");
    }
}
