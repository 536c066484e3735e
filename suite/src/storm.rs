//! Deadlock storms: threads that lock against each other, and what must come of it.
//!
//! The oracle is arithmetic, not a graph: how many victims a storm must cost follows from how it is built.
//!
//! Z1  Every storm ends: all transactions commit in the end, those that were given up by running again.
//! Z2  No wait runs out of time, and none did while there was a circle.
//! Z3  A circle costs one victim and names all its members; `n` upgraders of one key cost n - 1.
//! Z4  Locks taken in one order cost no victim at all.

use std::fmt;
use std::time::Duration;

use duramen::{
    AgeTicket, Concurrency, Database, Error, IsolationLevel, Keyspace, Reader, Result, Transaction, TxnOptions,
};

use crate::dice::Dice;
use crate::target::Target;
use crate::threads::{AtomicU64, Barrier, Ordering, scope, yield_now};

/// A wait as long as this is one that nothing ends.
const TIMEOUT: Duration = Duration::from_secs(60);
const THREADS: usize = 8;
/// Transactions of each thread in storms that go on.
const TRANSACTIONS: u64 = 40;
const KEYS: u64 = 6;

/// What deadlock storms came to.
///
/// ```
/// use duramen::BackendKind;
/// use duramen_suite::{Storms, Target};
/// let found = Storms::run(&Target::in_memory(BackendKind::BTree), 1)?;
/// assert!(found.complaints.is_empty(), "{:?}", found.complaints);
/// let sorted = found.rows.iter().find(|row| row.name == "keys in one order").expect("it is there");
/// assert_eq!(sorted.victims, 0);
/// println!("{found}");
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Storms {
    /// What is not as it must be.
    pub complaints: Vec<String>,
    /// One for each storm.
    pub rows: Vec<StormRow>,
    /// Members of the newest deadlock of the last storm.
    last_report: Option<usize>,
}

/// What one storm came to.
///
/// See [`Storms`] for an example.
#[derive(Clone, Debug)]
pub struct StormRow {
    /// What was done.
    pub name: String,
    /// Transactions that committed in the end.
    pub committed: usize,
    /// Times one was given up, and ran again.
    pub victims: usize,
    /// How many that must be, where it follows from the storm.
    pub expected: Option<usize>,
    /// The most times one transaction was given up.
    pub most_retries: usize,
}

/// What a transaction of a circle does first, and then: they want one another's.
type Half = fn(&Transaction, &Keyspace, usize) -> Result<()>;

impl Storms {
    /// Runs every storm in a new database.
    ///
    /// # Errors
    /// What the engine answered that no transaction should meet; `Unsupported` if it has no pessimistic mode.
    pub fn run(target: &Target, seed: u64) -> Result<Storms> {
        let mut found = Storms::default();
        for members in [2, 3, 5, 8, 16] {
            let (first, then): (Half, Half) = (|tx, ks, key| lock(tx, ks, key), |tx, ks, key| lock(tx, ks, key));
            found.circle(target, format!("circle of {members} keys"), members, first, then)?;
        }
        let scan: Half =
            |tx, ks, key| tx.range(ks, format!("k{key:03}")..format!("k{key:03}~"))?.try_for_each(|row| row.map(drop));
        let insert: Half = |tx, ks, key| tx.put(ks, format!("k{key:03}new"), "1");
        found.circle(target, "circle of ranges and inserts".to_owned(), 2, scan, insert)?;
        found.circle(target, "circle of four ranges".to_owned(), 4, scan, insert)?;
        let delete: Half = |tx, ks, key| tx.delete_range(ks, format!("k{key:03}"), format!("k{key:03}~"));
        found.circle(target, "circle of range deletes".to_owned(), 3, delete, delete)?;
        for upgraders in [2, 4, 8] {
            found.upgrades(target, upgraders)?;
        }
        found.work(target, "keys in random order", seed, |keys, dice| keys.sort_by_key(|_| dice.next()))?;
        found.work(target, "keys in one order", seed, |keys, _| keys.sort_unstable())?;
        let sorted = found.rows.last().map_or(0, |row| row.victims);
        if sorted > 0 {
            found.complaints.push(format!("Z4: {sorted} victims though all locked in one order"));
        }
        Ok(found)
    }

    /// Each does `first` with its own key, and when all have, `then` with the next one's.
    fn circle(&mut self, target: &Target, name: String, members: usize, first: Half, then: Half) -> Result<()> {
        let (barrier, done) = (Barrier::new(members), AtomicU64::new(0));
        let (barrier, done) = (&barrier, &done);
        self.storm(target, name, members, Some(1), |db, keyspace, member| {
            let mut attempt = 0;
            let outcome = run_again(db, IsolationLevel::Serializable, |tx| {
                attempt += 1;
                // The circle is broken when the others are done; who comes back earlier may close it anew.
                while attempt > 1 && done.load(Ordering::SeqCst) < members as u64 - 1 {
                    yield_now();
                }
                first(tx, keyspace, member)?;
                if attempt == 1 {
                    barrier.wait();
                }
                then(tx, keyspace, (member + 1) % members)
            });
            done.fetch_add(1, Ordering::SeqCst);
            outcome
        })?;
        self.check_report(members);
        Ok(())
    }

