//! The ordered map of a memtable: keys to entries, inserted by many threads at once, never removed.
//!
//! A B+ tree in an arena, read without a latch (optimistic lock coupling; Leis, Haubenschild and Neumann 2019). A node has a version that is odd while a
//! writer is at it. A reader notes the version, reads, and looks at it again: if it changed, what was read is thrown away. A writer makes the
//! version odd by a compare-and-swap from the one that it read at, so that it, too, begins from what is still there. All words are atomics: what a reader
//! throws away was never undefined, only useless.
//!
//! It knows no versions of keys and no timestamps; that is `entry.rs`.
//!
//! ```text
//!   node     version, count, next leaf | leftmost child, then for each slot: first 8 bytes of the key, next 8 bytes, entry [, child to the right]
//! ```
//! O1  Keys of a node ascend strictly. Those below child i of an inner node are at or above separator i - 1 and below separator i.
//! O2  A node is changed only between making its version odd and even again. Words in it are stored with Release and loaded with Acquire: who reads
//!     a changed word, and then the version, sees that it changed.
//! O3  A slot below any count that was ever read holds an entry, now and for ever: so following what is thrown away later is safe.
//! O4  A split moves the upper half of a leaf to a new one right of it. So who follows `next` misses no key that was there when it began.
//! O5  A full node is split on the way down, with its parent, which has room: so a writer holds two nodes at most, parent first, and never waits for one
//!     while it holds another.

use std::cmp::Ordering as Order;
use std::ops::Bound;

use super::arena::{Arena, Place};
use super::entry::{Entry, Probe};
use crate::mutant;
use crate::prefetch::prefetch;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;

/// Slots of a node. Few under simulation, so that a test meets splits.
const SLOTS: usize = if cfg!(duramen_sim) { 4 } else { 32 };

const VERSION: usize = 0;
const COUNT: usize = 1;
/// Of a leaf: its right neighbour. Of an inner node: its leftmost child.
const NEXT: usize = 2;
const HEADS: [usize; 2] = [3, 3 + SLOTS];
const ENTRIES: usize = 3 + 2 * SLOTS;
const CHILDREN: usize = 3 + 3 * SLOTS;
const LEAF_WORDS: usize = CHILDREN;
const INNER_WORDS: usize = CHILDREN + SLOTS;

/// What a key is counted with for its share of the nodes, in bytes: leaves are at least half full but for the last, so are inner nodes.
pub(super) const SHARE_BYTES: u64 = 56;
const _: () = assert!(
    cfg!(duramen_sim)
        || (LEAF_WORDS * 8 / (SLOTS / 2) + INNER_WORDS * 8 / (SLOTS / 2) / (SLOTS / 2 - 1)) as u64 <= SHARE_BYTES
);

/// Words of a line of the cache.
const LINE_WORDS: usize = 8;

/// Looks at a node that is being changed before the thread gives way.
const LOOKS: u32 = 64;

/// Marks a reference to a leaf.
const LEAF: u64 = 1 << 63;

#[derive(Debug)]
pub(super) struct Ordered {
    root: AtomicU64,
}

/// A node in an arena.
#[derive(Clone, Copy)]
struct Node<'a> {
    bits: u64,
    words: &'a [AtomicU64],
}

/// A leaf, the version it was found with, and the separator left of it (none: it is the first).
struct Descent<'a> {
    leaf: Node<'a>,
    version: u64,
    low: Option<Entry>,
}

/// A leaf where a key is or would be, as long as it has this version.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'a> {
    node: Node<'a>,
    version: u64,
    /// Where in it the key would be, once that was looked for.
    slot: Option<usize>,
}

