//! The decoders of this crate, for the fuzz driver.

use std::path::Path;

use duramen_base::fuzz::{Target, nothing_to_seal, seal_at};
use duramen_base::golden;
use duramen_base::image::{Identity, Image, ImageKind};

use crate::ingest::RunList;
use crate::map::{decode_chunk, encode_chunk};
use crate::range_tombs::RangeTombs;
use crate::superblock::{Copy, Superblock};
use crate::units::UNIT_BYTES;

/// The decoders.
pub fn targets() -> Vec<Target> {
    let superblock = golden::bytes(include_str!("../tests/golden/superblock.hex"));
    let tombs = golden::bytes(include_str!("../tests/golden/range_deletes.hex"));
    let chunk = golden::bytes(include_str!("../tests/golden/map_chunk.hex"));
    let run = golden::bytes(include_str!("../tests/golden/run_list.hex"));
    vec![
        Target { name: "run-list", corpus: vec![run], reseal: nothing_to_seal, check: check_run },
        Target {
            name: "superblock",
            corpus: vec![whole(superblock)],
            reseal: |bytes, _| seal_at(bytes, UNIT_BYTES - 4),
            check: check_superblock,
        },
        Target { name: "range-deletes", corpus: vec![tombs], reseal: nothing_to_seal, check: check_tombs },
        Target { name: "map-chunk", corpus: vec![body_of(chunk)], reseal: nothing_to_seal, check: check_chunk },
    ]
}

/// A golden file may leave out the zeros at the end of a unit.
fn whole(mut superblock: Vec<u8>) -> Vec<u8> {
    superblock.resize(UNIT_BYTES, 0);
    seal_at(&mut superblock, UNIT_BYTES - 4);
    superblock
}

fn body_of(image: Vec<u8>) -> Vec<u8> {
    let identity = Identity { kind: ImageKind::MapChunk, ..duramen_base::fuzz::claimed(&image) };
    match Image::decode(image.clone(), &identity) {
        Ok(chunk) => chunk.raw_body().to_vec(),
        Err(_) => image,
    }
}

fn check_run(bytes: &[u8]) -> bool {
    let Some(list) = RunList::decode(bytes) else { return false };
    assert_eq!(RunList::decode(&list.encode()), Some(list));
    true
}

fn check_superblock(bytes: &[u8]) -> bool {
    match Superblock::decode(bytes, Path::new("tree.dat")) {
        Ok(Copy::Valid(superblock)) => {
            let again = Superblock::decode(&superblock.encode(), Path::new("tree.dat"));
            assert_eq!(again.ok(), Some(Copy::Valid(superblock)));
            true
        }
        Ok(Copy::Damaged(_)) | Err(_) => false,
    }
}

fn check_tombs(bytes: &[u8]) -> bool {
    let Some(tombs) = RangeTombs::decode(bytes) else { return false };
    assert_eq!(RangeTombs::decode(&tombs.encode()), Some(tombs));
    true
}

fn check_chunk(bytes: &[u8]) -> bool {
    let Some(entries) = decode_chunk(bytes) else { return false };
    assert_eq!(decode_chunk(&encode_chunk(&entries)), Some(entries));
    true
}
