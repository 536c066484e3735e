//! Checkpoints: bringing everything through a commit into `tree.dat`, in bounded steps, by shadow paging.
//!
//! ```text
//!   tidy     rebuild the dirty leaves once, so that what nobody needs any more is not written
//!   freeze   ckpt_ts = visible; then, without splits and merges, take the dirty pages' images, the dead page ids and the range deletes
//!   write    each frozen image to fresh units, in key order
//!   finish   the checkpoint's own map changes and spilled range deletes; sync; make the log durable; the other superblock; sync
//!   settle   pages that did not change since turn clean, replaced units are free, what was left out of the range deletes goes
//! ```
//! Images never change (T2), so a frozen page is an `Arc` of it: what splits or merges later does not touch what is written.
//!
//! X1  No unit that the durable superblock names is written (shadow paging); units it replaces are free only once it is durable.
//! X2  The frozen state is one moment between splits and merges: its structure is exact, its content contains every commit <= ckpt_ts.
//! X3  A superblock is written only after `make_durable(max(newest contained, ckpt_ts))` and after its pages are synced (K4).
//! X4  A failure before the superblock write gives everything back to the live lists, to be tried again. A failed sync or superblock
//!     write is final: this store never persists again, and every later call of `work` says so.

use std::collections::{BTreeMap, BTreeSet};

use duramen_base::image::{Image, ImageBuilder, ImageKind, ImageSpec};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::vfs::File;
use duramen_base::{Error, Result, StoreMark, Timestamp, WorkBudget, WorkDone, mutant};

use crate::drain::Drain;
use crate::map::{ChunkId, DiskAddr, PageMap, encode_chunk};
use crate::pid_table::Page;
use crate::range_tombs::RangeTombs;
use crate::store::Store;
use crate::superblock::{INLINE_BYTES_MAX, Superblock, TombsAt, offset_of};
use crate::units::{UNIT_BYTES, Units, units_for};

/// Bytes gathered for one write call.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes of the list of range deletes in one spill page.
pub(crate) const SPILL_PART_BYTES: usize = 128 << 10;
/// Leaves tidied in one step.
const TIDY_PAGES: usize = 64;

/// What only upkeep touches: the durable state and the work in progress.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) superblock: Superblock,
    pub(crate) map: PageMap,
    pub(crate) units: Units,
    /// Spill pages that the superblock names.
    pub(crate) tomb_pages: Vec<DiskAddr>,
    pub(crate) stage: Stage,
    pub(crate) drain: Option<Drain>,
    /// Why nothing can be persisted any more (X4).
    pub(crate) failed: Option<Arc<Error>>,
}

/// Where a checkpoint stands.
#[derive(Debug)]
pub(crate) enum Stage {
    Idle,
    /// Leaves still to be tidied.
    Tidy(Vec<u64>),
    Write(Box<Run>),
}

/// A frozen state on its way to the file.
#[derive(Debug)]
pub(crate) struct Run {
    seq: u64,
    /// Number of its freeze: the epoch of the pages it took.
    epoch: u64,
    ckpt_ts: Timestamp,
    max_ts: Timestamp,
    /// In key order.
    frozen: Vec<(u64, Arc<Image>)>,
    /// How many of them are written.
    written: usize,
    dead: BTreeSet<u64>,
    tombs: Arc<RangeTombs>,
    /// Its own map changes.
    pages: BTreeMap<u64, Option<DiskAddr>>,
    /// Units it took.
    fresh: Vec<DiskAddr>,
}

/// The write sequence of everything that the checkpoint `seq` writes; never zero.
pub(crate) fn write_seq_of(seq: u64) -> u16 {
    (seq % u64::from(u16::MAX)) as u16 + 1
}

impl Upkeep {
    pub(crate) fn mark(&self) -> StoreMark {
        let superblock = &self.superblock;
        StoreMark { seq: superblock.seq, persisted: superblock.ckpt_ts, contains: superblock.max_ts }
    }

