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

use std::collections::VecDeque;

use duramen_base::memtable::{MemFound, Memtable, RangeTombs};
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::sync::{Arc, RwLock};
use duramen_base::{OpsOfKeyspace, Reservation, StoreHost, Timestamp, mutant};

/// The buffers at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) active: Arc<Memtable>,
    /// Newest first; drained from the back.
    pub(crate) frozen: VecDeque<Arc<Memtable>>,
}

impl Layers {
    /// Newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        let readable = if mutant!("miss_frozen_buffer") { 0 } else { self.frozen.len() };
        std::iter::once(&self.active).chain(self.frozen.iter().take(readable))
    }

    /// Memory of all of them in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.all().map(|buffer| buffer.bytes()).sum()
    }

    /// The oldest commit in any of them, `MAX` if there is none.
    pub(crate) fn min_ts(&self) -> Timestamp {
        self.all().map(|buffer| buffer.min_ts()).min().unwrap_or(Timestamp::MAX)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.frozen)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Buffers {
    layers: RwLock<Arc<Layers>>,
    has_any: AtomicBool,
}

/// What the buffers know of a key at a timestamp.
#[derive(Debug)]
pub(crate) enum Buffered {
    /// All there is to know: at what time it got its value (`None`: was deleted), and whether anything newer changed it.
    Settled(MemFound),
    /// The pages have to be asked too; whether anything newer changed it.
    Open(bool),
}

impl Buffers {
    pub(crate) fn new() -> Buffers {
        let layers = Layers { active: Arc::default(), frozen: VecDeque::new() };
        Buffers { layers: RwLock::new(Arc::new(layers)), has_any: AtomicBool::new(false) }
    }

    /// The buffers as they are now.
    pub(crate) fn layers(&self) -> Arc<Layers> {
        Arc::clone(&self.layers.read())
    }

    /// The same, or `None` if all are empty.
    pub(crate) fn layers_if_any(&self) -> Option<Arc<Layers>> {
        self.has_any().then(|| self.layers())
    }

    fn has_any(&self) -> bool {
        // Acquire: pairs with Release in `apply`; who reads at or after a commit sees that it is here (W4).
        self.has_any.load(Ordering::Acquire)
    }

    /// Takes the operations of the commit `at` in; the buffer they went to.
    pub(crate) fn apply(
        &self,
        ops: &OpsOfKeyspace<'_>,
        at: Timestamp,
        held: Reservation,
        host: &dyn StoreHost,
    ) -> Arc<Memtable> {
        let buffer = {
            let layers = self.layers.read();
            layers.active.begin_apply(); // W2
            if !self.has_any() {
                self.has_any.store(true, Ordering::Release); // W4: under the latch that clearing it takes exclusively
            }
            Arc::clone(&layers.active)
        };
        buffer.apply(ops, at, held, host);
        buffer
    }

    /// Freezes the active buffer if it has anything and `is_due` agrees; whether it did.
    pub(crate) fn rotate_if(&self, is_due: impl FnOnce(&Arc<Memtable>) -> bool) -> bool {
        let mut layers = self.layers.write();
        let rotates = !layers.active.is_empty() && is_due(&layers.active);
        if rotates {
            let frozen = std::iter::once(&layers.active).chain(&layers.frozen).map(Arc::clone).collect();
            *layers = Arc::new(Layers { active: Arc::default(), frozen });
        }
        rotates
    }

    /// The oldest frozen buffer, if no apply is in flight in it: it never changes again.
    pub(crate) fn next_to_drain(&self) -> Option<Arc<Memtable>> {
        self.layers().frozen.back().filter(|buffer| buffer.is_quiet()).map(Arc::clone)
    }

    /// Lets the oldest frozen buffer go: all of it is in pages (W1).
    pub(crate) fn remove_drained(&self, drained: &Arc<Memtable>) {
        let mut layers = self.layers.write();
        assert!(layers.frozen.back().is_some_and(|oldest| Arc::ptr_eq(oldest, drained)), "W1: the oldest goes first");
        let mut next = Layers::clone(&layers);
        next.frozen.pop_back();
        if next.frozen.is_empty() && next.active.is_empty() && next.active.is_quiet() {
            self.has_any.store(false, Ordering::Release); // W4
        }
        let before = std::mem::replace(&mut *layers, Arc::new(next));
        drop(layers);
        drop(before); // outside the latch: this may free a whole buffer
    }

    /// What the buffers know of `key` at `at`.
    pub(crate) fn get(&self, key: &[u8], at: Timestamp) -> Buffered {
        if !self.has_any() {
            return Buffered::Open(false);
        }
        let layers = self.layers.read();
        let mut newer = false;
        for buffer in layers.newest_first() {
            let found = buffer.get(key, at);
            newer |= found.newer;
            if found.version.is_some() || found.tomb > Timestamp::ZERO {
                return Buffered::Settled(MemFound { newer, ..found }); // W3
            }
        }
        Buffered::Open(newer)
    }

    /// Newest change of `key`, if the buffers know any.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<Timestamp> {
        if !self.has_any() {
            return None;
        }
        let layers = self.layers.read();
        layers.newest_first().map(|buffer| buffer.newest(key)).find(|&newest| newest > Timestamp::ZERO)
    }
}

/// The range deletes of the buffers, of those that have any.
pub(crate) fn tombs_of(layers: Option<&Layers>) -> Vec<Arc<RangeTombs>> {
    let all = layers.into_iter().flat_map(Layers::newest_first).map(|buffer| buffer.tombs());
    all.filter(|tombs| !tombs.is_empty()).collect()
}
