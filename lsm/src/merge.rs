//! Merging: several runs of level 0 become one, in steps, and what nobody can read is left out.
//!
//! P2 asks that nothing older remains before a tombstone goes. So only a merge that takes in the oldest run ("bottom") drops tombstones;
//! by S3 and Z2 no memtable and no newer run holds anything older. Which range tombstones go is decided when the merge begins: by then
//! nobody reads before them, so every version they cover is left out whenever it is met, as horizons only move on.
//!
//! Next: `merge/pick.rs` (which runs), `prune.rs` (which versions).

mod pick;

use std::sync::Arc;

use duramen_base::{Pruner, Result};

pub(crate) use pick::{RUNS_LIMIT, all_runs, pick};

use crate::flush::sync_tables_dir;
use crate::run_cursor::RunCursor;
use crate::run_writer::RunWriter;
use crate::store::Store;
use crate::table::Table;
use crate::table::blocks::Loading;
use crate::upkeep::{Change, Upkeep};
use crate::version::{Run, Version};
use duramen_base::memtable::KeyVersions;
use duramen_base::memtable::RangeTombs;

/// A merge under way.
#[derive(Debug)]
pub(crate) struct Merge {
    inputs: Vec<Run>,
    is_bottom: bool,
    /// All range tombstones in tables when it began: durable, so what they cover may go.
    tombs: Arc<RangeTombs>,
    cursors: Vec<RunCursor>,
    started: bool,
    writer: RunWriter,
    built: Option<Vec<Arc<Table>>>,
    scratch: KeyVersions,
}

impl Merge {
    /// Begins the merge of the `run_count` newest runs of level 0.
    pub(crate) fn new(store: &Store, version: &Version, run_count: usize) -> Merge {
        let inputs: Vec<Run> = version.levels[0][..run_count].to_vec();
        let is_bottom = run_count == version.runs().count();
        let snaps = store.env.host.snapshots();
        let mut carried = RangeTombs::default();
        inputs.iter().flat_map(|run| &run.tables).for_each(|table| carried.unite(table.tombs()));
        let carried = carried.pruned(&Pruner::new(&snaps), is_bottom.then(|| snaps.oldest()));
        let cursors = inputs.iter().map(|run| RunCursor::new(run, Loading { keep: false })).collect();
        Merge {
            inputs,
            is_bottom,
            tombs: Arc::clone(&version.tombs),
            cursors,
            started: false,
            writer: RunWriter::new(store.tuning.table_bytes, carried),
            built: None,
            scratch: KeyVersions::default(),
        }
    }

    /// Merges about `bytes` bytes, or does the last step; whether the manifest was switched and the merge is done.
    pub(crate) fn step(&mut self, store: &Store, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        if self.built.is_none() {
            if !self.write(store, upkeep, bytes)? {
                return Ok(false);
            }
            let tables = self.writer.finish(&store.env, &mut upkeep.next_table_no)?;
            sync_tables_dir(store, &tables)?;
            self.built = Some(tables);
        }
        let removed: Vec<Arc<Table>> = self.inputs.iter().flat_map(|run| &run.tables).map(Arc::clone).collect();
        let run = self.inputs.first().map_or(0, |run| run.id);
        let added = self.built.as_deref().unwrap_or(&[]);
        store.switch(upkeep, &Change { level: 0, run, added, removed: &removed, flushed: None })?;
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

    /// Whether all keys are written.
    fn write(&mut self, store: &Store, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        if !std::mem::replace(&mut self.started, true) {
            self.cursors.iter_mut().try_for_each(|cursor| cursor.seek(b""))?;
        }
        let snaps = store.env.host.snapshots();
        let pruner = Pruner::new(&snaps);
        let mut done_bytes = 0;
        while done_bytes < bytes {
            let Some(key) = self.cursors.iter().filter_map(RunCursor::key).min() else {
                return Ok(true);
            };
            let kv = &mut self.scratch;
            kv.reset(key);
            for cursor in &mut self.cursors {
                if cursor.key() == Some(&kv.key) {
                    cursor.add_versions(kv)?;
                    cursor.next()?;
                }
            }
            kv.sort();
            done_bytes += kv.content_bytes() + 1;
            kv.prune(self.tombs.covering(&kv.key), &pruner, self.is_bottom);
            self.writer.push(kv, &store.env, &mut upkeep.next_table_no)?;
        }
        Ok(false)
    }
}
