//! RocksDB: a log-structured engine; both of its transactional databases, TransactionDB (locks) and OptimisticTransactionDB.
//!
//! As its tuning guide says: one block cache for all column families with index and filter blocks in it, Bloom filters of 10 bits, blocks
//! of 16 KiB, dynamic level sizes, background syncing in small steps; but no compression, as the others have none. A transaction sets its
//! snapshot when it begins and reads what it will write with GetForUpdate: snapshot isolation. Deadlock detection is on, as a timeout of a
//! second would be all that is measured otherwise.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DBAccess, DBCompressionType, Error, ErrorKind,
    OptimisticTransactionDB, OptimisticTransactionOptions, Options, SnapshotWithThreadMode, SstFileWriter, Transaction,
    TransactionDB, TransactionDBOptions, TransactionOptions, WriteOptions,
};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Entries, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork,
    Writing, broken, not_offered, table_name,
};

const FACTS: Facts = Facts {
    isolation: "",
    durability: "None: manual_wal_flush; Buffered: the default; Sync: WriteOptions::sync (fdatasync, one for all that wait)",
    checksums: "log: CRC-32C; blocks: XXH3, checked when read from disk",
    compression: "none (the guide would have LZ4)",
    cache: "block cache with index and filter blocks; memtables beside it (64 MiB, its default)",
};

/// Locks.
pub const PESSIMISTIC: Entry = Entry {
    name: "rocksdb-txn",
    package: "rocksdb",
    feature: Some("rocksdb"),
    needs: "a C++ compiler and libclang",
    facts: Facts { isolation: "snapshot: TransactionDB, set_snapshot and GetForUpdate, locks on keys", ..FACTS },
    open: Some(open_pessimistic),
    offer: Offer { modes: &[Mode::Pessimistic], ..Offer::WHOLE },
};

/// Checked at commit.
pub const OPTIMISTIC: Entry = Entry {
    name: "rocksdb-optimistic",
    facts: Facts { isolation: "snapshot: OptimisticTransactionDB, set_snapshot and GetForUpdate", ..FACTS },
    open: Some(open_optimistic),
    offer: Offer { modes: &[Mode::Optimistic], ..Offer::WHOLE },
    ..PESSIMISTIC
};

const BLOCK_BYTES: usize = 16 << 10;
const BYTES_PER_SYNC: u64 = 1 << 20;

struct Rocks<D> {
    db: D,
    names: Vec<String>,
    setup: Setup,
}

fn failure(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut | ErrorKind::Aborted => Failure::Conflict,
        _ => broken(error),
    }
}

fn options(setup: &Setup, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.increase_parallelism(std::thread::available_parallelism().map_or(2, |count| count.get() as i32));
    options.set_manual_wal_flush(setup.class == Class::None);
    options
}

/// Options of the database, and of each table; all share one cache.
fn configuration(setup: &Setup) -> (Options, Vec<ColumnFamilyDescriptor>) {
    let cache = Cache::new_lru_cache(setup.cache_bytes as usize);
    let family = |index| ColumnFamilyDescriptor::new(table_name(index), options(setup, &cache));
    (options(setup, &cache), (0..setup.table_count).map(family).collect())
}

fn open_pessimistic(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let (path, locks) = (setup.folder.join("db"), TransactionDBOptions::default());
    let (options, families) = configuration(setup);
    let db: TransactionDB = TransactionDB::open_cf_descriptors(&options, &locks, path, families).map_err(failure)?;
    Ok(Box::new(Rocks { db, names: (0..setup.table_count).map(table_name).collect(), setup: setup.clone() }))
}

fn open_optimistic(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let (options, families) = configuration(setup);
    let db: OptimisticTransactionDB =
        OptimisticTransactionDB::open_cf_descriptors(&options, setup.folder.join("db"), families).map_err(failure)?;
    Ok(Box::new(Rocks { db, names: (0..setup.table_count).map(table_name).collect(), setup: setup.clone() }))
}

