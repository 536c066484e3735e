//! A table: an immutable sorted file of versions, with its index, filters and range tombstones.
//!
//! ```text
//!   file header (64 B) | { data block* filter part, index part }* | range tombstone image* | top index | properties | footer (4 KiB)
//! ```
//! Blocks are page images of `base`: `TableData`, `Filter`, `TableIndex`, `RangeTombstones`, `Raw`; `self_id` is the offset in the file and
//! `write_seq` the low half of the table's number. A data block may be stored packed. This folder knows one file; which tables there are is the manifest's business, and
//! what versions mean to a reader is that of `get.rs` and `cursor.rs`.
//!
//! D1  A table never changes once it is written; it is read only through handles (N3) that its parent holds, the footer through the manifest.
//! D2  Keys ascend over all blocks. The newest version of a key is a main record, tombstones too; older ones are history, newest first.
//! D3  All versions of a key lie in one block, unless they exceed an image: then its blocks hold nothing else (N2).
//! D4  Top index, properties and range tombstones stay in memory; data blocks go through the frame pool.
//! D5  Index parts and filters stay with the table once they were asked for, as long as the pool grants room beside it; else they go through it, too.
//! D6  A table whose footer says that nothing in it has a timestamp, where the manifest holds one: it was ingested, by that commit (`stamp`). Each of
//!     its keys has one version.
//!     Elsewhere a version without a timestamp is one of timestamp zero (`merge/freeze.rs`), and both footer and manifest hold zero as the smallest.
//! D7  A kept index part has a place for each of its entries: there the data block of an entry with one block is found under a pin, while the pool has it.
//!
//! Next: `writer.rs` and `reader.rs`; the parts in `footer.rs`, `index.rs`, `filter.rs`, `props.rs`, `tombs.rs`; `blocks.rs` (pool or not), `packing.rs` (blocks stored compressed).

mod ahead;
mod block_builder;
pub(crate) mod blocks;
pub(crate) mod filter;
pub(crate) mod footer;
pub(crate) mod index;
mod output;
pub(crate) mod packing;
pub(crate) mod props;
pub(crate) mod reader;
#[cfg(test)]
mod tests;
pub(crate) mod tombs;
pub(crate) mod writer;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use duramen_base::arena::{Counted, Room};
use duramen_base::bounds::prefix_end;
use duramen_base::image::{Body, IMAGE_BYTES_MAX, Identity, Image, ImageKind, Lookup};
use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::pool::{CacheCounts, FrameKey, FramePool, RoomBeside, Slots};
use duramen_base::sync::atomic::{AtomicU64, Ordering};
use duramen_base::vfs::{File, OpenMode};
use duramen_base::{Error, IoOp, Result, StoreEnv, Timestamp};

use crate::source::Stored;
use crate::span::{End, Span};
use blocks::{Block, BlockSource};
use duramen_base::memtable::RangeTombs;
use filter::Filter;
use footer::{FOOTER_BYTES, Footer};
use index::{HANDLE_BYTES, Handle};
use props::Props;

/// Bytes of a record beside key and value, at most: slots, varints, padding.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 28;

/// Bytes of the records of one image, so that header and the longest fences fit beside them.
pub(crate) const RECORDS_BYTES_MAX: usize = IMAGE_BYTES_MAX - 2 * (KEY_BYTES_MAX + 1) - 2048;

/// What the manifest holds about a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    /// Its number: the file is `<no>.sst`.
    pub(crate) no: u64,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// crc32 of the whole file.
    pub(crate) digest: u32,
    /// crc32 that its footer carries.
    pub(crate) footer_crc: u32,
    /// Keys in it.
    pub(crate) keys: u64,
    /// Versions in it.
    pub(crate) versions: u64,
    /// Fragments of range tombstones in it.
    pub(crate) fragments: u64,
    /// Smallest timestamp in it.
    pub(crate) min_ts: Timestamp,
    /// Largest timestamp in it.
    pub(crate) max_ts: Timestamp,
    /// First key of a version.
    pub(crate) min_key: Vec<u8>,
    /// Last key of a version.
    pub(crate) max_key: Vec<u8>,
}