    pub(crate) fn check_not_failed(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(Error::Poisoned { cause: Arc::clone(cause) }))
    }

    fn fail<T>(&mut self, error: Error) -> Result<T> {
        let cause = Arc::new(error);
        self.failed = Some(Arc::clone(&cause));
        Err(Error::Poisoned { cause })
    }
}

impl Run {
    /// Takes units for an image and tells where.
    fn place(&mut self, units: &mut Units, image: &Image) -> DiskAddr {
        let count = units_for(image.bytes().len());
        let addr = DiskAddr { unit: units.allocate(count), units: count, write_seq: write_seq_of(self.seq) };
        self.fresh.push(addr);
        addr
    }
}

/// An image as it is written: padded to whole units.
pub(crate) fn padded(image: &Image, addr: DiskAddr) -> Vec<u8> {
    let mut bytes = image.to_stored(u32::from(addr.write_seq));
    assert!(bytes.len() <= usize::from(addr.units) * UNIT_BYTES, "X1: an image stays inside its units");
    bytes.resize(usize::from(addr.units) * UNIT_BYTES, 0);
    bytes
}

/// Gathers writes to neighbouring units.
struct Gather<'f> {
    file: &'f File,
    start: u64,
    bytes: Vec<u8>,
    total: u64,
}

impl<'f> Gather<'f> {
    fn new(file: &'f File) -> Gather<'f> {
        Gather { file, start: 0, bytes: Vec::new(), total: 0 }
    }

    fn put(&mut self, addr: DiskAddr, bytes: &[u8]) -> Result<()> {
        let offset = addr.unit * UNIT_BYTES as u64;
        if self.start + self.bytes.len() as u64 != offset || self.bytes.len() >= WRITE_BYTES {
            self.flush()?;
            self.start = offset;
        }
        self.bytes.extend_from_slice(bytes);
        self.total += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.file.write_all_at(&self.bytes, self.start)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl Store {
    /// Begins a checkpoint.
    pub(crate) fn begin_checkpoint(&self, up: &mut Upkeep) {
        debug_assert!(matches!(up.stage, Stage::Idle), "one checkpoint at a time");
        up.stage = Stage::Tidy(self.unsaved.lock().pages.iter().copied().collect());
    }

    /// Does one bounded step of the checkpoint in progress; whether a superblock was switched.
    pub(crate) fn step_checkpoint(&self, up: &mut Upkeep, budget: WorkBudget) -> Result<WorkDone> {
        match std::mem::replace(&mut up.stage, Stage::Idle) {
            Stage::Idle => Ok(WorkDone::default()),
            Stage::Tidy(mut pids) => {
                let rest = pids.split_off(pids.len().min(TIDY_PAGES));
                pids.into_iter().for_each(|pid| self.tidy(pid));
                up.stage = if rest.is_empty() { Stage::Write(Box::new(self.freeze(up))) } else { Stage::Tidy(rest) };
                Ok(WorkDone { more: true, switched: false })
            }
            Stage::Write(mut run) => match self.write_step(up, &mut run, budget) {
                Ok(true) => {
                    up.stage = Stage::Write(run);
                    Ok(WorkDone { more: true, switched: false })
                }
                Ok(false) => Ok(WorkDone { more: false, switched: true }),
                Err(error) => {
                    if up.failed.is_none() {
                        self.give_back(up, *run);
                    }
                    Err(error)
                }
            },
        }
    }

    /// X2.
    fn freeze(&self, up: &Upkeep) -> Run {
        // Read first: whatever is visible is in the pages frozen after it. So is what was durable already: during replay `visible` may be less.
        let ckpt_ts = self.env.host.visible().max(self.unsaved.lock().mark.persisted);
        let _exclusive = self.structure.write();
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst);
        self.change_tombs(RangeTombs::with_omitted);
        let tombs = self.tombs();
        let (pids, dead) = {
            let mut unsaved = self.unsaved.lock();
            unsaved.tombs_changed = false;
            unsaved.in_flight = true;
            (std::mem::take(&mut unsaved.pages), std::mem::take(&mut unsaved.dead))
        };
        let mut frozen: Vec<(u64, Arc<Image>)> = pids.into_iter().map(|pid| (pid, self.frozen_image(pid))).collect();
        frozen.sort_by(|(_, a), (_, b)| (a.level(), a.low_fence()).cmp(&(b.level(), b.low_fence())));
        Run {
            seq: up.superblock.seq + 1,
            epoch,
            ckpt_ts,
            max_ts: self.newest().max(ckpt_ts),
            frozen,
            written: 0,
            pages: dead.iter().map(|&pid| (pid, None)).collect(),
            dead,
            tombs,
            fresh: Vec::new(),
        }
    }

    fn frozen_image(&self, pid: u64) -> Arc<Image> {
        match &*self.pages.known(pid).page.read() {
            Page::Resident(resident) => Arc::clone(&resident.image),
            Page::OnDisk(_) | Page::Free => panic!("T1: the dirty page {pid} is resident"),
        }
    }

    /// Writes frozen pages, then finishes; whether there is more to do.
    fn write_step(&self, up: &mut Upkeep, run: &mut Run, budget: WorkBudget) -> Result<bool> {
        if run.written < run.frozen.len() {
            self.write_pages(up, run, budget)?;
            return Ok(true);
        }
        self.finish(up, run)?;
        Ok(false)
    }

    fn write_pages(&self, up: &mut Upkeep, run: &mut Run, budget: WorkBudget) -> Result<()> {
        let mut gather = Gather::new(&self.file);
        while run.written < run.frozen.len() && gather.total < budget.bytes.max(1) {
            let (pid, image) = (run.frozen[run.written].0, Arc::clone(&run.frozen[run.written].1));
            let addr = run.place(&mut up.units, &image);
            gather.put(addr, &padded(&image, addr))?;
            run.pages.insert(pid, Some(addr));
            run.written += 1;
        }
        gather.flush()?;
        self.counters.written_bytes.fetch_add(gather.total, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self, up: &mut Upkeep, run: &mut Run) -> Result<()> {
        let mut gather = Gather::new(&self.file);
        let edit = {
            let Upkeep { map, units, .. } = &mut *up;
            let pages = std::mem::take(&mut run.pages);
            let edit = map.edit(&pages, |id, entries| {
                let image = self.chunk_image(id, entries);
                let addr = run.place(units, &image);
                gather.put(addr, &padded(&image, addr))?;
                Ok(addr)
            });
            run.pages = pages;
            edit?
        };
        let (tombs, tomb_pages) = self.write_tombs(&mut up.units, run, &mut gather)?;
        gather.flush()?;
        self.counters.written_bytes.fetch_add(gather.total + UNIT_BYTES as u64, Ordering::Relaxed);
        let (map_root, map_levels) = match up.map.root() {
            Some(root) if edit.is_empty() => (root, up.map.levels()),
            _ => edit.root(),
        };
        let superblock = Superblock {
            seq: run.seq,
            ckpt_ts: run.ckpt_ts,
            max_ts: run.max_ts,
            map_root,
            map_levels,
            tombs,
            ..up.superblock.clone()
        };
        // X3, X4.
        if let Err(error) = self.file.sync_data() {
            return up.fail(error);
        }
        self.env.host.make_durable(run.max_ts)?;
        let written = self.file.write_all_at(&superblock.encode(), offset_of(run.seq));
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            return up.fail(error);
        }
        up.superblock = superblock;
        let replaced_tombs = std::mem::replace(&mut up.tomb_pages, tomb_pages);
        for addr in up.map.commit(edit).into_iter().chain(replaced_tombs) {
            up.units.free(addr); // X1
        }
        self.settle(up.mark(), run);
        Ok(())
    }

    fn chunk_image(&self, id: ChunkId, entries: &[u64]) -> Image {
        chunk_image(self.keyspace().get(), id, entries)
    }

    /// The list of range deletes as the superblock will have it, spilled if it is long.
    fn write_tombs(
        &self,
        units: &mut Units,
        run: &mut Run,
        gather: &mut Gather<'_>,
    ) -> Result<(TombsAt, Vec<DiskAddr>)> {
        let list = if mutant!("forget_range_tombstones") { RangeTombs::default().encode() } else { run.tombs.encode() };
        if list.len() <= INLINE_BYTES_MAX {
            return Ok((TombsAt::Inline(list), Vec::new()));
        }
        let mut pages: Vec<DiskAddr> = Vec::new();
        for (number, part) in list.chunks(SPILL_PART_BYTES).rev().enumerate() {
            let next = pages.last().map_or(0, |addr| addr.pack());
            let body = [&next.to_le_bytes(), part].concat();
            let image = ImageBuilder::raw(&raw_spec(ImageKind::Raw, self.keyspace().get(), number as u64, 0), &body);
            let addr = run.place(units, &image);
            gather.put(addr, &padded(&image, addr))?;
            pages.push(addr);
        }
        let first = *pages.last().expect("a list that is too long has a part");
        let bytes = u32::try_from(list.len()).expect("range deletes are drained long before their list has 4 GiB");
        Ok((TombsAt::Spilled { first, bytes }, pages))
    }

    /// The superblock is durable: what did not change since the freeze is clean.
    fn settle(&self, mark: StoreMark, run: &Run) {
        for (pid, image) in &run.frozen {
            let mut page = self.pages.known(*pid).page.write();
            let Page::Resident(resident) = &mut *page else { continue };
            if Arc::ptr_eq(&resident.image, image) && resident.dirty_epoch == run.epoch {
                self.counters.dirty_bytes.fetch_sub(resident.bytes(), Ordering::Relaxed);
                resident.dirty_epoch = 0;
                resident.disk = run.pages[pid];
            }
        }
        self.change_tombs(RangeTombs::without_omitted);
        let mut unsaved = self.unsaved.lock();
        unsaved.in_flight = false;
        unsaved.mark = mark;
        self.counters.persists.fetch_add(1, Ordering::Relaxed);
    }

    /// The checkpoint failed before its superblock: everything is as unsaved as before (X4).
    fn give_back(&self, up: &mut Upkeep, run: Run) {
        run.fresh.iter().for_each(|&addr| up.units.free(addr));
        // Shared is enough, and keeps the epoch still.
        let _shared = self.structure.read();
        let epoch = self.epoch.load(Ordering::SeqCst);
        let mut again = Vec::new();
        for (pid, _) in &run.frozen {
            let mut page = self.pages.known(*pid).page.write();
            if let Page::Resident(resident) = &mut *page
                && resident.dirty_epoch == run.epoch
            {
                resident.dirty_epoch = epoch;
                again.push(*pid);
            }
        }
        let mut unsaved = self.unsaved.lock();
        unsaved.pages.extend(again);
        unsaved.dead.extend(run.dead);
        unsaved.tombs_changed = true;
        unsaved.in_flight = false;
    }
}

/// The image of a map chunk.
pub(crate) fn chunk_image(ks_id: u32, id: ChunkId, entries: &[u64]) -> Image {
    ImageBuilder::raw(&raw_spec(ImageKind::MapChunk, ks_id, id.self_id(), id.level), &encode_chunk(entries))
}

/// What an image with a raw body is built with.
pub(crate) fn raw_spec(kind: ImageKind, ks_id: u32, self_id: u64, level: u8) -> ImageSpec<'static> {
    ImageSpec { kind, self_id, ks_id, level, right_pid: 0, low: &[], high: &[] }
}
