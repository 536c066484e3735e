//! Tests of the whole store: what the conformance suite cannot know of, because it concerns files, tables and steps of this backend.
//!
//! The oracle is a map of all versions ever applied and a list of all range deletes; it shares nothing with the store but the batch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use duramen_base::vfs::sim::{CrashModel, Fault, FaultKind, Keep, OpKind as Call, OsError, SimVfs};
use duramen_base::vfs::{File, MemVfs, OpenMode, Vfs};
use duramen_base::{BackendCursor, Batch, BatchView, Compression, OpKind, StoreHost};

use super::*;
use crate::test_host::{TestHost, check_golden, disk, env, golden, section, ts, with_dir};

mod frozen;
mod golden_files;
mod histories;
mod levels;
mod memory;
mod packed;
mod salvaged;
mod scan_hints;
mod scans;
mod throttle;

const BUDGET_BYTES: u64 = 32 << 20;

/// Levels as tiny as they get, and a manifest that is written anew often.
fn tiny() -> Tuning {
    Tuning { manifest_bytes_max: Some(512), ..Tuning::tiny() }
}

type Change = (OpKind, Vec<u8>, Vec<u8>);

/// A store, the log above it, and the oracle.
struct Bench<V: Vfs + Clone> {
    disk: V,
    host: Arc<TestHost>,
    compression: Compression,
    lsm: Option<Lsm>,
    log: Vec<(u64, Batch)>,
    oracle: Oracle,
    now: u64,
}

/// A key and, newest first, a commit.
type At = (Vec<u8>, Reverse<u64>);

#[derive(Clone, Default)]
struct Oracle {
    versions: BTreeMap<At, Option<Vec<u8>>>,
    ranges: Vec<(Vec<u8>, Vec<u8>, u64)>,
}

impl Oracle {
    fn apply(&mut self, changes: &[Change], at: u64) {
        for (kind, key, value) in changes {
            match kind {
                OpKind::Put => drop(self.versions.insert((key.clone(), Reverse(at)), Some(value.clone()))),
                OpKind::Delete => drop(self.versions.insert((key.clone(), Reverse(at)), None)),
                OpKind::DeleteRange => self.ranges.push((key.clone(), value.clone(), at)),
            }
        }
    }

    fn get(&self, key: &[u8], at: u64) -> Option<&[u8]> {
        let from = (key.to_vec(), Reverse(at));
        let ((_, Reverse(ts)), value) = self.versions.range(from..).next().filter(|((of, _), _)| of == key)?;
        let covers = |(low, high, t): &&(Vec<u8>, Vec<u8>, u64)| {
            *t <= at && t > ts && key >= &**low && (high.is_empty() || key < &**high)
        };
        self.ranges.iter().find(covers).is_none().then_some(value.as_deref()).flatten()
    }

    fn rows(&self, at: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut keys: Vec<&Vec<u8>> = self.versions.keys().map(|(key, _)| key).collect();
        keys.dedup();
        keys.into_iter().filter_map(|key| self.get(key, at).map(|value| (key.clone(), value.to_vec()))).collect()
    }
}

impl<V: Vfs + Clone> Bench<V> {
    fn new(disk: V) -> Bench<V> {
        let host = Arc::new(TestHost::new(BUDGET_BYTES));
        Lsm::create(&env(&disk, &host, 4096, 1024)).expect("a good disk");
        Bench::around(disk, host, None).opened()
    }

    /// Nothing is committed yet.
    fn around(disk: V, host: Arc<TestHost>, lsm: Option<Lsm>) -> Bench<V> {
        Bench { disk, host, compression: Compression::None, lsm, log: Vec::new(), oracle: Oracle::default(), now: 0 }
    }

    fn opened(mut self) -> Bench<V> {
        self.open().expect("whole");
        self
    }

    fn open(&mut self) -> Result<()> {
        self.lsm = None;
        let mut env = env(&self.disk, &self.host, 4096, 1024);
        env.options.compression = self.compression;
        self.lsm = Some(Lsm::open_tuned(env, tiny())?);
        Ok(())
    }

    fn lsm(&self) -> &Lsm {
        self.lsm.as_ref().expect("open")
    }

    fn store(&self) -> &Arc<Store> {
        &self.lsm().store
    }

    fn commit(&mut self, changes: &[Change]) {
        self.now += 1;
        self.oracle.apply(changes, self.now);
        let ops: Vec<(OpKind, &[u8], &[u8])> =
            changes.iter().map(|(kind, key, value)| (*kind, &**key, &**value)).collect();
        let batch = section(&ops);
        self.apply(&batch, self.now);
        self.host.set(self.now, self.now);
        self.log.push((self.now, batch));
    }

