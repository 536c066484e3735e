//! Scans: a hundred entries from a random key on, ascending and descending, beside a `BTreeMap`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use duramen::{Database, Reader};
use duramen_benches::bed::{BACKENDS, Bed};
use duramen_benches::keys::{Random, key};
use duramen_benches::{floor, guard};

const KEYS: u64 = 200_000;
const ENTRIES: usize = 100;

fn scan(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    let (map, mut random) = (floor::map(KEYS), Random::new(1));
    group.bench_function("raw/BTreeMap", |bencher| {
        bencher.iter(|| {
            let from = key(random.below(KEYS)).to_vec();
            map.range(from..).take(ENTRIES).map(|(key, value)| key.len() + value.len()).sum::<usize>()
        });
    });
    for (on, kind) in BACKENDS {
        let bed = Bed::new(kind, Database::builder().memory_bytes(1 << 30));
        bed.fill(KEYS);
        let snapshot = bed.db.snapshot().expect("a snapshot");
        let bytes = |entry: duramen::Result<duramen::Entry>| {
            let entry = entry.expect("reads");
            entry.key.len() + entry.value.len()
        };
        group.bench_function(format!("{on}/ascending"), |bencher| {
            bencher.iter(|| {
                let from = key(random.below(KEYS));
                snapshot.range(&bed.ks, from..).expect("a range").take(ENTRIES).map(bytes).sum::<usize>()
            });
        });
        group.bench_function(format!("{on}/descending"), |bencher| {
            bencher.iter(|| {
                let to = key(random.below(KEYS));
                snapshot.range(&bed.ks, ..to).expect("a range").rev().take(ENTRIES).map(bytes).sum::<usize>()
            });
        });
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
