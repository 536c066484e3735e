//! Tails of `Sync` commits in a database several times as large as its memory, beside a bulk writer and a reader; its space behind it.
//!
//! `tails [--backend btree|lsm] [--memory-mb 16] [--times 4] [--windows 6] [--seconds 10]`
//!
//! In each window the raw loop runs first, alone (150 bytes and fdatasync), then for four times as long: one thread commits single puts with `Sync`,
//! whose durations are noted, one overwrites random keys in batches of 100 with `Buffered`, one scans. A snapshot from the beginning stays open to
//! the end of the windows. Then it goes, and the space is looked at once upkeep rests; and once more after nine of ten keys were deleted.
//!
//! Not a test: it has no goals in it. `docs/benchmarks.md` has them, beside the figures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use duramen::{BackendKind, Database, Durability, Reader, TxnOptions};
use duramen_benches::bed::{BACKENDS, Bed, bytes_below};
use duramen_benches::compare::histogram::Histogram;
use duramen_benches::floor::{self, PUT_BYTES};
use duramen_benches::keys::{Random, key, value};
use duramen_benches::machine;

/// Puts of one transaction of the bulk writer.
const BATCH: u64 = 100;
/// Entries of one scan.
const SCAN: usize = 100;
/// Between two looks whether it has: files keep their length while leaves are packed.
const LOOK_PAUSE: Duration = Duration::from_secs(20);
/// How long upkeep may take to come to rest.
const REST: Duration = Duration::from_secs(120);

/// What was asked for.
#[derive(Clone, Copy)]
struct Plan {
    memory_bytes: u64,
    entries: u64,
    windows: u64,
    window: Duration,
}

/// What one window showed.
struct Window {
    raw: Histogram,
    raw_rate: f64,
    sync: Histogram,
    /// The part of it until a commit has its place in the log: throttling, locks, memory.
    before_log: Histogram,
    sync_rate: f64,
    bulk_rate: f64,
    scan_rate: f64,
    held_bytes: u64,
    space: f64,
}

