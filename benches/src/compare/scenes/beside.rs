//! A long scan beside writers: one thread scans the whole table again and again, two move amounts between accounts and sync.
//!
//! Every scan is one snapshot, so it must find the same total, whatever was committed meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::compare::data::{Values, serial_of};
use crate::compare::stand::{Stand, offered, put_all, same, wrong};
use crate::compare::threads::{Slice, Tally, run as run_threads};
use crate::keys::{Random, key};
use crate::peer::{Class, Outcome, Session, Span};

/// What each account has at first.
const BALANCE: u64 = 1_000;
const WRITERS: u64 = 2;

type Boxed<'a> = Box<dyn FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send + 'a>;

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    let offer = stand.entry.offer;
    [offer.writes, offer.scans, offer.snapshots].into_iter().try_for_each(offered)?;
    let (engine, keys) = (stand.open("beside", Class::Sync, stand.entry.mode(), 1)?, stand.plan.keys);
    let (indexes, values): (Vec<u64>, Values) = ((0..keys).collect(), stand.values());
    put_all(&*engine, 0, &values, &indexes, BALANCE)?;
    engine.settle()?;
    let (scanned, scan_ns) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut bodies: Vec<Boxed<'_>> = vec![Box::new(scanner(keys, &scanned, &scan_ns))];
    for writer in 0..WRITERS {
        bodies.push(Box::new(mover(keys, values.clone(), stand.seed(writer))));
    }
    let slice = Slice { measured: stand.plan.long_slice().measured * 2, ..stand.plan.slice() };
    let counted = run_threads(&*engine, &stand.folder, slice, bodies)?;
    let ns = scan_ns.into_inner() as f64 / scanned.into_inner().max(1) as f64;
    stand.more("two writers", 3, "commits/s", counted.per_second);
    stand.tails("two writers", 3, &counted);
    stand.less("the scan", 3, "ns an entry", ns);
    Ok(())
}

fn scanner<'a>(
    keys: u64,
    scanned: &'a AtomicU64,
    ns: &'a AtomicU64,
) -> impl FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send + 'a {
    move |session, _| {
        let (begun, mut count, mut total) = (Instant::now(), 0, 0u64);
        session.read(&mut |tx| {
            total = 0;
            let span = Span { from: None, limit: usize::MAX, reverse: false };
            count = tx.scan(0, span, &mut |_, value| total = total.wrapping_add(serial_of(value)))? as u64;
            Ok(())
        })?;
        scanned.fetch_add(count, Ordering::Relaxed);
        ns.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        same("count and total of a snapshot", (count, total), (keys, keys.wrapping_mul(BALANCE)))
    }
}

/// Moves one unit from one account to another; sums wrap, so an account may go below zero.
fn mover(keys: u64, values: Values, seed: u64) -> impl FnMut(&mut dyn Session, &mut Tally) -> Outcome<()> + Send {
    let (mut random, mut value) = (Random::new(seed), Vec::new());
    move |session, tally| {
        let from = random.below(keys);
        let to = (from + 1 + random.below(keys - 1)) % keys;
        // In one order everywhere, so that locks do not wait in a circle.
        let steps = if from < to { [(from, u64::MAX), (to, 1)] } else { [(to, 1), (from, u64::MAX)] };
        let begun = Instant::now();
        tally.until_committed(|| {
            session.write(&mut |tx| {
                steps.iter().try_for_each(|&(index, change)| {
                    let mut balance = None;
                    tx.get_for_update(0, &key(index), &mut |value| balance = Some(serial_of(value)))?;
                    let Some(balance) = balance else { return wrong(format!("key {index} is missing")) };
                    values.fill(&mut value, index, balance.wrapping_add(change));
                    tx.put(0, &key(index), &value)
                })
            })
        })?;
        tally.latency.add(begun.elapsed().as_nanos() as u64);
        tally.operations += 1;
        Ok(())
    }
}
