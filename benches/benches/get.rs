//! Cached gets of random keys, present and absent, beside a `BTreeMap`.

use criterion::{Criterion, criterion_group, criterion_main};
use duramen::{Database, Reader};
use duramen_benches::bed::{BACKENDS, Bed};
use duramen_benches::{floor, guard, keys};

const KEYS: u64 = 200_000;

fn get(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("get");
    let map = floor::map(KEYS);
    group.bench_function("raw/BTreeMap", |bencher| bencher.iter(floor::map_getter(&map, 1)));
    for (on, kind) in BACKENDS {
        let bed = Bed::new(kind, Database::builder().memory_bytes(1 << 30));
        bed.fill(KEYS);
        group.bench_function(format!("{on}/present"), |bencher| bencher.iter(bed.getter(KEYS, 1)));
        let snapshot = bed.db.snapshot().expect("a snapshot");
        let mut index = KEYS;
        group.bench_function(format!("{on}/absent"), |bencher| {
            bencher.iter(|| {
                index += 1;
                snapshot.contains(&bed.ks, keys::key(index)).expect("reads")
            });
        });
    }
}

criterion_group!(benches, get);
criterion_main!(benches);
