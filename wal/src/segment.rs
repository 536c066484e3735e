//! The files of the log: their folder, their names, how they come, are used again and go.
//!
//! A file is *prepared* when it has its size, all of its space is set aside, and its name is durable; it becomes a *segment*
//! when records are placed in it, and is *opened* when both header copies are durable. A segment before opening holds no
//! record on disk. What may be removed is decided in `truncate.rs`.
//!
//! N1  The number in a name grows with every file and is never given to a second segment, not even for the same file.
//! N2  A prepared file holds no header of its own number, so recovery passes over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::vfs::{File, OpenMode, Vfs};
use duramen_base::{DbUuid, Error, IoOp, Lsn, Result, mutant};

use crate::header::{HEADER_BLOCK_BYTES, NUMBER_LIMIT, SEGMENT_HEADER_BYTES, SegmentHeader};

/// Digits of a file name: room for every u64.
const NAME_DIGITS: usize = 20;

/// A failure, sorted by what it does to the log.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing is known to be lost: the caller decides.
    Clean(Error),
    /// A sync failed: nobody knows what is on disk.
    Sync(Error),
}

/// How a new file comes to be zeros all through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// Every block is written: a block that is only set aside makes the sync of its first record write metadata too.
    Written,
    /// Space is set aside, at once: for who waits.
    Reserved,
}

/// The folder that holds the segments of one log.
#[derive(Clone)]
pub(crate) struct Folder {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    db_uuid: DbUuid,
}

/// A file that can become the next segment.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) no: u64,
    pub(crate) bytes: u64,
    pub(crate) file: File,
}

impl Prepared {
    /// Record bytes it has room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.bytes - SEGMENT_HEADER_BYTES
    }
}

/// A file of the chain.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: File,
    pub(crate) salt: u32,
    opened: AtomicBool,
}

impl Segment {
    /// A segment whose headers are on disk already, or are not.
    pub(crate) fn new(header: SegmentHeader, file: File, opened: bool) -> Segment {
        Segment { header, file, salt: header.salt(), opened: AtomicBool::new(opened) }
    }

    /// Whether both headers are durable.
    pub(crate) fn is_opened(&self) -> bool {
        // Acquire: pairs with the Release in `write_headers`.
        self.opened.load(Ordering::Acquire)
    }

    /// Byte of the file where the record at `lsn` stands.
    pub(crate) fn offset_of(&self, lsn: Lsn) -> u64 {
        debug_assert!(lsn >= self.header.first_lsn, "N1: {lsn} is in an earlier segment");
        SEGMENT_HEADER_BYTES + (lsn.get() - self.header.first_lsn.get())
    }

    /// Opens it: both copies written and synced (S1). The caller has synced the segment before (S2).
    pub(crate) fn write_headers(&self) -> Result<(), Trouble> {
        let block = self.header.encode();
        for copy in 0..2 {
            self.file.write_all_at(&block, copy * HEADER_BLOCK_BYTES as u64).map_err(Trouble::Clean)?;
        }
        self.file.sync_data().map_err(Trouble::Sync)?;
        // Release: who sees it opened may write records, which must come after the headers (S1).
        self.opened.store(true, Ordering::Release);
        Ok(())
    }
}

impl Folder {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, dir: PathBuf, db_uuid: DbUuid) -> Folder {
        Folder { vfs, dir, db_uuid }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn db_uuid(&self) -> DbUuid {
        self.db_uuid
    }

    pub(crate) fn path(&self, no: u64) -> PathBuf {
        path_in(&self.dir, no)
    }

