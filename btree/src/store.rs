//! The inner state of one B-tree, shared by the tree, its cursors and its load tickets; and how a page gets a new image.
//!
//! Latch order (a thread takes them downwards and may skip some):
//! ```text
//!   upkeep                     one at a time: drain, checkpoint, merges, sweep, compaction, notes for verify; held across I/O
//!   structure                  shared: descend; exclusive: put the pages of a split or merge in place. Never held across I/O
//!   buffers | slot.page        the list of buffers, under it a buffer's own latch, or one page of a run | one page; never held across I/O
//!   ring | loads | tombs | saved | pids      leaves of this order: nothing is taken under them
//! ```
//!
//! G1  Only upkeep changes pages. Under `structure` shared no page id changes its place in the tree: only contents of leaves do.
//! G2  A page whose image is other than the durable superblock's is dirty or has a place of its own (P1 of `upkeep.rs`).
//! G3  `newest` is at or above every commit that any page or range delete of the tree contains.
//! G4  Range deletes are looked up before the page: one that is no longer listed has been worked into every page read later. Buffers are
//!     looked up before both (W1).

use duramen_base::compaction::CompactionDesk;
use duramen_base::image::Image;
use duramen_base::memtable::ScanHints;
use duramen_base::pool::CacheCounts;
use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex, Padded, RwLock};
use duramen_base::values::ValueStore;
use duramen_base::vfs::File;
use duramen_base::{Budget, Error, KeyspaceId, Result, SnapSet, StoreEnv, StoreMark, Timestamp};

use crate::buffers::Buffers;
use crate::evict::{Generations, Ring};
use crate::pid_table::{Page, PidTable, Resident};
use crate::range_tombs::RangeTombs;
use crate::spill::Spill;
use crate::upkeep::Upkeep;

/// Inner pages are half as large as leaves, 8 KiB at most: more of their keys per cache line, and splits stay cheap.
const INNER_BYTES_MAX: usize = 8 << 10;

/// How far durable files reach, and what bounds it.
#[derive(Clone, Copy, Debug)]
struct Saved {
    /// State of the durable superblock; `persisted` may be ahead of it when nothing is unsaved.
    mark: StoreMark,
    /// The oldest commit of the buffers drained since the last checkpoint, `MAX` if there was none.
    drained_min_ts: Timestamp,
}

/// Figures that only grow or are kept in step with the page table.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) resident_bytes: AtomicU64,
    pub(crate) dirty_bytes: AtomicU64,
    pub(crate) spill_bytes: AtomicU64,
    /// Bytes of the file that were in use at the last checkpoint.
    pub(crate) tree_bytes: AtomicU64,
    pub(crate) persists: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) drains: AtomicU64,
    pub(crate) drained_changes: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) pages_merged: AtomicU64,
    /// How far the drain in progress is, in thousandths of its buffer; 0 without one.
    pub(crate) drained_share: AtomicU64,
    /// Memory of all changes that were drained since opening, about.
    pub(crate) drained_memory: AtomicU64,
    /// Bytes that writers ahead of the drain came to write.
    pub(crate) ahead_bytes: AtomicU64,
    /// How long writers waited for the drain.
    pub(crate) stall_nanos: AtomicU64,
    pub(crate) persist_nanos: AtomicU64,
    pub(crate) persist_step_nanos_max: AtomicU64,
}

/// See the module.
pub(crate) struct Store {
    pub(crate) env: StoreEnv,
    pub(crate) file: File,
    /// Values that are too large for leaves.
    pub(crate) values: ValueStore,
    pub(crate) pages: PidTable,
    pub(crate) structure: RwLock<()>,
    tombs: RwLock<Arc<RangeTombs>>,
    /// Whether `tombs` has anything; raised before it has.
    has_tombs: AtomicBool,
    newest: AtomicU64,
    too_old_below: AtomicU64,
    saved: Mutex<Saved>,
    pub(crate) buffers: Buffers,
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) ring: Mutex<Ring>,
    pub(crate) loads: Mutex<Generations>,
    /// Walks over the file that are under way (V4 of `verify.rs`).
    pub(crate) verifying: AtomicU64,
    pub(crate) scan_hints: Padded<ScanHints>,
    /// Through which commit the engine wants files to be durable.
    pub(crate) wanted: AtomicU64,
    /// Compactions asked for, and done.
    pub(crate) compaction: CompactionDesk,
    pub(crate) counters: Counters,
    /// Lookups of leaves by readers.
    pub(crate) cache: Arc<CacheCounts>,
}

