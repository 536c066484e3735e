//! What writers wait for when flushing and merging are behind.

use super::*;
use crate::throttle::Limits;
use duramen_base::StallCause;

const WAIT_MAX: Duration = Duration::from_secs(10);

fn bench(delay_max: Duration) -> Bench<MemVfs> {
    let (disk, host) = (disk(), Arc::new(TestHost::new(8 << 20)));
    let env = env(&disk, &host, 4096, 1024);
    Lsm::create(&env).expect("a good disk");
    let tuning = Tuning { throttle: Limits { delay_max, ..Limits::TINY }, ..tiny() };
    let lsm = Lsm::open_tuned(env, tuning).expect("whole");
    Bench::around(disk, host, Some(lsm))
}

/// Commits until so many memtables wait, with nobody to flush them.
fn freeze(bench: &mut Bench<MemVfs>, memtables: usize) {
    let mut number = 0;
    while bench.store().current().frozen.len() < memtables {
        bench.put(&format!("key-{number:05}"), &"v".repeat(200));
        number += 1;
    }
}

#[test]
fn a_calm_store_lets_writers_pass_and_says_so() {
    let mut bench = bench(Duration::from_millis(1));
    freeze(&mut bench, 1);
    bench.lsm().throttle(0, WAIT_MAX).expect("nothing to wait for");
    let stats = bench.lsm().stats();
    assert_eq!((stats.stall_times.total(), stats.write_delay), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn who_writes_at_the_hard_limit_flushes_himself() {
    let mut bench = bench(Duration::ZERO);
    freeze(&mut bench, 7);
    assert!(bench.store().pressure().is_some_and(|pressure| pressure.is_hard()));
    bench.lsm().throttle(0, WAIT_MAX).expect("he makes room");
    assert!(!bench.store().pressure().is_some_and(|pressure| pressure.is_hard()), "TH2");
    assert!(bench.lsm().stats().persists > 0);
    bench.check(bench.now);
}

#[test]
fn who_waits_in_vain_at_the_hard_limit_is_told_the_cause() {
    let mut bench = bench(Duration::ZERO);
    freeze(&mut bench, 7);
    let store = Arc::clone(bench.store());
    let somebody_at_work = store.upkeep.lock();
    let refused = bench.lsm().throttle(0, Duration::from_millis(20));
    assert!(matches!(refused, Err(Error::WriteStalled { cause: StallCause::Memtables })), "TH2: {refused:?}");
    assert_eq!(bench.lsm().stats().stall_times.memtables, Duration::from_millis(20));
    drop(somebody_at_work);
    bench.lsm().throttle(0, WAIT_MAX).expect("now there is room to be made");
}

#[test]
fn what_was_written_under_pressure_is_waited_for_by_the_next_writer() {
    let mut bench = bench(Duration::from_secs(1));
    freeze(&mut bench, 4);
    let store = Arc::clone(bench.store());
    store.env.clock.sleep(Duration::from_secs(2)); // paid, what was owed up to now
    let began = store.env.clock.now();
    bench.put("key", &"v".repeat(600));
    assert_eq!(store.env.clock.now(), began, "nobody waits inside of a commit");
    bench.lsm().throttle(0, WAIT_MAX).expect("waits");
    let waited = store.env.clock.now() - began;
    assert!(waited > Duration::from_millis(50) && waited <= Duration::from_secs(1), "waited {waited:?}");
    assert_eq!(bench.lsm().stats().stall_times.total(), waited);
    bench.lsm().throttle(0, WAIT_MAX).expect("once is enough");
    assert_eq!(store.env.clock.now() - began, waited);
}

#[test]
fn levels_that_hold_too_much_are_a_debt_and_merging_pays_it() {
    let mut bench = bench(Duration::ZERO);
    for round in 0..40u32 {
        for number in 0..40u32 {
            let key = (number * 40 + round).wrapping_mul(0x9e37_79b1) % 5000;
            bench.put(&format!("key-{key:05}"), &"v".repeat(100));
        }
        let mut steps = 0;
        while bench.store().current().version.levels[0].len() >= 4 && steps < 4 {
            bench.lsm().work(WorkBudget { bytes: 4096 }).expect("a good disk");
            steps += 1;
        }
        bench.lsm().work(WorkBudget { bytes: 64 << 10 }).expect("a good disk");
    }
    let most = bench.lsm().stats().debt_bytes;
    bench.settle();
    let left = bench.lsm().stats().debt_bytes;
    assert!(left <= most && left < 4 * 1024, "{most} bytes too many, then {left}");
}
