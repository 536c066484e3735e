//! Who makes room for a page that comes in.

use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
use duramen_base::pool::FrameKey;

use super::*;

#[test]
fn blocks_in_the_pool_give_way_to_pages_down_to_a_quarter() {
    let store = Fixture::with_budget(2 << 20);
    let value = [7; 500];
    for i in 0..6000 {
        store.put(&key(i), &value);
    }
    store.persist();
    let (tree, limit) = (&store.tree.store, 2 << 20);
    tree.evict(limit);
    let pool = &tree.env.pool;
    let file = pool.new_file();
    for offset in 0..200 {
        let self_id = offset * 4096;
        let spec = ImageSpec { kind: ImageKind::Raw, self_id, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
        let load = || Ok(ImageBuilder::raw(&spec, &[7; 4000]));
        pool.get_or_load(FrameKey { file, offset: self_id }, true, load).expect("it is built");
    }
    let before = pool.bytes();
    assert!(before > limit / 3, "{before} bytes of blocks");
    for i in 0..6000 {
        assert_eq!(store.get(&key(i), store.now()).unwrap().as_deref(), Some(&value[..]));
    }
    assert!(pool.bytes() <= limit / 4, "E4: {} of {before} bytes are left", pool.bytes());
    assert!(pool.bytes() + (300 << 10) >= limit / 4, "E4: {} of {before} bytes are left", pool.bytes());
    assert!(store.host.budget.used() <= limit + limit / 8);
}
