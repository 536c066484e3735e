//! Keys of a memtable as of one timestamp, copied into one list of bytes: for a scan, which lends them from there.
//!
//! PC1  Items stand in the order in which the scan meets them; the bytes of all lie in one list, so copying an item allocates nothing of its own.

use std::ops::Range;

use super::entry::Entry;
use super::{KeyVersion, Memtable};
use crate::{KeyBounds, Timestamp, Value};

/// A piece is complete once it has so many bytes, however few its keys are.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// See the module.
///
/// ```
/// use duramen_base::memtable::{MemPiece, Memtable};
/// use duramen_base::{KeyBounds, Timestamp};
/// let mut piece = MemPiece::default();
/// Memtable::new().copy_piece(KeyBounds::ALL, false, Timestamp::MAX, 10, &mut piece);
/// assert_eq!(piece.len(), 0);
/// ```
#[derive(Debug, Default)]
pub struct MemPiece {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Debug)]
struct Item {
    key: Range<usize>,
    /// Where the value lies; empty without one.
    value: Range<usize>,
    found: Found,
    ts: Timestamp,
    newer: bool,
}

/// The newest version with `ts <= at` of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Tombstone,
    Value,
}

impl MemPiece {
    /// Keys in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }

    /// Key `index`.
    ///
    /// # Panics
    /// If there is no such key; so do all that take an index.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        &self.bytes[self.items[index].key.clone()]
    }

    /// Its version: the newest with `ts <= at`.
    pub fn version(&self, index: usize) -> Option<KeyVersion> {
        let item = &self.items[index];
        let value = match item.found {
            Found::Nothing => return None,
            Found::Tombstone => None,
            Found::Value => Some(Value::from(&self.bytes[item.value.clone()])),
        };
        Some(KeyVersion { ts: item.ts, value })
    }

    /// When that was written; zero without one.
    pub fn ts(&self, index: usize) -> Timestamp {
        self.items[index].ts
    }

    /// Whether a version newer than that timestamp is there.
    pub fn newer(&self, index: usize) -> bool {
        self.items[index].newer
    }

    /// The value of a key that has one, and nothing newer, at its timestamp.
    #[inline]
    pub fn plain_value(&self, index: usize) -> Option<&[u8]> {
        let item = self.items.get(index).filter(|item| item.found == Found::Value && !item.newer)?;
        Some(&self.bytes[item.value.clone()])
    }

    /// How many keys come before the first of which `is_before` is false; they must come first.
    pub fn partition_point(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        self.items.partition_point(|item| is_before(&self.bytes[item.key.clone()]))
    }
}

impl Memtable {
    /// Copies the first `keys_max` keys inside the bounds (fewer if they are large), as of `at`, ascending or descending; at least one if there is one.
    pub fn copy_piece(
        &self,
        bounds: KeyBounds<'_>,
        backward: bool,
        at: Timestamp,
        keys_max: usize,
        piece: &mut MemPiece,
    ) {
        piece.clear();
        if bounds.is_empty() || keys_max == 0 {
            return;
        }
        let MemPiece { bytes, items } = piece;
        let each = |entry: Entry| {
            let start = bytes.len();
            entry.read_key(&self.arena, bytes);
            let key = start..bytes.len();
            // The walk began inside of the bound behind it.
            let is_outside = match backward {
                true => bounds.is_below(&bytes[key.clone()]),
                false => bounds.is_above(&bytes[key.clone()]),
            };
            if is_outside {
                bytes.truncate(start);
                return false;
            }
            let (version, newer) = entry.look(&self.arena, at);
            let found = match version {
                None => Found::Nothing,
                Some(version) if version.read_value(bytes) => Found::Value,
                Some(_) => Found::Tombstone,
            };
            let ts = version.map_or(Timestamp::ZERO, |version| version.ts());
            items.push(Item { value: key.end..bytes.len(), key, found, ts, newer });
            items.len() < keys_max && bytes.len() < PIECE_BYTES_MAX
        };
        match backward {
            true => self.keys.descend_from(&self.arena, bounds.upper, each),
            false => self.keys.ascend(&self.arena, bounds.lower, each),
        }
    }
}
