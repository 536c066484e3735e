//! A position among the keys of one run: its tables one behind the other.
//!
//! As a table's cursor (Q1): after an error it stands nowhere and is to be sought again.

use std::ops::Range;
use std::sync::Arc;

use duramen_base::arena::Counted;
use duramen_base::image::Image;
use duramen_base::{Result, Timestamp};

use crate::table::blocks::Loading;
use crate::table::reader::TableCursor;
use crate::table::{BlockVersion, Table};
use crate::version::Run;
use duramen_base::memtable::KeyVersions;

/// A cursor over the keys of a run.
#[derive(Debug)]
pub(crate) struct RunCursor {
    tables: Vec<Arc<Table>>,
    blocks: Loading,
    index: usize,
    cursor: Option<TableCursor>,
}

impl RunCursor {
    /// A cursor over a run that stands nowhere.
    pub(crate) fn new(run: &Run, blocks: Loading) -> RunCursor {
        RunCursor::of(run.tables.iter().map(Arc::clone).collect(), blocks)
    }

    /// A cursor over tables of one run, by key, that stands nowhere.
    pub(crate) fn of(tables: Vec<Arc<Table>>, blocks: Loading) -> RunCursor {
        RunCursor { tables, blocks, index: 0, cursor: None }
    }

    /// Whether it asks for what it will read, from now on.
    pub(crate) fn set_asks_ahead(&mut self, asks_ahead: bool) {
        self.blocks.asks_ahead = asks_ahead;
        if let Some(cursor) = &mut self.cursor {
            cursor.set_asks_ahead(asks_ahead);
        }
    }

    /// Whether it has no tables.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The key it stands on, if it does.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.cursor.as_ref().filter(|cursor| cursor.is_on()).map(TableCursor::key)
    }

    /// Goes to the first key at or above `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.open(self.tables.partition_point(|table| *table.meta().max_key < *key));
        if let Some(cursor) = &mut self.cursor {
            cursor.seek(key)?;
        }
        self.skip_forward()
    }

    /// Goes to the last key at or below `key`.
    pub(crate) fn seek_for_prev(&mut self, key: &[u8]) -> Result<()> {
        let behind = self.tables.partition_point(|table| *table.meta().min_key <= *key);
        self.open(behind.wrapping_sub(1));
        if let Some(cursor) = &mut self.cursor {
            cursor.seek_for_prev(key)?;
        }
        self.skip_back()
    }

    /// Goes to the last key.
    pub(crate) fn last(&mut self) -> Result<()> {
        self.open(self.tables.len().wrapping_sub(1));
        if let Some(cursor) = &mut self.cursor {
            cursor.last()?;
        }
        self.skip_back()
    }

    /// Goes on by one key.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<()> {
        match &mut self.cursor {
            Some(cursor) => {
                cursor.next()?;
                if cursor.is_on() { Ok(()) } else { self.skip_forward() }
            }
            None => Ok(()),
        }
    }

    /// Goes back by one key.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<()> {
        match &mut self.cursor {
            Some(cursor) => {
                cursor.prev()?;
                if cursor.is_on() { Ok(()) } else { self.skip_back() }
            }
            None => Ok(()),
        }
    }

    /// As that of a table's cursor.
    #[inline]
    pub(crate) fn newest_at(&self, at: Timestamp) -> Option<(&Counted<Image>, Option<Range<usize>>)> {
        self.cursor.as_ref()?.newest_at(at)
    }

    /// The newest ts of the key it stands on.
    pub(crate) fn newest_ts(&self) -> Timestamp {
        self.cursor.as_ref().map_or(Timestamp::ZERO, TableCursor::newest_ts)
    }

    /// The newest version with `ts <= at` of the key it stands on.
    pub(crate) fn version_at(&self, at: Timestamp) -> Result<Option<BlockVersion>> {
        self.cursor.as_ref().map_or(Ok(None), |cursor| cursor.version_at(at))
    }

    /// As that of a table's cursor.
    pub(crate) fn block_and_slot(&self, ts: Timestamp) -> Option<(&Counted<Image>, usize, Option<Timestamp>)> {
        self.cursor.as_ref()?.block_and_slot(ts)
    }

    /// Goes to another slot of that block.
    pub(crate) fn set_slot(&mut self, slot: usize) {
        if let Some(cursor) = &mut self.cursor {
            cursor.set_slot(slot);
        }
    }

    /// Adds every version of the key it stands on to `kv`.
    pub(crate) fn add_versions(&self, kv: &mut KeyVersions) -> Result<()> {
        self.cursor.as_ref().map_or(Ok(()), |cursor| cursor.add_versions(kv))
    }

    fn open(&mut self, index: usize) {
        self.index = index;
        self.cursor = self.tables.get(index).map(|table| TableCursor::new(Arc::clone(table), self.blocks));
    }

    fn skip_forward(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.is_on()) {
            self.open(self.index + 1);
            if let Some(cursor) = &mut self.cursor {
                cursor.first()?;
            }
        }
        Ok(())
    }

    fn skip_back(&mut self) -> Result<()> {
        while self.cursor.as_ref().is_some_and(|cursor| !cursor.is_on()) {
            self.open(self.index.wrapping_sub(1));
            if let Some(cursor) = &mut self.cursor {
                cursor.last()?;
            }
        }
        Ok(())
    }
}
