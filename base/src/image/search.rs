//! Finding keys in an image: prefix, hints, heads, and only then whole keys.
//!
//! ```text
//!   key without the prefix: before or behind all records
//!   head = first 4 bytes behind the prefix
//!   hints (in the header) narrow to the records between two hints: one cache line of heads in a page of up to 272 records
//!   heads narrow to those with an equal head, mostly one
//!   these are compared whole
//! ```
//! Nothing here allocates. Scalar on purpose: out of cache, early exit beats both SIMD and branch-free search.

use std::cmp::Ordering;
use std::ops::Range;

use super::header::{HINT_COUNT, head4, head8};
use super::{Image, Lookup};
use crate::ids::Timestamp;
use crate::mutant;
use crate::prefetch::prefetch;

/// Records that are looked at one by one where a key is likely to be near.
const NEAR: usize = 6;

/// Distance between hints in a page of `count` records: the last interval is never longer than the others.
pub(super) fn hint_step(count: usize) -> usize {
    count / (HINT_COUNT + 1) + 1
}

/// The hints of a page with these heads.
pub(super) fn hints_of(heads: &[[u8; 4]]) -> [u32; HINT_COUNT] {
    let step = hint_step(heads.len());
    std::array::from_fn(|index| heads.get((index + 1) * step).map_or(u32::MAX, |head| u32::from_be_bytes(*head)))
}

