//! Checking a store: the durable one in the file, page by page, and the structure in memory.
//!
//! The structure in memory is checked under upkeep's latch, and what the files should hold is noted there; they are read without it, while drains and
//! checkpoints go on. Damage goes into the report; only failures to read are errors.
//!
//! V3  Checked in the files: both superblocks, each image's checksum and identity, order (by decoding), fences and levels from parent to
//!     child, right links along each level, every mapped page reached exactly once, each unit used once, none lost;
//!     large values are those that the leaves name, each once.
//! V4  What is read without the latch is as it was noted: places given up since are not used again before the generation of the walk ends (E3 of
//!     `evict.rs`). So a compaction waits for the walks that are under way, but
//!     for none that begins later (CO5 of `compact.rs`).

use std::collections::BTreeMap;
use std::path::Path;

use duramen_base::arena::Counted;
use duramen_base::image::{Image, ImageKind};
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::values::{CapturedValues, LargeRef};
use duramen_base::{Error, Result, Timestamp, VerifyLevel, VerifyReport, mutant};

use crate::buffers::Layer;
use crate::evict::Generation;
use crate::ingest::Run;
use crate::map::{DiskAddr, PageMap};
use crate::open::Reader;
use crate::pid_table::{Page, ROOT_PID};
use crate::range_tombs::RangeTombs;
use crate::store::Store;
use crate::superblock::{Copy, Superblock, offset_of};
use crate::units::{SUPERBLOCK_UNITS, UNIT_BYTES};
use crate::upkeep::Upkeep;

/// What a parent says about a page.
#[derive(Clone, Debug)]
struct Claim {
    pid: u64,
    /// `None` for the root.
    level: Option<u8>,
    low: Vec<u8>,
    high: Vec<u8>,
}

/// What a walk remembers of a page.
#[derive(Debug, Default)]
struct Seen {
    keys: u64,
    children: Vec<u64>,
}

/// A walk over a tree, in key order, depth first.
struct Walk<'r> {
    report: &'r mut VerifyReport,
    path: &'r Path,
    tombs: &'r RangeTombs,
    /// The pages reached.
    seen: BTreeMap<u64, Seen>,
    /// Right link that the last page of each level has.
    links: BTreeMap<u8, u64>,
    /// Large values that the leaves name.
    named: Vec<LargeRef>,
}

/// A store at one moment, as far as its files are to be checked.
pub(crate) struct Noted<'s> {
    superblock: Superblock,
    map: PageMap,
    tomb_pages: Vec<DiskAddr>,
    tombs: Arc<RangeTombs>,
    runs: Vec<Arc<Run>>,
    values: CapturedValues<'s>,
    memory: InMemory,
    /// Ends last.
    _hold: Hold<'s>,
}

/// What the structure in memory comes to, without what must be read.
struct InMemory {
    keys: u64,
    reached: u64,
    /// Pages given out, those of runs not counted.
    given_out: u64,
    /// Pages that are where the durable superblock has them, with all below them.
    absent: Vec<u64>,
    /// Leaves that were written since, and left memory.
    placed: Vec<(Claim, DiskAddr)>,
}

/// V4.
struct Hold<'s> {
    store: &'s Store,
    _generation: Option<Arc<Generation>>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.store.verifying.fetch_sub(1, Ordering::SeqCst);
        self.store.env.host.wake_upkeep(); // a compaction may wait for this
    }
}

impl Store {
    /// Checks the store.
    pub(crate) fn verify(&self, level: VerifyLevel, report: &mut VerifyReport) -> Result<()> {
        let up = self.upkeep.lock();
        self.verify_superblocks(&up, report)?;
        if level != VerifyLevel::Full {
            return self.values.capture().check(level, None, report);
        }
        let noted = self.note(&up, report);
        drop(up);
        self.verify_noted(&noted, report)
    }

    /// Checks what is in files.
    pub(crate) fn verify_noted(&self, noted: &Noted<'_>, report: &mut VerifyReport) -> Result<()> {
        let on_disk = self.verify_file(noted, report)?;
        self.verify_memory(noted, &on_disk, report)?;
        self.verify_runs(noted, report)
    }

