//! Large values: append-only files beside a tree, which keeps only a [`LargeRef`] of each. One store of them for each keyspace, for any backend.
//!
//! ```text
//!   ks/<id>/values/   <n>.val      values, one behind the other
//!                     MANIFEST-<n> which value lies where                        CURRENT names the one that counts
//!
//!   append ─► prepare: files, names, edit synced ─► the tree's own switch, holding the edit's number ─► show, then forget
//! ```
//! A reference names a value by number, and the manifest says where that lies. So a file that is half dead is rewritten without a look at the tree. It
//! knows nothing of keys and versions: a tree says which values its next switch adds and which it drops, and never asks for a value that it dropped.
//!
//! VS1  Before an edit is in the manifest, the values that it adds, and the names of their files, are durable.
//! VS2  Before the tree's switch, its edit is durable; until then nothing that it drops is forgotten. So whichever switch a crash leaves has its values.
//! VS3  A file is removed when no value that counts lies in it, none is on the way into it, and what says so is durable.
//! VS4  What is live in a file follows from the places of the values, never from a counter on disk.
//! VS5  A failed append is written over by the next one: nothing names its bytes.
//! VS6  What the list of an ingest names is kept as what a switch is to add, from before the list is durable until that switch, over restarts too.
//!
//! Latches: `writer`, held over I/O, then `index`, not.
//! Next: `values/file.rs`, `values/manifest.rs` (the bytes), `values/index.rs` (what is live), `values/rewrite.rs` (space), `values/ingest.rs`, docs/decisions/0036.

mod check;
mod file;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
mod index;
mod ingest;
mod manifest;
mod open;
mod reference;
mod rewrite;
#[cfg(test)]
mod tests;

pub use check::CapturedValues;
pub use open::SalvagedValues;
pub use reference::{LARGE_REF_BYTES, LargeRef};

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backend::{StoreEnv, StoreStats};
use crate::error::{Error, IoOp, Result};
use crate::mutant;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::value::Value;
use crate::vfs::{File, Vfs};
use file::{Owner, entry_bytes};
use index::Index;
use manifest::{Manifest, not_again, sync_dir};
use rewrite::Rewrite;

/// The folder of the values inside that of the keyspace.
const DIR: &str = "values";

/// Bytes at which a value file ends.
const FILE_BYTES: u64 = 64 << 20;

/// Up to this many bytes a value is copied behind its head, so that both are one write.
const ONE_WRITE_BYTES_MAX: usize = 128 << 10;

/// Where a value lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// In which file.
    file: u64,
    /// Where its entry begins.
    offset: u64,
    /// Bytes of the value.
    len: u32,
}

/// What one switch of a tree changes in the values: gathered while its files are written.
///
/// ```
/// use duramen_base::values::{LargeRef, ValueChanges};
/// let mut changes = ValueChanges::default();
/// assert!(changes.is_empty());
/// changes.drop_value(LargeRef { id: 7, len: 3, crc: 9 });
/// assert!(!changes.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct ValueChanges {
    added: Vec<(u64, Place)>,
    dropped: Vec<u64>,
}

impl ValueChanges {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty()
    }

    /// Bytes of the values added, in their files.
    pub fn added_bytes(&self) -> u64 {
        self.added.iter().map(|(_, place)| entry_bytes(place.len)).sum()
    }

    /// Takes over what `other` adds and drops.
    pub fn append(&mut self, other: ValueChanges) {
        self.added.extend(other.added);
        self.dropped.extend(other.dropped);
    }

    /// Says that the tree will not name a value any more.
    pub fn drop_value(&mut self, value: LargeRef) {
        self.dropped.push(value.id);
    }
}

/// The values of one keyspace that are too large for its tree.
pub struct ValueStore {
    vfs: Arc<dyn Vfs>,
    ks_dir: PathBuf,
    dir: PathBuf,
    owner: Owner,
    file_bytes: u64,
    /// Dead bytes from which on also the file that is appended to may be written anew.
    dead_bytes_min: u64,
    index: RwLock<Index>,
    writer: Mutex<Writer>,
    /// Figures, so relaxed.
    reads: AtomicU64,
    written_bytes: AtomicU64,
}

/// What one caller at a time writes with.
#[derive(Debug, Default)]
struct Writer {
    /// None before the first value.
    manifest: Option<Manifest>,
    next_manifest: u64,
    appending: Option<Appending>,
    /// Files with bytes that are not synced.
    unsynced: Vec<File>,
    has_unsynced_names: bool,
    next_id: u64,
    next_file: u64,
    /// The edit that the tree holds, and the next number.
    no: u64,
    next_no: u64,
    /// Whether an edit was written whose switch is still to come, or to fail.
    is_outstanding: bool,
    /// Files of ours that nothing names.
    garbage: Vec<PathBuf>,
    rewrite: Option<Rewrite>,
}

