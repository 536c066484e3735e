//! A patched image against one built from the same records.

use super::*;

/// What becomes of a key: other versions, or none (`None`).
type Edits = BTreeMap<Vec<u8>, Option<BTreeMap<u64, Option<Vec<u8>>>>>;

/// The history as the builder gets it, keys without their prefix.
fn history(versions: &Versions, prefix: usize) -> Vec<(&[u8], Timestamp, Body<'_>)> {
    let mut all = Vec::new();
    for (key, of) in versions {
        let main = usize::from(of.values().next_back().is_some_and(Option::is_some));
        all.extend(of.iter().rev().skip(main).map(|(&at, value)| (&key[prefix..], ts(at), body(value))));
    }
    all
}

/// The main record of a key.
fn main_record<'a>(suffix: &'a [u8], versions: &'a BTreeMap<u64, Option<Vec<u8>>>) -> Option<Record<'a>> {
    let (&at, value) = versions.iter().next_back()?;
    value.as_deref().map(|value| Record { suffix, ts: ts(at), body: Body::Value(value) })
}

/// Everything that readers can ask for.
fn content(image: &Image) -> (Vec<Record<'_>>, Vec<Record<'_>>) {
    let main = (0..image.count()).map(|index| image.record(index)).collect();
    (main, (0..image.hist_count()).map(|index| image.hist_record(index)).collect())
}

fn check_patch(old: &Versions, edits: &Edits, common: &[u8]) -> Result<(), TestCaseError> {
    let with_common = |key: &Vec<u8>| [common, key].concat();
    let old: Versions = old.iter().map(|(key, versions)| (with_common(key), versions.clone())).collect();
    let high = [common, &[255; 11]].concat();
    let image = build(common, &high, &old);

    let mut new = old.clone();
    let mut places = Vec::new();
    for (key, edit) in edits {
        let key = with_common(key);
        places.push((image.search(&key), key.clone()));
        match edit {
            Some(versions) => drop(new.insert(key, versions.clone())),
            None => drop(new.remove(&key)),
        }
    }
    let changes: Vec<Change<'_>> = places
        .iter()
        .map(|(place, key)| Change {
            place: *place,
            record: new.get(key).and_then(|versions| main_record(&key[common.len()..], versions)),
        })
        .filter(|change| change.place.is_ok() || change.record.is_some())
        .collect();
    let records = |versions: &Versions| -> Vec<(Vec<u8>, Timestamp, Option<Vec<u8>>)> {
        let owned = |body| match body {
            Body::Value(value) => Some(<[u8]>::to_vec(value)),
            Body::Tombstone | Body::Large(_) => None,
        };
        history(versions, common.len()).into_iter().map(|(key, ts, body)| (key.to_vec(), ts, owned(body))).collect()
    };
    let is_same = records(&old) == records(&new);
    let wanted = records(&new);
    let wanted: Vec<Record<'_>> =
        wanted.iter().map(|(suffix, ts, value)| Record { suffix, ts: *ts, body: body(value) }).collect();

    let built = build(common, &high, &new);
    let patched = image.patched(&changes, (!is_same).then_some(&wanted), IMAGE_BYTES_MAX).expect("it fits");
    prop_assert_eq!(content(&patched), content(&built));
    prop_assert_eq!((patched.max_ts(), patched.hist_max_ts()), (built.max_ts(), built.hist_max_ts()));
    prop_assert_eq!((patched.low_fence(), patched.high_fence()), (built.low_fence(), built.high_fence()));
    if patched.header.base_ts == built.header.base_ts {
        prop_assert_eq!(patched.bytes(), built.bytes());
    }
    let decoded = Image::decode(patched.to_stored(77), &IDENTITY).map_err(|fault| TestCaseError::fail(fault.0))?;
    prop_assert_eq!(content(&decoded), content(&built));

    let exact = patched.bytes().len();
    prop_assert!(image.patched(&changes, (!is_same).then_some(&wanted), exact).is_some());
    prop_assert!(image.patched(&changes, (!is_same).then_some(&wanted), exact - 1).is_none());
    Ok(())
}

fn edits() -> impl Strategy<Value = Edits> {
    let versions = versions(key(), 0..1000);
    (versions, btree_map(key(), Just(()), 0..6)).prop_map(|(versions, gone)| {
        let changed = versions.into_iter().take(8).map(|(key, versions)| (key, Some(versions)));
        changed.chain(gone.into_keys().map(|key| (key, None))).collect()
    })
}

proptest! {
    #[test]
    fn a_patched_image_is_the_built_one(old in versions(key(), 0..1000), edits in edits(), common in vec(any::<u8>(), 0..6)) {
        check_patch(&old, &edits, &common)?;
    }

    #[test]
    fn keys_that_went_or_came_leave_the_others(old in versions(key(), 0..3), pick in vec(any::<prop::sample::Index>(), 1..4), add in any::<bool>()) {
        prop_assume!(!old.is_empty());
        let keys: Vec<_> = old.keys().cloned().collect();
        let picked: Edits = pick.iter().map(|index| {
            let key = index.get(&keys).clone();
            let versions = add.then(|| BTreeMap::from([(70_000, Some(vec![7; 9]))]));
            (key, versions)
        }).collect();
        check_patch(&old, &picked, b"oak")?;
    }

    #[test]
    fn frozen_pages_get_their_first_ts(old in versions(key(), 0..1), edits in edits()) {
        check_patch(&old, &edits, b"")?;
    }
}

#[test]
fn the_first_and_the_last_record_of_a_page_change_as_any_other() {
    let value = |byte: u8| BTreeMap::from([(9, Some(vec![byte; 100]))]);
    let old: Versions = (10..138u8).map(|key| (vec![key, 0], value(key))).collect();
    for key in [9, 10, 11, 136, 137, 138] {
        for edit in [None, Some(value(1)), Some(BTreeMap::from([(10, None)]))] {
            check_patch(&old, &BTreeMap::from([(vec![key, 0], edit)]), b"").unwrap();
        }
    }
}

#[test]
fn a_wrong_place_is_refused() {
    let mut builder = ImageBuilder::new(&leaf(b"b", b"x"));
    for key in [b"d", b"f"] {
        builder.push(key, ts(1), Body::Value(b""));
    }
    let image = builder.finish();
    let refused = |what: &str, changes: &[(Result<usize, usize>, &'static [u8])]| {
        let record = |suffix| Record { suffix, ts: ts(2), body: Body::Value(b"") };
        let changes: Vec<Change<'_>> =
            changes.iter().map(|&(place, key)| Change { place, record: Some(record(key)) }).collect();
        limits::refused(what, std::panic::AssertUnwindSafe(|| drop(image.patched(&changes, None, IMAGE_BYTES_MAX))));
    };
    refused("IM2: main records ascend", &[(Err(0), b"e")]);
    refused("IM2: main records ascend", &[(Err(1), b"d")]);
    refused("IM2: main records ascend", &[(Err(2), b"e")]);
    refused("IM2: main records ascend", &[(Ok(1), b"g")]);
    refused("IM2: main records ascend", &[(Err(1), b"e"), (Err(1), b"e")]);
    refused("IM2: changes are at places", &[(Ok(2), b"g")]);
    refused("IM2: changes are at places", &[(Ok(1), b"f"), (Ok(0), b"d")]);
    refused("IM2: keys are at or above the low fence", &[(Err(0), b"a")]);
    refused("IM2: keys are below the high fence", &[(Err(2), b"x")]);
}