/// The file of table `no`.
pub(crate) fn table_path(dir: &Path, no: u64) -> PathBuf {
    dir.join(format!("{no}.sst"))
}

/// The number in the name of a table file, if it is exactly what [`table_path`] gives.
pub(crate) fn table_no(name: &str) -> Option<u64> {
    let no = name.strip_suffix(".sst")?.parse().ok()?;
    (format!("{no}.sst") == name).then_some(no)
}

/// A table that can be read.
#[derive(Debug)]
pub(crate) struct Table {
    meta: TableMeta,
    file: File,
    frames: u64,
    pool: Arc<FramePool>,
    /// Lookups of data blocks by readers; those of all tables of the store.
    cache: Arc<CacheCounts>,
    ks_id: u32,
    top: Image,
    /// One for each entry of the top index.
    parts: Box<[Part]>,
    tombs: RangeTombs,
    /// Where the range tombstones begin and end (empty: nowhere), if there are any.
    tombs_span: Option<(Vec<u8>, Vec<u8>)>,
    props: Props,
    /// Whether it was written packing, though perhaps no block got smaller.
    is_packed: bool,
    /// The commit of all its versions, if they have no timestamps of their own (D6).
    stamp: Option<Timestamp>,
    /// Blocks read from the file. Figures, so relaxed; the next two as well.
    reads: AtomicU64,
    /// Keys that a filter denied.
    denials: AtomicU64,
    /// Keys that a filter let through and no block has.
    vain_passes: AtomicU64,
}

/// Index and filter of a stretch of blocks, once they were read (D5).
#[derive(Debug, Default)]
struct Part {
    index: OnceLock<Kept>,
    filter: OnceLock<Kept>,
}

/// An image that stays with its table.
#[derive(Debug)]
pub(crate) struct Kept {
    image: Counted<Image>,
    /// Where the blocks of an index part are found (D7); none for a filter.
    slots: Arc<Slots>,
    _room: RoomBeside,
}

/// An index or filter part in hand.
#[derive(Clone, Debug)]
pub(crate) enum PartImage<'t> {
    Kept(&'t Kept),
    Counted(Counted<Image>),
}

impl Deref for PartImage<'_> {
    type Target = Image;

    #[inline]
    fn deref(&self) -> &Image {
        match self {
            PartImage::Kept(kept) => &kept.image,
            PartImage::Counted(image) => image,
        }
    }
}

impl<'t> PartImage<'t> {
    /// Counted, to outlive the table's borrow.
    pub(crate) fn into_counted(self) -> Counted<Image> {
        match self {
            PartImage::Kept(kept) => Counted::clone(&kept.image),
            PartImage::Counted(image) => image,
        }
    }

    /// Where the blocks of this index part are found.
    #[inline]
    fn slots(&self) -> Option<&'t Arc<Slots>> {
        match self {
            PartImage::Kept(kept) => Some(&kept.slots),
            PartImage::Counted(_) => None,
        }
    }
}

/// A version found in a block.
#[derive(Clone, Debug)]
pub(crate) struct BlockVersion<B = Counted<Image>> {
    pub(crate) ts: Timestamp,
    /// `None`: a tombstone.
    pub(crate) value: Option<Stored<B>>,
}

/// What a table knows of a key at a timestamp, range tombstones apart.
#[derive(Clone, Debug)]
pub(crate) struct TableFound<B = Counted<Image>> {
    /// The newest version with `ts <= at`.
    pub(crate) version: Option<BlockVersion<B>>,
    /// The newest version of all.
    pub(crate) newest: Timestamp,
}

impl<B> Default for TableFound<B> {
    fn default() -> TableFound<B> {
        TableFound { version: None, newest: Timestamp::ZERO }
    }
}

impl<B> TableFound<B> {
    /// What a reader at `at` finds of a version of the commit `ts` (D6).
    fn stamped(self, ts: Timestamp, at: Timestamp) -> TableFound<B> {
        match self.version {
            None => TableFound::default(),
            Some(version) => TableFound { version: (ts <= at).then_some(BlockVersion { ts, ..version }), newest: ts },
        }
    }
}

