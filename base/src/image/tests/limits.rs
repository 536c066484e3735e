//! Images at their limits, and what the builder refuses.

use super::*;
use crate::options::KEY_BYTES_MAX;

fn empty(low: &'static [u8], high: &'static [u8]) -> ImageBuilder {
    ImageBuilder::new(&leaf(low, high))
}

#[test]
fn an_empty_image_answers() {
    let image = Image::decode(empty(b"", b"").finish().to_stored(77), &IDENTITY).unwrap();
    assert_eq!(image.bytes().len(), 192);
    assert_eq!((image.search(b"x"), image.lookup(b"x", ts(9)), image.hist_range(b"x")), (Err(0), Lookup::Absent, 0..0));
    assert!(!image.is_past_high(&[255; 9]));
}

#[test]
fn an_image_of_exactly_the_limit_is_legal() {
    let mut builder = empty(b"", b"");
    let mut key = 0u32;
    while builder.image_bytes() + 20_000 < IMAGE_BYTES_MAX {
        builder.push(&key.to_be_bytes(), ts(1), Body::Value(b""));
        key += 1;
    }
    // What is left after head, offset (with the gap behind an odd count), lengths and ts, and the key: a value.
    let gap = if key.is_multiple_of(2) { 4 } else { 0 };
    let value = vec![1; IMAGE_BYTES_MAX - builder.image_bytes() - 4 - gap - (1 + 3 + 1 + 4)];
    builder.push(&key.to_be_bytes(), ts(1), Body::Value(&value));
    assert_eq!(builder.image_bytes(), IMAGE_BYTES_MAX);
    let image = Image::decode(builder.finish().to_stored(77), &IDENTITY).unwrap();
    assert_eq!(image.record(key as usize).body, Body::Value(&value));

    let spec = ImageSpec { kind: ImageKind::Raw, ..leaf(b"", b"") };
    let raw = ImageBuilder::raw(&spec, &vec![1; IMAGE_BYTES_MAX - 192]);
    let expect = Identity { kind: ImageKind::Raw, ..IDENTITY };
    assert_eq!(Image::decode(raw.to_stored(77), &expect).unwrap().raw_body().len(), IMAGE_BYTES_MAX - 192);
}

#[test]
fn an_image_full_of_the_smallest_records_is_found_through() {
    let mut builder = empty(b"", b"");
    let mut keys = 0u32..;
    while builder.image_bytes_with(&[0; 3], Body::Value(b"")) <= IMAGE_BYTES_MAX {
        let key = keys.next().unwrap();
        builder.push(&key.to_be_bytes()[1..], Timestamp::ZERO, Body::Value(b""));
    }
    let image = Image::decode(builder.finish().to_stored(77), &IDENTITY).unwrap();
    assert!(image.count() > 15_000, "{}", image.count());
    for index in 0..image.count() {
        let key = (index as u32).to_be_bytes();
        assert_eq!(image.search(&key[1..]), Ok(index));
        assert_eq!(image.search(&[&key[1..], &[0]].concat()), Err(index + 1));
    }
}

/// More than any backend leaves in an image, and as much as ingests once did.
const VALUE_BYTES: usize = 64 << 10;

#[test]
fn the_largest_key_and_value_fit_between_the_largest_fences() {
    let fence = |first: u8| vec![first; KEY_BYTES_MAX];
    let (low, high, key) = (fence(1), fence(3), fence(2));
    let mut builder = ImageBuilder::new(&leaf(&low, &high));
    builder.push(&key, ts(u64::MAX - 1), Body::Value(&vec![9; VALUE_BYTES]));
    builder.push_history(&key, ts(1), Body::Value(&vec![8; VALUE_BYTES]));
    let image = Image::decode(builder.finish().to_stored(77), &IDENTITY).unwrap();
    assert_eq!((image.max_ts(), image.hist_max_ts()), (ts(u64::MAX - 1), ts(u64::MAX - 1)));
    assert_eq!(image.hist_record(0).ts, ts(1));
}

#[test]
fn frozen_records_match_every_reader() {
    let mut builder = empty(b"", b"");
    builder.push(b"old", Timestamp::ZERO, Body::Value(b"v"));
    let image = builder.finish();
    assert!(matches!(image.lookup(b"old", Timestamp::ZERO), Lookup::Value { ts: Timestamp::ZERO, .. }));
    assert_eq!((image.max_ts(), image.newest_ts(b"old")), (Timestamp::ZERO, Some(Timestamp::ZERO)));
}

#[test]
fn children_cover_their_keys() {
    let spec = ImageSpec { kind: ImageKind::Inner, level: 2, ..leaf(b"b", b"") };
    let mut builder = ImageBuilder::new(&spec);
    for (key, pid) in [(b"b", 5u64), (b"d", 6), (b"f", 7)] {
        builder.push(key, Timestamp::ZERO, Body::Value(&pid.to_le_bytes()));
    }
    let image = builder.finish();
    for (key, pid) in [(&b"b"[..], 5), (b"c", 5), (b"d", 6), (b"dd", 6), (b"f", 7), (b"z", 7)] {
        assert_eq!(image.child(image.child_index(key)), pid, "{}", key.escape_ascii());
    }
}

pub(super) fn refused(what: &str, build: impl FnOnce() + std::panic::UnwindSafe) {
    let panic = std::panic::catch_unwind(build).expect_err(what);
    let message =
        panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    assert!(message.as_deref().is_some_and(|message| message.contains(what)), "{message:?}, not {what}");
}

#[test]
fn wrong_order_is_refused_by_the_builder() {
    refused("IM2: main records ascend", || {
        let mut builder = empty(b"", b"");
        builder.push(b"b", ts(1), Body::Value(b""));
        builder.push(b"b", ts(2), Body::Value(b""));
    });
    refused("IM2: keys are below the high fence", || empty(b"a", b"c").push(b"c", ts(1), Body::Value(b"")));
    refused("IM2: keys are at or above the low fence", || empty(b"b", b"c").push(b"a", ts(1), Body::Value(b"")));
    refused("IM2: the low fence is below", || drop(empty(b"c", b"c")));
    refused("IM3: a tombstone has a ts", || empty(b"", b"").push(b"a", Timestamp::ZERO, Body::Tombstone));
    refused("IM3: history is not older", || {
        let mut builder = empty(b"", b"");
        builder.push(b"a", ts(3), Body::Value(b""));
        builder.push_history(b"a", ts(3), Body::Value(b""));
        builder.finish();
    });
    refused("IM3: history keys do not ascend", || {
        let mut builder = empty(b"", b"");
        builder.push_history(b"b", ts(3), Body::Tombstone);
        builder.push_history(b"a", ts(3), Body::Tombstone);
        builder.finish();
    });
    refused("IM3: the newest version of a key is in the history", || {
        let mut builder = empty(b"", b"");
        builder.push_history(b"b", ts(3), Body::Value(b""));
        builder.finish();
    });
    refused("IM4: the first child is not at the low fence", || {
        let mut builder = ImageBuilder::new(&ImageSpec { kind: ImageKind::Inner, level: 1, ..leaf(b"a", b"") });
        builder.push(b"b", Timestamp::ZERO, Body::Value(&[0; 8]));
        builder.finish();
    });
}
