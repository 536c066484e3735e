//! Each fault does what its name says, once, when it was told to.

use std::io::ErrorKind;

use super::*;
use crate::vfs::sim::{Fault, FaultKind, OpKind, OsError};

fn file_with(disk: &SimVfs, content: &[u8]) -> Arc<dyn VfsFile> {
    let file = create(disk, "a");
    file.write_at(content, 0).unwrap();
    file
}

fn read(file: &dyn VfsFile, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn every_call_can_fail_and_then_has_done_nothing() {
    for op in OpKind::ALL {
        let disk = SimVfs::new();
        let file = file_with(&disk, b"content");
        disk.create_dir("d".as_ref()).unwrap();
        let before = (disk.image().digest(), disk.journal_len());
        disk.inject(Fault::new(FaultKind::Error(OsError::Io)).on(&[op]));
        let error = match op {
            OpKind::Open => disk.open("a".as_ref(), OpenMode::Read).err(),
            OpKind::Create => disk.open("b".as_ref(), OpenMode::CreateNew).err(),
            OpKind::Read => file.read_at(&mut [0], 0).err(),
            OpKind::Write => file.write_at(b"x", 0).err(),
            OpKind::WriteZeros => file.write_zeros(0, 1).err(),
            OpKind::SetLen => file.set_len(1).err(),
            OpKind::Punch => file.punch(0, 1).err(),
            OpKind::SyncData => file.sync_data().err(),
            OpKind::Len => file.len().err(),
            OpKind::CreateDir => disk.create_dir("e".as_ref()).err(),
            OpKind::Rename => disk.rename("a".as_ref(), "b".as_ref()).err(),
            OpKind::RemoveFile => disk.remove_file("a".as_ref()).err(),
            OpKind::RemoveDir => disk.remove_dir("d".as_ref()).err(),
            OpKind::List => disk.list(root()).err(),
            OpKind::SyncDir => disk.sync_dir(root()).err(),
            OpKind::Lock => disk.lock("a".as_ref()).err(),
            OpKind::Random => disk.random_bytes().err(),
        };
        assert_eq!(error.and_then(|error| error.raw_os_error()), OsError::Io.to_io().raw_os_error(), "{op:?}");
        assert_eq!((disk.image().digest(), disk.journal_len()), before, "{op:?}");
        assert_eq!(disk.faults_struck(), 1);
    }
}

#[test]
fn errors_have_the_kinds_of_the_system() {
    assert_eq!(OsError::NoSpace.to_io().kind(), ErrorKind::StorageFull);
    assert_eq!(OsError::Quota.to_io().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(OsError::Interrupted.to_io().kind(), ErrorKind::Interrupted);
    assert_eq!(OsError::ReadOnly.to_io().kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_fault_strikes_its_window_of_calls() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    create(&disk, "other");
    disk.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[OpKind::Write]).path_contains("a").at(3).times(2));
    let results: Vec<_> = (0..6).map(|_| file.write_at(b"x", 0).is_ok()).collect();
    assert_eq!(results, [true, true, false, false, true, true]);
    disk.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).for_ever());
    assert!((0..10).all(|_| file.len().is_err()));
    disk.clear_faults();
    assert!(file.len().is_ok());
}

#[test]
fn short_calls_do_half() {
    let disk = SimVfs::new();
    let file = file_with(&disk, b"12345678");
    disk.inject(Fault::new(FaultKind::ShortRead));
    assert_eq!(read(&*file, 8), b"1234");
    disk.inject(Fault::new(FaultKind::ShortWrite));
    assert_eq!(file.write_at(b"abcd", 0).unwrap(), 2);
    disk.inject(Fault::new(FaultKind::PartialThenError(OsError::Io)));
    assert!(file.write_at(b"XY", 6).is_err());
    assert_eq!(read(&*file, 8), b"ab3456X8");
}

#[test]
fn a_failed_sync_drops_what_was_not_synced() {
    for model in MODELS {
        let disk = SimVfs::new();
        let file = file_with(&disk, b"synced");
        disk.sync_dir(root()).unwrap();
        file.sync_data().unwrap();
        file.write_at(b"LOST!!, and more", 0).unwrap();
        disk.inject(Fault::new(FaultKind::SyncDrops));
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the second sync finds nothing to do");
        let expected = b"synced\0\0\0\0\0\0\0\0\0\0".to_vec();
        assert_eq!(read(&*file, 100), expected);
        assert_eq!(possible(&disk, model, "a"), [Some(expected)]);
    }
}

