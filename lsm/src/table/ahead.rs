//! Read-ahead: which bytes of a table will be read soon, told from the blocks that had to be read. Pure: it reads and asks for nothing itself.
//!
//! Tables are read here and there by gets, so the system is told not to guess ([`duramen_base::vfs::File::expect_random_reads`]): its guesses read up to
//! 128 KiB for a block. Scans that go on for a while know better than it could. Merges do, too, and are told nothing: with read-ahead they are done
//! sooner, and readers and writers of data beyond memory get less of the disk meanwhile, as measured.
//!
//! AH1  What is told lies in the file, at or behind the block being read; nothing is told twice while blocks come in their order.

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
    /// End of the block that was read last.
    end: u64,
    /// Up to where it was told.
    told: u64,
}

impl Ahead {
    /// Takes note that `block` is about to be read; what to expect from now on, if that is new.
    pub(crate) fn next(&mut self, block: Range<u64>, file_end: u64) -> Option<Range<u64>> {
        let is_in_order = (self.end..=self.end + GAP_MAX).contains(&block.start);
        (self.in_order, self.told) =
            if is_in_order { (self.in_order + 1, self.told.max(block.start)) } else { (0, block.start) };
        self.end = block.end;
        if self.in_order < SCAN_BLOCKS || self.end + BYTES / 2 <= self.told {
            return None;
        }
        let told = self.told..(self.told + BYTES).min(file_end);
        self.told = told.end.max(self.told);
        (!told.is_empty()).then_some(told)
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
    fn backwards_nothing_is_told() {
        let down = (0..50).rev().map(|block| 10 * BYTES + block * BLOCK);
        assert!(told(&mut Ahead::default(), down, 100 * BYTES).is_empty());
    }
}
