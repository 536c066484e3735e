//! Small scenes, taken step by step by one thread; most of them after tests of other systems that found bugs there.

use std::time::Duration;

use duramen_base::clock::ManualClock;
use duramen_base::{
    DeadlockReason, DeadlockReport, Error, KeyspaceId, KeyspaceLockMode, LockMode, LockOp, LockTarget, Result,
    VictimPolicy,
};

use super::*;
use crate::locks::held::Step;

const OTHER: KeyspaceId = KeyspaceId::new(2);
const U: LockMode = LockMode::Update;
const TEN_SECONDS: Wait = Wait::For(Duration::from_secs(10));

/// A transaction and what became of its last request.
struct Txn {
    owner: LockOwner,
    state: State,
}

enum State {
    Granted,
    Waits(Step),
    Failed(Error),
}

impl Txn {
    fn took(&mut self, step: Result<Step>) -> &mut Txn {
        self.state = match step {
            Ok(Step::Done(_)) => State::Granted,
            Ok(waiting) => State::Waits(waiting),
            Err(error) => State::Failed(error),
        };
        self
    }

    fn key(&mut self, key: &str, mode: LockMode) -> &mut Txn {
        let step = self.owner.step_key(KS, key.as_bytes(), mode, LockOp::GetForUpdate, TEN_SECONDS);
        self.took(step)
    }

    fn put(&mut self, key: &str) -> &mut Txn {
        let step = self.owner.step_key(KS, key.as_bytes(), X, LockOp::Put, TEN_SECONDS);
        self.took(step)
    }

    fn range(&mut self, low: &str, high: &str, mode: LockMode) -> &mut Txn {
        let high = (!high.is_empty()).then_some(high.as_bytes());
        let step = self.owner.step_range(KS, low.as_bytes(), high, mode, LockOp::Scan, TEN_SECONDS);
        self.took(step)
    }

    fn keyspace(&mut self, keyspace: KeyspaceId, mode: KeyspaceLockMode) -> &mut Txn {
        let step = self.owner.step_keyspace(keyspace, mode, LockOp::Lock, TEN_SECONDS);
        self.took(step)
    }

    /// What its thread would do if it woke now.
    fn wakes(&mut self) -> &mut Txn {
        match std::mem::replace(&mut self.state, State::Granted) {
            State::Waits(step) => {
                let step = self.owner.step_on(step);
                self.took(step)
            }
            state => {
                self.state = state;
                self
            }
        }
    }

    fn is_awake(&self, world: &World) -> bool {
        match &self.state {
            State::Waits(step) => step.is_settled_or_woken(&world.locks),
            State::Granted | State::Failed(_) => true,
        }
    }

    fn holds(&self) -> bool {
        matches!(self.state, State::Granted)
    }

    fn waits(&self) -> bool {
        matches!(self.state, State::Waits(_))
    }

    fn deadlock(&self) -> &DeadlockReport {
        match &self.state {
            State::Failed(Error::Deadlock(report)) => report,
            State::Failed(error) => panic!("{error}"),
            State::Granted | State::Waits(_) => {
                panic!("no deadlock: {}", if self.holds() { "granted" } else { "waits" })
            }
        }
    }
}

struct World {
    locks: Arc<LockManager>,
    clock: ManualClock,
}

impl World {
    fn new(victim: VictimPolicy) -> World {
        let clock = ManualClock::default();
        let options = LockOptions { victim, ..LockOptions::default() };
        World { locks: LockManager::new(Arc::new(clock.clone()), Budget::new(u64::MAX), options), clock }
    }

    fn txn(&self) -> Txn {
        Txn { owner: self.locks.owner(OwnerSpec::here()), state: State::Granted }
    }

    fn txns<const N: usize>(&self) -> [Txn; N] {
        std::array::from_fn(|_| self.txn())
    }

    fn circles(&self) -> u64 {
        self.locks.stats().circles
    }
}

