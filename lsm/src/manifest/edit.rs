//! One frame of a manifest: what changed in the set of tables, or all of it.
//!
//! On disk: Manifest (MANIFEST-1.hex, MANIFEST-1.counted.hex, MANIFEST-1.frozen.hex)
//! ```text
//!   edit   := seq, persisted, contains, next_table_no, removed_count, no*, added_count, placed*, [values_no]       numbers are varints
//!   placed := level, run, no, file_bytes, digest, footer_crc, keys, versions, fragments, min_ts, max_ts,
//!             klen, min_key, klen, max_key, extension length, extension bytes (passed over)
//! ```
//! `values_no` is the number of the edit of the value manifest that belongs to it (docs/format/base.md); left out if it is zero.
//! A snapshot is an edit on nothing. Frame kinds: 1 snapshot, 2 edit, 3 more tables of the snapshot before (same fields, same seq).
//!
//! A1  Each edit's seq is one more than the one before, over all manifests: a store that lost edits shows a smaller seq than its mark in the log.
//! A2  `persisted <= contains`, and both never shrink.

use duramen_base::options::KEY_BYTES_MAX;
use duramen_base::{Timestamp, varint};

use crate::table::TableMeta;

/// Levels there can be.
pub(crate) const LEVELS_MAX: u64 = 16;

/// Kinds of frames. On disk. Never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EditKind {
    /// First frame of a manifest.
    Snapshot = 1,
    /// A change.
    Edit = 2,
    /// More tables of a snapshot that does not fit one frame.
    SnapshotMore = 3,
}

impl EditKind {
    pub(crate) fn from_byte(byte: u8) -> Option<EditKind> {
        match byte {
            1 => Some(EditKind::Snapshot),
            2 => Some(EditKind::Edit),
            3 => Some(EditKind::SnapshotMore),
            _ => None,
        }
    }
}

/// A table and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Which level.
    pub(crate) level: u32,
    /// Which run of it; a larger number is a newer run.
    pub(crate) run: u64,
    /// The table.
    pub(crate) meta: TableMeta,
}

/// A change of the set of tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Its number (A1).
    pub(crate) seq: u64,
    /// Every commit up to here is in the tables.
    pub(crate) persisted: Timestamp,
    /// Newest commit that any table ever named contains, or that `persisted` claims.
    pub(crate) contains: Timestamp,
    /// Numbers from here on are free.
    pub(crate) next_table_no: u64,
    /// Tables that belong to the set no more.
    pub(crate) removed: Vec<u64>,
    /// Tables that belong to it now.
    pub(crate) added: Vec<Placed>,
    /// The edit of the value manifest that is in force with it; zero: there are no large values.
    pub(crate) values_no: u64,
}

impl Edit {
    /// Encoded.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.seq, self.persisted.get(), self.contains.get(), self.next_table_no] {
            varint::put(&mut out, number);
        }
        varint::put(&mut out, self.removed.len() as u64);
        self.removed.iter().for_each(|&no| varint::put(&mut out, no));
        varint::put(&mut out, self.added.len() as u64);
        self.added.iter().for_each(|placed| put_placed(&mut out, placed));
        if self.values_no > 0 {
            varint::put(&mut out, self.values_no);
        }
        out
    }

    /// Decodes; `None` if anything is off. Total.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Edit> {
        let rest = &mut bytes;
        let mut edit = Edit {
            seq: varint::take(rest)?,
            persisted: Timestamp::new(varint::take(rest)?),
            contains: Timestamp::new(varint::take(rest)?),
            next_table_no: varint::take(rest)?,
            ..Edit::default()
        };
        for _ in 0..varint::take(rest)? {
            edit.removed.push(varint::take(rest)?);
        }
        for _ in 0..varint::take(rest)? {
            edit.added.push(take_placed(rest)?);
        }
        if !rest.is_empty() {
            edit.values_no = varint::take(rest).filter(|&no| no > 0)?;
        }
        let is_whole = rest.is_empty() && edit.persisted <= edit.contains;
        (is_whole && edit.added.iter().all(|placed| placed.meta.no < edit.next_table_no)).then_some(edit)
    }
}

