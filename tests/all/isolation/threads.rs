//! Where an interleaving inside the engine decides: many rounds in threads, judged by what must stay true of the data.

use std::sync::Barrier;

use duramen::IsolationLevel::{self, ReadCommitted, RepeatableRead, Serializable};
use duramen::{Database, Durability, Keyspace, Reader, Transaction, TxnOptions};

use super::on_each_backend;

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap())
}

fn options(level: IsolationLevel) -> TxnOptions {
    TxnOptions::default().isolation(level).durability(Durability::None)
}

/// Two threads, at the same time in each round: each sees whether both flags are up, and takes its own down. At most one may succeed.
fn rounds_of_write_skew(db: &Database, ks: &Keyspace, level: IsolationLevel, rounds: usize) {
    let start = Barrier::new(3);
    let take_down = |own: &'static str, other: &'static str| {
        for _ in 0..rounds {
            start.wait();
            let tx = db.begin_with(options(level)).unwrap();
            if number(tx.get(ks, own).unwrap().as_deref()) + number(tx.get(ks, other).unwrap().as_deref()) == 2 {
                tx.put(ks, own, "0").unwrap();
                let _ = tx.commit();
            }
            start.wait();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| take_down("x", "y"));
        scope.spawn(|| take_down("y", "x"));
        for round in 0..rounds {
            db.update(|tx| ["x", "y"].iter().try_for_each(|key| tx.put(ks, key, "1"))).unwrap();
            start.wait();
            start.wait();
            let up: u64 =
                ["x", "y"].iter().map(|key| number(db.begin().unwrap().get(ks, key).unwrap().as_deref())).sum();
            // Nobody panics inside the scope, or the others would wait for ever.
            if up == 0 {
                eprintln!("{level}: both flags are down in round {round}");
                std::process::abort();
            }
        }
    });
}

#[test]
fn two_validations_at_once_do_not_let_write_skew_through() {
    on_each_backend(|db, ks| rounds_of_write_skew(db, ks, RepeatableRead, 1_500));
}

#[test]
fn two_serializable_commits_at_once_do_not_let_write_skew_through() {
    on_each_backend(|db, ks| rounds_of_write_skew(db, ks, Serializable, 1_000));
}

#[test]
fn no_update_is_lost_through_modify_at_read_committed() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 100;
    on_each_backend(|db, ks| {
        let increment =
            |tx: &Transaction| tx.modify(ks, "count", |old| Some((number(old) + 1).to_string().into_bytes()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..ROUNDS).for_each(|_| db.update_with(options(ReadCommitted), increment).unwrap()));
            }
        });
        assert_eq!(number(db.snapshot().unwrap().get(ks, "count").unwrap().as_deref()), THREADS * ROUNDS);
    });
}

/// Bookings of a room: each looks for one that overlaps, by a scan, and books if there is none.
#[test]
fn no_two_bookings_overlap() {
    const HOURS: u64 = 40;
    on_each_backend(|db, ks| {
        let book = |seed: u64| {
            for n in 0..60 {
                let from = (seed * 17 + n * 7) % HOURS;
                let hours = 1 + (seed + n) % 3;
                db.update_with(options(Serializable), |tx| {
                    // A booking that begins up to two hours earlier may reach into this one.
                    let first = from.saturating_sub(2);
                    for entry in tx.range(ks, format!("room {first:03}")..format!("room {:03}", from + hours))? {
                        let entry = entry?;
                        let begins: u64 = std::str::from_utf8(&entry.key[5..]).unwrap().parse().unwrap();
                        if begins + number(Some(&entry.value)) > from {
                            return Ok(());
                        }
                    }
                    tx.put(ks, format!("room {from:03}"), hours.to_string())
                })
                .unwrap();
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|seed| drop(scope.spawn(move || book(seed)))));
        let mut free_from = 0;
        for entry in db.snapshot().unwrap().prefix(ks, "room ").unwrap() {
            let entry = entry.unwrap();
            let begins: u64 = std::str::from_utf8(&entry.key[5..]).unwrap().parse().unwrap();
            assert!(begins >= free_from, "booked twice at {begins}");
            free_from = begins + number(Some(&entry.value));
        }
        assert!(free_from > 0);
    });
}
