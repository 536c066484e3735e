//! Databases to measure: where they lie, what they hold.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use duramen::{
    BackendKind, Builder, Concurrency, Database, Durability, Keyspace, KeyspaceOptions, Reader, Transaction, TxnOptions,
};
use tempfile::TempDir;

use crate::compare::data::Picker;
use crate::compare::histogram::Histogram;
use crate::keys::{Random, key, value};

/// Both backends, with the name that the table shows.
pub const BACKENDS: [(&str, BackendKind); 2] = [("B-tree", BackendKind::BTree), ("LSM", BackendKind::Lsm)];

/// Keys of a keyspace that commits are measured on.
pub const COMMIT_KEYS: u64 = 100_000;
/// Puts of one transaction that fills a keyspace.
const FILL_STEP: u64 = 2_000;

/// Where data lies: the target folder, which is on the same file system as the code.
pub fn data_root() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let root = target.join("bench-data");
    std::fs::create_dir_all(&root).expect("the target folder can be written");
    root
}

/// A folder that goes when it is dropped.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("bed-").tempdir_in(data_root()).expect("a folder below the target folder")
}

/// A database with one keyspace in a folder of its own.
pub struct Bed {
    /// The database.
    pub db: Database,
    /// Its keyspace.
    pub ks: Keyspace,
    /// Where it lies. Dropped after the database, which is above.
    pub folder: TempDir,
}

impl Bed {
    /// An empty keyspace on the real file system.
    pub fn new(kind: BackendKind, builder: Builder) -> Bed {
        Bed::with_options(KeyspaceOptions::new(kind), builder)
    }

    /// An empty keyspace with these options.
    pub fn with_options(options: KeyspaceOptions, builder: Builder) -> Bed {
        let folder = folder();
        let db = builder.open(folder.path().join("db")).expect("a new database");
        let ks = db.keyspace("bench", options).expect("a new keyspace");
        Bed { db, ks, folder }
    }

    /// A keyspace that already has [`COMMIT_KEYS`] keys, in its files, for commits that replace values.
    pub fn for_commits(kind: BackendKind) -> Bed {
        let bed = Bed::new(kind, Database::builder());
        bed.fill(COMMIT_KEYS);
        bed
    }

    /// Puts the first `count` keys, and brings them into the files.
    pub fn fill(&self, count: u64) {
        let options = TxnOptions::default().durability(Durability::None);
        for start in (0..count).step_by(FILL_STEP as usize) {
            let put_all = |tx: &duramen::Transaction| {
                (start..count.min(start + FILL_STEP)).try_for_each(|index| tx.put(&self.ks, key(index), value(index)))
            };
            self.db.update_with(options.clone(), put_all).expect("a commit");
        }
        // Synced: a checkpoint takes over only what the log holds durably.
        self.db.update(|tx| tx.delete(&self.ks, "none")).expect("a commit");
        self.db.checkpoint().expect("a checkpoint");
    }

    /// A loop body: each call commits one put of a random key.
    pub fn committer(&self, durability: Durability, seed: u64) -> impl FnMut() + Send + use<> {
        let (db, ks, mut random) = (self.db.clone(), self.ks.clone(), Random::new(seed));
        let options = TxnOptions::default().durability(durability);
        move || {
            let index = random.below(COMMIT_KEYS);
            let tx = db.begin_with(options.clone()).expect("begins");
            tx.put(&ks, key(index), value(index)).expect("puts");
            tx.commit().expect("commits");
        }
    }

    /// A loop body: each call is one operation of YCSB as a transaction of its own, on a keyspace for commits. `writes` of twenty replace a value,
    /// the others read one.
    pub fn ycsb(&self, options: &TxnOptions, writes: u64, seed: u64) -> impl FnMut() + Send + use<> {
        let (db, ks) = (self.db.clone(), self.ks.clone());
        let (mut picker, mut random) = (Picker::zipfian(seed, COMMIT_KEYS), Random::new(seed + 100));
        let options = options.clone();
        move || {
            let (picked, writes) = (picker.pick(), random.below(20) < writes);
            let run = |tx: &Transaction| match writes {
                true => tx.put(&ks, key(picked), value(picked)),
                false => tx.get(&ks, key(picked)).map(|found| assert!(found.is_some(), "every key is there")),
            };
            db.update_with(options.clone(), run).expect("commits");
        }
    }

    /// A loop body: each call reads and replaces the first key under its row lock, and notes in `longest` how long it took at most, in nanoseconds.
    pub fn modifier<'a>(&self, durability: Durability, longest: &'a AtomicU64) -> impl FnMut() + Send + use<'a> {
        let (db, ks) = (self.db.clone(), self.ks.clone());
        let options = TxnOptions::default().durability(durability).concurrency(Concurrency::Pessimistic);
        let add_one = move |tx: &Transaction| {
            let before = tx.get_for_update(&ks, key(0))?.map_or(0, |value| value[0]);
            tx.put(&ks, key(0), [before.wrapping_add(1); 84])
        };
        move || {
            let begun = Instant::now();
            db.update_with(options.clone(), &add_one).expect("commits");
            longest.fetch_max(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// A loop body: each call reads one of the first `keys` and replaces it, until that is committed, and notes in `times` how long it took. The read
    /// `locks` the key, or the commit is refused if somebody else was faster.
    pub fn contender<'a>(
        &self,
        options: &TxnOptions,
        locks: bool,
        keys: u64,
        seed: u64,
        times: &'a Mutex<Histogram>,
    ) -> impl FnMut() + Send + use<'a> {
        let (db, ks, mut random) = (self.db.clone(), self.ks.clone(), Random::new(seed));
        let concurrency = if locks { Concurrency::Pessimistic } else { Concurrency::Optimistic };
        let options = options.clone().concurrency(concurrency);
        let add_one = move |index: u64| {
            let tx = db.begin_with(options.clone())?;
            let before = if locks { tx.get_for_update(&ks, key(index))? } else { tx.get(&ks, key(index))? };
            tx.put(&ks, key(index), [before.map_or(0, |value| value[0]).wrapping_add(1); 84])?;
            tx.commit()
        };
        move || {
            let (index, begun) = (random.below(keys), Instant::now());
            while let Err(error) = add_one(index) {
                assert!(error.is_retryable(), "{error}");
            }
            times.lock().expect("nobody panicked").add(begun.elapsed().as_nanos() as u64);
        }
    }

    /// A loop body: each call gets a random one of the first `count` keys.
    pub fn getter(&self, count: u64, seed: u64) -> impl FnMut() + use<> {
        let snapshot = self.db.snapshot().expect("a snapshot");
        let (ks, mut random) = (self.ks.clone(), Random::new(seed));
        move || {
            let found = snapshot.get(&ks, key(random.below(count))).expect("reads");
            assert!(std::hint::black_box(found).is_some(), "every key is there");
        }
    }
}

/// Bytes of all files below `path`, and of the disk they take.
pub fn bytes_below(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(path).expect("a folder").flatten() {
        let meta = entry.metadata().expect("a file that is there");
        let (len, taken) = if meta.is_dir() { bytes_below(&entry.path()) } else { (meta.len(), meta.blocks() * 512) };
        sum = (sum.0 + len, sum.1 + taken);
    }
    sum
}
