//! Columns: what lies over each other from level 0 down, as far as no table beside it shares a key with it.
//!
//! A column goes down alone: so a job brings at once what has piled up over some keys, and what lies below them is written anew once for all of it; and no
//! job has to be as large as a level. Runs of level 0 that were cut anywhere would make one column of everything; so whoever writes a run there, or tables
//! below it, ends tables at the same fences.
//!
//! CO1  Columns share no key. In order of keys, they are all tables of the runs asked about.
//! CO2  Fences lie at ends of tables below, and where the newest run of level 0 was cut there, too: one that was set stays as long as half of
//!      `column_bytes` lie before it. Others are set behind `column_bytes`, and also within what has grown to twice that.
//! CO3  While commits come, a column is worth a merge if it has half as many bytes in level 0 as there are below it: it is written twice for each then.
//! CO4  Columns beside each other go down together as long as all of them fit into half a job: little tables become one.
//!
//! Not here: which level is below, and what a job may read (`leveled.rs`).

use duramen_base::mutant;

use super::Sorted;
use crate::span::{End, Span};
use crate::version::Run;

/// Bytes below for each in level 0, at most, if a column is worth a merge (CO3).
const BELOW_WORTH: u64 = 2;

/// Tables that lie over each other.
#[derive(Debug)]
pub(super) struct Column<'a, T> {
    /// Those of level 0.
    pub(super) zero: Vec<&'a T>,
    /// Those of the levels below.
    pub(super) below: Vec<&'a T>,
    /// Of how many runs of level 0.
    pub(super) height: usize,
    end: End<'a>,
}

impl<T: Sorted> Column<'_, T> {
    pub(super) fn zero_bytes(&self) -> u64 {
        self.zero.iter().map(|table| table.bytes()).sum()
    }

    pub(super) fn below_bytes(&self) -> u64 {
        self.below.iter().map(|table| table.bytes()).sum()
    }

    /// How much of it lies in level 0, in parts of 1024.
    pub(super) fn share(&self) -> u64 {
        let own = self.zero_bytes();
        own.saturating_mul(1024) / (own + self.below_bytes()).max(1)
    }

    /// CO3.
    pub(super) fn is_worth(&self) -> bool {
        self.zero_bytes().saturating_mul(BELOW_WORTH) >= self.below_bytes()
    }
}

/// The columns of these runs of level 0 and of levels below, by key (CO1).
pub(super) fn columns<'a, T: Sorted>(
    zero: &'a [Run<T>],
    below: impl Iterator<Item = &'a Run<T>>,
) -> Vec<Column<'a, T>> {
    let tables = |(place, run): (Option<usize>, &'a Run<T>)| run.all().map(move |table| (place, table));
    let zero = zero.iter().enumerate().map(|(place, run)| (Some(place), run));
    let mut all: Vec<(Option<usize>, &T)> = zero.chain(below.map(|run| (None, run))).flat_map(tables).collect();
    all.sort_by(|(_, one), (_, other)| one.span().low.cmp(other.span().low));
    let mut columns: Vec<Column<'a, T>> = Vec::new();
    let mut places = Vec::new();
    for (place, table) in all {
        let Span { low, end } = table.span();
        if columns.last().is_none_or(|column| column.end.is_below(low)) {
            columns.push(Column { zero: Vec::new(), below: Vec::new(), height: 0, end });
            places.clear();
        }
        let column = columns.last_mut().expect("just made, if there was none");
        column.end = column.end.max(end);
        let Some(place) = place else {
            column.below.push(table);
            continue;
        };
        column.zero.push(table);
        if !places.contains(&place) {
            places.push(place);
        }
        column.height = places.len();
    }
    columns
}

/// The same with neighbours joined that go down together (CO4).
pub(super) fn joined<T: Sorted>(columns: Vec<Column<'_, T>>, bytes_max: u64) -> Vec<Column<'_, T>> {
    let mut joined: Vec<Column<'_, T>> = Vec::new();
    for column in columns {
        let is_small = |before: &Column<'_, T>| {
            let bytes = before.zero_bytes() + before.below_bytes() + column.zero_bytes() + column.below_bytes();
            !before.zero.is_empty() && !column.zero.is_empty() && bytes <= bytes_max
        };
        if let Some(before) = joined.last_mut().filter(|before| is_small(before) && !mutant!("move_little_tables")) {
            before.zero.extend(column.zero);
            before.below.extend(column.below);
            before.height = before.height.max(column.height);
            before.end = column.end;
        } else {
            joined.push(column);
        }
    }
    joined
}

/// Keys behind which tables over `below` are to end, ascending, if the newest run of level 0 is `newest` (CO2).
pub(super) fn fences<T: Sorted>(newest: &[Run<T>], below: &Run<T>, column_bytes: u64) -> Vec<Vec<u8>> {
    let mut fences = Vec::new();
    let mut passed_bytes = 0;
    let mut pass = |bytes: u64, end: End<'_>, enough: u64| {
        passed_bytes += bytes;
        // Where a range tombstone ends, no key does.
        if let End::With(key) = end
            && passed_bytes >= enough
        {
            passed_bytes = 0;
            fences.push(key.to_vec());
        }
    };
    for column in columns(newest, std::iter::once(below)) {
        let bytes = column.below_bytes();
        if column.zero.is_empty() || bytes >= 2 * column_bytes {
            column.below.iter().for_each(|table| pass(table.bytes(), table.span().end, column_bytes));
        } else {
            pass(bytes, column.end, (column_bytes / 2).max(1));
        }
    }
    fences
}
