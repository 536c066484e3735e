//! Merging: the tables of a job become tables of one run, in steps, and what nobody can read is left out.
//!
//! ```text
//!   job ─► Writing ─(all keys written, tables and their names synced)─► Built ─(manifest edit synced, superversion switched)─► done
//!     └──────────────────────────── a move: only the manifest ─────────────────────────────────────┘
//! ```
//! Tombstones go when nothing below needs them (`merge/below.rs`). Which range tombstones go is decided when the merge begins: by then
//! nobody reads before them, so every version they cover is left out whenever it is met, as horizons only move on.
//!
//! MG1  Output tables begin and end between those that stay in their run (I3), and each has the range tombstones over its own stretch of keys:
//!     so what a range tombstone covers never lies above it.
//! MG2  A table that is hidden whole is not read, unless it names large values: these go with it, and only it knows which.
//! MG3  What is written is offered to the frame pool, where room is free; where the inputs lay in it, cold frames give way. What is read for the last
//!     time does not enter it.
//! MG4  What comes into the last level of a store that compresses is packed, also what would else be moved there as it is. Other levels are not: what is
//!     in them is rewritten soon, and read most. What lies in the last level stays as it was written; a compaction that is asked for brings it to what
//!     the option says by then.
//!
//! Next: `merge/pick.rs` (which tables), `merge/below.rs` (which tombstones), `merge/freeze.rs` (which timestamps).
//! MG5  It asks ahead for what it will read while commits come, because writers wait for it before long. While nobody writes it reads block by block: it
//!     would be done sooner, and readers of data beyond memory would get less of the disk meanwhile, as measured.

mod below;
mod freeze;
pub(crate) mod pick;

use std::sync::Arc;

use duramen_base::memtable::{KeyVersions, RangeTombs};
use duramen_base::values::ValueChanges;
use duramen_base::{Pruner, Result, Timestamp, mutant};

use crate::flush::sync_tables_dir;
use crate::run_cursor::RunCursor;
use crate::run_writer::RunWriter;
use crate::store::Store;
use crate::table::Table;
use crate::table::blocks::Loading;
use crate::upkeep::{Change, Upkeep};
use crate::version::{Run, Version};
use below::Below;
use freeze::Freezer;
use pick::{Job, Reason, Sorted};

/// A merge under way.
#[derive(Debug)]
pub(crate) struct Merge {
    job: Job,
    /// Run of the output.
    run: u64,
    inputs: Vec<Arc<Table>>,
    below: Below,
    /// All range tombstones in tables when it began: durable, so what they cover may go.
    tombs: Arc<RangeTombs>,
    cursors: Vec<RunCursor>,
    started: bool,
    writer: RunWriter,
    built: Option<Vec<Arc<Table>>>,
    values: ValueChanges,
    scratch: KeyVersions,
    /// The newest commit of the active memtable, as it was last seen (MG5).
    newest: Timestamp,
}

impl Merge {
    /// Begins a job of `version`.
    pub(crate) fn new(store: &Store, version: &Version, mut job: Job) -> Merge {
        if mutant!("overlap_in_level") && !job.is_move && job.inputs.len() > 1 {
            job.inputs.pop();
        }
        let is_input = |table: &&Arc<Table>| job.inputs.contains(&table.meta().no);
        let snaps = store.env.host.snapshots();
        let (pruner, oldest) = (Pruner::new(&snaps), snaps.oldest());
        let below = Below::of(version, job.to, &job.inputs);
        let inputs: Vec<Arc<Table>> = version.tables().filter(is_input).map(Arc::clone).collect();
        let packs = store.packs() && (job.to >= pick::LAST_LEVEL || mutant!("pack_every_level"));
        let is_rewritten = packs && inputs.iter().any(|table| !table.is_packed()) && !mutant!("move_unpacked");
        job.is_move &= !is_rewritten; // MG4
        let mut carried = RangeTombs::default();
        inputs.iter().for_each(|table| carried.unite(table.tombs()));
        let carried = carried.pruned(&pruner, |fragment, ts| ts <= oldest && !below.needs(fragment, ts));
        let is_passed_over =
            |table: &Arc<Table>| table.props().references == 0 && is_hidden(table, &version.tombs, oldest); // MG2
        let is_read = |table: &&Arc<Table>| is_input(table) && !is_passed_over(table);
        let read = version.runs().map(|run| run.tables.iter().filter(is_read).map(Arc::clone).collect());
        let cursors = read.map(|tables| RunCursor::of(tables, Loading::LAST)).filter(|run| !run.is_empty());
        let fences = pick::fences(&version.levels, &store.limits());
        Merge {
            run: run_of_output(version, &job),
            below,
            tombs: Arc::clone(&version.tombs),
            cursors: cursors.collect(),
            started: false,
            writer: RunWriter::new(store.tuning.table_bytes, carried)
                .not_over_more_than(over(store, version, &job))
                .ending_at(fences)
                .packing(packs),
            built: job.is_move.then(|| inputs.clone()),
            inputs,
            values: ValueChanges::default(),
            scratch: KeyVersions::default(),
            newest: store.current().active.max_ts(),
            job,
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
        let added = self.built.as_deref().unwrap_or(&[]);
        let level = self.job.to as u32;
        let values = &self.values;
        store.switch(upkeep, &Change { level, run: self.run, added, removed: &self.inputs, values, settled: None })?;
        Ok(true)
    }

    /// Whether its files are whole and wait for the manifest.
    pub(crate) fn is_built(&self) -> bool {
        self.built.is_some()
    }

    /// Whether somebody asked for it.
    pub(crate) fn is_asked(&self) -> bool {
        self.job.reason == Reason::Asked
    }

    /// Bytes of its inputs.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.inputs.iter().map(Sorted::bytes).sum()
    }

