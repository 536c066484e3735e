//! A fault at every call of a sorted ingest: all of it or nothing, its space comes back, and where the disk allows it, it can be done again.

use duramen::{BackendKind, Database, Error, Keyspace, Reader, VerifyLevel};
use duramen_base::vfs::sim::{CrashModel, Fault, FaultKind, Keep, OpKind, OsError, SimVfs};

use super::run::{Machine, options};

/// How many pairs the ingest has, and bytes that every other value has beside a few: those of more than 100 lie in value files.
#[derive(Clone, Copy, Debug)]
struct Pairs {
    count: u64,
    bytes: usize,
}

const SHORT: Pairs = Pairs { count: 150, bytes: 0 };
const LARGE: Pairs = Pairs { count: 15, bytes: 200 };

impl Pairs {
    fn all(self) -> impl Iterator<Item = (String, String)> {
        let filling = move |n: u64| ".".repeat(self.bytes * (n as usize % 2));
        (0..self.count).map(move |n| (format!("key {n:03}"), format!("value {n}{}", filling(n))))
    }
}

fn keyspace(db: &Database, kind: BackendKind) -> Keyspace {
    db.keyspace("ks", options(if kind == BackendKind::BTree { "tree" } else { "lsm" })).expect("a good disk")
}

/// What is there: nothing of it (`false`), or all.
fn is_in(db: &Database, ks: &Keyspace, pairs: Pairs) -> bool {
    let snapshot = db.snapshot().expect("open");
    let found: Vec<_> = snapshot.iter(ks).expect("readable").map(|entry| entry.expect("readable")).collect();
    let before = found.iter().filter(|entry| *entry.key == *b"before").count();
    assert_eq!(before, 1, "what was there stays");
    let is_right =
        |(key, value): (String, String)| snapshot.get(ks, key).expect("readable").as_deref() == Some(value.as_bytes());
    match found.len() - 1 {
        0 => false,
        all => {
            assert_eq!(all as u64, pairs.count, "a part of it");
            assert!(pairs.all().all(is_right));
            true
        }
    }
}

/// Whether the fault was met.
fn strike(kind: BackendKind, pairs: Pairs, fault: &Fault) -> bool {
    let machine = Machine::on(SimVfs::new());
    let db = machine.open().expect("a good disk");
    let ks = keyspace(&db, kind);
    db.update(|tx| tx.put(&ks, "before", "")).expect("a good disk");
    db.checkpoint().expect("a good disk");
    machine.disk.inject(fault.clone());
    let outcome = db.ingest(&ks, pairs.all());
    let struck = machine.disk.faults_struck() > 0;
    machine.disk.clear_faults();
    let may_be = match &outcome {
        Ok(_) => [true, true],
        Err(Error::Indeterminate { .. }) => [false, true],
        Err(Error::Corruption { .. } | Error::UnsupportedFormat { .. }) => {
            panic!("a failed call is no damage: {outcome:?}")
        }
        Err(_) => [false, false],
    };
    let here = is_in(&db, &ks, pairs);
    assert!(may_be.contains(&here), "{outcome:?}, and {here}");
    if !matches!(outcome, Err(Error::Poisoned { .. } | Error::Indeterminate { .. })) {
        // The same process goes on, as far as it may.
        match db.ingest(&ks, pairs.all()) {
            Ok(_) => assert!(is_in(&db, &ks, pairs)),
            Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
        }
    }
    let may_be = if is_in(&db, &ks, pairs) { [may_be[0] && outcome.is_ok(), true] } else { may_be };
    let journal = machine.disk.journal();
    let loss = |model| SimVfs::on(journal.crash_at(journal.len(), model, Keep::None, 512));
    for disk in [loss(CrashModel::Strict), loss(CrashModel::Ext4Like), machine.disk.kill()] {
        let machine = Machine::on(disk);
        let db = machine.open().unwrap_or_else(|error| panic!("{outcome:?}: opening again: {error}"));
        let ks = keyspace(&db, kind);
        let found = is_in(&db, &ks, pairs);
        assert!(may_be.contains(&found), "{outcome:?}, and then {found}");
        db.ingest(&ks, pairs.all()).expect("a good disk");
        assert!(is_in(&db, &ks, pairs));
        db.compact(&ks).expect("a good disk");
        assert!(is_in(&db, &ks, pairs));
        let report = db.verify(VerifyLevel::Full).expect("readable");
        assert!(report.is_clean(), "{:?}", report.problems);
        db.close().expect("a good disk");
    }
    struck
}

fn strike_everywhere(kind: BackendKind, pairs: Pairs) {
    let faults = [
        Fault::new(FaultKind::Error(OsError::Io)),
        Fault::new(FaultKind::Error(OsError::Io)).for_ever(),
        Fault::new(FaultKind::PartialThenError(OsError::Io)),
        Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[
            OpKind::Create,
            OpKind::Write,
            OpKind::SyncData,
            OpKind::SyncDir,
        ]),
        Fault::new(FaultKind::SyncDrops),
    ];
    for fault in faults {
        let mut at = 1;
        while strike(kind, pairs, &fault.clone().at(at)) {
            at += 1;
        }
        println!("{kind}, {pairs:?}: {} calls of {fault:?}", at - 1);
        assert!(at > 2, "the fault strikes somewhere");
    }
}

#[test]
fn a_fault_at_any_call_of_an_ingest_leaves_all_or_nothing_btree() {
    strike_everywhere(BackendKind::BTree, SHORT);
    strike_everywhere(BackendKind::BTree, LARGE);
}

#[test]
fn a_fault_at_any_call_of_an_ingest_leaves_all_or_nothing_lsm() {
    strike_everywhere(BackendKind::Lsm, SHORT);
    strike_everywhere(BackendKind::Lsm, LARGE);
}
