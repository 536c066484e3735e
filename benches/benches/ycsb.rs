//! YCSB A to F on one thread, each operation a transaction of class none: the workload of the comparison, one letter at a time.

use criterion::{Criterion, criterion_group, criterion_main};
use duramen::{Database, Durability, Reader, TxnOptions};
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS};
use duramen_benches::compare::data::Picker;
use duramen_benches::guard;
use duramen_benches::keys::{Random, key, value};

/// A letter, what its writes are, and how many of twenty operations are writes.
const LETTERS: [(&str, Write, u64); 6] = [
    ("A", Write::Update, 10),
    ("B", Write::Update, 1),
    ("C", Write::Update, 0),
    ("D", Write::Insert, 1),
    ("E", Write::Insert, 1),
    ("F", Write::Modify, 10),
];

#[derive(Clone, Copy, PartialEq)]
enum Write {
    Update,
    Insert,
    Modify,
}

fn ycsb(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("ycsb");
    for (on, kind) in BACKENDS {
        let bed = Bed::new(kind, Database::builder().memory_bytes(1 << 30));
        bed.fill(COMMIT_KEYS);
        let (mut picker, mut random, mut next) = (Picker::zipfian(1, COMMIT_KEYS), Random::new(2), COMMIT_KEYS);
        for (letter, write, writes) in LETTERS {
            group.bench_function(format!("{on}/{letter}"), |bencher| {
                bencher.iter(|| {
                    let picked = picker.pick();
                    if random.below(20) < writes {
                        next += u64::from(write == Write::Insert);
                        commit(&bed, write, if write == Write::Insert { next } else { picked });
                    } else if letter == "E" {
                        let limit = random.below(100) as usize + 1;
                        let snapshot = bed.db.snapshot().expect("a snapshot");
                        let entries = snapshot.range(&bed.ks, key(picked)..).expect("a range").take(limit);
                        std::hint::black_box(entries.map(|entry| entry.expect("reads").value.len()).sum::<usize>());
                    } else {
                        let found = bed.db.snapshot().expect("a snapshot").get(&bed.ks, key(picked)).expect("reads");
                        assert!(std::hint::black_box(found).is_some());
                    }
                });
            });
        }
    }
}

fn commit(bed: &Bed, write: Write, index: u64) {
    let tx = bed.db.begin_with(TxnOptions::default().durability(Durability::None)).expect("begins");
    if write == Write::Modify {
        std::hint::black_box(tx.get(&bed.ks, key(index)).expect("reads"));
    }
    tx.put(&bed.ks, key(index), value(index)).expect("puts");
    tx.commit().expect("commits");
}

criterion_group!(benches, ycsb);
criterion_main!(benches);
