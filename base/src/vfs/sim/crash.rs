//! What a loss of power leaves: everything durable, and of the pending effects those that a choice keeps.
//!
//! Devices write whole sectors, and a sector that is written back holds what the program saw at that moment. So each sector of a
//! file has a *version*: the number of the file's pending effects it has seen, from 0 (as last synced) to all of them. The length
//! of the file has a version of its own: sizes may have grown without data. Names are kept or lost one by one.
//!
//! SK1  Whatever is kept, durable bytes and names are there: only sectors, sizes and names with pending effects differ.
//! SK2  [`CrashModel::Ext4Like`]: names, cuts and punches are kept up to a moment and lost behind it; a sector that such a cut
//!     or punch touches has seen it if it was kept, and nothing behind it if it was lost.
//! SK3  The same replay position, choice and sector size give the same image.

mod one_file;

use std::sync::Arc;

use super::content::{Content, PAGE_BYTES};
use super::hash::{choose, choose_below};
use super::image::{FileId, Image};
use super::replay::{FileReplay, Replay};
use crate::vfs::names::Names;
use one_file::FileChoice;

/// What a file system promises about things that were not synced themselves.
///
/// ```
/// use duramen_base::vfs::{sim::{CrashModel, Keep, SimVfs}, OpenMode, Vfs};
/// let disk = SimVfs::new();
/// disk.open("a".as_ref(), OpenMode::CreateNew)?.sync_data()?;
/// let journal = disk.journal();
/// let survives = |model| journal.crash_at(journal.len(), model, Keep::None, 512).exists("a".as_ref());
/// assert!(survives(CrashModel::Ext4Like) && !survives(CrashModel::Strict));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashModel {
    /// Nothing beyond POSIX: a file's bytes and size need its own `sync_data`, an entry the `sync_dir` of its directory.
    Strict,
    /// Names, cuts and punches become durable in order, and every sync brings all earlier ones along.
    Ext4Like,
}

/// Which of the pending effects a loss of power keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// None of them.
    None,
    /// All of them.
    All,
    /// All names and no bytes.
    Names,
    /// All bytes and no names.
    Data,
    /// All names, and sizes as large as they were; the new parts are zeros.
    Sizes,
    /// As [`Keep::Sizes`], but the new parts are old garbage (zeros under [`CrashModel::Ext4Like`]).
    Garbage(u64),
    /// The last effect alone: everything before it was reordered behind it.
    Last,
    /// All but the last.
    AllButLast,
    /// All, but of the last write only the first sectors, as many as the seed says.
    TornLast(u64),
    /// Any subset, drawn from the seed in one of several ways (fair, mostly kept, mostly lost, in order).
    Random(u64),
}

impl Keep {
    /// One of each kind, then `random` seeded subsets: what a test tries at each position.
    ///
    /// ```
    /// use duramen_base::vfs::sim::Keep;
    /// assert!(Keep::each(7, 4).any(|keep| keep == Keep::AllButLast));
    /// ```
    pub fn each(seed: u64, random: u64) -> impl Iterator<Item = Keep> {
        let fixed = [
            Keep::None,
            Keep::All,
            Keep::Names,
            Keep::Data,
            Keep::Sizes,
            Keep::Garbage(seed),
            Keep::Last,
            Keep::AllButLast,
            Keep::TornLast(seed),
        ];
        fixed.into_iter().chain((0..random).map(move |number| Keep::Random(choose(seed, number))))
    }
}

impl Replay {
    /// What is found after a loss of power here. `sector_bytes` is a power of two up to 4096.
    pub fn crash(&self, keep: Keep, sector_bytes: u64) -> Image {
        assert!(sector_bytes.is_power_of_two() && sector_bytes <= PAGE_BYTES, "sectors of {sector_bytes} bytes");
        let choice = Choice::new(self, keep, sector_bytes);
        Image::build(choice.names(), |file| choice.content(file, &self.files[&file]))
    }
}

/// How [`Keep::Random`] draws.
#[derive(Clone, Copy)]
enum Style {
    Fair,
    AnyVersion,
    MostlyKept,
    MostlyLost,
    InOrder,
}

/// One crash: the choice, and what follows from it for all files.
struct Choice<'a> {
    replay: &'a Replay,
    keep: Keep,
    sector_bytes: u64,
    /// Journal index of the last pending effect.
    last: Option<usize>,
    /// Ext4Like: names, cuts and punches before this journal index are kept.
    meta_end: usize,
    style: Style,
    /// For [`Style::InOrder`]: effects before this journal index are kept.
    time: usize,
}

