//! Space: files that are half dead are written anew, files with nothing live go.
//!
//! ```text
//!   pick a file ─► copy its live values behind the last ones, in pieces ─► files, names synced ─► moves synced ─► places changed ─► file removed
//! ```
//! No tree is asked. A value that is dropped while it is copied leaves a copy that nobody names.
//!
//! VR1  While an edit waits for its switch nothing moves and no snapshot is written: either outcome must find its values.
//! VR2  A value that cannot be read stays where it is, and its file with it.

use super::file::{entry_bytes, file_name};
use super::index::FileState;
use super::{LargeRef, Place, ValueStore, Writer};
use crate::error::{Error, Result};
use crate::mutant;

/// Bytes at which a manifest is written anew.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// From how many small files on they are brought together: each keeps a file open.
const SMALL_FILES_MAX: usize = 8;

/// A file on its way into another.
#[derive(Debug)]
pub(super) struct Rewrite {
    no: u64,
    /// Values still to be looked at, the next one last.
    left: Vec<u64>,
    /// Values copied, from where, and where to.
    copied: Vec<(u64, Place, Place)>,
}

impl ValueStore {
    /// One step of about `bytes` bytes towards less space; whether more is to do. `is_thorough`: also where less than half is dead.
    ///
    /// # Errors
    /// `DiskFull`: it may be tried again; any other: nothing may be written any more.
    pub fn work(&self, bytes: u64, is_thorough: bool) -> Result<bool> {
        let mut writer = self.writer.lock();
        self.remove_files(&mut writer, is_thorough);
        if writer.is_outstanding {
            return Ok(false);
        }
        if writer.rewrite.is_none() {
            writer.rewrite = self.next_rewrite(&mut writer, is_thorough);
        }
        if writer.rewrite.is_some() {
            self.step_rewrite(&mut writer, bytes)?;
        } else if writer.manifest.as_ref().is_some_and(|manifest| manifest.has_grown(MANIFEST_BYTES_MAX)) {
            self.write_manifest(&mut writer)?;
        }
        self.remove_files(&mut writer, is_thorough);
        drop(writer);
        Ok(self.has_work(is_thorough))
    }

    /// Whether [`ValueStore::work`] has something to do.
    pub fn has_work(&self, is_thorough: bool) -> bool {
        let writer = self.writer.lock();
        !writer.is_outstanding
            && (writer.rewrite.is_some()
                || writer.manifest.as_ref().is_some_and(|manifest| manifest.has_grown(MANIFEST_BYTES_MAX))
                || self.index.read().files().any(|(no, state)| self.may_go(&writer, no, state, is_thorough))
                || self.pick(&writer, is_thorough).is_some())
    }

    /// The file to be written anew next.
    fn pick(&self, writer: &Writer, is_thorough: bool) -> Option<u64> {
        let index = self.index.read();
        let can_move = |&(_, state): &(u64, &FileState)| {
            state.expected == 0 && state.live > 0 && state.file.is_some() && !state.is_damaged
        };
        let is_whole = |no: u64| writer.appending.as_ref().is_none_or(|appending| appending.no != no);
        let is_due = |&(no, state): &(u64, &FileState)| match is_thorough {
            true => state.dead_bytes() > 0,
            false => {
                let is_worth = is_whole(no) || state.dead_bytes() >= self.dead_bytes_min;
                is_worth && state.dead_bytes() > state.live_bytes
            }
        };
        let due = index.files().filter(can_move).filter(is_due).max_by_key(|(_, state)| state.dead_bytes());
        let is_small = |&(no, state): &(u64, &FileState)| is_whole(no) && state.bytes < self.file_bytes / 16;
        let small = || {
            let mut small: Vec<(u64, u64)> =
                index.files().filter(can_move).filter(is_small).map(|(no, state)| (state.bytes, no)).collect();
            small.sort_unstable();
            (small.len() > SMALL_FILES_MAX).then(|| small[0].1)
        };
        due.map(|(no, _)| no).or_else(small)
    }

    fn next_rewrite(&self, writer: &mut Writer, is_thorough: bool) -> Option<Rewrite> {
        let no = self.pick(writer, is_thorough)?;
        if writer.appending.as_ref().is_some_and(|appending| appending.no == no) {
            writer.appending = None;
        }
        Some(Rewrite { no, left: self.index.read().values_in(no), copied: Vec::new() })
    }

