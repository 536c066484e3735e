//! The checkers must find what is wrong: histories by hand, each with one fault, and the same without it.

use super::*;
use crate::history::order::Order;

/// Built by hand: moments are given out as transactions are added, unless they overlap.
struct Hand {
    history: History,
    moment: u64,
}

impl Default for Hand {
    fn default() -> Hand {
        // Room for operations of those that began at 0.
        Hand { history: History::default(), moment: 100 }
    }
}

fn read(key: u32, element: u64) -> What {
    What::Read { key, seen: if element == 0 { Vec::new() } else { vec![element] }, locked: false }
}

fn locked(key: u32, element: u64) -> What {
    What::Read { key, seen: vec![element], locked: true }
}

fn write(key: u32, element: u64) -> What {
    What::Write { key, value: vec![element] }
}

fn scan(rows: &[(u32, u64)]) -> What {
    What::Scan { low: 0, high: 4, rows: rows.iter().map(|(key, element)| (*key, vec![*element])).collect() }
}

impl Hand {
    /// One that begins after all before it returned.
    fn add(self, setting: &str, whats: &[What], end: End) -> Hand {
        let began = self.moment;
        self.add_at(setting, began, whats, end)
    }

    /// One that began at `began`.
    fn add_at(mut self, setting: &str, began: u64, whats: &[What], end: End) -> Hand {
        let first = self.moment;
        let ops = whats.iter().zip(first + 1..).map(|(what, start)| Op { start, what: what.clone() });
        let mut ops: Vec<Op> = ops.collect();
        // Its operations began when it did, too.
        if began < first {
            ops.iter_mut().zip(began + 1..).for_each(|(op, start)| op.start = start);
        }
        self.moment = first + whats.len() as u64 + 2;
        for op in &ops {
            if let (What::Write { key, value }, End::Committed(Some(_))) = (&op.what, end) {
                self.history.state.insert(*key, value.clone());
            }
        }
        self.history.transactions.push(Txn {
            process: self.history.transactions.len(),
            setting: Setting::parse(setting).expect("a setting"),
            began,
            ended: self.moment - 1,
            pinned: None,
            ops,
            end,
        });
        self
    }

    fn complaints(&self) -> Vec<String> {
        let settings: Vec<Setting> = self.history.transactions.iter().map(|txn| txn.setting).collect();
        let order = Order::of(&self.history);
        let mut complaints = order.complaints.clone();
        complaints.extend(promise::check(&self.history, &order));
        complaints.extend(graph::check(&self.history, &order, &settings).complaints);
        complaints
    }

    #[track_caller]
    fn breaks(&self, rule: &str) {
        let complaints = self.complaints();
        assert!(complaints.iter().any(|what| what.contains(rule)), "{rule} is not among {complaints:#?}");
    }

    #[track_caller]
    fn is_fine(&self) {
        assert_eq!(self.complaints(), Vec::<String>::new());
    }
}

const C: fn(u64) -> End = |ts| End::Committed(Some(ts));
const READ_ONLY: End = End::Committed(None);
const RC: &str = "ReadCommitted/Optimistic";
const RR: &str = "RepeatableRead/Optimistic";
const SI: &str = "Snapshot/Optimistic";
const SSI: &str = "Serializable/Optimistic";
const S2PL: &str = "Serializable/Pessimistic";

#[test]
fn values_that_nobody_committed_are_noticed() {
    let aborted = Hand::default().add(RC, &[write(1, 11)], End::Aborted);
    aborted.add(RC, &[read(1, 11)], READ_ONLY).breaks("G1a");
    let twice = Hand::default().add(RC, &[write(1, 11), write(1, 12)], C(1));
    twice.add(RC, &[read(1, 11)], READ_ONLY).breaks("G1b");
    Hand::default().add(RC, &[read(1, 99)], READ_ONLY).breaks("which nobody wrote");
    let dirty = Hand::default().add("ReadUncommitted/Optimistic", &[write(1, 11)], End::Aborted);
    dirty.add("ReadUncommitted/Optimistic", &[read(1, 11)], READ_ONLY).is_fine();
}

#[test]
fn a_state_that_is_not_the_newest_commits_is_noticed() {
    let mut hand = Hand::default().add(SI, &[write(1, 11)], C(1));
    hand.is_fine();
    hand.history.state.insert(1, vec![10]);
    hand.breaks("G0");
}

#[test]
fn own_writes_that_are_not_seen_are_noticed() {
    Hand::default().add(SI, &[write(1, 11), read(1, 11)], C(1)).is_fine();
    Hand::default().add(SI, &[write(1, 11), read(1, 0)], C(1)).breaks("V6");
    Hand::default().add(SI, &[write(1, 11), scan(&[])], C(1)).breaks("V6");
}

#[test]
fn a_lost_append_is_noticed() {
    let list = |value: &[u64]| What::Write { key: 1, value: value.to_vec() };
    let lists = |second: &[u64]| {
        let mut hand = Hand::default().add(RC, &[list(&[11])], C(1)).add(RC, &[list(second)], C(2));
        hand.history.lists = true;
        hand
    };
    lists(&[11, 12]).is_fine();
    lists(&[12]).breaks("P4");
}

