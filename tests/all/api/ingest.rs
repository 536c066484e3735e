//! Sorted ingest: what one sees of it, beside what, and what it refuses.

use std::sync::Arc;
use std::sync::mpsc;

use duramen::seams::{ManualExecutor, Vfs};
use duramen::{
    BackendKind, Concurrency, Database, Durability, Error, IsolationLevel, Keyspace, KeyspaceOptions, Reader,
    SalvageReport, Snapshot, TxnOptions, VerifyLevel,
};
use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};
use duramen_base::vfs::{File, OpenMode};
use duramen_tests::dice::Dice;

use super::{builder_on, database, disk, on_each_kind, open_on, small, words};

type Rows = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

/// Pairs of keys `from..to`, of a few kilobytes together.
fn pairs(from: u64, to: u64, value: &str) -> impl Iterator<Item = (String, String)> {
    let value = value.to_owned();
    (from..to).map(move |n| (format!("{n:04}"), format!("{value}{n}")))
}

fn rows(reader: &impl Reader, ks: &Keyspace) -> Rows {
    let entries = reader.iter(ks).expect("readable").map(|entry| entry.expect("readable"));
    let rows: Rows = entries.map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect();
    let backward = reader.iter(ks).expect("readable").rev().map(|entry| entry.expect("readable").key.to_vec());
    assert!(backward.eq(rows.keys().rev().cloned()), "forward and backward differ");
    for (key, value) in &rows {
        assert_eq!(reader.get(ks, key).expect("readable").as_deref(), Some(&value[..]));
    }
    rows
}

fn now(db: &Database) -> Snapshot {
    db.snapshot().expect("open")
}

fn expected(pairs: impl Iterator<Item = (String, String)>) -> Rows {
    pairs.map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect()
}

fn check_clean(db: &Database) {
    let report = db.verify(VerifyLevel::Full).expect("readable");
    assert!(report.is_clean(), "{:#?}", report.problems);
}

fn all_pairs_are_one_commit(kind: BackendKind) {
    let (db, ks) = database(kind);
    let before = now(&db);
    let commit = db.ingest(&ks, pairs(0, 900, "v")).expect("room").expect("there are pairs");
    assert_eq!(db.stats().visible, commit.ts);
    assert_eq!(rows(&now(&db), &ks), expected(pairs(0, 900, "v")));
    assert!(rows(&before, &ks).is_empty());
    assert!(now(&db).get(&ks, "0900").expect("readable").is_none());
    check_clean(&db);
}

fn few_pairs_are_one_commit_too(kind: BackendKind) {
    let (db, ks) = database(kind);
    let before = db.stats().visible;
    assert_eq!(db.ingest(&ks, pairs(0, 0, "v")).expect("nothing to do"), None);
    assert_eq!(db.stats().visible, before);
    let commit = db.ingest(&ks, [("a", "1"), ("b", "2")]).expect("room").expect("there are pairs");
    assert_eq!(commit.ts, before.next());
    assert_eq!(words(now(&db).iter(&ks).expect("readable")), "a=1 b=2");
}

fn what_was_there_stays_but_for_the_keys_named(kind: BackendKind) {
    let (db, ks) = database(kind);
    let mut all = expected(pairs(0, 1_000, "old"));
    db.ingest(&ks, pairs(0, 1_000, "old")).expect("room");
    db.update(|tx| tx.delete_range(&ks, "0100", "0200")).expect("room");
    db.update(|tx| tx.put(&ks, "0150", "put")).expect("room");
    let before = now(&db);
    let before_rows = rows(&before, &ks);
    let every_third = || pairs(0, 1_000, "new").filter(|(key, _)| key.ends_with(['0', '3', '6', '9']));
    db.ingest(&ks, every_third()).expect("room");
    all.retain(|key, _| !(&b"0100"[..]..&b"0200"[..]).contains(&&key[..]));
    all.insert(b"0150".to_vec(), b"put".to_vec());
    all.extend(expected(every_third()));
    for step in 0..3 {
        assert_eq!(rows(&now(&db), &ks), all, "step {step}");
        assert_eq!(rows(&before, &ks), before_rows, "step {step}");
        match step {
            0 => db.checkpoint().expect("a good disk"),
            _ => db.compact(&ks).expect("a good disk"),
        }
    }
    check_clean(&db);
}

