//! The drain, checkpoints, splits, merges and eviction beside a writer and readers, under every schedule tried.

use std::sync::atomic::{AtomicBool, Ordering};

use duramen_base::store_schedules::{Sizes, readers_beside_writer_and_upkeep};
use duramen_base::sync::{Arc, check_pct, check_random};
use duramen_base::{BackendKind, KeyspaceOptions, StoreStats};

use crate::BTree;

/// Two keys fill a leaf.
fn small_pages() -> KeyspaceOptions {
    KeyspaceOptions { page_bytes: 1 << 10, memtable_bytes: 1, ..KeyspaceOptions::new(BackendKind::BTree) }
}

/// Some of the schedules must have `met` what the test is about.
fn check(sizes: &Sizes, met: fn(&StoreStats) -> bool) {
    let has_met = Arc::new(AtomicBool::new(false));
    let run = {
        let (sizes, has_met) = (sizes.clone(), Arc::clone(&has_met));
        move || {
            let stats = readers_beside_writer_and_upkeep(&sizes, BTree::create, BTree::open);
            has_met.fetch_or(met(&stats), Ordering::Relaxed);
        }
    };
    check_random(300, run.clone());
    check_pct(300, 3, run);
    assert!(has_met.load(Ordering::Relaxed), "no schedule met it");
}

/// One leaf, one buffer for all commits: it is frozen when a checkpoint is asked for.
#[test]
fn readers_see_their_snapshot_while_a_buffer_is_drained() {
    check(&Sizes::roomy(KeyspaceOptions::new(BackendKind::BTree)), |stats| stats.persists > 0);
}

#[test]
fn readers_see_their_snapshot_while_leaves_split() {
    check(&Sizes { value_bytes: 400, ..Sizes::roomy(small_pages()) }, |stats| stats.depth > 1);
}

/// The third commit deletes what fills some leaves: they go, or go together with a neighbour.
#[test]
fn readers_see_their_snapshot_while_leaves_merge() {
    check(&Sizes { value_bytes: 400, rows_between: 4, ..Sizes::roomy(small_pages()) }, |stats| stats.pages_merged > 0);
}

/// The page table alone exceeds the budget: each clean leaf goes at once, each apply freezes the buffer, and committers drain it.
#[test]
fn readers_see_their_snapshot_while_leaves_leave_memory_and_come_back() {
    let sizes = Sizes { options: small_pages(), value_bytes: 400, rows_between: 0, budget_bytes: 4 << 10 };
    check(&sizes, |stats| stats.reads > 0);
}
