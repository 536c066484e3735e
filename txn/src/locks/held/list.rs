//! What one transaction holds, and how it comes to hold more.
//!
//! Knows its locks, not who else waits; is told the manager by each caller, so that no request counts another reference to it. The
//! numbered invariants are those of `held.rs`.

use std::cell::RefCell;

use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::{Arc, MutexGuard, thread};
use duramen_base::{Error, KeyspaceId, LockMode, LockOp, LockStrength, Reservation, Result, mutant};
use smallvec::SmallVec;

use super::{Grant, LockMark};
use crate::key::Key;
use crate::locks::claim::{Claim, Target};
use crate::locks::grant::{Order, Rules};
use crate::locks::members::Member;
use crate::locks::owner::Owner;
use crate::locks::queue::Facts;
use crate::locks::shard::{Shard, shard_of};
use crate::locks::table::Found;
use crate::locks::{LockManager, Wait};

/// Memory that one lock takes: its entry here with the room a vector keeps, and its place in the table.
const LOCK_BYTES: usize = 128;
/// What a transaction may hold without asking the budget: most hold few locks.
const UNCOUNTED_BYTES: usize = 2 << 10;
/// The budget is asked in steps of this many bytes.
const RESERVE_STEP_BYTES: usize = 16 << 10;
/// Looks at a lock, spinning and then giving way in between, before a request queues up for it.
const LOOKS_BEFORE_QUEUE: u32 = if cfg!(duramen_sim) { 1 } else { 15 };
/// How many empty lists a thread keeps: it may release what others locked, as it makes their commits visible.
const SPARE_LISTS_MAX: usize = 8;
/// How many of its last requests are looked through for one that read a key.
const ENTRIES_LOOKED_BACK: usize = 8;
/// How many of its last requests a report shows.
const LAST_OPERATIONS: usize = 3;

#[derive(Debug)]
pub(super) struct Entry {
    membership: u32,
    target: Target,
    strength: LockStrength,
    op: LockOp,
    /// For a raise: what it held on the key before.
    raised_from: Option<LockMode>,
}

// A vector has room for twice its entries at most; a hash map is filled to 7/16 at least after it grew, and has a byte more for each place.
const _: () = assert!(2 * size_of::<Entry>() + (size_of::<(Key, crate::locks::table::Hold)>() + 1) * 16 / 7 <= 160);

/// Where a transaction is a member.
#[derive(Clone, Copy, Debug)]
pub(in crate::locks) struct Membership {
    pub(in crate::locks) keyspace: KeyspaceId,
    pub(in crate::locks) shard: usize,
    pub(in crate::locks) place: usize,
    pub(in crate::locks) member: Member,
}

/// See the module.
#[derive(Debug)]
pub(super) struct List {
    pub(super) owner: Arc<Owner>,
    // One key, read and then written, or a few in one keyspace, is what most transactions lock.
    pub(super) memberships: SmallVec<[Membership; 1]>,
    pub(super) entries: SmallVec<[Entry; 2]>,
    bytes: usize,
    reserved: Option<Reservation>,
}

thread_local! {
    /// Empty lists whose transactions ended in this thread, for the next ones that begin in it.
    #[expect(clippy::vec_box, reason = "a list is handed around as a pointer, and that memory is what is kept")]
    static SPARE: RefCell<Vec<Box<List>>> = const { RefCell::new(Vec::new()) };
}

impl List {
    /// Nothing is held.
    #[inline]
    pub(super) fn begin(owner: Owner) -> Box<List> {
        // While thread-locals are being destroyed there is none.
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let Some(mut list) = spare else {
            let (memberships, entries) = (SmallVec::new(), SmallVec::new());
            return Box::new(List { owner: Arc::new(owner), memberships, entries, bytes: 0, reserved: None });
        };
        match Arc::get_mut(&mut list.owner) {
            Some(last) => *last = owner,
            // Somebody who looks for circles still looks at the last one.
            None => list.owner = Arc::new(owner),
        }
        list
    }

