//! Where records wait between being placed and being written, and who writes which bytes.
//!
//! A plain data structure under its owner's mutex: no I/O, no waiting, no clock. `room` answers at once whether a record may be
//! staged, `place` copies it and cannot fail, `take` hands a whole chunk to one claimant, `complete` or `put_back` ends the claim. A claim
//! that is never ended (the log was poisoned) keeps everything behind it unwritten.
//!
//! ```text
//!   lsn ──►      written    being written       queue of chunks      end
//!   ─────────────────┼─────────[claim]─────────┼──[sealed]──[growing]──────┼─ staged room ─
//! ```
//! P1  Every byte from `written` to `end` is in exactly one chunk: the one that is claimed, which comes first, or a queued one.
//! P2  One chunk at a time is claimed, in the order of the log, and `written` moves to its end when it is completed: whoever placed a record
//!     meanwhile is served by the next claim, together with all others.
//! P3  A chunk lies in one segment. By P2 the first chunk of a segment is taken only when all before it is written, and the others when it
//!     was: so no record reaches a segment before its header, and no header is ahead of the log.
//! P4  What is staged fits: all of it into the current segment, or all of it into the next prepared one.
//! P5  Bytes staged and buffered never exceed `buffer_bytes`.
//! P6  Commits are placed in timestamp order without gaps.
//! P7  The memory of all chunks, spare ones included, is held from the budget of the database, if there is one. It has room for a page behind the
//!     records, so that whoever writes them can fill the last page (D4 of `write.rs`) and takes none.

use std::collections::VecDeque;
use std::sync::Arc;

use duramen_base::{Budget, Lsn, Reservation, Timestamp};

use crate::header::{HEADER_BLOCK_BYTES, SegmentHeader};
use crate::record::{RecordHeader, RecordKind, record_bytes};
use crate::segment::{Prepared, Segment};

/// Emptied chunks kept for their memory: while one is written the other grows.
const SPARE_BUFFERS_MAX: usize = 2;
/// Most bytes of memory kept so for each; larger ones are rare, and their memory is given back.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// What the system caches of a file, at least: segments are made of such pages.
pub(crate) const PAGE_BYTES: usize = HEADER_BLOCK_BYTES;

/// Contiguous records of one segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: Arc<Segment>,
    /// The segment before, if this is the segment's first chunk: its writer opens the segment.
    pub(crate) opens_after: Option<Arc<Segment>>,
    pub(crate) start: Lsn,
    pub(crate) bytes: Vec<u8>,
    /// Newest commit placed up to the end of this chunk.
    pub(crate) last_ts: Timestamp,
}

impl Chunk {
    pub(crate) fn end(&self) -> Lsn {
        self.start.plus(self.bytes.len() as u64)
    }
}

/// Up to where the log is written, contiguously.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) lsn: Lsn,
    /// Newest commit below `lsn`.
    pub(crate) ts: Timestamp,
    /// The segment of the byte before `lsn`; those before it are synced.
    pub(crate) segment: Arc<Segment>,
}

/// Answer of [`Placement::room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Reserved; ends by placing the record or by `release`.
    Reserved,
    /// Another segment must be prepared first.
    NeedsSegment,
    /// Buffered bytes must be written first.
    NeedsWriting,
    /// Others must first place what they staged, or finish writing.
    NeedsOthers,
}

/// One record to place.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) ts: Timestamp,
    /// Payload in two pieces, so that a head need not be copied in front of it first.
    pub(crate) payload: [&'a [u8]; 2],
    pub(crate) payload_crc: u32,
    pub(crate) synced: Lsn,
}

/// The state. See the module header.
#[derive(Debug)]
pub(crate) struct Placement {
    queue: VecDeque<Chunk>,
    growing: bool,
    claimed: bool,
    written: Written,
    end: Lsn,
    last_ts: Timestamp,
    segment: Arc<Segment>,
    prepared: VecDeque<Prepared>,
    /// Segments placed in since the last call of `drain_switched`.
    switched: Vec<Arc<Segment>>,
    staged_bytes: u64,
    buffered_bytes: u64,
    buffer_bytes: u64,
    spare_buffers: Vec<Vec<u8>>,
    /// P7; none: nobody counts.
    memory: Option<Reservation>,
}

