//! The memtable: committed versions that no file of a store holds yet. First version: one ordered map behind one latch.
//!
//! Both backends apply into it. It knows no file and no visibility; who writes brings the timestamp. This file alone decides how
//! versions lie in memory.
//!
//! T1  Versions of a key ascend: an insert at or before the newest of its key is a repeated redo and is dropped (K5).
//! T2  `min_ts` and `max_ts` cover an operation before it can be read, and never shrink back.
//! T3  A memtable that left the active place and has no apply in flight (`is_quiet`) never changes again; only such a one is flushed.
//! T4  What a registered snapshot reads is never pruned; so what a reader copied at `at` stays the answer at `at`.
//! T5  The reservation is as large as the content once an apply is done; it is given back when the memtable is dropped.
//!
//! Latches: `content` is a leaf, except that `StoreHost::snapshots` is asked under it, which answers from memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::{Op, OpKind, OpsOfKeyspace, Pruner, Reservation, SnapSet, StoreHost, Timestamp, Value};

use crate::image::Body;

mod key;
mod key_versions;
mod range_tombs;

pub use key::{Key, as_slice, successor};
pub use key_versions::KeyVersions;
pub use range_tombs::{Fragment, RangeTombs};

/// Bytes an operation is counted with beside its key and value: its share of the map's nodes.
pub const OP_OVERHEAD_BYTES: u64 = 128;

/// One version of a key; without a value it is a tombstone. See [`Memtable`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// The commit that wrote it.
    pub ts: Timestamp,
    /// The value; `None`: a tombstone.
    pub value: Option<Value>,
}

impl KeyVersion {
    fn heap_bytes(&self) -> u64 {
        self.value.as_ref().map_or(0, |value| value.heap_bytes() as u64)
    }

    fn memory_bytes(&self) -> u64 {
        size_of::<KeyVersion>() as u64 + self.heap_bytes()
    }
}

/// All versions of a key. Most keys have one, which needs no allocation.
#[derive(Debug)]
struct Versions {
    newest: KeyVersion,
    /// Oldest first, so that a new one is pushed.
    older: Vec<KeyVersion>,
}

