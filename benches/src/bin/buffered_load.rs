//! Commits of many threads, for `perf stat` and `perf record`: no rounds and no floor, only the load.
//!
//! `buffered_load [btree|lsm] [threads] [seconds] [none|buffered|sync] [put|hot|ycsb-a|ycsb-b] [snapshot|serializable]`: puts of random keys, one
//! key that all read and replace under its row lock, or an operation of YCSB in each transaction. Wall times of a shared machine say little; the processor's time and
//! the writes for each commit say more, and `perf stat -e context-switches` around it the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duramen::{BackendKind, Durability, IsolationLevel, TxnOptions};
use duramen_benches::bed::Bed;
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
    let bed = Bed::for_commits(kind);
    let options = TxnOptions::default().durability(durability).isolation(level);
    let longest = AtomicU64::new(0);
    let body = |seed: u64| -> Box<dyn FnMut() + Send + '_> {
        match arg(4) {
            Some("hot") => Box::new(bed.modifier(durability, &longest)),
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
        "{kind} {threads} threads: {:.0} k/s, longest {:.2} ms; a commit: {:.2} us of processor ({:.2} system), {:.2} writes, {:.3} syncs",
        rate / 1e3,
        longest.load(Ordering::Relaxed) as f64 / 1e6,
        (used.user_ticks + used.system_ticks) as f64 * 1e4 / commits,
        used.system_ticks as f64 * 1e4 / commits,
        (after.0.log.writes - before.0.log.writes) as f64 / commits,
        (after.0.log.syncs - before.0.log.syncs) as f64 / commits,
    );
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
