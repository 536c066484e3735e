//! The footer of a table: its last 4 KiB. Little-endian.
//!
//! On disk: Table (1.sst.hex, 1.sst.counted.hex, 3.sst.frozen.hex)
//! ```text
//!   offset  size  field
//!        0    64  file header: magic, format, features, db_uuid, ks_id, table number (as at the start of the file)
//!       64    16  handle of the top index
//!       80    16  handle of the properties (`props.rs`), which hold the key range: keys may be longer than a footer
//!       96     8  min_ts  of any version or range tombstone; zero if a version has no timestamp
//!      104     8  max_ts
//!      112     8  file_bytes, footer included
//!      120    16  uuid of this table
//!      136  3956  zero
//!     4092     4  crc32 of bytes 0..4092 (CRC-32/IEEE); the manifest holds it too
//! ```
//! Valid if and only if (1) the file has the length that the manifest holds, (2) the crc matches itself and the manifest, (3) header and
//! `file_bytes` are what the manifest says.

use std::path::Path;

use duramen_base::framed::{FILE_HEADER_BYTES, FileHeader, Known};
use duramen_base::{Error, Result, Timestamp};

use super::index::{HANDLE_BYTES, Handle};

/// Bytes of a footer.
pub(crate) const FOOTER_BYTES: usize = 4096;

const CRC_OFFSET: usize = FOOTER_BYTES - 4;
const FIELDS_END: usize = 136;

/// What this version knows of tables. On disk. Never renumber.
pub(crate) const TABLE_KNOWN: Known =
    Known { magic: *b"DURTABLE", format: 1, read_features: PACKED, write_features: 0 };
/// Read feature: data blocks may be packed (`packing.rs`).
pub(crate) const PACKED: u32 = 1;

/// A footer in the machine's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) header: FileHeader,
    pub(crate) top: Handle,
    pub(crate) props: Handle,
    pub(crate) min_ts: Timestamp,
    pub(crate) max_ts: Timestamp,
    pub(crate) file_bytes: u64,
    pub(crate) uuid: [u8; 16],
}

impl Footer {
    /// Encoded, with its checksum.
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        bytes[0..FILE_HEADER_BYTES].copy_from_slice(&self.header.encode());
        bytes[64..80].copy_from_slice(&self.top.encode());
        bytes[80..96].copy_from_slice(&self.props.encode());
        bytes[96..104].copy_from_slice(&self.min_ts.get().to_le_bytes());
        bytes[104..112].copy_from_slice(&self.max_ts.get().to_le_bytes());
        bytes[112..120].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[120..136].copy_from_slice(&self.uuid);
        let crc = crc32fast::hash(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes and checks what can be checked without the manifest; `at` and `path` are for the error. Total.
    pub(crate) fn decode(bytes: &[u8; FOOTER_BYTES], path: &Path, at: u64) -> Result<Footer> {
        let damaged = |offset: usize, what| Err(Error::corruption(path, at + offset as u64, what));
        if stored_crc(bytes) != crc32fast::hash(&bytes[..CRC_OFFSET]) {
            return damaged(CRC_OFFSET, "the checksum of the table footer does not match");
        }
        let header = FileHeader::decode(&bytes[..FILE_HEADER_BYTES], path, &TABLE_KNOWN)?;
        if bytes[FIELDS_END..CRC_OFFSET].iter().any(|&byte| byte != 0) {
            return damaged(FIELDS_END, "reserved bytes of the table footer are in use");
        }
        let handle_at = |offset: usize| Handle::decode(bytes[offset..].first_chunk().expect("inside the footer"));
        let u64_at = |offset: usize| u64::from_le_bytes(*bytes[offset..].first_chunk().expect("inside the footer"));
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[120..136]);
        Ok(Footer {
            header,
            top: handle_at(64),
            props: handle_at(64 + HANDLE_BYTES),
            min_ts: Timestamp::new(u64_at(96)),
            max_ts: Timestamp::new(u64_at(104)),
            file_bytes: u64_at(112),
            uuid,
        })
    }
}

/// The checksum that a footer carries.
pub(crate) fn stored_crc(bytes: &[u8; FOOTER_BYTES]) -> u32 {
    u32::from_le_bytes(*bytes[CRC_OFFSET..].first_chunk().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen_base::DbUuid;

    fn sample() -> Footer {
        Footer {
            header: FileHeader::new(&TABLE_KNOWN, DbUuid::from_bytes([0xab; 16]), 7, 9),
            top: Handle { offset: 0x1000, len: 0x200, crc: 0x0102_0304, is_packed: false },
            props: Handle { offset: 0x1200, len: 0x100, crc: 0x0506_0708, is_packed: false },
            min_ts: Timestamp::new(3),
            max_ts: Timestamp::new(0x1122),
            file_bytes: 0x2300,
            uuid: [0xcd; 16],
        }
    }

    #[test]
    fn a_footer_has_these_bytes() {
        let bytes = sample().encode();
        let mut golden = Vec::new();
        golden.extend_from_slice(b"DURTABLE\x01\0\0\0\0\0\0\0\0\0\0\0");
        golden.extend_from_slice(&[0xab; 16]);
        golden.extend_from_slice(&[7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend_from_slice(&[0; 12]);
        golden.extend_from_slice(&crc32fast::hash(&golden).to_le_bytes());
        golden.extend_from_slice(&[0, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 4, 3, 2, 1]);
        golden.extend_from_slice(&[0, 0x12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 8, 7, 6, 5]);
        golden.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0]);
        golden.extend_from_slice(&[0, 0x23, 0, 0, 0, 0, 0, 0]);
        golden.extend_from_slice(&[0xcd; 16]);
        assert_eq!(bytes[..FIELDS_END], golden[..]);
        assert_eq!(crc32fast::hash(&bytes), 0x2144_df1c, "the residue of a crc-32 behind its data");
        assert_eq!(Footer::decode(&bytes, "t".as_ref(), 0).expect("whole"), sample());
    }

    #[test]
    fn any_changed_bit_is_found() {
        let bytes = sample().encode();
        for bit in 0..FOOTER_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Footer::decode(&changed, "t".as_ref(), 0), Err(Error::Corruption { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_format_from_later_is_refused_by_name() {
        let mut footer = sample();
        footer.header.format = 2;
        let error = Footer::decode(&footer.encode(), "t".as_ref(), 0).expect_err("unknown");
        assert!(matches!(error, Error::UnsupportedFormat { what: "format", found: 2, known: 1, .. }), "{error}");
        footer.header.format = 1;
        footer.header.read_features = 4;
        let error = Footer::decode(&footer.encode(), "t".as_ref(), 0).expect_err("unknown");
        assert!(matches!(error, Error::UnsupportedFormat { what: "read features", found: 4, .. }), "{error}");
    }
}
