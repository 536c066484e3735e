//! One keyspace: its store, its gate, and the handle that users hold.
//!
//! S1  A commit holds the gate of each keyspace it writes, shared, from its admission until it is applied; a drop closes the gate exclusively.
//!     So after a drop began nothing more is applied, and the record of the drop is behind every record that names the keyspace.
//!     An ingest that builds files keeps a drop from going on until it has given up, which it does with the next pair: so no file comes into a folder
//!     that is being removed.
//! S2  A keyspace whose upkeep met damage takes no further commit and its upkeep rests, until the database is opened again: what it has in memory stays
//!     there, and in the log. It is read where it is whole, and can be dropped. Other keyspaces do not notice.

use std::fmt;
use std::sync::OnceLock;

use duramen_base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use duramen_base::sync::{Arc, Condvar, ManyReaders, Mutex, RwLock, RwLockReadGuard};
use duramen_base::values::LargeRef;
use duramen_base::{Compression, Error, KeyspaceId, KeyspaceOptions, Pin, Result, Value};
use duramen_base::{Hit, LoadTicket, ValueRef};
use duramen_txn::Registration;

use crate::any_backend::AnyBackend;

/// Values of up to so many bytes are copied for who only looks at them.
const COPIED_BYTES_MAX: usize = 256;

/// A keyspace of an open database: an ordered map from keys to values. Cloning shares it; it has no lifetime and is `Send + Sync`.
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// let users = db.keyspace("users", BackendKind::BTree)?;
/// assert_eq!(users.name(), "users");
/// assert_eq!(users.options().backend, BackendKind::BTree);
/// assert_eq!(users.id(), db.open_keyspace("users")?.id());
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone)]
pub struct Keyspace {
    pub(crate) inner: Arc<Inner>,
}

/// Apart from the counts of its `Arc`, which each commit changes.
#[repr(align(128))]
pub(crate) struct Inner {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    options: RwLock<KeyspaceOptions>,
    /// Which open database it belongs to: a number of the process.
    pub(crate) instance: u64,
    pub(crate) store: AnyBackend,
    /// Number of the store's files in the newest mark logged of it since opening.
    pub(crate) marked_seq: AtomicU64,
    gate: ManyReaders<()>,
    dropped: AtomicBool,
    /// Ingests that are building files.
    building: Mutex<usize>,
    built: Condvar,
    /// What its upkeep could not read (S2).
    damage: OnceLock<Arc<Error>>,
}

/// A keyspace as listed.
///
/// ```
/// use duramen::{BackendKind, Database};
/// let db = Database::in_memory()?;
/// db.keyspace("users", BackendKind::Lsm)?;
/// let listed = db.keyspaces();
/// assert_eq!(listed[0].name, "users");
/// assert_eq!(listed[0].options.backend, BackendKind::Lsm);
/// # Ok::<(), duramen::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceInfo {
    /// Its name.
    pub name: String,
    /// Its number, never used again for another.
    pub id: KeyspaceId,
    /// Its options.
    pub options: KeyspaceOptions,
}

impl Keyspace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its number, never used again for another.
    pub fn id(&self) -> KeyspaceId {
        self.inner.id
    }

    /// Its options as they are now; [`crate::Database::set_compression`] changes one of them.
    pub fn options(&self) -> KeyspaceOptions {
        self.inner.options()
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyspace({:?}, {})", self.name(), self.options().backend)
    }
}

impl Inner {
    pub(crate) fn new(
        instance: u64,
        id: KeyspaceId,
        name: String,
        options: KeyspaceOptions,
        store: AnyBackend,
    ) -> Arc<Inner> {
        let marked_seq = AtomicU64::new(store.mark().seq);
        Arc::new(Inner {
            id,
            name,
            options: RwLock::new(options),
            instance,
            store,
            marked_seq,
            gate: ManyReaders::new(()),
            dropped: AtomicBool::new(false),
            building: Mutex::new(0),
            built: Condvar::new(),
            damage: OnceLock::new(),
        })
    }

    pub(crate) fn options(&self) -> KeyspaceOptions {
        self.options.read().clone()
    }

    /// The catalog says so already.
    pub(crate) fn set_compression(&self, compression: Compression) {
        self.options.write().compression = compression;
        self.store.set_compression(compression);
    }

    /// Keeps the keyspace from being dropped (S1).
    pub(crate) fn enter(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let guard = self.gate.read();
        self.check()?;
        Ok(guard)
    }

    /// Refuses all further use and waits for those who are inside (S1).
    pub(crate) fn close_gate(&self) {
        // Acquire and Release by the gate: who enters after this sees it.
        self.dropped.store(true, Ordering::SeqCst);
        drop(self.gate.replace());
        let mut building = self.building.lock();
        while *building > 0 {
            self.built.wait(&mut building);
        }
    }

