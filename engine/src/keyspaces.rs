//! Which keyspaces are open, and how one is created and dropped.
//!
//! Create: folder and first files synced, then the catalog; only then can a record name the id.
//! Set the compression: the catalog, then the store, so that what is written says no more than what the next open does.
//! Drop: no new admissions, wait for admitted ones, the drop synced in the log, then the catalog, then the folder.
//! A crash in between is finished (drop) or undone (create) by the next open; see `recovery.rs`.
//!
//! On disk: Keyspace event (keyspace_event.hex)
//! ```text
//!   u8 what (1: drop), u32 id of the keyspace, little-endian: the payload of a `KsEvent` record of the log
//! ```
//! Latch order: `catalog` (I/O under it), then `open` (short).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::sync::{Arc, Mutex, MutexGuard, RwLock};
use duramen_base::vfs::Vfs;
use duramen_base::{BackendKind, Compression, Error, IoOp, KeyspaceId, KeyspaceOptions, Result, StoreHost};
use duramen_txn::KeyspaceNames;
use duramen_wal::EventKind;

use crate::any_backend::AnyBackend;
use crate::catalog::{Catalog, CatalogEntry};
use crate::core::Core;
use crate::keyspace::{Inner, Keyspace, KeyspaceInfo};

/// Most bytes of a keyspace's name.
const NAME_BYTES_MAX: usize = 255;

/// On disk. Never renumber.
const EVENT_DROP: u8 = 1;

/// A `KsEvent` that says that `id` is dropped.
pub(crate) fn encode_drop(id: KeyspaceId) -> [u8; 5] {
    let [a, b, c, d] = id.get().to_le_bytes();
    [EVENT_DROP, a, b, c, d]
}

/// The id that a `KsEvent` drops; `None`: not such an event.
pub(crate) fn decode_drop(payload: &[u8]) -> Option<KeyspaceId> {
    match payload {
        &[EVENT_DROP, a, b, c, d] => Some(KeyspaceId::new(u32::from_le_bytes([a, b, c, d]))),
        _ => None,
    }
}

pub(crate) struct Keyspaces {
    catalog: Mutex<Catalog>,
    open: Arc<RwLock<BTreeMap<KeyspaceId, Arc<Inner>>>>,
    /// Whether a keyspace was dropped that the catalog on disk still lists.
    stale: AtomicBool,
}

impl Keyspaces {
    pub(crate) fn new(catalog: Catalog, open: BTreeMap<KeyspaceId, Arc<Inner>>) -> Keyspaces {
        Keyspaces { catalog: Mutex::new(catalog), open: Arc::new(RwLock::new(open)), stale: AtomicBool::new(false) }
    }

    /// Tells the names of keyspaces that are open.
    pub(crate) fn names(&self) -> KeyspaceNames {
        let open = Arc::clone(&self.open);
        Arc::new(move |id| open.read().get(&id).map(|keyspace| Arc::from(keyspace.name.as_str())))
    }

