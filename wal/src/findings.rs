//! What a reader of the whole log learns record by record. Pure: records in, state or objection out.
//!
//! A valid record that contradicts those before it cannot come from a crash: the objection is damage, also in the tail.

use std::collections::BTreeMap;

use duramen_base::{Lsn, Timestamp};

use crate::big::{Batches, Closed, Last, PartHead, Piece};
use crate::mark::MarkSet;
use crate::record::{PAYLOAD_BYTES_MAX, RecordKind};
use crate::recovery::{LogEvent, LoggedIngest};
use crate::scan::Record;

/// A commit as the log holds it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// In the record itself.
    Inline,
    /// In these parts, of so many bytes together.
    Parts { bytes: u64, pieces: Vec<Piece> },
    /// In parts that stood before the kept log: every store has it.
    Gone,
}

/// Follows the commits of a log from front to back.
#[derive(Debug)]
pub(crate) struct Commits {
    log_start: Lsn,
    pub(crate) last_ts: Timestamp,
    batches: Batches,
    /// Batches of several parts that were committed: first part, timestamp.
    pub(crate) sequenced: BTreeMap<Lsn, Timestamp>,
}

impl Commits {
    /// A log that begins at `log_start`, after the commit `last_ts`.
    pub(crate) fn new(log_start: Lsn, last_ts: Timestamp) -> Commits {
        Commits { log_start, last_ts, batches: Batches::default(), sequenced: BTreeMap::new() }
    }

    /// Takes the next record, whose payload lies at `place`; the commit, if it is one.
    pub(crate) fn take(&mut self, record: &Record<'_>, place: Piece) -> Result<Option<Commit>, &'static str> {
        let header = &record.header;
        if header.kind.has_ts() {
            if header.commit_ts != self.last_ts.next() {
                return Err("a commit does not follow the one before it");
            }
            self.last_ts = header.commit_ts;
        }
        match header.kind {
            RecordKind::Commit | RecordKind::Ingest => Ok(Some(Commit::Inline)),
            RecordKind::CommitPart => {
                let (head, piece) = PartHead::decode(record.payload).ok_or("a part of a commit that is none")?;
                self.batches.part(header.lsn, head, piece, place)?;
                Ok(None)
            }
            RecordKind::CommitLast => {
                let last = Last::decode(record.payload).ok_or("the last record of a commit that is none")?;
                Ok(Some(match self.batches.last(last, self.log_start)? {
                    Closed::BeforeTheLog => Commit::Gone,
                    Closed::Whole { batch_id, bytes, pieces } => {
                        self.sequenced.insert(batch_id, header.commit_ts);
                        Commit::Parts { bytes, pieces }
                    }
                }))
            }
            RecordKind::KsEvent | RecordKind::CkptMark | RecordKind::Noop | RecordKind::CleanShutdown => Ok(None),
            RecordKind::Prepare | RecordKind::CommitPrepared | RecordKind::AbortPrepared => {
                Err("a record of a kind that is not written yet")
            }
        }
    }
}

/// Everything that opening needs besides the commits themselves.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) commits: Commits,
    pub(crate) marks: MarkSet,
    pub(crate) events: Vec<LogEvent>,
    pub(crate) ingests: Vec<LoggedIngest>,
    /// Whether the last record says that the log was closed in order.
    pub(crate) was_closed: bool,
    /// The largest position up to which some record knew the log durable.
    pub(crate) synced: Lsn,
}

impl Findings {
    pub(crate) fn new(log_start: Lsn, last_ts: Timestamp) -> Findings {
        Findings {
            commits: Commits::new(log_start, last_ts),
            marks: MarkSet::default(),
            events: Vec::new(),
            ingests: Vec::new(),
            was_closed: false,
            synced: log_start,
        }
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: &Record<'_>, place: Piece) -> Result<(), &'static str> {
        debug_assert!(record.payload.len() <= PAYLOAD_BYTES_MAX, "F1: payloads are bounded");
        self.commits.take(record, place)?;
        self.synced = self.synced.max(record.header.synced_lsn);
        self.was_closed = record.header.kind == RecordKind::CleanShutdown;
        match record.header.kind {
            RecordKind::CkptMark => {
                let marks = MarkSet::decode(record.payload).ok_or("a mark that is none")?;
                if marks.iter().any(|(_, mark)| mark.persisted > self.commits.last_ts) {
                    return Err("a mark names a commit that the log before it does not hold");
                }
                self.marks.merge(&marks);
            }
            RecordKind::KsEvent => self.events.push(LogEvent {
                lsn: record.header.lsn,
                after: self.commits.last_ts,
                payload: record.payload.to_vec(),
            }),
            RecordKind::Ingest => self.ingests.push(LoggedIngest {
                lsn: record.header.lsn,
                ts: record.header.commit_ts,
                payload: record.payload.to_vec(),
            }),
            RecordKind::Commit
            | RecordKind::CommitPart
            | RecordKind::CommitLast
            | RecordKind::Noop
            | RecordKind::CleanShutdown
            | RecordKind::Prepare
            | RecordKind::CommitPrepared
            | RecordKind::AbortPrepared => {}
        }
        Ok(())
    }
}
