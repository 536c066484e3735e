//! Whether an image is one: every offset, length and order inside. Total, without allocation.
//!
//! The layout leaves no choice (each part begins where the one before it ends), so the check walks the image once from front to end and
//! nothing can overlap, hide or be left over. Behind it the accessors of [`Image`] cannot fail (IM1).

use super::build::{Layout, common_prefix};
use super::header::{HEADER_BYTES, REFERS, UNIT_BYTES, head4, head8};
use super::record::{self, RawRecord};
use super::search::hints_of;
use super::{Image, ImageFault, ImageKind};
use crate::ids::Timestamp;
use crate::options::KEY_BYTES_MAX;

type Checked<T = ()> = Result<T, ImageFault>;

fn require(holds: bool, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(ImageFault::new(what)) }
}

/// Everything that the header alone does not show.
pub(super) fn check(image: &Image) -> Checked {
    let data = check_layout(image)?;
    check_fences(image)?;
    if !image.kind().has_records() {
        return check_raw(image);
    }
    let (main_end, main_max) = check_main(image, data)?;
    let (end, hist_max) = check_history(image, main_end)?;
    require(end == image.bytes.len(), "bytes behind the last record")?;
    require(main_max.max(hist_max) == image.max_ts(), "max_ts is not the newest ts of the records")?;
    require(history_max_ts(image)? == image.hist_max_ts(), "hist_max_ts is not that of the history")?;
    kind_rules(image)
}

/// That a raw image says nothing of records.
fn check_raw(image: &Image) -> Checked {
    let header = &image.header;
    require(image.count() + image.hist_count() == 0, "a raw image has no records")?;
    let newest = header.max_ts.max(header.hist_max_ts).get().max(header.base_ts);
    require(newest == 0 && header.hints.iter().all(|&hint| hint == u32::MAX), "a raw image has neither ts nor hints")
}

/// That each part stands where the lengths of those before it put it. Afterwards heads, offsets and fences can be read.
fn check_layout(image: &Image) -> Checked<usize> {
    let header = &image.header;
    let (low_bytes, high_bytes) = (usize::from(header.lo_len), usize::from(header.hi_len));
    require(low_bytes.max(high_bytes) <= KEY_BYTES_MAX, "a fence is longer than keys may be")?;
    let layout = Layout::new(image.count(), image.hist_count(), low_bytes, high_bytes);
    let units = |offset: u16| usize::from(offset) * UNIT_BYTES;
    require(layout.data <= image.bytes.len(), "the parts do not fit the image")?;
    let told = Layout { low: units(header.lo_off), high: units(header.hi_off), data: units(header.data_off) };
    require(told == layout, "a part is not where the lengths before it put it")?;
    let tables_end = HEADER_BYTES + 6 * image.count() + 2 * image.hist_count();
    for gap in [tables_end..layout.low, layout.low + low_bytes..layout.high, layout.high + high_bytes..layout.data] {
        require(image.bytes[gap].iter().all(|&byte| byte == 0), "a gap is not zero")?;
    }
    Ok(layout.data)
}

fn check_fences(image: &Image) -> Checked {
    let (low, high) = (image.low_fence(), image.high_fence());
    require(high.is_empty() || low < high, "the fences are out of order")?;
    require(usize::from(image.header.prefix_len) == common_prefix(low, high), "the prefix is not that of the fences")?;
    require(image.header.hi_head == head8(high), "hi_head is not that of the high fence")
}

/// Main records: in place, ascending, inside the fences, with their heads and hints. Where they end, and their newest ts.
fn check_main(image: &Image, data: usize) -> Checked<(usize, Timestamp)> {
    let (mut at, mut max_ts) = (data, Timestamp::ZERO);
    let mut last: Option<&[u8]> = None;
    for (offset, head) in image.offsets().iter().zip(image.heads()) {
        let (record, next) = check_record(image, *offset, at)?;
        let suffix = &image.bytes[record.suffix];
        require(last.is_none_or(|last| last < suffix), "main records do not ascend")?;
        require(u32::from_be_bytes(*head) == head4(suffix), "a head is not that of its key")?;
        max_ts = max_ts.max(record.ts);
        (last, at) = (Some(suffix), next);
    }
    if let Some(last) = last {
        check_inside_fences(image, image.suffix(0), last)?;
    }
    require(image.header.hints == hints_of(image.heads()), "a hint is not the head that it stands for")?;
    Ok((at, max_ts))
}