impl Leaf<'_> {
    /// Looks for the key: its entry, if it is there and the leaf is unchanged. An entry stays that of its key for ever.
    pub(super) fn look(&mut self, arena: &Arena, probe: Probe<'_>) -> Option<Entry> {
        let (slot, found) = self.node.find(arena, &probe);
        let is_unchanged = self.node.is_unchanged(self.version);
        self.slot = (is_unchanged && found.is_none()).then_some(slot);
        found.filter(|_| is_unchanged)
    }

    /// Puts a key in that was looked for and not there; `None`: the leaf changed, or is full and has to be split from its parent on (O5).
    fn try_insert(self, probe: &Probe<'_>, make: &mut dyn FnMut() -> Entry) -> Option<Entry> {
        let slot = self.slot.filter(|_| self.node.count() < SLOTS)?;
        let entry = make();
        let version = if mutant!("slot_of_a_changed_leaf") { self.node.version() } else { self.version };
        if !self.node.try_lock(version) {
            return None;
        }
        self.node.insert(slot, probe.heads, entry, None);
        self.node.unlock();
        Some(entry)
    }
}

/// Where to go down.
#[derive(Clone, Copy)]
enum Seek<'a> {
    First,
    Last,
    /// To the leaf where this key is, or would be.
    At(Probe<'a>),
    /// To the leaf with the largest key below this one, or the leaf right of that.
    Below(Probe<'a>),
}

impl Ordered {
    /// An empty map in `arena`, which all its calls are given.
    pub(super) fn new(arena: &Arena) -> Ordered {
        Ordered { root: AtomicU64::new(Node::make(arena, true).bits) }
    }

    /// The entry of a key.
    pub(super) fn get(&self, arena: &Arena, probe: Probe<'_>) -> Option<Entry> {
        retry(|| {
            let Descent { leaf, version, .. } = self.descend(arena, Seek::At(probe))?;
            let (_, found) = leaf.find(arena, &probe);
            leaf.is_unchanged(version).then_some(found)
        })
    }

    /// The leaf where a key is or would be, asked for and not waited for; `None`: something changed on the way.
    pub(super) fn find_leaf<'a>(&self, arena: &'a Arena, probe: Probe<'_>) -> Option<Leaf<'a>> {
        let Descent { leaf: node, version, .. } = self.descend(arena, Seek::At(probe))?;
        Some(Leaf { node, version, slot: None })
    }

    /// The entry of a key; if there is none, that which `make` makes, and whether it was needed. `leaf`: what [`Ordered::find_leaf`] gave for this key.
    pub(super) fn get_or_insert(
        &self,
        arena: &Arena,
        probe: Probe<'_>,
        leaf: Option<Leaf<'_>>,
        make: impl FnOnce() -> Entry,
    ) -> (Entry, bool) {
        let (mut make, mut fresh) = (Some(make), None);
        let mut make = || *fresh.get_or_insert_with(|| make.take().expect("made once")());
        match leaf.and_then(|leaf| leaf.try_insert(&probe, &mut make)) {
            Some(entry) => (entry, true),
            None => retry(|| self.try_insert(arena, &probe, &mut make)),
        }
    }

    /// Gives entries to `each`, those of a leaf at once, ascending from a bound, until it answers false.
    pub(super) fn ascend(&self, arena: &Arena, from: Bound<&[u8]>, mut each: impl FnMut(&[Entry]) -> bool) {
        let (seek, skips_equal) = match from {
            Bound::Included(key) => (Seek::At(Probe::from(key)), false),
            Bound::Excluded(key) => (Seek::At(Probe::from(key)), true),
            Bound::Unbounded => (Seek::First, false),
        };
        let mut entries = Vec::with_capacity(SLOTS);
        let mut next = retry(|| {
            let Descent { leaf, version, .. } = self.descend(arena, seek)?;
            let first = match seek {
                Seek::At(probe) => leaf.rank(arena, &probe, skips_equal),
                Seek::First | Seek::Last | Seek::Below(_) => 0,
            };
            leaf.copy_entries(first..leaf.count(), &mut entries);
            let next = leaf.load(NEXT);
            leaf.is_unchanged(version).then_some(next)
        });
        loop {
            if !each(&entries) || next == 0 {
                return;
            }
            let leaf = Node::at(arena, next);
            next = retry(|| {
                let version = leaf.version();
                leaf.copy_entries(0..leaf.count(), &mut entries);
                let next = leaf.load(NEXT);
                leaf.is_unchanged(version).then_some(next)
            });
        }
    }

    /// Gives entries to `each`, those of a leaf at once, descending from a bound, until it answers false.
    pub(super) fn descend_from(&self, arena: &Arena, from: Bound<&[u8]>, mut each: impl FnMut(&[Entry]) -> bool) {
        let mut bound = from.map(<[u8]>::to_vec);
        let mut entries = Vec::with_capacity(SLOTS);
        loop {
            let seek = match &bound {
                Bound::Included(key) => Seek::At(Probe::from(&key[..])),
                Bound::Excluded(key) => Seek::Below(Probe::from(&key[..])),
                Bound::Unbounded => Seek::Last,
            };
            let low = retry(|| {
                let Descent { leaf, version, low } = self.descend(arena, seek)?;
                let end = match &seek {
                    Seek::At(probe) => leaf.rank(arena, probe, true),
                    Seek::Below(probe) => leaf.rank(arena, probe, false),
                    Seek::First | Seek::Last => leaf.count(),
                };
                leaf.copy_entries(0..end, &mut entries);
                leaf.is_unchanged(version).then_some(low)
            });
            entries.reverse();
            if !each(&entries) {
                return;
            }
            let Some(low) = low else { return };
            let mut key = Vec::new();
            low.read_key(arena, &mut key);
            bound = Bound::Excluded(key);
        }
    }

    /// `None`: something changed on the way.
    fn descend<'a>(&self, arena: &'a Arena, seek: Seek<'_>) -> Option<Descent<'a>> {
        let (mut node, mut version) = self.begin(arena)?;
        let mut low = None;
        while !node.is_leaf() {
            let index = match &seek {
                Seek::First => 0,
                Seek::Last => node.count(),
                Seek::At(probe) => node.rank(arena, probe, true),
                Seek::Below(probe) => node.rank(arena, probe, false),
            };
            if index > 0 {
                low = node.entry(index - 1);
            }
            (node, version) = node.go_down(arena, version, index)?;
        }
        Some(Descent { leaf: node, version, low })
    }

    fn begin<'a>(&self, arena: &'a Arena) -> Option<(Node<'a>, u64)> {
        // Acquire: pairs with Release in `split`.
        let bits = self.root.load(Ordering::Acquire);
        let node = Node::at(arena, bits);
        let version = node.version();
        (self.root.load(Ordering::Acquire) == bits).then_some((node, version))
    }

    /// `None`: something changed on the way, or a node was split.
    fn try_insert(&self, arena: &Arena, probe: &Probe<'_>, make: &mut dyn FnMut() -> Entry) -> Option<(Entry, bool)> {
        let (mut node, mut version) = self.begin(arena)?;
        let mut parent = None;
        loop {
            let count = node.count();
            let (index, found) = node.find(arena, probe);
            if let (true, Some(entry)) = (node.is_leaf(), found) {
                return node.is_unchanged(version).then_some((entry, false));
            }
            if count == SLOTS {
                self.split(arena, parent, (node, version), index);
                return None;
            }
            if node.is_leaf() {
                let entry = make();
                if !node.try_lock(version) {
                    return None;
                }
                node.insert(index, probe.heads, entry, None);
                node.unlock();
                return Some((entry, true));
            }
            parent = Some((node, version));
            // A key equal to a separator is to the right of it (O1).
            let child = index + usize::from(found.is_some());
            (node, version) = node.go_down(arena, version, child)?;
        }
    }

    /// Splits a full node, if neither it nor its parent was changed since it was read (O5). `index`: where a key is to go.
    fn split(&self, arena: &Arena, parent: Option<(Node<'_>, u64)>, node: (Node<'_>, u64), index: usize) {
        let (node, version) = node;
        if let Some((parent, version)) = parent
            && !parent.try_lock(version)
        {
            return;
        }
        if node.try_lock(version) {
            // Without a parent it was the root, and is: the root is changed by who has it locked.
            let (heads, separator, right) = node.split_off(arena, index);
            match parent {
                Some((parent, _)) => {
                    let place = parent.rank(arena, &probe_of(arena, separator, heads, &mut Vec::new()), true);
                    parent.insert(place, heads, separator, Some(right));
                }
                None => {
                    let root = Node::make(arena, false);
                    root.store(NEXT, node.bits);
                    root.insert(0, heads, separator, Some(right));
                    self.root.store(root.bits, Ordering::Release);
                }
            }
            node.unlock();
        }
        if let Some((parent, _)) = parent {
            parent.unlock();
        }
    }
}

