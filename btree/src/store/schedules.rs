//! The drain, checkpoints, splits and eviction beside a writer and readers, under every schedule tried.

use duramen_base::store_schedules::{Sizes, readers_beside_writer_and_upkeep};
use duramen_base::sync::{check_pct, check_random};
use duramen_base::{BackendKind, KeyspaceOptions};

use crate::BTree;

/// Two keys fill a leaf.
fn small_pages() -> KeyspaceOptions {
    KeyspaceOptions { page_bytes: 1 << 10, memtable_bytes: 1, ..KeyspaceOptions::new(BackendKind::BTree) }
}

fn check(sizes: &'static (impl Fn() -> Sizes + Sync)) {
    let run = move || readers_beside_writer_and_upkeep(&sizes(), BTree::create, BTree::open);
    check_random(300, run);
    check_pct(300, 3, run);
}

/// One leaf, one buffer for all commits: it is frozen when a checkpoint is asked for.
#[test]
fn readers_see_their_snapshot_while_a_buffer_is_drained() {
    check(&|| Sizes::roomy(KeyspaceOptions::new(BackendKind::BTree)));
}

#[test]
fn readers_see_their_snapshot_while_leaves_split() {
    check(&|| Sizes { value_bytes: 400, ..Sizes::roomy(small_pages()) });
}

/// The page table alone exceeds the budget: each clean leaf goes at once, each apply freezes the buffer, and committers drain it.
#[test]
fn readers_see_their_snapshot_while_leaves_leave_memory_and_come_back() {
    check(&|| Sizes { options: small_pages(), value_bytes: 400, budget_bytes: 4 << 10 });
}
