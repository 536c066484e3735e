//! One crash for one file: which version each sector has, and which the length.
//!
//! Built from the durable content by applying the pending effects in order, each to the sectors that have seen it.

use std::ops::Range;

use super::{Choice, CrashModel, Keep, Style};
use crate::vfs::sim::content::{Content, PAGE_BYTES, Page};
use crate::vfs::sim::effect::DataEffect;
use crate::vfs::sim::hash::{choose, choose_below};
use crate::vfs::sim::image::FileId;
use crate::vfs::sim::replay::{FileReplay, PendingData};

/// One crash, for one file.
pub(super) struct FileChoice<'a> {
    choice: &'a Choice<'a>,
    id: FileId,
    file: &'a FileReplay,
    /// Ext4Like: effects that are cuts or punches, and whether they are kept (SK2).
    metas: Vec<(usize, Range<u64>, bool)>,
    /// The last pending effect of the disk, if it is one of this file: its sectors.
    last_sectors: Option<Range<u64>>,
    /// Of those, the first that was lost, for [`Keep::TornLast`].
    torn_sector: u64,
    /// Effects that a disk which writes in order would have kept.
    in_order: usize,
}

impl<'a> FileChoice<'a> {
    pub(super) fn new(choice: &'a Choice<'a>, id: FileId, file: &'a FileReplay) -> FileChoice<'a> {
        let metas = match choice.replay.model {
            CrashModel::Strict => Vec::new(),
            CrashModel::Ext4Like => (file.pending.iter().enumerate())
                .filter(|(_, pending)| pending.effect.is_meta())
                .map(|(at, pending)| (at, pending.effect.range(), pending.committed || pending.index < choice.meta_end))
                .collect(),
        };
        let last = file.pending.last().filter(|pending| Some(pending.index) == choice.last);
        let last_sectors = last.map(|pending| sectors(pending.effect.range(), choice.sector_bytes));
        let torn_sector = match (&last_sectors, choice.keep, last.is_some_and(|last| last.effect.is_meta())) {
            (Some(of), Keep::TornLast(seed), false) => of.start + choose_below(seed, 4, of.end - of.start + 1),
            _ => u64::MAX,
        };
        let in_order = file.pending.iter().filter(|pending| pending.index < choice.time).count();
        FileChoice { choice, id, file, metas, last_sectors, torn_sector, in_order }
    }

    pub(super) fn content(&self) -> Content {
        let pending = &self.file.pending;
        let longest = pending.iter().map(|pending| pending.len_after).fold(self.file.durable.len(), u64::max);
        let mut content = (*self.file.durable).clone();
        content.set_len(longest.next_multiple_of(PAGE_BYTES));
        if let Some(seed) = self.garbage() {
            for page in self.file.durable.len().div_ceil(PAGE_BYTES)..longest.div_ceil(PAGE_BYTES) {
                content.put_page(page, Page::garbage(choose(seed, page)));
            }
        }
        for (at, pending) in pending.iter().enumerate() {
            self.apply(&mut content, at, pending);
        }
        content.set_len(self.len(longest));
        content
    }

    /// The seed of the garbage in space that was never written, if there is some.
    fn garbage(&self) -> Option<u64> {
        match (self.choice.replay.model, self.choice.keep) {
            (CrashModel::Strict, Keep::Garbage(seed)) => Some(seed),
            (CrashModel::Strict, Keep::Random(seed)) => (choose(seed, 5) & 3 == 0).then_some(seed),
            _ => None,
        }
    }

    /// Applies effect number `at` to the sectors that have seen it.
    fn apply(&self, content: &mut Content, at: usize, pending: &PendingData) {
        let range = pending.effect.range();
        let sector_bytes = self.choice.sector_bytes;
        match &pending.effect {
            DataEffect::Write { offset, bytes } => {
                for (sector, piece) in cut(range, sector_bytes) {
                    if at < self.version(sector) {
                        content
                            .write(piece.start, &bytes[(piece.start - offset) as usize..(piece.end - offset) as usize]);
                    }
                }
            }
            DataEffect::Zero { .. } | DataEffect::SetLen { .. } | DataEffect::Punch { .. } => {
                for (page, of_page) in cut(range, PAGE_BYTES) {
                    if content.page(page).is_none() {
                        continue;
                    }
                    for (sector, piece) in cut(of_page, sector_bytes) {
                        if at < self.version(sector) {
                            content.zero(piece);
                        }
                    }
                }
            }
            DataEffect::Revert { to } => {
                for (sector, piece) in cut(range, sector_bytes) {
                    if at < self.version(sector) {
                        content.copy_from(to, piece);
                    }
                }
            }
        }
    }

    /// How many of the pending effects a sector has seen.
    fn version(&self, sector: u64) -> usize {
        let all = self.file.pending.len();
        let in_last = self.last_sectors.as_ref().is_some_and(|of| of.contains(&sector));
        let mut version = match self.choice.keep {
            Keep::None | Keep::Names | Keep::Sizes | Keep::Garbage(_) => 0,
            Keep::All | Keep::Data => all,
            Keep::Last => {
                if in_last {
                    all
                } else {
                    0
                }
            }
            Keep::AllButLast => all - usize::from(in_last),
            Keep::TornLast(_) => all - usize::from(in_last && sector >= self.torn_sector),
            Keep::Random(seed) => self.choice.version(choose(seed, self.id), sector, all, self.in_order),
        };
        for (at, range, kept) in &self.metas {
            if sectors(range.clone(), self.choice.sector_bytes).contains(&sector) {
                version = if *kept { version.max(at + 1) } else { version.min(*at) };
            }
        }
        version
    }

    /// The length of the file.
    fn len(&self, longest: u64) -> u64 {
        let all = self.file.pending.len();
        let owns_last = self.last_sectors.is_some();
        let mut version = match self.choice.keep {
            Keep::None | Keep::Names => 0,
            Keep::All | Keep::Data => all,
            Keep::Sizes | Keep::Garbage(_) => match self.choice.replay.model {
                CrashModel::Strict => return longest,
                CrashModel::Ext4Like => all,
            },
            Keep::Last => {
                if owns_last {
                    all
                } else {
                    0
                }
            }
            Keep::AllButLast => all - usize::from(owns_last),
            Keep::TornLast(seed) if owns_last && self.torn_sector != u64::MAX => return self.torn_len(seed),
            Keep::TornLast(_) => all,
            Keep::Random(seed) => {
                let draw = choose(seed ^ 0x0512_E0FF, self.id);
                match (self.choice.style, draw & 3) {
                    (Style::InOrder, _) => self.in_order,
                    (_, 0) => 0,
                    (_, 1) => choose_below(draw, 6, all as u64 + 1) as usize,
                    (_, _) => all,
                }
            }
        };
        for (at, _, kept) in &self.metas {
            if matches!(self.file.pending[*at].effect, DataEffect::SetLen { .. }) {
                version = if *kept { version.max(at + 1) } else { version.min(*at) };
            }
        }
        self.len_at(version)
    }

    fn len_at(&self, version: usize) -> u64 {
        version.checked_sub(1).map_or(self.file.durable.len(), |at| self.file.pending[at].len_after)
    }

    /// After a torn write the size has grown as far as its bytes, or as if all were there.
    fn torn_len(&self, seed: u64) -> u64 {
        let all = self.file.pending.len();
        if choose(seed, 7) & 1 == 0 {
            return self.len_at(all);
        }
        let torn_end = self.torn_sector * self.choice.sector_bytes;
        self.len_at(all).min(self.len_at(all - 1).max(torn_end))
    }
}

/// The sectors that a range of bytes touches.
fn sectors(range: Range<u64>, sector_bytes: u64) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / sector_bytes..range.end.div_ceil(sector_bytes)
}

/// Cuts a range of bytes at multiples of `unit`: the number of the unit, and the bytes inside it.
fn cut(range: Range<u64>, unit: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    sectors(range.clone(), unit)
        .map(move |number| (number, range.start.max(number * unit)..range.end.min((number + 1) * unit)))
}
