//! Every interleaving of small scripts, and random ones, against brute force, on each backend.
//!
//! `DURAMEN_CASES=<factor>` draws that many times the random scripts, `DURAMEN_SEED=<number>` begins with another seed.

use duramen_suite::{Interleavings, RandomScripts, Target};

use crate::random;

/// Random scripts of the quick form.
const SCRIPTS: u64 = 300;

#[test]
fn every_interleaving_at_serializable_is_explained_by_an_order() {
    for target in Target::every_backend() {
        let found = Interleavings::run(&target);
        println!("{}\n{found}", target.name());
        assert!(found.complaints.is_empty(), "{}: {}", target.name(), found.complaints.join("\n"));
    }
}

#[test]
fn random_scripts_at_serializable_are_explained_by_an_order() {
    let first = random::seed() % 1_000_000;
    for target in Target::every_backend() {
        let found = RandomScripts::run(&target, first..first + SCRIPTS * random::factor());
        println!("{}\n{found}", target.name());
        assert!(
            found.complaints.is_empty(),
            "DURAMEN_SEED={first}, {}: {}",
            target.name(),
            found.complaints.join("\n")
        );
        assert!(
            found.unexplained_at_snapshot > 0,
            "Snapshot permits write skew; scripts that never show it try nothing"
        );
    }
}
