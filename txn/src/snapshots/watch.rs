//! How long readers live: who is looked at now and then, and ended when it has grown too old.
//!
//! Nothing is written when a reader begins but the number of its turn: a look that finds a turn for the first time notes the time. So an age is
//! counted from the first look that found the reader, and is short by the time between two looks at most. The time is an argument.
//!
//! Whoever is ended stays in its slot until it goes by itself, and is told at its next read (R6). It is left out of every set that is built from
//! then on, and what only it could see goes.

use std::time::Duration;

use duramen_base::sync::Arc;
use duramen_base::{Timestamp, TxnOrigin};

use super::Snapshots;
use super::slot::Slot;

/// A slot of the list, and since when its reader is known.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) slot: Arc<Slot>,
    /// The turn that was found last; 0: none.
    seen_turn: u64,
    seen_at: Duration,
}

impl Listed {
    pub(super) fn new(slot: Arc<Slot>) -> Listed {
        Listed { slot, seen_turn: 0, seen_at: Duration::ZERO }
    }

    /// Its reader, with the time known about, if it has one.
    fn look(&mut self, now: Duration) -> Option<(Timestamp, Duration)> {
        let ts = self.slot.announced()?;
        let turn = self.slot.turn();
        if turn != self.seen_turn {
            (self.seen_turn, self.seen_at) = (turn, now);
        }
        Some((ts, now.saturating_sub(self.seen_at)))
    }

    fn info(&mut self, now: Duration, newest: Timestamp) -> Option<ReaderInfo> {
        let (ts, age) = self.look(now)?;
        let who = self.slot.who()?;
        // R5: who reads, and where, is of this turn if the turn did not change meanwhile.
        let is_same = self.slot.announced() == Some(ts) && self.slot.turn() == self.seen_turn;
        let commits_since = newest.get().saturating_sub(ts.get());
        is_same.then(|| ReaderInfo { ts, age, who, commits_since, is_ended: self.slot.is_ended(self.seen_turn) })
    }
}

/// A reader that lives: a snapshot, a transaction that reads at one, an iterator.
///
/// ```
/// use duramen_base::{Timestamp, TxnOrigin};
/// use duramen_txn::Snapshots;
/// use std::time::Duration;
/// let snapshots = Snapshots::new();
/// let _reader = snapshots.register(&TxnOrigin::here(Some("report")), || Timestamp::new(4));
/// snapshots.look(Duration::from_secs(1));
/// let readers = snapshots.readers(Duration::from_secs(61), Timestamp::new(9));
/// assert_eq!((readers[0].age, readers[0].commits_since), (Duration::from_secs(60), 5));
/// assert_eq!(readers[0].who.label, Some("report"));
/// assert!(!readers[0].is_ended);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderInfo {
    /// The commit it reads at.
    pub ts: Timestamp,
    /// How long it is known to live.
    pub age: Duration,
    /// Its label, and where in the program it was begun.
    pub who: TxnOrigin,
    /// How many commits came after it. What they replaced or deleted is kept for it: one version of each of their keys at most, and none that
    /// came and went since.
    pub commits_since: u64,
    /// Whether it was ended for its age: it keeps nothing any more, and its next read is refused.
    pub is_ended: bool,
}

impl Snapshots {
    /// Notes who is there at `now`, by a clock that never goes back.
    pub fn look(&self, now: Duration) {
        self.list.lock().slots.iter_mut().for_each(|listed| {
            listed.look(now);
        });
    }

    /// As [`Snapshots::look`], and ends whoever was found first more than `age_max` ago; says how many were ended now.
    ///
    /// See [`super::Registration::is_ended`] for an example.
    pub fn end_older(&self, now: Duration, age_max: Duration) -> usize {
        let mut list = self.list.lock();
        let end = |listed: &mut Listed| {
            let is_old = listed.look(now).is_some_and(|(_, age)| age > age_max);
            is_old && !listed.slot.is_ended(listed.seen_turn) && listed.slot.end(listed.seen_turn)
        };
        list.slots.iter_mut().map(end).filter(|&ended| ended).count()
    }

    /// Everybody who reads at `now`, when `newest` is the newest commit; the oldest timestamp first.
    pub fn readers(&self, now: Duration, newest: Timestamp) -> Vec<ReaderInfo> {
        let mut list = self.list.lock();
        let mut readers: Vec<_> = list.slots.iter_mut().filter_map(|listed| listed.info(now, newest)).collect();
        readers.sort_by_key(|reader| (reader.ts, std::cmp::Reverse(reader.age)));
        readers
    }
}
