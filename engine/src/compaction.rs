//! Compactions that a program asked for: the handle to look at one, wait for it or stop it, and the pause of what upkeep does by itself.
//!
//! Nothing is compacted here: the stores do it, step by step, in upkeep (`base/src/compaction.rs` has the requests). Neither handle keeps a
//! database open: once it is closed there is nothing to wait for.

use std::fmt;
use std::sync::Weak;

use duramen_base::sync::Arc;
use duramen_base::{CompactionStats, Error, KeyBounds, Result};

use crate::core::Core;
use crate::keyspace::{Inner, Keyspace};

/// A compaction under way, from [`Database::begin_compaction`](crate::Database::begin_compaction). Dropping it lets the compaction go on.
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// let logs = db.keyspace("logs", BackendKind::Lsm)?;
/// db.update(|tx| tx.put(&logs, "b", "2"))?;
/// let compaction = db.begin_compaction(&logs, "a".."c")?;
/// if !compaction.is_done() {
///     println!("{} bytes are left", compaction.progress().bytes_to_do);
/// }
/// compaction.wait()?;
/// # Ok::<(), duramen::Error>(())
/// ```
pub struct Compaction {
    core: Weak<Core>,
    keyspace: Arc<Inner>,
    request: u64,
}

impl Compaction {
    pub(crate) fn begin(core: &Arc<Core>, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Compaction> {
        let request = core.begin_compaction(keyspace, bounds)?;
        Ok(Compaction { core: Arc::downgrade(core), keyspace: Arc::clone(&keyspace.inner), request })
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.keyspace.store.compacted() >= self.request
    }

    /// How far the compactions of this keyspace are, this one and those asked for before it; also in [`StoreStats::compaction`](crate::StoreStats).
    /// What lies in which level is in [`StoreStats::levels`](crate::StoreStats).
    pub fn progress(&self) -> CompactionStats {
        self.keyspace.store.stats().compaction
    }

    /// Returns when it is done.
    ///
    /// # Errors
    /// Those of [`Database::compact`](crate::Database::compact). Whatever the error, nothing is lost: files that were begun are removed, all others stay.
    pub fn wait(self) -> Result<()> {
        self.core.upgrade().ok_or(Error::Closed)?.finish_compaction(&self.keyspace, self.request)
    }

    /// Gives it up: nothing more is begun for it, and what is half written is removed. What was merged or moved already stays so. Returns at once.
    ///
    /// ```
    /// use duramen::{BackendKind, Database};
    /// let db = Database::in_memory()?;
    /// let logs = db.keyspace("logs", BackendKind::BTree)?;
    /// db.update(|tx| tx.put(&logs, "b", "2"))?;
    /// db.begin_compaction::<&str>(&logs, ..)?.stop();
    /// assert_eq!(db.stats().keyspaces[0].1.compaction.requests, 0);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn stop(self) {
        self.keyspace.store.stop_compaction(self.request);
    }
}

impl fmt::Debug for Compaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compaction").field("keyspace", &self.keyspace.name).field("is_done", &self.is_done()).finish()
    }
}

/// Holds back what upkeep would merge or move by itself, until dropped: from [`Database::pause_compaction`](crate::Database::pause_compaction).
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// let logs = db.keyspace("logs", BackendKind::Lsm)?;
/// let pause = db.pause_compaction(&logs)?;
/// assert!(db.stats().keyspaces[0].1.compaction.is_paused);
/// drop(pause);
/// assert!(!db.stats().keyspaces[0].1.compaction.is_paused);
/// # Ok::<(), duramen::Error>(())
/// ```
#[must_use = "dropping it ends the pause"]
pub struct CompactionPause(Arc<Inner>);

impl CompactionPause {
    pub(crate) fn begin(keyspace: &Keyspace) -> CompactionPause {
        keyspace.inner.store.pause_compaction(true);
        CompactionPause(Arc::clone(&keyspace.inner))
    }
}

impl Drop for CompactionPause {
    fn drop(&mut self) {
        self.0.store.pause_compaction(false);
    }
}

impl fmt::Debug for CompactionPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompactionPause").field(&self.0.name).finish()
    }
}
