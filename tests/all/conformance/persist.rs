//! K3 to K5: what comes into durable files, when it may be said, and what a restart finds.

use duramen_base::vfs::{MemVfs, Vfs};
use duramen_base::{Backend, DbUuid, Error, KeyspaceId, StoreHost, Timestamp, Urgency, WorkBudget};
use std::sync::Arc;

use super::fixture::{BUDGET_BYTES, Fixture};
use super::subject::{Subject, on_each_backend, on_each_backend_with_files};
use super::words::{delete, delete_range, put, rows, show};

fn key(i: usize) -> String {
    format!("{:04}", i * 37 % 500)
}

/// Commits of all kinds, `from..to` of an endless row.
fn fill<S: Subject>(store: &mut Fixture<S>, from: usize, to: usize) {
    for i in from..to {
        match i % 9 {
            3 => store.commit(&[delete(key(i / 2))]),
            5 => store.commit(&[delete_range(key(i), key(i) + "5"), put(key(i + 1), "beside a range")]),
            7 => store.commit_elsewhere(),
            _ => store.commit(&[put(key(i), format!("{i} ").repeat(i % 40)), put(key(i + 250), i.to_string())]),
        };
    }
}

fn a_new_store_has_nothing_unsaved<S: Subject>() {
    let mut store = Fixture::<S>::new();
    assert_eq!(store.store().mark().contains, Timestamp::ZERO);
    store.check_promises();
    store.reopen();
    assert!(store.rows(store.now()).is_empty());
}

fn a_clean_store_follows_the_log<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.commit(&[put("k", "v")]);
    store.persist();
    for _ in 0..3 {
        let elsewhere = store.commit_elsewhere();
        store.check_promises();
        store.host.log_synced(elsewhere);
        assert_eq!(store.store().persisted(), elsewhere, "K3: nothing unsaved");
    }
    let mine = store.commit(&[put("k", "w")]);
    store.host.log_synced(mine);
    assert!(store.store().persisted() < mine, "K3: the put is in no file");
    store.log_mark();
    store.reopen();
    assert_eq!(store.value("k"), Some(b"w".to_vec()));
}

fn persisting_makes_the_log_durable_first<S: Subject>() {
    let mut store = Fixture::<S>::new();
    fill(&mut store, 0, 50);
    assert_eq!(store.host.durable(), Timestamp::ZERO);
    store.persist();
    let mark = store.store().mark();
    assert!(mark.seq > 0 && mark.contains > Timestamp::ZERO);
    let asked = store.host.asked_durable().into_iter().max();
    assert!(asked >= Some(mark.contains.max(mark.persisted)), "K4: {mark:?} after asking for {asked:?}");
}

fn nothing_persists_once_the_log_is_poisoned<S: Subject>() {
    let mut store = Fixture::<S>::new();
    fill(&mut store, 0, 40);
    store.persist();
    fill(&mut store, 40, 120);
    let before = store.store().mark();
    store.host.refuse_durable(true);
    store.persist_soon();
    let error = loop {
        match store.store().work(WorkBudget { bytes: 64 << 10 }) {
            Ok(done) => assert!(done.more, "K4: upkeep has ended without the log"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Poisoned { .. }), "{error:?}");
    let after = store.store().mark();
    assert_eq!((after.seq, after.contains), (before.seq, before.contains), "K4: a file was switched");
    assert!(store.store().persisted() <= store.host.durable());
    // Reads go on, and a restart finds what was promised.
    let expected = store.rows(store.now());
    assert!(!expected.is_empty());
    store.reopen();
    assert_eq!(show(&store.rows(store.now())), show(&expected));
    store.persist();
    assert_eq!(show(&store.rows(store.now())), show(&expected));
}

fn a_restart_gives_the_state_before<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    for round in 0..12 {
        fill(&mut store, round * 30, round * 30 + 30);
        if round % 3 == 1 {
            store.persist();
        }
        let expected = store.rows(store.now());
        for _ in 0..2 {
            store.reopen();
            assert_eq!(show(&store.rows(store.now())), show(&expected), "K5: round {round}");
            for i in 0..500 {
                let key = format!("{i:04}").into_bytes();
                let there = expected.iter().find(|(k, _)| *k == key).map(|(_, value)| value);
                assert_eq!(store.value(&key).as_ref(), there, "K5: round {round}");
            }
        }
    }
}

fn a_restart_in_the_middle_of_upkeep_loses_nothing<S: Subject>() {
    for steps in 0..25 {
        let mut store = Fixture::<S>::forgetting();
        fill(&mut store, 0, 100);
        store.persist();
        fill(&mut store, 100, 250);
        let expected = store.rows(store.now());
        store.persist_soon();
        for step in 0..steps {
            store.work(512).expect("upkeep on a good disk");
            if step == 5 {
                // While a checkpoint or flush is on its way.
                fill(&mut store, 250, 252);
            }
        }
        let expected = if steps > 5 { store.rows(store.now()) } else { expected };
        store.reopen();
        assert_eq!(show(&store.rows(store.now())), show(&expected), "after {steps} steps");
        store.verify();
    }
}

