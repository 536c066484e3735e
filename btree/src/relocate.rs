//! Moving pages towards the beginning of the file, as they are.
//!
//! A page that is moved is copied to free units, and its place changes: as if it had been written again by the drain. The place it had stays until no
//! durable superblock names it, so a crash at any moment finds the page in one of both.
//!
//! RL1 Only clean pages move: a dirty one gets its place when it is written.
//! RL2 A page that cannot be read stays where it is.
//! RL3 A page of a run that is not in the tree yet stays: the list of the run says where it is.

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, Result};

use crate::map::DiskAddr;
use crate::pid_table::Page;
use crate::store::Store;
use crate::upkeep::Upkeep;
use crate::write::Gather;

/// Page ids looked at in one step.
const LOOK_PIDS: u64 = 64 << 10;

/// Pages copied but not yet where readers look: page id, place before and after.
type Moved = Vec<(u64, DiskAddr, DiskAddr)>;

impl Store {
    /// Moves pages with ids from `next_pid` on that lie behind `bound` to free units before it, until some `bytes_max` bytes were copied; `None`:
    /// the last page was reached.
    pub(crate) fn move_pages(
        &self,
        up: &mut Upkeep,
        bound: u64,
        next_pid: &mut u64,
        bytes_max: u64,
    ) -> Result<Option<u64>> {
        let pids = *next_pid..self.pages.end().min(*next_pid + LOOK_PIDS);
        if pids.is_empty() {
            return Ok(None);
        }
        let mut gather = Gather::new(&self.file, up.next_write_seq());
        let mut moved = Moved::new();
        let mut reached = pids.start;
        let outcome = pids.into_iter().try_for_each(|pid| {
            if gather.total() < bytes_max.max(1) {
                reached = pid + 1;
                self.copy_page(up, pid, bound, &mut gather, &mut moved)?;
            }
            Ok(())
        });
        if let Err(error) = outcome.and_then(|()| gather.flush()) {
            gather.placed.into_iter().for_each(|addr| up.units.free(addr)); // X5: nobody knows them
            return Err(error);
        }
        for (pid, from, to) in moved {
            self.page_moved(up, pid, from, to);
        }
        self.counters.written_bytes.fetch_add(gather.total(), Ordering::Relaxed);
        *next_pid = reached;
        Ok(Some(gather.total() + 1))
    }

    fn copy_page(
        &self,
        up: &mut Upkeep,
        pid: u64,
        bound: u64,
        gather: &mut Gather<'_>,
        moved: &mut Moved,
    ) -> Result<()> {
        if up.beside.contains_key(&pid) {
            return Ok(()); // RL3
        }
        let Some((from, image)) = self.clean_page(pid).filter(|(from, _)| from.end() > bound) else { return Ok(()) };
        let Some(unit) = up.units.allocate_below(from.units, bound) else { return Ok(()) };
        let image = match image.map_or_else(|| self.read_page(pid, from).map(Counted::new), Ok) {
            Ok(image) => image,
            Err(error) => {
                up.units.free(DiskAddr { unit, ..from });
                let stays = matches!(error, Error::Corruption { .. }); // RL2
                return if stays { Ok(()) } else { Err(error) };
            }
        };
        moved.push((pid, from, gather.put_at(unit, &image)?));
        Ok(())
    }

    /// Where a page lies, and its image if it is here; `None`: it is dirty, or none (RL1).
    fn clean_page(&self, pid: u64) -> Option<(DiskAddr, Option<Counted<Image>>)> {
        match &*self.pages.slot(pid)?.read() {
            Page::Resident(resident) => Some((resident.disk?, Some(Counted::clone(&resident.image)))),
            Page::OnDisk(addr) => Some((*addr, None)),
            Page::Free => None,
        }
    }

    fn page_moved(&self, up: &mut Upkeep, pid: u64, from: DiskAddr, to: DiskAddr) {
        let slot = self.pages.known(pid);
        let mut page = slot.write();
        let place = match &mut *page {
            Page::Resident(resident) => resident.disk.as_mut(),
            Page::OnDisk(addr) => Some(addr),
            Page::Free => None,
        };
        let place = place.expect("G1: nobody but upkeep changes a page");
        assert!(*place == from, "G1: page {pid} lies where it was copied from");
        *place = to;
        drop(page);
        let generation = self.loads.lock().number();
        up.leave_place(pid, generation);
        up.took_place(pid, to);
    }
}
