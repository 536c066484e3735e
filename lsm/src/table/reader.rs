//! A position among the keys of one table, both ways, with all the versions of the key it stands on.
//!
//! It shows what is stored; visibility and range tombstones are for those above. Blocks are counted while it stands in them.
//!
//! Q1  After an error it stands nowhere: whoever uses it seeks again. So no key is ever passed over.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use duramen_base::arena::Counted;
use duramen_base::image::{Body, Image, ImageKind};
use duramen_base::values::LargeRef;
use duramen_base::{Result, Timestamp};

use super::ahead::Ahead;
use super::blocks::Loading;
use super::index::{self, Handle};
use super::{BlockVersion, Table, version_at};
use crate::source::Stored;
use duramen_base::memtable::KeyVersions;

/// A cursor over the keys of a table.
#[derive(Debug)]
pub(crate) struct TableCursor {
    table: Arc<Table>,
    blocks: Loading,
    ahead: Cell<Ahead>,
    at: Option<At>,
    key: Vec<u8>,
    /// The newest version of the key it stands on.
    newest: Newest,
}

#[derive(Debug)]
struct At {
    part: usize,
    index: Counted<Image>,
    entry: usize,
    /// Blocks of the entry behind the first, with older versions (N2).
    more: Vec<Handle>,
    block: Counted<Image>,
    slot: usize,
}

/// A record, read once.
#[derive(Clone, Debug, Default)]
struct Newest {
    ts: Timestamp,
    /// Where its value lies; `None`: a tombstone, or a large value.
    value: Option<Range<usize>>,
    large: Option<LargeRef>,
}

impl TableCursor {
    /// A cursor that stands nowhere.
    pub(crate) fn new(table: Arc<Table>, blocks: Loading) -> TableCursor {
        let ahead = Cell::default();
        TableCursor { table, blocks, ahead, at: None, key: Vec::new(), newest: Newest::default() }
    }

    /// Whether it asks for what it will read, from now on.
    pub(crate) fn set_asks_ahead(&mut self, asks_ahead: bool) {
        self.blocks.asks_ahead = asks_ahead;
    }

    /// Whether it stands on a key.
    pub(crate) fn is_on(&self) -> bool {
        self.at.is_some()
    }

