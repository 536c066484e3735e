//! canopydb: a B+tree over a write-ahead log, with concurrent (optimistic) and exclusive write transactions.
//!
//! As its guide says: one environment with one database, a tree for each table, opened once in a transaction; `commit_with` chooses the
//! sync, and a background sync is on where commits do not sync.

use std::collections::HashMap;

use canopydb::{Database, DbOptions, EnvOptions, Error, Transaction, Tree, WriteTransaction};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing,
    table_name, visit_all,
};

/// The row of the registry.
pub const ENTRY: Entry = Entry {
    name: "canopydb",
    package: "canopydb",
    feature: Some("canopydb"),
    needs: "",
    facts: Facts {
        isolation: "optimistic: snapshot (concurrent write transactions); pessimistic, serializable: exclusive write transactions",
        durability: "None: use_wal off; Buffered: commit_with(false); Sync: commit_with(true) (fdatasync of the log)",
        checksums: "log: yes; pages: use_checksums on (off by default)",
        compression: "none for values of this size",
        cache: "page_cache_size; uncheckpointed changes beside it (64 to 256 MB, its defaults)",
    },
    open: Some(open),
    offer: Offer { ..Offer::WHOLE },
};

struct Canopy {
    db: Database,
    names: Vec<String>,
    class: Class,
    concurrent: bool,
}

fn failure(error: Error) -> Failure {
    match error {
        Error::WriteConflict => Failure::Conflict,
        error => Failure::Broken(error.to_string()),
    }
}

fn open(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let mut env = EnvOptions::new(setup.folder.join("db"));
    env.page_cache_size = setup.cache_bytes as usize;
    env.use_checksums = true;
    env.wal_background_sync_interval = Some(std::time::Duration::from_millis(500));
    let mut options = DbOptions::new();
    options.use_wal = setup.class != Class::None;
    std::fs::create_dir_all(setup.folder.join("db")).map_err(super::broken)?;
    let db = Database::with_options(env, options).map_err(failure)?;
    let names: Vec<String> = (0..setup.table_count).map(table_name).collect();
    let tx = db.begin_write().map_err(failure)?;
    for name in &names {
        drop(tx.get_or_create_tree(name.as_bytes()).map_err(failure)?);
    }
    tx.commit().map_err(failure)?;
    Ok(Box::new(Canopy { db, names, class: setup.class, concurrent: setup.mode == Mode::Optimistic }))
}

impl Engine for Canopy {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn sync(&self) -> Outcome<()> {
        if self.class == Class::None { self.settle() } else { self.db.sync().map_err(failure) }
    }

    fn settle(&self) -> Outcome<()> {
        self.db.checkpoint().map_err(failure)
    }
}

impl Session for &Canopy {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        let tx = self.db.begin_read().map_err(failure)?;
        work(&mut View { tx: &*tx, names: &self.names, trees: HashMap::new() })
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let tx = self.db.begin_write_with(self.concurrent).map_err(failure)?;
        work(&mut View { tx: &tx, names: &self.names, trees: HashMap::new() })?;
        tx.commit_with(self.class == Class::Sync).map_err(failure)?;
        Ok(0)
    }
}

/// A transaction and the trees that it has opened.
struct View<'a, T> {
    tx: &'a T,
    names: &'a [String],
    trees: HashMap<usize, Tree<'a>>,
}

/// How a transaction opens a tree.
trait Trees {
    fn open(&self, name: &[u8]) -> Result<Option<Tree<'_>>, Error>;
}

impl Trees for Transaction {
    fn open(&self, name: &[u8]) -> Result<Option<Tree<'_>>, Error> {
        self.get_tree(name)
    }
}

impl Trees for WriteTransaction {
    fn open(&self, name: &[u8]) -> Result<Option<Tree<'_>>, Error> {
        self.get_tree(name)
    }
}

impl<'a, T: Trees> View<'a, T> {
    fn tree(&mut self, table: usize) -> Outcome<&mut Tree<'a>> {
        if !self.trees.contains_key(&table) {
            let tree = self.tx.open(self.names[table].as_bytes()).map_err(failure)?;
            let tree = tree.ok_or_else(|| Failure::Broken(format!("tree {table} is missing")))?;
            self.trees.insert(table, tree);
        }
        Ok(self.trees.get_mut(&table).expect("just opened"))
    }
}

impl<T: Trees> Reading for View<'_, T> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.tree(table)?.get(key).map_err(failure)?.map(|value| found(&value)).is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let tree = self.tree(table)?;
        let iter = match (span.from, span.reverse) {
            (None, _) => tree.range::<&[u8]>(..),
            (Some(from), false) => tree.range(from..),
            (Some(from), true) => tree.range(..=from),
        };
        let iter = iter.map_err(failure)?;
        if span.reverse {
            visit_all(iter.rev().map(|entry| entry.map_err(failure)), span.limit, visit)
        } else {
            visit_all(iter.map(|entry| entry.map_err(failure)), span.limit, visit)
        }
    }
}

impl Writing for View<'_, WriteTransaction> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.tree(table)?.insert(key, value).map_err(failure)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.tree(table)?.delete(key).map(drop).map_err(failure)
    }
}
