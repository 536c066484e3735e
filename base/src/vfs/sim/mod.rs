//! The simulated disk: a file system in memory that journals what is done to it, can crash, and fails when told to.
//!
//! Run anything on a [`SimVfs`], take its [`Journal`], and enumerate what a machine would find after a loss of power or the
//! death of the process at any entry, as [`Image`]s to start again on. Deterministic: nothing depends on time or chance but the
//! order in which threads call.
//!
//! Not a benchmark and not a disk: one lock serves all calls, and time does not pass. A device that lies about syncs, or loses
//! writes, exists here only as a [`Fault`], to show that a checker notices.
//!
//! SD1  Calls happen one at a time, whole, in the order of the journal. A store to a mapped file is no call: it cannot fail, and the process may die in the
//!      middle of it, so it is two entries. A page that no call has written to of late does not bear one: there the program ends, by a panic here.
//! SD2  After [`SimVfs::kill`], handles and clones from before change nothing more.
//!
//! Next: `journal.rs` (the record), `replay.rs` (what is durable when), `crash.rs` (what a crash leaves), `fault.rs`.

mod content;
mod crash;
mod effect;
mod fault;
mod file;
mod hash;
mod image;
mod journal;
mod replay;
#[cfg(test)]
mod schedules;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use crash::{CrashModel, Keep};
pub use fault::{Fault, FaultKind, OpKind, OsError};
pub use image::Image;
pub use journal::{Journal, Note};
pub use replay::Replay;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mapped::place_in;
use super::{DirEntry, FileLock, Mapped, OpenMode, Vfs, VfsFile};
use crate::sync::{Mutex, MutexGuard};
use image::FileId;
use journal::Entry;
use state::State;

/// A simulated disk. Cloning shares it.
///
/// ```
/// use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};
/// use duramen_base::vfs::{OpenMode, Vfs};
/// let disk = SimVfs::new();
/// let file = disk.open("ring".as_ref(), OpenMode::CreateNew)?;
/// file.write_at(b"oak", 0)?;
/// file.sync_data()?;
/// let journal = disk.journal();
/// // The bytes were synced, but the name was not: a strict file system may lose it.
/// let found = journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512);
/// assert!(!found.exists("ring".as_ref()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SimVfs {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl SimVfs {
    /// An empty disk.
    pub fn new() -> SimVfs {
        SimVfs::on(Image::empty())
    }

    /// A machine that starts on what `image` holds, with an empty journal.
    pub fn on(image: Image) -> SimVfs {
        SimVfs { state: Arc::new(Mutex::new(State::new(image))), life: 0 }
    }

    /// The journal up to now.
    pub fn journal(&self) -> Journal {
        let state = self.state.lock();
        Journal::new(state.base.clone(), state.journal.clone())
    }

    /// Entries in the journal up to now.
    pub fn journal_len(&self) -> usize {
        self.state.lock().journal.len()
    }

    /// Writes a note into the journal, behind everything that has returned.
    pub fn journal_note(&self, tag: u64, payload: u64) {
        let mut state = self.state.lock();
        // SD2: what a dead program still says is not heard.
        if state.life == self.life {
            state.journal.push(Entry::Note(Note { tag, payload }));
        }
    }

    /// What the disk holds now, as a program sees it.
    pub fn image(&self) -> Image {
        self.state.lock().image()
    }

    /// Calls so far, reads and failed ones too.
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.inject(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Calls that a fault has struck so far.
    pub fn faults_struck(&self) -> u64 {
        self.state.lock().faults.struck()
    }

    /// Limits the space for file pages (4 KiB each) to `bytes`; without room writes answer ENOSPC. `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes that file pages take now.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// The process dies: from now on every call of older clones and handles fails, and locks are free. The disk it leaves
    /// behind, with all completed writes and the same journal, is returned.
    pub fn kill(&self) -> SimVfs {
        let mut state = self.state.lock();
        state.life += 1;
        for file in state.files.values_mut() {
            file.locked = false;
        }
        SimVfs { state: Arc::clone(&self.state), life: state.life }
    }

    /// Takes the lock and counts a call, unless the caller is dead (SD2).
    fn begin(&self, op: OpKind, path: &Path) -> io::Result<(MutexGuard<'_, State>, Option<FaultKind>)> {
        let mut state = self.state.lock();
        if state.life != self.life {
            return Err(io::Error::other("this process was killed"));
        }
        let fault = state.begin(op, path)?;
        Ok((state, fault))
    }
}