impl Versions {
    /// The newest with `ts <= at`.
    fn at(&self, at: Timestamp) -> Option<&KeyVersion> {
        if self.newest.ts <= at {
            return Some(&self.newest);
        }
        self.older[..self.older.partition_point(|version| version.ts <= at)].last()
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> u64 {
        self.newest.memory_bytes() + self.older.iter().map(KeyVersion::memory_bytes).sum::<u64>()
    }

    /// Makes `version` the newest. Pruning waits until the list is full, so that a hot key costs the same however many versions wait for
    /// the horizon. Returns by how many bytes the memory changed.
    fn push(&mut self, version: KeyVersion, snaps: impl FnOnce() -> Arc<SnapSet>) -> i64 {
        let mut change = version.memory_bytes() as i64;
        let successor_ts = version.ts;
        self.older.push(std::mem::replace(&mut self.newest, version));
        if self.older.len() == self.older.capacity() {
            change -= self.prune(&Pruner::new(&snaps()), successor_ts) as i64;
        }
        change
    }

    fn prune(&mut self, pruner: &Pruner<'_>, newest_ts: Timestamp) -> u64 {
        let mut freed = 0;
        let tss: Vec<Timestamp> = self.older.iter().skip(1).map(|v| v.ts).chain(std::iter::once(newest_ts)).collect();
        let mut successors = tss.into_iter();
        self.older.retain(|version| {
            let successor = successors.next().expect("as many successors as versions");
            let may_go = pruner.may_drop_version(version.ts, successor);
            if may_go {
                freed += version.memory_bytes();
            }
            !may_go
        });
        freed
    }
}

#[derive(Debug, Default)]
struct Content {
    map: BTreeMap<Key, Versions>,
    /// Counted by cursors, copied on the next write if one does.
    tombs: Arc<RangeTombs>,
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

/// One key as a scan at a timestamp meets it. See [`Memtable`] for an example.
#[derive(Debug)]
pub struct MemItem {
    /// The key.
    pub key: Key,
    /// The newest version with `ts <= at`; a key with newer ones only has none.
    pub version: Option<KeyVersion>,
    /// Whether a version newer than that timestamp is there.
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
/// use duramen_base::memtable::{KeyVersions, MemFound, MemItem, Memtable};
/// use std::ops::Bound;
///
/// let memtable = Memtable::new();
/// assert!(memtable.is_empty());
/// let mut batch = Batch::new();
/// batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: b"oak", value: b"hard" }]);
/// let view = BatchView::parse(batch.bytes()).expect("what was just built");
/// for ops in view.sections() {
///     memtable.begin_apply();
///     memtable.apply(&ops, Timestamp::new(3), host.budget().reserve_anyway(300), &host);
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
/// let mut items: Vec<MemItem> = Vec::new();
/// memtable.copy_keys((Bound::Unbounded, Bound::Unbounded), false, Timestamp::new(3), 10, &mut items);
/// assert_eq!(&*items[0].key, b"oak");
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
    content: RwLock<Content>,
    min_ts: AtomicU64,
    max_ts: AtomicU64,
    bytes: AtomicU64,
    applies: AtomicU64,
    reservation: Mutex<Option<Reservation>>,
}

impl Default for Memtable {
    fn default() -> Memtable {
        Memtable {
            content: RwLock::default(),
            min_ts: AtomicU64::new(u64::MAX),
            max_ts: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            applies: AtomicU64::new(0),
            reservation: Mutex::new(None),
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
        Timestamp::new(self.min_ts.load(Ordering::Acquire))
    }

    /// Largest timestamp applied, `ZERO` if none.
    pub fn max_ts(&self) -> Timestamp {
        Timestamp::new(self.max_ts.load(Ordering::Acquire))
    }

    /// Whether nothing was ever applied.
    pub fn is_empty(&self) -> bool {
        self.min_ts() == Timestamp::MAX
    }

    /// Memory of the content in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes an apply that is about to begin, by somebody who keeps the memtable from leaving the active place meanwhile.
    pub fn begin_apply(&self) {
        self.applies.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether no apply is in flight.
    pub fn is_quiet(&self) -> bool {
        // Acquire: pairs with the Release at the end of `apply`; a flush sees all of it (T3).
        self.applies.load(Ordering::Acquire) == 0
    }

    /// Takes operations in, after [`Memtable::begin_apply`]. They come in the order of a batch: range deletes first, and both carry one ts.
    pub fn apply(&self, ops: &OpsOfKeyspace<'_>, at: Timestamp, held: Reservation, host: &dyn StoreHost) {
        self.min_ts.fetch_min(at.get(), Ordering::AcqRel);
        self.max_ts.fetch_max(at.get(), Ordering::AcqRel);
        let mut snaps = None;
        let mut change = 0;
        for op in ops.iter() {
            change += self.apply_one(&op, at, &mut || Arc::clone(snaps.get_or_insert_with(|| host.snapshots())));
        }
        self.keep_reservation(change, held);
        self.applies.fetch_sub(1, Ordering::Release);
    }

    /// Builds what it can before it takes the latch. Returns by how many bytes the memory changed.
    fn apply_one(&self, op: &Op<'_>, ts: Timestamp, snaps: &mut dyn FnMut() -> Arc<SnapSet>) -> i64 {
        let value = match op.kind {
            OpKind::Put => Some(Value::from(op.value)),
            OpKind::Delete => None,
            OpKind::DeleteRange => return self.apply_range(op, ts, &snaps()),
        };
        let version = KeyVersion { ts, value };
        let key = Key::from(op.key);
        let fresh_bytes = key.memory_bytes() + OP_OVERHEAD_BYTES + version.heap_bytes();
        let mut content = self.content.write();
        match content.map.entry(key) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(Versions { newest: version, older: Vec::new() });
                fresh_bytes as i64
            }
            // T1: applied before the crash, or twice.
            std::collections::btree_map::Entry::Occupied(slot) if slot.get().newest.ts >= ts => 0,
            std::collections::btree_map::Entry::Occupied(mut slot) => slot.get_mut().push(version, snaps),
        }
    }

