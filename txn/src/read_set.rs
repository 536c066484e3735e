//! What a transaction has read, as far as its commit has to know.
//!
//! Keys read and intervals scanned (which of them: [`TrackReads`]), and what locking reads of an optimistic transaction
//! looked at. Read sets never shrink, savepoints or not: what was read has influenced the program. It reads nothing
//! itself and judges nothing.
//!
//! R1  A scan covers what its iterator has walked: from its beginning through the last key given, to its end once it
//!     ran out; from the other side likewise.
//! R2  A scan gives nothing more once its transaction has asked what was read.
//!
//! Next: `footprint.rs` (what becomes of it), `ssi.rs` (what for).

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::footprint::{Footprint, KeyRange, Keys, successor};
use crate::isolation::TrackReads;
use crate::key::Key;
use crate::lock_item::LockItem;
use duramen_base::sync::{Arc, Mutex};
use duramen_base::{KeyBounds, KeyspaceId, LockMode, Timestamp, mutant};

/// With fewer keys than this nobody looks for doubles.
const KEYS_BEFORE_DEDUP: usize = 256;
/// Memory of one key read beside its bytes.
const ENTRY_BYTES: usize = 40;

/// The reads of one transaction.
///
/// ```
/// use duramen_base::{KeyBounds, KeyspaceId};
/// use duramen_txn::{ReadSet, TrackReads};
/// let ks = KeyspaceId::new(1);
/// let mut reads = ReadSet::new(TrackReads::KeysAndRanges);
/// reads.note_key(ks, b"oak");
/// let scan = reads.begin_scan(ks, &KeyBounds::ALL).expect("ranges are tracked");
/// assert!(scan.note_forward(Some(b"elm"))); // the iterator gave `elm`, so everything up to there was read
/// let footprint = reads.footprint();
/// assert_eq!((footprint.keys().len(), footprint.ranges().len()), (1, 1));
/// assert!(!scan.note_forward(Some(b"fir"))); // too late
/// ```
#[derive(Debug)]
pub struct ReadSet {
    track: TrackReads,
    keys: Keys,
    /// Length of `keys` at which doubles are looked for next.
    dedup_at: usize,
    bytes: usize,
    scans: Vec<Arc<Scan>>,
    locked: BTreeMap<(KeyspaceId, Key), Timestamp>,
    locked_scans: Vec<(Arc<Scan>, Timestamp)>,
}

impl ReadSet {
    /// Nothing read yet.
    pub fn new(track: TrackReads) -> ReadSet {
        ReadSet {
            track,
            keys: Keys::new(),
            dedup_at: KEYS_BEFORE_DEDUP,
            bytes: 0,
            scans: Vec::new(),
            locked: BTreeMap::new(),
            locked_scans: Vec::new(),
        }
    }

    /// Remembers nothing of plain reads from now on, nor what it has: the transaction's snapshot turned out safe. Scans that still run give
    /// nothing more (R2).
    ///
    /// ```
    /// # use duramen_base::KeyspaceId;
    /// # use duramen_txn::{ReadSet, TrackReads};
    /// let mut reads = ReadSet::new(TrackReads::Keys);
    /// reads.stop_tracking();
    /// reads.note_key(KeyspaceId::new(1), b"oak");
    /// assert!(reads.footprint().is_empty());
    /// ```
    pub fn stop_tracking(&mut self) {
        self.close_scans();
        *self = ReadSet::new(TrackReads::No);
    }

    /// A plain read of `key`, there or not.
    #[inline]
    pub fn note_key(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        if self.track != TrackReads::No {
            self.push(keyspace, Key::from(key));
        }
    }

    fn push(&mut self, keyspace: KeyspaceId, key: Key) {
        self.bytes += ENTRY_BYTES + key.heap_bytes();
        self.keys.push((keyspace, key));
        if self.keys.len() >= self.dedup_at {
            self.keys.sort_unstable();
            self.keys.dedup();
            self.bytes = self.keys.iter().map(|(_, key)| ENTRY_BYTES + key.heap_bytes()).sum();
            self.dedup_at = KEYS_BEFORE_DEDUP.max(self.keys.len() * 2);
        }
    }

    /// A plain scan begins; `None` if scans are not tracked at this level. Its iterator notes how far it came.
    pub fn begin_scan(&mut self, keyspace: KeyspaceId, bounds: &KeyBounds<'_>) -> Option<Arc<Scan>> {
        if self.track == TrackReads::No {
            return None;
        }
        let scan = Arc::new(Scan::new(keyspace, bounds, self.track == TrackReads::Keys));
        self.scans.push(Arc::clone(&scan));
        Some(scan)
    }