fn younger_dies() -> World {
    World::new(VictimPolicy::Youngest)
}

/// As RocksDB's DeadlockCycleShared: 31 transactions form a tree of waits; each leaf that asks for what the root holds is told.
#[test]
#[allow(clippy::needless_range_loop)] // numbers are names here
fn every_leaf_of_a_tree_of_waits_that_closes_a_circle_is_told() {
    let world = World::new(VictimPolicy::Requester);
    let name = |number: usize| format!("{number:02}");
    let mut txns: Vec<Txn> = (0..31).map(|_| world.txn()).collect();
    txns[0].key("root", S);
    for number in 1..31 {
        assert!(txns[number].key(&name((number - 1) / 2), S).holds(), "two children share what their parent wants");
    }
    for number in 0..15 {
        assert!(txns[number].key(&name(number), X).waits());
    }
    for leaf in 15..31_usize {
        let path: Vec<usize> =
            std::iter::successors(Some(leaf), |at: &usize| at.checked_sub(1).map(|at| at / 2)).collect();
        let circle: Vec<TxnId> = [leaf].iter().chain(path[1..].iter().rev()).map(|&at| txns[at].owner.id()).collect();
        let report = txns[leaf].key("root", X).deadlock();
        assert_eq!(report.members.iter().map(|member| member.txn.id).collect::<Vec<_>>(), circle);
        assert_eq!((report.victim, report.policy), (circle[0], VictimPolicy::Requester));
        let wanted = report.members[0].waits_for.as_ref().unwrap();
        assert_eq!((&wanted.target, wanted.strength.to_string()), (&LockTarget::Key(b"root".to_vec()), "X".to_owned()));
    }
    let reports = world.locks.deadlocks();
    let circles: Vec<_> = reports.iter().filter(|report| report.reason == DeadlockReason::Cycle).collect();
    assert_eq!(circles.len(), 16);
    assert!(circles.windows(2).all(|pair| pair[0].number > pair[1].number && pair[0].at >= pair[1].at), "newest first");
    check(&world.locks);
}

/// As RocksDB's DeadlockCycle (2 to 51) and DeadlockDepthExceeded, without the limit.
#[test]
fn circles_of_every_length_are_found_by_who_closes_them() {
    for length in (2..=64).chain([1000]) {
        let world = World::new(VictimPolicy::Requester);
        let mut txns: Vec<Txn> = (0..length).map(|_| world.txn()).collect();
        for (number, txn) in txns.iter_mut().enumerate() {
            txn.key(&number.to_string(), X);
        }
        for (number, txn) in txns.iter_mut().enumerate().take(length - 1) {
            assert!(txn.key(&(number + 1).to_string(), X).waits());
        }
        assert_eq!(world.circles(), 0, "a chain is no circle, however long");
        assert_eq!(txns[length - 1].key("0", X).deadlock().members.len(), length);
        txns.pop();
        while let Some(mut txn) = txns.pop() {
            assert!(txn.wakes().holds(), "the others go on, one after the other");
        }
        assert_eq!(world.locks.counts(), (0, 0));
    }
}

/// As RocksDB's Deadlock_MultipleUpgrade.
#[test]
#[allow(clippy::needless_range_loop)] // numbers are names here
fn of_n_upgraders_exactly_one_goes_on() {
    for count in 2..=8 {
        let world = younger_dies();
        let mut txns: Vec<Txn> = (0..count).map(|_| world.txn()).collect();
        txns.iter_mut().for_each(|txn| assert!(txn.key("k", S).holds()));
        let mut outsider = world.txn();
        assert!(outsider.key("k", X).waits());
        for at in 0..count {
            txns[at].key("k", X);
        }
        let mut victims = 0;
        for _ in 0..2 * count {
            for txn in &mut txns {
                txn.wakes();
            }
            let before = txns.len();
            txns.retain(|txn| !matches!(txn.state, State::Failed(_)));
            victims += before - txns.len();
        }
        assert_eq!((victims, txns.len()), (count - 1, 1));
        assert!(txns[0].holds() && outsider.wakes().waits(), "the upgrade went before who waited longer");
        txns.clear();
        assert!(outsider.wakes().holds());
    }
}

