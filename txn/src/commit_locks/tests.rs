//! Commit locks: the table stepped through schedules by one thread, then real threads.

use std::time::Duration;

use duramen_base::clock::{ManualClock, SystemClock};
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::sync::thread;
use proptest::collection::vec;
use proptest::prelude::*;

use super::item::Place;
use super::table::{BYPASS_MAX, WaiterId};
use super::*;
use crate::key::Key;

const NEVER: Deadline = Deadline(None);

fn key(byte: u8) -> LockItem {
    LockItem::key(KeyspaceId::new(1), Key::from(&[byte][..]))
}

fn range(low: u8, high: u8) -> LockItem {
    LockItem::range(KeyspaceId::new(1), Key::from(&[low][..]), Some(Key::from(&[high][..])))
}

fn take(locks: &Arc<CommitLocks>, items: Vec<LockItem>, deadline: Deadline) -> Result<LockSet> {
    locks.acquire(items, Timestamp::ZERO, &SystemClock::new(), deadline)
}

fn await_waiters(locks: &CommitLocks, count: usize) {
    while locks.counts().1 != count {
        thread::yield_now();
    }
}

/// Makes disjoint ascending items out of any numbers: `(gap before, width)`, width 0 being a key. `high` of the last
/// one may be open.
fn items_from(steps: &[(u8, u8)], open: bool) -> Vec<LockItem> {
    let mut at = 0;
    let mut items = Vec::new();
    for &(gap, width) in steps {
        at += gap;
        items.push(if width == 0 { key(at) } else { range(at, at + width) });
        at += width.max(1);
    }
    if open {
        items.push(LockItem::range(KeyspaceId::new(1), Key::from(&[at][..]), None));
    }
    items
}

fn some_items() -> impl Strategy<Value = Vec<LockItem>> {
    (vec((0..3u8, 0..4u8), 1..4), prop::bool::weighted(0.1)).prop_map(|(steps, open)| items_from(&steps, open))
}

/// A transaction stepped by hand.
struct Stepped {
    items: Vec<LockItem>,
    granted_count: usize,
    waiting: Option<WaiterId>,
    finished: bool,
}

impl Stepped {
    fn can_step(&self, table: &Table) -> bool {
        !self.finished && self.waiting.is_none_or(|id| table.is_woken(id))
    }

    fn step(&mut self, table: &mut Table) {
        let Some(item) = self.items.get(self.granted_count) else {
            table.release(&self.items);
            self.finished = true;
            return;
        };
        let holds_nothing = self.granted_count == 0;
        let granted = match self.waiting {
            Some(id) => table.try_grant_waiter(id),
            None => table.try_grant(item, holds_nothing),
        };
        match (granted, self.waiting) {
            (true, _) => (self.granted_count, self.waiting) = (self.granted_count + 1, None),
            (false, None) => self.waiting = Some(table.enqueue(item.clone(), holds_nothing).0),
            (false, Some(_)) => {}
        }
    }

