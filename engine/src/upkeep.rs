//! Background work: writing the log behind commits that do not wait, and the stores' upkeep with what follows from it in the log.
//!
//! Two jobs. The log's job writes what `None` commits left within 5 ms and syncs for callbacks; it sleeps while there is nothing. The
//! stores' job steps each store, logs a mark when files were switched, and cuts the log behind the oldest store.
//!
//! J1  Before the log is cut, the marks of all stores and every drop are durable (in the log, in the catalog).
//! J2  Lack of space is waited out. Damage that is met ends the writing of that keyspace alone (S2 of `keyspace.rs`): nothing was written. Any other
//!     failure of a store's upkeep poisons the log, for nobody knows what is on disk.
//! J3  Stores are asked to persist once for each stretch of log. Asked at every step, a quick store would write ever smaller pieces for as long
//!     as a slow one works.
//! J4  While the log is cut no keyspace is created or dropped: one under creation needs the log from its `first_persisted` on.

use std::time::Duration;

use duramen_base::executor::{Job, Next};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::thread;
use duramen_base::{Error, Result, Timestamp, Urgency, WorkBudget, WorkDone, mutant};
use duramen_wal::{Mark, MarkSet, WalStats};
use std::sync::Weak;

use crate::any_backend::AnyBackend;
use crate::core::{Core, LastCheckpoint};

/// How often the log is written behind commits that do not wait for it.
const LOG_PAUSE: Duration = Duration::from_millis(4);
/// A callback waits this long for a commit that syncs anyway.
const CALLBACK_PAUSE: Duration = Duration::from_millis(1);
/// Looks at an idle log: closes its last batch.
const IDLE_PAUSE: Duration = Duration::from_millis(250);
/// Steps without work after which the log's job counts as idle.
const QUIET_STEPS: u32 = 8;
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const DISK_FULL_PAUSE: Duration = Duration::from_millis(100);
/// Stores are asked to persist at least this often.
const CHECKPOINT_PAUSE_MAX: Duration = Duration::from_secs(60);
/// As much is done of a store before the thread gives way, a few tenths of a millisecond. Otherwise it would keep the processor for some four, and every commit
/// behind one that it interrupted would wait for that.
const PIECE: WorkBudget = WorkBudget { bytes: 64 << 10 };
/// Pieces of one store before the next has its turn: a look at all of them costs, however few have work.
const PIECES: u32 = 16;

/// Writes the log in the background.
pub(crate) struct LogJob {
    core: Weak<Core>,
    quiet_steps: u32,
}

impl LogJob {
    pub(crate) fn new(core: &Arc<Core>) -> LogJob {
        LogJob { core: Arc::downgrade(core), quiet_steps: 0 }
    }
}

impl Job for LogJob {
    fn step(&mut self) -> Next {
        let Some(core) = self.core.upgrade() else { return Next::Done };
        let wakeup = &core.log_wakeup;
        let was_dirty = wakeup.dirty.swap(false, Ordering::SeqCst);
        // A log that failed has told everybody who waits.
        let _ = core.wal.tick(core.parts.clock.now());
        if core.observer.has_pending() {
            let _ = core.wal.sync_through_ts(core.order.newest());
            self.quiet_steps = 0;
            return Next::After(CALLBACK_PAUSE);
        }
        self.quiet_steps = if was_dirty { 0 } else { self.quiet_steps.saturating_add(1) };
        if self.quiet_steps < QUIET_STEPS {
            return Next::After(LOG_PAUSE);
        }
        // SeqCst: pairs with `Core::wake_log`: idle is said first, dirty looked at second.
        wakeup.idle.store(true, Ordering::SeqCst);
        if wakeup.dirty.load(Ordering::SeqCst) {
            wakeup.idle.store(false, Ordering::SeqCst);
            return Next::Again;
        }
        Next::After(IDLE_PAUSE)
    }
}

/// Steps the stores in the background.
pub(crate) struct UpkeepJob {
    core: Weak<Core>,
    seen: Timestamp,
}

impl UpkeepJob {
    pub(crate) fn new(core: &Arc<Core>) -> UpkeepJob {
        UpkeepJob { core: Arc::downgrade(core), seen: Timestamp::ZERO }
    }
}