#[test]
fn an_upgrade_goes_before_those_who_came_earlier() {
    let world = younger_dies();
    let [mut reader, mut other, mut writer] = world.txns();
    reader.key("k", S);
    other.key("k", S);
    assert!(writer.key("k", X).waits());
    world.clock.advance(Duration::from_millis(5));
    assert!(reader.key("k", X).waits(), "the other reader is in the way");
    drop(other);
    assert!(reader.wakes().holds() && writer.wakes().waits());
    assert_eq!((world.circles(), world.locks.stats().reorders), (0, 0), "no victim, and nothing to put in order");
}

#[test]
fn update_locks_keep_two_that_read_to_write_out_of_each_others_way() {
    let world = younger_dies();
    let [mut first, mut second, mut reader] = world.txns();
    assert!(first.key("k", U).holds() && reader.key("k", S).holds());
    assert!(second.key("k", U).waits(), "one at a time");
    assert!(first.key("k", X).waits());
    drop(reader);
    assert!(first.wakes().holds());
    drop(first);
    assert!(second.wakes().holds() && second.key("k", X).holds());
    assert_eq!(world.circles(), 0);
}

/// As RocksDB's DeadLockOnWaiter: the first blocker leaves, the second one is granted and then waits for the waiter.
#[test]
fn a_circle_through_every_holder_is_seen_not_only_through_the_first() {
    let world = World::new(VictimPolicy::Requester);
    let [mut first, mut second, mut third] = world.txns();
    first.key("k", S);
    second.key("k", S);
    third.key("own", X);
    assert!(third.key("k", X).waits(), "behind both");
    assert_eq!(second.key("own", X).deadlock().members.len(), 2);
    drop(second);
    drop(first);
    assert!(third.wakes().holds());
}

/// As PostgreSQL's deadlock-soft: a circle that a place in a queue closes is ended by moving a waiter ahead.
#[test]
fn a_circle_through_a_place_in_a_queue_costs_no_victim() {
    let world = younger_dies();
    let [mut holder, mut writer, mut reader] = world.txns();
    holder.key("k", S);
    reader.key("own", X);
    assert!(writer.key("k", X).waits());
    world.clock.advance(Duration::from_millis(5));
    assert!(holder.key("own", S).waits());
    assert!(reader.key("k", S).wakes().holds(), "moved before the writer, who is overdue");
    assert_eq!((world.circles(), world.locks.stats().reorders), (0, 1));
    drop(reader);
    assert!(holder.wakes().holds());
    drop(holder);
    assert!(writer.wakes().holds());
}

/// As PostgreSQL's deadlock-soft-2, with ranges: who holds a key inside goes before an overdue range.
#[test]
fn who_holds_something_passes_an_overdue_range_that_waits_for_it() {
    let world = younger_dies();
    let [mut holder, mut ranger] = world.txns();
    holder.key("b", X);
    assert!(ranger.range("a", "z", X).waits());
    world.clock.advance(Duration::from_millis(5));
    assert!(holder.key("c", X).wakes().holds());
    assert_eq!(world.circles(), 0);
    drop(holder);
    assert!(ranger.wakes().holds());
}

#[test]
fn a_scan_and_an_insert_crosswise_are_a_circle_of_ranges() {
    let world = younger_dies();
    let [mut first, mut second] = world.txns();
    first.range("a", "m", S);
    second.range("m", "", S);
    assert!(first.put("z").waits());
    let report = second.put("b").deadlock();
    assert_eq!(report.members.len(), 2);
    assert!(report.to_string().contains("blocked by"), "{report}");
    drop(second);
    assert!(first.wakes().holds());
}

