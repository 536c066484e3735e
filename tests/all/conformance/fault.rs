//! K6, C3 and what upkeep does on a bad disk: errors are said, nothing is lost, nothing is invented.

use std::path::PathBuf;
use std::sync::Arc;

use duramen_base::vfs::sim::{Fault, FaultKind, OpKind, OsError, SimVfs};
use duramen_base::{Backend, BackendCursor, Error, KeyBounds, Result, WorkBudget};

use super::fixture::{BUDGET_BYTES, Fixture, NO_WAIT};
use super::subject::{Subject, on_each_backend_with_files};
use super::words::{Rows, ask, batch, delete, delete_range, ops_of, put, show};

fn key(i: usize) -> String {
    format!("{:05}", i * 617 % 1000)
}

/// A store with a thousand keys in files, opened anew with a pool that holds next to nothing, and its rows.
fn cold<S: Subject>(disk: &SimVfs) -> (Fixture<S>, Rows) {
    let mut store = Fixture::<S>::with(Arc::new(disk.clone()), BUDGET_BYTES);
    store.host.follow_horizon();
    store.pool_bytes = 8 << 10;
    for i in 0..1200 {
        store.commit(&[put(key(i), format!("{i} ").repeat(20))]);
        if i % 300 == 0 {
            store.persist();
        }
    }
    store.commit(&[delete_range(key(5), key(5) + "0"), delete(key(6))]);
    store.persist();
    let rows = store.rows(store.now());
    store.reopen();
    (store, rows)
}

fn on_read(kind: FaultKind) -> Fault {
    Fault::new(kind).on(&[OpKind::Read])
}

fn assert_io<T: std::fmt::Debug>(failed: Result<T>, what: &str) {
    match failed {
        Err(Error::Io { path, .. }) => assert!(path.starts_with("/ks"), "the error names the file: {path:?}"),
        other => panic!("{what}: {other:?}"),
    }
}

fn a_failed_read_can_be_repeated<S: Subject>() {
    let disk = SimVfs::new();
    let (store, rows) = cold::<S>(&disk);
    let (store, at) = (&store, store.now());
    for (i, (key, value)) in rows.iter().enumerate() {
        disk.inject(on_read(FaultKind::Error(OsError::Io)));
        let struck = disk.faults_struck();
        let found = ask(store.store(), key, at);
        if disk.faults_struck() > struck {
            assert_io(found, "a get whose read failed");
        } else {
            assert_eq!(found.expect("nothing failed").0.value(), Some(&**value));
        }
        disk.clear_faults();
        assert_eq!(store.get(key, at).value(), Some(&**value), "K6: the same get again");
        let other = &rows[(i * 271) % rows.len()];
        assert_eq!(store.get(&other.0, at).value(), Some(&*other.1), "K6: other keys stay readable");
    }
    assert!(disk.faults_struck() > 10, "the test met {} failing reads", disk.faults_struck());
}

fn a_failed_newer_than_can_be_repeated<S: Subject>() {
    let disk = SimVfs::new();
    let (store, rows) = cold::<S>(&disk);
    for (key, _) in rows.iter().rev() {
        disk.inject(on_read(FaultKind::Error(OsError::Io)));
        let struck = disk.faults_struck();
        let newer = store.store().newer_than(key, store.now());
        if disk.faults_struck() > struck {
            assert_io(newer, "newer_than whose read failed");
        } else {
            assert_eq!(newer.expect("nothing failed"), None);
        }
        disk.clear_faults();
        assert_eq!(store.newer_than(key, store.now()), None);
    }
}

/// Makes `step` with a failing read, which must leave the cursor where it was, then again without.
fn step<C: BackendCursor>(
    disk: &SimVfs,
    cursor: &mut C,
    standing: bool,
    step: impl Fn(&mut C) -> Result<bool>,
) -> bool {
    let before = standing.then(|| (cursor.key().to_vec(), cursor.value().to_vec(), cursor.ts()));
    for nth in [1, 2] {
        disk.inject(on_read(FaultKind::Error(OsError::Io)).at(nth));
        let struck = disk.faults_struck();
        let moved = step(cursor);
        let failed = disk.faults_struck() > struck;
        disk.clear_faults();
        if !failed {
            return moved.expect("nothing failed");
        }
        assert_io(moved, "a move whose read failed");
        if let Some((key, value, ts)) = &before {
            assert_eq!(
                (cursor.key(), cursor.value(), cursor.ts()),
                (&**key, &**value, *ts),
                "C3: the position is kept"
            );
        }
    }
    step(cursor).expect("nothing fails any more")
}