impl Default for SimVfs {
    fn default() -> SimVfs {
        SimVfs::new()
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let op = match mode {
            OpenMode::Read | OpenMode::ReadWrite => OpKind::Open,
            OpenMode::CreateNew | OpenMode::OpenOrCreate => OpKind::Create,
        };
        let (mut state, _) = self.begin(op, path)?;
        let file = state.open(path, mode)?;
        Ok(Arc::new(Handle { disk: self.clone(), file, path: path.to_owned(), writable: mode != OpenMode::Read }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(OpKind::CreateDir, path)?.0.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(OpKind::Rename, from)?.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.begin(OpKind::RemoveFile, path)?.0.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(OpKind::RemoveDir, path)?.0.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let (state, _) = self.begin(OpKind::List, path)?;
        Ok(state.names.list(state.names.dir(path)?))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, fault) = self.begin(OpKind::SyncDir, path)?;
        state.sync_dir(path, fault)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let (mut state, _) = self.begin(OpKind::Lock, path)?;
        let id = state.open(path, OpenMode::OpenOrCreate)?;
        let handle = Handle { disk: self.clone(), file: id, path: path.to_owned(), writable: true };
        let file = state.files.get_mut(&id).expect("SS1: just opened");
        if file.locked {
            // The handle gives itself back when it drops, and needs the lock of the disk for that.
            drop(state);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.locked = true;
        drop(state);
        Ok(Box::new(SimLock(handle)))
    }

    fn random_bytes(&self) -> io::Result<[u8; 16]> {
        let (mut state, _) = self.begin(OpKind::Random, Path::new(""))?;
        state.random_count += 1;
        Ok(hash::digest(&state.random_count.to_le_bytes()).to_le_bytes())
    }
}

/// An open file.
struct Handle {
    disk: SimVfs,
    file: FileId,
    path: PathBuf,
    writable: bool,
}

impl Handle {
    fn begin(&self, op: OpKind) -> io::Result<(MutexGuard<'_, State>, Option<FaultKind>)> {
        self.disk.begin(op, &self.path)
    }

    fn begin_change(&self, op: OpKind) -> io::Result<(MutexGuard<'_, State>, Option<FaultKind>)> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.begin(op)
    }
}

impl VfsFile for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut state, fault) = self.begin(OpKind::Read)?;
        Ok(state.read(self.file, buf, offset, fault))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut state, fault) = self.begin_change(OpKind::Write)?;
        state.write(self.file, bytes, offset, fault)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, fault) = self.begin(OpKind::SyncData)?;
        state.sync_data(self.file, fault)
    }

    fn len(&self) -> io::Result<u64> {
        let (mut state, _) = self.begin(OpKind::Len)?;
        Ok(state.len(self.file))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, _) = self.begin_change(OpKind::SetLen)?;
        state.set_len(self.file, len)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut state, fault) = self.begin_change(OpKind::WriteZeros)?;
        state.write_zeros(self.file, offset, len, fault)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut state, _) = self.begin_change(OpKind::Punch)?;
        state.punch(self.file, offset, len)
    }

    fn map(&self, offset: u64, len: u64) -> Option<Box<dyn Mapped>> {
        let range = offset..offset.checked_add(len)?;
        let mut state = self.disk.state.lock();
        if !self.writable || state.life != self.disk.life || len == 0 || range.end > state.len(self.file) {
            return None;
        }
        state.file(self.file).handles += 1;
        let handle = Handle { disk: self.disk.clone(), file: self.file, path: self.path.clone(), writable: true };
        Some(Box::new(SimMapped { handle, range }))
    }
}

/// A stretch of a file to store to.
struct SimMapped {
    handle: Handle,
    range: Range<u64>,
}

impl Mapped for SimMapped {
    fn store(&mut self, bytes: &[u8], offset: u64) {
        place_in(&self.range, offset, bytes.len());
        let mut state = self.handle.disk.state.lock();
        // SD2
        if state.life == self.handle.disk.life {
            state.store(self.handle.file, bytes, offset);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A dead program's handles still count: its files stay usable for nobody, but their numbers must not be reused.
        self.disk.state.lock().close(self.file);
    }
}

/// Holds a lock until dropped.
struct SimLock(Handle);

impl FileLock for SimLock {
    fn write_content(&self, content: &[u8]) -> io::Result<()> {
        let (mut state, fault) = self.0.begin_change(OpKind::Write)?;
        state.set_len(self.0.file, 0)?;
        state.write(self.0.file, content, 0, fault).map(drop)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.0.disk.state.lock();
        // SD2: a dead holder has lost its lock already, and somebody else may have it.
        if state.life == self.0.disk.life
            && let Some(file) = state.files.get_mut(&self.0.file)
        {
            file.locked = false;
        }
    }
}
