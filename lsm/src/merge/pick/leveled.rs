//! Levels that grow by a ratio, the last one sized first.
//!
//! The last level may hold anything; each one above it an eighth of the next, until one would fit into `base_bytes`: that is the base, into
//! which the runs of level 0 are merged, and the levels between stay empty. So nine tenths of the data lie in the last level at any size
//! (Dong et al. 2017, "Optimizing Space Amplification in RocksDB", section 3.1, dynamic level sizes).
//!
//! In order: what range tombstones hide goes first, because it costs nothing; then the level that exceeds its measure most: level 0 by its
//! runs, column by column (`columns.rs`), others some tables at a time, tombstone-dense ones before those that overlap least below; at last tombstones that
//! would lie about, and older versions that a reader kept who is gone.
//!
//! Y1  A level below 0 has one run.
//! Y2  A job for the sake of tombstones rewrites at most `TOMBSTONE_WORTH` versions for each, and only when nobody reads before them.
//! Y3  A job for the sake of older versions rewrites one table where it is, at most `HISTORY_WORTH` versions for each, and only when nobody reads
//!     before its newest: so none of them is left.

use std::iter::successors;
use std::ops::Range;

use super::columns::{self, Column, columns, joined};
use super::{Job, LAST_LEVEL, Limits, RUNS_LIMIT, RUNS_MIN, Reason, Shape, Sorted, TABLES_MAX};
use duramen_base::{Timestamp, mutant};

use crate::span::{End, Span, hull};
use crate::version::Run;

/// Versions that may be rewritten for each tombstone that goes (Y2).
const TOMBSTONE_WORTH: u64 = 4;
/// Versions that may be rewritten for each older one that goes (Y3).
const HISTORY_WORTH: u64 = 8;
/// What a job may read is so many times what lies below a column when its fences are set: there is room for what is above it, and for its growth.
const COLUMNS_OF_JOB: u64 = 4;
/// Scores are in thousandths; a level is due from here on.
const DUE: u64 = 1000;

/// The next job.
pub(super) fn pick<T: Sorted>(shape: &Shape<'_, T>, limits: &Limits) -> Option<Job> {
    let levels = Levels::new(shape, limits);
    hidden(shape).or_else(|| levels.by_score()).or_else(|| levels.by_tombstones()).or_else(|| levels.by_history())
}

/// The next job of a compaction of some keys.
pub(super) fn compact<T: Sorted>(shape: &Shape<'_, T>, limits: &Limits, first_no: u64, keys: &Span<'_>) -> Option<Job> {
    let levels = Levels::new(shape, limits);
    hidden(shape).or_else(|| levels.all_down(first_no, keys)).or_else(|| levels.cleaned(first_no, keys))
}

/// The next job that brings down what lies above the last level.
pub(super) fn all_down<T: Sorted>(shape: &Shape<'_, T>, limits: &Limits) -> Option<Job> {
    let keys = Span { low: b"", end: End::Open };
    let job = Levels::new(shape, limits).all_down(u64::MAX, &keys)?;
    Some(Job { reason: Reason::Quiet, ..job })
}

/// Bytes of the tables that are still to go down or to be cleaned.
pub(super) fn bytes_to_compact<T: Sorted>(
    shape: &Shape<'_, T>,
    limits: &Limits,
    first_no: u64,
    keys: &Span<'_>,
) -> u64 {
    let levels = Levels::new(shape, limits);
    let at = |level: usize| shape.levels.get(level).into_iter().flatten().flat_map(Run::all);
    let zero = at(0).filter(|table| table.no() < first_no);
    let dirty = at(levels.last).filter(|table| table.no() < first_no && levels.is_dirty(*table));
    let tables = zero.chain((1..levels.last).flat_map(at)).chain(dirty);
    tables.filter(|table| table.span().overlaps(keys)).map(Sorted::bytes).sum()
}

/// Keys behind which whoever writes into level 0, or below it, ends a table (CO2).
pub(super) fn fences<T: Sorted>(levels: &[Vec<Run<T>>], limits: &Limits) -> Vec<Vec<u8>> {
    let shape = Shape { levels, oldest: Timestamp::ZERO, is_hidden: &|_| false };
    let levels = Levels::new(&shape, limits);
    let count = usize::from(!mutant!("forget_fences"));
    let newest = shape.levels.first().map_or(&[][..], |runs| &runs[..runs.len().min(count)]);
    let Some(below) = levels.run(levels.below_zero()) else { return Vec::new() };
    columns::fences(newest, below, limits.job_bytes_max / COLUMNS_OF_JOB)
}

