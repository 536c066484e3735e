//! The data block that is being filled.
//!
//! Records are kept until the block is complete, because its fences, and with them the prefix that keys share, depend on its last key.

use std::ops::Range;

use duramen_base::Timestamp;
use duramen_base::image::{Body, Image, ImageBuilder, ImageKind, ImageSpec};
use duramen_base::values::LargeRef;

use super::{RECORD_OVERHEAD_BYTES, fences};

/// Bytes of a record in an image, or more.
pub(super) fn record_weight(key: &[u8], body: Body<'_>) -> usize {
    key.len() + body.stored_bytes() + RECORD_OVERHEAD_BYTES
}

/// Records of the block that is being filled: its fences are known only at its end.
#[derive(Debug, Default)]
pub(super) struct PendingBlock {
    bytes: Vec<u8>,
    records: Vec<PendingRecord>,
    weight: usize,
}

#[derive(Debug)]
struct PendingRecord {
    key: Range<usize>,
    value: PendingValue,
    ts: Timestamp,
    is_main: bool,
}

#[derive(Debug)]
enum PendingValue {
    /// Where it lies.
    Here(Range<usize>),
    Tombstone,
    Large(LargeRef),
}

impl PendingBlock {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn first_key(&self) -> &[u8] {
        &self.bytes[self.records.first().expect("not empty").key.clone()]
    }

    pub(super) fn last_key(&self) -> &[u8] {
        &self.bytes[self.records.last().expect("not empty").key.clone()]
    }

    /// Appends a record; the main record of a key before its history.
    pub(super) fn push(&mut self, key: &[u8], ts: Timestamp, body: Body<'_>, is_main: bool) {
        self.weight += record_weight(key, body);
        let key = match self.records.last() {
            Some(last) if !is_main => last.key.clone(),
            _ => self.keep(key),
        };
        let value = match body {
            Body::Value(value) => PendingValue::Here(self.keep(value)),
            Body::Tombstone => PendingValue::Tombstone,
            Body::Large(large) => PendingValue::Large(large),
        };
        self.records.push(PendingRecord { key, value, ts, is_main });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Bytes of its records, or more.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// The image, to be stored at `offset`; leaves it empty.
    pub(super) fn build(&mut self, offset: u64, ks_id: u32) -> Image {
        let (low, high) = fences(self.first_key(), self.last_key());
        let kind = ImageKind::TableData;
        let mut builder =
            ImageBuilder::new(&ImageSpec { kind, self_id: offset, ks_id, level: 0, right_pid: 0, low, high: &high });
        for record in &self.records {
            let key = &self.bytes[record.key.clone()];
            let body = match &record.value {
                PendingValue::Here(range) => Body::Value(&self.bytes[range.clone()]),
                PendingValue::Tombstone => Body::Tombstone,
                PendingValue::Large(large) => Body::Large(*large),
            };
            match record.is_main {
                true => builder.push(key, record.ts, body),
                false => builder.push_history(key, record.ts, body),
            }
        }
        self.bytes.clear();
        self.records.clear();
        self.weight = 0;
        builder.finish()
    }
}
