//! The page image: search, lookup and building, of leaves of 16 KiB in cache, beside a binary search of a sorted `Vec`.

use criterion::{Criterion, criterion_group, criterion_main};
use duramen_base::Timestamp;
use duramen_base::image::{Body, Image, ImageBuilder, ImageKind, ImageSpec};
use duramen_benches::guard;
use duramen_benches::keys::{KEY_BYTES, Random, VALUE_BYTES, key, value};

const LEAF_BYTES: usize = 16 << 10;

/// Sorted keys that fill a leaf, about.
fn sorted_keys() -> Vec<[u8; KEY_BYTES]> {
    let count = LEAF_BYTES / (KEY_BYTES + VALUE_BYTES + 20);
    let mut keys: Vec<_> = (0..count as u64).map(key).collect();
    keys.sort_unstable();
    keys
}

fn build(keys: &[[u8; KEY_BYTES]]) -> Image {
    let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    let mut builder = ImageBuilder::new(&spec);
    keys.iter().for_each(|key| builder.push(key, Timestamp::new(1), Body::Value(&value(1))));
    builder.finish()
}

fn image(criterion: &mut Criterion) {
    guard::refuse_unfit_build();
    let keys = sorted_keys();
    let leaf = build(&keys);
    let mut random = Random::new(1);
    let mut group = criterion.benchmark_group("image");
    group.bench_function("raw/binary search", |bencher| {
        bencher.iter(|| keys.binary_search(&keys[random.below(keys.len() as u64) as usize]));
    });
    group.bench_function("search", |bencher| {
        bencher.iter(|| leaf.search(&keys[random.below(keys.len() as u64) as usize]));
    });
    group.bench_function("lookup", |bencher| {
        bencher.iter(|| leaf.lookup(&keys[random.below(keys.len() as u64) as usize], Timestamp::new(9)));
    });
    group.bench_function("build", |bencher| bencher.iter(|| build(&keys)));
    group.bench_function("raw/copy", |bencher| bencher.iter(|| leaf.bytes().to_vec()));
}

criterion_group!(benches, image);
criterion_main!(benches);
