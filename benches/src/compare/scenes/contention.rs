//! Read-modify-write of 1, 16 and 1,000 keys by many threads, in every mode that an engine has: rate, tails, and the share of runs in vain.
//!
//! Each transaction adds one to one counter; the sum of all counters must be the number of commits, so a lost update fails.

use crate::compare::data::{Values, serial_of};
use crate::compare::stand::{Stand, get_each, offered, put_all, same, wrong};
use crate::compare::threads::{Body, run as run_threads};
use crate::keys::{Random, key};
use crate::peer::{Class, Failure, Mode, Outcome};
use std::sync::atomic::{AtomicU64, Ordering};

/// Sizes of the hot set.
const HOT: [(&str, u64); 3] = [("1 key", 1), ("16 keys", 16), ("1000 keys", 1_000)];

pub(super) fn run(stand: &mut Stand, class: Class) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.writes)?;
    offered(stand.entry.offer.atomic)?;
    for mode in Mode::ALL {
        match of_mode(stand, class, mode) {
            Err(Failure::NotOffered(why)) => stand.without(mode.name(), &why),
            done => done?,
        }
    }
    Ok(())
}

fn of_mode(stand: &mut Stand, class: Class, mode: Mode) -> Outcome<()> {
    let engine = stand.open(mode.name(), class, mode, 1)?;
    let threads = stand.plan.commit_threads.iter().copied().max().unwrap_or(8);
    for (name, keys) in HOT {
        let indexes: Vec<u64> = (0..keys).collect();
        put_all(&*engine, 0, &stand.values(), &indexes, 0)?;
        let commits = AtomicU64::new(0);
        let bodies = (0..threads as u64).map(|t| body(keys, stand.values(), stand.seed(t), &commits)).collect();
        let slice = if class == Class::Sync { stand.plan.long_slice() } else { stand.plan.slice() };
        let counted = run_threads(&*engine, &stand.folder, slice, bodies)?;
        same("the sum of all counters", get_each(&*engine, 0, keys)?, commits.into_inner())?;
        let case = format!("{}, {name}", mode.name());
        stand.more(&case, threads, "commits/s", counted.per_second);
        stand.less(&case, threads, "aborted %", counted.abort_share * 100.0);
        stand.cpu(&case, threads, &counted);
        stand.tails(&case, threads, &counted);
    }
    Ok(())
}

fn body(keys: u64, values: Values, seed: u64, commits: &AtomicU64) -> impl Body {
    let (mut random, mut value) = (Random::new(seed), Vec::new());
    move |session, tally| {
        let index = random.below(keys);
        let begun = std::time::Instant::now();
        tally.until_committed(|| {
            session.write(&mut |tx| {
                let mut serial = None;
                tx.get_for_update(0, &key(index), &mut |value| serial = Some(serial_of(value)))?;
                let Some(serial) = serial else { return wrong(format!("key {index} is missing")) };
                values.fill(&mut value, index, serial + 1);
                tx.put(0, &key(index), &value)
            })
        })?;
        tally.latency.add(begun.elapsed().as_nanos() as u64);
        tally.operations += 1;
        commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
