//! Levels: what goes when, and what must stay.

use super::*;
use crate::merge::pick::SIZE_RATIO;
use crate::span::{End, Span};
use crate::tuning::{Layout, Tuning};
use crate::version::Run;

/// Versions in all tables, and how many of them are tombstones or range tombstones.
fn versions<V: Vfs + Clone>(bench: &Bench<V>) -> (u64, u64) {
    let sv = bench.store().current();
    let tables = || sv.version.runs().flat_map(Run::all);
    let tombstones = tables().map(|table| table.props().tombstones + table.meta().fragments).sum();
    (tables().map(|table| table.meta().versions).sum(), tombstones)
}

/// `keys` of them in a scattered order; no multiple of 7.
fn load(bench: &mut Bench<MemVfs>, keys: u32) {
    for number in 0..keys {
        bench.put(&format!("key-{:04}", number * 7 % keys), "a value that takes some room in a table");
    }
    bench.persist();
}

/// Nine in ten of 600 keys are deleted and flushed in parts of so many; the versions and tombstones that are left.
fn delete_most_in_parts(of: usize) -> (u64, u64) {
    let mut bench = Bench::new(disk());
    load(&mut bench, 600);
    assert!(bench.levels().len() > 5, "several levels: {:?}", bench.levels());
    let deleted: Vec<u32> = (0..600).filter(|number: &u32| !number.is_multiple_of(10)).collect();
    for part in deleted.chunks(of) {
        for number in part {
            bench.commit(&[(OpKind::Delete, format!("key-{number:04}").into_bytes(), Vec::new())]);
        }
        bench.persist();
    }
    bench.check(bench.now);
    bench.verify();
    versions(&bench)
}

#[test]
fn of_deleted_keys_nothing_is_left_though_nothing_forces_a_merge() {
    assert_eq!(delete_most_in_parts(60), (60, 0));
}

/// It depends on where tables end whether the last few are worth that what lies below them is written anew (Y2).
#[test]
fn of_keys_deleted_in_parts_of_any_size_next_to_nothing_is_left() {
    for of in [18, 27, 45, 90, 270, 540] {
        let (versions, tombstones) = delete_most_in_parts(of);
        assert!(tombstones < 8 && versions <= 60 + 2 * tombstones, "parts of {of}: {versions}, {tombstones}");
    }
}

#[test]
fn tombstones_stay_for_a_reader_and_go_when_it_is_gone() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 200);
    let before = bench.now;
    bench.host.set_snapshots(&[before]);
    for number in 0..200 {
        bench.commit(&[(OpKind::Delete, format!("key-{number:04}").into_bytes(), Vec::new())]);
    }
    bench.persist();
    assert_eq!(versions(&bench), (400, 200));
    bench.check(before);
    bench.check(bench.now);
    bench.host.set_snapshots(&[]);
    bench.settle();
    assert_eq!(versions(&bench), (0, 0), "{:?}", bench.levels());
    assert_eq!(bench.files().iter().filter(|name| name.ends_with(".sst")).count(), 0);
}

#[test]
fn a_deleted_range_goes_without_being_read() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 600);
    let blocks_before = bench.lsm().stats().reads;
    bench.commit(&[(OpKind::DeleteRange, b"key-".to_vec(), b"key-9".to_vec())]);
    bench.persist();
    assert_eq!(versions(&bench), (0, 0), "{:?}", bench.levels());
    assert_eq!(bench.lsm().stats().reads, blocks_before, "MG2");
    bench.check(bench.now);
}

/// Bytes that the merges of a compaction ask for ahead, with a commit before each of their steps or without.
fn asked_by_a_compaction(commits_beside: bool) -> u64 {
    let mut bench = Bench::new(disk());
    bench.lsm = None;
    let tuning = Tuning { table_bytes: 64 << 10, base_bytes: 64 << 10, ..tiny() };
    let env = env(&bench.disk, &bench.host, 32 << 10, 1024);
    bench.lsm = Some(Lsm::open_tuned(env, tuning).expect("whole"));
    load(&mut bench, 2_000);
    // To be merged with what lies below, and none of it in the cache.
    load(&mut bench, 2_000);
    bench.store().env.pool.give_back(1 << 20);
    let before = bench.disk.expected_bytes();
    let request = bench.lsm().compact(KeyBounds::ALL);
    while bench.lsm().compacted() < request {
        if commits_beside {
            bench.put("key-0000", "anew");
        }
        bench.work();
    }
    let asked = bench.disk.expected_bytes() - before;
    bench.check(bench.now); // Its scans ask, too.
    asked
}