    fn put(&mut self, key: &str, value: &str) {
        self.commit(&[(OpKind::Put, key.into(), value.into())]);
    }

    fn apply(&self, batch: &Batch, at: u64) {
        let view = BatchView::parse(batch.bytes()).expect("well formed");
        let ops = view.sections().next().expect("one");
        let admission = self.lsm().admit(&ops, Deadline::default()).expect("a good disk").granted().expect("room");
        self.lsm().apply(admission, &ops, ts(at));
    }

    fn work(&self) -> WorkDone {
        self.lsm().work(WorkBudget { bytes: 1500 }).expect("a good disk")
    }

    fn settle(&self) {
        let steps = (0..10_000).take_while(|_| self.work().more).count();
        assert!(steps < 10_000, "upkeep goes round in circles");
    }

    fn persist(&self) {
        self.lsm().persist_to(ts(self.now), Urgency::Now);
        self.settle();
        assert!(self.lsm().persisted() >= ts(self.now), "K3");
    }

    /// Brings all to files, and merges no further.
    fn flush(&mut self) {
        self.lsm().persist_to(ts(self.now), Urgency::Now);
        while self.lsm().persisted() < ts(self.now) {
            self.work();
        }
    }

    /// Dies and comes back, and applies again what the store does not promise to have.
    fn reopen(&mut self) {
        self.host.set_snapshots(&[]);
        self.open().expect("whole");
        self.replay();
    }

    fn replay(&mut self) {
        self.host.restart();
        let persisted = self.lsm().persisted().get();
        for (at, batch) in self.log.iter().filter(|(at, _)| *at > persisted) {
            self.apply(batch, *at);
            self.host.set(*at, *at);
        }
        self.host.set(self.now, self.now);
    }

    fn get(&self, key: &[u8], at: u64) -> Option<Vec<u8>> {
        loop {
            let pin = Pin::new();
            let found = self.lsm().get(&pin, key, ts(at)).expect("readable");
            match found.hit {
                Hit::Value { bytes, .. } => return Some(bytes.to_vec()),
                Hit::Large { large, .. } => {
                    drop(pin);
                    return self.lsm().load_large(key, ts(at), large).expect("readable").map(|value| value.to_vec());
                }
                Hit::Absent | Hit::Deleted(_) => return None,
                Hit::NeedIo(ticket) => ticket.load().expect("readable"),
            }
        }
    }

    fn rows(&self, at: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut cursor = self.lsm().cursor(ts(at), KeyBounds::ALL, ScanOpts::default()).expect("readable");
        let mut rows = Vec::new();
        while cursor.next().expect("readable") {
            cursor.load_value().expect("readable");
            rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
        }
        let mut back = rows.len();
        while cursor.prev().expect("readable") {
            back -= 1;
            cursor.load_value().expect("readable");
            assert_eq!((cursor.key(), cursor.value()), (&*rows[back].0, &*rows[back].1), "backward at {at}");
        }
        assert_eq!(back, 0, "backward at {at}");
        rows
    }

    fn check(&self, at: u64) {
        assert_eq!(self.rows(at), self.oracle.rows(at), "at {at} of {}", self.now);
        for key in self.oracle.versions.keys().map(|(key, _)| key).collect::<HashSet<_>>() {
            assert_eq!(self.get(key, at).as_deref(), self.oracle.get(key, at), "{key:?} at {at} of {}", self.now);
        }
    }

    fn verify(&self) {
        let mut report = VerifyReport::default();
        self.lsm().verify(VerifyLevel::Full, &mut report).expect("readable");
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!(report.keys, self.oracle.rows(self.now).len() as u64);
    }

    /// Tables of each level.
    fn levels(&self) -> Vec<usize> {
        let sv = self.store().current();
        sv.version.levels.iter().map(|runs| runs.iter().flat_map(crate::version::Run::all).count()).collect()
    }

    fn files(&self) -> Vec<String> {
        self.disk.list(Path::new("ks")).expect("there").into_iter().map(|entry| entry.name).collect()
    }
}

