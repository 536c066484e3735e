//! Deadlock storms: threads that lock against each other, and what must come of it.
//!
//! The oracle is arithmetic, not a graph: how many victims a storm must cost follows from how it is built. Where it does not, `storm/oracle.rs` finds out
//! afterwards whether each victim was in a circle. `storm/mixed.rs` has the storms of everything that can be locked, `storm/policies.rs` compares
//! the ways to choose a victim, and preventing circles.
//!
//! Z1  Every storm ends: all transactions commit in the end, those that were given up by running again.
//! Z2  No wait runs out of time, and none did while there was a circle.
//! Z3  A circle costs one victim and names all its members; `n` upgraders of one key cost n - 1.
//! Z4  Locks taken in one order cost no victim at all.
//! Z5  Every victim of detection was in a circle.

use std::fmt;
use std::time::Duration;

use duramen::{
    AgeTicket, Concurrency, Database, Error, IsolationLevel, Keyspace, LockMode, Reader, Result, Transaction,
    TxnOptions,
};

use crate::dice::Dice;
use crate::target::Target;
use crate::threads::{AtomicU64, Barrier, Ordering, scope, yield_now};
use oracle::Notes;
pub use policies::LockPolicies;

mod mixed;
mod oracle;
mod policies;

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
    /// Victims that were in no circle (Z5).
    pub false_victims: usize,
    /// Waits that ran out of time, and those that did although there was a circle (Z2).
    pub timeouts: u64,
    /// See [`Storms::timeouts`].
    pub missed_circles: u64,
    /// Whether circles are prevented, so that nobody is given up for one.
    prevents: bool,
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
    /// Requests that waited.
    pub waits: u64,
}

/// What a transaction of a circle does first, and then: they want one another's.
type Half = fn(&Transaction, &[Keyspace], usize) -> Result<()>;

/// What a thread of a storm came to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    committed: usize,
    victims: usize,
    most_retries: usize,
}

impl Storms {
    /// Runs every storm in a new database.
    ///
    /// # Errors
    /// What the engine answered that no transaction should meet; `Unsupported` if it has no pessimistic mode.
    pub fn run(target: &Target, seed: u64) -> Result<Storms> {
        let mut found = Storms::default();
        found.circles(target)?;
        for upgraders in [2, 4, 8] {
            found.upgrades(target, upgraders)?;
        }
        found.work(target, "keys in random order", seed, |keys, dice| keys.sort_by_key(|_| dice.next()))?;
        found.work(target, "keys in one order", seed, |keys, _| keys.sort_unstable())?;
        found.everything(target, "everything in random order", seed, mixed::draw)?;
        found.everything(target, "everything from low to high", seed, mixed::draw_ascending)?;
        found.complain_of_ordered();
        Ok(found)
    }

    /// Z4. Wounding is not the answer to a circle, so it may strike where none can be.
    fn complain_of_ordered(&mut self) {
        for row in self.rows.iter().filter(|row| row.victims > 0 && !self.prevents) {
            if matches!(row.name.as_str(), "keys in one order" | "everything from low to high") {
                self.complaints.push(format!("Z4: {}: {} victims", row.name, row.victims));
            }
        }
    }

    fn circles_of_keys(&mut self, target: &Target, lengths: &[usize]) -> Result<()> {
        let key: Half = |tx, ks, key| lock(tx, &ks[0], key);
        lengths
            .iter()
            .try_for_each(|&members| self.circle(target, format!("circle of {members} keys"), members, key, key))
    }

