//! One file of the running simulated disk: what programs see of it, what was synced, and the space it takes.
//!
//! It knows no names and no journal; `state.rs` calls it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::content::{Content, PAGE_BYTES, Page};

/// One file, as long as it has a name or a handle.
pub(super) struct SimFile {
    pub(super) seen: Arc<Content>,
    pub(super) synced: Arc<Content>,
    /// Pages as they were before the last write to them.
    pub(super) previous: BTreeMap<u64, Option<Arc<Page>>>,
    /// Which pages take space.
    allocated: Vec<bool>,
    /// Before which sync a call last wrote to a page.
    written: BTreeMap<u64, u64>,
    /// Syncs of the file.
    pub(super) syncs: u64,
    pub(super) handles: usize,
    pub(super) linked: bool,
    pub(super) locked: bool,
}

impl SimFile {
    pub(super) fn new(content: &Arc<Content>) -> SimFile {
        let mut allocated = vec![false; content.len().div_ceil(PAGE_BYTES) as usize];
        for (index, slot) in allocated.iter_mut().enumerate() {
            *slot = content.page(index as u64).is_some();
        }
        SimFile {
            seen: Arc::clone(content),
            synced: Arc::clone(content),
            previous: BTreeMap::new(),
            allocated,
            written: BTreeMap::new(),
            syncs: 0,
            handles: 0,
            linked: true,
            locked: false,
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.allocated.iter().filter(|page| **page).count() as u64 * PAGE_BYTES
    }

    /// Whether all pages of `range` bear a store: a call has written to them since the last sync but one. Since the last one would be as good a rule, but a
    /// sync begins before it is counted here.
    pub(super) fn bears_stores(&self, range: Range<u64>) -> bool {
        let mut pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        pages.all(|page| self.written.get(&page).is_some_and(|sync| sync + 1 >= self.syncs))
    }

    /// Takes the pages of `range` that are not taken as far as there is room; where the room ends.
    pub(super) fn allocate(&mut self, range: Range<u64>, room: &mut u64) -> u64 {
        for page in range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES) {
            let index = page as usize;
            self.written.insert(page, self.syncs);
            if self.allocated.get(index) == Some(&true) {
                continue;
            }
            if *room < PAGE_BYTES {
                return range.start.max(page * PAGE_BYTES);
            }
            *room -= PAGE_BYTES;
            if self.allocated.len() <= index {
                self.allocated.resize(index + 1, false);
            }
            self.allocated[index] = true;
        }
        range.end
    }

    /// Gives the pages that lie wholly in `range` back; their bytes.
    pub(super) fn free(&mut self, range: Range<u64>) -> u64 {
        let mut freed = 0;
        let end = (range.end / PAGE_BYTES).min(self.allocated.len() as u64);
        for page in range.start.div_ceil(PAGE_BYTES)..end {
            freed += u64::from(std::mem::take(&mut self.allocated[page as usize])) * PAGE_BYTES;
        }
        freed
    }

    pub(super) fn remember(&mut self, range: Range<u64>) {
        for page in range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES) {
            self.previous.insert(page, self.seen.page(page).cloned());
        }
    }

    /// The content with every page as it was before the last write to it.
    pub(super) fn stale(&self) -> Content {
        let mut stale = (*self.seen).clone();
        for (index, page) in &self.previous {
            let start = index * PAGE_BYTES;
            if start >= stale.len() {
                continue;
            }
            match page {
                Some(page) => stale.put_page(*index, Arc::clone(page)),
                None => stale.zero(start..start + PAGE_BYTES),
            }
        }
        stale
    }
}
