//! A damaged page that upkeep needs: the keyspace takes no more commits and is read where it is whole; nothing else notices.

use duramen::{Database, Durability, Error, Health, Keyspace, Reader, TxnOptions, VerifyLevel};
use duramen_base::vfs::sim::SimVfs;

use super::sample::overwrite;
use crate::fault::run::{Machine, options, small};

const KEYS: u32 = 200;
/// Its page is the damaged one.
const LOST: u32 = 100;

fn key(number: u32) -> String {
    format!("key {number:03}")
}

fn first_value(number: u32) -> Vec<u8> {
    vec![number as u8; 100]
}

/// What the disk of a keyspace with [`KEYS`] keys in files is, and where a page lies that holds [`LOST`] and neither end of the keys.
fn damaged(name: &str) -> SimVfs {
    let machine = Machine::on(SimVfs::new());
    let db = machine.open().unwrap();
    let keyspace = db.create_keyspace(name, options(name)).unwrap();
    db.create_keyspace("other", options("other tree")).unwrap();
    db.update(|tx| (0..KEYS).try_for_each(|number| tx.put(&keyspace, key(number), first_value(number)))).unwrap();
    db.checkpoint().unwrap();
    db.close().unwrap();
    let image = machine.disk.image();
    let data = |(path, _): &(String, u64)| path.contains("/ks/") && (path.ends_with(".dat") || path.ends_with(".sst"));
    let places = image.files().into_iter().filter(data).flat_map(|(path, len)| {
        let offsets: Vec<u64> = (0..len).step_by(512).collect();
        offsets.into_iter().map(move |offset| (path.clone(), offset))
    });
    let with_damage = |(path, offset): (String, u64)| {
        let disk = SimVfs::on(image.clone());
        overwrite(&disk, &path, offset, &[0xa5; 64]);
        disk
    };
    places
        .map(with_damage)
        .find(|disk| loses_the_page(&SimVfs::on(disk.image()), name))
        .expect("some place is in that page")
}

fn loses_the_page(disk: &SimVfs, name: &str) -> bool {
    let Ok(db) = Machine::on(disk.clone()).open() else { return false };
    let Ok(keyspace) = db.open_keyspace(name) else { return false };
    let is_lost = |number| matches!(value(&db, &keyspace, number), Err(Error::Corruption { .. }));
    is_lost(LOST) && !is_lost(0) && !is_lost(KEYS - 1)
}

fn value(db: &Database, keyspace: &Keyspace, number: u32) -> duramen::Result<Option<Vec<u8>>> {
    Ok(db.snapshot()?.get(keyspace, key(number))?.map(|value| value.to_vec()))
}

fn put(db: &Database, keyspace: &Keyspace, number: u32, value: &[u8]) -> duramen::Result<()> {
    let options = TxnOptions::default().durability(Durability::Sync);
    db.update_with(options, |tx| tx.put(keyspace, key(number), value)).map(|_| ())
}

/// What is not in the damaged page is as it was; `LOST` has the value of the newest commit.
fn check_content(db: &Database, keyspace: &Keyspace, newest: &[u8]) {
    assert_eq!(value(db, keyspace, LOST).unwrap().as_deref(), Some(newest));
    let mut readable = 0;
    for number in (0..KEYS).filter(|&number| number != LOST) {
        match value(db, keyspace, number) {
            Ok(found) => {
                assert_eq!(found, Some(first_value(number)), "{}", key(number));
                readable += 1;
            }
            Err(error) => assert!(matches!(error, Error::Corruption { .. }), "{error}"),
        }
    }
    assert!(readable > KEYS / 2, "{readable} of {KEYS} keys can be read");
}

fn is_damaged(db: &Database, name: &str) -> bool {
    matches!(db.health(), Health::Damaged { keyspace, cause } if keyspace == name && matches!(*cause, Error::Corruption { .. }))
}

