//! LMDB through heed: a memory-mapped copy-on-write B+tree, one writer at a time.
//!
//! Commits of class sync are LMDB's default. Class buffered is `MDB_NOSYNC`, which its documentation says may corrupt the database when
//! power is lost: weaker than what others call buffered, and said so in the report.
//!
//! L1  The environment lies in a folder that this process made and nobody else opens.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{AnyTls, CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Entries, Facts, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing,
    broken, table_name, visit_all,
};

/// The row of the registry.
pub const ENTRY: Entry = Entry {
    name: "lmdb",
    package: "heed",
    feature: Some("heed"),
    needs: "a C compiler",
    facts: Facts {
        isolation: "serializable: one write transaction at a time; readers have snapshots",
        durability: "Buffered: MDB_NOSYNC (power loss may corrupt); Sync: the default (fdatasync, then the meta page)",
        checksums: "none",
        compression: "none",
        cache: "the operating system's page cache, which no budget limits; map of 32 GiB",
    },
    open: Some(open),
    offer: Offer {
        classes: &[Class::Buffered, Class::Sync],
        modes: &[Mode::Pessimistic, Mode::Serializable],
        ..Offer::WHOLE
    },
};

/// Address space of the map: more than any run writes.
const MAP_BYTES: usize = 32 << 30;
/// Readers at once: more than any run has.
const READERS_MAX: u32 = 256;

type Table = Database<'static, Bytes, Bytes>;

struct Lmdb {
    env: Env,
    tables: Vec<Table>,
}

#[allow(unsafe_code)]
fn open(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let path = setup.folder.join("db");
    std::fs::create_dir_all(&path).map_err(broken)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX).max_dbs(setup.table_count as u32);
    if setup.class == Class::Buffered {
        // SAFETY: a flag that weakens what survives a loss of power, not memory safety; these files are thrown away (L1).
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the folder is this process's own (L1): nobody else maps, truncates or writes the file while it is open.
    let env = unsafe { options.open(&path) }.map_err(broken)?;
    let tables = (0..setup.table_count).map(|index| create(&env, &table_name(index)));
    let tables = tables.collect::<Outcome<Vec<Table>>>()?;
    Ok(Box::new(Lmdb { env, tables }))
}

fn create(env: &Env, name: &str) -> Outcome<Table> {
    let tx = env.write_txn().map_err(broken)?;
    let made = env.create_databases_and_commit(tx, |opener, tx| {
        opener.create_database::<Bytes, Bytes>(tx, Some(name)).map(CommitOrAbort::<_, ()>::Commit)
    });
    Ok(made.map_err(|error: heed::Error| broken(error))?.unwrap_commit())
}

impl Engine for Lmdb {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn sync(&self) -> Outcome<()> {
        self.env.force_sync().map_err(broken)
    }

    fn settle(&self) -> Outcome<()> {
        self.sync()
    }

    /// Its append mode, in one transaction.
    fn ingest(&self, table: usize, entries: &mut Entries<'_>) -> Outcome<()> {
        let mut tx = self.env.write_txn().map_err(broken)?;
        for (key, value) in entries {
            self.tables[table].put_with_flags(&mut tx, PutFlags::APPEND, key, value).map_err(broken)?;
        }
        tx.commit().map_err(broken)
    }
}

impl Session for &Lmdb {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        let tx = self.env.read_txn().map_err(broken)?;
        work(&mut Reads { tx: &tx, tables: &self.tables })
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let mut writes = Writes { tx: self.env.write_txn().map_err(broken)?, tables: &self.tables };
        work(&mut writes)?;
        writes.tx.commit().map_err(broken)?;
        Ok(0)
    }
}

struct Reads<'a> {
    tx: &'a RoTxn<'a, AnyTls>,
    tables: &'a [Table],
}

impl Reading for Reads<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.tables[table].get(self.tx, key).map_err(broken)?.map(found).is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let from = span.from.map_or(Bound::Unbounded, Bound::Included);
        if span.reverse {
            let range = (Bound::Unbounded, from);
            let iter = self.tables[table].rev_range(self.tx, &range).map_err(broken)?;
            visit_all(iter.map(|entry| entry.map_err(broken)), span.limit, visit)
        } else {
            let range = (from, Bound::Unbounded);
            let iter = self.tables[table].range(self.tx, &range).map_err(broken)?;
            visit_all(iter.map(|entry| entry.map_err(broken)), span.limit, visit)
        }
    }
}

struct Writes<'a> {
    tx: RwTxn<'a>,
    tables: &'a [Table],
}

impl Reading for Writes<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Reads { tx: &self.tx, tables: self.tables }.get(table, key, found)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        Reads { tx: &self.tx, tables: self.tables }.scan(table, span, visit)
    }
}

impl Writing for Writes<'_> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.tables[table].put(&mut self.tx, key, value).map_err(broken)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.tables[table].delete(&mut self.tx, key).map(drop).map_err(broken)
    }
}
