//! Checking the values of a keyspace against the tree that names them.
//!
//! What there is, is noted at one moment, together with what the tree is then; the rest may take its time: files that go meanwhile stay readable.

use std::collections::HashMap;

use super::{LargeRef, Place, ValueStore, manifest};
use crate::backend::{VerifyLevel, VerifyReport};
use crate::error::{Error, Result};
use crate::framed::FILE_HEADER_BYTES;
use crate::values::file::{entry_bytes, file_name};
use crate::vfs::File;

/// The values at one moment.
#[derive(Debug)]
pub struct CapturedValues<'a> {
    store: &'a ValueStore,
    places: Vec<(u64, Place)>,
    /// Values that do not count yet.
    pending: HashMap<u64, Place>,
    files: HashMap<u64, Option<File>>,
}

impl ValueStore {
    /// What there is now. The caller sees to it that no switch of the tree comes between this and its look at the tree.
    pub fn capture(&self) -> CapturedValues<'_> {
        let index = self.index.read();
        let files = index.files().map(|(no, state)| (no, state.file.clone())).collect();
        CapturedValues { store: self, places: index.places(), pending: index.all_pending(), files }
    }
}

impl CapturedValues<'_> {
    /// Checks files and space, and, as [`VerifyLevel::Full`], every value, and that `named`, what the tree names, are these values, each once. With
    /// `named` unknown, that is left out. Damage goes into the report.
    ///
    /// # Errors
    /// What is no damage and keeps from looking.
    pub fn check(&self, level: VerifyLevel, named: Option<&[LargeRef]>, report: &mut VerifyReport) -> Result<()> {
        self.check_current(report)?;
        self.check_files(report)?;
        self.check_space(report);
        if level == VerifyLevel::Full
            && let Some(named) = named
        {
            self.check_named(named, report)?;
        }
        Ok(())
    }

    /// Checks every value that an ingest names which is not in the tree yet, or not wholly. Damage goes into the report.
    ///
    /// # Errors
    /// What is no damage and keeps from looking.
    pub fn check_ingested(&self, named: &[LargeRef], report: &mut VerifyReport) -> Result<()> {
        if named.is_empty() {
            return Ok(());
        }
        let counting: HashMap<u64, Place> = self.places.iter().copied().collect();
        for &value in named {
            report.pages += 1;
            match self.pending.get(&value.id).or_else(|| counting.get(&value.id)) {
                Some(place) => self.check_value(value, place, report)?,
                None => report.problem(&self.store.dir, 0, format!("value {} of an ingest is not there", value.id)),
            }
        }
        Ok(())
    }

    fn check_value(&self, value: LargeRef, place: &Place, report: &mut VerifyReport) -> Result<()> {
        // A file that is missing was reported.
        if let Some(Some(file)) = self.files.get(&place.file) {
            noted(self.store.owner.read(file, place.offset, value), report)?;
        }
        Ok(())
    }

    fn check_current(&self, report: &mut VerifyReport) -> Result<()> {
        let ours = self.store.writer.lock().manifest.as_ref().map(|manifest| manifest.number());
        let named = noted(manifest::current(&*self.store.vfs, &self.store.dir), report)?;
        if let Some(named) = named
            && named.map(|(number, _)| number) != ours
        {
            report.problem(self.store.dir.join("CURRENT"), 0, "does not name the manifest of values in use");
        }
        Ok(())
    }

    fn check_files(&self, report: &mut VerifyReport) -> Result<()> {
        for (&no, file) in &self.files {
            report.pages += 1;
            if file.is_none() {
                noted(self.store.owner.open(&*self.store.vfs, &self.store.dir, no), report)?;
            }
        }
        Ok(())
    }

    fn check_space(&self, report: &mut VerifyReport) {
        let mut places: Vec<&Place> = self.places.iter().map(|(_, place)| place).collect();
        places.sort_unstable_by_key(|place| (place.file, place.offset));
        let (mut file, mut end) = (0, 0);
        for place in places {
            if place.file != file {
                (file, end) = (place.file, FILE_HEADER_BYTES as u64);
            }
            if place.offset < end {
                report.problem(self.store.dir.join(file_name(file)), place.offset, "values overlap");
            }
            end = place.offset.saturating_add(entry_bytes(place.len));
        }
    }

    fn check_named(&self, named: &[LargeRef], report: &mut VerifyReport) -> Result<()> {
        let mut left: HashMap<u64, Place> = self.places.iter().copied().collect();
        for &value in named {
            report.pages += 1;
            let Some(place) = left.remove(&value.id) else {
                report.problem(&self.store.dir, 0, format!("value {} is named twice, or is not there", value.id));
                continue;
            };
            self.check_value(value, &place, report)?;
        }
        for (id, place) in left {
            let path = self.store.dir.join(file_name(place.file));
            report.problem(path, place.offset, format!("no key names value {id}"));
        }
        Ok(())
    }
}

/// Damage as a note in the report, other errors as errors.
fn noted<T>(outcome: Result<T>, report: &mut VerifyReport) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Error::Corruption { file, offset, what }) => {
            report.problem(file, offset, what);
            Ok(None)
        }
        Err(Error::UnsupportedFormat { ref file, what, .. }) => {
            report.problem(file.clone(), 0, format!("unknown {what}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