    /// Checks what is in memory, and notes what should be in files.
    pub(crate) fn note(&self, up: &Upkeep, report: &mut VerifyReport) -> Noted<'_> {
        self.verifying.fetch_add(1, Ordering::SeqCst);
        let generation = (!mutant!("walk_in_no_generation")).then(|| self.loads.lock().current());
        let hold = Hold { store: self, _generation: generation };
        self.verify_space(up, report);
        let memory = self.walk_memory(up, report);
        let layers = self.buffers.layers();
        let runs = layers.frozen.iter().filter_map(|layer| match layer {
            Layer::Run(run) => Some(Arc::clone(run)),
            Layer::Buffer(_) => None,
        });
        Noted {
            superblock: up.superblock.clone(),
            map: up.map.clone(),
            tomb_pages: up.tomb_pages.clone(),
            tombs: self.tombs(),
            runs: runs.collect(),
            values: self.values.capture(),
            memory,
            _hold: hold,
        }
    }

    /// Whether somebody reads the file as it was a while ago (V4).
    pub(crate) fn is_being_verified(&self) -> bool {
        self.verifying.load(Ordering::SeqCst) > 0
    }

    fn problem(&self, report: &mut VerifyReport, unit: u64, what: impl Into<String>) {
        report.problem(self.file.path(), unit * UNIT_BYTES as u64, what);
    }

    fn verify_superblocks(&self, up: &Upkeep, report: &mut VerifyReport) -> Result<()> {
        for slot in 0..SUPERBLOCK_UNITS {
            let mut bytes = vec![0; UNIT_BYTES];
            let got = self.file.read_up_to_at(&mut bytes, offset_of(slot))?;
            bytes.truncate(got);
            report.pages += 1;
            let is_current = up.superblock.seq % SUPERBLOCK_UNITS == slot;
            match Superblock::decode(&bytes, self.file.path()) {
                Ok(Copy::Valid(found)) if is_current && *found != up.superblock => {
                    self.problem(report, slot, "the superblock is not the one in force");
                }
                Ok(Copy::Valid(found)) if !is_current && found.seq >= up.superblock.seq && up.failed.is_none() => {
                    self.problem(report, slot, "the older superblock has the higher seq");
                }
                Ok(Copy::Valid(_)) => {}
                // The write that a crash, or a failure, cut off leaves the other copy torn. Nothing depends on it.
                Ok(Copy::Damaged(_)) | Err(_) if !is_current => {}
                Ok(Copy::Damaged(what)) => self.problem(report, slot, what),
                Err(error) => self.problem(report, slot, error.to_string()),
            }
        }
        Ok(())
    }

    /// Walks the tree of the durable superblock.
    fn verify_file(&self, noted: &Noted<'_>, report: &mut VerifyReport) -> Result<BTreeMap<u64, Seen>> {
        let Noted { superblock, map, tombs, .. } = noted;
        let problems_before = report.problems.len();
        let reader =
            Reader { file: &self.file, keyspace: self.keyspace(), units: self.file.len()? / UNIT_BYTES as u64 };
        for (id, addr, entries) in map.chunks() {
            report.pages += 1;
            match damage(reader.chunk(id, addr))? {
                Ok(found) if found == entries => {}
                Ok(_) => self.problem(report, addr.unit, "a map chunk that is not the one in force"),
                Err(what) => self.problem(report, addr.unit, what),
            }
        }
        if let Err(what) = damage(reader.tombs(&superblock.tombs))? {
            self.problem(report, noted.tomb_pages.first().map_or(0, |addr| addr.unit), what);
        }
        let mut walk = Walk::new(report, self.file.path(), tombs);
        let mut failure = None;
        walk.walk(|Claim { pid, .. }| match map.get(*pid) {
            None => Err((0, format!("page {pid} is not in the page map"))),
            Some(addr) => match damage(self.read_page(*pid, addr)) {
                Ok(Ok(image)) => Ok(Some(Counted::new(image))),
                Ok(Err(what)) => Err((addr.unit, what)),
                Err(error) => {
                    failure.get_or_insert(error);
                    Ok(None)
                }
            },
        });
        let (seen, named) = (walk.seen, walk.named);
        if let Some(error) = failure {
            return Err(error);
        }
        for (pid, addr) in map.pages().filter(|(pid, _)| !seen.contains_key(pid)) {
            self.problem(report, addr.unit, format!("page {pid} is in the page map but not in the tree"));
        }
        // What a damaged leaf names is not known.
        let named = (report.problems.len() == problems_before).then_some(&named[..]);
        noted.values.check(VerifyLevel::Full, named, report)?;
        Ok(seen)
    }

    /// The leaves of runs that are layers, and the large values that they name.
    fn verify_runs(&self, noted: &Noted<'_>, report: &mut VerifyReport) -> Result<()> {
        let mut named: Vec<LargeRef> = Vec::new();
        for page in noted.runs.iter().flat_map(|run| &run.list.pages) {
            report.pages += 1;
            match damage(self.read_page(page.pid, page.addr))? {
                Ok(image) => named.extend(image.references()),
                Err(what) => self.problem(report, page.addr.unit, what),
            }
        }
        noted.values.check_ingested(&named, report)
    }

    /// Each unit below the end is free or used once (A2).
    fn verify_space(&self, up: &Upkeep, report: &mut VerifyReport) {
        let mut used: Vec<DiskAddr> = up.map.pages().map(|(_, addr)| addr).collect();
        used.extend(up.map.chunks().map(|(_, addr, _)| addr));
        used.extend(&up.tomb_pages);
        used.extend(up.places.values().flatten());
        used.extend(up.beside.values().flatten());
        used.extend(&up.held);
        used.extend(up.given_up.iter().map(|(_, addr)| addr));
        let taken: u64 = used.iter().map(|addr| u64::from(addr.units)).sum();
        match crate::units::Units::from_used(used) {
            Err(addr) => self.problem(report, addr.unit, "a unit that is used twice"),
            // After a failure units stay taken that nothing will ever name.
            Ok(expected) if expected != up.units && up.failed.is_none() => {
                let (free, end) = (up.units.free_count(), up.units.end());
                let what = format!("of {end} units {taken} are used and {free} known to be free");
                self.problem(report, end, what);
            }
            Ok(_) => {}
        }
    }

    /// Walks the tree as it is now. Pages that are not in memory are those of the durable superblock, with all below them, or leaves written since.
    fn walk_memory(&self, up: &Upkeep, report: &mut VerifyReport) -> InMemory {
        let tombs = self.tombs();
        let pages = report.pages;
        let (mut absent, mut placed) = (Vec::new(), Vec::new());
        let mut walk = Walk::new(report, self.file.path(), &tombs);
        walk.walk(|claim| {
            let pid = claim.pid;
            match self.pages.slot(pid).map(|slot| slot.read()).as_deref() {
                None => return Err((0, "a child page that does not exist".to_owned())),
                Some(Page::Resident(resident)) => return Ok(Some(Counted::clone(&resident.image))),
                Some(Page::OnDisk(addr)) if up.map.get(pid) == Some(*addr) => absent.push(pid),
                Some(Page::OnDisk(addr)) => placed.push((claim.clone(), *addr)),
                Some(Page::Free) => return Err((0, format!("page {pid} is free, but in the tree"))),
            }
            Ok(None)
        });
        let keys = walk.seen.values().map(|page| page.keys).sum();
        let reached = walk.seen.len() as u64;
        report.pages = pages;
        let given_out = self.pages.count() - up.beside.len() as u64;
        InMemory { keys, reached, given_out, absent, placed }
    }

    /// Adds what must be read to what is in memory.
    fn verify_memory(&self, noted: &Noted<'_>, on_disk: &BTreeMap<u64, Seen>, report: &mut VerifyReport) -> Result<()> {
        let memory = &noted.memory;
        let (mut keys, mut reached, mut absent) = (memory.keys, memory.reached, memory.absent.clone());
        let mut walk = Walk::new(report, self.file.path(), &noted.tombs);
        for (claim, addr) in &memory.placed {
            match damage(self.read_page(claim.pid, *addr))? {
                Ok(image) => {
                    walk.links.clear(); // its neighbours were looked at before
                    walk.check_page(claim, &image);
                    keys += walk.count_keys(&image);
                }
                Err(what) => walk.problem(addr.unit, what),
            }
        }
        while let Some(pid) = absent.pop() {
            let Some(page) = on_disk.get(&pid) else { continue };
            keys += page.keys;
            reached += page.children.len() as u64;
            absent.extend(&page.children);
        }
        report.keys += keys;
        if report.is_clean() && reached != memory.given_out {
            let what = format!("{} pages are given out, {reached} are in the tree", memory.given_out);
            self.problem(report, 0, what);
        }
        Ok(())
    }
}

