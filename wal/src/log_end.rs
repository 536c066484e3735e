//! `LOG-END`: how far the log was durable, said in a file of its own.
//!
//! What is inside the log cannot tell that the end of it is gone as a whole: its last block with every record that knows of it, or its
//! last segment. This file can. It only ever says what is true for good, for durable bytes of the log are never taken back: so it needs no
//! word that takes it back, and an older version of it, or one that a crash left, is weaker evidence and never wrong.
//!
//! On disk: Log end (log_end.hex)
//!
//! ```text
//!   offset  size  field            two copies, at byte 0 and 4096 of the file, each alone in its 4 KiB block; little-endian
//!        0     8  magic            "DURALEND"
//!        8     4  format           1
//!       12     4  read_features    unknown bits: refuse
//!       16     4  write_features   unknown bits: refuse too
//!       20     4  zero
//!       24    16  db_uuid
//!       40     8  count            grows with each write; the larger one counts
//!       48     8  segment_no       this segment was opened: its header is durable
//!       56     8  end_lsn          the log was durable up to here
//!       64     4  crc32            CRC-32/IEEE of bytes 0..64
//! ```
//! A copy is valid if and only if magic and crc32 match.
//!
//! E1  What it says was true before it was written: the log is synced first.
//! E2  Of the two copies one is durable at any time; the other one is written, as often as one likes, until a sync makes the roles change.
//!     So any crash leaves a valid copy, and none is damage.
//! E3  It is written and synced when the log is created, opened and closed, and written, never synced, beside commits.

use std::path::Path;

use duramen_base::salvage::read_what_can_be;
use duramen_base::sync::Mutex;
use duramen_base::vfs::{File, OpenMode, Vfs};
use duramen_base::{DbUuid, Error, IoOp, Lsn, Result, mutant};

use crate::header::NUMBER_LIMIT;
use crate::record::{RECORD_ALIGN_BYTES, crc, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"DURALEND";
const FORMAT: u32 = 1;
const CRC_OFFSET: usize = 64;
/// Bytes of one copy.
const COPY_BYTES: usize = CRC_OFFSET + 4;
/// One copy has this much for itself, so that no single torn or lost block takes both.
const BLOCK_BYTES: u64 = 4096;

/// What is known of the end of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// This segment was opened.
    pub(crate) segment_no: u64,
    /// The log was durable up to here.
    pub(crate) end: Lsn,
}

/// Whether a note must be durable when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Synced,
    Unsynced,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct EndFile {
    file: File,
    db_uuid: DbUuid,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    noted: LogEnd,
    count: u64,
    /// The copy that is durable (E2).
    durable_copy: u64,
}

/// What one of the two blocks holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Absent,
    Valid { count: u64, end: LogEnd },
    Foreign,
    Unknown { what: &'static str, found: u32, known: u32 },
    Malformed,
}

impl EndFile {
    /// Makes the file of a new log, durably. One that an interrupted creation left is written over.
    pub(crate) fn create(vfs: &dyn Vfs, path: &Path, db_uuid: DbUuid, end: LogEnd) -> Result<()> {
        let file = File::open(vfs, path, OpenMode::OpenOrCreate)?;
        file.set_len(0)?;
        file.write_zeros(0, 2 * BLOCK_BYTES)?;
        for copy in 0..2 {
            file.write_all_at(&encode(db_uuid, copy, end), copy * BLOCK_BYTES)?;
        }
        file.sync_data()?;
        let parent = path.parent().unwrap_or(Path::new(""));
        vfs.sync_dir(parent).map_err(|source| Error::from_io(IoOp::SyncDir, parent, source))
    }

