//! Keys of a memtable as of one timestamp, copied into one list of bytes: for a scan, which lends them from there.
//!
//! PC1  Items stand in the order in which the scan meets them; the bytes of all lie in one list, so copying an item allocates nothing of its own.
//! PC2  The first `used` bytes belong to items. The others are of no meaning, and stay there to be written over: room is filled with zeros once, not for
//!     each item.

use std::ops::Range;

use super::arena::Arena;
use super::entry::{Entry, Near};
use super::{KeyVersion, Memtable, OP_OVERHEAD_BYTES};
use crate::{KeyBounds, Timestamp, Value};

/// A piece is complete once it has so many bytes, however few its keys are.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Keys that are asked for at once.
const GROUP_KEYS: usize = 16;
/// Room that it begins with.
const FIRST_BYTES: usize = 2 << 10;

/// See the module.
///
/// ```
/// use duramen_base::memtable::{MemPiece, Memtable};
/// use duramen_base::{KeyBounds, Timestamp};
/// let mut piece = MemPiece::default();
/// let may_be_more = Memtable::new().copy_piece(KeyBounds::ALL, false, Timestamp::MAX, 10, &mut piece);
/// assert!(!may_be_more && piece.is_empty() && piece.memory_bytes() == 0);
/// ```
#[derive(Debug, Default)]
pub struct MemPiece {
    bytes: Vec<u8>,
    used: usize,
    items: Vec<Item>,
    deleted: u64,
}

/// Its value lies behind its key.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: usize,
    key_len: usize,
    /// Zero without a value.
    value_len: usize,
    ts: Timestamp,
    found: Found,
    newer: bool,
}

impl Item {
    #[inline]
    fn key(&self) -> Range<usize> {
        self.start..self.start + self.key_len
    }

    #[inline]
    fn value(&self) -> Range<usize> {
        let start = self.start + self.key_len;
        start..start + self.value_len
    }
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

    /// About what its keys and their versions take in a memtable, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.used as u64 + self.items.len() as u64 * OP_OVERHEAD_BYTES
    }

    /// How many of its keys are deleted at its timestamp.
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        (self.used, self.deleted) = (0, 0);
        self.items.clear();
    }

    /// Key `index`.
    ///
    /// # Panics
    /// If there is no such key; so do all that take an index.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        &self.bytes[self.items[index].key()]
    }

    /// What it was at the timestamp of the piece, the newest with `ts <= at`: `None`: nothing is known, `Some(None)`: deleted.
    #[inline]
    pub fn value(&self, index: usize) -> Option<Option<&[u8]>> {
        let item = &self.items[index];
        match item.found {
            Found::Nothing => None,
            Found::Tombstone => Some(None),
            Found::Value => Some(Some(&self.bytes[item.value()])),
        }
    }

    /// That, as a version.
    pub fn version(&self, index: usize) -> Option<KeyVersion> {
        self.value(index).map(|value| KeyVersion { ts: self.items[index].ts, value: value.map(Value::from) })
    }

    /// When that was written; zero without one.
    #[inline]
    pub fn ts(&self, index: usize) -> Timestamp {
        self.items[index].ts
    }

    /// Whether a version newer than that timestamp is there.
    #[inline]
    pub fn newer(&self, index: usize) -> bool {
        self.items[index].newer
    }

    /// The value of a key that has one, and nothing newer, at its timestamp.
    #[inline]
    pub fn plain_value(&self, index: usize) -> Option<&[u8]> {
        let item = self.items.get(index).filter(|item| item.found == Found::Value && !item.newer)?;
        Some(&self.bytes[item.value()])
    }

    /// Whether a key is deleted, and nothing newer, at its timestamp.
    #[inline]
    pub fn is_plain_tombstone(&self, index: usize) -> bool {
        let item = &self.items[index];
        item.found == Found::Tombstone && !item.newer
    }

    /// How many keys come before the first of which `is_before` is false; they must come first.
    pub fn partition_point(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        self.items.partition_point(|item| is_before(&self.bytes[item.key()]))
    }

    /// Room behind what is used, with so many bytes at least.
    #[inline]
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.used + len;
        if end > self.bytes.len() {
            self.grow(end);
        }
        &mut self.bytes[self.used..end]
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, end: usize) {
        self.bytes.resize(end.next_power_of_two().max(FIRST_BYTES), 0);
    }

    /// Appends a key as of `at`, if it is on this side of the bound that the walk goes towards.
    #[inline]
    fn push(&mut self, arena: &Arena, entry: Near<'_>, at: Timestamp, is_inside: impl Fn(&[u8]) -> bool) -> bool {
        let start = self.used;
        let key_len = entry.copy_key(|len| self.room(len));
        if !is_inside(&self.bytes[start..start + key_len]) {
            return false;
        }
        self.used += key_len;
        let (version, newer) = entry.look(arena, at);
        let value_len = version.and_then(|version| version.copy_value(|len| self.room(len)));
        self.used += value_len.unwrap_or_default();
        self.deleted += u64::from(version.is_some() && value_len.is_none());
        self.items.push(Item {
            start,
            key_len,
            value_len: value_len.unwrap_or_default(),
            ts: version.map_or(Timestamp::ZERO, |version| version.ts()),
            found: match (version, value_len) {
                (None, _) => Found::Nothing,
                (Some(_), None) => Found::Tombstone,
                (Some(_), Some(_)) => Found::Value,
            },
            newer,
        });
        true
    }
}

impl Memtable {
    /// Copies the first `keys_max` keys inside the bounds (fewer if they are large), as of `at`, ascending or descending; at least one if there is one.
    /// Whether there may be more.
    pub fn copy_piece(
        &self,
        bounds: KeyBounds<'_>,
        backward: bool,
        at: Timestamp,
        keys_max: usize,
        piece: &mut MemPiece,
    ) -> bool {
        piece.clear();
        if bounds.is_empty() {
            return false;
        }
        if keys_max == 0 {
            return true;
        }
        let mut is_cut = false;
        // The walk begins inside of the bound behind it.
        let is_inside = |key: &[u8]| if backward { !bounds.is_below(key) } else { !bounds.is_above(key) };
        let each = |entries: &[Entry]| {
            entries.chunks(GROUP_KEYS).all(|group| {
                let group = &group[..group.len().min(keys_max - piece.len())];
                // Looked up for all before the first is read, so that what they wait for comes from memory for all at once.
                let mut near = [None; GROUP_KEYS];
                for (near, entry) in near.iter_mut().zip(group) {
                    *near = Some(entry.near(&self.arena));
                }
                near.iter().flatten().all(|entry| {
                    if !piece.push(&self.arena, *entry, at, is_inside) {
                        return false;
                    }
                    is_cut = piece.len() == keys_max || piece.used >= PIECE_BYTES_MAX;
                    !is_cut
                })
            })
        };
        match backward {
            true => self.keys.descend_from(&self.arena, bounds.upper, each),
            false => self.keys.ascend(&self.arena, bounds.lower, each),
        }
        is_cut
    }
}
