//! Serializable by SSI: the classic scripts in which snapshots alone go wrong, and read-only transactions.

use duramen::IsolationLevel::{Serializable, Snapshot};
use duramen::{Database, Error, IsolationLevel, Reader, Transaction, TxnOptions};

use super::{at, keys, on_each_backend, read, word};

fn read_only(db: &Database) -> Transaction {
    db.begin_with(TxnOptions::default().isolation(Serializable).read_only(true)).unwrap()
}

/// Three in a ring, each reading the next one's key: no two of them exclude each other.
fn ring(level: IsolationLevel) -> Vec<&'static str> {
    let outcome = std::cell::RefCell::new(Vec::new());
    on_each_backend(|db, ks| {
        let all = [("a", "b"), ("b", "c"), ("c", "a")].map(|(reads, writes)| (at(db, level), reads, writes));
        all.iter().for_each(|(tx, reads, _)| drop(read(tx, ks, reads)));
        all.iter().for_each(|(tx, _, writes)| tx.put(ks, writes, "1").unwrap());
        outcome.replace(all.into_iter().map(|(tx, ..)| word(tx.commit())).collect());
    });
    outcome.into_inner()
}

#[test]
fn of_three_in_a_ring_one_is_refused() {
    assert_eq!(ring(Snapshot), ["ok", "ok", "ok"]);
    assert_eq!(ring(Serializable).iter().filter(|word| **word == "not serializable").count(), 1);
}

/// Fekete, O'Neil and O'Neil 2004: y is deposited, x withdrawn with a fee since the deposit was not seen, and a report shows the deposit without
/// the fee. `report` ends before the withdrawal.
fn read_only_anomaly(level: IsolationLevel, report: impl Fn(&Database) -> Transaction) -> (&'static str, &'static str) {
    let outcome = std::cell::Cell::new(("", ""));
    on_each_backend(|db, ks| {
        let withdraw = at(db, level);
        assert_eq!((read(&withdraw, ks, "x"), read(&withdraw, ks, "y")), ("50".into(), "50".into()));
        let deposit = at(db, level);
        deposit.put(ks, "y", (read(&deposit, ks, "y") + "0").as_str()).unwrap();
        deposit.commit().unwrap();
        let report = report(db);
        assert_eq!((read(&report, ks, "x"), read(&report, ks, "y")), ("50".into(), "500".into()));
        let reported = word(report.commit());
        withdraw.put(ks, "x", "-11").unwrap();
        outcome.set((reported, word(withdraw.commit())));
    });
    outcome.get()
}

#[test]
fn the_read_only_anomaly_is_prevented() {
    assert_eq!(read_only_anomaly(Snapshot, |db| at(db, Snapshot)), ("ok", "ok"));
    assert_eq!(read_only_anomaly(Serializable, |db| at(db, Serializable)), ("ok", "not serializable"));
    assert_eq!(read_only_anomaly(Serializable, read_only), ("ok", "not serializable"));
}

#[test]
fn a_report_that_ends_last_is_refused_itself() {
    on_each_backend(|db, ks| {
        let withdraw = at(db, Serializable);
        assert_eq!((read(&withdraw, ks, "x"), read(&withdraw, ks, "y")), ("50".into(), "50".into()));
        db.update_with(TxnOptions::default().isolation(Serializable), |tx| tx.put(ks, "y", "70")).unwrap();
        let report = read_only(db);
        assert_eq!(read(&report, ks, "y"), "70");
        withdraw.put(ks, "x", "-11").unwrap();
        withdraw.commit().unwrap();
        assert_eq!(read(&report, ks, "x"), "50");
        assert_eq!(word(report.commit()), "not serializable");
    });
}

/// The pivot has committed before the reader meets what it overwrote.
#[test]
fn a_pivot_that_has_committed_is_found() {
    on_each_backend(|db, ks| {
        let reader = at(db, Serializable);
        assert_eq!(read(&reader, ks, "elsewhere"), "");
        let pivot = at(db, Serializable);
        assert_eq!(read(&pivot, ks, "y"), "50");
        let first = at(db, Serializable);
        first.put(ks, "y", "0").unwrap();
        first.put(ks, "seen", "1").unwrap();
        first.commit().unwrap();
        pivot.put(ks, "x", "0").unwrap();
        pivot.commit().unwrap();
        assert_eq!(read(&reader, ks, "x"), "50");
        reader.put(ks, "out", "1").unwrap();
        assert_eq!(word(reader.commit()), "not serializable");
    });
}

