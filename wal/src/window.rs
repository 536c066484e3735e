//! The records of one segment, read through a window: a piece of the file in memory, so that recovery takes the same memory however long segments are.
//!
//! Pure reading: what a record means, and what it means when there is none, is said by `scan.rs` and `recovery.rs`.
//!
//! WI1  A window that was asked for a position has every byte from there on that was asked for, or all to its end: so a verdict on a record is the one
//!      that the whole segment would give.
//! WI2  It moves on in whole, and the next piece is asked for when one is read, so the disk reads while the records of this one are judged.

use duramen_base::{Lsn, Result, mutant};

use crate::chain::{damage, out_of_memory};
use crate::record::{RECORD_ALIGN_BYTES, RECORD_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::scan::{Area, Tail};
use crate::segment::Segment;

/// Bytes of a window: what a cache of the processor holds. In tests little more than the largest record.
const WINDOW_BYTES: usize = if cfg!(test) { 17 << 10 } else { 256 << 10 };
const _: () = assert!(WINDOW_BYTES > RECORD_BYTES_MAX && WINDOW_BYTES.is_multiple_of(RECORD_ALIGN_BYTES as usize));

/// See the module.
pub(crate) struct Window<'s> {
    pub(crate) segment: &'s Segment,
    /// Where it ends at the latest.
    pub(crate) end: Lsn,
    first: Lsn,
    buffer: &'s mut Vec<u8>,
}

impl<'s> Window<'s> {
    /// A window of `segment` that goes no further than `end`. Never more than the file has (its length was checked).
    pub(crate) fn new(segment: &'s Segment, end: Lsn, buffer: &'s mut Vec<u8>) -> Window<'s> {
        buffer.clear();
        Window { segment, end, first: segment.header.first_lsn, buffer }
    }

    /// The bytes at `lsn`: at least `bytes` of them, or all to the end (WI1).
    pub(crate) fn at(&mut self, lsn: Lsn, bytes: usize) -> Result<Area<'_>> {
        debug_assert!(
            lsn <= self.end && bytes <= WINDOW_BYTES,
            "WI1: {lsn} is behind the end, or too much is asked for"
        );
        let bytes = if mutant!("window_cuts_a_record") { RECORD_HEADER_BYTES } else { bytes };
        if lsn < self.first || lsn.plus(bytes as u64).min(self.end) > self.filled_to() {
            self.fill(lsn)?;
        }
        Ok(Area { bytes: self.buffer, first_lsn: self.first, salt: self.segment.salt })
    }

    /// Looks behind the bad record at `bad` (C1); and whether there is anything but zeros, from there on.
    pub(crate) fn classify_tail(&mut self, bad: Lsn) -> Result<(Tail, bool)> {
        let (mut at, mut is_torn) = (bad, false);
        while at < self.end {
            let area = self.at(at, RECORD_HEADER_BYTES)?;
            let (rest, tail) = (area.from(at), area.classify_tail(bad, at));
            is_torn |= rest.iter().any(|&byte| byte != 0);
            // The last positions of the window have no whole header in it; those of the segment have none at all.
            let judged = (rest.len() as u64).saturating_sub(RECORD_HEADER_BYTES as u64 - RECORD_ALIGN_BYTES);
            at = match area.end() == self.end {
                true => self.end,
                false => at.plus(judged / RECORD_ALIGN_BYTES * RECORD_ALIGN_BYTES),
            };
            if tail != Tail::Torn {
                return Ok((tail, true));
            }
        }
        Ok((Tail::Torn, is_torn))
    }

    /// Writes everything from `from` to the end again, which is whole records; each is judged again before.
    pub(crate) fn write_again(&mut self, from: Lsn) -> Result<()> {
        let mut lsn = self.segment.header.first_lsn;
        while lsn < self.end {
            let segment = self.segment;
            let area = self.at(lsn, RECORD_BYTES_MAX)?;
            let whole = area.whole_records_to(lsn);
            if whole == lsn {
                return Err(damage(segment, lsn, "a log record changed since it was read"));
            }
            let begin = from.max(lsn);
            if begin < whole {
                segment.file.write_all_at(
                    &area.from(begin)[..(whole.get() - begin.get()) as usize],
                    segment.offset_of(begin),
                )?;
            }
            lsn = whole;
        }
        Ok(())
    }

    fn filled_to(&self) -> Lsn {
        self.first.plus(self.buffer.len() as u64)
    }

    /// Moves it to begin at `lsn`. What it has of that stays.
    fn fill(&mut self, lsn: Lsn) -> Result<()> {
        let bytes = (self.end.get() - lsn.get()).min(WINDOW_BYTES as u64) as usize;
        let kept = (self.first..self.filled_to()).contains(&lsn).then(|| (lsn.get() - self.first.get()) as usize);
        let kept = kept.map_or(0, |start| {
            self.buffer.copy_within(start.., 0);
            self.buffer.len() - start
        });
        self.buffer
            .try_reserve_exact(bytes.saturating_sub(self.buffer.len()))
            .map_err(|_| out_of_memory(self.segment))?;
        self.buffer.resize(bytes, 0);
        self.first = lsn;
        let (file, from) = (&self.segment.file, self.segment.offset_of(lsn.plus(kept as u64)));
        file.read_exact_at(&mut self.buffer[kept..], from).inspect_err(|_| self.buffer.clear())?;
        if self.filled_to() < self.end {
            file.expect_read(self.segment.offset_of(self.filled_to()), WINDOW_BYTES as u64); // WI2
        }
        Ok(())
    }
}
