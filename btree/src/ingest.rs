//! Sorted ingest: leaves written straight from sorted pairs, attached by a commit as a layer of their own, hung into the tree later.
//!
//! ```text
//!   Built (leaves, list: synced) ─(commit: in memory)─► a layer of the buffers ─┬─ hang: its leaves become leaves of the tree, as they lie
//!     └─(dropped)─► units and page ids come free      └─(crash)─► expected       └─ merge: drained as a buffer would be, its leaves come free
//! ```
//! The leaves are written before their commit has a timestamp, so their records have none: they are frozen. In the layer they are read as of the
//! commit. In the tree they are right as they lie if nobody reads before it, if nothing else was ever in their range of keys, and no range delete is
//! left there (`can_hang`). Else they are merged, which writes them again.
//!
//! On disk: Run list (run_list.hex)
//!
//! The body of a list (`base/src/ingest.rs`); numbers are varints.
//! ```text
//!   list := write_seq, right_pid, length, high fence, page_count, page*      page := pid, unit, units, length, low fence
//! ```
//!
//! IN1  A page id or unit of a run is nobody else's from when it is taken until its page is in the tree or free: `Upkeep::beside` has it, the list of
//!      free units not. Neither the durable superblock nor another run that the log may need names it, so after a crash both can be claimed again.
//! IN2  `gone` is raised before a page of the run is changed, freed or in the tree. So who read a page and then finds it not raised, read the run's.
//! IN3  Every commit before a run's lies in older layers or pages, none of its range of keys in newer ones: the run leaves the layers as a buffer does.
//! IN4  The list stays until a superblock that has the run is durable (IG3).
//! IN5  Until that superblock, the units of a run are as the log's record needs them: a leaf that left the run's place, in the tree or by a merge,
//!      leaves the units taken (`logged`, `held`, `spent_runs` of `upkeep.rs`).

use std::collections::VecDeque;
use std::ops::Range;

use duramen_base::bounds::prefix_end;
use duramen_base::image::{Body, Image, ImageBuilder};
use duramen_base::ingest::{list_path, read_list, write_list};
use duramen_base::memtable::{Key, KeyVersion, MemFound, MemItem, successor};
use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::{
    BuiltIngest, Error, IngestRecord, IoOp, Reservation, Result, SortedSource, Timestamp, Value, mutant, varint,
};

use crate::inner::Child;
use crate::leaf::{Content, IMAGE_OVERHEAD_BYTES, LeafRef, RECORD_OVERHEAD_BYTES, Rules, leaf_spec};
use crate::map::DiskAddr;
use crate::pid_table::{Page, ROOT_PID};
use crate::read::{Missing, Target};
use crate::split::Change;
use crate::store::Store;
use crate::units::{UNIT_BYTES, units_for};
use crate::upkeep::Upkeep;
use crate::write::Gather;

/// Part of a memtable that is better built at once than logged, put and drained.
const MEMTABLE_SHARE: u64 = 16;
const INGEST_BYTES_MAX: u64 = 64 << 10;
/// Bytes of leaves written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Page ids taken at once.
const PIDS: usize = 64;
/// Memory of a page of a run beside its low fence, about.
const PAGE_MEMORY_BYTES: u64 = 96;

/// A leaf of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunPage {
    pub(crate) low: Vec<u8>,
    pub(crate) pid: u64,
    pub(crate) addr: DiskAddr,
}

/// Leaves in key order, as the list has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunList {
    pub(crate) pages: Vec<RunPage>,
    /// High fence of the last page; empty: none, then it cannot be hung.
    high: Vec<u8>,
    /// Page id that the last one links to: it will have what lies behind.
    right_pid: u64,
    write_seq: u16,
}

/// A run that a commit attached.
#[derive(Debug)]
pub(crate) struct Run {
    /// The commit.
    pub(crate) ts: Timestamp,
    pub(crate) list: RunList,
    number: u64,
    /// IN2.
    gone: AtomicBool,
    /// Memory of the list.
    memory: Reservation,
}

