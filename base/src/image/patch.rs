//! A new image from an old one with a few records changed: what stays is copied in runs, not record by record.
//!
//! Not an edit in place (an image is immutable), and not a decision: the caller says what changes. Fences, and with them prefix, heads and suffixes of
//! all that stays, are those of the old image, so a run of records is three copies: its heads, its offsets moved by a constant, its bytes.
//! Wrong order from a caller would lose data silently, so it panics (IM2, IM3 of `mod.rs`).

use std::ops::Range;

use super::build::{Filling, Layout, filled, sealed};
use super::header::{HEADER_BYTES, Header, REFERS, UNIT_BYTES, head4};
use super::{Body, IMAGE_BYTES_MAX, Image, ImageKind, Record, record};
use crate::ids::Timestamp;
use crate::options::KEY_BYTES_MAX;

/// One main record that changes; see [`Image::patched`].
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What [`Image::search`] says of its key: `Ok` is replaced or removed, `Err` is where it comes in.
    pub place: Result<usize, usize>,
    /// The record from now on; `None`: none.
    pub record: Option<Record<'a>>,
}

/// A part of the main records of the new image, in their order.
enum Piece<'a> {
    /// Records of the old image.
    Kept(Range<usize>),
    Fresh(&'a Record<'a>),
}

/// An old image and what becomes of it.
struct Patch<'a> {
    old: &'a Image,
    changes: &'a [Change<'a>],
    /// The whole history from now on; `None`: as it was.
    history: Option<&'a [Record<'a>]>,
    base_ts: u64,
    count: usize,
    main_bytes: usize,
    hist_count: usize,
    hist_bytes: usize,
}

impl Image {
    /// This image with some main records changed (by key ascending) and, if `history` is given, with that as its whole history, in the order of
    /// [`ImageBuilder::push_history`](super::ImageBuilder::push_history). All else stays as it is. `None`: it would have more than `bytes_max` bytes, or
    /// more than [`IMAGE_BYTES_MAX`].
    ///
    /// ```
    /// use duramen_base::image::{Body, Change, ImageBuilder, ImageKind, ImageSpec, Record};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// builder.push(b"oak", Timestamp::new(5), Body::Value(b"hard"));
    /// let old = builder.finish();
    ///
    /// let elm = Record { suffix: b"elm", ts: Timestamp::new(6), body: Body::Value(b"tough") };
    /// let change = Change { place: old.search(b"elm"), record: Some(elm) };
    /// let new = old.patched(&[change], None, 4096).expect("it fits");
    /// assert_eq!((new.count(), new.record(0)), (2, elm));
    /// ```
    ///
    /// # Panics
    /// If a place is not that of its key, if keys do not ascend or lie outside the fences, if a key is too long or a tombstone has no ts, or if the
    /// history is out of order; also if this is not an image of records.
    pub fn patched(&self, changes: &[Change<'_>], history: Option<&[Record<'_>]>, bytes_max: usize) -> Option<Image> {
        assert!(self.kind().has_records(), "a {:?} image has one raw body", self.kind());
        let patch = Patch::new(self, changes, history);
        (patch.layout().data + patch.main_bytes + patch.hist_bytes <= bytes_max.min(IMAGE_BYTES_MAX))
            .then(|| patch.build())
    }

    /// Where main record `index` begins; where the last one ends if there is none.
    fn main_start(&self, index: usize) -> usize {
        let behind = || self.hist_offsets().first();
        let offset = self.offsets().get(index).or_else(behind);
        offset.map_or(self.bytes.len(), |&offset| usize::from(u16::from_le_bytes(offset)) * UNIT_BYTES)
    }

    /// Where the history begins.
    fn main_end(&self) -> usize {
        self.main_start(self.count())
    }

    /// The newest ts of all records, by looking at them.
    fn find_max_ts(&self) -> Timestamp {
        let main = (0..self.count()).map(|index| self.raw_record(index).ts);
        let history = (0..self.hist_count()).map(|index| self.raw_hist_record(index).ts);
        main.chain(history).max().unwrap_or_default()
    }
}

