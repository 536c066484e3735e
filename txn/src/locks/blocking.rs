//! The one place where a transaction sleeps for a lock.
//!
//! Decides nothing: `waiting.rs` says what became of the request, `grant.rs` who goes on, `detect.rs` who is given up. Here its thread
//! sleeps, on the condition variable of its transaction and under the latch of the table it waits in.

use duramen_base::Result;
use duramen_base::sync::MutexGuard;

use super::LockManager;
use super::shard::Shard;
use super::table::Found;
use super::waiting::{Polled, Waiting};

impl LockManager {
    /// Sleeps until the request is granted or has failed.
    pub(super) fn sleep_until_settled<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Shard>,
        mut waiting: Waiting,
    ) -> Result<Found> {
        let outcome = loop {
            match self.poll(guard, &mut waiting) {
                Ok(Polled::Granted(found)) => break Ok(found),
                Err(error) => break Err(error),
                Ok(Polled::Sleep { guard: held, left }) => {
                    guard = held;
                    match left {
                        None => waiting.owner.wake.wait(&mut guard),
                        // The clock decides, not the result of the wait: it may wake early, or be simulated.
                        Some(left) => {
                            waiting.owner.wake.wait_for(&mut guard, left);
                        }
                    }
                }
            }
        };
        self.counters.waited(self.now().saturating_sub(waiting.since));
        outcome
    }
}
