//! Values that lie in value files, on the options that programs use.

use std::collections::BTreeMap;

use duramen::seams::ManualExecutor;
use duramen::{Error, Reader, VALUE_BYTES_MAX, VerifyLevel};
use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};

use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// More than a page or block takes in.
fn value(number: u32) -> Vec<u8> {
    let len = 16_385 + (number as usize * 7_919) % 50_000;
    (0..len).map(|at| (at as u32 ^ number) as u8).collect()
}

fn filled(db: &Database, kind: BackendKind) -> (Keyspace, Model) {
    let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
    let mut model = Model::new();
    for number in 0..60u32 {
        let (key, value) = (format!("{:02}", number * 7 % 30).into_bytes(), value(number));
        db.update(|tx| tx.put(&ks, &key, &value)).expect("a commit");
        model.insert(key, value);
        if number % 20 == 9 {
            db.checkpoint().expect("a good disk");
        }
    }
    (ks, model)
}

#[track_caller]
fn check(db: &Database, ks: &Keyspace, model: &Model) {
    let snapshot = db.snapshot().expect("open");
    let scanned = snapshot.iter(ks).expect("readable").map(|entry| {
        let entry = entry.expect("readable");
        (entry.key.to_vec(), entry.value.to_vec())
    });
    assert!(scanned.collect::<Model>() == *model);
    let back = snapshot.iter(ks).expect("readable").rev().filter(|entry| {
        let entry = entry.as_ref().expect("readable");
        model.get(&*entry.key).is_some_and(|value| **value == *entry.value)
    });
    assert_eq!(back.count(), model.len());
    for (key, value) in model {
        assert!(snapshot.get(ks, key).expect("readable").as_deref() == Some(&value[..]));
    }
    let report = db.verify(VerifyLevel::Full).expect("readable");
    assert!(report.is_clean(), "{:#?}", report.problems);
}

fn large_values_are_read_whatever_happened_to_their_files(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let (ks, mut model) = filled(&db, kind);
    check(&db, &ks, &model);
    db.checkpoint().expect("a good disk");
    check(&db, &ks, &model);
    db.update(|tx| tx.delete_range(&ks, "05", "25")).expect("a commit");
    model.retain(|key, _| key[..] < b"05"[..] || key[..] >= b"25"[..]);
    db.compact(&ks).expect("a good disk");
    check(&db, &ks, &model);
    let stats = db.stats().keyspaces[0].1.clone();
    let live: usize = model.values().map(Vec::len).sum();
    assert!(kind == BackendKind::Model || stats.values as usize == model.len(), "{stats:?}");
    assert!(stats.value_bytes < live as u64 + 4096, "{} bytes for {live}", stats.value_bytes);
    drop(ks);
    db.close().expect("a good disk");
    let db = open_on(&disk).expect("what was closed");
    let ks = db.open_keyspace("ks").expect("it is there");
    check(&db, &ks, &model);
}

fn a_snapshot_keeps_the_large_values_that_it_sees(kind: BackendKind) {
    let db = open_on(&disk()).expect("an empty disk");
    let (ks, model) = filled(&db, kind);
    let before = db.snapshot().expect("open");
    for round in 0..4u32 {
        for key in model.keys() {
            db.update(|tx| tx.put(&ks, key, value(round))).expect("a commit");
        }
        db.compact(&ks).expect("a good disk");
    }
    db.update(|tx| tx.delete_range(&ks, "", "")).expect("a commit");
    db.compact(&ks).expect("a good disk");
    let mut count = 0;
    for entry in before.iter(&ks).expect("readable") {
        let entry = entry.expect("readable");
        assert!(model[&*entry.key] == *entry.value);
        assert!(before.get(&ks, &entry.key).expect("readable").as_deref() == Some(&*entry.value));
        count += 1;
    }
    assert_eq!(count, model.len());
    drop(before);
    db.update(|tx| tx.put(&ks, "z", "z")).expect("a commit");
    db.compact(&ks).expect("a good disk");
    assert_eq!(db.stats().keyspaces[0].1.values, 0);
    assert!(db.verify(VerifyLevel::Full).expect("readable").is_clean());
}

/// 16 MiB.
fn values_of_the_limit_come_back_and_larger_ones_are_refused(kind: BackendKind) {
    let disk = disk();
    let open = || Database::builder().vfs(Arc::clone(&disk)).open("db").expect("a good disk");
    let db = open();
    let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
    let of = |number: u8| vec![number; VALUE_BYTES_MAX];
    let refused = db.update(|tx| tx.put(&ks, "k", vec![0; VALUE_BYTES_MAX + 1]));
    assert!(matches!(refused, Err(Error::ValueTooLarge { bytes }) if bytes == VALUE_BYTES_MAX + 1));
    for number in 0..6 {
        db.update(|tx| tx.put(&ks, [number % 3], of(number))).expect("a commit");
    }
    let check = |db: &Database, ks: &Keyspace| {
        let snapshot = db.snapshot().expect("open");
        for (entry, number) in snapshot.iter(ks).expect("readable").zip(3..) {
            assert!(entry.expect("readable").value[..] == of(number));
        }
        assert!(snapshot.get(ks, [1]).expect("readable").as_deref() == Some(&of(4)[..]));
        assert!(db.verify(VerifyLevel::Full).expect("readable").is_clean());
    };
    check(&db, &ks);
    db.checkpoint().expect("a good disk");
    db.compact(&ks).expect("a good disk");
    check(&db, &ks);
    db.update(|tx| tx.put(&ks, [2], of(5))).expect("a commit that only the log has");
    drop(ks);
    db.close().expect("a good disk");
    let db = open();
    check(&db, &db.open_keyspace("ks").expect("it is there"));
}

