//! The manifest of the value files: which value lies where. `MANIFEST-<n>` in the folder `values`, a framed file; `CURRENT` names the one that counts.
//!
//! On disk: Value manifest (value_manifest.hex)
//!
//! ```text
//!   file header: magic DURVALMF, format 1, ks_id, number = n
//!   frame kind 1  Snapshot       varint no, varint next_no, varint next_id, places   the first frame: everything, as of the edit `no`
//!              2  SnapshotMore   places                                             more of it
//!              3  Edit           varint no, varint before, places, ids              values added, values dropped, on top of the edit `before`
//!              4  EditMore       varint no, places, ids                             more of the edit before it
//!              5  Moves          moves                                              values that lie elsewhere now
//!
//!   places := varint n, { varint id, varint file, varint offset, varint len }*
//!   ids    := varint n, { varint id }*
//!   moves  := varint n, { varint id, varint file, varint offset }*
//! ```
//! VM1  The superblock or manifest of the tree holds the number of an edit. It counts, and the one that it lies on top of, and so on down to the snapshot;
//!      others belong to switches of the tree that did not come to pass. Numbers ascend from frame to frame and are never given twice.
//! VM2  Moves count whatever the tree says; one of a value that is not there says nothing.

use std::collections::HashMap;
use std::path::Path;

use super::Place;
use crate::error::{Error, IoOp, Result};
use crate::framed::{FileHeader, FramedFile, Known, read_current, switch_current};
use crate::varint;
use crate::vfs::Vfs;

/// What this version knows of manifests of values. On disk. Never renumber.
const MANIFEST_KNOWN: Known = Known { magic: *b"DURVALMF", format: 1, read_features: 0, write_features: 0 };

/// Values in one frame.
const FRAME_VALUES_MAX: usize = 1 << 17;

/// What a frame is. On disk. Never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum FrameKind {
    Snapshot = 1,
    SnapshotMore = 2,
    Edit = 3,
    EditMore = 4,
    Moves = 5,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        use FrameKind::{Edit, EditMore, Moves, Snapshot, SnapshotMore};
        [Snapshot, SnapshotMore, Edit, EditMore, Moves].into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// A frame, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    no: u64,
    /// What it lies on top of; of a snapshot, the number that is free.
    other_no: u64,
    next_id: u64,
    places: Vec<(u64, Place)>,
    ids: Vec<u64>,
}

/// The file of manifest `number`.
pub(super) fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number}")
}

/// The number in a manifest's name, if it is exactly what [`manifest_name`] gives.
pub(super) fn manifest_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("MANIFEST-")?.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

pub(super) fn put_places(out: &mut Vec<u8>, places: &[(u64, Place)]) {
    varint::put(out, places.len() as u64);
    for (id, place) in places {
        [*id, place.file, place.offset, u64::from(place.len)].into_iter().for_each(|number| varint::put(out, number));
    }
}

fn put_ids(out: &mut Vec<u8>, ids: &[u64]) {
    varint::put(out, ids.len() as u64);
    ids.iter().for_each(|&id| varint::put(out, id));
}

fn put_moves(out: &mut Vec<u8>, moves: &[(u64, Place)]) {
    varint::put(out, moves.len() as u64);
    for (id, place) in moves {
        [*id, place.file, place.offset].into_iter().for_each(|number| varint::put(out, number));
    }
}

/// A list of things that each take at least `bytes_min`, so that no length is believed that the bytes cannot hold.
fn take_list<T>(bytes: &mut &[u8], bytes_min: u64, mut take: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = varint::take(bytes)?;
    if count.checked_mul(bytes_min)? > bytes.len() as u64 {
        return None;
    }
    (0..count).map(|_| take(bytes)).collect()
}

pub(super) fn take_places(bytes: &mut &[u8]) -> Option<Vec<(u64, Place)>> {
    take_list(bytes, 4, |bytes| {
        let (id, file, offset) = (varint::take(bytes)?, varint::take(bytes)?, varint::take(bytes)?);
        Some((id, Place { file, offset, len: u32::try_from(varint::take(bytes)?).ok()? }))
    })
}

fn take_moves(bytes: &mut &[u8]) -> Option<Vec<(u64, Place)>> {
    take_list(bytes, 3, |bytes| {
        let (id, file, offset) = (varint::take(bytes)?, varint::take(bytes)?, varint::take(bytes)?);
        Some((id, Place { file, offset, len: 0 }))
    })
}

