//! The segments on disk, put in order: which files belong to the log, and the way through the records of one.
//!
//! H1  A file without a valid header of its own number never held a record of the chain (S1); that nothing is missing is shown by
//!     the positions: a segment must end exactly where the next begins.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use duramen_base::{Error, IoOp, Lsn, Result};

use crate::big::Piece;
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::scan::{Area, Read, Record};
use crate::segment::{Folder, Segment};
use crate::window::Window;

/// The files of a log folder.
pub(crate) struct Chain {
    /// The segments, oldest first; at least one.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Files that hold nothing, ascending.
    pub(crate) leftovers: Vec<u64>,
}

/// Why a walk ended.
pub(crate) enum Stop {
    /// At the end it was told.
    End,
    /// At a bad record.
    Bad { lsn: Lsn, what: &'static str },
}

impl Chain {
    /// Reads the headers of all files and checks that the segments follow one another.
    pub(crate) fn read(folder: &Folder) -> Result<Chain> {
        let mut chain = Chain { segments: Vec::new(), leftovers: Vec::new() };
        for no in folder.list()? {
            match open_segment(folder, no)? {
                Some(segment) => chain.push(segment)?,
                None => chain.leftovers.push(no),
            }
        }
        if chain.segments.is_empty() {
            return Err(Error::corruption(folder.dir(), 0, "the log has no segment"));
        }
        Ok(chain)
    }

    /// Where the segment `index` must end, if another follows.
    pub(crate) fn sealed_end(&self, index: usize) -> Option<Lsn> {
        self.segments.get(index + 1).map(|next| next.header.first_lsn)
    }

    fn push(&mut self, next: Segment) -> Result<()> {
        if let Some(last) = self.segments.last() {
            let (last, next_header) = (&last.header, &next.header);
            if !(last.first_lsn..=last.limit()).contains(&next_header.first_lsn)
                || next_header.log_epoch < last.log_epoch
                || next_header.first_ts < last.first_ts
            {
                return Err(next
                    .file
                    .corruption(0, "the segment does not follow the one before it: one is missing or foreign"));
            }
        }
        self.segments.push(Arc::new(next));
        Ok(())
    }
}

fn open_segment(folder: &Folder, no: u64) -> Result<Option<Segment>> {
    let file = folder.open(no)?;
    let mut blocks = vec![0; SEGMENT_HEADER_BYTES as usize];
    let got = file.read_up_to_at(&mut blocks, 0)?;
    let Some(header) = SegmentHeader::decode(&blocks[..got], no, folder.db_uuid(), file.path())? else {
        return Ok(None);
    };
    let len = file.len()?;
    if len < header.segment_bytes {
        return Err(file.corruption(len, "the segment is shorter than its header says"));
    }
    Ok(Some(Segment::new(header, file, true)))
}

/// Gives each record of the window to `visit`, with the place of its payload, until its end or a bad record.
pub(crate) fn walk(
    window: &mut Window<'_>,
    segment_index: usize,
    mut visit: impl FnMut(&Record<'_>, Piece) -> Result<()>,
) -> Result<Stop> {
    let (segment, end) = (window.segment, window.end);
    let mut lsn = segment.header.first_lsn;
    while lsn < end {
        let area = window.at(lsn, RECORD_BYTES_MAX)?;
        match area.read(lsn) {
            Read::Record(record) => {
                let offset = segment.offset_of(lsn) + RECORD_HEADER_BYTES as u64;
                visit(&record, Piece { segment_index, offset, bytes: record.payload.len() })?;
                lsn = record.header.end();
            }
            Read::Bad(what) => return Ok(Stop::Bad { lsn, what }),
            Read::Malformed(what) => return Err(damage(segment, lsn, what)),
            Read::Unknown { what, found } => {
                return Err(Error::UnsupportedFormat {
                    file: PathBuf::from(segment.file.path()),
                    what,
                    found,
                    known: 0,
                });
            }
        }
    }
    Ok(Stop::End)
}

/// Damage at a position of a segment.
pub(crate) fn damage(segment: &Segment, lsn: Lsn, what: &'static str) -> Error {
    segment.file.corruption(segment.offset_of(lsn), what)
}

pub(crate) fn out_of_memory(segment: &Segment) -> Error {
    let source = io::ErrorKind::OutOfMemory.into();
    Error::Io { op: IoOp::Read, path: segment.file.path().into(), source }
}

/// Files in the folder of a log about to be created; an error if one of them holds a record.
pub(crate) fn files_without_records(folder: &Folder) -> Result<Vec<u64>> {
    let numbers = folder.list()?;
    for &no in &numbers {
        let file = folder.open(no)?;
        let mut head = vec![0; SEGMENT_HEADER_BYTES as usize + RECORD_HEADER_BYTES];
        let got = file.read_up_to_at(&mut head, 0)?;
        head.truncate(got);
        let Some((blocks, record)) = head.split_at_checked(SEGMENT_HEADER_BYTES as usize) else { continue };
        // Each attempt to create a database draws another identity: judge the file by its own.
        let Some(header) = SegmentHeader::decode_own(blocks, no) else { continue };
        let area = Area { bytes: record, first_lsn: header.first_lsn, salt: header.salt() };
        if area.has_header_at_start() {
            return Err(file.corruption(SEGMENT_HEADER_BYTES, "a log with records is here already"));
        }
    }
    Ok(numbers)
}