    fn upgrades(&mut self, target: &Target, upgraders: usize) -> Result<()> {
        let barrier = Barrier::new(upgraders);
        let barrier = &barrier;
        let name = format!("{upgraders} upgrades of one key");
        self.storm(target, name, upgraders, Some(upgraders - 1), |db, keyspace, _| {
            let mut attempt = 0;
            run_again(db, IsolationLevel::ReadCommitted, |tx| {
                attempt += 1;
                // Who runs again asks for the right lock at once.
                if attempt == 1 {
                    tx.get_for_share(keyspace, key_of(0))?;
                    barrier.wait();
                }
                tx.put(keyspace, key_of(0), "1")
            })
        })
    }

    /// Transactions that lock three keys each, in the order that `arrange` gives them.
    fn work(&mut self, target: &Target, name: &str, seed: u64, arrange: fn(&mut Vec<u64>, &mut Dice)) -> Result<()> {
        self.storm(target, name.to_owned(), THREADS, None, |db, keyspace, thread| {
            let mut dice = Dice::new(seed * 1000 + thread as u64);
            let (mut sum, mut most) = (0, 0);
            for _ in 0..TRANSACTIONS {
                let mut keys: Vec<u64> = (0..KEYS).collect();
                keys.sort_by_key(|_| dice.next());
                keys.truncate(3);
                arrange(&mut keys, &mut dice);
                let mut runs = 0;
                db.update_with(options(IsolationLevel::ReadCommitted), |tx| {
                    runs += 1;
                    keys.iter().try_for_each(|key| {
                        lock(tx, keyspace, *key as usize)?;
                        if dice.one_in(4) {
                            yield_now();
                        }
                        Ok(())
                    })
                })?;
                (sum, most) = (sum + runs - 1, most.max(runs - 1));
            }
            Ok((sum, most))
        })
    }

    fn storm(
        &mut self,
        target: &Target,
        name: String,
        threads: usize,
        expected: Option<usize>,
        work: impl Fn(&Database, &Keyspace, usize) -> Result<(usize, usize)> + Sync,
    ) -> Result<()> {
        let (db, keyspace) = target.open()?;
        db.update(|tx| (0..threads).try_for_each(|key| tx.put(&keyspace, key_of(key), "0")))?;
        let done: Vec<Result<(usize, usize)>> = scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|thread| {
                    let (db, keyspace, work) = (&db, &keyspace, &work);
                    scope.spawn(move || work(db, keyspace, thread))
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
        });
        let mut row = StormRow { name, committed: 0, victims: 0, expected, most_retries: 0 };
        for outcome in done {
            let (victims, most) = outcome?;
            row.victims += victims;
            row.most_retries = row.most_retries.max(most);
            row.committed += 1;
        }
        let locks = db.stats().locks;
        let name = &row.name;
        if expected.is_some_and(|expected| expected != row.victims) {
            self.complaints.push(format!("Z3: {name}: {} victims, {expected:?} must be", row.victims));
        }
        if locks.timeouts > 0 || locks.missed_circles > 0 {
            let (timeouts, missed) = (locks.timeouts, locks.missed_circles);
            self.complaints.push(format!("Z2: {name}: {timeouts} waits out of time, {missed} circles missed"));
        }
        if locks.held > 0 || locks.waiting > 0 {
            self.complaints
                .push(format!("Z1: {name}: {} locks held and {} waiting in the end", locks.held, locks.waiting));
        }
        self.last_report = db.deadlocks().first().map(|report| report.members.len());
        self.rows.push(row);
        Ok(())
    }

    /// Z3.
    fn check_report(&mut self, members: usize) {
        let reported = self.last_report.take();
        if reported != Some(members) {
            let name = self.rows.last().map_or("", |row| &row.name);
            self.complaints.push(format!("Z3: {name}: the report has {reported:?} members"));
        }
    }
}

fn key_of(key: usize) -> String {
    format!("k{key:03}")
}

fn lock(tx: &Transaction, keyspace: &Keyspace, key: usize) -> Result<()> {
    tx.get_for_update(keyspace, key_of(key))?;
    tx.put(keyspace, key_of(key), "1")
}

fn options(level: IsolationLevel) -> TxnOptions {
    TxnOptions::default().isolation(level).concurrency(Concurrency::Pessimistic).lock_timeout(TIMEOUT)
}

/// Runs `work` until it commits, with the age of the first attempt; how often it was given up, twice.
fn run_again(
    db: &Database,
    level: IsolationLevel,
    mut work: impl FnMut(&Transaction) -> Result<()>,
) -> Result<(usize, usize)> {
    let options = options(level);
    let mut age: Option<AgeTicket> = None;
    let mut victims = 0;
    loop {
        let options = match age {
            Some(age) => options.clone().retry_of(age),
            None => options.clone(),
        };
        let tx = db.begin_with(options)?;
        age = tx.age().map(AgeTicket::next_attempt);
        match work(&tx).and_then(|()| tx.commit()) {
            Ok(_) => return Ok((victims, victims)),
            Err(Error::Deadlock(_)) => victims += 1,
            Err(error) => return Err(error),
        }
    }
}

impl fmt::Display for Storms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let expected = row.expected.map_or(String::new(), |expected| format!(", {expected} must be"));
            let (name, victims, most) = (&row.name, row.victims, row.most_retries);
            writeln!(f, "{name:32} {victims:6} victims{expected}; at most {most} of one transaction")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}
