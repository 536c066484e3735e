//! Descending, reading pages in, and point reads.
//!
//! D1  A descent is done under `structure` shared, so it never meets a split or merge half way; it ends at the leaf whose fences
//!     enclose the key, or at a page that must be read first.
//! D2  A page read from disk is taken only if checksum, page id, keyspace, write sequence and level are those that its parents hold.
//! D3  Levels fall by one at each step, so a descent ends, whatever a damaged file says.

use std::ops::Range;

use duramen_base::arena::{Counted, Room};
use duramen_base::image::{IMAGE_BYTES_MAX, Identity, Image, ImageKind};
use duramen_base::memtable::{KeyVersion, MemFound};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::sync::published::{self, Pinned};
use duramen_base::{Error, Found, Hit, LoadTicket, Pin, Result, Timestamp, Value, ValueRef};

use crate::buffers::Buffered;
use crate::leaf::{LeafRef, Seen};
use crate::map::DiskAddr;
use crate::pid_table::{Page, ROOT_PID, Resident, Slot};
use crate::range_tombs::RangeTombs;
use crate::spill::Spill;
use crate::store::Store;
use crate::units::UNIT_BYTES;

/// Which leaf a descent looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// The one that encloses the key; the empty key: the first.
    At(&'a [u8]),
    /// The one with the greatest keys below this one, which is not the lowest fence.
    Before(&'a [u8]),
    /// The last.
    Last,
}

impl Target<'_> {
    pub(crate) fn child_index(&self, image: &Image) -> usize {
        match self {
            Target::At(key) => image.child_index(key),
            Target::Before(key) => match image.search(key) {
                Ok(index) | Err(index) => index.saturating_sub(1),
            },
            Target::Last => image.count() - 1,
        }
    }
}

/// A page that must be read before a descent can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) pid: u64,
    /// What its parent says; `None` for the root.
    level: Option<u8>,
}

impl Missing {
    /// A child page of `level`.
    pub(crate) fn child(pid: u64, level: u8) -> Missing {
        Missing { pid, level: Some(level) }
    }
}

/// End of a descent.
pub(crate) enum Descent<'s> {
    /// The leaf; whether it is here, its latch tells.
    Leaf { pid: u64, slot: Slot<'s> },
    /// An inner page is not here.
    Missing(Missing),
}

/// An image of a leaf with its spill, kept by counting.
#[derive(Clone)]
pub(crate) struct LeafView {
    pub(crate) image: Counted<Image>,
    pub(crate) spill: Option<Arc<Spill>>,
}