fn an_ingest_is_newer_than_what_is_buffered(kind: BackendKind) {
    let (db, ks) = stepped(kind);
    db.update(|tx| pairs(0, 20, "put").try_for_each(|(key, value)| tx.put(&ks, key, value))).expect("room");
    let before = now(&db);
    db.ingest(&ks, pairs(0, 1_000, "new").step_by(2)).expect("room");
    let all = expected(pairs(0, 20, "put").chain(pairs(0, 1_000, "new").step_by(2)));
    assert_eq!((rows(&now(&db), &ks), rows(&before, &ks)), (all, expected(pairs(0, 20, "put"))));
}

fn later_changes_are_newer(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.ingest(&ks, pairs(0, 900, "v")).expect("room");
    let before = now(&db);
    db.update(|tx| tx.delete_range(&ks, "0010", "0890")).expect("room");
    db.update(|tx| tx.put(&ks, "0500", "again")).expect("room");
    db.update(|tx| tx.delete(&ks, "0895")).expect("room");
    let mut all = expected(pairs(0, 10, "v").chain(pairs(890, 900, "v")));
    all.insert(b"0500".to_vec(), b"again".to_vec());
    all.remove(&b"0895"[..]);
    for step in 0..3 {
        assert_eq!(rows(&now(&db), &ks), all, "step {step}");
        assert_eq!(rows(&before, &ks), expected(pairs(0, 900, "v")), "step {step}");
        if step == 0 {
            db.checkpoint().expect("a good disk");
        } else {
            db.compact(&ks).expect("a good disk");
        }
    }
    drop(before);
    db.compact(&ks).expect("a good disk");
    assert_eq!(rows(&now(&db), &ks), all);
    check_clean(&db);
}

fn keys_out_of_order_are_refused(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| tx.put(&ks, "a", "1")).expect("room");
    let before = db.stats().visible;
    for last in ["0899", "0898", ""] {
        let wrong = pairs(0, 900, "v").chain([(last.to_owned(), "wrong".to_owned())]);
        assert!(matches!(db.ingest(&ks, wrong), Err(Error::InvalidArgument { .. })), "{last:?}");
    }
    let long = pairs(0, 900, "v").chain([("1".repeat(20_000), String::new())]);
    assert!(matches!(db.ingest(&ks, long), Err(Error::KeyTooLarge { bytes: 20_000 })));
    let bytes = duramen::VALUE_BYTES_MAX + 1;
    let large = pairs(0, 900, "v").chain([("1".to_owned(), "v".repeat(bytes))]);
    assert!(matches!(db.ingest(&ks, large), Err(Error::ValueTooLarge { bytes: found }) if found == bytes));
    let failing = pairs(0, 900, "v").map(Ok).chain([Err(Error::InvalidArgument { what: "line 901" })]);
    let failed = db.ingest_with(&ks, TxnOptions::default(), failing);
    assert!(matches!(failed, Err(Error::InvalidArgument { what: "line 901" })));
    assert!(matches!(
        db.ingest_with(&ks, TxnOptions::default().read_only(true), [Ok(("a", "2"))]),
        Err(Error::ReadOnly)
    ));
    assert_eq!(db.stats().visible, before);
    assert_eq!(words(now(&db).iter(&ks).expect("readable")), "a=1");
    check_clean(&db);
}

fn it_survives_a_clean_end_and_a_crash(kind: BackendKind) {
    for settles in [false, true] {
        let sim = SimVfs::new();
        let vfs: Arc<dyn Vfs> = Arc::new(sim.clone());
        let open = |vfs: &Arc<dyn Vfs>| builder_on(vfs).executor(Arc::new(ManualExecutor::new())).open("db");
        let db = open(&vfs).expect("an empty disk");
        let ks = db.keyspace("ks", small(kind)).expect("a new name");
        db.update(|tx| tx.put(&ks, "0005", "old")).expect("room");
        db.ingest(&ks, pairs(0, 900, "v")).expect("room");
        db.update(|tx| tx.put(&ks, "0007", "new")).expect("room");
        if settles {
            db.checkpoint().expect("a good disk");
        }
        let mut all = expected(pairs(0, 900, "v"));
        all.insert(b"0007".to_vec(), b"new".to_vec());
        let mut found: Arc<dyn Vfs> = Arc::new(sim.kill());
        drop((db, ks));
        for _ in 0..3 {
            let db = open(&found).expect("a crash is no damage");
            let ks = db.open_keyspace("ks").expect("its creation was durable");
            assert_eq!(rows(&now(&db), &ks), all);
            check_clean(&db);
            db.close().expect("a good disk");
            found = Arc::clone(&found);
        }
    }
}

