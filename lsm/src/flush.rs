//! Flushing: the oldest frozen memtable becomes a run of level 0, in steps.
//!
//! ```text
//!   Writing --(all keys written, tables and their names synced)--> Built --(manifest edit synced, superversion switched)--> done
//! ```
//! A failure while writing gives the files up; the memtable stays and the next step begins anew. A failure of the edit keeps them (O2).

use std::ops::Bound;
use std::sync::Arc;

use duramen_base::values::ValueChanges;
use duramen_base::{Pruner, Result, mutant};

use crate::manifest::{not_again, sync_dir};
use crate::merge::pick;
use crate::run_writer::RunWriter;
use crate::store::Store;
use crate::superversion::Layer;
use crate::table::Table;
use crate::upkeep::{Change, Upkeep};
use duramen_base::memtable::KeyVersions;
use duramen_base::memtable::Memtable;
use duramen_base::memtable::RangeTombs;

/// A flush under way.
#[derive(Debug)]
pub(crate) struct Flush {
    layer: Layer,
    memtable: Arc<Memtable>,
    tombs: Arc<RangeTombs>,
    /// Last key written.
    after: Option<Vec<u8>>,
    writer: RunWriter,
    built: Option<Vec<Arc<Table>>>,
    values: ValueChanges,
    scratch: KeyVersions,
}

impl Flush {
    /// Begins the flush of a memtable that has come to rest (T3).
    pub(crate) fn new(store: &Store, memtable: Arc<Memtable>) -> Flush {
        let tombs = memtable.tombs();
        let carried = tombs.pruned(&Pruner::new(&store.env.host.snapshots()), |_, _| false);
        let fences = pick::fences(&store.current().version.levels, &store.limits());
        let mut writer = RunWriter::new(store.tuning.table_bytes, carried).ending_at(fences);
        // What was written last is read soonest.
        writer.set_over_cold(true, &store.env);
        let layer = Layer::Memtable(Arc::clone(&memtable));
        let (built, values, scratch) = (None, ValueChanges::default(), KeyVersions::default());
        Flush { layer, memtable, tombs, after: None, writer, built, values, scratch }
    }

    /// Writes about `bytes` bytes, or does the last step; whether the manifest was switched and the flush is done.
    pub(crate) fn step(&mut self, store: &Store, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        if self.built.is_none() {
            if !self.write(store, upkeep, bytes)? {
                return Ok(false);
            }
            let tables = self.writer.finish(&store.env, &mut upkeep.next_table_no)?;
            sync_tables_dir(store, &tables)?;
            self.built = Some(tables);
        }
        let built = self.built.as_deref().unwrap_or(&[]);
        let run = built.first().map_or(0, |table| table.meta().no);
        let values = &self.values;
        let change = Change { level: 0, run, added: built, removed: &[], values, settled: Some(&self.layer) };
        store.switch(upkeep, &change)?;
        Ok(true)
    }

    /// Whether its files are whole and wait for the manifest.
    pub(crate) fn is_built(&self) -> bool {
        self.built.is_some()
    }

    /// Files to be removed if it is given up.
    pub(crate) fn begun(&self) -> &[u64] {
        self.writer.begun()
    }

    /// What it did with large values, if it is given up.
    pub(crate) fn take_values(&mut self) -> ValueChanges {
        std::mem::take(&mut self.values)
    }

    /// Whether all keys are written.
    fn write(&mut self, store: &Store, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        let snaps = store.env.host.snapshots();
        let pruner = Pruner::new(&snaps);
        let (tombs, writer, values) = (&self.tombs, &mut self.writer, &mut self.values);
        let mut after = self.after.take();
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut done_bytes = 0;
        let mut last = None;
        let is_done = self.memtable.flush_from(from, &mut self.scratch, |kv| {
            if done_bytes >= bytes {
                return Ok(false);
            }
            done_bytes += kv.content_bytes() + 1;
            // Tables may hold older versions of the key, so its tombstone stays.
            kv.prune(tombs.covering(&kv.key), &pruner, false);
            last = Some(kv.key.clone());
            store.separate(kv, values)?;
            writer.push(kv, &store.env, &mut upkeep.next_table_no).map(|()| true)
        })?;
        if last.is_some() {
            after = last;
        }
        self.after = after;
        Ok(is_done)
    }
}

/// The names of new tables must be durable before the manifest names them.
pub(crate) fn sync_tables_dir(store: &Store, tables: &[Arc<Table>]) -> Result<()> {
    if tables.is_empty() || mutant!("skip_manifest_dir_sync") {
        return Ok(());
    }
    sync_dir(&store.env).map_err(not_again)
}
