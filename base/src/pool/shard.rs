//! One shard of the frame pool: a map, and a clock over its frames. Plain data; the latch is around it.
//!
//! The clock's hand goes round the frames: one used since the last visit is spared once, another goes. Frames that a scan brought in stand in a
//! queue of their own and go before all others, oldest first, unless somebody asked for them to be kept meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{FrameHash, FrameKey, Slots};
use crate::arena::Counted;
use crate::budget::Reservation;
use crate::image::Image;
use crate::mutant;

#[derive(Debug)]
pub(super) struct Shard {
    bytes_max: u64,
    bytes: u64,
    /// Place of each key in `frames`.
    places: HashMap<FrameKey, usize, FrameHash>,
    frames: Vec<Frame>,
    hand: usize,
    /// Keys that entered cold, oldest first; those that warmed up or left meanwhile are passed over.
    cold: VecDeque<FrameKey>,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

/// An image and what is known of its use.
#[derive(Debug)]
pub(super) struct Frame {
    key: FrameKey,
    image: Counted<Image>,
    heat: Heat,
    /// FP2; `None` once evicted and given back.
    reservation: Option<Reservation>,
    home: Option<Home>,
}

/// Where else an image is found while it is here (SL1 of `slots.rs`).
#[derive(Debug)]
pub(super) struct Home {
    pub(super) slots: Arc<Slots>,
    pub(super) index: usize,
}

/// Frames are dropped outside of the latch (FP1).
impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(home) = self.home.as_ref().filter(|_| !mutant!("keep_evicted_published")) {
            home.slots.clear(home.index);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heat {
    /// Brought in by a scan and not asked for since.
    Cold,
    /// Not used since the hand passed.
    Idle,
    /// Used since the hand passed.
    Used,
}

impl Frame {
    pub(super) fn bytes(&self) -> u64 {
        self.image.memory_bytes() as u64
    }

    /// Whether somebody found it without us since this was asked last (SL2 of `slots.rs`).
    fn was_found_at_home(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.slots.take_used(home.index))
    }

    /// The frame with its bytes given back to the budget already.
    pub(super) fn uncounted(mut self) -> Frame {
        self.reservation = None;
        self
    }
}

impl Shard {
    pub(super) fn new(bytes_max: u64) -> Shard {
        Shard {
            bytes_max,
            bytes: 0,
            places: HashMap::default(),
            frames: Vec::new(),
            hand: 0,
            cold: VecDeque::new(),
            hits: 0,
            misses: 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The image at `key`, counted as a hit or miss; `keep` warms it.
    pub(super) fn get(&mut self, key: FrameKey, keep: bool) -> Option<Counted<Image>> {
        self.get_at(key, keep, || None)
    }

    /// The same, from now on also found at `home`.
    pub(super) fn get_at(
        &mut self,
        key: FrameKey,
        keep: bool,
        home: impl FnOnce() -> Option<Home>,
    ) -> Option<Counted<Image>> {
        let Some(&place) = self.places.get(&key) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        let frame = &mut self.frames[place];
        if keep {
            frame.heat = Heat::Used;
        }
        if let Some(home) = home() {
            home.slots.publish(home.index, &frame.image);
            frame.home = Some(home);
        }
        Some(Counted::clone(&frame.image))
    }

    /// The image at `key`, without a trace.
    pub(super) fn peek(&self, key: FrameKey) -> Option<Counted<Image>> {
        self.places.get(&key).map(|&place| Counted::clone(&self.frames[place].image))
    }

    /// Takes in an image that is not here. Room was made before, so that the newcomer is not its own victim.
    pub(super) fn insert(
        &mut self,
        key: FrameKey,
        keep: bool,
        home: Option<Home>,
        image: Counted<Image>,
        reservation: Reservation,
    ) {
        if reservation.bytes() > self.bytes_max {
            return; // FP4: one image larger than the whole shard is not kept.
        }
        self.bytes += reservation.bytes();
        let heat = if keep { Heat::Used } else { Heat::Cold };
        if heat == Heat::Cold {
            self.cold.push_back(key);
        }
        let place = self.places.insert(key, self.frames.len());
        debug_assert!(place.is_none(), "FP3: one frame a key");
        if let Some(home) = &home {
            home.slots.publish(home.index, &image);
        }
        self.frames.push(Frame { key, image, heat, reservation: Some(reservation), home });
    }

    /// Evicts until `bytes` more fit; nothing if they never can.
    #[must_use = "images are dropped outside the latch (FP1)"]
    pub(super) fn make_room(&mut self, bytes: u64) -> Vec<Frame> {
        match bytes > self.bytes_max {
            true => Vec::new(),
            false => self.evict_bytes((self.bytes + bytes).saturating_sub(self.bytes_max)),
        }
    }

    /// Evicts at least `bytes`, or all.
    #[must_use = "images are dropped outside the latch (FP1)"]
    pub(super) fn evict_bytes(&mut self, bytes: u64) -> Vec<Frame> {
        let mut evicted = Vec::new();
        let target = self.bytes.saturating_sub(bytes);
        while self.bytes > target
            && let Some(frame) = self.evict()
        {
            evicted.push(frame);
        }
        evicted
    }

    /// Whether another `bytes` would be too many.
    pub(super) fn lacks(&self, bytes: u64) -> bool {
        self.bytes + bytes > self.bytes_max
    }

    /// Takes out the oldest frame that entered cold and that nobody asked for since; `None` if there is none.
    pub(super) fn evict_cold(&mut self) -> Option<Frame> {
        while let Some(key) = self.cold.pop_front() {
            if let Some(&place) = self.places.get(&key)
                && self.frames[place].heat == Heat::Cold
            {
                if self.frames[place].was_found_at_home() {
                    self.frames[place].heat = Heat::Idle;
                    continue;
                }
                return Some(self.take_out(place));
            }
        }
        None
    }

    /// Takes out the frame that is needed least (FP4); `None` if there is none.
    pub(super) fn evict(&mut self) -> Option<Frame> {
        if let Some(frame) = self.evict_cold() {
            return Some(frame);
        }
        // Two rounds at most: the first finds an idle frame or leaves all idle. Readers who go on finding frames at home are not heard for ever.
        let mut hearings = 2 * self.frames.len();
        while !self.frames.is_empty() {
            self.hand = if self.hand < self.frames.len() { self.hand } else { 0 };
            hearings = hearings.saturating_sub(1);
            if hearings > 0 && self.frames[self.hand].was_found_at_home() {
                self.frames[self.hand].heat = Heat::Idle;
                self.hand += 1;
                continue;
            }
            match self.frames[self.hand].heat {
                Heat::Used => {
                    self.frames[self.hand].heat = Heat::Idle;
                    self.hand += 1;
                }
                Heat::Idle | Heat::Cold => return Some(self.take_out(self.hand)),
            }
        }
        None
    }

    /// Takes out all frames of a file.
    #[must_use = "images are dropped outside the latch (FP1)"]
    pub(super) fn forget_file(&mut self, file: u64) -> Vec<Frame> {
        self.cold.retain(|key| key.file != file);
        let mut dropped = Vec::new();
        let mut place = 0;
        while place < self.frames.len() {
            if self.frames[place].key.file == file {
                dropped.push(self.take_out(place));
            } else {
                place += 1;
            }
        }
        dropped
    }

    fn take_out(&mut self, place: usize) -> Frame {
        let frame = self.frames.swap_remove(place);
        self.places.remove(&frame.key);
        if let Some(moved) = self.frames.get(place) {
            self.places.insert(moved.key, place);
        }
        self.bytes -= frame.bytes();
        frame
    }

    /// That the parts agree: each frame has its place and the bytes add up.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.places.len(), self.frames.len(), "FP3: one frame a key");
        for (place, frame) in self.frames.iter().enumerate() {
            assert_eq!(self.places.get(&frame.key), Some(&place));
            assert_eq!(
                frame.reservation.as_ref().map(Reservation::bytes),
                Some(frame.bytes()),
                "FP2: each frame is counted"
            );
        }
        assert_eq!(self.bytes, self.frames.iter().map(Frame::bytes).sum::<u64>());
        assert!(self.bytes <= self.bytes_max, "FP4: within the limit");
    }
}
