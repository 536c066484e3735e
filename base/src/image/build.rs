//! Building an image from records in order.
//!
//! Not a decision about where pages split: it says how large the image is and would be ([`ImageBuilder::image_bytes_with`], an upper bound).
//! Wrong order from a caller would lose data silently, so it panics (IM2, IM3 of `mod.rs`).

use std::convert::Infallible;
use std::ops::Range;

use super::header::{HEADER_BYTES, HINT_COUNT, Header, REFERS, UNIT_BYTES, head4, head8};
use super::search::hints_of;
use super::{Body, IMAGE_BYTES_MAX, Image, ImageKind, check, record};
use crate::arena::Room;
use crate::ids::Timestamp;
use crate::options::KEY_BYTES_MAX;

/// What the header of a new image says.
#[derive(Clone, Copy, Debug)]
pub struct ImageSpec<'a> {
    /// Which kind.
    pub kind: ImageKind,
    /// Page id, or offset of the block in its table.
    pub self_id: u64,
    /// Keyspace.
    pub ks_id: u32,
    /// Height above the leaves: zero for leaves, more for inner pages, free for other kinds.
    pub level: u8,
    /// Right sibling; zero: none.
    pub right_pid: u64,
    /// Low fence (inclusive; empty: none). Every key pushed is at or above it.
    pub low: &'a [u8],
    /// High fence (exclusive; empty: none). Every key pushed is below it. Low and high decide the common prefix.
    pub high: &'a [u8],
}

/// Builds an image from records in order. Main records and history may be pushed in turns.
///
/// ```
/// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
/// use duramen_base::Timestamp;
/// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
/// let mut builder = ImageBuilder::new(&spec);
/// builder.push(b"oak", Timestamp::new(5), Body::Value(b"hard"));
/// builder.push_history(b"oak", Timestamp::new(3), Body::Value(b"soft"));
/// let image = builder.finish();
/// assert_eq!((image.count(), image.hist_count(), image.hist_max_ts()), (1, 1, Timestamp::new(5)));
/// ```
#[derive(Debug)]
pub struct ImageBuilder {
    header: Header,
    low: Vec<u8>,
    high: Vec<u8>,
    heads: Vec<u32>,
    main: Section,
    history: Section,
}

/// Records one behind the other, and where each begins.
#[derive(Debug, Default)]
struct Section {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    last_suffix: Range<usize>,
}

impl Section {
    fn push(&mut self, suffix: &[u8], ts: Timestamp, body: Body<'_>, base_ts: u64) {
        self.starts.push(self.bytes.len() as u32);
        self.last_suffix = record::put(&mut self.bytes, suffix, ts, body, base_ts);
    }

    fn last_suffix(&self) -> Option<&[u8]> {
        (!self.starts.is_empty()).then(|| &self.bytes[self.last_suffix.clone()])
    }
}

impl ImageBuilder {
    /// An empty image.
    ///
    /// # Panics
    /// If a fence is longer than keys may be, or the low one is not below the high one.
    pub fn new(spec: &ImageSpec<'_>) -> ImageBuilder {
        let (low, high) = (spec.low, spec.high);
        assert!(low.len().max(high.len()) <= KEY_BYTES_MAX, "fences are keys");
        assert!(high.is_empty() || low < high, "IM2: the low fence is below the high one");
        let header = Header {
            image_len: 0,
            kind: spec.kind,
            self_id: spec.self_id,
            ks_id: spec.ks_id,
            write_seq: 0,
            max_ts: Timestamp::ZERO,
            base_ts: 0,
            count: 0,
            hist_count: 0,
            prefix_len: common_prefix(low, high) as u16,
            lo_off: 0,
            lo_len: low.len() as u16,
            hi_off: 0,
            hi_len: high.len() as u16,
            data_off: 0,
            hi_head: head8(high),
            hist_max_ts: Timestamp::ZERO,
            right_pid: spec.right_pid,
            level: spec.level,
            hints: [u32::MAX; HINT_COUNT],
            flags: 0,
        };
        let (main, history) = (Section::default(), Section::default());
        ImageBuilder { header, low: low.to_vec(), high: high.to_vec(), heads: Vec::new(), main, history }
    }

