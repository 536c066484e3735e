//! Opening and closing: who has the folder, what may be in it, and what handles answer afterwards.

use std::path::Path;

use duramen::seams::OpenMode;
use duramen::{BackendKind, Database, Error, Health, Reader, VerifyLevel};

use super::{builder_on, database, disk, on_each_kind, open_on, small, words};

fn handles_of_a_closed_database_say_so(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| (0..100).try_for_each(|i| tx.put(&ks, format!("{i:02}"), "1"))).expect("a commit");
    let (tx, writing, snapshot) = (db.begin().expect("open"), db.begin().expect("open"), db.snapshot().expect("open"));
    assert!(tx.contains(&ks, "00").expect("readable"));
    writing.put(&ks, "never", "1").expect("room");
    let mut iter = snapshot.iter(&ks).expect("readable");
    assert!(iter.next().is_some());
    let other = db.clone();
    db.close().expect("a good disk");

    let closed = |error: Option<Error>| assert!(matches!(error, Some(Error::Closed)), "{error:?}");
    closed(tx.get(&ks, "00").err());
    closed(tx.put(&ks, "a", "1").err());
    closed(tx.savepoint().err());
    closed(writing.commit().err());
    closed(snapshot.get(&ks, "00").err());
    closed(snapshot.iter(&ks).err());
    closed(iter.next().and_then(Result::err));
    assert!(iter.next().is_none(), "an iterator ends with its error");
    closed(other.begin().err());
    closed(other.snapshot().err());
    closed(other.snapshot_durable().err());
    closed(other.open_keyspace("ks").err());
    closed(other.create_keyspace("new", small(kind)).err());
    closed(other.drop_keyspace("ks").err());
    closed(other.checkpoint().err());
    closed(other.verify(VerifyLevel::Quick).err());
    assert!(matches!(other.health(), Health::Closed));
    other.close().expect("once is enough");
}

fn a_closed_folder_is_free_for_others(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let uuid = db.uuid();
    let ks = db.create_keyspace("ks", small(kind)).expect("new");
    let snapshot = db.snapshot().expect("open");
    assert!(matches!(open_on(&disk), Err(Error::Locked { .. })), "one handle at a time");
    db.close().expect("a good disk");
    let again = open_on(&disk).expect("the folder is free although old handles are still there");
    assert_eq!(again.uuid(), uuid);
    assert!(matches!(snapshot.get(&ks, "a"), Err(Error::Closed)));
    assert!(
        matches!(again.snapshot().expect("open").get(&ks, "a"), Err(Error::InvalidArgument { .. } | Error::Closed)),
        "a handle of before"
    );
}

fn verify_and_stats_tell_of_every_keyspace(kind: BackendKind) {
    let (db, ks) = database(kind);
    let empty = db.stats();
    assert_eq!((empty.commits, empty.keyspaces.len()), (0, 1));
    for i in 0..300 {
        db.update(|tx| tx.put(&ks, format!("{i:03}"), "v".repeat(100))).expect("a commit");
    }
    db.checkpoint().expect("a good disk");
    let report = db.verify(VerifyLevel::Full).expect("readable");
    assert!(report.is_clean(), "{report:?}");
    assert!(kind == BackendKind::Model || report.pages > 0);
    let stats = db.stats();
    let (name, store) = &stats.keyspaces[0];
    assert_eq!((stats.commits, &**name), (300, "ks"));
    assert!(kind == BackendKind::Model || (store.persists > 0 && store.disk_bytes > 30_000), "{store:?}");
    assert!(stats.visible >= stats.acked && stats.durable >= stats.acked, "{stats:?}");
    assert!(stats.memory_bytes <= stats.memory_budget_bytes && stats.memory_bytes >= store.memory_bytes, "{stats:?}");
    assert!(matches!(db.health(), Health::Good));
}

#[test]
fn the_holder_of_a_locked_folder_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("db");
    let db = Database::open(&path).expect("an empty folder");
    match Database::open(&path) {
        Err(Error::Locked { path: lock, holder }) => {
            assert!(lock.starts_with(&path));
            assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        }
        other => panic!("{other:?}"),
    }
    db.close().expect("a good disk");
    Database::open(&path).expect("free again");
}

#[test]
fn data_survives_in_a_real_folder() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("db");
    for round in 0..3 {
        let db = Database::open(&path).expect("a good disk");
        assert_eq!(db.path(), path);
        let tree = db.keyspace("tree", small(BackendKind::BTree)).expect("the same kind");
        let tables = db.keyspace("tables", small(BackendKind::Lsm)).expect("the same kind");
        for i in 0..40 {
            db.update(|tx| {
                tx.put(&tree, format!("{round}.{i}"), "v".repeat(200))?;
                tx.put(&tables, format!("{round}.{i}"), "v".repeat(200))
            })
            .expect("a commit");
        }
        if round == 1 {
            db.checkpoint().expect("a good disk");
        }
        let snapshot = db.snapshot().expect("open");
        assert_eq!(snapshot.iter(&tree).expect("readable").count(), (round + 1) * 40);
        assert_eq!(words(snapshot.iter(&tree).expect("readable")), words(snapshot.iter(&tables).expect("readable")));
        assert!(db.verify(VerifyLevel::Full).expect("readable").is_clean());
    }
}

#[test]
fn a_database_is_created_only_where_it_may_be() {
    let disk = disk();
    let absent = || builder_on(&disk).create_if_missing(false).open("db");
    assert!(matches!(absent(), Err(Error::InvalidArgument { .. })));
    assert!(disk.list(Path::new("db")).is_err(), "nothing was created");
    open_on(&disk).expect("an empty disk").close().expect("a good disk");
    absent().expect("it is there now").close().expect("a good disk");

    disk.create_dir(Path::new("photos")).expect("a new folder");
    disk.open(Path::new("photos/cat.jpg"), OpenMode::CreateNew).expect("a new file");
    assert!(
        matches!(builder_on(&disk).open("photos"), Err(Error::InvalidArgument { .. })),
        "the folder holds other things"
    );
    assert_eq!(disk.list(Path::new("photos")).expect("it is there").len(), 1, "nothing was added");
}

#[test]
fn options_out_of_range_are_refused() {
    let disk = disk();
    assert!(matches!(builder_on(&disk).memory_bytes(1000).open("db"), Err(Error::InvalidArgument { .. })));
    assert!(matches!(builder_on(&disk).cache_bytes(1 << 40).open("db"), Err(Error::InvalidArgument { .. })));
    assert!(disk.list(Path::new("db")).is_err(), "nothing was created");
}

#[test]
fn an_empty_database_is_small() {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    db.create_keyspace("tree", BackendKind::BTree).expect("new");
    db.create_keyspace("tables", BackendKind::Lsm).expect("new");
    db.close().expect("a good disk");
    let mut bytes = 0;
    let mut folders = vec![Path::new("db").to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in disk.list(&folder).expect("a folder") {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                folders.push(path);
            } else {
                bytes += disk.open(&path, OpenMode::Read).expect("a file").len().expect("its length");
            }
        }
    }
    assert!(bytes <= 4 << 20, "{bytes} bytes");
}

on_each_kind!(
    handles_of_a_closed_database_say_so,
    a_closed_folder_is_free_for_others,
    verify_and_stats_tell_of_every_keyspace
);
