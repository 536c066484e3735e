//! Raw loops behind the same trait: a file that is written and synced, and a copy of memory. They answer nothing, so nothing can be verified.
//!
//! A commit of the append loop writes its puts at the end of a growing file; one of the overwrite loop at the next offset of a file that was
//! filled with zeros and synced before, as a log that reuses its space does. One file and one lock: no group commit, so with more threads
//! than one this is what each engine must beat.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use super::registry::{Entry, Offer};
use super::{
    Class, Engine, Facts, Mode, Outcome, ReadWork, Reading, Session, Setup, Span, Visit, WriteWork, Writing, broken,
    not_offered,
};

const NO_ANSWERS: Result<(), &str> = Err("a raw loop answers nothing");

/// Zeros that are written over.
const ZERO_BYTES: u64 = 16 << 20;

const FLOOR: Entry = Entry {
    name: "",
    package: "",
    feature: None,
    needs: "",
    facts: Facts {
        isolation: "none",
        durability: "Buffered: write; Sync: write and fdatasync",
        checksums: "none",
        compression: "none",
        cache: "none",
    },
    open: None,
    offer: Offer {
        classes: &[Class::Buffered, Class::Sync],
        modes: &[Mode::Pessimistic],
        answers: NO_ANSWERS,
        scans: NO_ANSWERS,
        snapshots: NO_ANSWERS,
        files: NO_ANSWERS,
        atomic: NO_ANSWERS,
        scans_in_writes: NO_ANSWERS,
        writes: Ok(()),
    },
};

/// Appends and syncs.
pub const APPEND: Entry = Entry { name: "floor-append", open: Some(open_append), ..FLOOR };

/// Overwrites and syncs.
pub const OVERWRITE: Entry = Entry { name: "floor-overwrite", open: Some(open_overwrite), ..FLOOR };

/// Copies memory: the floor of a full scan, measured by that workload itself.
pub const COPY: Entry = Entry {
    name: "floor-memcpy",
    open: Some(open_append),
    facts: Facts { durability: "none", ..FLOOR.facts },
    offer: Offer { classes: &[Class::None], writes: Err("copies memory"), ..FLOOR.offer },
    ..FLOOR
};

struct Raw {
    file: File,
    at: Mutex<u64>,
    sync: bool,
    /// Where the loop begins again.
    wrap: Option<u64>,
}

fn open_append(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    open(setup, None)
}

fn open_overwrite(setup: &Setup) -> Outcome<Box<dyn Engine>> {
    open(setup, Some(ZERO_BYTES))
}

fn open(setup: &Setup, wrap: Option<u64>) -> Outcome<Box<dyn Engine>> {
    let path = setup.folder.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).map_err(broken)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..wrap.unwrap_or(0)).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).map_err(broken)?;
    }
    file.sync_all().map_err(broken)?;
    Ok(Box::new(Raw { file, at: Mutex::new(0), sync: setup.class == Class::Sync, wrap }))
}

impl Raw {
    fn commit(&self, record: &[u8]) -> std::io::Result<()> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wrap.is_some_and(|wrap| *at + record.len() as u64 > wrap) {
            *at = 0;
        }
        self.file.write_all_at(record, *at)?;
        *at += record.len() as u64;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}

impl Engine for Raw {
    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(Local { raw: self, record: Vec::new() }))
    }

    fn sync(&self) -> Outcome<()> {
        self.file.sync_data().map_err(broken)
    }

    fn settle(&self) -> Outcome<()> {
        self.sync()
    }
}

struct Local<'a> {
    raw: &'a Raw,
    record: Vec<u8>,
}

impl Session for Local<'_> {
    fn read(&mut self, _: &mut ReadWork<'_>) -> Outcome<()> {
        not_offered("a raw loop answers nothing")
    }

    fn write(&mut self, work: &mut WriteWork<'_>) -> Outcome<u64> {
        self.record.clear();
        work(&mut Record(&mut self.record))?;
        self.raw.commit(&self.record).map_err(broken)?;
        Ok(0)
    }
}

/// What a commit writes.
struct Record<'a>(&'a mut Vec<u8>);

impl Reading for Record<'_> {
    fn get(&mut self, _: usize, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        not_offered("a raw loop answers nothing")
    }

    fn scan(&mut self, _: usize, _: Span<'_>, _: &mut Visit<'_>) -> Outcome<usize> {
        not_offered("a raw loop answers nothing")
    }
}

impl Writing for Record<'_> {
    fn put(&mut self, _: usize, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
        Ok(())
    }

    fn delete(&mut self, _: usize, key: &[u8]) -> Outcome<()> {
        self.0.extend_from_slice(key);
        Ok(())
    }
}
