//! Maps in memory behind the same trait: what the work itself costs, without any of what an engine is for.
//!
//! Floors, not engines: nothing is durable, and a lock around the whole map stands for isolation. They go through the same workloads and
//! the same verification, so that harness and adapter are paid for by everybody.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use crossbeam_skiplist::SkipMap;

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing,
    not_offered, visit_all,
};

const FACTS: Facts = Facts {
    isolation: "one lock around the map",
    durability: "none",
    checksums: "none",
    compression: "none",
    cache: "all in memory",
};

const FLOOR: Entry = Entry {
    name: "",
    package: "",
    feature: None,
    needs: "",
    facts: FACTS,
    open: None,
    offer: Offer {
        classes: &[Class::None],
        modes: &[Mode::Pessimistic, Mode::Serializable],
        files: Err("lives in memory"),
        ..Offer::WHOLE
    },
};

/// `BTreeMap<Vec<u8>, Vec<u8>>`.
pub const BTREE_MAP: Entry = Entry { name: "floor-btreemap", open: Some(open::<Tree>), ..FLOOR };

/// `HashMap<Vec<u8>, Vec<u8>>`.
pub const HASH_MAP: Entry = Entry {
    name: "floor-hashmap",
    open: Some(open::<Hash>),
    offer: Offer {
        scans: Err("a hash map has no order"),
        scans_in_writes: Err("a hash map has no order"),
        ..FLOOR.offer
    },
    ..FLOOR
};

/// A sorted `Vec`, searched in halves.
pub const SORTED_ARRAY: Entry = Entry {
    name: "floor-sorted-array",
    open: Some(open::<Array>),
    offer: Offer { writes: Err("a sorted array is not written after it was sorted"), ..FLOOR.offer },
    ..FLOOR
};

/// crossbeam's skip list, without any lock.
pub const SKIP_LIST: Entry = Entry {
    name: "floor-skiplist",
    open: Some(open::<Skip>),
    facts: Facts { isolation: "none: each operation alone", ..FACTS },
    offer: Offer {
        modes: &[Mode::Optimistic],
        snapshots: Err("a skip list has no versions"),
        atomic: Err("a skip list has no transactions"),
        ..FLOOR.offer
    },
    ..FLOOR
};

/// A map of bytes.
trait Map: Default + Send + Sync {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool;
    fn scan(&self, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize>;
    fn put(&mut self, key: &[u8], value: &[u8]);
    fn delete(&mut self, key: &[u8]);
    fn sort(&mut self) {}
    /// Puts without the lock, where that is possible.
    fn put_shared(&self, _key: &[u8], _value: &[u8]) -> bool {
        false
    }
    /// Deletes without the lock, where that is possible.
    fn delete_shared(&self, _key: &[u8]) -> bool {
        false
    }
    /// Whether writes go without the lock.
    const SHARED: bool = false;
}

struct Maps<M> {
    tables: RwLock<Vec<M>>,
}

fn open<M: Map + 'static>(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    Ok(Box::new(Maps::<M> { tables: RwLock::new((0..setup.table_count).map(|_| M::default()).collect()) }))
}

impl<M: Map> Engine for Maps<M> {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn sync(&self) -> Outcome<()> {
        Ok(())
    }

    fn settle(&self) -> Outcome<()> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(Map::sort);
        Ok(())
    }
}

impl<M: Map> Session for &Maps<M> {
    fn read(&mut self, work: &mut ReadWork<'_>) -> Outcome<()> {
        work(&mut Shared(&self.tables.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        if M::SHARED {
            work(&mut Shared(&self.tables.read().unwrap_or_else(PoisonError::into_inner)))?;
        } else {
            work(&mut Locked(&mut self.tables.write().unwrap_or_else(PoisonError::into_inner)))?;
        }
        Ok(0)
    }
}

/// Tables that others read too.
struct Shared<'a, M>(&'a [M]);

impl<M: Map> Reading for Shared<'_, M> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.0[table].get(key, found))
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        self.0[table].scan(span, visit)
    }
}

