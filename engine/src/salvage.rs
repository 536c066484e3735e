//! Salvage: what can be read of a damaged database, put into a new one.
//!
//! It asks each store's crate for every version in its files, then the log for every commit that is whole, and lets the newest of each key
//! win (`salvage/rescue.rs`). The damaged database is only read. Not here: what a damaged file still tells (`salvage.rs` of each crate).
//!
//! X1  Without damage the new database holds exactly what opening the old one would show.
//! X2  Nothing is in it that no commit ever wrote; what is missing, or may be older than it was, is told as a loss.

mod rescue;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use duramen_base::salvage::{Loss, Salvage, StoreFiles};
use duramen_base::sync::Arc;
use duramen_base::vfs::{PatientVfs, Vfs};
use duramen_base::{
    BackendKind, BatchView, DbUuid, Error, IngestRecord, IoOp, KeyspaceId, KeyspaceOptions, OpKind, Result, Timestamp,
    mutant,
};
use duramen_wal::{MarkSet, Salvaged};

use crate::catalog::Catalog;
use crate::database::Database;
use crate::keyspaces::decode_drop;
use crate::open::{KEYSPACES_DIR, LOG_END_FILE, lock, log_dir};
use crate::options::Builder;
use rescue::{Rescue, Writer};

/// What [`Database::salvage`] found.
///
/// Its `Display` is a report for humans, one line for each keyspace and each loss.
///
/// ```
/// let report = duramen::SalvageReport::default();
/// assert_eq!(report.to_string(), "0 commits from the log\nnothing was lost");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// The keyspaces of the new database.
    pub keyspaces: Vec<SalvagedKeyspace>,
    /// What could not be read, in the order in which it was met. Empty: nothing is missing.
    pub losses: Vec<Loss>,
    /// Commits taken from the log.
    pub commits: u64,
}

/// One keyspace of a [`SalvageReport`].
///
/// ```
/// use duramen::{BackendKind, SalvageReport, SalvagedKeyspace};
/// let trees = SalvagedKeyspace { name: "trees".into(), backend: BackendKind::BTree, entries: 12 };
/// let report = SalvageReport { keyspaces: vec![trees], ..SalvageReport::default() };
/// assert!(report.to_string().starts_with("trees (btree): 12 entries"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedKeyspace {
    /// Its name; `keyspace-<id>` where the catalog could not be read.
    pub name: String,
    /// Which backend it has, in both databases.
    pub backend: BackendKind,
    /// Keys with a value in the new database.
    pub entries: u64,
}

impl SalvageReport {
    /// Whether everything was there: the new database equals the old one.
    pub fn is_whole(&self) -> bool {
        self.losses.is_empty()
    }
}

impl fmt::Display for SalvageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for SalvagedKeyspace { name, backend, entries } in &self.keyspaces {
            writeln!(f, "{name} ({backend}): {entries} entries")?;
        }
        writeln!(f, "{} commits from the log", self.commits)?;
        if self.is_whole() {
            return write!(f, "nothing was lost");
        }
        write!(f, "{} losses:", self.losses.len())?;
        self.losses.iter().try_for_each(|loss| write!(f, "\n  {loss}"))
    }
}

impl Database {
    /// Copies everything that can be read of the damaged database in `from` into a new one in `to`: for when [`Database::open`] answers
    /// [`Error::Corruption`], or some keys do. [`Builder::salvage`] chooses how the new one is opened.
    ///
    /// # Errors
    /// As [`Builder::salvage`].
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (from, to) = (dir.path().join("db"), dir.path().join("rescued"));
    /// let db = Database::open(&from)?;
    /// let trees = db.keyspace("trees", BackendKind::Lsm)?;
    /// db.update(|tx| tx.put(&trees, "oak", "hard"))?;
    /// db.close()?;
    /// // The catalog is lost, and with it the names of all keyspaces.
    /// std::fs::remove_file(from.join("CURRENT")).unwrap();
    /// assert!(Database::open(&from).is_err());
    ///
    /// let report = Database::salvage(&from, &to)?;
    /// assert!(!report.is_whole());
    /// println!("{report}");
    /// let db = Database::open(&to)?;
    /// let trees = db.open_keyspace(&report.keyspaces[0].name)?;
    /// assert_eq!(db.snapshot()?.get(&trees, "oak")?.as_deref(), Some(&b"hard"[..]));
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<SalvageReport> {
        Database::builder().salvage(from, to)
    }
}

