//! The ways to choose a victim, and wound-wait, on the same work: what each costs, in counts.

use std::fmt;
use std::ops::Range;

use duramen::{BackendKind, DeadlockHandling, Error, Result, VictimPolicy};

use super::{StormRow, Storms, mixed};
use crate::target::Target;

/// What the same work cost under each way to deal with deadlocks.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::LockPolicies;
/// let found = LockPolicies::run(BackendKind::BTree, 0..1)?;
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// assert!(found.rows.iter().any(|(way, _)| way == "WoundWait"));
/// println!("{found}");
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LockPolicies {
    /// What is not as it must be.
    pub complaints: Vec<String>,
    /// The way, and what a storm came to.
    pub rows: Vec<(String, StormRow)>,
}

/// Each way by name.
const WAYS: [(&str, VictimPolicy, DeadlockHandling); 7] = [
    ("Youngest", VictimPolicy::Youngest, DeadlockHandling::Detect),
    ("Oldest", VictimPolicy::Oldest, DeadlockHandling::Detect),
    ("FewestLocks", VictimPolicy::FewestLocks, DeadlockHandling::Detect),
    ("LeastWork", VictimPolicy::LeastWork, DeadlockHandling::Detect),
    ("Requester", VictimPolicy::Requester, DeadlockHandling::Detect),
    ("Priority", VictimPolicy::Priority, DeadlockHandling::Detect),
    ("WoundWait", VictimPolicy::Youngest, DeadlockHandling::WoundWait),
];

impl LockPolicies {
    /// Runs the storms whose cost depends on it for each seed, each way in a new database in memory.
    ///
    /// # Errors
    /// As [`Storms::run`].
    pub fn run(backend: BackendKind, seeds: Range<u64>) -> Result<LockPolicies> {
        let mut found = LockPolicies::default();
        for ((way, policy, handling), seed) in
            WAYS.into_iter().flat_map(|way| seeds.clone().map(move |seed| (way, seed)))
        {
            let target = Target::with_locks(backend, policy, handling);
            let mut storms = Storms { prevents: handling == DeadlockHandling::WoundWait, ..Storms::default() };
            match storms.of_any_cost(&target, seed) {
                Ok(()) => {}
                Err(Error::Unsupported { .. }) => continue,
                Err(error) => return Err(error),
            }
            found.complaints.extend(storms.complaints.into_iter().map(|complaint| format!("{way}: {complaint}")));
            storms.rows.into_iter().for_each(|row| found.add(way, row));
        }
        Ok(found)
    }

    fn add(&mut self, way: &str, row: StormRow) {
        match self.rows.iter_mut().find(|(of, known)| of == way && known.name == row.name) {
            Some((_, sum)) => sum.add(&row),
            None => self.rows.push((way.to_owned(), row)),
        }
    }
}

impl StormRow {
    fn add(&mut self, other: &StormRow) {
        self.committed += other.committed;
        self.victims += other.victims;
        self.most_retries = self.most_retries.max(other.most_retries);
        self.waits += other.waits;
    }
}

impl Storms {
    /// The storms in which the number of victims is not fixed, and a circle that costs one.
    fn of_any_cost(&mut self, target: &Target, seed: u64) -> Result<()> {
        if !self.prevents {
            self.circles_of_keys(target, &[2, 8])?;
        }
        self.work(target, "keys in random order", seed, |keys, dice| keys.sort_by_key(|_| dice.next()))?;
        self.work(target, "keys in one order", seed, |keys, _| keys.sort_unstable())?;
        self.everything(target, "everything in random order", seed, mixed::draw)?;
        self.everything(target, "everything from low to high", seed, mixed::draw_ascending)?;
        self.complain_of_ordered();
        Ok(())
    }
}

impl fmt::Display for LockPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| storm | way | commits | given up | for 100 commits | most for one | requests that waited |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        for (way, row) in rows {
            let rate = row.victims as f64 * 100.0 / row.committed.max(1) as f64;
            let (name, committed, victims, most, waits) =
                (&row.name, row.committed, row.victims, row.most_retries, row.waits);
            writeln!(f, "| {name} | {way} | {committed} | {victims} | {rate:.1} | {most} | {waits} |")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}
