//! The anomaly scripts of `duramen-suite` on every backend and the model: what is promised holds, and docs/isolation.md says what is found.

use std::sync::OnceLock;

use duramen_suite::{AnomalyTable, Script, Target};

fn table() -> &'static AnomalyTable {
    static TABLE: OnceLock<AnomalyTable> = OnceLock::new();
    TABLE.get_or_init(|| AnomalyTable::run(&Target::every_backend(), &Script::library()))
}

#[test]
fn every_promise_holds_and_everything_permitted_is_shown() {
    let violations = table().violations();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_table_of_the_document_is_the_one_found() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/isolation.md");
    let text = std::fs::read_to_string(document).unwrap();
    let wanted = table().put_into(&text).expect("docs/isolation.md has the markers of the table");
    let hint = "write it anew: cargo run -p duramen-suite -- table --write docs/isolation.md";
    assert!(
        text == wanted,
        "docs/isolation.md shows another table than the one found; {hint}\n{}",
        table().to_markdown()
    );
}
