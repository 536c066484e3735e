//! Core operations at three sizes and three thread counts: the report fits an exponent to each (see `growth.rs` of the comparison).

use crate::compare::data::{Picker, Sorted};
use crate::compare::growth::Operation;
use crate::compare::stand::Stand;
use crate::compare::threads::{Counted, run as run_threads};
use crate::peer::{Engine, Outcome};

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    for keys in stand.plan.growth_keys.clone() {
        let engine = stand.open(&keys.to_string(), stand.entry.weakest(), stand.entry.mode(), 1)?;
        stand.load(&*engine, 0, keys)?;
        engine.settle()?;
        let sorted = Sorted::new(keys, |_| true);
        for operation in Operation::ALL {
            let offer = stand.entry.offer;
            let missing = match operation {
                Operation::Get => Ok(()),
                Operation::Snapshot => offer.snapshots,
                Operation::Scan => offer.scans,
                Operation::Commit => offer.writes,
            };
            if let Err(why) = missing {
                stand.without(operation.name(), why);
                continue;
            }
            for threads in stand.plan.read_threads.clone() {
                let counted = measure(stand, &*engine, operation, &sorted, threads)?;
                let case = format!("{} at {keys}", operation.name());
                stand.less(&case, threads, "ns", counted.ns_per_operation(threads));
                stand.less(&case, threads, "cpu ns", counted.cpu_ns_per_operation());
            }
        }
    }
    Ok(())
}

fn measure(
    stand: &Stand,
    engine: &dyn Engine,
    operation: Operation,
    sorted: &Sorted,
    threads: usize,
) -> Outcome<Counted> {
    let (keys, slice) = (sorted.len() as u64, stand.plan.slice());
    let seeds = (0..threads as u64).map(|thread| stand.seed(thread + 300));
    match operation {
        Operation::Get | Operation::Snapshot => {
            let many = operation == Operation::Get && stand.entry.offer.snapshots.is_ok();
            let bodies = seeds.map(|seed| super::reads::hits(Picker::uniform(seed, keys), many)).collect();
            run_threads(engine, &stand.folder, slice, bodies)
        }
        Operation::Scan => {
            let bodies = seeds.map(|seed| super::scans::body(sorted, 100, false, seed)).collect();
            run_threads(engine, &stand.folder, slice, bodies)
        }
        Operation::Commit => {
            let bodies = seeds.map(|seed| super::commits::one_put(keys, stand.values(), seed)).collect();
            run_threads(engine, &stand.folder, slice, bodies)
        }
    }
}
