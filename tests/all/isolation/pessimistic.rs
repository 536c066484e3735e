//! The pessimistic mode: who waits for whom, what a read under a lock returns, who is given up, and what falls when.
//!
//! Whether somebody waits is what the engine says (`lock_waits`), never how long it takes.

use std::time::Duration;

use duramen::IsolationLevel::{self, *};
use duramen::{Concurrency, Database, Error, Keyspace, LockMode, LockRead, Reader, Result, Transaction, TxnOptions};

use super::{CLEAN_LEVELS, at, keys, on_each_backend, read, word};

fn options(level: IsolationLevel) -> TxnOptions {
    TxnOptions::default().isolation(level).concurrency(Concurrency::Pessimistic)
}

/// A pessimistic transaction at `level`.
fn locking(db: &Database, level: IsolationLevel) -> Transaction {
    db.begin_with(options(level)).unwrap()
}

/// Runs `waiter` with `tx` in a thread until it waits for a lock, then `release` here; what `waiter` returned.
fn meanwhile<R: Send>(
    db: &Database,
    tx: Transaction,
    waiter: impl FnOnce(Transaction) -> R + Send,
    release: impl FnOnce(),
) -> R {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiter(tx));
        while db.lock_waits().is_empty() && !waiter.is_finished() {
            std::thread::yield_now();
        }
        assert!(!waiter.is_finished(), "it does not wait");
        release();
        waiter.join().unwrap()
    })
}

fn commit(tx: Transaction) {
    assert!(tx.commit().unwrap().is_some(), "it wrote something");
}

/// Writes `key` in a transaction of its own, and rolls back; fails if it would have to wait.
fn write_now(db: &Database, ks: &Keyspace, key: &str) -> Result<()> {
    let tx = db.begin_with(options(ReadCommitted).lock_timeout(Duration::ZERO)).unwrap();
    tx.put(ks, key, "never committed")
}

fn is_locked(db: &Database, ks: &Keyspace, key: &str) -> bool {
    match write_now(db, ks, key) {
        Ok(()) => false,
        Err(Error::LockTimeout(_)) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_second_writer_waits_and_then_goes_on_at_read_committed() {
    on_each_backend(|db, ks| {
        let (t1, t2) = (locking(db, ReadCommitted), locking(db, ReadCommitted));
        t1.put(ks, "x", "1").unwrap();
        let committed = meanwhile(db, t2, |t2| t2.put(ks, "x", "2").map(|()| word(t2.commit())), || commit(t1));
        assert_eq!(committed.unwrap(), "ok");
        assert_eq!(read(&db.snapshot().unwrap(), ks, "x"), "2");
    });
}

#[test]
fn a_locking_read_returns_the_value_as_of_its_grant() {
    for level in [ReadUncommitted, ReadCommitted, RepeatableRead, Serializable, Snapshot] {
        on_each_backend(|db, ks| {
            let (t1, t2) = (locking(db, level), locking(db, level));
            t1.put(ks, "x", "51").unwrap();
            let value = meanwhile(db, t2, |t2| t2.get_for_update(ks, "x").unwrap(), || commit(t1));
            assert_eq!(value.as_deref(), Some(&b"51"[..]), "{level}: its snapshot came after the grant");
        });
    }
}

#[test]
fn modify_loses_no_update_at_any_level() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 25;
    for level in [ReadUncommitted, ReadCommitted, RepeatableRead, Snapshot, Serializable] {
        on_each_backend(|db, ks| {
            let increment = |tx: &Transaction| {
                tx.modify(ks, "x", |old| {
                    let old: usize = std::str::from_utf8(old.unwrap()).unwrap().parse().unwrap();
                    Some((old + 1).to_string().into_bytes())
                })
            };
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (0..ROUNDS).for_each(|_| db.update_with(options(level), increment).unwrap()));
                }
            });
            assert_eq!(read(&db.snapshot().unwrap(), ks, "x"), (50 + THREADS * ROUNDS).to_string(), "{level}");
            assert_eq!(db.stats().retries, 0, "{level}: they wait for each other, and nobody runs again");
        });
    }
}

