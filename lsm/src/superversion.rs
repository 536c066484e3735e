//! What a reader reads: the memtables and the version of the files, at one moment.
//!
//! A reader takes the current one once and needs no latch afterwards. It stays whole for as long as somebody counts it, and with it its
//! memtables and the files of its tables.
//!
//! S1  `active`, `frozen` and `version` together hold every commit that is visible, in every superversion that is ever current.
//! S2  An apply counts itself into the active memtable under the read latch of the place where the current one is kept, and a rotation
//!     takes the write latch: so no apply begins in a memtable that has left.
//! S3  `frozen` goes from newer to older, and is flushed from the oldest: no table is newer than a memtable.

use std::sync::Arc;

use duramen_base::Timestamp;

use crate::version::Version;
use duramen_base::memtable::Memtable;

/// Memtables and tables at one moment.
#[derive(Debug)]
pub(crate) struct SuperVersion {
    /// Takes the applies.
    pub(crate) active: Arc<Memtable>,
    /// Waits to be flushed (S3).
    pub(crate) frozen: Vec<Arc<Memtable>>,
    /// The files.
    pub(crate) version: Arc<Version>,
}

impl SuperVersion {
    /// The files, with an empty memtable.
    pub(crate) fn new(version: Version) -> SuperVersion {
        SuperVersion { active: Arc::new(Memtable::new()), frozen: Vec::new(), version: Arc::new(version) }
    }

    /// All memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.frozen)
    }

    /// The same with the active memtable frozen and a new one in its place.
    pub(crate) fn rotated(&self) -> SuperVersion {
        let frozen = std::iter::once(&self.active).chain(&self.frozen).map(Arc::clone).collect();
        SuperVersion { active: Arc::new(Memtable::new()), frozen, version: Arc::clone(&self.version) }
    }

    /// The same with other files, and without the memtable that they now hold.
    pub(crate) fn switched(&self, version: Version, flushed: Option<&Arc<Memtable>>) -> SuperVersion {
        let stays = |memtable: &&Arc<Memtable>| flushed.is_none_or(|flushed| !Arc::ptr_eq(flushed, memtable));
        let frozen = self.frozen.iter().filter(stays).map(Arc::clone).collect();
        SuperVersion { active: Arc::clone(&self.active), frozen, version: Arc::new(version) }
    }

    /// Every commit up to here is in the files (K3), if `horizon` = min(visible, durable) was read before this superversion was taken, and
    /// the memtable `flushed` is counted among the files.
    pub(crate) fn persisted(&self, horizon: Timestamp, flushed: Option<&Arc<Memtable>>) -> Timestamp {
        let unsaved = self.memtables().filter(|memtable| flushed.is_none_or(|flushed| !Arc::ptr_eq(flushed, memtable)));
        let through = unsaved.map(|memtable| memtable.min_ts().prev()).fold(horizon, Timestamp::min);
        self.version.persisted.max(through)
    }
}