impl Builder {
    /// Copies everything that can be read of the damaged database in `from` into a new one in `to`, which is closed again.
    ///
    /// Of each key the newest version that can be read is taken: from the files of its keyspace, and from every commit in the log that is whole.
    /// Damage never ends it, and `from` is only read (but for its lock file). What a loss says of keys that may be missing holds for older values
    /// too: where a commit is lost, its transaction may be there in part. Where the table of contents of a keyspace itself is damaged (the page
    /// map, the manifest), values that were overwritten or deleted may be back; the loss says so. Time and writes are those of putting every
    /// entry in twice; memory is the builder's.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: `from` is no folder, or `to` is not empty.
    /// * [`Error::Locked`]: `from` is open in a process.
    /// * [`Error::DiskFull`], [`Error::Io`]: `to` could not be written. Remove it and try again.
    ///
    /// ```
    /// use duramen::{BackendKind, Database, Reader};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (from, to) = (dir.path().join("db"), dir.path().join("rescued"));
    /// let db = Database::open(&from)?;
    /// let trees = db.keyspace("trees", BackendKind::BTree)?;
    /// db.update(|tx| tx.put(&trees, "oak", "hard"))?;
    /// db.close()?;
    /// let report = Database::builder().memory_bytes(64 << 20).salvage(&from, &to)?;
    /// assert!(report.is_whole());
    /// assert_eq!((&*report.keyspaces[0].name, report.keyspaces[0].entries), ("trees", 1));
    /// # Ok::<(), duramen::Error>(())
    /// ```
    pub fn salvage(mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<SalvageReport> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.vfs = PatientVfs::around(self.vfs);
        let vfs = Arc::clone(&self.vfs);
        if vfs.list(from).is_err() {
            return Err(Error::InvalidArgument { what: "there is no folder to salvage from" });
        }
        if vfs.list(to).is_ok_and(|entries| !entries.is_empty()) {
            return Err(Error::InvalidArgument {
                what: "what is salvaged goes into a folder that is empty, or not there yet",
            });
        }
        let _lock = lock(&*vfs, from)?;
        let mut losses = Vec::new();
        let contents = Contents::read(&*vfs, from, &mut losses);
        let db = self.open(to)?;
        let report = Salvaging::new(&db, &vfs, from, losses).run(contents)?;
        db.close()?;
        Ok(report)
    }
}

/// Which stores there are.
struct Contents {
    db_uuid: Option<DbUuid>,
    stores: BTreeMap<KeyspaceId, (String, KeyspaceOptions)>,
}

impl Contents {
    /// From the catalog; if it cannot be read, from the folders.
    fn read(vfs: &dyn Vfs, from: &Path, losses: &mut Vec<Loss>) -> Contents {
        let loss = match Catalog::look(vfs, from) {
            Ok(Some((catalog, db_uuid))) => {
                let stores =
                    catalog.keyspaces.into_iter().map(|(id, entry)| (id, (entry.name, entry.options))).collect();
                return Contents { db_uuid: Some(db_uuid), stores };
            }
            Ok(None) => Loss::new(from.join("CURRENT"), 0, "the file is missing"),
            Err(error) => Loss::of(&error, from, 0),
        };
        losses.push(Loss { what: format!("{}: the names and options of all keyspaces are lost", loss.what), ..loss });
        let db_uuid = duramen_wal::owner_of_log(vfs, &log_dir(from));
        Contents { db_uuid, stores: stores_in(vfs, &from.join(KEYSPACES_DIR), losses) }
    }
}