impl Table {
    /// Opens the table that the manifest describes. A missing or foreign file is `Corruption`.
    pub(crate) fn open(env: &StoreEnv, meta: TableMeta) -> Result<Table> {
        Table::open_at(env, meta, env.pool.new_file())
    }

    /// The same with the frames that its writer offered to the pool (OU1 of `output.rs`).
    pub(crate) fn open_at(env: &StoreEnv, meta: TableMeta, frames: u64) -> Result<Table> {
        let path = table_path(&env.dir, meta.no);
        let file = File::open(&*env.vfs, &path, OpenMode::Read).map_err(|error| match error {
            Error::Io { op: IoOp::Open, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::corruption(&path, 0, "a table that the manifest names is missing")
            }
            other => other,
        })?;
        file.expect_random_reads();
        let footer = read_footer(env, &file, &meta)?;
        let ks_id = env.keyspace.get();
        let read = |handle, kind| read_block(&file, ks_id, &meta, handle, kind);
        let top = read(&footer.top, ImageKind::TableIndex)?;
        let damaged_props =
            || file.corruption(footer.props.offset, "the properties of the table do not fit the manifest");
        let props = Props::decode(read(&footer.props, ImageKind::Raw)?.raw_body()).ok_or_else(damaged_props)?;
        if !props_fit(&props, &meta) {
            return Err(damaged_props());
        }
        let mut tombs = RangeTombs::default();
        for handle in &props.tombs {
            let image = read(handle, ImageKind::RangeTombstones)?;
            if !tombs::read_into(&image, &mut tombs) {
                return Err(file.corruption(handle.offset, "a range tombstone ends before it begins"));
            }
        }
        let mut fragments = tombs.fragments();
        let tombs_span = fragments.next().map(|first| {
            let last = fragments.last().unwrap_or(first);
            (first.low.to_vec(), last.high.to_vec())
        });
        let (pool, cache) = (Arc::clone(&env.pool), env.pool.counts_of(env.keyspace));
        let [reads, denials, vain_passes] = [const { AtomicU64::new(0) }; 3];
        let parts = (0..top.count()).map(|_| Part::default()).collect();
        let stamp = (footer.max_ts < meta.max_ts).then_some(meta.max_ts);
        Ok(Table {
            meta,
            file,
            frames,
            pool,
            cache,
            ks_id,
            top,
            parts,
            tombs,
            tombs_span,
            props,
            is_packed: footer.header.read_features & footer::PACKED != 0,
            stamp,
            reads,
            denials,
            vain_passes,
        })
    }

    /// What the manifest holds about it.
    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Says which commit attached it (D6).
    pub(crate) fn stamp(&mut self, ts: Timestamp) {
        (self.meta.min_ts, self.meta.max_ts, self.stamp) = (ts, ts, Some(ts));
    }

    /// Whether its versions have no timestamps of their own (D6).
    pub(crate) fn is_stamped(&self) -> bool {
        self.stamp.is_some()
    }

    /// Whether it was written packing.
    pub(crate) fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// The commit of a version that is stored with this one.
    #[inline]
    pub(crate) fn stamped(&self, stored: Timestamp) -> Timestamp {
        self.stamp.unwrap_or(stored)
    }

    /// Its range tombstones.
    pub(crate) fn tombs(&self) -> &RangeTombs {
        &self.tombs
    }

