//! Properties of a table: the body of one `Raw` image, a list of tagged fields.
//!
//! ```text
//!   props := field*      field := varint tag, varint length, bytes      tags ascending; an unknown tag is passed over
//!   1 keys (varint)   2 versions (varint)   3 min_key   4 max_key   5 handles of the range tombstone images   6 fragments (varint)
//!   7 tombstones (varint): versions that are one; a table from before the field has none, and then it counts as zero
//!   8 references (varint): versions whose values lie in value files; left out if there are none
//!   9 saved bytes (varint): how many more the data blocks would have if none were packed; left out if it is zero
//! ```
//! `min_key` and `max_key` are of versions; a table with range tombstones alone has neither.

use duramen_base::varint;

use super::index::{HANDLE_BYTES, Handle, handles};

// On disk. Never renumber.
const KEYS: u64 = 1;
const VERSIONS: u64 = 2;
const MIN_KEY: u64 = 3;
const MAX_KEY: u64 = 4;
const TOMB_HANDLES: u64 = 5;
const FRAGMENTS: u64 = 6;
const TOMBSTONES: u64 = 7;
const REFERENCES: u64 = 8;
const SAVED_BYTES: u64 = 9;

/// What a table says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Props {
    /// Keys in it.
    pub(crate) keys: u64,
    /// Versions in it, of all keys.
    pub(crate) versions: u64,
    /// Its first key.
    pub(crate) min_key: Vec<u8>,
    /// Its last key.
    pub(crate) max_key: Vec<u8>,
    /// Images of its range tombstones.
    pub(crate) tombs: Vec<Handle>,
    /// Fragments in them.
    pub(crate) fragments: u64,
    /// Versions that are tombstones.
    pub(crate) tombstones: u64,
    /// Versions whose values lie in value files.
    pub(crate) references: u64,
    /// How many more bytes its data blocks would have if none were packed.
    pub(crate) saved_bytes: u64,
}

impl Props {
    /// The body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let number = |value: u64| {
            let mut bytes = Vec::new();
            varint::put(&mut bytes, value);
            bytes
        };
        let tombs: Vec<u8> = self.tombs.iter().flat_map(Handle::encode).collect();
        let mut body = Vec::new();
        let mut field = |tag: u64, bytes: &[u8]| {
            varint::put(&mut body, tag);
            varint::put(&mut body, bytes.len() as u64);
            body.extend_from_slice(bytes);
        };
        field(KEYS, &number(self.keys));
        field(VERSIONS, &number(self.versions));
        field(MIN_KEY, &self.min_key);
        field(MAX_KEY, &self.max_key);
        field(TOMB_HANDLES, &tombs);
        field(FRAGMENTS, &number(self.fragments));
        field(TOMBSTONES, &number(self.tombstones));
        if self.references > 0 {
            field(REFERENCES, &number(self.references));
        }
        if self.saved_bytes > 0 {
            field(SAVED_BYTES, &number(self.saved_bytes));
        }
        body
    }

    /// The properties in a body; `None` if it is damaged. Total.
    pub(crate) fn decode(mut body: &[u8]) -> Option<Props> {
        let mut props = Props::default();
        let mut last_tag = 0;
        while !body.is_empty() {
            let tag = varint::take(&mut body)?;
            let bytes = varint::take_bytes(&mut body)?;
            if tag <= last_tag {
                return None;
            }
            last_tag = tag;
            match tag {
                KEYS => props.keys = number(bytes)?,
                VERSIONS => props.versions = number(bytes)?,
                MIN_KEY => props.min_key = bytes.to_vec(),
                MAX_KEY => props.max_key = bytes.to_vec(),
                TOMB_HANDLES if bytes.len() < HANDLE_BYTES => props.tombs = bytes.is_empty().then(Vec::new)?,
                TOMB_HANDLES => props.tombs = handles(bytes)?,
                FRAGMENTS => props.fragments = number(bytes)?,
                TOMBSTONES => props.tombstones = number(bytes)?,
                REFERENCES => props.references = number(bytes)?,
                SAVED_BYTES => props.saved_bytes = number(bytes)?,
                _ => {}
            }
        }
        (last_tag >= FRAGMENTS).then_some(props)
    }
}

fn number(mut bytes: &[u8]) -> Option<u64> {
    let value = varint::take(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Props {
        Props {
            keys: 300,
            versions: 301,
            min_key: b"a".to_vec(),
            max_key: b"zz".to_vec(),
            tombs: vec![Handle { offset: 64, len: 2, crc: 3, is_packed: false }],
            fragments: 1,
            tombstones: 2,
            references: 5,
            saved_bytes: 3,
        }
    }

    #[test]
    fn properties_have_these_bytes() {
        let mut golden = vec![1, 2, 0xac, 2, 2, 2, 0xad, 2, 3, 1, b'a', 4, 2, b'z', b'z', 5, 16];
        golden
            .extend_from_slice(&[64, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 6, 1, 1, 7, 1, 2, 8, 1, 5, 9, 1, 3]);
        assert_eq!(sample().encode(), golden);
        assert_eq!(Props::decode(&golden), Some(sample()));
    }

    #[test]
    fn a_field_from_later_is_passed_over() {
        let mut body = sample().encode();
        body.extend_from_slice(&[99, 2, 1, 1]);
        assert_eq!(Props::decode(&body), Some(sample()));
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..40, flip in 0usize..40) {
            Props::decode(&bytes);
            let mut body = sample().encode();
            let at = flip % body.len();
            body[at] ^= 0x40;
            Props::decode(&body);
            Props::decode(&body[..cut.min(body.len())]);
        }
    }
}
