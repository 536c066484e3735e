//! Checking the files of a store: what the manifest says against the tables, and each table against itself.
//!
//! It reads the disk and not the pool. Damage goes into the report with file and offset; what keeps it from looking is an error.
//!
//! Quick: `CURRENT`, and of each table footer, top index, properties and range tombstones. Full: also the digest of the whole file, every
//! block with its checksum and identity, order and separators, filters against keys, counts, and that blocks leave no gap.

use std::sync::Arc;

use duramen_base::framed::{FILE_HEADER_BYTES, read_current};
use duramen_base::image::{Image, ImageKind};
use duramen_base::key_hash::key_hash;
use duramen_base::values::LargeRef;
use duramen_base::{BackendCursor, Error, KeyBounds, Result, ScanOpts, Timestamp, VerifyLevel, VerifyReport};

use crate::cursor::LsmCursor;
use crate::manifest::manifest_name;
use crate::store::Store;
use crate::table::Table;
use crate::table::filter::Filter;
use crate::table::footer::FOOTER_BYTES;
use crate::table::index::Handle;

/// Bytes read at once for the digest.
const DIGEST_PIECE_BYTES: usize = 256 << 10;

/// Checks the files of `store`.
pub(crate) fn verify(store: &Arc<Store>, level: VerifyLevel, report: &mut VerifyReport) -> Result<()> {
    check_current(store, report)?;
    let (sv, values) = {
        let _no_switch = store.upkeep.lock();
        (store.current(), store.values.capture())
    };
    let problems_before = report.problems.len();
    let mut named = Vec::new();
    let mut ingested = Vec::new();
    for table in sv.tables() {
        let is_ingested = sv.is_ingested(table);
        let Some(opened) = noted(Table::open(&store.env, table.meta().clone()), report)? else { continue };
        report.pages += 2 + opened.props().tombs.len() as u64;
        match level {
            VerifyLevel::Quick => {}
            VerifyLevel::Full if is_ingested => check_table(opened, &mut ingested, report)?,
            VerifyLevel::Full => check_table(opened, &mut named, report)?,
        }
    }
    // What a damaged table names is not known.
    let named = (report.problems.len() == problems_before).then_some(&named[..]);
    values.check(level, named, report)?;
    values.check_ingested(&ingested, report)?;
    if level == VerifyLevel::Full && report.problems.len() == problems_before {
        let counted = count_keys(store);
        report.keys += noted(counted, report)?.unwrap_or(0);
    }
    Ok(())
}

/// Keys that have a value, memtables included: the whole store is read once as a reader would.
fn count_keys(store: &Arc<Store>) -> Result<u64> {
    let mut cursor = LsmCursor::new(store, Timestamp::MAX, KeyBounds::ALL, ScanOpts { fill_cache: false });
    let mut keys = 0;
    while cursor.next()? {
        keys += 1;
    }
    Ok(keys)
}

