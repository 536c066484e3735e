//! A read-only view at one moment of commit order.

use std::fmt;

use duramen_base::{Error, KeyBounds, Result, Timestamp, Value};
use duramen_txn::{Registration, WriteSet};

use crate::iter::Iter;
use crate::keyspace::Keyspace;
use crate::reader::sealed::View;

/// A read-only, consistent view of the whole database. `'static`, `Send + Sync`; a clone shares it.
///
/// It contains every commit that was acknowledged before it began and never changes. While it lives, versions it may need are kept: one more
/// per changed key at most. Its isolation is Snapshot, not Serializable. [`crate::Database::oldest_readers`] finds those that were forgotten, and
/// [`crate::Builder::max_snapshot_age`] ends them.
///
/// ```
/// use duramen::{BackendKind, Database, Reader};
/// let db = Database::in_memory()?;
/// let ks = db.keyspace("k", BackendKind::BTree)?;
/// let before = db.snapshot()?;
/// db.update(|tx| tx.put(&ks, "a", "1"))?;
/// assert!(!before.contains(&ks, "a")?);
/// assert!(db.snapshot()?.contains(&ks, "a")?);
/// assert!(before.ts() < db.snapshot()?.ts());
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    /// Of the open database it belongs to. Not the database itself: a count that all threads share would cost more than all the rest.
    instance: u64,
    registration: Registration,
}

impl Snapshot {
    pub(crate) fn new(instance: u64, registration: Registration) -> Snapshot {
        Snapshot { instance, registration }
    }

    /// The newest commit that it contains, and with it all before.
    pub fn ts(&self) -> Timestamp {
        self.registration.ts()
    }
}

/// Refuses if the database of a registered reader was closed.
pub(crate) fn check_open(registration: &Registration) -> Result<()> {
    if registration.is_closed() { Err(Error::Closed) } else { Ok(()) }
}

/// Refuses what a reader has read if it was ended for its age: part of what it was to see may have been gone already.
#[inline]
pub(crate) fn check_kept(reader: &Registration) -> Result<()> {
    if reader.is_ended() { Err(Error::SnapshotTooOld) } else { Ok(()) }
}

impl View for Snapshot {
    fn view_get(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Option<Value>> {
        check_open(&self.registration)?;
        keyspace.inner.check_of(self.instance)?;
        keyspace.inner.read(key, &self.registration)
    }

    #[inline]
    fn view_get_with<R>(&self, keyspace: &Keyspace, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        check_open(&self.registration)?;
        keyspace.inner.check_of(self.instance)?;
        keyspace.inner.read_with(key, &self.registration, read)
    }

    fn view_iter(&self, keyspace: &Keyspace, bounds: KeyBounds<'_>) -> Result<Iter> {
        check_open(&self.registration)?;
        keyspace.inner.check_of(self.instance)?;
        let nothing = WriteSet::new().view(keyspace.id());
        Ok(Iter::new(keyspace, self.registration.clone(), nothing, bounds))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.ts())
    }
}
