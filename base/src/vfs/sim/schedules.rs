//! The simulated disk under every schedule of the threads that use it.

use super::*;
use crate::sync::{check_random, thread};

#[test]
fn threads_share_a_disk_and_its_journal_has_what_they_did() {
    check_random(100, || {
        let disk = SimVfs::new();
        let shared = disk.open("shared".as_ref(), OpenMode::CreateNew).unwrap();
        let threads = [0_u8, 1].map(|number| {
            let (disk, shared) = (disk.clone(), Arc::clone(&shared));
            thread::spawn_named("writer", move || {
                let own = disk.open(format!("own-{number}").as_ref(), OpenMode::CreateNew).unwrap();
                own.write_at(&[number; 10], 0).unwrap();
                shared.write_at(&[number; 600], 0).unwrap();
                shared.sync_data().unwrap();
                disk.journal_note(1, number.into());
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let journal = disk.journal();
        assert_eq!(journal.process_death_at(journal.len()).digest(), disk.image().digest());
        let shared = disk.image().read("shared".as_ref()).unwrap();
        assert!(shared.iter().all(|byte| *byte == shared[0]), "SD1: a write is whole");
    });
}

#[test]
fn a_killed_program_can_still_be_running() {
    check_random(100, || {
        let disk = SimVfs::new();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        let writer =
            thread::spawn_named("writer", move || while file.write_at(b"x", file.len().unwrap_or(0)).is_ok() {});
        let reborn = disk.kill();
        let before = reborn.image().digest();
        writer.join().unwrap();
        assert_eq!(reborn.image().digest(), before, "SD2: it changes nothing more");
    });
}

#[cfg(duramen_sim)]
#[test]
#[should_panic(expected = "the test's own words")]
fn a_failing_test_ends_with_its_own_words() {
    check_random(10, || {
        let disk = SimVfs::new();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        let thread = thread::spawn_named("writer", move || {
            assert!(file.write_at(b"x", 0).is_err(), "the test's own words");
        });
        thread.join().unwrap();
    });
}
