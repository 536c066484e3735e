//! What the oracle keeps: maps, and the changes between them. Shares no code with the engine but the comparison of bounds.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::KINDS;

/// What a keyspace holds.
pub(super) type Map = BTreeMap<Vec<u8>, Vec<u8>>;
/// What is left of a scan, in key order.
pub(super) type Rows = VecDeque<(Vec<u8>, Vec<u8>)>;
/// What the database holds.
pub(super) type State = [Map; KINDS.len()];

/// A write as the oracle keeps it: of which keyspace, which keys, and the new value if it is a put.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) keyspace: usize,
    pub(super) low: Vec<u8>,
    /// `None`: this key alone. Otherwise a range up to, without, the end; empty: to the end of the keyspace.
    pub(super) high: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

impl Change {
    /// Whether it changes `key` of `keyspace`.
    pub(super) fn covers(&self, keyspace: usize, key: &[u8]) -> bool {
        self.keyspace == keyspace
            && match &self.high {
                None => key == self.low,
                Some(high) => key >= &*self.low && (high.is_empty() || key < &**high),
            }
    }

    /// Whether some key is changed by both: then the later one conflicts.
    pub(super) fn overlaps(&self, other: &Change) -> bool {
        let below =
            |low: &Vec<u8>, high: &Option<Vec<u8>>| high.as_ref().is_none_or(|high| high.is_empty() || low < high);
        match (&self.high, &other.high) {
            (None, _) => other.covers(self.keyspace, &self.low),
            (_, None) => self.covers(other.keyspace, &other.low),
            (Some(_), Some(_)) => {
                self.keyspace == other.keyspace && below(&self.low, &other.high) && below(&other.low, &self.high)
            }
        }
    }

    /// Makes the change.
    pub(super) fn apply(&self, state: &mut State) {
        let map = &mut state[self.keyspace];
        match (&self.high, &self.value) {
            (Some(_), _) => map.retain(|key, _| !self.covers(self.keyspace, key)),
            (None, Some(value)) => drop(map.insert(self.low.clone(), value.clone())),
            (None, None) => drop(map.remove(&self.low)),
        }
    }
}

/// The rows of `map` between the bounds.
pub(super) fn rows(map: &Map, lower: &Bound<Vec<u8>>, upper: &Bound<Vec<u8>>) -> Rows {
    let bounds = duramen_base::KeyBounds { lower: lower.as_ref().map(|k| &**k), upper: upper.as_ref().map(|k| &**k) };
    map.iter().filter(|(key, _)| bounds.contains(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}
