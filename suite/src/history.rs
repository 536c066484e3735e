//! Random histories: what threads did and saw, and two checkers that must both find nothing forbidden.
//!
//! This file has the words. `history/workload.rs` makes histories, `history/order.rs` knows the true order of versions, `history/promise.rs` holds
//! each transaction to its own level, `history/graph.rs` looks for cycles, `history/outside.rs` asks the crate `adya`.
//!
//! H1  Every written value is unique, so a read tells which version it saw.
//! H2  Versions of a key are ordered by the commit timestamps the engine returned: nothing about their order is guessed.
//! H3  Moments are numbers of one counter, taken before a call and after it returned; the smaller one was earlier in real time.
//! H4  An unknown outcome, or a checker that cannot tell, is a complaint, never a pass.

mod campaign;
mod graph;
mod order;
mod outside;
mod promise;
mod sight;
#[cfg(test)]
mod tests;
mod workload;

pub use campaign::{HistoriesFound, HistoriesRow};

use std::collections::BTreeMap;

use duramen::Result;

use crate::setting::Setting;
use crate::target::Target;

/// What the transactions of a history do.
///
/// See [`HistoryOptions`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistoryKind {
    /// Append to lists, by reading and writing them, and read them.
    Lists,
    /// Write registers, with and without reading them first, and read them.
    Registers,
    /// Registers, with scans of ranges in which keys appear. Predicates are beyond `adya`, so only the own checker sees these.
    Ranges,
}

impl HistoryKind {
    /// All of them.
    pub const ALL: [HistoryKind; 3] = [HistoryKind::Lists, HistoryKind::Registers, HistoryKind::Ranges];
}

/// A random history to make.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{HistoryKind, HistoryOptions, Setting, Target};
/// let options = HistoryOptions { transactions: 20, ..HistoryOptions::new(HistoryKind::Lists, 1) };
/// let snapshot = Setting::parse("Snapshot/Optimistic").expect("a setting");
/// let found = options.run(&Target::tiny(BackendKind::BTree), &[snapshot])?;
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// assert!(found.committed > 0 && HistoryKind::ALL.len() == 3);
/// assert!(found.adya_lines.starts_with("{"));
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HistoryOptions {
    /// What transactions do.
    pub kind: HistoryKind,
    /// Decides what they do; which of them meet is up to the machine.
    pub seed: u64,
    /// Threads that run at the same time.
    pub threads: usize,
    /// Transactions of each.
    pub transactions: usize,
    /// Keys they share. The fewer, the hotter.
    pub keys: u32,
}

impl HistoryOptions {
    /// Eight threads on six keys.
    pub fn new(kind: HistoryKind, seed: u64) -> HistoryOptions {
        HistoryOptions { kind, seed, threads: 8, transactions: 40, keys: 6 }
    }

    /// Makes a history in a new database, each transaction at one of `settings`, and checks it.
    ///
    /// # Errors
    /// What the engine answered that no transaction should meet; `Unsupported` if it does not offer a setting, or what the kind needs at it.
    pub fn run(&self, target: &Target, settings: &[Setting]) -> Result<HistoryFound> {
        let history = workload::make(self, target, settings)?;
        let order = order::Order::of(&history);
        let mut complaints = order.complaints.clone();
        complaints.extend(promise::check(&history, &order));
        let cycles = graph::check(&history, &order, settings);
        complaints.extend(cycles.complaints);
        let adya_lines = outside::lines(self.kind, &history);
        complaints.extend(outside::check(self.kind, &history, &adya_lines, settings));
        let committed = history.transactions.iter().filter(|t| matches!(t.end, End::Committed(_))).count();
        let aborted = history.transactions.len() - committed;
        let name = format!("{:?} of seed {} on {} at {settings:?}", self.kind, self.seed, target.name());
        let complaints = complaints.into_iter().map(|what| format!("{name}: {what}")).collect();
        Ok(HistoryFound { complaints, shown: cycles.shown, committed, aborted, adya_lines })
    }
}

/// What was found in a history.
///
/// See [`HistoryOptions`] for an example.
#[derive(Clone, Debug)]
pub struct HistoryFound {
    /// What is forbidden and was seen, or could not be judged; each with what repeats it.
    pub complaints: Vec<String>,
    /// Phenomena seen, forbidden or not.
    pub shown: BTreeMap<&'static str, usize>,
    /// Transactions that committed.
    pub committed: usize,
    /// Transactions that the engine ended.
    pub aborted: usize,
    /// The history as JSON lines, as `adya` and other checkers read it.
    pub adya_lines: String,
}

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) transactions: Vec<Txn>,
    /// What each key holds in the end.
    pub(crate) state: BTreeMap<u32, Vec<u64>>,
    pub(crate) lists: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Txn {
    pub(crate) process: usize,
    pub(crate) setting: Setting,
    /// H3: before it began, and after it ended.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// Its snapshot, if it was fixed at the beginning.
    pub(crate) pinned: Option<u64>,
    pub(crate) ops: Vec<Op>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its timestamp, if it wrote.
    Committed(Option<u64>),
    Aborted,
}

#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// H3: before it.
    pub(crate) start: u64,
    pub(crate) what: What,
}

/// Values are lists; a register's has one element, an absent key's none. The last element names the version (H1).
#[derive(Clone, Debug)]
pub(crate) enum What {
    Read {
        key: u32,
        seen: Vec<u64>,
        locked: bool,
    },
    Write {
        key: u32,
        value: Vec<u64>,
    },
    /// From `low` up to, without, `high`.
    Scan {
        low: u32,
        high: u32,
        rows: Vec<(u32, Vec<u64>)>,
    },
}

impl Txn {
    /// When it committed, if it did and wrote.
    pub(crate) fn commit_ts(&self) -> Option<u64> {
        match self.end {
            End::Committed(ts) => ts,
            End::Aborted => None,
        }
    }

    pub(crate) fn is_committed(&self) -> bool {
        matches!(self.end, End::Committed(_))
    }
}
