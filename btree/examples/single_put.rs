//! What a put of one key costs a tree alone, beside gets and scans: pages of 4, 8 and 16 KiB, keys of 16 bytes and values of 100 in memory.
//!
//! `cargo run --release -p duramen-btree --example single_put [keys] [rounds] [page KiB] [puts]`. Not a test: figures for docs/benchmarks.md.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use duramen_base::clock::ManualClock;
use duramen_base::pool::FramePool;
use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::vfs::{MemVfs, Vfs};
use duramen_base::{
    Backend, BackendKind, Batch, BatchView, Budget, DbUuid, Deadline, Hit, KeyspaceId, KeyspaceOptions, Op, OpKind,
    Pin, Result, SnapSet, StoreEnv, StoreHost, Timestamp,
};
use duramen_btree::BTree;

const KEYSPACE: KeyspaceId = KeyspaceId::new(7);

struct Host {
    budget: Arc<Budget>,
    visible: AtomicU64,
}

impl StoreHost for Host {
    fn visible(&self) -> Timestamp {
        Timestamp::new(self.visible.load(Ordering::Relaxed))
    }
    fn durable(&self) -> Timestamp {
        self.visible()
    }
    fn snapshots(&self) -> Arc<SnapSet> {
        Arc::new(SnapSet::new(self.visible(), vec![]))
    }
    fn make_durable(&self, _through: Timestamp) -> Result<()> {
        Ok(())
    }
    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
    fn wake_upkeep(&self) {}
}

/// Keys in an order that looks random.
fn scattered(index: u64, keys: u64) -> [u8; 16] {
    let mixed = (index % keys).wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&mixed.to_be_bytes());
    key
}

struct Fixture {
    tree: BTree,
    host: Arc<Host>,
}

impl Fixture {
    fn new(page_bytes: u32) -> Fixture {
        let vfs = Arc::new(MemVfs::new());
        vfs.create_dir("/ks".as_ref()).expect("memory");
        let host = Arc::new(Host { budget: Budget::new(16 << 30), visible: AtomicU64::new(0) });
        let env = || StoreEnv {
            vfs: Arc::clone(&vfs) as Arc<dyn Vfs>,
            dir: "/ks".into(),
            keyspace: KEYSPACE,
            db_uuid: DbUuid::from_bytes([1; 16]),
            options: KeyspaceOptions { page_bytes, ..KeyspaceOptions::new(BackendKind::BTree) },
            host: Arc::clone(&host) as Arc<dyn StoreHost>,
            pool: FramePool::new(&host.budget, 1 << 20),
            clock: Arc::new(ManualClock::default()),
        };
        BTree::create(&env()).expect("memory");
        Fixture { tree: BTree::open(env()).expect("memory"), host }
    }

    fn put(&self, batch: &Batch) {
        let view = BatchView::parse(batch.bytes()).expect("ops in order");
        let ops = view.sections().next().expect("one section");
        let at = self.host.visible().next();
        let admission = self.tree.admit(&ops, Deadline::default()).expect("a good disk").granted().expect("memory");
        self.tree.apply(admission, &ops, at);
        self.host.visible.store(at.get(), Ordering::Relaxed);
    }
}

fn batch_of(key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.section(KEYSPACE, [Op { kind: OpKind::Put, key, value }]);
    batch
}

fn nanos_each(count: u64, run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let keys = args.next().unwrap_or(1_000_000);
    let rounds = args.next().unwrap_or(3);
    let page_kib = args.next().filter(|&kib| kib != 0);
    let puts = args.next().unwrap_or(keys / 4);
    let value = [b'v'; 100];
    let map: BTreeMap<Vec<u8>, Vec<u8>> =
        (0..keys).map(|index| (scattered(index, keys).to_vec(), value.to_vec())).collect();
    for kib in page_kib.map_or(vec![4, 8, 16], |kib| vec![kib]) {
        let fixture = Fixture::new((kib as u32) << 10);
        let insert = nanos_each(keys, || {
            for index in 0..keys {
                fixture.put(&batch_of(&scattered(index, keys), &value));
            }
        });
        println!("{kib:2} KiB: insert {insert:6.0} ns");
        for _ in 0..rounds {
            let batches: Vec<Batch> =
                (0..puts).map(|index| batch_of(&scattered(index * 7 + 3, keys), &value)).collect();
            let put = nanos_each(puts, || batches.iter().for_each(|batch| fixture.put(batch)));
            let at = fixture.host.visible();
            let pin = Pin::new();
            let get = nanos_each(puts, || {
                for index in 0..puts {
                    let found = fixture.tree.get(&pin, &scattered(index * 7 + 3, keys), at).expect("memory");
                    assert!(matches!(found.hit, Hit::Value { .. }));
                }
            });
            let map_get = nanos_each(puts, || {
                for index in 0..puts {
                    assert!(map.contains_key(scattered(index * 7 + 3, keys).as_slice()));
                }
            });
            println!("{kib:2} KiB: put {put:6.0} ns  get {get:6.0} ns  BTreeMap get {map_get:6.0} ns");
        }
    }
}
