//! Bytes that nobody wrote: each is a fault or an image whose accessors answer, never a panic.

use super::*;
use crate::fuzz::{ask_image, claimed};
use crate::image::header::stamp;
use crate::values::LargeRef;

/// A leaf with everything in it: fences, prefix, ties of heads, frozen records, history, tombstones.
fn sample_leaf() -> Image {
    let mut builder = ImageBuilder::new(&leaf(b"oak", b"oar"));
    builder.push(b"oak", ts(50), Body::Value(b"hard"));
    builder.push_history(b"oak", ts(40), Body::Tombstone);
    builder.push_history(b"oak", ts(30), Body::Value(b"soft"));
    builder.push_history(b"oakleaf", ts(45), Body::Tombstone);
    for index in 0..40u8 {
        builder.push(
            &[b"oaks-", &[b'a' + index / 20, index][..]].concat(),
            ts(u64::from(index % 7)),
            Body::Value(&[index; 5]),
        );
    }
    builder.push(b"oaq", ts(51), Body::Tombstone);
    builder.push_history(b"oaq", ts(0), Body::Value(b"frozen once"));
    builder.finish()
}

fn sample_inner() -> Image {
    let spec = ImageSpec { kind: ImageKind::Inner, level: 1, ..leaf(b"oak", b"oar") };
    let mut builder = ImageBuilder::new(&spec);
    for (key, pid) in [(&b"oak"[..], 5u64), (b"oaki", 6), (b"oam", 7)] {
        builder.push(key, Timestamp::ZERO, Body::Value(&pid.to_le_bytes()));
    }
    builder.finish()
}

fn sample_raw() -> Image {
    ImageBuilder::raw(&ImageSpec { kind: ImageKind::Filter, ..leaf(b"", b"") }, b"any bytes at all")
}

fn samples() -> [Vec<u8>; 3] {
    [sample_leaf(), sample_inner(), sample_raw()].map(|image| image.to_stored(77))
}

/// Decodes with the checksum made right, and asks an image that passes everything it can be asked.
fn decode_restamped(mut bytes: Vec<u8>) -> Result<Image, ImageFault> {
    if bytes.len() >= header::HEADER_BYTES {
        let write_seq = claimed(&bytes).write_seq;
        stamp(&mut bytes, write_seq);
    }
    let expect = claimed(&bytes);
    let image = Image::decode(bytes, &expect)?;
    ask_image(&image);
    Ok(image)
}

#[test]
fn the_samples_are_images() {
    samples().into_iter().for_each(|bytes| drop(decode_restamped(bytes).unwrap()));
}

