//! A file system in memory: for databases that need no disk, and for tests that want a quick one.
//!
//! Nothing survives the process, so syncing does nothing. It is not the simulated disk: it never fails and never crashes
//! (see `sim/`). Bytes cost memory: a hole is stored as zeros.
//!
//! VM1  A file lives as long as its name or a handle of it.
//! VM2  A read sees a write of another thread whole or not at all.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::mapped::{Mapped, place_in};
use super::names::Names;
use super::{DirEntry, FileLock, OpenMode, Vfs, VfsFile, os};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

/// A file system in memory. Cloning shares it.
///
/// Its root (`/`, or the empty path) is there from the start.
///
/// ```
/// use duramen_base::vfs::{MemVfs, OpenMode, Vfs};
/// let disk = MemVfs::new();
/// disk.create_dir("grove".as_ref())?;
/// let file = disk.open("grove/oak".as_ref(), OpenMode::CreateNew)?;
/// file.write_at(b"acorn", 3)?;
/// assert_eq!(file.len()?, 8);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct MemVfs {
    names: Arc<Mutex<Names<Arc<MemFile>>>>,
    expected_bytes: Arc<AtomicU64>,
}

impl MemVfs {
    /// A file system with an empty root.
    pub fn new() -> MemVfs {
        MemVfs { names: Arc::new(Mutex::new(Names::new())), expected_bytes: Arc::default() }
    }

    /// How many bytes were said to be read soon, of all files. For tests of who says so.
    ///
    /// ```
    /// use duramen_base::vfs::{MemVfs, OpenMode, Vfs};
    /// let disk = MemVfs::new();
    /// disk.open("oak".as_ref(), OpenMode::CreateNew)?.expect_read(0, 4096);
    /// assert_eq!(disk.expected_bytes(), 4096);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn expected_bytes(&self) -> u64 {
        self.expected_bytes.load(Ordering::Relaxed)
    }

    /// The file at `path`; created if `mode` allows that.
    fn find(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<MemFile>> {
        let mut names = self.names.lock();
        let place = names.place(path)?;
        match (names.file(&place), mode) {
            (Ok(Some(_)) | Err(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(Some(file)), OpenMode::Read | OpenMode::ReadWrite | OpenMode::OpenOrCreate) => Ok(Arc::clone(file)),
            (Ok(None), OpenMode::Read | OpenMode::ReadWrite) => Err(io::ErrorKind::NotFound.into()),
            (Ok(None), OpenMode::CreateNew | OpenMode::OpenOrCreate) => {
                let file = Arc::new(MemFile::new());
                names.add_file(&place, Arc::clone(&file));
                Ok(file)
            }
            (Err(error), OpenMode::Read | OpenMode::ReadWrite | OpenMode::OpenOrCreate) => Err(error),
        }
    }
}

impl Default for MemVfs {
    fn default() -> MemVfs {
        MemVfs::new()
    }
}

impl Vfs for MemVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.find(path, mode)?;
        let expected_bytes = Arc::clone(&self.expected_bytes);
        Ok(Arc::new(MemHandle { file, writable: mode != OpenMode::Read, expected_bytes }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let place = names.place(path).map_err(root_exists)?;
        names.add_dir(&place).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let (from, to) = (names.place(from)?, names.place(to)?);
        names.rename(&from, &to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let place = names.place(path)?;
        names.remove_file(&place).map(drop)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let place = names.place(path)?;
        names.remove_dir(&place).map(drop)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.names.lock();
        Ok(names.list(names.dir(path)?))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.names.lock().dir(path).map(drop)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = self.find(path, OpenMode::OpenOrCreate)?;
        // Acquire: pairs with the Release in `MemLock::drop`; the lock's own file is all it protects here.
        if file.locked.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { file }))
    }

    fn random_bytes(&self) -> io::Result<[u8; 16]> {
        os::random_bytes()
    }
}

/// Creating the root is creating what exists.
pub(super) fn root_exists(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::IsADirectory { io::ErrorKind::AlreadyExists.into() } else { error }
}

/// The bytes of one file.
struct MemFile {
    bytes: RwLock<Vec<u8>>,
    locked: AtomicBool,
}

impl MemFile {
    fn new() -> MemFile {
        MemFile { bytes: RwLock::new(Vec::new()), locked: AtomicBool::new(false) }
    }
}

/// An open file.
struct MemHandle {
    file: Arc<MemFile>,
    writable: bool,
    expected_bytes: Arc<AtomicU64>,
}

