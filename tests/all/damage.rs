//! Damaged files: whatever happens to the files of a database, it never shows wrong data.
//!
//! The files of small databases over both stores are damaged in every way below, one at a time, and opened. Opening refuses with an error
//! that names the file, or reads of what was damaged give errors, or everything is right. Never wrong data, a panic, a hang, or acknowledged
//! commits missing without an error.
//!
//! The exception that `docs/format/wal.md` tells: of a process that died right behind a commit, the loss of that commit's bytes, alone or with the block
//! or the file around them. That is [`judge::May::LoseTheTail`]: an older state, but a whole one. See [`sample::Sample::may`].
//!
//! Next: `damage/sample.rs` (the databases), `damage/judge.rs` (what may be found), then the kinds of damage.
#![allow(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

mod bits;
mod blocks;
mod files;
mod formats;
mod judge;
mod salvage;
mod sample;
mod upkeep;
