//! The commit protocol: from a write set to a commit that is visible and as durable as was asked for.
//!
//! ```text
//! 1 throttle; take commit-time locks, validate
//! 2 admit on every store; encode; stage in the log               -- up to here it may wait or fail, nothing happened yet
//! 3 sequence: take (ts, lsn), copy the record into the log       -- one short section (order.rs)
//! 4 apply to the stores                                          -- no I/O, no wait, no failure
//! 5 ratchet: publish in order, release locks                     -- order.rs
//! 6 wait: written or synced, then visible
//! ```
//! Q1  Nothing between sequencing and publication blocks on I/O, memory or a user lock.
//! Q2  A `Sync` commit returns Ok only when `durable >= ts`; a `Buffered` one only when its record was handed to the file system.
//! Q3  Who returns from a commit has raised `acked` to its timestamp, so the caller's next snapshot contains it.
//! Q4  Failing up to step 2 changes nothing; failing after step 3 is `Indeterminate`.
//! Q5  Memory that others hold is waited for with nothing held, helping them to bring it into files; what can never fit is refused at once.

mod handle;
mod order;
mod validate;

pub use handle::{CommitHandle, CommitInfo};
pub(crate) use order::{CommitOrder, Held};
pub(crate) use validate::{ReadChecks, is_range_newer};

use std::cell::Cell;
use std::time::Duration;

use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::{Arc, thread};
use duramen_base::{Admission, Admit, Batch, Deadline, Error, KeyspaceId, Lsn, Result, Timestamp, TxnOrigin, mutant};
use duramen_txn::{Claim, LockOwner, Plan, WriteLocks, WriteSet};
use smallvec::SmallVec;

use crate::core::Core;
use crate::host::waits_for_wrong_horizon;
use crate::keyspace::Inner as KeyspaceInner;
use crate::options::Durability;
use crate::throttle::HELPING_STEP;
use crate::transaction::OnBoard;

/// How long a commit waits for the commit-time locks of others, and for memory.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Looks at `acked`, giving way in between, before a reader syncs the log for what it read: a write and some switches of threads are over by then.
const LOOKS_BEFORE_SYNC: u32 = if cfg!(duramen_sim) { 2 } else { 16 };
/// Room made for a batch before its size is known: that of all but long transactions, in one allocation. A thread keeps it for its next commit.
const BATCH_ROOM_MIN: usize = 512;
const BATCH_ROOM_MAX: usize = 16 << 10;
/// From this size on the encoded batch is counted in the memory budget for as long as it lives: the same from which on write sets are.
const COUNTED_BATCH_BYTES_MIN: usize = 64 << 10;

/// Commits of a thread between two moments in which it gives way: a fraction of a millisecond, and a switch for so many costs little.
const COMMITS_PER_TURN: u32 = 64;

/// Of the keyspaces of a commit: mostly one or two.
type Admissions = SmallVec<[Admission; 2]>;

/// What a transaction asks to be committed.
pub(crate) struct Request<'a> {
    pub(crate) write_set: &'a WriteSet,
    /// The keyspaces it wrote, by id.
    pub(crate) keyspaces: &'a [Arc<KeyspaceInner>],
    /// What it read at, if it read; its registration is held by the caller.
    pub(crate) snapshot_ts: Option<Timestamp>,
    pub(crate) plan: &'a Plan,
    pub(crate) origin: TxnOrigin,
    /// Level and mode, for reports.
    pub(crate) isolation: &'static str,
    pub(crate) priority: i32,
    pub(crate) lock_timeout: Duration,
    /// What it locked as it wrote, taken when it is sequenced.
    pub(crate) locks: Cell<Option<LockOwner>>,
    /// What it read and must find unchanged.
    pub(crate) reads: Option<ReadChecks>,
    /// Asked after both were looked up: whether the past they were asked of was all there.
    pub(crate) check_kept: &'a dyn Fn() -> Result<()>,
    /// If it is serializable: what the others are told, taken when it is sequenced.
    pub(crate) claim: Cell<Option<Claim>>,
    /// Its entries on the dirty board, taken when it is applied.
    pub(crate) posted: Cell<Option<Box<OnBoard>>>,
}

impl Request<'_> {
    /// Keeps for the next attempt what was locked as it was written; what is locked at commit falls.
    fn keep_locks(&self, locks: LockOwner) {
        match self.plan.write_locks {
            WriteLocks::AtWrite => self.locks.set(Some(locks)),
            WriteLocks::AtCommit => drop(locks),
        }
    }
}

/// A commit that was sequenced and applied.
pub(crate) struct Sequenced {
    pub(crate) info: CommitInfo,
    pub(crate) end: Lsn,
}

