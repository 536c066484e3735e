//! Locking reads of optimistic transactions: remembered and validated at commit, at every level.

use duramen::IsolationLevel::{self, *};
use duramen::{Error, LockMode, LockRead};

use super::{at, keys, on_each_backend, read, word};

const LEVELS: [IsolationLevel; 5] = [ReadUncommitted, ReadCommitted, RepeatableRead, Snapshot, Serializable];

#[test]
fn reading_for_update_prevents_lost_updates_at_every_level() {
    for level in LEVELS {
        for key in ["x", "absent"] {
            on_each_backend(|db, ks| {
                let (t1, t2) = (at(db, level), at(db, level));
                assert_eq!(t1.get_for_update(ks, key).unwrap(), t2.get_for_update(ks, key).unwrap());
                t1.put(ks, key, "60").unwrap();
                t2.put(ks, key, "70").unwrap();
                assert_eq!((word(t1.commit()), word(t2.commit())), ("ok", "conflict"), "{level}");
                assert_eq!(read(&db.snapshot().unwrap(), ks, key), "60");
            });
        }
    }
}

#[test]
fn modify_prevents_lost_updates_at_every_level() {
    for level in LEVELS {
        on_each_backend(|db, ks| {
            let (t1, t2) = (at(db, level), at(db, level));
            for tx in [&t1, &t2] {
                tx.modify(ks, "x", |old| Some([old.unwrap(), b"0"].concat())).unwrap();
            }
            assert_eq!((word(t1.commit()), word(t2.commit())), ("ok", "conflict"), "{level}");
            assert_eq!(read(&db.snapshot().unwrap(), ks, "x"), "500");
        });
    }
}

#[test]
fn the_first_locking_read_is_what_counts() {
    on_each_backend(|db, ks| {
        let tx = at(db, ReadCommitted);
        assert_eq!(tx.get_for_share(ks, "x").unwrap().as_deref(), Some(&b"50"[..]));
        db.update(|other| other.put(ks, "x", "51")).unwrap();
        // This statement sees the change; the transaction has relied on the first one all the same.
        assert_eq!(tx.get_for_share(ks, "x").unwrap().as_deref(), Some(&b"51"[..]));
        tx.put(ks, "y", "1").unwrap();
        assert_eq!(word(tx.commit()), "conflict");
    });
}

#[test]
fn a_locking_read_after_a_change_is_not_in_conflict_with_it() {
    on_each_backend(|db, ks| {
        let tx = at(db, ReadCommitted);
        assert_eq!(tx.get_for_share(ks, "y").unwrap().as_deref(), Some(&b"50"[..]));
        db.update(|other| other.put(ks, "x", "51")).unwrap();
        assert_eq!(tx.get_for_update(ks, "x").unwrap().as_deref(), Some(&b"51"[..]));
        tx.put(ks, "x", "52").unwrap();
        assert_eq!(word(tx.commit()), "ok");
    });
}

#[test]
fn locking_scans_keep_phantoms_out_at_every_level() {
    for level in LEVELS {
        on_each_backend(|db, ks| {
            let tx = at(db, level);
            let found: Vec<_> = tx.range_for_share(ks, "a".."z").unwrap().map(|entry| entry.unwrap().key).collect();
            assert_eq!(found, [&b"x"[..], b"y"]);
            tx.put(ks, "count", "2").unwrap();
            db.update(|other| other.put(ks, "phantom", "1")).unwrap();
            assert_eq!(word(tx.commit()), "conflict", "{level}");
            let tx = at(db, level);
            let part: Vec<_> = tx.range_for_update(ks, "a".."z").unwrap().take(1).collect();
            assert_eq!(part.len(), 1, "the phantom");
            db.update(|other| other.delete(ks, "y")).unwrap();
            tx.put(ks, "phantom", "2").unwrap();
            assert_eq!(word(tx.commit()), "ok", "{level}: it never came to y");
        });
    }
}

#[test]
fn a_savepoint_does_not_forget_a_locking_read() {
    on_each_backend(|db, ks| {
        let tx = at(db, Snapshot);
        let before = tx.savepoint().unwrap();
        assert!(tx.get_for_update(ks, "x").unwrap().is_some());
        tx.rollback_to(&before).unwrap();
        db.update(|other| other.put(ks, "x", "51")).unwrap();
        tx.put(ks, "y", "1").unwrap();
        assert_eq!(word(tx.commit()), "conflict");
    });
}

#[test]
fn who_wrote_nothing_is_told_too_that_it_changed() {
    on_each_backend(|db, ks| {
        let tx = at(db, ReadCommitted);
        assert!(tx.get_for_share(ks, "x").unwrap().is_some());
        db.update(|other| other.put(ks, "x", "51")).unwrap();
        assert_eq!(word(tx.commit()), "conflict");
    });
}

#[test]
fn locking_reads_never_return_pending_writes() {
    on_each_backend(|db, ks| {
        let writer = at(db, Snapshot);
        writer.put(ks, "x", "pending").unwrap();
        let tx = at(db, ReadUncommitted);
        assert_eq!(read(&tx, ks, "x"), "pending");
        assert_eq!(tx.get_for_share(ks, "x").unwrap().as_deref(), Some(&b"50"[..]));
        let scanned = tx.range_for_share(ks, "x".."y").unwrap().next().unwrap().unwrap();
        assert_eq!(&*scanned.value, b"50");
    });
}

#[test]
fn own_writes_are_seen_by_locking_reads() {
    on_each_backend(|db, ks| {
        let tx = at(db, Snapshot);
        tx.put(ks, "x", "mine").unwrap();
        tx.delete(ks, "y").unwrap();
        assert_eq!(tx.get_for_update(ks, "x").unwrap().as_deref(), Some(&b"mine"[..]));
        assert_eq!(tx.get_for_update(ks, "y").unwrap(), None);
        assert_eq!(keys(&tx, ks, "a", "zz"), "x");
    });
}

#[test]
fn what_needs_a_lock_is_refused_by_name_in_optimistic_transactions() {
    on_each_backend(|db, ks| {
        let tx = at(db, Snapshot);
        let refused = |outcome: Result<(), Error>, name: &str| match outcome {
            Err(Error::Unsupported { what }) => assert!(what.contains(name), "{what}"),
            other => panic!("{other:?}"),
        };
        refused(tx.get_locked(ks, "x", LockRead::for_update().nowait()).map(drop), "nowait");
        refused(tx.range_locked(ks, "a".."z", LockRead::for_share().skip_locked()).map(drop), "skip_locked");
        refused(tx.lock(ks, "x", LockMode::Shared), "by hand");
        refused(tx.lock_range(ks, "a".."z", LockMode::Exclusive), "by hand");
        refused(tx.lock_keyspace(ks, LockMode::Exclusive), "by hand");
        assert_eq!(read(&tx, ks, "x"), "50", "it goes on");
    });
}