    /// The keys it is about.
    pub(crate) fn span(&self) -> Span<'_> {
        let keys = Span { low: &self.meta.min_key, end: End::With(&self.meta.max_key) };
        let tombs = self
            .tombs_span
            .as_ref()
            .map(|(low, high)| Span { low, end: if high.is_empty() { End::Open } else { End::Before(high) } });
        match tombs {
            Some(tombs) if self.meta.keys > 0 => keys.around(tombs),
            Some(tombs) => tombs,
            None => keys,
        }
    }

    /// Its properties.
    pub(crate) fn props(&self) -> &Props {
        &self.props
    }

    /// Its top index.
    pub(crate) fn top(&self) -> &Image {
        &self.top
    }

    /// Its file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Blocks read from the file so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Keys that its filters denied, and those that they let through in vain.
    pub(crate) fn denials_and_vain_passes(&self) -> (u64, u64) {
        (self.denials.load(Ordering::Relaxed), self.vain_passes.load(Ordering::Relaxed))
    }

    /// The pool's name for the block at `offset`.
    pub(crate) fn frame(&self, offset: u64) -> FrameKey {
        FrameKey { file: self.frames, offset }
    }

    /// The pool.
    pub(crate) fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// Where lookups of its data blocks are counted.
    pub(crate) fn cache(&self) -> &CacheCounts {
        &self.cache
    }

    /// Whether a version of `key` could be in it.
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        self.meta.keys > 0 && *key >= *self.meta.min_key && *key <= *self.meta.max_key
    }

    /// Reads a block and checks it against its handle (N3).
    pub(crate) fn read_block(&self, handle: &Handle, kind: ImageKind) -> Result<Image> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        read_block(&self.file, self.ks_id, &self.meta, handle, kind)
    }

    /// The handles of entry `entry` of an index image: the first, and those behind it, encoded.
    pub(crate) fn handles_of<'i>(&self, index: &'i Image, entry: usize) -> Result<(Handle, &'i [[u8; HANDLE_BYTES]])> {
        let damaged = || self.file.corruption(index.self_id(), "an index entry is no list of handles");
        index::entry_handles(index, entry).ok_or_else(damaged)
    }

    /// Handles of index part and filter part `part`.
    pub(crate) fn part_handles(&self, part: usize) -> Result<(Handle, Handle)> {
        match self.handles_of(&self.top, part)? {
            (index, [filter]) => Ok((index, Handle::decode(filter))),
            _ => Err(self.file.corruption(self.top.self_id(), "a part has an index and a filter")),
        }
    }

    /// Index part `part`; `None` if it would have to be read and `blocks` does not read.
    pub(crate) fn index_part(&self, part: usize, blocks: &impl BlockSource) -> Result<Option<PartImage<'_>>> {
        let handle = || self.part_handles(part).map(|(index, _)| index);
        self.kept(&self.parts[part].index, handle, ImageKind::TableIndex, blocks)
    }

    /// Filter part `part`, as [`Table::index_part`].
    fn filter_part(&self, part: usize, blocks: &impl BlockSource) -> Result<Option<PartImage<'_>>> {
        let handle = || self.part_handles(part).map(|(_, filter)| filter);
        self.kept(&self.parts[part].filter, handle, ImageKind::Filter, blocks)
    }

    /// Where the block of an entry of an index part is found (D7).
    pub(crate) fn slot_of(&self, part: usize, entry: usize) -> Option<(&Arc<Slots>, usize)> {
        self.parts[part].index.get().map(|kept| (&kept.slots, entry))
    }

    /// D5.
    #[inline]
    fn kept<'t>(
        &'t self,
        place: &'t OnceLock<Kept>,
        handle: impl FnOnce() -> Result<Handle>,
        kind: ImageKind,
        blocks: &impl BlockSource,
    ) -> Result<Option<PartImage<'t>>> {
        match place.get() {
            Some(kept) => Ok(Some(PartImage::Kept(kept))),
            None => self.keep(place, handle()?, kind, blocks),
        }
    }

    #[inline(never)]
    fn keep<'t>(
        &'t self,
        place: &'t OnceLock<Kept>,
        handle: Handle,
        kind: ImageKind,
        blocks: &impl BlockSource,
    ) -> Result<Option<PartImage<'t>>> {
        let Some(image) = blocks.block(self, &handle, kind)? else { return Ok(None) };
        let slot_count = if kind == ImageKind::TableIndex { image.count() } else { 0 };
        let bytes = image.memory_bytes() + Slots::memory_bytes(slot_count);
        if let Some(room) = self.pool.keep_beside(bytes as u64) {
            // Another may be faster; it is the same image.
            let _ = place.set(Kept { image: Counted::clone(&image), slots: Slots::new(slot_count), _room: room });
        }
        Ok(Some(PartImage::Counted(image)))
    }

    /// What it knows of `key` at `at`; `None`: a block would have to be read that `blocks` does not read. `hash` is that of the key.
    pub(crate) fn get<S: BlockSource>(
        &self,
        key: &[u8],
        hash: u64,
        at: Timestamp,
        blocks: &S,
    ) -> Result<Option<TableFound<S::Data>>> {
        if !self.covers(key) || self.top.count() == 0 {
            return Ok(Some(TableFound::default()));
        }
        let part = index::entry_of(&self.top, key);
        let Some(image) = self.filter_part(part, blocks)? else { return Ok(None) };
        let damaged = || self.file.corruption(image.self_id(), "a filter part cannot be read");
        let filter = Filter::parse(image.raw_body()).ok_or_else(damaged)?;
        if !filter.may_contain(hash) {
            self.denials.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(TableFound::default()));
        }
        let Some(index) = self.index_part(part, blocks)? else { return Ok(None) };
        if index.count() == 0 {
            return Err(self.file.corruption(index.self_id(), "an index part has no entries"));
        }
        let entry = index::entry_of(&index, key);
        let found = match self.stamp {
            None => self.find_by(&index, entry, key, at, blocks)?,
            Some(ts) => {
                let found = self.find_by(&index, entry, key, Timestamp::MAX, blocks)?;
                found.map(|found| found.stamped(ts, at))
            }
        };
        if S::IS_READER && found.is_some() {
            self.cache.note_lookup();
        }
        if found.as_ref().is_some_and(|found| found.newest == Timestamp::ZERO && found.version.is_none()) {
            self.vain_passes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Looks into the block or blocks of one entry.
    #[inline]
    fn find_by<S: BlockSource>(
        &self,
        index: &PartImage<'_>,
        entry: usize,
        key: &[u8],
        at: Timestamp,
        blocks: &S,
    ) -> Result<Option<TableFound<S::Data>>> {
        let place = index.slots().map(|slots| (slots, entry));
        if let Some(block) = blocks.published(place)
            && block.max_ts() <= at
        {
            return Ok(Some(newest_in(block, key))); // D7: it is the only block of its entry
        }
        let (first, more) = self.handles_of(index, entry)?;
        let place = place.filter(|_| more.is_empty());
        self.find_in((first, place), more, key, at, blocks)
    }

    /// Looks through the blocks of one entry, which go from newer to older versions (N2).
    fn find_in<S: BlockSource>(
        &self,
        (first, place): (Handle, blocks::Place<'_>),
        more: &[[u8; HANDLE_BYTES]],
        key: &[u8],
        at: Timestamp,
        blocks: &S,
    ) -> Result<Option<TableFound<S::Data>>> {
        let mut found = TableFound::default();
        for handle in std::iter::once(first).chain(more.iter().map(Handle::decode)) {
            let Some(block) = blocks.data(self, &handle, place)? else { return Ok(None) };
            if block.max_ts() <= at {
                let last = newest_in(block, key);
                return Ok(Some(TableFound { newest: last.newest.max(found.newest), ..last }));
            }
            let Ok(slot) = block.search(key) else { break };
            found.newest = found.newest.max(block.record(slot).ts);
            found.version = version_at(&block, slot, key, at);
            if found.version.is_some() {
                break;
            }
        }
        Ok(Some(found))
    }
}

/// What a block says of `key` to somebody who reads at or after all of it.
fn newest_in<B: Block>(block: B, key: &[u8]) -> TableFound<B> {
    match block.lookup(key, Timestamp::MAX) {
        Lookup::Absent => TableFound::default(),
        Lookup::Deleted(ts) => TableFound { version: Some(BlockVersion { ts, value: None }), newest: ts },
        Lookup::Value { range, ts } => {
            TableFound { version: Some(BlockVersion { ts, value: Some(Stored::InImage(block, range)) }), newest: ts }
        }
        Lookup::Large(large, ts) => {
            TableFound { version: Some(BlockVersion { ts, value: Some(Stored::Large(large)) }), newest: ts }
        }
    }
}

/// The newest version with `ts <= at` of the key of main record `slot`, as far as this block has it.
pub(crate) fn version_at<B: Block>(block: &B, slot: usize, key: &[u8], at: Timestamp) -> Option<BlockVersion<B>> {
    let of = |ts, body: Body<'_>, range| {
        let value = match body {
            Body::Value(_) => Some(Stored::InImage(block.clone(), range)),
            Body::Tombstone => None,
            Body::Large(large) => Some(Stored::Large(large)),
        };
        BlockVersion { ts, value }
    };
    let newest = block.record(slot);
    if newest.ts <= at {
        return Some(of(newest.ts, newest.body, block.value_range(slot)));
    }
    let history = block.hist_range(key);
    history
        .into_iter()
        .map(|index| (index, block.hist_record(index)))
        .find(|(_, record)| record.ts <= at)
        .map(|(index, record)| of(record.ts, record.body, block.hist_value_range(index)))
}

