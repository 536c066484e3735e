//! What a fuzz driver needs of the decoders of values (`base/src/fuzz.rs`).

use std::path::Path;

use super::file::{ENTRY_HEAD_BYTES, Owner, read_header};
use super::{LargeRef, manifest};
use crate::framed::FILE_HEADER_BYTES;
use crate::fuzz::{Target, disk_with, nothing_to_seal, seal_at};
use crate::golden;
use crate::ids::KeyspaceId;
use crate::vfs::{File, OpenMode};

/// The decoders.
pub(crate) fn targets() -> Vec<Target> {
    let manifest = golden::bytes(include_str!("../../tests/golden/value_manifest.hex"));
    let file = golden::bytes(include_str!("../../tests/golden/value_file.hex"));
    let reference = golden::bytes(include_str!("../../tests/golden/value_reference.hex"));
    vec![
        Target { name: "value-manifest", corpus: vec![manifest], reseal: reseal_manifest, check: check_manifest },
        Target { name: "value-file", corpus: vec![file], reseal: reseal_file, check: check_file },
        Target { name: "value-reference", corpus: vec![reference], reseal: nothing_to_seal, check: check_reference },
    ]
}

fn reseal_manifest(bytes: &mut [u8], dice: u64) {
    seal_at(bytes, FILE_HEADER_BYTES - 4);
    manifest::reseal(bytes, dice);
}

fn check_manifest(bytes: &[u8]) -> bool {
    manifest::accepts_file(&*disk_with("file", bytes), Path::new("file"))
}

/// Who the header of the file says it belongs to.
fn owner_of(file: &File) -> Option<Owner> {
    let header = read_header(file).ok()?;
    Some(Owner { db_uuid: header.db_uuid, keyspace: KeyspaceId::new(header.ks_id) })
}

/// The head of the first entry.
fn head_of(bytes: &[u8]) -> Option<[u8; ENTRY_HEAD_BYTES]> {
    bytes.get(FILE_HEADER_BYTES..)?.first_chunk().copied()
}

fn reseal_file(bytes: &mut [u8], dice: u64) {
    seal_at(bytes, FILE_HEADER_BYTES - 4);
    let disk = disk_with("file", bytes);
    let Ok(file) = File::open(&*disk, "file".as_ref(), OpenMode::Read) else { return };
    let (Some(owner), Some(head)) = (owner_of(&file), head_of(bytes)) else { return };
    let value_at = FILE_HEADER_BYTES + ENTRY_HEAD_BYTES;
    let len = if dice.is_multiple_of(4) {
        u32::from_le_bytes([head[4], head[5], head[6], head[7]])
    } else {
        (bytes.len() - value_at) as u32
    };
    let id = u64::from_le_bytes(*head[8..].first_chunk().expect("a head has 20 bytes"));
    let sealed = owner.encode_head(LargeRef { id, len, crc: crc32fast::hash(&bytes[value_at..]) });
    bytes[FILE_HEADER_BYTES..value_at].copy_from_slice(&sealed);
}

fn check_file(bytes: &[u8]) -> bool {
    let disk = disk_with("file", bytes);
    let file = File::open(&*disk, "file".as_ref(), OpenMode::Read).expect("a disk in memory");
    let Some(named) = owner_of(&file).zip(head_of(bytes)).and_then(|(owner, head)| owner.decode_head(&head)) else {
        return false;
    };
    let owner = owner_of(&file).expect("it was read once");
    assert_eq!(owner.encode_head(named)[..], bytes[FILE_HEADER_BYTES..][..ENTRY_HEAD_BYTES]);
    // A tree holds the length too; without one the file's own size is the bound.
    let is_inside = u64::from(named.len) <= bytes.len() as u64;
    is_inside && owner.read(&file, FILE_HEADER_BYTES as u64, named).is_ok_and(|value| value.len() == named.len as usize)
}

fn check_reference(bytes: &[u8]) -> bool {
    let Some(large) = LargeRef::decode(bytes) else { return false };
    assert_eq!(large.encode()[..], *bytes);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_accepted() {
        for target in targets() {
            assert!(target.corpus.iter().all(|valid| (target.check)(valid)), "{}", target.name);
            for valid in &target.corpus {
                let mut resealed = valid.clone();
                (target.reseal)(&mut resealed, 1);
                assert_eq!(&resealed, valid, "{}", target.name);
            }
        }
    }
}