    /// Circles of every length and of everything that can be locked.
    fn circles(&mut self, target: &Target) -> Result<()> {
        self.circles_of_keys(target, &[2, 3, 5, 8, 16, 32, 64])?;
        let scan: Half = |tx, ks, key| tx.range(&ks[0], span_of(key))?.try_for_each(|row| row.map(drop));
        let insert: Half = |tx, ks, key| tx.put(&ks[0], format!("k{key:03}new"), "1");
        self.circle(target, "circle of ranges and inserts".to_owned(), 2, scan, insert)?;
        self.circle(target, "circle of four ranges".to_owned(), 4, scan, insert)?;
        let delete: Half = |tx, ks, key| tx.delete_range(&ks[0], format!("k{key:03}"), format!("k{key:03}~"));
        self.circle(target, "circle of range deletes".to_owned(), 3, delete, delete)?;
        let range: Half = |tx, ks, key| tx.lock_range(&ks[0], span_of(key), LockMode::Exclusive);
        for members in [2, 7, 24] {
            self.circle(target, format!("circle of {members} ranges by hand"), members, range, range)?;
        }
        let keyspace: Half = |tx, ks, key| tx.lock_keyspace(&ks[key], LockMode::Exclusive);
        let inside: Half = |tx, ks, key| lock(tx, &ks[key], 0);
        self.circle(target, "circle of 2 keyspaces".to_owned(), 2, keyspace, keyspace)?;
        self.circle(target, "circle of 6 keyspaces and keys in them".to_owned(), 6, keyspace, inside)?;
        // A third of each: a key and a range of the first keyspace, and a keyspace of its own.
        let of_all: Half = |tx, ks, member| match member % 3 {
            0 => lock(tx, &ks[0], member),
            1 => tx.lock_range(&ks[0], span_of(member), LockMode::Exclusive),
            _ => tx.lock_keyspace(&ks[member], LockMode::Shared),
        };
        let of_all_then: Half = |tx, ks, member| match member % 3 {
            0 => tx.lock_range(&ks[0], span_of(member), LockMode::Shared),
            1 => tx.put(&ks[0], key_of(member), "2"),
            _ => tx.put(&ks[member], key_of(0), "2"),
        };
        for members in [3, 12, 33] {
            self.circle(target, format!("circle of {members} keys, ranges, keyspaces"), members, of_all, of_all_then)?;
        }
        Ok(())
    }

    /// Transactions that lock what `draw` says, each victim held against the oracle.
    fn everything(
        &mut self,
        target: &Target,
        name: &str,
        seed: u64,
        draw: fn(&mut Dice) -> Vec<mixed::Lock>,
    ) -> Result<()> {
        let notes = Notes::default();
        self.storm(target, name.to_owned(), THREADS, None, |db, keyspaces, thread| {
            let (mut drawing, mut pauses) = (Dice::new(seed * 1000 + thread as u64), Dice::new(seed + thread as u64));
            let mut tally = Tally::default();
            for _ in 0..TRANSACTIONS {
                let locks = draw(&mut drawing);
                tally.add(run_noted(db, &notes, |tx, noting| {
                    mixed::take_all(&locks, tx, keyspaces, noting, &mut pauses)
                })?);
            }
            Ok(tally)
        })?;
        let (false_victims, judged) = notes.judge();
        if self.prevents {
            return Ok(());
        }
        self.false_victims += false_victims;
        if false_victims > 0 {
            self.complaints.push(format!("Z5: {name}: {false_victims} of {judged} victims were in no circle"));
        }
        Ok(())
    }

