//! The frame pool: page images read from files, shared by all stores, bounded by a limit and by the memory budget.
//!
//! It caches and it counts; it reads no file itself and knows no page's meaning. First version: heap frames behind counted pointers, in shards with a
//! latch each. Dirty pages are no business of it: what is here can always be read again.
//!
//! FP1  No I/O, no callback and no freeing of an image happens under a latch; at most one latch is held at a time.
//! FP2  Every image that is here is counted in the budget; one that was evicted while a reader holds it lives on, uncounted, until that reader drops it.
//! FP3  Of two loads of one key at once the first one in stays, and both callers get that one.
//! FP4  A shard never keeps more than its part of the limit. Cold frames go first, then those that were not used since the clock's hand passed.
//! FP5 What is granted beside the frames is counted in the budget, and at most a quarter of what the frames may have.
//! FP6  What is offered unasked enters cold, where there is room or only cold frames give way, and leaves a quarter of the budget to others.
//!
//! Next: `pool/shard.rs` (the clock), `pool/slots.rs` (frames that their owner finds without the pool), `pool/counts.rs` (hits and misses).

mod counts;
mod shard;
mod slots;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::arena::Counted;
use crate::budget::{Budget, Reservation};
use crate::error::Result;
use crate::ids::KeyspaceId;
use crate::image::Image;
use crate::mutant;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, published};
pub use counts::CacheCounts;
use counts::CountsOfAll;
use shard::{Home, Shard};
pub use slots::Slots;

/// Name of a frame: which file of which store, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameKey {
    /// Unique number of the file within the process (see [`FramePool::new_file`]).
    pub file: u64,
    /// Byte offset in it.
    pub offset: u64,
}

/// Of the pool's bytes, as much again may be kept beside it as this part.
const BESIDE_PART: u64 = 4;
/// Of the budget, this part is not filled with what nobody asked for yet (FP6).
const UNASKED_SPARE_PART: u64 = 4;
const IMAGE_BYTES_USUAL: u64 = 16 << 10;
const SHARD_COUNT_MAX: u64 = 16;
/// A shard holds several of the largest images, so that a small pool is one exact clock and not sixteen that hold nothing.
const SHARD_BYTES_MIN: u64 = 1 << 20;

/// The pool of page images read from files: clock eviction, cold entry for scans.
///
/// ```
/// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
/// use duramen_base::pool::{FrameKey, FramePool};
/// use duramen_base::Budget;
///
/// let pool = FramePool::new(&Budget::new(1 << 20), 1 << 20);
/// let key = FrameKey { file: pool.new_file(), offset: 4096 };
/// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 4096, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
/// let image = pool.get_or_load(key, true, || Ok(ImageBuilder::raw(&spec, b"heartwood")))?;
/// assert_eq!(image.raw_body(), b"heartwood");
/// assert!(pool.get(key).is_some());
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Debug)]
pub struct FramePool {
    budget: Arc<Budget>,
    shards: Box<[Mutex<Shard>]>,
    last_file: AtomicU64,
    /// Bytes granted beside the frames, and how many that may be (FP5).
    beside: AtomicU64,
    beside_max: u64,
    counts: CountsOfAll,
}

/// Room that [`FramePool::keep_beside`] granted, until dropped.
#[derive(Debug)]
pub struct RoomBeside {
    pool: Arc<FramePool>,
    reservation: Reservation,
}

impl Drop for RoomBeside {
    fn drop(&mut self) {
        self.pool.beside.fetch_sub(self.reservation.bytes(), Ordering::Relaxed);
    }
}

impl FramePool {
    /// A pool that keeps at most `bytes_max` bytes, counted in `budget`.
    pub fn new(budget: &Arc<Budget>, bytes_max: u64) -> Arc<FramePool> {
        let shard_count = (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARD_COUNT_MAX);
        let shards = (0..shard_count).map(|_| Mutex::new(Shard::new(bytes_max / shard_count))).collect();
        let (last_file, beside, beside_max) = (AtomicU64::new(0), AtomicU64::new(0), bytes_max / BESIDE_PART);
        let (budget, counts) = (Arc::clone(budget), CountsOfAll::default());
        Arc::new(FramePool { budget, shards, last_file, beside, beside_max, counts })
    }