impl<'a> Choice<'a> {
    fn new(replay: &'a Replay, keep: Keep, sector_bytes: u64) -> Choice<'a> {
        let indexes = || {
            let names = replay.pending_names.iter().map(|name| name.index);
            names.chain(replay.files.values().flat_map(|file| file.pending.iter().map(|pending| pending.index)))
        };
        let (first, last) = (indexes().min().unwrap_or(0), indexes().max());
        let seed = if let Keep::Random(seed) = keep { seed } else { 0 };
        let style = match choose_below(seed, 1, 5) {
            0 => Style::Fair,
            1 => Style::AnyVersion,
            2 => Style::MostlyKept,
            3 => Style::MostlyLost,
            _ => Style::InOrder,
        };
        let span = last.map_or(0, |last| last + 1 - first) as u64;
        let time = first + choose_below(seed, 2, span + 1) as usize;
        let mut choice = Choice { replay, keep, sector_bytes, last, meta_end: usize::MAX, style, time };
        if replay.model == CrashModel::Ext4Like {
            choice.meta_end = choice.meta_end(seed);
        }
        choice
    }

    /// SK2: where the kept names, cuts and punches end.
    fn meta_end(&self, seed: u64) -> usize {
        let mut metas: Vec<usize> = self.replay.pending_names.iter().map(|name| name.index).collect();
        for pending in self.replay.files.values().flat_map(|file| &file.pending) {
            if pending.effect.is_meta() && !pending.committed {
                metas.push(pending.index);
            }
        }
        metas.sort_unstable();
        let last_is_meta = self.last.is_some() && metas.last().copied() == self.last;
        match self.keep {
            Keep::None | Keep::Data => 0,
            Keep::All | Keep::Names | Keep::Sizes | Keep::Garbage(_) | Keep::TornLast(_) => usize::MAX,
            Keep::Last => {
                if last_is_meta {
                    usize::MAX
                } else {
                    0
                }
            }
            Keep::AllButLast => self.last.unwrap_or(0),
            Keep::Random(_) => match self.style {
                Style::InOrder => self.time,
                Style::Fair | Style::AnyVersion | Style::MostlyKept | Style::MostlyLost => {
                    let kept = choose_below(seed, 3, metas.len() as u64 + 1) as usize;
                    metas.get(kept).copied().unwrap_or(usize::MAX)
                }
            },
        }
    }

    fn names(&self) -> Names<FileId> {
        let mut names = self.replay.durable_names.clone();
        for pending in &self.replay.pending_names {
            let kept = match self.replay.model {
                CrashModel::Strict => self.keeps_name(pending.index),
                CrashModel::Ext4Like => pending.index < self.meta_end,
            };
            if kept {
                pending.effect.apply(&mut names);
            }
        }
        names
    }

    /// Strict: each name for itself.
    fn keeps_name(&self, index: usize) -> bool {
        match self.keep {
            Keep::None | Keep::Data => false,
            Keep::All | Keep::Names | Keep::Sizes | Keep::Garbage(_) | Keep::TornLast(_) => true,
            Keep::Last => Some(index) == self.last,
            Keep::AllButLast => Some(index) != self.last,
            Keep::Random(seed) => self.version(seed, index as u64, 1, usize::from(index < self.time)) > 0,
        }
    }

    /// A random version up to `count`; `in_order` is the one that a disk which writes in order would have.
    fn version(&self, seed: u64, about: u64, count: usize, in_order: usize) -> usize {
        let draw = choose(seed ^ 0x5EC7_0F5E, about);
        match self.style {
            Style::Fair => count * (draw & 1) as usize,
            Style::AnyVersion => choose_below(draw, about, count as u64 + 1) as usize,
            Style::MostlyKept => count * usize::from(draw & 7 != 0),
            Style::MostlyLost => count * usize::from(draw & 7 == 0),
            Style::InOrder => in_order,
        }
    }

    fn content(&self, id: FileId, file: &FileReplay) -> Arc<Content> {
        let untouched = file.pending.is_empty()
            || (matches!(self.keep, Keep::None | Keep::Names) && !file.pending.iter().any(|p| p.effect.is_meta()));
        if untouched {
            return Arc::clone(&file.durable);
        }
        if self.keep == Keep::All {
            return Arc::clone(&file.seen);
        }
        Arc::new(FileChoice::new(self, id, file).content())
    }
}
