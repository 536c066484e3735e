//! A run: seeded threads that commit to two keyspaces at once, a B-tree and an LSM unless one was asked for, on a disk that journals what they do.
//!
//! Beside the commits, of every durability, the threads take upkeep steps, checkpoints and compactions, hold snapshots, and create and drop a third
//! keyspace. Two runs of three have LSM keyspaces that compress, and compactions for which that changes. With one thread a run is a function of its seed; with more, the journal stands for the schedule.
//!
//! CR1  A note stands in the journal behind the call that made its promise, so a crash behind the note must keep it.
//! CR2  What a snapshot shows during the run is what the history says of its timestamp.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duramen::seams::{Clock, ManualClock, ManualExecutor, SystemClock};
use duramen::{
    BackendKind, Builder, Compaction, Compression, Database, Durability, Error, Keyspace, KeyspaceId, KeyspaceOptions,
    Lsn, Reader, Snapshot, TxnOptions,
};
use duramen_base::vfs::sim::{Journal, SimVfs};
use duramen_tests::dice::Dice;

use super::history::{Change, History, MARKER, RowDigest, Writes};

/// Where the database lies on the disk.
pub(super) const PATH: &str = "db";

/// Into the seed of each thread, so that its choices are not those of another test with the same seed.
const SALT: u64 = 0x6372_6173_6865_7321;

/// Notes in the journal (CR1): what was promised, and for which timestamp or keyspace id.
pub(super) mod note {
    /// A commit, and all before it, survive loss of power.
    pub(crate) const SYNCED: u64 = 1;
    /// A commit, and all before it, survive the death of the process.
    pub(crate) const WRITTEN: u64 = 2;
    /// A keyspace was created.
    pub(crate) const CREATED: u64 = 3;
    /// It may be dropped from here on.
    pub(crate) const DROPPING: u64 = 4;
    /// It was dropped.
    pub(crate) const DROPPED: u64 = 5;
}

/// The backends of a run where nothing else was asked for.
pub(super) const BOTH: [BackendKind; 2] = [BackendKind::BTree, BackendKind::Lsm];

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) threads: u64,
    /// Turns of all threads together; most of them are commits.
    pub(super) turns: u64,
    /// Whether the database is closed at the end; else the process dies.
    pub(super) closes: bool,
    /// Whether a few values are so big that a commit takes several records.
    pub(super) big_values: bool,
    /// Whether upkeep runs; else everything stays in the log.
    pub(super) upkeep: bool,
    /// Of the two keyspaces that last.
    pub(super) backends: [BackendKind; 2],
}

impl Plan {
    /// The plan of the enumeration for `seed`: every third with one thread, to be repeated exactly.
    pub(super) fn of(seed: u64) -> Plan {
        let threads = [1, 2, 3, 4, 1, 3][(seed % 6) as usize];
        let (closes, big_values) = (seed % 5 != 4, seed % 4 == 3);
        // A few are long enough for tables to be merged and log files to be used again.
        let turns = if seed % 16 == 8 { 200 } else { 70 };
        Plan { seed, threads, turns, closes, big_values, upkeep: true, backends: BOTH }
    }

    /// What a commit asks for. Every third run syncs seldom: then the log is stored to where it is mapped.
    fn durability(&self, dice: &mut Dice) -> Durability {
        let syncs = if self.seed % 3 == 2 { 1 } else { 4 };
        match dice.below(8) {
            0 => Durability::None,
            1 if syncs > 1 => Durability::None,
            draw if draw < 8 - syncs => Durability::Buffered,
            _ => Durability::Sync,
        }
    }

    fn packs(&self) -> bool {
        !self.seed.is_multiple_of(3)
    }

    fn options(&self, kind: BackendKind) -> KeyspaceOptions {
        let packs = self.packs() && kind == BackendKind::Lsm;
        KeyspaceOptions { compression: if packs { Compression::Lz4 } else { Compression::None }, ..options(kind) }
    }
}

/// What a run left.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) journal: Journal,
    pub(super) history: History,
    pub(super) keyspaces: BTreeMap<KeyspaceId, (String, BackendKind)>,
    /// Checkpoints or flushes of the lasting keyspaces.
    pub(super) persists: [u64; 2],
    /// Whether the log was cut behind them.
    pub(super) cut_log: bool,
    /// Writes of the log that were stored without a call.
    pub(super) stores: u64,
    /// Levels below the first in which the lasting LSM had tables at once.
    pub(super) levels: usize,
    /// What packing saved in its tables at most.
    pub(super) saved_bytes: u64,
}

