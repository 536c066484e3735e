//! A stored journal gives the same states as the run it came from.

use super::*;
use crate::vfs::sim::{Fault, FaultKind, Journal};

/// A run with every kind of entry, on an image that is not empty.
fn run_with_everything() -> SimVfs {
    let first = SimVfs::new();
    first.create_dir("old".as_ref()).unwrap();
    create(&first, "old/a").write_at(&[5; 9000], 10_000).unwrap();
    let disk = SimVfs::on(first.image());
    let file = disk.open("old/a".as_ref(), OpenMode::ReadWrite).unwrap();
    disk.create_dir("d".as_ref()).unwrap();
    disk.create_dir("e".as_ref()).unwrap();
    create(&disk, "d/b").write_at(b"bytes", 7).unwrap();
    file.write_zeros(12_000, 600).unwrap();
    file.punch(16_384, 100).unwrap();
    disk.inject(Fault::new(FaultKind::SyncDrops));
    assert!(file.sync_data().is_err());
    file.set_len(18_500).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[8; 5000], 11_111).unwrap();
    disk.rename("d/b".as_ref(), "e/b".as_ref()).unwrap();
    disk.remove_dir("d".as_ref()).unwrap();
    disk.sync_dir("e".as_ref()).unwrap();
    disk.journal_note(3, 4);
    disk.remove_file("e/b".as_ref()).unwrap();
    disk
}

#[test]
fn a_stored_journal_gives_the_same_states() {
    let journal = run_with_everything().journal();
    let loaded = Journal::load(&journal.save()).unwrap();
    assert_eq!(loaded.len(), journal.len());
    assert!(loaded.notes(loaded.len()).eq(journal.notes(journal.len())));
    for model in MODELS {
        let (mut a, mut b) = (journal.replay(model), loaded.replay(model));
        while a.step() && b.step() {
            for keep in Keep::each(9, 20) {
                assert_eq!(a.crash(keep, 512).digest(), b.crash(keep, 512).digest());
            }
        }
    }
}

#[test]
fn damaged_bytes_are_no_journal() {
    let saved = run_with_everything().journal().save();
    for at in (0..saved.len()).step_by(7) {
        let mut damaged = saved.clone();
        damaged[at] ^= 0x10;
        assert!(Journal::load(&damaged).is_none());
        assert!(Journal::load(&saved[..at]).is_none());
    }
}
