//! Sorted ingests and a crash at every operation: of the building, of the commit, of what settles it, and of recovery.
//!
//! One keyspace, so a database holds as many commits as it says are visible, and must hold exactly their content.
//!
//! Each in two sizes: many short values, or fewer of which most lie in value files.
//!
//! CI1  What was found, and what is left after upkeep, is named: a folder has no list, no more tables than the manifest names, no more value files and
//!      values than there are large values.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen::seams::{ManualExecutor, Vfs};
use duramen::{BackendKind, Database, Error, Keyspace, Reader, TxnOptions, VerifyLevel};
use duramen_base::vfs::sim::{Image, Journal, SimVfs};

use super::check::{Found, Promise};
use super::history::{Change, History, Rows, Writes};
use super::run::{PATH, builder, note, options};
use super::states::each_state;

const RANDOM_SUBSETS: u64 = 2;

/// What is ingested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Short,
    /// One key in so many of those of the short form.
    Large(usize),
}

/// A run and what it left.
struct Run {
    history: History,
    journal: Journal,
    keyspace: Keyspace,
    kind: BackendKind,
}

struct Stage {
    size: Size,
    disk: SimVfs,
    jobs: ManualExecutor,
    db: Database,
    ks: Keyspace,
    commits: BTreeMap<u64, Writes>,
}

impl Stage {
    fn new(kind: BackendKind, size: Size) -> Stage {
        let (disk, jobs) = (SimVfs::new(), ManualExecutor::new());
        let db = builder(&disk).executor(Arc::new(jobs.clone())).open(PATH).expect("a good disk");
        let ks = db.create_keyspace("ks", options(kind)).expect("a new name");
        Stage { size, disk, jobs, db, ks, commits: BTreeMap::new() }
    }

    fn committed(&mut self, ts: u64, writes: Vec<Change>) {
        let id = self.ks.id();
        self.commits.insert(ts, writes.into_iter().map(|change| (id, change)).collect());
        self.disk.journal_note(note::SYNCED, ts);
    }

    fn change(&mut self, changes: Vec<Change>) {
        let tx = self.db.begin().expect("not poisoned");
        for change in &changes {
            match change {
                Change::Put(key, value) => tx.put(&self.ks, key, value),
                Change::Delete(key) => tx.delete(&self.ks, key),
                Change::DeleteRange(low, high) => tx.delete_range(&self.ks, low, high),
            }
            .expect("room");
        }
        let ts = tx.commit().expect("a good disk").expect("it wrote something").ts.get();
        self.committed(ts, changes);
    }

    fn ingest(&mut self, from: u64, to: u64, step: usize, value: &str) {
        let (every, size) = if let Size::Large(every) = self.size { (every, self.size) } else { (1, self.size) };
        let keys = (from..to).step_by(step * every);
        let pairs: Vec<_> = keys.map(|n| (key(n), of_size(size, format!("{value} {n}"), n))).collect();
        let ts = self.db.ingest(&self.ks, pairs.clone()).expect("a good disk").expect("there are pairs").ts.get();
        self.committed(ts, pairs.into_iter().map(|(key, value)| Change::Put(key, value.into())).collect());
    }

    fn ingest_that_fails(&mut self, to: u64) {
        let every = if let Size::Large(every) = self.size { every } else { 1 };
        let lost = (0..to).step_by(every).map(|n| Ok((key(n), of_size(self.size, "lost".to_owned(), n))));
        let pairs = lost.chain([Err(Error::InvalidArgument { what: "the end" })]);
        self.db.ingest_with(&self.ks, TxnOptions::default(), pairs).expect_err("the source fails");
    }

