//! The manifest: which tables the store is made of. `MANIFEST-<n>`, a framed file of edits; `CURRENT` names the one that counts.
//!
//! It knows edits and their order; what a version is, it asks `version.rs`.
//!
//! O1  The first frame is a snapshot of everything; replaying all frames gives the version.
//! O2  An edit counts when it is appended and synced. A failed append may still be found after a crash, so what it names is kept until
//!     another append has succeeded in its place; after a failed sync nothing is appended any more.
//! O3  A manifest that has grown is written anew under the next number, synced with its name, and then `CURRENT` is switched.
//!
//! Next: `manifest/edit.rs` (the bytes).

mod edit;

use std::path::{Path, PathBuf};

use duramen_base::framed::{FileHeader, FramedFile, Known, read_current, switch_current};
use duramen_base::vfs::Vfs;
use duramen_base::{Error, IoOp, Result, StoreEnv, Timestamp};

pub(crate) use edit::{Edit, EditKind, Placed};

use crate::version::Version;

/// What this version knows of manifests. On disk. Never renumber.
pub(crate) const MANIFEST_KNOWN: Known = Known { magic: *b"DURMANIF", format: 1, read_features: 0, write_features: 0 };

/// Bytes at which a manifest is written anew.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Bytes of tables in one frame of a snapshot.
const SNAPSHOT_FRAME_BYTES: usize = 4 << 20;

/// The manifest that counts.
#[derive(Debug)]
pub(crate) struct Manifest {
    number: u64,
    file: FramedFile,
    /// Bytes of its snapshot: it is written anew when the edits outweigh it.
    snapshot_bytes: u64,
}

/// The file of manifest `number`.
pub(crate) fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number}")
}

/// The number in a manifest's name, if it is exactly what [`manifest_name`] gives.
pub(crate) fn manifest_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("MANIFEST-")?.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

impl Manifest {
    /// Writes manifest `number` with `version` as its snapshot, and makes it the one that counts.
    ///
    /// `DiskFull`: everything is as it was. After any other error nobody knows which manifest counts.
    pub(crate) fn create(env: &StoreEnv, number: u64, version: &Version) -> Result<Manifest> {
        let name = manifest_name(number);
        let header = FileHeader::new(&MANIFEST_KNOWN, env.db_uuid, env.keyspace.get(), number);
        let mut file = FramedFile::create(&*env.vfs, &env.dir.join(&name), &header)?;
        for (kind, payload) in snapshot_frames(version) {
            file.append(kind as u8, &payload)?;
        }
        file.sync()?;
        sync_dir(env).map_err(not_again)?;
        let before = read_current(&*env.vfs, &env.dir);
        if let Err(error) = switch_current(&*env.vfs, &env.dir, &name) {
            // Without space the text beside may not have been written; then the old name stands as firmly as before.
            let untouched = matches!(error, Error::DiskFull { .. })
                && matches!((before, read_current(&*env.vfs, &env.dir)), (Ok(old), Ok(now)) if old == now);
            return Err(if untouched { error } else { not_again(error) });
        }
        let snapshot_bytes = file.len();
        Ok(Manifest { number, file, snapshot_bytes })
    }

    /// Opens the manifest that `CURRENT` names and replays it.
    pub(crate) fn open(env: &StoreEnv) -> Result<(Manifest, Version)> {
        let current = env.dir.join("CURRENT");
        let Some(name) = read_current(&*env.vfs, &env.dir)? else {
            return Err(Error::corruption(current, 0, "the store has no CURRENT"));
        };
        let Some(number) = manifest_number(&name) else {
            return Err(Error::corruption(current, 0, "CURRENT names no manifest"));
        };
        let path = env.dir.join(&name);
        let mut replay = Replay::new(&path);
        let opened = FramedFile::open(&*env.vfs, &path, &MANIFEST_KNOWN, |kind, payload| replay.frame(kind, payload));
        let (file, header, _) = opened.map_err(|error| match error {
            Error::Io { op: IoOp::Open, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::corruption(&path, 0, "the manifest that CURRENT names is missing")
            }
            other => other,
        })?;
        if header.db_uuid != env.db_uuid || header.ks_id != env.keyspace.get() || header.number != number {
            return Err(Error::corruption(&path, 0, "a manifest of another database, keyspace or number"));
        }
        let version = replay.finish(env)?;
        let snapshot_bytes = file.len();
        Ok((Manifest { number, file, snapshot_bytes }, version))
    }

