//! Upkeep: flushing, merging, writing the manifest anew, removing files. One caller at a time, in bounded steps.
//!
//! K4's order is kept in one place, [`Store::switch`]: files synced (by whoever built them), log durable, manifest edit synced, and only
//! then the superversion switched.
//!
//! W1  Only upkeep changes the version, so what it read of it stays true until it switches.
//! W2  After any failure but a lack of space nothing is written any more: the store answers `Poisoned`.
//! W3  A file of ours is removed only when no durable manifest names it and nobody reads it.
//! W4  A flush goes before a merge, because it frees memory and log, until level 0 has `RUNS_LIMIT` runs; from then on a merge goes first.
//! W5  So level 0 never has more runs than `RUNS_LIMIT`, however fast commits come: who waits for memory does the merge that its flush waits for.
//!     (A store found with more is brought down before it grows.)
//! W6  While merging is paused, a merge that nobody asked for rests where it is, unless level 0 is full (W5): writers never wait for a pause.
//! W7  A merge that somebody asked for and that was stopped before its files were whole is given up, as after a failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_base::compaction::CompactionRequest;
use duramen_base::ingest::list_path;
use duramen_base::sync::atomic::Ordering;
use duramen_base::values::ValueChanges;
use duramen_base::{Error, KeyBounds, Result, Timestamp, WorkBudget, WorkDone, mutant};

use crate::flush::Flush;
use crate::ingest::Ingested;
use crate::manifest::{Edit, Manifest, Placed, manifest_name, poisoned};
use crate::merge::pick::{Job, Limits, RUNS_LIMIT, RUNS_MIN, Shape, Sorted, all_down, bytes_to_compact, compact, pick};
use crate::merge::{Merge, is_hidden};
use crate::quiet::Quiet;
use crate::span::{End, Span};
use crate::store::Store;
use crate::superversion::Layer;
use crate::table::{Table, table_path};
use crate::version::{Run, Version};

/// What one caller at a time works on.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) manifest: Manifest,
    /// Numbers from here on were never given to a table.
    pub(crate) next_table_no: u64,
    next_manifest_number: u64,
    flush: Option<Flush>,
    merge: Option<Merge>,
    /// The request to compact that is under way, and the number from which on tables were written since it began.
    compacting: Option<(CompactionRequest, u64)>,
    /// For which version and which oldest reader there was nothing to merge, and whether in quiet times.
    settled: Option<(u64, Timestamp, bool)>,
    /// Since when nobody writes.
    quiet: Quiet,
    /// Up to which commit all is to go down for scans (SH3 of `scan_hints.rs`).
    pub(crate) down_for_scans: Option<Timestamp>,
    /// Tables that the manifest names no more, until nobody reads them.
    obsolete: Vec<Arc<Table>>,
    /// Files of ours that nothing names.
    garbage: Vec<PathBuf>,
}

/// A change of the files that is ready to be made.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) level: u32,
    pub(crate) run: u64,
    pub(crate) added: &'a [Arc<Table>],
    pub(crate) removed: &'a [Arc<Table>],
    /// Large values that the tables added name first, and those that the tables removed named last.
    pub(crate) values: &'a ValueChanges,
    /// The layer that `added` makes needless, or is.
    pub(crate) settled: Option<&'a Layer>,
}

impl Upkeep {
    pub(crate) fn new(
        manifest: Manifest,
        next_table_no: u64,
        next_manifest_number: u64,
        garbage: Vec<PathBuf>,
    ) -> Upkeep {
        Upkeep {
            manifest,
            next_table_no,
            next_manifest_number,
            flush: None,
            merge: None,
            compacting: None,
            settled: None,
            quiet: Quiet::default(),
            down_for_scans: None,
            obsolete: Vec::new(),
            garbage,
        }
    }
}

impl Upkeep {
    /// Whether a merge that somebody asked for is under way.
    #[cfg(test)]
    pub(crate) fn merge_is_asked(&self) -> bool {
        self.merge.as_ref().is_some_and(Merge::is_asked)
    }

    /// Says that a file is named after all.
    pub(crate) fn keep(&mut self, path: &Path) {
        self.garbage.retain(|garbage| garbage != path);
    }

