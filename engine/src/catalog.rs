//! The catalog: which keyspaces there are, in `CATALOG-<n>`, named by `CURRENT`.
//!
//! Rewritten whole for each change, under a new number, synced, and only then named by `CURRENT`; so any damage in it is noticed
//! (there is no torn tail to forgive), and a crash leaves the old one or the new.
//!
//! On disk: Catalog (catalog.hex)
//! ```text
//!   file header (64 B, base), magic "DURACATL", format 1, number = n
//!   frame kind 1 "head"      u32 next_id
//!   frame kind 2 "keyspace"  u32 id, u8 backend, u64 first_persisted, u64 memtable_bytes, u32 page_bytes, name (UTF-8, rest)
//!   frame kind 3 "end"       u32 number of keyspaces
//!   frame kind 4 "keyspace"  as kind 2, with u8 compression (1: LZ4) before the name; read feature bit 0 says that there are such
//! ```
//! Little-endian. Valid if and only if: the frames are one head, keyspaces by ascending id below next_id with different names, one end with
//! their count, and nothing behind it.
//!
//! G1  Ids are never reused: every id below `next_id` that is not listed was dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use duramen_base::framed::{FileHeader, FramedFile, Known, Tail, read_current, switch_current};
use duramen_base::vfs::{File, OpenMode, Vfs};
use duramen_base::{BackendKind, Compression, DbUuid, Error, IoOp, KeyspaceId, KeyspaceOptions, Result, Timestamp};

/// What this version knows of catalogs.
pub(crate) const KNOWN: Known = Known { magic: *b"DURACATL", format: 1, read_features: COMPRESSED, write_features: 0 };

// On disk. Never renumber.
const FRAME_HEAD: u8 = 1;
const FRAME_KEYSPACE: u8 = 2;
const FRAME_END: u8 = 3;
const FRAME_COMPRESSED_KEYSPACE: u8 = 4;
/// Read feature: some keyspace has a compression.
const COMPRESSED: u32 = 1;
const KEYSPACE_FIXED_BYTES: usize = 25;

/// One keyspace in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogEntry {
    pub(crate) name: String,
    pub(crate) options: KeyspaceOptions,
    /// The log was durable through here when the keyspace was created; no older commit concerns it.
    pub(crate) first_persisted: Timestamp,
}

/// The content of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) number: u64,
    pub(crate) next_id: u32,
    pub(crate) keyspaces: BTreeMap<KeyspaceId, CatalogEntry>,
}

impl Catalog {
    /// The catalog of a database without keyspaces.
    pub(crate) fn empty() -> Catalog {
        Catalog { number: 0, next_id: 1, keyspaces: BTreeMap::new() }
    }

    /// Reads the catalog that `CURRENT` names, and makes it durable: a process that died may have written it without syncing. `None` if there is
    /// no `CURRENT`.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<(Catalog, DbUuid)>> {
        let found = Catalog::look(vfs, dir)?;
        if let Some((catalog, _)) = &found {
            let path = dir.join(file_name(catalog.number));
            File::open(vfs, &path, OpenMode::ReadWrite)?.sync_data()?;
        }
        Ok(found)
    }

    /// The same without writing or syncing anything.
    pub(crate) fn look(vfs: &dyn Vfs, dir: &Path) -> Result<Option<(Catalog, DbUuid)>> {
        let Some(name) = read_current(vfs, dir)? else { return Ok(None) };
        let path = dir.join(&name);
        if number_of(&name).is_none() {
            return Err(Error::corruption(dir.join("CURRENT"), 0, "it does not name a catalog"));
        }
        let mut frames = Vec::new();
        let read = FramedFile::read(vfs, &path, &KNOWN, |kind, payload| {
            frames.push((kind, payload.to_vec()));
            Ok(())
        });
        let (header, tail) = read.map_err(|error| missing_is_corruption(error, &path))?;
        if tail != Tail::Clean {
            return Err(Error::corruption(path, 0, "the catalog has bytes behind its end"));
        }
        if number_of(&name) != Some(header.number) {
            return Err(Error::corruption(path, 0, "a catalog under another's name"));
        }
        let catalog =
            decode(&frames, header.number).ok_or_else(|| Error::corruption(path, 0, "the catalog's content"))?;
        Ok(Some((catalog, header.db_uuid)))
    }

    /// Writes the next catalog and switches to it, durably. On error the old one stays in force, unless only a reopen can tell (a failed sync).
    pub(crate) fn write_next(&mut self, vfs: &dyn Vfs, dir: &Path, db_uuid: DbUuid) -> Result<()> {
        let old = file_name(self.number);
        let number = self.number + 1;
        let name = file_name(number);
        let path = dir.join(&name);
        // A leftover of a crash or a full disk; it was never named by CURRENT.
        remove_if_there(vfs, &path)?;
        let is_any_compressed = self.keyspaces.values().any(|entry| entry.options.compression != Compression::None);
        let read_features = if is_any_compressed { COMPRESSED } else { 0 };
        let header = FileHeader { read_features, ..FileHeader::new(&KNOWN, db_uuid, 0, number) };
        let mut file = FramedFile::create(vfs, &path, &header)?;
        for (kind, payload) in frames_of(self) {
            file.append(kind, &payload)?;
        }
        file.sync()?;
        // Its name too, before CURRENT can name it: the two entries may reach the disk in either order.
        vfs.sync_dir(dir).map_err(|source| Error::from_io(IoOp::SyncDir, dir, source))?;
        switch_current(vfs, dir, &name)?;
        self.number = number;
        // The old one is of no more use; if it stays, the next open removes it.
        let _ = vfs.remove_file(&dir.join(old));
        Ok(())
    }

    /// The keyspace called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<(KeyspaceId, &CatalogEntry)> {
        self.keyspaces.iter().find(|(_, entry)| entry.name == name).map(|(&id, entry)| (id, entry))
    }

    /// Whether `id` was given out and dropped (G1).
    pub(crate) fn is_dropped(&self, id: KeyspaceId) -> bool {
        id.get() < self.next_id && !self.keyspaces.contains_key(&id)
    }
}

