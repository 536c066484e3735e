//! The page as a whole: well-formed, complete, and alone.

use super::super::{plots, xml};
use super::*;
use crate::compare::row::{Better, Found, Name, Row};

/// Two engines of ours, a peer and a floor at two workloads and the growth one; something not offered, something failed.
fn results() -> Results {
    let mut lines: Vec<String> = Vec::new();
    for (engine, ours, floor) in [
        ("duramen-btree", true, false),
        ("duramen-lsm", true, false),
        ("redb", false, false),
        ("floor-btreemap", false, true),
    ] {
        lines.push(serde_json::json!({"kind": "engine", "engine": engine, "version": "1", "ours": ours, "floor": floor, "isolation": "a < b & c"}).to_string());
    }
    lines.push(serde_json::json!({"kind": "engine", "engine": "lmdb", "missing": "add `--features heed`"}).to_string());
    let mut row = |engine: &str, scene: &str, case: &str, threads, measure: &str, found| {
        for round in 0..3 {
            let name = Name { scene: scene.into(), case: case.into(), threads, measure: measure.into() };
            let better = if measure.ends_with("/s") { Better::More } else { Better::Less };
            lines.push(Row { engine: engine.into(), round, name, better, found: Found::clone(&found) }.to_json());
        }
    };
    for (number, engine) in ["duramen-btree", "duramen-lsm", "redb", "floor-btreemap"].into_iter().enumerate() {
        for threads in [1, 2, 8] {
            row(engine, "reads", "uniform, hit", threads, "gets/s", Found::Figure((number + threads) as f64 * 1e6));
            for keys in [1000, 100_000] {
                row(engine, "growth", &format!("get at {keys}"), threads, "ns", Found::Figure(100.0));
                row(engine, "growth", &format!("get at {keys}"), threads, "cpu ns", Found::Figure(90.0));
            }
        }
        row(engine, "load-random", "all", 1, "puts/s", Found::Figure(1e5));
    }
    row("redb", "commits-buffered", "", 0, "", Found::NotOffered("no commit of class \"buffered\"".into()));
    row("duramen-lsm", "commits-buffered", "1 put", 1, "commits/s", Found::Failed("wrong answer: 1 < 2".into()));
    Results::parse(&lines.join("\n"))
}

#[test]
fn the_page_is_well_formed_and_holds_every_row_and_plot() {
    let results = results();
    let plots = plots::all(&results);
    let page = document(&results, &plots);
    let counts = xml::check(&page).expect("well-formed");
    assert_eq!(counts["svg"], plots.len());
    assert!(plots.iter().all(|plot| page.contains(&plot.svg)));
    let rows = page.split("<table class=\"rows\">").skip(1).map(|table| {
        let table = table.split("</table>").next().unwrap_or_default();
        table.matches("<tr>").count() - 1
    });
    assert_eq!(rows.sum::<usize>(), results.lines.len());
    for line in &results.lines {
        assert!(page.contains(&format!("<td class=\"t\">{}</td>", escape(&line.name.case))), "{:?}", line.name);
    }
    for words in ["not offered", "failed", "add `--features heed`", "1 &lt; 2", "Exponents"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let results = results();
    let page = document(&results, &plots::all(&results));
    for (at, _) in page.match_indices("href=\"") {
        let target = page[at + 6..].split('"').next().unwrap_or_default();
        let id = target.strip_prefix('#').expect("a link within the page");
        assert!(page.contains(&format!("id=\"{id}\"")), "{target} leads nowhere");
    }
    for word in ["://", "src=", "url(", "@import", "<script", "<link", "<iframe", "srcset", "xlink"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn ids_are_unique() {
    let results = results();
    let page = document(&results, &plots::all(&results));
    let mut ids: Vec<&str> =
        page.match_indices(" id=\"").map(|(at, _)| page[at + 5..].split('"').next().unwrap_or_default()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