/// Tables of one run of which nothing is left to read.
fn hidden<T: Sorted>(shape: &Shape<'_, T>) -> Option<Job> {
    shape.levels.iter().enumerate().find_map(|(level, runs)| {
        runs.iter().find_map(|run| {
            let hidden = run.tables.iter().filter(|table| (shape.is_hidden)(table)).take(TABLES_MAX);
            let inputs: Vec<u64> = hidden.map(Sorted::no).collect();
            (!inputs.is_empty()).then_some(Job { inputs, to: level, is_move: false, reason: Reason::Hidden })
        })
    })
}

/// Bytes in the levels below 0 beyond what each may have.
pub(super) fn excess_bytes<T: Sorted>(levels: &[Vec<Run<T>>], limits: &Limits) -> u64 {
    let shape = Shape { levels, oldest: Timestamp::ZERO, is_hidden: &|_| false };
    let levels = Levels::new(&shape, limits);
    let excess = |level: usize| bytes_of(shape.levels, level).saturating_sub(levels.targets[level]);
    (1..levels.last).map(excess).sum()
}

struct Levels<'a, T> {
    shape: &'a Shape<'a, T>,
    limits: &'a Limits,
    last: usize,
    base: usize,
    /// Bytes each level may have.
    targets: Vec<u64>,
}

impl<'a, T: Sorted> Levels<'a, T> {
    fn new(shape: &'a Shape<'a, T>, limits: &'a Limits) -> Levels<'a, T> {
        let deepest = shape.levels.iter().rposition(|runs| !runs.is_empty()).unwrap_or(0);
        let last = deepest.max(LAST_LEVEL);
        let mut targets = vec![0; last + 1];
        let mut base = last;
        targets[last] = bytes_of(shape.levels, last).max(limits.base_bytes);
        while targets[base] > limits.base_bytes && base > 1 {
            targets[base - 1] = targets[base] / limits.size_ratio;
            base -= 1;
        }
        Levels { shape, limits, last, base, targets }
    }

    fn run(&self, level: usize) -> Option<&'a Run<T>> {
        self.shape.levels.get(level).and_then(|runs| runs.first())
    }

    /// Where level 0 is merged into: no level between them may hold anything older (I4).
    fn below_zero(&self) -> usize {
        (1..self.base).find(|&level| self.run(level).is_some()).unwrap_or(self.base)
    }

    fn by_score(&self) -> Option<Job> {
        let runs = self.shape.levels.first().map_or(0, Vec::len);
        if runs >= RUNS_LIMIT {
            return self.merge_zero(runs, Reason::Runs);
        }
        let zero_score = if self.is_zero_due(runs) { runs as u64 * DUE / RUNS_MIN as u64 } else { 0 };
        let score = |level: usize| match level {
            0 => zero_score,
            _ => bytes_of(self.shape.levels, level).saturating_mul(DUE) / self.targets[level].max(1),
        };
        let (score, level) = (0..self.last).map(|level| (score(level), self.last - level)).max()?;
        match self.last - level {
            _ if score < DUE => None,
            0 => self.merge_zero(runs, Reason::Runs),
            level => self.cheapest(level).map(|table| self.row_down(level, table)),
        }
    }