    /// A number for a file that is about to be read through the pool. Never given out again, so forgetting a file is final.
    pub fn new_file(&self) -> u64 {
        // Relaxed: only uniqueness is asked of it.
        self.last_file.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Where lookups in a keyspace are counted. All who ask for the same one meanwhile get the same.
    ///
    /// ```
    /// use duramen_base::{KeyspaceId, pool::FramePool};
    /// let pool = FramePool::new(&duramen_base::Budget::new(1 << 20), 1 << 20);
    /// let (store, table) = (pool.counts_of(KeyspaceId::new(1)), pool.counts_of(KeyspaceId::new(1)));
    /// table.note_lookup();
    /// assert_eq!(store.hits_and_misses(), (1, 0));
    /// ```
    pub fn counts_of(&self, keyspace: KeyspaceId) -> Arc<CacheCounts> {
        self.counts.of(keyspace)
    }

    /// The image at `key` if it is here, looked at without a trace: neither warmed nor counted. For whoever reads what is about to go.
    ///
    /// ```
    /// use duramen_base::pool::{FrameKey, FramePool};
    /// let pool = FramePool::new(&duramen_base::Budget::new(1 << 20), 1 << 20);
    /// assert!(pool.peek(FrameKey { file: pool.new_file(), offset: 0 }).is_none());
    /// assert_eq!(pool.hits_and_misses(), (0, 0));
    /// ```
    pub fn peek(&self, key: FrameKey) -> Option<Counted<Image>> {
        self.shard(key).lock().peek(key)
    }

    /// Takes in an image that was just written and may be read soon, cold: if there is free room, or, with `over_cold`, if frames that nobody asked
    /// for again give way. Whether it is kept (FP6).
    ///
    /// ```
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::pool::{FrameKey, FramePool};
    /// use duramen_base::Budget;
    ///
    /// let pool = FramePool::new(&Budget::new(1 << 20), 1 << 20);
    /// let key = FrameKey { file: pool.new_file(), offset: 4096 };
    /// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 4096, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// assert!(pool.offer(key, ImageBuilder::raw(&spec, b"sapwood"), false));
    /// assert_eq!(pool.get(key).expect("kept").raw_body(), b"sapwood");
    /// ```
    pub fn offer(&self, key: FrameKey, image: Image, over_cold: bool) -> bool {
        let bytes = image.memory_bytes() as u64;
        let limit = self.budget.limit();
        if self.budget.used().saturating_add(bytes) > limit - limit / UNASKED_SPARE_PART {
            return false;
        }
        let Some(reservation) = self.budget.try_reserve(bytes) else { return false };
        let mut shard = self.shard(key).lock();
        let mut evicted = Vec::new();
        while shard.lacks(bytes)
            && (over_cold || mutant!("offer_over_hot"))
            && let Some(frame) = if mutant!("offer_over_hot") { shard.evict() } else { shard.evict_cold() }
        {
            evicted.push(frame);
        }
        let fits = !shard.lacks(bytes) && shard.peek(key).is_none();
        if fits {
            shard.insert(key, false, None, Counted::new(image), reservation);
        }
        drop(shard);
        drop(evicted); // FP1: outside the latch
        fits
    }

    /// The image at `key` if it is here.
    pub fn get(&self, key: FrameKey) -> Option<Counted<Image>> {
        self.shard(key).lock().get(key, true)
    }

    /// The same, from then on also found in `slots` at place `index`, as [`FramePool::get_or_load_at`] has it.
    ///
    /// ```
    /// use duramen_base::pool::{FrameKey, FramePool, Slots};
    /// let pool = FramePool::new(&duramen_base::Budget::new(1 << 20), 1 << 20);
    /// assert!(pool.get_at(FrameKey { file: pool.new_file(), offset: 0 }, (&Slots::new(1), 0)).is_none());
    /// ```
    pub fn get_at(&self, key: FrameKey, (slots, index): (&Arc<Slots>, usize)) -> Option<Counted<Image>> {
        self.shard(key).lock().get_at(key, true, || Some(Home { slots: Arc::clone(slots), index }))
    }

    /// The image at `key`, by `load` if it is not here. `keep` false: it enters cold and goes first. `load` runs outside every latch.
    ///
    /// # Errors
    /// Those of `load`; nothing is remembered of them.
    pub fn get_or_load(
        &self,
        key: FrameKey,
        keep: bool,
        load: impl FnOnce() -> Result<Image>,
    ) -> Result<Counted<Image>> {
        self.find_or_load(key, keep, None, load)
    }

    /// The same, and from then on the image is found in `slots` at place `index`, too, for as long as it is here.
    ///
    /// ```
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::pool::{FrameKey, FramePool, Slots};
    /// use duramen_base::sync::published::Pinned;
    /// use duramen_base::Budget;
    ///
    /// let pool = FramePool::new(&Budget::new(1 << 20), 1 << 20);
    /// let key = FrameKey { file: pool.new_file(), offset: 4096 };
    /// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 4096, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// let slots = Slots::new(1);
    /// pool.get_or_load_at(key, true, (&slots, 0), || Ok(ImageBuilder::raw(&spec, b"heartwood")))?;
    /// assert_eq!(slots.get(0, &Pinned::new()).expect("published").raw_body(), b"heartwood");
    /// pool.give_back(1);
    /// assert!(slots.get(0, &Pinned::new()).is_none());
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`FramePool::get_or_load`].
    pub fn get_or_load_at(
        &self,
        key: FrameKey,
        keep: bool,
        (slots, index): (&Arc<Slots>, usize),
        load: impl FnOnce() -> Result<Image>,
    ) -> Result<Counted<Image>> {
        self.find_or_load(key, keep, Some((slots, index)), load)
    }

