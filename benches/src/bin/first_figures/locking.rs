//! What locks, levels and the detector cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use duramen::{Concurrency, Database, Durability, IsolationLevel, TxnOptions};
use duramen_base::clock::SystemClock;
use duramen_base::{Budget, Error, KeyspaceId, LockMode, LockOp, VictimPolicy};
use duramen_benches::bed::{BACKENDS, Bed, COMMIT_KEYS, folder};
use duramen_benches::floor;
use duramen_benches::keys::{Random, key, value};
use duramen_benches::report::{Goal, Row, number};
use duramen_benches::rounds::{Figures, Subject, calls_per_second, interleaved, ns_per_call};
use duramen_txn::{LockManager, LockOptions, LockOwner, OwnerSpec, Wait};

const SLICE: Duration = Duration::from_millis(100);
const ROUNDS: usize = 15;
const LONG: Wait = Wait::For(Duration::from_secs(600));

fn manager() -> Arc<LockManager> {
    let options = LockOptions { victim: VictimPolicy::Requester, ..LockOptions::default() };
    LockManager::new(Arc::new(SystemClock::new()), Budget::new(u64::MAX), options)
}

fn lock(owner: &mut LockOwner, number: u64) -> duramen::Result<()> {
    owner.lock_key(KeyspaceId::new(1), &key(number), LockMode::Exclusive, LockOp::Put, LONG).map(|_| ())
}

fn owner_of(locks: &Arc<LockManager>, numbers: impl Iterator<Item = u64>) -> LockOwner {
    let mut owner = locks.owner(OwnerSpec::here());
    numbers.for_each(|number| lock(&mut owner, number).expect("granted"));
    owner
}

/// Taking and releasing a lock that nobody else wants.
pub(crate) fn uncontended() -> Vec<Row> {
    const LOCKS: u64 = 64;
    const OTHERS: u64 = 100_000;
    let mut map = std::collections::BTreeMap::new();
    let mut next = 0;
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || {
        ns_per_call(SLICE, || {
            next += LOCKS;
            (next..next + LOCKS).for_each(|number| _ = map.insert(key(number), 0));
            (next..next + LOCKS).for_each(|number| _ = map.remove(&key(number)));
        }) / LOCKS as f64
    })];
    for others in [0, OTHERS] {
        let locks = manager();
        let held = owner_of(&locks, 0..others);
        let mut next = OTHERS;
        subjects.push(Box::new(move || {
            let _held = &held;
            let time = ns_per_call(SLICE, || {
                next += LOCKS;
                drop(owner_of(&locks, next..next + LOCKS));
            });
            time / LOCKS as f64
        }));
    }
    let figures = interleaved(ROUNDS, subjects);
    let floor = format!("into a BTreeMap and out of it: {} ns", number(figures[0].median()));
    let row = |what: String, goal, figures: &Figures, unit| {
        let (figures, floor) = (figures.clone(), floor.clone());
        Row { what, on: "", goal, figures, unit, floor }
    };
    vec![
        row(format!("uncontended lock + release, {LOCKS} a transaction"), Goal::AtMost(150.0), &figures[1], "ns"),
        row(
            format!("the same beside {OTHERS} locks of others, over beside none"),
            Goal::None,
            &figures[2].over(&figures[1]),
            "",
        ),
    ]
}

/// How soon a circle of a thousand is told.
pub(crate) fn detection() -> Vec<Row> {
    const WAITERS: u64 = 1_000;
    const SAMPLES: usize = 200;
    let locks = manager();
    let mut owners: Vec<LockOwner> = (0..=WAITERS).map(|number| owner_of(&locks, number..number + 1)).collect();
    let mut last = owners.pop().expect("there are some");
    let waiters: Vec<_> =
        (1..).zip(owners).map(|(number, mut owner)| thread::spawn(move || lock(&mut owner, number))).collect();
    while locks.counts().1 < WAITERS as usize {
        thread::yield_now();
    }
    let mut close = || {
        let begun = Instant::now();
        assert!(matches!(lock(&mut last, 0), Err(Error::Deadlock(_))), "a circle");
        begun.elapsed().as_secs_f64() * 1e3
    };
    let mut p99 = || {
        let mut samples: Vec<f64> = (0..SAMPLES).map(|_| close()).collect();
        samples.sort_by(f64::total_cmp);
        samples[SAMPLES * 99 / 100]
    };
    let figures = Figures((0..ROUNDS).map(|_| p99()).collect());
    drop(last);
    waiters.into_iter().for_each(|waiter| waiter.join().expect("ended").expect("granted in the end"));
    let what = format!("circle of {} closed and told, p99 of {SAMPLES}", WAITERS + 1);
    vec![Row { what, on: "", goal: Goal::AtMost(1.0), figures, unit: "ms", floor: String::new() }]
}

fn one_put(bed: &Bed, options: &TxnOptions, seed: u64) -> impl FnMut() + Send + use<> {
    let (db, ks, options, mut random) = (bed.db.clone(), bed.ks.clone(), options.clone(), Random::new(seed));
    move || {
        let index = random.below(COMMIT_KEYS);
        let tx = db.begin_with(options.clone()).expect("begins");
        tx.put(&ks, key(index), value(index)).expect("puts");
        tx.commit().expect("commits");
    }
}

