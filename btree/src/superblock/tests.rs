//! The superblock's bytes, and bytes that are none.

use proptest::prelude::*;

use super::*;
use crate::tests::golden;

fn sample() -> Superblock {
    Superblock {
        db_uuid: DbUuid::from_bytes([0xd0; 16]),
        keyspace: KeyspaceId::new(7),
        seq: 12,
        ckpt_ts: Timestamp::new(300),
        max_ts: Timestamp::new(305),
        map_root: DiskAddr { unit: 9, units: 1, write_seq: 13 },
        map_levels: 2,
        tombs: TombsAt::Inline(b"\x01\x01a\x01c\x01\x07".to_vec()),
        values_no: 0,
    }
}

fn decode(bytes: &[u8]) -> Result<Copy> {
    Superblock::decode(bytes, "tree.dat".as_ref())
}

/// `sample` with some bytes replaced and the checksum made right again.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut all = sample().encode();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32fast::hash(&all[..CRC_AT]);
    all[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    all
}

#[test]
fn the_bytes_of_a_superblock_do_not_change() {
    let pinned = golden(include_str!("../../tests/golden/superblock.hex"));
    let (head, crc) = pinned.split_at(pinned.len() - 4);
    let bytes = sample().encode();
    assert_eq!(&bytes[..head.len()], head);
    assert!(bytes[head.len()..CRC_AT].iter().all(|&byte| byte == 0));
    assert_eq!(&bytes[CRC_AT..], crc);
    assert_eq!(decode(&bytes).unwrap(), Copy::Valid(Box::new(sample())));
}

#[test]
fn what_is_written_is_read() {
    let spilled = TombsAt::Spilled { first: DiskAddr { unit: 77, units: 33, write_seq: 5 }, bytes: 200_000 };
    for superblock in
        [sample(), Superblock { tombs: spilled, ..sample() }, Superblock { values_no: 1 << 40, ..sample() }]
    {
        assert_eq!(decode(&superblock.encode()).unwrap(), Copy::Valid(Box::new(superblock)));
    }
}

#[test]
fn unknown_formats_and_features_are_refused_by_name() {
    for (at, what) in [(8, "format"), (12, "read features"), (16, "write features")] {
        match decode(&patched(at, &2u32.to_le_bytes())) {
            Err(Error::UnsupportedFormat { what: said, found: 2, .. }) => assert!(said.contains(what), "{said}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = sample().encode();
    for at in 0..UNIT_BYTES {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(matches!(decode(&bytes), Ok(Copy::Damaged(_))), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn fields_out_of_range_are_damage() {
    for (at, bytes) in [
        (80, vec![0]),
        (80, vec![LEVELS_MAX as u8 + 1]),
        (72, vec![0; 8]),
        (96, (INLINE_BYTES_MAX as u32 + 1).to_le_bytes().to_vec()),
        (88, vec![0xff; 12]),
        (48, vec![0xff; 8]),
    ] {
        assert!(matches!(decode(&patched(at, &bytes)), Ok(Copy::Damaged(_))), "byte {at}: {bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_superblock_or_none(at in 20..CRC_AT - 32, bytes in prop::collection::vec(any::<u8>(), 0..32)) {
        drop(decode(&patched(at, &bytes)));
        drop(decode(&bytes));
    }
}
