//! The contract between the engine and a store: what every backend must do, and the words it is said in.
//!
//! A store holds the committed versions of one keyspace. It never sees a transaction, a lock or the log: the engine hands it whole
//! committed batches, in commit order per key, and asks for versions at a timestamp. The conformance suite (`tests/`) runs unchanged on
//! every backend and is the real definition of this trait.
//!
//! K1  `get` and cursors at `at` see, for each key, the newest version with `ts <= at`; a range tombstone at t covers versions with ts < t.
//! K2  `apply` does no I/O, does not wait and cannot fail; what could fail happened in `admit`. It makes its operations readable at once;
//!     it may be called several times for one timestamp with disjoint keys. Applies that touch the same key arrive in timestamp order.
//! K3  Every commit `<= persisted()` is in durable files of the store. A store without unsaved content answers the greater of what its files say
//!     and min(visible, durable), both read before it looked for unsaved content.
//! K4  Before a durable file (superblock, manifest edit) that contains commits through t, or states persisted p, is switched to,
//!     `StoreHost::make_durable(max(t, p))` has returned Ok.
//! K5  Opening, then `apply` of every commit above `persisted()` in order, gives the state before the crash, older versions perhaps excepted.
//!     Until then `StoreHost::visible` is not above what has been replayed, and nobody reads. Applies repeated over newer content may give wrong
//!     intermediate states, which are gone once the newest contained commit has been applied again: an apply older than what a key holds is
//!     dropped. A commit `<= persisted()` is never applied again: it could bring back what was deleted since.
//! K6  Errors of reading leave the store as it was; other keys stay readable.
//! K7  `admit` refuses for good (`TxnTooLarge`) exactly what exceeds the whole budget, whoever holds how much of it. What others hold for the moment
//!     is `LacksMemory`: the caller lets go of what it holds, helps, and asks again. Either way nothing stays set aside. `admit_logged` refuses
//!     nothing for its size: what was accepted once is taken again, however small the budget is now.

use std::any::Any;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::arena::Counted;
use crate::batch::OpsOfKeyspace;
use crate::bounds::KeyBounds;
use crate::budget::Reservation;
use crate::clock::Clock;
use crate::compaction::CompactionStats;
use crate::error::{Error, Result};
use crate::host::StoreHost;
use crate::ids::{DbUuid, KeyspaceId, Timestamp};
use crate::image::Image;
use crate::ingest::{BuiltIngest, IngestRecord, SortedSource};
use crate::options::{Compression, KeyspaceOptions};
use crate::pool::FramePool;
use crate::stall::StallTimes;
use crate::sync::published::{Lent, Pinned};
use crate::value::{INLINE_BYTES_MAX, Value};
use crate::values::LargeRef;
use crate::vfs::Vfs;

/// Keeps what a store lends during one short operation alive. Held by one thread, never across I/O, waiting or user code.
#[derive(Debug, Default)]
pub struct Pin(Pinned);

impl Pin {
    /// A pin for the operation that begins now.
    #[inline]
    pub fn new() -> Pin {
        Pin::default()
    }

    /// What a store loads published pages under.
    #[inline]
    pub fn pinned(&self) -> &Pinned {
        &self.0
    }
}

/// Bytes that a store lends under a [`Pin`].
#[derive(Debug)]
pub enum ValueRef<'p> {
    /// Borrowed; keeping them means copying.
    Borrowed(&'p [u8]),
    /// Inside a page image; keeping them may count the image.
    InImage {
        /// The image.
        image: Counted<Image>,
        /// First byte.
        start: u32,
        /// Number of bytes.
        len: u32,
    },
    /// The same under the pin, uncounted as yet.
    InPage {
        /// The image.
        image: Lent<'p, Image>,
        /// First byte.
        start: u32,
        /// Number of bytes.
        len: u32,
    },
    /// Already owned.
    Owned(Value),
}

impl ValueRef<'_> {
    /// The bytes as a value of their own.
    #[inline]
    pub fn into_value(self) -> Value {
        match self {
            ValueRef::Borrowed(bytes) => Value::from(bytes),
            ValueRef::InImage { image, start, len } => Value::from_image(&image, start as usize, len as usize),
            ValueRef::InPage { len, .. } if len as usize <= INLINE_BYTES_MAX => Value::from(&*self),
            ValueRef::InPage { image, start, len } => {
                Value::from_image(&image.to_counted(), start as usize, len as usize)
            }
            ValueRef::Owned(value) => value,
        }
    }
}