/// A `Buffered` commit of one put, pessimistic over optimistic.
pub(crate) fn modes() -> Vec<Row> {
    let beds: Vec<_> = BACKENDS.iter().map(|&(on, kind)| (on, Bed::for_commits(kind))).collect();
    let options = |concurrency| TxnOptions::default().durability(Durability::Buffered).concurrency(concurrency);
    let mut subjects: Vec<Subject<'_>> = Vec::new();
    for (_, bed) in &beds {
        for concurrency in [Concurrency::Optimistic, Concurrency::Pessimistic] {
            let mut commit = one_put(bed, &options(concurrency), 1);
            subjects.push(Box::new(move || ns_per_call(SLICE, &mut commit) / 1e3));
        }
    }
    let figures = interleaved(ROUNDS, subjects);
    let row = |((on, _), times): (&(&'static str, Bed), &[Figures])| Row {
        what: "`Buffered` commit of one put, pessimistic over optimistic".to_owned(),
        on,
        goal: Goal::AtMost(1.15),
        figures: times[1].over(&times[0]),
        unit: "",
        floor: format!("optimistic: {} us", number(times[0].median())),
    };
    beds.iter().zip(figures.chunks(2)).map(row).collect()
}

/// Serializable, optimistic, over Snapshot: YCSB A and B on two threads.
pub(crate) fn serializable() -> Vec<Row> {
    const THREADS: u64 = 2;
    let beds: Vec<_> = BACKENDS.iter().map(|&(on, kind)| (on, Bed::for_commits(kind))).collect();
    let mut rows = Vec::new();
    for (letter, writes, goal) in [("A", 10, 0.7), ("B", 1, 0.85)] {
        let mut subjects: Vec<Subject<'_>> = Vec::new();
        for (_, bed) in &beds {
            for isolation in [IsolationLevel::Snapshot, IsolationLevel::Serializable] {
                let options = TxnOptions::default().isolation(isolation).durability(Durability::Buffered);
                let mut bodies: Vec<_> = (0..THREADS).map(|seed| bed.ycsb(&options, writes, seed)).collect();
                subjects.push(Box::new(move || calls_per_second(SLICE, &mut bodies) / 1e3));
            }
        }
        let figures = interleaved(ROUNDS, subjects);
        rows.extend(beds.iter().zip(figures.chunks(2)).map(|((on, _), rates)| Row {
            what: format!("YCSB {letter}, `Buffered`, {THREADS} threads: Serializable (SSI) over Snapshot"),
            on,
            goal: Goal::AtLeast(goal),
            figures: rates[1].over(&rates[0]),
            unit: "",
            floor: format!("Snapshot: {} k/s", number(rates[0].median())),
        }));
    }
    rows
}

/// One key that everybody wants.
pub(crate) fn hot_key() -> Vec<Row> {
    const BUFFERED: u64 = 8;
    const SYNC: u64 = 32;
    let raw_folder = folder();
    let mut raw = floor::log_writer(&raw_folder.path().join("raw"), true);
    let beds: Vec<_> = BACKENDS
        .iter()
        .map(|&(on, kind)| {
            let bed = Bed::new(kind, Database::builder());
            bed.fill(1);
            (on, bed)
        })
        .collect();
    let longest: Vec<AtomicU64> = beds.iter().map(|_| AtomicU64::new(0)).collect();
    let ignored = AtomicU64::new(0);
    let waits = std::cell::RefCell::new(vec![Vec::new(); beds.len()]);
    let mut subjects: Vec<Subject<'_>> = vec![Box::new(move || 1e9 / ns_per_call(SLICE, &mut raw))];
    for (index, (_, bed)) in beds.iter().enumerate() {
        let mut alone = [bed.modifier(Durability::Buffered, &ignored)];
        subjects.push(Box::new(move || calls_per_second(SLICE, &mut alone) / 1e3));
        let mut many: Vec<_> = (0..BUFFERED).map(|_| bed.modifier(Durability::Buffered, &longest[index])).collect();
        let (longest, waits) = (&longest[index], &waits);
        subjects.push(Box::new(move || {
            longest.store(0, Ordering::Relaxed);
            let rate = calls_per_second(SLICE, &mut many) / 1e3;
            waits.borrow_mut()[index].push(longest.load(Ordering::Relaxed) as f64 / 1e6);
            rate
        }));
        let mut synced: Vec<_> = (0..SYNC).map(|_| bed.modifier(Durability::Sync, &ignored)).collect();
        subjects.push(Box::new(move || calls_per_second(SLICE, &mut synced)));
    }
    let figures = interleaved(ROUNDS, subjects);
    let (raw, waits) = (&figures[0], waits.borrow());
    let rows = |(index, rates): (usize, &[Figures])| {
        let on = beds[index].0;
        let row =
            |what: String, goal, figures: Figures, unit, floor: String| Row { what, on, goal, figures, unit, floor };
        let alone = format!("1 thread: {} k/s", number(rates[0].median()));
        // The round that is not counted waited too.
        let waits = Figures(waits[index][1..].to_vec());
        [
            row(
                format!("one hot key, `Buffered`, {BUFFERED} threads"),
                Goal::AtLeast(500.0),
                rates[1].clone(),
                "k/s",
                alone,
            ),
            row("the longest of these, from begin to commit".to_owned(), Goal::AtMost(5.0), waits, "ms", String::new()),
            row(
                format!("one hot key, Sync, {SYNC} threads, over a sync for each commit"),
                Goal::AtLeast(10.0),
                rates[2].over(raw),
                "",
                format!("150 bytes + fdatasync: {}/s", number(raw.median())),
            ),
        ]
    };
    figures[1..].chunks(3).enumerate().flat_map(rows).collect()
}
