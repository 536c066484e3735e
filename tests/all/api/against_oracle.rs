//! Random programs on one database with a keyspace of each kind, beside an oracle that copies its maps at every snapshot.
//!
//! Several transactions are open at once on one thread; each step says which one acts. The oracle knows which commit must meet a write
//! conflict and which must not, so a conflict too many fails as well as one too few.

mod oracle;
mod program;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::sample::Index;

use duramen::seams::{ManualExecutor, Vfs};
use duramen::{
    BackendKind, Database, Durability, Error, Iter, Keyspace, Reader, Savepoint, Snapshot, Transaction, TxnOptions,
    VerifyLevel,
};
use duramen_base::vfs::sim::SimVfs;

use super::{small, text_of};
use crate::random::check_cases;
use oracle::{Change, Rows, State, rows};
use program::{Step, Write, key, step};

const KINDS: [BackendKind; 3] = [BackendKind::Model, BackendKind::BTree, BackendKind::Lsm];
/// Most transactions, and snapshots, open at once.
const OPEN_MAX: usize = 4;

/// A transaction and what the oracle knows of it.
struct Open {
    tx: Transaction,
    /// What it reads, and how many commits that contains; taken at its first read.
    view: Option<(State, usize)>,
    changes: Vec<Change>,
    savepoints: Vec<(Savepoint, usize)>,
}

struct Run {
    disk: SimVfs,
    executor: ManualExecutor,
    db: Database,
    keyspaces: Vec<Keyspace>,
    state: State,
    /// What each commit changed.
    commits: Vec<Vec<Change>>,
    open: Vec<Open>,
    snapshots: Vec<(Snapshot, State)>,
    kept: Vec<(Iter, Rows)>,
    /// Makes each value different.
    tag: u32,
}

fn open_on(disk: &SimVfs, executor: &ManualExecutor) -> Database {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let builder = Database::builder().vfs(vfs).executor(Arc::new(executor.clone())).memory_bytes(16 << 20);
    builder.log_segment_bytes(32 << 10, 64 << 10).log_bytes_before_checkpoint(64 << 10).open("db").expect("a good disk")
}

/// Takes from the ends that `from_front` names, both of the iterator and of what is expected.
fn advance(iter: &mut Iter, expected: &mut Rows, from_front: &[bool]) {
    let show =
        |row: Option<(Vec<u8>, Vec<u8>)>| row.map(|(key, value)| format!("{} = {}", text_of(&key), text_of(&value)));
    for &front in from_front {
        // Entries lent and entries of their own, by turns.
        let found = if expected.len().is_multiple_of(2) {
            let lent = if front { iter.next_ref() } else { iter.next_back_ref() };
            lent.expect("readable").map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
        } else {
            let own = if front { iter.next() } else { iter.next_back() };
            own.map(|entry| entry.expect("readable")).map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
        };
        let expected = if front { expected.pop_front() } else { expected.pop_back() };
        assert_eq!(show(found), show(expected), "from the {}", if front { "front" } else { "back" });
    }
}

impl Run {
    fn new() -> Run {
        let (disk, executor) = (SimVfs::new(), ManualExecutor::new());
        let db = open_on(&disk, &executor);
        let keyspaces =
            KINDS.map(|kind| db.create_keyspace(&kind.to_string(), small(kind)).expect("a new name")).into();
        Run {
            disk,
            executor,
            db,
            keyspaces,
            state: State::default(),
            commits: Vec::new(),
            open: Vec::new(),
            snapshots: Vec::new(),
            kept: Vec::new(),
            tag: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin { pin, durability } => self.begin(pin, durability),
            Step::Write { tx, writes } => {
                if !self.open.is_empty() {
                    let tx = tx.index(self.open.len());
                    writes.iter().for_each(|(keyspace, write)| self.write(tx, *keyspace, write));
                }
            }
            Step::Get { reader, keyspace, key: i } => self.get(&reader, keyspace, &key(i)),
            Step::Scan { reader, keyspace, lower, upper, from_front } => {
                let (lower, upper) = (lower.map(key), upper.map(key));
                let (mut iter, mut expected) = self.iter(&reader, keyspace, &lower, &upper);
                advance(&mut iter, &mut expected, &from_front);
                let rest = vec![from_front[0]; expected.len() + 1];
                advance(&mut iter, &mut expected, &rest);
            }
            Step::Keep { reader, keyspace } => {
                let kept = self.iter(&reader, keyspace, &Bound::Unbounded, &Bound::Unbounded);
                self.kept.push(kept);
            }
            Step::Advance { kept, from_front } => {
                if !self.kept.is_empty() {
                    let index = kept.index(self.kept.len());
                    let (iter, expected) = &mut self.kept[index];
                    advance(iter, expected, &from_front);
                }
            }
            Step::Savepoint { tx } => {
                if let Some(open) = Run::pick(&mut self.open, &tx) {
                    open.savepoints.push((open.tx.savepoint().expect("alive"), open.changes.len()));
                }
            }
            Step::RollbackTo { tx, savepoint } => {
                if let Some(open) = Run::pick(&mut self.open, &tx).filter(|open| !open.savepoints.is_empty()) {
                    let index = savepoint.index(open.savepoints.len());
                    open.tx.rollback_to(&open.savepoints[index].0).expect("not rolled back past");
                    open.changes.truncate(open.savepoints[index].1);
                    open.savepoints.truncate(index + 1);
                }
            }
            Step::Commit { tx, asynchronous } => {
                if !self.open.is_empty() {
                    let open = self.open.swap_remove(tx.index(self.open.len()));
                    self.commit(open, asynchronous);
                }
            }
            Step::Rollback { tx } => {
                if !self.open.is_empty() {
                    self.open.swap_remove(tx.index(self.open.len())).tx.rollback();
                }
            }
            Step::Ingest { keyspace, puts } => self.ingest(keyspace, &puts),
            Step::Snapshot => {
                if self.snapshots.len() < OPEN_MAX {
                    self.snapshots.push((self.db.snapshot().expect("open"), self.state.clone()));
                }
            }
            Step::EndSnapshot { snapshot } => {
                if !self.snapshots.is_empty() {
                    self.snapshots.swap_remove(snapshot.index(self.snapshots.len()));
                }
            }
            Step::Checkpoint => self.db.checkpoint().expect("a good disk"),
            Step::Upkeep { rounds } => {
                self.executor.run_all(rounds);
            }
            Step::Reopen { kill } => self.reopen(kill),
        }
    }