impl Placement {
    /// A log that goes on in `segment`, which is opened and empty, after the commit `last_ts`.
    pub(crate) fn new(
        segment: Arc<Segment>,
        last_ts: Timestamp,
        buffer_bytes: u64,
        budget: Option<&Arc<Budget>>,
    ) -> Placement {
        let end = segment.header.first_lsn;
        Placement {
            queue: VecDeque::new(),
            growing: false,
            claimed: false,
            written: Written { lsn: end, ts: last_ts, segment: Arc::clone(&segment) },
            end,
            last_ts,
            segment,
            prepared: VecDeque::new(),
            switched: Vec::new(),
            staged_bytes: 0,
            buffered_bytes: 0,
            buffer_bytes,
            spare_buffers: Vec::new(),
            memory: budget.map(|budget| budget.reserve_anyway(0)),
        }
    }

    /// Where the next record goes, unless the segment changes before.
    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    /// Newest commit placed.
    pub(crate) fn last_ts(&self) -> Timestamp {
        self.last_ts
    }

    pub(crate) fn written(&self) -> &Written {
        &self.written
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn buffered_bytes(&self) -> u64 {
        self.buffered_bytes
    }

    pub(crate) fn prepared_count(&self) -> usize {
        self.prepared.len()
    }

    /// Bytes of the files that stand prepared.
    pub(crate) fn prepared_bytes(&self) -> u64 {
        self.prepared.iter().map(|prepared| prepared.bytes).sum()
    }

    /// Takes back the file that would be needed last, if more than `count` stand prepared.
    pub(crate) fn pop_prepared_beyond(&mut self, count: usize) -> Option<Prepared> {
        if self.prepared.len() > count { self.prepared.pop_back() } else { None }
    }

    /// Record bytes left in the current segment.
    pub(crate) fn remaining(&self) -> u64 {
        self.segment.header.limit().get() - self.end.get()
    }

    pub(crate) fn add_prepared(&mut self, prepared: Prepared) {
        let newest = self.prepared.back().map_or(self.segment.header.segment_no, |last| last.no);
        assert!(prepared.no > newest, "N1: segment {} after {newest}", prepared.no);
        self.prepared.push_back(prepared);
    }

    /// The segments that became current since the last call, oldest first.
    pub(crate) fn drain_switched(&mut self) -> impl Iterator<Item = Arc<Segment>> + '_ {
        self.switched.drain(..)
    }

    /// Sets `bytes` of log aside (P4, P5), leaving `spares` prepared segments untouched.
    pub(crate) fn room(&mut self, bytes: u64, spares: usize) -> Room {
        let staged = self.staged_bytes + bytes;
        if staged + self.buffered_bytes > self.buffer_bytes {
            return if self.queue.is_empty() { Room::NeedsOthers } else { Room::NeedsWriting };
        }
        if staged > self.remaining() {
            let next = self.prepared.front().filter(|_| self.prepared.len() > spares);
            match next {
                None => return Room::NeedsSegment,
                Some(next) if staged > next.capacity() => return Room::NeedsOthers,
                Some(_) => {}
            }
        }
        self.staged_bytes = staged;
        Room::Reserved
    }

