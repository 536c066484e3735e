//! One promise at a time, on a run that nothing but its own lines decide: what the mutants break is found here within a moment.
//!
//! And that the checker of the enumeration finds loss where there is some: on a disk that lies about syncs.

use std::sync::Arc;

use duramen::seams::SystemClock;
use duramen::{BackendKind, Database, Durability, Error, Keyspace, Reader, TxnOptions};
use duramen_base::vfs::sim::{Fault, FaultKind, Image, Keep, OpKind, SimVfs};
use duramen_base::vfs::{File, OpenMode};

use super::check::{Depth, Promise, look};
use super::run::{PATH, Plan, Run, builder, options};
use super::states::{MODELS, each_state};

const KINDS: [BackendKind; 2] = [BackendKind::BTree, BackendKind::Lsm];

/// A database with one keyspace of each kind.
struct Bench {
    disk: SimVfs,
    db: Database,
    keyspaces: [Keyspace; 2],
}

impl Bench {
    fn new() -> Bench {
        Bench::on(SimVfs::new())
    }

    fn on(disk: SimVfs) -> Bench {
        // The log is cut only where a test asks for a checkpoint.
        // Time passes, so that a wait that a mutant made endless ends.
        let clock = Arc::new(SystemClock::new());
        let db = builder(&disk).clock(clock).log_bytes_before_checkpoint(1 << 30).open(PATH).expect("a good disk");
        let keyspaces = KINDS.map(|kind| db.keyspace(&kind.to_string(), options(kind)).expect("a good disk"));
        Bench { disk, db, keyspaces }
    }

    /// A `Sync` commit of one value to both keyspaces.
    fn put(&self, key: &str, value: &str) {
        let put = |tx: &duramen::Transaction| self.keyspaces.iter().try_for_each(|ks| tx.put(ks, key, value));
        self.db.update(put).expect("a good disk");
    }

    /// Every disk that loses all it may lose now, and one that loses the bytes alone or the names alone.
    fn cuts(&self) -> impl Iterator<Item = Image> {
        let journal = self.disk.journal();
        let keeps = [Keep::None, Keep::Names, Keep::Data];
        MODELS.into_iter().flat_map(move |model| {
            let journal = journal.clone();
            keeps.map(move |keep| journal.crash_at(journal.len(), model, keep, 512))
        })
    }

    /// The values of `key`, which both keyspaces must agree on.
    fn value(&self, key: &str) -> Option<String> {
        let snapshot = self.db.snapshot().expect("not poisoned");
        let values = self.keyspaces.each_ref().map(|ks| {
            snapshot
                .get_with(ks, key, |value| value.map(|v| String::from_utf8_lossy(v).into_owned()))
                .expect("a good disk")
        });
        assert_eq!(values[0], values[1], "both keyspaces agree on {key}");
        values[0].clone()
    }

    fn count(&self) -> [usize; 2] {
        let snapshot = self.db.snapshot().expect("not poisoned");
        self.keyspaces.each_ref().map(|ks| snapshot.iter(ks).expect("a good disk").count())
    }
}

#[test]
fn a_sync_commit_is_on_disk_when_it_returns() {
    let bench = Bench::new();
    bench.put("a", "1");
    for image in bench.cuts() {
        assert_eq!(Bench::on(SimVfs::on(image)).value("a").as_deref(), Some("1"));
    }
}

#[test]
fn a_waited_for_commit_is_on_disk_when_the_wait_returns() {
    let bench = Bench::new();
    let tx = bench.db.begin().expect("not poisoned");
    bench.keyspaces.iter().try_for_each(|ks| tx.put(ks, "a", "1")).expect("a small write");
    let handle = tx.commit_async().expect("not poisoned").expect("it wrote something");
    handle.wait_durable().expect("a good disk");
    for image in bench.cuts() {
        assert_eq!(Bench::on(SimVfs::on(image)).value("a").as_deref(), Some("1"));
    }
}