/// The only conflict there can be: with what was read or written before it came.
fn whoever_read_or_wrote_among_its_keys_conflicts(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| tx.put(&ks, "0500", "old")).expect("room");
    let begin = |level| db.begin_with(TxnOptions::default().isolation(level)).expect("open");
    let writer = begin(IsolationLevel::Snapshot);
    let (one, other) = (begin(IsolationLevel::Serializable), begin(IsolationLevel::Serializable));
    for tx in [&writer, &one, &other] {
        assert_eq!(tx.get(&ks, "0500").expect("readable").as_deref(), Some(&b"old"[..]));
    }
    db.ingest(&ks, pairs(400, 900, "v")).expect("room");
    // It did not read what others wrote: no circle, whichever of them comes first.
    one.put(&ks, "0000", "beside").expect("room");
    assert!(one.commit().is_ok());
    writer.put(&ks, "0450", "late").expect("room");
    assert!(matches!(writer.commit(), Err(Error::WriteConflict(_))));
    other.put(&ks, "0899", "late").expect("room");
    assert!(matches!(other.commit(), Err(Error::WriteConflict(_) | Error::SerializationFailure(_))));
    let blind = begin(IsolationLevel::Snapshot);
    blind.put(&ks, "0450", "blind").expect("room");
    assert!(blind.commit().is_ok());
}

/// The write skew that only the facts of the ingest can show: it was read around, and what it did was seen by nobody.
fn a_serializable_reader_in_the_middle_of_a_circle_is_refused(kind: BackendKind) {
    let (db, ks) = database(kind);
    let other = db.create_keyspace("other", small(kind)).expect("a new name");
    db.update(|tx| tx.put(&ks, "0500", "old").and_then(|()| tx.put(&other, "x", "0"))).expect("room");
    let begin = || db.begin_with(TxnOptions::default().isolation(IsolationLevel::Serializable)).expect("open");
    // The pivot reads what the ingest overwrites, and overwrites what a reader read that has seen the ingest.
    let pivot = begin();
    assert!(pivot.get(&ks, "0500").expect("readable").is_some());
    pivot.put(&other, "x", "1").expect("room");
    db.ingest(&ks, pairs(0, 900, "v")).expect("room");
    let reader = begin();
    assert_eq!(reader.get(&ks, "0500").expect("readable").as_deref(), Some(&b"v500"[..]));
    assert_eq!(reader.get(&other, "x").expect("readable").as_deref(), Some(&b"0"[..]));
    reader.put(&other, "y", "1").expect("room");
    let outcomes = [reader.commit().map(drop), pivot.commit().map(drop)];
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::SerializationFailure(_)))).count();
    assert_eq!(refused, 1, "{outcomes:?}");
}

fn it_waits_for_locks_among_its_keys_and_for_no_others(kind: BackendKind) {
    let (db, ks) = database(kind);
    let pessimistic = || TxnOptions::default().concurrency(Concurrency::Pessimistic);
    let beside = db.begin_with(pessimistic()).expect("open");
    beside.put(&ks, "0900", "beside").expect("room");
    db.ingest(&ks, pairs(0, 900, "v")).expect("nobody locks its keys");
    let among = db.begin_with(pessimistic()).expect("open");
    among.put(&ks, "0450", "among").expect("room");
    let in_a_moment = TxnOptions::default().lock_timeout(std::time::Duration::from_millis(1));
    let refused = db.ingest_with(&ks, in_a_moment, pairs(0, 900, "w").map(Ok));
    assert!(matches!(refused, Err(Error::LockTimeout(_))), "{refused:?}");
    assert_eq!(now(&db).get(&ks, "0451").expect("readable").as_deref(), Some(&b"v451"[..]));
    among.commit().expect("nobody else wrote it");
    beside.commit().expect("nobody else wrote it");
    db.ingest(&ks, pairs(0, 900, "w")).expect("they are gone");
    assert_eq!(rows(&now(&db), &ks).len(), 901);
    check_clean(&db);
}

