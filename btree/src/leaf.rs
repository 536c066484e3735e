//! Leaves as values: an image, its spill and some operations in; one or more images out. No page table, no latch, no file.
//!
//! A leaf is taken apart into [`Content`] (keys with their versions, merged with the operations and pruned), cut by size, and built
//! again. Everything borrows from the old image and the operations, so a rebuild copies each byte once.
//!
//! F1  Versions of a key are newest first, strictly descending.
//! F2  An operation that is not newer than what its key holds in the leaf is dropped: redo over newer content (K5).
//! F3  A version goes only by the pruning rule (P1 to P3), or below a range delete that no reader can look behind.
//! F4  Whatever the versions are, a rebuild succeeds: history that does not fit the largest image goes to the spill.
//!
//! Next: `leaf/patch.rs` (a few keys changed), `inner.rs` (the same for inner pages), `drain.rs` (who calls this).

use std::ops::Range;

use duramen_base::image::{Body, IMAGE_BYTES_MAX, Image, ImageBuilder, ImageKind, ImageSpec, Lookup};
use duramen_base::values::LargeRef;
use duramen_base::{KeyspaceId, Pruner, Reservation, SnapSet, Timestamp, Value};

use crate::range_tombs::RangeTombs;
use crate::spill::{Spill, Spilled};

/// Bytes of an image without records, about.
pub(crate) const IMAGE_OVERHEAD_BYTES: usize = 192;
/// Bytes of a record beside key, value and timestamp, about.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 12;
const TS_BYTES: usize = 8;

/// A put or delete on its way into a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) ts: Timestamp,
    pub(crate) body: Body<'a>,
}

/// A leaf as it lies in the page table.
#[derive(Clone, Copy)]
pub(crate) struct LeafRef<'a> {
    pub(crate) image: &'a Image,
    pub(crate) spill: Option<&'a Spill>,
}

impl Point<'_> {
    /// The large value that it names.
    pub(crate) fn reference(&self) -> Option<LargeRef> {
        match self.body {
            Body::Large(large) => Some(large),
            Body::Value(_) | Body::Tombstone => None,
        }
    }
}

impl<'a> LeafRef<'a> {
    /// The large values that it names.
    pub(crate) fn references(self) -> impl Iterator<Item = LargeRef> + 'a {
        let spilled = self.spill.into_iter().flat_map(Spill::references);
        self.image.references().chain(spilled)
    }
}

/// What may be forgotten during a rebuild.
pub(crate) struct Rules<'a> {
    pruner: Pruner<'a>,
    oldest: Timestamp,
    tombs: &'a RangeTombs,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(snaps: &'a SnapSet, tombs: &'a RangeTombs) -> Rules<'a> {
        Rules { pruner: Pruner::new(snaps), oldest: snaps.oldest(), tombs }
    }

    /// Prunes the versions of one key (F3).
    fn prune(&self, key: &[u8], versions: &mut Vec<Version<'_>>) {
        debug_assert!(versions.is_sorted_by(|newer, older| newer.ts > older.ts), "F1: newest first");
        if !self.tombs.is_empty()
            && let Some(covering) = self.tombs.covering(key, self.oldest)
        {
            let kept = versions.partition_point(|version| version.ts >= covering);
            versions.truncate(kept);
        }
        let mut successor_ts = Timestamp::MAX;
        versions.retain(|version| {
            let keep = successor_ts == Timestamp::MAX || !self.pruner.may_drop_version(version.ts, successor_ts);
            successor_ts = version.ts;
            keep
        });
        let [newest] = versions.as_mut_slice() else { return };
        match newest.body {
            Body::Tombstone if self.pruner.may_drop_tombstone(newest.ts, false) => versions.clear(),
            Body::Tombstone => {}
            Body::Value(_) | Body::Large(_) => {
                let covered = !self.tombs.is_empty() && self.tombs.has_survived(key, newest.ts);
                if self.pruner.may_freeze(newest.ts, covered) {
                    newest.ts = Timestamp::ZERO;
                }
            }
        }
    }
}

/// One version of a key.
#[derive(Clone, Copy, Debug)]
struct Version<'a> {
    ts: Timestamp,
    body: Body<'a>,
}

impl Version<'_> {
    fn bytes(&self) -> usize {
        let ts_bytes = if self.ts == Timestamp::ZERO { 0 } else { TS_BYTES };
        RECORD_OVERHEAD_BYTES + ts_bytes + self.body.stored_bytes()
    }

    /// Whether it is no tombstone.
    fn is_value(&self) -> bool {
        !matches!(self.body, Body::Tombstone)
    }
}

/// A key (in two parts) and its versions.
#[derive(Clone, Debug)]
struct Group<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
    versions: Range<usize>,
    bytes: usize,
}