    /// Creates the folder itself, durably; it may be there already.
    pub(crate) fn create_dir(&self) -> Result<()> {
        match self.vfs.create_dir(&self.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::from_io(IoOp::Create, &self.dir, source));
            }
            _ => {}
        }
        let parent = self.dir.parent().unwrap_or(Path::new(""));
        self.vfs.sync_dir(parent).map_err(|source| Error::from_io(IoOp::SyncDir, parent, source))
    }

    /// Numbers of all files named like a segment, ascending. Other names are not ours.
    pub(crate) fn list(&self) -> Result<Vec<u64>> {
        let entries = self.vfs.list(&self.dir).map_err(|source| Error::from_io(IoOp::List, &self.dir, source))?;
        let mut numbers: Vec<u64> =
            entries.iter().filter(|entry| !entry.is_dir).filter_map(|entry| number_of(&entry.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn open_to_read(&self, no: u64) -> Result<File> {
        File::open(&*self.vfs, &self.path(no), OpenMode::Read)
    }

    pub(crate) fn open(&self, no: u64) -> Result<File> {
        File::open(&*self.vfs, &self.path(no), OpenMode::ReadWrite)
    }

    /// Creates file `no`: zeros all through, then its content and its name are synced.
    pub(crate) fn create(&self, no: u64, bytes: u64, zeros: Zeros) -> Result<Prepared, Trouble> {
        let file = File::open(&*self.vfs, &self.path(no), OpenMode::OpenOrCreate).map_err(Trouble::Clean)?;
        let filled = match zeros {
            Zeros::Written => file.write_zeros(0, bytes),
            Zeros::Reserved => file.reserve_zeros(0, bytes),
        };
        let filled = filled.map_err(Trouble::Clean);
        filled.and_then(|()| file.sync_data().map_err(Trouble::Sync)).inspect_err(|_| {
            // A leftover does no harm (N2); removing it gives its space back at once.
            let _ = self.vfs.remove_file(&self.path(no));
        })?;
        if !mutant!("skip_dir_sync") {
            self.sync_dir().map_err(Trouble::Sync)?;
        }
        Ok(Prepared { no, bytes, file })
    }

    /// Gives a file that is needed no more a new number (N1), durably. Its old header and records have another number under their
    /// checksums, so none of them is ever taken for a new one.
    pub(crate) fn renumber(&self, old_no: u64, new_no: u64) -> Result<(), Trouble> {
        debug_assert!(new_no > old_no, "N1: {new_no} after {old_no}");
        let (path, to) = (self.path(old_no), self.path(new_no));
        if let Err(source) = self.vfs.rename(&path, &to) {
            return Err(Trouble::Clean(Error::Io { op: IoOp::Rename, path, source }));
        }
        self.sync_dir().map_err(Trouble::Sync)
    }

    /// A file that is there, as prepared.
    pub(crate) fn open_prepared(&self, no: u64, bytes: u64) -> Result<Prepared> {
        Ok(Prepared { no, bytes, file: self.open(no)? })
    }

    /// Removes a file, durably. One that is gone already is fine.
    pub(crate) fn remove(&self, no: u64) -> Result<(), Trouble> {
        let path = self.path(no);
        match self.vfs.remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Trouble::Clean(Error::Io { op: IoOp::Remove, path, source }));
            }
            _ => {}
        }
        self.sync_dir().map_err(Trouble::Sync)
    }

    pub(crate) fn sync_dir(&self) -> Result<()> {
        self.vfs.sync_dir(&self.dir).map_err(|source| Error::Io { op: IoOp::SyncDir, path: self.dir.clone(), source })
    }
}

/// The file of segment `no` in `dir`.
pub(crate) fn path_in(dir: &Path, no: u64) -> PathBuf {
    dir.join(format!("{no:0NAME_DIGITS$}"))
}

/// The number in a segment's name; `None` if this is not how we write names, or a number we never come to.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let ours = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    let number = ours.then(|| name.parse().ok()).flatten();
    number.filter(|&number| number < NUMBER_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen_base::vfs::MemVfs;

    fn folder() -> Folder {
        let folder = Folder::new(Arc::new(MemVfs::new()), PathBuf::from("log"), DbUuid::from_bytes([1; 16]));
        folder.create_dir().unwrap();
        folder
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let path = folder().path(42);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "00000000000000000042");
        assert_eq!(number_of(name), Some(42));
        for other in
            ["42", "0000000000000000004x", "+0000000000000000042", "99999999999999999999", "18446744073709551615", ""]
        {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_created_file_has_its_size_and_is_listed() {
        let folder = folder();
        let prepared = folder.create(7, 1 << 16, Zeros::Written).unwrap();
        assert_eq!(prepared.file.len().unwrap(), 1 << 16);
        assert_eq!(folder.list().unwrap(), [7]);
    }

    #[test]
    fn a_recycled_file_has_only_its_new_number() {
        let folder = folder();
        folder.create(7, 1 << 16, Zeros::Written).unwrap();
        folder.renumber(7, 9).unwrap();
        let prepared = folder.open_prepared(9, 1 << 16).unwrap();
        assert_eq!((prepared.no, folder.list().unwrap()), (9, vec![9]));
        folder.remove(9).unwrap();
        folder.remove(9).unwrap();
        assert!(folder.list().unwrap().is_empty());
    }
}