    fn find_or_load(
        &self,
        key: FrameKey,
        keep: bool,
        place: Option<(&Arc<Slots>, usize)>,
        load: impl FnOnce() -> Result<Image>,
    ) -> Result<Counted<Image>> {
        let home = || place.map(|(slots, index)| Home { slots: Arc::clone(slots), index });
        let found = self.shard(key).lock().get_at(key, keep, home);
        match found {
            Some(image) => Ok(image),
            None => {
                published::give_way(self.budget.limit(), IMAGE_BYTES_USUAL);
                Ok(self.insert(key, keep, home(), Counted::new(load()?)))
            }
        }
    }

    /// Room for an image of `bytes` bytes that its owner keeps for itself, for as long as what it gets lives; `None` if the budget is used up or
    /// much is kept so already. Nobody evicts such an image, and finding it takes no look into the pool.
    ///
    /// ```
    /// use duramen_base::{Budget, pool::FramePool};
    /// let budget = Budget::new(1 << 20);
    /// let pool = FramePool::new(&budget, 1 << 20);
    /// let room = pool.keep_beside(4096).expect("little is kept");
    /// assert_eq!(budget.used(), 4096);
    /// assert!(pool.keep_beside(1 << 19).is_none());
    /// drop(room);
    /// assert_eq!(budget.used(), 0);
    /// ```
    pub fn keep_beside(self: &Arc<FramePool>, bytes: u64) -> Option<RoomBeside> {
        // Relaxed: a count that guards no other memory. A race grants a little too much.
        if self.beside.load(Ordering::Relaxed) + bytes > self.beside_max {
            return None;
        }
        let reservation = self.budget.try_reserve(bytes)?;
        self.beside.fetch_add(bytes, Ordering::Relaxed);
        Some(RoomBeside { pool: Arc::clone(self), reservation })
    }

    /// Drops all images of a file. A load of it that is still running may bring one back, which then ages like any other.
    pub fn forget_file(&self, file: u64) {
        for shard in &self.shards {
            let dropped = shard.lock().forget_file(file);
            drop(dropped); // FP1: outside the latch
        }
    }

    /// Gives back at least `bytes` bytes of memory, or all it has; how many it was. For whoever needs room in the budget.
    ///
    /// ```
    /// use duramen_base::{Budget, pool::FramePool};
    /// assert_eq!(FramePool::new(&Budget::new(1 << 20), 1 << 20).give_back(4096), 0);
    /// ```
    pub fn give_back(&self, bytes: u64) -> u64 {
        let shard_count = self.shards.len() as u64;
        let mut given = 0;
        // An even part from each shard first, then whatever is missing from any.
        for wanted_each in [bytes.div_ceil(shard_count), bytes] {
            for shard in &self.shards {
                let wanted = wanted_each.min(bytes.saturating_sub(given));
                let evicted = shard.lock().evict_bytes(wanted);
                given += evicted.iter().map(|frame| frame.bytes()).sum::<u64>();
            }
        }
        given
    }

    /// Bytes of the images it keeps.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().bytes()).sum()
    }

    /// Lookups in the pool itself that found their image, and those that did not. What readers met in memory, [`FramePool::counts_of`] knows.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(hits, misses), shard| {
            let shard = shard.lock();
            (hits + shard.hits, misses + shard.misses)
        })
    }

    /// Puts `image` in if nobody was faster; the one that is in.
    fn insert(&self, key: FrameKey, keep: bool, home: Option<Home>, image: Counted<Image>) -> Counted<Image> {
        // Reading must not fail for lack of memory, so it may go over the budget; then the shard shrinks.
        let reservation = self.budget.reserve_anyway(image.memory_bytes() as u64);
        let mut shard = self.shard(key).lock();
        if let Some(first_in) = shard.peek(key) {
            drop(shard);
            return first_in;
        }
        let mut evicted = shard.make_room(reservation.bytes());
        while self.budget.is_over()
            && let Some(frame) = shard.evict()
        {
            // Its count falls here, its memory with `evicted`.
            evicted.push(frame.uncounted());
        }
        shard.insert(key, keep, home, Counted::clone(&image), reservation);
        drop(shard);
        drop(evicted); // FP1: outside the latch
        image
    }

    fn shard(&self, key: FrameKey) -> &Mutex<Shard> {
        // The map inside takes its bucket from the low bits and its tag from the highest, so those between are left for the shard.
        let hash = FrameHash::default().hash_one(key) >> 32;
        &self.shards[(hash % self.shards.len() as u64) as usize]
    }
}

/// Hash of frame keys. Nobody outside chooses file numbers and offsets, so a multiplication that mixes well is enough.
pub(crate) type FrameHash = BuildHasherDefault<FrameHasher>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameHasher(u64);

impl Hasher for FrameHasher {
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