#[test]
fn at_snapshot_the_first_to_update_wins() {
    on_each_backend(|db, ks| {
        // It commits: the second is refused, as soon as that is known.
        let (t1, t2) = (locking(db, Snapshot), locking(db, Snapshot));
        assert_eq!((read(&t1, ks, "x"), read(&t2, ks, "x")), ("50".into(), "50".into()));
        t1.put(ks, "x", "1").unwrap();
        let second = meanwhile(db, t2, |t2| t2.put(ks, "x", "2"), || commit(t1));
        assert_eq!(word(second), "conflict");
        // It rolls back: the second goes on.
        let (t1, t2) = (locking(db, Snapshot), locking(db, Snapshot));
        assert_eq!((read(&t1, ks, "y"), read(&t2, ks, "y")), ("50".into(), "50".into()));
        t1.put(ks, "y", "1").unwrap();
        let second = meanwhile(db, t2, |t2| t2.put(ks, "y", "2").map(|()| word(t2.commit())), || t1.rollback());
        assert_eq!(second.unwrap(), "ok");
        // It has committed already: nobody waits, though somebody else holds the key again.
        let t1 = locking(db, Snapshot);
        t1.pin_snapshot().unwrap();
        db.update(|tx| tx.put(ks, "x", "3")).unwrap();
        let t2 = locking(db, Snapshot);
        t2.put(ks, "x", "4").unwrap();
        assert_eq!(word(t1.put(ks, "x", "5")), "conflict");
        // Locking reads and range deletes likewise.
        let t3 = locking(db, Snapshot);
        t3.pin_snapshot().unwrap();
        t2.commit().unwrap();
        assert_eq!(word(t3.get_for_share(ks, "x")), "conflict");
        let t4 = locking(db, Snapshot);
        t4.pin_snapshot().unwrap();
        db.update(|tx| tx.put(ks, "m", "1")).unwrap();
        assert_eq!(word(t4.delete_range(ks, "a", "n")), "conflict");
        let t5 = locking(db, Snapshot);
        t5.pin_snapshot().unwrap();
        db.update(|tx| tx.put(ks, "m", "2")).unwrap();
        let scanned: Result<Vec<_>> = t5.range_for_update(ks, "a".."n").unwrap().collect();
        assert_eq!(word(scanned), "conflict");
    });
}

#[test]
fn blind_writes_before_the_snapshot_do_not_conflict() {
    on_each_backend(|db, ks| {
        let tx = locking(db, Snapshot);
        db.update(|other| other.put(ks, "x", "1")).unwrap();
        tx.put(ks, "x", "2").unwrap();
        assert_eq!(read(&tx, ks, "y"), "50");
        tx.put(ks, "y", "2").unwrap();
        assert_eq!(word(tx.commit()), "ok");
    });
}

/// Two that read one key and then write it: both hold it shared and wait to raise their lock.
#[test]
fn of_two_that_read_and_then_write_one_is_given_up() {
    for level in [RepeatableRead, Serializable] {
        for key in ["x", "absent"] {
            on_each_backend(|db, ks| {
                let (t1, t2) = (locking(db, level), locking(db, level));
                assert_eq!(read(&t1, ks, key), read(&t2, ks, key));
                std::thread::scope(|scope| {
                    let first = scope.spawn(move || t1.put(ks, key, "1").map(|()| word(t1.commit())));
                    while db.lock_waits().is_empty() {
                        std::thread::yield_now();
                    }
                    let Err(Error::Deadlock(report)) = t2.put(ks, key, "2") else { panic!("{level}: a circle") };
                    assert_eq!(report.members.len(), 2);
                    assert_eq!(word(t2.get(ks, key)), "aborted", "it has ended, and its locks have fallen");
                    assert_eq!(first.join().unwrap().unwrap(), "ok");
                });
                assert_eq!(db.deadlocks().len(), 1);
                assert_eq!(read(&db.snapshot().unwrap(), ks, key), "1");
            });
        }
    }
}

#[test]
fn writers_wait_for_readers_of_the_key_and_of_the_range_around_it() {
    on_each_backend(|db, ks| {
        for (level, kept) in [(RepeatableRead, false), (Serializable, true)] {
            let reader = locking(db, level);
            assert_eq!(keys(&reader, ks, "a", "xx"), "x");
            assert_eq!(read(&reader, ks, "absent"), "");
            assert!(is_locked(db, ks, "x") && is_locked(db, ks, "absent"));
            assert_eq!(is_locked(db, ks, "gap"), kept, "{level}: ranges are kept at Serializable alone");
            assert!(!is_locked(db, ks, "y"));
            reader.commit().unwrap();
            assert!(!is_locked(db, ks, "x"));
        }
    });
}

