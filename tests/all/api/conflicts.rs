//! Snapshot isolation, optimistic: what conflicts, what does not, and how running again resolves it.

use std::sync::atomic::{AtomicBool, Ordering};

use duramen::{
    BackendKind, Concurrency, Database, Error, IsolationLevel, Keyspace, Reader, Result, Transaction, TxnOptions,
};

use super::{database, on_each_kind, small, text, words};

/// A transaction that has read.
fn reading(db: &Database) -> Transaction {
    let tx = db.begin().expect("open");
    tx.pin_snapshot().expect("alive");
    tx
}

/// What becomes of `mine` when `theirs` commits after its snapshot.
fn race(
    kind: BackendKind,
    mine: impl Fn(&Transaction, &Keyspace) -> Result<()>,
    theirs: impl Fn(&Transaction, &Keyspace) -> Result<()>,
) -> Result<()> {
    let (db, ks) = database(kind);
    db.update(|tx| ["b", "d", "f"].iter().try_for_each(|key| tx.put(&ks, key, "old"))).expect("a commit");
    for in_files in [false, true] {
        let tx = reading(&db);
        mine(&tx, &ks).expect("room");
        db.update(|other| theirs(other, &ks)).expect("the first to commit wins");
        if in_files {
            db.checkpoint().expect("a good disk");
        }
        let before = words(db.snapshot().expect("open").iter(&ks).expect("readable"));
        let outcome = tx.commit();
        if let Err(error) = outcome {
            let after = words(db.snapshot().expect("open").iter(&ks).expect("readable"));
            assert_eq!(before, after, "nothing was written");
            assert!(error.is_retryable());
            if in_files {
                return Err(error);
            }
        } else if in_files {
            return Ok(());
        }
    }
    unreachable!("the second round returns")
}

