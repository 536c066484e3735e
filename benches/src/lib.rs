//! What the benches share: data, databases, raw loops, interleaved rounds, and the machine's name.
//!
//! A bench is never a test: nothing here decides whether the engine is right.
//!
//! R1  What is compared runs in one process, in turns; ratios are taken within a round.
//! R2  A build with simulation, mutants or debug assertions is not measured.
//!
//! Next: `src/bin/first_figures` (the table of docs/benchmarks.md), `benches/` (criterion, one operation each).
#![forbid(unsafe_code)]

pub mod bed;
pub mod floor;
pub mod guard;
pub mod keys;
pub mod machine;
pub mod report;
pub mod rounds;
