//! Lanes: threads that apply operations, each those of its own keys, in the order in which they were given (RP1).
//!
//! A lane knows neither stores nor the log: it is given encoded operations in chunks, and calls what it was made with for each keyspace's share.
//! Who gives waits while a lane has [`CHUNKS_MAX`] chunks, so what is under way takes bounded memory.
//!
//! LN1  A chunk is taken by the lane that it was given to alone, and the next only when it is done.
//! LN2  After `settle` returned Ok, everything given before has been applied. The first error of a lane is returned by a later call, and nothing that
//!      was given to that lane behind it is applied.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use duramen_base::executor::{Executor, Job, JobHandle, Next};
use duramen_base::sync::{Arc, Condvar, Mutex, MutexGuard, thread};
use duramen_base::{Batch, BatchView, Error, LoggedOps, Op, OpKind, OpsOfKeyspace, Result, Timestamp, mutant};

/// More threads gain little: one reads the log for all of them.
const LANES_MAX: usize = 8;

/// A chunk is handed over when it is at least this long.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait for a lane.
const CHUNKS_MAX: usize = 4;

/// What a lane calls with its share of some commits to one keyspace, oldest first.
pub(super) type Apply = dyn Fn(&[LoggedOps<'_>]) -> Result<()> + Send + Sync;

/// Lanes at work. Dropping them ends them; what was given and not settled may then be applied or not.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Of the operations that are being given.
    lane_of_each: Vec<usize>,
    scratch: Batch,
}

/// One lane, as seen by who gives.
struct Lane {
    shared: Arc<Shared>,
    filling: Chunk,
    handle: JobHandle,
}

/// Shares of commits, encoded one behind the other, each a batch of one section.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    shares: Vec<(Timestamp, Range<usize>)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Chunk>,
    /// A chunk is being applied.
    busy: bool,
    /// Nothing will be given any more.
    closed: bool,
    /// The lane's thread is gone in the middle of a chunk: it panicked.
    gone: bool,
    error: Option<Error>,
}

impl Lanes {
    /// A lane for each processor; `None` where they would gain nothing, or nobody would run them.
    pub(super) fn start(executor: &dyn Executor, apply: Arc<Apply>) -> Option<Lanes> {
        let count = thread::processors().min(LANES_MAX);
        if count < 2 {
            return None;
        }
        let lane = |_| {
            let shared = Arc::<Shared>::default();
            let job = LaneJob { shared: Arc::clone(&shared), apply: Arc::clone(&apply) };
            // Without a thread for each, one thread does it all.
            let handle = executor.spawn("duramen-replay", Box::new(job)).ok().filter(JobHandle::has_thread)?;
            Some(Lane { shared, filling: Chunk::default(), handle })
        };
        let lanes = (0..count).map(lane).collect::<Option<Vec<Lane>>>()?;
        Some(Lanes { lanes, lane_of_each: Vec::new(), scratch: Batch::new() })
    }

    /// Gives the operations of one commit, each to the lane of its key. Waits while that lane has enough to do.
    pub(super) fn give(&mut self, ts: Timestamp, ops: &OpsOfKeyspace<'_>) -> Result<()> {
        debug_assert!(ops.iter().all(|op| op.kind != OpKind::DeleteRange), "RP2: a range has keys of every lane");
        let count = self.lanes.len();
        self.lane_of_each.clear();
        self.lane_of_each.extend(ops.iter().map(|op| lane_of(ts, &op, count)));
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if !self.lane_of_each.contains(&index) {
                continue;
            }
            let its_own = ops.iter().zip(&self.lane_of_each).filter(|&(_, &of)| of == index).map(|(op, _)| op);
            self.scratch.clear();
            self.scratch.section(ops.keyspace(), its_own);
            lane.filling.push(ts, &self.scratch);
            if lane.filling.bytes.len() >= CHUNK_BYTES {
                lane.hand_over()?;
            }
        }
        Ok(())
    }

    /// Waits until everything given was applied (LN2).
    pub(super) fn settle(&mut self) -> Result<()> {
        for lane in &mut self.lanes {
            lane.hand_over()?;
        }
        self.lanes.iter_mut().try_for_each(Lane::wait)
    }
}

