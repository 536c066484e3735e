//! What scans copy out of the memtables of a store, and whether that is in the way of those behind them: they copy it again, and merge it with what lies
//! in files.
//!
//! Hints: a store that takes one brings its memtable into files sooner, and nothing depends on it. So all of it is relaxed.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// To read, merge and write a byte is about so many times as dear as to copy it for a scan: whoever writes only then has paid twice at most.
const COPIES_MAX: u64 = 4;
/// Bytes copied after which it is asked what writing would cost: asking each time would take lines of memory from those who write into the memtable.
const COPIED_STEP: u64 = 1 << 20;

/// See the module.
///
/// ```
/// use duramen_base::memtable::ScanHints;
/// let hints = ScanHints::default();
/// assert!(!hints.note_copied(3 << 20, || 1 << 20), "not yet as dear as a mebibyte written");
/// assert!(hints.note_copied(1 << 20, || 1 << 20));
/// assert!(hints.set_in_the_way() && !hints.set_in_the_way(), "the first who says so wakes upkeep");
/// assert!(hints.is_in_the_way() && hints.take_in_the_way() && !hints.is_in_the_way());
/// hints.forget_copied();
/// assert!(!hints.note_copied(1 << 20, || 1 << 20));
/// ```
#[derive(Debug, Default)]
pub struct ScanHints {
    copied: AtomicU64,
    is_in_the_way: AtomicBool,
}

impl ScanHints {
    /// Notes that a scan copied so many bytes; whether scans have copied several times what bringing all of it into files writes, now that it was asked.
    pub fn note_copied(&self, bytes: u64, bytes_to_write: impl FnOnce() -> u64) -> bool {
        if bytes == 0 {
            return false; // most scans of what is at rest: they need not write the line
        }
        let before = self.copied.fetch_add(bytes, Ordering::Relaxed);
        let copied = before + bytes;
        before / COPIED_STEP != copied / COPIED_STEP && copied >= COPIES_MAX * bytes_to_write()
    }

    /// What was copied counts no more: it lies in files, or soon will.
    pub fn forget_copied(&self) {
        self.copied.store(0, Ordering::Relaxed);
    }

    /// Says that the active memtable is in the way; whether nobody had said so.
    pub fn set_in_the_way(&self) -> bool {
        // Looked at first, so that scans do not all write the line.
        !self.is_in_the_way() && !self.is_in_the_way.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody said so.
    pub fn is_in_the_way(&self) -> bool {
        self.is_in_the_way.load(Ordering::Relaxed)
    }

    /// The same, once.
    pub fn take_in_the_way(&self) -> bool {
        self.is_in_the_way.swap(false, Ordering::Relaxed)
    }
}
