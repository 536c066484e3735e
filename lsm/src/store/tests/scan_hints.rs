//! What scans copy out of memtables again and again goes down for them.

use super::*;

/// Scans all so many times, and lets upkeep do what it finds.
fn scan(bench: &Bench<MemVfs>, times: usize) {
    for _ in 0..times {
        let mut cursor = bench.lsm().cursor(ts(bench.now), KeyBounds::ALL, ScanOpts::default()).expect("a cursor");
        while cursor.next().expect("readable") {}
    }
    bench.settle();
}

/// Two hundred keys in the last level, and so many of them anew in the memtable.
fn overwritten(count: usize) -> Bench<MemVfs> {
    let mut bench = Bench::new(disk());
    for number in 0..200 {
        bench.put(&format!("key-{number:04}"), &"v".repeat(100));
    }
    bench.persist();
    for number in 0..count {
        bench.put(&format!("key-{:04}", 7 * number), &"w".repeat(50));
    }
    bench.settle();
    assert!(!bench.store().current().active.is_empty(), "nothing asks for a flush yet");
    bench
}

#[test]
fn what_scans_copied_several_times_goes_down_for_them() {
    let bench = overwritten(8);
    scan(&bench, 20);
    assert!(!bench.store().current().active.is_empty(), "SH1: a few scans are not worth a rewriting");
    scan(&bench, 2_000);
    let sv = bench.store().current();
    assert!(sv.active.is_empty() && sv.frozen.is_empty(), "SH1");
    let above: usize = sv.version.levels.iter().take(sv.version.last_level()).map(Vec::len).sum();
    assert_eq!(above, 0, "all of it went down");
    bench.check(bench.now);
}

/// A hundred keys in the last level, so many of them deleted in the memtable.
fn deleted(count: usize) -> Bench<MemVfs> {
    let changes = |kind, count, value: &str| -> Vec<Change> {
        (0..count).map(|number| (kind, format!("key-{number:04}").into(), value.into())).collect()
    };
    let mut bench = Bench::new(disk());
    bench.commit(&changes(OpKind::Put, 100, "v"));
    bench.persist();
    bench.commit(&changes(OpKind::Delete, count, ""));
    bench.settle();
    assert!(!bench.store().current().active.is_empty(), "nothing asks for a flush yet");
    bench
}

#[test]
fn what_one_scan_met_deleted_goes_down_if_that_is_worth_a_rewriting() {
    let bench = deleted(25);
    scan(&bench, 1);
    let sv = bench.store().current();
    assert!(sv.active.is_empty() && sv.frozen.is_empty(), "SH4");
    let left: u64 = sv.version.tables().map(|table| table.meta().versions).sum();
    assert_eq!(left, 75, "the deleted keys are gone, and what deleted them");
    bench.check(bench.now);
}

#[test]
fn few_deleted_keys_among_many_are_not_worth_a_rewriting() {
    let bench = deleted(24);
    scan(&bench, 3);
    assert!(!bench.store().current().active.is_empty(), "SH4");
    bench.check(bench.now);
}

#[test]
fn a_memtable_with_next_to_nothing_is_not_flushed_for_scans() {
    let mut bench = overwritten(1);
    scan(&bench, 16_000);
    assert!(!bench.store().current().active.is_empty(), "SH2");
    for number in 0..6 {
        bench.put(&format!("key-{number:04}"), "more");
    }
    bench.settle();
    assert!(bench.store().current().active.is_empty(), "SH2: what was copied counts on");
    bench.check(bench.now);
}
