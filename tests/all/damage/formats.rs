//! Files of a newer version: refused by name, before anything is changed.

use duramen::Error;
use duramen_base::vfs::sim::SimVfs;

use super::sample::{End, Sample, overwrite};
use crate::fault::run::Machine;

/// Where the format number, the read features and the write features stand in every file of ours.
const FIELDS: [(usize, u32); 3] = [(8, 9), (12, 1 << 31), (16, 1 << 31)];

/// Checksum of bytes, a bit at a time: the oracle shares no code with what it judges (CRC-32/IEEE).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// A head with one field changed and its checksum, which stands behind it, made right again.
fn patched(head: &[u8], field: (usize, u32)) -> Vec<u8> {
    let mut head = head.to_vec();
    let crc_at = head.len() - 4;
    assert_eq!(head[crc_at..], crc32(&head[..crc_at]).to_le_bytes(), "the head is where this test thinks");
    head[field.0..field.0 + 4].copy_from_slice(&field.1.to_le_bytes());
    let crc = crc32(&head[..crc_at]);
    head[crc_at..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Changes each field of the heads (offset, bytes) in a file, one after the other, and expects a refusal by name.
fn refuses(sample: &Sample, path: &str, heads: &[(usize, usize)]) {
    let bytes = sample.read(path);
    for field in FIELDS {
        let disk = SimVfs::on(sample.image.clone());
        for &(offset, len) in heads {
            overwrite(&disk, path, offset as u64, &patched(&bytes[offset..offset + len], field));
        }
        let machine = Machine::on(disk);
        match machine.open() {
            Err(Error::UnsupportedFormat { file, found, .. }) => {
                assert!(file.ends_with(path), "{path}: refuses {}", file.display());
                assert_eq!(found, field.1, "{path}");
            }
            other => panic!("{path}, field at {}: {other:?}", field.0),
        }
        assert_eq!(machine.disk.image().files(), sample.image.files(), "{path}: nothing was changed");
    }
}

fn only<'a>(sample: &'a Sample, part: &str) -> impl Iterator<Item = String> + use<'a> {
    let part = part.to_owned();
    sample.files().into_iter().map(|(path, _)| path).filter(move |path| path.contains(&part))
}

#[test]
fn a_newer_catalog_is_refused_by_name() {
    let sample = Sample::build(End::Closed, 5, 0);
    only(&sample, "CATALOG").for_each(|path| refuses(&sample, &path, &[(0, 64)]));
}

#[test]
fn a_newer_manifest_is_refused_by_name() {
    let sample = Sample::build(End::Closed, 5, 0);
    only(&sample, "MANIFEST").for_each(|path| refuses(&sample, &path, &[(0, 64)]));
}

#[test]
fn a_newer_tree_is_refused_by_name() {
    let sample = Sample::build(End::Closed, 5, 0);
    only(&sample, "tree.dat").for_each(|path| refuses(&sample, &path, &[(0, 4096), (4096, 4096)]));
}

/// The footer is what a table is opened by: it is told from damage although the manifest holds the checksum of another one.
#[test]
fn a_newer_table_is_refused_by_name() {
    let sample = Sample::build(End::Closed, 5, 0);
    let tables: Vec<String> = only(&sample, ".sst").collect();
    assert!(!tables.is_empty());
    for path in tables {
        let bytes = sample.read(&path);
        let at = bytes.len() - 4096;
        for field in FIELDS {
            let mut footer = bytes[at..].to_vec();
            footer[..64].copy_from_slice(&patched(&bytes[at..at + 64], field));
            let crc = crc32(&footer[..4092]);
            footer[4092..].copy_from_slice(&crc.to_le_bytes());
            let disk = SimVfs::on(sample.image.clone());
            overwrite(&disk, &path, at as u64, &footer);
            match Machine::on(disk).open() {
                Err(Error::UnsupportedFormat { file, found, .. }) => {
                    assert!(file.ends_with(&path), "{path}: refuses {}", file.display());
                    assert_eq!(found, field.1, "{path}");
                }
                other => panic!("{path}, field at {}: {other:?}", field.0),
            }
        }
    }
}

#[test]
fn a_newer_log_is_refused_by_name() {
    let sample = Sample::build(End::Closed, 5, 0);
    let segments: Vec<String> =
        only(&sample, "/log/").filter(|path| sample.read(path).starts_with(b"DURAMLOG")).collect();
    assert!(!segments.is_empty());
    segments.iter().for_each(|path| refuses(&sample, path, &[(0, 92), (4096, 92)]));
}

#[test]
fn a_newer_log_end_is_refused_by_name() {
    refuses(&Sample::build(End::Closed, 5, 0), "db/LOG-END", &[(0, 68), (4096, 68)]);
}