impl Deref for ValueRef<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            ValueRef::Borrowed(bytes) => bytes,
            ValueRef::InImage { image, start, len } => &image.bytes()[*start as usize..][..*len as usize],
            ValueRef::InPage { image, start, len } => &image.bytes()[*start as usize..][..*len as usize],
            ValueRef::Owned(value) => value,
        }
    }
}

/// What a key is at a timestamp.
#[derive(Debug)]
pub enum Hit<'p> {
    /// No value: never written, or deleted and the store did not look up when. Says nothing about conflicts; `newer_than` does.
    Absent,
    /// No value: deleted by the commit at this timestamp, itself or by a range.
    Deleted(Timestamp),
    /// A value, written at `ts` (zero: so long ago that nobody can ask).
    Value {
        /// The value.
        bytes: ValueRef<'p>,
        /// Commit that wrote it.
        ts: Timestamp,
    },
    /// A value in a value file, written at `ts`: drop the pin and ask for it by [`Backend::load_large`].
    Large {
        /// Which.
        large: LargeRef,
        /// Commit that wrote it.
        ts: Timestamp,
    },
    /// A page must be read first: drop the pin, run the ticket, and ask again from the start.
    NeedIo(LoadTicket),
}

/// Answer of [`Backend::get`].
#[derive(Debug)]
pub struct Found<'p> {
    /// What the key is.
    pub hit: Hit<'p>,
    /// Whether a version newer than asked for exists (tombstones and range tombstones included).
    pub newer: bool,
}

/// A page to be read in before an operation can go on.
pub struct LoadTicket(Box<dyn FnOnce() -> Result<()> + Send>);

impl LoadTicket {
    /// A ticket that runs `load`.
    pub fn new(load: impl FnOnce() -> Result<()> + Send + 'static) -> LoadTicket {
        LoadTicket(Box::new(load))
    }

    /// Reads the page in. Must not be called under a [`Pin`].
    pub fn load(self) -> Result<()> {
        (self.0)()
    }
}

impl std::fmt::Debug for LoadTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoadTicket")
    }
}

/// What a commit that is in the log did to a keyspace.
pub type LoggedOps<'a> = (Timestamp, OpsOfKeyspace<'a>);

/// Until when a call may wait, on the clock of the database; `None`: as long as it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline(pub Option<Duration>);

/// Room that a store has set aside for one batch. Dropping it unused gives the room back.
#[derive(Debug)]
pub struct Admission {
    /// Memory held for the batch.
    pub reservation: Reservation,
    /// What else the store keeps alive until the batch is applied (pages it brought in), by counting.
    pub token: Option<Arc<dyn Any + Send + Sync>>,
}

/// Answer of [`Backend::admit`] (K7).
///
/// ```
/// use duramen_base::Admit;
/// assert!(Admit::LacksMemory { needed: 4096 }.granted().is_none());
/// ```
#[derive(Debug)]
#[must_use]
pub enum Admit {
    /// Everything is set aside.
    Granted(Admission),
    /// Others hold the memory for the moment, and this store has nothing left that it could give back.
    LacksMemory {
        /// Bytes asked for.
        needed: u64,
    },
}

impl Admit {
    /// The admission, if it was granted.
    pub fn granted(self) -> Option<Admission> {
        match self {
            Admit::Granted(admission) => Some(admission),
            Admit::LacksMemory { .. } => None,
        }
    }
}

/// How soon [`Backend::persist_to`] should happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// When convenient: the log is getting long.
    Relaxed,
    /// As soon as possible: the log, memory or a close waits for it.
    Now,
}

/// How much one step of upkeep may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkBudget {
    /// Bytes it may read and write, about.
    pub bytes: u64,
}

/// What one step of upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Whether more work is waiting.
    pub more: bool,
    /// Whether a superblock or manifest was switched, so that a new mark belongs in the log.
    pub switched: bool,
}

/// State of the store's durable files, as logged in a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreMark {
    /// Number of the newest superblock or manifest edit; grows by each.
    pub seq: u64,
    /// Every commit up to here is in durable files (K3).
    pub persisted: Timestamp,
    /// Newest commit that any durable file contains or claims: the log was durable through it (K4). `ZERO` if none.
    pub contains: Timestamp,
}