impl RunList {
    /// The body of a list.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let put_bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
            varint::put(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        };
        varint::put(&mut out, u64::from(self.write_seq));
        varint::put(&mut out, self.right_pid);
        put_bytes(&mut out, &self.high);
        varint::put(&mut out, self.pages.len() as u64);
        for page in &self.pages {
            varint::put(&mut out, page.pid);
            varint::put(&mut out, page.addr.unit);
            varint::put(&mut out, u64::from(page.addr.units));
            put_bytes(&mut out, &page.low);
        }
        out
    }

    /// Decodes; `None` if anything is off. Total.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<RunList> {
        let rest = &mut bytes;
        let fence = |rest: &mut &[u8]| {
            varint::take_bytes(rest).filter(|fence| fence.len() <= KEY_BYTES_MAX).map(<[u8]>::to_vec)
        };
        let is_pid = |pid: &u64| (ROOT_PID + 1..1 << 40).contains(pid);
        let write_seq = u16::try_from(varint::take(rest)?).ok()?;
        let right_pid = varint::take(rest).filter(is_pid)?;
        let high = fence(rest)?;
        let count = varint::take(rest)?;
        let mut pages: Vec<RunPage> = Vec::new();
        for _ in 0..count {
            let pid = varint::take(rest).filter(is_pid)?;
            let unit = varint::take(rest).filter(|&unit| unit < 1 << 40)?;
            let units = u8::try_from(varint::take(rest)?).ok().filter(|units| (1..=64).contains(units))?;
            let low = fence(rest)?;
            let ascends = pages.last().is_none_or(|before| before.low < low);
            ascends.then_some(())?;
            pages.push(RunPage { low, pid, addr: DiskAddr { unit, units, write_seq } });
        }
        let ends = pages.last().is_some_and(|last| high.is_empty() || last.low < high);
        (rest.is_empty() && ends).then_some(RunList { pages, high, right_pid, write_seq })
    }

    fn low(&self) -> &[u8] {
        &self.pages[0].low
    }

    /// Which page encloses `key`, if one does.
    fn page_of(&self, key: &[u8]) -> Option<usize> {
        let index = self.pages.partition_point(|page| *page.low <= *key).checked_sub(1)?;
        (self.high.is_empty() || *key < *self.high).then_some(index)
    }

    fn memory_bytes(&self) -> u64 {
        self.pages.iter().map(|page| page.low.len() as u64 + PAGE_MEMORY_BYTES).sum()
    }
}

/// What a layer knows of a key.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Whatever there is to know.
    Found(MemFound),
    /// Nothing.
    Nothing,
    /// A page must be read first.
    Missing(Missing),
}

impl Run {
    /// Memory it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    fn is_gone(&self) -> bool {
        // SeqCst: raised under `structure` or before a page is freed, after which its slot may show anything (IN2).
        self.gone.load(Ordering::SeqCst)
    }
}

/// The leaf being filled.
#[derive(Debug, Default)]
struct Pending {
    low: Vec<u8>,
    bytes: Vec<u8>,
    records: Vec<(Range<usize>, Range<usize>)>,
    /// Bytes of its records, prefixes and all.
    weight: usize,
    /// Bytes that all its keys share, with its low fence.
    common: usize,
}

impl Pending {
    fn last_key(&self) -> &[u8] {
        self.records.last().map_or(&[], |(key, _)| &self.bytes[key.clone()])
    }

    fn image_bytes(&self, weight: usize, count: usize, common: usize) -> usize {
        IMAGE_OVERHEAD_BYTES + self.low.len() + weight - (count * common).min(weight)
    }

    /// Whether a pair has room in a leaf of `leaf_bytes`.
    fn fits(&self, key: &[u8], value: &[u8], leaf_bytes: usize) -> bool {
        let weight = self.weight + RECORD_OVERHEAD_BYTES + key.len() + value.len();
        let common = common_prefix(&self.low, key).min(self.common);
        self.records.is_empty() || self.image_bytes(weight, self.records.len() + 1, common) + key.len() <= leaf_bytes
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.common = common_prefix(&self.low, key).min(self.common);
        self.weight += RECORD_OVERHEAD_BYTES + key.len() + value.len();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.records.push((start..middle, middle..self.bytes.len()));
    }

