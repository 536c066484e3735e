//! Finding the leaf of a key without any latch: for point reads, for what changed a key last, and for cursors that look for a key.
//!
//! A descent that meets a page that is not here, that changed places meanwhile, or whose history is beside it in memory, gives up: the caller
//! then goes the way of `read.rs`, under latches, which also tells damage from a tree that changed. Nothing is validated and nothing repeated.
//!
//! U1  Images are immutable, and only upkeep publishes them (G1), one page at a time and each only once it is true: at any moment every published
//!     leaf that encloses a key holds all that was drained of it. A split or merge shows the same content in two leaves for a moment; before
//!     either changes again, one of them has ended: it is narrower, or gone.
//! U2  So a leaf that encloses the key answers for it, by whatever pages it was reached, if the buffers and range deletes were looked up before (G4).
//!     A page id may be another page by now; level and fences of the leaf say whether it is the one.
//! U3  An inner page is a hint. Whatever it says, levels fall by one at each step.

use duramen_base::image::Image;
use duramen_base::mutant;
use duramen_base::sync::published::{Lent, Pinned};

use crate::pid_table::ROOT_PID;
use crate::store::Store;

impl Store {
    /// The leaf that encloses `key`, if it is reached without a latch (U2).
    #[inline]
    pub(crate) fn unlatched_leaf<'p>(&self, key: &[u8], pin: &'p Pinned) -> Option<Lent<'p, Image>> {
        let mut slot = self.pages.slot(ROOT_PID)?;
        let mut image = slot.shown(pin)?;
        while image.level() > 0 {
            let child = self.pages.slot(image.child(image.child_index(key)))?;
            let below = child.shown(pin)?;
            if image.level() == 1 {
                below.ask_for_lookup(); // most leaves are out of cache, and few inner pages
            }
            if below.level() + 1 != image.level() {
                return None; // U3
            }
            (slot, image) = (child, below);
        }
        let encloses = mutant!("any_leaf_answers") || image.encloses(key); // U2
        encloses.then(|| {
            slot.touch();
            image
        })
    }
}
