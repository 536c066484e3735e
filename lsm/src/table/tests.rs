//! Tests of tables: what was written is read, and nothing else is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_base::image::{Body, ImageKind};
use duramen_base::vfs::{File, MemVfs, OpenMode, Vfs};
use duramen_base::{Error, StoreEnv, Timestamp};

use duramen_base::sync::published::Pinned;

use super::blocks::{Gathering, Loading, Prepared, Resident};
use super::reader::TableCursor;
use super::writer::TableWriter;
use super::*;
use crate::test_host::{TestHost, disk, env, ts};
use duramen_base::key_hash::key_hash;
use duramen_base::memtable::KeyVersions;

type Content = BTreeMap<Vec<u8>, Vec<(u64, Option<Vec<u8>>)>>;

const KEEP: Loading = Loading::KEEP;

fn setup() -> (MemVfs, StoreEnv) {
    let disk = disk();
    let env = env(&disk, &Arc::new(TestHost::new(64 << 20)), 1 << 20, 1 << 10);
    (disk, env)
}

fn write(env: &StoreEnv, no: u64, content: &Content, tombs: &RangeTombs) -> TableMeta {
    let mut writer = TableWriter::create(env, no).expect("a healthy disk");
    let mut kv = KeyVersions::default();
    for (key, versions) in content {
        kv.reset(key);
        for (number, value) in versions {
            kv.add(ts(*number), value.as_deref().map_or(Body::Tombstone, Body::Value));
        }
        kv.sort();
        writer.push(&kv).expect("a healthy disk");
    }
    writer.finish(tombs).expect("a healthy disk")
}

fn key(number: u32) -> Vec<u8> {
    format!("key-{number:06}").into_bytes()
}

/// Keys with a few versions each, one of them with more than an image holds.
fn sample() -> Content {
    let mut content = Content::new();
    for number in 0..500u32 {
        let mut versions = vec![(u64::from(number) + 10, Some(vec![number as u8; 40]))];
        if number % 3 == 0 {
            versions.push((5, None));
            versions.push((3, Some(b"old".to_vec())));
        }
        content.insert(key(number), versions);
    }
    let long = (1..12u64).map(|number| (number, Some(vec![number as u8; 60_000]))).collect();
    content.insert(b"key-000100-long".to_vec(), long);
    content
}

fn expected(content: &Content, key: &[u8], at: u64) -> Option<(u64, Option<Vec<u8>>)> {
    content.get(key)?.iter().filter(|(number, _)| *number <= at).max_by_key(|(number, _)| *number).cloned()
}

fn shown<B: blocks::Block>(version: Option<BlockVersion<B>>) -> Option<(u64, Option<Vec<u8>>)> {
    let version = version?;
    Some((
        version.ts.get(),
        version.value.map(|value| match value {
            Stored::InImage(image, range) => image.bytes()[range].to_vec(),
            Stored::Owned(_) | Stored::Large(_) => panic!("the values of these tables lie in them"),
        }),
    ))
}

#[test]
fn every_version_is_found_at_its_time() {
    let (_, env) = setup();
    let content = sample();
    let meta = write(&env, 1, &content, &RangeTombs::default());
    let table = Table::open(&env, meta).expect("whole");
    for at in [0, 1, 3, 4, 5, 6, 9, 10, 11, 200, 1000] {
        for key in content.keys() {
            let found = table.get(key, key_hash(key), ts(at), &KEEP).expect("whole").expect("loads");
            assert_eq!(shown(found.version), expected(&content, key, at), "{key:?} at {at}");
            let newest = content[key].iter().map(|version| version.0).max();
            assert!(Some(found.newest.get()) == newest);
        }
    }
    let absent =
        table.get(b"key-000100x", key_hash(b"key-000100x"), Timestamp::MAX, &KEEP).expect("whole").expect("loads");
    assert!(absent.version.is_none() && absent.newest == Timestamp::ZERO);
}

