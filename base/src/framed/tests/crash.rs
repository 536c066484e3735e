//! Framed files on the simulated disk: every crash and every failed call.

use super::*;
use crate::vfs::sim::{CrashModel, Fault, FaultKind, Journal, Keep, OsError, SimVfs};

const CREATED: u64 = 1;
const SYNCED_FRAMES: u64 = 2;
const CURRENT_IS: u64 = 3;

const MODELS: [CrashModel; 2] = [CrashModel::Strict, CrashModel::Ext4Like];

/// Frames of very different sizes, so that shorter ones follow longer ones and several share a sector.
fn payload(index: usize) -> Vec<u8> {
    vec![index as u8; [5, 3000, 1, 700, 20, 513][index % 6]]
}

fn open_on(disk: &SimVfs) -> Result<(FramedFile, Frames, Tail)> {
    let mut frames = Vec::new();
    let (file, _, tail) = FramedFile::open(disk, path(), &KNOWN, |kind, payload| {
        frames.push((kind, payload.to_vec()));
        Ok(())
    })?;
    Ok((file, frames, tail))
}

/// Visits what each crash of a run leaves, with the payload of the newest note of each tag before it.
fn each_crash(journal: &Journal, random: u64, mut visit: impl FnMut(&SimVfs, &dyn Fn(u64) -> Option<u64>, &str)) {
    for model in MODELS {
        for at in 0..=journal.len() {
            let noted =
                |tag| journal.notes(at).filter(|(_, note)| note.tag == tag).last().map(|(_, note)| note.payload);
            for sector_bytes in [512, 4096] {
                for keep in Keep::each(at as u64, random) {
                    let image = journal.crash_at(at, model, keep, sector_bytes);
                    let what = format!("{model:?}, entry {at}, {keep:?}, sectors of {sector_bytes}");
                    visit(&SimVfs::on(image), &noted, &what);
                }
            }
        }
    }
}

/// Appends twelve frames, a sync after each `per_sync`.
fn journal_of_appends(per_sync: usize) -> Journal {
    let disk = SimVfs::new();
    let mut file = FramedFile::create(&disk, path(), &header(1)).unwrap();
    file.sync().unwrap();
    disk.sync_dir("".as_ref()).unwrap();
    disk.journal_note(CREATED, 0);
    for index in 0..12 {
        file.append(1, &payload(index)).unwrap();
        if (index + 1) % per_sync == 0 {
            file.sync().unwrap();
            disk.journal_note(SYNCED_FRAMES, index as u64 + 1);
        }
    }
    disk.journal()
}

#[test]
fn a_crash_keeps_a_prefix_with_all_that_was_synced() {
    for per_sync in [1, 3, 12] {
        each_crash(&journal_of_appends(per_sync), 6, |disk, noted, what| {
            if noted(CREATED).is_none() {
                return;
            }
            let (mut file, frames, _) = open_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            let synced = noted(SYNCED_FRAMES).unwrap_or(0) as usize;
            assert!(frames.len() >= synced, "{what}: {} of {synced} synced frames", frames.len());
            for (index, (_, found)) in frames.iter().enumerate() {
                assert_eq!(found, &payload(index), "{what}");
            }
            file.append(2, b"goes on").unwrap();
            drop(file);
            let (_, again, tail) = open_on(disk).unwrap();
            assert_eq!((again.len(), tail), (frames.len() + 1, Tail::Clean), "{what}");
        });
    }
}

#[test]
fn a_crash_while_opening_loses_nothing_more() {
    let journal = journal_of_appends(4);
    // Frames 8..11 were being written.
    let torn = journal.crash_at(journal.len() - 3, CrashModel::Strict, Keep::Random(1), 512);
    let first = SimVfs::on(torn.clone());
    let (mut file, frames, _) = open_on(&first).unwrap();
    file.append(1, b"after the first crash").unwrap();
    file.sync().unwrap();
    first.journal_note(SYNCED_FRAMES, frames.len() as u64 + 1);
    each_crash(&first.journal(), 6, |disk, noted, what| {
        let (_, again, _) = open_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(again.len() as u64 >= noted(SYNCED_FRAMES).unwrap_or(8), "{what}: {}", again.len());
        let common = again.len().min(frames.len());
        assert_eq!(again[..common], frames[..common], "{what}");
    });
}

