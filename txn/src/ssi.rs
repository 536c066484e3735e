//! Serializable transactions: who read what another overwrote, and who of them may not commit.
//!
//! Serializable snapshot isolation (Cahill, Röhm and Fekete 2008; Ports and Grittner 2012), checked at commit alone.
//! A transaction T that read at S is held against the *facts*: what each serializable transaction that committed after
//! S read and wrote, and the first of those that overwrote what it had read (its `min_out`). `rule.rs` is the decision;
//! this file keeps the facts, and the section in which a commit is checked, gets its number and becomes a fact. What
//! locks its reads instead (two-phase locking) enters facts that are never refused. Other levels are not known here.
//!
//! D1  A commit is checked and becomes a fact in one section, under `facts`: of two that conflict, the later sees the
//!     earlier one.
//! D2  A fact is kept while a serializable transaction that reads below its ts lives or may begin: until
//!     `ts <= min(acked, every registered reading ts)`. A read-only one may begin at acked, older than all that live.
//! D3  Over its budget the oldest facts go all the same, and `forgotten` says up to where: who read below it is refused.
//! D4  A transaction that read at S and writes nothing, declared so or not, is *safe*, and may go unchecked, if no
//!     read-write one that reads below S lives, and no fact above S has a `min_out <= S`. Then none ever will: later
//!     ones read at S or above (R1 of `snapshots.rs`).
//! D5  Whoever was ended for its age is refused if the end came before its section: what was dropped for it was dropped in a later section than
//!     the mark, and who was found safe for it sees what was entered before.
//! D6  `newest_pivot` is at least the ts of every fact with a `min_out` whose transaction is no more registered. So whoever finds no writer below S,
//!     not even one that was ended, and `newest_pivot <= S`, knows both halves of D4 without the latch. `safe_at` is a ts found safe once: so it
//!     is for ever.
//!
//! A transaction is registered once, in the slot that also keeps the versions it reads (R7, R8 of `snapshots.rs`).
//!
//! Facts are about keys and key ranges, never pages, so no store knows of them.

mod facts;
mod rule;

#[cfg(test)]
mod schedules;

#[cfg(all(test, not(duramen_sim)))]
mod tests;

use std::fmt;
use std::time::Duration;

use duramen_base::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use duramen_base::sync::{Arc, Condvar, Mutex, Padded, lock_soon};
use duramen_base::{Budget, Error, Result, Timestamp, TxnOrigin, mutant};

use crate::footprint::Footprint;
use crate::snapshots::{ReaderHandle, Registration, Role, Snapshots, WritersBelow};
use facts::{Facts, Position};
use rule::Check;

pub(crate) use facts::Fact;

/// So many facts are looked at inside the section; more are looked at before it.
const FACTS_IN_SECTION_MAX: usize = 16;
/// After so many commits somebody looks for facts that nobody needs.
const COMMITS_PER_PRUNING: usize = 64;
/// How long somebody who waits for a safe snapshot sleeps at most before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A serializable transaction that wants to commit.
#[derive(Debug)]
pub struct Claim {
    /// What it read at; `None` if it read nothing, or read the present under locks.
    pub snapshot_ts: Option<Timestamp>,
    /// What it read.
    pub reads: Footprint,
    /// What it writes.
    pub writes: Footprint,
    /// Who it is.
    pub origin: TxnOrigin,
    /// Its registration of [`Ssi::begin`], which lives, if it has one.
    pub enlisted: Option<ReaderHandle>,
}

impl Claim {
    /// Whether facts that it needs may be gone: it was ended from outside. To be asked under `facts`, where they go (D5).
    fn is_ended(&self) -> bool {
        self.enlisted.as_ref().is_some_and(ReaderHandle::is_ended)
    }
}

/// The serializable transactions of one database.
///
/// ```
/// use duramen_base::{Budget, Error, KeyspaceId, Timestamp, TxnOrigin};
/// use duramen_txn::{Claim, Footprint, Key, Snapshots, Ssi};
/// let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
/// let key = |key: &str| Footprint::new(vec![(KeyspaceId::new(1), Key::from(key.as_bytes()))], vec![]);
/// let claim = |reads, writes| Claim {
///     snapshot_ts: Some(Timestamp::new(1)),
///     reads: key(reads),
///     writes: key(writes),
///     origin: TxnOrigin::here(None),
///     enlisted: None,
/// };
/// // Write skew: each reads what the other writes.
/// ssi.commit(claim("x", "y"), || (Timestamp::new(2), ()))?;
/// let second = ssi.commit(claim("y", "x"), || unreachable!("it is refused"));
/// assert!(matches!(second, Err::<(Timestamp, ()), _>(Error::SerializationFailure(_))));
/// # Ok::<(), Error>(())
/// ```
pub struct Ssi {
    facts: Mutex<Facts>,
    /// Where those that are checked read, among all other readers.
    snapshots: Arc<Snapshots>,
    quick: Padded<Quick>,
    since_pruning: AtomicUsize,
    /// Those that wait for a safe snapshot.
    waiting: AtomicUsize,
    sleep: Mutex<()>,
    ended: Condvar,
}

