//! Scripts drawn at random, each run in a random interleaving at optimistic Serializable, at Snapshot, and with both modes mixed, and judged by brute force.

use std::fmt;
use std::ops::Range;

use super::{SERIALIZABLE, SNAPSHOT, direct, has_aborted, is_broken, is_broken_mixed, mixes, names_of, serial, shrink};
use crate::dice::Dice;
use crate::script::{Action, Fact, Lock, Named, Number, Outcome, Script, Span, Step};
use crate::setting::Setting;
use crate::target::Target;

/// What random scripts came to at optimistic Serializable and at Snapshot.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{RandomScripts, Target};
/// let found = RandomScripts::run(&Target::in_memory(BackendKind::BTree), 0..100);
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// assert!(found.scripts == 100 && found.unexplained_at_snapshot > 0);
/// // The shortest way to what Snapshot permits, found by leaving things out.
/// let example = found.example.as_ref().expect("one was shrunk");
/// println!("{found}\n{example}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct RandomScripts {
    /// At Serializable: what no order explains, as the smallest script that shows it; or what could not be judged.
    pub complaints: Vec<String>,
    /// How many were run.
    pub scripts: usize,
    /// How many ended under Snapshot in what no order explains.
    pub unexplained_at_snapshot: usize,
    /// In how many Serializable ended a transaction, and in how many of those an order explains what Snapshot did.
    pub failed: usize,
    /// How many of those Snapshot committed as a whole, and an order explains it.
    pub need_not: usize,
    /// How many were run with waits, all sessions pessimistic in half of them and some in the others; and in how many a transaction was ended.
    pub with_waits: usize,
    /// See `with_waits`.
    pub failed_with_waits: usize,
    /// The first script that Snapshot does not explain, made small.
    pub example: Option<Script>,
}

impl RandomScripts {
    /// Runs the scripts of these seeds.
    pub fn run(target: &Target, seeds: Range<u64>) -> RandomScripts {
        let mut found = RandomScripts::default();
        seeds.for_each(|seed| found.add(target, seed));
        found
    }

    fn add(&mut self, target: &Target, seed: u64) {
        let script = draw(seed);
        self.scripts += 1;
        let plain = direct::run(&script, target, SNAPSHOT);
        let strict = direct::run(&script, target, SERIALIZABLE);
        for run in [&plain, &strict] {
            if let Outcome::Failed(why) = &run.outcome {
                self.complaints.push(format!("seed {seed} could not be judged: {why}\n{script}"));
                return;
            }
        }
        let explained = serial::is_explained(&script, &plain, true);
        if !explained {
            self.unexplained_at_snapshot += 1;
            if self.example.is_none() {
                self.example = Some(small(&script, target, SNAPSHOT));
            }
        }
        if strict.outcome == Outcome::NotOffered {
            return;
        }
        if !serial::is_explained(&script, &strict, true) {
            let small = small(&script, target, SERIALIZABLE);
            self.complaints.push(format!("seed {seed}: no order explains this at {SERIALIZABLE}:\n{small}"));
        }
        self.add_mixed(&script, target, seed);
        self.failed += usize::from(has_aborted(&strict));
        self.need_not += usize::from(has_aborted(&strict) && explained && !has_aborted(&plain));
    }
}

impl RandomScripts {
    /// The same script once more, on threads that wait for each other.
    fn add_mixed(&mut self, script: &Script, target: &Target, seed: u64) {
        let (all, some) = mixes(script.session_count(), (seed / 2) as usize);
        let settings = if seed.is_multiple_of(2) { all } else { some };
        let run = script.run_mixed(target, &settings);
        if let Outcome::Failed(why) = &run.outcome {
            self.complaints.push(format!("seed {seed}, {}, could not be judged: {why}\n{script}", names_of(&settings)));
        }
        if run.outcome == Outcome::NotOffered || matches!(run.outcome, Outcome::Failed(_)) {
            return;
        }
        self.with_waits += 1;
        self.failed_with_waits += usize::from(has_aborted(&run));
        if !serial::is_explained(script, &run, true) {
            let small = shrink::shrink(script, &|script| is_broken_mixed(script, target, &settings));
            self.complaints.push(format!("seed {seed}: no order explains this at {}:\n{small}", names_of(&settings)));
        }
    }
}

