//! The true order of versions, from commit timestamps (H2), and what each read saw of it.

use std::collections::BTreeMap;

use super::{End, History, What};

/// One version of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) ts: u64,
    /// Its last element.
    pub(super) element: u64,
    /// Index of the transaction that wrote it.
    pub(super) txn: usize,
}

/// The snapshots at which a read shows what it showed: from `from` up to, without, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Valid {
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Debug, Default)]
pub(super) struct Order {
    /// By key, in order of time.
    versions: BTreeMap<u32, Vec<Version>>,
    /// Who wrote each element that is no version: aborted, or overwritten by its own transaction.
    others: BTreeMap<u64, (usize, bool)>,
    pub(super) complaints: Vec<String>,
    /// `(moment, ts)`: when a commit returned, and the newest timestamp returned until then.
    acknowledged: Vec<(u64, u64)>,
}

impl Order {
    pub(super) fn of(history: &History) -> Order {
        let mut order = Order::default();
        for (index, txn) in history.transactions.iter().enumerate() {
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            for op in &txn.ops {
                let What::Write { key, value } = &op.what else { continue };
                let element = value.last().copied().unwrap_or_default();
                if let Some(before) = last.insert(*key, element) {
                    order.others.insert(before, (index, txn.is_committed()));
                }
            }
            for (key, element) in last {
                match txn.end {
                    End::Committed(Some(ts)) => {
                        order.versions.entry(key).or_default().push(Version { ts, element, txn: index });
                    }
                    End::Committed(None) => order.complaints.push(format!("T{index} wrote and got no timestamp")),
                    End::Aborted => {
                        order.others.insert(element, (index, false));
                    }
                }
            }
        }
        order.versions.values_mut().for_each(|versions| versions.sort_by_key(|version| version.ts));
        order.note_acknowledged(history);
        order.check_final(history);
        if history.lists {
            order.check_lists(history);
        }
        order
    }

    fn note_acknowledged(&mut self, history: &History) {
        let commits = history.transactions.iter().filter_map(|txn| Some((txn.ended, txn.commit_ts()?)));
        self.acknowledged = commits.collect();
        self.acknowledged.sort_unstable();
        let mut newest = 0;
        for (_, ts) in &mut self.acknowledged {
            newest = newest.max(*ts);
            *ts = newest;
        }
    }

    /// The newest commit that had returned before `moment`.
    pub(super) fn acknowledged_before(&self, moment: u64) -> u64 {
        let count = self.acknowledged.partition_point(|(returned, _)| *returned < moment);
        count.checked_sub(1).map_or(0, |index| self.acknowledged[index].1)
    }

    /// Every key that somebody wrote.
    pub(super) fn keys(&self) -> impl Iterator<Item = u32> {
        self.versions.keys().copied()
    }

    /// Versions of `key`, in order of time.
    pub(super) fn versions(&self, key: u32) -> &[Version] {
        self.versions.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Position of the version that a read of `key` saw, from 1; 0: the key was absent. Else what is wrong with it.
    pub(super) fn place(&self, key: u32, seen: &[u64]) -> Result<usize, String> {
        let Some(&element) = seen.last() else { return Ok(0) };
        match self.versions(key).iter().position(|version| version.element == element) {
            Some(index) => Ok(index + 1),
            None => Err(match self.others.get(&element) {
                Some((writer, true)) => format!("G1b: read {element}, which T{writer} itself overwrote"),
                Some((writer, false)) => format!("G1a: read {element} of T{writer}, which was aborted"),
                None => format!("read {element}, which nobody wrote to key {key}"),
            }),
        }
    }

    /// The snapshots that show the version at `place` of `key`.
    pub(super) fn valid(&self, key: u32, place: usize) -> Valid {
        let versions = self.versions(key);
        let from = place.checked_sub(1).map_or(0, |index| versions[index].ts);
        Valid { from, to: versions.get(place).map_or(u64::MAX, |next| next.ts) }
    }

    fn check_final(&mut self, history: &History) {
        let keys: std::collections::BTreeSet<u32> = self.versions.keys().chain(history.state.keys()).copied().collect();
        for key in keys {
            let newest = self.versions(key).last().map(|version| version.element);
            let there = history.state.get(&key).and_then(|value| value.last().copied());
            if newest != there {
                let what = format!(
                    "dirty write (G0): key {key} holds {there:?} in the end, and the newest commit wrote {newest:?}"
                );
                self.complaints.push(what);
            }
        }
    }

    /// Each version of a list is the one before, with elements appended.
    fn check_lists(&mut self, history: &History) {
        let mut complaints = Vec::new();
        for (key, versions) in &self.versions {
            let mut before: Vec<u64> = Vec::new();
            for version in versions {
                let written = history.transactions[version.txn].ops.iter().rev().find_map(|op| match &op.what {
                    What::Write { key: of, value } if of == key => Some(value),
                    _ => None,
                });
                let written = written.cloned().unwrap_or_default();
                if !written.starts_with(&before) {
                    let what = format!(
                        "lost update (P4): T{} lost an append to key {key}: {written:?} after {before:?}",
                        version.txn
                    );
                    complaints.push(what);
                }
                before = written;
            }
        }
        self.complaints.extend(complaints);
    }
}
