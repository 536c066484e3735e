//! Reading what can be read of a damaged store's tables, beside the store: nothing is opened, nothing written.
//!
//! The manifest says which tables count; without it all that lie in the folder do. Of a table every whole block is taken, found by walking through the
//! file from image to image; indexes and filters are not needed. Timestamps tell which version of a key is the newest.
//!
//! Z3  With the manifest: what its tables hold, without the keys of damaged blocks.
//! Z4  Without it, tables that were merged already and whose files are still there are tables too: what was deleted or replaced may be back, where the
//!     merge has dropped the tombstone, or the timestamp of the newer value, which so loses against all that such a table says of its key. The loss that
//!     says so comes first. Nothing that tables say of themselves decides it: one with a version of 7 beside one of the last level, with a higher number
//!     and commits up to 9, has gone into that, or lies above it, merged with its neighbours only. Of two without timestamps the higher number is right.
//! Z5  Where only `CURRENT` is lost, the manifest need not be: when all that lie in the folder are whole, the one that knows the latest change counts. If one is
//!     not, it may be the one that counted, and an older one would name tables that are gone.

use std::path::Path;

use duramen_base::framed::{FILE_HEADER_BYTES, read_current};
use duramen_base::image::{Body, Image, ImageKind};
use duramen_base::ingest::{list_path, read_list};
use duramen_base::salvage::{ImageSearch, Loss, Salvage, StoreFiles, give_ingested, give_versions, of_ingest};
use duramen_base::values::SalvagedValues;
use duramen_base::vfs::File;
use duramen_base::{Error, IngestRecord, IoOp, Result, StoreMark, Timestamp, mutant};

use crate::manifest::{Edit, Manifest, Placed, manifest_name, manifest_number};
use crate::table::footer::FOOTER_BYTES;
use crate::table::packing;
use crate::table::{TableMeta, table_no, table_path};

/// Gives everything that can be read to `sink`. Returns what the files say of themselves: only later commits need to be taken
/// from the log; `seq` is zero where it cannot be read.
///
/// ```
/// # use duramen_base::{KeyspaceId, Timestamp, vfs::{MemVfs, Vfs}};
/// # use duramen_base::salvage::{Loss, Salvage, StoreFiles};
/// #[derive(Default)]
/// struct Count(usize, Vec<Loss>);
/// impl Salvage for Count {
///     fn version(&mut self, _: &[u8], _: Timestamp, _: Option<&[u8]>) -> duramen_base::Result<()> {
///         self.0 += 1;
///         Ok(())
///     }
///     fn range_delete(&mut self, _: &[u8], _: &[u8], _: Timestamp) -> duramen_base::Result<()> {
///         Ok(())
///     }
///     fn lost(&mut self, loss: Loss) {
///         self.1.push(loss);
///     }
/// }
/// let disk = MemVfs::new();
/// let files = StoreFiles { vfs: &disk, dir: "ks/1".as_ref(), keyspace: KeyspaceId::new(1), db_uuid: None };
/// let mut count = Count::default();
/// duramen_lsm::salvage(&files, &mut count)?;
/// assert_eq!(count.0, 0);
/// assert!(!count.1.is_empty(), "a missing manifest is a loss, not an error");
/// # Ok::<(), duramen_base::Error>(())
/// ```
///
/// # Errors
/// Those of `sink`, no others.
pub fn salvage(files: &StoreFiles<'_>, sink: &mut dyn Salvage) -> Result<StoreMark> {
    let (values, losses) = SalvagedValues::find(files);
    losses.into_iter().for_each(|loss| sink.lost(loss));
    match newest_state(files, sink) {
        Ok(state) => {
            for Placed { meta, .. } in &state.added {
                give_named(files, meta, &values, sink)?;
            }
            Ok(StoreMark { seq: state.seq, persisted: state.persisted, contains: state.contains })
        }
        Err(mut loss) => {
            loss.what.push_str(": every table in the folder is read, also those that were merged into others and not removed yet: of keys in them, what was deleted or replaced may be back (Z4)");
            sink.lost(loss);
            for no in tables_in(files, sink) {
                let path = table_path(files.dir, no);
                match File::open(files.vfs, &path, duramen_base::vfs::OpenMode::Read) {
                    Ok(file) => give_table(files, &file, no, None, &values, sink)?,
                    Err(error) => sink.lost(Loss::of(&error, &path, 0)),
                }
            }
            Ok(StoreMark { seq: 0, persisted: Timestamp::ZERO, contains: Timestamp::ZERO })
        }
    }
}

