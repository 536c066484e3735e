//! What tells the optimistic levels apart: lost updates, skews, phantoms and what a statement sees, at each of them.

use duramen::IsolationLevel::{self, *};
use duramen::{Error, Reader};

use super::{CLEAN_LEVELS, at, keys, on_each_backend, read, word};

/// Both read one key and write it.
fn lost_update(level: IsolationLevel, key: &str) -> (&'static str, &'static str) {
    let outcome = std::cell::Cell::new(("", ""));
    on_each_backend(|db, ks| {
        let (t1, t2) = (at(db, level), at(db, level));
        assert_eq!(read(&t1, ks, key), read(&t2, ks, key));
        t1.put(ks, key, "60").unwrap();
        t2.put(ks, key, "70").unwrap();
        outcome.set((word(t1.commit()), word(t2.commit())));
    });
    outcome.get()
}

#[test]
fn lost_updates_are_shown_at_read_committed_and_prevented_above() {
    for key in ["x", "absent"] {
        assert_eq!(lost_update(ReadUncommitted, key), ("ok", "ok"));
        assert_eq!(lost_update(ReadCommitted, key), ("ok", "ok"));
        assert_eq!(lost_update(RepeatableRead, key), ("ok", "conflict"));
        assert_eq!(lost_update(Snapshot, key), ("ok", "conflict"));
        assert_eq!(lost_update(Serializable, key), ("ok", "conflict"));
    }
}

/// Each reads both keys and writes one of them.
fn write_skew(level: IsolationLevel, keys: [&str; 2]) -> (&'static str, &'static str) {
    let outcome = std::cell::Cell::new(("", ""));
    on_each_backend(|db, ks| {
        let (t1, t2) = (at(db, level), at(db, level));
        for tx in [&t1, &t2] {
            keys.iter().for_each(|key| drop(read(tx, ks, key)));
        }
        t1.put(ks, keys[0], "0").unwrap();
        t2.put(ks, keys[1], "0").unwrap();
        outcome.set((word(t1.commit()), word(t2.commit())));
    });
    outcome.get()
}

#[test]
fn write_skew_on_keys_is_shown_at_snapshot_and_prevented_at_repeatable_read() {
    // Absent keys are read as well: what was not there must not have come.
    for keys in [["x", "y"], ["x", "absent"], ["absent 1", "absent 2"]] {
        assert_eq!(write_skew(ReadCommitted, keys), ("ok", "ok"));
        assert_eq!(write_skew(RepeatableRead, keys), ("ok", "conflict"));
        assert_eq!(write_skew(Snapshot, keys), ("ok", "ok"));
        assert_eq!(write_skew(Serializable, keys), ("ok", "not serializable"));
    }
}

/// Each scans a range and, finding it empty, inserts into the range of the other.
fn predicate_skew(level: IsolationLevel) -> (&'static str, &'static str) {
    let outcome = std::cell::Cell::new(("", ""));
    on_each_backend(|db, ks| {
        let (t1, t2) = (at(db, level), at(db, level));
        assert_eq!((keys(&t1, ks, "a", "b"), keys(&t2, ks, "c", "d")), (String::new(), String::new()));
        t1.put(ks, "c1", "1").unwrap();
        t2.put(ks, "a1", "1").unwrap();
        outcome.set((word(t1.commit()), word(t2.commit())));
    });
    outcome.get()
}

#[test]
fn phantoms_in_empty_ranges_are_prevented_at_serializable_alone() {
    assert_eq!(predicate_skew(ReadCommitted), ("ok", "ok"));
    assert_eq!(predicate_skew(RepeatableRead), ("ok", "ok"));
    assert_eq!(predicate_skew(Snapshot), ("ok", "ok"));
    assert_eq!(predicate_skew(Serializable), ("ok", "not serializable"));
}

#[test]
fn read_committed_sees_each_commit_whole_and_never_goes_back() {
    on_each_backend(|db, ks| {
        let tx = at(db, ReadCommitted);
        assert_eq!(read(&tx, ks, "x"), "50");
        let scan = tx.iter(ks).unwrap(); // one statement, however long it is used
        db.update(|other| {
            other.put(ks, "x", "1")?;
            other.put(ks, "y", "1")
        })
        .unwrap();
        // Not repeatable, but what was seen of a commit stays seen (no OTV).
        assert_eq!((read(&tx, ks, "y"), read(&tx, ks, "x")), ("1".into(), "1".into()));
        let seen: Vec<_> = scan.map(|entry| entry.unwrap().value.to_vec()).collect();
        assert_eq!(seen, [b"50", b"50"], "a scan reads one moment");
        let both = tx.multi_get(ks, &["x", "y"]).unwrap();
        assert!(both.iter().flatten().all(|value| &**value == b"1"));
        tx.commit().unwrap();
    });
}