impl Store {
    /// A store in the state of its durable superblock.
    pub(crate) fn new(
        env: StoreEnv,
        (file, values): (File, ValueStore),
        pages: PidTable,
        tombs: RangeTombs,
        upkeep: Upkeep,
    ) -> Store {
        let mark = upkeep.mark();
        let tree_bytes = AtomicU64::new(upkeep.live_bytes());
        Store {
            cache: env.pool.counts_of(env.keyspace),
            env,
            file,
            values,
            pages,
            structure: RwLock::new(()),
            has_tombs: AtomicBool::new(!tombs.is_empty()),
            tombs: RwLock::new(Arc::new(tombs)),
            newest: AtomicU64::new(mark.contains.get()),
            too_old_below: AtomicU64::new(0),
            saved: Mutex::new(Saved { mark, drained_min_ts: Timestamp::MAX }),
            buffers: Buffers::new(),
            upkeep: Mutex::new(upkeep),
            ring: Mutex::default(),
            loads: Mutex::new(Generations::new()),
            verifying: AtomicU64::new(0),
            scan_hints: Padded::default(),
            wanted: AtomicU64::new(0),
            compaction: CompactionDesk::default(),
            counters: Counters { tree_bytes, ..Counters::default() },
        }
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        self.env.host.budget()
    }

    pub(crate) fn keyspace(&self) -> KeyspaceId {
        self.env.keyspace
    }

    pub(crate) fn snapshots(&self) -> Arc<SnapSet> {
        self.env.host.snapshots()
    }

    /// Bytes that a leaf should have at most.
    pub(crate) fn leaf_bytes(&self) -> usize {
        self.env.options.page_bytes as usize
    }

    /// Bytes that an inner page should have at most.
    pub(crate) fn inner_bytes(&self) -> usize {
        (self.leaf_bytes() / 2).clamp(1 << 10, INNER_BYTES_MAX)
    }

    /// The range deletes to look up before the page (G4); `None`: there are none.
    pub(crate) fn tombs_if_any(&self) -> Option<Arc<RangeTombs>> {
        // Acquire: pairs with Release in `change_tombs`. Who reads at or after a range delete sees its list.
        self.has_tombs.load(Ordering::Acquire).then(|| self.tombs())
    }

    /// The range deletes.
    pub(crate) fn tombs(&self) -> Arc<RangeTombs> {
        Arc::clone(&self.tombs.read())
    }

    /// Replaces the list of range deletes.
    pub(crate) fn change_tombs(&self, change: impl FnOnce(&RangeTombs) -> RangeTombs) {
        let mut tombs = self.tombs.write();
        let next = change(&tombs);
        self.has_tombs.store(!next.is_empty(), Ordering::Release);
        *tombs = Arc::new(next);
    }

    /// Newest commit contained (G3).
    pub(crate) fn newest(&self) -> Timestamp {
        Timestamp::new(self.newest.load(Ordering::SeqCst))
    }

    /// Notes that commits up to `at` are about to be contained (G3).
    pub(crate) fn note_contained(&self, at: Timestamp) {
        self.newest.fetch_max(at.get(), Ordering::SeqCst);
    }

    /// Fails if the history that a reader at `at` may need is gone. Asked under the latch of the page, or after looking at it.
    pub(crate) fn check_not_too_old(&self, at: Timestamp) -> Result<()> {
        // SeqCst: raised under the latch of the page that lost history, before it does.
        if at.get() < self.too_old_below.load(Ordering::SeqCst) { Err(Error::SnapshotTooOld) } else { Ok(()) }
    }

    /// Whether history that does not fit its page may still be kept in memory.
    pub(crate) fn may_spill(&self) -> bool {
        self.counters.spill_bytes.load(Ordering::Relaxed) <= self.budget().limit() / 4
    }

    /// Readers below `bound` can no longer be served. Said before the history is gone: see `check_not_too_old`.
    pub(crate) fn refuse_below(&self, bound: Timestamp) {
        self.too_old_below.fetch_max(bound.get(), Ordering::SeqCst);
    }

