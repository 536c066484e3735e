//! What errors say: who was in the way, where it was begun, and about which keys.

use duramen::IsolationLevel::{ReadCommitted, Serializable, Snapshot};
use duramen::{Error, TxnOptions};

use super::{at, on_each_backend, read};

#[test]
fn a_conflict_names_the_key_and_the_other_transaction() {
    on_each_backend(|db, ks| {
        let tx = at(db, Snapshot);
        read(&tx, ks, "x");
        tx.put(ks, "x", "1").unwrap();
        let line = line!() + 1;
        db.update_with(TxnOptions::default().label("transfer"), |other| other.put(ks, "x", "2")).unwrap();
        let Err(Error::WriteConflict(info)) = tx.commit() else { panic!("a conflict") };
        assert_eq!((info.keyspace, &*info.key, info.newer_ts), (ks.id(), &b"x"[..], Some(db.stats().visible)));
        let other = info.other.expect("it has just committed");
        assert_eq!((other.label, other.begun_at.line()), (Some("transfer"), line));
        assert!(other.begun_at.file().ends_with("reports.rs"), "{info}");
    });
}

#[test]
fn a_validated_range_is_named() {
    on_each_backend(|db, ks| {
        let tx = at(db, ReadCommitted);
        assert_eq!(tx.range_for_share(ks, "a".."m").unwrap().count(), 0);
        tx.put(ks, "x", "1").unwrap();
        db.update(|other| other.put(ks, "b", "1")).unwrap();
        let Err(Error::WriteConflict(info)) = tx.commit() else { panic!("a conflict") };
        assert_eq!((&*info.key, info.range_end.as_deref()), (&b"a"[..], Some(&b"m"[..])));
    });
}

#[test]
fn a_serialization_failure_names_the_triple() {
    on_each_backend(|db, ks| {
        let begin = |label| db.begin_with(TxnOptions::default().isolation(Serializable).label(label)).unwrap();
        let (t1, t2) = (begin("first"), begin("second"));
        read(&t1, ks, "x");
        read(&t2, ks, "y");
        t1.put(ks, "y", "0").unwrap();
        t2.put(ks, "x", "0").unwrap();
        t1.commit().unwrap();
        let error = t2.commit().unwrap_err();
        assert!(error.is_retryable());
        let Error::SerializationFailure(report) = error else { panic!("{error}") };
        let labels = [report.reader, report.pivot, report.writer].map(|party| party.origin.and_then(|o| o.label));
        assert_eq!(labels, [Some("first"), Some("second"), Some("first")], "{report}");
        assert_eq!(report.pivot.commit_ts, None, "it is the one that failed");
        assert_eq!(report.writer.commit_ts, Some(db.stats().visible));
        let keys = [&report.read, &report.overwritten].map(|place| place.as_ref().unwrap().key.clone());
        assert_eq!(keys, [b"x", b"y"]);
        assert_eq!(db.stats().serialization_failures, 1);
    });
}
