//! In place of `chunks.rs` in builds with the cfg `duramen_apart`: each run of units is an allocation of its own, so that tools that check memory (AddressSanitizer,
//! Miri) see where a room ends and when it is gone. Nothing else has that cfg.
//!
//! AP1  A run is at the same address from when it is taken until it is given back: nothing touches its vector meanwhile.

use std::ptr::NonNull;

use super::{Run, UNIT_BYTES};

/// See the module.
pub(super) struct Chunks {
    runs: Vec<Vec<Unit>>,
    /// Numbers that no allocation has.
    unused: Vec<u32>,
    units: usize,
}

#[derive(Clone)]
#[repr(align(512))]
struct Unit(#[expect(dead_code, reason = "it is reached by its address")] [u8; UNIT_BYTES]);

/// Memory that nobody has any more, for the system.
#[must_use = "given back outside of the latch"]
pub(super) struct Unmapped(#[expect(dead_code, reason = "it is dropped")] Vec<Unit>);

impl Chunks {
    pub(super) const NONE: Chunks = Chunks { runs: Vec::new(), unused: Vec::new(), units: 0 };

    /// Takes `units` units in a row.
    pub(super) fn take(&mut self, units: usize) -> Run {
        let chunk = self.unused.pop().unwrap_or_else(|| {
            self.runs.push(Vec::new());
            (self.runs.len() - 1) as u32
        });
        self.units += units;
        let run = &mut self.runs[chunk as usize];
        *run = vec![Unit([0; UNIT_BYTES]); units];
        Run { chunk, start: NonNull::new(run.as_mut_ptr().cast()).expect("a vector is somewhere"), units }
    }

    /// Gives back what was taken together.
    pub(super) fn give_back(&mut self, run: Run) -> Option<Unmapped> {
        let given_back = std::mem::take(&mut self.runs[run.chunk as usize]);
        debug_assert!(given_back.len() == run.units, "AP1: it is given back as it was taken");
        self.unused.push(run.chunk);
        self.units -= run.units;
        Some(Unmapped(given_back))
    }

    /// Bytes of memory that are taken.
    pub(super) fn bytes(&self) -> usize {
        self.units * UNIT_BYTES
    }
}
