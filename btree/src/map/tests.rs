//! The map against a plain `BTreeMap`, and its bytes.

use proptest::prelude::*;

use super::*;

fn addr(unit: u64) -> DiskAddr {
    DiskAddr { unit, units: 1 + (unit % 60) as u8, write_seq: (unit % 7) as u16 + 1 }
}

/// A file of chunks: where each was written, and its body.
#[derive(Default)]
struct Chunks {
    next: u64,
    bodies: BTreeMap<u64, (ChunkId, Vec<u8>)>,
}

impl Chunks {
    fn write(&mut self, id: ChunkId, entries: &[u64]) -> DiskAddr {
        self.next += 1;
        let addr = DiskAddr { unit: 1_000_000 + self.next, units: 1, write_seq: 9 };
        self.bodies.insert(addr.unit, (id, encode_chunk(entries)));
        addr
    }

    fn read(&self, map: &PageMap) -> PageMap {
        PageMap::read(map.root().expect("a root"), map.levels(), |id, addr| {
            let (written_as, body) = &self.bodies[&addr.unit];
            assert_eq!(*written_as, id);
            Ok(decode_chunk(body).expect("what was written"))
        })
        .expect("readable")
    }
}

fn pids() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..600u64, 2 => 1..3000u64, 1 => 200_000..300_000u64, 1 => 100_000_000..120_000_000u64]
}

proptest! {
    #[test]
    fn a_map_holds_what_was_put_and_frees_what_it_replaced(
        rounds in prop::collection::vec(prop::collection::vec((pids(), any::<bool>()), 1..20), 1..12),
    ) {
        let (mut map, mut chunks) = (PageMap::default(), Chunks::default());
        let mut expected = BTreeMap::from([(1, addr(5))]);
        let mut live = std::collections::BTreeSet::new();
        let mut unit = 100;
        for (round, changes) in rounds.into_iter().enumerate() {
            let mut pages: BTreeMap<u64, Option<DiskAddr>> = BTreeMap::new();
            if round == 0 {
                pages.insert(1, Some(addr(5)));
            }
            for (pid, stays) in changes {
                unit += 1;
                pages.insert(pid, (stays || pid == 1).then(|| addr(unit)));
            }
            for (&pid, &at) in &pages {
                match at {
                    Some(at) => { expected.insert(pid, at); live.insert(at.unit); }
                    None => { expected.remove(&pid); }
                }
            }
            let newest_before = 1_000_000 + chunks.next;
            let bound = if round % 3 == 2 { 1_000_000 + chunks.next / 2 } else { u64::MAX };
            let edit = map.edit(&pages, bound, |id, entries| {
                let at = chunks.write(id, entries);
                live.insert(at.unit);
                Ok(at)
            }).expect("no I/O here");
            if !edit.is_empty() {
                let (root, levels) = edit.root();
                for freed in map.commit(edit) {
                    prop_assert!(live.remove(&freed.unit), "freed once, and only what was used: {:?}", freed);
                }
                prop_assert_eq!((map.root(), map.levels()), (Some(root), levels));
            }
            let is_behind = |addr: DiskAddr| addr.end() > bound && addr.unit <= newest_before;
            prop_assert!(!map.chunks().any(|(_, addr, _)| is_behind(addr)), "chunks behind the bound moved");
            let pages: BTreeMap<u64, DiskAddr> = map.pages().collect();
            prop_assert_eq!(&pages, &expected);
            let named: std::collections::BTreeSet<u64> =
                map.pages().map(|(_, addr)| addr.unit).chain(map.chunks().map(|(_, addr, _)| addr.unit)).collect();
            prop_assert_eq!(&named, &live, "what is not named was freed");
            prop_assert_eq!(&chunks.read(&map), &map);
        }
    }

    #[test]
    fn any_bytes_are_a_chunk_or_none(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        if let Some(entries) = decode_chunk(&bytes) {
            prop_assert_eq!(entries.len() as u64, FANOUT);
        }
    }
}

#[test]
fn the_bytes_of_a_chunk_do_not_change() {
    let mut entries = vec![0; FANOUT as usize];
    entries[0] = DiskAddr { unit: 0x01_0203_0405, units: 6, write_seq: 0x0708 }.pack();
    entries[2] = DiskAddr { unit: 2, units: 64, write_seq: 1 }.pack();
    let bytes = crate::tests::golden(include_str!("../../tests/golden/map_chunk.hex"));
    assert_eq!(encode_chunk(&entries), bytes);
    assert_eq!(decode_chunk(&bytes), Some(entries));
}

#[test]
fn chunks_of_a_wrong_size_are_refused() {
    assert_eq!(decode_chunk(&[]), None);
    assert_eq!(decode_chunk(&[0; 16]), None);
    assert_eq!(decode_chunk(&[1; 9]), None);
    assert_eq!(decode_chunk(&vec![1; 8 * (FANOUT as usize + 1)]), None);
}

#[test]
fn a_full_chunk_fills_one_unit() {
    let image = crate::checkpoint::chunk_image(7, ChunkId { level: 0, index: 0 }, &[u64::MAX; FANOUT as usize]);
    assert_eq!(crate::units::units_for(image.bytes().len()), 1);
}

/// The fuzz driver found that such an entry was read, and could not be written again.
#[test]
fn an_address_of_no_units_is_refused() {
    let entry = DiskAddr { unit: 9, units: 1, write_seq: 3 }.pack();
    assert!(decode_chunk(&entry.to_le_bytes()).is_some());
    assert_eq!(decode_chunk(&(entry & !(0xff << 40)).to_le_bytes()), None);
}