/// Damage as a note in the report, other errors as errors.
fn noted<T>(outcome: Result<T>, report: &mut VerifyReport) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Error::Corruption { file, offset, what }) => {
            report.problem(file, offset, what);
            Ok(None)
        }
        Err(Error::UnsupportedFormat { ref file, what, .. }) => {
            report.problem(file.clone(), 0, format!("unknown {what}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn check_current(store: &Store, report: &mut VerifyReport) -> Result<()> {
    let upkeep = store.upkeep.lock();
    let ours = manifest_name(upkeep.manifest.number());
    let Some(named) = noted(read_current(&*store.env.vfs, &store.env.dir), report)? else { return Ok(()) };
    if named.as_deref() != Some(&*ours) {
        report.problem(store.env.dir.join("CURRENT"), 0, format!("does not name {ours}"));
    }
    Ok(())
}

fn check_table(table: Table, named: &mut Vec<LargeRef>, report: &mut VerifyReport) -> Result<()> {
    check_digest(&table, report)?;
    let table = Arc::new(table);
    let mut walk = Walk { table, report, named, last_key: None, blocks: Vec::new(), keys: 0, versions: 0 };
    for part in 0..walk.table.top().count() {
        let outcome = walk.part(part);
        noted(outcome, walk.report)?;
    }
    walk.finish();
    Ok(())
}

fn check_digest(table: &Table, report: &mut VerifyReport) -> Result<()> {
    let mut digest = crc32fast::Hasher::new();
    let mut piece = vec![0; DIGEST_PIECE_BYTES];
    let mut offset = 0;
    while offset < table.meta().file_bytes {
        let got = table.file().read_up_to_at(&mut piece, offset)?;
        if got == 0 {
            break;
        }
        digest.update(&piece[..got]);
        offset += got as u64;
    }
    if digest.finalize() != table.meta().digest {
        report.problem(table.file().path(), 0, "the digest of the file is not that in the manifest");
    }
    Ok(())
}

/// One pass over a table in key order.
struct Walk<'a> {
    table: Arc<Table>,
    report: &'a mut VerifyReport,
    /// Large values met.
    named: &'a mut Vec<LargeRef>,
    last_key: Option<Vec<u8>>,
    blocks: Vec<Handle>,
    keys: u64,
    versions: u64,
}

impl Walk<'_> {
    fn problem(&mut self, offset: u64, what: &str) {
        self.report.problem(self.table.file().path(), offset, what);
    }

    fn read(&mut self, handle: &Handle, kind: ImageKind) -> Result<Image> {
        self.report.pages += 1;
        self.blocks.push(*handle);
        self.table.read_block(handle, kind)
    }

    fn part(&mut self, part: usize) -> Result<()> {
        let (index_handle, filter_handle) = self.table.part_handles(part)?;
        let filter_image = self.read(&filter_handle, ImageKind::Filter)?;
        let damaged = || self.table.file().corruption(filter_handle.offset, "a filter part cannot be read");
        let filter = Filter::parse(filter_image.raw_body()).ok_or_else(damaged)?;
        let index = self.read(&index_handle, ImageKind::TableIndex)?;
        let mut separator = Vec::new();
        self.table.top().key_into(part, &mut separator);
        let keys_before = self.keys;
        for entry in 0..index.count() {
            let mut key = Vec::new();
            index.key_into(entry, &mut key);
            if entry == 0 && key != separator {
                self.problem(index_handle.offset, "a part does not begin where the top index says");
            }
            self.entry(&index, entry, &key, &filter)?;
        }
        if let Filter::Bloom { key_count, .. } = filter
            && u64::from(key_count) != self.keys - keys_before
        {
            self.problem(filter_handle.offset, "a filter part has not as many keys as its blocks");
        }
        Ok(())
    }

    fn entry(&mut self, index: &Image, entry: usize, separator: &[u8], filter: &Filter<'_>) -> Result<()> {
        let (first, more) = self.table.handles_of(index, entry)?;
        let handles: Vec<Handle> = std::iter::once(first).chain(more.iter().map(Handle::decode)).collect();
        if self.last_key.as_deref().is_some_and(|last| last >= separator) {
            self.problem(index.self_id(), "a separator is not above the keys before it (N1)");
        }
        let mut last_ts = None;
        for (number, handle) in handles.iter().enumerate() {
            let block = self.read(handle, ImageKind::TableData)?;
            let oldest = self.block(&block, number, separator, filter);
            if handles.len() > 1 {
                let is_alone = block.count() == 1;
                let goes_on = last_ts.is_none_or(|last| block.record(0).ts < last);
                if !is_alone || !goes_on {
                    self.problem(handle.offset, "blocks of one key are out of order (N2)");
                }
            }
            last_ts = oldest;
        }
        Ok(())
    }

    /// Checks one data block; its oldest timestamp.
    fn block(&mut self, block: &Image, number: usize, separator: &[u8], filter: &Filter<'_>) -> Option<Timestamp> {
        let offset = block.self_id();
        let mut key = Vec::new();
        let mut oldest: Option<Timestamp> = None;
        for slot in 0..block.count() {
            block.key_into(slot, &mut key);
            let is_same = number > 0 && self.last_key.as_deref() == Some(&key);
            if !is_same {
                if self.last_key.as_deref().is_some_and(|last| last >= &*key) || *key < *separator {
                    self.problem(offset, "keys of a table are out of order (D2)");
                }
                if !filter.may_contain(key_hash(&key)) {
                    self.problem(offset, "the filter denies a key that is there (H1)");
                }
                self.keys += 1;
                self.last_key = Some(key.clone());
            }
            let ts = self.table.stamped(block.record(slot).ts);
            oldest = Some(oldest.map_or(ts, |oldest| oldest.min(ts)));
        }
        if self.table.is_stamped() && (number > 0 || block.hist_count() > 0 || block.max_ts() > Timestamp::ZERO) {
            self.problem(offset, "a table without timestamps has several versions of a key, or a timestamp");
        }
        self.named.extend(block.references());
        for index in 0..block.hist_count() {
            let ts = block.hist_record(index).ts;
            oldest = Some(oldest.map_or(ts, |oldest| oldest.min(ts)));
        }
        self.versions += (block.count() + block.hist_count()) as u64;
        let (meta, max_ts) = (self.table.meta(), self.table.stamped(block.max_ts()));
        if oldest.is_none_or(|oldest| oldest < meta.min_ts) || max_ts > meta.max_ts {
            self.problem(offset, "a block has timestamps outside those of its table");
        }
        oldest
    }

    fn finish(mut self) {
        let table = Arc::clone(&self.table);
        let meta = table.meta();
        if (self.keys, self.versions) != (meta.keys, meta.versions) {
            self.problem(0, "a table has not as many keys and versions as the manifest says");
        }
        if meta.keys > 0 && self.last_key.as_ref() != Some(&meta.max_key) {
            self.problem(0, "the last key of a table is not that in the manifest");
        }
        if table.tombs().fragments().count() as u64 > meta.fragments {
            self.problem(0, "a table has more range tombstones than the manifest says");
        }
        self.check_space();
    }

    /// That every byte belongs to one block. Top index, properties and range tombstones lie behind the parts.
    fn check_space(&mut self) {
        self.blocks.extend(&self.table.props().tombs);
        self.blocks.sort_by_key(|handle| handle.offset);
        let mut at = FILE_HEADER_BYTES as u64;
        for handle in std::mem::take(&mut self.blocks) {
            if handle.offset != at {
                self.problem(at, "a gap or an overlap between blocks");
            }
            at = handle.offset + u64::from(handle.len);
        }
        let end = self.table.meta().file_bytes - FOOTER_BYTES as u64;
        if self.table.top().self_id() != at || at > end {
            self.problem(at, "the top index does not follow the last block");
        }
    }
}
