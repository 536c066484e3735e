//! The drain: a frozen buffer goes into the pages, leaf by leaf in key order.
//!
//! ```text
//!   begin    its range deletes join the list of the tree
//!   clear    leaves that lie wholly under them go, unread (`clear.rs`)
//!   leaf     all its changes to one leaf at once: the leaf is patched or rebuilt, pruned, and split if it grew
//!   end      the buffer leaves
//! ```
//! One buffer at a time, the oldest first, in steps of a bounded number of bytes. Readers see buffer and pages all the while (W1).
//!
//! Z1  The range deletes of a buffer are in the list of the tree before any of its changes is in a page, so no page forgets a timestamp that
//!     one of them is compared with.
//! Z2  `newest` is at or above every commit of a buffer before any of it is in a page (G3).
//! Z3  An error leaves the drain where it was: the leaf is as before or as after, and what is left of the buffer begins there.

use std::collections::VecDeque;
use std::ops::{Bound, Range};

use duramen_base::image::Body;
use duramen_base::memtable::{KeyVersions, Memtable};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::values::LargeRef;
use duramen_base::{Result, SnapSet, Timestamp};

use crate::buffers::Layer;
use crate::clear::{KeyRange, ranges_to_clear};
use crate::ingest::Run;
use crate::leaf::{Content, LeafRef, NewLeaf, Point, Rules, leaf_spec};
use crate::pid_table::ROOT_PID;
use crate::read::{LeafView, Target};
use crate::split::Change;
use crate::store::Store;
use crate::upkeep::Upkeep;

/// Bytes copied from the buffer at once, and the least that is ahead when a leaf is begun: so a leaf gets all its changes at once.
const AHEAD_BYTES: Range<usize> = 64 << 10..256 << 10;

/// Of so many changes ahead the leaves are asked for, and those of more when so few are left.
const ASKED_CHANGES: Range<usize> = 32..96;

/// Bytes of a buffer that a change takes beside its key and value, about.
const CHANGE_OVERHEAD_BYTES: usize = 96;

/// A drain in progress.
#[derive(Debug)]
pub(crate) struct Drain {
    layer: Layer,
    /// The next leaf to be merged, if the layer is a run that cannot be hung.
    next_leaf: Option<usize>,
    /// To be cleared before any change goes into a leaf (CL1).
    clears: VecDeque<KeyRange>,
    ahead: Ahead,
    /// Memory of the changes that are in leaves, about.
    drained_bytes: u64,
}

/// Changes on their way from the buffer to leaves, by key ascending, those of a key newest first.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    changes: Vec<Copied>,
    /// Changes before this one are in leaves.
    next: usize,
    /// The leaves of changes before this one were asked for.
    asked: usize,
    /// Whether all of the buffer was copied.
    is_last: bool,
    last_key: Option<Vec<u8>>,
    scratch: KeyVersions,
}

/// A change whose bytes lie in `Ahead::bytes`.
#[derive(Clone, Debug)]
struct Copied {
    key: Range<usize>,
    ts: Timestamp,
    value: CopiedValue,
}

/// A value of it.
#[derive(Clone, Debug)]
enum CopiedValue {
    Here(Range<usize>),
    /// Of a run, in a value file.
    Large(LargeRef),
    Tombstone,
}

impl CopiedValue {
    /// Its bytes in `Ahead::bytes`.
    fn len(&self) -> usize {
        match self {
            CopiedValue::Here(range) => range.len(),
            CopiedValue::Large(_) | CopiedValue::Tombstone => 0,
        }
    }
}

impl Ahead {
    /// Copies more if little is left.
    fn fill(&mut self, store: &Store, layer: &Layer, next_leaf: &mut Option<usize>) -> Result<()> {
        let begin = self.changes.get(self.next).map_or(self.bytes.len(), |change| change.key.start);
        if self.is_last || self.bytes.len() - begin >= AHEAD_BYTES.start {
            return Ok(());
        }
        self.bytes.drain(..begin);
        self.changes.drain(..self.next);
        (self.next, self.asked) = (0, self.asked.saturating_sub(self.next));
        for change in &mut self.changes {
            change.key = change.key.start - begin..change.key.end - begin;
            if let CopiedValue::Here(value) = &mut change.value {
                *value = value.start - begin..value.end - begin;
            }
        }
        match layer {
            Layer::Buffer(buffer) => self.copy_of_buffer(buffer),
            Layer::Run(run) => self.copy_of_run(store, run, next_leaf.get_or_insert(0))?,
        }
        Ok(())
    }

    fn copy_of_run(&mut self, store: &Store, run: &Run, next_leaf: &mut usize) -> Result<()> {
        while self.bytes.len() < AHEAD_BYTES.end {
            let Some(image) = store.leaf_to_merge(run, *next_leaf)? else {
                self.is_last = true;
                return Ok(());
            };
            *next_leaf += 1;
            let mut key = Vec::new();
            for slot in 0..image.count() {
                image.key_into(slot, &mut key);
                self.scratch.reset(&key);
                self.scratch.add(run.ts, image.record(slot).body);
                copy(&self.scratch, &mut self.bytes, &mut self.changes);
            }
        }
        Ok(())
    }