/// How a cursor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOpts {
    /// Whether pages it reads may push others out of the cache; off for one long scan.
    pub fill_cache: bool,
}

impl Default for ScanOpts {
    fn default() -> ScanOpts {
        ScanOpts { fill_cache: true }
    }
}

/// How deep [`Backend::verify`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyLevel {
    /// Headers, roots and lists.
    Quick,
    /// Every page and block: checksum, identity, order, reachability, space.
    Full,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file.
    pub file: PathBuf,
    /// Where.
    pub offset: u64,
    /// What.
    pub what: String,
}

/// What [`Backend::verify`] found.
///
/// ```
/// use duramen_base::{Problem, VerifyLevel, VerifyReport};
/// assert!(VerifyLevel::Quick < VerifyLevel::Full);
/// let mut report = VerifyReport::default();
/// assert!(report.is_clean());
/// report.problem("tree.dat", 4096, "a page that nobody names");
/// assert_eq!(report.problems[0], Problem { file: "tree.dat".into(), offset: 4096, what: "a page that nobody names".into() });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// What does not hold; empty: all is well.
    pub problems: Vec<Problem>,
    /// Pages and blocks looked at.
    pub pages: u64,
    /// Entries of keys looked at in files, a measure of the work.
    pub keys: u64,
}

impl VerifyReport {
    /// Notes a problem.
    pub fn problem(&mut self, file: impl Into<PathBuf>, offset: u64, what: impl Into<String>) {
        self.problems.push(Problem { file: file.into(), offset, what: what.into() });
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Figures of one store.
///
/// ```
/// use duramen_base::StoreStats;
/// let per_byte = |stats: &StoreStats, put_bytes: u64| stats.written_bytes as f64 / put_bytes as f64;
/// assert_eq!(per_byte(&StoreStats { written_bytes: 300, ..StoreStats::default() }, 100), 3.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes in memory: pages or memtables, caches excluded.
    pub memory_bytes: u64,
    /// Bytes not yet in durable files.
    pub unsaved_bytes: u64,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Pages (B-tree) or tables (LSM).
    pub units: u64,
    /// Levels of the tree, or sorted runs that a read may have to look into.
    pub depth: u32,
    /// Checkpoints or flushes finished.
    pub persists: u64,
    /// Pages or blocks read from disk.
    pub reads: u64,
    /// Leaves (B-tree) or data blocks (LSM) that gets, scans and checks for conflicts found in memory. What write buffers and memtables answered, or a
    /// filter denied, is no lookup; what upkeep looks at is not counted.
    pub cache_hits: u64,
    /// Those that had to be read first.
    pub cache_misses: u64,
    /// Bytes written to its files.
    pub written_bytes: u64,
    /// Of these, bytes that brought commits into tables for the first time (LSM): `written_bytes` divided by this is what merging costs.
    pub flushed_bytes: u64,
    /// What lies in each level (LSM), from the newest data to the oldest.
    pub levels: Vec<LevelStats>,
    /// Lookups of a key in a table that a filter spared (LSM).
    pub filter_denials: u64,
    /// Lookups that a filter let through though the table has not the key (LSM).
    pub filter_vain_passes: u64,
    /// How long writers waited for it, by cause; those of a B-tree wait for its write buffers, [`StallTimes::memtables`].
    pub stall_times: StallTimes,
    /// What a write of 1 KiB has to wait for at present (LSM): zero while all is well.
    pub write_delay: Duration,
    /// Bytes in levels that hold more than they should (LSM).
    pub debt_bytes: u64,
    /// How far the compactions that were asked for are.
    pub compaction: CompactionStats,
    /// B-tree: write buffers whose changes were brought into pages.
    pub drains: u64,
    /// B-tree: changes (puts and deletes) brought into pages.
    pub drained_changes: u64,
    /// B-tree: bytes of the pages that were built for them. Divided by [`StoreStats::drained_changes`] this is what a put copies.
    pub copied_bytes: u64,
    /// B-tree: pages that went together with a neighbour.
    pub pages_merged: u64,
    /// B-tree: time that checkpoints took, from their beginning until the superblock was durable, all together. Commits go on meanwhile.
    pub persist_time: Duration,
    /// B-tree: the longest single step of a checkpoint. Who waits for memory, or for a checkpoint, may wait for one.
    pub persist_step_max: Duration,
    /// Values that lie in value files.
    pub values: u64,
    /// Value files.
    pub value_files: u64,
    /// Bytes of the value files, a part of [`StoreStats::disk_bytes`].
    pub value_bytes: u64,
    /// Of these, bytes of values that are still named; files with less than half are written anew.
    pub live_value_bytes: u64,
}

impl StoreStats {
    /// Bytes written to files for each byte that came from commits (LSM): 1 while nothing is merged, 0 if nothing was flushed.
    ///
    /// ```
    /// use duramen_base::StoreStats;
    /// let stats = StoreStats { written_bytes: 300, flushed_bytes: 100, ..StoreStats::default() };
    /// assert_eq!(stats.write_amplification(), 3.0);
    /// ```
    pub fn write_amplification(&self) -> f64 {
        match self.flushed_bytes {
            0 => 0.0,
            flushed => self.written_bytes as f64 / flushed as f64,
        }
    }

