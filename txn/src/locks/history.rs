//! The last deadlocks, newest first, and who wants to hear of new ones.

use std::collections::VecDeque;
use std::fmt;

use duramen_base::DeadlockReport;
use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::sync::{Arc, Mutex};

/// Called with each report, with no latch held, on the thread that found it. It must be short, and may not lock.
///
/// See [`crate::LockManager::on_deadlock`] for an example.
pub type DeadlockCallback = Arc<dyn Fn(&DeadlockReport) + Send + Sync>;

/// Reports kept unless said otherwise.
pub(super) const HISTORY_DEFAULT: usize = 64;

#[derive(Default)]
pub(super) struct History {
    numbers: AtomicU64,
    kept: Mutex<Kept>,
}

struct Kept {
    reports: VecDeque<Arc<DeadlockReport>>,
    room: usize,
    callback: Option<DeadlockCallback>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { reports: VecDeque::new(), room: HISTORY_DEFAULT, callback: None }
    }
}

impl History {
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn set_room(&self, room: usize) {
        let mut kept = self.kept.lock();
        kept.room = room;
        kept.reports.truncate(room);
    }

    pub(super) fn set_callback(&self, callback: Option<DeadlockCallback>) {
        self.kept.lock().callback = callback;
    }

    pub(super) fn push(&self, report: DeadlockReport) {
        let report = Arc::new(report);
        let callback = {
            let mut kept = self.kept.lock();
            kept.reports.push_front(Arc::clone(&report));
            let room = kept.room;
            kept.reports.truncate(room);
            kept.callback.clone()
        };
        if let Some(callback) = callback {
            callback(&report);
        }
    }

    pub(super) fn newest_first(&self) -> Vec<Arc<DeadlockReport>> {
        self.kept.lock().reports.iter().cloned().collect()
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("kept", &self.kept.lock().reports.len()).finish_non_exhaustive()
    }
}
