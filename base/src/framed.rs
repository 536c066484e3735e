//! Framed files: a checked header, then checksummed frames. Manifests and catalogs are such files.
//!
//! It knows frames, not what is in them, and it decides nothing: a damaged file is an error, a torn end is reported. The log has frames
//! of its own (`wal`), as it must find records without knowing where one begins.
//!
//! FR1  A frame is bound to its place: file, keyspace, database and offset seed its checksum, so bytes that belong elsewhere are never valid.
//! FR2  `end` is where the next frame goes. It moves only after a frame was written whole, so a failed append is written over.
//! FR3  A frame marked `SYNCED_BEFORE` was appended when everything before it was durable. So a bad frame with a marked one behind it
//!     cannot be an append that a crash cut short: it is damage.
//! FR4  What `open` gave to its caller is durable when `open` returns.
//!
//! Next: `framed/header.rs` and `framed/frame.rs` (the bytes), `framed/tail.rs` (torn or damaged), `framed/current.rs` (which file counts).

mod current;
mod frame;
mod header;
mod tail;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

pub use current::{read_current, switch_current};
pub use frame::FRAME_PAYLOAD_BYTES_MAX;
pub use header::{FILE_HEADER_BYTES, FileHeader, Known};

use crate::error::{Error, IoOp, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::vfs::{File, OpenMode, Vfs};
use frame::{FRAME_HEAD_BYTES, Salt};

/// What follows the last valid frame of a file.
///
/// ```
/// use duramen_base::framed::Tail;
/// assert_ne!(Tail::Clean, Tail::Torn { offset: 64 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or only zeros: the file ends where it should.
    Clean,
    /// Bytes that are no valid frame, and no frame behind them says that they were durable: appends that were not finished.
    Torn {
        /// Where they begin.
        offset: u64,
    },
}

/// Makes the checksums of the frames of a file right, for fuzzing. A length that runs over the end is cut; the dice may leave it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn reseal_frames(header: &FileHeader, bytes: &mut [u8], dice: u64) {
    let salt = Salt::of(header);
    let mut at = FILE_HEADER_BYTES;
    while let Some(room) = bytes.len().checked_sub(at + FRAME_HEAD_BYTES).filter(|&room| room > 0) {
        let len = u32::from_le_bytes(*bytes[at + 4..].first_chunk().expect("a frame's head is there")) as usize;
        if len > room && !dice.is_multiple_of(4) {
            bytes[at + 4..at + 8].copy_from_slice(&(room as u32).to_le_bytes());
        }
        let end = at + FRAME_HEAD_BYTES + len.min(room);
        let mut hasher = salt.at(at as u64);
        hasher.update(&bytes[at + 4..end]);
        bytes[at..at + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
        at = end;
    }
}

/// An append-only file of frames.
///
/// ```
/// use duramen_base::DbUuid;
/// use duramen_base::framed::{FileHeader, FramedFile, Known, Tail};
/// use duramen_base::vfs::MemVfs;
///
/// let disk = MemVfs::new();
/// let known = Known { magic: *b"EXAMPLE\0", format: 1, read_features: 0, write_features: 0 };
/// let header = FileHeader::new(&known, DbUuid::from_bytes([7; 16]), 0, 1);
/// let mut file = FramedFile::create(&disk, "EXAMPLE-1".as_ref(), &header)?;
/// file.append(1, b"heartwood")?;
/// file.sync()?;
///
/// let mut seen = Vec::new();
/// let (_, _, tail) = FramedFile::open(&disk, "EXAMPLE-1".as_ref(), &known, |kind, payload| {
///     seen.push((kind, payload.to_vec()));
///     Ok(())
/// })?;
/// assert_eq!((seen, tail), (vec![(1, b"heartwood".to_vec())], Tail::Clean));
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Debug)]
pub struct FramedFile {
    file: File,
    salt: Salt,
    end: u64,
    /// Bytes known durable. Only says how the next frame is marked (FR3), so it guards no other memory.
    synced_end: AtomicU64,
}

/// What reading a whole file tells.
struct Scanned {
    header: FileHeader,
    /// Behind the last frame.
    end: u64,
    file_bytes: u64,
    tail: Tail,
}