    fn pick<'a>(open: &'a mut [Open], index: &Index) -> Option<&'a mut Open> {
        if open.is_empty() { None } else { Some(&mut open[index.index(open.len())]) }
    }

    fn begin(&mut self, pin: bool, durability: Durability) {
        if self.open.len() == OPEN_MAX {
            return;
        }
        let tx = self.db.begin_with(TxnOptions::default().durability(durability)).expect("open");
        let mut open = Open { tx, view: None, changes: Vec::new(), savepoints: Vec::new() };
        if pin {
            open.tx.pin_snapshot().expect("alive");
            open.view = Some((self.state.clone(), self.commits.len()));
        }
        self.open.push(open);
    }

    fn write(&mut self, index: usize, keyspace: usize, write: &Write) {
        let (tx, ks) = (&self.open[index].tx, &self.keyspaces[keyspace]);
        let change = match *write {
            Write::Put(i, bytes) => {
                self.tag += 1;
                let value: Vec<u8> = format!("{} ", self.tag).bytes().cycle().take(bytes.into()).collect();
                tx.put(ks, key(i), &value).expect("room");
                Change { keyspace, low: key(i), high: None, value: Some(value) }
            }
            Write::Delete(i) => {
                tx.delete(ks, key(i)).expect("room");
                Change { keyspace, low: key(i), high: None, value: None }
            }
            Write::DeleteRange(low, high) => {
                let (low, high) = (key(low), high.map_or_else(Vec::new, key));
                if !high.is_empty() && low >= high {
                    return;
                }
                tx.delete_range(ks, &low, &high).expect("room");
                Change { keyspace, low, high: Some(high), value: None }
            }
        };
        self.open[index].changes.push(change);
    }

    /// A commit of its own, beside those that are open.
    fn ingest(&mut self, keyspace: usize, puts: &BTreeMap<u8, u16>) {
        let mut rows = BTreeMap::new();
        for (&i, &bytes) in puts {
            self.tag += 1;
            rows.insert(key(i), format!("{} ", self.tag).bytes().cycle().take(bytes.into()).collect::<Vec<u8>>());
        }
        let options = TxnOptions::default().durability(Durability::Buffered);
        let info = self.db.ingest_with(&self.keyspaces[keyspace], options, rows.iter().map(Ok)).expect("a good disk");
        assert_eq!(info.is_some(), !rows.is_empty());
        let put = |(low, value): (Vec<u8>, Vec<u8>)| Change { keyspace, low, high: None, value: Some(value) };
        let changes: Vec<Change> = rows.into_iter().map(put).collect();
        if !changes.is_empty() {
            changes.iter().for_each(|change| change.apply(&mut self.state));
            self.commits.push(changes);
        }
    }

    /// Reads by one of the transactions, one of the snapshots, or a new snapshot.
    fn get(&mut self, reader: &Index, keyspace: usize, key: &[u8]) {
        let ks = &self.keyspaces[keyspace];
        let (found, expected) = match reader.index(self.open.len() + self.snapshots.len() + 1) {
            index if index < self.open.len() => {
                let open = &mut self.open[index];
                let found = open.tx.get(ks, key).expect("readable");
                let own = open.changes.iter().rev().find(|change| change.covers(keyspace, key));
                let expected = match own {
                    // Only a read of the database takes the snapshot.
                    Some(change) => change.value.clone(),
                    None => {
                        let view = open.view.get_or_insert_with(|| (self.state.clone(), self.commits.len()));
                        view.0[keyspace].get(key).cloned()
                    }
                };
                (found, expected)
            }
            index => match self.snapshots.get(index - self.open.len()) {
                Some((snapshot, state)) => {
                    (snapshot.get(ks, key).expect("readable"), state[keyspace].get(key).cloned())
                }
                None => {
                    let snapshot = self.db.snapshot().expect("open");
                    (snapshot.get(ks, key).expect("readable"), self.state[keyspace].get(key).cloned())
                }
            },
        };
        assert_eq!(
            super::text(found),
            expected.map(|value| text_of(&value)),
            "{:?} of {}",
            text_of(key),
            KINDS[keyspace]
        );
    }

    fn iter(
        &mut self,
        reader: &Index,
        keyspace: usize,
        lower: &Bound<Vec<u8>>,
        upper: &Bound<Vec<u8>>,
    ) -> (Iter, Rows) {
        let ks = &self.keyspaces[keyspace];
        let range = (lower.as_ref(), upper.as_ref());
        match reader.index(self.open.len() + self.snapshots.len() + 1) {
            index if index < self.open.len() => {
                let open = &mut self.open[index];
                let iter = open.tx.range::<Vec<u8>>(ks, range).expect("readable");
                let view = open.view.get_or_insert_with(|| (self.state.clone(), self.commits.len()));
                let mut state = view.0.clone();
                open.changes.iter().for_each(|change| change.apply(&mut state));
                (iter, rows(&state[keyspace], lower, upper))
            }
            index => match self.snapshots.get(index - self.open.len()) {
                Some((snapshot, state)) => {
                    (snapshot.range::<Vec<u8>>(ks, range).expect("readable"), rows(&state[keyspace], lower, upper))
                }
                None => {
                    let snapshot = self.db.snapshot().expect("open");
                    (snapshot.range::<Vec<u8>>(ks, range).expect("readable"), rows(&self.state[keyspace], lower, upper))
                }
            },
        }
    }

    fn commit(&mut self, open: Open, asynchronous: bool) {
        let newer = open.view.as_ref().map_or(&[][..], |(_, contained)| &self.commits[*contained..]);
        let conflict =
            newer.iter().flatten().find(|theirs| open.changes.iter().any(|mine| mine.overlaps(theirs))).cloned();
        let outcome = if asynchronous {
            open.tx.commit_async().map(|handle| {
                handle.map(|handle| {
                    handle.wait_visible();
                    // The log of a killed process has what was handed to the disk.
                    handle.wait_durable().expect("a good disk");
                    handle.info()
                })
            })
        } else {
            open.tx.commit()
        };
        match (outcome, conflict) {
            (Ok(info), None) => {
                assert_eq!(info.is_some(), !open.changes.is_empty());
                open.changes.iter().for_each(|change| change.apply(&mut self.state));
                self.commits.push(open.changes);
            }
            (Err(Error::WriteConflict(_)), Some(_)) => {}
            (outcome, conflict) => {
                panic!("{outcome:?}, where {conflict:?} was committed after the snapshot, by {:?}", open.changes)
            }
        }
    }

    fn reopen(&mut self, kill: bool) {
        self.open.clear();
        self.snapshots.clear();
        self.kept.clear();
        self.keyspaces.clear();
        if kill {
            self.disk = self.disk.kill();
        } else {
            self.db.clone().close().expect("a good disk");
        }
        self.executor = ManualExecutor::new();
        self.db = open_on(&self.disk, &self.executor);
        self.keyspaces = KINDS.map(|kind| self.db.open_keyspace(&kind.to_string()).expect("it was durable")).into();
        self.check_all();
    }

    /// Everything that anybody can read now.
    fn check_all(&self) {
        let snapshot = self.db.snapshot().expect("open");
        for (reader, state) in
            self.snapshots.iter().map(|(reader, state)| (reader, state)).chain([(&snapshot, &self.state)])
        {
            for (map, ks) in state.iter().zip(&self.keyspaces) {
                let mut expected = rows(map, &Bound::Unbounded, &Bound::Unbounded);
                let everything = vec![true; expected.len() + 1];
                advance(&mut reader.iter(ks).expect("readable"), &mut expected, &everything);
            }
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut run = Run::new();
    for step in steps {
        let shows = matches!(step, Step::Commit { .. } | Step::Checkpoint | Step::Upkeep { .. });
        run.take(step);
        if shows {
            run.check_all();
        }
    }
    run.check_all();
    run.reopen(false);
    assert!(run.db.verify(VerifyLevel::Full).expect("readable").is_clean());
}

#[test]
fn random_programs_read_and_conflict_as_the_oracle_says() {
    check_cases(300, proptest::collection::vec(step(), 1..500), run);
}