    fn step_rewrite(&self, writer: &mut Writer, bytes: u64) -> Result<()> {
        let mut rewrite = writer.rewrite.take().expect("asked for by the caller");
        let outcome = self.copy(writer, &mut rewrite, bytes.max(1));
        match outcome {
            Ok(true) => {}
            Ok(false) | Err(Error::DiskFull { .. }) => {
                writer.rewrite = Some(rewrite);
                return outcome.map(drop);
            }
            Err(error) => return Err(error),
        }
        let ended = self.end_rewrite(writer, &rewrite);
        if matches!(ended, Err(Error::DiskFull { .. })) {
            writer.rewrite = Some(rewrite);
        }
        ended
    }

    /// Copies about `bytes` bytes; whether all is copied.
    fn copy(&self, writer: &mut Writer, rewrite: &mut Rewrite, bytes: u64) -> Result<bool> {
        let mut done_bytes = 0;
        while let Some(&id) = rewrite.left.last() {
            if done_bytes >= bytes {
                return Ok(false);
            }
            let place = self.index.read().place(id).filter(|place| place.file == rewrite.no);
            if let Some(place) = place {
                done_bytes += entry_bytes(place.len);
                match self.copy_value(writer, id, place) {
                    Ok(to) => rewrite.copied.push((id, place, to)),
                    // VR2: whoever reads the value is told.
                    Err(Error::Corruption { .. }) => self.note_damage(rewrite.no),
                    Err(error) => return Err(error),
                }
            }
            rewrite.left.pop();
        }
        Ok(true)
    }

    fn copy_value(&self, writer: &mut Writer, id: u64, place: Place) -> Result<Place> {
        let file = self.index.read().file(place.file).expect("VS3: it holds a value");
        let mut head = [0; super::file::ENTRY_HEAD_BYTES];
        file.read_exact_at(&mut head, place.offset)?;
        let named = self.owner.decode_head(&head).filter(|named| named.id == id && named.len == place.len);
        let Some(named) = named else {
            return Err(file.corruption(place.offset, "a value is not the one that the manifest names"));
        };
        let value = self.owner.read(&file, place.offset, LargeRef { crc: named.crc, ..named })?;
        self.put(writer, named, &value)
    }

    fn note_damage(&self, no: u64) {
        if let Some(state) = self.index.write().state_mut(no) {
            state.is_damaged = true;
        }
    }

    /// Makes the moves durable, then says them.
    fn end_rewrite(&self, writer: &mut Writer, rewrite: &Rewrite) -> Result<()> {
        self.sync_values(writer)?;
        let index = self.index.read();
        let still_there = |&&(id, from, _): &&(u64, Place, Place)| index.place(id) == Some(from);
        let moves: Vec<(u64, Place)> = rewrite.copied.iter().filter(still_there).map(|&(id, _, to)| (id, to)).collect();
        drop(index);
        if mutant!("value_file_removed_before_moves") {
            let _ = self.vfs.remove_file(&self.dir.join(file_name(rewrite.no)));
            let _ = self.vfs.sync_dir(&self.dir);
        }
        if !moves.is_empty() {
            self.manifest(writer)?.append_moves(&moves)?;
        }
        let mut index = self.index.write();
        for &(id, from, to) in &rewrite.copied {
            // Dropped meanwhile, perhaps: then the copy is dead.
            match index.place(id) == Some(from) {
                true => index.insert(id, to),
                false => index.abandon(&to),
            }
        }
        Ok(())
    }

    /// VS3. What cannot be removed now is tried again, here or by the next open.
    fn remove_files(&self, writer: &mut Writer, is_thorough: bool) {
        let mut index = self.index.write();
        let may_go = |&(no, state): &(u64, &FileState)| self.may_go(writer, no, state, is_thorough);
        let empty: Vec<u64> = index.files().filter(may_go).map(|(no, _)| no).collect();
        for no in empty {
            index.remove_file(no);
            writer.appending = writer.appending.take().filter(|appending| appending.no != no);
            writer.garbage.push(self.dir.join(file_name(no)));
            let path = self.dir.join(file_name(no));
            writer.unsynced.retain(|file| file.path() != path);
        }
        drop(index);
        writer.garbage.retain(|path| match self.vfs.remove_file(path) {
            Ok(()) => false,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        });
    }

    /// VS3: whether nothing in a file counts or is going to. One that is appended to goes only if it is worth it.
    fn may_go(&self, writer: &Writer, no: u64, state: &FileState, is_thorough: bool) -> bool {
        let dead_bytes_min = if is_thorough { 1 } else { self.dead_bytes_min };
        let is_appended_to = writer.appending.as_ref().is_some_and(|appending| appending.no == no);
        state.live == 0
            && state.expected == 0
            && (!is_appended_to || state.dead_bytes() >= dead_bytes_min)
            && writer.rewrite.as_ref().is_none_or(|rewrite| rewrite.no != no)
    }
}