impl Store {
    /// D1. The caller holds `structure`, or is upkeep.
    pub(crate) fn descend(&self, target: Target<'_>) -> Result<Descent<'_>> {
        let (mut pid, mut expected) = (ROOT_PID, None);
        loop {
            let slot = self.pages.slot(pid).ok_or_else(|| self.bad_tree("a child page that does not exist"))?;
            if expected == Some(0) {
                return Ok(Descent::Leaf { pid, slot });
            }
            let page = slot.read();
            let image = match &*page {
                Page::Resident(resident) => &resident.image,
                Page::OnDisk(_) => return Ok(Descent::Missing(Missing { pid, level: expected })),
                Page::Free => return Err(self.bad_tree("a child page that is free")),
            };
            if expected.is_some_and(|level| level != image.level()) {
                return Err(self.bad_tree("a child page of the wrong level")); // D3
            }
            if image.level() == 0 {
                return Ok(Descent::Leaf { pid, slot });
            }
            expected = Some(image.level() - 1);
            pid = image.child(target.child_index(image));
        }
    }

    /// Damage that shows in memory: a page that was read says something impossible.
    pub(crate) fn bad_tree(&self, what: &'static str) -> Error {
        self.file.corruption(0, what)
    }

    /// Runs `read` on the leaf that `target` names, reading pages in as needed; `before_reading` is called if that is the leaf itself. Neither under
    /// any latch.
    pub(crate) fn with_leaf<T>(
        &self,
        target: Target<'_>,
        mut before_reading: impl FnMut(),
        mut read: impl FnMut(Slot<'_>, &Resident) -> Result<T>,
    ) -> Result<T> {
        loop {
            let missing = {
                let _shared = self.structure.read();
                match self.descend(target)? {
                    Descent::Missing(missing) => missing,
                    Descent::Leaf { pid, slot } => {
                        let page = slot.read();
                        match &*page {
                            Page::Resident(resident) if resident.image.level() == 0 => {
                                slot.touch();
                                self.cache.note_lookup();
                                return read(slot, resident);
                            }
                            Page::Resident(_) => return Err(self.bad_tree("a leaf of the wrong level")),
                            Page::OnDisk(_) => Missing { pid, level: Some(0) },
                            Page::Free => return Err(self.bad_tree("a child page that is free")),
                        }
                    }
                }
            };
            if missing.level == Some(0) {
                before_reading();
            }
            self.load_for_reader(missing)?;
        }
    }

    /// The leaf that `target` names, for upkeep: read in as needed, and not noted as used.
    pub(crate) fn upkeep_leaf(&self, target: Target<'_>) -> Result<(u64, LeafView)> {
        loop {
            let missing = match self.descend(target)? {
                Descent::Missing(missing) => missing,
                Descent::Leaf { pid, .. } => match self.resident_page(pid) {
                    Some(leaf) if leaf.image.level() == 0 => return Ok((pid, leaf)),
                    Some(_) => return Err(self.bad_tree("a leaf of the wrong level")),
                    None => Missing { pid, level: Some(0) },
                },
            };
            self.load(missing)?;
        }
    }

    /// The leaf that `target` names, for a cursor at `at`; `before_reading` is called if it must be read.
    pub(crate) fn leaf_view(
        &self,
        target: Target<'_>,
        at: Timestamp,
        before_reading: impl FnMut(),
    ) -> Result<LeafView> {
        if let Target::At(key) = target {
            let pin = Pinned::new();
            if let Some(image) = self.unlatched_leaf(key, &pin) {
                self.check_not_too_old(at)?;
                self.cache.note_lookup();
                return Ok(LeafView { image: image.to_counted(), spill: None });
            }
        }
        self.with_leaf(target, before_reading, |_, resident| {
            self.check_not_too_old(at)?;
            Ok(LeafView { image: Counted::clone(&resident.image), spill: resident.spill.clone() })
        })
    }

    /// As [`Store::load`], for a reader; counted as such if it was a leaf. Inner pages are looked up without a count.
    pub(crate) fn load_for_reader(&self, missing: Missing) -> Result<()> {
        if self.load_page(missing)? == Some(0) {
            self.cache.note_read();
        }
        Ok(())
    }

    /// Reads a page in, if it is still missing. Not under any latch.
    pub(crate) fn load(&self, missing: Missing) -> Result<()> {
        self.load_page(missing).map(|_| ())
    }

    /// The same; the level of the page if it was read.
    fn load_page(&self, missing: Missing) -> Result<Option<u8>> {
        let slot = self.pages.known(missing.pid);
        published::give_way(self.budget().limit(), self.leaf_bytes() as u64);
        loop {
            let _generation = self.loads.lock().current(); // E3
            let Page::OnDisk(addr) = *slot.read() else { return Ok(None) };
            self.make_room();
            let read = self.read_page(missing.pid, addr);
            let mut page = slot.write();
            // The page may have been read, changed, written elsewhere and dropped while we read its old place.
            if !matches!(*page, Page::OnDisk(now) if now == addr) {
                continue;
            }
            let image = read?;
            if missing.level.is_some_and(|level| level != image.level()) {
                return Err(self.file.corruption(addr.unit * UNIT_BYTES as u64, "a page of the wrong level")); // D2
            }
            let level = image.level();
            *page = Page::Resident(Resident::new(image, None, Some(addr), self.budget()));
            self.count_page(&page, true);
            self.note_evictable(slot, &page, missing.pid);
            return Ok(Some(level));
        }
    }

    /// Reads and checks a page of the tree (D2).
    pub(crate) fn read_page(&self, pid: u64, addr: DiskAddr) -> Result<Image> {
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = read_units(&self.file, addr)?;
        // The parent of the map does not say which kind; the tree above does, by the level.
        let kind = if bytes[13] == ImageKind::Inner as u8 { ImageKind::Inner } else { ImageKind::Leaf };
        let image = decode_image(&self.file, addr, bytes, kind, pid, self.keyspace().get())?;
        if (image.level() == 0) != (kind == ImageKind::Leaf) {
            return Err(self.file.corruption(addr.unit * UNIT_BYTES as u64, "a page whose kind and level disagree"));
        }
        if kind == ImageKind::Inner && image.count() == 0 {
            return Err(self.file.corruption(addr.unit * UNIT_BYTES as u64, "an inner page without children"));
        }
        Ok(image)
    }

    /// The newest version of `key` at or before `at`.
    pub(crate) fn get<'p>(self: &Arc<Store>, pin: &'p Pin, key: &[u8], at: Timestamp) -> Result<Found<'p>> {
        let newer = match self.buffers.get(key, at, |run| self.look_in_run(run, key, at)) {
            Buffered::Settled(found) => return Ok(found_in_buffer(found)),
            Buffered::Open(newer) => newer,
            Buffered::Missing(missing) => return Ok(self.needs(missing)),
            Buffered::Large(large, ts, newer) => return Ok(Found { hit: Hit::Large { large, ts }, newer }),
        };
        let tombs = self.tombs_if_any(); // G4
        if let Some(image) = self.unlatched_leaf(key, pin.pinned()) {
            self.check_not_too_old(at)?;
            let found = find(LeafRef { image: &image, spill: None }, tombs.as_deref(), key, at, move |range| {
                ValueRef::InPage { image, start: range.start as u32, len: range.len() as u32 }
            });
            self.cache.note_lookup();
            return Ok(Found { newer: found.newer || newer, ..found });
        }
        self.get_latched(key, at, tombs.as_deref(), newer)
    }

