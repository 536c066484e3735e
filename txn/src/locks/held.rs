//! What one transaction holds, in the order in which it came to hold it; and the handle by which it asks for more.
//!
//! Knows its locks, not who else waits. The table keeps the locks themselves; here stand the words to give them back.
//!
//! F1  Each lock of the table that the transaction holds has one entry that is not a raise; a raise says what to fall back to.
//! F2  Dropping it gives everything back and wakes who can go on.
//! F3  Going back to a mark gives back only locks under which the program learned nothing, and what was raised falls back.

mod list;
#[cfg(all(test, not(duramen_sim)))]
mod steps;

use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, KeyspaceId, KeyspaceLockMode, LockMode, LockOp, LockStrength, Result, TxnId, TxnInfo};

use super::claim::{Claim, KeyRange, Target};
use super::owner::{AgeTicket, Owner};
use super::{LockManager, Wait};
use crate::key::Key;
use crate::lock_item::{LockItem, LockKind};
use list::List;
pub(super) use list::Membership;
#[cfg(all(test, not(duramen_sim)))]
pub(super) use steps::Step;

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
    /// There until it is dropped. Behind a pointer, since it goes from hand to hand on its way to where the commit becomes visible.
    list: Option<Box<List>>,
}

impl HeldLocks {
    fn list(&self) -> &List {
        self.list.as_ref().expect("it is there until the end")
    }

    fn list_mut(&mut self) -> (&mut List, &LockManager) {
        (self.list.as_mut().expect("it is there until the end"), &self.manager)
    }

    /// Number of lock requests that were granted and not given back; a raise counts as one.
    pub fn len(&self) -> usize {
        self.list().entries.len()
    }

    /// Whether nothing is locked.
    pub fn is_empty(&self) -> bool {
        self.list().entries.is_empty()
    }
}

impl Drop for HeldLocks {
    fn drop(&mut self) {
        let Some(mut list) = self.list.take() else { return };
        list.release_all(&self.manager); // F2
        List::keep(list);
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
        LockOwner { held: HeldLocks { manager, list: Some(List::begin(owner)) } }
    }

    /// Its number.
    pub fn id(&self) -> TxnId {
        self.held.list().owner.id
    }

    /// Its age; give it to the next attempt.
    pub fn age(&self) -> AgeTicket {
        self.held.list().owner.ticket
    }

    /// As reports name it.
    pub fn info(&self) -> TxnInfo {
        self.held.list().owner.info(self.held.manager.now())
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
        let (list, manager) = self.held.list_mut();
        list.request(manager, keyspace, Claim { target: Target::Key(Key::from(key)), strength: mode.into(), op }, wait)
    }

    /// Whether it holds `key` since one of its last requests, by a call that then gave back what stands at `key`. If so, nobody has changed it since;
    /// if not, nothing is said.
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, LockMode, LockOp};
    /// use duramen_txn::{LockManager, OwnerSpec, Wait};
    /// let (locks, ks) = (LockManager::standalone(), KeyspaceId::new(1));
    /// let mut owner = locks.owner(OwnerSpec::here());
    /// owner.lock_key(ks, b"a", LockMode::Update, LockOp::GetForUpdate, Wait::NoWait)?;
    /// owner.lock_key(ks, b"b", LockMode::Update, LockOp::Lock, Wait::NoWait)?;
    /// assert!(owner.has_looked_at(ks, b"a") && !owner.has_looked_at(ks, b"b"));
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn has_looked_at(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        self.held.list().has_looked_at(keyspace, key)
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
        let (list, manager) = self.held.list_mut();
        list.request(manager, keyspace, Claim { target: Target::Range(Arc::new(range)), strength, op }, wait)
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
        let (list, manager) = self.held.list_mut();
        list.request(manager, keyspace, Claim { target: Target::Whole, strength: mode.into(), op }, wait)
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
    /// owner.lock_items(writes.lock_items().map(|item| (item, LockMode::Exclusive)), Wait::NoWait)?;
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
        let (list, manager) = self.held.list_mut();
        match list.request_all(manager, claims, wait)? {
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
        let (list, manager) = self.held.list_mut();
        list.downgrade(manager, keyspace, &Target::Key(Key::from(key)), mode);
    }

    /// Shares the range from now on, which it locked exclusively by a request for these very bounds.
    pub fn downgrade_range(&mut self, keyspace: KeyspaceId, low: &[u8], high: Option<&[u8]>) {
        let range = KeyRange { low: Key::from(low), high: high.map(Key::from) };
        let (list, manager) = self.held.list_mut();
        list.downgrade(manager, keyspace, &Target::Range(Arc::new(range)), LockMode::Shared);
    }

    /// Shares the keyspace from now on, which it locked exclusively.
    pub fn downgrade_keyspace(&mut self, keyspace: KeyspaceId) {
        let (list, manager) = self.held.list_mut();
        list.downgrade(manager, keyspace, &Target::Whole, LockMode::Shared);
    }

    /// This point.
    pub fn mark(&self) -> LockMark {
        LockMark(self.held.list().entries.len())
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
        let (list, manager) = self.held.list_mut();
        list.rollback_to(manager, mark);
    }

    /// Notes that the calling thread uses the transaction now.
    #[inline]
    pub fn note_call(&self) {
        self.held.list().owner.note_thread();
    }

    /// Notes how much it has written, for the policy `LeastWork` and for reports.
    #[inline]
    pub fn note_writes(&self, count: u64) {
        self.held.list().owner.write_count.store(count, Ordering::Relaxed);
    }

    /// To be called before the commit is sequenced: from then on nobody wounds it.
    ///
    /// # Errors
    /// [`Error::Deadlock`]: an older transaction wounded it before. Roll it back.
    #[inline]
    pub fn seal(&self) -> Result<()> {
        if self.held.list().owner.seal() { Ok(()) } else { Err(self.held.list().wounded(&self.held.manager)) }
    }

    /// Whether an older transaction wounded it, so that it should end soon; its next lock request and its commit fail.
    pub fn is_wounded(&self) -> bool {
        self.held.list().owner.is_wounded()
    }

    /// What it holds, to be given back when the commit is visible.
    pub fn into_held(self) -> HeldLocks {
        self.held.list().owner.forget_thread();
        self.held
    }

    /// Number of lock requests that were granted and not given back; a raise counts as one.
    pub fn lock_count(&self) -> usize {
        self.held.len()
    }
}
