//! Opening a log: the whole kept log is validated and synced before anything of it is shown, then replayed, then it goes on.
//!
//! ```text
//!   scan     headers -> chain;  each segment but the last is valid through its end, or Corruption
//!            the last: valid up to p; what follows p is a torn tail (cut) or damage (Corruption)
//!            claims of store files beyond the log's last commit, of `LOG-END` beyond its end: Corruption
//!            what is kept is synced
//!   replay   any number of times, from any commit on
//!   finish   a fresh segment begins at p with the next log_epoch; bytes behind p are never read again; `LOG-END` names it
//! ```
//! V1  What a reader is shown after recovery is durable before it is shown.
//! V2  Crashing anywhere in here and opening again gives the same log: nothing but files that hold nothing is removed, and p is
//!     synced before the fresh segment's header names it.
//! V3  What is accepted can be gone on from: the numbers of the fresh segment are possible ones. Nobody uses them up; a forged header can.

use std::collections::VecDeque;
use std::sync::Arc;

use duramen_base::{Error, Lsn, Result, Timestamp};

use crate::big::Piece;
use crate::chain::{Chain, Stop, damage, out_of_memory, walk};
use crate::config::WalConfig;
use crate::findings::{Commit, Commits, Findings};
use crate::header::NUMBER_LIMIT;
use crate::log_end::{EndFile, LogEnd, Note};
use crate::mark::MarkSet;
use crate::scan::Tail;
use crate::segment::{Folder, Prepared, Segment, Trouble, Zeros};
use crate::wal::{Start, Wal, open_fresh};
use crate::window::Window;

/// What files outside the log say about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims {
    /// Newest commit that any store file contains or claims to have persisted: the log was durable through it.
    pub contains: Timestamp,
}

/// A `KsEvent` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Where it stands.
    pub lsn: Lsn,
    /// The newest commit before it.
    pub after: Timestamp,
    /// What it says.
    pub payload: Vec<u8>,
}

/// An `Ingest` record: a commit whose content lies in files of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIngest {
    /// Where it stands.
    pub lsn: Lsn,
    /// Its place in the order of commits.
    pub ts: Timestamp,
    /// What names the files. [`Recovery::replay`] gives it too, in its turn.
    pub payload: Vec<u8>,
}

/// A log that was found good, and not yet opened for writing.
///
/// ```
/// # use std::sync::Arc;
/// # use duramen_base::{DbUuid, Error, Timestamp, clock::SystemClock, vfs::MemVfs};
/// # use duramen_wal::{Claims, EventKind, Mark, MarkSet, Recovery, Wal, WalConfig};
/// # let (disk, clock) = (Arc::new(MemVfs::new()), Arc::new(SystemClock::new()));
/// # let config = WalConfig::new(disk, "log", clock, DbUuid::from_bytes([7; 16]), Arc::new(()));
/// # let wal = Wal::create(config.clone())?;
/// let placed = wal.stage(b"a batch")?.place_commit(Timestamp::new(1));
/// wal.sync_through(placed.end)?;
/// drop(wal);
/// let recovery = Recovery::scan(config, Claims { contains: Timestamp::new(1) })?;
/// assert_eq!((recovery.first_ts(), recovery.last_ts()), (Timestamp::new(1), Timestamp::new(1)));
/// recovery.replay(Timestamp::ZERO, &mut |ts, payload| {
///     assert_eq!((ts, payload), (Timestamp::new(1), &b"a batch"[..]));
///     Ok(())
/// })?;
/// let wal = recovery.finish()?;
/// assert_eq!(wal.log_epoch(), 2);
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct Recovery {
    config: WalConfig,
    folder: Folder,
    end_file: EndFile,
    chain: Chain,
    /// Where the kept log ends.
    end: Lsn,
    torn: bool,
    first_ts: Timestamp,
    findings: Findings,
}