#[test]
fn every_flipped_bit_is_a_fault() {
    for stored in samples() {
        let expect = claimed(&stored);
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Image::decode(flipped, &expect).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_other_length_is_a_fault() {
    for stored in samples() {
        let expect = claimed(&stored);
        for len in 0..stored.len() {
            assert!(Image::decode(stored[..len].to_vec(), &expect).is_err(), "cut to {len}");
            assert!(decode_restamped(stored[..len].to_vec()).is_err(), "cut to {len}, checksum made right");
        }
        assert!(Image::decode([&stored[..], &[0]].concat(), &expect).is_err());
    }
}

#[test]
fn flipped_bits_under_a_right_checksum_never_panic() {
    for stored in samples() {
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode_restamped(flipped);
        }
    }
}

#[test]
fn the_parent_finds_stale_and_misplaced_images() {
    let stored = sample_leaf().to_stored(77);
    let fault = |expect| Image::decode(stored.clone(), &expect).unwrap_err().0;
    assert!(Image::decode(stored.clone(), &IDENTITY).is_ok());
    assert_eq!(fault(Identity { kind: ImageKind::TableData, ..IDENTITY }), "an image of another kind");
    assert_eq!(fault(Identity { self_id: 10, ..IDENTITY }), "the image of another page or block");
    assert_eq!(fault(Identity { ks_id: 4, ..IDENTITY }), "an image of another keyspace");
    assert!(fault(Identity { write_seq: 78, ..IDENTITY }).starts_with("a stale image"));
}

#[test]
fn a_lie_under_a_right_checksum_is_named() {
    let check = |stored: Vec<u8>, at: usize, bytes: &[u8], what: &str| {
        let mut lie = stored;
        lie[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(decode_restamped(lie).unwrap_err().0, what, "byte {at}");
    };
    let [leaf, inner, raw] = samples();
    let first_data = 4 * usize::from(u16::from_le_bytes([leaf[78], leaf[79]]));
    for (at, bytes, what) in [
        (4, &[0, 0, 8, 0][..], "the length of the image is out of range"),
        (8, &[0, 1, 0, 0], "the stored length is not the image length"),
        (12, &[2], "image format"),
        (13, &[0], "unknown image kind"),
        (14, &[2], "image flags"),
        (32, &[52], "max_ts is not the newest ts of the records"),
        (48, &[1], "reserved bytes of the image header are in use"),
        (64, &[255, 255], "the parts do not fit the image"),
        (68, &[1], "the prefix is not that of the fences"),
        (70, &[0, 0], "a part is not where the lengths before it put it"),
        (72, &[255, 255], "a fence is longer than keys may be"),
        (80, &[1], "hi_head is not that of the high fence"),
        (88, &[49], "hist_max_ts is not that of the history"),
        (104, &[1], "a leaf has level 0"),
        (105, &[1], "reserved bytes of the image header are in use"),
        (119, &[1], "reserved bytes of the image header are in use"),
        (128, &[0], "a hint is not the head that it stands for"),
        (192, &[1], "a head is not that of its key"),
        (first_data, &[255, 255, 127], "a record cannot be read"),
        (first_data + 1, &[4 << 3 | 4], "a record cannot be read"),
    ] {
        check(leaf.clone(), at, bytes, what);
    }
    check(inner.clone(), 104, &[0], "an inner page is above the leaves");
    check(raw.clone(), 64, &[1], "a part is not where the lengths before it put it");
    check(raw, 66, &[1], "a part is not where the lengths before it put it");
}

#[test]
fn a_leaf_with_a_reference_says_so() {
    let mut builder = ImageBuilder::new(&leaf(b"a", b"e"));
    builder.push(b"b", ts(5), Body::Large(LargeRef { id: 1, len: 20_000, crc: 3 }));
    let mut bytes = builder.finish().to_stored(77);
    assert_eq!(bytes[14], 1);
    bytes[14] = 0;
    assert_eq!(decode_restamped(bytes).unwrap_err().0, "a reference to a value in a file, where none can be");
}

/// A record whose key or ts is changed, with head and hints changed along.
#[test]
fn wrong_order_under_a_right_checksum_is_named() {
    let mut builder = ImageBuilder::new(&leaf(b"a", b"e"));
    builder.push(b"b", ts(5), Body::Value(b""));
    builder.push(b"d", ts(5), Body::Value(b""));
    builder.push_history(b"b", ts(3), Body::Value(b""));
    builder.push_history(b"c", ts(4), Body::Tombstone);
    let image = builder.finish();
    let rekeyed = |is_main: bool, index: usize, key: u8| {
        let mut bytes = image.to_stored(77);
        let record = if is_main { image.raw_record(index) } else { image.raw_hist_record(index) };
        bytes[record.suffix.start] = key;
        if is_main {
            bytes[192 + 4 * index] = key;
            if index > 0 {
                bytes[128 + 4 * (index - 1)] = key;
            }
        }
        decode_restamped(bytes).unwrap_err().0
    };
    assert_eq!(rekeyed(true, 1, b'b'), "main records do not ascend");
    assert_eq!(rekeyed(true, 1, b'e'), "a key is at or above the high fence");
    assert_eq!(rekeyed(true, 0, b'A'), "a key is below the low fence");
    assert_eq!(rekeyed(false, 1, b'e'), "a key is at or above the high fence");
    assert_eq!(rekeyed(false, 0, b'A'), "a key is below the low fence");
    assert_eq!(rekeyed(false, 0, b'c'), "the newest version of a key is in the history but no tombstone");
    assert_eq!(rekeyed(false, 1, b'a'), "history keys do not ascend");
    assert_eq!(rekeyed(false, 1, b'b'), "history is not older than what follows it");

    let mut same_ts = image.to_stored(77);
    same_ts[image.raw_hist_record(0).suffix.start - 1] = 0;
    assert_eq!(decode_restamped(same_ts).unwrap_err().0, "history is not older than what follows it");
}

#[test]
fn the_header_announces_only_lengths_within_the_limit() {
    let stored = sample_leaf().to_stored(1);
    assert_eq!(Image::stored_len(&stored[..64]), Ok(stored.len()));
    assert!(Image::stored_len(&stored[..63]).is_err());
    for len in [0, 191, IMAGE_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut head = stored[..64].to_vec();
        head[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(Image::stored_len(&head).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_under_a_right_checksum_never_panic(which in 0usize..3, changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = samples()[which].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode_restamped(bytes);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..700), kind in 1u8..9, shrink in any::<bool>()) {
        let _ = Image::stored_len(&bytes);
        let _ = Image::decode(bytes.clone(), &IDENTITY);
        if bytes.len() >= 192 {
            // Past the header's own tests, so that what lies behind is reached.
            let len = (bytes.len() as u32).to_le_bytes();
            bytes[4..8].copy_from_slice(&len);
            bytes[8..12].copy_from_slice(&len);
            bytes[12..16].copy_from_slice(&[1, kind, 0, 0]);
            bytes[48..64].fill(0);
            bytes[105..128].fill(0);
            if shrink {
                bytes[64..80].fill(0);
                let data = (192u16 / 4).to_le_bytes();
                [70, 74, 78].iter().for_each(|&at| bytes[at..at + 2].copy_from_slice(&data));
            }
        }
        let _ = decode_restamped(bytes);
    }
}

#[test]
fn an_image_of_a_later_version_is_refused_by_name() {
    for (offset, found) in [(12, 2), (14, 2)] {
        let mut bytes = sample_leaf().to_stored(77);
        bytes[offset] = found;
        let error = decode_restamped(bytes).unwrap_err().in_file("tree.dat".as_ref(), 4096);
        let is_refusal =
            matches!(&error, crate::Error::UnsupportedFormat { found: named, .. } if *named == u32::from(found));
        assert!(is_refusal, "{error}");
    }
    let mut bytes = sample_leaf().to_stored(77);
    bytes[12] = 0;
    let error = decode_restamped(bytes).unwrap_err().in_file("tree.dat".as_ref(), 4096);
    assert!(matches!(error, crate::Error::Corruption { offset: 4096, .. }), "{error}");
}