#[test]
fn inserts_of_different_keys_into_one_gap_do_not_wait() {
    let world = younger_dies();
    let [mut first, mut second] = world.txns();
    assert!(first.put("b").holds() && second.put("c").holds());
}

#[test]
fn a_circle_may_lead_through_several_keyspaces() {
    let world = younger_dies();
    let [mut first, mut second] = world.txns();
    first.keyspace(OTHER, KeyspaceLockMode::Exclusive);
    second.key("k", S);
    assert!(second.keyspace(OTHER, KeyspaceLockMode::IntentShared).waits());
    first.keyspace(KS, KeyspaceLockMode::Exclusive);
    assert_eq!(second.wakes().deadlock().members.len(), 2, "a sleeping one is given up");
    assert!(first.waits());
    drop(second);
    assert!(first.wakes().holds());
}

/// As RocksDB's LockDownGradeRaceCondition and SharedLockRaceCondition.
#[test]
fn a_downgrade_lets_all_readers_in() {
    let world = younger_dies();
    let [mut writer, mut one, mut two, mut late] = world.txns();
    writer.key("k", X);
    assert!(one.key("k", S).waits() && two.key("k", S).waits() && late.key("k", X).waits());
    writer.owner.downgrade_key(KS, b"k", S);
    assert!(one.is_awake(&world) && two.is_awake(&world) && !late.is_awake(&world));
    assert!(one.wakes().holds() && two.wakes().holds() && late.wakes().waits());
    check(&world.locks);
}

/// As RocksDB's LockLimitWithTimeoutHangTest: the head of the queue gives up, and those behind it go on.
#[test]
fn when_the_head_of_a_queue_gives_up_those_behind_it_go_on() {
    let world = younger_dies();
    let [mut reader, mut writer, mut behind] = world.txns();
    reader.key("k", S);
    let soon = Wait::For(Duration::from_secs(2));
    let step = writer.owner.step_key(KS, b"k", X, LockOp::Put, soon);
    assert!(writer.took(step).waits());
    world.clock.advance(Duration::from_secs(1));
    assert!(behind.key("k", S).waits(), "the writer is overdue");
    world.clock.advance(Duration::from_secs(1));
    let State::Failed(Error::LockTimeout(wait)) = &writer.wakes().state else { panic!("its time is over") };
    assert_eq!((wait.blockers.len(), wait.blockers[0].txn.id), (1, reader.owner.id()));
    assert_eq!(wait.waited, Duration::from_secs(2));
    assert!(behind.is_awake(&world) && behind.wakes().holds());
    assert_eq!((world.locks.stats().timeouts, world.locks.stats().missed_circles), (1, 0));
}

/// As RocksDB's FIFO, LockFairness and Catch22: passing is bounded.
#[test]
fn a_sleeping_waiter_is_passed_for_a_millisecond_and_then_handed_the_lock() {
    let world = younger_dies();
    let [mut holder, mut waiter] = world.txns();
    holder.key("k", X);
    assert!(waiter.key("k", X).waits());
    drop(holder);
    let mut passer = world.txn();
    assert!(passer.key("k", X).holds(), "it is awake, the waiter is not yet");
    assert!(waiter.wakes().waits(), "woken in vain");
    world.clock.advance(Duration::from_millis(1));
    drop(passer);
    let mut late = world.txn();
    assert!(late.key("k", X).waits(), "the lock was handed over");
    assert!(waiter.wakes().holds());
    assert_eq!(world.locks.stats().wakes_in_vain, 1);
    drop(waiter);
    assert!(late.wakes().holds());
}

#[test]
fn readers_do_not_starve_a_writer() {
    let world = younger_dies();
    let mut reader = world.txn();
    reader.key("k", S);
    let mut writer = world.txn();
    assert!(writer.key("k", X).waits());
    let mut early = world.txn();
    assert!(early.key("k", S).holds(), "may pass for a moment");
    world.clock.advance(Duration::from_millis(1));
    let mut late = world.txn();
    assert!(late.key("k", S).waits());
    drop((reader, early));
    assert!(writer.wakes().holds() && late.wakes().waits());
}

