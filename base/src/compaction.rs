//! What was asked of a store's compaction: requests in order, what is held back, and how far it is.
//!
//! Plain words behind one latch; a store looks here at each step of its upkeep and does the work itself. No I/O and no callback under the latch.
//!
//! CD1  Requests are carried out in the order of their numbers, one at a time. One that was stopped counts as done.
//! CD2  A pause holds back what upkeep would merge or move by itself, never what somebody asked for.

use std::collections::VecDeque;
use std::ops::Bound;

use crate::bounds::KeyBounds;
use crate::sync::Mutex;

/// A request to compact some keys.
///
/// ```
/// use duramen_base::{KeyBounds, compaction::CompactionDesk};
/// let desk = CompactionDesk::default();
/// desk.ask(KeyBounds::half_open(b"b", b"d"));
/// let request = desk.front().expect("waits");
/// assert_eq!((request.number, &*request.low, request.high.as_deref()), (1, &b"b"[..], Some(&b"d"[..])));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionRequest {
    /// Its number, counted from 1.
    pub number: u64,
    /// First key.
    pub low: Vec<u8>,
    /// The key before which it ends; `None`: with the last key.
    pub high: Option<Vec<u8>>,
}

/// How far the compactions that were asked for are.
///
/// ```
/// assert_eq!(duramen_base::CompactionStats::default().bytes_to_do, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionStats {
    /// Requests that wait or are under way.
    pub requests: u64,
    /// Bytes of files merged (LSM) or of pages looked at and moved (B-tree) for requests since the keyspace was opened.
    pub bytes_done: u64,
    /// Bytes that the request under way is still to merge or move, as far as is known: what lies below is counted when it is reached.
    pub bytes_to_do: u64,
    /// Whether somebody holds back what upkeep would merge or move by itself.
    pub is_paused: bool,
}

/// The requests of one store.
///
/// ```
/// use duramen_base::{KeyBounds, compaction::CompactionDesk};
/// let desk = CompactionDesk::default();
/// let (first, second) = (desk.ask(KeyBounds::ALL), desk.ask(KeyBounds::ALL));
/// desk.finish(first);
/// assert_eq!(desk.done_through(), first);
/// desk.stop(second);
/// assert!(desk.done_through() >= second && !desk.is_asked());
/// ```
#[derive(Debug, Default)]
pub struct CompactionDesk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: u64,
    waiting: VecDeque<CompactionRequest>,
    pauses: u64,
    bytes_done: u64,
    bytes_to_do: u64,
}

impl CompactionDesk {
    /// Asks for the keys between these bounds; the number of the request.
    pub fn ask(&self, bounds: KeyBounds<'_>) -> u64 {
        let low = match bounds.lower {
            Bound::Included(key) | Bound::Excluded(key) => key.to_vec(),
            Bound::Unbounded => Vec::new(),
        };
        let high = match bounds.upper {
            Bound::Included(key) => Some([key, &[0]].concat()),
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        };
        let mut state = self.state.lock();
        state.asked += 1;
        let number = state.asked;
        if !bounds.is_empty() {
            state.waiting.push_back(CompactionRequest { number, low, high });
        }
        number
    }

    /// The request that is to be carried out now (CD1).
    pub fn front(&self) -> Option<CompactionRequest> {
        self.state.lock().waiting.front().cloned()
    }

    /// Whether the request of this number was neither finished nor stopped.
    pub fn waits(&self, number: u64) -> bool {
        self.state.lock().waiting.iter().any(|request| request.number == number)
    }

    /// Whether any request waits or is under way.
    pub fn is_asked(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Requests up to this number are done, or were stopped.
    pub fn done_through(&self) -> u64 {
        let state = self.state.lock();
        state.waiting.front().map_or(state.asked, |request| request.number - 1)
    }

    /// Says that a request is done.
    pub fn finish(&self, number: u64) {
        let mut state = self.state.lock();
        state.waiting.retain(|request| request.number != number);
        state.bytes_to_do = 0;
    }

    /// Gives a request up: whoever carries it out notices at his next step.
    pub fn stop(&self, number: u64) {
        self.finish(number);
    }

    /// Holds back what nobody asked for, until [`CompactionDesk::resume`] was called as often (CD2).
    pub fn pause(&self) {
        self.state.lock().pauses += 1;
    }

    /// Takes one pause back.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        state.pauses = state.pauses.saturating_sub(1);
    }

    /// Whether what nobody asked for is to rest now (CD2).
    pub fn is_paused(&self) -> bool {
        self.state.lock().pauses > 0
    }

    /// Notes bytes that were merged or moved for a request.
    pub fn add_done(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.bytes_done = state.bytes_done.saturating_add(bytes);
    }

    /// Notes what is still to be done for the request under way.
    pub fn set_to_do(&self, bytes: u64) {
        self.state.lock().bytes_to_do = bytes;
    }

    /// How far it is.
    pub fn stats(&self) -> CompactionStats {
        let state = self.state.lock();
        CompactionStats {
            requests: state.waiting.len() as u64,
            bytes_done: state.bytes_done,
            bytes_to_do: state.bytes_to_do,
            is_paused: state.pauses > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_stopped_holds_nobody_up() {
        let desk = CompactionDesk::default();
        let numbers: Vec<u64> = (0..3).map(|_| desk.ask(KeyBounds::ALL)).collect();
        desk.stop(numbers[1]);
        assert_eq!(desk.done_through(), 0, "CD1: the first is not done");
        assert!(desk.waits(numbers[0]) && !desk.waits(numbers[1]));
        desk.finish(numbers[0]);
        assert_eq!(desk.done_through(), numbers[1]);
        assert_eq!(desk.front().map(|request| request.number), Some(numbers[2]));
    }

    #[test]
    fn an_empty_range_is_done_when_it_is_asked_for() {
        let desk = CompactionDesk::default();
        let number = desk.ask(KeyBounds::half_open(b"b", b"a"));
        assert_eq!(desk.done_through(), number);
    }

    #[test]
    fn the_last_key_of_an_inclusive_range_is_in_it() {
        let desk = CompactionDesk::default();
        desk.ask(KeyBounds { lower: Bound::Excluded(b"a"), upper: Bound::Included(b"b") });
        let request = desk.front().expect("waits");
        assert_eq!((&*request.low, request.high.as_deref()), (&b"a"[..], Some(&b"b\0"[..])));
    }

    #[test]
    fn pauses_are_counted() {
        let desk = CompactionDesk::default();
        desk.pause();
        desk.pause();
        desk.resume();
        assert!(desk.is_paused() && desk.stats().is_paused);
        desk.resume();
        desk.resume();
        assert!(!desk.is_paused());
    }
}