    /// What the manifest in `path` says, without opening tables, and whose it is.
    pub(crate) fn read(vfs: &dyn Vfs, path: &Path) -> Result<(FileHeader, Edit)> {
        let mut replay = Replay::new(path);
        let (header, _) = FramedFile::read(vfs, path, &MANIFEST_KNOWN, |kind, payload| replay.frame(kind, payload))?;
        Ok((header, replay.whole()?.clone()))
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Appends an edit and syncs it (O2). `DiskFull`: nothing was appended, it may be tried again.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<()> {
        self.file.append(EditKind::Edit as u8, &edit.encode())?;
        self.file.sync().map_err(not_again)
    }

    /// Whether it should be written anew (O3).
    pub(crate) fn has_grown(&self, bytes_max: Option<u64>) -> bool {
        self.file.len() > bytes_max.unwrap_or(MANIFEST_BYTES_MAX).max(2 * self.snapshot_bytes)
    }
}

/// Makes names in the store's folder durable.
pub(crate) fn sync_dir(env: &StoreEnv) -> Result<()> {
    env.vfs.sync_dir(&env.dir).map_err(|source| Error::from_io(IoOp::SyncDir, &env.dir, source))
}

/// The error of a call that must not be tried again, whatever the cause: a lack of space would otherwise read as "try again".
pub(crate) fn not_again(error: Error) -> Error {
    if matches!(error, Error::DiskFull { .. }) { poisoned(error) } else { error }
}

/// An error after which the store must not write any more.
pub(crate) fn poisoned(cause: Error) -> Error {
    match cause {
        Error::Poisoned { .. } => cause,
        cause => Error::Poisoned { cause: std::sync::Arc::new(cause) },
    }
}

fn snapshot_frames(version: &Version) -> Vec<(EditKind, Vec<u8>)> {
    let blank = || Edit {
        seq: version.seq,
        persisted: version.persisted,
        contains: version.contains,
        next_table_no: version.next_table_no,
        values_no: version.values_no,
        ..Edit::default()
    };
    let mut edits = vec![blank()];
    let mut bytes = 0;
    for (level, run, meta) in version.placed() {
        if bytes > SNAPSHOT_FRAME_BYTES {
            edits.push(blank());
            bytes = 0;
        }
        bytes += meta.min_key.len() + meta.max_key.len() + 100;
        let placed = Placed { level, run, meta: meta.clone() };
        edits.last_mut().expect("there is always one").added.push(placed);
    }
    let kinds = std::iter::once(EditKind::Snapshot).chain(std::iter::repeat(EditKind::SnapshotMore));
    kinds.zip(edits).map(|(kind, edit)| (kind, edit.encode())).collect()
}

/// Gathers frames into the last state. Tables are opened once, at the end: those that were removed meanwhile are gone.
struct Replay {
    path: PathBuf,
    state: Option<Edit>,
}

impl Replay {
    fn new(path: &Path) -> Replay {
        Replay { path: path.to_owned(), state: None }
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::corruption(&self.path, 0, what)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let Some(kind) = EditKind::from_byte(kind) else {
            return Err(self.damaged("a manifest frame of unknown kind"));
        };
        let Some(edit) = Edit::decode(payload) else {
            return Err(self.damaged("a manifest edit cannot be read"));
        };
        match (kind, self.state.take()) {
            (EditKind::Snapshot, None) if edit.removed.is_empty() => self.state = Some(edit),
            (EditKind::SnapshotMore, Some(state)) if edit.seq == state.seq && edit.removed.is_empty() => {
                self.state = Some(self.joined(state, edit)?);
            }
            (EditKind::Edit, Some(state)) if edit.seq == state.seq + 1 => self.state = Some(self.joined(state, edit)?),
            (EditKind::Snapshot | EditKind::SnapshotMore | EditKind::Edit, _) => {
                return Err(self.damaged("a manifest edit is out of order"));
            }
        }
        Ok(())
    }

    fn joined(&self, mut state: Edit, edit: Edit) -> Result<Edit> {
        for no in edit.removed {
            match state.added.iter().position(|placed| placed.meta.no == no) {
                Some(index) => drop(state.added.swap_remove(index)),
                None => return Err(self.damaged("a manifest edit removes a table that is not there")),
            }
        }
        if edit.persisted < state.persisted
            || edit.contains < state.contains
            || edit.next_table_no < state.next_table_no
            || edit.values_no < state.values_no
        {
            return Err(self.damaged("a manifest edit goes back (A2)"));
        }
        state.added.extend(edit.added);
        Ok(Edit { added: state.added, removed: Vec::new(), ..edit })
    }

    /// The edit that makes all of it from nothing.
    fn whole(&self) -> Result<&Edit> {
        self.state.as_ref().ok_or_else(|| self.damaged("a manifest without a snapshot"))
    }

    fn finish(self, env: &StoreEnv) -> Result<Version> {
        Version::empty(0, Timestamp::ZERO)
            .after(self.whole()?, env, &[])?
            .ok_or_else(|| self.damaged("the tables of a manifest overlap or are named twice"))
    }
}
