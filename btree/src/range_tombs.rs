//! The pending range deletes of one store: an interval list that is never changed, only replaced.
//!
//! Readers hold an `Arc` of it. Not an index of pages: which pages still hold covered versions is known to `sweep.rs` alone, and
//! noted here as one timestamp per fragment.
//!
//! R1  Fragments are ascending and do not overlap; each has at least one timestamp, newest first.
//! R2  A range delete at t covers versions with ts < t of the keys in `low..high`; an empty high end is the end of the keyspace.
//! R3  `swept` is at or above t only if no page holds a covered version below t any more. Adding t again (redo) takes that back.
//! R4  What a checkpoint leaves out (`omitted`, set at its freeze) is dropped here only when its superblock is durable.
//!
//! On disk: Range deletes (range_deletes.hex)
//!
//! In the superblock or in spill pages (see there):
//! ```text
//!   list     := varint count, fragment*
//!   fragment := varint bytes, low, varint bytes, high, varint count, ts*       ts: varint, newest first
//! ```

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use duramen_base::{KeyBounds, Timestamp, memtable, varint};

/// One interval and the range deletes that cover all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    low: Box<[u8]>,
    high: Box<[u8]>,
    stamps: Vec<Timestamp>,
    swept: Timestamp,
    omitted: Timestamp,
}

impl Fragment {
    fn new(low: &[u8], high: &[u8], ts: Timestamp) -> Fragment {
        Fragment {
            low: low.into(),
            high: high.into(),
            stamps: vec![ts],
            swept: Timestamp::ZERO,
            omitted: Timestamp::ZERO,
        }
    }

    fn piece(&self, low: &[u8], high: &[u8]) -> Fragment {
        Fragment { low: low.into(), high: high.into(), ..self.clone() }
    }

    fn newest_at(&self, at: Timestamp) -> Option<Timestamp> {
        self.stamps.iter().copied().find(|&ts| ts <= at)
    }

    fn insert(&mut self, ts: Timestamp) {
        let index = self.stamps.partition_point(|&other| other > ts);
        if self.stamps.get(index) != Some(&ts) {
            self.stamps.insert(index, ts);
        }
        // R3: after a crash a range delete may come again, and versions below it may have come back before it.
        self.swept = self.swept.min(ts.prev());
        self.omitted = self.omitted.min(ts.prev());
    }

    /// Forgets range deletes hidden behind one that nobody can look behind.
    fn settle(&mut self, oldest: Timestamp) {
        if let Some(index) = self.stamps.iter().position(|&ts| ts <= oldest) {
            self.stamps.truncate(index + 1);
        }
    }
}

/// A piece of work for the sweep: every version below `ts` of the keys in `low..high` can go from the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SweepRange {
    pub(crate) low: Box<[u8]>,
    pub(crate) high: Box<[u8]>,
    pub(crate) ts: Timestamp,
}

/// The list (R1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeTombs {
    fragments: Vec<Arc<Fragment>>,
}

/// Whether the end `high` (empty: none) lies behind `key`.
fn ends_after(high: &[u8], key: &[u8]) -> bool {
    high.is_empty() || key < high
}

/// The lesser of two ends, of which an empty one is the greatest.
fn lesser_end<'a>(a: &'a [u8], b: &'a [u8]) -> &'a [u8] {
    if a.is_empty() || (!b.is_empty() && b < a) { b } else { a }
}

impl RangeTombs {
    pub(crate) fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// The list with those of a buffer more. Costs a count per fragment that stays.
    #[must_use]
    pub(crate) fn united(&self, others: &memtable::RangeTombs, oldest: Timestamp) -> RangeTombs {
        let mut fragments = Vec::with_capacity(self.fragments.len() + 2);
        let mut rest = VecDeque::from(self.fragments.clone());
        for new in others.fragments() {
            while rest.front().is_some_and(|fragment| !ends_after(&fragment.high, new.low)) {
                fragments.extend(rest.pop_front());
            }
            let mut met = Vec::new();
            while rest.front().is_some_and(|fragment| ends_after(new.high, &fragment.low)) {
                met.extend(rest.pop_front());
            }
            let met = RangeTombs { fragments: met };
            let mut part =
                new.tss.iter().rev().fold(met, |part, &ts| part.with(new.low, new.high, ts, oldest)).fragments;
            // A piece beyond the end may be met by the next one.
            let beyond = part.pop_if(|last| !new.high.is_empty() && *last.low >= *new.high);
            beyond.into_iter().for_each(|piece| rest.push_front(piece));
            fragments.append(&mut part);
        }
        fragments.extend(rest);
        let tombs = RangeTombs { fragments };
        debug_assert!(tombs.is_ordered(), "R1: fragments are ascending and do not overlap");
        tombs
    }