#[test]
fn a_new_log_segment_keeps_its_name() {
    let bench = Bench::new();
    let value = "x".repeat(900);
    for n in 0..60 {
        bench.put(&n.to_string(), &value);
    }
    assert!(bench.db.stats().log.segments > 2, "several segments");
    for image in bench.cuts() {
        assert_eq!(Bench::on(SimVfs::on(image)).count(), [60, 60]);
    }
}

#[test]
fn a_new_table_keeps_its_name_and_a_new_superblock_its_pages() {
    let bench = Bench::new();
    for round in 0..4 {
        (0..20).for_each(|n| bench.put(&n.to_string(), &round.to_string()));
        bench.db.checkpoint().expect("a good disk");
        for image in bench.cuts() {
            let again = Bench::on(SimVfs::on(image));
            assert_eq!((again.count(), again.value("7")), ([20, 20], Some(round.to_string())));
        }
    }
}

#[test]
fn the_newest_superblock_is_the_one_that_counts() {
    let bench = Bench::new();
    for round in 0..4 {
        (0..20).for_each(|n| bench.put(&n.to_string(), &round.to_string()));
        bench.db.checkpoint().expect("a good disk");
        // Brings the marks of the checkpoint to the disk: an older state of the files is an error from here on.
        bench.put("after", &round.to_string());
        for image in bench.cuts() {
            assert_eq!(Bench::on(SimVfs::on(image)).value("after"), Some(round.to_string()));
        }
    }
}

#[test]
fn damage_in_the_middle_of_the_log_refuses_to_open() {
    let bench = Bench::new();
    (0..9).for_each(|n| bench.put(&n.to_string(), "a value that is easily found"));
    bench.disk.kill();
    let image = bench.disk.image();
    let place = |path: &str| image.read(path.as_ref())?.windows(6).position(|window| window == b"easily");
    let segments = image.files().into_iter().filter(|(path, _)| path.contains("/log/"));
    let (path, at) =
        segments.filter_map(|(path, _)| place(&path).map(|at| (path, at as u64))).next().expect("the first commit");
    let damaged = SimVfs::on(image.clone());
    let file = File::open(&damaged, path.as_ref(), OpenMode::ReadWrite).expect("listed");
    file.write_all_at(b"hardly", at).expect("a good disk");
    match builder(&damaged).open(PATH) {
        Err(Error::Corruption { file, .. }) => assert!(file.ends_with(path.rsplit('/').next().expect("a name"))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_shows_every_commit_up_to_its_timestamp() {
    let bench = Bench::new();
    let options = || TxnOptions::default().durability(Durability::None);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let bench = &bench;
            scope.spawn(move || {
                for n in 0..200 {
                    let tx = bench.db.begin_with(options()).expect("not poisoned");
                    // Long applies on one side, short ones on the other.
                    (0..100 * thread)
                        .for_each(|i| tx.put(&bench.keyspaces[0], format!("long {i}"), "").expect("a small write"));
                    tx.put(&bench.keyspaces[1], format!("~{thread}/{n}"), "").expect("a small write");
                    tx.commit().expect("blind writes meet no conflict");
                }
            });
        }
        for _ in 0..400 {
            let tx = bench.db.begin().expect("not poisoned");
            let ts = tx.pin_snapshot().expect("alive").get();
            let seen = tx.prefix(&bench.keyspaces[1], "~").expect("a good disk").count() as u64;
            assert_eq!(seen, ts, "commits seen at {ts}");
        }
    });
}

#[test]
fn a_held_snapshot_keeps_what_it_sees_through_checkpoints() {
    let bench = Bench::new();
    (0..50).for_each(|n| bench.put(&n.to_string(), "old"));
    let held = bench.db.snapshot().expect("not poisoned");
    for round in 0..3 {
        (0..50).for_each(|n| bench.put(&n.to_string(), &round.to_string()));
        bench.db.checkpoint().expect("a good disk");
    }
    for keyspace in &bench.keyspaces {
        for entry in held.iter(keyspace).expect("a good disk") {
            assert_eq!(&*entry.expect("a good disk").value, b"old", "{keyspace:?}");
        }
        assert_eq!(held.iter(keyspace).expect("a good disk").count(), 50, "{keyspace:?}");
    }
}

