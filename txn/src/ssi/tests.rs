//! The rule against brute force: every small history, and many random ones, run on the real tables, and the outcome
//! searched for cycles over all dependencies. The search shares no code with the rule: it knows versions and edges.
//!
//! A history is a sequence of steps: each transaction begins (and reads everything it reads then) and ends. Kinds:
//! checked ones that read at visible, declared read-only ones that read at acked, which lags behind, and locking ones
//! (2PL), whose locks forbid steps that would have to wait. Facts are dropped after every step that may drop any.

use std::collections::BTreeMap;

use super::*;
use crate::key::Key;
use duramen_base::KeyspaceId;

const KEYS: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Checked,
    ReadOnly,
    Locking,
}

/// What one transaction does: bit sets of keys.
#[derive(Clone, Copy, Debug)]
struct Shape {
    kind: Kind,
    reads: u32,
    writes: u32,
}

/// A transaction that runs.
struct Running {
    snapshot: u64,
    registration: Option<Registration>,
    unchecked: bool,
}

/// One that committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    shape: Shape,
    /// What its reads saw: every version up to here.
    saw: u64,
    /// 0 for one that wrote nothing.
    ts: u64,
}

#[derive(Default)]
struct Tally {
    histories: u64,
    commits: u64,
    refused: u64,
    cyclic: Vec<String>,
}

/// One history on the real tables.
struct World {
    ssi: Ssi,
    visible: u64,
    acked: u64,
    /// How far acked lags behind.
    lag: u64,
    running: Vec<Option<Running>>,
    /// By key, the ts of the newest version.
    newest: [u64; 8],
    committed: Vec<Committed>,
    refused: u64,
}

fn footprint(keys: u32) -> Footprint {
    let key = |n: u32| (KeyspaceId::new(1), Key::from(&[n as u8][..]));
    Footprint::new((0..8).filter(|n| keys >> n & 1 == 1).map(key), vec![])
}

impl World {
    fn new(transactions: usize, lag: u64, bytes_max: u64) -> World {
        World {
            ssi: Ssi::new(&Snapshots::new(), Budget::new(1 << 30), bytes_max),
            visible: 0,
            acked: 0,
            lag,
            running: (0..transactions).map(|_| None).collect(),
            newest: [0; 8],
            committed: Vec::new(),
            refused: 0,
        }
    }

    /// Whether a step of `shape` would have to wait for a lock of another.
    fn waits(&self, shapes: &[Shape], who: usize, begins: bool) -> bool {
        let shape = shapes[who];
        let locks_now = if begins { shape.kind == Kind::Locking } else { shape.kind != Kind::Locking };
        let locking = |&(other, running): &(usize, &Option<Running>)| {
            running.is_some() && other != who && shapes[other].kind == Kind::Locking
        };
        let reads = if shape.kind == Kind::Locking { shape.reads } else { 0 };
        locks_now
            && self.running.iter().enumerate().filter(locking).any(|(other, _)| {
                let held = shapes[other];
                shape.writes & (held.reads | held.writes) != 0 || reads & held.writes != 0
            })
    }

    fn begin(&mut self, shapes: &[Shape], who: usize) {
        let shape = shapes[who];
        let ts = if shape.kind == Kind::ReadOnly { self.acked } else { self.visible };
        let mut running = Running { snapshot: ts, registration: None, unchecked: shape.kind == Kind::Locking };
        if shape.kind != Kind::Locking && shape.reads != 0 {
            let registration = self.ssi.enlist(&TxnOrigin::here(None), Timestamp::new(ts), shape.kind == Kind::Checked);
            running.registration = Some(registration.expect("a horizon is never below the floor"));
            running.unchecked = shape.kind == Kind::ReadOnly && self.ssi.is_safe(Timestamp::new(ts));
        }
        self.running[who] = Some(running);
    }

