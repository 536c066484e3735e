//! Work under a watch: a hang ends the test with its case, and a stalled database gets its space back.
//!
//! Time decides nothing but that: how long a stall lasts, and when a hang is called one.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use duramen::{Database, Health};
use duramen_base::vfs::sim::SimVfs;

/// A case that takes longer hangs: hundreds of times what one takes on a busy machine.
const HANG: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);
/// Space returns to a database that stalls for so long.
const STALL: Duration = Duration::from_millis(4);

/// What the watch knows of the case that runs.
pub(crate) struct Watch(Arc<Mutex<Watched>>);

struct Watched {
    case: String,
    since: Instant,
    disk: Option<SimVfs>,
    db: Option<Database>,
    stalled_since: Option<Instant>,
    space_returned: bool,
}

impl Watch {
    /// A case begins on `disk`.
    pub(crate) fn begin(&self, case: String, disk: &SimVfs) {
        let mut watched = self.lock();
        *watched = Watched {
            case,
            since: Instant::now(),
            disk: Some(disk.clone()),
            db: None,
            stalled_since: None,
            space_returned: false,
        };
    }

    /// The database to watch, or none any more.
    pub(crate) fn database(&self, db: Option<&Database>) {
        // Dropped behind the lock: the last handle closes the database.
        let _old = std::mem::replace(&mut self.lock().db, db.cloned());
    }

    /// Whether the case stalled and was given its space back.
    pub(crate) fn space_returned(&self) -> bool {
        self.lock().space_returned
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Gives a stalled database its space back.
    fn look(&mut self) {
        assert!(self.since.elapsed() < HANG, "hangs: {}", self.case);
        let stalled = self.db.as_ref().is_some_and(|db| matches!(db.health(), Health::Stalled));
        match (stalled, self.stalled_since) {
            (true, None) => self.stalled_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() >= STALL => {
                if let Some(disk) = &self.disk {
                    disk.clear_faults();
                    disk.set_capacity(None);
                }
                self.space_returned = true;
            }
            (true, Some(_)) => {}
            (false, _) => self.stalled_since = None,
        }
    }
}

/// Runs `work` on a thread of its own and watches it.
pub(crate) fn watched(work: impl FnOnce(&Watch) + Send + 'static) {
    let watched = Watched {
        case: String::new(),
        since: Instant::now(),
        disk: None,
        db: None,
        stalled_since: None,
        space_returned: false,
    };
    let shared = Arc::new(Mutex::new(watched));
    let watch = Watch(Arc::clone(&shared));
    let (done, finished) = channel();
    let worker = thread::spawn(move || {
        work(&watch);
        done.send(()).expect("the watch waits for it");
    });
    loop {
        match finished.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => shared.lock().unwrap_or_else(PoisonError::into_inner).look(),
            Ok(()) => break,
            Err(RecvTimeoutError::Disconnected) => {
                let case = shared.lock().unwrap_or_else(PoisonError::into_inner).case.clone();
                eprintln!("failed: {case}");
                break;
            }
        }
    }
    if let Err(cause) = worker.join() {
        std::panic::resume_unwind(cause);
    }
}
