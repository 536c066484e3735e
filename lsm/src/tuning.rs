//! Sizes of tables and levels, from the options of the keyspace. Tests make them small.
//!
//! Everything hangs on the memtable: a table is as large as one, so that a merge of one table with what it overlaps stays small.
//!
//! TU1  A memtable is full at what the options say; over a larger store later, at a fourth of its files, and at most at an eighth of the memory budget:
//!      the more comes at once, the fewer bytes below are written anew for each.
//! TU2  The first level below level 0 has up to sixteen memtables, and a level between it and level 0 begins with an eighth of that: about what
//!      level 0 brings at once when it has four runs. A smaller one would be written anew for fewer bytes than it saves below.

use duramen_base::KeyspaceOptions;

use crate::merge::pick::SIZE_RATIO;
use crate::throttle::Limits;

/// Which picker plans the merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Levels that grow by a ratio (`merge/pick/leveled.rs`).
    Leveled,
    /// Runs of similar size (`merge/pick/tiered.rs`). No option chooses it yet (decision 0025).
    #[cfg_attr(not(test), expect(dead_code, reason = "no option chooses it yet"))]
    Tiered,
}

/// Sizes that tests make small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// The part of the memory budget that a memtable may grow to with its store.
    pub(crate) memtable_share: u64,
    /// Bytes of a table at which the next one begins.
    pub(crate) table_bytes: u64,
    /// Bytes that the first level below level 0 may have.
    pub(crate) base_bytes: u64,
    /// How many times as large a level is as the one above it.
    pub(crate) size_ratio: u64,
    /// Which picker.
    pub(crate) layout: Layout,
    /// When writers are slowed down.
    pub(crate) throttle: Limits,
    /// Bytes at which the manifest is written anew; `None`: its own measure.
    pub(crate) manifest_bytes_max: Option<u64>,
    /// Values with more bytes go to the value files.
    pub(crate) value_bytes_max: usize,
}

impl Tuning {
    /// What suits `options`.
    pub(crate) fn of(options: &KeyspaceOptions) -> Tuning {
        #[cfg(any(test, feature = "testing"))]
        if options.memtable_bytes < TINY_MEMTABLE_BYTES {
            return Tuning::tiny();
        }
        Tuning {
            memtable_share: MEMTABLE_SHARE,
            table_bytes: options.memtable_bytes.clamp(TABLE_BYTES.start, TABLE_BYTES.end),
            base_bytes: options.memtable_bytes.max(TABLE_BYTES.start).saturating_mul(MEMTABLES_IN_BASE),
            size_ratio: SIZE_RATIO,
            layout: Layout::Leveled,
            throttle: Limits::USUAL,
            manifest_bytes_max: None,
            value_bytes_max: VALUE_BYTES_MAX,
        }
    }

    /// Four levels in a store of some kilobytes: what a keyspace gets whose memtables only tests make so small. The footer of a table is larger than
    /// what it holds, so a few of them are a level.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn tiny() -> Tuning {
        Tuning {
            memtable_share: u64::MAX, // not at all
            table_bytes: 1 << 10,
            base_bytes: 8 << 10,
            size_ratio: 2,
            layout: Layout::Leveled,
            throttle: Limits::TINY,
            manifest_bytes_max: Some(8 << 10),
            value_bytes_max: 100,
        }
    }
}

#[cfg(any(test, feature = "testing"))]
const TINY_MEMTABLE_BYTES: u64 = 16 << 10;
/// A value of twice a block and more: it would be a block of its own, and each merge would copy it.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// TU1.
const MEMTABLE_SHARE: u64 = 8;
/// TU2.
pub(crate) const MEMTABLES_IN_BASE: u64 = 16;
const TABLE_BYTES: std::ops::Range<u64> = 256 << 10..64 << 20;
