//! The page image: one format for B-tree pages, LSM blocks and page-map chunks.
//!
//! An image is immutable: whoever changes a page builds another. It knows keys, versions and fences, not trees and tables, and it reads no file:
//! bytes in, checked image out.
//!
//! ```text
//!   header      192 bytes (`header.rs`)
//!   heads       [u32; count]       first 4 bytes of each main key behind the prefix, big-endian, zeros behind a shorter one
//!   offsets     [u16; count]       of the main records, in units of 4 bytes, little-endian
//!   hist        [u16; hist_count]  of the history records
//!   low fence, high fence          each from a multiple of 4
//!   records     main, then history (`record.rs`), each from a multiple of 4; or the one raw body
//! ```
//! Gaps are zero, each part begins where the one before it ends, and the last one ends the image.
//!
//! IM1  An [`Image`] was checked from end to end when it was made; its accessors cannot fail, and cost no check of content.
//! IM2  Main records: one per key, keys strictly ascending, all in `low fence..high fence`, all beginning with the prefix.
//! IM3  History: by key ascending, then ts descending, each older than the key's main record. The newest version of a key is its main record, or a
//!     tombstone in the history. A record without ts (zero, "frozen") is older than every commit, and a value.
//! IM4  Inner pages: the first key is the low fence, every value a page id (u64 little-endian), no history, level above 0.
//! IM5  References to values in files are in table data, and in leaves whose header says that there may be some.
//!
//! Next: `search.rs` (the read path), `near.rs` (what it looks at first), `build.rs`, `patch.rs` (a few records changed), `check.rs`, `docs/format/base.md`.

mod build;
mod check;
mod header;
mod key_buffer;
mod near;
mod patch;
mod record;
mod search;
#[cfg(test)]
mod tests;
mod words;

pub use build::{ImageBuilder, ImageSpec};
pub use key_buffer::KeyBuffer;
pub use patch::Change;
pub use words::{Body, Identity, ImageFault, ImageKind, Located, Lookup, Record};

use std::mem::offset_of;
use std::ops::{Deref, Range};

use crate::arena::{Counted, Room};
use crate::ids::Timestamp;
use crate::values::LargeRef;
use header::{HEADER_BYTES, Header, UNIT_BYTES};
use near::Near;
use record::RawRecord;

/// Bytes of the largest image.
pub const IMAGE_BYTES_MAX: usize = 256 * 1024;

/// An immutable, checked page. Main records: one per key, ascending, the newest version of each. History records: older versions (and, in
/// B-tree leaves, tombstones of deleted keys), by key ascending, then ts descending.
///
/// ```
/// use duramen_base::image::{Body, Identity, Image, ImageBuilder, ImageKind, ImageSpec, Lookup};
/// use duramen_base::Timestamp;
/// let ts = Timestamp::new;
/// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
/// let mut builder = ImageBuilder::new(&spec);
/// builder.push(b"oak", ts(5), Body::Value(b"hard"));
/// let stored = builder.finish().to_stored(1);
///
/// let parent_says = Identity { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, write_seq: 1 };
/// let image = Image::decode(stored, &parent_says).expect("what was just stored");
/// let Lookup::Value { range, ts: newest } = image.lookup(b"oak", ts(9)) else { panic!("it is there") };
/// assert_eq!((&image.bytes()[range], newest), (&b"hard"[..], ts(5)));
/// assert_eq!(image.lookup(b"oak", ts(4)), Lookup::Absent);
/// ```
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Image {
    bytes: Room,
    /// First eight bytes of the low fence, as `hi_head` of the high one: most keys are compared with both fences, and stripped of the prefix that these
    /// share, without a look into `bytes`.
    lo_head: u64,
    /// The header in the machine's own words, so that a lookup begins without parsing.
    header: Header,
    near: Near,
}

/// A lookup reads the first line of an image, then its hints, which are the second.
const LINE_BYTES: usize = 64;
const _: () =
    assert!(offset_of!(Image, header) + offset_of!(Header, hints) == LINE_BYTES && align_of::<Image>() == LINE_BYTES);

/// Images of many sizes that come and go leave an eighth of the arena idle, as measured.
const IDLE_PART: usize = 8;

