//! What a commit that returned survives, by level, and how one waits for more.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use duramen::seams::Vfs;
use duramen::{BackendKind, Database, Durability, Keyspace, Reader, Transaction, TxnOptions};
use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};

use super::{builder_on, disk, on_each_kind, open_on, small, words};

const LEVELS: [Durability; 3] = [Durability::None, Durability::Buffered, Durability::Sync];

fn begin(db: &Database, durability: Durability) -> Transaction {
    db.begin_with(TxnOptions::default().durability(durability)).expect("open")
}

fn commit(db: &Database, ks: &Keyspace, durability: Durability, key: &str) {
    let tx = begin(db, durability);
    tx.put(ks, key, "1").expect("room");
    tx.commit().expect("a good disk");
}

fn every_level_is_visible_at_once(kind: BackendKind) {
    let (db, ks) = super::database(kind);
    for (i, durability) in LEVELS.iter().cycle().take(30).enumerate() {
        commit(&db, &ks, *durability, &format!("{i:02}"));
        assert!(db.snapshot().expect("open").contains(&ks, format!("{i:02}")).expect("readable"));
        assert!(db.begin().expect("open").contains(&ks, format!("{i:02}")).expect("readable"));
    }
}

fn closing_makes_every_level_durable(kind: BackendKind) {
    let disk = disk();
    for round in 0..4 {
        let db = open_on(&disk).expect("a good disk");
        let ks = db.keyspace("ks", small(kind)).expect("the same kind");
        assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), round * 30);
        for (i, durability) in LEVELS.iter().cycle().take(30).enumerate() {
            commit(&db, &ks, *durability, &format!("{round}.{i:02}"));
        }
        if round == 1 {
            db.checkpoint().expect("a good disk");
        }
        if round == 2 {
            // The last handle closes it too.
            drop((db, ks));
        } else {
            db.close().expect("a good disk");
        }
    }
}

/// A disk that was killed, or lost power, after the commits `00`..`20`; the names found, and whether they are the first ones.
fn crashed(kind: BackendKind, durability: Durability, crash: impl Fn(&SimVfs) -> SimVfs) -> (usize, bool) {
    let sim = SimVfs::new();
    let disk: Arc<dyn Vfs> = Arc::new(sim.clone());
    let db = builder_on(&disk).open("db").expect("an empty disk");
    let ks = db.keyspace("ks", small(kind)).expect("a new name");
    for i in 0..20 {
        commit(&db, &ks, durability, &format!("{i:02}"));
    }
    let found: Arc<dyn Vfs> = Arc::new(crash(&sim));
    // What the dead process still does reaches no disk.
    drop((db, ks));
    let db = open_on(&found).expect("a crash is no damage");
    let ks = db.open_keyspace("ks").expect("its creation was durable");
    let found = words(db.snapshot().expect("open").iter(&ks).expect("readable"));
    assert!(db.verify(duramen::VerifyLevel::Full).expect("readable").is_clean());
    let all: Vec<String> = (0..20).map(|i| format!("{i:02}=1")).collect();
    let count = found.split_whitespace().count();
    (count, found == all[..count].join(" "))
}

fn death_of_the_process_takes_nothing_buffered(kind: BackendKind) {
    for durability in LEVELS {
        let (count, is_prefix) = crashed(kind, durability, SimVfs::kill);
        assert!(is_prefix, "{durability:?}");
        assert!(durability == Durability::None || count == 20, "{durability:?}: {count} of 20");
    }
}

fn loss_of_power_takes_nothing_synced(kind: BackendKind) {
    for model in [CrashModel::Strict, CrashModel::Ext4Like] {
        for keep in Keep::each(7, 3) {
            for durability in LEVELS {
                let (count, is_prefix) = crashed(kind, durability, |sim| {
                    let dead = sim.kill();
                    let journal = dead.journal();
                    SimVfs::on(journal.crash_at(journal.len(), model, keep, 512))
                });
                assert!(is_prefix, "{durability:?}, {model:?}, {keep:?}");
                assert!(durability != Durability::Sync || count == 20, "{model:?}, {keep:?}: {count} of 20");
            }
        }
    }
}

fn a_checkpoint_makes_commits_of_every_level_durable(kind: BackendKind) {
    let sim = SimVfs::new();
    let disk: Arc<dyn Vfs> = Arc::new(sim.clone());
    let db = builder_on(&disk).open("db").expect("an empty disk");
    let ks = db.keyspace("ks", small(kind)).expect("a new name");
    (0..20).for_each(|i| commit(&db, &ks, Durability::None, &format!("{i:02}")));
    db.checkpoint().expect("a good disk");
    let stats = db.stats();
    assert!(stats.durable >= stats.visible, "{stats:?}");
    let journal = sim.kill().journal();
    let after = SimVfs::on(journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512));
    drop((db, ks));
    let after: Arc<dyn Vfs> = Arc::new(after);
    let db = open_on(&after).expect("a crash is no damage");
    let ks = db.open_keyspace("ks").expect("its creation was durable");
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 20);
}

