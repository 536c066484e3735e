//! Which 4 KiB units of `tree.dat` are free. Pure memory: nothing of it is on disk, it is worked out when the file is opened.
//!
//! A2  A unit is either free, or named by the durable superblock or by the checkpoint in progress; never two of them.
//! A3  Free extents are not adjacent to one another, and none touches the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::map::DiskAddr;

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: usize = 4096;
/// Units at the start that hold the two superblocks.
pub(crate) const SUPERBLOCK_UNITS: u64 = 2;

/// Sizes of free extents that are compared for the lowest place.
const FIT_SIZES_MAX: usize = 32;

/// The free units. What is low is used first, so that the end of the file comes free.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Units {
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
    end: u64,
}

/// Units that `bytes` take.
pub(crate) fn units_for(bytes: usize) -> u8 {
    u8::try_from(bytes.div_ceil(UNIT_BYTES)).expect("an image has at most 64 units")
}

impl Units {
    /// Everything behind the superblocks is free.
    pub(crate) fn new() -> Units {
        Units { by_start: BTreeMap::new(), by_len: BTreeSet::new(), end: SUPERBLOCK_UNITS }
    }

    /// All is free but `used`; an error names a place that is used twice.
    pub(crate) fn from_used(mut used: Vec<DiskAddr>) -> Result<Units, DiskAddr> {
        used.sort_unstable_by_key(|addr| addr.unit);
        let mut units = Units::new();
        for addr in used {
            if addr.unit < units.end {
                return Err(addr);
            }
            let (start, len) = (units.end, addr.unit - units.end);
            units.end = addr.unit + u64::from(addr.units);
            if len > 0 {
                units.insert(start, len);
            }
        }
        Ok(units)
    }

    /// First unit behind all that are used.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Number of free units below the end.
    pub(crate) fn free_count(&self) -> u64 {
        self.by_start.values().sum()
    }

    /// Number of used units from `bound` on.
    pub(crate) fn used_behind(&self, bound: u64) -> u64 {
        let free_behind = |(&start, &len): (&u64, &u64)| (start + len).saturating_sub(start.max(bound));
        self.end.saturating_sub(bound) - self.by_start.iter().map(free_behind).sum::<u64>()
    }

    /// Takes `count` units in a row, as low as there are any.
    pub(crate) fn allocate(&mut self, count: u8) -> u64 {
        self.allocate_below(count, u64::MAX).unwrap_or_else(|| {
            let start = self.end;
            self.end += u64::from(count);
            start
        })
    }

    /// Takes `count` free units in a row that end at or before `bound`, if there are any.
    pub(crate) fn allocate_below(&mut self, count: u8, bound: u64) -> Option<u64> {
        let count = u64::from(count);
        let fit =
            |sizes_max| self.lowest_fit(count, sizes_max).filter(|(start, _)| start.saturating_add(count) <= bound);
        // What lies before the bound may be long, and behind it there may be many sizes.
        let (start, len) = fit(FIT_SIZES_MAX).or_else(|| fit(usize::MAX))?;
        self.remove(start, len);
        if len > count {
            self.insert(start + count, len - count);
        }
        Some(start)
    }

    /// The lowest free extent of at least `count` units; of the sizes there are, only so many of the smallest that fit are compared.
    fn lowest_fit(&self, count: u64, sizes_max: usize) -> Option<(u64, u64)> {
        let first_from = |len: u64| self.by_len.range((len, 0)..).next().copied();
        let fitting = std::iter::successors(first_from(count), |(len, _)| first_from(len + 1));
        fitting.take(sizes_max).map(|(len, start)| (start, len)).min()
    }

    /// Takes these units, which must be free; whether they were.
    pub(crate) fn claim(&mut self, addr: DiskAddr) -> bool {
        let (start, end) = (addr.unit, addr.end());
        if start < SUPERBLOCK_UNITS {
            return false;
        }
        if start >= self.end {
            let (gap, len) = (self.end, start - self.end);
            self.end = end;
            if len > 0 {
                self.free_extent(gap, len);
            }
            return true;
        }
        let Some((&before, &len)) = self.by_start.range(..=start).next_back() else { return false };
        if before + len < end {
            return false;
        }
        self.remove(before, len);
        for (start, len) in [(before, start - before), (end, before + len - end)] {
            if len > 0 {
                self.insert(start, len);
            }
        }
        true
    }