    /// A table of a level that holds too much, and those beside it that the level is also to lose, as long as each byte brings fewer from below along then:
    /// at the ends of a row, tables below are rewritten for a part of theirs.
    fn row_down(&self, level: usize, table: &'a T) -> Job {
        let tables = self.run(level).map_or(&[][..], |run| &run.tables);
        let excess = bytes_of(self.shape.levels, level) - self.targets[level];
        let span = |row: &Range<usize>| hull(tables[row.clone()].iter().map(Sorted::span));
        // What a byte of a row brings along; `None`: the row is too much for one job.
        let cost = |row: &Range<usize>| {
            let own: u64 = tables[row.clone()].iter().map(Sorted::bytes).sum();
            let below: u64 =
                span(row).iter().flat_map(|span| self.overlapping(level + 1, span)).map(Sorted::bytes).sum();
            let is_small = own <= excess && own + below <= self.limits.job_bytes_max / 2;
            (is_small && !mutant!("one_table_down")).then(|| below.saturating_mul(1024) / own.max(1))
        };
        let wider = |row: &Range<usize>| {
            let behind = (row.end < tables.len()).then(|| row.start..row.end + 1);
            let before = (row.start > 0).then(|| row.start - 1..row.end);
            behind.into_iter().chain(before)
        };
        let with_cost = |row: Range<usize>| cost(&row).map(|cost| (cost, row));
        let alone = tables.iter().position(|other| other.no() == table.no()).and_then(|at| with_cost(at..at + 1));
        let rows = successors(alone, |(least, row)| {
            wider(row).filter_map(with_cost).filter(|(cost, _)| cost < least).min_by_key(|(cost, _)| *cost)
        });
        let span = rows.last().and_then(|(_, row)| span(&row));
        span.map_or_else(
            || self.down(level, table, Reason::Size),
            |span| self.job(self.overlapping(level, &span).collect(), level + 1, Reason::Size),
        )
    }

    /// Of the oldest `count` runs of level 0 the highest column, into the level below; if that is too much for one job, as many runs as it may read.
    fn merge_zero(&self, count: usize, reason: Reason) -> Option<Job> {
        let to = self.below_zero();
        let runs = self.shape.levels.first()?;
        let column = self.highest_down(&runs[runs.len().checked_sub(count)?..], to, |_| true, reason);
        if column.is_some() {
            return column;
        }
        let (oldest, newer) = runs[runs.len().checked_sub(count)?..].split_last()?;
        let mut inputs = self.part_of(oldest);
        let mut bytes = inputs.iter().map(|table| table.bytes()).sum::<u64>();
        if inputs.len() == oldest.all().count() {
            for run in newer.iter().rev() {
                bytes += run.bytes();
                if bytes > self.limits.job_bytes_max || inputs.len() + run.all().count() > TABLES_MAX {
                    break;
                }
                inputs.extend(run.all());
            }
        }
        Some(self.job(inputs, to, reason))
    }

    /// I1, CO3.
    fn is_zero_due(&self, runs: usize) -> bool {
        let zero = self.shape.levels.first().map_or(&[][..], Vec::as_slice);
        runs >= self.limits.runs_max
            || mutant!("merge_for_little") && runs >= RUNS_MIN
            || runs >= RUNS_MIN
                && self.highest(zero, self.below_zero(), |_| true).is_some_and(|column| column.is_worth())
    }

