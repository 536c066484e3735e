//! Damaged files: whatever happens to the files of a database, it never shows wrong data.
//!
//! The files of small databases over both stores are damaged in every way below, one at a time, and opened. Opening refuses with an error
//! that names the file, or reads of what was damaged give errors, or everything is right. Never wrong data, a panic, a hang, or acknowledged
//! commits missing without an error.
//!
//! The exception that `docs/format/wal.md` tells: a log that lost its end as a whole, with every record that would tell of it, while the
//! stores do not contain it yet: its last segment, or its last block. That is [`judge::May::LoseTheTail`]: an older state, but a whole one. Damage
//! inside the last sync batch while nothing follows it is not tried: the samples end with a record behind it.
//!
//! Next: `damage/sample.rs` (the databases), `damage/judge.rs` (what may be found), then the kinds of damage.
#![allow(clippy::unwrap_used, reason = "a failure in a helper is a failure of its test")]

mod bits;
mod blocks;
mod files;
mod formats;
mod judge;
mod sample;