impl Frame {
    /// The payload of a frame; `None` if it is damaged. Total.
    fn decode(kind: FrameKind, mut bytes: &[u8]) -> Option<Frame> {
        let mut frame = Frame::default();
        let rest = &mut bytes;
        if matches!(kind, FrameKind::Snapshot | FrameKind::Edit | FrameKind::EditMore) {
            frame.no = varint::take(rest)?;
        }
        if matches!(kind, FrameKind::Snapshot | FrameKind::Edit) {
            frame.other_no = varint::take(rest)?;
        }
        match kind {
            FrameKind::Snapshot => {
                frame.next_id = varint::take(rest)?;
                frame.places = take_places(rest)?;
            }
            FrameKind::SnapshotMore => frame.places = take_places(rest)?,
            FrameKind::Edit | FrameKind::EditMore => {
                frame.places = take_places(rest)?;
                frame.ids = take_list(rest, 1, varint::take)?;
            }
            FrameKind::Moves => frame.places = take_moves(rest)?,
        }
        bytes.is_empty().then_some(frame)
    }
}

/// Where every value lies, as a manifest says.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) places: HashMap<u64, Place>,
    /// Numbers from here on were never given to a value.
    pub(super) next_id: u64,
    /// The edit that the tree holds.
    pub(super) no: u64,
    /// Numbers from here on were never given to an edit.
    pub(super) next_no: u64,
    /// The greatest number of a file that any frame names.
    pub(super) file_max: u64,
}

/// Frames of a manifest, until it is known which of them count.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    frames: Vec<(FrameKind, Frame)>,
    next_no: u64,
}

impl Replay {
    /// Takes the next frame in; the fault, if it cannot follow.
    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), &'static str> {
        let kind = FrameKind::from_byte(kind).ok_or("a frame of unknown kind in the manifest of values")?;
        let frame = Frame::decode(kind, payload).ok_or("a frame of the manifest of values cannot be read")?;
        let last = self.frames.last();
        let follows = match (kind, last) {
            (FrameKind::Snapshot, last) => last.is_none() && frame.no < frame.other_no,
            (FrameKind::SnapshotMore, Some((FrameKind::Snapshot | FrameKind::SnapshotMore, _))) => true,
            (FrameKind::SnapshotMore, _) => false,
            (FrameKind::Edit, last) => last.is_some() && frame.no >= self.next_no && frame.other_no < frame.no,
            (FrameKind::EditMore, Some((FrameKind::Edit | FrameKind::EditMore, before))) => before.no == frame.no,
            (FrameKind::EditMore, _) => false,
            (FrameKind::Moves, last) => last.is_some(),
        };
        let next_no = match kind {
            FrameKind::Snapshot => Some(frame.other_no),
            FrameKind::Edit => frame.no.checked_add(1),
            FrameKind::SnapshotMore | FrameKind::EditMore | FrameKind::Moves => Some(self.next_no),
        };
        let Some(next_no) = next_no.filter(|_| follows) else {
            return Err("a frame of the manifest of values is out of order");
        };
        self.next_no = next_no;
        self.frames.push((kind, frame));
        Ok(())
    }

    /// What counts for a tree that holds the number `no` (VM1).
    pub(super) fn finish(self, no: u64) -> Result<Listed, &'static str> {
        let counts = self.counting(no)?;
        let mut listed = Listed { no, next_no: self.next_no, ..Listed::default() };
        for ((kind, frame), counts) in self.frames.iter().zip(counts) {
            listed.note_numbers(frame);
            match kind {
                FrameKind::Snapshot | FrameKind::SnapshotMore => listed.add(frame)?,
                FrameKind::Edit | FrameKind::EditMore if counts => {
                    listed.add(frame)?;
                    listed.drop_ids(frame)?;
                }
                FrameKind::Edit | FrameKind::EditMore => {}
                FrameKind::Moves => listed.move_values(frame),
            }
        }
        Ok(listed)
    }

    /// Everything that was ever added, for when nobody knows what the tree holds.
    pub(super) fn all(self) -> HashMap<u64, Place> {
        let mut listed = Listed::default();
        for (kind, frame) in &self.frames {
            match kind {
                FrameKind::Moves => listed.move_values(frame),
                _ => listed.places.extend(frame.places.iter().copied()),
            }
        }
        listed.places
    }

    /// Which frames count.
    fn counting(&self, no: u64) -> Result<Vec<bool>, &'static str> {
        let mut counts = vec![true; self.frames.len()];
        let mut wanted = no;
        for (index, (kind, frame)) in self.frames.iter().enumerate().rev() {
            match kind {
                FrameKind::Edit => {
                    counts[index] = frame.no == wanted;
                    if counts[index] {
                        wanted = frame.other_no;
                    }
                }
                FrameKind::EditMore => counts[index] = frame.no == wanted,
                FrameKind::Snapshot if frame.no != wanted => {
                    return Err("the tree holds the number of an edit that its manifest of values has not");
                }
                FrameKind::Snapshot | FrameKind::SnapshotMore | FrameKind::Moves => {}
            }
        }
        if self.frames.is_empty() { Err("a manifest of values without a snapshot") } else { Ok(counts) }
    }
}