/// Bytes that are copied at once where few are asked for: a fixed number costs a fraction of a call.
const AT_ONCE: usize = 16;

impl Image {
    /// Checks bytes read from a file: length, checksum, identity, and every offset and order inside. Total.
    ///
    /// `bytes` must end with the image ([`Image::stored_len`] tells where that is). Where there are many, read them into a [`Room`]: others are copied.
    pub fn decode(bytes: impl Deref<Target = [u8]> + Into<Room>, expect: &Identity) -> Result<Image, ImageFault> {
        let header = Header::decode(&bytes)?;
        header.check_identity(expect)?;
        let mut image = Image::new(header, bytes.into());
        image.fill_near();
        check::check(&image)?;
        image.note_low_fence();
        Ok(image)
    }

    /// Of bytes that may be no image yet.
    fn new(header: Header, bytes: Room) -> Image {
        Image { bytes, lo_head: 0, header, near: Near::EMPTY }
    }

    /// Notes how the low fence begins, once it is known to be there.
    fn note_low_fence(&mut self) {
        self.lo_head = header::head8(self.low_fence());
    }

    /// The bytes to write to a file, stamped with `write_seq` and checksummed.
    pub fn to_stored(&self, write_seq: u32) -> Vec<u8> {
        let mut stored = self.bytes.to_vec();
        header::stamp(&mut stored, write_seq);
        stored
    }

    /// Stored length that the first 64 bytes of a stored image announce, to read the rest; checked against the limit.
    pub fn stored_len(head: &[u8]) -> Result<usize, ImageFault> {
        header::stored_len(head)
    }

