//! The write buffers: commits that no page holds yet. One takes the applies; frozen ones wait for the drain, from old to new.
//!
//! What lies in them, and how, is the memtable's business (`base/src/memtable.rs`); when one is frozen or drained is that of `work.rs`.
//!
//! W1  Buffers and pages together hold every commit that is visible. A buffer leaves only after all of it is in pages, so who looks at the
//!     buffers first, then at the range deletes, then at a page, misses nothing; what is met twice is the same version.
//! W2  An apply counts itself into the active buffer under the shared latch, a rotation takes the exclusive one: no apply begins in a buffer
//!     that was frozen.
//! W3  Applies of one key arrive in the order of commits. So whatever a buffer holds of a key is newer than what older buffers and pages
//!     hold of it (or the same): the first layer that has an answer has the answer. (Not during replay, when nobody reads.)
//! W4  `has_any` is set before the first apply can be read, and cleared only when every buffer is empty.
//! W5  A run of leaves that a commit attached (`ingest.rs`) is a layer among the frozen buffers, newer than all that was applied before it.

use std::collections::VecDeque;

use duramen_base::memtable::{MemFound, Memtable, RangeTombs};
use duramen_base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use duramen_base::sync::{Arc, ManyReaders, Replacing};
use duramen_base::values::LargeRef;
use duramen_base::{LoggedOps, Reservation, StoreHost, Timestamp, mutant};

use crate::ingest::{Looked, Run};
use crate::read::Missing;

/// A layer that takes no applies any more.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// A buffer, to be drained.
    Buffer(Arc<Memtable>),
    /// Leaves, to be hung into the tree or merged with it.
    Run(Arc<Run>),
}

/// One of the layers, to be looked into.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LayerRef<'l> {
    /// A buffer.
    Buffer(&'l Arc<Memtable>),
    /// Leaves.
    Run(&'l Arc<Run>),
}

impl Layer {
    fn get(&self) -> LayerRef<'_> {
        match self {
            Layer::Buffer(buffer) => LayerRef::Buffer(buffer),
            Layer::Run(run) => LayerRef::Run(run),
        }
    }

    fn is(&self, other: &Layer) -> bool {
        match (self, other) {
            (Layer::Buffer(one), Layer::Buffer(other)) => Arc::ptr_eq(one, other),
            (Layer::Run(one), Layer::Run(other)) => Arc::ptr_eq(one, other),
            (Layer::Buffer(_) | Layer::Run(_), _) => false,
        }
    }

    /// Its oldest commit.
    pub(crate) fn min_ts(&self) -> Timestamp {
        self.get().min_ts()
    }

    /// Its newest commit.
    pub(crate) fn max_ts(&self) -> Timestamp {
        match self {
            Layer::Buffer(buffer) => buffer.max_ts(),
            Layer::Run(run) => run.ts,
        }
    }
}

impl LayerRef<'_> {
    fn min_ts(&self) -> Timestamp {
        match self {
            LayerRef::Buffer(buffer) => buffer.min_ts(),
            LayerRef::Run(run) => run.ts,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            LayerRef::Buffer(buffer) => buffer.bytes(),
            LayerRef::Run(run) => run.bytes(),
        }
    }
}

/// The buffers at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) active: Arc<Memtable>,
    /// Newest first; drained from the back.
    pub(crate) frozen: VecDeque<Layer>,
}

