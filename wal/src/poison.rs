//! How a log ends that cannot go on: poisoned by the first failure after which nobody knows what is on disk.
//!
//! Q1  Poison is set once, before anything else can be synced, and told to every sleeper and to the observer.

use std::sync::Arc;

use duramen_base::sync::atomic::Ordering;
use duramen_base::{Error, Result};

use crate::segment::Trouble;
use crate::wal::{Core, Phase, Wal};

impl Wal {
    /// Fails the log for good: every waiting and later call that needs the disk answers `Poisoned` (W3).
    pub fn poison(&self, cause: Arc<Error>) {
        if self.mark_poisoned(&cause) {
            self.announce_poison(&cause);
        }
    }

    /// Why the log failed, if it did.
    pub fn poisoned(&self) -> Option<Arc<Error>> {
        // Acquire: pairs with the Release in `mark_poisoned`.
        self.poison_flag.load(Ordering::Acquire).then(|| self.core.lock().poison.clone()).flatten()
    }

    /// The first half of poisoning, allowed under `gate`. Says whether this call was the first.
    pub(crate) fn mark_poisoned(&self, cause: &Arc<Error>) -> bool {
        let mut core = self.core.lock();
        if core.poison.is_some() {
            return false;
        }
        core.poison = Some(Arc::clone(cause));
        // Release: who sees the flag finds the cause.
        self.poison_flag.store(true, Ordering::Release);
        self.progress.notify_all();
        true
    }

    /// The second half: wakes sleepers and tells the observer.
    pub(crate) fn announce_poison(&self, cause: &Arc<Error>) {
        self.group.wake_all();
        self.config.observer.poisoned(cause);
    }

    /// The error that a call gives back for a failure of a file, after poisoning if that is what it asks for.
    pub(crate) fn settle(&self, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Clean(error) => error,
            Trouble::Sync(error) => {
                self.poison(Arc::new(error));
                self.poison_error().unwrap_or(Error::Closed)
            }
        }
    }

    pub(crate) fn poison_error(&self) -> Option<Error> {
        self.poisoned().map(|cause| Error::Poisoned { cause })
    }
}

impl Core {
    /// Whether the log may still write and sync.
    pub(crate) fn check_usable(&self) -> Result<()> {
        if let Some(cause) = &self.poison {
            return Err(Error::Poisoned { cause: Arc::clone(cause) });
        }
        match self.phase {
            Phase::Open | Phase::Closing => Ok(()),
            Phase::Closed => Err(Error::Closed),
        }
    }
}

impl Trouble {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Trouble::Clean(error) | Trouble::Sync(error) => error,
        }
    }
}
