//! What a fuzz driver needs of a decoder: valid inputs, how checksums are made right, and what must hold of any input.
//!
//! Each crate with decoders has a `fuzz` module that lists its own; the driver (the program `fuzz` of the tests) changes the inputs. A
//! decoder is total: any bytes give content or an error, without a panic and without memory beyond what the input can hold.

use std::path::Path;
use std::sync::Arc;

use crate::framed::{FILE_HEADER_BYTES, FileHeader, FramedFile, Known, Tail, read_current, reseal_frames};
use crate::golden;
use crate::image::{Identity, Image, ImageKind, Lookup};
use crate::vfs::{File, MemVfs, OpenMode};
use crate::{Batch, BatchView, DbUuid, IngestRecord, Timestamp};

/// A decoder under test.
///
/// ```
/// let target = duramen_base::fuzz::targets().into_iter().find(|target| target.name == "batch").expect("listed");
/// assert!(target.corpus.iter().all(|valid| (target.check)(valid)));
/// assert!(!(target.check)(b"\xff\xff"));
/// ```
pub struct Target {
    /// Names it on the command line.
    pub name: &'static str,
    /// Inputs that are accepted.
    pub corpus: Vec<Vec<u8>>,
    /// Makes checksums, and by the dice lengths, right again, so that a change gets behind them.
    pub reseal: fn(&mut [u8], u64),
    /// Decodes; whether the input was accepted. Panics if something does not hold, as what is encoded again being the same.
    pub check: fn(&[u8]) -> bool,
}

/// For formats without a checksum.
pub fn nothing_to_seal(_bytes: &mut [u8], _dice: u64) {}