impl Group<'_> {
    fn key_into(&self, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.prefix);
        key.extend_from_slice(self.suffix);
    }
}

/// Keys and versions of a leaf to be built.
#[derive(Default)]
pub(crate) struct Content<'a> {
    groups: Vec<Group<'a>>,
    versions: Vec<Version<'a>>,
    bytes: usize,
    /// Whether every new key came behind every old one.
    appended: bool,
}

impl<'a> Content<'a> {
    /// `leaf` with `points` (by key ascending, those of a key newest first, all inside its fences) merged in and pruned.
    pub(crate) fn merge(leaf: LeafRef<'a>, points: &[Point<'a>], rules: &Rules<'_>) -> Content<'a> {
        let mut content = Content {
            groups: Vec::with_capacity(leaf.image.count() + points.len()),
            versions: Vec::with_capacity(leaf.image.count() + leaf.image.hist_count() + points.len()),
            bytes: 0,
            appended: false,
        };
        let mut sources = Sources::new(leaf, points);
        let mut versions = Vec::new();
        let mut key = Vec::new();
        while let Some(suffix) = sources.next_group(&mut versions) {
            // The common record: frozen, alone, and nothing to cover it.
            let is_settled = matches!(versions[..], [Version { ts: Timestamp::ZERO, .. }]) && rules.tombs.is_empty();
            if !is_settled {
                key.clear();
                key.extend_from_slice(sources.prefix);
                key.extend_from_slice(suffix);
                rules.prune(&key, &mut versions);
            }
            content.push_group(sources.prefix, suffix, &versions);
        }
        content.appended = points.first().is_some_and(|first| sources.old_last_is_below(first.key));
        content
    }

    fn push_group(&mut self, prefix: &'a [u8], suffix: &'a [u8], versions: &[Version<'a>]) {
        if versions.is_empty() {
            return;
        }
        let start = self.versions.len();
        self.versions.extend_from_slice(versions);
        let bytes = versions.iter().map(|version| version.bytes() + suffix.len()).sum();
        self.bytes += bytes;
        self.groups.push(Group { prefix, suffix, versions: start..self.versions.len(), bytes });
    }

    /// Takes over the content of the right neighbour. `prefix_bytes`: what all keys of both begin with, by their fences; less is cut off
    /// each key than before.
    pub(crate) fn append(&mut self, right: Content<'a>, prefix_bytes: usize) {
        let shift = self.versions.len();
        self.versions.extend_from_slice(&right.versions);
        self.groups.extend(
            right
                .groups
                .into_iter()
                .map(|group| Group { versions: group.versions.start + shift..group.versions.end + shift, ..group }),
        );
        for group in &mut self.groups {
            group.bytes += group.versions.len() * group.prefix.len().saturating_sub(prefix_bytes);
        }
        self.bytes = self.groups.iter().map(|group| group.bytes).sum();
    }

    /// Bytes of an image with all of it, about.
    pub(crate) fn image_bytes(&self) -> usize {
        IMAGE_OVERHEAD_BYTES + self.bytes
    }

    /// Where to cut so that pages have `page_bytes` or hold one key: the groups of each piece. One piece: it fits.
    pub(crate) fn cut(&self, page_bytes: usize) -> Vec<Range<usize>> {
        if self.image_bytes() <= page_bytes {
            return std::iter::once(0..self.groups.len()).collect();
        }
        let sizes: Vec<usize> = self.groups.iter().map(|group| group.bytes).collect();
        cut_by_size(&sizes, page_bytes.saturating_sub(IMAGE_OVERHEAD_BYTES), self.appended)
    }

    /// Shortest key above everything before group `index` and not above that group.
    pub(crate) fn separator(&self, index: usize) -> Vec<u8> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        self.groups[index - 1].key_into(&mut left);
        self.groups[index].key_into(&mut right);
        separator(&left, &right).to_vec()
    }