fn others_read_and_write_while_it_is_built(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| tx.put(&ks, "0005", "old")).expect("room");
    let snapshot = now(&db);
    let between = pairs(0, 900, "v").inspect(|(key, _)| {
        // What the source of the pairs does is no part of the ingest.
        if key.ends_with("50") {
            db.update(|tx| tx.put(&ks, format!("{key}+"), "beside")).expect("room");
            assert!(now(&db).get(&ks, "0001").expect("readable").is_none());
        }
    });
    db.ingest(&ks, between).expect("room");
    assert_eq!(rows(&now(&db), &ks).len(), 900 + 9);
    assert_eq!(words(snapshot.iter(&ks).expect("readable")), "0005=old");
    check_clean(&db);
}

fn a_dropped_keyspace_ends_it(kind: BackendKind) {
    let (db, ks) = database(kind);
    let (dropping, dropped) = (db.clone(), mpsc::channel());
    let thread = std::thread::spawn(move || {
        dropped.1.recv().expect("the ingest has begun");
        dropping.drop_keyspace("ks")
    });
    let endless = (0_u64..).map(|n| {
        if n == 2_000 {
            dropped.0.send(()).expect("it waits");
        }
        (n.to_be_bytes(), [7; 20])
    });
    // A store that takes puts alone would end with its memory.
    let outcome = db.ingest(&ks, endless);
    assert!(matches!(outcome, Err(Error::NoSuchKeyspace { .. } | Error::TxnTooLarge { .. })), "{outcome:?}");
    thread.join().expect("no panic").expect("a good disk");
    assert!(db.keyspaces().is_empty());
    db.keyspace("ks", small(kind)).expect("the name is free");
    db.close().expect("a good disk");
}

fn every_durability_is_kept(kind: BackendKind) {
    for durability in [Durability::None, Durability::Buffered, Durability::Sync] {
        let sim = SimVfs::new();
        let vfs: Arc<dyn Vfs> = Arc::new(sim.clone());
        let db = builder_on(&vfs).executor(Arc::new(ManualExecutor::new())).open("db").expect("an empty disk");
        let ks = db.keyspace("ks", small(kind)).expect("a new name");
        let options = TxnOptions::default().durability(durability);
        db.ingest_with(&ks, options, pairs(0, 900, "v").map(Ok)).expect("room");
        assert_eq!(rows(&now(&db), &ks).len(), 900);
        let killed: Arc<dyn Vfs> = Arc::new(sim.kill());
        drop((db, ks));
        let db = open_on(&killed).expect("a crash is no damage");
        let ks = db.open_keyspace("ks").expect("its creation was durable");
        let found = rows(&now(&db), &ks).len();
        assert!(found == 900 || (found == 0 && durability == Durability::None), "{durability:?}: {found}");
        check_clean(&db);
    }
}

fn what_fails_gives_its_space_back(kind: BackendKind) {
    let sim = SimVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(sim.clone());
    let db = builder_on(&vfs).executor(Arc::new(ManualExecutor::new())).open("db").expect("an empty disk");
    let ks = db.keyspace("ks", small(kind)).expect("a new name");
    db.ingest(&ks, pairs(0, 900, "v")).expect("room");
    db.compact(&ks).expect("a good disk");
    let settled = sim.used();
    let mut loaded = 900;
    for round in 0..20 {
        let failing = pairs(0, 2_000, "w").map(Ok).chain([Err(Error::InvalidArgument { what: "the end" })]);
        assert!(db.ingest_with(&ks, TxnOptions::default(), failing).is_err());
        let space = Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[OpKind::Write, OpKind::Create]);
        sim.inject(space.path_contains("/ks/").at(1 + round % 5).for_ever());
        let before = sim.faults_struck();
        let full = db.ingest(&ks, pairs(0, 2_000, "w"));
        let struck = sim.faults_struck() > before;
        sim.clear_faults();
        assert!(full.is_err() || !struck || kind == BackendKind::Model, "{full:?}");
        loaded = if full.is_ok() { 2_000 } else { loaded };
    }
    db.compact(&ks).expect("there is space again");
    let after = sim.used();
    assert!(after < 2 * settled + (256 << 10), "{settled} bytes, then {after}");
    assert_eq!(rows(&now(&db), &ks).len(), loaded);
    check_clean(&db);
}

/// What the store of `ks` has been written, and the changes it brought into pages one by one.
fn written_and_drained(db: &Database) -> (u64, u64) {
    let stats = db.stats();
    let (_, store) = stats.keyspaces.iter().find(|(name, _)| name == "ks").expect("it is open");
    (store.written_bytes, store.drained_changes)
}

