//! Keyspaces: made, listed, opened and dropped while the database is in use.

use duramen::{BackendKind, Compression, Database, Error, KeyspaceOptions, Reader};

use super::{database, disk, on_each_kind, open_on, small, words};

fn a_keyspace_is_made_once_and_found_again(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    assert!(matches!(db.open_keyspace("a"), Err(Error::NoSuchKeyspace { name }) if name == "a"));
    let made = db.create_keyspace("a", small(kind)).expect("a new name");
    assert!(matches!(db.create_keyspace("a", small(kind)), Err(Error::KeyspaceExists { name }) if name == "a"));
    assert_eq!(db.keyspace("a", kind).expect("it is there").id(), made.id());
    assert_eq!(db.open_keyspace("a").expect("it is there").id(), made.id());
    assert_eq!((made.name(), made.options()), ("a", small(kind)));
    let other = if kind == BackendKind::BTree { BackendKind::Lsm } else { BackendKind::BTree };
    assert!(matches!(db.keyspace("a", other), Err(Error::InvalidArgument { .. })), "it is of another kind");
    db.close().expect("a good disk");
    let db = open_on(&disk).expect("a good disk");
    let found = db.open_keyspace("a").expect("it was durable");
    assert_eq!((found.id(), found.options()), (made.id(), small(kind)));
}

fn keyspaces_are_listed_with_their_options(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    assert!(db.keyspaces().is_empty());
    for i in 0..12_u32 {
        let options = KeyspaceOptions { memtable_bytes: 4096 + u64::from(i), ..small(kind) };
        db.create_keyspace(&format!("ks {i}"), options).expect("a new name");
    }
    db.drop_keyspace("ks 5").expect("it is there");
    for _ in 0..2 {
        let db = &db;
        let listed = db.keyspaces();
        assert_eq!(listed.len(), 11);
        assert!(listed.windows(2).all(|pair| pair[0].id < pair[1].id), "by id");
        for info in &listed {
            let i: u64 = info.name.strip_prefix("ks ").expect("its name").parse().expect("a number");
            assert_ne!(i, 5);
            assert_eq!(info.options, KeyspaceOptions { memtable_bytes: 4096 + i, ..small(kind) });
        }
    }
    let before = db.keyspaces();
    db.close().expect("a good disk");
    assert_eq!(open_on(&disk).expect("a good disk").keyspaces(), before);
}

fn keyspaces_are_apart(kind: BackendKind) {
    let (db, one) = database(kind);
    let two = db.create_keyspace("two", small(kind)).expect("a new name");
    db.update(|tx| {
        tx.put(&one, "a", "1")?;
        tx.put(&two, "a", "2")?;
        tx.put(&two, "b", "2")?;
        tx.delete_range(&one, "b", "")
    })
    .expect("a commit");
    let snapshot = db.snapshot().expect("open");
    assert_eq!(words(snapshot.iter(&one).expect("readable")), "a=1");
    assert_eq!(words(snapshot.iter(&two).expect("readable")), "a=2 b=2");
}

fn a_compacted_keyspace_reads_the_same_and_takes_less(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("new");
    for tens in 0..40 {
        let put = |i: u32| (format!("{:03}", tens * 10 + i), "v".repeat(200));
        db.update(|tx| (0..10).map(put).try_for_each(|(key, value)| tx.put(&ks, key, value))).expect("a commit");
    }
    db.checkpoint().expect("a good disk");
    let bytes = || db.stats().keyspaces[0].1.disk_bytes;
    let full = bytes();
    let before = db.snapshot().expect("open");
    db.update(|tx| tx.delete_range(&ks, "010", "390")).expect("a commit");
    db.compact(&ks).expect("a good disk");
    assert_eq!(before.iter(&ks).expect("readable").count(), 400);
    drop(before);
    db.compact(&ks).expect("a good disk");
    assert!(kind == BackendKind::Model || bytes() < full / 3, "{} of {full} bytes", bytes());
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 20);

    let other = database(kind);
    assert!(matches!(db.compact(&other.1), Err(Error::InvalidArgument { .. })), "of another database");
    db.drop_keyspace("ks").expect("it is there");
    assert!(matches!(db.compact(&ks), Err(Error::NoSuchKeyspace { .. })));
    db.clone().close().expect("a good disk");
    assert!(matches!(db.compact(&ks), Err(Error::Closed)));
}

