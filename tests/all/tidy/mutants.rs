//! T9: every mutant in the code is in the table of docs/testing.md, and the other way round.
//!
//! The table has the head `| mutant | what it breaks | package | test |`; `src/bin/mutants.rs` of this package runs it.

use std::collections::BTreeMap;

use super::house::{Complaint, House};
use super::markdown;
use super::source::Source;

const TABLE: &str = "docs/testing.md";

/// All of T9.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let Some(rows) =
        house.text(TABLE).and_then(|text| markdown::table(text, &["mutant", "what it breaks", "package", "test"]))
    else {
        return vec![Complaint::new(TABLE, 0, "T9: has no table `| mutant | what it breaks | package | test |`")];
    };
    let listed: BTreeMap<&str, usize> = rows.iter().map(|(line, cells)| (cells[0].trim_matches('`'), *line)).collect();
    let mut real: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (path, source) in house.products() {
        real.extend(mutants_of(source).into_iter().map(|(line, name)| (name, (path, line))));
    }
    let unlisted = real.iter().filter(|(name, _)| !listed.contains_key(*name));
    let unlisted = unlisted.map(|(name, (path, line))| {
        Complaint::new(path, *line, format!("T9: mutant `{name}` is not in the table of {TABLE}"))
    });
    let gone = listed.iter().filter(|(name, _)| !real.contains_key(*name));
    let gone = gone.map(|(name, line)| Complaint::new(TABLE, *line, format!("T9: no code has the mutant `{name}`")));
    unlisted.chain(gone).collect()
}

/// Names in `mutant!("...")`, with their lines.
fn mutants_of(source: &Source) -> Vec<(usize, &str)> {
    let calls = source.product().match_indices("mutant!(");
    calls
        .filter_map(|(at, call)| source.literals().iter().find(|piece| piece.start >= at + call.len()))
        .map(|piece| (piece.line, piece.text.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "| mutant | what it breaks | package | test |\n|---|---|---|---|\n";
    const CODE: &str =
        "//! X.\n/// As `mutant!(\"example\")`.\nfn f() { if mutant!(\"skip_sync\") { return; } g(\"other\") }\n";

    fn complaints(rows: &str) -> String {
        let table = format!("{HEAD}{rows}");
        check(&House::of(&[(TABLE, &table), ("wal/src/x.rs", CODE)])).iter().map(Complaint::to_string).collect()
    }

    #[test]
    fn both_lists_must_be_equal() {
        assert_eq!(complaints("| `skip_sync` | x | `wal` | `t` |\n"), "");
        assert!(complaints("").contains("wal/src/x.rs:3: T9: mutant `skip_sync` is not in the table"));
        assert!(
            complaints("| `skip_sync` | x | `wal` | `t` |\n| `old` | x | `wal` | `t` |\n")
                .contains("no code has the mutant `old`")
        );
    }
}