/// Commits with flushes, merges and manifests written anew.
fn busy<V: Vfs + Clone>(bench: &mut Bench<V>, commits: u64) {
    for number in 0..commits {
        let key = |n: u64| format!("key-{:03}", n * 7 % 50).into_bytes();
        match number % 9 {
            4 => bench.commit(&[
                (OpKind::DeleteRange, key(number), key(number + 3)),
                (OpKind::Put, key(number), b"kept".to_vec()),
            ]),
            7 => bench.commit(&[(OpKind::Delete, key(number / 2), Vec::new())]),
            _ => bench.commit(&[(OpKind::Put, key(number), vec![number as u8; 150])]),
        }
        bench.work();
    }
}

#[test]
fn merging_keeps_runs_few_and_removes_what_it_replaced() {
    let mut bench = Bench::new(disk());
    busy(&mut bench, 1200);
    bench.persist();
    let stats = bench.lsm().stats();
    assert!(stats.depth < 8 && stats.persists > 20, "{stats:?}");
    let on_disk = bench.files().iter().filter(|name| name.ends_with(".sst")).count() as u64;
    assert_eq!(on_disk, stats.units);
    let dead_values = stats.value_bytes - stats.live_value_bytes;
    assert!(stats.disk_bytes - dead_values < 80_000, "fifty keys: {stats:?}");
    assert_eq!(bench.files().iter().filter(|name| name.starts_with("MANIFEST-")).count(), 1);
    bench.check(bench.now);
    bench.verify();
}

#[test]
fn everything_deleted_leaves_no_table() {
    let mut bench = Bench::new(disk());
    for round in 0..4 {
        bench.put("a", "1");
        bench.put("b", "2");
        bench.commit(&[(OpKind::DeleteRange, b"a".to_vec(), Vec::new())]);
        if round < 3 {
            bench.persist();
        }
    }
    bench.lsm().persist_to(ts(bench.now), Urgency::Now);
    bench.settle();
    assert_eq!(bench.lsm().stats().units, 0, "{:?}", bench.files());
    assert_eq!(bench.rows(bench.now), []);
    assert_eq!(bench.lsm().newer_than(b"a", ts(bench.now)).expect("readable"), None);
}

#[test]
fn a_cursor_keeps_the_tables_it_reads() {
    let mut bench = Bench::new(disk());
    busy(&mut bench, 200);
    bench.persist();
    let at = bench.now;
    bench.host.set_snapshots(&[at]);
    let mut cursor = bench.lsm().cursor(ts(at), KeyBounds::ALL, ScanOpts::default()).expect("readable");
    assert!(cursor.next().expect("readable"));
    let before: HashSet<String> = bench.files().into_iter().filter(|name| name.ends_with(".sst")).collect();
    busy(&mut bench, 400);
    bench.persist();
    let during: HashSet<String> = bench.files().into_iter().collect();
    assert!(before.is_subset(&during), "W3: {before:?} read, {during:?} there");
    let expected = bench.oracle.rows(at);
    for (key, value) in &expected {
        cursor.load_value().expect("readable");
        assert_eq!((cursor.key(), cursor.value()), (&**key, &**value));
        cursor.next().expect("readable");
    }
    drop(cursor);
    bench.work();
    assert!(!before.is_subset(&bench.files().into_iter().collect()), "removed when nobody reads them");
}

#[test]
fn left_over_files_of_ours_go_and_foreign_ones_stay() {
    let mut bench = Bench::new(disk());
    bench.put("a", "1");
    bench.persist();
    let foreign = ["notes.txt", "007.sst", "9.sst.bak", "MANIFEST-", "MANIFEST-01"];
    for name in foreign.iter().chain(&["900.sst", "MANIFEST-900"]) {
        File::open(&bench.disk, &Path::new("ks").join(name), OpenMode::CreateNew).expect("a good disk");
    }
    bench.reopen();
    assert!(bench.files().contains(&"900.sst".to_owned()), "opening removes nothing");
    bench.work();
    let files = bench.files();
    assert!(foreign.iter().all(|name| files.contains(&(*name).to_owned())), "{files:?}");
    assert!(!files.contains(&"900.sst".to_owned()) && !files.contains(&"MANIFEST-900".to_owned()), "{files:?}");
    bench.put("b", "2");
    bench.persist();
    assert!(bench.files().contains(&"901.sst".to_owned()), "a number is never used twice: {:?}", bench.files());
    bench.check(bench.now);
}

#[test]
fn a_missing_file_of_ours_is_damage() {
    for pattern in ["CURRENT", "MANIFEST-", ".sst"] {
        let mut bench = Bench::new(disk());
        bench.put("a", "1");
        bench.persist();
        let name = bench.files().into_iter().find(|name| name.contains(pattern)).expect("there");
        bench.disk.remove_file(&Path::new("ks").join(&name)).expect("there");
        let error = bench.open().expect_err("missing");
        assert!(matches!(error, Error::Corruption { .. }), "{name}: {error}");
    }
}

