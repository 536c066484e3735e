//! The one `StoreHost`: what stores may ask of the engine.
//!
//! It knows the horizons, the snapshots and the log, and no store: so a store can be opened before the log is.
//!
//! N1  A `SnapSet` handed out is never newer than the registrations it was built from: every later snapshot is at or above its horizon.
//! N2  Before the log is open (recovery), what is durable is what recovery has synced: everything it replays.

use duramen_base::executor::Waker;
use duramen_base::sync::{Arc, Mutex, RwLock};
use duramen_base::{Budget, Error, Result, SnapSet, StoreHost, Timestamp, mutant};
use duramen_txn::{Horizons, Snapshots};
use duramen_wal::Wal;
use std::sync::OnceLock;

/// Commits after which a cached set is built anew even if upkeep has not done so.
const SNAP_SET_COMMITS_MAX: u64 = 4096;

pub(crate) struct Host {
    horizons: Arc<Horizons>,
    snapshots: Arc<Snapshots>,
    budget: Arc<Budget>,
    /// Set once recovery is over.
    wal: OnceLock<Arc<Wal>>,
    /// End of the log that recovery found and synced (N2).
    recovered: OnceLock<Timestamp>,
    snap_set: RwLock<Arc<SnapSet>>,
    upkeep: Mutex<Option<Waker>>,
}

impl Host {
    pub(crate) fn new(horizons: Arc<Horizons>, snapshots: Arc<Snapshots>, budget: Arc<Budget>) -> Arc<Host> {
        let none = Arc::new(SnapSet::new(Timestamp::ZERO, Vec::new()));
        Arc::new(Host {
            horizons,
            snapshots,
            budget,
            wal: OnceLock::new(),
            recovered: OnceLock::new(),
            snap_set: RwLock::new(none),
            upkeep: Mutex::new(None),
        })
    }

    /// What recovery found the log to reach, all of it synced.
    pub(crate) fn set_recovered(&self, last_ts: Timestamp) {
        self.recovered.set(last_ts).expect("a log is recovered once");
    }

    pub(crate) fn set_wal(&self, wal: Arc<Wal>) {
        assert!(self.wal.set(wal).is_ok(), "a log is opened once");
    }

    pub(crate) fn set_upkeep(&self, waker: Option<Waker>) {
        *self.upkeep.lock() = waker;
    }

    /// Builds the set of snapshots anew (N1).
    pub(crate) fn refresh_snap_set(&self) -> Arc<SnapSet> {
        // The write latch is held over the build, so that sets are replaced in the order they were built.
        let mut cached = self.snap_set.write();
        let set = Arc::new(self.snapshots.build_set(|| self.horizons.acked()));
        *cached = Arc::clone(&set);
        set
    }
}

impl StoreHost for Host {
    fn visible(&self) -> Timestamp {
        self.horizons.visible()
    }

    fn durable(&self) -> Timestamp {
        self.horizons.durable()
    }

    fn snapshots(&self) -> Arc<SnapSet> {
        let cached = Arc::clone(&self.snap_set.read());
        if self.horizons.acked().get().saturating_sub(cached.horizon().get()) <= SNAP_SET_COMMITS_MAX {
            return cached;
        }
        self.refresh_snap_set()
    }

    fn make_durable(&self, through: Timestamp) -> Result<()> {
        match self.wal.get() {
            Some(wal) => {
                wal.sync_through_ts(through)?;
                self.horizons.raise_durable(through.min(self.horizons.visible()));
                Ok(())
            }
            None if self.recovered.get().is_some_and(|&last| through <= last) => Ok(()),
            None => Err(Error::InvalidArgument { what: "nothing that new was found in the log" }),
        }
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn wake_upkeep(&self) {
        if let Some(waker) = &*self.upkeep.lock() {
            waker.wake();
        }
    }
}

/// Whether a commit waits for the horizon that its durability names; a mutant waits for the wrong one.
pub(crate) fn waits_for_wrong_horizon() -> bool {
    mutant!("wait_wrong_horizon")
}