/// The two databases differ in type names, and in the options of a transaction.
macro_rules! engine {
    ($db:ty, $begin:expr, $ingest:expr) => {
        impl Rocks<$db> {
            fn families(&self) -> Vec<&ColumnFamily> {
                let family = |name: &String| self.db.cf_handle(name).expect("opened with it");
                self.names.iter().map(family).collect()
            }
        }

        impl Engine for Rocks<$db> {
            fn session(&self) -> Outcome<Box<dyn Session + '_>> {
                Ok(Box::new(Local { engine: self, families: self.families() }))
            }

            fn sync(&self) -> Outcome<()> {
                self.db.flush_wal(true).map_err(failure)
            }

            fn settle(&self) -> Outcome<()> {
                self.sync()?;
                self.families().into_iter().try_for_each(|family| self.db.flush_cf(family)).map_err(failure)
            }

            fn ingest(&self, table: usize, entries: &mut Entries<'_>) -> Outcome<()> {
                $ingest(self, table, entries)
            }
        }

        impl Session for Local<'_, $db> {
            fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
                work(&mut Reads { snapshot: &self.engine.db.snapshot(), families: &self.families })
            }

            fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
                let mut write = WriteOptions::default();
                write.set_sync(self.engine.setup.class == Class::Sync);
                let tx = self.engine.db.transaction_opt(&write, &$begin);
                work(&mut Writes { tx: &tx, snapshot: tx.snapshot(), families: &self.families })?;
                tx.commit().map_err(failure)?;
                Ok(0)
            }
        }
    };
}

engine!(
    TransactionDB,
    {
        let mut begin = TransactionOptions::default();
        begin.set_snapshot(true);
        begin.set_deadlock_detect(true);
        begin
    },
    |_: &Rocks<TransactionDB>, _, _: &mut Entries<'_>| not_offered(
        "the Rust binding attaches no files to a TransactionDB"
    )
);
engine!(
    OptimisticTransactionDB,
    {
        let mut begin = OptimisticTransactionOptions::default();
        begin.set_snapshot(true);
        begin
    },
    ingest_file
);

/// One file, written with the options of the tables.
fn ingest_file(rocks: &Rocks<OptimisticTransactionDB>, table: usize, entries: &mut Entries<'_>) -> Outcome<()> {
    let file = rocks.setup.folder.join("ingest.sst");
    let options = options(&rocks.setup, &Cache::new_lru_cache(rocks.setup.cache_bytes as usize));
    let mut writer = SstFileWriter::create(&options);
    writer.open(&file).map_err(failure)?;
    for (key, value) in entries {
        writer.put(key, value).map_err(failure)?;
    }
    writer.finish().map_err(failure)?;
    rocks.db.ingest_external_file_cf(rocks.families()[table], vec![file]).map_err(failure)
}

struct Local<'a, D> {
    engine: &'a Rocks<D>,
    families: Vec<&'a ColumnFamily>,
}

struct Reads<'a, D: DBAccess> {
    snapshot: &'a SnapshotWithThreadMode<'a, D>,
    families: &'a [&'a ColumnFamily],
}

impl<D: DBAccess> Reading for Reads<'_, D> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.snapshot.get_pinned_cf(self.families[table], key).map_err(failure)?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let mut iter = self.snapshot.raw_iterator_cf(self.families[table]);
        match (span.from, span.reverse) {
            (None, false) => iter.seek_to_first(),
            (None, true) => iter.seek_to_last(),
            (Some(from), false) => iter.seek(from),
            (Some(from), true) => iter.seek_for_prev(from),
        }
        let mut count = 0;
        while let Some((key, value)) = iter.item().filter(|_| count < span.limit) {
            visit(key, value);
            count += 1;
            if span.reverse { iter.prev() } else { iter.next() }
        }
        iter.status().map(|()| count).map_err(failure)
    }
}

struct Writes<'a, D> {
    tx: &'a Transaction<'a, D>,
    snapshot: SnapshotWithThreadMode<'a, Transaction<'a, D>>,
    families: &'a [&'a ColumnFamily],
}

impl<D> Reading for Writes<'_, D> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Reads { snapshot: &self.snapshot, families: self.families }.get(table, key, found)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        Reads { snapshot: &self.snapshot, families: self.families }.scan(table, span, visit)
    }
}

impl<D> Writing for Writes<'_, D> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.tx.put_cf(self.families[table], key, value).map_err(failure)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.tx.delete_cf(self.families[table], key).map_err(failure)
    }

    fn get_for_update(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.tx.get_pinned_for_update_cf(self.families[table], key, true).map_err(failure)?;
        Ok(value.map(|value| found(&value)).is_some())
    }
}