fn a_dropped_keyspace_is_gone_for_its_handles(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let (ks, kept) =
        (db.create_keyspace("ks", small(kind)).expect("new"), db.create_keyspace("kept", small(kind)).expect("new"));
    db.update(|tx| (0..300).try_for_each(|i| tx.put(&ks, format!("{i:03}"), "v".repeat(50)))).expect("a commit");
    db.checkpoint().expect("a good disk");
    let snapshot = db.snapshot().expect("open");
    let mut iter = snapshot.iter(&ks).expect("readable");
    assert!(iter.next().is_some());
    let tx = db.begin().expect("open");
    tx.put(&ks, "x", "1").expect("room");
    tx.put(&kept, "x", "1").expect("room");
    let id = ks.id();
    db.drop_keyspace("ks").expect("it is there");

    let gone = |error: Option<Error>| assert!(matches!(error, Some(Error::NoSuchKeyspace { .. })), "{error:?}");
    gone(snapshot.get(&ks, "000").err());
    gone(snapshot.iter(&ks).err());
    gone(tx.put(&ks, "y", "1").err());
    gone(tx.commit().err());
    gone(db.update(|tx| tx.put(&ks, "x", "1")).err());
    gone(db.open_keyspace("ks").err());
    gone(db.drop_keyspace("ks").err());
    assert!(!db.snapshot().expect("open").contains(&kept, "x").expect("readable"), "a commit is whole or not at all");
    assert_eq!(iter.count(), 299, "open iterators go on");

    let again = db.create_keyspace("ks", small(kind)).expect("the name is free");
    assert!(again.id() > id, "a number is never used again");
    assert!(
        db.snapshot().expect("open").iter(&again).expect("readable").next().is_none(),
        "nothing of the old one is in it"
    );
    db.update(|tx| tx.put(&again, "new", "1")).expect("a commit");
    drop(snapshot);
    db.close().expect("a good disk");
    let db = open_on(&disk).expect("a good disk");
    let again = db.open_keyspace("ks").expect("it is there");
    assert_eq!(words(db.snapshot().expect("open").iter(&again).expect("readable")), "new=1");
    assert!(db.verify(duramen::VerifyLevel::Full).expect("readable").is_clean());
}

fn a_keyspace_made_late_has_only_its_own_history(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let early = db.create_keyspace("early", small(BackendKind::BTree)).expect("new");
    for i in 0..100 {
        db.update(|tx| tx.put(&early, format!("{i}"), "v".repeat(100))).expect("a commit");
    }
    db.checkpoint().expect("a good disk");
    let late = db.create_keyspace("late", small(kind)).expect("new");
    db.update(|tx| tx.put(&late, "a", "1")).expect("a commit");
    for round in 0..3 {
        db.checkpoint().expect("a good disk");
        db.update(|tx| tx.put(&late, round.to_string(), "1")).expect("a commit");
    }
    drop((early, late));
    db.close().expect("a good disk");
    let db = open_on(&disk).expect("the log reaches back as far as needed");
    let late = db.open_keyspace("late").expect("it is there");
    assert_eq!(words(db.snapshot().expect("open").iter(&late).expect("readable")), "0=1 1=1 2=1 a=1");
}

fn a_keyspace_of_another_database_is_refused(kind: BackendKind) {
    let (db, ks) = database(kind);
    let (_other, foreign) = database(kind);
    let tx = db.begin().expect("open");
    tx.put(&ks, "a", "1").expect("room");
    assert!(matches!(tx.put(&foreign, "a", "1"), Err(Error::InvalidArgument { .. })));
    assert!(matches!(tx.get(&foreign, "a"), Err(Error::InvalidArgument { .. })));
    assert!(matches!(db.snapshot().expect("open").iter(&foreign), Err(Error::InvalidArgument { .. })));
    tx.commit().expect("the refused calls changed nothing");
}