#[test]
fn a_scan_locks_as_far_as_it_was_walked() {
    on_each_backend(|db, ks| {
        db.update(|tx| (0..50).try_for_each(|n| tx.put(ks, format!("k{n:02}"), "1"))).unwrap();
        let reader = locking(db, Serializable);
        assert_eq!(&*reader.prefix(ks, "k").unwrap().next().unwrap().unwrap().key, b"k00");
        assert!(is_locked(db, ks, "k"));
        assert!(!is_locked(db, ks, "k30"));
        let back: Vec<_> = reader.prefix(ks, "k").unwrap().rev().take(2).map(|entry| entry.unwrap().key).collect();
        assert_eq!(back, [&b"k49"[..], b"k48"]);
        assert!(is_locked(db, ks, "k485"));
        assert!(!is_locked(db, ks, "k20"));
        assert_eq!(reader.prefix(ks, "k").unwrap().count(), 50);
        assert!(is_locked(db, ks, "k205"));
    });
}

#[test]
fn scans_from_both_ends_give_each_key_once_with_own_writes_among_them() {
    on_each_backend(|db, ks| {
        db.update(|tx| (0..40).step_by(2).try_for_each(|n| tx.put(ks, format!("k{n:02}"), "old"))).unwrap();
        for level in [RepeatableRead, Serializable] {
            let tx = locking(db, level);
            (1..40).step_by(2).for_each(|n| tx.put(ks, format!("k{n:02}"), "own").unwrap());
            tx.delete_range(ks, "k10", "k20").unwrap();
            tx.put(ks, "k15", "again").unwrap();
            let expected: Vec<String> =
                (0..40).filter(|n| !(10..20).contains(n) || *n == 15).map(|n| format!("k{n:02}")).collect();
            let text = |entry: Result<duramen::Entry>| entry.unwrap().key.escape_ascii().to_string();
            let forward: Vec<String> = tx.prefix(ks, "k").unwrap().map(text).collect();
            assert_eq!(forward, expected, "{level}");
            let mut backward: Vec<String> = tx.prefix(ks, "k").unwrap().rev().map(text).collect();
            backward.reverse();
            assert_eq!(backward, expected, "{level}");
            let mut both = tx.prefix(ks, "k").unwrap();
            let (mut front, mut back) = (Vec::new(), Vec::new());
            while let Some(entry) = both.next() {
                front.push(text(entry));
                back.extend(both.next_back().map(text));
            }
            front.extend(back.into_iter().rev());
            assert_eq!(front, expected, "{level}");
        }
    });
}

#[test]
fn what_is_locked_can_be_skipped() {
    on_each_backend(|db, ks| {
        db.update(|tx| ["a", "b", "c"].iter().try_for_each(|key| tx.put(ks, key, "job"))).unwrap();
        let take = |tx: &Transaction| {
            let mut jobs = tx.range_locked(ks, "a".."d", LockRead::for_update().skip_locked()).unwrap();
            jobs.next().map(|job| job.unwrap().key.escape_ascii().to_string())
        };
        let workers: Vec<_> = (0..4).map(|_| locking(db, ReadCommitted)).collect();
        let taken: Vec<_> = workers.iter().map(take).collect();
        assert_eq!(taken, [Some("a".into()), Some("b".into()), Some("c".into()), None]);
        workers[0].delete(ks, "a").unwrap();
        assert_eq!(workers[3].get_locked(ks, "b", LockRead::for_update().skip_locked()).unwrap(), None);
    });
}

#[test]
fn whoever_waits_too_long_is_told_so_and_never_that_it_was_a_deadlock() {
    on_each_backend(|db, ks| {
        let holder = locking(db, ReadCommitted);
        holder.put(ks, "x", "1").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let tx = db.begin_with(options(ReadCommitted).lock_timeout(Duration::from_millis(5))).unwrap();
                let Err(Error::LockTimeout(wait)) = tx.put(ks, "x", "2") else { panic!("it waits in vain") };
                assert!(wait.to_string().contains("accounts key \"x\""), "{wait}");
                assert_eq!(word(tx.commit()), "aborted");
            });
        });
        assert!(db.deadlocks().is_empty());
    });
}

#[test]
fn locks_by_hand_hold_keys_ranges_and_keyspaces() {
    on_each_backend(|db, ks| {
        let tx = locking(db, ReadCommitted);
        tx.lock(ks, "k", LockMode::Shared).unwrap();
        tx.lock_range(ks, "m".."p", LockMode::Exclusive).unwrap();
        assert!(is_locked(db, ks, "k"));
        assert!(is_locked(db, ks, "nothing yet"));
        assert!(!is_locked(db, ks, "p"));
        tx.lock_keyspace(ks, LockMode::Shared).unwrap();
        assert!(is_locked(db, ks, "p"));
        tx.rollback();
        assert!(!is_locked(db, ks, "p"));
        assert!(db.locks().is_empty());
    });
}

