//! T5: an invariant id quoted by code is defined in a header of the same crate or of base.
//!
//! A definition is a line `//! W1  ...` of a header, or `/// W1  ...` of the documentation of a trait or type: an id of one to three
//! capitals and a number, then two spaces. A quotation is a literal that
//! begins with an id and a colon (`"W1: ..."`), as asserts, `expect` and `panic` have them. Within a file an id is defined once;
//! two files of a crate may use the same one for their own, and a reader looks in the nearer header first.

use std::collections::BTreeMap;

use super::house::{Complaint, House, crate_of};
use super::source::Source;

/// All of T5.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut defined: BTreeMap<(&str, &str), (&str, usize)> = BTreeMap::new();
    for (path, source) in house.sources() {
        for (line, id) in docs(source).filter_map(|(line, text)| Some((line, definition(text)?))) {
            let before = defined.insert((crate_of(path), id), (path, line));
            if let Some((_, at)) = before.filter(|(other, _)| *other == path) {
                complaints.push(Complaint::new(path, line, format!("T5: {id} is defined in line {at} too")));
            }
        }
    }
    for (path, source) in house.sources() {
        for (line, id) in source.literals().iter().filter_map(|piece| Some((piece.line, quotation(&piece.text)?))) {
            let known = [crate_of(path), "base"].iter().any(|&folder| defined.contains_key(&(folder, id)));
            if !known && !is_tidy_itself(path) {
                complaints.push(Complaint::new(
                    path,
                    line,
                    format!("T5: {id} is defined in no header of {} or base", crate_of(path)),
                ));
            }
        }
    }
    complaints
}

/// Lines of documentation: of the file, and of its items.
fn docs(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.comments().iter().filter_map(|piece| {
        let text = piece.text.strip_prefix("//!").or_else(|| piece.text.strip_prefix("///"))?;
        Some((piece.line, text))
    })
}

/// The samples of these tests quote ids that nobody defines.
fn is_tidy_itself(path: &str) -> bool {
    path.starts_with("tests/all/tidy")
}

/// The id that a line of documentation defines.
fn definition(doc_line: &str) -> Option<&str> {
    let line = doc_line.strip_prefix(' ')?;
    let id = leading_id(line)?;
    let rest = &line[id.len()..];
    // A second digit uses up the second space of the column.
    let has_two_digits = id.bytes().filter(u8::is_ascii_digit).count() == 2;
    let gap = if has_two_digits { " " } else { "  " };
    (rest.starts_with(gap) && !rest.trim().is_empty()).then_some(id)
}

/// The id that a literal quotes.
fn quotation(literal: &str) -> Option<&str> {
    let id = leading_id(literal)?;
    literal[id.len()..].starts_with(": ").then_some(id)
}

fn leading_id(text: &str) -> Option<&str> {
    let letters = text.bytes().take_while(u8::is_ascii_uppercase).count();
    let digits = text[letters..].bytes().take_while(u8::is_ascii_digit).count();
    ((1..=3).contains(&letters) && (1..=2).contains(&digits)).then(|| &text[..letters + digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)]) -> String {
        check(&House::of(files)).iter().map(Complaint::to_string).collect()
    }

    #[test]
    fn an_id_of_the_crate_or_of_base_is_known() {
        let base = ("base/src/lib.rs", "//! Base.\n//!\n//! B1  So it is.\n");
        let own = ("wal/src/lib.rs", "//! Log.\n//!\n//! W1  So it is.\n/// W12 So too.\ntrait T {}\n");
        let code = (
            "wal/src/ring.rs",
            "//! Ring.\nfn f() { assert!(x, \"W1: no\"); a.expect(\"B1: no\"); g(\"W12: y\"); g(\"Error: x\"); }\n",
        );
        assert_eq!(complaints(&[base, own, code]), "");
    }

    #[test]
    fn an_id_of_nobody_or_of_a_sibling_is_noticed() {
        let sibling = ("lsm/src/lib.rs", "//! Lsm.\n//! L1  So it is.\n//! W3 is only mentioned.\n");
        let code = ("wal/src/ring.rs", "//! Ring.\nfn f() { assert!(x, \"L1: no\"); assert!(x, \"W3: no\"); }\n");
        let text = complaints(&[sibling, code]);
        assert!(text.contains("L1 is defined in no header of wal") && text.contains("W3 is defined in no"), "{text}");
    }

    #[test]
    fn an_id_defined_twice_is_noticed() {
        let text = complaints(&[
            ("wal/src/a.rs", "//! A.\n//! W1  One.\n//! W1  Other.\n"),
            ("wal/src/b.rs", "//! B.\n//! W1  Its own.\n"),
        ]);
        assert_eq!(text, "  wal/src/a.rs:3: T5: W1 is defined in line 2 too");
    }
}