impl Run {
    /// On an empty disk.
    pub(super) fn new(plan: Plan) -> Run {
        Run::on(plan, &SimVfs::new())
    }

    /// On `disk`, which may have faults.
    pub(super) fn on(plan: Plan, disk: &SimVfs) -> Run {
        let stage = Stage::open(plan, disk);
        std::thread::scope(|scope| {
            for thread in 0..plan.threads {
                let stage = &stage;
                scope.spawn(move || Actor::new(stage, thread).act());
            }
        });
        stage.end()
    }
}

/// How every database of these tests is opened: as small as it goes, so that files are switched often.
pub(super) fn builder(disk: &SimVfs) -> Builder {
    Database::builder()
        .vfs(Arc::new(disk.clone()))
        .executor(Arc::new(ManualExecutor::new()))
        .clock(Arc::new(ManualClock::default()))
        .memory_bytes(1 << 20)
        .log_segment_bytes(32 << 10, 64 << 10)
        .log_bytes_before_checkpoint(24 << 10)
}

/// Small pages and memtables.
pub(super) fn options(backend: BackendKind) -> KeyspaceOptions {
    let mut options = KeyspaceOptions::new(backend);
    options.memtable_bytes = 4 << 10;
    options.page_bytes = 1 << 10;
    options
}

/// What the threads of a run share.
struct Stage {
    plan: Plan,
    disk: SimVfs,
    db: Database,
    executor: ManualExecutor,
    clock: ManualClock,
    lasting: [Keyspace; 2],
    passing: Mutex<Option<Keyspace>>,
    keyspaces: Mutex<BTreeMap<KeyspaceId, (String, BackendKind)>>,
    commits: Mutex<BTreeMap<u64, Writes>>,
    /// Timestamp, keyspace, digest of what a snapshot showed (CR2).
    shown: Mutex<Vec<(u64, KeyspaceId, u64)>>,
    levels_max: AtomicUsize,
    saved_bytes_max: AtomicU64,
}

impl Stage {
    fn open(plan: Plan, disk: &SimVfs) -> Stage {
        let (executor, manual) = (ManualExecutor::new(), ManualClock::default());
        // Threads that wait for each other for a while need time to pass.
        let clock: Arc<dyn Clock> =
            if plan.threads == 1 { Arc::new(manual.clone()) } else { Arc::new(SystemClock::new()) };
        let builder = builder(disk).executor(Arc::new(executor.clone())).clock(clock);
        let db = builder.open(PATH).expect("a good disk");
        let keyspaces = Mutex::default();
        let create = |name, number: usize| create(&db, disk, &keyspaces, name, plan.options(plan.backends[number]));
        let lasting = [create("first", 0), create("second", 1)];
        Stage {
            plan,
            disk: disk.clone(),
            db,
            executor,
            clock: manual,
            lasting,
            passing: Mutex::default(),
            keyspaces,
            commits: Mutex::default(),
            shown: Mutex::default(),
            levels_max: AtomicUsize::new(0),
            saved_bytes_max: AtomicU64::new(0),
        }
    }

    fn end(self) -> Run {
        let stats = self.db.stats();
        let persists = [0, 1].map(|number| {
            let of = |(name, _): &&(String, _)| name == self.lasting[number].name();
            stats.keyspaces.iter().find(of).map_or(0, |(_, stats)| stats.persists)
        });
        let (cut_log, stores) = (stats.log.start > Lsn::ZERO, stats.log.stores);
        if self.plan.closes {
            self.db.clone().close().expect("a good disk");
        } else {
            self.disk.kill();
        }
        let journal = self.disk.journal();
        let history = History::new(self.commits.into_inner().expect("no thread died"));
        for (ts, keyspace, digest) in self.shown.into_inner().expect("no thread died") {
            let expected = history.digest(ts, keyspace);
            assert_eq!(digest, expected, "CR2: a snapshot at {ts} of keyspace {keyspace} in {:?}", self.plan);
        }
        let keyspaces = self.keyspaces.into_inner().expect("no thread died");
        let (levels, saved_bytes) = (self.levels_max.into_inner(), self.saved_bytes_max.into_inner());
        Run { plan: self.plan, journal, history, keyspaces, persists, cut_log, stores, levels, saved_bytes }
    }

