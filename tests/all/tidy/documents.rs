//! T7: every path, link and command target that the documents name exists.
//!
//! In ARCHITECTURE.md and docs/life.md each code span that looks like a path of the project must be one: it has a `/` behind the name of
//! a top folder, or ends like a source or document. A span `path: name` also asks that the file contains the word. In every document
//! relative links must lead somewhere, and `--example`, `--bin` and `--bench` in commands must name a file that is there. The program in
//! README.md is `engine/examples/quick_start.rs` behind its header, word for word.

use super::house::{Complaint, House};
use super::markdown;
use super::source::words;

const MAPS: &[&str] = &["ARCHITECTURE.md", "docs/life.md"];

/// All of T7.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let missing = MAPS.iter().filter(|path| !house.exists(path)).map(|path| Complaint::new(path, 0, "T7: is missing"));
    let mut complaints: Vec<Complaint> = missing.collect();
    for (path, text) in house.files().filter(|(path, _)| path.ends_with(".md")) {
        complaints.extend(check_links(house, path, text));
        complaints.extend(check_targets(house, path, text));
        if MAPS.contains(&path) {
            complaints.extend(check_paths(house, path, text));
        }
    }
    complaints.extend(check_quick_start(house));
    complaints
}

fn check_quick_start(house: &House) -> Option<Complaint> {
    const PROGRAM: &str = "engine/examples/quick_start.rs";
    let (_, rest) = house.text("README.md")?.split_once("```rust\n")?;
    let (shown, _) = rest.split_once("```")?;
    let run = house.text(PROGRAM).map(|text| text.trim_start_matches(|c| c != '\n').trim_start());
    (run != Some(shown)).then(|| Complaint::new("README.md", 0, format!("T7: its program is not the one of {PROGRAM}")))
}

fn check_links(house: &House, path: &str, text: &str) -> Vec<Complaint> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let links = markdown::prose(text).flat_map(|(line, text)| markdown::links(text).map(move |link| (line, link)));
    links
        .filter(|(_, link)| !link.contains("://") && !link.starts_with('#'))
        .filter(|(_, link)| !house.exists(&resolve(folder, link.split('#').next().unwrap_or(link))))
        .map(|(line, link)| Complaint::new(path, line, format!("T7: leads nowhere: {link}")))
        .collect()
}

/// `link` seen from `folder`, as a path from the root.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn check_paths(house: &House, path: &str, text: &str) -> Vec<Complaint> {
    let spans = markdown::prose(text).flat_map(|(line, text)| markdown::code_spans(text).map(move |span| (line, span)));
    spans.filter_map(|(line, span)| Some(Complaint::new(path, line, wrong_with_span(house, span)?))).collect()
}

fn wrong_with_span(house: &House, span: &str) -> Option<String> {
    let (path, word) = match span.split_once(": ") {
        Some((path, word)) => (path, Some(word)),
        None => (span, None),
    };
    if !looks_like_path(house, path) {
        return None;
    }
    if !house.exists(path) {
        return Some(format!("T7: does not exist: {path}"));
    }
    let word = word?;
    let found = words(house.text(path)?).any(|(_, found)| found == word);
    (!found).then(|| format!("T7: {path} has no `{word}`"))
}

fn looks_like_path(house: &House, span: &str) -> bool {
    let is_name = !span.is_empty() && span.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let below_top = span.split_once('/').is_some_and(|(top, _)| house.exists(top) && house.text(top).is_none());
    is_name && (below_top || [".rs", ".md"].iter().any(|end| span.ends_with(end)) && span.len() > 3)
}

/// Example, program and bench names in commands.
fn check_targets(house: &House, path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (option, folders) in
            [("--example ", &["examples"][..]), ("--bin ", &["src/bin"]), ("--bench ", &["benches"])]
        {
            for (at, _) in line.match_indices(option) {
                let name = words(&line[at + option.len()..]).next().map_or("", |(_, name)| name);
                let ends: Vec<String> = folders
                    .iter()
                    .flat_map(|folder| [format!("/{folder}/{name}.rs"), format!("/{folder}/{name}/main.rs")])
                    .collect();
                if !house.sources().any(|(file, _)| ends.iter().any(|end| file.ends_with(end))) {
                    complaints.push(Complaint::new(path, index + 1, format!("T7: there is no `{option}{name}`")));
                }
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(map: &str) -> String {
        let files = [
            ("ARCHITECTURE.md", map),
            ("docs/life.md", "[up](../ARCHITECTURE.md#x) [here](life.md)\n"),
            ("wal/src/ring.rs", "//! Ring.\nfn place() {}\n"),
            ("engine/examples/bank.rs", "//! B.\n"),
        ];
        check(&House::of(&files)).iter().map(Complaint::to_string).collect()
    }

    #[test]
    fn what_exists_is_accepted() {
        assert_eq!(
            complaints(
                "`wal/`, `wal/src/ring.rs`, `wal/src/ring.rs: place`, `log/<n>`, `a/b`, `Batch::new`, `--example bank`\n"
            ),
            ""
        );
    }

    #[test]
    fn a_readme_that_shows_another_program_is_noticed() {
        let complaints_of = |program| {
            let readme = ("README.md", "Use:\n```rust\nfn main() {}\n```\n");
            check_quick_start(&House::of(&[readme, ("engine/examples/quick_start.rs", program)])).is_some()
        };
        assert!(!complaints_of("//! Q.\n\nfn main() {}\n"));
        assert!(complaints_of("//! Q.\n\nfn main() { run() }\n"));
    }

    #[test]
    fn what_does_not_exist_is_noticed() {
        assert!(complaints("`wal/src/other.rs`").contains("does not exist: wal/src/other.rs"));
        assert!(complaints("`other.rs`").contains("does not exist: other.rs"));
        assert!(complaints("`wal/src/ring.rs: flush`").contains("has no `flush`"));
        assert!(complaints("[x](docs/gone.md)").contains("leads nowhere: docs/gone.md"));
        assert!(complaints("cargo run --example gone").contains("there is no `--example gone`"));
    }
}