    fn begin(&mut self, low: Vec<u8>) {
        (self.common, self.weight, self.low) = (low.len(), 0, low);
        self.bytes.clear();
        self.records.clear();
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// Shortest key above `left` and not above `right`.
fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    right[..common_prefix(left, right) + 1].to_vec()
}

/// Leaves that no commit names yet. Dropping it gives units and page ids back.
struct Built {
    store: Arc<Store>,
    list: RunList,
    /// Number of the list, once it is begun.
    number: u64,
    /// Page ids taken and not used.
    pids: Vec<u64>,
    /// Those used for pages that are not in `list` yet, in order; the last one is that of what lies behind.
    open: VecDeque<u64>,
    memory: Reservation,
    attached: bool,
}

impl Drop for Built {
    fn drop(&mut self) {
        if self.attached {
            return; // K2: nothing to wait for
        }
        let mut up = self.store.upkeep.lock();
        for page in &self.list.pages {
            self.store.give_back(&mut up, page);
        }
        self.pids.extend(&self.open);
        self.store.release_unused(&mut up, &mut self.pids);
        up.stray_lists.extend((self.number > 0).then_some(self.number));
    }
}

impl Built {
    fn new(store: &Arc<Store>) -> Result<Built> {
        let mut up = store.upkeep.lock();
        up.check_not_failed()?;
        let list = RunList { write_seq: up.next_write_seq(), ..RunList::default() };
        drop(up);
        let memory = store.budget().reserve_anyway(0);
        Ok(Built {
            store: Arc::clone(store),
            list,
            number: 0,
            pids: Vec::new(),
            open: VecDeque::new(),
            memory,
            attached: false,
        })
    }

    /// A page id that neither the durable superblock nor the log names (IN1).
    fn next_pid(&mut self) -> u64 {
        if self.pids.is_empty() {
            let mut up = self.store.upkeep.lock();
            let mut named = Vec::new();
            while self.pids.len() < PIDS {
                let pid = self.store.pages.allocate();
                let is_named = up.map.get(pid).is_some() || up.logged_pids.contains(&pid);
                if is_named { named.push(pid) } else { self.pids.push(pid) }
            }
            up.beside.extend(self.pids.iter().map(|&pid| (pid, None)));
            named.into_iter().for_each(|pid| self.store.pages.release(pid));
            self.pids.reverse();
        }
        let pid = self.pids.pop().expect("some were just taken");
        self.open.push_back(pid);
        pid
    }

    fn write(&mut self, source: &mut dyn SortedSource) -> Result<()> {
        let leaf_bytes = self.store.leaf_bytes();
        let (mut leaf, mut images, mut gathered) = (Pending::default(), Vec::new(), 0);
        let mut pid = 0;
        while let Some((key, value)) = source.next_pair()? {
            if pid == 0 {
                pid = self.next_pid();
                leaf.begin(key.to_vec());
            } else if !leaf.fits(key, value, leaf_bytes) {
                let next_pid = self.next_pid();
                let high = separator(leaf.last_key(), key);
                gathered += self.end_leaf(&leaf, pid, next_pid, &high, &mut images);
                leaf.begin(high);
                pid = next_pid;
            }
            leaf.push(key, value);
            if gathered >= WRITE_BYTES {
                self.write_leaves(&mut images)?;
                gathered = 0;
            }
        }
        self.list.right_pid = self.next_pid();
        let last = leaf.last_key();
        self.list.high =
            if last.len() < KEY_BYTES_MAX { successor(last) } else { prefix_end(last).unwrap_or_default() };
        let (right_pid, high) = (self.list.right_pid, self.list.high.clone());
        self.end_leaf(&leaf, pid, right_pid, &high, &mut images);
        self.write_leaves(&mut images)
    }

