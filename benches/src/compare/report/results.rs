//! `results.jsonl` read back: the run, the engines, the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::compare::row::{Better, Found, Name, Row};
use crate::compare::scenes;

/// An engine as the report knows it.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// One of ours.
    pub ours: bool,
    /// Stands for what memory or disk allow.
    pub floor: bool,
    /// Why it did not run, if it is not built in.
    pub missing: Option<String>,
    /// Isolation, durability, checksums, compression, cache.
    pub facts: [String; 5],
}

/// Figures of one engine at one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Sorted.
    Figures(Vec<f64>),
    /// Why not.
    NotOffered(String),
    /// What went wrong.
    Failed(String),
}

impl Cell {
    /// The figure in the middle.
    pub fn median(&self) -> Option<f64> {
        match self {
            Cell::Figures(figures) if !figures.is_empty() => {
                let middle = figures.len() / 2;
                Some(if figures.len() % 2 == 1 {
                    figures[middle]
                } else {
                    (figures[middle - 1] + figures[middle]) / 2.0
                })
            }
            _ => None,
        }
    }

    /// Smallest and largest figure.
    pub fn spread(&self) -> Option<(f64, f64)> {
        match self {
            Cell::Figures(figures) => Some((*figures.first()?, *figures.last()?)),
            Cell::NotOffered(_) | Cell::Failed(_) => None,
        }
    }
}

/// A row of the tables: every engine at the same thing.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is about.
    pub name: Name,
    /// Which way is better.
    pub better: Better,
    /// By engine; an engine that was not asked is missing.
    pub cells: BTreeMap<String, Cell>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Where it comes from.
    pub run: Value,
    /// In the order of the registry.
    pub engines: Vec<Engine>,
    /// In the order of workloads and of their own rows.
    pub lines: Vec<Line>,
}

impl Results {
    /// From a file.
    ///
    /// # Errors
    /// It cannot be read, or holds no row.
    pub fn read(path: &Path) -> Result<Results, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let results = Results::parse(&text);
        if results.lines.is_empty() { Err(format!("{}: no figures", path.display())) } else { Ok(results) }
    }

    /// From the text of the file.
    pub fn parse(text: &str) -> Results {
        let objects: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
        let rows: Vec<Row> = text.lines().filter_map(Row::from_json).collect();
        Results {
            run: of_kind("run").next_back().cloned().unwrap_or(Value::Null),
            engines: of_kind("engine").map(engine).collect(),
            lines: lines(&rows),
        }
    }

    /// Engines that have a figure or a reason in some row, in the order of the registry.
    pub fn present(&self) -> Vec<&Engine> {
        let named: BTreeSet<&String> = self.lines.iter().flat_map(|line| line.cells.keys()).collect();
        self.engines.iter().filter(|engine| named.contains(&engine.name)).collect()
    }

    /// Names of workloads that have rows, in their order.
    pub fn scenes(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for line in &self.lines {
            if names.last() != Some(&line.name.scene.as_str()) {
                names.push(&line.name.scene);
            }
        }
        names
    }

    /// Rows of one workload.
    pub fn of_scene<'a>(&'a self, scene: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.name.scene == scene)
    }

    /// Everything that was not offered or failed, once for each reason: engine, workload, case, reason, whether it failed.
    pub fn gaps(&self) -> Vec<(String, String, String, bool)> {
        let mut gaps = BTreeSet::new();
        for line in &self.lines {
            for (engine, cell) in &line.cells {
                match cell {
                    Cell::Figures(_) => {}
                    Cell::NotOffered(why) => {
                        gaps.insert((engine.clone(), line.name.scene.clone(), why.clone(), false));
                    }
                    Cell::Failed(what) => {
                        gaps.insert((engine.clone(), line.name.scene.clone(), what.clone(), true));
                    }
                }
            }
        }
        gaps.into_iter().collect()
    }
}

