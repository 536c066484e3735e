//! The steps of a random program, and how they are drawn. What they do stands in `against_oracle.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;

use duramen::Durability;
use proptest::prelude::*;
use proptest::sample::Index;

use super::KINDS;

const KEY_COUNT: u8 = 24;

/// The key number `i`.
pub(super) fn key(i: u8) -> Vec<u8> {
    match i {
        0 => vec![],
        1..6 => vec![i * 51],
        6..18 => format!("k{i:02}").into_bytes(),
        _ => [vec![b'p'; 120], vec![i]].concat(),
    }
}

/// One change to one keyspace.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Put(u8, u16),
    Delete(u8),
    /// From the first key up to the second, or to the end.
    DeleteRange(u8, Option<u8>),
}

/// A step of a program.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Begin {
        pin: bool,
        durability: Durability,
    },
    Write {
        tx: Index,
        writes: Vec<(usize, Write)>,
    },
    Get {
        reader: Index,
        keyspace: usize,
        key: u8,
    },
    Scan {
        reader: Index,
        keyspace: usize,
        lower: Bound<u8>,
        upper: Bound<u8>,
        from_front: Vec<bool>,
    },
    /// An iterator that lives on beside later steps.
    Keep {
        reader: Index,
        keyspace: usize,
    },
    Advance {
        kept: Index,
        from_front: Vec<bool>,
    },
    Savepoint {
        tx: Index,
    },
    RollbackTo {
        tx: Index,
        savepoint: Index,
    },
    Commit {
        tx: Index,
        asynchronous: bool,
    },
    Rollback {
        tx: Index,
    },
    /// Keys and lengths of their values, as one sorted ingest.
    Ingest {
        keyspace: usize,
        puts: BTreeMap<u8, u16>,
    },
    Snapshot,
    EndSnapshot {
        snapshot: Index,
    },
    Checkpoint,
    Upkeep {
        rounds: usize,
    },
    /// Closes or kills, and opens again.
    Reopen {
        kill: bool,
    },
}

fn any_key() -> impl Strategy<Value = u8> {
    0..KEY_COUNT
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        8 => (any_key(), prop_oneof![3 => 0..40u16, 1 => 40..3000u16]).prop_map(|(key, bytes)| Write::Put(key, bytes)),
        3 => any_key().prop_map(Write::Delete),
        1 => (any_key(), prop::option::weighted(0.8, any_key())).prop_map(|(low, high)| Write::DeleteRange(low, high)),
    ]
}

fn bound() -> impl Strategy<Value = Bound<u8>> {
    prop_oneof![Just(Bound::Unbounded), any_key().prop_map(Bound::Included), any_key().prop_map(Bound::Excluded)]
}

/// Any step, the frequent ones more often.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let keyspace = || 0..KINDS.len();
    let ends = || prop::collection::vec(any::<bool>(), 1..12);
    let durability = prop_oneof![2 => Just(Durability::Buffered), 1 => Just(Durability::Sync)];
    prop_oneof![
        6 => (any::<bool>(), durability).prop_map(|(pin, durability)| Step::Begin { pin, durability }),
        20 => (index(), prop::collection::vec((keyspace(), write()), 1..6)).prop_map(|(tx, writes)| Step::Write { tx, writes }),
        6 => (index(), keyspace(), any_key()).prop_map(|(reader, keyspace, key)| Step::Get { reader, keyspace, key }),
        5 => (index(), keyspace(), bound(), bound(), ends())
            .prop_map(|(reader, keyspace, lower, upper, from_front)| Step::Scan { reader, keyspace, lower, upper, from_front }),
        1 => (index(), keyspace()).prop_map(|(reader, keyspace)| Step::Keep { reader, keyspace }),
        2 => (index(), ends()).prop_map(|(kept, from_front)| Step::Advance { kept, from_front }),
        2 => index().prop_map(|tx| Step::Savepoint { tx }),
        2 => (index(), index()).prop_map(|(tx, savepoint)| Step::RollbackTo { tx, savepoint }),
        6 => (index(), any::<bool>()).prop_map(|(tx, asynchronous)| Step::Commit { tx, asynchronous }),
        1 => index().prop_map(|tx| Step::Rollback { tx }),
        2 => (keyspace(), prop::collection::btree_map(any_key(), 0..600u16, 0..12))
            .prop_map(|(keyspace, puts)| Step::Ingest { keyspace, puts }),
        2 => Just(Step::Snapshot),
        1 => index().prop_map(|snapshot| Step::EndSnapshot { snapshot }),
        1 => Just(Step::Checkpoint),
        1 => (1..4usize).prop_map(|rounds| Step::Upkeep { rounds }),
        1 => any::<bool>().prop_map(|kill| Step::Reopen { kill }),
    ]
}