    /// Opens the file of a log that is there, and reads what it says.
    ///
    /// # Errors
    /// `Corruption` if it is missing, without a valid copy, or of another database; `UnsupportedFormat`.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, db_uuid: DbUuid) -> Result<EndFile> {
        let file = File::open(vfs, path, OpenMode::ReadWrite).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::corruption(path, 0, "the file is missing")
            }
            other => other,
        })?;
        let mut bytes = vec![0; BLOCK_BYTES as usize + COPY_BYTES];
        let got = file.read_up_to_at(&mut bytes, 0)?;
        let state = decode(&bytes[..got], db_uuid, path)?;
        Ok(EndFile { file, db_uuid, state: Mutex::new(state) })
    }

    /// What the file says, without opening it for more.
    ///
    /// # Errors
    /// As [`EndFile::open`].
    pub(crate) fn look(vfs: &dyn Vfs, path: &Path, db_uuid: DbUuid) -> Result<LogEnd> {
        let bytes = read_what_can_be(&File::open(vfs, path, OpenMode::Read)?, 0, BLOCK_BYTES as usize + COPY_BYTES);
        Ok(decode(&bytes, db_uuid, path)?.noted)
    }

    /// What it says.
    pub(crate) fn noted(&self) -> LogEnd {
        if mutant!("forget_log_end") {
            return LogEnd::default();
        }
        self.state.lock().noted
    }

    /// Says that the log was durable up to `end` (E1). Nothing is written if that was said already and need not be durable.
    pub(crate) fn note(&self, end: LogEnd, note: Note) -> Result<()> {
        let mut state = self.state.lock();
        if state.noted == end && note == Note::Unsynced {
            return Ok(());
        }
        let copy = 1 - state.durable_copy;
        let count = state.count + 1;
        self.file.write_all_at(&encode(self.db_uuid, count, end), copy * BLOCK_BYTES)?;
        (state.count, state.noted) = (count, end);
        if note == Note::Synced {
            self.file.sync_data()?;
            state.durable_copy = copy;
        }
        Ok(())
    }
}

