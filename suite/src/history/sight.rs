//! What a transaction saw of others: each key it read before it wrote it, with the snapshots at which that was true.

use std::collections::BTreeMap;

use super::order::{Order, Valid};
use super::{Txn, What};

/// A key as an operation saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// The moment before the operation; the keys of one scan share it.
    pub(super) start: u64,
    pub(super) key: u32,
    /// Which version, as [`Order::place`] counts.
    pub(super) place: usize,
    pub(super) valid: Valid,
    pub(super) locked: bool,
    /// A key that a scan did not find.
    pub(super) is_gap: bool,
}

/// All that `txn` saw of others, in its order; and what no version explains (G1a, G1b), or what it had written itself and saw otherwise (V6).
pub(super) fn sights(txn: &Txn, order: &Order) -> (Vec<Sight>, Vec<String>) {
    let mut eyes = Eyes { order, own: BTreeMap::new(), sights: Vec::new(), complaints: Vec::new() };
    for op in &txn.ops {
        match &op.what {
            What::Write { key, value } => {
                eyes.own.insert(*key, value);
            }
            What::Read { key, seen, locked } => eyes.look(op.start, *key, seen, *locked, false),
            What::Scan { low, high, rows } => {
                for key in *low..*high {
                    let row = rows.iter().find(|(of, _)| *of == key);
                    eyes.look(op.start, key, row.map_or(&[], |(_, seen)| seen), false, row.is_none());
                }
                let stray = rows.iter().find(|(key, _)| !(*low..*high).contains(key));
                eyes.complaints.extend(stray.map(|row| format!("V6: a scan of {low}..{high} showed {row:?}")));
            }
        }
    }
    (eyes.sights, eyes.complaints)
}

struct Eyes<'a> {
    order: &'a Order,
    own: BTreeMap<u32, &'a [u64]>,
    sights: Vec<Sight>,
    complaints: Vec<String>,
}

impl Eyes<'_> {
    fn look(&mut self, start: u64, key: u32, seen: &[u64], locked: bool, is_gap: bool) {
        match self.own.get(&key) {
            Some(written) if *written == seen => {}
            Some(written) => self.complaints.push(format!("V6: saw {seen:?} at key {key} after it wrote {written:?}")),
            None => match self.order.place(key, seen) {
                Ok(place) => {
                    let valid = self.order.valid(key, place);
                    self.sights.push(Sight { start, key, place, valid, locked, is_gap });
                }
                Err(what) => self.complaints.push(what),
            },
        }
    }
}