    /// Builds the image of a leaf; its bytes.
    fn end_leaf(
        &mut self,
        leaf: &Pending,
        pid: u64,
        right_pid: u64,
        high: &[u8],
        images: &mut Vec<(Vec<u8>, u64, Image)>,
    ) -> usize {
        let right_pid = if high.is_empty() { 0 } else { right_pid };
        let mut builder = ImageBuilder::new(&leaf_spec(pid, self.store.keyspace(), right_pid, &leaf.low, high));
        for (key, value) in &leaf.records {
            builder.push(&leaf.bytes[key.clone()], Timestamp::ZERO, Body::Value(&leaf.bytes[value.clone()]));
        }
        let image = builder.finish();
        let bytes = image.bytes().len();
        images.push((leaf.low.clone(), pid, image));
        bytes
    }

    /// Writes images to units of their own (IN1).
    fn write_leaves(&mut self, images: &mut Vec<(Vec<u8>, u64, Image)>) -> Result<()> {
        let store = &self.store;
        let first = self.list.pages.len();
        let mut up = store.upkeep.lock();
        up.check_not_failed()?;
        for (low, pid, image) in images.iter_mut() {
            let units = units_for(image.bytes().len());
            let addr = DiskAddr { unit: up.units.allocate(units), units, write_seq: self.list.write_seq };
            up.beside.insert(*pid, Some(addr));
            self.open.pop_front();
            self.list.pages.push(RunPage { low: std::mem::take(low), pid: *pid, addr });
        }
        drop(up);
        self.memory.resize(self.list.memory_bytes());
        let (needed, budget) = (self.memory.bytes(), store.budget().limit());
        if needed > budget / 2 {
            return Err(Error::TxnTooLarge { needed, budget });
        }
        let mut gather = Gather::new(&store.file, self.list.write_seq);
        for (page, (_, _, image)) in self.list.pages[first..].iter().zip(images.iter()) {
            gather.put_at(page.addr.unit, image)?;
        }
        gather.flush()?;
        store.counters.written_bytes.fetch_add(gather.total(), Ordering::Relaxed);
        for page in &self.list.pages[first..] {
            *store.pages.known(page.pid).write() = Page::OnDisk(page.addr);
        }
        images.clear();
        Ok(())
    }
}

impl Store {
    /// From how many bytes of pairs on leaves are built of them.
    pub(crate) fn ingest_bytes_min(&self) -> u64 {
        (self.env.options.memtable_bytes / MEMTABLE_SHARE).min(INGEST_BYTES_MAX)
    }

    /// Builds leaves of what `source` gives.
    pub(crate) fn build_ingest(self: &Arc<Store>, source: &mut dyn SortedSource) -> Result<BuiltIngest> {
        let mut built = Built::new(self)?;
        built.write(source)?;
        if !mutant!("ingest_leaves_unsynced")
            && let Err(error) = self.file.sync_data()
        {
            return self.upkeep.lock().fail(error); // X4: what else was not synced may be lost with it
        }
        let mut up = self.upkeep.lock();
        up.next_list += 1;
        built.number = up.next_list;
        self.release_unused(&mut up, &mut built.pids);
        drop(up);
        let record = write_list(&self.env, built.number, &built.list.encode())?;
        let dir = &self.env.dir;
        self.env.vfs.sync_dir(dir).map_err(|source| Error::from_io(IoOp::SyncDir, dir, source))?;
        Ok(BuiltIngest { record, token: Box::new(built) })
    }

    /// Attaches what was built (K2).
    pub(crate) fn attach(&self, built: BuiltIngest, at: Timestamp) {
        let mut built = built.token.downcast::<Built>().expect("this store built it");
        built.attached = true;
        let list = std::mem::take(&mut built.list);
        let memory = std::mem::replace(&mut built.memory, self.budget().reserve_anyway(0));
        let gone = AtomicBool::new(false);
        self.show_run(Run { ts: at, list, number: built.number, gone, memory });
    }

    fn show_run(&self, run: Run) {
        self.buffers.attach(run);
        self.env.host.wake_upkeep();
    }