/// Writes the CRC-32 of `bytes[..at]` to `at`, if there is room for it.
pub fn seal_at(bytes: &mut [u8], at: usize) {
    if bytes.len() >= at + 4 {
        let crc = crc32fast::hash(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

fn seal_header(bytes: &mut [u8]) {
    seal_at(bytes, FILE_HEADER_BYTES - 4);
}

fn check_list(bytes: &[u8]) -> bool {
    let Ok((header, values, part)) = crate::ingest::decode_list("file".as_ref(), bytes) else { return false };
    let mut again = header.encode().to_vec();
    if header.format > 1 {
        values.encode_added(&mut again);
    }
    assert!(again.len() + part.len() <= bytes.len() && bytes.ends_with(&part), "nothing is made up");
    true
}

/// The decoders of this crate.
pub fn targets() -> Vec<Target> {
    let [leaf, refers, inner, raw] = [
        include_str!("../tests/golden/page-image.leaf.hex"),
        include_str!("../tests/golden/page-image.refers.hex"),
        include_str!("../tests/golden/page-image.inner.hex"),
        include_str!("../tests/golden/page-image.raw.hex"),
    ]
    .map(golden::bytes);
    let header = golden::bytes(include_str!("../tests/golden/file-header.hex"));
    let frames = golden::bytes(include_str!("../tests/golden/frame.hex"));
    let batch = golden::bytes(include_str!("../tests/golden/operation-batch.hex"));
    let current = golden::bytes(include_str!("../tests/golden/current.hex"));
    let ingest = golden::bytes(include_str!("../tests/golden/ingest_record.hex"));
    let lists = [include_str!("../tests/golden/ingest_list.hex"), include_str!("../tests/golden/ingest_list.2.hex")]
        .map(golden::bytes);
    let mut targets = vec![
        Target { name: "batch", corpus: vec![batch], reseal: nothing_to_seal, check: check_batch },
        Target { name: "image", corpus: vec![leaf, refers, inner, raw], reseal: reseal_image, check: check_image },
        Target {
            name: "file-header",
            corpus: vec![header.clone()],
            reseal: |bytes, _| seal_header(bytes),
            check: check_header,
        },
        Target {
            name: "framed-file",
            corpus: vec![header.clone(), [header, frames].concat()],
            reseal: reseal_framed,
            check: check_framed,
        },
        Target {
            name: "ingest-list",
            corpus: lists.to_vec(),
            reseal: |bytes, _| seal_header(bytes),
            check: check_list,
        },
        Target { name: "ingest-record", corpus: vec![ingest], reseal: nothing_to_seal, check: check_ingest },
        Target { name: "current", corpus: vec![current], reseal: nothing_to_seal, check: check_current },
    ];
    targets.extend(crate::values::fuzz::targets());
    targets
}

fn check_ingest(bytes: &[u8]) -> bool {
    let Some(record) = IngestRecord::decode(bytes) else { return false };
    assert_eq!(record.encode()[..], *bytes);
    true
}

fn check_batch(bytes: &[u8]) -> bool {
    let Some(view) = BatchView::parse(bytes) else { return false };
    let mut again = Batch::new();
    for section in view.sections() {
        assert_eq!(section.iter().count(), section.len());
        again.section(section.keyspace(), section.iter());
    }
    let view_again = BatchView::parse(again.bytes()).expect("B1: what was accepted keeps the rules");
    let same = view.sections().zip(view_again.sections()).all(|(one, other)| one.iter().eq(other.iter()));
    assert!(same && view.sections().count() == view_again.sections().count());
    true
}

/// The identity that the bytes claim, so that a changed claim does not hide what else is wrong.
pub fn claimed(bytes: &[u8]) -> Identity {
    let field = |range: std::ops::Range<usize>| {
        bytes.get(range).unwrap_or_default().iter().rev().fold(0, |number: u64, &byte| number << 8 | u64::from(byte))
    };
    let kinds = [
        ImageKind::Leaf,
        ImageKind::Inner,
        ImageKind::TableData,
        ImageKind::TableIndex,
        ImageKind::Filter,
        ImageKind::RangeTombstones,
        ImageKind::MapChunk,
        ImageKind::Raw,
    ];
    let kind = kinds.into_iter().find(|&kind| bytes.get(13) == Some(&(kind as u8))).unwrap_or(ImageKind::Raw);
    Identity { kind, self_id: field(16..24), ks_id: field(24..28) as u32, write_seq: field(28..32) as u32 }
}

/// Makes the checksum of an image right, and half of the time its lengths.
pub fn reseal_image(bytes: &mut [u8], dice: u64) {
    if bytes.len() < 12 {
        return;
    }
    if dice.is_multiple_of(2) {
        let len = (bytes.len() as u32).to_le_bytes();
        bytes[4..8].copy_from_slice(&len);
        bytes[8..12].copy_from_slice(&len);
    }
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

fn check_image(bytes: &[u8]) -> bool {
    let Ok(image) = Image::decode(bytes.to_vec(), &claimed(bytes)) else { return false };
    ask_image(&image);
    assert_eq!(image.to_stored(image.write_seq()), bytes);
    true
}

/// Asks an image that was accepted everything that it can be asked.
pub fn ask_image(image: &Image) {
    let mut key = Vec::new();
    for index in 0..image.count() {
        image.key_into(index, &mut key);
        assert_eq!(image.search(&key), Ok(index));
        assert_eq!(image.newest_ts(&key), Some(image.record(index).ts));
        assert_ne!(image.lookup(&key, Timestamp::MAX), Lookup::Absent);
        assert!(!image.is_past_high(&key) && *key >= *image.low_fence());
        assert!(image.bytes().get(image.value_range(index)).is_some());
        let _ = image.lookup(&key, Timestamp::new(35));
        if image.kind() == ImageKind::Inner {
            assert_eq!(image.child_index(&key), index);
            let _ = image.child(index);
        }
    }
    for index in 0..image.hist_count() {
        image.hist_key_into(index, &mut key);
        assert!(image.hist_range(&key).contains(&index));
        assert!(image.hist_record(index).ts <= image.max_ts());
        assert!(image.bytes().get(image.hist_value_range(index)).is_some());
        let _ = image.lookup(&key, image.hist_record(index).ts);
    }
    for probe in [&b""[..], b"oak", b"oakz", b"zzz", &[255; 40]] {
        let _ = (image.search(probe), image.child_index(probe), image.hist_range(probe), image.is_past_high(probe));
    }
    assert!(image.raw_body().len() <= image.bytes().len());
    assert!(image.low_fence().starts_with(image.prefix()) && image.hist_max_ts() <= image.max_ts());
    let _ = (image.level(), image.right_pid(), image.memory_bytes());
}

/// What the golden files were written with.
const KNOWN: Known = Known { magic: *b"DURGOLD\0", format: 1, read_features: 2, write_features: 4 };

fn check_header(bytes: &[u8]) -> bool {
    let Ok(header) = FileHeader::decode(bytes, Path::new("file"), &KNOWN) else { return false };
    assert_eq!(header.encode(), bytes[..FILE_HEADER_BYTES]);
    true
}

fn reseal_framed(bytes: &mut [u8], dice: u64) {
    seal_at(bytes, FILE_HEADER_BYTES - 4);
    if let Ok(header) = FileHeader::decode(bytes, Path::new("file"), &KNOWN) {
        reseal_frames(&header, bytes, dice);
    }
}

/// A disk that holds `bytes` as the file `path`.
pub fn disk_with(path: &str, bytes: &[u8]) -> Arc<MemVfs> {
    let disk = Arc::new(MemVfs::new());
    let written = File::open(&*disk, path.as_ref(), OpenMode::CreateNew).and_then(|file| file.write_all_at(bytes, 0));
    written.expect("a disk in memory");
    disk
}

fn check_framed(bytes: &[u8]) -> bool {
    let disk = disk_with("file", bytes);
    let read = || {
        let mut frames = Vec::new();
        FramedFile::open(&*disk, "file".as_ref(), &KNOWN, |kind, payload| {
            frames.push((kind, payload.to_vec()));
            Ok(())
        })
        .map(|(mut file, header, tail)| {
            file.append(1, b"behind").expect("a disk in memory");
            (header, tail, frames)
        })
    };
    let Ok((header, _, mut frames)) = read() else { return false };
    frames.push((1, b"behind".to_vec()));
    assert_eq!(read().expect("FR2: it was opened"), (header, Tail::Clean, frames));
    true
}

fn check_current(bytes: &[u8]) -> bool {
    let disk = disk_with("CURRENT", bytes);
    let Ok(found) = read_current(&*disk, "".as_ref()) else { return false };
    let target = found.expect("there is one");
    assert_eq!(format!("{target} {:08x}\n", crc32fast::hash(target.as_bytes())).as_bytes(), bytes);
    true
}

/// The identity that targets of other crates use.
pub const DB_UUID: DbUuid = DbUuid::from_bytes([0xd0; 16]);
