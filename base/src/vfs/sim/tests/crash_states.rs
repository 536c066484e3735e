//! The rules of the two models, and what each way of choosing keeps.

use std::collections::HashSet;

use super::*;
use crate::vfs::sim::{Note, OpKind};

#[test]
fn an_unsynced_name_can_vanish() {
    for model in MODELS {
        let disk = SimVfs::new();
        create(&disk, "a");
        assert!(!crash(&disk, model, Keep::None).exists("a".as_ref()));
        assert!(crash(&disk, model, Keep::All).exists("a".as_ref()));
    }
}

#[test]
fn a_synced_name_stays() {
    for model in MODELS {
        let disk = SimVfs::new();
        create(&disk, "a");
        disk.sync_dir(root()).unwrap();
        assert_eq!(possible(&disk, model, "a"), [Some(vec![])]);
    }
}

#[test]
fn a_synced_file_in_an_unsynced_directory_can_vanish_under_strict() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(possible(&disk, CrashModel::Strict, "a"), [None, Some(b"x".to_vec())]);
    assert_eq!(possible(&disk, CrashModel::Ext4Like, "a"), [Some(b"x".to_vec())]);
}

#[test]
fn a_directory_entry_does_not_bring_the_content_of_its_file() {
    for model in MODELS {
        let disk = SimVfs::new();
        create(&disk, "a").write_at(b"x", 0).unwrap();
        disk.sync_dir(root()).unwrap();
        let found = possible(&disk, model, "a");
        for expected in [b"".to_vec(), b"\0".to_vec(), b"x".to_vec()] {
            assert!(found.contains(&Some(expected)));
        }
        // Under strict the size may also have grown over garbage.
        assert_eq!(found.len() > 3, model == CrashModel::Strict);
        assert!(!found.contains(&None));
    }
}

#[test]
fn a_synced_directory_in_an_unsynced_one_can_vanish_under_strict() {
    let disk = SimVfs::new();
    disk.create_dir("d".as_ref()).unwrap();
    let file = create(&disk, "d/a");
    file.sync_data().unwrap();
    disk.sync_dir("d".as_ref()).unwrap();
    assert!(!crash(&disk, CrashModel::Strict, Keep::None).exists("d".as_ref()));
    assert!(crash(&disk, CrashModel::Ext4Like, Keep::None).exists("d/a".as_ref()));
    disk.sync_dir(root()).unwrap();
    assert!(crash(&disk, CrashModel::Strict, Keep::None).exists("d/a".as_ref()));
}

#[test]
fn a_rename_is_whole() {
    for model in MODELS {
        let disk = SimVfs::new();
        for (path, content) in [("new", b"new"), ("old", b"old")] {
            let file = create(&disk, path);
            file.write_at(content, 0).unwrap();
            file.sync_data().unwrap();
        }
        disk.sync_dir(root()).unwrap();
        disk.rename("new".as_ref(), "old".as_ref()).unwrap();
        for keep in Keep::each(3, 50) {
            let found = crash(&disk, model, keep);
            let both = (found.read("new".as_ref()), found.read("old".as_ref()));
            let before = (Some(b"new".to_vec()), Some(b"old".to_vec()));
            assert!(both == before || both == (None, Some(b"new".to_vec())), "{keep:?}: {both:?}");
        }
        disk.sync_dir(root()).unwrap();
        assert_eq!(possible(&disk, model, "old"), [Some(b"new".to_vec())]);
        assert_eq!(possible(&disk, model, "new"), [None]);
    }
}

#[test]
fn a_rename_between_directories_needs_both_synced_under_strict() {
    let disk = SimVfs::new();
    for dir in ["d", "e"] {
        disk.create_dir(dir.as_ref()).unwrap();
    }
    create(&disk, "d/a");
    for dir in ["", "d", "e"] {
        disk.sync_dir(dir.as_ref()).unwrap();
    }
    disk.rename("d/a".as_ref(), "e/a".as_ref()).unwrap();
    disk.sync_dir("e".as_ref()).unwrap();
    let found = crash(&disk, CrashModel::Strict, Keep::None);
    assert!(found.exists("d/a".as_ref()) && !found.exists("e/a".as_ref()));
    // A new file takes the old name and becomes durable with it; the rename, durable later, must not take it away.
    create(&disk, "d/a");
    disk.sync_dir("d".as_ref()).unwrap();
    let found = crash(&disk, CrashModel::Strict, Keep::None);
    assert!(found.exists("d/a".as_ref()) && found.exists("e/a".as_ref()));
}

#[test]
fn a_file_has_one_name_after_any_subset_of_renames() {
    for model in MODELS {
        let disk = SimVfs::new();
        let file = create(&disk, "a");
        file.write_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")] {
            disk.rename(from.as_ref(), to.as_ref()).unwrap();
        }
        for keep in Keep::each(4, 200) {
            let found = crash(&disk, model, keep).files();
            assert_eq!(found.len(), 1, "{model:?} {keep:?}: {found:?}");
        }
    }
}