/// D6.
#[derive(Debug, Default)]
struct Quick {
    newest_pivot: AtomicU64,
    safe_at: AtomicU64,
}

impl Ssi {
    /// No facts, of which `bytes_max` are kept at most, counted in `budget`; its transactions are among the readers of `snapshots`.
    pub fn new(snapshots: &Arc<Snapshots>, budget: Arc<Budget>, bytes_max: u64) -> Ssi {
        Ssi {
            facts: Mutex::new(Facts::new(&budget, bytes_max)),
            snapshots: Arc::clone(snapshots),
            quick: Padded::default(),
            since_pruning: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            ended: Condvar::new(),
        }
    }

    /// Registers `who`, a serializable transaction, as a reader at what `read` answers; in all else as [`Snapshots::register`]. What it needs of
    /// versions and facts is kept until the registration ends, or [`Registration::leave_the_serializable`].
    ///
    /// ```
    /// use duramen_base::{Budget, Timestamp, TxnOrigin};
    /// use duramen_txn::{Snapshots, Ssi};
    /// let (snapshots, me) = (Snapshots::new(), TxnOrigin::here(None));
    /// let ssi = Ssi::new(&snapshots, Budget::new(1 << 20), 1 << 20);
    /// let reader = ssi.begin(&me, true, || Timestamp::new(3));
    /// assert!(!ssi.is_safe(Timestamp::new(5)) && ssi.is_safe(Timestamp::new(3)));
    /// assert_eq!(snapshots.oldest_active(), Some(Timestamp::new(3)));
    /// drop(reader);
    /// assert!(ssi.is_safe(Timestamp::new(5)));
    /// ```
    #[inline]
    pub fn begin(&self, who: &TxnOrigin, may_write: bool, read: impl Fn() -> Timestamp) -> Registration {
        self.snapshots.register_as(who, role(may_write), read)
    }

    /// As [`Ssi::begin`], at exactly `ts`; `None` if facts or versions it needs may be gone, or somebody relies on it that nobody begins there.
    #[cfg(test)]
    fn enlist(&self, who: &TxnOrigin, ts: Timestamp, may_write: bool) -> Option<Registration> {
        self.snapshots.register_at_as(who, role(may_write), ts)
    }

    /// Notes who reads at `now`, serializable or not, and ends whoever reads for longer than `age_max`: it is not waited for any more, and its
    /// commit is [`Error::SnapshotTooOld`]. Says how many were ended.
    ///
    /// ```
    /// # use duramen_base::{Budget, Timestamp, TxnOrigin};
    /// # use duramen_txn::{Snapshots, Ssi};
    /// # use std::time::Duration;
    /// # let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    /// let forgotten = ssi.begin(&TxnOrigin::here(None), true, || Timestamp::new(3));
    /// ssi.end_older(Duration::ZERO, Duration::from_secs(5));
    /// assert_eq!(ssi.end_older(Duration::from_secs(6), Duration::from_secs(5)), 1);
    /// assert!(forgotten.is_ended() && ssi.is_safe(Timestamp::new(5)));
    /// ```
    pub fn end_older(&self, now: Duration, age_max: Duration) -> usize {
        let ended = self.snapshots.end_older(now, age_max);
        if ended > 0 {
            self.note_end();
        }
        ended
    }

