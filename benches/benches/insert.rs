//! Random inserts into an empty keyspace in memory, a hundred in a commit, beside a `BTreeMap`.

use std::collections::BTreeMap;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use duramen::{Database, Durability, TxnOptions};
use duramen_benches::bed::BACKENDS;
use duramen_benches::guard;
use duramen_benches::keys::{key, value};

const KEYS: u64 = 20_000;
const STEP: u64 = 100;

fn insert(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("insert");
    group.throughput(Throughput::Elements(KEYS)).sample_size(20);
    group.bench_function("raw/BTreeMap", |bencher| {
        bencher
            .iter(|| (0..KEYS).map(|index| (key(index).to_vec(), value(index).to_vec())).collect::<BTreeMap<_, _>>());
    });
    for (on, kind) in BACKENDS {
        let empty = || {
            let db = Database::in_memory().expect("a new database");
            let ks = db.keyspace("bench", kind).expect("a new keyspace");
            (db, ks)
        };
        let options = TxnOptions::default().durability(Durability::None);
        group.bench_function(on, |bencher| {
            bencher.iter_batched(
                empty,
                |(db, ks)| {
                    for start in (0..KEYS).step_by(STEP as usize) {
                        let put = |tx: &duramen::Transaction| {
                            (start..start + STEP).try_for_each(|index| tx.put(&ks, key(index), value(index)))
                        };
                        db.update_with(options.clone(), put).expect("commits");
                    }
                    (db, ks)
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, insert);
criterion_main!(benches);
