//! Random runs against an oracle that remembers every version a file had: no crash may show anything else (SK1).

use proptest::prelude::*;

use super::*;

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { at: u16, len: u16, byte: u8 },
    Zeros { at: u16, len: u16 },
    SetLen { len: u16 },
    Punch { at: u16, len: u16 },
    Sync,
    SyncOther,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = || 0..6000_u16;
    let change = prop_oneof![
        6 => (place(), 1..2000_u16, 1..255_u8).prop_map(|(at, len, byte)| Change::Write { at, len, byte }),
        1 => (place(), 1..2000_u16).prop_map(|(at, len)| Change::Zeros { at, len }),
        1 => place().prop_map(|len| Change::SetLen { len }),
        1 => (place(), 1..5000_u16).prop_map(|(at, len)| Change::Punch { at, len }),
        2 => Just(Change::Sync),
        1 => Just(Change::SyncOther),
    ];
    prop::collection::vec(change, 1..25)
}

/// The file as a program reads it.
fn read(file: &dyn VfsFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// A sector of a version; behind its end there are zeros.
fn sector(version: &[u8], number: usize) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let tail = version.get(number * SECTOR..).unwrap_or_default();
    let count = tail.len().min(SECTOR);
    sector[..count].copy_from_slice(&tail[..count]);
    sector
}

/// `versions[0]` is the one last synced.
fn check(found: &[u8], versions: &[Vec<u8>], garbage_from: usize) -> Result<(), TestCaseError> {
    let longest = versions.iter().map(Vec::len).max().unwrap();
    let shortest = versions.iter().map(Vec::len).min().unwrap();
    prop_assert!((shortest..=longest).contains(&found.len()), "{} bytes", found.len());
    for number in 0..found.len().div_ceil(SECTOR) {
        if number * SECTOR >= garbage_from {
            continue;
        }
        let kept = (found.len() - number * SECTOR).min(SECTOR);
        let bytes = &found[number * SECTOR..number * SECTOR + kept];
        prop_assert!(
            versions.iter().any(|version| sector(version, number)[..kept] == *bytes),
            "sector {number} is none of the {} versions",
            versions.len()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_sector_found_is_a_version_since_the_last_sync(changes in changes()) {
        let disk = SimVfs::new();
        let (file, other) = (create(&disk, "a"), create(&disk, "other"));
        disk.sync_dir(root()).unwrap();
        let mut versions = vec![Vec::new()];
        for change in &changes {
            match *change {
                Change::Write { at, len, byte } => {
                    file.write_at(&vec![byte; len.into()], at.into()).unwrap();
                }
                Change::Zeros { at, len } => file.write_zeros(at.into(), len.into()).unwrap(),
                Change::SetLen { len } => file.set_len(len.into()).unwrap(),
                Change::Punch { at, len } => file.punch(at.into(), len.into()).unwrap(),
                Change::Sync => {
                    file.sync_data().unwrap();
                    versions.clear();
                }
                Change::SyncOther => other.sync_data().unwrap(),
            }
            versions.push(read(&*file));
            let journal = disk.journal();
            for model in MODELS {
                for keep in Keep::each(versions.len() as u64, 12) {
                    let may_be_garbage = model == CrashModel::Strict && matches!(keep, Keep::Garbage(_) | Keep::Random(_));
                    let garbage_from = if may_be_garbage { versions[0].len() } else { usize::MAX };
                    let found = journal.crash_at(journal.len(), model, keep, SECTOR as u64);
                    check(&found.read("a".as_ref()).unwrap(), &versions, garbage_from)
                        .map_err(|error| TestCaseError::fail(format!("{model:?} {keep:?}: {error}")))?;
                }
            }
        }
    }
}
