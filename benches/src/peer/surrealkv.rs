//! surrealkv: a log-structured engine with an asynchronous commit, one keyspace, optimistic transactions.
//!
//! It has one keyspace: the number of the table is the first byte of the key. Commits are awaited on the calling thread, inside the runtime
//! that its guide asks for.

use surrealkv::{Durability, Error, LSMIterator, Mode as TxnMode, Transaction, Tree, TreeBuilder};
use tokio::runtime::Runtime;

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Failure, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing,
    broken,
};

/// The row of the registry.
pub const ENTRY: Entry = Entry {
    name: "surrealkv",
    package: "surrealkv",
    feature: Some("surrealkv"),
    needs: "",
    facts: Facts {
        isolation: "optimistic: snapshot, write conflicts checked at commit",
        durability: "Buffered: Durability::Eventual; Sync: Durability::Immediate (group fsync of the log)",
        checksums: "log records and blocks: CRC-32, checked when read from disk",
        compression: "its default",
        cache: "block_cache_capacity; memtables beside it (its default size)",
    },
    open: Some(open),
    offer: Offer { classes: &[Class::Buffered, Class::Sync], modes: &[Mode::Optimistic], ..Offer::WHOLE },
};

struct Surreal {
    // Before the runtime, which must outlive it.
    tree: Tree,
    runtime: Runtime,
    durability: Durability,
}

fn failure(error: Error) -> Failure {
    match error {
        Error::TransactionWriteConflict | Error::TransactionRetry => Failure::Conflict,
        error => broken(error),
    }
}

fn open(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(broken)?;
    let tree = {
        let _inside = runtime.enter();
        let builder = TreeBuilder::new().with_path(setup.folder.join("db"));
        builder.with_block_cache_capacity(setup.cache_bytes).build().map_err(failure)?
    };
    let durability = if setup.class == Class::Sync { Durability::Immediate } else { Durability::Eventual };
    Ok(Box::new(Surreal { tree, runtime, durability }))
}

impl Drop for Surreal {
    fn drop(&mut self) {
        // What was synced is on the disk; an error of closing changes nothing that was measured.
        let _ = self.runtime.block_on(self.tree.close());
    }
}

impl Engine for Surreal {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(Local { engine: self, _inside: self.runtime.enter() }))
    }

    fn sync(&self) -> Outcome<()> {
        self.tree.flush_wal(true).map_err(failure)
    }

    fn settle(&self) -> Outcome<()> {
        self.sync()
    }
}

/// A thread that is inside the runtime.
struct Local<'a> {
    engine: &'a Surreal,
    _inside: tokio::runtime::EnterGuard<'a>,
}

impl Session for Local<'_> {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        let tx = self.engine.tree.begin_with_mode(TxnMode::ReadOnly).map_err(failure)?;
        work(&mut View { tx, key: Vec::new() })
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        let mut tx = self.engine.tree.begin().map_err(failure)?;
        tx.set_durability(self.engine.durability);
        let mut view = View { tx, key: Vec::new() };
        work(&mut view)?;
        self.engine.runtime.handle().block_on(view.tx.commit()).map_err(failure)?;
        Ok(0)
    }
}

struct View {
    tx: Transaction,
    key: Vec<u8>,
}

impl View {
    fn prefixed(&mut self, table: usize, key: &[u8]) -> &[u8] {
        self.key.clear();
        self.key.push(table as u8);
        self.key.extend_from_slice(key);
        &self.key
    }
}

impl Reading for View {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.prefixed(table, key);
        Ok(self.tx.get(&self.key[..]).map_err(failure)?.map(|value| found(&value)).is_some())
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let (low, high) = bounds(table, span);
        let mut iter = self.tx.range(&low[..], &high[..]).map_err(failure)?;
        let mut valid = if span.reverse { iter.seek_last() } else { iter.seek_first() }.map_err(failure)?;
        let mut count = 0;
        while valid && count < span.limit {
            visit(&iter.key().user_key()[1..], &iter.value().map_err(failure)?);
            count += 1;
            valid = if span.reverse { iter.prev() } else { iter.next() }.map_err(failure)?;
        }
        Ok(count)
    }
}

/// Lower bound, and the upper one that is not part of it.
fn bounds(table: usize, span: Span<'_>) -> (Vec<u8>, Vec<u8>) {
    let (mut low, mut high) = (vec![table as u8], vec![table as u8 + 1]);
    match (span.from, span.reverse) {
        (None, _) => {}
        (Some(from), false) => low.extend_from_slice(from),
        (Some(from), true) => high = [&[table as u8], from, &[0]].concat(),
    }
    (low, high)
}

impl Writing for View {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.prefixed(table, key);
        self.tx.set(&self.key[..], value).map_err(failure)
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.prefixed(table, key);
        self.tx.delete(&self.key[..]).map_err(failure)
    }

    fn get_for_update(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.prefixed(table, key);
        Ok(self.tx.get_for_update(&self.key[..]).map_err(failure)?.map(|value| found(&value)).is_some())
    }
}