#[test]
fn a_lying_sync_makes_nothing_durable() {
    let disk = SimVfs::new();
    let file = file_with(&disk, b"x");
    disk.inject(Fault::new(FaultKind::SyncLies).for_ever());
    file.sync_data().unwrap();
    disk.sync_dir(root()).unwrap();
    assert!(!crash(&disk, CrashModel::Ext4Like, Keep::None).exists("a".as_ref()));
}

#[test]
fn silent_faults_give_wrong_bytes() {
    let disk = SimVfs::new();
    let file = file_with(&disk, b"\0\0\0\0");
    disk.inject(Fault::new(FaultKind::BitFlip(32 + 9)));
    assert_eq!(read(&*file, 4), b"\0\x02\0\0");
    assert_eq!(read(&*file, 4), b"\0\0\0\0", "the file itself is whole");
    disk.inject(Fault::new(FaultKind::LostWrite));
    file.write_at(b"lost", 0).unwrap();
    assert_eq!(read(&*file, 4), b"\0\0\0\0");
    disk.inject(Fault::new(FaultKind::MisdirectedWrite(2)));
    file.write_at(b"ab", 0).unwrap();
    assert_eq!(read(&*file, 4), b"\0\0ab");
    disk.inject(Fault::new(FaultKind::StaleRead));
    assert_eq!(read(&*file, 4), b"\0\0\0\0");
    assert_eq!(read(&*file, 4), b"\0\0ab");
    assert_eq!(disk.journal().process_death_at(disk.journal_len()).digest(), disk.image().digest());
}

#[test]
fn a_full_disk_takes_writes_again_when_it_gets_room() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    disk.set_capacity(Some(8192));
    assert_eq!(file.write_at(&[1; 10_000], 0).unwrap(), 8192, "as much as there is room for");
    let full = file.write_at(&[1; 10], 8192).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    file.write_at(&[2; 8192], 0).unwrap();
    assert_eq!(create(&disk, "b").write_zeros(0, 1).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_capacity(Some(3 * 4096));
    file.write_at(&[1; 10], 8192).unwrap();
    assert_eq!(disk.used(), 3 * 4096);
    file.punch(0, 4096).unwrap();
    assert_eq!(disk.used(), 2 * 4096);
    file.set_len(4096).unwrap();
    assert_eq!(disk.used(), 0);
}

#[test]
fn a_removed_file_takes_space_until_its_last_handle_is_gone() {
    let disk = SimVfs::new();
    let file = file_with(&disk, b"x");
    disk.remove_file("a".as_ref()).unwrap();
    assert_eq!(disk.used(), 4096);
    assert_eq!(read(&*file, 9), b"x");
    drop(file);
    assert_eq!(disk.used(), 0);
}

#[test]
fn a_killed_program_changes_nothing_more() {
    let disk = SimVfs::new();
    let file = file_with(&disk, b"x");
    let lock = disk.lock("LOCK".as_ref()).unwrap();
    let reborn = disk.kill();
    let before = reborn.image().digest();
    assert!(file.write_at(b"y", 0).is_err() && file.read_at(&mut [0], 0).is_err() && file.sync_data().is_err());
    assert!(disk.open("b".as_ref(), OpenMode::CreateNew).is_err());
    assert!(lock.write_content(b"z").is_err());
    disk.journal_note(1, 1);
    assert_eq!(reborn.image().digest(), before);
    assert_eq!(reborn.journal().notes(reborn.journal_len()).count(), 0);
    // Its lock is free, and it cannot give away the one of its successor.
    let _new = reborn.lock("LOCK".as_ref()).unwrap();
    drop((lock, file));
    assert_eq!(reborn.lock("LOCK".as_ref()).err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    assert_eq!(read(&*reborn.open("a".as_ref(), OpenMode::Read).unwrap(), 9), b"x");
}

#[test]
fn random_bytes_are_the_same_in_every_run() {
    let (a, b) = (SimVfs::new(), SimVfs::new());
    assert_eq!(a.random_bytes().unwrap(), b.random_bytes().unwrap());
    assert_ne!(a.random_bytes().unwrap(), SimVfs::new().random_bytes().unwrap());
}