    /// A locking read of `key` at `ts`, to be validated at commit against the first such ts.
    ///
    /// ```
    /// # use duramen_base::{KeyspaceId, Timestamp};
    /// # use duramen_txn::{ReadSet, TrackReads};
    /// let mut reads = ReadSet::new(TrackReads::No);
    /// reads.note_locked_key(KeyspaceId::new(1), b"oak", Timestamp::new(4));
    /// reads.note_locked_key(KeyspaceId::new(1), b"oak", Timestamp::new(9));
    /// assert!(reads.has_locked());
    /// assert_eq!(reads.locked().keys[0].2, Timestamp::new(4));
    /// ```
    pub fn note_locked_key(&mut self, keyspace: KeyspaceId, key: &[u8], ts: Timestamp) {
        self.locked.entry((keyspace, Key::from(key))).or_insert(ts);
    }

    /// A locking scan at `ts`. Its iterator notes how far it came.
    ///
    /// ```
    /// # use duramen_base::{KeyBounds, KeyspaceId, LockMode, Timestamp};
    /// # use duramen_txn::{ReadSet, TrackReads};
    /// let mut reads = ReadSet::new(TrackReads::No);
    /// let scan = reads.begin_locked_scan(KeyspaceId::new(1), &KeyBounds::ALL, Timestamp::new(4));
    /// assert!(scan.note_backward(None)); // it ran to its end
    /// assert_eq!(reads.locked().ranges.len(), 1);
    /// ```
    pub fn begin_locked_scan(&mut self, keyspace: KeyspaceId, bounds: &KeyBounds<'_>, ts: Timestamp) -> Arc<Scan> {
        let scan = Arc::new(Scan::new(keyspace, bounds, false));
        self.locked_scans.push((Arc::clone(&scan), ts));
        scan
    }

    /// Whether there were locking reads.
    pub fn has_locked(&self) -> bool {
        !self.locked.is_empty() || !self.locked_scans.is_empty()
    }

    /// Whether nothing is known of.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.scans.is_empty() && !self.has_locked()
    }

    /// Memory the keys take in bytes, about.
    ///
    /// ```
    /// # use duramen_base::KeyspaceId;
    /// # use duramen_txn::{ReadSet, TrackReads};
    /// let mut reads = ReadSet::new(TrackReads::Keys);
    /// assert!(reads.is_empty());
    /// reads.note_key(KeyspaceId::new(1), b"oak");
    /// assert!(reads.bytes() > 0);
    /// ```
    pub fn bytes(&self) -> u64 {
        (self.bytes + self.locked.len() * 2 * ENTRY_BYTES) as u64
    }

    /// Everything read by plain reads; scans that still run give nothing from now on (R2).
    pub fn footprint(&mut self) -> Footprint {
        let mut keys = std::mem::take(&mut self.keys);
        let mut ranges = Vec::new();
        for scan in self.scans.drain(..) {
            scan.close(&mut keys, &mut ranges);
        }
        Footprint::of_keys(keys, ranges)
    }

    /// What locking reads looked at, keys and ranges, each with the ts to validate it against; scans that still run give
    /// nothing from now on (R2).
    pub fn locked(&mut self) -> LockedReads {
        let keys = std::mem::take(&mut self.locked).into_iter().map(|((keyspace, key), ts)| (keyspace, key, ts));
        let mut ranges = Vec::new();
        for (scan, ts) in self.locked_scans.drain(..) {
            let mut walked = Vec::new();
            scan.close(&mut Keys::new(), &mut walked);
            ranges.extend(walked.into_iter().map(|range| (range, ts)));
        }
        LockedReads { keys: keys.collect(), ranges }
    }

    /// Makes every iterator that still runs fail, without asking what was read: the transaction is over.
    ///
    /// ```
    /// # use duramen_base::{KeyBounds, KeyspaceId};
    /// # use duramen_txn::{ReadSet, TrackReads};
    /// let mut reads = ReadSet::new(TrackReads::Keys);
    /// let scan = reads.begin_scan(KeyspaceId::new(1), &KeyBounds::ALL).expect("tracked");
    /// reads.close_scans();
    /// assert!(!scan.note_backward(Some(b"oak")));
    /// ```
    pub fn close_scans(&mut self) {
        let locked = self.locked_scans.drain(..).map(|(scan, _)| scan);
        self.scans.drain(..).chain(locked).for_each(|scan| scan.walked.lock().closed = true);
    }
}

