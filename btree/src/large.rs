//! Large values: a leaf keeps a reference, the bytes lie in value files beside the tree (`duramen_base::values`).
//!
//! ```text
//!   drain        a value of more than so many bytes is appended to a value file, and its reference goes into the leaf
//!   change       what the old leaves named, or what came, and the new ones do not name is dropped (`split.rs`)
//!   checkpoint   values synced, edit synced, the superblock with the edit's number; then what was dropped is forgotten
//! ```
//! A value that came before there were value files stays in its leaf until it is written anew. Those of ingests are in files from the beginning (IN6 of
//! `ingest.rs`).
//!
//! LV1 Whoever changes or frees a leaf says what it named. So a value that was appended for a leaf is named by one leaf, until it is dropped once.
//! LV2 `Upkeep::values` is the difference between what pages name now and what the durable superblock's do: a value comes into it together with
//!     the change of its leaf, so a checkpoint in the middle of a drain knows which are its own.
//! LV3 A checkpoint prepares that difference before its superblock, which holds the number, and forgets behind it what was dropped (VS2).
//! LV4 A buffer leaves when the values that it brought are synced: a sync that fails may drop what was written, and readers go on.

use duramen_base::image::Body;
use duramen_base::sync::Arc;
use duramen_base::values::{LargeRef, ValueChanges};
use duramen_base::{Error, Hit, Pin, Result, Timestamp, Value, mutant};

use crate::leaf::Point;
use crate::store::Store;
use crate::upkeep::Upkeep;
use crate::work::Piece;

/// Values with more bytes go to the value files: a leaf of the usual size holds nothing else then, and is copied at every change.
const INLINE_BYTES_MAX: usize = 16 << 10;
/// The same for a keyspace with a memtable so small that only tests have it. (One of a byte is for tests of leaves with large records.)
#[cfg(any(test, feature = "testing"))]
const TINY_INLINE_BYTES_MAX: usize = 100;
#[cfg(any(test, feature = "testing"))]
const TINY_MEMTABLE_BYTES: std::ops::Range<u64> = 2..16 << 10;
/// How often a value is looked for: each time in what a change of its leaf left.
const LOADS_MAX: u32 = 8;

impl Store {
    /// Longer values go to the value files.
    pub(crate) fn inline_bytes_max(&self) -> usize {
        #[cfg(any(test, feature = "testing"))]
        if TINY_MEMTABLE_BYTES.contains(&self.env.options.memtable_bytes) {
            return TINY_INLINE_BYTES_MAX;
        }
        INLINE_BYTES_MAX
    }

    /// Appends the large values among changes that go into a leaf now (LV2), and puts references in their place; the bytes appended. Those that came in a run
    /// are in files already. After an error the changes must not go into the leaf.
    pub(crate) fn separate(&self, up: &mut Upkeep, points: &mut [Point<'_>]) -> Result<u64> {
        let mut changes = ValueChanges::default();
        let of_run: Vec<LargeRef> = points.iter().filter_map(Point::reference).collect();
        for point in points {
            if let Body::Value(value) = point.body
                && value.len() > self.inline_bytes_max()
            {
                match self.values.append(value, &mut changes) {
                    Ok(large) => point.body = Body::Large(large),
                    Err(error) => {
                        self.values.give_up(changes);
                        return up.fail_unless_full(error);
                    }
                }
            }
        }
        let bytes = changes.added_bytes();
        if !mutant!("merge_without_its_values") {
            of_run.into_iter().for_each(|large| self.values.adopt(large, &mut changes)); // IN6
        }
        up.values.append(changes);
        Ok(bytes)
    }

    /// LV4.
    pub(crate) fn sync_values(&self, up: &mut Upkeep) -> Result<()> {
        if mutant!("buffer_leaves_before_its_values") {
            return Ok(());
        }
        self.values.sync().or_else(|error| up.fail(error))
    }

    /// Makes durable what the next superblock names; the number that it is to hold (LV3).
    pub(crate) fn prepare_values(&self, up: &mut Upkeep) -> Result<u64> {
        if mutant!("superblock_without_its_values") {
            return Ok(up.superblock.values_no);
        }
        let never = self.values.settle(&mut up.values);
        up.never_named.append(never);
        self.values.prepare(&up.values).or_else(|error| up.fail_unless_full(error))
    }

    /// The superblock is durable (LV3).
    pub(crate) fn switch_values(&self, up: &mut Upkeep) {
        let changes = std::mem::take(&mut up.values);
        self.values.show(up.superblock.values_no, &changes);
        if !mutant!("keep_dropped_values") {
            self.values.forget(&changes);
        }
        self.values.give_up(std::mem::take(&mut up.never_named));
    }

    /// Whether the value files are to be worked on now: in turns with everything else.
    pub(crate) fn is_turn_of_values(&self, up: &mut Upkeep) -> bool {
        up.worked_on_values = !up.worked_on_values && self.have_values_work();
        up.worked_on_values
    }

    /// Whether value files want to be written anew, and may be.
    pub(crate) fn have_values_work(&self) -> bool {
        !self.is_compaction_resting() && self.values.has_work(false)
    }

    /// One step towards smaller value files.
    pub(crate) fn work_on_values(&self, up: &mut Upkeep, bytes_max: u64, is_thorough: bool) -> Result<Piece> {
        if self.is_compaction_resting() {
            return Ok(Piece::Bytes(0));
        }
        match self.values.work(bytes_max, is_thorough) {
            Ok(_) => Ok(Piece::Bytes(bytes_max)),
            Err(error) => up.fail_unless_full(error),
        }
    }

    /// The value that a leaf named. A leaf that changed since may name it by another reference: a commit that was replayed writes its value again.
    pub(crate) fn load_large(
        self: &Arc<Store>,
        key: &[u8],
        at: Timestamp,
        mut large: LargeRef,
    ) -> Result<Option<Value>> {
        for _ in 0..LOADS_MAX {
            if let Some(value) = self.values.read(large)? {
                return Ok(Some(value));
            }
            match self.look_again(key, at)? {
                Again::Large(now) => large = now,
                Again::Value(value) => return Ok(value),
            }
        }
        Err(Error::corruption(self.env.dir.join("values"), 0, "a value that a leaf names is not there"))
    }

    fn look_again(self: &Arc<Store>, key: &[u8], at: Timestamp) -> Result<Again> {
        loop {
            let ticket = {
                let pin = Pin::new();
                match self.get(&pin, key, at)?.hit {
                    Hit::Large { large, .. } => return Ok(Again::Large(large)),
                    Hit::Value { bytes, .. } => return Ok(Again::Value(Some(bytes.into_value()))),
                    Hit::Absent | Hit::Deleted(_) => return Ok(Again::Value(None)),
                    Hit::NeedIo(ticket) => ticket,
                }
            };
            ticket.load()?;
        }
    }
}

/// What another look at a key found.
enum Again {
    Large(LargeRef),
    Value(Option<Value>),
}
