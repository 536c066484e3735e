//! Residence: which pages stay in memory, and admission, which keeps those of a batch there until it is applied.
//!
//! E1  `admit` takes the current generation first, then stamps each leaf with its number under the latch of the page.
//! E2  A leaf stamped in the oldest generation that a live admission holds, or later, is not evicted. Splits and merges carry stamps on.
//! E3  Only clean leaves without spill are evicted: dirty pages wait for a checkpoint (T1), inner pages always stay.
//! E4  Nothing here waits for a row lock: whoever finds no room makes some itself, by a checkpoint and eviction.

use std::any::Any;
use std::collections::VecDeque;
use std::time::Duration;

use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Admission, Deadline, Error, OpKind, OpsOfKeyspace, Reservation, Result, WorkBudget};

use crate::pid_table::Page;
use crate::read::Target;
use crate::store::Store;

/// Bytes that one step of relief may write.
const RELIEF_BYTES: u64 = 1 << 20;
/// Bytes that eviction frees beyond what is asked, so that it is not called for every page.
const SLACK_BYTES: u64 = 256 << 10;

/// A stretch of time in which batches were admitted. An admission holds it; eviction begins a new one.
#[derive(Debug)]
struct Generation {
    number: u64,
}

/// The current generation and those before it that may still be held.
#[derive(Debug)]
pub(crate) struct Generations {
    current: Arc<Generation>,
    before: VecDeque<Arc<Generation>>,
    /// Where the clock stands.
    hand: u64,
}

impl Generations {
    pub(crate) fn new() -> Generations {
        Generations { current: Arc::new(Generation { number: 1 }), before: VecDeque::new(), hand: 0 }
    }

    /// Begins a new generation and tells the oldest one that is still held: pages stamped before it are free to go.
    fn oldest_held(&mut self) -> u64 {
        let next = Arc::new(Generation { number: self.current.number + 1 });
        self.before.push_back(std::mem::replace(&mut self.current, next));
        while self.before.front().is_some_and(|generation| Arc::strong_count(generation) == 1) {
            self.before.pop_front();
        }
        self.before.front().unwrap_or(&self.current).number
    }
}

/// What pages may grow by for a batch: its bytes, what records cost beside them, and the headers of pages that split.
fn bytes_to_reserve(ops: &OpsOfKeyspace<'_>) -> u64 {
    let bytes = ops.encoded_bytes() as u64;
    bytes + bytes / 8 + ops.len() as u64 * 32 + 2048
}

impl Store {
    /// Sets memory aside and brings the leaves of a batch in.
    pub(crate) fn admit(&self, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admission> {
        let reservation = self.reserve(bytes_to_reserve(ops), deadline)?;
        let generation = Arc::clone(&self.admissions.lock().current); // E1
        let mut past: Option<Vec<u8>> = None;
        for op in ops.iter().filter(|op| op.kind != OpKind::DeleteRange) {
            // Keys ascend: those below the high fence of the leaf before are in it, and it is stamped.
            if past.as_deref().is_some_and(|high| high.is_empty() || op.key < high) {
                continue;
            }
            let high = self.with_leaf(Target::At(op.key), |slot, resident| {
                slot.stamp(generation.number); // E1
                Ok(resident.image.high_fence().to_vec())
            })?;
            past = Some(high);
        }
        Ok(Admission { reservation, token: Some(generation as Arc<dyn Any + Send + Sync>) })
    }

    /// All or nothing. Makes room where it can; what other parts of the database hold is theirs to give back.
    fn reserve(&self, bytes: u64, deadline: Deadline) -> Result<Reservation> {
        let budget = self.budget();
        if bytes > budget.limit() {
            return Err(Error::TxnTooLarge { needed: bytes, budget: budget.limit() });
        }
        if let Some(reservation) = budget.try_reserve(bytes) {
            return Ok(reservation);
        }
        self.env.host.wake_upkeep();
        let mut is_relieved = false;
        loop {
            self.evict(bytes);
            if let Some(reservation) = budget.try_reserve(bytes) {
                return Ok(reservation);
            }
            let is_late = deadline.0.is_some_and(|deadline: Duration| self.env.clock.now() >= deadline);
            if is_late || is_relieved {
                // Whatever is left is not ours to free, or there is no time: going over is better than standing still (E4).
                return Ok(budget.reserve_anyway(bytes));
            }
            is_relieved = !self.relieve()?;
        }
    }

    /// One step towards fewer dirty pages; whether another would help. One whole checkpoint is enough to ask of one batch.
    fn relieve(&self) -> Result<bool> {
        self.wanted.fetch_max(self.env.host.visible().get(), Ordering::SeqCst);
        let done = self.work(WorkBudget { bytes: RELIEF_BYTES })?;
        Ok(done.more && !done.switched)
    }

    /// Before a page comes in, and after some grew.
    pub(crate) fn make_room(&self) {
        if self.budget().is_over() {
            self.evict(0);
        }
    }

    /// Drops clean leaves, least recently used first, until the budget has `bytes` and some slack to spare, or none is left to drop.
    pub(crate) fn evict(&self, bytes: u64) {
        let Some(mut admissions) = self.admissions.try_lock() else { return };
        let oldest_held = admissions.oldest_held();
        let end = self.pages.end();
        let enough = self.budget().limit().saturating_sub(bytes + SLACK_BYTES.min(self.budget().limit() / 8));
        // Twice round: the first time takes the touch away.
        for _ in 0..2 * end {
            if self.budget().used() <= enough {
                return;
            }
            admissions.hand = if admissions.hand + 1 >= end { 1 } else { admissions.hand + 1 };
            self.evict_page(admissions.hand, oldest_held);
        }
    }

    fn evict_page(&self, pid: u64, oldest_held: u64) {
        let Some(slot) = self.pages.slot(pid) else { return };
        let Some(mut page) = slot.page.try_write() else { return };
        let Page::Resident(resident) = &*page else { return };
        let stays = resident.is_dirty() || resident.image.level() > 0 || resident.spill.is_some(); // E3
        if stays || slot.stamped() >= oldest_held || slot.take_touch() {
            return;
        }
        let addr = resident.disk.expect("T1: a clean page has a disk address");
        self.count_page(&page, false);
        *page = Page::OnDisk(addr);
    }
}
