//! sled 0.34, its last stable series: a log-structured B-tree with serializable closures.
//!
//! A transaction is a closure that sled runs again by itself until it succeeds. Reads outside of one see the newest state, each on its own.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::PathBuf;

use sled::transaction::{
    ConflictableTransactionError, TransactionError, Transactional, TransactionalTree, UnabortableTransactionError,
};
use sled::{Db, Tree};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing,
    broken, not_offered, table_name, visit_all,
};

/// The row of the registry.
pub const ENTRY: Entry = Entry {
    name: "sled",
    package: "sled",
    feature: Some("sled"),
    needs: "",
    facts: Facts {
        isolation: "transactions on points: serializable, rerun by sled; reads outside see the newest state, no snapshots",
        durability: "None: flush_every_ms(500), its default; Buffered: flush in each transaction, which is sync_file_range on Linux and does not flush the device's cache, so it is no class sync",
        checksums: "log messages: CRC-32, checked when read from disk",
        compression: "none, its default",
        cache: "cache_capacity",
    },
    open: Some(open),
    offer: Offer {
        classes: &[Class::None, Class::Buffered],
        modes: &[Mode::Optimistic, Mode::Serializable],
        snapshots: Err("reads see the newest state; no snapshot holds over several of them"),
        scans_in_writes: Err("a transaction cannot scan"),
        ..Offer::WHOLE
    },
};

struct Sled {
    db: Db,
    tables: Vec<Tree>,
    folder: PathBuf,
    flush: bool,
}

fn open(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let config = sled::Config::default().path(setup.folder.join("db")).cache_capacity(setup.cache_bytes);
    let db = config.mode(sled::Mode::HighThroughput).open().map_err(broken)?;
    let tables = (0..setup.table_count).map(|index| db.open_tree(table_name(index)));
    let tables = tables.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    Ok(Box::new(Sled { db, tables, folder: setup.folder.join("db"), flush: setup.class == Class::Buffered }))
}

impl Engine for Sled {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    /// Its own flush does not reach through the device's cache, so its files are synced here.
    fn sync(&self) -> Outcome<()> {
        self.tables.iter().try_for_each(|table| table.flush().map(drop)).map_err(broken)?;
        self.db.flush().map_err(broken)?;
        let files = std::fs::read_dir(&self.folder).map_err(broken)?.flatten().map(|entry| entry.path());
        files.filter(|path| path.is_file()).try_for_each(|path| File::open(path)?.sync_all()).map_err(broken)
    }

    fn settle(&self) -> Outcome<()> {
        self.sync()
    }
}

impl Session for &Sled {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        work(&mut Reads { tables: &self.tables })
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let (work, runs) = (RefCell::new(work), Cell::new(0));
        let body = |trees: &Vec<TransactionalTree>| {
            runs.set(runs.get() + 1);
            if self.flush {
                trees[0].flush();
            }
            (work.borrow_mut())(&mut Writes { trees }).map_err(|failure| match failure {
                Failure::Conflict => ConflictableTransactionError::Conflict,
                failure => ConflictableTransactionError::Abort(failure),
            })
        };
        match self.tables[..].transaction(body) {
            Ok(()) => Ok(runs.get() - 1),
            Err(TransactionError::Abort(failure)) => Err(failure),
            Err(TransactionError::Storage(error)) => Err(broken(error)),
        }
    }
}

struct Reads<'a> {
    tables: &'a [Tree],
}

impl Reading for Reads<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.tables[table].get(key).map_err(broken)?.map(|value| found(&value)).is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let tree = &self.tables[table];
        let iter = match (span.from, span.reverse) {
            (None, _) => tree.iter(),
            (Some(from), false) => tree.range(from..),
            (Some(from), true) => tree.range(..=from),
        };
        if span.reverse {
            visit_all(iter.rev().map(|entry| entry.map_err(broken)), span.limit, visit)
        } else {
            visit_all(iter.map(|entry| entry.map_err(broken)), span.limit, visit)
        }
    }
}

struct Writes<'a> {
    trees: &'a [TransactionalTree],
}

fn failure(error: UnabortableTransactionError) -> Failure {
    match error {
        UnabortableTransactionError::Conflict => Failure::Conflict,
        UnabortableTransactionError::Storage(error) => broken(error),
    }
}

impl Reading for Writes<'_> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.trees[table].get(key).map_err(failure)?.map(|value| found(&value)).is_some())
    }

    fn scan(&mut self, _: usize, _: Span<'_>, _: &mut Visit<'_>) -> Outcome<usize> {
        not_offered("a transaction cannot scan")
    }
}

impl Writing for Writes<'_> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.trees[table].insert(key, value).map(drop).map_err(failure)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.trees[table].remove(key).map(drop).map_err(failure)
    }
}
