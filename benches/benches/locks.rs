//! Row locks: taking and releasing one that nobody wants, beside none, a thousand and a hundred thousand held by others; how soon a
//! circle is told with a thousand waiters; one key that eight threads want.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use duramen_base::clock::SystemClock;
use duramen_base::{Budget, Error, KeyspaceId, LockMode, LockOp, VictimPolicy};
use duramen_benches::guard;
use duramen_txn::{LockManager, LockOptions, LockOwner, OwnerSpec, Wait};

const KS: KeyspaceId = KeyspaceId::new(1);
const X: LockMode = LockMode::Exclusive;
const LONG: Wait = Wait::For(Duration::from_secs(600));
const LOCKS_OF_ONE: u32 = 64;

fn manager() -> Arc<LockManager> {
    let options = LockOptions { victim: VictimPolicy::Requester, ..LockOptions::default() };
    LockManager::new(Arc::new(SystemClock::new()), Budget::new(u64::MAX), options)
}

fn put(owner: &mut LockOwner, key: &[u8]) {
    owner.lock_key(KS, key, X, LockOp::Put, LONG).expect("granted");
}

/// Somebody else's locks, spread over all keys.
fn held_by_others(locks: &Arc<LockManager>, count: u32) -> LockOwner {
    let mut other = locks.owner(OwnerSpec::here());
    (0..count).for_each(|number| put(&mut other, &(number.wrapping_mul(0x9e37_79b1) | 1).to_be_bytes()));
    other
}

fn uncontended(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("locks");
    for others in [0, 1_000, 100_000] {
        let locks = manager();
        let _other = held_by_others(&locks, others);
        let mut number = 0_u32;
        let mut next = move || {
            number = number.wrapping_add(0x9e37_79b2);
            (number & !1).to_be_bytes()
        };
        group.bench_function(format!("transaction of one lock, {others} held by others"), |bencher| {
            bencher.iter(|| {
                let mut owner = locks.owner(OwnerSpec::here());
                put(&mut owner, &next());
            });
        });
        group.bench_function(format!("{LOCKS_OF_ONE} locks and their release, {others} held by others"), |bencher| {
            bencher.iter_batched(
                || locks.owner(OwnerSpec::here()),
                |mut owner| (0..LOCKS_OF_ONE).for_each(|_| put(&mut owner, &next())),
                BatchSize::SmallInput,
            );
        });
    }
}

/// A chain of waiters, each holding what the one before it wants; the first one waits for the last.
fn detection(criterion: &mut Criterion) {
    const WAITERS: u32 = 1_000;
    let locks = manager();
    let name = |number: u32| number.to_be_bytes();
    let mut owners: Vec<LockOwner> = (0..=WAITERS).map(|_| locks.owner(OwnerSpec::here())).collect();
    (0..).zip(&mut owners).for_each(|(number, owner)| put(owner, &name(number)));
    let mut last = owners.pop().expect("there are some");
    let waiters: Vec<_> = (0..)
        .zip(owners)
        .map(|(number, mut owner)| thread::spawn(move || put(&mut owner, &name(number + 1))))
        .collect();
    while locks.counts().1 < WAITERS as usize {
        thread::yield_now();
    }
    let mut longest = Duration::ZERO;
    criterion.bench_function("locks/circle of 1,001 closed and told", |bencher| {
        bencher.iter_custom(|count| {
            (0..count)
                .map(|_| {
                    let began = Instant::now();
                    let outcome = last.lock_key(KS, &name(0), X, LockOp::Put, LONG);
                    let took = began.elapsed();
                    assert!(matches!(outcome, Err(Error::Deadlock(_))), "a circle");
                    longest = longest.max(took);
                    took
                })
                .sum()
        });
    });
    println!("longest: {longest:?}");
    drop(last);
    waiters.into_iter().for_each(|waiter| waiter.join().expect("granted in the end"));
}

fn hot_key(criterion: &mut Criterion) {
    const THREADS: u64 = 8;
    criterion.bench_function("locks/one key, 8 threads", |bencher| {
        bencher.iter_custom(|count| {
            let locks = manager();
            let start = Arc::new(Barrier::new(THREADS as usize + 1));
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (locks, start) = (Arc::clone(&locks), Arc::clone(&start));
                    thread::spawn(move || {
                        start.wait();
                        let mut longest = Duration::ZERO;
                        for _ in 0..count.div_ceil(THREADS) {
                            let began = Instant::now();
                            put(&mut locks.owner(OwnerSpec::here()), b"hot");
                            longest = longest.max(began.elapsed());
                        }
                        longest
                    })
                })
                .collect();
            start.wait();
            let began = Instant::now();
            let longest = threads.into_iter().map(|thread| thread.join().expect("it ended")).max();
            let took = began.elapsed();
            if count > 100_000 {
                println!("{count} grants, longest wait {longest:?}");
            }
            took
        });
    });
}

criterion_group!(benches, uncontended, detection, hot_key);
criterion_main!(benches);
