//! The dirty board: writes of transactions that run, for readers at `ReadUncommitted`.
//!
//! Kept only by a database that was opened for it; nobody else looks at it, and nothing is ever cached from it. It
//! knows no committed version: which of a pending and a committed one is newer, the engine finds out.
//!
//! Y1  An entry stands on the board from its write until its transaction rolled back, or its commit became visible.
//! Y2  Among pending versions the newest is the one with the highest (visible ts at its write, arrival).

use std::collections::BTreeMap;

use duramen_base::sync::{Arc, Mutex};
use duramen_base::{KeyBounds, KeyspaceId, Timestamp, Value};

use crate::footprint::KeyRange;
use crate::key::Key;
use crate::write_set::Own;

/// The pending writes of one database.
///
/// ```
/// use duramen_base::{KeyspaceId, Timestamp, Value};
/// use duramen_txn::{DirtyBoard, Own, Posted};
/// let (ks, board) = (KeyspaceId::new(1), DirtyBoard::new());
/// let mut posted = Posted::on(&board);
/// posted.put(ks, b"x", Value::from(&b"101"[..]), Timestamp::new(4));
/// assert_eq!(board.newest(ks, b"x").expect("pending").what, Own::Put(Value::from(&b"101"[..])));
/// drop(posted); // rolled back
/// assert!(board.newest(ks, b"x").is_none());
/// ```
#[derive(Debug, Default)]
pub struct DirtyBoard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    arrivals: u64,
    keyspaces: BTreeMap<KeyspaceId, Section>,
}

#[derive(Debug, Default)]
struct Section {
    points: BTreeMap<Key, Vec<Pending>>,
    ranges: Vec<(KeyRange, Pending)>,
}

/// A write that is not committed.
///
/// See [`DirtyBoard`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What was visible when it was written.
    pub ts: Timestamp,
    /// The n-th write on the board.
    pub arrival: u64,
    /// What it makes of the key.
    pub what: Own,
}

/// What a pending write is about, and what it makes of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingOp {
    /// One key.
    Key(Key, Pending),
    /// Every key of a range is deleted.
    Range(KeyRange, Pending),
}

impl PendingOp {
    /// The write itself.
    pub fn pending(&self) -> &Pending {
        match self {
            PendingOp::Key(_, pending) | PendingOp::Range(_, pending) => pending,
        }
    }
}

impl DirtyBoard {
    /// Nothing is pending.
    pub fn new() -> Arc<DirtyBoard> {
        Arc::default()
    }

    /// The newest pending version of `key` (Y2).
    pub fn newest(&self, keyspace: KeyspaceId, key: &[u8]) -> Option<Pending> {
        let state = self.state.lock();
        let section = state.keyspaces.get(&keyspace)?;
        let points = section.points.get(key).into_iter().flatten();
        let ranges = section.ranges.iter().filter(|(range, _)| range.contains(keyspace, key)).map(|(_, one)| one);
        points.chain(ranges).max_by_key(|one| (one.ts, one.arrival)).cloned()
    }

    /// Everything pending on keys in `bounds`, oldest first (Y2). Ranges are given whole.
    ///
    /// ```
    /// # use duramen_base::{KeyBounds, KeyspaceId, Timestamp};
    /// # use duramen_txn::{DirtyBoard, Posted};
    /// # let (ks, board) = (KeyspaceId::new(1), DirtyBoard::new());
    /// let mut posted = Posted::on(&board);
    /// posted.delete_range(ks, b"a", b"m", Timestamp::new(4));
    /// assert_eq!(board.all_in(ks, &KeyBounds::ALL)[0].pending().ts, Timestamp::new(4));
    /// ```
    pub fn all_in(&self, keyspace: KeyspaceId, bounds: &KeyBounds<'_>) -> Vec<PendingOp> {
        let state = self.state.lock();
        let Some(section) = state.keyspaces.get(&keyspace) else { return Vec::new() };
        let mut all: Vec<PendingOp> = Vec::new();
        for (key, pending) in section.points.iter().filter(|(key, _)| bounds.contains(key)) {
            all.extend(pending.iter().map(|one| PendingOp::Key(key.clone(), one.clone())));
        }
        all.extend(section.ranges.iter().map(|(range, one)| PendingOp::Range(range.clone(), one.clone())));
        all.sort_unstable_by_key(|op| (op.pending().ts, op.pending().arrival));
        all
    }
}