    /// All bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory it takes, for the memory budget: its rooms, and its part of what lies idle between the rooms of others.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        let rooms = self.bytes.memory_bytes() + Counted::<Image>::MEMORY_BYTES;
        rooms + rooms / IDLE_PART
    }

    /// What it holds.
    #[inline]
    pub fn kind(&self) -> ImageKind {
        self.header.kind
    }

    /// Page id, or offset of the block in its table.
    #[inline]
    pub fn self_id(&self) -> u64 {
        self.header.self_id
    }

    /// Keyspace.
    pub fn ks_id(&self) -> u32 {
        self.header.ks_id
    }

    /// Write sequence it was stored with; zero if it never was.
    pub fn write_seq(&self) -> u32 {
        self.header.write_seq
    }

    /// Whether a record may be a reference to a value in a file; if not, none is.
    #[inline]
    pub fn may_refer(&self) -> bool {
        self.kind() == ImageKind::TableData || self.header.flags & header::REFERS != 0
    }

    /// The references among its records, of the history too.
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::{Timestamp, values::LargeRef};
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// let large = LargeRef { id: 7, len: 20_000, crc: 9 };
    /// builder.push(b"elm", Timestamp::new(4), Body::Value(b"tough"));
    /// builder.push(b"oak", Timestamp::new(5), Body::Large(large));
    /// let image = builder.finish();
    /// assert!(image.may_refer());
    /// assert_eq!(image.references().collect::<Vec<_>>(), [large]);
    /// ```
    pub fn references(&self) -> impl Iterator<Item = LargeRef> + '_ {
        let (count, hist_count) = if self.may_refer() { (self.count(), self.hist_count()) } else { (0, 0) };
        let main = (0..count).map(|index| self.raw_record(index));
        let history = (0..hist_count).map(|index| self.raw_hist_record(index));
        main.chain(history).filter_map(|record| record.large(&self.bytes))
    }

    /// Height above the leaves.
    #[inline]
    pub fn level(&self) -> u8 {
        self.header.level
    }

    /// Right sibling; zero: none.
    #[inline]
    pub fn right_pid(&self) -> u64 {
        self.header.right_pid
    }

    /// Low fence (inclusive; empty: none).
    #[inline]
    pub fn low_fence(&self) -> &[u8] {
        &self.bytes[usize::from(self.header.lo_off) * UNIT_BYTES..][..usize::from(self.header.lo_len)]
    }

    /// High fence (exclusive; empty: none).
    #[inline]
    pub fn high_fence(&self) -> &[u8] {
        &self.bytes[usize::from(self.header.hi_off) * UNIT_BYTES..][..usize::from(self.header.hi_len)]
    }

    /// Newest ts of any record, history included.
    #[inline]
    pub fn max_ts(&self) -> Timestamp {
        self.header.max_ts
    }

    /// Readers at or after this need no history: the newest of (successor ts of each older version, ts of each tombstone in the history of a key
    /// without main record). A reader that skips the history does not learn when such a key was deleted; [`Image::newest_ts`] does.
    #[inline]
    pub fn hist_max_ts(&self) -> Timestamp {
        self.header.hist_max_ts
    }

    /// What all keys here start with.
    #[inline]
    pub fn prefix(&self) -> &[u8] {
        &self.bytes[usize::from(self.header.lo_off) * UNIT_BYTES..][..usize::from(self.header.prefix_len)]
    }

    /// Number of main records.
    #[inline]
    pub fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    /// Number of history records.
    #[inline]
    pub fn hist_count(&self) -> usize {
        usize::from(self.header.hist_count)
    }

    /// Main record `index`.
    ///
    /// # Panics
    /// If there is no such record; so do all that take an index.
    #[inline]
    pub fn record(&self, index: usize) -> Record<'_> {
        self.shown(self.raw_record(index))
    }

    /// History record `index`.
    #[inline]
    pub fn hist_record(&self, index: usize) -> Record<'_> {
        self.shown(self.raw_hist_record(index))
    }

    /// Replaces `key` by the full key of main record `index`.
    #[inline]
    pub fn key_into(&self, index: usize, key: &mut Vec<u8>) {
        self.full_key_into(self.suffix(index), key);
    }

    /// Replaces `key` by the full key of history record `index`.
    pub fn hist_key_into(&self, index: usize, key: &mut Vec<u8>) {
        self.full_key_into(self.hist_suffix(index), key);
    }

    /// Where the value of main record `index` lies in `bytes()`; empty for a tombstone.
    #[inline]
    pub fn value_range(&self, index: usize) -> Range<usize> {
        self.raw_record(index).value
    }

    /// Where main record `index` lies: for who needs its key and its value, or the same parts again.
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec, KeyBuffer};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"a", high: b"az" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// builder.push(b"ash", Timestamp::new(5), Body::Value(b"grey"));
    /// let image = builder.finish();
    /// let located = image.locate(0);
    /// assert_eq!((image.prefix(), image.suffix_at(located), image.value_at(located)), (&b"a"[..], &b"sh"[..], &b"grey"[..]));
    /// let mut key = KeyBuffer::default();
    /// key.set(b"apple");
    /// image.change_key(located, &mut key);
    /// assert_eq!(*key, *b"ash");
    /// ```
    #[inline(always)]
    pub fn locate(&self, index: usize) -> Located {
        let RawRecord { suffix, value, .. } = self.raw_record(index);
        Located { suffix: suffix.start as u32, value: value.start as u32, end: value.end as u32 }
    }

    /// As [`Image::locate`], if the record is a value, one that lies here, written at or before `at`.
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::TableData, self_id: 64, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// builder.push(b"ash", Timestamp::new(5), Body::Value(b"grey"));
    /// builder.push(b"oak", Timestamp::new(6), Body::Tombstone);
    /// let image = builder.finish();
    /// assert_eq!(image.locate_value(0, Timestamp::new(5)), Some(image.locate(0)));
    /// assert_eq!((image.locate_value(0, Timestamp::new(4)), image.locate_value(1, Timestamp::new(9))), (None, None));
    /// ```
    #[inline(always)]
    pub fn locate_value(&self, index: usize, at: Timestamp) -> Option<Located> {
        let record = self.raw_record(index);
        let (suffix, value) = (&record.suffix, &record.value);
        let located = Located { suffix: suffix.start as u32, value: value.start as u32, end: value.end as u32 };
        (record.ts <= at && record.is_plain_value()).then_some(located)
    }

    /// The key of a record of this image, without the prefix.
    #[inline]
    pub fn suffix_at(&self, located: Located) -> &[u8] {
        &self.bytes[located.suffix as usize..located.value as usize]
    }

    /// The value of a record of this image; empty for a tombstone.
    #[inline]
    pub fn value_at(&self, located: Located) -> &[u8] {
        &self.bytes[located.value_range()]
    }

    /// Makes `key`, which holds a key of this image, the key of another of its records: all begin with the same prefix.
    #[inline(always)]
    pub fn change_key(&self, located: Located, key: &mut KeyBuffer) {
        let prefix_len = usize::from(self.header.prefix_len);
        let (suffix, value) = (located.suffix as usize, located.value as usize);
        let few = self.bytes.get(suffix..suffix + AT_ONCE).zip(key.bytes.get_mut(prefix_len..prefix_len + AT_ONCE));
        match few {
            // What is copied beyond the suffix lies beyond the key.
            Some((from, to)) if value - suffix <= AT_ONCE => to.copy_from_slice(from),
            _ => key.put(prefix_len, self.suffix_at(located)),
        }
        key.len = prefix_len + (value - suffix);
    }

    /// Where the value of history record `index` lies in `bytes()`.
    #[inline]
    pub fn hist_value_range(&self, index: usize) -> Range<usize> {
        self.raw_hist_record(index).value
    }

    /// Inner pages: child page id `index`.
    ///
    /// # Panics
    /// If there is no such child, or the page is no inner one.
    #[inline]
    pub fn child(&self, index: usize) -> u64 {
        let pid =
            self.bytes[self.value_range(index)].first_chunk().expect("IM4: the values of an inner page are page ids");
        u64::from_le_bytes(*pid)
    }

    /// The raw body of a `Filter`, `MapChunk` or `Raw` image; empty for the others.
    pub fn raw_body(&self) -> &[u8] {
        match self.kind().has_records() {
            true => &[],
            false => &self.bytes[usize::from(self.header.data_off) * UNIT_BYTES..],
        }
    }

    #[inline]
    fn heads(&self) -> &[[u8; 4]] {
        self.bytes[HEADER_BYTES..][..4 * self.count()].as_chunks().0
    }

    #[inline]
    fn offsets(&self) -> &[[u8; 2]] {
        self.bytes[HEADER_BYTES + 4 * self.count()..][..2 * self.count()].as_chunks().0
    }

    #[inline]
    fn hist_offsets(&self) -> &[[u8; 2]] {
        self.bytes[HEADER_BYTES + 6 * self.count()..][..2 * self.hist_count()].as_chunks().0
    }

    #[inline(always)]
    fn raw_record(&self, index: usize) -> RawRecord {
        assert!(index < self.count(), "there is no such record");
        self.read(HEADER_BYTES + 4 * self.count() + 2 * index)
    }

    /// The same for a lookup, which has asked for its offset before.
    #[inline(always)]
    fn near_record(&self, index: usize) -> RawRecord {
        self.read_at(self.near_offset(index))
    }

    #[inline]
    fn raw_hist_record(&self, index: usize) -> RawRecord {
        assert!(index < self.hist_count(), "there is no such history record");
        self.read(HEADER_BYTES + 6 * self.count() + 2 * index)
    }

    /// The record whose offset stands at `at`. Inlined, so that who needs one part of it pays for that one.
    #[inline(always)]
    fn read(&self, at: usize) -> RawRecord {
        let units = u16::from_le_bytes(self.bytes[at..at + 2].try_into().expect("two bytes"));
        self.read_at(units)
    }

    #[inline(always)]
    fn read_at(&self, units: u16) -> RawRecord {
        let record = record::read(&self.bytes, usize::from(units) * UNIT_BYTES, self.header.base_ts);
        record.expect("IM1: every record was read once")
    }

    #[inline]
    fn suffix(&self, index: usize) -> &[u8] {
        &self.bytes[self.raw_record(index).suffix]
    }

    #[inline]
    fn hist_suffix(&self, index: usize) -> &[u8] {
        &self.bytes[self.raw_hist_record(index).suffix]
    }

    #[inline]
    fn shown(&self, record: RawRecord) -> Record<'_> {
        let body = match record.is_plain_value() {
            true => Body::Value(&self.bytes[record.value.clone()]),
            false => record.large(&self.bytes).map_or(Body::Tombstone, Body::Large),
        };
        Record { suffix: &self.bytes[record.suffix], ts: record.ts, body }
    }

    #[inline]
    fn full_key_into(&self, suffix: &[u8], key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix());
        key.extend_from_slice(suffix);
    }
}
