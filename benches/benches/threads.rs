//! What many threads do at once: synced commits, one hot row, reads.
//!
//! A figure is the time of one operation of all threads together: the inverse of their common rate.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use duramen::{Database, Durability, Reader, TxnOptions};
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS};
use duramen_benches::guard;
use duramen_benches::keys::key;

/// Runs `iterations` operations on so many threads, each with a body of its own.
fn together<B: FnMut() + Send>(iterations: u64, threads: u64, body: impl Fn(u64) -> B) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (mut body, share) = (body(thread), iterations / threads + u64::from(thread < iterations % threads));
            scope.spawn(move || (0..share).for_each(|_| body()));
        }
    });
    begun.elapsed()
}

fn sync_commits(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("sync commit");
    for (on, kind) in BACKENDS {
        let bed = Bed::for_commits(kind);
        for threads in [1, 32] {
            group.bench_function(format!("{on}/{threads} threads"), |bencher| {
                bencher.iter_custom(|iterations| {
                    together(iterations, threads, |seed| bed.committer(Durability::Sync, seed))
                });
            });
        }
    }
}

fn hot_row(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot row, sync");
    for (on, kind) in BACKENDS {
        let bed = Bed::new(kind, Database::builder());
        bed.fill(1);
        let body = |_| {
            let (db, ks) = (bed.db.clone(), bed.ks.clone());
            move || {
                let add_one = |tx: &duramen::Transaction| {
                    let before = tx.get(&ks, key(0))?.map_or(0, |value| value[0]);
                    tx.put(&ks, key(0), [before.wrapping_add(1)])
                };
                db.update_with(TxnOptions::default().durability(Durability::Sync), add_one).expect("commits");
            }
        };
        group.bench_function(format!("{on}/32 threads"), |bencher| {
            bencher.iter_custom(|iterations| together(iterations, 32, body));
        });
    }
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get on threads");
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    for (on, kind) in BACKENDS {
        let bed = Bed::for_commits(kind);
        for threads in [1, cores, 4 * cores] {
            group.bench_function(format!("{on}/{threads} threads"), |bencher| {
                bencher.iter_custom(|iterations| together(iterations, threads, |seed| bed.getter(COMMIT_KEYS, seed)));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = sync_commits, hot_row, reads
}
criterion_main!(benches);
