//! Random histories on a backend and on the model side by side, compared after every step.
//!
//! A history mixes commits of every kind, snapshots that come and go, upkeep in pieces, cursors that live long, and restarts. The model keeps
//! everything, so whatever a store forgets too early shows as a difference.

mod history;

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::sample::Index;

use duramen_base::{Backend, BackendCursor, KeyBounds, Timestamp, Urgency};

use super::fixture::Fixture;
use super::subject::{self, Subject, on_each_backend};
use super::words::{Answer, Change, agrees_ts, ask, show};
use crate::random::check_cases;
use history::{Edit, KEY_COUNT, Move, Step, key, step};

/// A cursor of each side, at a registered timestamp.
struct Pair<S: Subject> {
    at: Timestamp,
    tested: <S::Store as Backend>::Cursor,
    model: <duramen_base::model::Model as Backend>::Cursor,
}

impl<S: Subject> Pair<S> {
    fn new(run: &Run<S>, at: Timestamp, bounds: KeyBounds<'_>) -> Self {
        Pair { at, tested: run.tested.cursor(at, bounds), model: run.model.cursor(at, bounds) }
    }

    /// Moves both and compares where they stand; `fresh`: nothing was committed since they were made, so `newer_seen` is exact.
    fn make(&mut self, step: Move, fresh: bool, oldest: Timestamp) {
        let (tested, model) = match step {
            Move::Next => (self.tested.next(), self.model.next()),
            Move::Prev => (self.tested.prev(), self.model.prev()),
            Move::NextAtHand => (at_hand(&mut self.tested, true), self.model.next()),
            Move::PrevAtHand => (at_hand(&mut self.tested, false), self.model.prev()),
            Move::Seek(i) => (self.tested.seek(&key(i)), self.model.seek(&key(i))),
            Move::SeekForPrev(i) => (self.tested.seek_for_prev(&key(i)), self.model.seek_for_prev(&key(i))),
        };
        let (tested, model) = (tested.expect("readable"), model.expect("readable"));
        if tested {
            self.tested.load_value().expect("readable"); // C8
        }
        let at = self.at;
        let standing = |there: bool, cursor: &dyn Standing| there.then(|| cursor.row());
        let (found, expected) = (standing(tested, &self.tested), standing(model, &self.model));
        let rows = |row: &Option<(Vec<u8>, Vec<u8>)>| show(row.as_slice());
        assert_eq!(rows(&found), rows(&expected), "{step:?} of a cursor at {at}");
        if tested {
            assert!(
                agrees_ts(self.tested.ts(), self.model.ts(), oldest),
                "{} for {}",
                self.tested.ts(),
                self.model.ts()
            );
        }
        if fresh {
            assert_eq!(self.tested.newer_seen(), self.model.newer_seen(), "C6: after {step:?} of a cursor at {at}");
        }
    }
}

/// The step to a key at hand, if it is (C7), else the usual one.
fn at_hand(cursor: &mut impl BackendCursor, up: bool) -> duramen_base::Result<bool> {
    let lent = match up {
        true if cursor.next_is_at_hand() => cursor.next_at_hand(),
        false if cursor.prev_is_at_hand() => cursor.prev_at_hand(),
        true => return cursor.next(),
        false => return cursor.prev(),
    };
    let lent = (lent.0.to_vec(), lent.1.to_vec());
    assert_eq!(lent, cursor.row(), "C7");
    Ok(true)
}

/// The row a cursor stands on.
trait Standing {
    fn row(&self) -> (Vec<u8>, Vec<u8>);
}

impl<C: BackendCursor> Standing for C {
    fn row(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key().to_vec(), self.value().to_vec())
    }
}

struct Run<S: Subject> {
    cursors: Vec<Pair<S>>,
    snapshots: Vec<Timestamp>,
    tested: Fixture<S>,
    model: Fixture<subject::Model>,
    /// Makes each value different.
    tag: u32,
}

impl<S: Subject> Run<S> {
    fn new() -> Self {
        Run { cursors: Vec::new(), snapshots: Vec::new(), tested: Fixture::forgetting(), model: Fixture::new(), tag: 0 }
    }

