//! What the benches share: data, databases, raw loops, interleaved rounds, and the machine's name.
//!
//! A bench is never a test: nothing here decides whether the engine is right.
//!
//! R1  What is compared runs in one process, in turns; ratios are taken within a round.
//! R2  A build with simulation, mutants or debug assertions is not measured.
//!
//! Next: `src/bin/first_figures` (the table of docs/benchmarks.md), `benches/` (criterion, one operation each).
// One module calls an `unsafe fn` of a peer: docs/unsafe.md.
#![deny(unsafe_code)]

pub mod bed;
pub mod compare;
pub mod floor;
pub mod guard;
pub mod keys;
pub mod machine;
pub mod peer;
pub mod report;
pub mod rounds;
