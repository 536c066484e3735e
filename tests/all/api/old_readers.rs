//! Readers that live too long: who they are, and that they end in an error instead of wrong data.
//!
//! The clock stands until told to move and background work runs when asked for, so every age is exact.

use std::time::Duration;

use duramen::seams::{ManualClock, ManualExecutor};
use duramen::{BackendKind, Concurrency, Database, Error, IsolationLevel, Keyspace, Reader, Transaction, TxnOptions};

use super::{builder_on, disk, on_each_kind, small, text};
use std::sync::Arc;

const AGE_MAX: Duration = Duration::from_secs(60);
const KEYS: u32 = 50;

/// A database in which nothing happens by itself.
struct Bed {
    db: Database,
    ks: Keyspace,
    clock: ManualClock,
    jobs: ManualExecutor,
}

impl Bed {
    fn new(kind: BackendKind, age_max: Option<Duration>, dirty_reads: bool) -> Bed {
        let (clock, jobs) = (ManualClock::default(), ManualExecutor::new());
        let builder = builder_on(&disk()).clock(Arc::new(clock.clone())).executor(Arc::new(jobs.clone()));
        let builder = builder.dirty_reads(dirty_reads);
        let builder = age_max.into_iter().fold(builder, duramen::Builder::max_snapshot_age);
        let db = builder.open("db").expect("an empty disk");
        let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
        let bed = Bed { db, ks, clock, jobs };
        bed.write_all("old");
        bed
    }

    fn write_all(&self, value: &str) {
        self.db.update(|tx| (0..KEYS).try_for_each(|n| tx.put(&self.ks, key(n), value))).expect("a commit");
    }

    /// Time passes, and the background work looks around. What was replaced goes.
    fn pass(&self, time: Duration) {
        self.jobs.run_all(20);
        self.clock.advance(time);
        self.jobs.run_all(20);
        self.db.checkpoint().expect("a good disk");
    }

    /// Writes all keys anew, twice, and lets the readers grow too old.
    fn outlive(&self) {
        self.write_all("new");
        self.pass(AGE_MAX + Duration::from_secs(1));
        self.write_all("newest");
        self.pass(Duration::from_secs(1));
    }

    fn begin(&self, level: IsolationLevel, mode: Concurrency) -> Transaction {
        self.db.begin_with(TxnOptions::default().isolation(level).concurrency(mode)).expect("open")
    }
}

fn key(n: u32) -> String {
    format!("k{n:03}")
}

fn is_too_old<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::SnapshotTooOld))
}

fn an_old_snapshot_is_refused(kind: BackendKind) {
    let bed = Bed::new(kind, Some(AGE_MAX), false);
    let (snapshot, mut iter) = (bed.db.snapshot().unwrap(), bed.db.snapshot().unwrap().iter(&bed.ks).unwrap());
    let value = snapshot.get(&bed.ks, key(0)).unwrap();
    assert_eq!(iter.next().unwrap().unwrap().key, key(0).as_bytes());
    bed.write_all("new");
    bed.pass(AGE_MAX);
    assert_eq!(text(snapshot.get(&bed.ks, key(1)).unwrap()).as_deref(), Some("old"), "it is not older than allowed");
    assert_eq!(iter.next().unwrap().unwrap().value, b"old"[..]);
    bed.outlive();
    assert!(is_too_old(snapshot.get(&bed.ks, key(2))) && is_too_old(snapshot.clone().get(&bed.ks, key(2))));
    assert!(is_too_old(snapshot.iter(&bed.ks).unwrap().next().unwrap()));
    assert!(is_too_old(iter.next().unwrap()));
    assert!(iter.next().is_none(), "X2: nothing follows an error");
    assert_eq!(text(value).as_deref(), Some("old"), "what was read stays");
    assert_eq!(text(bed.db.snapshot().unwrap().get(&bed.ks, key(2)).unwrap()).as_deref(), Some("newest"));
    assert_eq!(bed.db.stats().snapshots_ended, 2);
    assert_eq!((bed.db.stats().snapshots, bed.db.stats().oldest_snapshot), (0, None), "they keep nothing");
}

fn a_reader_is_not_taken_for_the_one_before_it(kind: BackendKind) {
    let bed = Bed::new(kind, Some(AGE_MAX), false);
    // Nothing is committed, so all read at the same moment, and in the same slot.
    for _ in 0..10 {
        let snapshot = bed.db.snapshot().unwrap();
        bed.pass(AGE_MAX / 2);
        assert_eq!(text(snapshot.get(&bed.ks, key(0)).unwrap()).as_deref(), Some("old"));
    }
    assert_eq!(bed.db.stats().snapshots_ended, 0);
}

fn an_old_transaction_is_refused(kind: BackendKind) {
    use Concurrency::{Optimistic, Pessimistic};
    use IsolationLevel::{RepeatableRead, Serializable, Snapshot};
    for (level, mode) in
        [(Snapshot, Optimistic), (Snapshot, Pessimistic), (RepeatableRead, Optimistic), (Serializable, Optimistic)]
    {
        let bed = Bed::new(kind, Some(AGE_MAX), false);
        let begun = || {
            let tx = bed.begin(level, mode);
            assert_eq!(text(tx.get(&bed.ks, key(0)).unwrap()).as_deref(), Some("old"));
            tx
        };
        let (reads, writes, commits, only_read) = (begun(), begun(), begun(), begun());
        commits.put(&bed.ks, "other", "1").unwrap();
        bed.outlive();
        assert!(is_too_old(reads.get(&bed.ks, key(1))), "{level:?} {mode:?}");
        assert!(matches!(reads.get(&bed.ks, key(1)), Err(Error::TxnAborted)), "B2");
        assert!(is_too_old(writes.put(&bed.ks, "another", "1")), "{level:?} {mode:?}");
        assert!(is_too_old(commits.commit()), "{level:?} {mode:?}");
        assert!(is_too_old(only_read.commit()), "{level:?} {mode:?}");
        assert!(!bed.db.snapshot().unwrap().contains(&bed.ks, "other").unwrap());
        let again = bed.db.update(|tx| tx.get(&bed.ks, key(1))).unwrap();
        assert_eq!(text(again).as_deref(), Some("newest"));
    }
}

