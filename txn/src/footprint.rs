//! What a transaction read, or what it wrote, as a plain set of keys and ranges that another can be held against.
//!
//! Immutable once built. It knows no timestamps and no transactions.
//!
//! F1  Keys ascend by (keyspace, key), each once.
//! F2  Ranges ascend and are disjoint: those that overlap or touch were merged.

use duramen_base::{ConflictPlace, KeyspaceId};
use smallvec::SmallVec;

use crate::key::Key;
use crate::lock_item::{LockItem, LockKind};

/// Memory of one entry beside the bytes outside it.
const ENTRY_BYTES: usize = 56;

/// Most transactions that are short touch one.
pub(crate) type Keys = SmallVec<[(KeyspaceId, Key); 1]>;

/// A range of keys of one keyspace: `[low, high)`, or to the end of the keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// In which keyspace.
    pub keyspace: KeyspaceId,
    /// The first key of it, present or not.
    pub low: Key,
    /// The first key behind it; `None`: to the end of the keyspace.
    pub high: Option<Key>,
}

impl KeyRange {
    /// Whether it has no key: then it is nothing.
    pub fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| *high <= self.low)
    }

    pub(crate) fn contains(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        self.keyspace == keyspace && &*self.low <= key && self.ends_after(key)
    }

    fn ends_after(&self, key: &[u8]) -> bool {
        self.high.as_deref().is_none_or(|high| key < high)
    }

    fn overlaps(&self, other: &KeyRange) -> bool {
        self.keyspace == other.keyspace && self.ends_after(&other.low) && other.ends_after(&self.low)
    }

    fn place(&self) -> (KeyspaceId, &[u8]) {
        (self.keyspace, &self.low)
    }
}

/// The key behind which nothing lies before the next longer one: the end of an interval that includes `key`.
pub(crate) fn successor(key: &[u8]) -> Key {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.extend_from_slice(key);
    bytes.push(0);
    Key::from(&*bytes)
}

/// Keys and ranges, over any keyspaces.
///
/// ```
/// use duramen_base::KeyspaceId;
/// use duramen_txn::{Footprint, Key, KeyRange};
/// let ks = KeyspaceId::new(1);
/// let key = |key: &str| Key::from(key.as_bytes());
/// let read = Footprint::new(vec![(ks, key("k"))], vec![KeyRange { keyspace: ks, low: key("a"), high: Some(key("c")) }]);
/// let written = Footprint::new(vec![(ks, key("b"))], vec![]);
/// assert_eq!(read.overlap(&written).expect("inside the range").key, b"b");
/// assert!(read.overlap(&Footprint::new(vec![(ks, key("c"))], vec![])).is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    keys: Keys,
    ranges: Vec<KeyRange>,
}

impl Footprint {
    /// The set of all of these.
    pub fn new(keys: impl IntoIterator<Item = (KeyspaceId, Key)>, ranges: Vec<KeyRange>) -> Footprint {
        Footprint::of_keys(keys.into_iter().collect(), ranges)
    }

    pub(crate) fn of_keys(mut keys: Keys, mut ranges: Vec<KeyRange>) -> Footprint {
        keys.sort_unstable();
        keys.dedup();
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        ranges.dedup_by(|next, last| {
            let merges = last.keyspace == next.keyspace && last.high.as_ref().is_none_or(|high| next.low <= *high);
            if merges {
                last.high = match (last.high.take(), next.high.take()) {
                    (Some(one), Some(other)) => Some(one.max(other)),
                    (None, _) | (_, None) => None,
                };
            }
            merges
        });
        Footprint { keys, ranges }
    }

    /// What the items cover that a commit locks for its writes.
    pub fn of_items(items: impl IntoIterator<Item = LockItem>) -> Footprint {
        let mut footprint = Footprint::default();
        for item in items {
            let keyspace = item.keyspace();
            match item.into_parts() {
                (key, LockKind::Key) => footprint.keys.push((keyspace, key)),
                (low, LockKind::Range { high }) => footprint.ranges.push(KeyRange { keyspace, low, high }),
            }
        }
        footprint
    }

    /// With these as well.
    #[must_use]
    pub fn with(
        self,
        keys: impl IntoIterator<Item = (KeyspaceId, Key)>,
        ranges: impl IntoIterator<Item = KeyRange>,
    ) -> Footprint {
        let (mut all_keys, mut all_ranges) = (self.keys, self.ranges);
        let (keys_before, ranges_before) = (all_keys.len(), all_ranges.len());
        all_keys.extend(keys);
        all_ranges.extend(ranges);
        if (all_keys.len(), all_ranges.len()) == (keys_before, ranges_before) {
            return Footprint { keys: all_keys, ranges: all_ranges };
        }
        Footprint::of_keys(all_keys, all_ranges)
    }

