//! The memtable: committed versions that no file of a store holds yet. An ordered map in an arena, written by many threads at once without a latch.
//!
//! Both backends apply into it. It knows no file and no visibility; who writes brings the timestamp. `memtable/ordered.rs` (keys), `entry.rs`
//! (versions) and `arena.rs` (words) alone decide how versions lie in memory; `filter.rs` says which keys there are not.
//!
//! T1  Versions of a key ascend: an insert at or before the newest of its key is a repeated redo and is dropped (K5).
//! T2  `min_ts` and `max_ts` cover an operation before it can be read, and never shrink back.
//! T3  A memtable that left the active place and has no apply in flight (`is_quiet`) never changes again; only such a one is flushed.
//! T4  What a registered snapshot reads is never pruned; so what a reader copied at `at` stays the answer at `at`.
//! T5  What is held of the budget is as large as the content once an apply is done; it is given back when the memtable is dropped. Content is counted by the
//!     words it takes, by 56 bytes for the share of a key in the nodes above it, and by a fourteenth of that for the filter (F3), which is the most they
//!     can be. What the arena has beside stands unused (A3) or is the first node.
//! T6  Nothing is freed before all is: a version that nobody can read any more is skipped, and its memory comes back with the flush.
//!
//! Latches: `tombs` is a leaf, except that `StoreHost::snapshots` is asked under it, which answers from memory.

use std::ops::Bound;
use std::sync::Arc;

use crate::budget::SharedReservation;
use crate::key_hash::key_hash;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Padded, RwLock};
use crate::{LoggedOps, Op, OpKind, OpsOfKeyspace, Pruner, Reservation, SnapSet, StoreHost, Timestamp, Value};

use crate::image::Body;
use arena::Arena;
use entry::{Entry, Probe};
use filter::Filter;
use ordered::{Leaf, Ordered};

mod arena;
mod entry;
mod filter;
mod key;
mod key_versions;
mod ordered;
mod piece;
mod range_tombs;
mod scan_hints;
#[cfg(test)]
mod schedules;

pub use key::{Key, as_slice, successor};
pub use key_versions::KeyVersions;
pub use piece::MemPiece;
pub use range_tombs::{Fragment, RangeTombs};
pub use scan_hints::ScanHints;

/// Bytes an operation is counted with beside its key and value, at most: its entry and version, and its share of the map's nodes.
const OP_OVERHEAD_BYTES: u64 = 128;
/// Operations that are looked up at once: as many as the processor can wait for, roughly.
const GROUP_OPS: usize = 16;

/// What a memtable grows by for `ops`, at most: what an admission has to hold.
///
/// ```
/// use duramen_base::memtable::bytes_to_admit;
/// use duramen_base::{Batch, KeyspaceId, Op, OpKind, Timestamp};
/// let mut batch = Batch::new();
/// batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: b"oak", value: b"hard" }]);
/// let ops = batch.view().sections().next().expect("one section");
/// assert!(bytes_to_admit(&[(Timestamp::new(3), ops)]) > 7);
/// ```
pub fn bytes_to_admit(commits: &[LoggedOps<'_>]) -> u64 {
    let of_one = |ops: &OpsOfKeyspace<'_>| ops.encoded_bytes() as u64 + ops.len() as u64 * OP_OVERHEAD_BYTES;
    let bytes: u64 = commits.iter().map(|(_, ops)| of_one(ops)).sum();
    bytes + filter::bytes_beside(bytes)
}

/// One version of a key; without a value it is a tombstone. See [`Memtable`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// The commit that wrote it.
    pub ts: Timestamp,
    /// The value; `None`: a tombstone.
    pub value: Option<Value>,
}

/// What a memtable knows of a key at a timestamp. See [`Memtable`] for an example.
#[derive(Debug, Default)]
pub struct MemFound {
    /// The newest version with `ts <= at`.
    pub version: Option<KeyVersion>,
    /// The newest range tombstone with `ts <= at`, or `ZERO`.
    pub tomb: Timestamp,
    /// Whether anything newer than `at` changed the key.
    pub newer: bool,
}