#[test]
fn a_savepoint_gives_back_the_locks_of_blind_writes_alone() {
    on_each_backend(|db, ks| {
        for level in CLEAN_LEVELS {
            let tx = locking(db, level);
            tx.put(ks, "before", "1").unwrap();
            let savepoint = tx.savepoint().unwrap();
            tx.put(ks, "blind", "1").unwrap();
            tx.get_for_update(ks, "read").unwrap();
            tx.rollback_to(&savepoint).unwrap();
            let held = |key: &str| is_locked(db, ks, key);
            assert!(held("before") && held("read"), "{level}");
            assert_eq!(held("blind"), matches!(level, RepeatableRead | Serializable), "{level}");
            tx.rollback();
        }
    });
}

#[test]
fn optimistic_commits_wait_for_pessimistic_locks() {
    on_each_backend(|db, ks| {
        let holder = locking(db, ReadCommitted);
        holder.put(ks, "x", "1").unwrap();
        let tx = at(db, Snapshot);
        tx.put(ks, "x", "2").unwrap();
        let committed = meanwhile(db, tx, |tx| word(tx.commit()), || commit(holder));
        assert_eq!(committed, "ok", "it was blind");
        assert_eq!(read(&db.snapshot().unwrap(), ks, "x"), "2");
    });
}

/// Write skew between a transaction that locks and one that is checked, in both orders.
#[test]
fn serializable_transactions_of_both_modes_are_serializable_together() {
    on_each_backend(|db, ks| {
        // The checked one commits first: it has to wait for the lock of the other's read, which goes first after all.
        let (locked, checked) = (locking(db, Serializable), at(db, Serializable));
        assert_eq!((read(&locked, ks, "x"), read(&checked, ks, "y")), ("50".into(), "50".into()));
        checked.put(ks, "x", "0").unwrap();
        let committed = meanwhile(
            db,
            checked,
            |checked| word(checked.commit()),
            || {
                locked.put(ks, "y", "0").unwrap();
                locked.commit().unwrap();
            },
        );
        assert_eq!(committed, "not serializable");
        // The locking one reads after the other's snapshot, and is gone before that commits.
        let checked = at(db, Serializable);
        assert_eq!(read(&checked, ks, "y"), "0");
        db.update_with(options(Serializable), |tx| {
            assert_eq!(read(tx, ks, "x"), "50");
            tx.put(ks, "y", "7")
        })
        .unwrap();
        checked.put(ks, "x", "0").unwrap();
        assert_eq!(word(checked.commit()), "not serializable");
    });
}

#[test]
fn a_lock_by_hand_does_not_hide_a_conflict() {
    on_each_backend(|db, ks| {
        for whole in [false, true] {
            let tx = locking(db, Snapshot);
            tx.pin_snapshot().unwrap();
            db.update(|other| other.put(ks, "x", "51")).unwrap();
            match whole {
                false => tx.lock(ks, "x", LockMode::Exclusive).unwrap(),
                true => tx.lock_keyspace(ks, LockMode::Exclusive).unwrap(),
            }
            assert_eq!(word(tx.put(ks, "x", "52")), "conflict");
        }
    });
}

#[test]
fn locks_fall_with_the_transaction_though_an_iterator_lives() {
    on_each_backend(|db, ks| {
        for level in CLEAN_LEVELS {
            let tx = locking(db, level);
            let mut scan = tx.range_for_update(ks, "a".."zz").unwrap();
            assert!(scan.next().unwrap().is_ok() && is_locked(db, ks, "x"), "{level}");
            tx.rollback();
            assert!(!is_locked(db, ks, "x"), "{level}");
            assert!(matches!(scan.next(), Some(Err(Error::TxnAborted))), "{level}");
        }
    });
}

/// Doctors on call, in mixed modes and many rounds: never may both be gone.
#[test]
fn no_write_skew_gets_through_mixed_modes() {
    on_each_backend(|db, ks| {
        let leave = |own: &'static str, other: &'static str, mode| {
            let options = TxnOptions::default().isolation(Serializable).concurrency(mode);
            for _ in 0..100 {
                db.update_with(options.clone(), |tx| {
                    match (read(tx, ks, own).as_str(), read(tx, ks, other).as_str()) {
                        ("0", _) => tx.put(ks, own, "50"),
                        (_, "0") => Ok(()),
                        _ => tx.put(ks, own, "0"),
                    }
                })
                .unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| leave("x", "y", Concurrency::Pessimistic));
            scope.spawn(|| leave("y", "x", Concurrency::Optimistic));
            scope.spawn(|| {
                for _ in 0..200 {
                    let snapshot = db.snapshot().unwrap();
                    let both = (read(&snapshot, ks, "x"), read(&snapshot, ks, "y"));
                    assert_ne!(both, ("0".into(), "0".into()));
                }
            });
        });
    });
}
