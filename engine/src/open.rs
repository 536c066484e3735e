//! Opening a database: the lock, creating it where there is none, and handing over to recovery.
//!
//! Creating: folders, then the first log segment, then the first catalog, then `CURRENT`; each durable before the next. `CURRENT` is the
//! moment at which the database exists. What an interrupted creation left (a log without keyspaces, catalogs that nothing names) is removed and
//! made anew; anything else without `CURRENT` is not ours to touch.
//!
//! Next: `recovery.rs`.

use std::io;
use std::path::{Path, PathBuf};

use duramen_base::sync::Arc;
use duramen_base::vfs::{FileLock, PatientVfs, Vfs};
use duramen_base::{DbUuid, Error, IoOp, KeyspaceId, Result};
use duramen_wal::Wal;

use crate::catalog::{self, Catalog};
use crate::core::Core;
use crate::database::{Closer, Database};
use crate::keyspaces::remove_folder;
use crate::options::Builder;
use crate::recovery::{self, Rooms};
use crate::upkeep;

const LOCK_FILE: &str = "LOCK";
const CURRENT_FILE: &str = "CURRENT";
const LOG_DIR: &str = "log";
/// Beside the log; `wal` writes it.
pub(crate) const LOG_END_FILE: &str = "LOG-END";
pub(crate) const KEYSPACES_DIR: &str = "ks";

impl Database {
    /// Opens or creates the database in `path`.
    pub(crate) fn open_with(mut builder: Builder, path: PathBuf) -> Result<Database> {
        builder.vfs = PatientVfs::around(builder.vfs);
        let vfs = Arc::clone(&builder.vfs);
        make_folder(&*vfs, &path, builder.create_if_missing)?;
        refuse_foreign_folder(&*vfs, &path, builder.create_if_missing)?;
        let dir_lock = lock(&*vfs, &path)?;
        let rooms = Rooms::new(&builder, &path);
        let (catalog, db_uuid) = match Catalog::read(&*vfs, &path)? {
            Some(found) => {
                // A process that died may have switched `CURRENT` without syncing the folder. What the switch made superfluous goes
                // below, so the switch must not be taken back.
                vfs.sync_dir(&path).map_err(|source| Error::from_io(IoOp::SyncDir, &path, source))?;
                found
            }
            None => {
                check_creatable(&*vfs, &path, builder.create_if_missing)?;
                create(&rooms, &*vfs, &path)?
            }
        };
        let core = recovery::recover(rooms, &builder, catalog, db_uuid, dir_lock)?;
        // Without its background work a database is of no use: closed in order it is as it was.
        start_jobs(&core, &builder).inspect_err(|_| drop(core.close()))?;
        Ok(Database { closer: Arc::new(Closer { core: Arc::clone(&core) }), core })
    }
}

/// The folder itself, durably.
fn make_folder(vfs: &dyn Vfs, path: &Path, create: bool) -> Result<()> {
    match vfs.list(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::InvalidArgument {
                what: "there is no database in this folder, and none was to be created",
            });
        }
        Err(error) => return Err(Error::from_io(IoOp::List, path, error)),
    }
    make_dir(vfs, path)
}

/// A folder and its durable name; one that is there is fine.
fn make_dir(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    match vfs.create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::from_io(IoOp::Create, path, error));
        }
        _ => {}
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // A parent that cannot be synced (the root of a simulated disk, a folder without read permission) keeps what it has.
    match vfs.sync_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::from_io(IoOp::SyncDir, parent, source)),
    }
}

pub(crate) fn lock(vfs: &dyn Vfs, path: &Path) -> Result<Box<dyn FileLock>> {
    let file = path.join(LOCK_FILE);
    match vfs.lock(&file) {
        Ok(guard) => {
            // For humans only: failing to say who we are is no reason not to open.
            let _ = guard.write_content(vfs.holder_name().as_bytes());
            Ok(guard)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Error::Locked { holder: holder(vfs, &file), path: file })
        }
        Err(error) => Err(Error::from_io(IoOp::Lock, file, error)),
    }
}

/// What the holder wrote about itself.
fn holder(vfs: &dyn Vfs, file: &Path) -> String {
    let mut content = [0; 64];
    let read = duramen_base::vfs::File::open(vfs, file, duramen_base::vfs::OpenMode::Read)
        .and_then(|file| file.read_up_to_at(&mut content, 0));
    match read {
        Ok(len) if len > 0 => String::from_utf8_lossy(&content[..len]).into_owned(),
        _ => "an unknown process".to_owned(),
    }
}