fn assert_conflict(outcome: Result<()>, what: &str) {
    match outcome {
        Err(Error::WriteConflict(info)) => {
            assert!(info.newer_ts.is_none_or(|newer| newer > info.snapshot_ts), "{info}")
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn two_writes_of_one_key_conflict(kind: BackendKind) {
    let put = |tx: &Transaction, ks: &Keyspace| tx.put(ks, "b", "new");
    let delete = |tx: &Transaction, ks: &Keyspace| tx.delete(ks, "b");
    let put_new = |tx: &Transaction, ks: &Keyspace| tx.put(ks, "c", "new");
    let delete_absent = |tx: &Transaction, ks: &Keyspace| tx.delete(ks, "c");
    assert_conflict(race(kind, put, put), "put, put");
    assert_conflict(race(kind, put, delete), "put, delete");
    assert_conflict(race(kind, delete, put), "delete, put");
    assert_conflict(race(kind, delete, delete), "delete, delete");
    assert_conflict(race(kind, put_new, put_new), "put of a new key, put of a new key");
    assert_conflict(race(kind, put_new, delete_absent), "put of a new key, delete of an absent one");
    race(kind, put, put_new).expect("different keys");
}

fn range_deletes_conflict_with_every_write_in_them(kind: BackendKind) {
    let range = |tx: &Transaction, ks: &Keyspace| tx.delete_range(ks, "c", "e");
    let inside = |tx: &Transaction, ks: &Keyspace| tx.put(ks, "d", "new");
    let new_inside = |tx: &Transaction, ks: &Keyspace| tx.put(ks, "cc", "new");
    let deleted_inside = |tx: &Transaction, ks: &Keyspace| tx.delete(ks, "d");
    let at_end = |tx: &Transaction, ks: &Keyspace| tx.put(ks, "e", "new");
    let below = |tx: &Transaction, ks: &Keyspace| tx.put(ks, "bzz", "new");
    let overlapping = |tx: &Transaction, ks: &Keyspace| tx.delete_range(ks, "dd", "");
    let beside = |tx: &Transaction, ks: &Keyspace| tx.delete_range(ks, "e", "");
    assert_conflict(race(kind, range, inside), "range, put of a key in it");
    assert_conflict(race(kind, range, new_inside), "range, put of a new key in it");
    assert_conflict(race(kind, range, deleted_inside), "range, delete in it");
    assert_conflict(race(kind, range, overlapping), "range, range");
    assert_conflict(race(kind, inside, range), "put, range around it");
    assert_conflict(race(kind, new_inside, range), "put of a new key, range around it");
    assert_conflict(race(kind, deleted_inside, range), "delete, range around it");
    race(kind, range, at_end).expect("the high end is excluded");
    race(kind, range, below).expect("below the low end");
    race(kind, range, beside).expect("ranges that only touch");
    race(kind, at_end, range).expect("the high end is excluded");
}

fn the_report_of_a_conflict_names_the_key(kind: BackendKind) {
    let (db, ks) = database(kind);
    let tx = reading(&db);
    let snapshot_ts = tx.pin_snapshot().expect("alive");
    tx.put(&ks, "hot", "mine").expect("room");
    db.update(|other| other.put(&ks, "hot", "theirs")).expect("a commit");
    match tx.commit() {
        Err(Error::WriteConflict(info)) => {
            assert_eq!((info.keyspace, &*info.key, info.snapshot_ts), (ks.id(), &b"hot"[..], snapshot_ts));
            assert_eq!(info.newer_ts, Some(db.stats().visible));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(db.stats().conflicts, 1);
}

fn blind_writes_never_conflict(kind: BackendKind) {
    let (db, ks) = database(kind);
    let tx = db.begin().expect("open");
    tx.put(&ks, "a", "mine").expect("room");
    tx.delete_range(&ks, "x", "z").expect("room");
    // Own writes are not a read of the database.
    assert_eq!(text(tx.get(&ks, "a").expect("readable")).as_deref(), Some("mine"));
    db.update(|other| {
        other.put(&ks, "a", "theirs")?;
        other.put(&ks, "y", "theirs")
    })
    .expect("a commit");
    tx.commit().expect("it read nothing before");
    assert_eq!(words(db.snapshot().expect("open").iter(&ks).expect("readable")), "a=mine");
}

fn reading_alone_never_conflicts(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| tx.put(&ks, "a", "1")).expect("a commit");
    let tx = reading(&db);
    assert_eq!(words(tx.iter(&ks).expect("readable")), "a=1");
    db.update(|other| other.delete_range(&ks, "", "")).expect("a commit");
    assert_eq!(words(tx.iter(&ks).expect("readable")), "a=1");
    assert_eq!(tx.commit().expect("it only read"), None);
}

fn a_write_that_was_rolled_back_does_not_conflict(kind: BackendKind) {
    let (db, ks) = database(kind);
    let tx = reading(&db);
    let before = tx.savepoint().expect("alive");
    tx.put(&ks, "a", "mine").expect("room");
    tx.rollback_to(&before).expect("its own");
    tx.put(&ks, "b", "mine").expect("room");
    db.update(|other| other.put(&ks, "a", "theirs")).expect("a commit");
    tx.commit().expect("it does not write a");
    assert_eq!(words(db.snapshot().expect("open").iter(&ks).expect("readable")), "a=theirs b=mine");
}

/// What the level allows, told in docs/isolation.md: both read both, each writes one.
fn write_skew_is_allowed(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| tx.put(&ks, "x", "50").and_then(|()| tx.put(&ks, "y", "50"))).expect("a commit");
    let (one, two) = (reading(&db), reading(&db));
    for tx in [&one, &two] {
        assert_eq!(words(tx.iter(&ks).expect("readable")), "x=50 y=50");
    }
    one.put(&ks, "x", "0").expect("room");
    two.put(&ks, "y", "0").expect("room");
    one.commit().expect("nobody else wrote x");
    two.commit().expect("nobody else wrote y");
}

fn update_runs_again_until_it_commits(kind: BackendKind) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 60;
    let (db, ks) = database(kind);
    let increment = || {
        for _ in 0..ROUNDS {
            db.update(|tx| {
                let old = tx.get_with(&ks, "count", |value| {
                    value.map_or(0, |v| u64::from_le_bytes(v.try_into().expect("eight")))
                })?;
                tx.put(&ks, "count", (old + 1).to_le_bytes())
            })
            .expect("it is run again");
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(increment))));
    let value = db.snapshot().expect("open").get(&ks, "count").expect("readable").expect("there");
    assert_eq!(*value, (THREADS * ROUNDS).to_le_bytes(), "no update is lost");
    let stats = db.stats();
    assert_eq!((stats.commits, stats.conflicts), (THREADS * ROUNDS, stats.retries));
}

fn update_gives_up_on_other_errors(kind: BackendKind) {
    let (db, ks) = database(kind);
    let mut runs = 0;
    let failed: Result<()> = db.update(|tx| {
        runs += 1;
        tx.put(&ks, "a", "1")?;
        Err(Error::InvalidArgument { what: "as the program says" })
    });
    assert!(matches!(failed, Err(Error::InvalidArgument { .. })) && runs == 1);
    assert!(!db.snapshot().expect("open").contains(&ks, "a").expect("readable"));
}

/// Money moves between keyspaces of different kinds while audits always see the same total.
fn audits_see_one_total(kind: BackendKind) {
    const ACCOUNTS: u64 = 8;
    const START: u64 = 1000;
    let (db, left) = database(kind);
    let right = db.create_keyspace("right", small(BackendKind::Lsm)).expect("a new name");
    let side = |i: u64| if i.is_multiple_of(2) { &left } else { &right };
    let number = |value: Option<&[u8]>| u64::from_le_bytes(value.expect("an account").try_into().expect("eight bytes"));
    db.update(|tx| (0..ACCOUNTS).try_for_each(|i| tx.put(side(i), i.to_be_bytes(), START.to_le_bytes())))
        .expect("a commit");
    let stop = AtomicBool::new(false);
    let total = |reader: &dyn Fn(u64) -> u64| (0..ACCOUNTS).map(reader).sum::<u64>();
    std::thread::scope(|scope| {
        let movers: Vec<_> = (1..=3_u64)
            .map(|mover| {
                let (db, side, number) = (&db, &side, &number);
                scope.spawn(move || {
                    for n in 0..80_u64 {
                        let (from, to) = (n * mover % ACCOUNTS, (n * 7 + mover) % ACCOUNTS);
                        db.update(|tx| {
                            let have = tx.get_with(side(from), from.to_be_bytes(), number)?;
                            let moved = have.min(n);
                            tx.put(side(from), from.to_be_bytes(), (have - moved).to_le_bytes())?;
                            let other = tx.get_with(side(to), to.to_be_bytes(), number)?;
                            tx.put(side(to), to.to_be_bytes(), (other + moved).to_le_bytes())
                        })
                        .expect("it is run again");
                    }
                })
            })
            .collect();
        let audit = scope.spawn(|| {
            let mut audits = 0;
            while !stop.load(Ordering::Relaxed) || audits == 0 {
                let snapshot = db.snapshot().expect("open");
                let sum = total(&|i| snapshot.get_with(side(i), i.to_be_bytes(), number).expect("readable"));
                assert_eq!(sum, ACCOUNTS * START, "an audit saw half a transfer at {}", snapshot.ts());
                audits += 1;
            }
        });
        let moved: Vec<_> = movers.into_iter().map(|mover| mover.join()).collect();
        stop.store(true, Ordering::Relaxed);
        audit.join().expect("every audit was right");
        moved.into_iter().for_each(|mover| mover.expect("every transfer was made"));
    });
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    let db = Database::in_memory().expect("in memory");
    let dirty = TxnOptions::default().isolation(IsolationLevel::ReadUncommitted);
    match db.begin_with(dirty) {
        Err(Error::Unsupported { what }) => assert!(what.contains("ReadUncommitted"), "{what}"),
        other => panic!("{other:?}"),
    }
    let not_deferrable = TxnOptions::default().isolation(IsolationLevel::Serializable).deferrable(true);
    assert!(matches!(db.begin_with(not_deferrable), Err(Error::InvalidArgument { .. })));
    let locking = TxnOptions::default().isolation(IsolationLevel::Serializable).concurrency(Concurrency::Pessimistic);
    assert!(matches!(db.begin_with(locking.read_only(true).deferrable(true)), Err(Error::InvalidArgument { .. })));
}

on_each_kind!(
    two_writes_of_one_key_conflict,
    range_deletes_conflict_with_every_write_in_them,
    the_report_of_a_conflict_names_the_key,
    blind_writes_never_conflict,
    reading_alone_never_conflicts,
    a_write_that_was_rolled_back_does_not_conflict,
    write_skew_is_allowed,
    update_runs_again_until_it_commits,
    update_gives_up_on_other_errors,
    audits_see_one_total,
);