pub(crate) fn file_name(number: u64) -> String {
    format!("CATALOG-{number}")
}

/// The number in a catalog's file name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("CATALOG-")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    match vfs.remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::from_io(IoOp::Remove, path, error)),
        _ => Ok(()),
    }
}

/// A file of ours that should be there: its absence is damage.
pub(crate) fn missing_is_corruption(error: Error, path: &Path) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::corruption(PathBuf::from(path), 0, "the file is missing")
        }
        other => other,
    }
}

/// The frames of a catalog's file.
pub(crate) fn frames_of(catalog: &Catalog) -> Vec<(u8, Vec<u8>)> {
    let head = (FRAME_HEAD, catalog.next_id.to_le_bytes().to_vec());
    let keyspaces = catalog.keyspaces.iter().map(|(id, entry)| (kind_of(entry), encode_entry(*id, entry)));
    let end = (FRAME_END, (catalog.keyspaces.len() as u32).to_le_bytes().to_vec());
    std::iter::once(head).chain(keyspaces).chain(std::iter::once(end)).collect()
}

fn kind_of(entry: &CatalogEntry) -> u8 {
    match entry.options.compression {
        Compression::None => FRAME_KEYSPACE,
        Compression::Lz4 => FRAME_COMPRESSED_KEYSPACE,
    }
}

fn encode_entry(id: KeyspaceId, entry: &CatalogEntry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEYSPACE_FIXED_BYTES + entry.name.len());
    bytes.extend_from_slice(&id.get().to_le_bytes());
    bytes.push(entry.options.backend as u8);
    bytes.extend_from_slice(&entry.first_persisted.get().to_le_bytes());
    bytes.extend_from_slice(&entry.options.memtable_bytes.to_le_bytes());
    bytes.extend_from_slice(&entry.options.page_bytes.to_le_bytes());
    if entry.options.compression != Compression::None {
        bytes.push(entry.options.compression as u8);
    }
    bytes.extend_from_slice(entry.name.as_bytes());
    bytes
}

/// The catalog in the frames of file `number`; `None` if they are none. Total.
pub(crate) fn decode(frames: &[(u8, Vec<u8>)], number: u64) -> Option<Catalog> {
    let [(FRAME_HEAD, head), entries @ .., (FRAME_END, end)] = frames else { return None };
    let next_id = u32::from_le_bytes(head.as_slice().try_into().ok()?);
    let count = u32::from_le_bytes(end.as_slice().try_into().ok()?);
    let mut catalog = Catalog { number, next_id, keyspaces: BTreeMap::new() };
    for (kind, payload) in entries {
        let (id, entry) = decode_entry(*kind, payload)?;
        let ascending = catalog.keyspaces.last_key_value().is_none_or(|(&last, _)| last < id);
        if !ascending || id.get() >= next_id || catalog.find(&entry.name).is_some() {
            return None;
        }
        catalog.keyspaces.insert(id, entry);
    }
    (catalog.keyspaces.len() == count as usize && next_id > 0).then_some(catalog)
}