/// The file that values are appended to.
#[derive(Debug)]
struct Appending {
    no: u64,
    file: File,
    end: u64,
}

impl std::fmt::Debug for ValueStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl ValueStore {
    /// Opens the values beside a tree whose newest durable switch holds the number `no` (zero: it never had any).
    ///
    /// # Errors
    /// `Corruption`: the manifest is missing, damaged, or has not what the tree holds; `UnsupportedFormat`; `Io`. A missing value file is the error of who
    /// reads a value in it.
    pub fn open(env: &StoreEnv, no: u64) -> Result<ValueStore> {
        open::open(env, no, FILE_BYTES)
    }

    /// Appends a value, for `changes`. It can be read at once, and counts from [`ValueStore::show`] on.
    ///
    /// # Errors
    /// `DiskFull`: it may be tried again; `Io`, `Poisoned`.
    pub fn append(&self, value: &[u8], changes: &mut ValueChanges) -> Result<LargeRef> {
        let mut writer = self.writer.lock();
        let large = LargeRef { id: writer.next_id, len: value.len() as u32, crc: crc32fast::hash(value) };
        let place = self.put(&mut writer, large, value)?;
        writer.next_id += 1;
        self.index.write().await_switch(large.id, place);
        changes.added.push((large.id, place));
        Ok(large)
    }

    /// Syncs what was appended: a failed sync may drop bytes that nobody else has.
    ///
    /// # Errors
    /// Nobody knows what is on disk, nothing may be written any more.
    pub fn sync(&self) -> Result<()> {
        self.sync_values(&mut self.writer.lock())
    }

    /// Makes `changes` durable, to be in force with the switch that holds the number returned (VS1, VS2).
    ///
    /// # Errors
    /// `DiskFull`: it may be tried again; any other: nobody knows what is on disk, nothing may be written any more.
    pub fn prepare(&self, changes: &ValueChanges) -> Result<u64> {
        let mut writer = self.writer.lock();
        if changes.is_empty() {
            return Ok(writer.no);
        }
        self.sync_values(&mut writer)?;
        let (no, before) = (writer.next_no, writer.no);
        writer.next_no += 1;
        writer.is_outstanding = true;
        self.manifest(&mut writer)?.append_edit((no, before), &changes.added, &changes.dropped)?;
        Ok(no)
    }

    /// The switch with the number `no` is durable: what it adds can be read, also where `changes` are empty.
    pub fn show(&self, no: u64, changes: &ValueChanges) {
        let mut writer = self.writer.lock();
        debug_assert!(no >= writer.no, "VM1: numbers ascend");
        writer.no = no;
        writer.is_outstanding = false;
        let mut index = self.index.write();
        changes.added.iter().for_each(|&(id, place)| index.insert(id, place));
    }

    /// No reader that comes from now on finds what `changes` drop.
    pub fn forget(&self, changes: &ValueChanges) {
        if !changes.dropped.is_empty() {
            let mut index = self.index.write();
            changes.dropped.iter().for_each(|&id| index.remove(id));
        }
    }

    /// Takes out of `changes` what they both add and drop, before they are prepared: to be given up when the switch is durable. Until then the list of
    /// an ingest may name it.
    #[must_use]
    pub fn settle(&self, changes: &mut ValueChanges) -> ValueChanges {
        let dropped: HashSet<u64> = changes.dropped.iter().copied().collect();
        let both: HashSet<u64> = changes.added.iter().map(|(id, _)| *id).filter(|id| dropped.contains(id)).collect();
        if both.is_empty() {
            return ValueChanges::default();
        }
        changes.dropped.retain(|id| !both.contains(id));
        let (never, added) = changes.added.drain(..).partition(|(id, _)| both.contains(id));
        changes.added = added;
        ValueChanges { added: never, dropped: Vec::new() }
    }

    /// Whether there is no value, and none is on the way.
    pub fn is_empty(&self) -> bool {
        self.index.read().is_empty()
    }

    /// Nobody will ever name what `changes` add, and what they drop stays.
    pub fn give_up(&self, changes: ValueChanges) {
        if !changes.added.is_empty() {
            let mut index = self.index.write();
            changes.added.iter().for_each(|(id, place)| index.give_up(*id, place));
        }
    }

