//! Enumerating crash states is quick enough to do it by the hundred thousand. The test counts states, not seconds.

use std::collections::HashSet;

use super::*;

/// A run like a small engine's: a zero-filled log, records appended and synced, now and then a new file and a rename.
fn run_like_an_engine() -> SimVfs {
    let disk = SimVfs::new();
    disk.create_dir("db".as_ref()).unwrap();
    disk.sync_dir(root()).unwrap();
    let log = create(&disk, "db/log");
    log.write_zeros(0, 1 << 20).unwrap();
    log.sync_data().unwrap();
    disk.sync_dir("db".as_ref()).unwrap();
    for number in 0..150_u64 {
        log.write_at(&[number as u8 + 1; 2000], number * 2000).unwrap();
        if number % 7 == 0 {
            log.sync_data().unwrap();
            disk.journal_note(1, number);
        }
        if number % 20 == 10 {
            let table = create(&disk, "db/new");
            table.write_at(&[number as u8; 30_000], 0).unwrap();
            table.sync_data().unwrap();
            disk.rename("db/new".as_ref(), format!("db/table-{number}").as_ref()).unwrap();
            disk.sync_dir("db".as_ref()).unwrap();
        }
    }
    disk
}

#[test]
fn every_position_of_a_run_gives_many_distinct_states() {
    let journal = run_like_an_engine().journal();
    let mut distinct = HashSet::new();
    let mut visited = 0;
    for model in MODELS {
        let mut replay = journal.replay(model);
        while replay.step() {
            for sector_bytes in [512, 4096] {
                for keep in Keep::each(replay.position() as u64, 8) {
                    distinct.insert(replay.crash(keep, sector_bytes).digest());
                    visited += 1;
                }
            }
        }
    }
    assert!(visited > 15_000, "{visited} states visited");
    assert!(distinct.len() > 1_500, "{} distinct states", distinct.len());
}