impl Recovery {
    /// Reads and validates the whole log, finds its end, and syncs what is kept. Nothing is cut yet.
    ///
    /// # Errors
    /// * `Corruption`: a record, segment or copy that was durable is missing or changed; file and offset name the first bad one.
    /// * `UnsupportedFormat`: written by a newer version.
    /// * `Io`, `DiskFull`: try again.
    pub fn scan(config: WalConfig, claims: Claims) -> Result<Recovery> {
        config.check()?;
        let folder = Folder::new(Arc::clone(&config.vfs), config.dir.clone(), config.db_uuid);
        let end_file = EndFile::open(&*config.vfs, &config.end_path, config.db_uuid)?;
        let known = end_file.noted();
        let chain = Chain::read(&folder)?;
        check_newest(&folder, &chain, known)?;
        let first = chain.segments[0].header;
        let mut findings = Findings::new(first.first_lsn, first.first_ts.prev());
        let mut buffer = Vec::new();
        let (mut end, mut torn) = (first.first_lsn, false);
        for (index, segment) in chain.segments.iter().enumerate() {
            if segment.header.first_ts != findings.commits.last_ts.next() {
                return Err(segment.file.corruption(0, "the segment's commits do not follow those before it"));
            }
            let sealed_end = chain.sealed_end(index);
            let mut window = Window::new(segment, sealed_end.unwrap_or(segment.header.limit()), &mut buffer);
            let stop = walk(&mut window, index, |record, place| {
                findings.take(record, place).map_err(|what| damage(segment, record.header.lsn, what))
            })?;
            match (sealed_end, stop) {
                (Some(_), Stop::Bad { lsn, what }) => return Err(damage(segment, lsn, what)),
                (Some(sealed_end), Stop::End) => end = sealed_end,
                (None, Stop::End) => end = segment.header.limit(),
                (None, Stop::Bad { lsn, .. }) => {
                    torn = check_tail(&mut window, lsn)?;
                    end = lsn;
                }
            }
            if sealed_end.is_none() {
                check_claims(segment, end, findings.commits.last_ts, claims, known)?;
                keep_durably(&folder, &chain, &mut buffer, findings.synced, end)?;
            }
        }
        let recovery = Recovery { config, folder, end_file, chain, end, torn, first_ts: first.first_ts, findings };
        match recovery.next_numbers().into_iter().all(|number| number < NUMBER_LIMIT) {
            true => Ok(recovery),
            false => Err(recovery.last().file.corruption(0, "no number is left for a segment behind it")), // V3
        }
    }

    fn last(&self) -> &Segment {
        self.chain.segments.last().expect("a chain has a segment")
    }

    /// The number of a fresh segment, a number never used.
    fn fresh_no(&self) -> u64 {
        self.chain.leftovers.last().copied().unwrap_or(0).max(self.last().header.segment_no) + 1
    }

    /// Those of the fresh segment: its own, where it begins, its first commit, its epoch.
    pub(crate) fn next_numbers(&self) -> [u64; 4] {
        [self.fresh_no(), self.end.get(), self.last_ts().next().get(), self.last().header.log_epoch + 1]
    }

    /// The newest mark of each store.
    pub fn marks(&self) -> &MarkSet {
        &self.findings.marks
    }

    /// Every commit from this one to [`Recovery::last_ts`] is in the kept log.
    pub fn first_ts(&self) -> Timestamp {
        self.first_ts
    }

    /// The newest commit of the log; the next one gets the number after it.
    pub fn last_ts(&self) -> Timestamp {
        self.findings.commits.last_ts
    }

    /// What happened to keyspaces, in order.
    pub fn events(&self) -> &[LogEvent] {
        &self.findings.events
    }

    /// The commits whose content lies in files, in order: before anything is replayed the stores must know which files those are.
    pub fn ingests(&self) -> &[LoggedIngest] {
        &self.findings.ingests
    }

    /// Whether the log was closed in order.
    pub fn was_closed(&self) -> bool {
        self.findings.was_closed
    }

    /// Whether something unfinished stands behind the end: an append that a crash cut short, or old bytes of a recycled file.
    pub fn has_torn_tail(&self) -> bool {
        self.torn
    }

    /// Bytes of log kept.
    pub fn log_bytes(&self) -> u64 {
        self.end.get() - self.chain.segments[0].header.first_lsn.get()
    }

    /// Gives every commit after `from` to `each`, in order, with its whole payload.
    ///
    /// # Errors
    /// What `each` returns; `Corruption` if bytes changed since the scan, or if a commit after `from` is not all in the log any more.
    pub fn replay(&self, from: Timestamp, each: &mut dyn FnMut(Timestamp, &[u8]) -> Result<()>) -> Result<()> {
        let first = self.chain.segments[0].header;
        let mut commits = Commits::new(first.first_lsn, first.first_ts.prev());
        let (mut buffer, mut batch) = (Vec::new(), Vec::new());
        for (index, segment) in self.chain.segments.iter().enumerate() {
            let end = self.chain.sealed_end(index).unwrap_or(self.end);
            let mut window = Window::new(segment, end, &mut buffer);
            let stop = walk(&mut window, index, |record, place| {
                let objection = |what| damage(segment, record.header.lsn, what);
                let ts = record.header.commit_ts;
                match commits.take(record, place).map_err(objection)? {
                    Some(Commit::Inline) if ts > from => each(ts, record.payload),
                    Some(Commit::Parts { bytes, pieces }) if ts > from => {
                        self.gather_batch(segment, bytes, &pieces, &mut batch)?;
                        each(ts, &batch)
                    }
                    Some(Commit::Gone) if ts > from => {
                        Err(objection("parts of a needed commit are no more in the log"))
                    }
                    Some(_) | None => Ok(()),
                }
            })?;
            if let Stop::Bad { lsn, what } = stop {
                return Err(damage(segment, lsn, what));
            }
        }
        Ok(())
    }

