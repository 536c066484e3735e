//! Writing a table, front to back, each byte once.
//!
//! It is given keys in order with all the versions to keep; it decides where blocks, parts and the table end, and nothing else.
//!
//! Y1  Keys come strictly ascending (D2): out of order they would be lost to readers, so that is an assert.
//! Y2  What it has written is part of nothing until the manifest names it: a failure at any point leaves a file to be removed.

use std::sync::Arc;

use duramen_base::framed::FileHeader;
use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
use duramen_base::pool::FramePool;
use duramen_base::vfs::{File, OpenMode};
use duramen_base::{Error, IoOp, Result, StoreEnv, Timestamp};

use super::block_builder::{PendingBlock, record_weight};
use super::filter::{FILTER_KEYS_MAX, FilterBuilder};
use super::footer::{FOOTER_BYTES, Footer, PACKED, TABLE_KNOWN, stored_crc};
use super::index::{Handle, IndexBuilder, separator};
use super::output::Output;
use super::props::Props;
use super::{RECORDS_BYTES_MAX, TableMeta, table_path, tombs};
use duramen_base::memtable::KeyVersions;
use duramen_base::memtable::RangeTombs;

/// Data bytes of a part, about: so many blocks, but not more than this.
const PART_BYTES_MAX: u64 = 2 << 20;
const PART_BLOCKS: u64 = 256;
/// Bytes of the entries of one index image, at which it ends: one more entry always fits.
const INDEX_WEIGHT_MAX: usize = RECORDS_BYTES_MAX - (96 << 10);

/// A table being written.
#[derive(Debug)]
pub(crate) struct TableWriter {
    out: Output,
    page_bytes: usize,
    /// Whether data blocks are packed where it is worth it.
    packs: bool,
    header: FileHeader,
    uuid: [u8; 16],
    block: PendingBlock,
    index: IndexBuilder,
    filter: FilterBuilder,
    part_start: u64,
    top: IndexBuilder,
    /// Last key of the block before; `None` before the first.
    last_block_key: Option<Vec<u8>>,
    props: Props,
    min_ts: Timestamp,
    max_ts: Timestamp,
}

impl TableWriter {
    /// Begins table `no`. A file of that name left behind by an earlier failure is replaced: nothing names it.
    pub(crate) fn create(env: &StoreEnv, no: u64) -> Result<TableWriter> {
        TableWriter::create_packing(env, no, false)
    }

