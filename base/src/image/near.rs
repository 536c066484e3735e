//! Heads and offsets of a page's main records a second time: in the machine's own words, at a fixed distance from its header.
//!
//! A lookup out of cache waits for one line after the other: header and hints, then heads, then the record. Where the heads lie in the bytes of the image
//! only its header tells; these lie where whoever knows the image knows, so [`Image::ask_for_lookup`] has all of them come while the header does. Nothing of
//! this is on disk.
//!
//! N1  Of an image with up to [`NEAR_RECORDS_MAX`] main records, entry i is head and offset of main record i, as its bytes have them. A larger image,
//!     mostly an inner page, which stays in cache, has nothing here.

use super::Image;
use super::header::{HEADER_BYTES, UNIT_BYTES};
use crate::mutant;
use crate::prefetch::prefetch;

/// As many records of 116 bytes as a page of 16 KiB has room for.
pub(super) const NEAR_RECORDS_MAX: usize = 128;
const LINE_BYTES: usize = 64;
/// Lines of a record that are asked for before it is read: all of one of 116 bytes.
const RECORD_LINES: usize = 3;

/// See the module.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Near {
    heads: [u32; NEAR_RECORDS_MAX],
    offsets: [u16; NEAR_RECORDS_MAX],
}

impl Near {
    pub(super) const EMPTY: Near = Near { heads: [0; NEAR_RECORDS_MAX], offsets: [0; NEAR_RECORDS_MAX] };
}

impl Image {
    /// Fills it (N1). Total: of bytes that end before their heads and offsets do, which are no image, it takes what there is.
    pub(super) fn fill_near(&mut self) {
        if !self.has_near() || mutant!("near_is_left_empty") {
            return;
        }
        let Image { near, bytes, header, .. } = self;
        let (heads, offsets) =
            bytes[HEADER_BYTES..].split_at_checked(4 * usize::from(header.count)).unwrap_or_default();
        let offsets = offsets.as_chunks().0.iter().take(usize::from(header.count));
        near.heads.iter_mut().zip(heads.as_chunks().0).for_each(|(to, head)| *to = u32::from_be_bytes(*head));
        near.offsets.iter_mut().zip(offsets).for_each(|(to, offset)| *to = u16::from_le_bytes(*offset));
    }

    #[inline]
    fn has_near(&self) -> bool {
        self.count() <= NEAR_RECORDS_MAX
    }

    /// The heads of all main records, if they are here.
    #[inline]
    pub(super) fn near_heads(&self) -> Option<&[u32]> {
        self.near.heads.get(..self.count())
    }

    /// The offset of main record `index` in units of 4 bytes.
    #[inline]
    pub(super) fn near_offset(&self, index: usize) -> u16 {
        match self.has_near() {
            true => self.near.offsets[index],
            false => u16::from_le_bytes(self.offsets()[index]),
        }
    }

    /// Has main record `index` come from memory, as much of it as is likely to be one of many, without waiting for it; nothing, if there is no such record.
    /// For one that will be read after something else: of records read one behind the other the processor sees that itself.
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// builder.push(b"oak", Timestamp::new(5), Body::Value(b"tree"));
    /// let image = builder.finish();
    /// image.ask_for_record(0);
    /// image.ask_for_record(1);
    /// assert_eq!(image.search(b"oak"), Ok(0));
    /// ```
    #[inline]
    pub fn ask_for_record(&self, index: usize) {
        if index < self.count() {
            let start = usize::from(self.near_offset(index)) * UNIT_BYTES;
            let lines = (0..RECORD_LINES).filter_map(|line| self.bytes.get(start + line * LINE_BYTES));
            lines.for_each(prefetch);
        }
    }

    /// Has what a lookup looks at before the record come from memory all at once, without waiting for any of it. For an image that is likely to be out of
    /// cache and about to be searched; changes nothing.
    ///
    /// ```
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let image = ImageBuilder::new(&spec).finish();
    /// image.ask_for_lookup();
    /// assert_eq!(image.search(b"oak"), Err(0));
    /// ```
    #[inline(always)]
    pub fn ask_for_lookup(&self) {
        prefetch(self);
        prefetch(&self.header.hints);
        self.near.heads.iter().step_by(LINE_BYTES / size_of::<u32>()).for_each(prefetch);
        self.near.offsets.iter().step_by(LINE_BYTES / size_of::<u16>()).for_each(prefetch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Timestamp;
    use crate::image::{Body, Identity, ImageBuilder, ImageKind, ImageSpec};

    #[test]
    fn near_heads_and_offsets_are_those_of_the_bytes() {
        for count in [0, 1, NEAR_RECORDS_MAX, NEAR_RECORDS_MAX + 1] {
            let spec = ImageSpec {
                kind: ImageKind::Leaf,
                self_id: 7,
                ks_id: 1,
                level: 0,
                right_pid: 0,
                low: b"k",
                high: b"kz",
            };
            let mut builder = ImageBuilder::new(&spec);
            for index in 0..count {
                builder.push(format!("k{index:05}").as_bytes(), Timestamp::new(3), Body::Value(b"v"));
            }
            let built = builder.finish();
            let expect = Identity { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, write_seq: 1 };
            let read = Image::decode(built.to_stored(1), &expect).expect("what was just stored");
            for image in [&built, &read] {
                let (heads, offsets) = (image.heads(), image.offsets());
                assert_eq!(image.near_heads().is_some(), count <= NEAR_RECORDS_MAX, "N1");
                for index in 0..count {
                    assert_eq!(image.near_offset(index), u16::from_le_bytes(offsets[index]), "N1");
                    if let Some(near) = image.near_heads() {
                        assert_eq!(near[index], u32::from_be_bytes(heads[index]), "N1");
                    }
                    assert_eq!(image.search(format!("k{index:05}").as_bytes()), Ok(index));
                }
            }
        }
    }

    #[test]
    fn what_lies_within_the_fences_is_told_by_whole_keys() {
        let keys = [
            "",
            "a",
            "ab",
            "ab\0",
            "abc",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefghij",
            "abcdefghik",
            "abcdefgz",
            "b",
            "b\0\0\0\0\0\0\0\0\0",
        ];
        let fences = keys.iter().flat_map(|low| keys.iter().map(move |high| (low.as_bytes(), high.as_bytes())));
        for (low, high) in fences.filter(|(low, high)| high.is_empty() || low < high) {
            let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low, high };
            let mut builder = ImageBuilder::new(&spec);
            let within = |key: &[u8]| low <= key && (high.is_empty() || key < high);
            let inside: Vec<&str> = keys.into_iter().filter(|key| within(key.as_bytes())).collect();
            inside.iter().for_each(|key| builder.push(key.as_bytes(), Timestamp::new(3), Body::Value(b"v")));
            let image = builder.finish();
            for key in keys {
                assert_eq!(image.encloses(key.as_bytes()), within(key.as_bytes()), "{key:?} in {low:?}..{high:?}");
                assert_eq!(image.search(key.as_bytes()), inside.binary_search(&key), "{key:?} in {low:?}..{high:?}");
            }
        }
    }
}
