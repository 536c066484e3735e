//! A run that a commit attached, and how it is read while it is a layer of the buffers.
//!
//! Its records have no timestamps: they are read as of its commit. The invariants are those of `ingest.rs`.

use duramen_base::arena::Counted;
use duramen_base::image::{Body, Image};
use duramen_base::memtable::{Key, KeyVersion, MemFound};
use duramen_base::sync::Mutex;
use duramen_base::sync::atomic::{AtomicBool, Ordering};
use duramen_base::values::{LargeRef, ValueChanges};
use duramen_base::{Reservation, Result, Timestamp, Value};

use super::RunList;
use crate::cursor::{Held, Ingested};
use crate::read::Missing;
use crate::store::Store;

/// A run that a commit attached.
#[derive(Debug)]
pub(crate) struct Run {
    /// The commit.
    pub(crate) ts: Timestamp,
    pub(crate) list: RunList,
    pub(super) number: u64,
    /// IN2.
    gone: AtomicBool,
    /// Memory of the list.
    memory: Reservation,
    /// Large values that its leaves name, until it is hung (IN6).
    values: Mutex<ValueChanges>,
}

/// What a layer knows of a key.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Whatever there is to know.
    Found(MemFound),
    /// The key has this value, in a value file.
    Large(LargeRef),
    /// Nothing.
    Nothing,
    /// A page must be read first.
    Missing(Missing),
}

impl Run {
    pub(super) fn new(ts: Timestamp, list: RunList, number: u64, memory: Reservation, values: ValueChanges) -> Run {
        Run { ts, list, number, gone: AtomicBool::new(false), memory, values: Mutex::new(values) }
    }

    /// The large values that its leaves name: they all come into the tree now.
    pub(super) fn take_values(&self) -> ValueChanges {
        std::mem::take(&mut self.values.lock())
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// IN2.
    pub(super) fn note_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    fn is_gone(&self) -> bool {
        // SeqCst: raised under `structure` or before a page is freed, after which its slot may show anything (IN2).
        self.gone.load(Ordering::SeqCst)
    }
}

impl Store {
    /// The leaf `index` of a run.
    pub(super) fn run_leaf(&self, run: &Run, index: usize) -> std::result::Result<Counted<Image>, Missing> {
        let pid = run.list.pages[index].pid;
        self.resident_page(pid).map(|leaf| leaf.image).ok_or(Missing::child(pid, 0))
    }

    /// What a run has of `key` at `at`. Under the latch of the buffers, where no run goes.
    pub(crate) fn look_in_run(&self, run: &Run, key: &[u8], at: Timestamp) -> Looked {
        let Some(index) = run.list.page_of(key) else { return Looked::Nothing };
        let image = match self.run_leaf(run, index) {
            Ok(image) => image,
            Err(missing) => return Looked::Missing(missing),
        };
        self.cache.note_lookup();
        let Ok(slot) = image.search(key) else { return Looked::Nothing };
        let value = match (run.ts <= at).then(|| held(&image, slot)) {
            Some(Held::Large(large)) => return Looked::Large(large),
            Some(Held::Value(value)) => Some(value),
            None => None,
        };
        let version = value.map(|value| KeyVersion { ts: run.ts, value: Some(value) });
        Looked::Found(MemFound { version, tomb: Timestamp::ZERO, newer: run.ts > at })
    }

    /// Up to `keys_max` keys of a run in `low..high` (empty: to the end), upwards or downwards; `None`: the run is gone.
    pub(crate) fn copy_of_run(
        &self,
        run: &Run,
        (low, high): (&[u8], &[u8]),
        is_down: bool,
        at: Timestamp,
        keys_max: usize,
    ) -> Result<Option<Vec<Ingested>>> {
        let pages = &run.list.pages;
        let first = pages.partition_point(|page| *page.low <= *low).saturating_sub(1);
        let end = if high.is_empty() { pages.len() } else { pages.partition_point(|page| *page.low < *high) };
        let mut items = Vec::new();
        let mut left = first..end.max(first);
        while items.len() < keys_max
            && let Some(index) = if is_down { left.next_back() } else { left.next() }
        {
            let image = loop {
                match self.run_leaf(run, index) {
                    Ok(image) => break image,
                    Err(_) if run.is_gone() => return Ok(None),
                    Err(missing) => self.load_for_reader(missing)?,
                }
            };
            if run.is_gone() {
                return Ok(None); // IN2
            }
            self.cache.note_lookup();
            let (Ok(start) | Err(start)) = image.search(low);
            let end = if high.is_empty() { Err(image.count()) } else { image.search(high) };
            let (Ok(end) | Err(end)) = end;
            let room = keys_max - items.len();
            let item = |slot: usize| item_of(run, &image, slot, at);
            if is_down {
                items.extend((start..end).rev().take(room).map(item));
            } else {
                items.extend((start..end).take(room).map(item));
            }
        }
        Ok(Some(items))
    }
}

fn item_of(run: &Run, image: &Counted<Image>, slot: usize, at: Timestamp) -> Ingested {
    let mut key = Vec::new();
    image.key_into(slot, &mut key);
    let version = (run.ts <= at).then(|| (run.ts, held(image, slot)));
    Ingested { key: Key::from(&key[..]), version, newer: run.ts > at }
}

fn held(image: &Counted<Image>, slot: usize) -> Held {
    if let Body::Large(large) = image.record(slot).body {
        return Held::Large(large);
    }
    let range = image.value_range(slot);
    Held::Value(Value::from_image(image, range.start, range.len()))
}
