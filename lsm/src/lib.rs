//! The log-structured backend: applies go to a memtable, upkeep flushes it to sorted tables and merges them.
//!
//! One [`Lsm`] stores one keyspace in a folder of its own and keeps the contract of `base/src/backend.rs`. It knows nothing of the log, of
//! transactions and of isolation: it is told timestamps, and asks its `StoreHost` for horizons.
//!
//! ```text
//!   apply ─► memtable ─(frozen)─► flush ─► run of tables ─► merge ─► levels of tables      MANIFEST-<n>, CURRENT, <no>.sst
//!                 └────────────── superversion: what a get or a cursor reads ──────────────┘
//! ```
//! Where to start reading: `superversion.rs` (what there is to read), `get.rs` (a get), `cursor.rs` (a scan), `upkeep.rs` (flush, merge and
//! the order in which things become durable), `merge/pick.rs` (which tables are merged next), `table/mod.rs` and `docs/format/lsm.md` (the files).
#![forbid(unsafe_code)]

mod admit;
mod cursor;
mod flush;
#[cfg(feature = "testing")]
pub mod fuzz;
mod get;
mod ingest;
mod manifest;
mod merge;
mod open;
mod quiet;
mod run_cursor;
mod run_writer;
mod salvage;
mod scan_hints;
mod source;
mod span;
mod store;
mod superversion;
mod table;
#[cfg(test)]
mod test_host;
mod throttle;
mod tuning;
mod upkeep;
mod verify;
mod version;

pub use cursor::LsmCursor;
pub use salvage::{salvage, salvage_ingest};
pub use store::Lsm;
