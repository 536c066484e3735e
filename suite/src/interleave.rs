//! All interleavings of small scripts, judged by brute force: is there an order, one transaction after the other, that shows the same?
//!
//! For each script: how many interleavings must fail (under Snapshot they end in what no order explains), how many fail at optimistic Serializable,
//! and how many of those need not have. PostgreSQL publishes such counts for its own rule with some of its isolation tests; they stand beside ours.
//!
//! Optimistic transactions run on one thread, step by step. Pessimistic ones wait, so they run on threads of their own: each interleaving with all of
//! them pessimistic, and with some of them, turn by turn another part.
//!
//! L1  At Serializable, in either mode or a mix of both, no interleaving ends in what no order explains, and the order agrees with real time.
//! L2  The oracle (`serial.rs`) is a map and a loop. It shares nothing with the engine.
//!
//! `random.rs` draws scripts at random, `shrink.rs` makes a failing one small.

mod direct;
mod random;
mod serial;
mod shrink;

use std::fmt;

use duramen::{Concurrency, IsolationLevel};

use crate::script::{End, Outcome, Script, ScriptRun, Step};
use crate::setting::Setting;
use crate::target::Target;

pub use random::RandomScripts;

/// A script, and how often it must fail by PostgreSQL's account, and fails there without need.
struct Published {
    name: &'static str,
    text: &'static str,
    must_fail: usize,
    /// With all transactions declared read-write; and with those that only read declared read-only.
    need_not: Option<(usize, usize)>,
}

macro_rules! published {
    ($($name:literal $must_fail:literal $need_not:expr;)*) => {
        &[$(Published {
            name: $name,
            text: include_str!(concat!("../scripts/interleavings/", $name, ".txt")),
            must_fail: $must_fail,
            need_not: $need_not,
        },)*]
    };
}

/// Counts are those of the comments in PostgreSQL's src/test/isolation/specs; "any overlap must fail" is counted out.
const PUBLISHED: &[Published] = published! {
    "two-ids" 4 Some((12, 0));
    "receipt-report" 6 Some((42, 0));
    "simple-write-skew" 4 Some((0, 0));
    "total-cash" 18 Some((0, 0));
    "project-manager" 18 Some((0, 0));
    "temporal-range-integrity" 18 Some((0, 0));
    "classroom-scheduling" 18 Some((0, 0));
};

/// What the interleavings of each script came to.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{Interleavings, Target};
/// let found = Interleavings::run(&Target::in_memory(BackendKind::BTree));
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// let two_ids = found.rows.iter().find(|row| row.script == "two-ids").expect("it is there");
/// assert_eq!((two_ids.interleavings, two_ids.must_fail), (90, 4));
/// println!("{found}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interleavings {
    /// Interleavings that ended in what no order explains at Serializable, or could not be judged.
    pub complaints: Vec<String>,
    /// One for each script.
    pub rows: Vec<InterleavingsRow>,
}

/// What the interleavings of one script came to.
///
/// See [`Interleavings`] for an example.
#[derive(Clone, Debug)]
pub struct InterleavingsRow {
    /// Which.
    pub script: String,
    /// How many interleavings it has.
    pub interleavings: usize,
    /// How many end under Snapshot in what no order explains.
    pub must_fail: usize,
    /// In how many optimistic Serializable ended a transaction; `None` if it is not offered.
    pub failed: Option<usize>,
    /// How many of them need not have failed: under Snapshot all commit, and an order explains it.
    pub need_not: Option<usize>,
    /// In how many a transaction was ended if all are pessimistic, and in how many if some are.
    pub failed_locking: Option<usize>,
    /// See `failed_locking`.
    pub failed_mixed: Option<usize>,
    /// What PostgreSQL's rule does without need, all transactions declared read-write, and those that only read declared read-only.
    pub published: Option<(usize, usize)>,
}

