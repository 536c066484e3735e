//! A disk without space, and then with space again, in the same process: nothing is lost and nothing needs to be opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use duramen::{Database, Durability, Error, Health, Keyspace, TxnOptions};
use duramen_base::vfs::Vfs;
use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};
use duramen_tests::dice::Dice;

use super::history::{After, History};
use super::run::{FOLDER, Machine, options, send, small, writes};
use super::watch::watched;
use crate::random;

type Open = (Database, BTreeMap<&'static str, Keyspace>);

fn keyspaces(db: &Database) -> BTreeMap<&'static str, Keyspace> {
    ["tree", "lsm"].map(|name| (name, db.keyspace(name, options(name)).unwrap())).into_iter().collect()
}

/// A database with some commits, all noted in a history.
fn filled(machine: &Machine, dice: &mut Dice, commits: u64) -> (Open, History) {
    let db = machine.open().unwrap();
    let keyspaces = keyspaces(&db);
    let mut history = History::new();
    for number in 1..=commits {
        commit(&db, &keyspaces, &mut history, dice, number, Durability::Sync).unwrap();
    }
    ((db, keyspaces), history)
}

fn commit(
    db: &Database,
    keyspaces: &BTreeMap<&'static str, Keyspace>,
    history: &mut History,
    dice: &mut Dice,
    number: u64,
    durability: Durability,
) -> duramen::Result<()> {
    let writes = writes(dice, number, &["tree", "lsm"]);
    let outcome = send(db, keyspaces, &writes, durability);
    history.committed(&writes, durability, &outcome);
    outcome
}

/// What a history promises, on the disk as it is and after a loss of power.
fn check_after_death(disk: &SimVfs, history: &History) {
    disk.set_capacity(None);
    let journal = disk.journal();
    let power_loss = journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512);
    for (machine, after) in
        [(Machine::on(disk.kill()), After::ProcessDeath), (Machine::on(SimVfs::on(power_loss)), After::PowerLoss)]
    {
        let db = machine.open().unwrap();
        history.check(&db, after);
    }
}

