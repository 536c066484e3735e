//! Bytes on disk, pinned: what this crate writes equals the annotated files in `golden/`, and those are read as what they say.
//!
//! A golden file is hexadecimal text with comments after `#`. A change of one is a change of format: see docs/format/base.md.

use duramen_base::framed::{FileHeader, FramedFile, Known, Tail, switch_current};
use duramen_base::image::{Body, Identity, Image, ImageBuilder, ImageKind, ImageSpec, Lookup};
use duramen_base::ingest::{IngestRecord, decode_list, encode_list};
use duramen_base::values::{LargeRef, ValueChanges};
use duramen_base::vfs::{File, MemVfs, OpenMode};
use duramen_base::{Batch, BatchView, DbUuid, KeyspaceId, Op, OpKind, Result, Timestamp};

// As a file: this test is built without the feature that the crate has it under.
#[path = "../src/golden.rs"]
#[allow(unreachable_pub, reason = "it is public there")]
mod text;
use text::bytes as golden;

#[track_caller]
fn check(written: &[u8], text: &str) {
    let expected = golden(text);
    if written != expected {
        let first = written.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        let hex: Vec<String> = written
            .chunks(16)
            .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
            .collect();
        panic!("differs from byte {first} on; written are {} bytes:\n{}", written.len(), hex.join("\n"));
    }
}

fn ts(ts: u64) -> Timestamp {
    Timestamp::new(ts)
}

fn spec(kind: ImageKind, level: u8) -> ImageSpec<'static> {
    ImageSpec { kind, self_id: 0x0102, ks_id: 3, level, right_pid: 0x0506, low: b"oak", high: b"oar" }
}

fn decode(text: &str, kind: ImageKind) -> Image {
    let expect = Identity { kind, self_id: 0x0102, ks_id: 3, write_seq: 4 };
    Image::decode(golden(text), &expect).unwrap_or_else(|fault| panic!("{fault:?}"))
}

const LEAF: &str = include_str!("golden/page-image.leaf.hex");
const REFERS: &str = include_str!("golden/page-image.refers.hex");
const INNER: &str = include_str!("golden/page-image.inner.hex");
const RAW: &str = include_str!("golden/page-image.raw.hex");
const FRAMED: &str = concat!(include_str!("golden/file-header.hex"), include_str!("golden/frame.hex"));
const CURRENT: &str = include_str!("golden/current.hex");
const INGEST_RECORD: &str = include_str!("golden/ingest_record.hex");
const INGEST_LIST_1: &str = include_str!("golden/ingest_list.hex");
const INGEST_LIST: &str = include_str!("golden/ingest_list.2.hex");
const BATCH: &str = include_str!("golden/operation-batch.hex");

#[test]
fn a_leaf_has_these_bytes() {
    let mut builder = ImageBuilder::new(&spec(ImageKind::Leaf, 0));
    builder.push(b"oak", ts(9), Body::Value(b"hard"));
    builder.push(b"oakum", Timestamp::ZERO, Body::Value(b"tow"));
    builder.push(b"oaq", ts(8), Body::Tombstone);
    builder.push_history(b"oak", ts(7), Body::Value(b"soft"));
    builder.push_history(b"oakleaf", ts(10), Body::Tombstone);
    check(&builder.finish().to_stored(4), LEAF);

    let image = decode(LEAF, ImageKind::Leaf);
    assert_eq!((image.prefix(), image.max_ts(), image.hist_max_ts()), (&b"oa"[..], ts(10), ts(10)));
    assert!(
        matches!(image.lookup(b"oak", ts(9)), Lookup::Value { range, .. } if &image.bytes()[range.clone()] == b"hard")
    );
    assert!(
        matches!(image.lookup(b"oak", ts(8)), Lookup::Value { range, .. } if &image.bytes()[range.clone()] == b"soft")
    );
    assert_eq!(image.lookup(b"oaq", ts(8)), Lookup::Deleted(ts(8)));
}

#[test]
fn a_leaf_that_refers_to_large_values_has_these_bytes() {
    let large = |id| LargeRef { id, len: 0x0001_0203, crc: 0x0405_0607 };
    let mut builder = ImageBuilder::new(&spec(ImageKind::Leaf, 0));
    builder.push(b"oak", ts(9), Body::Large(large(0x08)));
    builder.push(b"oakum", Timestamp::ZERO, Body::Large(large(0x0a)));
    builder.push(b"oap", Timestamp::ZERO, Body::Value(b"in"));
    builder.push_history(b"oak", ts(7), Body::Large(large(0x0b)));
    check(&builder.finish().to_stored(4), REFERS);

    let image = decode(REFERS, ImageKind::Leaf);
    let named: Vec<LargeRef> = image.references().collect();
    assert_eq!(named, [large(0x08), large(0x0a), large(0x0b)]);
    assert_eq!(image.lookup(b"oak", ts(9)), Lookup::Large(large(0x08), ts(9)));
    assert_eq!(image.lookup(b"oak", ts(8)), Lookup::Large(large(0x0b), ts(7)));
    assert!(decode(LEAF, ImageKind::Leaf).references().next().is_none());
}