    /// The same; `packs`: data blocks are packed where it is worth it (PB2 of `packing.rs`).
    pub(crate) fn create_packing(env: &StoreEnv, no: u64, packs: bool) -> Result<TableWriter> {
        let path = table_path(&env.dir, no);
        match env.vfs.remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from_io(IoOp::Remove, path, error)),
        }
        let uuid = env.vfs.random_bytes().map_err(|error| Error::from_io(IoOp::Read, &path, error))?;
        let file = File::open(&*env.vfs, &path, OpenMode::CreateNew)?;
        let read_features = if packs { PACKED } else { 0 };
        let header = FileHeader { read_features, ..FileHeader::new(&TABLE_KNOWN, env.db_uuid, env.keyspace.get(), no) };
        let mut out = Output::new(file, env.keyspace.get(), no);
        out.put(&header.encode())?;
        let part_start = out.offset;
        Ok(TableWriter {
            out,
            page_bytes: (env.options.page_bytes as usize).clamp(1 << 10, 64 << 10),
            packs,
            header,
            uuid,
            block: PendingBlock::default(),
            index: IndexBuilder::default(),
            filter: FilterBuilder::default(),
            part_start,
            top: IndexBuilder::default(),
            last_block_key: None,
            props: Props::default(),
            min_ts: Timestamp::MAX,
            max_ts: Timestamp::ZERO,
        })
    }

    /// Offers blocks, filters and index parts to the pool as they are written, from now on. `over_cold` as in `FramePool::offer`.
    pub(crate) fn offer_to(&mut self, pool: &Arc<FramePool>, over_cold: bool) {
        self.out.offer_to(pool, over_cold);
    }

    /// The number of the pool's frames under which blocks were offered, for opening the table.
    pub(crate) fn frames(&self) -> Option<u64> {
        self.out.frames()
    }

    /// Bytes it has so far, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.out.offset + self.block.weight() as u64
    }

    /// Whether its top index has no room for another part, so that the table must end.
    pub(crate) fn is_full(&self) -> bool {
        self.top.weight() >= INDEX_WEIGHT_MAX
    }

    /// Appends a key with its versions.
    pub(crate) fn push(&mut self, kv: &KeyVersions) -> Result<()> {
        if kv.is_empty() {
            return Ok(());
        }
        assert!(self.props.keys == 0 || self.props.max_key < kv.key, "Y1: keys come in order");
        let weight: usize = kv.iter().map(|(_, body)| record_weight(&kv.key, body)).sum();
        if !self.block.is_empty() && self.block.weight() + weight > self.page_bytes {
            self.cut_block()?;
        }
        // Only now: that block may have ended a part, and the filter of the next one is this key's.
        self.note(kv);
        if weight > RECORDS_BYTES_MAX {
            return self.push_oversized(kv);
        }
        kv.iter().enumerate().for_each(|(index, (ts, body))| self.block.push(&kv.key, ts, body, index == 0));
        if self.block.weight() >= self.page_bytes { self.cut_block() } else { Ok(()) }
    }

    /// D3: versions that exceed one image get blocks of their own, in one entry of the index.
    fn push_oversized(&mut self, kv: &KeyVersions) -> Result<()> {
        debug_assert!(self.block.is_empty(), "D3: nothing else is in these blocks");
        let mut written = Vec::new();
        for (ts, body) in kv.iter() {
            if self.block.weight() + record_weight(&kv.key, body) > RECORDS_BYTES_MAX {
                written.push(self.put_block()?);
            }
            let is_main = self.block.is_empty();
            self.block.push(&kv.key, ts, body, is_main);
        }
        written.push(self.put_block()?);
        self.end_entry(&kv.key, &kv.key, &written)
    }

    fn note(&mut self, kv: &KeyVersions) {
        if self.props.keys == 0 {
            self.props.min_key.clone_from(&kv.key);
        }
        self.props.keys += 1;
        self.props.max_key.clone_from(&kv.key);
        for (ts, body) in kv.iter() {
            self.props.versions += 1;
            self.props.tombstones += u64::from(body == Body::Tombstone);
            self.props.references += u64::from(matches!(body, Body::Large(_)));
            self.min_ts = self.min_ts.min(ts);
            self.max_ts = self.max_ts.max(ts);
        }
        self.filter.add(&kv.key);
    }

    fn cut_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let (first, last) = (self.block.first_key().to_vec(), self.block.last_key().to_vec());
        let handle = self.put_block()?;
        self.end_entry(&first, &last, &[handle])
    }

    fn put_block(&mut self) -> Result<Handle> {
        let image = self.block.build(self.out.offset, self.out.ks_id);
        self.out.put_block(image, self.packs)
    }

    fn end_entry(&mut self, first: &[u8], last: &[u8], handles: &[Handle]) -> Result<()> {
        self.index.push(separator(self.last_block_key.as_deref(), first), handles);
        self.last_block_key = Some(last.to_vec());
        let part_bytes = (PART_BLOCKS * self.page_bytes as u64).min(PART_BYTES_MAX);
        let is_long = self.out.offset - self.part_start >= part_bytes
            || self.filter.key_count() >= FILTER_KEYS_MAX - self.page_bytes
            || self.index.weight() >= INDEX_WEIGHT_MAX;
        if is_long { self.cut_part() } else { Ok(()) }
    }

    fn cut_part(&mut self) -> Result<()> {
        if self.index.is_empty() {
            return Ok(());
        }
        let (offset, ks_id) = (self.out.offset, self.out.ks_id);
        let spec =
            ImageSpec { kind: ImageKind::Filter, self_id: offset, ks_id, level: 0, right_pid: 0, low: b"", high: b"" };
        let filter = self.out.put_block(ImageBuilder::raw(&spec, &self.filter.build()), false)?;
        let separator = self.index.first_separator().to_vec();
        let index_image = self.index.build(self.out.offset, self.out.ks_id, 0);
        let index = self.out.put_block(index_image, false)?;
        self.top.push(&separator, &[index, filter]);
        self.part_start = self.out.offset;
        Ok(())
    }

    /// Ends the table with the range tombstones it is to carry, and syncs it. Its name is not durable yet.
    pub(crate) fn finish(mut self, carried: &RangeTombs) -> Result<TableMeta> {
        self.cut_block()?;
        self.cut_part()?;
        for group in tombs::groups(carried) {
            let image = tombs::build(&group, self.out.offset, self.out.ks_id);
            self.props.tombs.push(self.out.put_image(&image)?);
            self.props.fragments += group.len() as u64;
            for &ts in group.iter().flat_map(|fragment| fragment.tss) {
                self.min_ts = self.min_ts.min(ts);
                self.max_ts = self.max_ts.max(ts);
            }
        }
        self.props.saved_bytes = self.out.saved_bytes;
        let top_image = self.top.build(self.out.offset, self.out.ks_id, 1);
        let top = self.out.put_image(&top_image)?;
        let (offset, ks_id) = (self.out.offset, self.out.ks_id);
        let spec =
            ImageSpec { kind: ImageKind::Raw, self_id: offset, ks_id, level: 0, right_pid: 0, low: b"", high: b"" };
        let props = self.out.put_image(&ImageBuilder::raw(&spec, &self.props.encode()))?;
        let file_bytes = self.out.offset + FOOTER_BYTES as u64;
        let footer = Footer {
            header: self.header,
            top,
            props,
            min_ts: self.min_ts,
            max_ts: self.max_ts,
            file_bytes,
            uuid: self.uuid,
        };
        let footer = footer.encode();
        self.out.put(&footer)?;
        let digest = self.out.finish()?;
        Ok(TableMeta {
            no: self.header.number,
            file_bytes,
            digest,
            footer_crc: stored_crc(&footer),
            keys: self.props.keys,
            versions: self.props.versions,
            fragments: self.props.fragments,
            min_ts: self.min_ts,
            max_ts: self.max_ts,
            min_key: self.props.min_key,
            max_key: self.props.max_key,
        })
    }
}