fn damage_stays_in_its_keyspace(name: &str) {
    let disk = damaged(name);
    let machine = Machine::on(disk.clone());
    let db = machine.open().unwrap();
    let (keyspace, other) = (db.open_keyspace(name).unwrap(), db.open_keyspace("other").unwrap());
    let (mut newest, mut is_behind) = (Vec::new(), false);
    let met = (0..200u32).find_map(|round| {
        let new = format!("round {round}").into_bytes();
        if let Err(error) = put(&db, &keyspace, LOST, &new) {
            // Upkeep met it behind a checkpoint, which had all in files.
            is_behind = true;
            return Some(error);
        }
        newest = new;
        db.checkpoint().err()
    });
    assert!(matches!(met, Some(Error::Corruption { .. })), "{met:?}");
    assert!(is_damaged(&db, name), "{:?}", db.health());
    check_content(&db, &keyspace, &newest);

    let refused = put(&db, &keyspace, 0, b"refused").unwrap_err();
    assert!(matches!(refused, Error::Corruption { .. }), "{refused}");
    let refused = db.update(|tx| {
        tx.put(&other, "both", "refused")?;
        tx.put(&keyspace, "both", "refused")
    });
    assert!(refused.is_err());
    put(&db, &other, 1, b"taken").unwrap();
    assert_eq!(matches!(db.checkpoint(), Err(Error::Corruption { .. })), !is_behind);
    let report = db.verify(VerifyLevel::Full).unwrap();
    assert!(!report.is_clean());
    db.close().unwrap();
    drop((keyspace, other));

    // Again with what the log has, and without the keyspace at last.
    let machine = Machine::on(disk);
    let db = machine.open().unwrap();
    let (keyspace, other) = (db.open_keyspace(name).unwrap(), db.open_keyspace("other").unwrap());
    check_content(&db, &keyspace, &newest);
    assert_eq!(value(&db, &other, 1).unwrap(), Some(b"taken".to_vec()));
    assert_eq!(db.snapshot().unwrap().get(&other, "both").unwrap(), None);
    db.drop_keyspace(name).unwrap();
    db.checkpoint().unwrap();
    assert!(matches!(db.health(), Health::Good), "{:?}", db.health());
}

#[test]
fn a_damaged_leaf_met_by_the_drain_stays_the_matter_of_its_keyspace() {
    damage_stays_in_its_keyspace("tree");
}

#[test]
fn a_damaged_block_met_by_a_merge_stays_the_matter_of_its_keyspace() {
    damage_stays_in_its_keyspace("lsm");
}

/// Far more than the budget of the second opening waits in the log for the damaged page, in so many commits.
fn damage_refuses_no_replay(name: &str, commits: u8) {
    let disk = damaged(name);
    let db = Machine::on(disk.clone()).open().unwrap();
    let keyspace = db.open_keyspace(name).unwrap();
    for round in 0..commits {
        db.update_with(TxnOptions::default().durability(Durability::Sync), |tx| {
            (1..20 / commits)
                .try_for_each(|beside| tx.put(&keyspace, format!("{} {beside}", key(LOST)), vec![round; 20_000]))?;
            tx.put(&keyspace, key(LOST), vec![round; 20_000])
        })
        .unwrap();
    }
    db.close().unwrap();
    drop(keyspace);
    let db = small(&disk).memory_bytes(128 << 10).open("db").unwrap();
    let keyspace = db.open_keyspace(name).unwrap();
    check_content(&db, &keyspace, &vec![commits - 1; 20_000]);
}

#[test]
fn a_damaged_leaf_refuses_no_replay_however_short_memory_is() {
    damage_refuses_no_replay("tree", 20);
}

#[test]
fn a_damaged_block_refuses_no_replay_however_short_memory_is() {
    // In more commits the writer would meet the damage himself, when he helps with memtables that pile up.
    damage_refuses_no_replay("lsm", 1);
}