impl Job for UpkeepJob {
    fn step(&mut self) -> Next {
        let Some(core) = self.core.upgrade() else { return Next::Done };
        // First: what only ended readers kept may go in this step.
        core.watch_readers();
        let outcome = core.upkeep_step(PIECE, PIECES);
        core.set_disk_full(matches!(outcome, Err(Error::DiskFull { .. })));
        let pause = match outcome {
            Ok(true) => {
                thread::yield_now();
                return Next::Again;
            }
            Ok(false) => {
                let visible = core.horizons.visible();
                let quiet = std::mem::replace(&mut self.seen, visible) == visible;
                if quiet { IDLE_PAUSE } else { BUSY_PAUSE }
            }
            Err(Error::DiskFull { .. }) => DISK_FULL_PAUSE,
            Err(_) => IDLE_PAUSE,
        };
        Next::After(core.time_to_next_look().map_or(pause, |look| look.min(pause)))
    }
}

impl Core {
    /// One step of upkeep of every store, in up to so many pieces each, and of the log behind them; whether there is more to do.
    pub(crate) fn upkeep_step(&self, piece: WorkBudget, pieces: u32) -> Result<bool> {
        if self.wal.poisoned().is_some() {
            return Ok(false);
        }
        self.parts.host.refresh_snap_set();
        let mut more = false;
        for keyspace in self.keyspaces.all() {
            // Held so that a drop waits for the step (S1); one that is dropped already is left alone.
            let Ok(_gate) = keyspace.enter() else { continue };
            if keyspace.damage().is_some() {
                continue; // S2
            }
            let done = match work_in_pieces(&keyspace.store, piece, pieces) {
                Ok(done) => done,
                Err(error) if self.is_damage(&keyspace, &error) => continue,
                Err(error) => {
                    if matches!(error, Error::DiskFull { .. }) && !mutant!("keep_spares_on_a_full_disk") {
                        self.wal.remove_spare_segments()?; // space that the next try may have
                    }
                    return Err(self.poison_for(error));
                }
            };
            self.log_mark_if_switched(&keyspace)?;
            more |= done.more;
        }
        self.shorten_log()?;
        Ok(more)
    }

    /// Whether a failure of a store's upkeep is damage of its files, which is noted (J2).
    pub(crate) fn is_damage(&self, keyspace: &crate::keyspace::Inner, error: &Error) -> bool {
        self.wal.poisoned().is_none() && keyspace.note_damage(error)
    }

    /// J2.
    fn poison_for(&self, error: Error) -> Error {
        match error {
            Error::DiskFull { .. } | Error::Closed => error,
            // The store has failed for good, whatever it was that failed: were commits to go on, nothing would ever take them over.
            Error::Poisoned { cause } => self.poison_with(cause),
            other => self.poison_with(Arc::new(other)),
        }
    }

    /// Fails the log for good, because of something that is not the log.
    pub(crate) fn poison_with(&self, cause: Arc<Error>) -> Error {
        self.wal.poison(Arc::clone(&cause));
        Error::Poisoned { cause }
    }

    /// Logs how far the store is, if its files were switched since the last mark: by this step, or by an admission that made room.
    fn log_mark_if_switched(&self, keyspace: &crate::keyspace::Inner) -> Result<()> {
        let mark = mark_of(keyspace);
        // Relaxed: only a hint that saves a record; a mark too many does no harm.
        if keyspace.marked_seq.load(Ordering::Relaxed) == mark.seq {
            return Ok(());
        }
        let mut marks = MarkSet::default();
        marks.note(keyspace.id.get(), mark);
        self.wal.log_marks(&marks)?;
        keyspace.marked_seq.store(mark.seq, Ordering::Relaxed);
        Ok(())
    }

    /// Logs the marks of all stores.
    pub(crate) fn log_all_marks(&self) -> Result<()> {
        let mut marks = MarkSet::default();
        for keyspace in self.keyspaces.all() {
            marks.note(keyspace.id.get(), mark_of(&keyspace));
        }
        if !marks.is_empty() {
            self.wal.log_marks(&marks)?;
        }
        Ok(())
    }

