//! Where every value lies, and what of each file is live (VS4). In memory, counted in the budget; rebuilt from the manifest when opened.
//!
//! VI1  `live` and `live_bytes` of a file are those of the values placed in it; `expected` are values written into it that are not placed yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Place;
use super::file::entry_bytes;
use crate::budget::{Budget, Reservation};
use crate::framed::FILE_HEADER_BYTES;
use crate::vfs::File;

/// Bytes of memory for each value that the map has room for: number, place, and what the map adds.
const VALUE_MEMORY_BYTES: u64 = 40;

/// What there is.
#[derive(Debug)]
pub(super) struct Index {
    places: HashMap<u64, Place>,
    /// Values of ours that were appended and do not count yet: the tree may name them in memory.
    pending: HashMap<u64, Place>,
    files: BTreeMap<u64, FileState>,
    reservation: Reservation,
}

/// One value file.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// None: it was missing or not ours when the store was opened.
    pub(super) file: Option<File>,
    /// Its length, but for what a failed append left.
    pub(super) bytes: u64,
    pub(super) live: u64,
    pub(super) live_bytes: u64,
    pub(super) expected: u64,
    /// A value in it could not be read: it stays as it is.
    pub(super) is_damaged: bool,
}

impl FileState {
    /// Bytes that no value takes.
    pub(super) fn dead_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.live_bytes + FILE_HEADER_BYTES as u64)
    }
}

impl Index {
    pub(super) fn new(budget: &Arc<Budget>) -> Index {
        Index {
            places: HashMap::new(),
            pending: HashMap::new(),
            files: BTreeMap::new(),
            reservation: budget.reserve_anyway(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where a value that counts lies.
    pub(super) fn place(&self, id: u64) -> Option<Place> {
        self.places.get(&id).copied()
    }

    /// Where a value lies, whether it counts yet or not.
    pub(super) fn place_of_any(&self, id: u64) -> Option<Place> {
        self.place(id).or_else(|| self.pending.get(&id).copied())
    }

    /// Where a value lies that does not count yet.
    pub(super) fn pending(&self, id: u64) -> Option<Place> {
        self.pending.get(&id).copied()
    }

    /// All values that do not count yet.
    pub(super) fn all_pending(&self) -> HashMap<u64, Place> {
        self.pending.clone()
    }

    /// Whether there is no value at all.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.pending.is_empty()
    }

    pub(super) fn file(&self, no: u64) -> Option<File> {
        self.files.get(&no)?.file.clone()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (u64, &FileState)> {
        self.files.iter().map(|(&no, state)| (no, state))
    }

    pub(super) fn state_mut(&mut self, no: u64) -> Option<&mut FileState> {
        self.files.get_mut(&no)
    }

    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.files.values().map(|state| state.bytes).sum()
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.files.values().map(|state| state.live_bytes).sum()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// All values by number, and where they lie.
    pub(super) fn places(&self) -> Vec<(u64, Place)> {
        let mut places: Vec<(u64, Place)> = self.places.iter().map(|(&id, &place)| (id, place)).collect();
        places.sort_unstable_by_key(|&(id, _)| id);
        places
    }

    /// Values in file `no`, last ones first.
    pub(super) fn values_in(&self, no: u64) -> Vec<u64> {
        let mut found: Vec<(u64, u64)> =
            self.places.iter().filter(|(_, place)| place.file == no).map(|(&id, place)| (place.offset, id)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn add_file(&mut self, no: u64, file: Option<File>, bytes: u64) {
        let state = self.files.entry(no).or_default();
        (state.file, state.bytes) = (file, bytes);
    }

    pub(super) fn remove_file(&mut self, no: u64) {
        let gone = self.files.remove(&no);
        debug_assert!(gone.is_none_or(|state| state.live + state.expected == 0), "VS3: nothing is in it");
    }

    /// A value was written to this place, which does not count yet.
    pub(super) fn expect(&mut self, place: &Place) {
        let state = self.files.entry(place.file).or_default();
        state.expected += 1;
        state.bytes = place.offset + entry_bytes(place.len);
    }

    /// A value that was written to this place is to count with the next switch.
    pub(super) fn await_switch(&mut self, id: u64, place: Place) {
        self.pending.insert(id, place);
        self.note_memory();
    }

    /// A value that lies here, in a file that is known, is to count with some switch.
    pub(super) fn claim(&mut self, id: u64, place: Place) {
        let state = self.files.entry(place.file).or_default();
        state.expected += 1;
        state.bytes = state.bytes.max(place.offset.saturating_add(entry_bytes(place.len)));
        self.await_switch(id, place);
    }

    /// A value that was to count never will.
    pub(super) fn give_up(&mut self, id: u64, place: &Place) {
        self.pending.remove(&id);
        self.abandon(place);
    }

    /// What was written here will never count.
    pub(super) fn abandon(&mut self, place: &Place) {
        let state = self.files.get_mut(&place.file).expect("VI1: what is expected lies in a file");
        state.expected -= 1;
    }

    /// It counts.
    pub(super) fn insert(&mut self, id: u64, place: Place) {
        self.give_up(id, &place);
        self.set(id, place);
    }

    /// A value lies here, as the manifest says.
    pub(super) fn set(&mut self, id: u64, place: Place) {
        if let Some(old) = self.places.insert(id, place) {
            self.take_from_file(&old);
        }
        let state = self.files.entry(place.file).or_default();
        state.live += 1;
        state.live_bytes += entry_bytes(place.len);
        self.note_memory();
    }

    /// A value does not count any more.
    pub(super) fn remove(&mut self, id: u64) {
        let old = self.places.remove(&id);
        debug_assert!(old.is_some(), "VS2: value {id} is dropped once");
        if let Some(old) = old {
            self.take_from_file(&old);
        }
        self.note_memory();
    }

    fn take_from_file(&mut self, place: &Place) {
        let state = self.files.get_mut(&place.file).expect("VI1: a value lies in a file");
        state.live -= 1;
        state.live_bytes -= entry_bytes(place.len);
    }

    fn note_memory(&mut self) {
        let room = self.places.capacity() + self.pending.capacity();
        self.reservation.resize(room as u64 * VALUE_MEMORY_BYTES);
    }
}