/// History records: in place, inside the fences. Their order is [`history_max_ts`]'s.
fn check_history(image: &Image, main_end: usize) -> Checked<(usize, Timestamp)> {
    let (mut at, mut max_ts) = (main_end, Timestamp::ZERO);
    for offset in image.hist_offsets() {
        let (record, next) = check_record(image, *offset, at)?;
        max_ts = max_ts.max(record.ts);
        at = next;
    }
    if let Some(last) = image.hist_count().checked_sub(1) {
        check_inside_fences(image, image.hist_suffix(0), image.hist_suffix(last))?;
    }
    Ok((at, max_ts))
}

/// One record that must begin at `at`; with where the next one begins.
fn check_record(image: &Image, offset: [u8; 2], at: usize) -> Checked<(RawRecord, usize)> {
    require(
        usize::from(u16::from_le_bytes(offset)) * UNIT_BYTES == at,
        "a record is not where the one before it ends",
    )?;
    let record =
        record::parse(&image.bytes, at, image.header.base_ts).ok_or(ImageFault::new("a record cannot be read"))?;
    require(image.may_refer() || !record.is_large(), "a reference to a value in a file, where none can be")?; // IM5
    let key_bytes = usize::from(image.header.prefix_len) + record.suffix.len();
    require(key_bytes <= KEY_BYTES_MAX, "a key is longer than keys may be")?;
    let next = record.value.end.next_multiple_of(UNIT_BYTES);
    let gap = image.bytes.get(record.value.end..next).ok_or(ImageFault::new("a record is cut off"))?;
    require(gap.iter().all(|&byte| byte == 0), "a gap is not zero")?;
    Ok((record, next))
}

fn check_inside_fences(image: &Image, first: &[u8], last: &[u8]) -> Checked {
    let prefix_len = usize::from(image.header.prefix_len);
    require(*first >= image.low_fence()[prefix_len..], "a key is below the low fence")?;
    let high = image.high_fence();
    require(high.is_empty() || *last < high[prefix_len..], "a key is at or above the high fence")
}

/// The newest ts that makes history needed: the successor's of each older version, its own for the tombstone of a key without main record.
/// Finds history that is out of order on the way (IM3). Every record must have been read once, and the main records must be in order.
pub(super) fn history_max_ts(image: &Image) -> Checked<Timestamp> {
    let mut newest = Timestamp::ZERO;
    let mut main = 0;
    let mut last: Option<(&[u8], Timestamp)> = None;
    // Little history is looked up; walking along all main records is for much of it.
    let is_sparse = image.hist_count() < image.count() / 8;
    for index in 0..image.hist_count() {
        let record = image.raw_hist_record(index);
        let suffix = &image.bytes[record.suffix.clone()];
        require(last.is_none_or(|(key, _)| key <= suffix), "history keys do not ascend")?;
        if is_sparse {
            main = image.search_suffix(suffix).unwrap_or_else(|place| place);
        }
        while main < image.count() && image.suffix(main) < suffix {
            main += 1;
        }
        let successor = match last {
            Some((key, ts)) if key == suffix => Some(ts),
            _ if main < image.count() && image.suffix(main) == suffix => Some(image.raw_record(main).ts),
            _ => None,
        };
        match successor {
            Some(successor) => require(record.ts < successor, "history is not older than what follows it")?,
            None => require(record.is_tombstone(), "the newest version of a key is in the history but no tombstone")?,
        }
        newest = newest.max(successor.unwrap_or(record.ts));
        last = Some((suffix, record.ts));
    }
    Ok(newest)
}

/// What a kind asks beyond the common rules (IM4).
pub(super) fn kind_rules(image: &Image) -> Checked {
    let is_flagged = image.header.flags & REFERS != 0;
    require(
        !is_flagged || image.kind() == ImageKind::Leaf,
        "an image that is no leaf says that it may have references",
    )?;
    match image.kind() {
        ImageKind::Leaf => require(image.level() == 0, "a leaf has level 0"),
        ImageKind::Inner => {
            require(image.level() > 0, "an inner page is above the leaves")?;
            require(image.count() > 0 && image.hist_count() == 0, "an inner page has children and no history")?;
            let low_suffix = &image.low_fence()[usize::from(image.header.prefix_len)..];
            require(image.suffix(0) == low_suffix, "the first child is not at the low fence")?;
            let is_child = |index| image.raw_record(index).is_plain_value() && image.value_range(index).len() == 8;
            require((0..image.count()).all(is_child), "a child is not a page id")
        }
        ImageKind::TableData
        | ImageKind::TableIndex
        | ImageKind::Filter
        | ImageKind::RangeTombstones
        | ImageKind::MapChunk
        | ImageKind::Raw => Ok(()),
    }
}
