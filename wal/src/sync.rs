//! Waiting for durability: one leads the sync, the others are covered by it (`group.rs`).

use std::time::Duration;

use duramen_base::sync::thread;
use duramen_base::{Error, Lsn, Result, Timestamp, mutant};

use crate::wal::Wal;

/// Gathering gives way at most so often, whatever the clock says.
const GATHER_YIELDS_MAX: usize = 256;

impl Wal {
    /// Returns when every record before `end` is durable. One sync serves all who wait.
    ///
    /// # Errors
    /// `Poisoned` once the log failed, also if that happens while waiting: whether the records survived is then unknown. `Closed`.
    pub fn sync_through(&self, end: Lsn) -> Result<()> {
        if mutant!("ack_before_sync") {
            return self.write_through(end);
        }
        loop {
            if self.synced() >= end {
                return Ok(());
            }
            let done = || {
                let covered = (self.synced() >= end).then_some(Ok(()));
                covered.or_else(|| self.poison_error().map(Err))
            };
            match self.group.enter(end, done) {
                crate::group::Turn::Done(answer) => return answer,
                crate::group::Turn::Lead => {
                    let outcome = self.lead();
                    self.group.leave(self.synced(), outcome.as_ref().ok().copied().flatten());
                    outcome?;
                }
            }
        }
    }

    /// Returns when the commit `ts` and all before it are durable.
    ///
    /// # Errors
    /// `InvalidArgument` if no commit `ts` was placed; else as [`Wal::sync_through`].
    pub fn sync_through_ts(&self, ts: Timestamp) -> Result<()> {
        if self.synced_ts() >= ts {
            return Ok(());
        }
        let end = {
            let core = self.core.lock();
            if core.placement.last_ts() < ts {
                return Err(Error::InvalidArgument { what: "no such commit is in the log yet" });
            }
            core.placement.end()
        };
        self.sync_through(end)
    }

    /// Writes and syncs everything placed so far; the time the sync took, if one was needed.
    fn lead(&self) -> Result<Option<Duration>> {
        self.gather();
        let target = self.core.lock().placement.end();
        self.write_through(target)?;
        self.sync_written(1)
    }

    /// Syncs what is written, if that is so many bytes more than what is synced; the time it took.
    pub(crate) fn sync_written(&self, bytes_min: u64) -> Result<Option<Duration>> {
        // Read before the sync: what others write meanwhile may not be covered by it.
        let (written, unmapped) = {
            let mut core = self.core.lock();
            let written = core.placement.written().clone();
            if written.lsn.get().saturating_sub(self.synced().get()) < bytes_min {
                return Ok(None);
            }
            (written, core.mapped_end.begin_sync()) // M1
        };
        drop(unmapped);
        let begun = self.config.clock.now();
        self.sync_file(&written.segment.file)?;
        let took = self.config.clock.now().saturating_sub(begun);
        self.publish(written.lsn, written.ts);
        Ok(Some(took))
    }

    /// Gives other committers a moment to join, if several were there lately.
    fn gather(&self) {
        let Some(gathering) = self.group.gathering() else { return };
        let begun = self.config.clock.now();
        for _ in 0..GATHER_YIELDS_MAX {
            let joined = self.group.sleeping() + 1;
            let waited = self.config.clock.now().saturating_sub(begun);
            if joined >= gathering.committers || waited >= gathering.at_most {
                return;
            }
            thread::yield_now();
        }
    }
}
