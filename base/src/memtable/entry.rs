//! How a key and its versions lie in the arena.
//!
//! ```text
//!   entry    newest version with the length of its chain above, its ts, key bytes
//!   version  ts, value bytes + 1 (0: tombstone), older version, value bytes
//! ```
//! Bytes are packed into words big-endian, the last one filled up with zeros: so words compare as their bytes do.
//!
//! N1  A key, a ts and a value never change once they are published. An entry is published by the node of the map that names it, a version by the
//!     entry (Release; pairs with the Acquire of who follows it).
//! N2  From newer to older the timestamps of a chain descend. The chain is changed by the one writer of its key at a time (K2); a link may skip
//!     versions that nobody can read, which stay where they are for who stands on them.
//! N3  An entry says itself when its newest version was written and how long the chain is, so to put another in front of it waits for no memory that a
//!     version lies in. A chain of more than [`CHAIN_MAX`] / 2 versions may count as one of so many: it is trimmed the more often.

use std::cmp::Ordering as Order;

use super::KeyVersion;
use super::arena::{Arena, Place};
use crate::prefetch::prefetch;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Pruner, Timestamp, Value};

/// Bytes of a key that nodes of the map hold beside its entry.
pub(super) const HEAD_BYTES: usize = 16;

const NEWEST: usize = 0;
const NEWEST_TS: usize = 1;
const ENTRY_HEAD_WORDS: usize = 2;

const TS: usize = 0;
const VALUE_LEN: usize = 1;
const OLDER: usize = 2;
const VERSION_HEAD_WORDS: usize = 3;

/// Versions from which on a chain is trimmed.
const TRIM_FROM: u64 = 8;
/// The longest chain that is counted (N3): what fits above a place, and a power of two.
const CHAIN_MAX: u64 = 1 << (u64::BITS - Place::BITS - 1);

/// A key to look for: its first bytes as numbers, and all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<'a> {
    pub(super) heads: [u64; 2],
    pub(super) bytes: &'a [u8],
}

impl<'a> From<&'a [u8]> for Probe<'a> {
    fn from(bytes: &'a [u8]) -> Probe<'a> {
        let second = bytes.get(8..).unwrap_or_default();
        Probe { heads: [word_of(bytes), word_of(second)], bytes }
    }
}

/// An entry of an arena, and the length of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    place: Place,
    key_len: usize,
}

impl Entry {
    /// An entry with a key and no version, known to nobody else.
    pub(super) fn make(arena: &Arena, key: &[u8]) -> Entry {
        let (place, words) = arena.take(ENTRY_HEAD_WORDS + words_for(key.len()));
        pack(key, &words[ENTRY_HEAD_WORDS..]);
        Entry { place, key_len: key.len() }
    }

    /// From what [`Entry::to_bits`] gave; `None` for zero.
    pub(super) fn from_bits(bits: u64) -> Option<Entry> {
        Some(Entry { place: Place::from_bits(bits)?, key_len: (bits >> Place::BITS) as usize })
    }

    /// A number that is not zero.
    pub(super) fn to_bits(self) -> u64 {
        self.place.to_bits() | (self.key_len as u64) << Place::BITS
    }

    /// Bytes of the arena that it takes.
    pub(super) fn bytes(self) -> u64 {
        ((ENTRY_HEAD_WORDS + words_for(self.key_len)) * 8) as u64
    }

    /// Appends its key to `out`.
    pub(super) fn read_key(self, arena: &Arena, out: &mut Vec<u8>) {
        unpack(self.key_words(arena), self.key_len, out);
    }

