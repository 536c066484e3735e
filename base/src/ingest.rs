//! Sorted ingest, as engine and stores speak of it: where the pairs come from, what was built of them, and what the log says of it.
//!
//! A store builds its own files bottom-up from the pairs, durable but attached to nothing, with a *list* of what it built. The log's record names
//! the list. Attaching is then an apply like any other: no I/O, and at recovery it is repeated from the record.
//!
//! On disk: Ingest record (ingest_record.hex)
//!
//! ```text
//!   offset  size  field
//!        0     4  ks_id
//!        4     4  digest    crc32 of the body of the list
//!        8     8  number    the list is the file `INGEST-<number>` in the folder of the keyspace
//!       16     8  bytes     of the body
//! ```
//!
//! On disk: Ingest list (ingest_list.2.hex, ingest_list.hex)
//!
//! A file header with the magic `DURAINGL`, then the body: `places` as in the manifest of values (since format 2), then the backend's part.
//!
//! IG1  Before the record is in the log, everything that it leads to is durable: what was built, the list, and their names.
//! IG2  What was built and is not named by a record is dropped with its [`BuiltIngest`], or by the first upkeep after the next opening.
//! IG3  The list stays until a durable superblock or manifest edit holds what it names; from then on `persisted` is at or above its commit.
//!      So a record above `persisted` always finds its list, and one at or below it is never looked at.

use std::any::Any;
use std::path::{Path, PathBuf};

use crate::backend::StoreEnv;
use crate::error::{Error, IoOp, Result};
use crate::framed::{FILE_HEADER_BYTES, FileHeader, Known};
use crate::ids::{DbUuid, KeyspaceId};
use crate::salvage::StoreFiles;
use crate::values::ValueChanges;
use crate::vfs::{File, OpenMode};

/// Bytes of an encoded [`IngestRecord`].
pub const INGEST_RECORD_BYTES: usize = 24;

/// What this version knows of lists. On disk. Never renumber.
const LIST_KNOWN: Known = Known { magic: *b"DURAINGL", format: 2, read_features: 0, write_features: 0 };

/// Gives pairs of key and value, keys strictly ascending and both within the limits: whoever builds on it need not look.
pub trait SortedSource {
    /// The next pair; `None`: that was all.
    ///
    /// # Errors
    /// What the source of the pairs says; whoever builds gives up and passes it on.
    fn next_pair(&mut self) -> Result<Option<(&[u8], &[u8])>>;
}

/// What a record of the log says of an ingest.
///
/// ```
/// use duramen_base::KeyspaceId;
/// use duramen_base::ingest::IngestRecord;
/// let record = IngestRecord { keyspace: KeyspaceId::new(3), digest: 4, number: 5, bytes: 6 };
/// assert_eq!(IngestRecord::decode(&record.encode()), Some(record));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestRecord {
    /// Into which keyspace.
    pub keyspace: KeyspaceId,
    /// crc32 of the body of the list.
    pub digest: u32,
    /// Number of the list.
    pub number: u64,
    /// Bytes of its body.
    pub bytes: u64,
}

impl IngestRecord {
    /// Encoded.
    pub fn encode(&self) -> [u8; INGEST_RECORD_BYTES] {
        let mut bytes = [0; INGEST_RECORD_BYTES];
        bytes[0..4].copy_from_slice(&self.keyspace.get().to_le_bytes());
        bytes[4..8].copy_from_slice(&self.digest.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    /// Decodes; `None` if it is none. Total.
    pub fn decode(bytes: &[u8]) -> Option<IngestRecord> {
        let bytes: &[u8; INGEST_RECORD_BYTES] = bytes.try_into().ok()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let keyspace = Some(u32_at(0)).filter(|&id| id > 0).map(KeyspaceId::new)?;
        Some(IngestRecord { keyspace, digest: u32_at(4), number: u64_at(8), bytes: u64_at(16) })
    }
}

/// Something built and durable that no commit names yet. Dropping it gives everything back (IG2).
pub struct BuiltIngest {
    /// What the log is to say.
    pub record: IngestRecord,
    /// The store's own part of it.
    pub token: Box<dyn Any + Send>,
}

impl std::fmt::Debug for BuiltIngest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuiltIngest").field("record", &self.record).finish_non_exhaustive()
    }
}

/// The file of list `number`.
pub fn list_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("INGEST-{number}"))
}