    /// All that are open, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Inner>> {
        self.open.read().values().cloned().collect()
    }

    /// Keeps keyspaces from being created and dropped.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock()
    }

    fn find(&self, name: &str) -> Option<Arc<Inner>> {
        self.open.read().values().find(|keyspace| keyspace.name == name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<KeyspaceInfo> {
        let info = |keyspace: &Arc<Inner>| KeyspaceInfo {
            name: keyspace.name.clone(),
            id: keyspace.id,
            options: keyspace.options(),
        };
        self.open.read().values().map(info).collect()
    }
}

impl Core {
    /// The keyspace called `name`.
    pub(crate) fn open_keyspace(&self, name: &str) -> Result<Keyspace> {
        self.check_open()?;
        let inner = self.keyspaces.find(name).ok_or_else(|| Error::NoSuchKeyspace { name: name.to_owned() })?;
        Ok(Keyspace { inner })
    }

    /// Creates the keyspace `name`, durably.
    pub(crate) fn create_keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        check_name(name)?;
        check_options(&options)?;
        self.check_writable()?;
        let mut catalog = self.keyspaces.catalog.lock();
        self.check_open()?;
        if catalog.find(name).is_some() {
            return Err(Error::KeyspaceExists { name: name.to_owned() });
        }
        let id = KeyspaceId::new(catalog.next_id);
        let mut next = catalog.clone();
        next.next_id += 1;
        let host = &self.parts.host;
        let first_persisted = host.visible().min(host.durable());
        next.keyspaces.insert(id, CatalogEntry { name: name.to_owned(), options: options.clone(), first_persisted });

        let env = self.parts.store_env(id, &options);
        create_folder(&*self.parts.vfs, &self.parts.keyspaces_dir(), &env.dir)?;
        let store =
            AnyBackend::create(&env).and_then(|()| AnyBackend::open(env)).map_err(|error| self.not_created(error))?;
        self.write_catalog(&mut next)?;
        *catalog = next;
        let inner = Inner::new(self.instance, id, name.to_owned(), options, store);
        self.keyspaces.open.write().insert(id, Arc::clone(&inner));
        Ok(Keyspace { inner })
    }

    /// From now on `keyspace` writes tables so: durably, first in the catalog.
    pub(crate) fn set_compression(&self, keyspace: &Keyspace, compression: Compression) -> Result<()> {
        let inner = &keyspace.inner;
        self.check_writable()?;
        let mut catalog = self.keyspaces.catalog.lock();
        self.check_open()?;
        inner.check_of(self.instance)?;
        let options = KeyspaceOptions { compression, ..inner.options() };
        check_options(&options)?;
        let mut next = catalog.clone();
        let entry =
            next.keyspaces.get_mut(&inner.id).ok_or_else(|| Error::NoSuchKeyspace { name: inner.name.clone() })?;
        if entry.options.compression != compression {
            entry.options = options;
            self.write_catalog(&mut next)?;
            *catalog = next;
        }
        inner.set_compression(compression);
        Ok(())
    }

    /// A store that failed for good while it was created is named by no catalog: creating it again begins with an empty folder. So only the cause is told.
    fn not_created(&self, error: Error) -> Error {
        match error {
            Error::Poisoned { cause } if self.wal.poisoned().is_none() => {
                Arc::try_unwrap(cause).unwrap_or_else(|cause| self.poison_with(cause))
            }
            other => other,
        }
    }

    /// Drops the keyspace `name`, durably; its handles answer `NoSuchKeyspace` from then on, open iterators go on.
    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        let mut catalog = self.keyspaces.catalog.lock();
        let inner = self.keyspaces.find(name).ok_or_else(|| Error::NoSuchKeyspace { name: name.to_owned() })?;
        inner.close_gate();
        let logged = self.wal.log_event(EventKind::KsEvent, &encode_drop(inner.id));
        let end = match logged {
            Ok(end) => end,
            Err(error) => {
                inner.open_gate();
                return Err(error);
            }
        };
        self.keyspaces.open.write().remove(&inner.id);
        self.wal.sync_through(end)?;
        catalog.keyspaces.remove(&inner.id);
        // Until the catalog says so too, the drop must stay in the log.
        self.keyspaces.stale.store(true, Ordering::SeqCst);
        self.write_catalog(&mut catalog)?;
        let dir = self.parts.keyspace_dir(inner.id);
        drop(inner);
        remove_folder(&*self.parts.vfs, &self.parts.keyspaces_dir(), &dir)
    }

    /// Holds the catalog as it is, telling of every drop, so that the log need not; `None` while a keyspace is created or dropped.
    /// Fails while the disk is full.
    ///
    /// What cuts the log must hold it: a keyspace under creation needs the log from its first moment on, and is in no list yet.
    pub(crate) fn hold_settled_catalog(&self) -> Result<Option<MutexGuard<'_, Catalog>>> {
        let Some(mut catalog) = self.keyspaces.catalog.try_lock() else { return Ok(None) };
        if self.keyspaces.stale.load(Ordering::SeqCst) {
            self.write_catalog(&mut catalog)?;
        }
        Ok(Some(catalog))
    }

    /// Switches to the next catalog. Lack of space leaves the old one in force; after any other failure either may be, so the log is poisoned.
    fn write_catalog(&self, catalog: &mut Catalog) -> Result<()> {
        match catalog.write_next(&*self.parts.vfs, &self.parts.path, self.parts.db_uuid) {
            Ok(()) => {
                self.keyspaces.stale.store(false, Ordering::SeqCst);
                Ok(())
            }
            Err(error @ Error::DiskFull { .. }) => Err(error),
            Err(error) => Err(self.poison_with(Arc::new(error))),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Error::InvalidArgument { what: "a keyspace's name has 1 to 255 bytes" });
    }
    Ok(())
}

fn check_options(options: &KeyspaceOptions) -> Result<()> {
    if !(1 << 10..=64 << 10).contains(&options.page_bytes) {
        return Err(Error::InvalidArgument { what: "page_bytes is between 1 KiB and 64 KiB" });
    }
    if options.memtable_bytes < 4 << 10 {
        return Err(Error::InvalidArgument { what: "memtable_bytes is at least 4 KiB" });
    }
    if options.compression != Compression::None && options.backend != BackendKind::Lsm {
        return Err(Error::InvalidArgument { what: "only an LSM keyspace is stored compressed" });
    }
    const _: () = assert!(KEY_BYTES_MAX < 64 << 10, "a key fits the smallest log buffer");
    Ok(())
}

/// Makes an empty folder, durably; a leftover of the same name (never named by a catalog) goes first.
fn create_folder(vfs: &dyn Vfs, parent: &Path, dir: &Path) -> Result<()> {
    let error = |source| Error::from_io(IoOp::Create, dir, source);
    match vfs.create_dir(dir) {
        Err(found) if found.kind() == io::ErrorKind::AlreadyExists => {
            remove_folder(vfs, parent, dir)?;
            vfs.create_dir(dir).map_err(error)?;
        }
        other => other.map_err(error)?,
    }
    vfs.sync_dir(parent).map_err(|source| Error::from_io(IoOp::SyncDir, parent, source))
}

/// Removes the folder of a keyspace with the files in it, durably.
pub(crate) fn remove_folder(vfs: &dyn Vfs, parent: &Path, dir: &Path) -> Result<()> {
    let entries = vfs.list(dir).map_err(|source| Error::from_io(IoOp::List, dir, source))?;
    for entry in entries {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            remove_folder(vfs, dir, &path)?;
        } else {
            vfs.remove_file(&path).map_err(|source| Error::from_io(IoOp::Remove, &path, source))?;
        }
    }
    vfs.remove_dir(dir).map_err(|source| Error::from_io(IoOp::Remove, dir, source))?;
    vfs.sync_dir(parent).map_err(|source| Error::from_io(IoOp::SyncDir, parent, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_has_these_bytes() {
        let pinned = duramen_base::golden::bytes(include_str!("../tests/golden/keyspace_event.hex"));
        let id = KeyspaceId::new(0x0102_0304);
        assert_eq!(encode_drop(id)[..], pinned);
        assert_eq!(decode_drop(&pinned), Some(id));
    }

    #[test]
    fn nothing_else_is_a_drop() {
        let pinned = encode_drop(KeyspaceId::new(7));
        assert_eq!(decode_drop(&pinned[..4]), None);
        assert_eq!(decode_drop(&[&pinned[..], &[0]].concat()), None);
        assert_eq!(decode_drop(&[2, 7, 0, 0, 0]), None);
    }
}
