//! What docs/isolation.md promises of optimistic Snapshot, anomaly by anomaly, in fixed interleavings on each backend.
//!
//! Not random histories: each test is one script, in the order in which it stands. A permitted anomaly is shown, or the table would say
//! less than it seems to.

use duramen::{Error, Reader};

use super::{on_each_backend, read};

#[test]
fn lost_updates_are_refused() {
    on_each_backend(|db, ks| {
        for key in ["x", "absent"] {
            let (t1, t2) = (db.begin().unwrap(), db.begin().unwrap());
            assert_eq!(read(&t1, ks, key), read(&t2, ks, key));
            t1.put(ks, key, "60").unwrap();
            t2.put(ks, key, "70").unwrap();
            t1.commit().unwrap();
            assert!(matches!(t2.commit(), Err(Error::WriteConflict(_))), "{key}");
            assert_eq!(read(&db.snapshot().unwrap(), ks, key), "60");
        }
    });
}

#[test]
fn a_write_that_brings_the_old_value_back_is_a_conflict() {
    on_each_backend(|db, ks| {
        let t1 = db.begin().unwrap();
        assert_eq!(read(&t1, ks, "x"), "50");
        db.update(|tx| tx.put(ks, "x", "0")).unwrap();
        db.update(|tx| tx.put(ks, "x", "50")).unwrap();
        t1.put(ks, "x", "51").unwrap();
        assert!(matches!(t1.commit(), Err(Error::WriteConflict(_))));
    });
}

#[test]
fn deletes_and_range_deletes_conflict_with_writes() {
    on_each_backend(|db, ks| {
        let writer = db.begin().unwrap();
        read(&writer, ks, "y");
        writer.put(ks, "x", "51").unwrap();
        let deleter = db.begin().unwrap();
        read(&deleter, ks, "y");
        deleter.delete_range(ks, "a", "z").unwrap();
        db.update(|tx| tx.delete(ks, "x")).unwrap();
        assert!(matches!(writer.commit(), Err(Error::WriteConflict(_))));
        assert!(matches!(deleter.commit(), Err(Error::WriteConflict(_))));
    });
}

#[test]
fn blind_writes_do_not_conflict() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (db.begin().unwrap(), db.begin().unwrap());
        t1.put(ks, "x", "1").unwrap();
        t2.put(ks, "x", "2").unwrap();
        t1.commit().unwrap();
        t2.commit().unwrap();
        assert_eq!(read(&db.snapshot().unwrap(), ks, "x"), "2");
    });
}

#[test]
fn uncommitted_and_aborted_writes_are_seen_by_nobody_else() {
    on_each_backend(|db, ks| {
        let t1 = db.begin().unwrap();
        t1.put(ks, "x", "101").unwrap();
        let t2 = db.begin().unwrap();
        assert_eq!((read(&t1, ks, "x"), read(&t2, ks, "x")), ("101".into(), "50".into()));
        t1.rollback();
        assert_eq!(read(&t2, ks, "x"), "50");
        assert_eq!(read(&db.snapshot().unwrap(), ks, "x"), "50");
    });
}

#[test]
fn one_transaction_reads_one_moment() {
    on_each_backend(|db, ks| {
        let t1 = db.begin().unwrap();
        assert_eq!(read(&t1, ks, "x"), "50");
        db.update(|tx| {
            tx.put(ks, "x", "12")?;
            tx.put(ks, "y", "18")?;
            tx.put(ks, "z", "20")
        })
        .unwrap();
        assert_eq!(read(&t1, ks, "y"), "50");
        assert_eq!(t1.iter(ks).unwrap().count(), 2);
        t1.commit().unwrap();
        assert_eq!(db.begin().unwrap().iter(ks).unwrap().count(), 3);
    });
}

#[test]
fn snapshot_allows_write_skew() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (db.begin().unwrap(), db.begin().unwrap());
        for tx in [&t1, &t2] {
            assert_eq!((read(tx, ks, "x"), read(tx, ks, "y")), ("50".into(), "50".into()));
        }
        t1.put(ks, "x", "0").unwrap();
        t2.put(ks, "y", "0").unwrap();
        t1.commit().unwrap();
        t2.commit().unwrap();
    });
}

#[test]
fn writing_back_what_was_read_prevents_write_skew() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (db.begin().unwrap(), db.begin().unwrap());
        for (tx, own, other) in [(&t1, "x", "y"), (&t2, "y", "x")] {
            read(tx, ks, own);
            tx.put(ks, other, read(tx, ks, other)).unwrap();
            tx.put(ks, own, "0").unwrap();
        }
        t1.commit().unwrap();
        assert!(matches!(t2.commit(), Err(Error::WriteConflict(_))));
    });
}

#[test]
fn an_update_runs_again_after_a_conflict() {
    on_each_backend(|db, ks| {
        let runs = std::cell::Cell::new(0);
        let sum = db.update(|tx| {
            runs.set(runs.get() + 1);
            let old: u32 = read(tx, ks, "x").parse().unwrap();
            if runs.get() == 1 {
                db.update(|other| other.put(ks, "x", "60"))?;
            }
            tx.put(ks, "x", (old + 1).to_string())?;
            Ok(old + 1)
        });
        assert_eq!((sum.unwrap(), runs.get()), (61, 2));
    });
}