/// The number in a list's name, if it is exactly what [`list_path`] gives.
pub fn list_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("INGEST-")?.parse().ok()?;
    (format!("INGEST-{number}") == name).then_some(number)
}

/// The bytes of a list: the large values that the ingest adds, and the backend's part.
///
/// ```
/// use duramen_base::ingest::{decode_list, encode_list};
/// use duramen_base::{DbUuid, KeyspaceId, values::ValueChanges};
/// let bytes = encode_list(DbUuid::from_bytes([7; 16]), KeyspaceId::new(3), 5, &ValueChanges::default(), b"part");
/// let (header, values, part) = decode_list("INGEST-5".as_ref(), &bytes)?;
/// assert!((header.number, &part[..]) == (5, b"part") && values.is_empty());
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub fn encode_list(db_uuid: DbUuid, keyspace: KeyspaceId, number: u64, values: &ValueChanges, part: &[u8]) -> Vec<u8> {
    let mut bytes = FileHeader::new(&LIST_KNOWN, db_uuid, keyspace.get(), number).encode().to_vec();
    values.encode_added(&mut bytes);
    bytes.extend_from_slice(part);
    bytes
}

/// What the bytes of a list say. Total.
///
/// # Errors
/// `Corruption`, `UnsupportedFormat`; `path` is for these.
pub fn decode_list(path: &Path, bytes: &[u8]) -> Result<(FileHeader, ValueChanges, Vec<u8>)> {
    let damaged = |offset, what| Error::corruption(path, offset, what);
    let (head, mut body) =
        bytes.split_first_chunk().ok_or_else(|| damaged(0, "a list of an ingest without a header"))?;
    let head: &[u8; FILE_HEADER_BYTES] = head;
    let header = FileHeader::decode(head, path, &LIST_KNOWN)?;
    let values = match header.format {
        0 | 1 => Some(ValueChanges::default()),
        _ => ValueChanges::take_added(&mut body),
    };
    let values = values.ok_or_else(|| damaged(FILE_HEADER_BYTES as u64, "the large values of an ingest are none"))?;
    Ok((header, values, body.to_vec()))
}

/// Writes list `number` and syncs it; its name needs a sync of the folder. A file of that name that a crash left is replaced.
///
/// # Errors
/// `DiskFull`, `Io`: there may be a file to be removed.
pub fn write_list(env: &StoreEnv, number: u64, values: &ValueChanges, part: &[u8]) -> Result<IngestRecord> {
    let path = list_path(&env.dir, number);
    match env.vfs.remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::from_io(IoOp::Remove, path, error)),
    }
    let file = File::open(&*env.vfs, &path, OpenMode::CreateNew)?;
    let bytes = encode_list(env.db_uuid, env.keyspace, number, values, part);
    file.write_all_at(&bytes, 0)?;
    file.sync_data()?;
    let body = &bytes[FILE_HEADER_BYTES..];
    let digest = crc32fast::hash(body);
    Ok(IngestRecord { keyspace: env.keyspace, digest, number, bytes: body.len() as u64 })
}

/// The list that `record` names: its large values, and the backend's part.
///
/// # Errors
/// `Corruption`: missing, damaged, or another's; `UnsupportedFormat`; `Io`.
pub fn read_list(files: &StoreFiles<'_>, record: &IngestRecord) -> Result<(ValueChanges, Vec<u8>)> {
    let path = list_path(files.dir, record.number);
    let file = File::open(files.vfs, &path, OpenMode::Read).map_err(|error| match error {
        Error::Io { op: IoOp::Open, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::corruption(&path, 0, "the list of an ingest that the log names is missing")
        }
        other => other,
    })?;
    if file.len()? != (FILE_HEADER_BYTES as u64).saturating_add(record.bytes) {
        return Err(file.corruption(0, "the list of an ingest has not the length that the log says"));
    }
    let mut bytes = vec![0; FILE_HEADER_BYTES + record.bytes as usize];
    file.read_exact_at(&mut bytes, 0)?;
    if crc32fast::hash(&bytes[FILE_HEADER_BYTES..]) != record.digest {
        return Err(
            file.corruption(FILE_HEADER_BYTES as u64, "the list of an ingest is not the one that the log names")
        );
    }
    let (header, values, part) = decode_list(&path, &bytes)?;
    if !files.is_ours(header.db_uuid) || header.ks_id != files.keyspace.get() || header.number != record.number {
        return Err(file.corruption(0, "the list of an ingest of another database, keyspace or number"));
    }
    Ok((values, part))
}