#[test]
fn damage_is_reported_with_file_and_offset() {
    let mut bench = Bench::new(disk());
    busy(&mut bench, 100);
    bench.persist();
    let name = bench.files().into_iter().find(|name| name.ends_with(".sst")).expect("there");
    let file = File::open(&bench.disk, &Path::new("ks").join(&name), OpenMode::ReadWrite).expect("there");
    file.write_all_at(&[0xee], 300).expect("inside");
    let mut report = VerifyReport::default();
    bench.lsm().verify(VerifyLevel::Quick, &mut report).expect("readable");
    assert!(report.is_clean(), "the quick look does not read blocks");
    bench.lsm().verify(VerifyLevel::Full, &mut report).expect("readable");
    assert!(report.problems.iter().any(|problem| problem.file.ends_with(&name) && problem.offset == 64), "{report:?}");
    assert!(report.problems.iter().any(|problem| problem.what.contains("digest")), "{report:?}");
}

#[test]
fn an_apply_in_flight_keeps_its_memtable_from_the_flush() {
    let mut bench = Bench::new(disk());
    bench.put("a", "1");
    let memtable = Arc::clone(&bench.store().current().active);
    memtable.begin_apply();
    bench.store().rotate();
    bench.put("b", "2");
    bench.lsm().persist_to(ts(2), Urgency::Now);
    for _ in 0..20 {
        bench.work();
    }
    assert_eq!(bench.lsm().stats().persists, 0, "T3");
    assert_eq!(bench.lsm().persisted(), ts(0), "K3");
    let batch = section(&[(OpKind::Put, b"c", b"3")]);
    let ops = BatchView::parse(batch.bytes()).expect("well formed").sections().next().expect("one");
    memtable.apply(&[(ts(3), ops)], bench.host.budget().reserve_anyway(100), &*bench.host);
    bench.settle();
    assert_eq!(bench.lsm().persisted(), ts(2), "visible is not further yet");
    bench.host.set(3, 3);
    assert_eq!(bench.get(b"c", 3).as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_get_comes_to_an_end_without_a_pool() {
    let mut bench = Bench::new(disk());
    busy(&mut bench, 300);
    bench.persist();
    let mut env = env(&bench.disk, &bench.host, 4096, 1024);
    env.pool = duramen_base::pool::FramePool::new(bench.host.budget(), 0);
    bench.lsm = Some(Lsm::open_tuned(env, tiny()).expect("whole"));
    bench.check(bench.now);
}

#[test]
fn a_full_disk_is_no_poison_and_a_failed_sync_is() {
    let sim = with_dir(SimVfs::new());
    let mut bench = Bench::new(sim.clone());
    bench.put("a", "1");
    bench.lsm().persist_to(ts(1), Urgency::Now);
    for call in [Call::Create, Call::Write, Call::SyncData] {
        for nth in 1..4 {
            sim.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[call]).path_contains(".sst").at(nth));
            let _ = bench.lsm().work(WorkBudget { bytes: 1500 });
            sim.clear_faults();
        }
    }
    sim.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[Call::Write]).path_contains("MANIFEST"));
    bench.put("b", "2");
    bench.lsm().persist_to(ts(2), Urgency::Now);
    let error = (0..20).find_map(|_| bench.lsm().work(WorkBudget { bytes: 1500 }).err()).expect("no space");
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    sim.clear_faults();
    bench.persist();
    bench.check(2);
    assert_eq!(bench.files().iter().filter(|name| name.ends_with(".sst")).count() as u64, bench.lsm().stats().units);

    // No space in a sync of the manifest is as final as any other failure of a sync.
    sim.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[Call::SyncData]).path_contains("MANIFEST"));
    bench.put("c", "3");
    bench.lsm().persist_to(ts(3), Urgency::Now);
    let error = (0..20).find_map(|_| bench.lsm().work(WorkBudget { bytes: 1500 }).err()).expect("no space");
    assert!(matches!(error, Error::Poisoned { .. }), "{error}");
    sim.clear_faults();
    let ops = sim.ops();
    assert!(matches!(bench.lsm().work(WorkBudget { bytes: 1500 }), Err(Error::Poisoned { .. })), "W2");
    assert_eq!(sim.ops(), ops, "W2: nothing is written any more");
    assert_eq!(bench.lsm().persisted(), ts(2));
    bench.check(3);
}

