//! The store of large values beside a tree that is no more than a list: what it names is there, whatever happens.

mod crash;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::framed::FILE_HEADER_BYTES;
use crate::golden;
use crate::pool::FramePool;
use crate::salvage::StoreFiles;
use crate::vfs::{MemVfs, OpenMode};
use crate::{
    BackendKind, Budget, DbUuid, KeyspaceId, KeyspaceOptions, SnapSet, StoreHost, Timestamp, VerifyLevel, VerifyReport,
};

/// Small, so that a few values fill one.
const TEST_FILE_BYTES: u64 = 4096;

struct Host(Arc<Budget>);

impl StoreHost for Host {
    fn visible(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn durable(&self) -> Timestamp {
        Timestamp::ZERO
    }
    fn snapshots(&self) -> Arc<SnapSet> {
        Arc::new(SnapSet::new(Timestamp::ZERO, vec![]))
    }
    fn make_durable(&self, _: Timestamp) -> Result<()> {
        Ok(())
    }
    fn budget(&self) -> &Arc<Budget> {
        &self.0
    }
    fn wake_upkeep(&self) {}
}

fn env(disk: &Arc<dyn Vfs>) -> StoreEnv {
    let budget = Budget::new(1 << 20);
    StoreEnv {
        vfs: Arc::clone(disk),
        dir: "ks".into(),
        keyspace: KeyspaceId::new(3),
        db_uuid: DbUuid::from_bytes([7; 16]),
        options: KeyspaceOptions::new(BackendKind::Lsm),
        pool: FramePool::new(&budget, 1 << 16),
        host: Arc::new(Host(budget)),
        clock: Arc::new(ManualClock::default()),
    }
}

/// The bytes of the value of this number and length.
fn content(id: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (id as usize * 31 + at * 7) as u8).collect()
}

/// A tree as far as the values are concerned: which it names, and the number of the edit, in one file that is switched by renaming.
struct Tree {
    disk: Arc<dyn Vfs>,
    no: u64,
    named: BTreeMap<u64, LargeRef>,
    values: ValueStore,
}

impl Tree {
    fn create(disk: Arc<dyn Vfs>) -> Tree {
        disk.create_dir("ks".as_ref()).unwrap();
        disk.sync_dir("".as_ref()).unwrap();
        Tree::open(disk).unwrap()
    }

    fn open(disk: Arc<dyn Vfs>) -> Result<Tree> {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(&*disk, "ks/TREE".as_ref(), OpenMode::Read) {
            bytes.resize(file.len()? as usize, 0);
            file.read_exact_at(&mut bytes, 0)?;
        }
        let no = bytes.first_chunk().map_or(0, |no| u64::from_le_bytes(*no));
        let refs = bytes.get(8..).unwrap_or_default().chunks(LARGE_REF_BYTES).map(|one| LargeRef::decode(one).unwrap());
        let named = refs.map(|large| (large.id, large)).collect();
        let values = open::open(&env(&disk), no, TEST_FILE_BYTES)?;
        Ok(Tree { disk, no, named, values })
    }

    /// Appends values of these lengths.
    fn append(&self, lens: &[usize], changes: &mut ValueChanges) -> Result<Vec<LargeRef>> {
        let next = || self.values.writer.lock().next_id;
        lens.iter().map(|&len| self.values.append(&content(next(), len), changes)).collect()
    }

    /// The switch: names `added` from now on, and `dropped` no more.
    fn switch(&mut self, added: &[LargeRef], dropped: &[LargeRef], changes: &mut ValueChanges) -> Result<()> {
        dropped.iter().for_each(|&large| changes.drop_value(large));
        let no = self.values.prepare(changes)?;
        let mut named = self.named.clone();
        named.extend(added.iter().map(|&large| (large.id, large)));
        named.retain(|_, large| !dropped.contains(large));
        let encoded: Vec<u8> = named.values().flat_map(|large| large.encode()).collect();
        let file = File::open(&*self.disk, "ks/NEW".as_ref(), OpenMode::OpenOrCreate)?;
        file.set_len(0)?;
        file.write_all_at(&[&no.to_le_bytes()[..], &encoded].concat(), 0)?;
        file.sync_data()?;
        let error = |source| Error::from_io(IoOp::Rename, "ks/TREE", source);
        self.disk.rename("ks/NEW".as_ref(), "ks/TREE".as_ref()).map_err(error)?;
        self.disk.sync_dir("ks".as_ref()).map_err(error)?;
        (self.no, self.named) = (no, named);
        self.values.show(no, changes);
        self.values.forget(changes);
        Ok(())
    }

