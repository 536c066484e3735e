//! Point reads: keys that are there and keys that are not, picked alike or by popularity, a snapshot for each or one for many.

use std::hint::black_box;

use crate::compare::data::{Picker, index_of};
use crate::compare::stand::{Stand, offered, wrong};
use crate::compare::threads::{Body, run as run_threads};
use crate::keys::key;
use crate::peer::{Outcome, Reading};

/// Gets between two looks at the clock, and on one snapshot where one serves many.
pub(in crate::compare) const GETS: u64 = 64;
/// Keys from here on are not there.
const MISSING: u64 = 1 << 40;

/// Whether the keys are there.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Hit,
    Miss,
}

pub(super) fn run(stand: &mut Stand) -> Outcome<()> {
    stand.needs_answers()?;
    let (engine, keys) = (stand.open_plain()?, stand.plan.keys);
    stand.load(&*engine, 0, keys)?;
    engine.settle()?;
    for many in [true, false] {
        let snapshots = if many { "one snapshot for many" } else { "a snapshot per get" };
        if many && offered(stand.entry.offer.snapshots).is_err() {
            stand.without(snapshots, stand.entry.offer.snapshots.err().unwrap_or_default());
            continue;
        }
        for (pick, picker) in [("uniform", Picker::uniform(0, keys)), ("zipfian", Picker::zipfian(0, keys))] {
            for (found, kind) in [("hit", Kind::Hit), ("miss", Kind::Miss)] {
                for threads in stand.plan.read_threads.clone() {
                    let bodies =
                        (0..threads).map(|t| body(picker.reseeded(stand.seed(t as u64)), kind, many)).collect();
                    let counted = run_threads(&*engine, &stand.folder, stand.plan.slice(), bodies)?;
                    let case = format!("{snapshots}, {pick}, {found}");
                    stand.more(&case, threads, "gets/s", counted.per_second);
                    if threads == 1 {
                        stand.cpu(&case, 1, &counted);
                    }
                }
            }
        }
    }
    Ok(())
}

fn body(mut picker: Picker, kind: Kind, many: bool) -> impl Body {
    move |session, tally| {
        if many {
            session.read(&mut |tx| (0..GETS).try_for_each(|_| get_one(tx, picker.pick(), kind)))?;
        } else {
            (0..GETS).try_for_each(|_| session.read(&mut |tx| get_one(tx, picker.pick(), kind)))?;
        }
        tally.operations += GETS;
        Ok(())
    }
}

#[inline]
fn get_one(tx: &mut dyn Reading, index: u64, kind: Kind) -> Outcome<()> {
    let (wanted, mut answer) = (if kind == Kind::Hit { index } else { index + MISSING }, u64::MAX);
    let there = tx.get(0, &key(wanted), &mut |value| answer = index_of(black_box(value)))?;
    let is_right = if kind == Kind::Hit { there && answer == index } else { !there };
    if is_right { Ok(()) } else { wrong(format!("key {wanted} answers {there}, {answer}")) }
}

/// A body of gets that hit, on one snapshot for [`GETS`] or on one each, for the growth workload.
pub(super) fn hits(picker: Picker, many: bool) -> impl Body {
    body(picker, Kind::Hit, many)
}