    fn end(&mut self, shapes: &[Shape], who: usize) {
        let shape = shapes[who];
        let running = self.running[who].take().expect("it began");
        let snapshot_ts = (shape.kind != Kind::Locking && shape.reads != 0).then_some(Timestamp::new(running.snapshot));
        let claim = Claim {
            snapshot_ts,
            reads: footprint(shape.reads),
            writes: footprint(shape.writes),
            origin: TxnOrigin::here(None),
            enlisted: None,
        };
        let next = Timestamp::new(self.visible + 1);
        let written = |n: &u32| shape.writes >> n & 1 == 1;
        let overwritten = (0..8).filter(written).any(|n| self.newest[n as usize] > running.snapshot);
        let outcome = match shape.kind {
            Kind::ReadOnly if running.unchecked => Ok(()),
            Kind::Locking if shape.writes == 0 => {
                self.ssi.enter_locked_reader(claim, || Timestamp::new(self.visible));
                Ok(())
            }
            Kind::Locking => {
                self.ssi.enter_locked(claim, || (next, ()));
                Ok(())
            }
            // First committer wins, as the engine finds out before it comes here.
            Kind::Checked if snapshot_ts.is_some() && overwritten => Err(too_old()),
            Kind::Checked if shape.writes != 0 => self.ssi.commit(claim, || (next, ())).map(|_| ()),
            // As the engine does: who wrote nothing and turned out safe is forgotten at once (D4).
            Kind::Checked | Kind::ReadOnly if snapshot_ts.is_some_and(|ts| self.ssi.is_safe(ts)) => Ok(()),
            Kind::Checked | Kind::ReadOnly => self.ssi.commit_read_only(claim),
        };
        drop(running.registration);
        match outcome {
            Ok(()) => {
                let ts = if shape.writes != 0 { next.get() } else { 0 };
                self.committed.push(Committed { shape, saw: running.snapshot, ts });
                if ts != 0 {
                    self.visible = ts;
                    (0..8).filter(written).for_each(|n| self.newest[n as usize] = ts);
                }
                self.acked = self.acked.max(self.visible.saturating_sub(self.lag));
            }
            Err(_) => self.refused += 1,
        }
        let acked = Timestamp::new(self.acked);
        self.ssi.prune(|| acked);
    }

    /// Whether the committed ones depend on each other in a circle: by versions read, installed over and overwritten.
    fn is_cyclic(&self) -> bool {
        let writers: BTreeMap<u64, usize> =
            self.committed.iter().enumerate().filter(|(_, c)| c.ts != 0).map(|(index, c)| (c.ts, index)).collect();
        let mut edges = vec![Vec::new(); self.committed.len()];
        for key in 0..8u32 {
            let versions: Vec<u64> = self
                .committed
                .iter()
                .filter(|c| c.ts != 0 && c.shape.writes >> key & 1 == 1)
                .map(|c| c.ts)
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect();
            for pair in versions.windows(2) {
                edges[writers[&pair[0]]].push(writers[&pair[1]]); // ww
            }
            for (index, reader) in self.committed.iter().enumerate().filter(|(_, c)| c.shape.reads >> key & 1 == 1) {
                // What a transaction reads under locks it still sees when it ends.
                for &version in &versions {
                    match version <= reader.saw {
                        true if writers[&version] != index => edges[writers[&version]].push(index), // wr
                        false if writers[&version] != index => edges[index].push(writers[&version]), // rw
                        _ => {}
                    }
                }
            }
        }
        has_cycle(&edges)
    }
}

fn has_cycle(edges: &[Vec<usize>]) -> bool {
    // Takes away whoever nobody points at, until none is left, or only circles are.
    let mut pointed: Vec<usize> = vec![0; edges.len()];
    edges.iter().flatten().for_each(|&to| pointed[to] += 1);
    let mut free: Vec<usize> = (0..edges.len()).filter(|&n| pointed[n] == 0).collect();
    let mut gone = 0;
    while let Some(next) = free.pop() {
        gone += 1;
        for &to in &edges[next] {
            pointed[to] -= 1;
            if pointed[to] == 0 {
                free.push(to);
            }
        }
    }
    gone < edges.len()
}

/// Runs one history; `None` if a step of it would have to wait.
fn run(shapes: &[Shape], order: &[usize], lag: u64, bytes_max: u64) -> Option<World> {
    let mut world = World::new(shapes.len(), lag, bytes_max);
    for &who in order {
        let begins = world.running[who].is_none();
        if world.waits(shapes, who, begins) {
            return None;
        }
        if begins { world.begin(shapes, who) } else { world.end(shapes, who) }
    }
    Some(world)
}

fn judge(tally: &mut Tally, shapes: &[Shape], order: &[usize], lag: u64, bytes_max: u64) {
    let Some(world) = run(shapes, order, lag, bytes_max) else { return };
    tally.histories += 1;
    tally.commits += world.committed.len() as u64;
    tally.refused += world.refused;
    if world.is_cyclic() {
        tally.cyclic.push(format!("{shapes:?} in the order {order:?}, acked {lag} behind"));
    }
}