    /// Reads a value; `None`: there is none of this number (any more).
    ///
    /// # Errors
    /// `Corruption`: its file is missing, or it is not the one named; `Io`.
    pub fn read(&self, value: LargeRef) -> Result<Option<Value>> {
        let index = self.index.read();
        let Some(place) = index.place_of_any(value.id) else { return Ok(None) };
        let file = index.file(place.file);
        drop(index);
        self.reads.fetch_add(1, Ordering::Relaxed);
        let file = match file {
            Some(file) => file,
            None => self.owner.open(&*self.vfs, &self.dir, place.file)?,
        };
        if place.len != value.len {
            return Err(file.corruption(place.offset, "a value has not the length that its key says"));
        }
        self.owner.read(&file, place.offset, value).map(Some)
    }

    /// Adds its figures to those of the tree.
    pub fn add_stats(&self, stats: &mut StoreStats) {
        let index = self.index.read();
        let bytes = index.file_bytes();
        stats.values = index.len() as u64;
        stats.value_files = index.file_count() as u64;
        stats.value_bytes = bytes;
        stats.live_value_bytes = index.live_bytes();
        stats.disk_bytes += bytes;
        stats.memory_bytes += index.memory_bytes();
        stats.reads += self.reads.load(Ordering::Relaxed);
        stats.written_bytes += self.written_bytes.load(Ordering::Relaxed);
    }

    /// Writes an entry behind the last one; where it lies.
    fn put(&self, writer: &mut Writer, value: LargeRef, bytes: &[u8]) -> Result<Place> {
        self.manifest(writer)?;
        if writer.appending.as_ref().is_some_and(|appending| appending.end >= self.file_bytes) {
            writer.appending = None;
        }
        if writer.appending.is_none() {
            self.begin_file(writer)?;
        }
        let Appending { no, file, end } = writer.appending.as_mut().expect("just made");
        let (no, offset) = (*no, *end);
        write_entry(file, offset, &self.owner.encode_head(value), bytes)?;
        *end += entry_bytes(value.len);
        let file = file.clone();
        if writer.unsynced.last().is_none_or(|last| last.path() != file.path()) {
            writer.unsynced.push(file);
        }
        let place = Place { file: no, offset, len: value.len };
        self.index.write().expect(&place);
        self.written_bytes.fetch_add(entry_bytes(value.len), Ordering::Relaxed);
        Ok(place)
    }

    fn begin_file(&self, writer: &mut Writer) -> Result<()> {
        let no = writer.next_file;
        let file = self.owner.create(&*self.vfs, &self.dir, no)?;
        writer.next_file += 1;
        writer.has_unsynced_names = true;
        let end = crate::framed::FILE_HEADER_BYTES as u64;
        self.index.write().add_file(no, Some(file.clone()), end);
        writer.appending = Some(Appending { no, file, end });
        Ok(())
    }

    /// The manifest; made, with its folder, for the first value.
    fn manifest<'w>(&self, writer: &'w mut Writer) -> Result<&'w mut Manifest> {
        if writer.manifest.is_none() {
            match self.vfs.create_dir(&self.dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::from_io(IoOp::Create, &self.dir, error));
                }
                Ok(()) | Err(_) => sync_dir(&*self.vfs, &self.ks_dir)?,
            }
            self.write_manifest(writer)?;
        }
        Ok(writer.manifest.as_mut().expect("just made"))
    }

    /// Writes a manifest of what counts now, in the place of the one there is.
    fn write_manifest(&self, writer: &mut Writer) -> Result<()> {
        debug_assert!(!writer.is_outstanding, "VM1: a snapshot has no edit that may not come to pass");
        let number = writer.next_manifest;
        let numbers = (writer.no, writer.next_no, writer.next_id);
        let places = self.index.read().places();
        let manifest = Manifest::create(&*self.vfs, &self.dir, self.owner, number, numbers, &places)?;
        writer.next_manifest += 1;
        if let Some(old) = writer.manifest.replace(manifest) {
            writer.garbage.push(self.dir.join(manifest::manifest_name(old.number())));
        }
        Ok(())
    }

    /// VS1.
    fn sync_values(&self, writer: &mut Writer) -> Result<()> {
        if mutant!("value_edit_before_values") {
            return Ok(());
        }
        while let Some(file) = writer.unsynced.last() {
            file.sync_data().map_err(not_again)?;
            writer.unsynced.pop();
        }
        if writer.has_unsynced_names {
            sync_dir(&*self.vfs, &self.dir)?;
            writer.has_unsynced_names = false;
        }
        Ok(())
    }
}

fn write_entry(file: &File, offset: u64, head: &[u8], value: &[u8]) -> Result<()> {
    if value.len() <= ONE_WRITE_BYTES_MAX {
        return file.write_all_at(&[head, value].concat(), offset);
    }
    file.write_all_at(head, offset)?;
    file.write_all_at(value, offset + head.len() as u64)
}
