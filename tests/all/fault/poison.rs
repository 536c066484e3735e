//! A log that failed: reads go on, nothing new begins, whoever waits is told, closing tells, and opening again works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use duramen::{Database, Durability, Error, Health, Keyspace, Reader, TxnOptions};
use duramen_base::vfs::sim::{CrashModel, Fault, FaultKind, Keep, OpKind, OsError, SimVfs};

use super::run::{FOLDER, Machine, options, small};
use super::watch::watched;

const LOST_DISK: FaultKind = FaultKind::Error(OsError::Io);

fn keyspaces(db: &Database) -> [Keyspace; 2] {
    ["tree", "lsm"].map(|name| db.keyspace(name, options(name)).unwrap())
}

fn put(db: &Database, keyspaces: &[Keyspace; 2], key: &str, durability: Durability) -> duramen::Result<()> {
    let tx = db.begin_with(TxnOptions::default().durability(durability))?;
    keyspaces.iter().try_for_each(|keyspace| tx.put(keyspace, key, "value"))?;
    tx.commit().map(drop)
}

fn fault_of_the_log(kind: FaultKind, ops: &[OpKind]) -> Fault {
    Fault::new(kind).on(ops).path_contains("log/").for_ever()
}

#[test]
fn a_poisoned_database_reads_and_refuses_and_tells_at_close() {
    for kind in [FaultKind::SyncDrops, LOST_DISK] {
        let machine = Machine::on(SimVfs::new());
        let db = machine.open().unwrap();
        let keyspaces = keyspaces(&db);
        put(&db, &keyspaces, "before", Durability::Sync).unwrap();
        let unfinished = db.begin().unwrap();
        unfinished.put(&keyspaces[0], "unfinished", "value").unwrap();
        machine.disk.inject(fault_of_the_log(kind, &[OpKind::SyncData]));

        assert!(matches!(put(&db, &keyspaces, "lost", Durability::Sync), Err(Error::Indeterminate { .. })));
        assert!(matches!(db.health(), Health::Poisoned { .. }));
        assert!(matches!(db.begin(), Err(Error::Poisoned { .. })));
        assert!(matches!(unfinished.commit(), Err(Error::Poisoned { .. })));
        assert!(matches!(db.checkpoint(), Err(Error::Poisoned { .. })));
        assert!(matches!(db.create_keyspace("more", options("more")), Err(Error::Poisoned { .. })));
        assert!(matches!(db.drop_keyspace("tree"), Err(Error::Poisoned { .. })));
        let snapshot = db.snapshot().unwrap();
        for keyspace in &keyspaces {
            assert_eq!(snapshot.get(keyspace, "before").unwrap().as_deref(), Some(&b"value"[..]));
            assert_eq!(snapshot.iter(keyspace).unwrap().count(), 1, "what nobody acknowledged is not shown");
        }
        assert!(matches!(db.close(), Err(Error::Poisoned { .. })));
        assert!(matches!(snapshot.get(&keyspaces[0], "before"), Err(Error::Closed)));

        machine.disk.clear_faults();
        let db = machine.open().unwrap();
        let keyspaces = ["tree", "lsm"].map(|name| db.open_keyspace(name).unwrap());
        let found = keyspaces.each_ref().map(|keyspace| db.snapshot().unwrap().contains(keyspace, "lost").unwrap());
        assert_eq!(found[0], found[1], "whole or not at all");
        assert!(keyspaces.iter().all(|keyspace| db.snapshot().unwrap().contains(keyspace, "before").unwrap()));
        put(&db, &keyspaces, "after", Durability::Sync).unwrap();
        db.close().unwrap();
    }
}

/// The number of commits acknowledged behind a failed sync is zero, whatever durability they ask for, and whichever sync it was.
#[test]
fn nothing_is_acknowledged_after_a_failed_sync_of_the_log() {
    let mut acknowledged_after = 0;
    for at in 1..40 {
        let machine = Machine::on(SimVfs::new());
        let db = machine.open().unwrap();
        let keyspaces = keyspaces(&db);
        machine.disk.inject(Fault::new(FaultKind::SyncDrops).on(&[OpKind::SyncData]).path_contains("log/").at(at));
        for number in 0..60 {
            let was_struck = machine.disk.faults_struck() > 0;
            let durability = [Durability::Sync, Durability::None, Durability::Buffered][number % 3];
            let outcome = put(&db, &keyspaces, &format!("key {number}"), durability);
            acknowledged_after += u64::from(was_struck && outcome.is_ok());
            if number % 20 == 19 {
                let _ = db.checkpoint();
            }
            machine.upkeep();
        }
    }
    assert_eq!(acknowledged_after, 0);
}