impl Listed {
    fn note_numbers(&mut self, frame: &Frame) {
        self.next_id = self.next_id.max(frame.next_id);
        for (id, place) in &frame.places {
            self.next_id = self.next_id.max(id.saturating_add(1));
            self.file_max = self.file_max.max(place.file);
        }
    }

    fn add(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let are_new = frame.places.iter().all(|&(id, place)| self.places.insert(id, place).is_none());
        if are_new { Ok(()) } else { Err("the manifest of values adds one twice") }
    }

    fn drop_ids(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let were_there = frame.ids.iter().all(|id| self.places.remove(id).is_some());
        if were_there { Ok(()) } else { Err("the manifest of values drops one that is not there") }
    }

    fn move_values(&mut self, frame: &Frame) {
        for (id, to) in &frame.places {
            if let Some(place) = self.places.get_mut(id) {
                *place = Place { len: place.len, ..*to };
            }
        }
    }
}

/// The manifest that counts.
#[derive(Debug)]
pub(super) struct Manifest {
    number: u64,
    file: FramedFile,
    /// Bytes of its snapshot: it is written anew when the edits outweigh it.
    snapshot_bytes: u64,
}

impl Manifest {
    /// Writes manifest `number` with these values, and makes it the one that counts.
    ///
    /// `DiskFull`: everything is as it was. After any other error nobody knows which manifest counts.
    pub(super) fn create(
        vfs: &dyn Vfs,
        dir: &Path,
        owner: super::Owner,
        number: u64,
        (no, next_no, next_id): (u64, u64, u64),
        places: &[(u64, Place)],
    ) -> Result<Manifest> {
        let name = manifest_name(number);
        let header = FileHeader::new(&MANIFEST_KNOWN, owner.db_uuid, owner.keyspace.get(), number);
        let mut file = FramedFile::create(vfs, &dir.join(&name), &header)?;
        let mut first = Vec::new();
        [no, next_no, next_id].into_iter().for_each(|number| varint::put(&mut first, number));
        let (head, rest) = places.split_at(places.len().min(FRAME_VALUES_MAX));
        put_places(&mut first, head);
        file.append(FrameKind::Snapshot as u8, &first)?;
        for places in rest.chunks(FRAME_VALUES_MAX) {
            let mut more = Vec::new();
            put_places(&mut more, places);
            file.append(FrameKind::SnapshotMore as u8, &more)?;
        }
        file.sync().map_err(not_again)?;
        sync_dir(vfs, dir)?;
        let before = read_current(vfs, dir);
        if let Err(error) = switch_current(vfs, dir, &name) {
            // Without space the text beside may not have been written; then the old name stands as firmly as before.
            let untouched = matches!(error, Error::DiskFull { .. })
                && matches!((before, read_current(vfs, dir)), (Ok(old), Ok(now)) if old == now);
            return Err(if untouched { error } else { not_again(error) });
        }
        let snapshot_bytes = file.len();
        Ok(Manifest { number, file, snapshot_bytes })
    }

    /// Opens the manifest that `CURRENT` names; `None` if there is no `CURRENT`.
    pub(super) fn open(vfs: &dyn Vfs, dir: &Path, owner: super::Owner) -> Result<Option<(Manifest, Replay)>> {
        let Some((number, name)) = current(vfs, dir)? else { return Ok(None) };
        let path = dir.join(&name);
        let mut replay = Replay::default();
        let frame =
            |kind, payload: &[u8]| replay.frame(kind, payload).map_err(|what| Error::corruption(&path, 0, what));
        let (file, header, _) =
            FramedFile::open(vfs, &path, &MANIFEST_KNOWN, frame).map_err(|error| if_missing(error, &path))?;
        if (header.db_uuid, header.ks_id, header.number) != (owner.db_uuid, owner.keyspace.get(), number) {
            return Err(Error::corruption(&path, 0, "a manifest of values of another database, keyspace or number"));
        }
        let snapshot_bytes = file.len();
        Ok(Some((Manifest { number, file, snapshot_bytes }, replay)))
    }

