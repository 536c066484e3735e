//! T6: every on-disk structure has its section in the format documents and a golden file.
//!
//! A header says `//! On disk: <name> (<golden file>, ..)` for each structure that its file encodes. Then (1) docs/format.md, or one of the
//! files below docs/format/ that it links, has a heading that is this name; (2) each golden file exists in `<crate>/tests/golden/`; (3) a Rust
//! file of that crate names it, as it does when a test reads it. A header with a table of offsets and sizes, and a file with a magic number,
//! must say `On disk:`. Journals of the simulated disk are no files of a database and are left out.

use std::collections::BTreeSet;

use super::house::{Complaint, House, crate_of};
use super::markdown;
use super::source::Source;

const INDEX: &str = "docs/format.md";

/// All of T6.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let sections = sections(house);
    let mut complaints = Vec::new();
    for (path, source) in house.products().filter(|(path, _)| !path.starts_with("base/src/vfs/sim/")) {
        let structures: Vec<(usize, Structure<'_>)> = structures(source).collect();
        if structures.is_empty() && encodes_something(source) {
            let what = "T6: shows bytes on disk but names no structure: `//! On disk: <name> (<golden file>)`";
            complaints.push(Complaint::new(path, 0, what));
        }
        for (line, structure) in structures {
            let broken = check_section(&sections, &structure).into_iter().chain(check_golden(house, path, &structure));
            complaints.extend(broken.map(|what| Complaint::new(path, line, format!("T6: {what}"))));
        }
    }
    complaints
}

/// What a header line declares.
struct Structure<'a> {
    name: &'a str,
    golden: Vec<&'a str>,
}

fn structures(source: &Source) -> impl Iterator<Item = (usize, Structure<'_>)> {
    source.header().filter_map(|(line, text)| {
        let text = text.trim().strip_prefix("On disk: ")?.trim_end_matches('.');
        let (name, golden) = text.split_once(" (").unwrap_or((text, ""));
        let golden = golden.trim_end_matches(')').split(", ").filter(|file| !file.is_empty()).collect();
        Some((line, Structure { name, golden }))
    })
}

fn check_section(sections: &BTreeSet<String>, structure: &Structure<'_>) -> Option<String> {
    let known = sections.contains(&structure.name.to_lowercase());
    (!known).then(|| format!("no section `{}` in {INDEX} or a document it links", structure.name))
}

/// Headings of the index and of the documents it links, in lower case.
fn sections(house: &House) -> BTreeSet<String> {
    let index = house.text(INDEX).unwrap_or_default();
    let linked = index
        .lines()
        .flat_map(markdown::links)
        .filter_map(|link| house.text(&format!("docs/{}", link.split('#').next()?)));
    std::iter::once(index).chain(linked).flat_map(markdown::headings).map(|heading| heading.to_lowercase()).collect()
}

fn check_golden(house: &House, path: &str, structure: &Structure<'_>) -> Vec<String> {
    if structure.golden.is_empty() {
        return vec![format!("`{}` has no golden file: name it in brackets", structure.name)];
    }
    let folder = crate_of(path);
    let wrong = |file: &&str| {
        let golden = format!("{folder}/tests/golden/{file}");
        if house.text(&golden).is_none() {
            return Some(format!("the golden file {golden} does not exist"));
        }
        let mut sources = house.sources().filter(|(path, _)| crate_of(path) == folder);
        let read = sources.any(|(_, source)| source.literals().iter().any(|piece| piece.text.contains(*file)));
        (!read).then(|| format!("no test of {folder} reads {golden}"))
    };
    structure.golden.iter().filter_map(wrong).collect()
}

fn encodes_something(source: &Source) -> bool {
    let has_table = source.header().any(|(_, text)| text.split_whitespace().take(2).eq(["offset", "size"]));
    has_table || source.product().contains("const MAGIC")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "//! One frame.\n//!\n//! On disk: log record (record.hex)\n//!\n//!   offset  size  field\n";

    fn complaints(files: &[(&str, &str)]) -> String {
        check(&House::of(files)).iter().map(Complaint::to_string).collect()
    }

    #[test]
    fn a_structure_with_section_and_golden_file_is_accepted() {
        let test = "//! T.\n#[test] fn t() { include_str!(\"../tests/golden/record.hex\"); }\n";
        let files = [("wal/src/frame.rs", HEADER), ("wal/tests/golden/record.hex", "00"), ("wal/src/tests.rs", test)];
        let here = [(INDEX, "# Format\n## Log record\n")];
        let linked = [(INDEX, "[wal](format/wal.md)\n"), ("docs/format/wal.md", "### Log record\n")];
        assert_eq!(complaints(&[files.as_slice(), here.as_slice()].concat()), "");
        assert_eq!(complaints(&[files.as_slice(), linked.as_slice()].concat()), "");
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = complaints(&[("wal/src/frame.rs", HEADER), ("wal/src/mark.rs", "//! Mark.\n//! On disk: mark\n")]);
        assert!(text.contains("no section `log record`"), "{text}");
        assert!(text.contains("wal/tests/golden/record.hex does not exist"), "{text}");
        assert!(text.contains("`mark` has no golden file"), "{text}");
    }

    #[test]
    fn a_golden_file_that_nobody_reads_is_noticed() {
        let files = [("wal/src/frame.rs", HEADER), ("wal/tests/golden/record.hex", "00"), (INDEX, "## Log record\n")];
        assert!(complaints(&files).contains("no test of wal reads wal/tests/golden/record.hex"));
    }

    #[test]
    fn bytes_without_a_name_are_noticed() {
        for text in ["//! X.\n//!   offset  size  field\n", "//! X.\nconst MAGIC: [u8; 8] = *b\"x\";\n"] {
            assert!(complaints(&[("wal/src/x.rs", text)]).contains("names no structure"), "{text}");
        }
    }
}