    /// Files to be removed if it is given up.
    pub(crate) fn begun(&self) -> &[u64] {
        self.writer.begun()
    }

    /// What it did with large values, if it is given up.
    pub(crate) fn take_values(&mut self) -> ValueChanges {
        std::mem::take(&mut self.values)
    }

    /// Whether a commit came since the last look: another memtable that is active shows that, too.
    fn is_written_beside(&mut self, store: &Store) -> bool {
        let newest = store.current().active.max_ts();
        std::mem::replace(&mut self.newest, newest) != newest
    }

    /// Whether all keys are written.
    fn write(&mut self, store: &Store, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        let asks_ahead = self.is_written_beside(store) && !mutant!("merge_block_by_block");
        self.cursors.iter_mut().for_each(|cursor| cursor.set_asks_ahead(asks_ahead));
        if !std::mem::replace(&mut self.started, true) {
            self.cursors.iter_mut().try_for_each(|cursor| cursor.seek(b""))?;
        }
        let snaps = store.env.host.snapshots();
        let pruner = Pruner::new(&snaps);
        let freezer = Freezer::new(&pruner, &store.current()); // FZ3: the snapshots before the files.
        let mut done_bytes = 0;
        let reads = self.reads();
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
            let is_bottom = !self.below.may_hold(&kv.key);
            kv.prune(self.tombs.covering(&kv.key), &pruner, is_bottom);
            kv.take_dropped().for_each(|large| self.values.drop_value(large));
            if is_bottom {
                freezer.freeze(kv);
            }
            store.separate(kv, &mut self.values)?;
            self.writer.push(kv, &store.env, &mut upkeep.next_table_no)?;
        }
        let was_cached = self.reads() == reads;
        self.writer.set_over_cold(was_cached, &store.env); // MG3
        Ok(false)
    }

    /// Blocks of the inputs that were read from files.
    fn reads(&self) -> u64 {
        self.inputs.iter().map(|table| table.reads()).sum()
    }
}

/// Whether range tombstones that everybody sees hide every version of a table.
pub(crate) fn is_hidden(table: &Table, tombs: &RangeTombs, oldest: Timestamp) -> bool {
    let meta = table.meta();
    meta.keys > 0 && tombs.hide(&meta.min_key, &meta.max_key, meta.max_ts, oldest)
}

/// The run that the output joins: the one of that level, or that of the newest input.
fn run_of_output(version: &Version, job: &Job) -> u64 {
    let has_input = |run: &&Run| run.all().any(|table| job.inputs.contains(&table.meta().no));
    let there = version.levels.get(job.to).into_iter().flatten();
    let joined = if job.to == 0 { there.clone().find(has_input) } else { there.clone().next() };
    joined.or_else(|| version.runs().find(has_input)).map_or(0, |run| run.id)
}

/// Last key and bytes of the tables below the output's level, and how many bytes of these one table of it may lie over: more would
/// make a large job of its own way down.
fn over(store: &Store, version: &Version, job: &Job) -> (Vec<(Vec<u8>, u64)>, u64) {
    let run = version.levels.get(job.to + 1).and_then(|runs| runs.first()).filter(|_| job.to > 0);
    let tables = run.into_iter().flat_map(|run| &run.tables);
    let ends = tables.map(|table| (table.meta().max_key.clone(), Sorted::bytes(table))).collect();
    (ends, store.limits().job_bytes_max / 2)
}
