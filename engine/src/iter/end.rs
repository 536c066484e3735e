//! One end of an iterator: the store's cursor, merged with the writes that lie over it.
//!
//! N1  What it gave last is lent from where it lies, until the end moves again.
//! N2  While the cursor is ahead, it stands on the first key beyond what was given that the store has to offer.

use std::cmp::Ordering;
use std::ops::Bound;

use duramen_base::{KeyBounds, Result, Value};
use duramen_txn::{Own, WriteView};

use super::locked::Chunk;
use super::{Entry, EntryRef, Way};
use crate::any_backend::AnyCursor;

/// One end, and where it stands.
pub(super) struct End {
    cursor: AnyCursor,
    store: StoreAt,
    given: Given,
    /// The value given last, if it is not the store's.
    kept: Option<Value>,
    /// The last key passed, if writes lie over the store or the range is locked piece by piece.
    pub(super) last: Option<Vec<u8>>,
    /// The part of the range that the cursor is on, if that is locked piece by piece.
    pub(super) chunk: Option<Chunk>,
}

/// Where the cursor stands, seen from what was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreAt {
    /// On the last key passed, or nowhere yet.
    Passed,
    /// On a key not given yet (N2).
    Ahead,
    /// Behind the last key.
    Ended,
}

/// What was given last (N1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    /// What the cursor stands on.
    Store,
    /// The key `last` with the value that is kept.
    Kept,
}

impl End {
    pub(super) fn new(cursor: AnyCursor) -> End {
        End { cursor, store: StoreAt::Passed, given: Given::Nothing, kept: None, last: None, chunk: None }
    }

    /// Whether the next entry is the store's, which has it at hand.
    #[inline(always)]
    pub(super) fn is_at_hand(&self, way: Way) -> bool {
        self.given == Given::Store
            && match way {
                Way::Forward => self.cursor.next_is_at_hand(),
                Way::Backward => self.cursor.prev_is_at_hand(),
            }
    }

