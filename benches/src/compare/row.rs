//! One figure of one turn, and its line in the results.
//!
//! A row is named by `scene`, `case`, `threads` and `measure`: rows of different engines with the same name are compared. The file of
//! results holds one JSON object a line: first the run (`"kind":"run"`), then engines (`"engine"`), then rows (`"row"`).

use serde_json::{Value, json};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A rate.
    More,
    /// A cost.
    Less,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The figure.
    Figure(f64),
    /// The engine has no such thing; why.
    NotOffered(String),
    /// It went wrong, or answered wrongly; what.
    Failed(String),
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The workload.
    pub scene: String,
    /// Which of its cases.
    pub case: String,
    /// Threads at work.
    pub threads: usize,
    /// What was measured, with its unit.
    pub measure: String,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Engine, as in the registry.
    pub engine: String,
    /// Round, from 0.
    pub round: usize,
    /// What it is about.
    pub name: Name,
    /// Which way is better.
    pub better: Better,
    /// The figure or why there is none.
    pub found: Found,
}

impl Row {
    /// Its line, without a newline.
    pub fn to_json(&self) -> String {
        let mut object = json!({
            "kind": "row", "engine": self.engine, "round": self.round, "scene": self.name.scene, "case": self.name.case,
            "threads": self.name.threads, "measure": self.name.measure,
            "better": if self.better == Better::More { "more" } else { "less" },
        });
        let (key, value) = match &self.found {
            Found::Figure(figure) => ("value", json!(figure)),
            Found::NotOffered(why) => ("not_offered", json!(why)),
            Found::Failed(what) => ("failed", json!(what)),
        };
        object[key] = value;
        object.to_string()
    }

    /// From its line; nothing if the line is not a row.
    pub fn from_json(line: &str) -> Option<Row> {
        let object: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| object[key].as_str().map(str::to_owned);
        let found = match (object["value"].as_f64(), text("not_offered"), text("failed")) {
            (Some(figure), ..) => Found::Figure(figure),
            (_, Some(why), _) => Found::NotOffered(why),
            (.., Some(what)) => Found::Failed(what),
            _ => return None,
        };
        Some(Row {
            engine: text("engine")?,
            round: object["round"].as_u64()? as usize,
            name: Name {
                scene: text("scene")?,
                case: text("case")?,
                threads: object["threads"].as_u64()? as usize,
                measure: text("measure")?,
            },
            better: if object["better"] == "more" { Better::More } else { Better::Less },
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_from_its_line() {
        let name =
            Name { scene: "reads".into(), case: "uniform, \"hit\"".into(), threads: 8, measure: "gets/s".into() };
        for found in [Found::Figure(1234.5), Found::NotOffered("no scans".into()), Found::Failed("a wrong sum".into())]
        {
            let row = Row { engine: "redb".into(), round: 2, name: name.clone(), better: Better::More, found };
            assert_eq!(Row::from_json(&row.to_json()), Some(row));
        }
        assert_eq!(Row::from_json("progress 3"), None);
    }
}