/// Versions in memory.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::*;
/// # struct Host(Arc<Budget>);
/// # impl StoreHost for Host {
/// #     fn visible(&self) -> Timestamp { Timestamp::new(3) }
/// #     fn durable(&self) -> Timestamp { Timestamp::new(3) }
/// #     fn snapshots(&self) -> Arc<SnapSet> { Arc::new(SnapSet::new(Timestamp::ZERO, vec![])) }
/// #     fn make_durable(&self, _: Timestamp) -> Result<()> { Ok(()) }
/// #     fn budget(&self) -> &Arc<Budget> { &self.0 }
/// #     fn wake_upkeep(&self) {}
/// # }
/// # let host = Host(Budget::new(1 << 20));
/// use duramen_base::memtable::{KeyVersions, MemFound, MemPiece, Memtable};
/// use std::ops::Bound;
///
/// let memtable = Memtable::new();
/// assert!(memtable.is_empty());
/// let mut batch = Batch::new();
/// batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: b"oak", value: b"hard" }]);
/// let view = BatchView::parse(batch.bytes()).expect("what was just built");
/// for ops in view.sections() {
///     memtable.begin_apply();
///     memtable.apply(&[(Timestamp::new(3), ops)], host.budget().reserve_anyway(300), &host);
/// }
/// assert!(memtable.is_quiet());
/// assert_eq!((memtable.min_ts(), memtable.max_ts()), (Timestamp::new(3), Timestamp::new(3)));
/// assert_eq!(memtable.bytes(), host.budget().used());
///
/// let found: MemFound = memtable.get(b"oak", Timestamp::new(2));
/// assert!(found.version.is_none() && found.newer);
/// assert_eq!(memtable.newest(b"oak"), Timestamp::new(3));
/// assert!(memtable.tombs().is_empty());
///
/// let mut piece = MemPiece::default();
/// memtable.copy_piece(KeyBounds::ALL, false, Timestamp::new(3), 10, &mut piece);
/// assert_eq!(piece.key(0), b"oak");
///
/// let mut versions = 0;
/// memtable.flush_from(Bound::Unbounded, &mut KeyVersions::default(), |key| {
///     versions += key.iter().len();
///     Ok::<bool, Error>(true)
/// })?;
/// assert_eq!(versions, 1);
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Debug)]
pub struct Memtable {
    arena: Arena,
    keys: Ordered,
    filter: Filter,
    /// Counted by cursors, copied on the next write if one does.
    tombs: RwLock<Arc<RangeTombs>>,
    has_tombs: AtomicBool,
    /// Apart from what every reader looks at.
    counts: Padded<Counts>,
}

/// What each apply changes.
#[derive(Debug)]
struct Counts {
    min_ts: AtomicU64,
    max_ts: AtomicU64,
    applies: AtomicU64,
    held: SharedReservation,
}

impl Default for Memtable {
    fn default() -> Memtable {
        let arena = Arena::default();
        Memtable {
            keys: Ordered::new(&arena),
            filter: Filter::default(),
            arena,
            tombs: RwLock::default(),
            has_tombs: AtomicBool::new(false),
            counts: Padded(Counts {
                min_ts: AtomicU64::new(u64::MAX),
                max_ts: AtomicU64::new(0),
                applies: AtomicU64::new(0),
                held: SharedReservation::default(),
            }),
        }
    }
}

impl Memtable {
    /// An empty one.
    pub fn new() -> Memtable {
        Memtable::default()
    }

    /// Smallest timestamp applied, `MAX` if none.
    pub fn min_ts(&self) -> Timestamp {
        // Acquire: pairs with the AcqRel of `apply`; who saw the commit published sees it counted here (T2).
        Timestamp::new(self.counts.min_ts.load(Ordering::Acquire))
    }

    /// Largest timestamp applied, `ZERO` if none.
    pub fn max_ts(&self) -> Timestamp {
        Timestamp::new(self.counts.max_ts.load(Ordering::Acquire))
    }

    /// Whether nothing was ever applied.
    pub fn is_empty(&self) -> bool {
        self.min_ts() == Timestamp::MAX
    }

    /// Memory of the content in bytes.
    pub fn bytes(&self) -> u64 {
        self.counts.held.bytes()
    }

