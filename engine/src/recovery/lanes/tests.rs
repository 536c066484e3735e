//! Lanes with threads of the system: bounds, panics, and executors without threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use duramen_base::KeyspaceId;
use duramen_base::executor::{ManualExecutor, ThreadExecutor};
use duramen_base::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn give_many(lanes: &mut Lanes, commits: u64, value: &[u8]) -> Result<()> {
    let mut batch = Batch::new();
    for number in 1..=commits {
        let key = number.to_be_bytes();
        batch.clear();
        batch.section(KeyspaceId::new(1), [Op { kind: OpKind::Put, key: &key, value }]);
        batch.view().sections().try_for_each(|ops| lanes.give(Timestamp::new(number), &ops))?;
    }
    lanes.settle()
}

/// On a machine of one processor there are none, and nothing to test.
fn lanes(apply: Arc<Apply>) -> Option<Lanes> {
    Lanes::start(&ThreadExecutor, apply)
}

#[test]
fn many_chunks_are_applied_once_each() {
    let applied = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&applied);
    let count = move |commits: &[LoggedOps<'_>]| {
        seen.fetch_add(commits.iter().map(|(_, ops)| ops.len()).sum(), Ordering::SeqCst);
        Ok(())
    };
    let Some(mut lanes) = lanes(Arc::new(count)) else { return };
    give_many(&mut lanes, 20_000, &[7; 100]).unwrap();
    assert_eq!(applied.load(Ordering::SeqCst), 20_000);
}

#[test]
fn a_panic_of_a_lane_goes_on_in_who_gives() {
    let panics = |commits: &[LoggedOps<'_>]| -> Result<()> {
        assert!(commits.iter().all(|&(ts, _)| ts < Timestamp::new(5_000)), "on purpose");
        Ok(())
    };
    let Some(mut lanes) = lanes(Arc::new(panics)) else { return };
    let gives = AssertUnwindSafe(move || give_many(&mut lanes, 20_000, &[7; 100]));
    assert!(catch_unwind(gives).is_err());
}

#[test]
fn an_executor_without_threads_has_no_lanes() {
    assert!(Lanes::start(&ManualExecutor::new(), Arc::new(|_: &[LoggedOps<'_>]| Ok(()))).is_none());
}

#[test]
fn a_key_has_one_lane_in_every_commit() {
    for key in [&b""[..], b"a", b"ab", b"zzz"] {
        let op = Op { kind: OpKind::Delete, key, value: b"" };
        let lanes: Vec<usize> = (0..100).map(|ts| lane_of(Timestamp::new(ts), &op, 4)).collect();
        assert!(lanes.iter().all(|lane| lane == &lanes[0]), "RP1: {lanes:?}");
    }
}
