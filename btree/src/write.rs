//! Writing dirty pages to fresh units: for a checkpoint, and before one when memory is short.
//!
//! A page that was written so is clean: it can be dropped and read again, although no superblock names its place yet. A crash before the next
//! checkpoint finds these units free.
//!
//! What was written is synced every few MiB, long before a superblock needs it: one sync of everything would keep the disk from commits, and this
//! store's upkeep from drains, for as long as it takes to write it.
//!
//! X5  Images go to units that nothing names and nobody reads; a page gets its place only when the write succeeded.

use duramen_base::Result;
use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::sync::atomic::Ordering;
use duramen_base::vfs::File;

use crate::map::DiskAddr;
use crate::pid_table::Page;
use crate::store::Store;
use crate::units::{UNIT_BYTES, Units, units_for};
use crate::upkeep::Upkeep;

/// Bytes gathered for one write call.
const WRITE_BYTES: u64 = 256 << 10;

/// Bytes written between two syncs, at most; less if memory is small.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// An image as it is written: padded to whole units.
pub(crate) fn padded(image: &Image, addr: DiskAddr) -> Vec<u8> {
    let mut bytes = image.to_stored(u32::from(addr.write_seq));
    assert!(bytes.len() <= usize::from(addr.units) * UNIT_BYTES, "X5: an image stays inside its units");
    bytes.resize(usize::from(addr.units) * UNIT_BYTES, 0);
    bytes
}

/// Takes units for images and gathers writes to neighbouring ones.
pub(crate) struct Gather<'f> {
    file: &'f File,
    write_seq: u16,
    start: u64,
    bytes: Vec<u8>,
    total: u64,
    /// The places taken, in order.
    pub(crate) placed: Vec<DiskAddr>,
}

impl<'f> Gather<'f> {
    pub(crate) fn new(file: &'f File, write_seq: u16) -> Gather<'f> {
        Gather { file, write_seq, start: 0, bytes: Vec::new(), total: 0, placed: Vec::new() }
    }

    /// Takes units for an image and writes it there, now or later.
    pub(crate) fn put(&mut self, units: &mut Units, image: &Image) -> Result<DiskAddr> {
        let unit = units.allocate(units_for(image.bytes().len()));
        self.put_at(unit, image)
    }

    /// Writes an image to units that were taken for it, from `unit` on, now or later.
    pub(crate) fn put_at(&mut self, unit: u64, image: &Image) -> Result<DiskAddr> {
        let addr = DiskAddr { unit, units: units_for(image.bytes().len()), write_seq: self.write_seq };
        self.placed.push(addr);
        let offset = addr.unit * UNIT_BYTES as u64;
        if self.start + self.bytes.len() as u64 != offset || self.bytes.len() as u64 >= WRITE_BYTES {
            self.flush()?;
            self.start = offset;
        }
        let bytes = padded(image, addr);
        self.total += bytes.len() as u64;
        self.bytes.extend_from_slice(&bytes);
        Ok(addr)
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.file.write_all_at(&self.bytes, self.start)?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Bytes written, or gathered to be.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

impl Store {
    /// Writes pages of `pids` that are dirty, in their order, until `bytes_max` bytes are reached (about) or there are none left; the bytes.
    pub(crate) fn write_pages(
        &self,
        up: &mut Upkeep,
        pids: &mut dyn Iterator<Item = u64>,
        bytes_max: u64,
    ) -> Result<u64> {
        let mut gather = Gather::new(&self.file, up.next_write_seq());
        let mut written = Vec::new();
        let outcome = self.gather_pages(up, pids, bytes_max, &mut gather, &mut written);
        if let Err(error) = outcome.and_then(|()| gather.flush()) {
            gather.placed.into_iter().for_each(|addr| up.units.free(addr)); // X5: nobody knows them
            up.dirty.extend(&written);
            up.dirty_leaves.extend(written);
            return Err(error);
        }
        for (pid, &addr) in written.into_iter().zip(&gather.placed) {
            self.turned_clean(pid, addr);
            up.took_place(pid, addr);
        }
        self.counters.written_bytes.fetch_add(gather.total(), Ordering::Relaxed);
        up.unsynced_bytes += gather.total();
        if up.unsynced_bytes >= UNSYNCED_BYTES_MAX.min(self.budget().limit() / 4) {
            self.sync_pages(up)?;
        }
        Ok(gather.total())
    }

    /// Makes what was written durable (X4).
    pub(crate) fn sync_pages(&self, up: &mut Upkeep) -> Result<()> {
        up.unsynced_bytes = 0;
        self.file.sync_data().or_else(|error| up.fail(error))
    }

    fn gather_pages(
        &self,
        up: &mut Upkeep,
        pids: &mut dyn Iterator<Item = u64>,
        bytes_max: u64,
        gather: &mut Gather<'_>,
        written: &mut Vec<u64>,
    ) -> Result<()> {
        while gather.total() < bytes_max.max(1) {
            let Some(pid) = pids.next() else { return Ok(()) };
            if up.dirty.remove(&pid) {
                written.push(pid);
                gather.put(&mut up.units, &self.dirty_image(pid))?;
            }
        }
        Ok(())
    }

    /// The image of a dirty page.
    pub(crate) fn dirty_image(&self, pid: u64) -> Counted<Image> {
        match &*self.pages.known(pid).read() {
            Page::Resident(resident) => Counted::clone(&resident.image),
            Page::OnDisk(_) | Page::Free => panic!("T1: the dirty page {pid} is resident"),
        }
    }

    /// A dirty page has a place now (T1).
    fn turned_clean(&self, pid: u64, addr: DiskAddr) {
        let slot = self.pages.known(pid);
        let mut page = slot.write();
        self.count_page(&page, false);
        if let Page::Resident(resident) = &mut *page {
            resident.disk = Some(addr);
        }
        self.count_page(&page, true);
        self.note_evictable(slot, &page, pid);
    }

    /// Writes dirty leaves while there are too many of them, or memory is short and nothing else can be dropped; the bytes.
    pub(crate) fn write_behind(&self, up: &mut Upkeep, bytes_max: u64) -> Result<u64> {
        let mut bytes = 0;
        while bytes < bytes_max.max(1) && !up.dirty_leaves.is_empty() && self.has_too_much_dirty() {
            let mut leaves = std::mem::take(&mut up.dirty_leaves);
            let outcome = self.write_pages(up, &mut std::iter::from_fn(|| leaves.pop_front()), WRITE_BYTES);
            leaves.append(&mut up.dirty_leaves);
            up.dirty_leaves = leaves;
            bytes += outcome?;
        }
        Ok(bytes)
    }

    fn has_too_much_dirty(&self) -> bool {
        let limit = self.budget().limit();
        let dirty = self.counters.dirty_bytes.load(Ordering::Relaxed);
        if dirty > limit / 4 {
            return true;
        }
        self.is_memory_short() && {
            self.evict(limit / 8);
            self.is_memory_short() && dirty > 0
        }
    }
}
