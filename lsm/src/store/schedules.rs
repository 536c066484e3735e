//! Rotation, flushes and merges beside a writer and readers, under every schedule tried.

use duramen_base::store_schedules::{Sizes, readers_beside_writer_and_upkeep};
use duramen_base::sync::{check_pct, check_random};
use duramen_base::{BackendKind, KeyspaceOptions};

use super::*;

/// Memory for one commit: each apply rotates.
fn tiny() {
    let options = KeyspaceOptions { memtable_bytes: 1, ..KeyspaceOptions::new(BackendKind::Lsm) };
    let tuning = Tuning { manifest_bytes_max: Some(256), ..Tuning::tiny() };
    readers_beside_writer_and_upkeep(&Sizes::roomy(options), Lsm::create, move |env| Lsm::open_tuned(env, tuning));
}

#[test]
fn readers_see_their_snapshot_while_memtables_rotate_and_flush() {
    check_random(300, tiny);
    check_pct(300, 3, tiny);
}

/// One memtable for all commits: only flushes asked for switch it.
#[test]
fn readers_see_their_snapshot_while_a_flush_takes_the_active_memtable() {
    let roomy = || {
        let options = KeyspaceOptions { memtable_bytes: 64 << 10, ..KeyspaceOptions::new(BackendKind::Lsm) };
        readers_beside_writer_and_upkeep(&Sizes::roomy(options), Lsm::create, Lsm::open);
    };
    check_random(300, roomy);
    check_pct(300, 3, roomy);
}
