//! Workloads with an invariant: many threads, little memory, and a sum or a limit that must hold whatever they do.
//!
//! They judge what checkers of histories cannot see: predicates, range deletes, limits on how many keys there are. `invariant/workloads.rs` has them;
//! this file runs them.
//!
//! J1  Where a level promises the invariant, an auditing transaction that commits never finds it broken, and neither does the end of the run.
//! J2  Where it does not, what was found is counted and no complaint.
//! J3  Readers of ReadUncommitted may see anything, but writers that read with locks keep most invariants at every level: in the end they hold.
//! J4  Where levels are mixed, only what the writers of all of them keep can be promised to anybody.

mod workloads;

use std::fmt;
use std::ops::Range;

use duramen::{Database, Error, IsolationLevel, Keyspace, Result, Transaction};

use crate::dice::Dice;
use crate::locking;
use crate::script::{Lock, Span};
use crate::setting::Setting;
use crate::target::Target;
use crate::threads::{scope, yield_now};

const THREADS: usize = 8;
/// Of each thread; every fourth only audits.
const TRANSACTIONS: usize = 40;

/// What the workloads with invariants came to.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{InvariantsFound, Target};
/// let found = InvariantsFound::run(&[Target::tiny(BackendKind::Lsm)], 0..1)?;
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// let is_bank = |row: &&duramen_suite::InvariantRow| row.invariant == "bank" && row.setting == "Snapshot/Optimistic";
/// let bank = found.rows.iter().find(is_bank).expect("there is one");
/// assert!(bank.promised && bank.broken == 0 && bank.audits > 0);
/// println!("{found}");
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct InvariantsFound {
    /// Where a promised invariant was broken, with what repeats it.
    pub complaints: Vec<String>,
    /// One for each invariant and setting.
    pub rows: Vec<InvariantRow>,
}

/// What one workload came to at one setting.
///
/// See [`InvariantsFound`] for an example.
#[derive(Clone, Debug)]
pub struct InvariantRow {
    /// What must hold.
    pub invariant: &'static str,
    /// At which level and mode, or which mix.
    pub setting: String,
    /// Whether it is promised there.
    pub promised: bool,
    /// How often it was looked at, and found broken.
    pub audits: usize,
    /// How often it was found broken.
    pub broken: usize,
    /// Transactions that committed, and that the engine ended.
    pub committed: usize,
    /// Transactions that the engine ended.
    pub aborted: usize,
}

impl InvariantsFound {
    /// Runs every workload for each seed at every setting that is offered, with both modes of Serializable mixed, and with all settings mixed.
    ///
    /// # Errors
    /// What the engine answered that no transaction should meet.
    pub fn run(targets: &[Target], seeds: Range<u64>) -> Result<InvariantsFound> {
        let offered = Setting::offered(targets)?;
        let mut mixes: Vec<(String, Vec<Setting>)> = offered.iter().map(|one| (one.to_string(), vec![*one])).collect();
        let serializable = |setting: &&Setting| setting.level == IsolationLevel::Serializable;
        let both: Vec<Setting> = offered.iter().filter(serializable).copied().collect();
        if both.len() == 2 {
            mixes.push(("Serializable, both".to_owned(), both));
        }
        if offered.len() > 1 {
            mixes.push(("all mixed".to_owned(), offered));
        }
        let mut found = InvariantsFound::default();
        for workload in workloads::ALL {
            for (name, settings) in &mixes {
                found.add(*workload, name, settings, targets, &seeds)?;
            }
        }
        Ok(found)
    }

    fn add(
        &mut self,
        workload: &dyn Workload,
        name: &str,
        settings: &[Setting],
        targets: &[Target],
        seeds: &Range<u64>,
    ) -> Result<()> {
        let promised_end = settings.iter().all(|setting| workload.is_promised_in_the_end(setting.level));
        // J4: in a mix it must be one that all writers keep; its readers are held to their own levels.
        let promised = match settings {
            [one] => workload.is_promised(one.level),
            _ => promised_end,
        };
        let (setting, invariant) = (name.to_owned(), workload.name());
        let mut row = InvariantRow { invariant, setting, promised, audits: 0, broken: 0, committed: 0, aborted: 0 };
        for target in targets {
            for seed in seeds.clone() {
                let tally = match run(workload, target, settings, seed) {
                    // What the workload needs at this setting.
                    Err(Error::Unsupported { .. }) => continue,
                    tally => tally?,
                };
                row.audits += tally.audits;
                row.broken += tally.broken.len() + tally.broken_end.len();
                row.committed += tally.committed;
                row.aborted += tally.aborted;
                let what = tally.broken.iter().filter(|_| promised);
                let what = what.chain(tally.broken_end.iter().filter(|_| promised_end)).next();
                let place = format!("{invariant} of seed {seed} on {} at {name}", target.name());
                self.complaints.extend(what.map(|what| format!("{place}: {what}")));
            }
        }
        self.rows.push(row);
        Ok(())
    }
}

impl fmt::Display for InvariantsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows.iter().filter(|row| row.audits > 0) {
            let (promised, audits, broken) = (if row.promised { "promised" } else { "open" }, row.audits, row.broken);
            let head = format!("{:14} {:28} {promised:8}", row.invariant, row.setting);
            let (committed, aborted) = (row.committed, row.aborted);
            writeln!(f, "{head} {audits:7} audits {broken:6} broken {committed:8} committed {aborted:7} aborted")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}