    /// Gives back room that was set aside and not used.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.staged_bytes -= bytes;
    }

    /// Where a record of `bytes` will stand when placed next; changes the segment if it does not fit (P4).
    pub(crate) fn next_lsn(&mut self, bytes: u64) -> Lsn {
        if bytes > self.remaining() {
            self.switch_segment();
        }
        self.end
    }

    /// Copies a record, for which room was set aside, behind the others.
    pub(crate) fn place(&mut self, frame: &Frame<'_>) -> (Lsn, Lsn) {
        let payload_len = frame.payload[0].len() + frame.payload[1].len();
        let bytes = record_bytes(payload_len);
        let lsn = self.next_lsn(bytes);
        if frame.kind.has_ts() {
            assert!(frame.ts == self.last_ts.next(), "P6: {} after {}", frame.ts, self.last_ts);
            self.last_ts = frame.ts;
        }
        let header = RecordHeader {
            payload_crc: frame.payload_crc,
            payload_len: u32::try_from(payload_len).expect("payloads are bounded"),
            kind: frame.kind,
            lsn,
            commit_ts: frame.ts,
            synced_lsn: frame.synced,
        };
        let header = header.encode(self.segment.salt);
        self.end = lsn.plus(bytes);
        let (end, last_ts) = (self.end, self.last_ts);
        let chunk = self.growing_chunk(lsn);
        let memory_before = chunk.bytes.capacity();
        chunk.bytes.reserve(bytes as usize + PAGE_BYTES);
        chunk.bytes.extend_from_slice(&header);
        chunk.bytes.extend_from_slice(frame.payload[0]);
        chunk.bytes.extend_from_slice(frame.payload[1]);
        chunk.bytes.resize((end.get() - chunk.start.get()) as usize, 0);
        chunk.last_ts = last_ts;
        let memory_after = chunk.bytes.capacity();
        self.count_memory(memory_before, memory_after);
        assert!(self.staged_bytes >= bytes, "P4: a record is placed only in room that was set aside");
        self.staged_bytes -= bytes;
        self.buffered_bytes += bytes;
        (lsn, end)
    }

    /// The chunk that starts first, if it starts before `through` and nobody has a claim (P2).
    pub(crate) fn take(&mut self, through: Lsn) -> Option<Chunk> {
        self.take_if(through, |_| true)
    }

    /// As [`Placement::take`], if `is_wanted` says so.
    pub(crate) fn take_if(&mut self, through: Lsn, is_wanted: impl FnOnce(&Chunk) -> bool) -> Option<Chunk> {
        let front = self.queue.front()?;
        if self.claimed || front.start >= through || !is_wanted(front) {
            return None;
        }
        debug_assert!(
            front.start == self.written.lsn,
            "P1: {} is written, {} comes next",
            self.written.lsn,
            front.start
        );
        if self.queue.len() == 1 {
            self.growing = false;
        }
        self.claimed = true;
        self.queue.pop_front()
    }

    /// Whether somebody writes.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// Gives the claim up; somebody else may take it.
    pub(crate) fn put_back(&mut self, chunk: Chunk) {
        assert!(std::mem::take(&mut self.claimed), "P2: {} was not claimed", chunk.start);
        self.queue.push_front(chunk);
    }

    /// The claimant has written all of `chunk` (P2).
    pub(crate) fn complete(&mut self, mut chunk: Chunk) {
        assert!(
            std::mem::take(&mut self.claimed) && chunk.start == self.written.lsn,
            "P2: {} was not claimed",
            chunk.start
        );
        self.written = Written { lsn: chunk.end(), ts: chunk.last_ts, segment: Arc::clone(&chunk.segment) };
        self.buffered_bytes -= chunk.bytes.len() as u64;
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX && chunk.bytes.capacity() <= SPARE_BYTES_MAX {
            chunk.bytes.clear();
            self.spare_buffers.push(chunk.bytes);
        } else {
            self.count_memory(chunk.bytes.capacity(), 0);
        }
    }

    /// P7, for a chunk whose memory changed.
    fn count_memory(&mut self, before: usize, after: usize) {
        if let (Some(memory), true) = (&mut self.memory, before != after) {
            memory.resize(memory.bytes() - before as u64 + after as u64);
        }
    }

    fn growing_chunk(&mut self, start: Lsn) -> &mut Chunk {
        if !self.growing {
            let opens_after = None;
            self.push_chunk(start, opens_after);
        }
        self.queue.back_mut().expect("a growing chunk is in the queue")
    }

    fn push_chunk(&mut self, start: Lsn, opens_after: Option<Arc<Segment>>) {
        let bytes = self.spare_buffers.pop().unwrap_or_default();
        let segment = Arc::clone(&self.segment);
        self.queue.push_back(Chunk { segment, opens_after, start, bytes, last_ts: self.last_ts });
        self.growing = true;
    }

    fn switch_segment(&mut self) {
        let next = self.prepared.pop_front().expect("P4: a switch was foreseen when the room was set aside");
        let before = Arc::clone(&self.segment);
        let header = SegmentHeader {
            db_uuid: before.header.db_uuid,
            segment_no: next.no,
            segment_bytes: next.bytes,
            first_lsn: self.end,
            first_ts: self.last_ts.next(),
            log_epoch: before.header.log_epoch,
        };
        self.segment = Arc::new(Segment::new(header, next.file, false));
        self.switched.push(Arc::clone(&self.segment));
        self.push_chunk(self.end, Some(before));
    }
}

#[cfg(test)]
mod tests;
