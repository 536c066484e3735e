//! Deadlock storms of `duramen-suite`: what they must cost follows from how they are built.
//!
//! `DURAMEN_CASES=<factor>` runs them that often, `DURAMEN_SEED=<number>` begins with another seed.

use duramen::BackendKind;
use duramen_suite::{LockPolicies, Storms, Target};

use crate::random;

#[test]
fn storms_end_and_cost_the_victims_they_must() {
    let first = random::seed() % 1_000_000;
    for seed in first..first + random::factor() {
        for target in Target::every_backend() {
            let found = Storms::run(&target, seed).unwrap();
            println!("{}\n{found}", target.name());
            assert!(
                found.complaints.is_empty(),
                "DURAMEN_SEED={seed}, {}: {}",
                target.name(),
                found.complaints.join("\n")
            );
        }
    }
}

#[test]
fn every_way_to_choose_a_victim_ends_the_storms() {
    let seed = random::seed() % 1_000_000;
    for backend in [BackendKind::BTree, BackendKind::Lsm] {
        let found = LockPolicies::run(backend, seed..seed + random::factor()).unwrap();
        println!("{backend}\n{found}");
        assert!(found.complaints.is_empty(), "DURAMEN_SEED={seed}, {backend}: {}", found.complaints.join("\n"));
    }
}
