//! Sorted ingest: tables written straight from sorted pairs, attached by a commit, named by the manifest later.
//!
//! ```text
//!   Built (tables, list, their names: synced) ─(commit: in memory)─► Layer::Ingested ─(manifest edit synced)─► a run of level 0
//!      └─(dropped)─► files removed                    └─(crash: the log names the list)─► expected ─► attached again
//! ```
//! The tables are written before their commit has a timestamp, so their records have none: `Table::stamp` gives them that of the commit, which
//! the manifest holds.
//!
//! IT1  The tables of an ingest have one version of each key, without a timestamp, and no tombstone.
//! IT2  A layer of tables comes into the manifest when its commit is visible and everything before it is in the files: then `persisted` reaches it,
//!      and its list can go (IG3).
//! IT3  Large values of an ingest are synced before its list, which has where they lie; the edit that names its tables adds them (VG1, VG2 of
//!      `base/src/values/ingest.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use duramen_base::image::Body;
use duramen_base::ingest::{list_path, read_list, write_list};
use duramen_base::memtable::{KeyVersions, RangeTombs};
use duramen_base::salvage::StoreFiles;
use duramen_base::sync::Mutex;
use duramen_base::values::ValueChanges;
use duramen_base::{BuiltIngest, Error, IngestRecord, Result, SortedSource, Timestamp, mutant};

use crate::manifest::{Edit, Placed, poisoned, sync_dir};
use crate::store::Store;
use crate::superversion::Layer;
use crate::table::writer::TableWriter;
use crate::table::{Table, table_path};
use crate::upkeep::{Change, Upkeep};
use crate::version::Run;

/// Part of a memtable that is better built at once than logged, put and flushed.
const MEMTABLE_SHARE: u64 = 16;
const INGEST_BYTES_MAX: u64 = 64 << 10;

/// Tables that a commit attached and the manifest does not name yet.
#[derive(Debug)]
pub(crate) struct Ingested {
    /// The commit.
    pub(crate) ts: Timestamp,
    /// The tables.
    pub(crate) run: Run,
    /// Their list.
    list: u64,
    /// Large values that they name.
    values: ValueChanges,
}

/// Tables that nothing names yet. Dropping it leaves their files to be removed.
struct Built {
    store: Arc<Store>,
    /// Numbers of all files begun.
    begun: Vec<u64>,
    list: u64,
    tables: Vec<Table>,
    values: ValueChanges,
}

impl Drop for Built {
    fn drop(&mut self) {
        self.store.values.give_up(std::mem::take(&mut self.values));
        if !self.begun.is_empty() {
            self.tables.clear();
            self.store.give_up(&mut self.store.upkeep.lock(), &self.begun);
        }
    }
}

impl Built {
    fn new(store: &Arc<Store>) -> Built {
        let (begun, tables, values) = (Vec::new(), Vec::new(), ValueChanges::default());
        Built { store: Arc::clone(store), begun, list: 0, tables, values }
    }

    /// A number that no file of the store has.
    fn next_no(&mut self) -> u64 {
        let mut upkeep = self.store.upkeep.lock();
        let no = upkeep.next_table_no;
        upkeep.next_table_no += 1;
        drop(upkeep);
        self.begun.push(no);
        no
    }

    fn write(&mut self, source: &mut dyn SortedSource) -> Result<Edit> {
        let store = Arc::clone(&self.store);
        let (mut writer, mut kv, mut edit) = (None::<TableWriter>, KeyVersions::default(), Edit::default());
        let no_tombs = RangeTombs::default();
        let mut unsynced_bytes = 0;
        let placed = |meta| Placed { level: 0, run: 0, meta };
        while let Some((key, value)) = source.next_pair()? {
            let is_large = |writer: &TableWriter| writer.bytes() >= store.tuning.table_bytes || writer.is_full();
            if writer.as_ref().is_some_and(is_large)
                && let Some(full) = writer.take()
            {
                edit.added.push(placed(full.finish(&no_tombs)?));
            }
            if writer.is_none() {
                store.check_not_failed()?;
                writer = Some(TableWriter::create(&store.env, self.next_no())?);
            }
            kv.reset(key);
            kv.add(Timestamp::ZERO, Body::Value(value)); // IT1
            kv.separate(store.tuning.value_bytes_max, |value| {
                let appended = store.values.append_ingested(value, &mut self.values, &mut unsynced_bytes);
                appended.map_err(|error| store.fail_unless_full(error))
            })?;
            writer.as_mut().expect("just made").push(&kv)?;
        }
        if let Some(last) = writer {
            edit.added.push(placed(last.finish(&no_tombs)?));
        }
        if !mutant!("ingest_values_unsynced") {
            store.values.sync().map_err(|error| store.fail(error))?; // IT3
        }
        edit.next_table_no = edit.added.iter().map(|placed| placed.meta.no).max().unwrap_or(0) + 1;
        Ok(edit)
    }

    /// The tables under their commit. From here on their files are nobody's to remove.
    fn into_ingested(mut self, ts: Timestamp) -> Ingested {
        self.begun.clear();
        let (tables, values) = (std::mem::take(&mut self.tables), std::mem::take(&mut self.values));
        Ingested { ts, run: run_at(tables, ts), list: self.list, values }
    }
}