/// O2: a crash may find the edit, and the tables it names must be there.
#[test]
fn the_tables_of_a_failed_edit_stay_until_another_edit_names_them() {
    let sim = with_dir(SimVfs::new());
    let mut bench = Bench::new(sim.clone());
    let tables =
        |bench: &Bench<SimVfs>| bench.files().into_iter().filter(|name| name.ends_with(".sst")).collect::<Vec<_>>();
    bench.put("a", "1");
    bench.lsm().persist_to(ts(1), Urgency::Now);
    sim.inject(Fault::new(FaultKind::Error(OsError::NoSpace)).on(&[Call::Write]).path_contains("MANIFEST").for_ever());
    for _ in 0..20 {
        let _ = bench.lsm().work(WorkBudget { bytes: 1500 });
    }
    let built = tables(&bench);
    assert_eq!(built.len(), 1, "O2");
    sim.clear_faults();
    bench.persist();
    assert_eq!(tables(&bench), built, "the edit was tried again, the table was not written again");
    bench.reopen();
    bench.check(1);
}

#[test]
fn a_poisoned_log_persists_nothing() {
    let mut bench = Bench::new(disk());
    bench.put("a", "1");
    bench.host.poisoned.store(true, Ordering::SeqCst);
    bench.lsm().persist_to(ts(1), Urgency::Now);
    let error = (0..20).find_map(|_| bench.lsm().work(WorkBudget { bytes: 1500 }).err()).expect("no log");
    assert!(matches!(error, Error::Poisoned { .. }), "{error}");
    assert_eq!((bench.lsm().mark().seq, bench.lsm().persisted()), (1, ts(0)));
}

#[test]
fn creating_twice_is_fine_until_there_is_content() {
    let mut bench = Bench::new(disk());
    Lsm::create(&env(&bench.disk, &bench.host, 4096, 1024)).expect("still empty");
    bench.open().expect("whole");
    bench.put("a", "1");
    bench.persist();
    let again = Lsm::create(&env(&bench.disk, &bench.host, 4096, 1024));
    assert!(matches!(again, Err(Error::KeyspaceExists { .. })));
    bench.reopen();
    bench.check(1);
}

/// Every state that a crash can leave, over flushes, merges and manifests written anew: it opens, no mark goes back, nothing is lost.
#[test]
fn every_crash_leaves_a_store_that_the_log_completes() {
    const MARKED: u64 = 1;
    let sim = with_dir(SimVfs::new());
    let mut bench = Bench::new(sim.clone());
    let begin = sim.journal_len();
    let (mut marks, mut levels_max) = (vec![bench.lsm().mark()], 0);
    for number in 0..220u64 {
        let key = |n: u64| format!("key-{:03}", n * 7 % 120).into_bytes();
        match number % 9 {
            4 => bench.commit(&[(OpKind::DeleteRange, key(number), key(number + 3))]),
            7 => bench.commit(&[(OpKind::Delete, key(number / 2), Vec::new())]),
            _ => bench.commit(&[(OpKind::Put, key(number), vec![number as u8; 150])]),
        }
        if number % 3 == 0 {
            bench.lsm().persist_to(ts(bench.now), Urgency::Now);
        }
        for _ in 0..3 {
            if bench.work().switched {
                sim.journal_note(MARKED, marks.len() as u64);
                marks.push(bench.lsm().mark());
            }
            levels_max = levels_max.max(bench.levels()[1..].iter().filter(|&&tables| tables > 0).count());
        }
    }
    assert!(bench.store().upkeep.lock().manifest.number() > 2, "manifests were written anew");
    assert!(levels_max >= 3, "{levels_max} levels below level 0 at most");
    let (oracle, log, now) = (bench.oracle.clone(), std::mem::take(&mut bench.log), bench.now);
    drop(bench);
    let journal = sim.journal();
    let mut met = HashSet::new();
    for model in [CrashModel::Strict, CrashModel::Ext4Like] {
        let mut replay = journal.replay(model);
        while replay.step() {
            let at = replay.position();
            if at < begin {
                continue;
            }
            let mut images = vec![replay.process_death()];
            if replay.has_pending() {
                images.extend(Keep::each(at as u64, 2).map(|keep| replay.crash(keep, 512)));
            }
            let marked = journal.notes(at).last().map_or(0, |(_, note)| note.payload as usize);
            for image in images.into_iter().filter(|image| met.insert((image.digest(), marked))).collect::<Vec<_>>() {
                let host = Arc::new(TestHost::new(BUDGET_BYTES));
                host.set(0, now);
                let disk = SimVfs::on(image);
                let mut found =
                    Bench { log: log.clone(), oracle: oracle.clone(), now, ..Bench::around(disk, host, None) };
                found.open().unwrap_or_else(|error| panic!("behind entry {at}, {model:?}: {error}"));
                let mark = found.lsm().mark();
                assert!(mark.seq >= marks[marked].seq, "{mark:?} opened, {:?} logged", marks[marked]);
                assert!(mark.persisted >= marks[marked].persisted || mark.seq == marks[marked].seq);
                found.replay();
                assert_eq!(found.rows(now), oracle.rows(now), "behind entry {at}, {model:?}");
                if met.len() % 16 == 0 {
                    found.persist();
                    found.reopen();
                    found.check(now);
                    found.verify();
                }
            }
        }
    }
    println!("{} crash states of {} entries", met.len(), journal.len());
    assert!(met.len() > 500);
}

