//! The write-ahead log: durable records in order.
//!
//! A record is *staged* (log room and buffer memory set aside; may wait, flush or fail), *placed* (copied behind the others; short,
//! cannot fail), then *written* and *synced* by whoever waits for it. Payloads are opaque. The log knows nothing about keys, stores
//! or isolation; the order of commits is the caller's, and it must place them in that order.
//!
//! ```text
//!   stage ──► place_commit ──► write_through (Buffered)          one claimant per byte    buffer.rs, write.rs, mapped.rs
//!                          └─► sync_through  (Sync)              one sync for many        group.rs, sync.rs
//!                          └─► tick          (neither)           within 5 ms              upkeep.rs
//!   Recovery::scan ──► marks, events, replay ──► finish          torn tail or damage      scan.rs, recovery.rs
//! ```
//! W1  Log positions are contiguous: a segment begins where the one before ends, and commits stand in it in timestamp order.
//! W2  Durable is a prefix: `synced <= written <= end`. What a call said to be synced survives every crash.
//! W3  Once poisoned (a failed sync, a failed write other than for lack of space) nothing is written or synced any more.
//! W4  A segment goes only when nothing newer than the truncation point is in it, and the oldest goes first, each durably.
//!
//! Latches, outermost first: `maintenance` (preparing and removing segments; I/O under it); then one of `gate` (one sync at a time; I/O
//! under it), `group` (sleeping), `told_stalled` and the state of `LOG-END` (I/O under it); innermost `core` (placing, claiming, storing to mapped pages; short, no call, no callback). The
//! observer is called without `core`, `gate` and `group`.
//!
//! Next: `buffer.rs` (placing and claiming), `record.rs` and `header.rs` (bytes on disk), `scan.rs` (what a bad record means).
#![forbid(unsafe_code)]

mod big;
mod buffer;
mod chain;
mod config;
mod findings;
#[cfg(feature = "testing")]
pub mod fuzz;
mod group;
mod header;
mod log_end;
mod mapped;
mod mark;
mod poison;
mod record;
mod recovery;
mod room;
mod salvage;
mod scan;
mod segment;
mod stage;
mod stats;
mod sync;
mod truncate;
mod upkeep;
mod wal;
mod window;
mod write;

pub use config::{WalConfig, WalObserver};
pub use header::{SEGMENT_HEADER_BYTES, SegmentHeader};
pub use mark::{Mark, MarkSet};
pub use record::{HeaderRead, PART_BYTES_MAX, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, RecordHeader, RecordKind};
pub use recovery::{Claims, LogEvent, LoggedIngest, Recovery};
pub use salvage::{Salvaged, owner_of_log, salvage};
pub use stage::{EventKind, Placed, Staged};
pub use stats::WalStats;
pub use wal::Wal;

#[cfg(test)]
mod tests;
