//! What the lock table must do, said once more: lists, and definitions applied to all pairs. Shares no code with what it judges.

use std::collections::BTreeSet;

/// A transaction, by its place in the test.
pub(super) type Who = usize;

/// What a lock covers; keys are bytes. Keyspaces are told apart by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Key(u8),
    /// Without the second; `None`: open.
    Range(u8, Option<u8>),
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    IntentShared,
    IntentExclusive,
    Shared,
    Update,
    Exclusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) keyspace: u32,
    pub(super) what: What,
    pub(super) mode: Mode,
}

impl Lock {
    fn covers(&self, key: u16) -> bool {
        match self.what {
            What::Key(own) => u16::from(own) == key,
            What::Range(low, high) => u16::from(low) <= key && high.is_none_or(|high| key < u16::from(high)),
            What::Whole => true,
        }
    }

    /// Rows and columns of the two tables in isolation.md, section 4, looked up by name.
    pub(super) fn goes_with(&self, other: &Lock) -> bool {
        if self.keyspace != other.keyspace {
            return true;
        }
        let wholes = (self.what == What::Whole, other.what == What::Whole);
        if wholes == (false, false) {
            let share_a_key = (0..=256).any(|key| self.covers(key) && other.covers(key));
            return !share_a_key || may_share(self.mode, other.mode);
        }
        let on_whole = |lock: &Lock, is_whole: bool| match (is_whole, lock.mode) {
            (true, mode) => mode,
            (false, Mode::Shared) => Mode::IntentShared,
            (false, _) => Mode::IntentExclusive,
        };
        let (held, asked) = (on_whole(self, wholes.0), on_whole(other, wholes.1));
        match (held, asked) {
            (Mode::IntentShared, asked) => asked != Mode::Exclusive,
            (Mode::IntentExclusive, asked) => matches!(asked, Mode::IntentShared | Mode::IntentExclusive),
            (Mode::Shared, asked) => matches!(asked, Mode::IntentShared | Mode::Shared),
            (_, _) => false,
        }
    }
}

fn may_share(held: Mode, asked: Mode) -> bool {
    match (held, asked) {
        (Mode::Shared, asked) => asked != Mode::Exclusive,
        (Mode::Update, asked) => asked == Mode::Shared,
        (_, _) => false,
    }
}

/// One transaction as the test knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Txn {
    pub(super) held: Vec<Lock>,
    pub(super) wants: Option<Lock>,
}

/// Who waits for whom because of what is held: by definition, every holder in the way.
pub(super) fn waits_for_holders(txns: &[Txn]) -> BTreeSet<(Who, Who)> {
    let mut arrows = BTreeSet::new();
    for (who, txn) in txns.iter().enumerate() {
        let Some(wanted) = &txn.wants else { continue };
        for (other, holder) in txns.iter().enumerate() {
            if other != who && holder.held.iter().any(|lock| !lock.goes_with(wanted)) {
                arrows.insert((who, other));
            }
        }
    }
    arrows
}

/// Those who are in a circle: who can reach themselves. By closing the relation until nothing is added (Warshall).
#[allow(clippy::needless_range_loop)] // three places of one matrix
pub(super) fn in_circles(count: usize, arrows: &BTreeSet<(Who, Who)>) -> BTreeSet<Who> {
    let mut reaches = vec![vec![false; count]; count];
    arrows.iter().for_each(|&(from, to)| reaches[from][to] = true);
    for middle in 0..count {
        for from in 0..count {
            if reaches[from][middle] {
                for to in 0..count {
                    reaches[from][to] |= reaches[middle][to];
                }
            }
        }
    }
    (0..count).filter(|&who| reaches[who][who]).collect()
}

/// No two transactions hold what does not go together.
pub(super) fn check_held(txns: &[Txn]) {
    for (who, txn) in txns.iter().enumerate() {
        for other in &txns[..who] {
            for lock in &txn.held {
                let beside = other.held.iter().find(|held| !held.goes_with(lock));
                assert!(beside.is_none(), "L1: {lock:?} beside {beside:?}");
            }
        }
    }
}