    /// Keeps a drop from removing the folder while files are built in it (S1). User code may run meanwhile, so this is no gate.
    pub(crate) fn build(&self) -> Result<Building<'_>> {
        *self.building.lock() += 1;
        let building = Building(self);
        self.check().map(|()| building)
    }

    /// Takes [`Inner::close_gate`] back: the drop failed before anything was written.
    pub(crate) fn open_gate(&self) {
        self.dropped.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether it may be used by the open database of this number.
    pub(crate) fn check_of(&self, instance: u64) -> Result<()> {
        if self.instance != instance {
            return Err(Error::InvalidArgument { what: "a keyspace of another open database" });
        }
        self.check()
    }

    /// Whether it may be used.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_dropped() {
            return Err(Error::NoSuchKeyspace { name: self.name.clone() });
        }
        Ok(())
    }

    /// The damage that its upkeep met (S2).
    pub(crate) fn damage(&self) -> Option<&Arc<Error>> {
        self.damage.get()
    }

    /// Refuses if its upkeep met damage (S2).
    pub(crate) fn check_whole(&self) -> Result<()> {
        self.damage().map_or(Ok(()), |damage| Err(damage_in(damage).expect("nothing else is noted")))
    }

    /// Notes that its upkeep failed so; whether it is damage. What was noted first stays.
    pub(crate) fn note_damage(&self, error: &Error) -> bool {
        let damage = damage_in(error);
        let is_damage = damage.is_some();
        if let Some(damage) = damage {
            let _ = self.damage.set(Arc::new(damage));
        }
        is_damage
    }

    /// The value of `key` for `reader`.
    pub(crate) fn read(&self, key: &[u8], reader: &Registration) -> Result<Option<Value>> {
        self.read_as(key, reader, |bytes| bytes.into_value())
    }

    /// What `look` makes of it: a value of usual size is copied for it, as no pin is held while user code runs, and counting the page it lies in would
    /// cost more.
    #[inline]
    pub(crate) fn read_with<R>(
        &self,
        key: &[u8],
        reader: &Registration,
        look: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R> {
        let mut room = [0; COPIED_BYTES_MAX];
        let found = self.read_as(key, reader, |bytes| match room.get_mut(..bytes.len()) {
            Some(copy) => {
                copy.copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            None => Err(bytes.into_value()),
        })?;
        Ok(match found {
            Some(Ok(len)) => look(Some(&room[..len])),
            Some(Err(value)) => look(Some(&value)),
            None => look(None),
        })
    }

    /// The value as `keep` takes it out of the store.
    #[inline]
    fn read_as<V>(
        &self,
        key: &[u8],
        reader: &Registration,
        mut keep: impl FnMut(ValueRef<'_>) -> V,
    ) -> Result<Option<V>> {
        loop {
            let wanted = {
                let pin = Pin::new();
                let found = match self.store.get(&pin, key, reader.ts())?.hit {
                    Hit::Absent | Hit::Deleted(_) => Ok(None),
                    Hit::Value { bytes, .. } => Ok(Some(keep(bytes))),
                    Hit::NeedIo(ticket) => Err(Wanted::Page(ticket)),
                    Hit::Large { large, .. } => Err(Wanted::Value(large)),
                };
                match found {
                    Ok(_) if reader.is_ended() => return Err(Error::SnapshotTooOld),
                    Ok(kept) => return Ok(kept),
                    Err(wanted) => wanted,
                }
            };
            match wanted {
                Wanted::Page(ticket) => ticket.load()?,
                Wanted::Value(large) => {
                    let value = self.store.load_large(key, reader.ts(), large);
                    if reader.is_ended() {
                        return Err(Error::SnapshotTooOld);
                    }
                    return Ok(value?.map(|value| keep(ValueRef::Owned(value))));
                }
            }
        }
    }
}

/// See [`Inner::build`].
pub(crate) struct Building<'k>(&'k Inner);

impl Drop for Building<'_> {
    fn drop(&mut self) {
        *self.0.building.lock() -= 1;
        self.0.built.notify_all();
    }
}

/// The damage that an error tells of, of its own or as the cause of a store's end.
fn damage_in(error: &Error) -> Option<Error> {
    match error {
        Error::Corruption { file, offset, what } => Some(Error::corruption(file.clone(), *offset, what)),
        Error::Poisoned { cause } => damage_in(cause),
        _ => None,
    }
}

/// What a read needs from files before it can go on.
enum Wanted {
    Page(LoadTicket),
    Value(LargeRef),
}