fn a_handle_waits_for_what_it_is_asked(kind: BackendKind) {
    let (db, ks) = super::database(kind);
    let (tell, told) = mpsc::channel();
    for (i, durability) in LEVELS.iter().cycle().take(12).enumerate() {
        let tx = begin(&db, *durability);
        tx.put(&ks, format!("{i:02}"), "1").expect("room");
        let handle = tx.commit_async().expect("nobody else writes").expect("it wrote");
        let tell = tell.clone();
        handle.on_durable(move |outcome| tell.send(outcome.map(|info| info.ts)).expect("the test listens"));
        handle.wait_visible();
        assert!(db.snapshot().expect("open").contains(&ks, format!("{i:02}")).expect("readable"));
        if i % 2 == 0 {
            handle.wait_durable().expect("a good disk");
            assert!(db.stats().durable >= handle.info().ts);
            assert!(db.snapshot_durable().expect("open").contains(&ks, format!("{i:02}")).expect("readable"));
        }
        let heard = told.recv_timeout(Duration::from_secs(60)).expect("it is called without being waited for");
        assert_eq!(heard.expect("a good disk"), handle.info().ts);
    }
    let tx = db.begin().expect("open");
    assert!(tx.commit_async().expect("nothing to do").is_none());
}

fn a_durable_snapshot_shows_only_what_is_on_disk(kind: BackendKind) {
    let (db, ks) = super::database(kind);
    for i in 0..30 {
        let level = LEVELS[i % 3];
        commit(&db, &ks, level, &format!("{i:02}"));
        let snapshot = db.snapshot_durable().expect("open");
        assert!(snapshot.ts() <= db.stats().durable);
        assert!(level != Durability::Sync || snapshot.contains(&ks, format!("{i:02}")).expect("readable"));
        // Whatever it shows is a prefix.
        let count = snapshot.iter(&ks).expect("readable").count();
        assert!((0..count).all(|n| snapshot.contains(&ks, format!("{n:02}")).expect("readable")));
    }
}

fn the_durability_of_the_database_is_the_default(kind: BackendKind) {
    for durability in LEVELS {
        let db = builder_on(&disk()).durability(durability).open("db").expect("an empty disk");
        let ks = db.keyspace("ks", small(kind)).expect("a new name");
        db.update(|tx| tx.put(&ks, "a", "1")).expect("a good disk");
        let stats = db.stats();
        assert!(durability != Durability::Sync || stats.durable >= stats.visible, "{durability:?}");
    }
}

/// Commits, checkpoints and reopens in turns; the log does not grow with them where stores have files.
fn the_log_is_cut_behind_checkpoints(kind: BackendKind) {
    let disk = disk();
    let open =
        || builder_on(&disk).log_segment_bytes(64 << 10, 256 << 10).log_bytes_before_checkpoint(512 << 10).open("db");
    for round in 0..4_u32 {
        let db = open().expect("a good disk");
        let ks = db.keyspace("ks", small(kind)).expect("the same kind");
        for i in 0..150_u32 {
            let options = TxnOptions::default().durability(Durability::Buffered);
            db.update_with(options, |tx| tx.put(&ks, (i * 7 % 200).to_be_bytes(), vec![round as u8; 5000]))
                .expect("a good disk");
        }
        db.checkpoint().expect("a good disk");
        let log = db.stats().log;
        if kind != BackendKind::Model {
            assert!(log.end.get() - log.start.get() < 1 << 20, "{log:?} in round {round}");
        }
        db.close().expect("a good disk");
    }
    let db = open().expect("a good disk");
    let ks = db.open_keyspace("ks").expect("it is there");
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 150);
    assert!(
        db.snapshot().expect("open").iter(&ks).expect("readable").all(|entry| entry.expect("readable").value[0] == 3)
    );
}

on_each_kind!(
    every_level_is_visible_at_once,
    closing_makes_every_level_durable,
    death_of_the_process_takes_nothing_buffered,
    loss_of_power_takes_nothing_synced,
    a_checkpoint_makes_commits_of_every_level_durable,
    a_handle_waits_for_what_it_is_asked,
    a_durable_snapshot_shows_only_what_is_on_disk,
    the_durability_of_the_database_is_the_default,
    the_log_is_cut_behind_checkpoints,
);
