//! Storms of everything that can be locked: keys, ranges by hand and by scans and deletes, whole keyspaces, upgrades; in any order, or from low to high.
//!
//! Two keyspaces. In any order circles close, and each must cost a victim that was in one. From low to high, the first keyspace before the second, a
//! whole keyspace before anything in it and nothing raised, none can close: whoever waits, waits for somebody who waits for something higher.

use std::ops::Range;

use duramen::{Keyspace, LockMode, Reader, Result, Transaction};

use super::oracle::{Noting, Wish};
use super::{KEYS, key_of};
use crate::dice::Dice;
use crate::threads::yield_now;

/// A lock to be taken, and by which call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    /// Exclusively if the flag says so.
    Key(usize, usize, bool),
    /// A range, by hand.
    Range(usize, usize, usize, bool),
    /// A range, by reading it.
    Scan(usize, usize, usize),
    /// A range, by deleting it.
    Delete(usize, usize, usize),
    Keyspace(usize, bool),
    /// Shared first, then exclusively.
    Raise(usize, usize),
}

/// How many keyspaces there are.
pub(super) const KEYSPACES: usize = 2;

impl Lock {
    fn wishes(self) -> Vec<Wish> {
        let in_parts = matches!(self, Lock::Scan(..));
        let wish = |keyspace, keys: Range<usize>, is_shared| {
            let (low, high) = (keys.start, keys.end);
            Wish { keyspace, low, high, is_shared, in_parts }
        };
        match self {
            Lock::Key(keyspace, key, exclusive) => vec![wish(keyspace, key..key + 1, !exclusive)],
            Lock::Range(keyspace, low, high, exclusive) => vec![wish(keyspace, low..high, !exclusive)],
            Lock::Scan(keyspace, low, high) => vec![wish(keyspace, low..high, true)],
            Lock::Delete(keyspace, low, high) => vec![wish(keyspace, low..high, false)],
            Lock::Keyspace(keyspace, exclusive) => vec![wish(keyspace, 0..usize::MAX, !exclusive)],
            Lock::Raise(keyspace, key) => vec![wish(keyspace, key..key + 1, true), wish(keyspace, key..key + 1, false)],
        }
    }

    /// The `n`-th call that takes it.
    fn take(self, n: usize, tx: &Transaction, keyspaces: &[Keyspace]) -> Result<()> {
        let mode = |exclusive| if exclusive { LockMode::Exclusive } else { LockMode::Shared };
        match self {
            Lock::Key(keyspace, key, true) => tx.put(&keyspaces[keyspace], key_of(key), "1"),
            Lock::Key(keyspace, key, false) => tx.get_for_share(&keyspaces[keyspace], key_of(key)).map(drop),
            Lock::Range(keyspace, low, high, exclusive) => {
                tx.lock_range(&keyspaces[keyspace], key_of(low)..key_of(high), mode(exclusive))
            }
            Lock::Scan(keyspace, low, high) => {
                tx.range(&keyspaces[keyspace], key_of(low)..key_of(high))?.try_for_each(|row| row.map(drop))
            }
            Lock::Delete(keyspace, low, high) => tx.delete_range(&keyspaces[keyspace], key_of(low), key_of(high)),
            Lock::Keyspace(keyspace, exclusive) => tx.lock_keyspace(&keyspaces[keyspace], mode(exclusive)),
            Lock::Raise(keyspace, key) if n == 0 => tx.get_for_share(&keyspaces[keyspace], key_of(key)).map(drop),
            Lock::Raise(keyspace, key) => tx.put(&keyspaces[keyspace], key_of(key), "1"),
        }
    }
}

/// The locks of a transaction: three or four, at random.
pub(super) fn draw(dice: &mut Dice) -> Vec<Lock> {
    (0..3 + dice.below(2)).map(|_| one(dice)).collect()
}

fn one(dice: &mut Dice) -> Lock {
    let keyspace = dice.below(KEYSPACES as u64) as usize;
    let key = dice.below(KEYS) as usize;
    let high = key + 1 + dice.below(3) as usize;
    match dice.below(16) {
        0..=6 => Lock::Key(keyspace, key, !dice.one_in(3)),
        7..=8 => Lock::Range(keyspace, key, high, dice.one_in(2)),
        9..=10 => Lock::Scan(keyspace, key, high),
        11 => Lock::Delete(keyspace, key, high),
        12 => Lock::Keyspace(keyspace, dice.one_in(2)),
        _ => Lock::Raise(keyspace, key),
    }
}

/// The locks of a transaction from low to high, none inside another and none raised.
pub(super) fn draw_ascending(dice: &mut Dice) -> Vec<Lock> {
    let mut locks = Vec::new();
    for keyspace in 0..KEYSPACES {
        if dice.one_in(8) {
            locks.push(Lock::Keyspace(keyspace, dice.one_in(2)));
            continue;
        }
        let mut key = dice.below(2) as usize;
        while key < KEYS as usize {
            let high = key + 1 + dice.below(2) as usize;
            locks.push(match dice.below(5) {
                0..=1 => Lock::Key(keyspace, key, !dice.one_in(3)),
                2 => Lock::Range(keyspace, key, high, dice.one_in(2)),
                3 => Lock::Scan(keyspace, key, high),
                _ => Lock::Delete(keyspace, key, high),
            });
            key = high + dice.below(3) as usize;
        }
    }
    locks
}

/// Takes `locks` one after the other.
pub(super) fn take_all(
    locks: &[Lock],
    tx: &Transaction,
    keyspaces: &[Keyspace],
    noting: &mut Noting<'_>,
    pauses: &mut Dice,
) -> Result<()> {
    for lock in locks {
        for (n, wish) in lock.wishes().into_iter().enumerate() {
            noting.ask(wish, || lock.take(n, tx, keyspaces))?;
        }
        if pauses.one_in(3) {
            yield_now();
        }
    }
    Ok(())
}
