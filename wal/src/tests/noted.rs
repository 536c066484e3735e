//! A disk in memory that notes how it is used, and whose syncs may wait for something.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use duramen_base::vfs::{DirEntry, FileLock, Mapped, MemVfs, OpenMode, Vfs, VfsFile};

/// What was asked of the disk.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) largest_read: AtomicU64,
    pub(super) read: AtomicU64,
    pub(super) zeros_written: AtomicU64,
    pub(super) zeros_reserved: AtomicU64,
    pub(super) mapped: AtomicU64,
}

impl Notes {
    /// What `number` is, which begins again at zero.
    pub(super) fn take(number: &AtomicU64) -> u64 {
        number.swap(0, Ordering::SeqCst)
    }
}

type BeforeSync = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(super) struct NotedDisk {
    disk: MemVfs,
    pub(super) notes: Arc<Notes>,
    before_sync: Option<BeforeSync>,
}

impl NotedDisk {
    /// One whose syncs call that first.
    pub(super) fn before_each_sync(call: impl Fn() + Send + Sync + 'static) -> NotedDisk {
        NotedDisk { before_sync: Some(Arc::new(call)), ..NotedDisk::default() }
    }
}

impl Vfs for NotedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(NotedFile { file, notes: Arc::clone(&self.notes), before_sync: self.before_sync.clone() }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.disk.lock(path)
    }
    fn random_bytes(&self) -> io::Result<[u8; 16]> {
        self.disk.random_bytes()
    }
}

struct NotedFile {
    file: Arc<dyn VfsFile>,
    notes: Arc<Notes>,
    before_sync: Option<BeforeSync>,
}

impl VfsFile for NotedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.notes.largest_read.fetch_max(buf.len() as u64, Ordering::SeqCst);
        self.notes.read.fetch_add(buf.len() as u64, Ordering::SeqCst);
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if let Some(call) = &self.before_sync {
            call();
        }
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        self.notes.zeros_written.fetch_add(len, Ordering::SeqCst);
        self.file.write_zeros(offset, len)
    }
    fn reserve_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        self.notes.zeros_reserved.fetch_add(len, Ordering::SeqCst);
        self.file.reserve_zeros(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)
    }
    fn map(&self, offset: u64, len: u64) -> Option<Box<dyn Mapped>> {
        self.notes.mapped.fetch_add(len, Ordering::SeqCst);
        self.file.map(offset, len)
    }
}
