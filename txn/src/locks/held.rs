//! What one transaction holds, in the order in which it came to hold it; and the handle by which it asks for more.
//!
//! Knows its locks, not who else waits. The table keeps the locks themselves; here stand the words to give them back.
//!
//! F1  Each lock of the table that the transaction holds has one entry that is not a raise; a raise says what to fall back to.
//! F2  Dropping it gives everything back and wakes who can go on.
//! F3  Going back to a mark gives back only locks under which the program learned nothing, and what was raised falls back.

#[cfg(all(test, not(duramen_sim)))]
mod steps;

use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::{Arc, MutexGuard};
use duramen_base::{
    Error, KeyspaceId, KeyspaceLockMode, LockMode, LockOp, LockStrength, Reservation, Result, TxnId, TxnInfo, mutant,
};

use super::claim::{Claim, KeyRange, Target};
use super::grant::Rules;
use super::members::Member;
use super::owner::{AgeTicket, Owner};
use super::queue::Facts;
use super::shard::{Shard, shard_of};
use super::table::Found;
use super::{LockManager, Wait};
use crate::key::Key;
use crate::lock_item::{LockItem, LockKind};
#[cfg(all(test, not(duramen_sim)))]
pub(super) use steps::Step;

/// Memory that one lock takes: its entry here with the room a vector keeps, and its place in the table.
const LOCK_BYTES: usize = 128;
/// What a transaction may hold without asking the budget: most hold few locks.
const UNCOUNTED_BYTES: usize = 2 << 10;
/// The budget is asked in steps of this many bytes.
const RESERVE_STEP_BYTES: usize = 16 << 10;
/// How many of its last requests a report shows.
const LAST_OPERATIONS: usize = 3;

/// How a request for a lock ended that did not fail.
///
/// ```
/// use duramen_base::{KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{Grant, LockManager, OwnerSpec, Wait};
/// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
/// let mut first = locks.owner(OwnerSpec::here());
/// let mut second = locks.owner(OwnerSpec::here());
/// let x = LockMode::Exclusive;
/// assert_eq!(first.lock_key(ks, b"a", x, LockOp::Put, Wait::NoWait)?, Grant::Granted);
/// assert_eq!(first.lock_key(ks, b"a", x, LockOp::Put, Wait::NoWait)?, Grant::Held);
/// assert_eq!(second.lock_key(ks, b"a", x, LockOp::Put, Wait::SkipLocked)?, Grant::Skipped);
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It holds the lock from now on.
    Granted,
    /// It held as much before.
    Held,
    /// Somebody else is in the way, and the call said to skip then.
    Skipped,
}

/// A point that [`LockOwner::rollback_to`] can go back to.
///
/// See there for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockMark(usize);

#[derive(Debug)]
struct Entry {
    membership: u32,
    target: Target,
    strength: LockStrength,
    op: LockOp,
    /// For a raise: what it held on the key before.
    raised_from: Option<LockMode>,
}

// A vector has room for twice its entries at most; a hash map is filled to 7/16 at least after it grew, and has a byte more for each place.
const _: () = assert!(2 * size_of::<Entry>() + (size_of::<(Key, super::table::Hold)>() + 1) * 16 / 7 <= 160);

/// Where a transaction is a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) keyspace: KeyspaceId,
    pub(super) shard: usize,
    pub(super) place: usize,
    pub(super) member: Member,
}

/// The locks of one transaction. Dropping it gives them back: once its commit is visible, or after it was rolled back.
///
/// ```
/// use duramen_base::{KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{LockManager, OwnerSpec, Wait};
/// let locks = LockManager::standalone();
/// let mut owner = locks.owner(OwnerSpec::here());
/// owner.lock_key(KeyspaceId::new(1), b"a", LockMode::Exclusive, LockOp::Put, Wait::NoWait)?;
/// let held = owner.into_held(); // can be kept where the commit becomes visible
/// assert_eq!((held.len(), locks.counts()), (1, (1, 0)));
/// drop(held);
/// assert_eq!(locks.counts(), (0, 0));
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Debug)]
pub struct HeldLocks {
    manager: Arc<LockManager>,
    owner: Arc<Owner>,
    memberships: Vec<Membership>,
    entries: Vec<Entry>,
    bytes: usize,
    reserved: Option<Reservation>,
}