fn read_footer(env: &StoreEnv, file: &File, meta: &TableMeta) -> Result<Footer> {
    if file.len()? != meta.file_bytes {
        return Err(file.corruption(meta.file_bytes, "a table has not the length that the manifest holds"));
    }
    let at = meta.file_bytes.saturating_sub(FOOTER_BYTES as u64);
    let mut bytes = [0; FOOTER_BYTES];
    file.read_exact_at(&mut bytes, at)?;
    let footer = Footer::decode(&bytes, file.path(), at)?;
    let header = &footer.header;
    let is_ours = header.db_uuid == env.db_uuid && header.ks_id == env.keyspace.get() && header.number == meta.no;
    if !is_ours {
        return Err(file.corruption(at, "a table of another database, keyspace or number"));
    }
    let fits = footer::stored_crc(&bytes) == meta.footer_crc
        && footer.file_bytes == meta.file_bytes
        && has_timestamps(&footer, meta);
    if !fits {
        return Err(file.corruption(at, "the footer is not the one that the manifest holds"));
    }
    Ok(footer)
}

/// Those that the manifest holds, or none where that holds a single one (D6).
fn has_timestamps(footer: &Footer, meta: &TableMeta) -> bool {
    let is_bare = (footer.min_ts, footer.max_ts) == (Timestamp::ZERO, Timestamp::ZERO);
    (footer.min_ts, footer.max_ts) == (meta.min_ts, meta.max_ts)
        || (is_bare && meta.min_ts == meta.max_ts && meta.versions == meta.keys && meta.fragments == 0)
}

