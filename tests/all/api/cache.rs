//! What `stats` say of the cache: which lookups found their leaf or block in memory.

use duramen::{BackendKind, Database, Keyspace, Reader};

use super::{disk, open_on, small};

const KEYS: u64 = 600;

fn key(number: u64) -> String {
    format!("{number:05}")
}

/// A keyspace in one sorted run or tree of many pages, none of which is in memory.
fn filled_and_reopened(kind: BackendKind) -> (Database, Keyspace) {
    let disk = disk();
    let db = open_on(&disk).expect("an empty disk");
    let ks = db.create_keyspace("ks", small(kind)).expect("a new name");
    (0..KEYS).for_each(|number| db.update(|tx| tx.put(&ks, key(number), [7; 60])).expect("room"));
    db.checkpoint().expect("room");
    db.compact(&ks).expect("room");
    let (_, stats) = &db.stats().keyspaces[0];
    assert_eq!((stats.cache_hits, stats.cache_misses), (0, 0), "CO2: nobody read");
    drop((ks, db));
    let db = open_on(&disk).expect("whole");
    let ks = db.open_keyspace("ks").expect("there");
    (db, ks)
}

fn get_all(db: &Database, ks: &Keyspace) {
    let snapshot = db.snapshot().expect("open");
    (0..KEYS).for_each(|number| assert!(snapshot.get(ks, key(number)).expect("readable").is_some()));
}

fn hits_and_misses(db: &Database) -> (u64, u64) {
    let stats = db.stats();
    let (_, store) = &stats.keyspaces[0];
    assert_eq!(stats.cache_hits_and_misses, (store.cache_hits, store.cache_misses), "the only keyspace");
    (store.cache_hits, store.cache_misses)
}

fn what_was_read_once_is_found_in_memory(kind: BackendKind) {
    let (db, ks) = filled_and_reopened(kind);
    get_all(&db, &ks);
    let (hits, misses) = hits_and_misses(&db);
    assert_eq!(hits + misses, KEYS, "one lookup each");
    assert!((20..KEYS / 4).contains(&misses), "each leaf or block was read once, for its first key: {misses}");
    get_all(&db, &ks);
    assert_eq!(hits_and_misses(&db), (hits + KEYS, misses));
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("open").count() as u64, KEYS);
    assert_eq!(hits_and_misses(&db), (hits + KEYS + misses, misses), "a scan looks each of them up once");
}

fn lookups_of_many_threads_are_all_counted(kind: BackendKind) {
    let (db, ks) = filled_and_reopened(kind);
    get_all(&db, &ks);
    let (hits, misses) = hits_and_misses(&db);
    std::thread::scope(|threads| (0..12).for_each(|_| drop(threads.spawn(|| get_all(&db, &ks)))));
    assert_eq!(hits_and_misses(&db), (hits + 12 * KEYS, misses));
}

/// The model has no files, so nothing to say of a cache.
macro_rules! on_kinds_with_files {
    ($($test:ident),+) => {$(
        mod $test {
            #[test]
            fn btree() {
                super::$test(duramen::BackendKind::BTree);
            }

            #[test]
            fn lsm() {
                super::$test(duramen::BackendKind::Lsm);
            }
        }
    )+};
}

on_kinds_with_files!(what_was_read_once_is_found_in_memory, lookups_of_many_threads_are_all_counted);