fn a_failed_move_leaves_the_cursor_where_it_was<S: Subject>() {
    for forward in [true, false] {
        let disk = SimVfs::new();
        let (store, mut rows) = cold::<S>(&disk);
        if !forward {
            rows.reverse();
        }
        let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
        for (i, (key, value)) in rows.iter().enumerate() {
            let there = step(&disk, &mut cursor, i > 0, |c| if forward { c.next() } else { c.prev() });
            assert!(there, "C3: no key is skipped");
            assert_eq!((cursor.key(), cursor.value()), (&**key, &**value), "C3: no key is skipped");
        }
        assert!(!step(&disk, &mut cursor, true, |c| if forward { c.next() } else { c.prev() }));
        assert!(disk.faults_struck() > 10, "the test met {} failing reads", disk.faults_struck());
    }
}

fn a_failed_seek_leaves_the_cursor_where_it_was<S: Subject>() {
    let disk = SimVfs::new();
    let (store, rows) = cold::<S>(&disk);
    let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
    let mut standing = false;
    for i in 0..400 {
        let (key, value) = &rows[i * 389 % rows.len()];
        let seek =
            |c: &mut _| if i % 2 == 0 { BackendCursor::seek(c, key) } else { BackendCursor::seek_for_prev(c, key) };
        assert!(step(&disk, &mut cursor, standing, seek));
        assert_eq!((cursor.key(), cursor.value()), (&**key, &**value));
        standing = true;
        // After a seek that failed, the direction changes across what was not read.
        if i % 3 == 0 {
            standing = step(&disk, &mut cursor, true, BackendCursor::prev);
            let expected = rows[..i * 389 % rows.len()].last().map(|(key, _)| key.clone());
            assert_eq!(standing.then(|| cursor.key().to_vec()), expected);
        }
    }
}

fn a_failed_admission_leaves_the_store_as_it_was<S: Subject>() {
    let disk = SimVfs::new();
    let (mut store, _) = cold::<S>(&disk);
    for i in 0..200 {
        let change = put(key(i), i.to_string());
        disk.inject(on_read(FaultKind::Error(OsError::Io)));
        let struck = disk.faults_struck();
        let batch = batch(std::slice::from_ref(&change));
        let admitted = store.store().admit(&ops_of(&batch), NO_WAIT);
        if disk.faults_struck() > struck {
            assert_io(admitted, "an admission whose read failed");
        } else {
            drop(admitted.expect("nothing failed"));
        }
        disk.clear_faults();
        store.commit(&[change]);
        assert_eq!(store.value(key(i)), Some(i.to_string().into_bytes()));
    }
}

/// Whatever a read gives back, the answer is right or an error.
fn wrong_bytes_are_never_believed<S: Subject>() {
    let kinds = (0..40).map(|i| FaultKind::BitFlip(i * 2003)).chain([FaultKind::StaleRead, FaultKind::ShortRead]);
    let disk = SimVfs::new();
    let (mut store, rows) = cold::<S>(&disk);
    let mut corrupt = 0;
    for (round, kind) in kinds.enumerate() {
        store.reopen();
        disk.inject(on_read(kind).for_ever());
        for (key, value) in rows.iter().skip(round).step_by(29) {
            match ask(store.store(), key, store.now()) {
                Ok((answer, _)) => assert_eq!(answer.value(), Some(&**value), "{kind:?}"),
                Err(Error::Corruption { .. }) => corrupt += 1,
                Err(error) => panic!("{kind:?}: {error}"),
            }
        }
        let mut cursor = store.cursor(store.now(), KeyBounds::ALL);
        let mut met = rows.iter();
        loop {
            match cursor.next() {
                Ok(true) => {
                    let (key, value) = met.next().expect("no row is invented");
                    assert_eq!((cursor.key(), cursor.value()), (&**key, &**value), "{kind:?}");
                }
                Ok(false) => break assert!(met.next().is_none(), "{kind:?}: rows are missing"),
                Err(Error::Corruption { .. }) => break,
                Err(error) => panic!("{kind:?}: {error}"),
            }
        }
        disk.clear_faults();
        let (key, value) = &rows[round];
        assert_eq!(store.get(key, store.now()).value(), Some(&**value), "the damage is not remembered");
    }
    assert!(corrupt > 50, "the test met {corrupt} damaged reads");
}

