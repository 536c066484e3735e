//! What is held on single keys: a map found by hash, that can also be walked in order.
//!
//! Locks of single keys are taken and released far more often than anybody asks for a range of them, and by hash one costs the same
//! beside a hundred thousand held by others as beside none. The order is worked out when it is first asked for and kept until
//! nothing is held: so each lock is put in order at most once, and whoever never locks a range never pays for one.
//!
//! N1  `order`, while it exists, has the keys of `by_hash`.
//! N2  The order of `by_hash` itself, which differs from run to run, is never shown.

use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use crate::key::Key;
use crate::key_hash::KeyHash;

/// Room for so many keys, or twice as many, is kept when nothing is held any more.
const CAPACITY_KEPT: usize = 1 << 10;

#[cfg(all(test, not(duramen_sim)))]
thread_local! {
    /// Keys that this thread came by on its way through ranges.
    pub(super) static WALKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// See the module.
#[derive(Debug)]
pub(super) struct Points<V> {
    by_hash: HashMap<Key, V, KeyHash>,
    order: OnceCell<BTreeSet<Key>>,
}

impl<V> Default for Points<V> {
    fn default() -> Points<V> {
        Points { by_hash: HashMap::default(), order: OnceCell::new() }
    }
}

impl<V> Points<V> {
    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        if self.is_empty() { None } else { self.by_hash.get(key) }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        if self.is_empty() { None } else { self.by_hash.get_mut(key) }
    }

    /// What stands at `key`; if nothing did, `value` does now, and nothing is answered.
    #[inline]
    pub(super) fn get_or_insert(&mut self, key: &Key, value: V) -> Option<&mut V> {
        match self.by_hash.entry(key.clone()) {
            Entry::Occupied(occupied) => Some(occupied.into_mut()),
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                if let Some(order) = self.order.get_mut() {
                    order.insert(key.clone());
                }
                None
            }
        }
    }

    /// Takes away what stands at `key`, if `which` accepts it; whether it did.
    #[inline]
    pub(super) fn remove_if(&mut self, key: &Key, which: impl FnOnce(&mut V) -> bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let Entry::Occupied(mut occupied) = self.by_hash.entry(key.clone()) else { return false };
        let removed = which(occupied.get_mut());
        if removed {
            occupied.remove();
            if self.by_hash.is_empty() {
                self.order.take();
                if self.by_hash.capacity() > 2 * CAPACITY_KEPT {
                    self.by_hash.shrink_to(CAPACITY_KEPT);
                }
            } else if let Some(order) = self.order.get_mut() {
                order.remove(key);
            }
        }
        removed
    }

    /// What stands between `bounds`, in order of the keys. Of a single key it is found by hash.
    pub(super) fn range<'a>(
        &'a self,
        bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    ) -> impl Iterator<Item = (&'a Key, &'a V)> + 'a {
        let single = match bounds {
            (Bound::Included(low), Bound::Included(high)) if low == high => Some(low),
            _ => None,
        };
        let one = single.and_then(|key| if self.is_empty() { None } else { self.by_hash.get_key_value(key) });
        let many = single.is_none() && !self.is_empty();
        let looked_up = |key: &'a Key| {
            #[cfg(all(test, not(duramen_sim)))]
            WALKED.set(WALKED.get() + 1);
            (key, &self.by_hash[&**key])
        };
        let many = many.then(|| self.order().range::<[u8], _>(bounds).map(looked_up));
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Everything, in order of the keys. Keeps no order for it.
    pub(super) fn sorted(&self) -> Vec<(&Key, &V)> {
        let mut all: Vec<_> = self.by_hash.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Everything, for those to whom the order is all the same (N2).
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.by_hash.values()
    }

    fn order(&self) -> &BTreeSet<Key> {
        self.order.get_or_init(|| self.by_hash.keys().cloned().collect())
    }

    /// Checks N1 from scratch.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn check(&self) {
        let Some(order) = self.order.get() else { return };
        assert_eq!(order.len(), self.by_hash.len(), "N1");
        assert!(order.iter().all(|key| self.by_hash.contains_key(key)), "N1");
    }
}

#[cfg(all(test, not(duramen_sim)))]
mod tests {
    use Bound::{Excluded, Included, Unbounded};

    use super::*;

    fn key(name: &str) -> Key {
        Key::from(name.as_bytes())
    }

    fn names(points: &Points<u32>, low: Bound<&str>, high: Bound<&str>) -> Vec<u32> {
        let found = points.range((low.map(str::as_bytes), high.map(str::as_bytes))).map(|(_, value)| *value).collect();
        points.check();
        found
    }

    #[test]
    fn ranges_are_in_order_before_and_after_changes() {
        let mut points = Points::default();
        for (value, name) in (0..).zip(["d", "a", "c", "b"]) {
            assert_eq!(points.get_or_insert(&key(name), value), None);
        }
        assert_eq!(names(&points, Included("b"), Excluded("d")), [3, 2]);
        assert_eq!(points.get_or_insert(&key("bb"), 9), None);
        assert!(points.remove_if(&key("c"), |_| true));
        assert_eq!(names(&points, Included("b"), Unbounded), [3, 9, 0]);
        assert_eq!(names(&points, Included("bb"), Included("bb")), [9]);
        assert_eq!(points.sorted().len(), points.len());
    }

    #[test]
    fn what_stands_there_already_is_answered_and_kept() {
        let mut points = Points::default();
        assert_eq!(points.get_or_insert(&key("a"), 1), None);
        assert_eq!(points.get_or_insert(&key("a"), 2), Some(&mut 1));
        assert!(!points.remove_if(&key("a"), |value| *value == 2));
        assert!(!points.remove_if(&key("b"), |_| true));
        assert_eq!(points.get(b"a"), Some(&1));
    }

    #[test]
    fn an_order_ends_with_the_last_key() {
        let mut points = Points::default();
        points.get_or_insert(&key("a"), 1);
        assert_eq!(names(&points, Unbounded, Unbounded), [1]);
        assert!(points.order.get().is_some());
        assert!(points.remove_if(&key("a"), |_| true));
        assert!(points.order.get().is_none() && points.is_empty());
        assert_eq!(names(&points, Unbounded, Unbounded), []);
    }
}
