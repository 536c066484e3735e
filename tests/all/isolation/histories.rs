//! Random histories of `duramen-suite`, with so little memory that stores persist, merge and evict in the middle: what no level may show.
//!
//! `DURAMEN_CASES=<factor>` makes that many times the histories, `DURAMEN_SEED=<number>` begins with another seed.

use duramen_suite::{HistoriesFound, InvariantsFound, Target};

use crate::random;

/// Seeds of the quick form.
const SEEDS: u64 = 1;

#[test]
fn random_histories_show_nothing_forbidden_to_either_checker() {
    let first = random::seed() % 1_000_000;
    let found = HistoriesFound::run(&Target::every_tiny_backend(), first..first + SEEDS * random::factor()).unwrap();
    println!("{found}");
    assert!(
        found.complaints.is_empty(),
        "DURAMEN_SEED={first}: {} complaints, the first: {}",
        found.complaints.len(),
        found.complaints[0]
    );
    assert!(found.rows.iter().all(|row| row.committed > 0), "{found}");
}

#[test]
fn invariants_hold_where_they_are_promised() {
    let first = random::seed() % 1_000_000;
    let found = InvariantsFound::run(&Target::every_tiny_backend(), first..first + SEEDS * random::factor()).unwrap();
    println!("{found}");
    assert!(found.complaints.is_empty(), "DURAMEN_SEED={first}: {}", found.complaints.join("\n"));
    assert!(found.rows.iter().any(|row| row.promised && row.committed > 0), "{found}");
}