    fn copy_of_buffer(&mut self, buffer: &Memtable) {
        let (bytes, changes, last_key) = (&mut self.bytes, &mut self.changes, &mut self.last_key);
        let from = last_key.take();
        let from = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let copied: Result<bool> = buffer.flush_from(from, &mut self.scratch, |versions| {
            copy(versions, bytes, changes);
            let goes_on = bytes.len() < AHEAD_BYTES.end;
            if !goes_on {
                *last_key = Some(versions.key.clone());
            }
            Ok(goes_on)
        });
        self.is_last = copied.expect("copying cannot fail");
    }

    fn point(&self, change: &Copied) -> Point<'_> {
        let body = match &change.value {
            CopiedValue::Here(value) => Body::Value(&self.bytes[value.clone()]),
            CopiedValue::Large(large) => Body::Large(*large),
            CopiedValue::Tombstone => Body::Tombstone,
        };
        Point { key: &self.bytes[change.key.clone()], ts: change.ts, body }
    }

    /// Leaves `count` changes behind; the memory that they take in a buffer, about.
    fn pass(&mut self, count: usize) -> u64 {
        let passed = &self.changes[self.next..self.next + count];
        let bytes = |change: &Copied| change.key.len() + change.value.len();
        self.next += count;
        passed.iter().map(|change| (bytes(change) + CHANGE_OVERHEAD_BYTES) as u64).sum()
    }

    fn first_key(&self) -> Option<&[u8]> {
        self.changes.get(self.next).map(|change| &self.bytes[change.key.clone()])
    }

    /// Whether everything was copied and is in leaves.
    fn is_done(&self) -> bool {
        self.is_last && self.next == self.changes.len()
    }

    /// The changes below `high` (empty: all).
    fn points_below(&self, high: &[u8]) -> Vec<Point<'_>> {
        let rest = &self.changes[self.next..];
        let is_below = |change: &Copied| high.is_empty() || self.bytes[change.key.clone()] < *high;
        let count = rest.partition_point(is_below);
        rest[..count].iter().map(|change| self.point(change)).collect()
    }
}

fn copy(versions: &KeyVersions, bytes: &mut Vec<u8>, changes: &mut Vec<Copied>) {
    let mut append = |part: &[u8]| {
        let start = bytes.len();
        bytes.extend_from_slice(part);
        start..bytes.len()
    };
    let key = append(&versions.key);
    for (ts, body) in versions.iter() {
        let value = match body {
            Body::Value(value) => CopiedValue::Here(append(value)),
            Body::Tombstone => CopiedValue::Tombstone,
            Body::Large(large) => CopiedValue::Large(large),
        };
        changes.push(Copied { key: key.clone(), ts, value });
    }
}

impl Store {
    /// Begins the drain of the oldest frozen layer, unless one is under way; whether there is one now. `is_wanted`: somebody waits for it.
    pub(crate) fn begin_drain(&self, up: &mut Upkeep, is_wanted: bool) -> bool {
        if up.drain.is_some() {
            return true;
        }
        let Some(layer) = self.buffers.next_to_drain() else { return false };
        let tombs = match &layer {
            Layer::Buffer(buffer) => buffer.tombs(),
            Layer::Run(run) if !self.is_ripe(run, is_wanted) => return false,
            Layer::Run(_) => Arc::default(),
        };
        self.note_contained(layer.max_ts()); // Z2
        let mut clears = VecDeque::new();
        if !tombs.is_empty() {
            let oldest = self.snapshots().oldest();
            self.change_tombs(|list| list.united(&tombs, oldest)); // Z1
            up.tombs_changed = true;
            clears = ranges_to_clear(&tombs, oldest);
        }
        up.drain = Some(Drain { layer, next_leaf: None, clears, ahead: Ahead::default(), drained_bytes: 0 });
        true
    }

    /// Does one bounded step of the drain in progress; the bytes of the leaves it changed and of what it wrote.
    pub(crate) fn step_drain(&self, up: &mut Upkeep, bytes_max: u64) -> Result<u64> {
        let Some(mut drain) = up.drain.take() else { return Ok(0) };
        if let Layer::Run(run) = &drain.layer
            && drain.next_leaf.is_none()
        {
            match self.hang(up, run) {
                Ok(true) => {
                    self.end_drain(up, &drain.layer, true);
                    return Ok(bytes_max);
                }
                Ok(false) => {}
                Err(error) => {
                    up.drain = Some(drain); // Z3
                    return Err(error);
                }
            }
        }
        let outcome = if drain.clears.is_empty() {
            self.drain_leaves(up, &mut drain, bytes_max.max(1))
        } else {
            self.clear_ranges(up, &mut drain.clears, bytes_max.max(1))
        };
        let is_done = outcome.is_ok() && drain.clears.is_empty() && drain.ahead.is_done();
        let outcome = outcome.and_then(|bytes| if is_done { self.sync_values(up).map(|()| bytes) } else { Ok(bytes) });
        if is_done && outcome.is_ok() {
            self.end_drain(up, &drain.layer, false);
        } else {
            if let Layer::Buffer(buffer) = &drain.layer {
                let share = drain.drained_bytes.saturating_mul(1000) / buffer.bytes().max(1);
                self.counters.drained_share.store(share.min(1000), Ordering::Relaxed);
            }
            up.drain = Some(drain); // Z3
        }
        outcome
    }