    /// Asks stores to persist when the log is long, and cuts it behind the oldest one (J1).
    fn shorten_log(&self) -> Result<()> {
        let log = self.wal.stats();
        if self.is_checkpoint_due(&log) {
            let target = self.horizons.visible();
            self.keyspaces.all().iter().for_each(|keyspace| keyspace.store.persist_to(target, Urgency::Relaxed));
        }
        if log.segments <= 1 || !self.wal.can_truncate(self.persisted_by_all()) {
            return Ok(());
        }
        // J4. Held from before the look at the stores until the log is cut.
        let Some(_catalog) = self.hold_settled_catalog()? else { return Ok(()) };
        let through = self.persisted_by_all();
        self.log_all_marks()?;
        self.wal.truncate(through)
    }

    /// What every store has in durable files of its own.
    fn persisted_by_all(&self) -> Timestamp {
        let nothing_newer = self.horizons.visible().min(self.horizons.durable());
        self.keyspaces.all().iter().map(|keyspace| keyspace.store.persisted()).min().unwrap_or(nothing_newer)
    }

    /// Whether stores are to be asked anew (J3), because the log has grown long or the last time is long ago: what is in their own files need
    /// not be replayed.
    fn is_checkpoint_due(&self, log: &WalStats) -> bool {
        let mut last = self.last_checkpoint.lock();
        let now = self.parts.clock.now();
        let log_bytes = log.end.get() - log.start.max(last.log_end).get();
        let due = log_bytes >= self.log_bytes_before_checkpoint || now.saturating_sub(last.at) >= CHECKPOINT_PAUSE_MAX;
        if due {
            *last = LastCheckpoint { at: now, log_end: log.end };
        }
        due
    }
}

fn mark_of(keyspace: &crate::keyspace::Inner) -> Mark {
    let mark = keyspace.store.mark();
    Mark { seq: mark.seq, persisted: mark.persisted }
}

/// Works on a store, giving way after each piece behind which there is more. A switch ends it: the log is to know of that first.
fn work_in_pieces(store: &AnyBackend, piece: WorkBudget, pieces: u32) -> Result<WorkDone> {
    let mut done = store.work(piece)?;
    for _ in 1..pieces {
        if !done.more || done.switched {
            break;
        }
        thread::yield_now();
        done = store.work(piece)?;
    }
    Ok(done)
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use duramen_base::executor::ManualExecutor;
    use duramen_base::vfs::MemVfs;

    use super::*;
    use crate::{BackendKind, Database, Durability, TxnOptions};

    /// A database whose log has segments to give up.
    fn with_a_long_log() -> Database {
        let builder = Database::builder()
            .vfs(Arc::new(MemVfs::new()))
            .executor(Arc::new(ManualExecutor::new()))
            .log_segment_bytes(32 << 10, 64 << 10);
        let db = builder.open("db").expect("opens");
        let ks = db.keyspace("k", BackendKind::BTree).expect("created");
        for number in 0..40 {
            let options = TxnOptions::default().durability(Durability::Buffered);
            db.update_with(options, |tx| tx.put(&ks, format!("{number}"), [7; 8_000])).expect("committed");
        }
        db
    }

    #[test]
    fn the_log_is_not_cut_while_a_keyspace_is_created() {
        let db = with_a_long_log();
        let creating = db.core.keyspaces.hold();
        db.checkpoint().expect("persists");
        assert_eq!(db.stats().log.start, duramen_base::Lsn::ZERO, "J4");
        drop(creating);
        db.checkpoint().expect("persists");
        assert!(db.stats().log.start > duramen_base::Lsn::ZERO);
    }

    #[test]
    fn a_range_delete_alone_is_brought_into_the_files() {
        let db = with_a_long_log();
        let ks = db.open_keyspace("k").expect("there");
        db.checkpoint().expect("persists");
        db.update(|tx| tx.delete_range(&ks, "1", "3")).expect("committed");
        db.checkpoint().expect("persists");
        assert_eq!(ks.inner.store.persisted(), db.stats().visible);
        assert_eq!(ks.inner.store.mark().persisted, db.stats().visible);
    }
}