#[test]
fn a_merge_asks_ahead_while_commits_come_and_not_in_quiet_times() {
    assert_eq!(asked_by_a_compaction(false), 0, "MG5: readers have the disk");
    let asked = asked_by_a_compaction(true);
    assert!(asked > 32 << 10, "MG5: {asked} bytes");
}

/// Each key is deleted while an older version lies two levels further down, below tables that do not have it.
#[test]
fn a_tombstone_stays_over_what_lies_in_any_level_below() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 600);
    for round in 0..6u32 {
        for number in (0..600).filter(|number| number % 30 == round * 5) {
            bench.commit(&[(OpKind::Delete, format!("key-{number:04}").into_bytes(), Vec::new())]);
            bench.put(&format!("key-{:04}", (number + 7) % 600), "newer");
        }
        bench.persist();
        bench.check(bench.now);
    }
    bench.verify();
}

#[test]
fn older_versions_stay_for_a_reader_and_go_when_it_is_gone() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 300);
    let before = bench.now;
    bench.host.set_snapshots(&[before]);
    load(&mut bench, 300);
    bench.lsm().compact(KeyBounds::ALL);
    bench.settle();
    assert_eq!(versions(&bench).0, 600, "both versions of each key");
    bench.check(before);
    bench.host.set_snapshots(&[]);
    bench.settle();
    assert_eq!(versions(&bench).0, 300);
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn tables_of_a_level_never_overlap_and_bytes_lie_in_the_last() {
    let mut bench = Bench::new(disk());
    bench.lsm = None;
    let tuning = Tuning { size_ratio: SIZE_RATIO, base_bytes: 1 << 10, ..tiny() };
    bench.lsm = Some(Lsm::open_tuned(env(&bench.disk, &bench.host, 4096, 1024), tuning).expect("whole"));
    busy(&mut bench, 300);
    load(&mut bench, 900);
    let sv = bench.store().current();
    for run in sv.version.levels.iter().skip(1).flatten() {
        for (number, table) in run.all().enumerate() {
            assert!(run.all().skip(number + 1).all(|other| !other.span().overlaps(&table.span())), "Z1");
        }
    }
    let bytes: Vec<u64> = sv.version.levels.iter().map(|runs| runs.iter().map(Run::bytes).sum()).collect();
    assert!(bytes[6] * 10 >= bytes.iter().sum::<u64>() * 7, "{bytes:?}");
}

#[test]
fn keys_written_in_order_are_written_twice_at_most() {
    let mut bench = Bench::new(disk());
    for number in 0..1500u32 {
        bench.put(&format!("key-{number:05}"), "a value that takes some room in a table");
        bench.work();
    }
    bench.persist();
    let stats = bench.lsm().stats();
    assert!(stats.written_bytes <= stats.disk_bytes * 2 + stats.disk_bytes / 4, "{stats:?}");
}

#[test]
fn a_store_goes_on_under_another_picker() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 300);
    let levels_before = bench.levels()[1..].to_vec();
    bench.lsm = None;
    let tuning = Tuning { layout: Layout::Tiered, ..tiny() };
    bench.lsm = Some(Lsm::open_tuned(env(&bench.disk, &bench.host, 4096, 1024), tuning).expect("whole"));
    busy(&mut bench, 400);
    bench.persist();
    assert_eq!(bench.levels()[1..], levels_before, "tiers are all in level 0");
    bench.check(bench.now);
    bench.open().expect("whole");
    bench.settle();
    bench.check(bench.now);
    bench.verify();
}