/// What locking reads looked at, each with the ts of the first look.
///
/// See [`ReadSet::note_locked_key`] for an example.
#[derive(Debug, Default)]
pub struct LockedReads {
    /// Keys.
    pub keys: Vec<(KeyspaceId, Key, Timestamp)>,
    /// Ranges, as far as they were walked.
    pub ranges: Vec<(KeyRange, Timestamp)>,
}

/// How far one scan has come; shared by its iterator and its transaction.
///
/// See [`ReadSet`] for an example.
#[derive(Debug)]
pub struct Scan {
    keyspace: KeyspaceId,
    low: Key,
    high: Option<Key>,
    /// Whether only the keys given count, not what lies between them.
    keys_only: bool,
    walked: Mutex<Walked>,
}

#[derive(Debug, Default)]
struct Walked {
    /// The last key given from the front.
    front: Option<Key>,
    /// The last key given from the back.
    back: Option<Key>,
    /// One end ran out: everything was walked.
    all: bool,
    keys: Vec<Key>,
    closed: bool,
}

impl Scan {
    fn new(keyspace: KeyspaceId, bounds: &KeyBounds<'_>, keys_only: bool) -> Scan {
        let low = match bounds.lower {
            Bound::Unbounded => Key::from(&b""[..]),
            Bound::Included(key) => Key::from(key),
            Bound::Excluded(key) => successor(key),
        };
        let high = match bounds.upper {
            Bound::Unbounded => None,
            Bound::Excluded(key) => Some(Key::from(key)),
            Bound::Included(key) => Some(successor(key)),
        };
        Scan { keyspace, low, high, keys_only, walked: Mutex::default() }
    }

    /// The iterator is about to give `key` from its front, or (`None`) to end. `false`: it must not (R2).
    pub fn note_forward(&self, key: Option<&[u8]>) -> bool {
        self.note(key, |walked| &mut walked.front)
    }

    /// The iterator is about to give `key` from its back, or (`None`) to end. `false`: it must not (R2).
    pub fn note_backward(&self, key: Option<&[u8]>) -> bool {
        self.note(key, |walked| &mut walked.back)
    }

    fn note(&self, key: Option<&[u8]>, end: impl FnOnce(&mut Walked) -> &mut Option<Key>) -> bool {
        let mut walked = self.walked.lock();
        match key {
            _ if walked.closed => {}
            None if mutant!("phantom_in_an_empty_gap") && walked.front.is_none() && walked.back.is_none() => {}
            None => walked.all = true,
            Some(key) if self.keys_only => walked.keys.push(Key::from(key)),
            Some(key) => *end(&mut walked) = Some(Key::from(key)),
        }
        !walked.closed
    }

    /// Says what was walked (R1), and ends the scan (R2).
    fn close(&self, keys: &mut Keys, ranges: &mut Vec<KeyRange>) {
        let mut walked = self.walked.lock();
        walked.closed = true;
        keys.extend(walked.keys.drain(..).map(|key| (self.keyspace, key)));
        if self.keys_only {
            return;
        }
        let mut range = |low: Key, high| ranges.push(KeyRange { keyspace: self.keyspace, low, high });
        if walked.all {
            return range(self.low.clone(), self.high.clone());
        }
        if let Some(last) = &walked.front {
            range(self.low.clone(), Some(successor(last)));
        }
        if let Some(last) = walked.back.take() {
            range(last, self.high.clone());
        }
    }
}