    fn upkeep(&mut self, rounds: usize) {
        self.jobs.run_all(rounds);
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("{n:04}").into_bytes()
}

/// Of large ones two in three go to value files.
fn of_size(size: Size, mut value: String, n: u64) -> Vec<u8> {
    if size != Size::Short && !n.is_multiple_of(3) {
        value.push_str(&".".repeat(100 + n as usize % 80));
    }
    value.into_bytes()
}

fn put(n: u64, value: &str) -> Change {
    Change::Put(key(n), value.as_bytes().into())
}

impl Run {
    fn new(kind: BackendKind, size: Size) -> Run {
        let mut stage = Stage::new(kind, size);
        stage.change(vec![put(5, "before"), put(990, "behind")]);
        stage.ingest(100, 300, 1, "first");
        stage.change(vec![put(150, "put"), Change::Delete(key(160)), put(50, "beside")]);
        stage.upkeep(3);
        stage.ingest_that_fails(200);
        let snapshot = stage.db.snapshot().expect("open");
        stage.change(vec![Change::DeleteRange(key(200), key(260))]);
        stage.ingest(120, 420, 3, "second");
        stage.upkeep(2);
        drop(snapshot);
        stage.db.checkpoint().expect("a good disk");
        stage.ingest(500, 700, 1, "third");
        stage.ingest(710, 900, 1, "fourth");
        stage.change(vec![put(600, "put"), Change::Delete(key(610))]);
        stage.db.compact(&stage.ks).expect("a good disk");
        stage.ingest(300, 500, 2, "last");
        stage.ingest_that_fails(100);
        let Stage { disk, db, ks, commits, .. } = stage;
        let journal = disk.journal();
        disk.kill();
        drop(db);
        Run { history: History::new(commits), journal, keyspace: ks, kind }
    }

    fn rows(&self, db: &Database) -> Result<(u64, Rows), String> {
        let failed = |error: Error| format!("reading: {error}");
        // Not there yet: nothing of it was promised.
        let Ok(ks) = db.open_keyspace("ks") else { return Ok((0, Rows::new())) };
        let snapshot = db.snapshot().map_err(failed)?;
        let entries = snapshot.iter(&ks).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
        let rows = entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect();
        Ok((snapshot.ts().get(), rows))
    }

    /// Opens what a crash left and compares it with as many commits.
    fn look(&self, image: Image, goes_on: bool) -> Result<Found, String> {
        let disk = SimVfs::on(image);
        let open = || builder(&disk).open(PATH).map_err(|error| format!("opening: {error}"));
        let db = open()?;
        let (prefix, rows) = self.rows(&db)?;
        self.compare(prefix, &rows)?;
        if goes_on && db.open_keyspace("ks").is_ok() {
            check_clean(&db)?;
            self.go_on(&db, &disk)?;
            self.compare(prefix, &self.rows(&db)?.1)?;
            db.close().map_err(|error| format!("closing: {error}"))?;
            let db = open()?;
            self.compare(prefix, &self.rows(&db)?.1)?;
        }
        disk.kill();
        Ok(Found { prefix, present: Default::default() })
    }

    fn compare(&self, prefix: u64, rows: &Rows) -> Result<(), String> {
        let expected = self.history.rows(prefix.min(self.history.len()), self.keyspace.id());
        let wrong: Vec<_> = rows.iter().filter(|(key, value)| expected.get(*key) != Some(*value)).take(5).collect();
        if rows.len() == expected.len() && wrong.is_empty() {
            return Ok(());
        }
        Err(format!("behind {prefix} commits {} rows of {}: {wrong:?}", rows.len(), expected.len()))
    }

