//! The pruning rule of `base` held against what registration promises: every small case, by asking each reader that
//! may exist.
//!
//! A chain of versions of one key, some snapshots, a horizon. Whoever may read, by R1 of `snapshots.rs`: the active
//! snapshots, and anybody at the horizon or above. What the rule drops must not change any of their answers; and it
//! drops all that none of them needs.

use duramen_base::{Pruner, SnapSet, Timestamp};

/// Timestamps of the cases are 1 to this; readers go one further.
const TS_MAX: u64 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Value(u64),
    Tombstone,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    ts: u64,
    content: Content,
}

/// One key: its versions, oldest first, and a range tombstone that covers it, kept by the store through all pruning.
#[derive(Clone, Debug)]
struct Chain {
    versions: Vec<Version>,
    range_tombstone: Option<u64>,
}

impl Chain {
    /// What a reader at `at` finds: the newest version up to there, unless the range tombstone is newer than it.
    fn read(&self, at: u64) -> Option<u64> {
        let version = self.versions.iter().rev().find(|version| version.ts <= at)?;
        let covered = self.range_tombstone.is_some_and(|range_ts| range_ts <= at && version.ts < range_ts);
        match version.content {
            Content::Value(value) if !covered => Some(value),
            Content::Value(_) | Content::Tombstone => None,
        }
    }

    /// As a store does it: old versions (P1), then a last tombstone (P2), or the ts of a last value (P3).
    fn pruned(&self, snaps: &SnapSet) -> Chain {
        let pruner = Pruner::new(snaps);
        let mut versions: Vec<Version> = Vec::new();
        for (index, version) in self.versions.iter().enumerate() {
            let successor = self.versions.get(index + 1);
            if successor.is_none_or(|next| !pruner.may_drop_version(ts(version.ts), ts(next.ts))) {
                versions.push(*version);
            }
        }
        let older_remains = versions.len() > 1;
        if let Some(newest) = versions.last_mut() {
            match newest.content {
                Content::Tombstone if pruner.may_drop_tombstone(ts(newest.ts), older_remains) => {
                    versions.pop();
                }
                Content::Value(_) => {
                    let older_range = self.range_tombstone.is_some_and(|range_ts| range_ts <= newest.ts);
                    // An older version beside it would come after a ts of zero.
                    if !older_remains && pruner.may_freeze(ts(newest.ts), older_range) {
                        newest.ts = 0;
                    }
                }
                Content::Tombstone => {}
            }
        }
        Chain { versions, range_tombstone: self.range_tombstone }
    }
}

fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

/// The members of 0..=TS_MAX whose bits are set.
fn members(bits: u64) -> impl Iterator<Item = u64> {
    (0..=TS_MAX).filter(move |ts| bits >> ts & 1 == 1)
}

fn all_chains() -> impl Iterator<Item = Chain> {
    let version_sets = (0..1u64 << TS_MAX).map(|bits| bits << 1);
    version_sets.flat_map(|at| {
        (0..=TS_MAX).flat_map(move |range_ts| {
            (0..1u64 << at.count_ones()).map(move |kinds| chain(at, kinds, (range_ts > 0).then_some(range_ts)))
        })
    })
}

/// Versions at the timestamps in `at`; the n-th is a tombstone if bit n of `kinds` is set.
fn chain(at: u64, kinds: u64, range_tombstone: Option<u64>) -> Chain {
    let content = |n: usize, ts| if kinds >> n & 1 == 1 { Content::Tombstone } else { Content::Value(ts) };
    let versions = members(at).enumerate().map(|(n, ts)| Version { ts, content: content(n, ts) }).collect();
    Chain { versions, range_tombstone }
}

/// Calls `check` with each set of snapshots and horizon, and the readers that may exist beside it.
fn for_each_set(mut check: impl FnMut(&SnapSet, &[u64])) {
    for horizon in 0..=TS_MAX {
        for active in 0..1u64 << (TS_MAX + 1) {
            let snaps = SnapSet::new(ts(horizon), members(active).map(ts).collect());
            let readers: Vec<u64> = (0..=TS_MAX + 1).filter(|&at| at >= horizon || active >> at & 1 == 1).collect();
            check(&snaps, &readers);
        }
    }
}

#[test]
fn what_is_dropped_is_nobodys_answer() {
    let chains: Vec<Chain> = all_chains().collect();
    let mut dropped_count = 0;
    for_each_set(|snaps, readers| {
        for chain in &chains {
            let pruned = chain.pruned(snaps);
            dropped_count += chain.versions.len() - pruned.versions.len();
            for &at in readers {
                assert_eq!(chain.read(at), pruned.read(at), "at {at}: {chain:?} became {pruned:?} under {snaps:?}");
            }
        }
    });
    assert!(dropped_count > 100_000, "the cases are not vacuous: {dropped_count}");
}

#[test]
fn a_version_goes_exactly_when_nobody_can_read_it() {
    for_each_set(|snaps, readers| {
        for version_ts in 0..=TS_MAX {
            for successor_ts in version_ts + 1..=TS_MAX {
                let needed = readers.iter().any(|&at| version_ts <= at && at < successor_ts);
                let may_go = Pruner::new(snaps).may_drop_version(ts(version_ts), ts(successor_ts));
                assert_eq!(may_go, !needed, "P1: {version_ts} before {successor_ts} under {snaps:?}");
            }
        }
    });
}

#[test]
fn a_snapshot_keeps_at_most_one_old_version() {
    let chains: Vec<Chain> = all_chains().collect();
    for_each_set(|snaps, _| {
        for chain in &chains {
            let pruned = chain.pruned(snaps);
            let old = pruned.versions.windows(2).filter(|pair| ts(pair[1].ts) <= snaps.horizon()).count();
            assert!(old <= snaps.active().len(), "P4: {pruned:?} under {snaps:?}");
        }
    });
}
