//! Compactions that were asked for: of a range, looked at, stopped, beside a pause.

use duramen::{Error, Reader, VerifyLevel};

use super::*;

fn filled(kind: BackendKind) -> (Database, Keyspace) {
    let (db, ks) = database(kind);
    for number in 0..400u32 {
        db.update(|tx| tx.put(&ks, format!("{:03}", number * 7 % 400), [7; 100])).expect("a commit");
    }
    db.update(|tx| tx.delete_range(&ks, "100", "200")).expect("a commit");
    (db, ks)
}

fn a_compaction_of_a_range_changes_nothing_that_is_read(kind: BackendKind) {
    let (db, ks) = filled(kind);
    let before = db.snapshot().expect("open");
    let shown = words(before.iter(&ks).expect("readable"));
    let compaction = db.begin_compaction(&ks, "050".."250").expect("open");
    db.update(|tx| tx.put(&ks, "x", "beside it")).expect("it needs no exclusive moment");
    compaction.wait().expect("a good disk");
    let progress = db.stats().keyspaces[0].1.compaction;
    assert_eq!((progress.requests, progress.bytes_to_do), (0, 0));
    assert_eq!(words(before.iter(&ks).expect("readable")), shown);
    drop(before);
    db.begin_compaction::<&str>(&ks, ..).expect("open").wait().expect("a good disk");
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 301);
}

fn a_stopped_compaction_changes_nothing_that_is_read(kind: BackendKind) {
    let (db, ks) = filled(kind);
    let shown = words(db.snapshot().expect("open").iter(&ks).expect("readable"));
    for _ in 0..20 {
        db.begin_compaction::<&str>(&ks, ..).expect("open").stop();
    }
    let last = db.begin_compaction(&ks, "".."z").expect("open");
    drop(last);
    db.compact(&ks).expect("a good disk");
    assert_eq!(db.stats().keyspaces[0].1.compaction.requests, 0, "one whose handle was dropped is carried out, too");
    assert_eq!(words(db.snapshot().expect("open").iter(&ks).expect("readable")), shown);
    assert!(db.verify(VerifyLevel::Full).expect("readable").is_clean());
}

fn an_empty_range_is_done_at_once(kind: BackendKind) {
    let (db, ks) = filled(kind);
    let compaction = db.begin_compaction(&ks, "b".."a").expect("open");
    assert!(compaction.is_done() && compaction.progress().requests == 0);
    compaction.wait().expect("nothing to do");
}

fn a_pause_ends_with_what_holds_it_and_keeps_nobody_from_writing(kind: BackendKind) {
    let (db, ks) = database(kind);
    let (one, other) = (db.pause_compaction(&ks).expect("open"), db.pause_compaction(&ks).expect("open"));
    let is_paused = || db.stats().keyspaces[0].1.compaction.is_paused;
    for number in 0..400u32 {
        db.update(|tx| tx.put(&ks, format!("{:03}", number * 7 % 400), [7; 100])).expect("a commit");
    }
    db.checkpoint().expect("a good disk");
    assert!(is_paused() || kind == BackendKind::Model);
    drop(one);
    assert!(is_paused() || kind == BackendKind::Model, "pauses are counted");
    db.compact(&ks).expect("what is asked for is done in a pause");
    drop(other);
    assert!(!is_paused());
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 400);
}

fn who_waits_for_a_compaction_of_a_keyspace_that_is_gone_is_told(kind: BackendKind) {
    let (db, ks) = filled(kind);
    let compaction = db.begin_compaction::<&str>(&ks, ..).expect("open");
    db.drop_keyspace("ks").expect("it is there");
    if !compaction.is_done() {
        assert!(matches!(compaction.wait(), Err(Error::NoSuchKeyspace { .. })));
    }
    assert!(matches!(db.begin_compaction::<&str>(&ks, ..), Err(Error::NoSuchKeyspace { .. })));
    assert!(matches!(db.pause_compaction(&ks), Err(Error::NoSuchKeyspace { .. })));
}

on_each_kind!(
    a_compaction_of_a_range_changes_nothing_that_is_read,
    a_stopped_compaction_changes_nothing_that_is_read,
    an_empty_range_is_done_at_once,
    a_pause_ends_with_what_holds_it_and_keeps_nobody_from_writing,
    who_waits_for_a_compaction_of_a_keyspace_that_is_gone_is_told,
);