fn run_at(tables: Vec<Table>, ts: Timestamp) -> Run {
    let stamped = tables.into_iter().map(|mut table| {
        table.stamp(ts);
        Arc::new(table)
    });
    Run { id: 0, tables: stamped.collect(), bare: Vec::new() }
}

/// What the log's records name, until it is replayed as far.
#[derive(Debug, Default)]
pub(crate) struct Expected(Mutex<BTreeMap<u64, (Vec<Table>, ValueChanges)>>);

impl Store {
    /// From how many bytes of pairs on tables are built of them.
    pub(crate) fn ingest_bytes_min(&self) -> u64 {
        (self.env.options.memtable_bytes / MEMTABLE_SHARE).min(INGEST_BYTES_MAX)
    }

    /// Builds tables of what `source` gives.
    pub(crate) fn build_ingest(self: &Arc<Store>, source: &mut dyn SortedSource) -> Result<BuiltIngest> {
        let mut built = Built::new(self);
        let edit = built.write(source)?;
        built.list = built.next_no();
        let record = write_list(&self.env, built.list, &built.values, &edit.encode())?;
        if !mutant!("ingest_names_unsynced") {
            // Other names may be lost with these.
            sync_dir(&self.env).map_err(|error| self.fail(error))?;
        }
        let open = |placed: Placed| Table::open(&self.env, placed.meta);
        built.tables = edit.added.into_iter().map(open).collect::<Result<_>>()?;
        Ok(BuiltIngest { record, token: Box::new(built) })
    }

    /// Attaches what was built (K2).
    pub(crate) fn attach(&self, built: BuiltIngest, at: Timestamp) {
        let built = built.token.downcast::<Built>().expect("this store built it");
        self.show(built.into_ingested(at));
    }

    /// Takes note of a record of the log: what it names is no garbage.
    pub(crate) fn expect_ingest(&self, record: &IngestRecord) -> Result<()> {
        let damaged = |what| Error::corruption(list_path(&self.env.dir, record.number), 0, what);
        let (values, tables) = read_list(&StoreFiles::of(&self.env), record)?;
        let edit = Edit::decode(&tables).ok_or_else(|| damaged("a list of tables that is none"))?;
        let is_ingested = |placed: &Placed| placed.meta.max_ts == Timestamp::ZERO && placed.meta.keys > 0;
        let ascend = edit.added.is_sorted_by(|a, b| a.meta.max_key < b.meta.min_key);
        if !ascend || edit.added.is_empty() || !edit.removed.is_empty() || !edit.added.iter().all(is_ingested) {
            return Err(damaged("a list of tables that no ingest wrote"));
        }
        let mut upkeep = self.upkeep.lock();
        if mutant!("ingest_list_forgotten") {
            self.remove_files(&mut upkeep);
        }
        upkeep.keep(&list_path(&self.env.dir, record.number));
        edit.added.iter().for_each(|placed| upkeep.keep(&table_path(&self.env.dir, placed.meta.no)));
        drop(upkeep);
        let open = |placed: Placed| Table::open(&self.env, placed.meta);
        let tables = edit.added.into_iter().map(open).collect::<Result<_>>()?;
        let values = self.values.claim(values)?; // IT3
        self.expected.0.lock().insert(record.number, (tables, values));
        Ok(())
    }

    /// Attaches what a record names that was expected.
    pub(crate) fn attach_expected(&self, record: &IngestRecord, at: Timestamp) {
        let (tables, values) = self.expected.0.lock().remove(&record.number).expect("it was expected");
        self.show(Ingested { ts: at, run: run_at(tables, at), list: record.number, values });
    }

    /// One step of upkeep: the oldest layer, which is tables, comes into the manifest; whether it could (IT2).
    pub(crate) fn settle_ingested(&self, upkeep: &mut Upkeep, ingested: &Arc<Ingested>) -> Result<bool> {
        if self.env.host.visible() < ingested.ts {
            return Ok(false);
        }
        let run = upkeep.next_table_no;
        upkeep.next_table_no += 1;
        let layer = Layer::Ingested(Arc::clone(ingested));
        let added = &ingested.run.tables[..];
        let values = &ingested.values;
        self.switch(upkeep, &Change { level: 0, run, added, removed: &[], values, settled: Some(&layer) })?;
        debug_assert!(self.persisted() >= ingested.ts, "IT2");
        upkeep.forget(list_path(&self.env.dir, ingested.list));
        Ok(true)
    }
}

/// The error of a store that cannot go on, kept.
impl Store {
    fn fail(&self, error: Error) -> Error {
        let error = poisoned(error);
        if let Error::Poisoned { cause } = &error {
            *self.failure.lock() = Some(Arc::clone(cause));
        }
        error
    }

    fn fail_unless_full(&self, error: Error) -> Error {
        if matches!(error, Error::DiskFull { .. }) { error } else { self.fail(error) }
    }

    fn check_not_failed(&self) -> Result<()> {
        self.failure.lock().as_ref().map_or(Ok(()), |cause| Err(Error::Poisoned { cause: Arc::clone(cause) }))
    }
}
