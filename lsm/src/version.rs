//! A version of the store's files: levels of runs of tables, and what the manifest says about all of them.
//!
//! Immutable; every edit makes another. It plans no merge (`merge/pick.rs`) and reads no block.
//!
//! Z1  Tables of one run do not overlap and ascend; below level 0 their spans do not either. Runs of a level go from newer to older.
//! Z2  For one key, a newer run holds only versions at or above those of an older run, except while a crash is being made good: then
//!     timestamps still tell, so reads compare timestamps and use the order only to look first where the answer is likely.
//! Z3  `tombs` unites the range tombstones of all tables: a tombstone hides older versions wherever they lie.

use std::sync::Arc;

use duramen_base::{Result, StoreEnv, Timestamp};

use crate::manifest::Edit;
use crate::merge::pick::LAST_LEVEL;
use crate::merge::pick::Sorted;
use crate::span::Span;
use crate::table::{Table, TableMeta};
use duramen_base::memtable::RangeTombs;

/// A sorted sequence of tables.
#[derive(Clone, Debug)]
pub(crate) struct Run<T = Arc<Table>> {
    /// Larger is newer.
    pub(crate) id: u64,
    /// Those with versions, by key (Z1).
    pub(crate) tables: Vec<T>,
    /// Those with range tombstones alone.
    pub(crate) bare: Vec<T>,
}

impl<T: Sorted> Run<T> {
    /// All its tables.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.tables.iter().chain(&self.bare)
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.all().map(Sorted::bytes).sum()
    }

    /// Tables whose span overlaps `span`; for runs below level 0 (Z1).
    pub(crate) fn overlapping<'r, 's>(&'r self, span: &'s Span<'s>) -> impl Iterator<Item = &'r T> + use<'r, 's, T> {
        let first = self.tables.partition_point(|table| table.span().end.is_below(span.low));
        let tables = self.tables[first..].iter().take_while(|table| table.span().overlaps(span));
        tables.chain(self.bare.iter().filter(|table| table.span().overlaps(span)))
    }
}

impl Run {
    /// The table that could hold `key`.
    pub(crate) fn table_of(&self, key: &[u8]) -> Option<&Arc<Table>> {
        let index = self.tables.partition_point(|table| *table.meta().max_key < *key);
        self.tables.get(index).filter(|table| table.covers(key))
    }
}

impl Sorted for Arc<Table> {
    fn no(&self) -> u64 {
        self.meta().no
    }

    fn span(&self) -> Span<'_> {
        Table::span(self)
    }

    fn bytes(&self) -> u64 {
        self.meta().file_bytes
    }

    fn versions(&self) -> u64 {
        self.meta().versions
    }

    fn tombstones(&self) -> u64 {
        self.props().tombstones + self.meta().fragments
    }

    fn is_bare(&self) -> bool {
        self.meta().keys == 0
    }

    fn history(&self) -> u64 {
        self.meta().versions.saturating_sub(self.meta().keys)
    }

    fn max_ts(&self) -> Timestamp {
        self.meta().max_ts
    }

    fn is_packed(&self) -> bool {
        Table::is_packed(self)
    }
}

/// The tables at one moment.
#[derive(Debug)]
pub(crate) struct Version {
    /// Level, then run, newest first.
    pub(crate) levels: Vec<Vec<Run>>,
    /// Range tombstones of all tables (Z3).
    pub(crate) tombs: Arc<RangeTombs>,
    /// Number of the edit that made it.
    pub(crate) seq: u64,
    /// Every commit up to here is in the tables.
    pub(crate) persisted: Timestamp,
    /// Newest commit that any table ever named contains.
    pub(crate) contains: Timestamp,
    /// Numbers from here on are free.
    pub(crate) next_table_no: u64,
    /// The edit of the value manifest that belongs to it.
    pub(crate) values_no: u64,
}

impl Version {
    /// The level below which there is none.
    pub(crate) fn last_level(&self) -> usize {
        (self.levels.len() - 1).max(LAST_LEVEL)
    }

