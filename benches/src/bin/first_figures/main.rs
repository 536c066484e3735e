//! The figures of docs/benchmarks.md in one run: `cargo run --release -p duramen-benches --bin first_figures [PART...]`.
//!
//! Prints Markdown. Parts: `sync`, `many`, `none`, `buffered`, `snapshot`, `replay`, `get`, `open`, and of locks and levels
//! `locks`, `detection`, `modes`, `serializable`, `hot`; all of them take under four minutes.
//! Each raw loop is measured in the same rounds as what it bounds (R1 of the library).
#![forbid(unsafe_code)]

mod commits;
mod locking;
mod opening;
mod reads;

use duramen_benches::report::{self, Row};
use duramen_benches::{bed, guard, machine};

type Part = (&'static str, fn() -> Vec<Row>);

const PARTS: [Part; 13] = [
    ("sync", commits::sync_alone),
    ("many", commits::sync_many),
    ("none", commits::none),
    ("buffered", commits::buffered),
    ("snapshot", reads::snapshots),
    ("replay", opening::replay),
    ("get", reads::gets),
    ("open", opening::empty),
    ("locks", locking::uncontended),
    ("detection", locking::detection),
    ("modes", locking::modes),
    ("serializable", locking::serializable),
    ("hot", locking::hot_key),
];

fn main() {
    guard::refuse_unfit_build();
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = chosen.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let names: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        eprintln!("there is no part `{unknown}`; the parts are {}", names.join(", "));
        std::process::exit(2);
    }
    println!("{}\n", machine::provenance(&bed::data_root()));
    let mut rows = Vec::new();
    for (name, run) in PARTS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            eprintln!("{name} ...");
            rows.extend(run());
        }
    }
    println!("{}\nLoad when it ended: {}.", report::table(&rows), machine::load());
}