fn scan(file: &File, path: &Path, known: &Known, each: &mut dyn FnMut(u8, &[u8]) -> Result<()>) -> Result<Scanned> {
    let mut head = [0; FILE_HEADER_BYTES];
    file.read_exact_at(&mut head, 0)?;
    let header = FileHeader::decode(&head, path, known)?;
    let (salt, file_bytes) = (Salt::of(&header), file.len()?);
    let (mut end, mut frame) = (FILE_HEADER_BYTES as u64, Vec::new());
    while let Some((kind, payload)) = frame::read(file, salt, end, file_bytes, &mut frame)? {
        each(kind, payload)?;
        end += (FRAME_HEAD_BYTES + payload.len()) as u64;
    }
    let tail = tail::classify(file, salt, end, file_bytes)?;
    Ok(Scanned { header, end, file_bytes, tail })
}

impl FramedFile {
    /// Creates the file with its header. Nothing is synced, neither the file nor its name.
    ///
    /// A file of this name that is there already is replaced: a crash while creating may have left one. So a number is given to a new file
    /// only while nothing durable names an older one with it.
    pub fn create(vfs: &dyn Vfs, path: &Path, header: &FileHeader) -> Result<FramedFile> {
        match vfs.remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from_io(IoOp::Remove, path, error)),
        }
        let file = File::open(vfs, path, OpenMode::CreateNew)?;
        file.write_all_at(&header.encode(), 0)?;
        Ok(FramedFile { file, salt: Salt::of(header), end: FILE_HEADER_BYTES as u64, synced_end: AtomicU64::new(0) })
    }

    /// Opens a file for appending, checks its header, and gives every frame (kind, payload) to `each`.
    ///
    /// A bad frame before durable ones is `Corruption`. A torn end is reported and cut off. When this returns, everything that `each` saw
    /// is durable: a process that was killed may have left frames that only the operating system knew of.
    ///
    /// # Errors
    /// `Io` with `NotFound` if there is no such file; `UnsupportedFormat`; `Corruption`; what `each` returns.
    pub fn open(
        vfs: &dyn Vfs,
        path: &Path,
        known: &Known,
        mut each: impl FnMut(u8, &[u8]) -> Result<()>,
    ) -> Result<(FramedFile, FileHeader, Tail)> {
        let file = File::open(vfs, path, OpenMode::ReadWrite)?;
        let Scanned { header, end, file_bytes, tail } = scan(&file, path, known, &mut each)?;
        if file_bytes > end {
            file.set_len(end)?;
        }
        file.sync_data()?;
        Ok((FramedFile { file, salt: Salt::of(&header), end, synced_end: AtomicU64::new(end) }, header, tail))
    }

    /// Gives every frame to `each` and writes nothing, not even to cut a torn end off: for files that are not to be gone on with.
    ///
    /// # Errors
    /// As [`FramedFile::open`].
    pub fn read(
        vfs: &dyn Vfs,
        path: &Path,
        known: &Known,
        mut each: impl FnMut(u8, &[u8]) -> Result<()>,
    ) -> Result<(FileHeader, Tail)> {
        let file = File::open(vfs, path, OpenMode::Read)?;
        let Scanned { header, tail, .. } = scan(&file, path, known, &mut each)?;
        Ok((header, tail))
    }

    /// Appends a frame. `kind` is 1 to 127. It is durable after the next [`FramedFile::sync`]; frames between two syncs survive a crash as
    /// a prefix.
    ///
    /// On error nothing counts as appended and the next append writes over it; a crash before that may leave the frame valid in the file.
    ///
    /// # Errors
    /// `InvalidArgument` for a payload that is empty or over [`FRAME_PAYLOAD_BYTES_MAX`]; `DiskFull` and `Io`.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        // Relaxed: `&mut self` orders it after every `sync`.
        let synced_before = self.synced_end.load(Ordering::Relaxed) == self.end;
        let frame = frame::encode(self.salt, self.end, kind, synced_before, payload)?;
        self.file.write_all_at(&frame, self.end)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Makes all appended frames durable (the file's name needs [`Vfs::sync_dir`]). After an error the file must not be used any more.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data()?;
        self.synced_end.store(self.end, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of header and frames.
    #[allow(clippy::len_without_is_empty)] // There is always a header.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}
