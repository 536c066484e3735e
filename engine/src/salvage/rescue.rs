//! One keyspace on its way into the new database: the newest version of each key, whatever the order in which they come.
//!
//! Beside the keyspace stands another for the time of the salvage, which holds for each key that was ever met the timestamp of the version that
//! counts; so a version that comes late loses, and one that was deleted stays deleted. Range deletes are held back to the end.
//!
//! X3  For each key the version with the greatest timestamp stands; of two with the same, the one that came last.
//! X4  A range delete at t removes what stands with a timestamp below t.

use duramen_base::salvage::{Loss, Salvage};
use duramen_base::{BackendKind, KeyspaceOptions, Result, StoreMark, Timestamp, mutant};

use super::SalvagedKeyspace;
use crate::database::Database;
use crate::keyspace::Keyspace;
use crate::options::{Durability, TxnOptions};
use crate::reader::Reader;
use crate::transaction::Transaction;

/// Operations of one transaction, and bytes of them, so that a write set stays small.
const OPS_MAX: usize = 2_000;
const BYTES_MAX: usize = 256 << 10;

/// Of files that say nothing.
const NOTHING: StoreMark = StoreMark { seq: 0, persisted: Timestamp::ZERO, contains: Timestamp::ZERO };

/// Writes to the new database in transactions of many operations each.
pub(super) struct Writer<'a> {
    db: &'a Database,
    tx: Option<Transaction>,
    ops: usize,
    bytes: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(db: &'a Database) -> Writer<'a> {
        Writer { db, tx: None, ops: 0, bytes: 0 }
    }

    pub(super) fn db(&self) -> &'a Database {
        self.db
    }

    /// A transaction with room for an operation of so many bytes.
    fn tx(&mut self, bytes: usize) -> Result<&Transaction> {
        if self.ops >= OPS_MAX || self.bytes + bytes > BYTES_MAX {
            self.commit()?;
        }
        self.ops += 1;
        self.bytes += bytes;
        if self.tx.is_none() {
            // All of it is made durable at the end.
            let options = TxnOptions::default().durability(Durability::None).label("salvage");
            self.tx = Some(self.db.begin_with(options)?);
        }
        Ok(self.tx.as_ref().expect("it was just put there"))
    }

    fn commit(&mut self) -> Result<()> {
        (self.ops, self.bytes) = (0, 0);
        match self.tx.take() {
            Some(tx) => tx.commit().map(drop),
            None => Ok(()),
        }
    }

    /// Everything into files.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.commit()?;
        self.db.checkpoint()
    }
}

/// One keyspace.
pub(super) struct Rescue {
    keyspace: Keyspace,
    backend: BackendKind,
    /// The timestamp that counts, of every key that was met.
    ages: Keyspace,
    range_deletes: Vec<(Vec<u8>, Vec<u8>, Timestamp)>,
    mark: StoreMark,
}

impl Rescue {
    pub(super) fn new(db: &Database, name: &str, options: KeyspaceOptions) -> Result<Rescue> {
        let backend = options.backend;
        let keyspace = db.keyspace(name, options)?;
        let ages = db.keyspace(&format!("\0salvage {}", keyspace.id().get()), BackendKind::BTree)?;
        Ok(Rescue { keyspace, backend, ages, range_deletes: Vec::new(), mark: NOTHING })
    }

    /// What its files said of themselves.
    pub(super) fn mark(&self) -> StoreMark {
        self.mark
    }

    pub(super) fn set_mark(&mut self, mark: StoreMark) {
        self.mark = mark;
    }

    pub(super) fn taking<'r, 'w, 'a>(
        &'r mut self,
        writer: &'w mut Writer<'a>,
        losses: &'r mut Vec<Loss>,
    ) -> Taking<'r, 'w, 'a> {
        Taking { rescue: self, writer, losses }
    }

    /// It was dropped.
    pub(super) fn abandon(self, writer: &mut Writer<'_>) -> Result<()> {
        writer.commit()?;
        writer.db.drop_keyspace(self.ages.name())?;
        writer.db.drop_keyspace(self.keyspace.name())
    }

    /// X4, and counts what is there.
    pub(super) fn finish(self, writer: &mut Writer<'_>) -> Result<SalvagedKeyspace> {
        for (low, high, ts) in &self.range_deletes {
            self.delete_below(low, high, *ts, writer)?;
        }
        writer.commit()?;
        writer.db.drop_keyspace(self.ages.name())?;
        let (mut entries, snapshot) = (0, writer.db.snapshot()?);
        let mut iter = snapshot.iter(&self.keyspace)?;
        while iter.next_ref()?.is_some() {
            entries += 1;
        }
        Ok(SalvagedKeyspace { name: self.keyspace.name().to_owned(), backend: self.backend, entries })
    }

    fn delete_below(&self, low: &[u8], high: &[u8], ts: Timestamp, writer: &mut Writer<'_>) -> Result<()> {
        writer.commit()?;
        let snapshot = writer.db.snapshot()?;
        let mut iter = match high {
            [] => snapshot.range(&self.ages, low..)?,
            high => snapshot.range(&self.ages, low..high)?,
        };
        while let Some(entry) = iter.next_ref()? {
            if decode(entry.value) < ts {
                writer.tx(entry.key.len())?.delete(&self.keyspace, entry.key)?;
            }
        }
        Ok(())
    }
}

/// Takes in what the files and the log hold of one keyspace.
pub(super) struct Taking<'r, 'w, 'a> {
    rescue: &'r mut Rescue,
    writer: &'w mut Writer<'a>,
    losses: &'r mut Vec<Loss>,
}

impl Taking<'_, '_, '_> {
    pub(super) fn backend(&self) -> BackendKind {
        self.rescue.backend
    }
}

impl Salvage for Taking<'_, '_, '_> {
    fn version(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) -> Result<()> {
        let Rescue { keyspace, ages, .. } = &*self.rescue;
        let tx = self.writer.tx(2 * key.len() + value.map_or(0, <[u8]>::len))?;
        let known = tx.get(ages, key)?;
        if known.is_some_and(|known| decode(&known) > ts || mutant!("salvage_oldest_wins")) {
            return Ok(()); // X3
        }
        tx.put(ages, key, ts.get().to_le_bytes())?;
        match value {
            Some(value) => tx.put(keyspace, key, value),
            None => tx.delete(keyspace, key),
        }
    }

    fn range_delete(&mut self, low: &[u8], high: &[u8], ts: Timestamp) -> Result<()> {
        self.rescue.range_deletes.push((low.to_vec(), high.to_vec(), ts));
        Ok(())
    }

    fn lost(&mut self, loss: Loss) {
        self.losses.push(loss);
    }
}

/// The timestamp in a value of `ages`.
fn decode(value: &[u8]) -> Timestamp {
    Timestamp::new(value.try_into().map_or(0, u64::from_le_bytes))
}
