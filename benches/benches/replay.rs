//! Opening a database whose log must be replayed: into each store, one put a commit and a hundred.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use duramen::{Builder, Database, Durability, TxnOptions};
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS};
use duramen_benches::guard;
use duramen_benches::keys::{Random, key, value};

const PUTS: u64 = 20_000;

/// Nothing is persisted, so that every open replays the whole log.
fn builder() -> Builder {
    Database::builder().memory_bytes(1 << 30).log_bytes_before_checkpoint(1 << 40)
}

fn replay(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10);
    for (on, kind) in BACKENDS {
        for puts_each in [1, 100] {
            let Bed { db, ks, folder } = Bed::new(kind, builder());
            let (mut random, options) = (Random::new(1), TxnOptions::default().durability(Durability::None));
            for _ in 0..PUTS / puts_each {
                let mut put_some = |tx: &duramen::Transaction| {
                    (0..puts_each).try_for_each(|_| {
                        let index = random.below(COMMIT_KEYS);
                        tx.put(&ks, key(index), value(index))
                    })
                };
                db.update_with(options.clone(), &mut put_some).expect("commits");
            }
            let log = db.stats().log;
            db.close().expect("closes");
            group.throughput(Throughput::Bytes(log.end.get() - log.start.get()));
            group.bench_function(format!("{on}/{puts_each} puts a commit"), |bencher| {
                let open = |()| builder().open(folder.path().join("db")).expect("opens");
                bencher.iter_batched(|| (), open, BatchSize::PerIteration);
            });
        }
    }
}

criterion_group!(benches, replay);
criterion_main!(benches);
