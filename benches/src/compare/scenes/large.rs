//! Large values of three sizes: put, ten in a commit, one sync at the end; then got back in random order.

use std::time::Instant;

use crate::compare::data::{Values, index_of};
use crate::compare::stand::{Stand, offered, put_all, wrong};
use crate::compare::threads::run as run_threads;
use crate::keys::{Random, key};
use crate::peer::{Failure, Outcome};

const SIZES: [(&str, usize); 3] = [("16 KiB", 16 << 10), ("60 KiB", 60 << 10), ("1 MiB", 1 << 20)];

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    offered(stand.entry.offer.writes)?;
    for (name, bytes) in SIZES {
        match of_size(stand, name, bytes) {
            Err(Failure::NotOffered(why)) => stand.without(name, &why),
            done => done?,
        }
    }
    Ok(())
}

fn of_size(stand: &mut Stand, name: &str, bytes: usize) -> Outcome<()> {
    let engine = stand.open(name, stand.entry.weakest(), stand.entry.mode(), 1)?;
    let (values, count) = (Values::new(bytes), (stand.plan.large_bytes / bytes as u64).max(4));
    let indexes: Vec<u64> = (0..count).collect();
    let begun = Instant::now();
    put_all(&*engine, 0, &values, &indexes, 0)?;
    engine.sync()?;
    let megabytes = (count * bytes as u64) as f64 / 1e6;
    stand.more(&format!("{name}, put"), 1, "MB/s", megabytes / begun.elapsed().as_secs_f64());
    engine.settle()?;
    let (mut random, mut expected) = (Random::new(stand.seed(1)), Vec::new());
    let body = |session: &mut dyn crate::peer::Session, tally: &mut crate::compare::threads::Tally| {
        let index = random.below(count);
        let mut answer = None;
        session.read(&mut |tx| {
            tx.get(0, &key(index), &mut |value| answer = Some((index_of(value), value.len(), checksum(value))))?;
            Ok(())
        })?;
        tally.operations += 1;
        if expected.is_empty() {
            expected = sums(&values, count);
        }
        if answer == Some((index, bytes, expected[index as usize])) {
            Ok(())
        } else {
            wrong(format!("large value {index}"))
        }
    };
    let counted = run_threads(&*engine, &stand.folder, stand.plan.slice(), vec![body])?;
    stand.more(&format!("{name}, get"), 1, "MB/s", counted.per_second * bytes as f64 / 1e6);
    Ok(())
}

/// Touches every cache line, as a reader would.
fn checksum(value: &[u8]) -> u64 {
    value.chunks(64).fold(0, |sum, line| sum.wrapping_mul(31).wrapping_add(u64::from(line[0])))
}

fn sums(values: &Values, count: u64) -> Vec<u64> {
    let mut value = Vec::new();
    let sum = |index| {
        values.fill(&mut value, index, 0);
        checksum(&value)
    };
    (0..count).map(sum).collect()
}