    fn put(&mut self, lens: &[usize], dropped: &[LargeRef]) -> Vec<LargeRef> {
        let mut changes = ValueChanges::default();
        let added = self.append(lens, &mut changes).unwrap();
        self.switch(&added, dropped, &mut changes).unwrap();
        added
    }

    fn work(&self, is_thorough: bool) {
        while self.values.work(500, is_thorough).unwrap() {}
    }

    /// Every value named is there and what it was, and there is no other.
    fn check(&self, what: &str) {
        for large in self.named.values() {
            let value = self.values.read(*large).unwrap_or_else(|error| panic!("{what}: {error}"));
            let value = value.unwrap_or_else(|| panic!("{what}: value {} is gone", large.id));
            assert!(*value == content(large.id, large.len as usize), "{what}: value {}", large.id);
        }
        assert_eq!(self.values.index.read().len(), self.named.len(), "{what}: what nobody names");
        assert_eq!(self.problems(), [0u8; 0].map(|_| String::new()), "{what}");
    }

    fn problems(&self) -> Vec<String> {
        let named: Vec<LargeRef> = self.named.values().copied().collect();
        let mut report = VerifyReport::default();
        self.values.capture().check(VerifyLevel::Full, Some(&named), &mut report).unwrap();
        report.problems.into_iter().map(|problem| problem.what).collect()
    }

    fn files(&self) -> Vec<String> {
        let entries = self.disk.list("ks/values".as_ref()).unwrap();
        entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".val")).collect()
    }
}

fn memory() -> Arc<dyn Vfs> {
    Arc::new(MemVfs::new())
}

#[test]
fn a_keyspace_without_large_values_has_no_folder_of_them() {
    let tree = Tree::create(memory());
    assert_eq!(tree.values.prepare(&ValueChanges::default()).unwrap(), 0);
    tree.work(true);
    assert!(tree.disk.list("ks".as_ref()).unwrap().is_empty());
}