fn replay_may_persist_on_its_way<S: Subject>() {
    for every in [1, 7] {
        let mut store = Fixture::<S>::forgetting();
        fill(&mut store, 0, 150);
        let expected = store.rows(store.now());
        let mut count = 0;
        store.reopen_with(|store| {
            count += 1;
            if count % every == 0 {
                store.persist_soon();
                store.work_until_idle();
            }
        });
        assert_eq!(show(&store.rows(store.now())), show(&expected));
        store.reopen();
        assert_eq!(show(&store.rows(store.now())), show(&expected));
    }
}

/// Commits that are applied but not yet visible may reach files, but are never promised.
fn what_is_not_visible_is_not_promised<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    store.commit(&[put("a", "0"), put("b", "0")]);
    store.persist();
    let (early, late) = (store.host.sequence(), store.host.sequence());
    store.apply_at(&[put("b", "late")], late);
    store.store().persist_to(late, Urgency::Now);
    store.work_until_idle();
    assert!(store.store().persisted() < early, "K3: {early} is not applied");
    store.apply_at(&[put("a", "early")], early);
    store.store().persist_to(late, Urgency::Now);
    store.work_until_idle();
    assert!(store.store().persisted() < early, "K3: {early} is not visible");
    store.host.publish(late);
    store.reopen();
    assert_eq!(store.rows(store.now()), rows(&[("a", "early"), ("b", "late")]));
    store.persist();
    store.reopen();
    assert_eq!(store.rows(store.now()), rows(&[("a", "early"), ("b", "late")]));
}

/// A file holds a newer state than is promised: replay passes over it, through states that never were, to the right one.
fn replay_over_newer_content_ends_right<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    store.commit(&[put("gone", "1"), put("kept", "1"), put("r1", "1"), put("r2", "1")]);
    let blocked = store.host.sequence();
    for ts_and_changes in [
        vec![put("gone", "2"), put("back", "2")],
        vec![delete("gone"), delete("back")],
        vec![delete_range("r", "s"), put("r2", "3")],
        vec![put("back", "4"), put("kept", "4")],
    ] {
        let ts = store.host.sequence();
        store.apply_at(&ts_and_changes, ts);
    }
    let last = store.host.sequenced();
    store.store().persist_to(last, Urgency::Now);
    store.work_until_idle();
    assert!(store.store().persisted() < blocked);
    store.apply_at(&[put("late", "x")], blocked);
    store.host.publish(last);
    let expected = rows(&[("back", "4"), ("kept", "4"), ("late", "x"), ("r2", "3")]);
    assert_eq!(store.rows(last), expected);
    for _ in 0..2 {
        store.reopen();
        assert_eq!(store.rows(last), expected, "K5");
        assert_eq!(store.get("gone", last).value(), None);
    }
}

fn creating_again_is_fine_until_something_is_stored<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.close();
    let env = store.env();
    S::create(&env).expect("as after a crash in the middle");
    drop(env);
    store.open().expect("what was just created");
    store.commit(&[put("k", "v")]);
    store.persist();
    store.reopen();
    assert_eq!(store.value("k"), Some(b"v".to_vec()));
}

fn a_missing_file_is_never_an_empty_store<S: Subject>() {
    let files = |vfs: &dyn Vfs, store: &Fixture<S>| vfs.list(&store.dir()).expect("its folder");
    for index in 0.. {
        let vfs = MemVfs::new();
        let mut store = Fixture::<S>::with(Arc::new(vfs.clone()), BUDGET_BYTES);
        fill(&mut store, 0, 120);
        store.persist();
        let expected = store.rows(store.now());
        store.log_mark();
        store.close();
        let Some(file) = files(&vfs, &store).into_iter().filter(|entry| !entry.is_dir).nth(index) else {
            assert!(index > 0, "a store with files has some");
            return;
        };
        vfs.remove_file(&store.dir().join(&file.name)).expect("it is there");
        store.host.restart();
        match store.open() {
            Err(Error::Corruption { .. }) => {}
            Err(error) => panic!("without {}: {error}", file.name),
            // Nothing referred to it.
            Ok(()) => {
                let now = store.host.sequenced();
                assert_eq!(show(&store.rows(now)), show(&expected), "without {}", file.name);
            }
        }
    }
}

fn a_store_of_another_database_or_keyspace_is_refused<S: Subject>() {
    let mut store = Fixture::<S>::new();
    fill(&mut store, 0, 60);
    store.persist();
    store.close();
    let mut env = store.env();
    env.db_uuid = DbUuid::from_bytes([1; 16]);
    assert!(matches!(S::open(env), Err(Error::Corruption { .. })), "another database");
    let mut env = store.env();
    env.keyspace = KeyspaceId::new(8);
    assert!(matches!(S::open(env), Err(Error::Corruption { .. })), "another keyspace");
}

on_each_backend!(
    a_new_store_has_nothing_unsaved,
    a_restart_gives_the_state_before,
    a_restart_in_the_middle_of_upkeep_loses_nothing,
    replay_may_persist_on_its_way,
    what_is_not_visible_is_not_promised,
    replay_over_newer_content_ends_right,
    creating_again_is_fine_until_something_is_stored,
);
on_each_backend_with_files!(
    a_clean_store_follows_the_log,
    persisting_makes_the_log_durable_first,
    nothing_persists_once_the_log_is_poisoned,
    a_missing_file_is_never_an_empty_store,
    a_store_of_another_database_or_keyspace_is_refused,
);
