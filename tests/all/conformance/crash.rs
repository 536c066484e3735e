//! K3 to K5 under loss of power and death of the process: at every call a store makes, with every kind of loss the simulated disk knows.
//!
//! The log is played by the fixture and keeps exactly what was made durable, the least a real one may have. So a store that promises, or
//! contains, more than it asked to be durable is found out.

use std::collections::HashSet;
use std::sync::Arc;

use duramen_base::vfs::Vfs;
use duramen_base::vfs::sim::{CrashModel, Image, Journal, Keep, SimVfs};
use duramen_base::{Backend, StoreHost, StoreMark, Timestamp};

use super::fixture::{BUDGET_BYTES, Fixture, KEYSPACE};
use super::subject::{Subject, on_each_backend_with_files};
use super::words::{Rows, delete, delete_range, put, show};

/// Notes in the journal: the log became durable through this timestamp; the log got the mark of this number.
const DURABLE: u64 = 1;
const MARKED: u64 = 2;
const SECTORS: [u64; 2] = [512, 4096];

fn key(i: usize) -> String {
    format!("{:03}", i * 7 % 40)
}

fn commit<S: Subject>(store: &mut Fixture<S>, i: usize) {
    if i % 40 == 20 {
        let rows =
            (0..12).map(|n| (format!("{:03}", i % 30 + n).into_bytes(), format!("{i} ").repeat(n * 4).into_bytes()));
        let ts = store.host.sequence();
        store.ingest_at(&rows.collect(), ts);
        store.host.publish(ts);
        return;
    }
    match i % 7 {
        3 => store.commit(&[delete(key(i / 2)), put(key(i), i.to_string())]),
        5 => store.commit(&[delete_range(key(i), key(i + 3))]),
        6 => store.commit_elsewhere(),
        _ => store.commit(&[put(key(i), format!("{i} ").repeat(i % 60)), put(key(i + 20), i.to_string())]),
    };
}

/// A run and what was in the log when.
struct Run<S: Subject> {
    store: Fixture<S>,
    journal: Journal,
    /// Where in the journal the store was created.
    begin: usize,
    marks: Vec<StoreMark>,
}

impl<S: Subject> Run<S> {
    /// Commits and upkeep in turns.
    fn new() -> Self {
        let disk = SimVfs::new();
        let mut store = Fixture::<S>::with(Arc::new(disk.clone()), BUDGET_BYTES);
        let begin = disk.journal_len();
        store.host.follow_horizon();
        Self::listen(&store, &disk);
        let mut marks = Vec::new();
        for i in 0..400 {
            commit(&mut store, i);
            if i % 10 == 9 {
                store.persist_soon();
            }
            if i % 6 == 3 {
                // A commit that waits for the log: recovery then has something to apply.
                store.host.make_durable(store.now()).expect("a log that is not poisoned");
            }
            store.work(2048).expect("upkeep on a good disk");
            Self::note_mark(&store, &disk, &mut marks);
        }
        Run { store, journal: disk.journal(), begin, marks }
    }

    /// Much is deleted, and the files are made small while commits go on.
    fn compacting() -> Self {
        let disk = SimVfs::new();
        let mut store = Fixture::<S>::with(Arc::new(disk.clone()), BUDGET_BYTES);
        let begin = disk.journal_len();
        store.host.follow_horizon();
        Self::listen(&store, &disk);
        let mut marks = Vec::new();
        for round in 0..2 {
            for i in 0..40 {
                let keys = (0..6).map(|j| format!("{:03}", (i * 6 + j) * 7 % 240));
                let changes: Vec<_> = keys.map(|key| put(key, format!("{round} ").repeat(60))).collect();
                store.commit(&changes);
                if i % 8 == 7 {
                    store.persist_soon();
                }
                store.work(8 << 10).expect("upkeep on a good disk");
                Self::note_mark(&store, &disk, &mut marks);
            }
            for i in (0..240).filter(|i| i % 10 != 0) {
                match (round, i) {
                    (1, 31) => store.commit(&[delete_range("031", "199")]), // whole leaves of it
                    (1, 32..199) => continue,
                    _ => store.commit(&[delete(format!("{i:03}"))]),
                };
            }
            store.host.make_durable(store.now()).expect("a log that is not poisoned");
            let full = store.store().stats().disk_bytes;
            store.compact_beside(3 << 10, |store, step| {
                Self::note_mark(store, &disk, &mut marks);
                if step % 4 == 0 && step < 80 {
                    commit(store, step);
                }
            });
            let small = store.store().stats().disk_bytes;
            assert!(small < full, "{small} bytes of {full}");
        }
        Run { store, journal: disk.journal(), begin, marks }
    }

    fn listen(store: &Fixture<S>, disk: &SimVfs) {
        let disk = disk.clone();
        store.host.on_durable(move |ts| disk.journal_note(DURABLE, ts.get()));
    }

    fn note_mark(store: &Fixture<S>, disk: &SimVfs, marks: &mut Vec<StoreMark>) {
        if let Some(mark) = store.logged_mark().filter(|mark| marks.last() != Some(mark)) {
            disk.journal_note(MARKED, marks.len() as u64);
            marks.push(mark);
        }
    }

    /// The log at a crash behind entry `at`: its end, and its newest mark.
    fn log_at(&self, at: usize, end: Timestamp) -> (Timestamp, Option<StoreMark>) {
        let (mut end, mut mark) = (end, None);
        for (_, note) in self.journal.notes(at) {
            match note.tag {
                DURABLE => end = Timestamp::new(note.payload),
                _ => mark = Some(self.marks[note.payload as usize]),
            }
        }
        (end, mark)
    }
}

