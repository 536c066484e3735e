//! Admission: memory is set aside before a commit is sequenced, and comes back.

use std::sync::Arc;

use duramen_base::vfs::MemVfs;
use duramen_base::{Admit, Backend, Budget, Deadline, Error, StoreHost, Timestamp};

use super::fixture::{Fixture, NO_WAIT};
use super::subject::{Subject, on_each_backend, on_each_backend_with_files};
use super::words::{batch, ops_of, put};

const BUDGET_BYTES: u64 = 512 << 10;

fn small<S: Subject>() -> Fixture<S> {
    let store = Fixture::with(Arc::new(MemVfs::new()), BUDGET_BYTES);
    store.host.follow_horizon();
    store
}

fn budget<S: Subject>(store: &Fixture<S>) -> &Arc<Budget> {
    store.host.budget()
}

fn a_batch_that_can_never_fit_is_refused<S: Subject>() {
    let mut store = small::<S>();
    store.commit(&[put("k", "v")]);
    let used = budget(&store).used();
    let changes: Vec<_> = (0..16).map(|i| put([i], vec![i; 64 << 10])).collect();
    let too_large = batch(&changes);
    for deadline in [NO_WAIT, Deadline(None)] {
        match store.store().admit(&ops_of(&too_large), deadline) {
            Err(Error::TxnTooLarge { needed, budget }) => assert!(needed > budget && budget <= BUDGET_BYTES),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(budget(&store).used(), used);
    store.commit(&[put("k", "w")]);
    assert_eq!(store.value("k"), Some(b"w".to_vec()));
    assert_eq!(store.value([0]), None);
}

/// K7: it would fit if the others were gone.
fn memory_that_others_hold_is_no_reason_to_refuse_for_good<S: Subject>() {
    let mut store = small::<S>();
    store.commit(&[put("k", "v")]);
    let batch = batch(&[put("l", vec![7; 60_000])]);
    let held = budget(&store).reserve_anyway(2 * BUDGET_BYTES);
    let used = budget(&store).used();
    for deadline in [NO_WAIT, Deadline(None)] {
        match store.store().admit(&ops_of(&batch), deadline).expect("a moment's lack of memory is no error") {
            Admit::Granted(admission) => assert!(admission.reservation.bytes() >= 60_000),
            Admit::LacksMemory { needed } => assert!((60_000..BUDGET_BYTES).contains(&needed)),
        }
        assert!(budget(&store).used() <= used, "either way nothing stays set aside");
    }
    drop(held);
    assert!(store.store().admit(&ops_of(&batch), NO_WAIT).expect("no fault").granted().is_some());
}

/// K7: it was accepted under a larger budget.
fn a_logged_batch_is_taken_whatever_the_budget_is<S: Subject>() {
    let store = small::<S>();
    let changes: Vec<_> = (0..16).map(|i| put([i], vec![i; 64 << 10])).collect();
    let large = batch(&changes);
    let admission = store.store().admit_logged(&[(Timestamp::new(1), ops_of(&large))]).expect("no fault");
    assert!(admission.reservation.bytes() > BUDGET_BYTES);
    drop(admission);
    assert!(!budget(&store).is_over());
}

fn an_admission_that_is_not_used_gives_its_room_back<S: Subject>() {
    let mut store = small::<S>();
    for i in 0..20 {
        store.commit(&[put([i], vec![i; 500])]);
    }
    let used = budget(&store).used();
    let changes: Vec<_> = (0..3).map(|i| put([i], vec![i; 10_000])).collect();
    let batch = batch(&changes);
    for _ in 0..200 {
        let admission =
            store.store().admit(&ops_of(&batch), NO_WAIT).expect("no fault").granted().expect("room for one");
        assert!(admission.reservation.bytes() >= 30_000, "what the values alone need");
        assert!(budget(&store).used() >= used + 30_000);
        drop(admission);
    }
    assert_eq!(budget(&store).used(), used);
}

fn what_is_applied_is_counted<S: Subject>() {
    let mut store = small::<S>();
    let before = budget(&store).used();
    for i in 0..10 {
        let changes: Vec<_> = (0..100).map(|j| put([i, j], vec![i; 100])).collect();
        store.commit(&changes);
    }
    assert!(budget(&store).used() >= before + 100_000, "memory is held until it is in files");
}

/// Sixteen times the budget passes through, as long as upkeep keeps up.
fn memory_stays_flat_as_data_passes_through<S: Subject>() {
    let mut store = small::<S>();
    for i in 0..2000_u32 {
        let key = i.wrapping_mul(0x9e37_79b1).to_be_bytes();
        store.commit(&[put(key, vec![i as u8; 4000])]);
        if i % 10 == 0 {
            store.persist();
        }
        // What may not fail may go over the limit, by little.
        let used = budget(&store).used();
        assert!(used < BUDGET_BYTES + BUDGET_BYTES / 8, "{used} of {BUDGET_BYTES} bytes after {i} commits");
    }
    store.persist();
    assert_eq!(store.rows(store.now()).len(), 2000);
    assert!(!budget(&store).is_over());
}

on_each_backend!(
    a_batch_that_can_never_fit_is_refused,
    memory_that_others_hold_is_no_reason_to_refuse_for_good,
    a_logged_batch_is_taken_whatever_the_budget_is,
    an_admission_that_is_not_used_gives_its_room_back,
    what_is_applied_is_counted
);
on_each_backend_with_files!(memory_stays_flat_as_data_passes_through);
