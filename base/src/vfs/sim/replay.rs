//! A journal read from its start: at each position, what is certainly on the disk and what may be.
//!
//! It keeps two states of names and files, the durable one and the one a program sees, and the effects that lie between them.
//! Which of those a crash keeps is chosen in `crash.rs`.
//!
//! SR1  Applying all pending effects to the durable state, in order, gives the seen state.
//! SR2  [`CrashModel::Strict`]: `sync_data` makes the content and size of its file durable and nothing else; `sync_dir` makes
//!     the entries of its directory durable and nothing else; a rename is durable when both its directories were synced.
//! SR3  [`CrashModel::Ext4Like`]: names, cuts and punches reach the disk in the order in which they were made; every sync makes
//!     all earlier ones durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::Content;
use super::crash::CrashModel;
use super::effect::{DataEffect, NameEffect};
use super::image::{FileId, Image};
use super::journal::{Entry, Run};
use crate::vfs::names::{DirId, Names, Node};

/// A position in a journal, with the crash states that are possible there.
///
/// ```
/// use duramen_base::vfs::{sim::{CrashModel, Keep, SimVfs}, OpenMode, Vfs};
/// let disk = SimVfs::new();
/// disk.open("a".as_ref(), OpenMode::CreateNew)?.write_at(b"sap", 0)?;
/// let mut replay = disk.journal().replay(CrashModel::Strict);
/// let mut states = 1; // at the start
/// while replay.step() {
///     let _found = replay.crash(Keep::None, 512);
///     states += 1;
/// }
/// assert_eq!(states, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Replay {
    run: Arc<Run>,
    position: usize,
    pub(super) model: CrashModel,
    pub(super) durable_names: Names<FileId>,
    seen_names: Names<FileId>,
    pub(super) pending_names: Vec<PendingName>,
    pub(super) files: BTreeMap<FileId, FileReplay>,
}

/// A change of names that is not durable yet.
#[derive(Clone)]
pub(super) struct PendingName {
    /// Its place in the journal.
    pub(super) index: usize,
    pub(super) effect: NameEffect,
    /// For a rename between two directories: whether the first of them was synced.
    half_synced: Option<DirId>,
}

/// One file: durable, seen, and what lies between.
#[derive(Clone, Default)]
pub(super) struct FileReplay {
    pub(super) durable: Arc<Content>,
    pub(super) seen: Arc<Content>,
    pub(super) pending: Vec<PendingData>,
    /// It has lost its last name for good; only handles still reach it.
    gone: bool,
}

/// A change of a file that is not durable yet.
#[derive(Clone)]
pub(super) struct PendingData {
    /// Its place in the journal.
    pub(super) index: usize,
    pub(super) effect: DataEffect,
    /// Bytes in the file after it.
    pub(super) len_after: u64,
    /// SR3: a cut or punch that a sync of something else made durable.
    pub(super) committed: bool,
}

impl Replay {
    pub(super) fn new(run: Arc<Run>, model: CrashModel) -> Replay {
        let names = run.base.names.clone();
        let files = run.base.files.iter().map(|(file, content)| (*file, FileReplay::durable(content))).collect();
        Replay {
            run,
            position: 0,
            model,
            durable_names: names.clone(),
            seen_names: names,
            pending_names: Vec::new(),
            files,
        }
    }

    /// Entries replayed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Replays one more entry; `false` at the end of the journal.
    pub fn step(&mut self) -> bool {
        let run = Arc::clone(&self.run);
        let Some(entry) = run.entries.get(self.position) else { return false };
        self.replay_entry(self.position, entry);
        self.position += 1;
        true
    }

    /// Whether something is pending: if not, every crash here finds the same.
    pub fn has_pending(&self) -> bool {
        !self.pending_names.is_empty() || self.files.values().any(|file| !file.pending.is_empty())
    }

    /// What is found when the process dies here: every completed call.
    pub fn process_death(&self) -> Image {
        Image::build(self.seen_names.clone(), |file| Arc::clone(&self.files[&file].seen))
    }

