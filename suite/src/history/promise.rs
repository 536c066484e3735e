//! Holds each committed transaction to its own level, without a cycle in sight: by the snapshots at which its reads are true.
//!
//! Every read is true from the commit of what it saw until the next commit to that key. So:
//!
//! V1  ReadCommitted: each operation has a snapshot of its own; they never go back, and contain every commit that returned before the operation.
//! V2  Snapshot, and optimistic Serializable: one snapshot for all, with every commit that returned before; no other commit to a key it wrote
//!     between that snapshot and its own commit.
//! V3  RepeatableRead: every key it read is still as read when it commits.
//! V4  Serializable under locks: so is every range it scanned.
//! V5  At every level: what was read with a lock is still as read when the transaction commits.
//! V6  A transaction sees what it wrote.

use duramen::{Concurrency, IsolationLevel};

use super::order::Order;
use super::sight::{Sight, sights};
use super::workload::is_ssi;
use super::{History, Txn, What};

/// What is wrong, one line each.
pub(super) fn check(history: &History, order: &Order) -> Vec<String> {
    let committed = history.transactions.iter().enumerate().filter(|(_, txn)| txn.is_committed());
    committed
        .flat_map(|(index, txn)| {
            let found = Judge { txn, order }.judge();
            found.into_iter().map(move |what| format!("T{index} ({}): {what}", txn.setting))
        })
        .collect()
}

struct Judge<'a> {
    txn: &'a Txn,
    order: &'a Order,
}

impl Judge<'_> {
    fn judge(&self) -> Vec<String> {
        let (sights, mut complaints) = sights(self.txn, self.order);
        if self.txn.setting.level == IsolationLevel::ReadUncommitted {
            complaints.retain(|what| what.starts_with("V6"));
            complaints.extend(self.keeps_locked(&sights));
            return complaints;
        }
        complaints.extend(self.keeps_locked(&sights));
        complaints.extend(match self.txn.setting.level {
            IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => self.moves_on(&sights),
            IsolationLevel::RepeatableRead => self.holds_to_commit("V3", sights.iter().filter(|sight| !sight.is_gap)),
            IsolationLevel::Snapshot => self.one_snapshot(&sights),
            IsolationLevel::Serializable if is_ssi(self.txn.setting) => self.one_snapshot(&sights),
            IsolationLevel::Serializable => self.holds_to_commit("V4", sights.iter()),
        });
        complaints
    }

    /// V1.
    fn moves_on(&self, sights: &[Sight]) -> Option<String> {
        let mut at = 0;
        let mut rest = sights;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|sight| sight.start == first.start).count();
            let (operation, later) = rest.split_at(count);
            let from = operation.iter().map(|sight| sight.valid.from).max().unwrap_or(0);
            let earliest = at.max(from).max(self.order.acknowledged_before(first.start));
            if let Some(broken) = operation.iter().find(|sight| sight.valid.to <= earliest) {
                return Some(format!("V1: key {} was read as before {}, at {earliest}", broken.key, broken.valid.to));
            }
            at = earliest;
            rest = later;
        }
        None
    }

    /// V2.
    fn one_snapshot(&self, sights: &[Sight]) -> Option<String> {
        let pinned = self.txn.pinned;
        let begin = if pinned.is_some() { self.txn.began } else { self.first_read()? };
        let acknowledged = self.order.acknowledged_before(begin);
        let from = sights.iter().map(|sight| sight.valid.from).max().unwrap_or(0).max(acknowledged);
        let to = sights.iter().map(|sight| sight.valid.to).min().unwrap_or(u64::MAX);
        let from = from.max(pinned.unwrap_or(0));
        let last = pinned.unwrap_or(to.saturating_sub(1));
        if from >= to || from > last {
            return Some(format!("V2: no snapshot shows all it read: from {from} up to {to}, fixed at {pinned:?}"));
        }
        let commit_ts = self.txn.commit_ts()?;
        if from >= commit_ts {
            return Some(format!("V2: it read at {from} or later, and committed at {commit_ts}"));
        }
        let written = self.txn.ops.iter().filter_map(|op| match &op.what {
            What::Write { key, .. } => Some(*key),
            What::Read { .. } | What::Scan { .. } => None,
        });
        for key in written {
            let between = self.order.versions(key).iter().find(|other| other.ts > last && other.ts < commit_ts);
            if let Some(other) = between {
                let what = format!("V2: T{} wrote key {key} at {}", other.txn, other.ts);
                return Some(format!("{what}, between its snapshot ({last} at the latest) and its commit {commit_ts}"));
            }
        }
        None
    }

    /// V3, V4: all are true at its commit; of one that only read, at one moment that had not passed when it began to read.
    fn holds_to_commit<'s>(&self, rule: &str, sights: impl Iterator<Item = &'s Sight>) -> Option<String> {
        let sights: Vec<&Sight> = sights.collect();
        let from = sights.iter().map(|sight| sight.valid.from).max()?;
        if let Some(commit_ts) = self.txn.commit_ts() {
            let broken = sights.iter().find(|sight| sight.valid.to < commit_ts)?;
            let (key, to) = (broken.key, broken.valid.to);
            return Some(format!("{rule}: key {key} as read was overwritten at {to}, before its commit {commit_ts}"));
        }
        let is_current = self.txn.setting.mode == Concurrency::Pessimistic;
        let begin = if is_current { sights.iter().map(|sight| sight.start).max()? } else { self.first_read()? };
        let from = from.max(self.order.acknowledged_before(begin));
        let broken = sights.iter().find(|sight| sight.valid.to <= from)?;
        let (key, to) = (broken.key, broken.valid.to);
        Some(format!("{rule}: key {key} was read as before {to}, and something else as of {from}"))
    }

    /// When it began to read at the latest. Of a key that it wrote itself it may not need a snapshot.
    fn first_read(&self) -> Option<u64> {
        let reads = self.txn.ops.iter().find(|op| !matches!(op.what, What::Write { .. }));
        reads.map(|op| op.start)
    }

    /// V5.
    fn keeps_locked(&self, sights: &[Sight]) -> Option<String> {
        let commit_ts = self.txn.commit_ts()?;
        let broken = sights.iter().find(|sight| sight.locked && sight.valid.to < commit_ts)?;
        let (key, to) = (broken.key, broken.valid.to);
        Some(format!("V5: key {key} was read with a lock and overwritten at {to}, before its commit {commit_ts}"))
    }
}
