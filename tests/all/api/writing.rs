//! Writing: limits, savepoints, and how a transaction ends.

use duramen::{BackendKind, Database, Error, KEY_BYTES_MAX, Reader, TxnOptions, VALUE_BYTES_MAX};

use super::{builder_on, database, disk, on_each_kind, small, words};

fn dropping_a_transaction_rolls_it_back(kind: BackendKind) {
    let (db, ks) = database(kind);
    for end in 0..2 {
        let tx = db.begin().expect("open");
        tx.put(&ks, "a", "1").expect("room");
        tx.delete_range(&ks, "b", "c").expect("room");
        assert_eq!(tx.write_count(), 2);
        if end == 0 {
            tx.rollback();
        } else {
            drop(tx);
        }
    }
    assert!(db.snapshot().expect("open").iter(&ks).expect("readable").next().is_none());
    assert_eq!(db.stats().rollbacks, 2);
    assert_eq!(db.stats().commits, 0);
}

fn a_commit_without_writes_is_none(kind: BackendKind) {
    let (db, ks) = database(kind);
    let tx = db.begin().expect("open");
    assert!(!tx.contains(&ks, "a").expect("readable"));
    assert_eq!(tx.commit().expect("nothing to do"), None);
    let tx = db.begin().expect("open");
    let nothing = tx.savepoint().expect("alive");
    tx.put(&ks, "a", "1").expect("room");
    tx.rollback_to(&nothing).expect("its own savepoint");
    assert_eq!((tx.write_count(), tx.commit().expect("nothing to do")), (0, None));
    assert_eq!(db.stats().commits, 0);
}

fn commits_are_numbered_in_order(kind: BackendKind) {
    let (db, ks) = database(kind);
    let mut last = None;
    for i in 0..20 {
        let tx = db.begin().expect("open");
        tx.put(&ks, "a", i.to_string()).expect("room");
        let info = tx.commit().expect("nobody else writes").expect("it wrote");
        assert!(last.is_none_or(|(ts, lsn)| info.ts > ts && info.lsn > lsn));
        assert!(db.snapshot().expect("open").ts() >= info.ts, "one's own commit is in one's next snapshot");
        last = Some((info.ts, info.lsn));
    }
}

fn savepoints_nest(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| tx.put(&ks, "x", "old")).expect("a commit");
    let tx = db.begin().expect("open");
    let show = || words(tx.iter(&ks).expect("readable"));
    tx.put(&ks, "a", "1").expect("room");
    let one = tx.savepoint().expect("alive");
    tx.put(&ks, "a", "2").expect("room");
    tx.put(&ks, "b", "2").expect("room");
    let two = tx.savepoint().expect("alive");
    tx.delete_range(&ks, "a", "").expect("room");
    tx.put(&ks, "c", "3").expect("room");
    assert_eq!(show(), "c=3");
    tx.rollback_to(&two).expect("its own");
    assert_eq!(show(), "a=2 b=2 x=old");
    tx.delete(&ks, "x").expect("room");
    tx.rollback_to(&two).expect("it stays usable");
    assert_eq!(show(), "a=2 b=2 x=old");
    tx.rollback_to(&one).expect("its own");
    assert_eq!(show(), "a=1 x=old");
    assert!(matches!(tx.rollback_to(&two), Err(Error::InvalidArgument { .. })), "a later savepoint is gone");
    assert_eq!(show(), "a=1 x=old", "a refused call changes nothing");
    let other = db.begin().expect("open");
    let foreign = other.savepoint().expect("alive");
    assert!(matches!(tx.rollback_to(&foreign), Err(Error::InvalidArgument { .. })), "of another transaction");
    tx.put(&ks, "d", "4").expect("room");
    tx.commit().expect("nobody else wrote");
    assert_eq!(words(db.snapshot().expect("open").iter(&ks).expect("readable")), "a=1 d=4 x=old");
}

