//! What a commit gives back: where it stands, and for an asynchronous one the handle to wait with.

use std::fmt;

use duramen_base::sync::Arc;
use duramen_base::{Error, Lsn, Result, Timestamp};

use crate::core::Core;

/// Where a commit stands. `(ts, log_epoch)` is unique for ever: a commit lost in a crash leaves its number to another, in a later epoch.
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// let tx = db.begin()?;
/// tx.put(&ks, "a", "1")?;
/// let info = tx.commit()?.expect("it wrote something");
/// assert!(info.ts > duramen::Timestamp::ZERO);
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its place in the one order of commits.
    pub ts: Timestamp,
    /// Where its record begins in the log.
    pub lsn: Lsn,
    /// How often the log's tail had been cut before it.
    pub log_epoch: u64,
}

/// A commit that was sequenced and applied, and perhaps is not durable yet. Dropping it changes nothing: the log writes and syncs it soon.
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// let tx = db.begin()?;
/// tx.put(&ks, "a", "1")?;
/// let handle = tx.commit_async()?.expect("it wrote something");
/// handle.on_durable(|outcome| println!("durable: {}", outcome.is_ok()));
/// handle.wait_visible(); // in the snapshots of this caller from here on
/// handle.wait_durable()?;
/// assert_eq!(handle.info().ts, db.stats().durable);
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone)]
pub struct CommitHandle {
    pub(crate) core: Arc<Core>,
    pub(crate) info: CommitInfo,
    pub(crate) end: Lsn,
}

impl CommitHandle {
    /// Where it stands.
    pub fn info(&self) -> CommitInfo {
        self.info
    }

    /// Returns when the commit, and all before it, are visible to new snapshots of this caller.
    pub fn wait_visible(&self) {
        self.core.order.wait_visible(self.info.ts);
        self.core.horizons.acknowledge(self.info.ts);
    }

    /// Returns when the commit, and all before it, are on disk.
    ///
    /// # Errors
    /// [`Error::Indeterminate`]: the log failed; only a reopen tells whether it survived.
    pub fn wait_durable(&self) -> Result<()> {
        self.core.order.wait_visible(self.info.ts);
        self.core.wal.sync_through(self.end).map_err(|_| Error::Indeterminate { ts: self.info.ts })?;
        self.core.horizons.raise_durable(self.info.ts);
        self.core.horizons.acknowledge(self.info.ts);
        Ok(())
    }

    /// Calls `then` once: with `Ok` when the commit is durable, with [`Error::Indeterminate`] when the log failed. On a thread of the engine,
    /// or at once on this one; `then` must be short and must not wait for the database.
    pub fn on_durable(&self, then: impl FnOnce(Result<CommitInfo>) + Send + 'static) {
        let info = self.info;
        let core = Arc::downgrade(&self.core);
        let call = move |outcome: Result<()>| {
            if outcome.is_ok()
                && let Some(core) = core.upgrade()
            {
                core.order.wait_visible(info.ts);
                core.horizons.acknowledge(info.ts);
            }
            then(outcome.map(|()| info));
        };
        self.core.observer.when_durable(info.ts, Box::new(call));
        self.core.wake_log();
    }
}

impl fmt::Debug for CommitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommitHandle").field(&self.info).finish()
    }
}