    /// A gap that came to lie below the end, joined with a free extent before it (A3).
    fn free_extent(&mut self, mut start: u64, mut len: u64) {
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back()
            && before + before_len == start
        {
            self.remove(before, before_len);
            (start, len) = (before, before_len + len);
        }
        self.insert(start, len);
    }

    /// Gives units back.
    pub(crate) fn free(&mut self, addr: DiskAddr) {
        let (mut start, mut len) = (addr.unit, u64::from(addr.units));
        assert!(start >= SUPERBLOCK_UNITS && start + len <= self.end, "A2: units {start}+{len} were allocated");
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back() {
            assert!(before + before_len <= start, "A2: unit {start} is freed once");
            if before + before_len == start {
                self.remove(before, before_len);
                (start, len) = (before, before_len + len);
            }
        }
        if let Some((&after, &after_len)) = self.by_start.range(start..).next() {
            assert!(start + len <= after, "A2: unit {after} is freed once");
            if start + len == after {
                self.remove(after, after_len);
                len += after_len;
            }
        }
        if start + len == self.end {
            self.end = start; // A3
        } else {
            self.insert(start, len);
        }
    }

    fn insert(&mut self, start: u64, len: u64) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: u64, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(unit: u64, units: u8) -> DiskAddr {
        DiskAddr { unit, units, write_seq: 1 }
    }

    #[test]
    fn freed_units_are_used_again_and_neighbours_join() {
        let mut units = Units::new();
        let starts: Vec<u64> = (0..4).map(|_| units.allocate(3)).collect();
        assert_eq!(starts, [2, 5, 8, 11]);
        units.free(addr(2, 3));
        units.free(addr(8, 3));
        units.free(addr(5, 3));
        assert_eq!(units.free_count(), 9);
        assert_eq!(units.allocate(7), 2);
        assert_eq!(units.allocate(2), 9);
        assert_eq!(units.end(), 14);
        units.free(addr(11, 3));
        assert_eq!((units.end(), units.free_count()), (11, 0));
    }

    #[test]
    fn units_are_claimed_where_they_are_free() {
        let mut units = Units::from_used(vec![addr(9, 1), addr(4, 2)]).unwrap();
        assert!(!units.claim(addr(5, 1)) && !units.claim(addr(8, 2)) && !units.claim(addr(1, 1)));
        assert!(units.claim(addr(6, 2)) && !units.claim(addr(7, 1)));
        assert!(units.claim(addr(20, 3)));
        assert_eq!(units, Units::from_used(vec![addr(9, 1), addr(4, 2), addr(6, 2), addr(20, 3)]).unwrap());
    }

    #[test]
    fn the_lowest_extent_that_fits_is_taken() {
        let mut units = Units::new();
        for _ in 0..3 {
            units.allocate(10);
        }
        units.free(addr(2, 5));
        units.free(addr(12, 3));
        units.free(addr(20, 4));
        assert_eq!([units.used_behind(4), units.used_behind(22), units.used_behind(40)], [28 - 10, 8, 0]);
        assert_eq!(units.allocate_below(3, 4), None);
        assert_eq!([units.allocate(3), units.allocate(3), units.allocate(3)], [2, 12, 20]);
        assert_eq!((units.allocate_below(2, 7), units.allocate_below(2, 7)), (Some(5), None));
        assert_eq!([units.allocate(1), units.allocate(2)], [23, 32]);
    }

    #[test]
    fn a_long_extent_before_the_bound_is_found_behind_which_extents_have_many_sizes() {
        let mut units = Units::from_used((0..60).map(|i| addr(100 + i * i, 1)).collect()).unwrap();
        assert_eq!(units.allocate_below(1, 98), Some(2), "98 units are free before the first that is used");
    }

    #[test]
    fn what_is_not_used_is_free_and_double_use_is_found() {
        let units = Units::from_used(vec![addr(9, 1), addr(4, 2)]).unwrap();
        assert_eq!((units.end(), units.free_count()), (10, 2 + 3));
        assert_eq!(Units::from_used(vec![addr(4, 2), addr(5, 1)]), Err(addr(5, 1)));
        assert_eq!(Units::from_used(vec![addr(1, 1)]), Err(addr(1, 1)));
    }

    #[test]
    #[should_panic(expected = "A2")]
    fn a_unit_is_not_freed_twice() {
        let mut units = Units::new();
        units.allocate(4);
        units.allocate(1);
        units.free(addr(2, 4));
        units.free(addr(3, 1));
    }
}