fn limits_are_checked_and_change_nothing(kind: BackendKind) {
    let (db, ks) = database(kind);
    let tx = db.begin().expect("open");
    let (long_key, long_value) = (vec![1; KEY_BYTES_MAX], vec![2; 64 << 10]);
    let (longer_key, longer_value) = (vec![1; KEY_BYTES_MAX + 1], vec![2; VALUE_BYTES_MAX + 1]);
    tx.put(&ks, &long_key, &long_value).expect("within the limits");
    tx.put(&ks, "", "").expect("within the limits");
    for refused in [
        tx.put(&ks, &longer_key, ""),
        tx.delete(&ks, &longer_key),
        tx.delete_range(&ks, &longer_key, ""),
        tx.delete_range(&ks, "", &longer_key),
    ] {
        assert!(matches!(refused, Err(Error::KeyTooLarge { bytes }) if bytes == KEY_BYTES_MAX + 1));
    }
    let refused = tx.put(&ks, "k", &longer_value);
    assert!(matches!(refused, Err(Error::ValueTooLarge { bytes }) if bytes == VALUE_BYTES_MAX + 1));
    assert_eq!(tx.write_count(), 2);
    tx.commit().expect("the refused calls changed nothing");
    let snapshot = db.snapshot().expect("open");
    assert_eq!(snapshot.iter(&ks).expect("readable").count(), 2);
    assert_eq!(snapshot.get(&ks, &long_key).expect("readable").as_deref(), Some(&*long_value));
    assert_eq!(snapshot.get(&ks, &longer_key).expect("a key that cannot be there"), None);
}

fn a_transaction_larger_than_memory_is_refused_at_the_put(kind: BackendKind) {
    let db = builder_on(&disk()).memory_bytes(1 << 20).open("db").expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
    let tx = db.begin().expect("open");
    let value = vec![3; 32 << 10];
    let mut count = 0_u32;
    let refused = loop {
        match tx.put(&ks, count.to_be_bytes(), &value) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 64, "two MiB do not fit one");
    };
    assert!(matches!(refused, Error::TxnTooLarge { needed, budget } if needed > budget), "{refused}");
    assert!(count >= 4, "an eighth of the memory is for a transaction at least");
    tx.commit().expect("what was taken can be committed");
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), count as usize);
}

fn memory_stays_near_its_budget(kind: BackendKind) {
    if kind == BackendKind::Model {
        // It keeps everything in memory.
        return;
    }
    let db = builder_on(&disk()).memory_bytes(2 << 20).open("db").expect("an empty disk");
    let ks = db
        .create_keyspace("ks", duramen::KeyspaceOptions { memtable_bytes: 256 << 10, ..small(kind) })
        .expect("a new name");
    for i in 0..400_u32 {
        let key = i.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let options = TxnOptions::default().durability(duramen::Durability::Buffered);
        db.update_with(options, |tx| (0..8_u8).try_for_each(|n| tx.put(&ks, [&key[..], &[n]].concat(), vec![n; 4000])))
            .expect("a commit");
        let stats = db.stats();
        assert!(stats.memory_bytes < 4 * stats.memory_budget_bytes, "{} after {i} commits", stats.memory_bytes);
    }
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 3200);
    assert!(db.verify(duramen::VerifyLevel::Full).expect("readable").is_clean());
}

fn one_commit_spans_keyspaces_of_every_kind() {
    let db = Database::in_memory().expect("in memory");
    let all = [BackendKind::Model, BackendKind::BTree, BackendKind::Lsm]
        .map(|kind| db.create_keyspace(&kind.to_string(), small(kind)).expect("a new name"));
    for round in 0..50 {
        db.update(|tx| all.iter().try_for_each(|ks| tx.put(ks, "round", round.to_string()))).expect("a commit");
        let snapshot = db.snapshot().expect("open");
        for ks in &all {
            assert_eq!(super::text(snapshot.get(ks, "round").expect("readable")), Some(round.to_string()));
        }
    }
    let failed: duramen::Result<()> = db.update(|tx| {
        all.iter().try_for_each(|ks| tx.put(ks, "round", "never"))?;
        Err(Error::ReadOnly)
    });
    assert!(matches!(failed, Err(Error::ReadOnly)), "the error of the closure comes back");
    assert!(all.iter().all(|ks| words(db.snapshot().expect("open").iter(ks).expect("readable")) == "round=49"));
}

#[test]
fn all_keyspaces_of_a_commit_change_together() {
    one_commit_spans_keyspaces_of_every_kind();
}

on_each_kind!(
    dropping_a_transaction_rolls_it_back,
    a_commit_without_writes_is_none,
    commits_are_numbered_in_order,
    savepoints_nest,
    limits_are_checked_and_change_nothing,
    a_transaction_larger_than_memory_is_refused_at_the_put,
    memory_stays_near_its_budget,
);
