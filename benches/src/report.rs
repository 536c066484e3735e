//! The table of figures, as Markdown.

use crate::rounds::Figures;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Shown beside the others.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// On which backend, if that matters.
    pub on: &'static str,
    /// What it should be.
    pub goal: Goal,
    /// What it is, round by round.
    pub figures: Figures,
    /// Unit of figure and goal; empty for a ratio.
    pub unit: &'static str,
    /// The raw loop beside it, and its median in words.
    pub floor: String,
}

impl Row {
    fn verdict(&self) -> &'static str {
        let median = self.figures.median();
        match self.goal {
            Goal::AtLeast(goal) if median >= goal => "reached",
            Goal::AtMost(goal) if median <= goal => "reached",
            Goal::None => "",
            Goal::AtLeast(_) | Goal::AtMost(_) => "**short**",
        }
    }

    fn line(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let goal = match self.goal {
            Goal::AtLeast(goal) => format!(">= {}{unit}", number(goal)),
            Goal::AtMost(goal) => format!("<= {}{unit}", number(goal)),
            Goal::None => String::new(),
        };
        let figures = &self.figures;
        format!(
            "| {} | {} | {goal} | {}{unit} | {} to {} | {} | {} |",
            self.what,
            self.on,
            number(figures.median()),
            number(figures.min()),
            number(figures.max()),
            self.floor,
            self.verdict()
        )
    }
}

/// Three digits that matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The whole table.
pub fn table(rows: &[Row]) -> String {
    let head = "| what | on | goal | median | spread | raw floor | verdict |\n|---|---|---|---|---|---|---|\n";
    rows.iter().fold(head.to_owned(), |table, row| table + &row.line() + "\n")
}