    /// Puts a new image in the slot of a page (G1: upkeep does).
    pub(crate) fn put_page(&self, up: &mut Upkeep, image: Image, spill: Option<Spill>) {
        let (pid, is_leaf) = (image.self_id(), image.level() == 0);
        self.counters.copied_bytes.fetch_add(image.bytes().len() as u64, Ordering::Relaxed);
        let spill = spill.map(Arc::new);
        if is_leaf && image.hist_count() > 0 {
            up.untidy.insert((image.max_ts(), pid));
        }
        let mut page = self.pages.known(pid).write();
        self.count_page(&page, false);
        match &mut *page {
            Page::Resident(resident) => resident.replace(image, spill),
            Page::OnDisk(_) | Page::Free => *page = Page::Resident(Resident::new(image, spill, None, self.budget())),
        }
        self.count_page(&page, true);
        drop(page);
        up.note_replaced(self.leaf_bytes());
        up.turned_dirty(pid, is_leaf, self.loads.lock().number());
    }

    /// Takes a page out of the tree. Under `structure` exclusive.
    pub(crate) fn free_page(&self, up: &mut Upkeep, pid: u64) {
        let mut page = self.pages.known(pid).write();
        self.count_page(&page, false);
        *page = Page::Free;
        drop(page);
        up.is_gone(pid, self.loads.lock().number());
        self.pages.release(pid);
    }

    /// Keeps the figures in step: before a page leaves its slot (`enters` false) and after one came in.
    pub(crate) fn count_page(&self, page: &Page, enters: bool) {
        let Page::Resident(resident) = page else { return };
        let spill_bytes = resident.spill.as_ref().map_or(0, |spill| spill.bytes());
        let dirty_bytes = if resident.is_dirty() { resident.bytes() } else { 0 };
        let counters = &self.counters;
        for (count, bytes) in [
            (&counters.resident_bytes, resident.bytes()),
            (&counters.dirty_bytes, dirty_bytes),
            (&counters.spill_bytes, spill_bytes),
        ] {
            // Relaxed: counts that guard no other memory.
            if bytes == 0 {
            } else if enters {
                count.fetch_add(bytes, Ordering::Relaxed);
            } else {
                count.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }

    /// K3: what is in durable files.
    pub(crate) fn persisted(&self) -> Timestamp {
        let settled = self.env.host.visible().min(self.env.host.durable()); // read first
        // Then the buffers: one that leaves notes its oldest commit in `saved` before.
        let buffered = self.buffers.layers_if_any().map_or(Timestamp::MAX, |layers| layers.min_ts());
        let mut saved = self.saved.lock();
        let unsaved = buffered.min(saved.drained_min_ts);
        // Once said it stays true: whatever comes later is newer than what was settled here.
        saved.mark.persisted = saved.mark.persisted.max(settled.min(unsaved.prev()));
        saved.mark.persisted
    }

    pub(crate) fn mark(&self) -> StoreMark {
        self.persisted(); // a clean store says as much as it can
        self.saved.lock().mark
    }

    /// What the last superblock said, and perhaps more that was settled since.
    pub(crate) fn persisted_before(&self) -> Timestamp {
        self.saved.lock().mark.persisted
    }

    /// A buffer whose oldest commit is `min_ts` is in pages, and about to leave.
    pub(crate) fn note_drained(&self, min_ts: Timestamp) {
        let mut saved = self.saved.lock();
        saved.drained_min_ts = saved.drained_min_ts.min(min_ts);
    }

    /// A checkpoint is durable; everything that was drained is in it.
    pub(crate) fn note_checkpoint(&self, mark: StoreMark) {
        let mut saved = self.saved.lock();
        saved.drained_min_ts = Timestamp::MAX;
        saved.mark = StoreMark { persisted: mark.persisted.max(saved.mark.persisted), ..mark };
    }

    /// Whether pages contain commits that no durable superblock does.
    pub(crate) fn has_drained(&self) -> bool {
        self.saved.lock().drained_min_ts < Timestamp::MAX
    }

    /// Whether little of the memory budget is left.
    pub(crate) fn is_memory_short(&self) -> bool {
        let limit = self.budget().limit();
        self.budget().used() > limit - limit / 8
    }
}

#[cfg(test)]
mod schedules;
