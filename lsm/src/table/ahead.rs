//! Read-ahead: which bytes of a table will be read soon, told from the blocks that had to be read. Pure: it reads and asks for nothing itself.
//!
//! Tables are read here and there by gets, so the system is told not to guess ([`duramen_base::vfs::File::expect_random_reads`]): its guesses read up to
//! 128 KiB for a block. Scans that go on for a while know better than it could, and so do merges, which ask only while somebody writes (MG5 of
//! `merge.rs`).
//!
//! AH1  What is told lies in the file, at the block being read or where the scan goes from there, up or down; nothing is told twice while blocks come in
//!      their order.

use std::ops::{Range, RangeInclusive};

/// So much is told at once, little at first, then each time twice as much; the next when half of it was read.
const BYTES: RangeInclusive<u64> = 32 << 10..=256 << 10;
/// So many blocks a scan must have read in their order behind a first one: most scans are over by then.
const SCAN_BLOCKS: u32 = 3;
/// Between blocks in their order lie filter and index parts.
const GAP_MAX: u64 = 128 << 10;

/// What a cursor has read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    /// Blocks that came in their order behind the first.
    in_order: u32,
    goes_down: bool,
    /// The block that was read last.
    start: u64,
    end: u64,
    /// Up to where it was told, or down to where.
    told: u64,
    /// How much was told last.
    window: u64,
}

impl Ahead {
    /// Takes note that `block` is about to be read; what to expect from now on, if that is new.
    pub(crate) fn next(&mut self, block: Range<u64>, file_end: u64) -> Option<Range<u64>> {
        let is_above = (self.end..=self.end + GAP_MAX).contains(&block.start);
        let is_below = (self.start.saturating_sub(GAP_MAX)..=self.start).contains(&block.end);
        let goes_on = if self.goes_down { is_below } else { is_above };
        if !goes_on {
            // Another stretch begins here, or with the block before if that is where it turned.
            (self.in_order, self.window) = (0, 0);
            self.goes_down = is_below;
            self.told = if is_below { block.end } else { block.start };
        }
        self.in_order += u32::from(is_above || is_below);
        (self.start, self.end) = (block.start, block.end);
        if self.goes_down { self.tell_below() } else { self.tell_above(file_end) }
    }

    fn tell_above(&mut self, file_end: u64) -> Option<Range<u64>> {
        self.told = self.told.max(self.start);
        if self.in_order < SCAN_BLOCKS || self.end + self.window / 2 <= self.told {
            return None;
        }
        self.grow();
        let range = self.told..(self.told + self.window).min(file_end);
        self.told = range.end.max(self.told);
        (!range.is_empty()).then_some(range)
    }

    fn tell_below(&mut self) -> Option<Range<u64>> {
        self.told = self.told.min(self.end);
        if self.in_order < SCAN_BLOCKS || self.told + self.window / 2 <= self.start {
            return None;
        }
        self.grow();
        let range = self.told.saturating_sub(self.window)..self.told;
        self.told = range.start;
        (!range.is_empty()).then_some(range)
    }

    fn grow(&mut self) {
        self.window = (self.window * 2).clamp(*BYTES.start(), *BYTES.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 8 << 10;
    const MOST: u64 = *BYTES.end();

    fn told(ahead: &mut Ahead, blocks: impl Iterator<Item = u64>, file_end: u64) -> Vec<Range<u64>> {
        blocks.filter_map(|at| ahead.next(at..at + BLOCK, file_end)).collect()
    }

    #[test]
    fn a_long_scan_is_told_the_table_once_and_ahead_of_its_reads() {
        let (first, file_end) = (10 * MOST, 15 * MOST + 100);
        let fourth = first + 3 * BLOCK;
        let (mut ahead, mut known) = (Ahead::default(), fourth);
        for at in (first..file_end - BLOCK).step_by(BLOCK as usize) {
            if let Some(range) = ahead.next(at..at + BLOCK, file_end) {
                assert_eq!(range.start, known, "AH1");
                known = range.end;
            }
            let lies_ahead = if at < first + 2 * MOST { BLOCK } else { MOST / 2 };
            assert!(at < fourth || known >= (at + BLOCK + lies_ahead).min(file_end), "half of it lies ahead");
        }
        assert_eq!(known, file_end, "AH1");
    }

    #[test]
    fn a_long_scan_down_is_told_the_table_once_and_ahead_of_its_reads() {
        let (last, file_end) = (5 * MOST, 100 * MOST);
        let fourth = last - 3 * BLOCK;
        let (mut ahead, mut known) = (Ahead::default(), fourth + BLOCK);
        for at in (0..=last).rev().step_by(BLOCK as usize) {
            if let Some(range) = ahead.next(at..at + BLOCK, file_end) {
                assert_eq!(range.end, known, "AH1");
                known = range.start;
            }
            let lies_ahead = if at > last - 2 * MOST { BLOCK } else { MOST / 2 };
            assert!(at > fourth || known <= at.saturating_sub(lies_ahead), "half of it lies ahead");
        }
        assert_eq!(known, 0, "AH1");
    }

    #[test]
    fn a_scan_is_told_nothing_before_its_fourth_block_in_order_and_little_then() {
        let mut ahead = Ahead::default();
        let far = 100 * MOST;
        assert!(told(&mut ahead, [9 * MOST, MOST, 5 * MOST].into_iter(), far).is_empty(), "gets");
        let scan = (0..4).map(|block| 20 * MOST + block * BLOCK);
        let fourth = 20 * MOST + 3 * BLOCK;
        assert_eq!(told(&mut ahead, scan, far).first(), Some(&(fourth..fourth + BYTES.start())), "AH1");
    }

    #[test]
    fn a_scan_that_turns_is_told_what_lies_the_other_way() {
        let (middle, far) = (20 * MOST, 100 * MOST);
        let at = |block: u64| middle + block * BLOCK;
        let mut ahead = Ahead::default();
        let up = told(&mut ahead, (0..5).map(at), far);
        assert!(matches!(&up[..], [only] if *only == (at(3)..at(3) + BYTES.start())), "{up:?}");
        let down = told(&mut ahead, (0..4).rev().map(at), far);
        assert!(matches!(&down[..], [first, ..] if first.end == at(2)), "AH1: {down:?}");
    }
}