    /// All of a layer is in pages.
    fn end_drain(&self, up: &mut Upkeep, layer: &Layer, hung: bool) {
        self.counters.drains.fetch_add(1, Ordering::Relaxed);
        self.note_drained(layer.min_ts());
        self.buffers.remove_drained(layer); // W1
        self.counters.drained_share.store(0, Ordering::Relaxed);
        if let Layer::Run(run) = layer {
            self.run_is_in(up, run, hung);
        }
    }

    fn drain_leaves(&self, up: &mut Upkeep, drain: &mut Drain, bytes_max: u64) -> Result<u64> {
        let snaps = self.snapshots();
        let mut bytes = 0;
        while bytes < bytes_max {
            drain.ahead.fill(self, &drain.layer, &mut drain.next_leaf)?;
            self.ask_for_changes(&mut drain.ahead);
            let Some(key) = drain.ahead.first_key() else { break };
            let (pid, leaf) = self.upkeep_leaf(Target::At(key))?;
            let mut points = drain.ahead.points_below(leaf.image.high_fence());
            bytes += self.separate(up, &mut points)?;
            let count = points.len();
            bytes += leaf.image.bytes().len() as u64;
            self.change_leaf(up, pid, &leaf, &points, &snaps);
            self.counters.drained_changes.fetch_add(count as u64, Ordering::Relaxed);
            let passed = drain.ahead.pass(count);
            drain.drained_bytes += passed;
            self.counters.drained_memory.fetch_add(passed, Ordering::Relaxed);
            bytes += self.write_behind(up, bytes_max)?;
        }
        Ok(bytes)
    }

    /// If the next leaf is to be read, has the disk read those of the changes behind it at the same time.
    fn ask_for_changes(&self, ahead: &mut Ahead) {
        let is_asked_for = ahead.asked > ahead.next + ASKED_CHANGES.start;
        if is_asked_for || !ahead.first_key().is_some_and(|key| self.must_be_read(key)) {
            return;
        }
        let until = (ahead.next + ASKED_CHANGES.end).min(ahead.changes.len());
        let changes = &ahead.changes[ahead.asked.clamp(ahead.next, until)..until];
        self.expect_leaves(changes.iter().filter_map(|change| self.leaf_pid(&ahead.bytes[change.key.clone()])));
        ahead.asked = until;
    }

    /// Whether the leaf of `key` must be read, and its parents need not.
    fn must_be_read(&self, key: &[u8]) -> bool {
        self.leaf_pid(key).is_some_and(|pid| self.place_to_read(pid).is_some())
    }

    /// Puts changes into a leaf, which may split for them; or (without any) rebuilds it without what nobody needs.
    pub(crate) fn change_leaf(
        &self,
        up: &mut Upkeep,
        pid: u64,
        leaf: &LeafView,
        points: &[Point<'_>],
        snaps: &SnapSet,
    ) {
        let image = &leaf.image;
        let tombs = self.tombs().overlapping(image.low_fence(), image.high_fence());
        let rules = Rules::new(snaps, &tombs);
        let old = LeafRef { image, spill: leaf.spill.as_deref() };
        let mut change = Change::default();
        change.was(old);
        change.comes(points);
        if !points.is_empty()
            && let Some(image) = old.patched(points, &rules, self.leaf_bytes())
        {
            return self.put_changed(up, pid, NewLeaf::of(image), change);
        }
        let content = Content::merge(old, points, &rules);
        let cuts = content.cut(self.leaf_bytes());
        if cuts.len() > 1 {
            return self.split_leaf(up, pid, image, &content, &cuts, change);
        }
        let spec = leaf_spec(pid, self.keyspace(), image.right_pid(), image.low_fence(), image.high_fence());
        let new = content.build(0..content.group_count(), &spec, self.spill_reservation());
        self.put_changed(up, pid, new, change);
    }

    /// Puts a changed leaf back, and notes what is to be done about it later.
    fn put_changed(&self, up: &mut Upkeep, pid: u64, new: NewLeaf, mut change: Change) {
        if new.image.bytes().len() * 2 < self.leaf_bytes() && pid != ROOT_PID {
            up.underfull.insert(pid);
        }
        change.leaf(new);
        self.commit_change(up, change);
    }
}
