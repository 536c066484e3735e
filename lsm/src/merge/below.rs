//! What lies below the output of a merge: whether something there still needs a tombstone.
//!
//! Below are the deeper levels, the older runs of the output's level, and what stays of the run that the output joins. By Z2 nothing that is
//! older than an input lies anywhere else (I4 of `merge/pick.rs`).
//!
//! BL1 A tombstone goes only if no table below has its key between its first and its last key: nothing older of the key remains (P2).
//! BL2 A range tombstone goes only if every version in the tables below that overlap it is at least as new.

use std::sync::Arc;

use duramen_base::memtable::Fragment;
use duramen_base::{Timestamp, mutant};

use crate::table::Table;
use crate::version::{Run, Version};

/// Tables that may hold something older than the inputs of a merge.
#[derive(Debug)]
pub(crate) struct Below {
    runs: Vec<Cursor>,
}

#[derive(Debug)]
struct Cursor {
    /// By key.
    tables: Vec<Arc<Table>>,
    index: usize,
}

impl Below {
    /// What lies below the output at `level` of a merge of these inputs.
    pub(crate) fn of(version: &Version, level: usize, inputs: &[u64]) -> Below {
        let is_input = |table: &Arc<Table>| inputs.contains(&table.meta().no);
        let here = version.levels.get(level).map_or(&[][..], Vec::as_slice);
        let last_input = here.iter().rposition(|run| run.all().any(is_input)).unwrap_or(0);
        let deeper = version.levels.iter().skip(level + 1).flatten();
        let older = here.iter().skip(last_input).chain(deeper);
        let left = |run: &Run| run.tables.iter().filter(|table| !is_input(table)).map(Arc::clone).collect();
        let runs = older.map(|run| Cursor { tables: left(run), index: 0 }).filter(|cursor| !cursor.tables.is_empty());
        Below { runs: runs.collect() }
    }

    /// Whether `key` may be there. Keys must be asked about in ascending order.
    pub(crate) fn may_hold(&mut self, key: &[u8]) -> bool {
        if mutant!("drop_tombstone_over_deeper_level") {
            return false;
        }
        self.runs.iter_mut().any(|run| {
            while run.tables.get(run.index).is_some_and(|table| *table.meta().max_key < *key) {
                run.index += 1;
            }
            run.tables.get(run.index).is_some_and(|table| table.covers(key))
        })
    }

    /// Whether anything there is older than the range tombstone at `ts` of this fragment (BL2).
    pub(crate) fn needs(&self, fragment: &Fragment<'_>, ts: Timestamp) -> bool {
        self.runs.iter().any(|run| {
            let first = run.tables.partition_point(|table| *table.meta().max_key < *fragment.low);
            let inside = |table: &&Arc<Table>| fragment.high.is_empty() || *table.meta().min_key < *fragment.high;
            run.tables[first..].iter().take_while(inside).any(|table| table.meta().min_ts < ts)
        })
    }
}