    /// Opens the log for writing behind what was kept. Call it when every store was opened and found to agree with the log.
    ///
    /// # Errors
    /// `DiskFull`, `Io`: nothing was lost, open again.
    pub fn finish(self) -> Result<Arc<Wal>> {
        let last = self.last().header;
        let prepared = self.fresh_file().map_err(Trouble::into_error)?;
        let last_ts = self.last_ts();
        let current = open_fresh(prepared, &self.folder, self.end, last_ts, last.log_epoch + 1)?;
        let batches = self.findings.commits.sequenced.iter().map(|(&lsn, &ts)| (lsn, Some(ts))).collect();
        // Its header is durable: from here on it is missed if it goes.
        self.end_file.note(LogEnd { segment_no: current.header.segment_no, end: self.end }, Note::Synced)?;
        let (config, folder, end_file) = (self.config, self.folder, self.end_file);
        let sealed = VecDeque::from(self.chain.segments);
        Ok(Wal::start(Start { config, folder, end_file, sealed, current, last_ts, batches }))
    }

    /// A file under a number never used. One of those that hold nothing serves if it is large enough, so that a full disk can be
    /// opened; the others go.
    fn fresh_file(&self) -> Result<Prepared, Trouble> {
        let no = self.fresh_no();
        let mut adopted = None;
        for &leftover in &self.chain.leftovers {
            let len = self.folder.open(leftover).and_then(|file| file.len()).map_err(Trouble::Clean)?;
            let bytes = len - len % 4096;
            let fits = (self.config.segment_bytes_first..=self.config.segment_bytes_max).contains(&bytes);
            if adopted.is_none() && fits {
                self.folder.renumber(leftover, no)?;
                let prepared = self.folder.open_prepared(no, bytes).map_err(Trouble::Clean)?;
                prepared.file.sync_data().map_err(Trouble::Sync)?;
                adopted = Some(prepared);
            } else {
                self.folder.remove(leftover)?;
            }
        }
        match adopted {
            Some(prepared) => Ok(prepared),
            None => self.folder.create(no, self.config.segment_bytes_first, Zeros::Written),
        }
    }

    fn gather_batch(&self, at: &Segment, bytes: u64, pieces: &[Piece], batch: &mut Vec<u8>) -> Result<()> {
        batch.clear();
        let bytes = usize::try_from(bytes).map_err(|_| out_of_memory(at))?;
        batch.try_reserve_exact(bytes).map_err(|_| out_of_memory(at))?;
        for piece in pieces {
            let (start, head) = (batch.len(), crate::big::PART_HEAD_BYTES);
            batch.resize(start + piece.bytes - head, 0);
            let file = &self.chain.segments[piece.segment_index].file;
            file.read_exact_at(&mut batch[start..], piece.offset + head as u64)?;
        }
        Ok(())
    }
}

/// The first bad record of the last segment: a tail that a crash left, or damage? Of a tail, whether it is more than zeros.
fn check_tail(window: &mut Window<'_>, bad: Lsn) -> Result<bool> {
    match window.classify_tail(bad)? {
        (Tail::Torn, torn) => Ok(torn),
        (Tail::DurableBeyond(_), _) => {
            Err(damage(window.segment, bad, "a record is damaged that was durable: a later one says so"))
        }
    }
}

/// The newest segment that was ever opened, by what is known outside, is there.
fn check_newest(folder: &Folder, chain: &Chain, known: LogEnd) -> Result<()> {
    let newest = chain.segments.last().map_or(0, |segment| segment.header.segment_no);
    if newest < known.segment_no {
        return Err(Error::corruption(folder.path(known.segment_no), 0, "the newest segment of the log is missing"));
    }
    Ok(())
}

fn check_claims(segment: &Segment, end: Lsn, last_ts: Timestamp, claims: Claims, known: LogEnd) -> Result<()> {
    if end < known.end {
        return Err(damage(segment, end, "the log ends before where it was durable, as LOG-END says"));
    }
    if claims.contains > last_ts {
        return Err(damage(segment, end, "the log ends before a commit that a store's files hold"));
    }
    Ok(())
}

/// V1: what a killed process had only written becomes durable now. It is written again first: after a failed sync the system may
/// show bytes, and call them clean, that never reached the disk.
fn keep_durably(folder: &Folder, chain: &Chain, buffer: &mut Vec<u8>, synced: Lsn, end: Lsn) -> Result<()> {
    let last = chain.segments.last().expect("a chain has a segment");
    if synced < end {
        Window::new(last, end, buffer).write_again(synced)?;
    }
    for segment in &chain.segments {
        segment.file.sync_data()?;
    }
    folder.sync_dir()
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery")
            .field("segments", &self.chain.segments.len())
            .field("end", &self.end)
            .field("first_ts", &self.first_ts)
            .field("last_ts", &self.last_ts())
            .finish()
    }
}
