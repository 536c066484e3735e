//! A crash inside recovery: opening what a crash left is journalled, and crashed everywhere, a few levels deep.
//!
//! What a machine finds on its disk is durable, so a crash while opening it may lose nothing at all of what opening it would have shown.
//! The memory is so small that replay cannot hold the log: stores persist in the middle of it.

use std::sync::atomic::{AtomicU64, Ordering};

use duramen_base::vfs::sim::{Image, SimVfs};

use super::check::{Depth, Found, Promise, look_on, read};
use super::run::{PATH, Plan, Run, builder};
use super::states::each_state;

/// Too little for the log of a run.
const MEMORY_BYTES: u64 = 48 << 10;
/// Of the states whose recovery has both stores persist in the middle one of so many is followed into it, and of those found there one of so
/// many to the next level.
const FOLLOWED: u64 = 299;
const FOLLOWED_INSIDE: u64 = 797;

/// Opens `image`, in which `found` was found, and crashes at every entry of the opening's journal; follows some of those states to `depth`
/// levels in all. Counts the states in `count`.
pub(super) fn crash_again(
    run: &Run,
    image: &Image,
    found: &Found,
    depth: u32,
    count: &AtomicU64,
) -> Result<(), String> {
    let disk = SimVfs::on(image.clone());
    let opened = open_with_little_memory(run, &disk)?.0;
    if opened != *found {
        return Err(format!("{found:?} was found, and by opening again {opened:?}"));
    }
    let mut number = found.prefix;
    each_state(&disk.journal(), &Promise::all_of(found), 1, |state| {
        count.fetch_add(1, Ordering::Relaxed);
        number += 1;
        let again = look_on(run, &SimVfs::on(state.image.clone()), Depth::of(number))?;
        if again.prefix != found.prefix {
            return Err(format!("{found:?} was found, and after another crash {again:?}"));
        }
        if depth > 1 && number.is_multiple_of(FOLLOWED_INSIDE) {
            crash_again(run, &state.image, &again, depth - 1, count)?;
        }
        Ok(again)
    })
    .map_err(|complaint| format!("inside recovery, {complaint}"))
}

/// What is found, and how often each kind of store persisted before opening was over.
fn open_with_little_memory(run: &Run, disk: &SimVfs) -> Result<(Found, [u64; 2]), String> {
    let db = builder(disk).memory_bytes(MEMORY_BYTES).open(PATH).map_err(|error| format!("opening: {error}"))?;
    let persists = ["first", "second"].map(|name| {
        let stats = db.stats().keyspaces;
        stats.into_iter().find(|(of, _)| of == name).map_or(0, |(_, stats)| stats.persists)
    });
    let found = read(run, &db)?;
    disk.kill();
    Ok((found, persists))
}

#[test]
fn a_crash_inside_recovery_loses_nothing_more() {
    let (count, followed, factor) = (AtomicU64::new(0), AtomicU64::new(0), crate::random::factor());
    std::thread::scope(|scope| {
        for seed in [901, 906] {
            let (count, followed) = (&count, &followed);
            scope.spawn(move || {
                let run = Run::new(Plan { turns: 90, upkeep: false, big_values: true, ..Plan::of(seed) });
                let mut persisted = 0_u64;
                each_state(&run.journal, &Promise::default(), 1, |state| {
                    let disk = SimVfs::on(state.image.clone());
                    let (found, persists) = open_with_little_memory(&run, &disk)?;
                    if persists.iter().all(|&times| times > 0) {
                        persisted += 1;
                        if persisted.is_multiple_of((FOLLOWED / factor).max(1)) {
                            followed.fetch_add(1, Ordering::Relaxed);
                            crash_again(&run, &state.image, &found, 3, count)?;
                        }
                    }
                    Ok(found)
                })
                .unwrap_or_else(|complaint| {
                    panic!("DURAMEN_SEED={} {:?}: {complaint}", crate::random::seed(), run.plan)
                });
            });
        }
    });
    let [count, followed] = [count, followed].map(AtomicU64::into_inner);
    println!("{count} states inside {followed} recoveries with a flush and a checkpoint in the middle");
    assert!(count > 500 && followed > 0, "{count} states inside {followed} recoveries");
}