#[test]
fn an_inner_page_has_these_bytes() {
    let mut builder = ImageBuilder::new(&spec(ImageKind::Inner, 1));
    builder.push(b"oak", Timestamp::ZERO, Body::Value(&5u64.to_le_bytes()));
    builder.push(b"oakm", Timestamp::ZERO, Body::Value(&6u64.to_le_bytes()));
    check(&builder.finish().to_stored(4), INNER);
    assert_eq!(decode(INNER, ImageKind::Inner).child(1), 6);
}

#[test]
fn a_raw_image_has_these_bytes() {
    let spec = ImageSpec { low: b"", high: b"", right_pid: 0, ..spec(ImageKind::Filter, 0) };
    check(&ImageBuilder::raw(&spec, b"rings").to_stored(4), RAW);
    assert_eq!(decode(RAW, ImageKind::Filter).raw_body(), b"rings");
}

fn content(disk: &MemVfs, name: &str) -> Result<Vec<u8>> {
    let file = File::open(disk, name.as_ref(), OpenMode::Read)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[test]
fn a_framed_file_has_these_bytes() {
    let known = Known { magic: *b"DURGOLD\0", format: 1, read_features: 2, write_features: 4 };
    let header = FileHeader {
        read_features: 2,
        write_features: 4,
        ..FileHeader::new(&known, DbUuid::from_bytes([0xdb; 16]), 3, 0x0708)
    };
    let disk = MemVfs::new();
    let mut file = FramedFile::create(&disk, "F".as_ref(), &header).unwrap();
    file.append(1, b"first").unwrap();
    file.sync().unwrap();
    file.append(2, b"second").unwrap();
    check(&content(&disk, "F").unwrap(), FRAMED);

    File::open(&disk, "G".as_ref(), OpenMode::CreateNew).unwrap().write_all_at(&golden(FRAMED), 0).unwrap();
    let mut frames = Vec::new();
    let (_, found, tail) = FramedFile::open(&disk, "G".as_ref(), &known, |kind, payload| {
        frames.push((kind, payload.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!((found, tail), (header, Tail::Clean));
    assert_eq!(frames, [(1, b"first".to_vec()), (2, b"second".to_vec())]);
}

#[test]
fn current_has_these_bytes() {
    let disk = MemVfs::new();
    switch_current(&disk, "".as_ref(), "MANIFEST-7").unwrap();
    check(&content(&disk, "CURRENT").unwrap(), CURRENT);
}

#[test]
fn a_batch_has_these_bytes() {
    let op = |kind, key, value| Op { kind, key, value };
    let first = [
        op(OpKind::DeleteRange, &b"a"[..], &b"c"[..]),
        op(OpKind::DeleteRange, b"x", b""),
        op(OpKind::Put, b"b", b"value"),
        op(OpKind::Delete, b"bb", b""),
    ];
    let second = [op(OpKind::Put, b"", b"")];
    let mut batch = Batch::new();
    batch.section(KeyspaceId::new(1), first);
    batch.section(KeyspaceId::new(300), second);
    check(batch.bytes(), BATCH);

    let bytes = golden(BATCH);
    let sections: Vec<_> = BatchView::parse(&bytes).expect("a batch").sections().collect();
    assert_eq!((sections[0].keyspace().get(), sections[1].keyspace().get()), (1, 300));
    assert!(sections[0].iter().eq(first) && sections[1].iter().eq(second));
}

#[test]
fn a_record_of_an_ingest_has_these_bytes() {
    let record = IngestRecord { keyspace: KeyspaceId::new(3), digest: 0x0102_0304, number: 0x0506, bytes: 0x0708_090a };
    check(&record.encode(), INGEST_RECORD);
    assert_eq!(IngestRecord::decode(&golden(INGEST_RECORD)), Some(record));
    assert_eq!(IngestRecord::decode(&golden(INGEST_RECORD)[1..]), None);
    assert_eq!(IngestRecord::decode(&[0; 24]), None);
}

#[test]
fn a_list_of_an_ingest_has_these_bytes() {
    // Values 9 and 300: where they lie, and their bytes.
    let values = ValueChanges::take_added(&mut &[2, 9, 3, 64, 5, 0xac, 0x02, 3, 89, 6][..]).expect("two values");
    let list = |values| encode_list(DbUuid::from_bytes([7; 16]), KeyspaceId::new(3), 5, values, b"body");
    check(&list(&values), INGEST_LIST);
    let (header, found, part) = decode_list("INGEST-5".as_ref(), &golden(INGEST_LIST)).expect("a list");
    assert_eq!((header.format, header.ks_id, header.number, &part[..]), (2, 3, 5, &b"body"[..]));
    assert_eq!(list(&found), golden(INGEST_LIST));
}

#[test]
fn a_list_of_an_ingest_from_before_there_were_value_files_is_read() {
    let (header, values, part) = decode_list("INGEST-5".as_ref(), &golden(INGEST_LIST_1)).expect("a list");
    assert_eq!((header.format, header.ks_id, header.number, &part[..]), (1, 3, 5, &b"body"[..]));
    assert!(values.is_empty());
}
