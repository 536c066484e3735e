//! Checkpoints: bringing everything that is in pages through a commit into `tree.dat`, in bounded steps, by shadow paging.
//!
//! ```text
//!   tidy     rebuild dirty leaves with history that nobody reads any more, so that it is not written
//!   begin    which commits are all in pages; which pages are dirty
//!   write    each dirty page to fresh units, in key order; those written before are where they are
//!   finish   the map with all that changed, and the range deletes; sync; make the log durable; the other superblock; sync
//!   settle   replaced units are free, what was left out of the range deletes goes
//! ```
//! No page changes between begin and settle: upkeep is the only writer, and drains when the checkpoint is over. Commits go on into the buffers.
//!
//! X1  No unit that the durable superblock names is written (shadow paging); units it replaces are free only once another is durable.
//! X2  Every commit <= ckpt_ts is in pages: it was visible, so it was in a buffer, and the buffers that are not drained are newer.
//! X3  A superblock is written only after `make_durable(max(newest contained, ckpt_ts))` and after its pages are synced (K4).
//! X4  A failure before the superblock write leaves everything as unsaved as it was, to be tried again. A failed sync or superblock write is
//!     final: this store never persists again, and every later call of `work` says so.

use std::time::Duration;

use duramen_base::arena::Counted;
use duramen_base::image::{Image, ImageBuilder, ImageKind, ImageSpec};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::{Result, Timestamp, mutant};

use crate::compact::Compaction;
use crate::map::{ChunkId, DiskAddr, MapEdit, encode_chunk};
use crate::range_tombs::RangeTombs;
use crate::store::Store;
use crate::superblock::{INLINE_BYTES_MAX, Superblock, TombsAt, offset_of};
use crate::units::UNIT_BYTES;
use crate::upkeep::Upkeep;
use crate::work::Piece;
use crate::write::Gather;

/// Bytes of the list of range deletes in one spill page.
pub(crate) const SPILL_PART_BYTES: usize = 128 << 10;

/// A checkpoint in progress.
#[derive(Debug)]
pub(crate) struct Run {
    ckpt_ts: Timestamp,
    max_ts: Timestamp,
    /// Dirty pages that are not written yet, in key order, from the back.
    todo: Vec<u64>,
    tombs: Arc<RangeTombs>,
    /// When it began.
    begun: Duration,
}

/// What a superblock is about to name, beside pages.
struct Named {
    edit: MapEdit,
    tombs: TombsAt,
    tomb_pages: Vec<DiskAddr>,
}

impl Store {
    /// Begins a checkpoint.
    pub(crate) fn begin_checkpoint(&self, up: &mut Upkeep) -> Piece {
        debug_assert!(up.run.is_none(), "one checkpoint at a time");
        self.tidy_dirty(up);
        // Read first: whatever is visible is in pages, or in a buffer met below. So is what was durable already: during replay `visible` may be
        // less.
        let visible = self.env.host.visible();
        let buffered = self.buffers.layers().min_ts();
        let ckpt_ts = visible.min(buffered.prev()).max(self.persisted_before()); // X2
        self.change_tombs(RangeTombs::with_omitted);
        let mut todo: Vec<(u64, Counted<Image>)> = up.dirty.iter().map(|&pid| (pid, self.dirty_image(pid))).collect();
        todo.sort_by(|(_, a), (_, b)| (b.level(), b.low_fence()).cmp(&(a.level(), a.low_fence())));
        up.run = Some(Box::new(Run {
            ckpt_ts,
            max_ts: self.newest().max(ckpt_ts),
            todo: todo.into_iter().map(|(pid, _)| pid).collect(),
            tombs: self.tombs(),
            begun: self.env.clock.now(),
        }));
        Piece::Bytes(0)
    }

    /// Does one bounded step of the checkpoint in progress.
    pub(crate) fn step_checkpoint(&self, up: &mut Upkeep, bytes_max: u64) -> Result<Piece> {
        let begun = self.env.clock.now();
        let piece = self.do_step(up, bytes_max);
        let nanos = nanos_of(self.env.clock.now().saturating_sub(begun));
        self.counters.persist_step_nanos_max.fetch_max(nanos, Ordering::Relaxed);
        piece
    }

    fn do_step(&self, up: &mut Upkeep, bytes_max: u64) -> Result<Piece> {
        let Some(mut run) = up.run.take() else { return Ok(Piece::Bytes(0)) };
        if !run.todo.is_empty() {
            let mut next = std::iter::from_fn(|| run.todo.pop());
            let bytes = self.write_pages(up, &mut next, bytes_max)?; // a failed run is begun anew
            up.run = Some(run);
            return Ok(Piece::Bytes(bytes));
        }
        self.finish(up, &run)?;
        let nanos = nanos_of(self.env.clock.now().saturating_sub(run.begun));
        self.counters.persist_nanos.fetch_add(nanos, Ordering::Relaxed);
        Ok(Piece::Checkpoint)
    }

