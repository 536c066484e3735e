//! T2: `unsafe` stands only in the files of docs/unsafe.md, with a reason at each place.
//!
//! The ledger is the table `| file | places | kept sound by | shown by |` of docs/unsafe.md. Each `unsafe` block, impl or trait has a
//! comment with `SAFETY:` right above (or on its line), each `unsafe fn` a `# Safety` section. A crate without an entry forbids unsafe
//! code in its `lib.rs`; a file with an entry has exactly as many places as the ledger says.

use std::collections::BTreeMap;

use super::house::{Complaint, House, crate_of};
use super::markdown;
use super::source::{Source, words};

const LEDGER: &str = "docs/unsafe.md";

/// All of T2.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let Some(listed) = listed(house) else {
        return vec![Complaint::new(LEDGER, 0, "T2: has no table `| file | places | kept sound by | shown by |`")];
    };
    let mut complaints = Vec::new();
    for (path, source) in house.sources() {
        let places: Vec<usize> = words(source.code()).filter(|&(_, word)| word == "unsafe").map(|(at, _)| at).collect();
        complaints.extend(check_count(path, source, &places, listed.get(path).copied()));
        complaints.extend(places.iter().filter(|&&at| !has_reason(source, at)).map(|&at| {
            Complaint::new(
                path,
                source.line_of(at),
                "T2: `unsafe` without its reason: `// SAFETY: ...` above it, `# Safety` on a function",
            )
        }));
    }
    let gone = listed.keys().filter(|path| house.text(path).is_none());
    complaints.extend(gone.map(|path| Complaint::new(LEDGER, 0, format!("T2: `{path}` does not exist"))));
    complaints.extend(check_lints(house, &listed));
    complaints
}

fn listed(house: &House) -> Option<BTreeMap<&str, usize>> {
    let rows = markdown::table(house.text(LEDGER)?, &["file", "places", "kept sound by", "shown by"])?;
    Some(
        rows.into_iter()
            .filter_map(|(_, cells)| Some((markdown::code_spans(cells[0]).next()?, cells[1].parse().ok()?)))
            .collect(),
    )
}

fn check_count(path: &str, source: &Source, places: &[usize], listed: Option<usize>) -> Option<Complaint> {
    let line = places.first().map_or(0, |&at| source.line_of(at));
    match (places.len(), listed) {
        (0, None) => None,
        (found, Some(said)) if found == said => None,
        (found, Some(said)) => {
            Some(Complaint::new(path, line, format!("T2: {found} unsafe places, the ledger says {said}")))
        }
        (_, None) => Some(Complaint::new(path, line, "T2: `unsafe` in a file that docs/unsafe.md does not list")),
    }
}

fn has_reason(source: &Source, at: usize) -> bool {
    let rest = source.code()[at..].trim_start_matches("unsafe").trim_start();
    if rest.starts_with("fn") || rest.starts_with("extern") {
        return source.docs_above(at).contains("# Safety");
    }
    let line = source.line_of(at);
    let lines: Vec<&str> = source.text().lines().collect();
    let above = lines[..line - 1].iter().rev().take_while(|text| text.trim_start().starts_with("//"));
    above.chain([&lines[line - 1]]).any(|text| text.contains("// SAFETY:"))
}

fn check_lints(house: &House, listed: &BTreeMap<&str, usize>) -> Vec<Complaint> {
    house
        .sources()
        .filter(|(path, _)| path.ends_with("/src/lib.rs") && path.matches('/').count() == 2)
        .filter_map(|(path, source)| {
            let is_listed = listed.keys().any(|file| crate_of(file) == crate_of(path));
            let wanted = if is_listed { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
            (!source.code().contains(wanted)).then(|| Complaint::new(path, 0, format!("T2: must say `{wanted}`")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(ledger: &str, code: &str) -> String {
        let head = "| file | places | kept sound by | shown by |\n|---|---|---|---|\n";
        let house = House::of(&[(LEDGER, &format!("{head}{ledger}")), ("x/src/a.rs", code)]);
        check(&house).iter().map(Complaint::to_string).collect()
    }

    #[test]
    fn code_without_unsafe_needs_no_entry() {
        assert_eq!(complaints("", "//! Not unsafe.\nfn f() { g(\"unsafe\") } // unsafe\n"), "");
    }

    #[test]
    fn an_unlisted_place_is_noticed() {
        assert!(complaints("", "// SAFETY: s.\nunsafe { f() }\n").contains("does not list"));
    }

    #[test]
    fn a_place_without_a_reason_is_noticed() {
        let row = "| `x/src/a.rs` | 1 | S1 | loom |\n";
        assert_eq!(complaints(row, "// SAFETY: s.\nunsafe { f() }\n"), "");
        assert!(complaints(row, "// Fine.\nunsafe { f() }\n").contains("without its reason"));
        assert!(complaints(row, "/// Does.\nunsafe fn f() {}\n").contains("without its reason"));
        assert_eq!(complaints(row, "/// Does.\n///\n/// # Safety\n/// * so.\nunsafe fn f() {}\n"), "");
    }

    #[test]
    fn a_wrong_count_and_a_missing_file_are_noticed() {
        assert!(
            complaints("| `x/src/a.rs` | 2 | S1 | loom |\n", "// SAFETY: s.\nunsafe { f() }\n")
                .contains("1 unsafe places, the ledger says 2")
        );
        assert!(complaints("| `x/src/b.rs` | 1 | S1 | loom |\n", "").contains("`x/src/b.rs` does not exist"));
    }

    #[test]
    fn a_crate_that_does_not_forbid_it_is_noticed() {
        let house =
            House::of(&[(LEDGER, "| file | places | kept sound by | shown by |\n"), ("x/src/lib.rs", "//! X.\n")]);
        assert!(check(&house)[0].to_string().contains("must say `#![forbid(unsafe_code)]`"));
    }
}
