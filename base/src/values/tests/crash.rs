//! Every crash of a run with values added, dropped, moved, given up and tried again: what the tree names is there, and nothing else is kept.

use super::*;
use crate::vfs::sim::{CrashModel, Fault, FaultKind, Journal, Keep, OsError, SimVfs};

const SWITCHED: u64 = 1;

/// A run over everything that can happen. Stops at the first error.
fn run(disk: &SimVfs) -> Result<()> {
    run_on(Tree::create(Arc::new(disk.clone())), disk)
}

fn run_on(mut tree: Tree, disk: &SimVfs) -> Result<()> {
    let mut live: Vec<LargeRef> = Vec::new();
    for round in 0..9usize {
        let mut changes = ValueChanges::default();
        let lens: Vec<usize> = (0..3).map(|index| [30, 900, 2500, 0, 1400][(round * 3 + index) % 5]).collect();
        let added = tree.append(&lens, &mut changes)?;
        if round % 4 == 2 {
            let mut never = ValueChanges::default();
            tree.append(&[700], &mut never)?;
            tree.values.give_up(never);
        }
        if round % 4 == 3 {
            // A switch that fails for a while: another comes first.
            let mut first = ValueChanges::default();
            first.added.append(&mut changes.added);
            tree.values.prepare(&first)?;
            let dropped: Vec<LargeRef> = live.drain(..1).collect();
            tree.switch(&[], &dropped, &mut changes)?;
            disk.journal_note(SWITCHED, round as u64);
            changes = first;
        }
        let dropped: Vec<LargeRef> = live.drain(..live.len().min(round % 4)).collect();
        tree.switch(&added, &dropped, &mut changes)?;
        disk.journal_note(SWITCHED, round as u64);
        live.extend(added);
        for _ in 0..3 {
            tree.values.work(1500, round == 6)?;
        }
        if round == 5 {
            let mut writer = tree.values.writer.lock();
            tree.values.write_manifest(&mut writer)?;
        }
    }
    Ok(())
}

fn check_opened(disk: &SimVfs, what: &str) {
    let Ok(_) = disk.list("ks".as_ref()) else { return };
    let mut tree = Tree::open(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("{what}: {error}"));
    tree.check(what);
    let first: Vec<LargeRef> = tree.named.values().take(2).copied().collect();
    tree.put(&[600, 20], &first);
    tree.work(true);
    tree.check(what);
    Tree::open(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("{what}: {error}")).check(what);
}

fn each_crash(journal: &Journal, random: u64, mut visit: impl FnMut(&SimVfs, &str)) {
    for model in [CrashModel::Strict, CrashModel::Ext4Like] {
        for at in 0..=journal.len() {
            for keep in Keep::each(at as u64, random) {
                let disk = SimVfs::on(journal.crash_at(at, model, keep, 512));
                visit(&disk, &format!("{model:?}, entry {at} of {}, {keep:?}", journal.len()));
            }
        }
    }
}

#[test]
fn a_crash_at_any_write_or_sync_keeps_what_the_tree_names() {
    let disk = SimVfs::new();
    run(&disk).unwrap();
    each_crash(&disk.journal(), 2, check_opened);
}

#[test]
fn a_crash_after_a_crash_keeps_it_too() {
    let disk = SimVfs::new();
    run(&disk).unwrap();
    let journal = disk.journal();
    for at in (0..journal.len()).step_by(17) {
        let first = SimVfs::on(journal.crash_at(at, CrashModel::Strict, Keep::Random(at as u64), 512));
        let Ok(mut tree) = Tree::open(Arc::new(first.clone())) else { continue };
        if first.list("ks".as_ref()).is_err() {
            continue;
        }
        let dropped: Vec<LargeRef> = tree.named.values().take(3).copied().collect();
        tree.put(&[1200, 1200], &dropped);
        tree.work(true);
        each_crash(&first.journal(), 1, check_opened);
    }
}

#[test]
fn a_failed_call_leaves_what_the_tree_names() {
    let kinds = [
        FaultKind::Error(OsError::Io),
        FaultKind::Error(OsError::NoSpace),
        FaultKind::PartialThenError(OsError::NoSpace),
    ];
    for kind in kinds {
        for at in 1.. {
            let disk = SimVfs::new();
            let tree = Tree::create(Arc::new(disk.clone()));
            disk.inject(Fault::new(kind).at(at));
            let outcome = run_on(tree, &disk);
            let struck = disk.faults_struck() > 0;
            disk.clear_faults();
            if !struck {
                assert!(outcome.is_ok(), "{kind:?} at {at}: {outcome:?}");
                break;
            }
            check_opened(&disk.kill(), &format!("{kind:?} at {at}, {outcome:?}"));
        }
    }
}
