//! The running simulated disk behind its lock: what programs see, what was synced, space, locks and the journal.
//!
//! Every method is one call of the file system, executed whole. Faults have been drawn before (`mod.rs`); what they did to the
//! call is journalled as what happened, not as what was asked (SJ1).
//!
//! SS1  A file is forgotten when it has neither a name nor a handle.
//! SS2  `used` is the number of allocated pages of all files that are not forgotten, in bytes. Pages of zeros that an image
//!     was found with are not allocated.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::content::{FILE_BYTES_MAX, PAGE_BYTES};
use super::fault::{FaultKind, Faults, OpKind, OsError};
use super::file::SimFile;
use super::image::{FileId, Image};
use super::journal::Entry;
use crate::vfs::OpenMode;
use crate::vfs::names::{Names, Node};

pub(super) struct State {
    pub(super) names: Names<FileId>,
    pub(super) files: BTreeMap<FileId, SimFile>,
    next_file: FileId,
    /// Which [`super::SimVfs`] may still use the disk; see `kill`.
    pub(super) life: u64,
    /// Calls so far.
    pub(super) ops: u64,
    pub(super) faults: Faults,
    pub(super) capacity: Option<u64>,
    used: u64,
    pub(super) base: Image,
    pub(super) journal: Vec<Entry>,
    pub(super) random_count: u64,
}

impl State {
    pub(super) fn new(base: Image) -> State {
        let files: BTreeMap<_, _> = base.files.iter().map(|(id, content)| (*id, SimFile::new(content))).collect();
        State {
            names: base.names.clone(),
            next_file: files.keys().next_back().map_or(1, |last| last + 1),
            life: 0,
            ops: 0,
            faults: Faults::default(),
            capacity: None,
            used: files.values().map(SimFile::used).sum(),
            files,
            base,
            journal: Vec::new(),
            random_count: 0,
        }
    }