#[test]
fn a_phantom_does_not_come_in_with_a_handed_over_lock() {
    let world = younger_dies();
    let [mut reader, mut writer, mut scanner] = world.txns();
    reader.key("b", S);
    assert!(writer.put("b").waits());
    assert!(scanner.range("a", "c", S).holds(), "passes the writer for a moment");
    world.clock.advance(Duration::from_millis(5));
    drop(reader);
    assert!(writer.wakes().waits(), "the key is free, the range around it is not");
    check(&world.locks);
    drop(scanner);
    assert!(writer.wakes().holds());
}

#[test]
fn an_upgrade_waits_for_all_who_share_the_key_and_lets_no_more_in() {
    let world = younger_dies();
    let [mut reader, mut other, mut third, mut late] = world.txns();
    reader.key("k", S);
    other.key("k", S);
    third.key("k", S);
    assert!(reader.key("k", X).waits());
    drop(other);
    assert!(reader.wakes().waits(), "not alone yet");
    assert!(late.key("k", S).waits(), "it would be in the way for nothing");
    drop(third);
    assert!(reader.wakes().holds());
    drop(reader);
    assert!(late.wakes().holds());
    assert_eq!(world.circles(), 0);
}

/// As RocksDB's UndoGetForUpdate and PostgreSQL's delete-abort-savept.
#[test]
fn going_back_to_a_savepoint_frees_blind_writes_and_keeps_what_was_read() {
    let world = younger_dies();
    let [mut txn, mut other] = world.txns();
    txn.put("before");
    txn.key("read", S);
    let mark = txn.owner.mark();
    txn.put("blind");
    txn.put("read"); // raised
    txn.key("returned", X);
    txn.put("then read");
    txn.key("then read", S);
    let deleted = txn.owner.step_range(KS, b"x", None, X, LockOp::DeleteRange, TEN_SECONDS);
    assert!(txn.took(deleted).holds());
    assert!(other.key("read", S).waits());
    txn.owner.rollback_to(mark);
    assert!(other.wakes().holds(), "the raised lock fell back to shared");
    let held: Vec<String> = world.locks.locks().iter().map(|lock| format!("{} {}", lock.txn.id, lock.claim)).collect();
    let own = |lock: &str| held.contains(&format!("txn 1 {lock}"));
    assert!(own("X on keyspace 1 key \"before\"") && own("S on keyspace 1 key \"read\""), "{held:?}");
    assert!(own("X on keyspace 1 key \"returned\"") && own("X on keyspace 1 key \"then read\""), "{held:?}");
    assert_eq!(held.len(), 5, "{held:?}");
    check(&world.locks);
    drop((txn, other));
    assert_eq!(world.locks.counts(), (0, 0));
}

#[test]
fn a_retried_transaction_keeps_its_age_and_is_spared() {
    let world = younger_dies();
    let mut victim = world.txn();
    let age = victim.owner.age();
    victim.key("a", X);
    drop(victim);
    for attempt in 2..5 {
        let mut other = world.txn();
        let retry = OwnerSpec { retry_of: Some(age), ..OwnerSpec::here() };
        let mut again = Txn { owner: world.locks.owner(retry), state: State::Granted };
        assert!(again.owner.id() > other.owner.id(), "its number is new, its age is not");
        assert!(again.owner.info().attempt >= 2, "{attempt}");
        again.key("a", X);
        other.key("b", X);
        assert!(other.key("a", X).waits());
        assert!(again.key("b", X).waits());
        let id = other.owner.id();
        assert_eq!(other.wakes().deadlock().victim, id, "the younger one");
    }
}