impl MemHandle {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl VfsFile for MemHandle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.file.bytes.read();
        let tail = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
        let count = tail.len().min(buf.len());
        buf[..count].copy_from_slice(&tail[..count]);
        Ok(count)
    }

    fn expect_read(&self, _offset: u64, len: u64) {
        // Relaxed: a figure.
        self.expected_bytes.fetch_add(len, Ordering::Relaxed);
    }

    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        if new.is_empty() {
            return Ok(0);
        }
        let mut bytes = self.file.bytes.write();
        let (start, end) = span(offset, new.len() as u64)?;
        grow(&mut bytes, start)?;
        // A log appends: what lies beyond the end is copied there once, without being zeroed before.
        let inside = bytes.len().min(end) - start;
        bytes[start..start + inside].copy_from_slice(&new[..inside]);
        reserve(&mut bytes, end)?;
        bytes.extend_from_slice(&new[inside..]);
        Ok(new.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.bytes.read().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut bytes = self.file.bytes.write();
        let (_, end) = span(0, len)?;
        bytes.truncate(end);
        grow(&mut bytes, end)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        if len == 0 {
            return Ok(());
        }
        let mut bytes = self.file.bytes.write();
        let (start, end) = span(offset, len)?;
        grow(&mut bytes, end)?;
        bytes[start..end].fill(0);
        Ok(())
    }

    fn map(&self, offset: u64, len: u64) -> Option<Box<dyn Mapped>> {
        let range = offset..offset.checked_add(len)?;
        let is_there = self.writable && len > 0 && range.end <= self.file.bytes.read().len() as u64;
        is_there.then(|| -> Box<dyn Mapped> { Box::new(MemMapped { file: Arc::clone(&self.file), range }) })
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut bytes = self.file.bytes.write();
        let (start, end) = span(offset, len)?;
        let end = end.min(bytes.len());
        if start < end {
            bytes[start..end].fill(0);
        }
        Ok(())
    }
}

/// A stretch of a file to store to.
struct MemMapped {
    file: Arc<MemFile>,
    range: Range<u64>,
}

impl Mapped for MemMapped {
    fn store(&mut self, new: &[u8], offset: u64) {
        let start = self.range.start as usize + place_in(&self.range, offset, new.len());
        self.file.bytes.write()[start..start + new.len()].copy_from_slice(new);
    }
}

/// `offset..offset + len` as indexes.
fn span(offset: u64, len: u64) -> io::Result<(usize, usize)> {
    let end = offset.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
    let end = usize::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok((usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?, end))
}

/// Makes the file at least `end` long, with zeros.
fn grow(bytes: &mut Vec<u8>, end: usize) -> io::Result<()> {
    if end > bytes.len() {
        reserve(bytes, end)?;
        bytes.resize(end, 0);
    }
    Ok(())
}

/// Takes memory for `end` bytes; lack of it is an error, not the end of the process.
fn reserve(bytes: &mut Vec<u8>, end: usize) -> io::Result<()> {
    let more = end.saturating_sub(bytes.len());
    bytes.try_reserve(more).map_err(|_| io::ErrorKind::StorageFull.into())
}

/// Holds a lock until dropped.
struct MemLock {
    file: Arc<MemFile>,
}

impl FileLock for MemLock {
    fn write_content(&self, content: &[u8]) -> io::Result<()> {
        let mut bytes = self.file.bytes.write();
        bytes.clear();
        bytes.extend_from_slice(content);
        Ok(())
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `MemVfs::lock`.
        self.file.locked.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(file: &dyn VfsFile) -> Vec<u8> {
        let mut bytes = vec![0xEE; usize::try_from(file.len().unwrap()).unwrap() + 3];
        let count = file.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn handles_stay_usable_after_remove() {
        let disk = MemVfs::new();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        disk.remove_file("a".as_ref()).unwrap();
        file.write_at(b"still here", 0).unwrap();
        assert_eq!(read_all(&*file), b"still here");
        assert_eq!(
            disk.open("a".as_ref(), OpenMode::Read).err().map(|error| error.kind()),
            Some(io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn rename_replaces_and_the_replaced_file_lives_in_its_handles() {
        let disk = MemVfs::new();
        let old = disk.open("b".as_ref(), OpenMode::CreateNew).unwrap();
        old.write_at(b"old", 0).unwrap();
        let new = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        new.write_at(b"new", 0).unwrap();
        disk.rename("a".as_ref(), "b".as_ref()).unwrap();
        assert_eq!(read_all(&*disk.open("b".as_ref(), OpenMode::Read).unwrap()), b"new");
        assert_eq!(read_all(&*old), b"old");
        assert_eq!(disk.list("".as_ref()).unwrap().len(), 1);
    }

    #[test]
    fn a_file_is_locked_by_one_holder_at_a_time() {
        let disk = MemVfs::new();
        let lock = disk.lock("LOCK".as_ref()).unwrap();
        lock.write_content(b"pid 1, a long story").unwrap();
        lock.write_content(b"pid 1").unwrap();
        assert_eq!(disk.clone().lock("LOCK".as_ref()).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert_eq!(read_all(&*disk.open("LOCK".as_ref(), OpenMode::Read).unwrap()), b"pid 1");
        drop(lock);
        disk.lock("LOCK".as_ref()).unwrap();
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        let disk = MemVfs::new();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        assert!(file.set_len(u64::MAX).is_err());
        assert!(file.write_at(b"x", u64::MAX).is_err());
        assert!(file.write_zeros(1 << 62, 1).is_err());
        assert_eq!(file.len().unwrap(), 0);
    }

    #[test]
    fn writes_behind_the_end_leave_zeros_between() {
        let disk = MemVfs::new();
        let file = disk.open("a".as_ref(), OpenMode::CreateNew).unwrap();
        file.write_at(b"xy", 2).unwrap();
        file.write_at(b"abcd", 3).unwrap();
        assert_eq!(read_all(&*file), b"\0\0xabcd");
        file.punch(3, 100).unwrap();
        assert_eq!(read_all(&*file), b"\0\0x\0\0\0\0");
        file.set_len(2).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(read_all(&*file), b"\0\0\0\0");
    }
}