impl Image {
    /// Whether `key` is at or above the high fence.
    pub fn is_past_high(&self, key: &[u8]) -> bool {
        if self.header.hi_len == 0 {
            return false;
        }
        match head8(key).cmp(&self.header.hi_head) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => key >= self.high_fence(),
        }
    }

    /// Whether `key` is below the low fence.
    fn is_below_low(&self, key: &[u8]) -> bool {
        match head8(key).cmp(&self.lo_head) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => !mutant!("low_fence_by_its_head_alone") && key < self.low_fence(),
        }
    }

    /// Whether `key` lies within the fences.
    ///
    /// ```
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"b", high: b"d" };
    /// let image = ImageBuilder::new(&spec).finish();
    /// assert!(image.encloses(b"b") && image.encloses(b"czz"));
    /// assert!(!image.encloses(b"azz") && !image.encloses(b"d"));
    /// ```
    #[inline]
    pub fn encloses(&self, key: &[u8]) -> bool {
        !self.is_below_low(key) && !self.is_past_high(key)
    }

    /// Index of the main record of `key`, or where it would be.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        match self.place_of(key) {
            Place::Before => Err(0),
            Place::Behind => Err(self.count()),
            Place::Inside(suffix) => self.search_suffix(suffix),
        }
    }

    /// The same for a key that is above all records before `from`, and likely to be near it: a few heads are looked at one by one first.
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// for key in [b"ash", b"elm", b"oak"] {
    ///     builder.push(key, Timestamp::new(5), Body::Value(b"tree"));
    /// }
    /// let image = builder.finish();
    /// assert_eq!((image.search_from(1, b"elm"), image.search_from(1, b"fir")), (Ok(1), Err(2)));
    /// ```
    pub fn search_from(&self, from: usize, key: &[u8]) -> Result<usize, usize> {
        let suffix = match self.place_of(key) {
            Place::Before => return Err(0),
            Place::Behind => return Err(self.count()),
            Place::Inside(suffix) => suffix,
        };
        let head = head4(suffix);
        let near = from..self.count().min(from + NEAR);
        for (index, other) in near.clone().zip(&self.heads()[near]) {
            let order = match u32::from_be_bytes(*other).cmp(&head) {
                Ordering::Equal => self.suffix(index).cmp(suffix),
                order => order,
            };
            match order {
                Ordering::Less => {}
                Ordering::Equal => return Ok(index),
                Ordering::Greater => return Err(index),
            }
        }
        self.search_suffix(suffix)
    }

    /// Whether main record `index` is that of `key`.
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"e", high: b"ez" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// builder.push(b"elm", Timestamp::new(5), Body::Value(b"tree"));
    /// let image = builder.finish();
    /// assert!(image.is_key(0, b"elm"));
    /// assert!(!image.is_key(0, b"el") && !image.is_key(0, b"elms") && !image.is_key(0, b"lm") && !image.is_key(0, b"alm"));
    /// ```
    ///
    /// # Panics
    /// If there is no such record.
    #[inline]
    pub fn is_key(&self, index: usize, key: &[u8]) -> bool {
        let (prefix, suffix) = (self.prefix(), self.suffix(index));
        key.len() == prefix.len() + suffix.len() && key.ends_with(suffix) && key.starts_with(prefix)
    }

    /// Inner pages: index of the child that covers `key` (the last record with key <= `key`; the first child's key is the low fence).
    pub fn child_index(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// History records of `key`, newest first.
    pub fn hist_range(&self, key: &[u8]) -> Range<usize> {
        match self.place_of(key) {
            Place::Before => 0..0,
            Place::Behind => self.hist_count()..self.hist_count(),
            Place::Inside(suffix) => {
                let start = partition(0..self.hist_count(), |index| self.hist_suffix(index) < suffix);
                let end = partition(start..self.hist_count(), |index| self.hist_suffix(index) == suffix);
                start..end
            }
        }
    }

    /// The newest version of `key` here with `ts <= at`.
    pub fn lookup(&self, key: &[u8], at: Timestamp) -> Lookup {
        if let Ok(index) = self.search(key) {
            let record = self.near_record(index);
            if record.ts <= at {
                return Lookup::of(record, self.bytes());
            }
        }
        if at >= self.hist_max_ts() {
            return Lookup::Absent;
        }
        let mut versions = self.hist_range(key).map(|index| self.raw_hist_record(index));
        versions.find(|record| record.ts <= at).map_or(Lookup::Absent, |record| Lookup::of(record, self.bytes()))
    }

    /// Newest ts at which `key` changed as far as this image knows (main record or newest history record); `None`: key unknown here.
    pub fn newest_ts(&self, key: &[u8]) -> Option<Timestamp> {
        match self.search(key) {
            Ok(index) => Some(self.raw_record(index).ts),
            Err(_) => self.hist_range(key).next().map(|index| self.raw_hist_record(index).ts),
        }
    }

    #[inline]
    fn place_of<'k>(&self, key: &'k [u8]) -> Place<'k> {
        let prefix_len = usize::from(self.header.prefix_len);
        if prefix_len <= size_of::<u64>()
            && let Some(suffix) = key.get(prefix_len..)
        {
            // Both heads without what lies behind the prefix. In two steps, as a word cannot be shifted by all its bits.
            let rest_bits = 8 * (size_of::<u64>() - prefix_len) as u32;
            let prefix_of = |head: u64| head >> (rest_bits / 2) >> (rest_bits - rest_bits / 2);
            return match prefix_of(head8(key)).cmp(&prefix_of(self.lo_head)) {
                Ordering::Less => Place::Before,
                Ordering::Equal => Place::Inside(suffix),
                Ordering::Greater => Place::Behind,
            };
        }
        let prefix = self.prefix();
        match key.strip_prefix(prefix) {
            Some(suffix) => Place::Inside(suffix),
            None if key < prefix => Place::Before,
            None => Place::Behind,
        }
    }

    /// [`Image::search`] for a key without its prefix.
    pub(super) fn search_suffix(&self, suffix: &[u8]) -> Result<usize, usize> {
        let head = head4(suffix);
        let near = self.narrow_by_hints(head);
        let Range { start: mut low, end: mut high } = match self.near_heads() {
            Some(heads) => with_head(head, near, |index| heads[index]),
            None => {
                // Their offsets lie on another line than their heads. Asked for now, it comes while the heads are compared.
                self.offsets().get(near.start).inspect(|offset| prefetch(*offset));
                let heads = self.heads();
                with_head(head, near, |index| u32::from_be_bytes(heads[index]))
            }
        };
        if low < high {
            self.ask_for_record(low); // all of it, while its key is compared
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.bytes[self.near_record(middle).suffix].cmp(suffix) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// A range with every record whose head is `head`, behind all smaller ones and before all larger ones that it leaves out.
    fn narrow_by_hints(&self, head: u32) -> Range<usize> {
        let (count, step) = (self.count(), hint_step(self.count()));
        let hints = &self.header.hints;
        let smaller = hints.iter().take_while(|&&hint| hint < head).count();
        let up_to = smaller + hints[smaller..].iter().take_while(|&&hint| hint == head).count();
        // Hint i is record (i + 1) * step. Hints that stand for no record are the largest number, so they never count as smaller.
        let start = if smaller == 0 { 0 } else { smaller * step + 1 };
        start.min(count)..((up_to + 1) * step).min(count)
    }
}

/// Where a key lies by the prefix of the image alone.
enum Place<'k> {
    Before,
    Inside(&'k [u8]),
    Behind,
}

/// The records of `near` whose head is `head`; where they would be, if there are none.
#[inline]
fn with_head(head: u32, near: Range<usize>, head_at: impl Fn(usize) -> u32) -> Range<usize> {
    let low = partition(near.clone(), |index| head_at(index) < head);
    // Mostly one record has this head, and looking at the next is cheaper than halving what is left.
    if low == near.end || head_at(low) != head {
        low..low
    } else if low + 1 == near.end || head_at(low + 1) != head {
        low..low + 1
    } else {
        low..partition(low..near.end, |index| head_at(index) == head)
    }
}

/// First index of `range` for which `is_low` does not hold; it holds for all before and none behind.
#[inline]
fn partition(range: Range<usize>, is_low: impl Fn(usize) -> bool) -> usize {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        if is_low(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
