//! The record of a run on the simulated disk: every change, sync and note, in the order in which they happened.
//!
//! The journal, not the schedule of threads, is what a crash state is computed from: the same journal, position and choice give
//! the same state for ever. Reads are not in it; they change nothing.
//!
//! SJ1  An entry stands for a completed call with the effect it had, which a fault may have made another than asked.
//! SJ2  A note stands behind every call that returned before it was made.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crash::{CrashModel, Keep};
use super::fault::OpKind;
use super::image::{FileId, Image};
use super::replay::Replay;
use crate::sync::Mutex;
use crate::vfs::names::{DirId, Node, Place};

/// Every so many entries a replay is kept, to start later ones from.
const REPLAY_KEPT_EVERY: usize = 256;

/// One entry of the journal.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Create {
        place: Place,
        file: FileId,
    },
    CreateDir {
        place: Place,
        dir: DirId,
    },
    Rename {
        from: Place,
        to: Place,
        node: Node<FileId>,
    },
    RemoveFile {
        place: Place,
    },
    RemoveDir {
        place: Place,
    },
    SyncDir {
        dir: DirId,
    },
    Write {
        file: FileId,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Zeros {
        file: FileId,
        offset: u64,
        len: u64,
    },
    SetLen {
        file: FileId,
        len: u64,
    },
    Punch {
        file: FileId,
        offset: u64,
        len: u64,
    },
    SyncData {
        file: FileId,
    },
    /// A failed sync dropped what it should have written: the file is as it was when last synced, but keeps its length.
    Revert {
        file: FileId,
    },
    Note(Note),
}

/// What a test wrote into the journal, for example that a commit was acknowledged.
///
/// ```
/// use duramen_base::vfs::sim::{Note, SimVfs};
/// let disk = SimVfs::new();
/// disk.journal_note(1, 42);
/// assert!(disk.journal().notes(1).eq([(0, Note { tag: 1, payload: 42 })]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind of note.
    pub tag: u64,
    /// What it says.
    pub payload: u64,
}

/// What a run did to its disk, from the image it started on. Cloning shares it.
///
/// ```
/// use duramen_base::vfs::{sim::{CrashModel, Keep, SimVfs}, OpenMode, Vfs};
/// let disk = SimVfs::new();
/// let file = disk.open("a".as_ref(), OpenMode::CreateNew)?;
/// disk.sync_dir("".as_ref())?;
/// file.write_at(b"sap", 0)?;
/// let journal = disk.journal();
/// let found = journal.crash_at(journal.len(), CrashModel::Strict, Keep::None, 512);
/// assert_eq!(found.read("a".as_ref()), Some(vec![]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Journal {
    pub(super) run: Arc<Run>,
    kept: Arc<Mutex<BTreeMap<(CrashModel, usize), Replay>>>,
}

/// Where a run began and what it did.
pub(super) struct Run {
    pub(super) base: Image,
    pub(super) entries: Vec<Entry>,
}

impl Journal {
    pub(super) fn new(base: Image, entries: Vec<Entry>) -> Journal {
        Journal { run: Arc::new(Run { base, entries }), kept: Arc::default() }
    }

    /// Entries in it. Positions go from 0 (nothing happened) to `len()` (everything did).
    pub fn len(&self) -> usize {
        self.run.entries.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.run.entries.is_empty()
    }

    /// What entry `index` did; `None` for a note.
    pub fn kind(&self, index: usize) -> Option<OpKind> {
        self.run.entries[index].kind()
    }

    /// The notes among the first `at` entries, each with its index.
    pub fn notes(&self, at: usize) -> impl Iterator<Item = (usize, Note)> {
        self.run.entries[..at].iter().enumerate().filter_map(|(index, entry)| match entry {
            Entry::Note(note) => Some((index, *note)),
            _ => None,
        })
    }

    /// A replay from the start: the quick way to visit every position in order.
    pub fn replay(&self, model: CrashModel) -> Replay {
        Replay::new(Arc::clone(&self.run), model)
    }

    /// What is found after a loss of power when the first `at` entries had been issued: everything synced, and of the rest what
    /// `keep` says, in sectors of `sector_bytes` (a power of two up to 4096).
    pub fn crash_at(&self, at: usize, model: CrashModel, keep: Keep, sector_bytes: u64) -> Image {
        self.replay_to(at, model).crash(keep, sector_bytes)
    }

    /// What is found after the process died when the first `at` entries had been issued: all of them.
    pub fn process_death_at(&self, at: usize) -> Image {
        self.replay_to(at, CrashModel::Strict).process_death()
    }

    /// A replay at position `at`, from the nearest one kept before it.
    fn replay_to(&self, at: usize, model: CrashModel) -> Replay {
        let mut kept = self.kept.lock();
        let nearest = kept.range(..=(model, at)).next_back().filter(|((of, _), _)| *of == model);
        let mut replay = nearest.map_or_else(|| self.replay(model), |(_, replay)| replay.clone());
        while replay.position() < at {
            assert!(replay.step(), "position {at} is behind the end of the journal");
            if replay.position().is_multiple_of(REPLAY_KEPT_EVERY) {
                kept.insert((model, replay.position()), replay.clone());
            }
        }
        replay
    }
}

impl Entry {
    fn kind(&self) -> Option<OpKind> {
        Some(match self {
            Entry::Create { .. } => OpKind::Create,
            Entry::CreateDir { .. } => OpKind::CreateDir,
            Entry::Rename { .. } => OpKind::Rename,
            Entry::RemoveFile { .. } => OpKind::RemoveFile,
            Entry::RemoveDir { .. } => OpKind::RemoveDir,
            Entry::SyncDir { .. } => OpKind::SyncDir,
            Entry::Write { .. } => OpKind::Write,
            Entry::Zeros { .. } => OpKind::WriteZeros,
            Entry::SetLen { .. } => OpKind::SetLen,
            Entry::Punch { .. } => OpKind::Punch,
            Entry::SyncData { .. } | Entry::Revert { .. } => OpKind::SyncData,
            Entry::Note(_) => return None,
        })
    }
}
