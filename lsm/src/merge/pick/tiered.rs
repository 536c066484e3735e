//! Runs of similar size, all in level 0: written least, read most.
//!
//! A run joins when it is not much larger than all the newer ones together, so a byte is rewritten about once for each doubling of the store,
//! and the number of runs stays about logarithmic.

use super::{Job, RUNS_LIMIT, RUNS_MIN, Reason, Sorted, TABLES_MAX};
use crate::version::Run;

/// Runs at which a merge is made even if sizes do not suit.
const RUNS_MAX: usize = 8;
const _: () = assert!(RUNS_MAX < RUNS_LIMIT && RUNS_LIMIT <= FAN_IN_MAX, "at the limit all runs may join one merge");
/// Runs merged at once, at most: one position and one block each.
const FAN_IN_MAX: usize = 16;
/// A run joins up to this many times the size of the newer ones.
const SIZE_RATIO: u64 = 2;

/// The next job of level 0.
pub(super) fn pick<T: Sorted>(runs: &[Run<T>]) -> Option<Job> {
    let sizes: Vec<(u64, usize)> = runs.iter().map(|run| (run.bytes(), run.all().count())).collect();
    let count = count(&sizes)?;
    let inputs = runs[..count].iter().flat_map(Run::all).map(Sorted::no).collect();
    Some(Job { inputs, to: 0, is_move: false, reason: Reason::Runs })
}

/// How many of the newest runs to merge, given (bytes, tables) of each, newest first; `None`: leave them.
fn count(runs: &[(u64, usize)]) -> Option<usize> {
    if runs.len() < RUNS_MIN {
        return None;
    }
    let is_crowded = runs.len() >= RUNS_MAX;
    let (mut count, mut bytes, mut tables) = (0, 0u64, 0);
    for &(run_bytes, run_tables) in runs.iter().take(FAN_IN_MAX) {
        let fits = run_bytes <= SIZE_RATIO.saturating_mul(bytes) || count == 0 || (is_crowded && count < RUNS_MIN);
        if !fits || (tables + run_tables > TABLES_MAX && count > 0) {
            break;
        }
        count += 1;
        bytes = bytes.saturating_add(run_bytes);
        tables += run_tables;
    }
    (count >= RUNS_MIN || (is_crowded && count >= 2)).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sizes: &[u64]) -> Option<usize> {
        count(&sizes.iter().map(|&bytes| (bytes, 1)).collect::<Vec<_>>())
    }

    #[test]
    fn few_runs_are_left() {
        assert_eq!(check(&[1, 1, 1]), None);
    }

    #[test]
    fn runs_of_similar_size_are_merged_and_large_ones_left() {
        assert_eq!(check(&[1, 1, 1, 1]), Some(4));
        assert_eq!(check(&[1, 1, 1, 1, 100]), Some(4));
        assert_eq!(check(&[1, 1, 1, 100]), None);
        assert_eq!(check(&[1, 1, 1, 5, 9]), Some(5));
    }

    #[test]
    fn a_crowd_is_merged_whatever_the_sizes() {
        assert_eq!(check(&[1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]), Some(4));
    }

    #[test]
    fn the_number_of_runs_stays_small() {
        let mut runs: Vec<u64> = Vec::new();
        let mut written = 0;
        for _ in 0..10_000 {
            runs.insert(0, 1);
            while let Some(count) = check(&runs) {
                let merged: u64 = runs.drain(..count).sum();
                written += merged;
                runs.insert(0, merged);
            }
            assert!(runs.len() < RUNS_MAX, "{runs:?}");
        }
        assert!(written < 10_000 * 14, "{written}");
    }
}
