//! Commits of one put of a random key: in memory, at each durability, and what a put and a rollback cost alone.

use criterion::{Criterion, criterion_group, criterion_main};
use duramen::Durability;
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS, folder};
use duramen_benches::keys::{Random, key, value};
use duramen_benches::{floor, guard};

fn commit(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let raw_folder = folder();
    let mut group = criterion.benchmark_group("commit");
    group.bench_function("raw/memory", |bencher| bencher.iter(floor::memory_writer(COMMIT_KEYS, 0)));
    for (name, sync) in [("raw/write", false), ("raw/write and fdatasync", true)] {
        let mut writer = floor::log_writer(&raw_folder.path().join("raw"), sync);
        group.bench_function(name, |bencher| bencher.iter(&mut writer));
    }
    for (on, kind) in BACKENDS {
        let bed = Bed::for_commits(kind);
        for durability in [Durability::None, Durability::Buffered, Durability::Sync] {
            let mut commit = bed.committer(durability, 1);
            group.bench_function(format!("{on}/{durability:?}"), |bencher| bencher.iter(&mut commit));
        }
        let mut random = Random::new(1);
        group.bench_function(format!("{on}/put and roll back"), |bencher| {
            bencher.iter(|| {
                let tx = bed.db.begin().expect("begins");
                let index = random.below(COMMIT_KEYS);
                tx.put(&bed.ks, key(index), value(index)).expect("puts");
                tx.rollback();
            });
        });
    }
}

criterion_group!(benches, commit);
criterion_main!(benches);