/// How one attempt at steps 1 to 5 ended, if not in an error.
enum Attempt {
    Sequenced(Sequenced),
    /// A store lacks the memory for the moment; nothing happened, and nothing is held.
    LacksMemory {
        needed: u64,
    },
}

impl Core {
    /// Steps 1 to 5 (Q5).
    pub(crate) fn sequence(&self, request: &Request<'_>) -> Result<Sequenced> {
        let give_up_at = self.parts.clock.now() + COMMIT_WAIT_MAX;
        loop {
            match self.try_sequence(request, Deadline(Some(give_up_at)))? {
                Attempt::Sequenced(sequenced) => return Ok(sequenced),
                Attempt::LacksMemory { needed } if self.parts.clock.now() >= give_up_at => {
                    return Err(Error::MemoryTimeout { needed });
                }
                Attempt::LacksMemory { .. } => {
                    if !self.upkeep_step(HELPING_STEP, 1)? {
                        thread::yield_now();
                    }
                }
            }
        }
    }

    fn try_sequence(&self, request: &Request<'_>, deadline: Deadline) -> Result<Attempt> {
        self.check_writable()?;
        self.throttle_committer(request)?;
        let locks = self.lock_and_validate(request)?;

        let mut batch = empty_batch(request.write_set.bytes() as usize);
        request.write_set.encode(&mut batch);
        let gates = request.keyspaces.iter().map(|keyspace| keyspace.enter()).collect::<Result<SmallVec<[_; 2]>>>()?;
        let admissions = match self.admit(request, &batch, deadline)? {
            Ok(admissions) => admissions,
            Err(needed) => {
                request.keep_locks(locks);
                return Ok(Attempt::LacksMemory { needed });
            }
        };
        // Counted only now: what a transaction needs itself must not keep it from being admitted.
        let _batch_memory = (batch.bytes().len() >= COUNTED_BATCH_BYTES_MIN)
            .then(|| self.parts.budget.reserve_anyway(batch.bytes().len() as u64));
        let staged = self.wal.stage(batch.bytes());
        self.set_log_full(matches!(staged, Err(Error::DiskFull { .. })));
        let staged = staged?;

        let sequence = || self.order.sequence(|ts| staged.place_commit(ts));
        let (ts, placed) = match request.claim.take() {
            None => sequence(),
            Some(claim) => self.sequence_serializable(request.plan.serial, claim, sequence)?,
        };

        for ((keyspace, ops), admission) in request.keyspaces.iter().zip(batch.view().sections()).zip(admissions) {
            debug_assert_eq!(keyspace.id, ops.keyspace(), "sections are in the order of the keyspaces");
            keyspace.store.apply(admission, &ops, ts);
        }
        drop(gates);
        keep_batch(batch);
        let held = Held { _locks: locks.into_held(), _posted: request.posted.take(), origin: request.origin };
        self.order.applied(ts, Some(held));
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        let info = CommitInfo { ts, lsn: placed.lsn, log_epoch: self.wal.log_epoch() };
        Ok(Attempt::Sequenced(Sequenced { info, end: placed.end }))
    }

    /// Step 6, for a commit that waits.
    pub(crate) fn wait(&self, sequenced: &Sequenced, durability: Durability) -> Result<()> {
        let ts = sequenced.info.ts;
        // Written first: meanwhile others apply, so that the wait for them is mostly over when the write is.
        let outcome = match durability {
            Durability::None => {
                self.wake_log();
                Ok(())
            }
            Durability::Buffered => {
                // Not for this record: to have the next segment ready in time.
                self.wake_log();
                self.wal.write_through(sequenced.end)
            }
            Durability::Sync if waits_for_wrong_horizon() => self.wal.write_through(sequenced.end),
            Durability::Sync => self.wal.sync_through(sequenced.end),
        };
        self.order.wait_visible(ts);
        outcome.map_err(|_| Error::Indeterminate { ts })?;
        self.horizons.acknowledge(ts);
        if durability != Durability::Sync {
            give_way_in_turn();
        }
        Ok(())
    }

    /// Returns when everything up to `ts`, which is visible, was acknowledged: what a transaction read is then no longer provisional.
    ///
    /// A `None` or `Buffered` commit is acknowledged a moment after it became visible, by its own committer: that is waited for, since a sync costs
    /// a hundred times as much. Only behind a `Sync` commit, or a committer that does not come to run, the log is synced.
    pub(crate) fn wait_acked(&self, ts: Timestamp) -> Result<()> {
        for _ in 0..LOOKS_BEFORE_SYNC {
            if self.horizons.acked() >= ts {
                return Ok(());
            }
            thread::yield_now();
        }
        self.wal.sync_through_ts(ts).map_err(|_| Error::Indeterminate { ts })?;
        self.horizons.raise_durable(ts);
        Ok(())
    }