/// What a commit locks: its writes exclusively, `keys` and `ranges` that it read shared, in the one order in which commits lock.
///
/// ```
/// use duramen_base::{KeyspaceId, LockMode};
/// use duramen_txn::{Key, KeyRange, LockItem, commit_lock_items};
/// let (ks, key) = (KeyspaceId::new(1), |key: &str| Key::from(key.as_bytes()));
/// let range = KeyRange { keyspace: ks, low: key("c"), high: Some(key("f")) };
/// let items = commit_lock_items(vec![LockItem::key(ks, key("b"))], [(ks, key("b")), (ks, key("a"))], [range]);
/// let modes: Vec<_> = items.iter().map(|(_, mode)| *mode).collect();
/// assert_eq!(modes, [LockMode::Shared, LockMode::Exclusive, LockMode::Shared]); // a, b once, c..f
/// ```
pub fn commit_lock_items(
    writes: Vec<LockItem>,
    keys: impl IntoIterator<Item = (KeyspaceId, Key)>,
    ranges: impl IntoIterator<Item = KeyRange>,
) -> Vec<(LockItem, LockMode)> {
    let exclusive = |item| (item, LockMode::Exclusive);
    let shared = |item| (item, LockMode::Shared);
    let mut items: Vec<_> = writes.into_iter().map(exclusive).collect();
    let write_count = items.len();
    items.extend(keys.into_iter().map(|(keyspace, key)| shared(LockItem::key(keyspace, key))));
    let ranges = ranges.into_iter().filter(|range| !range.is_empty());
    items.extend(ranges.map(|range| shared(LockItem::range(range.keyspace, range.low, range.high))));
    if items.len() > write_count {
        // Exclusive before shared: what is both is locked once.
        items.sort_by(|(a, of_a), (b, of_b)| {
            let is_shared = |mode: &LockMode| *mode == LockMode::Shared;
            a.cmp_place(b).then_with(|| is_shared(of_a).cmp(&is_shared(of_b)))
        });
        items.dedup_by(|(next, _), (last, _)| next == last);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    const KS: KeyspaceId = KeyspaceId::new(1);

    fn bounds<'a>(low: &'a str, high: &'a str) -> KeyBounds<'a> {
        KeyBounds { lower: Bound::Included(low.as_bytes()), upper: Bound::Excluded(high.as_bytes()) }
    }

    fn covers(footprint: &Footprint, key: &str) -> bool {
        let written = Footprint::new(vec![(KS, Key::from(key.as_bytes()))], vec![]);
        footprint.overlap(&written).is_some()
    }

    fn scanned(walk: impl FnOnce(&Scan)) -> Footprint {
        let mut reads = ReadSet::new(TrackReads::KeysAndRanges);
        walk(&reads.begin_scan(KS, &bounds("b", "m")).expect("tracked"));
        reads.footprint()
    }

    #[test]
    fn a_scan_covers_what_it_walked() {
        let none = scanned(|_| ());
        assert!(none.is_empty());
        let part = scanned(|scan| assert!(scan.note_forward(Some(b"d"))));
        assert!(covers(&part, "b") && covers(&part, "c") && covers(&part, "d"), "R1");
        assert!(!covers(&part, "a") && !covers(&part, "d0"));
        let ends = scanned(|scan| assert!(scan.note_forward(Some(b"c")) && scan.note_backward(Some(b"k"))));
        assert!(covers(&ends, "bb") && covers(&ends, "l") && !covers(&ends, "e") && !covers(&ends, "m"), "R1");
        let all = scanned(|scan| assert!(scan.note_forward(Some(b"c")) && scan.note_forward(None)));
        assert!(covers(&all, "l") && !covers(&all, "m"), "R1");
    }

    #[test]
    fn keys_alone_leave_gaps_open() {
        let mut reads = ReadSet::new(TrackReads::Keys);
        let scan = reads.begin_scan(KS, &bounds("b", "m")).expect("tracked");
        assert!(scan.note_forward(Some(b"c")) && scan.note_forward(None));
        let footprint = reads.footprint();
        assert!(covers(&footprint, "c") && !covers(&footprint, "bb"));
    }

    #[test]
    fn reading_one_key_for_ever_takes_bounded_memory() {
        let mut reads = ReadSet::new(TrackReads::Keys);
        for n in 0..100_000u32 {
            reads.note_key(KS, &(n % 100).to_be_bytes());
        }
        assert!(reads.keys.len() <= KEYS_BEFORE_DEDUP && reads.bytes() < 100_000);
        assert_eq!(reads.footprint().keys().len(), 100);
    }

    #[test]
    fn what_is_read_and_written_is_locked_once_and_in_order() {
        let key = |key: &str| Key::from(key.as_bytes());
        let writes = vec![LockItem::range(KS, key("c"), Some(key("f"))), LockItem::key(KS, key("x"))];
        let range = KeyRange { keyspace: KS, low: key("e"), high: None };
        let items = commit_lock_items(writes, [(KS, key("x")), (KS, key("d")), (KS, key("a"))], [range]);
        let listed: Vec<_> = items.iter().map(|(item, mode)| (item.low().to_vec(), *mode)).collect();
        let (s, x) = (LockMode::Shared, LockMode::Exclusive);
        let expected = [("a", s), ("c", x), ("d", s), ("e", s), ("x", x)];
        assert_eq!(listed, expected.map(|(key, mode)| (key.as_bytes().to_vec(), mode)));
    }
}