    /// Its number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Appends the edit `no` on top of `before` and syncs it. `DiskFull`: it may be tried again, under another number.
    pub(super) fn append_edit(
        &mut self,
        (no, before): (u64, u64),
        added: &[(u64, Place)],
        dropped: &[u64],
    ) -> Result<()> {
        let frames = added.len().max(dropped.len()).div_ceil(FRAME_VALUES_MAX).max(1);
        let part =
            |index: usize, len: usize| (index * FRAME_VALUES_MAX).min(len)..((index + 1) * FRAME_VALUES_MAX).min(len);
        for index in 0..frames {
            let mut payload = Vec::new();
            varint::put(&mut payload, no);
            if index == 0 {
                varint::put(&mut payload, before);
            }
            put_places(&mut payload, &added[part(index, added.len())]);
            put_ids(&mut payload, &dropped[part(index, dropped.len())]);
            let kind = if index == 0 { FrameKind::Edit } else { FrameKind::EditMore };
            self.file.append(kind as u8, &payload)?;
        }
        self.file.sync().map_err(not_again)
    }

    /// Appends where values lie now and syncs it.
    pub(super) fn append_moves(&mut self, moves: &[(u64, Place)]) -> Result<()> {
        for moves in moves.chunks(FRAME_VALUES_MAX) {
            let mut payload = Vec::new();
            put_moves(&mut payload, moves);
            self.file.append(FrameKind::Moves as u8, &payload)?;
        }
        self.file.sync().map_err(not_again)
    }

    /// Whether it should be written anew.
    pub(super) fn has_grown(&self, bytes_max: u64) -> bool {
        self.file.len() > bytes_max.max(2 * self.snapshot_bytes)
    }
}

/// What the manifest in `dir` says, without writing anything; and who it says it belongs to.
pub(super) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<(FileHeader, Replay)>> {
    let Some((_, name)) = current(vfs, dir)? else { return Ok(None) };
    let path = dir.join(&name);
    let mut replay = Replay::default();
    let frame = |kind, payload: &[u8]| replay.frame(kind, payload).map_err(|what| Error::corruption(&path, 0, what));
    let (header, _) = FramedFile::read(vfs, &path, &MANIFEST_KNOWN, frame).map_err(|error| if_missing(error, &path))?;
    Ok(Some((header, replay)))
}

/// Number and name that `CURRENT` holds.
pub(super) fn current(vfs: &dyn Vfs, dir: &Path) -> Result<Option<(u64, String)>> {
    let Some(name) = read_current(vfs, dir)? else { return Ok(None) };
    match manifest_number(&name) {
        Some(number) => Ok(Some((number, name))),
        None => Err(Error::corruption(dir.join("CURRENT"), 0, "CURRENT names no manifest")),
    }
}

fn if_missing(error: Error, path: &Path) -> Error {
    match error {
        Error::Io { op: IoOp::Open, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::corruption(path, 0, "the manifest of values that CURRENT names is missing")
        }
        other => other,
    }
}

/// Makes names in a folder durable.
pub(super) fn sync_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    vfs.sync_dir(dir).map_err(|source| not_again(Error::from_io(IoOp::SyncDir, dir, source)))
}

/// The error of a call that must not be tried again, whatever the cause: a lack of space would otherwise read as "try again".
pub(super) fn not_again(error: Error) -> Error {
    match error {
        Error::DiskFull { .. } => Error::Poisoned { cause: std::sync::Arc::new(error) },
        other => other,
    }
}

/// Frames given one by one: whether they are accepted, without a panic.
#[cfg(test)]
pub(super) fn accepts(frames: &[(u8, Vec<u8>)], no: u64) -> bool {
    let mut replay = Replay::default();
    frames.iter().all(|(kind, payload)| replay.frame(*kind, payload).is_ok()) && replay.finish(no).is_ok()
}

/// For fuzzing: whether the manifest `1` in this folder is accepted, for any edit that the tree might hold.
#[cfg(any(test, feature = "testing"))]
pub(super) fn accepts_file(vfs: &dyn Vfs, path: &Path) -> bool {
    let read = || {
        let mut replay = Replay::default();
        let frame = |kind, payload: &[u8]| replay.frame(kind, payload).map_err(|what| Error::corruption(path, 0, what));
        FramedFile::read(vfs, path, &MANIFEST_KNOWN, frame).map(|_| replay)
    };
    let Ok(first) = read() else { return false };
    let last = first.next_no.saturating_sub(1);
    let places = first.all();
    let Ok(listed) = read().expect("it was read once").finish(last) else { return false };
    assert!(listed.places.keys().all(|id| places.contains_key(id)), "what counts was added once");
    true
}

/// For fuzzing: makes the checksums of the frames right.
#[cfg(any(test, feature = "testing"))]
pub(super) fn reseal(bytes: &mut [u8], dice: u64) {
    if let Ok(header) = FileHeader::decode(bytes, Path::new("file"), &MANIFEST_KNOWN) {
        crate::framed::reseal_frames(&header, bytes, dice);
    }
}
