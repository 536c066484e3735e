//! Scans from a random key on, forward and reverse, of 10, of 100 and of all entries. The floor is a copy of the same bytes.

use std::hint::black_box;
use std::time::Instant;

use crate::compare::data::{Sorted, index_of};
use crate::compare::stand::{Stand, offered, same};
use crate::compare::threads::{Body, run as run_threads};
use crate::keys::Random;
use crate::peer::{Outcome, Span};

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    if stand.entry.name == crate::peer::raw::COPY.name {
        return copy(stand);
    }
    stand.needs_answers()?;
    offered(stand.entry.offer.scans)?;
    let (engine, keys) = (stand.open_plain()?, stand.plan.keys);
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    let sorted = Sorted::new(keys, |_| true);
    for (direction, reverse) in [("forward", false), ("reverse", true)] {
        for (length, limit) in [("10", 10), ("100", 100), ("all", usize::MAX)] {
            let bodies = vec![body(&sorted, limit, reverse, stand.seed(7))];
            let counted = run_threads(&*engine, &stand.folder, stand.plan.slice(), bodies)?;
            let case = format!("{direction}, {length}");
            stand.less(&case, 1, "ns an entry", 1e9 / counted.per_second);
            stand.less(&case, 1, "cpu ns an entry", counted.cpu_ns_per_operation());
        }
    }
    Ok(())
}

/// Each step is one scan, with its count and its sum checked. A scan of all has no first key.
pub(super) fn body(sorted: &Sorted, limit: usize, reverse: bool, seed: u64) -> impl Body {
    let mut random = Random::new(seed);
    move |session, tally| {
        let whole = limit == usize::MAX;
        let last = sorted.len() - 1;
        let at = if whole { if reverse { last } else { 0 } } else { random.below(sorted.len() as u64) as usize };
        let from = (!whole).then_some(&sorted.keys[at].0[..]);
        let (mut count, mut sum) = (0, 0u64);
        session.read(&mut |tx| {
            sum = 0;
            let mut add = |key: &[u8], value: &[u8]| {
                black_box(key);
                sum = sum.wrapping_add(index_of(value));
            };
            count = tx.scan(0, Span { from, limit, reverse }, &mut add)?;
            Ok(())
        })?;
        tally.operations += count as u64;
        same("count and sum of a scan", (count, sum), sorted.expected(at, limit, reverse))
    }
}

/// The bytes of all entries, copied.
fn copy(stand: &mut Stand) -> Outcome<()> {
    let bytes = (stand.plan.keys * stand.plan.entry_bytes()) as usize;
    let (from, mut to, mut copies) = (vec![1u8; bytes], vec![0u8; bytes], 0u64);
    let begun = Instant::now();
    while begun.elapsed() < stand.plan.slice().measured {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        copies += 1;
    }
    let entries = copies * stand.plan.keys;
    let ns = begun.elapsed().as_nanos() as f64 / entries as f64;
    stand.less("forward, all", 1, "ns an entry", ns);
    stand.without("forward, 1", "the floor of a whole scan alone");
    stand.without("reverse", "the floor of a whole scan alone");
    Ok(())
}