    /// The list with a range delete at `ts` more.
    #[must_use]
    fn with(&self, low: &[u8], high: &[u8], ts: Timestamp, oldest: Timestamp) -> RangeTombs {
        if !ends_after(high, low) {
            return self.clone();
        }
        let mut fragments = Vec::with_capacity(self.fragments.len() + 2);
        // Everything below `from` is dealt with; `None`: all of `low..high` is.
        let mut from = Some(low.to_vec());
        for fragment in &self.fragments {
            let overlaps = ends_after(&fragment.high, low) && ends_after(high, &fragment.low);
            if !overlaps {
                if let Some(start) = from.take_if(|_| !ends_after(high, &fragment.low)) {
                    fragments.push(Arc::new(Fragment::new(&start, high, ts)));
                }
                fragments.push(Arc::clone(fragment));
                continue;
            }
            if *fragment.low < *low {
                fragments.push(Arc::new(fragment.piece(&fragment.low, low)));
            } else if let Some(start) = from.as_deref().filter(|&start| *start < *fragment.low) {
                fragments.push(Arc::new(Fragment::new(start, &fragment.low, ts)));
            }
            let begin = if *fragment.low < *low { low } else { &fragment.low };
            let end = lesser_end(&fragment.high, high);
            let mut inside = fragment.piece(begin, end);
            inside.insert(ts);
            inside.settle(oldest);
            fragments.push(Arc::new(inside));
            if end != &*fragment.high {
                fragments.push(Arc::new(fragment.piece(end, &fragment.high)));
            }
            from = (!end.is_empty() && end != high).then(|| end.to_vec());
        }
        if let Some(start) = from {
            fragments.push(Arc::new(Fragment::new(&start, high, ts)));
        }
        let tombs = RangeTombs { fragments };
        debug_assert!(tombs.is_ordered(), "R1: fragments are ascending and do not overlap");
        tombs
    }

    fn is_ordered(&self) -> bool {
        self.fragments.windows(2).all(|pair| !pair[0].high.is_empty() && pair[0].high <= pair[1].low)
            && self.fragments.iter().all(|f| {
                ends_after(&f.high, &f.low)
                    && !f.stamps.is_empty()
                    && f.stamps.is_sorted_by(|newer, older| newer > older)
            })
    }

    fn fragment_of(&self, key: &[u8]) -> Option<&Fragment> {
        let index = self.fragments.partition_point(|fragment| *fragment.low <= *key).checked_sub(1)?;
        Some(&*self.fragments[index]).filter(|fragment| ends_after(&fragment.high, key))
    }

    /// The newest range delete at or before `at` that covers `key`.
    pub(crate) fn covering(&self, key: &[u8], at: Timestamp) -> Option<Timestamp> {
        self.fragment_of(key)?.newest_at(at)
    }

    /// Whether a range delete that a value written at `ts` survived covers `key` (P3). One of the same commit counts too: without its
    /// timestamp the value would seem older.
    pub(crate) fn has_survived(&self, key: &[u8], ts: Timestamp) -> bool {
        self.fragment_of(key).and_then(|fragment| fragment.stamps.last()).is_some_and(|&oldest| oldest <= ts)
    }

    /// The newest range delete that covers any key between the bounds.
    pub(crate) fn newest_in(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Option<Timestamp> {
        let bounds = KeyBounds { lower, upper };
        if bounds.is_empty() {
            return None;
        }
        let first = match lower {
            Bound::Unbounded => 0,
            Bound::Included(low) | Bound::Excluded(low) => {
                self.fragments.partition_point(|fragment| !ends_after(&fragment.high, low))
            }
        };
        self.fragments[first..]
            .iter()
            .take_while(|fragment| !bounds.is_above(&fragment.low))
            .filter(|fragment| {
                let high = if fragment.high.is_empty() { Bound::Unbounded } else { Bound::Excluded(&*fragment.high) };
                let lower = match lower {
                    Bound::Included(low) | Bound::Excluded(low) if *low > *fragment.low => lower,
                    Bound::Excluded(low) if *low == *fragment.low => lower,
                    _ => Bound::Included(&*fragment.low),
                };
                !KeyBounds { lower, upper: high }.is_empty()
            })
            .filter_map(|fragment| fragment.stamps.first().copied())
            .max()
    }

    /// The part of the list that overlaps `low..high` (an empty high end: none).
    #[must_use]
    pub(crate) fn overlapping(&self, low: &[u8], high: &[u8]) -> RangeTombs {
        let first = self.fragments.partition_point(|fragment| !ends_after(&fragment.high, low));
        let fragments =
            self.fragments[first..].iter().take_while(|fragment| ends_after(high, &fragment.low)).cloned().collect();
        RangeTombs { fragments }
    }

    /// Each interval with the newest range delete over it.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (&[u8], &[u8], Timestamp)> {
        self.fragments.iter().filter_map(|fragment| Some((&*fragment.low, &*fragment.high, *fragment.stamps.first()?)))
    }