    /// Everything was released: keeps the memory for the next one, if it is small and there are not many.
    #[inline]
    pub(super) fn keep(mut list: Box<List>) {
        // A simulated lock belongs to its simulation, and simulated threads share their thread-locals.
        if cfg!(duramen_sim) || list.entries.spilled() || list.memberships.spilled() {
            return;
        }
        list.entries.clear();
        list.memberships.clear();
        (list.bytes, list.reserved) = (0, None);
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_LISTS_MAX {
                spare.push(list);
            }
        });
    }

    pub(super) fn request(
        &mut self,
        manager: &LockManager,
        keyspace: KeyspaceId,
        claim: Claim,
        wait: Wait,
    ) -> Result<Grant> {
        self.request_all(manager, std::iter::once((keyspace, claim)), wait)
    }

    /// Takes all of them in turn, with one visit for those that follow each other in one table.
    pub(super) fn request_all(
        &mut self,
        manager: &LockManager,
        claims: impl Iterator<Item = (KeyspaceId, Claim)>,
        wait: Wait,
    ) -> Result<Grant> {
        self.begin_call(manager)?;
        let clock = || manager.now();
        let mut latched = None;
        let mut last = Grant::Held;
        for (keyspace, claim) in claims {
            // Fresh for each: it may be long after the one before.
            let mut rules = Rules::new(manager.order(), &clock);
            let (index, mut found, mut guard) =
                self.try_request(manager, keyspace, &claim, &mut rules, latched.take())?;
            if found == Found::InTheWay && wait.is_patient() {
                (found, guard) = self.look_again(manager, guard, index, &claim);
            }
            if found == Found::InTheWay {
                let (at, facts) = (self.memberships[index], self.facts());
                let Some((guard, waiting)) = manager.queue_up(guard, at, &self.owner, claim.clone(), facts, wait)?
                else {
                    return Ok(Grant::Skipped);
                };
                found = manager.sleep_until_settled(guard, waiting)?;
            } else {
                latched = Some((shard_of(keyspace), guard));
            }
            last = self.note(index, claim, found);
        }
        Ok(last)
    }

    #[inline]
    pub(super) fn begin_call(&self, manager: &LockManager) -> Result<()> {
        self.owner.note_thread();
        if self.owner.is_wounded() { Err(self.wounded(manager)) } else { Ok(()) }
    }

    /// Asks the table once, whose latch may be held already.
    #[inline]
    pub(super) fn try_request<'a>(
        &mut self,
        manager: &'a LockManager,
        keyspace: KeyspaceId,
        claim: &Claim,
        rules: &mut Rules<'_>,
        latched: Option<(usize, MutexGuard<'a, Shard>)>,
    ) -> Result<(usize, Found, MutexGuard<'a, Shard>)> {
        self.charge(manager, claim)?;
        let shard = shard_of(keyspace);
        let mut guard = match latched {
            Some((other, guard)) if other == shard => guard,
            // The latch of the other table falls first: nobody holds two of them.
            other => {
                drop(other);
                manager.latch(shard)
            }
        };
        let index = self.membership(keyspace, shard, &mut guard);
        let at = self.memberships[index];
        let found = guard.keyspaces[at.place].request(at.member, claim, rules);
        Ok((index, found, guard))
    }

    /// Gives way to the holder a few times before it queues up: most locks are held for less time than going to sleep and waking takes. It has no
    /// place in the queue meanwhile, so it passes nobody who is overdue. By age nobody may pass an older one: it queues up at once.
    #[cold]
    fn look_again<'a>(
        &self,
        manager: &'a LockManager,
        mut guard: MutexGuard<'a, Shard>,
        index: usize,
        claim: &Claim,
    ) -> (Found, MutexGuard<'a, Shard>) {
        let clock = || manager.now();
        let looks = if manager.order() == Order::Age { 0 } else { LOOKS_BEFORE_QUEUE };
        let at = self.memberships[index];
        for look in 0..looks {
            drop(guard);
            thread::pause(look);
            guard = manager.latch(at.shard);
            // The time of this look: meanwhile a waiter may have become overdue.
            let mut rules = Rules::new(manager.order(), &clock);
            let found = guard.keyspaces[at.place].request(at.member, claim, &mut rules);
            if found != Found::InTheWay {
                return (found, guard);
            }
        }
        (Found::InTheWay, guard)
    }

    #[inline]
    pub(super) fn note(&mut self, index: usize, claim: Claim, found: Found) -> Grant {
        let Found::Granted { raised_from } = found else { return Grant::Held };
        self.bytes += LOCK_BYTES + claim.target.heap_bytes();
        let Claim { target, strength, op } = claim;
        self.entries.push(Entry { membership: index as u32, target, strength, op, raised_from });
        Grant::Granted
    }

    pub(super) fn membership(&mut self, keyspace: KeyspaceId, shard: usize, guard: &mut Shard) -> usize {
        if let Some(index) = self.memberships.iter().rposition(|at| at.keyspace == keyspace) {
            return index;
        }
        let place = guard.place_of(keyspace);
        let member = guard.keyspaces[place].table.members.join(Arc::clone(&self.owner));
        self.memberships.push(Membership { keyspace, shard, place, member });
        self.memberships.len() - 1
    }

    /// Whether one of the last requests locked `key` itself and gave back what stands there: since then nobody has changed it.
    #[inline]
    pub(super) fn has_looked_at(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        self.entries.iter().rev().take(ENTRIES_LOOKED_BACK).any(|entry| {
            let looks = match entry.op {
                LockOp::Get | LockOp::GetForShare | LockOp::GetForUpdate | LockOp::Update => true,
                LockOp::Scan | LockOp::ScanForShare | LockOp::ScanForUpdate => true,
                LockOp::Put | LockOp::Delete | LockOp::DeleteRange | LockOp::Commit => false,
                LockOp::Lock => mutant!("hand_lock_is_a_look"),
            };
            looks
                && matches!(&entry.target, Target::Key(own) if **own == *key)
                && self.memberships[entry.membership as usize].keyspace == keyspace
        })
    }

    /// Makes sure that there is memory for one more lock.
    #[inline]
    pub(super) fn charge(&mut self, manager: &LockManager, claim: &Claim) -> Result<()> {
        let needed = self.bytes + LOCK_BYTES + claim.target.heap_bytes();
        let reserved = self.reserved.as_ref().map_or(UNCOUNTED_BYTES, |reserved| reserved.bytes() as usize);
        if needed <= reserved { Ok(()) } else { self.reserve(manager, needed, claim.op) }
    }

    /// What others hold of the budget is no reason to refuse: one transaction's locks are, beyond the whole of it. Those of a commit are as many
    /// as its write set and what it read, which were accepted.
    #[cold]
    pub(super) fn reserve(&mut self, manager: &LockManager, needed: usize, op: LockOp) -> Result<()> {
        let budget = &manager.budget;
        if needed as u64 > budget.limit() && op != LockOp::Commit {
            return Err(Error::LockBudget);
        }
        let reserved = self.reserved.as_ref().map_or(0, |reserved| reserved.bytes() as usize);
        let more = (needed - reserved).next_multiple_of(RESERVE_STEP_BYTES);
        let more = budget.reserve_anyway(more as u64);
        match &mut self.reserved {
            Some(reserved) => reserved.absorb(more),
            None => self.reserved = Some(more),
        }
        Ok(())
    }

    pub(super) fn facts(&self) -> Facts {
        let last = self.entries[self.entries.len().saturating_sub(LAST_OPERATIONS)..].iter();
        let last_operations = last.map(|entry| {
            let keyspace = self.memberships[entry.membership as usize].keyspace;
            (keyspace, Claim { target: entry.target.clone(), strength: entry.strength, op: entry.op })
        });
        Facts {
            lock_count: self.entries.iter().filter(|entry| entry.raised_from.is_none()).count(),
            write_count: self.owner.write_count.load(Ordering::Relaxed),
            last_operations: last_operations.collect(),
        }
    }

    #[cold]
    pub(super) fn wounded(&self, manager: &LockManager) -> Error {
        let report = self.owner.wound_report().expect("O2: who is wounded has a report");
        Error::Deadlock(manager.with_names(report))
    }

    pub(super) fn rollback_to(&mut self, manager: &LockManager, mark: LockMark) {
        let clock = || manager.now();
        let mut rules = Rules::new(manager.order(), &clock);
        let since: Vec<Entry> = self.entries.drain(mark.0.min(self.entries.len())..).collect();
        let mut kept = Vec::new();
        for entry in since.into_iter().rev() {
            let at = self.memberships[entry.membership as usize];
            let mut shard = manager.latch(at.shard);
            let keyspace = &mut shard.keyspaces[at.place];
            if !keyspace.table.is_blind(at.member, &entry.target) && !mutant!("rollback_frees_what_was_read") {
                kept.push(entry);
                continue;
            }
            match (&entry.target, entry.raised_from) {
                (Target::Key(key), Some(before)) => keyspace.table.weaken(at.member, key, before),
                _ => keyspace.table.remove(at.member, &entry.target, entry.strength),
            }
            keyspace.wake(&entry.target.span(), &mut rules);
            self.bytes -= LOCK_BYTES + entry.target.heap_bytes();
        }
        self.entries.extend(kept.into_iter().rev());
    }

    pub(super) fn downgrade(&mut self, manager: &LockManager, keyspace: KeyspaceId, target: &Target, mode: LockMode) {
        let Some(index) = self.memberships.iter().position(|at| at.keyspace == keyspace) else { return };
        let at = self.memberships[index];
        let own = |entry: &&mut Entry| entry.membership as usize == index && entry.target == *target;
        let Some(entry) = self.entries.iter_mut().rev().find(own) else { return };
        let clock = || manager.now();
        let mut rules = Rules::new(manager.order(), &clock);
        let mut shard = manager.latch(at.shard);
        let keyspace = &mut shard.keyspaces[at.place];
        match target {
            Target::Key(key) => keyspace.table.weaken(at.member, key, mode),
            Target::Range(_) | Target::Whole => {
                if mode != LockMode::Shared || entry.strength != LockStrength::Exclusive {
                    return;
                }
                keyspace.table.remove(at.member, target, entry.strength);
                entry.strength = LockStrength::Shared;
                let claim = Claim { target: target.clone(), strength: LockStrength::Shared, op: entry.op };
                let found = keyspace.table.request(at.member, &claim);
                debug_assert!(found != Found::InTheWay, "H1: who held it exclusively may share it");
            }
        }
        keyspace.wake(&target.span(), &mut rules);
    }

    pub(super) fn release_all(&mut self, manager: &LockManager) {
        let clock = || manager.now();
        let mut rules = Rules::new(manager.order(), &clock);
        if let Some((shard, place, id)) = self.owner.waiting_in() {
            // Its thread panicked in the middle of a wait.
            manager.latch(shard).keyspaces[place].leave(id, &mut rules);
        }
        if self.memberships.len() > 1 {
            self.entries.sort_by_key(|entry| entry.membership);
        }
        let mut rest = &self.entries[..];
        for (index, at) in self.memberships.iter().enumerate() {
            let count = rest.iter().take_while(|entry| entry.membership as usize == index).count();
            let (entries, others) = rest.split_at(count);
            rest = others;
            let mut shard = manager.latch(at.shard);
            let keyspace = &mut shard.keyspaces[at.place];
            for entry in entries.iter().filter(|entry| entry.raised_from.is_none()) {
                keyspace.table.remove(at.member, &entry.target, entry.strength);
            }
            if !keyspace.queue.is_empty() {
                entries.iter().for_each(|entry| keyspace.wake(&entry.target.span(), &mut rules));
            }
            keyspace.leave_member(at.member, &mut rules);
        }
    }
}