#[test]
fn readers_and_writers_and_upkeep_at_once() {
    use duramen_base::sync::thread::spawn_named;
    let disk = disk();
    let host = Arc::new(TestHost::new(BUDGET_BYTES));
    let mut env = env(&disk, &host, 4096, 1024);
    env.pool = duramen_base::pool::FramePool::new(host.budget(), 4 << 10);
    Lsm::create(&env).expect("a good disk");
    let lsm = Arc::new(Lsm::open_tuned(env, tiny()).expect("whole"));
    let stop = Arc::new(AtomicBool::new(false));
    // One writer per key; a key's value is the commit that wrote it, so any reader can check what it sees.
    let upkeep = {
        let (lsm, stop) = (Arc::clone(&lsm), Arc::clone(&stop));
        spawn_named("upkeep", move || {
            while !stop.load(Ordering::Relaxed) {
                lsm.work(WorkBudget { bytes: 2000 }).expect("a good disk");
            }
        })
    };
    let readers: Vec<_> = (0..2u64)
        .map(|seed| {
            let (lsm, stop, host) = (Arc::clone(&lsm), Arc::clone(&stop), Arc::clone(&host));
            spawn_named("reader", move || {
                let mut checked = 0;
                while !stop.load(Ordering::Relaxed) {
                    let at = host.visible();
                    let mut cursor = lsm.cursor(at, KeyBounds::ALL, ScanOpts::default()).expect("readable");
                    while cursor.next().expect("readable") {
                        cursor.load_value().expect("readable");
                        let written = u64::from_le_bytes(*cursor.value().first_chunk().expect("eight bytes"));
                        assert_eq!(ts(written), cursor.ts());
                        assert!(cursor.ts() <= at);
                        checked += 1;
                    }
                    let key = format!("key-{:02}", (checked + seed) % 40);
                    loop {
                        let pin = Pin::new();
                        match lsm.get(&pin, key.as_bytes(), at).expect("readable").hit {
                            Hit::NeedIo(ticket) => ticket.load().expect("readable"),
                            Hit::Value { bytes, ts: of } => {
                                assert_eq!(bytes[..8], of.get().to_le_bytes());
                                break;
                            }
                            Hit::Absent | Hit::Deleted(_) => break,
                            Hit::Large { large, ts: of } => {
                                drop(pin);
                                let value = lsm.load_large(key.as_bytes(), at, large).expect("readable");
                                assert_eq!(value.expect("nobody deletes")[..8], of.get().to_le_bytes());
                                break;
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for number in 1..6000u64 {
        let key = format!("key-{:02}", number * 7 % 40);
        // Every third one goes to the value files.
        let value = [&number.to_le_bytes()[..], &vec![0; if number % 3 == 0 { 200 } else { 60 }]].concat();
        let batch = section(&[(OpKind::Put, key.as_bytes(), &value)]);
        let ops = BatchView::parse(batch.bytes()).expect("well formed").sections().next().expect("one");
        let admission = lsm.admit(&ops, Deadline::default()).expect("a good disk").granted().expect("room");
        lsm.apply(admission, &ops, ts(number));
        while lsm.store.current().frozen.len() > 3 {
            duramen_base::sync::thread::yield_now();
        }
        // The horizon stays far behind, so that what the readers read at is never pruned.
        host.publish(number, number.saturating_sub(2000));
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().chain([upkeep]).for_each(|thread| thread.join().expect("no thread fails"));
    assert!(lsm.stats().persists > 5);
}