    /// The next piece of work for the sweep, if any: only range deletes that no reader can look behind.
    pub(crate) fn next_to_sweep(&self, oldest: Timestamp) -> Option<SweepRange> {
        self.fragments.iter().find_map(|fragment| {
            let ts = fragment.newest_at(oldest).filter(|&ts| ts > fragment.swept)?;
            Some(SweepRange { low: fragment.low.clone(), high: fragment.high.clone(), ts })
        })
    }

    /// Whether no page holds anything that they cover.
    pub(crate) fn are_all_swept(&self) -> bool {
        self.fragments.iter().all(|fragment| fragment.stamps.first().is_none_or(|&newest| newest <= fragment.swept))
    }

    /// The list after the pages of `range` were gone through (R3). `redone` are those added again meanwhile.
    #[must_use]
    pub(crate) fn with_swept(&self, range: &SweepRange) -> RangeTombs {
        self.map(|fragment| {
            let inside = *fragment.low >= *range.low
                && (range.high.is_empty() || (!fragment.high.is_empty() && *fragment.high <= *range.high));
            if inside && fragment.swept < range.ts {
                fragment.swept = range.ts;
            }
        })
    }

    /// The list at the freeze of a checkpoint: what is swept by now will be left out (R4).
    #[must_use]
    pub(crate) fn with_omitted(&self) -> RangeTombs {
        self.map(|fragment| fragment.omitted = fragment.swept)
    }

    /// The list once that checkpoint is durable (R4).
    #[must_use]
    pub(crate) fn without_omitted(&self) -> RangeTombs {
        self.map(|fragment| {
            let omitted = fragment.omitted;
            fragment.stamps.retain(|&ts| ts > omitted);
        })
    }

    fn map(&self, change: impl Fn(&mut Fragment)) -> RangeTombs {
        let changed = |fragment: &Arc<Fragment>| {
            let mut next = Fragment::clone(fragment);
            change(&mut next);
            match next.stamps.is_empty() {
                true => None,
                false if next == **fragment => Some(Arc::clone(fragment)),
                false => Some(Arc::new(next)),
            }
        };
        RangeTombs { fragments: self.fragments.iter().filter_map(changed).collect() }
    }

    /// The list as a checkpoint writes it: without what it leaves out.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let kept = self.without_omitted();
        let mut out = Vec::new();
        varint::put(&mut out, kept.fragments.len() as u64);
        for fragment in &kept.fragments {
            for end in [&fragment.low, &fragment.high] {
                varint::put(&mut out, end.len() as u64);
                out.extend_from_slice(end);
            }
            varint::put(&mut out, fragment.stamps.len() as u64);
            fragment.stamps.iter().for_each(|ts| varint::put(&mut out, ts.get()));
        }
        out
    }

    /// Reads what [`RangeTombs::encode`] wrote; `None` if it is anything else. Total.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<RangeTombs> {
        let count = varint::take(&mut bytes)?;
        let mut fragments = Vec::new();
        for _ in 0..count {
            let low = varint::take_bytes(&mut bytes)?;
            let high = varint::take_bytes(&mut bytes)?;
            let mut stamps = Vec::new();
            for _ in 0..varint::take(&mut bytes)? {
                stamps.push(Timestamp::new(varint::take(&mut bytes)?));
            }
            let mut fragment = Fragment::new(low, high, Timestamp::ZERO);
            fragment.stamps = stamps;
            fragments.push(Arc::new(fragment));
        }
        let tombs = RangeTombs { fragments };
        let is_of_commits = tombs.fragments.iter().all(|fragment| fragment.stamps.last() > Some(&Timestamp::ZERO));
        (bytes.is_empty() && tombs.is_ordered() && is_of_commits).then_some(tombs)
    }
}

#[cfg(test)]
mod tests;