/// Gives what an ingest brought that the log names and, by their own account, these files do not: the tables that its list names.
///
/// ```
/// # use duramen_base::{IngestRecord, KeyspaceId, Timestamp, vfs::MemVfs};
/// # use duramen_base::salvage::{Loss, Salvage, StoreFiles};
/// #[derive(Default)]
/// struct Losses(Vec<Loss>);
/// impl Salvage for Losses {
///     fn version(&mut self, _: &[u8], _: Timestamp, _: Option<&[u8]>) -> duramen_base::Result<()> {
///         Ok(())
///     }
///     fn range_delete(&mut self, _: &[u8], _: &[u8], _: Timestamp) -> duramen_base::Result<()> {
///         Ok(())
///     }
///     fn lost(&mut self, loss: Loss) {
///         self.0.push(loss);
///     }
/// }
/// let disk = MemVfs::new();
/// let keyspace = KeyspaceId::new(1);
/// let files = StoreFiles { vfs: &disk, dir: "ks/1".as_ref(), keyspace, db_uuid: None };
/// let record = IngestRecord { keyspace, digest: 0, number: 5, bytes: 0 };
/// let mut losses = Losses::default();
/// duramen_lsm::salvage_ingest(&files, &record, Timestamp::new(9), &mut losses)?;
/// assert_eq!(losses.0.len(), 1, "a missing list is a loss, not an error");
/// # Ok::<(), duramen_base::Error>(())
/// ```
///
/// # Errors
/// Those of `sink`, no others.
pub fn salvage_ingest(
    files: &StoreFiles<'_>,
    record: &IngestRecord,
    ts: Timestamp,
    sink: &mut dyn Salvage,
) -> Result<()> {
    let path = list_path(files.dir, record.number);
    let none = || Error::corruption(&path, 0, "a list of tables that is none");
    match read_list(files, record).and_then(|(_, tables)| Edit::decode(&tables).ok_or_else(none)) {
        Ok(edit) => {
            let (values, _) = SalvagedValues::find(files); // its losses were told with those of the tables
            edit.added.into_iter().try_for_each(|Placed { meta, .. }| {
                give_named(files, &TableMeta { min_ts: ts, max_ts: ts, ..meta }, &values, sink)
            })
        }
        Err(error) => {
            sink.lost(of_ingest(&error, &path, ts));
            Ok(())
        }
    }
}

/// What the manifest says that counts.
fn newest_state(files: &StoreFiles<'_>, sink: &mut dyn Salvage) -> Result<Edit, Loss> {
    let current = files.dir.join("CURRENT");
    let mut loss = match read_current(files.vfs, files.dir) {
        Ok(Some(name)) => {
            let number = manifest_number(&name).ok_or_else(|| Loss::new(&current, 0, "CURRENT names no manifest"))?;
            return state_of(files, number);
        }
        Ok(None) => Loss::new(&current, 0, "the store has no CURRENT"),
        Err(error) => Loss::of(&error, &current, 0),
    };
    match newest_whole(files) {
        Some(state) => {
            loss.what.push_str(": the newest manifest in the folder is whole and is used (Z5)");
            sink.lost(loss);
            Ok(state)
        }
        None => Err(loss),
    }
}

/// Z5.
fn newest_whole(files: &StoreFiles<'_>) -> Option<Edit> {
    let entries = files.vfs.list(files.dir).ok()?;
    let numbers = entries.iter().filter_map(|entry| manifest_number(&entry.name));
    let states: Result<Vec<(Edit, u64)>, Loss> = numbers.map(|number| Ok((state_of(files, number)?, number))).collect();
    let newest = states.ok()?.into_iter().max_by_key(|(state, number)| (state.seq, *number));
    newest.filter(|_| !mutant!("salvage_needs_current")).map(|(state, _)| state)
}

/// What the manifest of this number says.
fn state_of(files: &StoreFiles<'_>, number: u64) -> Result<Edit, Loss> {
    let path = files.dir.join(manifest_name(number));
    let (header, state) = Manifest::read(files.vfs, &path).map_err(|error| Loss::of(&error, &path, 0))?;
    if !files.is_ours(header.db_uuid) || header.ks_id != files.keyspace.get() || header.number != number {
        return Err(Loss::new(path, 0, "a manifest of another database, keyspace or number"));
    }
    Ok(state)
}

/// Numbers of the tables in the folder, ascending.
fn tables_in(files: &StoreFiles<'_>, sink: &mut dyn Salvage) -> Vec<u64> {
    let entries = files.vfs.list(files.dir).unwrap_or_else(|error| {
        sink.lost(Loss::of(&Error::from_io(IoOp::List, files.dir, error), files.dir, 0));
        Vec::new()
    });
    let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| table_no(&entry.name)).collect();
    numbers.sort_unstable();
    numbers
}