#[test]
fn levels_from_repeatable_read_up_read_one_moment_and_dirty_writes_are_seen_by_none() {
    for level in CLEAN_LEVELS {
        on_each_backend(|db, ks| {
            let writer = at(db, level);
            writer.put(ks, "x", "101").unwrap();
            let tx = at(db, level);
            assert_eq!(read(&tx, ks, "x"), "50", "{level}");
            writer.rollback();
            db.update(|other| other.put(ks, "y", "0").and_then(|()| other.put(ks, "z", "0"))).unwrap();
            let moves = level == ReadCommitted;
            assert_eq!(read(&tx, ks, "y"), if moves { "0" } else { "50" }, "{level}");
            assert_eq!(keys(&tx, ks, "a", "zz"), if moves { "x y z" } else { "x y" }, "{level}");
        });
    }
}

#[test]
fn repeatable_read_keeps_what_a_scan_returned() {
    on_each_backend(|db, ks| {
        let tx = at(db, RepeatableRead);
        assert_eq!(keys(&tx, ks, "a", "zz"), "x y");
        tx.put(ks, "sum", "100").unwrap();
        db.update(|other| other.put(ks, "x", "0")).unwrap();
        assert_eq!(word(tx.commit()), "conflict");
        // Who wrote nothing read one moment, and that is enough.
        let reader = at(db, RepeatableRead);
        assert_eq!(keys(&reader, ks, "a", "zz"), "x y");
        db.update(|other| other.put(ks, "x", "1")).unwrap();
        assert_eq!(word(reader.commit()), "ok");
    });
}

#[test]
fn savepoints_do_not_forget_what_was_read() {
    for (level, refused) in [(RepeatableRead, "conflict"), (Serializable, "not serializable")] {
        on_each_backend(|db, ks| {
            let (t1, t2) = (at(db, level), at(db, level));
            let before = t1.savepoint().unwrap();
            assert_eq!(read(&t1, ks, "y"), "50");
            t1.put(ks, "z", "0").unwrap();
            t1.rollback_to(&before).unwrap();
            t1.put(ks, "x", "0").unwrap();
            assert_eq!(read(&t2, ks, "x"), "50");
            t2.put(ks, "y", "0").unwrap();
            assert_eq!((word(t2.commit()), word(t1.commit())), ("ok", refused), "{level}");
        });
    }
}

#[test]
fn a_snapshot_can_be_pinned_where_there_is_one() {
    on_each_backend(|db, ks| {
        for level in [ReadUncommitted, ReadCommitted] {
            assert!(matches!(at(db, level).pin_snapshot(), Err(Error::Unsupported { .. })), "{level}");
        }
        for level in [RepeatableRead, Snapshot, Serializable] {
            let tx = at(db, level);
            tx.pin_snapshot().unwrap();
            db.update(|other| other.put(ks, "new", level.to_string())).unwrap();
            assert_ne!(read(&tx, ks, "new"), level.to_string());
        }
    });
}

#[test]
fn what_is_declared_read_only_writes_nothing() {
    for level in CLEAN_LEVELS {
        on_each_backend(|db, ks| {
            let options = duramen::TxnOptions::default().isolation(level).read_only(true);
            let tx = db.begin_with(options).unwrap();
            assert!(matches!(tx.put(ks, "x", "1"), Err(Error::ReadOnly)), "{level}");
            assert_eq!(read(&tx, ks, "x"), "50", "it goes on");
            assert_eq!(tx.commit().unwrap(), None);
        });
    }
}

#[test]
fn transactions_of_all_levels_run_in_one_database_over_both_backends() {
    on_each_backend(|db, ks| {
        let other = db.keyspace("other", duramen::BackendKind::Lsm).unwrap();
        let all: Vec<_> = CLEAN_LEVELS.iter().map(|&level| at(db, level)).collect();
        for (number, tx) in all.iter().enumerate() {
            assert_eq!(read(tx, ks, "x"), "50");
            tx.put(ks, format!("k{number}"), "1").unwrap();
            tx.put(&other, format!("k{number}"), "1").unwrap();
        }
        assert!(all.into_iter().all(|tx| tx.commit().is_ok()));
        assert_eq!(db.snapshot().unwrap().iter(&other).unwrap().count(), CLEAN_LEVELS.len());
    });
}

#[test]
fn a_database_has_a_default_level() {
    let vfs = std::sync::Arc::new(duramen::seams::MemVfs::new());
    let db = duramen::Database::builder().vfs(vfs).isolation(Serializable).open("db").unwrap();
    let ks = db.keyspace("k", duramen::BackendKind::BTree).unwrap();
    let (t1, t2) = (db.begin().unwrap(), db.begin().unwrap());
    assert_eq!((read(&t1, &ks, "x"), read(&t2, &ks, "y")), (String::new(), String::new()));
    t1.put(&ks, "y", "1").unwrap();
    t2.put(&ks, "x", "1").unwrap();
    assert_eq!((word(t1.commit()), word(t2.commit())), ("ok", "not serializable"));
}
