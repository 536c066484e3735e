//! Opening the values of a keyspace, and finding them beside a damaged one.
//!
//! Opening trusts `CURRENT` and the number that the tree holds. It writes nothing but what the framed file cuts off: files that nothing names go with the
//! first upkeep, when the engine has held the tree's mark against the log.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{ENTRY_HEAD_BYTES, Owner, entry_bytes, file_name, file_no};
use super::index::Index;
use super::manifest::{self, Listed, Manifest, manifest_name, manifest_number};
use super::{DIR, LargeRef, ValueStore, Writer};
use crate::backend::StoreEnv;
use crate::error::{Error, IoOp, Result};
use crate::framed::FILE_HEADER_BYTES;
use crate::salvage::{Loss, StoreFiles};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, RwLock};
use crate::value::Value;
use crate::vfs::{File, OpenMode, Vfs};

/// Numbers of the files in the folder that are named like ours; none if there is no folder.
#[derive(Default)]
struct Names {
    files: Vec<u64>,
    manifests: Vec<u64>,
}

impl Names {
    fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Names> {
        let entries = match vfs.list(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Names::default()),
            other => other.map_err(|source| Error::from_io(IoOp::List, dir, source))?,
        };
        let names = || entries.iter().filter(|entry| !entry.is_dir).map(|entry| &*entry.name);
        Ok(Names {
            files: names().filter_map(file_no).collect(),
            manifests: names().filter_map(manifest_number).collect(),
        })
    }
}

/// See [`ValueStore::open`].
pub(super) fn open(env: &StoreEnv, no: u64, file_bytes: u64) -> Result<ValueStore> {
    let (vfs, dir) = (Arc::clone(&env.vfs), env.dir.join(DIR));
    let owner = Owner { db_uuid: env.db_uuid, keyspace: env.keyspace };
    let names = Names::list(&*vfs, &dir)?;
    let current = dir.join("CURRENT");
    let (manifest, listed) = match Manifest::open(&*vfs, &dir, owner)? {
        Some((manifest, replay)) => {
            let path = dir.join(manifest_name(manifest.number()));
            (Some(manifest), replay.finish(no).map_err(|what| Error::corruption(path, 0, what))?)
        }
        None if no > 0 || !names.files.is_empty() => {
            return Err(Error::corruption(current, 0, "the values have no CURRENT"));
        }
        None => (None, Listed { next_no: 1, ..Listed::default() }),
    };
    let mut index = Index::new(env.host.budget());
    let mut writer = Writer {
        next_manifest: names.manifests.iter().max().map_or(1, |max| max + 1),
        next_file: names.files.iter().max().copied().max(Some(listed.file_max)).map_or(1, |max| max + 1),
        next_id: listed.next_id,
        no: listed.no,
        next_no: listed.next_no,
        ..Writer::default()
    };
    for (&id, &place) in &listed.places {
        index.set(id, place);
    }
    find_files(&*vfs, &dir, owner, &names, &mut index, &mut writer)?;
    let is_old = |&&number: &&u64| manifest.as_ref().is_none_or(|manifest| manifest.number() != number);
    let old = names.manifests.iter().filter(is_old).map(|&number| dir.join(manifest_name(number)));
    writer.garbage.extend(old);
    writer.manifest = manifest;
    Ok(ValueStore {
        vfs,
        ks_dir: env.dir.clone(),
        dir,
        owner,
        file_bytes,
        dead_bytes_min: env.options.memtable_bytes.min(file_bytes / 16),
        index: RwLock::new(index),
        writer: Mutex::new(writer),
        reads: AtomicU64::new(0),
        written_bytes: AtomicU64::new(0),
    })
}

/// Opens the files that hold something, and notes the others.
fn find_files(
    vfs: &dyn Vfs,
    dir: &Path,
    owner: Owner,
    names: &Names,
    index: &mut Index,
    writer: &mut Writer,
) -> Result<()> {
    let named: Vec<(u64, u64)> = index.files().map(|(no, state)| (no, state.live_bytes)).collect();
    for &(no, live_bytes) in &named {
        match owner.open(vfs, dir, no) {
            Ok(file) => {
                let bytes = file.len()?;
                index.add_file(no, Some(file), bytes);
            }
            // Whoever reads a value in it is told.
            Err(Error::Corruption { .. } | Error::UnsupportedFormat { .. }) => {
                index.add_file(no, None, live_bytes + FILE_HEADER_BYTES as u64);
            }
            Err(error) => return Err(error),
        }
    }
    let is_unnamed = |no: &&u64| named.binary_search_by_key(*no, |&(no, _)| no).is_err();
    writer.garbage = names.files.iter().filter(is_unnamed).map(|&no| dir.join(file_name(no))).collect();
    Ok(())
}

