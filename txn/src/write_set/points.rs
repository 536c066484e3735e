//! The single keys that a transaction wrote in one keyspace, in order: a few in a row, many in a tree.
//!
//! Most transactions write one key, or a few: those lie in a row that is sorted, the first without an allocation. A plain map otherwise; what a key
//! means is for `section.rs`.
//!
//! O1  The row ascends, and has `FEW_MAX` keys at most. What has become a tree stays one.

use std::collections::BTreeMap;
use std::ops::Bound;

use smallvec::SmallVec;

use crate::key::Key;
use crate::write_set::Own;

/// Up to so many keys moving a part of the row costs less than the nodes of a tree.
const FEW_MAX: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Points {
    Few(SmallVec<[(Key, Own); 1]>),
    Many(BTreeMap<Key, Own>),
}

impl Default for Points {
    fn default() -> Points {
        Points::Few(SmallVec::new())
    }
}

impl Points {
    pub(super) fn len(&self) -> usize {
        match self {
            Points::Few(row) => row.len(),
            Points::Many(tree) => tree.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its key, if there is one and no other.
    #[inline]
    pub(super) fn single(&self) -> Option<&Key> {
        match self {
            Points::Few(row) if row.len() == 1 => Some(&row[0].0),
            Points::Few(_) | Points::Many(_) => None,
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Own> {
        match self {
            Points::Few(row) => place_of(row, key).ok().map(|place| &row[place].1),
            Points::Many(tree) => tree.get(key),
        }
    }

    /// Sets what stands at `key`; what stood there before.
    pub(super) fn insert(&mut self, key: Key, own: Own) -> Option<Own> {
        match self {
            Points::Few(row) => match place_of(row, &key) {
                Ok(place) => return Some(std::mem::replace(&mut row[place].1, own)),
                Err(place) if row.len() < FEW_MAX => {
                    row.insert(place, (key, own));
                    return None;
                }
                Err(_) => {}
            },
            Points::Many(tree) => return tree.insert(key, own),
        }
        self.grow(key, own);
        None
    }

    /// O1.
    #[cold]
    fn grow(&mut self, key: Key, own: Own) {
        if let Points::Few(row) = self {
            let tree = std::mem::take(row).into_iter().chain([(key, own)]).collect();
            *self = Points::Many(tree);
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Own> {
        match self {
            Points::Few(row) => place_of(row, key).ok().map(|place| row.remove(place).1),
            Points::Many(tree) => tree.remove(key),
        }
    }

    /// All of them, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Own)> {
        let (row, tree) = match self {
            Points::Few(row) => (&row[..], None),
            Points::Many(tree) => (&[][..], Some(tree)),
        };
        row.iter().map(|(key, own)| (key, own)).chain(tree.into_iter().flatten())
    }

    /// Those between the bounds, from both ends. The bounds are in order.
    pub(super) fn range<'a>(
        &'a self,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&'a Key, &'a Own)> {
        let (row, tree) = match self {
            Points::Few(row) => {
                let start = row.partition_point(|(key, _)| match lower {
                    Bound::Unbounded => false,
                    Bound::Included(low) => &**key < low,
                    Bound::Excluded(low) => &**key <= low,
                });
                let end = row.partition_point(|(key, _)| match upper {
                    Bound::Unbounded => true,
                    Bound::Included(high) => &**key <= high,
                    Bound::Excluded(high) => &**key < high,
                });
                (&row[start..end.max(start)], None)
            }
            Points::Many(tree) => (&[][..], Some(tree.range::<[u8], _>((lower, upper)))),
        };
        row.iter().map(|(key, own)| (key, own)).chain(tree.into_iter().flatten())
    }
}

fn place_of(row: &[(Key, Own)], key: &[u8]) -> Result<usize, usize> {
    row.binary_search_by(|(other, _)| (**other).cmp(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every change and question, beside a tree that does the same.
    #[test]
    fn a_row_answers_as_a_tree_does() {
        let (mut points, mut model) = (Points::default(), BTreeMap::new());
        let mut state = 1u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for step in 0..4_000 {
            // Few keys at first, so that rows of all lengths come about, and a tree in the end.
            let keys = 2 + step / 100;
            let key = Key::from(&[draw(keys) as u8][..]);
            if draw(3) == 0 {
                assert_eq!(points.remove(&key), model.remove(&key));
            } else {
                let own = Own::Put((&[step as u8][..]).into());
                assert_eq!(points.insert(key.clone(), own.clone()), model.insert(key.clone(), own));
            }
            assert_eq!(points.len(), model.len());
            assert_eq!(points.get(&key), model.get(&key));
            assert!(points.iter().eq(model.iter()), "O1");
            let [low, high] = [draw(keys) as u8, draw(keys) as u8];
            let bounds = (Bound::Excluded(&[low.min(high)][..]), Bound::Included(&[low.max(high)][..]));
            assert!(points.range(bounds).eq(model.range::<[u8], _>(bounds)));
            let bounds = (Bound::Included(&[low][..]), Bound::Unbounded);
            assert_eq!(points.range(bounds).next_back(), model.range::<[u8], _>(bounds).next_back());
        }
        assert!(matches!(points, Points::Many(_)));
    }
}