    /// The same with latches, and where pages may be missing. `newer`: whether the buffers hold something newer.
    fn get_latched<'p>(
        self: &Arc<Store>,
        key: &[u8],
        at: Timestamp,
        tombs: Option<&RangeTombs>,
        newer: bool,
    ) -> Result<Found<'p>> {
        let _shared = self.structure.read();
        let missing = match self.descend(Target::At(key))? {
            Descent::Missing(missing) => missing,
            Descent::Leaf { pid, slot } => match &*slot.read() {
                Page::Resident(resident) => {
                    slot.touch();
                    self.cache.note_lookup();
                    self.check_not_too_old(at)?;
                    let leaf = LeafRef { image: &resident.image, spill: resident.spill.as_deref() };
                    let found = find(leaf, tombs, key, at, move |range| {
                        ValueRef::Owned(Value::from_image(&resident.image, range.start, range.len()))
                    });
                    return Ok(Found { newer: found.newer || newer, ..found });
                }
                Page::OnDisk(_) => Missing { pid, level: Some(0) },
                Page::Free => return Err(self.bad_tree("a child page that is free")),
            },
        };
        Ok(self.needs(missing))
    }

    /// The answer of a get that must read a page first.
    #[cold]
    fn needs<'p>(self: &Arc<Store>, missing: Missing) -> Found<'p> {
        let store = Arc::clone(self);
        let ticket = LoadTicket::new(move || store.load_for_reader(missing));
        Found { hit: Hit::NeedIo(ticket), newer: false }
    }

    /// When `key` changed last, if after `since`.
    pub(crate) fn newer_than(&self, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>> {
        let buffered = loop {
            match self.buffers.newest(key, |run| self.look_in_run(run, key, Timestamp::MAX)) {
                Ok(newest) => break newest,
                Err(missing) => self.load_for_reader(missing)?,
            }
        };
        if let Some(newest) = buffered {
            return Ok(Some(newest).filter(|&newest| newest > since)); // W3
        }
        if self.newest() <= since {
            return Ok(None); // G3
        }
        let tombs = self.tombs_if_any(); // G4
        let covering = tombs.and_then(|tombs| tombs.covering(key, Timestamp::MAX));
        let unlatched = {
            let pin = Pinned::new();
            self.unlatched_leaf(key, &pin).map(|image| {
                self.cache.note_lookup();
                LeafRef { image: &image, spill: None }.newest(key)
            })
        };
        let newest = match unlatched {
            Some(newest) => newest,
            None => self.with_leaf(
                Target::At(key),
                || {},
                |_, resident| Ok(LeafRef { image: &resident.image, spill: resident.spill.as_deref() }.newest(key)),
            )?,
        };
        Ok(newest.max(covering).filter(|&newest| newest > since))
    }
}