impl Interleavings {
    /// Runs every interleaving of every script that comes with the suite.
    pub fn run(target: &Target) -> Interleavings {
        let mut found = Interleavings::default();
        for published in PUBLISHED {
            let script = Script::parse(published.name, published.text).expect("a test parses every script");
            let row = found.add(target, &script, published.need_not);
            if row.must_fail != published.must_fail {
                let (name, ours, theirs) = (published.name, row.must_fail, published.must_fail);
                found.complaints.push(format!("{name}: {ours} interleavings must fail, PostgreSQL says {theirs}"));
            }
            found.rows.push(row);
        }
        found
    }

    fn add(&mut self, target: &Target, script: &Script, published: Option<(usize, usize)>) -> InterleavingsRow {
        let mut row = InterleavingsRow {
            script: script.name().to_owned(),
            interleavings: 0,
            must_fail: 0,
            failed: Some(0),
            need_not: Some(0),
            failed_locking: Some(0),
            failed_mixed: Some(0),
            published,
        };
        for (turn, order) in orders(script).into_iter().enumerate() {
            let woven = weave(script, &order);
            let (all, some) = mixes(script.session_count(), turn);
            row.failed_locking =
                row.failed_locking.zip(self.add_mixed(&woven, target, &all)).map(|(sum, one)| sum + one);
            row.failed_mixed = row.failed_mixed.zip(self.add_mixed(&woven, target, &some)).map(|(sum, one)| sum + one);
            row.interleavings += 1;
            let plain = direct::run(&woven, target, SNAPSHOT);
            let explained = self.judge(&woven, &plain).unwrap_or(true);
            row.must_fail += usize::from(!explained);
            let strict = direct::run(&woven, target, SERIALIZABLE);
            if strict.outcome == Outcome::NotOffered {
                (row.failed, row.need_not) = (None, None);
                continue;
            }
            if self.judge(&woven, &strict) == Some(false) {
                let small = shrink::shrink(&woven, &|script| is_broken(script, target, SERIALIZABLE));
                self.complaints.push(format!("L1: no order explains {}:\n{small}", woven.name()));
            }
            let failed = has_aborted(&strict);
            row.failed = row.failed.map(|count| count + usize::from(failed));
            let need_not = failed && explained && !has_aborted(&plain);
            row.need_not = row.need_not.map(|count| count + usize::from(need_not));
        }
        row
    }

    /// Runs an interleaving with waits; 1 if a transaction was ended, `None` if the settings are not offered.
    fn add_mixed(&mut self, woven: &Script, target: &Target, settings: &[Setting]) -> Option<usize> {
        let run = woven.run_mixed(target, settings);
        if run.outcome == Outcome::NotOffered {
            return None;
        }
        if self.judge(woven, &run) == Some(false) {
            let small = shrink::shrink(woven, &|script| is_broken_mixed(script, target, settings));
            self.complaints.push(format!("L1: no order explains {} {}:\n{small}", names_of(settings), woven.name()));
        }
        Some(usize::from(has_aborted(&run)))
    }

    /// Whether an order explains a run; `None`, and a complaint, if it did not come to its end.
    fn judge(&mut self, script: &Script, run: &ScriptRun) -> Option<bool> {
        if let Outcome::Failed(why) = &run.outcome {
            self.complaints.push(format!("{} could not be judged: {why}", script.name()));
            return None;
        }
        Some(serial::is_explained(script, run, true))
    }
}

const SNAPSHOT: Setting = Setting { level: IsolationLevel::Snapshot, mode: Concurrency::Optimistic };
const SERIALIZABLE: Setting = Setting { level: IsolationLevel::Serializable, mode: Concurrency::Optimistic };

const LOCKING: Setting = Setting { level: IsolationLevel::Serializable, mode: Concurrency::Pessimistic };

