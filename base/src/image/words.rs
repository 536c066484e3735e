//! The words that images are spoken of in: kinds, records, identities, faults, answers. No behaviour beyond naming.

use std::ops::Range;
use std::path::Path;

use super::record::RawRecord;
use crate::error::Error;
use crate::ids::Timestamp;
use crate::values::{LARGE_REF_BYTES, LargeRef};

/// What a page holds. On disk. Never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ImageKind {
    /// Records of a B-tree leaf.
    Leaf = 1,
    /// Separators (keys) and child page ids (values, u64 little-endian) of a B-tree inner page.
    Inner = 2,
    /// Records of an LSM table.
    TableData = 3,
    /// Index of an LSM table.
    TableIndex = 4,
    /// Bloom filter part of an LSM table: one raw body.
    Filter = 5,
    /// Range tombstones: key = low end, value = high end (empty: no end).
    RangeTombstones = 6,
    /// Chunk of a B-tree page map: one raw body.
    MapChunk = 7,
    /// Other raw content: one raw body.
    Raw = 8,
}

impl ImageKind {
    pub(super) fn from_byte(byte: u8) -> Option<ImageKind> {
        Some(match byte {
            1 => ImageKind::Leaf,
            2 => ImageKind::Inner,
            3 => ImageKind::TableData,
            4 => ImageKind::TableIndex,
            5 => ImageKind::Filter,
            6 => ImageKind::RangeTombstones,
            7 => ImageKind::MapChunk,
            8 => ImageKind::Raw,
            _ => return None,
        })
    }

    /// Whether it holds records; the others have one raw body.
    ///
    /// ```
    /// use duramen_base::image::ImageKind;
    /// assert!(ImageKind::Leaf.has_records() && !ImageKind::Filter.has_records());
    /// ```
    pub fn has_records(self) -> bool {
        match self {
            ImageKind::Leaf
            | ImageKind::Inner
            | ImageKind::TableData
            | ImageKind::TableIndex
            | ImageKind::RangeTombstones => true,
            ImageKind::Filter | ImageKind::MapChunk | ImageKind::Raw => false,
        }
    }
}

/// What a record says about its key.
///
/// ```
/// use duramen_base::image::Body;
/// assert_ne!(Body::Value(b""), Body::Tombstone);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A value.
    Value(&'a [u8]),
    /// Deleted.
    Tombstone,
    /// A value in a value file.
    Large(LargeRef),
}

impl Body<'_> {
    /// Bytes that it takes in a record.
    ///
    /// ```
    /// assert_eq!(duramen_base::image::Body::Value(b"hard").stored_bytes(), 4);
    /// ```
    #[inline]
    pub fn stored_bytes(&self) -> usize {
        match self {
            Body::Value(value) => value.len(),
            Body::Tombstone => 0,
            Body::Large(_) => LARGE_REF_BYTES,
        }
    }
}

/// One record of an image. The full key is [`Image::prefix`](super::Image::prefix) followed by `suffix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Key without the prefix.
    pub suffix: &'a [u8],
    /// Commit that wrote it; zero: frozen.
    pub ts: Timestamp,
    /// Value or tombstone.
    pub body: Body<'a>,
}

/// Where a record lies in its image. See [`Image::locate`](super::Image::locate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Located {
    pub(super) suffix: u32,
    pub(super) value: u32,
    pub(super) end: u32,
}

impl Located {
    /// Where the value lies in [`Image::bytes`](super::Image::bytes).
    #[inline]
    pub fn value_range(self) -> Range<usize> {
        self.value as usize..self.end as usize
    }
}

/// Who an image must be: what its parent holds about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which kind.
    pub kind: ImageKind,
    /// Page id, or offset of the block in its table.
    pub self_id: u64,
    /// Keyspace.
    pub ks_id: u32,
    /// Write sequence the parent recorded.
    pub write_seq: u32,
}

impl Identity {
    /// Whom the first 64 bytes of a stored image claim it to be, unchecked: for looking where no parent tells. `None`: no such head.
    ///
    /// ```
    /// use duramen_base::image::{Identity, ImageBuilder, ImageKind, ImageSpec};
    /// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 5, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let stored = ImageBuilder::raw(&spec, b"body").to_stored(9);
    /// assert_eq!(Identity::of_head(&stored), Some(Identity { kind: ImageKind::Raw, self_id: 5, ks_id: 1, write_seq: 9 }));
    /// assert_eq!(Identity::of_head(&[0; 64]), None);
    /// ```
    pub fn of_head(head: &[u8]) -> Option<Identity> {
        super::header::claims(head)
    }
}

/// Why bytes are not the image expected; the caller adds file and offset with [`ImageFault::in_file`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFault(pub &'static str, Option<Newer>);

/// A number of a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newer {
    found: u32,
    known: u32,
}

impl ImageFault {
    /// Damage.
    pub(super) const fn new(what: &'static str) -> ImageFault {
        ImageFault(what, None)
    }

    /// Whole, and written by a later version.
    pub(super) const fn newer(what: &'static str, found: u32, known: u32) -> ImageFault {
        ImageFault(what, Some(Newer { found, known }))
    }

    /// The error: `UnsupportedFormat` for an image of a later version, else `Corruption` of `path` at `offset`.
    pub fn in_file(self, path: &Path, offset: u64) -> Error {
        match self.1 {
            Some(Newer { found, known }) => {
                Error::UnsupportedFormat { file: path.to_path_buf(), what: self.0, found, known }
            }
            None => Error::corruption(path, offset, self.0),
        }
    }
}

/// Answer of [`Image::lookup`](super::Image::lookup).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This image has no version of the key at or before the time asked for.
    Absent,
    /// Deleted at this commit.
    Deleted(Timestamp),
    /// A value: where it lies in [`Image::bytes`](super::Image::bytes), and its commit (zero: frozen).
    Value {
        /// Its bytes.
        range: Range<usize>,
        /// Its commit.
        ts: Timestamp,
    },
    /// A value in a value file, and its commit.
    Large(LargeRef, Timestamp),
}

impl Lookup {
    #[inline]
    pub(super) fn of(record: RawRecord, image: &[u8]) -> Lookup {
        match record.is_plain_value() {
            true => Lookup::Value { range: record.value, ts: record.ts },
            false => Lookup::other(&record, image),
        }
    }

    #[inline(never)]
    fn other(record: &RawRecord, image: &[u8]) -> Lookup {
        match record.large(image) {
            Some(large) => Lookup::Large(large, record.ts),
            None => Lookup::Deleted(record.ts),
        }
    }
}