fn props_fit(props: &Props, meta: &TableMeta) -> bool {
    (props.keys, props.versions, props.fragments) == (meta.keys, meta.versions, meta.fragments)
        && props.min_key == meta.min_key
        && props.max_key == meta.max_key
}

fn read_block(file: &File, ks_id: u32, meta: &TableMeta, handle: &Handle, kind: ImageKind) -> Result<Image> {
    let damaged = |what| Err(file.corruption(handle.offset, what));
    let end = handle.offset.checked_add(u64::from(handle.len));
    if handle.len as usize > IMAGE_BYTES_MAX || handle.len < 4 || end.is_none_or(|end| end > meta.file_bytes) {
        return damaged("a handle names bytes that no block can have");
    }
    let mut bytes = Room::filled(handle.len as usize, |bytes| file.read_exact_at(bytes, handle.offset))?;
    if bytes[..4] != handle.crc.to_le_bytes() {
        return damaged("a block is not the one that its parent holds");
    }
    if handle.is_packed {
        if kind != ImageKind::TableData {
            return damaged("a block that is no data block is packed");
        }
        bytes = match packing::unpack(&bytes) {
            Ok(stored) => stored,
            Err(what) => return damaged(what),
        };
    }
    let identity = Identity { kind, self_id: handle.offset, ks_id, write_seq: meta.no as u32 };
    Image::decode(bytes, &identity).map_err(|fault| fault.in_file(file.path(), handle.offset))
}

/// Fences of an image with keys from `first` to `last`: as short as can be, and beginning with all that the keys share.
pub(crate) fn fences<'k>(first: &'k [u8], last: &[u8]) -> (&'k [u8], Vec<u8>) {
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let low = &first[..common];
    if let Some(&byte) = last.get(common)
        && byte < 0xff
    {
        let mut high = last[..=common].to_vec();
        high[common] += 1;
        return (low, high);
    }
    if last.len() < KEY_BYTES_MAX {
        return (low, duramen_base::memtable::successor(last));
    }
    // A key of the greatest length has no longer one behind it; without an end, nothing is shared.
    match prefix_end(last) {
        Some(high) => (low, high),
        None => (low, Vec::new()),
    }
}