    /// Who locked as he wrote was slowed down then, before he held anything.
    fn throttle_committer(&self, request: &Request<'_>) -> Result<()> {
        match request.plan.write_locks {
            WriteLocks::AtWrite => self.throttle(),
            WriteLocks::AtCommit => {
                let bytes = request.write_set.bytes();
                request.keyspaces.iter().try_for_each(|keyspace| self.throttle_writer(keyspace, bytes))
            }
        }
    }

    /// Admissions of all stores, or the bytes that one of them lacks.
    fn admit(&self, request: &Request<'_>, batch: &Batch, deadline: Deadline) -> Result<Result<Admissions, u64>> {
        let mut admissions = Admissions::new();
        for (keyspace, ops) in request.keyspaces.iter().zip(batch.view().sections()) {
            keyspace.check_whole()?;
            let admitted = keyspace.store.admit(&ops, deadline);
            if let Err(error) = &admitted
                && self.is_damage(keyspace, error)
            {
                keyspace.check_whole()?; // it met damage while it made room
            }
            match admitted? {
                Admit::Granted(admission) => admissions.push(admission),
                Admit::LacksMemory { needed } => return Ok(Err(needed)),
            }
        }
        Ok(Ok(admissions))
    }
}

/// The commits of a thread since it last might have given way, and how often threads of this process had waited for another by then.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    commits: u32,
    waits: u64,
}

impl Turn {
    /// Whether a thread is to give way after one more commit: after every so many, if others of this process waited meanwhile. With more threads than
    /// processors each is stopped somewhere anyway, when its slice of some milliseconds is over: mostly in the middle of a transaction, which waits until
    /// its turn comes again, and whose locks others wait for. Here nobody does. Alone it keeps its slice: threads of other programs would take all of it.
    fn is_over(&mut self, waits: u64) -> bool {
        self.commits += 1;
        if self.commits < COMMITS_PER_TURN {
            return false;
        }
        let was_waited = waits != self.waits || mutant!("give_way_to_strangers");
        *self = Turn { commits: 0, waits };
        was_waited
    }
}

/// For a thread that does not sleep for its commits.
fn give_way_in_turn() {
    thread_local! {
        static TURN: Cell<Turn> = const { Cell::new(Turn { commits: 0, waits: 0 }) };
    }
    let is_over = TURN.try_with(|turn| {
        let mut now = turn.get();
        let is_over = now.is_over(thread::waits());
        turn.set(now);
        is_over
    });
    // Simulated threads share one real thread, and the scheduler stops them wherever it likes.
    if is_over.unwrap_or(false) && !cfg!(duramen_sim) {
        thread::yield_now();
    }
}

thread_local! {
    /// The memory of the batch that this thread committed last.
    static SPARE_BATCH: Cell<Option<Batch>> = const { Cell::new(None) };
}

/// An empty batch, for a write set of so many bytes.
fn empty_batch(bytes: usize) -> Batch {
    // While thread-locals are being destroyed there is none.
    let spare = SPARE_BATCH.try_with(Cell::take).ok().flatten();
    spare.unwrap_or_else(|| Batch::with_capacity(bytes.clamp(BATCH_ROOM_MIN, BATCH_ROOM_MAX)))
}

/// Keeps the memory of a small batch for the next one of this thread.
fn keep_batch(mut batch: Batch) {
    if batch.bytes().len() <= BATCH_ROOM_MAX {
        batch.clear();
        let _ = SPARE_BATCH.try_with(|spare| spare.set(Some(batch)));
    }
}

/// The keyspaces of a write set, in the order of its sections.
pub(crate) fn position_of(keyspaces: &[Arc<KeyspaceInner>], id: KeyspaceId) -> Result<usize, usize> {
    keyspaces.binary_search_by_key(&id, |keyspace| keyspace.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_nobody_waits_beside_keeps_its_slice() {
        let mut turn = Turn::default();
        turn.is_over(7);
        assert!((0..10 * COMMITS_PER_TURN).filter(|_| turn.is_over(7)).count() <= 1, "at most for the waits of before");
    }

    #[test]
    fn a_thread_gives_way_once_in_so_many_commits_while_others_wait() {
        let (mut turn, commits) = (Turn::default(), 10 * u64::from(COMMITS_PER_TURN));
        assert_eq!((1..=commits).filter(|&waits| turn.is_over(waits)).count(), 10);
    }
}