fn put_placed(out: &mut Vec<u8>, placed: &Placed) {
    let meta = &placed.meta;
    let numbers = [
        u64::from(placed.level),
        placed.run,
        meta.no,
        meta.file_bytes,
        u64::from(meta.digest),
        u64::from(meta.footer_crc),
        meta.keys,
        meta.versions,
        meta.fragments,
        meta.min_ts.get(),
        meta.max_ts.get(),
    ];
    numbers.iter().for_each(|&number| varint::put(out, number));
    for key in [&meta.min_key, &meta.max_key] {
        varint::put(out, key.len() as u64);
        out.extend_from_slice(key);
    }
    varint::put(out, 0);
}

fn take_placed(rest: &mut &[u8]) -> Option<Placed> {
    let mut numbers = [0; 11];
    for number in &mut numbers {
        *number = varint::take(rest)?;
    }
    let [level, run, no, file_bytes, digest, footer_crc, keys, versions, fragments, min_ts, max_ts] = numbers;
    let mut key = || varint::take_bytes(rest).filter(|key| key.len() <= KEY_BYTES_MAX).map(<[u8]>::to_vec);
    let (min_key, max_key) = (key()?, key()?);
    varint::take_bytes(rest)?;
    let is_possible = level < LEVELS_MAX && min_ts <= max_ts && min_key <= max_key && versions >= keys;
    is_possible.then_some(())?;
    let meta = TableMeta {
        no,
        file_bytes,
        digest: u32::try_from(digest).ok()?,
        footer_crc: u32::try_from(footer_crc).ok()?,
        keys,
        versions,
        fragments,
        min_ts: Timestamp::new(min_ts),
        max_ts: Timestamp::new(max_ts),
        min_key,
        max_key,
    };
    Some(Placed { level: level as u32, run, meta })
}

#[cfg(any(test, feature = "testing"))]
impl Edit {
    /// One that is right, with something in every field.
    pub(crate) fn sample() -> Edit {
        let meta = TableMeta {
            no: 300,
            file_bytes: 5000,
            digest: 6,
            footer_crc: 7,
            keys: 8,
            versions: 9,
            fragments: 10,
            min_ts: Timestamp::new(11),
            max_ts: Timestamp::new(12),
            min_key: b"a".to_vec(),
            max_key: b"bc".to_vec(),
        };
        Edit {
            seq: 1,
            persisted: Timestamp::new(2),
            contains: Timestamp::new(12),
            next_table_no: 301,
            removed: vec![4, 5],
            added: vec![Placed { level: 0, run: 3, meta }],
            values_no: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_edit_has_these_bytes() {
        let mut golden = vec![1, 2, 12, 0xad, 2, 2, 4, 5, 1];
        golden.extend_from_slice(&[0, 3, 0xac, 2, 0x88, 0x27, 6, 7, 8, 9, 10, 11, 12, 1, b'a', 2, b'b', b'c', 0]);
        assert_eq!(Edit::sample().encode(), golden);
        assert_eq!(Edit::decode(&golden), Some(Edit::sample()));
        let with_values = Edit { values_no: 300, ..Edit::sample() };
        golden.extend_from_slice(&[0xac, 2]);
        assert_eq!(with_values.encode(), golden);
        assert_eq!(Edit::decode(&golden), Some(with_values));
        golden.push(0);
        assert_eq!(Edit::decode(&golden), None, "what follows it is not known");
    }

    #[test]
    fn an_extension_from_later_is_passed_over() {
        let mut bytes = Edit::sample().encode();
        bytes.pop();
        bytes.extend_from_slice(&[2, 0xee, 0xee]);
        assert_eq!(Edit::decode(&bytes), Some(Edit::sample()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: fn(&mut Edit)| {
            let mut edit = Edit::sample();
            change(&mut edit);
            assert_eq!(Edit::decode(&edit.encode()), None);
        };
        refused(|edit| edit.persisted = Timestamp::new(13));
        refused(|edit| edit.next_table_no = 300);
        refused(|edit| edit.added[0].level = LEVELS_MAX as u32);
        refused(|edit| edit.added[0].meta.min_ts = Timestamp::new(13));
        refused(|edit| edit.added[0].meta.min_key = b"c".to_vec());
        refused(|edit| edit.added[0].meta.versions = 7);
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..40, flip in 0usize..40) {
            Edit::decode(&bytes);
            let mut edit = Edit::sample().encode();
            prop_assert_eq!(Edit::decode(&edit[..cut.min(edit.len() - 1)]), None);
            let at = flip % edit.len();
            edit[at] ^= 0xff;
            Edit::decode(&edit);
        }
    }
}
