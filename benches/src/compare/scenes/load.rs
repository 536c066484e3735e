//! Bulk load: an empty table filled by commits of many puts, then one sync.

use std::time::Instant;

use crate::compare::data::Sorted;
use crate::compare::process::cpu_ns;
use crate::compare::stand::{Stand, get_each, offered, put_all, same, walk};
use crate::peer::Outcome;

/// Keys in no order.
pub(super) fn random(stand: &mut Stand) -> Outcome<()> {
    let indexes: Vec<u64> = (0..stand.plan.keys).collect();
    run(stand, &indexes)
}

/// Keys in their order.
pub(super) fn sorted(stand: &mut Stand) -> Outcome<()> {
    let sorted = Sorted::new(stand.plan.keys, |_| true);
    let indexes: Vec<u64> = sorted.keys.iter().map(|(_, index)| *index).collect();
    run(stand, &indexes)
}

/// Keys in their order, by the way that the engine has for them, until all of it is in the files that reads use.
pub(super) fn ingest(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    let (engine, values) = (stand.open_plain()?, stand.values());
    let sorted = Sorted::new(stand.plan.keys, |_| true);
    let (mut content, mut value) = (Vec::new(), Vec::new());
    for (_, index) in &sorted.keys {
        values.fill(&mut value, *index, 1);
        content.extend_from_slice(&value);
    }
    let mut entries = sorted.keys.iter().zip(content.chunks(values.bytes())).map(|((key, _), value)| (&key[..], value));
    let (begun, cpu_before) = (Instant::now(), cpu_ns());
    engine.ingest(0, &mut entries)?;
    engine.settle()?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_ns() - cpu_before);
    same("the sum of serials", walk(&*engine, 0, &sorted)?, stand.plan.keys)?;
    stand.less("all", 1, "cpu us", cpu as f64 / 1e3 / stand.plan.keys as f64);
    stand.more("all", 1, "entries/s", stand.plan.keys as f64 / seconds);
    Ok(())
}

fn run(stand: &mut Stand, indexes: &[u64]) -> Outcome<()> {
    stand.needs_answers()?;
    let (engine, values) = (stand.open_plain()?, stand.values());
    let (begun, cpu_before) = (Instant::now(), cpu_ns());
    put_all(&*engine, 0, &values, indexes, 1)?;
    engine.sync()?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_ns() - cpu_before);
    engine.settle()?;
    let serials = if offered(stand.entry.offer.scans).is_ok() {
        walk(&*engine, 0, &Sorted::new(stand.plan.keys, |_| true))?
    } else {
        get_each(&*engine, 0, stand.plan.keys)?
    };
    same("the sum of serials", serials, indexes.len() as u64)?;
    stand.less("all", 1, "cpu us", cpu as f64 / 1e3 / indexes.len() as f64);
    stand.more("all", 1, "puts/s", indexes.len() as f64 / seconds);
    Ok(())
}
