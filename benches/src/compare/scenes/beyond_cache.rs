//! Data of four times the cache budget: what a miss in the engine's own cache costs, and whether it keeps to the budget.
//!
//! The operating system's page cache is not limited and still holds the files: this is the cost of the engine's way down, not of the disk.

use crate::compare::data::{Picker, Sorted};
use crate::compare::process::peak_memory_bytes;
use crate::compare::stand::Stand;
use crate::compare::threads::run as run_threads;
use crate::peer::Outcome;

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    if stand.entry.is_floor() {
        return crate::peer::not_offered("has no cache");
    }
    let keys = stand.plan.big_keys;
    let cache = keys * stand.plan.entry_bytes() / 4;
    let engine = stand.open_with("big", stand.entry.weakest(), stand.entry.mode(), 1, cache)?;
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    let peak = peak_memory_bytes();
    for (pick, picker) in [("uniform", Picker::uniform(0, keys)), ("zipfian", Picker::zipfian(0, keys))] {
        for threads in stand.plan.mixed_threads.clone() {
            let seed = |t| stand.seed(t as u64 + 20);
            let bodies = (0..threads).map(|t| super::reads::hits(picker.reseeded(seed(t)), false)).collect();
            let counted = run_threads(&*engine, &stand.folder, stand.plan.slice(), bodies)?;
            stand.more(&format!("get, {pick}"), threads, "gets/s", counted.per_second);
            stand.cpu(&format!("get, {pick}"), threads, &counted);
        }
    }
    stand.less("load", 1, "peak memory MiB", peak as f64 / f64::from(1 << 20));
    if stand.entry.offer.scans.is_ok() {
        let sorted = Sorted::new(keys, |_| true);
        let bodies = vec![super::scans::body(&sorted, 100, false, stand.seed(8))];
        let counted = run_threads(&*engine, &stand.folder, stand.plan.slice(), bodies)?;
        stand.less("scan of 100", 1, "ns an entry", 1e9 / counted.per_second);
        stand.less("scan of 100", 1, "cpu ns an entry", counted.cpu_ns_per_operation());
    }
    Ok(())
}
