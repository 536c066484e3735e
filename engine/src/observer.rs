//! What the log tells the engine: commits became durable, the log failed, the disk is full.
//!
//! D1  A callback is called once: when its commit is durable, or when the log has failed, or at once if that happened before.

use std::collections::BTreeMap;

use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::sync::{Arc, Mutex};
use duramen_base::{Error, Result, Timestamp};
use duramen_txn::Horizons;
use duramen_wal::WalObserver;

type Callback = Box<dyn FnOnce(Result<()>) + Send>;

pub(crate) struct LogObserver {
    horizons: Arc<Horizons>,
    pending: Mutex<Pending>,
    stalled: AtomicBool,
}

#[derive(Default)]
struct Pending {
    by_ts: BTreeMap<Timestamp, Vec<Callback>>,
    poisoned: bool,
}

impl LogObserver {
    pub(crate) fn new(horizons: Arc<Horizons>) -> LogObserver {
        LogObserver { horizons, pending: Mutex::default(), stalled: AtomicBool::new(false) }
    }

    /// Calls `callback` when `ts` is durable (D1).
    pub(crate) fn when_durable(&self, ts: Timestamp, callback: Callback) {
        let outcome = {
            let mut pending = self.pending.lock();
            if self.horizons.durable() >= ts {
                Ok(())
            } else if pending.poisoned {
                Err(Error::Indeterminate { ts })
            } else {
                pending.by_ts.entry(ts).or_default().push(callback);
                return;
            }
        };
        callback(outcome);
    }

    /// Whether somebody asked to be called and nobody may be waiting for the sync.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.lock().by_ts.is_empty()
    }

    /// Whether the log waits for space.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }
}

impl WalObserver for LogObserver {
    fn durable_through(&self, ts: Timestamp) {
        // Before the look at the callbacks: who registers later sees the horizon (both under the latch or before it).
        self.horizons.raise_durable(ts);
        let due = {
            let mut pending = self.pending.lock();
            let later = pending.by_ts.split_off(&ts.next());
            std::mem::replace(&mut pending.by_ts, later)
        };
        due.into_values().flatten().for_each(|callback| callback(Ok(())));
    }

    fn poisoned(&self, _cause: &Arc<Error>) {
        let due = {
            let mut pending = self.pending.lock();
            pending.poisoned = true;
            std::mem::take(&mut pending.by_ts)
        };
        for (ts, callbacks) in due {
            callbacks.into_iter().for_each(|callback| callback(Err(Error::Indeterminate { ts })));
        }
    }

    fn stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }
}
