//! The fuzz driver in its quick form: a few thousand inputs for each decoder, in a process of its own, whose memory it watches.
//!
//! The long form, and what it looks for: `src/bin/fuzz/main.rs`.

use std::process::Command;

/// Every file format that a database holds has a target.
const TARGETS: [&str; 27] = [
    "batch",
    "image",
    "file-header",
    "framed-file",
    "current",
    "value-manifest",
    "value-file",
    "value-reference",
    "log-record",
    "segment-header",
    "log-end",
    "mark",
    "commit-part",
    "commit-last",
    "log-segment",
    "segment-chain",
    "superblock",
    "range-deletes",
    "map-chunk",
    "table-footer",
    "table-props",
    "table-handles",
    "table-filter",
    "table-tombs",
    "manifest-edit",
    "catalog",
    "keyspace-event",
];

#[test]
fn every_decoder_is_total_and_reads_what_it_writes() {
    let (seed, count) = (crate::random::seed(), 2000 * crate::random::factor());
    let run = Command::new(env!("CARGO_BIN_EXE_fuzz"))
        .args(["--seed", &seed.to_string(), "--count", &count.to_string()])
        .output()
        .expect("the program was built with this test");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    for target in TARGETS {
        let line = said.lines().find(|line| line.split_whitespace().next() == Some(target));
        let line = line.unwrap_or_else(|| panic!("{target} was not tried:\n{said}"));
        let accepted: u64 = line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number");
        assert!(accepted > 0 && accepted < count, "{line}: changes get behind the checksum, and are noticed");
    }
}