#[test]
fn a_range_delete_survives_a_checkpoint_and_a_crash() {
    let bench = Bench::new();
    let value = "x".repeat(100);
    (0..200).for_each(|n| bench.put(&format!("{n:03}"), &value));
    bench.db.checkpoint().expect("a good disk");
    // Who may look behind the range delete keeps it from being worked off: the checkpoint has to carry it.
    let held = bench.db.snapshot().expect("not poisoned");
    let delete = |tx: &duramen::Transaction| {
        // One page changes too, so that the checkpoint has something to write.
        let change = |ks| tx.delete_range(ks, "010", "190").and_then(|()| tx.put(ks, "000", "x"));
        bench.keyspaces.iter().try_for_each(change)
    };
    bench.db.update(delete).expect("a good disk");
    bench.db.checkpoint().expect("a good disk");
    for image in bench.cuts() {
        assert_eq!(Bench::on(SimVfs::on(image)).count(), [20, 20]);
    }
    assert_eq!(held.iter(&bench.keyspaces[0]).expect("a good disk").count(), 200);
}

#[test]
fn of_two_transactions_that_read_and_write_one_key_one_must_run_again() {
    let bench = Bench::new();
    for keyspace in &bench.keyspaces {
        let [first, second] = [(); 2].map(|()| bench.db.begin().expect("not poisoned"));
        for tx in [&first, &second] {
            assert!(tx.get(keyspace, "a").expect("a good disk").is_none());
            tx.put(keyspace, "a", "1").expect("a small write");
        }
        first.commit().expect("nobody else committed");
        assert!(matches!(second.commit(), Err(Error::WriteConflict(_))), "{keyspace:?}");
    }
}

/// What the enumeration says of a run on a disk whose syncs lie in the way of `fault`.
fn complaint_on(fault: Fault) -> Option<String> {
    let disk = SimVfs::new();
    disk.inject(fault);
    let run = Run::on(Plan { threads: 1, ..Plan::of(3) }, &disk);
    assert!(disk.faults_struck() > 0, "the disk told the truth");
    each_state(&run.journal, &Promise::default(), 1, |state| look(&run, state.image.clone(), Depth::ALL)).err()
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let lie = || Fault::new(FaultKind::SyncLies).for_ever();
    for (lies, fault) in [
        ("about the log", lie().on(&[OpKind::SyncData]).path_contains("/log/").at(10)),
        ("about the names of segments", lie().on(&[OpKind::SyncDir]).path_contains("/log")),
        ("about the tree", lie().on(&[OpKind::SyncData]).path_contains("tree.dat").at(2)),
        ("about tables", lie().on(&[OpKind::SyncData]).path_contains(".sst")),
        ("about the names of tables", lie().on(&[OpKind::SyncDir]).path_contains("/ks/2").at(3)),
        ("about the catalog", lie().on(&[OpKind::SyncData]).path_contains("CATALOG")),
    ] {
        let complaint = complaint_on(fault);
        println!("a disk that lies {lies}: {}", complaint.as_deref().unwrap_or("nothing").lines().next().unwrap_or(""));
        assert!(complaint.is_some(), "nothing was noticed on a disk that lies {lies}");
    }
}

#[test]
fn a_commit_that_a_lie_lost_is_missed() {
    // Not each of them loses something: a later sync of the same file makes up for it.
    let complaints = (10..16).filter_map(|at| {
        complaint_on(Fault::new(FaultKind::SyncLies).on(&[OpKind::SyncData]).path_contains("/log/").at(at))
    });
    let lost: Vec<String> = complaints.filter(|complaint| complaint.contains("CC2")).collect();
    assert!(!lost.is_empty(), "no complaint was of a lost commit");
}