/// The smallest script like `script` that ends in what no order explains, with what it saw as its facts.
fn small(script: &Script, target: &Target, setting: Setting) -> Script {
    let mut small = shrink::shrink(script, &|script| is_broken(script, target, setting));
    let run = direct::run(&small, target, setting);
    let saw = run.saw.into_iter().map(|(name, seen)| Fact::Saw { name, equal: true, seen });
    let ends = run.state.into_iter().map(|(key, value)| Fact::Final { key, value: Some(value) });
    small.shown = vec![saw.chain(ends).collect()];
    small.about = format!("Found at random at {setting}, and made as small as it can be.");
    small
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Three or four sessions of a few actions each on a few keys, in a random order.
fn draw(seed: u64) -> Script {
    let mut dice = Dice::new(seed);
    let start = KEYS[..2].iter().map(|key| ((*key).to_owned(), 0)).collect();
    let mut name = 0;
    let mut sessions: Vec<Vec<Step>> = (0..3 + dice.below(2) as usize)
        .map(|session| {
            let count = 1 + dice.below(3);
            let mut steps: Vec<Step> = (0..count).map(|_| step(session, action(&mut dice, &mut name))).collect();
            steps.push(step(session, Named { action: Action::Commit, name: None }));
            steps.reverse();
            steps
        })
        .collect();
    let mut steps = Vec::new();
    while let left @ 1.. = sessions.iter().filter(|steps| !steps.is_empty()).count() as u64 {
        let which = dice.below(left) as usize;
        let next = sessions.iter_mut().filter(|steps| !steps.is_empty()).nth(which).and_then(Vec::pop);
        steps.extend(next);
    }
    Script { name: format!("random {seed}"), about: String::new(), anomaly: None, start, steps, shown: Vec::new() }
}

fn step(session: usize, action: Named) -> Step {
    Step { session, actions: vec![action] }
}

fn action(dice: &mut Dice, name: &mut i64) -> Named {
    *name += 1;
    let at = dice.below(KEYS.len() as u64) as usize;
    let key = KEYS[at].to_owned();
    let range = Span { low: key.clone(), high: KEYS.get(at + 1 + dice.below(2) as usize).unwrap_or(&"e").to_string() };
    let (action, reads) = match dice.below(10) {
        0..=3 => (Action::Get { key, lock: Lock::None }, true),
        4 => (Action::Scan { range, only: None, lock: Lock::None }, true),
        5 => (Action::Delete { key }, false),
        6 => (Action::DeleteRange { range }, false),
        _ => (Action::Put { key, value: Number { of: None, plus: *name } }, false),
    };
    Named { action, name: reads.then(|| format!("r{name}")) }
}

impl fmt::Display for RandomScripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |count: usize| count as f64 * 100.0 / self.scripts.max(1) as f64;
        writeln!(f, "{} random scripts", self.scripts)?;
        let unexplained = self.unexplained_at_snapshot;
        writeln!(f, "Snapshot: {unexplained} ended in what no order explains ({:.1} %)", percent(unexplained))?;
        let (failed, need_not) = (self.failed, self.need_not);
        writeln!(
            f,
            "Serializable: in {failed} a transaction was ended ({:.1} %), in {need_not} without need ({:.1} %)",
            percent(failed),
            percent(need_not)
        )?;
        let (runs, failed) = (self.with_waits, self.failed_with_waits);
        writeln!(f, "Serializable, all pessimistic or both modes: in {failed} of {runs} a transaction was ended")?;
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen::BackendKind;

    #[test]
    fn a_failing_script_is_made_small_and_shows_it_again() {
        let target = Target::in_memory(BackendKind::BTree);
        let found = RandomScripts::run(&target, 0..300);
        let example = found.example.expect("Snapshot permits write skew");
        assert!(example.steps.len() <= 8, "{example}");
        let again = Script::parse("again", &example.to_string()).expect("it can be read");
        assert_eq!(again.run(&target, SNAPSHOT).outcome, Outcome::Shown, "{example}");
    }
}
