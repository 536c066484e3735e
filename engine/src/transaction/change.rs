//! One write, as everybody who has to know of it sees it: the write set, the dirty board, the row locks and the check against newer commits.

use duramen_base::{KeyspaceId, LockOp, Op, OpKind, Timestamp, Value};
use duramen_txn::{Posted, WriteSet};

use crate::row_locks::Target;

/// A write that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    Put(&'a [u8], &'a [u8]),
    Delete(&'a [u8]),
    /// From the first up to, without, the second; if that is empty, to the end of the keyspace.
    DeleteRange(&'a [u8], &'a [u8]),
}

impl<'a> Change<'a> {
    /// Keys and values in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Change::Put(key, value) => key.len() + value.len(),
            Change::Delete(key) => key.len(),
            Change::DeleteRange(low, high) => low.len() + high.len(),
        }
    }

    /// Into the write set.
    pub(super) fn apply(&self, set: &mut WriteSet, keyspace: KeyspaceId) {
        match *self {
            Change::Put(key, value) => set.put(keyspace, key, Value::from(value)),
            Change::Delete(key) => set.delete(keyspace, key),
            Change::DeleteRange(low, high) => set.delete_range(keyspace, low, high),
        }
    }

    /// Onto the dirty board.
    pub(super) fn post(&self, board: &mut Posted, keyspace: KeyspaceId, ts: Timestamp) {
        match *self {
            Change::Put(key, value) => board.put(keyspace, key, Value::from(value), ts),
            Change::Delete(key) => board.delete(keyspace, key, ts),
            Change::DeleteRange(low, high) => board.delete_range(keyspace, low, high, ts),
        }
    }

    /// What it locks exclusively, and as which call.
    pub(super) fn target(&self) -> (Target<'a>, LockOp) {
        match *self {
            Change::Put(key, _) => (Target::Key(key), LockOp::Put),
            Change::Delete(key) => (Target::Key(key), LockOp::Delete),
            Change::DeleteRange(low, high) => {
                (Target::Range(low, (!high.is_empty()).then_some(high)), LockOp::DeleteRange)
            }
        }
    }

    /// As an operation of a batch.
    pub(super) fn op(&self) -> Op<'a> {
        match *self {
            Change::Put(key, value) => Op { kind: OpKind::Put, key, value },
            Change::Delete(key) => Op { kind: OpKind::Delete, key, value: &[] },
            Change::DeleteRange(low, high) => Op { kind: OpKind::DeleteRange, key: low, value: high },
        }
    }
}
