//! The memtable under every schedule of a few threads: nodes have four slots here, so that a handful of keys splits them.

use std::sync::Arc;

use crate::sync::{Mutex, check_pct, check_random, thread};

use super::entry::{Entry, Probe};
use super::{MemPiece, Memtable};
use crate::key_hash::key_hash;
use crate::{KeyBounds, Timestamp};

const KEYS: u8 = 9;

fn insert(mem: &Memtable, key: u8, at: u64) -> bool {
    let ts = Timestamp::new(at);
    let key_bytes = [key];
    let probe = Probe::from(&key_bytes[..]);
    // Half of them as those of a group: what is found may be split, or filled, before it is used.
    let mut leaf = (key / 2).is_multiple_of(2).then(|| mem.keys.find_leaf(&mem.arena, probe)).flatten();
    if let Some(entry) = leaf.as_mut().and_then(|leaf| leaf.look(&mem.arena, probe)) {
        entry.push(&mem.arena, ts, Some(&[key, 2]), |_| {});
        return false;
    }
    let (entry, is_new) = mem.keys.get_or_insert(&mem.arena, probe, leaf, || {
        let entry = Entry::make(&mem.arena, &[key]);
        mem.filter.add(key_hash(&[key]), mem.arena.bytes());
        entry.push(&mem.arena, ts, Some(&[key, 1]), |_| {});
        entry
    });
    if !is_new {
        entry.push(&mem.arena, ts, Some(&[key, 2]), |_| {});
    }
    is_new
}

fn keys_of(mem: &Memtable, backward: bool) -> Vec<u8> {
    let mut piece = MemPiece::default();
    mem.copy_piece(KeyBounds::ALL, backward, Timestamp::MAX, 100, &mut piece);
    for index in 0..piece.len() {
        let version = piece.version(index).expect("an entry has a version from its first moment");
        let value = version.value.as_deref().expect("all are puts").to_vec();
        assert_eq!(value[0], piece.key(index)[0], "the value of another key");
    }
    (0..piece.len()).map(|index| piece.key(index)[0]).collect()
}

/// Two writers, and a reader who must see every key that was there before, in order, whatever splits meanwhile.
fn writers_and_reader() {
    let mem = Arc::new(Memtable::new());
    for key in [4, 8, 12] {
        assert!(insert(&mem, key, 1));
    }
    let writers = [0u8, 1].map(|writer| {
        let mem = Arc::clone(&mem);
        thread::spawn_named("writer", move || {
            for number in 0..KEYS / 2 {
                assert!(insert(&mem, 1 + 4 * number + 2 * writer, 2), "each key is new");
            }
        })
    });
    for backward in [false, true] {
        let mut keys = keys_of(&mem, backward);
        if backward {
            keys.reverse();
        }
        assert!(keys.is_sorted_by(|one, next| one < next), "O1: {keys:?}");
        assert!(keys.iter().all(|&key| mem.filter.may_have(key_hash(&[key]))), "F1: {keys:?}");
        for key in [4, 8, 12] {
            assert!(keys.contains(&key), "O4: {key} is missing in {keys:?}");
            assert!(mem.keys.get(&mem.arena, Probe::from(&[key][..])).is_some());
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let keys = keys_of(&mem, false);
    assert_eq!(keys.len(), 3 + 2 * usize::from(KEYS / 2));
    assert!(keys.iter().all(|&key| mem.newest(&[key]) > Timestamp::ZERO), "F2: {keys:?}");
}

#[test]
fn a_reader_misses_nothing_while_nodes_split() {
    check_random(2_000, writers_and_reader);
    check_pct(2_000, 3, writers_and_reader);
}

/// Of several who bring the same key one makes the entry.
fn same_key() {
    let mem = Arc::new(Memtable::new());
    let answers = Arc::new(Mutex::new(Vec::new()));
    let threads = [0, 1, 2].map(|_| {
        let (mem, answers) = (Arc::clone(&mem), Arc::clone(&answers));
        thread::spawn_named("writer", move || {
            let ts = Timestamp::new(1);
            let (entry, is_new) = mem.keys.get_or_insert(&mem.arena, Probe::from(&b"k"[..]), None, || {
                let entry = Entry::make(&mem.arena, b"k");
                entry.push(&mem.arena, ts, None, |_| {});
                entry
            });
            answers.lock().push((entry.to_bits(), is_new));
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let answers = answers.lock();
    assert_eq!(answers.iter().filter(|answer| answer.1).count(), 1);
    assert!(answers.iter().all(|answer| answer.0 == answers[0].0));
}

#[test]
fn a_key_has_one_entry() {
    check_random(1_000, same_key);
}
