//! A value file: `<n>.val`, a header and values one behind the other, each with who it is.
//!
//! On disk: Value file (value_file.hex)
//!
//! ```text
//!   value file := file header (magic DURVALUE, ks_id, number = n), entry*
//!
//!   entry: offset  size  field
//!               0     4  crc32  of bytes 4..20, continued from salt = crc32(db_uuid, ks_id u32)
//!               4     4  len    bytes of the value
//!               8     8  id     its number
//!              16     4  crc32  of the value
//!              20   len  the value
//! ```
//! The salt leaves the file's number out: an entry that moves to another file stays the same. Where entries begin says the manifest alone;
//! between those that it names lie others that nobody names (any more).
//!
//! VF1  A value is given out only if its head is right, says the id, length and checksum that the tree holds, and the bytes have that checksum.

use std::path::{Path, PathBuf};

use crate::error::{Error, IoOp, Result};
use crate::framed::{FILE_HEADER_BYTES, FileHeader, Known};
use crate::ids::{DbUuid, KeyspaceId};
use crate::value::Value;
use crate::values::LargeRef;
use crate::vfs::{File, OpenMode, Vfs};

/// What this version knows of value files. On disk. Never renumber.
const VALUES_KNOWN: Known = Known { magic: *b"DURVALUE", format: 1, read_features: 0, write_features: 0 };

/// Bytes of an entry before its value.
pub(super) const ENTRY_HEAD_BYTES: usize = 20;

/// The file of number `no`.
pub(super) fn file_name(no: u64) -> String {
    format!("{no}.val")
}

/// The number in the name of a value file, if it is exactly what [`file_name`] gives.
pub(super) fn file_no(name: &str) -> Option<u64> {
    let no = name.strip_suffix(".val")?.parse().ok()?;
    (file_name(no) == name).then_some(no)
}

/// Bytes of the entry of a value.
pub(super) fn entry_bytes(len: u32) -> u64 {
    ENTRY_HEAD_BYTES as u64 + u64::from(len)
}

/// Whose value files they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) db_uuid: DbUuid,
    pub(super) keyspace: KeyspaceId,
}

impl Owner {
    fn salt(self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.db_uuid.bytes());
        hasher.update(&self.keyspace.get().to_le_bytes());
        hasher.finalize()
    }

    /// The head of an entry.
    pub(super) fn encode_head(self, value: LargeRef) -> [u8; ENTRY_HEAD_BYTES] {
        let mut head = [0; ENTRY_HEAD_BYTES];
        head[4..8].copy_from_slice(&value.len.to_le_bytes());
        head[8..16].copy_from_slice(&value.id.to_le_bytes());
        head[16..20].copy_from_slice(&value.crc.to_le_bytes());
        let crc = self.head_crc(&head);
        head[0..4].copy_from_slice(&crc.to_le_bytes());
        head
    }

    fn head_crc(self, head: &[u8; ENTRY_HEAD_BYTES]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.salt());
        hasher.update(&head[4..]);
        hasher.finalize()
    }

    /// Whose value follows this head; `None`: no head of ours. Total.
    pub(super) fn decode_head(self, head: &[u8; ENTRY_HEAD_BYTES]) -> Option<LargeRef> {
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let id = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        (u32_at(0) == self.head_crc(head)).then_some(LargeRef { id, len: u32_at(4), crc: u32_at(16) })
    }

    /// Begins file `no` in `dir`, with nothing synced. One of that name that a crash left is replaced: nothing names it.
    pub(super) fn create(self, vfs: &dyn Vfs, dir: &Path, no: u64) -> Result<File> {
        let path = dir.join(file_name(no));
        match vfs.remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from_io(IoOp::Remove, path, error)),
        }
        let file = File::open(vfs, &path, OpenMode::CreateNew)?;
        let header = FileHeader::new(&VALUES_KNOWN, self.db_uuid, self.keyspace.get(), no);
        file.write_all_at(&header.encode(), 0)?;
        Ok(file)
    }

    /// Opens file `no` for reading.
    ///
    /// # Errors
    /// `Corruption`: missing, damaged, or another's; `UnsupportedFormat`; `Io`.
    pub(super) fn open(self, vfs: &dyn Vfs, dir: &Path, no: u64) -> Result<File> {
        let path = dir.join(file_name(no));
        let file = File::open(vfs, &path, OpenMode::Read).map_err(|error| match error {
            Error::Io { op: IoOp::Open, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                missing(path.clone())
            }
            other => other,
        })?;
        let header = read_header(&file)?;
        if (header.db_uuid, header.ks_id, header.number) != (self.db_uuid, self.keyspace.get(), no) {
            return Err(file.corruption(0, "a value file of another database, keyspace or number"));
        }
        Ok(file)
    }

    /// Reads the value at `offset`, which must be this one (VF1).
    pub(super) fn read(self, file: &File, offset: u64, value: LargeRef) -> Result<Value> {
        let mut head = [0; ENTRY_HEAD_BYTES];
        file.read_exact_at(&mut head, offset)?;
        if self.decode_head(&head) != Some(value) {
            return Err(file.corruption(offset, "a value is not the one that its key names"));
        }
        // A length that was checked: both the tree and the head say it.
        let bytes = file.read_exact_vec(offset + ENTRY_HEAD_BYTES as u64, value.len as usize)?;
        if crc32fast::hash(&bytes) != value.crc {
            return Err(file.corruption(offset, "the checksum of a value does not match"));
        }
        Ok(Value::from(bytes))
    }
}

/// What a value file says of itself.
pub(super) fn read_header(file: &File) -> Result<FileHeader> {
    let mut head = [0; FILE_HEADER_BYTES];
    file.read_exact_at(&mut head, 0)?;
    FileHeader::decode(&head, file.path(), &VALUES_KNOWN)
}

/// The error of a file that is named and not there.
fn missing(path: PathBuf) -> Error {
    Error::corruption(path, 0, "a value file that keys name is missing")
}
