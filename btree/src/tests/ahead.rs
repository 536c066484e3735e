//! What the disk is told before leaves are read.

use std::io;
use std::ops::{Bound, Range};
use std::path::Path;

use duramen_base::vfs::{DirEntry, FileLock, VfsFile};

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Expected(Range<u64>),
    Read(Range<u64>),
}

type Events = Arc<Mutex<Vec<Event>>>;

/// A disk that notes what is read from it and what it was told to expect.
struct Listening(Arc<MemVfs>, Events);
struct ListeningFile(std::sync::Arc<dyn VfsFile>, Events);

impl Vfs for Listening {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<std::sync::Arc<dyn VfsFile>> {
        Ok(std::sync::Arc::new(ListeningFile(self.0.open(path, mode)?, Arc::clone(&self.1))))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.0.lock(path)
    }
    fn random_bytes(&self) -> io::Result<[u8; 16]> {
        self.0.random_bytes()
    }
}

impl VfsFile for ListeningFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.lock().push(Event::Read(offset..offset + buf.len() as u64));
        self.0.read_at(buf, offset)
    }
    fn expect_read(&self, offset: u64, len: u64) {
        self.1.lock().push(Event::Expected(offset..offset + len));
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.write_zeros(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch(offset, len)
    }
}

const KEYS: u32 = 4000;

/// A tree of three levels on such a disk, its inner pages here and its leaves not.
struct Cold {
    store: Fixture,
    events: Events,
}

impl Cold {
    fn new() -> Cold {
        let mut store = Fixture::new();
        for i in 0..KEYS {
            store.put(&key(i), &[7; 60]);
        }
        store.persist();
        let events = Events::default();
        let env = env_of(&store.vfs, &store.host, store.tree.options().page_bytes);
        let disk = Listening(Arc::clone(&store.vfs), Arc::clone(&events));
        store.tree = BTree::open(StoreEnv { vfs: Arc::new(disk), ..env }).unwrap();
        let cold = Cold { store, events };
        cold.scan(KeyBounds::ALL, false, usize::MAX);
        assert!(cold.store.tree.stats().depth >= 3, "{:?}", cold.store.tree.stats());
        cold.chill();
        cold
    }

    fn chill(&self) {
        let tree = &self.store.tree.store;
        tree.evict(tree.budget().limit());
        self.events.lock().clear();
    }

    /// Scans so many entries; how many there were, and what the disk saw.
    fn scan(&self, bounds: KeyBounds<'_>, reverse: bool, limit: usize) -> (usize, Vec<Event>) {
        let mut cursor = self.store.tree.cursor(self.store.now(), bounds, ScanOpts::default()).unwrap();
        let mut step = || if reverse { cursor.prev() } else { cursor.next() };
        let count = (0..limit).take_while(|_| step().unwrap()).count();
        (count, std::mem::take(&mut *self.events.lock()))
    }
}