impl Layers {
    /// Newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = LayerRef<'_>> {
        let readable = if mutant!("miss_frozen_buffer") { 0 } else { self.frozen.len() };
        std::iter::once(LayerRef::Buffer(&self.active)).chain(self.frozen.iter().take(readable).map(Layer::get))
    }

    /// How many buffers wait to be drained, or are.
    pub(crate) fn frozen_buffers(&self) -> usize {
        self.frozen.iter().filter(|layer| matches!(layer, Layer::Buffer(_))).count()
    }

    /// Memory of all of them in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.all().map(|layer| layer.bytes()).sum()
    }

    /// The oldest commit in any of them, `MAX` if there is none.
    pub(crate) fn min_ts(&self) -> Timestamp {
        self.all().map(|layer| layer.min_ts()).min().unwrap_or(Timestamp::MAX)
    }

    fn all(&self) -> impl Iterator<Item = LayerRef<'_>> {
        std::iter::once(LayerRef::Buffer(&self.active)).chain(self.frozen.iter().map(Layer::get))
    }

    /// The same with the active buffer frozen.
    fn rotated(&self) -> Layers {
        let active = Layer::Buffer(Arc::clone(&self.active));
        let frozen = std::iter::once(&active).chain(&self.frozen).map(Layer::clone).collect();
        Layers { active: Arc::default(), frozen }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Buffers {
    layers: ManyReaders<Arc<Layers>>,
    has_any: AtomicBool,
    /// How many are frozen, for those whom an answer of a moment ago serves.
    frozen_count: AtomicUsize,
}

/// What the buffers know of a key at a timestamp.
#[derive(Debug)]
pub(crate) enum Buffered {
    /// All there is to know: at what time it got its value (`None`: was deleted), and whether anything newer changed it.
    Settled(MemFound),
    /// The pages have to be asked too; whether anything newer changed it.
    Open(bool),
    /// A page of a run must be read first.
    Missing(Missing),
    /// A run has the value, in a value file; as of when, and whether anything newer changed it.
    Large(LargeRef, Timestamp, bool),
}

impl Buffers {
    pub(crate) fn new() -> Buffers {
        let layers = Layers { active: Arc::default(), frozen: VecDeque::new() };
        let (has_any, frozen_count) = (AtomicBool::new(false), AtomicUsize::new(0));
        Buffers { layers: ManyReaders::new(Arc::new(layers)), has_any, frozen_count }
    }

    /// The buffers as they are now.
    pub(crate) fn layers(&self) -> Arc<Layers> {
        Arc::clone(&self.layers.read())
    }

    /// The same, or `None` if all are empty.
    pub(crate) fn layers_if_any(&self) -> Option<Arc<Layers>> {
        self.has_any().then(|| self.layers())
    }

    /// Whether any was frozen a moment ago.
    pub(crate) fn has_frozen(&self) -> bool {
        // Relaxed: who acts on it looks at the layers.
        self.frozen_count.load(Ordering::Relaxed) > 0
    }

    fn has_any(&self) -> bool {
        // Acquire: pairs with Release in `apply`; who reads at or after a commit sees that it is here (W4).
        self.has_any.load(Ordering::Acquire)
    }

    /// Takes the operations of the commit `at` in; the buffer they went to.
    pub(crate) fn apply(&self, commits: &[LoggedOps<'_>], held: Reservation, host: &dyn StoreHost) -> Arc<Memtable> {
        let buffer = {
            let layers = self.layers.read();
            layers.active.begin_apply(); // W2
            if !self.has_any() {
                self.has_any.store(true, Ordering::Release); // W4: under the latch that clearing it takes exclusively
            }
            Arc::clone(&layers.active)
        };
        buffer.apply(commits, held, host);
        buffer
    }

    /// Freezes the active buffer if it has anything and `is_due` agrees; whether it did.
    pub(crate) fn rotate_if(&self, is_due: impl FnOnce(&Arc<Memtable>) -> bool) -> bool {
        let mut replacing = self.layers.replace();
        let layers = replacing.value();
        let rotates = !layers.active.is_empty() && is_due(&layers.active);
        if rotates {
            let next = layers.rotated();
            self.put(&mut replacing, next);
        }
        rotates
    }

    /// Replaces the layers; what they were.
    fn put(&self, replacing: &mut Replacing<'_, Arc<Layers>>, next: Layers) -> Arc<Layers> {
        self.frozen_count.store(next.frozen.len(), Ordering::Relaxed);
        replacing.set(Arc::new(next))
    }

    /// Puts a run in front of all that was applied before it (W5).
    pub(crate) fn attach(&self, run: Run) {
        let mut replacing = self.layers.replace();
        let layers = replacing.value();
        let is_bare = layers.active.is_empty() && layers.active.is_quiet();
        let mut next = if is_bare { Layers::clone(layers) } else { layers.rotated() };
        next.frozen.push_front(Layer::Run(Arc::new(run)));
        self.has_any.store(true, Ordering::Release); // W4
        self.put(&mut replacing, next);
    }

    /// The oldest frozen layer, if no apply is in flight in it: it never changes again.
    pub(crate) fn next_to_drain(&self) -> Option<Layer> {
        let is_still = |layer: &&Layer| match layer {
            Layer::Buffer(buffer) => buffer.is_quiet(),
            Layer::Run(_) => true,
        };
        self.layers().frozen.back().filter(is_still).cloned()
    }

    /// Lets the oldest frozen layer go: all of it is in pages (W1).
    pub(crate) fn remove_drained(&self, drained: &Layer) {
        let mut replacing = self.layers.replace();
        let layers = replacing.value();
        assert!(layers.frozen.back().is_some_and(|oldest| oldest.is(drained)), "W1: the oldest goes first");
        let mut next = Layers::clone(layers);
        next.frozen.pop_back();
        if next.frozen.is_empty() && next.active.is_empty() && next.active.is_quiet() {
            self.has_any.store(false, Ordering::Release); // W4
        }
        let before = self.put(&mut replacing, next);
        drop(replacing);
        drop(before); // outside the latch: this may free a whole buffer
    }

    /// What the layers know of `key` at `at`; `look` looks for it in a run.
    pub(crate) fn get(&self, key: &[u8], at: Timestamp, look: impl Fn(&Run) -> Looked) -> Buffered {
        if !self.has_any() {
            return Buffered::Open(false);
        }
        let layers = self.layers.read();
        let mut newer = false;
        for layer in layers.newest_first() {
            let found = match layer {
                LayerRef::Buffer(buffer) => buffer.get(key, at),
                LayerRef::Run(run) => match look(run) {
                    Looked::Found(found) => found,
                    Looked::Large(large) => return Buffered::Large(large, run.ts, newer),
                    Looked::Nothing => continue,
                    Looked::Missing(missing) => return Buffered::Missing(missing),
                },
            };
            newer |= found.newer;
            if found.version.is_some() || found.tomb > Timestamp::ZERO {
                return Buffered::Settled(MemFound { newer, ..found }); // W3
            }
        }
        Buffered::Open(newer)
    }

    /// Newest change of `key`, if the layers know any; `look` looks for it in a run, at the end of all time.
    pub(crate) fn newest(&self, key: &[u8], look: impl Fn(&Run) -> Looked) -> Result<Option<Timestamp>, Missing> {
        if !self.has_any() {
            return Ok(None);
        }
        let layers = self.layers.read();
        for layer in layers.newest_first() {
            let newest = match layer {
                LayerRef::Buffer(buffer) => buffer.newest(key),
                LayerRef::Run(run) => match look(run) {
                    Looked::Found(_) | Looked::Large(_) => run.ts,
                    Looked::Nothing => Timestamp::ZERO,
                    Looked::Missing(missing) => return Err(missing),
                },
            };
            if newest > Timestamp::ZERO {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }
}

/// The range deletes of the buffers, of those that have any.
pub(crate) fn tombs_of(layers: Option<&Layers>) -> Vec<Arc<RangeTombs>> {
    let all = layers.into_iter().flat_map(Layers::newest_first).filter_map(|layer| match layer {
        LayerRef::Buffer(buffer) => Some(buffer.tombs()),
        LayerRef::Run(_) => None,
    });
    all.filter(|tombs| !tombs.is_empty()).collect()
}