    /// Says that nothing names a file any more.
    pub(crate) fn forget(&mut self, path: PathBuf) {
        self.garbage.push(path);
    }
}

impl Store {
    /// One bounded step, unless somebody else is at work.
    pub(crate) fn work(&self, budget: WorkBudget) -> Result<WorkDone> {
        let Some(mut upkeep) = self.upkeep.try_lock() else { return Ok(WorkDone::default()) };
        let switched = self.guarded_step(&mut upkeep, budget.bytes.max(1))?;
        // Relaxed: only a reminder, the manifest itself was synced.
        let unreported = self.unreported_switch.swap(false, Ordering::Relaxed);
        Ok(WorkDone { more: self.has_work(&mut upkeep), switched: switched || unreported })
    }

    /// A step towards the next flush for somebody who waits for memory; whether there was one to do. Waits for another who is at work.
    pub(crate) fn relieve(&self, bytes: u64) -> Result<bool> {
        let mut upkeep = self.upkeep.lock();
        if self.current().frozen.is_empty() {
            self.rotate();
        }
        if self.current().frozen.is_empty() {
            return Ok(false);
        }
        if self.guarded_step(&mut upkeep, bytes)? {
            self.unreported_switch.store(true, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// W2.
    fn guarded_step(&self, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        if let Some(cause) = &*self.failure.lock() {
            return Err(Error::Poisoned { cause: Arc::clone(cause) });
        }
        match self.step(upkeep, bytes) {
            Err(error) if !matches!(error, Error::DiskFull { .. }) => {
                let error = poisoned(error);
                if let Error::Poisoned { cause } = &error {
                    *self.failure.lock() = Some(Arc::clone(cause));
                }
                Err(error)
            }
            other => other,
        }
    }

    /// Whether the manifest was switched.
    fn step(&self, upkeep: &mut Upkeep, bytes: u64) -> Result<bool> {
        self.remove_files(upkeep);
        if self.is_rotation_due() {
            self.take_scan_hints(upkeep);
            self.rotate();
        }
        let flush =
            if self.must_merge_first(upkeep) { None } else { upkeep.flush.take().or_else(|| self.next_flush()) };
        if let Some(flush) = flush {
            return self.step_flush(upkeep, flush, bytes);
        }
        let ingested = if self.must_merge_first(upkeep) { None } else { self.next_ingested() };
        if let Some(ingested) = ingested
            && self.settle_ingested(upkeep, &ingested)?
        {
            self.persists.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        if self.is_log_behind() {
            self.env.host.make_durable(self.asked_for())?;
        }
        self.give_up_stopped(upkeep);
        if !self.rests(upkeep)
            && let Some(merge) = upkeep.merge.take().or_else(|| self.next_merge(upkeep))
        {
            return self.step_merge(upkeep, merge, bytes);
        }
        if upkeep.manifest.has_grown(self.tuning.manifest_bytes_max) {
            self.rewrite_manifest(upkeep)?;
        }
        if !self.values_rest(upkeep) {
            self.values.work(bytes, asks_for_all(upkeep))?;
        }
        Ok(false)
    }

    fn has_work(&self, upkeep: &mut Upkeep) -> bool {
        upkeep.flush.is_some()
            || (upkeep.merge.is_some() && !self.rests(upkeep))
            || !self.current().frozen.is_empty()
            || self.is_rotation_due()
            || self.is_log_behind()
            || (upkeep.merge.is_none() && self.next_job(upkeep).is_some())
            || self.compaction.is_asked()
            || upkeep.obsolete.iter().any(|table| Arc::strong_count(table) == 1)
            || (!self.values_rest(upkeep) && self.values.has_work(false))
            || upkeep.manifest.has_grown(self.tuning.manifest_bytes_max)
    }

    /// Whether the active memtable is full, holds something that was asked to be persisted, or is in the way of scans.
    fn is_rotation_due(&self) -> bool {
        let active = Arc::clone(&self.current().active);
        let target = self.asked_for();
        let is_asked_for = active.min_ts() <= target && self.persisted() < target;
        !active.is_empty() && (active.bytes() >= self.memtable_bytes_max() || is_asked_for || self.is_in_the_way())
    }

    /// Commits that somebody wants persisted, as far as they are visible.
    fn asked_for(&self) -> Timestamp {
        Timestamp::new(self.persist_target.load(Ordering::Relaxed)).min(self.env.host.visible())
    }

    /// Whether only the log keeps `persisted` from what was asked for.
    fn is_log_behind(&self) -> bool {
        self.asked_for() > self.env.host.durable().max(self.current().version.persisted)
    }

    /// W4, W5.
    fn must_merge_first(&self, upkeep: &mut Upkeep) -> bool {
        let is_full = self.current().version.levels[0].len() >= RUNS_LIMIT;
        is_full && !mutant!("flush_over_runs_limit") && (upkeep.merge.is_some() || self.next_job(upkeep).is_some())
    }

    fn next_flush(&self) -> Option<Flush> {
        match self.current().frozen.last()? {
            Layer::Memtable(oldest) => oldest.is_quiet().then(|| Flush::new(self, Arc::clone(oldest))),
            Layer::Ingested(_) => None,
        }
    }

    /// Tables that the manifest is to name next.
    fn next_ingested(&self) -> Option<Arc<Ingested>> {
        match self.current().frozen.last()? {
            Layer::Memtable(_) => None,
            Layer::Ingested(oldest) => Some(Arc::clone(oldest)),
        }
    }

    fn step_flush(&self, upkeep: &mut Upkeep, mut flush: Flush, bytes: u64) -> Result<bool> {
        let outcome = flush.step(self, upkeep, bytes);
        match &outcome {
            Ok(true) => drop(self.persists.fetch_add(1, Ordering::Relaxed)),
            Err(_) if !flush.is_built() || mutant!("forget_failed_edit") => {
                self.values.give_up(flush.take_values());
                self.give_up(upkeep, flush.begun());
            }
            // O2: a failed edit may be found after a crash, so what it names stays.
            Ok(false) | Err(_) => upkeep.flush = Some(flush),
        }
        outcome
    }

    fn step_merge(&self, upkeep: &mut Upkeep, mut merge: Merge, bytes: u64) -> Result<bool> {
        let asked_bytes = if merge.is_asked() { merge.input_bytes() } else { 0 };
        let outcome = merge.step(self, upkeep, bytes);
        match &outcome {
            Ok(true) => self.compaction.add_done(asked_bytes),
            Err(_) if !merge.is_built() => {
                self.values.give_up(merge.take_values());
                self.give_up(upkeep, merge.begun());
            }
            Ok(false) | Err(_) => upkeep.merge = Some(merge),
        }
        outcome
    }

    /// What to merge next.
    fn next_job(&self, upkeep: &mut Upkeep) -> Option<Job> {
        let version = Arc::clone(&self.current().version);
        let oldest = self.env.host.snapshots().oldest();
        let is_compacting = self.begin_compaction(upkeep);
        let is_full = version.levels[0].len() >= RUNS_LIMIT;
        let goes_down = self.goes_down_for_scans(upkeep, &version) || self.goes_down(upkeep, &version);
        let is_quiet = upkeep.quiet.has_begun(self.env.clock.now());
        let is_settled = upkeep.settled == Some((version.seq, oldest, is_quiet));
        if is_settled && !is_compacting && !goes_down {
            return None;
        }
        let is_hidden = |table: &Arc<Table>| is_hidden(table, &version.tombs, oldest);
        let shape = Shape { levels: &version.levels, oldest, is_hidden: &is_hidden };
        let mut limits = Limits { packs: self.packs(), ..self.limits() };
        if is_quiet && !mutant!("quiet_waits_for_more") {
            limits.runs_max = RUNS_MIN; // QT3
        }
        if let Some((request, first_no)) = &upkeep.compacting
            && !is_full
        {
            let end = request.high.as_deref().map_or(End::Open, End::Before);
            let keys = Span { low: &request.low, end };
            let job = compact(&shape, &limits, *first_no, &keys);
            if job.is_some() {
                self.compaction.set_to_do(bytes_to_compact(&shape, &limits, *first_no, &keys));
                return job;
            }
            if is_whole(request) && self.values.has_work(true) {
                return None; // Its next step is that of the values.
            }
            self.compaction.finish(request.number);
            upkeep.compacting = None;
        }
        if self.compaction.is_paused() && !is_full && !mutant!("merge_while_paused") {
            return None; // W6
        }
        // All at once is written less often than table by table.
        let down = if goes_down && !is_full { all_down(&shape, &limits) } else { None };
        let job = down.or_else(|| pick(&shape, &limits));
        if job.is_none() {
            upkeep.settled = Some((version.seq, oldest, is_quiet));
        }
        job
    }

    /// QT1 of `quiet.rs`.
    fn goes_down(&self, upkeep: &mut Upkeep, version: &Version) -> bool {
        let newest = self.current().memtables().map(|memtable| memtable.max_ts()).max().unwrap_or(Timestamp::ZERO);
        let above_and_in_last = || {
            let bytes = |runs: &Vec<Run>| bytes_of(runs.iter());
            let last_bytes = version.levels.get(version.last_level()).map_or(0, bytes);
            (version.levels.iter().map(bytes).sum::<u64>() - last_bytes, last_bytes)
        };
        upkeep.quiet.look(newest, self.env.clock.now(), above_and_in_last) && !mutant!("leave_quiet_levels")
    }

    fn next_merge(&self, upkeep: &mut Upkeep) -> Option<Merge> {
        let job = self.next_job(upkeep)?;
        Some(Merge::new(self, &self.current().version, job))
    }

    /// Whether a request to compact is under way: it begins when all that was asked for is in tables.
    fn begin_compaction(&self, upkeep: &mut Upkeep) -> bool {
        let is_in_tables = || self.current().frozen.is_empty() && !self.is_rotation_due();
        if upkeep.compacting.as_ref().is_some_and(|(request, _)| !self.compaction.waits(request.number)) {
            upkeep.compacting = None;
        }
        if upkeep.compacting.is_none() && is_in_tables() {
            upkeep.compacting = self.compaction.front().map(|request| (request, upkeep.next_table_no));
        }
        upkeep.compacting.is_some()
    }

    /// W6.
    fn rests(&self, upkeep: &Upkeep) -> bool {
        let is_free = upkeep.merge.as_ref().is_some_and(|merge| merge.is_asked() || merge.is_built());
        let is_full = || self.current().version.levels[0].len() >= RUNS_LIMIT;
        self.compaction.is_paused()
            && !self.compaction.is_asked()
            && !is_free
            && !is_full()
            && !mutant!("merge_while_paused")
    }

    /// W6 for the value files: while merging is paused they are written anew only for a request.
    fn values_rest(&self, upkeep: &Upkeep) -> bool {
        self.compaction.is_paused() && upkeep.compacting.is_none()
    }

    /// W7.
    fn give_up_stopped(&self, upkeep: &mut Upkeep) {
        let is_stopped = |merge: &mut Merge| merge.is_asked() && !merge.is_built() && !self.compaction.is_asked();
        if let Some(mut merge) = upkeep.merge.take_if(is_stopped) {
            self.values.give_up(merge.take_values());
            self.give_up(upkeep, merge.begun());
        }
    }

    /// Asks for a merge of what is visible of some keys; the number of the request.
    pub(crate) fn ask_to_compact(&self, bounds: KeyBounds<'_>) -> u64 {
        self.persist_target.fetch_max(self.env.host.visible().get(), Ordering::Relaxed);
        let request = self.compaction.ask(bounds);
        self.env.host.wake_upkeep();
        request
    }

    /// Holds back merges that nobody asked for, or lets go of them (W6).
    pub(crate) fn pause_compaction(&self, is_paused: bool) {
        if is_paused {
            return self.compaction.pause();
        }
        self.compaction.resume();
        self.env.host.wake_upkeep();
    }

    /// Removes files that were begun: tables, or lists of them.
    pub(crate) fn give_up(&self, upkeep: &mut Upkeep, begun: &[u64]) {
        let paths = |&no: &u64| [table_path(&self.env.dir, no), list_path(&self.env.dir, no)];
        upkeep.garbage.extend(begun.iter().flat_map(paths));
        self.remove_files(upkeep);
    }

    /// Makes a change of the files durable, then visible to readers (K4).
    pub(crate) fn switch(&self, upkeep: &mut Upkeep, change: &Change<'_>) -> Result<()> {
        debug_assert!(change.settled.is_none() || !self.must_merge_first(upkeep), "W5: a flush waits for a merge");
        let newest = change.added.iter().map(|table| table.meta().max_ts).max().unwrap_or(Timestamp::ZERO);
        let newest = change.settled.map_or(newest, |layer| newest.max(layer.max_ts()));
        self.env.host.make_durable(newest.max(self.asked_for()))?;
        // Only now: a log that was behind would hold `persisted` back.
        let horizon = self.horizon();
        let sv = self.current();
        let persisted = sv.persisted(horizon, change.settled);
        let contains = sv.version.contains.max(newest).max(persisted);
        self.env.host.make_durable(contains)?;
        let values_no = self.values.prepare(change.values)?;
        let placed = |table: &Arc<Table>| Placed { level: change.level, run: change.run, meta: table.meta().clone() };
        let edit = Edit {
            seq: sv.version.seq + 1,
            persisted,
            contains,
            next_table_no: upkeep.next_table_no,
            removed: change.removed.iter().map(|table| table.meta().no).collect(),
            added: change.added.iter().map(placed).collect(),
            values_no,
        };
        let version = sv.version.after(&edit, &self.env, change.added)?;
        let version = version.expect("W1: the change was made from this version");
        upkeep.manifest.append(&edit)?;
        // A table that only moves is removed from one place and added to another.
        let is_new = |table: &&Arc<Table>| !change.removed.iter().any(|old| Arc::ptr_eq(old, table));
        let is_gone = |table: &&Arc<Table>| !change.added.iter().any(|new| Arc::ptr_eq(new, table));
        let new_bytes = change.added.iter().filter(is_new).map(Sorted::bytes).sum();
        self.count_written(new_bytes, change.settled.is_some());
        self.count_separated(change);
        self.values.show(values_no, change.values);
        self.install(version, change.settled);
        self.values.forget(change.values);
        upkeep.obsolete.extend(change.removed.iter().filter(is_gone).map(Arc::clone));
        Ok(())
    }

    fn rewrite_manifest(&self, upkeep: &mut Upkeep) -> Result<()> {
        let number = upkeep.next_manifest_number;
        let manifest = Manifest::create(&self.env, number, &self.current().version)?;
        upkeep.next_manifest_number += 1;
        let old = std::mem::replace(&mut upkeep.manifest, manifest);
        upkeep.garbage.push(self.env.dir.join(manifest_name(old.number())));
        self.remove_files(upkeep);
        Ok(())
    }

    /// W3. What cannot be removed now is tried again, here or by the next open.
    pub(crate) fn remove_files(&self, upkeep: &mut Upkeep) {
        let is_read = |table: &Arc<Table>| Arc::strong_count(table) > 1;
        let (kept, unread): (Vec<_>, Vec<_>) = upkeep.obsolete.drain(..).partition(is_read);
        upkeep.obsolete = kept;
        for table in unread {
            self.count_past(&table);
            self.env.pool.forget_file(table.frame(0).file);
            upkeep.garbage.push(table.file().path().to_owned());
        }
        upkeep.garbage.retain(|path| match self.env.vfs.remove_file(path) {
            Ok(()) => false,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        });
    }
}

/// Whether a request is about all keys, so that the value files are written anew for it where anything in them is dead.
fn is_whole(request: &CompactionRequest) -> bool {
    request.low.is_empty() && request.high.is_none()
}

fn asks_for_all(upkeep: &Upkeep) -> bool {
    upkeep.compacting.as_ref().is_some_and(|(request, _)| is_whole(request))
}

/// Bytes of the files of runs.
pub(crate) fn bytes_of<'a>(runs: impl Iterator<Item = &'a Run>) -> u64 {
    runs.map(Run::bytes).sum()
}
