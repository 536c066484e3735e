//! The facts about serializable transactions that committed: in order, bounded, dropped from the old end.
//!
//! A plain structure under the mutex of `ssi.rs`; it decides nothing.
//!
//! G1  `commits` ascends by ts, and is entered in that order; `readers` (read-only ones, ts = what they read at) ascends too.
//! G2  `bytes` is the sum over all facts.

use std::collections::VecDeque;

use duramen_base::sync::Arc;
use duramen_base::{Budget, Reservation, Result, Timestamp, TxnOrigin};

use super::rule::Check;
use super::too_old;
use crate::footprint::Footprint;

/// Memory of a fact beside its footprints.
const FACT_BYTES: usize = 160;
/// The budget is told in steps of this many bytes.
const RESERVE_STEP_BYTES: u64 = 64 << 10;

/// A serializable transaction that committed.
#[derive(Debug)]
pub(crate) struct Fact {
    /// When; of one that wrote nothing, what it read at.
    pub(crate) ts: Timestamp,
    /// The first of those that overwrote what it had read, and committed before it.
    pub(crate) min_out: Option<MinOut>,
    pub(crate) reads: Footprint,
    pub(crate) writes: Footprint,
    pub(crate) origin: TxnOrigin,
}

/// The first that overwrote what a transaction had read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinOut {
    pub(crate) ts: Timestamp,
    pub(crate) origin: TxnOrigin,
}

impl Fact {
    fn bytes(&self) -> u64 {
        (FACT_BYTES + self.reads.bytes() + self.writes.bytes()) as u64
    }
}

/// A place in the facts, which stays valid while others are dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// How many commits were entered before it.
    commits: u64,
    /// Read-only ones entered after this many count, wherever in order they stand.
    readers: u64,
}

impl Position {
    /// Behind everything: for one who need not look.
    pub(super) const NOTHING: Position = Position { commits: u64::MAX, readers: u64::MAX };
}

/// See the module.
#[derive(Debug)]
pub(super) struct Facts {
    commits: VecDeque<Arc<Fact>>,
    /// How many commits were dropped.
    dropped: u64,
    /// With the number of its arrival.
    readers: VecDeque<(u64, Arc<Fact>)>,
    arrivals: u64,
    bytes: u64,
    bytes_max: u64,
    /// Facts up to here were dropped although somebody may need them.
    forgotten: Timestamp,
    memory: Reservation,
}

impl Facts {
    pub(super) fn new(budget: &Arc<Budget>, bytes_max: u64) -> Facts {
        Facts {
            commits: VecDeque::new(),
            dropped: 0,
            readers: VecDeque::new(),
            arrivals: 0,
            bytes: 0,
            bytes_max,
            forgotten: Timestamp::ZERO,
            memory: budget.reserve_anyway(0),
        }
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.commits.len(), self.readers.len())
    }

    /// Before the first fact above `ts`.
    pub(super) fn position_after(&self, ts: Timestamp) -> Position {
        let commits = self.dropped + self.commits.partition_point(|fact| fact.ts <= ts) as u64;
        Position { commits, readers: 0 }
    }

    /// Behind all.
    pub(super) fn end(&self) -> Position {
        Position { commits: self.dropped + self.commits.len() as u64, readers: self.arrivals }
    }

    /// How many facts are above `ts`.
    pub(super) fn count_after(&self, ts: Timestamp) -> usize {
        self.commits.len() - self.index_of(&self.position_after(ts)) + self.readers_after(ts).count()
    }

    /// The facts above `ts`.
    pub(super) fn after(&self, ts: Timestamp) -> Vec<Arc<Fact>> {
        let commits = self.commits.range(self.index_of(&self.position_after(ts))..);
        commits.chain(self.readers_after(ts).map(|(_, fact)| fact)).cloned().collect()
    }

    /// The read-only ones above `ts`, latest first.
    fn readers_after(&self, ts: Timestamp) -> impl Iterator<Item = &(u64, Arc<Fact>)> {
        self.readers.iter().rev().take_while(move |(_, fact)| fact.ts > ts)
    }

    /// Shows `check` what lies behind `from`.
    pub(super) fn check_since(&self, from: &Position, check: &mut Check<'_>) -> Result<()> {
        let Some(snapshot_ts) = check.snapshot_ts() else { return Ok(()) };
        if snapshot_ts < self.forgotten {
            return Err(too_old()); // D3
        }
        self.commits.range(self.index_of(from)..).try_for_each(|fact| check.see(fact))?;
        let newer = self.readers_after(snapshot_ts).filter(|(arrival, _)| *arrival >= from.readers);
        newer.map(|(_, fact)| fact).try_for_each(|fact| check.see(fact))
    }

    pub(super) fn enter(&mut self, fact: Fact) {
        debug_assert!(self.commits.back().is_none_or(|last| last.ts < fact.ts), "G1: commits are entered in order");
        self.bytes += fact.bytes();
        self.commits.push_back(Arc::new(fact));
        self.bound();
    }

    pub(super) fn enter_reader(&mut self, fact: Fact) {
        self.bytes += fact.bytes();
        let later = self.readers.iter().rev().take_while(|(_, other)| other.ts > fact.ts).count();
        self.readers.insert(self.readers.len() - later, (self.arrivals, Arc::new(fact)));
        self.arrivals += 1;
        self.bound();
    }

    /// D4 of `ssi.rs`, the half about facts.
    pub(super) fn is_safe(&self, ts: Timestamp) -> bool {
        let above = self.commits.iter().rev().take_while(|fact| fact.ts > ts);
        let mut outs = above.filter_map(|fact| fact.min_out);
        self.forgotten <= ts && !outs.any(|out| out.ts <= ts)
    }

    /// Drops facts up to `oldest`, below which nobody reads.
    pub(super) fn drop_through(&mut self, oldest: Timestamp) {
        while self.commits.front().is_some_and(|fact| fact.ts <= oldest) {
            self.drop_commit();
        }
        while self.readers.front().is_some_and(|(_, fact)| fact.ts <= oldest) {
            self.drop_reader();
        }
        self.resize();
    }

    /// D3 of `ssi.rs`: the oldest go until the rest fits.
    fn bound(&mut self) {
        while self.bytes > self.bytes_max {
            let commit = self.commits.front().map(|fact| fact.ts);
            let reader = self.readers.front().map(|(_, fact)| fact.ts);
            let dropped = match (commit, reader) {
                (Some(commit), Some(reader)) if reader < commit => self.drop_reader(),
                (Some(_), _) => self.drop_commit(),
                (None, Some(_)) => self.drop_reader(),
                (None, None) => break,
            };
            self.forgotten = self.forgotten.max(dropped);
        }
        if self.bytes > self.memory.bytes() {
            self.resize();
        }
    }

    fn drop_commit(&mut self) -> Timestamp {
        let fact = self.commits.pop_front().expect("the caller looked");
        self.dropped += 1;
        self.bytes -= fact.bytes();
        fact.ts
    }

    fn drop_reader(&mut self) -> Timestamp {
        let (_, fact) = self.readers.pop_front().expect("the caller looked");
        self.bytes -= fact.bytes();
        fact.ts
    }

    fn resize(&mut self) {
        let held = self.bytes.next_multiple_of(RESERVE_STEP_BYTES);
        if held != self.memory.bytes() {
            self.memory.resize(held);
        }
    }

    fn index_of(&self, from: &Position) -> usize {
        (from.commits.saturating_sub(self.dropped) as usize).min(self.commits.len())
    }
}