    /// Notes an apply that is about to begin, by somebody who keeps the memtable from leaving the active place meanwhile.
    pub fn begin_apply(&self) {
        self.counts.applies.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether no apply is in flight.
    pub fn is_quiet(&self) -> bool {
        // Acquire: pairs with the Release at the end of `apply`; a flush sees all of it (T3).
        self.counts.applies.load(Ordering::Acquire) == 0
    }

    /// Takes the operations of commits in, oldest first, after [`Memtable::begin_apply`]. Those of one come in the order of a batch: range deletes
    /// first, and both carry one ts.
    pub fn apply(&self, commits: &[LoggedOps<'_>], held: Reservation, host: &dyn StoreHost) {
        debug_assert!(commits.is_sorted_by_key(|&(at, _)| at), "oldest first");
        if let [(first, _), ..] = commits
            // Mostly not the first: then the look is enough.
            && self.counts.min_ts.load(Ordering::Acquire) > first.get()
        {
            self.counts.min_ts.fetch_min(first.get(), Ordering::AcqRel);
        }
        if let [.., (last, _)] = commits {
            self.counts.max_ts.fetch_max(last.get(), Ordering::AcqRel);
        }
        let mut snaps = None;
        let mut snaps = || Arc::clone(snaps.get_or_insert_with(|| host.snapshots()));
        let (mut group, mut len, mut change) = ([None; GROUP_OPS], 0, 0);
        for &(ts, ops) in commits {
            for op in ops.iter() {
                if op.kind == OpKind::DeleteRange {
                    change += self.apply_range(&op, ts, &snaps());
                    continue;
                }
                group[len] = Some((ts, op));
                len += 1;
                if len == GROUP_OPS {
                    change += self.apply_group(&group, &mut snaps);
                    len = 0;
                }
            }
        }
        change += self.apply_group(&group[..len], &mut snaps);
        self.counts.held.keep(held, change); // T5
        self.counts.applies.fetch_sub(1, Ordering::Release);
    }

    /// Puts and deletes, in their order. Each step is done for all before the next, so that what they wait for comes from memory for all at once. Returns
    /// by how many bytes the memory changed.
    fn apply_group(&self, group: &[Option<(Timestamp, Op<'_>)>], snaps: &mut dyn FnMut() -> Arc<SnapSet>) -> i64 {
        let mut leaves = [None; GROUP_OPS];
        let mut entries = [None; GROUP_OPS];
        let mut hashes = [0; GROUP_OPS];
        let arena_bytes = self.arena.bytes();
        let ops = || group.iter().flatten().enumerate();
        for (index, (_, op)) in ops() {
            hashes[index] = key_hash(op.key);
            self.filter.ask_for_it(hashes[index], arena_bytes);
        }
        if group.len() > 1 {
            ops().for_each(|(index, (_, op))| leaves[index] = self.keys.find_leaf(&self.arena, Probe::from(op.key)));
            for (index, (_, op)) in ops() {
                let leaf: &mut Option<Leaf<'_>> = &mut leaves[index];
                entries[index] = leaf.as_mut().and_then(|leaf| leaf.look(&self.arena, Probe::from(op.key)));
                if let Some(entry) = &entries[index] {
                    Entry::ask_for_it(*entry, &self.arena);
                }
            }
        }
        let apply_one = |(index, (ts, op)): (usize, &(Timestamp, Op<'_>))| {
            self.apply_one(op, hashes[index], *ts, (entries[index], leaves[index]), snaps)
        };
        // T5: each is counted with what the filter may take beside it.
        ops().map(apply_one).map(|bytes| (bytes + filter::bytes_beside(bytes)) as i64).sum()
    }

    /// Returns the bytes of the arena that it takes. `found`: where the key is, as far as it was looked for.
    fn apply_one(
        &self,
        op: &Op<'_>,
        hash: u64,
        ts: Timestamp,
        found: (Option<Entry>, Option<Leaf<'_>>),
        snaps: &mut dyn FnMut() -> Arc<SnapSet>,
    ) -> u64 {
        let value = (op.kind == OpKind::Put).then_some(op.value);
        let arena = &self.arena;
        // T4, T6: a new entry has its first version before others can find it.
        let mut first_bytes = 0;
        let (entry, is_new) = match found {
            (Some(entry), _) => (entry, false),
            (None, leaf) => self.keys.get_or_insert(arena, Probe::from(op.key), leaf, || {
                let entry = Entry::make(arena, op.key);
                self.filter.add(hash, arena.bytes()); // F1
                first_bytes = entry.bytes() + entry.push(arena, ts, value, |_| {}) + ordered::SHARE_BYTES;
                entry
            }),
        };
        match is_new {
            true => first_bytes,
            false => entry.push(arena, ts, value, |trim| trim(&Pruner::new(&snaps()))),
        }
    }

    fn apply_range(&self, op: &Op<'_>, ts: Timestamp, snaps: &SnapSet) -> i64 {
        let mut shared = self.tombs.write();
        let tombs = Arc::make_mut(&mut shared);
        let before = tombs.memory_bytes();
        tombs.insert(op.key, op.value, ts, Some(&Pruner::new(snaps)));
        // Release: pairs with Acquire in `tombs_if_any`; who sees the commit published sees it anyway.
        self.has_tombs.store(true, Ordering::Release);
        tombs.memory_bytes() as i64 - before as i64
    }

    /// What it knows of `key` at `at`.
    pub fn get(&self, key: &[u8], at: Timestamp) -> MemFound {
        let (tomb, tomb_newer) = self.tombs_if_any(|tombs| tombs.at(key, at)).unwrap_or_default();
        let Some(entry) = self.entry_of(key) else {
            return MemFound { version: None, tomb, newer: tomb_newer };
        };
        let (version, newer) = entry.look(&self.arena, at);
        MemFound { version: version.map(|version| version.to_owned()), tomb, newer: tomb_newer || newer }
    }

    /// Newest change of `key`, `ZERO` if none.
    pub fn newest(&self, key: &[u8]) -> Timestamp {
        let tomb = self.tombs_if_any(|tombs| tombs.covering(key).first().copied()).flatten();
        let own = self.entry_of(key).map(|entry| entry.newest_ts(&self.arena));
        tomb.max(own).unwrap_or(Timestamp::ZERO)
    }

    fn entry_of(&self, key: &[u8]) -> Option<Entry> {
        self.filter.may_have(key_hash(key)).then(|| self.keys.get(&self.arena, Probe::from(key))).flatten()
    }

    fn tombs_if_any<T>(&self, look: impl FnOnce(&RangeTombs) -> T) -> Option<T> {
        self.has_tombs.load(Ordering::Acquire).then(|| look(&self.tombs.read()))
    }

    /// The range tombstones as they are now.
    pub fn tombs(&self) -> Arc<RangeTombs> {
        Arc::clone(&self.tombs.read())
    }

    /// Gives the keys above `from`, ascending and with all their versions, to `each` until it answers false; whether all keys were given.
    /// For the flush (T3).
    ///
    /// # Errors
    /// Those of `each`.
    pub fn flush_from<E>(
        &self,
        from: Bound<&[u8]>,
        scratch: &mut KeyVersions,
        mut each: impl FnMut(&mut KeyVersions) -> Result<bool, E>,
    ) -> Result<bool, E> {
        debug_assert!(self.is_quiet(), "T3: only a memtable at rest is flushed");
        let (mut key, mut value, mut outcome) = (Vec::new(), Vec::new(), Ok(true));
        let mut give = |entry: Entry| {
            key.clear();
            entry.read_key(&self.arena, &mut key);
            scratch.reset(&key);
            for version in entry.versions(&self.arena) {
                value.clear();
                let has_value = version.read_value(&mut value);
                scratch.add(version.ts(), if has_value { Body::Value(&value) } else { Body::Tombstone });
            }
            scratch.sort();
            outcome = each(scratch);
            matches!(outcome, Ok(true))
        };
        self.keys.ascend(&self.arena, from, |entries| entries.iter().all(|entry| give(*entry)));
        outcome
    }

    /// Bytes of the arena and the filter, counted anew.
    #[cfg(test)]
    fn bytes_there(&self) -> u64 {
        self.arena.bytes() + self.filter.bytes()
    }
}

#[cfg(test)]
mod tests;