    /// Each does `first` with its own key, and when all have, `then` with the next one's.
    fn circle(&mut self, target: &Target, name: String, members: usize, first: Half, then: Half) -> Result<()> {
        let (barrier, done) = (Barrier::new(members), AtomicU64::new(0));
        let (barrier, done) = (&barrier, &done);
        self.storm(target, name, members, Some(1), |db, keyspaces, member| {
            let mut attempt = 0;
            let outcome = run_again(db, IsolationLevel::Serializable, |tx| {
                attempt += 1;
                // The circle is broken when the others are done; who comes back earlier may close it anew.
                while attempt > 1 && done.load(Ordering::SeqCst) < members as u64 - 1 {
                    yield_now();
                }
                first(tx, keyspaces, member)?;
                if attempt == 1 {
                    barrier.wait();
                }
                then(tx, keyspaces, (member + 1) % members)
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
        self.storm(target, name, upgraders, Some(upgraders - 1), |db, keyspaces, _| {
            let (mut attempt, keyspace) = (0, &keyspaces[0]);
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
        self.storm(target, name.to_owned(), THREADS, None, |db, keyspaces, thread| {
            let mut dice = Dice::new(seed * 1000 + thread as u64);
            let mut tally = Tally::default();
            for _ in 0..TRANSACTIONS {
                let mut keys: Vec<u64> = (0..KEYS).collect();
                keys.sort_by_key(|_| dice.next());
                keys.truncate(3);
                arrange(&mut keys, &mut dice);
                let mut runs = 0;
                db.update_with(options(IsolationLevel::ReadCommitted), |tx| {
                    runs += 1;
                    keys.iter().try_for_each(|key| {
                        lock(tx, &keyspaces[0], *key as usize)?;
                        if dice.one_in(4) {
                            yield_now();
                        }
                        Ok(())
                    })
                })?;
                tally.add(Tally { committed: 1, victims: runs - 1, most_retries: runs - 1 });
            }
            Ok(tally)
        })
    }

    fn storm(
        &mut self,
        target: &Target,
        name: String,
        threads: usize,
        expected: Option<usize>,
        work: impl Fn(&Database, &[Keyspace], usize) -> Result<Tally> + Sync,
    ) -> Result<()> {
        let (db, keyspace) = target.open()?;
        let keys = threads.max(KEYS as usize);
        db.update(|tx| (0..keys).try_for_each(|key| tx.put(&keyspace, key_of(key), "0")))?;
        // As many as there are threads, for circles of keyspaces; the first holds the keys.
        let mut keyspaces = vec![keyspace];
        for number in 1..threads.max(mixed::KEYSPACES) {
            keyspaces.push(db.keyspace(&format!("suite{number}"), keyspaces[0].options())?);
        }
        let done: Vec<Result<Tally>> = scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|thread| {
                    let (db, keyspaces, work) = (&db, &keyspaces, &work);
                    scope.spawn(move || work(db, keyspaces, thread))
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
        });
        let mut sum = Tally::default();
        done.into_iter().try_for_each(|outcome| outcome.map(|tally| sum.add(tally)))?;
        let locks = db.stats().locks;
        let Tally { committed, victims, most_retries } = sum;
        let row = StormRow { name, committed, victims, expected, most_retries, waits: locks.blocked };
        self.timeouts += locks.timeouts;
        self.missed_circles += locks.missed_circles;
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

impl Tally {
    fn add(&mut self, other: Tally) {
        self.committed += other.committed;
        self.victims += other.victims;
        self.most_retries = self.most_retries.max(other.most_retries);
    }
}

fn key_of(key: usize) -> String {
    format!("k{key:03}")
}

/// What begins with the name of a key.
fn span_of(key: usize) -> std::ops::Range<String> {
    key_of(key)..format!("k{key:03}~")
}

fn lock(tx: &Transaction, keyspace: &Keyspace, key: usize) -> Result<()> {
    tx.get_for_update(keyspace, key_of(key))?;
    tx.put(keyspace, key_of(key), "1")
}

fn options(level: IsolationLevel) -> TxnOptions {
    TxnOptions::default().isolation(level).concurrency(Concurrency::Pessimistic).lock_timeout(TIMEOUT)
}

/// Runs `work` until it commits, with the age of the first attempt; how often it was given up, twice.
fn run_again(db: &Database, level: IsolationLevel, mut work: impl FnMut(&Transaction) -> Result<()>) -> Result<Tally> {
    run_again_with(db, options(level), |_| {}, |tx| work(tx))
}

/// As `run_again` at Serializable, noting what it asks for.
fn run_noted(
    db: &Database,
    notes: &Notes,
    mut work: impl FnMut(&Transaction, &mut oracle::Noting<'_>) -> Result<()>,
) -> Result<Tally> {
    let noting = std::cell::RefCell::new(None);
    let end = |is_victim| noting.take().map_or((), |noting: oracle::Noting<'_>| noting.end(is_victim));
    run_again_with(db, options(IsolationLevel::Serializable), end, |tx| {
        work(tx, noting.borrow_mut().get_or_insert_with(|| notes.begin()))
    })
}

/// Runs `work` until it commits; `end` is told after the end of each attempt whether it was given up.
fn run_again_with(
    db: &Database,
    options: TxnOptions,
    end: impl Fn(bool),
    mut work: impl FnMut(&Transaction) -> Result<()>,
) -> Result<Tally> {
    let mut age: Option<AgeTicket> = None;
    let mut victims = 0;
    loop {
        let options = match age {
            Some(age) => options.clone().retry_of(age),
            None => options.clone(),
        };
        let tx = db.begin_with(options)?;
        age = tx.age().map(AgeTicket::next_attempt);
        let outcome = work(&tx).and_then(|()| tx.commit());
        end(matches!(outcome, Err(Error::Deadlock(_))));
        match outcome {
            Ok(_) => return Ok(Tally { committed: 1, victims, most_retries: victims }),
            Err(Error::Deadlock(_)) => victims += 1,
            Err(error) => return Err(error),
        }
    }
}

impl fmt::Display for Storms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let expected = row.expected.map_or(String::new(), |expected| format!(", {expected} must be"));
            let (name, committed, victims, most) = (&row.name, row.committed, row.victims, row.most_retries);
            writeln!(
                f,
                "{name:40} {committed:5} committed {:6} waits {victims:5} victims{expected}; at most {most} of one transaction",
                row.waits
            )?;
        }
        let (victims, timeouts, missed) = (self.false_victims, self.timeouts, self.missed_circles);
        writeln!(f, "{victims} victims in no circle, {timeouts} timeouts, {missed} of them while a circle existed")?;
        for complaint in &self.complaints {
            writeln!(f, "VIOLATION {complaint}")?;
        }
        write!(f, "{} violation(s)", self.complaints.len())
    }
}
