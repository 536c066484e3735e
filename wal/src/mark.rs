//! The payload of a `CkptMark` record: how far stores are persisted. Little-endian.
//!
//! On disk: Checkpoint mark (mark.hex)
//!
//! ```text
//!   offset  size  field
//!        0     4  count
//!        4  20*n  entries: u32 store, u64 seq, u64 persisted; store ids ascending, each once
//! ```
//! Valid if and only if the length is exactly that and the order holds. What a store is, the log does not know.
//!
//! M1  The kept log holds the newest mark of each store: whoever truncates logs and syncs all marks first.

use std::collections::BTreeMap;

use duramen_base::Timestamp;

use crate::record::{PART_BYTES_MAX, u32_at, u64_at};

const ENTRY_BYTES: usize = 20;

/// Most stores in one mark record; more take several records.
pub(crate) const MARKS_PER_RECORD: usize = (PART_BYTES_MAX - 4) / ENTRY_BYTES;

/// State of one store's durable files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Number of its newest superblock or manifest edit.
    pub seq: u64,
    /// Every commit up to here is in its durable files.
    pub persisted: Timestamp,
}

/// The newest mark of each of some stores.
///
/// ```
/// use duramen_base::Timestamp;
/// use duramen_wal::{Mark, MarkSet};
/// let mut marks = MarkSet::default();
/// marks.note(4, Mark { seq: 1, persisted: Timestamp::new(9) });
/// assert_eq!(MarkSet::decode(&marks.encode()), Some(marks));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkSet(BTreeMap<u32, Mark>);

impl MarkSet {
    /// Sets the mark of `store`.
    pub fn note(&mut self, store: u32, mark: Mark) {
        self.0.insert(store, mark);
    }

    /// The mark of `store`, if there is one.
    pub fn get(&self, store: u32) -> Option<Mark> {
        self.0.get(&store).copied()
    }

    /// All, by store id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Mark)> + '_ {
        self.0.iter().map(|(&store, &mark)| (store, mark))
    }

    /// How many stores have one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over the marks of `newer`, which stand later in the log.
    pub fn merge(&mut self, newer: &MarkSet) {
        self.0.extend(newer.iter());
    }

    /// The payload of a mark record.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.0.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&u32::try_from(self.0.len()).expect("store ids are u32").to_le_bytes());
        for (store, mark) in self.iter() {
            bytes.extend_from_slice(&store.to_le_bytes());
            bytes.extend_from_slice(&mark.seq.to_le_bytes());
            bytes.extend_from_slice(&mark.persisted.get().to_le_bytes());
        }
        bytes
    }

    /// The marks in such a payload; `None` if it is not one. Total: any bytes may be given.
    pub fn decode(bytes: &[u8]) -> Option<MarkSet> {
        let (count, entries) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        if entries.len() % ENTRY_BYTES != 0 || entries.len() / ENTRY_BYTES != count {
            return None;
        }
        let mut marks = MarkSet::default();
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let store = u32_at(entry, 0);
            if marks.0.last_key_value().is_some_and(|(&last, _)| last >= store) {
                return None;
            }
            marks.note(store, Mark { seq: u64_at(entry, 4), persisted: Timestamp::new(u64_at(entry, 12)) });
        }
        Some(marks)
    }

    /// The same marks in sets small enough for one record each.
    pub(crate) fn split(&self) -> Vec<MarkSet> {
        let all: Vec<_> = self.iter().collect();
        all.chunks(MARKS_PER_RECORD).map(|some| MarkSet(some.iter().copied().collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marks(stores: impl IntoIterator<Item = u32>) -> MarkSet {
        let mut marks = MarkSet::default();
        for store in stores {
            marks.note(store, Mark { seq: u64::from(store) + 1, persisted: Timestamp::new(7) });
        }
        marks
    }

    #[test]
    fn wrong_lengths_and_orders_are_no_marks() {
        let good = marks([1, 2]).encode();
        assert_eq!(MarkSet::decode(&good[..good.len() - 1]), None);
        assert_eq!(MarkSet::decode(&[]), None);
        assert_eq!(MarkSet::decode(&[0xff; 4]), None);
        let mut twice = good.clone();
        twice[24] = 1;
        assert_eq!(MarkSet::decode(&twice), None);
    }

    #[test]
    fn many_stores_take_several_records() {
        let all = marks(0..2000);
        let parts = all.split();
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.encode().len() <= PART_BYTES_MAX));
        let mut joined = MarkSet::default();
        parts.iter().for_each(|part| joined.merge(part));
        assert_eq!(joined, all);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(marks) = MarkSet::decode(&bytes) {
                prop_assert_eq!(marks.encode(), bytes);
            }
        }
    }
}