    /// Builds the image of some groups. `spill`: where history goes that does not fit; `None`: it is dropped, and readers below the
    /// returned timestamp can no longer be served.
    pub(crate) fn build(&self, groups: Range<usize>, spec: &ImageSpec<'_>, spill: Option<Reservation>) -> NewLeaf {
        let mut builder = ImageBuilder::new(spec);
        let mut spill = spill.map(Spill::new);
        let mut too_old_below = Timestamp::ZERO;
        let mut key = Vec::new();
        for group in &self.groups[groups.clone()] {
            let newest = &self.versions[group.versions.start];
            if newest.is_value() {
                group.key_into(&mut key);
                builder.push(&key, newest.ts, newest.body);
            }
        }
        for group in &self.groups[groups] {
            let versions = &self.versions[group.versions.clone()];
            let main = usize::from(versions[0].is_value());
            if versions.len() == main {
                continue;
            }
            group.key_into(&mut key);
            let fitting = versions[main..]
                .iter()
                .take_while(|version| {
                    let fits = builder.image_bytes_with(&key, version.body) <= IMAGE_BYTES_MAX;
                    if fits {
                        builder.push_history(&key, version.ts, version.body);
                    }
                    fits
                })
                .count();
            for index in main + fitting..versions.len() {
                match &mut spill {
                    Some(spill) => spill.insert(&key, versions[index].ts, versions[index].body),
                    None => too_old_below = too_old_below.max(versions[index - 1].ts),
                }
            }
        }
        let spill = spill.filter(|spill| !spill.is_empty());
        NewLeaf { image: builder.finish(), spill, too_old_below }
    }

    /// The first group at or behind `key`.
    pub(crate) fn first_from(&self, key: &[u8]) -> usize {
        let mut own = Vec::new();
        self.groups.partition_point(|group| {
            group.key_into(&mut own);
            *own < *key
        })
    }

    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }
}

/// A rebuilt leaf.
pub(crate) struct NewLeaf {
    pub(crate) image: Image,
    pub(crate) spill: Option<Spill>,
    /// Readers below this cannot be served any more (zero: none).
    pub(crate) too_old_below: Timestamp,
}

impl NewLeaf {
    /// One that lost no history and needs no spill.
    pub(crate) fn of(image: Image) -> NewLeaf {
        NewLeaf { image, spill: None, too_old_below: Timestamp::ZERO }
    }
}

/// What a leaf is built with; `count` and records come from the content.
pub(crate) fn leaf_spec<'a>(
    pid: u64,
    keyspace: KeyspaceId,
    right_pid: u64,
    low: &'a [u8],
    high: &'a [u8],
) -> ImageSpec<'a> {
    ImageSpec { kind: ImageKind::Leaf, self_id: pid, ks_id: keyspace.get(), level: 0, right_pid, low, high }
}

/// Bytes that both begin with.
pub(crate) fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// Shortest key above `left` and not above `right`, which is above `left`.
pub(crate) fn separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    &right[..common_prefix(left, right) + 1]
}

/// Cuts items of these sizes into runs of at most `room` bytes (or one item). `appended`: fill pages from the left, else even runs.
pub(crate) fn cut_by_size(sizes: &[usize], room: usize, appended: bool) -> Vec<Range<usize>> {
    let total: usize = sizes.iter().sum();
    let target = if appended {
        room
    } else {
        let pieces = total.div_ceil((room * 3 / 4).max(1)).max(2);
        total.div_ceil(pieces).min(room)
    };
    let mut runs = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, &size) in sizes.iter().enumerate() {
        // Half an item over the target is nearer to it than half an item under.
        let over_target = if appended { bytes + size > target } else { bytes + size / 2 > target };
        if index > start && (over_target || bytes + size > room) {
            runs.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    runs.push(start..sizes.len());
    runs
}

/// The four places where versions of a leaf's keys come from, walked together in key order.
struct Sources<'a, 'p> {
    prefix: &'a [u8],
    image: &'a Image,
    main: usize,
    hist: usize,
    points: &'p [Point<'a>],
    spill: Vec<(&'a [u8], Version<'a>)>,
    spill_next: usize,
    /// The least key of history, points and spill: most main records lie below it and need no other look.
    beside: Option<&'a [u8]>,
}

