//! The bytes of a small store, of every form that tables ever had.

use super::*;

/// The files of a small store, for ever readable: every version of the engine opens all of them. Those in `counted` say how many of their versions
/// are tombstones; before, tables did not.
#[test]
fn a_store_has_these_bytes_and_those_of_before_open() {
    let first = [
        ("CURRENT", include_str!("../../../tests/golden/CURRENT.hex")),
        ("MANIFEST-1", include_str!("../../../tests/golden/MANIFEST-1.hex")),
        ("1.sst", include_str!("../../../tests/golden/1.sst.hex")),
    ];
    let counted = [
        ("CURRENT", include_str!("../../../tests/golden/CURRENT.hex")),
        ("MANIFEST-1", include_str!("../../../tests/golden/MANIFEST-1.counted.hex")),
        ("1.sst", include_str!("../../../tests/golden/1.sst.counted.hex")),
    ];
    let sim = with_dir(SimVfs::new());
    let mut bench = Bench::new(sim.clone());
    bench.host.set_snapshots(&[1]);
    bench.commit(&[(OpKind::Put, b"oak".to_vec(), b"soft".to_vec()), (OpKind::Put, b"yew".to_vec(), b"red".to_vec())]);
    bench.commit(&[
        (OpKind::DeleteRange, b"p".to_vec(), b"z".to_vec()),
        (OpKind::Delete, b"ash".to_vec(), Vec::new()),
        (OpKind::Put, b"oak".to_vec(), b"hard".to_vec()),
    ]);
    bench.persist();
    let image = sim.image();
    for (name, text) in counted {
        check_golden(&image.read(&Path::new("ks").join(name)).expect(name), text);
    }
    [first, counted].iter().for_each(|files| check_opening(files, 2, &bench.oracle));
}

/// The same for tables that a merge has written, of values without timestamps beside one that somebody does not see yet. What was merged is there, too.
#[test]
fn a_merged_store_has_these_bytes_and_opens() {
    let files = [
        ("CURRENT", include_str!("../../../tests/golden/CURRENT.hex")),
        ("MANIFEST-1", include_str!("../../../tests/golden/MANIFEST-1.frozen.hex")),
        ("3.sst", include_str!("../../../tests/golden/3.sst.frozen.hex")),
    ];
    let sim = with_dir(SimVfs::new());
    let mut bench = Bench::new(sim.clone());
    bench.commit(&[(OpKind::Put, b"oak".to_vec(), b"hard".to_vec()), (OpKind::Put, b"yew".to_vec(), b"red".to_vec())]);
    bench.persist();
    bench.host.set_snapshots(&[1]);
    bench.put("pine", "soft");
    bench.persist();
    bench.lsm().compact(KeyBounds::ALL);
    bench.settle();
    let image = sim.image();
    for (name, text) in files {
        check_golden(&image.read(&Path::new("ks").join(name)).expect(name), text);
    }
    check_opening(&files, 4, &bench.oracle);
}

/// That a store of these files opens and holds two commits after so many edits.
fn check_opening(files: &[(&str, &str)], seq: u64, oracle: &Oracle) {
    let old = disk();
    for (name, text) in files {
        let file = File::open(&old, &Path::new("ks").join(name), OpenMode::CreateNew).expect("a good disk");
        file.write_all_at(&golden(text), 0).expect("a good disk");
    }
    let host = Arc::new(TestHost::new(BUDGET_BYTES));
    let found: Bench<MemVfs> = Bench { oracle: oracle.clone(), now: 2, ..Bench::around(old, host, None) };
    let found = found.opened();
    assert_eq!(found.lsm().mark(), StoreMark { seq, persisted: ts(2), contains: ts(2) });
    found.host.set(2, 2);
    found.check(1);
    found.check(2);
    found.verify();
}
