//! Anomaly scripts: what a few sessions do, step by step, and what would prove the anomaly.
//!
//! A script is text that needs no programmer to read. This file has the words; `parse.rs` reads them, `run.rs` runs them against an
//! engine, `library.rs` holds the scripts that come with the suite.
//!
//! ```text
//! # Write skew. Both read x and y, then each writes one: run one after the other, the second would have read a 0.
//! anomaly: G2-item
//! start: x=50 y=50
//!
//! T1: get x -> a
//! T1: get y -> b
//! T2: get x -> c; get y -> d          two actions that nothing comes between
//! T1: put x=0
//! T2: put y=0
//! T1: commit
//! T2: commit
//!
//! shown if: a=50, b=50, c=50, d=50
//! ```
//! | action | meaning |
//! |---|---|
//! | `begin` | begins the transaction; else the first action does |
//! | `pin` | fixes its snapshot |
//! | `get x -> a` | reads x and calls the value a; `get-for-share`, `get-for-update` lock it too |
//! | `scan a..m -> s` | reads the keys from a up to, without, m; `scan a..m where 20 -> s` only those with that value; `scan-for-share`, `scan-for-update` lock |
//! | `put x=5`, `put x=a+5` | writes a number, or what was read plus a number |
//! | `delete x`, `delete-range a..m` | removes |
//! | `delete a..m where 20 -> d` | scans, removes what has that value, and calls it d |
//! | `cursor a..m -> c`, `next c -> r` | opens a scan, and takes the next row of it |
//! | `savepoint s`, `back-to s` | |
//! | `commit`, `rollback` | |
//!
//! `shown if:` lists facts that must all hold; a second such line is another way to show it. Facts: `a=50`, `a!=50`, `a=nothing`,
//! `s=x:10 y:20` (what a scan saw), `a=b` is not one; `T1 commits`, `T1 aborts`, `final x=0` (the state in the end).
//!
//! N1  What a name stands for counts only if the transaction that read it committed.

mod library;
mod parse;
mod run;
mod text;

pub use parse::ScriptError;
pub(crate) use run::{End, kind_of};
pub use run::{Event, Outcome, ScriptRun};

use std::fmt;

use crate::anomaly::Anomaly;

/// A script, read and checked.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{Script, Setting, Target};
/// let script = Script::parse("blind", "# Nobody reads.\nstart: x=1\nT1: put x=2\nT2: put x=3\nT1: commit\nT2: commit\nshown if: final x=1\n")?;
/// let setting = Setting::parse("Snapshot/Optimistic").expect("a setting");
/// let run = script.run(&Target::in_memory(BackendKind::BTree), setting);
/// assert_eq!(run.outcome, duramen_suite::Outcome::NotSeen);
/// assert!(Script::library().iter().any(|script| script.name() == "write-skew"));
/// assert!(script.to_string().contains("T1: put x=2") && script.about() == "Nobody reads.");
/// assert_eq!(script.anomaly(), None);
/// # Ok::<(), duramen_suite::ScriptError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) anomaly: Option<Anomaly>,
    pub(crate) start: Vec<(String, i64)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) shown: Vec<Vec<Fact>>,
}

/// What one session does without anything in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// 0 for `T1`.
    pub(crate) session: usize,
    pub(crate) actions: Vec<Named>,
}

/// An action, and how what it saw is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) action: Action,
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Begin,
    Pin,
    Get {
        key: String,
        lock: Lock,
    },
    Scan {
        range: Span,
        only: Option<i64>,
        lock: Lock,
    },
    Put {
        key: String,
        value: Number,
    },
    Delete {
        key: String,
    },
    DeleteRange {
        range: Span,
    },
    DeleteWhere {
        range: Span,
        only: i64,
    },
    /// Its name is the cursor's.
    Cursor {
        range: Span,
    },
    Next {
        cursor: String,
    },
    Savepoint {
        point: String,
    },
    BackTo {
        point: String,
    },
    Commit,
    Rollback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    None,
    Share,
    Update,
}

/// Keys from `low` up to, without, `high`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) low: String,
    pub(crate) high: String,
}

/// What is written: a number, or what was read plus one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) of: Option<String>,
    pub(crate) plus: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// In the form of [`Seen::to_string`].
    Saw {
        name: String,
        equal: bool,
        seen: String,
    },
    Commits(usize),
    Aborts(usize),
    Final {
        key: String,
        value: Option<i64>,
    },
}

/// What an action saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It reads nothing.
    Nothing,
    Value(Option<i64>),
    Rows(Vec<(String, i64)>),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Nothing | Seen::Value(None) => f.write_str("nothing"),
            Seen::Value(Some(value)) => write!(f, "{value}"),
            Seen::Rows(rows) if rows.is_empty() => f.write_str("nothing"),
            Seen::Rows(rows) => {
                let rows: Vec<String> = rows.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                f.write_str(&rows.join(" "))
            }
        }
    }
}

impl Script {
    /// Reads a script called `name`.
    ///
    /// # Errors
    /// [`ScriptError`] names the line and what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Script, ScriptError> {
        parse::parse(name, text)
    }

    /// The scripts that come with the suite: at least one for each [`Anomaly`].
    pub fn library() -> Vec<Script> {
        library::scripts()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its explanation.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What it would show, if it is about one of the known anomalies.
    pub fn anomaly(&self) -> Option<Anomaly> {
        self.anomaly
    }

    /// How many sessions it has.
    pub(crate) fn session_count(&self) -> usize {
        self.steps.iter().map(|step| step.session + 1).max().unwrap_or(0)
    }
}