fn decode_entry(kind: u8, bytes: &[u8]) -> Option<(KeyspaceId, CatalogEntry)> {
    let (id, rest) = bytes.split_first_chunk::<4>()?;
    let (&backend, rest) = rest.split_first()?;
    let (first_persisted, rest) = rest.split_first_chunk::<8>()?;
    let (memtable_bytes, rest) = rest.split_first_chunk::<8>()?;
    let (page_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (compression, name) = match (kind, rest) {
        (FRAME_KEYSPACE, name) => (Compression::None, name),
        (FRAME_COMPRESSED_KEYSPACE, [1, name @ ..]) => (Compression::Lz4, name),
        _ => return None,
    };
    let id = u32::from_le_bytes(*id);
    let options = KeyspaceOptions {
        backend: backend_from_byte(backend)?,
        memtable_bytes: u64::from_le_bytes(*memtable_bytes),
        page_bytes: u32::from_le_bytes(*page_bytes),
        compression,
    };
    let first_persisted = Timestamp::new(u64::from_le_bytes(*first_persisted));
    let name = std::str::from_utf8(name).ok()?.to_owned();
    (id > 0).then_some((KeyspaceId::new(id), CatalogEntry { name, options, first_persisted }))
}

fn backend_from_byte(byte: u8) -> Option<BackendKind> {
    match byte {
        1 => Some(BackendKind::BTree),
        2 => Some(BackendKind::Lsm),
        #[cfg(feature = "testing")]
        255 => Some(BackendKind::Model),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen_base::vfs::MemVfs;

    fn sample() -> Catalog {
        let mut catalog = Catalog::empty();
        catalog.next_id = 4;
        for (id, name, backend) in [(1, "users", BackendKind::BTree), (3, "log", BackendKind::Lsm)] {
            let entry = CatalogEntry {
                name: name.to_owned(),
                options: KeyspaceOptions::new(backend),
                first_persisted: Timestamp::new(7),
            };
            catalog.keyspaces.insert(KeyspaceId::new(id), entry);
        }
        catalog
    }

    fn written() -> (MemVfs, PathBuf, Catalog) {
        let (vfs, dir) = (MemVfs::new(), PathBuf::from("db"));
        vfs.create_dir(&dir).unwrap();
        let mut catalog = sample();
        catalog.write_next(&vfs, &dir, DbUuid::from_bytes([7; 16])).unwrap();
        (vfs, dir, catalog)
    }

    #[test]
    fn a_catalog_reads_as_it_was_written() {
        let (vfs, dir, catalog) = written();
        let (read, uuid) = Catalog::read(&vfs, &dir).unwrap().unwrap();
        assert_eq!((read, uuid), (catalog, DbUuid::from_bytes([7; 16])));
    }

    #[test]
    fn a_compressed_keyspace_reads_as_it_was_written_and_those_who_do_not_know_of_it_refuse() {
        let (vfs, dir, mut catalog) = written();
        catalog.keyspaces.get_mut(&KeyspaceId::new(3)).unwrap().options.compression = Compression::Lz4;
        catalog.write_next(&vfs, &dir, DbUuid::from_bytes([7; 16])).unwrap();
        assert_eq!(Catalog::read(&vfs, &dir).unwrap().unwrap().0, catalog);
        let bytes = bytes_of(&vfs, &dir.join("CATALOG-2"));
        assert_eq!(bytes, duramen_base::golden::bytes(include_str!("../tests/golden/catalog_compressed.hex")));
        let error = FileHeader::decode(&bytes, &dir, &Known { read_features: 0, ..KNOWN }).unwrap_err();
        assert!(matches!(error, Error::UnsupportedFormat { what: "read features", found: 1, .. }), "{error}");
    }

    fn bytes_of(vfs: &MemVfs, path: &Path) -> Vec<u8> {
        let file = duramen_base::vfs::File::open(vfs, path, duramen_base::vfs::OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn a_catalog_has_these_bytes() {
        let (vfs, dir, _) = written();
        assert_eq!(
            bytes_of(&vfs, &dir.join("CATALOG-1")),
            duramen_base::golden::bytes(include_str!("../tests/golden/catalog.hex"))
        );
    }

    #[test]
    fn dropped_ids_are_those_once_given_out() {
        let catalog = sample();
        let dropped: Vec<_> = (1..6).filter(|&id| catalog.is_dropped(KeyspaceId::new(id))).collect();
        assert_eq!(dropped, [2]);
    }

    #[test]
    fn a_missing_catalog_is_damage_and_a_missing_current_is_none() {
        let (vfs, dir, _) = written();
        vfs.remove_file(&dir.join("CATALOG-1")).unwrap();
        assert!(matches!(Catalog::read(&vfs, &dir), Err(Error::Corruption { .. })));
        vfs.remove_file(&dir.join("CURRENT")).unwrap();
        assert!(Catalog::read(&vfs, &dir).unwrap().is_none());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (vfs, dir, _) = written();
        let path = dir.join("CATALOG-1");
        let bytes = bytes_of(&vfs, &path);
        let file = duramen_base::vfs::File::open(&vfs, &path, duramen_base::vfs::OpenMode::ReadWrite).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            file.write_all_at(&bad, 0).unwrap();
            Catalog::read(&vfs, &dir).expect_err("a flipped bit is noticed");
        }
        file.write_all_at(&bytes, 0).unwrap();
        for len in 0..bytes.len() {
            file.set_len(len as u64).unwrap();
            Catalog::read(&vfs, &dir).expect_err("a cut file is noticed");
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
}