/// RP1: the same for all operations on a key.
fn lane_of(ts: Timestamp, op: &Op<'_>, count: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(op.key);
    if mutant!("lane_of_a_commit") {
        hasher.write_u64(ts.get());
    }
    (hasher.finish() % count as u64) as usize
}

impl Chunk {
    fn push(&mut self, ts: Timestamp, share: &Batch) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(share.bytes());
        self.shares.push((ts, start..self.bytes.len()));
    }

    /// Keyspace by keyspace: what is done once for many commits to one is the less for each.
    fn apply(&self, apply: &Apply) -> Result<()> {
        let mut commits: Vec<LoggedOps<'_>> = Vec::with_capacity(self.shares.len());
        for (ts, range) in &self.shares {
            let share = BatchView::parse(&self.bytes[range.clone()]).expect("a lane gets what was checked");
            commits.extend(share.sections().map(|ops| (*ts, ops)));
        }
        commits.sort_by_key(|(_, ops)| ops.keyspace());
        commits.chunk_by(|(_, one), (_, next)| one.keyspace() == next.keyspace()).try_for_each(apply)
    }
}

impl Lane {
    fn hand_over(&mut self) -> Result<()> {
        if self.filling.shares.is_empty() {
            return Ok(());
        }
        let next = Chunk { bytes: Vec::with_capacity(self.filling.bytes.len()), ..Chunk::default() };
        let chunk = std::mem::replace(&mut self.filling, next);
        let has_enough = |state: &State| state.waiting.len() >= CHUNKS_MAX;
        let mut state = self.shared.wait_while(has_enough, &mut self.handle)?;
        state.waiting.push_back(chunk);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let is_at_work = |state: &State| state.busy || !state.waiting.is_empty();
        self.shared.wait_while(is_at_work, &mut self.handle).map(drop)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// What a lane's thread runs: a chunk in each step.
struct LaneJob {
    shared: Arc<Shared>,
    apply: Arc<Apply>,
}

impl Job for LaneJob {
    fn step(&mut self) -> Next {
        let Some((chunk, turn)) = self.shared.next_chunk() else { return Next::Done };
        let outcome = chunk.apply(&*self.apply);
        turn.end(outcome)
    }
}

impl Shared {
    /// For who gives: waits while `holds`, unless the lane met an error; a panic of the lane's thread goes on here.
    fn wait_while(&self, holds: impl Fn(&State) -> bool, handle: &mut JobHandle) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        while holds(&state) && state.error.is_none() && !state.gone {
            self.changed.wait(&mut state);
        }
        if state.gone {
            drop(state);
            handle.stop();
            unreachable!("a lane that is gone ended by a panic");
        }
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }

    /// Waits for a chunk (LN1); `None`: there will be no more.
    fn next_chunk(&self) -> Option<(Chunk, Turn<'_>)> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(chunk) = state.waiting.pop_front() {
                state.busy = true;
                return Some((chunk, Turn { shared: self }));
            }
            self.changed.wait(&mut state);
        }
    }
}

/// A chunk that is being applied. Dropped before its end: by a panic.
struct Turn<'a> {
    shared: &'a Shared,
}

impl Turn<'_> {
    fn end(self, outcome: Result<()>) -> Next {
        let mut state = self.shared.state.lock();
        state.busy = false;
        let next = match outcome {
            Ok(()) => Next::Again,
            Err(error) => {
                state.closed = true;
                state.waiting.clear();
                state.error = Some(error);
                Next::Done
            }
        };
        drop(state);
        next
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.gone |= state.busy;
        drop(state);
        self.shared.changed.notify_all();
    }
}

#[cfg(all(test, feature = "testing"))]
mod schedules;
#[cfg(all(test, not(duramen_sim)))]
mod tests;