    /// Counts a call and draws its fault; the errors that need no more than that are answered here.
    pub(super) fn begin(&mut self, op: OpKind, path: &Path) -> io::Result<Option<FaultKind>> {
        self.ops += 1;
        match self.faults.draw(op, path) {
            Some(FaultKind::Error(error)) => Err(error.to_io()),
            other => Ok(other),
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn image(&self) -> Image {
        Image::build(self.names.clone(), |file| Arc::clone(&self.files[&file].seen))
    }

    /// Opens or creates; the file has one handle more.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<FileId> {
        let place = self.names.place(path)?;
        let found = match (self.names.file(&place), mode) {
            (Ok(Some(_)) | Err(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(None), OpenMode::Read | OpenMode::ReadWrite) => return Err(io::ErrorKind::NotFound.into()),
            (Ok(found), _) => found.copied(),
            (Err(error), _) => return Err(error),
        };
        let id = found.unwrap_or_else(|| {
            let file = self.next_file;
            self.next_file += 1;
            self.files.insert(file, SimFile::new(&Arc::default()));
            self.names.add_file(&place, file);
            self.journal.push(Entry::Create { place, file });
            file
        });
        self.file(id).handles += 1;
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let place = self.names.place(path).map_err(crate::vfs::mem::root_exists)?;
        let dir = self.names.add_dir(&place)?;
        self.journal.push(Entry::CreateDir { place, dir });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.names.place(from)?, self.names.place(to)?);
        if !self.names.check_rename(&from, &to)? {
            return Ok(());
        }
        let node = self.names.get(&from).expect("checked above").clone();
        let replaced = self.names.get(&to).cloned();
        self.names.rename(&from, &to)?;
        self.journal.push(Entry::Rename { from, to, node });
        if let Some(Node::File(file)) = replaced {
            self.unlink(file);
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let place = self.names.place(path)?;
        let file = self.names.remove_file(&place)?;
        self.journal.push(Entry::RemoveFile { place });
        self.unlink(file);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let place = self.names.place(path)?;
        self.names.remove_dir(&place)?;
        self.journal.push(Entry::RemoveDir { place });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path, fault: Option<FaultKind>) -> io::Result<()> {
        let dir = self.names.dir(path)?;
        if fault != Some(FaultKind::SyncLies) {
            self.journal.push(Entry::SyncDir { dir });
        }
        Ok(())
    }

    fn unlink(&mut self, file: FileId) {
        self.file(file).linked = false;
        self.forget_unused(file);
    }

    /// One handle less.
    pub(super) fn close(&mut self, file: FileId) {
        self.file(file).handles -= 1;
        self.forget_unused(file);
    }

    /// SS1.
    fn forget_unused(&mut self, id: FileId) {
        let file = self.file(id);
        if !file.linked && file.handles == 0 {
            let used = file.used();
            self.files.remove(&id);
            self.used -= used;
        }
    }

    pub(super) fn file(&mut self, id: FileId) -> &mut SimFile {
        self.files.get_mut(&id).expect("SS1: a file with a name or a handle is there")
    }

    pub(super) fn len(&mut self, id: FileId) -> u64 {
        self.file(id).seen.len()
    }

    pub(super) fn read(&mut self, id: FileId, buf: &mut [u8], offset: u64, fault: Option<FaultKind>) -> usize {
        let file = self.file(id);
        let count = match fault {
            Some(FaultKind::StaleRead) => file.stale().read(buf, offset),
            _ => file.seen.read(buf, offset),
        };
        match fault {
            Some(FaultKind::BitFlip(bit)) if count > 0 => {
                let bit = (bit % (count as u64 * 8)) as usize;
                buf[bit / 8] ^= 1 << (bit % 8);
                count
            }
            Some(FaultKind::ShortRead) => count.div_ceil(2),
            _ => count,
        }
    }

    pub(super) fn write(
        &mut self,
        id: FileId,
        bytes: &[u8],
        offset: u64,
        fault: Option<FaultKind>,
    ) -> io::Result<usize> {
        check_size(offset, bytes.len() as u64)?;
        let half = bytes.len().div_ceil(2);
        match fault {
            Some(FaultKind::LostWrite) => Ok(bytes.len()),
            Some(FaultKind::MisdirectedWrite(by)) => {
                let offset = offset.saturating_add_signed(by);
                check_size(offset, bytes.len() as u64)?;
                self.put(id, bytes, offset)
            }
            Some(FaultKind::ShortWrite) => self.put(id, &bytes[..half], offset),
            Some(FaultKind::PartialThenError(error)) => {
                self.put(id, &bytes[..half], offset)?;
                Err(error.to_io())
            }
            _ => self.put(id, bytes, offset),
        }
    }

    /// Stores to a mapped file, in two halves (SD1).
    pub(super) fn store(&mut self, id: FileId, bytes: &[u8], offset: u64) {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for (bytes, offset) in [(first, offset), (second, offset + first.len() as u64)] {
            let range = offset..offset + bytes.len() as u64;
            let file = self.file(id);
            assert!(file.bears_stores(range.clone()), "SD1: no call has written to {range:?} of file {id} of late");
            file.remember(range);
            Arc::make_mut(&mut file.seen).write(offset, bytes);
            self.journal.push(Entry::Write { file: id, offset, bytes: bytes.into() });
        }
    }

    /// Writes as much as there is room for.
    fn put(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = self.allocate(id, offset..offset + bytes.len() as u64)?;
        let bytes = &bytes[..(end - offset) as usize];
        let file = self.file(id);
        file.remember(offset..end);
        Arc::make_mut(&mut file.seen).write(offset, bytes);
        self.journal.push(Entry::Write { file: id, offset, bytes: bytes.into() });
        Ok(bytes.len())
    }

    pub(super) fn write_zeros(
        &mut self,
        id: FileId,
        offset: u64,
        len: u64,
        fault: Option<FaultKind>,
    ) -> io::Result<()> {
        check_size(offset, len)?;
        match fault {
            Some(FaultKind::PartialThenError(error)) => {
                self.put_zeros(id, offset..offset + len / 2)?;
                Err(error.to_io())
            }
            _ => self.put_zeros(id, offset..offset + len),
        }
    }

    fn put_zeros(&mut self, id: FileId, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let end = self.allocate(id, range.clone())?;
        let file = self.file(id);
        file.remember(range.start..end);
        let seen = Arc::make_mut(&mut file.seen);
        if end > seen.len() {
            seen.set_len(end);
        }
        seen.zero(range.start..end);
        self.journal.push(Entry::Zeros { file: id, offset: range.start, len: end - range.start });
        if end < range.end { Err(OsError::NoSpace.to_io()) } else { Ok(()) }
    }

    /// Takes space for `range`; where it ends. No room for a single byte is ENOSPC.
    fn allocate(&mut self, id: FileId, range: Range<u64>) -> io::Result<u64> {
        let before = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used));
        let mut room = before;
        let end = self.file(id).allocate(range.clone(), &mut room);
        self.used += before - room;
        if end <= range.start { Err(OsError::NoSpace.to_io()) } else { Ok(end) }
    }

    pub(super) fn set_len(&mut self, id: FileId, len: u64) -> io::Result<()> {
        check_size(0, len)?;
        let file = self.file(id);
        if file.seen.len() == len {
            return Ok(());
        }
        let freed = file.free(len..u64::MAX);
        file.previous.retain(|page, _| page * PAGE_BYTES < len);
        Arc::make_mut(&mut file.seen).set_len(len);
        self.used -= freed;
        self.journal.push(Entry::SetLen { file: id, len });
        Ok(())
    }

    pub(super) fn punch(&mut self, id: FileId, offset: u64, len: u64) -> io::Result<()> {
        check_size(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let file = self.file(id);
        let freed = file.free(offset..offset + len);
        Arc::make_mut(&mut file.seen).zero(offset..offset + len);
        self.used -= freed;
        self.journal.push(Entry::Punch { file: id, offset, len });
        Ok(())
    }

    pub(super) fn sync_data(&mut self, id: FileId, fault: Option<FaultKind>) -> io::Result<()> {
        let file = self.file(id);
        file.syncs += 1;
        match fault {
            Some(FaultKind::SyncLies) => Ok(()),
            Some(FaultKind::SyncDrops) => {
                let mut content = (*file.synced).clone();
                content.set_len(file.seen.len());
                file.seen = Arc::new(content);
                self.journal.push(Entry::Revert { file: id });
                Err(OsError::Io.to_io())
            }
            _ => {
                file.synced = Arc::clone(&file.seen);
                self.journal.push(Entry::SyncData { file: id });
                Ok(())
            }
        }
    }
}

fn check_size(offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(()),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}
