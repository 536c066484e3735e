//! The file handle that all code above the seam uses: whole reads, whole writes, named errors.
//!
//! Not a cache and not a policy: a failed sync is reported, never repeated (V2).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Mapped, OpenMode, Vfs, VfsFile};
use crate::error::{Error, IoOp, Result};

/// An open file with its path. Cloning shares it.
///
/// ```
/// use duramen_base::vfs::{File, MemVfs, OpenMode};
/// let disk = MemVfs::new();
/// let file = File::open(&disk, "a".as_ref(), OpenMode::CreateNew)?;
/// file.write_all_at(b"heartwood", 0)?;
/// let mut head = [0; 5];
/// file.read_exact_at(&mut head, 0)?;
/// assert_eq!(&head, b"heart");
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone)]
pub struct File {
    inner: Arc<dyn VfsFile>,
    path: Arc<Path>,
}

impl File {
    /// Opens or creates `path` on `vfs`.
    pub fn open(vfs: &dyn Vfs, path: &Path, mode: OpenMode) -> Result<File> {
        let op = match mode {
            OpenMode::Read | OpenMode::ReadWrite => IoOp::Open,
            OpenMode::CreateNew | OpenMode::OpenOrCreate => IoOp::Create,
        };
        let inner = retry_interrupted(|| vfs.open(path, mode)).map_err(|source| Error::from_io(op, path, source))?;
        Ok(File { inner, path: path.into() })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buf` from `offset`. The end of the file before that is an [`Error::Corruption`]: the caller expected the bytes.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let got = self.read_up_to_at(buf, offset)?;
        if got < buf.len() {
            return Err(self.corruption(offset + got as u64, "the file ends before its content"));
        }
        Ok(())
    }

    /// `len` bytes from `offset`, in memory of their own. Otherwise as [`File::read_exact_at`].
    ///
    /// ```
    /// use duramen_base::vfs::{File, MemVfs, OpenMode};
    /// let file = File::open(&MemVfs::new(), "a".as_ref(), OpenMode::CreateNew)?;
    /// file.write_all_at(b"heartwood", 0)?;
    /// assert_eq!(file.read_exact_vec(5, 4)?, b"wood");
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn read_exact_vec(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let (at, rest) = (offset + bytes.len() as u64, len - bytes.len());
            let got = retry_interrupted(|| self.inner.append_at(&mut bytes, rest, at))
                .map_err(|source| self.io_error(IoOp::Read, source))?;
            if got == 0 {
                return Err(self.corruption(at, "the file ends before its content"));
            }
        }
        Ok(bytes)
    }

    /// See [`VfsFile::expect_random_reads`].
    ///
    /// ```
    /// use duramen_base::vfs::{File, MemVfs, OpenMode};
    /// let file = File::open(&MemVfs::new(), "a".as_ref(), OpenMode::CreateNew)?;
    /// file.expect_random_reads();
    /// file.expect_read(0, 4096);
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn expect_random_reads(&self) {
        self.inner.expect_random_reads();
    }

    /// See [`VfsFile::expect_read`].
    pub fn expect_read(&self, offset: u64, len: u64) {
        self.inner.expect_read(offset, len);
    }

    /// Reads from `offset` until `buf` is full or the file ends; the number of bytes read.
    pub fn read_up_to_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let got = retry_interrupted(|| self.inner.read_at(&mut buf[done..], offset + done as u64))
                .map_err(|source| self.io_error(IoOp::Read, source))?;
            if got == 0 {
                break;
            }
            done += got;
        }
        Ok(done)
    }

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let put = retry_interrupted(|| self.inner.write_at(&bytes[done..], offset + done as u64))
                .map_err(|source| self.io_error(IoOp::Write, source))?;
            if put == 0 {
                return Err(self.io_error(IoOp::Write, io::ErrorKind::WriteZero.into()));
            }
            done += put;
        }
        Ok(())
    }

    /// Makes content and size durable. After an error nobody knows what is on disk: do not ask again, poison.
    pub fn sync_data(&self) -> Result<()> {
        self.inner.sync_data().map_err(|source| self.io_error(IoOp::Sync, source))
    }

    /// Bytes in the file.
    pub fn len(&self) -> Result<u64> {
        self.inner.len().map_err(|source| self.io_error(IoOp::Stat, source))
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows the file to `len` bytes.
    pub fn set_len(&self, len: u64) -> Result<()> {
        retry_interrupted(|| self.inner.set_len(len)).map_err(|source| self.io_error(IoOp::Truncate, source))
    }

    /// Really writes zeros to `offset..offset + len`.
    pub fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        retry_interrupted(|| self.inner.write_zeros(offset, len))
            .map_err(|source| self.io_error(IoOp::Allocate, source))
    }

    /// See [`VfsFile::reserve_zeros`].
    ///
    /// ```
    /// use duramen_base::vfs::{File, MemVfs, OpenMode};
    /// let file = File::open(&MemVfs::new(), "a".as_ref(), OpenMode::CreateNew)?;
    /// file.reserve_zeros(0, 4096)?;
    /// assert_eq!(file.len()?, 4096);
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn reserve_zeros(&self, offset: u64, len: u64) -> Result<()> {
        retry_interrupted(|| self.inner.reserve_zeros(offset, len))
            .map_err(|source| self.io_error(IoOp::Allocate, source))
    }

    /// See [`VfsFile::map`].
    ///
    /// ```
    /// use duramen_base::vfs::{File, MemVfs, OpenMode};
    /// let file = File::open(&MemVfs::new(), "a".as_ref(), OpenMode::CreateNew)?;
    /// file.write_zeros(0, 4096)?;
    /// let mut mapped = file.map(0, 4096).expect("files in memory can be mapped");
    /// mapped.store(b"heart", 100);
    /// let mut found = [0; 5];
    /// file.read_exact_at(&mut found, 100)?;
    /// assert_eq!(&found, b"heart");
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn map(&self, offset: u64, len: u64) -> Option<Box<dyn Mapped>> {
        self.inner.map(offset, len)
    }

    /// Gives the space of `offset..offset + len` back.
    pub fn punch(&self, offset: u64, len: u64) -> Result<()> {
        retry_interrupted(|| self.inner.punch(offset, len)).map_err(|source| self.io_error(IoOp::Punch, source))
    }

    /// An [`Error::Corruption`] of this file.
    pub fn corruption(&self, offset: u64, what: &'static str) -> Error {
        Error::corruption(PathBuf::from(&*self.path), offset, what)
    }

    fn io_error(&self, op: IoOp, source: io::Error) -> Error {
        Error::from_io(op, PathBuf::from(&*self.path), source)
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

/// Repeats a call for as long as it answers `Interrupted`.
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