#[test]
fn a_cursor_goes_both_ways_and_sees_all_versions() {
    let (_, env) = setup();
    let content = sample();
    let table = Arc::new(Table::open(&env, write(&env, 1, &content, &RangeTombs::default())).expect("whole"));
    let mut cursor = TableCursor::new(table, KEEP);
    let mut kv = KeyVersions::default();
    cursor.first().expect("whole");
    for (key, versions) in &content {
        assert_eq!(cursor.key(), key);
        kv.reset(key);
        cursor.add_versions(&mut kv).expect("whole");
        kv.sort();
        let mut want: Vec<u64> = versions.iter().map(|version| version.0).collect();
        want.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(kv.iter().map(|(ts, _)| ts.get()).collect::<Vec<_>>(), want);
        assert_eq!(shown(cursor.version_at(ts(4)).expect("whole")), expected(&content, key, 4));
        cursor.next().expect("whole");
    }
    assert!(!cursor.is_on());
    cursor.last().expect("whole");
    for key in content.keys().rev() {
        assert_eq!(cursor.key(), key);
        cursor.prev().expect("whole");
    }
    assert!(!cursor.is_on());
    for probe in [&b""[..], b"key-000100-", b"key-000100-m", b"key-0003", b"zzz", b"key-000499"] {
        cursor.seek(probe).expect("whole");
        let want = content.range(probe.to_vec()..).next().map(|(key, _)| &key[..]);
        assert_eq!(cursor.is_on().then(|| cursor.key()), want, "{probe:?}");
        cursor.seek_for_prev(probe).expect("whole");
        let want = content.range(..=probe.to_vec()).next_back().map(|(key, _)| &key[..]);
        assert_eq!(cursor.is_on().then(|| cursor.key()), want, "{probe:?}");
    }
}

#[test]
fn keys_on_both_sides_of_a_part_are_found() {
    let (_, env) = setup();
    let content: Content = (0..2000u32).map(|n| (key(n), vec![(1, Some(vec![n as u8; 900]))])).collect();
    let table = Table::open(&env, write(&env, 1, &content, &RangeTombs::default())).expect("whole");
    assert!(table.top().count() > 2, "several parts");
    for key in content.keys() {
        let found = table.get(key, key_hash(key), ts(1), &KEEP).expect("whole").expect("loads");
        assert_eq!(shown(found.version), expected(&content, key, 1), "{key:?}");
    }
}

#[test]
fn what_a_ticket_gathered_is_at_hand_without_a_pool() {
    let (_, mut env) = setup();
    env.pool = duramen_base::pool::FramePool::new(env.host.budget(), 0);
    let content = sample();
    let table = Table::open(&env, write(&env, 1, &content, &RangeTombs::default())).expect("whole");
    let (prepared, pin) = (Prepared::default(), Pinned::new());
    let resident = Resident { prepared: &prepared, pin: &pin };
    assert!(table.get(&key(7), key_hash(&key(7)), ts(1000), &resident).expect("whole").is_none());
    let gathering = Gathering::default();
    table.get(&key(7), key_hash(&key(7)), ts(1000), &gathering).expect("whole").expect("loads");
    prepared.remember(gathering.into_blocks());
    let found = table.get(&key(7), key_hash(&key(7)), ts(1000), &resident).expect("whole").expect("prepared");
    assert_eq!(shown(found.version), expected(&content, &key(7), 1000));
}

#[test]
fn range_tombstones_come_back_and_may_be_alone() {
    let (_, env) = setup();
    let mut tombs = RangeTombs::default();
    for number in 0..3000u32 {
        let low = [vec![b'x'; 100], number.to_be_bytes().to_vec()].concat();
        let high = [vec![b'x'; 100], (number + 1).to_be_bytes().to_vec()].concat();
        tombs.insert(&low, &high, ts(u64::from(number % 7) + 1), None);
    }
    tombs.insert(b"x", b"", ts(3), None);
    let meta = write(&env, 1, &Content::new(), &tombs);
    assert_eq!((meta.keys, meta.min_ts, meta.max_ts), (0, ts(1), ts(7)));
    let table = Table::open(&env, meta).expect("whole");
    assert!(table.props().tombs.len() > 1);
    assert_eq!(table.tombs().fragments().collect::<Vec<_>>(), tombs.fragments().collect::<Vec<_>>());
    assert!(table.get(b"x", key_hash(b"x"), Timestamp::MAX, &KEEP).expect("whole").expect("loads").version.is_none());
}

#[test]
fn keys_of_the_greatest_length_fit() {
    let (_, env) = setup();
    let mut content = Content::new();
    for number in 0..400u32 {
        let mut key = vec![0xff; KEY_BYTES_MAX];
        // Two neighbours differ in their last byte only, so that separators are as long as keys.
        key[..4].copy_from_slice(&(number / 2).to_be_bytes());
        key[KEY_BYTES_MAX - 1] = 0xfe + (number % 2) as u8;
        content.insert(key, vec![(1, Some(vec![1; 10]))]);
    }
    content.insert(vec![0xff; KEY_BYTES_MAX], vec![(1, None)]);
    let table = Table::open(&env, write(&env, 1, &content, &RangeTombs::default())).expect("whole");
    assert!(table.top().count() > 10);
    for key in content.keys() {
        let found = table.get(key, key_hash(key), ts(1), &KEEP).expect("whole").expect("loads");
        assert_eq!(shown(found.version), expected(&content, key, 1));
    }
}

