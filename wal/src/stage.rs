//! Into the log: setting room aside, placing commits, logging events.
//!
//! R1  Staging does everything that can fail or wait. What is staged can be placed, whatever happens meanwhile.

use duramen_base::sync::lock_soon;
use duramen_base::{Error, Lsn, Result, Timestamp};

use crate::big::{LAST_BYTES, Last, PART_HEAD_BYTES, PartHead};
use crate::buffer::Frame;
use crate::mark::MarkSet;
use crate::record::{PART_BYTES_MAX, PAYLOAD_BYTES_MAX, RecordKind, crc, crc_from, record_bytes};
use crate::room::Class;
use crate::wal::{Core, Wal};

/// A commit with its log room set aside. Dropping it gives the room back, and nothing happened.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::{DbUuid, Error, Timestamp, clock::SystemClock, vfs::MemVfs};
/// # use duramen_wal::{Claims, EventKind, Mark, MarkSet, Recovery, Wal, WalConfig};
/// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
/// # let config = WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()));
/// # let wal = Wal::create(config.clone())?;
/// drop(wal.stage(b"thought better of it")?);
/// let placed = wal.stage(b"a batch")?.place_commit(Timestamp::new(1));
/// wal.write_through(placed.end)?;
/// assert_eq!(wal.stats().last_ts, Timestamp::new(1));
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[must_use = "a staged commit is placed or it did not happen"]
pub struct Staged<'a> {
    wal: &'a Wal,
    kind: RecordKind,
    body: Body<'a>,
    payload_crc: u32,
    /// First part, if the payload is in the log already.
    batch_id: Option<Lsn>,
    placed: bool,
}

enum Body<'a> {
    Whole(&'a [u8]),
    Last([u8; LAST_BYTES]),
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its first byte.
    pub lsn: Lsn,
    /// The byte behind it: what to hand to [`Wal::write_through`] and [`Wal::sync_through`].
    pub end: Lsn,
}

/// Records that are no commits.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::{DbUuid, Error, Timestamp, clock::SystemClock, vfs::MemVfs};
/// # use duramen_wal::{Claims, EventKind, Mark, MarkSet, Recovery, Wal, WalConfig};
/// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
/// # let config = WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()));
/// # let wal = Wal::create(config.clone())?;
/// let end = wal.log_event(EventKind::KsEvent, b"drop 3")?;
/// wal.sync_through(end)?;
/// let recovery = Recovery::scan(config, Claims::default())?;
/// assert_eq!(recovery.events()[0].payload, b"drop 3");
/// # Ok::<(), duramen_base::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened to a keyspace; [`crate::Recovery::events`] gives the payload back.
    KsEvent,
    /// Nothing; its payload is ignored.
    Noop,
}

impl Wal {
    /// Sets room aside for a commit with this payload. A payload over 16 KiB goes into the log at once, in parts that mean nothing
    /// until the commit is placed.
    ///
    /// May wait for others to place what they staged, and may write to the log or create a segment.
    ///
    /// # Errors
    /// Nothing happened: `DiskFull`, `Io` (try again later), `Poisoned`, `Closed`.
    pub fn stage<'a>(&'a self, payload: &'a [u8]) -> Result<Staged<'a>> {
        let (kind, body, batch_id) = if payload.len() <= PART_BYTES_MAX {
            (RecordKind::Commit, Body::Whole(payload), None)
        } else {
            let last = self.place_parts(payload)?;
            (RecordKind::CommitLast, Body::Last(last.encode()), Some(last.batch_id))
        };
        let reserved = self.reserve(record_bytes(body.bytes().len()), Class::Ordinary);
        if let (Err(_), Some(batch_id)) = (&reserved, batch_id) {
            self.core.lock().batches.remove(&batch_id);
        }
        reserved?;
        let payload_crc = crc(body.bytes());
        Ok(Staged { wal: self, kind, body, payload_crc, batch_id, placed: false })
    }

    /// Sets room aside for a commit whose content lies in files that are durable already, and that this payload names: see
    /// [`crate::Recovery::ingests`].
    ///
    /// # Errors
    /// Nothing happened: `InvalidArgument` if the payload is over 16 KiB; else as [`Wal::stage`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use duramen_base::{DbUuid, Error, Timestamp, clock::SystemClock, vfs::MemVfs};
    /// # use duramen_wal::{Claims, Recovery, Wal, WalConfig};
    /// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
    /// # let config = WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()));
    /// # let wal = Wal::create(config.clone())?;
    /// let placed = wal.stage_ingest(b"files 3 and 4")?.place_commit(Timestamp::new(1));
    /// wal.sync_through(placed.end)?;
    /// let recovery = Recovery::scan(config, Claims::default())?;
    /// assert_eq!((recovery.ingests()[0].ts, recovery.last_ts()), (Timestamp::new(1), Timestamp::new(1)));
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn stage_ingest<'a>(&'a self, payload: &'a [u8]) -> Result<Staged<'a>> {
        if payload.len() > PART_BYTES_MAX {
            return Err(Error::InvalidArgument { what: "what names the files of an ingest has at most 16 KiB" });
        }
        let (kind, body) = (RecordKind::Ingest, Body::Whole(payload));
        self.reserve(record_bytes(payload.len()), Class::Ordinary)?;
        Ok(Staged { wal: self, kind, body, payload_crc: crc(payload), batch_id: None, placed: false })
    }

