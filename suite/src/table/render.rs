//! The table as Markdown for documents, as text with every script, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{AnomalyTable, Cell, Verdict};
use crate::anomaly::{Anomaly, Promise};
use crate::script::{Event, Outcome, ScriptRun};
use crate::setting::{LEVELS, Setting};

/// What the letters behind a verdict mean.
const LEGEND: &str = "How: w somebody waited for a lock; and somebody's transaction was ended by a write conflict (c), a serialization failure (s), \
                      a deadlock (d), something else (e).";

/// The lines around the table in a document.
const MARKERS: (&str, &str) = ("<!-- anomaly table: begin -->\n", "<!-- anomaly table: end -->\n");

impl AnomalyTable {
    /// `document` with the table between its markers replaced by this one; `None` if it has no markers.
    ///
    /// ```
    /// use duramen_suite::AnomalyTable;
    /// let table = AnomalyTable::run(&[], &[]);
    /// let document = "Before.\n<!-- anomaly table: begin -->\n<!-- anomaly table: end -->\nAfter.\n";
    /// let written = table.put_into(document).expect("it has markers");
    /// assert!(written.contains(&table.to_markdown()) && written.ends_with("After.\n"));
    /// assert!(table.to_text().is_empty() && table.to_json()["violations"].as_array().is_some_and(Vec::is_empty));
    /// ```
    pub fn put_into(&self, document: &str) -> Option<String> {
        let (before, rest) = document.split_once(MARKERS.0)?;
        let (_, after) = rest.split_once(MARKERS.1)?;
        Some(format!("{before}{}{}{}{after}", MARKERS.0, self.to_markdown(), MARKERS.1))
    }

    /// A row for each anomaly, a column for each setting; targets that agree share a cell.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("| anomaly | what happens |");
        let mut line = String::from("|---|---|");
        for setting in Setting::all() {
            let _ = write!(text, " {}<br>{:?} |", setting.level, setting.mode);
            line.push_str("---|");
        }
        let _ = writeln!(text, "\n{line}");
        for anomaly in Anomaly::all() {
            let _ = write!(text, "| {anomaly} | {} |", anomaly.title());
            for setting in Setting::all() {
                let _ = write!(text, " {} |", self.cell_text(anomaly, setting));
            }
            text.push('\n');
        }
        let _ = writeln!(text, "\n{LEGEND} `-`: not offered.");
        for (setting, anomaly, reason) in self.excused() {
            let _ = writeln!(text, "\n{setting} cannot show {anomaly}: {reason}.");
        }
        text
    }

    fn cell_text(&self, anomaly: Anomaly, setting: Setting) -> String {
        let cells = self.cells.iter().filter(|cell| cell.anomaly == anomaly && cell.setting == setting);
        let texts: Vec<(&str, String)> = cells.map(|cell| (cell.target.as_str(), cell.short())).collect();
        match texts.as_slice() {
            [] => "-".to_owned(),
            [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => first.clone(),
            _ => texts.iter().map(|(target, text)| format!("{target}: {text}")).collect::<Vec<_>>().join("<br>"),
        }
    }

    /// Permitted and not shown, with the reason.
    fn excused(&self) -> Vec<(Setting, Anomaly, &'static str)> {
        let mut found: Vec<(Setting, Anomaly, &'static str)> = Vec::new();
        for cell in self.cells.iter().filter(|cell| cell.verdict == Verdict::NotShown) {
            if cell.anomaly.promise(cell.setting.level) == Promise::Permitted
                && let Some(reason) = cell.anomaly.excuse(cell.setting)
                && !found.iter().any(|(setting, anomaly, _)| (*setting, *anomaly) == (cell.setting, cell.anomaly))
            {
                found.push((cell.setting, cell.anomaly, reason));
            }
        }
        found
    }

    /// Every script at every offered setting on every target, with who waited, was aborted, and ran again.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for cell in self.cells.iter().filter(|cell| cell.verdict != Verdict::NotOffered) {
            let name = format!("{} on {}", cell.setting, cell.target);
            let _ = writeln!(text, "{name:42} {:16} {}", cell.anomaly, cell.verdict.name());
            for (script, run) in &cell.runs {
                let _ = writeln!(text, "    {}", run_line(script, run));
            }
        }
        text
    }

    /// Everything, for programs.
    pub fn to_json(&self) -> Json {
        let levels: Vec<String> = LEVELS.iter().map(ToString::to_string).collect();
        json!({
            "levels": levels,
            "violations": self.violations(),
            "cells": self.cells.iter().map(Cell::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Cell {
    fn short(&self) -> String {
        let (waited, kinds) = self.means();
        let mut letters = String::from(if waited { "w" } else { "" });
        for kind in kinds {
            letters.push(match kind {
                "WriteConflict" => 'c',
                "SerializationFailure" => 's',
                "Deadlock" => 'd',
                _ => 'e',
            });
        }
        let name = self.verdict.name();
        match self.verdict {
            Verdict::NotOffered => "-".to_owned(),
            Verdict::Shown => format!("**{name}**"),
            _ if letters.is_empty() => name.to_owned(),
            _ => format!("{name} {letters}"),
        }
    }

    fn to_json(&self) -> Json {
        let run = |(script, run): &(String, ScriptRun)| {
            json!({
                "script": script,
                "outcome": outcome_name(&run.outcome),
                "events": run.events.iter().map(Event::to_string).collect::<Vec<_>>(),
                "saw": run.saw.iter().map(|(name, seen)| json!([name, seen])).collect::<Vec<_>>(),
            })
        };
        json!({
            "anomaly": self.anomaly.to_string(),
            "level": self.setting.level.to_string(),
            "mode": format!("{:?}", self.setting.mode),
            "target": self.target,
            "verdict": self.verdict.name(),
            "scripts": self.runs.iter().map(run).collect::<Vec<_>>(),
        })
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Prevented => "prevented",
            Verdict::Shown => "shown",
            Verdict::NotShown => "not shown",
            Verdict::NotOffered => "not offered",
            Verdict::Broken => "BROKEN",
            Verdict::Failed => "FAILED",
        }
    }
}

fn outcome_name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Shown => "shown".to_owned(),
        Outcome::NotSeen => "not seen".to_owned(),
        Outcome::NotOffered => "not offered".to_owned(),
        Outcome::Failed(why) => format!("failed: {why}"),
    }
}

/// One script with what it came to.
pub(super) fn run_line(script: &str, run: &ScriptRun) -> String {
    let mut line = format!("{script}: {}", outcome_name(&run.outcome));
    let saw: Vec<String> = run.saw.iter().map(|(name, seen)| format!("{name}={seen}")).collect();
    if !saw.is_empty() {
        let _ = write!(line, " ({})", saw.join(", "));
    }
    for event in &run.events {
        let _ = write!(line, ", {event}");
    }
    line
}