#[test]
fn ext4_keeps_names_in_order() {
    let disk = SimVfs::new();
    for path in ["a", "b", "c", "d"] {
        create(&disk, path);
    }
    let mut seen = HashSet::new();
    let mut strict = HashSet::new();
    for keep in Keep::each(5, 300) {
        let names = |image: Image| image.files().into_iter().map(|(path, _)| path).collect::<String>();
        let found = names(crash(&disk, CrashModel::Ext4Like, keep));
        assert!("abcd".starts_with(&found), "{keep:?}: {found}");
        seen.insert(found);
        strict.insert(names(crash(&disk, CrashModel::Strict, keep)));
    }
    assert_eq!((seen.len(), strict.len()), (5, 16), "every prefix, and every subset");
}

#[test]
fn a_sync_of_any_file_commits_earlier_names_and_cuts_on_ext4() {
    let disk = SimVfs::new();
    let a = create(&disk, "a");
    a.write_at(&[1; 600], 0).unwrap();
    a.sync_data().unwrap();
    let b = create(&disk, "b");
    a.set_len(10).unwrap();
    b.sync_data().unwrap();
    assert_eq!(possible(&disk, CrashModel::Ext4Like, "a"), [Some(vec![1; 10])]);
    disk.sync_dir(root()).unwrap();
    let strict = possible(&disk, CrashModel::Strict, "a");
    assert!(strict.contains(&Some(vec![1; 10])) && strict.contains(&Some(vec![1; 600])));
}

#[test]
fn synced_bytes_stay_under_every_choice() {
    for model in MODELS {
        let disk = SimVfs::new();
        let file = create(&disk, "a");
        file.write_at(&[1; 5000], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        file.write_at(&[2; 600], 4096).unwrap();
        for found in possible(&disk, model, "a") {
            let found = found.unwrap();
            assert_eq!(found[..4096], [1; 4096]);
            assert_eq!(found[4696..], [1; 304]);
            for sector in found[4096..4696].chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is written whole");
            }
        }
        assert_eq!(possible(&disk, model, "a").len(), 4, "either sector, both, none");
    }
}

#[test]
fn a_sector_is_a_version_that_was_there() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    file.write_at(&[0; 512], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(root()).unwrap();
    for (at, byte) in [(0, b'a'), (1, b'b'), (2, b'c')] {
        file.write_at(&[byte], at).unwrap();
    }
    let found: Vec<_> =
        possible(&disk, CrashModel::Strict, "a").into_iter().map(|found| found.unwrap()[..3].to_vec()).collect();
    assert_eq!(found, [b"\0\0\0".to_vec(), b"a\0\0".to_vec(), b"ab\0".to_vec(), b"abc".to_vec()]);
}

#[test]
fn a_torn_write_keeps_a_prefix_of_its_sectors() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    file.set_len(4096).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(root()).unwrap();
    file.write_at(&[1; 4096], 0).unwrap();
    let mut lengths = HashSet::new();
    for seed in 0..100 {
        let found = crash(&disk, CrashModel::Strict, Keep::TornLast(seed)).read("a".as_ref()).unwrap();
        let kept = found.iter().position(|byte| *byte == 0).unwrap_or(found.len());
        assert!(found[kept..].iter().all(|byte| *byte == 0) && kept % 512 == 0);
        lengths.insert(kept);
    }
    assert_eq!(lengths.len(), 9, "none to all of its eight sectors");
}

#[test]
fn the_last_effect_alone_can_reach_the_disk() {
    let disk = SimVfs::new();
    let (a, b) = (create(&disk, "a"), create(&disk, "b"));
    disk.sync_dir(root()).unwrap();
    a.write_at(b"first", 0).unwrap();
    b.write_at(b"second", 0).unwrap();
    let found = crash(&disk, CrashModel::Strict, Keep::Last);
    assert_eq!((found.read("a".as_ref()), found.read("b".as_ref())), (Some(vec![]), Some(b"second".to_vec())));
    let found = crash(&disk, CrashModel::Strict, Keep::AllButLast);
    assert_eq!((found.read("a".as_ref()), found.read("b".as_ref())), (Some(b"first".to_vec()), Some(vec![])));
}

#[test]
fn sizes_can_grow_without_data() {
    for model in MODELS {
        let disk = SimVfs::new();
        let file = create(&disk, "a");
        disk.sync_dir(root()).unwrap();
        file.write_at(&[7; 5000], 0).unwrap();
        assert_eq!(crash(&disk, model, Keep::Sizes).read("a".as_ref()), Some(vec![0; 5000]));
        let garbage = crash(&disk, model, Keep::Garbage(1)).read("a".as_ref()).unwrap();
        assert_eq!(garbage.len(), 5000);
        assert_eq!(garbage.iter().any(|byte| *byte != 0), model == CrashModel::Strict);
    }
}