/// What a buffer that knows the key says of it.
fn found_in_buffer<'p>(found: MemFound) -> Found<'p> {
    let MemFound { version, tomb, newer } = found;
    let hit = match version.filter(|version| version.ts >= tomb) {
        Some(KeyVersion { ts, value: Some(value) }) => Hit::Value { bytes: ValueRef::Owned(value), ts },
        Some(KeyVersion { ts, value: None }) => Hit::Deleted(ts),
        None => Hit::Deleted(tomb),
    };
    Found { hit, newer }
}

/// Looks a key up in its leaf and under the range deletes; `in_image` hands over a part of the image.
fn find<'p>(
    leaf: LeafRef<'_>,
    tombs: Option<&RangeTombs>,
    key: &[u8],
    at: Timestamp,
    in_image: impl FnOnce(Range<usize>) -> ValueRef<'p>,
) -> Found<'p> {
    let (seen, newer) = leaf.find(key, at);
    let newer = newer || tombs.and_then(|tombs| tombs.covering(key, Timestamp::MAX)).is_some_and(|newest| newest > at);
    let covering = tombs.and_then(|tombs| tombs.covering(key, at));
    let hit = match (seen, covering) {
        (Seen::InImage(_, ts) | Seen::Spilled(_, ts) | Seen::Large(_, ts), Some(deleted)) if ts < deleted => {
            Hit::Deleted(deleted)
        }
        (Seen::Large(large, ts), _) => Hit::Large { large, ts },
        (Seen::InImage(range, ts), _) => Hit::Value { bytes: in_image(range), ts },
        (Seen::Spilled(value, ts), _) => Hit::Value { bytes: ValueRef::Owned(value.clone()), ts },
        (Seen::Deleted(ts), covering) => Hit::Deleted(covering.map_or(ts, |deleted| deleted.max(ts))),
        (Seen::Nothing, Some(deleted)) => Hit::Deleted(deleted),
        (Seen::Nothing, None) => Hit::Absent,
    };
    Found { hit, newer }
}

/// Reads the units of an image; images are written padded to whole units.
pub(crate) fn read_units(file: &duramen_base::vfs::File, addr: DiskAddr) -> Result<Room> {
    let offset = addr.unit * UNIT_BYTES as u64;
    if usize::from(addr.units) * UNIT_BYTES > IMAGE_BYTES_MAX {
        return Err(file.corruption(offset, "an image of more units than there are in the largest"));
    }
    let mut bytes = vec![0; usize::from(addr.units) * UNIT_BYTES];
    file.read_exact_at(&mut bytes, offset)?;
    let stored = Image::stored_len(&bytes).map_err(|fault| fault.in_file(file.path(), offset))?;
    if stored < 64 || stored > bytes.len() {
        return Err(file.corruption(offset, "an image that does not fit its units"));
    }
    // A copy of just its length: rooms that are cut to it would leave a piece behind each page that is too small for another.
    Ok(Room::copied(&bytes[..stored]))
}

/// Checks the bytes of an image against what its parent holds.
pub(crate) fn decode_image(
    file: &duramen_base::vfs::File,
    addr: DiskAddr,
    bytes: Room,
    kind: ImageKind,
    self_id: u64,
    ks_id: u32,
) -> Result<Image> {
    let expect = Identity { kind, self_id, ks_id, write_seq: u32::from(addr.write_seq) };
    Image::decode(bytes, &expect).map_err(|fault| fault.in_file(file.path(), addr.unit * UNIT_BYTES as u64))
}