    fn finish(&self, up: &mut Upkeep, run: &Run) -> Result<()> {
        assert!(up.dirty.is_empty(), "X2: every page has a place when the map is written");
        let mut gather = Gather::new(&self.file, up.next_write_seq());
        let named = match self.write_named(up, run, &mut gather) {
            Ok(named) => named,
            Err(error) => {
                gather.placed.into_iter().for_each(|addr| up.units.free(addr)); // X4
                return Err(error);
            }
        };
        let (map_root, map_levels) = match up.map.root() {
            Some(root) if named.edit.is_empty() => (root, up.map.levels()),
            _ => named.edit.root(),
        };
        let superblock = Superblock {
            seq: up.superblock.seq + 1,
            ckpt_ts: run.ckpt_ts,
            max_ts: run.max_ts,
            map_root,
            map_levels,
            tombs: named.tombs,
            ..up.superblock.clone()
        };
        // X3, X4.
        self.sync_pages(up)?;
        let prepared = self.env.host.make_durable(run.max_ts).and_then(|()| self.prepare_values(up));
        let values_no = match prepared {
            Ok(values_no) => values_no,
            Err(error) => {
                gather.placed.into_iter().for_each(|addr| up.units.free(addr));
                return Err(error);
            }
        };
        let superblock = Superblock { values_no, ..superblock };
        let written = self.file.write_all_at(&superblock.encode(), offset_of(superblock.seq));
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            return up.fail(error);
        }
        self.counters.written_bytes.fetch_add(gather.total() + UNIT_BYTES as u64, Ordering::Relaxed);
        up.superblock = superblock;
        self.switch_values(up);
        let replaced_tombs = std::mem::replace(&mut up.tomb_pages, named.tomb_pages);
        let generation = self.loads.lock().number();
        let freed = up.map.commit(named.edit).into_iter().chain(replaced_tombs);
        up.given_up.extend(freed.map(|addr| (generation, addr))); // X1
        self.settle(up);
        Ok(())
    }

    /// Writes what the next superblock names beside pages: map chunks and the range deletes.
    fn write_named(&self, up: &mut Upkeep, run: &Run, gather: &mut Gather<'_>) -> Result<Named> {
        let bound = up.compaction.as_ref().map_or(u64::MAX, Compaction::bound);
        let Upkeep { map, units, places, .. } = up;
        let edit = map.edit(places, bound, |id, entries| gather.put(units, &self.chunk_image(id, entries)))?;
        let list = if mutant!("forget_range_tombstones") { RangeTombs::default().encode() } else { run.tombs.encode() };
        let mut tomb_pages: Vec<DiskAddr> = Vec::new();
        let tombs = if list.len() <= INLINE_BYTES_MAX {
            TombsAt::Inline(list)
        } else {
            for (number, part) in list.chunks(SPILL_PART_BYTES).rev().enumerate() {
                let next = tomb_pages.last().map_or(0, |addr| addr.pack());
                let body = [&next.to_le_bytes(), part].concat();
                let spec = raw_spec(ImageKind::Raw, self.keyspace().get(), number as u64, 0);
                tomb_pages.push(gather.put(units, &ImageBuilder::raw(&spec, &body))?);
            }
            let first = *tomb_pages.last().expect("a list that is too long has a part");
            let bytes = u32::try_from(list.len()).expect("range deletes are swept long before their list has 4 GiB");
            TombsAt::Spilled { first, bytes }
        };
        gather.flush()?;
        Ok(Named { edit, tombs, tomb_pages })
    }

    /// The superblock is durable.
    fn settle(&self, up: &mut Upkeep) {
        up.are_named();
        up.may_have_tail = true;
        self.change_tombs(RangeTombs::without_omitted);
        self.counters.tree_bytes.store(up.live_bytes(), Ordering::Relaxed);
        self.note_checkpoint(up.mark());
        self.counters.persists.fetch_add(1, Ordering::Relaxed);
        self.let_runs_go(up);
    }

    fn chunk_image(&self, id: ChunkId, entries: &[u64]) -> Image {
        chunk_image(self.keyspace().get(), id, entries)
    }
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The image of a map chunk.
pub(crate) fn chunk_image(ks_id: u32, id: ChunkId, entries: &[u64]) -> Image {
    ImageBuilder::raw(&raw_spec(ImageKind::MapChunk, ks_id, id.self_id(), id.level), &encode_chunk(entries))
}

/// What an image with a raw body is built with.
pub(crate) fn raw_spec(kind: ImageKind, ks_id: u32, self_id: u64, level: u8) -> ImageSpec<'static> {
    ImageSpec { kind, self_id, ks_id, level, right_pid: 0, low: &[], high: &[] }
}