    /// One piece of upkeep, and what it made of the levels.
    fn upkeep(&self) {
        self.executor.run_all(1);
        let stats = self.db.stats();
        let has_tables =
            |levels: &[duramen::LevelStats]| levels.iter().skip(1).filter(|level| level.tables > 0).count();
        let levels = stats.keyspaces.iter().map(|(_, stats)| has_tables(&stats.levels)).max().unwrap_or(0);
        self.levels_max.fetch_max(levels, Ordering::Relaxed);
        let saved_bytes =
            stats.keyspaces.iter().flat_map(|(_, stats)| &stats.levels).map(|level| level.saved_bytes).sum();
        self.saved_bytes_max.fetch_max(saved_bytes, Ordering::Relaxed);
    }
}

fn create(
    db: &Database,
    disk: &SimVfs,
    keyspaces: &Mutex<BTreeMap<KeyspaceId, (String, BackendKind)>>,
    name: &str,
    options: KeyspaceOptions,
) -> Keyspace {
    let kind = options.backend;
    let created = db.create_keyspace(name, options).expect("a good disk");
    keyspaces.lock().expect("no thread died").insert(created.id(), (name.to_owned(), kind));
    disk.journal_note(note::CREATED, u64::from(created.id().get()));
    created
}

/// One thread of a run.
struct Actor<'a> {
    stage: &'a Stage,
    thread: u64,
    dice: Dice,
    marker: u64,
    snapshots: Vec<Snapshot>,
}

