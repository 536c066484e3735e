//! Turns on an engine that is right, and on the same engine made wrong in chosen ways: each way is noticed, and leaves no figure (M2).

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::compare::plan::Plan;
use crate::compare::row::Found;
use crate::peer::registry::{Entry, Offer};
use crate::peer::{
    Class, Engine, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing, maps,
};

/// A plan of milliseconds.
fn plan() -> Plan {
    Plan {
        keys: 640,
        big_keys: 640,
        slice_ms: 2,
        read_threads: vec![1, 2],
        commit_threads: vec![1, 4],
        mixed_threads: vec![1, 2],
        growth_keys: vec![200, 400, 640],
        large_bytes: 1 << 20,
        ..Plan::quick()
    }
}

fn turn(entry: Entry, scene: &str) -> Vec<crate::compare::row::Row> {
    let (folder, scene) = (crate::bed::folder(), scenes::find(scene).expect("a workload"));
    let folder_path = folder.path().to_owned();
    let mut stand = Stand { entry, plan: plan(), folder: folder_path, round: 0, scene: scene.name, rows: Vec::new() };
    rows(&mut stand, scene.run);
    stand.rows
}

/// What a wrong engine does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Some gets answer with the first bytes of another key's value.
    WrongValue,
    /// Some commits are acknowledged and forgotten.
    LostCommit,
    /// Scans leave out an entry.
    ShortScan,
    /// Deletes do nothing.
    IgnoredDelete,
}

/// One in so many is wrong.
const ONE_IN: u64 = 37;

struct Wrong {
    inner: Box<dyn Engine>,
    fault: Fault,
    calls: AtomicU64,
}

fn entry(open: fn(&Setup) -> Outcome<Box<dyn Engine>>) -> Entry {
    let offer = Offer { classes: &Class::ALL, modes: &Mode::ALL, ..maps::BTREE_MAP.offer };
    Entry { name: "wrong", open: Some(open), offer, ..maps::BTREE_MAP }
}

fn open(setup: &Setup, fault: Fault) -> Outcome<Box<dyn Engine>> {
    let setup = Setup { class: Class::None, mode: Mode::Pessimistic, ..setup.clone() };
    Ok(Box::new(Wrong { inner: maps::BTREE_MAP.open(&setup)?, fault, calls: AtomicU64::new(0) }))
}

fn with(fault: Fault) -> Entry {
    entry(match fault {
        Fault::None => |setup| open(setup, Fault::None),
        Fault::WrongValue => |setup| open(setup, Fault::WrongValue),
        Fault::LostCommit => |setup| open(setup, Fault::LostCommit),
        Fault::ShortScan => |setup| open(setup, Fault::ShortScan),
        Fault::IgnoredDelete => |setup| open(setup, Fault::IgnoredDelete),
    })
}

impl Wrong {
    fn strikes(&self, fault: Fault) -> bool {
        self.fault == fault && self.calls.fetch_add(1, Ordering::Relaxed) % ONE_IN == ONE_IN - 1
    }
}

impl Engine for Wrong {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(Local { wrong: self, inner: self.inner.session()? }))
    }

    fn sync(&self) -> Outcome<()> {
        self.inner.sync()
    }

    fn settle(&self) -> Outcome<()> {
        self.inner.settle()
    }
}

struct Local<'a> {
    wrong: &'a Wrong,
    inner: Box<dyn Session + 'a>,
}

impl Session for Local<'_> {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        let wrong = self.wrong;
        self.inner.read(&mut |tx| work(&mut View { wrong, tx }))
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let (wrong, forgets) = (self.wrong, self.wrong.strikes(Fault::LostCommit));
        self.inner.write(&mut |tx| work(&mut Writes { wrong, tx, forgets }))
    }
}

struct View<'a> {
    wrong: &'a Wrong,
    tx: &'a mut dyn Reading,
}

