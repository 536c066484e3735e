//! The decoders of this crate, for the fuzz driver.

use duramen_base::fuzz::{Target, nothing_to_seal};
use duramen_base::golden;
use duramen_base::vfs::MemVfs;

use crate::catalog::{Catalog, KNOWN, decode, frames_of};
use crate::keyspaces::{decode_drop, encode_drop};

/// The decoders.
///
/// ```
/// assert!(duramen::fuzz::targets().iter().all(|target| target.corpus.iter().all(|valid| (target.check)(valid))));
/// ```
pub fn targets() -> Vec<Target> {
    let event = golden::bytes(include_str!("../tests/golden/keyspace_event.hex"));
    let catalogs =
        [include_str!("../tests/golden/catalog.hex"), include_str!("../tests/golden/catalog_compressed.hex")];
    vec![
        Target {
            name: "catalog",
            corpus: catalogs.map(sample_catalog).to_vec(),
            reseal: nothing_to_seal,
            check: check_catalog,
        },
        Target { name: "keyspace-event", corpus: vec![event], reseal: nothing_to_seal, check: check_event },
    ]
}

/// Frames as they follow one another in a catalog, without the checksums, which are the framed file's: u8 kind, u8 length, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((&[kind, len], rest)) = bytes.split_first_chunk::<2>() {
        let (payload, rest) = rest.split_at(rest.len().min(len.into()));
        frames.push((kind, payload.to_vec()));
        bytes = rest;
    }
    frames
}

fn sample_catalog(pinned: &str) -> Vec<u8> {
    let disk = MemVfs::new();
    let file = duramen_base::vfs::File::open(&disk, "CATALOG-1".as_ref(), duramen_base::vfs::OpenMode::CreateNew);
    file.and_then(|file| file.write_all_at(&golden::bytes(pinned), 0)).expect("a disk in memory");
    let mut bytes = Vec::new();
    duramen_base::framed::FramedFile::open(&disk, "CATALOG-1".as_ref(), &KNOWN, |kind, payload| {
        bytes.extend([kind, payload.len() as u8]);
        bytes.extend(payload);
        Ok(())
    })
    .expect("the golden file");
    bytes
}

fn check_catalog(bytes: &[u8]) -> bool {
    let frames = frames(bytes);
    let Some(catalog) = decode(&frames, 1) else { return false };
    let _ = Catalog::is_dropped(&catalog, duramen_base::KeyspaceId::new(1));
    assert_eq!(frames_of(&catalog), frames);
    true
}

fn check_event(bytes: &[u8]) -> bool {
    let Some(id) = decode_drop(bytes) else { return false };
    assert_eq!(encode_drop(id)[..], *bytes);
    true
}
