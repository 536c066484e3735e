//! Reading what can be read of a damaged log: every commit that is whole, whatever lies between them. Nothing is written.
//!
//! Records identify themselves (F1), so behind damage the next one is found by looking for it.
//!
//! Z3  A log without damage gives what opening it would give: its torn tail is cut in the same way.
//! Z4  Behind damage, commits are given that build on others which are lost. Each stretch of missing commits is told.
//! Z5  A segment is read piece by piece, and behind damage a few times at most: what it takes grows neither with segments nor with what is damaged.

use std::path::Path;
use std::sync::Arc;

use duramen_base::salvage::{Loss, Pieces, read_what_can_be};
use duramen_base::vfs::{File, OpenMode, Vfs};
use duramen_base::{DbUuid, Lsn, Result, Timestamp, mutant};

use crate::big::{Batches, Closed, Last, PART_HEAD_BYTES, PartHead, Piece};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader, salt};
use crate::log_end::{EndFile, LogEnd};
use crate::mark::MarkSet;
use crate::record::{RECORD_ALIGN_BYTES, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RecordKind};
use crate::scan::{Area, Read, Record, Tail};
use crate::segment::{Folder, number_of, path_in};

/// What a salvage finds in a log.
#[derive(Debug)]
pub enum Salvaged<'a> {
    /// No commit below this one is in the log any more. Comes first, if it is known.
    Begins(Timestamp),
    /// A commit, with its whole payload. In order of timestamps.
    Commit(Timestamp, &'a [u8]),
    /// A commit whose content lies in files, with what names them.
    Ingest(Timestamp, &'a [u8]),
    /// The payload of a `KsEvent`.
    Event(&'a [u8]),
    /// What the log knew of the files of stores. Later ones count more.
    Marks(&'a MarkSet),
    /// Something could not be read.
    Lost(Loss),
}

/// The database that the log in `dir` belongs to, as its newest readable segment says.
///
/// ```
/// use duramen_base::vfs::MemVfs;
/// assert_eq!(duramen_wal::owner_of_log(&MemVfs::new(), "log".as_ref()), None);
/// ```
pub fn owner_of_log(vfs: &dyn Vfs, dir: &Path) -> Option<DbUuid> {
    let entries = vfs.list(dir).ok()?;
    let mut numbers: Vec<u64> = entries.iter().filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    numbers.iter().rev().find_map(|&no| Some(own_header(vfs, &path_in(dir, no), no)?.db_uuid))
}

/// The header of segment `no`, of whatever database.
fn own_header(vfs: &dyn Vfs, path: &Path, no: u64) -> Option<SegmentHeader> {
    let file = File::open(vfs, path, OpenMode::Read).ok()?;
    SegmentHeader::decode_own(&read_what_can_be(&file, 0, SEGMENT_HEADER_BYTES as usize), no)
}

/// Gives every whole commit of the log in `dir`, and what is missing, to `each`. `end_path` is the file that says how far the log was durable.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::{DbUuid, Timestamp, clock::SystemClock, vfs::MemVfs};
/// # use duramen_wal::{Salvaged, Wal, WalConfig};
/// # let (disk, clock, uuid) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()), DbUuid::from_bytes([7; 16]));
/// # let wal = Wal::create(WalConfig::new(disk.clone(), "log", clock, uuid, Arc::new(())))?;
/// let placed = wal.stage(b"a batch")?.place_commit(Timestamp::new(1));
/// wal.sync_through(placed.end)?;
/// drop(wal);
/// let mut commits = Vec::new();
/// duramen_wal::salvage(disk, "log".as_ref(), "LOG-END".as_ref(), uuid, &mut |found| {
///     if let Salvaged::Commit(ts, payload) = found {
///         commits.push((ts, payload.to_vec()));
///     }
///     Ok(())
/// })?;
/// assert_eq!(commits, [(Timestamp::new(1), b"a batch".to_vec())]);
/// # Ok::<(), duramen_base::Error>(())
/// ```
///
/// # Errors
/// Those of `each`, no others.
pub fn salvage(
    vfs: Arc<dyn Vfs>,
    dir: &Path,
    end_path: &Path,
    db_uuid: DbUuid,
    each: &mut dyn FnMut(Salvaged<'_>) -> Result<()>,
) -> Result<()> {
    let folder = Folder::new(Arc::clone(&vfs), dir.to_owned(), db_uuid);
    let numbers = match folder.list() {
        Ok(numbers) => numbers,
        Err(error) => return each(Salvaged::Lost(Loss::of(&error, dir, 0))),
    };
    // Files behind it stand by for later, and hold nothing.
    let newest = numbers.iter().rev().copied().find(|&no| own_header(&*vfs, &folder.path(no), no).is_some());
    let mut reading = Reading {
        folder: &folder,
        files: Vec::new(),
        batches: Batches::default(),
        start: None,
        end: LogEnd::default(),
        last_ts: None,
        batch: Vec::new(),
        each,
    };
    numbers.iter().try_for_each(|&no| reading.segment(no, Some(no) == newest))?;
    reading.compare(end_path, EndFile::look(&*vfs, end_path, db_uuid))
}

/// The way through the segments.
struct Reading<'a> {
    folder: &'a Folder,
    /// Those that held records, for the parts of big commits.
    files: Vec<File>,
    batches: Batches,
    /// Where the kept log begins.
    start: Option<Lsn>,
    /// The last segment that held records, and where they end.
    end: LogEnd,
    last_ts: Option<Timestamp>,
    batch: Vec<u8>,
    each: &'a mut dyn FnMut(Salvaged<'_>) -> Result<()>,
}

impl Reading<'_> {
    fn lost(&mut self, path: &Path, offset: u64, what: impl Into<String>) -> Result<()> {
        (self.each)(Salvaged::Lost(Loss::new(path, offset, what)))
    }

    fn segment(&mut self, no: u64, is_newest: bool) -> Result<()> {
        let path = self.folder.path(no);
        let file = match self.folder.open_to_read(no) {
            Ok(file) => file,
            Err(error) => return (self.each)(Salvaged::Lost(Loss::of(&error, &path, 0))),
        };
        let blocks = read_what_can_be(&file, 0, SEGMENT_HEADER_BYTES as usize);
        let records_bytes = file.len().unwrap_or(0).saturating_sub(SEGMENT_HEADER_BYTES);
        let salt = salt(self.folder.db_uuid(), no);
        let header = SegmentHeader::decode(&blocks, no, self.folder.db_uuid(), &path);
        let first_lsn = match &header {
            Ok(Some(header)) => header.first_lsn,
            // Without a header of its own number a file holds no records; unless the header is what was damaged.
            Ok(None) | Err(_) => match first_lsn_of(&file, records_bytes, salt) {
                Some(first_lsn) => {
                    self.lost(&path, 0, "the header of a log segment; its records are read without it")?;
                    first_lsn
                }
                None => {
                    return match header {
                        Err(error) => (self.each)(Salvaged::Lost(Loss::of(&error, &path, 0))),
                        Ok(_) => Ok(()),
                    };
                }
            },
        };
        if self.start.is_none() {
            self.start = Some(first_lsn);
            if let Ok(Some(header)) = header {
                self.last_ts = Some(header.first_ts.prev());
                (self.each)(Salvaged::Begins(header.first_ts))?;
            }
        }
        self.end = LogEnd { segment_no: no, end: self.end.end.max(first_lsn) };
        self.files.push(file.clone());
        let mut records =
            Records { pieces: Pieces::of(&file), first_lsn, end: first_lsn.plus(records_bytes), salt, is_torn: false };
        self.records(&mut records, &path, is_newest)
    }

    fn records(&mut self, records: &mut Records<'_>, path: &Path, is_newest: bool) -> Result<()> {
        let (mut lsn, end) = (records.first_lsn, records.end);
        while lsn < end {
            let offset = records.offset_of(lsn);
            let what = match records.at(lsn, RECORD_BYTES_MAX).read(lsn) {
                Read::Record(record) => {
                    self.record(&record, path, offset)?;
                    lsn = record.header.end();
                    self.end.end = lsn;
                    continue;
                }
                Read::Bad(what) | Read::Malformed(what) | Read::Unknown { what, .. } => what,
            };
            // Z3: also in an older segment, which ends where the next begins.
            let is_torn = records.is_torn(lsn);
            if is_torn && is_newest {
                break;
            }
            let next = records.next_record(lsn);
            if is_torn && next.is_none() {
                break;
            }
            let until = match next {
                Some(_) => "the next whole one is found behind it",
                None => "nothing whole lies behind it",
            };
            lsn = next.unwrap_or(end);
            self.lost(path, offset, format!("{what}; {until}"))?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>, path: &Path, offset: u64) -> Result<()> {
        let header = &record.header;
        if header.kind.has_ts() {
            let expected = self.last_ts.map(Timestamp::next);
            if expected.is_some_and(|expected| expected < header.commit_ts) {
                let missing = expected.unwrap_or_default();
                self.lost(path, offset, format!("the commits {missing} to {} are missing", header.commit_ts.prev()))?;
            }
            self.last_ts = Some(header.commit_ts);
        }
        let place = Piece {
            segment_index: self.files.len() - 1,
            offset: offset + RECORD_HEADER_BYTES as u64,
            bytes: record.payload.len(),
        };
        match header.kind {
            RecordKind::Commit => (self.each)(Salvaged::Commit(header.commit_ts, record.payload)),
            RecordKind::KsEvent => (self.each)(Salvaged::Event(record.payload)),
            RecordKind::CommitPart => {
                if let Some((head, piece)) = PartHead::decode(record.payload) {
                    // A batch with a part missing is told of at its end.
                    let _ = self.batches.part(header.lsn, head, piece, place);
                }
                Ok(())
            }
            RecordKind::CommitLast => self.big_commit(record, path, offset),
            RecordKind::CkptMark => match MarkSet::decode(record.payload) {
                Some(marks) => (self.each)(Salvaged::Marks(&marks)),
                None => Ok(()),
            },
            RecordKind::Noop | RecordKind::CleanShutdown => Ok(()),
            RecordKind::Ingest => (self.each)(Salvaged::Ingest(header.commit_ts, record.payload)),
            RecordKind::Prepare | RecordKind::CommitPrepared | RecordKind::AbortPrepared => Ok(()),
        }
    }

    /// What `LOG-END` knows of the log's end is there.
    fn compare(&mut self, end_path: &Path, known: Result<LogEnd>) -> Result<()> {
        let dir = self.folder.dir().to_owned();
        let read = self.end;
        match known {
            Ok(known) if known.segment_no > read.segment_no => {
                self.lost(&self.folder.path(known.segment_no), 0, "the newest segment of the log is missing")
            }
            Ok(known) if known.end > read.end => {
                self.lost(&dir, read.end.get(), "the log ends before where it was durable, as LOG-END says")
            }
            Ok(_) => Ok(()),
            Err(error) => {
                let mut loss = Loss::of(&error, end_path, 0);
                loss.what.push_str(": whether the end of the log is missing cannot be told");
                (self.each)(Salvaged::Lost(loss))
            }
        }
    }

    fn big_commit(&mut self, record: &Record<'_>, path: &Path, offset: u64) -> Result<()> {
        let closed = Last::decode(record.payload)
            .ok_or("the last record of a commit that is none")
            .and_then(|last| self.batches.last(last, self.start.unwrap_or(Lsn::ZERO)));
        let pieces = match closed {
            Ok(Closed::Whole { pieces, .. }) => pieces,
            // Every store has it.
            Ok(Closed::BeforeTheLog) => return Ok(()),
            Err(what) => return self.lost(path, offset, format!("commit {}: {what}", record.header.commit_ts)),
        };
        self.batch.clear();
        for piece in &pieces {
            let (start, place) = (self.batch.len(), piece.offset + PART_HEAD_BYTES as u64);
            self.batch.resize(start + piece.bytes - PART_HEAD_BYTES, 0);
            if let Err(error) = self.files[piece.segment_index].read_exact_at(&mut self.batch[start..], place) {
                return (self.each)(Salvaged::Lost(Loss::of(&error, path, offset)));
            }
        }
        (self.each)(Salvaged::Commit(record.header.commit_ts, &self.batch))
    }
}

/// The records of one segment (Z5).
struct Records<'f> {
    pieces: Pieces<'f>,
    first_lsn: Lsn,
    end: Lsn,
    salt: u32,
    /// Whether nothing says that the log was durable beyond some bad record; then nothing says so of a later one.
    is_torn: bool,
}

impl Records<'_> {
    fn offset_of(&self, lsn: Lsn) -> u64 {
        SEGMENT_HEADER_BYTES + (lsn.get() - self.first_lsn.get())
    }

    /// What begins at `lsn`: at least `bytes` bytes, or all to the end.
    fn at(&mut self, lsn: Lsn, bytes: usize) -> Area<'_> {
        let (offset, bytes) = (self.offset_of(lsn), if mutant!("salvage_cuts_a_record") { 0 } else { bytes });
        Area { bytes: self.pieces.at(offset, bytes), first_lsn: lsn, salt: self.salt }
    }

    /// Whether the bad record at `bad` begins what may be a torn tail (C1 of `scan.rs`).
    fn is_torn(&mut self, bad: Lsn) -> bool {
        let mut at = bad;
        while at < self.end && !self.is_torn {
            let area = self.at(at, RECORD_HEADER_BYTES);
            if area.classify_tail(bad, at) != Tail::Torn {
                return false;
            }
            // The last positions have no whole header in the window; those of the segment have none at all.
            let judged = (area.bytes.len() as u64).saturating_sub(RECORD_HEADER_BYTES as u64 - RECORD_ALIGN_BYTES);
            at = at.plus((judged / RECORD_ALIGN_BYTES).max(1) * RECORD_ALIGN_BYTES);
        }
        self.is_torn = true;
        true
    }

    /// The next whole record behind the bad one at `bad`.
    fn next_record(&mut self, bad: Lsn) -> Option<Lsn> {
        let mut at = bad.plus(RECORD_ALIGN_BYTES);
        while at < self.end {
            if matches!(self.at(at, RECORD_BYTES_MAX).read(at), Read::Record(_)) {
                return Some(at);
            }
            at = at.plus(RECORD_ALIGN_BYTES);
        }
        None
    }
}

/// Where a segment whose header cannot be read begins, by the position that its first whole record has.
fn first_lsn_of(file: &File, records_bytes: u64, salt: u32) -> Option<Lsn> {
    let mut pieces = Pieces::of(file);
    (0..records_bytes).step_by(RECORD_ALIGN_BYTES as usize).find_map(|offset| {
        let bytes = pieces.at(SEGMENT_HEADER_BYTES + offset, RECORD_BYTES_MAX);
        let lsn = Lsn::new(crate::record::u64_at(bytes.get(..RECORD_HEADER_BYTES)?, 16));
        let first = lsn.get().checked_sub(offset)?;
        matches!(Area { bytes, first_lsn: lsn, salt }.read(lsn), Read::Record(_)).then_some(Lsn::new(first))
    })
}