fn stepped(kind: BackendKind) -> (Database, Keyspace) {
    let db = builder_on(&disk()).executor(Arc::new(ManualExecutor::new())).open("db").expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
    (db, ks)
}

fn behind_the_last_key_every_byte_is_written_once(kind: BackendKind) {
    let db = builder_on(&disk()).executor(Arc::new(ManualExecutor::new())).open("db").expect("an empty disk");
    let options = KeyspaceOptions { memtable_bytes: 4 << 10, ..KeyspaceOptions::new(kind) };
    let ks = db.create_keyspace("ks", options).expect("a new name");
    for round in 0..5 {
        let before = written_and_drained(&db);
        let value = "v".repeat(250);
        db.ingest(&ks, pairs(round * 1_000, (round + 1) * 1_000, &value)).expect("room");
        db.checkpoint().expect("a good disk");
        let after = written_and_drained(&db);
        if kind == BackendKind::BTree {
            assert_eq!(after.1, before.1, "no leaf was merged");
            let given = 1_000 * 258;
            assert!(after.0 - before.0 < given * 3 / 2, "{} bytes written of {given}", after.0 - before.0);
        }
        assert_eq!(rows(&now(&db), &ks).len() as u64, (round + 1) * 1_000);
        check_clean(&db);
    }
    db.compact(&ks).expect("a good disk");
    assert_eq!(rows(&now(&db), &ks).len(), 5_000);
    check_clean(&db);
}

fn an_older_snapshot_keeps_an_ingest_from_being_hung(kind: BackendKind) {
    let (db, ks) = stepped(kind);
    db.update(|tx| tx.put(&ks, "5", "old")).expect("room");
    db.checkpoint().expect("a good disk");
    let before = now(&db);
    db.ingest(&ks, pairs(0, 900, "v")).expect("room");
    db.checkpoint().expect("a good disk");
    assert_eq!(words(before.iter(&ks).expect("readable")), "5=old");
    assert!(before.get(&ks, "0005").expect("readable").is_none());
    assert_eq!(rows(&now(&db), &ks).len(), 901);
    drop(before);
    db.compact(&ks).expect("a good disk");
    assert_eq!(rows(&now(&db), &ks).len(), 901);
    check_clean(&db);
}

fn long_keys_and_large_values_are_taken(kind: BackendKind) {
    let (db, ks) = stepped(kind);
    let longest = |first: u8| vec![first; duramen::KEY_BYTES_MAX];
    let pairs =
        [(vec![], vec![1; 65_536]), (longest(7), vec![2; 65_536]), (longest(8), vec![]), (longest(255), vec![3; 9])];
    for round in 0..3 {
        db.ingest(&ks, pairs.clone()).expect("room");
        assert_eq!(rows(&now(&db), &ks), pairs.clone().into_iter().collect::<Rows>(), "round {round}");
        db.checkpoint().expect("a good disk");
        assert_eq!(rows(&now(&db), &ks), pairs.clone().into_iter().collect::<Rows>(), "round {round}");
    }
    check_clean(&db);
}

/// How many large values there are, and bytes of their files.
fn values(db: &Database) -> (u64, u64) {
    let stats = db.stats();
    let (_, store) = stats.keyspaces.iter().find(|(name, _)| name == "ks").expect("it is open");
    (store.values, store.value_bytes)
}

