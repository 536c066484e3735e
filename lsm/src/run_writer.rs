//! Writing one run: table after table, each of about the size asked for.
//!
//! RW1 Each table gets the range tombstones over the stretch of keys from its first key up to the first key of the next; the first and the
//!     last table also those before and behind. So the spans of the tables do not overlap. A stretch without versions is a bare table.
//! RW2 A table ends before it lies over too many bytes of the level below, so that merging it there stays a small job.
//! RW3 A table ends behind each fence (CO2 of `merge/pick/columns.rs`).

use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use duramen_base::{Result, StoreEnv, mutant};

use crate::table::writer::TableWriter;
use crate::table::{Table, TableMeta};
use duramen_base::memtable::KeyVersions;
use duramen_base::memtable::RangeTombs;

/// A run being written.
#[derive(Debug)]
pub(crate) struct RunWriter {
    table_bytes: u64,
    /// Range tombstones from the first key of the table under way on.
    carried: RangeTombs,
    below: LevelBelow,
    /// Keys behind which a table ends, ascending.
    fences: Peekable<IntoIter<Vec<u8>>>,
    /// Whether blocks are packed where it is worth it.
    packs: bool,
    writer: Option<TableWriter>,
    /// What was written, with the frames offered to the pool.
    done: Vec<(TableMeta, Option<u64>)>,
    /// Whether what is written may take the place of cold frames of the pool.
    over_cold: bool,
    /// Numbers of all files begun.
    begun: Vec<u64>,
}

/// RW2: what the keys written so far lie over.
#[derive(Debug, Default)]
struct LevelBelow {
    /// Last key and bytes of its tables, ascending.
    ends: Vec<(Vec<u8>, u64)>,
    index: usize,
    /// Bytes of tables that the table under way lies over, but for the one at `index`.
    passed_bytes: u64,
    bytes_max: u64,
}

impl LevelBelow {
    /// Takes note of the next key; whether a table should begin with it.
    fn asks_for_cut(&mut self, key: &[u8]) -> bool {
        while let Some((end, bytes)) = self.ends.get(self.index)
            && **end < *key
        {
            self.passed_bytes += bytes;
            self.index += 1;
        }
        let cut = self.passed_bytes > self.bytes_max;
        if cut {
            self.passed_bytes = 0;
        }
        cut
    }
}

impl RunWriter {
    /// A run of tables of `table_bytes`, with these range tombstones.
    pub(crate) fn new(table_bytes: u64, carried: RangeTombs) -> RunWriter {
        let (below, done, begun) = (LevelBelow::default(), Vec::new(), Vec::new());
        let fences = Vec::new().into_iter().peekable();
        RunWriter { table_bytes, carried, below, fences, packs: false, writer: None, done, over_cold: false, begun }
    }

    /// Says whether what comes now is worth more than frames of the pool that nobody asked for again.
    pub(crate) fn set_over_cold(&mut self, over_cold: bool, env: &StoreEnv) {
        if std::mem::replace(&mut self.over_cold, over_cold) != over_cold
            && let Some(writer) = &mut self.writer
        {
            writer.offer_to(&env.pool, over_cold);
        }
    }

    /// The same, with no table over more than so many bytes of a level whose tables end with these keys and have so many bytes.
    pub(crate) fn not_over_more_than(self, (ends, bytes_max): (Vec<(Vec<u8>, u64)>, u64)) -> RunWriter {
        RunWriter { below: LevelBelow { ends, bytes_max, ..LevelBelow::default() }, ..self }
    }

    /// The same, with a table ended behind each of these keys.
    pub(crate) fn ending_at(self, fences: Vec<Vec<u8>>) -> RunWriter {
        RunWriter { fences: fences.into_iter().peekable(), ..self }
    }

    /// The same with blocks packed where it is worth it, or not.
    pub(crate) fn packing(self, packs: bool) -> RunWriter {
        RunWriter { packs, ..self }
    }

    /// Appends a key with its versions; a new table takes its number from `next_no`.
    pub(crate) fn push(&mut self, kv: &KeyVersions, env: &StoreEnv, next_no: &mut u64) -> Result<()> {
        if kv.is_empty() {
            return Ok(());
        }
        let is_over_much = self.below.asks_for_cut(&kv.key) | self.passes_fence(&kv.key);
        let is_large = |writer: &TableWriter| writer.bytes() >= self.table_bytes || writer.is_full();
        if self.writer.as_ref().is_some_and(|writer| is_over_much || is_large(writer)) {
            let behind = self.carried.split_off(&kv.key);
            self.end_table()?;
            self.carried = behind;
        }
        self.writer(env, next_no)?.push(kv)
    }

    /// Whether a table is to end before the next key (RW3).
    fn passes_fence(&mut self, key: &[u8]) -> bool {
        let mut passes = false;
        while self.fences.next_if(|fence| **fence < *key).is_some() {
            passes = true;
        }
        passes && !mutant!("write_over_fences")
    }

    /// Ends the run and opens its tables, which are synced but for their names.
    pub(crate) fn finish(&mut self, env: &StoreEnv, next_no: &mut u64) -> Result<Vec<Arc<Table>>> {
        if !self.carried.is_empty() {
            self.writer(env, next_no)?;
        }
        self.end_table()?;
        let open = |(meta, frames): &(TableMeta, Option<u64>)| {
            let frames = frames.unwrap_or_else(|| env.pool.new_file());
            Table::open_at(env, meta.clone(), frames).map(Arc::new)
        };
        self.done.iter().map(open).collect()
    }

    /// Numbers of all files it has begun, for whoever gives up.
    pub(crate) fn begun(&self) -> &[u64] {
        &self.begun
    }

    fn writer(&mut self, env: &StoreEnv, next_no: &mut u64) -> Result<&mut TableWriter> {
        if self.writer.is_none() {
            let no = *next_no;
            *next_no += 1;
            self.begun.push(no);
            let mut writer = TableWriter::create_packing(env, no, self.packs)?;
            if !mutant!("offer_nothing_written") {
                writer.offer_to(&env.pool, self.over_cold);
            }
            self.writer = Some(writer);
        }
        Ok(self.writer.as_mut().expect("just made"))
    }

    fn end_table(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let frames = writer.frames();
            self.done.push((writer.finish(&std::mem::take(&mut self.carried))?, frames));
        }
        Ok(())
    }
}
