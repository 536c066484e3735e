//! Random schedules of transactions that one thread takes step by step, judged after each step by the oracle.

use std::collections::BTreeSet;
use std::time::Duration;

use duramen_base::clock::ManualClock;
use duramen_base::{
    Budget, DeadlockReason, DeadlockReport, Error, KeyspaceId, KeyspaceLockMode, LockMode, LockOp, TxnId, VictimPolicy,
};

use super::oracle::{Lock, Mode, Txn, What, Who, check_held, in_circles, waits_for_holders};
use super::*;
use crate::locks::held::Step;

/// Small numbers from a seed, the same in every run.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// Runs `case` for many seeds, and says which one failed.
pub(super) fn for_seeds(count: u64, case: impl Fn(&mut Rng)) {
    let first = std::env::var("DURAMEN_SEED").ok().and_then(|seed| seed.parse().ok());
    let factor = std::env::var("DURAMEN_CASES").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let seeds = first.map_or(1..1 + count * factor, |seed: u64| seed..seed + 1);
    for seed in seeds {
        struct Says(u64);
        impl Drop for Says {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("DURAMEN_SEED={}", self.0);
                }
            }
        }
        let says = Says(seed);
        case(&mut Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        drop(says);
    }
}

/// A transaction that is taken step by step.
struct Runner {
    owner: LockOwner,
    waiting: Option<Step>,
    doomed: bool,
    steps_left: usize,
}

/// What kinds of requests a schedule has.
#[derive(Clone, Copy)]
struct Mix {
    keys: usize,
    keyspaces: usize,
    ranges: bool,
    wholes: bool,
    sorted: bool,
}

struct World {
    locks: Arc<LockManager>,
    clock: ManualClock,
    runners: Vec<Runner>,
    oracle: Vec<Txn>,
    mix: Mix,
    victims: u64,
    timeouts: u64,
}

fn spec(retry_of: Option<AgeTicket>) -> OwnerSpec {
    OwnerSpec { retry_of, ..OwnerSpec::here() }
}

impl World {
    fn new(count: usize, mix: Mix, options: LockOptions) -> World {
        let clock = ManualClock::default();
        let locks = LockManager::new(Arc::new(clock.clone()), Budget::new(u64::MAX), options);
        let runner = |steps_left| Runner { owner: locks.owner(spec(None)), waiting: None, doomed: false, steps_left };
        let runners = (0..count).map(|_| runner(8)).collect();
        World { locks, clock, runners, oracle: vec![Txn::default(); count], mix, victims: 0, timeouts: 0 }
    }

    fn who(&self, id: TxnId) -> Who {
        self.runners.iter().position(|runner| runner.owner.id() == id).expect("it is one of them")
    }

    fn is_settled(&self, who: Who) -> bool {
        self.runners[who].waiting.as_ref().is_some_and(|step| step.is_settled_or_woken(&self.locks))
    }

    fn can_step(&self, who: Who) -> bool {
        self.runners[who].waiting.is_none() || self.is_settled(who)
    }

    /// A request; what is asked for grows along one order if the mix is sorted.
    fn some_lock(&self, who: Who, rng: &mut Rng) -> Lock {
        let keyspace = 1 + rng.below(self.mix.keyspaces) as u32;
        let mode = [Mode::Shared, Mode::Exclusive, Mode::Update, Mode::Exclusive][rng.below(4)];
        let low = rng.below(self.mix.keys) as u8;
        if self.mix.sorted {
            let after =
                self.oracle[who].held.iter().map(|lock| (lock.keyspace, lock.what)).fold((1, 0), |top, (ks, what)| {
                    let What::Key(key) = what else { return top };
                    top.max((ks, key + 1))
                });
            return Lock { keyspace: after.0, what: What::Key(after.1 + low), mode };
        }
        let what = match rng.below(12) {
            0..=2 if self.mix.ranges => What::Range(low, (rng.below(5) > 0).then(|| low + 1 + rng.below(3) as u8)),
            3 if self.mix.wholes => What::Whole,
            _ => What::Key(low),
        };
        let mode = match (what, mode) {
            (What::Range(..), Mode::Update) => Mode::Exclusive,
            (What::Whole, Mode::Update) if rng.below(2) == 0 => Mode::IntentExclusive,
            (What::Whole, Mode::Update) => Mode::IntentShared,
            (_, mode) => mode,
        };
        Lock { keyspace, what, mode }
    }