    /// Moves to the next entry, which is at hand, and lends it.
    #[inline(always)]
    pub(super) fn lend_at_hand(&mut self, way: Way) -> EntryRef<'_> {
        let (key, value) = match way {
            Way::Forward => self.cursor.next_at_hand(),
            Way::Backward => self.cursor.prev_at_hand(),
        };
        EntryRef { key, value }
    }

    /// The same with an entry of its own.
    #[inline]
    pub(super) fn take_at_hand(&mut self, way: Way) -> Entry {
        let key = Value::from(self.lend_at_hand(way).key);
        Entry { key, value: self.cursor.value_owned() }
    }

    /// Moves to the next entry of the store and of what lies over it; false: there is none.
    pub(super) fn next(&mut self, way: Way, overlay: &WriteView, bounds: KeyBounds<'_>) -> Result<bool> {
        if !overlay.is_empty() {
            return self.next_merged(way, overlay, bounds);
        }
        let found = self.move_cursor(way)?;
        if found {
            self.cursor.load_value()?;
        }
        self.given = if found { Given::Store } else { Given::Nothing };
        Ok(found)
    }

    /// The same inside its chunk.
    pub(super) fn next_in_chunk(&mut self, way: Way, overlay: &WriteView) -> Result<bool> {
        let Some(chunk) = self.chunk.take() else { return Ok(false) };
        let found = self.next_merged(way, overlay, chunk.bounds());
        self.chunk = Some(chunk);
        found
    }

    fn move_cursor(&mut self, way: Way) -> Result<bool> {
        match way {
            Way::Forward => self.cursor.next(),
            Way::Backward => self.cursor.prev(),
        }
    }

    /// The next entry of store and overlay, the overlay's own word going first for its keys.
    fn next_merged(&mut self, way: Way, overlay: &WriteView, bounds: KeyBounds<'_>) -> Result<bool> {
        loop {
            if self.store == StoreAt::Passed {
                self.store = if self.move_cursor(way)? { StoreAt::Ahead } else { StoreAt::Ended };
            }
            let own = self.next_own(way, overlay, bounds);
            let order = match (&own, self.store == StoreAt::Ahead) {
                (None, false) => return Ok(false),
                (None, true) => Ordering::Greater,
                (Some(_), false) => Ordering::Less,
                (Some((key, _)), true) => match way {
                    Way::Forward => (*key).cmp(self.cursor.key()),
                    Way::Backward => self.cursor.key().cmp(key),
                },
            };
            match (order, own) {
                (Ordering::Less | Ordering::Equal, Some((key, own))) => {
                    if order == Ordering::Equal {
                        self.store = StoreAt::Passed;
                    }
                    keep(&mut self.last, key);
                    if let Own::Put(value) = own {
                        (self.given, self.kept) = (Given::Kept, Some(value.clone()));
                        return Ok(true);
                    }
                }
                _ => match overlay.covering(self.cursor.key()) {
                    None => {
                        self.cursor.load_value()?;
                        keep(&mut self.last, self.cursor.key());
                        (self.store, self.given) = (StoreAt::Passed, Given::Store);
                        return Ok(true);
                    }
                    Some(deleted) => self.skip_range(way, deleted)?,
                },
            }
        }
    }

    /// Goes over what an own range delete covers at once, not key by key.
    fn skip_range(&mut self, way: Way, deleted: KeyBounds<'_>) -> Result<()> {
        let found = match (way, deleted.lower, deleted.upper) {
            (Way::Forward, _, Bound::Excluded(high)) => self.cursor.seek(high)?,
            (Way::Backward, Bound::Included(low), _) => match self.cursor.seek_for_prev(low)? {
                // The low end itself is covered.
                true if self.cursor.key() == low => self.cursor.prev()?,
                found => found,
            },
            // A range without an end in this direction: nothing follows.
            _ => false,
        };
        self.store = if found { StoreAt::Ahead } else { StoreAt::Ended };
        Ok(())
    }

    /// The next own write in the way of this end, inside the bounds.
    fn next_own<'v>(&self, way: Way, overlay: &'v WriteView, bounds: KeyBounds<'_>) -> Option<(&'v [u8], &'v Own)> {
        let after_last = self.last.as_deref().map(Bound::Excluded);
        let (key, own) = match way {
            Way::Forward => overlay.next_after(after_last.unwrap_or(bounds.lower))?,
            Way::Backward => overlay.prev_before(after_last.unwrap_or(bounds.upper))?,
        };
        bounds.contains(key).then_some((key, own))
    }

    /// The key given last.
    #[inline]
    pub(super) fn given_key(&self) -> Option<&[u8]> {
        match self.given {
            Given::Nothing => None,
            Given::Store => Some(self.cursor.key()),
            Given::Kept => self.last.as_deref(),
        }
    }

    /// Gives another value for the key given last.
    pub(super) fn replace_value(&mut self, value: Value) {
        if self.given == Given::Store {
            keep(&mut self.last, self.cursor.key());
        }
        (self.given, self.kept) = (Given::Kept, Some(value));
    }

    /// X1: whether the key given last was given by the other end, or lies behind it.
    #[inline]
    pub(super) fn has_met(&self, way: Way, other: Option<&End>) -> bool {
        let Some(given) = other.and_then(End::given_key) else { return false };
        match way {
            Way::Forward => self.given_key() >= Some(given),
            Way::Backward => self.given_key() <= Some(given),
        }
    }

    /// Lends what was given last.
    ///
    /// # Panics
    /// If nothing was; so does [`End::entry`].
    pub(super) fn lend(&self) -> EntryRef<'_> {
        match self.given {
            Given::Store => EntryRef { key: self.cursor.key(), value: self.cursor.value() },
            Given::Kept | Given::Nothing => self.lend_kept(),
        }
    }

    fn lend_kept(&self) -> EntryRef<'_> {
        match (&self.last, &self.kept) {
            (Some(key), Some(value)) => EntryRef { key, value },
            _ => panic!("N1: something was given"),
        }
    }

    /// What was given last, as an entry of its own.
    pub(super) fn entry(&self) -> Entry {
        match self.given {
            Given::Store => Entry { key: Value::from(self.cursor.key()), value: self.cursor.value_owned() },
            Given::Kept | Given::Nothing => {
                let EntryRef { key, .. } = self.lend_kept();
                Entry { key: Value::from(key), value: self.kept.clone().expect("N1: it was lent") }
            }
        }
    }
}

/// Notes the last key, in the memory of the one before.
fn keep(last: &mut Option<Vec<u8>>, key: &[u8]) {
    let last = last.get_or_insert_default();
    last.clear();
    last.extend_from_slice(key);
}
