//! Framed files: what is written comes back, a torn end is dropped, damage is an error, nothing panics.

mod crash;

use std::path::Path;

use super::*;
use crate::ids::DbUuid;
use crate::vfs::MemVfs;

const KNOWN: Known = Known { magic: *b"TESTFILE", format: 2, read_features: 0b1, write_features: 0b10 };

fn header(number: u64) -> FileHeader {
    FileHeader::new(&KNOWN, DbUuid::from_bytes([7; 16]), 3, number)
}

fn path() -> &'static Path {
    Path::new("TEST-1")
}

type Frames = Vec<(u8, Vec<u8>)>;

/// Opens the file and collects its frames.
fn open(disk: &MemVfs) -> Result<(FramedFile, Frames, Tail)> {
    let mut frames = Vec::new();
    let (file, found, tail) = FramedFile::open(disk, path(), &KNOWN, |kind, payload| {
        frames.push((kind, payload.to_vec()));
        Ok(())
    })?;
    assert_eq!(found, header(1));
    Ok((file, frames, tail))
}

/// The bytes of a file, each frame synced if `synced`.
fn file_of(payloads: &[&[u8]], synced: bool) -> Vec<u8> {
    let disk = MemVfs::new();
    let mut file = FramedFile::create(&disk, path(), &header(1)).unwrap();
    for (index, payload) in payloads.iter().enumerate() {
        file.append(index as u8 + 1, payload).unwrap();
        if synced {
            file.sync().unwrap();
        }
    }
    let mut bytes = vec![0; file.file().len().unwrap() as usize];
    file.file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn disk_with(bytes: &[u8]) -> MemVfs {
    let disk = MemVfs::new();
    File::open(&disk, path(), OpenMode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
    disk
}

#[test]
fn frames_come_back_in_order_and_appending_goes_on() {
    let disk = disk_with(&file_of(&[b"one", b"two"], true));
    let (mut file, frames, tail) = open(&disk).unwrap();
    assert_eq!((frames.len(), tail), (2, Tail::Clean));
    file.append(9, b"three").unwrap();
    assert_eq!(file.len(), 64 + 3 * 9 + 11);
    let (_, frames, tail) = open(&disk).unwrap();
    assert_eq!(frames, [(1, b"one".to_vec()), (2, b"two".to_vec()), (9, b"three".to_vec())]);
    assert_eq!(tail, Tail::Clean);
}

#[test]
fn frames_of_every_size_come_back() {
    let disk = MemVfs::new();
    let mut file = FramedFile::create(&disk, path(), &header(1)).unwrap();
    let payloads: Vec<Vec<u8>> = [1, 2, 511, 512, 70_000].iter().map(|&len| vec![len as u8; len]).collect();
    payloads.iter().for_each(|payload| file.append(127, payload).unwrap());
    assert!(matches!(file.append(1, b""), Err(Error::InvalidArgument { .. })));
    assert!(matches!(file.append(1, &vec![0; FRAME_PAYLOAD_BYTES_MAX + 1]), Err(Error::InvalidArgument { .. })));
    let largest = vec![3; FRAME_PAYLOAD_BYTES_MAX];
    file.append(1, &largest).unwrap();
    let (_, frames, tail) = open(&disk).unwrap();
    assert_eq!(tail, Tail::Clean);
    assert!(frames.iter().map(|(_, payload)| payload).eq(payloads.iter().chain([&largest])));
}

#[test]
fn torn_last_frame_is_dropped_and_written_over() {
    let whole = file_of(&[b"one", b"two", b"three"], true);
    let kept = 64 + 2 * 12;
    for len in kept..whole.len() {
        let disk = disk_with(&whole[..len]);
        let (mut file, frames, tail) = open(&disk).unwrap();
        assert_eq!(frames.len(), 2, "cut to {len}");
        // A frame begins with its checksum, so one byte of it is not all zero.
        assert_eq!(tail, if len == kept { Tail::Clean } else { Tail::Torn { offset: kept as u64 } });
        file.append(3, b"other").unwrap();
        drop(file);
        let (_, frames, tail) = open(&disk).unwrap();
        assert_eq!((frames.last(), tail), (Some(&(3, b"other".to_vec())), Tail::Clean));
    }
}

#[test]
fn zeros_behind_the_last_frame_are_a_clean_end() {
    let mut bytes = file_of(&[b"one"], true);
    bytes.resize(bytes.len() + 5000, 0);
    let disk = disk_with(&bytes);
    let (mut file, frames, tail) = open(&disk).unwrap();
    assert_eq!((frames.len(), tail), (1, Tail::Clean));
    file.append(2, b"two").unwrap();
    assert_eq!(open(&disk).unwrap().1.len(), 2);
}

#[test]
fn damage_before_a_synced_frame_is_an_error() {
    let whole = file_of(&[b"one", b"two", b"three"], true);
    for bit in 64 * 8..(64 + 2 * 12) * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let frame_at = if bit / 8 < 64 + 12 { 64 } else { 64 + 12 };
        match open(&disk_with(&bytes)) {
            Err(Error::Corruption { file, offset, .. }) => {
                assert_eq!((&*file, offset), (path(), frame_at), "bit {bit}")
            }
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn damage_before_frames_of_the_same_sync_is_a_torn_end() {
    // None of the three was ever durable alone: a crash may keep the last without the first.
    let mut bytes = file_of(&[b"one", b"two", b"three"], false);
    bytes[64 + 9] ^= 1;
    let (_, frames, tail) = open(&disk_with(&bytes)).unwrap();
    assert_eq!((frames.len(), tail), (0, Tail::Torn { offset: 64 }));
}

#[test]
fn a_reopened_file_marks_its_first_frame_as_following_durable_ones() {
    let disk = disk_with(&file_of(&[b"one", b"two"], false));
    let (mut file, ..) = open(&disk).unwrap();
    file.append(3, b"three").unwrap();
    file.file().write_all_at(&[0xff], 64 + 9).unwrap();
    assert!(matches!(open(&disk), Err(Error::Corruption { offset: 64, .. })));
}

#[test]
fn a_damaged_last_frame_is_dropped_never_misread() {
    let whole = file_of(&[b"one", b"two"], true);
    for bit in (64 + 12) * 8..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (_, frames, tail) = open(&disk_with(&bytes)).unwrap();
        assert_eq!((frames.len(), tail), (1, Tail::Torn { offset: 64 + 12 }), "bit {bit}");
    }
}

#[test]
fn a_frame_of_another_place_or_file_is_not_valid() {
    let whole = file_of(&[b"one", b"one"], true);
    let mut moved = whole.clone();
    moved.copy_within(64..76, 76);
    assert_eq!(open(&disk_with(&moved)).unwrap().1.len(), 1, "the first frame copied over the second");

    // The body of file 1 under the header of file 2, as in a recycled file.
    for header in [
        header(2),
        FileHeader { ks_id: 4, ..header(1) },
        FileHeader { db_uuid: DbUuid::from_bytes([8; 16]), ..header(1) },
    ] {
        let bytes = [&header.encode()[..], &whole[64..]].concat();
        let disk = disk_with(&bytes);
        let mut seen = 0;
        let (_, found, tail) = FramedFile::open(&disk, path(), &KNOWN, |_, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((found, seen, tail), (header, 0, Tail::Torn { offset: 64 }));
    }
}

#[test]
fn every_flipped_bit_of_the_header_is_an_error() {
    let whole = file_of(&[b"one"], true);
    for bit in 0..64 * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(open(&disk_with(&bytes)), Err(Error::Corruption { .. })), "bit {bit}");
    }
    for len in 0..64 {
        assert!(matches!(open(&disk_with(&whole[..len])), Err(Error::Corruption { .. })), "cut to {len}");
    }
}

#[test]
fn unknown_formats_and_features_are_named() {
    let refusal = |header: FileHeader| match FileHeader::decode(&header.encode(), path(), &KNOWN) {
        Err(Error::UnsupportedFormat { what, found, known, .. }) => (what, found, known),
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(FileHeader { format: 3, ..header(1) }), ("format", 3, 2));
    assert_eq!(refusal(FileHeader { format: 0, ..header(1) }), ("format", 0, 2));
    assert_eq!(refusal(FileHeader { read_features: 0b11, ..header(1) }), ("read features", 0b11, 0b1));
    assert_eq!(refusal(FileHeader { write_features: 0b1, ..header(1) }), ("write features", 0b1, 0b10));
    let older = FileHeader { format: 1, read_features: 1, write_features: 0b10, ..header(1) };
    assert_eq!(FileHeader::decode(&older.encode(), path(), &KNOWN).unwrap(), older);
}

#[test]
fn a_missing_file_is_not_found() {
    let missing = open(&MemVfs::new());
    assert!(matches!(missing, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound));
}

#[test]
fn creating_again_replaces_what_a_crash_left() {
    let disk = disk_with(&file_of(&[b"one", b"two"], true));
    drop(FramedFile::create(&disk, path(), &header(1)).unwrap());
    assert_eq!(open(&disk).unwrap().1, []);
}

#[test]
fn what_the_reader_of_frames_refuses_is_the_answer() {
    let disk = disk_with(&file_of(&[b"one"], true));
    assert!(matches!(FramedFile::open(&disk, path(), &KNOWN, |_, _| Err(Error::Closed)), Err(Error::Closed)));
}

#[test]
fn a_long_tail_of_likely_heads_is_searched_in_bounded_time() {
    // Every fourth byte begins a head whose ranges hold: only the checksums tell, tens of thousands of them over 64 KiB each.
    let mut bytes = file_of(&[b"one"], true);
    bytes.extend([0x81, 0xfe, 0x00, 0x00].iter().cycle().take(4 * 60_000));
    assert!(matches!(open(&disk_with(&bytes)), Ok((_, _, Tail::Torn { offset: 76 }))));
}

#[test]
fn current_names_the_newest_target() {
    let (disk, dir) = (MemVfs::new(), Path::new(""));
    assert_eq!(read_current(&disk, dir).unwrap(), None);
    for target in ["MANIFEST-1", "MANIFEST-12345", "M"] {
        switch_current(&disk, dir, target).unwrap();
        assert_eq!(read_current(&disk, dir).unwrap().as_deref(), Some(target));
    }
}

#[test]
fn a_damaged_current_is_an_error() {
    let write = |bytes: &[u8]| {
        let disk = MemVfs::new();
        File::open(&disk, "CURRENT".as_ref(), OpenMode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
        read_current(&disk, Path::new(""))
    };
    let text = b"MANIFEST-1 0e28a1f0\n";
    let right = format!("MANIFEST-1 {:08x}\n", crc32fast::hash(b"MANIFEST-1"));
    assert_eq!(write(right.as_bytes()).unwrap().as_deref(), Some("MANIFEST-1"));
    assert!(write(text).is_err() && write(b"").is_err() && write(&[b'a'; 10_000]).is_err());
    for bit in 0..right.len() * 8 {
        let mut bytes = right.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(write(&bytes), Err(Error::Corruption { offset: 0, .. })), "bit {bit}");
    }
    for target in ["../x", ".", "", "a/b", "a b"] {
        let text = format!("{target} {:08x}\n", crc32fast::hash(target.as_bytes()));
        assert!(write(text.as_bytes()).is_err(), "{target:?}");
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_behind_a_header_never_panic(tail in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..300), plain in 0u8..2) {
        let mut bytes = header(1).encode().to_vec();
        if plain == 1 && tail.len() > 9 {
            // A head whose ranges hold, so that the payload is read.
            bytes.extend([0, 0, 0, 0, (tail.len() / 2) as u8, 0, 0, 0, 1]);
        }
        bytes.extend(&tail);
        let opened = open(&disk_with(&bytes));
        proptest::prop_assert!(opened.is_ok_and(|(_, frames, _)| frames.is_empty()));
    }

    #[test]
    fn any_cut_of_any_file_gives_a_prefix_of_its_frames(
        payloads in proptest::collection::vec(proptest::collection::vec(proptest::arbitrary::any::<u8>(), 1..60), 0..8),
        synced in proptest::arbitrary::any::<bool>(),
        cut in proptest::arbitrary::any::<proptest::sample::Index>(),
    ) {
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let whole = file_of(&payloads, synced);
        let len = 64 + cut.index(whole.len() - 63);
        let (file, frames, _) = open(&disk_with(&whole[..len])).unwrap();
        let kept: Vec<&[u8]> = frames.iter().map(|(_, payload)| payload.as_slice()).collect();
        proptest::prop_assert_eq!(&kept[..], &payloads[..kept.len()]);
        proptest::prop_assert!(file.len() as usize <= len);
        proptest::prop_assert!(kept.len() == payloads.len() || file.len() as usize + 9 + payloads[kept.len()].len() > len);
    }
}
