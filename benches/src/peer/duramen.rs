//! Duramen as a peer of itself: each backend a row of its own, through the public API alone.
//!
//! Modes that the engine names but does not offer yet are tried, not assumed: what it refuses here, the report prints as not offered, and
//! on the day it is accepted the figures appear.

use duramen::{
    BackendKind, Concurrency, Database, Durability, Error, IsolationLevel, Keyspace, Reader, Snapshot, Transaction,
    TxnOptions,
};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Entries, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork,
    Writing, table_name,
};

const FACTS: Facts = Facts {
    isolation: "optimistic: snapshot, first committer wins; other modes as the version offers them",
    durability: "Durability::None, Buffered (write), Sync (fdatasync, one for all that wait)",
    checksums: "log records, pages, table blocks: CRC-32, on every read from disk",
    compression: "none",
    cache: "memory_bytes: pages, memtables, write sets and caches together",
};

/// A row of the registry for one backend.
pub const fn entry(name: &'static str, kind: BackendKind) -> Entry {
    Entry {
        name,
        package: "duramen",
        feature: None,
        needs: "",
        facts: FACTS,
        open: Some(match kind {
            BackendKind::Lsm => open_lsm,
            _ => open_btree,
        }),
        offer: Offer { classes: &Class::ALL, modes: &Mode::ALL, ..Offer::WHOLE },
    }
}

fn open_btree(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    open(setup, BackendKind::BTree)
}

fn open_lsm(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    open(setup, BackendKind::Lsm)
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Unsupported { what } => Failure::NotOffered(format!("Unsupported: {what}")),
        Error::ValueTooLarge { .. } | Error::KeyTooLarge { .. } => Failure::NotOffered(error.to_string()),
        error if error.is_retryable() => Failure::Conflict,
        error => Failure::Broken(error.to_string()),
    }
}

struct Duramen {
    db: Database,
    tables: Vec<Keyspace>,
    /// Where `sync` puts what it commits.
    mark: Keyspace,
    options: TxnOptions,
    /// Whether reads of what will be written take locks.
    locks: bool,
}

fn open(setup: &Setup, kind: BackendKind) -> Outcome<Box<dyn Engine>> {
    let builder = Database::builder().memory_bytes(setup.cache_bytes.max(1 << 20));
    let db = builder.open(setup.folder.join("db")).map_err(failure)?;
    let tables: Result<Vec<Keyspace>, Error> =
        (0..setup.table_count).map(|table| db.keyspace(&table_name(table), kind)).collect();
    let mark = db.keyspace("mark", kind).map_err(failure)?;
    let (level, concurrency) = match setup.mode {
        Mode::Optimistic => (IsolationLevel::Snapshot, Concurrency::Optimistic),
        Mode::Pessimistic => (IsolationLevel::Snapshot, Concurrency::Pessimistic),
        Mode::Serializable => (IsolationLevel::Serializable, Concurrency::Optimistic),
    };
    let locks = setup.mode == Mode::Pessimistic;
    let durability = match setup.class {
        Class::None => Durability::None,
        Class::Buffered => Durability::Buffered,
        Class::Sync => Durability::Sync,
    };
    let options = TxnOptions::default().durability(durability).isolation(level).concurrency(concurrency);
    db.begin_with(options.clone()).map_err(failure)?.rollback();
    Ok(Box::new(Duramen { db, tables: tables.map_err(failure)?, mark, options, locks }))
}

impl Engine for Duramen {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    /// A synced commit takes every earlier one with it.
    fn sync(&self) -> Outcome<()> {
        let options = TxnOptions::default().durability(Durability::Sync);
        self.db.update_with(options, |tx| tx.put(&self.mark, "synced", "")).map_err(failure)
    }

    fn settle(&self) -> Outcome<()> {
        self.db.checkpoint().map_err(failure)
    }

    fn ingest(&self, table: usize, entries: &mut Entries<'_>) -> Outcome<()> {
        self.db.ingest(&self.tables[table], entries).map(drop).map_err(failure)
    }
}

impl Session for &Duramen {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        let snapshot = self.db.snapshot().map_err(failure)?;
        work(&mut View { reader: &snapshot, tables: &self.tables, locks: false })
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let tx = self.db.begin_with(self.options.clone()).map_err(failure)?;
        work(&mut View { reader: &tx, tables: &self.tables, locks: self.locks })?;
        tx.commit().map_err(failure)?;
        Ok(0)
    }
}

/// A snapshot or a transaction, and the keyspaces.
struct View<'a, R> {
    reader: &'a R,
    tables: &'a [Keyspace],
    locks: bool,
}

impl<R: Reader> Reading for View<'_, R> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let show = |value: Option<&[u8]>| value.map(found).is_some();
        self.reader.get_with(&self.tables[table], key, show).map_err(failure)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let keyspace = &self.tables[table];
        let iter = match (span.from, span.reverse) {
            (None, _) => self.reader.iter(keyspace),
            (Some(from), false) => self.reader.range(keyspace, from..),
            (Some(from), true) => self.reader.range(keyspace, ..=from),
        };
        let mut iter = iter.map_err(failure)?;
        let mut count = 0;
        while count < span.limit {
            let entry = if span.reverse { iter.next_back_ref() } else { iter.next_ref() };
            let Some(entry) = entry.map_err(failure)? else { break };
            visit(entry.key, entry.value);
            count += 1;
        }
        Ok(count)
    }
}

impl Writing for View<'_, Transaction> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.reader.put(&self.tables[table], key, value).map_err(failure)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.reader.delete(&self.tables[table], key).map_err(failure)
    }

    fn get_for_update(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        if !self.locks {
            // Optimistic: the put that follows is checked at commit, which is enough.
            return self.get(table, key, found);
        }
        let value = self.reader.get_for_update(&self.tables[table], key).map_err(failure)?;
        Ok(value.map(|value| found(&value)).is_some())
    }
}

/// What a view may be made of.
const _: () = {
    const fn reads<R: Reader>() {}
    reads::<Snapshot>();
};
