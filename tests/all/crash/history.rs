//! What a run committed, by timestamp, and from it what a database must hold behind every prefix of commit order.
//!
//! The oracle: maps in memory, and nothing of the engine but the numbers it gave to commits.
//!
//! CH1  Each commit puts one marker of its own into every lasting keyspace, and nothing ever deletes a marker: their number is the length of
//!     the prefix that a database holds, if it holds a prefix.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use duramen::KeyspaceId;

/// First byte of a marker's key; no other key begins with it (CH1).
pub(super) const MARKER: u8 = b'~';

pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// One write.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Vec<u8>, Arc<[u8]>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// The writes of one transaction, in the order made.
pub(super) type Writes = Vec<(KeyspaceId, Change)>;

/// All commits of a run, and the digest of each keyspace behind each of them.
pub(super) struct History {
    commits: Vec<Writes>,
    /// Behind `n` commits: digest of the rows of each keyspace that has had any.
    digests: Vec<HashMap<KeyspaceId, u64>>,
}

impl History {
    /// From the commits by timestamp, which must be dense from 1.
    pub(super) fn new(by_ts: BTreeMap<u64, Writes>) -> History {
        assert!(by_ts.keys().copied().eq(1..=by_ts.len() as u64), "timestamps are dense: {:?}", by_ts.keys());
        let commits: Vec<Writes> = by_ts.into_values().collect();
        let mut state: BTreeMap<KeyspaceId, Rows> = BTreeMap::new();
        let mut now: HashMap<KeyspaceId, u64> = HashMap::new();
        let mut digests = vec![now.clone()];
        for writes in &commits {
            for (keyspace, change) in writes {
                apply(state.entry(*keyspace).or_default(), change);
            }
            for (keyspace, _) in writes {
                now.insert(*keyspace, digest(&state[keyspace]));
            }
            digests.push(now.clone());
        }
        History { commits, digests }
    }

    /// Commits in all.
    pub(super) fn len(&self) -> u64 {
        self.commits.len() as u64
    }

    /// All of them, in order.
    pub(super) fn commits(&self) -> &[Writes] {
        &self.commits
    }

    /// Digest of `keyspace` behind the first `prefix` commits.
    pub(super) fn digest(&self, prefix: u64, keyspace: KeyspaceId) -> u64 {
        self.digests[prefix as usize].get(&keyspace).copied().unwrap_or_else(|| digest(&Rows::new()))
    }

    /// Content of `keyspace` behind the first `prefix` commits.
    pub(super) fn rows(&self, prefix: u64, keyspace: KeyspaceId) -> Rows {
        let mut rows = Rows::new();
        for (of, change) in self.commits[..prefix as usize].iter().flatten() {
            if *of == keyspace {
                apply(&mut rows, change);
            }
        }
        rows
    }
}

fn apply(rows: &mut Rows, change: &Change) {
    match change {
        Change::Put(key, value) => drop(rows.insert(key.clone(), value.to_vec())),
        Change::Delete(key) => drop(rows.remove(key)),
        Change::DeleteRange(low, high) => rows.retain(|key, _| key < low || key >= high),
    }
}

fn digest(rows: &Rows) -> u64 {
    let mut sum = RowDigest::default();
    rows.iter().for_each(|(key, value)| sum.add(key, value));
    sum.finish()
}

/// A digest of rows in key order, one by one.
#[derive(Default)]
pub(super) struct RowDigest {
    hasher: DefaultHasher,
    /// Markers met (CH1).
    pub(super) markers: u64,
}

impl RowDigest {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.markers += u64::from(key.first() == Some(&MARKER));
        self.hasher.write_usize(key.len());
        self.hasher.write(key);
        self.hasher.write_usize(value.len());
        self.hasher.write(value);
    }

    pub(super) fn finish(&self) -> u64 {
        self.hasher.finish()
    }
}