impl<'a, 'p> Sources<'a, 'p> {
    fn new(leaf: LeafRef<'a>, points: &'p [Point<'a>]) -> Sources<'a, 'p> {
        let prefix = leaf.image.prefix();
        let spill = leaf
            .spill
            .into_iter()
            .flat_map(Spill::iter)
            .map(|(key, ts, body)| (&key[prefix.len()..], Version { ts, body }))
            .collect();
        let mut sources =
            Sources { prefix, image: leaf.image, main: 0, hist: 0, points, spill, spill_next: 0, beside: None };
        sources.beside = sources.next_beside();
        sources
    }

    /// The least key not yet walked; its versions, newest first, replace `versions`.
    fn next_group(&mut self, versions: &mut Vec<Version<'a>>) -> Option<&'a [u8]> {
        let main = (self.main < self.image.count()).then(|| self.image.record(self.main));
        let suffix = match (main, self.beside) {
            (None, None) => return None,
            (None, Some(beside)) => beside,
            (Some(record), None) => record.suffix,
            (Some(record), Some(beside)) => record.suffix.min(beside),
        };
        versions.clear();
        if let Some(record) = main.filter(|record| record.suffix == suffix) {
            versions.push(Version { ts: record.ts, body: record.body });
            self.main += 1;
        }
        if self.beside == Some(suffix) {
            self.take_history(suffix, versions);
            self.take_spilled(suffix, versions);
            self.take_points(suffix, versions);
            self.beside = self.next_beside();
        }
        Some(suffix)
    }

    /// The least key not yet walked of all but the main records.
    fn next_beside(&self) -> Option<&'a [u8]> {
        let hist = (self.hist < self.image.hist_count()).then(|| self.image.hist_record(self.hist).suffix);
        let point = self.points.first().map(|point| &point.key[self.prefix.len()..]);
        let spilled = self.spill.get(self.spill_next).map(|&(suffix, _)| suffix);
        [hist, point, spilled].into_iter().flatten().min()
    }

    fn take_spilled(&mut self, suffix: &[u8], versions: &mut Vec<Version<'a>>) {
        while let Some(&(_, version)) = self.spill.get(self.spill_next).filter(|(key, _)| *key == suffix) {
            versions.push(version);
            self.spill_next += 1;
        }
    }

    fn take_points(&mut self, suffix: &[u8], versions: &mut Vec<Version<'a>>) {
        let prefix_bytes = self.prefix.len();
        let count = self.points.iter().take_while(|point| point.key[prefix_bytes..] == *suffix).count();
        let (points, rest) = self.points.split_at(count);
        self.points = rest;
        let newer = points.iter().take_while(|point| versions.first().is_none_or(|newest| newest.ts < point.ts)); // F2
        let newer: Vec<Version<'a>> = newer.map(|point| Version { ts: point.ts, body: point.body }).collect();
        versions.splice(0..0, newer);
    }

    fn take_history(&mut self, suffix: &[u8], versions: &mut Vec<Version<'a>>) {
        while self.hist < self.image.hist_count() {
            let record = self.image.hist_record(self.hist);
            if record.suffix != suffix {
                break;
            }
            versions.push(Version { ts: record.ts, body: record.body });
            self.hist += 1;
        }
    }

    fn old_last_is_below(&self, key: &[u8]) -> bool {
        let suffix = &key[self.prefix.len()..];
        let count = self.image.count();
        count == 0 || self.image.record(count - 1).suffix < suffix
    }
}

/// Where a version that a reader sees lies.
pub(crate) enum Seen<'a> {
    /// Nothing at or before the time asked for.
    Nothing,
    /// Deleted at this commit.
    Deleted(Timestamp),
    /// In the image.
    InImage(Range<usize>, Timestamp),
    /// In the spill.
    Spilled(&'a Value, Timestamp),
    /// In a value file.
    Large(LargeRef, Timestamp),
}

impl<'a> LeafRef<'a> {
    /// The newest version of `key` at or before `at`, and whether a newer one exists.
    pub(crate) fn find(self, key: &[u8], at: Timestamp) -> (Seen<'a>, bool) {
        let newer = at < self.image.max_ts() && self.newest(key).is_some_and(|newest| newest > at);
        if let Some(spill) = self.spill
            && !self.image_knows(key, at)
        {
            let seen = match spill.at(key, at) {
                None => Seen::Nothing,
                Some((ts, Spilled::Tombstone)) => Seen::Deleted(ts),
                Some((ts, Spilled::Value(value))) => Seen::Spilled(value, ts),
                Some((ts, Spilled::Large(large))) => Seen::Large(*large, ts),
            };
            return (seen, newer);
        }
        let seen = match self.image.lookup(key, at) {
            // The lookup skips the history if no value there can matter; when the key was deleted is still known.
            Lookup::Absent if self.image.hist_count() == 0 => Seen::Nothing,
            Lookup::Absent => self.newest(key).filter(|&ts| ts <= at).map_or(Seen::Nothing, Seen::Deleted),
            Lookup::Deleted(ts) => Seen::Deleted(ts),
            Lookup::Value { range, ts } => Seen::InImage(range, ts),
            Lookup::Large(large, ts) => Seen::Large(large, ts),
        };
        (seen, newer)
    }

    /// When `key` changed last, as far as the leaf knows.
    pub(crate) fn newest(self, key: &[u8]) -> Option<Timestamp> {
        // S1: the spill never holds the newest version.
        self.image.newest_ts(key)
    }

    /// Whether the image has a version of `key` at or before `at`; if not, the spill may (S1).
    fn image_knows(self, key: &[u8], at: Timestamp) -> bool {
        let main = self.image.search(key).is_ok_and(|index| self.image.record(index).ts <= at);
        main || self.image.hist_range(key).any(|index| self.image.hist_record(index).ts <= at)
    }
}

mod patch;
#[cfg(test)]
mod tests;