fn encode(db_uuid: DbUuid, count: u64, end: LogEnd) -> [u8; COPY_BYTES] {
    let mut bytes = [0; COPY_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[24..40].copy_from_slice(db_uuid.bytes());
    for (index, number) in [count, end.segment_no, end.end.get()].into_iter().enumerate() {
        bytes[40 + 8 * index..48 + 8 * index].copy_from_slice(&number.to_le_bytes());
    }
    let crc = crc(&bytes[..CRC_OFFSET]);
    bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What the whole file says. Total.
fn decode(bytes: &[u8], db_uuid: DbUuid, path: &Path) -> Result<State> {
    let mut newest: Option<State> = None;
    for copy in 0..2 {
        let offset = copy * BLOCK_BYTES;
        let block = bytes.get(offset as usize..).unwrap_or_default();
        match decode_copy(block, db_uuid) {
            Copy::Absent => {}
            Copy::Valid { count, .. } if newest.is_some_and(|newest| newest.count >= count) => {}
            Copy::Valid { count, end } => newest = Some(State { noted: end, count, durable_copy: copy }),
            Copy::Foreign => return Err(Error::corruption(path, offset, "it is of another database")),
            Copy::Malformed => return Err(Error::corruption(path, offset, "the log ends at an impossible place")),
            Copy::Unknown { what, found, known } => {
                return Err(Error::UnsupportedFormat { file: path.into(), what, found, known });
            }
        }
    }
    newest.ok_or_else(|| Error::corruption(path, 0, "both copies of what is known of the log's end are damaged"))
}

fn decode_copy(block: &[u8], db_uuid: DbUuid) -> Copy {
    let Some(bytes) = block.first_chunk::<COPY_BYTES>() else { return Copy::Absent };
    if &bytes[..8] != MAGIC || u32_at(bytes, CRC_OFFSET) != crc(&bytes[..CRC_OFFSET]) {
        return Copy::Absent;
    }
    let fields = [("log end format", 8, FORMAT), ("log end read features", 12, 0), ("log end write features", 16, 0)];
    for (what, offset, known) in fields {
        let found = u32_at(bytes, offset);
        if found > known || (offset == 8 && found == 0) {
            return Copy::Unknown { what, found, known };
        }
    }
    if &bytes[24..40] != db_uuid.bytes() {
        return Copy::Foreign;
    }
    let [count, segment_no, end] = [40, 48, 56].map(|offset| u64_at(bytes, offset));
    let is_possible = [count, segment_no, end].into_iter().all(|number| number < NUMBER_LIMIT);
    if !is_possible || !end.is_multiple_of(RECORD_ALIGN_BYTES) {
        return Copy::Malformed;
    }
    Copy::Valid { count, end: LogEnd { segment_no, end: Lsn::new(end) } }
}

/// Whether `bytes` are such a file, for fuzzing; what it says is what is written for that.
#[cfg(feature = "testing")]
pub(crate) fn is_one(bytes: &[u8], db_uuid: DbUuid) -> bool {
    let Ok(state) = decode(bytes, db_uuid, Path::new("LOG-END")) else { return false };
    let copy = encode(db_uuid, state.count, state.noted);
    let at = (state.durable_copy * BLOCK_BYTES) as usize;
    assert_eq!(decode_copy(&copy, db_uuid), decode_copy(&bytes[at..], db_uuid));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use duramen_base::vfs::MemVfs;
    use duramen_base::vfs::sim::{CrashModel, Keep, SimVfs};
    use proptest::prelude::*;

    const UUID: DbUuid = DbUuid::from_bytes([0xd0; 16]);
    const PATH: &str = "LOG-END";

    fn end(number: u64) -> LogEnd {
        LogEnd { segment_no: number, end: Lsn::new(number * 8) }
    }

    fn open(vfs: &dyn Vfs) -> Result<EndFile> {
        EndFile::open(vfs, PATH.as_ref(), UUID)
    }

    fn created() -> MemVfs {
        let disk = MemVfs::new();
        EndFile::create(&disk, PATH.as_ref(), UUID, end(1)).unwrap();
        disk
    }

    fn overwrite(disk: &MemVfs, offset: u64, bytes: &[u8]) {
        File::open(disk, PATH.as_ref(), OpenMode::ReadWrite).unwrap().write_all_at(bytes, offset).unwrap();
    }

    #[test]
    fn a_log_end_has_these_bytes() {
        let pinned = duramen_base::golden::bytes(include_str!("../tests/golden/log_end.hex"));
        let noted = LogEnd { segment_no: 3, end: Lsn::new(0x1_2340) };
        assert_eq!(encode(UUID, 5, noted)[..], pinned);
        assert_eq!(decode_copy(&pinned, UUID), Copy::Valid { count: 5, end: noted });
    }

    #[test]
    fn the_newest_note_is_what_is_read() {
        let disk = created();
        assert_eq!(open(&disk).unwrap().noted(), end(1));
        for number in 2..6 {
            let file = open(&disk).unwrap();
            file.note(end(number), if number % 2 == 0 { Note::Synced } else { Note::Unsynced }).unwrap();
            assert_eq!(open(&disk).unwrap().noted(), end(number));
        }
    }

    #[test]
    fn either_copy_is_enough_and_none_is_damage() {
        for offset in [0, BLOCK_BYTES] {
            let disk = created();
            open(&disk).unwrap().note(end(2), Note::Synced).unwrap();
            overwrite(&disk, offset, &[0; BLOCK_BYTES as usize]);
            assert!([end(1), end(2)].contains(&open(&disk).unwrap().noted()));
            overwrite(&disk, BLOCK_BYTES - offset, &[0xee; COPY_BYTES]);
            assert!(matches!(open(&disk), Err(Error::Corruption { .. })));
        }
    }

    #[test]
    fn a_missing_or_foreign_file_is_damage() {
        assert!(matches!(open(&MemVfs::new()), Err(Error::Corruption { .. })));
        let other = EndFile::open(&created(), PATH.as_ref(), DbUuid::from_bytes([1; 16]));
        assert!(matches!(other, Err(Error::Corruption { .. })));
    }

    #[test]
    fn newer_formats_and_features_are_refused_by_name() {
        for offset in [8, 12, 16] {
            let mut bytes = encode(UUID, 9, end(1));
            bytes[offset] = 2;
            let crc = crc(&bytes[..CRC_OFFSET]);
            bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
            let disk = created();
            overwrite(&disk, 0, &bytes);
            assert!(matches!(open(&disk), Err(Error::UnsupportedFormat { found: 2, .. })), "offset {offset}");
        }
    }

    /// E2: with notes of both kinds, and openings between, a crash anywhere leaves the newest note that was synced, or a later one.
    #[test]
    fn a_crash_leaves_the_newest_synced_note_or_a_later_one() {
        let disk = SimVfs::new();
        EndFile::create(&disk, PATH.as_ref(), UUID, end(1)).unwrap();
        let (mut said, mut synced) = (1, vec![(disk.journal().len(), 1)]);
        for _ in 0..3 {
            let file = open(&disk).unwrap();
            for note in [Note::Synced, Note::Unsynced, Note::Unsynced, Note::Synced, Note::Unsynced] {
                said += 1;
                file.note(end(said), note).unwrap();
                if note == Note::Synced {
                    synced.push((disk.journal().len(), said));
                }
            }
        }
        let journal = disk.journal();
        for at in synced[0].0..=journal.len() {
            let least = synced.iter().rfind(|(entry, _)| *entry <= at).unwrap().1;
            for model in [CrashModel::Strict, CrashModel::Ext4Like] {
                for keep in Keep::each(at as u64, 8) {
                    let found = open(&SimVfs::on(journal.crash_at(at, model, keep, 512))).unwrap().noted();
                    assert!((least..=said).contains(&found.segment_no), "entry {at}, {model:?}, {keep:?}: {found:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = decode(&bytes, UUID, Path::new(PATH));
        }
    }
}
