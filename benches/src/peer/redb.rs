//! redb: one B+tree file, copy-on-write, one writer at a time.
//!
//! As its guide says: a table is opened once in a transaction, `Durability` is chosen for each write transaction.

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing, broken,
    table_name,
};

/// The row of the registry.
pub const ENTRY: Entry = Entry {
    name: "redb",
    package: "redb",
    feature: Some("redb"),
    needs: "",
    facts: Facts {
        isolation: "serializable: one write transaction at a time; readers have snapshots",
        durability: "None: Durability::None; Sync: Durability::Immediate (fsync in each commit)",
        checksums: "pages: XXH3-128, checked after an unclean end and by check_integrity, not on each read",
        compression: "none",
        cache: "set_cache_size",
    },
    open: Some(open),
    offer: Offer {
        classes: &[Class::None, Class::Sync],
        modes: &[Mode::Pessimistic, Mode::Serializable],
        ..Offer::WHOLE
    },
};

type Bytes = &'static [u8];

struct Redb {
    db: Database,
    names: Vec<String>,
    durability: Durability,
}

fn open(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let mut builder = Database::builder();
    builder.set_cache_size(setup.cache_bytes as usize);
    let db = builder.create(setup.folder.join("db.redb")).map_err(broken)?;
    let names: Vec<String> = (0..setup.table_count).map(table_name).collect();
    let durability = if setup.class == Class::Sync { Durability::Immediate } else { Durability::None };
    let tx = db.begin_write().map_err(broken)?;
    for name in &names {
        tx.open_table(definition(name)).map_err(broken)?;
    }
    tx.commit().map_err(broken)?;
    Ok(Box::new(Redb { db, names, durability }))
}

fn definition(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

impl Engine for Redb {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    /// A durable commit takes every earlier one with it.
    fn sync(&self) -> Outcome<()> {
        self.db.begin_write().map_err(broken)?.commit().map_err(broken)
    }

    fn settle(&self) -> Outcome<()> {
        self.sync()
    }
}

impl Session for &Redb {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        let tx = self.db.begin_read().map_err(broken)?;
        work(&mut Reads { tx: &tx, names: &self.names, tables: self.names.iter().map(|_| None).collect() })
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let mut tx = self.db.begin_write().map_err(broken)?;
        tx.set_durability(self.durability).map_err(broken)?;
        work(&mut Writes { tx: &tx, names: &self.names, tables: self.names.iter().map(|_| None).collect() })?;
        tx.commit().map_err(broken)?;
        Ok(0)
    }
}

struct Reads<'a> {
    tx: &'a ReadTransaction,
    names: &'a [String],
    tables: Vec<Option<ReadOnlyTable<Bytes, Bytes>>>,
}

impl Reads<'_> {
    fn table(&mut self, index: usize) -> Outcome<&ReadOnlyTable<Bytes, Bytes>> {
        let slot = &mut self.tables[index];
        if slot.is_none() {
            *slot = Some(self.tx.open_table(definition(&self.names[index])).map_err(broken)?);
        }
        Ok(slot.as_ref().expect("just opened"))
    }
}

impl Reading for Reads<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        get(self.table(table)?, key, found)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        scan(self.table(table)?, span, visit)
    }
}

struct Writes<'a> {
    tx: &'a WriteTransaction,
    names: &'a [String],
    tables: Vec<Option<Table<'a, Bytes, Bytes>>>,
}

impl<'a> Writes<'a> {
    fn table(&mut self, index: usize) -> Outcome<&mut Table<'a, Bytes, Bytes>> {
        let slot = &mut self.tables[index];
        if slot.is_none() {
            *slot = Some(self.tx.open_table(definition(&self.names[index])).map_err(broken)?);
        }
        Ok(slot.as_mut().expect("just opened"))
    }
}

impl Reading for Writes<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        get(self.table(table)?, key, found)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        scan(self.table(table)?, span, visit)
    }
}

impl Writing for Writes<'_> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.table(table)?.insert(key, value).map(drop).map_err(broken)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.table(table)?.remove(key).map(drop).map_err(broken)
    }
}

fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
    let value = table.get(key).map_err(broken)?;
    Ok(value.map(|value| found(value.value())).is_some())
}

fn scan(table: &impl ReadableTable<Bytes, Bytes>, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
    let range = match (span.from, span.reverse) {
        (None, _) => table.range::<&[u8]>(..),
        (Some(from), false) => table.range::<&[u8]>(from..),
        (Some(from), true) => table.range::<&[u8]>(..=from),
    };
    let range = range.map_err(broken)?;
    let mut count = 0;
    let mut show = |entry: Result<(redb::AccessGuard<'_, Bytes>, redb::AccessGuard<'_, Bytes>), _>| {
        let (key, value) = entry.map_err(|error: redb::StorageError| broken(error))?;
        visit(key.value(), value.value());
        count += 1;
        Ok(())
    };
    if span.reverse {
        range.rev().take(span.limit).try_for_each(&mut show)?;
    } else {
        range.take(span.limit).try_for_each(&mut show)?;
    }
    Ok(count)
}
