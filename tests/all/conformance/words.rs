//! What the tests say to a store and hear from it: changes, answers, rows.
//!
//! No state; a [`super::fixture::Fixture`] has that.

use std::collections::BTreeMap;

use duramen_base::{
    Backend, BackendCursor, Batch, BatchView, Deadline, Hit, Op, OpKind, OpsOfKeyspace, Pin, Result, Timestamp,
};

use super::fixture::KEYSPACE;

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
    /// Removes the keys from the first up to, without, the second (empty: to the end).
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Sets `key`.
pub(crate) fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Change {
    Change::Put(key.as_ref().to_vec(), value.as_ref().to_vec())
}

/// Removes `key`.
pub(crate) fn delete(key: impl AsRef<[u8]>) -> Change {
    Change::Delete(key.as_ref().to_vec())
}

/// Removes the keys in `low..high`; an empty `high` is the end of the keyspace.
pub(crate) fn delete_range(low: impl AsRef<[u8]>, high: impl AsRef<[u8]>) -> Change {
    Change::DeleteRange(low.as_ref().to_vec(), high.as_ref().to_vec())
}

/// The batch that makes `changes`: ranges first; of several changes to one key the last.
pub(crate) fn batch(changes: &[Change]) -> Batch {
    let mut ranges = Vec::new();
    let mut points = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put(key, value) => {
                points.insert(&**key, Op { kind: OpKind::Put, key, value });
            }
            Change::Delete(key) => {
                points.insert(&**key, Op { kind: OpKind::Delete, key, value: b"" });
            }
            Change::DeleteRange(low, high) => ranges.push(Op { kind: OpKind::DeleteRange, key: low, value: high }),
        }
    }
    ranges.sort_by_key(|op| op.key);
    let mut batch = Batch::new();
    batch.section(KEYSPACE, ranges.into_iter().chain(points.into_values()));
    batch
}

/// What a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing is known of it.
    Absent,
    /// Deleted by that commit.
    Deleted(Timestamp),
    /// This value, written by that commit.
    Value(Vec<u8>, Timestamp),
}

impl Answer {
    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        match self {
            Answer::Value(value, _) => Some(value),
            Answer::Absent | Answer::Deleted(_) => None,
        }
    }

    /// Whether a store may say this where nothing was ever forgotten and `full` is the answer. Of a deletion it need not know anything; what
    /// nobody below `oldest` can ask about it may forget: when it was.
    pub(crate) fn agrees(&self, full: &Answer, oldest: Timestamp) -> bool {
        match (self, full) {
            (Answer::Absent, Answer::Absent | Answer::Deleted(_)) => true,
            (Answer::Deleted(said), Answer::Deleted(ts)) => said == ts || (said < ts && *ts <= oldest),
            (Answer::Value(said, said_ts), Answer::Value(value, ts)) => {
                said == value && agrees_ts(*said_ts, *ts, oldest)
            }
            (Answer::Absent | Answer::Deleted(_) | Answer::Value(..), _) => false,
        }
    }

    /// Whether this may be said of a key that the commit `ts` deleted.
    pub(crate) fn is_deleted_at(&self, ts: Timestamp) -> bool {
        self.agrees(&Answer::Deleted(ts), Timestamp::ZERO)
    }
}

/// Whether a store may say that something was written at `said`, when it was at `ts`.
pub(crate) fn agrees_ts(said: Timestamp, ts: Timestamp, oldest: Timestamp) -> bool {
    said == ts || (said == Timestamp::ZERO && ts <= oldest)
}

/// What `store` has for `key` at `at`, and whether something newer exists.
pub(crate) fn ask<B: Backend>(store: &B, key: &[u8], at: Timestamp) -> Result<(Answer, bool)> {
    loop {
        let ticket = {
            let pin = Pin::new();
            let found = store.get(&pin, key, at)?;
            let newer = found.newer;
            match found.hit {
                Hit::Absent => return Ok((Answer::Absent, found.newer)),
                Hit::Deleted(ts) => return Ok((Answer::Deleted(ts), found.newer)),
                Hit::Value { bytes, ts } => return Ok((Answer::Value(bytes.to_vec(), ts), found.newer)),
                Hit::NeedIo(ticket) => ticket,
                Hit::Large { large, ts } => {
                    drop(pin);
                    let value = store.load_large(key, at, large)?;
                    return Ok((value.map_or(Answer::Absent, |value| Answer::Value(value.to_vec(), ts)), newer));
                }
            }
        };
        // Outside the pin.
        ticket.load()?;
    }
}

/// Keys and values, in the order met.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The rows that `cursor` meets going forward.
pub(crate) fn forward(cursor: &mut impl BackendCursor) -> Rows {
    let mut rows = Rows::new();
    while cursor.next().expect("a readable store") {
        cursor.load_value().expect("a readable store");
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
    }
    rows
}

/// The rows that `cursor` meets going backward.
pub(crate) fn backward(cursor: &mut impl BackendCursor) -> Rows {
    let mut rows = Rows::new();
    while cursor.prev().expect("a readable store") {
        cursor.load_value().expect("a readable store");
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
    }
    rows
}

/// Applies `changes` of the commit `at` to `store`, as the engine does.
pub(crate) fn apply<B: Backend>(store: &B, changes: &[Change], at: Timestamp) {
    apply_batch(store, &batch(changes), at);
}

/// Applies `batch` as the commit `at`, or a part of it.
pub(crate) fn apply_batch<B: Backend>(store: &B, batch: &Batch, at: Timestamp) {
    let ops = ops_of(batch);
    let admission =
        store.admit(&ops, Deadline::default()).expect("no fault").granted().expect("room for a small batch");
    store.apply(admission, &ops, at);
}

/// The operations of `batch`.
pub(crate) fn ops_of(batch: &Batch) -> OpsOfKeyspace<'_> {
    let view = BatchView::parse(batch.bytes()).expect("a batch as the engine builds it");
    view.sections().next().expect("the section of the keyspace")
}

/// Rows that a failed assertion can print.
pub(crate) fn show(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    let short = |bytes: &[u8]| match bytes.len() {
        0..=40 => bytes.escape_ascii().to_string(),
        len => format!("{}.. {len} bytes ..{}", bytes[..16].escape_ascii(), bytes[len - 16..].escape_ascii()),
    };
    rows.iter().map(|(key, value)| format!("{} = {}", short(key), short(value))).collect()
}

/// Rows written as text.
pub(crate) fn rows(expected: &[(&str, &str)]) -> Rows {
    expected.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