fn large_values_go_to_value_files_and_give_their_space_back(kind: BackendKind) {
    let sim = SimVfs::new();
    let open = |sim: &SimVfs| {
        builder_on(&(Arc::new(sim.clone()) as Arc<dyn Vfs>)).executor(Arc::new(ManualExecutor::new())).open("db")
    };
    let db = open(&sim).expect("an empty disk");
    let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
    let value = |n: u64, round: u64| vec![(n * 7 + round) as u8; 10_000 + (n as usize * 3_917) % 30_000];
    let pairs = |round: u64, step: usize| {
        (0..60_u64).step_by(step).map(move |n| (format!("{n:02}").into_bytes(), value(n, round))).collect::<Vec<_>>()
    };
    db.update(|tx| tx.put(&ks, "", value(0, 9))).expect("room");
    let before = now(&db);
    let mut all = Rows::from([(vec![], value(0, 9))]);
    for (round, step) in [(0, 1), (1, 3), (2, 7)] {
        db.ingest(&ks, pairs(round, step)).expect("room");
        all.extend(pairs(round, step));
        assert_eq!(rows(&now(&db), &ks), all, "round {round}");
        check_clean(&db);
    }
    db.update(|tx| tx.delete(&ks, "05")).expect("room");
    all.remove(&b"05"[..]);
    assert_eq!(rows(&before, &ks).len(), 1);
    db.checkpoint().expect("a good disk");
    assert_eq!(rows(&now(&db), &ks), all);
    check_clean(&db);
    drop(before);
    db.compact(&ks).expect("a good disk");
    assert_eq!(rows(&now(&db), &ks), all);
    check_clean(&db);
    let large = all.values().filter(|value| value.len() > 16 << 10);
    let bytes: usize = large.clone().map(Vec::len).sum();
    if kind != BackendKind::Model {
        assert_eq!(values(&db).0, large.count() as u64);
        assert!(values(&db).1 < bytes as u64 + 8_192, "{} bytes for {bytes}", values(&db).1);
    }
    // What only the log names, over a crash.
    db.ingest(&ks, pairs(3, 2)).expect("room");
    all.extend(pairs(3, 2));
    let sim = sim.kill();
    drop((db, ks));
    let db = open(&sim).expect("a crash is no damage");
    let ks = db.open_keyspace("ks").expect("it is there");
    for _ in 0..2 {
        assert_eq!(rows(&now(&db), &ks), all);
        check_clean(&db);
        db.compact(&ks).expect("a good disk");
    }
    db.update(|tx| tx.delete_range(&ks, "", "")).expect("room");
    db.compact(&ks).expect("a good disk");
    assert_eq!(values(&db), (0, 0));
    check_clean(&db);
}

/// A keyspace with large values that came by an ingest; settled, or named by the log alone.
fn with_ingested_values(kind: BackendKind, settles: bool) -> (SimVfs, Rows) {
    let sim = SimVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(sim.clone());
    let db = builder_on(&vfs).executor(Arc::new(ManualExecutor::new())).open("db").expect("an empty disk");
    let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
    let pairs: Vec<_> = (0..9_u8).map(|n| (vec![n], vec![n; 10_000 + usize::from(n) * 2_000])).collect();
    db.ingest(&ks, pairs.clone()).expect("room");
    if settles {
        db.checkpoint().expect("a good disk");
    }
    (sim.kill(), pairs.into_iter().collect())
}

/// What a salvage makes of a database whose keyspace is `ks`.
fn salvaged(sim: SimVfs) -> (SalvageReport, Rows) {
    let vfs: Arc<dyn Vfs> = Arc::new(sim);
    let report = builder_on(&vfs).salvage("db", "rescued").expect("a good disk");
    let db = builder_on(&vfs).open("rescued").expect("whole");
    let found = rows(&now(&db), &db.open_keyspace("ks").expect("it is there"));
    (report, found)
}

fn ingested_values_are_salvaged(kind: BackendKind) {
    for settles in [true, false] {
        let (sim, all) = with_ingested_values(kind, settles);
        let (report, found) = salvaged(sim);
        assert!(report.is_whole(), "settled: {settles}: {report}");
        assert_eq!(found, all, "settled: {settles}");
    }
}

/// A keyspace with an ingest that only the log names, and what it shows. `changes`: with something before and behind it.
fn with_unsettled_ingest(kind: BackendKind, changes: bool) -> (SimVfs, Rows) {
    let sim = SimVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(sim.clone());
    let db = builder_on(&vfs).executor(Arc::new(ManualExecutor::new())).open("db").expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
    if changes {
        db.ingest(&ks, pairs(300, 400, "old")).expect("room");
        db.update(|tx| tx.put(&ks, "0900", "before")).expect("room");
    }
    db.checkpoint().expect("a good disk");
    db.ingest(&ks, pairs(0, 900, "v")).expect("room");
    if changes {
        db.update(|tx| tx.put(&ks, "0005", "behind")).expect("room");
        db.update(|tx| tx.delete(&ks, "0007")).expect("room");
        db.update(|tx| tx.delete_range(&ks, "0100", "0200")).expect("room");
        db.ingest(&ks, pairs(150, 170, "w")).expect("room");
    }
    let all = rows(&now(&db), &ks);
    (sim.kill(), all)
}

fn an_ingest_that_only_the_log_names_is_salvaged(kind: BackendKind) {
    let (sim, all) = with_unsettled_ingest(kind, true);
    assert_eq!((all.len(), &all[&b"0160"[..]]), (820, &b"w160".to_vec()));
    let (report, found) = salvaged(sim);
    assert!(report.is_whole(), "{report}");
    assert_eq!(found, all);
}

