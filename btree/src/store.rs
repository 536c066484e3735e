//! The inner state of one B-tree, shared by the tree, its cursors and its load tickets; and how a page gets a new image.
//!
//! Latch order (a thread takes them downwards and may skip some):
//! ```text
//!   upkeep                     one at a time: checkpoint, merges, drain, verify; held across I/O
//!   structure                  shared: descend, change one leaf; exclusive: split, merge, freeze. Never held across I/O
//!   slot.page                  one leaf, or parent then child while descending; never held across I/O
//!   tombs | unsaved | admissions | underfull | pids      leaves of this order: nothing is taken under them
//! ```
//!
//! G1  Under `structure` shared no page id changes its place in the tree: only contents of leaves do.
//! G2  A page whose image is newer than the durable superblock's is dirty and noted in `unsaved` for the next freeze, or was taken
//!     over by the checkpoint in progress.
//! G3  `newest` is at or above every commit that any page or range delete here contains.
//! G4  Range deletes are looked up before the page: one that is no longer listed has been worked into every page read later.

use std::collections::BTreeSet;

use duramen_base::image::Image;
use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex, RwLock};
use duramen_base::vfs::File;
use duramen_base::{Budget, Error, KeyspaceId, Result, SnapSet, StoreEnv, StoreMark, Timestamp};

use crate::checkpoint::Upkeep;
use crate::evict::Generations;
use crate::leaf::NewLeaf;
use crate::pid_table::{Page, PidTable, Resident, Slot};
use crate::range_tombs::RangeTombs;
use crate::spill::Spill;

/// Inner pages are half as large as leaves, 8 KiB at most: more of their keys per cache line, and splits stay cheap.
const INNER_BYTES_MAX: usize = 8 << 10;

/// What is not in durable files yet, and what is.
#[derive(Debug)]
pub(crate) struct Unsaved {
    /// Dirty pages for the next freeze (G2).
    pub(crate) pages: BTreeSet<u64>,
    /// Page ids freed since the last freeze.
    pub(crate) dead: BTreeSet<u64>,
    /// Whether the list of range deletes changed since the last freeze.
    pub(crate) tombs_changed: bool,
    /// Whether a checkpoint is between freeze and end.
    pub(crate) in_flight: bool,
    /// State of the durable superblock.
    pub(crate) mark: StoreMark,
}

impl Unsaved {
    pub(crate) fn is_clean(&self) -> bool {
        self.pages.is_empty() && self.dead.is_empty() && !self.tombs_changed && !self.in_flight
    }
}

/// Figures that only grow or are kept in step with the page table.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) resident_bytes: AtomicU64,
    pub(crate) dirty_bytes: AtomicU64,
    pub(crate) spill_bytes: AtomicU64,
    pub(crate) persists: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
}

/// See the module.
pub(crate) struct Store {
    pub(crate) env: StoreEnv,
    pub(crate) file: File,
    pub(crate) pages: PidTable,
    pub(crate) structure: RwLock<()>,
    tombs: RwLock<Arc<RangeTombs>>,
    /// Whether `tombs` has anything; raised before it has.
    has_tombs: AtomicBool,
    newest: AtomicU64,
    too_old_below: AtomicU64,
    /// Number of the next freeze. Changes under `structure` exclusive.
    pub(crate) epoch: AtomicU64,
    pub(crate) unsaved: Mutex<Unsaved>,
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) admissions: Mutex<Generations>,
    /// Pages that a merge might help.
    pub(crate) underfull: Mutex<BTreeSet<u64>>,
    /// Through which commit the engine wants files to be durable.
    pub(crate) wanted: AtomicU64,
    pub(crate) counters: Counters,
}

impl Store {
    /// A store in the state of its durable superblock.
    pub(crate) fn new(env: StoreEnv, file: File, pages: PidTable, tombs: RangeTombs, upkeep: Upkeep) -> Store {
        let mark = upkeep.mark();
        Store {
            env,
            file,
            pages,
            structure: RwLock::new(()),
            has_tombs: AtomicBool::new(!tombs.is_empty()),
            tombs: RwLock::new(Arc::new(tombs)),
            newest: AtomicU64::new(mark.contains.get()),
            too_old_below: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            unsaved: Mutex::new(Unsaved {
                pages: BTreeSet::new(),
                dead: BTreeSet::new(),
                tombs_changed: false,
                in_flight: false,
                mark,
            }),
            upkeep: Mutex::new(upkeep),
            admissions: Mutex::new(Generations::new()),
            underfull: Mutex::new(BTreeSet::new()),
            wanted: AtomicU64::new(0),
            counters: Counters::default(),
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

    /// Notes that the commit `at` is about to be contained. Under `structure`, so that a freeze sees it with the content (G3).
    pub(crate) fn note_commit(&self, at: Timestamp) {
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

    /// Puts a rebuilt leaf in its slot.
    pub(crate) fn install_leaf(&self, slot: &Slot, page: &mut Page, pid: u64, leaf: NewLeaf) {
        // Before the history is gone: see `check_not_too_old`.
        self.too_old_below.fetch_max(leaf.too_old_below.get(), Ordering::SeqCst);
        self.install(slot, page, pid, leaf.image, leaf.spill.map(Arc::new));
    }

    /// Puts a new image in a slot, whose latch the caller holds as `page`, and notes it for the next freeze (G2).
    pub(crate) fn install(&self, slot: &Slot, page: &mut Page, pid: u64, image: Image, spill: Option<Arc<Spill>>) {
        debug_assert!(image.self_id() == pid, "T2: page {pid} gets its own image");
        let epoch = self.epoch.load(Ordering::SeqCst);
        let noted = matches!(page, Page::Resident(old) if old.dirty_epoch == epoch);
        self.count_page(page, false);
        match page {
            Page::Resident(resident) => resident.replace(image, spill, epoch),
            Page::OnDisk(_) | Page::Free => {
                *page = Page::Resident(Resident::new(image, spill, None, epoch, self.budget()));
            }
        }
        self.count_page(page, true);
        slot.touch();
        if !noted {
            self.unsaved.lock().pages.insert(pid);
        }
    }

    /// Takes a page out of the tree. The caller holds its latch and `structure` exclusive.
    pub(crate) fn free_page(&self, page: &mut Page, pid: u64) {
        self.count_page(page, false);
        *page = Page::Free;
        let mut unsaved = self.unsaved.lock();
        unsaved.pages.remove(&pid);
        unsaved.dead.insert(pid);
        drop(unsaved);
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
        let mut unsaved = self.unsaved.lock();
        if unsaved.is_clean() {
            // Once said it stays true: whatever is dirtied later is newer than what was settled here.
            unsaved.mark.persisted = unsaved.mark.persisted.max(settled);
        }
        unsaved.mark.persisted
    }

    pub(crate) fn mark(&self) -> StoreMark {
        self.persisted(); // a clean store says as much as it can
        self.unsaved.lock().mark
    }
}