    /// CI1.
    fn go_on(&self, db: &Database, disk: &SimVfs) -> Result<(), String> {
        let failed = |error: Error| format!("going on: {error}");
        let ks = db.open_keyspace("ks").map_err(failed)?;
        db.compact(&ks).map_err(failed)?;
        db.checkpoint().map_err(failed)?;
        check_clean(db)?;
        let dir = format!("{PATH}/ks/{}", ks.id().get());
        let names: Vec<String> =
            disk.list(dir.as_ref()).expect("it is there").into_iter().map(|entry| entry.name).collect();
        let tables = names.iter().filter(|name| name.ends_with(".sst")).count() as u64;
        let stats = db.stats();
        let named = stats.keyspaces.iter().find(|(info, _)| info == "ks").map_or(0, |(_, stats)| stats.units);
        let is_bare = names.iter().all(|name| !name.starts_with("INGEST-"));
        if !is_bare || (self.kind == BackendKind::Lsm && tables != named) {
            return Err(format!("CI1: {named} tables are named, and there are {names:?}"));
        }
        let store =
            stats.keyspaces.iter().find(|(info, _)| info == "ks").map(|(_, stats)| stats.clone()).unwrap_or_default();
        let is_large = |value: &&Vec<u8>| value.len() > 100;
        let large = self.rows(db)?.1.values().filter(is_large).count() as u64;
        let dir = format!("{dir}/values");
        let files = disk.list(dir.as_ref()).unwrap_or_default();
        let files = files.iter().filter(|entry| entry.name.ends_with(".val")).count() as u64;
        if (store.values, store.value_files) != (large, files) {
            return Err(format!("CI1: {} values for {large}, {} files of {files}", store.values, store.value_files));
        }
        Ok(())
    }
}

fn check_clean(db: &Database) -> Result<(), String> {
    let report = db.verify(VerifyLevel::Full).map_err(|error| format!("verifying: {error}"))?;
    if report.is_clean() { Ok(()) } else { Err(format!("{:?}", report.problems)) }
}

fn check(kind: BackendKind, size: Size) {
    let run = Run::new(kind, size);
    let (mut count, mut opened) = (0, 0);
    let checked = each_state(&run.journal, &Promise::default(), RANDOM_SUBSETS, |state| {
        count += 1;
        opened += u64::from(count % 6 == 0);
        run.look(state.image.clone(), count % 6 == 0)
    });
    checked.unwrap_or_else(|complaint| panic!("{kind}: {complaint}"));
    println!("{kind}, {size:?}: {count} distinct states, {opened} gone on with, of {} entries", run.journal.len());
    assert!(count > 300, "only {count} states");
}

#[test]
fn a_crash_around_an_ingest_leaves_all_of_it_or_nothing_btree() {
    check(BackendKind::BTree, Size::Short);
}

#[test]
fn a_crash_around_an_ingest_of_large_values_leaves_all_of_it_or_nothing_btree() {
    check(BackendKind::BTree, Size::Large(8));
}

#[test]
fn a_crash_around_an_ingest_of_large_values_leaves_all_of_it_or_nothing_lsm() {
    check(BackendKind::Lsm, Size::Large(16));
}

#[test]
fn a_crash_around_an_ingest_leaves_all_of_it_or_nothing_lsm() {
    check(BackendKind::Lsm, Size::Short);
}

/// Opening does not repair by halves: a crash while it applies the log again, with upkeep in between, is as good as none.
fn check_again(kind: BackendKind, size: Size) {
    let run = Run::new(kind, size);
    // One of so many states is crashed again.
    let stride = match (kind, size) {
        (BackendKind::BTree, Size::Short) => 61,
        (_, Size::Large(_)) => 97,
        (_, Size::Short) => 499,
    };
    let (mut count, mut again) = (0_u64, 0);
    let checked = each_state(&run.journal, &Promise::default(), 0, |state| {
        count += 1;
        if !count.is_multiple_of(stride) {
            return run.look(state.image.clone(), false);
        }
        let disk = SimVfs::on(state.image.clone());
        let db = builder(&disk).open(PATH).map_err(|error| format!("opening: {error}"))?;
        let (prefix, rows) = run.rows(&db)?;
        run.compare(prefix, &rows)?;
        if db.open_keyspace("ks").is_ok() {
            run.go_on(&db, &disk)?;
        }
        let journal = disk.journal();
        disk.kill();
        each_state(&journal, &Promise::default(), 0, |state| {
            again += 1;
            let found = run.look(state.image.clone(), false)?;
            if found.prefix == prefix { Ok(found) } else { Err(format!("{} commits, then {prefix}", found.prefix)) }
        })?;
        Ok(Found { prefix, present: Default::default() })
    });
    checked.unwrap_or_else(|complaint| panic!("{kind}: {complaint}"));
    println!("{kind}, {size:?}: {again} states of the crash after the crash");
    assert!(again > 100, "only {again} states");
}

#[test]
fn a_crash_after_the_crash_leaves_the_ingest_as_it_was_btree() {
    check_again(BackendKind::BTree, Size::Short);
    check_again(BackendKind::BTree, Size::Large(8));
}

#[test]
fn a_crash_after_the_crash_leaves_the_ingest_as_it_was_lsm() {
    check_again(BackendKind::Lsm, Size::Short);
    check_again(BackendKind::Lsm, Size::Large(16));
}
