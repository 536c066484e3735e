//! One process opens a database at a time, and says who it is; a folder that cannot be written is refused clearly.

use duramen::{BackendKind, Database, Error};
use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};

use super::run::Machine;

#[test]
fn a_second_opening_of_a_folder_names_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = Database::open(&path).unwrap();
    match Database::open(&path) {
        Err(Error::Locked { path: lock, holder }) => {
            assert_eq!(lock, path.join("LOCK"));
            assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        }
        other => panic!("{other:?}"),
    }
    db.keyspace("k", BackendKind::BTree).unwrap();
    db.close().unwrap();
    let again = Database::open(&path).unwrap();
    assert_eq!(again.keyspaces().len(), 1);
}

#[test]
fn the_last_handle_dropped_frees_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path().join("db")).unwrap();
    let (clone, snapshot) = (db.clone(), db.snapshot().unwrap());
    drop(db);
    assert!(matches!(Database::open(folder.path().join("db")), Err(Error::Locked { .. })));
    drop(clone);
    drop(Database::open(folder.path().join("db")).unwrap());
    drop(snapshot);
}

#[test]
fn a_dead_holder_leaves_no_lock() {
    let machine = Machine::on(SimVfs::new());
    let held = machine.open().unwrap();
    assert!(matches!(machine.open(), Err(Error::Locked { .. })));
    let machine = Machine::on(machine.disk.kill());
    machine.open().unwrap();
    drop(held);
}

#[test]
fn a_refused_opening_leaves_the_lock_free() {
    let machine = Machine::on(SimVfs::new());
    drop(machine.open().unwrap());
    machine.disk.inject(Fault::new(FaultKind::Error(OsError::Io)).on(&[OpKind::Read]).at(3));
    machine.open().expect_err("a read failed");
    machine.open().unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_clearly() {
    let machine = Machine::on(SimVfs::new());
    drop(machine.open().unwrap());
    let before = machine.disk.image().digest();
    let changes: Vec<OpKind> = OpKind::ALL
        .into_iter()
        .filter(|op| !matches!(op, OpKind::Open | OpKind::Read | OpKind::Len | OpKind::List))
        .collect();
    machine.disk.inject(Fault::new(FaultKind::Error(OsError::ReadOnly)).on(&changes).for_ever());
    let refused = machine.open().expect_err("nothing can be written");
    let Error::Io { path, source, .. } = &refused else { panic!("{refused}") };
    assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{refused}");
    assert!(path.starts_with("db"), "{refused}");
    assert_eq!(machine.disk.image().digest(), before, "nothing was changed");
    machine.disk.clear_faults();
    machine.open().unwrap();
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "not yours").unwrap();
    assert!(matches!(Database::open(folder.path()), Err(Error::InvalidArgument { .. })));
    assert_eq!(std::fs::read(folder.path().join("letter.txt")).unwrap(), b"not yours");
}