#[test]
fn a_scan_counts_as_far_as_it_was_walked() {
    on_each_backend(|db, ks| {
        db.update(|tx| ["a", "c", "e", "g"].iter().try_for_each(|key| tx.put(ks, key, "1"))).unwrap();
        for (inserted, expected) in [("b", "not serializable"), ("f", "ok")] {
            let (t1, t2) = (at(db, Serializable), at(db, Serializable));
            let mut scan = t1.range(ks, "a".."h").unwrap();
            assert!(scan.by_ref().take(2).all(|entry| entry.is_ok()), "a and c");
            assert_eq!(read(&t2, ks, "mark"), "");
            t1.put(ks, "mark", "1").unwrap();
            t2.put(ks, inserted, "1").unwrap();
            t2.commit().unwrap();
            assert_eq!(word(t1.commit()), expected, "{inserted}");
            assert!(matches!(scan.next(), Some(Err(Error::TxnAborted))), "its transaction has ended");
            db.update(|tx| tx.delete(ks, "mark").and_then(|()| tx.delete(ks, inserted))).unwrap();
        }
    });
}

#[test]
fn a_range_delete_is_a_write_to_everything_in_it() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (at(db, Serializable), at(db, Serializable));
        assert_eq!((read(&t1, ks, "m"), keys(&t2, ks, "w", "z")), (String::new(), "x y".into()));
        t1.delete_range(ks, "w", "z").unwrap();
        t2.put(ks, "m", "1").unwrap();
        assert_eq!((word(t1.commit()), word(t2.commit())), ("ok", "not serializable"));
    });
}

#[test]
fn transactions_one_after_the_other_are_never_refused() {
    on_each_backend(|db, ks| {
        for round in 0..200 {
            let tx = at(db, Serializable);
            assert_eq!(keys(&tx, ks, "a", "zz").split(' ').count(), 2 + usize::from(round > 0));
            tx.put(ks, "z", round.to_string()).unwrap();
            tx.put(ks, "x", read(&tx, ks, "y")).unwrap();
            assert_eq!(word(tx.commit()), "ok");
        }
        assert_eq!(db.stats().serialization_failures, 0);
    });
}

#[test]
fn a_read_only_transaction_that_nobody_can_make_wrong_is_not_tracked() {
    on_each_backend(|db, ks| {
        let report = read_only(db);
        assert_eq!(read(&report, ks, "x"), "50");
        // It began before any of these, so none can be made wrong by it.
        let (t1, t2) = (at(db, Serializable), at(db, Serializable));
        assert_eq!((read(&t1, ks, "x"), read(&t2, ks, "q")), ("50".into(), String::new()));
        t1.put(ks, "y", "0").unwrap();
        t1.commit().unwrap();
        assert_eq!(read(&report, ks, "y"), "50");
        assert_eq!(word(report.commit()), "ok");
        t2.put(ks, "q", "0").unwrap();
        assert_eq!(word(t2.commit()), "ok");
    });
}

#[test]
fn a_deferrable_transaction_waits_for_a_moment_that_nobody_can_make_wrong() {
    on_each_backend(|db, ks| {
        let deferrable = TxnOptions::default().isolation(Serializable).read_only(true).deferrable(true);
        let withdraw = at(db, Serializable);
        assert_eq!((read(&withdraw, ks, "x"), read(&withdraw, ks, "y")), ("50".into(), "50".into()));
        db.update_with(TxnOptions::default().isolation(Serializable), |tx| tx.put(ks, "y", "70")).unwrap();
        std::thread::scope(|scope| {
            let report = scope.spawn(|| {
                let report = db.begin_with(deferrable.clone()).unwrap();
                let seen = (read(&report, ks, "x"), read(&report, ks, "y"));
                report.commit().unwrap();
                seen
            });
            withdraw.put(ks, "x", "-11").unwrap();
            withdraw.commit().unwrap();
            let seen = report.join().unwrap();
            assert_eq!(seen, ("-11".into(), "70".into()), "at the moment of the deposit it would have been wrong");
        });
    });
}

#[test]
fn what_others_commit_at_lower_levels_is_no_business_of_the_serializable() {
    on_each_backend(|db, ks| {
        let tx = at(db, Serializable);
        assert_eq!(read(&tx, ks, "x"), "50");
        db.update(|other| other.put(ks, "x", "0").and_then(|()| other.get_for_share(ks, "y").map(drop))).unwrap();
        tx.put(ks, "y", "0").unwrap();
        assert_eq!(word(tx.commit()), "ok");
    });
}
