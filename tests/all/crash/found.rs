//! What the enumeration found, each bug as a test of a few lines.

use duramen::{BackendKind, KeyspaceOptions};
use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};

use super::run::{PATH, builder, options};

/// CURRENT and the catalog are entries of one folder, which may reach the disk in either order.
#[test]
fn a_catalog_has_its_name_before_current_names_it() {
    let disk = SimVfs::new();
    let db = builder(&disk).open(PATH).expect("a good disk");
    db.create_keyspace("k", BackendKind::BTree).expect("a good disk");
    let mut replay = disk.journal().replay(CrashModel::Strict);
    while replay.step() {
        let disk = SimVfs::on(replay.crash(Keep::Last, 512));
        builder(&disk).open(PATH).unwrap_or_else(|error| panic!("behind entry {}: {error}", replay.position()));
    }
}

/// A store that finds the memory taken by the other one gave up, and opening with it.
#[test]
fn a_log_is_replayed_in_less_memory_than_it_took_to_write() {
    let disk = SimVfs::new();
    let db = builder(&disk).log_bytes_before_checkpoint(1 << 30).open(PATH).expect("a good disk");
    let [tree, runs] = [BackendKind::BTree, BackendKind::Lsm].map(|kind| {
        let small: KeyspaceOptions = options(kind);
        db.create_keyspace(&kind.to_string(), small).expect("a good disk")
    });
    for n in 0..300 {
        let value = vec![n as u8; if n % 20 == 19 { 23_000 } else { 100 }];
        let put = |tx: &duramen::Transaction| {
            tx.put(&tree, format!("{}", n % 200), &value)?;
            tx.put(&runs, format!("{n}"), [n as u8; 300])
        };
        db.update(put).expect("a good disk");
    }
    disk.kill();
    for memory_bytes in (40 << 10..80 << 10).step_by(1 << 10) {
        let again = builder(&SimVfs::on(disk.image())).memory_bytes(memory_bytes).open(PATH);
        again.unwrap_or_else(|error| panic!("with {memory_bytes} bytes: {error}"));
    }
}