fn damage_to_an_ingest_that_only_the_log_names_is_told_by_its_salvage(kind: BackendKind) {
    let dir = std::path::Path::new("db/ks/1");
    let list = |sim: &SimVfs| sim.list(dir).unwrap_or_default();
    let files: Vec<_> = list(&with_unsettled_ingest(kind, false).0);
    let mut tried = 0;
    for path in files.iter().filter(|entry| !entry.is_dir).map(|entry| dir.join(&entry.name)) {
        let bytes = File::open(&with_unsettled_ingest(kind, false).0, &path, OpenMode::Read).unwrap().len().unwrap();
        for at in (0..bytes).step_by(4096).map(Some).chain([None]) {
            let (sim, all) = with_unsettled_ingest(kind, false);
            match at {
                Some(at) => {
                    let file = File::open(&sim, &path, OpenMode::OpenOrCreate).expect("it is there");
                    file.write_all_at(&[0xa5; 64], at + 64).expect("a good disk");
                }
                None => sim.remove_file(&path).expect("it is there"),
            }
            let (report, found) = salvaged(sim);
            assert!(found.iter().all(|(key, value)| all[key] == *value), "{path:?} at {at:?}");
            assert!(found.len() == all.len() || !report.is_whole(), "{path:?} at {at:?}: {} found", found.len());
            tried += usize::from(found.len() < all.len());
        }
    }
    assert!(tried >= 3 || kind == BackendKind::Model, "{tried} times something was missing");
}

fn damage_in_the_values_of_an_ingest_is_told_by_who_reads_them(kind: BackendKind) {
    for (settles, removes) in [(false, false), (false, true), (true, false), (true, true)] {
        let (sim, all) = with_ingested_values(kind, settles);
        let dir = std::path::Path::new("db/ks/1/values");
        let files = sim.list(dir).unwrap_or_default().into_iter().map(|entry| dir.join(entry.name));
        for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "val")) {
            if removes {
                sim.remove_file(&path).expect("it is there");
            } else {
                let file = File::open(&sim, &path, OpenMode::OpenOrCreate).expect("it is there");
                file.write_all_at(b"damage", file.len().expect("a good disk") - 6).expect("a good disk");
            }
        }
        let vfs: Arc<dyn Vfs> = Arc::new(sim);
        let db = builder_on(&vfs).executor(Arc::new(ManualExecutor::new())).open("db").expect("reading tells");
        let ks = db.open_keyspace("ks").expect("it is there");
        let read: Vec<_> = all.keys().map(|key| (key, now(&db).get(&ks, key))).collect();
        for (key, found) in &read {
            match found {
                Ok(found) => assert_eq!(found.as_deref(), Some(&all[*key][..])),
                Err(error) => assert!(matches!(error, Error::Corruption { .. }), "{error}"),
            }
        }
        let told = read.iter().filter(|(_, found)| found.is_err()).count();
        let large = all.values().filter(|value| value.len() > 16 << 10).count();
        let expected = if kind == BackendKind::Model { 0 } else { if removes { large } else { 1 } };
        assert_eq!(told, expected, "settled: {settles}, removed: {removes}");
        let report = db.verify(VerifyLevel::Full).expect("readable");
        assert_eq!(report.is_clean(), expected == 0, "settled: {settles}, removed: {removes}: {report:?}");
    }
}

/// 16 MiB, and a little memory.
fn values_up_to_the_limit_are_ingested(kind: BackendKind) {
    if kind == BackendKind::Model {
        return; // It takes puts alone, which a transaction holds in memory.
    }
    let vfs = disk();
    let open = || builder_on(&vfs).executor(Arc::new(ManualExecutor::new())).open("db").expect("a good disk");
    let db = open();
    let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
    let of = |n: u8| vec![n; duramen::VALUE_BYTES_MAX - usize::from(n)];
    db.ingest(&ks, (0..4_u8).map(|n| ([n], of(n)))).expect("room");
    let check = |db: &Database, ks: &Keyspace| {
        for n in 0..4_u8 {
            assert!(now(db).get(ks, [n]).expect("readable").as_deref() == Some(&of(n)[..]));
        }
        let mut numbers = 0..;
        for entry in now(db).iter(ks).expect("readable") {
            assert!(entry.expect("readable").value[..] == of(numbers.next().expect("endless")));
        }
        check_clean(db);
    };
    check(&db, &ks);
    drop(ks);
    db.close().expect("a good disk");
    let db = open();
    let ks = db.open_keyspace("ks").expect("it is there");
    check(&db, &ks);
    db.compact(&ks).expect("a good disk");
    check(&db, &ks);
}

