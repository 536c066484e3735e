//! What a salvage reads out of damaged files, and the search for images where no parent can be asked.
//!
//! A salvage never trusts what it cannot check: an image counts when its checksum and its identity are right, wherever it was found. Which of several
//! versions of a key is the newest is decided by whoever takes them in, by their timestamps. Nothing here writes.
//!
//! Z1  Reading goes on behind everything unreadable; each such place is told once as a [`Loss`].
//! Z2  No error of the files ends a salvage, only one of whoever takes in.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::arena::Room;
use crate::backend::StoreEnv;
use crate::error::{Error, Result};
use crate::ids::{DbUuid, KeyspaceId, Timestamp};
use crate::image::{Body, IMAGE_BYTES_MAX, Identity, Image};
use crate::values::SalvagedValues;
use crate::vfs::{File, OpenMode, Vfs};

/// Bytes looked at together.
const WINDOW_BYTES: usize = 1 << 20;
const _: () = assert!(IMAGE_BYTES_MAX <= WINDOW_BYTES, "an image fits a window");
/// What is read by itself where a window cannot be.
const SECTOR_BYTES: usize = 4096;
/// An image announces itself in so many bytes.
const HEAD_BYTES: usize = 64;

/// Something that could not be read.
///
/// ```
/// use duramen_base::salvage::Loss;
/// let loss = Loss { keys: Some((b"a".to_vec(), b"m".to_vec())), ..Loss::new("tree.dat", 8192, "the checksum does not match") };
/// assert_eq!(loss.to_string(), "tree.dat at 8192: the checksum does not match; keys from \"a\" to \"m\" may be missing");
/// let error = duramen_base::Error::corruption("tree.dat", 8192, "the checksum does not match");
/// assert_eq!(Loss::of(&error, "tree.dat".as_ref(), 0), Loss { keys: None, ..loss });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// In which file, or folder.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// Which keys may be missing or older than they were: from the first to below the second (empty: to the end). `None`: not known.
    pub keys: Option<(Vec<u8>, Vec<u8>)>,
}

impl Loss {
    /// A loss of which it is not known what it held.
    pub fn new(file: impl Into<PathBuf>, offset: u64, what: impl Into<String>) -> Loss {
        Loss { file: file.into(), offset, what: what.into(), keys: None }
    }

    /// What `error` says about `file`, at `offset` unless it knows better.
    pub fn of(error: &Error, file: &Path, offset: u64) -> Loss {
        match error {
            Error::Corruption { file, offset, what } => Loss::new(file, *offset, *what),
            other => Loss::new(file, offset, other.to_string()),
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}: {}", self.file.display(), self.offset, self.what)?;
        match &self.keys {
            None => Ok(()),
            Some((low, high)) if high.is_empty() => {
                write!(f, "; keys from \"{}\" on may be missing", low.escape_ascii())
            }
            Some((low, high)) => {
                write!(f, "; keys from \"{}\" to \"{}\" may be missing", low.escape_ascii(), high.escape_ascii())
            }
        }
    }
}

/// Takes in what a store's files hold, in any order.
pub trait Salvage {
    /// A version of a key, `None`: deleted; `Timestamp::ZERO`: older than every other version.
    fn version(&mut self, key: &[u8], ts: Timestamp, value: Option<&[u8]>) -> Result<()>;
    /// Every version older than `ts` of the keys from `low` to below `high` (empty: to the end) was deleted.
    fn range_delete(&mut self, low: &[u8], high: &[u8], ts: Timestamp) -> Result<()>;
    /// Something could not be read (Z1).
    fn lost(&mut self, loss: Loss);
}

/// The folder of a store to be salvaged.
#[derive(Clone, Copy)]
pub struct StoreFiles<'a> {
    /// The file system.
    pub vfs: &'a dyn Vfs,
    /// The folder.
    pub dir: &'a Path,
    /// Whose store it is.
    pub keyspace: KeyspaceId,
    /// Which database; `None`: whichever.
    pub db_uuid: Option<DbUuid>,
}

