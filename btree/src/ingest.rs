//! Sorted ingest: leaves written straight from sorted pairs, attached by a commit as a layer of their own, hung into the tree later.
//!
//! ```text
//!   Built (leaves, list: synced) ─(commit: in memory)─► a layer of the buffers ─┬─ hang: its leaves become leaves of the tree, as they lie
//!     └─(dropped)─► units and page ids come free      └─(crash)─► expected       └─ merge: drained as a buffer would be, its leaves come free
//! ```
//! The leaves are written before their commit has a timestamp, so their records have none: they are frozen. In the layer they are read as of the
//! commit. In the tree they are right as they lie if nobody reads before it, if nothing else was ever in their range of keys, and no range delete is
//! left there. Else they are merged, which writes them again.
//!
//! IN1  A page id or unit of a run is nobody else's from when it is taken until its page is in the tree or free: `Upkeep::beside` has it, the list of
//!      free units not. Neither the durable superblock nor another run that the log may need names it, so after a crash both can be claimed again.
//! IN2  `gone` is raised before a page of the run is changed, freed or in the tree. So who read a page and then finds it not raised, read the run's.
//! IN3  Every commit before a run's lies in older layers or pages, none of its range of keys in newer ones: the run leaves the layers as a buffer does.
//! IN4  The list stays until a superblock that has the run is durable (IG3).
//! IN5  Until that superblock, the units of a run are as the log's record needs them: a leaf that left the run's place, in the tree or by a merge,
//!      leaves the units taken (`logged`, `held`, `spent_runs` of `upkeep.rs`).
//! IN6  Large values of a run are synced before its list, which has where they lie (VG1 of `base/src/values/ingest.rs`). They come into `Upkeep::values`
//!      with the change of the page that names them: all when it is hung, leaf by leaf when it is merged. Nothing newer is in a page before the run is
//!      in the tree as a whole, so none is dropped while a record may lead to the list (VG2).
//!
//! Here they are built and attached. `ingest/list.rs` has the list, `ingest/run.rs` reads a layer, `ingest/hang.rs` brings it into the tree.

mod hang;
mod list;
mod run;

use std::collections::VecDeque;
use std::ops::Range;

use duramen_base::bounds::prefix_end;
use duramen_base::image::{Body, Image, ImageBuilder};
use duramen_base::ingest::{list_path, read_list, write_list};
use duramen_base::memtable::successor;
use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::salvage::StoreFiles;
use duramen_base::sync::Arc;
use duramen_base::sync::atomic::Ordering;
use duramen_base::values::{LargeRef, ValueChanges};
use duramen_base::{BuiltIngest, Error, IngestRecord, IoOp, Reservation, Result, SortedSource, Timestamp, mutant};

pub(crate) use list::{RunList, RunPage};
pub(crate) use run::{Looked, Run};

use crate::leaf::{IMAGE_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, common_prefix, leaf_spec, separator};
use crate::map::DiskAddr;
use crate::pid_table::Page;
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

/// The leaf being filled.
#[derive(Debug, Default)]
struct Pending {
    low: Vec<u8>,
    bytes: Vec<u8>,
    records: Vec<PendingRecord>,
    /// Bytes of its records, prefixes and all.
    weight: usize,
    /// Bytes that all its keys share, with its low fence.
    common: usize,
}

/// A record of it, whose bytes lie in `Pending::bytes`.
#[derive(Debug)]
struct PendingRecord {
    key: Range<usize>,
    value: PendingValue,
}

#[derive(Debug)]
enum PendingValue {
    Here(Range<usize>),
    Large(LargeRef),
}

impl Pending {
    fn last_key(&self) -> &[u8] {
        self.records.last().map_or(&[], |record| &self.bytes[record.key.clone()])
    }

    fn image_bytes(&self, weight: usize, count: usize, common: usize) -> usize {
        IMAGE_OVERHEAD_BYTES + self.low.len() + weight - (count * common).min(weight)
    }

    /// Whether a pair has room in a leaf of `leaf_bytes`.
    fn fits(&self, key: &[u8], value_bytes: usize, leaf_bytes: usize) -> bool {
        let weight = self.weight + RECORD_OVERHEAD_BYTES + key.len() + value_bytes;
        let common = common_prefix(&self.low, key).min(self.common);
        self.records.is_empty() || self.image_bytes(weight, self.records.len() + 1, common) + key.len() <= leaf_bytes
    }

