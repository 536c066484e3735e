//! Where one turn happens: an engine, a folder, a plan, and the rows it has found so far.

use std::path::PathBuf;

use super::data::{HEAD_BYTES, Sorted, Values, index_of, serial_of};
use super::plan::Plan;
use super::row::{Better, Found, Name, Row};
use super::threads::Counted;
use crate::keys::key;
use crate::peer::registry::Entry;
use crate::peer::{Class, Engine, Failure, Mode, Outcome, Reading, Setup, Span};

/// Puts of one commit where many are loaded.
pub const LOAD_STEP: usize = 1_000;
/// Below this many samples a hundredth is a guess.
const SAMPLES_P99: u64 = 200;
/// Below this many samples a thousandth is a guess.
const SAMPLES_P999: u64 = 2_000;

/// One turn.
pub struct Stand {
    /// Who.
    pub entry: Entry,
    /// How much.
    pub plan: Plan,
    /// Where: empty at first.
    pub folder: PathBuf,
    /// Which round.
    pub round: usize,
    /// Name of the workload.
    pub scene: &'static str,
    /// What was found.
    pub rows: Vec<Row>,
}

impl Stand {
    /// Opens the engine in a folder of its own below the turn's.
    pub fn open(&self, place: &str, class: Class, mode: Mode, table_count: usize) -> Outcome<Box<dyn Engine>> {
        self.open_with(place, class, mode, table_count, self.plan.cache_bytes)
    }

    /// The same with another cache budget.
    pub fn open_with(
        &self,
        place: &str,
        class: Class,
        mode: Mode,
        table_count: usize,
        cache_bytes: u64,
    ) -> Outcome<Box<dyn Engine>> {
        let folder = self.folder.join(place);
        std::fs::create_dir_all(&folder).map_err(crate::peer::broken)?;
        self.entry.open(&Setup { folder, cache_bytes, table_count, class, mode })
    }

    /// The usual: one table, usual mode, the weakest class.
    pub fn open_plain(&self) -> Outcome<Box<dyn Engine>> {
        self.open("plain", self.entry.weakest(), self.entry.mode(), 1)
    }

    /// A seed that every engine gets in this round (M1).
    pub fn seed(&self, salt: u64) -> u64 {
        (self.round as u64 + 1).wrapping_mul(0x1_0000_0001).wrapping_add(salt.wrapping_mul(0x9e37_79b9))
    }

    /// Values of the plan's size.
    pub fn values(&self) -> Values {
        Values::new(self.plan.value_bytes)
    }

    /// Notes what was found.
    pub fn note(&mut self, case: &str, threads: usize, measure: &str, better: Better, found: Found) {
        let (scene, case, measure) = (self.scene.to_owned(), case.to_owned(), measure.to_owned());
        let name = Name { scene, case, threads, measure };
        self.rows.push(Row { engine: self.entry.name.to_owned(), round: self.round, name, better, found });
    }

    /// Notes a rate.
    pub fn more(&mut self, case: &str, threads: usize, measure: &str, figure: f64) {
        self.note(case, threads, measure, Better::More, Found::Figure(figure));
    }

    /// Notes a cost.
    pub fn less(&mut self, case: &str, threads: usize, measure: &str, figure: f64) {
        self.note(case, threads, measure, Better::Less, Found::Figure(figure));
    }

    /// Notes that all cases that begin with `case` are not offered.
    pub fn without(&mut self, case: &str, why: &str) {
        self.note(case, 0, "", Better::More, Found::NotOffered(why.to_owned()));
    }

    /// Notes the processor time of one operation.
    pub fn cpu(&mut self, case: &str, threads: usize, counted: &Counted) {
        self.less(case, threads, "cpu us", counted.cpu_ns_per_operation() / 1e3);
    }

    /// Notes percentiles in microseconds, those that there are samples for.
    pub fn tails(&mut self, case: &str, threads: usize, counted: &Counted) {
        let total = counted.latency.total();
        let tails = [("p50 us", 0.5, 1), ("p99 us", 0.99, SAMPLES_P99), ("p99.9 us", 0.999, SAMPLES_P999)];
        for (measure, share, _) in tails.into_iter().filter(|(.., needed)| total >= *needed) {
            self.less(case, threads, measure, counted.latency.percentile(share) as f64 / 1e3);
        }
    }