/// The values beside a damaged tree, as far as they can be found. Nothing is written.
///
/// ```
/// use duramen_base::salvage::StoreFiles;
/// use duramen_base::values::{LargeRef, SalvagedValues};
/// use duramen_base::{KeyspaceId, vfs::MemVfs};
/// let disk = MemVfs::new();
/// let files = StoreFiles { vfs: &disk, dir: "ks/1".as_ref(), keyspace: KeyspaceId::new(1), db_uuid: None };
/// let (values, losses) = SalvagedValues::find(&files);
/// assert!(losses.is_empty(), "it never had any");
/// assert!(values.read(LargeRef { id: 1, len: 2, crc: 3 }).is_err());
/// ```
pub struct SalvagedValues {
    dir: PathBuf,
    found: HashMap<u64, (Owner, File, u64)>,
}

impl SalvagedValues {
    /// None, for a tree that names none.
    pub fn none() -> SalvagedValues {
        SalvagedValues { dir: PathBuf::new(), found: HashMap::new() }
    }

    /// Finds what the manifest names, and beside it what an ingest may name; without one, what the value files hold up to their first damage.
    pub fn find(files: &StoreFiles<'_>) -> (SalvagedValues, Vec<Loss>) {
        let dir = files.dir.join(DIR);
        let (mut found, mut losses) = (HashMap::new(), Vec::new());
        match manifest::read(files.vfs, &dir) {
            Ok(Some((header, replay))) if files.is_ours(header.db_uuid) && header.ks_id == files.keyspace.get() => {
                let owner = Owner { db_uuid: header.db_uuid, keyspace: files.keyspace };
                let mut opened: HashMap<u64, Option<File>> = HashMap::new();
                for (id, place) in replay.all() {
                    let file = opened.entry(place.file).or_insert_with(|| owner.open(files.vfs, &dir, place.file).ok());
                    if let Some(file) = file {
                        found.insert(id, (owner, file.clone(), place.offset));
                    }
                }
                find_others(files, &dir, &mut found);
            }
            Ok(None) if Names::list(files.vfs, &dir).is_ok_and(|names| names.files.is_empty()) => {}
            other => {
                let what = "the manifest of values cannot be used: value files are read up to their first damage";
                losses.push(match other {
                    Err(error) => Loss::of(&error, &dir, 0),
                    Ok(_) => Loss::new(&dir, 0, what),
                });
                for no in Names::list(files.vfs, &dir).unwrap_or_default().files {
                    scan(files, &dir, no, &mut found, &mut losses);
                }
            }
        }
        (SalvagedValues { dir, found }, losses)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn read(&self, value: LargeRef) -> Result<Value> {
        match self.found.get(&value.id) {
            Some((owner, file, offset)) => owner.read(file, *offset, value),
            None => Err(Error::corruption(&self.dir, 0, "a value that a key names is in no value file")),
        }
    }
}

/// What lies in the files and the manifest does not name (yet). Where nothing can be read nothing may be missing, so it is no loss.
fn find_others(files: &StoreFiles<'_>, dir: &Path, found: &mut HashMap<u64, (Owner, File, u64)>) {
    let mut others = HashMap::new();
    for no in Names::list(files.vfs, dir).unwrap_or_default().files {
        scan(files, dir, no, &mut others, &mut Vec::new());
    }
    for (id, at) in others {
        found.entry(id).or_insert(at);
    }
}

/// Every entry of one file, up to the first that is none. Later files hold what was moved.
fn scan(
    files: &StoreFiles<'_>,
    dir: &Path,
    no: u64,
    found: &mut HashMap<u64, (Owner, File, u64)>,
    losses: &mut Vec<Loss>,
) {
    let path = dir.join(file_name(no));
    let walked = (|| -> Result<()> {
        let file = File::open(files.vfs, &path, OpenMode::Read)?;
        let owner = owner_of(files, &file)?;
        let (mut offset, end) = (FILE_HEADER_BYTES as u64, file.len()?);
        while offset < end {
            let mut head = [0; ENTRY_HEAD_BYTES];
            file.read_exact_at(&mut head, offset)?;
            let Some(value) = owner.decode_head(&head) else {
                return Err(file.corruption(offset, "a value cannot be read, nor what lies behind it"));
            };
            found.insert(value.id, (owner, file.clone(), offset));
            offset += entry_bytes(value.len);
        }
        Ok(())
    })();
    if let Err(error) = walked {
        losses.push(Loss::of(&error, &path, 0));
    }
}

/// Whose file it is, by what it says itself.
fn owner_of(files: &StoreFiles<'_>, file: &File) -> Result<Owner> {
    let header = super::file::read_header(file)?;
    if !files.is_ours(header.db_uuid) || header.ks_id != files.keyspace.get() {
        return Err(file.corruption(0, "a value file of another database or keyspace"));
    }
    Ok(Owner { db_uuid: header.db_uuid, keyspace: files.keyspace })
}
