//! What happens in the background and at the end: writing what nobody waits for, closing ambiguity, closing the log.
//!
//! I1  A batch followed by nothing for about half a second is synced, and then followed by a durable record that knows it was. From then on
//!     damage in it is told from a torn tail, and (by `LOG-END`, which is written at that time) so is the loss of it as a whole.
//! I2  What is written and nobody syncs is synced every `SYNC_AHEAD_BYTES`: who opens the next segment must first sync this one (D2 of `write.rs`), and all
//!     who commit meanwhile wait for that.

use std::time::Duration;

use duramen_base::{Error, Lsn, Result};

use crate::log_end::Note;
use crate::record::RecordKind;
use crate::room::Class;
use crate::truncate::PREPARED_USUAL;
use crate::wal::{Phase, Wal};
use crate::write::Patience;

/// Silence after which the last batch is closed; with the pause between ticks well below the promised second.
const IDLE_AFTER: Duration = Duration::from_millis(500);

/// Between two notes in `LOG-END`, while commits go on.
const NOTE_PAUSE: Duration = Duration::from_millis(500);

/// I2.
const SYNC_AHEAD_BYTES: u64 = 512 << 10;

/// Since when nothing was placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    end: Lsn,
    since: Option<Duration>,
    /// Everything before is followed by a durable record that knows so.
    closed: Lsn,
    /// When the end was last noted outside of the log.
    noted: Option<Duration>,
}

impl Idle {
    pub(crate) fn at(end: Lsn) -> Idle {
        Idle { end, since: None, closed: end, noted: None }
    }

    /// Whether it is time to note the end outside of the log.
    fn is_note_due(&mut self, now: Duration) -> bool {
        let due = self.noted.is_none_or(|noted| now.saturating_sub(noted) >= NOTE_PAUSE);
        if due {
            self.noted = Some(now);
        }
        due
    }

    /// Notes where the log ends now; says whether it is time to close the last batch.
    fn observe(&mut self, end: Lsn, now: Duration) -> bool {
        match self.since {
            Some(since) if self.end == end => self.closed < end && now.saturating_sub(since) >= IDLE_AFTER,
            _ => {
                (self.end, self.since) = (end, Some(now));
                false
            }
        }
    }
}

impl Wal {
    /// Background work; call it every 5 ms or sooner, from one thread. Writes what was placed and nobody writes, prepares the next
    /// segment when the current one is half full, syncs what is written every half a megabyte, closes the last batch after about half a
    /// second of silence, and says outside of the log how far it is durable (written, not synced: it costs committers nothing).
    ///
    /// A full disk is no error here: the observer is told, and a later call tries again.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn tick(&self, now: Duration) -> Result<()> {
        let (end, close_batch, prepare, note) = {
            let mut core = self.core.lock();
            if core.phase != Phase::Open {
                return Ok(());
            }
            core.mapped_end.tick(); // M4
            let end = core.placement.end();
            let capacity =
                core.placement.segment().header.limit().get() - core.placement.segment().header.first_lsn.get();
            let prepare = core.placement.remaining() < capacity / 2 && core.placement.prepared_count() < PREPARED_USUAL;
            (end, core.idle.observe(end, now), prepare, core.idle.is_note_due(now))
        };
        forgive_lack_of_space(self.write_prefix(end, Patience::Once))?;
        if prepare {
            forgive_lack_of_space(self.prepare_segments(PREPARED_USUAL, self.zeros_ahead()))?;
        }
        self.sync_written(SYNC_AHEAD_BYTES)?; // I2
        if close_batch {
            self.core.lock().idle.since = Some(now);
            self.remove_spare_segments()?;
            forgive_lack_of_space(self.close_batch(end))?;
        }
        if note || close_batch {
            forgive_lack_of_space(self.note_end(Note::Unsynced))?;
        }
        Ok(())
    }

    /// Makes the log durable and follows it by a durable record that says so (I1).
    fn close_batch(&self, end: Lsn) -> Result<()> {
        self.write_prefix(end, Patience::Once)?;
        self.sync_through(end)?;
        let noop_end = self.log_record(RecordKind::Noop, &[], Class::Ordinary)?;
        self.write_prefix(noop_end, Patience::Once)?;
        self.sync_through(noop_end)?;
        let mut core = self.core.lock();
        core.idle.closed = noop_end;
        core.idle.end = noop_end.max(core.idle.end);
        Ok(())
    }

    /// Closes the log: everything placed is made durable, and a last record says that it ended in order. Later calls answer
    /// `Closed`. Closing again does nothing.
    ///
    /// # Errors
    /// `Poisoned`: the log failed, now or before. A disk without space for what is placed fails the log now.
    pub fn close(&self) -> Result<()> {
        let end = {
            let mut core = self.core.lock();
            if core.phase != Phase::Open {
                return Ok(());
            }
            core.phase = Phase::Closing;
            self.progress.notify_all();
            core.placement.end()
        };
        let closed = self.close_in_order(end);
        let unmapped = {
            let mut core = self.core.lock();
            core.phase = Phase::Closed;
            core.mapped_end.unmap()
        };
        drop(unmapped);
        self.progress.notify_all();
        self.group.wake_all();
        closed
    }

    fn close_in_order(&self, end: Lsn) -> Result<()> {
        self.sync_through(end)?;
        match self.log_record(RecordKind::CleanShutdown, &[], Class::Closing) {
            Ok(end) => self.sync_through(end)?,
            // Everything is durable; only the word that it ended in order is missing.
            Err(Error::DiskFull { .. } | Error::Io { .. }) => {}
            Err(error) => return Err(error),
        }
        forgive_lack_of_space(self.note_end(Note::Synced))
    }
}

fn forgive_lack_of_space(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::DiskFull { .. } | Error::Closed | Error::Io { .. }) => Ok(()),
        other => other,
    }
}