    /// Takes note of a record of the log: what it names is not free (IN1).
    pub(crate) fn expect_ingest(&self, record: &IngestRecord) -> Result<()> {
        let path = list_path(&self.env.dir, record.number);
        let damaged = |what| Error::corruption(&path, 0, what);
        let body = read_list(&self.env, record)?;
        let list = RunList::decode(&body).ok_or_else(|| damaged("a list of leaves that is none"))?;
        let end = self.file.len()? / UNIT_BYTES as u64;
        let mut up = self.upkeep.lock();
        up.stray_lists.retain(|&number| number != record.number);
        up.next_list = up.next_list.max(record.number);
        let pids: Vec<u64> = list.pages.iter().map(|page| page.pid).chain([list.right_pid]).collect();
        if pids.iter().max().is_some_and(|&max| max > end.saturating_mul(64) + (1 << 16)) || !self.pages.claim(&pids) {
            return Err(damaged("a page of an ingest that is in use"));
        }
        up.beside.insert(list.right_pid, None);
        for page in &list.pages {
            if page.addr.end() > end || !up.units.claim(page.addr) {
                return Err(damaged("a unit of an ingest that is in use"));
            }
            up.beside.insert(page.pid, Some(page.addr));
            *self.pages.known(page.pid).write() = Page::OnDisk(page.addr);
        }
        up.expected.insert(record.number, list);
        Ok(())
    }

    /// Attaches what a record names that was expected.
    pub(crate) fn attach_expected(&self, record: &IngestRecord, at: Timestamp) {
        let list = self.upkeep.lock().expected.remove(&record.number).expect("it was expected");
        let memory = self.budget().reserve_anyway(list.memory_bytes());
        self.show_run(Run { ts: at, list, number: record.number, gone: AtomicBool::new(false), memory });
    }

    /// Page ids that nothing has come to use come free.
    fn release_unused(&self, up: &mut Upkeep, pids: &mut Vec<u64>) {
        for pid in pids.drain(..) {
            up.beside.remove(&pid);
            self.pages.release(pid);
        }
    }

    /// A page that was a run's comes free.
    fn give_back(&self, up: &mut Upkeep, page: &RunPage) {
        up.beside.remove(&page.pid);
        self.free_page(up, page.pid);
        // A load may be reading it.
        up.given_up.push_back((self.loads.lock().number(), page.addr));
    }

    /// Removes lists that nothing needs. What cannot be removed now is tried again.
    pub(crate) fn remove_lists(&self, up: &mut Upkeep) {
        up.stray_lists.retain(|&number| match self.env.vfs.remove_file(&list_path(&self.env.dir, number)) {
            Ok(()) => false,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        });
    }
}

/// Reading a run.
impl Store {
    /// The leaf `index` of a run.
    fn run_leaf(&self, run: &Run, index: usize) -> std::result::Result<Arc<Image>, Missing> {
        let pid = run.list.pages[index].pid;
        self.resident_page(pid).map(|leaf| leaf.image).ok_or(Missing::child(pid, 0))
    }

    /// What a run has of `key` at `at`. Under the latch of the buffers, where no run goes.
    pub(crate) fn look_in_run(&self, run: &Run, key: &[u8], at: Timestamp) -> Looked {
        let Some(index) = run.list.page_of(key) else { return Looked::Nothing };
        let image = match self.run_leaf(run, index) {
            Ok(image) => image,
            Err(missing) => return Looked::Missing(missing),
        };
        let Ok(slot) = image.search(key) else { return Looked::Nothing };
        let range = image.value_range(slot);
        let version = (run.ts <= at)
            .then(|| KeyVersion { ts: run.ts, value: Some(Value::from_image(&image, range.start, range.len())) });
        Looked::Found(MemFound { version, tomb: Timestamp::ZERO, newer: run.ts > at })
    }

