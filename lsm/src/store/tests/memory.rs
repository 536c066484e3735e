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
    let mut bench = Bench::around(disk, host, Some(lsm));
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

/// TU1.
#[test]
fn a_memtable_grows_with_its_store_to_a_part_of_the_memory() {
    const ASKED: u64 = 16 << 10;
    let disk = disk();
    let host = Arc::new(TestHost::new(512 << 10));
    let env = env(&disk, &host, ASKED, 1024);
    Lsm::create(&env).expect("a good disk");
    let mut bench = Bench::around(disk, host, Some(Lsm::open(env).expect("whole")));
    let full = |bench: &Bench<MemVfs>| bench.store().memtable_bytes_max();
    assert_eq!(full(&bench), ASKED);
    let row = |number: u32| format!("key-{:05}", number.wrapping_mul(0x9e37_79b1) % 4000);
    let mut grew = false;
    for number in 0..4000 {
        bench.put(&row(number), &"v".repeat(200));
        bench.settle();
        let grown = full(&bench);
        assert!((ASKED..=64 << 10).contains(&grown), "TU1: {grown}");
        grew |= (ASKED + 1..64 << 10).contains(&grown);
    }
    assert!(grew, "TU1: bit by bit");
    assert_eq!(full(&bench), 64 << 10, "TU1: an eighth of the budget");
    assert!(bench.store().current().active.bytes() < 64 << 10);
    let flushed = bench.lsm().stats().persists;
    (0..4000).for_each(|number| bench.put(&row(number), &"w".repeat(200)));
    bench.settle();
    let flushed = bench.lsm().stats().persists - flushed;
    assert!((10..30).contains(&flushed), "TU1: {flushed} flushes of a million bytes");
    bench.check(bench.now);
    bench.commit(&[(OpKind::DeleteRange, Vec::new(), Vec::new())]);
    bench.persist();
    bench.settle();
    bench.lsm().compact(KeyBounds::ALL);
    bench.settle();
    assert_eq!(full(&bench), ASKED, "TU1: a store that is small again");
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
    let mut bench = Bench::around(disk, host, Some(lsm));
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
    assert!(levels[0].len() < crate::merge::pick::RUNS_MAX, "left alone, merging catches up");
    assert!(levels.len() > 1, "and brings runs down");
}

#[test]
fn what_a_flush_or_a_merge_wrote_is_read_without_the_file() {
    let mut bench = Bench::new(disk());
    for number in 0..600u32 {
        bench.put(&format!("key-{:04}", number.wrapping_mul(0x9e37_79b1) % 400), &"v".repeat(60));
    }
    bench.settle();
    let levels = &bench.store().current().version.levels;
    assert!(levels.len() > 1 && bench.lsm().stats().write_amplification() > 1.0, "there were merges");
    bench.check(bench.now);
    assert_eq!(bench.lsm().stats().reads, 0, "MG3: all blocks are in the pool since they were written");
    bench.open().expect("whole");
    bench.check(bench.now);
    assert!(bench.lsm().stats().reads > 0, "what was opened is read");
}

#[test]
fn a_merge_leaves_what_it_reads_for_the_last_time_out_of_the_pool() {
    let mut bench = Bench::new(disk());
    for number in 0..100u32 {
        bench.put(&format!("key-{:04}", number.wrapping_mul(0x9e37_79b1) % 400), &"v".repeat(60));
    }
    bench.settle();
    bench.open().expect("whole");
    let request = bench.lsm().compact(KeyBounds::ALL);
    while bench.lsm().compacted() < request {
        bench.work();
    }
    let pool = &bench.store().env.pool;
    assert_eq!(pool.hits_and_misses(), (0, 0), "MG3: inputs are looked at without a trace");
    assert!(bench.store().current().tables().map(|table| table.reads()).sum::<u64>() == 0 && pool.bytes() > 0);
}