    fn replay_entry(&mut self, index: usize, entry: &Entry) {
        match entry {
            Entry::Create { place, file } => {
                self.files.insert(*file, FileReplay::default());
                self.change_names(index, NameEffect::Link { place: place.clone(), node: Node::File(*file) });
            }
            Entry::CreateDir { place, dir } => {
                self.durable_names.ensure_dir(*dir);
                self.seen_names.ensure_dir(*dir);
                self.change_names(index, NameEffect::Link { place: place.clone(), node: Node::Dir(*dir) });
            }
            Entry::Rename { from, to, node } => {
                let (from, to) = (Some(from.clone()), Some(to.clone()));
                self.change_names(index, NameEffect::Move { from, to, node: node.clone() });
            }
            Entry::RemoveFile { place } | Entry::RemoveDir { place } => {
                self.change_names(index, NameEffect::Unlink { place: place.clone() });
            }
            Entry::SyncDir { dir } => match self.model {
                CrashModel::Strict => self.commit_dir(*dir),
                CrashModel::Ext4Like => self.commit_names_and_cuts(),
            },
            Entry::Write { file, offset, bytes } => {
                self.file(*file).change(index, DataEffect::Write { offset: *offset, bytes: Arc::clone(bytes) });
            }
            Entry::Zeros { file, offset, len } => {
                self.file(*file).change(index, DataEffect::Zero { range: *offset..*offset + *len });
            }
            Entry::SetLen { file, len } => self.file(*file).set_len(index, *len),
            Entry::Punch { file, offset, len } => {
                let file = self.file(*file);
                let end = (*offset + *len).min(file.seen.len());
                file.change(index, DataEffect::Punch { range: *offset.min(&end)..end });
            }
            Entry::SyncData { file } => {
                if self.model == CrashModel::Ext4Like {
                    self.commit_names_and_cuts();
                }
                let file = self.file(*file);
                file.durable = Arc::clone(&file.seen);
                file.pending.clear();
            }
            Entry::Revert { file } => self.file(*file).revert(index),
            Entry::Note(_) => {}
        }
    }

    fn file(&mut self, file: FileId) -> &mut FileReplay {
        self.files.get_mut(&file).expect("SJ1: entries name files that were created or found")
    }

    fn change_names(&mut self, index: usize, effect: NameEffect) {
        effect.apply(&mut self.seen_names);
        self.pending_names.push(PendingName { index, effect, half_synced: None });
    }

    /// SR2: makes the entries of one directory durable.
    fn commit_dir(&mut self, dir: DirId) {
        let mut still_pending: Vec<PendingName> = Vec::new();
        let mut replaced = Vec::new();
        for mut name in std::mem::take(&mut self.pending_names) {
            if name.becomes_durable_with(dir) {
                for earlier in &mut still_pending {
                    earlier.effect.give_way_to(&name.effect);
                }
                replaced.extend(name.effect.apply(&mut self.durable_names));
            } else {
                still_pending.push(name);
            }
        }
        self.pending_names = still_pending;
        self.forget(replaced);
    }

    /// SR3: every sync writes the whole journal of the file system.
    fn commit_names_and_cuts(&mut self) {
        let mut replaced = Vec::new();
        for name in std::mem::take(&mut self.pending_names) {
            replaced.extend(name.effect.apply(&mut self.durable_names));
        }
        for pending in self.files.values_mut().flat_map(|file| &mut file.pending) {
            pending.committed |= pending.effect.is_meta();
        }
        self.forget(replaced);
    }

    /// What has lost its last name for good cannot be found after any crash: nothing about it is pending any more.
    fn forget(&mut self, replaced: Vec<Node<FileId>>) {
        for node in replaced {
            if self.durable_names.has(&node) || self.seen_names.has(&node) {
                continue;
            }
            match node {
                Node::Dir(dir) => self.pending_names.retain(|name| !name.effect.is_in(dir)),
                Node::File(file) => *self.file(file) = FileReplay { gone: true, ..FileReplay::default() },
            }
        }
    }
}

impl PendingName {
    /// Told that `dir` was synced; whether the whole change is durable now.
    fn becomes_durable_with(&mut self, dir: DirId) -> bool {
        match &self.effect {
            NameEffect::Link { place, .. } | NameEffect::Unlink { place } => place.dir == dir,
            NameEffect::Move { from, to, .. } => {
                let dirs = [from, to].map(|place| place.as_ref().map_or(dir, |place| place.dir));
                if !dirs.contains(&dir) {
                    return false;
                }
                let first = self.half_synced.replace(dir);
                dirs.iter().all(|side| *side == dir || Some(*side) == first)
            }
        }
    }
}

impl FileReplay {
    fn durable(content: &Arc<Content>) -> FileReplay {
        FileReplay { durable: Arc::clone(content), seen: Arc::clone(content), ..FileReplay::default() }
    }

    fn change(&mut self, index: usize, effect: DataEffect) {
        if self.gone {
            return;
        }
        let seen = Arc::make_mut(&mut self.seen);
        match &effect {
            DataEffect::Write { offset, bytes } => seen.write(*offset, bytes),
            DataEffect::Zero { range } => {
                if range.end > seen.len() {
                    seen.set_len(range.end);
                }
                seen.zero(range.clone());
            }
            DataEffect::SetLen { range } | DataEffect::Punch { range } => seen.zero(range.clone()),
            DataEffect::Revert { to } => *seen = (**to).clone(),
        }
        let len_after = seen.len();
        self.pending.push(PendingData { index, effect, len_after, committed: false });
    }

    fn set_len(&mut self, index: usize, len: u64) {
        if self.gone {
            return;
        }
        let before = self.seen.len();
        Arc::make_mut(&mut self.seen).set_len(len);
        self.change(index, DataEffect::SetLen { range: len.min(before)..len.max(before) });
    }

    fn revert(&mut self, index: usize) {
        let mut content = (*self.durable).clone();
        content.set_len(self.seen.len());
        self.change(index, DataEffect::Revert { to: Arc::new(content) });
    }
}