    /// The highest column of these runs of level 0, which are the oldest, and the levels through `to`; of columns as high that with the least below
    /// for its bytes.
    fn highest(&self, oldest: &'a [Run<T>], to: usize, is_due: impl Fn(&T) -> bool) -> Option<Column<'a, T>> {
        let all = columns(oldest, (1..=to).filter_map(|level| self.run(level)));
        let all = joined(all, self.limits.job_bytes_max / 2);
        let due = all.into_iter().filter(|column| column.zero.iter().any(|table| is_due(table)));
        due.max_by_key(|column| (column.height, column.share()))
    }

    /// That column with all that lies in it, to the level `to`; `None`: it is too much for one job.
    fn highest_down(
        &self,
        oldest: &'a [Run<T>],
        to: usize,
        is_due: impl Fn(&T) -> bool,
        reason: Reason,
    ) -> Option<Job> {
        let column = self.highest(oldest, to, is_due)?;
        if column.zero.len() == 1 && column.below.is_empty() {
            return Some(self.job(column.zero, to, reason));
        }
        let bytes = column.zero_bytes() + column.below_bytes();
        let inputs: Vec<u64> = column.zero.iter().chain(&column.below).map(|table| table.no()).collect();
        let is_small = bytes <= self.limits.job_bytes_max && inputs.len() <= TABLES_MAX;
        (is_small && !mutant!("merge_whole_runs")).then_some(Job { inputs, to, is_move: false, reason })
    }

    /// All tables of a run of level 0, or, if it is too large for one job, one of them with those it is entangled with.
    fn part_of(&self, run: &'a Run<T>) -> Vec<&'a T> {
        if run.bytes() <= self.limits.job_bytes_max && run.all().count() <= TABLES_MAX {
            return run.all().collect();
        }
        let mut part: Vec<&T> = run.all().take(1).collect();
        loop {
            let Some(span) = hull(part.iter().map(|table| table.span())) else { return part };
            let larger: Vec<&T> = run.all().filter(|table| table.span().overlaps(&span)).collect();
            if larger.len() == part.len() {
                return part;
            }
            part = larger;
        }
    }

    /// The table of a level that is to go first: dense with tombstones, or with the least below it for its size.
    fn cheapest(&self, level: usize) -> Option<&'a T> {
        let cost = |table: &T| {
            let below: u64 = self.overlapping(level + 1, &table.span()).map(Sorted::bytes).sum();
            below.saturating_mul(1024) / table.bytes().max(1)
        };
        self.run(level)?.all().min_by_key(|table| (!self.is_dense(*table), cost(table)))
    }

    fn down(&self, level: usize, table: &'a T, reason: Reason) -> Job {
        self.job(vec![table], level + 1, reason)
    }

    /// `inputs` and what they overlap where they go; just moved if that is nothing.
    fn job(&self, mut inputs: Vec<&'a T>, to: usize, reason: Reason) -> Job {
        let single = inputs.len() == 1;
        let span = hull(inputs.iter().map(|table| table.span()));
        let below: Vec<&T> = span.iter().flat_map(|span| self.overlapping(to, span)).collect();
        // Moved tombstones would stay although nothing needs them; and a table over too much below makes a large job of the next step.
        let is_clean =
            inputs.iter().all(|table| table.tombstones() == 0) || span.is_some_and(|s| !self.is_bottom(to, &s));
        let is_light = span.is_some_and(|span| {
            self.overlapping(to + 1, &span).map(Sorted::bytes).sum::<u64>() <= self.limits.job_bytes_max
        });
        let is_move = single && below.is_empty() && is_clean && is_light;
        inputs.extend(below);
        Job { inputs: inputs.iter().map(|table| table.no()).collect(), to, is_move, reason }
    }

    /// Y2: tombstones that few versions below stand in the way of.
    fn by_tombstones(&self) -> Option<Job> {
        let runs = self.shape.levels.first()?;
        let dense = |run: &Run<T>| run.all().any(|table| self.is_dense(table));
        if let Some(first) = runs.iter().position(dense) {
            let to = self.below_zero();
            let inputs = || runs[first..].iter().flat_map(Run::all);
            let span = hull(inputs().map(Sorted::span))?;
            let below: u64 = self.overlapping(to, &span).map(Sorted::versions).sum();
            let tombstones: u64 = inputs().map(Sorted::tombstones).sum();
            let versions: u64 = inputs().map(Sorted::versions).sum::<u64>() + below;
            if tombstones.saturating_mul(TOMBSTONE_WORTH) >= versions {
                return self.merge_zero(runs.len() - first, Reason::Tombstones);
            }
        }
        (1..=self.last).find_map(|level| {
            self.run(level)?.all().filter(|table| self.is_dense(*table)).find_map(|table| self.rid(level, table))
        })
    }

    /// The job that gets rid of the tombstones of a table, if they are worth it.
    fn rid(&self, level: usize, table: &'a T) -> Option<Job> {
        let span = table.span();
        if self.is_bottom(level, &span) {
            let inputs = vec![table.no()];
            return Some(Job { inputs, to: level, is_move: false, reason: Reason::Tombstones });
        }
        let below: u64 = self.overlapping(level + 1, &span).map(Sorted::versions).sum();
        let worth = table.tombstones().saturating_mul(TOMBSTONE_WORTH);
        (worth >= below).then(|| self.down(level, table, Reason::Tombstones))
    }

    /// Y3.
    fn by_history(&self) -> Option<Job> {
        let is_due = |table: &&T| {
            let history = table.history();
            history > 0
                && history.saturating_mul(HISTORY_WORTH) >= table.versions()
                && table.max_ts() <= self.shape.oldest
        };
        (1..=self.last).find_map(|level| {
            let table = self.run(level)?.all().find(is_due)?;
            Some(Job { inputs: vec![table.no()], to: level, is_move: false, reason: Reason::History })
        })
    }

    /// What lies above the last level, from the top.
    fn all_down(&self, first_no: u64, keys: &Span<'_>) -> Option<Job> {
        let runs = self.shape.levels.first()?;
        let is_due = |table: &T| table.no() < first_no && table.span().overlaps(keys);
        let from_before = |run: &Run<T>| run.all().any(is_due);
        if let Some(newest) = runs.iter().position(from_before) {
            let column = self.highest_down(&runs[newest..], self.last, is_due, Reason::Asked);
            return column.or_else(|| self.merge_zero(runs.len() - newest, Reason::Asked));
        }
        (1..self.last).find_map(|level| {
            let run = self.run(level)?;
            let first = run.all().find(|table| table.span().overlaps(keys))?;
            let alone = self.to_last(level, &[first]);
            Some(
                alone.map_or_else(
                    || self.down(level, first, Reason::Asked),
                    |job| self.with_more(level, first, keys, job),
                ),
            )
        })
    }

    /// `job`, which brings `first` to the last level, with as many of the tables behind it as fit: the levels below are written once for all of them.
    fn with_more(&self, level: usize, first: &'a T, keys: &Span<'_>, mut job: Job) -> Job {
        let tables = self.run(level).map_or(&[][..], |run| &run.tables);
        let behind = tables.iter().filter(|table| first.span().end.is_below(table.span().low));
        let mut row = vec![first];
        for next in behind.take_while(|table| table.span().overlaps(keys)) {
            row.push(next);
            let wider = self.to_last(level, &[next]).and_then(|_| self.to_last(level, &row));
            match wider {
                Some(wider) if !mutant!("one_table_down") => job = wider,
                _ => break,
            }
        }
        job
    }

    /// These tables of a level, and all that overlap them between and in the last level, become tables of the last level; `None`: that is too much for one job,
    /// or there are none below them.
    fn to_last(&self, level: usize, row: &[&'a T]) -> Option<Job> {
        let mut span = hull(row.iter().map(|table| table.span()))?;
        let mut inputs: Vec<&T> = self.overlapping(level, &span).collect();
        let own = inputs.len();
        for deeper in level + 1..=self.last {
            let there: Vec<&T> = self.overlapping(deeper, &span).collect();
            inputs.extend(there);
            span = hull(inputs.iter().map(|table| table.span()))?;
        }
        let bytes: u64 = inputs.iter().map(|table| table.bytes()).sum();
        let is_small = inputs.len() > own && bytes <= self.limits.job_bytes_max && inputs.len() <= TABLES_MAX;
        let inputs = || inputs.iter().map(|table| table.no()).collect();
        is_small.then(|| Job { inputs: inputs(), to: self.last, is_move: false, reason: Reason::Asked })
    }

    /// A table of the last level from before that has more than the newest values, or is not stored as it would be now.
    fn cleaned(&self, first_no: u64, keys: &Span<'_>) -> Option<Job> {
        let is_due = |table: &&T| table.no() < first_no && self.is_dirty(*table) && table.span().overlaps(keys);
        let table = self.run(self.last)?.all().find(is_due)?;
        Some(Job { inputs: vec![table.no()], to: self.last, is_move: false, reason: Reason::Asked })
    }

    /// Whether a compaction rewrites a table of the last level.
    fn is_dirty(&self, table: &T) -> bool {
        let is_stored_so = table.is_packed() == self.limits.packs || mutant!("compact_keeps_packing");
        table.tombstones() > 0 || table.history() > 0 || !is_stored_so
    }

    /// Whether a good part of a table is tombstones that everybody sees.
    fn is_dense(&self, table: &T) -> bool {
        let tombstones = table.tombstones();
        tombstones > 0
            && tombstones.saturating_mul(TOMBSTONE_WORTH) >= table.versions()
            && table.max_ts() <= self.shape.oldest
    }

    /// Whether nothing below `level` overlaps `span`.
    fn is_bottom(&self, level: usize, span: &Span<'_>) -> bool {
        (level + 1..=self.last).all(|below| self.overlapping(below, span).next().is_none())
    }

    fn overlapping<'s>(&self, level: usize, span: &'s Span<'s>) -> impl Iterator<Item = &'a T> + use<'a, 's, T> {
        self.run(level).into_iter().flat_map(|run| run.overlapping(span))
    }
}

fn bytes_of<T: Sorted>(levels: &[Vec<Run<T>>], level: usize) -> u64 {
    levels.get(level).map_or(0, |runs| runs.iter().map(Run::bytes).sum())
}
