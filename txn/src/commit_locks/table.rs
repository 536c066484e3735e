//! The locks of some keyspaces: what is held, and who waits, in order of arrival.
//!
//! A plain data structure under its owner's mutex. It never sleeps and reads no clock; it says who is to be woken by
//! notifying that waiter's condition variable.
//!
//! T1  Held items are disjoint.
//! T2  A waiter that could be granted now is woken, or overlaps an earlier one that is woken. It holds after every
//!     call.
//! T3  A request of a transaction that holds nothing does not pass an overlapping earlier waiter which was passed
//!     [`BYPASS_MAX`] times. One that holds something passes any waiter: see the argument in `commit_locks.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;

use duramen_base::sync::{Arc, Condvar};

use super::item::{LockItem, LockKind, Place, reaches};

/// How often a sleeping waiter may be passed. Passing keeps a hot key busy while the waiter wakes up; an end to it
/// keeps it fair.
pub(super) const BYPASS_MAX: u32 = if cfg!(test) { 2 } else { 16 };

/// Names a waiter of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaiterId(u64);

#[derive(Debug)]
struct Waiter {
    id: WaiterId,
    item: LockItem,
    holds_nothing: bool,
    passed_count: u32,
    woken: bool,
    wake: Arc<Condvar>,
}

impl Waiter {
    fn is_overdue_for(&self, item: &LockItem) -> bool {
        self.passed_count >= BYPASS_MAX && self.item.overlaps(item)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    held: BTreeMap<Place, LockKind>,
    /// In order of arrival.
    waiters: Vec<Waiter>,
    arrivals: u64,
}

impl Table {
    /// Grants `item` at once, or says no.
    pub(super) fn try_grant(&mut self, item: &LockItem, holds_nothing: bool) -> bool {
        let granted = self.may_grant(item, holds_nothing, self.waiters.len());
        if granted {
            self.grant(item.clone(), self.waiters.len());
        }
        granted
    }

    /// Puts a request that was not granted at the end of the queue. Its owner sleeps on the condition variable, and
    /// asks [`Table::try_grant_waiter`] whenever it wakes.
    pub(super) fn enqueue(&mut self, item: LockItem, holds_nothing: bool) -> (WaiterId, Arc<Condvar>) {
        let id = WaiterId(self.arrivals);
        self.arrivals += 1;
        let wake = Arc::new(Condvar::new());
        self.waiters.push(Waiter { id, item, holds_nothing, passed_count: 0, woken: false, wake: Arc::clone(&wake) });
        (id, wake)
    }

    /// Grants what the waiter asked for and ends its waiting; or says no, and it keeps its place.
    pub(super) fn try_grant_waiter(&mut self, id: WaiterId) -> bool {
        let place = self.place_of(id);
        let granted = self.may_grant(&self.waiters[place].item, self.waiters[place].holds_nothing, place);
        if granted {
            let waiter = self.waiters.remove(place);
            self.grant(waiter.item, place);
        } else {
            // Somebody was faster. While it was woken, later waiters gave way to it: look again (T2).
            self.waiters[place].woken = false;
            self.wake_waiters();
        }
        granted
    }

    /// The waiter gives up.
    pub(super) fn leave(&mut self, id: WaiterId) {
        let place = self.place_of(id);
        self.waiters.remove(place);
        self.wake_waiters();
    }

    /// Frees held items and wakes who can go on.
    pub(super) fn release(&mut self, items: &[LockItem]) {
        for item in items {
            let kind = self.held.remove(&item.place);
            debug_assert_eq!(kind.as_ref(), Some(&item.kind), "T1: only what is held is released: {item:?}");
        }
        if !self.waiters.is_empty() {
            self.wake_waiters();
        }
    }

    /// How many items are held, and how many requests wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.held.len(), self.waiters.len())
    }

    /// Whether the waiter was woken and has not asked since.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn is_woken(&self, id: WaiterId) -> bool {
        self.waiters[self.place_of(id)].woken
    }

    /// Checks T1 and T2 from scratch.
    #[cfg(all(test, not(duramen_sim)))]
    pub(super) fn check(&self) {
        let held: Vec<_> = self.held.iter().collect();
        assert!(held.windows(2).all(|pair| !reaches(pair[0].0, pair[0].1, pair[1].0)), "T1: {held:?}");
        for (place, waiter) in self.waiters.iter().enumerate() {
            let gives_way = self.waiters[..place].iter().any(|one| one.woken && one.item.overlaps(&waiter.item));
            let could = self.may_grant(&waiter.item, waiter.holds_nothing, place);
            assert!(!could || waiter.woken || gives_way, "T2: {waiter:?} sleeps for nothing");
        }
    }

    /// Whether the request may be granted that has the first `earlier` waiters before it.
    fn may_grant(&self, item: &LockItem, holds_nothing: bool, earlier: usize) -> bool {
        let gives_way = || holds_nothing && self.waiters[..earlier].iter().any(|waiter| waiter.is_overdue_for(item));
        !self.is_held(item) && !gives_way()
    }

    fn grant(&mut self, item: LockItem, earlier: usize) {
        for waiter in &mut self.waiters[..earlier] {
            if waiter.item.overlaps(&item) {
                waiter.passed_count = waiter.passed_count.saturating_add(1);
            }
        }
        let before = self.held.insert(item.place, item.kind);
        debug_assert!(before.is_none(), "T1: held items are disjoint");
    }

    /// Whether any held item overlaps `item`. Held ones being disjoint, neighbours decide: if anything that begins at
    /// or before `item` reaches into it, then the last such one does; if a range reaches anything that begins after
    /// it, then the first such one.
    fn is_held(&self, item: &LockItem) -> bool {
        let after = (Bound::Excluded(&item.place), Bound::Unbounded);
        let before = self.held.range(..=&item.place).next_back();
        before.is_some_and(|(place, kind)| reaches(place, kind, &item.place))
            || item.kind != LockKind::Key
                && self.held.range(after).next().is_some_and(|(place, _)| reaches(&item.place, &item.kind, place))
    }

    fn wake_waiters(&mut self) {
        for place in 0..self.waiters.len() {
            let waiter = &self.waiters[place];
            let gives_way = self.waiters[..place].iter().any(|one| one.woken && one.item.overlaps(&waiter.item));
            if !waiter.woken && !gives_way && self.may_grant(&waiter.item, waiter.holds_nothing, place) {
                self.waiters[place].woken = true;
                self.waiters[place].wake.notify_one();
            }
        }
    }

    fn place_of(&self, id: WaiterId) -> usize {
        self.waiters.iter().position(|waiter| waiter.id == id).expect("a waiter stays queued until granted or leaving")
    }
}
