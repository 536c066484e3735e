//! The page table: page id to image or disk address.
//!
//! Slots never move, so a reference to one stays good while others are added. Which page is whose child is not known here.
//!
//! T1  A dirty page is resident and has no disk address. A page that is not resident has one, which the durable superblock or the checkpoint to
//!     come names; a clean resident page has the one it would be read from.
//! T2  A writer replaces the whole image; nobody changes one.
//! T3  Page ids start at 1, the root's; 0 is "none".
//! T4  `shown` of a slot is the image of its page if that is resident and has no spill, else nothing; it follows the page before the latch is let go.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::sync::published::{Lent, Pinned, Published};
use duramen_base::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use duramen_base::{Budget, Reservation};

use crate::map::DiskAddr;
use crate::spill::Spill;

/// Page id of the root, for ever.
pub(crate) const ROOT_PID: u64 = 1;

const FIRST_CHUNK_SLOTS_LOG2: u32 = 8;
const CHUNKS: usize = 40;

/// What a page id stands for.
#[derive(Debug, Default)]
pub(crate) enum Page {
    /// Nothing: never used, or free to be used again.
    #[default]
    Free,
    /// A page that must be read first (T1).
    OnDisk(DiskAddr),
    /// A page in memory.
    Resident(Resident),
}

/// A page in memory.
#[derive(Debug)]
pub(crate) struct Resident {
    pub(crate) image: Counted<Image>,
    pub(crate) spill: Option<Arc<Spill>>,
    /// Its bytes in the budget, until the image leaves its slot.
    reservation: Reservation,
    /// Where the file has it; `None`: nowhere yet, it is dirty (T1).
    pub(crate) disk: Option<DiskAddr>,
}

impl Resident {
    /// A page of an image that is where `disk` says; counted in `budget`.
    pub(crate) fn new(
        image: Image,
        spill: Option<Arc<Spill>>,
        disk: Option<DiskAddr>,
        budget: &Arc<Budget>,
    ) -> Resident {
        let reservation = budget.reserve_anyway(image.memory_bytes() as u64);
        Resident { image: Counted::new(image), spill, reservation, disk }
    }

    /// Gets a new image (T2), which the file does not have yet.
    pub(crate) fn replace(&mut self, image: Image, spill: Option<Arc<Spill>>) {
        self.reservation.resize(image.memory_bytes() as u64);
        self.image = Counted::new(image);
        (self.spill, self.disk) = (spill, None);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.disk.is_none()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.image.bytes().len() as u64
    }
}

/// What upkeep and readers with a latch know of a page id.
#[derive(Debug, Default)]
struct Kept {
    page: RwLock<Page>,
    /// Whether the ring of clean leaves names it (see `evict.rs`).
    in_ring: AtomicBool,
}

/// What readers without a latch look at: apart from the rest, so that few cache lines serve many pages.
#[derive(Debug, Default)]
struct Shown {
    image: Published<Image>,
    touched: AtomicBool,
}

/// One page id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'t> {
    kept: &'t Kept,
    /// T4.
    shown: &'t Shown,
}

/// Neighbouring page ids.
struct Chunk {
    kept: Box<[Kept]>,
    shown: Box<[Shown]>,
}

impl Chunk {
    fn new(slots: usize) -> Chunk {
        Chunk {
            kept: std::iter::repeat_with(Kept::default).take(slots).collect(),
            shown: std::iter::repeat_with(Shown::default).take(slots).collect(),
        }
    }
}

/// A page that is being changed.
pub(crate) struct PageMut<'s> {
    page: RwLockWriteGuard<'s, Page>,
    shown: &'s Published<Image>,
}

impl Deref for PageMut<'_> {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

impl DerefMut for PageMut<'_> {
    fn deref_mut(&mut self) -> &mut Page {
        &mut self.page
    }
}

