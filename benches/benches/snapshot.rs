//! Beginning and ending a snapshot; a transaction that writes nothing.

use criterion::{Criterion, criterion_group, criterion_main};
use duramen::Database;
use duramen_benches::{floor, guard};

fn snapshot(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let db = Database::in_memory().expect("a database");
    let mut group = criterion.benchmark_group("snapshot");
    group.bench_function("raw/swap and store", |bencher| bencher.iter(floor::announcer()));
    group.bench_function("begin and end", |bencher| bencher.iter(|| db.snapshot().expect("a snapshot")));
    group.bench_function("empty transaction", |bencher| {
        bencher.iter(|| db.begin().and_then(duramen::Transaction::commit).expect("commits"));
    });
}

criterion_group!(benches, snapshot);
criterion_main!(benches);