    /// Part of the lookups of leaves or blocks that were answered from memory: 0 to 1; `None` before the first.
    ///
    /// ```
    /// use duramen_base::StoreStats;
    /// let stats = StoreStats { cache_hits: 3, cache_misses: 1, ..StoreStats::default() };
    /// assert_eq!((stats.cache_hit_rate(), StoreStats::default().cache_hit_rate()), (Some(0.75), None));
    /// ```
    pub fn cache_hit_rate(&self) -> Option<f64> {
        let lookups = self.cache_hits + self.cache_misses;
        (lookups > 0).then(|| self.cache_hits as f64 / lookups as f64)
    }

    /// Sorted runs that a lookup of a key may have to look into, memtables not counted; filters spare most of them. For a B-tree its levels.
    ///
    /// ```
    /// assert_eq!(duramen_base::StoreStats { depth: 3, ..Default::default() }.read_amplification(), 3);
    /// ```
    pub fn read_amplification(&self) -> u32 {
        self.depth
    }
}

/// Figures of one level of an LSM store.
///
/// ```
/// use duramen_base::{LevelStats, StoreStats};
/// let stats = StoreStats { levels: vec![LevelStats { runs: 2, tables: 3, bytes: 500, saved_bytes: 0 }], ..StoreStats::default() };
/// assert_eq!(stats.levels.iter().map(|level| level.runs).sum::<u32>(), 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Sorted runs: a get may have to look into one table of each.
    pub runs: u32,
    /// Tables.
    pub tables: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How many more these files would have without [`crate::Compression`].
    pub saved_bytes: u64,
}

/// What a store is opened with.
#[derive(Clone)]
pub struct StoreEnv {
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
    /// Its own folder, which exists.
    pub dir: PathBuf,
    /// Which keyspace it stores.
    pub keyspace: KeyspaceId,
    /// Identity of the database.
    pub db_uuid: DbUuid,
    /// Options of the keyspace.
    pub options: KeyspaceOptions,
    /// The engine.
    pub host: Arc<dyn StoreHost>,
    /// Page images read from files.
    pub pool: Arc<FramePool>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// A store of one keyspace. Invariants K1 to K7 of this module.
///
/// A backend also has `create(&StoreEnv) -> Result<()>` (writes and syncs its first files, the folder included; repeating it after
/// a crash in the middle is fine) and `open(StoreEnv) -> Result<Self>` (a missing file of its own is `Corruption`, never an empty store).
pub trait Backend: Send + Sync + 'static {
    /// Its cursor.
    type Cursor: BackendCursor;

