//! Range tombstones of a table: one or more `RangeTombstones` images.
//!
//! ```text
//!   main record := key = low end, ts = the newest tombstone of the fragment, value = high end (empty: no end)
//!   history     := key = low end, ts = an older one, empty value
//! ```
//! Fragments do not overlap and ascend, over all images in the order in which the properties name them.

use duramen_base::image::{Body, Image, ImageBuilder, ImageKind, ImageSpec};

use super::{RECORD_OVERHEAD_BYTES, RECORDS_BYTES_MAX, fences};
use duramen_base::memtable::{Fragment, RangeTombs};

/// Splits the fragments into groups that each fit an image.
pub(crate) fn groups<'a>(tombs: &'a RangeTombs) -> Vec<Vec<Fragment<'a>>> {
    let mut groups: Vec<Vec<Fragment<'a>>> = Vec::new();
    let mut weight = 0;
    for fragment in tombs.fragments() {
        let bytes = fragment.high.len() + fragment.tss.len() * (fragment.low.len() + RECORD_OVERHEAD_BYTES);
        match groups.last_mut() {
            Some(group) if weight + bytes <= RECORDS_BYTES_MAX => group.push(fragment),
            _ => {
                weight = 0;
                groups.push(vec![fragment]);
            }
        }
        weight += bytes;
    }
    groups
}

/// The image of one group, to be stored at `offset`.
pub(crate) fn build(group: &[Fragment<'_>], offset: u64, ks_id: u32) -> Image {
    let first = group.first().map_or(&[][..], |fragment| fragment.low);
    let last = group.last().map_or(&[][..], |fragment| fragment.low);
    let (low, high) = fences(first, last);
    let kind = ImageKind::RangeTombstones;
    let mut builder =
        ImageBuilder::new(&ImageSpec { kind, self_id: offset, ks_id, level: 0, right_pid: 0, low, high: &high });
    for fragment in group {
        let (newest, older) = fragment.tss.split_first().expect("a fragment has a tombstone");
        builder.push(fragment.low, *newest, Body::Value(fragment.high));
        older.iter().for_each(|&ts| builder.push_history(fragment.low, ts, Body::Value(b"")));
    }
    builder.finish()
}

/// Adds the fragments of an image to `tombs`; false if one is out of order. Total.
pub(crate) fn read_into(image: &Image, tombs: &mut RangeTombs) -> bool {
    let mut low = Vec::new();
    for index in 0..image.count() {
        image.key_into(index, &mut low);
        let record = image.record(index);
        let Body::Value(high) = record.body else { return false };
        if !high.is_empty() && *low >= *high {
            return false;
        }
        let older = image.hist_range(&low).map(|index| image.hist_record(index).ts);
        let tss: Vec<_> = std::iter::once(record.ts).chain(older).collect();
        tombs.insert_all(&low, high, &tss, None);
    }
    true
}