fn names_and_options_have_limits(kind: BackendKind) {
    let db = Database::in_memory().expect("in memory");
    let longest = "n".repeat(255);
    db.create_keyspace(&longest, kind).expect("within the limits");
    db.create_keyspace("../\u{1f332} /\0", kind).expect("a name is no path");
    for (name, options) in [
        ("", KeyspaceOptions::new(kind)),
        (&*"n".repeat(256), KeyspaceOptions::new(kind)),
        ("small pages", KeyspaceOptions { page_bytes: 1023, ..small(kind) }),
        ("large pages", KeyspaceOptions { page_bytes: (64 << 10) + 1, ..small(kind) }),
        ("compressed tree", KeyspaceOptions { compression: Compression::Lz4, ..small(BackendKind::BTree) }),
        ("small memtable", KeyspaceOptions { memtable_bytes: 4095, ..small(kind) }),
    ] {
        assert!(matches!(db.create_keyspace(name, options), Err(Error::InvalidArgument { .. })), "{name}");
    }
    assert_eq!(db.keyspaces().len(), 2);
}

fn the_compression_is_set_durably_where_a_backend_has_one(kind: BackendKind) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let ks = db.create_keyspace("a", small(kind)).expect("a new name");
    let set = db.set_compression(&ks, Compression::Lz4);
    let expected = if kind == BackendKind::Lsm { Compression::Lz4 } else { Compression::None };
    assert_eq!(set.is_ok(), kind == BackendKind::Lsm, "{set:?}");
    assert_eq!((ks.options().compression, db.keyspaces()[0].options.compression), (expected, expected));
    db.close().expect("a good disk");
    let db = open_on(&disk).expect("a good disk");
    let ks = db.open_keyspace("a").expect("it was durable");
    assert_eq!(ks.options(), KeyspaceOptions { compression: expected, ..small(kind) });
    db.set_compression(&ks, Compression::None).expect("nobody minds none");
    assert_eq!(ks.options(), small(kind));
    db.drop_keyspace("a").expect("it is there");
    assert!(matches!(db.set_compression(&ks, Compression::None), Err(Error::NoSuchKeyspace { .. })));
}

/// Threads make, fill and drop keyspaces beside each other.
fn keyspaces_come_and_go_beside_commits(kind: BackendKind) {
    let (db, ks) = database(kind);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (db, ks) = (&db, &ks);
            scope.spawn(move || {
                for round in 0..8 {
                    let name = format!("{thread}.{round}");
                    let own = db.create_keyspace(&name, small(kind)).expect("a new name");
                    for i in 0..20 {
                        db.update(|tx| {
                            tx.put(&own, format!("{i:02}"), "1").and_then(|()| tx.put(ks, format!("{name}.{i}"), "1"))
                        })
                        .expect("a commit");
                    }
                    assert_eq!(db.snapshot().expect("open").iter(&own).expect("readable").count(), 20);
                    if round % 2 == 0 {
                        db.drop_keyspace(&name).expect("it is there");
                    }
                }
            });
        }
    });
    assert_eq!(db.keyspaces().len(), 1 + 3 * 4);
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 3 * 8 * 20);
}

on_each_kind!(
    a_compacted_keyspace_reads_the_same_and_takes_less,
    a_keyspace_is_made_once_and_found_again,
    keyspaces_are_listed_with_their_options,
    keyspaces_are_apart,
    a_dropped_keyspace_is_gone_for_its_handles,
    a_keyspace_made_late_has_only_its_own_history,
    a_keyspace_of_another_database_is_refused,
    names_and_options_have_limits,
    keyspaces_come_and_go_beside_commits,
    the_compression_is_set_durably_where_a_backend_has_one,
);