    fn push(&mut self, key: &[u8], body: Body<'_>) {
        self.common = common_prefix(&self.low, key).min(self.common);
        self.weight += RECORD_OVERHEAD_BYTES + key.len() + body.stored_bytes();
        let key = self.append(key);
        let value = match body {
            Body::Value(value) => PendingValue::Here(self.append(value)),
            Body::Large(large) => PendingValue::Large(large),
            Body::Tombstone => unreachable!("an ingest puts"),
        };
        self.records.push(PendingRecord { key, value });
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn body(&self, record: &PendingRecord) -> Body<'_> {
        match &record.value {
            PendingValue::Here(range) => Body::Value(&self.bytes[range.clone()]),
            PendingValue::Large(large) => Body::Large(*large),
        }
    }

    fn begin(&mut self, low: Vec<u8>) {
        (self.common, self.weight, self.low) = (low.len(), 0, low);
        self.bytes.clear();
        self.records.clear();
    }
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
    /// Large values that the leaves name.
    values: ValueChanges,
    /// Bytes of them that are not synced.
    unsynced_bytes: u64,
    attached: bool,
}

impl Drop for Built {
    fn drop(&mut self) {
        if self.attached {
            return; // K2: nothing to wait for
        }
        self.store.values.give_up(std::mem::take(&mut self.values));
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
            values: ValueChanges::default(),
            unsynced_bytes: 0,
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
            let body = self.separate(value)?;
            if pid == 0 {
                pid = self.next_pid();
                leaf.begin(key.to_vec());
            } else if !leaf.fits(key, body.stored_bytes(), leaf_bytes) {
                let next_pid = self.next_pid();
                let high = separator(leaf.last_key(), key).to_vec();
                gathered += self.end_leaf(&leaf, pid, next_pid, &high, &mut images);
                leaf.begin(high);
                pid = next_pid;
            }
            leaf.push(key, body);
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

    /// What a leaf is to have of a value: a large one goes to a value file.
    fn separate<'v>(&mut self, value: &'v [u8]) -> Result<Body<'v>> {
        if value.len() <= self.store.inline_bytes_max() {
            return Ok(Body::Value(value));
        }
        let appended = self.store.values.append_ingested(value, &mut self.values, &mut self.unsynced_bytes);
        appended.map(Body::Large).or_else(|error| self.store.upkeep.lock().fail_unless_full(error))
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
        for record in &leaf.records {
            builder.push(&leaf.bytes[record.key.clone()], Timestamp::ZERO, leaf.body(record));
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
        self.memory.resize(self.list.memory_bytes() + self.values.memory_bytes());
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
        if !mutant!("ingest_values_unsynced")
            && let Err(error) = self.values.sync()
        {
            return self.upkeep.lock().fail(error); // IN6
        }
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
        let record = write_list(&self.env, built.number, &built.values, &built.list.encode())?;
        let dir = &self.env.dir;
        self.env.vfs.sync_dir(dir).map_err(|source| Error::from_io(IoOp::SyncDir, dir, source))?;
        Ok(BuiltIngest { record, token: Box::new(built) })
    }

    /// Attaches what was built (K2).
    pub(crate) fn attach(&self, built: BuiltIngest, at: Timestamp) {
        let mut built = built.token.downcast::<Built>().expect("this store built it");
        built.attached = true;
        let (list, values) = (std::mem::take(&mut built.list), std::mem::take(&mut built.values));
        let memory = std::mem::replace(&mut built.memory, self.budget().reserve_anyway(0));
        self.show_run(Run::new(at, list, built.number, memory, values));
    }

    fn show_run(&self, run: Run) {
        self.buffers.attach(run);
        self.env.host.wake_upkeep();
    }

    /// Takes note of a record of the log: what it names is not free (IN1).
    pub(crate) fn expect_ingest(&self, record: &IngestRecord) -> Result<()> {
        let path = list_path(&self.env.dir, record.number);
        let damaged = |what| Error::corruption(&path, 0, what);
        let (values, pages) = read_list(&StoreFiles::of(&self.env), record)?;
        let list = RunList::decode(&pages).ok_or_else(|| damaged("a list of leaves that is none"))?;
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
        let values = self.values.claim(values)?; // IN6
        up.expected.insert(record.number, (list, values));
        Ok(())
    }

    /// Attaches what a record names that was expected.
    pub(crate) fn attach_expected(&self, record: &IngestRecord, at: Timestamp) {
        let (list, values) = self.upkeep.lock().expected.remove(&record.number).expect("it was expected");
        let memory = self.budget().reserve_anyway(list.memory_bytes() + values.memory_bytes());
        self.show_run(Run::new(at, list, record.number, memory, values));
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