/// With the threads of a real database: a committer, its upkeep, and a disk that fills up and is emptied three times.
#[test]
fn commits_go_on_without_reopening_when_space_returns() {
    for seed in 0..3 * random::factor() {
        watched(move |watch| {
            let disk = SimVfs::new();
            watch.begin(format!("seed {seed}"), &SimVfs::new());
            let db = small(&disk).open(FOLDER).unwrap();
            let (acknowledged, refused, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
            let history = std::thread::scope(|scope| {
                let committer = scope.spawn(|| {
                    let (mut history, mut dice, keyspaces) = (History::new(), Dice::new(seed), keyspaces(&db));
                    let mut number = 0;
                    while !stop.load(Ordering::SeqCst) {
                        number += 1;
                        let durability =
                            [Durability::None, Durability::Buffered, Durability::Sync][dice.below(3) as usize];
                        match commit(&db, &keyspaces, &mut history, &mut dice, number, durability) {
                            Ok(()) => acknowledged.fetch_add(1, Ordering::SeqCst),
                            Err(Error::DiskFull { .. }) => refused.fetch_add(1, Ordering::SeqCst),
                            Err(error) => panic!("a full disk: {error}"),
                        };
                    }
                    history
                });
                let wait = |counter: &AtomicU64, more: u64| {
                    let end = counter.load(Ordering::SeqCst) + more;
                    while counter.load(Ordering::SeqCst) < end && !committer.is_finished() {
                        std::thread::yield_now();
                    }
                };
                for _ in 0..3 {
                    wait(&acknowledged, 40);
                    let mut capacity = u64::MAX;
                    while !matches!(db.health(), Health::Stalled) && !committer.is_finished() {
                        // What upkeep gives back meanwhile is gone, too: else commits could go on for long.
                        capacity = capacity.min(disk.used() + (8 << 10));
                        disk.set_capacity(Some(capacity));
                        std::thread::yield_now();
                    }
                    super::history::read_all(&db).expect("reads go on while the disk is full");
                    disk.set_capacity(None);
                }
                wait(&acknowledged, 40);
                stop.store(true, Ordering::SeqCst);
                committer.join().unwrap()
            });
            while !matches!(db.health(), Health::Good) {
                std::thread::yield_now();
            }
            check_after_death(&disk, &history);
        });
    }
}

#[test]
fn upkeep_without_space_is_done_when_there_is_some_again() {
    watched(|watch| {
        let machine = Machine::on(SimVfs::new());
        watch.begin("a checkpoint without space".into(), &SimVfs::new());
        let mut dice = Dice::new(3);
        let ((db, keyspaces), mut history) = filled(&machine, &mut dice, 30);
        machine.disk.set_capacity(Some(machine.disk.used()));
        assert!(matches!(db.checkpoint(), Err(Error::DiskFull { .. })));
        machine.upkeep();
        assert!(matches!(db.health(), Health::Stalled), "{:?}", db.health());
        machine.disk.set_capacity(None);
        db.checkpoint().unwrap();
        machine.upkeep();
        assert!(matches!(db.health(), Health::Good), "{:?}", db.health());
        for number in 31..=40 {
            commit(&db, &keyspaces, &mut history, &mut dice, number, Durability::Sync).unwrap();
        }
        check_after_death(&machine.disk, &history);
    });
}

/// T3 of the log.
#[test]
fn a_full_disk_takes_the_log_segments_that_stand_by() {
    watched(|watch| {
        let machine = Machine::on(SimVfs::new());
        watch.begin("segments that stand by on a full disk".into(), &SimVfs::new());
        let mut dice = Dice::new(7);
        let ((db, keyspaces), mut history) = filled(&machine, &mut dice, 10);
        let segments = || machine.disk.list(Path::new(FOLDER).join("log").as_path()).unwrap().len();
        let mut number = 10;
        let mut commit_some = |count| {
            for _ in 0..count {
                number += 1;
                commit(&db, &keyspaces, &mut history, &mut dice, number, Durability::Buffered).unwrap();
            }
        };
        commit_some(3000);
        machine.jobs.run_all(30); // no time passes: the log is not idle
        let stand_by = segments();
        assert!(stand_by > 4, "{stand_by} files");
        commit_some(30);
        machine.disk.set_capacity(Some(machine.disk.used()));
        assert!(matches!(db.checkpoint(), Err(Error::DiskFull { .. })));
        assert!(segments() < stand_by, "T3: {} of {stand_by} files", segments());
        db.checkpoint().expect("the space of these segments is enough");
        drop((db, keyspaces));
        check_after_death(&machine.disk, &history);
    });
}

/// At each amount of space too small for it.
#[test]
fn a_keyspace_that_finds_no_space_is_not_created_and_can_be_later() {
    watched(|watch| {
        let mut refused = 0;
        for spare in 0.. {
            let machine = Machine::on(SimVfs::new());
            watch.begin(format!("creating with {spare} pages"), &SimVfs::new());
            let ((db, _), mut history) = filled(&machine, &mut Dice::new(4), 3);
            machine.disk.set_capacity(Some(machine.disk.used() + spare * 4096));
            let mut all_created = true;
            for name in ["passing tree", "passing lsm"] {
                match db.create_keyspace(name, options(name)) {
                    Ok(_) => history.created(name),
                    Err(Error::DiskFull { .. }) => {
                        (all_created, refused) = (false, refused + 1);
                        machine.disk.set_capacity(None);
                        db.create_keyspace(name, options(name)).expect("there is space again");
                        history.created(name);
                    }
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            check_after_death(&machine.disk, &history);
            if all_created {
                break;
            }
        }
        assert!(refused > 0, "the disk was full at least once");
    });
}

#[test]
fn a_keyspace_dropped_without_space_is_dropped_or_can_be_later() {
    watched(|watch| {
        for spare in 0..8 {
            let machine = Machine::on(SimVfs::new());
            watch.begin(format!("dropping with {spare} pages"), &SimVfs::new());
            let ((db, _), mut history) = filled(&machine, &mut Dice::new(5), 3);
            for name in ["passing tree", "passing lsm"] {
                db.create_keyspace(name, options(name)).unwrap();
                history.created(name);
            }
            machine.disk.set_capacity(Some(machine.disk.used() + spare * 4096));
            for name in ["passing tree", "passing lsm"] {
                history.dropping(name);
                match db.drop_keyspace(name) {
                    Ok(()) => {}
                    Err(Error::DiskFull { .. }) => {
                        machine.disk.set_capacity(None);
                        match db.drop_keyspace(name) {
                            Ok(()) | Err(Error::NoSuchKeyspace { .. }) => {}
                            Err(error) => panic!("there is space again: {error}"),
                        }
                    }
                    Err(error) => panic!("{name}: {error}"),
                }
                history.dropped(name);
            }
            check_after_death(&machine.disk, &history);
        }
    });
}

#[test]
fn opening_without_space_tells_and_opening_with_space_loses_nothing() {
    watched(|watch| {
        let mut refused = 0;
        for spare in 0.. {
            let machine = Machine::on(SimVfs::new());
            watch.begin(format!("opening with {spare} pages"), &SimVfs::new());
            let (open, mut history) = filled(&machine, &mut Dice::new(6), 20);
            let disk = machine.disk.kill();
            drop(open);
            disk.set_capacity(Some(disk.used() + spare * 4096));
            let machine = Machine::on(disk);
            let opened = machine.open();
            let was_refused = match &opened {
                Ok(db) => {
                    let at = history.check(db, After::ProcessDeath);
                    history.settle(at);
                    false
                }
                Err(Error::DiskFull { .. }) => true,
                Err(error) => panic!("{error}"),
            };
            refused += u64::from(was_refused);
            drop(opened);
            machine.disk.set_capacity(None);
            let db = machine.open().unwrap();
            history.check(&db, After::ProcessDeath);
            let tx = db.begin_with(TxnOptions::default().durability(Durability::Sync)).unwrap();
            tx.put(&db.open_keyspace("tree").unwrap(), "after", "all").unwrap();
            tx.commit().unwrap();
            if !was_refused {
                break;
            }
        }
        assert!(refused > 0, "the disk was full at least once");
    });
}

/// Kept alive over the end of a full disk, a handle to a commit is told the truth.
#[test]
fn a_commit_that_is_told_later_is_told_when_space_returns() {
    watched(|watch| {
        let machine = Machine::on(SimVfs::new());
        watch.begin("an asynchronous commit without space".into(), &machine.disk);
        let ((db, keyspaces), _) = filled(&machine, &mut Dice::new(7), 3);
        watch.database(Some(&db));
        machine.disk.set_capacity(Some(machine.disk.used()));
        // No page of the log can be written in a file that never had it: the log has its pages, so a later segment is needed.
        let mut told = Vec::new();
        for number in 0..60_u64 {
            let tx = db.begin_with(TxnOptions::default().durability(Durability::None)).unwrap();
            tx.put(&keyspaces["tree"], number.to_be_bytes(), vec![7; 2000]).unwrap();
            match tx.commit_async() {
                Ok(handle) => told.push((number, handle.expect("it wrote something"))),
                Err(Error::DiskFull { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let outcomes = Arc::new(AtomicU64::new(0));
        for (_, handle) in &told {
            let outcomes = Arc::clone(&outcomes);
            handle.on_durable(move |outcome| {
                outcome.expect("a full disk is no failure");
                outcomes.fetch_add(1, Ordering::SeqCst);
            });
        }
        machine.disk.set_capacity(None);
        while outcomes.load(Ordering::SeqCst) < told.len() as u64 {
            machine.upkeep();
        }
        let snapshot = db.snapshot().unwrap();
        for (number, _) in told {
            assert!(duramen::Reader::contains(&snapshot, &keyspaces["tree"], number.to_be_bytes()).unwrap());
        }
        watch.database(None);
    });
}