fn bytes(events: &[Event], expected: bool) -> Vec<Range<u64>> {
    let chosen = events.iter().filter_map(|event| match event {
        Event::Expected(range) => Some(range).filter(|_| expected),
        Event::Read(range) => Some(range).filter(|_| !expected),
    });
    let mut ranges: Vec<_> = chosen.cloned().collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

/// Almost every leaf was expected when its read began.
fn check_asked_before(events: &[Event], unasked_max: usize) {
    let (mut expected, mut unasked) = (Vec::<Range<u64>>::new(), 0);
    for event in events {
        match event {
            Event::Expected(range) => expected.push(range.clone()),
            Event::Read(leaf) => {
                let is_in = |range: &Range<u64>| range.start <= leaf.start && leaf.end <= range.end;
                unasked += usize::from(!expected.iter().any(is_in));
            }
        }
    }
    assert!(unasked <= unasked_max, "{unasked} leaves were not asked for before they were read");
}

fn check_nothing_twice(events: &[Event]) {
    let expected = bytes(events, true);
    assert!(expected.windows(2).all(|pair| pair[0].end <= pair[1].start), "{expected:?}");
}

/// RA1: nothing is asked for that is not read.
fn check_nothing_in_vain(events: &[Event]) {
    let (expected, read) = (bytes(events, true), bytes(events, false));
    for range in expected {
        let inside: u64 = read
            .iter()
            .filter(|leaf| range.start <= leaf.start && leaf.end <= range.end)
            .map(|leaf| leaf.end - leaf.start)
            .sum();
        assert_eq!(inside, range.end - range.start, "RA1: {range:?} is not what is read");
    }
}

#[test]
fn a_long_scan_has_its_leaves_asked_for_once_and_before_they_are_read() {
    let cold = Cold::new();
    for reverse in [false, true] {
        let (count, events) = cold.scan(KeyBounds::ALL, reverse, usize::MAX);
        assert_eq!(count, KEYS as usize);
        assert!(bytes(&events, false).len() > 250, "most leaves were read");
        check_asked_before(&events, 4); // RA2
        check_nothing_twice(&events);
        check_nothing_in_vain(&events);
        cold.chill();
    }
}

#[test]
fn a_scan_asks_for_nothing_beyond_its_bounds() {
    let cold = Cold::new();
    let mut keys: Vec<_> = (0..KEYS).map(key).collect();
    keys.sort_unstable();
    let mut asked = 0;
    for (start, count) in (0..40).map(|i| (i * 37, 40 + i * 31)) {
        let (low, high) = (&keys[start][..], &keys[start + count][..]);
        for upper in [Bound::Included(high), Bound::Excluded(high)] {
            for (lower, reverse) in [(Bound::Included(low), false), (Bound::Excluded(low), true)] {
                let (_, events) = cold.scan(KeyBounds { lower, upper }, reverse, usize::MAX);
                check_nothing_in_vain(&events);
                asked += bytes(&events, true).len();
                cold.chill();
            }
        }
    }
    assert!(asked > 100, "{asked}");
}

#[test]
fn a_scan_of_three_leaves_and_one_in_memory_ask_for_nothing() {
    let cold = Cold::new();
    for reverse in [false, true] {
        let mut asked = false;
        for limit in 1..60 {
            let (_, events) = cold.scan(KeyBounds::ALL, reverse, limit);
            asked = !bytes(&events, true).is_empty();
            assert_eq!(asked, bytes(&events, false).len() > 3, "RA2: {events:?}");
            cold.chill();
        }
        assert!(asked, "it got long enough");
    }
    cold.scan(KeyBounds::ALL, false, usize::MAX);
    for reverse in [false, true] {
        let (count, events) = cold.scan(KeyBounds::ALL, reverse, usize::MAX);
        assert_eq!((count, events), (KEYS as usize, Vec::new()), "RA2");
    }
}

#[test]
fn a_scan_that_ends_early_asked_for_less_than_three_times_what_it_read() {
    let cold = Cold::new();
    for limit in [40, 100, 200, 400, 800] {
        let (_, events) = cold.scan(KeyBounds::ALL, false, limit);
        let sum = |expected| bytes(&events, expected).iter().map(|range| range.end - range.start).sum::<u64>();
        assert!(sum(true) < 3 * sum(false), "RA2: {} asked for, {} read", sum(true), sum(false));
        cold.chill();
    }
}

#[test]
fn a_drain_has_the_leaves_of_its_next_changes_asked_for() {
    let cold = Cold::new();
    for i in 0..KEYS / 8 {
        cold.store.put(&key(i * 8), &[8; 60]);
    }
    cold.events.lock().clear();
    cold.store.persist();
    let events = std::mem::take(&mut *cold.events.lock());
    assert!(bytes(&events, false).len() > 200, "most leaves were read");
    check_asked_before(&events, 0);
    check_nothing_in_vain(&events);
}