impl<'a> StoreFiles<'a> {
    /// Those of a store that is in use.
    pub fn of(env: &'a StoreEnv) -> StoreFiles<'a> {
        StoreFiles { vfs: &*env.vfs, dir: &env.dir, keyspace: env.keyspace, db_uuid: Some(env.db_uuid) }
    }

    /// Opens the file `name` for reading.
    pub fn open(&self, name: &str) -> Result<File> {
        File::open(self.vfs, &self.dir.join(name), OpenMode::Read)
    }

    /// Whether a file that says it belongs to `db_uuid` is one of this database.
    pub fn is_ours(&self, db_uuid: DbUuid) -> bool {
        self.db_uuid.is_none_or(|ours| ours == db_uuid)
    }
}

/// Gives every version in a leaf or data block to `sink`, large values out of `values`.
pub fn give_versions(image: &Image, values: &SalvagedValues, sink: &mut dyn Salvage) -> Result<()> {
    let mut key = Vec::new();
    for index in 0..image.count() {
        image.key_into(index, &mut key);
        let record = image.record(index);
        give_version(&key, record.ts, record.body, values, sink)?;
    }
    for index in 0..image.hist_count() {
        image.hist_key_into(index, &mut key);
        let record = image.hist_record(index);
        give_version(&key, record.ts, record.body, values, sink)?;
    }
    Ok(())
}

/// A loss of all that the commit `ts` ingested, which was to be found by the list at `path`.
pub fn of_ingest(error: &Error, path: &Path, ts: Timestamp) -> Loss {
    let loss = Loss::of(error, path, 0);
    Loss { what: format!("{}: what commit {ts} ingested is lost", loss.what), ..loss }
}

/// Gives the values of a leaf or data block that an ingest wrote, whose records have no timestamps of their own.
pub fn give_ingested(image: &Image, ts: Timestamp, values: &SalvagedValues, sink: &mut dyn Salvage) -> Result<()> {
    let mut key = Vec::new();
    for index in 0..image.count() {
        image.key_into(index, &mut key);
        give_version(&key, ts, image.record(index).body, values, sink)?;
    }
    Ok(())
}

/// Gives one version; a large value that cannot be had is a loss of its key.
fn give_version(
    key: &[u8],
    ts: Timestamp,
    body: Body<'_>,
    values: &SalvagedValues,
    sink: &mut dyn Salvage,
) -> Result<()> {
    match body {
        Body::Value(value) => sink.version(key, ts, Some(value)),
        Body::Tombstone => sink.version(key, ts, None),
        Body::Large(large) => match values.read(large) {
            Ok(value) => sink.version(key, ts, Some(&value)),
            Err(error) => {
                let keys = Some((key.to_vec(), crate::memtable::successor(key)));
                sink.lost(Loss { keys, ..Loss::of(&error, Path::new("values"), 0) });
                Ok(())
            }
        },
    }
}

/// Walks through a file looking for whole images.
///
/// ```
/// use duramen_base::image::{Identity, ImageBuilder, ImageKind, ImageSpec};
/// use duramen_base::salvage::ImageSearch;
/// use duramen_base::vfs::{File, MemVfs, OpenMode};
/// let disk = MemVfs::new();
/// let file = File::open(&disk, "some.file".as_ref(), OpenMode::OpenOrCreate)?;
/// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 5, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
/// file.write_all_at(&ImageBuilder::raw(&spec, b"body").to_stored(1), 4096)?;
/// let mut search = ImageSearch::new(&file, 0..file.len()?, 4096);
/// let (at, image) = search.next(|found, _| found.self_id == 5).expect("it is there");
/// assert_eq!((at, image.raw_body()), (4096, &b"body"[..]));
/// assert!(search.next(|_, _| true).is_none());
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct ImageSearch<'f> {
    pieces: Pieces<'f>,
    at: u64,
    end: u64,
    step: u64,
    other: Option<OtherForm>,
}