/// A file in the folder of the values.
fn content_of(tree: &Tree, name: &str) -> Vec<u8> {
    let file = File::open(&*tree.disk, &Path::new("ks/values").join(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn value_files_and_their_manifest_have_these_bytes() {
    let mut tree = Tree::create(memory());
    let refs = tree.put(&[5, 300, 2], &[]);
    tree.put(&[], &refs[1..2]);
    assert_eq!(content_of(&tree, "1.val")[..89], golden::bytes(include_str!("../../tests/golden/value_file.hex")));
    assert_eq!(refs[0].encode()[..], golden::bytes(include_str!("../../tests/golden/value_reference.hex")));
    tree.work(true);
    assert_eq!(content_of(&tree, "MANIFEST-1"), golden::bytes(include_str!("../../tests/golden/value_manifest.hex")));
}

#[test]
fn values_of_every_length_come_back_after_opening_again() {
    let mut tree = Tree::create(memory());
    tree.put(&[0, 1, 22, 23, 4000, 5000, 100_000], &[]);
    tree.check("before");
    let tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
    assert_eq!(tree.named.len(), 7);
    tree.check("opened again");
}

/// Values of an ingest, synced; and the list of them.
fn ingested(tree: &Tree, lens: &[usize]) -> (Vec<LargeRef>, ValueChanges, Vec<u8>) {
    let (mut changes, mut unsynced_bytes, mut list) = (ValueChanges::default(), 0, Vec::new());
    let next = || tree.values.writer.lock().next_id;
    let append = |len| tree.values.append_ingested(&content(next(), len), &mut changes, &mut unsynced_bytes).unwrap();
    let refs = lens.iter().copied().map(append).collect();
    tree.values.sync().unwrap();
    changes.encode_added(&mut list);
    (refs, changes, list)
}

fn listed(list: &[u8]) -> ValueChanges {
    ValueChanges::take_added(&mut &list[..]).unwrap()
}

#[test]
fn what_the_list_of_an_ingest_names_is_kept_over_restarts_until_its_switch() {
    let mut tree = Tree::create(memory());
    let before = tree.put(&[300, 400], &[]);
    let (refs, _, list) = ingested(&tree, &[900, 3000, 20, 1400]);
    for round in 0..3 {
        // Nothing but the list has it.
        tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
        let claimed = tree.values.claim(listed(&list)).unwrap();
        assert_eq!(claimed.added.len(), 4);
        tree.put(&[50 + round], &[]);
        tree.work(true);
        for large in &refs {
            let value = tree.values.read(*large).unwrap().expect("it is on its way");
            assert!(*value == content(large.id, large.len as usize), "and nobody got its number");
        }
        assert!(tree.values.claim(listed(&list)).is_err(), "it is named twice");
    }
    tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
    let mut claimed = tree.values.claim(listed(&list)).unwrap();
    let mut one = ValueChanges::default();
    tree.values.adopt(refs[0], &mut one);
    tree.switch(&refs[..1], &before, &mut one).unwrap();
    tree.work(true);
    tree.check("a leaf of the run is in the tree");
    tree.values.adopt(refs[0], &mut one);
    assert_eq!(one.added.len(), 1, "once");
    tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
    claimed.added = tree.values.claim(listed(&list)).unwrap().added;
    assert_eq!(claimed.added.len(), 3, "what a switch has added is not added again");
    tree.switch(&refs[1..], &[], &mut claimed).unwrap();
    tree.work(true);
    tree.check("all of it is");
    assert!(tree.values.claim(listed(&list)).unwrap().is_empty());
    Tree::open(Arc::clone(&tree.disk)).unwrap().check("opened again");
}

#[test]
fn what_an_ingest_wrote_that_came_to_nothing_goes() {
    let mut tree = Tree::create(memory());
    tree.put(&[300], &[]);
    let (_, changes, _) = ingested(&tree, &[5000, 6000]);
    tree.work(true);
    let bytes = |tree: &Tree| tree.files().iter().map(|name| content_of(tree, name).len()).sum::<usize>();
    assert!(bytes(&tree) > 11_000);
    tree.values.give_up(changes);
    tree.put(&[10], &[]);
    tree.work(true);
    assert!(bytes(&tree) < 1000, "{} bytes", bytes(&tree));
    ingested(&tree, &[5000, 6000]);
    tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
    tree.work(true);
    assert!(bytes(&tree) < 1000, "{} bytes", bytes(&tree));
    tree.check("nobody claimed it");
}

#[test]
fn lists_of_values_that_cannot_be_are_refused() {
    let take = |list: &[u8]| ValueChanges::take_added(&mut &list[..]).is_some();
    assert!(take(&[0]) && take(&[1, 9, 3, 64, 5]));
    assert!(!take(&[]) && !take(&[1, 9, 3, 64]), "too short");
    assert!(!take(&[1, 9, 3, 63, 5]), "in the header of a file");
    assert!(!take(&[&[1, 9, 3][..], &[0xff; 9], &[1, 5]].concat()), "behind every file");
}

#[test]
fn a_value_is_found_once_it_was_appended_until_it_is_dropped_or_given_up() {
    let mut tree = Tree::create(memory());
    let mut changes = ValueChanges::default();
    let added = tree.append(&[100], &mut changes).unwrap();
    assert!(tree.values.read(added[0]).unwrap().is_some(), "a tree may name it in memory");
    let mut never = ValueChanges::default();
    let given_up = tree.append(&[100], &mut never).unwrap();
    tree.values.give_up(never);
    assert_eq!(tree.values.read(given_up[0]).unwrap(), None);
    tree.switch(&added, &[], &mut changes).unwrap();
    assert!(tree.values.read(added[0]).unwrap().is_some());
    tree.put(&[], &added);
    assert_eq!(tree.values.read(added[0]).unwrap(), None);
    tree.check("dropped");
}

#[test]
fn a_file_half_dead_is_written_anew_and_one_all_dead_goes() {
    let mut tree = Tree::create(memory());
    let first = tree.put(&[1000; 4], &[]);
    let second = tree.put(&[1000; 5], &[]);
    assert_eq!(tree.files(), ["1.val", "2.val", "3.val"]);
    tree.put(&[], &first[..1]);
    tree.work(false);
    assert_eq!(tree.files().len(), 3, "three quarters live");
    tree.put(&[], &first[1..3]);
    tree.work(false);
    assert!(!tree.files().contains(&"1.val".to_owned()) && tree.files().len() == 2, "{:?}", tree.files());
    tree.check("rewritten");
    tree.put(&[], &second[..4]);
    tree.work(false);
    tree.check("all dead");
    assert_eq!(tree.files(), ["3.val"]);
    Tree::open(Arc::clone(&tree.disk)).unwrap().check("opened again");
}

#[test]
fn a_thorough_rewrite_leaves_no_dead_bytes() {
    let mut tree = Tree::create(memory());
    let mut all = Vec::new();
    for round in 0..10 {
        let dropped = all.split_off(all.len().saturating_sub(round % 2));
        all.extend(tree.put(&[700; 3], &dropped));
    }
    tree.work(true);
    let mut stats = StoreStats::default();
    tree.values.add_stats(&mut stats);
    let headers = stats.value_files * FILE_HEADER_BYTES as u64;
    assert_eq!(stats.value_bytes, stats.live_value_bytes + headers);
    assert_eq!((stats.values, stats.disk_bytes), (tree.named.len() as u64, stats.value_bytes));
    tree.check("thorough");
    assert!(!tree.values.has_work(true));
}

#[test]
fn what_was_given_up_is_dead_and_its_place_goes_with_its_file() {
    let mut tree = Tree::create(memory());
    let mut changes = ValueChanges::default();
    tree.append(&[3000, 3000], &mut changes).unwrap();
    tree.values.give_up(changes);
    tree.put(&[100], &[]);
    tree.work(true);
    tree.check("given up");
    assert_eq!(tree.files().len(), 1);
}

#[test]
fn a_change_whose_switch_failed_may_follow_another() {
    let mut tree = Tree::create(memory());
    let old = tree.put(&[500, 600], &[]);
    let mut failed = ValueChanges::default();
    let waiting = tree.append(&[700], &mut failed).unwrap();
    failed.drop_value(old[0]);
    tree.values.prepare(&failed).unwrap();
    assert!(!tree.values.work(1 << 20, true).unwrap(), "VR1");
    tree.put(&[800], &old[1..]);
    tree.check("another came to pass");
    Tree::open(Arc::clone(&tree.disk)).unwrap().check("opened before it is tried again");
    tree.work(true);
    failed.dropped.clear();
    tree.switch(&waiting, &old[..1], &mut failed).unwrap();
    tree.check("both");
    Tree::open(Arc::clone(&tree.disk)).unwrap().check("opened again");
}

#[test]
fn a_tree_put_back_or_ahead_of_its_values_is_corruption() {
    let mut tree = Tree::create(memory());
    tree.put(&[500], &[]);
    let ahead = open::open(&env(&tree.disk), tree.no + 1, TEST_FILE_BYTES);
    assert!(matches!(ahead, Err(Error::Corruption { .. })));
    for name in ["CURRENT", "MANIFEST-1", "1.val"] {
        tree.disk.remove_file(&Path::new("ks/values").join(name)).unwrap();
        if name == "MANIFEST-1" {
            let gone = open::open(&env(&tree.disk), tree.no, TEST_FILE_BYTES);
            assert!(matches!(gone, Err(Error::Corruption { .. })));
        }
    }
    assert!(open::open(&env(&tree.disk), 0, TEST_FILE_BYTES).is_ok(), "as if it never had any");
}

#[test]
fn a_missing_file_is_the_error_of_its_values_alone() {
    let mut tree = Tree::create(memory());
    let first = tree.put(&[5000], &[]);
    let second = tree.put(&[300], &[]);
    tree.disk.remove_file("ks/values/1.val".as_ref()).unwrap();
    File::open(&*tree.disk, "ks/values/notes.txt".as_ref(), OpenMode::CreateNew).unwrap();
    let tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
    let lost = tree.values.read(first[0]);
    assert!(matches!(&lost, Err(Error::Corruption { file, .. }) if file.ends_with("1.val")), "{lost:?}");
    assert!(tree.values.read(second[0]).unwrap().is_some());
    tree.work(true);
    assert_eq!(tree.problems().len(), 1, "{:?}", tree.problems());
    assert!(tree.disk.list("ks/values".as_ref()).unwrap().iter().any(|entry| entry.name == "notes.txt"), "not ours");
}

#[test]
fn every_flipped_byte_of_a_value_file_is_noticed_and_the_other_values_stay() {
    let mut tree = Tree::create(memory());
    let refs = tree.put(&[40, 60, 80], &[]);
    let file = File::open(&*tree.disk, "ks/values/1.val".as_ref(), OpenMode::ReadWrite).unwrap();
    let mut whole = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut whole, 0).unwrap();
    for at in 0..whole.len() {
        file.write_all_at(&[whole[at] ^ 0x20], at as u64).unwrap();
        let tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
        let unreadable = refs.iter().filter(|&&large| match tree.values.read(large) {
            Ok(value) => {
                assert_eq!(&*value.expect("it is listed"), content(large.id, large.len as usize));
                false
            }
            Err(Error::Corruption { .. } | Error::UnsupportedFormat { .. }) => true,
            Err(other) => panic!("{other}"),
        });
        let expected = if at < FILE_HEADER_BYTES { 3 } else { 1 };
        assert_eq!(unreadable.count(), expected, "byte {at}");
        assert!(!tree.problems().is_empty(), "byte {at}");
        file.write_all_at(&whole[at..=at], at as u64).unwrap();
    }
    tree.check("mended");
}

#[test]
fn a_damaged_value_keeps_its_file_from_being_written_anew() {
    let mut tree = Tree::create(memory());
    let refs = tree.put(&[1000; 4], &[]);
    tree.put(&[100], &refs[..2]);
    let file = File::open(&*tree.disk, "ks/values/1.val".as_ref(), OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"rot", FILE_HEADER_BYTES as u64 + 3 * 1020 + 500).unwrap();
    tree.work(true);
    assert!(tree.values.read(refs[2]).unwrap().is_some());
    assert!(matches!(tree.values.read(refs[3]), Err(Error::Corruption { .. })), "not gone: damaged");
    assert!(!tree.values.has_work(true) && tree.files().contains(&"1.val".to_owned()));
}

#[test]
fn a_salvage_finds_values_with_the_manifest_and_without() {
    let mut tree = Tree::create(memory());
    let refs = tree.put(&[1000; 9], &[]);
    tree.put(&[], &refs[..3]);
    tree.work(false);
    for removed in [None, Some("ks/values/CURRENT")] {
        removed.iter().for_each(|path| tree.disk.remove_file(path.as_ref()).unwrap());
        let files = StoreFiles { vfs: &*tree.disk, dir: "ks".as_ref(), keyspace: KeyspaceId::new(3), db_uuid: None };
        let (found, losses) = SalvagedValues::find(&files);
        assert_eq!(losses.len(), usize::from(removed.is_some()));
        for large in tree.named.values() {
            assert_eq!(&*found.read(*large).unwrap(), content(large.id, large.len as usize));
        }
    }
}

#[test]
fn the_manifest_is_written_anew_when_it_has_grown() {
    let mut tree = Tree::create(memory());
    let mut last = tree.put(&[10; 8], &[]);
    let manifest = |tree: &Tree| tree.values.writer.lock().manifest.as_ref().map(|manifest| manifest.number());
    for _ in 0..20 {
        last = tree.put(&[10; 8], &last);
    }
    let mut writer = tree.values.writer.lock();
    tree.values.write_manifest(&mut writer).unwrap();
    drop(writer);
    tree.work(false);
    assert_eq!(manifest(&tree), Some(2));
    tree.put(&[10], &[]);
    let tree = Tree::open(Arc::clone(&tree.disk)).unwrap();
    tree.check("opened again");
    let names: Vec<String> = tree.disk.list("ks/values".as_ref()).unwrap().into_iter().map(|e| e.name).collect();
    assert!(!names.contains(&"MANIFEST-1".to_owned()), "{names:?}");
}

proptest::proptest! {
    #[test]
    fn frames_of_any_bytes_give_content_or_an_error(
        frames in proptest::collection::vec((0u8..7, proptest::collection::vec(0u8..12, 0..24)), 0..6),
        no in 0u64..12,
    ) {
        let first = (1, vec![0, 1, 1, 0]);
        let frames: Vec<(u8, Vec<u8>)> = std::iter::once(first).chain(frames).collect();
        manifest::accepts(&frames, no);
        manifest::accepts(&frames[1..], no);
    }
}
