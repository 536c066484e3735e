//! The comparison: the same work for every engine, in turns, in fresh processes, with verified answers.
//!
//! M1  Every engine of a round gets the same keys in the same order, from the same seeds.
//! M2  A workload that finds a wrong answer fails: it reports no figure.
//! M3  Engines take turns (A B C A B C); each turn is a process of its own in a folder of its own.
//! M4  What an engine does not offer is a row that says so and why, never a missing row.
//!
//! Next: `plan.rs` (sizes), `scenes.rs` (the workloads), `turns.rs` (the parent), `child.rs` (one turn), `report.rs`.

pub mod child;
pub mod confine;
pub mod data;
pub mod growth;
pub mod histogram;
pub mod options;
pub mod plan;
pub mod process;
pub mod report;
pub mod row;
pub mod scenes;
pub mod stand;
pub mod threads;
pub mod turns;