/// How an image may be stored that is not stored as it is.
///
/// See [`ImageSearch::also`] for an example.
#[derive(Clone, Copy, Debug)]
pub struct OtherForm {
    /// Bytes of this form, if these may be the first of one; at most [`IMAGE_BYTES_MAX`].
    pub stored_len: fn(&[u8]) -> Option<usize>,
    /// The stored image in so many bytes.
    pub image: fn(&[u8]) -> Option<Room>,
}

impl<'f> ImageSearch<'f> {
    /// Looks in `range` of `file`, at every multiple of `step`, which is a power of two.
    pub fn new(file: &'f File, range: Range<u64>, step: u64) -> ImageSearch<'f> {
        debug_assert!(step.is_power_of_two(), "images lie at multiples of a power of two");
        ImageSearch { pieces: Pieces::of(file), at: range.start, end: range.end, step, other: None }
    }

    /// Also finds images that are stored in another form.
    ///
    /// ```
    /// use duramen_base::arena::Room;
    /// use duramen_base::image::{ImageBuilder, ImageKind, ImageSpec};
    /// use duramen_base::salvage::{ImageSearch, OtherForm};
    /// use duramen_base::vfs::{File, MemVfs, OpenMode};
    /// let disk = MemVfs::new();
    /// let file = File::open(&disk, "some.file".as_ref(), OpenMode::OpenOrCreate)?;
    /// let spec = ImageSpec { kind: ImageKind::Raw, self_id: 0, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    /// const STORED_BYTES: usize = 196;
    /// let mut stored = ImageBuilder::raw(&spec, b"body").to_stored(1);
    /// assert_eq!(stored.len(), STORED_BYTES);
    /// stored.reverse();
    /// file.write_all_at(&stored, 0)?;
    /// file.write_all_at(&[0; 100], stored.len() as u64)?;
    /// let backwards = OtherForm {
    ///     stored_len: |_head| Some(STORED_BYTES),
    ///     image: |bytes| Some(Room::copied(&bytes.iter().rev().copied().collect::<Vec<u8>>())),
    /// };
    /// let mut search = ImageSearch::new(&file, 0..file.len()?, 1).also(backwards);
    /// assert_eq!(search.next(|found, at| found.self_id == at).expect("it is there").1.raw_body(), b"body");
    /// assert_eq!(search.position(), STORED_BYTES as u64);
    /// # Ok::<(), duramen_base::Error>(())
    /// ```
    pub fn also(self, form: OtherForm) -> ImageSearch<'f> {
        ImageSearch { other: Some(form), ..self }
    }

    /// Where it looks next: behind the image found last. See [`ImageSearch::also`] for an example.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next whole image whose head says what `wanted` accepts of an image at this place, and where it begins.
    pub fn next(&mut self, wanted: impl Fn(&Identity, u64) -> bool) -> Option<(u64, Image)> {
        while self.at + (HEAD_BYTES as u64) < self.end {
            let at = self.at;
            let head = self.pieces.at(at, HEAD_BYTES).get(..HEAD_BYTES)?;
            let other = self.other.and_then(|form| Some((form, (form.stored_len)(head)?)));
            let found = Identity::of_head(head).filter(|identity| wanted(identity, at)).and_then(|identity| {
                let len = Image::stored_len(head).ok()?;
                Some((identity, len))
            });
            let image = found.and_then(|(identity, len)| {
                let bytes = self.pieces.at(at, len).get(..len)?;
                Some((Image::decode(Room::copied(bytes), &identity).ok()?, len))
            });
            let image = image.or_else(|| {
                let (form, len) = other?;
                let stored = (form.image)(self.pieces.at(at, len).get(..len)?)?;
                let head = stored.get(..HEAD_BYTES)?;
                let identity = Identity::of_head(head).filter(|identity| wanted(identity, at))?;
                Some((Image::decode(stored, &identity).ok()?, len))
            });
            match image {
                Some((image, len)) => {
                    self.at = (at + len as u64).next_multiple_of(self.step);
                    return Some((at, image));
                }
                None => self.at += self.step,
            }
        }
        None
    }
}

