//! The decoders of this crate, for the fuzz driver.

use std::path::Path;

use duramen_base::fuzz::{Target, claimed, nothing_to_seal, reseal_image, seal_at};
use duramen_base::golden;
use duramen_base::image::{IMAGE_BYTES_MAX, Image};
use duramen_base::key_hash::key_hash;
use duramen_base::memtable::RangeTombs;
use duramen_base::{Timestamp, varint};

use crate::manifest::Edit;
use crate::table::filter::{Filter, FilterBuilder};
use crate::table::footer::{FOOTER_BYTES, Footer};
use crate::table::index::{Handle, handles};
use crate::table::packing;
use crate::table::props::Props;
use crate::table::tombs;

/// The decoders.
pub fn targets() -> Vec<Target> {
    let table = golden::bytes(include_str!("../tests/golden/1.sst.hex"));
    let footer = table[table.len() - FOOTER_BYTES..].to_vec();
    let handle = Handle { offset: 64, len: 300, crc: 7, is_packed: true };
    let props = Props {
        keys: 300,
        versions: 301,
        min_key: b"a".to_vec(),
        max_key: b"zz".to_vec(),
        tombs: vec![handle],
        fragments: 1,
        references: 3,
        tombstones: 1,
        saved_bytes: 9,
    };
    let mut filter = FilterBuilder::default();
    [&b"oak"[..], b"ash", b"elm"].iter().for_each(|key| filter.add(key));
    vec![
        Target { name: "table-footer", corpus: vec![footer], reseal: reseal_footer, check: check_footer },
        Target { name: "table-props", corpus: vec![props.encode()], reseal: nothing_to_seal, check: check_props },
        Target {
            name: "table-handles",
            corpus: vec![[handle.encode(), handle.encode()].concat()],
            reseal: nothing_to_seal,
            check: check_handles,
        },
        Target { name: "table-filter", corpus: vec![filter.build()], reseal: nothing_to_seal, check: check_filter },
        Target {
            name: "packed-block",
            corpus: vec![golden::bytes(include_str!("../tests/golden/packed_block.hex"))],
            reseal: reseal_packed,
            check: check_packed,
        },
        Target { name: "table-tombs", corpus: vec![sample_tombs()], reseal: reseal_image, check: check_tombs },
        Target {
            name: "manifest-edit",
            corpus: vec![Edit::sample().encode()],
            reseal: nothing_to_seal,
            check: check_edit,
        },
    ]
}

/// The header inside has a checksum of its own.
fn reseal_footer(bytes: &mut [u8], _dice: u64) {
    seal_at(bytes, 60);
    seal_at(bytes, FOOTER_BYTES - 4);
}

fn check_footer(bytes: &[u8]) -> bool {
    let Ok(bytes) = bytes.try_into() else { return false };
    let Ok(footer) = Footer::decode(bytes, Path::new("1.sst"), 0) else { return false };
    assert_eq!(footer.encode(), *bytes);
    true
}

fn check_props(bytes: &[u8]) -> bool {
    let Some(props) = Props::decode(bytes) else { return false };
    assert_eq!(Props::decode(&props.encode()), Some(props));
    true
}

fn check_handles(bytes: &[u8]) -> bool {
    let Some(found) = handles(bytes) else { return false };
    assert!(found.iter().flat_map(Handle::encode).eq(bytes.iter().copied()));
    true
}

fn check_filter(bytes: &[u8]) -> bool {
    let Some(filter) = Filter::parse(bytes) else { return false };
    for key in [&b""[..], b"oak", b"anything at all"] {
        let _ = filter.may_contain(key_hash(key));
    }
    let (mut low, mut high) = (0, u64::MAX);
    varint::take(&mut &bytes[bytes.len().saturating_sub(9)..]).inspect(|&number| (low, high) = (number, !number));
    let _ = (filter.may_contain(low), filter.may_contain(high));
    true
}

fn reseal_packed(bytes: &mut [u8], _dice: u64) {
    if bytes.len() < 16 {
        return;
    }
    let len = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    let crc = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

fn check_packed(bytes: &[u8]) -> bool {
    let Ok(stored) = packing::unpack(bytes) else { return false };
    assert!(stored.len() <= IMAGE_BYTES_MAX, "PB1");
    if let Some(packed) = packing::pack(&stored, &mut Vec::new()) {
        assert_eq!(packing::unpack(packed), Ok(stored));
    }
    true
}

fn sample_tombs() -> Vec<u8> {
    let mut all = RangeTombs::default();
    for (low, high, ts) in [(&b"a"[..], &b"f"[..], 5), (b"c", b"k", 9), (b"x", b"", 7)] {
        all.insert(low, high, Timestamp::new(ts), None);
    }
    let groups = tombs::groups(&all);
    tombs::build(&groups[0], 64, 7).to_stored(1)
}

fn check_tombs(bytes: &[u8]) -> bool {
    let Ok(image) = Image::decode(bytes.to_vec(), &claimed(bytes)) else { return false };
    let mut found = RangeTombs::default();
    if !tombs::read_into(&image, &mut found) {
        return false;
    }
    let mut last: Option<Vec<u8>> = None;
    for fragment in found.fragments() {
        assert!(fragment.high.is_empty() || fragment.low < fragment.high, "a fragment covers something");
        assert!(last.is_none_or(|last| !last.is_empty() && *last <= *fragment.low), "fragments ascend");
        assert!(!fragment.tss.is_empty() && fragment.tss.is_sorted_by(|a, b| a > b), "newest first");
        last = Some(fragment.high.to_vec());
    }
    true
}

fn check_edit(bytes: &[u8]) -> bool {
    let Some(edit) = Edit::decode(bytes) else { return false };
    assert_eq!(Edit::decode(&edit.encode()), Some(edit));
    true
}