    /// Checks `claim` and, if it may commit, calls `sequence` for its number and enters it, in one section (D1).
    ///
    /// # Errors
    /// [`Error::SerializationFailure`]: it may not. [`Error::SnapshotTooOld`]: nobody knows any more (D3). `sequence`
    /// was not called.
    pub fn commit<P>(&self, claim: Claim, sequence: impl FnOnce() -> (Timestamp, P)) -> Result<(Timestamp, P)> {
        let mut check = Check::new(&claim, false);
        let from = self.look_ahead(&mut check)?;
        let mut facts = lock_soon(&self.facts);
        if claim.is_ended() {
            return Err(too_old());
        }
        facts.check_since(&from, &mut check)?;
        check.judge()?;
        let (ts, placed) = sequence();
        let min_out = check.into_min_out();
        if min_out.is_some() {
            // Before the registration ends, whose end is seen with an Acquire (D6).
            self.quick.newest_pivot.fetch_max(ts.get(), Ordering::Relaxed);
        }
        facts.enter(Fact { ts, min_out, reads: claim.reads, writes: claim.writes, origin: claim.origin });
        Ok((ts, placed))
    }

    /// Checks a transaction that wrote nothing, and enters it.
    ///
    /// # Errors
    /// As [`Ssi::commit`].
    ///
    /// ```
    /// # use duramen_base::{Budget, Timestamp, TxnOrigin};
    /// # use duramen_txn::{Claim, Footprint, Snapshots, Ssi};
    /// # let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    /// # let (reads, writes, origin) = (Footprint::default(), Footprint::default(), TxnOrigin::here(None));
    /// ssi.commit_read_only(Claim { snapshot_ts: Some(Timestamp::new(1)), reads, writes, origin, enlisted: None })?;
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn commit_read_only(&self, claim: Claim) -> Result<()> {
        let Some(snapshot_ts) = claim.snapshot_ts else { return Ok(()) };
        let mut check = Check::new(&claim, true);
        let from = self.look_ahead(&mut check)?;
        let mut facts = lock_soon(&self.facts);
        if claim.is_ended() {
            return Err(too_old());
        }
        facts.check_since(&from, &mut check)?;
        check.judge()?;
        let Claim { reads, writes, origin, .. } = claim;
        facts.enter_reader(Fact { ts: snapshot_ts, min_out: None, reads, writes, origin });
        Ok(())
    }

    /// Enters a transaction whose reads were locked until now, with the number `sequence` gives it. Never refused:
    /// under its locks nobody who committed before it can have overwritten what it read.
    ///
    /// ```
    /// # use duramen_base::{Budget, Timestamp, TxnOrigin};
    /// # use duramen_txn::{Claim, Footprint, Snapshots, Ssi};
    /// # let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    /// # let (reads, writes, origin) = (Footprint::default(), Footprint::default(), TxnOrigin::here(None));
    /// let claim = Claim { snapshot_ts: None, reads, writes, origin, enlisted: None };
    /// assert_eq!(ssi.enter_locked(claim, || (Timestamp::new(7), "placed")), (Timestamp::new(7), "placed"));
    /// ```
    pub fn enter_locked<P>(&self, claim: Claim, sequence: impl FnOnce() -> (Timestamp, P)) -> (Timestamp, P) {
        let mut facts = self.facts.lock();
        let (ts, placed) = sequence();
        let Claim { reads, writes, origin, .. } = claim;
        if mutant!("forget_locked_transactions") {
            return (ts, placed);
        }
        facts.enter(Fact { ts, min_out: None, reads, writes, origin });
        (ts, placed)
    }

    /// Enters a read-only transaction whose reads are still locked. `newest` is asked for the newest number handed out.
    ///
    /// ```
    /// # use duramen_base::{Budget, Timestamp, TxnOrigin};
    /// # use duramen_txn::{Claim, Footprint, Snapshots, Ssi};
    /// # let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    /// # let (reads, writes, origin) = (Footprint::default(), Footprint::default(), TxnOrigin::here(None));
    /// ssi.enter_locked_reader(Claim { snapshot_ts: None, reads, writes, origin, enlisted: None }, || Timestamp::new(7));
    /// ```
    pub fn enter_locked_reader(&self, claim: Claim, newest: impl FnOnce() -> Timestamp) {
        let mut facts = self.facts.lock();
        let Claim { reads, writes, origin, .. } = claim;
        facts.enter_reader(Fact { ts: newest(), min_out: None, reads, writes, origin });
    }

    /// Whether a transaction that wrote nothing and read at `ts`, registered by [`Ssi::begin`], may go unchecked (D4).
    #[inline]
    pub fn is_safe(&self, ts: Timestamp) -> bool {
        // Relaxed: the answer was worked out, and stays true, whatever else is seen.
        self.quick.safe_at.load(Ordering::Relaxed) == ts.get() || self.find_safe(ts)
    }

