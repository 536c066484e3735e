//! Old readers: who keeps history alive, and when that ends.
//!
//! The background work looks at all registrations now and then; `txn/src/snapshots/watch.rs` notes since when it knows each, and ends those that
//! are older than the database allows. Here are the clock, the rhythm and what a program can ask.
//!
//! U1  Whoever is ended gets `SnapshotTooOld` at its next read, commit or step of an iterator, and never anything of a past that is partly gone:
//!     every read of the past ends with the question whether its reader was ended (`check_kept`), before anything is given away.

use std::time::Duration;

use duramen_base::sync::atomic::Ordering;
use duramen_txn::ReaderInfo;

use crate::core::Core;
use crate::database::Database;

/// A reader is looked at so many times in the time it may live.
const LOOKS: u32 = 8;
/// But no more often than this.
const PAUSE_MIN: Duration = Duration::from_millis(1);

impl Core {
    /// Notes who is there, and ends who is there for too long (U1).
    pub(crate) fn watch_readers(&self) {
        let now = self.parts.clock.now();
        match self.snapshot_age_max {
            None => self.parts.snapshots.look(now),
            Some(age_max) => {
                let ended = self.ssi.end_older(now, age_max);
                self.counters.readers_ended.fetch_add(ended as u64, Ordering::Relaxed);
            }
        }
    }

    /// When to look again, if ages matter.
    pub(crate) fn time_to_next_look(&self) -> Option<Duration> {
        self.snapshot_age_max.map(|age_max| (age_max / LOOKS).max(PAUSE_MIN))
    }
}

impl Database {
    /// Everybody who reads at a moment of the past, and so keeps versions that others have replaced: snapshots, transactions that read at one,
    /// open iterators. Who reads at the oldest moment comes first.
    ///
    /// Ages are noted by the background work, a few times a second, and by this call: a reader may be older than it says by the time between two looks.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader, TxnOptions};
    /// let db = Database::in_memory()?;
    /// let ks = db.keyspace("k", BackendKind::BTree)?;
    /// let report = db.begin_with(TxnOptions::default().label("report"))?;
    /// report.contains(&ks, "a")?;
    /// db.update(|tx| tx.put(&ks, "a", "1"))?;
    /// let oldest = &db.oldest_readers()[0];
    /// assert_eq!((oldest.who.label, oldest.commits_since), (Some("report"), 1));
    /// println!("{} has been reading at commit {} for {:?}", oldest.who, oldest.ts, oldest.age);
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn oldest_readers(&self) -> Vec<ReaderInfo> {
        self.core.parts.snapshots.readers(self.core.parts.clock.now(), self.core.horizons.visible())
    }
}