impl HeldLocks {
    /// Number of lock requests that were granted and not given back; a raise counts as one.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is locked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn request(&mut self, keyspace: KeyspaceId, claim: Claim, wait: Wait) -> Result<Grant> {
        self.request_all(std::iter::once((keyspace, claim)), wait)
    }

    /// Takes all of them in turn, with one visit for those that follow each other in one table.
    fn request_all(&mut self, claims: impl Iterator<Item = (KeyspaceId, Claim)>, wait: Wait) -> Result<Grant> {
        self.begin_call()?;
        let manager = Arc::clone(&self.manager);
        let clock = || manager.now();
        let mut rules = Rules::new(manager.order(), &clock);
        let mut latched = None;
        let mut last = Grant::Held;
        for (keyspace, claim) in claims {
            let (index, mut found, guard) = self.try_request(&manager, keyspace, &claim, &mut rules, latched.take())?;
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
    fn begin_call(&self) -> Result<()> {
        self.owner.note_thread();
        if self.owner.is_wounded() { Err(self.wounded()) } else { Ok(()) }
    }

    /// Asks the table once, whose latch may be held already.
    #[inline]
    fn try_request<'a>(
        &mut self,
        manager: &'a LockManager,
        keyspace: KeyspaceId,
        claim: &Claim,
        rules: &mut Rules<'_>,
        latched: Option<(usize, MutexGuard<'a, Shard>)>,
    ) -> Result<(usize, Found, MutexGuard<'a, Shard>)> {
        self.charge(claim)?;
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

    #[inline]
    fn note(&mut self, index: usize, claim: Claim, found: Found) -> Grant {
        let Found::Granted { raised_from } = found else { return Grant::Held };
        self.bytes += LOCK_BYTES + claim.target.heap_bytes();
        let Claim { target, strength, op } = claim;
        self.entries.push(Entry { membership: index as u32, target, strength, op, raised_from });
        Grant::Granted
    }

    fn membership(&mut self, keyspace: KeyspaceId, shard: usize, guard: &mut Shard) -> usize {
        if let Some(index) = self.memberships.iter().rposition(|at| at.keyspace == keyspace) {
            return index;
        }
        let place = guard.place_of(keyspace);
        let member = guard.keyspaces[place].table.members.join(Arc::clone(&self.owner));
        self.memberships.push(Membership { keyspace, shard, place, member });
        self.memberships.len() - 1
    }

    /// Makes sure that there is memory for one more lock.
    #[inline]
    fn charge(&mut self, claim: &Claim) -> Result<()> {
        let needed = self.bytes + LOCK_BYTES + claim.target.heap_bytes();
        let reserved = self.reserved.as_ref().map_or(UNCOUNTED_BYTES, |reserved| reserved.bytes() as usize);
        if needed <= reserved { Ok(()) } else { self.reserve(needed, claim.op) }
    }

    /// What others hold of the budget is no reason to refuse: one transaction's locks are, beyond the whole of it. Those of a commit are as many
    /// as its write set and what it read, which were accepted.
    #[cold]
    fn reserve(&mut self, needed: usize, op: LockOp) -> Result<()> {
        let budget = &self.manager.budget;
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

    fn facts(&self) -> Facts {
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
    fn wounded(&self) -> Error {
        let report = self.owner.wound_report().expect("O2: who is wounded has a report");
        Error::Deadlock(self.manager.with_names(report))
    }

    fn rollback_to(&mut self, mark: LockMark) {
        let manager = Arc::clone(&self.manager);
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

    fn downgrade(&mut self, keyspace: KeyspaceId, target: &Target, mode: LockMode) {
        let Some(index) = self.memberships.iter().position(|at| at.keyspace == keyspace) else { return };
        let at = self.memberships[index];
        let own = |entry: &&mut Entry| entry.membership as usize == index && entry.target == *target;
        let Some(entry) = self.entries.iter_mut().rev().find(own) else { return };
        let clock = || self.manager.now();
        let mut rules = Rules::new(self.manager.order(), &clock);
        let mut shard = self.manager.latch(at.shard);
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

    fn release_all(&mut self) {
        let clock = || self.manager.now();
        let mut rules = Rules::new(self.manager.order(), &clock);
        if let Some((shard, place, id)) = self.owner.waiting_in() {
            // Its thread panicked in the middle of a wait.
            self.manager.latch(shard).keyspaces[place].leave(id, &mut rules);
        }
        if self.memberships.len() > 1 {
            self.entries.sort_by_key(|entry| entry.membership);
        }
        let mut rest = &self.entries[..];
        for (index, at) in self.memberships.iter().enumerate() {
            let count = rest.iter().take_while(|entry| entry.membership as usize == index).count();
            let (entries, others) = rest.split_at(count);
            rest = others;
            let mut shard = self.manager.latch(at.shard);
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

impl Drop for HeldLocks {
    fn drop(&mut self) {
        self.release_all(); // F2
    }
}

/// A transaction that locks: the handle by which it asks. Used by one thread at a time; dropping it gives everything back.
///
/// Every request first notes which thread calls. A transaction that locks seldom should say so too at its other calls
/// ([`LockOwner::note_call`]), so that a thread that waits for a transaction of its own is noticed.
///
/// ```
/// use duramen_base::{Error, KeyspaceId, LockMode, LockOp};
/// use duramen_txn::{LockManager, OwnerSpec, Wait};
/// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
/// let mut reader = locks.owner(OwnerSpec::here());
/// let mut writer = locks.owner(OwnerSpec::here());
/// reader.lock_range(ks, b"a", Some(b"m"), LockMode::Shared, LockOp::Scan, Wait::NoWait)?;
/// let refused = writer.lock_key(ks, b"b", LockMode::Exclusive, LockOp::Put, Wait::NoWait);
/// assert!(matches!(refused, Err(Error::WouldBlock(wait)) if wait.blockers[0].txn.id == reader.id()));
/// writer.lock_key(ks, b"z", LockMode::Exclusive, LockOp::Put, Wait::NoWait)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct LockOwner {
    held: HeldLocks,
}

impl LockOwner {
    pub(super) fn new(manager: Arc<LockManager>, owner: Owner) -> LockOwner {
        LockOwner {
            held: HeldLocks {
                manager,
                owner: Arc::new(owner),
                memberships: Vec::new(),
                entries: Vec::new(),
                bytes: 0,
                reserved: None,
            },
        }
    }

    /// Its number.
    pub fn id(&self) -> TxnId {
        self.held.owner.id
    }

    /// Its age; give it to the next attempt.
    pub fn age(&self) -> AgeTicket {
        self.held.owner.ticket
    }

    /// As reports name it.
    pub fn info(&self) -> TxnInfo {
        self.held.owner.info(self.held.manager.now())
    }

    /// Locks `key`, present or not. Who holds it in a weaker mode raises it, before all others that wait for the key.
    ///
    /// # Errors
    /// * [`Error::Deadlock`]: this transaction was given up to end a circle. Roll it back; it can run again.
    /// * [`Error::LockTimeout`]: the time was over. Roll it back.
    /// * [`Error::WouldBlock`]: somebody is in the way, and `wait` is [`Wait::NoWait`]. Nothing changed.
    /// * [`Error::LockBudget`]: no memory for more locks. Nothing changed.
    pub fn lock_key(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        mode: LockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Grant> {
        self.held.request(keyspace, Claim { target: Target::Key(Key::from(key)), strength: mode.into(), op }, wait)
    }

    /// Locks the keys from `low` up to, without, `high` (`None`: to the end of the keyspace), present or not. A range is held shared
    /// or exclusively; update counts as exclusive. An empty range needs no lock.
    ///
    /// # Errors
    /// As [`LockOwner::lock_key`].
    pub fn lock_range(
        &mut self,
        keyspace: KeyspaceId,
        low: &[u8],
        high: Option<&[u8]>,
        mode: LockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Grant> {
        if high.is_some_and(|high| high <= low) {
            return Ok(Grant::Held);
        }
        let range = KeyRange { low: Key::from(low), high: high.map(Key::from) };
        let strength = match mode {
            LockMode::Shared => LockStrength::Shared,
            LockMode::Update | LockMode::Exclusive => LockStrength::Exclusive,
        };
        self.held.request(keyspace, Claim { target: Target::Range(Arc::new(range)), strength, op }, wait)
    }

    /// Locks the whole keyspace.
    ///
    /// # Errors
    /// As [`LockOwner::lock_key`].
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, KeyspaceLockMode, LockMode, LockOp};
    /// use duramen_txn::{Grant, LockManager, OwnerSpec, Wait};
    /// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
    /// let mut all = locks.owner(OwnerSpec::here());
    /// let mut one = locks.owner(OwnerSpec::here());
    /// all.lock_keyspace(ks, KeyspaceLockMode::Shared, LockOp::Lock, Wait::NoWait)?;
    /// one.lock_key(ks, b"k", LockMode::Shared, LockOp::Get, Wait::NoWait)?;
    /// assert_eq!(one.lock_key(ks, b"k", LockMode::Exclusive, LockOp::Put, Wait::SkipLocked)?, Grant::Skipped);
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn lock_keyspace(
        &mut self,
        keyspace: KeyspaceId,
        mode: KeyspaceLockMode,
        op: LockOp,
        wait: Wait,
    ) -> Result<Grant> {
        self.held.request(keyspace, Claim { target: Target::Whole, strength: mode.into(), op }, wait)
    }

    /// Takes the locks of a commit: what it writes exclusively, what it must find unchanged shared. In ascending order, commits alone
    /// never wait in a circle.
    ///
    /// # Errors
    /// As [`LockOwner::lock_key`]; what was granted before stays held.
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, LockMode, Value};
    /// use duramen_txn::{LockManager, OwnerSpec, Wait, WriteSet};
    /// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
    /// let mut writes = WriteSet::new();
    /// writes.put(ks, b"k", Value::from(&b"v"[..]));
    /// let mut owner = locks.owner(OwnerSpec::here());
    /// owner.lock_items(writes.lock_items().into_iter().map(|item| (item, LockMode::Exclusive)), Wait::NoWait)?;
    /// assert_eq!(locks.counts(), (1, 0));
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn lock_items(&mut self, items: impl IntoIterator<Item = (LockItem, LockMode)>, wait: Wait) -> Result<()> {
        let claims = items.into_iter().map(|(item, mode)| {
            let keyspace = item.keyspace();
            let (low, kind) = item.into_parts();
            let target = match kind {
                LockKind::Key => Target::Key(low),
                LockKind::Range { high } => Target::Range(Arc::new(KeyRange { low, high })),
            };
            (keyspace, Claim { target, strength: mode.into(), op: LockOp::Commit })
        });
        match self.held.request_all(claims, wait)? {
            Grant::Granted | Grant::Held => Ok(()),
            Grant::Skipped => Err(Error::InvalidArgument { what: "a commit cannot skip what is locked" }),
        }
    }

    /// Holds `key` in the weaker `mode` from now on. Without effect if it is not held, or not in a stronger one.
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, LockMode, LockOp};
    /// use duramen_txn::{LockManager, OwnerSpec, Wait};
    /// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
    /// let mut first = locks.owner(OwnerSpec::here());
    /// let mut second = locks.owner(OwnerSpec::here());
    /// first.lock_key(ks, b"k", LockMode::Exclusive, LockOp::Put, Wait::NoWait)?;
    /// first.downgrade_key(ks, b"k", LockMode::Shared);
    /// second.lock_key(ks, b"k", LockMode::Shared, LockOp::Get, Wait::NoWait)?;
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn downgrade_key(&mut self, keyspace: KeyspaceId, key: &[u8], mode: LockMode) {
        self.held.downgrade(keyspace, &Target::Key(Key::from(key)), mode);
    }

    /// Shares the range from now on, which it locked exclusively by a request for these very bounds.
    pub fn downgrade_range(&mut self, keyspace: KeyspaceId, low: &[u8], high: Option<&[u8]>) {
        let range = KeyRange { low: Key::from(low), high: high.map(Key::from) };
        self.held.downgrade(keyspace, &Target::Range(Arc::new(range)), LockMode::Shared);
    }

    /// Shares the keyspace from now on, which it locked exclusively.
    pub fn downgrade_keyspace(&mut self, keyspace: KeyspaceId) {
        self.held.downgrade(keyspace, &Target::Whole, LockMode::Shared);
    }

    /// This point.
    pub fn mark(&self) -> LockMark {
        LockMark(self.held.entries.len())
    }

    /// Gives back what was locked since `mark` by calls that returned nothing to the program (a blind put or delete), and lets what
    /// was raised by them fall back to the mode before. Not for levels that promise more than their writes: they keep all.
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, LockMode, LockOp};
    /// use duramen_txn::{LockManager, OwnerSpec, Wait};
    /// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
    /// let mut owner = locks.owner(OwnerSpec::here());
    /// let mark = owner.mark();
    /// owner.lock_key(ks, b"put", LockMode::Exclusive, LockOp::Put, Wait::NoWait)?;
    /// owner.lock_key(ks, b"read", LockMode::Exclusive, LockOp::GetForUpdate, Wait::NoWait)?;
    /// owner.rollback_to(mark);
    /// assert_eq!(locks.counts(), (1, 0));
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn rollback_to(&mut self, mark: LockMark) {
        self.held.rollback_to(mark);
    }

    /// Notes that the calling thread uses the transaction now.
    #[inline]
    pub fn note_call(&self) {
        self.held.owner.note_thread();
    }

    /// Notes how much it has written, for the policy `LeastWork` and for reports.
    #[inline]
    pub fn note_writes(&self, count: u64) {
        self.held.owner.write_count.store(count, Ordering::Relaxed);
    }

    /// To be called before the commit is sequenced: from then on nobody wounds it.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: an older transaction wounded it before. Roll it back.
    #[inline]
    pub fn seal(&self) -> Result<()> {
        if self.held.owner.seal() { Ok(()) } else { Err(self.held.wounded()) }
    }

    /// Whether an older transaction wounded it, so that it should end soon; its next lock request and its commit fail.
    pub fn is_wounded(&self) -> bool {
        self.held.owner.is_wounded()
    }

    /// What it holds, to be given back when the commit is visible.
    pub fn into_held(self) -> HeldLocks {
        self.held.owner.forget_thread();
        self.held
    }

    /// Number of lock requests that were granted and not given back; a raise counts as one.
    pub fn lock_count(&self) -> usize {
        self.held.len()
    }
}