impl<'a> Actor<'a> {
    fn new(stage: &'a Stage, thread: u64) -> Actor<'a> {
        let seed = stage.plan.seed.wrapping_mul(31).wrapping_add(thread);
        let mut dice = Dice::new(seed ^ SALT);
        dice.next();
        Actor { stage, thread, dice, marker: 0, snapshots: Vec::new() }
    }

    fn act(mut self) {
        for _ in 0..self.stage.plan.turns / self.stage.plan.threads {
            self.stage.clock.advance(Duration::from_millis(self.dice.below(8)));
            match self.dice.below(100) {
                0..74 => self.commit(),
                74..90 if !self.stage.plan.upkeep => self.commit(),
                74..88 => self.stage.upkeep(),
                88..90 if self.dice.percent(50) => self.stage.db.checkpoint().expect("a good disk"),
                88..90 => self.compact(),
                90..95 => self.look(),
                _ => self.create_or_drop(),
            }
        }
    }

    fn compact(&mut self) {
        let number = self.dice.below(2) as usize;
        let (db, keyspace) = (&self.stage.db, &self.stage.lasting[number]);
        if self.stage.plan.packs() && keyspace.options().backend == BackendKind::Lsm {
            let compression = if self.marker.is_multiple_of(4) { Compression::None } else { Compression::Lz4 };
            db.set_compression(keyspace, compression).expect("a good disk");
        }
        match number {
            0 => db.begin_compaction(keyspace, "key 010".."key 045").and_then(Compaction::wait).expect("a good disk"),
            _ => db.compact(keyspace).expect("a good disk"),
        }
    }

    /// A transaction over both lasting keyspaces, and sometimes the third.
    fn commit(&mut self) {
        let durability = self.stage.plan.durability(&mut self.dice);
        let tx = self.stage.db.begin_with(TxnOptions::default().durability(durability)).expect("not poisoned");
        let mut writes = Writes::new();
        if self.dice.percent(20) {
            tx.get(&self.stage.lasting[0], self.key()).expect("a good disk");
        }
        let mut keyspaces = self.stage.lasting.to_vec();
        if self.dice.percent(30) {
            keyspaces.extend(self.stage.passing.lock().expect("no thread died").clone());
        }
        for (number, keyspace) in keyspaces.iter().enumerate() {
            for change in self.changes(number < 2) {
                let made = match &change {
                    Change::Put(key, value) => tx.put(keyspace, key, value),
                    Change::Delete(key) => tx.delete(keyspace, key),
                    Change::DeleteRange(low, high) => tx.delete_range(keyspace, low, high),
                };
                match made {
                    Ok(()) => writes.push((keyspace.id(), change)),
                    Err(Error::NoSuchKeyspace { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        self.finish(tx, writes, durability);
    }

    fn finish(&mut self, tx: duramen::Transaction, writes: Writes, durability: Durability) {
        let waits_later = self.dice.percent(20);
        let committed = if waits_later {
            tx.commit_async().map(|handle| {
                let handle = handle.expect("it wrote something");
                self.record(handle.info().ts.get(), writes);
                handle.wait_visible();
                if durability == Durability::Sync {
                    handle.wait_durable().expect("a good disk");
                    self.note(Durability::Sync, handle.info().ts.get());
                }
            })
        } else {
            tx.commit().map(|info| {
                let ts = info.expect("it wrote something").ts.get();
                self.record(ts, writes);
                self.note(durability, ts);
            })
        };
        match committed {
            Ok(()) => self.marker += 1,
            // Nothing was written.
            Err(Error::WriteConflict(_) | Error::NoSuchKeyspace { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn record(&self, ts: u64, writes: Writes) {
        let before = self.stage.commits.lock().expect("no thread died").insert(ts, writes);
        assert!(before.is_none(), "timestamp {ts} was given twice");
    }

    fn note(&self, durability: Durability, ts: u64) {
        match durability {
            Durability::None => {}
            Durability::Buffered => self.stage.disk.journal_note(note::WRITTEN, ts),
            Durability::Sync => self.stage.disk.journal_note(note::SYNCED, ts),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key {:03}", self.dice.below(60)).into_bytes()
    }

    /// A few writes to one keyspace, the marker among them where there is one.
    fn changes(&mut self, marked: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..1 + self.dice.below(4) {
            let key = self.key();
            changes.push(match self.dice.below(100) {
                0..75 => Change::Put(key, self.value()),
                75..90 => Change::Delete(key),
                _ => {
                    let mut high = self.key();
                    if self.dice.percent(70) {
                        high.clone_from(&key);
                        high.push(b'9');
                    }
                    Change::DeleteRange(key.clone().min(high.clone()), key.max(high))
                }
            });
        }
        if marked {
            let mut key = vec![MARKER];
            key.extend_from_slice(format!("{}/{:04}", self.thread, self.marker).as_bytes());
            let place = self.dice.below(changes.len() as u64 + 1) as usize;
            changes.insert(place, Change::Put(key, [].into()));
        }
        changes
    }

    fn value(&mut self) -> Arc<[u8]> {
        let len = match self.dice.below(100) {
            0..40 => self.dice.below(24),
            40..98 => self.dice.below(200),
            _ if self.stage.plan.big_values => 17_000 + self.dice.below(9_000),
            _ => 600 + self.dice.below(600),
        };
        let start = self.dice.next();
        // In words that repeat, so that it can be packed.
        (0..len).map(|i| (start >> (i % 8 * 8)) as u8 ^ (i / 64) as u8).collect()
    }

    /// Takes a snapshot to hold, or looks at one and lets it go.
    fn look(&mut self) {
        if self.snapshots.len() < 2 && self.dice.percent(60) {
            let durable = self.dice.percent(30);
            let snapshot = if durable { self.stage.db.snapshot_durable() } else { self.stage.db.snapshot() };
            let snapshot = snapshot.expect("not poisoned");
            if durable {
                self.stage.disk.journal_note(note::SYNCED, snapshot.ts().get());
            }
            self.snapshots.push(snapshot);
        } else if !self.snapshots.is_empty() {
            let snapshot = self.snapshots.remove(0);
            for keyspace in &self.stage.lasting {
                let digest = scan(&snapshot, keyspace).expect("a good disk").finish();
                self.stage.shown.lock().expect("no thread died").push((snapshot.ts().get(), keyspace.id(), digest));
            }
        }
    }

    fn create_or_drop(&mut self) {
        let mut passing = self.stage.passing.lock().expect("no thread died");
        let disk = &self.stage.disk;
        match passing.take() {
            Some(keyspace) => {
                let id = u64::from(keyspace.id().get());
                disk.journal_note(note::DROPPING, id);
                self.stage.db.drop_keyspace(keyspace.name()).expect("a good disk");
                disk.journal_note(note::DROPPED, id);
            }
            None => {
                let kind = if self.dice.percent(50) { BackendKind::BTree } else { BackendKind::Lsm };
                *passing =
                    Some(create(&self.stage.db, disk, &self.stage.keyspaces, "passing", self.stage.plan.options(kind)));
            }
        }
    }
}

/// Reads a whole keyspace.
pub(super) fn scan(reader: &impl Reader, keyspace: &Keyspace) -> duramen::Result<RowDigest> {
    let mut digest = RowDigest::default();
    for entry in reader.iter(keyspace)? {
        let entry = entry?;
        digest.add(&entry.key, &entry.value);
    }
    Ok(digest)
}
