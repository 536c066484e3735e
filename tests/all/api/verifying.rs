//! Checking while the database is in use.

use std::sync::atomic::{AtomicBool, Ordering};

use duramen::{BackendKind, Reader, VerifyLevel};

use super::{database, on_each_kind};

fn verify_finds_nothing_beside_commits_and_compactions(kind: BackendKind) {
    let (db, ks) = database(kind);
    let (is_over, checks) = (AtomicBool::new(false), std::sync::Mutex::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let report = db.verify(VerifyLevel::Full).expect("readable");
                assert!(report.is_clean(), "{:#?}", report.problems);
                *checks.lock().expect("no check died") += 1;
            }
        });
        for round in 0..60 {
            let put = |i: u32| (format!("{:03}", (round * 7 + i * 13) % 400), format!("{round}").repeat(40));
            db.update(|tx| (0..10).map(put).try_for_each(|(key, value)| tx.put(&ks, key, value))).expect("a commit");
            match round % 20 {
                9 => db.update(|tx| tx.delete_range(&ks, "100", "300")).expect("a commit"),
                14 => db.checkpoint().expect("a good disk"),
                19 => db.compact(&ks).expect("a good disk"),
                _ => {}
            }
        }
        while *checks.lock().expect("no check died") < 3 {
            std::thread::yield_now();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let count = db.snapshot().expect("open").iter(&ks).expect("readable").count();
    let report = db.verify(VerifyLevel::Full).expect("readable");
    assert!(count > 100 && report.is_clean());
}

on_each_kind!(verify_finds_nothing_beside_commits_and_compactions);