/// Every order of two steps each.
fn orders(transactions: usize) -> Vec<Vec<usize>> {
    fn go(left: &mut [usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.iter().all(|&steps| steps == 0) {
            all.push(order.clone());
        }
        for who in 0..left.len() {
            if left[who] > 0 {
                left[who] -= 1;
                order.push(who);
                go(left, order, all);
                order.pop();
                left[who] += 1;
            }
        }
    }
    let mut all = Vec::new();
    go(&mut vec![2; transactions], &mut Vec::new(), &mut all);
    all
}

fn shapes_of(kind: Kind) -> Vec<Shape> {
    let sets = 0..1u32 << KEYS;
    let writes = |kind| if kind == Kind::ReadOnly { 0..1 } else { 0..1u32 << KEYS };
    sets.flat_map(|reads| writes(kind).map(move |writes| Shape { kind, reads, writes }))
        .filter(|shape| shape.reads | shape.writes != 0)
        .collect()
}

const ROOMY: u64 = 1 << 30;

#[test]
fn no_small_history_of_checked_transactions_is_cyclic() {
    let (mut tally, orders) = (Tally::default(), orders(3));
    let read_write = shapes_of(Kind::Checked);
    let thirds: Vec<Shape> = read_write.iter().copied().chain(shapes_of(Kind::ReadOnly)).collect();
    for (index, one) in read_write.iter().enumerate() {
        for two in &read_write[index..] {
            for three in &thirds {
                for order in &orders {
                    for lag in 0..=2 {
                        judge(&mut tally, &[*one, *two, *three], order, lag, ROOMY);
                    }
                }
            }
        }
    }
    assert!(tally.cyclic.is_empty(), "{} cyclic, such as {}", tally.cyclic.len(), tally.cyclic[0]);
    assert!(tally.histories > 500_000 && tally.refused * 3 < tally.commits, "{} of {}", tally.refused, tally.commits);
}

/// Numbers in an order that looks random, from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

fn random_histories(kinds: &[Kind], seed: u64, count: usize, bytes_max: u64) -> Tally {
    let (mut tally, mut dice) = (Tally::default(), Dice(seed));
    for _ in 0..count {
        let transactions = 3 + dice.below(4);
        let keys = 2 + dice.below(3);
        let few = |dice: &mut Dice| (0..2).fold(0, |set, _| set | 1u32 << dice.below(keys));
        let shapes: Vec<Shape> = (0..transactions)
            .map(|_| {
                let kind = kinds[dice.below(kinds.len())];
                let writes = if kind == Kind::ReadOnly || dice.below(5) == 0 { 0 } else { few(&mut dice) };
                Shape { kind, reads: if writes != 0 && dice.below(8) == 0 { 0 } else { few(&mut dice) }, writes }
            })
            .collect();
        let mut order: Vec<usize> = (0..transactions).flat_map(|who| [who, who]).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, dice.below(at + 1));
        }
        judge(&mut tally, &shapes, &order, dice.below(3) as u64, bytes_max);
    }
    tally
}

#[test]
fn no_random_history_of_checked_transactions_is_cyclic() {
    for bytes_max in [ROOMY, 700] {
        let tally = random_histories(&[Kind::Checked, Kind::Checked, Kind::ReadOnly], 7, 60_000, bytes_max);
        assert!(tally.cyclic.is_empty(), "{} cyclic, such as {}", tally.cyclic.len(), tally.cyclic[0]);
    }
}

#[test]
fn no_history_of_mixed_modes_is_cyclic() {
    let tally = random_histories(&[Kind::Checked, Kind::Locking, Kind::ReadOnly], 11, 120_000, ROOMY);
    assert!(tally.cyclic.is_empty(), "{} cyclic, such as {}", tally.cyclic.len(), tally.cyclic[0]);
    assert!(tally.histories > 30_000, "few steps wait: {}", tally.histories);
}