    /// Where it lies. That is asked for, and not waited for.
    #[inline]
    pub(super) fn near(self, arena: &Arena) -> Near<'_> {
        let words = arena.words_from(self.place);
        prefetch(&words[NEWEST]);
        Near { entry: self, words }
    }

    /// How its key compares with one that has the same heads.
    pub(super) fn compare_behind_heads(self, arena: &Arena, probe: &Probe<'_>) -> Order {
        if self.key_len > HEAD_BYTES && probe.bytes.len() > HEAD_BYTES {
            let ours = self.key_words(arena)[HEAD_BYTES / 8..].iter().map(|word| word.load(Ordering::Relaxed));
            let theirs = probe.bytes[HEAD_BYTES..].chunks(8).map(word_of);
            if let Some(different) =
                ours.zip(theirs).map(|(ours, theirs)| ours.cmp(&theirs)).find(|order| order.is_ne())
            {
                return different;
            }
        }
        // Filled up with zeros they are the same, so the shorter one is a prefix of the other.
        self.key_len.cmp(&probe.bytes.len())
    }

    fn chain(self, arena: &Arena) -> Chain<'_> {
        Chain { newest: &arena.words(self.place, 1)[NEWEST] }
    }

    /// When its newest version was written; zero before its first. That version may be published a moment later.
    pub(super) fn newest_ts(self, arena: &Arena) -> Timestamp {
        Timestamp::new(arena.words(self.place, ENTRY_HEAD_WORDS)[NEWEST_TS].load(Ordering::Relaxed))
    }

    /// The newest version with `ts <= at`, and whether there is a newer one.
    pub(super) fn look(self, arena: &Arena, at: Timestamp) -> (Option<Version<'_>>, bool) {
        self.chain(arena).look(arena, at)
    }

    /// Has what [`Entry::push`] looks at come from memory, without waiting for it.
    pub(super) fn ask_for_it(self, arena: &Arena) {
        prefetch(&arena.words(self.place, 1)[NEWEST]);
    }

    /// All versions, newest first.
    pub(super) fn versions(self, arena: &Arena) -> impl Iterator<Item = Version<'_>> {
        std::iter::successors(self.chain(arena).newest(arena), move |version| version.older(arena))
    }

    /// Makes a version of it that is newer than all it has; the bytes it takes, none if a newer one was there (T1). `with_pruner` is asked for when the
    /// chain is long.
    pub(super) fn push(
        self,
        arena: &Arena,
        ts: Timestamp,
        value: Option<&[u8]>,
        with_pruner: impl FnOnce(&mut dyn FnMut(&Pruner<'_>)),
    ) -> u64 {
        let entry = arena.words(self.place, ENTRY_HEAD_WORDS);
        // Acquire: hands on what the version was published with (N1).
        let link = entry[NEWEST].load(Ordering::Acquire);
        let newest = Place::from_bits(link);
        if newest.is_some() && self.newest_ts(arena) >= ts {
            return 0;
        }
        let mut chain = newest.map_or(0, |_| (link >> Place::BITS) + 1);
        let (place, words) = arena.take(VERSION_HEAD_WORDS + words_for(value.map_or(0, <[u8]>::len)));
        words[TS].store(ts.get(), Ordering::Relaxed);
        words[VALUE_LEN].store(value.map_or(0, |value| value.len() as u64 + 1), Ordering::Relaxed);
        words[OLDER].store(newest.map_or(0, Place::to_bits), Ordering::Relaxed);
        pack(value.unwrap_or_default(), &words[VERSION_HEAD_WORDS..]);
        let version = Version { place, words };
        if chain >= TRIM_FROM && chain.is_power_of_two() {
            with_pruner(&mut |pruner| chain = version.trim(arena, pruner));
            chain = chain.min(CHAIN_MAX / 2); // N3
        }
        entry[NEWEST_TS].store(ts.get(), Ordering::Relaxed);
        // Release: N1.
        entry[NEWEST].store(place.to_bits() | chain << Place::BITS, Ordering::Release);
        (words.len() * 8) as u64
    }

    fn key_words(self, arena: &Arena) -> &[AtomicU64] {
        &arena.words(self.place, ENTRY_HEAD_WORDS + words_for(self.key_len))[ENTRY_HEAD_WORDS..]
    }
}

/// An entry that was looked up in its arena, and all that lies behind it in its chunk.
#[derive(Clone, Copy)]
pub(super) struct Near<'a> {
    entry: Entry,
    words: &'a [AtomicU64],
}

impl<'a> Near<'a> {
    /// Copies its key to the beginning of what `room` gives, which is asked for that many bytes in whole words; the length of the key.
    #[inline]
    pub(super) fn copy_key<'r>(self, room: impl FnOnce(usize) -> &'r mut [u8]) -> usize {
        let key = &self.words[ENTRY_HEAD_WORDS..ENTRY_HEAD_WORDS + words_for(self.entry.key_len)];
        unpack_to(key, room(key.len() * 8));
        self.entry.key_len
    }

    /// As that of the entry. A version that was written with its key mostly lies behind it.
    #[inline]
    pub(super) fn look(self, arena: &'a Arena, at: Timestamp) -> (Option<Version<'a>>, bool) {
        // Acquire: N1.
        let Some(place) = Place::from_bits(self.words[NEWEST].load(Ordering::Acquire)) else { return (None, false) };
        let words = match self.entry.place.distance_to(place) {
            Some(distance) => &self.words[distance..],
            None => arena.words_from(place),
        };
        let newest = Version::of(place, words);
        match newest.ts() > at {
            false => (Some(newest), false),
            true => (newest.not_after(arena, at), true),
        }
    }
}

/// The versions of an entry.
#[derive(Clone, Copy)]
struct Chain<'a> {
    newest: &'a AtomicU64,
}