impl Reading for View<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let is_wrong = self.wrong.strikes(Fault::WrongValue);
        self.tx.get(table, key, &mut |value| {
            let mut value = value.to_vec();
            value[0] ^= u8::from(is_wrong);
            found(&value);
        })
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let skip = self.wrong.fault == Fault::ShortScan;
        let mut seen = 0;
        let count = self.tx.scan(table, span, &mut |key, value| {
            seen += 1;
            if !(skip && seen == 3) {
                visit(key, value);
            }
        })?;
        Ok(count - usize::from(skip && count >= 3))
    }
}

struct Writes<'a> {
    wrong: &'a Wrong,
    tx: &'a mut dyn Writing,
    forgets: bool,
}

impl Reading for Writes<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.tx.get(table, key, found)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        self.tx.scan(table, span, visit)
    }
}

impl Writing for Writes<'_> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        if self.forgets { Ok(()) } else { self.tx.put(table, key, value) }
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        let ignores = self.forgets || self.wrong.fault == Fault::IgnoredDelete;
        if ignores { Ok(()) } else { self.tx.delete(table, key) }
    }
}

/// Workloads that a map in memory can do.
const MAP_SCENES: [&str; 13] = [
    "load-random",
    "load-sorted",
    "reads",
    "scans",
    "commits-none",
    "ycsb-none",
    "contention-none",
    "tpcc-none",
    "beside",
    "deletes",
    "large",
    "growth",
    "commits-sync",
];

#[test]
fn an_engine_that_is_right_has_figures_and_nothing_failed() {
    for scene in MAP_SCENES {
        let rows = turn(with(Fault::None), scene);
        assert!(rows.iter().any(|row| matches!(row.found, Found::Figure(_))), "{scene}: {rows:?}");
        assert!(!rows.iter().any(|row| matches!(row.found, Found::Failed(_))), "{scene}: {rows:?}");
    }
}

#[test]
fn an_engine_that_is_wrong_is_caught_and_has_no_figure() {
    let cases: [(Fault, &[&str]); 4] = [
        (Fault::WrongValue, &["reads", "ycsb-none", "commits-none", "growth"]),
        (Fault::LostCommit, &["commits-none", "contention-none", "ycsb-none", "tpcc-none"]),
        (Fault::ShortScan, &["load-random", "scans", "beside", "tpcc-none", "deletes", "growth"]),
        (Fault::IgnoredDelete, &["deletes"]),
    ];
    for (fault, scenes) in cases {
        for scene in scenes {
            let rows = turn(with(fault), scene);
            let [row] = &rows[..] else { panic!("{fault:?} at {scene} left {} rows", rows.len()) };
            assert!(
                matches!(&row.found, Found::Failed(what) if what.contains("wrong")),
                "{fault:?} at {scene}: {row:?}"
            );
        }
    }
}

#[test]
fn what_our_engines_do_not_offer_yet_is_said_with_the_reason() {
    let btree = registry::find("duramen-btree").expect("ours");
    let rows = turn(btree, "contention-none");
    let refused = |row: &crate::compare::row::Row| matches!(row.found, Found::NotOffered(_));
    let modes: Vec<&str> = rows.iter().filter(|row| refused(row)).map(|row| row.name.case.as_str()).collect();
    for mode in Mode::ALL.map(Mode::name) {
        let has_figures = rows.iter().any(|row| row.name.case.starts_with(mode) && !refused(row));
        assert!(has_figures != modes.contains(&mode), "{mode}: either figures or a reason");
    }
    assert!(!modes.contains(&Mode::Optimistic.name()));
}

#[test]
fn a_class_that_an_engine_lacks_is_not_measured_with_another() {
    let rows = turn(maps::BTREE_MAP, "commits-sync");
    assert!(
        matches!(&rows[..], [row] if matches!(&row.found, Found::NotOffered(why) if why.contains("sync"))),
        "{rows:?}"
    );
}
