//! The real file system, by the standard library and, for two calls, rustix.
//!
//! Not a policy: it does what is asked, once. Linux is the reference; other unixes work with the same calls (on macOS the
//! standard library's syncs are F_FULLFSYNC).
//!
//! VO1  Only regular files are opened: a pipe or device under one of our names is an error, not a hang.
//! VO2  `write_zeros` writes: blocks only reserved would change metadata again when they are first written.

#[cfg(not(unix))]
compile_error!("Duramen's file system seam is written for Linux and other unixes; see base/src/vfs/os.rs");

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read};
#[cfg(target_os = "linux")]
use std::num::NonZero;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::mapped::{Mapped, OsMapped};
use super::{DirEntry, FileLock, OpenMode, Vfs, VfsFile};

/// Bytes that `write_zeros` hands over at a time.
const ZEROS_BYTES: usize = 256 << 10;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// The file system of the machine.
///
/// ```
/// use duramen_base::vfs::{OpenMode, OsVfs, Vfs};
/// let missing = OsVfs.open("no such file".as_ref(), OpenMode::Read);
/// assert_eq!(missing.err().map(|error| error.kind()), Some(std::io::ErrorKind::NotFound));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

impl Vfs for OsVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(OsFile(open_regular(path, mode)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(or_here(path))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(or_here(path))?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = open_regular(path, OpenMode::OpenOrCreate)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn holder_name(&self) -> String {
        format!("process {}", std::process::id())
    }

    fn random_bytes(&self) -> io::Result<[u8; 16]> {
        random_bytes()
    }
}

/// Sixteen bytes from the system's generator.
pub(super) fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The parent of a relative name is the empty path, which the system does not know.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn open_regular(path: &Path, mode: OpenMode) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(mode != OpenMode::Read);
    match mode {
        OpenMode::Read | OpenMode::ReadWrite => {}
        OpenMode::CreateNew => drop(options.create_new(true)),
        OpenMode::OpenOrCreate => drop(options.create(true).truncate(false)),
    }
    // VO1: without this flag, opening a pipe waits for somebody at its other end. It means nothing to a regular file.
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// An open file.
struct OsFile(fs::File);

impl VfsFile for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn append_at(&self, bytes: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        let start = bytes.len();
        bytes.reserve(len);
        // The vector may have more room than was asked for.
        let got = rustix::io::pread(&self.0, rustix::buffer::spare_capacity(bytes), offset)?.min(len);
        bytes.truncate(start + got);
        Ok(got)
    }

    #[cfg(target_os = "linux")]
    fn expect_random_reads(&self) {
        // A hint that is not taken harms nobody; so below.
        let _ = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::Random);
    }

    #[cfg(target_os = "linux")]
    fn expect_read(&self, offset: u64, len: u64) {
        let _ = rustix::fs::fadvise(&self.0, offset, NonZero::new(len), rustix::fs::Advice::WillNeed);
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
        let mut at = offset;
        while at < end {
            let piece = (end - at).min(ZEROS_BYTES as u64);
            self.0.write_all_at(&ZEROS[..piece as usize], at)?;
            at += piece;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn reserve_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::ZERO_RANGE, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(offset, len),
            other => Ok(other?),
        }
    }

    fn map(&self, offset: u64, len: u64) -> Option<Box<dyn Mapped>> {
        Some(Box::new(OsMapped::of(&self.0, offset, len)?))
    }

    #[cfg(target_os = "linux")]
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        if len == 0 {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn punch(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Holds the lock of a file; the system takes it back when the file is closed, also by the death of the process.
struct OsLock(fs::File);

impl FileLock for OsLock {
    fn write_content(&self, content: &[u8]) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(content, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let lock = OsVfs.lock(&path).unwrap();
        lock.write_content(b"a longer content").unwrap();
        lock.write_content(b"pid 7").unwrap();
        assert_eq!(OsVfs.lock(&path).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert_eq!(fs::read(&path).unwrap(), b"pid 7");
        drop(lock);
        OsVfs.lock(&path).unwrap();
    }

    #[test]
    fn zeros_are_written_over_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsVfs.open(&dir.path().join("a"), OpenMode::CreateNew).unwrap();
        file.write_at(&[0xFF; 16], ZEROS_BYTES as u64).unwrap();
        file.write_zeros(3, ZEROS_BYTES as u64 + 5).unwrap();
        let mut tail = [1; 16];
        file.read_at(&mut tail, ZEROS_BYTES as u64).unwrap();
        assert_eq!(tail, [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn reserved_zeros_are_zeros_also_where_something_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsVfs.open(&dir.path().join("a"), OpenMode::CreateNew).unwrap();
        file.write_at(&[0xFF; 9000], 0).unwrap();
        file.reserve_zeros(3, 1 << 20).unwrap();
        file.reserve_zeros(0, 0).unwrap();
        assert_eq!(file.len().unwrap(), (1 << 20) + 3);
        let mut head = [1; 9003];
        assert_eq!(file.read_at(&mut head, 0).unwrap(), 9003);
        assert_eq!(head[..3], [0xFF; 3]);
        assert!(head[3..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_punched_range_reads_as_zeros_and_keeps_the_size() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsVfs.open(&dir.path().join("a"), OpenMode::CreateNew).unwrap();
        file.write_at(&[0xFF; 8192], 0).unwrap();
        file.punch(4096, 8192).unwrap();
        file.punch(0, 0).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        let mut last = [0; 1];
        file.read_at(&mut last, 4095).unwrap();
        assert_eq!(last, [0xFF]);
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = OsVfs.open(dir.path(), OpenMode::Read).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        assert!(OsVfs.open("/dev/null".as_ref(), OpenMode::ReadWrite).is_err());
    }

    #[test]
    fn what_is_appended_stands_behind_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsVfs.open(&dir.path().join("a"), OpenMode::CreateNew).unwrap();
        file.write_at(b"heartwood", 0).unwrap();
        let mut bytes = Vec::with_capacity(100);
        assert_eq!(file.append_at(&mut bytes, 5, 0).unwrap(), 5, "no more than asked for, whatever room there is");
        assert_eq!(file.append_at(&mut bytes, 0, 0).unwrap(), 0);
        assert_eq!(file.append_at(&mut bytes, 50, 5).unwrap(), 4);
        assert_eq!(file.append_at(&mut bytes, 50, 9).unwrap(), 0);
        assert_eq!(bytes, b"heartwood");
    }

    #[test]
    fn a_list_is_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["c", "a", "b"] {
            OsVfs.open(&dir.path().join(name), OpenMode::CreateNew).unwrap();
        }
        OsVfs.create_dir(&dir.path().join("aa")).unwrap();
        OsVfs.sync_dir(dir.path()).unwrap();
        let names: Vec<_> =
            OsVfs.list(dir.path()).unwrap().into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
        assert_eq!(names, [("a".into(), false), ("aa".into(), true), ("b".into(), false), ("c".into(), false)]);
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(OsVfs.random_bytes().unwrap(), OsVfs.random_bytes().unwrap());
    }
}
