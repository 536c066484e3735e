//! The plainest power cut there is: everything that was not synced is gone.
//!
//! What a commit promises is checked here on one commit at a time, so that a failure says which promise broke. Every point of a run and
//! every choice of what survives is the business of the crash tests.

use duramen::{BackendKind, Database, Durability, Reader, TxnOptions};
use duramen_base::sync::Arc;
use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};

const KINDS: [BackendKind; 2] = [BackendKind::BTree, BackendKind::Lsm];

fn open(disk: &SimVfs) -> Database {
    Database::builder().vfs(Arc::new(disk.clone())).open("db").unwrap()
}

/// The disk as it is after losing power now.
fn cut(disk: &SimVfs) -> SimVfs {
    let journal = disk.journal();
    SimVfs::on(journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512))
}

#[test]
fn a_sync_commit_survives_and_brings_every_earlier_one_with_it() {
    for kind in KINDS {
        let disk = SimVfs::new();
        let db = open(&disk);
        let ks = db.keyspace("k", kind).unwrap();
        for durability in [Durability::None, Durability::Buffered, Durability::Sync] {
            let options = TxnOptions::default().durability(durability);
            db.update_with(options, |tx| tx.put(&ks, format!("{durability:?}"), "kept")).unwrap();
        }
        let after = open(&cut(&disk));
        let ks = after.open_keyspace("k").unwrap();
        assert_eq!(after.snapshot().unwrap().iter(&ks).unwrap().count(), 3, "{kind}");
    }
}

#[test]
fn a_keyspace_survives_its_creation() {
    for kind in KINDS {
        let disk = SimVfs::new();
        let db = open(&disk);
        db.keyspace("k", kind).unwrap();
        assert_eq!(open(&cut(&disk)).keyspaces()[0].options.backend, kind);
    }
}