#[test]
fn what_open_showed_is_durable() {
    // A process died after appending without a sync; the next one reads the frames, and then power fails.
    let disk = SimVfs::on(journal_of_appends(12).process_death_at(8));
    let (_, frames, _) = open_on(&disk).unwrap();
    let journal = disk.journal();
    for keep in Keep::each(3, 20) {
        let found = SimVfs::on(journal.crash_at(journal.len(), CrashModel::Strict, keep, 512));
        assert_eq!(open_on(&found).unwrap().1, frames, "{keep:?}");
    }
}

#[test]
fn a_crash_leaves_the_old_current_or_the_new() {
    let disk = SimVfs::new();
    for number in 1..=3 {
        switch_current(&disk, "".as_ref(), &format!("MANIFEST-{number}")).unwrap();
        disk.journal_note(CURRENT_IS, number);
    }
    each_crash(&disk.journal(), 20, |disk, noted, what| {
        let found = read_current(disk, "".as_ref()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = found.map(|name| name.trim_start_matches("MANIFEST-").parse::<u64>().unwrap());
        let known = noted(CURRENT_IS);
        assert!(found == known || found == Some(known.unwrap_or(0) + 1), "{what}: {found:?} after {known:?}");
        switch_current(disk, "".as_ref(), "M").unwrap();
        assert_eq!(read_current(disk, "".as_ref()).unwrap().as_deref(), Some("M"), "{what}");
    });
}

/// Runs a few appends and syncs and returns what was appended; a failed append is left out, anything else that fails ends it.
fn append_some(disk: &SimVfs) -> Result<Frames> {
    let mut file = FramedFile::create(disk, path(), &header(1))?;
    let mut appended = Vec::new();
    for index in 0..8 {
        let before = file.len();
        match file.append(1, &payload(index)) {
            Ok(()) => appended.push((1, payload(index))),
            Err(Error::Io { .. } | Error::DiskFull { .. }) => assert_eq!(file.len(), before, "FR2"),
            Err(other) => panic!("{other}"),
        }
        if index % 3 == 2 {
            file.sync()?;
        }
    }
    Ok(appended)
}

#[test]
fn a_failed_append_is_written_over() {
    let kinds = [
        FaultKind::Error(OsError::Io),
        FaultKind::Error(OsError::NoSpace),
        FaultKind::Error(OsError::Interrupted),
        FaultKind::PartialThenError(OsError::NoSpace),
        FaultKind::ShortWrite,
    ];
    for kind in kinds {
        for (at, times) in (1..30).flat_map(|at| [(at, 1), (at, 2)]) {
            let disk = SimVfs::new();
            disk.inject(Fault::new(kind).at(at).times(times));
            let appended = append_some(&disk);
            disk.clear_faults();
            if let Ok(appended) = appended {
                assert_eq!(open_on(&disk).unwrap().1, appended, "{kind:?} at {at}, {times} times");
            }
        }
    }
}

#[test]
fn a_failed_switch_leaves_a_current_that_can_be_read() {
    for at in 1..12 {
        let disk = SimVfs::new();
        switch_current(&disk, "".as_ref(), "A").unwrap();
        disk.inject(Fault::new(FaultKind::Error(OsError::Io)).at(at));
        let switched = switch_current(&disk, "".as_ref(), "B");
        disk.clear_faults();
        let found = read_current(&disk, "".as_ref()).unwrap().unwrap();
        assert!(found == "B" || (switched.is_err() && found == "A"), "{at}: {found} after {switched:?}");
        switch_current(&disk, "".as_ref(), "C").unwrap();
        assert_eq!(read_current(&disk, "".as_ref()).unwrap().as_deref(), Some("C"));
    }
}

#[test]
fn a_misread_byte_is_an_error_or_an_end_never_a_frame() {
    for at in 1..20 {
        for bit in [0, 77, 4001] {
            let disk = SimVfs::new();
            let appended = append_some(&disk).unwrap();
            disk.inject(Fault::new(FaultKind::BitFlip(bit)).at(at));
            if let Ok((_, frames, _)) = open_on(&disk) {
                assert_eq!(frames[..], appended[..frames.len()], "read {at}, bit {bit}");
            }
        }
    }
}
