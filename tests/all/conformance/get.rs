//! K1 and K2: single keys, read at every timestamp, of every shape and size.

use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::{Backend, Hit, Pin, Timestamp};

use super::fixture::Fixture;
use super::subject::{Subject, on_each_backend};
use super::words::{Answer, Rows, delete, delete_range, put};

fn value(value: impl AsRef<[u8]>, ts: Timestamp) -> Answer {
    Answer::Value(value.as_ref().to_vec(), ts)
}

fn an_empty_store_has_nothing<S: Subject>() {
    let store = Fixture::<S>::new();
    for at in [Timestamp::ZERO, Timestamp::new(1), Timestamp::MAX] {
        for key in [&b""[..], b"k", &[0xff; 100]] {
            assert_eq!(store.found(key, at), (Answer::Absent, false));
            assert_eq!(store.newer_than(key, at), None);
        }
        assert!(store.rows(at).is_empty());
    }
}

fn every_version_is_read_at_its_timestamps<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let before = store.commit(&[put("other", "x")]);
    let one = store.commit(&[put("k", "one")]);
    let between = store.commit_elsewhere();
    let two = store.commit(&[put("k", "two")]);
    for _ in 0..2 {
        assert_eq!(store.found("k", Timestamp::ZERO), (Answer::Absent, true));
        assert_eq!(store.found("k", before), (Answer::Absent, true));
        assert_eq!(store.found("k", one), (value("one", one), true));
        assert_eq!(store.found("k", between), (value("one", one), true));
        assert_eq!(store.found("k", two), (value("two", two), false));
        assert_eq!(store.found("k", Timestamp::MAX), (value("two", two), false));
        // In files too.
        store.persist();
    }
}

fn deleted_keys_are_deleted_until_put_again<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let one = store.commit(&[put("k", "one")]);
    let gone = store.commit(&[delete("k")]);
    let two = store.commit(&[put("k", "two")]);
    for _ in 0..2 {
        assert_eq!(store.found("k", one), (value("one", one), true));
        assert!(store.get("k", gone).is_deleted_at(gone) && store.found("k", gone).1);
        assert_eq!(store.found("k", two), (value("two", two), false));
        store.persist();
    }
}

fn deleting_an_absent_key_is_a_change<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let gone = store.commit(&[delete("k")]);
    assert_eq!(store.found("k", Timestamp::ZERO), (Answer::Absent, true));
    assert!(store.get("k", gone).is_deleted_at(gone) && !store.found("k", gone).1);
    assert_eq!(store.newer_than("k", Timestamp::ZERO), Some(gone));
    store.persist();
    assert_eq!(store.newer_than("k", Timestamp::ZERO), Some(gone));
}

fn newer_than_gives_the_newest_change_of_all<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let one = store.commit(&[put("k", "one")]);
    let two = store.commit(&[put("k", "two")]);
    let gone = store.commit(&[delete("k")]);
    let last = store.commit(&[put("neighbour", "x")]);
    for _ in 0..2 {
        for since in [Timestamp::ZERO, one, two] {
            assert_eq!(store.newer_than("k", since), Some(gone));
        }
        for since in [gone, last] {
            assert_eq!(store.newer_than("k", since), None);
        }
        assert_eq!(store.newer_than("neighbou", Timestamp::ZERO), None);
        store.persist();
    }
}

fn points_survive_the_range_deletes_of_their_own_batch<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let before = store.commit(&[put("b", "old"), put("c", "old")]);
    let both = store.commit(&[put("b", "new"), delete_range("a", "z"), delete("d")]);
    for _ in 0..2 {
        assert_eq!(store.get("b", both), value("new", both), "B2");
        assert!(store.get("c", both).is_deleted_at(both));
        assert!(store.get("d", both).is_deleted_at(both));
        assert_eq!(store.get("c", before), value("old", before));
        store.persist();
    }
}

fn one_commit_may_come_in_several_applies<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.commit(&[put("a", "old"), put("b", "old")]);
    let ts = store.host.sequence();
    store.apply_at(&[put("b", "new")], ts);
    store.apply_at(&[put("a", "new"), put("c", "new")], ts);
    store.apply_at(&[delete("d")], ts);
    store.host.publish(ts);
    for _ in 0..2 {
        for key in ["a", "b", "c"] {
            assert_eq!(store.value(key), Some(b"new".to_vec()), "K2: {key}");
        }
        assert_eq!(store.value("d"), None);
        store.reopen();
    }
}

fn commits_of_different_keys_may_come_out_of_order<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let first = store.commit(&[put("a", "0"), put("b", "0")]);
    let (early, late) = (store.host.sequence(), store.host.sequence());
    store.apply_at(&[put("b", "late")], late);
    store.apply_at(&[put("a", "early")], early);
    store.host.publish(late);
    for _ in 0..2 {
        assert_eq!(store.found("a", early), (value("early", early), false), "K2");
        assert_eq!(store.found("b", early), (value("0", first), true));
        assert_eq!(store.found("b", late), (value("late", late), false));
        store.persist();
    }
}

fn the_empty_key_is_a_key<S: Subject>() {
    let mut store = Fixture::<S>::new();
    store.commit(&[put("", "nothing"), put("a", "")]);
    let one = store.now();
    assert_eq!(store.get("", one), value("nothing", one));
    assert_eq!(store.get("a", one), value("", one), "an empty value is a value");
    store.persist();
    store.reopen();
    assert_eq!(store.rows(store.now()).len(), 2);
    let two = store.commit(&[delete("")]);
    assert!(store.get("", two).is_deleted_at(two));
}

