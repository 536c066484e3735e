//! ReadUncommitted: pending writes are really shown, and are nowhere afterwards.

use duramen::IsolationLevel::{ReadUncommitted, Snapshot};
use duramen::Reader;

use super::{at, keys, on_each_backend, read, word};

#[test]
fn aborted_and_intermediate_writes_are_seen() {
    on_each_backend(|db, ks| {
        let writer = at(db, Snapshot);
        let dirty = at(db, ReadUncommitted);
        writer.put(ks, "x", "101").unwrap();
        assert_eq!(read(&dirty, ks, "x"), "101", "G1b");
        writer.put(ks, "x", "11").unwrap();
        writer.put(ks, "new", "1").unwrap();
        writer.delete(ks, "y").unwrap();
        assert_eq!(
            (read(&dirty, ks, "x"), read(&dirty, ks, "y"), read(&dirty, ks, "new")),
            ("11".into(), String::new(), "1".into())
        );
        assert_eq!(keys(&dirty, ks, "a", "zz"), "new x");
        writer.rollback();
        assert_eq!(
            (read(&dirty, ks, "x"), read(&dirty, ks, "y"), read(&dirty, ks, "new")),
            ("50".into(), "50".into(), String::new()),
            "G1a"
        );
        assert_eq!(keys(&dirty, ks, "a", "zz"), "x y");
        assert_eq!(word(dirty.commit()), "ok");
    });
}

#[test]
fn the_newest_version_is_shown_pending_or_not() {
    on_each_backend(|db, ks| {
        let writer = at(db, Snapshot);
        writer.put(ks, "x", "pending").unwrap();
        writer.delete_range(ks, "y", "z").unwrap();
        // Committed after the pending write was made, so newer than that.
        db.update(|other| other.put(ks, "x", "committed").and_then(|()| other.put(ks, "yy", "committed"))).unwrap();
        let dirty = at(db, ReadUncommitted);
        assert_eq!(read(&dirty, ks, "x"), "committed");
        assert_eq!(keys(&dirty, ks, "a", "zz"), "x yy", "y is deleted, yy came after");
        // A delete is newer as well, however thoroughly it was forgotten.
        db.update(|other| other.delete(ks, "x")).unwrap();
        db.checkpoint().unwrap();
        assert_eq!(read(&dirty, ks, "x"), "");
        writer.put(ks, "x", "pending again").unwrap();
        assert_eq!(read(&dirty, ks, "x"), "pending again");
    });
}

#[test]
fn a_savepoint_takes_pending_writes_back() {
    on_each_backend(|db, ks| {
        let (writer, dirty) = (at(db, Snapshot), at(db, ReadUncommitted));
        writer.put(ks, "x", "1").unwrap();
        let before = writer.savepoint().unwrap();
        writer.put(ks, "x", "2").unwrap();
        writer.delete(ks, "y").unwrap();
        assert_eq!((read(&dirty, ks, "x"), read(&dirty, ks, "y")), ("2".into(), String::new()));
        writer.rollback_to(&before).unwrap();
        assert_eq!((read(&dirty, ks, "x"), read(&dirty, ks, "y")), ("1".into(), "50".into()));
        writer.commit().unwrap();
        assert_eq!(read(&dirty, ks, "x"), "1");
    });
}

#[test]
fn circular_information_flow_is_shown() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (at(db, ReadUncommitted), at(db, ReadUncommitted));
        t1.put(ks, "x", "11").unwrap();
        t2.put(ks, "y", "22").unwrap();
        assert_eq!((read(&t1, ks, "y"), read(&t2, ks, "x")), ("22".into(), "11".into()), "G1c");
        assert_eq!((word(t1.commit()), word(t2.commit())), ("ok", "ok"));
    });
}

#[test]
fn dirty_writes_do_not_mix() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (at(db, ReadUncommitted), at(db, ReadUncommitted));
        t1.put(ks, "x", "1").unwrap();
        t2.put(ks, "x", "2").unwrap();
        t2.put(ks, "y", "2").unwrap();
        t1.put(ks, "y", "1").unwrap();
        t1.commit().unwrap();
        t2.commit().unwrap();
        let now = db.snapshot().unwrap();
        assert_eq!((read(&now, ks, "x"), read(&now, ks, "y")), ("2".into(), "2".into()), "G0");
        assert_eq!(now.iter(ks).unwrap().count(), 2);
    });
}
