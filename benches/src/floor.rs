//! Raw loops: what the machine allows, without any of what a database is for.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::keys::{KEY_BYTES, Random, VALUE_BYTES, key, value};

/// Bytes of one write of the raw loops.
pub const WRITE_BYTES: usize = 150;
/// Zeros that a raw loop writes over before it begins again at the start.
const ZERO_BYTES: u64 = 64 << 20;

fn zeros(path: &Path) -> File {
    let file = OpenOptions::new().create(true).truncate(true).write(true).read(true).open(path).expect("a new file");
    let block = vec![0; 1 << 20];
    (0..ZERO_BYTES / block.len() as u64).for_each(|at| {
        file.write_all_at(&block, at * block.len() as u64).expect("zeros");
    });
    file.sync_all().expect("a sync");
    file
}

/// A loop body: 150 bytes written at the next offset of a file filled with zeros, then, if `sync`, fdatasync.
pub fn log_writer(path: &Path, sync: bool) -> impl FnMut() + Send + use<> {
    let (file, record, mut at) = (zeros(path), [0x5a; WRITE_BYTES], 0);
    move || {
        file.write_all_at(&record, at).expect("a write");
        if sync {
            file.sync_data().expect("a sync");
        }
        at = (at + WRITE_BYTES as u64) % (ZERO_BYTES - WRITE_BYTES as u64);
    }
}

/// A loop body: a checksummed record copied into a buffer, and a put into a `BTreeMap` of `count` keys: what any commit in memory must do.
pub fn memory_writer(count: u64, seed: u64) -> impl FnMut() {
    let mut map: BTreeMap<Vec<u8>, Vec<u8>> =
        (0..count).map(|index| (key(index).to_vec(), value(index).to_vec())).collect();
    let mut buffer = Vec::with_capacity(1 << 20);
    let mut random = Random::new(seed);
    move || {
        let index = random.below(count);
        let (key, value) = (key(index), value(index));
        if buffer.len() + WRITE_BYTES > 1 << 20 {
            buffer.clear();
        }
        let start = buffer.len();
        buffer.extend_from_slice(&key);
        buffer.extend_from_slice(&value);
        let crc = crc32fast::hash(&buffer[start..]);
        buffer.extend_from_slice(&crc.to_le_bytes());
        map.insert(key.to_vec(), value.to_vec());
    }
}

/// The map that cached gets are compared with.
pub fn map(count: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count).map(|index| (key(index).to_vec(), value(index).to_vec())).collect()
}

/// A loop body: gets a random key of a [`map`] and copies the value out.
pub fn map_getter(map: &BTreeMap<Vec<u8>, Vec<u8>>, seed: u64) -> impl FnMut() {
    let (count, mut random) = (map.len() as u64, Random::new(seed));
    move || {
        let found = map.get(&key(random.below(count))[..]);
        assert!(std::hint::black_box(found).is_some(), "every key is there");
    }
}

/// A word on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU64);

/// A loop body: a thread announces itself in a word of its own and takes it back, with one full fence.
pub fn announcer() -> impl FnMut() + Send {
    let word = Box::<Word>::default();
    move || {
        word.0.swap(std::hint::black_box(1), Ordering::SeqCst);
        word.0.store(0, Ordering::Release);
    }
}

/// Reads every file of a folder and checksums it; the bytes.
pub fn read_and_checksum(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let content = std::fs::read(entry.path()).expect("a file");
        std::hint::black_box(crc32fast::hash(&content));
        bytes += content.len() as u64;
    }
    bytes
}

/// Makes a folder with one synced file of 1 MiB: the least that creating a log takes.
pub fn create_one_file(folder: &Path) {
    std::fs::create_dir(folder).expect("a new folder");
    let file = File::create(folder.join("log")).expect("a new file");
    file.write_all_at(&vec![0; 1 << 20], 0).expect("zeros");
    file.sync_all().expect("a sync");
    File::open(folder).and_then(|folder| folder.sync_all()).expect("a sync");
}

/// Bytes of key and value that one commit of the benches puts.
pub const PUT_BYTES: usize = KEY_BYTES + VALUE_BYTES;