fn keys_of_the_greatest_length_work<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let key = |byte: u8| {
        let mut key = vec![b'k'; KEY_BYTES_MAX];
        key[KEY_BYTES_MAX - 1] = byte;
        key
    };
    for byte in 0..12 {
        store.commit(&[put(key(byte), [byte])]);
    }
    store.commit(&[put([b'k'; KEY_BYTES_MAX - 1], "shorter"), delete_range(key(3), key(5)), delete(key(7))]);
    for _ in 0..2 {
        let there: Vec<u8> = store.rows(store.now()).iter().skip(1).map(|(_, value)| value[0]).collect();
        assert_eq!(there, [0, 1, 2, 5, 6, 8, 9, 10, 11]);
        assert_eq!(store.value(key(11)), Some(vec![11]));
        assert_eq!(store.value(key(4)), None);
        assert_eq!(store.value(key(12)), None);
        store.persist();
        store.reopen();
    }
}

fn values_of_every_size_come_back<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let sizes = [0, 1, 21, 22, 23, 24, 255, 256, 1000, 1024, 4095, 4096, 20_000, 65_536, 200_000];
    let content = |size: usize| (0..size).map(|i| (i * 7 + size) as u8).collect::<Vec<u8>>();
    let mut expected = Rows::new();
    for size in sizes {
        let key = format!("{size:08}").into_bytes();
        store.commit(&[put(&key, content(size))]);
        expected.push((key, content(size)));
    }
    for _ in 0..2 {
        assert!(store.rows(store.now()) == expected);
        for (key, value) in &expected {
            assert!(store.value(key).as_ref() == Some(value), "{} bytes", value.len());
        }
        store.persist();
        store.reopen();
    }
}

fn keys_with_long_shared_prefixes_stay_apart<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let key = |i: usize| format!("{}{i:03}{}", "p".repeat(300), "s".repeat(i % 7));
    for i in 0..200 {
        store.commit(&[put(key(i * 77 % 200), i.to_string())]);
    }
    for _ in 0..2 {
        for i in 0..200 {
            assert_eq!(store.value(key(i * 77 % 200)), Some(i.to_string().into_bytes()));
            assert_eq!(store.value(format!("{}-", key(i))), None);
        }
        assert_eq!(store.value("p".repeat(300)), None);
        assert_eq!(store.rows(store.now()).len(), 200);
        store.persist();
        store.reopen();
    }
}

fn keys_are_ordered_bytewise<S: Subject>() {
    let mut store = Fixture::<S>::new();
    let mut keys: Vec<Vec<u8>> = vec![vec![]];
    for a in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
        keys.push(vec![a]);
        for b in [0x00, 0xff] {
            keys.push(vec![a, b]);
            keys.push(vec![a, b, 0x00]);
            keys.push([vec![a, b], vec![0xff; 40]].concat());
        }
    }
    for key in keys.iter().rev() {
        store.commit(&[put(key, key)]);
    }
    keys.sort();
    for _ in 0..2 {
        let met: Vec<Vec<u8>> = store.rows(store.now()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(met, keys);
        for key in &keys {
            assert_eq!(store.value(key), Some(key.clone()));
        }
        store.persist();
        store.reopen();
    }
}

fn many_keys_come_back<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    let key = |i: u32| i.wrapping_mul(0x9e37_79b1).to_be_bytes();
    for chunk in 0..60 {
        let changes: Vec<_> = (chunk * 50..chunk * 50 + 50).map(|i| put(key(i), i.to_string())).collect();
        store.commit(&changes);
        if chunk % 7 == 0 {
            store.persist();
        }
    }
    for _ in 0..2 {
        for i in 0..3000 {
            assert_eq!(store.value(key(i)), Some(i.to_string().into_bytes()));
        }
        assert_eq!(store.rows(store.now()).len(), 3000);
        store.reopen();
    }
}

fn a_value_outlives_what_it_was_read_from<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    let long = vec![b'v'; 3000];
    store.commit(&[put("k", &long)]);
    store.persist();
    let kept = loop {
        let ticket = {
            let pin = Pin::new();
            match store.store().get(&pin, b"k", store.now()).expect("a readable store").hit {
                Hit::Value { bytes, .. } => break bytes.into_value(),
                Hit::NeedIo(ticket) => ticket,
                Hit::Large { large, .. } => {
                    let value = store.store().load_large(b"k", store.now(), large).expect("a readable store");
                    break value.expect("the key is there");
                }
                Hit::Absent | Hit::Deleted(_) => panic!("the key is there"),
            }
        };
        ticket.load().expect("a readable store");
    };
    for i in 0..50 {
        store.commit(&[put("k", i.to_string().repeat(500))]);
    }
    store.persist();
    store.drop_store();
    assert!(*kept == *long);
    assert!(*kept.detach() == *long);
}

on_each_backend!(
    an_empty_store_has_nothing,
    every_version_is_read_at_its_timestamps,
    deleted_keys_are_deleted_until_put_again,
    deleting_an_absent_key_is_a_change,
    newer_than_gives_the_newest_change_of_all,
    points_survive_the_range_deletes_of_their_own_batch,
    one_commit_may_come_in_several_applies,
    commits_of_different_keys_may_come_out_of_order,
    the_empty_key_is_a_key,
    keys_of_the_greatest_length_work,
    values_of_every_size_come_back,
    keys_with_long_shared_prefixes_stay_apart,
    keys_are_ordered_bytewise,
    many_keys_come_back,
    a_value_outlives_what_it_was_read_from,
);
