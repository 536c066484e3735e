//! What a program sees: the public API of `duramen`, on keyspaces of every kind alike.
//!
//! Knows nothing below the public API but the simulated disk, which stands for the machine. Isolation anomalies, deadlocks and crashes at every
//! call have folders of their own. `against_oracle.rs` compares random programs with maps that are copied at every snapshot.
//!
//! Next: `reading.rs` for the plainest tests.

mod against_oracle;
mod cache;
mod closing;
mod compaction;
mod conflicts;
mod durability;
mod ingest;
mod keyspaces;
mod large_values;
mod memory;
mod old_readers;
mod reading;
mod replaying;
mod verifying;
mod writing;

use std::sync::Arc;

use duramen::seams::{MemVfs, Vfs};
use duramen::{BackendKind, Builder, Database, Iter, Keyspace, KeyspaceOptions, Value};

/// Options with which a little data already fills pages, memtables and tables.
fn small(kind: BackendKind) -> KeyspaceOptions {
    KeyspaceOptions { memtable_bytes: 4 << 10, page_bytes: 1 << 10, ..KeyspaceOptions::new(kind) }
}

/// A database on a disk in memory, with one keyspace.
fn database(kind: BackendKind) -> (Database, Keyspace) {
    let db = open_on(&disk()).expect("an empty disk");
    let keyspace = db.create_keyspace("ks", small(kind)).expect("a new name");
    (db, keyspace)
}

/// A disk in memory.
fn disk() -> Arc<dyn Vfs> {
    Arc::new(MemVfs::new())
}

fn builder_on(disk: &Arc<dyn Vfs>) -> Builder {
    Database::builder().vfs(Arc::clone(disk)).memory_bytes(16 << 20)
}

/// The database of `disk`, created if there is none.
fn open_on(disk: &Arc<dyn Vfs>) -> duramen::Result<Database> {
    builder_on(disk).open("db")
}

fn text_of(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn text(value: Option<Value>) -> Option<String> {
    value.map(|value| text_of(&value))
}

/// What an iterator gives from front to back, as "key=value" words.
fn words(iter: Iter) -> String {
    let word = |entry: duramen::Result<duramen::Entry>| {
        let entry = entry.expect("readable");
        format!("{}={}", text_of(&entry.key), text_of(&entry.value))
    };
    iter.map(word).collect::<Vec<_>>().join(" ")
}

/// The same from back to front.
fn words_back(iter: Iter) -> String {
    let words: Vec<_> =
        iter.rev().map(|entry| entry.map(|e| format!("{}={}", text_of(&e.key), text_of(&e.value)))).collect();
    words.into_iter().collect::<duramen::Result<Vec<_>>>().expect("readable").join(" ")
}

/// Makes of each test one per kind of keyspace, called `<test>::<kind>`.
macro_rules! on_each_kind {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            #[test]
            fn model() {
                super::$test(duramen::BackendKind::Model);
            }

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

use on_each_kind;