    /// Whether it has neither a key nor a range.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// The keys, ascending.
    pub fn keys(&self) -> &[(KeyspaceId, Key)] {
        &self.keys
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[KeyRange] {
        &self.ranges
    }

    /// Memory it takes in bytes, about.
    pub fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|(_, key)| ENTRY_BYTES + key.heap_bytes()).sum();
        let ends = |range: &KeyRange| range.low.heap_bytes() + range.high.as_ref().map_or(0, Key::heap_bytes);
        keys + self.ranges.iter().map(|range| 2 * ENTRY_BYTES + ends(range)).sum::<usize>()
    }

    /// Something that lies in both, if anything does.
    pub fn overlap(&self, other: &Footprint) -> Option<ConflictPlace> {
        self.common_key(other)
            .or_else(|| self.key_in_ranges_of(other))
            .or_else(|| other.key_in_ranges_of(self))
            .or_else(|| self.common_range(other))
    }

    fn common_key(&self, other: &Footprint) -> Option<ConflictPlace> {
        let (few, many) = if self.keys.len() <= other.keys.len() { (self, other) } else { (other, self) };
        let found = few.keys.iter().find(|key| many.keys.binary_search(key).is_ok())?;
        Some(place_of_key(found))
    }

    fn key_in_ranges_of(&self, other: &Footprint) -> Option<ConflictPlace> {
        if self.keys.len() <= other.ranges.len() {
            return self.keys.iter().find(|(ks, key)| other.covers(*ks, key)).map(place_of_key);
        }
        let key_in = |range: &KeyRange| {
            let next = self.keys.partition_point(|(ks, key)| (*ks, &**key) < range.place());
            self.keys.get(next).filter(|(ks, key)| range.contains(*ks, key))
        };
        other.ranges.iter().find_map(key_in).map(place_of_key)
    }

    fn common_range(&self, other: &Footprint) -> Option<ConflictPlace> {
        let (few, many) = if self.ranges.len() <= other.ranges.len() { (self, other) } else { (other, self) };
        few.ranges.iter().find(|range| many.reaches(range)).map(place_of_range)
    }

    /// Whether some range holds the key.
    fn covers(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        let after = self.ranges.partition_point(|range| range.place() <= (keyspace, key));
        after > 0 && self.ranges[after - 1].contains(keyspace, key)
    }

    /// Whether some range overlaps this one: the last that begins at or before it, or the first that begins in it (F2).
    fn reaches(&self, range: &KeyRange) -> bool {
        let after = self.ranges.partition_point(|own| own.place() <= range.place());
        let near = &self.ranges[after.saturating_sub(1)..self.ranges.len().min(after + 1)];
        near.iter().any(|own| own.overlaps(range))
    }
}

fn place_of_key((keyspace, key): &(KeyspaceId, Key)) -> ConflictPlace {
    ConflictPlace { keyspace: *keyspace, key: key.to_vec(), range_end: None }
}

fn place_of_range(range: &KeyRange) -> ConflictPlace {
    let range_end = Some(range.high.as_deref().unwrap_or_default().to_vec());
    ConflictPlace { keyspace: range.keyspace, key: range.low.to_vec(), range_end }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> Key {
        Key::from(&[n][..])
    }

    /// Points as (keyspace, key), ranges as (keyspace, low, high); a high of 12 is the end of the keyspace.
    type Plain = (Vec<(u8, u8)>, Vec<(u8, u8, u8)>);

    fn footprint((keys, ranges): &Plain) -> Footprint {
        let id = |ks: u8| KeyspaceId::new(u32::from(ks) + 1);
        let range = |&(ks, low, high): &(u8, u8, u8)| KeyRange {
            keyspace: id(ks),
            low: key(low),
            high: (high < 12).then(|| key(high)),
        };
        Footprint::new(keys.iter().map(|&(ks, k)| (id(ks), key(k))), ranges.iter().map(range).collect())
    }

    fn has((keys, ranges): &Plain, ks: u8, k: u8) -> bool {
        keys.contains(&(ks, k))
            || ranges.iter().any(|&(of, low, high)| of == ks && low <= k && (k < high || high == 12))
    }

    fn plain() -> impl Strategy<Value = Plain> {
        (vec((0u8..2, 0u8..12), 0..5), vec((0u8..2, 0u8..12, 0u8..13), 0..4))
    }

    proptest! {
        #[test]
        fn two_overlap_exactly_when_some_key_is_in_both(one in plain(), other in plain()) {
            let both = (0..2).any(|ks| (0..40).any(|k| has(&one, ks, k) && has(&other, ks, k)));
            prop_assert_eq!(footprint(&one).overlap(&footprint(&other)).is_some(), both);
            prop_assert_eq!(footprint(&other).overlap(&footprint(&one)).is_some(), both);
        }

        #[test]
        fn ranges_are_disjoint_and_ascend(one in plain()) {
            for pair in footprint(&one).ranges().windows(2) {
                prop_assert!(pair[0].place() < pair[1].place() && !pair[0].overlaps(&pair[1]), "F2: {:?}", pair);
            }
        }
    }

    #[test]
    fn an_interval_that_includes_its_end_ends_at_the_successor() {
        let ks = KeyspaceId::new(1);
        let through_b = KeyRange { keyspace: ks, low: key(b'a'), high: Some(successor(b"b")) };
        assert!(through_b.contains(ks, b"b") && !through_b.contains(ks, b"b\0") && !through_b.contains(ks, b"ba"));
    }
}
