//! fjall: a log-structured engine; both of its transactional databases, single-writer and optimistic.
//!
//! As its guide says: one database, a keyspace for each table, the durability given to each write transaction; `manual_journal_persist` for
//! class none.

use fjall::{
    Guard, Keyspace, KeyspaceCreateOptions, OptimisticTxDatabase, OptimisticTxKeyspace, PersistMode, Readable,
    SingleWriterTxDatabase, SingleWriterTxKeyspace, Snapshot,
};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Entries, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork,
    Writing, broken, table_name, visit_all,
};

const FACTS: Facts = Facts {
    isolation: "",
    durability: "None: manual_journal_persist, no persist; Buffered: PersistMode::Buffer; Sync: PersistMode::SyncData in each commit",
    checksums: "journal and blocks: XXH3, blocks checked on each read from disk",
    compression: "LZ4 from level 2 on, its default",
    cache: "cache_size for blocks; memtables beside it (64 MiB a keyspace, its default)",
};

/// One writer at a time.
pub const SINGLE_WRITER: Entry = Entry {
    name: "fjall-single-writer",
    package: "fjall",
    feature: Some("fjall"),
    needs: "",
    facts: Facts { isolation: "serializable: one write transaction at a time; readers have snapshots", ..FACTS },
    open: Some(open_single_writer),
    offer: Offer { modes: &[Mode::Pessimistic, Mode::Serializable], ..Offer::WHOLE },
};

/// Many writers, checked when they commit.
pub const OPTIMISTIC: Entry = Entry {
    name: "fjall-optimistic",
    facts: Facts { isolation: "serializable: optimistic, reads and ranges checked at commit", ..FACTS },
    open: Some(open_optimistic),
    offer: Offer { modes: &[Mode::Optimistic, Mode::Serializable], ..Offer::WHOLE },
    ..SINGLE_WRITER
};

fn mode_of(class: Class) -> Option<PersistMode> {
    match class {
        Class::None => None,
        Class::Buffered => Some(PersistMode::Buffer),
        Class::Sync => Some(PersistMode::SyncData),
    }
}

/// A database of kind `D` with tables of kind `K`.
struct Fjall<D, K> {
    db: D,
    tables: Vec<K>,
    persist: Option<PersistMode>,
}

fn open_single_writer(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let builder = SingleWriterTxDatabase::builder(setup.folder.join("db")).cache_size(setup.cache_bytes);
    let db = builder.manual_journal_persist(setup.class == Class::None).open().map_err(broken)?;
    let table = |index| db.keyspace(&table_name(index), KeyspaceCreateOptions::default);
    let tables = (0..setup.table_count).map(table).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    Ok(Box::new(Fjall { db, tables, persist: mode_of(setup.class) }))
}

fn open_optimistic(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let builder = OptimisticTxDatabase::builder(setup.folder.join("db")).cache_size(setup.cache_bytes);
    let db = builder.manual_journal_persist(setup.class == Class::None).open().map_err(broken)?;
    let table = |index| db.keyspace(&table_name(index), KeyspaceCreateOptions::default);
    let tables = (0..setup.table_count).map(table).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    Ok(Box::new(Fjall { db, tables, persist: mode_of(setup.class) }))
}

/// The rest differs in type names alone.
macro_rules! engine {
    ($db:ty, $table:ty, $tx:ty, $begin:expr, $commit:expr) => {
        impl Engine for Fjall<$db, $table> {
            fn session(&self) -> Outcome<Box<dyn Session + '_>> {
                Ok(Box::new(self))
            }

            fn sync(&self) -> Outcome<()> {
                self.db.persist(PersistMode::SyncAll).map_err(broken)
            }

            fn settle(&self) -> Outcome<()> {
                self.sync()?;
                self.tables.iter().try_for_each(|table| table.inner().rotate_memtable_and_wait()).map_err(broken)
            }

            fn ingest(&self, table: usize, entries: &mut Entries<'_>) -> Outcome<()> {
                let mut ingestion = self.tables[table].inner().start_ingestion().map_err(broken)?;
                for (key, value) in entries {
                    ingestion.write(key, value).map_err(broken)?;
                }
                ingestion.finish().map_err(broken)
            }
        }

        impl Session for &Fjall<$db, $table> {
            fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
                work(&mut View::<Snapshot, $table> { reader: self.db.read_tx(), tables: &self.tables })
            }

            fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
                let tx = $begin(&self.db)?.durability(self.persist);
                let mut view = View::<$tx, $table> { reader: tx, tables: &self.tables };
                work(&mut view)?;
                $commit(view.reader)
            }
        }

        impl Writing for View<'_, $tx, $table> {
            fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
                self.reader.insert(&self.tables[table], key, value);
                Ok(())
            }

            fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
                self.reader.remove(&self.tables[table], key);
                Ok(())
            }
        }
    };
}

engine!(
    SingleWriterTxDatabase,
    SingleWriterTxKeyspace,
    fjall::SingleWriterWriteTx<'_>,
    begin_single_writer,
    |tx: fjall::SingleWriterWriteTx<'_>| tx.commit().map(|()| 0).map_err(broken)
);

fn begin_single_writer(db: &SingleWriterTxDatabase) -> Outcome<fjall::SingleWriterWriteTx<'_>> {
    Ok(db.write_tx())
}

engine!(
    OptimisticTxDatabase,
    OptimisticTxKeyspace,
    fjall::OptimisticWriteTx,
    |db: &OptimisticTxDatabase| db.write_tx().map_err(broken),
    |tx: fjall::OptimisticWriteTx| match tx.commit() {
        Ok(Ok(())) => Ok(0),
        Ok(Err(_conflict)) => Err(Failure::Conflict),
        Err(error) => Err(broken(error)),
    }
);

/// A snapshot or a transaction, and the tables.
struct View<'a, R, K> {
    reader: R,
    tables: &'a [K],
}

impl<R: Readable, K: AsRef<Keyspace>> Reading for View<'_, R, K> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let value = self.reader.get(self.tables[table].as_ref(), key).map_err(broken)?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let keyspace = self.tables[table].as_ref();
        let iter = match (span.from, span.reverse) {
            (None, _) => self.reader.iter(keyspace),
            (Some(from), false) => self.reader.range(keyspace, from..),
            (Some(from), true) => self.reader.range(keyspace, ..=from),
        };
        let entry = |guard: Guard| guard.into_inner().map_err(broken);
        if span.reverse {
            visit_all(iter.rev().map(entry), span.limit, visit)
        } else {
            visit_all(iter.map(entry), span.limit, visit)
        }
    }
}