impl Drop for PageMut<'_> {
    /// T4: the latch goes after this.
    fn drop(&mut self) {
        let image = match &*self.page {
            Page::Resident(Resident { image, spill: None, .. }) => Some(image),
            Page::Resident(_) | Page::OnDisk(_) | Page::Free => None,
        };
        if !self.shown.is(image) {
            self.shown.set(image.cloned());
        }
    }
}

impl<'t> Slot<'t> {
    /// The page under its latch.
    pub(crate) fn read(self) -> RwLockReadGuard<'t, Page> {
        self.kept.page.read()
    }

    /// The page, to be changed.
    pub(crate) fn write(self) -> PageMut<'t> {
        PageMut { page: self.kept.page.write(), shown: &self.shown.image }
    }

    /// The same, if nobody has its latch.
    pub(crate) fn try_write(self) -> Option<PageMut<'t>> {
        self.kept.page.try_write().map(|page| PageMut { page, shown: &self.shown.image })
    }

    /// The image of the page without its latch; `None`: the latch has to be taken.
    #[inline]
    pub(crate) fn shown<'p>(self, pin: &'p Pinned) -> Option<Lent<'p, Image>> {
        self.shown.image.get(pin)
    }

    /// Shows another image than the page's, as a reader in the middle of a descent may hold one.
    #[cfg(test)]
    pub(crate) fn show(self, image: Option<Counted<Image>>) {
        self.shown.image.set(image);
    }

    /// Notes a use, for the clock.
    #[inline]
    pub(crate) fn touch(self) {
        // Relaxed: a hint. Read first, so that a hot page's line stays shared.
        if !self.shown.touched.load(Ordering::Relaxed) {
            self.shown.touched.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last time the clock came by.
    pub(crate) fn take_touch(self) -> bool {
        self.shown.touched.swap(false, Ordering::Relaxed)
    }

    /// Whether it was not in the ring before.
    pub(crate) fn enter_ring(self) -> bool {
        // Relaxed: read and written under the latch of the page.
        !self.kept.in_ring.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn leave_ring(self) {
        self.kept.in_ring.store(false, Ordering::Relaxed);
    }
}

/// All page ids: chunks of doubling size, each made once.
pub(crate) struct PidTable {
    chunks: [OnceLock<Chunk>; CHUNKS],
    ids: Mutex<Ids>,
}

#[derive(Debug)]
struct Ids {
    next: u64,
    free: Vec<u64>,
    /// Memory of the slots.
    reservation: Reservation,
}

fn place_of(pid: u64) -> (usize, usize) {
    let shifted = pid + (1 << FIRST_CHUNK_SLOTS_LOG2);
    let log2 = 63 - shifted.leading_zeros();
    ((log2 - FIRST_CHUNK_SLOTS_LOG2) as usize, (shifted - (1 << log2)) as usize)
}

impl PidTable {
    /// A table without pages; its memory is counted in `budget`.
    pub(crate) fn new(budget: &Arc<Budget>) -> PidTable {
        let reservation = budget.reserve_anyway(0);
        PidTable {
            chunks: std::array::from_fn(|_| OnceLock::new()),
            ids: Mutex::new(Ids { next: ROOT_PID, free: Vec::new(), reservation }),
        }
    }

    /// The slot of `pid`, if it was ever given out.
    #[inline]
    pub(crate) fn slot(&self, pid: u64) -> Option<Slot<'_>> {
        if pid == 0 || pid >= 1 << 40 {
            return None;
        }
        let (chunk, index) = place_of(pid);
        let chunk = self.chunks.get(chunk)?.get()?;
        Some(Slot { kept: chunk.kept.get(index)?, shown: chunk.shown.get(index)? })
    }

    /// The slot of a page id that this store itself gave out or checked.
    pub(crate) fn known(&self, pid: u64) -> Slot<'_> {
        self.slot(pid).expect("a page id that was given out has a slot")
    }

    fn make_slot(&self, pid: u64, ids: &mut Ids) {
        let (chunk, _) = place_of(pid);
        self.chunks[chunk].get_or_init(|| {
            let slots = 1usize << (FIRST_CHUNK_SLOTS_LOG2 as usize + chunk);
            let bytes = ids.reservation.bytes() + (slots * (size_of::<Kept>() + size_of::<Shown>())) as u64;
            ids.reservation.resize(bytes);
            Chunk::new(slots)
        });
    }

    /// Gives out a page id that is free.
    pub(crate) fn allocate(&self) -> u64 {
        let mut ids = self.ids.lock();
        if let Some(pid) = ids.free.pop() {
            return pid;
        }
        let pid = ids.next;
        ids.next += 1;
        self.make_slot(pid, &mut ids);
        pid
    }

    /// Takes a page id back. Its slot is `Free` already.
    pub(crate) fn release(&self, pid: u64) {
        self.ids.lock().free.push(pid);
    }

    /// Fills the table when a store is opened, from the entries of its map in ascending order.
    pub(crate) fn fill(&self, entries: impl Iterator<Item = (u64, DiskAddr)>) {
        let mut ids = self.ids.lock();
        for (pid, addr) in entries {
            let first_unused = ids.next;
            ids.free.extend(first_unused..pid);
            ids.next = pid + 1;
            (first_unused..=pid).for_each(|pid| self.make_slot(pid, &mut ids));
            *self.known(pid).write() = Page::OnDisk(addr);
        }
        ids.free.reverse();
    }

    /// Takes these page ids, which must be free; whether they were.
    pub(crate) fn claim(&self, pids: &[u64]) -> bool {
        let wanted: BTreeSet<u64> = pids.iter().copied().collect();
        let mut ids = self.ids.lock();
        let next = ids.next;
        let new: Vec<u64> = wanted.range(next..).copied().collect();
        let before = ids.free.len();
        ids.free.retain(|pid| !wanted.contains(pid));
        let were_free = before - ids.free.len() + new.len() == pids.len();
        for pid in new {
            let first_unused = ids.next;
            ids.free.extend(first_unused..pid);
            ids.next = pid + 1;
            (first_unused..=pid).for_each(|pid| self.make_slot(pid, &mut ids));
        }
        were_free
    }

    /// The first page id that was never given out.
    pub(crate) fn end(&self) -> u64 {
        self.ids.lock().next
    }

    /// Number of pages.
    pub(crate) fn count(&self) -> u64 {
        let ids = self.ids.lock();
        ids.next - ROOT_PID - ids.free.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_distinct() {
        let mut last = place_of(1);
        for pid in 2..100_000 {
            let next = place_of(pid);
            assert!(next == (last.0, last.1 + 1) || next == (last.0 + 1, 0), "{pid}");
            last = next;
        }
    }

    #[test]
    fn ids_are_given_out_once_and_again_after_release() {
        let table = PidTable::new(&Budget::new(1 << 20));
        let ids: Vec<u64> = (0..1000).map(|_| table.allocate()).collect();
        assert_eq!(ids, (1..=1000).collect::<Vec<_>>());
        table.release(17);
        assert_eq!(table.allocate(), 17);
        assert_eq!(table.allocate(), 1001);
        assert!(table.slot(0).is_none() && table.slot(u64::MAX).is_none());
        assert_eq!(table.count(), 1001);
    }

    #[test]
    fn ids_are_claimed_where_they_are_free() {
        let table = PidTable::new(&Budget::new(1 << 20));
        let ids: Vec<u64> = (0..4).map(|_| table.allocate()).collect();
        table.release(2);
        assert!(!table.claim(&[3]) && table.claim(&[2, 7]));
        assert_eq!([table.allocate(), table.allocate(), table.allocate()], [6, 5, 8]);
        assert_eq!((ids.len(), table.count()), (4, 8));
    }

    #[test]
    fn holes_of_the_map_are_free_ids() {
        let table = PidTable::new(&Budget::new(1 << 20));
        let addr = DiskAddr { unit: 2, units: 1, write_seq: 1 };
        table.fill([(1, addr), (4, addr)].into_iter());
        assert_eq!([table.allocate(), table.allocate(), table.allocate()], [2, 3, 5]);
    }
}