/// Z3.
fn give_named(files: &StoreFiles<'_>, meta: &TableMeta, values: &SalvagedValues, sink: &mut dyn Salvage) -> Result<()> {
    let path = table_path(files.dir, meta.no);
    match File::open(files.vfs, &path, duramen_base::vfs::OpenMode::Read) {
        Ok(file) => give_table(files, &file, meta.no, Some(meta), values, sink),
        Err(Error::Io { op: IoOp::Open, source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            sink.lost(of_table(Loss::new(path, 0, "a table that the manifest names is missing"), meta));
            Ok(())
        }
        Err(error) => {
            sink.lost(of_table(Loss::of(&error, &path, 0), meta));
            Ok(())
        }
    }
}

/// A loss of all that a table holds. What it deleted may lie outside its keys.
fn of_table(loss: Loss, meta: &TableMeta) -> Loss {
    let behind_last = duramen_base::memtable::successor(&meta.max_key);
    Loss { keys: (meta.fragments == 0).then(|| (meta.min_key.clone(), behind_last)), ..loss }
}

/// Every whole block of one table, and a loss for each stretch between them.
fn give_table(
    files: &StoreFiles<'_>,
    file: &File,
    no: u64,
    meta: Option<&TableMeta>,
    values: &SalvagedValues,
    sink: &mut dyn Salvage,
) -> Result<()> {
    let found_bytes = file.len().unwrap_or(0);
    let file_bytes = meta.map_or(found_bytes, |meta| meta.file_bytes);
    let end = file_bytes.saturating_sub(FOOTER_BYTES as u64);
    let (ks_id, write_seq) = (files.keyspace.get(), no as u32);
    let mut stretch = Stretch::new(file.path());
    let mut search = ImageSearch::new(file, FILE_HEADER_BYTES as u64..end, 1).also(packing::FORM);
    while let Some((at, image)) =
        search.next(|identity, at| identity.self_id == at && (identity.ks_id, identity.write_seq) == (ks_id, write_seq))
    {
        stretch.image_at(at, &image, search.position(), sink);
        match image.kind() {
            ImageKind::TableData => match meta.filter(|meta| is_ingested(meta, &image)) {
                Some(meta) => give_ingested(&image, meta.max_ts, values, sink)?,
                None => give_versions(&image, values, sink)?,
            },
            ImageKind::RangeTombstones => give_range_deletes(&image, sink)?,
            ImageKind::TableIndex | ImageKind::Filter | ImageKind::Raw => {}
            ImageKind::Leaf | ImageKind::Inner | ImageKind::MapChunk => {}
        }
    }
    stretch.end_at(end, sink);
    Ok(())
}

/// Follows the images of a table, and tells what lies between them.
struct Stretch<'a> {
    path: &'a Path,
    /// Where the last whole image ended.
    at: u64,
    /// The last key before it.
    last_key: Vec<u8>,
    /// A gap that waits for the first key behind it.
    open: Option<(u64, u64, Vec<u8>)>,
}

impl<'a> Stretch<'a> {
    fn new(path: &'a Path) -> Stretch<'a> {
        Stretch { path, at: FILE_HEADER_BYTES as u64, last_key: Vec::new(), open: None }
    }

    fn image_at(&mut self, at: u64, image: &Image, end: u64, sink: &mut dyn Salvage) {
        self.gap_before(at);
        self.at = end;
        if image.kind() == ImageKind::TableData && image.count() > 0 {
            let mut key = Vec::new();
            image.key_into(0, &mut key);
            self.tell(key, sink);
            image.key_into(image.count() - 1, &mut self.last_key);
        }
    }

    fn gap_before(&mut self, at: u64) {
        if at > self.at {
            let (start, low) =
                self.open.take().map_or((self.at, self.last_key.clone()), |(start, _, low)| (start, low));
            self.open = Some((start, at, low));
        }
    }

    fn tell(&mut self, high: Vec<u8>, sink: &mut dyn Salvage) {
        if let Some((start, end, low)) = self.open.take() {
            let what = format!("no whole block in {} bytes: an index, a filter or a block of keys", end - start);
            sink.lost(Loss { keys: Some((low, high)), ..Loss::new(self.path, start, what) });
        }
    }

    fn end_at(&mut self, end: u64, sink: &mut dyn Salvage) {
        // What stands behind the last block up to the footer is less than another could be.
        if end > self.at {
            self.gap_before(end);
        }
        self.tell(Vec::new(), sink);
    }
}

/// Whether its versions have no timestamps of their own, but that of the manifest (D6 of `table/mod.rs`).
fn is_ingested(meta: &TableMeta, image: &Image) -> bool {
    meta.min_ts == meta.max_ts && image.max_ts() == Timestamp::ZERO
}

fn give_range_deletes(image: &Image, sink: &mut dyn Salvage) -> Result<()> {
    let mut low = Vec::new();
    for index in 0..image.count() {
        image.key_into(index, &mut low);
        let record = image.record(index);
        if let Body::Value(high) = record.body {
            sink.range_delete(&low, high, record.ts)?;
        }
    }
    Ok(())
}
