//! The workloads. Each is one function that opens an engine in an empty folder, works, verifies, and notes rows.
//!
//! S1  What is timed is the work of the engine; loading, verifying and making oracles is not, unless the name of the case says so.
//! S2  Where the class of a commit matters there is one workload for each class; where it does not, the weakest class is used, and the time
//!     includes one sync at the end, so that all have done the same.
//! S3  Every workload checks what it read or what it left behind, and fails on a difference.

mod amplification;
mod beside;
mod beyond_cache;
mod beyond_memory;
mod commits;
mod contention;
mod deletes;
mod growth;
mod large;
mod load;
mod reads;
mod reopen;
mod scans;
mod tpcc;
mod ycsb;

use super::stand::Stand;
use crate::peer::{Class, Outcome};

/// A workload.
#[derive(Clone, Copy)]
pub struct Scene {
    /// Name in options and reports.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&mut Stand) -> Outcome<()>,
}

/// All workloads, in the order of the report.
pub const ALL: &[Scene] = &[
    Scene {
        name: "load-random",
        about: "bulk load, 1000 puts a commit, keys in random order, one sync at the end",
        run: load::random,
    },
    Scene {
        name: "load-sorted",
        about: "bulk load, 1000 puts a commit, keys in their order, one sync at the end",
        run: load::sorted,
    },
    Scene {
        name: "load-ingest",
        about: "sorted entries into an empty table by the engine's own way for them (ingest, append mode), settled",
        run: load::ingest,
    },
    Scene { name: "reads", about: "point reads of data in cache", run: reads::run },
    Scene { name: "scans", about: "scans of data in cache", run: scans::run },
    Scene {
        name: "commits-none",
        about: "commits of random puts, class none",
        run: |stand| commits::run(stand, Class::None),
    },
    Scene {
        name: "commits-buffered",
        about: "commits of random puts, class buffered",
        run: |stand| commits::run(stand, Class::Buffered),
    },
    Scene {
        name: "commits-sync",
        about: "commits of random puts, class sync",
        run: |stand| commits::run(stand, Class::Sync),
    },
    Scene {
        name: "ycsb-none",
        about: "YCSB A to F, one transaction an operation, class none",
        run: |stand| ycsb::run(stand, Class::None),
    },
    Scene {
        name: "ycsb-buffered",
        about: "YCSB A to F, one transaction an operation, class buffered",
        run: |stand| ycsb::run(stand, Class::Buffered),
    },
    Scene {
        name: "ycsb-sync",
        about: "YCSB A to F, one transaction an operation, class sync",
        run: |stand| ycsb::run(stand, Class::Sync),
    },
    Scene {
        name: "contention-none",
        about: "read-modify-write of few keys, class none",
        run: |stand| contention::run(stand, Class::None),
    },
    Scene {
        name: "contention-buffered",
        about: "read-modify-write of few keys, class buffered",
        run: |stand| contention::run(stand, Class::Buffered),
    },
    Scene {
        name: "contention-sync",
        about: "read-modify-write of few keys, class sync",
        run: |stand| contention::run(stand, Class::Sync),
    },
    Scene {
        name: "tpcc-none",
        about: "new-order and payment over eight tables, class none",
        run: |stand| tpcc::run(stand, Class::None),
    },
    Scene {
        name: "tpcc-buffered",
        about: "new-order and payment over eight tables, class buffered",
        run: |stand| tpcc::run(stand, Class::Buffered),
    },
    Scene {
        name: "tpcc-sync",
        about: "new-order and payment over eight tables, class sync",
        run: |stand| tpcc::run(stand, Class::Sync),
    },
    Scene {
        name: "beside",
        about: "full scans of one snapshot beside two writers that move amounts, class sync",
        run: beside::run,
    },
    Scene {
        name: "deletes",
        about: "nine in ten keys deleted, 100 in a commit, one sync at the end; then scans",
        run: deletes::run,
    },
    Scene { name: "large", about: "large values, put and got back", run: large::run },
    Scene {
        name: "beyond-cache",
        about: "data of four times the cache budget; the page cache still holds the files",
        run: beyond_cache::run,
    },
    Scene {
        name: "beyond-memory-reads",
        about: "data of four times the memory of the process, page cache and all: gets and scans (needs root)",
        run: beyond_memory::reads,
    },
    Scene {
        name: "beyond-memory-scans",
        about: "data of four times the memory of the process, page cache and all: scans of 100 and of 10,000 (needs root)",
        run: beyond_memory::scans,
    },
    Scene {
        name: "beyond-memory-puts",
        about: "data of four times the memory of the process, page cache and all: puts (needs root)",
        run: beyond_memory::puts,
    },
    Scene {
        name: "amplification",
        about: "a load, then each key overwritten twice: bytes written, disk and memory taken",
        run: amplification::run,
    },
    Scene {
        name: "reopen",
        about: "the process is killed while it commits; opening again and finding everything acknowledged",
        run: reopen::run,
    },
    Scene { name: "growth", about: "core operations at three sizes and three thread counts", run: growth::run },
];

/// The workload of that name.
pub fn find(name: &str) -> Option<Scene> {
    ALL.iter().find(|scene| scene.name == name).copied()
}

/// What the second process of a workload does, where it has one.
///
/// # Errors
/// What the engine says.
pub fn second(stand: &Stand) -> Outcome<()> {
    match stand.scene {
        "reopen" => reopen::be_victim(stand),
        _ => beyond_memory::load(stand),
    }
}
