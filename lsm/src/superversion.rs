//! What a reader reads: the memtables, tables that a commit attached, and the version of the files, at one moment.
//!
//! Who reads files counts the current one once and needs no latch afterwards: it stays whole for as long as somebody counts it, and with it its
//! memtables and the files of its tables. A get that finds all it needs in memory looks at it under the read latch instead (S4).
//!
//! S1  `active`, `frozen` and `version` together hold every commit that is visible, in every superversion that is ever current.
//! S2  An apply counts itself into the active memtable under the read latch of the place where the current one is kept, and a rotation
//!     takes the write latch: so no apply begins in a memtable that has left.
//! S3  `frozen` goes from newer to older, and comes into the version from the oldest: for one key, no table of the version is newer than what
//!     waits here.
//! S4  Under the read latch nothing is read from a file, no memory is waited for and no memtable is freed: a rotation, and with it every apply, waits for
//!     gets under way, so each is a search in memory.

use std::sync::Arc;

use duramen_base::Timestamp;

use crate::ingest::Ingested;
use crate::table::Table;
use crate::version::{Run, Version};
use duramen_base::memtable::Memtable;

/// Something that waits to come into the version of the files.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// A memtable that takes no applies any more: to be flushed.
    Memtable(Arc<Memtable>),
    /// Tables that a commit attached: to be named by the manifest.
    Ingested(Arc<Ingested>),
}

impl Layer {
    /// Whether both are one.
    pub(crate) fn is(&self, other: &Layer) -> bool {
        match (self, other) {
            (Layer::Memtable(one), Layer::Memtable(other)) => Arc::ptr_eq(one, other),
            (Layer::Ingested(one), Layer::Ingested(other)) => Arc::ptr_eq(one, other),
            (Layer::Memtable(_) | Layer::Ingested(_), _) => false,
        }
    }

    /// Its oldest commit.
    fn min_ts(&self) -> Timestamp {
        match self {
            Layer::Memtable(memtable) => memtable.min_ts(),
            Layer::Ingested(ingested) => ingested.ts,
        }
    }

    /// Its newest commit.
    pub(crate) fn max_ts(&self) -> Timestamp {
        match self {
            Layer::Memtable(memtable) => memtable.max_ts(),
            Layer::Ingested(ingested) => ingested.ts,
        }
    }
}

/// Memtables and tables at one moment.
#[derive(Debug)]
pub(crate) struct SuperVersion {
    /// Takes the applies.
    pub(crate) active: Arc<Memtable>,
    /// Waits to come into the files (S3).
    pub(crate) frozen: Vec<Layer>,
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
        let frozen = self.frozen.iter().filter_map(|layer| match layer {
            Layer::Memtable(memtable) => Some(memtable),
            Layer::Ingested(_) => None,
        });
        std::iter::once(&self.active).chain(frozen)
    }

    fn ingested(&self) -> impl Iterator<Item = &Arc<Ingested>> {
        self.frozen.iter().filter_map(|layer| match layer {
            Layer::Memtable(_) => None,
            Layer::Ingested(ingested) => Some(ingested),
        })
    }

    /// Whether a table came by a commit and the manifest does not name it yet.
    pub(crate) fn is_ingested(&self, table: &Arc<Table>) -> bool {
        self.ingested().any(|ingested| ingested.run.all().any(|other| Arc::ptr_eq(other, table)))
    }

    /// All runs of tables, those to ask first first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.ingested().map(|ingested| &ingested.run).chain(self.version.runs())
    }

    /// All tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.runs().flat_map(Run::all)
    }

    /// The same with the active memtable frozen and a new one in its place.
    pub(crate) fn rotated(&self) -> SuperVersion {
        let active = Layer::Memtable(Arc::clone(&self.active));
        let frozen = std::iter::once(&active).chain(&self.frozen).map(Layer::clone).collect();
        SuperVersion { active: Arc::new(Memtable::new()), frozen, version: Arc::clone(&self.version) }
    }

    /// The same with tables in front of all that was applied before them.
    pub(crate) fn attached(&self, ingested: Ingested) -> SuperVersion {
        let before = if self.active.is_empty() && self.active.is_quiet() { None } else { Some(self.rotated()) };
        let before = before.as_ref().unwrap_or(self);
        let ingested = Layer::Ingested(Arc::new(ingested));
        let frozen = std::iter::once(&ingested).chain(&before.frozen).map(Layer::clone).collect();
        SuperVersion { active: Arc::clone(&before.active), frozen, version: Arc::clone(&before.version) }
    }

    /// The same with other files, and without the layer that they now hold.
    pub(crate) fn switched(&self, version: Version, settled: Option<&Layer>) -> SuperVersion {
        let stays = |layer: &&Layer| settled.is_none_or(|settled| !settled.is(layer));
        let frozen = self.frozen.iter().filter(stays).map(Layer::clone).collect();
        SuperVersion { active: Arc::clone(&self.active), frozen, version: Arc::new(version) }
    }

    /// Every commit up to here is in the files (K3), if `horizon` = min(visible, durable) was read before this superversion was taken, and
    /// the layer `settled` is counted among the files.
    pub(crate) fn persisted(&self, horizon: Timestamp, settled: Option<&Layer>) -> Timestamp {
        let waits = |layer: &&Layer| settled.is_none_or(|settled| !settled.is(layer));
        let frozen = self.frozen.iter().filter(waits).map(Layer::min_ts);
        let through =
            std::iter::once(self.active.min_ts()).chain(frozen).map(Timestamp::prev).fold(horizon, Timestamp::min);
        self.version.persisted.max(through)
    }
}