fn main() {
    duramen_benches::guard::refuse_unfit_build();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let number = |name: &str, otherwise: u64| text(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let memory_bytes = number("--memory-mb", 16) << 20;
    let entries = memory_bytes * number("--times", 4) / PUT_BYTES as u64;
    let window = Duration::from_secs(number("--seconds", 10).max(1));
    let plan = Plan { memory_bytes, entries, windows: number("--windows", 6).max(2), window };
    println!("{}\n", machine::provenance_of(&duramen_benches::bed::data_root(), "tails"));
    for (name, kind) in BACKENDS {
        if text("--backend").is_none_or(|asked| *asked == kind.to_string()) {
            run(name, kind, plan);
        }
    }
}

fn run(name: &str, kind: BackendKind, plan: Plan) {
    let bed = Bed::new(kind, Database::builder().memory_bytes(plan.memory_bytes));
    bed.fill(plan.entries);
    println!(
        "**{name}**: {} entries, {} MB, memory {} MB\n",
        plan.entries,
        live_bytes(plan.entries) >> 20,
        plan.memory_bytes >> 20
    );
    println!(
        "| window | bulk puts/s | Sync commits/s | p50 ms | p99.9 ms | max ms | p99.9 before the log | raw syncs/s | raw p99.9 ms | scans/s | memory held MB | space |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let old = bed.db.snapshot().expect("a snapshot");
    let mut raw_loop = floor::log_writer(&bed.folder.path().join("raw"), true);
    let windows: Vec<Window> = (0..plan.windows).map(|number| window(&bed, plan, number, &mut raw_loop)).collect();
    windows.iter().enumerate().for_each(|(number, window)| println!("{}", line(number, window)));
    summary(&windows);
    drop(old);
    println!("- space once at rest: {:.2} of the live data", at_rest(&bed, plan.entries));
    delete_most(&bed, plan.entries);
    println!(
        "- after deleting nine of ten, at rest: {:.2} of the live data; peak memory of the process {} MB\n",
        at_rest(&bed, plan.entries / 10),
        peak_mb()
    );
}

fn live_bytes(entries: u64) -> u64 {
    entries * PUT_BYTES as u64
}

/// Bytes of disk that the keyspace takes, over those of its live data.
fn space(bed: &Bed, entries: u64) -> f64 {
    bytes_below(&bed.folder.path().join("db/ks")).1 as f64 / live_bytes(entries) as f64
}

fn window(bed: &Bed, plan: Plan, number: u64, raw_loop: &mut impl FnMut()) -> Window {
    let (raw, raw_time) = timed(plan.window / 5, raw_loop);
    let stop = AtomicBool::new(false);
    let options = TxnOptions::default().durability(Durability::Buffered);
    let ((sync, sync_time), before_log, bulk, scans) = std::thread::scope(|scope| {
        let bulk = scope.spawn(|| {
            let (mut random, mut puts) = (Random::new(1000 + number), 0);
            while !stop.load(Ordering::Relaxed) {
                let put_all = |tx: &duramen::Transaction| {
                    (0..BATCH).try_for_each(|_| {
                        tx.put(&bed.ks, key(random.below(plan.entries)), value(random.below(1 << 40)))
                    })
                };
                bed.db.update_with(options.clone(), put_all).expect("a commit");
                puts += BATCH;
            }
            puts
        });
        let scans = scope.spawn(|| {
            let (mut random, mut scans) = (Random::new(2000 + number), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                let snapshot = bed.db.snapshot().expect("a snapshot");
                let mut entries = snapshot.range(&bed.ks, &key(random.below(plan.entries))[..]..).expect("a scan");
                for _ in 0..SCAN {
                    std::hint::black_box(entries.next_ref().expect("an entry"));
                }
                scans += 1;
            }
            scans
        });
        let mut random = Random::new(3000 + number);
        let mut before_log = Histogram::default();
        let sync = timed(plan.window * 4 / 5, &mut || {
            let call = Instant::now();
            let tx = bed.db.begin_with(TxnOptions::default().durability(Durability::Sync)).expect("begins");
            tx.put(&bed.ks, key(random.below(plan.entries)), value(random.below(1 << 40))).expect("a put");
            let handle = tx.commit_async().expect("a commit").expect("it wrote");
            before_log.add(call.elapsed().as_nanos() as u64);
            handle.wait_durable().expect("a sync");
        });
        stop.store(true, Ordering::Relaxed);
        (sync, before_log, bulk.join().expect("the writer"), scans.join().expect("the reader"))
    });
    let seconds = sync_time.as_secs_f64();
    Window {
        raw_rate: raw.total() as f64 / raw_time.as_secs_f64(),
        raw,
        sync_rate: sync.total() as f64 / seconds,
        sync,
        before_log,
        bulk_rate: bulk as f64 / seconds,
        scan_rate: scans as f64 / seconds,
        held_bytes: bed.db.stats().memory_bytes,
        space: space(bed, plan.entries),
    }
}

/// Calls `body` for so long; how long each call took, and all.
fn timed(time: Duration, body: &mut impl FnMut()) -> (Histogram, Duration) {
    let (mut histogram, began) = (Histogram::default(), Instant::now());
    while began.elapsed() < time {
        let call = Instant::now();
        body();
        histogram.add(call.elapsed().as_nanos() as u64);
    }
    (histogram, began.elapsed())
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn line(number: usize, window: &Window) -> String {
    let Window { raw, sync, .. } = window;
    format!(
        "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} | {:.2} | {:.0} | {:.1} | {:.2} |",
        number + 1,
        window.bulk_rate,
        window.sync_rate,
        ms(sync.percentile(0.5)),
        ms(sync.percentile(0.999)),
        ms(sync.percentile(1.0)),
        ms(window.before_log.percentile(0.999)),
        window.raw_rate,
        ms(raw.percentile(0.999)),
        window.scan_rate,
        window.held_bytes as f64 / f64::from(1 << 20),
        window.space,
    )
}

fn summary(windows: &[Window]) {
    let (mut raw, mut sync) = (Histogram::default(), Histogram::default());
    for window in windows {
        raw.merge(&window.raw);
        sync.merge(&window.sync);
    }
    let (first, last) = (&windows[0], &windows[windows.len() - 1]);
    let ratio = |window: &Window| window.bulk_rate / window.raw_rate;
    println!(
        "\n- p99.9 of `Sync` commits {:.2} ms, of the raw loop {:.2} ms: {:.2} ms above it",
        ms(sync.percentile(0.999)),
        ms(raw.percentile(0.999)),
        ms(sync.percentile(0.999)) - ms(raw.percentile(0.999))
    );
    println!("- bulk puts for each raw sync, last window over first: {:.2}", ratio(last) / ratio(first));
}

/// The space, once it changes no more.
fn at_rest(bed: &Bed, entries: u64) -> f64 {
    bed.db.checkpoint().expect("a checkpoint");
    let began = Instant::now();
    let mut before = space(bed, entries);
    loop {
        std::thread::sleep(LOOK_PAUSE);
        let now = space(bed, entries);
        if now == before || began.elapsed() > REST {
            return now;
        }
        before = now;
    }
}

fn delete_most(bed: &Bed, entries: u64) {
    let options = TxnOptions::default().durability(Durability::Buffered);
    for start in (0..entries).step_by(1000) {
        let delete_all = |tx: &duramen::Transaction| {
            (start..entries.min(start + 1000))
                .filter(|index| index % 10 != 0)
                .try_for_each(|index| tx.delete(&bed.ks, key(index)))
        };
        bed.db.update_with(options.clone(), delete_all).expect("a commit");
    }
}

/// The most memory that the process ever had.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 10
}
