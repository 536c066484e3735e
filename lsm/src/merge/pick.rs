//! What to merge next: a pure function of the shape of the files. It reads nothing and knows no clock.
//!
//! Two pickers share these words: `leveled.rs`, which every store uses, and `tiered.rs`. A job is carried out by `merge.rs`, one at a time.
//!
//! I1  From `Limits::runs_max` runs in level 0 on there is always a job, and from `RUNS_MIN` on if it is worth its bytes (CO3 of `columns.rs`).
//! I2  Repeated picks come to an end: each job brings bytes further down, or leaves fewer keys, tombstones or runs.
//! I3  The inputs of a job are closed: no table that stays in one of their runs, or in that of the output, overlaps the span of the output.
//! I4  What is older than an input and shares keys with it is an input, too, or lies below the output.
//! I5  A job reads at most `job_bytes_max`, or what one table and those that overlap it ask for.

mod columns;
mod leveled;
#[cfg(test)]
mod tests;
mod tiered;

use duramen_base::Timestamp;

use crate::span::Span;
use crate::tuning::{Layout, MEMTABLES_IN_BASE, Tuning};
use crate::version::Run;

/// Runs of level 0 from which on they are merged if that is worth it.
pub(crate) const RUNS_MIN: usize = 4;
/// Runs of level 0 from which on they are merged while commits come, whatever is written anew for it.
pub(crate) const RUNS_MAX: usize = 8;
/// Runs of level 0 at which nothing more is flushed before some are merged.
pub(crate) const RUNS_LIMIT: usize = 12;
/// How many times as large a level is as the one above it, but in tests of little stores.
pub(crate) const SIZE_RATIO: u64 = 8;
/// The level that holds most, and is filled first.
pub(crate) const LAST_LEVEL: usize = 6;
/// Tables of one job, at most: all of them are named in one manifest edit.
const TABLES_MAX: usize = 400;
/// A job may read so many times the bytes of a table.
const JOB_TABLES_MAX: u64 = 25;

/// A sorted file, as far as a picker looks at it.
pub(crate) trait Sorted {
    /// Its number.
    fn no(&self) -> u64;
    /// The keys it is about.
    fn span(&self) -> Span<'_>;
    /// Bytes of the file.
    fn bytes(&self) -> u64;
    /// Versions in it.
    fn versions(&self) -> u64;
    /// How many of these are tombstones, and range tombstones.
    fn tombstones(&self) -> u64;
    /// Whether it has nothing but range tombstones.
    fn is_bare(&self) -> bool;
    /// How many versions are older ones of a key that it has a newer one of.
    fn history(&self) -> u64;
    /// The newest timestamp in it.
    fn max_ts(&self) -> Timestamp;
    /// Whether it was written packing.
    fn is_packed(&self) -> bool;
}

/// What bounds jobs and levels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the first level below level 0, at most.
    pub(crate) base_bytes: u64,
    /// How many times as large a level is as the one above it.
    pub(crate) size_ratio: u64,
    /// Runs of level 0 from which on they are merged whatever that brings along (I1): in quiet times readers count, and it is `RUNS_MIN`.
    pub(crate) runs_max: usize,
    /// Bytes of the inputs of a job (I5).
    pub(crate) job_bytes_max: u64,
    /// Which picker.
    pub(crate) layout: Layout,
    /// Whether tables of the last level are to be packed.
    pub(crate) packs: bool,
}

impl Limits {
    /// Those of a store that packs nothing, and whose memtables grew by so much.
    pub(crate) fn of(tuning: &Tuning, grown_bytes: u64) -> Limits {
        Limits {
            base_bytes: tuning.base_bytes.saturating_add(grown_bytes.saturating_mul(MEMTABLES_IN_BASE)),
            size_ratio: tuning.size_ratio,
            runs_max: RUNS_MAX,
            job_bytes_max: tuning.table_bytes.saturating_mul(JOB_TABLES_MAX),
            layout: tuning.layout,
            packs: false,
        }
    }
}

/// The files, and what is known of their readers.
pub(crate) struct Shape<'a, T> {
    /// Level, then run, newest first.
    pub(crate) levels: &'a [Vec<Run<T>>],
    /// Nobody reads before this commit.
    pub(crate) oldest: Timestamp,
    /// Whether range tombstones that everybody sees hide all versions of a table.
    pub(crate) is_hidden: &'a dyn Fn(&T) -> bool,
}

/// Why a job is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Level 0 has many runs.
    Runs,
    /// A level is larger than it should be.
    Size,
    /// Many of the versions are tombstones.
    Tombstones,
    /// Many of the versions are older ones that nobody reads any more.
    History,
    /// Range tombstones hide everything in the inputs.
    Hidden,
    /// Somebody asked for it.
    Asked,
    /// Nobody writes, and much lies above the last level.
    Quiet,
}

/// Tables to be merged into one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Numbers of the tables.
    pub(crate) inputs: Vec<u64>,
    /// Level of the output.
    pub(crate) to: usize,
    /// Whether the tables go there as they are.
    pub(crate) is_move: bool,
    /// Why.
    pub(crate) reason: Reason,
}

/// The next job of a compaction of some keys, which began when `first_no` was the next number of a table; `None`: it is done.
///
/// All tables about such keys go down to the last level; there, those from before are rewritten if they have tombstones or older versions, or are not
/// stored as they would be now (MG4).
pub(crate) fn compact<T: Sorted>(shape: &Shape<'_, T>, limits: &Limits, first_no: u64, keys: &Span<'_>) -> Option<Job> {
    leveled::compact(shape, limits, first_no, keys)
}

/// The next job that brings down what lies above the last level; `None`: nothing does.
pub(crate) fn all_down<T: Sorted>(shape: &Shape<'_, T>, limits: &Limits) -> Option<Job> {
    match limits.layout {
        Layout::Leveled => leveled::all_down(shape, limits),
        Layout::Tiered => None,
    }
}

/// Keys behind which whoever writes into level 0, or below it, ends a table, ascending (CO2 of `pick/columns.rs`).
pub(crate) fn fences<T: Sorted>(levels: &[Vec<Run<T>>], limits: &Limits) -> Vec<Vec<u8>> {
    match limits.layout {
        Layout::Leveled => leveled::fences(levels, limits),
        Layout::Tiered => Vec::new(),
    }
}

/// Bytes of the tables that such a compaction is still to read, but for those that these overlap in the last level.
pub(crate) fn bytes_to_compact<T: Sorted>(
    shape: &Shape<'_, T>,
    limits: &Limits,
    first_no: u64,
    keys: &Span<'_>,
) -> u64 {
    leveled::bytes_to_compact(shape, limits, first_no, keys)
}

/// Bytes that are still to go further down because their level holds more than it should.
pub(crate) fn debt_bytes<T: Sorted>(levels: &[Vec<Run<T>>], limits: &Limits) -> u64 {
    match limits.layout {
        Layout::Leveled => leveled::excess_bytes(levels, limits),
        Layout::Tiered => 0,
    }
}

/// The next job; `None`: all is well.
pub(crate) fn pick<T: Sorted>(shape: &Shape<'_, T>, limits: &Limits) -> Option<Job> {
    match limits.layout {
        Layout::Leveled => leveled::pick(shape, limits),
        Layout::Tiered => tiered::pick(&shape.levels[0]),
    }
}