    fn changes(&mut self, edits: &[Edit]) -> Vec<Change> {
        let change = |edit: &Edit| match *edit {
            Edit::Put { key: i, bytes } => {
                self.tag += 1;
                let text = format!("{} ", self.tag);
                Change::Put(key(i), text.bytes().cycle().take(bytes.into()).collect())
            }
            Edit::Delete { key: i } => Change::Delete(key(i)),
            Edit::DeleteRange { low, high } => Change::DeleteRange(key(low), high.map_or_else(Vec::new, key)),
        };
        edits.iter().map(change).collect()
    }

    fn sequence(&mut self) -> Timestamp {
        let ts = self.tested.host.sequence();
        assert_eq!(self.model.host.sequence(), ts);
        ts
    }

    fn apply(&mut self, changes: &[Change], ts: Timestamp) {
        self.tested.apply_at(changes, ts);
        self.model.apply_at(changes, ts);
    }

    fn publish(&mut self, ts: Timestamp) {
        self.tested.host.publish(ts);
        self.model.host.publish(ts);
    }

    /// Timestamps at which somebody may read now.
    fn readable(&self) -> Vec<Timestamp> {
        let mut all = self.snapshots.clone();
        all.extend(self.cursors.iter().map(|pair| pair.at));
        all.extend([self.tested.host.horizon(), self.tested.now()]);
        all.sort();
        all.dedup();
        all
    }