    /// Up to `keys_max` keys of a run in `low..high` (empty: to the end), upwards or downwards; `None`: the run is gone.
    pub(crate) fn copy_of_run(
        &self,
        run: &Run,
        (low, high): (&[u8], &[u8]),
        is_down: bool,
        at: Timestamp,
        keys_max: usize,
    ) -> Result<Option<Vec<MemItem>>> {
        let pages = &run.list.pages;
        let first = pages.partition_point(|page| *page.low <= *low).saturating_sub(1);
        let end = if high.is_empty() { pages.len() } else { pages.partition_point(|page| *page.low < *high) };
        let mut items = Vec::new();
        let mut left = first..end.max(first);
        while items.len() < keys_max
            && let Some(index) = if is_down { left.next_back() } else { left.next() }
        {
            let image = loop {
                match self.run_leaf(run, index) {
                    Ok(image) => break image,
                    Err(_) if run.is_gone() => return Ok(None),
                    Err(missing) => self.load(missing)?,
                }
            };
            if run.is_gone() {
                return Ok(None); // IN2
            }
            let (Ok(start) | Err(start)) = image.search(low);
            let end = if high.is_empty() { Err(image.count()) } else { image.search(high) };
            let (Ok(end) | Err(end)) = end;
            let room = keys_max - items.len();
            let item = |slot: usize| self.item_of(run, &image, slot, at);
            if is_down {
                items.extend((start..end).rev().take(room).map(item));
            } else {
                items.extend((start..end).take(room).map(item));
            }
        }
        Ok(Some(items))
    }

    fn item_of(&self, run: &Run, image: &Arc<Image>, slot: usize, at: Timestamp) -> MemItem {
        let mut key = Vec::new();
        image.key_into(slot, &mut key);
        let range = image.value_range(slot);
        let version = (run.ts <= at)
            .then(|| KeyVersion { ts: run.ts, value: Some(Value::from_image(image, range.start, range.len())) });
        MemItem { key: Key::from(&key[..]), version, newer: run.ts > at }
    }
}

/// Into the tree.
impl Store {
    /// Whether a run may leave the layers (IN3). One that is asked for goes at once; else it waits until nobody can begin to read before it.
    pub(crate) fn is_ripe(&self, run: &Run, is_wanted: bool) -> bool {
        self.env.host.visible() >= run.ts && (is_wanted || self.snapshots().horizon() >= run.ts)
    }

    /// Puts a run's leaves into the tree as they lie, if that is right; whether it was.
    pub(crate) fn hang(&self, up: &mut Upkeep, run: &Run) -> Result<bool> {
        let (low, high) = (run.list.low(), &run.list.high[..]);
        let snaps = self.snapshots();
        let tombs = self.tombs();
        let is_read_before = snaps.oldest() < run.ts && !mutant!("hang_over_old_readers");
        if is_read_before || high.is_empty() || !tombs.overlapping(low, high).is_empty() {
            return Ok(false);
        }
        let (pid, leaf) = self.upkeep_leaf(Target::At(low))?;
        let image = &leaf.image;
        let is_inside = *image.low_fence() < *low && (image.high_fence().is_empty() || *high < *image.high_fence());
        let (Ok(first) | Err(first)) = image.search(low);
        let (Ok(behind) | Err(behind)) = image.search(high);
        if !is_inside || first != behind || image.hist_count() > 0 || leaf.spill.is_some() {
            return Ok(false);
        }
        let around = tombs.overlapping(image.low_fence(), image.high_fence());
        let content = Content::merge(LeafRef { image, spill: None }, &[], &Rules::new(&snaps, &around));
        let cut = content.first_from(low);
        let left_pid = if pid == ROOT_PID { self.pages.allocate() } else { pid };
        let mut change = Change::default();
        let mut piece = |pid, right_pid, low: &[u8], high: &[u8], groups| {
            let spec = leaf_spec(pid, self.keyspace(), right_pid, low, high);
            change.leaf(content.build(groups, &spec, self.spill_reservation()));
        };
        piece(left_pid, run.list.pages[0].pid, image.low_fence(), low, 0..cut);
        piece(run.list.right_pid, image.right_pid(), high, image.high_fence(), cut..content.group_count());
        let child = |page: &RunPage| Child { key: page.low.clone(), pid: page.pid };
        let mut children = vec![Child { key: image.low_fence().to_vec(), pid: left_pid }];
        children.extend(run.list.pages.iter().map(child));
        children.push(Child { key: high.to_vec(), pid: run.list.right_pid });
        let path = self.path_to(image.low_fence(), 0);
        self.add_to_parent(&mut change, path, 1, pid, children);
        run.gone.store(true, Ordering::SeqCst); // IN2
        for page in &run.list.pages {
            up.beside.remove(&page.pid);
            up.took_place(page.pid, page.addr);
            up.logged.insert(page.addr.unit); // IN5
            up.logged_pids.insert(page.pid);
        }
        up.logged_pids.insert(run.list.right_pid);
        up.beside.remove(&run.list.right_pid);
        self.commit_change(up, change);
        up.underfull.extend([left_pid, run.list.right_pid]);
        Ok(true)
    }

