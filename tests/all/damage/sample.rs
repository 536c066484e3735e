//! The databases that are damaged: small, with everything in them, and with the older versions of their files.

use std::collections::BTreeMap;
use std::path::Path;

use duramen::{BackendKind, Compression, Database, Durability, KeyspaceOptions};
use duramen_base::vfs::sim::{Image, SimVfs};
use duramen_base::vfs::{OpenMode, Vfs};
use duramen_tests::dice::Dice;

use super::judge::May;
use crate::fault::history::Content;
use crate::fault::run::{Machine, key, send, writes};

/// How a sample's program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closed in order, with commits that only the log has.
    Closed,
    /// Closed in order behind a checkpoint: the stores have everything.
    Checkpointed,
    /// The process died, after a second without commits.
    Killed,
    /// The process died when the last commit had returned, and nothing of the background work had come since.
    Busy,
}

impl End {
    pub(super) const ALL: [End; 4] = [End::Closed, End::Checkpointed, End::Killed, End::Busy];
}

/// A database to damage.
pub(super) struct Sample {
    pub(super) end: End,
    pub(super) image: Image,
    /// What it holds.
    pub(super) content: Content,
    /// What it held after each commit, oldest first.
    pub(super) states: Vec<Content>,
    /// The disk as it was at earlier moments, oldest first: what stale blocks are taken from.
    pub(super) earlier: Vec<Image>,
    /// The disk before the last commit.
    before_last: Image,
}

fn options(name: &str) -> KeyspaceOptions {
    let backend = if name.ends_with("tree") { BackendKind::BTree } else { BackendKind::Lsm };
    let mut options = KeyspaceOptions::new(backend);
    (options.page_bytes, options.memtable_bytes) = (4 << 10, 8 << 10);
    if name == "passing lsm" {
        options.compression = Compression::Lz4;
    }
    options
}

impl Sample {
    /// The same for the same seed, up to the identity of the database, which grows with `identity`.
    pub(super) fn build(end: End, seed: u64, identity: u64) -> Sample {
        let machine = Machine::on(SimVfs::new());
        for _ in 0..identity {
            machine.disk.random_bytes().unwrap();
        }
        let mut dice = Dice::new(seed);
        let db = machine.open().unwrap();
        let names = ["tree", "lsm", "passing tree", "passing lsm"];
        let keyspaces: BTreeMap<_, _> =
            names.iter().map(|name| (*name, db.create_keyspace(name, options(name)).unwrap())).collect();
        let mut sample = Sample {
            end,
            image: Image::empty(),
            content: Content::new(),
            states: vec![Content::new()],
            earlier: Vec::new(),
            before_last: Image::empty(),
        };
        let mut commit = |db: &Database, sample: &mut Sample, number: u64, count: u64| {
            let mut all = writes(&mut dice, number, &names);
            for name in names {
                all.extend((0..count).map(|at| {
                    let value = dice.bytes(150);
                    crate::fault::history::Write::Put(name, key(1000 + at * 7 + number % 7), value)
                }));
            }
            send(db, &keyspaces, &all, Durability::Sync).unwrap();
            all.iter().for_each(|write| write.apply(&mut sample.content));
            sample.states.push(sample.content.clone());
        };
        for number in 1..=7 {
            commit(&db, &mut sample, number, 16);
            if number % 2 == 1 {
                db.checkpoint().unwrap();
            }
            sample.earlier.push(machine.disk.image());
        }
        for number in 8..=12 {
            sample.before_last = machine.disk.image();
            commit(&db, &mut sample, number, 0);
        }
        if end == End::Checkpointed {
            db.checkpoint().unwrap();
        }
        if end != End::Busy {
            (0..3).for_each(|_| machine.upkeep());
        }
        if matches!(end, End::Killed | End::Busy) {
            let disk = machine.disk.kill();
            drop((db, keyspaces));
            sample.image = disk.image();
        } else {
            db.close().unwrap();
            sample.image = machine.disk.image();
        }
        sample
    }

    /// The paths of its files, without the lock.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        self.image.files().into_iter().filter(|(path, _)| !path.ends_with("LOCK")).collect()
    }

    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        self.image.read(Path::new(path)).unwrap()
    }

    /// The file of the log with the newest records. A segment that waits for its use may be an older one under a new name: then its header says so.
    pub(super) fn last_segment(&self) -> String {
        let in_use = |path: &str| {
            let bytes = self.read(path);
            let number = bytes.get(40..48).map(|number| u64::from_le_bytes(number.try_into().unwrap()));
            path.contains("/log/")
                && bytes.starts_with(b"DURAMLOG")
                && number == path.rsplit('/').next().unwrap().parse().ok()
        };
        self.files().into_iter().map(|(path, _)| path).filter(|path| in_use(path)).max().unwrap()
    }

    /// What damage to bytes `from..` of a file may do. If the process died behind a commit, nothing on the disk but the commit itself knows that it was
    /// synced; so its bytes may go, and with them what stands in the same block or file.
    pub(super) fn may(&self, path: &str, bytes: std::ops::Range<u64>) -> May {
        if self.end != End::Busy || path != self.last_segment() {
            return May::Nothing;
        }
        let (before, after) = (self.before_last.read(Path::new(path)).unwrap_or_default(), self.read(path));
        // Where the commit begins, as a record does: at a multiple of 8. Behind it may lie an older record, if the segment was used before.
        let differs = (0..after.len()).find(|&at| before.get(at) != after.get(at));
        let known = differs.unwrap_or(after.len()) as u64 / 8 * 8;
        if bytes.end > known { May::LoseTheTail } else { May::Nothing }
    }
}

/// Writes into a file.
pub(super) fn overwrite(disk: &SimVfs, path: &str, offset: u64, bytes: &[u8]) {
    let file = disk.open(Path::new(path), OpenMode::ReadWrite).unwrap();
    assert_eq!(file.write_at(bytes, offset).unwrap(), bytes.len());
}

/// Replaces a file, or makes one.
pub(super) fn replace(disk: &SimVfs, path: &str, bytes: &[u8]) {
    let file = disk.open(Path::new(path), OpenMode::OpenOrCreate).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(file.write_at(bytes, 0).unwrap(), bytes.len());
}

pub(super) fn set_len(disk: &SimVfs, path: &str, len: u64) {
    disk.open(Path::new(path), OpenMode::ReadWrite).unwrap().set_len(len).unwrap();
}

pub(super) fn remove(disk: &SimVfs, path: &str) {
    disk.remove_file(Path::new(path)).unwrap();
}