/// What one transaction has on the board. Dropping it takes everything off (Y1).
///
/// ```
/// use duramen_base::{KeyspaceId, Timestamp, Value};
/// use duramen_txn::{DirtyBoard, Own, Posted};
/// let (ks, board) = (KeyspaceId::new(1), DirtyBoard::new());
/// let mut posted = Posted::on(&board);
/// posted.put(ks, b"x", Value::from(&b"1"[..]), Timestamp::new(4));
/// let savepoint = posted.len();
/// posted.delete(ks, b"x", Timestamp::new(4));
/// assert_eq!(board.newest(ks, b"x").expect("pending").what, Own::Deleted);
/// posted.truncate(savepoint);
/// assert_ne!(board.newest(ks, b"x").expect("pending").what, Own::Deleted);
/// assert!(!posted.is_empty());
/// ```
#[derive(Debug)]
pub struct Posted {
    board: Arc<DirtyBoard>,
    /// Its entries in their order: which keyspace, which key (`None`: a range), which arrival.
    entries: Vec<(KeyspaceId, Option<Key>, u64)>,
}

impl Posted {
    /// Nothing yet.
    pub fn on(board: &Arc<DirtyBoard>) -> Posted {
        Posted { board: Arc::clone(board), entries: Vec::new() }
    }

    /// A put, when `ts` was visible.
    pub fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: Value, ts: Timestamp) {
        self.post_key(keyspace, key, Own::Put(value), ts);
    }

    /// A delete.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: &[u8], ts: Timestamp) {
        self.post_key(keyspace, key, Own::Deleted, ts);
    }

    /// A range delete; with an empty `high` to the end of the keyspace.
    pub fn delete_range(&mut self, keyspace: KeyspaceId, low: &[u8], high: &[u8], ts: Timestamp) {
        let high = (!high.is_empty()).then(|| Key::from(high));
        let range = KeyRange { keyspace, low: Key::from(low), high };
        if range.is_empty() {
            return;
        }
        let mut state = self.board.state.lock();
        let arrival = state.next_arrival();
        state.section(keyspace).ranges.push((range, Pending { ts, arrival, what: Own::Deleted }));
        self.entries.push((keyspace, None, arrival));
    }

    fn post_key(&mut self, keyspace: KeyspaceId, key: &[u8], what: Own, ts: Timestamp) {
        let key = Key::from(key);
        let mut state = self.board.state.lock();
        let arrival = state.next_arrival();
        state.section(keyspace).points.entry(key.clone()).or_default().push(Pending { ts, arrival, what });
        self.entries.push((keyspace, Some(key), arrival));
    }

    /// How many entries there are: a mark for [`Posted::truncate`].
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes off what came after the first `len` entries: a savepoint was rolled back to.
    pub fn truncate(&mut self, len: usize) {
        let mut state = self.board.state.lock();
        for (keyspace, key, arrival) in self.entries.drain(len.min(self.entries.len())..) {
            let section = state.section(keyspace);
            match key {
                None => section.ranges.retain(|(_, one)| one.arrival != arrival),
                Some(key) => {
                    let pending = section.points.get_mut(&*key).expect("Y1: an entry stands until it is taken off");
                    pending.retain(|one| one.arrival != arrival);
                    if pending.is_empty() {
                        section.points.remove(&*key);
                    }
                }
            }
        }
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

impl State {
    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn section(&mut self, keyspace: KeyspaceId) -> &mut Section {
        self.keyspaces.entry(keyspace).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KS: KeyspaceId = KeyspaceId::new(1);

    fn value(text: &str) -> Value {
        Value::from(text.as_bytes())
    }

    fn ts(ts: u64) -> Timestamp {
        Timestamp::new(ts)
    }

    #[test]
    fn the_newest_is_the_latest_at_the_highest_ts() {
        let board = DirtyBoard::new();
        let (mut one, mut two) = (Posted::on(&board), Posted::on(&board));
        two.put(KS, b"x", value("two"), ts(5));
        one.put(KS, b"x", value("one"), ts(4));
        let newest = || board.newest(KS, b"x").map(|pending| pending.what);
        assert_eq!(newest(), Some(Own::Put(value("two"))), "Y2");
        one.delete_range(KS, b"a", b"", ts(5));
        assert_eq!(newest(), Some(Own::Deleted), "Y2");
        drop(one);
        assert_eq!(newest(), Some(Own::Put(value("two"))), "Y1");
    }

    #[test]
    fn everything_pending_comes_oldest_first() {
        let board = DirtyBoard::new();
        let mut posted = Posted::on(&board);
        posted.put(KS, b"b", value("1"), ts(1));
        posted.delete_range(KS, b"a", b"c", ts(2));
        posted.delete_range(KS, b"c", b"a", ts(2)); // empty
        posted.put(KS, b"b", value("2"), ts(2));
        let seen: Vec<_> = board.all_in(KS, &KeyBounds::ALL).iter().map(|op| op.pending().what.clone()).collect();
        assert_eq!(seen, [Own::Put(value("1")), Own::Deleted, Own::Put(value("2"))]);
        assert!(board.all_in(KeyspaceId::new(2), &KeyBounds::ALL).is_empty());
    }
}