    fn apply_range(&self, op: &Op<'_>, ts: Timestamp, snaps: &SnapSet) -> i64 {
        let mut content = self.content.write();
        let tombs = Arc::make_mut(&mut content.tombs);
        let before = tombs.memory_bytes();
        tombs.insert(op.key, op.value, ts, Some(&Pruner::new(snaps)));
        tombs.memory_bytes() as i64 - before as i64
    }

    /// T5. Applies that end at the same time see each other's change, so the last one leaves the sum.
    fn keep_reservation(&self, change: i64, held: Reservation) {
        let mut reservation = self.reservation.lock();
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add_signed(change);
        self.bytes.store(bytes, Ordering::Relaxed);
        let whole = match reservation.as_mut() {
            Some(whole) => {
                whole.absorb(held);
                whole
            }
            None => reservation.insert(held),
        };
        whole.resize(bytes);
    }

    /// What it knows of `key` at `at`.
    pub fn get(&self, key: &[u8], at: Timestamp) -> MemFound {
        let content = self.content.read();
        let (tomb, tomb_newer) = content.tombs.at(key, at);
        match content.map.get(key) {
            Some(versions) => {
                MemFound { version: versions.at(at).cloned(), tomb, newer: tomb_newer || versions.newest.ts > at }
            }
            None => MemFound { version: None, tomb, newer: tomb_newer },
        }
    }

    /// Newest change of `key`, `ZERO` if none.
    pub fn newest(&self, key: &[u8]) -> Timestamp {
        let content = self.content.read();
        let tomb = content.tombs.covering(key).first().copied().unwrap_or(Timestamp::ZERO);
        content.map.get(key).map_or(tomb, |versions| versions.newest.ts.max(tomb))
    }

    /// The range tombstones as they are now.
    pub fn tombs(&self) -> Arc<RangeTombs> {
        Arc::clone(&self.content.read().tombs)
    }

    /// Copies the first `keys_max` keys between the bounds, as of `at`, ascending or descending, into `out`.
    pub fn copy_keys(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backward: bool,
        at: Timestamp,
        keys_max: usize,
        out: &mut Vec<MemItem>,
    ) {
        if (crate::KeyBounds { lower: bounds.0, upper: bounds.1 }).is_empty() {
            return;
        }
        let item = |(key, versions): (&Key, &Versions)| MemItem {
            key: key.clone(),
            version: versions.at(at).cloned(),
            newer: versions.newest.ts > at,
        };
        let content = self.content.read();
        let range = content.map.range::<[u8], _>(bounds);
        if backward {
            out.extend(range.rev().take(keys_max).map(item));
        } else {
            out.extend(range.take(keys_max).map(item));
        }
    }

    /// Gives the keys above `from`, ascending and with all their versions, to `each` until it answers false; whether all keys were given.
    /// For the flush (T3), so the latch is free of writers.
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
        let content = self.content.read();
        for (key, versions) in content.map.range::<[u8], _>((from, Bound::Unbounded)) {
            scratch.reset(key);
            for version in versions.older.iter().chain(std::iter::once(&versions.newest)) {
                scratch.add(version.ts, version.value.as_ref().map_or(Body::Tombstone, |value| Body::Value(value)));
            }
            scratch.sort();
            if !each(scratch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes that the content really has, counted anew: for tests and `verify`.
    #[cfg(test)]
    fn counted_bytes(&self) -> u64 {
        let content = self.content.read();
        let points: u64 = content
            .map
            .iter()
            .map(|(key, v)| key.memory_bytes() + OP_OVERHEAD_BYTES + v.memory_bytes() - size_of::<KeyVersion>() as u64)
            .sum();
        points + content.tombs.memory_bytes()
    }
}

#[cfg(test)]
mod tests;
