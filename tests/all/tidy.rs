//! The house rules as a test: what the compiler cannot keep, this does.
//!
//! Reads the project's own files; knows no crate and runs no code of the engine. Each rule is a function from a [`House`] to
//! complaints, so that its own tests can show it a bad sample and see it fail.
//!
//! T1  Each Cargo.toml's dependencies and features equal the table in ARCHITECTURE.md, and arrows point down.
//! T2  `unsafe` stands only in the files of docs/unsafe.md, with a reason at each place.
//! T3  Every `.rs` file opens with a `//!` header, and is short enough to be read.
//! T4  Files, clocks, threads, locks and the operating system are named only in the seams of base.
//! T5  An invariant id quoted by code is defined in a header of the same crate or of base.
//! T6  Every on-disk structure has its section in the format documents and a golden file.
//! T7  Every path, link and command target that the documents name exists.
//! T8  Every public type and method has an example.
//! T9  Every mutant in the code is in the table of docs/testing.md, and the other way round.
//! T10 Nothing names a machine: no path of one, no host but public ones.
//!
//! What exactly each rule asks for is in the header of its file. Next: `tidy/house.rs`.

mod arrows;
mod documents;
mod examples;
mod formats;
mod house;
mod invariants;
mod ledger;
mod markdown;
mod mutants;
mod places;
mod seams;
mod source;

use house::{Complaint, House};

/// Fails with every complaint of a rule, one a line.
#[track_caller]
fn hold(rule: fn(&House) -> Vec<Complaint>) {
    let complaints = rule(House::of_this_project());
    let lines: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
    assert!(lines.is_empty(), "{} complaint(s):\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn t1_dependencies_and_features_are_those_of_the_architecture() {
    hold(arrows::check);
}

#[test]
fn t2_unsafe_code_is_in_the_ledger_with_its_reasons() {
    hold(ledger::check);
}

#[test]
fn t3_every_file_opens_with_a_header_and_is_short() {
    hold(places::check_headers);
}

#[test]
fn t4_the_outside_is_touched_only_in_the_seams() {
    hold(seams::check);
}

#[test]
fn t5_quoted_invariants_are_defined() {
    hold(invariants::check);
}

#[test]
fn t6_structures_on_disk_are_documented_and_pinned() {
    hold(formats::check);
}

#[test]
fn t7_documents_name_only_what_exists() {
    hold(documents::check);
}

#[test]
fn t8_public_items_have_examples() {
    hold(examples::check);
}

#[test]
fn t9_the_table_of_mutants_is_complete() {
    hold(mutants::check);
}

#[test]
fn t10_nothing_names_a_machine() {
    hold(places::check_words);
}