#[test]
fn any_changed_byte_is_found_by_the_read_that_meets_it() {
    let (disk, env) = setup();
    let content: Content = sample().into_iter().filter(|(key, _)| !key.ends_with(b"long")).take(100).collect();
    let mut tombs = RangeTombs::default();
    tombs.insert(b"a", b"b", ts(2), None);
    let meta = write(&env, 1, &content, &tombs);
    let file = File::open(&disk, &table_path(&env.dir, 1), OpenMode::ReadWrite).expect("there");
    // The header at the start repeats what the footer says; only the digest looks at it.
    for offset in (64..meta.file_bytes).step_by(3) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("inside");
        file.write_all_at(&[byte[0] ^ 1 << (offset % 8)], offset).expect("inside");
        let outcome = Table::open(&env, meta.clone()).and_then(|table| {
            let mut cursor = TableCursor::new(Arc::new(table), KEEP);
            cursor.first()?;
            while cursor.is_on() {
                cursor.next()?;
            }
            let table = Table::open(&env, meta.clone())?;
            content.keys().try_for_each(|key| table.get(key, key_hash(key), ts(9), &KEEP).map(drop))
        });
        let error = outcome.expect_err("damaged");
        assert!(matches!(error, Error::Corruption { .. } | Error::UnsupportedFormat { .. }), "{offset}: {error}");
        file.write_all_at(&byte, offset).expect("inside");
    }
}

#[test]
fn a_table_in_the_place_of_another_is_found() {
    let (disk, env) = setup();
    let meta = write(&env, 1, &sample(), &RangeTombs::default());
    let mut other = sample();
    other.insert(b"z".to_vec(), vec![(9, None)]);
    let other_meta = write(&env, 2, &other, &RangeTombs::default());
    disk.rename(&table_path(&env.dir, 2), &table_path(&env.dir, 1)).expect("there");
    assert!(matches!(Table::open(&env, meta), Err(Error::Corruption { .. })));
    let missing = Table::open(&env, other_meta.clone()).expect_err("moved away");
    assert!(missing.to_string().contains("missing"), "{missing}");
    let as_one = TableMeta { no: 1, ..other_meta };
    assert!(matches!(Table::open(&env, as_one), Err(Error::Corruption { .. })));
}

#[test]
fn a_block_of_an_older_file_with_the_same_number_is_found() {
    let (disk, env) = setup();
    let old = sample();
    let old_meta = write(&env, 1, &old, &RangeTombs::default());
    let old_file = File::open(&disk, &table_path(&env.dir, 1), OpenMode::Read).expect("there");
    let mut stale = vec![0; 2000];
    old_file.read_exact_at(&mut stale, 64).expect("long enough");
    drop(old_file);
    let mut new = old.clone();
    new.insert(key(0), vec![(77, Some(vec![9; 40]))]);
    let meta = write(&env, 1, &new, &RangeTombs::default());
    assert_ne!(meta.digest, old_meta.digest);
    let file = File::open(&disk, &table_path(&env.dir, 1), OpenMode::ReadWrite).expect("there");
    let table = Table::open(&env, meta).expect("whole");
    file.write_all_at(&stale, 64).expect("inside");
    assert!(matches!(table.get(&key(0), key_hash(&key(0)), ts(100), &KEEP), Err(Error::Corruption { .. })));
    assert!(
        table
            .get(&key(499), key_hash(&key(499)), ts(1000), &KEEP)
            .expect("another block")
            .expect("loads")
            .version
            .is_some(),
        "K6"
    );
}

#[test]
fn a_handle_cannot_ask_for_more_than_a_block() {
    let (_, env) = setup();
    let table = Table::open(&env, write(&env, 1, &sample(), &RangeTombs::default())).expect("whole");
    for handle in [
        Handle { offset: u64::MAX, len: 100, crc: 0, is_packed: false },
        Handle { offset: 64, len: u32::MAX, crc: 0, is_packed: false },
        Handle { offset: 64, len: 0, crc: 0, is_packed: false },
        Handle { offset: 64, len: 100, crc: 0, is_packed: true },
        Handle { offset: table.meta().file_bytes - 10, len: 100, crc: 0, is_packed: false },
    ] {
        assert!(matches!(table.read_block(&handle, ImageKind::TableData), Err(Error::Corruption { .. })));
    }
}