#[test]
fn facts_go_once_nobody_can_read_below_them() {
    let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    let claim = || Claim {
        snapshot_ts: Some(Timestamp::ZERO),
        reads: Footprint::default(),
        writes: footprint(1),
        origin: TxnOrigin::here(None),
        enlisted: None,
    };
    let reader = ssi.enlist(&TxnOrigin::here(None), Timestamp::new(2), true).expect("nothing was dropped");
    for ts in 1..=5 {
        ssi.commit(claim(), || (Timestamp::new(ts), ())).expect("they read nothing");
    }
    ssi.prune(|| Timestamp::new(4));
    assert_eq!(ssi.counts().0, 3, "D2: the one at 2 needs 3, 4 and 5");
    drop(reader);
    ssi.prune(|| Timestamp::new(4));
    assert_eq!(ssi.counts().0, 1, "D2: whoever begins at acked needs 5");
}

#[test]
fn over_the_budget_old_readers_are_refused() {
    let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 2_000);
    let claim = |at| Claim {
        snapshot_ts: Some(Timestamp::new(at)),
        reads: footprint(2),
        writes: footprint(1),
        origin: TxnOrigin::here(None),
        enlisted: None,
    };
    let _old = ssi.enlist(&TxnOrigin::here(None), Timestamp::ZERO, true).expect("nothing was dropped");
    for ts in 1..=100 {
        ssi.commit(claim(ts - 1), || (Timestamp::new(ts), ())).expect("nobody wrote what they read");
    }
    assert!(matches!(ssi.commit(claim(0), || (Timestamp::new(101), ())), Err(Error::SnapshotTooOld)), "D3");
    assert!(!ssi.is_safe(Timestamp::new(1)) && ssi.counts().0 < 20);
}

#[test]
fn what_was_found_safe_stays_safe() {
    let (snapshots, me) = (Snapshots::new(), TxnOrigin::here(None));
    let ssi = Ssi::new(&snapshots, Budget::new(1 << 20), 1 << 20);
    let older = ssi.begin(&me, true, || Timestamp::new(3));
    assert!(!ssi.is_safe(Timestamp::new(5)), "D4: one that may write reads below");
    older.leave_the_serializable();
    assert!(ssi.is_safe(Timestamp::new(5)), "D6: though it still reads");
    assert_eq!(snapshots.oldest_active(), Some(Timestamp::new(3)));
    assert!(ssi.enlist(&me, Timestamp::new(4), true).is_none(), "R8: it could make the one at 5 unsafe");
    assert!(ssi.enlist(&me, Timestamp::new(4), false).is_some(), "R8: one that only reads cannot");
    assert!(snapshots.register_at(&me, Timestamp::new(4)).is_some(), "R8: nor one of another level");
    assert!(ssi.is_safe(Timestamp::new(5)));
}

#[test]
fn a_pivot_that_committed_makes_the_readers_between_unsafe() {
    let me = TxnOrigin::here(None);
    let ssi = Ssi::new(&Snapshots::new(), Budget::new(1 << 20), 1 << 20);
    let claim = |at, reads, writes| Claim {
        snapshot_ts: Some(Timestamp::new(at)),
        reads: footprint(reads),
        writes: footprint(writes),
        origin: me,
        enlisted: None,
    };
    let pivot = ssi.begin(&me, true, || Timestamp::new(1));
    ssi.commit(claim(1, 0, 0b01), || (Timestamp::new(2), ())).expect("the first");
    ssi.commit(claim(1, 0b01, 0b10), || (Timestamp::new(4), ())).expect("nobody read what it wrote");
    drop(pivot);
    assert!(!ssi.is_safe(Timestamp::new(3)), "D4: it may have read what the pivot overwrote");
    assert!(ssi.is_safe(Timestamp::new(1)), "D4: it did not see the first");
    assert!(ssi.is_safe(Timestamp::new(4)), "D6");
}

#[test]
fn one_registration_keeps_versions_and_facts() {
    let snapshots = Snapshots::new();
    let ssi = Ssi::new(&snapshots, Budget::new(1 << 20), 1 << 20);
    let reader = ssi.begin(&TxnOrigin::here(None), true, || Timestamp::new(2));
    assert_eq!(snapshots.active_count(), 1);
    assert_eq!(snapshots.oldest_serial(Timestamp::new(9)), Timestamp::new(2));
    assert_eq!(snapshots.build_set(|| Timestamp::new(9)).oldest(), Timestamp::new(2));
    reader.leave_the_serializable();
    assert_eq!(snapshots.oldest_serial(Timestamp::new(9)), Timestamp::new(9), "R7: its facts may go");
    assert_eq!(snapshots.build_set(|| Timestamp::new(9)).oldest(), Timestamp::new(2), "R1: its versions stay");
}