fn a_value_is_taken_or_refused_by_name_however_little_memory_there_is(kind: BackendKind) {
    let mut taken = 0;
    for memory_bytes in [1, 16, 33, 40, 64, 100].map(|mib| mib << 20) {
        let db = Database::builder().vfs(disk()).memory_bytes(memory_bytes).open("db").expect("an empty disk");
        let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
        for round in 0..3u8 {
            let value = vec![round; VALUE_BYTES_MAX];
            match db.update(|tx| tx.put(&ks, "large", &value)) {
                Ok(()) => {
                    let found = db.snapshot().expect("open").get(&ks, "large").expect("readable");
                    assert!(found.as_deref() == Some(&value[..]));
                    taken += 1;
                }
                Err(Error::TxnTooLarge { needed, budget }) => assert!(needed > budget && memory_bytes < 100 << 20),
                Err(error) => panic!("{memory_bytes} bytes of memory: {error}"),
            }
            db.update(|tx| tx.put(&ks, "small", [round])).expect("a small commit");
        }
        db.checkpoint().expect("a good disk");
        assert!(db.verify(VerifyLevel::Full).expect("readable").is_clean());
    }
    assert!(taken >= 3, "with the most memory it is taken");
}

/// 8 MiB in one commit, in a log of segments of at most 1 MiB.
fn a_commit_larger_than_a_log_segment_is_there_as_a_whole_or_not_at_all(kind: BackendKind) {
    let open = |disk: &SimVfs| {
        let builder = Database::builder().vfs(Arc::new(disk.clone())).executor(Arc::new(ManualExecutor::new()));
        builder.memory_bytes(64 << 20).log_segment_bytes(64 << 10, 1 << 20).open("db").expect("a good disk")
    };
    let of = |number: u8| vec![number; 1 << 20];
    let before = Model::from([(b"before".to_vec(), b"it".to_vec())]);
    let after: Model = (0..8u8).map(|number| (vec![number], of(number))).collect();
    let rows = |db: &Database| {
        let (snapshot, ks) = (db.snapshot().expect("open"), db.open_keyspace("ks").expect("it is there"));
        let entries = snapshot.iter(&ks).expect("readable").map(|entry| entry.expect("readable"));
        entries.map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect::<Model>()
    };
    let disk = SimVfs::new();
    let db = open(&disk);
    let ks = db.create_keyspace("ks", KeyspaceOptions::new(kind)).expect("a new name");
    db.update(|tx| tx.put(&ks, "before", "it")).expect("a commit");
    let begun = disk.journal().len();
    let large = db.update(|tx| {
        after.iter().try_for_each(|(key, value)| tx.put(&ks, key, value))?;
        tx.delete(&ks, "before")
    });
    large.expect("a commit of several segments");
    assert!(rows(&db) == after);
    let journal = disk.journal();
    disk.kill();
    drop((ks, db));
    let (mut absent, mut whole) = (0, 0);
    let stride = (journal.len() - begun).div_ceil(16);
    for at in (begun..journal.len()).step_by(stride).chain([journal.len() - 1, journal.len()]) {
        for (model, keep) in [(CrashModel::Strict, Keep::None), (CrashModel::Ext4Like, Keep::All)] {
            let disk = SimVfs::on(journal.crash_at(at, model, keep, 512));
            let db = open(&disk);
            let found = rows(&db);
            assert!(found == before || found == after, "a part of it, behind entry {at} of {}", journal.len());
            assert!(found == after || at < journal.len(), "it was acknowledged");
            (absent, whole) = if found == after { (absent, whole + 1) } else { (absent + 1, whole) };
            disk.kill();
        }
    }
    assert!(absent >= 2 && whole >= 2, "{absent} without it, {whole} with it");
    println!("{kind}: {absent} states without it, {whole} with it, of {} entries", journal.len() - begun);
    let disk = SimVfs::on(journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512));
    for _ in 0..2 {
        let db = open(&disk);
        assert!(rows(&db) == after);
        db.checkpoint().expect("a good disk");
        assert!(db.verify(VerifyLevel::Full).expect("readable").is_clean());
        db.close().expect("a good disk");
    }
}

on_each_kind!(
    a_commit_larger_than_a_log_segment_is_there_as_a_whole_or_not_at_all,
    a_value_is_taken_or_refused_by_name_however_little_memory_there_is,
    values_of_the_limit_come_back_and_larger_ones_are_refused,
    large_values_are_read_whatever_happened_to_their_files,
    a_snapshot_keeps_the_large_values_that_it_sees
);
