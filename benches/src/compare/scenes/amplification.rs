//! How much more is written and kept than was asked for: a load, then every key overwritten about twice, ten in a commit.
//!
//! Bytes written are the kernel's count for this process (`write_bytes`): what was sent to the disk or became dirty in the page cache, so a
//! page that is dirtied again before it is written counts once.

use crate::compare::process::{peak_memory_bytes, written_bytes};
use crate::compare::stand::{Stand, get_own, offered};
use crate::keys::{Random, key};
use crate::peer::Outcome;

/// Puts of one commit.
const STEP: u64 = 10;

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.files)?;
    let (engine, keys, values) = (stand.open_plain()?, stand.plan.keys, stand.values());
    let (at_first, logical) = (written_bytes(), (keys * stand.plan.entry_bytes()) as f64);
    stand.load(&*engine, 0, keys)?;
    engine.sync()?;
    engine.settle()?;
    let after_load = written_bytes();
    let (mut session, mut random, mut value) = (engine.session()?, Random::new(stand.seed(0)), Vec::new());
    for commit in 0..2 * keys / STEP {
        let picked: Vec<u64> = (0..STEP).map(|_| random.below(keys)).collect();
        session.write(&mut |tx| {
            picked.iter().try_for_each(|&index| {
                values.fill(&mut value, index, commit);
                tx.put(0, &key(index), &value)
            })
        })?;
    }
    session.read(&mut |tx| (0..keys).try_for_each(|index| get_own(tx, 0, index).map(drop)))?;
    drop(session);
    engine.sync()?;
    engine.settle()?;
    let after_all = written_bytes();
    let taken = crate::bed::bytes_below(&stand.folder).1 as f64;
    stand.less("load", 1, "bytes written, times", (after_load - at_first) as f64 / logical);
    stand.less("overwrites", 1, "bytes written, times", (after_all - after_load) as f64 / (2.0 * logical));
    stand.less("after overwrites", 1, "disk taken, times", taken / logical);
    stand.less("whole run", 1, "peak memory MiB", peak_memory_bytes() as f64 / f64::from(1 << 20));
    Ok(())
}