impl<'a> Chain<'a> {
    #[inline]
    fn newest(self, arena: &'a Arena) -> Option<Version<'a>> {
        Version::at_link(arena, self.newest)
    }

    /// The newest version with `ts <= at`, and whether there is a newer one.
    fn look(self, arena: &'a Arena, at: Timestamp) -> (Option<Version<'a>>, bool) {
        let newest = self.newest(arena);
        match newest.filter(|newest| newest.ts() > at) {
            None => (newest, false),
            Some(newer) => (newer.not_after(arena, at), true),
        }
    }
}

/// A version of an arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version<'a> {
    place: Place,
    words: &'a [AtomicU64],
}

impl<'a> Version<'a> {
    #[inline]
    fn at_link(arena: &'a Arena, link: &AtomicU64) -> Option<Version<'a>> {
        // Acquire: N1.
        let place = Place::from_bits(link.load(Ordering::Acquire))?;
        Some(Version::of(place, arena.words_from(place)))
    }

    /// That at `place`, where these words lie.
    #[inline]
    fn of(place: Place, words: &'a [AtomicU64]) -> Version<'a> {
        let value_len = words[VALUE_LEN].load(Ordering::Relaxed).saturating_sub(1) as usize;
        Version { place, words: &words[..VERSION_HEAD_WORDS + words_for(value_len)] }
    }

    /// The commit that wrote it.
    pub(super) fn ts(self) -> Timestamp {
        Timestamp::new(self.words[TS].load(Ordering::Relaxed))
    }

    /// Appends its value to `out`; false for a tombstone.
    pub(super) fn read_value(self, out: &mut Vec<u8>) -> bool {
        let Some(len) = self.value_len() else { return false };
        unpack(&self.words[VERSION_HEAD_WORDS..], len, out);
        true
    }

    /// Copies its value as [`Entry::copy_key`] copies a key; `None` for a tombstone.
    #[inline]
    pub(super) fn copy_value<'r>(self, room: impl FnOnce(usize) -> &'r mut [u8]) -> Option<usize> {
        let len = self.value_len()?;
        let words = &self.words[VERSION_HEAD_WORDS..];
        unpack_to(words, room(words.len() * 8));
        Some(len)
    }

    /// A copy of it.
    pub(super) fn to_owned(self) -> KeyVersion {
        let value = self.value_len().map(|len| match len {
            0..=32 => self.value_by_stack::<32>(len),
            33..=512 => self.value_by_stack::<512>(len),
            _ => {
                let mut bytes = Vec::new();
                self.read_value(&mut bytes);
                Value::from(bytes)
            }
        });
        KeyVersion { ts: self.ts(), value }
    }

    /// A copy of its value of `len` bytes, at most `ROOM`, without a list between.
    fn value_by_stack<const ROOM: usize>(self, len: usize) -> Value {
        let mut bytes = [0; ROOM];
        unpack_to(&self.words[VERSION_HEAD_WORDS..], &mut bytes);
        Value::from(&bytes[..len])
    }

    /// `None`: a tombstone.
    fn value_len(self) -> Option<usize> {
        (self.words[VALUE_LEN].load(Ordering::Relaxed) as usize).checked_sub(1)
    }

    fn older(self, arena: &'a Arena) -> Option<Version<'a>> {
        Version::at_link(arena, &self.words[OLDER])
    }

    /// The newest with `ts <= at` from it on.
    fn not_after(self, arena: &'a Arena, at: Timestamp) -> Option<Version<'a>> {
        std::iter::successors(Some(self), |version| version.older(arena)).find(|version| version.ts() <= at)
    }

    /// Skips what nobody can read among its older versions, and counts what is left (N2). It is not published yet.
    fn trim(self, arena: &Arena, pruner: &Pruner<'_>) -> u64 {
        let (mut kept, mut successor_ts, mut chain) = (self, self.ts(), 0);
        let mut next = self.older(arena);
        while let Some(version) = next {
            next = version.older(arena);
            if pruner.may_drop_version(version.ts(), successor_ts) {
                // Release: hands on what the version behind was published with.
                kept.words[OLDER].store(next.map_or(0, |next| next.place.to_bits()), Ordering::Release);
            } else {
                (kept, chain) = (version, chain + 1);
            }
            successor_ts = version.ts();
        }
        chain
    }
}

fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// Up to eight bytes as a number that orders as they do.
fn word_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(padded)
        }
    }
}

fn pack(bytes: &[u8], words: &[AtomicU64]) {
    // Relaxed: nobody else knows these words yet (N1).
    bytes.chunks(8).zip(words).for_each(|(piece, word)| word.store(word_of(piece), Ordering::Relaxed));
}

fn unpack(words: &[AtomicU64], len: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + words.len() * 8, 0);
    unpack_to(words, &mut out[start..]);
    out.truncate(start + len);
}

#[inline]
fn unpack_to(words: &[AtomicU64], out: &mut [u8]) {
    for (word, piece) in words.iter().zip(out.as_chunks_mut::<8>().0) {
        *piece = word.load(Ordering::Relaxed).to_be_bytes();
    }
}