    /// The key it stands on; empty if it stands nowhere.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Goes to the first key at or above `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<()> {
        let Some(mut at) = self.descend(key)? else { return Ok(()) };
        at.slot = match at.block.search(key) {
            Ok(slot) | Err(slot) => slot,
        };
        if at.slot < at.block.count() { self.stand(at) } else { self.next_entry(at) }
    }

    /// Goes to the last key at or below `key`.
    pub(crate) fn seek_for_prev(&mut self, key: &[u8]) -> Result<()> {
        let Some(mut at) = self.descend(key)? else { return Ok(()) };
        match at.block.search(key) {
            Ok(slot) => at.slot = slot,
            Err(0) => return self.prev_entry(at),
            Err(slot) => at.slot = slot - 1,
        }
        self.stand(at)
    }

    /// Goes to the first key.
    pub(crate) fn first(&mut self) -> Result<()> {
        self.seek(b"")
    }

    /// Goes to the last key.
    pub(crate) fn last(&mut self) -> Result<()> {
        self.at = None;
        match self.table.top().count() {
            0 => Ok(()),
            parts => {
                let at = self.open_part(parts - 1, usize::MAX)?;
                self.stand_on_last(at)
            }
        }
    }

    /// Goes on by one key.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<()> {
        if let Some(at) = &mut self.at
            && at.slot + 1 < at.block.count()
        {
            at.slot += 1;
            self.newest = read_slot(&self.table, &at.block, at.slot, &mut self.key);
            at.block.ask_for_record(at.slot + 1); // other runs come in between
            return Ok(());
        }
        match self.at.take() {
            Some(at) => self.next_entry(at),
            None => Ok(()),
        }
    }

    /// Goes back by one key.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<()> {
        if let Some(at) = &mut self.at
            && at.slot > 0
        {
            at.slot -= 1;
            self.newest = read_slot(&self.table, &at.block, at.slot, &mut self.key);
            at.block.ask_for_record(at.slot.wrapping_sub(1));
            return Ok(());
        }
        match self.at.take() {
            Some(at) => self.prev_entry(at),
            None => Ok(()),
        }
    }

    /// The newest ts of the key it stands on.
    #[inline]
    pub(crate) fn newest_ts(&self) -> Timestamp {
        if self.at.is_some() { self.newest.ts } else { Timestamp::ZERO }
    }

    /// The newest version of the key it stands on, if it was written at or before `ts` and does not lie in a value file: its block, and where its value lies.
    #[inline]
    pub(crate) fn newest_at(&self, ts: Timestamp) -> Option<(&Counted<Image>, Option<Range<usize>>)> {
        let at = self.at.as_ref().filter(|_| self.newest.ts <= ts && self.newest.large.is_none())?;
        Some((&at.block, self.newest.value.clone()))
    }

    /// The newest version with `ts <= at` of the key it stands on.
    pub(crate) fn version_at(&self, ts: Timestamp) -> Result<Option<BlockVersion>> {
        let Some(at) = &self.at else { return Ok(None) };
        if self.table.is_stamped() {
            let here = |value: &Range<usize>| Stored::InImage(Counted::clone(&at.block), value.clone());
            let value = || self.newest.large.map(Stored::Large).or_else(|| self.newest.value.as_ref().map(here));
            let version = || BlockVersion { ts: self.newest.ts, value: value() };
            return Ok((self.newest.ts <= ts).then(version)); // D6
        }
        if let Some(found) = version_at(&at.block, at.slot, &self.key, ts) {
            return Ok(Some(found));
        }
        for handle in &at.more {
            let block = self.blocks.load(&self.table, handle, ImageKind::TableData)?;
            if let Ok(slot) = block.search(&self.key)
                && let Some(found) = version_at(&block, slot, &self.key, ts)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The block and the slot that it stands on, if what is stored there is as old as it says, or was ingested by a commit `<= ts` (D6 of
    /// `table/mod.rs`); in that case with that commit.
    pub(crate) fn block_and_slot(&self, ts: Timestamp) -> Option<(&Counted<Image>, usize, Option<Timestamp>)> {
        let stamp = self.table.is_stamped().then(|| self.table.stamped(Timestamp::ZERO));
        let at = self.at.as_ref().filter(|_| stamp.is_none_or(|stamp| stamp <= ts))?;
        Some((&at.block, at.slot, stamp))
    }

    /// Goes to another slot of the block that it stands in.
    pub(crate) fn set_slot(&mut self, slot: usize) {
        if let Some(at) = &mut self.at {
            at.slot = slot;
            self.newest = read_slot(&self.table, &at.block, slot, &mut self.key);
        }
    }

    /// Adds every version of the key it stands on to `kv`.
    pub(crate) fn add_versions(&self, kv: &mut KeyVersions) -> Result<()> {
        let Some(at) = &self.at else { return Ok(()) };
        if at.more.is_empty() && at.block.hist_count() == 0 {
            let value = self.newest.value.clone().map(|value| Body::Value(&at.block.bytes()[value]));
            let value = value.or_else(|| self.newest.large.map(Body::Large));
            kv.add(self.newest.ts, value.unwrap_or(Body::Tombstone));
            return Ok(());
        }
        let mut add = |block: &Image, slot: usize| {
            let newest = block.record(slot);
            kv.add(newest.ts, newest.body);
            let history: Range<usize> = if block.hist_count() > 0 { block.hist_range(&self.key) } else { 0..0 };
            for index in history {
                let record = block.hist_record(index);
                kv.add(record.ts, record.body);
            }
        };
        add(&at.block, at.slot);
        for handle in &at.more {
            let block = self.blocks.load(&self.table, handle, ImageKind::TableData)?;
            if let Ok(slot) = block.search(&self.key) {
                add(&block, slot);
            }
        }
        Ok(())
    }

    fn stand(&mut self, at: At) -> Result<()> {
        self.key.clear();
        self.key.extend_from_slice(at.block.prefix());
        self.newest = read_slot(&self.table, &at.block, at.slot, &mut self.key);
        self.at = Some(at);
        Ok(())
    }

    fn stand_on_last(&mut self, mut at: At) -> Result<()> {
        at.slot = at.block.count() - 1;
        self.stand(at)
    }

    /// The block that would hold `key`.
    fn descend(&mut self, key: &[u8]) -> Result<Option<At>> {
        self.at = None;
        if self.table.top().count() == 0 {
            return Ok(None);
        }
        let part = index::entry_of(self.table.top(), key);
        let index = self.index_part(part)?;
        let entry = index::entry_of(&index, key);
        let at = self.open_entry(part, index, entry)?;
        at.block.ask_for_lookup();
        Ok(Some(at))
    }

    fn open_part(&self, part: usize, entry: usize) -> Result<At> {
        let index = self.index_part(part)?;
        let entry = entry.min(index.count().saturating_sub(1));
        self.open_entry(part, index, entry)
    }

    fn index_part(&self, part: usize) -> Result<Counted<Image>> {
        let index = self.table.index_part(part, &self.blocks)?;
        Ok(index.expect("whoever loads has it").into_counted())
    }

    fn open_entry(&self, part: usize, index: Counted<Image>, entry: usize) -> Result<At> {
        if entry >= index.count() {
            return Err(self.table.file().corruption(index.self_id(), "an index part has no entries"));
        }
        let (first, more) = self.table.handles_of(&index, entry)?;
        let place = self.table.slot_of(part, entry).filter(|_| more.is_empty());
        let more = more.iter().map(Handle::decode).collect();
        let block = self.blocks.load_next(&self.table, &first, place, &self.ahead)?;
        if !self.blocks.is_last {
            self.table.cache().note_lookup();
        }
        if block.count() == 0 {
            return Err(self.table.file().corruption(block.self_id(), "a data block has no records"));
        }
        Ok(At { part, index, entry, more, block, slot: 0 })
    }

    fn next_entry(&mut self, at: At) -> Result<()> {
        let next = if at.entry + 1 < at.index.count() {
            self.open_entry(at.part, at.index, at.entry + 1)?
        } else if at.part + 1 < self.table.top().count() {
            self.open_part(at.part + 1, 0)?
        } else {
            return Ok(());
        };
        self.stand(next)
    }

    fn prev_entry(&mut self, at: At) -> Result<()> {
        let prev = if at.entry > 0 {
            self.open_entry(at.part, at.index, at.entry - 1)?
        } else if at.part > 0 {
            self.open_part(at.part - 1, usize::MAX)?
        } else {
            return Ok(());
        };
        self.stand_on_last(prev)
    }
}

/// Reads main record `slot` once, and replaces the key behind the prefix, which `key` begins with, by its.
#[inline]
fn read_slot(table: &Table, block: &Image, slot: usize, key: &mut Vec<u8>) -> Newest {
    let record = block.record(slot);
    key.truncate(block.prefix().len());
    key.extend_from_slice(record.suffix);
    let mut large = None;
    let value = match record.body {
        // The value is a part of the block's bytes: their distance says where.
        Body::Value(value) => {
            let start = value.as_ptr().addr() - block.bytes().as_ptr().addr();
            Some(start..start + value.len())
        }
        Body::Tombstone => None,
        Body::Large(reference) => {
            large = Some(reference);
            None
        }
    };
    Newest { ts: table.stamped(record.ts), value, large }
}