fn engine(object: &Value) -> Engine {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    Engine {
        name: text("engine"),
        version: text("version"),
        ours: object["ours"] == true,
        floor: object["floor"] == true,
        missing: object["missing"].as_str().map(str::to_owned),
        facts: ["isolation", "durability", "checksums", "compression", "cache"].map(text),
    }
}

fn lines(rows: &[Row]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut places: BTreeMap<&Name, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches!(row.found, Found::Figure(_))) {
        let place = *places.entry(&row.name).or_insert_with(|| {
            lines.push(Line { name: row.name.clone(), better: row.better, cells: BTreeMap::new() });
            lines.len() - 1
        });
        let cell = lines[place].cells.entry(row.engine.clone()).or_insert_with(|| Cell::Figures(Vec::new()));
        if let (Cell::Figures(figures), Found::Figure(figure)) = (cell, &row.found) {
            figures.push(*figure);
        }
    }
    add_reasons(rows, &mut lines);
    for cell in lines.iter_mut().flat_map(|line| line.cells.values_mut()) {
        if let Cell::Figures(figures) = cell {
            figures.sort_by(f64::total_cmp);
        }
    }
    let order = |line: &Line| scenes::ALL.iter().position(|scene| scene.name == line.name.scene);
    lines.sort_by_key(order);
    lines
}

/// A reason stands for every row of its workload whose case begins with its own. A failure wins over figures of other rounds: an engine
/// that answered wrongly once has no figure.
fn add_reasons(rows: &[Row], lines: &mut Vec<Line>) {
    for row in rows {
        let cell = match &row.found {
            Found::Figure(_) => continue,
            Found::NotOffered(why) => Cell::NotOffered(why.clone()),
            Found::Failed(what) => Cell::Failed(what.clone()),
        };
        let is_about =
            |line: &&mut Line| line.name.scene == row.name.scene && line.name.case.starts_with(&row.name.case);
        let mut is_used = false;
        for line in lines.iter_mut().filter(is_about) {
            is_used = true;
            let failed = matches!(cell, Cell::Failed(_));
            if failed || !line.cells.contains_key(&row.engine) {
                line.cells.insert(row.engine.clone(), cell.clone());
            }
        }
        // Nobody has a figure there: the reasons still make a row.
        if !is_used {
            lines.push(Line { name: row.name.clone(), better: row.better, cells: [(row.engine.clone(), cell)].into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &str, case: &str, found: Found) -> Row {
        let name = Name { scene: "reads".into(), case: case.into(), threads: 1, measure: "gets/s".into() };
        Row { engine: engine.into(), round: 0, name, better: Better::More, found }
    }

    fn text(rows: &[Row]) -> String {
        rows.iter().map(|row| row.to_json() + "\n").collect()
    }

    #[test]
    fn rounds_become_a_median_and_a_spread() {
        let rows = [3.0, 1.0, 2.0].map(|figure| row("redb", "hit", Found::Figure(figure)));
        let results = Results::parse(&text(&rows));
        let cell = &results.lines[0].cells["redb"];
        assert_eq!((cell.median(), cell.spread()), (Some(2.0), Some((1.0, 3.0))));
    }

    #[test]
    fn a_reason_stands_for_all_cases_that_begin_with_its_own() {
        let rows = [
            row("redb", "many, hit", Found::Figure(1.0)),
            row("redb", "each, hit", Found::Figure(1.0)),
            row("sled", "each, hit", Found::Figure(1.0)),
            row("sled", "many", Found::NotOffered("no snapshots".into())),
        ];
        let results = Results::parse(&text(&rows));
        assert_eq!(results.lines[0].cells["sled"], Cell::NotOffered("no snapshots".into()));
        assert_eq!(results.lines[1].cells["sled"].median(), Some(1.0));
    }

    #[test]
    fn an_engine_that_answered_wrongly_once_has_no_figure() {
        let rows = [row("redb", "hit", Found::Figure(9e9)), row("redb", "", Found::Failed("wrong answer".into()))];
        let results = Results::parse(&text(&rows));
        assert_eq!(results.lines[0].cells["redb"], Cell::Failed("wrong answer".into()));
    }
}
