//! A writer that is short of memory.

use super::*;

#[test]
fn admission_flushes_with_its_own_hands_when_memory_is_short() {
    let disk = disk();
    let host = Arc::new(TestHost::new(64 << 10));
    let mut env = env(&disk, &host, 1 << 20, 1024);
    env.pool = duramen_base::pool::FramePool::new(host.budget(), 8 << 10);
    Lsm::create(&env).expect("a good disk");
    let lsm = Lsm::open(env).expect("whole");
    let mut bench = Bench { disk, host, lsm: Some(lsm), log: Vec::new(), oracle: Oracle::default(), now: 0 };
    for number in 0..400 {
        bench.put(&format!("key-{number:03}"), &"v".repeat(500));
        assert!(bench.host.budget().used() <= 80 << 10, "V1, and a quarter over the limit");
    }
    assert!(bench.lsm().stats().persists > 0);
    assert!(bench.work().switched, "a switch made by an admission is reported by the next step of upkeep");
    bench.check(bench.now);
    let batch = section(&[(OpKind::Put, b"large", &[1; 60_000]), (OpKind::Put, b"larger", &[1; 60_000])]);
    let ops = BatchView::parse(batch.bytes()).expect("well formed").sections().next().expect("one");
    assert!(matches!(bench.lsm().admit(&ops, Deadline::default()), Err(Error::TxnTooLarge { .. })));
}

/// W5, with nobody at work but the writer itself.
#[test]
fn a_writer_short_of_memory_merges_rather_than_pile_up_runs() {
    let disk = disk();
    let host = Arc::new(TestHost::new(32 << 10));
    let mut env = env(&disk, &host, 1 << 20, 1024);
    env.pool = duramen_base::pool::FramePool::new(host.budget(), 4 << 10);
    Lsm::create(&env).expect("a good disk");
    let lsm = Lsm::open(env).expect("whole");
    let mut bench = Bench { disk, host, lsm: Some(lsm), log: Vec::new(), oracle: Oracle::default(), now: 0 };
    let mut runs_max = 0;
    for number in 0..2000u32 {
        bench.put(&format!("key-{:04}", number.wrapping_mul(0x9e37_79b1) % 1500), &"v".repeat(400));
        let runs = bench.store().current().version.levels[0].len();
        assert!(runs <= crate::merge::pick::RUNS_LIMIT, "W5: {runs} runs after {number} commits");
        runs_max = runs_max.max(runs);
    }
    assert_eq!(runs_max, crate::merge::pick::RUNS_LIMIT, "a flush goes first for as long as it may (W4)");
    assert!(bench.lsm().stats().persists > 20);
    bench.check(bench.now);
    bench.settle();
    let levels = &bench.store().current().version.levels;
    assert!(levels[0].len() < crate::merge::pick::RUNS_MIN, "left alone, merging catches up");
    assert!(levels.len() > 1, "and brings runs down");
}