impl<M: Map> Writing for Shared<'_, M> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        if self.0[table].put_shared(key, value) { Ok(()) } else { not_offered("needs the lock") }
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        if self.0[table].delete_shared(key) { Ok(()) } else { not_offered("needs the lock") }
    }
}

/// Tables that nobody else sees.
struct Locked<'a, M>(&'a mut [M]);

impl<M: Map> Reading for Locked<'_, M> {
    fn get(&mut self, table: usize, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Shared(self.0).get(table, key, found)
    }

    fn scan(&mut self, table: usize, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        Shared(self.0).scan(table, span, visit)
    }
}

impl<M: Map> Writing for Locked<'_, M> {
    fn put(&mut self, table: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0[table].put(key, value);
        Ok(())
    }

    fn delete(&mut self, table: usize, key: &[u8]) -> Outcome<()> {
        self.0[table].delete(key);
        Ok(())
    }
}

/// Range of a span, for maps that take one.
fn bounds(span: Span<'_>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let from = span.from.map_or(Bound::Unbounded, Bound::Included);
    if span.reverse { (Bound::Unbounded, from) } else { (from, Bound::Unbounded) }
}

#[derive(Default)]
struct Tree(BTreeMap<Vec<u8>, Vec<u8>>);

impl Map for Tree {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool {
        self.0.get(key).map(|value| found(value)).is_some()
    }

    fn scan(&self, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let range = self.0.range::<[u8], _>(bounds(span));
        if span.reverse {
            visit_all(range.rev().map(Ok), span.limit, visit)
        } else {
            visit_all(range.map(Ok), span.limit, visit)
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

#[derive(Default)]
struct Hash(HashMap<Vec<u8>, Vec<u8>>);

impl Map for Hash {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool {
        self.0.get(key).map(|value| found(value)).is_some()
    }

    fn scan(&self, _: Span<'_>, _: &mut Visit<'_>) -> Outcome<usize> {
        not_offered("a hash map has no order")
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

#[derive(Default)]
struct Array(Vec<(Vec<u8>, Vec<u8>)>);

impl Array {
    fn place(&self, key: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.as_slice().cmp(key))
    }
}

impl Map for Array {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool {
        self.place(key).map(|place| found(&self.0[place].1)).is_ok()
    }

    fn scan(&self, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        if span.reverse {
            let end = span.from.map_or(self.0.len(), |from| self.place(from).map_or_else(|place| place, |at| at + 1));
            visit_all(self.0[..end].iter().rev().map(|(key, value)| Ok((key, value))), span.limit, visit)
        } else {
            let start = span.from.map_or(0, |from| self.place(from).unwrap_or_else(|place| place));
            visit_all(self.0[start..].iter().map(|(key, value)| Ok((key, value))), span.limit, visit)
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), value.to_vec()));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.retain(|(other, _)| other != key);
    }

    fn sort(&mut self) {
        self.0.sort();
    }
}

#[derive(Default)]
struct Skip(SkipMap<Vec<u8>, Vec<u8>>);

impl Map for Skip {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool {
        self.0.get(key).map(|entry| found(entry.value())).is_some()
    }

    fn scan(&self, span: Span<'_>, visit: &mut Visit<'_>) -> Outcome<usize> {
        let range = self.0.range::<[u8], _>(bounds(span));
        let mut count = 0;
        let mut show = |entry: crossbeam_skiplist::map::Entry<'_, Vec<u8>, Vec<u8>>| {
            visit(entry.key(), entry.value());
            count += 1;
        };
        if span.reverse {
            range.rev().take(span.limit).for_each(&mut show);
        } else {
            range.take(span.limit).for_each(&mut show);
        }
        Ok(count)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_shared(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.delete_shared(key);
    }

    fn put_shared(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(key.to_vec(), value.to_vec());
        true
    }

    fn delete_shared(&self, key: &[u8]) -> bool {
        self.0.remove(key);
        true
    }

    const SHARED: bool = true;
}