/// A full disk is an error that passes: upkeep goes on when there is space.
fn upkeep_goes_on_after_a_full_disk<S: Subject>() {
    for error in [OsError::NoSpace, OsError::Quota] {
        for nth in [1, 2, 3, 5, 8, 13] {
            let disk = SimVfs::new();
            let (mut store, _) = cold::<S>(&disk);
            for i in 0..200 {
                store.commit(&[put(key(i), "changed")]);
            }
            let expected = store.rows(store.now());
            let writes = [OpKind::Write, OpKind::WriteZeros, OpKind::SetLen, OpKind::Create];
            disk.inject(Fault::new(FaultKind::Error(error)).on(&writes).at(nth).times(3));
            store.persist_soon();
            let mut full = 0;
            loop {
                match store.work(64 << 10) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(Error::DiskFull { path }) => {
                        assert!(path.starts_with("/ks"));
                        full += 1;
                        assert_eq!(show(&store.rows(store.now())), show(&expected), "reads go on");
                    }
                    Err(error) => panic!("{error}"),
                }
                assert!(full <= 3, "the fault strikes three times");
            }
            disk.clear_faults();
            store.persist();
            assert_eq!(show(&store.rows(store.now())), show(&expected));
            store.reopen();
            assert_eq!(show(&store.rows(store.now())), show(&expected));
        }
    }
}

/// EIO at every single call of a checkpoint or flush: an error, after which reads go on and a restart finds everything.
fn upkeep_that_fails_anywhere_loses_nothing<S: Subject>() {
    for (kind, ops) in [
        (FaultKind::Error(OsError::Io), &OpKind::ALL[..]),
        (FaultKind::PartialThenError(OsError::Io), &[OpKind::Write][..]),
        (FaultKind::SyncDrops, &[OpKind::SyncData][..]),
    ] {
        for nth in 1.. {
            let disk = SimVfs::new();
            let mut store = Fixture::<S>::with(Arc::new(disk.clone()), BUDGET_BYTES);
            store.host.follow_horizon();
            for i in 0..30 {
                store.commit(&[put(key(i), format!("{i} ").repeat(40))]);
            }
            store.persist();
            for i in 15..45 {
                store.commit(&[put(key(i), format!("{i} ").repeat(60)), delete(key(i / 3))]);
            }
            store.commit(&[delete_range(key(40), key(40) + "5")]);
            let expected = store.rows(store.now());
            disk.inject(Fault::new(kind).on(ops).at(nth));
            store.persist_soon();
            let failed = loop {
                match store.store().work(WorkBudget { bytes: 64 << 10 }) {
                    Ok(done) if done.more => {}
                    Ok(_) => break None,
                    Err(error) => break Some(error),
                }
            };
            let struck = disk.faults_struck() > 0;
            disk.clear_faults();
            assert_eq!(show(&store.rows(store.now())), show(&expected), "K6: reads go on after call {nth} failed");
            if kind == FaultKind::SyncDrops {
                assert_eq!(failed.is_some(), struck, "a failed sync is never passed over");
            }
            store.reopen();
            assert_eq!(show(&store.rows(store.now())), show(&expected), "call {nth} failed with {kind:?}");
            store.persist();
            store.reopen();
            assert_eq!(show(&store.rows(store.now())), show(&expected), "call {nth} failed with {kind:?}");
            if !struck {
                assert!(nth > 1, "upkeep makes calls");
                break;
            }
        }
    }
}

/// EIO and EMFILE at every call of opening: an error, and the next open finds everything.
fn opening_that_fails_can_be_repeated<S: Subject>() {
    let disk = SimVfs::new();
    let (mut store, rows) = cold::<S>(&disk);
    for error in [OsError::Io, OsError::TooManyFiles] {
        for nth in 1.. {
            store.log_mark();
            store.close();
            store.host.restart();
            disk.inject(Fault::new(FaultKind::Error(error)).at(nth));
            let struck = disk.faults_struck();
            let opened = store.open();
            let struck = disk.faults_struck() > struck;
            disk.clear_faults();
            match opened {
                Ok(()) => {}
                Err(Error::Io { path, .. }) if struck => assert!(path.starts_with(PathBuf::from("/ks")), "{path:?}"),
                Err(error) => panic!("call {nth}: {error}"),
            }
            if store.is_open() {
                store.close();
            }
            store.host.restart();
            store.open().expect("nothing fails any more");
            assert_eq!(show(&store.rows(store.host.sequenced())), show(&rows), "call {nth}");
            store.host.publish(store.host.sequenced());
            if !struck {
                break;
            }
        }
    }
}

on_each_backend_with_files!(
    a_failed_read_can_be_repeated,
    a_failed_newer_than_can_be_repeated,
    a_failed_move_leaves_the_cursor_where_it_was,
    a_failed_seek_leaves_the_cursor_where_it_was,
    a_failed_admission_leaves_the_store_as_it_was,
    wrong_bytes_are_never_believed,
    upkeep_goes_on_after_a_full_disk,
    upkeep_that_fails_anywhere_loses_nothing,
    opening_that_fails_can_be_repeated,
);
