//! What each isolation level of Duramen shows and prevents: proved by scripts and random histories, on the options of your own program.
//!
//! ```
//! use duramen_suite::{AnomalyTable, Script, Target};
//! let table = AnomalyTable::run(&Target::every_backend(), &Script::library());
//! assert!(table.violations().is_empty(), "{:?}", table.violations());
//! println!("{}", table.to_markdown());
//! ```
//! The program `duramen-suite` does the same and more from the command line. Everything here uses the public interface of `duramen` and nothing
//! below it, so a program with a file system or clock of its own can hold its own setup to the same promises ([`Target::new`]).
#![forbid(unsafe_code)]

mod anomaly;
mod deadlock;
mod dice;
mod history;
mod interleave;
mod invariant;
mod locking;
mod script;
mod session;
mod setting;
mod storm;
mod table;
mod target;
mod threads;

pub use anomaly::{Anomaly, Promise};
pub use deadlock::deadlock_to_json;
pub use history::{HistoriesFound, HistoriesRow, HistoryFound, HistoryKind, HistoryOptions};
pub use interleave::{Interleavings, InterleavingsRow, RandomScripts};
pub use invariant::{InvariantRow, InvariantsFound};
pub use script::{Event, Outcome, Script, ScriptError, ScriptRun};
pub use setting::Setting;
pub use storm::{LockPolicies, StormRow, Storms};
pub use table::{AnomalyTable, Cell, Verdict};
pub use target::Target;