fn a_validation_of_an_old_moment_is_refused(kind: BackendKind) {
    let bed = Bed::new(kind, Some(AGE_MAX), false);
    let tx = bed.begin(IsolationLevel::ReadCommitted, Concurrency::Optimistic);
    assert_eq!(text(tx.get_for_update(&bed.ks, key(0)).unwrap()).as_deref(), Some("old"));
    bed.outlive();
    // Each of its statements reads anew, but its locking read is to be held against what came since.
    assert_eq!(text(tx.get(&bed.ks, key(0)).unwrap()).as_deref(), Some("newest"));
    tx.put(&bed.ks, key(0), "lost update").unwrap();
    assert!(tx.commit().is_err());
    let tx = bed.begin(IsolationLevel::ReadCommitted, Concurrency::Optimistic);
    tx.get_for_update(&bed.ks, key(0)).unwrap();
    tx.put(&bed.ks, "a", "1").unwrap();
    bed.pass(AGE_MAX * 2);
    assert!(is_too_old(tx.commit()), "nothing came since, but that is not known for certain");
}

fn who_keeps_no_moment_is_not_ended(kind: BackendKind) {
    let bed = Bed::new(kind, Some(AGE_MAX), true);
    let locking = bed.begin(IsolationLevel::Serializable, Concurrency::Pessimistic);
    locking.get(&bed.ks, key(0)).unwrap();
    let blind = bed.db.begin().unwrap();
    blind.put(&bed.ks, "b", "1").unwrap();
    let pending = bed.begin(IsolationLevel::ReadUncommitted, Concurrency::Optimistic);
    pending.put(&bed.ks, "c", "1").unwrap();
    bed.pass(AGE_MAX * 3);
    bed.pass(AGE_MAX * 3);
    assert!(locking.get(&bed.ks, key(1)).is_ok() && locking.commit().is_ok());
    assert!(blind.commit().is_ok());
    let reader = bed.begin(IsolationLevel::ReadUncommitted, Concurrency::Optimistic);
    assert!(reader.contains(&bed.ks, "c").unwrap(), "what is pending stays on the board");
    assert!(pending.commit().is_ok());
    assert_eq!(bed.db.stats().snapshots_ended, 0);
}

fn an_old_writer_is_not_waited_for(kind: BackendKind) {
    let bed = Bed::new(kind, Some(AGE_MAX), false);
    let forgotten = bed.begin(IsolationLevel::Serializable, Concurrency::Optimistic);
    forgotten.get(&bed.ks, key(0)).unwrap();
    bed.outlive();
    // Would wait for ever for `forgotten`.
    let report = TxnOptions::default().isolation(IsolationLevel::Serializable).read_only(true).deferrable(true);
    let report = bed.db.begin_with(report).unwrap();
    assert_eq!(text(report.get(&bed.ks, key(0)).unwrap()).as_deref(), Some("newest"));
    report.commit().unwrap();
    assert!(is_too_old(forgotten.commit()));
}

fn the_oldest_readers_say_who_they_are(kind: BackendKind) {
    let bed = Bed::new(kind, None, false);
    let snapshot = bed.db.snapshot().unwrap();
    let line_of_snapshot = line!() - 1;
    bed.pass(Duration::from_secs(3600));
    bed.write_all("new");
    let tx = bed.db.begin_with(TxnOptions::default().label("audit")).unwrap();
    tx.get(&bed.ks, key(0)).unwrap();
    bed.pass(Duration::from_secs(1));
    let readers = bed.db.oldest_readers();
    assert_eq!(readers.len(), 2, "{readers:?}");
    assert_eq!((readers[0].ts, readers[0].who.label, readers[0].commits_since), (snapshot.ts(), None, 1));
    assert_eq!((readers[0].who.begun_at.file(), readers[0].who.begun_at.line()), (file!(), line_of_snapshot));
    assert_eq!((readers[0].age, readers[1].age), (Duration::from_secs(3601), Duration::from_secs(1)));
    assert_eq!((readers[1].who.label, readers[1].commits_since), (Some("audit"), 0));
    assert!(!readers[0].is_ended, "nothing is ended unless asked for");
    assert_eq!(text(snapshot.get(&bed.ks, key(0)).unwrap()).as_deref(), Some("old"));
    drop((snapshot, tx));
    assert!(bed.db.oldest_readers().is_empty());
}

on_each_kind! {
    an_old_snapshot_is_refused,
    a_reader_is_not_taken_for_the_one_before_it,
    an_old_transaction_is_refused,
    a_validation_of_an_old_moment_is_refused,
    who_keeps_no_moment_is_not_ended,
    an_old_writer_is_not_waited_for,
    the_oldest_readers_say_who_they_are,
}