    fn request(&mut self, who: Who, lock: Lock) {
        let keyspace = KeyspaceId::new(lock.keyspace);
        let mode = match lock.mode {
            Mode::Shared | Mode::IntentShared => LockMode::Shared,
            Mode::Update => LockMode::Update,
            Mode::Exclusive | Mode::IntentExclusive => LockMode::Exclusive,
        };
        let whole = match lock.mode {
            Mode::IntentShared => KeyspaceLockMode::IntentShared,
            Mode::IntentExclusive => KeyspaceLockMode::IntentExclusive,
            Mode::Shared | Mode::Update => KeyspaceLockMode::Shared,
            Mode::Exclusive => KeyspaceLockMode::Exclusive,
        };
        let wait = Wait::For(Duration::from_secs(10));
        self.oracle[who].wants = Some(lock);
        let owner = &mut self.runners[who].owner;
        let step = match lock.what {
            What::Key(key) => owner.step_key(keyspace, &[key], mode, LockOp::Put, wait),
            What::Range(low, high) => {
                let high = high.map(|high| [high]);
                owner.step_range(keyspace, &[low], high.as_ref().map(|high| &high[..]), mode, LockOp::Scan, wait)
            }
            What::Whole => owner.step_keyspace(keyspace, whole, LockOp::Lock, wait),
        };
        self.took(who, step);
    }

    fn poll(&mut self, who: Who) {
        let step = self.runners[who].waiting.take().expect("it waits");
        let step = self.runners[who].owner.step_on(step);
        self.took(who, step);
    }

