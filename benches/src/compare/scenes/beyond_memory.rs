//! Data of four times the memory that the process may have, page cache and all: gets, scans and puts.
//!
//! A process of its own loads and closes the engine, and puts the files out of the page cache. Then this one limits itself to a quarter of the
//! data, opens with half of that as its cache budget, and works. So an engine that leaves caching to the operating system and one that
//! caches itself have the same memory. What the workload itself keeps was allocated before, and counts for nobody.

use std::process::Command;

use crate::compare::confine::{Confined, confine, forget_files};
use crate::compare::data::{Picker, Sorted};
use crate::compare::stand::{Stand, offered};
use crate::compare::threads::run as run_threads;
use crate::peer::{Class, Engine, Outcome, broken, not_offered};

use super::commits::one_put;

/// Where the data lies.
const PLACE: &str = "memory";

pub(super) fn reads(stand: &mut Stand) -> Outcome<()> {
    let keys = stand.plan.memory_keys;
    let sorted = Sorted::new(keys, |_| true);
    let (engine, _confined) = open(stand, stand.entry.weakest())?;
    for (pick, picker) in [("uniform", Picker::uniform(0, keys)), ("zipfian", Picker::zipfian(0, keys))] {
        for threads in stand.plan.mixed_threads.clone() {
            let seed = |t| stand.seed(t as u64 + 30);
            let bodies = (0..threads).map(|t| super::reads::hits(picker.reseeded(seed(t)), false)).collect();
            let counted = run_threads(&*engine, &stand.folder, stand.plan.long_slice(), bodies)?;
            stand.more(&format!("get, {pick}"), threads, "gets/s", counted.per_second);
            stand.cpu(&format!("get, {pick}"), threads, &counted);
        }
    }
    if stand.entry.offer.scans.is_ok() {
        let bodies = vec![super::scans::body(&sorted, 100, false, stand.seed(8))];
        let counted = run_threads(&*engine, &stand.folder, stand.plan.long_slice(), bodies)?;
        stand.less("scan of 100", 1, "ns an entry", 1e9 / counted.per_second);
    }
    Ok(())
}

/// Short scans, which are over before anything could be known of them, and long ones, in both directions.
pub(super) fn scans(stand: &mut Stand) -> Outcome<()> {
    offered(stand.entry.offer.scans)?;
    let sorted = Sorted::new(stand.plan.memory_keys, |_| true);
    let (engine, _confined) = open(stand, stand.entry.weakest())?;
    for (direction, reverse) in [("forward", false), ("reverse", true)] {
        for limit in [100, 10_000] {
            for threads in stand.plan.mixed_threads.clone() {
                let seed = |t| stand.seed(t as u64 + 50);
                let bodies = (0..threads).map(|t| super::scans::body(&sorted, limit, reverse, seed(t))).collect();
                let counted = run_threads(&*engine, &stand.folder, stand.plan.long_slice(), bodies)?;
                let case = format!("{direction}, {limit}");
                stand.more(&case, threads, "entries/s", counted.per_second);
                stand.less(&case, threads, "cpu ns an entry", counted.cpu_ns_per_operation());
            }
        }
    }
    Ok(())
}

pub(super) fn puts(stand: &mut Stand) -> Outcome<()> {
    let class = if stand.entry.offer.classes.contains(&Class::Buffered) { Class::Buffered } else { Class::Sync };
    let (engine, _confined) = open(stand, class)?;
    for threads in stand.plan.mixed_threads.clone() {
        let seed = |t| stand.seed(t as u64 + 40);
        let bodies = (0..threads).map(|t| one_put(stand.plan.memory_keys, stand.values(), seed(t))).collect();
        let counted = run_threads(&*engine, &stand.folder, stand.plan.long_slice(), bodies)?;
        stand.more(&format!("put, uniform, class {}", class.name()), threads, "commits/s", counted.per_second);
        stand.tails(&format!("put, uniform, class {}", class.name()), threads, &counted);
    }
    Ok(())
}

/// The engine on the loaded data, with a quarter of it as memory.
fn open(stand: &Stand, class: Class) -> Outcome<(Box<dyn Engine>, Confined)> {
    stand.needs_answers()?;
    if stand.entry.is_floor() {
        return not_offered("has no cache");
    }
    if stand.plan.memory_keys == 0 {
        return not_offered("too long for this plan: --memory-keys 5000000, or --full");
    }
    load_apart()?;
    let bytes = stand.plan.memory_keys * stand.plan.entry_bytes() / 4;
    let confined = confine(bytes).map_err(crate::peer::Failure::NotOffered)?;
    Ok((stand.open_with(PLACE, class, stand.entry.mode(), 1, bytes / 2)?, confined))
}

/// Runs this program again as the one that loads.
fn load_apart() -> Outcome<()> {
    let program = std::env::current_exe().map_err(broken)?;
    let args = std::env::args().skip(1).chain(["--second".to_owned()]);
    let status = Command::new(program).args(args).status().map_err(broken)?;
    if status.success() { Ok(()) } else { Err(broken(format!("the process that loads ended with {status}"))) }
}

/// What the process that loads does.
pub(super) fn load(stand: &Stand) -> Outcome<()> {
    let keys = stand.plan.memory_keys;
    let cache = keys * stand.plan.entry_bytes();
    let engine = stand.open_with(PLACE, stand.entry.weakest(), stand.entry.mode(), 1, cache)?;
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    drop(engine);
    forget_files(&stand.folder)
}