/// Damage as text; other errors stay errors.
fn damage<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Corruption { what, .. }) => Ok(Err(what.to_owned())),
        Err(error) => Err(error),
    }
}

impl<'r> Walk<'r> {
    fn new(report: &'r mut VerifyReport, path: &'r Path, tombs: &'r RangeTombs) -> Walk<'r> {
        Walk { report, path, tombs, seen: BTreeMap::new(), links: BTreeMap::new(), named: Vec::new() }
    }

    fn problem(&mut self, unit: u64, what: impl Into<String>) {
        self.report.problem(self.path, unit * UNIT_BYTES as u64, what);
    }

    /// Walks from the root. `read` gives a page, `None` if it is to be taken on trust, or the unit and kind of its damage.
    fn walk(&mut self, mut read: impl FnMut(&Claim) -> Result<Option<Counted<Image>>, (u64, String)>) {
        let mut todo = vec![Claim { pid: ROOT_PID, level: None, low: Vec::new(), high: Vec::new() }];
        while let Some(claim) = todo.pop() {
            if self.seen.contains_key(&claim.pid) {
                self.problem(0, format!("page {} is in the tree twice", claim.pid));
                continue;
            }
            self.report.pages += 1;
            let mut seen = Seen::default();
            match read(&claim) {
                Ok(Some(image)) => {
                    self.check_page(&claim, &image);
                    if image.kind() == ImageKind::Inner {
                        let children: Vec<Claim> = children_claims(&claim, &image).collect();
                        seen.children = children.iter().map(|child| child.pid).collect();
                        todo.extend(children.into_iter().rev());
                    } else {
                        seen.keys = self.count_keys(&image);
                        self.named.extend(image.references());
                    }
                }
                // The chain of right links is broken where a page was not looked at.
                Ok(None) => self.links.clear(),
                Err((unit, what)) => {
                    self.problem(unit, what);
                    self.links.clear();
                }
            }
            self.seen.insert(claim.pid, seen);
        }
        let ends: Vec<u8> = self.links.iter().filter(|(_, right)| **right != 0).map(|(level, _)| *level).collect();
        for level in ends {
            self.problem(0, format!("the last page of level {level} links to the right"));
        }
    }

    fn check_page(&mut self, claim: &Claim, image: &Image) {
        let pid = claim.pid;
        if claim.level.is_some_and(|level| level != image.level()) {
            self.problem(0, format!("page {pid} has level {}", image.level()));
        }
        if *image.low_fence() != *claim.low || *image.high_fence() != *claim.high {
            self.problem(0, format!("the fences of page {pid} are not those of its parent"));
        }
        if self.links.insert(image.level(), image.right_pid()).is_some_and(|right| right != pid) {
            self.problem(0, format!("page {pid} is not the one its left neighbour links to"));
        }
    }

    /// Keys of a leaf whose newest version is a value.
    fn count_keys(&self, image: &Image) -> u64 {
        if self.tombs.is_empty() {
            return image.count() as u64;
        }
        let mut key = Vec::new();
        let is_there = |index: &usize| {
            image.key_into(*index, &mut key);
            self.tombs.covering(&key, Timestamp::MAX).is_none_or(|deleted| deleted <= image.record(*index).ts)
        };
        (0..image.count()).filter(is_there).count() as u64
    }
}

fn children_claims(claim: &Claim, image: &Image) -> impl Iterator<Item = Claim> {
    let children = crate::inner::children(image);
    let level = image.level().checked_sub(1);
    let ends: Vec<Vec<u8>> =
        children.iter().skip(1).map(|child| child.key.clone()).chain([claim.high.clone()]).collect();
    children.into_iter().zip(ends).map(move |(child, high)| Claim { pid: child.pid, level, low: child.key, high })
}
