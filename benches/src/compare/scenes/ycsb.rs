//! YCSB A to F (Cooper et al. 2010), each operation a transaction of its own.
//!
//! A half reads, half updates; B one update in twenty; C reads; D reads of the newest, one insert in twenty; E scans of 1 to 100 entries, one
//! insert in twenty; F half reads, half read-modify-writes. Keys by popularity. What F adds up and what D and E insert is checked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::compare::data::{Picker, Values, index_of, serial_of};
use crate::compare::stand::{Stand, get_each, get_own, offered, same, wrong};
use crate::compare::threads::{Body, Tally, run as run_threads};
use crate::keys::{Random, key};
use crate::peer::{Class, Engine, Outcome, Session, Span};

/// A letter, and of twenty operations how many are not reads.
const LETTERS: [(char, u64); 6] = [('A', 10), ('B', 1), ('C', 0), ('D', 1), ('E', 1), ('F', 10)];
/// Longest scan of E.
const SCAN_MAX: u64 = 100;

pub(super) fn run(stand: &mut Stand, class: Class) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.writes)?;
    offered(stand.entry.offer.atomic)?;
    let (engine, keys) = (stand.open("ycsb", class, stand.entry.mode(), 1)?, stand.plan.keys);
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    let (popular, mut inserted) = (Picker::zipfian(0, keys), 0);
    for threads in stand.plan.mixed_threads.clone() {
        for (letter, writes) in LETTERS {
            if letter == 'E' && stand.entry.offer.scans.is_err() {
                stand.without("E", stand.entry.offer.scans.err().unwrap_or_default());
                continue;
            }
            let before = if letter == 'F' { get_each(&*engine, 0, keys)? } else { 0 };
            let done = Done::default();
            let of_thread = |thread: usize| Client {
                letter,
                writes,
                picker: popular.reseeded(stand.seed(thread as u64 + 50)),
                random: Random::new(stand.seed(thread as u64 + 90)),
                values: stand.values(),
                value: Vec::new(),
                base: keys + inserted,
                inserts: 0,
                updates: 0,
                stride: threads as u64,
                thread: thread as u64,
                done: &done,
            };
            let bodies = (0..threads).map(of_thread).map(body).collect();
            let counted = run_threads(&*engine, &stand.folder, stand.plan.slice(), bodies)?;
            stand.more(&letter.to_string(), threads, "transactions/s", counted.per_second);
            stand.cpu(&letter.to_string(), threads, &counted);
            stand.tails(&letter.to_string(), threads, &counted);
            check_inserts(&*engine, keys + inserted, threads as u64, &done.per_thread)?;
            // Threads insert at different speeds and leave gaps: the next letter begins behind all of them.
            inserted +=
                done.per_thread.iter().map(|count| count.load(Ordering::Relaxed)).max().unwrap_or(0) * threads as u64;
            if letter == 'F' {
                same("the sum that F added to", get_each(&*engine, 0, keys)?, before + done.added.into_inner())?;
            }
        }
    }
    Ok(())
}

/// What all threads did.
struct Done {
    added: AtomicU64,
    per_thread: Vec<AtomicU64>,
}

impl Default for Done {
    fn default() -> Done {
        Done { added: AtomicU64::new(0), per_thread: (0..64).map(|_| AtomicU64::new(0)).collect() }
    }
}

struct Client<'a> {
    letter: char,
    writes: u64,
    picker: Picker,
    random: Random,
    values: Values,
    value: Vec<u8>,
    base: u64,
    inserts: u64,
    updates: u64,
    stride: u64,
    thread: u64,
    done: &'a Done,
}

fn body(mut client: Client<'_>) -> impl Body {
    move |session, tally| client.step(session, tally)
}

impl Client<'_> {
    fn step(&mut self, session: &mut dyn Session, tally: &mut Tally) -> Outcome<()> {
        let is_write = self.random.below(20) < self.writes;
        let begun = std::time::Instant::now();
        match (self.letter, is_write) {
            ('D' | 'E', true) => self.insert(session, tally)?,
            ('F', true) => self.modify(session, tally)?,
            (_, true) => self.update(session, tally)?,
            ('D', false) => self.read_newest(session)?,
            ('E', false) => self.scan(session)?,
            (_, false) => {
                let index = self.picker.pick();
                session.read(&mut |tx| get_own(tx, 0, index).map(drop))?;
            }
        }
        tally.latency.add(begun.elapsed().as_nanos() as u64);
        tally.operations += 1;
        Ok(())
    }

    fn update(&mut self, session: &mut dyn Session, tally: &mut Tally) -> Outcome<()> {
        let index = self.picker.pick();
        // Another value than the one that is there: some engines notice that nothing changes, and write nothing.
        self.updates += 1;
        self.values.fill(&mut self.value, index, self.updates);
        let value = &self.value;
        tally.until_committed(|| session.write(&mut |tx| tx.put(0, &key(index), value)))
    }

    fn modify(&mut self, session: &mut dyn Session, tally: &mut Tally) -> Outcome<()> {
        let index = self.picker.pick();
        let (values, value) = (&self.values, &mut self.value);
        tally.until_committed(|| {
            session.write(&mut |tx| {
                let mut serial = None;
                tx.get_for_update(0, &key(index), &mut |value| serial = Some(serial_of(value)))?;
                let Some(serial) = serial else { return wrong(format!("key {index} is missing")) };
                values.fill(value, index, serial + 1);
                tx.put(0, &key(index), value)
            })
        })?;
        self.done.added.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn own(&self, number: u64) -> u64 {
        self.base + number * self.stride + self.thread
    }

    fn insert(&mut self, session: &mut dyn Session, tally: &mut Tally) -> Outcome<()> {
        let index = self.own(self.inserts);
        self.values.fill(&mut self.value, index, 0);
        let value = &self.value;
        tally.until_committed(|| session.write(&mut |tx| tx.put(0, &key(index), value)))?;
        self.inserts += 1;
        self.done.per_thread[self.thread as usize].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// One of the last that this thread inserted, else any.
    fn read_newest(&mut self, session: &mut dyn Session) -> Outcome<()> {
        let any = self.picker.pick();
        let index = if self.inserts == 0 { any } else { self.own(self.inserts - 1 - any % self.inserts.min(100)) };
        session.read(&mut |tx| get_own(tx, 0, index).map(drop))
    }

    fn scan(&mut self, session: &mut dyn Session) -> Outcome<()> {
        let (index, limit) = (self.picker.pick(), self.random.below(SCAN_MAX) as usize + 1);
        let (from, mut first) = (key(index), None);
        session.read(&mut |tx| {
            first = None;
            let span = Span { from: Some(&from), limit, reverse: false };
            tx.scan(0, span, &mut |_, value| {
                first.get_or_insert(index_of(value));
            })
            .map(drop)
        })?;
        same("the first entry of a scan", first, Some(index))
    }
}

/// Every insert that was acknowledged is there.
fn check_inserts(engine: &dyn Engine, base: u64, threads: u64, counts: &[AtomicU64]) -> Outcome<()> {
    engine.session()?.read(&mut |tx| {
        (0..threads).try_for_each(|thread| {
            let count = counts[thread as usize].load(Ordering::Relaxed);
            (0..count).try_for_each(|number| get_own(tx, 0, base + number * threads + thread).map(drop))
        })
    })
}