    /// Logs an event and gives back where it ends; it is durable after [`Wal::sync_through`] of that.
    ///
    /// # Errors
    /// Nothing happened: `InvalidArgument` if the payload is over 16 KiB, `DiskFull`, `Io`, `Poisoned`, `Closed`.
    pub fn log_event(&self, kind: EventKind, payload: &[u8]) -> Result<Lsn> {
        match kind {
            EventKind::KsEvent => self.log_record(RecordKind::KsEvent, payload, Class::Upkeep),
            EventKind::Noop => self.log_record(RecordKind::Noop, payload, Class::Ordinary),
        }
    }

    /// Logs how far stores are persisted; where that ends. The files it speaks of must be durable already.
    ///
    /// # Errors
    /// As [`Wal::log_event`]; some of the marks may be in the log then, which does no harm.
    pub fn log_marks(&self, marks: &MarkSet) -> Result<Lsn> {
        let mut end = Lsn::ZERO;
        for part in marks.split() {
            end = self.log_record(RecordKind::CkptMark, &part.encode(), Class::Upkeep)?;
        }
        Ok(end)
    }

    pub(crate) fn log_record(&self, kind: RecordKind, payload: &[u8], class: Class) -> Result<Lsn> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::InvalidArgument { what: "an event of the log has at most 16 KiB" });
        }
        let payload_crc = crc(payload);
        self.reserve(record_bytes(payload.len()), class)?;
        let mut core = self.core.lock();
        let placed = self.place(&mut core, kind, Timestamp::ZERO, [payload, &[]], payload_crc);
        Ok(placed.end)
    }

    fn place_parts(&self, payload: &[u8]) -> Result<Last> {
        let mut batch_id = None;
        for (part_index, piece) in payload.chunks(PART_BYTES_MAX).enumerate() {
            let part_index = u32::try_from(part_index).expect("write sets are far below 16 KiB * 2^32");
            match self.place_part(batch_id, part_index, piece) {
                Ok(first) => batch_id = Some(first),
                Err(error) => {
                    if let Some(batch_id) = batch_id {
                        self.core.lock().batches.remove(&batch_id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(Last {
            batch_id: batch_id.expect("a big payload has parts"),
            batch_bytes: payload.len() as u64,
            part_count: u32::try_from(payload.len().div_ceil(PART_BYTES_MAX)).expect("bounded as above"),
            digest: crc(payload),
        })
    }

    fn place_part(&self, batch_id: Option<Lsn>, part_index: u32, piece: &[u8]) -> Result<Lsn> {
        let bytes = record_bytes(PART_HEAD_BYTES + piece.len());
        self.reserve(bytes, Class::Ordinary)?;
        let mut core = self.core.lock();
        let batch_id = batch_id.unwrap_or_else(|| {
            // Only now is the position of the first part known, which is the name of the batch.
            let lsn = core.placement.next_lsn(bytes);
            core.batches.insert(lsn, None);
            lsn
        });
        let head = PartHead { batch_id, part_index }.encode();
        let payload_crc = crc_from(crc(&head), piece);
        self.place(&mut core, RecordKind::CommitPart, Timestamp::ZERO, [&head, piece], payload_crc);
        Ok(batch_id)
    }

    fn place(&self, core: &mut Core, kind: RecordKind, ts: Timestamp, payload: [&[u8]; 2], payload_crc: u32) -> Placed {
        let synced = self.synced();
        let (lsn, end) = core.placement.place(&Frame { kind, ts, payload, payload_crc, synced });
        core.note_switches();
        if core.waiting_for_room > 0 {
            self.progress.notify_all();
        }
        Placed { lsn, end }
    }
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Whole(payload) => payload,
            Body::Last(bytes) => bytes,
        }
    }
}

impl Staged<'_> {
    /// Gives the commit its place in the log, behind all placed before. Short, no I/O, cannot fail. The caller hands out timestamps
    /// and places in one section, so that the log's order is theirs.
    ///
    /// # Panics
    /// If `ts` does not follow the commit placed before (P6): going on would write a log that cannot be replayed.
    pub fn place_commit(mut self, ts: Timestamp) -> Placed {
        let mut core = lock_soon(&self.wal.core);
        let placed = self.wal.place(&mut core, self.kind, ts, [self.body.bytes(), &[]], self.payload_crc);
        if let Some(batch_id) = self.batch_id {
            core.batches.insert(batch_id, Some(ts));
        }
        self.placed = true;
        placed
    }

    /// Log bytes set aside for it.
    pub fn bytes(&self) -> u64 {
        record_bytes(self.body.bytes().len())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        let mut core = self.wal.core.lock();
        core.placement.release(self.bytes());
        if let Some(batch_id) = self.batch_id {
            core.batches.remove(&batch_id);
        }
        drop(core);
        self.wal.progress.notify_all();
    }
}

impl std::fmt::Debug for Staged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged").field("kind", &self.kind).field("bytes", &self.bytes()).finish()
    }
}

impl Wal {
    /// Places a staged commit: [`Staged::place_commit`] by another name.
    pub fn place_commit(&self, staged: Staged<'_>, ts: Timestamp) -> Placed {
        debug_assert!(std::ptr::eq(staged.wal, self), "R1: staged in this log");
        staged.place_commit(ts)
    }
}