    /// A version without tables.
    pub(crate) fn empty(seq: u64, persisted: Timestamp) -> Version {
        Version {
            levels: vec![Vec::new()],
            tombs: Arc::default(),
            seq,
            persisted,
            contains: persisted,
            next_table_no: 1,
            values_no: 0,
        }
    }

    /// All runs, those to ask first first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.levels.iter().flatten()
    }

    /// All tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.runs().flat_map(Run::all)
    }

    /// The version that `edit` makes of this one. Tables are taken over, or from `opened`, or opened. What cannot be is `None`.
    pub(crate) fn after(&self, edit: &Edit, env: &StoreEnv, opened: &[Arc<Table>]) -> Result<Option<Version>> {
        let mut levels = self.levels.clone();
        for no in &edit.removed {
            let Some(place) = levels.iter_mut().flatten().find_map(|run| {
                let tables = [&mut run.tables, &mut run.bare].into_iter();
                tables.into_iter().find_map(|tables| {
                    let index = tables.iter().position(|table| table.meta().no == *no)?;
                    Some((tables, index))
                })
            }) else {
                return Ok(None);
            };
            place.0.remove(place.1);
        }
        for placed in &edit.added {
            if levels.iter().flatten().flat_map(Run::all).any(|table| table.meta().no == placed.meta.no) {
                return Ok(None);
            }
            let table = match opened.iter().find(|table| *table.meta() == placed.meta) {
                Some(table) => Arc::clone(table),
                None => Arc::new(Table::open(env, placed.meta.clone())?),
            };
            if !place(&mut levels, placed.level as usize, placed.run, table) {
                return Ok(None);
            }
        }
        levels.iter_mut().for_each(|level| level.retain(|run| run.all().next().is_some()));
        let is_onward = edit.persisted >= self.persisted
            && edit.contains >= self.contains
            && edit.next_table_no >= self.next_table_no;
        let tombs = unite(levels.iter().flatten().flat_map(Run::all));
        Ok(is_onward.then_some(Version {
            levels,
            tombs: Arc::new(tombs),
            seq: edit.seq,
            persisted: edit.persisted,
            contains: edit.contains,
            next_table_no: edit.next_table_no,
            values_no: edit.values_no,
        }))
    }

    /// What the manifest holds about all tables.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u32, u64, &TableMeta)> {
        let runs = self.levels.iter().enumerate().flat_map(|(level, runs)| runs.iter().map(move |run| (level, run)));
        runs.flat_map(|(level, run)| run.all().map(move |table| (level as u32, run.id, table.meta())))
    }
}

/// Puts a table where it belongs; false if it overlaps another of its run (Z1).
fn place(levels: &mut Vec<Vec<Run>>, level: usize, run_id: u64, table: Arc<Table>) -> bool {
    if levels.len() <= level {
        levels.resize_with(level + 1, Vec::new);
    }
    let runs = &mut levels[level];
    let at = runs.partition_point(|run| run.id > run_id);
    if runs.get(at).is_none_or(|run| run.id != run_id) {
        runs.insert(at, Run { id: run_id, tables: Vec::new(), bare: Vec::new() });
    }
    let run = &mut runs[at];
    let index = run.tables.partition_point(|other| other.meta().min_key < table.meta().min_key);
    let is_apart = if level > 0 {
        let near = index.saturating_sub(1)..run.tables.len().min(index + 1);
        !run.tables[near].iter().chain(&run.bare).any(|other| other.span().overlaps(&table.span()))
    } else {
        table.is_bare()
            || (index.checked_sub(1).is_none_or(|before| run.tables[before].meta().max_key < table.meta().min_key)
                && run.tables.get(index).is_none_or(|behind| table.meta().max_key < behind.meta().min_key))
    };
    match table.is_bare() {
        true => run.bare.push(table),
        false => run.tables.insert(index, table),
    }
    is_apart
}

fn unite<'a>(tables: impl Iterator<Item = &'a Arc<Table>>) -> RangeTombs {
    let mut all = RangeTombs::default();
    tables.for_each(|table| all.unite(table.tombs()));
    all
}
