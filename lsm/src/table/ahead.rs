//! Read-ahead: which bytes of a table will be read soon, told from the blocks that had to be read. Pure: it reads and asks for nothing itself.
//!
//! Tables are read here and there by gets, so the system is told not to guess ([`duramen_base::vfs::File::expect_random_reads`]): its guesses read up to
//! 128 KiB for a block. Scans that go on for a while know better than it could. Merges do, too, and are told nothing: with read-ahead they are done
//! sooner, and readers and writers of data beyond memory get less of the disk meanwhile, as measured.
//!
//! AH1  What is told lies in the file, at the block being read or where the scan goes from there, up or down; nothing is told twice while blocks come in
//!      their order.

use std::ops::Range;

/// So much is told at once; the next when half of it was read.
const BYTES: u64 = 256 << 10;
/// So many blocks a scan must have read in their order behind a first one: most scans are over by then.
const SCAN_BLOCKS: u32 = 2;
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
}

impl Ahead {
    /// Takes note that `block` is about to be read; what to expect from now on, if that is new.
    pub(crate) fn next(&mut self, block: Range<u64>, file_end: u64) -> Option<Range<u64>> {
        let is_above = (self.end..=self.end + GAP_MAX).contains(&block.start);
        let is_below = (self.start.saturating_sub(GAP_MAX)..=self.start).contains(&block.end);
        let goes_on = if self.goes_down { is_below } else { is_above };
        if !goes_on {
            // Another stretch begins here, or with the block before if that is where it turned.
            self.in_order = 0;
            self.goes_down = is_below;
            self.told = if is_below { block.end } else { block.start };
        }
        self.in_order += u32::from(is_above || is_below);
        (self.start, self.end) = (block.start, block.end);
        if self.goes_down { self.tell_below() } else { self.tell_above(file_end) }
    }

    fn tell_above(&mut self, file_end: u64) -> Option<Range<u64>> {
        self.told = self.told.max(self.start);
        if self.in_order < SCAN_BLOCKS || self.end + BYTES / 2 <= self.told {
            return None;
        }
        let range = self.told..(self.told + BYTES).min(file_end);
        self.told = range.end.max(self.told);
        (!range.is_empty()).then_some(range)
    }

    fn tell_below(&mut self) -> Option<Range<u64>> {
        self.told = self.told.min(self.end);
        if self.in_order < SCAN_BLOCKS || self.told + BYTES / 2 <= self.start {
            return None;
        }
        let range = self.told.saturating_sub(BYTES)..self.told;
        self.told = range.start;
        (!range.is_empty()).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 8 << 10;

    fn told(ahead: &mut Ahead, blocks: impl Iterator<Item = u64>, file_end: u64) -> Vec<Range<u64>> {
        blocks.filter_map(|at| ahead.next(at..at + BLOCK, file_end)).collect()
    }

    #[test]
    fn a_long_scan_is_told_the_table_once_and_ahead_of_its_reads() {
        let (first, file_end) = (10 * BYTES, 15 * BYTES + 100);
        let mut ahead = Ahead::default();
        let mut known = first + 2 * BLOCK;
        for at in (first..file_end - BLOCK).step_by(BLOCK as usize) {
            if let Some(range) = ahead.next(at..at + BLOCK, file_end) {
                assert_eq!(range.start, known, "AH1");
                known = range.end;
            }
            assert!(at < first + 2 * BLOCK || known >= (at + BLOCK + BYTES / 2).min(file_end), "half of it lies ahead");
        }
        assert_eq!(known, file_end, "AH1");
    }

    #[test]
    fn a_scan_is_told_nothing_before_its_third_block_in_order() {
        let mut ahead = Ahead::default();
        let far = 100 * BYTES;
        assert!(told(&mut ahead, [9 * BYTES, BYTES, 5 * BYTES].into_iter(), far).is_empty(), "gets");
        let scan = (0..4).map(|block| 20 * BYTES + block * BLOCK);
        let third = 20 * BYTES + 2 * BLOCK;
        assert_eq!(told(&mut ahead, scan, far).first(), Some(&(third..third + BYTES)), "AH1");
    }

    #[test]
    fn a_long_scan_down_is_told_the_table_once_and_ahead_of_its_reads() {
        let (last, file_end) = (5 * BYTES, 100 * BYTES);
        let mut ahead = Ahead::default();
        let mut known = last - BLOCK;
        for at in (0..=last).rev().step_by(BLOCK as usize) {
            if let Some(range) = ahead.next(at..at + BLOCK, file_end) {
                assert_eq!(range.end, known, "AH1");
                known = range.start;
            }
            assert!(at + 2 * BLOCK > last || known <= at.saturating_sub(BYTES / 2), "half of it lies ahead");
        }
        assert_eq!(known, 0, "AH1");
    }

    #[test]
    fn a_scan_that_turns_is_told_what_lies_the_other_way() {
        let (middle, far) = (20 * BYTES, 100 * BYTES);
        let at = |block: u64| middle + block * BLOCK;
        let mut ahead = Ahead::default();
        let up = told(&mut ahead, (0..6).map(at), far);
        assert!(matches!(&up[..], [only] if *only == (at(2)..at(2) + BYTES)), "{up:?}");
        let down = told(&mut ahead, (0..5).rev().map(at), far);
        assert_eq!(down.iter().map(|range| range.end).collect::<Vec<_>>(), [at(4)], "AH1: {down:?}");
    }
}
