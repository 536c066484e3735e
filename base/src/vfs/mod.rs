//! The seam to the file system: what the engine may ask of it, and nothing else.
//!
//! Two traits, [`Vfs`] and [`VfsFile`], that a disk implements (`os.rs` the real one, `mem.rs` memory, `sim/` the simulated
//! one), and [`File`], the handle all other code uses: it finishes short reads and writes, repeats interrupted calls, and
//! turns failures into [`Error`](crate::Error)s that name the file. [`PatientVfs`] repeats interrupted calls on names. Only this folder names an operating system.
//!
//! V1  What a crash may lose is exactly what was not synced: file bytes by `sync_data`, directory entries by `sync_dir`.
//! V2  A `sync_data` that failed is never repeated here; its caller decides (the log poisons itself).

mod file;
#[allow(unsafe_code)]
mod mapped;
mod mem;
#[cfg(not(duramen_apart))]
mod memory;
mod names;
mod os;
mod patient;
#[cfg(any(test, feature = "testing"))]
pub mod sim;

pub use file::File;
pub use mapped::Mapped;
pub use mem::MemVfs;
#[cfg(not(duramen_apart))]
pub(crate) use memory::map_memory;
pub use os::OsVfs;
pub use patient::PatientVfs;

use std::io;
use std::path::Path;
use std::sync::Arc;

/// How [`Vfs::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, for reading and writing; an existing one is an error (`AlreadyExists`).
    CreateNew,
    /// For reading and writing; created empty if it is not there, never cut.
    OpenOrCreate,
}

/// One entry of a directory.
///
/// ```
/// use duramen_base::vfs::{DirEntry, MemVfs, Vfs};
/// let disk = MemVfs::new();
/// disk.create_dir("grove".as_ref())?;
/// assert_eq!(disk.list("/".as_ref())?, [DirEntry { name: "grove".into(), is_dir: true }]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name; entries whose names are not Unicode are not ours and are not listed.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A file system. Paths are used as given; directories must exist before files are created in them.
///
/// ```
/// use duramen_base::vfs::{MemVfs, OpenMode, Vfs};
/// // How a file gets its content at once and for ever: under another name, synced, then renamed, then the directory synced.
/// fn publish(disk: &dyn Vfs) -> std::io::Result<()> {
///     let file = disk.open("new".as_ref(), OpenMode::CreateNew)?;
///     file.write_at(b"whole", 0)?;
///     file.sync_data()?;
///     disk.rename("new".as_ref(), "published".as_ref())?;
///     disk.sync_dir("".as_ref())
/// }
/// let disk = MemVfs::new();
/// publish(&disk)?;
/// disk.remove_file("published".as_ref())?;
/// disk.create_dir("empty".as_ref())?;
/// disk.remove_dir("empty".as_ref())?;
/// assert_ne!(disk.random_bytes()?, disk.random_bytes()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Vfs: Send + Sync + 'static {
    /// Opens or creates a file. A created file's name is durable only after [`Vfs::sync_dir`] of its directory.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;
    /// Creates one directory; its parents must exist. `AlreadyExists` if it does.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory, replacing a file at `to`. Atomic; durable after `sync_dir` of both directories.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; open handles stay usable. Durable after `sync_dir`.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Entries of a directory, sorted by name. `NotFound` if there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of a file (created if missing) without waiting: `WouldBlock` if another holder has it.
    /// Held until the guard drops or the process dies.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;
    /// What a holder of the lock may say about itself, for humans; the same in every run on a disk that is not real.
    fn holder_name(&self) -> String {
        String::from("a process on a disk in memory")
    }
    /// Sixteen random bytes, for the identity of a new database.
    fn random_bytes(&self) -> io::Result<[u8; 16]>;
}

/// Holds the lock of a file until dropped.
///
/// ```
/// use duramen_base::vfs::{MemVfs, Vfs};
/// let disk = MemVfs::new();
/// let held = disk.lock("LOCK".as_ref())?;
/// held.write_content(disk.holder_name().as_bytes())?;
/// assert_eq!(disk.lock("LOCK".as_ref()).err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait FileLock: Send + Sync {
    /// Replaces the content of the lock file (what the holder says of itself).
    fn write_content(&self, content: &[u8]) -> io::Result<()>;
}

/// An open file, shared between threads; every call names its offset, so there is no cursor to race for.
///
/// ```
/// use duramen_base::vfs::{MemVfs, OpenMode, Vfs};
/// let disk = MemVfs::new();
/// let file = disk.open("rings".as_ref(), OpenMode::OpenOrCreate)?;
/// file.write_zeros(0, 4096)?;
/// file.write_at(b"oak", 100)?;
/// file.punch(2048, 2048)?;
/// file.reserve_zeros(4096, 4096)?;
/// file.set_len(2048)?;
/// if let Some(mut mapped) = file.map(0, 1024) {
///     mapped.store(b"elm", 200); // written, without a call
/// }
/// file.expect_random_reads();
/// file.expect_read(0, 2048);
/// let mut found = [0; 3];
/// assert_eq!((file.read_at(&mut found, 100)?, &found), (3, b"oak"));
/// let mut more = Vec::from(*b"an ");
/// assert_eq!((file.append_at(&mut more, 3, 100)?, &more[..]), (3, &b"an oak"[..]));
/// assert!(file.len()? == 2048 && !file.is_empty()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait VfsFile: Send + Sync {
    /// Reads at `offset`; fewer bytes than asked is allowed, 0 means the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads at `offset` up to `len` bytes behind those in `bytes`, as [`VfsFile::read_at`] does; the room for them need not be filled with zeros before.
    fn append_at(&self, bytes: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let start = bytes.len();
        bytes.resize(start + len, 0);
        let got = self.read_at(&mut bytes[start..], offset);
        bytes.truncate(start + got.as_ref().map_or(0, |&got| got));
        got
    }
    /// Says that it will be read here and there, so that what was read tells nothing of what comes next. A hint, as [`VfsFile::expect_read`] is: it may
    /// change how long reads take, and nothing else.
    fn expect_random_reads(&self) {}
    /// Says that these bytes will be read soon.
    fn expect_read(&self, _offset: u64, _len: u64) {}
    /// Writes at `offset`; fewer bytes than given is allowed. Writing behind the end grows the file, zeros between.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes content and size durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or grows (with zeros, perhaps sparse) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Really writes zeros to `offset..offset + len`, so that later overwrites there change no metadata.
    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()>;
    /// As [`VfsFile::write_zeros`], but where a file system can note that a range is zeros, that is all: space is set aside, nothing is written, and the
    /// first write there changes metadata, which its sync has to write too.
    fn reserve_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeros(offset, len)
    }
    /// Maps `offset..offset + len`, which must be in the file, so that it can be written to without calls, beside calls; `None` where that cannot be done, or
    /// not safely. Only a page that a call has just written is to be stored to: there the call has met a lack of space or a failing device, and said so,
    /// where a store would end the process. The file must not become shorter meanwhile.
    fn map(&self, _offset: u64, _len: u64) -> Option<Box<dyn Mapped>> {
        None
    }
    /// Gives the space of `offset..offset + len` back; it reads as zeros. A file system that cannot does nothing.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
}
