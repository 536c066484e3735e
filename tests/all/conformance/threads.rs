//! Several threads apply disjoint keys while others read and upkeep runs; commits are published in order, as the engine does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use duramen_base::sync::Mutex;
use duramen_base::{Backend, BackendCursor, KeyBounds, ScanOpts, StoreHost, Timestamp, Urgency, WorkBudget};

use super::fixture::Fixture;
use super::host::TestHost;
use super::subject::{Subject, on_each_backend};
use super::words::{Change, apply, ask, delete, delete_range, put};

const WRITERS: usize = 3;
const COMMITS_PER_WRITER: usize = 400;
const KEYS_PER_WRITER: usize = 40;

fn key(writer: usize, i: usize) -> Vec<u8> {
    // Neighbours belong to different writers, so that they meet in one page.
    format!("{:03}/{writer}", i % KEYS_PER_WRITER).into_bytes()
}

/// The two keys that every commit of `writer` sets to its number.
fn twins(writer: usize) -> [Vec<u8>; 2] {
    [format!("000/{writer}/twin").into_bytes(), format!("999/{writer}/twin").into_bytes()]
}

/// Publishes in order: a commit becomes visible once all before it are applied.
struct Ratchet<'a> {
    host: &'a TestHost,
    applied: Mutex<BTreeSet<Timestamp>>,
}

impl Ratchet<'_> {
    fn applied(&self, ts: Timestamp) {
        let mut applied = self.applied.lock();
        applied.insert(ts);
        while applied.remove(&self.host.visible().next()) {
            self.host.publish(self.host.visible().next());
        }
    }
}

fn changes_of(writer: usize, i: usize, ts: Timestamp) -> Vec<Change> {
    let [low, high] = twins(writer);
    let mut changes = vec![put(low, ts.get().to_be_bytes()), put(high, ts.get().to_be_bytes())];
    changes.push(match i % 6 {
        1 => delete(key(writer, i * 7)),
        4 => {
            // Exactly one key: the others in between belong to other writers.
            let low = key(writer, i * 7);
            let high = [&low[..], b"\0"].concat();
            delete_range(low, high)
        }
        _ => put(key(writer, i * 7), format!("{i} ").repeat(i % 50)),
    });
    changes
}

fn write<S: Subject>(
    store: &S::Store,
    host: &TestHost,
    ratchet: &Ratchet<'_>,
    writer: usize,
) -> Vec<(Timestamp, Vec<Change>)> {
    let mut done = Vec::new();
    for i in 0..COMMITS_PER_WRITER {
        let ts = host.sequence();
        let changes = changes_of(writer, i, ts);
        apply(store, &changes, ts);
        ratchet.applied(ts);
        done.push((ts, changes));
    }
    done
}

/// What one reader saw of each writer's twins must be equal, never ahead of the snapshot, and never go back.
fn read<S: Subject>(store: &S::Store, host: &TestHost, stop: &AtomicBool) -> u64 {
    let mut last_seen = [0; WRITERS];
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) || rounds == 0 {
        let at = host.begin_snapshot();
        for (writer, last) in last_seen.iter_mut().enumerate() {
            let [low, high] = twins(writer).map(|key| {
                let (answer, _) = ask(store, &key, at).expect("readable");
                answer.value().map_or(0, |value| u64::from_be_bytes(value.try_into().expect("eight bytes")))
            });
            assert_eq!(low, high, "a commit is seen whole at {at}");
            assert!(low >= *last && low <= at.get(), "reads are monotone: {low} after {last} at {at}");
            *last = low;
        }
        check_scan::<S>(store, at);
        host.end_snapshot(at);
        rounds += 1;
    }
    rounds
}

/// A scan at `at` is ordered and shows what gets show, although commits go on.
fn check_scan<S: Subject>(store: &S::Store, at: Timestamp) {
    let mut cursor = store.cursor(at, KeyBounds::ALL, ScanOpts::default()).expect("readable");
    let mut last: Option<Vec<u8>> = None;
    while cursor.next().expect("readable") {
        assert!(last.as_deref().is_none_or(|last| last < cursor.key()), "keys ascend");
        last = Some(cursor.key().to_vec());
        let (answer, _) = ask(store, cursor.key(), at).expect("readable");
        cursor.load_value().expect("readable");
        assert_eq!(answer.value(), Some(cursor.value()), "{:?} at {at}", cursor.key().escape_ascii().to_string());
    }
}

fn upkeep<S: Subject>(store: &S::Store, host: &TestHost, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        store.persist_to(host.visible(), Urgency::Now);
        store.work(WorkBudget { bytes: 16 << 10 }).expect("upkeep on a good disk");
        std::thread::yield_now();
    }
}

fn writers_readers_and_upkeep_go_together<S: Subject>() {
    let mut store = Fixture::<S>::forgetting();
    let host = store.host.clone();
    let ratchet = Ratchet { host: &host, applied: Mutex::default() };
    let stop = AtomicBool::new(false);
    let mut commits: BTreeMap<Timestamp, Vec<Change>> = BTreeMap::new();
    std::thread::scope(|scope| {
        let shared = store.store();
        let background = [
            scope.spawn(|| assert!(read::<S>(shared, &host, &stop) > 0)),
            scope.spawn(|| assert!(read::<S>(shared, &host, &stop) > 0)),
            scope.spawn(|| upkeep::<S>(shared, &host, &stop)),
        ];
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let (host, ratchet) = (&host, &ratchet);
                    move || write::<S>(shared, host, ratchet, writer)
                })
            })
            .collect();
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        stop.store(true, Ordering::Relaxed);
        background.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
        for written in written {
            commits.extend(written.expect("no assertion failed"));
        }
    });
    assert_eq!(store.now(), host.sequenced(), "everything is published");

    store.note_log(commits);
    let expected = store.rows_by_log(store.now());
    assert_eq!(store.rows(store.now()), expected);
    store.log_mark();
    store.reopen();
    assert_eq!(store.rows(store.now()), expected);
}

on_each_backend!(writers_readers_and_upkeep_go_together);
