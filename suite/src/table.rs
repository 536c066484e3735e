//! The table: level x mode x backend x anomaly, from scripts.
//!
//! B1  What is promised as prevented and was seen is a violation; so is a script that could not be run to its end.
//! B2  So is what is permitted and was shown by nobody, unless `Anomaly::excuse` names a reason: a suite that cannot show what is allowed proves
//!     nothing by not seeing what is forbidden.

mod render;

use std::collections::BTreeSet;

use crate::anomaly::{Anomaly, Promise};
use crate::script::{Event, Outcome, Script, ScriptRun};
use crate::setting::Setting;
use crate::target::Target;

/// What was found about an anomaly at one setting on one target.
///
/// See [`AnomalyTable`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Promised as prevented, and not seen.
    Prevented,
    /// Permitted, and seen.
    Shown,
    /// Not promised, and not seen.
    NotShown,
    /// The engine does not offer the setting, or what all its scripts need.
    NotOffered,
    /// Promised as prevented, and seen.
    Broken,
    /// A script could not be run to its end.
    Failed,
}

/// One verdict, with what led to it.
///
/// See [`AnomalyTable`] for an example.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which anomaly.
    pub anomaly: Anomaly,
    /// At which level, in which mode.
    pub setting: Setting,
    /// The name of the target.
    pub target: String,
    /// What was found.
    pub verdict: Verdict,
    /// Each script with what it came to.
    pub runs: Vec<(String, ScriptRun)>,
}

/// The table of all verdicts.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{Anomaly, AnomalyTable, Script, Setting, Target, Verdict};
/// let table = AnomalyTable::run(&[Target::in_memory(BackendKind::BTree)], &Script::library());
/// let snapshot = Setting::parse("Snapshot/Optimistic").expect("a setting");
/// let cell = table.cells.iter().find(|cell| cell.anomaly == Anomaly::G2Item && cell.setting == snapshot).expect("in the table");
/// assert_eq!(cell.verdict, Verdict::Shown);
/// assert_eq!(table.violations(), Vec::<String>::new());
/// assert!(table.to_markdown().contains("| G2-item |"));
/// ```
#[derive(Clone, Debug)]
pub struct AnomalyTable {
    /// By anomaly, setting and target.
    pub cells: Vec<Cell>,
}

impl AnomalyTable {
    /// Runs every script that is about an anomaly at every setting on every target.
    pub fn run(targets: &[Target], scripts: &[Script]) -> AnomalyTable {
        let mut cells = Vec::new();
        for anomaly in Anomaly::all() {
            let scripts: Vec<&Script> = scripts.iter().filter(|script| script.anomaly == Some(anomaly)).collect();
            for setting in Setting::all() {
                cells.extend(targets.iter().map(|target| Cell::of(anomaly, setting, target, &scripts)));
            }
        }
        AnomalyTable { cells }
    }

    /// What is not as promised, one line each (B1, B2). Empty: every promise held, and everything permitted was shown.
    pub fn violations(&self) -> Vec<String> {
        self.cells.iter().filter_map(Cell::violation).collect()
    }
}

impl Cell {
    fn of(anomaly: Anomaly, setting: Setting, target: &Target, scripts: &[&Script]) -> Cell {
        let runs: Vec<(String, ScriptRun)> =
            scripts.iter().map(|script| (script.name().to_owned(), script.run(target, setting))).collect();
        let verdict = verdict(anomaly.promise(setting.level), &runs);
        Cell { anomaly, setting, target: target.name().to_owned(), verdict, runs }
    }

    fn violation(&self) -> Option<String> {
        let what = match self.verdict {
            Verdict::Broken => "is promised as prevented and was seen",
            Verdict::Failed => "could not be judged",
            Verdict::NotShown if self.must_be_shown() => "is permitted and was shown by no script",
            Verdict::NotShown | Verdict::Prevented | Verdict::Shown | Verdict::NotOffered => return None,
        };
        let runs: Vec<String> = self.runs.iter().map(|(script, run)| render::run_line(script, run)).collect();
        Some(format!("{} on {}: {} {what}: {}", self.setting, self.target, self.anomaly, runs.join("; ")))
    }

    fn must_be_shown(&self) -> bool {
        let permitted = self.anomaly.promise(self.setting.level) == Promise::Permitted;
        permitted && self.anomaly.excuse(self.setting).is_none()
    }

    /// Whether somebody waited, and the errors that ended somebody's transaction.
    fn means(&self) -> (bool, BTreeSet<&str>) {
        let events = || self.runs.iter().flat_map(|(_, run)| &run.events);
        let waited = events().any(|event| matches!(event, Event::Waited { .. }));
        let kinds = events().filter_map(|event| match event {
            Event::Aborted { kind, .. } => Some(kind.as_str()),
            Event::Waited { .. } | Event::Retried { .. } => None,
        });
        (waited, kinds.collect())
    }
}

fn verdict(promise: Promise, runs: &[(String, ScriptRun)]) -> Verdict {
    let any = |outcome: fn(&Outcome) -> bool| runs.iter().any(|(_, run)| outcome(&run.outcome));
    if any(|outcome| *outcome == Outcome::Shown) {
        return if promise == Promise::Prevented { Verdict::Broken } else { Verdict::Shown };
    }
    if any(|outcome| matches!(outcome, Outcome::Failed(_))) {
        return Verdict::Failed;
    }
    if !any(|outcome| *outcome == Outcome::NotSeen) {
        return Verdict::NotOffered;
    }
    if promise == Promise::Prevented { Verdict::Prevented } else { Verdict::NotShown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(outcomes: &[Outcome]) -> Vec<(String, ScriptRun)> {
        let run = |outcome: &Outcome| ScriptRun {
            moments: Vec::new(),
            outcome: outcome.clone(),
            events: Vec::new(),
            saw: Vec::new(),
            ends: Vec::new(),
            state: Default::default(),
        };
        outcomes.iter().map(|outcome| ("s".to_owned(), run(outcome))).collect()
    }

    #[test]
    fn one_script_that_shows_it_is_enough_and_none_proves_nothing() {
        use Outcome::{Failed, NotOffered, NotSeen, Shown};
        let of = |promise, outcomes: &[Outcome]| verdict(promise, &runs(outcomes));
        assert_eq!(of(Promise::Prevented, &[NotSeen, Shown]), Verdict::Broken);
        assert_eq!(of(Promise::Permitted, &[NotOffered, Shown]), Verdict::Shown);
        assert_eq!(of(Promise::Prevented, &[NotSeen, NotOffered]), Verdict::Prevented);
        assert_eq!(of(Promise::Prevented, &[NotSeen, Failed("it hangs".into())]), Verdict::Failed);
        assert_eq!(of(Promise::Prevented, &[NotOffered]), Verdict::NotOffered);
        assert_eq!(of(Promise::Permitted, &[]), Verdict::NotOffered);
        assert_eq!(of(Promise::Permitted, &[NotSeen]), Verdict::NotShown);
    }
}