/// Every distinct state that a crash can leave: position in the journal, and disk.
fn crash_states(journal: &Journal, random: u64, mut visit: impl FnMut(usize, Image)) -> usize {
    let mut met = HashSet::new();
    for model in [CrashModel::Strict, CrashModel::Ext4Like] {
        let mut replay = journal.replay(model);
        loop {
            let at = replay.position();
            let mut images = vec![replay.process_death()];
            if replay.has_pending() {
                let keeps = Keep::each(crate::random::seed() ^ at as u64, random);
                images.extend(keeps.enumerate().map(|(i, keep)| replay.crash(keep, SECTORS[(i + at) % 2])));
            }
            for image in images {
                // What the log had is part of the state: the same disk may be found with another log.
                if met.insert((image.digest(), journal.notes(at).count())) {
                    visit(at, image);
                }
            }
            if !replay.step() {
                break;
            }
        }
    }
    met.len()
}

/// Opens what a crash left, applies the log, and compares.
fn check<S: Subject>(
    before: &Fixture<S>,
    image: Image,
    log: (Timestamp, Option<StoreMark>),
    at: usize,
) -> (Fixture<S>, Rows, SimVfs) {
    let (end, mark) = log;
    let disk = SimVfs::on(image);
    let mut store = before.crashed(Arc::new(disk.clone()), end, mark);
    let every = at % 5;
    let upkeep = |store: &Fixture<S>| {
        if every > 0 && store.now().get().is_multiple_of(every as u64) {
            store.persist_soon();
            store.work(2048).expect("upkeep on a good disk");
        }
    };
    Run::listen(&store, &disk);
    if let Err(error) = store.recover(upkeep) {
        panic!("behind entry {at} of the journal, log through {end}, {mark:?}: {error}");
    }
    let expected = before.rows_by_log(end);
    assert_eq!(
        show(&store.rows(end)),
        show(&expected),
        "behind entry {at} of the journal, log through {end}, {mark:?}"
    );
    (store, expected, disk)
}

fn every_crash_leaves_what_was_promised<S: Subject>() {
    crash_everywhere(&Run::<S>::new());
}

fn every_crash_in_a_compaction_leaves_what_was_promised<S: Subject>() {
    crash_everywhere(&Run::<S>::compacting());
}

fn crash_everywhere<S: Subject>(run: &Run<S>) {
    let mut count = 0;
    let states = crash_states(&run.journal, 4, |at, image| {
        if at < run.begin {
            return;
        }
        let (mut store, expected, _) = check(&run.store, image, run.log_at(at, Timestamp::ZERO), at);
        count += 1;
        if count % 8 == 0 {
            store.persist();
            store.reopen();
            assert_eq!(show(&store.rows(store.now())), show(&expected), "after going on behind entry {at}");
        }
    });
    println!("{states} crash states of a run with {} entries", run.journal.len());
    assert!(states > 300, "only {states} crash states");
}

fn a_crash_during_recovery_loses_nothing_more<S: Subject>() {
    let run = Run::<S>::new();
    let (mut count, mut states) = (0, 0);
    crash_states(&run.journal, 1, |at, image| {
        count += 1;
        if at < run.begin || count % 19 != 0 {
            return;
        }
        let (end, mark) = run.log_at(at, Timestamp::ZERO);
        // Recovery syncs the log that it kept, so its end stays; marks that recovery itself logs may be lost.
        let (store, _, disk) = check(&run.store, image, (end, mark), 1);
        states += crash_states(&disk.journal(), 1, |again, image| {
            check(&store, image, (end, mark), again);
        });
    });
    println!("{states} crash states during recovery");
    assert!(states > 300, "only {states} crash states during recovery");
}

fn a_crash_while_creating_can_be_repeated<S: Subject>() {
    let disk = SimVfs::new();
    disk.create_dir("/ks".as_ref()).expect("an empty disk");
    disk.sync_dir("/".as_ref()).expect("an empty disk");
    let begin = disk.journal_len();
    let model = Fixture::<S>::new();
    let create = |disk: &SimVfs| {
        let mut store = model.crashed(Arc::new(disk.clone()), Timestamp::ZERO, None);
        let env = store.env();
        assert_eq!(env.keyspace, KEYSPACE);
        S::create(&env).expect("a good disk");
        store
    };
    create(&disk).open().expect("what was just created");
    let journal = disk.journal();
    crash_states(&journal, 4, |at, image| {
        if at < begin {
            return;
        }
        let disk = SimVfs::on(image);
        if disk.list("/ks".as_ref()).is_err() {
            return;
        }
        let mut store = create(&disk);
        // What create has returned for is durable: nothing but what was synced is left.
        let journal = disk.journal();
        drop(store.open());
        store.close();
        for model in [CrashModel::Strict, CrashModel::Ext4Like] {
            let disk = SimVfs::on(journal.crash_at(journal.len(), model, Keep::None, 512));
            let mut store = store.crashed(Arc::new(disk), Timestamp::ZERO, None);
            store.open().unwrap_or_else(|error| panic!("created behind entry {at}: {error}"));
            store.host.publish(store.host.sequenced());
            assert!(store.rows(store.now()).is_empty());
            store.commit(&[put("k", "v")]);
            store.persist();
            store.reopen();
            assert_eq!(store.value("k"), Some(b"v".to_vec()));
        }
    });
}

on_each_backend_with_files!(
    every_crash_leaves_what_was_promised,
    every_crash_in_a_compaction_leaves_what_was_promised,
    a_crash_during_recovery_loses_nothing_more,
    a_crash_while_creating_can_be_repeated,
);
