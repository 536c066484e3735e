//! A small memory budget: who waits, who is refused, and what recovery takes in spite of it.

use std::time::Duration;

use duramen::seams::{Clock, ManualClock};
use duramen::{Error, Reader, Transaction};

use super::*;

/// Time goes on with every look at it: waiting ends without anybody sleeping.
struct Ticking(ManualClock);

impl Clock for Ticking {
    fn now(&self) -> Duration {
        self.0.advance(Duration::from_millis(1));
        self.0.now()
    }
}

fn put_all(tx: &Transaction, ks: &Keyspace, count: u32) -> duramen::Result<()> {
    let value = vec![3; 32 << 10];
    (0..count).try_for_each(|number| tx.put(ks, number.to_be_bytes(), &value))
}

fn a_commit_that_memory_does_not_come_free_for_can_be_run_again(kind: BackendKind) {
    let clock = Arc::new(Ticking(ManualClock::default()));
    let db = builder_on(&disk()).memory_bytes(1 << 20).clock(clock).open("db").expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
    // Together more than the budget and the quarter that may be over it.
    let others: Vec<Transaction> = (0..3).map(|_| db.begin().expect("open")).collect();
    others.iter().for_each(|tx| put_all(tx, &ks, 14).expect("within half the budget"));
    let try_commit = || {
        let tx = db.begin().expect("open");
        tx.put(&ks, "k", "v").expect("small");
        tx.commit()
    };
    match try_commit() {
        Err(error @ Error::MemoryTimeout { .. }) => assert!(error.is_retryable(), "{error}"),
        // Backends that go over the budget rather than wait.
        committed => assert!(committed.is_ok() && kind != BackendKind::Lsm, "{committed:?}"),
    }
    drop(others);
    try_commit().expect("memory is free again");
}

fn a_commit_larger_than_the_budget_of_the_next_opening_is_recovered(kind: BackendKind) {
    let disk = disk();
    let db = builder_on(&disk).memory_bytes(32 << 20).open("db").expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
    for round in 0..2 {
        db.update(|tx| put_all(tx, &ks, 100 + round)).expect("within the budget");
    }
    drop((db, ks));
    let db = builder_on(&disk).memory_bytes(1 << 20).open("db").expect("what was accepted once is taken again");
    let ks = db.open_keyspace("ks").expect("there");
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 101);
    db.update(|tx| tx.put(&ks, "k", "v")).expect("it goes on within the small budget");
}

/// Nobody flushes here but the writers themselves.
#[test]
fn memtables_of_an_lsm_never_pile_up_beyond_the_hard_limit() {
    let executor = Arc::new(duramen::seams::ManualExecutor::new());
    let db = builder_on(&disk()).executor(executor).open("db").expect("an empty disk");
    let options = small(BackendKind::Lsm);
    let memtable_bytes = options.memtable_bytes;
    let ks = db.create_keyspace("ks", options).expect("a new name");
    for number in 0..600u32 {
        let locks_first = duramen::TxnOptions::default().concurrency(match number % 2 {
            0 => duramen::Concurrency::Optimistic,
            _ => duramen::Concurrency::Pessimistic,
        });
        db.update_with(locks_first, |tx| tx.put(&ks, number.to_be_bytes(), [3; 300])).expect("slow, but written");
        let stats = &db.stats().keyspaces[0].1;
        assert!(stats.unsaved_bytes < 8 * memtable_bytes, "{} bytes after {number} commits", stats.unsaved_bytes);
    }
    let stats = &db.stats().keyspaces[0].1;
    assert!(stats.persists > 20, "the writers flushed: {stats:?}");
    assert!(stats.write_amplification() >= 1.0 && stats.read_amplification() > 0, "{stats:?}");
}

super::on_each_kind!(
    a_commit_that_memory_does_not_come_free_for_can_be_run_again,
    a_commit_larger_than_the_budget_of_the_next_opening_is_recovered,
);
