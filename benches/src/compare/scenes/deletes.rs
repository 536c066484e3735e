//! Nine in ten keys deleted in random order, then scans of what is left: what deletes cost, and what they leave behind.

use std::time::Instant;

use crate::compare::data::Sorted;
use crate::compare::stand::{Stand, offered, walk};
use crate::compare::threads::run as run_threads;
use crate::keys::key;
use crate::peer::Outcome;

/// Deletes of one commit.
const STEP: usize = 100;

/// What stays: one in ten.
fn stays(index: u64) -> bool {
    index.is_multiple_of(10)
}

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.writes)?;
    offered(stand.entry.offer.scans)?;
    let (engine, keys) = (stand.open_plain()?, stand.plan.keys);
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    let doomed: Vec<u64> = (0..keys).filter(|&index| !stays(index)).collect();
    let (begun, mut session) = (Instant::now(), engine.session()?);
    for some in doomed.chunks(STEP) {
        session.write(&mut |tx| some.iter().try_for_each(|&index| tx.delete(0, &key(index))))?;
    }
    engine.sync()?;
    stand.more("delete nine in ten", 1, "deletes/s", doomed.len() as f64 / begun.elapsed().as_secs_f64());
    drop(session);

    let left = Sorted::new(keys, stays);
    let at_once = run_threads(
        &*engine,
        &stand.folder,
        stand.plan.slice(),
        vec![super::scans::body(&left, usize::MAX, false, stand.seed(3))],
    )?;
    stand.less("scan of what is left, at once", 1, "ns an entry", 1e9 / at_once.per_second);
    engine.settle()?;
    walk(&*engine, 0, &left)?;
    let bodies = vec![super::scans::body(&left, usize::MAX, false, stand.seed(4))];
    let settled = run_threads(&*engine, &stand.folder, stand.plan.slice(), bodies)?;
    stand.less("scan of what is left, settled", 1, "ns an entry", 1e9 / settled.per_second);
    stand.less("scan of what is left, at once", 1, "cpu ns an entry", at_once.cpu_ns_per_operation());
    stand.less("scan of what is left, settled", 1, "cpu ns an entry", settled.cpu_ns_per_operation());
    if stand.entry.offer.files.is_ok() {
        let taken = crate::bed::bytes_below(&stand.folder).1 as f64;
        stand.less(
            "disk taken, of what is left",
            1,
            "times",
            taken / (left.len() as u64 * stand.plan.entry_bytes()) as f64,
        );
    }
    Ok(())
}