    /// Appends a main record; keys strictly ascending.
    ///
    /// # Panics
    /// If the key is not above the last one, outside the fences or too long; if a tombstone has no ts.
    pub fn push(&mut self, key: &[u8], ts: Timestamp, body: Body<'_>) {
        self.note(key, ts, body);
        let suffix = &key[usize::from(self.header.prefix_len)..];
        assert!(self.main.last_suffix().is_none_or(|last| last < suffix), "IM2: main records ascend strictly");
        self.heads.push(head4(suffix));
        self.main.push(suffix, ts, body, self.header.base_ts);
    }

    /// Appends a history record; keys ascending, ts descending within a key, older than the key's main record if there is one; the newest of a
    /// key without main record is a tombstone. Frozen (zero) main records have no history.
    ///
    /// # Panics
    /// As [`ImageBuilder::push`]; a wrong order is found by [`ImageBuilder::finish`].
    pub fn push_history(&mut self, key: &[u8], ts: Timestamp, body: Body<'_>) {
        self.note(key, ts, body);
        self.history.push(&key[usize::from(self.header.prefix_len)..], ts, body, self.header.base_ts);
    }

    fn note(&mut self, key: &[u8], ts: Timestamp, body: Body<'_>) {
        assert!(self.header.kind.has_records(), "a {:?} image has one raw body", self.header.kind);
        assert!(key.len() <= KEY_BYTES_MAX, "keys have at most {KEY_BYTES_MAX} bytes");
        assert!(*key >= *self.low, "IM2: keys are at or above the low fence");
        assert!(self.high.is_empty() || *key < *self.high, "IM2: keys are below the high fence");
        assert!(ts != Timestamp::ZERO || body != Body::Tombstone, "IM3: a tombstone has a ts");
        if self.header.base_ts == 0 {
            self.header.base_ts = ts.get();
        }
        self.header.max_ts = self.header.max_ts.max(ts);
        if matches!(body, Body::Large(_)) && self.header.kind == ImageKind::Leaf {
            self.header.flags |= REFERS;
        }
    }

    /// Bytes the image has so far.
    pub fn image_bytes(&self) -> usize {
        let (count, hist_count) = (self.main.starts.len(), self.history.starts.len());
        self.layout(count, hist_count).data + self.main.bytes.len() + self.history.bytes.len()
    }

    /// Bytes it would have with one more record, main or history (an upper bound).
    ///
    /// ```
    /// use duramen_base::image::{Body, ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::Timestamp;
    /// let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let mut builder = ImageBuilder::new(&spec);
    /// let bound = builder.image_bytes_with(b"oak", Body::Value(b"hard"));
    /// builder.push(b"oak", Timestamp::new(5), Body::Value(b"hard"));
    /// assert!(builder.image_bytes() <= bound);
    /// ```
    pub fn image_bytes_with(&self, key: &[u8], body: Body<'_>) -> usize {
        let value_bytes = body.stored_bytes();
        let suffix_bytes = key.len().saturating_sub(usize::from(self.header.prefix_len));
        let data = self.layout(self.main.starts.len() + 1, self.history.starts.len()).data;
        data + self.main.bytes.len() + self.history.bytes.len() + record::bytes_max(suffix_bytes, value_bytes)
    }

    /// Main records so far.
    pub fn count(&self) -> usize {
        self.main.starts.len()
    }

    /// History records so far.
    pub fn hist_count(&self) -> usize {
        self.history.starts.len()
    }

    /// The image.
    ///
    /// # Panics
    /// If it is larger than [`IMAGE_BYTES_MAX`], if the history is out of order, or if an inner page does not begin with its low fence.
    pub fn finish(mut self) -> Image {
        let bytes = self.image_bytes();
        let layout = self.layout(self.main.starts.len(), self.history.starts.len());
        self.complete_header(bytes, &layout);
        let image = filled(bytes, |image| {
            let unit = |start: usize| ((layout.data + start) / UNIT_BYTES) as u16;
            image.zeros_to(HEADER_BYTES);
            self.heads.iter().for_each(|head| image.put(&head.to_be_bytes()));
            self.main.starts.iter().for_each(|&start| image.put(&unit(start as usize).to_le_bytes()));
            let main_bytes = self.main.bytes.len();
            self.history.starts.iter().for_each(|&start| image.put(&unit(main_bytes + start as usize).to_le_bytes()));
            self.put_fences(image, &layout);
            image.put(&self.main.bytes);
            image.put(&self.history.bytes);
        });
        sealed(self.header, image, |_| {})
    }