impl<'a> Patch<'a> {
    fn new(old: &'a Image, changes: &'a [Change<'a>], history: Option<&'a [Record<'a>]>) -> Patch<'a> {
        let fresh = || changes.iter().filter_map(|change| change.record.as_ref()).chain(history.unwrap_or_default());
        // What has no ts does not care which one distances are counted from.
        let base_ts = match old.max_ts() {
            Timestamp::ZERO => fresh().map(|record| record.ts.get()).find(|&ts| ts != 0).unwrap_or(0),
            _ => old.header.base_ts,
        };
        let mut patch = Patch {
            old,
            changes,
            history,
            base_ts,
            count: 0,
            main_bytes: 0,
            hist_count: old.hist_count(),
            hist_bytes: old.bytes.len() - old.main_end(),
        };
        fresh().for_each(|record| patch.check_record(record));
        patch.check_places();
        let (mut count, mut main_bytes) = (0, 0);
        patch.for_each_piece(|piece| match piece {
            Piece::Kept(run) => {
                count += run.len();
                main_bytes += old.main_start(run.end) - old.main_start(run.start);
            }
            Piece::Fresh(record) => {
                count += 1;
                main_bytes += patch.record_bytes(record);
            }
        });
        (patch.count, patch.main_bytes) = (count, main_bytes);
        if let Some(history) = history {
            patch.hist_count = history.len();
            patch.hist_bytes = history.iter().map(|record| patch.record_bytes(record)).sum();
        }
        patch
    }

    fn check_record(&self, record: &Record<'_>) {
        let (header, prefix_len) = (&self.old.header, usize::from(self.old.header.prefix_len));
        assert!(prefix_len + record.suffix.len() <= KEY_BYTES_MAX, "keys have at most {KEY_BYTES_MAX} bytes");
        assert!(*record.suffix >= self.old.low_fence()[prefix_len..], "IM2: keys are at or above the low fence");
        let is_below = header.hi_len == 0 || *record.suffix < self.old.high_fence()[prefix_len..];
        assert!(is_below, "IM2: keys are below the high fence");
        assert!(record.ts != Timestamp::ZERO || record.body != Body::Tombstone, "IM3: a tombstone has a ts");
    }

    /// That each change stands between its neighbours, old and new.
    fn check_places(&self) {
        let old = self.old;
        let (mut next, mut last) = (0, None);
        for change in self.changes {
            let (at, behind) = match change.place {
                Ok(index) => (index, index + 1),
                Err(index) => (index, index),
            };
            assert!(next <= at && behind <= old.count(), "IM2: changes are at places of this image, ascending");
            next = behind;
            let Some(record) = &change.record else { continue };
            let fits = match change.place {
                Ok(index) => old.suffix(index) == record.suffix,
                Err(index) => {
                    (index == 0 || old.suffix(index - 1) < record.suffix)
                        && (index == old.count() || record.suffix < old.suffix(index))
                }
            };
            assert!(fits && last.is_none_or(|last| last < record.suffix), "IM2: main records ascend strictly");
            last = Some(record.suffix);
        }
    }

    fn for_each_piece(&self, mut see: impl FnMut(Piece<'a>)) {
        let mut from = 0;
        for change in self.changes {
            let (at, behind) = match change.place {
                Ok(index) => (index, index + 1),
                Err(index) => (index, index),
            };
            see(Piece::Kept(from..at));
            from = behind;
            if let Some(record) = &change.record {
                see(Piece::Fresh(record));
            }
        }
        see(Piece::Kept(from..self.old.count()));
    }

    fn record_bytes(&self, record: &Record<'_>) -> usize {
        record::bytes(record.suffix.len(), record.ts, record.body, self.base_ts)
    }

    fn layout(&self) -> Layout {
        let header = &self.old.header;
        Layout::new(self.count, self.hist_count, usize::from(header.lo_len), usize::from(header.hi_len))
    }

    fn build(&self) -> Image {
        let layout = self.layout();
        let image = filled(layout.data + self.main_bytes + self.hist_bytes, |image| {
            image.zeros_to(layout.low);
            self.put_tables(&mut image.written()[HEADER_BYTES..], layout.data);
            let old_low = usize::from(self.old.header.lo_off) * UNIT_BYTES;
            image.put(&self.old.bytes[old_low..][..layout.data - layout.low]);
            self.put_records(image);
        });
        sealed(self.header(&layout, image.len()), image, |image| {
            if self.newest_fresh() < self.old.max_ts() {
                // The newest record may have been one of those that went.
                image.header.max_ts = image.find_max_ts();
            }
        })
    }

    fn header(&self, layout: &Layout, bytes: usize) -> Header {
        Header {
            image_len: bytes as u32,
            write_seq: 0,
            max_ts: self.newest_fresh(),
            base_ts: self.base_ts,
            count: self.count as u16,
            hist_count: self.hist_count as u16,
            lo_off: (layout.low / UNIT_BYTES) as u16,
            hi_off: (layout.high / UNIT_BYTES) as u16,
            data_off: (layout.data / UNIT_BYTES) as u16,
            flags: self.flags(),
            ..self.old.header
        }
    }

    fn flags(&self) -> u16 {
        let refers =
            self.old.kind() == ImageKind::Leaf && self.fresh().any(|record| matches!(record.body, Body::Large(_)));
        self.old.header.flags | if refers { REFERS } else { 0 }
    }

    fn fresh(&self) -> impl Iterator<Item = &Record<'a>> {
        let main = self.changes.iter().filter_map(|change| change.record.as_ref());
        main.chain(self.history.unwrap_or_default())
    }

    fn newest_fresh(&self) -> Timestamp {
        self.fresh().map(|record| record.ts).max().unwrap_or_default()
    }

    /// Heads and offsets. The records will begin at `data`.
    fn put_tables(&self, tables: &mut [u8], data: usize) {
        let (heads, offsets) = tables.split_at_mut(4 * self.count);
        let (heads, offsets) = (heads.as_chunks_mut::<4>().0, offsets.as_chunks_mut::<2>().0);
        let (mut index, mut start) = (0, data);
        self.for_each_piece(|piece| match piece {
            Piece::Kept(run) => {
                heads[index..][..run.len()].copy_from_slice(&self.old.heads()[run.clone()]);
                move_offsets(
                    &self.old.offsets()[run.clone()],
                    self.old.main_start(run.start),
                    &mut offsets[index..],
                    start,
                );
                start += self.old.main_start(run.end) - self.old.main_start(run.start);
                index += run.len();
            }
            Piece::Fresh(record) => {
                heads[index] = head4(record.suffix).to_be_bytes();
                offsets[index] = unit(start).to_le_bytes();
                start += self.record_bytes(record);
                index += 1;
            }
        });
        let offsets = &mut offsets[index..];
        match self.history {
            None => move_offsets(self.old.hist_offsets(), self.old.main_end(), offsets, start),
            Some(history) => {
                for (offset, record) in offsets.iter_mut().zip(history) {
                    *offset = unit(start).to_le_bytes();
                    start += self.record_bytes(record);
                }
            }
        }
    }

    fn put_records(&self, image: &mut Filling<'_>) {
        let (old, mut bytes) = (self.old, Vec::new());
        self.for_each_piece(|piece| match piece {
            Piece::Kept(run) => image.put(&old.bytes[old.main_start(run.start)..old.main_start(run.end)]),
            Piece::Fresh(record) => image.put(self.encoded(record, &mut bytes)),
        });
        match self.history {
            None => image.put(&old.bytes[old.main_end()..]),
            Some(history) => history.iter().for_each(|record| image.put(self.encoded(record, &mut bytes))),
        }
    }

    /// The bytes of a record, in `bytes`.
    fn encoded<'b>(&self, record: &Record<'_>, bytes: &'b mut Vec<u8>) -> &'b [u8] {
        bytes.clear();
        record::put(bytes, record.suffix, record.ts, record.body, self.base_ts);
        bytes
    }
}

fn unit(at: usize) -> u16 {
    (at / UNIT_BYTES) as u16
}

/// Copies the offsets of a run that began at `from` and will begin at `to`.
fn move_offsets(old: &[[u8; 2]], from: usize, new: &mut [[u8; 2]], to: usize) {
    let shift = unit(to).wrapping_sub(unit(from));
    for (new, old) in new.iter_mut().zip(old) {
        *new = u16::from_le_bytes(*old).wrapping_add(shift).to_le_bytes();
    }
}