    fn oldest(&self) -> Timestamp {
        self.tested.host.snap_set().oldest()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Commit(edits) => {
                let (changes, ts) = (self.changes(&edits), self.sequence());
                self.apply(&changes, ts);
                self.publish(ts);
            }
            Step::Ingest(edits) => {
                let mut rows = BTreeMap::new();
                for change in self.changes(&edits) {
                    if let Change::Put(key, value) = change {
                        rows.insert(key, value);
                    }
                }
                let (rows, ts) = (rows.into_iter().collect(), self.sequence());
                self.tested.ingest_at(&rows, ts);
                self.model.ingest_at(&rows, ts);
                self.publish(ts);
            }
            Step::Halves(edits) => {
                let (changes, ts) = (self.changes(&edits), self.sequence());
                let (one, two): (Vec<_>, Vec<_>) =
                    changes.into_iter().partition(|change| key_of(change).len().is_multiple_of(2));
                [two, one].iter().filter(|part| !part.is_empty()).for_each(|part| self.apply(part, ts));
                self.publish(ts);
            }
            Step::Crossed { early, late, work_between } => self.crossed(&early, &late, work_between),
            Step::Elsewhere => {
                let ts = self.sequence();
                self.publish(ts);
            }
            Step::Begin => self.snapshots.push(self.tested.host.begin_snapshot()),
            Step::End(index) => {
                if !self.snapshots.is_empty() {
                    let at = self.snapshots.swap_remove(index.index(self.snapshots.len()));
                    self.tested.host.end_snapshot(at);
                }
            }
            Step::HoldHorizon(true) => self.tested.host.hold_horizon(),
            Step::HoldHorizon(false) => self.tested.host.follow_horizon(),
            Step::AnswerStale(stale) => self.tested.host.answer_stale(stale),
            Step::LogSynced => self.tested.host.log_synced(self.tested.now()),
            Step::Walk { at, lower, upper, moves } => self.walk(at, lower, upper, moves),
            Step::OpenCursor { at } => {
                let at = *at.get(&self.readable());
                self.tested.host.register(at);
                self.cursors.push(Pair::new(self, at, KeyBounds::ALL));
            }
            Step::MoveCursor { cursor, moves } => {
                if !self.cursors.is_empty() {
                    let (oldest, index) = (self.oldest(), cursor.index(self.cursors.len()));
                    moves.into_iter().for_each(|step| self.cursors[index].make(step, false, oldest));
                }
            }
            Step::CloseCursor(index) => {
                if !self.cursors.is_empty() {
                    let pair = self.cursors.swap_remove(index.index(self.cursors.len()));
                    self.tested.host.end_snapshot(pair.at);
                }
            }
            Step::Persist => self.tested.persist(),
            Step::Compact(steps) => {
                self.tested.store().compact(KeyBounds::ALL);
                for _ in 0..steps {
                    self.tested.work(1024).expect("upkeep on a good disk");
                }
            }
            Step::Work(bytes) => self.work(bytes.into()),
            Step::LogMark => self.tested.log_mark(),
            Step::Reopen { work_every } => self.reopen(work_every),
        }
    }

    fn crossed(&mut self, early: &[Edit], late: &[Edit], work_between: bool) {
        let early = self.changes(early);
        let mut late = self.changes(late);
        late.retain(|change| !early.iter().any(|other| key_of(other) == key_of(change)));
        let (early_ts, late_ts) = (self.sequence(), self.sequence());
        if !late.is_empty() {
            self.apply(&late, late_ts);
        }
        if work_between {
            self.work(2048);
        }
        self.apply(&early, early_ts);
        self.publish(late_ts);
    }

    fn work(&mut self, bytes: u64) {
        self.tested.store().persist_to(self.tested.now(), Urgency::Relaxed);
        self.tested.work(bytes).expect("upkeep on a good disk");
    }

    fn walk(&mut self, at: Index, lower: Bound<u8>, upper: Bound<u8>, moves: Vec<Move>) {
        let at = *at.get(&self.readable());
        let (lower, upper) = (lower.map(key), upper.map(key));
        let bounds = KeyBounds { lower: lower.as_ref().map(|k| &**k), upper: upper.as_ref().map(|k| &**k) };
        let mut pair = Pair::new(self, at, bounds);
        moves.into_iter().for_each(|step| pair.make(step, true, self.oldest()));
    }

    fn reopen(&mut self, work_every: Option<u8>) {
        self.cursors.clear();
        self.snapshots.clear();
        let mut count = 0;
        self.tested.reopen_with(|store| {
            count += 1;
            if work_every.is_some_and(|every| count % usize::from(every) == 0) {
                store.store().persist_to(store.now(), Urgency::Relaxed);
                store.work(4096).expect("upkeep on a good disk");
            }
        });
    }

    /// Everything anybody may read now, compared with the model.
    fn compare(&self) {
        let oldest = self.oldest();
        for at in self.readable() {
            for key in (0..KEY_COUNT).map(key).chain([b"never".to_vec()]) {
                self.compare_key(&key, at, oldest);
            }
            assert_eq!(show(&self.tested.rows(at)), show(&self.model.rows(at)), "the rows at {at}");
        }
    }

    fn compare_key(&self, key: &[u8], at: Timestamp, oldest: Timestamp) {
        let name = show(&[(key.to_vec(), vec![])]);
        let (found, newer) = self.tested.found(key, at);
        let (expected, expected_newer): (Answer, bool) = ask(self.model.store(), key, at).expect("readable");
        assert!(found.agrees(&expected, oldest), "{name:?} at {at}, oldest {oldest}: {found:?}, not {expected:?}");
        assert_eq!(newer, expected_newer, "whether {name:?} has something newer than {at}");
        assert_eq!(self.tested.newer_than(key, at), self.model.newer_than(key, at), "{name:?} since {at}");
    }
}

fn key_of(change: &Change) -> &[u8] {
    match change {
        Change::Put(key, _) | Change::Delete(key) | Change::DeleteRange(key, _) => key,
    }
}

fn run<S: Subject>(steps: Vec<Step>) {
    let mut run = Run::<S>::new();
    for step in steps {
        run.take(step);
        run.compare();
    }
    run.tested.persist();
    run.compare();
    run.tested.verify();
    run.reopen(None);
    run.compare();
}

fn random_histories_read_the_same_as_the_model<S: Subject>() {
    check_cases(400, proptest::collection::vec(step(), 1..80), run::<S>);
}

on_each_backend!(random_histories_read_the_same_as_the_model);