/// What a workload does. Each method works in the transaction of its [`Hand`].
trait Workload: Sync {
    fn name(&self) -> &'static str;

    fn is_promised(&self, level: IsolationLevel) -> bool;

    /// J3.
    fn is_promised_in_the_end(&self, level: IsolationLevel) -> bool {
        self.is_promised(level)
    }

    fn start(&self, hand: &mut Hand<'_>) -> Result<()>;

    /// One transaction; returns a number to be remembered if it commits.
    fn work(&self, hand: &mut Hand<'_>) -> Result<Option<i64>>;

    /// What is wrong, as one transaction sees it.
    fn audit(&self, hand: &mut Hand<'_>) -> Result<Option<String>>;

    /// What is wrong with the numbers remembered, in the end.
    fn judge(&self, _remembered: &[i64], _hand: &mut Hand<'_>) -> Result<Option<String>> {
        Ok(None)
    }
}

/// A transaction with the calls that workloads make.
struct Hand<'a> {
    tx: &'a Transaction,
    keyspace: &'a Keyspace,
    /// How reads protect what is written from them: below RepeatableRead only locks do.
    lock: Lock,
    /// How seldom it gives way to others.
    pauses_once_in: u64,
    dice: &'a mut Dice,
}

impl Hand<'_> {
    /// Reads what will be written from.
    fn number(&mut self, key: &str) -> Result<Option<i64>> {
        self.pause();
        locking::get(self.tx, self.keyspace, key, self.lock)
    }

    fn rows(&mut self, low: &str, high: &str) -> Result<Vec<(String, i64)>> {
        self.pause();
        let range = Span { low: low.to_owned(), high: high.to_owned() };
        locking::scan(self.tx, self.keyspace, &range, Lock::None)
    }

    fn put(&mut self, key: &str, number: i64) -> Result<()> {
        self.pause();
        self.tx.put(self.keyspace, key, number.to_string())
    }

    fn delete_range(&mut self, low: &str, high: &str) -> Result<()> {
        self.pause();
        self.tx.delete_range(self.keyspace, low, high)
    }

    /// Lets others come in between.
    fn pause(&mut self) {
        if self.dice.one_in(self.pauses_once_in) {
            yield_now();
        }
    }
}

#[derive(Default)]
struct Tally {
    audits: usize,
    broken: Vec<String>,
    broken_end: Vec<String>,
    committed: usize,
    aborted: usize,
    remembered: Vec<i64>,
}

fn run(workload: &dyn Workload, target: &Target, settings: &[Setting], seed: u64) -> Result<Tally> {
    let (db, keyspace) = target.open()?;
    let mut dice = Dice::new(seed);
    db.update(|tx| {
        workload.start(&mut Hand { tx, keyspace: &keyspace, lock: Lock::None, pauses_once_in: 2, dice: &mut dice })
    })?;
    let tallies: Vec<Result<Tally>> = scope(|threads| {
        let started: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                let (db, keyspace) = (&db, &keyspace);
                threads.spawn(move || run_thread(workload, db, keyspace, settings, Dice::new(seed * 100 + thread)))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    });
    let mut sum = Tally::default();
    for tally in tallies {
        let tally = tally?;
        sum.audits += tally.audits;
        sum.committed += tally.committed;
        sum.aborted += tally.aborted;
        sum.broken.extend(tally.broken);
        sum.remembered.extend(tally.remembered);
    }
    let tx = db.begin()?;
    let mut hand = Hand { tx: &tx, keyspace: &keyspace, lock: Lock::None, pauses_once_in: 2, dice: &mut dice };
    sum.audits += 1;
    let remembered = std::mem::take(&mut sum.remembered);
    sum.broken_end.extend(workload.audit(&mut hand)?.map(|what| format!("in the end: {what}")));
    sum.broken_end.extend(workload.judge(&remembered, &mut hand)?);
    Ok(sum)
}

fn run_thread(
    workload: &dyn Workload,
    db: &Database,
    keyspace: &Keyspace,
    settings: &[Setting],
    mut dice: Dice,
) -> Result<Tally> {
    let mut tally = Tally::default();
    for number in 0..TRANSACTIONS {
        let setting = dice.of(settings);
        let lock = match setting.level {
            IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => Lock::Update,
            IsolationLevel::RepeatableRead | IsolationLevel::Snapshot | IsolationLevel::Serializable => Lock::None,
        };
        let tx = db.begin_with(setting.options())?;
        let mut hand = Hand { tx: &tx, keyspace, lock, pauses_once_in: setting.pauses_once_in(), dice: &mut dice };
        let is_audit = number % 4 == 3;
        let done = if is_audit {
            workload.audit(&mut hand).map(|broken| (broken, None))
        } else {
            workload.work(&mut hand).map(|remember| (None, remember))
        };
        match done.and_then(|done| tx.commit().map(|_| done)) {
            Ok((broken, remember)) => {
                // J4.
                let promised = workload.is_promised(setting.level) || settings.len() == 1;
                tally.broken.extend(broken.filter(|_| promised));
                tally.audits += usize::from(is_audit);
                tally.remembered.extend(remember);
                tally.committed += 1;
            }
            Err(error) if error.is_retryable() => tally.aborted += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(tally)
}