    /// An image with one raw body.
    ///
    /// ```
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 7, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// assert_eq!(ImageBuilder::raw(&spec, b"rings").raw_body(), b"rings");
    /// ```
    ///
    /// # Panics
    /// If the kind is one with records, or the image is larger than [`IMAGE_BYTES_MAX`].
    pub fn raw(spec: &ImageSpec<'_>, body: &[u8]) -> Image {
        assert!(!spec.kind.has_records(), "a {:?} image has records", spec.kind);
        let mut builder = ImageBuilder::new(spec);
        let layout = builder.layout(0, 0);
        builder.complete_header(layout.data + body.len(), &layout);
        let image = filled(layout.data + body.len(), |image| {
            image.zeros_to(HEADER_BYTES);
            builder.put_fences(image, &layout);
            image.put(body);
        });
        sealed(builder.header, image, |_| {})
    }

    fn layout(&self, count: usize, hist_count: usize) -> Layout {
        Layout::new(count, hist_count, self.low.len(), self.high.len())
    }

    /// Fills in the lengths and offsets of the header of an image of `bytes` bytes.
    fn complete_header(&mut self, bytes: usize, layout: &Layout) {
        assert!(bytes <= IMAGE_BYTES_MAX, "an image of {bytes} bytes: the limit is {IMAGE_BYTES_MAX}");
        let header = &mut self.header;
        header.image_len = bytes as u32;
        header.count = self.main.starts.len() as u16;
        header.hist_count = self.history.starts.len() as u16;
        header.lo_off = (layout.low / UNIT_BYTES) as u16;
        header.hi_off = (layout.high / UNIT_BYTES) as u16;
        header.data_off = (layout.data / UNIT_BYTES) as u16;
    }

    fn put_fences(&self, image: &mut Filling<'_>, layout: &Layout) {
        for (fence, at) in [(&self.low, layout.low), (&self.high, layout.high)] {
            image.zeros_to(at);
            image.put(fence);
        }
        image.zeros_to(layout.data);
    }
}

/// The bytes of an image, written from front to back.
pub(super) struct Filling<'r> {
    room: &'r mut [u8],
    len: usize,
}

impl Filling<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.room[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn zeros_to(&mut self, end: usize) {
        self.room[self.len..end].fill(0);
        self.len = end;
    }

    /// What was written so far.
    pub(super) fn written(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }
}

/// Room for an image of `bytes` bytes, all of which `fill` writes.
pub(super) fn filled(bytes: usize, fill: impl FnOnce(&mut Filling<'_>)) -> Room {
    let room = Room::filled(bytes, |room| {
        let mut image = Filling { room, len: 0 };
        fill(&mut image);
        assert_eq!(image.len, bytes, "an image has no bytes that were not written");
        Ok::<(), Infallible>(())
    });
    room.unwrap_or_else(|never| match never {})
}

/// The image of these bytes, whose first [`HEADER_BYTES`] are still to be written: works out what the header says of the records, and writes it.
/// `amend` may correct the header once the records can be read.
pub(super) fn sealed(header: Header, bytes: Room, amend: impl FnOnce(&mut Image)) -> Image {
    let mut image = Image::new(header, bytes);
    image.note_low_fence();
    image.fill_near();
    image.header.hints = hints_of(image.heads());
    amend(&mut image);
    match check::history_max_ts(&image) {
        Ok(hist_max_ts) => image.header.hist_max_ts = hist_max_ts,
        Err(fault) => panic!("IM3: {}", fault.0),
    }
    if let Err(fault) = check::kind_rules(&image) {
        panic!("IM4: {}", fault.0);
    }
    image.header.encode(&mut image.bytes);
    debug_assert_eq!(check::check(&image), Ok(()), "IM1: what is built can be read");
    image
}

/// Where the parts of an image begin. There is one place for each, so nothing can hide between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) data: usize,
}

impl Layout {
    pub(super) fn new(count: usize, hist_count: usize, low_bytes: usize, high_bytes: usize) -> Layout {
        let low = (HEADER_BYTES + 6 * count + 2 * hist_count).next_multiple_of(UNIT_BYTES);
        let high = low + low_bytes.next_multiple_of(UNIT_BYTES);
        Layout { low, high, data: high + high_bytes.next_multiple_of(UNIT_BYTES) }
    }
}

/// Bytes that every key from `low` to before `high` begins with; zero if there is no high fence.
pub(super) fn common_prefix(low: &[u8], high: &[u8]) -> usize {
    low.iter().zip(high).take_while(|(a, b)| a == b).count()
}