/// Settings of all sessions: all pessimistic, and the `turn`-th mix of both modes.
fn mixes(sessions: usize, turn: usize) -> (Vec<Setting>, Vec<Setting>) {
    let mixes = (1 << sessions) - 2;
    let bits = 1 + turn % mixes.max(1);
    let mixed = (0..sessions).map(|session| if bits >> session & 1 == 1 { LOCKING } else { SERIALIZABLE });
    (vec![LOCKING; sessions], mixed.collect())
}

fn names_of(settings: &[Setting]) -> String {
    settings.iter().map(Setting::to_string).collect::<Vec<_>>().join(", ")
}

/// As `is_broken`, with waits. A script with fewer sessions runs at the first of the settings.
fn is_broken_mixed(script: &Script, target: &Target, settings: &[Setting]) -> bool {
    let run = script.run_mixed(target, settings);
    matches!(run.outcome, Outcome::Shown | Outcome::NotSeen) && !serial::is_explained(script, &run, true)
}

fn has_aborted(run: &ScriptRun) -> bool {
    run.ends.contains(&End::Aborted)
}

/// Whether a script, run in the order in which it stands, ends in what no order explains.
fn is_broken(script: &Script, target: &Target, setting: Setting) -> bool {
    let run = direct::run(script, target, setting);
    matches!(run.outcome, Outcome::Shown | Outcome::NotSeen) && !serial::is_explained(script, &run, true)
}

/// Every order in which the sessions can take their steps, as numbers of sessions.
fn orders(script: &Script) -> Vec<Vec<usize>> {
    let mut left = vec![0; script.session_count()];
    script.steps.iter().for_each(|step| left[step.session] += 1);
    let (mut orders, mut path) = (Vec::new(), Vec::new());
    extend(&mut left, &mut path, &mut orders);
    orders
}

fn extend(left: &mut [usize], path: &mut Vec<usize>, orders: &mut Vec<Vec<usize>>) {
    if left.iter().all(|count| *count == 0) {
        orders.push(path.clone());
        return;
    }
    for session in 0..left.len() {
        if left[session] > 0 {
            left[session] -= 1;
            path.push(session);
            extend(left, path, orders);
            path.pop();
            left[session] += 1;
        }
    }
}

/// `script` with its steps in the given order of sessions.
fn weave(script: &Script, order: &[usize]) -> Script {
    let mut steps: Vec<_> = (0..script.session_count())
        .map(|session| script.steps.iter().filter(move |step| step.session == session).cloned())
        .collect();
    let steps: Vec<Step> = order.iter().filter_map(|&session| steps[session].next()).collect();
    let names: Vec<String> = order.iter().map(|session| (session + 1).to_string()).collect();
    Script { name: format!("{} in order {}", script.name, names.concat()), steps, ..script.clone() }
}

impl fmt::Display for Interleavings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| script | interleavings | must fail | fail | need not have | PostgreSQL, need not have (read-only declared) | all pessimistic: fail | both modes: fail |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        let number = |count: Option<usize>| count.map_or("-".to_owned(), |count| count.to_string());
        for row in &self.rows {
            let published = row.published.map_or("-".to_owned(), |(all, declared)| format!("{all} ({declared})"));
            let (name, count, must) = (&row.script, row.interleavings, row.must_fail);
            let (failed, need_not) = (number(row.failed), number(row.need_not));
            let (locking, mixed) = (number(row.failed_locking), number(row.failed_mixed));
            writeln!(f, "| {name} | {count} | {must} | {failed} | {need_not} | {published} | {locking} | {mixed} |")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interleaving_is_there_once() {
        let script = Script::parse("s", "T1: get x\nT1: commit\nT2: get x\nT2: commit\nT3: commit").expect("a script");
        let mut all = orders(&script);
        assert_eq!(all.len(), 30);
        all.dedup();
        assert_eq!(all.len(), 30);
        let woven = weave(&script, &all[7]);
        assert_eq!(woven.steps.len(), 5);
    }
}
