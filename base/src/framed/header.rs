//! The header of a framed file. Little-endian.
//!
//! On disk: File header (file-header.hex)
//!
//! ```text
//!   offset  size  field
//!        0     8  magic           what kind of file
//!        8     4  format          of that kind; this table is the same in all of them
//!       12     4  read_features   without knowing all of them the file cannot be read
//!       16     4  write_features  without knowing all of them it must not be written
//!       20    16  db_uuid
//!       36     4  ks_id           0: the database itself
//!       40     8  number          of the file among its like
//!       48    12  zero
//!       60     4  crc32 of bytes 0..60 (CRC-32/IEEE)
//! ```

use std::path::Path;

use crate::error::{Error, Result};
use crate::ids::DbUuid;

/// Bytes of an encoded header.
pub const FILE_HEADER_BYTES: usize = 64;

const CRC_OFFSET: usize = 60;

/// First bytes of every file of ours but the log's segments and the B-tree's superblocks, which carry the same fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What kind of file.
    pub magic: [u8; 8],
    /// Format number of that kind.
    pub format: u32,
    /// Features without which the file cannot be read.
    pub read_features: u32,
    /// Features without which it must not be written.
    pub write_features: u32,
    /// Which database.
    pub db_uuid: DbUuid,
    /// Which keyspace; zero: the database itself.
    pub ks_id: u32,
    /// Number of the file among its like.
    pub number: u64,
}

/// What a version of the engine knows: unknown read features are refused by name, unknown write features too (we open for writing).
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// What kind of file.
    pub magic: [u8; 8],
    /// Newest format number known.
    pub format: u32,
    /// Read features known.
    pub read_features: u32,
    /// Write features known.
    pub write_features: u32,
}

impl FileHeader {
    /// The header of a new file of the newest known format, without features.
    pub fn new(known: &Known, db_uuid: DbUuid, ks_id: u32, number: u64) -> FileHeader {
        let (magic, format) = (known.magic, known.format);
        FileHeader { magic, format, read_features: 0, write_features: 0, db_uuid, ks_id, number }
    }

    /// Encoded, with its checksum.
    ///
    /// ```
    /// use duramen_base::DbUuid;
    /// use duramen_base::framed::{FileHeader, Known};
    /// let known = Known { magic: *b"EXAMPLE\0", format: 1, read_features: 0, write_features: 0 };
    /// let header = FileHeader::new(&known, DbUuid::from_bytes([7; 16]), 3, 1);
    /// assert_eq!(FileHeader::decode(&header.encode(), "EXAMPLE-1".as_ref(), &known)?, header);
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&self.format.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.read_features.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.write_features.to_le_bytes());
        bytes[20..36].copy_from_slice(self.db_uuid.bytes());
        bytes[36..40].copy_from_slice(&self.ks_id.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes and checks magic, checksum, format and features; `path` is for the error. Total.
    ///
    /// # Errors
    /// `Corruption` for damage; `UnsupportedFormat`, naming the number, for a format or feature that `known` lacks.
    pub fn decode(bytes: &[u8], path: &Path, known: &Known) -> Result<FileHeader> {
        let damaged = |offset, what| Err(Error::corruption(path, offset, what));
        let Some(bytes) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
            return damaged(0, "the file is shorter than its header");
        };
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[0..8] != known.magic {
            return damaged(0, "not a file of this kind: the magic number differs");
        }
        if u32_at(CRC_OFFSET) != crc32fast::hash(&bytes[..CRC_OFFSET]) {
            return damaged(0, "the checksum of the file header does not match");
        }
        let unsupported =
            |what, found, known| Err(Error::UnsupportedFormat { file: path.to_path_buf(), what, found, known });
        let (format, read_features, write_features) = (u32_at(8), u32_at(12), u32_at(16));
        if format == 0 || format > known.format {
            return unsupported("format", format, known.format);
        }
        if read_features & !known.read_features != 0 {
            return unsupported("read features", read_features, known.read_features);
        }
        if write_features & !known.write_features != 0 {
            return unsupported("write features", write_features, known.write_features);
        }
        if bytes[48..CRC_OFFSET].iter().any(|&byte| byte != 0) {
            return damaged(48, "reserved bytes of the file header are in use");
        }
        let mut db_uuid = [0; 16];
        db_uuid.copy_from_slice(&bytes[20..36]);
        let number = u64::from(u32_at(40)) | u64::from(u32_at(44)) << 32;
        let (magic, db_uuid, ks_id) = (known.magic, DbUuid::from_bytes(db_uuid), u32_at(36));
        Ok(FileHeader { magic, format, read_features, write_features, db_uuid, ks_id, number })
    }
}
