//! Read-ahead: which leaves will be read soon, and having the disk read them while others are worked on.
//!
//! A drain knows its next changes, and a scan that went on for a while goes on for longer: both would wait for one leaf after the other. So they
//! have the disk asked for the next ones, by the page ids in the inner pages above and the addresses in the page table. Nothing is read into memory
//! here, and what the disk makes of it changes no answer.
//!
//! RA1  Only leaves that are not here are asked for, and in a scan none that lies wholly outside its bounds.
//! RA2  A scan asks for nothing before its fourth leaf that must be read, then for some behind it, for the next when half of them were read, and each
//!      time for twice as many up to a maximum: in all for less than three times what it has read. A scan in memory never comes here.
//! RA3  No latch of a page, nor `structure`, is held while the disk is asked. Inner pages are looked at without any, and are hints (U3).

use std::ops::{Bound, Range, RangeInclusive};

use duramen_base::KeyBounds;
use duramen_base::image::Image;
use duramen_base::sync::published::{Lent, Pinned};

use crate::cursor::{Way, is_outside};
use crate::pid_table::{Page, ROOT_PID};
use crate::read::Target;
use crate::store::Store;
use crate::units::UNIT_BYTES;

/// RA2: so many leaves a scan must have read before.
const SCAN_LEAVES: u32 = 3;
/// So many leaves behind the one being read are asked for, few at first.
const WINDOW: RangeInclusive<usize> = 4..=32;

/// What a scan has read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScanAhead {
    /// Leaves that had to be read.
    read: u32,
    /// How far ahead of the leaf being read it asks.
    window: usize,
    /// Page id of the last leaf within that which needs no asking any more; 0: none.
    asked: u64,
}

impl ScanAhead {
    /// Takes note that a leaf must be read; whether that is worth a look ahead.
    fn goes_on(&mut self) -> bool {
        self.read = self.read.saturating_add(1);
        self.read > SCAN_LEAVES
    }

    /// Which of the leaves `behind` the one being read, nearest first, are to be asked for now.
    fn next<'a>(&mut self, behind: &'a [u64]) -> &'a [u64] {
        let asked = behind.iter().position(|&pid| pid == self.asked).map_or(0, |index| index + 1);
        if asked > self.window / 2 {
            return &[];
        }
        self.window = (self.window * 2).clamp(*WINDOW.start(), *WINDOW.end());
        let next = &behind[asked..self.window.clamp(asked, behind.len())];
        self.asked = next.last().copied().unwrap_or(self.asked);
        next
    }
}

impl Store {
    /// For a scan that must read the leaf of `target` and goes on from there.
    pub(crate) fn ask_ahead(&self, ahead: &mut ScanAhead, target: Target<'_>, way: Way, bounds: &KeyBounds<'_>) {
        if ahead.goes_on() {
            let behind = self.leaves_behind(target, way, bounds);
            self.expect_leaves(ahead.next(&behind).iter().copied());
        }
    }

    /// Page ids of the leaves behind that of `target`, nearest first, as far as the inner pages above are here.
    fn leaves_behind(&self, target: Target<'_>, way: Way, bounds: &KeyBounds<'_>) -> Vec<u64> {
        let pin = Pinned::new();
        let mut behind = Vec::with_capacity(*WINDOW.end());
        let Some(mut parent) = self.parent_of_leaf(target, &pin) else { return behind };
        let mut from = Some(target.child_index(&parent));
        let end = end_of_scan(way, bounds);
        loop {
            let (count, end) = (parent.count(), end.child_index(&parent));
            let room = WINDOW.end() - behind.len();
            let (fence, next_target) = match way {
                Way::Up => {
                    let first = from.take().map_or(0, |index| index + 1);
                    behind.extend((first..end + 1).take(room).map(|index| parent.child(index)));
                    (parent.high_fence(), Target::At(parent.high_fence()))
                }
                Way::Down => {
                    let first = from.take().unwrap_or(count);
                    behind.extend((end..first).rev().take(room).map(|index| parent.child(index)));
                    (parent.low_fence(), Target::Before(parent.low_fence()))
                }
            };
            if behind.len() == *WINDOW.end() || fence.is_empty() || is_outside(bounds, fence, way) {
                return behind;
            }
            let Some(next) = self.parent_of_leaf(next_target, &pin) else { return behind };
            parent = next;
        }
    }

    /// Page id of the leaf of `key`, if all pages above it are here.
    pub(crate) fn leaf_pid(&self, key: &[u8]) -> Option<u64> {
        let pin = Pinned::new();
        let parent = self.parent_of_leaf(Target::At(key), &pin)?;
        Some(parent.child(parent.child_index(key)))
    }

    /// The inner page above the leaf of `target`, if all of them are here and it is no root that is a leaf (RA3).
    fn parent_of_leaf<'p>(&self, target: Target<'_>, pin: &'p Pinned) -> Option<Lent<'p, Image>> {
        let mut image = self.pages.slot(ROOT_PID)?.shown(pin)?;
        while image.level() > 1 {
            let below = self.pages.slot(image.child(target.child_index(&image)))?.shown(pin)?;
            if below.level() + 1 != image.level() {
                return None; // U3
            }
            image = below;
        }
        (image.level() == 1).then_some(image)
    }

    /// Where a page lies in the file, if it must be read (RA1).
    pub(crate) fn place_to_read(&self, pid: u64) -> Option<Range<u64>> {
        match &*self.pages.slot(pid)?.read() {
            Page::OnDisk(addr) => Some(addr.unit * UNIT_BYTES as u64..addr.end() * UNIT_BYTES as u64),
            Page::Resident(_) | Page::Free => None,
        }
    }

    /// Has the disk read those of these leaves that are not here: neighbours in the file at once.
    pub(crate) fn expect_leaves(&self, pids: impl Iterator<Item = u64>) {
        let mut places: Vec<Range<u64>> = pids.filter_map(|pid| self.place_to_read(pid)).collect();
        places.sort_unstable_by_key(|place| place.start);
        places.dedup();
        for together in places.chunk_by(|place, next| place.end == next.start) {
            let start = together[0].start;
            self.file.expect_read(start, together[together.len() - 1].end - start);
        }
    }
}

/// The last leaf of a scan.
fn end_of_scan<'a>(way: Way, bounds: &KeyBounds<'a>) -> Target<'a> {
    match (way, bounds.upper, bounds.lower) {
        (Way::Up, Bound::Excluded(key), _) if !key.is_empty() => Target::Before(key),
        (Way::Up, Bound::Included(key) | Bound::Excluded(key), _) => Target::At(key),
        (Way::Up, Bound::Unbounded, _) => Target::Last,
        (Way::Down, _, Bound::Included(key) | Bound::Excluded(key)) => Target::At(key),
        (Way::Down, _, Bound::Unbounded) => Target::At(&[]),
    }
}