    /// The newest version of `key` with `ts <= at` (K1).
    fn get<'p>(&self, pin: &'p Pin, key: &[u8], at: Timestamp) -> Result<Found<'p>>;

    /// Reads the value that [`Hit::Large`] names, of a get of `key` at `at`; `None`: by now there is none, as may happen where `at` is not registered. Must
    /// not be called under a [`Pin`].
    ///
    /// # Errors
    /// `Corruption`: the value is damaged or missing, other keys stay readable (K6); `Io`.
    fn load_large(&self, key: &[u8], at: Timestamp, large: LargeRef) -> Result<Option<Value>> {
        let _ = (key, at, large);
        unreachable!("only a store that answers with references is asked for them")
    }

    /// The timestamp of the newest change to `key` (put, delete, range delete) if it is newer than `since`. Right for any `since` that is
    /// registered; reads what it needs.
    fn newer_than(&self, key: &[u8], since: Timestamp) -> Result<Option<Timestamp>>;

    /// A cursor over the keys in `bounds` as of `at`, which must stay registered while it lives.
    fn cursor(&self, at: Timestamp, bounds: KeyBounds<'_>, opts: ScanOpts) -> Result<Self::Cursor>;

    /// Sets aside what `apply` of `ops` will need: memory (all or nothing) and pages. Makes what room it can until `deadline`, and may read. Fails
    /// with `TxnTooLarge` if it can never fit (K7).
    fn admit(&self, ops: &OpsOfKeyspace<'_>, deadline: Deadline) -> Result<Admit>;

    /// Slows a writer of `bytes`, as far as is known, down who holds nothing yet: waits, by the clock of the store, for as long as what was written before asks for, and does
    /// some of the upkeep that it waits for. Fails with `WriteStalled` if that takes longer than `wait_max`.
    fn throttle(&self, _bytes: u64, _wait_max: Duration) -> Result<()> {
        Ok(())
    }

    /// As `admit`, for commits that are in the log: makes what room it can and then goes over the budget for this once (K7).
    fn admit_logged(&self, commits: &[LoggedOps<'_>]) -> Result<Admission>;

    /// Takes the operations of the commit `at` in (K2).
    fn apply(&self, admission: Admission, ops: &OpsOfKeyspace<'_>, at: Timestamp) {
        self.apply_logged(admission, &[(at, *ops)]);
    }

    /// Takes the operations of several commits in, oldest first, as `apply` would one after the other (K2).
    fn apply_logged(&self, admission: Admission, commits: &[LoggedOps<'_>]);

    /// From how many bytes of sorted pairs on it is worth the while to build files of them ([`Backend::ingest`]); `None`: this store takes puts
    /// alone.
    fn ingest_bytes_min(&self) -> Option<u64> {
        None
    }

    /// Builds files of sorted pairs, beside everything else, and makes them durable; nobody reads them until they are attached (IG1). An error, of the
    /// source too, leaves the store as it was.
    ///
    /// # Errors
    /// `Unsupported` where `ingest_bytes_min` has no answer; what the source says; `DiskFull`, `Io`; `Poisoned`: a sync failed, the store cannot go on.
    fn ingest(&self, source: &mut dyn SortedSource) -> Result<BuiltIngest> {
        let _ = source;
        Err(Error::Unsupported { what: "an ingest that builds files" })
    }

    /// Attaches what was built as the commit `at`, as if each pair had been put (K2). Every commit before `at` has been applied, and the caller holds
    /// the locks of all keys from the first to the last.
    fn attach(&self, built: BuiltIngest, at: Timestamp) {
        let _ = (built, at);
        unreachable!("only what `ingest` built is attached");
    }

    /// While opening, before the first apply and the first `work`: the log has this record above `persisted`. What it names is not free.
    ///
    /// # Errors
    /// `Corruption`: what it names is missing or damaged.
    fn expect_ingest(&self, record: &IngestRecord) -> Result<()> {
        let _ = record;
        Err(Error::Unsupported { what: "an ingest that builds files" })
    }

    /// Attaches what an expected record names as the commit `at` (K5).
    fn attach_expected(&self, record: &IngestRecord, at: Timestamp) {
        let _ = (record, at);
        unreachable!("only what was expected is attached");
    }

    /// Every commit up to here is in durable files (K3).
    fn persisted(&self) -> Timestamp;

    /// Number of the newest durable superblock or manifest edit, with [`Backend::persisted`].
    fn mark(&self) -> StoreMark;

    /// Asks that commits through `target` come into durable files; [`Backend::work`] does it.
    fn persist_to(&self, target: Timestamp, urgency: Urgency);

    /// Asks that the files become as small as what can be read allows, as far as these keys are concerned: what is deleted and needed by no snapshot
    /// goes, and its space is given back. [`Backend::work`] does it, in pieces, beside everything else. The number of the request.
    fn compact(&self, bounds: KeyBounds<'_>) -> u64;

    /// Requests of [`Backend::compact`] up to this number are done, or were stopped.
    fn compacted(&self) -> u64;

    /// Gives up a request of [`Backend::compact`]: from the next step on nothing more is done for it. What was done stays.
    fn stop_compaction(&self, request: u64);

    /// Holds back (`true`) what upkeep would merge or move though nobody asked for it, or lets go of it again; pauses are counted. What memory or the
    /// log need (flushes, drains, checkpoints), and what writers would have to wait for, goes on.
    fn pause_compaction(&self, is_paused: bool);

    /// Does a bounded piece of upkeep (flush, checkpoint, merging, dropping old versions, giving memory back). One caller at a time works,
    /// another returns at once with `more: false`. After `DiskFull` it can be called again and goes on; after any other error the caller poisons.
    fn work(&self, budget: WorkBudget) -> Result<WorkDone>;

    /// Checks structure, checksums, order, reachability and space; damage goes into the report, other failures are errors.
    fn verify(&self, level: VerifyLevel, report: &mut VerifyReport) -> Result<()>;

    /// Options it was opened with.
    fn options(&self) -> &KeyspaceOptions;

    /// What is written from now on is stored so; what was written stays readable. Whoever calls has seen to it that this backend can, and that the next
    /// opening says the same.
    fn set_compression(&self, compression: Compression) {
        let _ = compression;
    }

    /// Its figures.
    fn stats(&self) -> StoreStats;
}

/// A position among the keys of a store, at one timestamp. It owns what it reads: no pin is held between calls.
///
/// C1  A new cursor stands nowhere: `next` goes to the first key, `prev` to the last.
/// C2  `next` returning false leaves it after the last key (`prev` then goes to the last), `prev` returning false before the first.
/// C3  An error leaves the position as it was; the call can be repeated. No key is skipped.
/// C4  Deleted keys are not shown.
/// C5  Commits newer than its timestamp change nothing of what it shows, nor does dropping the handle of the store.
/// C6  `newer_seen` is about the part of the bounds walked since the last seek (or since it was made): from where the seek began, the bound, or
///     the position before, through the key it stands on, or through the bound where it ran out. True if a change newer than its timestamp, applied
///     before that seek, concerns a key of this part, shown or not: deletions count, a range tombstone counts where it overlaps. False if none
///     does, so that nobody meets a conflict that is not there. Changes applied since that seek may be missed.
/// C7  A step to a key at hand is the step that `next` or `prev` would make, and cannot fail.
/// C8  A value may lie elsewhere: after a step, but not after one to a key at hand, `load_value` comes before `value` and `value_owned`. Who only walks over a
///     key does not read its value.
pub trait BackendCursor: Send {
    /// Goes to the first key `>= key` inside the bounds; false (and after the last) if there is none.
    fn seek(&mut self, key: &[u8]) -> Result<bool>;
    /// Goes to the last key `<= key` inside the bounds; false (and before the first) if there is none.
    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool>;
    /// Goes to the next key; false if there is none.
    fn next(&mut self) -> Result<bool>;
    /// Goes to the previous key; false if there is none.
    fn prev(&mut self) -> Result<bool>;
    /// Whether going to the next key takes no search and no reading, and that key is inside the bounds (C7). False says nothing.
    #[inline]
    fn next_is_at_hand(&self) -> bool {
        false
    }
    /// The same of the previous key.
    #[inline]
    fn prev_is_at_hand(&self) -> bool {
        false
    }
    /// Goes to the next key, which is at hand; with its value.
    ///
    /// # Panics
    /// If it is not at hand; so does `prev_at_hand`.
    #[inline]
    fn next_at_hand(&mut self) -> (&[u8], &[u8]) {
        panic!("the next key is not at hand")
    }
    /// The same with the previous key.
    #[inline]
    fn prev_at_hand(&mut self) -> (&[u8], &[u8]) {
        panic!("the previous key is not at hand")
    }
    /// The key it stands on.
    ///
    /// # Panics
    /// If it stands on none; so do `value` and `ts`.
    fn key(&self) -> &[u8];
    /// Makes sure of the value there, reading it if need be (C8). An error leaves everything as it was.
    #[inline]
    fn load_value(&mut self) -> Result<()> {
        Ok(())
    }
    /// The value there.
    ///
    /// # Panics
    /// If it was not made sure of (C8).
    fn value(&self) -> &[u8];
    /// The value there, kept: may count the page image instead of copying.
    fn value_owned(&self) -> Value {
        Value::from(self.value())
    }
    /// The commit that wrote it (zero: so long ago that nobody can ask).
    fn ts(&self) -> Timestamp;
    /// Whether anything walked over since the last seek (or since it was made) was newer than the cursor's timestamp (C6).
    fn newer_seen(&self) -> bool;
}