    #[cold]
    fn find_safe(&self, ts: Timestamp) -> bool {
        // The writers first: one that ends in between has become a fact before. One that was ended may be in its section: the latch waits for it.
        let by_facts = || self.facts.lock().is_safe(ts);
        let is_safe = match self.snapshots.writers_below(ts) {
            WritersBelow::Somebody if mutant!("safe_beside_older_writers") => by_facts(),
            WritersBelow::Somebody => return false,
            WritersBelow::Ended => by_facts(),
            WritersBelow::Nobody => self.quick.newest_pivot.load(Ordering::Relaxed) <= ts.get() || by_facts(),
        };
        if is_safe {
            self.quick.safe_at.store(ts.get(), Ordering::Relaxed);
        }
        is_safe
    }

    /// Waits until no read-write serializable transaction that reads below `ts` lives, for `at_most` or less; whether
    /// it is so. Later ones read at `ts` or above.
    ///
    /// ```
    /// # use duramen_base::{Budget, Timestamp};
    /// # use duramen_txn::{Snapshots, Ssi};
    /// # let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    /// assert!(ssi.wait_for_writers_below(Timestamp::new(9)));
    /// ```
    pub fn wait_for_writers_below(&self, ts: Timestamp) -> bool {
        if !self.has_writer_below(ts) {
            return true;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.sleep.lock();
        let free = !self.has_writer_below(ts);
        if !free {
            self.ended.wait_for(&mut guard, LOOK_AGAIN);
        }
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        free || !self.has_writer_below(ts)
    }

    /// To be called when a serializable transaction has given its registration back.
    ///
    /// ```
    /// # use duramen_base::Budget;
    /// duramen_txn::Ssi::new(&duramen_txn::Snapshots::new(), Budget::new(1 << 20), 1 << 20).note_end();
    /// ```
    pub fn note_end(&self) {
        // Pairs with the count of a waiter, which looks at the registrations after it: one sees the other.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            drop(self.sleep.lock());
            self.ended.notify_all();
        }
    }

    /// Drops facts that nobody needs (D2), now and then; `acked` is that horizon.
    ///
    /// ```
    /// # use duramen_base::{Budget, Timestamp};
    /// let ssi = duramen_txn::Ssi::new(&duramen_txn::Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    /// ssi.prune_sometimes(|| Timestamp::new(9));
    /// assert_eq!(ssi.counts(), (0, 0));
    /// ```
    pub fn prune_sometimes(&self, acked: impl Fn() -> Timestamp) {
        if self.since_pruning.fetch_add(1, Ordering::Relaxed) >= COMMITS_PER_PRUNING {
            self.since_pruning.store(0, Ordering::Relaxed);
            self.prune(acked);
        }
    }

    /// D2: what lies at or below every reader, of now and later, goes.
    fn prune(&self, acked: impl Fn() -> Timestamp) {
        let horizon = acked();
        // Who registers meanwhile is found, or reads at the horizon or above.
        let oldest = self.snapshots.oldest_serial(horizon);
        let oldest = if mutant!("forget_facts_early") { horizon } else { oldest };
        self.facts.lock().drop_through(oldest);
    }

    /// Facts kept, of read-write and of read-only transactions.
    pub fn counts(&self) -> (usize, usize) {
        self.facts.lock().counts()
    }

    fn has_writer_below(&self, ts: Timestamp) -> bool {
        self.snapshots.writers_below(ts) == WritersBelow::Somebody
    }

    /// Looks at most of the facts before the section, if they are many; from where the section has to go on.
    fn look_ahead(&self, check: &mut Check<'_>) -> Result<Position> {
        let Some(snapshot_ts) = check.snapshot_ts() else { return Ok(Position::NOTHING) };
        let (seen, from) = {
            let facts = lock_soon(&self.facts);
            if facts.count_after(snapshot_ts) <= FACTS_IN_SECTION_MAX {
                return Ok(facts.position_after(snapshot_ts));
            }
            (facts.after(snapshot_ts), facts.end())
        };
        seen.iter().try_for_each(|fact| check.see(fact))?;
        Ok(from)
    }
}

fn role(may_write: bool) -> Role {
    if may_write { Role::SerialWriter } else { Role::SerialReader }
}

impl fmt::Debug for Ssi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (commits, readers) = self.counts();
        f.debug_struct("Ssi").field("commits", &commits).field("readers", &readers).finish()
    }
}

/// What D3 and D5 answer to whom it concerns.
fn too_old() -> Error {
    Error::SnapshotTooOld
}
