//! Images against a map of versions, and against hostile bytes.

mod hostile;
mod limits;
mod patch;
mod records;

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// Versions of each key: ts to value, `None` for deleted.
type Versions = BTreeMap<Vec<u8>, BTreeMap<u64, Option<Vec<u8>>>>;

const IDENTITY: Identity = Identity { kind: ImageKind::Leaf, self_id: 9, ks_id: 3, write_seq: 77 };

fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

fn leaf<'a>(low: &'a [u8], high: &'a [u8]) -> ImageSpec<'a> {
    ImageSpec { kind: ImageKind::Leaf, self_id: 9, ks_id: 3, level: 0, right_pid: 11, low, high }
}

fn body(value: &Option<Vec<u8>>) -> Body<'_> {
    value.as_deref().map_or(Body::Tombstone, Body::Value)
}

/// The leaf with all these versions: a key that is deleted last stands in the history alone.
fn build(low: &[u8], high: &[u8], versions: &Versions) -> Image {
    let mut builder = ImageBuilder::new(&leaf(low, high));
    for (key, versions) in versions {
        for (index, (&at, value)) in versions.iter().rev().enumerate() {
            let bound = builder.image_bytes_with(key, body(value));
            match (index, value) {
                (0, Some(_)) => builder.push(key, ts(at), body(value)),
                _ => builder.push_history(key, ts(at), body(value)),
            }
            assert!(builder.image_bytes() <= bound);
        }
    }
    let bytes = builder.image_bytes();
    let image = builder.finish();
    assert_eq!(image.bytes().len(), bytes);
    image
}

/// What a reader at `at` sees of `key`, by the definition.
fn read(versions: &Versions, key: &[u8], at: u64) -> Option<(u64, Option<Vec<u8>>)> {
    let (&ts, value) = versions.get(key)?.range(..=at).next_back()?;
    Some((ts, value.clone()))
}

/// What a reader at `at` sees of `key` in the image.
fn lookup(image: &Image, key: &[u8], at: u64) -> Option<(u64, Option<Vec<u8>>)> {
    match image.lookup(key, ts(at)) {
        Lookup::Absent => None,
        Lookup::Deleted(ts) => Some((ts.get(), None)),
        Lookup::Value { range, ts } => Some((ts.get(), Some(image.bytes()[range].to_vec()))),
        Lookup::Large(..) => panic!("none was put"),
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few letters, so that prefixes, equal heads and neighbours are common.
    prop_oneof![vec(0u8..3, 0..7), vec(prop_oneof![Just(0u8), Just(255)], 0..10)]
}

fn versions(tail: impl Strategy<Value = Vec<u8>>, frozen: std::ops::Range<u64>) -> impl Strategy<Value = Versions> {
    let value = proptest::option::weighted(0.8, vec(any::<u8>(), 0..40));
    btree_map(tail, btree_map(frozen, value, 1..4), 0..60).prop_map(|mut all| {
        for versions in all.values_mut() {
            // Frozen versions are values.
            if let Some(value) = versions.get_mut(&0) {
                value.get_or_insert_default();
            }
        }
        all
    })
}

proptest! {
    #[test]
    fn every_reader_finds_its_version(all in versions(key(), 0..12), probes in vec(key(), 20)) {
        let image = Image::decode(build(b"", b"", &all).to_stored(77), &IDENTITY).unwrap();
        for key in all.keys().chain(&probes) {
            for at in 0..13 {
                let expected = read(&all, key, at);
                let found = lookup(&image, key, at);
                // A reader that needs no history does not learn when a key was deleted.
                if found.is_none() && ts(at) >= image.hist_max_ts() {
                    prop_assert!(expected.is_none_or(|(_, value)| value.is_none()));
                } else {
                    prop_assert_eq!(found, expected);
                }
            }
            let newest = all.get(key).and_then(|versions| versions.keys().next_back()).map(|&at| ts(at));
            prop_assert_eq!(image.newest_ts(key), newest);
            let older = all.get(key).map_or(0, |versions| {
                versions.len() - usize::from(versions.values().next_back().unwrap().is_some())
            });
            prop_assert_eq!(image.hist_range(key).len(), older);
        }
    }

    #[test]
    fn search_finds_what_a_sorted_list_finds(keys in btree_map(key(), Just(()), 0..400), probes in vec(key(), 50), common in vec(any::<u8>(), 0..6)) {
        let with_common = |key: &Vec<u8>| [&common[..], key].concat();
        let keys: Vec<Vec<u8>> = keys.keys().map(with_common).collect();
        let high = [&common[..], &[255; 11]].concat();
        let mut builder = ImageBuilder::new(&ImageSpec { kind: ImageKind::TableData, ..leaf(&common, &high) });
        keys.iter().for_each(|key| builder.push(key, ts(1), Body::Value(b"")));
        let image = builder.finish();
        prop_assert_eq!(image.prefix(), &common[..]);
        let mut full = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            prop_assert_eq!(image.search(key), Ok(index));
            image.key_into(index, &mut full);
            prop_assert_eq!(&full, key);
        }
        for probe in probes.iter().map(with_common).chain(probes.iter().cloned()) {
            prop_assert_eq!(image.search(&probe), keys.binary_search(&probe));
            prop_assert_eq!(image.is_past_high(&probe), probe >= high);
        }
    }
}