    fn give_up(&mut self, table: &mut Table) {
        if let Some(id) = self.waiting.take() {
            table.leave(id);
            table.release(&self.items[..self.granted_count]);
            self.finished = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_of_ordered_requests_ends(
        sets in vec(some_items(), 1..7),
        schedule in vec((any::<usize>(), 0..20u8), 0..400),
    ) {
        let mut table = Table::default();
        let mut all: Vec<Stepped> = sets
            .into_iter()
            .map(|items| Stepped { items, granted_count: 0, waiting: None, finished: false })
            .collect();
        // First as the schedule says, with one in twenty giving up; then whoever can go on.
        let mut schedule = schedule.into_iter();
        loop {
            let able: Vec<usize> = (0..all.len()).filter(|&who| all[who].can_step(&table)).collect();
            let unfinished: Vec<usize> = (0..all.len()).filter(|&who| !all[who].finished).collect();
            if unfinished.is_empty() {
                break;
            }
            prop_assert!(!able.is_empty(), "all wait: {:?}", table);
            let (choice, chance) = schedule.next().unwrap_or((0, 1));
            if chance == 0 {
                all[unfinished[choice % unfinished.len()]].give_up(&mut table);
            } else {
                all[able[choice % able.len()]].step(&mut table);
            }
            table.check();
        }
        prop_assert_eq!(table.counts(), (0, 0));
    }
}

#[test]
fn a_waiter_is_passed_only_so_often() {
    let mut table = Table::default();
    assert!(table.try_grant(&key(1), true));
    let (waiter, _) = table.enqueue(key(1), true);
    table.release(&[key(1)]);
    for _ in 0..BYPASS_MAX {
        assert!(table.try_grant(&key(1), true), "a sleeping waiter may be passed");
        assert!(!table.try_grant_waiter(waiter));
        table.release(&[key(1)]);
    }
    assert!(!table.try_grant(&key(1), true), "T3: now it is its turn");
    assert!(table.try_grant_waiter(waiter));
}

#[test]
fn who_holds_something_passes_an_overdue_waiter_of_a_range() {
    let mut table = Table::default();
    assert!(table.try_grant(&key(2), true));
    let (waiter, _) = table.enqueue(range(0, 9), true);
    for _ in 0..2 * BYPASS_MAX {
        assert!(table.try_grant(&key(3), false), "queueing here would deadlock");
        table.release(&[key(3)]);
    }
    assert!(!table.try_grant(&key(3), true), "T3: an empty-handed one gives way");
    assert!(table.try_grant(&key(10), true), "others are not concerned");
    table.release(&[key(2)]);
    assert!(table.try_grant_waiter(waiter));
}

#[test]
fn who_gave_way_to_a_waiter_goes_on_when_that_leaves() {
    let mut table = Table::default();
    assert!(table.try_grant(&key(2), true));
    let (range_waiter, _) = table.enqueue(range(0, 9), true);
    for _ in 0..BYPASS_MAX {
        assert!(table.try_grant(&key(3), true));
        table.release(&[key(3)]);
    }
    assert!(!table.try_grant(&key(3), true), "T3: free, but it is the turn of the range");
    let (key_waiter, _) = table.enqueue(key(3), true);
    assert!(!table.try_grant_waiter(range_waiter), "key 2 is held");
    assert!(!table.is_woken(key_waiter));
    table.leave(range_waiter);
    assert!(table.is_woken(key_waiter), "T2");
}

#[test]
fn a_range_excludes_the_keys_inside_and_no_others() {
    let locks = CommitLocks::new();
    let held = take(&locks, vec![range(3, 6)], NEVER).unwrap();
    let at_once = Deadline(Some(Duration::ZERO));
    for inside in [key(3), key(5), range(1, 4), range(5, 8), range(4, 5), range(0, 9), range(3, 6)] {
        assert!(take(&locks, vec![inside.clone()], at_once).is_err(), "{inside:?}");
    }
    let open = LockItem::range(KeyspaceId::new(1), Key::from(&[5][..]), None);
    assert!(take(&locks, vec![open], at_once).is_err());
    for outside in [key(2), key(6), range(1, 3), range(6, 8)] {
        assert!(take(&locks, vec![outside.clone()], at_once).is_ok(), "{outside:?}");
    }
    let in_keyspace = |id| {
        let LockItem { place, kind } = range(3, 6);
        LockItem { place: Place { keyspace: KeyspaceId::new(id), ..place }, kind }
    };
    assert!(take(&locks, vec![in_keyspace(2)], at_once).is_ok());
    // Shares the mutex, not the keys.
    assert!(take(&locks, vec![in_keyspace(1 + TABLE_COUNT as u32)], at_once).is_ok());
    drop(held);
    assert_eq!(locks.counts(), (0, 0));
}

#[test]
fn a_timeout_names_the_item_and_gives_back_the_rest() {
    let locks = CommitLocks::new();
    let held = take(&locks, vec![range(5, 7)], NEVER).unwrap();
    let clock = ManualClock::default();
    let error = locks
        .acquire(vec![key(1), range(4, 6), key(9)], Timestamp::new(12), &clock, Deadline(Some(Duration::ZERO)))
        .unwrap_err();
    let Error::LockTimeout(info) = error else { panic!("{error}") };
    assert_eq!(info.wanted.target, LockTarget::Range { low: vec![4], high: Some(vec![6]) });
    assert_eq!(locks.counts(), (1, 0), "key 1 is free again");
    drop(held);
}

#[test]
fn a_release_wakes_the_next_in_line() {
    let locks = CommitLocks::new();
    let held = take(&locks, vec![key(1), key(2)], NEVER).unwrap();
    let waiters: Vec<_> = [vec![key(1)], vec![range(0, 9)], vec![key(2)], vec![key(0), key(2)]]
        .into_iter()
        .map(|items| {
            let locks = Arc::clone(&locks);
            thread::spawn_named("waiter", move || drop(take(&locks, items, NEVER).unwrap()))
        })
        .collect();
    await_waiters(&locks, 4);
    drop(held);
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    assert_eq!(locks.counts(), (0, 0));
}

#[test]
fn a_waiter_that_gives_up_lets_those_behind_it_go_on() {
    let locks = CommitLocks::new();
    let low = take(&locks, vec![key(1)], NEVER).unwrap();
    // Waits for key 1, which stays held; key 5 is free but lies in its range.
    let soon = Deadline(Some(Duration::from_millis(20)));
    assert!(take(&locks, vec![range(0, 9)], soon).is_err());
    drop(take(&locks, vec![key(5)], NEVER).unwrap());
    drop(low);
}

/// Small numbers from a seed, the same in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn no_two_commits_hold_one_key_and_all_come_to_an_end() {
    const THREADS: u64 = 4;
    let locks = CommitLocks::new();
    let owned: Arc<Vec<AtomicBool>> = Arc::new((0..40).map(|_| AtomicBool::new(false)).collect());
    let threads: Vec<_> = (1..=THREADS)
        .map(|seed| {
            let (locks, owned) = (Arc::clone(&locks), Arc::clone(&owned));
            thread::spawn_named("committer", move || {
                let mut rng = Rng(seed << 32 | 0x9e37_79b9);
                for _ in 0..2000 {
                    let steps: Vec<_> =
                        (0..1 + rng.below(3)).map(|_| (rng.below(3) as u8, rng.below(5) as u8)).collect();
                    let items = items_from(&steps, rng.below(50) == 0);
                    let inside = |item: &LockItem| {
                        let item = item.clone();
                        (0..40u8).filter(move |&byte| item.overlaps(&key(byte)))
                    };
                    // A deadlock would show as this deadline.
                    let set = take(&locks, items, Deadline(Some(Duration::from_secs(60)))).expect("no deadlock");
                    for byte in set.items().iter().flat_map(inside) {
                        assert!(!owned[byte as usize].swap(true, Ordering::Relaxed), "C1: key {byte} has one owner");
                    }
                    if rng.below(4) == 0 {
                        thread::yield_now();
                    }
                    for byte in set.items().iter().flat_map(inside) {
                        owned[byte as usize].store(false, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(locks.counts(), (0, 0));
}

#[test]
#[should_panic(expected = "C2")]
fn items_out_of_order_are_refused() {
    let _ = take(&CommitLocks::new(), vec![range(1, 5), key(3)], NEVER);
}