#[test]
fn one_thread_that_waits_for_itself_is_told_at_once() {
    let world = younger_dies();
    let heard = Arc::new(duramen_base::sync::Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    world.locks.on_deadlock(Some(Arc::new(move |report| hears.lock().push(report.to_string()))));
    let [mut first, mut second] = world.txns();
    first.key("k", X);
    assert!(second.key("k", X).waits(), "another thread might go on with the first");
    assert!(heard.lock()[0].contains("a thread waits for a transaction of its own"), "{heard:?}");
    assert!(world.locks.lock_waits()[0].wait.same_thread);
    world.clock.advance(Duration::from_secs(10));
    let State::Failed(Error::LockTimeout(wait)) = &second.wakes().state else { panic!("its time is over") };
    assert!(wait.to_string().contains("the thread that waits"), "{wait}");
    let options = LockOptions { same_thread_fails: true, ..LockOptions::default() };
    let strict = LockManager::new(Arc::new(ManualClock::default()), Budget::new(u64::MAX), options);
    let [mut first, mut second] = std::array::from_fn(|_| strict.owner(OwnerSpec::here()));
    first.lock_key(KS, b"k", X, LockOp::Put, TEN_SECONDS).unwrap();
    let refused = second.lock_key(KS, b"k", X, LockOp::Put, TEN_SECONDS);
    assert!(matches!(refused, Err(Error::Deadlock(report)) if report.reason == DeadlockReason::SameThread));
}

#[test]
fn an_older_transaction_wounds_a_younger_one_but_never_a_sealed_one() {
    let options = LockOptions { handling: DeadlockHandling::WoundWait, ..LockOptions::default() };
    let clock = ManualClock::default();
    let locks = LockManager::new(Arc::new(clock.clone()), Budget::new(u64::MAX), options);
    let world = World { locks, clock };
    let [mut oldest, mut older, mut young, mut sealed] = world.txns();
    young.key("k", X);
    sealed.key("s", X);
    sealed.owner.seal().unwrap();
    assert!(older.key("k", X).waits());
    assert!(oldest.key("s", X).waits());
    assert!(young.owner.is_wounded() && !sealed.owner.is_wounded());
    assert!(matches!(young.owner.seal(), Err(Error::Deadlock(report)) if report.reason == DeadlockReason::Wounded));
    let id = young.owner.id();
    assert_eq!(young.key("j", X).deadlock().victim, id);
    let mut youngest = world.txn();
    assert!(youngest.key("k", X).waits());
    drop(young);
    assert!(older.wakes().holds() && youngest.wakes().waits(), "by age");
    drop(sealed);
    assert!(oldest.wakes().holds());
    assert_eq!((world.locks.stats().wounded, world.circles()), (1, 0));
}

#[test]
fn a_keyspace_lock_waits_for_those_who_have_an_intent_by_name() {
    let world = younger_dies();
    let [mut writer, mut reader, mut all] = world.txns();
    writer.key("k", X);
    reader.key("j", S);
    assert!(all.keyspace(KS, KeyspaceLockMode::Shared).waits());
    let waits = world.locks.lock_waits();
    assert_eq!(waits[0].wait.blockers.iter().map(|blocker| blocker.txn.id).collect::<Vec<_>>(), [writer.owner.id()]);
    drop(writer);
    assert!(all.wakes().holds());
    assert!(reader.key("j", X).waits(), "held as a whole");
    drop(all);
    assert!(reader.wakes().holds());
}

#[test]
fn the_history_keeps_the_last_ones_and_can_be_turned_off() {
    let world = World::new(VictimPolicy::Requester);
    let circle = || {
        let [mut first, mut second] = world.txns();
        first.key("a", X);
        second.key("b", X);
        first.key("b", X);
        second.key("a", X).deadlock().number
    };
    world.locks.set_deadlock_history(2);
    let last = (0..5).fold(0, |_, _| circle());
    assert_eq!((world.locks.deadlocks().len(), world.locks.deadlocks()[0].number >= last), (2, true));
    world.locks.set_deadlock_history(0);
    circle();
    assert!(world.locks.deadlocks().is_empty());
}
