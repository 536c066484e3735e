//! Commits of many threads, for `perf stat` and `perf record`: no rounds and no floor, only the load.
//!
//! `buffered_load [btree|lsm] [threads] [seconds] [none|buffered|sync] [put|hot|hot-N|ycsb-a|ycsb-b] [snapshot|serializable]`: puts of random
//! keys, one key or N that all read and replace (under row locks, unless a level is named), or an operation of YCSB in each transaction. Wall times of a shared
//! machine say little; the processor's time and the writes for each commit say more, and `perf stat -e context-switches` around it the rest.

use std::sync::Mutex;
use std::time::Duration;

use duramen::{BackendKind, Durability, IsolationLevel, TxnOptions};
use duramen_benches::bed::Bed;
use duramen_benches::compare::histogram::Histogram;
use duramen_benches::rounds::calls_per_second;

fn main() {
    duramen_benches::guard::refuse_unfit_build();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |index: usize| args.get(index).map(String::as_str);
    let kind = if arg(0) == Some("btree") { BackendKind::BTree } else { BackendKind::Lsm };
    let number = |index: usize, otherwise: u64| arg(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (threads, seconds) = (number(1, 8), number(2, 3));
    let durability = match arg(3) {
        Some("none") => Durability::None,
        Some("sync") => Durability::Sync,
        _ => Durability::Buffered,
    };
    let level = if arg(5) == Some("serializable") { IsolationLevel::Serializable } else { IsolationLevel::Snapshot };
    let locks = arg(5).is_none();
    let bed = Bed::for_commits(kind);
    let options = TxnOptions::default().durability(durability).isolation(level);
    let times: Vec<Mutex<Histogram>> = (0..threads).map(|_| Mutex::default()).collect();
    let body = |seed: u64| -> Box<dyn FnMut() + Send + '_> {
        match arg(4) {
            Some(hot) if hot.starts_with("hot") => {
                let keys = hot.strip_prefix("hot-").and_then(|count| count.parse().ok()).unwrap_or(1);
                Box::new(bed.contender(&options, locks, keys, seed, &times[seed as usize]))
            }
            Some("ycsb-a") => Box::new(bed.ycsb(&options, 10, seed)),
            Some("ycsb-b") => Box::new(bed.ycsb(&options, 1, seed)),
            _ => Box::new(bed.committer(durability, seed)),
        }
    };
    let mut committers: Vec<_> = (0..threads).map(body).collect();
    let before = (bed.db.stats(), Usage::now());
    let rate = calls_per_second(Duration::from_secs(seconds), &mut committers);
    let after = (bed.db.stats(), Usage::now());
    let commits = (after.0.commits - before.0.commits).max(1) as f64;
    let used = after.1.since(before.1);
    println!(
        "{kind} {threads} threads: {:.0} k/s; a commit: {:.2} us of processor ({:.2} system), {:.2} writes, {:.3} syncs",
        rate / 1e3,
        (used.user_ticks + used.system_ticks) as f64 * 1e4 / commits,
        used.system_ticks as f64 * 1e4 / commits,
        (after.0.log.writes - before.0.log.writes) as f64 / commits,
        (after.0.log.syncs - before.0.log.syncs) as f64 / commits,
    );
    drop(committers);
    let times: Vec<Histogram> = times.into_iter().filter_map(|times| times.into_inner().ok()).collect();
    let mut all = Histogram::default();
    times.iter().for_each(|times| all.merge(times));
    if all.total() > 0 {
        let us = |share| all.percentile(share) as f64 / 1e3;
        let by_thread = || times.iter().map(Histogram::total);
        println!(
            "{:.3} of the runs in vain; p50 {:.1} us, p99 {:.1}, p99.9 {:.1}, longest {:.0}; a thread committed {} to {} times",
            (after.0.conflicts + after.0.serialization_failures - before.0.conflicts - before.0.serialization_failures)
                as f64
                / commits,
            us(0.5),
            us(0.99),
            us(0.999),
            us(1.0),
            by_thread().min().unwrap_or(0),
            by_thread().max().unwrap_or(0),
        );
    }
}

/// What the process has used so far, its ended threads included.
#[derive(Clone, Copy)]
struct Usage {
    /// In hundredths of a second, as Linux counts.
    user_ticks: u64,
    system_ticks: u64,
}

impl Usage {
    fn now() -> Usage {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        let ticks = |index: usize| fields.get(index).copied().unwrap_or(0);
        Usage { user_ticks: ticks(11), system_ticks: ticks(12) }
    }

    fn since(self, before: Usage) -> Usage {
        Usage { user_ticks: self.user_ticks - before.user_ticks, system_ticks: self.system_ticks - before.system_ticks }
    }
}