/// Random ingests among random changes, restarts and upkeep, against a map.
fn random_ingests_are_as_if_put(kind: BackendKind) {
    let seed = crate::random::seed();
    for round in 0..6 * crate::random::factor() {
        let mut dice = Dice::new(seed ^ round);
        let (vfs, jobs) = (disk(), ManualExecutor::new());
        let open = || builder_on(&vfs).executor(Arc::new(jobs.clone())).open("db").expect("a good disk");
        let mut db = open();
        let mut ks = db.keyspace("ks", small(kind)).expect("a new name");
        let mut state = Rows::new();
        let mut held: Vec<(Snapshot, Rows)> = Vec::new();
        for turn in 0..60 {
            match dice.below(10) {
                0..3 => {
                    let (from, step) = (dice.below(800), 1 + dice.below(4));
                    let count = dice.below(500);
                    let filling = if dice.below(3) == 0 { ".".repeat(110) } else { String::new() };
                    let value = format!("{round}.{turn}.{filling}");
                    let chosen: Vec<_> = pairs(from, from + step * count, &value).step_by(step as usize).collect();
                    db.ingest(&ks, chosen.clone()).expect("room");
                    state.extend(expected(chosen.into_iter()));
                }
                3..6 => {
                    let key = format!("{:04}", dice.below(1_000)).into_bytes();
                    let high = format!("{:04}", dice.below(1_000)).into_bytes();
                    match dice.below(4) {
                        0 => {
                            let (low, high) = (key.clone().min(high.clone()), key.max(high));
                            db.update(|tx| tx.delete_range(&ks, &low, &high)).expect("room");
                            state.retain(|key, _| *key < low || *key >= high);
                        }
                        1 => {
                            db.update(|tx| tx.delete(&ks, &key)).expect("room");
                            state.remove(&key);
                        }
                        _ => {
                            db.update(|tx| tx.put(&ks, &key, "put")).expect("room");
                            state.insert(key, b"put".to_vec());
                        }
                    }
                }
                6..8 => {
                    jobs.run_all(1 + dice.below(4) as usize);
                }
                8 if held.len() < 3 => held.push((now(&db), state.clone())),
                8 => drop(held.remove(0)),
                _ => match dice.below(3) {
                    0 => db.checkpoint().expect("a good disk"),
                    1 => db.compact(&ks).expect("a good disk"),
                    _ => {
                        held.clear();
                        drop((db, ks));
                        db = open();
                        ks = db.open_keyspace("ks").expect("it was created");
                    }
                },
            }
            assert_eq!(rows(&now(&db), &ks), state, "seed {seed}, round {round}, turn {turn}");
            for (snapshot, then) in &held {
                assert_eq!(rows(snapshot, &ks), *then, "seed {seed}, round {round}, turn {turn}");
            }
        }
        held.clear();
        check_clean(&db);
    }
}

on_each_kind!(
    all_pairs_are_one_commit,
    few_pairs_are_one_commit_too,
    what_was_there_stays_but_for_the_keys_named,
    an_ingest_is_newer_than_what_is_buffered,
    later_changes_are_newer,
    keys_out_of_order_are_refused,
    it_survives_a_clean_end_and_a_crash,
    whoever_read_or_wrote_among_its_keys_conflicts,
    a_serializable_reader_in_the_middle_of_a_circle_is_refused,
    it_waits_for_locks_among_its_keys_and_for_no_others,
    others_read_and_write_while_it_is_built,
    a_dropped_keyspace_ends_it,
    every_durability_is_kept,
    what_fails_gives_its_space_back,
    behind_the_last_key_every_byte_is_written_once,
    an_older_snapshot_keeps_an_ingest_from_being_hung,
    long_keys_and_large_values_are_taken,
    large_values_go_to_value_files_and_give_their_space_back,
    ingested_values_are_salvaged,
    an_ingest_that_only_the_log_names_is_salvaged,
    damage_to_an_ingest_that_only_the_log_names_is_told_by_its_salvage,
    damage_in_the_values_of_an_ingest_is_told_by_who_reads_them,
    values_up_to_the_limit_are_ingested,
    random_ingests_are_as_if_put,
);