/// The key of an entry as something to look for.
fn probe_of<'a>(arena: &Arena, entry: Entry, heads: [u64; 2], bytes: &'a mut Vec<u8>) -> Probe<'a> {
    entry.read_key(arena, bytes);
    Probe { heads, bytes }
}

/// Repeats `attempt` until it succeeds, giving way now and then.
fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let mut looks = 0;
    loop {
        match attempt() {
            Some(done) => return done,
            None => pause(&mut looks),
        }
    }
}

fn pause(looks: &mut u32) {
    *looks += 1;
    if cfg!(duramen_sim) || looks.is_multiple_of(LOOKS) {
        // Whoever is at the node may have lost the processor.
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

impl<'a> Node<'a> {
    fn make(arena: &'a Arena, is_leaf: bool) -> Node<'a> {
        let (place, words) = arena.take(if is_leaf { LEAF_WORDS } else { INNER_WORDS });
        Node { bits: place.to_bits() | if is_leaf { LEAF } else { 0 }, words }
    }

    fn at(arena: &'a Arena, bits: u64) -> Node<'a> {
        let place = Place::from_bits(bits).expect("O3: a reference that was read is one");
        Node { bits, words: arena.words(place, if bits & LEAF == 0 { INNER_WORDS } else { LEAF_WORDS }) }
    }

    fn is_leaf(self) -> bool {
        self.bits & LEAF != 0
    }

    fn load(self, word: usize) -> u64 {
        self.words[word].load(Ordering::Acquire) // O2
    }

    fn store(self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Release); // O2
    }

    /// Its version, when nobody is at it.
    fn version(self) -> u64 {
        retry(|| Some(self.load(VERSION)).filter(|version| version % 2 == 0))
    }

    /// Whether what was read since it had `version` is what stood in it then.
    fn is_unchanged(self, version: u64) -> bool {
        self.load(VERSION) == version
    }

    /// Makes it this thread's, if it is unchanged.
    fn try_lock(self, version: u64) -> bool {
        // Acquire: what the one before stored. The stores that follow are Release, and take this one with them (O2).
        self.words[VERSION].compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn unlock(self) {
        let version = self.words[VERSION].load(Ordering::Relaxed);
        debug_assert!(version % 2 == 1, "O2: only who has it unlocks it");
        self.store(VERSION, version + 1);
    }

    fn count(self) -> usize {
        self.load(COUNT) as usize
    }

    fn entry(self, index: usize) -> Option<Entry> {
        Entry::from_bits(self.load(ENTRIES + index))
    }

    fn child(self, index: usize) -> u64 {
        self.load(if index == 0 { NEXT } else { CHILDREN + index - 1 })
    }

    /// Child `index` with its version; `None`: one of both changed.
    fn go_down(self, arena: &'a Arena, version: u64, index: usize) -> Option<(Node<'a>, u64)> {
        let child = self.child(index);
        if !self.is_unchanged(version) {
            return None;
        }
        let child = Node::at(arena, child);
        if child.is_leaf() {
            // Those above are few, and mostly in a cache.
            child.ask_for_it();
        }
        let child_version = child.version();
        self.is_unchanged(version).then_some((child, child_version))
    }

    /// Has all that a search looks at come from memory at once, rather than one line after the other.
    fn ask_for_it(self) {
        self.words.iter().step_by(LINE_WORDS).for_each(prefetch);
    }

    /// The key's slot, or where it would be, and its entry if it is there.
    fn find(self, arena: &Arena, probe: &Probe<'_>) -> (usize, Option<Entry>) {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.compare(arena, middle, probe) {
                Order::Less => low = middle + 1,
                Order::Greater => high = middle,
                Order::Equal => return (middle, self.entry(middle)),
            }
        }
        (low, None)
    }

    /// How many keys are below the one looked for; with `or_equal`, it included.
    fn rank(self, arena: &Arena, probe: &Probe<'_>, or_equal: bool) -> usize {
        let (index, found) = self.find(arena, probe);
        index + usize::from(or_equal && found.is_some())
    }

    fn compare(self, arena: &Arena, index: usize, probe: &Probe<'_>) -> Order {
        let by_heads = || self.load(HEADS[1] + index).cmp(&probe.heads[1]);
        self.load(HEADS[0] + index).cmp(&probe.heads[0]).then_with(by_heads).then_with(|| {
            let entry = self.entry(index).expect("O3: a slot below the count has an entry");
            entry.compare_behind_heads(arena, probe)
        })
    }

    fn copy_entries(self, slots: std::ops::Range<usize>, out: &mut Vec<Entry>) {
        out.clear();
        out.extend(slots.filter_map(|index| self.entry(index)));
    }

    /// Puts a key in, with the child to its right. The node is this thread's, and has room.
    fn insert(self, index: usize, heads: [u64; 2], entry: Entry, child: Option<u64>) {
        let count = self.count();
        for first in [HEADS[0], HEADS[1], ENTRIES, CHILDREN] {
            if first + count < self.words.len() {
                (index..count).rev().for_each(|slot| self.store(first + slot + 1, self.load(first + slot)));
            }
        }
        self.store(HEADS[0] + index, heads[0]);
        self.store(HEADS[1] + index, heads[1]);
        self.store(ENTRIES + index, entry.to_bits());
        if let Some(child) = child {
            self.store(CHILDREN + index, child);
        }
        self.store(COUNT, count as u64 + 1);
    }

    /// Moves its upper half to a new node right of it. Gives the separator between them and the new node. The node is this thread's, and full.
    fn split_off(self, arena: &Arena, index: usize) -> ([u64; 2], Entry, u64) {
        let right = Node::make(arena, self.is_leaf());
        // Keys that only ascend leave full leaves behind.
        let is_at_end = self.is_leaf() && index == SLOTS && self.load(NEXT) == 0;
        let keep = if is_at_end { SLOTS - 1 } else { SLOTS / 2 };
        let heads = [self.load(HEADS[0] + keep), self.load(HEADS[1] + keep)];
        let separator = self.entry(keep).expect("O3: the node is full");
        // In an inner node the separator itself goes up.
        let moved = if self.is_leaf() { keep } else { keep + 1 };
        for first in [HEADS[0], HEADS[1], ENTRIES, CHILDREN] {
            if first < self.words.len() {
                (moved..SLOTS).for_each(|slot| right.store(first + slot - moved, self.load(first + slot)));
            }
        }
        right.store(NEXT, if self.is_leaf() { self.load(NEXT) } else { self.child(keep + 1) });
        right.store(COUNT, (SLOTS - moved) as u64);
        if self.is_leaf() {
            self.store(NEXT, right.bits);
        }
        self.store(COUNT, keep as u64);
        (heads, separator, right.bits)
    }
}
