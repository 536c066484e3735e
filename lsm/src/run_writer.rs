//! Writing one run: table after table, each of about the size asked for.
//!
//! Range tombstones go into the first table: it does not matter which one carries them (Z3). A run without versions is one table with
//! range tombstones alone, or none.

use std::sync::Arc;

use duramen_base::{Result, StoreEnv};

use crate::table::writer::TableWriter;
use crate::table::{Table, TableMeta};
use duramen_base::memtable::KeyVersions;
use duramen_base::memtable::RangeTombs;

/// A run being written.
#[derive(Debug)]
pub(crate) struct RunWriter {
    table_bytes: u64,
    carried: RangeTombs,
    writer: Option<TableWriter>,
    done: Vec<TableMeta>,
    /// Numbers of all files begun.
    begun: Vec<u64>,
}

impl RunWriter {
    /// A run of tables of `table_bytes`, with these range tombstones.
    pub(crate) fn new(table_bytes: u64, carried: RangeTombs) -> RunWriter {
        RunWriter { table_bytes, carried, writer: None, done: Vec::new(), begun: Vec::new() }
    }

    /// Appends a key with its versions; a new table takes its number from `next_no`.
    pub(crate) fn push(&mut self, kv: &KeyVersions, env: &StoreEnv, next_no: &mut u64) -> Result<()> {
        if kv.is_empty() {
            return Ok(());
        }
        self.writer(env, next_no)?.push(kv)?;
        match &self.writer {
            Some(writer) if writer.bytes() >= self.table_bytes || writer.is_full() => self.end_table(),
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the run and opens its tables, which are synced but for their names.
    pub(crate) fn finish(&mut self, env: &StoreEnv, next_no: &mut u64) -> Result<Vec<Arc<Table>>> {
        if !self.carried.is_empty() {
            self.writer(env, next_no)?;
        }
        self.end_table()?;
        self.done.iter().map(|meta| Table::open(env, meta.clone()).map(Arc::new)).collect()
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
            self.writer = Some(TableWriter::create(env, no)?);
        }
        Ok(self.writer.as_mut().expect("just made"))
    }

    fn end_table(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.done.push(writer.finish(&std::mem::take(&mut self.carried))?);
        }
        Ok(())
    }
}
