//! History that does not fit a page image: kept in counted memory beside its page, never written.
//!
//! Only readers inside this process can ask for it, so losing it in a crash loses nothing.
//!
//! S1  Versions here are older than every version of the same key in the image.
//! S2  A page with a spill is not evicted.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use duramen_base::image::Body;
use duramen_base::values::LargeRef;
use duramen_base::{Reservation, Timestamp, Value};

/// A key and when it changed, newest first.
type Change = (Box<[u8]>, Reverse<Timestamp>);

/// What a change left.
#[derive(Debug)]
pub(crate) enum Spilled {
    Value(Value),
    Tombstone,
    Large(LargeRef),
}

impl Spilled {
    fn body(&self) -> Body<'_> {
        match self {
            Spilled::Value(value) => Body::Value(value),
            Spilled::Tombstone => Body::Tombstone,
            Spilled::Large(large) => Body::Large(*large),
        }
    }
}

/// Older versions of the keys of one leaf (S1).
#[derive(Debug)]
pub(crate) struct Spill {
    versions: BTreeMap<Change, Spilled>,
    reservation: Reservation,
}

impl Spill {
    pub(crate) fn new(reservation: Reservation) -> Spill {
        Spill { versions: BTreeMap::new(), reservation }
    }

    pub(crate) fn insert(&mut self, key: &[u8], ts: Timestamp, body: Body<'_>) {
        let (left, heap_bytes) = match body {
            Body::Value(bytes) => {
                let value = Value::from(bytes);
                let heap_bytes = value.heap_bytes();
                (Spilled::Value(value), heap_bytes)
            }
            Body::Tombstone => (Spilled::Tombstone, 0),
            Body::Large(large) => (Spilled::Large(large), 0),
        };
        self.reservation.resize(self.reservation.bytes() + (key.len() + heap_bytes + 80) as u64);
        self.versions.insert((key.into(), Reverse(ts)), left);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// All versions, by key ascending, then newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Timestamp, Body<'_>)> {
        self.versions.iter().map(|((key, ts), left)| (&**key, ts.0, left.body()))
    }

    /// The large values that it names.
    pub(crate) fn references(&self) -> impl Iterator<Item = LargeRef> {
        self.versions.values().filter_map(|left| match left {
            Spilled::Large(large) => Some(*large),
            Spilled::Value(_) | Spilled::Tombstone => None,
        })
    }

    /// The newest version of `key` at or before `at`.
    pub(crate) fn at(&self, key: &[u8], at: Timestamp) -> Option<(Timestamp, &Spilled)> {
        let from = (Box::from(key), Reverse(at));
        let ((found, ts), left) = self.versions.range(from..).next()?;
        (**found == *key).then_some((ts.0, left))
    }
}
