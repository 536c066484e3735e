//! Residence: which clean pages stay in memory, and which loads may still be reading a place in the file.
//!
//! E1  Only clean leaves without spill are evicted: a dirty page has no place in the file (T1), inner pages stay.
//! E2  Every clean leaf without spill that is here is in the ring, once; what the ring names and is no such leaf any more drops out of it.
//! E3  A load holds the generation that was current before it looked where its page lies; units given up in a generation are used again
//!     only when no load of that generation, or an older one, is under way. So no load reads what was written over its page.
//! E4  Pages and the blocks of LSM tables share one budget: blocks may take most of it, and give way to pages down to a quarter.

use std::collections::VecDeque;

use duramen_base::sync::{Arc, published};

use crate::pid_table::{Page, Slot};
use crate::store::Store;

/// Bytes that eviction frees beyond what is asked, so that it is not called for every page.
const SLACK_BYTES: u64 = 256 << 10;
/// E4: this part of the budget is left to the pool.
const POOL_PART: u64 = 4;

/// The clock: clean leaves, in the order in which the hand comes by.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    pids: VecDeque<u64>,
}

/// A stretch of time in which loads began. Each holds it until it is done.
#[derive(Debug)]
pub(crate) struct Generation {
    number: u64,
}

/// The current generation and those before it that may still be held.
#[derive(Debug)]
pub(crate) struct Generations {
    current: Arc<Generation>,
    before: VecDeque<Arc<Generation>>,
}

impl Generations {
    pub(crate) fn new() -> Generations {
        Generations { current: Arc::new(Generation { number: 1 }), before: VecDeque::new() }
    }

    /// The current one, to be held by a load.
    pub(crate) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current)
    }

    /// What is given up now is given up in this generation.
    pub(crate) fn number(&self) -> u64 {
        self.current.number
    }

    /// Begins a new generation and tells the oldest one that is still held: what was given up before it is free.
    pub(crate) fn oldest_held(&mut self) -> u64 {
        let next = Arc::new(Generation { number: self.current.number + 1 });
        self.before.push_back(std::mem::replace(&mut self.current, next));
        while self.before.front().is_some_and(|generation| Arc::strong_count(generation) == 1) {
            self.before.pop_front();
        }
        self.before.front().unwrap_or(&self.current).number
    }
}

impl Store {
    /// Before a page comes in, and after something grew.
    pub(crate) fn make_room(&self) {
        let (budget, pool) = (self.budget(), &self.env.pool);
        if budget.is_over() && pool.bytes() > budget.limit() / POOL_PART {
            pool.give_back(SLACK_BYTES.min(budget.limit() / 8)); // E4
        }
        if budget.is_over() {
            self.evict(0);
        }
    }

    /// Notes that a page became a clean leaf (E2). Under its latch.
    pub(crate) fn note_evictable(&self, slot: Slot<'_>, page: &Page, pid: u64) {
        if is_evictable(page) && slot.enter_ring() {
            self.ring.lock().pids.push_back(pid);
        }
    }

    /// Drops clean leaves, least recently used first, until the budget has `bytes` and some slack to spare, or none is left to drop.
    pub(crate) fn evict(&self, bytes: u64) {
        self.evict_round(bytes);
        published::collect(); // frees what nobody can be reading any more
    }

    fn evict_round(&self, bytes: u64) {
        let Some(mut ring) = self.ring.try_lock() else { return };
        let enough = self.budget().limit().saturating_sub(bytes + SLACK_BYTES.min(self.budget().limit() / 8));
        // Twice round: the first time takes the touch away.
        for _ in 0..2 * ring.pids.len() {
            if self.budget().used() <= enough {
                return;
            }
            let Some(pid) = ring.pids.pop_front() else { return };
            if !self.evict_page(pid) {
                ring.pids.push_back(pid);
            }
        }
    }

    /// Whether the page leaves the ring: it was evicted, or has no business there.
    fn evict_page(&self, pid: u64) -> bool {
        let slot = self.pages.known(pid);
        let Some(mut page) = slot.try_write() else { return false };
        if is_evictable(&page) && slot.take_touch() {
            return false;
        }
        slot.leave_ring();
        if is_evictable(&page)
            && let Page::Resident(resident) = &*page
        {
            let addr = resident.disk.expect("T1: a clean page has a disk address");
            self.count_page(&page, false);
            *page = Page::OnDisk(addr);
        }
        true
    }
}

/// E1.
fn is_evictable(page: &Page) -> bool {
    match page {
        Page::Resident(resident) => resident.disk.is_some() && resident.image.level() == 0 && resident.spill.is_none(),
        Page::OnDisk(_) | Page::Free => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_free_once_the_loads_of_its_time_are_over() {
        let mut loads = Generations::new();
        let early = loads.current();
        let given_up = loads.number();
        assert!(loads.oldest_held() <= given_up, "E3: a load of that generation is under way");
        let late = loads.current();
        assert!(loads.oldest_held() <= given_up, "E3");
        drop(early);
        assert!(loads.oldest_held() > given_up, "the late load began after");
        drop(late);
    }
}
