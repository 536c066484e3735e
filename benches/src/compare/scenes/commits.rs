//! Commits of one put and of ten, of random keys, with 1 to 32 threads; their tails, and how many share a flush of the device.
//!
//! Each thread writes keys of its own (index modulo threads), so that the last value of every key is known afterwards: a lost write fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::compare::data::Values;
use crate::compare::stand::{Stand, offered, same, wrong};
use crate::compare::threads::{Body, run as run_threads};
use crate::keys::{Random, key};
use crate::peer::{Class, Engine, Outcome};

pub(super) fn run(stand: &mut Stand, class: Class) -> Outcome<()> {
    offered(stand.entry.offer.writes)?;
    let (engine, keys) = (stand.open("commits", class, stand.entry.mode(), 1)?, stand.plan.keys);
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    let last: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(0)).collect();
    for puts in [1, 10] {
        for threads in stand.plan.commit_threads.clone() {
            let seed = stand.seed(puts * 100);
            let of_thread =
                |t| body(Own { thread: t, threads: threads as u64, last: &last }, puts, stand.values(), seed);
            let bodies = (0..threads as u64).map(of_thread).collect();
            let slice = if class == Class::Sync { stand.plan.long_slice() } else { stand.plan.slice() };
            let counted = run_threads(&*engine, &stand.folder, slice, bodies)?;
            let case = if puts == 1 { "1 put" } else { "10 puts" };
            stand.more(case, threads, "commits/s", counted.per_second);
            stand.cpu(case, threads, &counted);
            stand.tails(case, threads, &counted);
            if threads > 1 {
                stand.less(case, threads, "aborted %", counted.abort_share * 100.0);
            }
            if let (Class::Sync, Some(flushes)) = (class, counted.flushes.filter(|&flushes| flushes > 0)) {
                stand.more(case, threads, "commits per device flush", counted.operations as f64 / flushes as f64);
            }
        }
    }
    if stand.entry.offer.answers.is_ok() { verify(&*engine, &last) } else { Ok(()) }
}

/// The keys of one thread, and the number of the last commit to each key.
struct Own<'a> {
    thread: u64,
    threads: u64,
    last: &'a [AtomicU64],
}

fn body(own: Own<'_>, puts: u64, values: Values, seed: u64) -> impl Body {
    let (mut random, mut value) = (Random::new(seed.wrapping_add(own.thread)), Vec::new());
    let (mut picked, count) = (Vec::new(), own.last.len() as u64 / own.threads);
    move |session, tally| {
        picked.clear();
        picked.extend((0..puts).map(|_| random.below(count) * own.threads + own.thread));
        // A key picked twice in one commit must count once.
        picked.sort_unstable();
        picked.dedup();
        let begun = Instant::now();
        // No two threads share a key; an engine that sees conflicts all the same runs again, and the time counts.
        tally.until_committed(|| {
            session.write(&mut |tx| {
                picked.iter().try_for_each(|&index| {
                    let serial = own.last[index as usize].load(Ordering::Relaxed) + 1;
                    values.fill(&mut value, index, serial);
                    tx.put(0, &key(index), &value)
                })
            })
        })?;
        tally.latency.add(begun.elapsed().as_nanos() as u64);
        tally.operations += 1;
        picked.iter().for_each(|&index| {
            own.last[index as usize].fetch_add(1, Ordering::Relaxed);
        });
        Ok(())
    }
}

fn verify(engine: &dyn Engine, last: &[AtomicU64]) -> Outcome<()> {
    let mut session = engine.session()?;
    session.read(&mut |tx| {
        last.iter().enumerate().try_for_each(|(index, serial)| {
            let found = crate::compare::stand::get_own(tx, 0, index as u64)?;
            same("the serial of a key", found, serial.load(Ordering::Relaxed))
        })
    })?;
    if last.is_empty() { wrong("no keys".to_owned()) } else { Ok(()) }
}

/// A body of one-put commits over all keys, each of another value than the one that is there, for workloads that do not look at serials.
pub(super) fn one_put(keys: u64, values: Values, seed: u64) -> impl Body {
    let (mut random, mut value, mut serial) = (Random::new(seed), Vec::new(), 0);
    move |session, tally| {
        let index = random.below(keys);
        serial += 1;
        values.fill(&mut value, index, serial);
        let begun = Instant::now();
        tally.until_committed(|| session.write(&mut |tx| tx.put(0, &key(index), &value)))?;
        tally.latency.add(begun.elapsed().as_nanos() as u64);
        tally.operations += 1;
        Ok(())
    }
}
