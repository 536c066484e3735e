//! Places where the owner of frames finds them by number: an index and a load under a pin, no look into the pool.
//!
//! SL1  A place holds an image only from when its frame is in the pool until shortly after it was evicted: so what is found here is counted in the budget.
//! SL2  Who finds an image here says so in the place, and the clock of the pool reads it there: so frames that are only found here are spared as others are.

use std::sync::Arc;

use crate::arena::Counted;
use crate::image::Image;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::published::{Lent, Pinned, Published};

/// See the module.
///
/// ```
/// use duramen_base::pool::Slots;
/// use duramen_base::sync::published::Pinned;
/// let slots = Slots::new(3);
/// assert!(slots.get(2, &Pinned::new()).is_none());
/// assert!(slots.get(3, &Pinned::new()).is_none());
/// ```
#[derive(Debug)]
pub struct Slots(Box<[Slot]>);

#[derive(Debug, Default)]
struct Slot {
    image: Published<Image>,
    /// Found since the clock's hand passed. A hint, so relaxed.
    is_used: AtomicBool,
}

impl Slots {
    /// So many places, all empty.
    pub fn new(count: usize) -> Arc<Slots> {
        Arc::new(Slots((0..count).map(|_| Slot::default()).collect()))
    }

    /// Bytes of memory for so many places.
    pub const fn memory_bytes(count: usize) -> usize {
        count * size_of::<Slot>()
    }

    /// The image at place `index`, if there is one.
    #[inline]
    pub fn get<'p>(&self, index: usize, pin: &'p Pinned) -> Option<Lent<'p, Image>> {
        let slot = self.0.get(index)?;
        let image = slot.image.get(pin)?;
        // Looked at first: a store would take the line from all other readers.
        if !slot.is_used.load(Ordering::Relaxed) {
            slot.is_used.store(true, Ordering::Relaxed);
        }
        Some(image)
    }

    /// SL2.
    pub(super) fn take_used(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|slot| slot.is_used.swap(false, Ordering::Relaxed))
    }

    /// SL1: under the latch of the shard that has the frame.
    pub(super) fn publish(&self, index: usize, image: &Counted<Image>) {
        if let Some(slot) = self.0.get(index).filter(|slot| !slot.image.is(Some(image))) {
            slot.image.set(Some(Counted::clone(image)));
        }
    }

    /// SL1: after the frame has left. Who put another there meanwhile will find it in the pool again.
    pub(super) fn clear(&self, index: usize) {
        if let Some(slot) = self.0.get(index) {
            slot.image.set(None);
        }
    }
}
