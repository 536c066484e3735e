//! The little of Markdown that the rules read: tables, code spans, headings, links. Fenced blocks are left out.

/// Lines outside fenced blocks, numbered from 1.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then_some((index + 1, line))
    })
}

/// Rows of the first table whose head begins with these cells: line number and cells.
pub(super) fn table<'a>(text: &'a str, head: &[&str]) -> Option<Vec<(usize, Vec<&'a str>)>> {
    let mut lines = prose(text).skip_while(|(_, line)| {
        let found = cells(line);
        found.len() < head.len() || found.iter().zip(head).any(|(cell, wanted)| cell != wanted)
    });
    lines.next()?;
    Some(
        lines
            .take_while(|(_, line)| line.trim_start().starts_with('|'))
            .filter(|(_, line)| !line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ')))
            .map(|(number, line)| (number, cells(line)))
            .collect(),
    )
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim();
    match line.strip_prefix('|') {
        Some(inner) => inner.strip_suffix('|').unwrap_or(inner).split('|').map(str::trim).collect(),
        None => Vec::new(),
    }
}

/// The `code spans` of a line.
pub(super) fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Targets of the links of a line.
pub(super) fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Texts of the headings, without marks and backticks.
pub(super) fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| line.trim_start_matches('#').trim().replace('`', ""))
}

#[test]
fn a_table_is_found_by_its_head() {
    let text =
        "| x | y |\n|---|---|\n| 1 | 2 |\n\n```\n| a | b |\n```\n\n| a | b |\n|--:|---|\n| `c` | d |\n| e | |\nend\n";
    let rows = table(text, &["a", "b"]).expect("there");
    assert_eq!(rows, [(11, vec!["`c`", "d"]), (12, vec!["e", ""])]);
    assert!(table(text, &["z"]).is_none());
}

#[test]
fn spans_links_and_headings_are_read() {
    assert_eq!(code_spans("a `b` c `d/e.rs`").collect::<Vec<_>>(), ["b", "d/e.rs"]);
    assert_eq!(links("see [a](b.md) and [c](d.md#e)").collect::<Vec<_>>(), ["b.md", "d.md#e"]);
    assert_eq!(headings("# A `b`\ntext\n## C\n").collect::<Vec<_>>(), ["A b", "C"]);
}
