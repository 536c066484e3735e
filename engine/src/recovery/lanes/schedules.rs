//! Lanes under every schedule: order, bounds, and that nobody waits for ever.

use duramen_base::executor::ThreadExecutor;
use duramen_base::sync::{Arc, Mutex, check_pct, check_random};
use duramen_base::{Batch, Error, KeyspaceId, LoggedOps, Op, OpKind, Timestamp};

use super::Lanes;

const ITERATIONS: usize = 1_000;

/// One commit that puts all of `keys`.
fn commit(keys: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    batch.section(KeyspaceId::new(1), keys.iter().map(|key| Op { kind: OpKind::Put, key, value: b"" }));
    batch
}

fn every_schedule(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    check_random(ITERATIONS, scenario.clone());
    check_pct(ITERATIONS, 3, scenario);
}

#[test]
fn every_key_is_applied_in_the_order_of_commits_and_all_of_it_once_settled() {
    every_schedule(|| {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&applied);
        let apply = move |commits: &[LoggedOps<'_>]| {
            for (ts, ops) in commits {
                ops.iter().for_each(|op| seen.lock().push((op.key.to_vec(), ts.get())));
            }
            Ok(())
        };
        let mut lanes = Lanes::start(&ThreadExecutor, Arc::new(apply)).expect("two processors");
        let keys: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        for round in 0..2 {
            for ts in 1..=3 {
                for ops in commit(&keys).view().sections() {
                    lanes.give(Timestamp::new(round * 3 + ts), &ops).expect("nothing fails");
                }
            }
            lanes.settle().expect("nothing fails");
            let applied = applied.lock();
            for key in keys {
                let of_key: Vec<u64> = applied.iter().filter(|(of, _)| of == key).map(|&(_, ts)| ts).collect();
                assert_eq!(of_key, (1..=round * 3 + 3).collect::<Vec<_>>(), "RP1, LN2");
            }
        }
    });
}

#[test]
fn an_error_reaches_who_gives_and_ends_its_lane() {
    every_schedule(|| {
        let applied = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&applied);
        let apply = move |commits: &[LoggedOps<'_>]| {
            let ts = commits.first().expect("not called without").0;
            if ts == Timestamp::new(2) {
                return Err(Error::InvalidArgument { what: "the second" });
            }
            assert!(ts < Timestamp::new(2), "LN2: nothing behind an error");
            *seen.lock() += 1;
            Ok(())
        };
        let mut lanes = Lanes::start(&ThreadExecutor, Arc::new(apply)).expect("two processors");
        let mut outcome = Ok(());
        for ts in 1..=6 {
            for ops in commit(&[b"k"]).view().sections() {
                outcome = outcome.and_then(|()| lanes.give(Timestamp::new(ts), &ops));
            }
            outcome = outcome.and_then(|()| lanes.settle());
        }
        assert!(matches!(outcome, Err(Error::InvalidArgument { what: "the second" })));
        drop(lanes);
        assert_eq!(*applied.lock(), 1);
    });
}

#[test]
fn lanes_can_be_dropped_with_work_left() {
    every_schedule(|| {
        let mut lanes = Lanes::start(&ThreadExecutor, Arc::new(|_: &[LoggedOps<'_>]| Ok(()))).expect("two");
        for ops in commit(&[b"a", b"b"]).view().sections() {
            lanes.give(Timestamp::new(1), &ops).expect("nothing fails");
        }
    });
}
