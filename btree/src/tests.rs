//! The whole tree on a disk in memory: what the conformance suite does not ask, because it is about this structure.

use duramen_base::backend::BackendCursor;
use duramen_base::clock::{Clock, ManualClock};
use duramen_base::pool::FramePool;
use duramen_base::sync::Mutex;
use duramen_base::vfs::{File, MemVfs, OpenMode, Vfs};
use duramen_base::{
    BackendKind, Batch, BatchView, Budget, DbUuid, Error, Hit, KeyspaceId, Op, OpKind, SnapSet, StoreHost,
};

use super::*;
use crate::open::FILE_NAME;
use crate::units::UNIT_BYTES;

const KEYSPACE: KeyspaceId = KeyspaceId::new(7);

/// The bytes of a golden file: hex, with comments.
pub(crate) fn golden(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

/// An engine whose log is always durable.
struct Host {
    budget: Arc<Budget>,
    visible: Mutex<Timestamp>,
    active: Mutex<Vec<Timestamp>>,
}

impl StoreHost for Host {
    fn visible(&self) -> Timestamp {
        *self.visible.lock()
    }

    fn durable(&self) -> Timestamp {
        *self.visible.lock()
    }

    fn snapshots(&self) -> Arc<SnapSet> {
        Arc::new(SnapSet::new(self.visible(), self.active.lock().clone()))
    }

    fn make_durable(&self, _through: Timestamp) -> Result<()> {
        Ok(())
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn wake_upkeep(&self) {}
}

/// A tree and its surroundings.
struct Fixture {
    vfs: Arc<MemVfs>,
    host: Arc<Host>,
    tree: BTree,
}

fn env_of(vfs: &Arc<MemVfs>, host: &Arc<Host>, page_bytes: u32) -> StoreEnv {
    StoreEnv {
        vfs: Arc::clone(vfs) as Arc<dyn Vfs>,
        dir: "/ks".into(),
        keyspace: KEYSPACE,
        db_uuid: DbUuid::from_bytes([0xd0; 16]),
        options: KeyspaceOptions { page_bytes, ..KeyspaceOptions::new(BackendKind::BTree) },
        host: Arc::clone(host) as Arc<dyn StoreHost>,
        pool: FramePool::new(host.budget(), 1 << 20),
        clock: Arc::new(ManualClock::default()),
    }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with_budget(64 << 20)
    }

    /// With pages of the default size.
    fn large_pages() -> Fixture {
        Fixture::with(64 << 20, KeyspaceOptions::new(BackendKind::BTree).page_bytes)
    }

    fn with_budget(bytes: u64) -> Fixture {
        Fixture::with(bytes, 1 << 10)
    }

    fn with(bytes: u64, page_bytes: u32) -> Fixture {
        Fixture::on_clock(bytes, page_bytes, Arc::new(ManualClock::default()))
    }

    fn on_clock(bytes: u64, page_bytes: u32, clock: Arc<dyn Clock>) -> Fixture {
        let vfs = Arc::new(MemVfs::new());
        vfs.create_dir("/ks".as_ref()).unwrap();
        let host = Arc::new(Host {
            budget: Budget::new(bytes),
            visible: Mutex::new(Timestamp::ZERO),
            active: Mutex::new(Vec::new()),
        });
        BTree::create(&env_of(&vfs, &host, page_bytes)).unwrap();
        let tree = BTree::open(StoreEnv { clock, ..env_of(&vfs, &host, page_bytes) }).unwrap();
        Fixture { vfs, host, tree }
    }

    fn now(&self) -> Timestamp {
        self.host.visible()
    }

    fn commit<'a>(&self, ops: impl IntoIterator<Item = Op<'a>>) -> Timestamp {
        let mut batch = Batch::new();
        batch.section(KEYSPACE, ops);
        let view = BatchView::parse(batch.bytes()).expect("ops in order");
        let ops = view.sections().next().unwrap();
        let at = self.now().next();
        let admission = self.tree.admit(&ops, Deadline::default()).unwrap().granted().unwrap();
        self.tree.apply(admission, &ops, at);
        *self.host.visible.lock() = at;
        at
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Timestamp {
        self.commit([Op { kind: OpKind::Put, key, value }])
    }

    fn delete_range(&self, low: &[u8], high: &[u8]) -> Timestamp {
        self.commit([Op { kind: OpKind::DeleteRange, key: low, value: high }])
    }

    fn get(&self, key: &[u8], at: Timestamp) -> Result<Option<Vec<u8>>> {
        get(&self.tree, key, at)
    }

    fn work(&self) {
        while self.tree.work(WorkBudget { bytes: 64 << 10 }).unwrap().more {}
    }

    fn persist(&self) {
        self.tree.persist_to(self.now(), Urgency::Now);
        self.work();
        assert!(self.tree.persisted() >= self.now());
    }

    fn open(&self) -> Result<BTree> {
        BTree::open(env_of(&self.vfs, &self.host, self.tree.options().page_bytes))
    }

    fn reopen(&mut self) {
        self.tree = self.open().unwrap();
    }

    fn verify(&self) -> VerifyReport {
        let mut report = VerifyReport::default();
        self.tree.verify(VerifyLevel::Full, &mut report).unwrap();
        report
    }

    fn check(&self) -> VerifyReport {
        let report = self.verify();
        assert!(report.is_clean(), "{:#?}", report.problems);
        report
    }

    fn file(&self) -> File {
        File::open(&*self.vfs, format!("/ks/{FILE_NAME}").as_ref(), OpenMode::ReadWrite).unwrap()
    }

    fn keys(&self) -> usize {
        self.content().len()
    }

    fn content(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut cursor = self.tree.cursor(self.now(), KeyBounds::ALL, ScanOpts::default()).unwrap();
        let mut content = Vec::new();
        while cursor.next().unwrap() {
            cursor.load_value().unwrap();
            content.push((cursor.key().to_vec(), cursor.value().to_vec()));
        }
        content
    }
}

fn get(tree: &BTree, key: &[u8], at: Timestamp) -> Result<Option<Vec<u8>>> {
    loop {
        let pin = Pin::new();
        let ticket = match tree.get(&pin, key, at)?.hit {
            Hit::Absent | Hit::Deleted(_) => return Ok(None),
            Hit::Value { bytes, .. } => return Ok(Some(bytes.to_vec())),
            Hit::NeedIo(ticket) => ticket,
            Hit::Large { large, .. } => {
                drop(pin);
                return Ok(tree.load_large(key, at, large)?.map(|value| value.to_vec()));
            }
        };
        ticket.load()?;
    }
}

fn key(i: u32) -> [u8; 4] {
    i.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

#[test]
fn a_tree_grows_and_shrinks_again() {
    let mut store = Fixture::new();
    for i in 0..4000 {
        store.put(&key(i), &[7; 60]);
    }
    store.persist();
    let full = store.tree.stats();
    assert!(full.depth >= 3 && full.units > 300, "{full:?}");
    assert_eq!(store.check().keys, 4000);
    store.reopen();
    for i in 0..4000 {
        store.commit([Op { kind: OpKind::Delete, key: &key(i), value: b"" }]);
        if i % 500 == 0 {
            store.persist();
        }
    }
    // The first checkpoint finds what nobody reads any more, the pages it empties merge behind it.
    for _ in 0..4 {
        store.put(b"last", b"");
        store.persist();
    }
    assert_eq!(store.check().keys, 1);
    let empty = store.tree.stats();
    assert!(empty.units < full.units / 10, "{empty:?} after {full:?}");
}

#[test]
fn what_drains_and_checkpoints_do_is_counted() {
    let store = Fixture::new();
    assert_eq!(store.tree.stats().drains, 0);
    for i in 0..500 {
        store.put(&key(i), &[7; 60]);
    }
    store.persist();
    let stats = store.tree.stats();
    assert_eq!((stats.drains, stats.drained_changes, stats.persists), (1, 500, 1));
    // 500 records of some 70 bytes are copied about once; leaves that split are copied with what they had.
    assert!((500 * 64..500 * 64 * 12).contains(&stats.copied_bytes), "{stats:?}");
    store.put(&key(1), &[8; 60]);
    store.persist();
    let one = store.tree.stats();
    assert_eq!((one.drains, one.drained_changes), (2, 501));
    assert!((60..2048).contains(&(one.copied_bytes - stats.copied_bytes)), "one leaf: {one:?} after {stats:?}");
}

#[test]
fn appending_fills_pages() {
    let store = Fixture::new();
    for i in 0..3000u32 {
        store.put(&i.to_be_bytes(), &[1; 50]);
    }
    store.persist();
    let stats = store.tree.stats();
    // 14 records of some 65 bytes fit a page of 1 KiB; pages split in the middle would be 430.
    assert!(stats.units < 3000 / 11, "{stats:?}");
    store.check();
}

#[test]
fn replaced_units_are_used_again() {
    let store = Fixture::new();
    for i in 0..500 {
        store.put(&key(i), &[0; 100]);
    }
    store.persist();
    let size = store.tree.stats().disk_bytes;
    for round in 0..40u8 {
        for i in 0..500 {
            store.put(&key(i), &[round; 100]);
        }
        store.persist();
        store.check();
    }
    let now = store.tree.stats().disk_bytes;
    assert!(now <= size * 3, "{now} bytes after {size}");
}

#[test]
fn long_keys_with_a_long_common_prefix_split_and_merge() {
    let mut store = Fixture::new();
    let long = |group: u8, i: u8| [vec![group; 9000], vec![i]].concat();
    for i in 0..60 {
        store.put(&long(b'a' + i % 3, i), &[i; 20]);
        store.put(&[b'b', i], b"between");
    }
    store.persist();
    assert_eq!(store.check().keys, 120);
    store.reopen();
    store.delete_range(b"b", b"bb");
    store.delete_range(&long(b'c', 5), b"");
    for _ in 0..5 {
        store.put(b"x", b"");
        store.persist();
    }
    assert_eq!(store.check().keys as usize, store.keys());
    store.reopen();
    for i in (0..60).filter(|i| i % 3 == 0) {
        assert_eq!(store.get(&long(b'a', i), store.now()).unwrap(), Some(vec![i; 20]));
    }
}

#[test]
fn history_of_a_hot_key_may_outgrow_its_page() {
    let mut store = Fixture::new();
    let mut snapshots = Vec::new();
    for i in 0..20u8 {
        let at = store.put(b"hot", &vec![i; 16_000]);
        store.host.active.lock().push(at);
        snapshots.push((at, i));
        if i % 6 == 0 {
            store.persist();
        }
    }
    for &(at, i) in &snapshots {
        assert!(store.get(b"hot", at).unwrap() == Some(vec![i; 16_000]), "the version at {at}");
        let mut cursor = store.tree.cursor(at, KeyBounds::ALL, ScanOpts::default()).unwrap();
        assert!(cursor.next().unwrap());
        assert!(cursor.value() == vec![i; 16_000], "the version at {at}");
    }
    store.host.active.lock().clear();
    store.put(b"hot", b"cold");
    store.persist();
    store.put(b"hot", b"cold again");
    store.persist();
    assert!(store.tree.stats().memory_bytes < 50_000, "nobody reads the history any more");
    store.reopen();
    assert_eq!(store.get(b"hot", store.now()).unwrap(), Some(b"cold again".to_vec()));
}

#[test]
fn when_history_outgrows_memory_old_snapshots_end() {
    let store = Fixture::with_budget(1 << 20);
    let first = store.put(b"hot", &vec![0; 16_000]);
    for i in 1..201u8 {
        let at = store.put(b"hot", &vec![i; 16_000]);
        store.host.active.lock().push(at);
    }
    assert!(matches!(store.get(b"hot", first), Err(Error::SnapshotTooOld)));
    assert!(matches!(store.tree.cursor(first, KeyBounds::ALL, ScanOpts::default()), Err(Error::SnapshotTooOld)));
    assert!(store.get(b"hot", store.now()).unwrap() == Some(vec![200; 16_000]));
}

#[test]
fn a_long_list_of_range_deletes_is_spilled_and_read_again() {
    let mut store = Fixture::new();
    for i in 0..300u32 {
        store.put(&i.to_be_bytes(), b"v");
    }
    store.host.active.lock().push(store.now()); // so nothing is swept
    let long = [b'k'; 2000];
    for i in (0..300u32).step_by(2) {
        store.delete_range(&i.to_be_bytes(), &[&i.to_be_bytes(), &long[..]].concat());
    }
    store.persist();
    assert!(matches!(store.tree.store.upkeep.lock().superblock.tombs, crate::superblock::TombsAt::Spilled { .. }));
    assert_eq!(store.check().keys, 150);
    store.reopen();
    assert_eq!(store.keys(), 150);
    assert_eq!(store.check().keys, 150);
    store.host.active.lock().clear();
    store.put(b"x", b"");
    store.persist();
    store.put(b"y", b"");
    store.persist();
    assert!(store.tree.store.tombs().is_empty(), "drained, and gone with the checkpoint behind it");
    store.reopen();
    assert_eq!((store.keys(), store.check().keys), (152, 152));
}

#[test]
fn memory_stays_within_the_budget_while_reading_all() {
    let mut store = Fixture::with_budget(4 << 20);
    for i in 0..300u32 {
        let value = vec![i as u8; 30_000];
        store.put(&key(i), &value);
    }
    store.persist();
    store.reopen();
    for round in 0..2 {
        for i in 0..300u32 {
            assert!(store.get(&key(i), store.now()).unwrap() == Some(vec![i as u8; 30_000]), "{i}, {round}");
            assert!(store.host.budget.used() <= (4 << 20) + 100_000);
        }
        assert_eq!(store.keys(), 300);
    }
    store.check();
}

#[test]
fn the_newer_superblock_is_the_store() {
    let store = Fixture::new();
    store.put(b"k", b"old");
    store.persist();
    store.put(b"k", b"new");
    store.persist();
    let mark = store.tree.mark();
    let opened = store.open().unwrap();
    assert_eq!(opened.mark().seq, mark.seq, "B3");
    assert_eq!(get(&opened, b"k", store.now()).unwrap(), Some(b"new".to_vec()));

    // Damage in the newer copy: the older one opens, and its mark shows it.
    let file = store.file();
    file.write_all_at(&[0xff; 8], crate::superblock::offset_of(mark.seq) + 40).unwrap();
    let older = store.open().unwrap();
    assert_eq!(older.mark().seq, mark.seq - 1);
    assert_eq!(get(&older, b"k", store.now()).unwrap(), Some(b"old".to_vec()));
    drop(older);
    file.write_all_at(&[0xff; 8], crate::superblock::offset_of(mark.seq - 1) + 40).unwrap();
    assert!(matches!(store.open(), Err(Error::Corruption { .. })));
}

#[test]
fn files_that_are_not_the_store_are_refused() {
    let store = Fixture::new();
    store.put(b"k", b"v");
    store.persist();
    let refused = |change: &dyn Fn(&mut StoreEnv)| {
        let mut env = env_of(&store.vfs, &store.host, 1 << 10);
        change(&mut env);
        matches!(BTree::open(env), Err(Error::Corruption { .. }))
    };
    assert!(refused(&|env| env.db_uuid = DbUuid::from_bytes([1; 16])));
    assert!(refused(&|env| env.keyspace = KeyspaceId::new(8)));
    assert!(!refused(&|_| {}));
    assert!(BTree::create(&env_of(&store.vfs, &store.host, 1 << 10)).is_err(), "a store in use is not made anew");
    assert_eq!(store.get(b"k", store.now()).unwrap(), Some(b"v".to_vec()));
    store.vfs.remove_file(format!("/ks/{FILE_NAME}").as_ref()).unwrap();
    assert!(refused(&|_| {}), "a missing file is no empty store");
}

#[test]
fn every_cut_and_every_zeroed_unit_is_noticed() {
    let store = Fixture::new();
    for i in 0..200 {
        store.put(&key(i), &[i as u8; 100]);
    }
    store.delete_range(&[0x10], &[0x20]);
    store.persist();
    let expected = store.keys() as u64;
    let file = store.file();
    let mut good = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut good, 0).unwrap();
    let units = good.len() / UNIT_BYTES;
    let damages = (0..units).map(|unit| {
        let mut bytes = good.clone();
        bytes[unit * UNIT_BYTES..][..UNIT_BYTES].fill(0);
        (unit, bytes)
    });
    let cuts = (0..units).map(|unit| (unit, good[..unit * UNIT_BYTES].to_vec()));
    for (unit, bytes) in damages.chain(cuts) {
        file.set_len(0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let Ok(tree) = store.open() else { continue };
        let mut report = VerifyReport::default();
        let is_noticed = tree.verify(VerifyLevel::Full, &mut report).is_err() || !report.is_clean();
        let is_older = tree.mark().seq < store.tree.mark().seq;
        assert!(is_noticed || is_older || report.keys == expected, "unit {unit}");
        // Whatever can be read is right.
        for i in 0..200 {
            if let (false, Ok(Some(value))) = (is_older, get(&tree, &key(i), store.now())) {
                assert_eq!(value, [i as u8; 100], "unit {unit}");
            }
        }
    }
}

#[test]
fn flipped_bits_never_show_wrong_data() {
    let store = Fixture::new();
    for i in 0..12 {
        store.put(&key(i), &[i as u8; 60]);
    }
    store.persist();
    let seq = store.tree.mark().seq;
    let file = store.file();
    let mut good = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut good, 0).unwrap();
    for at in (0..good.len()).step_by(3) {
        file.write_all_at(&[good[at] ^ (1 << (at % 8))], at as u64).unwrap();
        if let Ok(tree) = store.open()
            && tree.mark().seq == seq
        {
            for i in 0..12 {
                if let Ok(value) = get(&tree, &key(i), store.now()) {
                    assert_eq!(value, Some(vec![i as u8; 60]), "byte {at}");
                }
            }
        }
        file.write_all_at(&[good[at]], at as u64).unwrap();
    }
}

#[test]
fn a_page_written_elsewhere_or_earlier_is_noticed() {
    let store = Fixture::new();
    store.put(b"k", b"old");
    store.persist();
    let old = store.tree.store.upkeep.lock().map.get(pid_table::ROOT_PID).unwrap();
    let file = store.file();
    let mut page = vec![0; UNIT_BYTES];
    file.read_exact_at(&mut page, old.unit * UNIT_BYTES as u64).unwrap();
    store.put(b"k", b"new");
    store.persist();
    let new = store.tree.store.upkeep.lock().map.get(pid_table::ROOT_PID).unwrap();
    assert_ne!(new, old);
    // A lost write: the unit still holds what was there before, with a good checksum and the right page id.
    file.write_all_at(&page, new.unit * UNIT_BYTES as u64).unwrap();
    let opened = store.open().unwrap();
    assert!(matches!(get(&opened, b"k", store.now()), Err(Error::Corruption { .. })));
}

/// Puts with values of about `bytes` bytes, in an order that looks random; some are of keys that are there already.
fn churn(
    store: &Fixture,
    rounds: std::ops::Range<u32>,
    bytes: usize,
    oracle: &mut std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
) {
    for i in rounds {
        let (key, value) = (key(i % 700).to_vec(), vec![i as u8; bytes + (i % 7) as usize]);
        store.put(&key, &value);
        oracle.insert(key, value);
    }
}

fn rows(store: &Fixture, backwards: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = store.tree.cursor(store.now(), KeyBounds::ALL, ScanOpts::default()).unwrap();
    let mut rows = Vec::new();
    while if backwards { cursor.prev() } else { cursor.next() }.unwrap() {
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
    }
    if backwards {
        rows.reverse();
    }
    rows
}

#[test]
fn a_put_reads_no_page_and_writes_none() {
    let mut store = Fixture::new();
    churn(&store, 0..1000, 100, &mut Default::default());
    store.persist();
    store.reopen();
    let before = store.tree.stats();
    churn(&store, 1000..1500, 100, &mut Default::default());
    let after = store.tree.stats();
    assert_eq!((after.reads, after.written_bytes, after.units), (before.reads, before.written_bytes, before.units));
    assert!(after.unsaved_bytes > before.unsaved_bytes + 50_000);
}

#[test]
fn everything_is_read_at_every_step_of_a_drain() {
    let store = Fixture::new();
    let mut oracle = std::collections::BTreeMap::new();
    churn(&store, 0..900, 100, &mut oracle);
    store.persist();
    churn(&store, 900..1600, 100, &mut oracle);
    store.delete_range(&[0x30], &[0x50]);
    oracle.retain(|key, _| key[0] < 0x30 || key[0] >= 0x50);
    let early = (store.now(), oracle.clone());
    store.host.active.lock().push(early.0);
    assert!(store.tree.store.buffers.rotate_if(|_| true));
    churn(&store, 1600..1700, 100, &mut oracle);
    let mut steps = 0;
    while store.tree.work(WorkBudget { bytes: 3000 }).unwrap().more {
        steps += 1;
        let expected: Vec<_> = oracle.clone().into_iter().collect();
        assert!(rows(&store, steps % 2 == 0) == expected, "after {steps} steps");
        for (key, value) in oracle.iter().skip(steps % 10).step_by(10) {
            assert!(store.get(key, store.now()).unwrap().as_ref() == Some(value), "{key:?} after {steps} steps");
            assert!(
                store.get(key, early.0).unwrap().as_ref() == early.1.get(key),
                "{key:?} at {} after {steps}",
                early.0
            );
        }
    }
    assert!(steps > 20, "{steps} steps");
    store.check();
}

#[test]
fn persisted_is_what_lies_before_the_oldest_commit_that_no_checkpoint_has() {
    let store = Fixture::new();
    store.put(b"a", b"1");
    store.persist();
    assert_eq!(store.tree.persisted(), store.now());
    store.host.visible.lock().clone_from(&Timestamp::new(10)); // commits of other keyspaces
    assert_eq!(store.tree.persisted(), Timestamp::new(10));
    let first = store.put(b"b", b"2");
    store.put(b"c", b"3");
    assert_eq!(store.tree.persisted(), first.prev(), "buffered");
    assert!(store.tree.store.buffers.rotate_if(|_| true));
    assert_eq!(store.tree.persisted(), first.prev(), "frozen");
    store.work();
    assert!(store.tree.store.buffers.layers_if_any().is_none(), "drained");
    assert_eq!(store.tree.persisted(), first.prev(), "drained");
    store.put(b"d", b"4");
    store.tree.persist_to(first, Urgency::Now);
    store.work();
    assert_eq!(store.tree.persisted(), store.now().prev(), "the last one was not wanted and is not drained");
}

#[test]
fn memory_is_flat_and_the_file_is_used_again_while_much_more_than_memory_is_written() {
    let limit = 1 << 20;
    let mut store = Fixture::with_budget(limit);
    let mut oracle = std::collections::BTreeMap::new();
    for round in 0..40 {
        // 700 keys of 3 KB: twice the memory.
        churn(&store, round * 100..round * 100 + 100, 3000, &mut oracle);
        let held = store.host.budget.used();
        assert!(held <= limit + limit / 8, "{held} bytes held in round {round}");
        store.tree.work(WorkBudget { bytes: 1 << 20 }).unwrap();
    }
    store.check();
    let stats = store.tree.stats();
    assert!(stats.disk_bytes < 10 << 20, "{stats:?}");
    assert!(rows(&store, false) == oracle.clone().into_iter().collect::<Vec<_>>());
    store.persist();
    store.check();
    store.reopen();
    assert!(rows(&store, true) == oracle.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_place_that_a_load_may_be_reading_is_not_used_again() {
    let store = Fixture::new();
    let inner = &store.tree.store;
    let drain = |value: &[u8]| {
        store.put(b"k", value);
        assert!(inner.buffers.rotate_if(|_| true));
        store.work();
    };
    let write = || {
        let mut up = inner.upkeep.lock();
        inner.reclaim(&mut up);
        inner.write_pages(&mut up, &mut std::iter::once(pid_table::ROOT_PID), 1).unwrap();
        up.places[&pid_table::ROOT_PID].unwrap().unit
    };
    drain(b"1");
    let first = write();
    let load = inner.loads.lock().current();
    drain(b"2");
    let second = write();
    assert_ne!(first, second, "E3: the load may have seen the first place");
    drop(load);
    drain(b"3");
    assert_eq!(write(), first.min(second), "P2: no superblock names them");
    store.check();
}

#[test]
fn nothing_that_the_durable_superblock_names_is_written_before_the_next_one() {
    let store = Fixture::with_budget(1 << 20);
    let mut oracle = std::collections::BTreeMap::new();
    churn(&store, 0..700, 1500, &mut oracle);
    store.persist();
    let (seq, persisted) = (store.tree.mark().seq, store.now());
    let mut now = oracle.clone();
    for i in 0..60 {
        churn(&store, 700 + i * 10..710 + i * 10, 1500, &mut now);
        assert!(store.tree.store.buffers.rotate_if(|_| true));
        store.tree.work(WorkBudget { bytes: 64 << 10 }).unwrap();
    }
    assert!(store.tree.stats().written_bytes > 2_000_000 && store.tree.mark().seq == seq, "written, but not named");
    let crashed = Fixture { vfs: Arc::clone(&store.vfs), host: Arc::clone(&store.host), tree: store.open().unwrap() };
    assert_eq!(crashed.check().keys, 700, "X1");
    for (key, value) in &oracle {
        assert!(crashed.get(key, persisted).unwrap().as_ref() == Some(value), "X1: {key:?}");
    }
}

mod ahead;
mod clear;
mod large;
mod pace;
mod residence;
mod scans;
mod space;
mod unlatched;
