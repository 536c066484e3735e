//! The values of an ingest: written before a commit names them, said to the manifest when the tree does.
//!
//! ```text
//!   append, sync ─► the list has what is to be added ─► (commit: in memory) ─► added with the switch that brings tables or leaves into the tree
//!     └─(dropped)─► given up            └─(crash)─► claimed: on the way again, but for what a durable switch has added already
//! ```
//! No edit of the manifest could belong to them before: they belong to a switch that is still far away.
//!
//! VG1  A list is durable after the values that it names, and the names of their files.
//! VG2  While a list is there, nothing that it names was dropped by a durable switch. So what is claimed counts already, or was never added.

use std::collections::BTreeSet;

use super::file::{entry_bytes, file_name};
use super::manifest::{put_places, take_places};
use super::{LargeRef, Place, ValueChanges, ValueStore, Writer};
use crate::error::{Error, Result};
use crate::framed::FILE_HEADER_BYTES;
use crate::mutant;

/// Bytes that an ingest appends between two syncs: whoever waits for the latch of the writer waits for no more than that.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

impl ValueChanges {
    /// Memory that they take, about.
    pub fn memory_bytes(&self) -> u64 {
        (self.added.capacity() * size_of::<(u64, Place)>() + self.dropped.capacity() * size_of::<u64>()) as u64
    }

    /// Appends what they add to `out`, as the list of an ingest has it.
    ///
    /// ```
    /// use duramen_base::values::ValueChanges;
    /// let mut list = Vec::new();
    /// ValueChanges::default().encode_added(&mut list);
    /// list.extend(b"tables");
    /// let mut rest = &list[..];
    /// assert!(ValueChanges::take_added(&mut rest).is_some_and(|added| added.is_empty()));
    /// assert_eq!(rest, b"tables");
    /// ```
    pub fn encode_added(&self, out: &mut Vec<u8>) {
        put_places(out, &self.added);
    }

    /// Takes off the front of `bytes` what [`ValueChanges::encode_added`] put there; `None`: it is nothing of that kind. Total.
    pub fn take_added(bytes: &mut &[u8]) -> Option<ValueChanges> {
        let added = take_places(bytes)?;
        let is_possible = |(_, place): &(u64, Place)| {
            place.offset >= FILE_HEADER_BYTES as u64 && place.offset.checked_add(entry_bytes(place.len)).is_some()
        };
        added.iter().all(is_possible).then_some(ValueChanges { added, dropped: Vec::new() })
    }
}

impl ValueStore {
    /// Appends a value of an ingest: as [`ValueStore::append`], and synced now and then. `unsynced_bytes`: begin with zero.
    ///
    /// # Errors
    /// As [`ValueStore::append`]; after one other than `DiskFull` nothing may be written any more.
    pub fn append_ingested(
        &self,
        value: &[u8],
        changes: &mut ValueChanges,
        unsynced_bytes: &mut u64,
    ) -> Result<LargeRef> {
        let large = self.append(value, changes)?;
        *unsynced_bytes += u64::from(large.len);
        if *unsynced_bytes >= UNSYNCED_BYTES_MAX {
            self.sync()?;
            *unsynced_bytes = 0;
        }
        Ok(large)
    }

    /// Takes note of what the list of an ingest names that a record of the log leads to (VS6); before anything is written or removed. What the tree is to
    /// add when it names them: what a durable switch has added already is left out (VG2). Files are not looked into: who reads is told.
    ///
    /// # Errors
    /// `Corruption`: a value is named twice; `Io`.
    pub fn claim(&self, listed: ValueChanges) -> Result<ValueChanges> {
        let mut writer = self.writer.lock();
        let is_new = |(id, _): &(u64, Place)| self.index.read().place(*id).is_none();
        let added: Vec<(u64, Place)> = listed.added.into_iter().filter(is_new).collect();
        let files: BTreeSet<u64> = added.iter().map(|(_, place)| place.file).collect();
        for no in files {
            self.claim_file(&mut writer, no)?;
        }
        writer.next_id = added.iter().map(|(id, _)| id.saturating_add(1)).fold(writer.next_id, u64::max);
        let mut index = self.index.write();
        for &(id, place) in &added {
            if index.place_of_any(id).is_some() {
                return Err(Error::corruption(&self.dir, 0, "lists of ingests name a value twice"));
            }
            index.claim(id, place);
        }
        Ok(ValueChanges { added, dropped: Vec::new() })
    }

    fn claim_file(&self, writer: &mut Writer, no: u64) -> Result<()> {
        if self.index.read().files().any(|(known, _)| known == no) {
            return Ok(());
        }
        let (file, bytes) = match self.owner.open(&*self.vfs, &self.dir, no) {
            Ok(file) => {
                let bytes = file.len()?;
                (Some(file), bytes)
            }
            // Whoever reads a value in it is told.
            Err(Error::Corruption { .. } | Error::UnsupportedFormat { .. }) => (None, FILE_HEADER_BYTES as u64),
            Err(error) => return Err(error),
        };
        writer.next_file = writer.next_file.max(no.saturating_add(1));
        if !mutant!("claimed_values_removed") {
            let path = self.dir.join(file_name(no));
            writer.garbage.retain(|garbage| *garbage != path);
        }
        self.index.write().add_file(no, file, bytes);
        Ok(())
    }

    /// A page of the tree is to name a value that was on its way: the change to that page adds it, unless a switch has.
    pub fn adopt(&self, value: LargeRef, changes: &mut ValueChanges) {
        changes.added.extend(self.index.read().pending(value.id).map(|place| (value.id, place)));
    }
}