#[test]
fn an_unsynced_cut_can_be_undone_by_a_crash() {
    for model in MODELS {
        let disk = SimVfs::new();
        let file = create(&disk, "a");
        file.write_at(&[7; 2000], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(root()).unwrap();
        file.set_len(100).unwrap();
        assert_eq!(crash(&disk, model, Keep::None).read("a".as_ref()), Some(vec![7; 2000]));
        assert_eq!(crash(&disk, model, Keep::All).read("a".as_ref()), Some(vec![7; 100]));
        file.sync_data().unwrap();
        assert_eq!(possible(&disk, model, "a"), [Some(vec![7; 100])]);
    }
}

#[test]
fn a_cut_and_what_is_written_behind_it_come_in_order_on_ext4() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    file.write_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    file.punch(0, 512).unwrap();
    file.write_at(&[2; 10], 0).unwrap();
    for found in possible(&disk, CrashModel::Ext4Like, "a") {
        let found = found.unwrap();
        let (old, punched) = (found == [1; 512], found[10..] == [0; 502]);
        assert!(old || punched, "the new bytes never lie among the punched ones");
    }
}

#[test]
fn process_death_keeps_every_completed_call() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    file.write_at(b"one", 0).unwrap();
    disk.rename("a".as_ref(), "b".as_ref()).unwrap();
    file.write_at(b"two", 3).unwrap();
    file.set_len(5).unwrap();
    let journal = disk.journal();
    let at = |position: usize| journal.process_death_at(position);
    assert_eq!(at(2).read("a".as_ref()), Some(b"one".to_vec()));
    assert_eq!(at(3).read("b".as_ref()), Some(b"one".to_vec()));
    assert_eq!(at(journal.len()).read("b".as_ref()), Some(b"onetw".to_vec()));
    assert_eq!(at(journal.len()).digest(), disk.image().digest());
}

#[test]
fn a_crash_state_runs_and_crashes_again() {
    let disk = SimVfs::new();
    let file = create(&disk, "a");
    file.write_at(b"first-life", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(root()).unwrap();
    let second = SimVfs::on(crash(&disk, CrashModel::Strict, Keep::None));
    second.open("a".as_ref(), OpenMode::ReadWrite).unwrap().write_at(b"second", 0).unwrap();
    create(&second, "b");
    let third = crash(&second, CrashModel::Strict, Keep::None);
    assert_eq!(third.read("a".as_ref()), Some(b"first-life".to_vec()));
    assert!(!third.exists("b".as_ref()));
    let third = crash(&second, CrashModel::Strict, Keep::All);
    assert_eq!(third.read("a".as_ref()), Some(b"secondlife".to_vec()));
}

#[test]
fn the_same_choice_gives_the_same_image() {
    let disk = SimVfs::new();
    for path in ["a", "b", "c"] {
        create(&disk, path).write_at(&[9; 3000], 100).unwrap();
    }
    let journal = disk.journal();
    let mut walked = journal.replay(CrashModel::Strict);
    loop {
        for keep in Keep::each(11, 20) {
            let jumped = journal.crash_at(walked.position(), CrashModel::Strict, keep, 4096);
            assert_eq!(walked.crash(keep, 4096).digest(), jumped.digest());
        }
        if !walked.step() {
            break;
        }
    }
}

#[test]
fn notes_stand_in_order_with_the_calls() {
    let disk = SimVfs::new();
    create(&disk, "a");
    disk.journal_note(1, 42);
    disk.sync_dir(root()).unwrap();
    disk.journal_note(2, 43);
    let journal = disk.journal();
    assert_eq!(journal.len(), 4);
    let notes: Vec<_> = journal.notes(3).collect();
    assert_eq!(notes, [(1, Note { tag: 1, payload: 42 })]);
    assert_eq!(journal.notes(4).count(), 2);
    assert_eq!(journal.kind(1), None);
    assert_eq!(journal.kind(2), Some(OpKind::SyncDir));
}

#[test]
fn what_happened_in_a_removed_directory_is_no_longer_pending() {
    let disk = SimVfs::new();
    disk.create_dir("d".as_ref()).unwrap();
    disk.sync_dir(root()).unwrap();
    create(&disk, "d/a");
    disk.remove_file("d/a".as_ref()).unwrap();
    disk.remove_dir("d".as_ref()).unwrap();
    disk.sync_dir(root()).unwrap();
    let mut replay = disk.journal().replay(CrashModel::Strict);
    while replay.step() {}
    assert!(!replay.has_pending());
}

#[test]
fn a_removed_file_has_nothing_pending_but_its_handles_go_on() {
    for model in MODELS {
        let disk = SimVfs::new();
        let file = create(&disk, "a");
        file.write_at(b"x", 0).unwrap();
        disk.remove_file("a".as_ref()).unwrap();
        disk.sync_dir(root()).unwrap();
        file.write_at(b"y", 0).unwrap();
        file.set_len(9).unwrap();
        let mut replay = disk.journal().replay(model);
        while replay.step() {}
        assert!(!replay.has_pending());
        create(&disk, "a");
        assert_eq!(possible(&disk, model, "a"), [None, Some(vec![])]);
    }
}
