//! Many histories: every setting that is offered, and all of them mixed, on every target, for a number of seeds.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use duramen::{Error, Result};

use super::{HistoryKind, HistoryOptions};
use crate::setting::Setting;
use crate::target::Target;

/// What many histories came to.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{HistoriesFound, Target};
/// let found = HistoriesFound::run(&[Target::tiny(BackendKind::BTree)], 0..1)?;
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// assert!(found.rows.iter().any(|row| row.name == "Snapshot/Optimistic" && row.committed > 0));
/// println!("{found}");
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HistoriesFound {
    /// What is forbidden and was seen, or could not be judged.
    pub complaints: Vec<String>,
    /// One for each setting, and one for all of them mixed.
    pub rows: Vec<HistoriesRow>,
}

/// What the histories of a setting came to.
///
/// See [`HistoriesFound`] for an example.
#[derive(Clone, Debug, Default)]
pub struct HistoriesRow {
    /// The setting, or that several were mixed.
    pub name: String,
    /// How many were made.
    pub histories: usize,
    /// Transactions that committed.
    pub committed: usize,
    /// Transactions that the engine ended.
    pub aborted: usize,
    /// In how many histories each phenomenon was seen.
    pub shown: BTreeMap<&'static str, usize>,
}

impl HistoriesFound {
    /// Makes and checks a history of each kind for each seed, setting and target.
    ///
    /// # Errors
    /// What the engine answered that no transaction should meet.
    pub fn run(targets: &[Target], seeds: Range<u64>) -> Result<HistoriesFound> {
        let mut found = HistoriesFound::default();
        let offered = Setting::offered(targets)?;
        for setting in &offered {
            found.add(setting.to_string(), targets, &seeds, &[*setting])?;
        }
        if offered.len() > 1 {
            found.add("all mixed".to_owned(), targets, &seeds, &offered)?;
        }
        Ok(found)
    }

    fn add(&mut self, name: String, targets: &[Target], seeds: &Range<u64>, settings: &[Setting]) -> Result<()> {
        let mut row = HistoriesRow { name, ..HistoriesRow::default() };
        for target in targets {
            for seed in seeds.clone() {
                for kind in HistoryKind::ALL {
                    match HistoryOptions::new(kind, seed).run(target, settings) {
                        Ok(history) => {
                            row.histories += 1;
                            row.committed += history.committed;
                            row.aborted += history.aborted;
                            history.shown.iter().for_each(|(what, count)| *row.shown.entry(what).or_insert(0) += count);
                            self.complaints.extend(history.complaints);
                        }
                        // What the kind needs at this setting.
                        Err(Error::Unsupported { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.rows.push(row);
        Ok(())
    }
}

impl fmt::Display for HistoriesFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let shown: Vec<String> = row.shown.iter().map(|(what, count)| format!("{what} in {count}")).collect();
            let shown = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
            let (histories, committed, aborted) = (row.histories, row.committed, row.aborted);
            writeln!(
                f,
                "{:28} {histories:6} histories {committed:9} committed {aborted:8} aborted; seen: {shown}",
                row.name
            )?;
        }
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}
