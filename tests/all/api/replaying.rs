//! A long log is replayed by several threads: what is there afterwards is what was there before, whatever the memory allows.

use std::collections::BTreeMap;

use duramen::Reader;
use duramen::seams::ManualExecutor;
use duramen_tests::dice::Dice;

use super::*;
use crate::random::seed;

const COMMITS: u64 = 1_500;
const OPS_MAX: u64 = 24;
const KEYS: u64 = 400;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Commits to both keyspaces, the same keys again and again, some ranges of them deleted.
fn commit(db: &Database, keyspaces: &[Keyspace; 2], maps: &mut [Map; 2], dice: &mut Dice, number: u64) {
    db.update(|tx| {
        for (ks, map) in keyspaces.iter().zip(maps.iter_mut()) {
            if number % 97 == 50 {
                let (low, high) = (key(dice.below(KEYS)), key(KEYS / 2 + dice.below(KEYS)));
                if low < high {
                    tx.delete_range(ks, low, high)?;
                    map.retain(|key, _| !(low.as_slice()..high.as_slice()).contains(&key.as_slice()));
                }
            }
            for _ in 0..dice.below(OPS_MAX) {
                let key = key(dice.below(KEYS));
                if dice.below(8) == 0 {
                    tx.delete(ks, key)?;
                    map.remove(key.as_slice());
                } else {
                    let value = [number.to_be_bytes().as_slice(), &[7; 120]].concat();
                    tx.put(ks, key, &value)?;
                    map.insert(key.to_vec(), value);
                }
            }
        }
        Ok(())
    })
    .expect("room for it");
}

/// A log of some four megabytes, and nothing in files.
fn logged(kind: BackendKind) -> (Arc<dyn Vfs>, [Map; 2]) {
    let disk = disk();
    let nobody = Arc::new(ManualExecutor::new());
    let builder = builder_on(&disk).executor(nobody).memory_bytes(256 << 20).log_bytes_before_checkpoint(1 << 40);
    let db = builder.open("db").expect("an empty disk");
    let options = KeyspaceOptions { memtable_bytes: 64 << 20, ..small(kind) };
    let keyspaces = ["one", "two"].map(|name| db.create_keyspace(name, options.clone()).expect("a new name"));
    let mut maps = [Map::new(), Map::new()];
    let mut dice = Dice::new(seed());
    (0..COMMITS).for_each(|number| commit(&db, &keyspaces, &mut maps, &mut dice, number));
    let stats = db.stats();
    assert!(stats.log.end.get() - stats.log.start.get() > 3 << 20, "a log that several threads replay: {stats:?}");
    assert!(stats.keyspaces.iter().all(|(_, stats)| stats.persists == 0), "all of it is in the log: {stats:?}");
    (disk, maps)
}

fn a_long_log_is_replayed_as_it_was_written(kind: BackendKind) {
    for memory_mb in [256, 1] {
        let (disk, maps) = logged(kind);
        let db = builder_on(&disk).memory_bytes(memory_mb << 20).open("db").expect("a good disk");
        for (name, map) in ["one", "two"].iter().zip(&maps) {
            let ks = db.open_keyspace(name).expect("there");
            let found = db.snapshot().expect("open").iter(&ks).expect("readable");
            let found: Map = found
                .map(|entry| entry.map(|entry| (entry.key.to_vec(), entry.value.to_vec())).expect("readable"))
                .collect();
            assert_eq!(&found, map, "{name}, {memory_mb} MB, seed {}", seed());
        }
    }
}

on_each_kind!(a_long_log_is_replayed_as_it_was_written);