    /// Puts keys `0..count` with serial 0, in the order of their indexes, which is none of their keys.
    pub fn load(&self, engine: &dyn Engine, table: usize, count: u64) -> Outcome<()> {
        if self.entry.offer.answers.is_err() {
            return Ok(());
        }
        let indexes: Vec<u64> = (0..count).collect();
        put_all(engine, table, &self.values(), &indexes, 0)
    }

    /// Whether the engine answers at all, which most workloads need.
    pub fn needs_answers(&self) -> Outcome<()> {
        offered(self.entry.offer.answers)
    }
}

/// An offer as an outcome.
pub fn offered(offer: Result<(), &'static str>) -> Outcome<()> {
    offer.map_err(|why| Failure::NotOffered(why.to_owned()))
}

/// Puts these indexes, [`LOAD_STEP`] in a commit.
pub fn put_all(engine: &dyn Engine, table: usize, values: &Values, indexes: &[u64], serial: u64) -> Outcome<()> {
    let (mut session, mut value) = (engine.session()?, Vec::new());
    let step = if values.bytes() > LOAD_STEP { 10 } else { LOAD_STEP };
    for some in indexes.chunks(step) {
        session.write(&mut |tx| {
            some.iter().try_for_each(|&index| {
                values.fill(&mut value, index, serial);
                tx.put(table, &key(index), &value)
            })
        })?;
    }
    Ok(())
}

/// A wrong answer.
pub fn wrong<T>(what: String) -> Outcome<T> {
    Err(Failure::Broken(format!("wrong answer: {what}")))
}

/// Checks that `found` is `expected`.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome<()> {
    if found == expected { Ok(()) } else { wrong(format!("{what} is {found:?}, must be {expected:?}")) }
}

/// Gets `key(index)`, which must be there and be its own value; its serial.
pub fn get_own(tx: &mut dyn Reading, table: usize, index: u64) -> Outcome<u64> {
    let mut seen = None;
    let there = tx.get(table, &key(index), &mut |value| seen = Some((index_of(value), serial_of(value))))?;
    match seen {
        Some((whose, serial)) if there && whose == index => Ok(serial),
        found => wrong(format!("key {index} answers {found:?}")),
    }
}

/// Walks a whole table: every entry must be one of `sorted`, in order, with the right value; answers the sum of serials.
pub fn walk(engine: &dyn Engine, table: usize, sorted: &Sorted) -> Outcome<u64> {
    let (mut at, mut serials, mut first_wrong) = (0, 0u64, None);
    engine.session()?.read(&mut |tx| {
        (at, serials, first_wrong) = (0, 0, None);
        let span = Span { from: None, limit: usize::MAX, reverse: false };
        tx.scan(table, span, &mut |key, value| {
            let expected = sorted.keys.get(at);
            let is_right = value.len() >= HEAD_BYTES
                && expected.is_some_and(|(wanted, index)| wanted == key && index_of(value) == *index);
            if !is_right && first_wrong.is_none() {
                first_wrong = Some(at);
            }
            (at, serials) = (at + 1, serials.wrapping_add(serial_of(value)));
        })
        .map(drop)
    })?;
    match first_wrong {
        Some(place) => wrong(format!("entry {place} of a full scan is not the expected one")),
        None => same("the count of a full scan", at, sorted.len()).map(|()| serials),
    }
}

/// Gets every key below `count` on its own; answers the sum of serials.
pub fn get_each(engine: &dyn Engine, table: usize, count: u64) -> Outcome<u64> {
    let mut serials = 0u64;
    engine.session()?.read(&mut |tx| {
        serials = 0;
        (0..count).try_for_each(|index| get_own(tx, table, index).map(|serial| serials = serials.wrapping_add(serial)))
    })?;
    Ok(serials)
}