    /// The run is in the tree, in one way or the other: what it alone had comes free.
    pub(crate) fn run_is_in(&self, up: &mut Upkeep, run: &Arc<Run>, hung: bool) {
        if !hung {
            run.gone.store(true, Ordering::SeqCst); // IN2
            up.spent_runs.push(Arc::clone(run)); // IN5
        }
        up.spent_lists.push(run.number);
    }

    /// A superblock that has what runs brought is durable: nothing needs their lists, nor what was kept for the log (IN4, IN5).
    pub(crate) fn let_runs_go(&self, up: &mut Upkeep) {
        let generation = self.loads.lock().number();
        let held = std::mem::take(&mut up.held);
        up.given_up.extend(held.into_iter().map(|addr| (generation, addr)));
        up.logged.clear();
        up.logged_pids.clear();
        for run in std::mem::take(&mut up.spent_runs) {
            for page in &run.list.pages {
                self.give_back(up, page);
            }
            self.release_unused(up, &mut vec![run.list.right_pid]);
        }
        let spent = std::mem::take(&mut up.spent_lists);
        up.stray_lists.extend(spent);
        self.remove_lists(up);
    }

    /// The records of a run's leaf `index`, for a drain that merges them.
    pub(crate) fn leaf_to_merge(&self, run: &Run, index: usize) -> Result<Option<Arc<Image>>> {
        if index >= run.list.pages.len() {
            return Ok(None);
        }
        loop {
            match self.run_leaf(run, index) {
                Ok(image) => return Ok(Some(image)),
                Err(missing) => self.load(missing)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen_base::golden;
    use proptest::prelude::*;

    fn sample() -> RunList {
        let page = |low: &[u8], pid, unit| RunPage {
            low: low.to_vec(),
            pid,
            addr: DiskAddr { unit, units: 4, write_seq: 0x0102 },
        };
        RunList {
            pages: vec![page(b"a", 300, 20), page(b"bc", 301, 24)],
            high: b"d".to_vec(),
            right_pid: 302,
            write_seq: 0x0102,
        }
    }

    #[test]
    fn a_list_has_these_bytes() {
        let pinned = golden::bytes(include_str!("../tests/golden/run_list.hex"));
        assert_eq!(sample().encode(), pinned);
        assert_eq!(RunList::decode(&pinned), Some(sample()));
    }

    #[test]
    fn lists_that_cannot_be_are_refused() {
        let refused = |change: fn(&mut RunList)| {
            let mut list = sample();
            change(&mut list);
            assert_eq!(RunList::decode(&list.encode()), None);
        };
        refused(|list| list.pages.clear());
        refused(|list| list.pages.swap(0, 1));
        refused(|list| list.high = b"b".to_vec());
        refused(|list| list.right_pid = ROOT_PID);
        refused(|list| list.pages[0].addr.units = 65);
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..30, flip in 0usize..30) {
            RunList::decode(&bytes);
            let mut list = sample().encode();
            prop_assert_eq!(RunList::decode(&list[..cut.min(list.len() - 1)]), None);
            let at = flip % list.len();
            list[at] ^= 0xff;
            RunList::decode(&list);
        }
    }
}