#[test]
fn reads_that_go_back_in_time_are_noticed_at_read_committed() {
    let two =
        || Hand::default().add(RC, &[write(1, 11), write(2, 21)], C(1)).add(RC, &[write(1, 12), write(2, 22)], C(2));
    // Both overlap all others, so only their own order counts.
    two().add_at(RC, 0, &[read(1, 11), read(2, 22)], READ_ONLY).is_fine();
    two().add_at(RC, 0, &[read(1, 12), read(2, 21)], READ_ONLY).breaks("V1");
    two().add_at(RC, 0, &[scan(&[(1, 11), (2, 22)])], READ_ONLY).breaks("V1");
    two().add(RC, &[read(1, 11)], READ_ONLY).breaks("V1");
}

#[test]
fn a_snapshot_that_is_none_is_noticed() {
    let two =
        || Hand::default().add(SI, &[write(1, 11), write(2, 21)], C(1)).add(SI, &[write(1, 12), write(2, 22)], C(2));
    two().add_at(SI, 0, &[read(1, 11), read(2, 21)], READ_ONLY).is_fine();
    two().add_at(SI, 0, &[read(1, 11), read(2, 22)], READ_ONLY).breaks("V2");
    two().add(SI, &[read(1, 11), read(2, 21)], READ_ONLY).breaks("V2");
    two().add_at(SI, 0, &[read(1, 11), write(1, 13)], C(3)).breaks("V2");
    two().add_at(SI, 0, &[read(1, 12), write(1, 13)], C(3)).is_fine();
    // Write skew is allowed.
    let skew = Hand::default().add_at(SI, 0, &[read(1, 0), write(2, 21)], C(1));
    skew.add_at(SI, 0, &[read(2, 0), write(1, 11)], C(2)).is_fine();
}

#[test]
fn what_changed_before_the_commit_is_noticed_at_repeatable_read() {
    let skew = |level| Hand::default().add_at(level, 0, &[read(1, 0), write(2, 21)], C(1));
    skew(RR).add_at(RR, 0, &[read(2, 0), write(1, 11)], C(2)).breaks("V3");
    skew(RR).add_at(RR, 0, &[read(2, 0), write(1, 11)], C(2)).breaks("G2-item");
    // A phantom is allowed, a changed row is not.
    skew(RR).add_at(RR, 0, &[scan(&[]), write(1, 11)], C(2)).is_fine();
}

#[test]
fn cycles_are_noticed_at_serializable() {
    for level in [SSI, S2PL] {
        let skew = Hand::default().add_at(level, 0, &[read(1, 0), write(2, 21)], C(1));
        skew.add_at(level, 0, &[read(2, 0), write(1, 11)], C(2)).breaks("G2");
        let phantoms = Hand::default().add_at(level, 0, &[scan(&[]), write(2, 21)], C(1));
        phantoms.add_at(level, 0, &[scan(&[]), write(1, 11)], C(2)).breaks("G2: T");
    }
    let changed = Hand::default().add_at(S2PL, 0, &[write(2, 21)], C(1));
    changed.add_at(S2PL, 0, &[scan(&[]), write(1, 11)], C(2)).breaks("V4");
}

#[test]
fn serializable_ones_are_held_to_it_among_others() {
    let hand = Hand::default().add_at(SSI, 0, &[read(1, 0), write(2, 21)], C(1));
    hand.add_at(S2PL, 0, &[read(2, 0), write(1, 11)], C(2)).breaks("G2");
    let hand = Hand::default().add_at(SSI, 0, &[read(1, 0), write(2, 21)], C(1));
    hand.add_at(SI, 0, &[read(2, 0), write(1, 11)], C(2)).is_fine();
}

#[test]
fn a_locking_read_that_did_not_hold_is_noticed() {
    let two = || Hand::default().add(RC, &[write(1, 11)], C(1)).add(RC, &[write(1, 12)], C(2));
    two().add_at(RC, 0, &[locked(1, 11), write(1, 13)], C(3)).breaks("V5");
    two().add_at(RC, 0, &[locked(1, 12), write(1, 13)], C(3)).is_fine();
}

#[test]
fn adya_sees_what_the_own_checker_sees() {
    let skew = Hand::default().add_at(SSI, 0, &[read(1, 0), read(2, 0), write(2, 21)], C(1));
    let skew = skew.add_at(SSI, 0, &[read(1, 0), read(2, 0), write(1, 11)], C(2));
    let skew = skew.add(SSI, &[read(1, 11), read(2, 21)], READ_ONLY);
    let lines = outside::lines(HistoryKind::Registers, &skew.history);
    let settings = |name| vec![Setting::parse(name).expect("a setting")];
    let found = outside::check(HistoryKind::Registers, &skew.history, &lines, &settings(SSI)).expect("write skew");
    assert!(found.contains("G2-item"), "{found}");
    assert_eq!(outside::check(HistoryKind::Registers, &skew.history, &lines, &settings(SI)), None);
}