fn compact<V: Vfs + Clone>(bench: &Bench<V>, low: &[u8], high: &[u8]) {
    let request = bench.lsm().compact(KeyBounds::half_open(low, high));
    for _ in 0..10_000 {
        if bench.lsm().compacted() >= request {
            return;
        }
        bench.work();
    }
    panic!("a compaction ends");
}

/// Numbers of the tables of the last level about these keys, and of those about none of them.
fn last_tables<V: Vfs + Clone>(bench: &Bench<V>, low: &[u8], high: &[u8]) -> (Vec<u64>, Vec<u64>) {
    let keys = Span { low, end: End::Before(high) };
    let sv = bench.store().current();
    let last = sv.version.levels.last().expect("levels").iter().flat_map(Run::all);
    let (inside, outside): (Vec<_>, Vec<_>) = last.partition(|table| table.span().overlaps(&keys));
    let numbers = |tables: Vec<&Arc<Table>>| tables.iter().map(|table| table.meta().no).collect();
    (numbers(inside), numbers(outside))
}

#[test]
fn a_compaction_of_a_range_brings_its_keys_down_and_leaves_tables_far_away() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 600);
    compact(&bench, b"", b"z");
    for number in 0..20 {
        bench.put(&format!("key-{:04}", 100 + number), "newer");
    }
    let (low, high) = (&b"key-0100"[..], &b"key-0120"[..]);
    let (inside, outside) = last_tables(&bench, low, high);
    assert!(!inside.is_empty() && outside.len() > inside.len());
    compact(&bench, low, high);
    assert!(last_tables(&bench, low, high).0.iter().all(|no| !inside.contains(no)), "they were merged");
    let kept = outside.iter().filter(|no| last_tables(&bench, low, high).1.contains(no)).count();
    assert!(kept * 2 > outside.len(), "{kept} of {} tables far away stay", outside.len());
    assert!(bench.store().current().version.levels[0].is_empty());
    let progress = bench.lsm().stats().compaction;
    assert!(progress.bytes_done > 0 && progress.bytes_to_do == 0 && progress.requests == 0, "{progress:?}");
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn a_stopped_compaction_leaves_no_file_and_loses_nothing() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 600);
    for number in 0..300 {
        bench.put(&format!("key-{:04}", number * 2), "newer");
    }
    bench.persist();
    let request = bench.lsm().compact(KeyBounds::ALL);
    let is_merging = || bench.store().upkeep.lock().merge_is_asked();
    for _ in (0..10_000).take_while(|_| !is_merging()) {
        bench.work();
    }
    assert!(is_merging() && bench.lsm().compacted() < request, "it is under way");
    bench.lsm().stop_compaction(request);
    assert!(bench.lsm().compacted() >= request, "CD1: nobody waits for it");
    bench.work();
    assert!(!is_merging(), "W7");
    bench.settle();
    let tables = bench.store().current().tables().count();
    assert_eq!(bench.files().iter().filter(|name| name.ends_with(".sst")).count(), tables, "W7");
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn a_paused_store_flushes_and_merges_no_more_than_level_0_needs() {
    let mut bench = Bench::new(disk());
    bench.lsm().pause_compaction(true);
    let mut runs_max = 0;
    for number in 0..600u32 {
        bench.put(&format!("key-{:04}", number * 7 % 600), "a value that takes some room in a table");
        bench.settle();
        let runs = bench.store().current().version.levels[0].len();
        assert!(runs <= crate::merge::pick::RUNS_LIMIT, "W5: {runs} runs");
        runs_max = runs_max.max(runs);
    }
    bench.persist();
    assert_eq!(runs_max + 1, crate::merge::pick::RUNS_LIMIT, "W6: there is a merge at the limit");
    bench.lsm().pause_compaction(false);
    bench.settle();
    assert!(bench.store().current().version.levels[0].len() < crate::merge::pick::RUNS_MAX);
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn a_compaction_that_is_asked_for_is_carried_out_in_a_pause() {
    let mut bench = Bench::new(disk());
    bench.lsm().pause_compaction(true);
    load(&mut bench, 300);
    compact(&bench, b"", b"z");
    let levels = bench.levels();
    assert!(bench.store().current().version.levels[0].is_empty(), "CD2: {levels:?}");
    bench.check(bench.now);
}

#[test]
fn in_quiet_times_everything_goes_down_and_one_run_is_left() {
    let mut bench = Bench::new(disk());
    load(&mut bench, 600);
    load(&mut bench, 600);
    let runs = |bench: &Bench<MemVfs>| bench.store().current().version.runs().count();
    assert!(runs(&bench) > 2, "{:?}", bench.levels());
    let clock = Arc::new(duramen_base::clock::ManualClock::default());
    bench.lsm = None;
    let env = StoreEnv { clock: Arc::clone(&clock) as Arc<_>, ..env(&bench.disk, &bench.host, 4096, 1024) };
    bench.lsm = Some(Lsm::open_tuned(env, tiny()).expect("whole"));
    bench.replay();
    bench.settle();
    assert!(runs(&bench) > 2, "somebody may go on writing");
    clock.advance(Duration::from_secs(1));
    bench.settle();
    assert_eq!(runs(&bench), 1, "QT1: {:?}", bench.levels());
    assert_eq!(versions(&bench), (600, 0), "and what was overwritten is gone");
    bench.check(bench.now);
    bench.verify();
}

/// A store of one level below level 0, with so many keys in tables of about so many bytes.
fn flat(keys: u32, table_bytes: u64) -> (Bench<MemVfs>, Arc<duramen_base::clock::ManualClock>) {
    let clock = Arc::new(duramen_base::clock::ManualClock::default());
    let mut bench = Bench::new(disk());
    bench.lsm = None;
    let env = StoreEnv { clock: Arc::clone(&clock) as Arc<_>, ..env(&bench.disk, &bench.host, 4096, 1024) };
    let flat = Tuning { table_bytes, base_bytes: 1 << 30, ..tiny() };
    bench.lsm = Some(Lsm::open_tuned(env, flat).expect("whole"));
    load(&mut bench, keys);
    compact(&bench, b"", b"z");
    assert_eq!(bench.levels().iter().filter(|&&tables| tables > 0).count(), 1);
    (bench, clock)
}

/// QT3.
#[test]
fn in_quiet_times_few_runs_over_much_data_are_merged_too() {
    let (mut bench, clock) = flat(5000, 64 << 10);
    let zero = |bench: &Bench<MemVfs>| bench.store().current().version.levels[0].len();
    for number in 0..crate::merge::pick::RUNS_MIN {
        bench.put("key-0000", "anew");
        bench.put("key-4999", "anew");
        bench.persist();
        assert_eq!(zero(&bench), number + 1, "CO3 of the columns: {:?}", bench.levels());
    }
    let levels = bench.lsm().stats().levels;
    assert!(levels[0].bytes * 8 < levels[6].bytes, "too little for QT1: {levels:?}");
    clock.advance(Duration::from_secs(1));
    bench.settle();
    assert_eq!(zero(&bench), 0, "QT3: {:?}", bench.levels());
    bench.check(bench.now);
    bench.verify();
}

/// CO2 of the columns.
#[test]
fn a_flush_ends_its_tables_at_the_fences_of_what_is_below() {
    let (mut bench, _) = flat(600, 1 << 10);
    let fences = crate::merge::pick::fences(&bench.store().current().version.levels, &bench.store().limits());
    assert!(fences.len() >= 2, "{:?}", bench.levels());
    bench.lsm().pause_compaction(true);
    for number in (0..600).step_by(5) {
        bench.put(&format!("key-{number:04}"), "anew");
    }
    bench.flush();
    let sv = bench.store().current();
    let first = sv.version.levels[0].last().expect("flushed");
    let tables = || first.tables.iter().map(|table| table.meta());
    assert!(tables().count() > 2, "{:?}", bench.levels());
    let is_cut = |low: &[u8], high: &[u8]| fences.iter().all(|fence| high <= &**fence || &**fence < low);
    assert!(tables().all(|table| is_cut(&table.min_key, &table.max_key)), "RW3");
}