/// Before anything is written, the lock file included. Only a look: what another process is doing here right now is judged under the lock.
fn refuse_foreign_folder(vfs: &dyn Vfs, path: &Path, create: bool) -> Result<()> {
    let entries = vfs.list(path).map_err(|error| Error::from_io(IoOp::List, path, error))?;
    if entries.iter().any(|entry| entry.name == CURRENT_FILE) {
        return Ok(());
    }
    match check_creatable(vfs, path, create) {
        Err(error @ Error::InvalidArgument { .. }) => Err(error),
        _ => Ok(()),
    }
}

/// Whether a folder without `CURRENT` is empty or holds what an interrupted creation left.
fn check_creatable(vfs: &dyn Vfs, path: &Path, create: bool) -> Result<()> {
    let list = |dir: &Path| match vfs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| Error::from_io(IoOp::List, dir, error)),
    };
    let missing = || Error::corruption(path.join(CURRENT_FILE), 0, "the file is missing");
    if !list(&path.join(KEYSPACES_DIR))?.is_empty() || list(&path.join(LOG_DIR))?.len() > 1 {
        return Err(missing());
    }
    for entry in list(path)? {
        let known = match entry.name.as_str() {
            LOCK_FILE | LOG_DIR | LOG_END_FILE | KEYSPACES_DIR | "CURRENT.tmp" => true,
            // The first catalog is part of a creation, a later one of a database that lost its CURRENT.
            name => match catalog::number_of(name) {
                Some(1) => true,
                Some(_) => return Err(missing()),
                None => false,
            },
        };
        if !known {
            return Err(Error::InvalidArgument { what: "the folder is not empty, and holds no database" });
        }
    }
    if !create {
        return Err(Error::InvalidArgument { what: "there is no database in this folder, and none was to be created" });
    }
    Ok(())
}

/// Creates a database in a folder that [`check_creatable`] found good.
fn create(rooms: &Rooms, vfs: &dyn Vfs, path: &Path) -> Result<(Catalog, DbUuid)> {
    let uuid = vfs.random_bytes().map_err(|source| Error::from_io(IoOp::Read, path, source))?;
    let db_uuid = DbUuid::from_bytes(uuid);
    make_dir(vfs, path)?;
    make_dir(vfs, &path.join(KEYSPACES_DIR))?;
    let log_dir = path.join(LOG_DIR);
    if vfs.list(&log_dir).is_ok() {
        remove_folder(vfs, path, &log_dir)?;
    }
    make_dir(vfs, &log_dir)?;
    drop(Wal::create(rooms.wal_config(db_uuid))?);
    let mut catalog = Catalog::empty();
    catalog.write_next(vfs, path, db_uuid)?;
    Ok((catalog, db_uuid))
}

/// Removes catalogs that nothing names and folders of keyspaces that the catalog does not list, but for those in `kept`: what a crash left.
pub(crate) fn remove_strangers(vfs: &dyn Vfs, path: &Path, catalog: &Catalog, kept: &[KeyspaceId]) -> Result<()> {
    let list = |dir: &Path| vfs.list(dir).map_err(|error| Error::from_io(IoOp::List, dir, error));
    for entry in list(path)? {
        if catalog::number_of(&entry.name).is_some_and(|number| number != catalog.number) {
            catalog::remove_if_there(vfs, &path.join(entry.name))?;
        }
    }
    let keyspaces_dir = path.join(KEYSPACES_DIR);
    let entries = vfs.list(&keyspaces_dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::corruption(&keyspaces_dir, 0, "the folder is missing"),
        _ => Error::from_io(IoOp::List, &keyspaces_dir, error),
    })?;
    for entry in entries {
        let Ok(id) = entry.name.parse::<u32>() else { continue };
        let id = KeyspaceId::new(id);
        if entry.is_dir && !catalog.keyspaces.contains_key(&id) && !kept.contains(&id) {
            remove_folder(vfs, &keyspaces_dir, &keyspaces_dir.join(entry.name))?;
        }
    }
    Ok(())
}

fn start_jobs(core: &Arc<Core>, builder: &Builder) -> Result<()> {
    let log = builder.executor.spawn("duramen-log", Box::new(upkeep::LogJob::new(core)))?;
    let upkeep = builder.executor.spawn("duramen-upkeep", Box::new(upkeep::UpkeepJob::new(core)))?;
    core.set_jobs(log, upkeep);
    Ok(())
}

/// Where the log of a database lies.
pub(crate) fn log_dir(path: &Path) -> PathBuf {
    path.join(LOG_DIR)
}
