//! How often readers of a keyspace found what they looked for in memory.
//!
//! What is found without the pool (`slots.rs`; pages of a B-tree, which are not here at all) counts as much as what is found in it, so stores count, not
//! the pool. It keeps the counts, as parts of a store come and go that all share them.
//!
//! CO1  A lookup that found its page or block is counted once, on no line that other threads write. One that had to be read first is counted as read, too:
//!      what is not among these was in memory.
//! CO2  What upkeep looks at is not counted: it says nothing of how well the cache serves readers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::ids::KeyspaceId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, Tally};

/// Lookups of data in one keyspace: of leaves (B-tree) or data blocks (LSM).
///
/// ```
/// use duramen_base::pool::CacheCounts;
/// let counts = CacheCounts::default();
/// counts.note_read();
/// (0..10).for_each(|_| counts.note_lookup());
/// assert_eq!(counts.hits_and_misses(), (9, 1));
/// ```
#[derive(Debug, Default)]
pub struct CacheCounts {
    lookups: Tally,
    reads: AtomicU64,
}

impl CacheCounts {
    /// A reader has the page or block that it looked for.
    #[inline]
    pub fn note_lookup(&self) {
        self.lookups.raise();
    }

    /// It was read from a file for a reader; the lookup itself is counted when he has it.
    pub fn note_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Lookups that found their page or block in memory, and those that did not (CO1).
    pub fn hits_and_misses(&self) -> (u64, u64) {
        let misses = self.reads.load(Ordering::Relaxed);
        // What was read may have gone again before its reader came, and was then read twice for one lookup.
        (self.lookups.sum().saturating_sub(misses), misses)
    }
}

/// The counts of all keyspaces that are open.
#[derive(Debug, Default)]
pub(super) struct CountsOfAll(Mutex<HashMap<KeyspaceId, Weak<CacheCounts>>>);

impl CountsOfAll {
    pub(super) fn of(&self, keyspace: KeyspaceId) -> Arc<CacheCounts> {
        let mut all = self.0.lock();
        if let Some(counts) = all.get(&keyspace).and_then(Weak::upgrade) {
            return counts;
        }
        all.retain(|_, counts| counts.strong_count() > 0);
        let counts = Arc::new(CacheCounts::default());
        all.insert(keyspace, Arc::downgrade(&counts));
        counts
    }
}