/// Threads that wait for the same sync, handles, and callbacks.
#[test]
fn whoever_waits_for_a_sync_that_fails_is_told_that_the_outcome_is_unknown() {
    watched(|watch| {
        let disk = SimVfs::new();
        watch.begin("threads that wait for a sync".into(), &disk);
        let db = small(&disk).open(FOLDER).unwrap();
        let keyspaces = keyspaces(&db);
        put(&db, &keyspaces, "before", Durability::Sync).unwrap();
        let tx = db.begin().unwrap();
        tx.put(&keyspaces[0], "a", "1").unwrap();
        disk.inject(fault_of_the_log(FaultKind::SyncDrops, &[OpKind::SyncData]));
        let handle = tx.commit_async().unwrap().unwrap();
        let told = Arc::new(AtomicU64::new(0));
        for _ in 0..3 {
            let told = Arc::clone(&told);
            handle.on_durable(move |outcome| {
                assert!(matches!(outcome, Err(Error::Indeterminate { .. })), "{outcome:?}");
                told.fetch_add(1, Ordering::SeqCst);
            });
        }
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (db, keyspaces) = (&db, &keyspaces);
                scope.spawn(move || {
                    let outcome = put(db, keyspaces, &format!("thread {thread}"), Durability::Sync);
                    assert!(
                        matches!(outcome, Err(Error::Indeterminate { .. } | Error::Poisoned { .. })),
                        "{outcome:?}"
                    );
                });
            }
            assert!(matches!(handle.wait_durable(), Err(Error::Indeterminate { .. })));
        });
        while told.load(Ordering::SeqCst) < 3 {
            std::thread::yield_now();
        }
        assert!(matches!(handle.wait_durable(), Err(Error::Indeterminate { .. })), "asked again it says the same");
        assert!(db.close().is_err());
    });
}

/// A store that cannot persist any more stops the whole database: else the log would grow for ever.
#[test]
fn a_store_that_failed_for_good_poisons_the_database() {
    for file in ["tree.dat", "MANIFEST", ".sst"] {
        let machine = Machine::on(SimVfs::new());
        let db = machine.open().unwrap();
        let keyspaces = keyspaces(&db);
        put(&db, &keyspaces, "before", Durability::Sync).unwrap();
        let fault = Fault::new(FaultKind::SyncDrops).on(&[OpKind::SyncData]).path_contains(file).for_ever();
        machine.disk.inject(fault);
        assert!(matches!(db.checkpoint(), Err(Error::Poisoned { .. })), "{file}");
        assert!(matches!(db.health(), Health::Poisoned { .. }), "{file}");
        assert!(matches!(put(&db, &keyspaces, "after", Durability::None), Err(Error::Poisoned { .. })), "{file}");
        machine.disk.clear_faults();
        drop((db, keyspaces));
        let db = machine.open().unwrap();
        assert!(db.snapshot().unwrap().contains(&db.open_keyspace("tree").unwrap(), "before").unwrap());
        db.checkpoint().unwrap();
    }
}

/// The sync of a superblock or of a switch of names fails, the process dies, and the next one builds on what it finds: a loss of power
/// must not bring back what was there before.
#[test]
fn what_an_opening_finds_and_builds_on_is_durable() {
    for (path, op) in [("tree.dat", OpKind::SyncData), ("MANIFEST", OpKind::SyncData), ("ks/2", OpKind::SyncDir)] {
        for at in 1..6 {
            let machine = Machine::on(SimVfs::new());
            let db = machine.open().unwrap();
            let keyspaces = keyspaces(&db);
            machine.disk.inject(Fault::new(LOST_DISK).on(&[op]).path_contains(path).at(at));
            for number in 0..8 {
                let _ = put(&db, &keyspaces, &format!("key {number}"), Durability::Sync);
                let _ = db.checkpoint();
            }
            let machine = Machine::on(machine.disk.kill());
            machine.disk.clear_faults();
            drop((db, keyspaces));
            let db = machine.open().unwrap();
            let found = super::history::read_all(&db).unwrap();
            machine.upkeep();
            let mut journal = machine.disk.journal();
            for step in 0..3 {
                for model in [CrashModel::Strict, CrashModel::Ext4Like] {
                    let image = journal.crash_at(journal.len(), model, Keep::None, 512);
                    let after = Machine::on(SimVfs::on(image)).open();
                    let after = after.unwrap_or_else(|error| panic!("{path} {at}, step {step}, {model:?}: {error}"));
                    let again = super::history::read_all(&after).unwrap();
                    assert!(found.iter().all(|entry| again.get(entry.0) == Some(entry.1)), "{path} {at}: lost");
                }
                let keyspaces = ["tree", "lsm"].map(|name| db.open_keyspace(name).unwrap());
                put(&db, &keyspaces, &format!("later {step}"), Durability::Sync).unwrap();
                db.checkpoint().unwrap();
                journal = machine.disk.journal();
            }
        }
    }
}

/// The catalog was switched, its sync failed, the process died. The next opening removes what the new catalog does not list, and a loss of
/// power must not bring the old catalog back.
#[test]
fn a_drop_whose_last_sync_failed_is_not_half_undone_by_a_loss_of_power() {
    for at in 1..6 {
        let machine = Machine::on(SimVfs::new());
        let db = machine.open().unwrap();
        let keyspaces = keyspaces(&db);
        put(&db, &keyspaces, "before", Durability::Sync).unwrap();
        machine.disk.inject(Fault::new(LOST_DISK).on(&[OpKind::SyncDir]).at(at));
        let dropped = db.drop_keyspace("tree");
        let machine = Machine::on(machine.disk.kill());
        machine.disk.clear_faults();
        drop((db, keyspaces));
        drop(machine.open().unwrap());
        let journal = machine.disk.journal();
        let image = journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512);
        let db = Machine::on(SimVfs::on(image)).open().unwrap_or_else(|error| panic!("{at}, {dropped:?}: {error}"));
        assert!(db.snapshot().unwrap().contains(&db.open_keyspace("lsm").unwrap(), "before").unwrap());
    }
}
