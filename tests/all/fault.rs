//! The whole engine under failing calls: an error of any kind at every operation of a run, a full disk, a poisoned log, locks.
//!
//! Always a B-tree and an LSM keyspace in one database. What must hold: each call gives an error, or succeeds after a retry, or the database
//! is `Stalled` and goes on when space returns; no panic, no other hang; afterwards every acknowledged commit is there and none in part.
//!
//! Next: `fault/history.rs` (what may be found), `fault/run.rs` (the run), `fault/watch.rs` (hangs), `fault/every_operation.rs`.
#![allow(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

mod every_operation;
mod full_disk;
pub(crate) mod history;
mod ingest;
mod locks;
mod poison;
pub(crate) mod run;
mod threaded;
mod threads;
pub(crate) mod watch;
