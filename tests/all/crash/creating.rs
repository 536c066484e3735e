//! A crash at every operation of creating a database, with and without a keyspace behind it: the next open succeeds, and creates it if need be.

use std::sync::atomic::AtomicU64;

use duramen_base::vfs::sim::SimVfs;

use super::again::crash_again;
use super::check::{Depth, Promise, look};
use super::history::History;
use super::run::{BOTH, PATH, Plan, Run, builder};
use super::states::each_state;

/// A run that creates and closes.
const NOTHING: Plan =
    Plan { seed: 0, threads: 1, turns: 0, closes: true, big_values: false, upkeep: true, backends: BOTH };

/// Crashes everywhere in `run`, and everywhere in opening what each of those crashes left.
fn create_again_and_again(run: &Run) {
    let (mut states, again) = (0, AtomicU64::new(0));
    each_state(&run.journal, &Promise::default(), 8, |state| {
        states += 1;
        let found = look(run, state.image.clone(), Depth::ALL)?;
        crash_again(run, &state.image, &found, 1, &again)?;
        Ok(found)
    })
    .unwrap_or_else(|complaint| panic!("DURAMEN_SEED={}: {complaint}", crate::random::seed()));
    let again = again.into_inner();
    println!("{states} states of {} entries, and {again} of creating again", run.journal.len());
    assert!(states > 30 && again > 300, "{states} states, {again} of creating again");
}

/// Nothing but an open.
fn bare() -> Run {
    let disk = SimVfs::new();
    builder(&disk).open(PATH).expect("a good disk").close().expect("a good disk");
    let history = History::new(Default::default());
    let (journal, keyspaces) = (disk.journal(), Default::default());
    Run {
        plan: NOTHING,
        journal,
        history,
        keyspaces,
        persists: [0, 0],
        cut_log: false,
        stores: 0,
        levels: 0,
        saved_bytes: 0,
    }
}

#[test]
fn a_crash_while_creating_a_database_can_be_repeated() {
    create_again_and_again(&bare());
}

#[test]
fn a_crash_while_creating_keyspaces_can_be_repeated() {
    create_again_and_again(&Run::new(NOTHING));
}

#[test]
fn a_database_that_was_opened_survives_the_loss_of_all_that_was_not_synced() {
    let disk = SimVfs::new();
    let db = builder(&disk).open(PATH).expect("a good disk");
    let uuid = db.uuid();
    for model in super::states::MODELS {
        let journal = disk.journal();
        let found = journal.crash_at(journal.len(), model, duramen_base::vfs::sim::Keep::None, 512);
        let again = builder(&SimVfs::on(found)).create_if_missing(false).open(PATH).expect("it was created");
        assert_eq!(again.uuid(), uuid, "{model:?}");
    }
}
