//! A thousand overwrites and the checkpoint that follows; prints how many bytes were written for each byte put, and the space taken.

use criterion::{Criterion, criterion_group, criterion_main};
use duramen::Durability;
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS, bytes_below};
use duramen_benches::compare::process::written_bytes;
use duramen_benches::{floor, guard};

const OVERWRITES: u64 = 1_000;

fn amplification(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let mut group = criterion.benchmark_group("amplification");
    group.sample_size(10);
    for (on, kind) in BACKENDS {
        let bed = Bed::for_commits(kind);
        let mut commit = bed.committer(Durability::None, 1);
        let (before, mut rounds) = (written_bytes(), 0);
        group.bench_function(format!("{on}/{OVERWRITES} overwrites and a checkpoint"), |bencher| {
            bencher.iter(|| {
                (0..OVERWRITES).for_each(|_| commit());
                bed.db.checkpoint().expect("a checkpoint");
                rounds += 1;
            });
        });
        let put = (rounds * OVERWRITES) as f64 * floor::PUT_BYTES as f64;
        let kept = COMMIT_KEYS as f64 * floor::PUT_BYTES as f64;
        println!(
            "{on}: written {:.1} times what was put, disk taken {:.2} times what is kept",
            (written_bytes() - before) as f64 / put,
            bytes_below(bed.folder.path()).1 as f64 / kept
        );
    }
}

criterion_group!(benches, amplification);
criterion_main!(benches);