/// A file read piece by piece, so that a salvage takes the same memory however long it is: a window of it, zeros where it cannot be read.
///
/// ```
/// use duramen_base::salvage::Pieces;
/// use duramen_base::vfs::{File, MemVfs, OpenMode};
/// let file = File::open(&MemVfs::new(), "some.file".as_ref(), OpenMode::OpenOrCreate)?;
/// file.write_all_at(b"heartwood", 0)?;
/// let mut pieces = Pieces::of(&file);
/// assert_eq!(pieces.at(5, 100), b"wood", "fewer than asked for: to the end of the file");
/// assert_eq!(&pieces.at(0, 5)[..5], b"heart");
/// # Ok::<(), duramen_base::Error>(())
/// ```
pub struct Pieces<'f> {
    file: &'f File,
    start: u64,
    bytes: Vec<u8>,
    /// Whether the file ends with it.
    is_last: bool,
}

impl<'f> Pieces<'f> {
    /// Nothing of it is read yet.
    pub fn of(file: &'f File) -> Pieces<'f> {
        Pieces { file, start: 0, bytes: Vec::new(), is_last: false }
    }

    /// What begins at `at`: at least `len` bytes, which are at most a mebibyte, or all to the end of the file.
    pub fn at(&mut self, at: u64, len: usize) -> &[u8] {
        debug_assert!(len <= WINDOW_BYTES, "a window has no more");
        let end = self.start + self.bytes.len() as u64;
        let is_here = (self.start..=end).contains(&at) && (at.saturating_add(len as u64) <= end || self.is_last);
        if !is_here {
            (self.start, self.bytes) = (at, read_what_can_be(self.file, at, WINDOW_BYTES));
            self.is_last = self.bytes.len() < WINDOW_BYTES;
        }
        &self.bytes[(at - self.start) as usize..]
    }
}

/// Up to `len` bytes from `at`, zeros in place of sectors that cannot be read; fewer at the end of the file.
pub fn read_what_can_be(file: &File, at: u64, len: usize) -> Vec<u8> {
    let file_bytes = file.len().unwrap_or(u64::MAX);
    let len = len.min(usize::try_from(file_bytes.saturating_sub(at)).unwrap_or(usize::MAX));
    let mut bytes = vec![0; len];
    match file.read_up_to_at(&mut bytes, at) {
        Ok(got) => bytes.truncate(got),
        Err(_) => {
            for (index, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
                if file.read_exact_at(sector, at + (index * SECTOR_BYTES) as u64).is_err() {
                    sector.fill(0);
                }
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageBuilder, ImageKind, ImageSpec};
    use crate::vfs::MemVfs;

    fn image(self_id: u64, body: &[u8]) -> Vec<u8> {
        let spec = ImageSpec { kind: ImageKind::Raw, self_id, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
        ImageBuilder::raw(&spec, body).to_stored(3)
    }

    #[test]
    fn images_behind_a_damaged_one_are_found_at_any_byte() {
        let disk = MemVfs::new();
        let file = File::open(&disk, "table".as_ref(), OpenMode::OpenOrCreate).unwrap();
        let mut bytes = vec![9; 61];
        let mut starts = Vec::new();
        for body in [&b"a"[..], b"damaged", b"the third"] {
            starts.push(bytes.len() as u64);
            bytes.extend(image(bytes.len() as u64, body));
            bytes.push(7);
        }
        bytes[starts[1] as usize + 150] ^= 1;
        file.write_all_at(&bytes, 0).unwrap();
        let mut search = ImageSearch::new(&file, 0..file.len().unwrap(), 1);
        let mut found = Vec::new();
        while let Some((at, image)) = search.next(|identity, at| identity.self_id == at) {
            found.push((at, image.raw_body().to_vec()));
        }
        assert_eq!(found, [(starts[0], b"a".to_vec()), (starts[2], b"the third".to_vec())]);
    }
}
