//! The superblock: what a store durably is. Two copies, in units 0 and 1 of `tree.dat`, written in turns. Little-endian.
//!
//! On disk: Superblock (superblock.hex)
//!
//! ```text
//!   offset  size  field
//!        0     8  magic            "DUBTREE\0"
//!        8     4  format           1
//!       12     4  read features    unknown ones: refused
//!       16     4  write features   unknown ones: never opened for writing, so refused too
//!       20     4  ks_id
//!       24    16  db_uuid
//!       40     8  seq              grows by one each time; copy `seq % 2`
//!       48     8  ckpt_ts          every commit up to here is contained
//!       56     8  max_ts           newest commit that is contained, or claimed to be
//!       64     8  replay_lsn       0: not used yet, room for where replay may begin
//!       72     8  map root         entry of `map.rs`
//!       80     1  map levels       1..=5, 7 zero
//!       88     8  tombs page       entry of the first spill page of the range deletes; 0: they are inline
//!       96     4  tombs bytes      encoded list of `range_tombs.rs`, inline or spilled
//!      100     4  zero
//!      104     8  values no        the edit of the manifest of large values that belongs to it; 0: none was made
//!      112    16  zero
//!      128  3964  the list, if inline; then zero
//!     4092     4  crc32            of bytes 0..4092 (CRC-32/IEEE)
//! ```
//! A spill page is a page image of kind `Raw`, `self_id` its number counted from the end of the chain, body: u64 entry of the next
//! page (0: none), then a part of the list.
//!
//! Valid if and only if: (1) magic and crc32 match, (2) format and features are known, (3) every field is in its range.
//!
//! B3  The copy with the higher seq is the store. The other one is used only if that copy is damaged, which shows as a seq below the
//!     log's newest mark, so nothing is rolled back silently: `BTree::mark` tells the seq, the engine compares.

use std::path::Path;

use duramen_base::{DbUuid, Error, KeyspaceId, Result, Timestamp};

use crate::map::{DiskAddr, LEVELS_MAX};
use crate::units::{SUPERBLOCK_UNITS, UNIT_BYTES};

/// On disk. Never change.
pub(crate) const MAGIC: [u8; 8] = *b"DUBTREE\0";
/// Newest format known. On disk.
pub(crate) const FORMAT: u32 = 1;
/// Features known, to read and to write.
const READ_FEATURES: u32 = 0;
const WRITE_FEATURES: u32 = 0;

const INLINE_AT: usize = 128;
const CRC_AT: usize = UNIT_BYTES - 4;
/// Most bytes of a list of range deletes that is kept inline.
pub(crate) const INLINE_BYTES_MAX: usize = CRC_AT - INLINE_AT;
/// Most bytes of that list at all: a bound against damaged lengths.
const TOMBS_BYTES_MAX: u32 = 1 << 30;

/// The list of range deletes as the superblock has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TombsAt {
    Inline(Vec<u8>),
    Spilled { first: DiskAddr, bytes: u32 },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) db_uuid: DbUuid,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) seq: u64,
    pub(crate) ckpt_ts: Timestamp,
    pub(crate) max_ts: Timestamp,
    pub(crate) map_root: DiskAddr,
    pub(crate) map_levels: u8,
    pub(crate) tombs: TombsAt,
    /// The edit of the value manifest that belongs to it.
    pub(crate) values_no: u64,
}

/// What a unit that should hold a superblock holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    Valid(Box<Superblock>),
    /// Not one, or not whole: why.
    Damaged(&'static str),
}

/// Byte offset of the copy for `seq`.
pub(crate) fn offset_of(seq: u64) -> u64 {
    (seq % SUPERBLOCK_UNITS) * UNIT_BYTES as u64
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Superblock {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; UNIT_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &FORMAT.to_le_bytes());
        put(12, &READ_FEATURES.to_le_bytes());
        put(16, &WRITE_FEATURES.to_le_bytes());
        put(20, &self.keyspace.get().to_le_bytes());
        put(24, self.db_uuid.bytes());
        put(40, &self.seq.to_le_bytes());
        put(48, &self.ckpt_ts.get().to_le_bytes());
        put(56, &self.max_ts.get().to_le_bytes());
        put(72, &self.map_root.pack().to_le_bytes());
        put(80, &[self.map_levels]);
        let tombs_bytes = match &self.tombs {
            TombsAt::Inline(list) => {
                assert!(list.len() <= INLINE_BYTES_MAX, "a long list of range deletes is spilled");
                put(INLINE_AT, list);
                list.len() as u32
            }
            TombsAt::Spilled { first, bytes } => {
                put(88, &first.pack().to_le_bytes());
                *bytes
            }
        };
        put(96, &tombs_bytes.to_le_bytes());
        put(104, &self.values_no.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads one copy. A format or feature that is not known is an error even though another copy may be fine: it was written on purpose.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Copy> {
        if bytes.len() != UNIT_BYTES {
            return Ok(Copy::Damaged("the file ends before the superblocks do"));
        }
        if bytes[..8] != MAGIC {
            return Ok(Copy::Damaged("no superblock where one should be"));
        }
        if crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Ok(Copy::Damaged("the checksum of the superblock does not match"));
        }
        let refuse = |what, found, known| Error::UnsupportedFormat { file: path.into(), what, found, known };
        let (format, read, write) = (u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 16));
        if format == 0 || format > FORMAT {
            return Err(refuse("format of a B-tree file", format, FORMAT));
        }
        if read & !READ_FEATURES != 0 {
            return Err(refuse("read features of a B-tree file", read, READ_FEATURES));
        }
        if write & !WRITE_FEATURES != 0 {
            return Err(refuse("write features of a B-tree file", write, WRITE_FEATURES));
        }
        Ok(Superblock::fields(bytes).map_or(Copy::Damaged("a field of the superblock is out of range"), |superblock| {
            Copy::Valid(Box::new(superblock))
        }))
    }

    fn fields(bytes: &[u8]) -> Option<Superblock> {
        if ![72, 88].into_iter().all(|at| DiskAddr::is_entry(u64_at(bytes, at))) {
            return None;
        }
        let tombs_bytes = u32_at(bytes, 96);
        let tombs = match DiskAddr::unpack(u64_at(bytes, 88)) {
            None => TombsAt::Inline(bytes[INLINE_AT..CRC_AT].get(..tombs_bytes as usize)?.to_vec()),
            Some(first) if tombs_bytes <= TOMBS_BYTES_MAX => TombsAt::Spilled { first, bytes: tombs_bytes },
            Some(_) => return None,
        };
        let map_levels = bytes[80];
        let superblock = Superblock {
            db_uuid: DbUuid::from_bytes(bytes[24..40].try_into().expect("sixteen bytes")),
            keyspace: KeyspaceId::new(u32_at(bytes, 20)),
            seq: u64_at(bytes, 40),
            ckpt_ts: Timestamp::new(u64_at(bytes, 48)),
            max_ts: Timestamp::new(u64_at(bytes, 56)),
            map_root: DiskAddr::unpack(u64_at(bytes, 72))?,
            map_levels,
            tombs,
            values_no: u64_at(bytes, 104),
        };
        let in_range = (1..=LEVELS_MAX).contains(&usize::from(map_levels)) && superblock.ckpt_ts <= superblock.max_ts;
        in_range.then_some(superblock)
    }
}

#[cfg(test)]
mod tests;
