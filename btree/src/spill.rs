//! History that does not fit a page image: kept in counted memory beside its page, never written.
//!
//! Only readers inside this process can ask for it, so losing it in a crash loses nothing.
//!
//! S1  Versions here are older than every version of the same key in the image.
//! S2  A page with a spill is not evicted.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use duramen_base::image::Body;
use duramen_base::{Reservation, Timestamp, Value};

/// A key and when it changed, newest first.
type Change = (Box<[u8]>, Reverse<Timestamp>);

/// Older versions of the keys of one leaf (S1); `None` is a tombstone.
#[derive(Debug)]
pub(crate) struct Spill {
    versions: BTreeMap<Change, Option<Value>>,
    reservation: Reservation,
}

impl Spill {
    pub(crate) fn new(reservation: Reservation) -> Spill {
        Spill { versions: BTreeMap::new(), reservation }
    }

    pub(crate) fn insert(&mut self, key: &[u8], ts: Timestamp, body: Body<'_>) {
        let value = match body {
            Body::Value(bytes) => Some(Value::from(bytes)),
            Body::Tombstone => None,
            Body::Large(_) => unreachable!("IM5: leaves name no values in files"),
        };
        let bytes = key.len() + value.as_ref().map_or(0, |value| value.heap_bytes()) + 80;
        self.reservation.resize(self.reservation.bytes() + bytes as u64);
        self.versions.insert((key.into(), Reverse(ts)), value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// All versions, by key ascending, then newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Timestamp, Body<'_>)> {
        self.versions.iter().map(|((key, ts), value)| {
            (&**key, ts.0, value.as_ref().map_or(Body::Tombstone, |value| Body::Value(value)))
        })
    }

    /// The newest version of `key` at or before `at`.
    pub(crate) fn at(&self, key: &[u8], at: Timestamp) -> Option<(Timestamp, Option<&Value>)> {
        let from = (Box::from(key), Reverse(at));
        let ((found, ts), value) = self.versions.range(from..).next()?;
        (**found == *key).then_some((ts.0, value.as_ref()))
    }
}