    fn took(&mut self, who: Who, step: Result<Step, Error>) {
        match step {
            Ok(Step::Done(_)) => {
                let lock = self.oracle[who].wants.take().expect("it asked");
                self.oracle[who].held.push(lock);
            }
            Ok(waiting @ Step::Waiting { .. }) => self.runners[who].waiting = Some(waiting),
            Err(Error::Deadlock(report)) => {
                assert_eq!(report.victim, self.runners[who].owner.id());
                self.oracle[who].wants = None;
                self.runners[who].doomed = true;
            }
            Err(Error::LockTimeout(_)) => {
                self.timeouts += 1;
                self.oracle[who].wants = None;
                self.runners[who].doomed = true;
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Reports of circles; those of one thread waiting for itself are always right here.
    fn circles(&self) -> Vec<Arc<DeadlockReport>> {
        let mut reports = self.locks.deadlocks();
        reports.retain(|report| report.reason == DeadlockReason::Cycle);
        reports
    }

    /// The reports that came since, each of them judged by the graph as it was when the request had been made.
    fn judge_reports(&mut self, before: &[Txn], known: usize) {
        let new = self.circles();
        let arrows = waits_for_holders(before);
        let circles = in_circles(before.len(), &arrows);
        let new = &new[..new.len() - known];
        self.victims += new.len() as u64;
        for report in new {
            assert!(circles.contains(&self.who(report.victim)), "a false victim: {report}");
            let ids: Vec<Who> = report.members.iter().map(|member| self.who(member.txn.id)).collect();
            for (place, from) in ids.iter().enumerate() {
                let to = ids[(place + 1) % ids.len()];
                assert!(arrows.contains(&(*from, to)), "{from} does not wait for {to}: {report}");
            }
        }
        assert_eq!(circles.is_empty(), new.is_empty(), "a circle is ended when it closes: {arrows:?}");
    }

    /// Takes notice of everybody whose waiting was ended by somebody else.
    fn collect(&mut self) {
        for who in 0..self.runners.len() {
            let ended = self.runners[who].waiting.as_ref().is_some_and(|step| step.is_settled());
            if ended {
                self.poll(who);
            }
        }
    }

    fn check(&self) {
        check_held(&self.oracle);
        super::check(&self.locks);
        let expected = waits_for_holders(&self.oracle);
        assert!(in_circles(self.oracle.len(), &expected).is_empty(), "L4: {expected:?}");
        let graph = self.locks.wait_graph();
        let arrows = |holders: bool| -> BTreeSet<(Who, Who)> {
            let wanted = graph.arrows.iter().filter(|arrow| arrow.holds || !holders);
            wanted.map(|arrow| (self.who(arrow.from), self.who(arrow.to))).collect()
        };
        assert_eq!(arrows(true), expected, "D1: the graph is that of the definition");
        let all = arrows(false);
        assert!(in_circles(self.oracle.len(), &all).is_empty(), "L4: nobody is stuck in a queue: {all:?}");
        let able = (0..self.runners.len()).any(|who| self.can_step(who) && !self.is_finished(who));
        let finished = (0..self.runners.len()).all(|who| self.is_finished(who));
        assert!(able || finished, "all sleep: {graph:?}");
    }

    fn is_finished(&self, who: Who) -> bool {
        self.runners[who].steps_left == 0
    }

    /// Rolled back, or committed: all it holds falls.
    fn end(&mut self, who: Who) {
        let again = self.runners[who].doomed.then(|| self.runners[who].owner.age());
        self.oracle[who] = Txn::default();
        let steps_left = if again.is_some() { self.runners[who].steps_left.saturating_sub(1) } else { 0 };
        let owner = self.locks.owner(spec(again));
        self.runners[who] = Runner { owner, waiting: None, doomed: false, steps_left };
    }

    fn step(&mut self, who: Who, rng: &mut Rng) {
        let before_known = self.circles().len();
        if self.runners[who].waiting.is_some() {
            self.poll(who);
        } else if self.runners[who].doomed || rng.below(6) == 0 {
            self.end(who);
        } else {
            let lock = self.some_lock(who, rng);
            let mut asked = self.oracle.clone();
            asked[who].wants = Some(lock);
            self.request(who, lock);
            self.judge_reports(&asked, before_known);
        }
        self.collect();
    }

    fn run(&mut self, rng: &mut Rng) {
        self.locks.set_deadlock_history(usize::MAX);
        for _ in 0..10_000 {
            let able: Vec<Who> =
                (0..self.runners.len()).filter(|&who| !self.is_finished(who) && self.can_step(who)).collect();
            if able.is_empty() {
                break;
            }
            match rng.below(20) {
                0 => self.clock.advance(Duration::from_micros(600)),
                1 if rng.below(20) == 0 => {
                    self.clock.advance(Duration::from_secs(11));
                    (0..self.runners.len()).for_each(|who| {
                        if self.runners[who].waiting.is_some() {
                            self.poll(who);
                            self.collect();
                        }
                    });
                }
                _ => self.step(able[rng.below(able.len())], rng),
            }
            self.check();
        }
        assert!((0..self.runners.len()).all(|who| self.is_finished(who)), "every transaction comes to an end");
        self.runners.clear();
        assert_eq!(self.locks.counts(), (0, 0));
        assert_eq!(self.locks.stats().missed_circles, 0);
    }
}

const MIXED: Mix = Mix { keys: 5, keyspaces: 2, ranges: true, wholes: true, sorted: false };

fn policy(rng: &mut Rng) -> VictimPolicy {
    use VictimPolicy::{FewestLocks, LeastWork, Oldest, Priority, Requester, Youngest};
    [Youngest, Oldest, FewestLocks, LeastWork, Requester, Priority][rng.below(6)]
}

#[test]
fn the_graph_is_that_of_the_definition_and_victims_are_never_false() {
    let found = std::cell::Cell::new((0, 0, 0));
    for_seeds(1500, |rng| {
        let mix = match rng.below(4) {
            0 => Mix { ranges: false, wholes: false, ..MIXED },
            1 => Mix { keyspaces: 1, keys: 2, ..MIXED },
            _ => MIXED,
        };
        let options = LockOptions { victim: policy(rng), ..LockOptions::default() };
        let mut world = World::new(2 + rng.below(6), mix, options);
        world.run(rng);
        let (victims, reorders, timeouts) = found.get();
        found.set((victims + world.victims, reorders + world.locks.stats().reorders, timeouts + world.timeouts));
    });
    let (victims, reorders, timeouts) = found.get();
    println!("{victims} victims, {reorders} queues reordered, {timeouts} timeouts");
    assert!(
        std::env::var("DURAMEN_SEED").is_ok() || victims > 500 && reorders > 20 && timeouts > 50,
        "{:?}",
        found.get()
    );
}

#[test]
fn one_order_for_all_means_no_deadlock() {
    for_seeds(300, |rng| {
        let mut world = World::new(2 + rng.below(6), Mix { keys: 3, sorted: true, ..MIXED }, LockOptions::default());
        world.run(rng);
        assert_eq!((world.victims, world.locks.stats().circles), (0, 0));
    });
}

#[test]
fn wound_wait_knows_no_circle() {
    let wounded = std::cell::Cell::new(0);
    for_seeds(600, |rng| {
        let options = LockOptions { handling: DeadlockHandling::WoundWait, ..LockOptions::default() };
        let mut world = World::new(2 + rng.below(6), MIXED, options);
        world.locks.set_deadlock_history(0); // judged by what is left, not by the graph of a circle
        for _ in 0..10_000 {
            let able: Vec<Who> =
                (0..world.runners.len()).filter(|&who| !world.is_finished(who) && world.can_step(who)).collect();
            let Some(_) = able.first() else { break };
            let who = able[rng.below(able.len())];
            if world.runners[who].waiting.is_some() {
                world.poll(who);
            } else if world.runners[who].doomed || rng.below(6) == 0 {
                world.end(who);
            } else {
                let lock = world.some_lock(who, rng);
                world.request(who, lock);
            }
            world.collect();
            check_held(&world.oracle);
        }
        assert!((0..world.runners.len()).all(|who| world.is_finished(who)), "every transaction comes to an end");
        assert_eq!(world.locks.stats().circles, 0, "prevented, so never found");
        wounded.set(wounded.get() + world.locks.stats().wounded);
    });
    assert!(std::env::var("DURAMEN_SEED").is_ok() || wounded.get() > 100, "{}", wounded.get());
}