/// The stores by their folders and files.
fn stores_in(vfs: &dyn Vfs, dir: &Path, losses: &mut Vec<Loss>) -> BTreeMap<KeyspaceId, (String, KeyspaceOptions)> {
    let entries = vfs.list(dir).unwrap_or_else(|error| {
        losses.push(Loss::of(&Error::from_io(IoOp::List, dir, error), dir, 0));
        Vec::new()
    });
    let store = |name: &str| {
        let id = KeyspaceId::new(name.parse().ok()?);
        let files = vfs.list(&dir.join(name)).ok()?;
        let is_tree = files.iter().any(|file| file.name == duramen_btree::FILE_NAME);
        let backend = if is_tree { BackendKind::BTree } else { BackendKind::Lsm };
        Some((id, (format!("keyspace-{}", id.get()), KeyspaceOptions::new(backend))))
    };
    entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| store(&entry.name)).collect()
}

/// The way from one database to the other.
struct Salvaging<'a> {
    vfs: &'a Arc<dyn Vfs>,
    from: &'a Path,
    writer: Writer<'a>,
    rescues: BTreeMap<KeyspaceId, Rescue>,
    report: SalvageReport,
}

impl<'a> Salvaging<'a> {
    fn new(db: &'a Database, vfs: &'a Arc<dyn Vfs>, from: &'a Path, losses: Vec<Loss>) -> Salvaging<'a> {
        let report = SalvageReport { losses, ..SalvageReport::default() };
        Salvaging { vfs, from, writer: Writer::new(db), rescues: BTreeMap::new(), report }
    }

    fn run(mut self, contents: Contents) -> Result<SalvageReport> {
        for (id, (name, options)) in contents.stores {
            self.store(id, &name, options, contents.db_uuid)?;
        }
        self.log(contents.db_uuid)?;
        for rescue in std::mem::take(&mut self.rescues).into_values() {
            self.report.keyspaces.push(rescue.finish(&mut self.writer)?);
        }
        self.writer.finish()?;
        Ok(self.report)
    }

    /// Everything in the files of one keyspace.
    fn store(&mut self, id: KeyspaceId, name: &str, options: KeyspaceOptions, db_uuid: Option<DbUuid>) -> Result<()> {
        let dir = self.dir_of(id);
        let files = StoreFiles { vfs: &**self.vfs, dir: &dir, keyspace: id, db_uuid };
        let mut rescue = Rescue::new(self.writer.db(), name, options)?;
        let mut sink = rescue.taking(&mut self.writer, &mut self.report.losses);
        let mark = match sink.backend() {
            BackendKind::BTree => duramen_btree::salvage(&files, &mut sink)?,
            BackendKind::Lsm => duramen_lsm::salvage(&files, &mut sink)?,
            #[allow(unreachable_patterns, reason = "the kind of the tests has no files")]
            _ => rescue.mark(),
        };
        rescue.set_mark(mark);
        self.rescues.insert(id, rescue);
        Ok(())
    }

    /// Every commit of the log that a store's files need not hold.
    fn log(&mut self, db_uuid: Option<DbUuid>) -> Result<()> {
        let dir = log_dir(self.from);
        let Some(db_uuid) = db_uuid else {
            self.report.losses.push(Loss::new(dir, 0, "no segment of the log can be read"));
            return Ok(());
        };
        let end_path = self.from.join(LOG_END_FILE);
        duramen_wal::salvage(Arc::clone(self.vfs), &dir, &end_path, db_uuid, &mut |found| match found {
            Salvaged::Begins(first) => {
                self.compare_with_begin(first);
                Ok(())
            }
            Salvaged::Marks(marks) => {
                self.compare_with_marks(marks);
                Ok(())
            }
            Salvaged::Lost(loss) => {
                self.report.losses.push(loss);
                Ok(())
            }
            Salvaged::Event(payload) => match decode_drop(payload).and_then(|id| self.rescues.remove(&id)) {
                Some(dropped) => dropped.abandon(&mut self.writer),
                None => Ok(()),
            },
            Salvaged::Ingest(ts, payload) => self.ingest(ts, payload, db_uuid),
            Salvaged::Commit(ts, payload) => match BatchView::parse(payload) {
                Some(batch) => self.commit(ts, batch),
                None => {
                    self.report.losses.push(Loss::new(&dir, 0, format!("the content of commit {ts}")));
                    Ok(())
                }
            },
        })
    }

    /// Between what a store's files hold and where the log begins nothing is missing.
    fn compare_with_begin(&mut self, first: Timestamp) {
        for (id, rescue) in &self.rescues {
            let mark = rescue.mark();
            if mark.seq > 0 && mark.persisted.next() < first {
                let what =
                    format!("the files hold the commits through {}, the log those from {first} on", mark.persisted);
                self.report.losses.push(Loss::new(self.dir_of(*id), 0, what));
            }
        }
    }

    /// An ingest; if it had not come into the files of its keyspace by their own account, what its list names.
    fn ingest(&mut self, ts: Timestamp, payload: &[u8], db_uuid: DbUuid) -> Result<()> {
        self.report.commits += 1;
        let Some(record) = IngestRecord::decode(payload) else {
            let dir = log_dir(self.from);
            self.report.losses.push(Loss::new(dir, 0, format!("the record of commit {ts}, an ingest")));
            return Ok(());
        };
        let (id, dir) = (record.keyspace, self.dir_of(record.keyspace));
        // One that is not there was dropped.
        let is_missing = |rescue: &&mut Rescue| rescue.mark().persisted < ts && !mutant!("salvage_passes_ingests");
        let Some(rescue) = self.rescues.get_mut(&id).filter(is_missing) else {
            return Ok(());
        };
        let files = StoreFiles { vfs: &**self.vfs, dir: &dir, keyspace: id, db_uuid: Some(db_uuid) };
        let mut sink = rescue.taking(&mut self.writer, &mut self.report.losses);
        match sink.backend() {
            BackendKind::BTree => duramen_btree::salvage_ingest(&files, &record, ts, &mut sink),
            BackendKind::Lsm => duramen_lsm::salvage_ingest(&files, &record, ts, &mut sink),
            #[allow(unreachable_patterns, reason = "the kind of the tests has no files")]
            _ => Ok(()),
        }
    }

    /// No store's files are older than the log knew them.
    fn compare_with_marks(&mut self, marks: &MarkSet) {
        for (id, rescue) in &self.rescues {
            let Some(mark) = marks.get(id.get()) else { continue };
            if rescue.mark().seq > 0 && rescue.mark().seq < mark.seq {
                let what = "the files are older than the log's mark of them";
                self.report.losses.push(Loss::new(self.dir_of(*id), 0, what));
            }
        }
    }

    fn dir_of(&self, id: KeyspaceId) -> PathBuf {
        self.from.join(KEYSPACES_DIR).join(id.get().to_string())
    }

    fn commit(&mut self, ts: Timestamp, batch: BatchView<'_>) -> Result<()> {
        self.report.commits += 1;
        for ops in batch.sections() {
            // One that is not there was dropped.
            let Some(rescue) = self.rescues.get_mut(&ops.keyspace()) else { continue };
            if ts <= rescue.mark().persisted {
                continue;
            }
            let mut sink = rescue.taking(&mut self.writer, &mut self.report.losses);
            for op in ops.iter() {
                match op.kind {
                    OpKind::Put => sink.version(op.key, ts, Some(op.value))?,
                    OpKind::Delete => sink.version(op.key, ts, None)?,
                    OpKind::DeleteRange => sink.range_delete(op.key, op.value, ts)?,
                }
            }
        }
        Ok(())
    }
}
